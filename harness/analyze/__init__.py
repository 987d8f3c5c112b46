"""From logged runs to tables, verdicts, figures and a report. Never trains."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from harness.analyze import export
from harness.analyze.load import Runs, complete, load
from harness.analyze.question import Analysis, Question, answer
from harness.analyze.runs import Scale
from harness.files import write_whole

__all__ = ["Analysis", "Question", "Runs", "analyze", "analyze_runs", "answer", "load"]

DEFAULT = Question()


def analyze(
    *sources: Path | str,
    output: Path | None = None,
    console: Console,
    question: Question = DEFAULT,
    formats: Sequence[str] = ("csv",),
    images: str = "none",
    scores: Scale = "auto",
) -> Path:
    """Analyze the runs of all sources together; see `load` and `analyze_runs`.

    `output` defaults to `SOURCE/analysis` for one sweep folder and to `analysis` for others.

    Returns:
        The report's path.

    Raises:
        UserError: no runs there, an unreadable source, or a question they cannot answer.
    """
    from harness.analyze.report import rerun_command

    return analyze_runs(
        complete(load(*sources, scores=scores)),
        output=default_output(*sources) if output is None else Path(output),
        console=console,
        question=question,
        formats=formats,
        images=images,
        command="\n".join(filter(None, map(rerun_command, map(Path, sources)))),
    )


def default_output(*sources: Path | str) -> Path:
    """Where an analysis goes that was given no place: beside the store of a single sweep."""
    alone = len(sources) == 1 and (Path(sources[0]) / "shards").is_dir()
    return Path(sources[0]) / "analysis" if alone else Path("analysis")


def analyze_runs(
    runs: Runs,
    *,
    output: Path,
    console: Console,
    question: Question = DEFAULT,
    formats: Sequence[str] = ("csv",),
    images: str = "none",
    command: str = "",
    said: Sequence[str] = (),
) -> Path:
    """Print the tables; write them, the figures and `report.html` into `output`.

    Args:
        runs: from any source.
        output: a folder, made if it is missing; each file is replaced whole.
        question: what to compare; see `Question`.
        formats: of the tables' files, from `export.FORMATS`.
        images: format of the figures: "svg", "png" or "none".
        command: what trained the runs, where known, for the report.
        said: an answer of one's own, which then opens the report in place of its advice.

    Raises:
        UserError: a question these runs cannot answer. Nothing is written then.
    """
    # Altair and scikit-learn, which nobody who asks for tables alone should wait for.
    from harness.analyze import drawing, report

    analysis = answer(runs, question)
    drawn = drawing.chart_rows(analysis)
    page = report.render(analysis, drawn, command=command, said=said)
    export.print_tables(console, analysis)
    output.mkdir(parents=True, exist_ok=True)
    export.write_tables(analysis, output, formats)
    if images != "none":
        drawing.write_figures(analysis, drawn, output / "figures", kind=images)
    write_whole(output / "report.html", page)
    return output / "report.html"
