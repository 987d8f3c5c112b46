"""The framing of a Weights & Biases run log: records to bytes and back.

It is LevelDB's log: after a header of 7 bytes, blocks of 32 KiB of chunks. A chunk is crc32,
length and kind (7 bytes), then data; a record too long for its block goes on in the next.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator

MAGIC = b":W&B" + struct.pack("<HB", 0xBEE1, 0)
BLOCK = 32 * 1024
CHUNK = struct.Struct("<IHB")
WHOLE, FIRST, MIDDLE, LAST = 1, 2, 3, 4
# The checksum covers the kind and then the data.
CRC_OF_KIND = {kind: zlib.crc32(bytes([kind])) for kind in (WHOLE, FIRST, MIDDLE, LAST)}


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
