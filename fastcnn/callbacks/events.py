"""Event files, which TensorBoard reads: numbers and histograms, each with a name and a step.

A file is records of: length (8 bytes), checksum of these, an Event, its checksum. An Event is a Protocol Buffers
message, of which these fields are written here:

    Event      wall_time=1 double  step=2 int64  file_version=3 string  summary=5 Summary
    Summary    value=1 Value, repeated
    Value      tag=1 string  simple_value=2 float  histo=5 Histogram
    Histogram  min=1 max=2 num=3 sum=4 sum_squares=5 double  bucket_limit=6 bucket=7 double, repeated, packed
"""

import itertools
import os
import socket
import struct
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

POLYNOMIAL = 0x82F63B78  # CRC-32C (Castagnoli), its bits reversed
BUCKETS = 30
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types

_number = itertools.count()


def _crc_table() -> list[int]:
    table = list(range(256))
    for _ in range(8):
        table = [(crc >> 1) ^ POLYNOMIAL * (crc & 1) for crc in table]
    return table


CRC_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    """The CRC-32C checksum.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def masked_crc32c(data: bytes) -> bytes:
    """The checksum as records hold it: turned by 15 bits, plus a constant."""
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def record(data: bytes) -> bytes:
    """One record of an event file."""
    length = struct.pack("<Q", len(data))
    return length + masked_crc32c(length) + data + masked_crc32c(data)


def _varint(number: int) -> bytes:
    """Seven bits a byte, lowest first; a negative number has 64 bits."""
    number &= 0xFFFFFFFFFFFFFFFF
    groups = [number >> shift & 0x7F for shift in range(0, max(number.bit_length(), 1), 7)]
    return bytes([group | 0x80 for group in groups[:-1]] + groups[-1:])


def _field(number: int, wire: int, content: bytes) -> bytes:
    return _varint(number << 3 | wire) + (_varint(len(content)) if wire == BYTES else b"") + content


def _double(number: int, value: float) -> bytes:
    return _field(number, FIXED64, struct.pack("<d", value))


def _doubles(number: int, values: Sequence[float]) -> bytes:
    return _field(number, BYTES, struct.pack(f"<{len(values)}d", *values))


def _histogram(values: np.ndarray) -> bytes:
    finite = values[np.isfinite(values)].astype(np.float64)
    counts, limits = np.histogram(finite, BUCKETS)
    totals = (finite.min(), finite.max(), finite.size, finite.sum(), np.square(finite).sum())
    fields = b"".join(_double(i, float(total)) for i, total in enumerate(totals, 1))
    return fields + _doubles(6, limits[1:].tolist()) + _doubles(7, counts.tolist())


class EventWriter:
    """Writes one event file into a folder. A file belongs to the process that made it."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        host = socket.gethostname()
        name = f"events.out.tfevents.{time.time():010.0f}.{host}.{os.getpid()}.{next(_number)}.v2"
        self._file = open(folder / name, "xb")  # noqa: SIM115  (closed by `close`)
        self._write(_field(3, BYTES, b"brain.Event:2"))

    def scalar(self, tag: str, value: Any, step: int) -> None:
        """A number, kept as float32."""
        with np.errstate(over="ignore"):
            number = np.float32(value)
        self._value(tag, _field(2, FIXED32, struct.pack("<f", number)), step)

    def histogram(self, tag: str, values: np.ndarray, step: int) -> None:
        """The distribution of numbers; those that are not finite are left out."""
        if np.isfinite(values).any():
            self._value(tag, _field(5, BYTES, _histogram(values)), step)

    def _value(self, tag: str, content: bytes, step: int) -> None:
        value = _field(1, BYTES, tag.encode()) + content
        self._write(_field(2, VARINT, _varint(step)) + _field(5, BYTES, _field(1, BYTES, value)))

    def _write(self, fields: bytes) -> None:
        self._file.write(record(_double(1, time.time()) + fields))

    def flush(self) -> None:
        """Let readers see everything."""
        self._file.flush()

    def close(self) -> None:
        """Write what is left."""
        self._file.close()
