"""What a sweep decides by: its costs, and the threshold that its rule chose on validation."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from harness.analyze.groups import GROUP, leaves_level
from harness.analyze.headings import chosen_rule
from harness.metrics.names import threshold_fact
from harness.metrics.settings import Evaluation

COSTS = {
    "cost_fp": "false_positive",
    "cost_fn": "false_negative",
    "cost_tp": "true_positive",
    "cost_tn": "true_negative",
}
"""What tables and the page call the keys of `evaluation.costs`."""

_USUAL = Evaluation()


def decisions(chosen: pl.DataFrame, *, metric: str = "") -> pl.DataFrame:
    """How the runs of each group turn raw scores into decisions.

    Args:
        chosen: labelled runs of the chosen configurations (`groups.chosen_runs`).
        metric: the headline, whose rule counts where it has one, such as `expected_cost@cost`.

    Returns:
        Rows (GROUP, rule, those of COSTS, threshold_logit, threshold, threshold_low,
        threshold_high). The rule (`evaluation.threshold`, or the metric's own) chose a threshold
        on each run's validation rows: these are their median, lowest and highest, null where no
        run has one, or none whose raw scores have a level (`groups.leaves_level`). All but the
        logit are probabilities of the raw score, from which on a row is called positive.
    """
    usual = {f"evaluation.costs.{key}": getattr(_USUAL.costs, key) for key in COSTS.values()}
    known = _filled(chosen, {**usual, "evaluation.threshold": _USUAL.threshold})
    rule = chosen_rule(metric) or "tuned"
    known = _filled(known, {threshold_fact(rule): float("nan")})
    logit = pl.col(threshold_fact(rule)).cast(pl.Float64).fill_nan(None)
    logit = pl.when(~leaves_level(known)).then(logit)
    costs = [
        pl.col(f"evaluation.costs.{key}").first().cast(pl.Float64).alias(name)
        for name, key in COSTS.items()
    ]
    table = known.group_by(GROUP).agg(
        (pl.col("evaluation.threshold").first() if rule == "tuned" else pl.lit(rule)).alias("rule"),
        *costs,
        logit.median().alias("threshold_logit"),
        _probability(logit.median()).alias("threshold"),
        _probability(logit.min()).alias("threshold_low"),
        _probability(logit.max()).alias("threshold_high"),
    )
    return table.sort(GROUP)


def _filled(runs: pl.DataFrame, usual: Mapping[str, Any]) -> pl.DataFrame:
    """With the usual value where a run, logged by an earlier version, says none."""
    lacking = [pl.lit(value).alias(key) for key, value in usual.items() if key not in runs.columns]
    return runs.with_columns(lacking).with_columns(
        pl.col(key).fill_null(value) for key, value in usual.items()
    )


def _probability(logit: pl.Expr) -> pl.Expr:
    return 1 / (1 + (-logit).exp())
