"""The order in which training visits its rows, and which of them meet in a batch."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Literal, NamedTuple

import numpy as np
from annotated_types import Gt, Lt
from numpy.typing import NDArray

from harness.data.splits import Rows
from harness.data.streams import Purpose, generator
from harness.errors import UserError
from harness.exact import exact


class Batches(NamedTuple):
    """A run's batches, and the class counts whose ratio is the prior that they train under.

    rows: int32 (steps, batch).  num_negatives, num_positives: the rows' own counts where batches
    visit all rows equally often; elsewhere about as many, in the ratio of the batches.
    """

    rows: Rows
    num_negatives: float
    num_positives: float


@dataclass(frozen=True)
class Shuffled:
    """Batches of shuffled rows: the share of positives varies from batch to batch."""

    name: Literal["shuffled"] = "shuffled"

    def batches(
        self,
        *,
        rows: Rows,
        labels: NDArray[np.int8],
        batch_size: int,
        num_steps: int,
        seed: int,
    ) -> Batches:
        """rows: int32 (m,).  labels: int8 (m,) of these rows."""
        num_negatives, num_positives = np.bincount(labels, minlength=2).tolist()
        visits = batch_rows(rows=rows, batch_size=batch_size, num_steps=num_steps, seed=seed)
        return Batches(visits, num_negatives, num_positives)


@dataclass(frozen=True)
class Stratified:
    """Batches that each hold the rows' own share of positives, and at least one row a class.

    The share is met to the nearest row below or above, and exactly on average; where a class has
    less than a row a batch, it gets one, and the prior moves to that.
    """

    name: Literal["stratified"] = "stratified"

    def batches(
        self,
        *,
        rows: Rows,
        labels: NDArray[np.int8],
        batch_size: int,
        num_steps: int,
        seed: int,
    ) -> Batches:
        """rows: int32 (m,).  labels: int8 (m,) of these rows.

        Raises UserError for rows of one class, or batches of one row.
        """
        share = Fraction(int(labels.sum(dtype=np.int64)), max(1, len(labels)))
        return _by_class(rows, labels, share, batch_size, num_steps, seed)


@dataclass(frozen=True)
class Balanced:
    """Batches that each hold `positive_share` positives, whatever share the rows have.

    Each class is visited in shuffled passes of its own, so that of the rarer class every row
    comes as often as any other. At least one row of each class is in every batch.
    """

    name: Literal["balanced"] = "balanced"
    positive_share: Annotated[float, Gt(0), Lt(1)] = 0.5

    def batches(
        self,
        *,
        rows: Rows,
        labels: NDArray[np.int8],
        batch_size: int,
        num_steps: int,
        seed: int,
    ) -> Batches:
        """rows: int32 (m,).  labels: int8 (m,) of these rows.

        Raises UserError for rows of one class, or batches of one row.
        """
        # As it was written: 0.3 is three in ten, and not the binary fraction next to it.
        share = exact(self.positive_share).limit_denominator(10_000)
        return _by_class(rows, labels, share, batch_size, num_steps, seed)


BATCHINGS = (Shuffled, Stratified, Balanced)


def batch_rows(*, rows: Rows, batch_size: int, num_steps: int, seed: int) -> Rows:
    """A stream of independent shuffles of `rows`, chopped into batches: int32 (steps, batch).

    Every row is visited once a pass. Passes follow each other without a gap, so a batch may
    span two, and no row waits for a short last batch. One seed and one set of rows give one
    order, whatever the loss; more steps continue the same order.

    rows: int32 (m,), m >= 1.  Raises UserError for no rows, batch_size < 1 or num_steps < 1.

    >>> batch_rows(rows=np.arange(3, dtype=np.int32), batch_size=2, num_steps=3, seed=0).shape
    (3, 2)
    """
    if len(rows) == 0 or batch_size < 1 or num_steps < 1:
        raise UserError(
            f"batches need at least one row, one step and a batch of one, got {len(rows)} rows, "
            f"num_steps {num_steps}, batch_size {batch_size}"
        )
    rng = generator(seed, Purpose.BATCHES)
    return _passes(rows, batch_size * num_steps, rng).reshape(num_steps, batch_size)


def _passes(rows: Rows, num_visits: int, rng: np.random.Generator) -> Rows:
    """The first `num_visits` (>= 1) of an endless stream of shuffles of `rows`."""
    num_rows = len(rows)
    num_passes = -(-num_visits // num_rows)
    # Sorting (random 32 bits, row number) shuffles every pass at once, and faster than
    # `permuted`. Equal bits leave two rows in order: of 10^6 rows, about a hundred pairs.
    keys = rng.integers(0, 2**32, size=(num_passes, num_rows), dtype=np.uint32).astype(np.uint64)
    keys = keys << np.uint64(32) | np.arange(num_rows, dtype=np.uint64)
    keys.sort(axis=1)
    order = (keys & np.uint64(2**32 - 1)).astype(np.int64).reshape(-1)[:num_visits]
    return rows[order]


def _by_class(
    rows: Rows,
    labels: NDArray[np.int8],
    share: Fraction,
    batch_size: int,
    num_steps: int,
    seed: int,
) -> Batches:
    positives, negatives = rows[labels == 1], rows[labels == 0]
    if batch_size < 2 or len(positives) == 0 or len(negatives) == 0:
        raise UserError(
            f"batching: a batch of {batch_size} of {len(positives)} positives and "
            f"{len(negatives)} negatives cannot hold both classes: raise training.batch_size to 2 "
            "or more, or use batching=shuffled"
        )
    kept = min(max(share, Fraction(1, batch_size)), Fraction(batch_size - 1, batch_size))
    # Rounding what was due so far, and not each batch, meets the share in the long run.
    steps = range(num_steps + 1)
    due = np.array([step * batch_size * kept.numerator // kept.denominator for step in steps])
    is_positive = np.arange(batch_size) < np.diff(due)[:, None]
    visits = np.empty((num_steps, batch_size), dtype=rows.dtype)
    for label, members in ((1, positives), (0, negatives)):
        here = is_positive == bool(label)
        rng = generator(seed, Purpose.BATCHES, label)
        visits[here] = _passes(members, int(here.sum()), rng)
    own = Fraction(len(positives), len(rows))
    if kept == own:
        return Batches(visits, len(negatives), len(positives))
    times = max(1, round(len(rows) / kept.denominator))
    rest = kept.denominator - kept.numerator
    return Batches(visits, times * rest, times * kept.numerator)
