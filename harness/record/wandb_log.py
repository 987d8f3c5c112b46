"""The log of one Weights & Biases run: what it says, and how its file is framed.

The file is LevelDB's log: after a header of 7 bytes, blocks of 32 KiB of chunks. A chunk is crc32,
length and kind (7 bytes), then data; a record too long for its block goes on in the next.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

import numpy as np

from harness.record.run_charts import Chart

STEP, RUNTIME, TIMESTAMP = "_step", "_runtime", "_timestamp"
EPOCH = datetime.fromtimestamp(0, UTC)

MAGIC = b":W&B" + struct.pack("<HB", 0xBEE1, 0)
BLOCK = 32 * 1024
CHUNK = struct.Struct("<IHB")
WHOLE, FIRST, MIDDLE, LAST = 1, 2, 3, 4
# The checksum covers the kind and then the data.
CRC_OF_KIND = {kind: zlib.crc32(bytes([kind])) for kind in (WHOLE, FIRST, MIDDLE, LAST)}

Columns = Mapping[str, Sequence[Any] | np.ndarray]
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class RunLog:
    """What the log of one W&B run says.

    Attributes:
      history: rows, or columns of one length (several times faster to write). A column `_step`
        numbers the rows, increasing; without it they count from 0.
      exit_code: None where the log ends before the run did.
      started: with a time zone.
      seconds: the run's length; the rows are spread evenly over it.
      sweep_id: of the sweep of W&B's own that the run is a trial of.
      charts: by key; none of a log that was read, and none are written by `write_log`.
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
    job_type: str = ""
    notes: str = ""
    sweep_id: str = ""
    charts: Mapping[str, Chart] = field(default_factory=dict)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The history as rows, whichever way it was given."""
        if not isinstance(self.history, Mapping):
            return [dict(row) for row in self.history]
        columns = zip(*self.history.values(), strict=True)
        return [dict(zip(self.history, values, strict=True)) for values in columns]


def row_times(run: RunLog, num_rows: int) -> dict[str, np.ndarray]:
    """Each row's `_runtime` (seconds from the start) and `_timestamp` (Unix), evenly spread."""
    since = run.seconds * np.arange(1, num_rows + 1) / max(num_rows, 1)
    return {RUNTIME: since, TIMESTAMP: run.started.timestamp() + since}


@cache
def proto() -> Any:
    """The client's record types. Imported late: wandb takes half a second."""
    from wandb.proto import wandb_internal_pb2

    return wandb_internal_pb2


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
        crc, length, kind = CHUNK.unpack_from(data, at)
        if (room := BLOCK - at % BLOCK) < CHUNK.size or not (crc or length or kind):
            at += room  # a block's unused end
            continue
        chunk = data[at + CHUNK.size : at + CHUNK.size + length]
        if len(chunk) < length or crc != zlib.crc32(chunk, CRC_OF_KIND.get(kind, 0)):
            return
        record = chunk if kind in (WHOLE, FIRST) else record + chunk
        at += CHUNK.size + length
        if kind in (WHOLE, LAST):
            yield record
            record = b""
