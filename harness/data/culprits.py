"""Where a CSV file is wrong: slow looks, line by line, taken only after the fast reader failed."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from harness.errors import UserError


@dataclass(frozen=True)
class TableFile:
    """A file on disk. `delimiter` is None for Parquet, which has rows but no lines."""

    path: Path
    delimiter: str | None

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
        """(first line, fields) of each record, the header first; stops where csv gives up."""
        with self.path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            reader = csv.reader(file, delimiter=self.delimiter or ",")
            start, seen_header = 1, False
            try:
                for fields in reader:
                    # Polars skips blank lines before the header and keeps them as rows after it.
                    if fields or seen_header:
                        seen_header = True
                        yield start, fields
                    start = reader.line_num + 1
            except csv.Error:
                return

    def check_header(self) -> None:
        """Names must be text and differ: Polars would rename a second 'a' without a word."""
        _, names = next(self.records(), (1, []))
        if not names:
            self.fail("holds only blank lines: give a table with a header and rows")
        if any("\0" in name or "\ufffd" in name for name in names):
            self.check_encoding()
            self.fail("line 1 is not text: save the table as UTF-8 CSV, or as .parquet")
        for index, name in enumerate(names):
            if name in names[:index]:
                first = names.index(name) + 1
                self.fail(
                    f"column name {name!r} stands twice in the header (columns {first} and "
                    f"{index + 1}): rename or drop one"
                )

    def check_encoding(self) -> None:
        with self.path.open("rb") as file:
            for line, content in enumerate(file, start=1):
                try:
                    content.decode("utf-8")
                except UnicodeDecodeError as error:
                    self.fail(
                        f"line {line} is not UTF-8 (byte 0x{content[error.start]:02x}): "
                        "save the file as UTF-8"
                    )

    def check_ragged(self) -> None:
        """Every record must have the header's number of fields: Polars fills short ones."""
        width = None
        for line, fields in self.records():
            width = len(fields) if width is None else width
            if not fields and width > 1:
                self.fail(f"line {line} is blank: remove it")
            if fields and len(fields) != width:
                plural = "s" if len(fields) > 1 else ""
                self.fail(
                    f"line {line} has {len(fields)} field{plural}, the header has {width}: "
                    "complete the line, or quote a field that holds the delimiter"
                )
