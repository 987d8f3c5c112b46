"""Which runs of a sweep are there already, and need no training."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from harness import checkpoints
from harness.config import folder_of
from harness.record import store
from harness.sweep.plan import Job, Key


def stored_runs(jobs: Sequence[Job], columns: Sequence[str]) -> dict[Key, dict]:
    """``columns`` of those of ``jobs`` that their folders hold, whole."""
    by_folder: dict[Path, list[Job]] = defaultdict(list)
    for job in jobs:
        if not job.config.rerun:
            by_folder[folder_of(job.config)].append(job)
    found = {}
    for folder, members in by_folder.items():
        known = store.stored(folder, ["best_epoch", *columns])
        owing = {job.key for job in members if job.run_id in known and _owes_params(job, known)}
        for job in members:
            if job.run_id in known and job.key not in owing:
                found[job.key] = known[job.run_id]
    return found


def _owes_params(job: Job, known: dict[str, dict]) -> bool:
    """Whether a stored run lacks the parameters it is asked to keep; one without an epoch has none.

    Such a run is trained again, to the same bits.
    """
    wanted = job.config.training.save_params and known[job.run_id]["best_epoch"] > 0
    return wanted and not checkpoints.is_saved(folder_of(job.config), job.run_id)
