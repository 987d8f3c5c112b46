"""The tables that everything else shows.

They are the leaderboard, and differences from the baseline on each data set and over data sets.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from harness.analyze import statistics
from harness.analyze.groups import BASELINE, GROUP, SCENARIO, pairing
from harness.analyze.headings import (
    bounds,
    compared,
    compared_bounds,
    compared_sign,
    test_metrics,
)

RESOLUTION = 1e-6
"""Smaller paired differences count as 0, and so do smaller spreads: logits are float32, and focal
loss at gamma 0 must not be "better" than BCE by its last bit."""

ROPE = 0.01
"""Differences within +-ROPE, in the metric's own unit, are practically none."""

CHANCES = ("p_worse", "p_equivalent", "p_better")

ACROSS: dict[str, Any] = {
    "method": pl.String,
    "metric": pl.String,
    "num_datasets": pl.Int64,
    "wins": pl.Int64,
    "ties": pl.Int64,
    "losses": pl.Int64,
    "difference": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "p_value": pl.Float64,
    "p_holm": pl.Float64,
    "p_same": pl.Float64,
    "verdict": pl.String,
    "more_datasets": pl.Int64,
    "p_worse": pl.Float64,
    "p_equivalent": pl.Float64,
    "p_better": pl.Float64,
    "family_size": pl.Int64,
}


def leaderboard(chosen: pl.DataFrame, *, metrics: Sequence[str] = ()) -> pl.DataFrame:
    """Test scores of each group's chosen configurations, best first in each scenario.

    Runs beyond the seeds that all configurations share count too.

    Args:
        chosen: labelled runs of the chosen configurations (`groups.chosen_runs`).
        metrics: those to show, without `test/`; the first one ranks. All by default.

    Returns:
        One row a group: GROUP, tuning (and of several, how often each was chosen),
        num_configurations, num_shared (of `groups.chosen_runs`),
        num_seeds, num_diverged, train_positive_rate, test_positive_rate, test_train_ratio, and for
        each metric its mean `M`, the ends of its 95% interval `M_low` and `M_high`, cut at the ends
        of the metric's range, and the number of runs where it is defined `M_seeds`.
    """
    metrics = list(metrics) or test_metrics(chosen)
    grouped = chosen.group_by(GROUP).agg(
        pl.col("tuning").sort(),
        pl.col("num_configurations", "num_shared").first(),
        pl.len().alias("num_seeds"),
        (pl.col("status") == "diverged").sum().alias("num_diverged"),
        _share("train").alias("train_positive_rate"),
        _share("test").alias("test_positive_rate"),
        (pl.col("num_test").mean() / pl.col("num_train").mean()).alias("test_train_ratio"),
        *(e for m in metrics for e in _moments(_finite(f"test/{m}"), m)),
    )
    ends = [
        pl.Series(f"{m}_{end}", np.clip(value, *bounds(m))).fill_nan(None)
        for m in metrics
        for end, value in zip(("low", "high"), _interval(grouped, m), strict=True)
    ]
    chosen_tunings = pl.Series("tuning", map(_counted, grouped["tuning"]), dtype=pl.String)
    table = grouped.with_columns(chosen_tunings, *ends)
    fixed = grouped.columns[: grouped.columns.index("test_train_ratio") + 1]
    shown = [f"{m}{part}" for m in metrics for part in ("", "_low", "_high", "_seeds")]
    best = [compared(m, pl.col(m)) * -compared_sign(m) for m in metrics[:1]]
    return table.sort(*SCENARIO, *best, "method", nulls_last=True).select(*fixed, *shown)


def _counted(tunings: pl.Series) -> str:
    """`learning_rate=0.01 (7 of 10), learning_rate=0.1 (3 of 10)`, or the only one's name."""
    counts = Counter(tunings).most_common()
    if len(counts) == 1:
        return str(counts[0][0])
    return ", ".join(f"{tuning} ({count} of {len(tunings)})" for tuning, count in counts)


