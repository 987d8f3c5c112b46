"""The one form data takes inside the harness: standardised float32 features and 0/1 labels."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.standardise import FeatureSummary
from harness.data.standardise import standardised as standardised
from harness.errors import UserError

# Values looked at together: 8 MB of float32, whatever the size of the set.
_BLOCK = 2**21


@dataclass(frozen=True)
class SourceColumn:
    """A column of the user's table, and how many features it became, in the features' order."""

    name: str
    kind: str  # number, boolean, date, category, code, array, tokens or dropped
    missing: int
    num_features: int
    note: str = ""
    levels: tuple[str, ...] = ()  # of a category: those of its features; of one feature, not it, it
    codes: tuple[str, ...] = ()  # of a category or code: its levels by their code, from 1 on
    has_other: bool = False  # whether the last code is of all that are rarer


@dataclass(frozen=True, kw_only=True)
class Overview:
    """What a source says of its data set unloaded. Counts are None where only loading would tell,
    and `features` may count columns, of which text becomes several; `fetched`: None where nothing
    needs to be."""

    rows: int | None
    features: int | None
    positives: int | None
    application: str
    licence: str
    source: str
    fetched: bool | None = None


@dataclass(frozen=True, eq=False)
class Dataset:
    """A binary classification data set, checked when it is made and read-only afterwards.

    features: float32 (n, d), finite, or NaN where a value is missing: each run imputes with what
    its own training part says.  labels: int8 (n,), 1 = positive, both classes present.
    feature_names: d names.  posterior: float64 (n,), the true P(y = 1 | x) where it is known.
    raw: the columns' summary before standardising, where the features were standardised here.
    cardinalities: the last so many features are integer codes 0 .. k-1 (0 = missing or unknown),
    neither standardised nor imputed; where features are arrays, a `harness.layout.Layout`.
    groups: int32 (n,), and times: float64 (n,), are for splitting and enter no model.
    row_weights: float64 (n,), above 0, what each row counts in losses and scores; None where all
    count the same, and only their ratios count.
    columns and notes: what the source's columns became.
    draw: which of several random draws this is, where such may happen to be equal.
    positive_reason: why `positive_label` is the positive one, where that was chosen.
    negative_label: the other one, empty where there are several.
    Raises UserError where `check` does.
    """

    name: str
    features: NDArray[np.float32]
    labels: NDArray[np.int8]
    feature_names: tuple[str, ...]
    positive_label: str
    source: str
    licence: str
    negative_label: str = ""
    posterior: NDArray[np.float64] | None = None
    application: str = ""
    raw: FeatureSummary | None = None
    cardinalities: tuple[int, ...] = ()
    groups: NDArray[np.int32] | None = None
    times: NDArray[np.float64] | None = None
    columns: tuple[SourceColumn, ...] = ()
    notes: tuple[str, ...] = ()
    draw: int | None = None
    positive_reason: str = ""
    row_weights: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        check(
            name=self.name,
            features=self.features,
            labels=self.labels,
            feature_names=self.feature_names,
            posterior=self.posterior,
            cardinalities=self.cardinalities,
            groups=self.groups,
            times=self.times,
            row_weights=self.row_weights,
        )
        # Data sets are shared by all runs: a write would reach the others.
        for array in self.arrays:
            array.setflags(write=False)

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """All that takes memory."""
        found = (self.features, self.labels, self.posterior, self.groups, self.times)
        return tuple(array for array in (*found, self.row_weights) if array is not None)

    @property
    def has_row_weights(self) -> bool:
        return self.row_weights is not None

    @property
    def num_rows(self) -> int:
        return int(self.features.shape[0])

    @property
    def num_features(self) -> int:
        return int(self.features.shape[1])

    @property
    def num_positives(self) -> int:
        return int(self.labels.sum(dtype=np.int64))

    @property
    def categories(self) -> tuple[tuple[int, int], ...]:
        """(first, end) of the features of each column of categories that is one-hot.

        Booleans are of two categories, and what says where numbers were missing.
        """
        found, start = [], 0
        for column in self.columns:
            end = start + column.num_features
            if column.kind in ("category", "boolean", "indicator"):
                found.append((start, end))
            start = end
        return tuple(one for one in found if one[0] < one[1])

    def move_to(self, features: NDArray[np.float32]) -> None:
        """Has the same ``features`` (n, d) lie elsewhere, which lets go of where they lay.

        The one change that a data set knows: a large one need not be there twice, for devices of
        the host and for NumPy.
        """
        features.setflags(write=False)
        object.__setattr__(self, "features", features)

    def of_rows(self, rows: NDArray[np.int32]) -> "Dataset":
        """These rows alone, in this order. Raises UserError where they are no data set."""
        return replace(
            self,
            features=self.features[rows],
            labels=self.labels[rows],
            posterior=None if self.posterior is None else self.posterior[rows],
            groups=None if self.groups is None else self.groups[rows],
            times=None if self.times is None else self.times[rows],
            row_weights=None if self.row_weights is None else self.row_weights[rows],
        )

    @property
    def positive_rate(self) -> float:
        return self.num_positives / self.num_rows

    @cached_property
    def has_missing(self) -> bool:
        """Whether any feature is NaN, and runs must impute."""
        return any(bool(np.isnan(block).any()) for _, block in blocks(self.features))

    @cached_property
    def fingerprint(self) -> str:
        """sha256 (hex) of features and labels with their shapes; names do not enter it.

        Cardinalities, groups, times, weights and the draw enter where there are any.
        """
        digest = hashlib.sha256()
        arrays: list[tuple[NDArray, str]] = [(self.features, "<f4"), (self.labels, "i1")]
        arrays += [(self.groups, "<i4")] if self.groups is not None else []
        arrays += [(self.times, "<f8")] if self.times is not None else []
        if self.row_weights is not None:
            arrays.append((self.row_weights, "<f8"))
        for array, dtype in arrays:
            digest.update(repr((array.shape, dtype)).encode())
            for _, block in blocks(array):
                digest.update(np.ascontiguousarray(block, dtype=dtype).data)
        if self.cardinalities:
            digest.update(repr(self.cardinalities).encode())
        if self.draw is not None:
            digest.update(f"draw {self.draw}".encode())
        return digest.hexdigest()


class TableDataset(Dataset):
    """A data set of a table: which features are one column of categories is a part of it, since
    samplers make other rows of these than of numbers of the same values."""

    @cached_property
    def fingerprint(self) -> str:
        own = super().fingerprint
        if not self.categories:
            return own
        return hashlib.sha256(f"{own} {self.categories!r}".encode()).hexdigest()


class ArrayDataset(TableDataset):
    """A data set some of whose columns are arrays: in other shapes its values are another one."""

    @cached_property
    def fingerprint(self) -> str:
        laid_out = f"{super().fingerprint} {self.cardinalities!r}"
        return hashlib.sha256(laid_out.encode()).hexdigest()


def blocks(array: NDArray) -> Iterator[tuple[int, NDArray]]:
    """(first row, rows) of consecutive pieces, small enough to copy without a thought."""
    step = max(1, _BLOCK // max(1, array.size // max(1, len(array))))
    for start in range(0, len(array), step):
        yield start, array[start : start + step]


def check(
    *,
    name: str,
    features: NDArray[np.float32],
    labels: NDArray[np.int8],
    feature_names: Sequence[str],
    posterior: NDArray[np.float64] | None = None,
    cardinalities: tuple[int, ...] = (),
    groups: NDArray[np.int32] | None = None,
    times: NDArray[np.float64] | None = None,
    row_weights: NDArray[np.float64] | None = None,
) -> None:
    """Raise UserError unless the arrays make a binary data set that can be learned from.

    >>> check(name="x", features=np.ones((2, 1), "f4"), labels=np.array([0, 1], "i1"),
    ...       feature_names=["a"])
    Traceback (most recent call last):
    ...
    harness.errors.UserError: dataset 'x': all 1 features are constant: nothing can be learned ...
    """
    place = f"dataset {name!r}"
    _check_shapes(place, features, labels, feature_names)
    for array, what, dtype in (
        (posterior, "posterior", None),
        (groups, "groups", np.int32),
        (times, "times", np.float64),
        (row_weights, "row_weights", np.float64),
    ):
        _check_beside(place, array, what, dtype, labels)
    if row_weights is not None and not (row_weights > 0).all():
        row = int(np.argmin(row_weights > 0))
        raise UserError(
            f"{place}: row_weights, row {row + 1} is {row_weights[row]}: leave out rows that do "
            "not count"
        )
    _check_labels(place, labels)
    _check_values(place, features, feature_names)
    _check_codes(place, features, feature_names, cardinalities)


def _check_shapes(
    place: str,
    features: NDArray[np.float32],
    labels: NDArray[np.int8],
    feature_names: Sequence[str],
) -> None:
    if features.ndim != 2 or features.dtype != np.float32:
        raise UserError(
            f"{place}: features are {features.dtype} {features.shape}: give float32 (rows, columns)"
        )
    num_rows, num_features = features.shape
    if num_rows == 0 or num_features == 0:
        raise UserError(
            f"{place}: {num_rows} rows and {num_features} features: give at least one of each"
        )
    if labels.shape != (num_rows,) or labels.dtype != np.int8:
        raise UserError(
            f"{place}: labels are {labels.dtype} {labels.shape}: give int8 ({num_rows},)"
        )
    if len(feature_names) != num_features:
        raise UserError(
            f"{place}: {len(feature_names)} feature names for {num_features} features: name each"
        )


def _check_beside(
    place: str, array: NDArray | None, what: str, dtype: type | None, labels: NDArray[np.int8]
) -> None:
    """An array beside the features: one value a row."""
    if array is None:
        return
    if array.shape != labels.shape:
        raise UserError(f"{place}: {what} has shape {array.shape}: give {labels.shape}")
    if dtype is not None and array.dtype != dtype:
        raise UserError(f"{place}: {what} is {array.dtype}: give {np.dtype(dtype)}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        row = int(np.argmin(np.isfinite(array)))
        raise UserError(f"{place}: {what}, row {row + 1} is {array[row]}: give a number")


def _check_labels(place: str, labels: NDArray[np.int8]) -> None:
    others = np.setdiff1d(labels, [0, 1])
    if others.size:
        raise UserError(f"{place}: labels hold {int(others[0])}: code negatives 0, positives 1")
    positives = int(labels.sum(dtype=np.int64))
    if positives in (0, labels.size):
        raise UserError(
            f"{place}: {positives} of {labels.size} rows are positive: both classes are needed"
        )


def _check_values(place: str, features: NDArray[np.float32], feature_names: Sequence[str]) -> None:
    varies = False
    for start, block in blocks(features):
        infinite = np.isinf(block)
        if infinite.any():
            row, column = np.argwhere(infinite)[0]
            raise UserError(
                f"{place}: feature {feature_names[column]!r}, row {start + row + 1} is "
                f"{block[row, column]}: correct it or drop the row"
            )
        both_missing = np.isnan(block) & np.isnan(features[0])
        varies = varies or not ((block == features[0]) | both_missing).all()
    if not varies:
        raise UserError(
            f"{place}: all {features.shape[1]} features are constant: nothing can be learned "
            "from them; give a column that varies"
        )


def _check_codes(
    place: str,
    features: NDArray[np.float32],
    feature_names: Sequence[str],
    cardinalities: tuple[int, ...],
) -> None:
    if len(cardinalities) > features.shape[1]:
        raise UserError(
            f"{place}: {len(cardinalities)} cardinalities for {features.shape[1]} features: "
            "give one for each coded column"
        )
    for index, levels in enumerate(cardinalities, start=features.shape[1] - len(cardinalities)):
        codes = features[:, index]
        bad = ~((codes >= 0) & (codes < levels) & (codes == np.floor(codes)))
        if bad.any():
            row = int(bad.argmax())
            raise UserError(
                f"{place}: feature {feature_names[index]!r}, row {row + 1} is {codes[row]}: "
                f"code its levels 0 to {levels - 1}"
            )
