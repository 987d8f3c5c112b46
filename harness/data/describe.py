"""What `harness data describe` says of a data set, and how a terminal or a page shows it.

Counts, provenance, a line a column; and what may mislead a comparison: repeated rows,
contradictions, columns that tell the label.
"""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from html import escape
from io import StringIO

import numpy as np
from numpy.typing import NDArray
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from harness.data.columns import ARRAYS, places
from harness.data.dataset import Dataset, SourceColumn, blocks
from harness.data.splits import stratified_split
from harness.data.standardise import standardised_column
from harness.errors import UserError

# A single column that ranks this well is more often a leak than a discovery.
LEAK_AUROC = 0.99
# Rows a column's AUROC is taken from: ranking five million takes seconds a column.
MAX_RANKED = 500_000
_PRIME = np.uint64(0x9E3779B97F4A7C15)
MAX_COLUMNS = 200
MAX_LEVELS = 5
_ALL = slice(None)
# Values up to which, and lines in which, a run says what is to be found in its table.
MOST_ANNOUNCED = 2**22
MOST_LINES = 5


@dataclass(frozen=True)
class Repeats:
    """Rows whose features repeat those of another, compared as float32.

    duplicates: beyond the first of each.  contradictory: rows that share their features with a
    row of the other label.  leaked: test rows whose features also stand in training, under the
    default split of seed 0; None where the set is too small for it.
    """

    duplicates: int
    contradictory: int
    leaked: int | None
    num_test: int


def repeats(features: NDArray[np.float32], labels: NDArray[np.int8]) -> Repeats:
    """Counts the repeated rows of ``features`` (n, d), NaN being equal to NaN."""
    ids = row_ids(features)
    sizes = np.bincount(ids)
    positives = np.bincount(ids, weights=labels).astype(np.int64)
    mixed = (positives > 0) & (positives < sizes)
    leaked, num_test = None, 0
    try:
        split = stratified_split(labels=labels, validation=0.2, test=0.2, seed=0)
    except UserError:
        pass
    else:
        trained = np.zeros(len(sizes), bool)
        trained[ids[split.train]] = True
        leaked, num_test = int(trained[ids[split.test]].sum()), len(split.test)
    return Repeats(len(ids) - len(sizes), int(sizes[mixed].sum()), leaked, num_test)


def row_ids(features: NDArray[np.float32]) -> NDArray[np.int64]:
    """(n,) codes 0 .. k-1 in no particular order, equal where rows are equal.

    Rows are sorted by a 64-bit hash, and neighbours of equal hash compared value by value: a set
    of five million rows is sorted in a second, where sorting the rows themselves takes a minute.

    >>> ids = row_ids(np.array([[2, 1], [0, np.nan], [2, 1], [-0.0, np.nan]], np.float32))
    >>> (ids[:, None] == ids).astype(int).tolist()
    [[1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1]]
    """
    hashes = np.concatenate([_hashes(block) for _, block in blocks(features)])
    order = np.argsort(hashes, kind="stable")
    new = np.ones(len(order), bool)
    same = np.flatnonzero(hashes[order[1:]] == hashes[order[:-1]]) + 1
    for _, piece in blocks(same):
        one, other = features[order[piece]], features[order[piece - 1]]
        new[piece] = ~((one == other) | (np.isnan(one) & np.isnan(other))).all(axis=1)
    ids = np.empty(len(order), np.int64)
    ids[order] = np.cumsum(new) - 1
    return ids


def _hashes(block: NDArray[np.float32]) -> NDArray[np.uint64]:
    # One spelling for each value: 0 for -0, one NaN of the many.
    bits = np.where(np.isnan(block), np.float32(np.nan), block + np.float32(0)).view(np.uint32)
    hashes = np.zeros(len(block), np.uint64)
    for column in bits.T:
        hashes = (hashes ^ column) * _PRIME
        hashes ^= hashes >> np.uint64(29)
    return hashes


def number_auroc(values: NDArray[np.float32], labels: NDArray[np.int8]) -> float:
    """How well one column of numbers alone tells the classes, in [0.5, 1] whichever way round.

    The larger of two: that of the values where there are any, and that of whether there is one.
    0.5 where nothing can be said. From at most `MAX_RANKED` rows.

    >>> number_auroc(np.array([3, 2, 1, 1], np.float32), np.array([0, 0, 1, 1], np.int8))
    1.0
    """
    if len(labels) > MAX_RANKED:
        some = _drawn(len(labels), MAX_RANKED)
        values, labels = values[some], labels[some]
    missing = np.isnan(values)
    return max(_auroc(values[~missing], labels[~missing]), _auroc(missing, labels))


