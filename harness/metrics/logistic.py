"""Logistic regressions on a handful of columns, one a run, by Newton's method side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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

    @property
    def num_runs(self) -> int:
        return len(self.starts)

    def sums(self, values: Array, column: Array | None = None) -> Array:
        """(runs,) sums of (groups,) values, or of their products with a column."""
        return np.add.reduceat(values if column is None else values * column, self.starts)

    def at_groups(self, values: Array) -> Array:
        """(runs,) values, at the groups of each run."""
        return values[self.run_of]

    def range_of(self, values: Array) -> tuple[Array, Array]:
        """(runs,) least and largest of (groups,) values."""
        least, largest = np.minimum.reduceat, np.maximum.reduceat
        return least(values, self.starts), largest(values, self.starts)

    def derivatives(
        self, features: Sequence[Array], intercept: bool, coefficients: Array
    ) -> tuple[Array, Array]:
        """(runs, k) gradients and (runs, k, k) Hessians."""
        rows = self.positives + self.negatives
        t = np.zeros_like(rows)
        for weights, column in zip(coefficients[:, intercept:].T, features, strict=True):
            t += self.at_groups(weights) * column
        if intercept:
            t += self.at_groups(coefficients[:, 0])
        # In place: with many runs, memory for new arrays costs more than the arithmetic.
        probs = np.negative(t, out=t)
        with np.errstate(over="ignore"):  # then the probability is 0
            np.exp(probs, out=probs)
        probs += 1
        np.divide(1, probs, out=probs)
        residuals = rows * probs
        curvature = np.subtract(1, probs, out=probs)
        curvature *= residuals
        residuals -= self.positives
        # A column of ones stands for itself, without the arithmetic.
        columns: list[Array | None] = [*([None] * intercept), *features]
        size = len(columns)
        gradient = np.empty((self.num_runs, size))
        hessian = np.empty((self.num_runs, size, size))
        for i in range(size):
            gradient[:, i] = self.sums(residuals, columns[i])
            feature = columns[i]
            bent = curvature if feature is None else curvature * feature
            for j in range(i, size):
                hessian[:, i, j] = hessian[:, j, i] = self.sums(bent, columns[j])
        return gradient, hessian

    def excess(self, at: Array) -> tuple[Array, Array]:
        """(runs,): by how many more positives sigmoid(at + logit) promises than there are, and the
        slope of that in ``at``."""
        t = self.at_groups(at) + self.logits
        # Both tails, so that a saturated sum keeps its digits. Beyond 700 they would leave float64.
        odds_against = np.exp(-np.clip(t, -700, 700, out=t), out=t)
        probs = 1 / (1 + odds_against)
        complements = odds_against * probs
        of_negatives, of_positives = self.negatives * probs, self.positives * complements
        excess = self.sums(of_negatives - of_positives)
        return excess, self.sums(of_negatives * complements + of_positives * probs)


@dataclass(frozen=True)
class SharedGroups:
    """Runs that have their logits in common, as resamples of the same rows do.

    What `Groups` has, with (groups,) columns for all runs and (runs, groups) values. Sums are those
    of `einsum`, whose order depends on the number of groups alone.

    Attributes:
        logits: (groups,)
        positives, negatives: (runs, groups), weights in rows of each label; a group may have none.
        rows: of both.
    """

    logits: Array
    positives: Array
    negatives: Array
    rows: Array

    @property
    def num_runs(self) -> int:
        return len(self.positives)

    def sums(self, values: Array, column: Array | None = None) -> Array:
        if column is None:
            return np.einsum("rg->r", values)
        return np.einsum("rg,g->r", values, column)

    def products(self, values: Array, others: Array) -> Array:
        """(runs,) sums of values times others, (runs, groups) or (1, groups)."""
        if len(others) == 1:
            return self.sums(values, others[0])
        return np.einsum("rg,rg->r", values, others)

    def of(self, runs: NDArray[np.bool_]) -> "SharedGroups":
        return SharedGroups(
            self.logits, self.positives[runs], self.negatives[runs], self.rows[runs]
        )

    def range_of(self, values: Array) -> tuple[Array, Array]:
        return np.full(self.num_runs, values.min()), np.full(self.num_runs, values.max())

    def derivatives(
        self, features: Sequence[Array], intercept: bool, coefficients: Array
    ) -> tuple[Array, Array]:
        """(runs, k) gradients and (runs, k, k) Hessians, at (runs, k) or at (1, k): where the runs
        have their coefficients in common, so have they all but sums of their rows."""
        columns = [*([np.ones_like(self.logits)] * intercept), *features]
        probs = np.zeros((len(coefficients), len(self.logits)))
        for weights, column in zip(coefficients[:, intercept:].T, features, strict=True):
            probs -= np.multiply.outer(weights, column)
        if intercept:
            probs -= coefficients[:, :1]
        with np.errstate(over="ignore"):  # then the probability is 0
            np.exp(probs, out=probs)
        probs += 1
        np.divide(1, probs, out=probs)
        size = len(columns)
        gradient = np.empty((self.num_runs, size))
        hessian = np.empty((self.num_runs, size, size))
        if len(probs) == 1:
            expected, curvature = self.rows, self.rows
            of_expected, of_curvature = probs[0], probs[0] * (1 - probs[0])
        else:
            expected = self.rows * probs
            curvature = np.subtract(1, probs, out=probs)
            curvature *= expected
            of_expected = of_curvature = np.ones_like(self.logits)
        for i in range(size):
            gradient[:, i] = self.sums(expected, of_expected * columns[i])
            gradient[:, i] -= self.sums(self.positives, columns[i])
            for j in range(i, size):
                bent = of_curvature * columns[i] * columns[j]
                hessian[:, i, j] = hessian[:, j, i] = self.sums(curvature, bent)
        return gradient, hessian

    def excess(self, at: Array) -> tuple[Array, Array]:
        """As `Groups.excess`; of ``at`` (1,) too, which all runs have in common."""
        t = at[:, None] + self.logits
        odds_against = np.exp(-np.clip(t, -700, 700, out=t), out=t)
        probs = 1 / (1 + odds_against)
        complements = np.multiply(odds_against, probs, out=odds_against)
        excess = self.products(self.negatives, probs) - self.products(self.positives, complements)
        return excess, self.products(self.rows, np.multiply(probs, complements, out=probs))


def groups_of(ranking: Ranking) -> Groups:
    """The groups of a ranking whose runs are all usable and have logits of their own."""
    ends = ranking.is_end
    num_groups = ends.sum(axis=1)
    return Groups(
        logits=ranking.logits[ends],
        positives=ranking.group_positives[ends].astype(np.float64),
        negatives=ranking.group_negatives[ends].astype(np.float64),
        starts=np.concatenate([[0], np.cumsum(num_groups)[:-1]]),
        run_of=np.repeat(np.arange(len(ends)), num_groups),
    )


def shared_groups_of(ranking: Ranking) -> SharedGroups:
    """Those of a ranking whose runs share their logits."""
    return SharedGroups(
        logits=ranking.logits[0],
        positives=np.asarray(ranking.group_positives, dtype=np.float64),
        negatives=np.asarray(ranking.group_negatives, dtype=np.float64),
        rows=np.asarray(ranking.group_positives + ranking.group_negatives, dtype=np.float64),
    )


def fit_logistic(
    groups: Groups | SharedGroups,
    features: Sequence[Array] = (),
    *,
    intercept: bool = True,
    start: Array | None = None,
) -> Array:
    """The maximum-likelihood coefficients of each run, by damped Newton steps.

    Minimises the sum of positives x softplus(-t) + negatives x softplus(t), with
    t = w_0 + sum of w_j features_j. The objective is convex; where it has no minimum
    (separable classes) the coefficients returned are large and finite.

    Args:
        features: (groups,) each, of about unit scale.
        intercept: without it there is no w_0.
        start: the coefficients of a problem close to these, as the original rows' is to that of
            their resamples: it saves steps. By default zeros.

    Returns:
        (runs, intercept + features), the intercept first.
    """
    shape = (groups.num_runs, intercept + len(features))
    accepted, step = np.zeros(shape), np.zeros(shape)
    if start is not None:
        accepted += start
    before = np.full(shape[0], -np.inf)  # slope along the step where it started
    scale, running = np.ones(shape[0]), np.ones(shape[0], dtype=bool)
    gradient, hessian = np.zeros(shape), np.zeros((*shape, shape[1]))
    enough = ridge = 1e-10 * groups.sums(groups.positives + groups.negatives)
    diagonal = range(shape[1])
    for number in range(_MAX_STEPS):
        coefficients = accepted + scale[:, None] * step
        # Of resamples, a few take twice as many steps as the rest.
        if isinstance(groups, SharedGroups) and 2 * running.sum() < groups.num_runs:
            gradient[running], hessian[running] = groups.of(running).derivatives(
                features, intercept, coefficients[running]
            )
        elif number == 0 and start is not None:
            gradient, hessian = groups.derivatives(features, intercept, start[None])
        else:
            gradient, hessian = groups.derivatives(features, intercept, coefficients)
        # A hint of a ridge keeps the Hessians regular, and the steps finite where all is saturated.
        hessian[:, diagonal, diagonal] += ridge[:, None]
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


def fit_intercept(groups: Groups | SharedGroups, start: Array | None = None) -> Array:
    """(runs,) maximum-likelihood w_0 of t = w_0 + logit; every run has both labels.

    Newton's steps within a shrinking bracket, which saturated logits call for: halved instead
    where a step leaves it or is not half the last one.

    Args:
        start: (1,), as in `fit_logistic`; by default the bracket's middle.
    """
    middle = np.log(groups.sums(groups.positives) / groups.sums(groups.negatives))
    lowest, highest = groups.range_of(groups.logits)
    low, high = middle - highest, middle - lowest
    at = (low + high) / 2 if start is None else np.full(len(low), start)
    last, running = high - low, np.ones(len(low), dtype=bool)
    for number in range(_MAX_STEPS):
        excess, slope = groups.excess(start if number == 0 and start is not None else at)
        low, high = np.where(excess < 0, at, low), np.where(excess > 0, at, high)
        with np.errstate(divide="ignore", invalid="ignore"):
            newton = at - excess / slope
            good = (newton >= low) & (newton <= high) & (np.abs(newton - at) <= last / 2)
        following = np.where(excess == 0, at, np.where(good, newton, (low + high) / 2))
        last = np.abs(following - at)
        # A run that has arrived stays, however long others take.
        at = np.where(running, following, at)
        running &= last > 1e-12 * np.maximum(1, np.abs(at))
        if start is not None:  # a step of Newton's leaves the square of its length at most
            running &= ~good | (last > 1e-7)
        if not running.any():
            break
    return at


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
