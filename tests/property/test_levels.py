"""Levels of detail: the tiles of a level cover the head once, and levels agree with each other."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmkit.capture.pooling import ColumnSums, RowBins, bin_edges, even_edges
from lmkit.protocol import levels
from lmkit.protocol.levels import TILE_SIDE, depth, level_of, tile_box

lengths = st.integers(1, 70_000)


@given(lengths, lengths)
@settings(deadline=None)
def test_level_0_is_one_tile_and_the_last_has_single_tokens(queries: int, keys: int) -> None:
    last = max(depth(queries), depth(keys))
    first = level_of(queries, keys, 0)
    assert first is not None
    assert (first.tile_rows, first.tile_columns) == (1, 1)
    finest = level_of(queries, keys, last)
    assert finest is not None
    assert (finest.rows, finest.columns) == (queries, keys)
    assert level_of(queries, keys, last + 1) is None
    assert level_of(queries, keys, -1) is None
    for level in range(last):
        here, finer = level_of(queries, keys, level), level_of(queries, keys, level + 1)
        assert here is not None
        assert finer is not None
        # One token is never cut; else each bin is two of the next level.
        assert here.row_bin in (finer.row_bin, 2 * finer.row_bin)
        assert here.column_bin in (finer.column_bin, 2 * finer.column_bin)
        assert (here.row_bin, here.column_bin) != (finer.row_bin, finer.column_bin)


@given(st.integers(1, 2_000), st.integers(1, 2_000), st.integers(0, 4))
@settings(max_examples=50, deadline=None)
def test_the_tiles_of_a_level_cover_the_head_once(queries: int, keys: int, level: int) -> None:
    found = level_of(queries, keys, level)
    if found is None:
        return
    seen = np.zeros((queries, keys), dtype=int)
    for row in range(found.tile_rows):
        for column in range(found.tile_columns):
            box = tile_box(queries, keys, level, row, column)
            assert box is not None
            seen[box.q0 : box.q1, box.k0 : box.k1] += 1
            assert box.q0 % found.row_bin == 0
            assert -(-(box.q1 - box.q0) // found.row_bin) <= TILE_SIDE
            assert -(-(box.k1 - box.k0) // found.column_bin) <= TILE_SIDE
    assert seen.min() == seen.max() == 1
    assert tile_box(queries, keys, level, found.tile_rows, 0) is None
    assert tile_box(queries, keys, level, 0, found.tile_columns) is None


def test_any_head_has_few_levels() -> None:
    assert [depth(n) for n in (1, 256, 257, 512, 513, 8_192, 65_536)] == [0, 0, 1, 1, 2, 5, 8]
    assert levels.TILE_SIDE == 256


sizes = st.integers(1, 40)


@given(st.data(), sizes, sizes)
@settings(max_examples=100, deadline=None)
def test_bins_of_any_size_are_summed_and_averaged(
    data: st.DataObject, queries: int, keys: int
) -> None:
    """Rows first, block by block, then columns: the same as pooling cell by cell."""
    cells = torch.rand(2, queries, keys)
    if data.draw(st.booleans(), label="even"):
        rows = even_edges(0, queries, data.draw(sizes, label="row bin"))
        columns = even_edges(0, keys, data.draw(sizes, label="column bin"))
    else:
        rows = bin_edges(queries, data.draw(st.integers(1, queries), label="rows"))
        columns = bin_edges(keys, data.draw(st.integers(1, keys), label="columns"))
    sample = data.draw(st.none() | st.integers(1, 4), label="sample")
    bins = RowBins.of(rows, sample)
    sums = torch.zeros(2, len(bins), keys)
    step = data.draw(sizes, label="block")
    picked = cells[:, list(bins.rows)]
    for at in range(0, len(bins.rows), step):
        bins.add_means(sums, picked[:, at : at + step], at, 0)
    got = ColumnSums(columns, cells.device)(sums)
    for i in range(len(bins)):
        block = picked[:, bins.starts[i] : bins.starts[i + 1]].mean(1)
        for j in range(len(columns) - 1):
            want = block[:, columns[j] : columns[j + 1]].sum(1)
            assert (got[:, i, j] - want).abs().max() < 1e-5
    assert all(rows[0] <= row < rows[-1] for row in bins.rows)
