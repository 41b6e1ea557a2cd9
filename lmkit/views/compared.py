"""Lenses on two passes: the run before, and each side of a difference by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmkit.errors import LmkitError
from lmkit.protocol.messages import Scale

if TYPE_CHECKING:
    from lmkit.views.attention import CapturedTrace
    from lmkit.views.lenses.difference import DifferenceLens

__all__ = ["PREVIOUS", "PreviousRun", "SideLens"]

PREVIOUS = "previous-run"
"""Name of the lens that shows what differs from the run before."""


class PreviousRun:
    """What differs from the run before, of the same panel.

    Args:
        before: The pass of the run before; None where this is the first one.
    """

    name = PREVIOUS
    title = "Difference to the run before"
    help = (
        "Attention of this run minus that of the run before, from -1 to 1: of the tokens that both "
        "have."
    )
    scale: Scale = "difference"

    def __init__(self, before: CapturedTrace | None) -> None:
        self._before = before
        self._made: DifferenceLens | None = None

    def unavailable(self, trace: CapturedTrace) -> str:
        """Why the two runs have nothing to compare; empty where they have. Computes no numbers."""
        if self._before is None:
            return "There is no run before this one."
        try:
            self.make(trace)
        except LmkitError as error:
            return error.message
        return ""

    def make(self, trace: CapturedTrace) -> DifferenceLens:
        """The difference; cheap, its numbers are computed when asked for.

        Raises:
            CaptureError: the runs have no token or no layer in common.
        """
        from lmkit.views.lenses.difference import DifferenceLens

        assert self._before is not None
        if self._made is None or self._made.first is not trace:
            self._made = DifferenceLens(trace, self._before)
        return self._made


class SideLens:
    """One of the two passes that a difference is made of."""

    scale: Scale = "share"

    def __init__(self, name: str, title: str, *, second: bool) -> None:
        self.name = name
        self.title = title
        self.help = (
            f"Attention of the {'second' if second else 'first'} pass alone, for the tokens that "
            "both have."
        )
        self._second = second

    def unavailable(self, trace: CapturedTrace) -> str:
        """Nothing keeps a difference from being taken apart."""
        return ""

    def make(self, trace: CapturedTrace) -> CapturedTrace:
        """That pass, in the tokens, layers and heads of the difference."""
        from lmkit.views.lenses.difference import DifferenceTrace, OneSide

        assert isinstance(trace, DifferenceTrace)
        return OneSide(trace, second=self._second)
