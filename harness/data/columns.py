"""The columns of a table as a trained model knows them, and new rows as the features it was fed.

What `harness.data.table` finds out once of a whole table (which column holds numbers, which levels
a category has, where to centre) is a `Column` here, and applied as it is: to the bit, the features
of rows that were in the table are those they had there.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from harness.data.dataset import Dataset, SourceColumn
from harness.data.encoding import (
    NOT_FINITE,
    Encoding,
    are_ids,
    array_of,
    as_floats,
    codes_as,
    numbers_as,
    one_hot_table,
    standardised_levels,
)
from harness.data.standardise import Affine
from harness.data.table_file import TableFile
from harness.errors import shown
from harness.layout import MOST_IDS, parts_of, shaped

_SHOWN_LEVELS = 3
ARRAYS = ("array", "tokens")
"""Kinds of columns that are an array a row."""


@dataclass(frozen=True)
class Column:
    """A column that became features.

    Attributes:
      kind: what its cells are. A date is days since 1970; a category is one-hot, a code is not.
      scale: of numbers, booleans and dates; None where they were taken as they are.
      indicator: of the feature that says where a number is missing, where there is one.
      levels: of a category or code, from 1 on; 0 is missing. ``has_other``: the last one is of all
        others. ``has_missing``: being missing is a feature of its own.
      means: of a category, the share of rows that each feature had in training.
      shape, vocabulary: of an array, as of `harness.layout.Part`.
    """

    name: str
    kind: Literal["number", "boolean", "date", "category", "code", "array", "tokens"]
    scale: Affine | None = None
    indicator: Affine | None = None
    levels: tuple[str, ...] = ()
    has_other: bool = False
    has_missing: bool = False
    means: tuple[float, ...] = ()
    shape: tuple[int, ...] = ()
    vocabulary: int | None = None

    @property
    def num_features(self) -> int:
        if self.shape:
            return prod(self.shape)
        if self.kind == "category":
            return one_hot_table(len(self.levels), has_missing=self.has_missing).shape[1]
        return 1 if self.indicator is None else 2

    @property
    def is_sound(self) -> bool:
        """Whether its parts fit each other: those of a file may be anything."""
        if self.kind in ("category", "code"):
            rates = all(0 <= mean <= 1 for mean in self.means)
            many = self.num_features if self.kind == "category" else 0
            return bool(self.levels) and rates and len(self.means) == many
        if self.kind in ARRAYS:
            plain = Column(self.name, self.kind, shape=self.shape, vocabulary=self.vocabulary)
            sizes = bool(self.shape) and all(0 < size <= MOST_IDS for size in self.shape)
            ids = len(self.shape) == 1 and 0 < (self.vocabulary or 0) <= MOST_IDS
            return self == plain and sizes and (self.kind == "array" or ids)
        if self.shape or self.vocabulary is not None:
            return False
        scales = [one for one in (self.scale, self.indicator) if one is not None]
        return not (self.levels or self.means) and all(one.is_sound for one in scales)


@dataclass(frozen=True, eq=False)
class NewRows:
    """Rows as features.

    Attributes:
      features: float32 (n, d), NaN where a value is missing, as in `Dataset`.
      reasons: why a row cannot be scored, by its position; its features mean nothing.
      missing: by column, in how many rows it is.
      unknown: by column, how many rows hold levels that training did not, and some of these; they
        count as missing.
    """

    features: NDArray[np.float32]
    reasons: dict[int, str]
    missing: Mapping[str, int]
    unknown: Mapping[str, tuple[int, tuple[str, ...]]]


def places(dataset: Dataset) -> Iterator[tuple[SourceColumn, slice]]:
    """Each column that became features, and which."""
    start = 0
    for source in dataset.columns or _unnamed(dataset):
        if source.num_features:
            features = slice(start, start + source.num_features)
            start = features.stop
            yield source, features


def _unnamed(dataset: Dataset) -> Iterator[SourceColumn]:
    """A column a feature, of data sets that do not say where theirs came from."""
    first_code = dataset.num_features - len(dataset.cardinalities)
    for index, name in enumerate(dataset.feature_names):
        missing = int(np.isnan(dataset.features[:, index]).sum()) if dataset.has_missing else 0
        if index < first_code:
            yield SourceColumn(name, "number", missing, 1)
        else:
            codes = tuple(map(str, range(1, dataset.cardinalities[index - first_code])))
            yield SourceColumn(name, "code", missing, 1, codes=codes)


def columns_of(dataset: Dataset) -> tuple[Column, ...]:
    """What new rows need to become features of ``dataset``'s, in the order of its features."""
    found: list[Column] = []
    arrays = {part.name: part for part in parts_of(dataset.cardinalities)}
    for source, features in places(dataset):
        if source.kind == "indicator":  # it follows its column
            last = found.pop()
            found.append(Column(last.name, last.kind, last.scale, _affine(dataset, features)))
        elif source.kind in ARRAYS:
            part = arrays[source.name]
            kind = source.kind
            found.append(Column(part.name, kind, shape=part.shape, vocabulary=part.vocabulary))  # type: ignore[arg-type]
        elif source.kind in ("category", "code"):
            is_category = source.kind == "category"
            assert dataset.raw is not None or not is_category
            found.append(
                Column(
                    source.name,
                    source.kind,  # type: ignore[arg-type]
                    levels=source.codes,
                    has_other=source.has_other,
                    has_missing=is_category and len(source.levels) > len(source.codes),
                    means=tuple(dataset.raw.mean[features].tolist())
                    if is_category and dataset.raw is not None
                    else (),
                )
            )
        else:
            kind = source.kind
            found.append(Column(source.name, kind, _affine(dataset, features)))  # type: ignore[arg-type]
    return tuple(found)


