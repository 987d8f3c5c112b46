"""An experiment's figures: one chart definition, filled from a table."""

from typing import Any

import altair as alt
import polars as pl

from harness.analyze import across
from harness.analyze.charts import definitions
from harness.analyze.charts.base import PALETTE
from harness.analyze.figures import draw, with_data
from harness.analyze.headings import heading
from harness.analyze.keys import resolve
from harness.analyze.payload import rank_rows
from harness.reproduce.observed import Observed, select
from harness.reproduce.schema import Figure

WIDTH, HEIGHT = 420, 260


def svg(observed: Observed, figure: Figure) -> bytes:
    """The picture; the rows of one x and group are averaged, what is not finite left out."""
    at = f"{observed.experiment.name}/{figure.name}"
    table = select(observed.tables, figure.table, figure.where, at=at)
    spec = _ranks(table, figure) if figure.mark == "ranks" else _spec(_rows(table, figure), figure)
    return draw(spec, "svg")


def _rows(table: pl.DataFrame, figure: Figure) -> pl.DataFrame:
    names = {"x": figure.x, "color": figure.color, "facet": figure.facet}
    keys = [pl.col(resolve(c, table.columns)).alias(key) for key, c in names.items() if c]
    rows = table.select(*keys, pl.col(figure.y).cast(pl.Float64).alias("y"))
    if figure.log_y:
        rows = rows.filter(pl.col("y") > 0)
    groups = [key for key, column in names.items() if column]
    finite = rows.filter(pl.col("y").is_finite())
    # Sums are of any order: without their last digits the same runs give the same picture.
    return finite.group_by(groups).agg(pl.col("y").mean().round_sig_figs(12)).sort(groups)


def _ranks(table: pl.DataFrame, figure: Figure) -> dict[str, Any]:
    metric = figure.y.removeprefix("test/")
    scores = pl.col(figure.y).alias(metric)
    board = table.select(
        pl.col("dataset.name").alias("dataset"), pl.col(figure.x).alias("method"), scores
    )
    rows = rank_rows(*across.ranks(board, metric))
    spec = with_data(definitions(figure.x)["ranks"], rows.to_dicts(), {}, compared=figure.x)
    return {**spec, "title": figure.title}


def _named(column: str) -> str:
    """A metric in prose, any other column as it is."""
    return heading(column) if column.startswith(("test/", "validation/")) else column


def _spec(rows: pl.DataFrame, figure: Figure) -> dict[str, Any]:
    is_number = rows["x"].dtype.is_numeric()
    scale = {"type": "log"} if figure.log_x else {"zero": False}
    x: dict[str, Any] = {"field": "x", "title": _named(figure.x), "type": "nominal"}
    if is_number and figure.mark != "bar":
        x |= {"type": "quantitative", "scale": scale}
    y_scale = {"type": "log"} if figure.log_y else {"zero": figure.mark == "bar"}
    encoding: dict[str, Any] = {
        "x": x,
        "y": {"field": "y", "type": "quantitative", "title": _named(figure.y), "scale": y_scale},
    }
    if figure.color:
        palette = {"range": [*PALETTE, "#7a7a7a", "#000000"]}
        encoding["color"] = {
            "field": "color", "type": "nominal", "title": figure.color, "scale": palette
        }  # fmt: skip
    if figure.mark == "bar" and figure.color:
        encoding["xOffset"] = {"field": "color", "type": "nominal"}
    if figure.facet:
        encoding["column"] = {"field": "facet", "type": "nominal", "title": figure.facet}
    return {
        "$schema": alt.SCHEMA_URL,
        "title": figure.title,
        "width": WIDTH // 2 if figure.facet else WIDTH,
        "height": HEIGHT,
        "background": "white",
        "data": {"values": rows.to_dicts()},
        "mark": {"type": figure.mark, "point": figure.mark == "line" and rows.height < 80},
        "encoding": encoding,
    }
