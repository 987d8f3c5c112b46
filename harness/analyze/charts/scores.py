"""Charts of the stored scores. Where a threshold varies, its axis is a logit labelled in
probabilities, since those of rare positives crowd at 0.

`thresholds`, `costs` and `net_benefit` read counts: rows (method, colour, logit, tp, fp, positives,
negatives), the true and false positives at a threshold. What they show is calculated in the chart,
so that the page can move `at`, `cost_fp` and `cost_fn` without sending rows again.
"""

import altair as alt

from harness.analyze.charts.base import COLOUR, MUTED, ROWS, Chart, lines

LOGIT_LABELS = "format(1 / (1 + exp(-datum.value)), '.1~%')"
LOGIT_TICKS = [-6.907, -4.595, -2.944, -1.386, 0, 1.386, 2.944, 4.595, 6.907]


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
    """Rows: method, colour, bin, predicted, observed, low, high. Square-root axes: see above."""
    scale = alt.Scale(type="sqrt", domain=[0, 1])
    values = [0, 0.01, 0.05, 0.1, 0.2, 0.4, 0.7, 1]
    axis = alt.Axis(values=values, labelOverlap="greedy", format=".2~f")
    x = alt.X("predicted:Q", title="mean predicted probability", scale=scale, axis=axis)
    y = alt.Y("observed:Q", title="share of positives", scale=scale, axis=axis)
    base = alt.Chart(ROWS).encode(x=x, color=COLOUR, detail="method:N")
    curves = base.mark_line(strokeWidth=1.8, point=alt.OverlayMarkDef(size=36)).encode(
        y=y, order="bin:Q", tooltip=["method:N", "predicted:Q", "observed:Q", "low:Q", "high:Q"]
    )
    bars = base.mark_rule(opacity=0.3).encode(y=alt.Y("low:Q", title=""), y2="high:Q")
    return alt.layer(_diagonal("predicted", "observed"), bars, curves)


def histogram() -> Chart:
    """Rows: method, colour, logit, label ("positive", "negative"), share."""
    x = _logit_axis("logit", "predicted probability")
    y = alt.Y("share:Q", title="share of the class")
    label = alt.StrokeDash("label:N", title=None).legend(orient="top")
    label = label.scale(domain=["positive", "negative"], range=[[1, 0], [4, 3]])
    marked = alt.Chart(ROWS).mark_line(strokeWidth=1.8, interpolate="step")
    return alt.layer(
        marked.encode(
            x=x,
            y=y,
            color=COLOUR,
            strokeDash=label,
            detail=["method:N", "label:N"],
            tooltip=["method:N", "label:N", "share:Q"],
        )
    )


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
    """Counts: expected cost of 1,000 rows at each threshold, at `cost_fp` and `cost_fn`."""
    rows = "(datum.positives + datum.negatives)"
    total = "datum.fp * cost_fp + (datum.positives - datum.tp) * cost_fn"
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
    cost_fp = alt.param(name="cost_fp", value=1)
    return _with_threshold(chart).add_params(cost_fp, alt.param(name="cost_fn", value=1))


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
