"""Independent random streams from one run seed: one tag a purpose, so none is ever reused."""

from enum import IntEnum
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from harness.errors import UserError


class Replicate:
    """Marks a config key whose values repeat a run rather than change what is asked of it."""


Seed = Annotated[int, Ge(0), Le(2**32 - 1), Replicate()]


class Purpose(IntEnum):
    """The second word of `SeedSequence([seed, purpose])`. A number once given is never changed:
    it decides the numbers of every logged run."""

    SPLIT = 1
    IMBALANCE = 2
    SAMPLER = 3
    BATCHES = 4
    SYNTHETIC = 5
    MISLABELLING = 6


def seed_sequence(seed: int, purpose: Purpose, *path: int) -> np.random.SeedSequence:
    """The stream of `seed` for one purpose; `path` numbers its parts (train, validation, ...)."""
    if seed < 0:
        raise UserError(f"seed must be 0 or more, got {seed}: choose another seed")
    return np.random.SeedSequence([seed, int(purpose), *path])


def generator(seed: int, purpose: Purpose, *path: int) -> np.random.Generator:
    """A numpy Generator on that stream."""
    return np.random.default_rng(seed_sequence(seed, purpose, *path))


def legacy_seed(seed: int, purpose: Purpose, *path: int) -> int:
    """A 32-bit integer from that stream, for libraries that take `random_state`."""
    return int(seed_sequence(seed, purpose, *path).generate_state(1)[0])
