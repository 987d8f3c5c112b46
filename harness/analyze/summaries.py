"""The two tables everything else shows: the leaderboard, and differences from the baseline."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from harness.analyze import statistics
from harness.analyze.groups import BASELINE, GROUP, SCENARIO
from harness.analyze.headings import compared, compared_sign, test_metrics

RESOLUTION = 1e-6
"""Smaller paired differences count as 0: logits are float32, and focal loss at gamma 0 must not be
"better" than BCE by its last bit."""

ROPE = 0.01
"""Differences within +-ROPE, in the metric's own unit, are practically none."""

CHANCES = ("p_worse", "p_equivalent", "p_better")


def leaderboard(chosen: pl.DataFrame, *, metrics: Sequence[str] = ()) -> pl.DataFrame:
    """Test scores of each group's chosen configuration, best first in each scenario.

    Args:
        chosen: labelled runs of the chosen configurations (`groups.chosen_runs`).
        metrics: those to show, without `test/`; the first one ranks. All by default.

    Returns:
        One row a group: GROUP, tuning, num_configurations, num_seeds, num_diverged,
        train_positive_rate, test_positive_rate, test_train_ratio, and for each metric its mean
        `M`, half interval `M_half` and number of runs where it is defined `M_seeds`.
    """
    metrics = list(metrics) or test_metrics(chosen)
    grouped = chosen.group_by(GROUP).agg(
        pl.col("tuning", "num_configurations").first(),
        pl.len().alias("num_seeds"),
        (pl.col("status") == "diverged").sum().alias("num_diverged"),
        _share("train").alias("train_positive_rate"),
        _share("test").alias("test_positive_rate"),
        (pl.col("num_test").mean() / pl.col("num_train").mean()).alias("test_train_ratio"),
        *(e for m in metrics for e in _moments(_finite(f"test/{m}"), m)),
    )
    halves = [
        pl.Series(
            f"{m}_half",
            statistics.half_interval(
                sd=grouped[f"{m}_sd"].to_numpy(),
                num_seeds=grouped[f"{m}_seeds"].to_numpy(),
                test_train_ratio=grouped["test_train_ratio"].to_numpy(),
            ),
        ).fill_nan(None)
        for m in metrics
    ]
    table = grouped.with_columns(halves)
    fixed = grouped.columns[: grouped.columns.index("test_train_ratio") + 1]
    shown = [f"{m}{part}" for m in metrics for part in ("", "_half", "_seeds")]
    best = [compared(m, pl.col(m)) * -compared_sign(m) for m in metrics[:1]]
    return table.sort(*SCENARIO, *best, "method", nulls_last=True).select(*fixed, *shown)


def differences(
    chosen: pl.DataFrame,
    *,
    metrics: Sequence[str] = (),
    baseline: str = BASELINE,
    rope: float = ROPE,
) -> pl.DataFrame:
    """Paired differences from the baseline on test, with verdicts.

    Of a metric with a target they are differences of the distance from it.

    Pairs share scenario, seeds and data fingerprint. Holm's correction is over all comparisons of
    one metric in the sweep: the chance of any false verdict in a metric's table is at most 5%.

    Returns:
        One row per group other than the baseline and metric: GROUP, metric, difference, low, high
        (95%, not adjusted), num_pairs, p_value, p_holm, verdict, more_seeds (null where more seeds
        alone would not decide, or nothing is to be decided), p_worse, p_equivalent, p_better (null
        for a metric without direction), family_size.
    """
    metrics = list(metrics) or test_metrics(chosen)
    pairs = _pairs(chosen, metrics, baseline)
    moments = pairs.group_by(*GROUP, "metric").agg(
        *_moments(pl.col("difference"), "difference"),
        (pl.col("num_test").mean() / pl.col("num_train").mean()).alias("ratio"),
    )
    tables = [_decided(family, metric, rope) for (metric,), family in moments.group_by("metric")]
    if not tables:
        return _decided(moments, "", rope)
    table = pl.concat(tables).with_columns(pl.col("metric").cast(pl.Enum(metrics)))
    table = table.sort(*SCENARIO, "metric", "method", nulls_last=True)
    return table.with_columns(pl.col("metric").cast(pl.String))


def _pairs(chosen: pl.DataFrame, metrics: Sequence[str], baseline: str) -> pl.DataFrame:
    on = [*SCENARIO, "replicate", *(c for c in ("data_fingerprint",) if c in chosen.columns)]
    scores = [compared(m, _finite(f"test/{m}")).alias(m) for m in metrics]
    reference = chosen.filter(pl.col("method") == baseline).select(*on, *scores)
    others = chosen.filter(pl.col("method") != baseline)
    others = others.select(*on, "method", "num_test", "num_train", *scores)
    joined = others.join(reference, on=on, nulls_equal=True, suffix="_baseline")
    long = [
        joined.select(
            *GROUP,
            "num_test",
            "num_train",
            pl.lit(m).alias("metric"),
            (pl.col(m) - pl.col(f"{m}_baseline")).alias("difference"),
        )
        for m in metrics
    ]
    value = pl.col("difference")
    exact = pl.when(value.abs() < RESOLUTION).then(0.0).otherwise(value)
    return pl.concat(long).with_columns(exact.alias("difference")).drop_nulls("difference")


def _decided(family: pl.DataFrame, metric: str, rope: float) -> pl.DataFrame:
    family = family.sort(GROUP)
    mean = family["difference"].to_numpy()
    seeds = family["difference_seeds"].to_numpy()
    spread: dict[str, Any] = {
        "sd": family["difference_sd"].fill_null(float("nan")).to_numpy(),
        "num_seeds": seeds,
        "test_train_ratio": family["ratio"].to_numpy(),
    }
    half = statistics.half_interval(**spread)
    p_value = statistics.corrected_p_value(mean=mean, **spread)
    p_holm = statistics.holm(p_value)
    gain = compared_sign(metric) * mean
    words = statistics.verdicts(gain=gain, adjusted_p=p_holm)
    chances = statistics.correlated_t_posterior(mean=gain, **spread, rope=rope)
    chances = chances if compared_sign(metric) else (np.full(mean.shape, np.nan),) * 3
    size = int((p_value == p_value).sum())
    more = statistics.more_seeds_needed(mean=mean, **spread, family_size=size)
    verdict = pl.Series("verdict", words, dtype=pl.String)
    return family.select(*GROUP, "metric", "difference").with_columns(
        pl.Series("low", mean - half).fill_nan(None),
        pl.Series("high", mean + half).fill_nan(None),
        pl.Series("num_pairs", seeds),
        pl.Series("p_value", p_value).fill_nan(None),
        pl.Series("p_holm", p_holm).fill_nan(None),
        verdict,
        pl.when(verdict == "undecided")
        .then(pl.Series(more).fill_nan(None).cast(pl.Int64))
        .alias("more_seeds"),
        *(pl.Series(name, p).fill_nan(None) for name, p in zip(CHANCES, chances, strict=True)),
        pl.lit(size).alias("family_size"),
    )


def _finite(column: str) -> pl.Expr:
    value = pl.col(column).cast(pl.Float64)
    return pl.when(value.is_finite()).then(value)


def _moments(value: pl.Expr, name: str) -> list[pl.Expr]:
    return [
        value.mean().alias(name),
        value.std().alias(f"{name}_sd"),
        value.count().alias(f"{name}_seeds"),
    ]


def _share(split: str) -> pl.Expr:
    return (pl.col(f"num_{split}_positives") / pl.col(f"num_{split}")).mean()
