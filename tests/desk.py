"""A page as the session sees it: a channel that keeps what it is sent, and requests with ids."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from lmkit.protocol.messages import Outgoing, StatusChanged, Welcome
from lmkit.session import Session

__all__ = ["Desk", "Recorder"]


class Recorder:
    """A channel that keeps what it is sent."""

    def __init__(self) -> None:
        self.messages: list[tuple[Outgoing, list[bytes]]] = []
        self._new = threading.Condition()

    def send(self, message: Outgoing, buffers: Sequence[bytes] = ()) -> None:
        with self._new:
            self.messages.append((message, list(buffers)))
            self._new.notify_all()

    def wait_for(self, test: Callable[[Outgoing], bool]) -> tuple[Outgoing, list[bytes]]:
        def found() -> tuple[Outgoing, list[bytes]] | None:
            return next((one for one in self.messages if test(one[0])), None)

        with self._new:
            assert self._new.wait_for(lambda: found() is not None, 60), self.messages
        result = found()
        assert result is not None
        return result


class Desk:
    """One copy of a view, as a page holds it."""

    def __init__(self, session: Session, view: str) -> None:
        self.session, self.view, self.channel = session, view, Recorder()

    def ask(self, kind: str, **content: Any) -> tuple[Outgoing, list[bytes]]:
        return self.wait(self.put(kind, **content))

    def put(self, kind: str, **content: Any) -> str:
        identity = str(uuid.uuid4())
        message = {"type": kind, "id": identity, "view": self.view, **content}
        self.session.receive(message, self.channel)
        return identity

    def wait(self, identity: str) -> tuple[Outgoing, list[bytes]]:
        return self.channel.wait_for(lambda one: getattr(one, "id", None) == identity)

    def hello(self) -> Welcome:
        answer, _ = self.ask("hello", session=self.session.id, protocol=1, version="t")
        assert isinstance(answer, Welcome), answer
        return answer

    def status(self, state: str) -> StatusChanged:
        found, _ = self.channel.wait_for(
            lambda one: isinstance(one, StatusChanged) and one.status.state == state
        )
        assert isinstance(found, StatusChanged)
        return found
