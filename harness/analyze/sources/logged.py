"""From the logs of W&B runs to tables: the same as the store's, without predictions."""

import shutil
import weakref
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import polars as pl

from harness.analyze.runs import INCOMPLETE, Runs
from harness.errors import UserError
from harness.record.restored import Origin, history_columns, is_summary, origin, run_row
from harness.record.wandb_log import RunLog

RUNS_PER_FILE = 500
HISTORY_TYPES: dict[str, Any] = {
    "run_id": pl.String,
    "shard": pl.String,
    "epoch": pl.Int32,
    "step": pl.Int32,
}


class _TemporaryFolder:
    """A folder that goes when this does, or the process."""

    def __init__(self) -> None:
        self.folder = Path(mkdtemp(prefix="harness-curves-"))
        weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)


def gather(logs: Iterable[tuple[str, RunLog]], *, name: str, place: str) -> Runs:
    """The runs of this harness among `logs`, each with the shard it is to have.

    Curves go to temporary files as they come, so that they are never all in memory.

    Raises:
        UserError: none of the runs is of this harness.
    """
    files = _TemporaryFolder()
    num_foreign, frames = 0, []
    stream = (one for one in logs if not is_summary(one[1].config))
    while batch := list(islice(stream, RUNS_PER_FILE)):
        ours = [(shard, log, sent) for shard, log in batch if (sent := origin(log.config))]
        num_foreign += len(batch) - len(ours)
        if ours:
            frames.append(frame([_row(*one) for one in ours]))
            _write_history(ours, files.folder / f"{len(frames)}.parquet")
    if not frames:
        raise UserError(
            f"{place} holds no run of this harness ({num_foreign} of others); "
            "give runs that `harness train` logged"
        )
    parts = [pl.scan_parquet(file, glob=False) for file in files.folder.glob("*.parquet")]
    return Runs(
        name=name,
        runs=pl.concat(frames, how="diagonal_relaxed"),
        history=pl.concat(parts, how="diagonal_relaxed"),
        predictions=(),
        notes=(f"{place}: {num_foreign} runs of others were passed over.",) if num_foreign else (),
        keep=files,
    )


def frame(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Rows of unequal keys as a frame; a column of mixed kinds is text."""
    names = dict.fromkeys(name for row in rows for name in row)
    return pl.DataFrame([_series(name, [row.get(name) for row in rows]) for name in names])


def _series(name: str, values: list[Any]) -> pl.Series:
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        values = [None if value is None else float(value) for value in values]
    elif len(kinds) > 1:
        values = [None if value is None else str(value) for value in values]
    return pl.Series(name, values)


def _row(shard: str, log: RunLog, sent: Origin) -> dict[str, Any]:
    row = run_row(log.run_id, log.config, log.summary, sent)
    if log.exit_code is None or "status" not in row:
        row["status"] = INCOMPLETE
    return row | {"shard": shard}


def _write_history(ours: Sequence[tuple[str, RunLog, Origin]], path: Path) -> None:
    """All curves as one table: a frame a run would take longer than reading its log."""
    columns: dict[str, list[Any]] = {"run_id": [], "shard": []}
    num_rows = 0
    for shard, log, _ in ours:
        own = history_columns(log.history)
        own_rows = len(own["epoch"])
        own |= {"run_id": [log.run_id] * own_rows, "shard": [shard] * own_rows}
        for name in own.keys() - columns.keys():
            columns[name] = [None] * num_rows
        num_rows += own_rows
        for name, values in columns.items():
            values.extend(own.get(name) or [None] * own_rows)
    types = HISTORY_TYPES | {name: pl.Float64 for name in columns if "/" in name}
    pl.DataFrame(columns, schema=types).write_parquet(path, compression="zstd")
