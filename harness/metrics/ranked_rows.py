"""The rows of a batch of runs, ranked once: what every metric, cut and calibrator is made from.

Every score here is a function of the distinct logits of a run and of how many positives and
negatives sit at each (`Ranking`): one sort serves all of them and the choice of a threshold, and
neither the order of rows nor the order within ties can matter.

A run's numbers have the same bits whatever runs and padding stand beside it. Hence two rules:
counts are summed as integers, and floats by `Ranking.total`. `ndarray.sum` will not do: it adds
pairwise, in an order that depends on the width of the padded array.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Ranking:
    """The rows of each run sorted by logit, highest first, with padding last.

    Rows with equal logits are a group, which a threshold can only take whole; its counts stand at
    its last row (`is_end`). All arrays are (runs, width), but the last three, which are (runs,);
    `logits` and `is_end` are (1, width) where runs share them, as resamples of one run do.

    Attributes:
        logits: descending; 0 on padding, and throughout a run that is not `usable`.
        is_end: True on the last row of each group of equal logits.
        true_positives, false_positives: among this row and those above. Only meaningful at ends.
        group_positives, group_negatives: the rows of each label in the group; 0 but at ends.
        num_positives, num_negatives: the valid rows of each label.
        usable: the run has a valid row, and its valid logits are finite.
    """

    logits: Array
    is_end: NDArray[np.bool_]
    true_positives: Counts
    false_positives: Counts
    group_positives: Counts
    group_negatives: Counts
    num_positives: Counts
    num_negatives: Counts
    usable: NDArray[np.bool_]

    @property
    def num_runs(self) -> int:
        return len(self.usable)

    @property
    def shares_logits(self) -> bool:
        return len(self.logits) < self.num_runs

    @property
    def num_rows(self) -> Counts:
        return self.num_positives + self.num_negatives

    def ends(self, run: int) -> NDArray[np.int64]:
        """(groups,) columns of a run's groups."""
        return np.flatnonzero(self.is_end[0 if self.shares_logits else run])

    def total(self, terms: Array) -> Array:
        """(runs,) sums of (runs, width) terms, each over the run's own rows and nothing beside."""
        num_runs, width = terms.shape
        if num_runs == 0:
            return np.zeros(0)
        first = width * np.arange(num_runs)
        stretches = np.stack([first, first + np.minimum(self.num_rows, width)], axis=1).ravel()
        # A stretch ends where the next begins; the last may end with the array, which has no index.
        within = stretches[:-1] if stretches[-1] == terms.size else stretches
        return np.add.reduceat(np.ascontiguousarray(terms).ravel(), within)[::2]

    def weighed(self, of_positives: Array, of_negatives: Array) -> Array:
        """(runs,) sums over rows of what each label's count at a group: (runs, width) both."""
        return self.total(self.group_positives * of_positives + self.group_negatives * of_negatives)

    def bins(self, num_bins: int) -> "Bins":
        """Rows by rank from the highest logit, in bins of as many rows as can be: group g lies in
        bin floor(num_bins x r / n), with r the mean of its rows' ranks 1/2, 3/2, ..."""
        sizes = self.group_positives + self.group_negatives
        doubled_ranks = 2 * (self.true_positives + self.false_positives) - sizes
        bins = doubled_ranks * num_bins // (2 * np.maximum(self.num_rows, 1)[:, None])
        bins = np.minimum(bins, num_bins - 1)  # only reached off the ends, where sizes are 0
        bins += num_bins * np.arange(self.num_runs)[:, None]

        def sums(values: NDArray) -> Array:
            # In the order of rows.
            found = np.bincount(
                bins.ravel(), weights=values.ravel(), minlength=self.num_runs * num_bins
            )
            return found.reshape(self.num_runs, num_bins).astype(np.float64)

        return Bins(sums(sizes), sums(self.group_positives), sums)

    def mapped(self, logits: Array) -> "Ranking":
        """The same rows under non-decreasing maps of their logits, without sorting again.

        Args:
            logits: (runs, width), the image of `self.logits`. Groups that a map makes equal become
                one; a rounding error that would swap two rows is undone. A run whose image is not
                finite is no longer `usable`.
        """
        is_padding = np.arange(logits.shape[1]) >= self.num_rows[:, None]
        scores = np.minimum.accumulate(logits, axis=1)
        usable = self.usable & np.isfinite(scores).all(axis=1)
        is_end = np.ones_like(is_padding)
        np.not_equal(scores[:, 1:], scores[:, :-1], out=is_end[:, :-1])
        is_end[:, :-1] |= is_padding[:, 1:]
        is_end &= ~is_padding
        scores = np.where(is_padding | ~usable[:, None], 0.0, scores)
        if np.array_equal(is_end, self.is_end):
            return replace(self, logits=scores, usable=usable)
        return replace(
            self,
            logits=scores,
            is_end=is_end,
            group_positives=_increments(self.true_positives, is_end),
            group_negatives=_increments(self.false_positives, is_end),
            usable=usable,
        )

    def where_usable(self, values: dict[str, Array]) -> dict[str, Array]:
        """(runs,) values by name; NaN for a run that is not `usable`."""
        return {name: np.where(self.usable, value, np.nan) for name, value in values.items()}

    def of(self, runs: NDArray) -> "Ranking":
        """Some runs of the batch, by position or mask."""
        shared = ("logits", "is_end") if self.shares_logits else ()
        own = {field.name: getattr(self, field.name) for field in fields(Ranking)}
        return Ranking(**{k: v if k in shared else v[runs] for k, v in own.items()})


