"""Logistic regressions on a handful of columns, one a run, by Newton's method side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from harness.metrics.ranked_rows import Array, Ranking

_MAX_STEPS = 100
_TOO_STEEP = 0.25  # a step is halved where the slope at its end is this share of that at its start


@dataclass(frozen=True)
class Groups:
    """The groups of equal logits of several runs in one row, run after run.

    No padding, so that sums depend on the run alone: `reduceat` adds a stretch as if it stood by
    itself.

    Attributes:
        logits, positives, negatives: (groups,): the logit and its weight in rows of each label.
        starts: (runs,), where each run begins; each has at least one group.
        run_of: (groups,), the run a group belongs to.
    """

    logits: Array
    positives: Array
    negatives: Array
    starts: NDArray[np.int64]
    run_of: NDArray[np.int64]

    def sums(self, values: Array) -> Array:
        """(runs,) sums of (groups,) values."""
        return np.add.reduceat(values, self.starts)


def groups_of(ranking: Ranking) -> Groups:
    """The groups of a ranking whose runs are all usable."""
    ends = ranking.is_end
    num_groups = ends.sum(axis=1)
    return Groups(
        logits=ranking.logits[ends],
        positives=ranking.group_positives[ends].astype(np.float64),
        negatives=ranking.group_negatives[ends].astype(np.float64),
        starts=np.concatenate([[0], np.cumsum(num_groups)[:-1]]),
        run_of=np.repeat(np.arange(len(ends)), num_groups),
    )


def fit_logistic(
    groups: Groups,
    features: Sequence[Array] = (),
    *,
    intercept: bool = True,
) -> Array:
    """The maximum-likelihood coefficients of each run, by damped Newton steps.

    Minimises the sum of positives x softplus(-t) + negatives x softplus(t), with
    t = w_0 + sum of w_j features_j. The objective is convex; where it has no minimum
    (separable classes) the coefficients returned are large and finite.

    Args:
        features: (groups,) each, of about unit scale.
        intercept: without it there is no w_0.

    Returns:
        (runs, intercept + features), the intercept first.
    """
    shape = (len(groups.starts), intercept + len(features))
    accepted, step = np.zeros(shape), np.zeros(shape)
    before = np.full(shape[0], -np.inf)  # slope along the step where it started
    scale, running = np.ones(shape[0]), np.ones(shape[0], dtype=bool)
    rows = groups.positives + groups.negatives
    enough = 1e-10 * groups.sums(rows)
    for _ in range(_MAX_STEPS):
        coefficients = accepted + scale[:, None] * step
        gradient, hessian = _derivatives(groups, features, intercept, rows, coefficients)
        too_far = running & ((gradient * step).sum(axis=1) > -_TOO_STEEP * before)
        moved = running & ~too_far
        scale = np.where(too_far, scale / 2, 1.0)
        accepted = np.where(moved[:, None], coefficients, accepted)
        newton = -np.linalg.solve(hessian, gradient[:, :, None])[:, :, 0]
        step = np.where(moved[:, None], newton, step)
        before = np.where(moved, (gradient * newton).sum(axis=1), before)
        # The last step is taken too: convergence is quadratic by then.
        finished = moved & (-before <= enough)
        accepted = np.where(finished[:, None], accepted + step, accepted)
        step = np.where(finished[:, None], 0.0, step)
        running = running & ~finished
        if not running.any():
            break
    return accepted


def fit_intercept(groups: Groups, offset: Array) -> Array:
    """(runs,) maximum-likelihood w_0 of t = w_0 + offset; every run has both labels.

    Newton's steps within a shrinking bracket, which saturated offsets call for: halved instead
    where a step leaves it or is not half the last one.
    """
    middle = np.log(groups.sums(groups.positives) / groups.sums(groups.negatives))
    low = middle - np.maximum.reduceat(offset, groups.starts)
    high = middle - np.minimum.reduceat(offset, groups.starts)
    at, last, running = (low + high) / 2, high - low, np.ones(len(low), dtype=bool)
    for _ in range(_MAX_STEPS):
        t = at[groups.run_of] + offset
        probs, complements = expit(t), expit(-t)  # both, so that a saturated sum keeps its digits
        of_negatives, of_positives = groups.negatives * probs, groups.positives * complements
        excess = groups.sums(of_negatives - of_positives)
        low, high = np.where(excess < 0, at, low), np.where(excess > 0, at, high)
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = groups.sums(of_negatives * complements + of_positives * probs)
            newton = at - excess / slope
            good = (newton >= low) & (newton <= high) & (np.abs(newton - at) <= last / 2)
        following = np.where(excess == 0, at, np.where(good, newton, (low + high) / 2))
        last = np.abs(following - at)
        # A run that has arrived stays, however long others take.
        at = np.where(running, following, at)
        running &= last > 1e-12 * np.maximum(1, np.abs(at))
        if not running.any():
            break
    return at


def _derivatives(
    groups: Groups,
    features: Sequence[Array],
    intercept: bool,
    rows: Array,
    coefficients: Array,
) -> tuple[Array, Array]:
    """(runs, k) gradients and (runs, k, k) Hessians.

    A hint of a ridge keeps the Hessians regular, and the steps finite where all is saturated.
    """
    t = np.zeros_like(rows)
    for weights, column in zip(coefficients[:, intercept:].T, features, strict=True):
        t = t + weights[groups.run_of] * column
    if intercept:
        t = t + coefficients[groups.run_of, 0]
    with np.errstate(over="ignore"):  # then the probability is 0
        probs = 1 / (1 + np.exp(-t))
    predicted = rows * probs
    residuals, curvature = predicted - groups.positives, predicted * (1 - probs)
    # A column of ones stands for itself, without the arithmetic.
    columns: list[Array | None] = [*([None] * intercept), *features]
    size = len(columns)
    gradient = np.empty((len(groups.starts), size))
    hessian = np.empty((len(groups.starts), size, size))
    for i in range(size):
        gradient[:, i] = groups.sums(_times(residuals, columns[i]))
        bent = _times(curvature, columns[i])
        for j in range(i, size):
            hessian[:, i, j] = hessian[:, j, i] = groups.sums(_times(bent, columns[j]))
    diagonal = range(size)
    hessian[:, diagonal, diagonal] += 1e-10 * groups.sums(rows)[:, None]
    return gradient, hessian


def _times(values: Array, column: Array | None) -> Array:
    return values if column is None else values * column


def standardised(values: Array, groups: Groups) -> tuple[Array, Array, Array]:
    """(groups,) values less their run's mean in units of its spread; that mean and spread, (runs,).

    Over groups, not rows: it only serves to make a regression well conditioned.
    """
    counts = groups.sums(np.ones_like(values))
    mean = groups.sums(values) / counts
    centred = values - mean[groups.run_of]
    spread = np.sqrt(groups.sums(centred**2) / counts)
    spread = np.where(spread > 0, spread, 1.0)
    return centred / spread[groups.run_of], mean, spread
