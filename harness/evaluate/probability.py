"""Metrics of probabilities: proper scores, and how far the probabilities are off.

All take a `Ranking` and give (runs,) values. With z a logit, p = sigmoid(z), n valid rows, of
which a share pi is positive.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from harness.evaluate.ranking import Array, Ranking


@dataclass(frozen=True)
class Probs:
    """(runs, width) each, of a ranking's logits: sigmoid(z), 1 - sigmoid(z) and -ln of both.

    All four keep their digits on either side, and no logit is clipped.
    """

    probs: Array
    complements: Array
    of_positives: Array
    of_negatives: Array


def probabilities(logits: Array) -> Probs:
    tail = np.exp(-np.abs(logits))  # cannot overflow
    high, low = 1 / (1 + tail), tail / (1 + tail)
    log_tail, is_high = np.log1p(tail), logits >= 0
    return Probs(
        probs=np.where(is_high, high, low),
        complements=np.where(is_high, low, high),
        of_positives=np.maximum(-logits, 0) + log_tail,
        of_negatives=np.maximum(logits, 0) + log_tail,
    )


def proper_scores(ranking: Ranking, probs: Probs) -> dict[str, Array]:
    """`log_loss`, `brier`, and both as a share of what the constant pi leaves to be won.

    - `log_loss`: mean of softplus(z) - y z. No clipping: a logit of -1e4 on a positive costs 1e4.
    - `skill`: D2 = 1 - log_loss / H(pi), H the entropy of this part's own labels. 1 is perfect,
      0 is the constant pi, negative is worse. NaN with one class.
    - `brier`: mean of (p - y)^2.
    - `brier_skill`: 1 - brier / (pi (1 - pi)), likewise.
    """
    log_loss = mean_over_rows(
        ranking, of_positives=probs.of_positives, of_negatives=probs.of_negatives
    )
    brier = mean_over_rows(ranking, of_positives=probs.complements**2, of_negatives=probs.probs**2)
    return {
        "log_loss": log_loss,
        "skill": _skill(log_loss, label_entropy(ranking)),
        "brier": brier,
        "brier_skill": _skill(brier, label_variance(ranking)),
    }


def _skill(score: Array, of_constant: Array) -> Array:
    return np.where(of_constant > 0, 1 - score / of_constant, np.nan)


def calibration_errors(ranking: Ranking, probs: Probs, *, num_bins: int) -> dict[str, Array]:
    """Expected calibration error of P(y=1), with equal-mass bins: as it is, and debiased.

    A row goes to bin floor(num_bins x r / n), r its rank from the highest logit, counted at the
    row's middle (1/2, 3/2, ...); rows with equal logits share their mean rank, hence a bin, so
    that bins hold n / num_bins rows up to rounding and ties. With n_b rows in bin b, of mean
    probability p_b and positive share y_b:

    - `ece`: sum of n_b/n |p_b - y_b|. Biased upwards: a perfect model shows about the sum of
      sqrt(2 p_b (1-p_b) n_b / 3.14) / n.
    - `ece_debiased`: the square root of the sum of n_b/n [(p_b - y_b)^2 - y_b (1-y_b) / (n_b-1)],
      or 0 where that is negative. The sum is unbiased for the squared gaps of the bins: the second
      term is the estimated variance of y_b. A perfect model shows 0 about half of the time.

    References:
        Nixon et al., Measuring calibration in deep learning (2019), for equal-mass bins; Kumar et
        al., Verified uncertainty calibration (2019), and Broecker, Estimating reliability and
        resolution of probability forecasts (2012), for the debiased sum of squares.
    """
    sizes = ranking.group_positives + ranking.group_negatives
    per_bin = _binning(ranking, sizes, num_bins)
    n, positives = per_bin(sizes), per_bin(ranking.group_positives)
    gaps = per_bin(sizes * probs.probs) - positives
    num_rows = np.maximum(ranking.num_rows, 1)
    several = np.maximum(n, 1)
    chance = positives * (n - positives) / (several * np.maximum(n - 1, 1))
    squared = _over_bins(gaps**2 / several - chance) / num_rows
    return {
        "ece": _over_bins(np.abs(gaps)) / num_rows,
        "ece_debiased": np.sqrt(np.maximum(squared, 0)),
    }


def _binning(ranking: Ranking, sizes: NDArray, num_bins: int) -> Callable[[NDArray], Array]:
    """A function that sums (runs, width) values by bin. `bincount` adds in the order of rows."""
    num_runs = len(sizes)
    doubled_ranks = 2 * (ranking.true_positives + ranking.false_positives) - sizes
    bins = doubled_ranks * num_bins // (2 * np.maximum(ranking.num_rows, 1)[:, None])
    bins = np.minimum(bins, num_bins - 1)  # only reached off the ends, where sizes are 0
    bins += num_bins * np.arange(num_runs)[:, None]

    def per_bin(values: NDArray) -> Array:
        sums = np.bincount(bins.ravel(), weights=values.ravel(), minlength=num_runs * num_bins)
        return sums.reshape(num_runs, num_bins).astype(np.float64)

    return per_bin


def _over_bins(terms: Array) -> Array:
    """Left to right, so that neither the number of runs nor their layout can matter."""
    return np.cumsum(terms, axis=1)[:, -1]


def mean_over_rows(ranking: Ranking, *, of_positives: Array, of_negatives: Array) -> Array:
    summed = ranking.group_positives * of_positives + ranking.group_negatives * of_negatives
    return ranking.total(summed) / ranking.num_rows


def label_entropy(ranking: Ranking) -> Array:
    """H(pi) in nats: the log loss of the constant pi. 0 with one class."""
    n = ranking.num_rows
    positive, negative = ranking.num_positives / n, ranking.num_negatives / n
    return -xlogy(positive, positive) - xlogy(negative, negative)


def label_variance(ranking: Ranking) -> Array:
    """pi (1 - pi): the Brier score of the constant pi."""
    n = ranking.num_rows
    return ranking.num_positives / n * (ranking.num_negatives / n)
