"""Writing and reading the log of a Weights & Biases run: `run-<id>.wandb`.

The public API writes some 30 offline runs a second, dearer than training them. This writes what
that client writes (0.31, lean settings, offline), without the client: its protobuf records in its
framing. `wandb sync` and `wandb leet inspect` read the result, which the tests hold it to.

The framing is LevelDB's log: after a header of 7 bytes, blocks of 32 KiB of chunks. A chunk is
crc32, length and kind (7 bytes), then data; a record too long for its block goes on in the next.
"""

import json
import os
import platform
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from itertools import count
from pathlib import Path
from threading import get_ident
from typing import Any

import numpy as np

from harness.errors import UserError

MAGIC = b":W&B" + struct.pack("<HB", 0xBEE1, 0)
BLOCK = 32 * 1024
CHUNK = struct.Struct("<IHB")
WHOLE, FIRST, MIDDLE, LAST = 1, 2, 3, 4
# The checksum covers the kind and then the data.
CRC_OF_KIND = {kind: zlib.crc32(bytes([kind])) for kind in (WHOLE, FIRST, MIDDLE, LAST)}
OLDEST_READER = "0.70.0"  # as this client writes it
STEP, RUNTIME, TIMESTAMP = "_step", "_runtime", "_timestamp"

EPOCH = datetime.fromtimestamp(0, UTC)

Columns = Mapping[str, Sequence[Any] | np.ndarray]
Rows = Sequence[Mapping[str, Any]]
Row = tuple[Sequence[str], Sequence[str]]  # keys, JSON values


