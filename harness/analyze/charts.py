"""The charts, each defined once, without data, for the interactive page and for a paper's file.

Each reads the rows named "rows", which name their method and carry its colour. Colours are Okabe
and Ito's (2008), chosen to be told apart by colour-blind readers, without the yellow and the black
that vanish on a light or a dark page; the baseline is grey. Where a threshold varies, its axis is a
logit labelled in probabilities, since those of rare positives crowd at 0.

`thresholds`, `costs` and `net_benefit` read counts: rows (method, colour, logit, tp, fp, positives,
negatives), the true and false positives at a threshold. What they show is calculated in the chart,
so that the page can move `at` and the costs without sending rows again.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import altair as alt

BASELINE_COLOUR = "#7a7a7a"
MUTED = "#8a8f96"
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MAX_METHODS = 1 + len(PALETTE)
HEIGHT = 260
ROWS = alt.NamedData(name="rows")
COLUMNS = 3  # of small multiples, where there is room
PANEL = 120  # pixels across a panel's plot, and as many down
Chart = alt.LayerChart | alt.FacetChart  # what alt.layer is declared to return
COLOUR = alt.Color("colour:N").scale(None)

VERDICTS = {
    "better": ("#009e73", "triangle-up"),
    "undecided": ("#7a7a7a", "circle"),
    "worse": ("#d55e00", "triangle-down"),
    "same": ("#56b4e9", "square"),
    "differs": ("#0072b2", "diamond"),
}
LOGIT_LABELS = "format(1 / (1 + exp(-datum.value)), '.1~%')"
LOGIT_TICKS = [-6.907, -4.595, -2.944, -1.386, 0, 1.386, 2.944, 4.595, 6.907]


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


def panels(chart: Chart, title: str) -> alt.FacetChart:
    """Small multiples: a panel a method, under its name; ``title`` says what the axes are.

    The layers say no data: theirs are the rows of their panel. Each panel has its own x axis: above
    a place that the last row leaves empty there would be none.
    """
    header = alt.Header(labelFontSize=12, labelLimit=PANEL + 30, titleFontSize=12)
    each = alt.Facet("method:N", sort=None, title=title, header=header)
    sized = chart.properties(width=PANEL, height=PANEL)
    faceted = sized.facet(facet=each, columns=COLUMNS, data=ROWS).properties(spacing=14)
    return faceted.resolve_axis(x="independent")


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
    """A chart's Vega-Lite specification, as wide as its place; a panel of several has its own."""
    is_faceted = isinstance(chart, alt.FacetChart)
    if not is_faceted and chart.height is alt.Undefined:
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
    if not is_faceted:  # the page sizes the panels of one that is
        fitted = alt.AutoSizeParams(type="fit-x")
        chart = chart.properties(width="container", autosize=fitted)
    return dict(chart.to_dict())


def differences() -> Chart:
    """Rows: method, difference, low, high, verdict."""
    return _forest("difference from the baseline on test", ["num_pairs:Q", "p_adjusted:Q"])


def datasets() -> Chart:
    """Rows: method, difference, low, high, verdict, num_datasets, p_adjusted."""
    return _forest("typical difference over data sets", ["num_datasets:Q", "p_adjusted:Q"])


def _forest(title: str, evidence: list[str]) -> Chart:
    words = list(VERDICTS)
    colours, shapes = map(list, zip(*VERDICTS.values(), strict=True))
    colour = alt.Color("verdict:N", title=None).scale(domain=words, range=colours)
    shape = alt.Shape("verdict:N", title=None).scale(domain=words, range=shapes)
    legend = alt.Legend(orient="top", symbolOpacity=1, values=words[:4])
    colour, shape = colour.legend(legend), shape.legend(legend)
    y = alt.Y("method:N", sort=None).axis(labelLimit=220, ticks=False)
    base = alt.Chart(ROWS).encode(y=y, color=colour)
    points = base.mark_point(filled=True, size=90, opacity=1).encode(
        x=alt.X("difference:Q", title=title).scale(zero=True),
        shape=shape,
        tooltip=["method:N", "difference:Q", "low:Q", "high:Q", "verdict:N", *evidence],
    )
    bars = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title=title), x2="high:Q")
    return alt.layer(rule_at(0), bars, points).properties(height=alt.Step(34))


