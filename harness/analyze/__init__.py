"""From logged runs to tables, verdicts, figures and a report. Never trains."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from harness.analyze import export, figures, report, rows, tables
from harness.analyze.load import Runs, load
from harness.analyze.provenance import rerun_command
from harness.analyze.question import Analysis, Question, answer

__all__ = ["Analysis", "Question", "Runs", "analyze", "analyze_runs", "answer", "load"]

DEFAULT = Question()


def analyze(
    folder: Path,
    *,
    output: Path | None = None,
    console: Console,
    question: Question = DEFAULT,
    formats: Sequence[str] = ("csv",),
    images: str = "none",
) -> Path:
    """Analyze a sweep folder; see `analyze_runs`. `output` defaults to `folder/analysis`.

    Returns:
        The report's path.

    Raises:
        UserError: no runs there, unreadable shards, or a question they cannot answer.
    """
    runs = load(folder)
    return analyze_runs(
        runs,
        output=Path(folder) / "analysis" if output is None else Path(output),
        console=console,
        question=question,
        formats=formats,
        images=images,
        command=rerun_command(Path(folder)),
    )


def analyze_runs(
    runs: Runs,
    *,
    output: Path,
    console: Console,
    question: Question = DEFAULT,
    formats: Sequence[str] = ("csv",),
    images: str = "none",
    command: str = "",
) -> Path:
    """Print the tables; write them, the figures and `report.html` into `output`.

    Args:
        runs: from any source.
        output: a folder, made if it is missing; each file is replaced whole.
        question: what to compare; see `Question`.
        formats: of the tables' files, from `export.FORMATS`.
        images: format of the figures: "svg", "png" or "none".
        command: what trained the runs, where known, for the report.

    Raises:
        UserError: a question these runs cannot answer. Nothing is written then.
    """
    analysis = answer(runs, question)
    drawn = rows.chart_rows(analysis)
    page = report.render(analysis, drawn, command=command)
    tables.print_tables(console, analysis)
    output.mkdir(parents=True, exist_ok=True)
    export.write_tables(analysis, output, formats)
    if images != "none":
        figures.write_figures(analysis, drawn, output / "figures", kind=images)
    export.write_atomically(output / "report.html", page.encode())
    return output / "report.html"
