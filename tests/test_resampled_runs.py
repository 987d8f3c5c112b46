"""Runs on resampled rows: their arithmetic, their programs, their company and their store."""

from dataclasses import replace

import jax
import numpy as np
import polars as pl
import pytest
from scipy.special import expit

from harness.data.sampler import SAMPLERS
from harness.errors import UserError
from harness.losses import WeightedBCE, one_of
from harness.prepare import prepare
from harness.sweep import lanes, plan
from tests.runs import config
from tests.stored import assert_same_runs, only, stored_tables
from tests.test_resume import train, trained
from tests.test_train import train_alone, train_together

DIGITS = {"kind": "sklearn", "name": "digits", "positive": "8"}
MAKING = [kind().name for kind in SAMPLERS if kind.makes_rows]
LOGISTIC = {"name": "logistic"}


def test_sgd_on_made_rows_equals_a_loop_in_numpy():
    one = config(
        dataset=DIGITS,
        sampler={"name": "smote"},
        model=LOGISTIC,
        optimizer={"name": "sgd", "learning_rate": 0.3},
        training={"num_epochs": 1, "steps_per_epoch": 5, "batch_size": 64},
    )
    ready, outcome, dataset = train_alone(one)
    train_rows = dataset.features[ready.parts.split.train].astype(np.float64)
    mean, deviation = train_rows.mean(0), train_rows.std(0)
    deviation[deviation == 0] = 1
    made = ready.parts.num_synthetic
    features = np.concatenate([dataset.features, ready.parts.synthetic[:made]])
    labels = np.concatenate([dataset.labels, np.ones(made)])
    features = (features - mean) / deviation
    assert (ready.lane.batch_rows >= dataset.num_rows).any()
    weights, bias = np.zeros(dataset.num_features), 0.0
    losses = []
    for rows in ready.lane.batch_rows:
        logits = features[rows] @ weights + bias
        losses.append(np.mean(np.logaddexp(0, logits) - labels[rows] * logits))
        residual = expit(logits) - labels[rows]
        weights -= 0.3 * features[rows].T @ residual / 64
        bias -= 0.3 * residual.mean()
    expected = features[ready.parts.split.test] @ weights + bias
    np.testing.assert_allclose(outcome.test_logits, expected, rtol=2e-4, atol=2e-5)
    assert outcome.curves.train_loss[0] == pytest.approx(np.mean(losses), rel=1e-5)


def test_duplicating_positives_equals_weighting_them_in_full_batch_only():
    """k copies of each positive give k times its gradient, and a mean over more rows."""
    k, num_rows = 3, 341
    one = config(
        model=LOGISTIC,
        optimizer={"name": "sgd", "learning_rate": 0.5},
        training={"num_epochs": 1, "steps_per_epoch": 4, "batch_size": num_rows},
    )
    dataset = plan.load(one.dataset)
    ready = prepare(one, dataset)
    rows = ready.parts.split.train
    copies = np.repeat(rows, np.where(dataset.labels[rows] == 1, k, 1)).astype(np.int32)
    share = num_rows / len(copies)
    weighted = one_of(WeightedBCE(positive_weight=k * share, negative_weight=share))

    def logits(batch_rows, loss):
        program = replace(
            ready.program, batch_size=batch_rows.shape[1], steps_per_epoch=len(batch_rows)
        )
        rates = np.full(len(batch_rows), 0.5, np.float32)
        lane = ready.lane._replace(batch_rows=batch_rows, loss=loss, learning_rates=rates)
        return np.asarray(lanes.train_alone(program, lane, dataset).test_logits)

    duplicated = logits(np.tile(copies, (4, 1)), ready.lane.loss)
    reweighted = logits(np.tile(rows, (4, 1)), weighted)
    np.testing.assert_allclose(duplicated, reweighted, rtol=1e-4, atol=1e-5)
    shuffled = np.random.default_rng(0).permutation
    parts = logits(shuffled(copies)[:560].reshape(8, 70), ready.lane.loss)
    same_parts = logits(shuffled(rows)[:336].reshape(8, 42), weighted)
    assert np.abs(parts - same_parts).max() > 0.05


