"""From logged runs to tables, verdicts and a report. Never trains."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from harness.analyze import answers, curves, groups, payload, report, summaries, tables
from harness.analyze.load import Runs, load
from harness.analyze.metrics import SELECTION

__all__ = ["Runs", "analyze", "analyze_runs", "load"]


def analyze(
    folder: Path,
    *,
    output: Path | None = None,
    console: Console,
    selection: str = SELECTION,
    tuned: Sequence[str] = groups.TUNED,
) -> Path:
    """Analyze a sweep folder; see `analyze_runs`. `output` defaults to `folder/analysis`.

    Returns:
        The report's path.

    Raises:
        UserError: no runs there, unreadable shards, or an unknown selection metric.
    """
    runs = load(folder)
    output = Path(folder) / "analysis" if output is None else Path(output)
    return analyze_runs(runs, output=output, console=console, selection=selection, tuned=tuned)


def analyze_runs(
    runs: Runs, *, output: Path, console: Console, selection: str, tuned: Sequence[str]
) -> Path:
    """Print the tables and write `output/{leaderboard.csv,differences.csv,report.html}`.

    Args:
        runs: from any source.
        output: a folder, made if it is missing; each file is replaced whole.
        selection: the validation metric that picks hyperparameters.
        tuned: prefixes of the config columns that are hyperparameters to pick.
    """
    labelled = groups.label_runs(runs.runs, tuned=tuned)
    chosen = groups.chosen_runs(labelled, metric=selection)
    board, differences = summaries.leaderboard(chosen), summaries.differences(chosen)
    tables.print_tables(console, board, differences)
    output.mkdir(parents=True, exist_ok=True)
    tables.write_csv(board, output / "leaderboard.csv")
    tables.write_csv(differences, output / "differences.csv")
    losses = payload.drawn_losses(chosen)
    drawn = payload.drawn_runs(chosen, losses)
    page = report.render(
        name=runs.name,
        labelled=labelled,
        board=board,
        differences=differences,
        sentences=answers.answers(board, differences, chosen),
        selection=selection,
        payload=payload.build_payload(
            board,
            differences,
            curves.learning_curves(runs, drawn),
            curves.prediction_curves(runs, drawn),
            losses,
        ),
    )
    tables.write_atomically(output / "report.html", page)
    return output / "report.html"
