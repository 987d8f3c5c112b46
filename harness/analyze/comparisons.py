"""The tables that everything else shows.

They are the leaderboard, and differences from the baseline on each data set and over data sets.

Questions named in advance (the headline, and what a report's first table asks) are families of
their own, in which Holm's correction holds the chance of any false verdict. All else that was
measured is exploratory, one family: Benjamini and Hochberg's holds the share of false ones.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
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
    "p_adjusted": pl.Float64,
    "p_same": pl.Float64,
    "verdict": pl.String,
    "more_datasets": pl.Int64,
    "more_splits": pl.Int64,
    "p_worse": pl.Float64,
    "p_equivalent": pl.Float64,
    "p_better": pl.Float64,
    "family_size": pl.Int64,
    "correction": pl.String,
}

HOLM, EXPLORED = "Holm", "Benjamini-Hochberg"
"""What a comparison's p was corrected by; that of the second is exploratory."""


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
        test_train_ratio(chosen.columns).alias("test_train_ratio"),
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


def test_train_ratio(columns: Collection[str]) -> pl.Expr:
    """Rows tested on over rows that the run was made with, on average: see `statistics`.

    Of tables of scores, whose validation rows nobody told, those trained on.
    """
    made_with = pl.col("num_train").mean()
    if "num_validation" in columns:
        made_with += pl.col("num_validation").fill_null(0).mean()
    return pl.col("num_test").mean() / made_with


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
    named: Collection[str] | None = None,
) -> pl.DataFrame:
    """Paired differences from the baseline on test, with verdicts.

    Of a metric with a target they are differences of the distance from it.

    Pairs share scenario, seeds and data fingerprint. For each metric ``named`` (all by default)
    Holm's correction is over its comparisons in the sweep: the chance that any "better", "worse" or
    "differs" among them is false is at most 5%, and so is, by a correction of its own, that of any
    "same": less than the metric's `margin` either way. All other metrics are one family, in which
    Benjamini and Hochberg's correction keeps false ones at 5% of what is found; nothing of it is
    called the same.

    Returns:
        One row per group other than the baseline and metric: GROUP, metric, difference, low, high
        (95%, not adjusted, cut where no difference can lie), num_pairs, split_variance (that of the
        mean that more pairs would lessen), p_value, p_adjusted, p_same (Holm's of "the difference
        is the margin or more"), verdict, more_seeds (null where more seeds alone would not decide,
        or nothing is to be decided), p_worse, p_equivalent, p_better (null for a metric without
        direction), family_size, correction.
    """
    metrics = list(metrics) or test_metrics(chosen)
    named = metrics if named is None else named
    pairs = _pairs(chosen, metrics, baseline)
    moments = pairs.group_by(*GROUP, "metric").agg(
        *_moments(pl.col("difference"), "difference"),
        test_train_ratio(pairs.columns).alias("ratio"),
    )
    margins = {m: margin(m, rope=rope, headline=metrics[0]) for m in named if m in metrics}
    tables = [
        _tested(one, metric, rope, margins.get(metric, float("nan")))
        for (metric,), one in moments.group_by("metric")
    ]
    table = pl.concat(tables) if tables else _tested(moments, "", rope, float("nan"))
    table = table.with_columns(pl.col("metric").cast(pl.Enum(metrics)))
    table = table.sort(*SCENARIO, "metric", "method", nulls_last=True)
    table = _decided(table.with_columns(pl.col("metric").cast(pl.String)), named)
    more = np.full(table.height, np.nan)
    for (metric, size), one in table.with_row_index().group_by("metric", "family_size"):
        more[one["index"]] = statistics.more_seeds_needed(
            mean=one["difference"].to_numpy(),
            sd=one["sd"].to_numpy(),
            num_seeds=one["num_pairs"].to_numpy(),
            test_train_ratio=one["ratio"].to_numpy(),
            margin=margins.get(str(metric), float("nan")),
            family_size=size,
        )
    needed = pl.Series(more).fill_nan(None).cast(pl.Int64)
    seeds = pl.when(pl.col("verdict") == "undecided").then(needed).alias("more_seeds")
    return table.with_columns(seeds).select(
        *GROUP, "metric", "difference", "low", "high", "num_pairs", "split_variance", "p_value",
        "p_adjusted", "p_same", "verdict", "more_seeds", *CHANCES, "family_size", "correction",
    ).with_columns(pl.col(pl.Float64).fill_nan(None))  # fmt: skip


def margin(metric: str, *, rope: float, headline: str) -> float:
    """The difference from which on one matters, in the metric's unit; NaN where nobody has said.

    `rope` of the headline, in whose unit it is given, and ROPE of other metrics that 1 is the best
    of, such as skill and F1. What a nat or a unit of cost is worth depends on the prevalence.

    >>> margin("auroc", rope=0.02, headline="auroc"), margin("skill", rope=0.02, headline="auroc")
    (0.02, 0.01)
    >>> margin("log_loss", rope=0.02, headline="auroc")
    nan
    """
    if metric == headline:
        return rope
    return ROPE if compared_sign(metric) > 0 and bounds(metric)[1] == 1 else float("nan")


