"""What a sampler sees, and what it gives back."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from harness.data.splits import Rows


@dataclass(frozen=True, eq=False)
class TrainingPart:
    """The training part of one run: no sampler ever sees another row.

    rows: int32 (m,), their numbers in the data set.  labels: int8 (m,).
    features: float32 (m, d), in the data set's units and without missing values.
    center, scale: float32 (d,), the run's own standardisation, fitted on these rows.
    cardinalities: categories of the last columns, which hold codes 0..k-1; () where all columns
      are numeric.
    """

    rows: Rows
    labels: NDArray[np.int8]
    features: NDArray[np.float32]
    center: NDArray[np.float32]
    scale: NDArray[np.float32]
    cardinalities: tuple[int, ...] = ()

    @cached_property
    def standardised(self) -> NDArray[np.float64]:
        """(m, d): numeric columns as the model sees them, codes as they are. Neighbours are sought
        here: in other units the column with the largest numbers would choose them alone."""
        width = self.num_numeric
        features = self.features.astype(np.float64)
        features[:, :width] = (features[:, :width] - self.center[:width]) * self.scale[:width]
        return features

    def in_data_units(self, standardised: NDArray[np.float64]) -> NDArray[np.float32]:
        """The way back from `standardised`."""
        width = self.num_numeric
        features = standardised.astype(np.float64)
        features[:, :width] = features[:, :width] / self.scale[:width] + self.center[:width]
        return features.astype(np.float32)

    def with_distances(self, standardised: NDArray[np.float64]) -> NDArray[np.float64]:
        """Columns in which Euclidean distance makes sense: codes become indicators, scaled so that
        two categories are as far apart as one standard deviation of a numeric column."""
        numeric, codes = np.split(standardised, [self.num_numeric], axis=1)
        indicators = [
            (column[:, None] == np.arange(k)) / np.sqrt(2)
            for column, k in zip(codes.T, self.cardinalities, strict=True)
        ]
        return np.hstack([numeric, *indicators])

    @property
    def num_numeric(self) -> int:
        return self.features.shape[1] - len(self.cardinalities)

    @cached_property
    def counts(self) -> tuple[int, int]:
        """Rows of the rarer and of the commoner class."""
        rarer, commoner = np.sort(np.bincount(self.labels, minlength=2)).tolist()
        return rarer, commoner

    def untouched(self) -> "Resampled":
        return self.chosen(np.arange(len(self.rows)))

    def chosen(self, at: NDArray[np.integer] | Sequence[int]) -> "Resampled":
        """The rows at these places of the part, repeats included, and none made."""
        none = np.empty((0, self.features.shape[1]))
        return self.resampled(at, none, self.labels[:0])

    def resampled(
        self,
        at: NDArray[np.integer] | Sequence[int],
        made: NDArray[np.float64],
        made_labels: NDArray[np.int8],
    ) -> "Resampled":
        """The rows at these places, and made ones, given as `standardised` has them."""
        return Resampled(
            rows=self.rows[at],
            labels=self.labels[at],
            synthetic=self.in_data_units(made),
            synthetic_labels=made_labels.astype(np.int8),
        )


@dataclass(frozen=True, eq=False)
class Resampled:
    """What a run trains on.

    rows: int32 (r,), numbers of data set rows, repeats included.  labels: int8 (r,).
    synthetic: float32 (s, d), made rows in the data set's units.  synthetic_labels: int8 (s,).
    """

    rows: Rows
    labels: NDArray[np.int8]
    synthetic: NDArray[np.float32]
    synthetic_labels: NDArray[np.int8]

    def visited(self) -> tuple[Rows, NDArray[np.int8]]:
        """Row numbers and labels of all of them: made rows are numbered -1, -2, ..."""
        made = -1 - np.arange(len(self.synthetic), dtype=np.int32)
        return np.concatenate([self.rows, made]), np.concatenate(
            [self.labels, self.synthetic_labels]
        )
