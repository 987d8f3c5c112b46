"""What the tuning and the training of each group cost: budgets, responses, steps to a target."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from harness.analyze import multiple
from harness.analyze.groups import GROUP, SCENARIO
from harness.analyze.headings import picking_sign, sign
from harness.analyze.keys import varying
from harness.analyze.load import Runs
from harness.errors import UserError

MAX_TRIALS = 200
SHARE_OF_FALL = 0.95


def budgets(labelled: pl.DataFrame, *, selection: str) -> pl.DataFrame:
    """Expected best validation score of n tried configurations, n = 1 .. all of a group.

    Returns:
        Rows (GROUP, trials, expected), of groups with two configurations or more.
    """
    better = sign(selection)
    schema = {**_schema(labelled), "trials": pl.Int64, "expected": pl.Float64}
    tables = [pl.DataFrame(schema=schema)]
    for key, rows in _configurations(labelled, selection).group_by(GROUP, maintain_order=True):
        if rows.height >= 2:
            expected = better * multiple.expected_best(better * rows["score"].to_numpy())
            at = np.unique(np.geomspace(1, expected.size, MAX_TRIALS).astype(int))
            named = zip(_schema(rows).items(), key, strict=True)
            labels = [pl.lit(value, dtype).alias(column) for (column, dtype), value in named]
            table = pl.DataFrame({"trials": at, "expected": expected[at - 1]})
            tables.append(table.select(*labels, "trials", "expected"))
    return pl.concat(tables)


def responses(
    labelled: pl.DataFrame, *, keys: Sequence[str], selection: str, tuned: tuple[str, ...]
) -> pl.DataFrame:
    """Best mean validation score at each value of each numeric hyperparameter, others free.

    Returns:
        Rows (GROUP, key, value, score), of keys with two values or more.
    """
    numeric = [
        key
        for key in varying(labelled, keys)
        if key.startswith(tuple(tuned)) and labelled.schema[key].is_numeric()
    ]
    better = sign(selection)
    tables = []
    for key in numeric:
        means = _configurations(labelled, selection, key).drop_nulls([key, "score"])
        best = means.group_by(*GROUP, key).agg((pl.col("score") * better).max() * better)
        value = pl.col(key).cast(pl.Float64).alias("value")
        tables.append(best.select(*GROUP, pl.lit(key).alias("key"), value, "score"))
    schema = {**_schema(labelled), "key": pl.String, "value": pl.Float64, "score": pl.Float64}
    return pl.concat([pl.DataFrame(schema=schema), *tables]).sort("key", *GROUP, "value")


def _configurations(labelled: pl.DataFrame, selection: str, *more: str) -> pl.DataFrame:
    score = pl.col(selection).cast(pl.Float64)
    finite = labelled.filter(score.is_finite())
    return (
        finite.group_by(*GROUP, "tuning", *more)
        .agg(score.mean().alias("score"))
        .sort(*GROUP, "tuning", nulls_last=True)
    )


def _schema(table: pl.DataFrame) -> dict[str, Any]:
    return {c: table.schema[c] for c in GROUP}


def parse_target(text: str) -> tuple[str, float | None]:
    """`validation/log_loss=0.2` as its curve and value; no value where the text is empty.

    Raises:
        UserError: not of that form, of a curve not measured on validation, of an unknown metric or
            of one without direction.
    """
    if not text:
        return "validation/log_loss", None
    curve, _, value = text.partition("=")
    curve = curve.strip() if "/" in curve else f"validation/{curve.strip()}"
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if not np.isfinite(number) or not curve.startswith("validation/"):
        raise UserError(f"--target {text}: write such as validation/log_loss=0.2")
    picking_sign(curve, asked=f"--target {text}")
    return curve, number


def steps_to_target(
    runs: Runs, chosen: pl.DataFrame, *, baseline: str, target: str = ""
) -> pl.DataFrame:
    """The first step at which each run's validation curve is at its scenario's target or better.

    Without a target of the reader's, it is what the baseline's median curve reaches after
    SHARE_OF_FALL of its way from the first to the best epoch.

    Returns:
        Rows (GROUP, run_id, curve, target, steps), steps null where a run never gets there. Empty
        where there is no such curve or no target.

    Raises:
        UserError: no run has the curve asked for.
    """
    curve, value = parse_target(target)
    columns = runs.history.collect_schema().names()
    if curve not in columns or "step" not in columns:
        if target:
            raise UserError(f"--target {target}: no run has the curve {curve}")
        return pl.DataFrame()
    better = sign(curve)
    history = runs.history.select("run_id", "shard", "epoch", "step", pl.col(curve).alias("y"))
    history = history.join(chosen.select(*GROUP, "run_id", "shard").lazy(), on=["run_id", "shard"])
    targets = chosen.select(SCENARIO).unique().with_columns(pl.lit(value).alias("target"))
    if value is None:
        targets = _usual_targets(history.filter(pl.col("method") == baseline), better)
    reached = (
        history.join(targets.lazy(), on=SCENARIO, nulls_equal=True)
        .filter(pl.col("y") * better >= pl.col("target") * better)
        .group_by("run_id")
        .agg(pl.col("step").min().cast(pl.Int64).alias("steps"))
        .collect(engine="streaming")
    )
    members = chosen.select(*GROUP, "run_id").join(targets, on=SCENARIO, nulls_equal=True)
    table = members.join(reached, on="run_id", how="left")
    table = table.with_columns(pl.lit(curve).alias("curve"))
    return table.select(*GROUP, "run_id", "curve", "target", "steps").sort(*GROUP, "run_id")


def _usual_targets(baseline: pl.LazyFrame, better: int) -> pl.DataFrame:
    medians = baseline.group_by(*SCENARIO, "epoch").agg(pl.col("y").median() * better).sort("epoch")
    first, best = pl.col("y").first(), pl.col("y").max()
    target = (first + SHARE_OF_FALL * (best - first)) * better
    return medians.group_by(SCENARIO).agg(target.alias("target")).collect()


def reached_shares(steps: pl.DataFrame) -> pl.DataFrame:
    """Share of a group's runs that have reached the target by a step.

    Returns:
        Rows (GROUP, steps, share, median_steps, target, curve).
    """
    if not steps.height:
        return steps
    total = pl.len().over(GROUP)
    table = steps.with_columns(total.alias("total"))
    counts = table.drop_nulls("steps").group_by(*GROUP, "curve", "target", "total", "steps").len()
    share = (pl.col("len").cum_sum().over(GROUP, order_by="steps") / pl.col("total")).alias("share")
    start = table.select(*GROUP, "curve", "target", steps=pl.lit(0, pl.Int64), share=pl.lit(0.0))
    points = counts.with_columns(share).select(*GROUP, "curve", "target", "steps", "share")
    end = points.group_by(*GROUP, "curve", "target").agg(pl.col("share").max())
    latest = pl.lit(steps["steps"].max(), pl.Int64).alias("steps")
    end = end.with_columns(latest).select(points.columns)
    joined = pl.concat([start.unique(), points, end]).unique()
    return joined.sort(*GROUP, "steps", "share", nulls_last=True)
