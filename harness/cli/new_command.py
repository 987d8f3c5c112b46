"""`harness new`."""

import keyword
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

from harness.cli.terminal import Parser
from harness.errors import UserError, shown
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
OPTIMIZER = '''"""An optimizer: harness train -m plugins=[{place}] optimizer=adam,{name} seed=1,2"""

import jax
import jax.numpy as jnp
import optax
from harness.plugins import optimizer


@optimizer
def {name}(learning_rate, momentum=0.9):
    """Momentum by its sign alone; numbers with a default are hyperparameters, swept as lanes."""
    return optax.chain(
        optax.trace(momentum),
        optax.stateless(lambda updates, params: jax.tree.map(jnp.sign, updates)),
        optax.scale_by_learning_rate(learning_rate),
    )
'''
SCHEDULE = '''"""A schedule: harness train -m plugins=[{place}] schedule=constant,{name} seed=1,2"""

import jax.numpy as jnp
from harness.plugins import schedule


@schedule
def {name}(peak, num_steps, final=0.0):
    """Down along the root of the steps that are left, from `peak` to `final` of it."""
    return lambda step: peak * (final + (1 - final) * jnp.sqrt(1 - step / num_steps))
'''
SAMPLER = '''"""A sampler: harness train -m plugins=[{place}] sampler=none,{name} seed=1,2,3"""

import numpy as np
from harness.plugins import sampler


@sampler
class {name}:
    """Repeats rows of the rarer class until there are `ratio` as many as of the other."""

    def __init__(self, ratio: float = 1.0, random_state=None):
        self.ratio, self.random_state = ratio, random_state

    def fit_resample(self, X, y):
        rng = np.random.default_rng(self.random_state)
        rows = np.flatnonzero(y == int(2 * y.mean() < 1))
        more = max(0, round(self.ratio * (len(y) - len(rows))) - len(rows))
        kept = np.concatenate([np.arange(len(y)), rng.choice(rows, size=more)])
        return X[kept], y[kept]
'''
SPLIT = '''"""A split: harness train -m plugins=[{place}] split={name} 'split.fold=range(4)'"""

import numpy as np
from harness.plugins import split


@split
class {name}:
    """Blocks of neighbouring rows, in the order of the data."""

    def __init__(self, blocks: int = 4):
        self.blocks = blocks

    def split(self, X, y, groups=None):
        block = np.arange(len(X)) * self.blocks // len(X)
        for one in range(self.blocks):
            yield np.flatnonzero(block != one), np.flatnonzero(block == one)
'''
SOURCE = '''"""A data source: harness train -m plugins=[{place}] dataset={name} seed=1,2,3"""

import numpy as np
from harness.plugins import source


@source(target="ill", generated=True, application="medicine", licence="CC0")
def {name}(rows=1000, effect=1.5, seed=0):
    """Who falls ill by age and dose; equal settings give equal rows."""
    rng = np.random.default_rng(seed)
    age, dose = rng.uniform(20, 80, size=rows), rng.normal(size=rows)
    odds = np.exp(effect * dose + (age - 50) / 10 - 2)
    return {{"age": age, "dose": dose, "ill": (rng.random(rows) < odds / (1 + odds)).astype(int)}}
'''
CALIBRATOR = '''"""harness train plugins=[{place}] evaluation.calibrators=[platt,{name}]"""

import numpy as np
from harness.plugins import calibrator


@calibrator
class {name}:
    """The share of positives among validation rows of similar score, never falling with it."""

    def fit(self, logits, labels):
        bins = np.array_split(np.argsort(logits, kind="stable"), 10)
        filled = [rows for rows in bins if len(rows)]
        self.centres_ = np.maximum.accumulate([logits[rows].mean() for rows in filled])
        shares = [(labels[rows].sum() + 1) / (len(rows) + 2) for rows in filled]
        self.shares_ = np.maximum.accumulate(shares)

    def predict(self, logits):
        return np.interp(logits, self.centres_, self.shares_)
'''
MEASURE = '''"""In claims.yaml: `measures: {{mine: {{derive: {name}, of: test/log_loss}}}}`"""

import numpy as np
from harness.plugins import measure


@measure
def {name}(rows, *, of):
    """A column as a share of the entropy of the test labels; `rows.table` is a Polars frame."""
    rate = rows.table["num_test_positives"].to_numpy() / rows.table["num_test"].to_numpy()
    entropy = -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))
    return rows.table[of].to_numpy() / entropy
'''
MEASURE_TEST = """from types import SimpleNamespace

import polars as pl
from {module} import {name}


def test_{name}():
    table = pl.DataFrame({{"num_test": [4], "num_test_positives": [2], "test/log_loss": [0.6931]}})
    assert abs({name}(SimpleNamespace(table=table), of="test/log_loss")[0] - 1) < 1e-3
"""
CLAIMS = """question: Does {loss} rank better than BCE, and at what price in log loss?
source: what is said of {loss}
claims:
  - name: ranks-better
    says: {loss} has a higher average precision than BCE, by more than .01, over the data sets.
    of: {{where: "loss = '{loss}'", measure: test/average_precision}}
    than: {{where: "loss = 'bce'"}}
    expect: higher
    by: 0.01
    test: datasets
    unit: [dataset.name]
  - name: costs-log-loss
    says: On breast_cancer its log loss is higher than BCE's, by more than .01.
    of: {{where: "loss = '{loss}' and dataset.name = 'breast_cancer'", measure: test/log_loss}}
    than: {{where: "loss = 'bce' and dataset.name = 'breast_cancer'"}}
    expect: higher
    by: 0.01
    test: repeats
figures:
  - {{name: log-loss, title: Log loss by seed, x: seed, y: test/log_loss, color: loss.name}}
"""
SWEEP = """losses:
  set:
    loss: bce,{loss}
    dataset: breast_cancer,digits,two_gaussians
    model: logistic
    training.num_epochs: 20
  seeds: 5
  quick: {{seeds: 2, set: {{training.num_epochs: 2}}}}
"""
CLAIMS_README = """# Does {loss} rank better than BCE?

**Claim.** What claims.yaml says, in a sentence: who says so, and why it may be true.

**Method.** What sweep.yaml trains, and why that would show it.

**Expected, before it ran.** What you would bet on. Write it now; `harness reproduce {name}` judges.
"""
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
MAKEFILE = """.PHONY: demo reproduce test

demo:
	harness train -m experiment=compare_{name}
	harness analyze runs/compare_{name}

reproduce:
	harness reproduce {name}

test:
	harness check loss {name}.losses:{name}
	python -m pytest
"""


