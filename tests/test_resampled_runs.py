"""Runs on resampled rows: their arithmetic, their programs, their company and their store."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from imblearn import over_sampling
from scipy.special import expit
from sklearn.preprocessing import StandardScaler

from harness.data.batches import batch_rows
from harness.data.library import datasets
from harness.data.sampler import SAMPLERS, SMOTE
from harness.data.streams import Purpose, legacy_seed
from harness.errors import UserError
from harness.losses import BCE, WeightedBCE
from harness.padding import stack
from harness.sweep import lanes, plan, verify
from tests.runs import config, groups, prepared, runs_of, train_alone
from tests.stored import assert_same_runs, stored_tables
from tests.test_resume import train, trained

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
    train_rows = dataset.features[ready.data.split.train].astype(np.float64)
    mean, deviation = train_rows.mean(0), train_rows.std(0)
    deviation[deviation == 0] = 1
    made = len(ready.data.synthetic)
    # Row -1 is the first of those made.
    features = np.concatenate([dataset.features, ready.data.synthetic[::-1]])
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
    expected = features[ready.data.split.test] @ weights + bias
    np.testing.assert_allclose(outcome.test_logits, expected, rtol=2e-4, atol=2e-5)
    assert outcome.curves.train_loss[0] == pytest.approx(np.mean(losses), rel=1e-5)


@pytest.mark.slow
def test_duplicating_positives_equals_weighting_them_in_full_batch_only():
    """k copies of each positive have k times its gradient, in a mean over more rows."""
    k = 3
    one = config(model=LOGISTIC)
    ready = prepared(one)
    dataset, rows = ready.dataset, ready.data.split.train
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
    rows = ready.data.split.validation
    labels, logits = dataset.labels[rows], outcome.validation_logits[: len(rows)].astype(float)
    losses = np.logaddexp(0, logits) - labels * logits
    natural = dataset.labels[ready.data.split.train].mean()
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
    _, data, _, dataset = prepared(one)
    labels = dataset.labels[data.split.train]
    p, kept = labels.mean(), data.num_negatives / (labels == 0).sum()
    assert data.train_prior == pytest.approx(p / (p + kept * (1 - p)), rel=1e-12)
    sampled = data.train_prior
    assert kept * sampled / (kept * sampled + 1 - sampled) == pytest.approx(p, rel=1e-12)
    assert data.num_positives == labels.sum() and data.num_negatives == int(labels.sum() / ratio)


def test_losses_and_first_predictions_know_the_training_prior():
    one = config(
        dataset=DIGITS,
        model={"name": "logistic"},
        batching={"name": "balanced", "positive_share": 0.2},
    )
    assert prepared(one).lane.head_bias == pytest.approx(np.log(0.2 / 0.8), rel=1e-6)


def traced(one):
    """What JAX would look at to decide whether to trace again."""
    run, _, lane, _ = prepared(one)
    stacked = stack([lane], run.program, width=1)
    shapes = [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(stacked)]
    return run.program, jax.tree.structure(stacked), shapes


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
    assert len(groups(plain, *made)) == 2
    assert len({str(traced(one)) for one in made}) == 1
    assert traced(plain) != traced(made[0])


def test_programs_without_made_rows_know_nothing_of_them():
    def lowered(name):
        one = config(dataset=DIGITS, sampler={"name": name})
        run, _, lane, dataset = prepared(one)
        program, labels = run.exact_program, dataset.labels.astype(np.float32)
        lane = jax.tree.map(lambda leaf: leaf[0], stack([lane], program, width=1))
        lower = lanes._train_alone.lower
        return lane, lower(lane, dataset.features, labels, program=program).as_text()

    plain, text = lowered("none")
    over, same_text = lowered("random_over")
    made, other_text = lowered("smote")
    assert plain.synthetic is None and over.synthetic is None
    assert made.synthetic.shape == (1079, 64)
    assert text == same_text and "1079x64" not in text and "1079x64" in other_text


def test_planning_runs_no_sampler(monkeypatch):
    configs = [
        config(dataset=DIGITS, sampler={"name": name}, seed=s) for name in MAKING for s in range(40)
    ]
    for kind in SAMPLERS:
        monkeypatch.setattr(kind, "resample", lambda *_, **__: pytest.fail("a sampler ran"))
    (group,) = plan.groups(plan.resolved(configs))
    assert len(group) == len(MAKING) * 40
    assert group[0].sizes.synthetic == 1079


@pytest.mark.slow
def test_made_rows_count_in_a_lanes_memory():
    one = config(dataset=DIGITS, sampler={"name": "smote"})
    program, plain = (run.program for run in runs_of(one, config(dataset=DIGITS)))
    per_lane = lanes.Trainer(program).memory() / lanes.lanes_per_device(program)
    assert 0.5 * lanes.lane_bytes(program) < per_lane < 1.5 * lanes.lane_bytes(program)
    sizes = program.sizes
    assert sizes.synthetic >= 1079
    more = lanes.lane_bytes(program) - lanes.lane_bytes(plain)
    assert more == 4 * sizes.synthetic * (sizes.features + 1)


@pytest.mark.slow
def test_company_changes_no_bit_of_runs_on_made_rows():
    losses = ("bce", "focal", "hinge", "brier")
    runs = [
        config(dataset=DIGITS, sampler={"name": name}, loss={"name": loss}, seed=seed)
        for seed, name in enumerate(MAKING)
        for loss in losses
    ]
    (group,) = groups(*runs)
    trainer = lanes.Trainer(group[0].program)
    for _, same_alone, same_reordered, difference in verify.compare(group, trainer):
        # The plain loop rounds differently; logits reach 10, and hinge and Adam amplify.
        assert same_alone and same_reordered and difference < 0.02


@pytest.mark.slow
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
    _, data, _, dataset = prepared(runs[0])
    features, labels = dataset.features[data.split.train], dataset.labels[data.split.train]
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
    base = datasets.get(one.dataset)
    rows = np.arange(base.num_rows)
    groups = np.where(rows < base.num_rows // 2, 0, rows % 9)  # one of them half of all rows
    grouped = replace(base, groups=groups.astype(np.int32))
    for seed in range(6):
        ready = prepared(replace(one, seed=seed), grouped)
        assert len(ready.data.synthetic) <= ready.run.sizes.synthetic
