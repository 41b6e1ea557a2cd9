"""Follows a job: long work in a process of its own, of which a panel draws what there is.

One thread a followed job asks it about twice a second whether it has moved on. It computes nothing
but what the job's own methods read, and rests where the job does.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

from lmkit.api import Job, JobInfo, Tools
from lmkit.errors import LmkitError

__all__ = ["JobWatch"]

_log = logging.getLogger("lmkit")

BEAT = 0.5
"""Seconds between two looks at a job that goes on."""

REST = 2.0
"""Seconds between two looks at one that does not: another kernel may resume it."""

_ACTIVE = frozenset({"running", "paused"})


class JobWatch:
    """Tells of a job's changes until it is told to end.

    Args:
        job: What is followed.
        tools: What it makes its passes with.
        shown: Called with where the job is and what it has to show; must not block.
        attention: Called with a newer pass and "", or with None and why there is none.
    """

    def __init__(
        self,
        job: Job,
        tools: Tools,
        shown: Callable[[JobInfo, Sequence[Any]], None],
        attention: Callable[[Any, str], None],
    ) -> None:
        self.job = job
        self._tools = tools
        self._shown = shown
        self._attention = attention
        self._last: JobInfo | None = None
        self._said = ""
        self._over = threading.Event()
        self._look = threading.Event()
        self._seen = threading.Event()

    def begin(self, patience: float = 0.0) -> None:
        """Show where the job is now, and follow from a thread.

        Args:
            patience: Seconds to wait for the pass of a job that rests, which may load models: the
                cell that shows it is saved whole then. One that goes on is never waited for.
        """
        active = self._step()
        threading.Thread(target=self._follow, name="lmkit-job", daemon=True).start()
        if not active:
            self._seen.wait(patience)

    def end(self) -> None:
        """Follow no more; the job itself goes on."""
        self._over.set()
        self._look.set()

    def act(self, name: str) -> None:
        """Carry out a button of the job, and look again at once.

        Raises:
            LmkitError: it can't be done.
        """
        self.job.act(name)
        self._look.set()

    def look(self) -> bool:
        """Tell of a change, if there is one; whether the job goes on."""
        info = self.job.info()
        if info != self._last:
            results = self.job.results()
            if not self._over.is_set():  # another job is followed by now
                self._shown(info, results)
            self._last = info
        return info.state in _ACTIVE

    def _follow(self) -> None:
        while not self._over.is_set():
            active = self._step()
            self._see()
            self._seen.set()
            self._look.wait(BEAT if active else REST)
            self._look.clear()

    def _step(self) -> bool:
        try:
            return self.look()
        except Exception as error:
            self._tell(error)
            return False

    def _see(self) -> None:
        try:
            trace = self.job.attention(self._tools)
        except Exception as error:
            self._tell(error)
            return
        if trace is not None and not self._over.is_set():
            self._attention(trace, "")

    def _tell(self, error: Exception) -> None:
        """The job goes on whatever becomes of the view of it: say it once, and look again."""
        note = error.message if isinstance(error, LmkitError) else str(error)
        if note != self._said and not self._over.is_set():
            self._said = note
            _log.debug("A job could not be looked at.", exc_info=error)
            self._attention(None, note[:10_000])