@pytest.mark.parametrize("ratio", [0.25, 0.5, 1.0])
def test_undersampling_reports_the_prior_of_its_formula(ratio):
    """Keeping a share b of the negatives: p_s = p / (p + b (1 - p)), and back."""
    one = config(dataset=DIGITS, sampler={"name": "random_under", "ratio": ratio})
    dataset = plan.load(one.dataset)
    parts = prepare(one, dataset).parts
    labels = dataset.labels[parts.split.train]
    p, kept = labels.mean(), parts.num_negatives / (labels == 0).sum()
    assert parts.train_prior == pytest.approx(p / (p + kept * (1 - p)), rel=1e-12)
    sampled = parts.train_prior
    assert kept * sampled / (kept * sampled + 1 - sampled) == pytest.approx(p, rel=1e-12)
    assert parts.num_positives == labels.sum() and parts.num_negatives == int(labels.sum() / ratio)


def test_losses_and_first_predictions_know_the_training_prior():
    one = config(
        dataset=DIGITS,
        model={"name": "logistic", "prior_bias": True},
        batching={"name": "balanced", "positive_share": 0.2},
    )
    lane = prepare(one, plan.load(one.dataset)).lane
    assert lane.head_bias == pytest.approx(np.log(0.2 / 0.8), rel=1e-6)


def traced(one):
    dataset = plan.load(one.dataset)
    ready = prepare(one, dataset)
    shapes = [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(ready.lane)]
    return ready.program, jax.tree.structure(ready.lane), shapes


def test_all_samplers_that_make_rows_share_one_program():
    """Whatever they make of it: under all imbalances and ratios no row is too many."""
    plain = config(dataset=DIGITS)
    made = [
        config(dataset=DIGITS, sampler={"name": name, "ratio": ratio}, seed=seed)
        for name in MAKING
        for ratio, seed in ((0.5, 0), (1.0, 1))
    ]
    made += [
        config(dataset=DIGITS, sampler={"name": name}, imbalance={"positive_rate": rate})
        for name in ("smote", "adasyn", "kmeans_smote")
        for rate in (0.05, 0.9)
    ]
    assert len(plan.group(plan.make_jobs([plain, *made], numerics="test"))) == 2
    assert len({str(traced(one)) for one in made}) == 1
    assert traced(plain) != traced(made[0])


def test_programs_without_made_rows_know_nothing_of_them():
    """Their trace is what it would be if there were none: one gather of features, one of labels."""

    def gathers(one):
        dataset = plan.load(one.dataset)
        ready = prepare(one, dataset)
        labels = dataset.labels.astype(np.float32)
        text = lanes._train_alone.lower(
            ready.lane, dataset.features, labels, program=ready.program
        ).as_text()
        return text.count("stablehlo.gather"), ready.lane.synthetic

    plain, none = gathers(config(dataset=DIGITS))
    over, none_either = gathers(config(dataset=DIGITS, sampler={"name": "random_over"}))
    made, synthetic = gathers(config(dataset=DIGITS, sampler={"name": "smote"}))
    assert none is None and none_either is None and synthetic.shape == (1079, 64)
    assert plain == over == made - 2


def test_planning_runs_no_sampler(monkeypatch):
    configs = [
        config(dataset=DIGITS, sampler={"name": name}, seed=s) for name in MAKING for s in range(40)
    ]
    for kind in SAMPLERS:
        monkeypatch.setattr(kind, "resample", lambda *_, **__: pytest.fail("a sampler ran"))
    (group,) = plan.group(plan.make_jobs(configs, numerics="test"))
    assert len(group.jobs) == len(MAKING) * 40
    assert group.signature.program.num_synthetic == 1079


