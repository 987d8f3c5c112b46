"""Published data with labels flipped: `dataset.kind=mislabelled`, over a data set from a wheel."""

from dataclasses import dataclass, fields, replace
from functools import lru_cache
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

    def load(self) -> Dataset:
        """The data set, cached for the process. Raises UserError as a wheel's does."""
        return _flipped(self)


@lru_cache(maxsize=256)
def _flipped(config: Mislabelled) -> Dataset:
    as_published = {f.name: getattr(config, f.name) for f in fields(Wheel) if f.name != "kind"}
    dataset = Wheel(**as_published).load()  # read once, however many flips there are
    draws = generator(config.flip_seed, Purpose.MISLABELLING).random(len(dataset.labels))
    is_positive = dataset.labels == 1
    of_negatives = config.flip_positives if config.flip_negatives is None else config.flip_negatives
    flips = draws < np.where(is_positive, config.flip_positives, of_negatives)
    return replace(dataset, labels=(is_positive ^ flips).astype(np.int8))
