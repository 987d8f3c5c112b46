"""A table as a file or as bytes, and what is wrong with a CSV file.

A fast look at every line finds that something is wrong, and a slow one names the line.
"""

import codecs
import csv
import io
import math
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, NoReturn
from zipfile import ZipFile

import numpy as np
import polars as pl
from polars.exceptions import PanicException, PolarsError

from harness.errors import UserError, override

# No line is longer than twice this: a file without line ends is read whole into memory.
MAX_LINE = 64 * 2**20
DELIMITERS = {".csv": ",", ".dat": ",", ".tsv": "\t"}
PARQUET = (".parquet", ".pq")
ARROW = (".arrow", ".feather", ".ipc")
NUMPY = ".npz"


@dataclass(frozen=True)
class CsvFormat:
    """How a CSV file is written; `delimiter` None follows from the file's first lines, and where
    these do not tell, from its extension and `decimal`. `\\t` and `tab` are the tab.

    Without a header the columns are called x1, x2, ... and the last one `class`.
    """

    header: bool = True
    delimiter: str | None = None
    decimal: str = "."
    encoding: str = "utf-8"


@dataclass(frozen=True, eq=False)
class TableFile:
    """A table that was not read yet, at ``place`` as errors call it.

    `source` is a path, the bytes of a file (CSV in UTF-8) or a table in memory. `delimiter` is None
    for all but CSV: these have rows but no lines.
    """

    place: str
    source: Path | bytes | pl.DataFrame
    delimiter: str | None = None
    decimal: str = "."
    has_header: bool = True
    kind: str = "CSV"
    note: str = ""  # what was found out of how it is written

    @property
    def short_name(self) -> str:
        return self.source.name if isinstance(self.source, Path) else self.place

    def fail(self, message: str) -> NoReturn:
        raise UserError(f"{self.place}: {message}")

    def line(self, row: int) -> str:
        """A row (from 0) as its reader finds it: the line of a CSV file, else its number from 1."""
        if self.delimiter is None:
            return f"row {row + 1}"
        lines = (line for line, _ in self.records())
        if self.has_header:
            next(lines, None)
        line = next((line for index, line in enumerate(lines) if index == row), row + 2)
        return f"line {line}"

    def records(self) -> Iterator[tuple[int, list[str]]]:
        """(first line, fields) of each record, the header first; UserError where csv gives up."""
        with self._opened() as file:
            reader = csv.reader(file, delimiter=self.delimiter or ",")
            start, seen_header = 1, False
            try:
                for fields in reader:
                    # Polars skips blank lines before the header and keeps them as rows after it.
                    if fields or seen_header:
                        seen_header = True
                        yield start, fields
                    start = reader.line_num + 1
            except csv.Error as error:
                self.fail(f"line {start}: {error}; is a quote never closed?")

    @cached_property
    def written_names(self) -> list[str]:
        """The columns' names as the file has them."""
        fields = next(self.records(), (1, []))[1]
        if self.has_header or not fields:
            return fields
        return [*(f"x{index}" for index in range(1, len(fields))), "class"]

    @cached_property
    def names(self) -> list[str]:
        """The columns' names, without blanks around them."""
        return [name.strip() for name in self.written_names]

    def check_header(self) -> None:
        """Names must be text and differ: Polars would rename a second 'a' without a word."""
        self._check_line_ends()
        if not self.written_names:
            self.fail("holds only blank lines: give a table with a header and rows")
        if not self.has_header and self._blanks_at(end=False):
            self.fail("line 1 is blank: remove it")
        if any("\0" in name or "\ufffd" in name for name in self.names):
            self.check_encoding()
            self.fail("line 1 is not text: save the table as UTF-8 CSV, or as .parquet")
        seen: dict[str, int] = {}
        for index, name in enumerate(self.names):
            if name in seen:
                row = is_number(name) and ", or set dataset.header=false if line 1 is a row"
                self.fail(
                    f"column name {name!r} stands twice in the header (columns {seen[name] + 1} "
                    f"and {index + 1}): rename or drop one{row or ''}"
                )
            seen[name] = index

    def check_no_row(self, target: str) -> None:
        """UserError where the header looks like a row: numbers, and no name that was asked for.

        Numbers that count the columns are names, as pandas gives them.
        """
        numbers = [name for name in self.names if is_number(name)]
        counted = any(
            self.names == [str(first + index) for index in range(len(self.names))]
            for first in (0, 1)
        )
        named = target in self.names and not is_number(target)
        if named or counted or 2 * len(numbers) < len(self.names) or not numbers:
            return
        self.fail(
            f"its header looks like a row ({', '.join(self.names[:4])}, ...): set "
            f"dataset.header=false dataset.target=class if it has none (columns are then x1, x2, "
            "..., class), or rename columns that are called by numbers"
        )

    def check_lines(self) -> int:
        """Every line must have the first one's number of fields; the number of blank last lines.

        Polars fills short lines with missing values and, where it reads only some columns, does
        not see long ones.
        """
        odd, _, _ = self._odd_lines
        blanks = self._blanks_at(end=False), self._blanks_at(end=True)
        if odd is None or odd != sum(blanks) * (len(self.names) > 1):
            self.check_encoding()
            self.check_ragged()
        return blanks[1]

    @property
    def num_lines(self) -> int:
        """Lines below the header, as far as they can be counted."""
        return max(1, self._odd_lines[1] - self.has_header)

    @property
    def may_hold_codes(self) -> bool:
        """Whether some cell is of digits of which the first is 0, as far as lines tell."""
        return self._odd_lines[2]

    @cached_property
    def _odd_lines(self) -> tuple[int | None, int, bool]:
        """How many lines have another number of delimiters than the first, how many there are, and
        whether one of them seems to hold a code such as 0501.

        Delimiters inside quotes do not count. A line break inside quotes makes two odd lines of
        one good record, so oddness is a suspicion: None where the lines cannot even be counted.
        """
        assert not isinstance(self.source, pl.DataFrame)
        line = pl.col("line").fill_null("")
        outside = pl.when(line.str.contains('"', literal=True)).then(
            line.str.replace_all('"[^"]*"', "")
        )
        bare = outside.otherwise(line)
        count = bare.str.count_matches(self.delimiter or ",", literal=True)
        odd = (count != len(self.names) - 1) | bare.str.contains('"', literal=True)
        try:
            lines = pl.scan_csv(
                self.source,
                has_header=False,
                separator="\x02" if self.delimiter == "\x01" else "\x01",
                quote_char=None,
                schema={"line": pl.String},
                glob=False,
            )
            found = lines.select(
                odd=odd.sum(), lines=pl.len(), codes=line.str.contains(self._code).any()
            ).collect(engine="streaming")
        except (PolarsError, PanicException, OSError):
            return None, self._count_lines(), True
        return int(found["odd"][0]), int(found["lines"][0]), bool(found["codes"][0])

    @property
    def _code(self) -> str:
        ends = re.escape(self.delimiter or ",")
        return rf'(?:^|{ends})[ "]*0\d+[ "]*(?:{ends}|$)'

    def _count_lines(self) -> int:
        with self._binary() as file:
            return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(2**20), b"")) + 1

    def _blanks_at(self, *, end: bool) -> int:
        """Blank lines before the header or after the last row."""
        count, pending = 0, b""
        with self._binary() as file:
            if not end:
                for line in file:
                    if line.strip(b"\r\n\xef\xbb\xbf"):
                        return count
                    count += 1
                return count
            file.seek(0, io.SEEK_END)
            position = file.tell()
            while position and not pending.strip(b"\r\n"):
                end_of_piece, position = position, max(0, position - 2**16)
                file.seek(position)
                pending = file.read(end_of_piece - position) + pending
        tail = pending[len(pending.rstrip(b"\r\n")) :]
        return max(0, tail.count(b"\n") - 1)

    def check_encoding(self) -> None:
        """Every line must be UTF-8."""
        with self._binary() as file:
            for line, content in enumerate(file, start=1):
                try:
                    content.decode("utf-8")
                except UnicodeDecodeError as error:
                    self.fail(
                        f"line {line} is not UTF-8 (byte 0x{content[error.start]:02x}): save the "
                        "file as UTF-8, or name what it is saved in by dataset.encoding"
                    )

    def check_ragged(self) -> None:
        """Every record must have the first one's number of fields, but for blank last lines."""
        first = "the header" if self.has_header else "line 1"
        width, blank = None, None
        for line, fields in self.records():
            width = len(fields) if width is None else width
            if blank is not None and fields and width > 1:
                self.fail(f"line {blank} is blank: remove it")
            blank = line if blank is None and not fields else blank
            if fields and len(fields) != width:
                plural = "s" if len(fields) > 1 else ""
                self.fail(
                    f"line {line} has {len(fields)} field{plural}, {first} has {width}: "
                    "complete the line, or quote a field that holds the delimiter"
                )

    def _check_line_ends(self) -> None:
        """No line may be endless: a window of the file without a line end is inside one."""
        with self._binary() as file:
            file.seek(0, io.SEEK_END)
            size, first = file.tell(), True
            for start in range(0, size, MAX_LINE):
                file.seek(start)
                window = min(MAX_LINE, size - start)
                found = self._finds_line_end(file, window)
                if not found and first and self._finds_carriage_return(file):
                    self.fail("lines end in CR alone: save the file with LF or CRLF line ends")
                if not found and window == MAX_LINE:
                    self.fail(
                        f"a line is longer than {MAX_LINE // 2**20} MB: is this a table with one "
                        "row a line?"
                    )
                first = False

    @staticmethod
    def _finds_line_end(file: BinaryIO, window: int) -> bool:
        return any(b"\n" in file.read(2**20) for _ in range(0, window, 2**20))

    @staticmethod
    def _finds_carriage_return(file: BinaryIO) -> bool:
        file.seek(0)
        return b"\r" in file.read(2**20).rstrip(b"\r")

    def _binary(self) -> BinaryIO:
        assert not isinstance(self.source, pl.DataFrame)
        if isinstance(self.source, bytes):
            return io.BytesIO(self.source)
        return self.source.open("rb")

    def _opened(self) -> io.TextIOWrapper:
        return io.TextIOWrapper(self._binary(), encoding="utf-8-sig", errors="replace", newline="")


