"""What the charts share. Each is defined once, without data, and reads the rows named "rows".

Rows name their method and carry its colour. Colours are Okabe and Ito's (2008), chosen to be told
apart by colour-blind readers, without the yellow and the black that vanish on a light or a dark
page; the baseline is grey.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

BASELINE_COLOUR = "#7a7a7a"
MUTED = "#8a8f96"
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MAX_METHODS = 1 + len(PALETTE)
HEIGHT = 260
ROWS = alt.NamedData(name="rows")
Chart = alt.LayerChart | alt.FacetChart  # what alt.layer is declared to return
COLOUR = alt.Color("colour:N").scale(None)


def colours(methods: Sequence[str], baseline: str) -> dict[str, str]:
    """A colour for the baseline and each of up to `len(PALETTE)` other methods.

    >>> colours(["bce", "focal"], "bce")
    {'bce': '#7a7a7a', 'focal': '#0072b2'}
    """
    others = [method for method in methods if method != baseline]
    grey = {baseline: BASELINE_COLOUR} if baseline in methods else {}
    return grey | dict(zip(others, PALETTE, strict=False))


def band(x: alt.X, *, detail: str | list[str] = "method:N") -> alt.Chart:
    """Shading between the columns low and high."""
    area = alt.Chart(ROWS).mark_area(opacity=0.13)
    fill = alt.Fill("colour:N").scale(None)
    return area.encode(x=x, y="low:Q", y2="high:Q", fill=fill, detail=detail)


def lines(x: alt.X, y: alt.Y, **mark: Any) -> alt.Chart:
    """A line a method, in its colour."""
    tooltip = ["method:N", x.shorthand, y.shorthand]
    marked = alt.Chart(ROWS).mark_line(strokeWidth=1.8, **mark)
    return marked.encode(x=x, y=y, color=COLOUR, detail="method:N", tooltip=tooltip)


def rule_at(value: float) -> alt.Chart:
    """A dashed vertical line that means: no difference, or no skill."""
    return alt.Chart(ROWS).mark_rule(strokeDash=[4, 3], color=MUTED).encode(x=alt.datum(value))


def titled(node: Any, compared: str) -> Any:
    """A specification in which what shows the column `method` is headed by the keys compared."""
    if isinstance(node, list):
        return [titled(item, compared) for item in node]
    if not isinstance(node, dict):
        return node
    heading = {"title": compared} if node.get("field") == "method" else {}
    return {**heading, **{key: titled(value, compared) for key, value in node.items()}}


def finished(chart: Chart) -> Mapping[str, Any]:
    """A chart's Vega-Lite specification, as wide as its place."""
    if chart.height is alt.Undefined:
        chart = chart.properties(height=HEIGHT)
    # The page's style sheet colours text, ticks and grid, so that dark mode and print follow it.
    axis = {
        "grid": True,
        "gridOpacity": 0.25,
        "domain": False,
        "titlePadding": 8,
        "labelSeparation": 4,
        "labelFontSize": 11,
        "titleFontSize": 12,
    }
    chart = chart.configure(background="transparent", font="system-ui, sans-serif")
    chart = chart.configure_view(stroke=None).configure_axis(**axis)
    chart = chart.configure_legend(labelFontSize=12)
    sized = chart.properties(width="container", autosize=alt.AutoSizeParams(type="fit-x"))
    return dict(sized.to_dict())
