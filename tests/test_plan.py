"""The plan: what shares a program, how wide it is, and what a run's identity is made of."""

from dataclasses import replace

import jax
import pytest

from harness.data.library import datasets
from harness.identity import run_id
from harness.models import MLP, LogisticRegression
from harness.padding import stack
from harness.sweep import lanes, plan
from harness.training import Sizes
from tests.runs import config, groups, prepared, runs_of

BASE = config()

# Changes that are data to a program, and changes that make another one.
FUSES = {
    "learning rate": {"optimizer__learning_rate": 0.5},
    "weight decay": {"optimizer__weight_decay": 0.1},
    "clipping": {"optimizer__clip_norm": 1.0},
    "momentum of adam": {"optimizer__b1": 0.5},
    "schedule": {"schedule": {"name": "warmup_cosine", "warmup": 0.3}},
    "loss": {"loss": {"name": "focal", "gamma": 5.0}},
    "fitted loss": {"loss": {"name": "weighted_bce"}},
    "positive rate": {"imbalance": {"positive_rate": 0.1, "where": "all"}},
    "sampler": {"sampler": {"name": "random_over"}},
    "seed": {"seed": 7},
    "split": {"split": {"seed": 3}},
    "prior bias": {"model__prior_bias": False},
    "selection": {"evaluation": {"select": "brier"}},
    "patience": {"training__patience": 2},
    "threshold": {"evaluation": {"threshold": "mcc"}},
}
SPLITS = {
    "width": {"model__width": 9},
    "depth": {"model__depth": 2},
    "dropout": {"model__dropout": 0.5},
    "model": {"model": {"name": "logistic"}},
    "optimizer": {"optimizer": {"name": "sgd", "learning_rate": 0.01}},
    "epochs": {"training__num_epochs": 5},
    "steps": {"training__steps_per_epoch": 3},
    "batch": {"training__batch_size": 32},
    "test size": {"split": {"test": 0.3}},
    "data": {"dataset": {"kind": "sklearn", "name": "digits", "positive": "8"}},
}


def traced(one):
    """What JAX would look at to decide whether to trace again."""
    run, _, lane, dataset = prepared(one)
    stacked = stack([lane], run.exact_program, width=1)
    shapes = [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(stacked)]
    return run.exact_program, jax.tree.structure(stacked), shapes, dataset.features.shape


@pytest.mark.parametrize("changes", FUSES.values(), ids=FUSES)
def test_values_share_a_program(changes):
    other = config(**changes)
    assert len(groups(BASE, other)) == 1
    assert traced(BASE) == traced(other)


@pytest.mark.parametrize("changes", SPLITS.values(), ids=SPLITS)
def test_structure_makes_another_program(changes):
    other = config(**changes)
    assert len(groups(BASE, other)) == 2
    assert traced(BASE) != traced(other)


def test_a_job_given_twice_trains_once():
    (group,) = groups(BASE, config(seed=1), BASE)
    assert len(group) == 2


def test_batches_hold_every_job_once():
    runs = runs_of(*(config(seed=seed) for seed in range(40)))
    ((program, batches),) = plan.batches(runs)
    assert sorted(run.run_id for batch in batches for run in batch) == sorted(
        run.run_id for run in runs
    )
    assert all(len(batch) == lanes.width_of(program) for batch in batches[:-1])


def test_identity_is_what_can_change_the_numbers():
    def identity(**changes):
        one = config(**changes)
        fingerprint = datasets.get(one.dataset).fingerprint
        return run_id(one, data_fingerprint=fingerprint)

    base = identity()
    cosmetic = [
        {"name": "other"},
        {"root": "elsewhere"},
        {"rerun": True},
        {"evaluation": {"objective": "auroc"}},
        {"wandb": {"mode": "offline", "project": "p", "tags": ["t"]}},
    ]
    assert {identity(**change) for change in cosmetic} == {base}
    changed = [identity(**change) for change in (FUSES | SPLITS).values()]
    assert base not in changed and len(set(changed)) == len(changed)
    assert run_id(BASE, data_fingerprint="other") != base


def test_larger_models_get_fewer_lanes_down_to_one():
    def width(model):
        sizes = Sizes(rows=4601, features=57, validation=920, test=920, steps_per_epoch=10)
        base = prepared(BASE).program
        program = replace(base, model=model, sizes=sizes, num_epochs=50, batch_size=256)
        return lanes.lanes_per_device(program)

    widths = [width(MLP(width=size)) for size in (8, 64, 128, 256, 512, 16384)]
    assert widths == [8, 8, 4, 2, 1, 1]
    assert width(LogisticRegression()) == lanes.MAX_LANES


@pytest.mark.slow
def test_lane_bytes_bound_what_xla_says():
    """The memory model, held against the compiled program's own account."""
    program = prepared(config(model={"name": "mlp"}, training__batch_size=256)).program
    per_lane = lanes.Trainer(program).memory() / lanes.lanes_per_device(program)
    assert 0.3 * lanes.lane_bytes(program) < per_lane < 1.5 * lanes.lane_bytes(program)


def test_flops_of_one_step_by_hand():
    run = prepared(BASE).run
    one = replace(
        run,
        sizes=replace(run.sizes, validation=0, test=0, steps_per_epoch=1),
        program=replace(run.program, num_epochs=1),
    )
    d, h, b = 30, 8, 64
    forward = 2 * b * (d * h + h)
    weights, inputs = forward, 2 * b * h
    assert plan.run_flops(one) == forward + weights + inputs
