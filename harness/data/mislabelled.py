"""Published data with labels flipped: `dataset.kind=mislabelled`, over a data set from a wheel."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Lt

from harness.data.dataset import Dataset
from harness.data.streams import Purpose, generator
from harness.data.wheel import Wheel

Flip = Annotated[float, Ge(0), Lt(1)]


@dataclass(frozen=True, kw_only=True)
class Mislabelled(Wheel):
    """A wheel's data set where a positive label is flipped with probability `flip_positives` and a
    negative one with `flip_negatives`, in every part: label noise as in practice.

    `flip_seed` draws the flips, the same rows first at any rate. Its own labels count as the true
    ones.
    """

    kind: Literal["mislabelled"] = "mislabelled"  # type: ignore[assignment]
    flip_positives: Flip = 0.0
    flip_negatives: Flip = 0.0
    flip_seed: Annotated[int, Ge(0)] = 0

    def load(self) -> Dataset:
        """The data set, cached for the process. Raises UserError as a wheel's does."""
        return _flipped(self)


@lru_cache(maxsize=256)
def _flipped(config: Mislabelled) -> Dataset:
    dataset = Wheel.load(config)
    draws = generator(config.flip_seed, Purpose.MISLABELLING).random(len(dataset.labels))
    is_positive = dataset.labels == 1
    flips = draws < np.where(is_positive, config.flip_positives, config.flip_negatives)
    return replace(dataset, labels=(is_positive ^ flips).astype(np.int8))
