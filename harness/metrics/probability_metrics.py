"""Metrics of probabilities: proper scores, and how far the probabilities are off.

All take a `Ranking` and give (runs,) values. With z a logit, p = sigmoid(z), n valid rows, of
which a share pi is positive.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlog1py, xlogy

from harness.metrics.logistic import (
    fit_intercept,
    fit_logistic,
    groups_of,
    shared_groups_of,
    standardised,
)
from harness.metrics.ranked_rows import Array, Ranking


@dataclass(frozen=True)
class Line:
    """A run's fitted lines, and the scale they were fitted on: where those of its resamples start.

    Attributes:
        intercept: the `calibration_intercept`.
        coefficients: (2,) of the regression on logits in units of `spread` about `mean`.
    """

    intercept: Array
    coefficients: Array
    mean: float
    spread: float


def probability_metrics(
    ranking: Ranking,
    *,
    num_bins: int,
    line: bool,
    decompose: bool,
    original: Line | None = None,
) -> dict[str, Array]:
    """Proper scores and calibration errors, and where asked for `calibration_line` and
    `decompositions`.

    On logits, so in full precision: log loss does not clip.
    """
    if num_bins < 1:
        raise ValueError(f"num_bins must be at least 1, got {num_bins}")
    probs = probabilities(ranking.logits)
    with np.errstate(all="ignore"):  # 0/0 is how undefined becomes NaN; 1e308 + 1e308 is inf
        values = proper_scores(ranking, probs)
        values |= calibration_errors(ranking, probs, num_bins=num_bins)
        if line:
            values |= calibration_line(ranking, original)
        if decompose:
            values |= decompositions(ranking, values)
    return ranking.where_usable(values)


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

    The bins are those of `Ranking.bins`: rows with equal logits share one, so that bins hold
    n / num_bins rows up to rounding and ties. With n_b rows in bin b, of mean
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
    bins = ranking.bins(num_bins)
    n, positives = bins.rows, bins.positives
    gaps = bins.sums(sizes * probs.probs) - positives
    num_rows = np.maximum(ranking.num_rows, 1)
    several = np.maximum(n, 1)
    chance = positives * (n - positives) / (several * np.maximum(n - 1, 1))
    squared = _over_bins(gaps**2 / several - chance) / num_rows
    return {
        "ece": _over_bins(np.abs(gaps)) / num_rows,
        "ece_debiased": np.sqrt(np.maximum(squared, 0)),
    }


def _over_bins(terms: Array) -> Array:
    """Left to right, so that neither the number of runs nor their layout can matter."""
    return np.cumsum(terms, axis=1)[:, -1]


def mean_over_rows(ranking: Ranking, *, of_positives: Array, of_negatives: Array) -> Array:
    return ranking.weighed(of_positives, of_negatives) / ranking.num_rows


def label_entropy(ranking: Ranking) -> Array:
    """H(pi) in nats: the log loss of the constant pi. 0 with one class."""
    n = ranking.num_rows
    positive, negative = ranking.num_positives / n, ranking.num_negatives / n
    return -xlogy(positive, positive) - xlogy(negative, negative)


def label_variance(ranking: Ranking) -> Array:
    """pi (1 - pi): the Brier score of the constant pi."""
    n = ranking.num_rows
    return ranking.num_positives / n * (ranking.num_negatives / n)


def decompositions(ranking: Ranking, scores: dict[str, Array]) -> dict[str, Array]:
    """The CORP decomposition of log loss and Brier score: score = MCB - DSC + UNC.

    With R the score after the isotonic recalibration that fits these very rows best, and U that
    of the constant pi:

    - `log_loss_miscalibration`, `brier_miscalibration`: score - R, at least 0. What recalibrating
      could win.
    - `log_loss_discrimination`, `brier_discrimination`: U - R, at least 0, at most U. What the
      order of the rows is worth; no increasing map of the logits changes it.
    - `log_loss_uncertainty`, `brier_uncertainty`: U, the same for every model.

    No bins and no tuning, but it is fitted on the rows it scores: on few rows both parts are
    biased upwards, by the same amount.

    Args:
        scores: `log_loss` and `brier` of the same ranking.

    References:
        Dimitriadis, Gneiting and Jordan, Stable reliability diagrams for probabilistic
        classifiers (2021).
    """
    log_loss, brier = (_best_of_resamples if ranking.shares_logits else _best)(ranking)
    parts = {
        "log_loss": (log_loss, label_entropy(ranking)),
        "brier": (brier, label_variance(ranking)),
    }
    values: dict[str, Array] = {}
    for name, (summed, uncertainty) in parts.items():
        recalibrated = summed / ranking.num_rows
        values |= {
            f"{name}_miscalibration": scores[name] - recalibrated,
            f"{name}_discrimination": uncertainty - recalibrated,
            f"{name}_uncertainty": uncertainty,
        }
    return values


def isotonic_fit(ranking: Ranking, run: int) -> tuple[Array, Array]:
    """Distinct logits of one run, ascending, and the non-decreasing shares of positives that fit
    best, by the pool-adjacent-violators algorithm. Both (groups,)."""
    from scipy.optimize import isotonic_regression  # late: few runs ask for it

    ends = ranking.ends(run)[::-1]
    positives = ranking.group_positives[run, ends]
    sizes = positives + ranking.group_negatives[run, ends]
    # A resample may have left a group no row: it then weighs next to nothing.
    weights = np.maximum(sizes, 1e-9)
    logits = ranking.logits[0 if ranking.shares_logits else run, ends]
    return logits, isotonic_regression(positives / weights, weights=weights).x


def _best(ranking: Ranking) -> tuple[Array, Array]:
    """(runs,) sums of log loss and of Brier under each run's best isotonic shares."""
    best = _recalibrated(ranking)
    return (
        ranking.total(
            -xlogy(ranking.group_positives, best) - xlog1py(ranking.group_negatives, -best)
        ),
        ranking.total(
            ranking.group_positives * (1 - best) ** 2 + ranking.group_negatives * best**2
        ),
    )


