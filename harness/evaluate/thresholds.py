"""Choosing a decision threshold on the validation split.

Functions here take the rows of one split and return a threshold; `metrics.threshold_metrics`
applies it to another. What chooses never sees what it is judged on.
"""

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.evaluate.metrics import Array, Counts, Ranking, rank_rows

Criterion = Literal["f1", "balanced_accuracy", "mcc", "youden", "accuracy"]


def choose_threshold(
    *, criterion: Criterion, logits: ArrayLike, labels: ArrayLike, valid: ArrayLike
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
            `balanced_accuracy` does and so gives the same threshold.
        logits, labels, valid: the *validation* rows, (runs, n), as in `metrics.rank_rows`.

    Returns:
        (runs,), finite in all but one case: predicting none may take +inf above the largest float.

    Raises:
        ValueError: an unknown criterion, or what `metrics.rank_rows` raises.

    >>> choose_threshold(criterion="f1", logits=[[3.0, 1.0, -1.0, -2.0]], labels=[[1, 1, 0, 1]],
    ...                  valid=[[True, True, True, True]])
    array([-3.])
    >>> choose_threshold(criterion="accuracy", logits=[[3.0, 1.0, -1.0, -2.0]],
    ...                  labels=[[1, 1, 0, 0]], valid=[[True, True, True, True]])
    array([0.])
    """
    ranking = rank_rows(logits=logits, labels=labels, valid=valid)
    return choose_threshold_from_ranking(criterion=criterion, ranking=ranking)


def choose_threshold_from_ranking(*, criterion: Criterion, ranking: Ranking) -> Array:
    """`choose_threshold` of validation rows already ranked."""
    if criterion not in _OBJECTIVES:
        choices = ", ".join(get_args(Criterion))
        raise ValueError(f"criterion must be one of {choices}, got {criterion!r}")
    none = np.zeros((len(ranking.logits), 1), dtype=np.int64)
    values = _OBJECTIVES[criterion](
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
# equal criteria compare equal in floating point.
def _f1(tp: Counts, fp: Counts, p: Counts, n: Counts) -> NDArray:
    return 2 * tp / np.maximum(tp + fp + p, 1)


def _balanced_accuracy(tp: Counts, fp: Counts, p: Counts, n: Counts) -> NDArray:
    return tp * n - fp * p


def _mcc(tp: Counts, fp: Counts, p: Counts, n: Counts) -> NDArray:
    """The signed square: no root, so one rounding. 0 where all or none are predicted positive."""
    covariance, taken = (tp * n - fp * p).astype(np.float64), tp + fp
    return covariance * np.abs(covariance) / np.maximum(taken * (p + n - taken), 1)


def _accuracy(tp: Counts, fp: Counts, p: Counts, n: Counts) -> NDArray:
    return tp - fp


_OBJECTIVES: dict[str, Callable[[Counts, Counts, Counts, Counts], NDArray]] = {
    "f1": _f1,
    "balanced_accuracy": _balanced_accuracy,
    "mcc": _mcc,
    "youden": _balanced_accuracy,
    "accuracy": _accuracy,
}
