"""Reading a sweep folder: the union of its shards, the latest row of each run."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from harness.analyze.runs import HISTORY_SCHEMA, Runs
from harness.errors import UserError
from harness.record.store import shard_paths


def read_store(folder: Path) -> Runs:
    """Read `folder/shards/*/{runs,history,predictions}.parquet`.

    Raises:
        UserError: no such folder, no finished shard in it, or a file that is not Parquet.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; give a sweep folder such as runs/NAME")
    frames = [frame.collect() for frame in _scan(folder, "runs")]
    frames = [frame for frame in frames if frame.height]
    if not frames:
        raise UserError(f"{folder} holds no runs (no rows in shards/*/runs.parquet); train some")
    runs = pl.concat(frames, how="diagonal_relaxed")
    latest = runs.sort("created", "shard").unique("run_id", keep="last")
    history = list(_scan(folder, "history")) or [pl.LazyFrame(schema=HISTORY_SCHEMA)]
    return Runs(
        name=folder.resolve().name,
        # Shards come in the order they were trained; no table may depend on it.
        runs=latest.sort("run_id"),
        history=pl.concat(history, how="diagonal_relaxed"),
        predictions=tuple(_scan(folder, "predictions")),
    )


def _scan(folder: Path, kind: str) -> Iterator[pl.LazyFrame]:
    for path in shard_paths(folder, kind):
        try:
            frame = pl.scan_parquet(path, glob=False)
            columns = frame.collect_schema().names()
        except (pl.exceptions.PolarsError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"cannot read {path} ({reason}); delete its shard folder") from error
        needed = ("run_id", "created") if kind == "runs" else ("run_id",)
        if missing := [column for column in needed if column not in columns]:
            raise UserError(f"{path} has no column {missing[0]}: not a shard of this harness")
        yield frame.with_columns(pl.lit(path.parent.name).alias("shard"))
