"""`harness check`."""

import sys

from harness.cli.terminal import Parser
from harness.overrides.checking import read_value
from harness.overrides.plugging import with_plugins


def check(arguments: list[str]) -> None:
    """`harness check loss NAME [key=value ...]`: whether a loss is fit to be compared.

    Exit code 1 where a fault was found.
    """
    parser = Parser(prog="harness check", description=check.__doc__)
    parser.add_argument("group", choices=["loss"])
    parser.add_argument("name", help="my_package.losses:MyLoss, my_losses.py:my_loss, or a name")
    parser.add_argument("overrides", nargs="*", help="hyperparameters, and plugins=[...]")
    given = parser.parse_args(arguments)
    chosen, *rest = with_plugins([f"loss={given.name}", *given.overrides])
    values = dict(read_value(text) for text in rest if not text.startswith("plugins="))

    from harness.config import AnyLoss, parse_as
    from harness.testing import cost, loss_faults

    name = chosen.partition("=")[2]
    own = {key.removeprefix("loss."): value for key, value in values.items()}
    loss = parse_as(AnyLoss, {"name": name, **own}, at="loss")
    number = 0
    for number, fault in enumerate(loss_faults(loss), start=1):
        print(f"{number}. {fault}", flush=True)
    if number:
        print(f"loss={name}: {number} fault{'s' * (number > 1)}")
        sys.exit(1)
    print(f"loss={name}: nothing found; it takes {cost(loss):.1f} times as long as BCE")
