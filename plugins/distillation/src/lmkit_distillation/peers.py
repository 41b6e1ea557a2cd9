"""The processes of one run, and what they tell each other besides gradients.

Files, evaluation and the report are the leader's alone; the others wait for what comes of it. They
wait in short messages, so that a pause or a long report never meets the group's timeout, and an
error goes to all in the words of the process that met it: nobody is left waiting in a collective.

All of it goes over a gloo group on the CPU, whatever carries the gradients.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed

from lmkit.api import LmkitError
from lmkit_distillation.errors import DistillationError, PeerGoneError

__all__ = ["BEAT", "TIMEOUT", "Peers"]

T = TypeVar("T")

BEAT = 1.0
"""Seconds between two signs of life of a process that others wait for."""
TIMEOUT = timedelta(minutes=10)
"""Without a sign of life a process counts as gone. One that ended is noticed at once."""

_BUSY, _DONE, _FAILED = "busy", "done", "failed"


class Peers:
    """This process among those of its run; alone, everything is a plain call.

    Made by all processes at the same time, after they have joined.

    Args:
        rank: The number of this process; 0 leads.
        count: How many there are.
    """

    def __init__(self, rank: int, count: int) -> None:
        self.rank, self.count = rank, count
        self.leader = rank == 0
        self._group: Any = None
        if count > 1:
            self._group = distributed.new_group(backend="gloo", timeout=TIMEOUT)

    def led(self, work: Callable[[], T]) -> T:
        """What ``work`` gives in the leader; the others do not call it.

        Raises:
            DistillationError: in the others, where it failed, in the leader's words.
            PeerGoneError: a process ended without a word.
        """
        if self._group is None:
            return work()
        if not self.leader:
            given: T = self._followed()
            return given
        try:
            with self._beating(lambda: self._send((_BUSY, None))):
                found = work()
        except BaseException as error:
            with suppress(PeerGoneError):
                self._send((_FAILED, _words(error)))
            raise
        self._send((_DONE, found))
        return found

    def _followed(self) -> Any:
        while True:
            kind, value = self._send(None)
            if kind == _FAILED:
                raise DistillationError(value[0], hint=value[1])
            if kind == _DONE:
                return value

    def together(self, work: Callable[[], T]) -> T:
        """What ``work`` gives here, once all processes have done theirs.

        Raises:
            DistillationError: it failed in another process; in the words of that one.
            PeerGoneError: a process ended without a word.
        """
        if self._group is None:
            return work()
        problem: Exception | None = None
        found: Any = None
        try:
            with self._beating(lambda: self.worst(0, least=True)):
                found = work()
        except Exception as error:
            problem = error
        while self.worst(1, least=True) == 0:
            pass
        self.settle(problem)
        return found  # type: ignore[no-any-return]

    def gathered(self, items: list[T]) -> list[T]:
        """The lists of all processes as one, in their order."""
        if self._group is None:
            return items
        told: list[Any] = [None] * self.count
        with _gone():
            distributed.all_gather_object(told, items, group=self._group)
        return [one for each in told for one in each]

    def settle(self, problem: Exception | None) -> None:
        """Raise in all what went wrong in one: a process's own problem, else the first other's."""
        if self._group is None:
            if problem is not None:
                raise problem
            return
        told: list[Any] = [None] * self.count
        with _gone():
            mine = None if problem is None else _words(problem)
            distributed.all_gather_object(told, mine, group=self._group)
        if problem is not None:
            raise problem
        for rank, words in enumerate(told):
            if words is not None:
                who = "" if rank == 0 else f"Process {rank} of {self.count}: "
                raise DistillationError(who + words[0], hint=words[1])

    def worst(self, value: int, *, least: bool = False) -> int:
        """The largest of all processes' values, or the least."""
        if self._group is None:
            return value
        found = torch.tensor([value])
        kind = distributed.ReduceOp.MIN if least else distributed.ReduceOp.MAX
        with _gone():
            distributed.all_reduce(found, kind, group=self._group)
        return int(found.item())

    def add_up(self, tensor: torch.Tensor) -> torch.Tensor:
        """Its sum over the processes, in place, by what carries the gradients."""
        if self.count > 1:
            with _gone():
                distributed.all_reduce(tensor)
        return tensor

    def _send(self, value: Any) -> Any:
        told = [value]
        with _gone():
            distributed.broadcast_object_list(told, 0, self._group, torch.device("cpu"))
        return told[0]

    @contextmanager
    def _beating(self, beat: Callable[[], object]) -> Iterator[None]:
        """Give signs of life from a thread while the block works."""
        over = threading.Event()

        def loop() -> None:
            # Where another process is gone, the next message of the main thread says so.
            with suppress(PeerGoneError):
                while not over.wait(BEAT):
                    beat()

        thread = threading.Thread(target=loop, name="lmkit-peers", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _words(error: BaseException) -> tuple[str, str]:
    if isinstance(error, LmkitError):
        return error.message, error.hint
    return f"{type(error).__name__}: {error}".rstrip(": "), ""


@contextmanager
def _gone() -> Iterator[None]:
    """A collective that fails fails because of the others."""
    try:
        yield
    except RuntimeError as error:
        raise PeerGoneError(
            "Another process of this run is gone.",
            hint="Its own output says why, where it could; the same command goes on from the last "
            "checkpoint.",
        ) from error
