"""Columns put together in one float32 matrix, which is made once and written in place."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from harness.data.dataset import SourceColumn, blocks
from harness.data.encoding import Column, Levels, one_hot, standardised_levels
from harness.data.standardise import FeatureSummary, standardised_column, summary_of
from harness.data.table_file import TableFile
from harness.layout import Part, laid_out
from harness.memory import check_fits


@dataclass(frozen=True, eq=False)
class _Part:
    """The features one column becomes.

    A row's are ``values[index[row]]``, or those of `index` itself where that holds the values.
    """

    source: SourceColumn
    names: tuple[str, ...]
    summary: NDArray[np.float64]  # (features, 6), as `summary_of` takes it
    index: NDArray
    values: NDArray[np.float32] | None = None
    cardinality: int | None = None
    shape: tuple[int, ...] = ()  # where they are an array


class Matrix:
    """Takes `Column`s in any order; the features keep the order of the table, codes last.

    First `plan` those whose number of features is not known beforehand, then `allocate` the
    matrix with a feature for each of the others, which `fill` writes.
    """

    def __init__(self, names: Sequence[str], num_rows: int, *, codes: bool, indicator: bool):
        self._order = {name: index for index, name in enumerate(names)}
        self._num_rows = num_rows
        self._codes, self._indicator = codes, indicator
        self._parts: dict[str, list[_Part]] = {}
        self._dropped: list[SourceColumn] = []
        self._starts: dict[str, int] = {}

    def leave_out(self, name: str, note: str, *, missing: int = 0) -> None:
        self._dropped.append(SourceColumn(name, "dropped", missing, 0, note))

    def plan(self, column: Column) -> None:
        """Keeps the column, in as few bytes as will do, until there is a matrix."""
        if column.numbers is not None:
            self._parts[column.name] = _number_parts(column, indicator=self._indicator)
        elif column.array is not None:
            self._parts[column.name] = [_array_part(column, column.array)]
        elif column.levels is None:
            self.leave_out(column.name, column.note, missing=column.missing)
        else:
            part = _code_part if self._codes else _one_hot_part
            self._parts[column.name] = [part(column, column.levels)]

    def allocate(self, late: Sequence[str], *, place: str) -> None:
        """Makes the matrix: what was planned is written, a feature each left for ``late``.

        UserError, which names the table's ``place``, where it would not fit into memory.
        """
        order = sorted([*self._parts, *late], key=self._place)
        position = 0
        for name in order:
            self._starts[name] = position
            position += sum(len(part.names) for part in self._parts.get(name, ())) or 1
        check_fits(
            4 * self._num_rows * position,
            what=f"{place}: {self._num_rows:,} rows of {position:,} features",
            remedy="lower dataset.max_levels, set dataset.encode=embed, or drop columns or rows",
        )
        self._matrix = np.empty((self._num_rows, position), np.float32)
        for name, parts in self._parts.items():
            self._write(self._starts[name], parts)
        # Only names and summaries are needed from here on.
        self._parts = {
            name: [_light(part) for part in parts] for name, parts in self._parts.items()
        }

    def fill(self, column: Column) -> None:
        """Writes a column of ``late``."""
        if column.numbers is None:
            self.leave_out(column.name, column.note, missing=column.missing)
            return
        parts = _number_parts(column, indicator=False)
        self._write(self._starts[column.name], parts)
        self._parts[column.name] = [_light(part) for part in parts]

    def check(self, *, target: str, table: TableFile) -> None:
        """UserError where nothing is left to learn from."""
        if not self._parts:
            rest = "; ".join(f"{c.name!r}: {c.note}" for c in self._dropped[:3])
            why = f"every other column was left out ({rest})" if rest else "it is the only column"
            table.fail(f"no features beside target {target!r}: {why}; give at least one more")
        missing = sum(part.source.missing for part in self._all)
        if not missing and not (self.summary.std > 0).any():
            table.fail(f"all {len(self.names)} features are constant: give a column that varies")

    @cached_property
    def features(self) -> NDArray[np.float32]:
        gone = [start for name, start in self._starts.items() if name not in self._parts]
        return np.delete(self._matrix, gone, axis=1) if gone else self._matrix

    @cached_property
    def _all(self) -> list[_Part]:
        return [part for name in sorted(self._parts, key=self._place) for part in self._parts[name]]

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(name for part in self._all for name in part.names)

    @cached_property
    def summary(self) -> FeatureSummary:
        return summary_of(np.concatenate([part.summary for part in self._all]))

    @cached_property
    def cardinalities(self) -> tuple[int, ...]:
        codes: list[int] = []
        arrays, start = [], 0
        for part in self._all:
            if part.cardinality is not None:
                codes += [part.cardinality] * len(part.names)
            if part.shape:
                arrays.append(Part(part.source.name, part.shape, start, part.cardinality))
            start += len(part.names)
        return laid_out(tuple(codes), arrays)

    @cached_property
    def columns(self) -> tuple[SourceColumn, ...]:
        """Of all features in their order, then those left out."""
        return tuple(part.source for part in self._all) + tuple(self._dropped)

    def _place(self, name: str) -> tuple[bool, int]:
        parts = self._parts.get(name, [])
        return any(part.cardinality is not None for part in parts), self._order[name]

    def _write(self, position: int, parts: Sequence[_Part]) -> None:
        for part in parts:
            end = position + len(part.names)
            for start, index in blocks(part.index):
                rows = slice(start, start + len(index))
                values = (
                    index.reshape(len(index), -1) if part.values is None else part.values[index]
                )
                self._matrix[rows, position:end] = values
            position = end


def _light(part: _Part) -> _Part:
    return replace(part, index=np.empty(0), values=None)


def _number_parts(column: Column, *, indicator: bool) -> list[_Part]:
    assert column.numbers is not None
    values, summary = standardised_column(column.numbers)
    source = SourceColumn(column.name, column.kind, column.missing, 1, column.note)
    parts = [_Part(source, (column.name,), np.array([summary]), values)]
    if indicator and column.missing:
        gone, summary = standardised_column(np.isnan(column.numbers).astype(np.float64))
        name = f"{column.name} is missing"
        source = SourceColumn(name, "indicator", 0, 1)
        parts.append(_Part(source, (name,), np.array([summary]), gone))
    return parts


def _one_hot_part(column: Column, levels: Levels) -> _Part:
    shown, table = one_hot(levels)
    names = tuple(f"{column.name}={level}" for level in shown[-table.shape[1] :])
    counts = np.bincount(levels.codes, minlength=len(table))
    mean = counts @ table / counts.sum()
    std = np.sqrt(mean * (1 - mean))
    values = standardised_levels(table, mean)
    none = np.zeros_like(mean)
    low = np.where(std == 0, mean, 0.0)  # one level in every row
    summary = np.stack([mean, std, low, np.ones_like(mean), none, none], axis=1)
    source = SourceColumn(
        column.name, "category", column.missing, len(names), column.note, shown, *_codes(levels)
    )
    return _Part(source, names, summary, levels.codes, values)


def _code_part(column: Column, levels: Levels) -> _Part:
    codes = levels.codes.astype(np.float32)
    wide = codes.astype(np.float64)
    summary = np.array([[wide.mean(), wide.std(), wide.min(), wide.max(), 0.0, 0.0]])
    source = SourceColumn(column.name, "code", column.missing, 1, column.note, (), *_codes(levels))
    size = len(levels.names) + 1
    return _Part(source, (column.name,), summary, codes, cardinality=size)


def _array_part(column: Column, array: NDArray[np.float32]) -> _Part:
    """Values as they are: a run's own scaling is enough for what has no units to lose."""
    shape = array.shape[1:]
    places = (",".join(map(str, place)) for place in np.ndindex(shape))
    names = tuple(f"{column.name}[{place}]" for place in places)
    flat = array.reshape(len(array), -1)
    summary = np.zeros((len(names), 6))
    for row, values in zip(summary, flat.T, strict=True):
        wide = values.astype(np.float64)
        row[:4] = wide.mean(), wide.std(), wide.min(), wide.max()
    source = SourceColumn(column.name, column.kind, 0, len(names), column.note)
    return _Part(source, names, summary, flat, cardinality=column.vocabulary, shape=shape)


def _codes(levels: Levels) -> tuple[tuple[str, ...], bool]:
    """The levels' names, and whether the last of them is what the rarest became."""
    return levels.names, levels.num_found > len(levels.names)
