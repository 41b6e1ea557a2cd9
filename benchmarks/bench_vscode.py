"""What VS Code's extension costs: to become active, and a panel's first result with a warm server.

In the VS Code of the tests, with the built .vsix. Activation is measured in a fresh extension host
each time: the extension's own code (its modules, and ``activate``), and beside it all that passes
until VS Code has it active, which reads and compiles the file as well. The panel is that of
"lmkit: Analyse Selection" on a line of text: from the command until the labels are drawn, and
until the picture of the shown head is. Python runs already and the model is loaded. Then the same
command on another selection, which the open panel takes: until its labels have changed. The plain
forward pass of the same model and text, in such a Python, stands beside it, and what VS Code takes
for a webview that holds nothing.

The first panel of a browser profile and later ones are told apart: each webview of VS Code has a
service worker of its own, and where there was one before, Chromium dispatches ``activate`` to the
new one a second after it took its place; VS Code's document waits for that (seen in a trace of
both). Nothing in an extension can shorten it.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

ACTIVATIONS = 5
WINDOWS = 5
PANELS = 3
"""Panels in each of the windows, the first included."""
TASK, MODEL = "classification", "starter:sentiment"
TEXT = "The plot is thin, but I was moved."
THREADS = "2"
WAIT = 240.0

_DRAWN = """
(() => {
  const told = new Set();
  let labels = '';
  const tell = (name) => {
    // its frame is drawn by the next but one
    requestAnimationFrame(() => requestAnimationFrame(() => {
      console.log('lmkit-drawn ' + JSON.stringify({name, at: Date.now()}));
    }));
  };
  const look = () => {
    const root = document.querySelector('.lmkit-view')?.shadowRoot;
    const row = root?.querySelector('[data-lmkit="label-row"]')?.textContent ?? '';
    if (row && row !== labels) tell(labels ? 'again' : 'labels');
    labels = row || labels;
    if (!told.has('picture') &&
        root?.querySelector('[data-lmkit="picture"][data-state="ready"]')) {
      told.add('picture');
      tell('picture');
    }
    setTimeout(look, 8);
  };
  look();
})();
"""
"""Runs in every frame: a panel's page is new with each panel."""

_FORWARD = f"""
import statistics, time, torch
from lmkit.models import ModelStore
m = ModelStore(device="cpu").get({MODEL!r}, "AutoModelForSequenceClassification")
inputs = m.tokenizer({TEXT!r}, return_tensors="pt")
def once():
    began = time.perf_counter()
    with torch.no_grad():
        m.model(**inputs)
    return time.perf_counter() - began
once()
print(statistics.median(once() for _ in range(25)))
"""


def rows() -> dict[str, dict[str, Any]]:
    """Activation, the first result, and the forward pass."""
    from playwright.sync_api import sync_playwright

    from tests.e2e.chromium import find_chromium
    from tests.e2e.editor import ROOT, Editor, serve
    from tests.installed import interpreter

    measure = ROOT / "js" / "vscode" / "dist" / "host-measure.cjs"
    environment = {"OMP_NUM_THREADS": THREADS, "MKL_NUM_THREADS": THREADS, "HF_HUB_OFFLINE": "1"}

    def visit(browser: Any, editor: Editor, panels: int) -> tuple[list[Any], list[Any]]:
        """Run the measurements of one extension host; what it said, and what its page drew."""
        plan = {"panels": panels, "task": TASK, "model": MODEL}
        (editor.workspace / "measure.json").write_text(json.dumps(plan))
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        page = context.new_page()
        said: list[Any] = []
        drawn: list[Any] = []
        ended: list[int] = []

        def log(_: str, words: list[Any]) -> None:
            said.extend(json.loads(word) for word in map(str, words) if word.startswith("{"))

        def console(message: Any) -> None:
            mark, _, rest = message.text.partition(" ")
            if mark == "lmkit-drawn":
                drawn.append(json.loads(rest))

        page.expose_function("codeAutomationLog", log)
        page.expose_function("codeAutomationExit", lambda code: ended.append(code))
        page.on("console", console)
        page.add_init_script(_DRAWN)
        page.goto(editor.page(tests=measure))
        deadline = time.monotonic() + WAIT
        while not ended and time.monotonic() < deadline:
            page.wait_for_timeout(100)
        context.close()
        if ended != [0]:
            raise RuntimeError(f"VS Code's extension host did not end well: {said}")
        return said, drawn

    with tempfile.TemporaryDirectory() as made, sync_playwright() as playwright:
        folder = Path(made)
        (folder / "workspace").mkdir()
        (folder / "workspace" / "text.txt").write_text(TEXT)
        browser = playwright.chromium.launch(
            executable_path=find_chromium(), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        with serve(folder, environ=environment) as editor:
            hosts = [visit(browser, editor, 0)[0][0] for _ in range(ACTIVATIONS + 1)][1:]
            windows = [visit(browser, editor, PANELS) for _ in range(WINDOWS)]
        browser.close()
    forward = float(
        subprocess.run(
            [interpreter(), "-c", _FORWARD], env={**os.environ, **environment},
            capture_output=True, text=True, check=True,
        ).stdout
    )  # fmt: skip
    first = [_times(*window, "open", "labels")[0] for window in windows]
    later = [time for window in windows for time in _times(*window, "open", "labels")[1:]]
    picture = [_times(*window, "open", "picture")[0] for window in windows]
    changed = [time for window in windows for time in _times(*window, "again", "again")]
    empty = [one["took"] / 1_000 for said, _ in windows for one in said if one["type"] == "empty"]
    own = statistics.median(one["own"] for one in hosts)
    whole = statistics.median(one["whole"] for one in hosts)
    return {
        "vscode/activation, the extension's own work": _row(own, "ms", 100, ACTIVATIONS),
        "vscode/activation, until VS Code has it active": _row(whole, "ms", None, ACTIVATIONS),
        "vscode/panel's first result, warm server, MiniLM": _median(first, 1.0),
        "vscode/panel's first picture, warm server, MiniLM": _median(picture),
        "vscode/a later panel's first result": _median(later, 1.0),
        "vscode/an empty webview, not the first": _median(empty),
        "vscode/a selection's result in a panel that is open": _median(changed, 1.0),
        "vscode/plain forward pass of MiniLM": _row(forward, "s", None, 25),
        "vscode/first result over the plain forward pass": _row(
            statistics.median(first) / forward, "x", None, len(first)
        ),
        "vscode/a later panel's first result over an empty webview": _row(
            statistics.median(later) / statistics.median(empty), "x", None, len(later)
        ),
    }


def _times(said: list[Any], drawn: list[Any], began: str, name: str) -> list[float]:
    """Seconds from each such beginning in a window to the next drawing of this name."""
    found = sorted(one["at"] for one in drawn if one["name"] == name)
    begun = [one["at"] for one in said if one["type"] == began]
    return [(next(moment for moment in found if moment >= at) - at) / 1_000 for at in begun]


def _median(times: list[float], goal: float | None = None) -> dict[str, Any]:
    return _row(statistics.median(times), "s", goal, len(times))


def _row(value: float, unit: str, goal: float | None, runs: int) -> dict[str, Any]:
    return {"value": value, "unit": unit, "goal": goal, "better": "lower", "runs": runs}