@dataclass(frozen=True)
class Bins:
    """The rows of each run in bins of neighbouring ranks.

    Attributes:
        rows, positives: (runs, bins), how many lie in each.
        sums: (runs, width) values of groups to their sums, (runs, bins).
    """

    rows: Array
    positives: Array
    sums: Callable[[NDArray], Array]


def rank_rows(*, logits: ArrayLike, labels: ArrayLike, valid: ArrayLike) -> Ranking:
    """Sort every run once, to be shared by all that scores it or chooses from it.

    Args:
        logits: (runs, n), any float type.
        labels: (runs, n), 1 = positive, 0 = negative; anything on padding.
        valid: (runs, n) bool, False on padding, which may stand anywhere.

    Raises:
        ValueError: the shapes differ or are not (runs, n), or a label is neither 0 nor 1.
    """
    scores, positive, is_valid = checked(logits, labels, valid)
    num_runs, width = scores.shape
    usable = is_usable(scores, is_valid)
    descending = np.where(usable[:, None], -scores, 0.0)
    descending[~is_valid] = np.inf
    order = np.argsort(descending, axis=1)  # need not be stable: groups have no inner order
    order += width * np.arange(num_runs)[:, None]
    scores = -descending.ravel()[order]

    num_positives, num_rows = positive.sum(axis=1), is_valid.sum(axis=1)
    is_padding = np.arange(width) >= num_rows[:, None]
    is_end = np.ones_like(is_padding)
    np.not_equal(scores[:, 1:], scores[:, :-1], out=is_end[:, :-1])
    is_end &= ~is_padding
    scores[is_padding] = 0.0

    true_positives = np.cumsum(positive.ravel()[order], axis=1, dtype=np.int64)
    false_positives = np.minimum(np.arange(1, width + 1), num_rows[:, None]) - true_positives
    return Ranking(
        logits=scores,
        is_end=is_end,
        true_positives=true_positives,
        false_positives=false_positives,
        group_positives=_increments(true_positives, is_end),
        group_negatives=_increments(false_positives, is_end),
        num_positives=num_positives,
        num_negatives=num_rows - num_positives,
        usable=usable,
    )


def checked(
    logits: ArrayLike, labels: ArrayLike, valid: ArrayLike
) -> tuple[Array, NDArray[np.bool_], NDArray[np.bool_]]:
    """Logits in float64, positives (False on padding) and the mask, at least one column wide."""
    scores, is_valid = np.asarray(logits, dtype=np.float64), np.asarray(valid, dtype=np.bool_)
    targets = np.asarray(labels)
    if scores.ndim != 2 or not scores.shape == targets.shape == is_valid.shape:
        shapes = f"{scores.shape}, {targets.shape} and {is_valid.shape}"
        raise ValueError(f"logits, labels and valid must all be (runs, n), got {shapes}")
    positive = (targets == 1) & is_valid
    if not (positive | (targets == 0) | ~is_valid).all():
        raise ValueError("labels must be 0 or 1 on valid rows")
    if scores.shape[1] == 0:  # the last column of a running sum must exist
        empty = np.zeros((len(scores), 1), dtype=np.bool_)
        return np.zeros(empty.shape), empty, empty
    return scores, positive, is_valid


def is_usable(scores: Array, is_valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.any(is_valid, axis=1) & np.all(np.isfinite(scores) | ~is_valid, axis=1)


def _increments(cumulative: Counts, is_end: NDArray[np.bool_]) -> Counts:
    """What each group adds to a running count, at the group's end; 0 elsewhere."""
    at_ends = np.where(is_end, cumulative, 0)
    reached = np.maximum.accumulate(at_ends, axis=1)
    at_ends[:, 1:] -= np.where(is_end[:, 1:], reached[:, :-1], 0)
    return at_ends


def ratio(numerator: NDArray, denominator: NDArray) -> Array:
    """0 where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.zeros(len(numerator)), where=denominator != 0)


def as_written(value: float | Fraction) -> Fraction:
    """A number as the decimal that it is written as, which a float is near."""
    return Fraction(str(value))
