"""JSON-RPC 2.0 over a pair of byte streams, framed as language servers do it.

Frames are those of ``vscode-jsonrpc``: ``Content-Length: N``, an empty line, N bytes of JSON. No
port is opened. The endpoint answers every request exactly once, with a result or an error, whatever
comes: what is no frame is reported and passed over up to the next header, a request that is
cancelled is answered so, and answers that come later are dropped.
"""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import msgspec

from lmkit.errors import LmkitError
from lmkit.protocol.codec import error_info

__all__ = ["Call", "Endpoint", "FrameReader", "Method", "RpcError", "guard_stdio"]

_log = logging.getLogger("lmkit")

MAX_FRAME: Final = 64 * 1024 * 1024
"""Bytes of a frame that is read. The longest text of a field takes 24 MB when all is escaped."""
MAX_HEADER: Final = 4_096
"""Bytes of a header; a longer one is none."""
MAX_CALLS: Final = 2_000
"""Requests in work at a time; further ones are refused until some are answered."""

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
CANCELLED: Final = -32800
BUSY: Final = -32001
FAILED: Final = -32000
"""An error of lmkit: ``data`` is its :class:`lmkit.protocol.messages.ErrorInfo`."""

_MARK = b"Content-Length:"


def guard_stdio() -> tuple[BinaryIO, BinaryIO]:
    """Take standard input and output for the protocol alone; returns them.

    Whatever models, libraries and child processes print goes to standard error from now on, and who
    reads standard input meets its end. To be called before anything heavy is imported.
    """
    sys.stdout.flush()
    reader = os.fdopen(os.dup(0), "rb")
    writer = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    sys.stdout = sys.stderr
    return reader, writer


class RpcError(LmkitError):
    """A request of an editor could not be carried out."""

    code = "rpc"

    def __init__(self, number: int, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.number = number


class FrameReader:
    """Reads frames from a stream and finds the next one behind what is no frame.

    Args:
        stream: Where the bytes come from.
        limit: Bytes of the largest frame that is read.
    """

    def __init__(self, stream: BinaryIO, limit: int = MAX_FRAME) -> None:
        self._stream = stream
        self._limit = limit
        self._rest = b""

    def read(self) -> Any:
        """The next message, parsed.

        Raises:
            EOFError: the stream has ended.
            RpcError: what came is no frame or no JSON. Reading may go on.
        """
        length = self._header()
        body = self._exactly(length)
        try:
            return _parse(body)
        except (ValueError, RecursionError) as error:
            # The length may have been a lie, and the next frame inside.
            inside = body.find(_MARK)
            if inside >= 0:
                self._rest = body[inside:] + self._rest
            raise RpcError(PARSE_ERROR, f"The body of a frame is no JSON: {error}.") from error

    def _more(self) -> bool:
        chunk = (
            self._stream.read1(65_536)
            if isinstance(self._stream, io.BufferedReader)
            else self._stream.read(65_536)
        )
        self._rest += chunk or b""
        return bool(chunk)

    def _header(self) -> int:
        """Bytes of the next body."""
        while True:
            end = self._rest.find(b"\r\n\r\n")
            if 0 <= end <= MAX_HEADER:
                break
            if end > MAX_HEADER or len(self._rest) > MAX_HEADER:
                self._skip()
                raise RpcError(PARSE_ERROR, "What came is no frame: it has no header.")
            if not self._more():
                if self._rest.strip():
                    self._rest = b""
                    raise RpcError(PARSE_ERROR, "The stream ended within a frame.")
                raise EOFError
        header = self._rest[:end]
        try:
            length = _length(header)
            if length > self._limit:
                raise RpcError(
                    PARSE_ERROR,
                    f"A frame of {length:,} bytes was announced; {self._limit:,} are read.",
                )
        except RpcError:
            self._skip()
            raise
        self._rest = self._rest[end + 4 :]
        return length

    def _skip(self) -> None:
        """Drop bytes up to the next place where a header may begin, at least one."""
        place = self._rest.find(_MARK, 1)
        if place < 0:  # the last bytes may be the beginning of a header that is not there yet
            tail = self._rest[1:][-len(_MARK) :]
            cuts = range(len(tail) + 1)
            place = len(self._rest) - len(
                next(tail[cut:] for cut in cuts if _MARK.startswith(tail[cut:]))
            )
        self._rest = self._rest[place:]

    def _exactly(self, length: int) -> bytes:
        parts: list[bytes] = []
        missing = length
        while missing > 0:
            if not self._rest and not self._more():
                came = b"".join(parts)
                inside = came.find(_MARK)  # as above: a length that says too much
                self._rest = came[inside:] if inside >= 0 else b""
                raise RpcError(PARSE_ERROR, "The stream ended within a frame.")
            part, self._rest = self._rest[:missing], self._rest[missing:]
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)


def _length(header: bytes) -> int:
    for line in header.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if colon and name.strip().lower() == b"content-length":
            digits = value.strip()
            if digits.isdigit() and len(digits) <= 15:
                return int(digits)
            raise RpcError(PARSE_ERROR, "The Content-Length of a frame is no number.")
    raise RpcError(PARSE_ERROR, "A frame has no Content-Length.")


def _parse(body: bytes) -> Any:
    def refuse(name: str) -> float:
        raise ValueError(f"{name} is no JSON")

    # Browsers write a lone surrogate as an escape, which strict readers refuse.
    return json.loads(body.decode("utf-8"), parse_constant=refuse)


