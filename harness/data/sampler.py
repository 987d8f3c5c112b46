"""Resampling the training rows by imbalanced-learn, as row numbers."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Gt, Le
from numpy.typing import NDArray

from harness.data.splits import Rows
from harness.data.streams import Purpose, legacy_seed
from harness.errors import UserError

Ratio = Annotated[float, Gt(0), Le(1)]  # of rarer to commoner rows, after resampling


@dataclass(frozen=True)
class NoSampler:
    """The training rows as they are."""

    name: Literal["none"] = "none"

    def resample(self, *, rows: Rows, labels: NDArray[np.int8], seed: int) -> Rows:
        """`rows`, untouched."""
        return rows


@dataclass(frozen=True)
class RandomOversampler:
    """Draws rows of the rarer class again, with replacement, up to `ratio` times the others."""

    name: Literal["random_over"] = "random_over"
    ratio: Ratio = 1.0

    def resample(self, *, rows: Rows, labels: NDArray[np.int8], seed: int) -> Rows:
        """rows: int32 (m,), the training part alone.  labels: int8 (n,) of all rows.

        Raises UserError where `ratio` is below what the rows already have.
        """
        from imblearn.over_sampling import RandomOverSampler  # a second to import

        return _resampled(RandomOverSampler, self.name, self.ratio, rows, labels, seed)


@dataclass(frozen=True)
class RandomUndersampler:
    """Drops rows of the commoner class until the rarer are `ratio` times as many."""

    name: Literal["random_under"] = "random_under"
    ratio: Ratio = 1.0

    def resample(self, *, rows: Rows, labels: NDArray[np.int8], seed: int) -> Rows:
        """rows: int32 (m,), the training part alone.  labels: int8 (n,) of all rows.

        Raises UserError where `ratio` is below what the rows already have.
        """
        from imblearn.under_sampling import RandomUnderSampler

        return _resampled(RandomUnderSampler, self.name, self.ratio, rows, labels, seed)


SAMPLERS = (NoSampler, RandomOversampler, RandomUndersampler)


def _resampled(
    method: Any, name: str, ratio: float, rows: Rows, labels: NDArray[np.int8], seed: int
) -> Rows:
    targets = labels[rows]
    rarer, commoner = np.sort(np.bincount(targets, minlength=2)).tolist()
    if rarer == 0:
        raise UserError(f"sampler {name}: the training part holds one class: nothing to balance")
    if rarer > ratio * commoner:
        raise UserError(
            f"sampler.ratio {ratio} is below the training part's {rarer / commoner:.4g} "
            f"({rarer} to {commoner} rows): raise it to at most 1, or use sampler=none"
        )
    sampler = method(sampling_strategy=ratio, random_state=legacy_seed(seed, Purpose.SAMPLER))
    sampler.fit_resample(rows.reshape(-1, 1), targets)
    return rows[sampler.sample_indices_]
