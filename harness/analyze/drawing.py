"""The rows of every chart, bounded in number, for the page and for figures alike; and the figures.

These are the charts' definitions as SVG or PNG files, each with a legend.
"""

import copy
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import vl_convert
from scipy.special import expit

from harness.analyze.charts import DEFINED, MAX_METHODS, colours, definitions
from harness.analyze.curves import (
    THRESHOLDS,
    budgets,
    learning_curves,
    parse_target,
    reached_shares,
    responses,
    score_curves,
    steps_to_target,
)
from harness.analyze.decisions import COSTS
from harness.analyze.groups import BASELINE, GROUP, SCENARIO, leaves_level
from harness.analyze.headings import needs_level, sign
from harness.analyze.question import Analysis, compared_keys
from harness.analyze.wording import place
from harness.files import write_whole

MAX_SCENARIOS = 60
MAX_METRICS = 80
BINS_OF_HISTOGRAM = 4  # gaps of THRESHOLDS joined to one bin

WIDTH = 420
PIXELS = 2.0
OF_HEADLINE = ("differences", "rates")
OF_COUNTS = ("costs", "net_benefit")
OF_THRESHOLDS = ("thresholds", *OF_COUNTS)


@dataclass(frozen=True)
class ChartRows:
    """Attributes:

    scenarios: SCENARIO and its number `scenario`, those that are drawn.
    palette: the colour of each method that has lines: one for the whole page.
    by_chart: rows with SCENARIO columns by chart name, uncoloured.
    counts: `curves.ScoreCurves.counts`, of methods whose scores have a level.
    decisions: `decisions.decisions`, of every group.
    """

    scenarios: pl.DataFrame
    palette: Mapping[str, str]
    by_chart: Mapping[str, pl.DataFrame]
    counts: pl.DataFrame
    decisions: pl.DataFrame


def chart_rows(analysis: Analysis) -> ChartRows:
    """Everything to draw."""
    methods = drawn_methods(analysis)
    scenarios = analysis.board.select(SCENARIO).unique(maintain_order=True).head(MAX_SCENARIOS)
    drawn = analysis.chosen.filter(pl.col("method").is_in(methods))
    drawn = drawn.join(scenarios, on=SCENARIO, nulls_equal=True, how="semi")
    runs, question = analysis.runs, analysis.question
    levelled = drawn.filter(~leaves_level(drawn))
    scores = score_curves(runs, drawn)
    log_loss, objective = _learning_rows(learning_curves(runs, drawn))
    curve, _ = parse_target(question.target)
    reaching = levelled if needs_level(curve) else drawn
    steps = steps_to_target(runs, reaching, baseline=analysis.baseline, target=question.target)
    counts = _of(levelled, scores.counts)
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
        "reliability": _of(levelled, scores.bins),
        "histogram": histogram_rows(counts),
        "learning": _of(levelled, log_loss),
        "objective": objective,
        "steps": reached_shares(steps),
        "response": responses(
            labelled, keys=analysis.keys, selection=question.selection, tuned=question.tuned
        ),
        "budget": budgets(labelled, selection=question.selection),
    }
    return ChartRows(
        scenarios=scenarios.with_row_index("scenario"),
        palette=colours(methods, analysis.baseline),
        by_chart={name: table for name, table in tables.items() if table.height},
        counts=counts,
        decisions=analysis.board.select(*GROUP, "threshold_logit", *COSTS),
    )


def _of(runs: pl.DataFrame, table: pl.DataFrame) -> pl.DataFrame:
    """The rows of the groups that have some of ``runs``."""
    return table.join(runs, on=GROUP, nulls_equal=True, how="semi", maintain_order="left")


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


