"""What may mislead a comparison: repeated rows, contradictions, columns that tell the label."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from harness.data.check import blocks
from harness.data.splits import stratified_split
from harness.errors import UserError

# Rows a column's AUROC is taken from, evenly spaced: ranking five million takes seconds a column.
MAX_RANKED = 500_000
_PRIME = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Repeats:
    """Rows whose features repeat those of another, compared as float32.

    duplicates: beyond the first of each.  contradictory: rows that share their features with a
    row of the other label.  leaked: test rows whose features also stand in training, under the
    default split of seed 0; None where the set is too small for it.
    """

    duplicates: int
    contradictory: int
    leaked: int | None
    num_test: int


def repeats(features: NDArray[np.float32], labels: NDArray[np.int8]) -> Repeats:
    """Counts the repeated rows of ``features`` (n, d), NaN being equal to NaN."""
    ids = row_ids(features)
    sizes = np.bincount(ids)
    positives = np.bincount(ids, weights=labels).astype(np.int64)
    mixed = (positives > 0) & (positives < sizes)
    leaked, num_test = None, 0
    try:
        split = stratified_split(labels=labels, validation=0.2, test=0.2, seed=0)
    except UserError:
        pass
    else:
        trained = np.zeros(len(sizes), bool)
        trained[ids[split.train]] = True
        leaked, num_test = int(trained[ids[split.test]].sum()), len(split.test)
    return Repeats(len(ids) - len(sizes), int(sizes[mixed].sum()), leaked, num_test)


def row_ids(features: NDArray[np.float32]) -> NDArray[np.int64]:
    """(n,) codes 0 .. k-1 in no particular order, equal where rows are equal.

    Rows are sorted by a 64-bit hash, and neighbours of equal hash compared value by value: a set
    of five million rows is sorted in a second, where sorting the rows themselves takes a minute.

    >>> ids = row_ids(np.array([[2, 1], [0, np.nan], [2, 1], [-0.0, np.nan]], np.float32))
    >>> (ids[:, None] == ids).astype(int).tolist()
    [[1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1]]
    """
    hashes = np.concatenate([_hashes(block) for _, block in blocks(features)])
    order = np.argsort(hashes, kind="stable")
    new = np.ones(len(order), bool)
    same = np.flatnonzero(hashes[order[1:]] == hashes[order[:-1]]) + 1
    for _, piece in blocks(same):
        one, other = features[order[piece]], features[order[piece - 1]]
        new[piece] = ~((one == other) | (np.isnan(one) & np.isnan(other))).all(axis=1)
    ids = np.empty(len(order), np.int64)
    ids[order] = np.cumsum(new) - 1
    return ids


def _hashes(block: NDArray[np.float32]) -> NDArray[np.uint64]:
    # One spelling for each value: 0 for -0, one NaN of the many.
    bits = np.where(np.isnan(block), np.float32(np.nan), block + np.float32(0)).view(np.uint32)
    hashes = np.zeros(len(block), np.uint64)
    for column in bits.T:
        hashes = (hashes ^ column) * _PRIME
        hashes ^= hashes >> np.uint64(29)
    return hashes


def number_auroc(values: NDArray[np.float32], labels: NDArray[np.int8]) -> float:
    """How well one column of numbers alone tells the classes, in [0.5, 1] whichever way round.

    The larger of two: that of the values where there are any, and that of whether there is one.
    0.5 where nothing can be said. From at most `MAX_RANKED` rows.

    >>> number_auroc(np.array([3, 2, 1, 1], np.float32), np.array([0, 0, 1, 1], np.int8))
    1.0
    """
    step = -(-len(labels) // MAX_RANKED)
    values, labels = values[::step], labels[::step]
    missing = np.isnan(values)
    return max(_auroc(values[~missing], labels[~missing]), _auroc(missing, labels))


def level_auroc(codes: NDArray, labels: NDArray[np.int8]) -> float:
    """The same of a category: of the score that gives each level its share of positives.

    The share is taken from the same rows, so that a category of few rows a level looks better
    than it is.
    """
    sizes = np.bincount(codes)
    positives = np.bincount(codes, weights=labels, minlength=len(sizes))
    shares = positives / np.maximum(sizes, 1)
    return _auroc(shares[codes], labels)


def _auroc(scores: NDArray, labels: NDArray[np.int8]) -> float:
    positives = int(labels.sum(dtype=np.int64))
    negatives = len(labels) - positives
    if not positives or not negatives:
        return 0.5
    ranks = rankdata(scores)[labels == 1].sum()
    auroc = (ranks - positives * (positives + 1) / 2) / (positives * negatives)
    return float(max(auroc, 1 - auroc))
