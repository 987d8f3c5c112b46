"""`harness check`."""

import sys
from typing import Any

from harness import plugins
from harness.cli.terminal import Parser
from harness.errors import UserError
from harness.overrides.checking import read_value
from harness.overrides.plugging import with_plugins

SOURCE = "source"  # as its decorator is called; `dataset` as it is chosen


def check(arguments: list[str]) -> None:
    """`harness check loss NAME [key=value ...]`: whether a part of yours is fit to be compared.

    Exit code 1 where a fault was found.
    """
    parser = Parser(prog="harness check", description=check.__doc__)
    kinds = [SOURCE if one == "dataset" else one for one in plugins.KINDS if one != "measure"]
    parser.add_argument("group", choices=kinds)
    parser.add_argument("name", help="my_package.losses:MyLoss, my_losses.py:my_loss, or a name")
    parser.add_argument("overrides", nargs="*", help="its settings, and plugins=[...]")
    given = parser.parse_args(arguments)
    find = _choice if given.group in (*plugins.GROUPS, SOURCE) else _beside
    name, chosen = find(given.group, given.name, given.overrides)

    from harness.testing import FAULTS_OF, cost, loss_faults

    number = 0
    faults = {"loss": loss_faults, **FAULTS_OF}[given.group](chosen)
    for number, fault in enumerate(faults, start=1):
        print(f"{number}. {fault}", flush=True)
    if number:
        print(f"{given.group}={name}: {number} fault{'s' * (number > 1)}")
        sys.exit(1)
    took = f"; it takes {cost(chosen):.1f} times as long as BCE" if given.group == "loss" else ""
    print(f"{given.group}={name}: nothing found{took}")


def _choice(group: str, given: str, overrides: list[str]) -> tuple[str, Any]:
    """The name and the configured choice of a group of conf/."""
    group = "dataset" if group == SOURCE else group
    chosen, *rest = with_plugins([f"{group}={given}", *overrides])
    values = dict(read_value(text) for text in rest if not text.startswith("plugins="))

    from harness import config

    kinds = {
        "loss": config.AnyLoss,
        "model": config.AnyModel,
        "optimizer": config.AnyOptimizer,
        "sampler": config.AnySampler,
        "split": config.AnySplit,
        "schedule": config.AnySchedule,
        "dataset": config.AnyDataset,
    }
    name = chosen.partition("=")[2]
    own = {key.removeprefix(f"{group}."): value for key, value in values.items()}
    tag = plugins.tag_of(group)
    return name, config.parse_as(kinds[group], {tag: name, **own}, at=group)


def _beside(kind: str, given: str, overrides: list[str]) -> tuple[str, Any]:
    """The name of a metric or calibrator and itself; in a file or module it has a decorator."""
    place, _, name = given.rpartition(":")
    with_plugins([f"plugins=[{place}]"] * bool(place) + overrides)
    known = plugins.plugged(kind)
    defined = {one.reference.rpartition(".")[2]: one for one in known.values()}
    found = defined | dict(known)
    if name not in found:
        why = plugins.no_metric(name) if kind == "metric" else "plugged in nowhere"
        raise UserError(
            f"harness check {kind} {given}: {name} is {why}: give FILE:NAME of one with "
            f"@harness.plugins.{kind}"
        )
    return found[name].name, found[name]