def rank_rows(ranks: pl.DataFrame, test: Mapping[str, Any]) -> pl.DataFrame:
    """The groups by their rank, and below them a row a span of ranks that are not told apart.

    Of what `comparisons.ranks` gives; empty where nothing could be ranked.
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
        sizes = [pl.lit(positive.sum().item()).alias("positives")]
        sizes += [pl.lit(negative.sum().item()).alias("negatives")]
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
            pl.col(f"{m}_low").alias("low"),
            pl.col(f"{m}_high").alias("high"),
        )
        for m in metrics
    ]
    return pl.concat(tables).drop_nulls("mean")


def write_figures(analysis: Analysis, drawn: ChartRows, folder: Path, *, kind: str) -> list[Path]:
    """Write `folder/<scenario>/<chart>.<kind>` and, over data sets, `folder/<chart>.<kind>`."""
    written = []
    for name, spec in _specifications(analysis, drawn):
        path = folder / f"{name}.{kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, draw(spec, kind))
        written.append(path)
    return written


def pictures(analysis: Analysis, names: Collection[str]) -> list[str]:
    """The SVG of each chart of ``names`` that there is, of the first data set."""
    found: dict[str, str] = {}
    for name, spec in _specifications(analysis, chart_rows(analysis), only=names):
        found.setdefault(name.rpartition("/")[2], draw(spec, "svg").decode())
        if len(found) == len(names):
            break
    return list(found.values())


def _specifications(
    analysis: Analysis, drawn: ChartRows, *, only: Collection[str] = DEFINED
) -> Iterator[tuple[str, dict[str, Any]]]:
    """(path without ending, specification), of each figure whose chart is among ``only``."""
    compared = compared_keys(analysis.question)
    charts = definitions(compared)
    for name, chart, table in _figures(analysis, drawn):
        if chart not in only:
            continue
        spec = with_data(charts[chart], _plain(table), drawn.palette, compared=compared)
        if chart in OF_THRESHOLDS:
            spec["params"] = decided_params(spec["params"], table, drawn.decisions)
        yield name, spec


def decided_params(
    params: list[dict[str, Any]], table: pl.DataFrame, decisions: pl.DataFrame
) -> list[dict[str, Any]]:
    """A chart's parameters as the sweep has them: its costs, and the threshold of the first of the
    methods shown, which is the baseline wherever that is among them."""
    first = table.select(GROUP).head(1)
    own = decisions.join(first, on=GROUP, nulls_equal=True, how="semi").row(0, named=True)
    values = {"at": own["threshold_logit"], **{name: own[name] for name in COSTS}}
    known = {name: one for name, one in values.items() if one is not None and isfinite(one)}
    return [{**one, "value": known[one["name"]]} if one["name"] in known else one for one in params]


def write_chart(chart: str, rows: pl.DataFrame, path: Path, *, compared: str = "loss") -> None:
    """Draw one chart of `charts.DEFINED` from rows of your own, such as `loss_shape`.

    Args:
        rows: the columns that the chart's definition names, among them `method`, by which lines are
            coloured: in order of appearance, BCE grey.
        path: ends in .svg or .png; its folder is made if missing.
        compared: what the methods are, as a heading.

    Raises:
        ValueError: an unknown chart or ending, or more methods than there are colours.
    """
    kind = path.suffix.removeprefix(".")
    methods = rows["method"].unique(maintain_order=True).to_list()
    if chart not in DEFINED or kind not in ("svg", "png"):
        raise ValueError(f"{path.name} of chart {chart!r}: .svg or .png of {', '.join(DEFINED)}")
    palette = colours(methods, BASELINE)
    if len(palette) < len(methods):
        raise ValueError(f"{len(methods)} methods: at most {len(palette)} can be told apart")
    path.parent.mkdir(parents=True, exist_ok=True)
    spec = with_data(definitions(compared)[chart], _plain(rows), palette, compared=compared)
    write_whole(path, draw(spec, kind))


def with_data(
    definition: Any, rows: list[dict[str, Any]], palette: Mapping[str, str], *, compared: str
) -> dict[str, Any]:
    """A chart's definition with its rows, a fixed width, a white ground and a legend of methods."""
    scale = {"domain": list(palette), "range": list(palette.values())}
    colour: dict[str, Any] = {
        "field": "method",
        "type": "nominal",
        "scale": scale,
        "title": compared,
    }
    is_faceted = "facet" in definition  # its panels are named, and have a size of their own
    if is_faceted and definition["facet"]["field"] == "method":
        colour["legend"] = None
    spec: dict[str, Any] = _coloured(copy.deepcopy(dict(definition)), colour)
    spec["datasets"] = {**spec.get("datasets", {}), "rows": rows}
    if not is_faceted:
        spec["width"] = WIDTH
    spec["config"] = {**spec["config"], "background": "white"}
    return spec


