"""Chosen thresholds against an exhaustive search in exact arithmetic."""

import inspect
import math
import warnings
from fractions import Fraction
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.metrics.decision_metrics import threshold_metrics
from harness.metrics.definitions import Criterion
from harness.metrics.ranked_rows import rank_rows
from harness.metrics.settings import Costs, Evaluation
from harness.metrics.thresholds import choose_threshold, choose_threshold_from_ranking

CRITERIA = get_args(Criterion)
SETTINGS = Evaluation(
    beta=0.5,
    costs=Costs(false_positive=0.3, false_negative=1.7, true_positive=0.1, true_negative=-0.1),
    min_precision=0.6,
    min_recall=0.7,
    alerts=0.2,
)
FORBIDDEN = Fraction(-(10**9))


def exact_value(criterion: str, decisions, labels):
    """The criterion under `SETTINGS`, as a fraction; for mcc its signed square, which orders alike.

    Of cuts of equal recall, `recall_at_precision` prefers the more precise.
    """
    pairs = [(bool(d), bool(y)) for d, y in zip(decisions, labels, strict=True)]
    tp, fp = pairs.count((True, True)), pairs.count((True, False))
    p = tp + pairs.count((False, True))
    n = len(labels) - p
    taken, left = tp + fp, p + n - tp - fp
    if criterion == "accuracy":
        return Fraction(tp + n - fp, p + n)
    if criterion == "f1":
        return Fraction(2 * tp, taken + p)
    if criterion == "f_beta":
        return Fraction(5 * tp, 4 * tp + 4 * fp + p)  # beta 1/2: (1 + 1/4) TP / (TP + FP + P/4)
    if criterion == "cost":  # tenths: a miss 17 - 1, an alarm 3 + 1
        return Fraction(16 * tp - 4 * fp)
    if criterion == "recall_at_precision":
        return Fraction(tp) - Fraction(fp, n + 1) if 10 * tp >= 6 * taken else FORBIDDEN
    if criterion == "precision_at_recall":
        return Fraction(tp, taken) if 10 * tp >= 7 * p else FORBIDDEN
    if criterion == "alerts":
        return Fraction(taken) if taken <= max(1, round((p + n) / 5)) else FORBIDDEN
    if criterion == "mcc":
        covariance = tp * (n - fp) - fp * (p - tp)
        return Fraction(covariance * abs(covariance), (p * n * taken * left) or 1)
    sensitivity, specificity = Fraction(tp, p), Fraction(n - fp, n)
    halves = {"balanced_accuracy": (sensitivity + specificity) / 2}
    return (halves | {"youden": sensitivity + specificity - 1})[criterion]


def exhaustive_threshold(criterion: str, logits, labels) -> float:
    """The documented rule: every cut, best value, nearest 0, the higher of two equally near."""
    distinct = sorted(set(map(float, logits)))
    if len(distinct) < 2 or len(set(labels)) < 2:
        return 0.0
    cuts = [max(distinct[-1] + 1, 0.0), min(distinct[0] - 1, 0.0)]
    cuts += [low / 2 + high / 2 for low, high in pairwise(distinct)]

    def preference(cut):
        value = exact_value(criterion, [z >= cut for z in logits], labels)
        return value, -abs(cut), cut

    return max(cuts, key=preference)


def as_batch(logits, labels, padding: int = 0) -> dict:
    valid = np.pad(np.ones((1, len(labels)), dtype=bool), ((0, 0), (padding, 0)))
    logits = np.concatenate([np.full(padding, np.nan), logits])[None]
    labels = np.concatenate([np.ones(padding), labels]).astype(np.int8)[None]
    return {"logits": logits, "labels": labels, "valid": valid}


def choose(criterion: Criterion, **batch):
    return choose_threshold(criterion=criterion, settings=SETTINGS, **batch)


def random_batch(num_runs=8, width=60, decimals=1, rate=0.3, seed=0) -> dict:
    rng = np.random.default_rng(seed)
    labels = (rng.random((num_runs, width)) < rate).astype(np.int8)
    logits = np.round(rng.normal(size=labels.shape) + labels, decimals)
    valid = rng.random(labels.shape) < 0.8
    logits[~valid] = rng.choice([np.nan, -np.inf, 0.0], size=(~valid).sum())
    labels[~valid] = -1
    return {"logits": logits, "labels": labels, "valid": valid}


