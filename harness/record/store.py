"""The store: append-only Parquet shards, one folder a batch of runs.

``<folder>/shards/<id>/{runs,history,predictions}.parquet``. A shard folder is written whole under
a temporary name and then renamed, so a reader sees all three tables of a batch or none, several
writers need no lock, and a killed process loses at most the batch it was training.
"""

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from harness.errors import UserError
from harness.files import whole_folder
from harness.record import first_form
from harness.record.schema import FORMAT, RUN, Columns, flat, joined, nested

TABLES = ("runs", "history", "predictions")
FORM = "harness.format"  # the key of the form's number in a file's Parquet metadata


def write_shard(folder: Path, tables: Mapping[str, pl.DataFrame]) -> Path:
    """Adds one shard holding ``tables`` (one frame for each of `TABLES`) and returns its folder."""
    shard = folder / "shards" / uuid.uuid4().hex
    with whole_folder(shard) as temporary:
        for name in TABLES:
            path = temporary / f"{name}.parquet"
            tables[name].write_parquet(path, compression="zstd", metadata={FORM: str(FORMAT)})
    return shard


def shard_paths(folder: Path, table: str) -> list[Path]:
    """The files of ``table`` in all finished shards."""
    return sorted(
        path
        for path in (folder / "shards").glob(f"*/{table}.parquet")
        if not path.parent.name.startswith(".")
    )


def scan(path: Path) -> pl.LazyFrame:
    """A shard's table `history` or `predictions`.

    Raises:
      UserError: it is no such file, or of a form that only later versions know.
    """
    return _opened(path, ("run_id",))[0]


def read_runs(path: Path) -> pl.DataFrame:
    """A shard's table `runs` in the stored form of today, whichever form it has.

    Raises:
      UserError: as `scan`.
    """
    lazy, form = _opened(path, tuple(RUN))
    frame = lazy.collect()
    return frame if form == FORMAT else nested(*first_form.converted(frame))


def runs(folder: Path) -> tuple[pl.DataFrame, Columns]:
    """The flat table of all shards with its `shard`, and what its columns are.

    A run that was trained twice has two rows. Without a row it has no columns.

    Raises:
      UserError: as `scan`.
    """
    parts = []
    for path in shard_paths(folder, "runs"):
        if (frame := read_runs(path)).height:
            parts.append(flat(frame.with_columns(pl.lit(path.parent.name).alias("shard"))))
    return union(parts)


def union(parts: Sequence[tuple[pl.DataFrame, Columns]]) -> tuple[pl.DataFrame, Columns]:
    """Flat tables below each other: what one lacks is null there."""
    if not parts:
        return pl.DataFrame(), Columns()
    table = pl.concat([frame for frame, _ in parts], how="diagonal_relaxed")
    columns = joined(columns for _, columns in parts)
    named = [*columns.facts, *columns.config, *columns.metrics]
    rest = [name for name in table.columns if name not in {*RUN, *named}]
    return table.select(*(name for name in RUN if name in table.columns), *named, *rest), columns


def stored(folder: Path, names: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    """These facts and metrics of every stored run, by run_id; None where it lacks one.

    Of a run that was trained again they are the latest.
    """
    found = [_selected(path, names) for path in shard_paths(folder, "runs")]
    if not found:
        return {}
    rows = pl.concat(found, how="vertical_relaxed").sort("created")
    return {row["run_id"]: row for row in rows.iter_rows(named=True)}


def _selected(path: Path, names: Sequence[str]) -> pl.DataFrame:
    lazy, _ = _opened(path, tuple(RUN))
    schema = lazy.collect_schema()
    dtype = schema.get("metrics")
    metrics = {one.name for one in dtype.fields} if isinstance(dtype, pl.Struct) else set()
    columns = [
        pl.col(name)
        if name in schema
        else pl.col("metrics").struct.field(name)
        if name in metrics
        else pl.lit(None).alias(name)
        for name in (*RUN, *names)
    ]
    return lazy.select(columns).collect()


def _opened(path: Path, needed: Sequence[str]) -> tuple[pl.LazyFrame, int]:
    """A table that has the ``needed`` columns, and the number of its form."""
    try:
        lazy = pl.scan_parquet(path, glob=False)
        columns = lazy.collect_schema().names()
        form = pl.read_parquet_metadata(path).get(FORM, "1")
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"cannot read {path} ({reason}); delete its shard folder") from error
    if form not in ("1", str(FORMAT)):
        raise UserError(f"{path} has form {form}, which is newer than this harness: update it")
    if missing := [column for column in needed if column not in columns]:
        raise UserError(f"{path} has no column {missing[0]}: not a shard of this harness")
    return lazy, int(form)