def _decided(table: pl.DataFrame, named: Collection[str]) -> pl.DataFrame:
    """With p_value and p_matters corrected (p_adjusted, p_same), what by, and verdicts."""
    metric = table["metric"].to_numpy()
    is_named = np.isin(metric, list(named))

    def corrected(column: str) -> np.ndarray:
        p = table[column].to_numpy()
        adjusted = statistics.benjamini_hochberg(np.where(is_named, np.nan, p))
        for one in named:
            adjusted[metric == one] = statistics.holm(p[metric == one])
        return adjusted

    p_adjusted, p_same = corrected("p_value"), corrected("p_matters")
    words = statistics.verdicts(
        gain=table["gain"].to_numpy(), adjusted_p=p_adjusted, adjusted_same=p_same
    )
    is_tested = pl.col("p_value").is_not_nan()
    correction = pl.Series("correction", np.where(is_named, HOLM, EXPLORED), dtype=pl.String)
    of_family = pl.when(correction == HOLM).then("metric")
    return table.with_columns(
        pl.Series("p_adjusted", p_adjusted, dtype=pl.Float64),
        pl.Series("p_same", p_same, dtype=pl.Float64),
        pl.Series("verdict", words, dtype=pl.String),
        is_tested.sum().over(of_family).cast(pl.Int64).alias("family_size"),
        correction,
    )


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
    sizes = [c for c in ("num_test", "num_train", "num_validation") if c in others.columns]
    others = others.select(*on, "method", *sizes, *scores)
    joined = others.join(reference, on=on, nulls_equal=True, suffix="_baseline")
    long = [
        joined.select(
            *GROUP,
            *sizes,
            pl.lit(m).alias("metric"),
            (pl.col(m) - pl.col(f"{m}_baseline")).alias("difference"),
        )
        for m in metrics
    ]
    value = pl.col("difference")
    exact = pl.when(value.abs() < RESOLUTION).then(0.0).otherwise(value)
    # Without a metric the empty table has the columns all the same.
    none = joined.head(0).select(*GROUP, *sizes, metric=pl.lit(""), difference=pl.lit(0.0))
    table = pl.concat([none, *long])
    return table.with_columns(exact.alias("difference")).drop_nulls("difference")


def _tested(family: pl.DataFrame, metric: str, rope: float, margin: float) -> pl.DataFrame:
    """Each comparison of one metric by itself: interval, p values, posterior."""
    family = family.sort(GROUP)
    mean = family["difference"].to_numpy()
    seeds = family["difference_seeds"].to_numpy()
    sd = family["difference_sd"].fill_null(float("nan")).to_numpy()
    spread: dict[str, Any] = {
        "sd": sd,
        "num_seeds": seeds,
        "test_train_ratio": family["ratio"].to_numpy(),
    }
    half = statistics.half_interval(**spread)
    low, high = (np.clip(end, *compared_bounds(metric)) for end in (mean - half, mean + half))
    gain = compared_sign(metric) * mean
    chances = statistics.correlated_t_posterior(mean=gain, **spread, rope=rope)
    chances = chances if compared_sign(metric) else (np.full(mean.shape, np.nan),) * 3
    with np.errstate(invalid="ignore"):
        split_variance = np.square(sd) / np.where(seeds > 1, seeds, np.nan)
    return family.select(*GROUP, "metric", "difference", "ratio").with_columns(
        pl.Series("gain", gain),
        pl.Series("sd", sd),
        pl.Series("low", low),
        pl.Series("high", high),
        pl.Series("num_pairs", seeds),
        pl.Series("split_variance", split_variance),
        pl.Series("p_value", statistics.corrected_p_value(mean=mean, **spread)),
        pl.Series("p_matters", statistics.equivalence_p_value(mean=mean, **spread, margin=margin)),
        *(pl.Series(name, p) for name, p in zip(CHANCES, chances, strict=True)),
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
    differences: pl.DataFrame,
    *,
    families: pl.DataFrame | None = None,
    rope: float = ROPE,
    shown: Sequence[str] | None = None,
    named: Collection[str] | None = None,
) -> pl.DataFrame:
    """Wilcoxon, corrected as differences are, and the Bayesian signed-rank test, over data sets.

    A data set's number is its mean difference over its positive rates and settings, and that of
    several made from the same rows (`groups.families`) the mean of theirs: these share rows, so
    that each counted by itself would be no new evidence.

    Args:
        differences: `differences`.
        families: `groups.families`; none: each data set is a family of its own.
        rope: half the region of practical equivalence, in the headline's unit, > 0.
        shown: metrics that get the Bayesian probabilities, which take the longest and need a rope
            chosen for them; all by default. The first one is the headline.
        named: as given to `differences`; all metrics by default.

    Returns:
        Rows of ACROSS, one a group and metric seen on two data sets or more; `difference` is the
        Hodges-Lehmann estimate with its 95% interval; p_worse, p_equivalent and p_better are those
        of `statistics.signed_rank_posterior`; more_datasets or more_splits is what would decide an
        undecided one. A metric without direction has neither wins and losses nor probabilities.
    """
    order = differences["metric"].unique(maintain_order=True).to_list()
    named, headline = order if named is None else named, [*(shown or order), ""][0]
    by_family = _by_family(differences, families)
    seen = by_family.filter(pl.len().over("metric", "method") > 1)
    groups = seen.partition_by("metric", "method", maintain_order=True, as_dict=True)
    rows = []
    for metric in order:
        limit = margin(metric, rope=rope, headline=headline) if metric in named else float("nan")
        for (_, method), one in groups.items():
            if one["metric"][0] == metric:
                told = _across(metric, one, rope, limit, is_shown=shown is None or metric in shown)
                rows.append({"method": method, "metric": metric, **told})
    if not rows:
        return pl.DataFrame(schema=ACROSS)
    table = _decided(pl.DataFrame(rows, infer_schema_length=None), named)
    more = [_more(row, groups[row["metric"], row["method"]]) for row in table.iter_rows(named=True)]
    return table.with_columns(
        pl.Series("more_datasets", [one.datasets for one in more], dtype=pl.Int64),
        pl.Series("more_splits", [one.splits for one in more], dtype=pl.Int64),
        pl.col(pl.Float64).fill_nan(None),
    ).select(pl.col(name).cast(kind) for name, kind in ACROSS.items())


