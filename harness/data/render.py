"""A description on the terminal. Names are shown as they are, never as markup."""

from base64 import b64encode
from datetime import UTC, datetime, timedelta
from html import escape
from io import StringIO

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from harness.data.describe import LEAK_AUROC, Column, Description

MAX_COLUMNS = 200
MAX_LEVELS = 5


def render(description: Description) -> Group:
    """Three rich tables: the set, what to look out for, and its columns."""
    facts = Table(show_header=False, box=None)
    for label, value in _facts(description).items():
        facts.add_row(Text(label, style="bold"), Text(value))
    warnings = [Text(f"! {line}", style="yellow") for line in findings(description)]
    return Group(facts, *warnings, _columns(description))


def findings(description: Description) -> list[str]:
    """What a user should look at before trusting a comparison; empty where nothing was found."""
    found = description.repeats
    lines = []
    for column in description.suspects:
        lines.append(
            f"column {column.name!r} alone tells the classes (AUROC {column.auroc:.4f}, at or "
            f"above {LEAK_AUROC}): does it hold the answer? dataset.drop leaves a column out"
        )
    if found.leaked:
        lines.append(
            f"{found.leaked:,} of {found.num_test:,} test rows also stand in training (default "
            "split, seed 0): test scores flatter; drop duplicates, or split by group"
        )
    if found.contradictory:
        lines.append(
            f"{found.contradictory:,} rows share all features with a row of the other class: "
            "no model can tell them apart"
        )
    if description.num_positives < 30 or description.num_rows - description.num_positives < 30:
        lines.append("fewer than 30 rows of one class: differences will hardly be decided")
    lines += [f"column {c.name!r} was left out: {c.note}" for c in description.left_out]
    return [*lines, *description.notes]


def page(description: Description, picture: bytes) -> str:
    """An HTML page with the same text, and the picture (SVG) as an image, which runs no script."""
    console = Console(record=True, width=140, file=StringIO())
    console.print(render(description))
    text = console.export_html(inline_styles=True, code_format="<pre>{code}</pre>")
    image = f'<img alt="" src="data:image/svg+xml;base64,{b64encode(picture).decode()}">'
    title = escape(f"{description.name}: {description.num_rows:,} rows")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        "<style>body{font-family:sans-serif;margin:2em}pre{font-size:13px;overflow-x:auto}"
        f"img{{max-width:100%}}</style>{image}{text}</html>\n"
    )


def _facts(description: Description) -> dict[str, str]:
    found = description.repeats
    positives = f"{description.num_positives:,} ({description.positive_rate:.4g} of all rows)"
    facts = {
        "data set": description.name,
        "application": description.application or "not stated",
        "source": description.source,
        "licence": description.licence,
        "rows": f"{description.num_rows:,}",
        "features": f"{description.num_features:,}",
        "positive label": description.positive_label,
        "positives": positives,
        "negatives": f"{description.num_rows - description.num_positives:,}",
        "missing values": f"{description.missing:,}",
        "duplicate rows": f"{found.duplicates:,}",
        "true posterior": "known" if description.known_posterior else "unknown",
        "fingerprint": description.fingerprint,
    }
    if description.num_groups is not None:
        facts["groups"] = f"{description.num_groups:,}"
    if description.times is not None:
        facts["times"] = "{:g} to {:g}".format(*description.times)
    return facts


def _columns(description: Description) -> Table:
    units = "data's own units" if description.raw else "standardised"
    table = Table("column", "type", title=f"Columns ({units})", title_justify="left")
    for heading in ("missing", "mean", "std", "min", "max", "AUROC alone"):
        table.add_column(heading, justify="right")
    for column in description.columns[:MAX_COLUMNS]:
        missing = f"{column.missing:,}" if column.missing else ""
        head = (Text(column.name), column.kind, missing)
        if column.levels:
            table.add_row(*head, Text(_levels(column)), "", "", "", f"{column.auroc:.3f}")
        else:
            show = _day if column.kind == "date" else "{:.4g}".format
            table.add_row(
                *head,
                show(column.mean),
                f"{column.std:.4g}" + (" d" if column.kind == "date" else ""),
                show(column.min),
                show(column.max),
                f"{column.auroc:.3f}",
            )
    rest = len(description.columns) - MAX_COLUMNS
    if rest > 0:
        table.caption = f"and {rest:,} more"
    return table


def _levels(column: Column) -> str:
    common = sorted(column.levels, key=lambda level: -level[1])
    shown = [f"{name} {share:.1%}" for name, share in common[:MAX_LEVELS]]
    rest = len(column.levels) - MAX_LEVELS
    return "\n".join([*shown, f"and {rest} more"] if rest > 0 else shown)


def _day(days: float) -> str:
    """A date of days since 1970, where the calendar has it."""
    try:
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=days)).date().isoformat()
    except OverflowError:
        return f"{days:.4g}"
