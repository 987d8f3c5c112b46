"""Choosing a decision threshold on the validation split.

Functions here take the rows of one split and return a threshold;
`decision_metrics.threshold_metrics` applies it to another. What chooses never sees what it is
judged on.
"""

import math
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.metrics.definitions import Criterion
from harness.metrics.ranked_rows import Array, Counts, Ranking, as_written, rank_rows
from harness.metrics.ranking_metrics import num_flagged
from harness.metrics.settings import Costs, Evaluation

_DEFAULTS = Evaluation()


def choose_threshold(
    *,
    criterion: Criterion,
    logits: ArrayLike,
    labels: ArrayLike,
    valid: ArrayLike,
    settings: Evaluation = _DEFAULTS,
) -> Array:
    """The threshold of each run, as a logit, that maximises a criterion on these rows.

    A row at or above the threshold is predicted positive. All cuts are tried: one between each two
    neighbouring distinct logits, and those that predict all or none. A cut between two logits lies
    at their midpoint, the farthest from either; the outer cuts lie one logit beyond the extreme
    one, or at 0 where that is further out still.

    Equally good cuts are common, and rounding does not decide between them: values are compared
    as exact integers or as single correctly rounded quotients of such (`mcc`: up to about 19,000
    rows). The cut nearest logit 0 wins, so that tuning departs from probability 0.5 no further
    than the rows call for; of two equally near, the higher.

    Logit 0 is returned where nothing can be learnt: one class, all logits equal, no valid row, or
    a logit that is not finite. Compare logits with it, not probabilities: the sigmoid of a float
    saturates, and rows on either side of the threshold may round to one probability.

    Args:
        criterion: what to maximise. `youden` (sensitivity + specificity - 1) orders cuts as
            `balanced_accuracy` does and so gives the same threshold. `cost` saves most by the
            cost matrix. `recall_at_precision` takes most positives among the cuts with at least
            `min_precision` (none, where no cut has it), `precision_at_recall` the best precision
            among those with at least `min_recall`, `alerts` as many rows as the budget allows.
        logits, labels, valid: the *validation* rows, (runs, n), as in `ranked_rows.rank_rows`.
        settings: the numbers behind a criterion: beta, costs, minima, alerts.

    Returns:
        (runs,), finite in all but one case: predicting none may take +inf above the largest float.

    Raises:
        ValueError: an unknown criterion, or what `ranked_rows.rank_rows` raises.

    >>> choose_threshold(criterion="f1", logits=[[3.0, 1.0, -1.0, -2.0]], labels=[[1, 1, 0, 1]],
    ...                  valid=[[True, True, True, True]])
    array([-3.])
    >>> choose_threshold(criterion="accuracy", logits=[[3.0, 1.0, -1.0, -2.0]],
    ...                  labels=[[1, 1, 0, 0]], valid=[[True, True, True, True]])
    array([0.])
    """
    ranking = rank_rows(logits=logits, labels=labels, valid=valid)
    return choose_threshold_from_ranking(criterion=criterion, ranking=ranking, settings=settings)


def choose_threshold_from_ranking(
    *, criterion: Criterion, ranking: Ranking, settings: Evaluation = _DEFAULTS
) -> Array:
    """`choose_threshold` of validation rows already ranked."""
    if criterion not in get_args(Criterion):
        choices = ", ".join(get_args(Criterion))
        raise ValueError(f"criterion must be one of {choices}, got {criterion!r}")
    none = np.zeros((ranking.num_runs, 1), dtype=np.int64)
    values = _objective(criterion, settings)(
        np.hstack([none, ranking.true_positives]),
        np.hstack([none, ranking.false_positives]),
        ranking.num_positives[:, None],
        ranking.num_negatives[:, None],
    ).astype(np.float64)
    is_cut = np.hstack([none == 0, ranking.is_end])
    values[~is_cut] = -np.inf
    cuts = _cut_logits(ranking)
    is_best = values == values.max(axis=1, keepdims=True)
    # argmin takes the first of equals, and cuts descend: the higher of two equally near 0
    chosen = np.argmin(np.where(is_best, np.abs(cuts), np.inf), axis=1)
    return np.where(_informative(ranking), cuts[np.arange(len(cuts)), chosen], 0.0)