@dataclass(frozen=True)
class RunLog:
    """What the log of one W&B run says.

    Attributes:
      history: rows, or columns of one length (several times faster to write). A column `_step`
        numbers the rows, increasing; without it they count from 0.
      exit_code: None where the log ends before the run did.
      started: with a time zone.
      seconds: the run's length; the rows are spread evenly over it.
    """

    run_id: str
    name: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    history: Rows | Columns = ()
    summary: Mapping[str, Any] = field(default_factory=dict)
    tags: Sequence[str] = ()
    exit_code: int | None = None
    started: datetime = EPOCH
    seconds: float = 0.0
    project: str = ""
    entity: str = ""
    group: str = ""

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The history as rows, whichever way it was given."""
        if not isinstance(self.history, Mapping):
            return [dict(row) for row in self.history]
        columns = zip(*self.history.values(), strict=True)
        return [dict(zip(self.history, values, strict=True)) for values in columns]


def write_log(run: RunLog, folder: Path) -> Path:
    """Writes `folder/wandb/offline-run-<time>-<id>/run-<id>.wandb`, whole or not at all.

    Returns: the run's folder. A run written again with the same start replaces its log.
    Raises: ValueError (an id that is no file name, columns of unequal length), TypeError, OSError.
    """
    if not run.run_id or set(run.run_id) & set('/\\:;,#?%"\0') or run.run_id.startswith("."):
        raise ValueError(f"run_id must be usable as a file name, got {run.run_id!r}")
    content = pack(_records(run))
    stamp = run.started.astimezone().strftime("%Y%m%d_%H%M%S")  # local time, as the client's
    place = os.path.join(folder, "wandb", f"offline-run-{stamp}-{run.run_id}")
    os.makedirs(os.path.join(place, "files"), exist_ok=True)
    # Not `*.wandb`: a sync going on meanwhile would take it for a log.
    partial = os.path.join(place, f".run-{run.run_id}.{os.getpid()}-{get_ident()}.partial")
    try:
        with open(partial, "wb", buffering=0) as file:
            file.write(content)
        os.replace(partial, os.path.join(place, f"run-{run.run_id}.wandb"))
    except OSError:
        Path(partial).unlink(missing_ok=True)
        raise
    return Path(place)


def read_log(path: Path) -> RunLog:
    """Reads a run's log, as far as it goes: the log of a killed run ends anywhere.

    Args:
      path: a `.wandb` file, or the run's folder that holds it.
    Returns: history as rows with `_step`, `_runtime` and `_timestamp`; nested keys nested.
    Raises: UserError where the file is absent or is no W&B log.
    """
    path = Path(path)
    try:
        file = next(iter(sorted(path.glob("*.wandb"))), path) if path.is_dir() else path
        data = file.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror}); give a .wandb file") from error
    if not MAGIC.startswith(data[: len(MAGIC)]):
        raise UserError(f"{file} is not a W&B run log; give a run-<id>.wandb file or its folder")
    try:
        return _fold(map(_proto().Record.FromString, unpack(data)), file.stem.removeprefix("run-"))
    except (ValueError, OverflowError, RecursionError, _decode_error()) as error:
        raise UserError(f"{file} holds a record that cannot be read ({error}); skip it") from error


def pack(payloads: Iterable[bytes]) -> bytes:
    """The file that holds these records.

    >>> list(unpack(pack([b"a", b"b" * 100_000, b""]))) == [b"a", b"b" * 100_000, b""]
    True
    """
    out = bytearray(MAGIC)
    for payload in payloads:
        start, begun, ends = 0, False, False
        while not ends:
            room = BLOCK - len(out) % BLOCK - CHUNK.size
            if room < 0:  # no chunk begins in a block's last 6 bytes
                out += bytes(room + CHUNK.size)
                continue
            data = payload[start : start + room]
            start += len(data)
            ends = start == len(payload)
            kind = (LAST if ends else MIDDLE) if begun else (WHOLE if ends else FIRST)
            out += CHUNK.pack(zlib.crc32(data, CRC_OF_KIND[kind]), len(data), kind) + data
            begun = True
    return bytes(out)


def unpack(data: bytes) -> Iterator[bytes]:
    """The records of a file, up to its end or the first damage."""
    at, record = len(MAGIC), b""
    while at + CHUNK.size <= len(data):
        if (room := BLOCK - at % BLOCK) < CHUNK.size or not any(data[at : at + CHUNK.size]):
            at += room  # a block's unused end
            continue
        crc, length, kind = CHUNK.unpack_from(data, at)
        chunk = data[at + CHUNK.size : at + CHUNK.size + length]
        if len(chunk) < length or crc != zlib.crc32(chunk, CRC_OF_KIND.get(kind, 0)):
            return
        record = chunk if kind in (WHOLE, FIRST) else record + chunk
        at += CHUNK.size + length
        if kind in (WHOLE, LAST):
            yield record
            record = b""


def _records(run: RunLog) -> Iterator[bytes]:
    """The records in the client's order: header, run, history, summary, exit."""
    pb = _proto()
    numbers = count(1)

    def record(**content: Any) -> bytes:
        return pb.Record(num=next(numbers), **content).SerializeToString()

    version = pb.VersionInfo(producer=_version(), min_consumer=OLDEST_READER)
    yield record(header=pb.HeaderRecord(version_info=version))
    yield record(run=_run_record(run))
    latest: dict[str, str] = {}
    yield from _history(_rows(run), numbers, latest)
    summary = pb.SummaryRecord()
    # The client counts each key's last value as summary; what is set by name wins.
    for key, text in latest.items():
        summary.update.add(nested_key=[key], value_json=text)
    for key, value in run.summary.items():
        summary.update.add(key=key, value_json=_text(_without_nan(value)))
    runtime = str(int(run.seconds))
    summary.update.add(nested_key=["_wandb", "runtime"], value_json=runtime)
    yield record(summary=summary)
    yield record(exit=pb.RunExitRecord(exit_code=run.exit_code or 0))


def _run_record(run: RunLog) -> Any:
    pb = _proto()
    content = pb.RunRecord(
        run_id=run.run_id,
        entity=run.entity,
        project=run.project,
        run_group=run.group,
        display_name=run.name,
        tags=run.tags,
    )
    content.telemetry.feature.offline = True
    content.telemetry.python_version = platform.python_version()
    content.telemetry.cli_version = _version()
    content.start_time.FromDatetime(run.started)
    content.config.update.add(key="_wandb", value_json="{}")
    for key, value in run.config.items():
        content.config.update.add(key=str(key), value_json=_text(_without_nan(value)))
    return content


