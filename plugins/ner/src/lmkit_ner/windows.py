"""One reading of a long text out of windows that overlap.

A model sees the tokens at the edge of a window without what lies beyond it. So each token is read
in the window that shows most of its surroundings, and spans are found once, over the whole text:
none is cut at an edge, and none has to be merged with another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lmkit_ner.aggregation import Piece

__all__ = ["Window", "join_windows"]


@dataclass(frozen=True)
class Window:
    """What a model read at once, without special tokens.

    Attributes:
        pieces: Its tokens, with places in the whole text.
        scores: Probabilities of their labels, (tokens, labels).
    """

    pieces: Sequence[Piece]
    scores: NDArray[np.float32]

    @property
    def start(self) -> int:
        """Where it begins in the text."""
        return self.pieces[0].start if self.pieces else 0

    @property
    def end(self) -> int:
        """Where it ends in the text."""
        return max((piece.end for piece in self.pieces), default=0)


def join_windows(windows: Sequence[Window]) -> tuple[list[Piece], NDArray[np.float32]]:
    """The tokens of the whole text, each once, as read where most of its surroundings are seen.

    Args:
        windows: At least one, of one tokenisation of the text, each overlapping the next or
            touching it.

    Returns:
        The tokens and their probabilities, (tokens, labels).
    """
    order = sorted(
        (window for window in windows if window.pieces), key=lambda one: (one.start, one.end)
    )
    if not order:
        return [], windows[0].scores[:0]
    firsts = [0]
    for before, after in pairwise(order):
        firsts.append(firsts[-1] + len(before.pieces) - _overlap(before.pieces, after.pieces))
    total = firsts[-1] + len(order[-1].pieces)
    pieces: list[Piece] = []
    scores = np.zeros((total, order[0].scores.shape[-1]), dtype=np.float32)
    seen = np.full(total, -1.0)
    for place, (first, window) in enumerate(zip(firsts, order, strict=True)):
        count = len(window.pieces)
        pieces[first:] = [*pieces[first : len(pieces)], *window.pieces[len(pieces) - first :]]
        from_start = np.arange(count, dtype=float)
        from_end = from_start[::-1]
        # Nothing is hidden beyond the two ends of the text.
        left = from_start if place > 0 else np.inf
        right = from_end if place < len(order) - 1 else np.inf
        surroundings = np.broadcast_to(np.minimum(left, right), (count,))
        better = surroundings > seen[first : first + count]
        scores[first : first + count][better] = window.scores[better]
        seen[first : first + count][better] = surroundings[better]
    return pieces, scores


def _overlap(before: Sequence[Piece], after: Sequence[Piece]) -> int:
    """How many tokens the end of one window and the beginning of the next have in common.

    The longest overlap is the right one: the places of tokens grow, and where several tokens share
    a place (the bytes of one character), a shorter one would count some of them twice.
    """
    place = [(piece.start, piece.end) for piece in before]
    ahead = [(piece.start, piece.end) for piece in after]
    for first in range(max(0, len(place) - len(ahead)), len(place)):
        if place[first] == ahead[0] and place[first:] == ahead[: len(place) - first]:
            return len(place) - first
    return 0
