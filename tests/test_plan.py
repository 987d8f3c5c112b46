"""The plan: what shares a program, how wide it is, and what a run's identity is made of."""

import dataclasses

import jax
import pytest

from harness.identity import run_id
from harness.models import MLP, LogisticRegression
from harness.prepare import prepare
from harness.sweep import lanes, plan
from harness.train import Program
from tests.runs import config

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
    "prior bias": {"model__prior_bias": True},
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


def jobs(*configs):
    return plan.make_jobs(configs)


def traced(one):
    """What JAX would look at to decide whether to trace again."""
    dataset = plan.load(one.dataset)
    ready = prepare(one, dataset)
    shapes = [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(ready.lane)]
    return ready.program, jax.tree.structure(ready.lane), shapes, dataset.features.shape


@pytest.mark.parametrize("changes", FUSES.values(), ids=FUSES)
def test_values_share_a_program(changes):
    other = config(**changes)
    assert len(plan.group(jobs(BASE, other))) == 1
    assert traced(BASE) == traced(other)


@pytest.mark.parametrize("changes", SPLITS.values(), ids=SPLITS)
def test_structure_makes_another_program(changes):
    other = config(**changes)
    assert len(plan.group(jobs(BASE, other))) == 2
    assert traced(BASE) != traced(other)


def test_a_job_given_twice_trains_once():
    (group,) = plan.group(jobs(BASE, config(seed=1), BASE))
    assert len(group.jobs) == 2


def test_batches_hold_every_job_once():
    (group,) = plan.group(jobs(*(config(seed=seed) for seed in range(40))))
    batches = list(group.batches())
    assert len(batches) == group.num_batches
    assert sorted(job.run_id for batch in batches for job in batch) == sorted(
        job.run_id for job in group.jobs
    )
    assert all(len(batch) <= group.width for batch in batches)


def test_identity_is_what_can_change_the_numbers():
    def identity(**changes):
        one = config(**changes)
        fingerprint = plan.load(one.dataset).fingerprint
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
        program = Program(model, 57, num_epochs=50, steps_per_epoch=10, batch_size=256)
        return lanes.lanes_per_device(program, num_validation=920, num_test=920)

    widths = [width(MLP(width=size)) for size in (8, 64, 512, 1024, 2048, 4096, 16384)]
    assert widths[:2] == [lanes.MAX_LANES, lanes.MAX_LANES]
    assert widths == sorted(widths, reverse=True) and widths[-1] == 1
    assert width(LogisticRegression()) == lanes.MAX_LANES


def test_lane_bytes_bound_what_xla_says():
    """The memory model, held against the compiled program's own account."""
    (group,) = plan.group(jobs(config(model={"name": "mlp"}, training__batch_size=256)))
    lane = prepare(group.jobs[0].config, group.dataset).lane
    data = lanes.put(group.dataset)
    trainer = lanes.Trainer(group.signature.program, lanes.stack([lane], group.width), data)
    analysis = trainer.memory()
    per_lane = analysis / group.signature.lanes_per_device
    assert 0.3 * group.signature.lane_bytes < per_lane < 1.5 * group.signature.lane_bytes


def test_flops_of_one_step_by_hand():
    signature = plan.signature(BASE, plan.load(BASE.dataset))
    one = dataclasses.replace(
        signature,
        num_validation=0,
        num_test=0,
        program=dataclasses.replace(signature.program, num_epochs=1, steps_per_epoch=1),
    )
    d, h, b = 30, 8, 64
    forward = 2 * b * (d * h + h)
    weights, inputs = forward, 2 * b * h
    assert one.run_flops == forward + weights + inputs
