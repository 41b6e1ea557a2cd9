"""What many outputs cost: opening a saved notebook of sixty over opening one of a single output.

The time is from the address to the first view that is drawn, in a real JupyterLab in a real
browser, each notebook in turn; without lmkit's views being made as they come into sight, all sixty
would be drawn first. In VS Code it is from the double click on the file, and the views are counted
once VS Code, being idle, has handed over all outputs.
"""

from __future__ import annotations

import copy
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

RUNS = 3
COUNTS = (1, 60)
TEXT = "The plot is thin, but I was moved."


def rows() -> dict[str, dict[str, Any]]:
    """Time of the first view for both, their ratio, and how many views were made."""
    import nbformat
    from playwright.sync_api import expect, sync_playwright

    import lmkit
    from tests.e2e.chromium import find_chromium
    from tests.e2e.lab import serve
    from tests.e2e.notebook import Notebook, part

    analysis = lmkit.load("starter:sentiment").run("classification", text=TEXT)
    forms, _ = analysis.panel._repr_mimebundle_()
    times: dict[int, list[float]] = {count: [] for count in COUNTS}
    made = 0
    with tempfile.TemporaryDirectory() as folder, serve(Path(folder)) as lab:
        for count in COUNTS:
            cells = []
            for number in range(count):
                cell = nbformat.v4.new_code_cell(f"r{number}", execution_count=number + 1)
                output = nbformat.v4.new_output("display_data", data=copy.deepcopy(forms))
                cell.outputs = [output]
                cells.append(cell)
            file = lab.root / f"outputs-{count}.ipynb"
            nbformat.write(nbformat.v4.new_notebook(cells=cells), file)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=find_chromium(), args=["--no-sandbox", "--disable-dev-shm-usage"]
            )
            for turn in range(RUNS + 1):
                for count in COUNTS:
                    context = browser.new_context(viewport={"width": 1280, "height": 900})
                    notebook = Notebook(context.new_page(), Path(folder) / "shots")
                    started = time.perf_counter()
                    notebook.open(lab.page(f"outputs-{count}.ipynb"), kernel=False)
                    view = notebook.page.locator('[data-lmkit="view"]').first
                    expect(part(view, "picture")).to_have_attribute(
                        "data-state", "ready", timeout=60_000
                    )
                    if turn:  # the first turn fills the server's caches
                        times[count].append(time.perf_counter() - started)
                    made = notebook.page.locator('[data-lmkit="view"]').count()
                    notebook.close()
                    context.close()
            vscode, drawn = _in_vscode(browser, forms)
            browser.close()
    one, many = (statistics.median(times[count]) for count in COUNTS)
    return {
        "outputs/first view of a saved notebook, 1 output": _row(one, "s", None, RUNS),
        "outputs/first view of a saved notebook, 60 outputs": _row(many, "s", None, RUNS),
        "outputs/60 outputs over 1": _row(many / one, "x", 2.0, RUNS),
        "outputs/views made of 60 before one scrolls": _row(made, "views", 6, 1),
        "outputs/VS Code, 60 outputs over 1": _row(vscode, "x", 2.0, RUNS),
        "outputs/VS Code, views made of 60 before one scrolls": _row(drawn, "views", 15, 1),
    }


def _in_vscode(browser: Any, forms: dict[str, Any]) -> tuple[float, int]:
    """How much longer sixty outputs take to open than one, and how many views were made of them."""
    from playwright.sync_api import expect

    from lmkit.protocol.codec import MIME
    from tests.e2e.editor import Workbench, saved_notebook, serve
    from tests.e2e.notebook import part

    times: dict[int, list[float]] = {count: [] for count in COUNTS}
    made = 0
    for turn in range(RUNS):
        for count in COUNTS:
            with tempfile.TemporaryDirectory() as folder, serve(Path(folder)) as editor:
                saved = saved_notebook(*[forms[MIME]] * count)
                (editor.workspace / "outputs.ipynb").write_text(saved)
                context = browser.new_context(viewport={"width": 1280, "height": 900})
                workbench = Workbench(context.new_page(), editor)
                started = time.perf_counter()
                workbench.open("outputs.ipynb")
                frame = workbench.frame('[data-lmkit="view"]')
                view = frame.locator('[data-lmkit="view"]').first
                expect(part(view, "picture")).to_have_attribute(
                    "data-state", "ready", timeout=60_000
                )
                times[count].append(time.perf_counter() - started)
                if turn == RUNS - 1 and count == COUNTS[-1]:
                    handed = frame.locator(".output_container")
                    expect(handed).to_have_count(count, timeout=60_000)
                    made = frame.locator('[data-lmkit="view"]').count()
                context.close()
    one, many = (statistics.median(times[count]) for count in COUNTS)
    return many / one, made


def _row(value: float, unit: str, goal: float | None, runs: int) -> dict[str, Any]:
    return {"value": value, "unit": unit, "goal": goal, "better": "lower", "runs": runs}