@pytest.fixture(autouse=True)
def _warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("rate", [0.05, 0.5])
@pytest.mark.parametrize("decimals", [0, 1, 8])
def test_matches_exhaustive_search(criterion, rate, decimals):
    batch = random_batch(decimals=decimals, rate=rate)
    expected = [
        exhaustive_threshold(criterion, logits[valid], labels[valid])
        for logits, labels, valid in zip(*batch.values(), strict=True)
    ]
    np.testing.assert_array_equal(choose(criterion, **batch), expected)


@settings(max_examples=200)
@given(
    rows=st.lists(st.tuples(st.integers(-4, 4), st.integers(0, 1)), min_size=1, max_size=12),
    scale=st.sampled_from([0.5, 1.0, 1e4]),
    criterion=st.sampled_from(CRITERIA),
    padding=st.integers(0, 2),
)
def test_matches_exhaustive_search_on_any_rows(rows, scale, criterion, padding):
    """Few rows and many ties: where equally good cuts abound."""
    logits, labels = [scale * z for z, _ in rows], [y for _, y in rows]
    expected = exhaustive_threshold(criterion, logits, labels)
    batch = as_batch(logits, labels, padding)
    assert choose(criterion, **batch) == expected


@pytest.mark.parametrize("criterion", ["f1", "f_beta", "balanced_accuracy", "mcc", "accuracy"])
def test_no_threshold_scores_better_by_the_reported_metric(criterion):
    """What is maximised is what `threshold_metrics` reports under that name."""
    batch = random_batch(decimals=8)
    chosen = choose(criterion, **batch)
    best = threshold_metrics(**batch, threshold_logits=chosen, beta=0.5)[criterion]
    for other in np.linspace(-4, 5, 200):
        value = threshold_metrics(**batch, threshold_logits=other, beta=0.5)[criterion]
        assert (value <= best + 1e-12).all()


def test_no_threshold_is_cheaper():
    batch = random_batch(decimals=8)
    least = threshold_metrics(
        **batch, threshold_logits=choose("cost", **batch), costs=SETTINGS.costs
    )
    for other in np.linspace(-4, 5, 200):
        value = threshold_metrics(**batch, threshold_logits=other, costs=SETTINGS.costs)
        assert (least["expected_cost"] <= value["expected_cost"] + 1e-12).all()


def test_what_is_asked_of_a_cut_is_kept():
    batch = random_batch(num_runs=40, decimals=8)
    found = {
        criterion: threshold_metrics(**batch, threshold_logits=choose(criterion, **batch))
        for criterion in ("recall_at_precision", "precision_at_recall", "alerts")
    }
    precise = found["recall_at_precision"]
    assert ((precise["precision"] >= 0.6) | (precise["flagged"] == 0)).all()
    assert (found["precision_at_recall"]["recall"] >= 0.7).all()
    num_rows = batch["valid"].sum(axis=1)
    # Distinct logits: the budget is spent to the last row.
    np.testing.assert_allclose(found["alerts"]["flagged"] * num_rows, np.rint(0.2 * num_rows))


def test_an_unattainable_precision_flags_nothing():
    batch = as_batch([5.0, 3.0, 2.0, -9.0], [0, 1, 0, 0])
    chosen = choose("recall_at_precision", **batch)
    assert threshold_metrics(**batch, threshold_logits=chosen)["flagged"] == 0