def draw(spec: dict[str, Any], kind: str) -> bytes:
    """The picture of a specification; no part of it may be fetched."""
    if kind == "svg":
        return vl_convert.vegalite_to_svg(spec, allowed_base_urls=[]).encode()
    return bytes(vl_convert.vegalite_to_png(spec, scale=PIXELS, allowed_base_urls=[]))


def _figures(analysis: Analysis, drawn: ChartRows) -> Iterator[tuple[str, str, pl.DataFrame]]:
    """(path without ending, chart, rows)."""
    headline = pl.col("metric") == analysis.headline
    if (datasets := analysis.datasets.filter(headline)).height:
        yield "datasets", "datasets", datasets
    if analysis.rank_test:
        yield "ranks", "ranks", rank_rows(analysis.ranks, analysis.rank_test)
    learning = drawn.by_chart.get("learning")
    if learning is not None and drawn.scenarios.height > 1:
        names = [place(one) for one in drawn.scenarios.iter_rows(named=True)]
        named = drawn.scenarios.with_columns(where=pl.Series(names)).drop("scenario")
        rows = named.join(learning, on=SCENARIO, nulls_equal=True, maintain_order="left_right")
        yield "learning_curves", "learning_curves", rows
    counted = threshold_rows(drawn.counts, split="test")
    tables = dict(drawn.by_chart) | {name: counted for name in OF_COUNTS if counted.height}
    for scenario in drawn.scenarios.iter_rows(named=True):
        where = f"{scenario['scenario']:02}-{_slug(place(scenario))}"
        here = pl.DataFrame([scenario], schema=drawn.scenarios.schema).drop("scenario")
        for chart, table in tables.items():
            rows = table.filter(headline) if chart in OF_HEADLINE else table
            rows = rows.join(here, on=SCENARIO, nulls_equal=True, how="semi", maintain_order="left")
            if chart == "response":
                for (key,), part in rows.group_by("key", maintain_order=True):
                    yield f"{where}/response-{_slug(str(key))}", chart, part
            elif rows.height:
                yield f"{where}/{chart}", chart, rows
        for number, method in enumerate(drawn.palette):
            if not counted.height:
                continue
            of_method = counted.filter(pl.col("method") == method)
            of_method = of_method.join(here, on=SCENARIO, nulls_equal=True, how="semi")
            if of_method.height:  # not every method was trained everywhere
                name = f"{where}/thresholds-{number}-{_slug(method)}"
                yield name, "thresholds", of_method.sort("logit")


def _coloured(node: Any, colour: Mapping[str, Any]) -> Any:
    """The colour each row carries on the page as ``colour``, a scale over methods."""
    if isinstance(node, list):
        return [_coloured(item, colour) for item in node]
    if not isinstance(node, dict):
        return node
    if node.get("field") == "colour":
        return dict(colour)
    return {key: _coloured(value, colour) for key, value in node.items()}


def _plain(table: pl.DataFrame) -> list[dict[str, Any]]:
    floats = pl.col(pl.Float64)
    finite = table.with_columns(pl.when(floats.is_finite()).then(floats))
    return finite.to_dicts()


def _slug(text: str) -> str:
    """A file's name out of any text.

    >>> _slug("breast_cancer, 10% positives"), _slug("../<b>")
    ('breast_cancer-10-positives', 'b')
    """
    return re.sub(r"[^\w]+", "-", text, flags=re.ASCII).strip("-")[:80] or "unnamed"
