"""Levels of detail of a head's map. The same arithmetic in ``js/protocol/src/levels.ts``.

A map is a pyramid, as that of a city map. At the last level a cell is one query and one key; at
the level before it a cell is a bin of 2 x 2 of them, and so on up to level 0, where the whole head
is at most :data:`TILE_SIDE` bins wide and high. A bin of one level is therefore exactly two bins of
the next, along each axis; only the last bin of an axis may be smaller. The shorter axis of a head
whose queries and keys differ in number is not binned more than it needs to be: its bins stop
growing once it fits a tile.

A cell is the attention mass of its bin: summed over the bin's keys, averaged over its queries.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["TILE_SIDE", "Box", "Level", "depth", "level_of", "tile_box"]

TILE_SIDE = 256
"""Bins along each side of a tile: 64 kB at one byte a cell, drawn in one go."""


class Level(NamedTuple):
    """One level of the pyramid of a head: sizes of its bins, numbers of bins and of tiles."""

    row_bin: int
    column_bin: int
    rows: int
    columns: int
    tile_rows: int
    tile_columns: int


class Box(NamedTuple):
    """A rectangle of tokens, ends excluded: queries q0 to q1, keys k0 to k1."""

    q0: int
    q1: int
    k0: int
    k1: int


def depth(length: int) -> int:
    """How often bins of one token have to be doubled until ``length`` tokens fit one tile."""
    return ((max(1, length) - 1) // TILE_SIDE).bit_length()


def level_of(queries: int, keys: int, level: int) -> Level | None:
    """One level of a head of so many queries and keys; None where there is no such level.

    There are ``1 + max(depth(queries), depth(keys))`` levels, counted from 0, the coarsest.
    """
    rows_deep, columns_deep = depth(queries), depth(keys)
    last = max(rows_deep, columns_deep)
    if queries < 1 or keys < 1 or not 0 <= level <= last:
        return None
    row_bin = 1 << min(rows_deep, last - level)
    column_bin = 1 << min(columns_deep, last - level)
    rows, columns = -(-queries // row_bin), -(-keys // column_bin)
    return Level(
        row_bin, column_bin, rows, columns, -(-rows // TILE_SIDE), -(-columns // TILE_SIDE)
    )


def tile_box(queries: int, keys: int, level: int, row: int, column: int) -> Box | None:
    """The tokens that tile (``row``, ``column``) of a level covers; None where there is none."""
    found = level_of(queries, keys, level)
    if found is None or not (0 <= row < found.tile_rows and 0 <= column < found.tile_columns):
        return None
    high, wide = found.row_bin * TILE_SIDE, found.column_bin * TILE_SIDE
    return Box(
        row * high,
        min(queries, (row + 1) * high),
        column * wide,
        min(keys, (column + 1) * wide),
    )
