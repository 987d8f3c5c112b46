"""How a run's rows are split in three: at random, in folds, by group or by time.

Each choice is a config. `split` gives the rows; `sizes` what one pass and a lane's padding count
on, from the configuration and the data alone. One that is ``exact`` splits to these sizes whatever
the seed, and knows them for any number of rows (`sizes_of`).
"""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt, Le
from numpy.typing import NDArray

from harness.data.dataset import Dataset
from harness.data.splits import Split, check_part, part_size, split_off, stratified_split
from harness.data.streams import Purpose, Replicate, Seed, legacy_seed
from harness.errors import UserError

Share = Annotated[float, Gt(0)]
MOST_FOLDS = 100_000
Folds = Annotated[int, Ge(2), Le(MOST_FOLDS)]
Index = Annotated[int, Ge(0), Replicate()]

# Below `Purpose.SPLIT`; 0 and 1 are the test and validation cuts of a holdout.
_FOLDS, _GROUPS = 2, 3


@dataclass(frozen=True)
class Holdout:
    """A stratified validation and test part: a fraction below 1, or a number of rows.

    ``seed`` empty follows the run's seed, here and below: every seed splits anew.
    """

    exact: ClassVar[bool] = True

    name: Literal["holdout"] = "holdout"
    validation: Share = 0.2
    test: Share = 0.2
    seed: Seed | None = None

    def split(self, dataset: Dataset, *, seed: int) -> Split:
        """The rows of `dataset`, drawn by `seed`. Raises UserError as `stratified_split` does."""
        return stratified_split(
            labels=dataset.labels, validation=self.validation, test=self.test, seed=seed
        )

    def sizes(self, dataset: Dataset) -> tuple[int, int]:
        """Rows of the validation and test parts. Raises UserError as `part_size` does."""
        return self.sizes_of(dataset.num_rows)

    def sizes_of(self, num_rows: int) -> tuple[int, int]:
        """`sizes` of a data set of ``num_rows``."""
        validation = part_size("validation", self.validation, num_rows)
        return validation, part_size("test", self.test, num_rows)


