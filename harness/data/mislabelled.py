"""Published data with labels flipped: `dataset.kind=mislabelled`, over a data set from a wheel."""

from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np

from harness.data.dataset import Dataset
from harness.data.streams import Purpose, Seed, generator
from harness.data.synthetic import Flip
from harness.data.wheel import Wheel


@dataclass(frozen=True, kw_only=True)
class Mislabelled(Wheel):
    """A wheel's data set where a positive label is flipped with probability `flip_positives` and a
    negative one with `flip_negatives` (None: the same), in every part: label noise as in practice.

    `flip_seed` draws the flips, the same rows first at any rate. Its own labels count as the true
    ones.
    """

    kind: Literal["mislabelled"] = "mislabelled"  # type: ignore[assignment]
    flip_positives: Flip = 0.0
    flip_negatives: Flip | None = None
    flip_seed: Seed = 0

    @property
    def base(self) -> Wheel:
        """The data set as it is published, which all flips of it share."""
        return Wheel(**{f.name: getattr(self, f.name) for f in fields(Wheel) if f.name != "kind"})

    def load(self) -> Dataset:
        """Reads it and flips. Raises UserError as a wheel's does."""
        return self.load_over(self.base.load())

    def load_over(self, base: Dataset) -> Dataset:
        """``base`` with labels flipped; its other arrays are shared."""
        draws = generator(self.flip_seed, Purpose.MISLABELLING).random(base.num_rows)
        is_positive = base.labels == 1
        of_negatives = self.flip_positives if self.flip_negatives is None else self.flip_negatives
        flips = draws < np.where(is_positive, self.flip_positives, of_negatives)
        return replace(base, labels=(is_positive ^ flips).astype(np.int8))
