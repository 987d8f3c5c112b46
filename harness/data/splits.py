"""Stratified train / validation / test parts as row numbers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.data.streams import Purpose, legacy_seed
from harness.errors import UserError
from harness.exact import exact

Rows = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Split:
    """Disjoint row numbers, int32 and ascending: the order rows are visited in is `batch_rows`'."""

    train: Rows
    validation: Rows
    test: Rows


def stratified_split(
    *, labels: NDArray[np.int8], validation: float, test: float, seed: int
) -> Split:
    """Cut the rows in three, each with the whole's share of positives.

    labels: int8 (n,) in {0, 1}.  validation, test: a fraction of all rows in (0, 1), rounded, or
    a count of rows >= 1; training keeps the rest. The test part is cut first, so that its rows
    do not depend on the size of validation. Positives are within one row of their exact share
    in test, and within two in the other parts (each cut rounds once).

    Raises UserError where a size is out of range or a part would lack a class.

    >>> split = stratified_split(labels=np.array([0] * 8 + [1] * 4, "i1"), validation=0.25,
    ...                          test=3, seed=0)
    >>> len(split.train), len(split.validation), len(split.test)
    (6, 3, 3)
    """
    num_rows = len(labels)
    num_test = part_size("test", test, num_rows)
    num_validation = part_size("validation", validation, num_rows)
    if num_test + num_validation >= num_rows:
        raise UserError(
            f"split: validation {num_validation} and test {num_test} leave no training row of "
            f"{num_rows}: lower split.validation or split.test"
        )
    rows = np.arange(num_rows, dtype=np.int32)
    rest, test_rows = split_off(rows, labels, num_test, seed, "test")
    train_rows, validation_rows = split_off(rest, labels, num_validation, seed, "validation")
    check_part("training", train_rows, labels)
    return Split(train_rows, validation_rows, test_rows)


def part_size(part: str, size: float, num_rows: int) -> int:
    """Rows of a held-out part: a fraction in (0, 1) of `num_rows`, rounded, or a count >= 1.

    Raises UserError, naming `split.<part>`, for any other size.

    >>> part_size("test", 0.2, 569), part_size("test", 100, 569)
    (114, 100)
    """
    if 0 < size < 1:
        return round(exact(size) * num_rows)
    if size >= 1 and float(size).is_integer():
        return int(size)
    raise UserError(
        f"split.{part} must be a fraction in (0, 1) or a whole number of rows, got {size}"
    )


def split_off(
    rows: Rows, labels: NDArray[np.int8], size: int, seed: int, part: str, *path: int
) -> tuple[Rows, Rows]:
    """(rest, part): `size` rows taken from `rows`, stratified; `path` tells streams apart.

    Raises UserError where a class would be missing on either side.
    """
    if not 2 <= size <= len(rows) - 2 or np.bincount(labels[rows], minlength=2).min() < 2:
        _raise_lacking(part, size, rows, labels)
    tag = ("test", "validation").index(part)
    is_taken = _stratified(labels[rows], size, legacy_seed(seed, Purpose.SPLIT, tag, *path))
    rest, taken = rows[~is_taken], rows[is_taken]
    check_part(part, taken, labels)
    return np.sort(rest), np.sort(taken)


def _stratified(labels: NDArray[np.int8], size: int, seed: int) -> NDArray[np.bool_]:
    """Which rows scikit-learn's `StratifiedShuffleSplit` of this seed holds out, ``size`` of them.

    Without it: its import takes most of a second, and a million rows become a list in it.
    """
    rng = np.random.RandomState(seed)
    counts = np.bincount(labels, minlength=2)
    kept = _shares(counts, len(labels) - size, rng)
    _shares(counts - kept, size, rng)  # all that are left; but it may draw
    is_taken = np.ones(len(labels), dtype=bool)
    for label, number in enumerate(kept):
        order = rng.permutation(counts[label])
        is_taken[np.flatnonzero(labels == label)[order[:number]]] = False
    return is_taken


def _shares(counts: NDArray[np.int64], size: int, rng: np.random.RandomState) -> NDArray[np.int64]:
    """How many of each class make ``size`` rows: its share, rounded down, and one more where the
    rest is largest; ties are drawn."""
    exactly = counts / counts.sum() * size
    shares = np.floor(exactly)
    lacking, rests = int(size - shares.sum()), exactly - shares
    for rest in np.unique(rests)[::-1]:
        if lacking == 0:
            break
        (classes,) = np.where(rests == rest)
        drawn = rng.choice(classes, size=min(len(classes), lacking), replace=False)
        shares[drawn] += 1
        lacking -= len(drawn)
    return shares.astype(np.int64)


def check_part(part: str, rows: Rows, labels: NDArray[np.int8]) -> None:
    """Raise UserError where `rows` hold no positive or no negative."""
    positives = int(labels[rows].sum(dtype=np.int64))
    if positives in (0, len(rows)):
        kind = "positive" if positives == 0 else "negative"
        total = int(labels.sum(dtype=np.int64))
        raise UserError(
            f"split: the {part} part ({len(rows)} rows) would hold no {kind}; the data has "
            f"{total} positives and {len(labels) - total} negatives: enlarge the part "
            "(split.validation, split.test) or add rows of the rarer class"
        )


def _raise_lacking(part: str, size: int, rows: Rows, labels: NDArray[np.int8]) -> None:
    positives = int(labels[rows].sum(dtype=np.int64))
    raise UserError(
        f"split: a {part} part of {size} rows cannot hold both classes and leave both behind: "
        f"{positives} positives and {len(rows) - positives} negatives are left to cut from; "
        f"change split.{part} or add rows of the rarer class"
    )
