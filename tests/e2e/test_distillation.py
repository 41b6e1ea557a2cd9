"""The distillation panel in a notebook: set up, pause, look from elsewhere, resume, report."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Locator, expect

from tests.e2e.lab import Lab
from tests.e2e.notebook import WAIT, Notebook, code, part, write

LONG = 120_000
ROWS = """
from pathlib import Path
texts = ["a moving film", "a thin plot", "we loved it", "dull and long", "not bad at all"] * 6
rows = [{"text": f"{text} {i}", "label": 1 - i % 2} for i, text in enumerate(texts)]
"""
TEXT = "The plot is thin, but I was moved."


def fill(view: Locator, field: str, value: str) -> None:
    box = view.locator(f'[data-field="{field}"]').first
    box.fill(value)
    box.press("Tab")


def state(view: Locator, name: str) -> None:
    expect(part(view, "job")).to_have_attribute("data-state", name, timeout=LONG)


def test_from_the_form_through_pause_and_resume_to_the_report(
    lab: Lab, open_notebook: Callable[..., Notebook]
) -> None:
    # The report's timings and memory, by processes of their own, are test_report.py's.
    options = "--steps 40 --batch 4 --seconds 0 --every 8"
    cells = [
        code("%load_ext lmkit"),
        code(ROWS),
        code(f"%lm distillation {options}"),
        code("%lm distillation --text 'The plot is thin, but I was moved.'"),
    ]
    notebook = open_notebook(write(lab.root / "distillation.ipynb", cells))
    for index in range(3):
        notebook.run(index)
    view = notebook.view(2)

    # A field that does not fit is named, and nothing is started.
    fill(view, "train", "no-such-file.tsv")
    part(view, "run").click()
    expect(part(view, "error")).to_contain_text("Training texts", timeout=LONG)
    notebook.shot("distillation-error", notebook.cell(2))

    fill(view, "train", "rows")
    fill(view, "dev", "rows")
    fill(view, "text", TEXT)
    fill(view, "layers", "2")
    part(view, "run").click()
    state(view, "running")
    # The kernel is free while the run goes on.
    assert notebook.ask("1 + 1") == 2
    expect(view.locator('[data-lmkit="result-chart"]').first).to_be_visible(timeout=LONG)
    part(view, "job-pause").click()
    state(view, "paused")
    part(view, "job").evaluate("one => one.scrollIntoView()")
    notebook.shot("distillation-paused", notebook.cell(2))

    # Another look at the same folder, without pressing anything; its buttons work as well.
    notebook.run(3)
    other = notebook.view(3)
    state(other, "paused")
    expect(other.locator('[data-lmkit="result-chart"]').first).to_be_visible(timeout=WAIT)
    part(other, "job-stop").click()
    state(other, "stopped")
    state(view, "stopped")

    # After a restart of the kernel the curves are there again, and the run goes on.
    notebook.restart()
    notebook.run(0)
    notebook.run(3)
    other = notebook.view(3)
    state(other, "stopped")
    expect(other.locator('[data-lmkit="result-chart"]').first).to_be_visible(timeout=WAIT)
    part(other, "job-resume").click()
    state(other, "running")
    state(other, "finished")
    expect(other).to_contain_text("What was kept")
    notebook.shot("distillation-report", notebook.cell(3))

    # The explorer shows student minus teacher; Run on a finished folder starts nothing.
    expect(part(other, "picture")).to_be_visible(timeout=LONG)
    part(other, "run").click()
    expect(part(other, "picture")).to_be_visible(timeout=LONG)
    expect(part(other, "job")).to_have_attribute("data-state", "finished")
    other.locator('[data-lmkit="result-chart"]').first.evaluate("one => one.scrollIntoView()")
    notebook.shot("distillation-charts", notebook.cell(3))
    part(other, "picture").evaluate("one => one.scrollIntoView()")
    notebook.shot("distillation-attention", notebook.cell(3))
    notebook.js("await app.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'});")
    expect(notebook.page.locator('.lmkit[data-theme="dark"]').first).to_be_visible(timeout=WAIT)
    notebook.shot("distillation-dark-attention", notebook.cell(3))
    other.locator('[data-lmkit="result-chart"]').first.evaluate("one => one.scrollIntoView()")
    notebook.shot("distillation-dark", notebook.cell(3))

    # JupyterLab's side panel lists it.
    notebook.js("await app.commands.execute('lmkit:show-kernel');")
    side = notebook.page.locator("#lmkit-side-panel")
    job = side.locator('[data-lmkit="home-job"]')
    expect(job).to_contain_text("finished", timeout=WAIT)
    notebook.shot("distillation-side-panel")
    part(side, "open-job").click()
    found = notebook.js(
        "return panel.content.widgets.map((one) => one.model.sharedModel.getSource());"
    )
    assert "%lm distillation --folder runs/distilled" in found
