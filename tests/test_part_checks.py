"""The public checks of models, optimizers, samplers and so on: each of some planted faults is
found, in a line that says what to do."""

import importlib
import random
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jaxtyping import Float, Int

from harness import plugins
from harness.layout import parts_of
from harness.models import as_model
from harness.overrides.plugging import load
from harness.reproduce import read
from harness.testing import (
    FAULTS_OF,
    check_calibrator,
    check_metric,
    check_model,
    check_optimizer,
    check_sampler,
    check_schedule,
    check_source,
    check_split,
)
from harness.testing.parts import _fitting
from tests.test_own_kinds import parts as parts

pytestmark = pytest.mark.usefixtures("nothing_stays")


class Net(nnx.Module):
    """A sound network with something to break."""

    def __init__(self, inputs, *, rngs):
        self.layer = nnx.Linear(inputs.num_features, 4, rngs=rngs)

    def __call__(self, features):
        return nnx.tanh(self.layer(features))


class Company(Net):
    def __call__(self, features):
        hidden = self.layer(features)
        return hidden - hidden.mean(0)


class Unused(Net):
    def __init__(self, inputs, *, rngs):
        super().__init__(inputs, rngs=rngs)
        self.spare = nnx.Param(jnp.ones(3))


class OneStart(Net):
    def __init__(self, inputs, *, rngs):
        super().__init__(inputs, rngs=nnx.Rngs(0))


class GlobalStart(Net):
    def __init__(self, inputs, *, rngs):
        super().__init__(inputs, rngs=nnx.Rngs(random.randrange(2**30)))


class NotFinite(Net):
    def __call__(self, features):
        return jnp.log(self.layer(features))


class Traced(Net):
    def __call__(self, features):
        factor = 2.0 if isinstance(features, jax.core.Tracer) else 1.0
        return factor * super().__call__(features)


def uphill(learning_rate):
    return optax.scale_by_learning_rate(learning_rate, flip_sign=False)


def own_rate(learning_rate):
    return optax.sgd(0.01)


def divides(learning_rate):
    return optax.chain(
        optax.stateless(lambda g, p: jax.tree.map(lambda x: x / 0.0, g)), optax.sgd(learning_rate)
    )


class Twice:
    """A sound sampler: positives twice."""

    def __init__(self, scale: float = 0.1, random_state=None):
        self.scale, self.random_state = scale, random_state

    def noise(self, shape):
        return np.random.default_rng(self.random_state).normal(size=shape)

    def fit_resample(self, X, y):
        rows = X[y == 1]
        made = rows + self.scale * self.noise(rows.shape)
        return np.concatenate([X, made]), np.concatenate([y, np.ones(len(made))])


class GlobalNoise(Twice):
    def noise(self, shape):
        return np.random.normal(size=shape)


class OneNoise(Twice):
    def noise(self, shape):
        return np.random.default_rng(0).normal(size=shape)


class Writes(Twice):
    def fit_resample(self, X, y):
        X += 1e-3
        return super().fit_resample(X, y)


class Nothing(Twice):
    def fit_resample(self, X, y):
        return X, y


class Fifty(Twice):
    def fit_resample(self, X, y):
        return np.repeat(X, 50, axis=0), np.repeat(y, 50)


