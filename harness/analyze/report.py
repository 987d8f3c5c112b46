"""The report: one HTML file that needs no network and lets none be used.

Every name comes from logged configs and is untrusted: Jinja escapes it in the page, `tojson`
escapes it in the data block, and the script writes it with `textContent`. The content security
policy admits two scripts by their hash, so markup that slipped through would still not run.
"""

import base64
import hashlib
import importlib.metadata
import math
import platform
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import polars as pl
import vl_convert
import yaml

import harness
from harness.analyze import overview, wording
from harness.analyze.charts import STANDALONE, definitions
from harness.analyze.checked import visible
from harness.analyze.comparisons import CHANCES
from harness.analyze.curves import THRESHOLDS
from harness.analyze.data_section import data_sets
from harness.analyze.decisions import COSTS
from harness.analyze.drawing import MAX_METRICS, ChartRows, rank_rows
from harness.analyze.groups import SCENARIO
from harness.analyze.headings import compared_heading, compared_sign, direction, heading, target
from harness.analyze.keys import varying
from harness.analyze.question import Analysis, averaged_over, compared_keys
from harness.analyze.wording import answers, overall, place, what_would_decide
from harness.errors import listed

MAX_TABLE_ROWS = 2000
MAX_LISTED = 12
MAX_RECORD = 2**20  # characters of Hydra's record of a sweep
SCRIPTS = ("data.js", "explorer.js", "page.js")

DIGITS = 4
_COLUMNS = {
    "differences": [
        "method",
        "metric",
        "difference",
        "low",
        "high",
        "num_pairs",
        "p_adjusted",
        *CHANCES,
        "verdict",
        "hint",
    ]
}
Facts = list[tuple[str, str]]


def render(
    analysis: Analysis, drawn: ChartRows, *, command: str = "", said: Sequence[str] = ()
) -> str:
    """The page as text. See `harness.analyze.analyze_runs`."""
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
            data_sets=data_sets(analysis)[:MAX_LISTED],
            data_sets_left_out=max(0, analysis.labelled["dataset"].n_unique() - MAX_LISTED),
            num_scenarios=analysis.board.select(SCENARIO).n_unique(),
            overview=overview.tables(analysis),
            said=said,
            advice=overview.advice(analysis),
            threshold_note=overview.threshold_note(analysis),
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
        probability=overview.probability,
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


def build_payload(analysis: Analysis, drawn: ChartRows) -> Mapping[str, Any]:
    """Scenarios, metrics, methods with colours, and packed rows by scenario for each chart."""
    total = analysis.board.select(SCENARIO).n_unique()
    metrics = analysis.compared[:MAX_METRICS]
    methods = sorted(analysis.board["method"].unique(), key=lambda x: (x != analysis.baseline, x))
    tables = dict(drawn.by_chart)
    if "differences" in tables:
        tables["differences"] = with_hints(tables["differences"])
    return {
        "scenarios": _scenarios(analysis.board, drawn),
        "metrics": [_metric(m) for m in metrics],
        "methods": [{"label": k, "colour": drawn.palette.get(k)} for k in methods],
        "baseline": analysis.baseline,
        "headline": analysis.headline,
        "charts": {
            name: _by_scenario(table, _COLUMNS.get(name), drawn.scenarios)
            for name, table in tables.items()
        },
        "datasets": packed(with_hints(analysis.datasets.filter(pl.col("metric").is_in(metrics)))),
        "ranks": packed(rank_rows(analysis.ranks, analysis.rank_test)),
        "thresholds": THRESHOLDS.tolist(),
        "counts": _counts(drawn),
        "definitions": {
            k: v
            for k, v in definitions(compared_keys(analysis.question)).items()
            if k not in STANDALONE
        },
        "left_out": total - drawn.scenarios.height,
    }


def with_hints(table: pl.DataFrame) -> pl.DataFrame:
    hints = [what_would_decide(row) for row in table.iter_rows(named=True)]
    return table.with_columns(pl.Series("hint", hints, dtype=pl.String))


def packed(table: pl.DataFrame) -> dict[str, Any]:
    """Columns, not rows: a column of one value is that value, of few texts an index into them.

    >>> packed(pl.DataFrame({"key": ["bce", "focal", "bce"], "x": [1.0, 2.00004, None]}))
    {'n': 3, 'columns': {'key': {'of': ['bce', 'focal'], 'at': [0, 1, 0]}, 'x': [1.0, 2.0, None]}}
    """
    floats = pl.col(pl.Float64)
    finite = table.with_columns(pl.when(floats.is_finite()).then(floats.round_sig_figs(DIGITS)))
    columns: dict[str, Any] = {}
    for column in finite.get_columns():
        values = column.to_list()
        if column.dtype == pl.String:
            of = list(dict.fromkeys(values))
            index = {value: i for i, value in enumerate(of)}
            columns[column.name] = {"of": of, "at": [index[value] for value in values]}
        else:
            columns[column.name] = values
        if len(values) > 1 and column.n_unique() == 1:
            columns[column.name] = {"all": values[0]}
    return {"n": table.height, "columns": columns}


def _metric(metric: str) -> dict[str, Any]:
    return {
        "id": metric,
        "title": heading(metric),
        "compared": compared_heading(metric),
        "direction": direction(metric),
        "sign": compared_sign(metric),
        "target": target(metric),
    }


