"""The user's own table, from CSV or Parquet: read fast, and refused in one clear line."""

import difflib
from pathlib import Path
from typing import NoReturn

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars.exceptions import PanicException, PolarsError

from harness.data.culprits import TableFile
from harness.errors import UserError

DELIMITERS = {".csv": ",", ".tsv": "\t"}
MISSING_MARKS = ("", "na", "n/a", "null", "none", "?", "-", ".")
TEXT_TYPES = (pl.String, pl.Categorical, pl.Enum)


def read_table(
    *, path: str, target: str, positive: str | None, delimiter: str | None
) -> tuple[NDArray[np.float64], NDArray[np.int8], tuple[str, ...], str]:
    """Features float64 (n, d), labels int8 (n,), the d feature names and the positive label.

    Every column but `target` is a feature and must be numeric or boolean, with no missing or
    infinite value. The target may be of any type with exactly two values. `positive` is one of
    them as text (`1`, `true`, `yes`); None takes the rarer, and of two as frequent the one that
    sorts last. `delimiter` is by default a comma for .csv and a tab for .tsv.

    Raises UserError, naming file, column and line (Parquet: row), for whatever breaks this.
    """
    table = _opened(path, delimiter)
    frame = _parquet_frame(table) if table.delimiter is None else _csv_frame(table)
    if frame.height == 0:
        table.fail("no rows: the table needs data below its header")
    _check_target(frame, target, table)
    try:
        labels, positive_label = _labels(frame[target], positive, table)
        columns = [_numbers(column, table) for column in frame.drop(target).get_columns()]
    except UserError:
        if table.delimiter is not None:
            table.check_ragged()  # a short line reads as missing values: name the line instead
        raise
    if not columns:
        table.fail(f"no features: {target!r} is the only column; give at least one more")
    matrix = pl.DataFrame(columns).to_numpy()
    if (matrix == matrix[0]).all():
        table.fail(f"all {len(columns)} features are constant: give a column that varies")
    return matrix, labels, tuple(column.name for column in columns), positive_label


def _opened(path: str, delimiter: str | None) -> TableFile:
    file = Path(path).expanduser()
    known = (*DELIMITERS, ".parquet")
    if file.is_dir():
        raise UserError(f"{file}: is a directory: set dataset.path to one of its files")
    if file.suffix.lower() not in known:
        raise UserError(f"{file}: extension {file.suffix!r} is not one of {', '.join(known)}")
    try:
        with file.open("rb") as content:
            empty = not content.read(1)
    except FileNotFoundError:
        raise UserError(f"{file}: no such file: check dataset.path") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}): check dataset.path") from None
    if empty:
        raise UserError(f"{file}: the file is empty: give a table with a header and rows")
    if delimiter is not None and len(delimiter.encode()) != 1:
        raise UserError(f"dataset.delimiter must be one ASCII character, got {delimiter!r}")
    if file.suffix.lower() == ".parquet":
        return TableFile(file, None)
    return TableFile(file, delimiter or DELIMITERS[file.suffix.lower()])


def _parquet_frame(table: TableFile) -> pl.DataFrame:
    try:
        return pl.read_parquet(table.path, glob=False, hive_partitioning=False)
    except (PolarsError, PanicException, OSError) as error:
        table.fail(f"not a complete Parquet file ({_first_line(error)}): write or copy it again")


def _csv_frame(table: TableFile) -> pl.DataFrame:
    table.check_header()
    try:
        frame = _csv_read(table, 10_000)
    except (PolarsError, PanicException, OSError):
        try:
            frame = _csv_read(table, None)  # a column may change type late: look at every line
        except (PolarsError, PanicException, OSError) as error:
            _raise_unreadable(table, error)
    while frame.height and all(value is None for value in frame.row(-1)):
        frame = frame.head(-1)  # blank lines at the end are common and harmless
    return frame


def _csv_read(table: TableFile, infer_schema_length: int | None) -> pl.DataFrame:
    return pl.read_csv(
        table.path,
        separator=table.delimiter or ",",
        infer_schema_length=infer_schema_length,
        glob=False,
    )


