"""The commands that are no Hydra application: `analyze` and `data`."""

import argparse
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.table import Table

from harness.app import conf_dir
from harness.config import AnyDataset, parse_as
from harness.errors import UserError


def analyze(arguments: list[str]) -> None:
    """`harness analyze FOLDER...`: tables and a report for each sweep folder."""
    parser = argparse.ArgumentParser(prog="harness analyze", description=analyze.__doc__)
    parser.add_argument("source", nargs="+", type=Path, help="a sweep folder, such as runs/demo")
    parser.add_argument("--output", type=Path, help="where to write (default: FOLDER/analysis)")
    given = parser.parse_args(arguments)
    if given.output is not None and len(given.source) > 1:
        raise UserError("--output takes the report of one folder; give one source")

    from harness.analyze import analyze as analyze_folder

    console = _wide_console()
    for folder in given.source:
        report = analyze_folder(folder, output=given.output, console=console)
        console.print(f"Report: {report.resolve().as_uri()}", soft_wrap=True, highlight=False)


def data(arguments: list[str]) -> None:
    """`harness data list | describe NAME [key=value ...]`: the data sets of conf/dataset."""
    parser = argparse.ArgumentParser(prog="harness data", description=data.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="every named data set")
    one = commands.add_parser("describe", help="one data set: its columns, classes and licence")
    one.add_argument("name")
    one.add_argument("overrides", nargs="*", help="such as path=my.csv target=label")
    one.add_argument("--output", type=Path, help="a picture as .svg or .png, or a page as .html")
    given = parser.parse_args(arguments)
    console = _wide_console()
    if given.command == "list":
        console.print(_list())
    else:
        _describe(given.name, given.overrides, given.output, console)


def _describe(name: str, overrides: list[str], output: Path | None, console: Console) -> None:
    from harness.data.describe import describe
    from harness.data.render import render

    dataset = _source(name, overrides).load()
    description = describe(dataset)
    if output is not None:
        from harness.data.picture import write_picture

        write_picture(output, dataset, description)
    console.print(render(description))
    if output is not None:
        console.print(f"Picture: {output.resolve().as_uri()}", soft_wrap=True, highlight=False)


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
