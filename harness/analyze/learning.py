"""Curves of the chosen runs, averaged over seeds and thinned before anything is drawn."""

import polars as pl

from harness.analyze.groups import GROUP
from harness.analyze.load import Runs

MAX_POINTS = 60
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


def _band(column: str) -> list[pl.Expr]:
    value = pl.col(column).cast(pl.Float64).filter(pl.col(column).is_finite())
    return [
        value.median().alias(f"{column} median"),
        value.quantile(0.1, "linear").alias(f"{column} low"),
        value.quantile(0.9, "linear").alias(f"{column} high"),
    ]
