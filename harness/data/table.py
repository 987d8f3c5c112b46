"""The user's own table: CSV, Parquet or Arrow, as a Dataset, or refused in one clear line."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import polars as pl
from annotated_types import Ge, Le

from harness.data.assemble import Assembly
from harness.data.cache import file_state
from harness.data.dataset import Dataset, SourceColumn
from harness.data.encode import Encoding, encoded
from harness.data.reader import Reader, open_reader
from harness.data.spelling import OptionalText, Text, Texts, spelled
from harness.data.target import check_names, groups_of, labels_of, times_of

__all__ = ["Table", "spelled"]

_LOG = logging.getLogger("harness.data")
# What pandas and Arrow call the column that only numbers the rows.
_INDEX_NAMES = ("", "__index_level_0__")


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of the user's; every column not named here is a feature.

    ``target`` has two values of any type, of which ``positive`` is one as text (`1`, `true`,
    `yes`); by default the rarer, and of two as frequent the one that sorts last. ``delimiter`` is
    by default a tab for .tsv, else a comma, or a semicolon where ``decimal`` is a comma.

    Numbers, booleans and dates (days since 1970) are one feature; text is a category: ``encode``
    says whether its levels become one-hot features or, for models that embed, integer codes.
    ``categorical`` names columns that look like numbers and are none. Of more than ``max_levels``
    levels the rarest are one. Ids and prose, columns without a value and pandas' unnamed index
    are left out, with a note. ``indicator`` adds, for each column of numbers with missing values,
    one that says which they are. ``group`` and ``time`` are for splitting and are no features.
    """

    kind: Literal["table"] = "table"
    name: Text = "table"
    path: str
    target: Text
    positive: OptionalText = None
    drop: Texts = ()
    categorical: Texts = ()
    encode: Literal["one_hot", "embed"] = "one_hot"
    max_levels: Annotated[int, Ge(2), Le(10_000)] = 100
    indicator: bool = False
    group: OptionalText = None
    time: OptionalText = None
    date_format: str | None = None
    delimiter: str | None = None
    decimal: Literal[".", ","] = "."
    encoding: str = "utf-8"
    source: str = ""
    licence: str = "not stated"
    application: str = ""

    def load(self) -> Dataset:
        """Reads it. Raises UserError for a table it is not."""
        return _load(self)

    def state(self) -> tuple[int, int] | None:
        """Changes where the file does; None where there is none."""
        return file_state(self.path)


def _load(config: Table) -> Dataset:
    reader = open_reader(
        path=config.path,
        delimiter=config.delimiter,
        encoding=config.encoding,
        decimal=config.decimal,
    )
    table = reader.table
    _check_roles(config, reader)
    encoding = Encoding(config.categorical, config.max_levels, config.date_format)
    target = reader.column(config.target)
    if target.is_empty():
        table.fail("no rows: the table needs data below its header")
    labels, positive_label = labels_of(target, positive=config.positive, table=table)
    groups, times = None, None
    if config.group is not None:
        groups = groups_of(reader.column(config.group), table=table)
    if config.time is not None:
        times = times_of(reader.column(config.time), encoding=encoding, table=table)
    assembly = _features(config, reader, encoding, num_rows=len(labels))
    _say(table.path, assembly.columns)
    return Dataset(
        name=config.name,
        features=assembly.features,
        labels=labels,
        feature_names=assembly.names,
        positive_label=positive_label,
        source=config.source or table.path.name,
        licence=config.licence,
        application=config.application,
        raw=assembly.summary,
        cardinalities=assembly.cardinalities,
        groups=groups,
        times=times,
        columns=assembly.columns,
    )


def _check_roles(config: Table, reader: Reader) -> None:
    asked = [("dataset.target", config.target)]
    asked += [("dataset.group", config.group)] if config.group is not None else []
    asked += [("dataset.time", config.time)] if config.time is not None else []
    asked += [("dataset.drop", name) for name in config.drop]
    asked += [("dataset.categorical", name) for name in config.categorical]
    check_names(list(reader.schema), asked, reader.table)


def _features(config: Table, reader: Reader, encoding: Encoding, *, num_rows: int) -> Assembly:
    """Every column that is no other thing, a few in memory at a time.

    Those whose number of features shows only when they are read are read first; then the matrix
    is made, once, and the others go straight into it.
    """
    others = {config.target, config.group, config.time, *config.drop}
    names = [name for name in reader.schema if name not in others]
    index = next(iter(reader.schema), None)
    is_index = index in _INDEX_NAMES and names[:1] == [index]
    plain = {
        name
        for name in names
        if (reader.schema[name].is_numeric() or reader.schema[name] == pl.Boolean)
        and name not in config.categorical
    }
    if config.indicator:
        plain = set()
    assembly = Assembly(names, num_rows, codes=config.encode == "embed", indicator=config.indicator)
    if is_index:
        assembly.leave_out(str(index), "an unnamed first column: the rows' numbers")
        names = names[1:]
    for column in reader.columns([name for name in names if name not in plain]):
        assembly.plan(encoded(column, encoding=encoding, table=reader.table))
    late = [name for name in names if name in plain]
    assembly.allocate(late)
    for column in reader.columns(late):
        assembly.fill(encoded(column, encoding=encoding, table=reader.table))
    assembly.check(target=config.target, table=reader.table)
    return assembly


def _say(path: Path, columns: tuple[SourceColumn, ...]) -> None:
    """What was left out, in one line: nobody should find out from a worse model."""
    dropped = [column for column in columns if column.kind == "dropped"]
    if dropped:
        shown = "; ".join(f"{column.name!r} ({column.note})" for column in dropped[:3])
        more = f" and {len(dropped) - 3} more" if len(dropped) > 3 else ""
        _LOG.warning(
            "%s: left out %s%s. See `harness data describe table`; dataset.categorical keeps one",
            path, shown, more,
        )  # fmt: skip
