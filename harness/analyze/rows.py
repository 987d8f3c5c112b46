"""The rows of every chart, for the page and for figures alike, bounded in number."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from scipy.special import expit

from harness.analyze import learning, training
from harness.analyze.charts import MAX_METHODS, colours
from harness.analyze.groups import SCENARIO
from harness.analyze.headings import sign
from harness.analyze.question import Analysis
from harness.analyze.scores import THRESHOLDS, score_curves

MAX_SCENARIOS = 60
MAX_METRICS = 80
BINS_OF_HISTOGRAM = 4  # gaps of THRESHOLDS joined to one bin


@dataclass(frozen=True)
class ChartRows:
    """Attributes:

    scenarios: SCENARIO and its number `scenario`, those that are drawn.
    palette: the colour of each method that has lines: one for the whole page.
    by_chart: rows with SCENARIO columns by chart name, uncoloured.
    counts: `scores.ScoreCurves.counts`.
    """

    scenarios: pl.DataFrame
    palette: Mapping[str, str]
    by_chart: Mapping[str, pl.DataFrame]
    counts: pl.DataFrame


def chart_rows(analysis: Analysis) -> ChartRows:
    """Everything to draw."""
    methods = drawn_methods(analysis)
    scenarios = analysis.board.select(SCENARIO).unique(maintain_order=True).head(MAX_SCENARIOS)
    drawn = analysis.chosen.filter(pl.col("method").is_in(methods))
    drawn = drawn.join(scenarios, on=SCENARIO, nulls_equal=True, how="semi")
    runs, question = analysis.runs, analysis.question
    scores = score_curves(runs, drawn)
    log_loss, objective = _learning_rows(learning.learning_curves(runs, drawn))
    steps = training.steps_to_target(
        runs, drawn, baseline=analysis.baseline, target=question.target
    )
    prevalence = analysis.board.select(*SCENARIO, "method", prevalence="test_positive_rate")
    labelled = analysis.labelled.filter(pl.col("method").is_in(methods))
    shown = analysis.compared[:MAX_METRICS]
    tables = {
        "differences": analysis.differences.filter(pl.col("metric").is_in(shown)),
        "rates": _rate_rows(analysis.board, shown),
        "precision_recall": scores.recall.join(
            prevalence, on=[*SCENARIO, "method"], nulls_equal=True, maintain_order="left"
        ),
        "roc": scores.roc,
        "reliability": scores.bins,
        "histogram": histogram_rows(scores.counts),
        "learning": log_loss,
        "objective": objective,
        "steps": training.reached_shares(steps),
        "response": training.responses(
            labelled, keys=analysis.keys, selection=question.selection, tuned=question.tuned
        ),
        "budget": training.budgets(labelled, selection=question.selection),
    }
    return ChartRows(
        scenarios=scenarios.with_row_index("scenario"),
        palette=colours(methods, analysis.baseline),
        by_chart={name: table for name, table in tables.items() if table.height},
        counts=scores.counts,
    )


def drawn_methods(analysis: Analysis) -> list[str]:
    """The methods that get a colour: the baseline and the best on validation, MAX_METHODS at most.

    One set for the whole page, so that a colour means one method everywhere.
    """
    selection = analysis.question.selection
    score = pl.col(selection).fill_nan(None).mean() * sign(selection)
    ranks = analysis.chosen.group_by(*SCENARIO, "method").agg(score.alias("score"))
    means = ranks.group_by("method").agg(pl.col("score").mean())
    first = pl.col("method") != analysis.baseline
    best = means.sort(first, "score", "method", descending=[False, True, False], nulls_last=True)
    kept = best["method"].head(MAX_METHODS).to_list()
    return sorted(kept, key=lambda method: (method != analysis.baseline, method))


def histogram_rows(counts: pl.DataFrame) -> pl.DataFrame:
    """Shares of each class by score: rows (GROUP, logit, label, share), of test."""
    rows: list[dict[str, Any]] = []
    for row in counts.filter(pl.col("split") == "test").iter_rows(named=True):
        per_gap = np.array(row.pop("counts"))
        if not per_gap.sum():
            continue
        # The first and the last gap have no end: they are shown at the ends of the axis.
        inner = per_gap[1:-1].reshape(-1, BINS_OF_HISTOGRAM).sum(axis=1)
        inner[0] += per_gap[0]
        inner[-1] += per_gap[-1]
        centres = THRESHOLDS[:-1].reshape(-1, BINS_OF_HISTOGRAM).mean(axis=1) + 0.05
        label = "positive" if row.pop("label") else "negative"
        for logit, count in zip(centres, inner, strict=True):
            rows.append({**row, "label": label, "logit": logit, "share": count / per_gap.sum()})
    # The keys' types are those of ``counts``: a rate that no run induced is null, and a number.
    keys = {name: kind for name, kind in counts.schema.items() if name not in {"label", "counts"}}
    drawn = {"label": pl.String, "logit": pl.Float64, "share": pl.Float64}
    return pl.DataFrame(rows, schema={**keys, **drawn}).drop("split", "num_runs")


def threshold_rows(counts: pl.DataFrame, *, split: str) -> pl.DataFrame:
    """True and false positives at each of THRESHOLDS: what the threshold charts read."""
    keys = [c for c in counts.columns if c not in {"label", "counts"}]
    wide = counts.filter(pl.col("split") == split).pivot("label", index=keys, values="counts")
    tables = []
    for row in wide.iter_rows(named=True):
        negative, positive = (np.array(row.pop(label)) for label in ("0", "1"))
        columns = {
            "logit": THRESHOLDS,
            "threshold": expit(THRESHOLDS),
            "tp": positive[::-1].cumsum()[::-1][1:],
            "fp": negative[::-1].cumsum()[::-1][1:],
        }
        fixed = [pl.lit(value, wide.schema[name]).alias(name) for name, value in row.items()]
        sizes = [pl.lit(int(positive.sum())).alias("positives")]
        sizes += [pl.lit(int(negative.sum())).alias("negatives")]
        tables.append(pl.DataFrame(columns).with_columns(*fixed, *sizes))
    return pl.concat(tables) if tables else pl.DataFrame()


def _learning_rows(learning: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Log loss as it is; the own objective relative to its first value: scales differ by loss."""
    if not learning.height:
        return learning, learning
    split = pl.col("curve").str.split("/").list
    learning = learning.with_columns(split.first().alias("split"), split.last().alias("curve"))
    log_loss = learning.filter(pl.col("curve") == "log_loss").drop("curve")
    objective = learning.filter(pl.col("curve") == "loss").drop("curve")
    first = pl.col("median").first().over(*SCENARIO, "method", "split", order_by="epoch")
    relative = [(pl.col(c) / first).alias(c) for c in ("median", "low", "high")]
    return log_loss, objective.filter(first != 0).with_columns(relative)


def _rate_rows(board: pl.DataFrame, metrics: list[str]) -> pl.DataFrame:
    tables = [
        board.select(
            *SCENARIO,
            "method",
            pl.lit(m).alias("metric"),
            pl.col("train_positive_rate").alias("rate"),
            pl.col(m).alias("mean"),
            (pl.col(m) - pl.col(f"{m}_half")).alias("low"),
            (pl.col(m) + pl.col(f"{m}_half")).alias("high"),
        )
        for m in metrics
    ]
    return pl.concat(tables).drop_nulls("mean")
