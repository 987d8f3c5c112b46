"""Independent random streams from one run seed: one tag a purpose, so none is ever reused."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Any, get_args, get_type_hints

import numpy as np
from annotated_types import Ge, Le

from harness.errors import UserError


@dataclass(frozen=True)
class Replicate:
    """In a config field's annotation: its values repeat a run and ask no other question.

    Runs that differ in such fields alone are what a mean and its interval are over.
    """


Seed = Annotated[int, Ge(0), Le(2**32 - 1), Replicate()]


def replicate_fields(config: type) -> set[str]:
    """The fields of a config dataclass that are annotated as `Replicate`.

    >>> @dataclass
    ... class Draw:
    ...     rows: int
    ...     number: Seed | None = None
    >>> replicate_fields(Draw)
    {'number'}
    """
    hints = get_type_hints(config, include_extras=True)
    return {name for name, hint in hints.items() if _is_replicate(hint)}


def _is_replicate(hint: Any) -> bool:
    is_marked = Replicate() in getattr(hint, "__metadata__", ())
    return is_marked or any(map(_is_replicate, get_args(hint)))


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
