"""Curves of the stored predictions: one pass over the shards, averaged over a group's runs."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import norm
from sklearn.metrics import precision_recall_curve, roc_curve

from harness.analyze.groups import GROUP
from harness.analyze.load import Runs

MAX_SEEDS = 20
RECALLS = np.linspace(0, 1, 51)[1:]
FALSE_POSITIVE_RATES = np.r_[0, np.geomspace(1e-3, 1, 49)]
NUM_BINS = 10
THRESHOLDS = np.round(np.linspace(-8, 8, 161), 1)
"""Logits between which scores are counted; 0 is a probability of one half."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class ScoreCurves:
    """Of test rows, unless said otherwise; one row a point.

    Attributes:
        recall: GROUP, recall, precision.
        roc: GROUP, fpr, tpr.
        bins: GROUP, bin, predicted, observed, low, high: equal-sized bins and the 95% Wilson
            interval at one run's bin size, since runs share rows.
        counts: GROUP, split, label, num_runs, counts: how many scores of rows with that label
            lie below, between and above THRESHOLDS, summed over num_runs runs.
    """

    recall: pl.DataFrame
    roc: pl.DataFrame
    bins: pl.DataFrame
    counts: pl.DataFrame


def score_curves(runs: Runs, chosen: pl.DataFrame) -> ScoreCurves:
    """Curves of each group, over up to MAX_SEEDS of its runs."""
    groups = chosen.select(GROUP).unique().sort(GROUP).with_row_index("group")
    members = chosen.select(*GROUP, "run_id", "shard").join(groups, on=GROUP, nulls_equal=True)
    members = members.sort("run_id").group_by("group", maintain_order=True).head(MAX_SEEDS)
    wanted = members.select("group", "run_id", "shard")
    read = [_read_shard(part, wanted) for part in runs.predictions]
    points = pl.concat([_points([]), *(points for points, _ in read)])
    means = points.group_by("group", "curve", "point").mean().fill_nan(None).drop_nulls()
    means = groups.join(means, on="group").sort("group", "curve", "point")
    pr, roc, bins = (means.filter(pl.col("curve") == c) for c in ("pr", "roc", "reliability"))
    low, high = wilson(bins["y"].to_numpy(), bins["size"].to_numpy())
    return ScoreCurves(
        recall=pr.select(*GROUP, recall="x", precision="y"),
        roc=roc.select(*GROUP, fpr="x", tpr="y"),
        bins=bins.with_columns(pl.Series("low", low), pl.Series("high", high)).select(
            *GROUP, "low", "high", bin="point", predicted="x", observed="y"
        ),
        counts=_summed([counts for _, counts in read], groups),
    )


def precision_at(logits: NDArray[np.float32], labels: NDArray[np.int8]) -> Floats:
    """Precision where each of RECALLS is first reached; NaN without a positive."""
    if not labels.any():
        return np.full(RECALLS.size, np.nan)
    precision, recall, _ = precision_recall_curve(labels, logits, drop_intermediate=True)
    precision, recall = precision[::-1], recall[::-1]  # now from the highest threshold down
    reached = np.searchsorted(recall, RECALLS - 1e-12)
    return np.asarray(precision[reached], float)


def recall_at(logits: NDArray[np.float32], labels: NDArray[np.int8]) -> Floats:
    """The ROC curve at FALSE_POSITIVE_RATES; NaN without both classes."""
    if labels.min() == labels.max():
        return np.full(FALSE_POSITIVE_RATES.size, np.nan)
    fpr, tpr, _ = roc_curve(labels, logits)
    # Of the points that share a false positive rate, the highest is the one reached.
    last = np.searchsorted(fpr, np.unique(fpr), "right") - 1
    return np.asarray(np.interp(FALSE_POSITIVE_RATES, fpr[last], tpr[last]))


def reliability(
    logits: NDArray[np.float32], labels: NDArray[np.int8]
) -> tuple[Floats, Floats, Floats]:
    """Mean predicted probability, share of positives and rows of bins of equal size."""
    order = np.argsort(logits, kind="stable")
    probs = expit(logits[order].astype(float))
    edges = np.linspace(0, order.size, NUM_BINS + 1).astype(int)
    spans = [slice(a, b) for a, b in pairwise(edges) if b > a]
    sorted_labels = labels[order]
    predicted = np.array([probs[s].mean() for s in spans])
    observed = np.array([sorted_labels[s].mean() for s in spans])
    return predicted, observed, np.array([float(s.stop - s.start) for s in spans])


