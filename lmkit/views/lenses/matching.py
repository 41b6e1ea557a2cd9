"""Which head of one layer resembles which of another.

Two heads resemble each other by ``1 - mean over row bins of TV``, with TV the total variation
distance, half the sum of absolute differences, of their pooled rows: 1 for equal maps, 0 for maps
without anything in common. The pairs are the assignment with the largest sum, found by the method
of shortest augmenting paths (Jonker and Volgenant 1987; here without their initialisation), which
takes n^2 m steps for n heads and m partners: at most 128 heads in practice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["assign", "best_pairs", "resemblance"]


def resemblance(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """Of maps (heads, rows, columns) and (others, rows, columns): (heads, others), 0 to 1."""
    distance = [np.abs(one.astype(np.float64) - b).sum(-1).mean(-1) / 2 for one in a]
    return 1.0 - np.stack(distance)


def best_pairs(a: NDArray[np.float32], b: NDArray[np.float32]) -> tuple[int, ...]:
    """For each map of ``a`` its map of ``b``, so that the total resemblance is largest.

    Each map of ``b`` serves once where it has enough of them, else at most as often as the smallest
    whole number of rounds asks for.
    """
    rounds = -(-len(a) // len(b))
    cost = np.tile(-resemblance(a, b), (1, rounds))
    return tuple(int(column) % len(b) for column in assign(cost))


def assign(cost: NDArray[np.float64]) -> NDArray[np.intp]:
    """For each row a column of its own, so that the sum of costs is smallest: (rows,).

    ``cost`` is (rows, columns) with at least as many columns as rows.
    """
    rows, columns = cost.shape
    u, v = np.zeros(rows), np.zeros(columns)
    row_of = np.full(columns, -1)
    for start in range(rows):
        shortest = np.full(columns, np.inf)
        before = np.full(columns, -1)
        done = np.zeros(columns, dtype=bool)
        row, at, length = start, -1, 0.0
        scanned = [start]
        while True:
            reduced = length + cost[row] - u[row] - v
            better = ~done & (reduced < shortest)
            shortest[better] = reduced[better]
            before[better] = at
            at = int(np.where(done, np.inf, shortest).argmin())
            length = float(shortest[at])
            done[at] = True
            if row_of[at] < 0:
                break
            row = int(row_of[at])
            scanned.append(row)
        # Potentials first, from the old matching; then the path is turned over.
        u[start] += length
        for column in np.flatnonzero(done & (row_of >= 0)):
            u[row_of[column]] += length - shortest[column]
        v[done] -= length - shortest[done]
        while at >= 0:
            previous = int(before[at])
            row_of[at] = start if previous < 0 else row_of[previous]
            at = previous
    found = np.empty(rows, dtype=np.intp)
    taken = np.flatnonzero(row_of >= 0)
    found[row_of[taken]] = taken
    return found