def rates() -> Chart:
    """Rows: method, colour, rate, mean, low, high."""
    x = alt.X("rate:Q", title="share of positives in training")
    x = x.scale(type="log", nice=False, padding=12).axis(format="~%", tickCount=5)
    base = alt.Chart(ROWS).encode(x=x, color=COLOUR, detail="method:N")
    y = alt.Y("mean:Q", title="mean on test").scale(zero=False)
    lines = base.mark_line(point=True).encode(y=y, tooltip=["method:N", "rate:Q", "mean:Q"])
    return alt.layer(band(x), lines)


def ranks() -> Chart:
    """Rows: kind "group" (method, rank) or "tied" (method: a label, low, high); sorted as shown.

    Demsar's critical-difference diagram, a row a group: the bars join ranks that are not told
    apart.
    """
    y = alt.Y("method:N", sort=None).axis(labelLimit=220, ticks=False)
    title = "average rank over data sets (1 is best)"
    x = alt.X("rank:Q", title=title).scale(zero=False, padding=12)
    base = alt.Chart(ROWS).encode(y=y)
    groups = base.transform_filter(alt.datum.kind == "group")
    tied = base.transform_filter(alt.datum.kind == "tied")
    points = groups.mark_point(filled=True, size=90, opacity=1, color="#0072b2").encode(
        x=x, tooltip=["method:N", "rank:Q"]
    )
    bars = tied.mark_bar(height=6, color=MUTED, cornerRadius=3).encode(
        x=alt.X("low:Q", title=title), x2="high:Q", tooltip=["low:Q", "high:Q"]
    )
    return alt.layer(bars, points).properties(height=alt.Step(30))


def precision_recall() -> Chart:
    """Rows: method, colour, recall, precision, prevalence."""
    x = alt.X("recall:Q", title="recall").scale(domain=[0, 1])
    y = alt.Y("precision:Q", title="precision").scale(domain=[0, 1])
    chance = alt.Chart(ROWS).mark_rule(strokeDash=[4, 3], color=MUTED)
    return alt.layer(chance.encode(y="mean(prevalence):Q"), lines(x, y, interpolate="step-before"))


def roc() -> Chart:
    """Rows: method, colour, fpr, tpr."""
    x = alt.X("fpr:Q", title="false positive rate").scale(domain=[0, 1])
    y = alt.Y("tpr:Q", title="true positive rate (recall)").scale(domain=[0, 1])
    return alt.layer(_diagonal("fpr", "tpr"), lines(x, y))


def reliability() -> Chart:
    """Rows: method, colour, bin, predicted, observed, low, high. Square-root axes: see above.

    A panel a method: the intervals of several would hide each other.
    """
    scale = alt.Scale(type="sqrt", domain=[0, 1])
    values = [0, 0.05, 0.2, 0.5, 1]
    axis = alt.Axis(values=values, labelOverlap="greedy", format=".2~f")
    x = alt.X("predicted:Q", title=None, scale=scale, axis=axis)
    y = alt.Y("observed:Q", title=None, scale=scale, axis=axis)
    base = alt.Chart().encode(x=x, color=COLOUR, detail="method:N")
    curves = base.mark_line(strokeWidth=1.8, point=alt.OverlayMarkDef(size=36)).encode(
        y=y, order="bin:Q", tooltip=["method:N", "predicted:Q", "observed:Q", "low:Q", "high:Q"]
    )
    bars = base.mark_rule(opacity=0.45).encode(y=alt.Y("low:Q", title=None), y2="high:Q")
    layers = alt.layer(_diagonal("predicted", "observed"), bars, curves)
    return panels(layers, "share of positives by mean predicted probability")


def histogram() -> Chart:
    """Rows: method, colour, logit, label ("positive", "negative"), share; a panel a method."""
    values = [-4.595, 0, 4.595]
    axis = alt.Axis(values=values, labelExpr=LOGIT_LABELS, labelOverlap="greedy")
    x = alt.X("logit:Q", title=None, axis=axis).scale(domain=[-8, 8], nice=False)
    y = alt.Y("share:Q", title=None).axis(format="%", tickCount=4).stack(None)
    base = alt.Chart().encode(x=x, y=y, tooltip=["method:N", "label:N", "share:Q"])
    positives = base.transform_filter(alt.datum.label == "positive")
    negatives = base.transform_filter(alt.datum.label == "negative")
    stepped: dict[str, Any] = {"interpolate": "step", "strokeWidth": 1.5}
    area = positives.mark_area(interpolate="step", opacity=0.35)
    layers = alt.layer(
        area.encode(fill=alt.Fill("colour:N").scale(None)),
        positives.mark_line(**stepped).encode(color=COLOUR),
        negatives.mark_line(**stepped, strokeDash=[4, 3], color=MUTED),
    )
    return panels(layers, "share of the class by predicted probability")


