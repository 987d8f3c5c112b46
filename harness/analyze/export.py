"""Files of the output folder, each written whole or not at all."""

import os
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import polars as pl

from harness.analyze import markup, tables
from harness.analyze.question import Analysis
from harness.errors import UserError

FORMATS = ("csv", "parquet", "md", "tex")
"""csv and parquet hold every column; md and tex what the terminal shows."""


def parse_formats(text: str) -> tuple[str, ...]:
    """The formats of `csv,md`.

    Raises:
        UserError: one of them is unknown.
    """
    names = {"markdown": "md", "latex": "tex"}
    asked = [names.get(part.strip(), part.strip()) for part in text.split(",") if part.strip()]
    for name in asked:
        if name not in FORMATS:
            raise UserError(f"--format {name}: one or more of {', '.join(FORMATS)}")
    return tuple(dict.fromkeys(asked))


def frames(analysis: Analysis) -> dict[str, pl.DataFrame]:
    """The tables with all their rows and columns, by the name of their file."""
    return {
        "leaderboard": analysis.board,
        "differences": analysis.differences,
        "datasets": analysis.datasets,
        "interquartile_means": analysis.iqm,
        "ranks": analysis.ranks,
    }


def write_tables(analysis: Analysis, output: Path, formats: Sequence[str]) -> list[Path]:
    """Write every table in every format into `output`; the paths."""
    texts: dict[str, Callable[[markup.TextTable], str]] = {
        "md": markup.markdown,
        "tex": markup.latex,
    }
    written = []
    for kind in formats:
        if kind in texts:
            for name, table in tables.text_tables(analysis).items():
                written.append(output / f"{name}.{kind}")
                write_atomically(written[-1], texts[kind](table).encode())
            continue
        for name, frame in frames(analysis).items():
            written.append(output / f"{name}.{kind}")
            data = frame.write_csv().encode() if kind == "csv" else _parquet(frame)
            write_atomically(written[-1], data)
    return written


def write_atomically(path: Path, data: bytes) -> None:
    """Write beside `path` and rename, so that no reader sees half a file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _parquet(frame: pl.DataFrame) -> bytes:
    buffer = BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()
