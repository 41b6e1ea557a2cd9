"""marimo shows the panel and the explorer from the Python call, and both act on its kernel."""

from __future__ import annotations

import ast
import contextlib
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.conftest import ARTIFACTS
from tests.e2e.lab import Lab, free_port
from tests.e2e.notebook import Watch, part
from tests.e2e.picture import coloured
from tests.installed import interpreter
from tests.tiny import tiny_bert

TEXT = "the plot is thin, but i was moved."
NOTEBOOK = """
import marimo

app = marimo.App()


@app.cell
def _():
    import json
    import lmkit
    import marimo as mo

    kit = lmkit.load({model!r})
    return json, kit, lmkit, mo


@app.cell
def _(kit):
    r = kit.classify({text!r})
    r
    return (r,)


@app.cell
def _(kit):
    e = kit.explore({text!r})
    e
    return (e,)


@app.cell
def _(mo):
    question = mo.ui.text(label="question", full_width=True)
    question
    return (question,)


@app.cell
def _(e, json, mo, question, r):
    # ends with the question, so that an answer to an earlier one is never taken for it
    mo.plain_text(
        json.dumps(repr(eval(question.value or "None"))) + " answers " + question.value
    )
    return


if __name__ == "__main__":
    app.run()
"""


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("marimo")
    model = tiny_bert(folder / "bert")
    file = folder / "panel.py"
    file.write_text(NOTEBOOK.format(model=str(model), text=TEXT))
    return file


@contextlib.contextmanager
def serve(notebook: Path, verb: str, folder: Path) -> Iterator[Lab]:
    """``marimo edit`` or ``marimo run`` on a notebook, until the block ends."""
    port = free_port()
    log = folder / "server.log"
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1",
        "XDG_CONFIG_HOME": str(folder / "config"), "XDG_STATE_HOME": str(folder / "state"),
        "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")),
    }  # fmt: skip
    command = [
        str(interpreter()), "-m", "marimo", "--quiet", verb, str(notebook), "--headless",
        "--no-token", "--host", "127.0.0.1", "--port", str(port),
        *(["--skip-update-check"] if verb == "edit" else []),
    ]  # fmt: skip
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env=environment, cwd=folder,
            start_new_session=True,
        )  # fmt: skip
    server = Lab(f"http://127.0.0.1:{port}", notebook.parent, process, log)
    try:
        deadline = time.monotonic() + 90
        while True:
            with contextlib.suppress(urllib.error.URLError, OSError):
                urllib.request.urlopen(f"{server.url}/health", timeout=5).close()
                break
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield server
    finally:
        server.stop()


def ask(page: Page, expression: str) -> object:
    """The value of a Python expression in marimo's kernel."""
    box = page.get_by_label("question")
    box.fill(expression)
    box.press("Enter")
    answer = page.get_by_text(f" answers {expression}").last
    expect(answer).to_be_visible(timeout=30_000)
    text = answer.inner_text().removesuffix(f" answers {expression}")
    return ast.literal_eval(ast.literal_eval(text.strip()))


def scores(view: Locator) -> dict[str, float]:
    rows = [row.inner_text().split() for row in view.locator('[data-lmkit="label-row"]').all()]
    return {words[-2]: float(words[-1]) for words in rows}


def choose(view: Locator, layer: int, head: int) -> None:
    view.locator(f'[data-lmkit="cell"][data-layer="{layer}"][data-head="{head}"]').click()
    expect(part(view, "layer-number")).to_have_text(str(layer))
    expect(part(view, "head-number")).to_have_text(str(head))
    expect(part(view, "picture")).to_have_attribute("data-state", "ready")


@pytest.mark.parametrize("verb", ["edit", "run"])
def test_panel_and_explorer_from_the_python_call(
    page: Page, notebook: Path, tmp_path: Path, verb: str
) -> None:
    with serve(notebook, verb, tmp_path) as server:
        watch = Watch(page)
        page.goto(server.url)
        views = page.locator('[data-lmkit="view"]')
        if verb == "edit":  # an editor runs nothing by itself; "run" does
            expect(page.locator(".cm-editor").first).to_be_visible(timeout=90_000)
            page.get_by_test_id("run-button").last.wait_for()
            for _ in range(10):  # a key that comes before the page has its session is lost
                page.keyboard.press("Control+Shift+r")
                with contextlib.suppress(AssertionError):
                    expect(page.locator('[data-status="running"]').or_(views).first).to_be_visible(
                        timeout=10_000
                    )
                    break
        expect(views).to_have_count(2, timeout=150_000)
        panel, explorer = views.nth(0), views.nth(1)
        for view in (panel, explorer):
            expect(part(view, "badge")).to_have_attribute("data-state", "live", timeout=30_000)

        # values drawn are Python's
        labels = "{one.label: round(one.score, 3) for one in r.panel.result.scores}"
        assert scores(panel) == ask(page, labels)
        choose(panel, 1, 2)
        coloured(part(panel, "picture-canvas"))
        panel.locator('[data-lmkit="token"]').nth(3).click()
        largest = ask(page, "float(r.attention[1, 2][3].max())")
        expect(part(panel, "sentence-item")).to_contain_text(f"{largest:#.3g}")
        choose(explorer, 0, 3)
        page.screenshot(path=ARTIFACTS / f"marimo-{verb}.png", full_page=True)

        # Python has received what was clicked, each view its own
        assert ask(page, "(r.panel.selection.layer, r.panel.selection.head)") == (1, 2)
        chosen = "(e._shown.view.selection.layer, e._shown.view.selection.head)"
        assert ask(page, chosen) == (0, 3)

        # a text typed and run: Python has it, and the page what Python made of it
        field = panel.locator('[data-lmkit="field"][data-field="text"]').first
        field.fill("a moved plot")
        part(panel, "run").click()
        expect(panel.locator('[data-lmkit="token"]')).to_have_count(5, timeout=30_000)
        assert ask(page, "(r.panel.text, r.panel.state)") == ("a moved plot", "done")
        assert scores(panel) == ask(page, labels)

        assert watch.left_for(server.url.removeprefix("http://")) == []
        assert watch.errors == []
