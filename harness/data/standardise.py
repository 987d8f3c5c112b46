"""One affine map a column, in float64, that keeps float32 from losing a year's last digits."""

import math
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
    # Of the values as `Affine` takes them, between -1 and 1.
    bounded_mean: NDArray[np.float64]
    bounded_std: NDArray[np.float64]


@dataclass(frozen=True)
class Affine:
    """One column's map: through [-1, 1], where neither a sum nor a square can overflow, to the mean
    0 and the variance 1 that `mean` and `std`, of the values on [-1, 1], give it."""

    low: float
    high: float
    mean: float
    std: float

    @property
    def centre(self) -> float:
        return self.low / 2 + self.high / 2

    @property
    def half(self) -> float:
        return self.high / 2 - self.low / 2

    def bounded(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        """``raw`` (n,) between -1 and 1, where it is between `low` and `high`."""
        values = raw - self.centre
        values /= self.half
        return values

    def standardised(self, bounded: NDArray[np.float64]) -> NDArray[np.float32]:
        """What `bounded` gave, which is overwritten, as a feature."""
        bounded -= self.mean
        bounded /= self.std
        # Adding 0 turns -0 into 0: equal rows must have equal bytes, for fingerprints, duplicates.
        bounded += 0.0
        return bounded.astype(np.float32)

    def __call__(self, raw: NDArray[np.float64]) -> NDArray[np.float32]:
        """The feature of values (n,): to the bit what they are where they were standardised.

        NaN stays NaN. A column that did not vary is 0 whatever it holds.
        """
        if self.half == 0:
            return np.where(np.isnan(raw), np.nan, 0.0).astype(np.float32)
        return self.standardised(self.bounded(raw))

    @property
    def is_sound(self) -> bool:
        """Whether its numbers can be divided by: those of a file may be anything."""
        numbers = (self.low, self.high, self.mean, self.std)
        ordered = all(map(math.isfinite, numbers)) and self.low <= self.high
        return ordered and (self.half == 0 or self.std > 0)


def standardised(raw: NDArray[np.float64]) -> tuple[NDArray[np.float32], FeatureSummary]:
    """Centre and scale every column over the whole set, in float64, then store float32.

    This is no preprocessing step: it is one affine map a column that keeps float32 from losing
    the digits of, say, a year or an amount in cents. The scaling a model sees is fitted again
    on the training part of each run, which undoes whatever this one knew of the test rows.

    raw: (n, d), finite, or NaN where a value is missing, and NaN it stays. Constant columns come
    back as 0. A column at a time, so that only one is ever held twice.
    """
    features = np.empty(raw.shape, np.float32)
    rows = np.empty((raw.shape[1], 6))
    for index in range(raw.shape[1]):
        features[:, index], rows[index] = standardised_column(raw[:, index])
    return features, summary_of(rows)


def summary_of(rows: NDArray[np.float64]) -> FeatureSummary:
    """From (d, 6): each column's mean, std, min and max, then its mean and std when bounded."""
    return FeatureSummary(*(np.ascontiguousarray(column) for column in rows.T))


def standardised_column(
    raw: NDArray[np.float64],
) -> tuple[NDArray[np.float32], tuple[float, float, float, float, float, float]]:
    """One column (n,) for `standardised`, and its row for `summary_of`.

    >>> values, summary = standardised_column(np.array([1.0, np.nan, 3.0]))
    >>> values.tolist(), summary
    ([-1.0, nan, 1.0], (2.0, 1.0, 1.0, 3.0, 0.0, 1.0))
    """
    missing = np.isnan(raw)
    present = raw[~missing] if missing.any() else raw
    if not len(present):
        return np.full(len(raw), np.nan, np.float32), (0.0,) * 6
    range_alone = Affine(float(present.min()), float(present.max()), 0.0, 0.0)
    low, high = range_alone.low, range_alone.high
    centre, half = range_alone.centre, range_alone.half
    if half == 0:
        return range_alone(raw), (centre, 0.0, low, high, 0.0, 0.0)
    bounded = range_alone.bounded(present)
    mean, std = float(bounded.mean()), float(bounded.std())
    values = np.full(len(raw), np.nan, np.float32)
    values[~missing] = Affine(low, high, mean, std).standardised(bounded)
    return values, (centre + half * mean, half * std, low, high, mean, std)