def _interval(grouped: pl.DataFrame, metric: str) -> tuple[np.ndarray, np.ndarray]:
    mean = grouped[metric].fill_null(float("nan")).to_numpy()
    half = statistics.half_interval(
        sd=grouped[f"{metric}_sd"].to_numpy(),
        num_seeds=grouped[f"{metric}_seeds"].to_numpy(),
        test_train_ratio=grouped["test_train_ratio"].to_numpy(),
    )
    return mean - half, mean + half


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
    one metric in the sweep: the chance that any "better", "worse" or "differs" in a metric's table
    is false is at most 5%, and so is, by a correction of its own, that of any "same": less than
    `rope` either way, of the first metric alone, in whose unit the rope is.

    Returns:
        One row per group other than the baseline and metric: GROUP, metric, difference, low, high
        (95%, not adjusted, cut where no difference can lie), num_pairs, p_value, p_holm, p_same
        (Holm's of "the difference is `rope` or more"), verdict, more_seeds (null where more seeds
        alone would not decide, or nothing is to be decided), p_worse, p_equivalent, p_better (null
        for a metric without direction), family_size.
    """
    metrics = list(metrics) or test_metrics(chosen)
    pairs = _pairs(chosen, metrics, baseline)
    moments = pairs.group_by(*GROUP, "metric").agg(
        *_moments(pl.col("difference"), "difference"),
        (pl.col("num_test").mean() / pl.col("num_train").mean()).alias("ratio"),
    )
    tables = [
        _decided(family, metric, rope, is_headline=metric == metrics[0])
        for (metric,), family in moments.group_by("metric")
    ]
    if not tables:
        return _decided(moments, "", rope, is_headline=False)
    table = pl.concat(tables).with_columns(pl.col("metric").cast(pl.Enum(metrics)))
    table = table.sort(*SCENARIO, "metric", "method", nulls_last=True)
    return table.with_columns(pl.col("metric").cast(pl.String))


def validation_gains(chosen: pl.DataFrame, metric: str, *, baseline: str) -> pl.DataFrame:
    """How much better than the baseline each method is on validation, its mean over pairs.

    Returns:
        Rows (SCENARIO, method, gain); none of a metric that validation lacks.
    """
    known = [metric] if f"validation/{metric}" in chosen.columns else []
    pairs = _pairs(chosen, known, baseline, split="validation")
    gain = pl.col("difference").mean() * compared_sign(metric)
    return pairs.group_by(*SCENARIO, "method").agg(gain.alias("gain"))


def _pairs(
    chosen: pl.DataFrame, metrics: Sequence[str], baseline: str, *, split: str = "test"
) -> pl.DataFrame:
    on = [*SCENARIO, *pairing(chosen)]
    scores = [compared(m, _finite(f"{split}/{m}")).alias(m) for m in metrics]
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
    # Without a metric the empty table has the columns all the same.
    none = joined.head(0).select(
        *GROUP, "num_test", "num_train", metric=pl.lit(""), difference=pl.lit(0.0)
    )
    table = pl.concat([none, *long])
    return table.with_columns(exact.alias("difference")).drop_nulls("difference")


def _decided(family: pl.DataFrame, metric: str, rope: float, *, is_headline: bool) -> pl.DataFrame:
    family = family.sort(GROUP)
    mean = family["difference"].to_numpy()
    seeds = family["difference_seeds"].to_numpy()
    spread: dict[str, Any] = {
        "sd": family["difference_sd"].fill_null(float("nan")).to_numpy(),
        "num_seeds": seeds,
        "test_train_ratio": family["ratio"].to_numpy(),
    }
    half = statistics.half_interval(**spread)
    low, high = (np.clip(end, *compared_bounds(metric)) for end in (mean - half, mean + half))
    p_value = statistics.corrected_p_value(mean=mean, **spread)
    p_holm = statistics.holm(p_value)
    gain = compared_sign(metric) * mean
    same = statistics.equivalence_p_value(mean=mean, **spread, margin=rope)
    p_same = statistics.holm(same if is_headline else np.full(mean.shape, np.nan))
    words = statistics.verdicts(gain=gain, adjusted_p=p_holm, adjusted_same=p_same)
    chances = statistics.correlated_t_posterior(mean=gain, **spread, rope=rope)
    chances = chances if compared_sign(metric) else (np.full(mean.shape, np.nan),) * 3
    size = int((p_value == p_value).sum())
    more = statistics.more_seeds_needed(mean=mean, **spread, family_size=size)
    verdict = pl.Series("verdict", words, dtype=pl.String)
    return family.select(*GROUP, "metric", "difference").with_columns(
        pl.Series("low", low).fill_nan(None),
        pl.Series("high", high).fill_nan(None),
        pl.Series("num_pairs", seeds),
        pl.Series("p_value", p_value).fill_nan(None),
        pl.Series("p_holm", p_holm).fill_nan(None),
        pl.Series("p_same", p_same).fill_nan(None),
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
    spread = value.std()
    return [
        value.mean().alias(name),
        pl.when(spread < RESOLUTION).then(0.0).otherwise(spread).alias(f"{name}_sd"),
        value.count().alias(f"{name}_seeds"),
    ]


def _share(split: str) -> pl.Expr:
    return (pl.col(f"num_{split}_positives") / pl.col(f"num_{split}")).mean()


def across_datasets(
    differences: pl.DataFrame, *, rope: float = ROPE, shown: Sequence[str] | None = None
) -> pl.DataFrame:
    """Wilcoxon with Holm, and the Bayesian signed-rank test, over data sets.

    A data set's number is its mean difference over its positive rates and settings: these share
    rows, so that each counted by itself would be no new evidence.

    Args:
        differences: `differences`.
        rope: half the region of practical equivalence, in the metric's unit, > 0.
        shown: metrics that get the Bayesian probabilities, which take the longest and need a rope
            chosen for them; all by default. The first one's differences are tested for being
            less than the rope, too.

    Returns:
        Rows of ACROSS, one a group and metric seen on two data sets or more; `difference` is the
        Hodges-Lehmann estimate with its 95% interval; p_worse, p_equivalent and p_better are of
        the next data set. The family is one metric's comparisons, in two: p_holm is of "no
        difference", p_same of "the rope or more". A metric without direction has
        neither wins and losses nor these probabilities.
    """
    by_dataset = differences.group_by("metric", "method", "dataset").agg(
        pl.col("difference").mean()
    )
    by_dataset = by_dataset.sort("metric", "method", "dataset")
    order = differences["metric"].unique(maintain_order=True)
    tables = [pl.DataFrame(schema=ACROSS)]
    for metric in order:
        family = by_dataset.filter(pl.col("metric") == metric)
        values = {
            method: _exact(rows["difference"].to_numpy())
            for (method,), rows in family.group_by("method", maintain_order=True)
            if rows.height > 1
        }
        if values:
            is_shown = shown is None or metric in shown
            is_headline = metric == (shown or order)[0]
            tables.append(_family(metric, values, rope, is_shown=is_shown, is_headline=is_headline))
    return pl.concat(tables)


def _exact(values: np.ndarray) -> np.ndarray:
    return np.where(abs(values) < RESOLUTION, 0.0, values)


def _family(
    metric: str, values: dict[str, np.ndarray], rope: float, *, is_shown: bool, is_headline: bool
) -> pl.DataFrame:
    better = compared_sign(metric)
    p_values = [statistics.wilcoxon_p(v) for v in values.values()]
    adjusted = statistics.holm(p_values)
    shifts = [statistics.hodges_lehmann(v) for v in values.values()]
    gains = [better * shift.median for shift in shifts]
    same = [
        statistics.equivalence_wilcoxon_p(v, margin=rope) if is_headline else float("nan")
        for v in values.values()
    ]
    p_same = statistics.holm(same)
    words = statistics.verdicts(gain=gains, adjusted_p=adjusted, adjusted_same=p_same)
    rows = []
    for i, (method, value) in enumerate(values.items()):
        worse = equal = gain = float("nan")
        if better and is_shown:
            worse, equal, gain = statistics.signed_rank_posterior(better * value, rope=rope)
        more = statistics.more_datasets_needed(
            p_value=p_values[i], num_datasets=value.size, family_size=len(values)
        )
        counts = {
            "wins": int((better * value > 0).sum()) if better else None,
            "ties": int((value == 0).sum()),
            "losses": int((better * value < 0).sum()) if better else None,
        }
        rows.append(
            {
                "method": method,
                "metric": metric,
                "num_datasets": value.size,
                **counts,
                "difference": shifts[i].median,
                "low": shifts[i].low,
                "high": shifts[i].high,
                "p_value": p_values[i],
                "p_holm": adjusted[i],
                "p_same": p_same[i],
                "verdict": words[i],
                "more_datasets": more if words[i] == "undecided" else None,
                "p_worse": worse,
                "p_equivalent": equal,
                "p_better": gain,
                "family_size": len(values),
            }
        )
    table = pl.DataFrame(rows, schema=ACROSS)
    return table.with_columns(pl.col(pl.Float64).fill_nan(None))


def ranks(board: pl.DataFrame, metric: str) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Average ranks over the data sets on which every group has a score, and what tests them.

    Returns:
        (method, rank) best first, and `num_datasets, num_groups, friedman_p, difference`
        (Nemenyi's critical one) and `cliques`; both empty below 2 data sets or 3 groups, and for a
        metric without direction.
    """
    empty = pl.DataFrame(schema={"method": pl.String, "rank": pl.Float64})
    means = board.group_by("dataset", "method").agg(pl.col(metric).mean()).drop_nulls()
    groups = sorted(means["method"].unique())
    complete = means.filter(pl.len().over("dataset") == len(groups))
    datasets = complete["dataset"].n_unique()
    if datasets < 2 or len(groups) < 3 or not compared_sign(metric):
        return empty, {}
    scores = complete.pivot("method", index="dataset", values=metric).select(groups).to_numpy()
    scores = np.round(compared_sign(metric) * compared(metric, scores), 6)
    average = statistics.average_ranks(scores)
    table = pl.DataFrame({"method": groups, "rank": average}).sort("rank", "method")
    gap = statistics.critical_difference(num_groups=len(groups), num_datasets=datasets)
    return table, {
        "num_datasets": datasets,
        "num_groups": len(groups),
        "friedman_p": statistics.friedman_p(scores),
        "difference": gap,
        "cliques": statistics.cliques(average, difference=gap),
    }


def interquartile_means(chosen: pl.DataFrame, metrics: Sequence[str]) -> pl.DataFrame:
    """The mean of the middle half of each group's test scores, data sets as strata.

    Returns:
        Rows (method, metric, iqm, low, high, num_strata); a stratum is a scenario.
    """
    rows = []
    for (method,), runs in chosen.sort(*SCENARIO, "run_id").group_by("method", maintain_order=True):
        starts = np.flatnonzero(np.diff(runs.select(pl.struct(SCENARIO).rle_id()).to_series())) + 1
        for metric in metrics:
            values = runs[f"test/{metric}"].cast(pl.Float64).to_numpy()
            scores = [s[np.isfinite(s)] for s in np.split(values, starts)]
            scores = [s for s in scores if s.size]
            shift = statistics.interquartile_mean(scores, num_samples=500)
            rows.append((method, metric, shift.median, shift.low, shift.high, len(scores)))
    schema = {"method": pl.String, "metric": pl.String, "iqm": pl.Float64}
    schema |= {"low": pl.Float64, "high": pl.Float64, "num_strata": pl.Int64}
    table = pl.DataFrame(rows, schema=schema, orient="row").sort("metric", "method")
    return table.with_columns(pl.col(pl.Float64).fill_nan(None))
