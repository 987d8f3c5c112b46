"""What `harness data describe` says of a data set."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from harness.data.audit import Repeats, level_auroc, number_auroc, repeats
from harness.data.dataset import Dataset, SourceColumn
from harness.data.standardise import standardised_column

# A single column that ranks this well is more often a leak than a discovery.
LEAK_AUROC = 0.99


@dataclass(frozen=True)
class Column:
    """One column: in the data's own units where `Description.raw`, else standardised.

    `features`: which of the data set's it became. `levels`: of a category, with their shares of
    all rows, in the order of `category_codes`. `auroc`: how well it alone tells the
    classes, in [0.5, 1].
    """

    name: str
    kind: str
    missing: int
    features: slice
    mean: float
    std: float
    min: float
    max: float
    auroc: float
    levels: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Description:
    """`columns` became features; `left_out` did not, and says why."""

    name: str
    application: str
    source: str
    licence: str
    num_rows: int
    num_features: int
    num_positives: int
    positive_rate: float
    positive_label: str
    repeats: Repeats
    missing: int
    known_posterior: bool
    fingerprint: str
    raw: bool
    columns: tuple[Column, ...]
    left_out: tuple[SourceColumn, ...]
    notes: tuple[str, ...]
    num_groups: int | None = None
    times: tuple[float, float] | None = None

    @property
    def duplicate_rows(self) -> int:
        return self.repeats.duplicates

    @property
    def suspects(self) -> tuple[Column, ...]:
        """Columns that give the label away, or nearly."""
        return tuple(column for column in self.columns if column.auroc >= LEAK_AUROC)


def describe(dataset: Dataset) -> Description:
    """Counts, provenance, repeated rows and a line a column."""
    columns = tuple(_columns(dataset))
    return Description(
        name=dataset.name,
        application=dataset.application,
        source=dataset.source,
        licence=dataset.licence,
        num_rows=dataset.num_rows,
        num_features=dataset.num_features,
        num_positives=dataset.num_positives,
        positive_rate=dataset.positive_rate,
        positive_label=dataset.positive_label,
        repeats=repeats(dataset.features, dataset.labels),
        missing=sum(column.missing for column in columns),
        known_posterior=dataset.posterior is not None,
        fingerprint=dataset.fingerprint,
        raw=dataset.raw is not None,
        columns=columns,
        left_out=tuple(column for column in dataset.columns if not column.num_features),
        notes=dataset.notes,
        num_groups=None if dataset.groups is None else len(np.unique(dataset.groups)),
        times=None if dataset.times is None else (dataset.times.min(), dataset.times.max()),
    )


def _columns(dataset: Dataset) -> Iterator[Column]:
    start = 0
    for source in dataset.columns or _unnamed(dataset):
        if source.num_features:
            features = slice(start, start + source.num_features)
            start = features.stop
            make = _category if source.kind == "category" else _number
            yield make(dataset, source, features)


def _unnamed(dataset: Dataset) -> Iterator[SourceColumn]:
    """A column a feature, of data sets that do not say where theirs came from."""
    first_code = dataset.num_features - len(dataset.cardinalities)
    for index, name in enumerate(dataset.feature_names):
        missing = int(np.isnan(dataset.features[:, index]).sum()) if dataset.has_missing else 0
        yield SourceColumn(name, "number" if index < first_code else "code", missing, 1)


def _number(dataset: Dataset, source: SourceColumn, features: slice) -> Column:
    values = np.ascontiguousarray(dataset.features[:, features.start])
    if dataset.raw is None:
        summary = standardised_column(values.astype(np.float64))[1]
    else:
        raw, index = dataset.raw, features.start
        summary = (raw.mean[index], raw.std[index], raw.min[index], raw.max[index])
    if source.kind == "code":
        auroc = level_auroc(values.astype(np.int64), dataset.labels)
    else:
        auroc = number_auroc(values, dataset.labels)
    mean, std, low, high = map(float, summary)
    return Column(source.name, source.kind, source.missing, features, mean, std, low, high, auroc)


def _category(dataset: Dataset, source: SourceColumn, features: slice) -> Column:
    assert dataset.raw is not None
    shares = dataset.raw.mean[features].tolist()
    if len(shares) == 1:
        shares = [1 - shares[0], *shares]
    codes = category_codes(dataset, features)
    levels = zip(source.levels, shares, strict=True)
    nan = float("nan")
    auroc = level_auroc(codes, dataset.labels)
    return Column(
        source.name, "category", source.missing, features, nan, nan, nan, nan, auroc, tuple(levels)
    )


def category_codes(dataset: Dataset, features: slice) -> np.ndarray:
    """Which of its one-hot ``features`` a row has: (n,) integers; of one feature, 0 or 1."""
    values = dataset.features[:, features]
    if values.shape[1] == 1:
        return (values[:, 0] > 0).astype(np.int64)
    return values.argmax(axis=1)
