"""What many outputs cost: opening a saved notebook of sixty over opening one of a single output.

The time is from the address to the first view that is drawn, in a real JupyterLab in a real
browser, each notebook in turn; without lmkit's views being made as they come into sight, all sixty
would be drawn first.
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
            browser.close()
    one, many = (statistics.median(times[count]) for count in COUNTS)
    return {
        "outputs/first view of a saved notebook, 1 output": _row(one, "s", None, RUNS),
        "outputs/first view of a saved notebook, 60 outputs": _row(many, "s", None, RUNS),
        "outputs/60 outputs over 1": _row(many / one, "x", 2.0, RUNS),
        "outputs/views made of 60 before one scrolls": _row(made, "views", 6, 1),
    }


def _row(value: float, unit: str, goal: float | None, runs: int) -> dict[str, Any]:
    return {"value": value, "unit": unit, "goal": goal, "better": "lower", "runs": runs}
