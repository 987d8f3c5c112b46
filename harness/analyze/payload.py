"""What the page's script needs, as plain lists: the rows of each chart by scenario, bounded."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from harness.analyze.answers import place
from harness.analyze.charts import MAX_LOSSES, colours
from harness.analyze.groups import BASELINE, SCENARIO
from harness.analyze.metrics import COMPARED, LEADERBOARD, SELECTION, sign, title

MAX_SCENARIOS = 60
Rows = list[dict[str, Any]]


def drawn_losses(chosen: pl.DataFrame) -> list[str]:
    """The losses that get a colour: the baseline, then the best on validation, at most MAX_LOSSES.

    One set for the whole page, so that a colour means one loss everywhere.
    """
    score = pl.lit(0.0)
    if SELECTION in chosen.columns:
        score = pl.col(SELECTION).fill_nan(None).mean() * sign(SELECTION)
    ranks = chosen.group_by(*SCENARIO, "loss").agg(score.alias("score"))
    means = ranks.group_by("loss").agg(pl.col("score").mean())
    first = pl.col("loss") != BASELINE
    best = means.sort(first, "score", "loss", descending=[False, True, False], nulls_last=True)
    return sorted(best["loss"].head(MAX_LOSSES).to_list(), key=lambda x: (x != BASELINE, x))


def drawn_runs(chosen: pl.DataFrame, losses: Sequence[str]) -> pl.DataFrame:
    """The runs whose curves are drawn: those losses in the first MAX_SCENARIOS scenarios."""
    scenarios = chosen.select(SCENARIO).unique().sort(SCENARIO, nulls_last=True)
    kept = scenarios.head(MAX_SCENARIOS)
    runs = chosen.filter(pl.col("loss").is_in(list(losses)))
    return runs.join(kept, on=SCENARIO, nulls_equal=True, how="semi")


def build_payload(
    board: pl.DataFrame,
    differences: pl.DataFrame,
    learning: pl.DataFrame,
    curves: tuple[pl.DataFrame, pl.DataFrame],
    losses: Sequence[str],
) -> Mapping[str, Any]:
    """Scenarios, metrics, losses with colours, and rows by scenario for each chart."""
    scenarios = board.select(SCENARIO).unique(maintain_order=True)
    kept = scenarios.head(MAX_SCENARIOS).with_row_index("scenario")
    palette = colours(losses, BASELINE)
    recall, bins = curves
    prevalence = board.select(*SCENARIO, "loss", prevalence="test_positive_rate")
    recall = recall.join(prevalence, on=[*SCENARIO, "loss"], nulls_equal=True)
    log_loss, objective = _learning_rows(learning)
    tables = {
        "learning": log_loss,
        "objective": objective,
        "precision_recall": recall,
        "reliability": bins,
        "rates": _rate_rows(board),
    }
    drawn = {name: _coloured(table, palette) for name, table in tables.items()} | {
        "differences": differences.select(
            *SCENARIO, "loss", "metric", "difference", "low", "high", "verdict"
        )
    }
    metrics = [m for m in LEADERBOARD if m in board.columns]
    return {
        "scenarios": [_scenario(row) for row in kept.iter_rows(named=True)],
        "metrics": [{"id": m, "title": title(m), "lower": sign(m) < 0} for m in metrics],
        "losses": [{"label": k, "colour": v} for k, v in palette.items()],
        "charts": {name: _by_scenario(table, kept) for name, table in drawn.items()},
        "headline": COMPARED[0] if COMPARED[0] in metrics else next(iter(metrics), None),
        "left_out": max(0, scenarios.height - MAX_SCENARIOS),
    }


def _scenario(row: dict[str, Any]) -> dict[str, Any]:
    rate = "natural" if row["positive_rate"] is None else f"{100 * row['positive_rate']:.3g}%"
    names = {"dataset": row["dataset"], "rate": rate, "settings": row["settings"]}
    return {**names, "where": place(row)}


def _coloured(table: pl.DataFrame, palette: Mapping[str, str]) -> pl.DataFrame:
    if not table.height:
        return table
    table = table.filter(pl.col("loss").is_in(list(palette)))
    return table.with_columns(pl.col("loss").replace_strict(palette, default="").alias("colour"))


def _learning_rows(learning: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Log loss as it is; the own objective relative to its first value: scales differ by loss."""
    if not learning.height:
        return learning, learning
    split = pl.col("curve").str.split("/").list
    learning = learning.with_columns(split.first().alias("split"), split.last().alias("curve"))
    log_loss = learning.filter(pl.col("curve") == "log_loss").drop("curve")
    objective = learning.filter(pl.col("curve") == "loss").drop("curve")
    first = pl.col("median").first().over(*SCENARIO, "loss", "split", order_by="epoch")
    relative = [(pl.col(c) / first).alias(c) for c in ("median", "low", "high")]
    return log_loss, objective.filter(first != 0).with_columns(relative)


def _rate_rows(board: pl.DataFrame) -> pl.DataFrame:
    tables = [
        board.select(
            *SCENARIO,
            "loss",
            pl.lit(m).alias("metric"),
            pl.col("train_positive_rate").alias("rate"),
            pl.col(m).alias("mean"),
            (pl.col(m) - pl.col(f"{m}_half")).alias("low"),
            (pl.col(m) + pl.col(f"{m}_half")).alias("high"),
        )
        for m in LEADERBOARD
        if m in board.columns
    ]
    return pl.concat(tables).drop_nulls("mean")


def _by_scenario(table: pl.DataFrame, kept: pl.DataFrame) -> dict[str, Rows]:
    """Rows of each scenario that has some, by its number."""
    if not table.height:
        return {}
    joined = table.join(kept, on=SCENARIO, nulls_equal=True, maintain_order="left").drop(SCENARIO)
    floats = pl.col(pl.Float64)
    finite = joined.with_columns(pl.when(floats.is_finite()).then(floats.round_sig_figs(4)))
    parts = finite.partition_by("scenario", as_dict=True, include_key=False, maintain_order=True)
    return {str(number): part.to_dicts() for (number,), part in parts.items()}