class Cut:
    """A sound split: a third of rows drawn."""

    def __init__(self, random_state=None):
        self.random_state = random_state

    def order(self, rows):
        return np.random.default_rng(self.random_state).permutation(rows)

    def split(self, X, y, groups=None):
        order = self.order(len(X))
        yield order[len(X) // 3 :], order[: len(X) // 3]


class GlobalCut(Cut):
    def order(self, rows):
        return np.random.permutation(rows)


class OneCut(Cut):
    def order(self, rows):
        return np.random.default_rng(0).permutation(rows)


class Overlapping(Cut):
    def split(self, X, y, groups=None):
        yield self.order(len(X)), self.order(len(X))[:40]


class WritingCut(Cut):
    def split(self, X, y, groups=None):
        y[0] = 1
        yield from super().split(X, y)


def hit_rate(probabilities, labels):
    return ((probabilities >= 0.5) == labels).mean()


def first_row(probabilities, labels):
    return abs(probabilities[0] - labels[0])


def drawn(probabilities, labels):
    return np.random.random()


def writes(probabilities, labels):
    probabilities[:] = np.round(probabilities)
    return hit_rate(probabilities, labels)


def error(probabilities, labels):
    return 1 - hit_rate(probabilities, labels)


def margin(scores, labels):
    return scores[labels == 1].mean() - scores[labels == 0].mean()


def ten(probabilities, labels):
    return 10.0


def falling(peak, num_steps):
    return lambda step: peak * (1 - step / num_steps)


def peakless(peak, num_steps):
    return lambda step: 1 - step / num_steps


def shaken(peak, num_steps):
    height = peak * np.random.random()
    return lambda step: height


def nothing(peak, num_steps):
    return lambda step: 0 * peak


def climbing(peak, num_steps):
    return lambda step: peak / (num_steps - step - 1)


def rows_of(rng):
    x = rng.normal(size=(200, 2))
    return {"a": x[:, 0], "b": x[:, 1], "target": (x.sum(1) + rng.normal(size=200) > 0).astype(int)}


def drawn_rows(seed=0):
    return rows_of(np.random.default_rng(seed))


def global_rows():
    return rows_of(np.random)


def unseeded_rows():
    return rows_of(np.random.default_rng())


def one_seed_rows(seed=0):
    return rows_of(np.random.default_rng(1))


def telling_rows(seed=0):
    rows = drawn_rows(seed)
    return {**rows, "code": rows["target"] + 0.0}


def no_labels(seed=0):
    rows = drawn_rows(seed)
    return {"a": rows["a"]}


class Sides:
    """A sound calibrator: the shares on either side of 0."""

    def fit(self, logits, labels):
        shares = [(labels[one].sum() + 1) / (one.sum() + 2) for one in (logits < 0, logits >= 0)]
        self.shares_ = np.maximum.accumulate(shares)

    def predict(self, logits):
        return self.shares_[(logits >= 0).astype(int)]


class Turned(Sides):
    def predict(self, logits):
        return 1 - super().predict(logits)


class Percent(Sides):
    def predict(self, logits):
        return 100 * super().predict(logits)


class Unfitted(Sides):
    def predict(self, logits):
        return 1 / (1 + np.exp(-logits))


class Sociable(Sides):
    def predict(self, logits):
        return (np.argsort(np.argsort(logits)) + 1) / (len(logits) + 1)


class Drawing(Sides):
    def predict(self, logits):
        return np.sort(np.random.random(len(logits)))


class Counting(Sides):
    fits = 0

    def fit(self, logits, labels):
        super().fit(logits, labels)
        Counting.fits += 1
        self.shares_ = self.shares_ / Counting.fits


class Rounding(Sides):
    def fit(self, logits, labels):
        logits[:] = np.round(logits)
        super().fit(logits, labels)


FAULTS = [
    ("model", Company, "depends on the other rows"),
    ("model", Unused, "body.net.spare gets no gradient"),
    ("model", OneStart, "starts alike whatever the seed"),
    ("model", GlobalStart, "draw parameters from rngs"),
    ("model", NotFinite, "not finite on ordinary rows"),
    ("model", Traced, "under jax.jit it gives other values"),
    ("model", len, "is no network"),
    ("optimizer", uphill, "lead uphill"),
    ("optimizer", own_rate, "twice the learning rate makes no difference"),
    ("optimizer", divides, "are not finite"),
    ("optimizer", len, "give a function"),
    ("sampler", GlobalNoise, "take random_state=None"),
    ("sampler", OneNoise, "another random_state makes the same rows"),
    ("sampler", Writes, "it writes into the X or y"),
    ("sampler", Nothing, "it changes nothing"),
    ("split", GlobalCut, "take random_state=None"),
    ("split", OneCut, "cuts in the same places"),
    ("split", Overlapping, "has rows twice"),
    ("split", WritingCut, "it writes into the X or y"),
    ("metric", first_row, "of rows in another order"),
    ("metric", drawn, "function of its arguments alone"),
    ("metric", writes, "work on a copy"),
    ("metric", error, "turn direction or its sign"),
    ("metric", ten, "whatever the scores it is 10"),
    ("sampler", Fifty, "of 200 rows it gives 10,000 to train on"),
    ("schedule", peakless, "rates are not twice as high"),
    ("schedule", shaken, "a schedule is a function of the step"),
    ("schedule", nothing, "every rate is 0"),
    ("schedule", climbing, "schedule=climbing is inf times the peak at step 63"),
    ("schedule", Sides, "give a function (peak, num_steps)"),
    ("source", global_rows, "np.random.default_rng(seed)"),
    ("source", unseeded_rows, "called twice with equal settings it gives other data"),
    ("source", one_seed_rows, "another seed gives the same data"),
    ("source", telling_rows, "column 'code' alone ranks the labels"),
    ("source", no_labels, "no column 'target'"),
    ("source", Sides, "give a function that returns a table"),
    ("calibrator", Turned, "a higher logit a lower probability"),
    ("calibrator", Percent, "return numbers from 0 to 1"),
    ("calibrator", Unfitted, "fitted to other labels"),
    ("calibrator", Sociable, "let predict look at each logit alone"),
    ("calibrator", Drawing, "a calibrator is a function of logits and labels"),
    ("calibrator", Counting, "fitted twice to the same rows"),
    ("calibrator", Rounding, "fit writes into the arrays"),
    ("calibrator", len, "give a class with def fit"),
]


@pytest.mark.parametrize(
    ("group", "given", "told"), FAULTS, ids=lambda one: str(getattr(one, "__name__", one))
)
def test_a_planted_fault_of_a_part_is_found(group, given, told):
    faults = list(FAULTS_OF[group](given))
    assert any(told in line for line in faults), faults
    assert all("\n" not in line for line in faults)


def test_sound_parts_have_none():
    check_model(Net)
    check_optimizer(optax.amsgrad)
    check_sampler(Twice)
    check_split(Cut)
    check_schedule(falling)
    check_schedule(optax.cosine_decay_schedule)
    check_source(drawn_rows)
    check_calibrator(Sides)
    check_metric(hit_rate, low=0, high=1)
    with pytest.raises(AssertionError, match=r"leaves its range 0 to 0\.1"):
        check_metric(hit_rate, low=0, high=0.1)
    with pytest.raises(AssertionError, match="of='scores' is said of what ranks"):
        check_metric(margin, of="scores")


class Sized(nnx.Module):
    """Of images and texts of one size alone, whose shares of a row its layers know."""

    def __init__(self, inputs, *, rngs):
        self.image = nnx.Linear(6 * 5 * 2, 3, rngs=rngs)
        self.text = nnx.Embed(inputs.vocabularies["words"], 3, rngs=rngs)
        assert inputs.shapes["words"] == (7,)

    def __call__(self, scan, words):
        return self.image(scan.reshape(len(scan), 60)) + self.text(words).sum(1)


class Said(Sized):
    def __call__(
        self, scan: Float[jax.Array, "batch 6 5 2"], words: Int[jax.Array, "batch length=7"]
    ):
        return super().__call__(scan, words)


def test_a_network_is_tried_on_the_arrays_that_it_asks_for():
    (told,) = FAULTS_OF["model"](Sized)
    assert "nor does it take any of 35 other kinds of rows: annotate" in told
    found = _fitting(as_model(Said)(), None)
    assert {part.name: part.shape for part in parts_of(found.cardinalities)} == {
        "scan": (6, 5, 2),
        "words": (7,),
    }


@pytest.mark.slow
def test_a_network_of_arrays_of_its_own_has_no_fault():
    check_model(Said)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ResNet", "Attention"])
def test_the_networks_of_the_page_have_none(name, parts):
    plugins.load("my_parts.py")
    check_model(plugins.plugged("model")[name])


@pytest.mark.slow
def test_the_command_says_it(harness, parts):
    for group, name in {
        "sampler": "Jittered", "split": "Blocks", "metric": "profit", "source": "clinic",
        "schedule": "root", "calibrator": "Binned",
    }.items():  # fmt: skip
        said = harness("check", group, f"my_parts.py:{name}")
        assert (said.code, said.out) == (0, f"{group}={name}: nothing found\n"), said
    said = harness("check", "metric", "my_parts.py:gone")
    assert said.code == 2 and "@harness.plugins.metric" in said.err
    (parts.parent / "mine.py").write_text(BAD)
    said = harness("check", "model", "mine.py:Bad")
    assert said.code == 1 and "model=Bad: 1 fault\n" in said.out


BAD = """
from flax import nnx
class Bad(nnx.Module):
    def __init__(self, inputs, *, rngs): pass
    def __call__(self, features): return features - features.mean(0)
"""


NEW = {
    "model": check_model, "metric": check_metric, "optimizer": check_optimizer,
    "schedule": check_schedule, "sampler": check_sampler, "split": check_split,
    "source": check_source, "calibrator": check_calibrator,
}  # fmt: skip


@pytest.mark.parametrize("group", NEW)
def test_a_new_part_is_one_to_start_from(group, harness):
    assert f"harness check {group} mine.py:mine" in harness("new", group, "mine").out
    load(["mine.py"])
    written: dict = {}
    exec(Path("test_mine.py").read_text(), written)
    assert written[f"check_{group}"] is NEW[group]
    written["test_mine"]()
    assert "mine.py is there already" in harness("new", group, "mine").err


def test_a_new_measure_and_experiment_are_ones_to_start_from(harness):
    assert "python -m pytest test_mine.py" in harness("new", "measure", "mine").out
    sys.path.insert(0, str(Path.cwd()))
    importlib.import_module("mine")
    made: dict = {}
    exec(Path("test_mine.py").read_text(), made)
    made["test_mine"]()
    assert "harness reproduce theirs --quick" in harness("new", "experiment", "theirs").out
    experiment = read(Path("experiments/theirs"))
    assert len(experiment.claims) == 2 and "bce,focal" in experiment.sweeps["losses"].set["loss"]
    assert "is there already" in harness("new", "experiment", "theirs").err


@pytest.mark.slow
def test_a_new_project_composes_and_has_a_test(harness, monkeypatch):
    assert "cd mine && make test demo" in harness("new", "project", "mine").out
    monkeypatch.chdir("mine")
    said = harness("plan", "-m", "experiment=compare_mine")
    assert said.code == 0 and "30 to train in" in said.out, said
    assert harness("check", "loss", "mine.losses:mine").code == 0
    said = harness("reproduce", "mine", "--plan")
    assert said.code == 0 and "ranks-better" in said.out, said
    compile(Path("tests/test_mine.py").read_text(), "test_mine.py", "exec")
    assert "from mine.losses import mine" in Path("tests/test_mine.py").read_text()
