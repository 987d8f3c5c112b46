"""`harness runs`."""

import argparse
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from harness.cli.terminal import Parser, wide_console
from harness.errors import UserError, listed, printable, shown

if TYPE_CHECKING:  # loads Polars, which help need not wait for
    from harness.analyze import Runs

ID = 8  # characters of an id in a list: as many as tell some 10,000 runs apart
MOST_ROWS = 1000  # of a list: more take minutes to lay out, and nobody reads them
METRICS = (
    "validation/average_precision",
    "test/average_precision",
    "test/auroc",
    "test/log_loss",
)


def runs(arguments: list[str]) -> None:
    """`harness runs list | show | diff | export | rm FOLDER ...`: the runs of a sweep folder; list
    shows the sweeps of a folder of them too.

    An id may be cut short as long as it names one run. rm moves runs to FOLDER/removed.
    """
    parser = Parser(prog="harness runs", description=runs.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    said = {
        "list": "a line a run, with the settings that vary",
        "show": "a run's settings, facts and metrics",
        "diff": "what two runs differ in",
        "export": "one flat table, a row a run or (--scores) a scored row of the data",
        "rm": "take runs out; says what would go, and goes with --yes",
    }
    made = {
        name: commands.add_parser(name, help=text, description=text) for name, text in said.items()
    }
    for command in made.values():
        command.add_argument("folder", type=_folder, help="a sweep folder, such as runs/demo")
    made["show"].add_argument("run", metavar="RUN_ID")
    made["diff"].add_argument("run", metavar="RUN_ID")
    made["diff"].add_argument("other", metavar="OTHER_ID")
    made["rm"].add_argument("run", nargs="*", metavar="RUN_ID")
    for name in ("list", "export", "rm"):
        made[name].add_argument("--where", default="", help="such as 'loss = focal and seed < 3'")
        made[name].add_argument("--since", type=_day, help="stored from this day or time (UTC) on")
        made[name].add_argument("--until", type=_end, help="stored to the end of it")
    made["export"].add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="a .parquet or .csv"
    )
    made["export"].add_argument(
        "--scores", action="store_true", help="the scores; `harness analyze` reads them back"
    )
    made["rm"].add_argument("--yes", action="store_true", help="do it")
    made["rm"].add_argument("--delete", action="store_true", help="keep nothing in FOLDER/removed")
    given = parser.parse_args(arguments)
    console = wide_console()
    _COMMANDS[given.command](given, console)


def _day(text: str) -> datetime:
    return _time(text)[0]


def _end(text: str) -> datetime:
    return _time(text)[1]