def _scenarios(board: pl.DataFrame, drawn: ChartRows) -> list[dict[str, Any]]:
    """Names, the costs and the rule that the sweep decided by, and what the rule chose, a logit a
    method."""
    parts = board.join(drawn.scenarios, on=SCENARIO, nulls_equal=True).partition_by(
        "scenario", as_dict=True
    )
    found = []
    for row in drawn.scenarios.iter_rows(named=True):
        groups = parts[row["scenario"],].to_dicts()
        rate = "natural" if row["positive_rate"] is None else f"{100 * row['positive_rate']:.3g}%"
        found.append(
            {
                **{"dataset": row["dataset"], "rate": rate, "settings": row["settings"]},
                "where": place(row),
                "costs": {name: groups[0][name] for name in COSTS},
                "rule": overview.rule_name(groups[0]["rule"]),
                "chosen": {group["method"]: _plain(group["threshold_logit"]) for group in groups},
            }
        )
    return found


def _plain(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _by_scenario(
    table: pl.DataFrame, columns: list[str] | None, scenarios: pl.DataFrame
) -> dict[str, dict[str, Any]]:
    """Packed rows of each scenario that has some, by its number; all columns where None."""
    joined = table.join(scenarios, on=SCENARIO, nulls_equal=True, maintain_order="left")
    shown = joined.select("scenario", *columns) if columns else joined.drop(SCENARIO)
    parts = shown.partition_by("scenario", as_dict=True, include_key=False, maintain_order=True)
    return {str(number): packed(part) for (number,), part in parts.items()}


def _counts(drawn: ChartRows) -> dict[str, Any]:
    """By scenario, method and split: how many runs, and the scores of negatives and positives."""
    numbered = drawn.counts.join(drawn.scenarios, on=SCENARIO, nulls_equal=True)
    nested: dict[str, Any] = {}
    for row in numbered.iter_rows(named=True):
        of_method = nested.setdefault(str(row["scenario"]), {}).setdefault(row["method"], {})
        of_split = of_method.setdefault(row["split"], {"runs": row["num_runs"]})
        of_split["positive" if row["label"] else "negative"] = row["counts"]
    return nested


def asked(analysis: Analysis) -> Facts:
    """The question in (label, value) pairs."""
    question = analysis.question
    over = averaged_over(analysis.labelled, analysis.keys, question.by)
    return [
        ("compared", f"{compared_keys(question)}, each with {analysis.baseline}"),
        ("runs asked about", question.where or "all"),
        ("headline metric", f"{heading(analysis.headline)} on test ({analysis.headline})"),
        ("chosen on validation", f"{_names(question.tuned)} by {question.selection}"),
        ("averaged over", over or "nothing: one run a group"),
        ("practically equal", f"within \N{PLUS-MINUS SIGN}{question.rope:g}"),
    ]


def _names(prefixes: tuple[str, ...]) -> str:
    return ", ".join(prefix.rstrip(".") for prefix in prefixes)


def rerun_command(folder: Path) -> str:
    """The command of the last sweep trained into a folder, from Hydra's record of it; else "".

    The record is only read as text: nothing in it is instantiated, and no alias is followed, by
    which a short file can say more than fits a memory.
    """
    try:
        with (folder / "multirun.yaml").open(encoding="utf-8") as file:
            record = yaml.load(file.read(MAX_RECORD), Loader=_WithoutAliases)
        overrides = record["hydra"]["overrides"]["task"]
        return visible(shlex.join(["harness", "train", "-m", *map(str, overrides)]))
    except (OSError, ValueError, RecursionError, yaml.YAMLError, KeyError, TypeError):
        return ""


class _WithoutAliases(yaml.SafeLoader):
    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("Hydra writes no alias")
        return super().compose_node(parent, index)


def provenance(labelled: pl.DataFrame, board: pl.DataFrame) -> Facts:
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
        ("shown", f"{board.height} configurations, chosen of {board['num_configurations'].sum()}"),
        ("trained", f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC"),
        ("numerics", _values(labelled, "numerics")),
        ("analysed with", analysed),
        ("report written", f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"),
    ]
    if "seconds" in labelled.columns:
        facts.insert(3, ("training time", f"{labelled['seconds'].sum() / 60:.1f} minutes of runs"))
    if "data_fingerprint" in labelled.columns:
        by_data = labelled.partition_by("dataset", as_dict=True, maintain_order=True)
        prints = [
            (f"data {d}", _values(rows, "data_fingerprint", longest=16))
            for (d,), rows in by_data.items()
        ]
        facts += sorted(prints)[:MAX_LISTED]
    return facts


def _values(table: pl.DataFrame, column: str, longest: int = 200) -> str:
    values = sorted(map(str, table[column].drop_nulls().unique())) if column in table else []
    return listed([value[:longest] for value in values], MAX_LISTED)


def settings(labelled: pl.DataFrame, keys: Sequence[str]) -> list[tuple[str, str, bool]]:
    """(config key, its values, whether it varies), varying ones first."""
    varied = varying(labelled, keys)
    ordered = [*varied, *(key for key in keys if key not in varied)]
    rows = [(key, _values(labelled, key), key in varied) for key in ordered]
    return [row for row in rows if row[1]]