def is_number(text: str) -> bool:
    """Whether a name is one that a table's cell would be a number for."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def table_at(path: str, format: CsvFormat) -> TableFile:
    """The table in a file of the user's. Raises UserError for whatever is no such file."""
    _check_delimiter(format)
    file = _regular(path)
    suffix = file.suffix.lower()
    if suffix == NUMPY:
        return TableFile(str(file), _arrays(file), kind="NumPy")
    if suffix not in DELIMITERS:
        return TableFile(str(file), file, kind=_kind(suffix))
    content = None if _is_utf8(format, str(file)) else file.read_bytes()
    return _csv(str(file), file if content is None else content, suffix, format)


def table_in(content: bytes, name: str, *, place: str, format: CsvFormat) -> TableFile:
    """The table in the bytes of a file called ``name``. Raises UserError where it is none."""
    _check_delimiter(format)
    if not content:
        raise UserError(f"{place}: the file is empty: give a table with a header and rows")
    suffix = Path(name).suffix.lower()
    if suffix in (*PARQUET, *ARROW):
        return TableFile(place, content, kind=_kind(suffix))
    return _csv(place, content, suffix, format)


def _arrays(file: Path) -> pl.DataFrame:
    """The arrays of a file of NumPy's, each by its name, as of a Python session."""
    from harness.data.frames import table_of  # for which few files take a library more

    try:
        with ZipFile(file):  # else NumPy would look for one array, or for objects
            pass
        with np.load(file, allow_pickle=False) as read:
            arrays = dict(read)
    except Exception as error:  # a damaged one ends in whatever its parts' readers raise
        raise UserError(
            f"{file}: cannot be read ({str(error).partition(chr(10))[0]}): write arrays of numbers "
            "and texts by numpy.savez(file, name=array, ...)"
        ) from None
    try:
        return table_of(arrays, called="its arrays")
    except UserError as error:
        raise UserError(f"{file}: {error}") from None