def wilson(share: Floats, size: Floats, *, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Wilson's (1927) interval of a share observed on `size` rows."""
    z2 = norm.isf((1 - confidence) / 2) ** 2
    centre = (share + z2 / (2 * size)) / (1 + z2 / size)
    half = np.sqrt(z2 * (share * (1 - share) / size + z2 / (4 * size**2))) / (1 + z2 / size)
    return np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)


def score_counts(logits: NDArray[np.float32], labels: NDArray[np.int8]) -> tuple[Ints, Ints]:
    """How many scores of negatives and of positives lie in each gap of THRESHOLDS.

    A row is predicted positive at THRESHOLDS[i] where its logit is at least that: those in the
    gaps i + 1 and above.
    """
    gap = np.searchsorted(THRESHOLDS, logits.astype(float), side="right")
    size = THRESHOLDS.size + 1
    negative, positive = (np.bincount(gap[labels == y], minlength=size) for y in (0, 1))
    return negative, positive


Counts = dict[tuple[int, str], list[Any]]


def _read_shard(part: pl.LazyFrame, wanted: pl.DataFrame) -> tuple[pl.DataFrame, Counts]:
    """Points (group, curve, point, x, y, size) and counts of the wanted runs in one shard."""
    columns = ("run_id", "shard", "split", "logits", "labels")
    found = part.select(columns).join(wanted.lazy(), on=["run_id", "shard"]).collect()
    tables: list[tuple[int, str, Floats, Floats, Any]] = []
    counts = Counts()
    for row in found.sort("run_id").select("group", "split", "logits", "labels").iter_slices(1):
        group, split = row["group"][0], row["split"][0]
        logits, labels = row["logits"][0].to_numpy(), row["labels"][0].to_numpy()
        if not labels.size or not np.isfinite(logits).all():
            continue
        total = counts.setdefault((group, split), [0, 0, 0])
        negative, positive = score_counts(logits, labels)
        counts[group, split] = [total[0] + 1, total[1] + negative, total[2] + positive]
        if split == "test":
            predicted, observed, size = reliability(logits, labels)
            tables.append((group, "pr", RECALLS, precision_at(logits, labels), 0))
            tables.append((group, "roc", FALSE_POSITIVE_RATES, recall_at(logits, labels), 0))
            tables.append((group, "reliability", predicted, observed, size))
    return _points(tables), counts


def _points(tables: list[tuple[int, str, Floats, Floats, Any]]) -> pl.DataFrame:
    schema = {"group": pl.UInt32, "curve": pl.String, "point": pl.Int64}
    schema |= dict.fromkeys(("x", "y", "size"), pl.Float64)
    lengths = [x.size for _, _, x, _, _ in tables]
    if not tables:
        return pl.DataFrame(schema=schema)
    columns = {
        "group": np.repeat([group for group, *_ in tables], lengths),
        "curve": np.repeat([curve for _, curve, *_ in tables], lengths),
        "point": np.concatenate([np.arange(n) for n in lengths]),
        "x": np.concatenate([x for _, _, x, _, _ in tables]),
        "y": np.concatenate([y for _, _, _, y, _ in tables]),
        "size": np.concatenate([np.broadcast_to(s, x.shape) for _, _, x, _, s in tables]),
    }
    return pl.DataFrame(columns, schema_overrides=schema, strict=False)


def _summed(parts: list[Counts], groups: pl.DataFrame) -> pl.DataFrame:
    totals = Counts()
    for part in parts:
        for key, counted in part.items():
            before = totals.get(key, [0, 0, 0])
            totals[key] = [a + b for a, b in zip(before, counted, strict=True)]
    rows = [
        (group, split, label, runs, counts.tolist())
        for (group, split), (runs, *by_label) in sorted(totals.items())
        for label, counts in enumerate(by_label)
    ]
    schema = {"group": pl.UInt32, "split": pl.String, "label": pl.Int8, "num_runs": pl.Int64}
    table = pl.DataFrame(rows, schema={**schema, "counts": pl.List(pl.Int64)}, orient="row")
    return groups.join(table, on="group").sort("group", "split", "label").drop("group")
