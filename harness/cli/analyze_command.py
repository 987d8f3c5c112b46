"""`harness analyze`."""

import argparse
import inspect
from pathlib import Path
from typing import Any

from harness.cli.terminal import Parser, wide_console
from harness.errors import UserError, shown
from harness.files import check_folder
from harness.metrics.names import listing


def analyze(arguments: list[str]) -> None:
    """`harness analyze SOURCE...`: tables, figures and one report of the runs of all sources.

    A source is a sweep folder, W&B's offline folders, entity/project[/group] on W&B, or a table of
    any tool's scores (.csv, .parquet): a row each with label (two values) and score, and as far as
    there are such with dataset, fold, seed, model (default: the file's name), part (train,
    validation, test), row (its name in the data), weight (what it counts), num_train.
    """
    parser = Parser(
        prog="harness analyze",
        description=inspect.cleandoc(analyze.__doc__ or ""),
        epilog=listing(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", nargs="+", help="such as runs/demo, or me/bce-harness/demo")
    place = "where to write (default: FOLDER/analysis of a sweep folder, else ./analysis)"
    parser.add_argument("--output", type=Path, help=place)
    project = "also log the tables and the report to W&B, as one summary run of the sweep"
    parser.add_argument("--log-wandb", metavar="[ENTITY/]PROJECT", help=project)
    _add_question(parser)
    given = parser.parse_args(arguments)
    if given.output is not None:
        check_folder(given.output, what=f"--output {given.output}", remedy="give a folder")
    logged = None if given.log_wandb is None else _project(given.log_wandb)

    from harness.analyze import analyze as analyze_sources
    from harness.analyze.export import parse_formats

    console = wide_console()
    report = analyze_sources(
        *given.source,
        output=given.output,
        console=console,
        question=_question(given),
        formats=parse_formats(given.format),
        images=given.figures,
        scores=given.scores,
    )
    console.print(f"Report: {report.resolve().as_uri()}", soft_wrap=True, highlight=False)
    if logged is not None:
        place = _log_report(report.parent, given.source, entity=logged[0], project=logged[1])
        console.print(f"W&B: {place}", soft_wrap=True, highlight=False, markup=False)


def _project(text: str) -> tuple[str | None, str]:
    """Entity and project of `[entity/]project`."""
    parts = text.split("/")
    if len(parts) > 2 or not all(parts):
        raise UserError(f"--log-wandb takes PROJECT or ENTITY/PROJECT, got {shown(text)}")
    return (parts[0] if len(parts) == 2 else None), parts[-1]


def _log_report(output: Path, sources: list[str], *, entity: str | None, project: str) -> str:
    """Logs an analysis as the summary run of its sweep; where it went."""
    from harness.record.wandb_client import log_summary

    folder = Path(sources[0]) if (Path(sources[0]) / "shards").is_dir() else output
    sweep = " + ".join(dict.fromkeys(Path(source).resolve().name for source in sources))
    return log_summary(output, sweep=sweep, project=project, entity=entity, folder=folder)


def _add_question(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--metric",
        default="",
        help="test metrics of the tables, the first one the headline; below (default: what the "
        "sweep's evaluation.objective or costs ask about, and the usual ones)",
    )
    add("--by", default="loss", help="config keys to compare: loss,sampler (default: loss)")
    add("--baseline", default="", help="the value the others are compared with (default: bce)")
    add("--where", default="", help="which runs: 'loss in (bce, focal) and positive_rate < .1'")
    add(
        "--select",
        help="the validation metric that picks hyperparameters (default: the sweep's "
        "evaluation.objective)",
    )
    add("--tuned", help="prefixes of the keys it picks (default: optimizer.,schedule.,training.)")
    add("--rope", type=float, help="differences this small are the same (default: 0.01)")
    add("--target", default="", help="what steps are counted to: validation/log_loss=0.2")
    add(
        "--scores",
        choices=("auto", "logit", "probability", "rank"),
        default="auto",
        help="what a table's scores are; rank: numbers that order rows and mean nothing else "
        "(default: what their column is called, else a probability where all lie in [0, 1])",
    )
    add(
        "--format",
        default="csv",
        help="of tables: csv,parquet; as printed: md,tex (default: csv)",
    )
    add("--figures", choices=("svg", "png", "none"), default="none", help="write every chart too")


def _question(given: argparse.Namespace) -> Any:
    from harness.analyze import Question

    def names(text: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))

    select = given.select and f"validation/{given.select.removeprefix('validation/')}"
    asked = {"selection": select, "rope": given.rope, "tuned": names(given.tuned or "")}
    return Question(
        metrics=names(given.metric),
        by=names(given.by) or ("loss",),
        baseline=given.baseline,
        where=given.where,
        target=given.target,
        **{key: value for key, value in asked.items() if value not in (None, ())},
    )