def _cut_logits(ranking: Ranking) -> Array:
    """(runs, 1 + width): column k predicts the k highest rows positive, where that is a cut."""
    scores, last = ranking.logits, np.maximum(ranking.num_rows - 1, 0)
    lowest = np.take_along_axis(scores, last[:, None], axis=1)
    above, below = scores[:, :-1], scores[:, 1:]
    middle = above / 2 + below / 2  # halved first: a sum could overflow
    middle = np.where(middle > below, middle, above)  # neighbouring floats have no midpoint
    with np.errstate(over="ignore"):
        beyond = np.maximum(scores[:, :1] + 1, np.nextafter(scores[:, :1], np.inf))
    cuts = np.hstack([np.maximum(beyond, 0), middle, lowest])
    np.put_along_axis(cuts, last[:, None] + 1, np.minimum(lowest - 1, 0), axis=1)
    return cuts


def _informative(ranking: Ranking) -> NDArray[np.bool_]:
    """Two labels and two logits. A run that is not `usable` has none, or all its logits 0."""
    has_both = (ranking.num_positives > 0) & (ranking.num_negatives > 0)
    return has_both & (ranking.is_end.sum(axis=1) > 1)


# Increasing functions of the criteria at given numbers of positives and negatives, chosen so that
# equal criteria compare equal in floating point. Cuts that are not allowed are -inf.
def _f_beta(tp: Counts, fp: Counts, p: Counts, n: Counts, beta: float) -> NDArray:
    squared, one = _whole(as_written(beta) ** 2, 1)
    return (one + squared) * tp / np.maximum(one * (tp + fp) + squared * p, 1)


def _balanced_accuracy(tp: Counts, fp: Counts, p: Counts, n: Counts) -> NDArray:
    return tp * n - fp * p


def _mcc(tp: Counts, fp: Counts, p: Counts, n: Counts) -> NDArray:
    """The signed square: no root, so one rounding. 0 where all or none are predicted positive."""
    covariance, taken = (tp * n - fp * p).astype(np.float64), tp + fp
    return covariance * np.abs(covariance) / np.maximum(taken * (p + n - taken), 1)


def _accuracy(tp: Counts, fp: Counts, p: Counts, n: Counts) -> NDArray:
    return tp - fp


def _saving(tp: Counts, fp: Counts, p: Counts, n: Counts, costs: Costs) -> NDArray:
    """What predicting none would cost more. In whole units of the costs' common denominator."""
    # Subtracted as decimals: 1.7 - 0.1 in floats is not 1.6, and would part equal cuts.
    of_miss, of_alarm = _whole(
        as_written(costs.false_negative) - as_written(costs.true_positive),
        as_written(costs.false_positive) - as_written(costs.true_negative),
    )
    return tp * of_miss - fp * of_alarm


def _recall_at(tp: Counts, fp: Counts, p: Counts, n: Counts, min_precision: float) -> NDArray:
    """Most true positives, then fewest false ones. Predicting none is always allowed."""
    needed, whole = _whole(min_precision, 1.0)
    allowed = whole * tp >= needed * (tp + fp)
    return np.where(allowed, tp * (n + 1) - fp, -np.inf)


def _precision_at(tp: Counts, fp: Counts, p: Counts, n: Counts, min_recall: float) -> NDArray:
    needed, whole = _whole(min_recall, 1.0)
    allowed = whole * tp >= needed * p
    return np.where(allowed, tp / np.maximum(tp + fp, 1), -np.inf)


def _within(tp: Counts, fp: Counts, p: Counts, n: Counts, alerts: float) -> NDArray:
    """As many rows as the budget allows; ties are flagged together or not at all."""
    return np.where(tp + fp <= num_flagged(alerts, p + n), tp + fp, -np.inf)


def _whole(*values: float | Fraction) -> tuple[float, ...]:
    """Numbers as written in decimals, in whole units of their common denominator."""
    fractions = [as_written(value) for value in values]
    unit = math.lcm(*(fraction.denominator for fraction in fractions))
    numbers = [fraction * unit for fraction in fractions]
    # Beyond this the product with a count leaves int64: rounding may then part equal cuts.
    if max(map(abs, numbers)) > 2**31:
        return tuple(map(float, values))
    return tuple(map(int, numbers))


def _objective(
    criterion: Criterion, settings: Evaluation
) -> Callable[[Counts, Counts, Counts, Counts], NDArray]:
    objectives: dict[str, Callable[[Counts, Counts, Counts, Counts], NDArray]] = {
        "f1": partial(_f_beta, beta=1),
        "f_beta": partial(_f_beta, beta=settings.beta),
        "balanced_accuracy": _balanced_accuracy,
        "mcc": _mcc,
        "youden": _balanced_accuracy,
        "accuracy": _accuracy,
        "cost": partial(_saving, costs=settings.costs),
        "recall_at_precision": partial(_recall_at, min_precision=settings.min_precision),
        "precision_at_recall": partial(_precision_at, min_recall=settings.min_recall),
        "alerts": partial(_within, alerts=settings.alerts),
    }
    return objectives[criterion]
