"""What is wrong with a CSV file: a fast look at every line, and a slow one to name the line."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, NoReturn

import polars as pl
from polars.exceptions import PanicException, PolarsError

from harness.errors import UserError

# No line is longer than twice this: a file without line ends is read whole into memory.
MAX_LINE = 64 * 2**20


@dataclass(frozen=True, eq=False)
class TableFile:
    """A file on disk. `delimiter` is None for Parquet and Arrow, which have rows but no lines.

    `content` is the file in UTF-8 where it is written in another encoding.
    """

    path: Path
    delimiter: str | None
    decimal: str = "."
    content: bytes | None = None

    @property
    def kind(self) -> str:
        return "Parquet" if self.path.suffix.lower() in {".parquet", ".pq"} else "Arrow"

    @property
    def source(self) -> Path | bytes:
        return self.path if self.content is None else self.content

    def fail(self, message: str) -> NoReturn:
        raise UserError(f"{self.path}: {message}")

    def place(self, row: int) -> str:
        """A row (from 0) as its reader finds it: the line of a CSV file, a Parquet row from 1."""
        if self.delimiter is None:
            return f"row {row + 1}"
        lines = (line for line, _ in self.records())
        next(lines, None)  # the header
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
    def header(self) -> list[str]:
        return next(self.records(), (1, []))[1]

    def check_header(self) -> None:
        """Names must be text and differ: Polars would rename a second 'a' without a word."""
        self._check_line_ends()
        names = self.header
        if not names:
            self.fail("holds only blank lines: give a table with a header and rows")
        if any("\0" in name or "\ufffd" in name for name in names):
            self.check_encoding()
            self.fail("line 1 is not text: save the table as UTF-8 CSV, or as .parquet")
        seen: dict[str, int] = {}
        for index, name in enumerate(names):
            if name in seen:
                self.fail(
                    f"column name {name!r} stands twice in the header (columns {seen[name] + 1} "
                    f"and {index + 1}): rename or drop one"
                )
            seen[name] = index

    def check_lines(self) -> int:
        """Every line must have the header's number of fields; the number of blank last lines.

        Polars fills short lines with missing values and, where it reads only some columns, does
        not see long ones.
        """
        odd, _ = self._odd_lines
        blanks = self._blanks_at(end=False), self._blanks_at(end=True)
        if odd is None or odd != sum(blanks) * (len(self.header) > 1):
            self.check_encoding()
            self.check_ragged()
        return blanks[1]

    @property
    def num_lines(self) -> int:
        """Lines below the header, as far as they can be counted."""
        return max(1, self._odd_lines[1] - 1)

    @cached_property
    def _odd_lines(self) -> tuple[int | None, int]:
        """How many lines have another number of delimiters than the header, and of all lines.

        Delimiters inside quotes do not count. A line break inside quotes makes two odd lines of
        one good record, so oddness is a suspicion: None where the lines cannot even be counted.
        """
        line = pl.col("line").fill_null("")
        outside = pl.when(line.str.contains('"', literal=True)).then(
            line.str.replace_all('"[^"]*"', "")
        )
        bare = outside.otherwise(line)
        count = bare.str.count_matches(self.delimiter or ",", literal=True)
        odd = (count != len(self.header) - 1) | bare.str.contains('"', literal=True)
        try:
            lines = pl.scan_csv(
                self.source,
                has_header=False,
                separator="\x02" if self.delimiter == "\x01" else "\x01",
                quote_char=None,
                schema={"line": pl.String},
                glob=False,
            )
            found = lines.select(odd=odd.sum(), lines=pl.len()).collect(engine="streaming")
        except (PolarsError, PanicException, OSError):
            return None, self._count_lines()
        return int(found["odd"][0]), int(found["lines"][0])

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
        """Every record must have the header's number of fields, but for blank last lines."""
        width, blank = None, None
        for line, fields in self.records():
            width = len(fields) if width is None else width
            if blank is not None and fields and width > 1:
                self.fail(f"line {blank} is blank: remove it")
            blank = line if blank is None and not fields else blank
            if fields and len(fields) != width:
                plural = "s" if len(fields) > 1 else ""
                self.fail(
                    f"line {line} has {len(fields)} field{plural}, the header has {width}: "
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
        return self.path.open("rb") if self.content is None else io.BytesIO(self.content)

    def _opened(self) -> io.TextIOWrapper:
        return io.TextIOWrapper(self._binary(), encoding="utf-8-sig", errors="replace", newline="")
