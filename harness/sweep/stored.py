"""Which runs of a sweep are there already, and need no training."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from harness import checkpoints
from harness.record import store
from harness.run import Key, Run


def stored_runs(runs: Sequence[Run], columns: Sequence[str]) -> dict[Key, dict]:
    """``columns`` of those of ``runs`` that their folders hold, whole."""
    by_folder: dict[Path, list[Run]] = defaultdict(list)
    for run in runs:
        if not run.config.rerun:
            by_folder[run.folder].append(run)
    found = {}
    for folder, members in by_folder.items():
        known = store.stored(folder, ["best_epoch", *columns])
        lacking = {run.key for run in members if run.run_id in known and _lacks_params(run, known)}
        for run in members:
            if run.run_id in known and run.key not in lacking:
                found[run.key] = known[run.run_id]
    return found


def _lacks_params(run: Run, known: dict[str, dict]) -> bool:
    """Whether a stored run lacks the parameters it is asked to keep; one without an epoch has none.

    Such a run is trained again, to the same bits.
    """
    wanted = run.config.training.save_params and known[run.run_id]["best_epoch"] > 0
    return wanted and not checkpoints.is_saved(run.folder, run.run_id)
