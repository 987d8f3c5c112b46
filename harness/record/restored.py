"""From a Weights & Biases run back to the store's row and curves; `harness.record.mirrored` undone.

What W&B returns was written by anyone: it is data here, checked and bounded, never code.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import compress, repeat
from typing import Any

from harness.record.charts import PREFIX
from harness.record.mirrored import FORMAT, ORIGIN, SUMMARY
from harness.record.tables import flatten
from harness.record.wandb_log import Columns, Rows

MAX_COLUMNS = 20_000  # of a run's config and summary; `evaluation=full` has some 2,400
MAX_TEXT = 100_000  # characters of one value
# Infinity and NaN are no JSON: the service returns them as text.
NOT_JSON = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_ABSENT = object()


@dataclass(frozen=True)
class Origin:
    """What `harness.record.mirrored` sent along."""

    created: datetime
    floats: frozenset[str]
    curves: frozenset[str]
    nans: frozenset[str]
    nulls: frozenset[str]


def is_summary(config: Mapping[str, Any]) -> bool:
    """Whether the W&B run is a sweep's summary, and so no run of the sweep."""
    return config.get(ORIGIN) == {"format": SUMMARY}


def origin(config: Mapping[str, Any]) -> Origin | None:
    """How the run came from this harness; None for a run that did not, or not in this format."""
    sent = config.get(ORIGIN)
    try:
        if not isinstance(sent, Mapping) or sent["format"] != FORMAT:
            return None
        created = datetime.fromisoformat(sent["created"])
        names = {
            key: frozenset(map(str, sent[key][:MAX_COLUMNS]))
            for key in ("curves", "floats", "nans", "nulls")
        }
    except (KeyError, TypeError, ValueError):
        return None
    if created.tzinfo is None or len(config) > MAX_COLUMNS:
        return None
    return Origin(created=created, **names)


def run_row(
    run_id: str, config: Mapping[str, Any], summary: Mapping[str, Any], sent: Origin
) -> dict[str, Any]:
    """The store's row of a run: facts, flat config and metrics, typed as they were."""
    lost = dict.fromkeys(sent.nulls) | dict.fromkeys(sent.nans, math.nan)
    summary = {**summary, **lost}
    known = [
        (key, value)
        for key, value in summary.items()
        # A mapping is a chart or a table, which no run of the store has.
        if key not in sent.curves and not key.startswith(("_", PREFIX))
        if not isinstance(value, dict)
    ]
    facts = _typed({k: v for k, v in known if "/" not in k}, sent)
    metrics = {k: as_float(v) for k, v in known if "/" in k}
    ours = {k: v for k, v in config.items() if k != ORIGIN and not k.startswith("_")}
    flat = {k: v for k, v in flatten(_typed(ours, sent)).items() if "/" not in k}
    row = {**{k: _plain(v) for k, v in (facts | flat).items()}, **metrics}
    head = {"run_id": run_id, "created": sent.created}
    return head | {k: row[k] for k in [*row][:MAX_COLUMNS] if k not in head}


def as_float(value: Any) -> float:
    """A number of a W&B history or summary; NaN for null and for what is no number."""
    if type(value) is float:
        return value
    if isinstance(value, str):
        return NOT_JSON.get(value, math.nan)
    try:
        return float(value) if isinstance(value, int | float) else math.nan
    except OverflowError:
        return math.nan


def history_columns(history: Columns | Rows) -> dict[str, list[Any]]:
    """The store's curves of a run's W&B history: epoch, step and every `part/metric`.

    Rows without an epoch are not ours and left out. A value W&B shows as null is NaN, as in the
    store; one that a row lacks is None.
    """
    columns = history if isinstance(history, Mapping) else _transposed(history)
    ours = [_is_count(epoch) for epoch in columns.get("epoch", ())]
    shown = (name for name in columns if "/" in name and not name.startswith(PREFIX))
    names = ["epoch", "step", *shown][:MAX_COLUMNS]
    kept = {name: list(compress(columns.get(name, repeat(_ABSENT)), ours)) for name in names}
    return {
        name: _counts(values) if name in ("epoch", "step") else _floats(values)
        for name, values in kept.items()
    }


def _transposed(rows: Rows) -> dict[str, list[Any]]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name, _ABSENT) for row in rows] for name in names}


def _counts(values: list[Any]) -> list[Any]:
    return [int(value) if _is_count(value) else None for value in values]


def _floats(values: list[Any]) -> list[Any]:
    if set(map(type, values)) == {float}:
        return values
    return [None if value is _ABSENT else as_float(value) for value in values]


def _is_count(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value < 2**31


def _typed(values: Mapping[str, Any], sent: Origin, prefix: str = "") -> dict[str, Any]:
    """Integers, text and null made floats again where `sent` says that they were."""
    typed: dict[str, Any] = {}
    for key, value in values.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict):
            typed[str(key)] = _typed(value, sent, f"{path}.")
        elif path not in sent.floats:
            typed[str(key)] = value
        else:
            listed = isinstance(value, list)
            typed[str(key)] = [as_float(item) for item in value] if listed else as_float(value)
    return typed


def _plain(value: Any) -> Any:
    """One value of a column: a number, text, a truth value or None."""
    if isinstance(value, str):
        return value[:MAX_TEXT]
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int) and abs(value) < 2**63:
        return value
    return json.dumps(value, default=str)[:MAX_TEXT]
