"""Losses that remember: LibAUC's numbers, rows of their own, and training by hand."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harness.errors import UserError
from harness.losses import SOAP, AUCMinMax, Memory, as_loss, pack, step_and_gradient
from harness.testing.losses import loss_faults
from tests.runs import config, train_alone, train_together

# Four batches of six of twelve rows, by libauc 2.0.1 (APLoss, gamma .7, margin .8; AUCMLoss, margin
# .9, its variables moved by plain steps of .1 / (p (1 - p))) on PyTorch 2.13, in float64.
LIBAUC = json.loads((Path(__file__).parent / "references" / "libauc.json").read_text())


def steps_of(loss, memory_of):
    """After each recorded batch: the record, the batch's loss, gradient, rows and memory."""
    labels = np.array(LIBAUC["labels"])
    rows_memory, run = np.zeros((12, loss.per_row)), np.zeros(loss.per_run)
    for said in LIBAUC["steps"]:
        rows = np.array(said["rows"])
        memory = Memory(jnp.float32(rows_memory[rows]), jnp.float32(run))
        batch = jnp.float32(np.array(said["logits"])), jnp.float32(labels[rows]), jnp.ones(6)
        (value, memory), slope = step_and_gradient(pack(loss), jnp.float32(0), *batch, memory)
        rows_memory[rows], run = memory.rows, memory.run
        yield said[memory_of], value, slope, rows_memory, run


