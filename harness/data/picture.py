"""A data set in one picture: its classes, what each column alone tells, distributions by class."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import vl_convert

from harness.data.columns import ARRAYS
from harness.data.dataset import Dataset
from harness.data.describe import LEAK_AUROC, Column, Description, category_codes, page
from harness.errors import UserError
from harness.files import write_whole

FORMATS = (".svg", ".png", ".html")
# As many columns as can be read at a glance: those that tell the classes apart best.
MAX_RANKED = 20
MAX_SHOWN = 12
MAX_LEVELS = 8
BINS = 30
_WIDTH, _HEIGHT = 210, 110
# Okabe and Ito (2008); the same blue and vermilion as in the report.
_COLOURS = {"negative": "#0072b2", "positive": "#d55e00"}
_AUROC = "AUROC of the column alone"
_CLASS = alt.Color("class:N", title=None).scale(
    domain=list(_COLOURS), range=list(_COLOURS.values())
)


def write_picture(path: Path, dataset: Dataset, description: Description) -> None:
    """Writes the picture; an .html file holds the description beside it, and runs no script.

    Raises UserError for another extension, or where the file cannot be written.
    """
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"--output {path}: the extension must be one of {', '.join(FORMATS)}")
    svg = vl_convert.vegalite_to_svg(picture(dataset, description).to_json())
    content = {
        ".svg": lambda: svg.encode(),
        ".png": lambda: vl_convert.svg_to_png(svg, scale=2),
        ".html": lambda: page(description, svg.encode()).encode(),
    }[path.suffix.lower()]()
    try:
        write_whole(path, content)
    except OSError as error:
        raise UserError(f"--output {path}: cannot be written ({error.strerror})") from None


def picture(dataset: Dataset, description: Description) -> alt.VConcatChart:
    """Classes and the columns' AUROC on top, below how the best columns are distributed."""
    ranked = sorted(description.columns, key=lambda column: -column.auroc)
    top = alt.hconcat(_classes(description), _aurocs(ranked[:MAX_RANKED]), spacing=60)
    small = [_distribution(dataset, column) for column in ranked[:MAX_SHOWN]]
    shown = "" if len(ranked) <= MAX_SHOWN else f", the {MAX_SHOWN} best of {len(ranked)}"
    below = alt.concat(*small, columns=4, spacing=18).properties(
        title=_title(f"Distribution within each class{shown}")
    )
    # Altair shares the bars' offsets between charts otherwise, and misplaces all but one's.
    below = below.resolve_scale(xOffset="independent")
    return (
        alt.vconcat(top, below, spacing=28)
        .properties(
            title=alt.Title(
                description.name,
                subtitle=f"{description.num_rows:,} rows, {description.num_features:,} features",
                fontSize=18,
                subtitleFontSize=13,
                anchor="start",
                offset=14,
            ),
            padding=16,
        )
        .configure(background="white", font="sans-serif")
        .configure_view(stroke=None)
        .configure_axis(grid=False, labelLimit=180, titleFontWeight="normal")
    )


def _title(text: str) -> alt.Title:
    return alt.Title(text, anchor="start", fontSize=13)


def _classes(description: Description) -> Any:
    counts = (description.num_rows - description.num_positives, description.num_positives)
    rows = [
        {"class": name, "rows": count, "label": f"{count:,} ({count / sum(counts):.2%})"}
        for name, count in zip(_COLOURS, counts, strict=True)
    ]
    y = alt.Y("class:N", title=None, sort=None).axis(ticks=False, domain=False)
    base = alt.Chart(alt.Data(values=rows)).encode(y=y)
    x = alt.X("rows:Q", title="rows").axis(format="~s", tickCount=5)
    bars = base.mark_bar().encode(x=x, color=_CLASS.legend(None))
    labels = base.mark_text(align="left", dx=5).encode(x=x, text="label:N")
    return alt.layer(bars, labels).properties(
        width=260, height=alt.Step(34), title=_title(f"Classes (positive: {_short(description)})")
    )


def _short(description: Description) -> str:
    label = description.positive_label
    return label if len(label) <= 24 else label[:23] + "…"


