"""From the logs of W&B runs to tables: the same as the store's, without predictions."""

import shutil
import weakref
from collections.abc import Iterable, Mapping, Sequence
from itertools import count, islice
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


class Parts:
    """What `write_parts` wrote, in a folder that goes when this does, or the process."""

    def __init__(self) -> None:
        self.folder = Path(mkdtemp(prefix="harness-curves-"))
        weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)

    def joined(self, num_foreign: int, *, name: str, place: str) -> Runs:
        """All of it; `num_foreign` runs of others, at `place`, were left out.

        Raises:
            UserError: there is no run.
        """
        runs = [pl.read_parquet(file, glob=False) for file in self._files("runs")]
        if not runs:
            raise UserError(
                f"{place} holds no run of this harness ({num_foreign} of others); "
                "give runs that `harness train` logged"
            )
        curves = [pl.scan_parquet(file, glob=False) for file in self._files("history")]
        note = f"{place}: {num_foreign} runs of others were passed over."
        return Runs(
            name=name,
            runs=pl.concat(runs, how="diagonal_relaxed"),
            history=pl.concat(curves, how="diagonal_relaxed"),
            predictions=(),
            notes=(note,) if num_foreign else (),
            keep=self,
        )

    def _files(self, kind: str) -> list[Path]:
        return sorted(self.folder.glob(f"*.{kind}"))


def gather(logs: Iterable[tuple[str, RunLog]], *, name: str, place: str) -> Runs:
    """The runs of this harness among `logs`, each with the shard it is to have.

    Raises:
        UserError: none of the runs is of this harness.
    """
    parts = Parts()
    return parts.joined(write_parts(logs, parts.folder), name=name, place=place)


def write_parts(logs: Iterable[tuple[str, RunLog]], folder: Path, *, prefix: str = "") -> int:
    """Writes runs and curves to Parquet files as they come, so that they are never all in memory.

    Returns: how many runs were not of this harness.
    """
    num_foreign = 0
    stream = (one for one in logs if not is_summary(one[1].config))
    numbers = count()
    while batch := list(islice(stream, RUNS_PER_FILE)):
        ours = [(shard, log, sent) for shard, log in batch if (sent := origin(log.config))]
        num_foreign += len(batch) - len(ours)
        if ours:
            stem = f"{prefix}{next(numbers):06d}"
            runs = frame([_row(*one) for one in ours])
            runs.write_parquet(folder / f"{stem}.runs", compression="lz4")
            _write_history(ours, folder / f"{stem}.history")
    return num_foreign


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
        for name in [name for name in own if name not in columns]:
            columns[name] = [None] * num_rows
        num_rows += own_rows
        for name, values in columns.items():
            values.extend(own.get(name) or [None] * own_rows)
    types = HISTORY_TYPES | {name: pl.Float64 for name in columns if "/" in name}
    pl.DataFrame(columns, schema=types).write_parquet(path, compression="zstd")
