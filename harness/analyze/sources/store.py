"""Reading a sweep folder: the union of its shards, the latest row of each run."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from harness.analyze.runs import HISTORY_SCHEMA, Runs
from harness.errors import UserError
from harness.record.store import findings, planned, runs, scan, shard_paths


def read_store(folder: Path) -> Runs:
    """Read `folder/shards/*/{runs,history,predictions}.parquet`.

    Raises:
        UserError: no such folder, no finished shard in it, or a file that is not Parquet.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; give a sweep folder such as runs/NAME")
    rows, columns = runs(folder)
    if not rows.height:
        raise UserError(f"{folder} holds no runs (no rows in shards/*/runs.parquet); train some")
    latest = rows.sort("created", "shard").unique("run_id", keep="last")
    history = list(_scan(folder, "history")) or [pl.LazyFrame(schema=HISTORY_SCHEMA)]
    return Runs(
        name=folder.resolve().name,
        # Shards come in the order they were trained; no table may depend on it.
        runs=latest.sort("run_id"),
        columns=columns,
        history=pl.concat(history, how="diagonal_relaxed"),
        predictions=tuple(_scan(folder, "predictions")),
        notes=tuple(_unfinished(folder, latest.height)),
        found=findings(folder),
    )


def _unfinished(folder: Path, num_runs: int) -> Iterator[str]:
    total = planned(folder)
    if total is not None and num_runs < total:
        yield (
            f"{folder.resolve().name}: {num_runs} of {total} runs so far. The same `harness train` "
            "command again trains those that are missing."
        )


def _scan(folder: Path, table: str) -> Iterator[pl.LazyFrame]:
    for path in shard_paths(folder, table):
        yield scan(path).with_columns(pl.lit(path.parent.name).alias("shard"))
