"""Charts of scores and of differences from the baseline."""

import altair as alt

from harness.analyze.charts.base import COLOUR, MUTED, ROWS, Chart, band, rule_at

VERDICTS = {
    "better": ("#009e73", "triangle-up"),
    "undecided": ("#7a7a7a", "circle"),
    "worse": ("#d55e00", "triangle-down"),
    "differs": ("#0072b2", "diamond"),
}


def differences() -> Chart:
    """Rows: method, difference, low, high, verdict."""
    return _forest("difference from the baseline on test", ["num_pairs:Q", "p_holm:Q"])


def datasets() -> Chart:
    """Rows: method, difference, low, high, verdict, num_datasets, p_holm."""
    return _forest("typical difference over data sets", ["num_datasets:Q", "p_holm:Q"])


def _forest(title: str, evidence: list[str]) -> Chart:
    words = list(VERDICTS)
    colours, shapes = map(list, zip(*VERDICTS.values(), strict=True))
    colour = alt.Color("verdict:N", title=None).scale(domain=words, range=colours)
    shape = alt.Shape("verdict:N", title=None).scale(domain=words, range=shapes)
    legend = alt.Legend(orient="top", symbolOpacity=1, values=words[:3])
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
