"""Reading a sweep folder: the union of its shards, the latest row of each run."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from harness.analyze.runs import HISTORY_SCHEMA, Runs
from harness.errors import UserError
from harness.record.store import Shards, findings, flat_runs, planned, scan, shards


def read_store(folder: Path) -> Runs:
    """Read `folder/shards/*/{runs,history,predictions}.parquet`; damaged shards are left out.

    Raises:
        UserError: no such folder, or no whole shard in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; give a sweep folder such as runs/NAME")
    found = shards(folder)
    rows, columns = flat_runs(found)
    damaged = [f"{shard} is damaged ({told}): left out." for shard, told in found.damaged.items()]
    if not rows.height:
        why = damaged[0] if damaged else "no rows in shards/*/runs.parquet"
        raise UserError(f"{folder} holds no runs ({why}); train some")
    latest = rows.sort("created", "shard").unique("run_id", keep="last")
    history = list(_scan(found, "history")) or [pl.LazyFrame(schema=HISTORY_SCHEMA)]
    return Runs(
        name=folder.resolve().name,
        # Shards come in the order they were trained; no table may depend on it.
        runs=latest.sort("run_id"),
        columns=columns,
        history=pl.concat(history, how="diagonal_relaxed"),
        predictions=tuple(_scan(found, "predictions")),
        notes=(*damaged, *_unfinished(folder, latest.height)),
        found=findings(folder),
    )


def _unfinished(folder: Path, num_runs: int) -> Iterator[str]:
    total = planned(folder)
    if total is not None and num_runs < total:
        yield (
            f"{folder.resolve().name}: {num_runs} of {total} runs so far. The same `harness train` "
            "command again trains those that are missing."
        )


def _scan(found: Shards, table: str) -> Iterator[pl.LazyFrame]:
    for path in found.paths(table):
        yield scan(path).with_columns(pl.lit(path.parent.name).alias("shard"))