def _best_of_resamples(ranking: Ranking) -> tuple[Array, Array]:
    """`_best` of runs that share their logits: all fitted in one, which costs one call.

    Each run's shares, in [0, 1], are set 2 below those before, so that no block of equal shares
    can reach from one run into the next. Rows are then counted block by block.
    """
    from scipy.optimize import isotonic_regression

    num_runs, width = ranking.group_positives.shape
    positives, negatives = ranking.group_positives, ranking.group_negatives
    weights = np.maximum(positives + negatives, 1e-9)  # as in `isotonic_fit`
    lowered = positives / weights
    lowered -= 2 * np.arange(num_runs)[:, None]
    fitted = isotonic_regression(lowered.ravel(), weights=weights.ravel(), increasing=False)
    blocks = fitted.blocks[:-1]
    ones, zeros, weight = (
        np.add.reduceat(values.ravel(), blocks) for values in (positives, negatives, weights)
    )
    share = ones / weight
    first = np.searchsorted(blocks, width * np.arange(num_runs))
    log_loss = -xlogy(ones, share) - xlog1py(zeros, -share)
    brier = ones * (1 - share) ** 2 + zeros * share**2
    return np.add.reduceat(log_loss, first), np.add.reduceat(brier, first)


def _recalibrated(ranking: Ranking) -> Array:
    """(runs, width) isotonic shares at each group's end; 0 elsewhere."""
    best = np.zeros(ranking.group_positives.shape)
    for run in map(int, np.flatnonzero(ranking.usable)):
        best[run, ranking.ends(run)[::-1]] = isotonic_fit(ranking, run)[1]
    return best