def test_made_rows_count_in_a_lanes_memory():
    one = config(dataset=DIGITS, sampler={"name": "smote"})
    (group,) = plan.group(plan.make_jobs([one], numerics="test"))
    lane = prepare(one, group.dataset).lane
    data = lanes.put(group.dataset)
    trainer = lanes.Trainer(group.signature.program, lanes.stack([lane], group.width), data)
    per_lane = trainer.memory() / group.signature.lanes_per_device
    assert 0.5 * group.signature.lane_bytes < per_lane < 1.5 * group.signature.lane_bytes
    plain = plan.signature(config(dataset=DIGITS), group.dataset)
    assert group.signature.lane_bytes - plain.lane_bytes == 4 * 1079 * 65


def test_company_changes_no_bit_of_runs_on_made_rows():
    runs = [
        config(dataset=DIGITS, sampler={"name": name}, seed=seed, loss={"name": loss})
        for seed, (name, loss) in enumerate(
            zip(MAKING, ["bce", "focal", "hinge"] * 3, strict=False)
        )
    ]
    together = train_together(*runs)
    backwards = train_together(*runs[::-1])[::-1]
    for at in (0, 3):
        (alone,) = train_together(runs[at])
        leaves = (jax.tree.leaves(one[at]) for one in (together, backwards))
        for a, b, c in zip(jax.tree.leaves(alone), *leaves, strict=True):
            assert a.tobytes() == b.tobytes() == c.tobytes()
    _, plain, _ = train_alone(runs[0])
    np.testing.assert_allclose(together[0].test_logits, plain.test_logits, rtol=1e-3, atol=1e-4)


def test_sweeps_over_samplers_resume_and_report(tmp_path):
    """Half of it trained first, and among it a run that its data cannot give."""
    runs = [
        config(dataset=DIGITS, sampler={"name": name}, batching={"name": batching}, model=LOGISTIC)
        for name in ("none", "smote", "random_under")
        for batching in ("shuffled", "balanced")
    ]
    impossible = config(dataset=DIGITS, sampler={"name": "smote", "k_neighbors": 500})
    whole = trained(runs, tmp_path / "whole")
    train(runs[::2], tmp_path / "parts")
    results = train([impossible, *runs[::-1]], tmp_path / "parts")
    assert [one.was_stored for one in results[1:]] == [False, True] * 3
    assert isinstance(results[0].error, UserError)
    assert "lower sampler.k_neighbors to at most 103" in str(results[0].error)
    assert_same_runs(stored_tables(tmp_path / "parts" / "default"), whole)
    facts = whole["runs"].select(
        "sampler.name", "batching.name", "num_train", "num_train_sampled", "num_train_synthetic",
        pl.col("train_prior").round(6),
    )  # fmt: skip
    natural = round(104 / 1079, 6)
    assert sorted(facts.rows()) == [
        ("none", "balanced", 1079, 1079, 0, 0.5),
        ("none", "shuffled", 1079, 1079, 0, natural),
        ("random_under", "balanced", 1079, 208, 0, 0.5),
        ("random_under", "shuffled", 1079, 208, 0, 0.5),
        ("smote", "balanced", 1079, 1950, 871, 0.5),
        ("smote", "shuffled", 1079, 1950, 871, 0.5),
    ]
    smote = whole["runs"].filter(pl.col("sampler.name") == "smote")["run_id"]
    assert only(whole, set(smote))["runs"].height == 2


@pytest.mark.slow
def test_a_sweep_over_all_samplers_has_no_failed_run(harness):
    names = ",".join(kind().name for kind in SAMPLERS)
    said = harness(
        "train", "-m", "wandb=disabled", "dataset=digits", "training.num_epochs=5",
        f"sampler={names}", "loss=bce,focal", "seed=0,1",
    )  # fmt: skip
    assert said.code == 0, said.err
    assert said.out.startswith(f"{4 * len(SAMPLERS)} trained, 0 already stored, 0 failed")
