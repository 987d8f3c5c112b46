"""The columns of a table that are no features: target, groups, times; labels as text."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BeforeValidator

from harness.data.encoding import Encoding, are_codes, encoded
from harness.data.table_file import TableFile
from harness.errors import override


def spelled(value: object) -> str:
    """A table's or config's value as text: `true`, and `1` for the float 1.0.

    >>> spelled(True), spelled(1.0), spelled("yes")
    ('true', '1', 'yes')
    """
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _as_text(value: object) -> object:
    """`dataset.positive=1` reaches us as an integer, `=true` as a boolean: both name a label.

    Blanks around it are of no account: neither names nor labels have any when they are read. What
    is no single value is left for the schema to refuse.
    """
    return spelled(value).strip() if isinstance(value, str | int | float) else value


Text = Annotated[str, BeforeValidator(_as_text)]
OptionalText = Annotated[str | None, BeforeValidator(_as_text)]
Texts = Annotated[
    tuple[Text, ...], BeforeValidator(lambda v: (v,) if isinstance(v, str | int | float) else v)
]


def check_names(columns: list[str], asked: list[tuple[str, str]], table: TableFile) -> None:
    """Each (config key, column) must be there, and no column may be two of them."""
    for key, name in asked:
        if name not in columns:
            _refuse_name(key, name, columns, table)
    roles: dict[str, str] = {}
    for key, name in asked:
        if roles.setdefault(name, key) != key:
            table.fail(f"column {name!r} is both {roles[name]} and {key}: it can be one of them")


# Keys that take several columns.
_LISTS = ("dataset.drop", "dataset.categorical")


def _refuse_name(key: str, name: str, columns: list[str], table: TableFile) -> None:
    close = difflib.get_close_matches(name, columns, n=3)
    names = close or columns[:5]
    remedy = f"it has {names}"
    if close:
        written = override(key, names[0])
        quoted = f" (written {written})" if written[0] == "'" and key not in _LISTS else ""
        remedy = f"did you mean {' or '.join(map(repr, names))}?{quoted}"
    if len(columns) == 1 and table.delimiter is not None:
        remedy += f" (one column: is {table.delimiter!r} its delimiter? see dataset.delimiter)"
    table.fail(f"no column {name!r}: set {key}; {remedy}")


# What people write for no and for yes, whatever the case: the second is what they look for.
_PAIRS = frozenset(
    {
        ("0", "1"),
        ("-1", "1"),
        ("false", "true"),
        ("f", "t"),
        ("no", "yes"),
        ("n", "y"),
        ("nein", "ja"),
        ("non", "oui"),
        ("negative", "positive"),
        ("neg", "pos"),
        ("-", "+"),
        ("off", "on"),
        ("absent", "present"),
        ("control", "case"),
    }
)
_NEGATED = r"(?:no|not|non)[ _-]+"


@dataclass(frozen=True, eq=False)
class Labels:
    """values: int8 (n,), 1 where the target is `positive`, for the `reason` given; `negative` is
    the other label, empty where there are several, and `note` says what else there is."""

    values: NDArray[np.int8]
    positive: str
    reason: str
    negative: str = ""
    note: str = ""


def labels_of(
    column: pl.Series, *, positive: str | None, table: TableFile, by_convention: bool = True
) -> Labels:
    """The labels of a column of any type.

    `positive` is one of its values as text, the others being negative. None takes, of two, the one
    that is so by convention (1 of 0/1, yes of no/yes), however frequent; else, or not
    `by_convention`, the rarer, and of two as frequent the one that sorts last.
    """
    column = _plain(column, table)
    _check_complete("target", column, table)
    values = column.unique().sort().to_list()
    if len(values) < 2 or (len(values) > 2 and positive is None):
        table.fail(
            f"target {column.name!r} has {len(values)} value{'s'[: len(values) != 1]} "
            f"({_shown(values)}): a binary target needs exactly two"
            + (", or dataset.positive, which all others are against" if len(values) > 2 else "")
        )
    if positive is None:
        chosen, reason = _chosen(column, values, by_convention=by_convention)
    else:
        reason = "by dataset.positive"
        matches = [value for value in values if spelled(value) == positive]
        if not matches:
            table.fail(
                f"positive label {positive!r} is not a value of target {column.name!r}: "
                f"it has {_shown(values)}: give one, such as "
                f"{override('dataset.positive', spelled(values[-1])[:40])}"
            )
        chosen = matches[0]
    others = [value for value in values if value != chosen]
    note = f"target {column.name!r}: {spelled(chosen)[:40]!r} against {_shown(others)}"
    return Labels(
        values=(column == chosen).to_numpy().astype(np.int8),
        positive=spelled(chosen),
        reason=reason,
        negative=spelled(others[0]) if len(others) == 1 else "",
        note=note if len(others) > 1 else "",
    )


def _chosen(column: pl.Series, values: list, *, by_convention: bool) -> tuple[object, str]:
    """Which of two ``values``, in their order, is positive, and why."""
    usual = conventional_positive(*map(spelled, values)) if by_convention else None
    if usual is not None:
        return values[usual], f"by convention, against {_shown([values[1 - usual]])}"
    low, high = (int((column == value).sum()) for value in values)
    if low == high:
        return values[1], "of two as frequent the last in order"
    return values[int(high < low)], "the rarer"


def conventional_positive(first: str, second: str) -> int | None:
    """Which of two labels is positive by what the words say, 0 or 1; None where they say nothing.

    >>> conventional_positive("Yes", "no"), conventional_positive("fraud", "not fraud")
    (0, 0)
    >>> conventional_positive("0", "1"), conventional_positive("good", "bad")
    (1, None)
    """
    words = [_word(first), _word(second)]
    for at, (other, one) in enumerate((words[::-1], words)):
        if (other, one) in _PAIRS or re.fullmatch(_NEGATED + re.escape(one), other):
            return at
    return None


def _word(label: str) -> str:
    """`1` for the text 1.0 too, which a table in Parquet may hold."""
    return re.sub(r"^([+-]?\d+)\.0*$", r"\1", label.strip().casefold()).removeprefix("+") or label


def _plain(column: pl.Series, table: TableFile) -> pl.Series:
    """Text without blanks around it; numbers where all text of a CSV file is: `1.0` is `1`."""
    if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object):
        table.fail(f"target {column.name!r} holds {column.dtype}: give one value a row")
    if column.dtype.is_float():
        return column.fill_nan(None)
    if isinstance(column.dtype, (pl.String, pl.Categorical, pl.Enum)):
        column = column.cast(pl.String).str.strip_chars()  # and sorts as text
        column = column.set(column == "", None)
        if table.delimiter is not None and not are_codes(column):
            numbers = column.cast(pl.Float64, strict=False)
            if numbers.null_count() == column.null_count() and bool(numbers.is_finite().all()):
                return numbers
    return column


def _shown(values: Sequence[object]) -> str:
    texts = ", ".join(repr(spelled(value)[:40]) for value in values[:4])
    return texts + (", ..." if len(values) > 4 else "")


def groups_of(column: pl.Series, *, table: TableFile) -> NDArray[np.int32]:
    """A code for each row's group: its rank among the groups' names."""
    if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object):
        table.fail(f"group column {column.name!r} holds {column.dtype}: give one value a row")
    column = column.fill_nan(None) if column.dtype.is_float() else column
    _check_complete("group column", column, table)
    return (column.cast(pl.String).rank("dense").to_numpy() - 1).astype(np.int32)


def weights_of(column: pl.Series, *, table: TableFile) -> NDArray[np.float64]:
    """What each row counts: numbers of at least 0, not all 0."""
    if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object, pl.Boolean):
        table.fail(f"weight column {column.name!r} holds {column.dtype}: give a number a row")
    _check_complete("weight column", column, table)
    values = column.cast(pl.Float64, strict=False).to_numpy().astype(np.float64)
    with np.errstate(invalid="ignore"):
        bad = ~(np.isfinite(values) & (values >= 0))
    if bad.any():
        row = int(bad.argmax())
        table.fail(
            f"{table.line(row)}: weight {column.name!r} is {spelled(column[row])}: give a number "
            "of at least 0, where 0 leaves the row out"
        )
    if not values.any():
        table.fail(f"weight column {column.name!r} is 0 throughout: some row must count")
    # The program's numbers have seven digits: less would be lost beside more.
    tiny = (values > 0) & (values < values.max() * _LEAST_WEIGHT)
    if tiny.any():
        row = int(tiny.argmax())
        table.fail(
            f"{table.line(row)}: weight {column.name!r} is {values[row]:g}, less than "
            f"{_LEAST_WEIGHT:g} of the largest, {values.max():g}: make it 0, or cap the largest"
        )
    return values


_LEAST_WEIGHT = 1e-12


def of_mean_one(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights in the ratio of ``weights`` (n,), which are above 0: only ratios count."""
    shares = weights / weights.max()
    return shares / shares.mean()


def times_of(column: pl.Series, *, encoding: Encoding, table: TableFile) -> NDArray[np.float64]:
    """Numbers as they are, dates as days since 1970, a month (2024-12) as its first."""
    if encoding.date_format is None and column.dtype == pl.String:
        column = column.str.replace(r"^\s*(\d{4}-\d{2})\s*$", "${1}-01")
    found = encoded(column, encoding=replace(encoding, has_codes=False), table=table)
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
        first = table.line(int(column.is_null().arg_max() or 0))
        table.fail(
            f"{what} {column.name!r} has {count} missing value{'s'[: count > 1]}, the first at "
            f"{first}: fill it in or drop the row"
        )
