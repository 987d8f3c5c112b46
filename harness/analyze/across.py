"""The table over data sets: each group against the baseline, one number a data set."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from harness.analyze import multiple, ranking, statistics
from harness.analyze.groups import SCENARIO
from harness.analyze.headings import compared, compared_sign
from harness.analyze.summaries import RESOLUTION, ROPE

SCHEMA: dict[str, Any] = {
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
    "verdict": pl.String,
    "more_datasets": pl.Int64,
    "p_worse": pl.Float64,
    "p_equivalent": pl.Float64,
    "p_better": pl.Float64,
    "family_size": pl.Int64,
}


def across_datasets(
    differences: pl.DataFrame, *, rope: float = ROPE, shown: Sequence[str] | None = None
) -> pl.DataFrame:
    """Wilcoxon with Holm, and the Bayesian signed-rank test, over data sets.

    A data set's number is its mean difference over its positive rates and settings: these share
    rows, so that each counted by itself would be no new evidence.

    Args:
        differences: `summaries.differences`.
        rope: half the region of practical equivalence, in the metric's unit, > 0.
        shown: metrics that get the Bayesian probabilities, which take the longest and need a rope
            chosen for them; all by default.

    Returns:
        Rows of SCHEMA, one a group and metric seen on two data sets or more; `difference` is the
        Hodges-Lehmann estimate with its 95% interval; p_worse, p_equivalent and p_better are of
        the next data set. The family is one metric's comparisons. A metric without direction has
        neither wins and losses nor these probabilities.
    """
    by_dataset = differences.group_by("metric", "method", "dataset").agg(
        pl.col("difference").mean()
    )
    by_dataset = by_dataset.sort("metric", "method", "dataset")
    order = differences["metric"].unique(maintain_order=True)
    tables = [pl.DataFrame(schema=SCHEMA)]
    for metric in order:
        family = by_dataset.filter(pl.col("metric") == metric)
        values = {
            method: _exact(rows["difference"].to_numpy())
            for (method,), rows in family.group_by("method", maintain_order=True)
            if rows.height > 1
        }
        if values:
            tables.append(_family(metric, values, rope, shown is None or metric in shown))
    return pl.concat(tables)


def _exact(values: np.ndarray) -> np.ndarray:
    return np.where(abs(values) < RESOLUTION, 0.0, values)


def _family(
    metric: str, values: dict[str, np.ndarray], rope: float, is_shown: bool
) -> pl.DataFrame:
    better = compared_sign(metric)
    p_values = [multiple.wilcoxon_p(v) for v in values.values()]
    adjusted = statistics.holm(p_values)
    shifts = [multiple.hodges_lehmann(v) for v in values.values()]
    gains = [better * shift.median for shift in shifts]
    words = statistics.verdicts(gain=gains, adjusted_p=adjusted)
    rows = []
    for i, (method, value) in enumerate(values.items()):
        worse = same = gain = float("nan")
        if better and is_shown:
            worse, same, gain = multiple.signed_rank_posterior(better * value, rope=rope)
        more = multiple.more_datasets_needed(
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
                "verdict": words[i],
                "more_datasets": more if words[i] == "undecided" else None,
                "p_worse": worse,
                "p_equivalent": same,
                "p_better": gain,
                "family_size": len(values),
            }
        )
    table = pl.DataFrame(rows, schema=SCHEMA)
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
    average = ranking.average_ranks(scores)
    table = pl.DataFrame({"method": groups, "rank": average}).sort("rank", "method")
    gap = ranking.critical_difference(num_groups=len(groups), num_datasets=datasets)
    return table, {
        "num_datasets": datasets,
        "num_groups": len(groups),
        "friedman_p": ranking.friedman_p(scores),
        "difference": gap,
        "cliques": ranking.cliques(average, difference=gap),
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
            shift = multiple.interquartile_mean(scores, num_samples=500)
            rows.append((method, metric, shift.median, shift.low, shift.high, len(scores)))
    schema = {"method": pl.String, "metric": pl.String, "iqm": pl.Float64}
    schema |= {"low": pl.Float64, "high": pl.Float64, "num_strata": pl.Int64}
    table = pl.DataFrame(rows, schema=schema, orient="row").sort("metric", "method")
    return table.with_columns(pl.col(pl.Float64).fill_nan(None))
