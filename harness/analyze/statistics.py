"""Tests, intervals and verdicts: over repeated splits of one data set, and over data sets.

Runs that differ by their seed share most of their training rows, so their scores are correlated
and the ordinary t test finds differences that are not there. Nadeau and Bengio (2003) replace the
variance of the mean, s^2 / J, by (1/J + n_test/n_train) s^2; these functions work elementwise on
arrays, one element a comparison. Data sets are independent: what is said over them generalises to
others like them, which seeds of one data set never do; one number a data set goes in. Undefined
results are NaN, never an exception.

Differences that are all the same have no spread, and t has nothing to divide by: two runs that
agree by chance, or seeds that repeat one run, would be certain of anything. Nothing is concluded
from such but that 0 is no difference; whoever calls says below which spread there is none.

Sources: Nadeau and Bengio, "Inference for the Generalization Error", 2003; Demsar, "Statistical
Comparisons of Classifiers over Multiple Data Sets", 2006; Benavoli et al., "Time for a Change",
2017; Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice", 2021;
Dodge et al., "Show Your Work", 2019.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.special import gammaln

Floats = NDArray[np.float64]

ALPHA = 0.05
SEED_CAP = 1000

DATASET_CAP = 1000
SPLIT_CAP = 100  # of one data set, where several are compared
FORECAST_FROM = 5
"""Fewer seeds or data sets foretell nothing: a spread estimated from 4 may be off by a factor 4,
and what it foretells by 16."""

NUM_SAMPLES = 10_000  # a probability is then off by 0.005 at most, one standard error


def standard_error(*, sd: ArrayLike, num_seeds: ArrayLike, test_train_ratio: ArrayLike) -> Floats:
    """Corrected standard error of a mean over repeated splits.

    Args:
        sd: sample standard deviation (one degree of freedom lost), >= 0.
        num_seeds: J, the number of repeats; NaN is returned below 2.
        test_train_ratio: n_test over the rows that the run was made with, >= 0: those it was
            trained on and those that chose its epoch, threshold and hyperparameters. 0 gives the
            ordinary s / sqrt(J).

    Source: Nadeau and Bengio, "Inference for the Generalization Error", 2003, section 3, whose
    learning algorithm is all that is done with the rows that are not tested on.

    >>> float(standard_error(sd=2.0, num_seeds=4, test_train_ratio=0.0))
    1.0
    """
    sd, seeds, ratio = (np.asarray(a, float) for a in (sd, num_seeds, test_train_ratio))
    inverse = 1 / np.where(seeds >= 2, seeds, np.nan)
    return np.asarray(np.sqrt(inverse + ratio) * sd)


def half_interval(
    *, sd: ArrayLike, num_seeds: ArrayLike, test_train_ratio: ArrayLike, confidence: float = 0.95
) -> Floats:
    """Half the width of the t confidence interval of a mean, J - 1 degrees of freedom.

    NaN below 2 seeds and without any spread.
    """
    seeds = np.asarray(num_seeds, float)
    quantile = stats.t.isf((1 - confidence) / 2, np.where(seeds >= 2, seeds - 1, np.nan))
    error = standard_error(sd=sd, num_seeds=seeds, test_train_ratio=test_train_ratio)
    return np.asarray(quantile * _some(error))


def _some(error: Floats) -> Floats:
    """A standard error, NaN where it is 0."""
    return np.where(error > 0, error, np.nan)


def corrected_p_value(
    *, mean: ArrayLike, sd: ArrayLike, num_seeds: ArrayLike, test_train_ratio: ArrayLike
) -> Floats:
    """Two-sided p of "the mean difference is 0".

    1 where every difference is exactly 0; NaN below 2 seeds, and where all are one other number.
    """
    mean, seeds = np.asarray(mean, float), np.asarray(num_seeds, float)
    error = standard_error(sd=sd, num_seeds=seeds, test_train_ratio=test_train_ratio)
    t = np.where((mean == 0) & (error == 0), 0.0, np.abs(mean) / _some(error))
    return np.asarray(2 * stats.t.sf(t, np.where(seeds >= 2, seeds - 1, np.nan)))


def equivalence_p_value(
    *,
    mean: ArrayLike,
    sd: ArrayLike,
    num_seeds: ArrayLike,
    test_train_ratio: ArrayLike,
    margin: float,
) -> Floats:
    """p of "the mean difference is `margin` or more, up or down": two one-sided corrected t tests.

    NaN below 2 seeds and without any spread. Source: Schuirmann, "A Comparison of the Two One-Sided
    Tests Procedure", 1987: both at the full level, since one of the two hypotheses alone can hold.
    """
    mean, seeds = np.asarray(mean, float), np.asarray(num_seeds, float)
    error = _some(standard_error(sd=sd, num_seeds=seeds, test_train_ratio=test_train_ratio))
    freedom = np.where(seeds >= 2, seeds - 1, np.nan)
    with np.errstate(over="ignore"):  # a margin beyond all differences
        return np.asarray(stats.t.sf((margin - np.abs(mean)) / error, freedom))


def correlated_t_posterior(
    *,
    mean: ArrayLike,
    sd: ArrayLike,
    num_seeds: ArrayLike,
    test_train_ratio: ArrayLike,
    rope: float,
) -> tuple[Floats, Floats, Floats]:
    """Probabilities that a difference is below, in or above +-rope, on this one data set.

    NaN below 2 seeds and without any spread. Source: Benavoli et al., "Time for a Change", 2017,
    section 3.1: the posterior of Nadeau and Bengio's t.
    """
    mean, seeds = np.asarray(mean, float), np.asarray(num_seeds, float)
    error = _some(standard_error(sd=sd, num_seeds=seeds, test_train_ratio=test_train_ratio))
    freedom = np.where(seeds >= 2, seeds - 1, np.nan)
    with np.errstate(over="ignore"):  # a rope beyond all differences
        below = stats.t.cdf((-rope - mean) / error, freedom)
        above = stats.t.sf((rope - mean) / error, freedom)
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


def benjamini_hochberg(p_values: ArrayLike) -> Floats:
    """Benjamini and Hochberg's (1995) adjusted p values of one family; NaN entries are no part.

    Of the comparisons below 5% no more than 5% are false, on average: for a look around.

    >>> benjamini_hochberg([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.04, 0.04]
    """
    p = np.asarray(p_values, float)
    adjusted, known = np.full_like(p, np.nan), np.isfinite(p)
    if known.any():
        adjusted[known] = stats.false_discovery_control(p[known])
    return adjusted


def more_seeds_needed(
    *,
    mean: ArrayLike,
    sd: ArrayLike,
    num_seeds: ArrayLike,
    test_train_ratio: ArrayLike,
    family_size: int,
    margin: float = float("nan"),
    tails: int = 2,
    alpha: float = ALPHA,
    cap: int = SEED_CAP,
) -> Floats:
    """How many seeds to add until the observed effect and spread would be significant.

    Or, with a margin, until the effect would be shown to be smaller than it, whichever is sooner.
    Judged at alpha / family_size, Holm's strictest step, so rather too many than too few. It takes
    the observed effect for the true one: an order of magnitude, no promise. NaN where `cap` seeds
    in all would not do; since the correction does not shrink with J, it may be that none would. NaN
    too from fewer than FORECAST_FROM seeds and without any spread, which foretell nothing.
    ``tails`` is 1 where one side of 0 alone is asked about.
    """
    mean, sd, seeds, ratio = (
        np.atleast_1d(np.asarray(a, float)) for a in (mean, sd, num_seeds, test_train_ratio)
    )
    totals = np.arange(2, cap + 1)
    level = alpha / max(family_size, 1)
    differs, same = (stats.t.isf(level / sides, totals - 1) for sides in (tails, 1))
    needed = np.full(mean.shape, np.nan)
    for i, (effect, spread, have, r) in enumerate(zip(abs(mean), sd, seeds, ratio, strict=True)):
        error = np.sqrt(1 / totals + r) * spread
        enough = totals[(effect > differs * error) | (margin - effect > same * error)]
        if (
            enough.size and have >= FORECAST_FROM and spread > 0
        ):  # the bound falls with J, so the first is the answer
            needed[i] = max(enough[0] - have, 0)
    return needed


def verdicts(
    *, gain: ArrayLike, adjusted_p: ArrayLike, adjusted_same: ArrayLike, alpha: float = ALPHA
) -> list[str]:
    """ "better", "worse", "differs", "same" or "undecided", a comparison each.

    Args:
        gain: mean difference from the baseline, positive where the method is better; 0 where the
            metric has no direction: such a difference is neither better nor worse.
        adjusted_p: Holm's p of "there is no difference"; NaN is undecided.
        adjusted_same: Holm's p of "the difference matters"; NaN is undecided. What is shown to
            differ is said to, however little.

    >>> gain, p = [0.1, -0.1, 0.0, 0.1, 0.1], [0.01, 0.01, 0.01, 0.3, 0.3]
    >>> verdicts(gain=gain, adjusted_p=p, adjusted_same=[0.3, 0.01, 0.3, 0.01, 0.3])
    ['better', 'worse', 'differs', 'same', 'undecided']
    """
    gain, significant = np.asarray(gain, float), np.asarray(adjusted_p, float) <= alpha
    decided = np.select([gain > 0, gain < 0], ["better", "worse"], "differs")
    same = np.where(np.asarray(adjusted_same, float) <= alpha, "same", "undecided")
    return [str(word) for word in np.where(significant, decided, same)]


def wilcoxon_p(differences: ArrayLike) -> float:
    """Two-sided p of Wilcoxon's signed-rank test; data sets without a difference split evenly.

    >>> round(wilcoxon_p([1, 2, 3, 4, 5, 6]), 5)  # the smallest six data sets can give: 2 / 2^6
    0.03125
    """
    values = np.asarray(differences, float)
    if values.size < 2 or not np.isfinite(values).all():
        return float("nan")
    if not values.any():
        return 1.0
    return float(stats.wilcoxon(values, zero_method="zsplit").pvalue)


def equivalence_wilcoxon_p(differences: ArrayLike, *, margin: float) -> float:
    """p of "the difference is typically `margin` or more, up or down": two one-sided signed ranks.

    >>> equivalence_wilcoxon_p([0.1, -0.2, 0.3, 0.2, -0.1], margin=1)  # the smallest: 1 / 2^5
    0.03125
    """
    values = np.asarray(differences, float)
    if values.size < 2 or not np.isfinite([*values, margin]).all():
        return float("nan")
    above, below = values + margin, values - margin
    if not (above.any() and below.any()):
        return 1.0
    tests = (above, "greater"), (below, "less")
    return max(
        float(stats.wilcoxon(moved, zero_method="zsplit", alternative=side).pvalue)
        for moved, side in tests
    )


@dataclass(frozen=True)
class Shift:
    """A typical difference and its interval; low and high are NaN where n is too small for one."""

    median: float
    low: float
    high: float


def hodges_lehmann(differences: ArrayLike, *, confidence: float = 0.95) -> Shift:
    """The median of all pairwise means, with the interval that inverts the signed-rank test.

    Source: Hollander, Wolfe and Chicken, "Nonparametric Statistical Methods", 2014, section 3.2.
    """
    values = np.asarray(differences, float)
    first, second = np.triu_indices(values.size)
    walsh = np.sort((values[first] + values[second]) / 2)
    tail = _rank_sum_tail(values.size, confidence)
    if tail == 0:
        return Shift(float(np.median(walsh)), float("nan"), float("nan"))
    return Shift(float(np.median(walsh)), float(walsh[tail - 1]), float(walsh[-tail]))


@lru_cache
def _rank_sum_tail(size: int, confidence: float) -> int:
    """How many of the smallest rank sums of `size` differences lie outside the interval."""
    # The null distribution of the rank sum: each rank 1..n is in or out.
    chances = np.ones(1)
    for rank in range(1, size + 1):
        chances = np.convolve(chances, np.r_[0.5, np.zeros(rank - 1), 0.5])
    return int(np.searchsorted(np.cumsum(chances), (1 - confidence) / 2 * (1 + 1e-9), "right"))


@dataclass(frozen=True)
class More:
    """What would decide a comparison over data sets: more of them, or more splits of each."""

    datasets: int | None = None
    splits: int | None = None


def more_needed(
    *,
    values: ArrayLike,
    split_variance: float,
    num_splits: float,
    z_now: float,
    z_needed: float,
    smallest: int,
) -> More:
    """What to add, data sets or splits of each, until a test's z would reach `z_needed`.

    The variance of the data sets' differences has two parts: the noise of their splits, which falls
    with the number of splits, and what is left, which the number of data sets alone can beat.
    Splits, which are there for the asking, where they would do by themselves; else data sets. It
    takes the differences seen as typical: an order of magnitude, no promise. Neither past SPLIT_CAP
    and DATASET_CAP, and from fewer than FORECAST_FROM data sets, which foretell nothing.

    Args:
        values: the differences, one a data set.
        split_variance: of the mean over one data set's splits, s^2 / J, on average; NaN unknown.
        num_splits: J, of each data set.
        smallest: fewer data sets than this cannot decide, whatever they say.

    >>> one = {"values": [0, 2, 1, 3, -1, 1], "z_now": 1.0, "z_needed": 1.3, "smallest": 6}
    >>> more_needed(**one, split_variance=1.9, num_splits=3)
    More(datasets=None, splits=3)
    >>> more_needed(**one, split_variance=0.1, num_splits=3)
    More(datasets=5, splits=None)
    """
    values = np.asarray(values, float)
    if values.size < FORECAST_FROM or not z_now > 0:
        return More()
    factor = (z_needed / z_now) ** 2  # by which the variance of the estimate has to fall
    spread = float(values.var(ddof=1))
    rest, aim = max(spread - split_variance, 0.0), spread / factor
    if values.size >= smallest and aim > rest:
        total = np.ceil(num_splits * split_variance / (aim - rest))
        if total <= SPLIT_CAP:  # not where the noise is not known
            return More(splits=int(max(total - num_splits, 1)))
    total = max(smallest, np.ceil(values.size * factor))
    return More(datasets=int(max(total - values.size, 1))) if total <= DATASET_CAP else More()


def more_needed_of_ranks(
    *,
    values: ArrayLike,
    split_variance: float,
    num_splits: float,
    p_value: float,
    p_matters: float,
    family_size: int,
    alpha: float = ALPHA,
) -> More:
    """`more_needed` of signed-rank tests: until either p falls below alpha / family_size.

    ``p_value`` is two-sided, of "no difference"; ``p_matters`` of "the margin or more", NaN
    without one.
    """
    level = alpha / max(family_size, 1)
    # Below, not even agreement of all would do: 2 / 2^n, and 1 / 2^n one-sided.
    goals = [(p_value / 2, level / 2, int(np.ceil(1 - np.log2(level))))]
    goals += [(p_matters, level, int(np.ceil(-np.log2(level))))]
    # Of p values of a half and above no number of data sets like these would make less.
    near = [(stats.norm.isf(p), stats.norm.isf(at), least) for p, at, least in goals if p < 0.499]
    if not near:
        return More()
    z_now, z_needed, smallest = min(near, key=lambda goal: goal[1] / goal[0])
    return more_needed(
        values=values,
        split_variance=split_variance,
        num_splits=num_splits,
        z_now=float(z_now),
        z_needed=float(z_needed),
        smallest=smallest,
    )


def signed_rank_posterior(
    differences: ArrayLike, *, rope: float, num_samples: int = NUM_SAMPLES
) -> Floats:
    """Posterior shares in which below, in or above +-rope is the likeliest place of a difference.

    Of the mean of two data sets' differences, which is what signed ranks are about; not of a new
    data set's: a small lead that all share puts nearly all of the posterior on one side.
    Benavoli's Bayesian signed-rank test: a Dirichlet process with half an observation at 0.
    """
    values = np.r_[0.0, np.asarray(differences, float)]
    if values.size < 3:
        return np.full(3, np.nan)
    weights = _dirichlet_weights(values.size, num_samples)
    sums = values[:, None] + values
    outside = (sums < -2 * rope).astype(float), (sums > 2 * rope).astype(float)
    # One product of matrices each: einsum of all three factors is fifty times slower here.
    shares = [np.einsum("si,si->s", weights @ one, weights) for one in outside]
    thetas = np.stack([shares[0], 1 - shares[0] - shares[1], shares[1]])
    best = np.isclose(thetas, thetas.max(axis=0), atol=1e-12)
    return np.asarray((best / best.sum(axis=0)).mean(axis=1))


@lru_cache(maxsize=1)
def _dirichlet_weights(size: int, num_samples: int) -> Floats:
    rng = np.random.default_rng(0)  # fixed: the same runs give the same report
    return rng.dirichlet(np.r_[0.5, np.ones(size - 1)], size=num_samples)


def interquartile_mean(scores: list[Floats], *, num_samples: int = 2000) -> Shift:
    """Mean of the middle half of all scores, with a 95% stratified bootstrap interval.

    Args:
        scores: one array of run scores a data set; runs are resampled within their data set, so
            the interval speaks of these data sets alone. Its ends are NaN where resampling changes
            nothing, as with one run a data set.
    """
    rng = np.random.default_rng(0)
    drawn = [rng.choice(s, size=(num_samples, s.size)) for s in scores if s.size]
    if not drawn:
        return Shift(*[float("nan")] * 3)
    means = stats.trim_mean(np.concatenate(drawn, axis=1), 0.25, axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    ends = (float(low), float(high)) if low < high else (float("nan"),) * 2
    return Shift(float(stats.trim_mean(np.concatenate(scores), 0.25)), *ends)


def expected_best(scores: ArrayLike) -> Floats:
    """Expected best of n = 1 .. N trials drawn without replacement from N; higher is better.

    The k-th smallest is the best of n with probability C(k-1, n-1) / C(N, n).

    >>> expected_best([1.0, 2.0, 6.0]).round(6).tolist()
    [3.0, 4.666667, 6.0]
    """
    ordered = np.sort(np.asarray(scores, float))
    k = np.arange(1, ordered.size + 1)
    n = k[:, None]

    def log_choose(a: NDArray[np.int64], b: NDArray[np.int64]) -> Floats:
        outside = (b < 0) | (b > a)
        inside = gammaln(a + 1) - gammaln(np.where(outside, 0, b) + 1)
        return np.where(outside, -np.inf, inside - gammaln(np.where(outside, 0, a - b) + 1))

    chances = np.exp(log_choose(k - 1 + 0 * n, n - 1 + 0 * k) - log_choose(ordered.size + 0 * n, n))
    return np.asarray(chances @ ordered)


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