@dataclass(frozen=True)
class KFold:
    """Stratified k-fold cross-validation: the test part is fold ``fold`` of ``folds``.

    All folds of one ``repeat`` and seed cover every row once; another ``repeat`` deals the rows
    anew. The validation part, a fraction of all rows or a number, is cut from the other folds.
    """

    exact: ClassVar[bool] = True

    name: Literal["kfold"] = "kfold"
    folds: Folds = 5
    fold: Index = 0
    repeat: Index = 0
    validation: Share = 0.2
    seed: Seed | None = None

    def split(self, dataset: Dataset, *, seed: int) -> Split:
        """As `Holdout.split`. Raises UserError where there are more folds than rows of a class."""
        from sklearn.model_selection import StratifiedKFold  # late, as in `splits`

        labels = dataset.labels
        _check_fold(self.fold, self.folds)
        rarer = int(np.bincount(labels, minlength=2).min())
        if rarer < self.folds:
            raise UserError(
                f"split.folds {self.folds} is above the {rarer} rows of the rarer class: "
                "lower split.folds"
            )
        method = StratifiedKFold(
            self.folds,
            shuffle=True,
            random_state=legacy_seed(seed, Purpose.SPLIT, _FOLDS, self.repeat),
        )
        rest, test = _fold_of(method, self.fold, labels)
        num_validation, _ = self.sizes(dataset)
        path = (self.repeat, self.fold)
        train, validation = split_off(rest, labels, num_validation, seed, "validation", *path)
        return _checked(Split(train, validation, test), labels)

    def sizes(self, dataset: Dataset) -> tuple[int, int]:
        """As `Holdout.sizes`; the test part is that of the largest fold."""
        return self.sizes_of(dataset.num_rows)

    def sizes_of(self, num_rows: int) -> tuple[int, int]:
        """As `Holdout.sizes_of`."""
        return part_size("validation", self.validation, num_rows), -(-num_rows // self.folds)


@dataclass(frozen=True)
class GroupHoldout:
    """No group in two parts: a fraction below 1 of the groups, or a number of groups, each."""

    exact: ClassVar[bool] = False

    name: Literal["group"] = "group"
    validation: Share = 0.2
    test: Share = 0.2
    seed: Seed | None = None

    def split(self, dataset: Dataset, *, seed: int) -> Split:
        """As `Holdout.split`. Raises UserError where there are no groups, or too few."""
        groups = _groups(dataset, self.name)
        rows = np.arange(dataset.num_rows, dtype=np.int32)
        num_validation, num_test = self._num_groups(groups)
        num_groups = len(np.unique(groups))
        if min(num_validation, num_test) < 1 or num_validation + num_test >= num_groups:
            raise UserError(
                f"split: {num_validation} validation and {num_test} test groups of {num_groups} "
                "leave a part without any: change split.validation or split.test"
            )
        rest, test = _by_group(rows, groups, num_test, legacy_seed(seed, Purpose.SPLIT, _GROUPS, 0))
        train, validation = _by_group(
            rest, groups, num_validation, legacy_seed(seed, Purpose.SPLIT, _GROUPS, 1)
        )
        return _checked(Split(train, validation, test), dataset.labels)

    def sizes(self, dataset: Dataset) -> tuple[int, int]:
        """As `Holdout.sizes`, were all groups equally large."""
        groups = _groups(dataset, self.name)
        rows_each = dataset.num_rows / len(np.unique(groups))
        num_validation, num_test = self._num_groups(groups)
        return round(num_validation * rows_each), round(num_test * rows_each)

    def _num_groups(self, groups: NDArray[np.int32]) -> tuple[int, int]:
        total = len(np.unique(groups))
        return part_size("validation", self.validation, total), part_size("test", self.test, total)


@dataclass(frozen=True)
class GroupKFold:
    """Stratified k-fold cross-validation with no group in two folds.

    The test part is fold ``fold`` of ``folds``, and the validation part is the fold after it.
    """

    exact: ClassVar[bool] = False

    name: Literal["group_kfold"] = "group_kfold"
    folds: Annotated[int, Ge(3), Le(MOST_FOLDS)] = 5
    fold: Index = 0
    repeat: Index = 0
    seed: Seed | None = None

    def split(self, dataset: Dataset, *, seed: int) -> Split:
        """As `Holdout.split`. Raises UserError where there are fewer groups than folds."""
        from sklearn.model_selection import StratifiedGroupKFold

        groups, labels = _groups(dataset, self.name), dataset.labels
        _check_fold(self.fold, self.folds)
        num_groups = len(np.unique(groups))
        rarer = int(np.bincount(labels, minlength=2).min())
        if min(num_groups, rarer) < self.folds:
            raise UserError(
                f"split.folds {self.folds} is above the data's {num_groups} groups or the {rarer} "
                "rows of its rarer class: lower split.folds"
            )
        method = StratifiedGroupKFold(
            self.folds,
            shuffle=True,
            random_state=legacy_seed(seed, Purpose.SPLIT, _FOLDS, self.repeat),
        )
        _, test = _fold_of(method, self.fold, labels, groups)
        _, validation = _fold_of(method, (self.fold + 1) % self.folds, labels, groups)
        held_out = np.zeros(len(labels), dtype=bool)
        held_out[test] = held_out[validation] = True
        train = np.flatnonzero(~held_out).astype(np.int32)
        return _checked(Split(train, validation, test), labels)

    def sizes(self, dataset: Dataset) -> tuple[int, int]:
        """As `Holdout.sizes`, were all folds equally large."""
        each = -(-dataset.num_rows // self.folds)
        return each, each


@dataclass(frozen=True)
class TimeSplit:
    """Training before validation before test, in the order of the data's time column.

    Rows of one time stay together: a part begins with the first row of its earliest time, so
    that it may be larger than asked for. ``seed`` draws only the rows imbalance drops.
    """

    exact: ClassVar[bool] = False

    name: Literal["time"] = "time"
    validation: Share = 0.2
    test: Share = 0.2
    seed: Seed | None = None

    def split(self, dataset: Dataset, *, seed: int) -> Split:
        """As `Holdout.split`. Raises UserError where there are no times, or too few."""
        times = dataset.times
        if times is None:
            raise UserError(
                f"split=time needs a time for every row, and data set {dataset.name!r} has none: "
                "name its column with dataset.time, or use another split"
            )
        num_validation, num_test = self.sizes(dataset)
        ordered = np.sort(times)
        if num_validation + num_test >= len(times):
            raise UserError(
                f"split: validation {num_validation} and test {num_test} leave no training row of "
                f"{len(times)}: lower split.validation or split.test"
            )
        test = times >= ordered[len(times) - num_test]
        earlier = ordered[ordered < ordered[len(times) - num_test]]
        if num_validation >= len(earlier):
            raise UserError(
                f"split=time: {len(earlier)} rows lie before the test part's first time, which "
                f"leaves none to train on beside {num_validation} of validation: lower split.test"
            )
        validation = ~test & (times >= earlier[len(earlier) - num_validation])
        parts = (~test & ~validation, validation, test)
        split = Split(*(np.flatnonzero(part).astype(np.int32) for part in parts))
        return _checked(split, dataset.labels)

    def sizes(self, dataset: Dataset) -> tuple[int, int]:
        """As `Holdout.sizes`, were all times different."""
        return Holdout(validation=self.validation, test=self.test).sizes(dataset)


SPLITTERS = (Holdout, KFold, GroupHoldout, GroupKFold, TimeSplit)
Splitter = Holdout | KFold | GroupHoldout | GroupKFold | TimeSplit


def _check_fold(fold: int, folds: int) -> None:
    if fold >= folds:
        raise UserError(f"split.fold must be below split.folds, got fold {fold} of {folds}")


def _groups(dataset: Dataset, name: str) -> NDArray[np.int32]:
    if dataset.groups is None:
        raise UserError(
            f"split={name} needs a group for every row, and data set {dataset.name!r} has none: "
            "name its column with dataset.group, or use another split"
        )
    return dataset.groups


def _fold_of(
    method: Any, fold: int, labels: NDArray[np.int8], groups: NDArray[np.int32] | None = None
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """(the other folds' rows, the fold's own)"""
    for index, (rest, taken) in enumerate(method.split(labels, labels, groups)):
        if index == fold:
            return np.sort(rest).astype(np.int32), np.sort(taken).astype(np.int32)
    raise AssertionError("the fold was checked")


def _by_group(
    rows: NDArray[np.int32], groups: NDArray[np.int32], num_groups: int, random_state: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """(rest, part): the rows of `num_groups` groups, taken from `rows`."""
    from sklearn.model_selection import GroupShuffleSplit

    method = GroupShuffleSplit(1, test_size=num_groups, random_state=random_state)
    ((rest, taken),) = method.split(rows, groups=groups[rows])
    return rows[rest], rows[taken]


def _checked(split: Split, labels: NDArray[np.int8]) -> Split:
    """`split`, or UserError where a part lacks a class."""
    for part, rows in vars(split).items():
        check_part("training" if part == "train" else part, rows, labels)
    return split
