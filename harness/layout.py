"""Which features of a row are one array, such as an image or a text; the others are its table.

A data set is one matrix of float32 whatever its rows are, so that splits, samplers, scaling,
padding and lanes need not know. A network of one's own has its rows unfolded to the arrays that it
asks for (`harness.models.own`). See docs/decisions/045.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Any, Self

TABLE = "table"
"""What the features are called together that are of no array."""

MOST_IDS = 2**24
"""Ids from 0 on that float32 holds exactly."""


@dataclass(frozen=True)
class Part:
    """Consecutive features of a row that are one array, its last axis the fastest.

    Attributes:
      shape: of a row's, such as (height, width, channels) or (length,).
      start: its first feature.
      vocabulary: of token ids, how many there are; None of other values.
    """

    name: str
    shape: tuple[int, ...]
    start: int
    vocabulary: int | None = None


class Layout(tuple[int, ...]):
    """The cardinalities of a data set's last columns, and the ``parts`` of its rows.

    Where a data set has arrays, it stands for the plain tuple on the whole way from the data set to
    the network. Token ids are codes, as those of categories are, and not standardised either.

    >>> one = Layout((9, 9), [Part("image", (2, 2, 1), 0), Part("text", (2,), 4, vocabulary=9)])
    >>> len(one), one == (9, 9), [part.name for part in one.parts]
    (2, False, ['image', 'text'])
    """

    parts: tuple[Part, ...]

    def __new__(cls, cardinalities: Iterable[int], parts: Iterable[Part]) -> Self:
        made = super().__new__(cls, cardinalities)
        made.parts = tuple(parts)
        return made

    def __getnewargs__(self) -> tuple[Any, ...]:
        return tuple(self), self.parts

    def __eq__(self, other: object) -> bool:
        same = isinstance(other, Layout) and self.parts == other.parts
        return same and tuple.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((tuple(self), self.parts))

    def __repr__(self) -> str:
        return f"Layout({tuple(self)}, {self.parts})"


def places_of(part: Part) -> range:
    """Its features, by their numbers."""
    return range(part.start, part.start + prod(part.shape))


def parts_of(cardinalities: tuple[int, ...]) -> tuple[Part, ...]:
    """The arrays of a data set's rows: none where it has plain cardinalities."""
    return cardinalities.parts if isinstance(cardinalities, Layout) else ()


def laid_out(cardinalities: tuple[int, ...], parts: Iterable[Part]) -> tuple[int, ...]:
    """``cardinalities``, as a `Layout` where there are ``parts``."""
    found = tuple(parts)
    return Layout(cardinalities, found) if found else cardinalities


def shaped(shape: Iterable[int]) -> str:
    """
    >>> shaped((8, 8, 1)), shaped((12,))
    ('8 x 8 x 1', '12')
    """
    return " x ".join(map(str, shape))