def _drawn(num_rows: int, size: int) -> NDArray[np.int64]:
    """Some rows' numbers: every so-many-th row may be all of one class."""
    return np.sort(np.random.default_rng(0).integers(num_rows, size=size))


def level_auroc(codes: NDArray, labels: NDArray[np.int8]) -> float:
    """The same of a category: of the score that gives each level its share of positives.

    The share is taken from the same rows, so that a category of few rows a level looks better
    than it is.
    """
    sizes = np.bincount(codes)
    positives = np.bincount(codes, weights=labels, minlength=len(sizes))
    shares = positives / np.maximum(sizes, 1)
    return _auroc(shares[codes], labels)


def _auroc(scores: NDArray, labels: NDArray[np.int8]) -> float:
    positives = int(labels.sum(dtype=np.int64))
    negatives = len(labels) - positives
    if not positives or not negatives:
        return 0.5
    from scipy.stats import rankdata  # late: it takes half a second

    ranks = rankdata(scores)[labels == 1].sum()
    auroc = (ranks - positives * (positives + 1) / 2) / (positives * negatives)
    return float(max(auroc, 1 - auroc))


@dataclass(frozen=True)
class Column:
    """One column: in the data's own units where `Description.raw`, else standardised.

    `features`: which of the data set's it became; of an array, the one that tells the classes best,
    of which all else is said. `levels`: of a category, with their shares of
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
    note: str = ""
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
    positive_reason: str
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
        positive_reason=dataset.positive_reason,
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
    for source, features in places(dataset):
        make = _category if source.kind == "category" else _number
        if source.kind in ARRAYS:
            features = _most_telling(dataset, source, features)
            source = replace(source, name=dataset.feature_names[features.start])
        yield make(dataset, source, features)


def _most_telling(
    dataset: Dataset, source: SourceColumn, features: slice, rows: slice | NDArray[np.int64] = _ALL
) -> slice:
    """Of an array's features the one that tells the classes best: it stands for all of them."""
    each = [slice(place, place + 1) for place in range(features.start, features.stop)]
    return max(each, key=lambda one: _alone(dataset, source, one, rows))


def alone(
    dataset: Dataset,
    source: SourceColumn,
    features: slice,
    rows: slice | NDArray[np.int64] = _ALL,
) -> float:
    """How well a column alone tells the classes, in [0.5, 1], of these ``rows``; of an array, one
    of its values."""
    if source.kind in ARRAYS:
        features = _most_telling(dataset, source, features, rows)
    return _alone(dataset, source, features, rows)


def _alone(
    dataset: Dataset, source: SourceColumn, features: slice, rows: slice | NDArray[np.int64]
) -> float:
    labels = dataset.labels[rows]
    if source.kind == "category":
        return level_auroc(category_codes(dataset, features)[rows], labels)
    values = np.ascontiguousarray(dataset.features[rows, features.start])
    if source.kind in ("code", "tokens"):
        return level_auroc(values.astype(np.int64), labels)
    return number_auroc(values, labels)


def _number(dataset: Dataset, source: SourceColumn, features: slice) -> Column:
    values = np.ascontiguousarray(dataset.features[:, features.start])
    if dataset.raw is None:
        summary = standardised_column(values.astype(np.float64))[1][:4]
    else:
        raw, index = dataset.raw, features.start
        summary = (raw.mean[index], raw.std[index], raw.min[index], raw.max[index])
    auroc = _alone(dataset, source, features, _ALL)
    mean, std, low, high = map(float, summary)
    return Column(source.name, source.kind, source.missing, features, mean, std, low, high, auroc,
                  source.note)  # fmt: skip


def _category(dataset: Dataset, source: SourceColumn, features: slice) -> Column:
    assert dataset.raw is not None
    shares = dataset.raw.mean[features].tolist()
    if len(shares) < len(source.levels):  # two levels are one feature
        shares = [1 - shares[0], *shares]
    levels = zip(source.levels, shares, strict=True)
    nan = float("nan")
    auroc = alone(dataset, source, features)
    return Column(
        source.name,
        "category",
        source.missing,
        features,
        nan,
        nan,
        nan,
        nan,
        auroc,
        source.note,
        tuple(levels),
    )


