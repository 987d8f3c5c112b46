"""The store: append-only Parquet shards, one folder a batch of runs.

``<folder>/shards/<id>/{runs,history,predictions}.parquet``. A shard folder is written whole under
a temporary name and then renamed, so a reader sees all three tables of a batch or none, several
writers need no lock, and a killed process loses at most the batch it was training.

Beside the shards, ``plan.json`` holds how many runs the folder is to have, as the last command that
trained into it planned, and ``data/<fingerprint>.json`` what was found in a data set.
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from harness.errors import UserError
from harness.files import whole_folder, write_whole
from harness.record import file_form, first_form
from harness.record.schema import FORMAT, RUN, Columns, flat, joined, nested

TABLES = ("runs", "history", "predictions")
FORM = "harness.format"  # the key of the form's number in a file's Parquet metadata
PLAN = "plan.json"


def write_shard(folder: Path, tables: Mapping[str, pl.DataFrame]) -> Path:
    """Adds one shard holding ``tables`` (one frame for each of `TABLES`) and returns its folder."""
    shard = folder / "shards" / uuid.uuid4().hex
    written = {**tables, "runs": file_form.packed(tables["runs"])}
    with whole_folder(shard) as temporary:
        for name in TABLES:
            path = temporary / f"{name}.parquet"
            written[name].write_parquet(path, compression="zstd", metadata={FORM: str(FORMAT)})
    return shard


def write_plan(folder: Path, num_runs: int) -> None:
    """Says how many runs the folder is to have once what is being trained is whole."""
    write_whole(folder / PLAN, json.dumps({"runs": num_runs}) + "\n")


def planned(folder: Path) -> int | None:
    """How many runs the folder is to have; None where nobody said, or nothing readable."""
    number = _read_json(folder / PLAN).get("runs")
    return number if isinstance(number, int) else None


def write_findings(folder: Path, fingerprint: str, lines: Sequence[str]) -> None:
    """Keeps what was found in a data set, a sentence a line."""
    write_whole(_findings(folder, fingerprint), json.dumps({"found": list(lines)}) + "\n")


def has_findings(folder: Path, fingerprint: str) -> bool:
    """Whether `write_findings` was told of the data set before."""
    return _findings(folder, fingerprint).is_file()


def findings(folder: Path) -> dict[str, tuple[str, ...]]:
    """What was found in each data set, by its fingerprint; what cannot be read is left out."""
    lists = {
        path.stem: _read_json(path).get("found")
        for path in sorted((folder / "data").glob("*.json"))
    }
    return {
        name: tuple(map(str, lines)) for name, lines in lists.items() if isinstance(lines, list)
    }


def _findings(folder: Path, fingerprint: str) -> Path:
    return folder / "data" / f"{fingerprint}.json"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


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
    """A shard's table `runs` as `harness.record.tables` makes it, whichever form the file has.

    Raises:
      UserError: as `scan`.
    """
    lazy, form = _opened(path, tuple(RUN))
    frame = lazy.collect()
    if form == 1:
        return nested(*first_form.converted(frame))
    return frame if form == 2 else file_form.unpacked(frame)


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
    lazy, form = _opened(path, tuple(RUN))
    schema = lazy.collect_schema()
    dtype = schema.get("metrics")
    metrics = {one.name for one in dtype.fields} if isinstance(dtype, pl.Struct) else set()

    def value(name: str) -> pl.Expr:
        if name in schema:
            return pl.col(name)
        if name in metrics:
            return pl.col("metrics").struct.field(name)
        return pl.lit(None) if form < FORMAT else file_form.more("metrics", name)

    return lazy.select(value(name).alias(name) for name in (*RUN, *names)).collect()


def _opened(path: Path, needed: Sequence[str]) -> tuple[pl.LazyFrame, int]:
    """A table that has the ``needed`` columns, and the number of its form."""
    try:
        lazy = pl.scan_parquet(path, glob=False)
        columns = lazy.collect_schema().names()
        form = pl.read_parquet_metadata(path).get(FORM, "1")
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"cannot read {path} ({reason}); delete its shard folder") from error
    if form not in map(str, range(1, FORMAT + 1)):
        raise UserError(f"{path} has form {form}, which is newer than this harness: update it")
    if missing := [column for column in needed if column not in columns]:
        raise UserError(f"{path} has no column {missing[0]}: not a shard of this harness")
    return lazy, int(form)
