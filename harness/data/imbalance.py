"""Inducing a positive rate by dropping rows, never by duplicating."""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Gt, Lt
from numpy.typing import NDArray

from harness.data.splits import Rows, Split
from harness.data.streams import Purpose, generator
from harness.errors import UserError
from harness.exact import exact

Where = Literal["train", "all"]
PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Imbalance:
    """`positive_rate` None keeps the natural rate. `where`: training alone (prior shift between
    training and test) or every part."""

    positive_rate: Annotated[float, Gt(0), Lt(1)] | None = None
    where: Where = "train"


def induce_positive_rate(
    *,
    split: Split,
    labels: NDArray[np.int8],
    positive_rate: float | None,
    where: Where,
    seed: int,
) -> Split:
    """Drop positives (or negatives, where the rate must rise) until `positive_rate` is reached.

    labels: int8 (n,) of all rows.  positive_rate: in (0, 1), reached to the nearest row; None
    returns `split`. For one seed the parts are nested: a lower rate keeps a subset of the
    positives a higher one keeps (and a higher rate a subset of the negatives), so that
    comparisons between rates are paired.

    Raises UserError where a part would lose all its positives or all its negatives.

    >>> labels = np.array([0] * 90 + [1] * 30, "i1")
    >>> rows = np.arange(120, dtype=np.int32)
    >>> kept = induce_positive_rate(split=Split(rows, rows, rows), labels=labels,
    ...                             positive_rate=0.1, where="train", seed=0)
    >>> len(kept.train), int(labels[kept.train].sum()), len(kept.test)
    (100, 10, 120)
    """
    if positive_rate is None:
        return split
    if not 0 < positive_rate < 1:
        raise UserError(f"imbalance.positive_rate must be in (0, 1), got {positive_rate}")
    if where not in ("train", "all"):
        raise UserError(f"imbalance.where must be 'train' or 'all', got {where!r}")
    parts = {}
    for tag, part in enumerate(PARTS):
        rows: Rows = getattr(split, part)
        if part == "train" or where == "all":
            rng = generator(seed, Purpose.IMBALANCE, tag)
            rows = _thinned(rows, labels[rows] == 1, positive_rate, rng, part)
        parts[part] = rows
    return Split(**parts)


def _thinned(
    rows: Rows, is_positive: NDArray[np.bool_], rate: float, rng: np.random.Generator, part: str
) -> Rows:
    num_positives = int(is_positive.sum())
    num_negatives = len(rows) - num_positives
    wanted = exact(rate)
    lower = num_positives > wanted * len(rows)
    if lower:
        dropped_class, kept = is_positive, round(wanted * num_negatives / (1 - wanted))
    else:
        dropped_class, kept = ~is_positive, round(num_positives * (1 - wanted) / wanted)
    if kept == 0 or num_positives == 0 or num_negatives == 0:
        raise UserError(
            f"imbalance.positive_rate {rate}: the {part} part ({num_positives} positives, "
            f"{num_negatives} negatives) would keep no {'positive' if lower else 'negative'}: "
            f"{'raise' if lower else 'lower'} the rate or use more data"
        )
    # The order is drawn before the rate is looked at, and a prefix of it is kept: hence nested.
    order = rng.permutation(np.flatnonzero(dropped_class))
    keep = np.ones(len(rows), dtype=bool)
    keep[order[kept:]] = False
    return rows[keep]
