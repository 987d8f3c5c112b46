"""Ranks of many groups over many data sets: Friedman's test and Nemenyi's critical difference.

Source: Demsar, "Statistical Comparisons of Classifiers over Multiple Data Sets", 2006, section 3.2.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]


def average_ranks(scores: ArrayLike) -> Floats:
    """Mean rank of each column over the rows (data sets); 1 is the highest score, ties share."""
    ranks = stats.rankdata(-np.asarray(scores, float), axis=1)
    return np.asarray(ranks.mean(axis=0))


def friedman_p(scores: ArrayLike) -> float:
    """Friedman's p of "all columns are equal", over rows that are data sets; NaN below 3 x 2."""
    scores = np.asarray(scores, float)
    if scores.shape[0] < 2 or scores.shape[1] < 3:
        return float("nan")
    ranks = stats.rankdata(scores, axis=1)
    if (ranks == ranks[:, :1]).all():
        return 1.0
    return float(stats.friedmanchisquare(*scores.T).pvalue)


def critical_difference(*, num_groups: int, num_datasets: int, alpha: float = 0.05) -> float:
    """Nemenyi's: average ranks closer than this are not told apart.

    >>> round(critical_difference(num_groups=4, num_datasets=14), 2)  # Demsar 2006, section 3.2.3
    1.25
    """
    q = stats.studentized_range.isf(alpha, num_groups, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(num_groups * (num_groups + 1) / (6 * num_datasets)))


def cliques(ranks: ArrayLike, *, difference: float) -> list[tuple[float, float]]:
    """The longest spans of ranks no wider than `difference`, of two groups or more.

    >>> cliques([1.0, 1.5, 2.2, 4.0], difference=1.0)
    [(1.0, 1.5), (1.5, 2.2)]
    """
    ordered = np.sort(np.asarray(ranks, float))
    spans: list[tuple[float, float]] = []
    for start in ordered:
        end = float(ordered[ordered <= start + difference].max())
        if end > start and (not spans or end > spans[-1][1]):
            spans.append((float(start), end))
    return spans
