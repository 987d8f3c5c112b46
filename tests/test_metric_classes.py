"""Every metric belongs to a class: its range, its direction, and what leaves it unchanged.

A metric that is stored but in no class fails, as in scikit-learn's own common tests.
"""

from dataclasses import dataclass
from typing import get_args

import numpy as np
import pytest
from harness.metrics.metrics import SCORE_METRICS, score_metrics

from harness.analyze.metrics import sign
from harness.metrics.decision_metrics import (
    THRESHOLD_METRICS,
    decide,
    net_benefit,
    threshold_metrics,
)
from harness.metrics.evaluate import Scored, evaluate
from harness.metrics.ranked_rows import rank_rows
from harness.metrics.settings import (
    Costs,
    Evaluation,
    HigherIsBetter,
    LowerIsBetter,
    Objective,
    lowest_is_best,
)

INF = np.inf


@dataclass(frozen=True)
class Class:
    """What is claimed of a metric.

    Attributes:
        low, high: its range.
        direction: 1 where higher is better, -1 where lower is, 0 where neither.
        perfect: its value of a model that is certain and right.
        monotone: no strictly increasing map of the logits (and the threshold) changes it.
        symmetric: swapping the classes does not change it.
    """

    low: float
    high: float
    direction: int
    perfect: float
    monotone: bool = False
    symmetric: bool = False


CLASSES = {
    "log_loss": Class(0, INF, -1, 0, symmetric=True),
    "skill": Class(-INF, 1, 1, 1, symmetric=True),
    "brier": Class(0, 1, -1, 0, symmetric=True),
    "brier_skill": Class(-INF, 1, 1, 1, symmetric=True),
    "ece": Class(0, 1, -1, 0, symmetric=True),
    "ece_debiased": Class(0, 1, -1, 0, symmetric=True),
    "calibration_intercept": Class(-INF, INF, 0, np.nan),
    "calibration_slope": Class(-INF, INF, 0, np.nan, symmetric=True),
    "log_loss_miscalibration": Class(0, INF, -1, 0, symmetric=True),
    "log_loss_discrimination": Class(0, np.log(2), 1, np.nan, monotone=True, symmetric=True),
    "log_loss_uncertainty": Class(0, np.log(2), 0, np.nan, monotone=True, symmetric=True),
    "brier_miscalibration": Class(0, 1, -1, 0, symmetric=True),
    "brier_discrimination": Class(0, 0.25, 1, np.nan, monotone=True, symmetric=True),
    "brier_uncertainty": Class(0, 0.25, 0, np.nan, monotone=True, symmetric=True),
    "auroc": Class(0, 1, 1, 1, monotone=True, symmetric=True),
    # McClish's scale puts chance at 1/2 and lets worse than chance fall below, hardly below .47
    "partial_auroc": Class(0.47, 1, 1, 1, monotone=True),
    "average_precision": Class(0, 1, 1, 1, monotone=True),
    "random_average_precision": Class(0, 1, 0, np.nan, monotone=True),
    "precision_at_k": Class(0, 1, 1, 1, monotone=True),
    "recall_at_k": Class(0, 1, 1, np.nan, monotone=True),
    "lift_at_k": Class(0, INF, 1, np.nan, monotone=True),
    "recall_at_precision": Class(0, 1, 1, 1, monotone=True),
    "precision_at_recall": Class(0, 1, 1, 1, monotone=True),
}
DECISIONS = {
    "accuracy": Class(0, 1, 1, 1, monotone=True, symmetric=True),
    "balanced_accuracy": Class(0, 1, 1, 1, monotone=True, symmetric=True),
    "precision": Class(0, 1, 1, 1, monotone=True),
    "recall": Class(0, 1, 1, 1, monotone=True),
    "specificity": Class(0, 1, 1, 1, monotone=True),
    "f1": Class(0, 1, 1, 1, monotone=True),
    "f_beta": Class(0, 1, 1, 1, monotone=True),
    "mcc": Class(-1, 1, 1, 1, monotone=True, symmetric=True),
    "g_mean": Class(0, 1, 1, 1, monotone=True, symmetric=True),
    "p4": Class(0, 1, 1, 1, monotone=True, symmetric=True),
    "flagged": Class(0, 1, 0, np.nan, monotone=True),
    "expected_cost": Class(0, 1, -1, 0, monotone=True, symmetric=True),
    "net_benefit": Class(-INF, 1, 1, np.nan, monotone=True),
}
ALL = CLASSES | DECISIONS


def measured(logits, labels, threshold=0.0):
    rows = {"logits": logits, "labels": labels, "valid": np.ones(labels.shape, dtype=bool)}
    values = score_metrics(**rows) | threshold_metrics(**rows, threshold_logits=threshold)
    values["net_benefit"] = net_benefit(decide(rank_rows(**rows), threshold), probability=0.3)
    return values


def drawn(num_runs=20, n=150, seed=0):
    rng = np.random.default_rng(seed)
    labels = (rng.random((num_runs, n)) < 0.3).astype(np.int8)
    quality = np.linspace(-2, 3, num_runs)[:, None]
    return rng.normal(size=labels.shape) * 2 + quality * labels, labels


