"""A notebook with sixty outputs: a view is made when it comes into sight, and stays what it was."""

from __future__ import annotations

import copy
import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

import lmkit
from lmkit.protocol.codec import MIME
from tests.e2e.conftest import ARTIFACTS
from tests.e2e.editor import Workbench, saved_notebook, serve
from tests.e2e.lab import Lab
from tests.e2e.notebook import Notebook, code, part
from tests.tiny import tiny_bert

COUNT = 60
VIEW = '[data-lmkit="view"]'


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Sixty outputs that can be told apart: the model's name ends in the number."""
    model = tiny_bert(tmp_path_factory.mktemp("sixty") / "bert")
    result = lmkit.load(str(model)).classify("the plot is thin, but i was moved.")
    forms, _ = result.panel._repr_mimebundle_()
    made = []
    for number in range(COUNT):
        one = copy.deepcopy(forms)
        one[MIME]["spec"]["header"]["model"] = f"model-{number}"
        one[MIME]["live"] = {"session": str(uuid.uuid4()), "view": str(uuid.uuid4())}
        one["text/html"] = one["text/html"].replace(
            json.dumps(forms[MIME]["spec"]["header"]["model"]), f'"model-{number}"'
        )
        made.append(one)
    return made


@pytest.fixture(scope="module")
def sixty(lab: Lab, outputs: list[dict[str, Any]]) -> Path:
    cells = []
    for number, forms in enumerate(outputs):
        cell = code(f"r{number}")
        cell.execution_count = number + 1
        cell.outputs = [nbformat.v4.new_output("display_data", data=forms)]
        cells.append(cell)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    file = lab.root / "sixty.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), file)
    return file


def choose(view: Locator, layer: int, head: int) -> None:
    view.locator(f'[data-lmkit="cell"][data-layer="{layer}"][data-head="{head}"]').click()
    expect(part(view, "head-number")).to_have_text(str(head))
    expect(part(view, "layer-number")).to_have_text(str(layer))


@pytest.mark.parametrize("classic", [False, True], ids=["jupyterlab", "notebook-7"])
def test_sixty_outputs(
    lab: Lab, sixty: Path, open_notebook: Callable[..., Notebook], classic: bool
) -> None:
    notebook = open_notebook(sixty.name, classic=classic)
    page = notebook.page
    first = notebook.view(0, state="saved")
    expect(part(first, "model")).to_have_text("model-0")
    # no more than is in sight, and what comes next
    assert 1 <= page.locator(VIEW).count() <= 6
    choose(first, 1, 3)

    # to the end and back: the last was drawn, and the first is as it was left
    last = notebook.view(COUNT - 1, state="saved")
    expect(part(last, "model")).to_have_text(f"model-{COUNT - 1}")
    expect(part(last, "picture")).to_have_attribute("data-state", "ready")
    assert page.locator(VIEW).count() <= 20  # what was jumped over was not drawn
    first = notebook.view(0, state="saved")
    expect(part(first, "head-number")).to_have_text("3")
    expect(part(first, "picture")).to_have_attribute("data-state", "ready")

    # drawn again by the editor: outputs hidden and shown
    notebook.js("await app.commands.execute('notebook:hide-cell-outputs');")
    expect(first).to_be_hidden()
    notebook.js("await app.commands.execute('notebook:show-cell-outputs');")
    first = notebook.view(0, state="saved")
    expect(part(first, "model")).to_have_text("model-0")
    expect(part(first, "picture")).to_have_attribute("data-state", "ready")
    if classic:
        return
    # a second view of the same output, which the first does not notice
    notebook.js("await app.commands.execute('notebook:create-output-view');")
    second = page.locator(f".jp-LinkedOutputView {VIEW}")
    expect(part(second, "model")).to_have_text("model-0")
    expect(part(second, "badge")).to_have_attribute("data-state", "saved")
    choose(second, 0, 1)
    expect(part(second, "picture")).to_have_attribute("data-state", "ready")
    expect(part(notebook.view(0, state="saved"), "head-number")).to_have_text("3")
    notebook.shot("sixty-new-view")


def test_sixty_outputs_in_html(sixty: Path, browser: Browser, tmp_path: Path) -> None:
    from notebooks.run import to_html

    file = tmp_path / "sixty.html"
    file.write_text(to_html(nbformat.read(sixty, as_version=4), "sixty"), encoding="utf-8")
    context = browser.new_context(viewport={"width": 1100, "height": 900}, offline=True)
    page = context.new_page()
    page.goto(file.as_uri())
    views = page.locator(VIEW)
    expect(part(views.first, "model")).to_have_text("model-0")
    assert views.count() <= 6
    images = page.locator(".lmkit-output > img")
    images.last.scroll_into_view_if_needed()
    expect(part(views.last, "model")).to_have_text(f"model-{COUNT - 1}")
    assert views.count() <= 20
    page.screenshot(path=ARTIFACTS / "sixty-html.png")
    context.close()


def test_sixty_outputs_in_vs_code(
    outputs: list[dict[str, Any]], page: Page, tmp_path: Path
) -> None:
    (tmp_path / "workspace").mkdir()
    bundles = [forms[MIME] for forms in outputs]
    (tmp_path / "workspace" / "sixty.ipynb").write_text(saved_notebook(*bundles))
    with serve(tmp_path) as editor:
        workbench = Workbench(page, editor)
        workbench.open("sixty.ipynb")
        frame = workbench.frame(VIEW)
        first = frame.locator(VIEW).filter(has_text="model-0 ").first
        expect(first.locator('[data-lmkit="picture"]')).to_have_attribute("data-state", "ready")
        # VS Code hands over all sixty once it is idle; what it has in sight before it knows their
        # heights is drawn
        expect(frame.locator(".output_container")).to_have_count(COUNT, timeout=60_000)
        assert frame.locator(VIEW).count() <= 15
        choose(first, 1, 3)
        shown = first.locator('[data-lmkit="head-number"]')

        # to the end and back: the last was drawn, and the first is as it was left
        page.locator(".notebookOverlay .cell-list-container .monaco-list").first.focus()
        page.keyboard.press("Control+End")
        last = frame.locator(VIEW).filter(has_text=f"model-{COUNT - 1} ").first
        expect(last).to_be_attached(timeout=60_000)
        assert frame.locator(VIEW).count() <= 30  # what was jumped over was not drawn
        workbench.shot("sixty-last")
        page.keyboard.press("Control+Home")
        expect(shown).to_have_text("3")
        expect(shown).to_be_in_viewport(timeout=60_000)

        # outputs hidden and shown
        workbench.command("Notebook: Collapse All Cell Outputs")
        expect(first).to_be_hidden()
        workbench.command("Notebook: Expand All Cell Outputs")
        expect(shown).to_be_in_viewport(timeout=60_000)
        expect(shown).to_have_text("3")
        workbench.shot("sixty-first")
        workbench.harmless()