def _by_family(differences: pl.DataFrame, families: pl.DataFrame | None) -> pl.DataFrame:
    """Rows (metric, method, family, difference, split_variance, num_pairs).

    What shares rows shares its noise, so that its variances are averaged like its differences.
    """
    kin = differences.select("dataset", family="dataset") if families is None else families
    means = pl.col("difference", "split_variance", "num_pairs").mean()
    rows = differences.join(kin.unique("dataset"), on="dataset")
    by_dataset = rows.group_by("metric", "method", "family", "dataset").agg(means)
    return (
        by_dataset.group_by("metric", "method", "family").agg(means)
        .with_columns(pl.when(pl.col("difference").abs() >= RESOLUTION)
                      .then("difference").otherwise(0.0).alias("difference"))
        .sort("metric", "method", "family")
    )  # fmt: skip


def _across(
    metric: str, families: pl.DataFrame, rope: float, margin: float, *, is_shown: bool
) -> dict[str, Any]:
    """One comparison over data sets by itself."""
    better, value = compared_sign(metric), families["difference"].to_numpy()
    shift = statistics.hodges_lehmann(value)
    worse = equal = gain = float("nan")
    if better and is_shown:
        worse, equal, gain = statistics.signed_rank_posterior(better * value, rope=rope)
    return {
        "num_datasets": value.size,
        "wins": int((better * value > 0).sum()) if better else None,
        "ties": int((value == 0).sum()),
        "losses": int((better * value < 0).sum()) if better else None,
        "difference": shift.median,
        "gain": better * shift.median,
        "low": shift.low,
        "high": shift.high,
        "p_value": statistics.wilcoxon_p(value),
        "p_matters": statistics.equivalence_wilcoxon_p(value, margin=margin),
        "p_worse": worse,
        "p_equivalent": equal,
        "p_better": gain,
    }


def _more(row: Mapping[str, Any], families: pl.DataFrame) -> statistics.More:
    if row["verdict"] != "undecided":
        return statistics.More()
    return statistics.more_needed_of_ranks(
        values=families["difference"].to_numpy(),
        split_variance=float(families["split_variance"].fill_null(float("nan")).to_numpy().mean()),
        num_splits=float(families["num_pairs"].to_numpy().mean()),
        p_value=row["p_value"],
        p_matters=row["p_matters"],
        family_size=row["family_size"],
    )


def ranks(
    board: pl.DataFrame, metric: str, *, families: pl.DataFrame | None = None
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Average ranks over the data sets on which every group has a score, and what tests them.

    Data sets made from the same rows (`groups.families`) are one, with their mean scores.

    Returns:
        (method, rank) best first, and `num_datasets, num_groups, friedman_p, difference`
        (Nemenyi's critical one) and `cliques`; both empty below 2 data sets or 3 groups, and for a
        metric without direction.
    """
    empty = pl.DataFrame(schema={"method": pl.String, "rank": pl.Float64})
    means = board.group_by("dataset", "method").agg(pl.col(metric).mean()).drop_nulls()
    groups = sorted(means["method"].unique())
    complete = means.filter(pl.len().over("dataset") == len(groups))
    if families is not None:
        kin = complete.join(families, on="dataset").group_by("method", dataset="family")
        complete = kin.agg(pl.col(metric).mean()).sort("dataset", "method")
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
