"""Charts of training and tuning, and of the losses themselves."""

import altair as alt

from harness.analyze.charts.base import COLOUR, ROWS, Chart, band, lines


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
