"""Drives one notebook in a page: cells, kernel, lmkit's views, and what left the page."""

from __future__ import annotations

import ast
import contextlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import nbformat
from playwright.sync_api import Error, Locator, Page, Request, expect

__all__ = ["MIME", "WITHOUT_LMKIT", "Notebook", "Watch", "code", "markdown", "write"]

MIME = "application/vnd.lmkit.view.v1+json"
WAIT = 60_000
"""Milliseconds; a busy machine with two cores is slow to start kernels and read models."""

WITHOUT_LMKIT = """\
import sys, importlib.abc
finders = list(sys.meta_path)
class Only(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] == 'lmkit': return None
        for one in finders:
            found = one.find_spec(name, path, target)
            if found: return found
sys.meta_path[:] = [Only()]
"""
"""Makes of a kernel one whose environment has no lmkit: its finders know none."""
_PANEL = """
const app = window.jupyterapp ?? window.jupyterlab;
const panel = [...app.shell.widgets('main')].find(
    (one) => one.content?.widgets && one.sessionContext);
"""


def code(source: str) -> Any:
    """A code cell."""
    return nbformat.v4.new_code_cell(source)


def markdown(source: str) -> Any:
    """A Markdown cell."""
    return nbformat.v4.new_markdown_cell(source)


def write(path: Path, cells: Sequence[Any]) -> str:
    """Write a notebook; returns its name."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=list(cells), metadata={"kernelspec": kernel})
    nbformat.write(notebook, path)
    return path.name


class Watch:
    """What a page did that nobody sees: requests, dialogs, errors."""

    def __init__(self, page: Page) -> None:
        self.requests: list[str] = []
        self.failed: list[str] = []
        self.dialogs: list[str] = []
        self.errors: list[str] = []
        page.on("request", self._request)
        page.on("requestfailed", lambda request: self.failed.append(request.url))
        page.on("dialog", self._dialog)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _request(self, request: Request) -> None:
        self.requests.append(request.url)

    def _dialog(self, dialog: Any) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def left_for(self, *allowed: str) -> list[str]:
        """Addresses asked that are of none of the allowed hosts (``127.0.0.1:8888``)."""
        strangers = []
        for url in self.requests:
            parts = urlsplit(url)
            if parts.scheme in ("http", "https", "ws", "wss") and parts.netloc not in allowed:
                strangers.append(url)
        return strangers


class Notebook:
    """One notebook open in JupyterLab or Notebook 7."""

    def __init__(self, page: Page, artifacts: Path) -> None:
        self.page = page
        self.watch = Watch(page)
        self._artifacts = artifacts

    def js(self, body: str, argument: Any = None) -> Any:
        """Run JavaScript with ``app``, the notebook's ``panel`` and ``argument`` at hand."""
        return self.page.evaluate(f"async (argument) => {{ {_PANEL} {body} }}", argument)

    def until(self, condition: str, argument: Any = None, *, timeout: int = WAIT) -> None:
        """Wait until JavaScript with the same names gives something true."""
        self.page.wait_for_function(
            f"(argument) => {{ {_PANEL} {condition} }}", arg=argument, timeout=timeout
        )

    # -- opening ----------------------------------------------------------------------------------

    def open(self, url: str, *, kernel: bool = True) -> None:
        """Open a notebook and wait until it is there, and its kernel too."""
        self.page.goto(url)
        self.ready(kernel=kernel)

    def ready(self, *, kernel: bool = True) -> None:
        """Wait for the notebook, as after a reload."""
        self.page.wait_for_function("() => window.jupyterapp !== undefined", timeout=WAIT)
        self.until("return panel?.content.model?.cells.length > 0;")
        if kernel:
            self.js("await panel.sessionContext.ready;")
            self.until(
                """const kernel = panel.sessionContext.session?.kernel;
                return kernel?.connectionStatus === 'connected' && kernel.status === 'idle';"""
            )

    def reload(self) -> None:
        """Load the page again, as a person does."""
        self.page.reload()
        self.ready()

    def close(self) -> None:
        """Shut the kernel down: a test's models need not stay in memory."""
        self.js("await panel?.sessionContext.shutdown();")

    # -- cells ------------------------------------------------------------------------------------

    def cell(self, index: int) -> Locator:
        """A cell, brought into sight: JupyterLab takes distant ones out of the page."""
        self.js(
            """panel.content.activeCellIndex = argument;
            await panel.content.scrollToItem(argument, 'start');""",
            index,
        )
        found = self.page.locator(f'.jp-Cell[data-windowed-list-index="{index}"]')
        expect(found).to_be_attached(timeout=WAIT)
        return found

    def run(self, index: int) -> None:
        """Run a cell and wait for its end."""
        self.start(index)
        self.finished(index)

    def start(self, index: int) -> None:
        """Run a cell and wait until the kernel has begun with it."""
        self.js(
            """panel.content.widgets[argument].model.executionCount = null;
            panel.content.activeCellIndex = argument;
            void app.commands.execute('notebook:run-cell');""",
            index,
        )
        self.until(
            """const cell = panel.content.widgets[argument].model;
            return cell.executionState === 'running' || cell.executionCount !== null;""",
            index,
        )

    def finished(self, *indexes: int) -> None:
        """Wait until cells have ended."""
        self.until(
            """return argument.every((index) => {
                const cell = panel.content.widgets[index].model;
                return cell.executionState === 'idle' && cell.executionCount !== null;
            });""",
            list(indexes),
            timeout=3 * WAIT,
        )

    def run_all(self) -> None:
        """Run all cells, one after another as JupyterLab does, and wait for the last."""
        count = self.js(
            """void app.commands.execute('notebook:run-all-cells');
            return panel.content.widgets
                .map((cell, index) => (cell.model.type === 'code' ? index : -1))
                .filter((index) => index >= 0);"""
        )
        self.finished(*count)

    def outputs(self, index: int) -> list[dict[str, Any]]:
        """A cell's outputs as they would be saved."""
        found: list[dict[str, Any]] = self.js(
            "return panel.content.widgets[argument].model.outputs.toJSON();", index
        )
        return found

    def lasting_outputs(self, index: int) -> list[dict[str, Any]]:
        """As ``outputs``, without the progress bar of a slow machine, come and gone on stderr."""
        return [one for one in self.outputs(index) if one.get("name") != "stderr"]

    def bundle(self, index: int) -> dict[str, Any]:
        """The saved data of a cell's view."""
        for output in self.outputs(index):
            if MIME in output.get("data", {}):
                data: dict[str, Any] = output["data"][MIME]
                return data
        raise AssertionError(f"Cell {index} holds no view: {json.dumps(self.outputs(index))[:800]}")

    def save(self) -> None:
        """Save the notebook."""
        self.js("await panel.context.save();")

    # -- kernel -----------------------------------------------------------------------------------

    def ask(self, expression: str) -> Any:
        """The value of a Python expression in the notebook's kernel."""
        answer = self.js(
            """const future = panel.sessionContext.session.kernel.requestExecute({
                code: '', silent: true, store_history: false,
                user_expressions: { value: argument },
            });
            return (await future.done).content.user_expressions.value;""",
            expression,
        )
        assert answer["status"] == "ok", answer
        return ast.literal_eval(answer["data"]["text/plain"])

    def hears(self, expression: str, wanted: Any) -> None:
        """Wait until an expression has this value: pages tell a moment after a choice is made."""
        end = time.monotonic() + WAIT / 1_000
        while (value := self.ask(expression)) != wanted:
            assert time.monotonic() < end, f"{expression} is {value!r}, not {wanted!r}"
            self.page.wait_for_timeout(100)

    def execute(self, source: str) -> None:
        """Run statements in the kernel, off every cell."""
        status = self.js(
            """const future = panel.sessionContext.session.kernel.requestExecute({
                code: argument, silent: false, store_history: false, stop_on_error: false,
            });
            return (await future.done).content;""",
            source,
        )
        assert status["status"] == "ok", status

    def view_in_kernel(self, index: int) -> str:
        """A Python expression for the kernel's state of a cell's view."""
        view = self.bundle(index)["live"]["view"]
        module = "__import__('lmkit.kernel_session').kernel_session"
        return f"{module}.current_session().views.view({view!r})"

    def restart(self) -> None:
        """Restart the kernel without asking."""
        self.js("await panel.sessionContext.session.kernel.restart();")
        self.ready()

    def interrupt(self) -> None:
        """Interrupt the kernel."""
        self.js("await panel.sessionContext.session.kernel.interrupt();")

    def running(self, index: int) -> bool:
        """Whether a cell computes now. (The kernel's own status speaks for its subshells too.)"""
        return bool(
            self.js(
                "return panel.content.widgets[argument].model.executionState === 'running';", index
            )
        )

    # -- views ------------------------------------------------------------------------------------

    def view(self, index: int, *, state: str = "live") -> Locator:
        """lmkit's view in a cell, when its badge says ``state``."""
        cell = self.cell(index)
        view = cell.locator('[data-lmkit="view"]').first
        # The notebook guesses the heights of cells that it has not laid out: what it scrolled to
        # may lie below the window when the cells above have come to theirs. One scrolls on, then.
        for _ in range(WAIT // 1_000):
            with contextlib.suppress(Error):
                view.wait_for(timeout=1_000)
                break
            with contextlib.suppress(Error):
                cell.scroll_into_view_if_needed(timeout=1_000)
        expect(part(view, "badge")).to_have_attribute("data-state", state, timeout=WAIT)
        return view

    def shot(self, name: str, where: Locator | None = None) -> None:
        """Keep a picture of the page, or of an element, as an artifact."""
        self._artifacts.mkdir(parents=True, exist_ok=True)
        path = self._artifacts / f"{name}.png"
        if where is None:
            self.page.screenshot(path=path)
        else:
            where.screenshot(path=path)


def part(view: Locator, name: str) -> Locator:
    """A named part of a view."""
    return view.locator(f'[data-lmkit="{name}"]').first
