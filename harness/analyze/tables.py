"""Tables for the terminal, and CSV files that hold every row."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.analyze.answers import number, p_value, place, seeds_hint, signed
from harness.analyze.metrics import COMPARED, LEADERBOARD

MAX_ROWS = 40
LABEL_WIDTH, METRIC_WIDTH = 62, 18


def print_tables(console: Console, board: pl.DataFrame, differences: pl.DataFrame) -> None:
    """Print the leaderboard and the headline differences, at most MAX_ROWS rows each."""
    metrics = [m for m in LEADERBOARD if m in board.columns]
    fitting = metrics[: max(1, (console.width - LABEL_WIDTH) // METRIC_WIDTH)]
    console.print(leaderboard_table(board, fitting))
    if hidden := metrics[len(fitting) :]:
        console.print(f"A wider terminal, leaderboard.csv or the report has {', '.join(hidden)}.")
    _print_rest(console, board, "leaderboard.csv")
    headline = differences.filter(pl.col("metric") == COMPARED[0])
    if headline.height:
        console.print(differences_table(headline))
        _print_rest(console, headline, "differences.csv")


def leaderboard_table(board: pl.DataFrame, metrics: Sequence[str]) -> Table:
    """One row a group: mean +- half of its 95% interval on test, to 3 decimals."""
    table = Table(title="Test scores: mean ± half of the 95% interval")
    for heading in ("where", "loss", "chosen"):
        table.add_column(heading, overflow="fold")
    for heading in ("seeds", "diverged", *metrics):
        table.add_column(heading, justify="right")
    for where, row in _placed(board):
        scores = [_score(row[m], row[f"{m}_half"]) for m in metrics]
        counts = [str(row["num_seeds"]), str(row["num_diverged"])]
        _add(table, where, row["loss"], row["tuning"], *counts, *scores)
    return table


def differences_table(differences: pl.DataFrame) -> Table:
    """One row a comparison of one metric."""
    table = Table(title="Paired difference from bce on test")
    for heading in ("where", "loss", "metric"):
        table.add_column(heading, overflow="fold")
    for heading in ("difference", "95% interval", "pairs", "Holm p"):
        table.add_column(heading, justify="right")
    table.add_column("verdict")
    for where, row in _placed(differences):
        interval = f"{signed(row['low'])} to {signed(row['high'])}"
        hint = seeds_hint(row)
        verdict = f"{row['verdict']}: {hint}" if hint else row["verdict"]
        values = [signed(row["difference"]), interval, str(row["num_pairs"])]
        p_text = p_value(row["p_holm"])
        _add(table, where, row["loss"], row["metric"], *values, p_text, verdict)
    return table


def write_csv(table: pl.DataFrame, path: Path) -> None:
    """Write all rows; the file appears whole or not at all."""
    write_atomically(path, table.write_csv())


def write_atomically(path: Path, text: str) -> None:
    """Write beside `path` and rename, so that no reader sees half a file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8", newline="\n")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _placed(table: pl.DataFrame) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows with their scenario's name, which is said once."""
    said = ""
    for row in table.head(MAX_ROWS).iter_rows(named=True):
        where = place(row)
        yield ("" if where == said else where), row
        said = where


def _add(table: Table, *cells: str) -> None:
    table.add_row(*(Text(cell) for cell in cells))  # Text: a name such as "[red]" is no markup


def _score(mean: float | None, half: float | None) -> str:
    return number(mean, 3) if half is None else f"{number(mean, 3)} ± {number(half, 3)}"


def _print_rest(console: Console, table: pl.DataFrame, file: str) -> None:
    if table.height > MAX_ROWS:
        console.print(f"{table.height - MAX_ROWS} more rows in {file} and the report.")
