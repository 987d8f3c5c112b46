"""Intervals, paired tests and verdicts over repeated splits of one data set.

Runs that differ by their seed share most of their training rows, so their scores are correlated
and the ordinary t test finds differences that are not there. Nadeau and Bengio (2003) replace the
variance of the mean, s^2 / J, by (1/J + n_test/n_train) s^2. All functions work elementwise on
arrays, one element a comparison; an undefined result is NaN, never an exception.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]

ALPHA = 0.05
SEED_CAP = 1000


def standard_error(*, sd: ArrayLike, num_seeds: ArrayLike, test_train_ratio: ArrayLike) -> Floats:
    """Corrected standard error of a mean over repeated splits.

    Args:
        sd: sample standard deviation (one degree of freedom lost), >= 0.
        num_seeds: J, the number of repeats; NaN is returned below 2.
        test_train_ratio: n_test / n_train, >= 0; 0 gives the ordinary s / sqrt(J).

    Source: Nadeau and Bengio, "Inference for the Generalization Error", 2003, section 3.

    >>> float(standard_error(sd=2.0, num_seeds=4, test_train_ratio=0.0))
    1.0
    """
    sd, seeds, ratio = (np.asarray(a, float) for a in (sd, num_seeds, test_train_ratio))
    inverse = 1 / np.where(seeds >= 2, seeds, np.nan)
    return np.asarray(np.sqrt(inverse + ratio) * sd)


def half_interval(
    *, sd: ArrayLike, num_seeds: ArrayLike, test_train_ratio: ArrayLike, confidence: float = 0.95
) -> Floats:
    """Half the width of the t confidence interval of a mean, J - 1 degrees of freedom."""
    seeds = np.asarray(num_seeds, float)
    quantile = stats.t.isf((1 - confidence) / 2, np.where(seeds >= 2, seeds - 1, np.nan))
    error = standard_error(sd=sd, num_seeds=seeds, test_train_ratio=test_train_ratio)
    return np.asarray(quantile * error)


def corrected_p_value(
    *, mean: ArrayLike, sd: ArrayLike, num_seeds: ArrayLike, test_train_ratio: ArrayLike
) -> Floats:
    """Two-sided p of "the mean difference is 0"; 1 where every difference is exactly 0."""
    mean, seeds = np.asarray(mean, float), np.asarray(num_seeds, float)
    error = standard_error(sd=sd, num_seeds=seeds, test_train_ratio=test_train_ratio)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where((mean == 0) & (error == 0), 0.0, np.abs(mean) / error)
        return np.asarray(2 * stats.t.sf(t, np.where(seeds >= 2, seeds - 1, np.nan)))


def correlated_t_posterior(
    *,
    mean: ArrayLike,
    sd: ArrayLike,
    num_seeds: ArrayLike,
    test_train_ratio: ArrayLike,
    rope: float,
) -> tuple[Floats, Floats, Floats]:
    """Probabilities that a difference is below, in or above +-rope, on this one data set.

    NaN below 2 seeds. Source: Benavoli et al., "Time for a Change", 2017, section 3.1: the
    posterior of Nadeau and Bengio's t.
    """
    mean, seeds = np.asarray(mean, float), np.asarray(num_seeds, float)
    error = standard_error(sd=sd, num_seeds=seeds, test_train_ratio=test_train_ratio)
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = (-rope - mean) / error, (rope - mean) / error
    # Without any spread the difference is what it is.
    low = np.where(error == 0, np.where(mean < -rope, np.inf, -np.inf), low)
    high = np.where(error == 0, np.where(mean > rope, -np.inf, np.inf), high)
    freedom = np.where(seeds >= 2, seeds - 1, np.nan)
    below, above = stats.t.cdf(low, freedom), stats.t.sf(high, freedom)
    return below, np.clip(1 - below - above, 0, 1), above


def holm(p_values: ArrayLike) -> Floats:
    """Holm's (1979) adjusted p values of one family; NaN entries are no part of the family.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, float)
    order = np.argsort(p)[: int(np.isfinite(p).sum())]  # NaN sorts last
    adjusted = np.full_like(p, np.nan)
    steps = np.arange(order.size, 0, -1) * p[order]
    adjusted[order] = np.minimum(1, np.maximum.accumulate(steps))
    return adjusted


def more_seeds_needed(
    *,
    mean: ArrayLike,
    sd: ArrayLike,
    num_seeds: ArrayLike,
    test_train_ratio: ArrayLike,
    family_size: int,
    alpha: float = ALPHA,
    cap: int = SEED_CAP,
) -> Floats:
    """How many seeds to add until the observed effect and spread would be significant.

    Judged at alpha / family_size, Holm's strictest step, so rather too many than too few. It takes
    the observed effect for the true one: an order of magnitude, no promise. NaN where `cap` seeds
    in all would not do; since the correction does not shrink with J, it may be that none would.
    """
    mean, sd, seeds, ratio = (
        np.atleast_1d(np.asarray(a, float)) for a in (mean, sd, num_seeds, test_train_ratio)
    )
    totals = np.arange(2, cap + 1)
    critical = stats.t.isf(alpha / max(family_size, 1) / 2, totals - 1)
    needed = np.full(mean.shape, np.nan)
    for i, (effect, spread, have, r) in enumerate(zip(abs(mean), sd, seeds, ratio, strict=True)):
        enough = totals[effect > critical * np.sqrt(1 / totals + r) * spread]
        if enough.size:  # the bound falls with J, so the first is the answer
            needed[i] = max(enough[0] - have, 0)
    return needed


def verdicts(*, gain: ArrayLike, adjusted_p: ArrayLike, alpha: float = ALPHA) -> list[str]:
    """ "better", "worse", "differs" or "undecided", a comparison each.

    Args:
        gain: mean difference from the baseline, positive where the method is better; 0 where the
            metric has no direction: such a difference is neither better nor worse.
        adjusted_p: Holm's p of the same comparisons; NaN is undecided.

    >>> verdicts(gain=[0.1, -0.1, 0.0, 0.1], adjusted_p=[0.01, 0.01, 0.01, 0.3])
    ['better', 'worse', 'differs', 'undecided']
    """
    gain, significant = np.asarray(gain, float), np.asarray(adjusted_p, float) <= alpha
    decided = np.select([gain > 0, gain < 0], ["better", "worse"], "differs")
    return [str(word) for word in np.where(significant, decided, "undecided")]
