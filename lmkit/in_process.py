"""What holds a loaded model and an open view, and so stays in its process."""

from __future__ import annotations

from typing import ClassVar, NoReturn

__all__ = ["InProcess"]


class InProcess:
    """Base of what is neither pickled nor copied; a sentence says so, and what to do instead."""

    _instead: ClassVar[str]
    """What to keep, or to send to another process."""

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse; ``pickle``, ``copy`` and what sends objects to other processes ask here."""
        raise TypeError(
            f"lmkit.{type(self).__name__} holds a loaded model, and is neither pickled nor copied. "
            f"{self._instead}"
        )
