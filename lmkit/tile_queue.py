"""Who computes which tile next: what the user waits for comes before what fills in.

Two threads. One computes the tiles of what was clicked or looked at, in the order of asking. The
other computes thumbnails, the quick ones first: between two blocks of rows it stands still as long
as the first thread has anything to do, and slips in quick ones that came meanwhile. So a head just
clicked never waits for the thumbnails of a layer over thousands of tokens, and no thumbnail that
was half done has to be begun again.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

__all__ = ["BACKGROUND", "TileQueue"]

BACKGROUND: Final[dict[str, int]] = {"glance": 0, "thumb": 1}
"""Kinds of tiles that fill in, by their rank: all quick pictures come before the exact ones."""

Name = tuple[str, str]
Work = Callable[[Callable[[], bool]], None]


@dataclass(order=True)
class _Job:
    rank: int
    number: int
    work: Work = field(compare=False)
    name: Name | None = field(compare=False, default=None)
    stopped: threading.Event = field(compare=False, default_factory=threading.Event)


class TileQueue:
    """Runs work that was handed in, each piece with a function that says when to stop.

    That function is called by the work as often as it can afford. It answers True once the work
    is cancelled; for background work it returns only when no foreground work is left.
    """

    def __init__(self) -> None:
        self._front = ThreadPoolExecutor(1, thread_name_prefix="lmkit-tiles")
        self._back = ThreadPoolExecutor(1, thread_name_prefix="lmkit-thumbnails")
        self._waiting: list[_Job] = []
        self._jobs: dict[Name, _Job] = {}
        self._numbers = itertools.count()
        self._in_front = 0
        self._turn = threading.Condition()
        self._stopped = False

    def submit(self, work: Work, *, name: Name | None = None, rank: int | None = None) -> None:
        """Hand in work.

        Args:
            work: Called once with the function that says when to stop; must not raise.
            name: Under which :meth:`cancel` finds it, unique while it waits or runs.
            rank: None for the foreground; in the background lower ranks come first.
        """
        job = _Job(0 if rank is None else rank, next(self._numbers), work, name)
        with self._turn:
            if self._stopped:
                return
            if name is not None:
                self._jobs[name] = job
            if rank is None:
                self._in_front += 1
                self._front.submit(self._run_front, job)
            else:
                heapq.heappush(self._waiting, job)
                self._back.submit(self._run_back)

    def cancel(self, name: Name) -> bool:
        """Stop work, waiting or running; False when there is none of this name."""
        with self._turn:
            job = self._jobs.pop(name, None)
            if job is None:
                return False
            job.stopped.set()
            self._turn.notify_all()
        return True

    def stop(self) -> None:
        """Cancel everything and end the threads."""
        with self._turn:
            self._stopped = True
            for job in self._jobs.values():
                job.stopped.set()
            self._turn.notify_all()
        self._front.shutdown(wait=True, cancel_futures=True)
        self._back.shutdown(wait=True, cancel_futures=True)

    def _run_front(self, job: _Job) -> None:
        try:
            if not job.stopped.is_set():
                job.work(job.stopped.is_set)
        finally:
            with self._turn:
                self._in_front -= 1
                self._turn.notify_all()
            self._forget(job)

    def _run_back(self) -> None:
        with self._turn:
            job = heapq.heappop(self._waiting) if self._waiting else None
        if job is not None:  # else another one had it slipped in
            self._run_job(job)

    def _run_job(self, job: _Job) -> None:
        def stopped() -> bool:
            while True:
                with self._turn:
                    self._turn.wait_for(
                        lambda: self._in_front == 0 or job.stopped.is_set() or self._stopped
                    )
                    if job.stopped.is_set() or self._stopped:
                        return True
                    if not self._waiting or self._waiting[0].rank >= job.rank:
                        return False
                    quicker = heapq.heappop(self._waiting)
                self._run_job(quicker)

        try:
            if not stopped():
                job.work(stopped)
        finally:
            self._forget(job)

    def _forget(self, job: _Job) -> None:
        with self._turn:
            if job.name is not None and self._jobs.get(job.name) is job:
                del self._jobs[job.name]
