"""What was asked, what was run, with which versions and data, and how to run it again."""

import importlib.metadata
import platform
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import yaml

import harness
from harness.analyze.headings import heading
from harness.analyze.keys import varying
from harness.analyze.question import Analysis, averaged_over, compared_keys

MAX_LISTED = 12
Facts = list[tuple[str, str]]


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

    The record is only read as text: nothing in it is instantiated.
    """
    try:
        record = yaml.safe_load((folder / "multirun.yaml").read_text(encoding="utf-8"))
        overrides = record["hydra"]["overrides"]["task"]
        return shlex.join(["harness", "train", "-m", *map(str, overrides)])
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError):
        return ""


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


def _listed(table: pl.DataFrame, column: str, longest: int = 200) -> str:
    values = sorted(map(str, table[column].drop_nulls().unique())) if column in table else []
    shown = ", ".join(v[:longest] for v in values[:MAX_LISTED])
    return shown + (f" and {len(values) - MAX_LISTED} more" if len(values) > MAX_LISTED else "")


def settings(labelled: pl.DataFrame, keys: Sequence[str]) -> list[tuple[str, str, bool]]:
    """(config key, its values, whether it varies), varying ones first."""
    varied = varying(labelled, keys)
    ordered = [*varied, *(key for key in keys if key not in varied)]
    rows = [(key, _listed(labelled, key), key in varied) for key in ordered]
    return [row for row in rows if row[1]]
