"""Pages for measuring: a local server, a fresh browser each, and what its page process takes.

Each visit has a browser of its own, so that no page finds another's caches or garbage. Times are
the page's own clock, from the start of its navigation until the second animation frame after the
picture is there: by then its first frame has been drawn. Memory is the private memory (USS) of
the process that draws the page, at its highest, looked at twice a second. The page says on its
console when it is drawn: to be asked for it, it would first have to take in the asker's scripts,
50 ms in which it draws nothing.
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
from playwright.sync_api import ConsoleMessage, Error, Page, Playwright

from tests.e2e.chromium import find_chromium

__all__ = ["GivenUpError", "Site", "Visit", "visit"]

SAID = "lmkit-bench:"
"""How the lines on a page's console begin that are for us."""
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
    _said: _Said

    def measure(self, script: str, argument: Any = None) -> Any:
        """Run a function in the page that leaves its answer, and wait for it as for the page.

        Raises:
            GivenUpError: it took longer than the limit, or the page died.
        """
        self._said.forget()
        self.page.evaluate(
            f"(argument) => {{ setTimeout(async () => {{ let said;"
            f" try {{ said = {{ answer: await ({script})(argument) }}; }}"
            f" catch (error) {{ said = {{ error: String(error) }}; }}"
            f" console.debug('{SAID}' + JSON.stringify(said)); }}); }}",
            argument,
        )
        said = self._said.wait(self._limit, self._watch)
        if "error" in said:
            raise RuntimeError(f"The page's script failed: {said['error']}")
        return said["answer"]

    @property
    def memory(self) -> int:
        """The most bytes that the page's process had, until now."""
        self._watch.look()
        return self._watch.most


class _Said:
    """What a page says on its console, in lines that begin with :data:`SAID`."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._lines: list[str] = []
        self._crashed = False
        page.on("console", self._hear)
        page.on("crash", self._crash)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.text.startswith(SAID):
            self._lines.append(message.text.removeprefix(SAID))

    def _crash(self, page: Page) -> None:
        self._crashed = True

    def forget(self) -> None:
        self._lines.clear()

    def wait(self, limit: float, watch: _Watch) -> Any:
        """The next line, as JSON."""
        started = time.perf_counter()
        while not self._lines:
            waited = time.perf_counter() - started
            if watch.exceeded:
                raise GivenUpError(f"stopped at {watch.most / 1e9:.1f} GB", waited)
            if self._crashed:
                raise GivenUpError("the page crashed", waited)
            if waited > limit:
                raise GivenUpError(f"stopped at {limit:.0f} s", waited)
            try:
                self._page.wait_for_timeout(20)  # lets Playwright hear; the page does nothing
            except Error:
                if not watch.exceeded:
                    self._crashed = True
        return json.loads(self._lines[0])


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


def _settle(pids: Sequence[int], limit: float = 10.0) -> None:
    """Wait until a browser that has just started is idle, at most ``limit`` seconds.

    Chromium loads pages of its own (the address bar's popup among them) in its first second or
    two, on the cores that the page under test needs. Nobody opens a notebook in that second.
    """
    end = time.monotonic() + limit
    used = _cpu(pids)
    while time.monotonic() < end:
        time.sleep(0.25)
        now = _cpu(pids)
        if now - used < 0.02:
            return
        used = now


def _cpu(pids: Sequence[int]) -> float:
    """Seconds of processor time that these processes have taken."""
    seconds = 0.0
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            times = psutil.Process(pid).cpu_times()
            seconds += times.user + times.system
    return seconds


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
            f" console.debug('{SAID}' + performance.now()); }})); }}; setTimeout(look, 10); }})();"
        )
        said = _Said(page)
        cdp = browser.new_browser_cdp_session()
        processes = cdp.send("SystemInfo.getProcessInfo")["processInfo"]
        watch = _Watch([one["id"] for one in processes if one["type"] == "renderer"], memory)
        _settle([one["id"] for one in processes])
        page.goto(url, wait_until="commit", timeout=1000 * limit)
        milliseconds = said.wait(limit, watch)
        yield Visit(page, milliseconds / 1000, watch, limit, said)
    finally:
        if watch is not None:
            watch.stop()
        with contextlib.suppress(Error):
            browser.close()
