"""From a column as it was read to numbers or to levels, and one clear line if it is neither.

Levels of categories are the names that occur anywhere in the table, test rows included: a name says
nothing of a label. What is fitted to numbers (scaling, imputation) sees training rows alone.
"""

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars.exceptions import PolarsError

from harness.data.reading import CODE
from harness.data.table_file import TableFile
from harness.layout import MOST_IDS, TABLE

MISSING_MARKS = ("", "na", "n/a", "nan", "null", "<null>", "none", "?", "-", ".")
MISSING_LEVEL = "(missing)"
OTHER_LEVEL = "(other)"
TIME_TYPES = (pl.Date, pl.Datetime, pl.Duration, pl.Time)
ISO_DATE = r"^\d{4}[-/]\d{1,2}[-/]\d{1,2}"
OTHER_DATE = r"^\d{1,2}[./-]\d{1,2}[./-]\d{2,4}"
# What people write around and into numbers, which no parser takes for one.
DRESSING = r"[,'\s$€£¥%]"
DAY = 86_400e6  # microseconds
# Whole numbers that are looked at as row numbers or ids: from so many rows and values on, and where
# an id has no more rows than this. Of more rows, some are looked at first.
_FEWEST_NUMBERED, _FEWEST_IDS, _MOST_ROWS_AN_ID, _SAMPLED = 20, 1000, 10, 4096


@dataclass(frozen=True, eq=False)
class Levels:
    """codes: uint16 or uint32 (n,), 0 where missing, else 1 + an index into `names`."""

    codes: NDArray
    names: tuple[str, ...]
    num_found: int  # before the rarest became one


@dataclass(frozen=True)
class Encoding:
    """How columns are read.

    `max_levels`: of a category, the rest being `other`. `marks`: what stands for a missing value,
    as text in whatever case, or as the number it looks like; an empty cell is one anyhow.
    """

    categorical: tuple[str, ...] = ()
    marks: tuple[str, ...] = MISSING_MARKS
    max_levels: int = 100
    date_format: str | None = None
    has_codes: bool = True  # whether digits that begin with 0 are a code


@dataclass(frozen=True, eq=False)
class Column:
    """A column as numbers, as levels or as an array; none of them where it is dropped, for the
    reason in `note`.

    A column that is kept has a note where it looks like what should be left out.
    """

    name: str
    kind: str
    missing: int
    numbers: NDArray[np.float64] | None = None  # (n,), NaN where missing
    levels: Levels | None = None
    array: NDArray[np.float32] | None = None  # (n, ...), finite
    vocabulary: int | None = None  # of an array of token ids
    note: str = ""


def encoded(column: pl.Series, *, encoding: Encoding, table: TableFile) -> Column:
    """Numbers for numbers, booleans and dates (days since 1970); levels for other text; arrays for
    lists.

    Raises UserError, naming the first cell at fault, for what is none of these.
    """
    name, dtype = column.name, column.dtype
    # A file that says that a column is a category is believed, whatever its levels look like.
    if name in encoding.categorical or dtype in (pl.Categorical, pl.Enum):
        found = _category(_text(column, encoding, table), encoding, named=True)
        return _with_marks_said(found, column, encoding)
    if dtype == pl.String:
        found = _parsed(_text(column, encoding, table), encoding, table)
        return _with_marks_said(found, column, encoding)
    if dtype == pl.Boolean:
        return _numbers(column, "boolean", table)
    if dtype.is_numeric():
        return _numbers(column, "number", table, _numbers_among(encoding.marks))
    if dtype in TIME_TYPES:
        return _numbers(_days(column), "date", table)
    if dtype == pl.Null:
        return Column(name, "dropped", len(column), note="holds no value")
    if isinstance(dtype, pl.Array | pl.List):
        return _array(column, table)
    table.fail(
        f"column {name!r} is {dtype}: features must be numbers, booleans, dates, text or "
        "arrays of numbers; convert it, or leave it out with dataset.drop"
    )


def _with_marks_said(found: Column, column: pl.Series, encoding: Encoding) -> Column:
    """``found``, with a note where both a mark of missing and empty cells stand in a category.

    A mark beside empty cells is as likely a value: NA is a region, none a plan.
    """
    if found.levels is None or column.dtype != pl.String:
        return found
    cells = column.str.strip_chars()
    empty = int(cells.is_null().sum()) + int((cells == "").sum())
    others = [mark for mark in encoding.marks if mark]
    marked = cells.filter(cells.str.to_lowercase().is_in(others))
    if not empty or marked.is_empty():
        return found
    mark = marked[0]
    note = (
        f"{len(marked):,} cells of {mark!r} and {empty:,} empty ones are all missing: "
        f"dataset.missing=[] keeps {mark!r} as a value"
    )
    return replace(found, note="; ".join(filter(None, (found.note, note))))


