"""The report: one HTML file that needs no network and lets none be used.

Every name comes from logged configs and is untrusted: Jinja escapes it in the page, `tojson`
escapes it in the data block, and the script writes it with `textContent`. The content security
policy admits two scripts by their hash, so markup that slipped through would still not run.
"""

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
import polars as pl
import vl_convert

from harness.analyze import wording
from harness.analyze.answers import answers, overall
from harness.analyze.groups import SCENARIO
from harness.analyze.headings import compared_heading, direction, heading
from harness.analyze.payload import build_payload
from harness.analyze.provenance import asked, provenance, settings
from harness.analyze.question import Analysis, averaged_over, compared_keys
from harness.analyze.rows import ChartRows

MAX_TABLE_ROWS = 2000
MAX_LISTED = 12
SCRIPTS = ("data.js", "explorer.js", "page.js")


def render(analysis: Analysis, drawn: ChartRows, *, command: str = "") -> str:
    """The page as text. `command`: what trained these runs, where known."""
    bundle, script = _bundle(), _script()
    payload = build_payload(analysis, drawn)
    headline = analysis.differences.filter(pl.col("metric") == analysis.headline)
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            analysis=analysis,
            name=analysis.runs.name,
            compared=compared_keys(analysis.question),
            bundle=bundle,
            script=script,
            style=_template_file("report.css"),
            script_hashes=[_hash(bundle), _hash(script)],
            overall=overall(analysis),
            sentences=answers(analysis),
            num_listed=MAX_LISTED,
            num_methods=analysis.board["method"].n_unique(),
            num_drawn=len(drawn.palette),
            board=_numbered(analysis.board, drawn),
            differences=_numbered(headline, drawn),
            datasets=analysis.datasets.filter(pl.col("metric") == analysis.headline).to_dicts(),
            over=averaged_over(analysis.labelled, analysis.keys, analysis.question.by) or "one run",
            table_rows_left_out=max(0, analysis.board.height - MAX_TABLE_ROWS),
            asked=asked(analysis),
            facts=provenance(analysis.labelled, analysis.board),
            settings=settings(analysis.labelled, analysis.keys),
            command=command,
            notes=analysis.notes,
            families=analysis.differences["family_size"].max() if headline.height else 0,
            payload=payload,
        )
    )


def _numbered(table: pl.DataFrame, drawn: ChartRows) -> list[dict[str, Any]]:
    """Rows with `scenario`, the number the selector uses (None past what the selector lists)."""
    numbered = table.head(MAX_TABLE_ROWS).join(
        drawn.scenarios, on=SCENARIO, how="left", nulls_equal=True, maintain_order="left"
    )
    return [{**row, "where": wording.place(row)} for row in numbered.iter_rows(named=True)]


@cache
def _bundle() -> str:
    bundle = vl_convert.javascript_bundle("window.drawChart = vegaEmbed;").replace("\r\n", "\n")
    if "</script" in bundle.lower() or "<!--" in bundle:
        raise RuntimeError("the Vega bundle cannot stand inside a script element")
    return bundle


def _script() -> str:
    """A block: the bundle before this one owns the short global names."""
    return '"use strict";\n{\n' + "\n".join(map(_template_file, SCRIPTS)) + "}\n"


def _template_file(name: str) -> str:
    return files("harness.analyze").joinpath("templates", name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template_file),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        signed=wording.signed,
        interval=wording.interval,
        number=wording.number,
        p_value=wording.p_value,
        wins=wording.wins,
        chances=wording.chances,
        compared=compared_heading,
        verdict_hint=wording.what_would_decide,
        metric=heading,
        direction=direction,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    return environment
