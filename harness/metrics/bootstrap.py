"""Intervals of test metrics: how far they would move with other rows of the same kinds."""

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

from harness.metrics.ranked_rows import Array, Counts, Ranking

# Values held at once, so that memory does not grow with rows times resamples.
_CHUNK = 1_000_000

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
    groups = {version: _Groups.of(scores) for version, scores in logits.items()}
    parts: dict[Name, dict[Statistic, list[Array]]] = {version: {} for version in logits}
    for drawn in _drawn(labels, num_resamples, seed):
        for version, of_version in groups.items():
            for name, values in statistics[version](of_version.ranking(drawn, labels)).items():
                parts[version].setdefault(name, []).append(values)
    return {version: _ends(found, tail) for version, found in parts.items()}


def _ends(parts: Mapping[Statistic, list[Array]], tail: float) -> dict[Statistic, Interval]:
    if np.isnan(tail):
        return dict.fromkeys(parts, (tail, tail))
    values = np.array([np.concatenate(chunks) for chunks in parts.values()])
    with np.errstate(invalid="ignore"):  # infinite slopes have no distance
        low, high = np.quantile(values, [tail, 1 - tail], axis=1)
    return dict(zip(parts, zip(low.tolist(), high.tolist(), strict=True), strict=True))


def _tail(level: float, size: int) -> float:
    """The share of resamples to leave out at each end, of `size` rows; NaN of fewer than 2.

    >>> round(_tail(0.95, 18), 4), round(_tail(0.95, 10_000), 4)
    (0.015, 0.025)
    """
    if size < 2:
        return float("nan")
    # The normal's and t's functions; `scipy.stats`, which has them by name, takes half a second.
    return float(ndtr(np.sqrt(size / (size - 1)) * stdtrit(size - 1, (1 - level) / 2)))


def _drawn(labels: NDArray, num_resamples: int, seed: int) -> Iterator[Counts]:
    """Chunks of (resamples, n): how often each row was drawn; of each label as often as it has
    rows. A stream of random numbers a label, so that how many are held at once changes nothing."""
    streams = [np.random.default_rng([seed, label]) for label in (0, 1)]
    size = max(1, _CHUNK // len(labels))
    for first in range(0, num_resamples, size):
        num = min(size, num_resamples - first)
        counts = np.zeros((num, len(labels)), dtype=np.int64)
        for label, stream in enumerate(streams):
            rows = np.flatnonzero(labels == label)
            at = stream.integers(0, max(1, len(rows)), size=(num, len(rows)))
            at += len(rows) * np.arange(num)[:, None]
            drawn = np.bincount(at.ravel(), minlength=num * len(rows))
            counts[:, rows] = drawn.reshape(num, len(rows))
        yield counts


@dataclass(frozen=True)
class _Groups:
    """Rows by descending logit: their order, where each group of equal logits starts, its logit."""

    order: NDArray[np.int64]
    starts: NDArray[np.int64]
    logits: Array

    @classmethod
    def of(cls, logits: Array) -> "_Groups":
        order = np.argsort(-logits, kind="stable")
        descending = logits[order]
        starts = np.flatnonzero(np.append(True, descending[1:] != descending[:-1]))
        return cls(order, starts, descending[starts])

    def ranking(self, drawn: Counts, labels: NDArray) -> Ranking:
        """One column a group, none of them padding; some groups have no row."""
        sorted_counts, positive = drawn[:, self.order], labels[self.order] == 1
        positives = np.add.reduceat(sorted_counts * positive, self.starts, axis=1)
        negatives = np.add.reduceat(sorted_counts * ~positive, self.starts, axis=1)
        return Ranking(
            logits=self.logits[None],
            is_end=np.ones((1, len(self.logits)), dtype=bool),
            true_positives=np.cumsum(positives, axis=1),
            false_positives=np.cumsum(negatives, axis=1),
            group_positives=positives,
            group_negatives=negatives,
            num_positives=positives.sum(axis=1),
            num_negatives=negatives.sum(axis=1),
            usable=np.ones(len(drawn), dtype=bool),
        )
