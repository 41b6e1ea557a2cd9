"""Scalar curves in the file format that TensorBoard reads.

A file is a row of records, each ``length (u64), masked CRC-32C of it, bytes, masked CRC-32C of
them``; the bytes are an ``Event`` message of tensorflow's protocol buffers, of which time (field
1, double), step (2, varint), file version (3) and summary (5) are used. Written here by hand,
since TensorBoard's package brings some 30 MB for these sixty lines.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Mapping
from pathlib import Path

__all__ = ["EventWriter", "crc32c"]


def _table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _table()


def crc32c(data: bytes) -> int:
    """CRC-32 with Castagnoli's polynomial (RFC 3720)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


class EventWriter:
    """Appends scalars to a new file in ``folder``; nothing is made before the first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / f"events.out.tfevents.{int(time.time())}.{time.monotonic_ns()}"

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Write some scalars of a step."""
        records = b""
        if not self._file.exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            records += _record(_double(1, time.time()) + _bytes(3, b"brain.Event:2"))
        summary = b"".join(
            _bytes(1, _bytes(1, name.encode()) + _float(2, value)) for name, value in values.items()
        )
        event = _double(1, time.time()) + _varint(2 << 3) + _varint(step) + _bytes(5, summary)
        with self._file.open("ab") as file:
            file.write(records + _record(event))


def _record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + _masked(length) + data + _masked(data)


def _masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _bytes(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _double(field: int, value: float) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<d", value)


def _float(field: int, value: float) -> bytes:
    return _varint(field << 3 | 5) + struct.pack("<f", value)
