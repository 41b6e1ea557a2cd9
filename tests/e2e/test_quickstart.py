"""The main job, once through: the tour of the quickstart in a real JupyterLab."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import nbformat
import numpy as np
import pytest
from playwright.sync_api import Locator, expect

from tests.e2e.lab import Lab
from tests.e2e.notebook import Notebook, part
from tests.e2e.picture import coloured, map_of

QUICKSTART = Path(__file__).parents[2] / "notebooks" / "quickstart.ipynb"
HOME, MAGIC, ANALYSIS, PANELS, OWN, PLUGIN = 3, 5, 12, 18, 20, 23
"""Cells of the quickstart."""


@pytest.fixture
def tour(lab: Lab, open_notebook: Callable[..., Notebook]) -> Notebook:
    """The quickstart without its outputs, run to its end."""
    source = nbformat.read(QUICKSTART, as_version=4)
    for cell in source.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(source, lab.root / "tour.ipynb")
    notebook = open_notebook("tour.ipynb")
    notebook.run_all()
    return notebook


def head(view: Locator, layer: int, head: int) -> Locator:
    return view.locator(f'[data-lmkit="cell"][data-layer="{layer}"][data-head="{head}"]')


def shown(view: Locator) -> tuple[str, str]:
    return part(view, "layer-number").inner_text(), part(view, "head-number").inner_text()


def choice(notebook: Notebook, index: int) -> tuple[int, int]:
    """Layer and head that the kernel has heard of."""
    selection = notebook.view_in_kernel(index) + ".selection"
    found: tuple[int, int] = notebook.ask(f"({selection}.layer, {selection}.head)")
    return found


def eventually(notebook: Notebook, ask: Callable[[], object], wanted: object) -> None:
    """The kernel hears of a choice a moment after it was made."""
    for _ in range(100):
        if ask() == wanted:
            return
        notebook.page.wait_for_timeout(100)
    assert ask() == wanted


def test_the_tour(tour: Notebook) -> None:
    for index in (HOME, MAGIC, ANALYSIS):
        forms = [list(output.get("data", ())) for output in tour.lasting_outputs(index)]
        assert forms == [
            [
                "application/vnd.jupyter.widget-view+json",
                "application/vnd.lmkit.view.v1+json",
                "text/html",
                "image/png",
                "text/plain",
            ]
        ]

    # -- the home panel says what there is
    home = tour.view(HOME)
    tour.shot("quickstart-home", tour.cell(HOME))
    expect(part(home, "home-plugins")).to_contain_text("classification")
    expect(part(home, "home-starters")).to_contain_text("starter:sentiment")
    expect(part(home, "home-models")).to_contain_text("starter:sentiment")

    # -- the panel shows what the kernel holds
    view = tour.view(MAGIC)
    tour.shot("quickstart-panel", tour.cell(MAGIC))
    kernel = tour.view_in_kernel(MAGIC)
    scores = tour.ask(f"[(s.label, s.score) for s in {kernel}.outcome.results[0].scores]")
    rows = view.locator('[data-lmkit="label-row"]')
    assert rows.count() == len(scores) == 2
    for row, (label, score) in zip(rows.all(), scores, strict=True):
        said = f"{label} {float(f'{score:.3g}'):.3g}"
        assert str(row.get_attribute("aria-label")).split(", given")[0] == said
    tokens = tour.ask(f"[t.text for t in {kernel}.outcome.trace.tokens]")
    assert view.locator('[data-lmkit="token"] bdi').all_inner_texts() == tokens
    assert view.locator('[data-lmkit="cell"]').count() == 72

    # -- a click on a thumbnail opens that head, and the kernel knows
    thumbs = view.locator(".grid-row canvas").all()
    assert len(thumbs) == 6
    for one in thumbs:
        coloured(one, 20)
    head(view, 2, 5).click()
    expect(head(view, 2, 5)).to_have_attribute("aria-selected", "true")
    assert shown(view) == ("2", "5")
    eventually(tour, lambda: choice(tour, MAGIC), (2, 5))
    expect(part(view, "picture-canvas")).to_be_visible()
    tour.shot("quickstart-arcs", tour.cell(MAGIC))

    # -- the map has the colours of the kernel's numbers
    part(view, "picture").focus()
    tour.page.keyboard.press("2")
    expect(part(view, "tab-map")).to_have_attribute("aria-selected", "true")
    first = the_map_is_true(tour, view, 2, 5)
    tour.shot("quickstart-map", tour.cell(MAGIC))

    # -- the next head by keyboard: another picture, again the kernel's numbers
    part(view, "picture").focus()
    tour.page.keyboard.press(".")
    assert shown(view) == ("2", "6")
    eventually(tour, lambda: choice(tour, MAGIC), (2, 6))
    second = the_map_is_true(tour, view, 2, 6)
    assert not np.array_equal(first, second)
    tour.page.keyboard.press("[")
    assert shown(view) == ("1", "6")
    eventually(tour, lambda: choice(tour, MAGIC), (1, 6))

    # -- a token is held, and its sentence gives the kernel's numbers
    view.locator('[data-lmkit="token"]').nth(9).click()
    eventually(tour, lambda: tour.ask(f"{kernel}.selection.tokens"), (9,))
    weights = np.array(tour.ask(f"{kernel}.outcome.trace.attention(1, 6)[9].tolist()"))
    best = int(weights.argmax())
    expect(part(view, "sentence")).to_contain_text("attends to")
    expect(part(view, "sentence-item")).to_contain_text(tokens[best])
    expect(part(view, "sentence-item")).to_contain_text(f"{weights[best]:.3g}")
    tour.shot("quickstart-token", tour.cell(MAGIC))

    # -- edit, Run: the kernel ran the new text, and the panel shows the new labels
    before = rows.all_inner_texts()
    box = view.locator('[data-lmkit="field"][data-field="text"]')
    box.fill("A warm and funny film.")
    part(view, "run").click()
    expect(view.locator('[data-lmkit="token"] bdi')).to_have_text(
        ["[CLS]", "a", "warm", "and", "funny", "film", ".", "[SEP]"]
    )
    assert rows.all_inner_texts() != before
    assert tour.ask(f"{kernel}.values['text']") == "A warm and funny film."
    assert tour.ask(f"{kernel}.outcome.trace.text") == "A warm and funny film."
    label = tour.ask(f"{kernel}.outcome.results[0].scores[0].label")
    expect(rows.first).to_contain_text(label)
    tour.shot("quickstart-rerun", tour.cell(MAGIC))

    # -- the plain ipywidgets act on the kernel: the plugin's own panel, and the bound fields
    cell = tour.cell(PLUGIN)
    expect(cell.locator("textarea")).to_be_visible()
    cell.locator("textarea").fill("A storm came, and the storm took the roof")
    expect(cell.locator(".widget-label").last).to_contain_text("storm")
    tour.shot("quickstart-plugin", cell)


def the_map_is_true(notebook: Notebook, view: Locator, layer: int, head: int) -> np.ndarray:
    """Every cell's colour, read by the legend, is the kernel's number. Returns the picture."""
    expect(part(view, "picture")).to_have_attribute(
        "aria-label", re.compile(f"Layer {layer}, head {head}")
    )
    expect(part(view, "picture")).to_have_attribute("data-state", "ready")
    kernel = notebook.view_in_kernel(5)
    weights = np.array(notebook.ask(f"{kernel}.outcome.trace.attention({layer}, {head}).tolist()"))
    canvas = part(view, "picture-canvas")
    canvas.scroll_into_view_if_needed()
    notebook.page.mouse.move(5, 5)  # no cursor in the picture
    return map_of(view, weights).drawn.values
