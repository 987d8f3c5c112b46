"""A run of the store as a Weights & Biases run, and back.

W&B keeps JSON, and its service writes 2.0 as 2. What is needed to get the store's own row back is
therefore sent along, in the config under `harness`. What W&B returns was written by anyone: it is
data here, checked and bounded, never code.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import compress, repeat
from typing import Any

import polars as pl

from harness.record.first_form import LISTS
from harness.record.run_charts import PREFIX, Chart
from harness.record.schema import FACTS, RUN
from harness.record.wandb_access import named
from harness.record.wandb_log import Columns, Rows, RunLog

ORIGIN = "harness"  # the config key by which a run of this harness is known
FORMAT = 1
SUMMARY, SWEEP = "summary", "sweep"
"""In place of the format: a sweep's summary and the sweep as it trains, which are no runs of it."""

MAX_COLUMNS = 20_000  # of a run's config and summary; `evaluation=full` has some 2,400
MAX_ITEMS = 1_000  # of one list
MAX_TEXT = 100_000  # characters of one value
# Infinity and NaN are no JSON: the service returns them as text.
NOT_JSON = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
TYPES: dict[str, pl.DataType] = {
    str(kind): kind
    for scalar in (pl.Boolean(), pl.Int64(), pl.Float64(), pl.String())
    for kind in (scalar, pl.List(scalar))
}
"""The types that a config key without a value may be sent with, by name."""

_ABSENT = object()


LONGEST_NAME = 120  # characters of a run's name but for the end of it: the service takes 128


def as_wandb(
    *,
    run_id: str,
    config: Mapping[str, Any],
    types: Mapping[str, str],
    facts: Mapping[str, Any],
    chosen: Mapping[str, float],
    metrics: Mapping[str, float],
    history: Mapping[str, Sequence[Any]],
    created: datetime,
    charts: Mapping[str, Chart],
) -> RunLog:
    """One stored run for the mirror, which is yet to say of which project and group it is.

    Args:
      config: nested.
      types: of the config's keys without a value, by dotted key, as `TYPES` names them.
      facts, chosen and metrics: become the summary.
    """
    name = f"{config['loss']['name']}-{config['dataset']['name']}-s{config['seed']}"
    summary = {**facts, **chosen, **metrics}
    sent = {
        "format": FORMAT,
        "created": created.isoformat(),
        "floats": sorted(_whole_floats(config)),
        # W&B shows NaN as null, and drops what is null or shows a curve's last value in its place.
        "nans": sorted(key for key, value in summary.items() if value != value),
        "nulls": sorted(key for key, value in summary.items() if value is None),
        # W&B shows each curve's last value beside the summary: these are no metrics of the run.
        "curves": [shown for shown in history if shown not in metrics],
        "types": dict(types),
    }
    return RunLog(
        run_id=run_id,
        name=named(config.get("wandb", {}), f"{name[:LONGEST_NAME]}-{run_id[:4]}"),
        config={**config, ORIGIN: sent},
        history=history,
        summary=summary,
        exit_code=0,
        started=created,
        seconds=float(facts["seconds"]),
        charts=charts,
    )


def _whole_floats(values: Mapping[str, Any], prefix: str = "") -> Iterable[str]:
    """Dotted keys of floats, and of lists of them, that JSON may show as something else."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _whole_floats(value, f"{prefix}{key}.")
        elif isinstance(value, list | tuple):
            if value and all(isinstance(item, float) for item in value):
                yield prefix + key
        elif isinstance(value, float) and (value.is_integer() or not math.isfinite(value)):
            yield prefix + key


@dataclass(frozen=True)
class Origin:
    """What `as_wandb` sent along."""

    created: datetime
    floats: frozenset[str]
    curves: frozenset[str]
    nans: frozenset[str]
    nulls: frozenset[str]
    types: Mapping[str, pl.DataType]


@dataclass(frozen=True)
class LoggedRun:
    """A run's row of the store, without its scores: by flat names, every one in one group alone.

    Attributes:
      facts: of `FACTS`, and what validation chose.
      types: of config keys that may have no value.
    """

    run_id: str
    created: datetime
    config: Mapping[str, Any]
    facts: Mapping[str, Any]
    metrics: Mapping[str, float]
    types: Mapping[str, pl.DataType]


def is_of_a_sweep(config: Mapping[str, Any]) -> bool:
    """Whether the W&B run is about a whole sweep, and so no run of it."""
    return config.get(ORIGIN) in ({"format": SUMMARY}, {"format": SWEEP})


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
        named = dict(sent.get("types", {}))  # which the first runs lack
        types = {str(key): TYPES[name] for key, name in named.items() if name in TYPES}
    except (KeyError, TypeError, ValueError):
        return None
    if created.tzinfo is None or len(config) > MAX_COLUMNS:
        return None
    return Origin(created=created, types=types, **names)


def from_wandb(
    run_id: str, config: Mapping[str, Any], summary: Mapping[str, Any], sent: Origin
) -> LoggedRun:
    """The run as the store has it, typed as it was."""
    ours = {key: value for key, value in config.items() if key != ORIGIN and key[:1] != "_"}
    taken = {*RUN, *FACTS, "shard"}  # columns whose meaning is fixed, whoever wrote the config
    flat = {key: value for key, value in _flattened(ours, sent) if key not in taken}
    lost = dict.fromkeys(sent.nulls) | dict.fromkeys(sent.nans, math.nan)
    known = [
        (key, value)
        for key, value in {**summary, **lost}.items()
        # A mapping is a chart or a table, which no run of the store has.
        if key not in sent.curves and not key.startswith(("_", PREFIX))
        if not isinstance(value, dict) and key not in {*RUN, "shard", *flat}
    ]
    facts = {key: _fact(key, value) for key, value in known if "/" not in key}
    metrics = {key: as_float(value) for key, value in known if "/" in key}
    return LoggedRun(
        run_id=run_id,
        created=sent.created,
        config=dict([*flat.items()][:MAX_COLUMNS]),
        facts=dict([*facts.items()][:MAX_COLUMNS]),
        metrics=dict([*metrics.items()][:MAX_COLUMNS]),
        types={key: sent.types[key] for key in sent.types.keys() & flat.keys()},
    )


def _fact(name: str, value: Any) -> Any:
    """A fact as the schema types it, null where it cannot be; what validation chose is a number."""
    kind = FACTS.get(name, pl.Float64())
    if kind == pl.Float64:
        return None if value is None else as_float(value)
    if kind == pl.Int64:
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        return int(value) if whole and abs(value) < 2**63 else None
    return value[:MAX_TEXT] if isinstance(value, str) else None


def _flattened(
    values: Mapping[str, Any], sent: Origin, prefix: str = ""
) -> Iterable[tuple[str, Any]]:
    """Dotted keys and plain values; floats again where `sent` says that they were."""
    for key, value in values.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flattened(value, sent, f"{path}.")
        elif "/" in path:
            continue  # the name of a metric
        elif isinstance(value, list):
            convert = as_float if path in sent.floats else _plain
            yield path, [convert(item) for item in value[:MAX_ITEMS]]
        elif path in LISTS and isinstance(value, str):  # as the first form had it
            yield path, value[:MAX_TEXT].split(",") if value else []
        else:
            yield path, as_float(value) if path in sent.floats else _plain(value)


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


def _plain(value: Any) -> Any:
    """One value of a column: a number, text, a truth value or None."""
    if isinstance(value, str):
        return value[:MAX_TEXT]
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int) and abs(value) < 2**63:
        return value
    return json.dumps(value, default=str)[:MAX_TEXT]


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
