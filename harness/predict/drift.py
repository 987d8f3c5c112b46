"""How far new rows are from those a model was trained on.

The population stability index of a column is the symmetrised Kullback-Leibler divergence of its
shares over bins, sum (q - p) ln(q / p): tenths of the training rows for numbers, levels for
categories, and missing values as a bin of their own. By custom a column below .1 is stable and one
above .25 has moved (Siddiqi, Credit Risk Scorecards, 2006). Where rows are few chance alone gives
more than that: without a shift, PSI is about (1/n + 1/m) times a chi-squared variable of B - 1
degrees of freedom (Yurdakul and Naranjo, Statistical properties of the population stability index,
2020), so that a column counts as moved only beyond what one in a thousand stable ones would show.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from harness.data.columns import Column

MOVED, LARGE = 0.1, 0.25
_CHANCE = 1e-3
_TENTHS = np.linspace(0.1, 0.9, 9)


@dataclass(frozen=True)
class Spread:
    """How rows spread over the bins of a column.

    Attributes:
      edges: of numbers, in the feature's own unit, ascending: between bins. An array is its mean.
      counts: rows by bin. Of numbers the last is of missing values; of categories and codes the
        first is.
    """

    edges: tuple[float, ...]
    counts: tuple[Annotated[int, Ge(0), Le(2**53)], ...]

    def fits(self, column: Column) -> bool:
        """Whether it is of such a column: that of a file may be anything."""
        rising = all(low < high for low, high in pairwise(self.edges))
        if column.kind in ("category", "code"):
            return not self.edges and len(self.counts) == _num_levels(column)
        return rising and len(self.counts) == len(self.edges) + 2


def spread_of(features: NDArray[np.float32], column: Column) -> Spread:
    """Of training rows: (n, features of the column), before anything is imputed."""
    if column.kind in ("category", "code"):
        empty = Spread((), (0,) * _num_levels(column))
        return Spread((), tuple(counts(features, column, empty).tolist()))
    values = _one_number(features, column)
    present = values[~np.isnan(values)]
    tenths = np.unique(np.quantile(present, _TENTHS)) if len(present) else np.zeros(0)
    empty = Spread(tuple(tenths.tolist()), (0,) * (len(tenths) + 2))
    return Spread(empty.edges, tuple(counts(features, column, empty).tolist()))


def _one_number(features: NDArray[np.float32], column: Column) -> NDArray[np.float32]:
    """A number a row: of an array, the mean of its values."""
    return features.mean(axis=1) if column.shape else features[:, 0]


def _num_levels(column: Column) -> int:
    return len(column.levels) + 1 if column.kind == "code" else column.num_features + 1


def counts(features: NDArray[np.float32], column: Column, spread: Spread) -> NDArray[np.int64]:
    """Rows in each bin of ``spread``."""
    size = len(spread.counts)
    if column.kind == "code":
        bins = features[:, 0].astype(np.int64)
    elif column.kind == "category":
        # Of a standardised 0 and 1, the 1 alone is above 0.
        bins = np.where((features > 0).any(axis=1), features.argmax(axis=1) + 1, 0)
    else:
        values = _one_number(features, column)
        bins = np.searchsorted(np.array(spread.edges), values, side="right")
        bins = np.where(np.isnan(values), size - 1, bins)
    return np.bincount(bins, minlength=size)


def stability_index(before: Sequence[int], after: NDArray[np.int64]) -> float:
    """PSI of two counts over the same bins; half a row more in each keeps it finite."""
    shares = [
        (np.asarray(rows) + 0.5) / (np.sum(rows) + 0.5 * len(rows)) for rows in (before, after)
    ]
    p, q = shares
    return float(np.sum((q - p) * np.log(q / p)))


def chance_index(before: Sequence[int], after: NDArray[np.int64]) -> float:
    """The PSI that one in a thousand columns without a shift would exceed."""
    from scipy.stats import chi2  # late: it takes half a second

    used = int(np.count_nonzero(np.asarray(before) + after))
    rows = 1 / max(1, np.sum(before)) + 1 / max(1, int(after.sum()))
    return float(chi2.isf(_CHANCE, max(1, used - 1)) * rows)