def _part(text: str, test: str = CHECK) -> dict[str, str]:
    return {"{name}.py": text, "test_{name}.py": test}


LONGEST = 60  # of a name, as of calibrators and metrics
# What is written of each, by its file.
FILES = {
    "loss": _part(LOSS, LOSS_TEST),
    "model": _part(MODEL),
    "optimizer": _part(OPTIMIZER),
    "schedule": _part(SCHEDULE),
    "sampler": _part(SAMPLER),
    "split": _part(SPLIT),
    "source": _part(SOURCE),
    "metric": _part(METRIC),
    "calibrator": _part(CALIBRATOR),
    "measure": _part(MEASURE, MEASURE_TEST),
    "experiment": {
        "experiments/{name}/README.md": CLAIMS_README,
        "experiments/{name}/claims.yaml": CLAIMS,
        "experiments/{name}/sweep.yaml": SWEEP,
    },
    "project": {
        "{name}/pyproject.toml": PROJECT,
        "{name}/Makefile": MAKEFILE,
        "{name}/conf/experiment/compare_{name}.yaml": EXPERIMENT,
        "{name}/{name}/__init__.py": "",
        "{name}/{name}/losses.py": LOSS,
        "{name}/tests/test_{name}.py": LOSS_TEST,
        "{name}/experiments/{name}/README.md": CLAIMS_README,
        "{name}/experiments/{name}/claims.yaml": CLAIMS,
        "{name}/experiments/{name}/sweep.yaml": SWEEP,
    },
}


def new(arguments: list[str]) -> None:
    """`harness new loss NAME`: writes NAME.py, a loss to change, and its test, into this folder.

    Other parts likewise; an experiment is a folder experiments/NAME of claims and what is trained
    for them, a project a folder NAME with a package, its configuration, an experiment, a test and a
    Makefile.
    """
    parser = Parser(prog="harness new", description=new.__doc__)
    parser.add_argument("group", choices=[*FILES])
    parser.add_argument("name", help="such as my_loss")
    given = parser.parse_args(arguments)
    group, name = given.group, given.name
    is_name = name.isidentifier() and name.isascii() and not keyword.iskeyword(name)
    if not is_name or len(name) > LONGEST:
        raise UserError(
            f"harness new {group} {shown(name)}: give a name of letters, digits and _, at most "
            f"{LONGEST} of them"
        )
    kind = "loss" if group == "project" else group
    if _is_ours(kind, name):
        raise UserError(f"harness new {group} {name}: a {kind} of ours is called so: give another")
    module = f"{name}.losses" if group == "project" else name
    place = module if group == "project" else f"{name}.py"
    written = {Path(path.format(name=name)): text for path, text in FILES[group].items()}
    for path in written:
        if path.exists():
            raise UserError(f"{path} is there already: give another name, or another folder")
    is_module = group != "experiment"
    if is_module and name in {*sys.stdlib_module_names, "harness", *packages_distributions()}:
        raise UserError(f"harness new {group} {name}: a module is called so: give another name")
    for path, text in written.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        loss = name if group == "project" else "focal"
        known = {"name": name, "module": module, "place": place, "group": group, "loss": loss}
        write_whole(path, text.format(**known))
    look = {
        "project": f"cd {name} && make test demo",
        "experiment": f"harness reproduce {name} --quick",
        "measure": f"python -m pytest test_{name}.py",
    }.get(group, f"harness check {group} {name}.py:{name}")
    print(f"{', '.join(map(str, written))}; look at it with: {look}")


def _is_ours(kind: str, name: str) -> bool:
    if kind == "metric":
        from harness.metrics import own  # late: the others need no arrays

        return own.is_ours(name)
    if kind == "calibrator":
        from harness.metrics import own_calibrator

        return own_calibrator.is_ours(name)
    if kind == "measure":
        from harness.reproduce.quantities import MEASURES

        return name in MEASURES
    if kind == "experiment":
        return False
    folder = "dataset" if kind == "source" else kind
    return (conf_dir() / folder / f"{name}.yaml").exists()
