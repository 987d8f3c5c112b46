"""What a training part says of its features: what to impute, where to centre, how to scale."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.data.dataset import Dataset

Impute = Literal["median", "mean"]
# Values fitted at once, float64 temporaries and all: a few times 16 MB.
_BLOCK = 2**21


@dataclass(frozen=True, eq=False)
class Scaling:
    """A run's affine map ``(x - center) * scale``, and ``fill`` for NaN; float32 (d,) each."""

    fill: NDArray[np.float32]
    center: NDArray[np.float32]
    scale: NDArray[np.float32]

    def impute(self, values: NDArray[np.float32]) -> None:
        """Writes `fill` over NaN in ``values`` (m, d)."""
        np.copyto(values, self.fill, where=np.isnan(values))


def fitted_scaling(dataset: Dataset, *, rows: NDArray[np.int32], impute: Impute) -> Scaling:
    """Fitted on ``rows``, the training part, alone.

    ``center`` and ``scale`` are the mean and the inverse standard deviation after imputing; scale
    is 1 where a feature does not vary. A feature without one value in ``rows`` is filled with 0,
    which its missing values then all are. Integer codes of categories are left as they are.
    """
    num_numeric = dataset.num_features - len(dataset.cardinalities)
    fill, center = np.zeros((2, dataset.num_features), np.float32)
    scale = np.ones(dataset.num_features, np.float32)
    step = max(1, _BLOCK // len(rows))
    for start in range(0, num_numeric, step):
        columns = slice(start, min(start + step, num_numeric))
        values = dataset.features[:, columns][rows]
        if dataset.has_missing:
            fill[columns] = _filled(values, impute)
        mean = values.mean(axis=0, dtype=np.float64)
        deviation = values.std(axis=0, dtype=np.float64)
        center[columns] = mean
        scale[columns] = np.divide(1.0, deviation, out=np.ones_like(mean), where=deviation > 0)
    return Scaling(fill=fill, center=center, scale=scale)


def _filled(values: NDArray[np.float32], impute: Impute) -> NDArray[np.float32]:
    """Imputes ``values`` (m, w) in place; what was filled in, 0 where nothing was missing."""
    fill = np.zeros(values.shape[1], np.float32)
    missing = np.isnan(values)
    statistic = np.median if impute == "median" else np.mean
    for column in np.flatnonzero(missing.any(axis=0)):
        gone = missing[:, column]
        if not gone.all():
            fill[column] = statistic(values[~gone, column].astype(np.float64))
        values[gone, column] = fill[column]
    return fill
