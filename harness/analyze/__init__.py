"""From logged runs to tables, verdicts and a report. Never trains."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from harness.analyze import answers, curves, groups, payload, report, summaries, tables
from harness.analyze.load import Runs, complete, load
from harness.analyze.metrics import SELECTION

__all__ = ["Runs", "analyze", "analyze_runs", "load"]


def analyze(
    *sources: Path | str,
    output: Path | None = None,
    console: Console,
    selection: str = SELECTION,
    tuned: Sequence[str] = groups.TUNED,
) -> Path:
    """Analyze the runs of all sources together; see `load` and `analyze_runs`.

    `output` defaults to `SOURCE/analysis` for one sweep folder and to `analysis` for others.

    Returns:
        The report's path.

    Raises:
        UserError: no runs there, an unreadable source, or an unknown selection metric.
    """
    runs = load(*sources)
    for note in runs.notes:
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    output = default_output(*sources) if output is None else Path(output)
    runs = complete(runs)
    return analyze_runs(runs, output=output, console=console, selection=selection, tuned=tuned)


def default_output(*sources: Path | str) -> Path:
    """Where an analysis goes that was given no place: beside the store of a single sweep."""
    alone = len(sources) == 1 and (Path(sources[0]) / "shards").is_dir()
    return Path(sources[0]) / "analysis" if alone else Path("analysis")


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
