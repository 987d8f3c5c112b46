"""`harness reproduce`."""

import argparse
import shlex
import sys
from pathlib import Path

from harness import plugins
from harness.cli import application  # first: it chooses the devices before jax is imported
from harness.cli.terminal import Parser, wide_console
from harness.errors import UserError
from harness.files import check_folder, conf_dir
from harness.overrides.plugging import with_plugins

QUICK_RESULTS = Path("runs/reproduce/quick")
COLOURS = {"supported": "green", "refuted": "red", "undecided": "yellow", "not judged": "red"}


def reproduce(arguments: list[str]) -> None:
    """`harness reproduce NAME... | all`: a verdict for each claim of these experiments.

    They lie in ./experiments (else the checkout's) and in packages of plug-ins. Says what is
    claimed and how likely it is to be decided, trains what is missing and writes results/NAME/.
    Exit code 1 where an exact anchor fails.
    """
    given = _parser().parse_args(arguments)
    if (given.budget is None) == given.until_decided:
        raise UserError("--until-decided and --budget N (seeds in all) go together")

    own = [one for one in given.names if one.startswith("plugins=")]
    with_plugins(own)

    from harness import reproduce as reproducing
    from harness.reproduce.judging import finding

    asked = [one for one in given.names if one not in own]
    known = _known([given.experiments] if given.experiments else _roots())
    names = [*known] if asked == ["all"] else asked
    if unknown := [name for name in names if name not in known]:
        raise UserError(f"no experiment {unknown[0]!r}: one of {', '.join(known)}, all")
    chosen = [reproducing.read(known[name]) for name in names]
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
            command=shlex.join(["harness", "reproduce", experiment.name, *own, *_flags(given)]),
        )
        console.rule(experiment.name)
        for line in [] if given.quick else reproducing.plan(experiment, output / experiment.name):
            console.print(line, style="dim", markup=False, highlight=False, soft_wrap=True)
        if given.plan:
            continue
        done = reproducing.reproduce(
            experiment,
            request,
            train=lambda overrides: application.run("train", ["-m", *overrides, *own]),
        )
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
    index = reproducing.write_index(output, known.values())
    console.print(f"Index: {index.resolve().as_uri()}", soft_wrap=True, highlight=False)
    if broken:
        print(f"exact anchors that do not hold: {', '.join(broken)}", file=sys.stderr)
        sys.exit(1)


def _flags(given: argparse.Namespace) -> list[str]:
    flags = ["--quick"] if given.quick else []
    return [*flags, "--until-decided", "--budget", str(given.budget)] if given.budget else flags


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="harness reproduce", description=reproduce.__doc__)
    add = parser.add_argument
    add("names", nargs="+", metavar="NAME", help="folders of experiments/, or all; plugins=[...]")
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


def _roots() -> list[Path]:
    here = Path("experiments")
    usual = here if here.is_dir() else conf_dir().parent / "experiments"
    return [usual, *plugins.folders("experiments")]


def _known(roots: list[Path]) -> dict[str, Path]:
    """The folder of each experiment below ``roots``, by its name."""
    from harness.reproduce import experiments

    found: dict[str, Path] = {}
    for root in roots:
        for name in experiments(root):
            if found.setdefault(name, root / name) != root / name:
                raise UserError(f"{found[name]} and {root / name} are called alike: rename one")
    if not found:
        places = ", ".join(map(str, roots))
        raise UserError(f"no experiments in {places}: run in a checkout, or give --experiments")
    return found


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"must be a number of at least 2, got {text!r}")
    return int(text)
