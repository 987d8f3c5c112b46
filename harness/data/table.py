"""From a table to a data set: the one road for users' files, packages' files and OpenML's tables.

Whoever has a table says where its bytes are and what its columns mean (`TableDescription`); what
follows is the same for all: the same content under the same description gives the same features.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import polars as pl
from annotated_types import Ge, Le, Lt
from numpy.typing import NDArray

from harness.data.dataset import ArrayDataset, Dataset, Overview, SourceColumn, TableDataset
from harness.data.encoding import MISSING_MARKS, Encoding, encoded
from harness.data.fetching import file_state
from harness.data.matrix import Matrix
from harness.data.reading import Reader, open_reader
from harness.data.splits import Rows
from harness.data.splitters import GroupHoldout, Holdout, TimeSplit
from harness.data.table_file import CsvFormat, TableFile, table_at
from harness.data.target import (
    OptionalText,
    Text,
    Texts,
    check_names,
    groups_of,
    labels_of,
    of_mean_one,
    times_of,
    weights_of,
)
from harness.errors import UserError
from harness.layout import parts_of

_LOG = logging.getLogger("harness.data")
# What pandas and Arrow call the column that only numbers the rows.
_INDEX_NAMES = ("", "__index_level_0__")

Count = Annotated[int, Ge(1)] | None


@dataclass(frozen=True, kw_only=True)
class TableDescription:
    """What the columns of a table mean; every column not named here is a feature.

    ``target`` has values of any type, of which ``positive`` is one as text (`1`, `true`, `yes`) and
    the others are negative; by default there must be two, of which one is positive by convention
    (1 of 0/1, yes, true, positive), else the rarer, of two as frequent the one that sorts last.
    ``drop`` names columns that are no features: those that give the label away, above all.

    Arrays of numbers, of one shape in all rows, are as many features, which a network of one's own
    has as one array; a list of whole numbers is token ids. Numbers, booleans and dates (days since
    1970) are one feature; text is a category: ``encode``
    says whether its levels become one-hot features or, for models that embed, integer codes.
    ``categorical`` names columns that look like numbers and are none. Of more than ``max_levels``
    levels the rarest are one. Ids and prose, columns without a value and pandas' unnamed index
    are left out, with a note. ``missing`` lists what stands for a missing value besides an empty
    cell, by default `na`, `n/a`, `nan`, `null`, `<null>`, `none`, `?`, `-` and `.` in whatever
    case. ``indicator`` adds, for each column of numbers with missing values, one that says which
    they are. ``group`` and ``time`` are for splitting and are no features.

    ``weight`` is what each row counts in losses and scores, a number of at least 0, of which only
    ratios count; rows of weight 0 are left out. Splits go by rows, and know no weights.

    ``hold_out`` keeps a share of the rows from every run, for one last test: the latest by
    ``time``, else whole groups of ``group``, else rows of both labels in their proportion. Which
    they are follows from the table alone.

    ``rows``, ``features`` (columns, before text is encoded) and ``positives`` are checked on every
    load; None checks nothing.

    ``family`` is what data sets made from the same rows share, such as KEEL's ecoli1 and ecoli2: to
    tests over data sets they are one. Empty: it has no kin.
    """

    # Whether a label such as 1, yes or positive is the positive one for its name.
    by_convention: ClassVar[bool] = True

    name: Text
    target: Text
    positive: OptionalText = None
    drop: Texts = ()
    categorical: Texts = ()
    missing: Texts | None = None
    encode: Literal["one_hot", "embed"] = "one_hot"
    max_levels: Annotated[int, Ge(2), Le(10_000)] = 100
    indicator: bool = False
    group: OptionalText = None
    time: OptionalText = None
    weight: OptionalText = None
    hold_out: Annotated[float, Ge(0), Lt(0.5)] = 0.0
    date_format: str | None = None
    rows: Count = None
    features: Count = None
    positives: Count = None
    source: str = ""
    licence: str = "not stated"
    application: str = ""
    family: str = ""

    def overview(self) -> Overview:
        """What is recorded; nothing is loaded."""
        return Overview(
            rows=self.rows,
            features=self.features,
            positives=self.positives,
            source=self.source,
            licence=self.licence,
            application=self.application,
        )

    @property
    def cells(self) -> Encoding:
        """How its cells are read."""
        return Encoding(
            categorical=self.categorical,
            marks=marks_of(self.missing),
            max_levels=self.max_levels,
            date_format=self.date_format,
        )

    def dataset(self, table: TableFile) -> Dataset:
        """The data set of ``table``, without the rows that are held out.

        Raises UserError for a table that is not as described, or of which nothing can be learned.
        """
        whole = self._whole(table)
        _say(table, whole.columns, whole.notes)
        if not self.hold_out:
            return whole
        seen, last = self._parts(whole)
        how = f"the latest by {self.time!r}" if self.time else "no run sees them"
        note = f"{len(last):,} of {whole.num_rows:,} rows are held out ({how})"
        _LOG.warning("%s: %s", table.place, note)
        return replace(whole.of_rows(seen), notes=(*whole.notes, note))

    def held_out(self, table: TableFile) -> Dataset:
        """The rows of ``table`` that `hold_out` keeps from every run. Raises as `dataset`."""
        whole = self._whole(table)
        return whole.of_rows(self._parts(whole)[1])

    def _parts(self, whole: Dataset) -> tuple[Rows, Rows]:
        """The rows that runs may see, and those that none does; both ascending."""
        share = self.hold_out
        if self.time is not None:
            split: TimeSplit | GroupHoldout | Holdout = TimeSplit(validation=share, test=share)
        elif self.group is not None:
            split = GroupHoldout(validation=share, test=share)
        else:
            split = Holdout(validation=share, test=share)
        try:
            parts = split.split(whole, seed=0)
        except UserError:  # in the split's own words, which name keys that nobody gave
            by = self.time or self.group
            raise UserError(
                f"dataset.hold_out={share:g}: {whole.num_rows:,} rows, {whole.num_positives:,} of "
                f"them positive, cannot be cut{f' by {by!r}' if by else ''} so that both classes "
                "are on either side: add rows of the rarer class, or change it"
            ) from None
        return np.sort(np.concatenate([parts.train, parts.validation])), np.sort(parts.test)

    def _whole(self, table: TableFile) -> Dataset:
        encoding = self.cells
        texts = {*self.categorical, *filter(None, [self.group])}
        reader = open_reader(table, marks=encoding.marks, texts=texts)
        self._check_roles(reader)
        target = reader.column(self.target)
        if target.is_empty():
            table.fail("no rows: the table needs data below its header")
        labels = labels_of(
            target, positive=self.positive, table=table, by_convention=self.by_convention
        )
        groups, times, weights = None, None, None
        if self.group is not None:
            groups = groups_of(reader.column(self.group), table=table)
        if self.time is not None:
            times = times_of(reader.column(self.time), encoding=encoding, table=table)
        if self.weight is not None:
            weights = weights_of(reader.column(self.weight), table=table)
        names = self._feature_columns(reader)
        self._check_counts(
            table, rows=len(labels.values), features=len(names), positives=int(labels.values.sum())
        )
        matrix = self._matrix(reader, names, encoding, num_rows=len(labels.values))
        kind = ArrayDataset if parts_of(matrix.cardinalities) else TableDataset
        found = kind(
            name=self.name,
            features=matrix.features,
            labels=labels.values,
            feature_names=matrix.names,
            positive_label=labels.positive,
            positive_reason=labels.reason,
            negative_label=labels.negative,
            source=self.source or table.short_name,
            licence=self.licence,
            application=self.application,
            raw=matrix.summary,
            cardinalities=matrix.cardinalities,
            groups=groups,
            times=times,
            columns=matrix.columns,
            notes=tuple(filter(None, (table.note, labels.note))),
        )
        return found if weights is None else self._weighed(found, weights)

    def _weighed(self, whole: Dataset, weights: NDArray[np.float64]) -> Dataset:
        """``whole`` with weights, without the rows that have none."""
        rows = np.flatnonzero(weights).astype(np.int32)
        found = whole.of_rows(rows) if len(rows) < len(weights) else whole
        left_out = len(weights) - len(rows)
        note = f"{left_out:,} of {len(weights):,} rows have weight 0: left out"
        notes = found.notes if left_out == 0 else (*found.notes, note)
        return replace(found, row_weights=of_mean_one(weights[rows]), notes=notes)

    def _check_roles(self, reader: Reader) -> None:
        asked = [("dataset.target", self.target)]
        asked += [("dataset.group", self.group)] if self.group is not None else []
        asked += [("dataset.time", self.time)] if self.time is not None else []
        asked += [("dataset.weight", self.weight)] if self.weight is not None else []
        asked += [("dataset.drop", name) for name in self.drop]
        asked += [("dataset.categorical", name) for name in self.categorical]
        table = reader.table
        if table.delimiter is not None and table.has_header:
            table.check_no_row(self.target)
        check_names(list(reader.schema), asked, reader.table)

    def _feature_columns(self, reader: Reader) -> list[str]:
        """Every column that is no other thing, in the table's order."""
        others = {self.target, self.group, self.time, self.weight, *self.drop}
        others.add(self._row_numbers(reader))
        return [name for name in reader.schema if name not in others]

    def _row_numbers(self, reader: Reader) -> str | None:
        """The unnamed first column that pandas writes, where it has no other part to play."""
        first = next(iter(reader.schema), None)
        named = {self.target, self.group, self.time, self.weight, *self.drop, *self.categorical}
        return first if first in _INDEX_NAMES and first not in named else None

    def _check_counts(self, table: TableFile, **found: int) -> None:
        for key, count in found.items():
            recorded = getattr(self, key)
            if recorded not in (None, count):
                table.fail(
                    f"has {count:,} {key} where dataset {self.name} says {recorded:,}: it is not "
                    f"the data described; dataset.{key}=null takes it as it is"
                )

    def _matrix(
        self, reader: Reader, names: Sequence[str], encoding: Encoding, *, num_rows: int
    ) -> Matrix:
        """The features, a few columns of the table in memory at a time.

        Those whose number of features shows only when they are read are read first; then the
        matrix is made, once, and the others go straight into it.
        """
        plain = {
            name
            for name in names
            if (reader.schema[name].is_numeric() or reader.schema[name] == pl.Boolean)
            and name not in self.categorical
        }
        if self.indicator:
            plain = set()
        matrix = Matrix(names, num_rows, codes=self.encode == "embed", indicator=self.indicator)
        index = self._row_numbers(reader)
        if index is not None:
            matrix.leave_out(index, "an unnamed first column: the rows' numbers")
        for column in reader.columns([name for name in names if name not in plain]):
            matrix.plan(encoded(column, encoding=encoding, table=reader.table))
        late = [name for name in names if name in plain]
        matrix.allocate(late, place=reader.table.place)
        for column in reader.columns(late):
            matrix.fill(encoded(column, encoding=encoding, table=reader.table))
        matrix.check(target=self.target, table=reader.table)
        return matrix