def _numbers(
    column: pl.Series, kind: str, table: TableFile, marks: tuple[float, ...] = ()
) -> Column:
    values = column.cast(pl.Float64).to_numpy()
    if marks:
        values = np.where(np.isin(values, marks), np.nan, values)
    infinite = np.isinf(values)
    if infinite.any():
        count, first = int(infinite.sum()), table.line(int(infinite.argmax()))
        table.fail(
            f"column {column.name!r} has {count} infinite value{'s'[: count > 1]}, the first at "
            f"{first}: correct it, or empty the cell if it is missing"
        )
    missing = int(np.isnan(values).sum())
    if missing == len(values):
        return Column(column.name, "dropped", missing, note="holds no value")
    note = _looks_like_ids(values) if kind == "number" else ""
    return Column(column.name, kind, missing, numbers=values, note=note)


def _looks_like_ids(values: NDArray[np.float64]) -> str:
    """What whole numbers look like that count or name the rows; empty for all others.

    >>> _looks_like_ids(np.arange(100.0))
    'numbers the rows'
    """
    step = -(-len(values) // _SAMPLED)
    some = values[::step]
    if len(values) < _FEWEST_NUMBERED or not np.array_equal(some, np.floor(some)):
        return ""
    if np.array_equal(values, np.arange(len(values)) + values[0]):
        return "numbers the rows"
    if len(values) < _FEWEST_IDS or _MOST_ROWS_AN_ID * len(np.unique(some)) < len(some):
        return ""
    present = values[~np.isnan(values)]
    found = len(np.unique(present))
    if found < _FEWEST_IDS or _MOST_ROWS_AN_ID * found < len(values):
        return ""
    if not np.array_equal(present, np.floor(present)):
        return ""
    return f"{found:,} different whole numbers in {len(values):,} rows: ids?"


def _array(column: pl.Series, table: TableFile) -> Column:
    """Token ids where a row has a list of whole numbers, else values as they are."""
    name, values = column.name, array_of(column, table)
    if name == TABLE:
        table.fail(f"column {name!r} holds arrays: rename it, as the other columns are called that")
    if not are_ids(values):
        floats = as_floats(values)
        bad = ~np.isfinite(floats).reshape(len(floats), -1).all(axis=1)
        if bad.any():
            table.fail(
                f"column {name!r}, {table.line(int(bad.argmax()))}: {NOT_FINITE}: fill it in, or "
                "drop the row"
            )
        return Column(name, "array", 0, array=floats)
    lowest, highest = int(values.min()), int(values.max())
    if lowest < 0 or highest >= MOST_IDS:
        table.fail(
            f"column {name!r} holds id {lowest if lowest < 0 else highest}: token ids are whole "
            f"numbers from 0 to {MOST_IDS - 1:,}; arrays of other numbers are floats"
        )
    size = highest + 1
    note = f"{values.shape[1]} token ids a row, of a vocabulary of {size:,}"
    return Column(name, "tokens", 0, note=note, array=values.astype(np.float32), vocabulary=size)


NOT_FINITE = "a value is missing, infinite or beyond float32, which no array may hold"


def as_floats(values: NDArray) -> NDArray[np.float32]:
    """Values of arrays as features; infinite where float32 ends."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32, copy=False)


def are_ids(values: NDArray) -> bool:
    """Whether arrays (n, ...) are of token ids: a list of whole numbers a row."""
    return values.ndim == 2 and values.dtype.kind in "iu"


def array_of(column: pl.Series, table: TableFile) -> NDArray:
    """The arrays of a column, (n, ...) of integers or floats; NaN where a value is missing.

    Raises UserError where they have no one shape, or are not of numbers.
    """
    given = column.dtype
    if isinstance(given, pl.List):
        sizes = column.list.len()
        odd = (sizes.fill_null(0) != (sizes[0] or 0)).arg_true()
        if len(odd):
            row = int(odd[0])
            table.fail(
                f"column {column.name!r}, {table.line(row)}: {sizes[row] or 0} values, and "
                f"{sizes[0] or 0} in {table.line(0)}: give rows of one length, such as texts "
                "padded with an id that stands for nothing"
            )
        column = column.list.to_array(sizes[0] or 0)
    dtype: Any = column.dtype
    shape: tuple[int, ...] = ()
    while isinstance(dtype, pl.Array):
        shape, dtype = (*shape, dtype.size), dtype.inner
    if not (dtype.is_numeric() or dtype == pl.Boolean) or prod(shape) < 2:
        table.fail(
            f"column {column.name!r} is {given}: an array holds several numbers a row, in one "
            "shape; convert it, or leave it out with dataset.drop"
        )
    flat = column.reshape((-1,))
    is_whole = dtype.is_integer() and not column.null_count() and not flat.null_count()
    numbers = flat.to_numpy() if is_whole else flat.cast(pl.Float64).to_numpy()
    return numbers.reshape(len(column), *shape)


def _numbers_among(marks: tuple[str, ...]) -> tuple[float, ...]:
    numbers = pl.Series(marks, dtype=pl.String).cast(pl.Float64, strict=False)
    return tuple(numbers.drop_nulls().drop_nans())


def _days(column: pl.Series) -> pl.Series:
    """Days since 1970 (a time: since midnight; a duration: its days), in UTC where zoned."""
    if column.dtype == pl.Date:
        return column.cast(pl.Int32).cast(pl.Float64)
    if column.dtype == pl.Time:
        return column.cast(pl.Int64).cast(pl.Float64) / (DAY * 1e3)
    if column.dtype == pl.Duration:
        return column.dt.total_microseconds().cast(pl.Float64) / DAY
    return column.dt.epoch("us").cast(pl.Float64) / DAY


def _text(column: pl.Series, encoding: Encoding, table: TableFile) -> pl.Series:
    """Text without blanks around it, null where a mark says missing."""
    if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object):
        table.fail(f"column {column.name!r} is {column.dtype}: give one value a row")
    if column.dtype.is_float():
        column = column.fill_nan(None)
        whole = column.drop_nulls()
        if len(whole) and bool((whole == whole.floor()).all() and (whole.abs() < 2**53).all()):
            column = column.cast(pl.Int64)  # a code of 3 is "3", not "3.0"
    stripped = column.cast(pl.String).str.strip_chars()
    return stripped.set(stripped.str.to_lowercase().is_in(["", *encoding.marks]), None)


def _parsed(text: pl.Series, encoding: Encoding, table: TableFile) -> Column:
    """Text that may be numbers or dates, and is a category where it is neither."""
    present = len(text) - text.null_count()
    if not present:
        return Column(text.name, "dropped", len(text), note="holds no value")
    if encoding.has_codes and are_codes(text):
        column = _category(text, encoding, named=False)
        return replace(column, note="; ".join(filter(None, (_CODES, column.note))))
    numbers = _as_numbers(text, table.decimal)
    is_text = numbers.is_null() & text.is_not_null()
    if not is_text.any():
        return _numbers(numbers, "number", table, _numbers_among(encoding.marks))
    if 2 * int(is_text.sum()) <= present:
        _fail_at(
            text, is_text, table, f"is not a number ({is_text.sum()} of {len(text)} rows are text)"
        )
    dates = _as_dates(text, encoding.date_format)
    if dates is not None:
        no_date = dates.is_null() & text.is_not_null()
        if no_date.any():
            _fail_at(text, no_date, table, "is not a date, as other rows are")
        return _numbers(dates, "date", table)
    _check_dressed(text, is_text, table)
    return _category(text, encoding, named=False)


_CODES = "cells that begin with 0 are codes, hence a category"


def are_codes(text: pl.Series) -> bool:
    """Whether all is digits and some begin with 0, as no number does: 0501 is not 501.

    >>> are_codes(pl.Series(["0501", "702", None])), are_codes(pl.Series(["0", "10"]))
    (True, False)
    """
    digits = text.str.contains(r"^\d+$").drop_nulls()
    return bool(digits.all()) and bool(text.str.contains(CODE).any())


def _as_numbers(text: pl.Series, decimal: str) -> pl.Series:
    if decimal == ",":
        # 1.234 is a thousand here: taken for text, and refused as dressed.
        text = text.set(text.str.contains(".", literal=True), "?").str.replace(",", ".")
    return text.cast(pl.Float64, strict=False)


def _as_dates(text: pl.Series, date_format: str | None) -> pl.Series | None:
    """Days since 1970, null where a cell is no date; None where most are none."""
    if date_format is None and not _mostly(text, ISO_DATE):
        return None
    days = _days_of_text(text, date_format)
    return days if 2 * days.null_count() <= len(text) + text.null_count() else None


def _days_of_text(text: pl.Series, date_format: str | None) -> pl.Series:
    """Days since 1970, null where a cell is no date."""
    try:
        return _days(text.str.to_datetime(date_format, strict=False, time_unit="us"))
    except PolarsError:  # of no cell can a format be guessed
        return pl.Series(text.name, [None] * len(text), dtype=pl.Float64)


def _check_dressed(text: pl.Series, is_text: pl.Series, table: TableFile) -> None:
    """Numbers with thousands separators, percent signs, currencies; dates with the day first."""
    name_it = f"or name {text.name!r} in dataset.categorical or dataset.drop"
    if _mostly(text, OTHER_DATE):
        _fail_at(text, is_text, table, "looks like a date: set dataset.date_format, such as "
                 f"%d/%m/%Y, {name_it}", final=True)  # fmt: skip
    bare = text.str.replace_all(DRESSING, "").cast(pl.Float64, strict=False)
    if 2 * bare.null_count() <= len(text) + text.null_count():
        _fail_at(text, is_text, table, "looks like a number: write numbers plainly (12 for 12%, "
                 f"1234.5 for 1,234.5; dataset.decimal=',' for 0,5), {name_it}",
                 final=True)  # fmt: skip


def _mostly(text: pl.Series, pattern: str) -> bool:
    matches = text.str.contains(pattern).sum()
    return 2 * int(matches) > len(text) - text.null_count()


def _fail_at(
    text: pl.Series, bad: pl.Series, table: TableFile, what: str, *, final: bool = False
) -> None:
    row = int(bad.arg_max() or 0)
    remedy = "" if final else (
        ": correct the cell, or name the column in dataset.categorical or dataset.drop"
    )  # fmt: skip
    table.fail(f"column {text.name!r}, {table.line(row)}: {text[row][:40]!r} {what}{remedy}")


def _category(text: pl.Series, encoding: Encoding, *, named: bool) -> Column:
    missing = text.null_count()
    levels = levels_of(text, max_levels=encoding.max_levels)
    if not named and levels.num_found > max(20, (len(text) - missing) / 2):
        note = f"{levels.num_found:,} different texts in {len(text):,} rows: ids or prose"
        return Column(text.name, "dropped", missing, note=note)
    if levels.num_found == 0:
        return Column(text.name, "dropped", missing, note="holds no value")
    kept = f"the {encoding.max_levels - 1} most frequent of {levels.num_found:,} levels kept"
    note = kept if levels.num_found > encoding.max_levels else ""
    return Column(text.name, "category", missing, levels=levels, note=note)


def levels_of(text: pl.Series, *, max_levels: int) -> Levels:
    """The levels of `text` in alphabetical order.

    Of more than `max_levels`, the `max_levels - 1` most frequent (of equals: the first in the
    alphabet) keep their name and the others share `(other)`, the last.

    >>> levels = levels_of(pl.Series(["b", None, "a", "b", "c"]), max_levels=2)
    >>> levels.names, levels.codes.tolist(), levels.num_found
    (('b', '(other)'), [1, 0, 2, 1, 2], 3)
    """
    counts = text.drop_nulls().value_counts(name="__count__").sort(
        [pl.col("__count__"), pl.nth(0)], descending=[True, False]
    )  # fmt: skip
    found = counts.get_column(counts.columns[0])
    kept = found if len(found) <= max_levels else found.head(max_levels - 1)
    names = kept.sort().to_list()
    other = len(names) + 1
    if len(found) > len(names):
        names.append(OTHER_LEVEL)
    codes = text.replace_strict(
        kept.sort(), list(range(1, len(kept) + 1)), default=other, return_dtype=pl.UInt32
    )
    # Missing values take the default too.
    array = codes.to_numpy().copy()
    array[text.is_null().to_numpy()] = 0
    return Levels(codes=array, names=tuple(names), num_found=len(found))


def one_hot(levels: Levels) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Level names, and the `one_hot_table` of their codes."""
    has_missing = bool((levels.codes == 0).any())
    names = (*levels.names, MISSING_LEVEL) if has_missing else levels.names
    return names, one_hot_table(len(levels.names), has_missing=has_missing)


def one_hot_table(num_levels: int, *, has_missing: bool) -> NDArray[np.float64]:
    """What each code becomes: float64 (1 + levels, features) of 0 and 1.

    A feature each, and one for missing values where there are any; of two, the first is left out.
    A single level is a feature that does not vary, as a column of one number is.
    """
    codes = [*range(1, num_levels + 1), *([0] if has_missing else [])]
    if len(codes) == 2:
        codes = codes[1:]
    table = np.zeros((num_levels + 1, len(codes)))
    table[codes, range(len(codes))] = 1.0
    return table


def standardised_levels(
    table: NDArray[np.float64], mean: NDArray[np.float64]
) -> NDArray[np.float32]:
    """``table``, of 0 and 1, with features of mean 0 and variance 1 where theirs is ``mean``."""
    std = np.sqrt(mean * (1 - mean))
    varies = std != 0  # else one level is in every row
    return np.divide(table - mean, std, out=np.zeros_like(table), where=varies).astype(np.float32)


def numbers_as(
    column: pl.Series, kind: str, *, encoding: Encoding, table: TableFile
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """New rows of a column that `encoded` found to be of this ``kind``, not to be guessed again.

    Returns:
      (n,) numbers as there, NaN where missing; and (n,) which cells are no such number, NaN too.

    Raises:
      UserError: the whole column is of another type.
    """
    dtype = column.dtype
    if dtype == pl.Null:
        return np.full(len(column), np.nan), np.zeros(len(column), np.bool_)
    if dtype == pl.String or isinstance(dtype, pl.Categorical | pl.Enum):
        text = _text(column, encoding, table)
        numbers = _read_as(text, kind, encoding, table)
        bad = (numbers.is_null() & text.is_not_null()).to_numpy()
    elif dtype in TIME_TYPES if kind == "date" else dtype.is_numeric() or dtype == pl.Boolean:
        numbers = _days(column) if kind == "date" else column.cast(pl.Float64)
        bad = np.zeros(len(column), np.bool_)
    else:
        table.fail(f"column {column.name!r} is {dtype}, where training had a {kind}: convert it")
    values = numbers.cast(pl.Float64).to_numpy().copy()
    if kind == "number":
        values[np.isin(values, _numbers_among(encoding.marks))] = np.nan
    bad |= np.isinf(values)
    values[bad] = np.nan
    return values, bad


def _read_as(text: pl.Series, kind: str, encoding: Encoding, table: TableFile) -> pl.Series:
    """Float64, null where the text is nothing of this ``kind``."""
    if kind == "date":
        return _days_of_text(text, encoding.date_format)
    numbers = _as_numbers(text, table.decimal)
    if kind == "boolean":
        words = text.str.to_lowercase().replace_strict(
            ["true", "false"], [1.0, 0.0], default=None, return_dtype=pl.Float64
        )
        numbers = words.fill_null(numbers)
    return numbers


def codes_as(
    column: pl.Series,
    levels: tuple[str, ...],
    *,
    has_other: bool,
    encoding: Encoding,
    table: TableFile,
) -> tuple[NDArray[np.uint32], pl.Series]:
    """New rows of a category whose levels are known.

    Returns:
      (n,) codes as `Levels` has them. A level that is not among them is the last where that stands
      for all others (``has_other``); elsewhere it is missing, and such cells' texts are given too.
    """
    text = _text(_spelled_as(column, levels), encoding, table)
    named = levels[:-1] if has_other else levels
    codes = text.replace_strict(
        pl.Series(named, dtype=pl.String),
        pl.Series(range(1, len(named) + 1), dtype=pl.UInt32),
        default=0,
        return_dtype=pl.UInt32,
    ).to_numpy().copy()  # fmt: skip
    unknown = (codes == 0) & text.is_not_null().to_numpy()
    if has_other:
        codes[unknown] = len(levels)
        return codes, text.clear()
    return codes, text.filter(pl.Series(unknown))


def _spelled_as(column: pl.Series, levels: tuple[str, ...]) -> pl.Series:
    """Numbers as text the way a whole column of them was, whatever some rows of it look like."""
    if not column.dtype.is_numeric():
        return column
    if any("." in level for level in levels):
        return column.cast(pl.Float64).fill_nan(None).cast(pl.String)
    if not column.dtype.is_float():
        return column
    whole = column.set((column != column.floor()) | (column.abs() >= 2**53), None).fill_nan(None)
    return whole.cast(pl.Int64).cast(pl.String).fill_null(column.fill_nan(None).cast(pl.String))
