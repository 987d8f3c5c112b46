"""`harness new`."""

import keyword
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

from harness.cli.terminal import Parser
from harness.errors import UserError
from harness.files import conf_dir, write_whole

LOSS = '''"""A loss of one's own: harness train -m plugins=[{place}] loss=bce,{name} seed=1,2,3"""

import jax
from harness.plugins import loss


@loss
def {name}(logits, labels, gamma=2.0):
    """Binary cross-entropy times (1 - p_t)^gamma; each array is (n,), labels are 0 or 1."""
    signed = (2 * labels - 1) * logits  # positive where the logit is on the label's side
    return jax.nn.sigmoid(-signed) ** gamma * jax.nn.softplus(-signed)
'''
LOSS_TEST = """from harness.losses import BCE
from harness.testing import check_loss
from {module} import {name}


def test_{name}():
    check_loss({name}, limit=({{"gamma": 0.0}}, BCE()))
"""
MODEL = '''"""A network: harness train -m plugins=[{place}] model=mlp,{name} seed=1,2,3"""

from flax import nnx
from harness.plugins import model


@model
class {name}(nnx.Module):
    """Features (batch, inputs.num_features) to hidden values (batch, units); the head is put on."""

    def __init__(self, inputs, *, units: int = 32, rngs):
        self.first = nnx.Linear(inputs.num_features, units, rngs=rngs)
        self.second = nnx.Linear(units, units, rngs=rngs)

    def __call__(self, features):
        hidden = nnx.relu(self.first(features))
        return hidden + nnx.relu(self.second(hidden))
'''
METRIC = '''"""A metric: harness train -m plugins=[{place}] extra_metrics=[{name}] seed=1,2,3"""

from harness.plugins import metric


@metric(title="gain a row")
def {name}(probabilities, labels):
    """Ten a positive that is called, one for every call; each array is (n,), labels are 0 or 1."""
    called = probabilities >= 0.1
    return (10 * called * labels - called).mean()
'''
CHECK = """from harness.testing import check_{group}
from {module} import {name}


def test_{name}():
    check_{group}({name})
"""
PROJECT = """[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "0.1.0"
dependencies = ["bce-harness"]

[tool.bce_harness]
plugins = ["{name}.losses"]
conf = "conf"
"""
EXPERIMENT = """# @package _global_
# Whether {name} is worth its while: harness train -m experiment=compare_{name}
hydra:
  sweeper:
    params:
      loss: bce,focal,{name}
      dataset: breast_cancer,two_gaussians
      seed: range(5)
name: compare_{name}
training:
  num_epochs: 5
"""
MAKEFILE = """.PHONY: demo test

demo:
	harness train -m experiment=compare_{name}
	harness analyze runs/compare_{name}

test:
	harness check loss {name}.losses:{name}
	python -m pytest
"""
# What is written of each, by its file.
FILES = {
    "loss": {"{name}.py": LOSS, "test_{name}.py": LOSS_TEST},
    "model": {"{name}.py": MODEL, "test_{name}.py": CHECK},
    "metric": {"{name}.py": METRIC, "test_{name}.py": CHECK},
    "project": {
        "{name}/pyproject.toml": PROJECT,
        "{name}/Makefile": MAKEFILE,
        "{name}/conf/experiment/compare_{name}.yaml": EXPERIMENT,
        "{name}/{name}/__init__.py": "",
        "{name}/{name}/losses.py": LOSS,
        "{name}/tests/test_{name}.py": LOSS_TEST,
    },
}


def new(arguments: list[str]) -> None:
    """`harness new loss NAME`: writes NAME.py, a loss to change, and its test, into this folder.

    A model and a metric likewise; a project is a folder NAME with a package, its configuration, a
    test and a Makefile.
    """
    parser = Parser(prog="harness new", description=new.__doc__)
    parser.add_argument("group", choices=[*FILES])
    parser.add_argument("name", help="such as my_loss")
    given = parser.parse_args(arguments)
    group, name = given.group, given.name
    if not name.isidentifier() or not name.isascii() or keyword.iskeyword(name):
        raise UserError(f"harness new {group} {name}: give a name of letters, digits and _")
    kind = "loss" if group == "project" else group
    if _is_ours(kind, name):
        raise UserError(f"harness new {group} {name}: a {kind} of ours is called so: give another")
    module = f"{name}.losses" if group == "project" else name
    place = module if group == "project" else f"{name}.py"
    written = {Path(path.format(name=name)): text for path, text in FILES[group].items()}
    for path in written:
        if path.exists():
            raise UserError(f"{path} is there already: give another name, or another folder")
    if name in {*sys.stdlib_module_names, "harness", *packages_distributions()}:
        raise UserError(f"harness new {group} {name}: a module is called so: give another name")
    for path, text in written.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text.format(name=name, module=module, place=place, group=group))
    look = f"harness check {group} {name}.py:{name}"
    if group == "project":
        look = f"cd {name} && make test demo"
    print(f"{', '.join(map(str, written))}; look at it with: {look}")


def _is_ours(kind: str, name: str) -> bool:
    if kind != "metric":
        return (conf_dir() / kind / f"{name}.yaml").exists()
    from harness.metrics import own  # late: the others need no arrays

    return own.is_ours(name)
