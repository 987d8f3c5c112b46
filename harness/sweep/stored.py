"""Which runs of a sweep are there already, and need no training."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from harness import checkpoints
from harness.config import folder_of, objective
from harness.record import store
from harness.sweep.plan import Job, Key


def stored_runs(jobs: Sequence[Job], columns: Sequence[str]) -> dict[Key, dict]:
    """``columns`` of those of ``jobs`` that their folders hold, whole; None where a run lacks one.

    A stored run that lacks something a job needs is not among them: it is trained again, to the
    same bits.
    """
    by_folder: dict[Path, list[Job]] = defaultdict(list)
    for job in jobs:
        if not job.config.rerun:
            by_folder[folder_of(job.config)].append(job)
    found = {}
    for folder, members in by_folder.items():
        needed = {objective(job.config) for job in members}
        known = store.stored(folder, sorted({"best_epoch", *columns, *needed}))
        lacking = {job.key for job in members if job.run_id in known and _lacks(job, known)}
        for job in members:
            if job.run_id in known and job.key not in lacking:
                found[job.key] = known[job.run_id]
    return found


def _lacks(job: Job, known: dict[str, dict]) -> bool:
    """Whether a stored run lacks the metric that a search asks it for, or the parameters that it is
    to keep; one without an epoch has none."""
    row = known[job.run_id]
    wanted = job.config.training.save_params and row["best_epoch"] > 0
    unsaved = wanted and not checkpoints.is_saved(folder_of(job.config), job.run_id)
    return row[objective(job.config)] is None or unsaved
