"""`harness reproduce`."""

import argparse
import shlex
import sys
from pathlib import Path

from harness.cli import application  # first: it chooses the devices before jax is imported
from harness.cli.terminal import Parser, wide_console
from harness.errors import UserError
from harness.files import check_folder, conf_dir

QUICK_RESULTS = Path("runs/reproduce/quick")
COLOURS = {"supported": "green", "refuted": "red", "undecided": "yellow", "not judged": "red"}


def reproduce(arguments: list[str]) -> None:
    """`harness reproduce NAME... | all`: a verdict for each claim of these experiments.

    Says what is claimed and how likely it is to be decided, trains what is missing and writes
    results/NAME/. Exit code 1 where an exact anchor fails.
    """
    given = _parser().parse_args(arguments)
    if (given.budget is None) == given.until_decided:
        raise UserError("--until-decided and --budget N (seeds in all) go together")

    from harness import reproduce as reproducing
    from harness.reproduce.judging import finding

    root = given.experiments or _experiments()
    known = reproducing.experiments(root)
    if not known:
        raise UserError(f"no experiments in {root}: run in a checkout, or give --experiments")
    names = known if given.names == ["all"] else given.names
    if unknown := [name for name in names if name not in known]:
        raise UserError(f"no experiment {unknown[0]!r} in {root}: one of {', '.join(known)}, all")
    chosen = [reproducing.read(root / name) for name in names]
    output = given.output or (QUICK_RESULTS if given.quick else Path("results"))
    check_folder(output, what=f"--output {output}", remedy="give a folder")
    console = wide_console()
    broken = []
    for experiment in chosen:
        request = reproducing.Request(
            runs=given.runs,
            results=output,
            quick=given.quick,
            budget=given.budget,
            command=shlex.join(["harness", "reproduce", experiment.name, *_flags(given)]),
        )
        console.rule(experiment.name)
        for line in [] if given.quick else reproducing.plan(experiment, output / experiment.name):
            console.print(line, style="dim", markup=False, highlight=False, soft_wrap=True)
        if given.plan:
            continue
        done = reproducing.reproduce(experiment, request, train=_train)
        for verdict in done.verdicts:
            word = f"[{COLOURS[verdict.word]}]{verdict.word:>10}[/]"
            console.print(word, verdict.claim.name, end=" ", highlight=False)
            text = finding(verdict)
            console.print(text, style="dim", markup=False, highlight=False, soft_wrap=True)
        for said in done.trained:
            style = "red" if said.is_beyond else "dim"
            console.print(str(said), style=style, markup=False, highlight=False, soft_wrap=True)
        for sentence in done.moved:
            console.print(f"moved: {sentence}", markup=False, highlight=False, soft_wrap=True)
        broken += [f"{experiment.name}/{v.claim.name}" for v in done.verdicts if v.is_broken]
    if given.plan:
        return
    index = reproducing.write_index(output, root)
    console.print(f"Index: {index.resolve().as_uri()}", soft_wrap=True, highlight=False)
    if broken:
        print(f"exact anchors that do not hold: {', '.join(broken)}", file=sys.stderr)
        sys.exit(1)


def _train(overrides: list[str]) -> None:
    application.run("train", ["-m", *overrides])


def _flags(given: argparse.Namespace) -> list[str]:
    flags = ["--quick"] if given.quick else []
    return [*flags, "--until-decided", "--budget", str(given.budget)] if given.budget else flags


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="harness reproduce", description=reproduce.__doc__)
    add = parser.add_argument
    add("names", nargs="+", metavar="NAME", help="folders of experiments/, or all")
    add("--quick", action="store_true", help="the small size: checks machinery and exact anchors")
    add("--plan", action="store_true", help="claims and their power alone; trains nothing")
    add("--until-decided", action="store_true", help="add seeds until every claim is decided")
    add("--budget", type=_positive, metavar="N", help="seeds to spend at most, in all")
    add("--output", type=Path, help=f"default: results, or {QUICK_RESULTS} with --quick")
    add("--runs", type=Path, default=Path("runs/reproduce"), help="where runs are stored")
    add(
        "--experiments",
        type=Path,
        help="where they lie (default: ./experiments, else the checkout's)",
    )
    return parser


def _experiments() -> Path:
    here = Path("experiments")
    return here if here.is_dir() else conf_dir().parent / "experiments"


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"must be a number of at least 2, got {text!r}")
    return int(text)
