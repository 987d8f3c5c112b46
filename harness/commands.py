"""The commands that are no Hydra application: `analyze`, `sync` and `data`."""

import argparse
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.progress import track
from rich.table import Table

from harness.app import conf_dir
from harness.config import AnyDataset, parse_as
from harness.errors import UserError


def analyze(arguments: list[str]) -> None:
    """`harness analyze SOURCE...`: tables and one report of the runs of all sources.

    A source is a sweep folder, W&B's offline folders, or entity/project[/group] on W&B.
    """
    parser = argparse.ArgumentParser(prog="harness analyze", description=analyze.__doc__)
    parser.add_argument("source", nargs="+", help="such as runs/demo, or me/bce-harness/demo")
    place = "where to write (default: FOLDER/analysis of a sweep folder, else ./analysis)"
    parser.add_argument("--output", type=Path, help=place)
    project = "also log the tables and the report to W&B, as one summary run of the sweep"
    parser.add_argument("--log-wandb", metavar="[ENTITY/]PROJECT", help=project)
    given = parser.parse_args(arguments)
    logged = None if given.log_wandb is None else _project(given.log_wandb)

    from harness.analyze import analyze as analyze_sources

    console = _wide_console()
    report = analyze_sources(*given.source, output=given.output, console=console)
    console.print(f"Report: {report.resolve().as_uri()}", soft_wrap=True, highlight=False)
    if logged is not None:
        place = _log_report(report.parent, given.source, entity=logged[0], project=logged[1])
        console.print(f"W&B: {place}", soft_wrap=True, highlight=False, markup=False)


def _project(text: str) -> tuple[str | None, str]:
    """Entity and project of `[entity/]project`."""
    parts = text.split("/")
    if len(parts) > 2 or not all(parts):
        raise UserError(f"--log-wandb takes PROJECT or ENTITY/PROJECT, got {text!r}")
    return (parts[0] if len(parts) == 2 else None), parts[-1]


def _log_report(output: Path, sources: list[str], *, entity: str | None, project: str) -> str:
    """Logs an analysis as the summary run of its sweep; where it went."""
    from harness.record.wandb_summary import log_summary

    folder = Path(sources[0]) if (Path(sources[0]) / "shards").is_dir() else output
    sweep = " + ".join(dict.fromkeys(Path(source).resolve().name for source in sources))
    return log_summary(output, sweep=sweep, project=project, entity=entity, folder=folder)


def sync(arguments: list[str]) -> None:
    """`harness sync FOLDER...`: sends W&B what its mirror of a sweep still lacks.

    Run by run from the store, with the same ids: what was sent is not sent again.
    """
    parser = argparse.ArgumentParser(prog="harness sync", description=sync.__doc__)
    parser.add_argument("source", nargs="+", type=Path, help="a sweep folder, such as runs/demo")
    everything = "also runs that were sent, or never meant to be mirrored"
    parser.add_argument("--all", action="store_true", help=everything)
    given = parser.parse_args(arguments)

    from harness.record.sync import Sync, sweep_folder

    console = _wide_console()
    folders = [sweep_folder(source) for source in given.source]
    for folder in folders:
        job = Sync(folder, everything=given.all)
        total = len(job.unsent())
        shown = track(
            job.send(), "sending", total=total, console=console, disable=not console.is_terminal
        )
        done = f"{sum(1 for _ in shown)} sent" if total else "nothing is owed"
        console.print(f"{folder}: {done}", markup=False, highlight=False, soft_wrap=True)


def data(arguments: list[str]) -> None:
    """`harness data list | describe NAME [key=value ...]`: the data sets of conf/dataset."""
    parser = argparse.ArgumentParser(prog="harness data", description=data.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="every named data set")
    one = commands.add_parser("describe", help="one data set: its columns, classes and licence")
    one.add_argument("name")
    one.add_argument("overrides", nargs="*", help="such as path=my.csv target=label")
    given = parser.parse_args(arguments)
    console = _wide_console()
    if given.command == "list":
        console.print(_list())
    else:
        from harness.data.describe import describe, render

        console.print(render(describe(_source(given.name, given.overrides).load())))


def _wide_console() -> Console:
    """The terminal, or room for whole tables where the output goes to a file."""
    console = Console()
    return console if console.is_terminal else Console(width=160)


def _list() -> Table:
    table = Table("name", "rows", "features", "positives", "rate", "licence", "application")
    for path in sorted((conf_dir() / "dataset").glob("*.yaml")):
        values = OmegaConf.load(path)
        if any(OmegaConf.is_missing(values, key) for key in values):
            table.add_row(path.stem, "-", "-", "-", "-", "your own", "")
            continue
        dataset = _source(path.stem, []).load()
        table.add_row(
            path.stem,
            f"{dataset.num_rows:,}",
            f"{dataset.num_features:,}",
            f"{dataset.num_positives:,}",
            f"{dataset.positive_rate:.4g}",
            dataset.licence,
            dataset.application,
        )
    return table


def _source(name: str, overrides: list[str]) -> Any:
    """The data source `name` of conf/dataset, with ``key=value`` changes."""
    path = conf_dir() / "dataset" / f"{name}.yaml"
    known = sorted(file.stem for file in path.parent.glob("*.yaml"))
    if name not in known:
        raise UserError(f"data set {name!r} is not in conf/dataset; one of {', '.join(known)}")
    changes = [text.removeprefix("dataset.") for text in overrides]
    try:
        values = OmegaConf.merge(OmegaConf.load(path), OmegaConf.from_dotlist(changes))
        plain = OmegaConf.to_container(values, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise UserError(f"dataset {name}: {str(error).splitlines()[0]}") from error
    return parse_as(AnyDataset, plain, at="dataset")
