"""The Save menu in a real JupyterLab: by mouse and by keyboard, live and without a kernel."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pypdf
from PIL import Image
from playwright.sync_api import Locator, expect

from tests.e2e.lab import Lab
from tests.e2e.notebook import Notebook, code, part, write

CELLS = (
    code("%load_ext lmkit"),
    code("%%lm classification --model starter:sentiment\nThe plot is thin, but I was moved."),
)
PANEL = 1


def saved(notebook: Notebook, view: Locator, form: str, tmp_path: Path) -> tuple[str, bytes]:
    part(view, "save").click()
    with notebook.page.expect_download() as coming:
        view.locator(f'[data-lmkit="save-item"][data-format="{form}"]').click()
    path = tmp_path / f"file.{form}"
    coming.value.save_as(path)
    expect(part(view, "save")).to_have_text("Save")
    return coming.value.suggested_filename, path.read_bytes()


def test_the_save_menu(lab: Lab, open_notebook: Callable[..., Notebook], tmp_path: Path) -> None:
    notebook = open_notebook(write(lab.root / "save.ipynb", CELLS))
    notebook.run_all()
    view = notebook.view(PANEL)
    view.locator('[data-lmkit="cell"][data-layer="3"][data-head="7"]').click()
    files = {
        form: saved(notebook, view, form, tmp_path)
        for form in ("html", "svg", "png", "pdf", "npz", "json")
    }
    names = {form: name for form, (name, _) in files.items()}
    assert names.pop("html") == "attention.html"
    assert names == {form: f"attention-layer3-head7.{form}" for form in names}
    assert b"layer 3, head 7" in files["svg"][1]
    ElementTree.fromstring(files["svg"][1])
    assert "moved" in pypdf.PdfReader(io.BytesIO(files["pdf"][1])).pages[0].extract_text()
    assert json.loads(Image.open(io.BytesIO(files["png"][1])).info["lmkit"])["tokens"] == 12
    with np.load(io.BytesIO(files["npz"][1])) as arrays:
        exact = json.loads(files["json"][1])["heads"][0]["attention"]
        np.testing.assert_array_equal(arrays["attention"], np.array(exact, dtype=np.float32))
    page = tmp_path / "page.html"
    page.write_bytes(files["html"][1])

    # by the keyboard
    part(view, "save").focus()
    notebook.page.keyboard.press("ArrowDown")
    expect(view.locator('[data-format="html"]')).to_be_focused()
    notebook.page.keyboard.press("End")
    with notebook.page.expect_download() as coming:
        notebook.page.keyboard.press("Enter")
    assert coming.value.suggested_filename == "attention-layer3-head7.json"
    expect(part(view, "save")).to_be_focused()

    # the page alone, its kernel far away
    alone = notebook.page.context.browser.new_context(offline=True)  # type: ignore[union-attr]
    try:
        other = alone.new_page()
        other.set_viewport_size({"width": 1100, "height": 1200})
        other.goto(page.as_uri())
        # a page is no cell: the view takes what room the window has before it scrolls inside
        body = other.locator('[data-lmkit="root"]')
        expect(body).to_be_visible()
        inner = other.locator('[data-lmkit="picture"]')
        expect(inner).to_be_in_viewport(ratio=1)
        expect(other.locator('[data-lmkit="layer-number"]')).to_have_text("3")
        expect(other.locator('[data-lmkit="saved-note"]')).to_contain_text("all 72 heads")
        other.locator('[data-lmkit="save"]').click()
        expect(other.locator('[data-format="pdf"]')).to_have_attribute("aria-disabled", "true")
        with other.expect_download() as coming:
            other.locator('[data-format="png"]').click()
        assert Image.open(coming.value.path()).size[0] > 200
    finally:
        alone.close()