def _csv(place: str, source: Path | bytes, suffix: str, format: CsvFormat) -> TableFile:
    if isinstance(source, bytes) and not _is_utf8(format, place):
        source = _recoded(source, format.encoding, place)
    default = ";" if format.decimal == "," and suffix != ".tsv" else DELIMITERS.get(suffix, ",")
    stated, line = _stated_delimiter(source)
    if line:
        source = _without_first_line(source, line, keep_blank=format.header)
    delimiter = _named(format.delimiter) or stated or _found_delimiter(source, default)
    note = (
        f"its delimiter is {delimiter!r}" if delimiter != default and not format.delimiter else ""
    )
    if delimiter == format.decimal:
        raise UserError(
            f"dataset.delimiter and dataset.decimal are both {delimiter!r}: they must differ"
        )
    return TableFile(place, source, delimiter, format.decimal, format.header, note=note)


_NAMED = {"\\t": "\t", "tab": "\t"}
_OTHERS = (";", "\t", "|", ",")
_FIRST_BYTES, _FIRST_LINES = 2**16, 20


def _named(delimiter: str | None) -> str | None:
    return None if delimiter is None else _NAMED.get(delimiter.lower(), delimiter)


def _stated_delimiter(source: Path | bytes) -> tuple[str | None, bytes]:
    """The delimiter that Excel's first line `sep=;` states, and that line."""
    line = _beginning(source, 32).split(b"\n")[0]
    found = re.fullmatch(rb'(?:\xef\xbb\xbf)?"?sep=([\x20-\x7e\t])"?\r?', line, re.IGNORECASE)
    return (found[1].decode(), line) if found else (None, b"")


