"""An editor as ``lmkit serve --stdio`` sees it: a child process, frames out, answers in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lmkit.transports.stdio import FrameReader

__all__ = ["Editor", "frame"]

WAIT = 120.0


def frame(message: Any) -> bytes:
    """A message as it travels."""
    body = json.dumps(message).encode()
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


class Editor:
    """Starts the server and talks to it; every message that comes is kept."""

    def __init__(self, log: Path, environ: Mapping[str, str] | None = None) -> None:
        self._log = log.open("wb")
        self.log = log
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lmkit", "serve", "--stdio"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
            env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **(environ or {})},
        )  # fmt: skip
        self.answers: dict[Any, list[dict[str, Any]]] = {}
        self.events: list[dict[str, Any]] = []
        self.nameless: list[dict[str, Any]] = []
        self._number = 0
        self._new = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        frames = FrameReader(self.process.stdout)  # strict here: anything but a frame raises
        while True:
            try:
                message = frames.read()
            except EOFError:
                return
            with self._new:
                if "method" in message:
                    self.events.append(message["params"]["message"])
                elif message["id"] is None:
                    self.nameless.append(message)
                else:
                    self.answers.setdefault(message["id"], []).append(message)
                self._new.notify_all()

    def write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def put(self, method: str, params: Any = None) -> int:
        self._number += 1
        self.write(
            frame({"jsonrpc": "2.0", "id": self._number, "method": method, "params": params})
        )
        return self._number

    def until(self, test: Callable[[], Any]) -> Any:
        with self._new:
            assert self._new.wait_for(test, WAIT), self.log.read_text()[-4000:]
        return test()

    def answer(self, number: Any) -> dict[str, Any]:
        """The one answer of a request."""
        (found,) = self.until(lambda: self.answers.get(number))
        return found

    def ask(self, method: str, params: Any = None) -> Any:
        answer = self.answer(self.put(method, params))
        assert "result" in answer, answer
        return answer["result"]

    def say(self, view: str, kind: str, identity: str, **content: Any) -> dict[str, Any]:
        """Send a view's message; returns ``{message, data}``."""
        message = {"type": kind, "view": view, "id": identity, **content}
        return self.ask("request", {"message": message})

    def event(self, test: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        return self.until(lambda: next((one for one in self.events if test(one)), None))

    def end(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            return self.process.wait(timeout=30)
        finally:
            self.process.kill()
            self._reader.join(timeout=10)
            self._log.close()
