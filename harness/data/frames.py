"""Arrays and data frames of whatever library as one table, for all that read rows."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from narwhals.stable import v2 as nw
from polars.exceptions import PolarsError

from harness.errors import UserError
from harness.layout import TABLE

IMAGE = "image"  # what arrays are called that are given alone


def table_of(data: Any, *, called: str = "data") -> pl.DataFrame:
    """``data`` as a table, by the same rules for rows to train on and rows to score.

    Args:
      data: as of `held`; columns of an array are called x1, x2, ...
      called: what an error calls it.

    Raises:
      UserError: it is none of these.
    """
    if isinstance(data, pl.LazyFrame):
        return data.collect()
    if isinstance(data, np.ndarray):
        if data.ndim > 2:
            return pl.DataFrame([_arrays(IMAGE, data)])
        if data.ndim != 2:
            raise UserError(f"{called}: an array of shape {data.shape}: give (rows, columns)")
        names = [f"x{index}" for index in range(1, data.shape[1] + 1)]
        return pl.DataFrame({name: series_of(name, data[:, i]) for i, name in enumerate(names)})
    if isinstance(data, Mapping):
        return _of_mapping(data, called)
    try:
        frame = nw.from_native(data, eager_only=True)
    except TypeError:
        raise UserError(
            f"{called}: {_kind(data)}: give a data frame (Polars, pandas, Arrow), a NumPy array "
            "(rows, columns) or a mapping of names to columns"
        ) from None
    return polars_of(frame, called)


def _of_mapping(data: Mapping[Any, Any], called: str) -> pl.DataFrame:
    columns: list[pl.Series] = []
    for name, values in data.items():
        if name == TABLE and len(getattr(values, "shape", ())) == 2:
            columns += table_of(values, called=f"{called}[{name!r}]").get_columns()
        else:
            columns.append(series_of(str(name), values, may_be_arrays=True))
    names = [column.name for column in columns]
    if len(set(names)) < len(names):
        raise UserError(f"{called}: two columns of one name: rename or drop one")
    if len({len(column) for column in columns}) > 1:
        raise UserError(f"{called}: columns of different lengths: give one value a row in each")
    return pl.DataFrame(columns)


def polars_of(frame: Any, called: str) -> pl.DataFrame:
    native = nw.to_native(frame)
    if isinstance(native, pl.DataFrame):
        return native
    names = [str(name) for name in frame.columns]
    if len(set(names)) < len(names):
        raise UserError(f"{called}: two columns of one name: rename or drop one")
    try:
        return frame.to_polars().rename(str)
    except ImportError:  # pandas without PyArrow
        columns = (frame[name] for name in frame.columns)
        return pl.DataFrame([_column(n, one) for n, one in zip(names, columns, strict=True)])


def _column(name: str, column: Any) -> pl.Series:
    cells = zip(column.to_list(), column.is_null().to_list(), strict=True)
    values = series_of(name, np.array([None if gone else cell for cell, gone in cells], object))
    is_category = isinstance(column.dtype, nw.Categorical | nw.Enum)
    return values.cast(pl.Categorical) if is_category else values


def series_of(name: str, values: Any, *, may_be_arrays: bool = False) -> pl.Series:
    """Any sequence of values; texts among numbers make all of it text, as in a file."""
    if isinstance(values, pl.Series):
        return values.alias(name)
    try:
        array = np.asarray(values)
    except ValueError:  # lists of different lengths
        raise UserError(
            f"{name}: its rows are of different lengths: give rows of one, such as texts padded "
            "with an id that stands for nothing"
        ) from None
    if may_be_arrays and array.ndim > 1 and array[:1].size > 1:
        return _arrays(name, array)
    if array.ndim != 1:
        raise UserError(f"{name} has shape {array.shape}: give one value a row")
    cells: Any = array
    if array.dtype.kind == "O":
        listed = (one.tolist() if isinstance(one, np.ndarray) else one for one in array.tolist())
        cells = [None if one is None or one != one else one for one in listed]
        if any(isinstance(one, str) for one in cells):
            cells = [None if one is None else str(one) for one in cells]
    try:
        return pl.Series(name, cells, strict=False)
    except (PolarsError, TypeError, ValueError) as error:
        raise UserError(f"column {name!r} cannot be read ({str(error)[:120]})") from None


def _arrays(name: str, array: np.ndarray) -> pl.Series:
    """An array a row: whole numbers as they are, others as floats of 32 bits at least."""
    if array.dtype.kind not in "biuf":
        raise UserError(f"{name} has shape {array.shape} of {array.dtype}: arrays hold numbers")
    if array.dtype.kind == "b" or array.dtype == np.float16:
        array = array.astype(np.float32)
    return pl.Series(name, np.ascontiguousarray(array))


def _kind(value: Any) -> str:
    package = type(value).__module__.partition(".")[0]
    return (
        f"a {type(value).__name__}"
        if package == "builtins"
        else (f"a {package} {type(value).__name__}")
    )
