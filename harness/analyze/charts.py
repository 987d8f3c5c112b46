"""The charts, each defined once without data; the page hands each the rows of one scenario.

Rows name their loss and carry its colour. Colours are Okabe and Ito's (2008), chosen to be told
apart by colour-blind readers, without the yellow and the black that vanish on a light or a dark
page; the baseline is grey.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

BASELINE_COLOUR = "#7a7a7a"
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MAX_LOSSES = 1 + len(PALETTE)
HEIGHT = 260
ROWS = alt.NamedData(name="rows")
Chart = alt.LayerChart | alt.FacetChart  # what alt.layer is declared to return
COLOUR = alt.Color("colour:N").scale(None)


def colours(losses: Sequence[str], baseline: str) -> dict[str, str]:
    """A colour for the baseline and each of up to `len(PALETTE)` other losses.

    >>> colours(["bce", "focal"], "bce")
    {'bce': '#7a7a7a', 'focal': '#0072b2'}
    """
    others = [loss for loss in losses if loss != baseline]
    grey = {baseline: BASELINE_COLOUR} if baseline in losses else {}
    return grey | dict(zip(others, PALETTE, strict=False))


def definitions() -> Mapping[str, Mapping[str, Any]]:
    """Vega-Lite specifications by chart name; each reads the data set named "rows"."""
    charts = {
        "differences": _differences(),
        "rates": _rates(),
        "learning": _learning("log loss"),
        "objective": _learning("own objective / its first value"),
        "precision_recall": _precision_recall(),
        "reliability": _reliability(),
    }
    return {name: _finished(chart) for name, chart in charts.items()}


def _differences() -> Chart:
    """Rows: loss, difference, low, high, verdict."""
    words = ["better", "undecided", "worse"]
    colour = alt.Color("verdict:N", title=None).scale(
        domain=words, range=["#009e73", "#7a7a7a", "#d55e00"]
    )
    shape = alt.Shape("verdict:N", title=None).scale(
        domain=words, range=["triangle-up", "circle", "triangle-down"]
    )
    legend = alt.Legend(orient="top", symbolOpacity=1)
    colour, shape = colour.legend(legend), shape.legend(legend)
    y = alt.Y("loss:N", title=None, sort=None).axis(labelLimit=220, ticks=False)
    base = alt.Chart(ROWS).encode(y=y, color=colour)
    title = "difference from bce on test"
    points = base.mark_point(filled=True, size=90, opacity=1).encode(
        x=alt.X("difference:Q", title=title).scale(zero=True),
        shape=shape,
        tooltip=["loss:N", "difference:Q", "low:Q", "high:Q", "verdict:N"],
    )
    bars = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title=title), x2="high:Q")
    zero = alt.Chart(ROWS).mark_rule(strokeDash=[4, 3], color="#999").encode(x=alt.datum(0))
    return alt.layer(zero, bars, points).properties(height=alt.Step(34))


def _rates() -> Chart:
    """Rows: loss, colour, rate, mean, low, high."""
    x = alt.X("rate:Q", title="share of positives in training")
    x = x.scale(type="log", nice=False, padding=12).axis(format="~%", tickCount=5)
    base = alt.Chart(ROWS).encode(x=x, color=COLOUR, detail="loss:N")
    y = alt.Y("mean:Q", title="mean on test").scale(zero=False)
    lines = base.mark_line(point=True).encode(y=y, tooltip=["loss:N", "rate:Q", "mean:Q"])
    return alt.layer(_band(x), lines)


def _learning(title: str) -> Chart:
    """Rows: loss, colour, split, epoch, median, low, high."""
    split = alt.StrokeDash("split:N", title=None).legend(orient="top")
    split = split.scale(domain=["validation", "train"], range=[[1, 0], [4, 3]])
    x = alt.X("epoch:Q", title="epoch").axis(tickMinStep=1, format="d").scale(zero=False)
    base = alt.Chart(ROWS).encode(x=x, color=COLOUR, detail=["loss:N", "split:N"])
    y = alt.Y("median:Q", title=title).scale(zero=False)
    lines = base.mark_line(strokeWidth=1.8).encode(
        y=y, strokeDash=split, tooltip=["loss:N", "split:N", "epoch:Q", "median:Q"]
    )
    shading = _band(x).transform_filter(alt.datum.split == "validation")
    return alt.layer(shading, lines)


def _band(x: alt.X) -> alt.Chart:
    area = alt.Chart(ROWS).mark_area(opacity=0.13)
    fill = alt.Fill("colour:N").scale(None)
    return area.encode(x=x, y="low:Q", y2="high:Q", fill=fill, detail="loss:N")


def _precision_recall() -> Chart:
    """Rows: loss, colour, recall, precision, prevalence."""
    x = alt.X("recall:Q", title="recall").scale(domain=[0, 1])
    y = alt.Y("precision:Q", title="precision").scale(domain=[0, 1])
    base = alt.Chart(ROWS)
    lines = base.mark_line(strokeWidth=1.8, interpolate="step-before").encode(
        x=x, y=y, color=COLOUR, detail="loss:N", tooltip=["loss:N", "recall:Q", "precision:Q"]
    )
    chance = base.mark_rule(strokeDash=[4, 3], color="#999").encode(y="mean(prevalence):Q")
    return alt.layer(chance, lines)


def _reliability() -> Chart:
    """Rows: loss, colour, predicted, observed. Square-root axes: rare positives crowd at 0."""
    scale = alt.Scale(type="sqrt", domain=[0, 1])
    values = [0, 0.01, 0.05, 0.1, 0.2, 0.4, 0.7, 1]
    x = alt.X("predicted:Q", title="mean predicted probability", scale=scale)
    y = alt.Y("observed:Q", title="share of positives", scale=scale)
    axis = alt.Axis(values=values, labelOverlap="greedy", format=".2~f")
    x, y = x.axis(axis), y.axis(axis)
    base = alt.Chart(ROWS).encode(x=x, y=y, color=COLOUR, detail="loss:N")
    lines = base.mark_line(strokeWidth=1.8, point=alt.OverlayMarkDef(size=36)).encode(
        order="bin:Q", tooltip=["loss:N", "predicted:Q", "observed:Q"]
    )
    ends = alt.Chart(alt.InlineData(values=[{"p": 0}, {"p": 1}]))
    diagonal = ends.mark_line(strokeDash=[4, 3], color="#999", strokeWidth=1)
    return alt.layer(diagonal.encode(x=alt.X("p:Q", title=""), y=alt.Y("p:Q", title="")), lines)


def _finished(chart: Chart) -> Mapping[str, Any]:
    if chart.height is alt.Undefined:
        chart = chart.properties(height=HEIGHT)
    # The page's style sheet colours text, ticks and grid, so that dark mode and print follow it.
    axis = {
        "grid": True,
        "gridOpacity": 0.25,
        "domain": False,
        "titlePadding": 8,
        "labelFontSize": 11,
        "titleFontSize": 12,
    }
    chart = chart.configure(background="transparent", font="system-ui, sans-serif")
    chart = chart.configure_view(stroke=None).configure_axis(**axis)
    chart = chart.configure_legend(labelFontSize=12)
    sized = chart.properties(width="container", autosize=alt.AutoSizeParams(type="fit-x"))
    return dict(sized.to_dict())
