"""The store: append-only Parquet shards, one folder a batch of runs.

``<folder>/shards/<id>/{runs,history,predictions}.parquet``. A shard folder is written whole under
a temporary name and then renamed, so a reader sees all three tables of a batch or none, several
writers need no lock, and a killed process loses at most the batch it was training.
"""

import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

import polars as pl

TABLES = ("runs", "history", "predictions")


def write_shard(folder: Path, tables: Mapping[str, pl.DataFrame]) -> Path:
    """Adds one shard holding ``tables`` (one frame for each of `TABLES`) and returns its folder."""
    shards = folder / "shards"
    shard = shards / uuid.uuid4().hex
    temporary = shards / f".{shard.name}"
    temporary.mkdir(parents=True)
    try:
        for name in TABLES:
            path = temporary / f"{name}.parquet"
            tables[name].write_parquet(path, compression="zstd")
            _flush_to_disk(path)
        os.rename(temporary, shard)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return shard


def shard_paths(folder: Path, table: str) -> list[Path]:
    """The files of ``table`` in all finished shards."""
    return sorted(
        path
        for path in (folder / "shards").glob(f"*/{table}.parquet")
        if not path.parent.name.startswith(".")
    )


def scan(folder: Path, table: str) -> pl.LazyFrame | None:
    """The union of ``table`` over all shards, or None where there is none yet."""
    paths = shard_paths(folder, table)
    if not paths:
        return None
    # Shards of different losses have different config columns.
    return pl.concat([pl.scan_parquet(path) for path in paths], how="diagonal_relaxed")


def stored(folder: Path, columns: list[str]) -> dict[str, dict]:
    """``columns`` of every stored run by run_id; the latest where a run was trained again."""
    frame = scan(folder, "runs")
    if frame is None:
        return {}
    rows = frame.select("run_id", "created", *columns).sort("created").collect()
    return {row["run_id"]: row for row in rows.iter_rows(named=True)}


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
