"""A run in progress: the user's wish to stop it, how far it is, and the passes it captured.

A run is found through a context variable, so that a plugin's ``run()`` needs no extra argument:
captured passes poll :meth:`Work.check` at each layer, plugins call :func:`lmkit.api.progress`.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from lmkit.errors import Cancelled, LmkitError, PluginError
from lmkit.protocol.messages import Progress

__all__ = ["Work", "current_work", "doing"]

QUIET = 0.05
"""Seconds between two reports under one label, or between two partial results; a loop over rows
may report each of them."""

_current: ContextVar[Work | None] = ContextVar("lmkit_work", default=None)


class Work:
    """One run. ``cancel()`` may be called from any thread.

    Args:
        on_progress: Called with a :class:`Progress` when the run reports; must not block.
        on_results: Called with what the run has found so far; must not block.
    """

    def __init__(
        self,
        on_progress: Callable[[Progress], None] | None = None,
        on_results: Callable[[tuple[Any, ...]], None] | None = None,
    ) -> None:
        self._stop = threading.Event()
        self._on_progress = on_progress
        self._on_results = on_results
        self._shown = float("-inf")
        self._own_stop = False
        self._label = ""
        self._started = self._told = time.monotonic()
        self.traces: list[Any] = []
        """Captured passes in the order they were made; the last one feeds the explorer."""
        self.replaced: dict[str, Any] = {}
        """Values that the form holds in place of those of the run, by field name."""
        self.job: Any = None
        """Work in a process of its own that the run began (:class:`lmkit.api.Job`)."""
        self.share = (0, 1)
        """Which of how many processes this is, where several share the rows of a data set."""

    @property
    def cancelled(self) -> bool:
        """Whether the user asked to stop."""
        return self._stop.is_set()

    def cancel(self) -> None:
        """Ask the run to stop at its next layer, token or row."""
        self._stop.set()

    @property
    def stops_itself(self) -> bool:
        """Whether the run looks after the wish to stop by itself (:func:`lmkit.api.stopped`)."""
        return self._own_stop

    def asked_to_stop(self) -> bool:
        """Whether the user asked to stop; from now on the run ends by itself."""
        self._own_stop = True
        return self._stop.is_set()

    def show(self, results: Sequence[Any]) -> None:
        """Show what there is so far; the newest of those that come within :data:`QUIET`.

        What is left out is not lost: the next call or the run's end brings more.
        """
        self.check()
        now = time.monotonic()
        if self._on_results is None or now - self._shown < QUIET:
            return
        self._shown = now
        self._on_results(tuple(results))

    def check(self) -> None:
        """Raise :class:`Cancelled` if the user asked to stop and the run does not ask itself."""
        if self._stop.is_set() and not self._own_stop:
            raise Cancelled("Stopped.", hint="What was there before is unchanged.")

    def let_go(self, error: BaseException, outer: BaseException | None = None) -> None:
        """After a run that ``error`` ended: hold nothing of it.

        IPython keeps the last error, an error its frames, and those the activations of a pass that
        failed in the middle. What a plugin or lmkit did wrong keeps them: ``%debug`` looks into it.

        Args:
            error: What ended the run; its causes' frames too are emptied.
            outer: What was being handled when the run began, which is none of its own.
        """
        self.traces.clear()
        if isinstance(error, PluginError) or not isinstance(error, LmkitError | KeyboardInterrupt):
            return
        seen = {id(outer)}
        waiting: list[BaseException | None] = [error]
        while waiting:
            one = waiting.pop()
            if one is None or id(one) in seen:
                continue
            seen.add(id(one))
            traceback.clear_frames(one.__traceback__)
            # An emptied frame still holds its function, and that its closure: torch's hold what a
            # module was called with. The text of a traceback is in the error's details.
            one.__traceback__ = None
            waiting += [one.__cause__, one.__context__]

    def report(self, label: str, done: int = 0, total: int = 0) -> None:
        """Say how far the run is, and stop here if the user asked to.

        The time left is extrapolated from the steps done under the same label.
        """
        self.check()
        now = time.monotonic()
        if label != self._label:
            self._label, self._started = label, now
        elif now - self._told < QUIET and done != total:
            return
        self._told = now
        left = (now - self._started) / done * (total - done) if 0 < done <= total else None
        if self._on_progress is not None:
            self._on_progress(Progress(label=label, done=done, total=total, seconds_left=left))


@contextmanager
def doing(work: Work) -> Iterator[Work]:
    """Make ``work`` the current run of this context (thread or asyncio task)."""
    token = _current.set(work)
    try:
        yield work
    finally:
        _current.reset(token)


def current_work() -> Work | None:
    """The run in progress in this context, or None."""
    return _current.get()
