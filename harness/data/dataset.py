"""The one form data takes inside the harness: standardised float32 features, 0/1 labels."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.check import blocks, check
from harness.data.standardise import FeatureSummary
from harness.data.standardise import standardised as standardised


@dataclass(frozen=True)
class SourceColumn:
    """A column of the user's table, and how many features it became, in the features' order."""

    name: str
    kind: str  # number, boolean, date, category, code or dropped
    missing: int
    num_features: int
    note: str = ""
    levels: tuple[str, ...] = ()  # of a category: those of its features; of one feature, not it, it


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
    neither standardised nor imputed.  groups: int32 (n,), and times: float64 (n,), are for
    splitting and enter no model.  columns and notes: what the source's columns became.
    draw: which of several random draws this is, where such may happen to be equal.
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
    cardinalities: tuple[int, ...] = ()
    groups: NDArray[np.int32] | None = None
    times: NDArray[np.float64] | None = None
    columns: tuple[SourceColumn, ...] = ()
    notes: tuple[str, ...] = ()
    draw: int | None = None

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
        )
        # Data sets are shared by all runs: a write would reach the others.
        for array in self.arrays:
            array.setflags(write=False)

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """All that takes memory."""
        found = (self.features, self.labels, self.posterior, self.groups, self.times)
        return tuple(array for array in found if array is not None)

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
    def has_missing(self) -> bool:
        """Whether any feature is NaN, and runs must impute."""
        return any(bool(np.isnan(block).any()) for _, block in blocks(self.features))

    @cached_property
    def fingerprint(self) -> str:
        """sha256 (hex) of features and labels with their shapes; names do not enter it.

        Cardinalities, groups, times and the draw enter where there are any.
        """
        digest = hashlib.sha256()
        arrays: list[tuple[NDArray, str]] = [(self.features, "<f4"), (self.labels, "i1")]
        arrays += [(self.groups, "<i4")] if self.groups is not None else []
        arrays += [(self.times, "<f8")] if self.times is not None else []
        for array, dtype in arrays:
            digest.update(repr((array.shape, dtype)).encode())
            for _, block in blocks(array):
                digest.update(np.ascontiguousarray(block, dtype=dtype).data)
        if self.cardinalities:
            digest.update(repr(self.cardinalities).encode())
        if self.draw is not None:
            digest.update(f"draw {self.draw}".encode())
        return digest.hexdigest()
