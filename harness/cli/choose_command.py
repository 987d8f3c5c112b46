"""`harness choose`."""

import argparse
import inspect
from pathlib import Path

from harness.cli.terminal import Parser, wide_console


def choose(arguments: list[str]) -> None:
    """`harness choose FILE --target COLUMN`: which loss to use on a table, where to cut its scores,
    what that costs, and a model.

    All losses are trained with the same learning rates on the same folds, more of them while the
    budget lasts; Ctrl-C gives the answer so far. The model is judged once, on rows that no run has
    seen. All of it is an ordinary sweep folder: the command to repeat it is in its report.
    """
    parser = Parser(
        prog="harness choose",
        description=inspect.cleandoc(choose.__doc__ or ""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("file", help="a table: .csv, .tsv, .parquet, .arrow or .npz")
    add("--target", required=True, help="its column of labels")
    add("--positive", help="the label that is positive (default: 1, yes, true, else the rarer)")
    add("--cost-fp", type=float, help="what a false alarm costs")
    add("--cost-fn", type=float, help="what a missed positive costs")
    add("--time", help="a column: the latest rows are those kept for the last test")
    add("--group", help="a column: no customer, patient, ... on both sides of a split")
    add("--drop", default="", help="columns to leave out: id,name")
    add("--budget", default="5m", help="time for the search, such as 90s, 5m or 1h (default: 5m)")
    add("--losses", default="", help="what is compared, such as bce,focal")
    add("--output", type=Path, help="the sweep folder (default: runs/choose-FILE)")
    add("overrides", nargs="*", help="more of `harness train`'s, such as model=logistic")
    given = parser.parse_intermixed_args(arguments)
    described = {
        key: value
        for key, value in (
            ("positive", given.positive), ("time", given.time), ("group", given.group)
        )
        if value is not None
    }  # fmt: skip
    if given.drop:
        described["drop"] = tuple(given.drop.split(","))

    from harness.interface.choosing import LOSSES
    from harness.interface.choosing import choose as chosen

    choice = chosen(
        given.file,
        target=given.target,
        cost_fp=given.cost_fp,
        cost_fn=given.cost_fn,
        budget=given.budget,
        losses=given.losses or LOSSES,
        overrides=tuple(given.overrides),
        folder=given.output,
        **described,
    )
    from harness.analyze import export
    from harness.plugins import plugged

    console = wide_console()
    export.print_overview(console, choice.answer.analysis)
    for line in choice.lines():
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    loads = " plugins=[...]" if choice.loss in plugged("loss") else ""
    said = {
        "Report": choice.report.resolve().as_uri(),
        "Model": choice.model_folder,
        "Next": f"harness predict {choice.model_folder} NEW_FILE{loads}",
    }
    for what, place in said.items():
        console.print(f"{what}: {place}", markup=False, highlight=False, soft_wrap=True)
