"""Runs on resampled rows: their arithmetic, their programs, their company and their store."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from imblearn import over_sampling
from scipy.special import expit
from sklearn.preprocessing import StandardScaler

from harness.data.batches import batch_rows
from harness.data.sampler import SAMPLERS, SMOTE
from harness.data.streams import Purpose, legacy_seed
from harness.errors import UserError
from harness.losses import BCE, WeightedBCE
from harness.prepare import prepare
from harness.sweep import lanes, plan, verify
from tests.runs import config
from tests.stored import assert_same_runs, stored_tables
from tests.test_resume import train, trained
from tests.test_train import train_alone

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
    # Row -1 is the first of those made.
    features = np.concatenate([dataset.features, ready.parts.synthetic[:made][::-1]])
    labels = np.concatenate([dataset.labels, np.ones(made)])
    features = (features - mean) / deviation
    assert (ready.lane.batch_rows < 0).any()
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
    """k copies of each positive have k times its gradient, in a mean over more rows."""
    k = 3
    one = config(model=LOGISTIC)
    dataset = plan.load(one.dataset)
    rows = prepare(one, dataset).parts.split.train
    copies = np.repeat(rows, np.where(dataset.labels[rows] == 1, k, 1)).astype(np.int32)
    share = len(rows) / len(copies)
    weighted = WeightedBCE(positive_weight=k * share, negative_weight=share)

    def gradient(loss, batch):
        features, labels = dataset.features[batch], dataset.labels[batch].astype(np.float32)
        weights = np.linspace(-1, 1, dataset.num_features, dtype=np.float32)
        return jax.grad(lambda w: loss(logits=features @ w, labels=labels).mean())(weights)

    whole = gradient(BCE(), copies)
    np.testing.assert_allclose(gradient(weighted, rows), whole, rtol=1e-4, atol=1e-6)
    of_copies, of_rows = (
        batch_rows(rows=visited, batch_size=64, num_steps=1, seed=0)[0]
        for visited in (copies, rows)
    )
    difference = gradient(BCE(), of_copies) - gradient(weighted, of_rows)
    assert np.abs(difference).max() > 0.1 * np.abs(whole).max()


@pytest.mark.parametrize("name", ["none", "random_over", "random_under", "smote"])
def test_the_validation_loss_is_under_the_prior_trained_under(name):
    """So that a run is not stopped for leaving the natural one."""
    sampler = {"name": name} if name == "none" else {"name": name, "ratio": 1.0}
    ready, outcome, dataset = train_alone(config(dataset=DIGITS, sampler=sampler, model=LOGISTIC))
    rows = ready.parts.split.validation
    labels, logits = dataset.labels[rows], outcome.validation_logits[: len(rows)].astype(float)
    losses = np.logaddexp(0, logits) - labels * logits
    natural = dataset.labels[ready.parts.split.train].mean()
    prior = natural if name == "none" else 0.5
    weights = np.where(labels == 1, prior / natural, (1 - prior) / (1 - natural))
    best = outcome.best_epoch - 1
    expected = pytest.approx(np.average(losses, weights=weights), rel=1e-5)
    assert outcome.curves.validation_loss[best] == expected
    assert outcome.curves.validation_log_loss[best] == pytest.approx(losses.mean(), rel=1e-5)
    if name == "none":
        assert set(ready.lane.validation_weights[: len(rows)].tolist()) == {1.0}


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
    assert len(plan.group(plan.make_jobs([plain, *made]))) == 2
    assert len({str(traced(one)) for one in made}) == 1
    assert traced(plain) != traced(made[0])


def test_programs_without_made_rows_know_nothing_of_them():
    def lowered(name):
        one = config(dataset=DIGITS, sampler={"name": name})
        dataset = plan.load(one.dataset)
        ready = prepare(one, dataset)
        labels = dataset.labels.astype(np.float32)
        lower = lanes._train_alone.lower
        return ready, lower(ready.lane, dataset.features, labels, program=ready.program).as_text()

    plain, text = lowered("none")
    over, same_text = lowered("random_over")
    made, other_text = lowered("smote")
    assert plain.lane.synthetic is None and over.lane.synthetic is None
    assert made.lane.synthetic.shape == (1079, 64)
    assert text == same_text and "1079x64" not in text and "1079x64" in other_text


def test_planning_runs_no_sampler(monkeypatch):
    configs = [
        config(dataset=DIGITS, sampler={"name": name}, seed=s) for name in MAKING for s in range(40)
    ]
    for kind in SAMPLERS:
        monkeypatch.setattr(kind, "resample", lambda *_, **__: pytest.fail("a sampler ran"))
    (group,) = plan.group(plan.make_jobs(configs))
    assert len(group.jobs) == len(MAKING) * 40
    assert group.signature.program.num_synthetic == 1079


def test_made_rows_count_in_a_lanes_memory():
    one = config(dataset=DIGITS, sampler={"name": "smote"})
    (group,) = plan.group(plan.make_jobs([one]))
    lane = prepare(one, group.dataset).lane
    trainer = group.compile([lane])
    per_lane = trainer.memory() / group.signature.lanes_per_device
    assert 0.5 * group.signature.lane_bytes < per_lane < 1.5 * group.signature.lane_bytes
    plain = plan.signature(config(dataset=DIGITS), group.dataset)
    made, program = group.signature.shapes.program.num_synthetic, group.signature.shapes.program
    assert made >= 1079
    assert group.signature.lane_bytes - plain.lane_bytes == 4 * made * (program.num_features + 1)


def test_company_changes_no_bit_of_runs_on_made_rows():
    losses = ("bce", "focal", "hinge", "brier")
    runs = [
        config(dataset=DIGITS, sampler={"name": name}, loss={"name": loss}, seed=seed)
        for seed, name in enumerate(MAKING)
        for loss in losses
    ]
    (group,) = plan.group(plan.make_jobs(runs))
    trainer = group.compile([prepare(runs[0], group.dataset).lane])
    for _, same_alone, same_reordered, difference in verify.compare(group, trainer):
        # The plain loop rounds differently; logits reach 10, and hinge and Adam amplify.
        assert same_alone and same_reordered and difference < 0.02


def test_sweeps_over_samplers_resume_and_report(tmp_path):
    """Half of it trained first, and among it a run that its data cannot give."""
    runs = [
        config(dataset=DIGITS, sampler={"name": name}, batching={"name": batching}, model=LOGISTIC)
        for name in ("smote", "adasyn")
        for batching in ("shuffled", "balanced")
    ]
    impossible = replace(runs[0], sampler=SMOTE(k_neighbors=500))
    whole = trained(runs, tmp_path / "whole")
    train(runs[::2], tmp_path / "parts")
    results = train([impossible, *runs[::-1]], tmp_path / "parts")
    assert [one.was_stored for one in results[1:]] == [False, True] * 2
    assert isinstance(results[0].error, UserError)
    assert "lower sampler.k_neighbors to at most 103" in str(results[0].error)
    assert_same_runs(stored_tables(tmp_path / "parts" / "default"), whole)
    facts = whole["runs"].select(
        "sampler.name", "batching.name", "num_train", "num_train_sampled", "num_train_synthetic",
        "train_prior",
    )  # fmt: skip
    made = over_sampling.ADASYN(random_state=legacy_seed(0, Purpose.SAMPLER))
    part = prepare(runs[0], plan.load(runs[0].dataset)).parts
    features = plan.load(runs[0].dataset).features[part.split.train]
    labels = plan.load(runs[0].dataset).labels[part.split.train]
    total = len(made.fit_resample(StandardScaler().fit_transform(features), labels)[0])
    assert sorted(facts.rows()) == [
        ("adasyn", "balanced", 1079, total, total - 1079, 0.5),
        ("adasyn", "shuffled", 1079, total, total - 1079, (total - 975) / total),
        ("smote", "balanced", 1079, 1950, 871, 0.5),
        ("smote", "shuffled", 1079, 1950, 871, 0.5),
    ]


@pytest.mark.slow
def test_a_sweep_over_all_samplers_has_no_failed_run(harness):
    names = ",".join(kind().name for kind in SAMPLERS)
    said = harness(
        "train", "-m", "wandb=disabled", "dataset=digits", "training.num_epochs=5",
        f"sampler={names}", "loss=bce,focal", "seed=0,1",
    )  # fmt: skip
    assert said.code == 0, said.err
    assert said.out.startswith(f"{4 * len(SAMPLERS)} trained, 0 already stored, 0 failed")


def test_rows_made_of_a_training_part_larger_than_expected():
    """Held-out groups may be small by chance: what a sampler makes must still have room."""
    one = config(dataset=DIGITS, sampler={"name": "smote"}, split={"name": "group"}, model=LOGISTIC)
    base = plan.load(one.dataset)
    rows = np.arange(base.num_rows)
    groups = np.where(rows < base.num_rows // 2, 0, rows % 9)  # one of them half of all rows
    grouped = replace(base, groups=groups.astype(np.int32))
    for seed in range(6):
        ready = prepare(replace(one, seed=seed), grouped)
        assert ready.parts.num_synthetic <= len(ready.lane.synthetic)
