"""Reading the rows of a W&B log fast: rows of the same keys are the same bytes but for the values.

Parsing them as protobuf, value by value, takes most of the time of reading a run's log.
"""

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from harness.record.wandb_log import STEP, Columns

VARINT = rb"[\x80-\xff]*[\x00-\x7f]"
# JSON text holds no control character, and what comes after a value begins with one.
VALUE = rb"([^\x00-\x1f]*)"
NUM, HISTORY, ITEM, NESTED_KEY, VALUE_JSON, STEP_OF_ROW = (
    re.escape(tag) for tag in (b"\x08", b"\x12", b"\x0a", b"\x12", b"\x82\x01", b"\x12")
)


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
