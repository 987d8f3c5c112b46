"""`harness new`."""

import keyword
from pathlib import Path

from harness.cli.terminal import Parser
from harness.errors import UserError
from harness.files import write_whole

LOSS = '''"""A loss of one's own: harness train -m plugins=[{name}.py] loss=bce,{name} seed=1,2,3"""

import jax
from harness.plugins import loss


@loss
def {name}(logits, labels, gamma=2.0):
    """Binary cross-entropy times (1 - p_t)^gamma; each array is (n,), labels are 0 or 1."""
    signed = (2 * labels - 1) * logits  # positive where the logit is on the label's side
    return jax.nn.sigmoid(-signed) ** gamma * jax.nn.softplus(-signed)
'''
TEST = """from harness.losses import BCE
from harness.testing import check_loss
from {name} import {name}


def test_{name}():
    check_loss({name}, limit=({{"gamma": 0.0}}, BCE()))
"""


def new(arguments: list[str]) -> None:
    """`harness new loss NAME`: writes NAME.py, a loss to change, and its test, into this folder."""
    parser = Parser(prog="harness new", description=new.__doc__)
    parser.add_argument("group", choices=["loss"])
    parser.add_argument("name", help="such as my_loss")
    name = parser.parse_args(arguments).name
    if not name.isidentifier() or not name.isascii() or keyword.iskeyword(name):
        raise UserError(f"harness new loss {name}: give a name of letters, digits and _")
    written = {Path(f"{name}.py"): LOSS, Path(f"test_{name}.py"): TEST}
    for path in written:
        if path.exists():
            raise UserError(f"{path} is there already: give another name, or another folder")
    for path, text in written.items():
        write_whole(path, text.format(name=name))
    print(f"{', '.join(map(str, written))}; look at it with: harness check loss {name}.py:{name}")
