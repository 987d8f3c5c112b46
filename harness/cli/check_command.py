"""`harness check`."""

import sys
from typing import Any

from harness import plugins
from harness.cli.terminal import Parser
from harness.errors import UserError
from harness.overrides.checking import read_value
from harness.overrides.plugging import with_plugins


def check(arguments: list[str]) -> None:
    """`harness check loss NAME [key=value ...]`: whether a part of yours is fit to be compared.

    Exit code 1 where a fault was found.
    """
    parser = Parser(prog="harness check", description=check.__doc__)
    parser.add_argument("group", choices=[*plugins.GROUPS, "metric"])
    parser.add_argument("name", help="my_package.losses:MyLoss, my_losses.py:my_loss, or a name")
    parser.add_argument("overrides", nargs="*", help="its settings, and plugins=[...]")
    given = parser.parse_args(arguments)
    find = _metric if given.group == "metric" else _choice
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
    chosen, *rest = with_plugins([f"{group}={given}", *overrides])
    values = dict(read_value(text) for text in rest if not text.startswith("plugins="))

    from harness import config

    kinds = {
        "loss": config.AnyLoss,
        "model": config.AnyModel,
        "optimizer": config.AnyOptimizer,
        "sampler": config.AnySampler,
        "split": config.AnySplit,
    }
    name = chosen.partition("=")[2]
    own = {key.removeprefix(f"{group}."): value for key, value in values.items()}
    return name, config.parse_as(kinds[group], {"name": name, **own}, at=group)


def _metric(group: str, given: str, overrides: list[str]) -> tuple[str, Any]:
    """The name of a metric and itself; of a file or module it has a decorator there."""
    place, _, name = given.rpartition(":")
    with_plugins([f"plugins=[{place}]"] * bool(place) + overrides)
    known = plugins.plugged(group)
    found = {one.function.__name__: one for one in known.values()} | dict(known)
    if name not in found:
        raise UserError(
            f"harness check metric {given}: {name} is {plugins.no_metric(name)}: give FILE:NAME "
            "of one with @harness.plugins.metric"
        )
    return found[name].name, found[name]