def _history(
    rows: Iterable[Row], numbers: Iterator[int], latest: dict[str, str]
) -> Iterator[bytes]:
    """The rows' records, and each key's last value that is not null in `latest`.

    Rows of the same keys reuse one record: setting its values is cheap, building it is not.
    """
    pb = _proto()
    keys: Sequence[str] = ()
    record = pb.Record()
    for row_keys, texts in rows:
        if row_keys != keys:
            keys = row_keys
            items = [pb.HistoryItem(nested_key=[key]) for key in keys]
            record = pb.Record(history=pb.HistoryRecord(item=items, step=pb.HistoryStep()))
            slots = list(record.history.item)
        for slot, text in zip(slots, texts, strict=True):
            slot.value_json = text
        record.num = next(numbers)
        record.history.step.num = int(texts[keys.index(STEP)])
        pairs = zip(keys, texts, strict=True)
        if "null" in texts:
            latest.update(pair for pair in pairs if pair[1] != "null")
        else:
            latest.update(pairs)
        yield record.SerializeToString()


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


def row_times(run: RunLog, num_rows: int) -> dict[str, np.ndarray]:
    """Each row's `_runtime` (seconds from the start) and `_timestamp` (Unix), evenly spread."""
    since = run.seconds * np.arange(1, num_rows + 1) / max(num_rows, 1)
    return {RUNTIME: since, TIMESTAMP: run.started.timestamp() + since}


def _texts(column: Sequence[Any] | np.ndarray) -> list[str]:
    values = column.tolist() if isinstance(column, np.ndarray) else list(column)
    if all(type(value) in (float, int) for value in values):
        # One call for a column of numbers, whose JSON holds no comma of its own.
        return json.dumps(values)[1:-1].split(", ") if values else []
    return [_text(value) for value in values]


def _jsonable(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


# JSON with bare NaN and Infinity, as the client writes them.
_text = json.JSONEncoder(default=_jsonable).encode


def _without_nan(value: Any) -> Any:
    """The client writes NaN as null in config and summary (not in history); infinity it keeps."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and value != value else value


def _fold(records: Iterable[Any], run_id: str) -> RunLog:
    known: dict[str, Any] = {"run_id": run_id}
    config: dict[str, Any] = {}
    history: list[dict[str, Any]] = []
    summary: dict[str, Any] = {}
    for record in records:
        kind = record.WhichOneof("record_type")
        if kind == "run":
            known |= _run_fields(record.run)
            _apply(config, record.run.config)
        elif kind == "config":
            _apply(config, record.config)
        elif kind == "history":
            row: dict[str, Any] = {STEP: record.history.step.num}
            _set(row, record.history.item)
            history.append(row)
        elif kind == "summary":
            _apply(summary, record.summary)
        elif kind == "exit":
            known["exit_code"] = record.exit.exit_code
    config.pop("_wandb", None)
    last = history[-1].get(RUNTIME) if history else None
    known["seconds"] = last if isinstance(last, int | float) else 0.0
    return RunLog(**known, config=config, history=history, summary=summary)


def _run_fields(run: Any) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "name": run.display_name,
        "tags": tuple(run.tags),
        "started": run.start_time.ToDatetime(UTC),
        "project": run.project,
        "entity": run.entity,
        "group": run.run_group,
    }


def _apply(target: dict[str, Any], changes: Any) -> None:
    _set(target, changes.update)
    for item in changes.remove:
        *path, last = item.nested_key or [item.key]
        _inner(target, path).pop(last, None)


def _set(target: dict[str, Any], items: Iterable[Any]) -> None:
    for item in items:
        *path, last = item.nested_key or [item.key]
        _inner(target, path)[last] = json.loads(item.value_json)


def _inner(target: dict[str, Any], path: Iterable[str]) -> dict[str, Any]:
    for key in path:
        if not isinstance(target.get(key), dict):
            target[key] = {}
        target = target[key]
    return target


@cache
def _proto() -> Any:
    """The client's record types. Imported late: wandb takes half a second."""
    from wandb.proto import wandb_internal_pb2

    return wandb_internal_pb2


@cache
def _version() -> str:
    import wandb

    return wandb.__version__


def _decode_error() -> type[Exception]:
    from google.protobuf.message import DecodeError

    return DecodeError
