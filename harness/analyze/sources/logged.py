"""From the logs of W&B runs to tables: the same as the store's, without predictions."""

import json
import shutil
import weakref
from collections.abc import Iterable, Sequence
from itertools import count, islice
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import polars as pl

from harness.analyze.runs import INCOMPLETE, Runs
from harness.errors import UserError
from harness.record.schema import FACTS, RUN, Columns, without_absent
from harness.record.shard import write_table
from harness.record.store import union
from harness.record.wandb_form import (
    LoggedRun,
    Origin,
    from_wandb,
    history_columns,
    is_of_a_sweep,
    origin,
)
from harness.record.wandb_log import RunLog

RUNS_PER_FILE = 500
COLUMNS = "columns"  # the key, in a file's Parquet metadata, of which column is what
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
        read = [_read_runs(file) for file in self._files("runs")]
        if not read:
            raise UserError(
                f"{place} holds no run of this harness ({num_foreign} of others); "
                "give runs that `harness train` logged"
            )
        curves = [pl.scan_parquet(file, glob=False) for file in self._files("history")]
        note = f"{place}: {num_foreign} runs of others were passed over."
        runs, columns = union(read)
        return Runs(
            name=name,
            runs=runs,
            columns=columns,
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
    stream = (one for one in logs if not is_of_a_sweep(one[1].config))
    numbers = count()
    while batch := list(islice(stream, RUNS_PER_FILE)):
        ours = [(shard, log, sent) for shard, log in batch if (sent := origin(log.config))]
        num_foreign += len(batch) - len(ours)
        if ours:
            stem = f"{prefix}{next(numbers):06d}"
            _write_runs(ours, folder / f"{stem}.runs")
            _write_history(ours, folder / f"{stem}.history")
    return num_foreign


def _write_runs(ours: Sequence[tuple[str, RunLog, Origin]], path: Path) -> None:
    rows = [
        (shard, log, from_wandb(log.run_id, log.config, log.summary, s)) for shard, log, s in ours
    ]
    table, columns = frame([row for _, _, row in rows])
    ended = [log.exit_code is not None and "status" in row.facts for _, log, row in rows]
    status = (
        pl.when(pl.Series(ended, dtype=pl.Boolean)).then("status").otherwise(pl.lit(INCOMPLETE))
    )
    table = table.with_columns(status, pl.Series("shard", [shard for shard, _, _ in rows]))
    kinds = {COLUMNS: json.dumps(vars(columns))}
    write_table(table, path, compression="lz4", metadata=kinds)


def _read_runs(path: Path) -> tuple[pl.DataFrame, Columns]:
    kinds = json.loads(pl.read_parquet_metadata(path)[COLUMNS])
    columns = Columns(**{group: tuple(names) for group, names in kinds.items()})
    return pl.read_parquet(path, glob=False), columns


def frame(rows: Sequence[LoggedRun]) -> tuple[pl.DataFrame, Columns]:
    """The flat table of logged runs; a column of mixed kinds is text."""
    types = {key: kind for row in rows for key, kind in row.types.items()}
    config = dict.fromkeys(name for row in rows for name in row.config)
    chosen = dict.fromkeys(
        name for row in rows for name in row.facts if name not in {*FACTS, *config}
    )
    metrics = dict.fromkeys(name for row in rows for name in row.metrics)
    series = [
        *(
            pl.Series(name, [getattr(row, name) for row in rows], kind)
            for name, kind in RUN.items()
        ),
        *(pl.Series(name, [row.facts.get(name) for row in rows], k) for name, k in FACTS.items()),
        *(pl.Series(name, [row.facts.get(name) for row in rows], pl.Float64) for name in chosen),
        *(
            _series(name, [row.config.get(name) for row in rows], types.get(name))
            for name in config
        ),
        *(pl.Series(name, [row.metrics.get(name) for row in rows], pl.Float64) for name in metrics),
    ]
    columns = Columns(config=tuple(config), facts=(*FACTS, *chosen), metrics=tuple(metrics))
    return without_absent(pl.DataFrame(series), columns)


def _series(name: str, values: list[Any], dtype: pl.DataType | None) -> pl.Series:
    """A config column, of ``dtype`` where no value says another."""
    kinds = {type(value) for value in values if value is not None}
    if list in kinds and len(kinds) == 1:
        items = {type(item) for value in values for item in value or () if item is not None}
        if len(items) > 1 and items != {int, float}:
            values = [None if v is None else [str(item) for item in v] for v in values]
        return pl.Series(name, values, None if items else dtype, strict=False)
    if not kinds:
        return pl.Series(name, values, dtype)
    if kinds == {int, float}:
        values = [None if value is None else float(value) for value in values]
    elif len(kinds) > 1:
        values = [None if value is None else str(value) for value in values]
    return pl.Series(name, values)


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
    write_table(pl.DataFrame(columns, schema=types), path, compression="zstd")
