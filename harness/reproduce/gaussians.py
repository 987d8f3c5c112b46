"""Closed forms of two Gaussians of unit covariance, a distance d apart, at prevalence pi.

The posterior's log-odds are normal given the class: mean logit(pi) +- d^2 / 2, variance d^2.
"""

from collections.abc import Callable

import numpy as np
from scipy import integrate, optimize
from scipy.special import expit, logit
from scipy.stats import norm


def _mean(score: Callable, d: float, pi: float) -> float:
    """The expectation of ``score(log-odds, label)`` over two Gaussians."""

    def of(label: int) -> float:
        centre = logit(pi) + (label - 0.5) * d * d
        return integrate.quad(
            lambda u: norm.pdf(u) * score(centre + d * u, label), -12, 12, limit=400, epsabs=1e-13
        )[0]

    return pi * of(1) + (1 - pi) * of(0)


def _rates(d: float, pi: float, threshold: float) -> tuple[float, float]:
    """Recall and false positive rate at a probability."""
    z = (logit(threshold) - logit(pi)) / d
    return float(norm.sf(z - d / 2)), float(norm.sf(z + d / 2))


def _f1(d: float, pi: float, threshold: float) -> float:
    recall, alarms = _rates(d, pi, threshold)
    return 2 * pi * recall / (pi * recall + (1 - pi) * alarms + pi)


def _best_f1(d: float, pi: float, _: float) -> float:
    """The best F1, at the probability that is half of it (Lipton et al. 2014).

    Flagging every row scores 2 pi / (1 + pi), so that half is from pi / (1 + pi) to 1/2.
    """
    within = (float(np.log(pi)), 0.0)
    found = optimize.minimize_scalar(lambda z: -_f1(d, pi, expit(z)), bounds=within)
    return float(-found.fun)


def _reported(d: float, pi: float, within: float) -> float:
    """Log loss of the posterior kept in [within, 1 - within]."""

    def of(label: int) -> float:
        centre = logit(pi) + (label - 0.5) * d * d
        low, high = ((end - centre) / d for end in (logit(within), logit(1 - within)))
        right, wrong = -np.log1p(-within), -np.log(within)
        below, above = (wrong, right) if label else (right, wrong)
        between = integrate.quad(
            lambda u: norm.pdf(u) * np.logaddexp(0, (1 - 2 * label) * (centre + d * u)), low, high
        )[0]
        return float(norm.cdf(low) * below + between + norm.sf(high) * above)

    return pi * of(1) + (1 - pi) * of(0)


def _cost(d: float, pi: float, at: float) -> float:
    """Cost of the threshold ``at``, where it is optimal: a miss costs (1 - at) / at."""
    recall, alarms = _rates(d, pi, at)
    return (1 - pi) * alarms + pi * (1 - recall) * (1 - at) / at


SCORES: dict[str, Callable[[float, float, float], float]] = {
    "log_loss": lambda d, pi, _: _mean(lambda z, y: np.logaddexp(0, z) - y * z, d, pi),
    "brier": lambda d, pi, _: _mean(lambda z, y: (expit(z) - y) ** 2, d, pi),
    "auroc": lambda d, pi, _: float(norm.cdf(d / np.sqrt(2))),
    "f1": _f1,
    "best_f1": _best_f1,
    "recall": lambda d, pi, at: _rates(d, pi, at)[0],
    "false_positive_rate": lambda d, pi, at: _rates(d, pi, at)[1],
    "cost": _cost,
    "reported_log_loss": _reported,
}
"""By name: functions of d, pi and a threshold, a probability, which some ignore."""
