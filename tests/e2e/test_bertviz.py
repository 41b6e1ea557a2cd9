"""BertViz's views where people meet them: chosen in the explorer of a notebook, offline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import expect

from tests.e2e.lab import Lab
from tests.e2e.notebook import Notebook, code, part, write
from tests.tiny import tiny_bert

TEXT = "the plot is thin, but i was moved."


def test_bertvizs_views_are_drawn_in_a_notebook(
    lab: Lab, tmp_path: Path, open_notebook: Callable[..., Notebook]
) -> None:
    cells = [
        code("%load_ext lmkit"),
        code(f"import lmkit\nr = lmkit.load({str(tiny_bert(tmp_path))!r}).classify({TEXT!r})\nr"),
    ]
    notebook = open_notebook(write(lab.root / "bertviz.ipynb", cells))
    notebook.run_all()
    view = notebook.view(1)
    frame = view.frame_locator('iframe[data-lmkit="page"]')
    tokens = int(notebook.ask("len(r.attention.tokens)"))
    for name, lines in (
        ("bertviz-head", 4 * tokens**2),
        ("bertviz-model", 8 * tokens**2),
        ("bertviz-neuron", 4 * tokens**2 + tokens),
    ):
        part(view, "views").select_option(name)
        # Each page replaces the one before: only its own has so many lines.
        expect(frame.locator("#vis line")).to_have_count(lines, timeout=30_000)
        expect(frame.locator("#problem")).to_be_empty()
        if name != "bertviz-model":  # whose small pictures have no tokens beside them
            expect(frame.locator("#vis text", has_text="moved").first).to_be_attached()
        notebook.shot(name, notebook.cell(1))
    part(view, "views").select_option("bertviz-head")
    expect(frame.locator("#layer option")).to_have_text(["0"], timeout=30_000)
    part(view, "layer-next").click()
    expect(frame.locator("#layer option")).to_have_text(["1"], timeout=30_000)