def _aurocs(columns: Sequence[Column]) -> Any:
    rows = [{"column": column.name, "auroc": column.auroc, "none": 0.5} for column in columns]
    x = alt.X("auroc:Q", title=_AUROC).scale(domain=[0.5, 1], nice=False)
    colour = alt.condition(
        alt.datum.auroc >= LEAK_AUROC, alt.value("#cc79a7"), alt.value("#7a7a7a")
    )
    base = alt.Chart(alt.Data(values=rows)).encode(
        y=alt.Y("column:N", title=None, sort=None).axis(ticks=False, domain=False), color=colour
    )
    lines = base.mark_rule(strokeWidth=2).encode(
        x=alt.X("none:Q", title=_AUROC).scale(zero=False), x2="auroc:Q"
    )
    points = base.mark_circle(size=70, opacity=1).encode(x=x)
    limit = alt.Chart(alt.Data(values=[{"limit": LEAK_AUROC}])).encode(
        x=alt.X("limit:Q").scale(zero=False)
    )
    limit = limit.mark_rule(strokeDash=[3, 3], color="#cc79a7")
    suspect = f"What each column alone tells (dashed: {LEAK_AUROC}, a leak?)"
    return alt.layer(lines, points, limit).properties(
        width=420, height=alt.Step(16), title=_title(suspect)
    )


def _distribution(dataset: Dataset, column: Column) -> alt.Chart:
    chart = _levels(dataset, column) if column.levels else _histogram(dataset, column)
    note = f"AUROC {column.auroc:.3f}"
    if column.missing:
        note += f", {column.missing / dataset.num_rows:.1%} missing"
    title = alt.Title(column.name, subtitle=note, fontSize=12, limit=_WIDTH, anchor="start")
    return chart.properties(width=_WIDTH, height=_HEIGHT, title=title)


def _histogram(dataset: Dataset, column: Column) -> alt.Chart:
    """Steps over equal bins; what lies beyond the middle 99% is counted in the outer ones."""
    index = column.features.start
    values = dataset.features[:, index].astype(np.float64)
    if dataset.raw is not None and column.kind not in ("code", *ARRAYS):
        values = values * dataset.raw.std[index] + dataset.raw.mean[index]
    present = ~np.isnan(values)
    if column.kind == "date":
        values = values * 86_400e3  # Vega counts milliseconds
    low, high = np.quantile(values[present], [0.005, 0.995])
    if not low < high:
        low, high = values[present].min(), values[present].max()
    if not low < high:
        low, high = low - 0.5, low + 0.5
    edges = np.linspace(low, high, BINS + 1)
    rows = []
    for label, name in enumerate(_COLOURS):
        chosen = values[present & (dataset.labels == label)].clip(low, high)
        shares = np.histogram(chosen, edges)[0] / max(1, len(chosen))
        rows += [
            {"class": name, "from": a, "to": b, "none": 0, "share": share}
            for a, b, share in zip(edges[:-1], edges[1:], shares, strict=True)
        ]
    if column.kind == "date":
        x = alt.X("from:T", title=None).axis(tickCount=4)
    else:
        x = alt.X("from:Q", title=None).bin("binned").axis(tickCount=4)
    return (
        alt.Chart(alt.Data(values=rows))
        .mark_bar(opacity=0.55, binSpacing=0)
        .encode(x=x, x2="to:Q", y=_share().stack(None), y2="none:Q", color=_CLASS)
    )


def _levels(dataset: Dataset, column: Column) -> alt.Chart:
    codes = category_codes(dataset, column.features)
    names = [name for name, _ in column.levels]
    counts = np.stack([
        np.bincount(codes[dataset.labels == label], minlength=len(names)) for label in (0, 1)
    ])  # fmt: skip
    order = np.argsort(-counts.sum(axis=0), kind="stable")[:MAX_LEVELS]
    shares = counts / counts.sum(axis=1, keepdims=True)
    rows = [
        {"class": name, "level": names[code], "share": shares[label, code]}
        for code in order
        for label, name in enumerate(_COLOURS)
    ]
    x = alt.X("level:N", title=None, sort=None).axis(labelAngle=-35, labelLimit=80, ticks=False)
    return (
        alt.Chart(alt.Data(values=rows))
        .mark_bar()
        .encode(x=x, xOffset=alt.XOffset("class:N", sort=None), y=_share(), color=_CLASS)
    )


def _share() -> alt.Y:
    return alt.Y("share:Q", title=None).axis(format="~%", tickCount=3)
