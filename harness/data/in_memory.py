"""Data of the user's own process: arrays and data frames, read as a table file is.

A configuration names such data by its contents (`Memory.contents`), which says what a run was
trained on and finds it for as long as somebody holds the `Frame`. Nothing of it is written.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from weakref import WeakValueDictionary

import numpy as np
import polars as pl
from narwhals.stable import v2 as nw
from polars.exceptions import PolarsError

from harness.data.dataset import Dataset
from harness.data.table import OwnTable, TableDescription
from harness.data.table_file import TableFile
from harness.data.target import Text
from harness.errors import UserError
from harness.layout import TABLE

TARGET = "target"  # what a column of labels is called that has no name
IMAGE = "image"  # what arrays are called that are given alone


@dataclass(frozen=True, eq=False)
class Frame:
    """A table in memory and 16 hexadecimal digits of its contents, by which a run names it."""

    table: pl.DataFrame
    contents: str


# Who trains on a frame holds it; the last one to let go of it frees the memory.
_HELD: WeakValueDictionary[str, Frame] = WeakValueDictionary()


@dataclass(frozen=True, kw_only=True)
class Memory(OwnTable, TableDescription):
    """A table that a Python session holds. ``contents``: see `Frame`."""

    kind: Literal["memory"] = "memory"
    contents: Text

    @property
    def place(self) -> str:
        return self.name

    def load(self) -> Dataset:
        """Reads it. Raises UserError for a table it is not, or one that is gone."""
        return self.dataset(self._found())

    def load_held_out(self) -> Dataset:
        """The rows that `hold_out` keeps from every run. Raises as `load`."""
        return self.held_out(self._found())

    def _found(self) -> TableFile:
        frame = _HELD.get(self.contents)
        if frame is None:
            raise UserError(
                f"dataset.contents={self.contents}: {self.name!r} lived in the memory of a Python "
                "session: give it to harness.train(data=...) again, or save it for dataset=table"
            )
        return TableFile(self.name, frame.table, kind="in-memory")


def held(data: Any, target: Any) -> tuple[Frame, str]:
    """``data`` as a `Frame`, to be held while it is trained on, and its target column's name.

    Args:
      data: a data frame (Polars, pandas, Arrow or another that narwhals knows); a NumPy array
        (rows, columns), whose columns are called x1, x2, ..., or of images (rows, height, width,
        channels), one column `IMAGE`; or a mapping of names to columns and arrays of more axes,
        such as images and token ids (rows, length), in which ``"table"`` may be a frame or matrix.
      target: the name of a column, or the labels themselves, one a row.

    Raises:
      UserError: it is none of these.
    """
    table = table_of(data)
    if not isinstance(target, str):
        labels = _labels(target, table.height)
        if labels.name in table.columns:
            raise UserError(
                f"data has a column {labels.name!r}, as the labels given apart are called: drop "
                "it, or name it as the target"
            )
        table = table.with_columns(labels)
        target = labels.name
    contents = _contents(table)
    return _HELD.setdefault(contents, Frame(table, contents)), target


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
        return pl.DataFrame({name: _series(name, data[:, i]) for i, name in enumerate(names)})
    if isinstance(data, Mapping):
        return _of_mapping(data, called)
    try:
        frame = nw.from_native(data, eager_only=True)
    except TypeError:
        raise UserError(
            f"{called}: {_kind(data)}: give a data frame (Polars, pandas, Arrow), a NumPy array "
            "(rows, columns) or a mapping of names to columns"
        ) from None
    return _polars(frame, called)


def _of_mapping(data: Mapping[Any, Any], called: str) -> pl.DataFrame:
    columns: list[pl.Series] = []
    for name, values in data.items():
        if name == TABLE and len(getattr(values, "shape", ())) == 2:
            columns += table_of(values, called=f"{called}[{name!r}]").get_columns()
        else:
            columns.append(_series(str(name), values, may_be_arrays=True))
    names = [column.name for column in columns]
    if len(set(names)) < len(names):
        raise UserError(f"{called}: two columns of one name: rename or drop one")
    if len({len(column) for column in columns}) > 1:
        raise UserError(f"{called}: columns of different lengths: give one value a row in each")
    return pl.DataFrame(columns)


def _polars(frame: Any, called: str) -> pl.DataFrame:
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
    values = _series(name, np.array([None if gone else cell for cell, gone in cells], object))
    is_category = isinstance(column.dtype, nw.Categorical | nw.Enum)
    return values.cast(pl.Categorical) if is_category else values


def _labels(target: Any, num_rows: int) -> pl.Series:
    """Labels that were given apart, by their own name if they have one."""
    try:
        column = nw.from_native(target, series_only=True)
    except TypeError:
        labels = _series(TARGET, target)
    else:
        named = column.alias(str(column.name or TARGET))
        labels = _polars(named.to_frame(), "target").to_series()
    if len(labels) != num_rows:
        raise UserError(f"target has {len(labels)} labels and data {num_rows} rows: give one a row")
    return labels


def _series(name: str, values: Any, *, may_be_arrays: bool = False) -> pl.Series:
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


def _contents(table: pl.DataFrame) -> str:
    """16 hexadecimal digits of names, types and values, however they lie in memory."""
    digest = hashlib.sha256()
    for column in table:
        digest.update(repr((column.name, str(column.dtype), len(column))).encode())
        digest.update(column.is_null().to_numpy().tobytes())
        if isinstance(column.dtype, pl.Categorical | pl.Enum | pl.Decimal):
            column = column.cast(pl.String)
        if column.dtype == pl.String:
            digest.update(column.str.len_bytes().fill_null(0).to_numpy().tobytes())
            digest.update("".join(column.drop_nulls()).encode())
        elif isinstance(column.dtype, pl.Array):
            values = column.reshape((-1,))
            digest.update(values.is_null().to_numpy().tobytes())
            digest.update(values.fill_null(0).to_numpy().tobytes())
        elif column.dtype.is_nested() or column.dtype in (pl.Object, pl.Binary, pl.Null):
            digest.update(repr(column.to_list()).encode())
        else:
            numbers = column.to_physical()
            nothing = False if numbers.dtype == pl.Boolean else 0
            digest.update(numbers.fill_null(nothing).to_numpy().tobytes())
    return digest.hexdigest()[:16]
