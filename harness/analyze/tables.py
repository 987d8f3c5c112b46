"""The tables as text, and in the terminal; `markup` writes them as Markdown and LaTeX."""

from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.analyze.headings import compared_heading
from harness.analyze.markup import TextTable
from harness.analyze.question import Analysis, averaged_over, compared_keys
from harness.analyze.wording import (
    chances,
    interval,
    number,
    p_value,
    place,
    signed,
    verdict,
    wins,
)

MAX_ROWS = 40
CHANCES = "P(worse / within ±rope / better)"
LABEL_WIDTH, METRIC_WIDTH = 62, 18


def leaderboard_table(analysis: Analysis, metrics: Sequence[str]) -> TextTable:
    """One row a group: mean and half of its 95% interval on test, to 3 decimals."""
    over = averaged_over(analysis.labelled, analysis.keys, analysis.question.by) or "one run"
    fixed = ["where", compared_keys(analysis.question), "chosen", "runs", "diverged"]
    rows = [
        [where, row["method"], row["tuning"], str(row["num_seeds"]), str(row["num_diverged"])]
        + [_score(row[m], row[f"{m}_half"]) for m in metrics]
        for where, row in _placed(analysis.board)
    ]
    title = f"Test scores: mean ± half of the 95% interval over {over}"
    numeric = frozenset(range(3, len(fixed) + len(metrics)))
    return TextTable(title, [*fixed, *metrics], rows, numeric)


def differences_table(analysis: Analysis) -> TextTable:
    """One row a comparison of the headline metric within a scenario."""
    table = analysis.differences.filter(pl.col("metric") == analysis.headline)
    rows = [
        [
            where,
            row["method"],
            signed(row["difference"]),
            interval(row),
            str(row["num_pairs"]),
            p_value(row["p_holm"]),
            chances(row),
            verdict(row),
        ]
        for where, row in _placed(table)
    ]
    heads = ["where", compared_keys(analysis.question), "difference", "95% interval", "pairs"]
    metric = compared_heading(analysis.headline)
    name = f"Paired difference from {analysis.baseline} in test {metric}"
    rope = f"rope {analysis.question.rope:g}"
    title = f"{name} (Nadeau-Bengio corrected t, Holm; Bayesian correlated t, {rope})"
    heads += ["Holm p", CHANCES, "verdict"]
    return TextTable(title, heads, rows, frozenset(range(2, 7)))


def datasets_table(analysis: Analysis) -> TextTable:
    """One row a group: the headline metric's differences over data sets."""
    table = analysis.datasets.filter(pl.col("metric") == analysis.headline)
    rows = [
        [
            row["method"],
            str(row["num_datasets"]),
            wins(row),
            signed(row["difference"]),
            interval(row),
            p_value(row["p_holm"]),
            chances(row),
            verdict(row),
        ]
        for row in table.iter_rows(named=True)
    ]
    heads = [compared_keys(analysis.question), "data sets", "better / same / worse", "difference"]
    heads += ["95% interval", "Holm p", CHANCES, "verdict"]
    metric = compared_heading(analysis.headline)
    name = f"Over data sets: difference from {analysis.baseline} in {metric}"
    title = f"{name} (Wilcoxon, Holm; Bayesian signed rank, rope {analysis.question.rope:g})"
    return TextTable(title, heads, rows, frozenset(range(1, 7)))


def text_tables(analysis: Analysis) -> dict[str, TextTable]:
    """The tables by the names of their files."""
    return {
        "leaderboard": leaderboard_table(analysis, analysis.metrics),
        "differences": differences_table(analysis),
        "datasets": datasets_table(analysis),
    }


def print_tables(console: Console, analysis: Analysis) -> None:
    """Print the tables, at most MAX_ROWS rows each and as many metrics as fit."""
    metrics = analysis.metrics
    fitting = metrics[: max(1, (console.width - LABEL_WIDTH) // METRIC_WIDTH)]
    shown = text_tables(analysis) | {"leaderboard": leaderboard_table(analysis, fitting)}
    for name, table in shown.items():
        if not table.rows:
            continue
        console.print(_rich(table))
        if len(table.rows) > MAX_ROWS:
            console.print(f"{len(table.rows) - MAX_ROWS} more rows in the report and {name} files.")
        if name == "leaderboard" and (hidden := metrics[len(fitting) :]):
            console.print(f"A wider terminal, the files or the report have {', '.join(hidden)}.")


def _rich(table: TextTable) -> Table:
    shown = Table(title=Text(table.title))
    for i, name in enumerate(table.headings):
        aligned: Any = "right" if i in table.numeric else "left"
        shown.add_column(Text(name), justify=aligned, overflow="fold")
    said = None
    for row in table.rows[:MAX_ROWS]:
        # A scenario's name is said once; Text, since a name such as "[red]" is no markup.
        where = "" if table.headings[0] == "where" and row[0] == said else row[0]
        shown.add_row(Text(where), *(Text(cell) for cell in row[1:]))
        said = row[0]
    return shown


def _placed(table: pl.DataFrame) -> Iterator[tuple[str, dict[str, Any]]]:
    for row in table.iter_rows(named=True):
        yield place(row), row


def _score(mean: float | None, half: float | None) -> str:
    return number(mean, 3) if half is None else f"{number(mean, 3)} ± {number(half, 3)}"
