"""Metrics of the order of the scores alone: no increasing map of the logits changes them.

All take a `Ranking` and give (runs,) values. Curves step from group to group of equal logits, so
that ties count as what they are.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma

from harness.metrics.ranked_rows import Array, Ranking, as_written


def ranking_metrics(
    ranking: Ranking, *, max_fpr: float, alerts: float, min_precision: float, min_recall: float
) -> dict[str, Array]:
    """All of them, of rows already ranked.

    On logits: the sigmoid saturates, which makes ties that the model did not.
    """
    with np.errstate(all="ignore"):
        values = {
            "auroc": auroc(ranking),
            "partial_auroc": partial_auroc(ranking, max_fpr=max_fpr),
            "average_precision": average_precision(ranking),
            "random_average_precision": random_average_precision(ranking),
            **top_of_ranking(ranking, alerts=alerts),
            "recall_at_precision": recall_at_precision(ranking, min_precision=min_precision),
            "precision_at_recall": precision_at_recall(ranking, min_recall=min_recall),
        }
    return ranking.where_usable(values)


def auroc(ranking: Ranking) -> Array:
    """P(z+ > z-) + P(z+ = z-) / 2, exact: the Mann-Whitney statistic. NaN with one class."""
    # Doubled, so that a tie's half is an integer too.
    positives_above_or_tied = 2 * ranking.true_positives - ranking.group_positives
    doubled = (ranking.group_negatives * positives_above_or_tied).sum(axis=1)
    return doubled / (2 * ranking.num_positives * ranking.num_negatives)


def partial_auroc(ranking: Ranking, *, max_fpr: float) -> Array:
    """Area under the ROC curve up to a false positive rate, standardised: .5 chance, 1 perfect.

    With A the area between 0 and f = max_fpr, (1 + (A - f^2/2) / (f - f^2/2)) / 2. The curve is
    linear within a group of ties. NaN with one class. scikit-learn's `roc_auc_score(max_fpr=)`.

    References:
        McClish, Analyzing a portion of the ROC curve (1989).
    """
    limit = max_fpr * ranking.num_negatives[:, None]
    positives, negatives = ranking.group_positives, ranking.group_negatives
    width = np.clip(limit - (ranking.false_positives - negatives), 0, negatives)
    risen = positives * width / np.maximum(negatives, 1)
    doubled = ranking.total(width * (2 * (ranking.true_positives - positives) + risen))
    area = doubled / (2 * ranking.num_positives * ranking.num_negatives)
    lowest = max_fpr**2 / 2
    return (1 + (area - lowest) / (max_fpr - lowest)) / 2


def average_precision(ranking: Ranking) -> Array:
    """Sum over distinct logits of (recall gained) x precision, without interpolation.

    scikit-learn's; no trapezoid, which is optimistic. NaN without positives.
    """
    return ranking.total(ranking.group_positives * _precision(ranking)) / ranking.num_positives


def random_average_precision(ranking: Ranking) -> Array:
    """The expected average precision of n scores in random order, of which P are positive:
    (P-1) / (n-1) + (n-P) H_n / (n (n-1)), with H_n the n-th harmonic number. More than P / n; NaN
    without positives.

    References:
        Bestgen, Exact expected average precision of the random baseline (2015).
    """
    n, p = ranking.num_rows, ranking.num_positives
    harmonic = digamma(n + 1.0) + np.euler_gamma
    several = (p - 1) / (n - 1) + (n - p) * harmonic / (n * (n - 1))
    return np.where(p == 0, np.nan, np.where(n == 1, 1.0, several))


def num_flagged(alerts: float, num_rows: NDArray) -> NDArray:
    """Rows an alert budget allows: a share below 1 of the rows, rounded, at least 1; or a number.

    >>> num_flagged(0.05, np.array([113, 4])), num_flagged(20, np.array([113, 4]))
    (array([6, 1]), array([20,  4]))
    >>> num_flagged(0.07, np.array([150]))  # 10.5, to even; in floats it is a little more
    array([10])
    """
    if alerts >= 1:
        return np.minimum(int(alerts), num_rows)
    share = as_written(alerts)
    sizes, which = np.unique(num_rows, return_inverse=True)
    rows = np.array([max(1, round(share * int(size))) for size in sizes], dtype=np.int64)
    return np.minimum(rows[which].reshape(num_rows.shape), num_rows)


def top_of_ranking(ranking: Ranking, *, alerts: float) -> dict[str, Array]:
    """What flagging the k highest logits finds: `precision_at_k`, `recall_at_k`, `lift_at_k`.

    The lift is the precision over that of flagging at random, P / n. Where a group of ties lies
    across the k-th place, the mean over its random orders is given: its positives count in the
    share of it that is flagged.

    Args:
        alerts: k, as in `num_flagged`.

    References:
        McSherry and Najork, Computing information retrieval performance measures efficiently in
        the presence of tied scores (2008).
    """
    k = num_flagged(alerts, ranking.num_rows)
    sizes = ranking.group_positives + ranking.group_negatives
    above = ranking.true_positives + ranking.false_positives - sizes
    taken = np.clip(k[:, None] - above, 0, sizes)
    found = ranking.total(ranking.group_positives * taken / np.maximum(sizes, 1))
    recall = found / ranking.num_positives
    return {
        "precision_at_k": found / k,
        "recall_at_k": recall,
        "lift_at_k": recall * (ranking.num_rows / k),
    }


def recall_at_precision(ranking: Ranking, *, min_precision: float) -> Array:
    """The best recall among all cuts with at least this precision; 0 where none has it.

    NaN without positives, like the next.
    """
    recall = ranking.true_positives / ranking.num_positives[:, None]
    allowed = ranking.is_end & (_precision(ranking) >= min_precision)
    best = np.where(allowed, recall, 0.0).max(axis=1)
    return np.where(ranking.num_positives > 0, best, np.nan)


def precision_at_recall(ranking: Ranking, *, min_recall: float) -> Array:
    """The best precision among all cuts with at least this recall."""
    recall = ranking.true_positives / ranking.num_positives[:, None]
    allowed = ranking.is_end & (recall >= min_recall)
    precision = np.where(allowed, _precision(ranking), 0.0).max(axis=1)
    return np.where(ranking.num_positives > 0, precision, np.nan)


def _precision(ranking: Ranking) -> Array:
    seen = np.maximum(ranking.true_positives + ranking.false_positives, 1)
    return ranking.true_positives / seen
