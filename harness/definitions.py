"""What ids are of where something faster runs, to the same bits: see `harness.identity.code`.

None of this runs but in tests, which hold what does to it (tests/test_definitions.py). A definition
here that is edited, or taken out, gives runs other ids.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

from harness.data.splits import Rows, _raise_lacking, check_part
from harness.data.streams import Purpose, legacy_seed
from harness.padding import stack
from harness.sweep.lanes import width_of
from harness.training import Lane, Program


def split_off(
    rows: Rows, labels: NDArray[np.int8], size: int, seed: int, part: str, *path: int
) -> tuple[Rows, Rows]:
    if not 2 <= size <= len(rows) - 2 or np.bincount(labels[rows], minlength=2).min() < 2:
        _raise_lacking(part, size, rows, labels)
    from sklearn.model_selection import train_test_split

    tag = ("test", "validation").index(part)
    rest, taken = train_test_split(
        rows,
        test_size=size,
        stratify=labels[rows],
        random_state=legacy_seed(seed, Purpose.SPLIT, tag, *path),
    )
    check_part(part, taken, labels)
    return np.sort(rest), np.sort(taken)


def _tail(level: float, size: int) -> float:
    if size < 2:
        return float("nan")
    return float(norm.cdf(np.sqrt(size / (size - 1)) * t.ppf((1 - level) / 2, size - 1)))


def stacked(lanes: Sequence[Lane], program: Program) -> Lane:
    return stack(lanes, program, width=width_of(program))
