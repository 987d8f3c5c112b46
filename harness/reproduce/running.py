"""An experiment's sweeps as command lines, and the folders their runs are stored in."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.reproduce.schema import Sweep, Value

Train = Callable[[list[str]], None]
"""What trains a sweep: called with the overrides of `harness train -m`."""


def folder(
    root: Path, experiment: str, name: str, sweep: Sweep, starts: Sequence[str] = ()
) -> Path:
    """Where a sweep's runs lie: another folder for other overrides or starts, the same for more
    seeds."""
    text = json.dumps([sweep.set, sweep.vary, *starts], sort_keys=True)
    return root / experiment / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def overrides(
    sweep: Sweep, where: Path, *, num_seeds: int, starts: Sequence[str] = ()
) -> list[str]:
    """The arguments of `harness train -m` that train ``sweep`` into the folder ``where``.

    ``starts``: runs, as `init.params` names them, each of which all runs are started from once.
    """
    given = {"wandb": "disabled", "root": f"'{where.parent}'", "name": where.name}
    given |= {key: _text(value) for key, value in sweep.set.items()}
    if starts:
        given["init.params"] = ",".join(f"'{start}'" for start in starts)
    return [*(f"{key}={value}" for key, value in given.items()), f"{sweep.vary}=range({num_seeds})"]


def _text(value: Value) -> str:
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)
