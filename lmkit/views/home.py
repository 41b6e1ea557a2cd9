"""The home panel: what this kernel has, and buttons that change it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from lmkit.protocol.messages import Changed, Event, HomeSpec

__all__ = ["HomeView"]


class HomeView:
    """A view of the kernel's plugins, tasks, devices and models.

    Args:
        identity: Random id of the view.
        describe: Makes the spec from what is there now.
    """

    def __init__(self, identity: str, describe: Callable[[], HomeSpec]) -> None:
        self.id = identity
        self._describe = describe
        self._listeners: list[Callable[[Event], None]] = []
        self._lock = threading.Lock()

    def spec(self) -> HomeSpec:
        """The home panel as it is now."""
        return self._describe()

    def refresh(self) -> None:
        """Tell every copy of the view that something changed."""
        with self._lock:
            listeners = list(self._listeners)
        if listeners:
            event = Changed(view=self.id, spec=self.spec())
            for listener in listeners:
                listener(event)

    def listen(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Be told of every change; returns the undo."""
        with self._lock:
            self._listeners.append(listener)

        def undo() -> None:
            with self._lock:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        return undo
