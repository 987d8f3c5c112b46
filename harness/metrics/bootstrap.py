"""Intervals of test metrics: how far they would move with other rows of the same kinds."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

from harness.metrics.ranked_rows import Array, Bins, Ranking

# Values of an array at once: so many stay in a core's cache from one step to the next.
_CHUNK = 100_000

Name = TypeVar("Name", bound=Hashable)
Statistic = TypeVar("Statistic", bound=Hashable)
Interval = tuple[float, float]


def intervals(
    *,
    logits: Mapping[Name, Array],
    labels: NDArray,
    statistics: Mapping[Name, Callable[[Ranking], Mapping[Statistic, Array]]],
    num_resamples: int,
    level: float,
    seed: int = 0,
) -> dict[Name, dict[Statistic, Interval]]:
    """Expanded percentile bootstrap intervals of one run's metrics: their low and their high end.

    Positives and negatives are drawn with replacement each among themselves, so that the
    prevalence stands still. Which rows are drawn follows from the seed and the labels alone: runs
    scored on the same rows share their resamples, and stay paired. An interval is that of the
    test part alone; it holds nothing of what another split, seed or training would change.

    Percentiles of resamples are too narrow where rows are few: of 18 positives among 180 rows, 95%
    intervals of AUROC and average precision held the truth .925 and .910 of the time. So they are
    taken further out, as t's are from the normal's with the rows of the rarer class (`_tail`): .945
    and .944. BCa, which costs a score for each row left out, gave .945 and .922.

    Args:
        logits: by version of the scores, (n,) of the valid rows of a part, in the order of the
            data; finite.
        labels: (n,).
        statistics: by version, metrics of a ranking of many "runs", here resamples, each (runs,).
        num_resamples: the more, the less the interval's ends waver: 1000 will do.
        level: how often the truth shall lie between the ends, in (0, 1). Where a metric is not
            defined for all resamples, and with a single row of a class, its interval is NaN.

    References:
        Hesterberg, What teachers should know about the bootstrap (2015), on expanded percentiles.
    """
    tail = _tail(level, min(int((labels == label).sum()) for label in (0, 1)))
    groupings = _groupings(logits)
    parts: dict[Name, list[Mapping[Statistic, Array]]] = {version: [] for version in logits}
    for drawn in _drawn(labels, num_resamples, seed):
        for version, ranking in _rankings(groupings, logits, drawn, labels):
            parts[version].append(statistics[version](ranking))
    return {version: _ends(found, tail) for version, found in parts.items()}


def _ends(parts: Sequence[Mapping[Statistic, Array]], tail: float) -> dict[Statistic, Interval]:
    """Of chunks of resamples, which name the same statistics in the same order."""
    names = parts[0]
    if np.isnan(tail):
        return dict.fromkeys(names, (tail, tail))
    values = np.concatenate([np.array(list(chunk.values())) for chunk in parts], axis=1)
    with np.errstate(invalid="ignore"):  # infinite slopes have no distance
        low, high = np.quantile(values, [tail, 1 - tail], axis=1)
    return dict(zip(names, zip(low.tolist(), high.tolist(), strict=True), strict=True))


def _tail(level: float, size: int) -> float:
    """The share of resamples to leave out at each end, of `size` rows; NaN of fewer than 2.

    >>> round(_tail(0.95, 18), 4), round(_tail(0.95, 10_000), 4)
    (0.015, 0.025)
    """
    if size < 2:
        return float("nan")
    # The normal's and t's functions; `scipy.stats`, which has them by name, takes half a second.
    return float(ndtr(np.sqrt(size / (size - 1)) * stdtrit(size - 1, (1 - level) / 2)))


def _drawn(labels: NDArray, num_resamples: int, seed: int) -> Iterator[Array]:
    """Chunks of (resamples, n): how often each row was drawn; of each label as often as it has
    rows. A stream of random numbers a label, so that how many are held at once changes nothing."""
    streams = [np.random.default_rng([seed, label]) for label in (0, 1)]
    size = max(1, _CHUNK // len(labels))
    for first in range(0, num_resamples, size):
        num = min(size, num_resamples - first)
        counts = np.zeros((num, len(labels)))
        for label, stream in enumerate(streams):
            rows = np.flatnonzero(labels == label)
            at = stream.integers(0, max(1, len(rows)), size=(num, len(rows)))
            at += len(rows) * np.arange(num)[:, None]
            drawn = np.bincount(at.ravel(), minlength=num * len(rows))
            counts[:, rows] = drawn.reshape(num, len(rows))
        yield counts


@dataclass(frozen=True, eq=False)
class _Grouping:
    """An order of rows by descending logit, and where in it each group of equal logits ends."""

    order: NDArray[np.int64]
    ends: NDArray[np.int64]

    @classmethod
    def of(cls, logits: Array, order: NDArray[np.int64]) -> "_Grouping":
        descending = logits[order]
        return cls(order, np.flatnonzero(np.append(descending[1:] != descending[:-1], True)))

    def ranking(self, positives: NDArray, negatives: NDArray) -> "_Resamples":
        """Of running counts along the order, (resamples, n): a column a group, none of them
        padding. Some groups have no row."""
        if len(self.ends) < len(self.order):
            positives, negatives = positives[:, self.ends], negatives[:, self.ends]
        return _Resamples(
            logits=np.zeros((1, len(self.ends))),
            is_end=np.ones((1, len(self.ends)), dtype=bool),
            true_positives=positives,
            false_positives=negatives,
            group_positives=np.diff(positives, axis=1, prepend=0),
            group_negatives=np.diff(negatives, axis=1, prepend=0),
            num_positives=positives[:, -1],
            num_negatives=negatives[:, -1],
            usable=np.ones(len(positives), dtype=bool),
        )


def _groupings(logits: Mapping[Name, Array]) -> dict[Name, _Grouping]:
    """Of each version of the scores. Most are maps of one another that keep the order, and often
    its ties: those share a grouping, or the order at least."""
    groupings: dict[Name, _Grouping] = {}
    for version, scores in logits.items():
        orders = (known.order for known in groupings.values())
        order = next((one for one in orders if (np.diff(scores[one]) <= 0).all()), None)
        if order is None:
            order = np.argsort(-scores, kind="stable")
        found = _Grouping.of(scores, order)
        same = (
            known
            for known in groupings.values()
            if known.order is order and np.array_equal(known.ends, found.ends)
        )
        groupings[version] = next(same, found)
    return groupings


def _rankings(
    groupings: Mapping[Name, _Grouping], logits: Mapping[Name, Array], drawn: Array, labels: NDArray
) -> Iterator[tuple[Name, "_Resamples"]]:
    """The resamples of each version; whatever depends on the grouping alone is done once."""
    running: dict[int, tuple[NDArray, NDArray]] = {}
    ranked: dict[_Grouping, _Resamples] = {}
    for version, grouping in groupings.items():
        if grouping not in ranked:
            order = grouping.order
            if id(order) not in running:
                counts, positive = drawn[:, order], labels[order] == 1
                running[id(order)] = (
                    np.cumsum(counts * positive, axis=1),
                    np.cumsum(counts * ~positive, axis=1),
                )
            ranked[grouping] = grouping.ranking(*running[id(order)])
        scores = logits[version][grouping.order[grouping.ends]]
        yield version, replace(ranked[grouping], logits=scores[None])


@dataclass(frozen=True)
class _Resamples(Ranking):
    """Resamples of one run's rows: counts are float64, which holds them exactly.

    Sums are those of `einsum`, whose order depends on the number of groups alone.

    Attributes:
        binned: by number of bins: kept, as versions of the scores that have a grouping in common
            have their bins in common.
    """

    binned: dict[int, Bins] = field(default_factory=dict)

    def total(self, terms: Array) -> Array:
        return np.einsum("rg->r", terms)

    def weighed(self, of_positives: Array, of_negatives: Array) -> Array:
        return np.einsum("rg,g->r", self.group_positives, of_positives[0]) + np.einsum(
            "rg,g->r", self.group_negatives, of_negatives[0]
        )

    def bins(self, num_bins: int) -> Bins:
        if num_bins not in self.binned:
            self.binned[num_bins] = self._in_bins(num_bins)
        return self.binned[num_bins]

    def _in_bins(self, num_bins: int) -> Bins:
        """Each bin is a stretch of groups: their sums are those of stretches."""
        num_runs, width = self.group_positives.shape
        above = self.true_positives + self.false_positives
        doubled_ranks = 2 * above - (self.group_positives + self.group_negatives)
        # Ranks of later resamples are raised over those before, so that one search finds all.
        num_rows = int(self.num_rows[0])  # each label is drawn as often as it has rows
        raised = (2 * num_rows + 1) * np.arange(num_runs)[:, None]
        least = -(-2 * num_rows * np.arange(num_bins) // num_bins)
        first = np.searchsorted((doubled_ranks + raised).ravel(), (least + raised).ravel())
        # A bin may be empty, which `reduceat` has no name for.
        is_empty = (np.append(first[1:], num_runs * width) == first).reshape(num_runs, num_bins)

        def sums(values: NDArray) -> Array:
            flat = values.ravel()
            if first[-1] == len(flat):  # an empty last bin starts behind the last group
                flat = np.append(flat, 0.0)
            found = np.add.reduceat(flat, first).reshape(num_runs, num_bins)
            return np.where(is_empty, 0.0, found)

        sizes = self.group_positives + self.group_negatives
        return Bins(sums(sizes), sums(self.group_positives), sums)
