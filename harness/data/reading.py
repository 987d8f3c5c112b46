"""A table read a few columns at a time, so that a large one never is in memory whole."""

import io
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, NoReturn

import polars as pl
from polars.exceptions import PanicException, PolarsError

from harness.data.table_file import TableFile
from harness.errors import cut, first_line

CODE = r"^\s*0\d+\s*$"  # digits that no number is written with
# What a read may cost: columns are read together as long as they stay below it.
_READ_BYTES = 160 * 2**20
_ROWS = 65_536  # that are read together, of a file that is read row by row
# Polars' own chunks of a CSV file are larger, and several wait in memory: 200 MB in all.
os.environ.setdefault("POLARS_CSV_CHUNK_SIZE", str(4 * 2**20))
_READ_ERRORS = (PolarsError, PanicException, OSError)


@dataclass(frozen=True, eq=False)
class Reader:
    """`columns` reads any of `schema`'s; numbers of a CSV file come as Float64.

    `marks`: the texts of a CSV file that are read as null where numbers stand.
    """

    table: TableFile
    schema: dict[str, pl.DataType]
    marks: tuple[str, ...]
    trailing_blanks: int  # lines at the end of a CSV file, which polars takes for rows
    written: dict[str, str]  # the file's own name of each column, which may have blanks around it

    def columns(self, names: Sequence[str]) -> Iterator[pl.Series]:
        """The columns called ``names``, texts before numbers, else in their order; texts as they
        are written. UserError where one cannot be read."""
        texts = [name for name in names if self.schema[name] == pl.String]
        others = [name for name in names if self.schema[name] != pl.String]
        yield from self._columns(texts, None)
        yield from self._columns(others, list(self.marks))

    def _columns(self, names: Sequence[str], marks: list[str] | None) -> Iterator[pl.Series]:
        for batch in self._batches(names):
            waiting = self._read(batch, marks).get_columns()[::-1]
            while waiting:  # each is let go when its user does
                yield waiting.pop()

    def rows(self, names: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Some rows after others, in their order, of the columns called ``names``.

        Texts are as they are written. UserError where they cannot be read.
        """
        wanted = [pl.col(self.written[name]).alias(name) for name in names]
        try:
            if self.table.delimiter is None:
                scan = _scan(self.table)
            else:
                schema = {self.written[name]: dtype for name, dtype in self.schema.items()}
                scan = _scan(self.table, schema=schema)
                if self.trailing_blanks:
                    num_rows = scan.select(pl.len()).collect(engine="streaming").item()
                    scan = scan.head(num_rows - self.trailing_blanks)
            yield from scan.select(wanted).collect_batches(
                chunk_size=_ROWS, maintain_order=True, engine="streaming"
            )
        except _READ_ERRORS as error:
            _refuse(self.table, error)

    def column(self, name: str) -> pl.Series:
        """One column as it is written: `none` may be a label."""
        return self._read([name], None)[name]

    @cached_property
    def num_rows(self) -> int:
        """Rows, or of a CSV file whose fields hold line breaks a few more."""
        if self.table.delimiter is not None:
            return self.table.num_lines
        try:
            return int(_scan(self.table).select(pl.len()).collect().item())
        except _READ_ERRORS as error:
            _refuse(self.table, error)

    def _batches(self, names: Sequence[str]) -> Iterator[list[str]]:
        batch: list[str] = []
        size = 0
        for name in names:
            # Text is a view of 16 bytes and what it shows.
            dtype = self.schema[name]
            width = 32 if dtype == pl.String else 8 * prod(getattr(dtype, "shape", ()))
            if batch and size + width * self.num_rows > _READ_BYTES:
                yield batch
                batch, size = [], 0
            batch.append(name)
            size += width * self.num_rows
        if batch:
            yield batch

    def _read(self, names: list[str], marks: list[str] | None) -> pl.DataFrame:
        written = self.written
        wanted = [pl.col(written[name]).alias(name) for name in names]
        if self.table.delimiter is None:
            try:
                return _scan(self.table).select(wanted).collect()
            except _READ_ERRORS as error:
                _refuse(self.table, error)
        as_read = {written[name]: dtype for name, dtype in self.schema.items()}
        if marks is not None:
            numeric = [name for name in names if self.schema[name].is_numeric()]
            as_read |= {written[name]: pl.Float64() for name in numeric}
        # Columns may change their type late: then all are text, which is looked at cell by cell.
        as_text = as_read | {written[name]: pl.String() for name in names}
        for schema in (as_read, as_text):
            try:
                scan = _scan(self.table, null_values=marks, schema=schema)
                frame = scan.select(wanted).collect(engine="streaming")
                return frame.head(frame.height - self.trailing_blanks)
            except _READ_ERRORS as error:
                problem = error
        _refuse(self.table, problem)


def open_reader(table: TableFile, *, marks: Sequence[str], texts: Collection[str] = ()) -> Reader:
    """``table``, its columns known. Raises UserError for whatever is no table.

    ``marks``: what stands for a missing value, in whatever case. ``texts``: columns of a CSV file
    that are text whatever they look like. Whole numbers are text too where one begins with 0.
    """
    if table.delimiter is None:
        schema = _schema(table)
        written = {name.strip(): name for name in schema}
        if len(written) < len(schema):
            table.fail("two columns' names differ in blanks alone: rename or drop one")
        schema = {name: schema[own] for name, own in written.items()}
        return Reader(table, schema, (), trailing_blanks=0, written=written)
    table.check_header()
    blanks = table.check_lines()
    spellings = tuple(sorted({case(mark) for mark in marks for case in _CASES}))
    schema = _schema(table, null_values=list(spellings))
    # Without a header polars makes names up, and takes ours with the schema.
    if len(schema) != len(table.names) or (table.has_header and [*schema] != table.written_names):
        table.fail("its header cannot be read: check its quotes, delimiter and line ends")
    schema = dict(zip(table.names, schema.values(), strict=True))
    written = dict(zip(table.names, table.written_names, strict=True))
    schema |= {name: pl.String() for name in {*texts, *_codes(table, schema, written)} & {*schema}}
    return Reader(table, schema, spellings, trailing_blanks=blanks, written=written)


def _codes(
    table: TableFile, schema: Mapping[str, pl.DataType], written: Mapping[str, str]
) -> list[str]:
    """Columns of whole numbers of which some cell begins with 0 and a digit, such as 0501."""
    whole = [name for name, dtype in schema.items() if dtype.is_integer()]
    if not whole or not table.may_hold_codes:
        return []
    as_text = {written[name]: pl.String() if name in whole else schema[name] for name in schema}
    scan = _scan(table, schema=as_text)
    found = [pl.col(written[name]).str.contains(CODE).any().alias(name) for name in whole]
    try:
        row = scan.select(found).collect(engine="streaming")
    except _READ_ERRORS:
        return []  # said when the columns are read
    return [name for name in whole if row[name][0]]


# Polars compares byte by byte. What is written in yet another way is found as text.
_CASES = (str, str.lower, str.upper, str.capitalize, lambda mark: mark.replace("nan", "NaN"))


def _schema(table: TableFile, **options: Any) -> dict[str, pl.DataType]:
    try:
        return dict(_scan(table, **options).collect_schema())
    except _READ_ERRORS as error:
        _refuse(table, error)


def _scan(table: TableFile, **options: Any) -> pl.LazyFrame:
    source = table.source
    if isinstance(source, pl.DataFrame):
        return source.lazy()
    if table.delimiter is not None:
        return pl.scan_csv(
            source,
            has_header=table.has_header,
            separator=table.delimiter,
            decimal_comma=table.decimal == ",",
            infer_schema_length=10_000,
            glob=False,
            **options,
        )
    where = io.BytesIO(source) if isinstance(source, bytes) else source
    if table.kind == "Parquet":
        return pl.scan_parquet(where, glob=False, hive_partitioning=False)
    # Streams of Arrow batches bear the same extensions as files of them.
    if not _begins(source, b"ARROW1"):
        return pl.read_ipc_stream(where).lazy()
    return pl.scan_ipc(where, glob=False, hive_partitioning=False)


def _begins(source: Path | bytes, magic: bytes) -> bool:
    if isinstance(source, bytes):
        return source.startswith(magic)
    with source.open("rb") as file:
        return file.read(len(magic)) == magic


def _refuse(table: TableFile, error: BaseException) -> NoReturn:
    reason = cut(first_line(error), 200)
    if table.delimiter is None:
        table.fail(f"not a complete {table.kind} file ({reason}): write or copy it again")
    table.check_encoding()
    table.check_ragged()
    table.fail(f"cannot be read as CSV ({reason}): check its quotes and delimiter")
