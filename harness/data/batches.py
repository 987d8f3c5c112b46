"""The order in which training visits its rows."""

import numpy as np

from harness.data.splits import Rows
from harness.data.streams import Purpose, generator
from harness.errors import UserError


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
    num_rows, num_visits = len(rows), batch_size * num_steps
    num_passes = -(-num_visits // num_rows)
    rng = generator(seed, Purpose.BATCHES)
    # Sorting (random 32 bits, row number) shuffles every pass at once, and faster than
    # `permuted`. Equal bits leave two rows in order: of 10^6 rows, about a hundred pairs.
    keys = rng.integers(0, 2**32, size=(num_passes, num_rows), dtype=np.uint32).astype(np.uint64)
    keys = keys << np.uint64(32) | np.arange(num_rows, dtype=np.uint64)
    keys.sort(axis=1)
    order = (keys & np.uint64(2**32 - 1)).astype(np.int64).reshape(-1)[:num_visits]
    return rows[order].reshape(num_steps, batch_size)
