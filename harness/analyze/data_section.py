"""What a sweep did with the data that it was given, for people: a few facts a data set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from harness.analyze.question import Analysis
from harness.analyze.wording import percent

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class DataSet:
    """A data set as its runs used it.

    Attributes:
        facts: (label, value) pairs.
        found: sentences on its size and columns, and what looks like a leak; of W&B's runs none.
    """

    name: str
    facts: Sequence[tuple[str, str]]
    found: Sequence[str]


def data_sets(analysis: Analysis) -> list[DataSet]:
    """Those of the runs asked about, by name."""
    parts = analysis.labelled.partition_by("dataset", as_dict=True, maintain_order=True)
    return [
        DataSet(str(name), _facts(runs), _found(runs, analysis.runs.found))
        for (name,), runs in sorted(parts.items(), key=lambda item: str(item[0]))
    ]


def _facts(runs: pl.DataFrame) -> list[tuple[str, str]]:
    facts = []
    for label, reason in _pairs(runs, "positive_label", "positive_reason"):
        facts.append(("positive label", f"{label} ({reason})" if reason else label))
    for rate in _values(runs, "data_positive_rate"):
        facts.append(("positives in the data", percent(rate)))
    for part in PARTS:
        rows = _span(runs, f"num_{part}")
        positives = _span(runs, f"num_{part}_positives")
        if rows and positives:
            facts.append((f"{part} rows", f"{rows}, {positives} positive"))
    return facts


def _found(runs: pl.DataFrame, found: Mapping[str, Sequence[str]]) -> list[str]:
    """Of a data set in several draws each sentence once."""
    prints = _values(runs, "data_fingerprint")
    return list(dict.fromkeys(line for one in prints for line in found.get(str(one), ())))


def _values(runs: pl.DataFrame, column: str) -> list[Any]:
    return runs[column].drop_nulls().unique().sort().to_list() if column in runs.columns else []


def _pairs(runs: pl.DataFrame, *columns: str) -> list[tuple[str, str | None]]:
    if not set(columns) <= set(runs.columns):
        return []
    return runs.select(columns).drop_nulls(columns[0]).unique().sort(columns).rows()


def _span(runs: pl.DataFrame, column: str) -> str:
    """`120`, or `118 to 124` where runs differ."""
    values = [f"{value:,}" for value in _values(runs, column)]
    return " to ".join(dict.fromkeys([values[0], values[-1]])) if values else ""
