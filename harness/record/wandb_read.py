"""Reading the log of a Weights & Biases run, as far as it goes.

Rows of the same keys are the same bytes but for the values, and are read by a pattern: parsing them
as protobuf, value by value, takes most of the time of reading a run's log.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.record.wandb_log import MAGIC, RUNTIME, STEP, Columns, Rows, RunLog, proto, unpack

MAX_BYTES = 256 * 2**20  # of one log; a run of ours of 100,000 epochs has a sixth of it

VARINT = rb"[\x80-\xff]*[\x00-\x7f]"
# JSON text holds no control character, and what comes after a value begins with one.
VALUE = rb"([^\x00-\x1f]*)"
NUM, HISTORY, ITEM, NESTED_KEY, VALUE_JSON, STEP_OF_ROW = (
    re.escape(tag) for tag in (b"\x08", b"\x12", b"\x0a", b"\x12", b"\x82\x01", b"\x12")
)


def read_log(path: Path) -> RunLog:
    """Reads a run's log, as far as it goes: the log of a killed run ends anywhere.

    Args:
      path: a `.wandb` file, or the run's folder that holds it.
    Returns: history as rows with `_step`, `_runtime` and `_timestamp`; nested keys nested.
    Raises: UserError where the file is absent, is no W&B log or is longer than MAX_BYTES.
    """
    path = Path(path)
    try:
        file = next(iter(sorted(path.glob("*.wandb"))), path) if path.is_dir() else path
        with open(file, "rb") as opened:
            data = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror}); give a .wandb file") from error
    if not MAGIC.startswith(data[: len(MAGIC)]):
        raise UserError(f"{file} is not a W&B run log; give a run-<id>.wandb file or its folder")
    if len(data) > MAX_BYTES:
        raise UserError(f"{file} is larger than {MAX_BYTES >> 20} MiB, no run of this harness")
    try:
        return _fold(unpack(data), file.stem.removeprefix("run-"))
    except (ValueError, OverflowError, RecursionError, _decode_error()) as error:
        raise UserError(f"{file} holds a record that cannot be read ({error}); skip it") from error


def _fold(payloads: Iterable[bytes], run_id: str) -> RunLog:
    parse = proto().Record.FromString
    known: dict[str, Any] = {"run_id": run_id}
    config: dict[str, Any] = {}
    rows: list[bytes] = []
    texts: list[tuple[bytes, ...]] = []  # of the rows that are like the first
    keys: tuple[str, ...] = ()
    pattern = None
    summary: dict[str, Any] = {}
    for payload in payloads:
        if pattern and (alike := pattern.fullmatch(payload)):
            rows.append(payload)
            texts.append(alike.groups())
            continue
        record = parse(payload)
        kind = record.WhichOneof("record_type")
        if kind == "history":
            rows.append(payload)
            if len(rows) == 1 and (pattern := row_pattern(record.history)):
                keys = row_keys(record.history)
                texts += [alike.groups()] if (alike := pattern.fullmatch(payload)) else []
        elif kind == "run":
            known |= _run_fields(record.run)
            _apply(config, record.run.config)
        elif kind == "config":
            _apply(config, record.config)
        elif kind == "summary":
            _apply(summary, record.summary)
        elif kind == "exit":
            known["exit_code"] = record.exit.exit_code
    config.pop("_wandb", None)
    history: Columns | Rows | None = None
    if rows and len(texts) == len(rows):
        history = columns(keys, texts)
    if history is None:
        history = _history([parse(payload).history for payload in rows])
    log = RunLog(**known, config=config, history=history, summary=summary)
    return replace(log, seconds=_last_runtime(log.history))


def _last_runtime(history: Columns | Rows) -> float:
    if isinstance(history, Mapping):
        last = history.get(RUNTIME, [None])[-1]
    else:
        last = history[-1].get(RUNTIME) if history else None
    return float(last) if isinstance(last, int | float) else 0.0


def _run_fields(run: Any) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "name": run.display_name,
        "tags": tuple(run.tags),
        "started": run.start_time.ToDatetime(UTC),
        "project": run.project,
        "entity": run.entity,
        "group": run.run_group,
        "job_type": run.job_type,
        "notes": run.notes,
    }


def _history(records: Sequence[Any]) -> Columns | Rows:
    """Columns where all rows have the same plain keys, as ours do: several times faster. Else rows.

    One JSON text serves them all: parsing value by value takes most of the time of reading.
    """
    items = [item for record in records for item in record.item]
    values = _parsed([item.value_json for item in items])
    paths = [tuple(item.nested_key) or (item.key,) for item in items]
    width = len(records[0].item) if records else 0
    first = paths[:width]
    if width and paths == first * len(records) and max(map(len, first)) == 1:
        steps: Columns = {STEP: [record.step.num for record in records]}
        return {**steps, **{path[0]: values[i::width] for i, path in enumerate(first)}}
    pairs = iter(zip(paths, values, strict=True))
    rows = []
    for record in records:
        row: dict[str, Any] = {STEP: record.step.num}
        for path, value in islice(pairs, len(record.item)):
            _put(row, path, value)
        rows.append(row)
    return rows


def _apply(target: dict[str, Any], changes: Any) -> None:
    items = list(changes.update)
    for item, value in zip(items, _parsed([item.value_json for item in items]), strict=True):
        if key := item.key:  # a third of the time of asking for a list first
            target[key] = value
        else:
            _put(target, item.nested_key or [key], value)
    for item in changes.remove:
        *path, last = item.nested_key or [item.key]
        _inner(target, path).pop(last, None)


def _parsed(texts: Sequence[str]) -> list[Any]:
    values = json.loads(f"[{','.join(texts)}]")
    # A text that is two values, or none, would move the others.
    return values if len(values) == len(texts) else [json.loads(text) for text in texts]


def _put(target: dict[str, Any], path: Sequence[str], value: Any) -> None:
    if len(path) > 1:
        target = _inner(target, path[:-1])
    target[path[-1]] = value


def _inner(target: dict[str, Any], path: Iterable[str]) -> dict[str, Any]:
    for key in path:
        if not isinstance(target.get(key), dict):
            target[key] = {}
        target = target[key]
    return target


def _decode_error() -> type[Exception]:
    from google.protobuf.message import DecodeError

    return DecodeError


def row_pattern(history: Any) -> re.Pattern[bytes] | None:
    """What the bytes of a record match whose row has the keys of this one, in their order.

    One group a key, the value's JSON. None where a key is nested or `_step` is not among them:
    such rows are for protobuf to read.
    """
    keys = row_keys(history)
    return _pattern(keys) if STEP in keys and all(keys) else None


def row_keys(history: Any) -> tuple[str, ...]:
    """The keys of a row; empty text for one that is nested, or written in the older way."""
    return tuple(item.nested_key[0] if len(item.nested_key) == 1 else "" for item in history.item)


@lru_cache(maxsize=64)
def _pattern(keys: tuple[str, ...]) -> re.Pattern[bytes]:
    items = [
        ITEM + VARINT + NESTED_KEY + VARINT + re.escape(key.encode()) + VALUE_JSON + VARINT + VALUE
        for key in keys
    ]
    whole = NUM + VARINT + HISTORY + VARINT + b"".join(items)
    return re.compile(whole + STEP_OF_ROW + VARINT + rb"(?:\x08" + VARINT + rb")?", re.DOTALL)


def columns(keys: Sequence[str], texts: Sequence[tuple[bytes, ...]]) -> Columns | None:
    """The columns of rows as their pattern found them; None where a text is not one JSON value.

    Raises: ValueError, where a text is no JSON.
    """
    parsed = [json.loads(f"[{b','.join(column).decode()}]") for column in zip(*texts, strict=True)]
    if any(len(column) != len(texts) for column in parsed):
        return None
    return dict(zip(keys, parsed, strict=True))
