"""Text as categories: which levels there are, and their codes or one-hot columns.

Levels are the names that occur anywhere in the table, test rows included: a name says nothing of
a label. What is fitted to numbers (scaling, imputation) sees training rows alone.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

MISSING_LEVEL = "(missing)"
OTHER_LEVEL = "(other)"


@dataclass(frozen=True, eq=False)
class Levels:
    """codes: uint16 or uint32 (n,), 0 where missing, else 1 + an index into `names`."""

    codes: NDArray
    names: tuple[str, ...]
    num_found: int  # before the rarest became one


def levels_of(text: pl.Series, *, max_levels: int) -> Levels:
    """The levels of `text` in alphabetical order.

    Of more than `max_levels`, the `max_levels - 1` most frequent (of equals: the first in the
    alphabet) keep their name and the others share `(other)`, the last.

    >>> levels = levels_of(pl.Series(["b", None, "a", "b", "c"]), max_levels=2)
    >>> levels.names, levels.codes.tolist(), levels.num_found
    (('b', '(other)'), [1, 0, 2, 1, 2], 3)
    """
    counts = text.drop_nulls().value_counts(name="__count__").sort(
        [pl.col("__count__"), pl.nth(0)], descending=[True, False]
    )  # fmt: skip
    found = counts.get_column(counts.columns[0])
    kept = found if len(found) <= max_levels else found.head(max_levels - 1)
    names = kept.sort().to_list()
    other = len(names) + 1
    if len(found) > len(names):
        names.append(OTHER_LEVEL)
    codes = text.replace_strict(
        kept.sort(), list(range(1, len(kept) + 1)), default=other, return_dtype=pl.UInt32
    )
    # Missing values take the default too.
    array = codes.to_numpy().copy()
    array[text.is_null().to_numpy()] = 0
    return Levels(codes=array, names=tuple(names), num_found=len(found))


def one_hot(levels: Levels) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Level names, and what each code becomes: float64 (1 + levels, features) of 0 and 1.

    A feature each, and one for missing values where there are any; of two, the first is left out.
    """
    codes = list(range(1, len(levels.names) + 1))
    names = [*levels.names]
    if (levels.codes == 0).any():
        codes.append(0)
        names.append(MISSING_LEVEL)
    if len(codes) == 2:
        codes = codes[1:]
    table = np.zeros((len(levels.names) + 1, len(codes)))
    table[codes, range(len(codes))] = 1.0
    return tuple(names), table
