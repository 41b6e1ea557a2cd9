"""What a lens is: another set of numbers of the same pass, drawn by the same pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from lmkit.protocol.messages import Scale

if TYPE_CHECKING:
    from lmkit.views.attention import CapturedTrace

__all__ = ["Lens"]


class Lens(Protocol):
    """Turns a captured pass into another that answers the same questions.

    The trace that ``make`` returns has tokens, layers and shapes of its own; everything that draws
    or sums attention works on it unchanged. Its numbers are what ``scale`` says.
    """

    @property
    def name(self) -> str:
        """What tile keys end in, after ``@``: lower-case letters, digits and hyphens."""
        ...

    @property
    def title(self) -> str:
        """For the list of lenses."""
        ...

    @property
    def help(self) -> str:
        """One sentence on what the numbers are."""
        ...

    @property
    def scale(self) -> Scale:
        """What the numbers mean."""
        ...

    def unavailable(self, trace: CapturedTrace) -> str:
        """Why the pass cannot be seen so, as one sentence; empty where it can."""
        ...

    def make(self, trace: CapturedTrace) -> CapturedTrace:
        """The pass seen through the lens; cheap, the numbers are computed when asked for."""
        ...
