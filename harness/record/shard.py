"""One shard: its files, and whether they are what was written.

A shard is a folder with the three tables as Parquet files and ``SHA256SUMS``, the hash of each, as
``sha256sum --check`` reads it. Shards of earlier versions have no hashes: of those it is known that
every value can be read, not that it is the one that was written.
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from harness.errors import UserError, cut, first_line, printable
from harness.record import file_form, first_form
from harness.record.schema import FACTS, FORMAT, RUN, SCORES

TABLES = ("runs", "history", "predictions")
FORM = "harness.format"  # the key of the form's number in a file's Parquet metadata
REPLACES = "harness.replaces"  # and that of the names of the shards that it was merged from
SUMS = "SHA256SUMS"
_LONGEST = 160  # characters of what is wrong with a shard

# What reading a damaged file raises. A panic of Polars is no `Exception`.
UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError)

_ALWAYS = ("status", "num_train", "num_train_positives", "num_test", "num_test_positives")
_SCORES = pl.List(pl.Float32())
NEEDED: dict[str, dict[str, pl.DataType]] = {
    "runs": {**RUN, **{name: FACTS[name] for name in _ALWAYS}},
    "history": {"run_id": pl.String(), "epoch": pl.Int32(), "step": pl.Int32()},
    "predictions": {
        "run_id": pl.String(),
        "split": pl.String(),
        "rows": pl.List(pl.Int32()),
        "labels": pl.List(pl.Int8()),
        "logits": _SCORES,
    },
}
"""The columns that every version has stored, and their types."""


def table_path(shard: Path, table: str) -> Path:
    """The file of one of `TABLES`."""
    return shard / f"{table}.parquet"


def write_table(frame: pl.DataFrame, path: Path, **options: Any) -> None:
    """Writes Parquet; raises OSError, as of a full disk, where Polars says something else."""
    try:
        frame.write_parquet(path, **options)
    except pl.exceptions.PolarsError as error:
        if not (refused := re.search(r"\(os error (\d+)\)", str(error))):
            raise
        number = int(refused[1])
        raise OSError(number, os.strerror(number), str(path)) from error


def sums(shard: Path) -> str:
    """What `SUMS` says of a shard whose tables are written."""
    lines = []
    for path in (table_path(shard, name) for name in TABLES):
        with path.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        lines.append(f"{digest}  {path.name}\n")
    return "".join(lines)


def opened(path: Path) -> tuple[pl.LazyFrame, int]:
    """A table, and the number of its form.

    Raises:
      UserError: it is no such file, or of a form that only later versions know.
    """
    try:
        return _opened(path)
    except UserError:
        raise
    except UNREADABLE as error:
        raise UserError(f"cannot read {path}: {_short(first_line(error))}") from error


def _opened(path: Path) -> tuple[pl.LazyFrame, int]:
    """As `opened`, but for what is no such file, which raises one of `UNREADABLE`."""
    lazy = pl.scan_parquet(path, glob=False)
    lazy.collect_schema()
    form = pl.read_parquet_metadata(path).get(FORM, "1")
    if form not in map(str, range(1, FORMAT + 1)):
        raise UserError(f"{path} has form {form}, which is newer than this harness: update it")
    return lazy, int(form)


def replaced_by(shard: Path) -> tuple[str, ...]:
    """The names of the shards that a whole one was merged from."""
    told = pl.read_parquet_metadata(table_path(shard, "runs")).get(REPLACES, "")
    return tuple(told.split())


def fault(shard: Path) -> str:
    """What is wrong with a shard, for a terminal; empty where nothing is.

    Raises:
      UserError: it may not be read, or is of a form that only later versions know.
    """
    try:
        if lacking := [name for name in TABLES if not table_path(shard, name).is_file()]:
            return f"it lacks {table_path(shard, lacking[0]).name}"
        if (shard / SUMS).exists():
            if (shard / SUMS).read_bytes() != sums(shard).encode():
                return f"its content is not what its {SUMS} says"
        else:
            for name in TABLES:
                pl.read_parquet(table_path(shard, name), glob=False)
        strange = (_strange(table_path(shard, name), name) for name in TABLES)
        return _short(next(filter(None, strange), ""))
    except UserError:
        raise
    except PermissionError as error:
        raise UserError(f"cannot read {error.filename}: {error.strerror}") from None
    except UNREADABLE as error:
        return f"it cannot be read: {_short(first_line(error))}"


def _short(text: str) -> str:
    """For a line of a terminal: names and types in a file may be of any length."""
    return printable(cut(text, _LONGEST))


def _strange(path: Path, table: str) -> str:
    """How a table is not of its form; empty where it is."""
    lazy, form = _opened(path)
    schema = dict(lazy.collect_schema())
    wanted = dict(NEEDED[table])
    if table == "predictions":
        wanted |= {name: _SCORES for name in SCORES if name in schema}
        wanted |= {name: pl.List(pl.Float64()) for name in ("row_weights",) if name in schema}
    elif table == "history":
        wanted |= {name: pl.Float32() for name in schema if "/" in name}
    elif form > 1:
        wanted |= {name: kind for name, kind in FACTS.items() if name in schema}
    for name, kind in wanted.items():
        if schema.get(name) != kind:
            return f"{path.name} has {schema.get(name, 'nothing')} for {name}, which is {kind}"
    if table == "runs" and form > 1:
        return _strange_groups(path, schema) or (_strange_lists(lazy) if form > 2 else "")
    if table == "runs":
        first_form.converted(lazy.collect())  # raises where a value has not its column's type
    return ""


def _strange_groups(path: Path, schema: Mapping[str, Any]) -> str:
    for group in ("config", "chosen", "metrics"):
        if not isinstance(schema.get(group, pl.Struct({})), pl.Struct):
            return f"{path.name} has {schema[group]} for {group}"
    leaves = [*_leaves(schema.get("config"), ""), *RUN.items(), *FACTS.items()]
    for group in ("chosen", "metrics"):
        numbers = list(_leaves(schema.get(group), ""))
        if odd := [name for name, kind in numbers if kind != pl.Float64]:
            return f"{path.name} has no number for {odd[0]}"
        leaves += numbers
    if odd := [name for name, kind in leaves if not _is_value(kind)]:
        return f"{path.name} has {dict(leaves)[odd[0]]} for {odd[0]}"
    name, number = Counter(name for name, _ in leaves).most_common(1)[0]
    return f"{path.name} has {name} {number} times" if number > 1 else ""


def _strange_lists(lazy: pl.LazyFrame) -> str:
    """How the further values of a file are not such: see `harness.record.file_form`."""
    schema = lazy.collect_schema()
    for group in file_form.usual():
        if group not in schema:  # a struct, where it is there
            return f"runs.parquet has nothing for {group}"
        name = f"{file_form.MORE}{group}"
        if schema.get(name) != file_form.NAMED_VALUES:
            return f"runs.parquet has {schema.get(name, 'nothing')} for {name}"
        inside = {*file_form.usual()[group], *RUN, *FACTS}
        keys = pl.col(name).list.eval(pl.element().struct.field("name"))
        names = lazy.select(keys).collect().to_series()
        if (names.list.n_unique() < names.list.len()).any():
            return f"runs.parquet names a value of {name} twice"
        if known := sorted(inside.intersection(names.explode().drop_nulls())):
            return f"runs.parquet has {known[0]} in {name}"
    return ""


def _leaves(dtype: Any, prefix: str) -> Iterator[tuple[str, pl.DataType]]:
    """The values in a struct, by their dotted names."""
    for one in dtype.fields if isinstance(dtype, pl.Struct) else ():
        if isinstance(one.dtype, pl.Struct):
            yield from _leaves(one.dtype, f"{prefix}{one.name}.")
        else:
            yield prefix + one.name, one.dtype  # type: ignore[misc]


def _is_value(kind: Any) -> bool:
    """Whether a configuration may hold it: a number, text, a truth value, or a list of such."""
    inner = kind.inner if isinstance(kind, pl.List) else kind
    return inner.is_numeric() or inner in (pl.Boolean, pl.String, pl.Null, RUN["created"])
