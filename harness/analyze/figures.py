"""The report's charts as SVG or PNG files: the same definitions, each with a legend."""

import copy
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import vl_convert

from harness.analyze.charts import DEFINED, colours, definitions
from harness.analyze.export import write_atomically
from harness.analyze.groups import BASELINE, SCENARIO
from harness.analyze.payload import rank_rows
from harness.analyze.question import Analysis, compared_keys
from harness.analyze.rows import ChartRows, threshold_rows
from harness.analyze.wording import place

WIDTH = 420
PIXELS = 2.0
OF_HEADLINE = ("differences", "rates")
OF_COUNTS = ("costs", "net_benefit")


def write_figures(analysis: Analysis, drawn: ChartRows, folder: Path, *, kind: str) -> list[Path]:
    """Write `folder/<scenario>/<chart>.<kind>` and, over data sets, `folder/<chart>.<kind>`."""
    compared = compared_keys(analysis.question)
    charts = definitions(compared)
    written = []
    for name, chart, table in _figures(analysis, drawn):
        spec = with_data(charts[chart], _plain(table), drawn.palette, compared=compared)
        path = folder / f"{name}.{kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, draw(spec, kind))
        written.append(path)
    return written


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
    write_atomically(path, draw(spec, kind))


def with_data(
    definition: Any, rows: list[dict[str, Any]], palette: Mapping[str, str], *, compared: str
) -> dict[str, Any]:
    """A chart's definition with its rows, a fixed width, a white ground and a legend of methods."""
    spec: dict[str, Any] = _with_legend(copy.deepcopy(dict(definition)), palette, compared)
    spec["datasets"] = {**spec.get("datasets", {}), "rows": rows}
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
            of_method = counted.filter(pl.col("method") == method) if counted.height else counted
            if of_method.height:
                of_method = of_method.join(here, on=SCENARIO, nulls_equal=True, how="semi")
                name = f"{where}/thresholds-{number}-{_slug(method)}"
                yield name, "thresholds", of_method.sort("logit")


def _with_legend(node: Any, palette: Mapping[str, str], compared: str) -> Any:
    """The colour each row carries on the page as a scale over methods, which has a legend."""
    if isinstance(node, list):
        return [_with_legend(item, palette, compared) for item in node]
    if not isinstance(node, dict):
        return node
    if node.get("field") == "colour":
        scale = {"domain": list(palette), "range": list(palette.values())}
        return {"field": "method", "type": "nominal", "scale": scale, "title": compared}
    return {key: _with_legend(value, palette, compared) for key, value in node.items()}


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