def thresholds() -> Chart:
    """Counts of one method: precision, recall and F1 at each threshold."""
    counts = alt.Chart(ROWS).transform_calculate(
        precision="datum.tp + datum.fp > 0 ? datum.tp / (datum.tp + datum.fp) : null",
        recall="datum.positives > 0 ? datum.tp / datum.positives : null",
        F1="2 * datum.tp / (datum.tp + datum.fp + datum.positives)",
    )
    folded = counts.transform_fold(["precision", "recall", "F1"], as_=["measure", "value"])
    colour = alt.Color("measure:N", title=None, sort=["precision", "recall", "F1"])
    colour = colour.scale(range=["#0072b2", "#d55e00", "#009e73"]).legend(orient="top")
    curves = folded.mark_line(strokeWidth=1.8).encode(
        x=_logit_axis("logit", "threshold"),
        y=alt.Y("value:Q", title="on test").scale(domain=[0, 1]),
        color=colour,
        tooltip=["measure:N", "value:Q"],
    )
    return _with_threshold(alt.layer(curves))


def costs() -> Chart:
    """Counts: expected cost of 1,000 rows at each threshold, at the costs of `decisions.COSTS`."""
    rows = "(datum.positives + datum.negatives)"
    wrong = "datum.fp * cost_fp + (datum.positives - datum.tp) * cost_fn"
    total = f"{wrong} + datum.tp * cost_tp + (datum.negatives - datum.fp) * cost_tn"
    curves = alt.Chart(ROWS).transform_calculate(cost=f"1000 * ({total}) / {rows}")
    chart = alt.layer(
        curves.mark_line(strokeWidth=1.8).encode(
            x=_logit_axis("logit", "threshold"),
            y=alt.Y("cost:Q", title="cost of 1,000 rows"),
            color=COLOUR,
            detail="method:N",
            tooltip=["method:N", "cost:Q"],
        )
    )
    errors = [alt.param(name=name, value=1) for name in ("cost_fp", "cost_fn")]
    rights = [alt.param(name=name, value=0) for name in ("cost_tp", "cost_tn")]
    return _with_threshold(chart).add_params(*errors, *rights)


def net_benefit() -> Chart:
    """Counts: decision curves (Vickers and Elkin 2006), with flagging all rows and none."""
    rows = "(datum.positives + datum.negatives)"
    odds = "exp(datum.logit)"
    curves = alt.Chart(ROWS).transform_calculate(
        benefit=f"(datum.tp - datum.fp * {odds}) / {rows}",
        everyone=f"(datum.positives - datum.negatives * {odds}) / {rows}",
    )
    x = _logit_axis("logit", "threshold")
    y = alt.Y("benefit:Q", title="net benefit a row")
    marked = curves.mark_line(strokeWidth=1.8, clip=True)
    ours = marked.encode(
        x=x, y=y, color=COLOUR, detail="method:N", tooltip=["method:N", "benefit:Q"]
    )
    # Flagging everyone costs without bound as the threshold rises: shown while it is worth it.
    every = curves.transform_filter("datum.everyone > -0.02")
    every = every.mark_line(strokeDash=[4, 3], color=MUTED, strokeWidth=1)
    worth = ours.transform_filter("datum.benefit > -0.05")
    none = alt.Chart(ROWS).mark_rule(color=MUTED, strokeWidth=1).encode(y=alt.datum(0))
    return _with_threshold(
        alt.layer(none, every.encode(x=x, y=alt.Y("mean(everyone):Q", title="")), worth)
    )


def _logit_axis(field: str, title: str) -> alt.X:
    axis = alt.Axis(values=LOGIT_TICKS, labelExpr=LOGIT_LABELS, labelOverlap="greedy")
    return alt.X(f"{field}:Q", title=title, axis=axis).scale(domain=[-8, 8], nice=False)


def _with_threshold(chart: Chart) -> Chart:
    """A vertical line at the parameter `at`, a logit."""
    here = alt.param(name="at", value=0)
    line = alt.Chart(alt.InlineData(values=[{}])).transform_calculate(here="at")
    rule = line.mark_rule(strokeWidth=1.5, color="#c2185b").encode(x=alt.X("here:Q", title=""))
    return (chart + rule).add_params(here)


