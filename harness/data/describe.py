"""What `harness data describe` says of a data set."""

from dataclasses import dataclass

import numpy as np
from rich.console import Group
from rich.table import Table
from rich.text import Text

from harness.data.dataset import Dataset


@dataclass(frozen=True)
class Column:
    """One feature: in the data's own units where `Description.raw`, else standardised."""

    name: str
    mean: float
    std: float
    min: float
    max: float


@dataclass(frozen=True)
class Description:
    """`duplicate_rows`: rows whose features repeat those of another row, its first one aside."""

    name: str
    application: str
    source: str
    licence: str
    num_rows: int
    num_features: int
    num_positives: int
    positive_rate: float
    positive_label: str
    duplicate_rows: int
    known_posterior: bool
    fingerprint: str
    raw: bool
    columns: tuple[Column, ...]


def describe(dataset: Dataset) -> Description:
    """Counts, provenance and a line a feature; reads the whole set once."""
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
        duplicate_rows=_duplicate_rows(dataset.features),
        known_posterior=dataset.posterior is not None,
        fingerprint=dataset.fingerprint,
        raw=dataset.raw is not None,
        columns=_columns(dataset),
    )


def render(description: Description) -> Group:
    """Two rich tables: the set, then its features. Names are shown as they are, never as markup."""
    facts = Table(show_header=False, box=None)
    for label, value in _facts(description).items():
        facts.add_row(Text(label, style="bold"), Text(value))
    units = "data's own units" if description.raw else "standardised"
    features = Table("feature", title=f"Features ({units})", title_justify="left")
    for heading in ("mean", "std", "min", "max"):
        features.add_column(heading, justify="right")
    for column in description.columns:
        numbers = (column.mean, column.std, column.min, column.max)
        features.add_row(Text(column.name), *(f"{number:.4g}" for number in numbers))
    return Group(facts, features)


def _facts(description: Description) -> dict[str, str]:
    positives = f"{description.num_positives:,} ({description.positive_rate:.4g} of all rows)"
    return {
        "data set": description.name,
        "application": description.application or "not stated",
        "source": description.source,
        "licence": description.licence,
        "rows": f"{description.num_rows:,}",
        "features": f"{description.num_features:,}",
        "positive label": description.positive_label,
        "positives": positives,
        "duplicate rows": f"{description.duplicate_rows:,}",
        "true posterior": "known" if description.known_posterior else "unknown",
        "fingerprint": description.fingerprint,
    }


def _columns(dataset: Dataset) -> tuple[Column, ...]:
    features, raw = dataset.features, dataset.raw
    if raw is None:
        wide = features.astype(np.float64)
        summary = (wide.mean(axis=0), wide.std(axis=0), wide.min(axis=0), wide.max(axis=0))
    else:
        summary = (raw.mean, raw.std, raw.min, raw.max)
    rows = np.stack(summary, axis=1).tolist()
    return tuple(
        Column(name, *numbers) for name, numbers in zip(dataset.feature_names, rows, strict=True)
    )


def _duplicate_rows(features: np.ndarray) -> int:
    # Rows compared as bytes: one sort, where `np.unique(axis=0)` compares column by column.
    row_bytes = np.ascontiguousarray(features).view(np.dtype((np.void, features.shape[1] * 4)))
    return len(features) - len(np.unique(row_bytes))
