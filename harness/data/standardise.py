"""One affine map a column, in float64, that keeps float32 from losing a year's last digits."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class FeatureSummary:
    """Columns as they were before standardising; float64 (d,) each, in the data's own units.

    Missing values are left out; a column that holds nothing else is 0 throughout.
    """

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    min: NDArray[np.float64]
    max: NDArray[np.float64]


def standardised(raw: NDArray[np.float64]) -> tuple[NDArray[np.float32], FeatureSummary]:
    """Centre and scale every column over the whole set, in float64, then store float32.

    This is no preprocessing step: it is one affine map a column that keeps float32 from losing
    the digits of, say, a year or an amount in cents. The scaling a model sees is fitted again
    on the training part of each run, which undoes whatever this one knew of the test rows.

    raw: (n, d), finite, or NaN where a value is missing, and NaN it stays. Constant columns come
    back as 0. A column at a time, so that only one is ever held twice.
    """
    features = np.empty(raw.shape, np.float32)
    rows = np.empty((raw.shape[1], 4))
    for index in range(raw.shape[1]):
        features[:, index], rows[index] = standardised_column(raw[:, index])
    return features, summary_of(rows)


def summary_of(rows: NDArray[np.float64]) -> FeatureSummary:
    """From (d, 4): mean, std, min, max of each column."""
    return FeatureSummary(*(np.ascontiguousarray(column) for column in rows.T))


def standardised_column(
    raw: NDArray[np.float64],
) -> tuple[NDArray[np.float32], tuple[float, float, float, float]]:
    """One column (n,) for `standardised`, and its mean, std, min and max.

    >>> values, summary = standardised_column(np.array([1.0, np.nan, 3.0]))
    >>> values.tolist(), summary
    ([-1.0, nan, 1.0], (2.0, 1.0, 1.0, 3.0))
    """
    missing = np.isnan(raw)
    present = raw[~missing] if missing.any() else raw
    if not len(present):
        return np.full(len(raw), np.nan, np.float32), (0.0, 0.0, 0.0, 0.0)
    low, high = float(present.min()), float(present.max())
    # Through [-1, 1] first: neither the sum nor the squares can overflow, however large the data.
    centre, half = low / 2 + high / 2, high / 2 - low / 2
    if half == 0:
        values = np.zeros(len(raw), np.float32)
        values[missing] = np.nan
        return values, (centre, 0.0, low, high)
    bounded = present - centre
    bounded /= half
    mean, std = float(bounded.mean()), float(bounded.std())
    bounded -= mean
    bounded /= std
    # Adding 0 turns -0 into 0: equal rows must have equal bytes, for `fingerprint` and duplicates.
    bounded += 0.0
    values = np.full(len(raw), np.nan, np.float32)
    values[~missing] = bounded
    return values, (centre + half * mean, half * std, low, high)
