"""Keeps the captures of open outputs within a byte budget, least recently used first to go.

An evicted capture is not lost: its trace recomputes the pass from the recorded input when a view
asks again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Protocol

__all__ = ["DEFAULT_BUDGET", "TraceCache"]

DEFAULT_BUDGET = 2 * 1024**3
"""2 GiB: about 7 passes of BERT-base over 4,096 tokens at 288 MB each (docs/capture.md)."""


class Releasable(Protocol):
    """A capture that can be dropped and made again."""

    @property
    def nbytes(self) -> int:
        """Bytes held now."""
        ...

    def release(self) -> None:
        """Drop what can be recomputed."""
        ...


class TraceCache:
    """Least-recently-used cache of captures. Thread-safe.

    Args:
        budget: Bytes that all captures may hold together; the newest one is always kept.
    """

    def __init__(self, budget: int = DEFAULT_BUDGET) -> None:
        self.budget = budget
        self._held: OrderedDict[str, Releasable] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Bytes held by all captures."""
        with self._lock:
            return sum(trace.nbytes for trace in self._held.values())

    def use(self, view: str, trace: Releasable) -> None:
        """Note that a view used its capture; release the least recently used beyond the budget."""
        with self._lock:
            self._held[view] = trace
            self._held.move_to_end(view)
            total = sum(one.nbytes for one in self._held.values())
            evicted = []
            while total > self.budget and len(self._held) > 1:
                _, oldest = self._held.popitem(last=False)
                total -= oldest.nbytes
                evicted.append(oldest)
        for one in evicted:
            one.release()

    def drop(self, view: str) -> None:
        """Release a view's capture."""
        with self._lock:
            trace = self._held.pop(view, None)
        if trace is not None:
            trace.release()
