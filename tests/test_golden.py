"""Three steps of every program family, against numbers written down: none changes by accident.

python -m tests.test_golden    # writes them down anew
"""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from harness.config import Config
from harness.data.dataset import Dataset
from harness.optimizers import OPTIMIZERS
from harness.padding import stack
from harness.run import resolve
from harness.training import Outcome, train_run
from tests.runs import config

WRITTEN = Path(__file__).with_name("golden.json")
# Other processors add in another order, and float32 keeps seven digits.
TOLERANCE = 2e-5
MEANT = (
    "The arithmetic of {name} changed. If that is meant: `python -m tests.test_golden` writes the "
    "numbers down anew; say in CHANGELOG.md what changed and why. Stored runs are trained again by "
    "themselves: their ids hold the code they were computed by. If it is not meant, the last edit "
    "of the numerical core is at fault."
)

MODELS = {
    "logistic": {"name": "logistic"},
    "mlp": {"name": "mlp", "width": 4, "depth": 1, "dropout": 0.25},
    "residual_mlp": {"name": "residual_mlp", "width": 4, "depth": 1, "activation": "gelu"},
    "cnn": {"name": "cnn", "height": 4, "width": 4, "filters": 2, "blocks": 1, "units": 4},
}
LOSSES = {"pointwise": {"name": "focal"}, "batch": {"name": "dice"}}


def families() -> dict[str, Config]:
    """One configuration for each program family: losses by models, and every optimizer."""
    found = {
        f"{family}-{name}": tiny(model=model, loss=loss)
        for family, loss in LOSSES.items()
        for name, model in MODELS.items()
    }
    found |= {f"remembers-{name}": tiny(loss={"name": name}) for name in ("soap", "auc_min_max")}
    for optimizer in OPTIMIZERS:
        own = {"name": optimizer.name, "learning_rate": 0.1, "weight_decay": 0.1, "clip_norm": 0.5}
        # Without it a gradient that is all rounding would be scaled up to a full step.
        own |= {"eps": 1e-3} if hasattr(optimizer, "eps") else {}
        found[f"optimizer-{optimizer.name}"] = tiny(optimizer=own)
    return found


def tiny(**changes) -> Config:
    """Three steps: a head starts at zero, so that the body moves in the second."""
    usual = {
        "model": MODELS["mlp"],
        "optimizer": {"name": "momentum", "learning_rate": 0.1},
        "training": {"num_epochs": 1, "steps_per_epoch": 3, "batch_size": 8},
    }
    return config(**{**usual, **changes})


def data() -> Dataset:
    """60 rows of 4 x 4 values, of which some are missing."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 16)).astype(np.float32)
    labels = (features[:, :4].sum(axis=1) > 1).astype(np.int8)
    features[rng.random(features.shape) < 0.02] = np.nan
    names = tuple(f"x{i}" for i in range(16))
    return Dataset("tiny", features, labels, names, "1", "made", "none")


def trained(one: Config) -> Outcome:
    """The outcome of a run alone: the one place that knows how a run is entered."""
    dataset = data()
    run = resolve(one, dataset)
    program, labels = run.exact_program, dataset.labels.astype(np.float32)
    lane = jax.tree.map(lambda leaf: leaf[0], stack([run.lane(dataset)], program, width=1))
    with jax.disable_jit():  # a few operations, against a compilation of seconds a family
        return train_run(lane, dataset.features, labels, program=program)


def numbers(outcome: Outcome) -> dict[str, list[float]]:
    """What is written down: the curves, some logits, and a length and sum of every parameter."""
    curves = outcome.curves._asdict()
    params = {
        f"params.{name}": [np.linalg.norm(value), np.sum(value)]
        for name, value in outcome.params.items()
    }
    found = {**curves, "test_logits": outcome.test_logits[:4], **params}
    return {
        name: [float(f"{each:.9g}") for each in np.asarray(value)] for name, value in found.items()
    }


FAMILIES = families()


@pytest.mark.parametrize("name", FAMILIES)
def test_training_step_gives_the_numbers_written_down(name):
    wanted = json.loads(WRITTEN.read_text())[name]
    found = numbers(trained(FAMILIES[name]))
    assert found.keys() == wanted.keys(), MEANT.format(name=name)
    for key, values in wanted.items():
        scale = max(1e-2, *np.abs(values))
        close = np.allclose(found[key], values, rtol=TOLERANCE, atol=TOLERANCE * scale)
        assert close, f"{key} is {found[key]}, was {values}. {MEANT.format(name=name)}"


def test_nothing_is_written_down_that_is_not_trained():
    assert json.loads(WRITTEN.read_text()).keys() == FAMILIES.keys()


if __name__ == "__main__":
    written = {name: numbers(trained(one)) for name, one in FAMILIES.items()}
    lines = [f"{json.dumps(name)}: {json.dumps(found)}" for name, found in written.items()]
    WRITTEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")
