"""Stores that somebody has altered: well-formed Parquet with what a shard has not."""

from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl

from harness.record.schema import FORMAT
from harness.record.shard import FORM, SUMS, sums, table_path

Change = Callable[[pl.DataFrame], pl.DataFrame]


def changes(frame: pl.DataFrame) -> Iterator[tuple[str, Change]]:
    """Each by what it does to a table, or to one of its columns."""
    yield "no rows", lambda table: table.clear()
    yield "twice the rows", lambda table: pl.concat([table, table])
    yield "foreign", lambda table: pl.DataFrame({"a": [1]})
    yield "one more", lambda table: table.with_columns(pl.lit("x").alias("method"))
    for name, kind in frame.schema.items():
        yield f"{name} gone", _without(name)
        yield f"{name} null", _with(pl.lit(None, kind).alias(name))
        yield f"{name} text", _with(pl.lit("\x1b[2J\0").alias(name))
        yield f"{name} bytes", _with(pl.lit(b"\xff").alias(name))
        if isinstance(kind, pl.List):
            holes = pl.col(name).list.eval(pl.when(pl.element() > 0).then(pl.element()))
            yield f"{name} short", _with(pl.col(name).list.head(3))
            yield f"{name} holes", _with(holes)
        for inner in kind.fields if isinstance(kind, pl.Struct) else ():
            for value in ("\x1b]0;\x07", b"\xff", 1):
                changed = pl.col(name).struct.with_fields(pl.lit(value).alias(inner.name))
                yield f"{name}.{inner.name} {value!r}", _with(changed)


def _with(column: pl.Expr) -> Change:
    return lambda table: table.with_columns(column)


def _without(name: str) -> Change:
    return lambda table: table.drop(name)


def alter(shard: Path, table: str, change: Change, *, sealed: bool = True) -> None:
    """Changes a table of a shard, and its hashes with it where it is ``sealed``."""
    path = table_path(shard, table)
    change(pl.read_parquet(path)).write_parquet(path, metadata={FORM: str(FORMAT)})
    if sealed:
        (shard / SUMS).write_text(sums(shard))
    else:
        (shard / SUMS).unlink(missing_ok=True)