def test_every_metric_is_in_a_class():
    assert set(CLASSES) == set(SCORE_METRICS)
    assert set(DECISIONS) == {*THRESHOLD_METRICS, "net_benefit"}


def test_every_stored_metric_is_in_a_class():
    logits, labels = drawn(2, 60)
    part = Scored(logits, labels, labels >= 0, corrected=logits)
    everything = Evaluation(thresholds=(0.1, "bayes", "oracle", "mcc"), bootstrap=100)
    for column in evaluate(validation=part, test=part, evaluation=everything).metrics:
        name = column.rpartition("/")[2].removesuffix("_low").removesuffix("_high")
        assert name.partition("@")[0] in ALL, column


@pytest.mark.parametrize("name", ALL)
def test_values_are_in_range(name):
    values = measured(*drawn())[name]
    assert (values >= ALL[name].low - 1e-12).all() and (values <= ALL[name].high + 1e-12).all()


@pytest.mark.parametrize("name", [name for name, of in ALL.items() if not np.isnan(of.perfect)])
def test_a_model_that_is_certain_and_right(name):
    _, labels = drawn()
    values = measured(np.where(labels == 1, 40.0, -40.0), labels)[name]
    np.testing.assert_allclose(values, ALL[name].perfect, atol=1e-12)


@pytest.mark.parametrize("name", [name for name, of in ALL.items() if of.direction])
def test_a_better_model_scores_better(name):
    """Truth with noise against truth with much noise, over 200 runs of 400 rows, calibrated."""
    rng = np.random.default_rng(3)
    labels = (rng.random((200, 400)) < 0.3).astype(np.int8)

    def at_distance(d):
        return np.log(0.3 / 0.7) + d * (rng.normal(size=labels.shape) + d * (labels - 0.5))

    good, bad = measured(at_distance(3.0), labels)[name], measured(at_distance(0.7), labels)[name]
    if "miscalibration" in name or name.startswith("ece"):
        bad = measured(3 * at_distance(0.7), labels)[name]
    assert ALL[name].direction * (good.mean() - bad.mean()) > 0


@pytest.mark.parametrize("name", ALL)
def test_increasing_maps(name):
    logits, labels = drawn()
    before = measured(logits, labels, threshold=0.5)[name]
    after = measured(np.sinh(logits / 2) + 1, labels, threshold=np.sinh(0.25) + 1)[name]
    same = np.isclose(before, after, rtol=1e-12, atol=1e-12, equal_nan=True)
    assert same.all() == ALL[name].monotone


@pytest.mark.parametrize("name", ALL)
def test_swapping_the_classes(name):
    logits, labels = drawn()  # no logit is on the threshold, so that its side does not matter
    before, after = measured(logits, labels)[name], measured(-logits, 1 - labels)[name]
    same = np.isclose(before, after, rtol=1e-6, atol=1e-9, equal_nan=True)
    assert same.all() == ALL[name].symmetric


@pytest.mark.parametrize("name", ALL)
def test_directions_are_those_the_analysis_knows(name):
    assert sign(name) == ALL[name].direction
    for column in (f"test/{name}", f"test/platt/{name}@0.5", f"test/{name}@oracle_low"):
        assert sign(column) == ALL[name].direction


def test_objectives_have_a_direction_and_never_the_oracle():
    for objective in get_args(Objective):
        expected = -1 if lowest_is_best(objective) else 1
        assert sign(objective) == expected
        assert "oracle" not in objective
    assert set(get_args(HigherIsBetter)) | set(get_args(LowerIsBetter)) == set(get_args(Objective))


def test_every_objective_is_stored_of_the_validation_part():
    logits, labels = drawn(2, 60)
    part = Scored(logits, labels, labels >= 0, corrected=logits)
    metrics = evaluate(validation=part, test=part, evaluation=Evaluation()).metrics
    assert {f"validation/{objective}" for objective in get_args(Objective)} <= metrics.keys()


def test_costs_and_net_benefit_by_hand():
    labels = np.array([[1, 1, 1, 0, 0, 0, 0, 0, 0, 0]])
    logits = np.array([[1, 1, -1, 1, -1, -1, -1, -1, -1, -1]])  # TP 2, FN 1, FP 1, TN 6
    costs = Costs(false_positive=2, false_negative=10, true_positive=1, true_negative=-1)
    rows = {"logits": logits, "labels": labels, "valid": labels >= 0}
    values = threshold_metrics(**rows, threshold_logits=0.0, costs=costs)
    assert values["expected_cost"] == pytest.approx((2 * 1 + 10 * 1 + 1 * 2 - 1 * 6) / 10)
    assert costs.threshold == pytest.approx(3 / 12)
    confusion = decide(rank_rows(**rows), 0.0)
    assert net_benefit(confusion, probability=0.2) == pytest.approx(0.2 - 0.1 * 0.25)
    everyone = decide(rank_rows(**rows), -np.inf)
    assert net_benefit(everyone, probability=0.2) == pytest.approx(0.3 - 0.7 * 0.25)