def _is_id(value: Any) -> bool:
    """Whether an answer can carry it: a string of UTF-8, a number that JSON readers keep."""
    if isinstance(value, str):
        return len(value) <= 256 and not any("\ud800" <= one <= "\udfff" for one in value)
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53


@dataclass(eq=False)
class Call:
    """One request in work. ``cancel`` is called once when the other side gives it up."""

    id: int | str
    endpoint: Endpoint
    cancel: Callable[[], object] | None = None

    def answer(self, result: Any) -> bool:
        """Send the result, anything that msgspec encodes; False when it was answered before."""
        return self.endpoint.settle(self, {"result": result})

    def fail(self, error: BaseException) -> bool:
        """Send an error; False when the request was answered before."""
        number = error.number if isinstance(error, RpcError) else FAILED
        info = error_info(error)
        return self.endpoint.settle(
            self, {"error": {"code": number, "message": info.message, "data": info}}
        )

    def drop(self) -> bool:
        """Answer that it was cancelled; False when it was answered before."""
        body = {"code": CANCELLED, "message": "The request was cancelled."}
        return self.endpoint.settle(self, {"error": body})


Method = Callable[[Call, Any], None]
"""Begins to carry out a request; answers the call now or later, from any thread."""


class Endpoint:
    """One side of a connection.

    Args:
        reader: Where frames come from.
        writer: Where they go.
        methods: What can be asked, by name.
    """

    def __init__(self, reader: BinaryIO, writer: BinaryIO, methods: Mapping[str, Method]) -> None:
        self._frames = FrameReader(reader)
        self._writer = writer
        self._methods = dict(methods)
        self._calls: dict[int | str, Call] = {}
        self._writing = threading.Lock()
        self._lock = threading.Lock()
        self._ended = False

    @property
    def calls(self) -> int:
        """Requests in work."""
        with self._lock:
            return len(self._calls)

    def serve(self) -> None:
        """Read and answer until the stream or the other side ends it (``exit``)."""
        while not self._ended:
            try:
                message = self._frames.read()
            except RpcError as error:
                self._report(error)
                continue
            except (EOFError, OSError):
                return
            self._receive(message)

    def end(self) -> None:
        """Stop reading after the message at hand."""
        self._ended = True

    def notify(self, method: str, params: Any) -> None:
        """Send what needs no answer."""
        self._write({"jsonrpc": "2.0", "method": method, "params": params})

    def settle(self, call: Call, outcome: Mapping[str, Any]) -> bool:
        """Send the one answer of a call; False when it has had one."""
        with self._lock:
            if self._calls.get(call.id) is not call:
                return False
            del self._calls[call.id]
        try:
            self._write({"jsonrpc": "2.0", "id": call.id, **outcome})
        except (ArithmeticError, TypeError, ValueError, RecursionError) as error:  # it is no JSON
            body = {"code": INTERNAL_ERROR, "message": f"The answer cannot be written: {error}."}
            self._write({"jsonrpc": "2.0", "id": call.id, "error": body})
        return True

    def _receive(self, message: Any) -> None:
        if not isinstance(message, dict):
            self._report(RpcError(INVALID_REQUEST, "A request is an object."))
            return
        identity, method = message.get("id"), message.get("method")
        if method is None and ("result" in message or "error" in message):
            return  # an answer; nothing is ever asked from here
        known = _is_id(identity)
        if not isinstance(method, str) or not (known or "id" not in message):
            error = RpcError(INVALID_REQUEST, "A request has a method and an id.")
            self._refuse(identity if known else None, error)
            return
        params = message.get("params")
        if "id" not in message:
            self._heed(method, params)
            return
        assert isinstance(identity, int | str)
        self._begin(identity, method, params)

    def _begin(self, identity: int | str, method: str, params: Any) -> None:
        call = Call(identity, self)
        with self._lock:
            twice = identity in self._calls
            full = len(self._calls) >= MAX_CALLS
            if not twice and not full:
                self._calls[identity] = call
        if twice:
            self._refuse(identity, RpcError(INVALID_REQUEST, "This id is in use."))
        elif full:
            error = RpcError(BUSY, f"{MAX_CALLS:,} requests wait; no more are taken.")
            self._refuse(identity, error)
        elif method not in self._methods:
            call.fail(RpcError(METHOD_NOT_FOUND, f"There is no method {method[:100]!r}."))
        else:
            try:
                self._methods[method](call, params)
            except Exception as error:
                call.fail(error)

    def _heed(self, method: str, params: Any) -> None:
        """A notification: what nobody knows is passed over, as the specification asks."""
        if method == "exit":
            self.end()
        elif method == "$/cancelRequest" and isinstance(params, dict):
            identity = params.get("id")
            if isinstance(identity, int | str):
                with self._lock:
                    call = self._calls.get(identity)
                if call is not None and call.cancel is not None:
                    call.cancel()

    def _refuse(self, identity: int | str | None, error: RpcError) -> None:
        """Answer a request that was never begun, or that has no id that can be made out."""
        body = {"code": error.number, "message": str(error)}
        self._write({"jsonrpc": "2.0", "id": identity, "error": body})

    def _report(self, error: RpcError) -> None:
        _log.warning("%s", error)
        self._refuse(None, error)

    def _write(self, message: Mapping[str, Any]) -> None:
        body = msgspec.json.encode(message)
        frame = b"Content-Length: %d\r\n\r\n" % len(body) + body
        with self._writing:
            try:
                view = memoryview(frame)
                while view:  # a raw stream may take a part
                    view = view[self._writer.write(view) or 0 :]
                self._writer.flush()
            except (OSError, ValueError):  # the other side is gone, or the stream was closed
                self._ended = True