def _without_first_line(source: Path | bytes, line: bytes, *, keep_blank: bool) -> bytes:
    """The file's bytes; a blank line in place of the first leaves the numbers of the others."""
    content = source if isinstance(source, bytes) else source.read_bytes()
    rest = content[len(line) :]
    return rest if keep_blank else rest.removeprefix(b"\n")


def _found_delimiter(source: Path | bytes, default: str) -> str:
    """The one delimiter that stands in the first line, and as often in those that follow.

    ``default`` where that stands there, or where none or several do.
    """
    text = _beginning(source, _FIRST_BYTES).decode("utf-8", errors="replace")
    lines = [re.sub(r'"[^"]*"', "", line) for line in text.splitlines()[:-1] if line.strip()]
    lines = lines[:_FIRST_LINES] or [text]
    if default in lines[0]:
        return default
    found = [
        one
        for one in _OTHERS
        if one != default and one in lines[0] and len({line.count(one) for line in lines}) == 1
    ]
    return found[0] if len(found) == 1 else default


def _beginning(source: Path | bytes, size: int) -> bytes:
    if isinstance(source, bytes):
        return source[:size]
    with source.open("rb") as file:
        return file.read(size)


def _kind(suffix: str) -> str:
    return "Parquet" if suffix in PARQUET else "Arrow"


def _check_delimiter(format: CsvFormat) -> None:
    delimiter = _named(format.delimiter)
    if delimiter is not None and (len(delimiter.encode()) != 1 or delimiter in '"\r\n'):
        raise UserError(
            f"dataset.delimiter must be one ASCII character or tab, got {delimiter!r}: such as "
            f"{override('dataset.delimiter', ';')}"
        )


def _regular(path: str) -> Path:
    """The path of a file that can be opened and is not empty."""
    known = (*DELIMITERS, *PARQUET, *ARROW, NUMPY)
    try:
        file = Path(path).expanduser()
        is_known = file.suffix.lower() in known or file.is_dir()
        mode = file.stat().st_mode if is_known else stat.S_IFREG
    except FileNotFoundError:
        raise UserError(f"{path}: no such file: check the path") from None
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path!r}: cannot be read ({reason}): check the path") from None
    if not is_known:
        raise UserError(f"{file}: extension {file.suffix!r} is not one of {', '.join(known)}")
    if stat.S_ISDIR(mode):
        raise UserError(f"{file}: is a directory: give one of its files")
    if not stat.S_ISREG(mode):
        raise UserError(f"{file}: is no regular file: copy what it gives into one")
    try:
        with file.open("rb") as content:
            empty = not content.read(1)
    except OSError as error:
        raise UserError(
            f"{file}: cannot be read ({error.strerror}): check who may read it"
        ) from None
    if empty:
        raise UserError(f"{file}: the file is empty: give a table with a header and rows")
    return file


def _is_utf8(format: CsvFormat, place: str) -> bool:
    try:
        return codecs.lookup(format.encoding).name == "utf-8"
    except (LookupError, ValueError):
        raise UserError(_unknown_encoding(place, format.encoding)) from None


def _recoded(content: bytes, encoding: str, place: str) -> bytes:
    """A file in UTF-8 that is in another encoding."""
    try:
        return content.decode(encoding).removeprefix("\ufeff").encode()
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UserError(
            f"{place}: line {line} is not {encoding} (byte 0x{error.object[error.start]:02x}): "
            "set dataset.encoding to what the file was saved in"
        ) from None
    except (LookupError, ValueError):
        raise UserError(_unknown_encoding(place, encoding)) from None


def _unknown_encoding(place: str, encoding: str) -> str:
    return (
        f"{place}: dataset.encoding {encoding!r} is not one Python knows: try utf-8, latin-1, "
        "cp1252 or utf-16"
    )
