"""A live panel in the widget manager of VS Code's Jupyter extension, over a real kernel."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.e2e.conftest import ARTIFACTS
from tests.e2e.lab import Lab
from tests.e2e.notebook import MIME, WAIT, Watch, part

BUILT = Path(sys.prefix) / "widget-manager"
SCRIPTS = Path(sys.prefix) / "share" / "jupyter" / "nbextensions"
HTML = (
    '<!doctype html><meta charset="utf-8"><body class="vscode-light"><div id="out"></div>'
    '<script src="/lmkit-test/require.js"></script><script src="/lmkit-test/page.js"></script>'
)
PANEL = """
from IPython.display import display
import lmkit
kit = lmkit.load("starter:sentiment")
panel = kit.panel("classification", "the plot is thin")
heard = []
panel.observe(lambda change: heard.append(change.new), "text")
display(panel)
"""


@pytest.fixture
def editor(browser: Browser, lab: Lab) -> Iterator[Page]:
    """A page with the widget manager and a kernel; at the end nothing broke or left the machine."""
    assert (BUILT / "page.js").is_file(), "Run `make .venv/.widget-manager`: the page is missing."
    # The server's own policy for its API's answers allows no script.
    context = browser.new_context(bypass_csp=True, viewport={"width": 1280, "height": 900})
    try:
        page = context.new_page()
        watch = Watch(page)
        wrong: list[str] = []  # the widget manager only writes to the console what went wrong
        page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        _serve_scripts(page, lab)
        context.request.get(f"{lab.url}/lab")  # its cookie lets the page start a kernel
        # A document of the server itself: Chromium lets no other open a socket to this machine.
        page.goto(f"{lab.url}/api/status")
        page.set_content(HTML)
        page.evaluate("([base, ms]) => start(base, ms)", [lab.url, WAIT])
        yield page
        page.evaluate("editor.stop()")
        assert watch.left_for(lab.url.removeprefix("http://")) == []
        assert watch.errors == []
        assert wrong == []
    finally:
        context.close()


def _serve_scripts(page: Page, lab: Lab) -> None:
    """Answer for what VS Code serves to its webview: its own scripts, and nbextensions."""
    files = {"page.js": BUILT / "page.js", "require.js": BUILT / "requirejs" / "require.js"}

    def script(route: Route) -> None:
        path = route.request.url.removeprefix(f"{lab.url}/")
        folder, _, name = path.partition("/")
        file = files.get(name) if folder == "lmkit-test" else SCRIPTS / name
        if file is None or not file.is_file():
            route.fulfill(status=404, body=path)
        else:
            route.fulfill(content_type="text/javascript", body=file.read_bytes())

    page.route(f"{lab.url}/lmkit-test/**", script)
    page.route(f"{lab.url}/nbextensions/**", script)


def run(page: Page, source: str) -> dict[str, Any]:
    """Run code in the kernel and wait for its end; an exception in it fails the test."""
    answer: dict[str, Any] = page.evaluate("source => editor.run(source)", source)
    assert answer["error"] == ""
    return answer


def python(page: Page, expression: str) -> str:
    """What an expression is in the kernel, as text."""
    text: str = run(page, f"print({expression})")["text"]
    return text.strip()


def until(page: Page, expression: str, text: str) -> None:
    """Wait for an expression of the kernel: a view tells it what was chosen after it shows it."""
    deadline = time.monotonic() + WAIT / 1000
    while (found := python(page, expression)) != text:
        assert time.monotonic() < deadline, f"{expression} is {found}, not {text}"


def test_a_panel_runs_in_the_manager_and_python_hears_it(editor: Page) -> None:
    shown = run(editor, PANEL)
    assert MIME in shown["mimes"], shown["mimes"]
    editor.evaluate("view => editor.show(view)", shown["view"])
    view = editor.locator(".shown")
    box = view.locator('[data-lmkit="field"][data-field="text"]')
    expect(box).to_have_value("the plot is thin", timeout=WAIT)

    # From the view to Python: what was typed, the run, and the head that was opened.
    box.fill("a film that moves you")
    part(view, "run").click()
    expect(view.locator('[data-lmkit="label-row"]')).to_have_count(2, timeout=WAIT)
    assert python(editor, "heard[-1]") == "a film that moves you"
    row = view.locator('[data-lmkit="label-row"]').first
    expect(row).to_contain_text(python(editor, "panel.result.scores[0].label"))
    expect(view.locator('[data-lmkit="cell"]')).to_have_count(72)
    view.locator('[data-lmkit="cell"][data-layer="2"][data-head="5"]').click()
    expect(part(view, "picture")).to_have_attribute("data-state", "ready")
    expect(part(view, "head-number")).to_have_text("5")
    until(editor, "(panel.selection.layer, panel.selection.head)", "(2, 5)")

    # From Python to the view.
    run(editor, "panel.text = 'dull and slow'")
    expect(box).to_have_value("dull and slow")
    editor.screenshot(path=ARTIFACTS / "vscode-widget-manager.png", full_page=True)
