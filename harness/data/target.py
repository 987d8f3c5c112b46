"""The columns of a table that are no features: target, groups, times."""

import difflib

import numpy as np
import polars as pl
from numpy.typing import NDArray

from harness.data.culprits import TableFile
from harness.data.encode import Encoding, encoded
from harness.data.spelling import spelled


def check_names(columns: list[str], asked: list[tuple[str, str]], table: TableFile) -> None:
    """Each (config key, column) must be there, and no column may be two of them."""
    for key, name in asked:
        if name not in columns:
            _refuse_name(key, name, columns, table)
    roles: dict[str, str] = {}
    for key, name in asked:
        if roles.setdefault(name, key) != key:
            table.fail(f"column {name!r} is both {roles[name]} and {key}: it can be one of them")


def _refuse_name(key: str, name: str, columns: list[str], table: TableFile) -> None:
    close = difflib.get_close_matches(name, columns, n=3)
    names = close or columns[:5]
    remedy = f"did you mean {' or '.join(map(repr, names))}?" if close else f"it has {names}"
    if len(columns) == 1 and table.delimiter is not None:
        remedy += f" (one column: is {table.delimiter!r} its delimiter? see dataset.delimiter)"
    table.fail(f"no column {name!r}: set {key}; {remedy}")


def labels_of(
    column: pl.Series, *, positive: str | None, table: TableFile
) -> tuple[NDArray[np.int8], str]:
    """Labels int8 (n,) and the positive label, of a column of any type with two values.

    `positive` is one of them as text; None takes the rarer, and of two as frequent the one that
    sorts last.
    """
    if isinstance(column.dtype, (pl.Categorical, pl.Enum)):
        column = column.cast(pl.String)  # their sort order is not that of their text
    if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object):
        table.fail(f"target {column.name!r} holds {column.dtype}: give one value a row")
    if column.dtype.is_float():
        column = column.fill_nan(None)
    _check_complete("target", column, table)
    values = column.unique().sort().to_list()
    if len(values) != 2:
        shown = ", ".join(repr(spelled(value)[:40]) for value in values[:4])
        table.fail(
            f"target {column.name!r} has {len(values)} value{'s'[: len(values) != 1]} ({shown}"
            f"{', ...' if len(values) > 4 else ''}): a binary target needs exactly two"
        )
    low, high = values
    chosen = low if int((column == low).sum()) < int((column == high).sum()) else high
    if positive is not None:
        matches = [value for value in values if spelled(value) == positive]
        if not matches:
            table.fail(
                f"positive label {positive!r} is not a value of target {column.name!r}: "
                f"set dataset.positive to {spelled(low)[:40]!r} or {spelled(high)[:40]!r}"
            )
        chosen = matches[0]
    return (column == chosen).to_numpy().astype(np.int8), spelled(chosen)


def groups_of(column: pl.Series, *, table: TableFile) -> NDArray[np.int32]:
    """A code for each row's group: its rank among the groups' names."""
    if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object):
        table.fail(f"group column {column.name!r} holds {column.dtype}: give one value a row")
    column = column.fill_nan(None) if column.dtype.is_float() else column
    _check_complete("group column", column, table)
    return (column.cast(pl.String).rank("dense").to_numpy() - 1).astype(np.int32)


def times_of(column: pl.Series, *, encoding: Encoding, table: TableFile) -> NDArray[np.float64]:
    """Numbers as they are, dates as days since 1970."""
    found = encoded(column, encoding=encoding, table=table)
    if found.numbers is None:
        table.fail(
            f"time column {column.name!r} holds neither numbers nor dates: write dates as "
            "2024-12-31, or set dataset.date_format"
        )
    _check_complete("time column", pl.Series(column.name, found.numbers).fill_nan(None), table)
    return np.array(found.numbers)


def _check_complete(what: str, column: pl.Series, table: TableFile) -> None:
    count = column.null_count()
    if count:
        first = table.place(int(column.is_null().arg_max() or 0))
        table.fail(
            f"{what} {column.name!r} has {count} missing value{'s'[: count > 1]}, the first at "
            f"{first}: fill it in or drop the row"
        )
