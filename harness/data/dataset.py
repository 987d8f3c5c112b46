"""The one form data takes inside the harness: standardised float32 features, 0/1 labels."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from harness.errors import UserError


@dataclass(frozen=True, eq=False)
class FeatureSummary:
    """Columns as they were before standardising; float64 (d,) each, in the data's own units."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    min: NDArray[np.float64]
    max: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Dataset:
    """A binary classification data set, checked when it is made and read-only afterwards.

    features: float32 (n, d), finite.  labels: int8 (n,), 1 = positive, both classes present.
    feature_names: d names.  posterior: float64 (n,), the true P(y = 1 | x) where it is known.
    raw: the columns' summary before standardising, where the features were standardised here.
    groups: int32 (n,), and times: float64 (n,), are for splitting and enter no model.
    Raises UserError where `check` does.
    """

    name: str
    features: NDArray[np.float32]
    labels: NDArray[np.int8]
    feature_names: tuple[str, ...]
    positive_label: str
    source: str
    licence: str
    posterior: NDArray[np.float64] | None = None
    application: str = ""
    raw: FeatureSummary | None = None
    groups: NDArray[np.int32] | None = None
    times: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        check(
            name=self.name,
            features=self.features,
            labels=self.labels,
            feature_names=self.feature_names,
            posterior=self.posterior,
        )
        # Loaded data sets are cached and shared by every lane: a write would reach other runs.
        for array in (self.features, self.labels, self.posterior, self.groups, self.times):
            if array is not None:
                array.setflags(write=False)

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
    def positive_rate(self) -> float:
        return self.num_positives / self.num_rows

    @cached_property
    def fingerprint(self) -> str:
        """sha256 (hex) of features and labels with their shapes; names do not enter it."""
        digest = hashlib.sha256()
        for array, dtype in ((self.features, "<f4"), (self.labels, "i1")):
            digest.update(repr((array.shape, dtype)).encode())
            digest.update(np.ascontiguousarray(array, dtype=dtype).tobytes())
        for name, column, kind in (("groups", self.groups, "<i4"), ("times", self.times, "<f8")):
            if column is not None:
                digest.update(repr((name, kind)).encode())
                digest.update(np.ascontiguousarray(column, dtype=kind).tobytes())
        return digest.hexdigest()


def standardised(raw: NDArray[np.float64]) -> tuple[NDArray[np.float32], FeatureSummary]:
    """Centre and scale every column over the whole set, in float64, then store float32.

    This is no preprocessing step: it is one affine map a column that keeps float32 from losing
    the digits of, say, a year or an amount in cents. The scaling a model sees is fitted again
    on the training part of each run, which undoes whatever this one knew of the test rows.

    raw: (n, d), finite. Constant columns come back as 0.
    """
    low, high = raw.min(axis=0), raw.max(axis=0)
    # Through [-1, 1] first: neither the sum nor the squares can overflow, however large the data.
    centre, half = low / 2 + high / 2, high / 2 - low / 2
    constant = half == 0
    half = np.where(constant, 1.0, half)
    bounded = (raw - centre) / half
    bounded[:, constant] = 0.0
    mean, std = bounded.mean(axis=0), bounded.std(axis=0)
    scale = np.where(constant, 1.0, std)
    # Adding 0 turns -0 into 0: equal rows must have equal bytes, for `fingerprint` and duplicates.
    features = ((bounded - mean) / scale + 0.0).astype(np.float32)
    return features, FeatureSummary(centre + half * mean, half * std, low, high)


def check(
    *,
    name: str,
    features: NDArray[np.float32],
    labels: NDArray[np.int8],
    feature_names: Sequence[str],
    posterior: NDArray[np.float64] | None = None,
) -> None:
    """Raise UserError unless the arrays make a binary data set that can be learned from.

    >>> check(name="x", features=np.ones((2, 1), "f4"), labels=np.array([0, 1], "i1"),
    ...       feature_names=["a"])
    Traceback (most recent call last):
    ...
    harness.errors.UserError: dataset 'x': all 1 features are constant: nothing can be learned ...
    """
    _check_shapes(f"dataset {name!r}", features, labels, feature_names, posterior)
    _check_values(f"dataset {name!r}", features, labels, feature_names)


def _check_shapes(
    place: str,
    features: NDArray[np.float32],
    labels: NDArray[np.int8],
    feature_names: Sequence[str],
    posterior: NDArray[np.float64] | None,
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
    if posterior is not None and posterior.shape != (num_rows,):
        raise UserError(f"{place}: posterior has shape {posterior.shape}: give ({num_rows},)")


def _check_values(
    place: str,
    features: NDArray[np.float32],
    labels: NDArray[np.int8],
    feature_names: Sequence[str],
) -> None:
    others = np.setdiff1d(labels, [0, 1])
    if others.size:
        raise UserError(f"{place}: labels hold {int(others[0])}: code negatives 0, positives 1")
    positives = int(labels.sum(dtype=np.int64))
    if positives in (0, labels.size):
        raise UserError(
            f"{place}: {positives} of {labels.size} rows are positive: both classes are needed"
        )
    finite = np.isfinite(features)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise UserError(
            f"{place}: feature {feature_names[column]!r}, row {row + 1} is "
            f"{features[row, column]}: impute it or drop the row"
        )
    if (features == features[0]).all():
        raise UserError(
            f"{place}: all {features.shape[1]} features are constant: nothing can be learned "
            "from them; give a column that varies"
        )
