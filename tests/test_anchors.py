"""Known answers: two Gaussians with a known posterior, the prior-only model, balanced weights."""

import jax
import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from harness.config import parse
from harness.prepare import prepare
from harness.record.collect import collect
from harness.sweep import lanes, plan
from tests.runs import SMALL

GAUSSIANS = {
    "kind": "two_gaussians",
    "rows": 260_000,
    "num_features": 5,
    "distance": 2.0,
    "positive_rate": 0.05,
    "seed": 0,
}


def measured(**changes):
    """Everything measured of one run, as it would be stored."""
    config = parse({**SMALL, "dataset": GAUSSIANS, "model": {"name": "logistic"}, **changes})
    dataset = plan.load(config.dataset)
    (job,) = plan.make_jobs([config], numerics="test")
    ready = prepare(config, dataset)
    outcome = lanes.train_alone(ready.program, ready.lane, dataset)
    batched = _batched(outcome)
    (record,) = collect(jobs=[job], prepared=[ready], outcome=batched, dataset=dataset, seconds=0.0)
    return record, ready, dataset


def _batched(outcome):
    return jax.tree.map(lambda leaf: np.asarray(leaf)[None], outcome)


TRAINED = {
    "split": {"validation": 10_000, "test": 200_000},
    "optimizer": {"name": "adam", "learning_rate": 0.05},
    "schedule": {"name": "warmup_cosine"},
    "training": {"num_epochs": 10, "batch_size": 256},
}


def test_logistic_regression_reaches_the_bayes_values():
    """d 2, positive rate .05: log loss .1180, AUROC .9214, Brier .0320, AP .5376, F1 .5184."""
    record, _, _ = measured(**TRAINED)
    metrics = record.metrics
    assert metrics["test/log_loss"] == pytest.approx(0.1180, abs=0.002)
    assert metrics["test/auroc"] == pytest.approx(0.9214, abs=0.003)
    assert metrics["test/brier"] == pytest.approx(0.0320, abs=0.0005)
    assert metrics["test/average_precision"] == pytest.approx(0.5376, abs=0.01)
    assert metrics["test/f1@tuned"] == pytest.approx(0.5184, abs=0.01)
    assert metrics["test/f1@0.5"] == pytest.approx(0.4404, abs=0.01)
    # The best F1's threshold is half of it.
    assert record.facts["threshold"] == pytest.approx(0.2592, abs=0.08)


@pytest.mark.parametrize(
    ("positive_rate", "entropy"),
    [(0.5, 0.693147), (0.2, 0.500402), (0.1, 0.325083), (0.05, 0.198515), (0.01, 0.056002)],
)
def test_prior_only_model_scores_the_entropy(positive_rate, entropy):
    record, _, _ = measured(
        dataset={**GAUSSIANS, "rows": 10_000, "positive_rate": positive_rate},
        model={"name": "logistic", "prior_bias": True},
        optimizer={"name": "sgd", "learning_rate": 1e-60},
        training={"num_epochs": 1, "steps_per_epoch": 1, "batch_size": 16},
    )
    assert record.metrics["test/log_loss"] == pytest.approx(entropy, abs=1e-6)
    assert record.metrics["test/skill"] == pytest.approx(0.0, abs=1e-6)
    assert record.metrics["test/auroc"] == 0.5
    assert record.metrics["test/brier"] == pytest.approx(positive_rate * (1 - positive_rate))
    # Constant at the prevalence: nothing to reproach its calibration with.
    assert record.metrics["test/ece"] == pytest.approx(0.0, abs=1e-6)
    assert record.metrics["test/recall@0.5"] == (1.0 if positive_rate == 0.5 else 0.0)


def test_balanced_weights_move_the_calibration_intercept_by_the_prior():
    """The recalibrating intercept (slope fixed at 1) falls by logit(pi)."""
    intercepts = {}
    for name in ("bce", "weighted_bce"):
        record, _, _ = measured(**TRAINED, loss={"name": name})
        _, logits, labels = record.predictions["test"]
        intercepts[name] = _intercept(logits.astype(np.float64), labels)
    assert intercepts["bce"] == pytest.approx(0.0, abs=0.1)
    moved = intercepts["weighted_bce"] - intercepts["bce"]
    assert moved == pytest.approx(logit(0.05), abs=0.15)


def _intercept(logits, labels):
    """The maximum-likelihood a in sigmoid(a + z): its score equation, solved."""
    return brentq(lambda a: expit(a + logits).mean() - labels.mean(), -20, 20)


def test_trained_model_matches_scikit_learns_log_loss():
    record, ready, dataset = measured(**TRAINED)
    split = ready.parts.split
    reference = LogisticRegression(C=1e6).fit(
        dataset.features[split.train], dataset.labels[split.train]
    )
    logits = reference.decision_function(dataset.features[split.test]).astype(np.float64)
    labels = dataset.labels[split.test]
    expected = np.mean(np.logaddexp(0, logits) - labels * logits)
    assert record.metrics["test/log_loss"] == pytest.approx(expected, abs=5e-4)
