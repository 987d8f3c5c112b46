"""Which runs of a sweep are there already, and need no training."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from harness import checkpoints
from harness.config import objective
from harness.record import store
from harness.run import Key, Run


def stored_runs(runs: Sequence[Run], columns: Sequence[str]) -> dict[Key, dict]:
    """``columns`` of those of ``runs`` that their folders hold, whole; None where a run lacks one.

    A stored run that lacks something its job needs is not among them: it is trained again, to the
    same bits.
    """
    by_folder: dict[Path, list[Run]] = defaultdict(list)
    for run in runs:
        if not run.config.rerun:
            by_folder[run.folder].append(run)
    found = {}
    for folder, members in by_folder.items():
        needed = {objective(run.config) for run in members}
        known = store.stored(folder, sorted({"best_epoch", *columns, *needed}))
        lacking = {run.key for run in members if run.run_id in known and _lacks(run, known)}
        for run in members:
            if run.run_id in known and run.key not in lacking:
                found[run.key] = known[run.run_id]
    return found


def _lacks(run: Run, known: dict[str, dict]) -> bool:
    """Whether a stored run lacks the metric that a search asks it for, or the parameters that it is
    to keep; one without an epoch has none."""
    row = known[run.run_id]
    wanted = run.config.training.save_params and row["best_epoch"] > 0
    unsaved = wanted and not checkpoints.is_saved(run.folder, run.run_id)
    return row[objective(run.config)] is None or unsaved
