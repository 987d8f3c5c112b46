"""A table on disk, read a few columns at a time, so that a large one never is in memory whole."""

import codecs
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import polars as pl
from polars.exceptions import PanicException, PolarsError

from harness.data.culprits import TableFile
from harness.errors import UserError

DELIMITERS = {".csv": ",", ".tsv": "\t"}
PARQUET = (".parquet", ".pq")
ARROW = (".arrow", ".feather", ".ipc")
MISSING_MARKS = ("", "na", "n/a", "nan", "null", "none", "?", "-", ".")
# As polars compares them: byte by byte.
_NULL_VALUES = [*MISSING_MARKS, "NA", "N/A", "n/A", "NaN", "NAN", "NULL", "Null", "None", "NONE"]
# What a read may cost: columns are read together as long as they stay below it.
_READ_BYTES = 160 * 2**20
# Polars' own chunks of a CSV file are larger, and several wait in memory: 200 MB in all.
os.environ.setdefault("POLARS_CSV_CHUNK_SIZE", str(4 * 2**20))
_READ_ERRORS = (PolarsError, PanicException, OSError)


@dataclass(frozen=True, eq=False)
class Reader:
    """`columns` reads any of `schema`'s; numbers of a CSV file come as Float64."""

    table: TableFile
    schema: dict[str, pl.DataType]
    trailing_blanks: int  # lines at the end of a CSV file, which polars takes for rows

    def columns(self, names: Sequence[str]) -> Iterator[pl.Series]:
        """The columns called ``names``, in their order; UserError where one cannot be read."""
        for batch in self._batches(names):
            waiting = self._read(batch, _NULL_VALUES).get_columns()[::-1]
            while waiting:  # each is let go when its user does
                yield waiting.pop()

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
            width = 32 if self.schema[name] == pl.String else 8
            if batch and size + width * self.num_rows > _READ_BYTES:
                yield batch
                batch, size = [], 0
            batch.append(name)
            size += width * self.num_rows
        if batch:
            yield batch

    def _read(self, names: list[str], null_values: list[str] | None) -> pl.DataFrame:
        if self.table.delimiter is None:
            try:
                return _scan(self.table).select(names).collect()
            except _READ_ERRORS as error:
                _refuse(self.table, error)
        types = {name: pl.Float64() for name in names if self.schema[name].is_numeric()}
        if null_values is None:
            types = {}
        # Columns may change their type late: then all are text, which is looked at cell by cell.
        as_text = {name: pl.String() for name in names}
        for overrides in ({**self.schema, **types}, {**self.schema, **as_text}):
            try:
                scan = _scan(self.table, null_values=null_values, schema=overrides)
                frame = scan.select(names).collect(engine="streaming")
                return frame.head(frame.height - self.trailing_blanks)
            except _READ_ERRORS as error:
                problem = error
        _refuse(self.table, problem)


def open_reader(*, path: str, delimiter: str | None, encoding: str, decimal: str) -> Reader:
    """The table at ``path``, its columns known. Raises UserError for whatever is no table."""
    table = _opened(path, delimiter, encoding, decimal)
    if table.delimiter is None:
        return Reader(table, _schema(table), trailing_blanks=0)
    table.check_header()
    blanks = table.check_lines()
    schema = _schema(table, null_values=_NULL_VALUES)
    if list(schema) != table.header:
        table.fail("its header cannot be read: check its quotes, delimiter and line ends")
    return Reader(table, schema, trailing_blanks=blanks)


def _opened(path: str, delimiter: str | None, encoding: str, decimal: str) -> TableFile:
    if delimiter is not None and (len(delimiter.encode()) != 1 or delimiter in '"\r\n'):
        raise UserError(f"dataset.delimiter must be one ASCII character, got {delimiter!r}")
    file = _regular(path)
    suffix = file.suffix.lower()
    if suffix in (*PARQUET, *ARROW):
        return TableFile(file, None)
    default = ";" if decimal == "," and suffix == ".csv" else DELIMITERS[suffix]
    delimiter = delimiter or default
    if delimiter == decimal:
        raise UserError(
            f"dataset.delimiter and dataset.decimal are both {decimal!r}: they must differ"
        )
    return TableFile(file, delimiter, decimal=decimal, content=_recoded(file, encoding))


def _regular(path: str) -> Path:
    """The path of a file that can be opened and is not empty."""
    known = (*DELIMITERS, *PARQUET, *ARROW)
    try:
        file = Path(path).expanduser()
        if file.suffix.lower() not in known and not file.is_dir():
            raise UserError(f"{file}: extension {file.suffix!r} is not one of {', '.join(known)}")
        mode = file.stat().st_mode
    except FileNotFoundError:
        raise UserError(f"{path}: no such file: check dataset.path") from None
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path!r}: cannot be read ({reason}): check dataset.path") from None
    if stat.S_ISDIR(mode):
        raise UserError(f"{file}: is a directory: set dataset.path to one of its files")
    if not stat.S_ISREG(mode):
        raise UserError(f"{file}: is no regular file: copy what it gives into one")
    try:
        with file.open("rb") as content:
            empty = not content.read(1)
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}): check dataset.path") from None
    if empty:
        raise UserError(f"{file}: the file is empty: give a table with a header and rows")
    return file


def _recoded(file: Path, encoding: str) -> bytes | None:
    """The file in UTF-8, where it is in another encoding; held in memory."""
    try:
        if codecs.lookup(encoding).name == "utf-8":
            return None
        return file.read_bytes().decode(encoding).removeprefix("\ufeff").encode()
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UserError(
            f"{file}: line {line} is not {encoding} (byte 0x{error.object[error.start]:02x}): "
            "set dataset.encoding to what the file was saved in"
        ) from None
    except (LookupError, ValueError):
        raise UserError(
            f"{file}: dataset.encoding {encoding!r} is not one Python knows: try utf-8, latin-1, "
            "cp1252 or utf-16"
        ) from None


def _schema(table: TableFile, **options: Any) -> dict[str, pl.DataType]:
    try:
        return dict(_scan(table, **options).collect_schema())
    except _READ_ERRORS as error:
        _refuse(table, error)


def _scan(table: TableFile, **options: Any) -> pl.LazyFrame:
    suffix = table.path.suffix.lower()
    if suffix in PARQUET:
        return pl.scan_parquet(table.path, glob=False, hive_partitioning=False)
    if suffix in ARROW:
        with table.path.open("rb") as file:
            is_file = file.read(6) == b"ARROW1"
        # Streams of Arrow batches bear the same extensions as files of them.
        return pl.scan_ipc(table.path) if is_file else pl.read_ipc_stream(table.path).lazy()
    return pl.scan_csv(
        table.source,
        separator=table.delimiter or ",",
        decimal_comma=table.decimal == ",",
        infer_schema_length=10_000,
        glob=False,
        **options,
    )


def _refuse(table: TableFile, error: BaseException) -> NoReturn:
    reason = next(iter(str(error).splitlines()), type(error).__name__)[:200]
    if table.delimiter is None:
        table.fail(f"not a complete {table.kind} file ({reason}): write or copy it again")
    table.check_encoding()
    table.check_ragged()
    table.fail(f"cannot be read as CSV ({reason}): check its quotes and delimiter")
