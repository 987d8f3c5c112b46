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

from harness.evaluate.decisions import threshold_metrics
from harness.evaluate.ranking import rank_rows
from harness.evaluate.settings import Costs, Criterion, Evaluation
from harness.evaluate.thresholds import choose_threshold, choose_threshold_from_ranking

CRITERIA = get_args(Criterion)


def exact_value(criterion: str, decisions, labels):
    """The criterion as a fraction; for mcc its signed square, which orders alike."""
    pairs = [(bool(d), bool(y)) for d, y in zip(decisions, labels, strict=True)]
    tp, fp = pairs.count((True, True)), pairs.count((True, False))
    p = tp + pairs.count((False, True))
    n = len(labels) - p
    taken, left = tp + fp, p + n - tp - fp
    if criterion == "accuracy":
        return Fraction(tp + n - fp, p + n)
    if criterion == "f1":
        return Fraction(2 * tp, taken + p)
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
    np.testing.assert_array_equal(choose_threshold(criterion=criterion, **batch), expected)


@settings(max_examples=200, deadline=None)
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
    assert choose_threshold(criterion=criterion, **batch) == expected


@pytest.mark.parametrize("criterion", [c for c in CRITERIA if c != "youden"])
def test_no_threshold_scores_better_by_the_reported_metric(criterion):
    """What is maximised is what `threshold_metrics` reports under that name."""
    batch = random_batch(decimals=8)
    chosen = choose_threshold(criterion=criterion, **batch)
    best = threshold_metrics(**batch, threshold_logits=chosen)[criterion]
    for other in np.linspace(-4, 5, 200):
        value = threshold_metrics(**batch, threshold_logits=other)[criterion]
        assert (value <= best + 1e-12).all()


def test_youden_is_balanced_accuracy():
    batch = random_batch()
    youden = choose_threshold(criterion="youden", **batch)
    balanced = choose_threshold(criterion="balanced_accuracy", **batch)
    np.testing.assert_array_equal(youden, balanced)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_separable_rows_are_split_in_the_middle(criterion):
    batch = as_batch([5.0, 3.0, 2.0, -9.0], [1, 1, 0, 0])
    assert choose_threshold(criterion=criterion, **batch) == 2.5


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
    assert choose_threshold(criterion=criterion, **as_batch(logits, labels)) == 0


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
    together = choose_threshold(criterion=criterion, **batch)
    rng = np.random.default_rng(1)
    for run in range(9):
        rows = rng.permutation(np.flatnonzero(batch["valid"][run]))
        alone = {name: values[run : run + 1, rows] for name, values in batch.items()}
        chosen = choose_threshold(criterion=criterion, **alone)
        assert chosen.tobytes() == together[run : run + 1].tobytes()


def test_a_ranking_can_be_shared():
    batch = random_batch()
    shared = choose_threshold_from_ranking(criterion="f1", ranking=rank_rows(**batch))
    np.testing.assert_array_equal(shared, choose_threshold(criterion="f1", **batch))


def test_the_signature_admits_one_split():
    parameters = inspect.signature(choose_threshold).parameters.values()
    assert [p.name for p in parameters] == ["criterion", "logits", "labels", "valid"]
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters)


def test_unknown_criterion():
    with pytest.raises(ValueError, match=r"one of f1, .*accuracy, got 'f2'"):
        choose_threshold(criterion="f2", **random_batch())  # type: ignore[arg-type]
