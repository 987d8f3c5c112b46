"""Data of the user's own process: arrays and data frames, read as a table file is.

A configuration names such data by its contents (`Memory.contents`), which says what a run was
trained on and finds it for as long as somebody holds the `Frame`. Nothing of it is written.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Literal
from weakref import WeakValueDictionary

import polars as pl
from narwhals.stable import v2 as nw

from harness.data.dataset import Dataset
from harness.data.frames import polars_of, series_of, table_of
from harness.data.table import OwnTable, TableDescription
from harness.data.table_file import TableFile
from harness.data.target import Text
from harness.errors import UserError

TARGET = "target"  # what a column of labels is called that has no name


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
        channels), one column `image`; or a mapping of names to columns and arrays of more axes,
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


def _labels(target: Any, num_rows: int) -> pl.Series:
    """Labels that were given apart, by their own name if they have one."""
    try:
        column = nw.from_native(target, series_only=True)
    except TypeError:
        labels = series_of(TARGET, target)
    else:
        named = column.alias(str(column.name or TARGET))
        labels = polars_of(named.to_frame(), "target").to_series()
    if len(labels) != num_rows:
        raise UserError(f"target has {len(labels)} labels and data {num_rows} rows: give one a row")
    return labels


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