def _raise_unreadable(table: TableFile, error: BaseException) -> NoReturn:
    table.check_encoding()
    table.check_ragged()
    table.fail(f"cannot be read as CSV ({_first_line(error)}): check its quotes and delimiter")


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _check_target(frame: pl.DataFrame, target: str, table: TableFile) -> None:
    if target in frame.columns:
        return
    close = difflib.get_close_matches(target, frame.columns, n=3)
    names = close or frame.columns[:5]
    remedy = f"did you mean {' or '.join(map(repr, names))}?" if close else f"it has {names}"
    if frame.width == 1 and table.delimiter is not None:
        remedy += f" (one column: is {table.delimiter!r} its delimiter? see dataset.delimiter)"
    table.fail(f"no column {target!r}: set dataset.target; {remedy}")


def spelled(value: object) -> str:
    """A table's or config's value as text: `true`, and `1` for the float 1.0.

    >>> spelled(True), spelled(1.0), spelled("yes")
    ('true', '1', 'yes')
    """
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _labels(
    column: pl.Series, positive: str | None, table: TableFile
) -> tuple[NDArray[np.int8], str]:
    if isinstance(column.dtype, (pl.Categorical, pl.Enum)):
        column = column.cast(pl.String)  # their sort order is not that of their text
    if column.dtype.is_nested():
        table.fail(f"target {column.name!r} holds {column.dtype}: give one value a row")
    if column.dtype.is_float():
        column = column.fill_nan(None)
    _check_missing(column, column.is_null(), "missing", table)
    values = column.unique().sort().to_list()
    if len(values) != 2:
        shown = ", ".join(repr(spelled(value)) for value in values[:4])
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
                f"set dataset.positive to {spelled(low)!r} or {spelled(high)!r}"
            )
        chosen = matches[0]
    return (column == chosen).to_numpy().astype(np.int8), spelled(chosen)


def _numbers(column: pl.Series, table: TableFile) -> pl.Series:
    """The column as finite Float64, or a UserError that names the first cell at fault."""
    if isinstance(column.dtype, TEXT_TYPES):
        column = _parsed(column.cast(pl.String), table)
    numeric = column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null)
    if not numeric:
        table.fail(
            f"column {column.name!r} is {column.dtype}: features must be numeric or boolean; "
            "convert or drop it"
        )
    column = column.cast(pl.Float64)
    _check_missing(column, column.is_null(), "missing", table)
    _check_missing(column, column.is_nan(), "NaN", table)
    _check_missing(column, column.is_infinite(), "infinite", table)
    return column


def _parsed(column: pl.Series, table: TableFile) -> pl.Series:
    """Numbers written with blanks around them, NaN, inf: what Polars takes for text."""
    stripped = column.str.strip_chars()
    stripped = stripped.set(stripped.str.to_lowercase().is_in(MISSING_MARKS), None)
    numbers = stripped.cast(pl.Float64, strict=False)
    text = numbers.is_null() & stripped.is_not_null()
    if not text.any():
        _check_missing(column, numbers.is_null(), "missing", table)
        return numbers
    row = int(text.arg_max() or 0)
    where, value = table.place(row), repr(column[row][:40])
    if text.sum() == stripped.is_not_null().sum():
        table.fail(
            f"column {column.name!r} holds text ({value} at {where}): features must be numeric "
            "or boolean; encode it as numbers or drop it"
        )
    table.fail(
        f"column {column.name!r}, {where}: {value} is not a number ({text.sum()} of "
        f"{len(column)} rows are text): correct the cell or drop the column"
    )


def _check_missing(column: pl.Series, bad: pl.Series, kind: str, table: TableFile) -> None:
    count = int(bad.sum())
    if count:
        first = table.place(int(bad.arg_max() or 0))
        plural = "s" if count > 1 else ""
        table.fail(
            f"column {column.name!r} has {count} {kind} value{plural}, the first at {first}: "
            "impute them or drop the rows"
        )
