"""Pages for measuring: a local server, a fresh browser each, and what its page process takes.

Each visit has a browser of its own, so that no page finds another's caches or garbage. Times are
the page's own clock, from the start of its navigation until the second animation frame after the
picture is there: by then its first frame has been drawn. Memory is the private memory (USS) of
the process that draws the page, at its highest, looked at twice a second.
"""

from __future__ import annotations

import contextlib
import json
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psutil
from playwright.sync_api import Error, Page, Playwright

from tests.e2e.chromium import find_chromium

__all__ = ["GivenUpError", "Site", "Visit", "visit"]

Ask = Callable[[dict[str, Any]], tuple[dict[str, Any], Sequence[bytes]]]


class GivenUpError(Exception):
    """A page that was not drawn: why, for its row, and the seconds that it was waited for."""

    def __init__(self, why: str, seconds: float) -> None:
        super().__init__(why)
        self.seconds = seconds


class Site:
    """A server on this machine: files by path, and ``POST /ask`` for a live kernel.

    An answer of ``/ask`` is the length of its JSON in four bytes, the JSON, and the first buffer;
    the header ``X-Seconds`` says how long the kernel's side took.
    """

    def __init__(self) -> None:
        self.files: dict[str, tuple[str, bytes]] = {}
        self.ask: Ask | None = None
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                found = site.files.get(self.path)
                self.send_response(200 if found else 404)
                kind, data = found or ("text/plain", b"")
                self._send(kind, data)

            def do_POST(self) -> None:
                message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                assert site.ask is not None
                started = time.perf_counter()
                answer, buffers = site.ask(message)
                seconds = time.perf_counter() - started
                head = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("X-Seconds", str(seconds))
                self._send(
                    "application/octet-stream",
                    struct.pack(">I", len(head)) + head + b"".join(buffers[:1]),
                )

            def _send(self, kind: str, data: bytes) -> None:
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: Any) -> None:
                """Nothing: the benchmark's table is the output."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        # A page that is given up closes its connection in the middle of an answer.
        self._server.handle_error = lambda request, address: None  # type: ignore[method-assign]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def url(self, path: str) -> str:
        """The address of a file."""
        return f"http://127.0.0.1:{self._server.server_address[1]}{path}"

    def html(self, path: str, text: str) -> str:
        """Serve a document; returns its address."""
        self.files[path] = ("text/html; charset=utf-8", text.encode())
        return self.url(path)

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


@dataclass
class Visit:
    """One page that was drawn.

    Attributes:
        page: To look further.
        seconds: From the start of the navigation until it was drawn.
    """

    page: Page
    seconds: float
    _watch: _Watch
    _limit: float

    def measure(self, script: str, argument: Any = None) -> Any:
        """Run a function in the page that leaves its answer, and wait for it as for the page.

        Raises:
            GivenUpError: it took longer than the limit, or the page died.
        """
        self.page.evaluate(
            f"(argument) => {{ window.answer = undefined; setTimeout(async () => {{"
            f" window.answer = await ({script})(argument); }}); }}",
            argument,
        )
        return _wait(self.page, "window.answer", self._limit, self._watch)

    @property
    def memory(self) -> int:
        """The most bytes that the page's process had, until now."""
        self._watch.look()
        return self._watch.most


class _Watch:
    """Looks at the page's process, and ends it when it takes too much."""

    def __init__(self, pids: Sequence[int], limit: int) -> None:
        self._processes = [psutil.Process(pid) for pid in pids]
        self._limit = limit
        self._done = threading.Event()
        self.most = 0
        self.exceeded = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def look(self) -> None:
        for process in self._processes:
            with contextlib.suppress(psutil.Error):
                used = process.memory_full_info().uss
                self.most = max(self.most, used)
                if used > self._limit:
                    self.exceeded = True
                    process.kill()

    def _run(self) -> None:
        while not self._done.wait(0.5):
            self.look()

    def stop(self) -> None:
        self._done.set()
        self._thread.join()


@contextlib.contextmanager
def visit(
    playwright: Playwright, url: str, painted: str, *, limit: float, memory: int
) -> Iterator[Visit]:
    """Open a page in a browser of its own and wait until it is drawn.

    Args:
        playwright: A started Playwright.
        url: The page.
        painted: A JavaScript expression, true once the picture is there.
        limit: Seconds that the page has.
        memory: Bytes that its process may take.

    Raises:
        GivenUpError: it was not drawn within the limits.
    """
    browser = playwright.chromium.launch(
        executable_path=find_chromium(), args=["--no-sandbox", "--disable-dev-shm-usage"]
    )
    watch = None
    try:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.add_init_script(
            "(() => { const look = () => { let there = false;"
            f" try {{ there = Boolean({painted}); }} catch {{ /* not yet */ }}"
            " if (!there) { setTimeout(look, 10); return; }"
            " requestAnimationFrame(() => requestAnimationFrame(() => {"
            " window.painted = performance.now(); })); }; setTimeout(look, 10); })();"
        )
        cdp = browser.new_browser_cdp_session()
        processes = cdp.send("SystemInfo.getProcessInfo")["processInfo"]
        watch = _Watch([one["id"] for one in processes if one["type"] == "renderer"], memory)
        page.goto(url, wait_until="commit", timeout=1000 * limit)
        milliseconds = _wait(page, "window.painted", limit, watch)
        yield Visit(page, milliseconds / 1000, watch, limit)
    finally:
        if watch is not None:
            watch.stop()
        with contextlib.suppress(Error):
            browser.close()


def _wait(page: Page, expression: str, limit: float, watch: _Watch) -> Any:
    started = time.perf_counter()
    try:
        found = page.wait_for_function(
            f"{expression} !== undefined && {{ value: {expression} }}", timeout=1000 * limit
        )
        return found.json_value()["value"]
    except Error as error:
        waited = time.perf_counter() - started
        why = "the page crashed"
        if watch.exceeded:
            why = f"stopped at {watch.most / 1e9:.1f} GB"
        elif "imeout" in error.message:
            why = f"stopped at {limit:.0f} s"
        raise GivenUpError(why, waited) from error
