"""Statistics over many data sets, and over many trials. One number a data set goes in.

Data sets are the independent units here: what is said generalises to others like them, which
seeds of one data set never do. Undefined results are NaN, never an exception.

Sources: Demsar, "Statistical Comparisons of Classifiers over Multiple Data Sets", 2006; Benavoli
et al., "Time for a Change", 2017; Agarwal et al., "Deep Reinforcement Learning at the Edge of the
Statistical Precipice", 2021; Dodge et al., "Show Your Work", 2019.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.special import gammaln

Floats = NDArray[np.float64]

DATASET_CAP = 1000
NUM_SAMPLES = 10_000  # a probability is then off by 0.005 at most, one standard error


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


def more_datasets_needed(
    *, p_value: float, num_datasets: int, family_size: int, alpha: float = 0.05
) -> int | None:
    """How many data sets to add until the observed p would fall below alpha / family_size.

    It takes the differences seen as typical: the test's z then grows with the root of their
    number. An order of magnitude, no promise. None past DATASET_CAP.
    """
    level = alpha / max(family_size, 1)
    smallest = int(np.ceil(1 - np.log2(level)))  # below, not even agreement of all would do
    z = stats.norm.isf(p_value / 2)
    with np.errstate(divide="ignore"):
        needed = num_datasets * np.square(stats.norm.isf(level / 2) / np.float64(z))
    total = max(smallest, np.ceil(needed)) if np.isfinite(needed) else np.inf
    return int(max(total - num_datasets, 1)) if total <= DATASET_CAP else None


def signed_rank_posterior(
    differences: ArrayLike, *, rope: float, num_samples: int = NUM_SAMPLES
) -> Floats:
    """Probabilities that the difference on a new data set is below, in or above +-rope.

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
            the interval speaks of these data sets alone.
    """
    rng = np.random.default_rng(0)
    drawn = [rng.choice(s, size=(num_samples, s.size)) for s in scores if s.size]
    if not drawn:
        return Shift(*[float("nan")] * 3)
    means = stats.trim_mean(np.concatenate(drawn, axis=1), 0.25, axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Shift(float(stats.trim_mean(np.concatenate(scores), 0.25)), float(low), float(high))


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
