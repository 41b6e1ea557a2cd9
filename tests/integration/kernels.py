"""A real ipykernel to talk to, without a browser."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import KernelManager

__all__ = ["Kernel", "Ran", "start"]

WAIT = 120


@dataclass
class Ran:
    """What one cell did."""

    outputs: list[dict[str, Any]] = field(default_factory=list)
    status: str = ""

    @property
    def text(self) -> str:
        """What it printed."""
        return "".join(one["text"] for one in self.outputs if one["type"] == "stream")

    @property
    def error(self) -> str:
        """What a user reads of its error, without colours."""
        import re

        lines = [
            line for one in self.outputs if one["type"] == "error" for line in one["traceback"]
        ]
        return re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(lines))

    @property
    def shown(self) -> list[dict[str, Any]]:
        """The MIME bundles it displayed, updates in their place."""
        bundles: list[dict[str, Any]] = []
        places: dict[str, int] = {}
        for one in self.outputs:
            if one["type"] not in ("display_data", "execute_result", "update_display_data"):
                continue
            place = one["transient"].get("display_id")
            if one["type"] == "update_display_data" and place in places:
                bundles[places[place]] = one["data"]
            else:
                if place is not None:
                    places[place] = len(bundles)
                bundles.append(one["data"])
        return bundles


class Kernel:
    """A running kernel: cells, completions, comms."""

    def __init__(self, client: BlockingKernelClient) -> None:
        self.client = client

    def run(self, code: str, *, cell: str = "", deleted: Sequence[str] = ()) -> Ran:
        """Run a cell to its end.

        Args:
            code: Its source.
            cell: The cell's id, as front ends say it beside the request.
            deleted: The ids of cells that were deleted before.
        """
        ran = Ran()

        def take(message: dict[str, Any]) -> None:
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                ran.outputs.append({"type": kind, "text": content["text"]})
            elif kind in ("display_data", "execute_result", "update_display_data"):
                transient = content.get("transient") or {}
                ran.outputs.append({"type": kind, "data": content["data"], "transient": transient})
            elif kind == "error":
                ran.outputs.append({"type": kind, **content})

        session = self.client.session
        told = {"cellId": cell, "deletedCells": [*deleted]} if cell else None
        # the client itself has no way to say it
        session.msg = functools.partial(type(session).msg, session, metadata=told)
        try:
            reply = self.client.execute_interactive(
                code, allow_stdin=False, output_hook=take, timeout=WAIT, stop_on_error=False
            )
        finally:
            del session.msg
        ran.status = reply["content"]["status"]
        return ran

    def value(self, expression: str) -> Any:
        """The value of an expression, by its repr."""
        import ast

        identity = self.client.execute(
            "", silent=True, user_expressions={"value": expression}, stop_on_error=False
        )
        while (reply := self.client.get_shell_msg(timeout=WAIT))["parent_header"][
            "msg_id"
        ] != identity:
            pass
        found = reply["content"]["user_expressions"]["value"]
        assert found["status"] == "ok", found
        return ast.literal_eval(found["data"]["text/plain"])

    def complete(self, code: str) -> list[str]:
        """What ``code`` becomes by Tab at its end, once for each offer."""
        content = self.client.complete(code, reply=True, timeout=WAIT)["content"]
        return [code[: content["cursor_start"]] + match for match in content["matches"]]

    def update(self, display_id: str) -> dict[str, Any]:
        """The MIME bundle with which an output is filled in later."""
        while True:
            message = self.client.get_iopub_msg(timeout=WAIT)
            content = message["content"]
            transient = content.get("transient") or {}
            updated = message["msg_type"] == "update_display_data"
            if updated and transient.get("display_id") == display_id:
                data: dict[str, Any] = content["data"]
                return data

    def open_comm(self, target: str = "lmkit", data: Any = None) -> Comm:
        """Open a comm, as a front end does."""
        return Comm(self.client, target, data or {})


class Comm:
    """One comm: sends requests, collects what comes back."""

    def __init__(self, client: BlockingKernelClient, target: str, data: Any) -> None:
        import uuid

        self._client = client
        self.id = uuid.uuid4().hex
        self.closed = False
        self._send("comm_open", {"target_name": target, "data": data})

    def _send(self, kind: str, content: dict[str, Any]) -> str:
        message = self._client.session.msg(kind, {"comm_id": self.id, **content})
        self._client.shell_channel.send(message)
        return str(message["header"]["msg_id"])

    def send(self, request: dict[str, Any]) -> None:
        """Send a request."""
        self._send("comm_msg", {"data": request})

    def next(self) -> tuple[dict[str, Any], list[bytes]]:
        """The next message of this comm: its data and its buffers."""
        while True:
            message = self._client.get_iopub_msg(timeout=WAIT)
            if message["content"].get("comm_id") != self.id:
                continue
            if message["msg_type"] == "comm_close":
                self.closed = True
                return {}, []
            return message["content"]["data"], [bytes(one) for one in message["buffers"]]

    def until(self, **wanted: Any) -> tuple[dict[str, Any], list[bytes]]:
        """The next message with these entries."""
        while True:
            data, buffers = self.next()
            if self.closed or all(data.get(name) == value for name, value in wanted.items()):
                return data, buffers


@contextmanager
def start(folder: Path, environ: Mapping[str, str] | None = None) -> Iterator[Kernel]:
    """Run a kernel of this interpreter in ``folder`` for the block."""
    manager = KernelManager(kernel_name="python3")
    environment = {
        **os.environ,
        "IPYTHONDIR": str(folder / "ipython"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        **(environ or {}),
    }
    manager.start_kernel(env=environment, cwd=str(folder))
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=WAIT)
        yield Kernel(client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