def marks_of(missing: tuple[str, ...] | None) -> tuple[str, ...]:
    """What stands for a missing value where ``missing`` is configured."""
    if missing is None:
        return MISSING_MARKS
    return ("", *(mark.strip().lower() for mark in missing))


def _say(table: TableFile, columns: tuple[SourceColumn, ...], notes: Sequence[str]) -> None:
    """What was left out, in one line: nobody should find out from a worse model."""
    dropped = [column for column in columns if column.kind == "dropped"]
    if dropped:
        shown = "; ".join(f"{column.name!r} ({column.note})" for column in dropped[:3])
        more = f" and {len(dropped) - 3} more" if len(dropped) > 3 else ""
        _LOG.warning(
            "%s: left out %s%s. See `harness data describe`; dataset.categorical keeps one",
            table.place, shown, more,
        )  # fmt: skip
    for note in filter(None, notes):
        _LOG.warning("%s: %s", table.place, note)


@dataclass(frozen=True, kw_only=True)
class CsvTable(TableDescription):
    """A table that may be CSV, and how that is written (see `CsvFormat`)."""

    header: bool = True
    delimiter: str | None = None
    decimal: Literal[".", ","] = "."
    encoding: str = "utf-8"

    @property
    def format(self) -> CsvFormat:
        return CsvFormat(self.header, self.delimiter, self.decimal, self.encoding)


class OwnTable:
    """A table of the user's own: what will be done with it is said, and leaks are looked for.

    `place` is what it is called there.
    """

    place: Any
    target: Text

    def announcement(self, dataset: Dataset) -> list[str]:
        """What a run will do with the table, in a few lines."""
        from harness.data.describe import announcement

        return announcement(dataset, self.place, self.target)


@dataclass(frozen=True, kw_only=True)
class Table(OwnTable, CsvTable):
    """A table file: .csv, .tsv, .parquet, .arrow or .npz. `~` in ``path`` is the home folder.

    An empty ``name`` is that of the file.
    """

    kind: Literal["table"] = "table"
    name: Text = ""
    path: str

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", Path(self.path).stem or "table")

    @property
    def place(self) -> str:
        return Path(self.path).name

    def load(self) -> Dataset:
        """Reads it. Raises UserError for a table it is not."""
        return self.dataset(table_at(self.path, self.format))

    def load_held_out(self) -> Dataset:
        """The rows that `hold_out` keeps from every run. Raises as `load`."""
        return self.held_out(table_at(self.path, self.format))

    def state(self) -> tuple[int, int] | None:
        """Changes where the file does; None where there is none."""
        return file_state(self.path)