def line_of(ranking: Ranking) -> Line | None:
    """The line of the only run of a ranking; None where it has none."""
    (both,) = _has_both(ranking)
    if not both:
        return None
    groups = groups_of(ranking)
    centred, mean, spread = standardised(groups.logits, groups)
    coefficients = fit_logistic(groups, [centred])[0]
    return Line(fit_intercept(groups), coefficients, float(mean[0]), float(spread[0]))


def calibration_line(ranking: Ranking, original: Line | None = None) -> dict[str, Array]:
    """`calibration_intercept` and `calibration_slope` of logit P(y=1) given z.

    - `calibration_intercept`: the maximum-likelihood a in sigmoid(a + z), 0 for the calibrated:
      calibration-in-the-large. Below 0 the model promises too many positives: after training with
      balanced weights or resampling it is about logit(pi), by prior shift.
    - `calibration_slope`: the b in sigmoid(a + b z), a free, 1 for the calibrated. Below 1 the
      logits are too extreme, as after overfitting.

    NaN with one class; the slope also where all logits are equal, and +-inf where a cut separates
    the classes without error.

    Args:
        original: of the run whose resamples these are. Newton's steps then start from its line, a
            few of which suffice (Davidson and MacKinnon 1999); they go on to the end all the same.

    References:
        Cox, Two further applications of a model for binary regression (1958); Van Calster et al.,
        Calibration: the Achilles heel of predictive analytics (2019); Davidson and MacKinnon,
        Bootstrap testing in nonlinear models (1999), on starting where the original ends.
    """
    intercept = np.full(ranking.num_runs, np.nan)
    slope = np.full(ranking.num_runs, np.nan)
    both = _has_both(ranking)
    if both.any():
        chosen = ranking if both.all() else ranking.of(both)
        if original is None:
            intercept[both] = fit_intercept(groups_of(chosen))
        else:
            intercept[both] = fit_intercept(shared_groups_of(chosen), original.intercept)
        slope[both] = _slope(chosen, original)
    return {"calibration_intercept": intercept, "calibration_slope": slope}


def _has_both(ranking: Ranking) -> NDArray[np.bool_]:
    return ranking.usable & (ranking.num_positives > 0) & (ranking.num_negatives > 0)


def _slope(ranking: Ranking, original: Line | None) -> Array:
    """Of runs with both classes."""
    above, below = separation(ranking)
    slope = np.where(above, np.inf, np.where(below, -np.inf, np.nan))
    mixed = ~above & ~below & (ranking.is_end.sum(axis=1) > 1)
    if not mixed.any():
        return slope
    if original is None:
        groups = groups_of(ranking.of(mixed))
        centred, _, spread = standardised(groups.logits, groups)
        slope[mixed] = fit_logistic(groups, [centred])[:, 1] / spread
    else:
        shared = shared_groups_of(ranking if mixed.all() else ranking.of(mixed))
        centred = (shared.logits - original.mean) / original.spread
        fitted = fit_logistic(shared, [centred], start=original.coefficients)
        slope[mixed] = fitted[:, 1] / original.spread
    return slope


def separation(ranking: Ranking) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether all positives score at least as high as all negatives, and the reverse; (runs,).

    Ties between the two at one logit are allowed, as they do not keep the slope finite. False for
    both where all logits are equal.
    """
    positives, negatives = ranking.group_positives > 0, ranking.group_negatives > 0
    scores = np.broadcast_to(ranking.logits, positives.shape)
    runs, last = np.arange(ranking.num_runs), scores.shape[1] - 1
    highest_positive = scores[runs, np.argmax(positives, axis=1)]
    highest_negative = scores[runs, np.argmax(negatives, axis=1)]
    lowest_positive = scores[runs, last - np.argmax(positives[:, ::-1], axis=1)]
    lowest_negative = scores[runs, last - np.argmax(negatives[:, ::-1], axis=1)]
    varied = ranking.is_end.sum(axis=1) > 1
    above = varied & (lowest_positive >= highest_negative)
    below = varied & (highest_positive <= lowest_negative)
    return above, below
