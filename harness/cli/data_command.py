"""`harness data`."""

import argparse
import difflib
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from harness import plugins
from harness.cli.terminal import Parser, wide_console
from harness.data.named import Catalogue, listing
from harness.errors import UserError, first_line
from harness.files import conf_dir
from harness.overrides.checking import completed, read_value
from harness.overrides.plugging import with_plugins
from harness.project import conf_dirs


def data(arguments: list[str]) -> None:
    """`harness data list | fetch NAME... | describe NAME [key=value ...]`: the named data sets.

    Those of your own are named by plugins=[my_data.py], in pyproject.toml, or as my_data.py:name.
    """
    parser = Parser(prog="harness data", description=data.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    listed = commands.add_parser("list", help="every named data set; downloads nothing")
    listed.add_argument("pattern", nargs="?", help="of names or applications: 'keel/*', fraud")
    listed.add_argument("overrides", nargs="*", help="plugins=[...]")
    fetched = commands.add_parser("fetch", help="download data sets or suites, and check them")
    fetched.add_argument("names", nargs="+", metavar="NAME", help="a data set or a suite")
    one = commands.add_parser(
        "describe",
        help="one data set: its columns, classes and licence",
        epilog=Catalogue(conf_dir()).path("table").read_text(encoding="utf-8"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    one.add_argument("name")
    one.add_argument("overrides", nargs="*", help="such as path=my.csv target=label")
    one.add_argument("--output", type=Path, help="a picture as .svg or .png, or a page as .html")
    given = parser.parse_args(arguments)
    if given.command == "list" and (given.pattern or "").startswith("plugins="):
        given.pattern, given.overrides = None, [given.pattern, *given.overrides]
    if given.command == "fetch":
        given.overrides = [one for one in given.names if one.startswith("plugins=")]
        given.names = [one for one in given.names if one not in given.overrides]
    if given.command == "describe":
        chosen, *given.overrides = with_plugins([f"dataset={given.name}", *given.overrides])
        given.name = chosen.partition("=")[2]
    else:
        with_plugins(given.overrides)
    also = tuple(one for one in conf_dirs() if one != conf_dir())
    catalogue = Catalogue(conf_dir(), also, plugins.plugged("dataset"))
    console = wide_console(200 if given.command == "list" else 160)
    if given.command == "list":
        console.print(listing(list(catalogue.overviews(given.pattern))))
    elif given.command == "fetch":
        _fetch(catalogue, given.names, console)
    else:
        _describe(catalogue, given.name, given.overrides, given.output, console)


def _describe(
    catalogue: Catalogue, name: str, overrides: list[str], output: Path | None, console: Console
) -> None:
    from harness.data.describe import describe, render

    dataset = _source(catalogue, name, overrides).load()
    description = describe(dataset)
    if output is not None:
        from harness.data.picture import write_picture

        write_picture(output, dataset, description)
    console.print(render(description))
    if output is not None:
        console.print(f"Picture: {output.resolve().as_uri()}", soft_wrap=True, highlight=False)


def _fetch(catalogue: Catalogue, asked: list[str], console: Console) -> None:
    """Downloads what is missing; each data set is loaded, which checks it. Stops at an error."""
    wanted = list(dict.fromkeys(name for text in asked for name in catalogue.members(text)))
    for index, name in enumerate(wanted, start=1):
        source = _source(catalogue, name, [])
        place = source.fetch() if hasattr(source, "fetch") else "nothing to fetch"
        loaded = source.load()
        counts = f"{loaded.num_rows:,} x {loaded.num_features:,}, {loaded.num_positives:,} positive"
        console.print(
            f"[{index}/{len(wanted)}] {name}: {counts}; {place}", soft_wrap=True, markup=False
        )


def _source(catalogue: Catalogue, name: str, overrides: list[str]) -> Any:
    """The data source `name` of conf/dataset, with ``key=value`` changes."""
    overrides = [one for one in overrides if not one.startswith("plugins=")]
    if name not in catalogue.names():
        close = difflib.get_close_matches(name, catalogue.names(), n=3)
        meant = f"did you mean {', '.join(close)}? " if close else ""
        raise UserError(f"data set {name!r} is not in conf/dataset: {meant}see `harness data list`")
    from harness.config import AnyDataset, parse_as

    changes = {}
    for text in overrides:
        key, value = read_value(*completed([text]))
        changes[key.removeprefix("dataset.")] = value
    try:
        values = OmegaConf.merge(_recorded(catalogue, name), OmegaConf.create(changes))
        plain = OmegaConf.to_container(values, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise UserError(f"dataset {name}: {first_line(error)}") from error
    return parse_as(AnyDataset, plain, at="dataset")


def _recorded(catalogue: Catalogue, name: str) -> Any:
    """What is said of a data set before any changes."""
    path = catalogue.path(name)
    if path.is_relative_to(conf_dir()) and path.exists():
        return OmegaConf.load(path)
    from harness.overrides.jobs import job_of  # a user's file may be composed of others

    return OmegaConf.create(dict(job_of([f"dataset={name}"])["dataset"]))
