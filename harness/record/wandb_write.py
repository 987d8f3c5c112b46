"""Writing the log of a Weights & Biases run: `run-<id>.wandb`.

The public API writes some 30 offline runs a second, dearer than training them. This writes what
that client writes (0.31, lean settings, offline), without the client: its protobuf records in its
framing. `wandb sync` and `wandb leet inspect` read the result, which the tests hold it to.
"""

import json
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from importlib.metadata import version
from itertools import compress, count
from pathlib import Path
from typing import Any

import numpy as np

from harness.data.fetching import say
from harness.files import whole_file
from harness.record.wandb_log import EPOCH, STEP, RunLog, pack, row_times

PROVEN = "0.31."
"""How the versions begin whose form this is: tests hold it to their own writer and readers."""

OLDEST_READER = "0.70.0"  # as this client writes it
_PLAIN = {float, int, bool, type(None)}
Row = tuple[Sequence[str], Sequence[str]]  # keys, JSON values


def write_log(run: RunLog, folder: Path) -> Path:
    """Writes `folder/wandb/offline-run-<time>-<id>/run-<id>.wandb`, whole or not at all.

    Returns: the run's folder. A run written again with the same start replaces its log.
    Raises: ValueError (an id that is no file name, columns of unequal length), TypeError, OSError.
    """
    if not run.run_id or set(run.run_id) & set('/\\:;,#?%"\0') or run.run_id.startswith("."):
        raise ValueError(f"run_id must be usable as a file name, got {run.run_id!r}")
    content = pack(_records(run))
    stamp = run.started.astimezone().strftime("%Y%m%d_%H%M%S")  # local time, as the client's
    place = Path(folder, "wandb", f"offline-run-{stamp}-{run.run_id}")
    (place / "files").mkdir(parents=True, exist_ok=True)
    # The store has the run: what a power cut takes from its mirror is sent from there.
    with whole_file(place / f"run-{run.run_id}.wandb", durable=False) as partial:
        partial.write_bytes(content)
    return place


def _records(run: RunLog) -> Iterator[bytes]:
    """The records in the client's order: header, run, history, summary, exit."""
    numbers = count(1)

    def record(number: int, content: bytes) -> bytes:
        return _whole(1, next(numbers)) + _field(number, content)

    yield record(_HEADER, _field(1, _field(1, _version()) + _field(2, OLDEST_READER)))
    yield record(_RUN, _run_record(run))
    latest: dict[str, str] = {}
    for row in _history(_rows(run), latest):
        yield record(_HISTORY, row)
    # The client counts each key's last value as summary; what is set by name wins.
    summary = [_item(_NESTED, key, text) for key, text in latest.items()]
    texts = _texts([_without_nan(value) for value in run.summary.values()])
    pairs = zip(run.summary, texts, strict=True)
    summary += [_item(_KEY, key, text) for key, text in pairs]
    path = _field(_NESTED, "_wandb") + _field(_NESTED, "runtime")
    summary.append(_field(1, path + _field(_JSON, str(int(run.seconds)))))
    yield record(_SUMMARY, b"".join(summary))
    if run.exit_code is not None:
        yield record(_EXIT, _whole(1, run.exit_code))


# The numbers of fields in `wandb_internal.proto`: of a record, and of one value in any of them.
_HISTORY, _SUMMARY, _RUN, _EXIT, _HEADER = 2, 3, 17, 18, 21
_KEY, _NESTED, _JSON = 1, 2, 16


def _run_record(run: RunLog) -> bytes:
    texts = {
        1: run.run_id,
        2: run.entity,
        3: run.project,
        6: run.group,
        7: run.job_type,
        8: run.name,
        9: run.notes,
        12: run.sweep_id,
    }
    config = [_item(_KEY, "_wandb", "{}")]
    config += [_item(_KEY, str(k), _text(_without_nan(v))) for k, v in run.config.items()]
    since = run.started - EPOCH
    start = _whole(1, since.days * 86_400 + since.seconds) + _whole(2, since.microseconds * 1000)
    telemetry = _field(3, _whole(4, 1))  # that it was offline
    telemetry += _field(4, platform.python_version()) + _field(5, _version())
    fields: dict[int, Sequence[str | bytes]] = {
        4: [b"".join(config)],
        10: run.tags,
        17: [start],
        19: [telemetry],
        **{number: [text] for number, text in texts.items() if text},
    }
    return b"".join(_field(number, one) for number in sorted(fields) for one in fields[number])


