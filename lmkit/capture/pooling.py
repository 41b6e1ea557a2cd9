"""Bins of queries and keys, and sums over them: how a large map becomes a small one.

Mass pooling: a cell is summed over its bin's keys and averaged over its bin's queries. A query
that pays all its attention to one key gives a cell of 1 however large the bins are, where a mean
over both would fade as they grow; and a row of the map sums to what a row of attention sums to.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from lmkit.errors import CaptureError

__all__ = ["ColumnSums", "RowBins", "bin_edges", "even_edges"]

_CELLS_OF_SUMS = 1 << 22
"""Sums over queries, not yet over keys, that are held at a time: 16 MiB in float32."""


def bin_edges(length: int, bins: int) -> list[int]:
    """Edges of ``bins`` spans that cover ``length`` cells and differ in size by at most one."""
    return [i * length // bins for i in range(bins + 1)]


def even_edges(first: int, last: int, size: int) -> list[int]:
    """Edges of spans of ``size`` cells from ``first`` to ``last``; the last one may be smaller.

    Raises:
        CaptureError: nothing lies between them, or the size is not positive.
    """
    if last <= first or size < 1:
        raise CaptureError(f"There is nothing to pool from {first} to {last} by {size}.")
    return [*range(first, last, size), last]


@dataclass(frozen=True)
class RowBins:
    """Bins of queries, with those queries of each that are looked at.

    Attributes:
        rows: The queries, ascending: a range where all are looked at, else a list.
        starts: Where in ``rows`` each bin begins; one more at the end.
    """

    rows: range | list[int]
    starts: list[int]

    @classmethod
    def of(cls, edges: Sequence[int], sample: int | None = None) -> RowBins:
        """All queries between the edges, or at most ``sample`` of each bin, evenly spread."""
        if sample is None or sample * (len(edges) - 1) >= edges[-1] - edges[0]:
            return cls(range(edges[0], edges[-1]), [edge - edges[0] for edge in edges])
        rows: list[int] = []
        starts = [0]
        for q0, q1 in itertools.pairwise(edges):
            n = min(sample, q1 - q0)
            rows.extend(q0 + (2 * i + 1) * (q1 - q0) // (2 * n) for i in range(n))
            starts.append(len(rows))
        return cls(rows, starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def parts(self, width: int) -> Iterator[tuple[int, RowBins]]:
        """Stretches of bins whose sums over ``width`` cells each are held at once.

        Yields the number of the first bin of the stretch, and its bins.
        """
        step = max(1, _CELLS_OF_SUMS // max(1, width))
        for first in range(0, len(self), step):
            last = min(len(self), first + step)
            begin, end = self.starts[first], self.starts[last]
            starts = [start - begin for start in self.starts[first : last + 1]]
            yield first, RowBins(self.rows[begin:end], starts)

    def add_means(self, sums: torch.Tensor, block: torch.Tensor, at: int, lo: int) -> None:
        """Add what the rows ``at`` and following of this list give to the means of their bins.

        Args:
            sums: (heads, bins, width).
            block: (heads, rows, some columns of the width).
            at: Place in the list of the block's first row.
            lo: The first of those columns.
        """
        end, hi = at + block.shape[1], lo + block.shape[2]
        index = bisect.bisect_right(self.starts, at) - 1
        while index < len(self) and self.starts[index] < end:
            start, stop = self.starts[index], self.starts[index + 1]
            a, b = max(start, at), min(stop, end)
            count = self._alike(index, end) if a == start and b == stop else 1
            if count > 1:  # at once: a step for each bin would cost more than the bins
                size = stop - start
                whole = block[:, a - at : a - at + count * size]
                means = whole.reshape(len(whole), count, size, -1).mean(2) if size > 1 else whole
                sums[:, index : index + count, lo:hi] += means
            else:
                part = block[:, a - at : b - at].sum(1)
                sums[:, index, lo:hi] += part.div_(stop - start)
            index += count

    def _alike(self, index: int, end: int) -> int:
        """How many bins from this one on have its size and end before place ``end``."""
        size = self.starts[index + 1] - self.starts[index]
        count = 1
        while (
            index + count < len(self)
            and self.starts[index + count + 1] == self.starts[index + count] + size
            and self.starts[index + count + 1] <= end
        ):
            count += 1
        return count


class ColumnSums:
    """Sums over spans of the last axis.

    Args:
        edges: Where each span begins, and one past the last; any sizes.
        device: Of the tensors to be summed.
    """

    def __init__(self, edges: Sequence[int], device: torch.device) -> None:
        sizes = {b - a for a, b in itertools.pairwise(edges)}
        self._first, self._last, self._bins = edges[0], edges[-1], len(edges) - 1
        self._size = max(sizes)
        self._places: torch.Tensor | None = None
        if len(sizes) > 1:
            starts = torch.tensor(edges, device=device)
            places = starts[:-1, None] + torch.arange(self._size, device=device)
            beyond = torch.full_like(places, self._last)  # a column of zeros
            self._places = torch.where(places < starts[1:, None], places, beyond) - self._first

    def __call__(self, cells: torch.Tensor) -> torch.Tensor:
        """(..., last edge - first edge) to (..., spans)."""
        if self._size == 1:
            return cells
        if self._places is None:
            return cells.reshape(*cells.shape[:-1], self._bins, self._size).sum(-1)
        padded = torch.nn.functional.pad(cells, (0, 1))
        return padded[..., self._places].sum(-1)
