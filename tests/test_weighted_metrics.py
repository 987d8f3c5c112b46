"""Metrics of rows that count differently, held to scikit-learn's and to rows that are repeated."""

from dataclasses import fields

import numpy as np
import pytest
import sklearn.metrics as theirs
from scipy.special import expit

from harness.metrics.evaluate import Scored, evaluate
from harness.metrics.settings import Costs, Evaluation
from harness.metrics.weighted import UNMEASURED, evaluate_weighted

FULL = Evaluation(
    thresholds=(0.1, "bayes", "mcc", "f_beta", "cost", "accuracy", "recall_at_precision",
                "precision_at_recall", "alerts", "youden", "oracle"),
    costs=Costs(false_negative=7.0), bootstrap=100, min_precision=0.6, alerts=0.1,
)  # fmt: skip


def scores(seed: int, size: int, *, ties: bool = True):
    random = np.random.default_rng(seed)
    labels = (random.random(size) < 0.4).astype(int)
    logits = random.normal(size=size) + labels - 0.5
    return (logits.round(1) if ties else logits), labels


def scored(logits, labels, weights=None, *, padding: int = 0):
    def filled(values, filling):
        return np.append(values, np.full(padding, filling, values.dtype))[None]

    given = dict(
        logits=filled(logits, 9.0),
        labels=filled(labels, 1),
        valid=filled(np.ones(len(labels), bool), False),
        corrected=filled(logits - 0.3, 9.0),
    )
    return Scored(**given, row_weights=None if weights is None else filled(weights, 1.0))


def measured(weights=(None, None), *, evaluation=FULL, times=(1, 1), padding: int = 0):
    """By name; each part's rows repeated, or weighted, or neither."""
    parts = []
    for seed, size, own, repeated in zip((1, 2), (60, 90), weights, times, strict=True):
        logits, labels = (np.repeat(values, repeated) for values in scores(seed, size))
        parts.append(scored(logits, labels, own, padding=padding))
    measure = evaluate if weights[0] is None else evaluate_weighted
    found = measure(validation=parts[0], test=parts[1], evaluation=evaluation)
    return {name: float(value[0]) for name, value in (found.metrics | found.facts).items()}


def unmeasured(name: str) -> bool:
    return any(metric in name for metric in UNMEASURED)


def test_equal_weights_give_what_there_is_without_any():
    """Intervals and calibrators too: they draw the same rows."""
    plain = measured()
    found = measured((np.full(60, 3.7), np.full(90, 0.2)), padding=5)
    assert found.keys() == plain.keys()
    for name, value in plain.items():
        if unmeasured(name):
            assert np.isnan(found[name])
        else:
            assert found[name] == pytest.approx(value, rel=1e-7, abs=1e-9, nan_ok=True), name


def test_a_whole_weight_is_the_row_so_many_times():
    random = np.random.default_rng(0)
    times = [random.integers(1, 5, size) for size in (60, 90)]
    times[0][0] = times[1][0] = 1
    plain = Evaluation(**{one.name: getattr(FULL, one.name) for one in fields(FULL)} | dict(
        bootstrap=0, calibrators=(), calibrator=None))  # fmt: skip
    repeated = measured(times=times, evaluation=plain)
    found = measured(tuple(map(np.float64, times)), evaluation=plain)
    assert found.keys() == repeated.keys() and len(found) > 150
    for name, value in repeated.items():
        if not unmeasured(name):
            assert found[name] == pytest.approx(value, rel=1e-9, abs=1e-12, nan_ok=True), name


def test_only_ratios_of_weights_count():
    random = np.random.default_rng(0)
    weights = tuple(random.exponential(size=size) for size in (60, 90))
    found = measured(weights)
    assert measured(tuple(8 * one for one in weights)) == pytest.approx(found, abs=0, nan_ok=True)
    again = measured(tuple(0.3 * one for one in weights))
    assert again == pytest.approx(found, rel=1e-7, abs=1e-9, nan_ok=True)


def test_every_metric_is_scikit_learns():
    weights = np.random.default_rng(0).exponential(size=90)
    found = measured((np.ones(60), weights))
    logits, labels = scores(2, 90)
    probs, said, own = expit(logits), logits >= 0, dict(sample_weight=weights)
    wanted = {
        "log_loss": theirs.log_loss(labels, probs, **own),
        "skill": theirs.d2_log_loss_score(labels, probs, **own),
        "brier": theirs.brier_score_loss(labels, probs, **own),
        "auroc": theirs.roc_auc_score(labels, logits, **own),
        "partial_auroc": theirs.roc_auc_score(labels, logits, max_fpr=0.1, **own),
        "average_precision": theirs.average_precision_score(labels, logits, **own),
        "accuracy@0.5": theirs.accuracy_score(labels, said, **own),
        "balanced_accuracy@0.5": theirs.balanced_accuracy_score(labels, said, **own),
        "precision@0.5": theirs.precision_score(labels, said, **own),
        "recall@0.5": theirs.recall_score(labels, said, **own),
        "f1@0.5": theirs.f1_score(labels, said, **own),
        "f_beta@0.5": theirs.fbeta_score(labels, said, beta=2, **own),
        "mcc@0.5": theirs.matthews_corrcoef(labels, said, **own),
    }
    assert {name: found[f"test/{name}"] for name in wanted} == pytest.approx(wanted, rel=1e-9)


def test_a_run_that_diverged_has_no_metrics_and_disturbs_none():
    logits, labels = scores(1, 60)
    weights = np.random.default_rng(0).exponential(size=60)
    one = scored(logits, labels, weights)
    both = Scored(**{name: np.concatenate([v, v]) for name, v in vars(one).items()})
    both.logits[1, 7] = np.nan
    quick = Evaluation()
    alone = evaluate_weighted(validation=one, test=one, evaluation=quick)
    found = evaluate_weighted(validation=both, test=both, evaluation=quick)
    for name, value in alone.metrics.items():
        assert found.metrics[name][0] == value[0] or np.isnan(value[0]), name
    assert np.isnan(found.metrics["test/log_loss"][1])
    assert np.isnan(found.metrics["test/f1@tuned"][1])


def test_a_calibrator_goes_by_how_many_rows_weights_are_worth():
    """Laplace's rule keeps isotonic probabilities within 1 / (n + 2) of 0 and 1."""
    labels = np.arange(40) % 2
    weights = np.random.default_rng(0).exponential(size=40)
    one = scored(10.0 * labels - 5 + np.arange(40) / 100, labels, weights)
    found = evaluate_weighted(validation=one, test=one, evaluation=Evaluation())
    least = 1 / (weights.sum() ** 2 / (weights**2).sum() + 2)
    assert found.metrics["test/isotonic/log_loss"] == pytest.approx(-np.log1p(-least))


def test_rounding_decides_between_no_cuts():
    """Of thirds: where cuts are equally good, the one that repeated rows would have is taken."""
    quick = Evaluation(
        calibrators=(), calibrator=None, threshold="accuracy", thresholds=("youden",)
    )
    for seed in range(40):
        random = np.random.default_rng(seed)
        logits, labels = random.normal(size=12), np.r_[0, 1, random.integers(0, 2, 10)]
        times = np.r_[3, random.integers(3, 8, 11)]
        one = scored(logits, labels, times.astype(float))
        found = evaluate_weighted(validation=one, test=one, evaluation=quick)
        repeated = scored(np.repeat(logits, times), np.repeat(labels, times))
        wanted = evaluate(validation=repeated, test=repeated, evaluation=quick)
        assert found.facts == wanted.facts, seed
