"""Scalar curves in the file format that TensorBoard reads.

A file is a row of records, each ``length (u64), masked CRC-32C of it, bytes, masked CRC-32C of
them``; the bytes are an ``Event`` message of tensorflow's protocol buffers, of which time (field
1, double), step (2, varint), file version (3) and summary (5) are used. Written here by hand,
since TensorBoard's package brings some 30 MB for these sixty lines.
"""

from __future__ import annotations

import os
import re
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

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


_OURS = re.compile(r"events\.out\.tfevents\.(\d+)\.(\d+)")
"""Names of files that this module wrote, with the time; another writer's are left alone."""


class EventWriter:
    """Appends scalars to a new file in ``folder``; nothing is made before the first.

    Args:
        folder: Where TensorBoard looks.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / f"events.out.tfevents.{int(time.time())}.{time.monotonic_ns()}"

    def forget_after(self, step: int) -> None:
        """Drop what earlier processes wrote of later steps, before this one makes them again."""
        named = [(_OURS.fullmatch(one.name), one) for one in self._folder.glob("*")]
        found = sorted((int(name[1]), int(name[2]), one) for name, one in named if name)
        files = [one for _, _, one in found if one != self._file]
        kept: list[_Read] = []
        later = False
        for one in (record for file in files for record in _records(file)):
            if one.start:
                kept = [old for old in kept if old.step < one.step]
            elif one.step > step:
                later = True
            elif one.scalars:
                kept.append(one)
        if not later:
            return
        new = self._folder / f".{self._file.name}"
        new.write_bytes(_head() + _record(_START) + b"".join(one.raw for one in kept))
        os.replace(new, self._file)
        for old in files:
            with suppress(OSError):  # what begins with START stands for it
                old.unlink()

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Write some scalars of a step."""
        records = b""
        if not self._file.exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            records += _head()
        summary = b"".join(
            _bytes(1, _bytes(1, name.encode()) + _float(2, value)) for name, value in values.items()
        )
        event = _double(1, time.time()) + _varint(2 << 3) + _varint(step) + _bytes(5, summary)
        with self._file.open("ab") as file:
            file.write(records + _record(event))


class _Read(NamedTuple):
    """A record that was written: its bytes, its step, and what it holds."""

    raw: bytes
    step: int
    scalars: bool
    start: bool


def _records(file: Path) -> Iterator[_Read]:
    """The whole records of a file, up to what a kill left half written."""
    data = file.read_bytes()
    place = 0
    while place + 12 <= len(data):
        (length,) = struct.unpack_from("<Q", data, place)
        raw = data[place : place + 16 + length]
        if raw != _record(raw[12 : 12 + length]):
            return
        fields = dict(_fields(raw[12 : 12 + length]))
        step = fields.get(2, 0)
        yield _Read(raw, step if isinstance(step, int) else 0, 5 in fields, 7 in fields)
        place += len(raw)


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Numbers and values of a message's fields."""
    place = 0
    while place < len(data):
        key, place = _number(data, place)
        if key & 7 == 0:
            value, place = _number(data, place)
            yield key >> 3, value
        else:
            size = 8 if key & 7 == 1 else 4
            if key & 7 == 2:
                size, place = _number(data, place)
            yield key >> 3, data[place : place + size]
            place += size


def _number(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, place


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


_START = _bytes(7, _varint(1 << 3) + _varint(1))
"""A session log of START, at step 0."""


def _head() -> bytes:
    return _record(_double(1, time.time()) + _bytes(3, b"brain.Event:2"))