def test_the_cost_threshold_is_the_best_cut_of_calibrated_rows():
    """Rows drawn from their own probabilities: the empirical cut finds c_FP / (c_FP + c_FN)."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(1, 400_000)) * 1.5 - 1
    labels = (rng.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(np.int8)
    costs = Costs(false_positive=1, false_negative=4)
    chosen = choose_threshold(
        criterion="cost",
        logits=logits,
        labels=labels,
        valid=labels >= 0,
        settings=Evaluation(costs=costs),
    )
    assert costs.threshold == 0.2
    # The cost is flat at its minimum: the empirical cut wavers by about n^(-1/3).
    assert 1 / (1 + np.exp(-chosen)) == pytest.approx(0.2, abs=0.03)


def test_youden_is_balanced_accuracy():
    batch = random_batch()
    youden = choose_threshold(criterion="youden", **batch)
    balanced = choose_threshold(criterion="balanced_accuracy", **batch)
    np.testing.assert_array_equal(youden, balanced)


@pytest.mark.parametrize("criterion", [c for c in CRITERIA if c != "alerts"])
def test_separable_rows_are_split_in_the_middle(criterion):
    batch = as_batch([5.0, 3.0, 2.0, -9.0], [1, 1, 0, 0])
    assert choose(criterion, **batch) == 2.5


@pytest.mark.parametrize(
    "logits, labels, expected",
    [
        ([-5.0, -4.0, -3.0], [0, 1, 0], 0.0),  # predict none: 0 is beyond -3 already
        ([-0.5, 2.0, 3.0], [1, 0, 0], 4.0),  # 0 is not: one logit above the highest
        ([-3.0, 0.5, 2.0], [1, 1, 0], -4.0),  # predict all, likewise below the lowest
        ([5.0, 4.0, 3.0], [1, 0, 1], 0.0),
    ],
)
@pytest.mark.parametrize("padding", [0, 2])
def test_outer_cuts(logits, labels, expected, padding):
    batch = as_batch(logits, labels, padding)
    assert choose_threshold(criterion="accuracy", **batch) == expected


def test_equal_cuts_the_one_nearest_zero_then_the_higher():
    # 3 and -1 are equally accurate cuts; then 2 and -2 are, equally near.
    nearest = as_batch([6.0, 4.0, 2.0, 0.0, -2.0, -4.0], [1, 1, 0, 1, 0, 0])
    assert choose_threshold(criterion="accuracy", **nearest) == -1
    higher = as_batch([5.0, 3.0, 1.0, -1.0, -3.0, -5.0], [1, 1, 0, 1, 0, 0])
    assert choose_threshold(criterion="accuracy", **higher) == 2


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize(
    "logits, labels",
    [
        ([1.0, 2.0, 3.0], [1, 1, 1]),
        ([1.0, 2.0, 3.0], [0, 0, 0]),
        ([-7.0, -7.0, -7.0], [0, 1, 0]),
        ([np.nan, -2.0, -3.0], [1, 0, 1]),
        ([np.inf, -2.0, -3.0], [1, 0, 1]),
        ([np.nan, np.nan, np.nan], [1, 0, 1]),
        ([-2.0], [1]),
        ([], []),
    ],
)
def test_degenerate_rows_give_logit_zero(criterion, logits, labels):
    assert choose(criterion, **as_batch(logits, labels)) == 0


@pytest.mark.parametrize(
    "low, high",
    [(1.0, math.nextafter(1.0, 2)), (0.0, 5e-324), (-1.7e308, 1.7e308), (1.6e308, 1.7e308)],
)
def test_the_cut_separates_any_two_floats(low, high):
    threshold = choose_threshold(criterion="f1", **as_batch([low, high], [0, 1]))
    assert low < threshold <= high


@pytest.mark.parametrize("criterion", CRITERIA)
def test_bits_do_not_depend_on_company_padding_or_order(criterion):
    batch = random_batch(num_runs=9, width=400, decimals=3)
    together = choose(criterion, **batch)
    rng = np.random.default_rng(1)
    for run in range(9):
        rows = rng.permutation(np.flatnonzero(batch["valid"][run]))
        alone = {name: values[run : run + 1, rows] for name, values in batch.items()}
        chosen = choose(criterion, **alone)
        assert chosen.tobytes() == together[run : run + 1].tobytes()


def test_a_ranking_can_be_shared():
    batch = random_batch()
    shared = choose_threshold_from_ranking(criterion="f1", ranking=rank_rows(**batch))
    np.testing.assert_array_equal(shared, choose_threshold(criterion="f1", **batch))


def test_the_signature_admits_one_split():
    parameters = inspect.signature(choose_threshold).parameters.values()
    assert [p.name for p in parameters] == [
        "criterion",
        "logits",
        "labels",
        "valid",
        "settings",
    ]
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters)


def test_unknown_criterion():
    with pytest.raises(ValueError, match=r"one of f1, .*alerts, got 'f2'"):
        choose_threshold(criterion="f2", **random_batch())  # type: ignore[arg-type]
