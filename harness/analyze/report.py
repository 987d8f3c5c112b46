"""The report: one HTML file that needs no network and lets none be used.

Every name comes from logged configs and is untrusted: Jinja escapes it in the page, `tojson`
escapes it in the data block, and the script writes it with `textContent`. The content security
policy admits two scripts by their hash, so markup that slipped through would still not run.
"""

import base64
import hashlib
import importlib.metadata
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
import polars as pl
import vl_convert

import harness
from harness.analyze import answers
from harness.analyze.charts import definitions
from harness.analyze.groups import SCENARIO, config_columns, varying_columns
from harness.analyze.metrics import LEADERBOARD, title
from harness.analyze.payload import MAX_SCENARIOS

MAX_TABLE_ROWS = 2000
MAX_LISTED = 12


def render(
    *,
    name: str,
    labelled: pl.DataFrame,
    board: pl.DataFrame,
    differences: pl.DataFrame,
    sentences: list[Mapping[str, Any]],
    payload: Mapping[str, Any],
    selection: str,
) -> str:
    """The page as text. `labelled` are all runs, the other tables those of `summaries`."""
    bundle, script = _bundle(), _template_file("report.js")
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            name=name,
            bundle=bundle,
            script=script,
            style=_template_file("report.css"),
            script_hashes=[_hash(bundle), _hash(script)],
            sentences=sentences,
            num_listed=MAX_LISTED,
            num_losses=board["loss"].n_unique(),
            metrics=[m for m in LEADERBOARD if m in board.columns],
            board=_numbered(board, board),
            differences=_numbered(differences, board),
            left_out=max(0, board.height - MAX_TABLE_ROWS),
            facts=provenance(labelled, board),
            settings=_settings(labelled),
            selection=title(selection.partition("/")[2]),
            families=differences["family_size"].max() if differences.height else 0,
            payload={**payload, "definitions": definitions()},
        )
    )


def provenance(labelled: pl.DataFrame, board: pl.DataFrame) -> list[tuple[str, str]]:
    """What was run and with which versions: (label, value) pairs."""
    statuses = labelled["status"].value_counts(sort=True).iter_rows()
    first: Any = labelled["created"].min()
    last: Any = labelled["created"].max()
    packages = ("polars", "scipy", "scikit-learn", "altair")
    versions = [f"{p} {importlib.metadata.version(p)}" for p in packages]
    python = f"Python {platform.python_version()}"
    analysed = ", ".join([f"harness {harness.__version__}", python, *versions])
    facts = [
        ("runs", f"{labelled.height} ({', '.join(f'{n} {s}' for s, n in statuses)})"),
        ("compared", f"{board.height} configurations, chosen of {_num_tried(board)}"),
        ("trained", f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC"),
        ("numerics", _listed(labelled, "numerics")),
        ("analysed with", analysed),
        ("report written", f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"),
    ]
    if "seconds" in labelled.columns:
        facts.insert(3, ("training time", f"{labelled['seconds'].sum() / 60:.1f} minutes of runs"))
    if "data_fingerprint" in labelled.columns:
        by_data = labelled.partition_by("dataset", as_dict=True, maintain_order=True)
        prints = [
            (f"data {d}", _listed(rows, "data_fingerprint", longest=16))
            for (d,), rows in by_data.items()
        ]
        facts += sorted(prints)[:MAX_LISTED]
    return facts


def _num_tried(board: pl.DataFrame) -> int:
    return int(board["num_configurations"].sum())


def _listed(table: pl.DataFrame, column: str, longest: int = 200) -> str:
    values = sorted(map(str, table[column].drop_nulls().unique())) if column in table else []
    shown = ", ".join(v[:longest] for v in values[:MAX_LISTED])
    return shown + (f" and {len(values) - MAX_LISTED} more" if len(values) > MAX_LISTED else "")


def _settings(labelled: pl.DataFrame) -> list[tuple[str, str, bool]]:
    """(config key, its values, whether it varies), varying ones first."""
    varying = varying_columns(labelled)
    keys = [*varying, *(c for c in config_columns(labelled) if c not in varying)]
    rows = [(key, _listed(labelled, key), key in varying) for key in keys]
    return [row for row in rows if row[1]]


def _numbered(table: pl.DataFrame, board: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows with `scenario`, the number the selector uses (None past what the selector lists)."""
    scenarios = board.select(SCENARIO).unique(maintain_order=True).head(MAX_SCENARIOS)
    numbered = table.head(MAX_TABLE_ROWS).join(
        scenarios.with_row_index("scenario"),
        on=SCENARIO,
        how="left",
        nulls_equal=True,
        maintain_order="left",
    )
    return [{**row, "where": answers.place(row)} for row in numbered.iter_rows(named=True)]


@cache
def _bundle() -> str:
    bundle = vl_convert.javascript_bundle("window.drawChart = vegaEmbed;").replace("\r\n", "\n")
    if "</script" in bundle.lower() or "<!--" in bundle:
        raise RuntimeError("the Vega bundle cannot stand inside a script element")
    return bundle


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
    filters = {"signed": answers.signed, "hint": answers.seeds_hint, "percent": answers.percent}
    environment.filters.update(
        filters, number=answers.number, p_value=answers.p_value, metric=title
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    return environment
