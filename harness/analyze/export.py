"""The tables as text, in the terminal and in files.

Names in them are text, whatever characters they have.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.analyze import overview
from harness.analyze.comparisons import differences
from harness.analyze.groups import GROUP, SCENARIO
from harness.analyze.headings import compared, compared_heading, compared_sign
from harness.analyze.question import Analysis, averaged_over, compared_keys
from harness.analyze.wording import chances, interval, number, p_value, place, signed, verdict, wins
from harness.errors import UserError, cut
from harness.files import write_whole

MAX_ROWS = 40
CHANCES = "P(worse / within ±rope / better)"
LABEL_WIDTH, METRIC_WIDTH = 74, 20

FORMATS = ("csv", "parquet", "md", "tex")
"""csv and parquet hold every column; md and tex what the terminal shows."""


@dataclass(frozen=True)
class TextTable:
    """Cells as a reader sees them; untrusted names among them are not yet escaped."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: frozenset[int]  # columns aligned to the right
    bold: frozenset[tuple[int, int]] = frozenset()  # (row, column)
    is_captioned: bool = False  # in LaTeX the title is a caption, and no comment


def leaderboard_table(analysis: Analysis, metrics: Sequence[str]) -> TextTable:
    """One row a group: mean and 95% interval on test, to 3 decimals."""
    over = averaged_over(analysis.labelled, analysis.keys, analysis.question.by) or "one run"
    fixed = ["where", compared_keys(analysis.question), "chosen", "runs", "diverged"]
    fixed.append("threshold")
    rows = [
        [where, row["method"], row["tuning"], str(row["num_seeds"]), str(row["num_diverged"])]
        + [overview.probability(row["threshold"])]
        + [_score(row[m], row[f"{m}_low"], row[f"{m}_high"]) for m in metrics]
        for where, row in _placed(analysis.board)
    ]
    title = f"Test scores: mean (95% interval, cut at the metric's range) over {over}"
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
            p_value(row["p_adjusted"]),
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
            p_value(row["p_adjusted"]),
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


TIE = "†"


def paper_table(analysis: Analysis) -> TextTable:
    """Data sets as rows, methods as columns: the headline metric's mean on test, to 3 decimals.

    The best of a row is bold, and TIE marks what is not shown to be worse than it. The last rows
    are the mean and the average rank over the data sets that all methods have.
    """
    metric, board = analysis.headline, analysis.board
    methods = sorted(board["method"].unique(), key=lambda m: (m != analysis.baseline, m))
    sign = compared_sign(metric)
    gain = (compared(metric, pl.col(metric)) * sign).alias("gain")
    scored = board.select(*GROUP, metric, gain).drop_nulls(metric)
    best = scored.sort("gain", "method", descending=[True, False]).group_by(SCENARIO).first()
    ties = _not_worse(analysis, best) if sign else set()
    rows: list[list[str]] = []
    bold: set[tuple[int, int]] = set()
    complete: list[list[float]] = []
    for scenario in board.select(SCENARIO).unique(maintain_order=True).iter_rows(named=True):
        same = [pl.col(name).eq_missing(pl.lit(value)) for name, value in scenario.items()]
        means = dict(scored.filter(*same).select("method", metric).iter_rows())
        first = best.filter(*same)["method"].to_list() if sign else []
        key = tuple(scenario.values())
        cells = [number(means.get(m), 3) + (TIE if (*key, m) in ties else "") for m in methods]
        bold |= {(len(rows), 1 + methods.index(m)) for m in first}
        rows.append([place(scenario), *cells])
        if len(means) == len(methods):
            complete.append([means[m] for m in methods])
    if len(complete) > 1:
        means_of_all = (sum(column) / len(complete) for column in zip(*complete, strict=True))
        rows.append(["mean", *(number(mean, 3) for mean in means_of_all)])
    if ranks := dict(analysis.ranks.select("method", "rank").iter_rows()):
        rows.append(["average rank", *(number(ranks[m], 2) for m in methods)])
    title = f"Test {compared_heading(metric)}, mean of each data set's runs"
    if sign:
        title += (
            f"; the best in bold, {TIE}: not shown to be worse than it (Nadeau-Bengio corrected t, "
            "Holm)"
        )
    numeric = frozenset(range(1, 1 + len(methods)))
    return TextTable(title, ["", *methods], rows, numeric, frozenset(bold), is_captioned=True)


def _not_worse(analysis: Analysis, best: pl.DataFrame) -> set[tuple[Any, ...]]:
    """The groups, as (*SCENARIO, method), that are not shown to be worse than their scenario's
    best; each best method's comparisons are a family."""
    found: set[tuple[Any, ...]] = set()
    for (method,), own in best.group_by("method", maintain_order=True):
        runs = analysis.chosen.join(own, on=SCENARIO, nulls_equal=True, how="semi")
        beside = differences(
            runs, metrics=[analysis.headline], baseline=str(method), rope=analysis.question.rope
        )
        found |= set(beside.filter(pl.col("verdict") != "worse").select(GROUP).iter_rows())
    return found