def _affine(dataset: Dataset, features: slice) -> Affine | None:
    raw, index = dataset.raw, features.start
    if raw is None:
        return None
    values = (raw.min, raw.max, raw.bounded_mean, raw.bounded_std)
    return Affine(*(float(value[index]) for value in values))


def features_of(
    frame: pl.DataFrame, columns: Sequence[Column], *, encoding: Encoding, table: TableFile
) -> NewRows:
    """Rows of ``frame``, which has all ``columns``, as features.

    Raises:
      UserError: a whole column is of a type or shape that its like in training was not.
    """
    features = np.empty((frame.height, sum(one.num_features for one in columns)), np.float32)
    reasons: dict[int, str] = {}
    missing: dict[str, int] = {}
    unknown: dict[str, tuple[int, tuple[str, ...]]] = {}
    start = 0
    for column in columns:
        end = start + column.num_features
        cells = frame[column.name]
        if column.shape:
            array, whys = _arrays(cells, column, table)
            features[:, start:end] = array
            missing[column.name] = 0
            for row, what in whys.items():
                reasons[row] = f"{reasons[row]}; {what}" if row in reasons else what
        elif column.kind in ("category", "code"):
            codes, others = codes_as(
                cells, column.levels, has_other=column.has_other, encoding=encoding, table=table
            )
            features[:, start:end] = _of_levels(column)[codes]
            missing[column.name] = int((codes == 0).sum()) - len(others)
            if len(others):
                some = others.unique(maintain_order=True).head(_SHOWN_LEVELS)
                unknown[column.name] = len(others), tuple(some)
        else:
            values, bad = numbers_as(cells, column.kind, encoding=encoding, table=table)
            with np.errstate(over="ignore"):  # new rows may lie anywhere
                features[:, start] = values if column.scale is None else column.scale(values)
            if column.indicator is not None:
                features[:, start + 1] = column.indicator(np.isnan(values).astype(np.float64))
            # What a feature cannot hold is no number either.
            bad |= np.isinf(features[:, start])
            missing[column.name] = int((np.isnan(values) & ~bad).sum())
            for row in np.flatnonzero(bad).tolist():
                cell = cells[row]
                what = f"column {column.name!r}: {shown(cell)} is no {column.kind}"
                reasons[row] = f"{reasons[row]}; {what}" if row in reasons else what
        start = end
    return NewRows(features, reasons, missing, unknown)


def _arrays(
    cells: pl.Series, column: Column, table: TableFile
) -> tuple[NDArray[np.float32], dict[int, str]]:
    """The features of an array a row, (n, its size), and why rows cannot be scored."""
    place, wanted = f"column {column.name!r}", shaped(column.shape)
    if not isinstance(cells.dtype, pl.Array | pl.List):
        table.fail(
            f"{place} is {cells.dtype}, and the model takes arrays of {wanted} numbers, which no "
            "CSV file holds: give Parquet, Arrow, or arrays in Python"
        )
    values = array_of(cells, table)
    if values.shape[1:] != column.shape:
        table.fail(
            f"{place} holds arrays of {shaped(values.shape[1:])}: give {wanted}, as trained on"
        )
    if column.kind == "tokens" and not are_ids(values):
        table.fail(f"{place} holds {cells.dtype}: give token ids, which are whole numbers")
    flat = values.reshape(len(values), -1)
    if column.vocabulary is None:
        flat = as_floats(flat)
        bad = dict.fromkeys(
            np.flatnonzero(~np.isfinite(flat).all(axis=1)).tolist(), f"{place}: {NOT_FINITE}"
        )
        return flat, bad
    ids = f"ids are 0 to {column.vocabulary - 1}"
    outside = (flat < 0) | (flat >= column.vocabulary)
    rows = np.flatnonzero(outside.any(axis=1)).tolist()
    bad = {
        row: f"{place}: {flat[row][outside[row]][0]} is no id of training: {ids}" for row in rows
    }
    return np.where(outside, 0, flat).astype(np.float32), bad


def _of_levels(column: Column) -> NDArray[np.float32]:
    """The features of each code: float32 (1 + levels, features)."""
    if column.kind == "code":
        return np.arange(len(column.levels) + 1, dtype=np.float32)[:, None]
    table = one_hot_table(len(column.levels), has_missing=column.has_missing)
    return standardised_levels(table, np.array(column.means))
