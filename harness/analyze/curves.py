"""Curves of the chosen runs, averaged over seeds and thinned before anything is drawn."""

from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve

from harness.analyze.groups import GROUP
from harness.analyze.load import Runs

MAX_POINTS = 60
MAX_SEEDS = 20
RECALLS = np.linspace(0, 1, 51)[1:]
NUM_BINS = 12
HISTORY = ("train/loss", "train/log_loss", "validation/loss", "validation/log_loss")


def learning_curves(runs: Runs, chosen: pl.DataFrame) -> pl.DataFrame:
    """Median and 10% to 90% band over seeds at up to MAX_POINTS epochs, first and last included.

    Returns:
        Rows (GROUP, epoch, curve, median, low, high), curve one of HISTORY.
    """
    members = chosen.select(*GROUP, "run_id", "shard").lazy()
    history = runs.history.join(members, on=["run_id", "shard"])
    columns = [c for c in HISTORY if c in runs.history.collect_schema()]
    if not columns:
        return pl.DataFrame()
    last = history.group_by(GROUP).agg((pl.col("epoch").max() - 1).alias("last"))
    step = (pl.col("epoch").cast(pl.Int64) - 1) * (MAX_POINTS - 1)
    steps = pl.max_horizontal(pl.col("last").cast(pl.Int64), 1)
    kept = step // steps != (step - (MAX_POINTS - 1)) // steps
    statistics = [e for c in columns for e in _band(c)]
    wide = (
        history.join(last, on=GROUP, nulls_equal=True)
        .filter(kept)
        .group_by(*GROUP, "epoch")
        .agg(statistics)
        .sort(*GROUP, "epoch")
        .collect(engine="streaming")
    )
    parts = ("median", "low", "high")
    long = [
        wide.select(
            *GROUP, "epoch", pl.lit(c).alias("curve"), *(pl.col(f"{c} {p}").alias(p) for p in parts)
        )
        for c in columns
    ]
    return pl.concat(long)


def prediction_curves(runs: Runs, chosen: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Precision-recall and reliability curves on test, averaged over up to MAX_SEEDS runs a group.

    Returns:
        (GROUP, recall, precision) at 50 recalls, and (GROUP, bin, predicted, observed) with each
        run's test rows in NUM_BINS bins of equal size, by predicted probability.
    """
    groups = chosen.select(GROUP).unique().sort(GROUP).with_row_index("group")
    members = chosen.select(*GROUP, "run_id", "shard").join(groups, on=GROUP, nulls_equal=True)
    members = members.sort("run_id").group_by("group", maintain_order=True).head(MAX_SEEDS)
    wanted = members.select("group", "run_id", "shard")
    points = pl.concat([_empty(), *(_shard_points(part, wanted) for part in runs.predictions)])
    means = points.group_by("group", "curve", "point").mean().fill_nan(None).drop_nulls()
    means = groups.join(means, on="group").sort("group", "curve", "point")
    recall = means.filter(pl.col("curve") == "pr")
    bins = means.filter(pl.col("curve") == "reliability")
    return (
        recall.select(*GROUP, recall="x", precision="y"),
        bins.select(*GROUP, bin="point", predicted="x", observed="y"),
    )


def precision_at(logits: NDArray[np.float32], labels: NDArray[np.int8]) -> NDArray[np.float64]:
    """Precision where each of RECALLS is first reached; NaN without a positive."""
    if not labels.any():
        return np.full(RECALLS.size, np.nan)
    precision, recall, _ = precision_recall_curve(labels, logits, drop_intermediate=True)
    precision, recall = precision[::-1], recall[::-1]  # now from the highest threshold down
    reached = np.searchsorted(recall, RECALLS - 1e-12)
    return np.asarray(precision[reached], float)


def reliability(
    logits: NDArray[np.float32], labels: NDArray[np.int8]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean predicted probability and share of positives in bins of equal size."""
    order = np.argsort(logits, kind="stable")
    probs = 1 / (1 + np.exp(-np.clip(logits[order].astype(float), -700, 700)))
    edges = np.linspace(0, order.size, NUM_BINS + 1).astype(int)
    spans = [slice(a, b) for a, b in pairwise(edges) if b > a]
    sorted_labels = labels[order]
    predicted = np.array([probs[s].mean() for s in spans])
    return predicted, np.array([sorted_labels[s].mean() for s in spans])


def _band(column: str) -> list[pl.Expr]:
    value = pl.col(column).cast(pl.Float64).filter(pl.col(column).is_finite())
    return [
        value.median().alias(f"{column} median"),
        value.quantile(0.1, "linear").alias(f"{column} low"),
        value.quantile(0.9, "linear").alias(f"{column} high"),
    ]


def _empty() -> pl.DataFrame:
    number = {"point": pl.Int64, "x": pl.Float64, "y": pl.Float64}
    return pl.DataFrame(schema={"group": pl.UInt32, "curve": pl.String, **number})


def _shard_points(part: pl.LazyFrame, wanted: pl.DataFrame) -> pl.DataFrame:
    """Points (group, curve, point, x, y) of the wanted runs in one shard."""
    rows = part.filter(pl.col("split") == "test").select("run_id", "shard", "logits", "labels")
    found = rows.join(wanted.lazy(), on=["run_id", "shard"]).collect().sort("run_id")
    tables = [_empty()]
    for group, logits, labels in zip(found["group"], found["logits"], found["labels"], strict=True):
        scores, truth = logits.to_numpy(), labels.to_numpy()
        if truth.size and np.isfinite(scores).all():
            tables.append(_table(group, "pr", RECALLS, precision_at(scores, truth)))
            tables.append(_table(group, "reliability", *reliability(scores, truth)))
    return pl.concat(tables)


def _table(group: int, curve: str, x: NDArray[np.float64], y: NDArray[np.float64]) -> pl.DataFrame:
    columns = {"point": np.arange(x.size), "x": x, "y": y}
    labels = [pl.lit(group, pl.UInt32).alias("group"), pl.lit(curve).alias("curve")]
    return pl.DataFrame(columns).select(*labels, *columns)
