"""A split of somebody else's, with scikit-learn's interface.

>>> from sklearn.model_selection import StratifiedKFold
>>> as_splitter(StratifiedKFold)(n_splits=4, fold=1)
StratifiedKFold(fold=1, seed=None, n_splits=4, shuffle=False, name='StratifiedKFold')
"""

from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from harness.data.dataset import Dataset
from harness.data.run_data import shared_by_dataset
from harness.data.splits import Split, check_part
from harness.data.splitters import Index
from harness.data.streams import Purpose, Seed, legacy_seed
from harness.errors import UserError
from harness.signatures import chosen_as, name_of, settings_of, takes, values_of

MOST_PAIRS = 10_000


@dataclass(frozen=True)
class _Fold:
    """Which of the pairs that it gives, and the seed it draws by; as of our own splits."""

    exact: ClassVar[bool] = False

    fold: Index = 0
    seed: Seed | None = None


def as_splitter(given: Any, name: str | None = None) -> Any:
    """The class of splits that ``given`` makes.

    The test part is that of pair number ``fold`` of its (training, test) pairs; the validation part
    that of the last pair of the same splitter on the rows which are left, so that it keeps groups
    and times apart as the test part does.

    Args:
      given: a class, made by ``given(setting=default, ...)``, whose ``split(X, y, groups)`` gives
        pairs of places of rows. ``X`` is (rows, features) float32, NaN where a value is missing,
        in the order of the rows' times where the data set has any. A ``random_state`` follows the
        seed, unless there is a ``shuffle`` and it is off.
      name: what it is chosen by; its own name where there is none.

    Raises:
      UserError: it is no such class, or a setting has no default.
    """
    called = name_of(given, name)
    choice = f"split={called}"
    if not isinstance(given, type) or not hasattr(given, "split"):
        raise UserError(f"{choice} is no split: give a class with def split(self, X, y, groups)")
    settings = settings_of(given, given=["random_state"], choice=choice)
    is_random = takes(given, "random_state")

    def method(self: Any, seed: int, part: int) -> Any:
        drawn = {"random_state": legacy_seed(seed, Purpose.SPLIT, part)} if self.draws else {}
        return given(**values_of(self, settings), **drawn)

    def split(self: Any, dataset: Dataset, *, seed: int) -> Split:
        rest, test = _pair(self.method(seed, 0), dataset, _in_time(dataset), self.fold, choice)
        train, validation = _pair(self.method(seed, 1), dataset, rest, -1, choice)
        parts = {
            name: np.sort(rows).astype(np.int32)
            for name, rows in (("train", train), ("validation", validation), ("test", test))
        }
        for part, rows in parts.items():
            check_part("training" if part == "train" else part, rows, dataset.labels)
        return Split(**parts)

    def sizes(self: Any, dataset: Dataset) -> tuple[int, int]:
        return _sizes(dataset, self)

    draws = property(lambda self: is_random and values_of(self, settings).get("shuffle", True))
    namespace = {"split": split, "sizes": sizes, "draws": draws, "method": method}
    return chosen_as(given, called, settings, bases=(_Fold,), namespace=namespace, choice=choice)


def _sizes_of(dataset: Dataset, splitter: Any) -> tuple[int, int]:
    """Of one draw: those of others are near."""
    found = splitter.split(dataset, seed=0)
    return len(found.validation), len(found.test)


_sizes = shared_by_dataset(_sizes_of, maxsize=1024)


def _in_time(dataset: Dataset) -> NDArray[np.intp]:
    if dataset.times is None:
        return np.arange(dataset.num_rows)
    return np.argsort(dataset.times, kind="stable")


def _pair(
    method: Any, dataset: Dataset, rows: NDArray[np.intp], fold: int, choice: str
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(the other rows, the test rows) of one pair among ``rows``; -1 is the last."""
    groups = None if dataset.groups is None else dataset.groups[rows]
    try:
        pairs = method.split(dataset.features[rows], dataset.labels[rows], groups)
        places = [
            (np.asarray(other), np.asarray(own)) for other, own in islice(pairs, MOST_PAIRS + 1)
        ]
    except Exception as error:
        words = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{choice}: {words}: change its settings, or the data") from error
    if len(places) > MOST_PAIRS:  # a generator may never end
        raise UserError(f"{choice} gives more than {MOST_PAIRS} pairs: change its settings")
    if fold >= len(places) or not places:
        raise UserError(f"{choice} gives {len(places)} pairs: lower split.fold={fold}")
    if any(
        one.dtype.kind != "i" or not ((one >= 0) & (one < len(rows))).all() for one in places[fold]
    ):
        raise UserError(f"{choice} gave what are no places of rows: whole numbers from 0 on")
    found = rows[places[fold][0]], rows[places[fold][1]]
    if len(np.unique(np.concatenate(found))) < len(found[0]) + len(found[1]):
        raise UserError(f"{choice} has rows twice: let its training and test places be disjoint")
    return found