def _time(text: str) -> tuple[datetime, datetime]:
    """The first and the last moment of a day, or a moment, in UTC where nothing else is said."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            wrong = f"{shown(text)} is no time: write 2025-12-31 or 2025-12-31T18:30"
            raise argparse.ArgumentTypeError(wrong) from None
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return moment, moment
    first = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return first, first + timedelta(days=1, microseconds=-1)


def _asked(given: argparse.Namespace) -> "Runs":
    """The runs of the folder that the filters leave.

    Raises:
      UserError: none.
    """
    import polars as pl

    from harness.analyze import load
    from harness.analyze.keys import filtered

    found = load(given.folder)
    table = filtered(found.runs, given.where)
    if given.since is not None:
        table = table.filter(pl.col("created") >= given.since)
    if given.until is not None:
        table = table.filter(pl.col("created") <= given.until)
    if not table.height:
        raise UserError(f"{given.folder}: no run was stored in that time")
    return replace(found, runs=table)


def _list(given: argparse.Namespace, console: Console) -> None:
    from harness.record.store import sweeps_in

    if not (given.folder / "shards").is_dir() and (sweeps := sweeps_in(given.folder)):
        console.print(_sweeps(sweeps))
        return
    asked = _asked(given)
    for note in asked.notes:
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    console.print(_table_of(asked))


def _table_of(asked: "Runs") -> Table:
    """A line a run: id, time, status, data set, what varies, and some metrics."""
    from harness.analyze.groups import informative
    from harness.analyze.keys import as_labels, dataset_name, keys_of, short_names, varying

    keys = keys_of(asked)
    rows = as_labels(asked.runs, keys)
    rows = rows.with_columns(dataset_name(rows).alias("dataset")).sort("created", "run_id")
    number = rows.height
    own = [key for key in varying(rows, keys) if not key.startswith("dataset.")]
    given = ["dataset", *(key for key in ("loss.name",) if key in rows.columns)]
    own = [*given[1:], *informative(rows, [key for key in own if key not in given], given=given)]
    metrics = [name for name in METRICS if name in rows.columns]
    ids = rows["run_id"].to_list()
    rows = rows.tail(MOST_ROWS)
    title = f"{number} runs"
    if number > rows.height:
        title = f"the last {rows.height:,} of {number:,} runs; --where and --since choose others"
    table = Table(title=title)
    heads = ["run", "stored (UTC)", "status", "dataset", *short_names(own), *metrics]
    for head in heads:
        table.add_column(head, justify="right" if "/" in head else "left")
    length = max(ID, _shortest(ids))
    for row in rows.iter_rows(named=True):
        table.add_row(
            printable(row["run_id"][:length]),
            f"{row['created']:%Y-%m-%d %H:%M}",
            *(_cell(row[name]) for name in ("status", "dataset", *own, *metrics)),
        )
    return table


def _folder(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("'' is no folder: give one, such as runs/demo")
    return Path(text)


def _sweeps(folders: list[Path]) -> Table:
    """A line a sweep: its runs, when the last of them was stored, on what and of which losses."""
    from harness.analyze import load

    table = Table(title="Sweeps")
    for head in ("sweep", "runs", "last stored (UTC)", "data sets", "losses"):
        table.add_column(head)
    for folder in folders:
        try:
            runs = load(folder).runs
        except UserError as error:  # it holds none, or none that is whole
            table.add_row(_cell(str(folder)), "0", "", _cell(str(error)))
            continue
        names = (sorted(runs[key].drop_nulls().unique()) for key in ("dataset.name", "loss.name"))
        last = runs.sort("created")["created"][-1]
        cells = (str(folder), runs.height, f"{last:%Y-%m-%d %H:%M}")
        table.add_row(*map(_cell, (*cells, *(listed(some, 5) for some in names))))
    return table


def _shortest(ids: list[str]) -> int:
    """How many characters tell ids apart."""
    longest = max(map(len, ids))
    return next(
        (n for n in range(1, longest) if len({one[:n] for one in ids}) == len(ids)), longest
    )


def _cell(value: Any) -> str:
    from rich.markup import escape

    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else escape(printable(str(value)))


def _one(found: "Runs", text: str) -> dict[str, Any]:
    """The run whose id is, or begins with, ``text``.

    Raises:
      UserError: there is none, or more than one.
    """
    import polars as pl

    begin = found.runs.filter(pl.col("run_id").str.starts_with(text))
    exact = begin.filter(pl.col("run_id") == text)
    fitting = exact if exact.height else begin
    if not fitting.height or not text:
        raise UserError(f"{found.name} has no run {shown(text)}: see `harness runs list`")
    if fitting.height > 1:
        some = listed(sorted(fitting["run_id"]), 3)
        raise UserError(f"{shown(text)} may be {some}: give more of the id")
    return fitting.row(0, named=True)


def _show(given: argparse.Namespace, console: Console) -> None:
    from harness.analyze import load

    found = load(given.folder)
    row = _one(found, given.run)
    console.print(f"run {row['run_id']}, stored {row['created']:%Y-%m-%d %H:%M:%S} UTC")
    for title, names in vars(found.columns).items():
        table = Table(title=title, title_justify="left", show_header=False, box=None)
        for name in names:
            if (value := row[name]) is not None and value == value:
                table.add_row(printable(name), _cell(value))
        console.print(table)


def _diff(given: argparse.Namespace, console: Console) -> None:
    from harness.analyze import load

    found = load(given.folder)
    one, other = (_one(found, text) for text in (given.run, given.other))
    known = (*found.columns.config, *found.columns.facts, *METRICS)
    names = [name for name in known if name in one and not _same(one[name], other[name])]
    table = Table(title=f"{len(names)} differ")
    for head in ("", one["run_id"], other["run_id"]):
        table.add_column(printable(head))
    for name in names:
        table.add_row(printable(name), _cell(one[name]), _cell(other[name]))
    console.print(table)


def _same(one: Any, other: Any) -> bool:
    return one == other or (one != one and other != other)


def _export(given: argparse.Namespace, console: Console) -> None:
    from harness.analyze.flat import flat_table, score_table, write_flat

    asked = _asked(given)
    table = score_table(asked) if given.scores else flat_table(asked)
    write_flat(table, given.output)
    said = f"{table.height:,} rows, {table.width} columns: {given.output}"
    console.print(said, markup=False, highlight=False, soft_wrap=True)


def _rm(given: argparse.Namespace, console: Console) -> None:
    from harness.record.replay import sweep_folder
    from harness.sweep.removal import remove

    folder = sweep_folder(given.folder)
    if not (given.run or given.where or given.since or given.until):
        raise UserError("harness runs rm: say which: ids, --where, --since or --until")
    asked = _asked(given)
    if given.run:
        ids = {_one(asked, text)["run_id"] for text in given.run}
        asked = replace(asked, runs=asked.runs.filter(asked.runs["run_id"].is_in(list(ids))))
    if not given.yes:
        console.print(_table_of(asked))
        where = "be deleted" if given.delete else f"move to {folder / 'removed'}"
        console.print(
            f"These {asked.runs.height} runs would {where}; nothing was done. Give --yes to do it.",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip
        return
    gone = remove(folder, asked.runs["run_id"].to_list(), delete=given.delete)
    place = "deleted" if gone.place is None else f"moved to {gone.place}"
    runs = "1 run" if len(gone.run_ids) == 1 else f"{len(gone.run_ids)} runs"
    lines = [f"{runs} {place}; `harness train` trains what is missing where it is asked for."]
    if gone.sent:
        lines.append(
            f"W&B still has {len(gone.sent)} of them, such as {gone.sent[0]}: delete there."
        )
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


_COMMANDS: Mapping[str, Any] = {
    "list": _list,
    "show": _show,
    "diff": _diff,
    "export": _export,
    "rm": _rm,
}