def test_average_precision_is_libaucs():
    for said, _, slope, rows, _ in steps_of(SOAP(gamma=0.7, margin=0.8), "soap"):
        np.testing.assert_allclose(slope, said["slope"], rtol=2e-4, atol=2e-6)
        np.testing.assert_allclose(rows[:, 0], said["u_pos"], rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(rows[:, 1], said["u_all"], rtol=1e-5, atol=1e-7)


def test_the_min_max_problem_is_libaucs():
    for said, value, slope, _, run in steps_of(AUCMinMax(margin=0.9, rate=0.1), "aucm"):
        np.testing.assert_allclose(value, said["loss"], rtol=1e-5)
        np.testing.assert_allclose(slope, said["slope"], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(run, said["run"], rtol=1e-5)


SOAP_RUN = dict(
    loss={"name": "soap", "gamma": 0.3},
    model={"name": "logistic", "prior_bias": False},
    optimizer={"name": "sgd", "learning_rate": 0.5},
    training={"num_epochs": 1, "batch_size": 64},
)


@pytest.mark.parametrize("sampler", ["none", "smote", "random_over"])
def test_training_by_hand_gives_the_same(sampler):
    """Each row has memory of its own, in the data set's numbers, and made rows beside them."""
    ready, outcome, dataset = train_alone(config(**SOAP_RUN, sampler={"name": sampler}))
    lane, made = ready.lane, sampler == "smote"
    features = np.float64(dataset.features)
    labels = np.float64(dataset.labels)
    if made:  # row -1 is the first of the made ones, -2 the second
        features = np.concatenate([features, np.float64(lane.synthetic)[::-1]])
        labels = np.concatenate([labels, np.float64(lane.synthetic_labels)[::-1]])
    features = (features - lane.center) * lane.scale
    memory, weights, bias = np.zeros((len(labels), 2)), np.zeros(features.shape[1]), 0.0
    params = dict(outcome.params)
    start = next(value for name, value in params.items() if name.endswith("kernel"))
    assert not np.allclose(start, 0)
    for rows in np.asarray(lane.batch_rows):
        x, y = features[rows], labels[rows]
        z = x @ weights + bias
        above = np.maximum(0, 1 - (z[:, None] - z[None, :])) ** 2
        batch = np.stack([above @ y, above.sum(1)], 1) / len(y)
        positives = np.flatnonzero(y)
        # A row that is there twice has the same numbers twice, and one memory.
        memory[rows[positives]] = 0.7 * memory[rows[positives]] + 0.3 * batch[positives]
        among_positives, among_all = memory[rows[positives]].T
        ratio = among_positives / among_all
        factor = (y[None, :] - ratio[:, None]) / among_all[:, None] / len(y) / len(positives)
        gaps = 2 * np.maximum(0, 1 - (z[positives][:, None] - z[None, :])) * factor
        slope = np.zeros(len(z))
        slope[positives] += gaps.sum(1)
        slope -= gaps.sum(0)
        weights, bias = weights - 0.5 * x.T @ slope, bias - 0.5 * slope.sum()
    np.testing.assert_allclose(np.ravel(start), weights, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("name", ["soap", "auc_min_max"])
def test_company_and_room_change_nothing(name):
    runs = [config(**{**SOAP_RUN, "loss": {"name": name}}, seed=seed) for seed in range(3)]
    together = train_together(*runs)
    _, alone, _ = train_alone(runs[1])
    np.testing.assert_allclose(together[1].test_logits, alone.test_logits, rtol=2e-4, atol=2e-4)
    first, *_ = train_together(runs[0])
    np.testing.assert_array_equal(first.test_logits, together[0].test_logits)


@dataclass(frozen=True)
class Fading:
    """A row counts less the better it was learned when it was last seen."""

    per_row: ClassVar[int] = 1
    fade: float = 0.5

    def step(self, logits, labels, weights, memory):
        losses = jnp.logaddexp(0.0, -(2 * labels - 1) * logits)
        of_rows = weights * (1 - self.fade * memory.rows[:, 0])
        learned = jnp.where(weights > 0, jax.lax.stop_gradient(jnp.exp(-losses)), memory.rows[:, 0])
        loss = jnp.sum(of_rows * losses) / jnp.sum(weights)
        return loss, Memory(learned[:, None], memory.run)


def faults(cls):
    return "\n".join(loss_faults(cls))


def test_one_of_ones_own_passes_and_trains():
    assert faults(Fading) == ""
    loss = as_loss(Fading)(fade=0.5)
    assert loss.of_a_batch
    value = loss.mean(logits=jnp.zeros(3), labels=jnp.ones(3), weights=jnp.ones(3))
    assert value == pytest.approx(np.log(2))


def planted(step, **numbers):
    return dataclass(frozen=True)(type("Planted", (Fading,), {"step": step, **numbers}))


def by_place(self, logits, labels, weights, memory):
    loss, new = Fading.step(self, logits, labels, weights, memory)
    return loss, Memory(new.rows * jnp.arange(1.0, len(logits) + 1)[:, None] / 64, memory.run)


def of_the_absent(self, logits, labels, weights, memory):
    loss, new = Fading.step(self, logits, labels, weights, memory)
    return loss, Memory(new.rows + 0.01 * logits.mean(), memory.run)


def overflows(self, logits, labels, weights, memory):
    loss, new = Fading.step(self, logits, labels, weights, memory)
    return loss, Memory(new.rows / jnp.min(jnp.abs(logits)), memory.run)


def grows(self, logits, labels, weights, memory):
    loss, new = Fading.step(self, logits, labels, weights, memory)
    return loss, Memory(jnp.concatenate([new.rows, new.rows]), memory.run)


def forgets(self, logits, labels, weights, memory):
    return Fading.step(self, logits, labels, weights, memory)[0]


@pytest.mark.parametrize(
    ("step", "told"),
    [
        (by_place, "rows in another order"),
        (of_the_absent, "rows of weight 0 change"),
        (overflows, "not finite"),
        (grows, "remembers rows of shape"),
        (forgets, r"\(loss, Memory\(rows, run\)\)"),
    ],
    ids=["by place", "of the absent", "overflows", "grows", "forgets"],
)
def test_a_planted_fault_is_found(step, told):
    assert re.search(told, faults(planted(step)))


def test_numbers_that_are_no_numbers_are_refused():
    with pytest.raises(UserError, match="per_row = 'two' is how many"):
        as_loss(planted(Fading.step, per_row="two"))
