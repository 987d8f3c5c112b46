"""Calibration as a regression of the labels on the logits: an intercept and a slope."""

import numpy as np
from numpy.typing import NDArray

from harness.evaluate.logistic import fit_intercept, fit_logistic, groups_of, standardised
from harness.evaluate.ranking import Array, Ranking


def calibration_line(ranking: Ranking) -> dict[str, Array]:
    """`calibration_intercept` and `calibration_slope` of logit P(y=1) given z.

    - `calibration_intercept`: the maximum-likelihood a in sigmoid(a + z), 0 for the calibrated:
      calibration-in-the-large. Below 0 the model promises too many positives: after training with
      balanced weights or resampling it is about logit(pi), by prior shift.
    - `calibration_slope`: the b in sigmoid(a + b z), a free, 1 for the calibrated. Below 1 the
      logits are too extreme, as after overfitting.

    NaN with one class; the slope also where all logits are equal, and +-inf where a cut separates
    the classes without error.

    References:
        Cox, Two further applications of a model for binary regression (1958); Van Calster et al.,
        Calibration: the Achilles heel of predictive analytics (2019).
    """
    intercept = np.full(len(ranking.logits), np.nan)
    slope = np.full(len(ranking.logits), np.nan)
    both = ranking.usable & (ranking.num_positives > 0) & (ranking.num_negatives > 0)
    if both.any():
        chosen = ranking.of(both)
        groups = groups_of(chosen)
        intercept[both] = fit_intercept(groups, groups.logits)
        slope[both] = _slope(chosen)
    return {"calibration_intercept": intercept, "calibration_slope": slope}


def _slope(ranking: Ranking) -> Array:
    """Of runs with both classes."""
    above, below = separation(ranking)
    slope = np.where(above, np.inf, np.where(below, -np.inf, np.nan))
    mixed = ~above & ~below & (ranking.is_end.sum(axis=1) > 1)
    if mixed.any():
        groups = groups_of(ranking.of(mixed))
        centred, _, spread = standardised(groups.logits, groups)
        slope[mixed] = fit_logistic(groups, [centred])[:, 1] / spread
    return slope


def separation(ranking: Ranking) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether all positives score at least as high as all negatives, and the reverse; (runs,).

    Ties between the two at one logit are allowed, as they do not keep the slope finite. False for
    both where all logits are equal.
    """
    positives, negatives = ranking.group_positives > 0, ranking.group_negatives > 0
    scores = ranking.logits
    lowest_positive = np.where(positives, scores, np.inf).min(axis=1)
    highest_positive = np.where(positives, scores, -np.inf).max(axis=1)
    lowest_negative = np.where(negatives, scores, np.inf).min(axis=1)
    highest_negative = np.where(negatives, scores, -np.inf).max(axis=1)
    varied = ranking.is_end.sum(axis=1) > 1
    above = varied & (lowest_positive >= highest_negative)
    below = varied & (highest_positive <= lowest_negative)
    return above, below
