"""Losses that remember: LibAUC's numbers, rows of their own, and training by hand."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harness.errors import UserError
from harness.losses import (
    SOAP,
    AUCMinMax,
    Memory,
    PointwiseLoss,
    as_loss,
    pack,
    step_and_gradient,
)
from harness.losses.catalogue import OF_A_BATCH
from harness.sweep.lanes import lane_bytes
from harness.testing.losses import loss_faults
from harness.training import _kept
from tests.runs import config, prepared, train_alone, train_together

# Four batches of six of twelve rows, by libauc 2.0.1 on PyTorch 2.13, in float64: APLoss, gamma .7,
# margin .8; AUCMLoss v1 over p (1 - p), margin .9, of sigmoids, its variables moved by steps of .1.
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


@pytest.mark.parametrize(
    "sampler", [pytest.param("none", marks=pytest.mark.slow), "smote", "random_over"]
)
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


@pytest.mark.slow
@pytest.mark.parametrize("name", ["soap", "auc_min_max"])
def test_company_and_room_change_nothing(name):
    runs = [config(**{**SOAP_RUN, "loss": {"name": name}}, seed=seed) for seed in range(3)]
    together = train_together(*runs)
    _, alone, _ = train_alone(runs[1])
    np.testing.assert_allclose(together[1].test_logits, alone.test_logits, rtol=2e-4, atol=2e-4)
    first, *_ = train_together(runs[0])
    np.testing.assert_array_equal(first.test_logits, together[0].test_logits)


def test_what_is_remembered_of_rows_counts_in_a_lanes_memory():
    soap, smote = config(**SOAP_RUN), config(**SOAP_RUN, sampler={"name": "smote"})
    rows, both = (prepared(one).program for one in (soap, smote))
    assert rows.num_remembered == 2 * rows.sizes.rows
    assert both.num_remembered == 2 * (both.sizes.rows + both.sizes.synthetic)
    other = replace(rows, losses=OF_A_BATCH)
    assert lane_bytes(rows) - lane_bytes(other) == 4 * 2 * rows.num_remembered


@dataclass(frozen=True)
class Fading:
    """A row counts less the better it was learned when it was last seen."""

    fade: float = 0.5
    per_row = 1

    def step(self, logits, labels, weights, memory):
        losses = jnp.logaddexp(0.0, -(2 * labels - 1) * logits)
        of_rows = weights * (1 - self.fade * memory.rows[:, 0])
        learned = jax.lax.stop_gradient(jnp.exp(-losses))
        return jnp.sum(of_rows * losses) / jnp.sum(weights), Memory(learned[:, None], memory.run)


def test_one_of_ones_own_looks_back_as_at_a_first_step():
    loss = as_loss(Fading)(fade=0.5)
    assert loss.of_a_batch
    value = loss.mean(logits=jnp.zeros(3), labels=jnp.ones(3), weights=jnp.ones(3))
    assert value == pytest.approx(np.log(2))


@pytest.mark.slow
def test_a_sound_one_has_no_fault():
    assert list(loss_faults(Fading)) == []


def planted(result, **numbers):
    """`Fading` with another result of a step: a function of logits, loss and memory."""

    def step(self, logits, labels, weights, memory):
        return result(logits, *Fading.step(self, logits, labels, weights, memory))

    return dataclass(frozen=True)(type("Planted", (Fading,), {"step": step, **numbers}))


def rows(change):
    """The same with other numbers of rows: a function of logits and these."""
    return lambda z, loss, memory: (loss, memory._replace(rows=change(z, memory.rows)))


def of_the_tracer(z, m):
    return m if isinstance(z, jax.core.Tracer) else 0.5 * m


FAULTS = {
    "by place": (rows(lambda _, m: m * jnp.arange(1.0, len(m) + 1)[:, None]), "in another order"),
    "the next row's": (rows(lambda _, m: jnp.roll(m, 1, axis=0)), "rows in another order"),
    "of the absent": (rows(lambda z, m: m + 0.01 * z.mean()), "rows of weight 0 change"),
    "overflows": (rows(lambda z, m: m / jnp.min(jnp.abs(z))), "not finite"),
    "unlike under jit": (rows(of_the_tracer), "under jax.jit it remembers other"),
    "grows": (rows(lambda _, m: jnp.concatenate([m, m])), "remembers rows of shape"),
    "another type": (rows(lambda _, m: m.astype(jnp.int32)), "rows of shape (4, 1), int32"),
    "forgets": (lambda z, loss, memory: loss, "(loss, Memory(rows, run))"),
}
REFUSED = ("grows", "another type", "forgets")  # before anything is compiled


@pytest.mark.parametrize(
    ("result", "told"),
    [
        pytest.param(*fault, id=name, marks=() if name in REFUSED else pytest.mark.slow)
        for name, fault in FAULTS.items()
    ],
)
def test_a_planted_fault_is_found(result, told):
    found = next((one for one in loss_faults(planted(result)) if told in one), None)
    assert found is not None and "\n" not in found


def test_a_first_step_is_of_no_memory():
    (said,) = loss_faults(planted(rows(lambda _, m: m / jnp.zeros_like(m))))
    assert "its memory is all 0" in said


def test_what_remembers_has_a_step():
    @dataclass(frozen=True)
    class Forgetful:
        per_row = 1

        def __call__(self, logits, labels):
            return jnp.logaddexp(0.0, -(2 * labels - 1) * logits)

    with pytest.raises(UserError, match="loss=Forgetful: what remembers numbers"):
        as_loss(Forgetful)


def test_numbers_that_are_no_numbers_are_refused():
    with pytest.raises(UserError, match="per_row = 'two' is how many"):
        as_loss(planted(rows(lambda _, m: m), per_row="two"))


def test_how_many_numbers_there_are_is_no_hyperparameter():
    @dataclass(frozen=True)
    class Annotated(Fading):
        per_row: int = 2

    with pytest.raises(UserError, match="no annotation, as in per_row = 2"):
        as_loss(Annotated)


def test_a_hyperparameter_may_be_called_step():
    @dataclass(frozen=True)
    class Stepped:
        step: float = 0.5

        def __call__(self, logits, labels):
            return self.step * jnp.logaddexp(0.0, -(2 * labels - 1) * logits)

    assert issubclass(as_loss(Stepped), PointwiseLoss)


def test_a_row_that_a_batch_holds_twice_is_remembered_as_it_stands_last():
    """Whichever place a device writes first."""
    places = jnp.array([3, 1, 3, 0, 3])
    of_batch = Memory(jnp.arange(1.0, 6)[:, None], jnp.ones(1))
    kept = _kept(Memory(jnp.full((5, 1), 9.0), jnp.zeros(1)), places, of_batch)
    assert kept.rows.ravel().tolist() == [4, 2, 9, 5, 9] and kept.run == 1