def _history(rows: Iterable[Row], latest: dict[str, str]) -> Iterator[bytes]:
    """The rows' records, and each key's last value that is not null in `latest`."""
    for keys, texts in rows:
        pairs = list(zip(keys, texts, strict=True))
        if "null" in texts:
            latest.update(pair for pair in pairs if pair[1] != "null")
        else:
            latest.update(pairs)
        row = [_before(_NESTED, key, len(text)) + text.encode() for key, text in pairs]
        row.append(_field(2, _whole(1, int(texts[keys.index(STEP)]))))
        yield b"".join(row)


# Protobuf's own encoding. Its classes for these records lie in the client, which takes half a
# second to import, and take longer to fill.


def _field(number: int, content: bytes | str) -> bytes:
    """A field that holds a text or a message."""
    content = content.encode() if isinstance(content, str) else content
    return _VARINTS[number << 3 | 2] + _VARINTS[len(content)] + content


def _whole(number: int, value: int) -> bytes:
    """A field that holds a whole number; 0 is left out."""
    return _VARINTS[number << 3] + _VARINTS[value] if value else b""


def _item(kind: int, key: str, text: str) -> bytes:
    """One value among others: its key, and its JSON, which is ASCII."""
    return _before(kind, key, len(text)) + text.encode()


@lru_cache(maxsize=2**16)
def _before(kind: int, key: str, size: int) -> bytes:
    """All of a value but its JSON. Runs share keys, and a key's texts most of their lengths."""
    start = _field(kind, key) + _VARINTS[_JSON << 3 | 2] + _VARINTS[size]
    return _VARINTS[1 << 3 | 2] + _VARINTS[len(start) + size] + start


class _Varints(dict[int, bytes]):
    """Whole numbers as protobuf writes them, seven bits a byte; those asked for before at once.

    >>> _Varints()[5], _Varints()[300]
    (b'\\x05', b'\\xac\\x02')
    """

    def __missing__(self, value: int) -> bytes:
        groups, rest = [], value & 2**64 - 1  # a negative number is its complement
        while rest > 127:
            groups.append(rest & 127 | 128)
            rest >>= 7
        written = bytes([*groups, rest])
        if 0 <= value < 2**14:
            self[value] = written
        return written


_VARINTS = _Varints()


def _rows(run: RunLog) -> Iterator[Row]:
    """Each row's keys and JSON values, with the client's own three."""
    if isinstance(run.history, Mapping):
        num_rows = len(next(iter(run.history.values()), ()))
        columns = {STEP: range(num_rows), **row_times(run, num_rows), **run.history}
        keys = tuple(columns)
        yield from ((keys, texts) for texts in zip(*map(_texts, columns.values()), strict=True))
        return
    times = row_times(run, len(run.history))
    for i, row in enumerate(run.history):
        whole = {STEP: i} | {key: times[key][i] for key in times} | dict(row)
        yield tuple(whole), [_text(value) for value in whole.values()]


def _texts(column: Sequence[Any] | np.ndarray) -> list[str]:
    """Each value's JSON; one call for all numbers, whose JSON holds no comma of its own."""
    values = column.tolist() if isinstance(column, np.ndarray) else list(column)
    is_plain = [type(value) in _PLAIN for value in values]
    if values and all(is_plain):
        return _text(values)[1:-1].split(", ")
    numbers = iter(_text(list(compress(values, is_plain)))[1:-1].split(", "))
    return [
        next(numbers) if plain else _text(value)
        for value, plain in zip(values, is_plain, strict=True)
    ]


def _jsonable(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


# JSON with bare NaN and Infinity, as the client writes them.
_text = json.JSONEncoder(default=_jsonable).encode


def _without_nan(value: Any) -> Any:
    """The client writes NaN as null in config and summary (not in history); infinity it keeps."""
    if type(value) in _PLAIN:
        return None if value != value else value
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return value


def is_proven() -> bool:
    """Whether the client that is installed has the form that this writes."""
    return _version().startswith(PROVEN)


@cache
def say_unproven() -> None:
    """Says once what another client costs."""
    say(
        f"wandb {_version()} is not the {PROVEN}x whose files are written here: offline runs go "
        "through its own API, some 40 ms each (`wandb=disabled` for none)"
    )


@cache
def _version() -> str:
    return version("wandb")
