"""The comm that lmkit's own renderer opens: answered while a cell runs.

ipykernel answers a comm on the shell that last sent on it. The renderer opens its comm on a
subshell; as long as every send runs in the context captured when it was opened, it stays there and
is answered in milliseconds while the main shell computes. A plain send from a cell would move it.
Handlers run one at a time for a target, so they only queue.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Sequence
from typing import Any

from lmkit.errors import ProtocolError
from lmkit.protocol.codec import decode_request, error_info, to_builtins
from lmkit.protocol.messages import ErrorAnswer, ErrorInfo, Outgoing
from lmkit.session import Session

__all__ = ["TARGET", "CommChannel", "register"]

TARGET = "lmkit"
"""Name of the comm target."""


class CommChannel:
    """Sends on one comm, always in the context in which it was opened."""

    def __init__(self, comm: Any) -> None:
        self._comm = comm
        self._context = contextvars.copy_context()
        self._lock = threading.Lock()

    def send(self, message: Outgoing, buffers: Sequence[bytes] = ()) -> None:
        """Send a message; from any thread."""
        data = to_builtins(message)
        with self._lock:
            # A context can be entered once at a time, hence the copy.
            self._context.copy().run(self._comm.send, data, buffers=list(buffers))


def _refuse(data: Any, channel: CommChannel, info: ErrorInfo) -> None:
    try:
        request = decode_request(data)
    except ProtocolError:
        return  # neither side can be helped: there is no id to answer to
    channel.send(ErrorAnswer(id=request.id, view=request.view, error=info))


def register(manager: Any, session: Callable[[], Session]) -> None:
    """Register the target with a kernel's comm manager.

    Args:
        manager: ``ipykernel.comm.CommManager`` of the kernel.
        session: Gives the kernel's session; called at the first comm.
    """

    def opened(comm: Any, message: dict[str, Any]) -> None:
        channel = CommChannel(comm)
        try:
            served = session()
        except Exception as error:
            # ipykernel would close the comm, which reads as "lmkit is not loaded in this kernel".
            info = error_info(error)
            comm.on_msg(lambda message: _refuse(message["content"]["data"], channel, info))
            return
        comm.on_msg(lambda message: served.receive(message["content"]["data"], channel))
        comm.on_close(lambda message: served.views.leave(channel))
        data = message.get("content", {}).get("data")
        if data:
            served.receive(data, channel)

    manager.register_target(TARGET, opened)