def overview_tables(analysis: Analysis) -> list[TextTable]:
    """Each method beside the baseline in what a user wants of it."""
    compared = compared_keys(analysis.question)
    return [
        TextTable(
            table.title,
            [compared, *(f"{wanted}: {metric}" for wanted, metric in table.columns)],
            [
                [method, *(" ".join((cell.word, cell.number)).strip() for cell in cells)]
                for method, cells in table.rows
            ],
            frozenset(),
        )
        for table in overview.tables(analysis)
    ]


def text_tables(analysis: Analysis) -> dict[str, TextTable]:
    """The tables by the names of their files."""
    return {
        "leaderboard": leaderboard_table(analysis, analysis.metrics),
        "differences": differences_table(analysis),
        "datasets": datasets_table(analysis),
    }


def print_overview(console: Console, analysis: Analysis) -> None:
    """Print what is to be known first, and each method beside the baseline in what a user wants of
    it."""
    for note in analysis.notes:
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    for finding in analysis.trained:
        style = "red" if finding.is_beyond else None
        console.print(str(finding), style=style, markup=False, highlight=False, soft_wrap=True)
    for first in overview_tables(analysis):
        console.print(_rich(first))


def print_tables(console: Console, analysis: Analysis) -> None:
    """Print the answer and the tables, at most MAX_ROWS rows each and as many metrics as fit."""
    print_overview(console, analysis)
    if advice := overview.advice(analysis):
        console.print(advice, markup=False, highlight=False)
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


def _score(mean: float | None, low: float | None, high: float | None) -> str:
    if low is None:
        return number(mean, 3)
    return f"{number(mean, 3)}\n({number(low, 3)} to {number(high, 3)})"


def markdown(table: TextTable) -> str:
    """A GitHub-flavoured table under its title."""
    rule = ["---:" if i in table.numeric else "---" for i in range(len(table.headings))]
    lines = [
        _cells(table.headings, _markdown_text),
        rule,
        *_escaped(table, _markdown_text, "**{}**"),
    ]
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{_markdown_text(table.title)}\n\n{body}\n"


def latex(table: TextTable) -> str:
    """A booktabs table; what TeX would take for a command is escaped."""
    columns = "".join("r" if i in table.numeric else "l" for i in range(len(table.headings)))
    heads = _cells(table.headings, _latex_text)
    rows = _escaped(table, _latex_text, r"\textbf{{{}}}")
    body = "\n".join(f"  {' & '.join(row)} \\\\" for row in rows)
    whole = (
        f"\\begin{{tabular}}{{{columns}}}\n  \\toprule\n"
        f"  {' & '.join(heads)} \\\\\n  \\midrule\n{body}\n  \\bottomrule\n\\end{{tabular}}\n"
    )
    if not table.is_captioned:
        return f"% {_one_line(table.title)}\n{whole}"
    caption = f"  \\caption{{{_latex_text(table.title)}}}\n"
    return f"\\begin{{table}}\n{caption}{whole}\\end{{table}}\n"


_TEX: dict[str, Any] = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    TIE: r"$^{\dagger}$",
    "\N{MINUS SIGN}": "$-$",
    "\N{EN DASH}": "--",
}
_MARKDOWN: dict[str, Any] = {c: f"\\{c}" for c in "\\`*_[]|"} | {
    "<": "&lt;",
    ">": "&gt;",
    "&": "&amp;",
}


def _latex_text(text: str) -> str:
    return _one_line(text).translate(str.maketrans(_TEX))


def _markdown_text(text: str) -> str:
    return _one_line(text).translate(str.maketrans(_MARKDOWN))


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _escaped(table: TextTable, escape: Callable[[str], str], emphasis: str) -> Iterator[list[str]]:
    for at, row in enumerate(table.rows):
        yield [
            emphasis.format(cell) if (at, column) in table.bold else cell
            for column, cell in enumerate(_cells(row, escape))
        ]


def _cells(row: Sequence[str], escape: Callable[[str], str]) -> list[str]:
    return [escape(cell) for cell in row]


def parse_formats(text: str) -> tuple[str, ...]:
    """The formats of `csv,md`.

    Raises:
        UserError: one of them is unknown.
    """
    names = {"markdown": "md", "latex": "tex"}
    asked = [names.get(part.strip(), part.strip()) for part in text.split(",") if part.strip()]
    for name in asked:
        if name not in FORMATS:
            raise UserError(f"--format {cut(name)}: one or more of {', '.join(FORMATS)}")
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
    texts: dict[str, Callable[[TextTable], str]] = {
        "md": markdown,
        "tex": latex,
    }
    written = []
    for kind in formats:
        if kind in texts:
            for name, table in {**text_tables(analysis), "paper": paper_table(analysis)}.items():
                written.append(output / f"{name}.{kind}")
                write_whole(written[-1], texts[kind](table))
            continue
        for name, frame in frames(analysis).items():
            written.append(output / f"{name}.{kind}")
            data = frame.write_csv().encode() if kind == "csv" else _parquet(frame)
            write_whole(written[-1], data)
    return written


def _parquet(frame: pl.DataFrame) -> bytes:
    buffer = BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()
