"""What the page's script needs: packed columns of each chart's rows by scenario."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from harness.analyze.charts import STANDALONE, definitions
from harness.analyze.groups import SCENARIO
from harness.analyze.headings import (
    compared_heading,
    compared_sign,
    direction,
    heading,
    target,
)
from harness.analyze.question import Analysis, compared_keys
from harness.analyze.rows import MAX_METRICS, ChartRows
from harness.analyze.scores import THRESHOLDS
from harness.analyze.summaries import CHANCES
from harness.analyze.wording import place, what_would_decide

DIGITS = 4
_COLUMNS = {
    "differences": [
        "method",
        "metric",
        "difference",
        "low",
        "high",
        "num_pairs",
        "p_holm",
        *CHANCES,
        "verdict",
        "hint",
    ]
}


def build_payload(analysis: Analysis, drawn: ChartRows) -> Mapping[str, Any]:
    """Scenarios, metrics, methods with colours, and packed rows by scenario for each chart."""
    total = analysis.board.select(SCENARIO).n_unique()
    metrics = analysis.compared[:MAX_METRICS]
    methods = sorted(analysis.board["method"].unique(), key=lambda x: (x != analysis.baseline, x))
    tables = dict(drawn.by_chart)
    if "differences" in tables:
        tables["differences"] = with_hints(tables["differences"])
    return {
        "scenarios": [_scenario(row) for row in drawn.scenarios.iter_rows(named=True)],
        "metrics": [_metric(m) for m in metrics],
        "methods": [{"label": k, "colour": drawn.palette.get(k)} for k in methods],
        "baseline": analysis.baseline,
        "headline": analysis.headline,
        "charts": {
            name: _by_scenario(table, _COLUMNS.get(name), drawn.scenarios)
            for name, table in tables.items()
        },
        "datasets": packed(with_hints(analysis.datasets.filter(pl.col("metric").is_in(metrics)))),
        "ranks": packed(rank_rows(analysis.ranks, analysis.rank_test)),
        "thresholds": THRESHOLDS.tolist(),
        "counts": _counts(drawn),
        "definitions": {
            k: v
            for k, v in definitions(compared_keys(analysis.question)).items()
            if k not in STANDALONE
        },
        "left_out": total - drawn.scenarios.height,
    }


def with_hints(table: pl.DataFrame) -> pl.DataFrame:
    hints = [what_would_decide(row) for row in table.iter_rows(named=True)]
    return table.with_columns(pl.Series("hint", hints, dtype=pl.String))


def rank_rows(ranks: pl.DataFrame, test: Mapping[str, Any]) -> pl.DataFrame:
    """The groups by their rank, and below them a row a span of ranks that are not told apart.

    Of what `across.ranks` gives; empty where nothing could be ranked.
    """
    if not test:
        return pl.DataFrame()
    groups = ranks.select(pl.lit("group").alias("kind"), "method", "rank")
    spans = test["cliques"]
    names = ["not told apart" + " " * i for i in range(len(spans))]  # a row each, one name
    tied = pl.DataFrame(
        [("tied", name, low, high) for name, (low, high) in zip(names, spans, strict=True)],
        schema={"kind": pl.String, "method": pl.String, "low": pl.Float64, "high": pl.Float64},
        orient="row",
    )
    return pl.concat([groups, tied], how="diagonal")


def packed(table: pl.DataFrame) -> dict[str, Any]:
    """Columns, not rows: a column of one value is that value, of few texts an index into them.

    >>> packed(pl.DataFrame({"key": ["bce", "focal", "bce"], "x": [1.0, 2.00004, None]}))
    {'n': 3, 'columns': {'key': {'of': ['bce', 'focal'], 'at': [0, 1, 0]}, 'x': [1.0, 2.0, None]}}
    """
    floats = pl.col(pl.Float64)
    finite = table.with_columns(pl.when(floats.is_finite()).then(floats.round_sig_figs(DIGITS)))
    columns: dict[str, Any] = {}
    for column in finite.get_columns():
        values = column.to_list()
        if column.dtype == pl.String:
            of = list(dict.fromkeys(values))
            index = {value: i for i, value in enumerate(of)}
            columns[column.name] = {"of": of, "at": [index[value] for value in values]}
        else:
            columns[column.name] = values
        if len(values) > 1 and column.n_unique() == 1:
            columns[column.name] = {"all": values[0]}
    return {"n": table.height, "columns": columns}


def _metric(metric: str) -> dict[str, Any]:
    return {
        "id": metric,
        "title": heading(metric),
        "compared": compared_heading(metric),
        "direction": direction(metric),
        "sign": compared_sign(metric),
        "target": target(metric),
    }


def _scenario(row: Mapping[str, Any]) -> dict[str, Any]:
    rate = "natural" if row["positive_rate"] is None else f"{100 * row['positive_rate']:.3g}%"
    names = {"dataset": row["dataset"], "rate": rate, "settings": row["settings"]}
    return {**names, "where": place(row)}


def _by_scenario(
    table: pl.DataFrame, columns: list[str] | None, scenarios: pl.DataFrame
) -> dict[str, dict[str, Any]]:
    """Packed rows of each scenario that has some, by its number; all columns where None."""
    joined = table.join(scenarios, on=SCENARIO, nulls_equal=True, maintain_order="left")
    shown = joined.select("scenario", *columns) if columns else joined.drop(SCENARIO)
    parts = shown.partition_by("scenario", as_dict=True, include_key=False, maintain_order=True)
    return {str(number): packed(part) for (number,), part in parts.items()}


def _counts(drawn: ChartRows) -> dict[str, Any]:
    """By scenario, method and split: how many runs, and the scores of negatives and positives."""
    numbered = drawn.counts.join(drawn.scenarios, on=SCENARIO, nulls_equal=True)
    nested: dict[str, Any] = {}
    for row in numbered.iter_rows(named=True):
        of_method = nested.setdefault(str(row["scenario"]), {}).setdefault(row["method"], {})
        of_split = of_method.setdefault(row["split"], {"runs": row["num_runs"]})
        of_split["positive" if row["label"] else "negative"] = row["counts"]
    return nested