def _diagonal(x: str, y: str) -> alt.Chart:
    ends = alt.Chart(alt.InlineData(values=[{x: 0, y: 0}, {x: 1, y: 1}]))
    marked = ends.mark_line(strokeDash=[4, 3], color=MUTED, strokeWidth=1)
    return marked.encode(x=alt.X(f"{x}:Q", title=""), y=alt.Y(f"{y}:Q", title=""))


def learning(title: str) -> Chart:
    """Rows: method, colour, split, epoch, median, low, high."""
    split = alt.StrokeDash("split:N", title=None).legend(orient="top")
    split = split.scale(domain=["validation", "train"], range=[[1, 0], [4, 3]])
    x = alt.X("epoch:Q", title="epoch").axis(tickMinStep=1, format="d").scale(zero=False)
    base = alt.Chart(ROWS).encode(x=x, color=COLOUR, detail=["method:N", "split:N"])
    y = alt.Y("median:Q", title=title).scale(zero=False)
    curves = base.mark_line(strokeWidth=1.8).encode(
        y=y, strokeDash=split, tooltip=["method:N", "split:N", "epoch:Q", "median:Q"]
    )
    shading = band(x).transform_filter(alt.datum.split == "validation")
    return alt.layer(shading, curves)


def learning_curves() -> alt.FacetChart:
    """Rows as of `learning`, and `where`: a panel a data set, with scales of its own."""
    each = alt.Facet("where:N", sort=None, title=None, header=alt.Header(labelLimit=PANEL + 30))
    sized = learning("log loss").properties(width=PANEL, height=PANEL)
    faceted = sized.facet(facet=each, columns=COLUMNS).properties(spacing=14)
    return faceted.resolve_axis(x="independent").resolve_scale(x="independent", y="independent")


def steps() -> Chart:
    """Rows: method, colour, steps, share: runs that have reached the target."""
    x = alt.X("steps:Q", title="training steps").axis(tickMinStep=1, format="~s")
    y = alt.Y("share:Q", title="share of runs at the target").scale(domain=[0, 1])
    return alt.layer(lines(x, y.axis(format="%"), interpolate="step-after"))


def response() -> Chart:
    """Rows: method, colour, value, score, of one hyperparameter.

    An ordinal axis: tried values are few, and as often a grid of powers as they are even.
    """
    x = alt.X("value:O", title="value").axis(labelAngle=0, labelOverlap="greedy", format="~g")
    y = alt.Y("score:Q", title="best mean on validation").scale(zero=False)
    return alt.layer(lines(x, y, point=True))


def budget() -> Chart:
    """Rows: method, colour, trials, expected."""
    x = alt.X("trials:Q", title="configurations tried").axis(tickMinStep=1, format="d")
    y = alt.Y("expected:Q", title="expected best on validation").scale(zero=False)
    return alt.layer(lines(x.scale(zero=False), y))


def loss_shape(title: str) -> Chart:
    """Rows: method, colour, logit, value: of a positive row; a negative one mirrors most losses."""
    x = alt.X("logit:Q", title="logit given to a positive")
    return alt.layer(lines(x, alt.Y("value:Q", title=title)))


DEFINED: Mapping[str, Callable[[], Chart]] = {
    "differences": differences,
    "rates": rates,
    "datasets": datasets,
    "ranks": ranks,
    "precision_recall": precision_recall,
    "roc": roc,
    "reliability": reliability,
    "histogram": histogram,
    "thresholds": thresholds,
    "costs": costs,
    "net_benefit": net_benefit,
    "learning": lambda: learning("log loss"),
    "objective": lambda: learning("own objective / its first value"),
    "learning_curves": learning_curves,
    "steps": steps,
    "response": response,
    "budget": budget,
    "loss_shape": lambda: loss_shape("loss"),
    "gradient_shape": lambda: loss_shape("gradient"),
}

STANDALONE = frozenset({"loss_shape", "gradient_shape", "learning_curves"})
"""Not on the page: of no logged run, drawn from rows that others give (`drawing.write_chart`), or
of all data sets at once, for a paper."""


def definitions(compared: str) -> Mapping[str, Mapping[str, Any]]:
    """Vega-Lite specifications by chart name; each reads the data set named "rows".

    Args:
        compared: heading of what is compared, such as `loss`; rows have it as `method`.
    """
    return {name: titled(finished(chart()), compared) for name, chart in DEFINED.items()}