def category_codes(dataset: Dataset, features: slice) -> np.ndarray:
    """Which of its one-hot ``features`` a row has: (n,) integers; of one feature, 0 or 1."""
    values = dataset.features[:, features]
    if values.shape[1] == 1:
        return (values[:, 0] > 0).astype(np.int64)
    return values.argmax(axis=1)


def render(description: Description) -> Group:
    """Three rich tables: the set, what to look out for, and its columns."""
    facts = Table(show_header=False, box=None)
    for label, value in _facts(description).items():
        facts.add_row(Text(label, style="bold"), Text(value))
    warnings = [Text(f"! {line}", style="yellow") for line in findings(description)]
    return Group(facts, *warnings, _column_table(description))


def findings(description: Description) -> list[str]:
    """What a user should look at before trusting a comparison; empty where nothing was found."""
    found = description.repeats
    lines = [_leak(column.name, column.auroc) for column in description.suspects]
    if found.leaked:
        lines.append(
            f"{found.leaked:,} of {found.num_test:,} test rows also stand in training (default "
            "split, seed 0): test scores flatter; drop duplicates, or split by group"
        )
    if found.contradictory:
        lines.append(
            f"{found.contradictory:,} rows share all features with a row of the other class: "
            "no model can tell them apart"
        )
    lines += _few(description.num_positives, description.num_rows)
    lines += _of_columns(description.left_out, description.columns)
    return [*lines, *description.notes]


def _few(num_positives: int, num_rows: int) -> list[str]:
    is_few = min(num_positives, num_rows - num_positives) < 30
    few = "fewer than 30 rows of one class: differences will hardly be decided"
    return [few] if is_few else []


def _of_columns(
    left_out: Sequence[SourceColumn], used: "Sequence[Column] | Sequence[SourceColumn]"
) -> list[str]:
    lines = [f"column {column.name!r} was left out: {column.note}" for column in left_out]
    return lines + [_kept(column) for column in used if column.note]


def found_soon(dataset: Dataset) -> list[str]:
    """What `findings` says, in a second or so: of a large table the leaks are looked for in some of
    its rows, and rows that repeat others are not."""
    if dataset.features.size <= MOST_ANNOUNCED:
        return findings(describe(dataset))
    some = _drawn(dataset.num_rows, max(1, MOST_ANNOUNCED // dataset.num_features))
    aurocs = [(one.name, alone(dataset, one, at, some)) for one, at in places(dataset)]
    leaks = [_leak(name, auroc) for name, auroc in aurocs if auroc >= LEAK_AUROC]
    few = _few(dataset.num_positives, dataset.num_rows)
    return [*leaks, *few, *_known_when_read(dataset)]


def _known_when_read(dataset: Dataset) -> list[str]:
    left_out = [column for column in dataset.columns if not column.num_features]
    used = [column for column in dataset.columns if column.num_features]
    return [*_of_columns(left_out, used), *dataset.notes]


def _leak(name: str, auroc: float) -> str:
    return (
        f"column {name!r} alone tells the classes (AUROC {auroc:.4f}, at or above {LEAK_AUROC}): "
        "does it hold the answer? dataset.drop leaves a column out"
    )


def _kept(column: "Column | SourceColumn") -> str:
    remedy = ""
    if column.kind == "number":
        remedy = "; a feature as it is: dataset.drop leaves it out, dataset.categorical takes codes"
    return f"column {column.name!r}: {column.note}{remedy}"


def found_in(dataset: Dataset, *, leaks: bool) -> list[str]:
    """What a report says of a data set: its size, and what became of its columns.

    Args:
      leaks: whether to look for what `findings` does (`found_soon`).
    """
    used = [column for column in dataset.columns if column.num_features]
    taken = f"{_counted(len(used), 'column')} as " if used else ""
    size = f"{dataset.num_rows:,} rows, {taken}{_counted(dataset.num_features, 'feature')}"
    return [size, *(found_soon(dataset) if leaks else _known_when_read(dataset))]


def announcement(dataset: Dataset, place: str, target: str) -> list[str]:
    """What a run will do with a user's table, in a few lines: its rows, its positive label, and
    what `found_soon` says beside what was said of it when it was read."""
    used = [column for column in dataset.columns if column.num_features]
    lines = [
        f"{dataset.num_rows:,} rows, {_counted(len(used), 'column')} as "
        f"{_counted(dataset.num_features, 'feature')}; positive: {dataset.positive_label[:40]!r} "
        f"of {target!r} ({dataset.positive_reason}), {dataset.num_positives:,} rows "
        f"({dataset.positive_rate:.3g})"
    ]
    if dataset.row_weights is not None:
        weights = dataset.row_weights
        share = np.average(dataset.labels, weights=weights)
        lines.append(
            f"its rows have weights: they are worth {weights.sum() ** 2 / (weights**2).sum():,.0f} "
            f"of equal weight, and {share:.3g} of all weight is positive"
        )
    told = {*dataset.notes, *(c.note for c in dataset.columns if not c.num_features)}
    found = [line for line in found_soon(dataset) if not _is_told(line, told)]
    more = [f"{len(found) - MOST_LINES} more: see `harness data describe`"]
    lines += found if len(found) <= MOST_LINES else [*found[:MOST_LINES], *more]
    return [f"{place}: {line}" for line in lines]


def _is_told(line: str, told: set[str]) -> bool:
    return line in told or ("was left out" in line and line.split(": ", 1)[-1] in told)


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'s'[: number != 1]}"


def page(description: Description, picture: bytes) -> str:
    """An HTML page with the same text, and the picture (SVG) as an image, which runs no script."""
    console = Console(record=True, width=140, file=StringIO())
    console.print(render(description))
    text = console.export_html(inline_styles=True, code_format="<pre>{code}</pre>")
    image = f'<img alt="" src="data:image/svg+xml;base64,{b64encode(picture).decode()}">'
    title = escape(f"{description.name}: {description.num_rows:,} rows")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        "<style>body{font-family:sans-serif;margin:2em}pre{font-size:13px;overflow-x:auto}"
        f"img{{max-width:100%}}</style>{image}{text}</html>\n"
    )


def _facts(description: Description) -> dict[str, str]:
    found = description.repeats
    positives = f"{description.num_positives:,} ({description.positive_rate:.4g} of all rows)"
    facts = {
        "data set": description.name,
        "application": description.application or "not stated",
        "source": description.source,
        "licence": description.licence,
        "rows": f"{description.num_rows:,}",
        "features": f"{description.num_features:,}",
        "positive label": _positive(description),
        "positives": positives,
        "negatives": f"{description.num_rows - description.num_positives:,}",
        "missing values": f"{description.missing:,}",
        "duplicate rows": f"{found.duplicates:,}",
        "true posterior": "known" if description.known_posterior else "unknown",
        "fingerprint": description.fingerprint,
    }
    if description.num_groups is not None:
        facts["groups"] = f"{description.num_groups:,}"
    if description.times is not None:
        facts["times"] = "{:g} to {:g}".format(*description.times)
    return facts


def _positive(description: Description) -> str:
    why = f" ({description.positive_reason})" if description.positive_reason else ""
    return description.positive_label + why


def _column_table(description: Description) -> Table:
    units = "data's own units" if description.raw else "standardised"
    table = Table("column", "type", title=f"Columns ({units})", title_justify="left")
    for heading in ("missing", "mean", "std", "min", "max", "AUROC alone"):
        table.add_column(heading, justify="right")
    for column in description.columns[:MAX_COLUMNS]:
        missing = f"{column.missing:,}" if column.missing else ""
        head = (Text(column.name), column.kind, missing)
        if column.levels:
            table.add_row(*head, Text(_level_shares(column)), "", "", "", f"{column.auroc:.3f}")
        else:
            show = _day if column.kind == "date" else "{:.4g}".format
            table.add_row(
                *head,
                show(column.mean),
                f"{column.std:.4g}" + (" d" if column.kind == "date" else ""),
                show(column.min),
                show(column.max),
                f"{column.auroc:.3f}",
            )
    rest = len(description.columns) - MAX_COLUMNS
    if rest > 0:
        table.caption = f"and {rest:,} more"
    return table


def _level_shares(column: Column) -> str:
    common = sorted(column.levels, key=lambda level: -level[1])
    shown = [f"{name} {share:.1%}" for name, share in common[:MAX_LEVELS]]
    rest = len(column.levels) - MAX_LEVELS
    return "\n".join([*shown, f"and {rest} more"] if rest > 0 else shown)


def _day(days: float) -> str:
    """A date of days since 1970, where the calendar has it."""
    try:
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=days)).date().isoformat()
    except OverflowError:
        return f"{days:.4g}"
