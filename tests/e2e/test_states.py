"""Every state of an output in JupyterLab: live, reloaded, restarted, reopened, untrusted, HTML."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.e2e.conftest import ARTIFACTS
from tests.e2e.lab import Lab, serve
from tests.e2e.notebook import MIME, WITHOUT_LMKIT, Notebook, Watch, code, part, write
from tests.e2e.picture import becomes, coloured

WIDGET_MIME = "application/vnd.jupyter.widget-view+json"
CELLS = (
    code("%load_ext lmkit"),
    code("%%lm classification --model starter:sentiment\nThe plot is thin, but I was moved."),
)
VIEW = 1


def choose(view: Locator, layer: int, head: int) -> None:
    view.locator(f'[data-lmkit="cell"][data-layer="{layer}"][data-head="{head}"]').click()
    expect(part(view, "layer-number")).to_have_text(str(layer))
    expect(part(view, "head-number")).to_have_text(str(head))


def saved_with(notebook: Notebook, layer: int, head: int) -> None:
    """Save once the output carries what was last shown, a moment after it was chosen."""
    notebook.until(
        """const [output] = panel.content.widgets[1].model.outputs.toJSON();
        const { layer, head } = output.data[argument.mime].spec.attention.selection;
        return layer === argument.layer && head === argument.head;""",
        {"mime": MIME, "layer": layer, "head": head},
    )
    notebook.save()


def drawn_without_kernel(view: Locator) -> None:
    """Labels, tokens and the thumbnails of every head."""
    expect(view.locator('[data-lmkit="label-row"]')).to_have_count(2)
    expect(view.locator('[data-lmkit="token"]')).to_have_count(12)
    expect(view.locator('[data-lmkit="cell"]')).to_have_count(72)
    for row in view.locator(".grid-row canvas").all():
        coloured(row, 20)


def still_explorable(view: Locator) -> None:
    """A saved output: all of it, and any head that was saved."""
    drawn_without_kernel(view)
    choose(view, 4, 3)
    expect(part(view, "picture")).to_have_attribute("data-state", "ready")
    first = coloured(part(view, "picture-canvas"), 2).values
    choose(view, 2, 5)
    expect(part(view, "picture")).to_have_attribute("data-state", "ready")
    expect(part(view, "picture")).to_have_attribute("aria-label", "Layer 2, head 5, arcs")
    becomes(part(view, "picture-canvas"), lambda one: not np.array_equal(first, one.values))
    coloured(part(view, "picture-canvas"), 2)


@pytest.fixture(scope="module")
def saved(lab: Lab, browser: Browser) -> Path:
    """A notebook that was run and saved by JupyterLab, its kernel gone."""
    name = write(lab.root / "saved.ipynb", CELLS)
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    notebook = Notebook(context.new_page(), ARTIFACTS)
    notebook.open(lab.page(name))
    notebook.run_all()
    view = notebook.view(VIEW)
    choose(view, 2, 5)
    saved_with(notebook, 2, 5)
    notebook.close()
    context.close()
    return lab.root / name


def copy_of(saved: Path, name: str, change: Callable[[nbformat.NotebookNode], None]) -> str:
    """Another notebook with the same outputs, which JupyterLab has never seen: not trusted."""
    notebook = nbformat.read(saved, as_version=4)
    change(notebook)
    nbformat.write(notebook, saved.with_name(name))
    return name


EDITORS = pytest.mark.parametrize("classic", [False, True], ids=["jupyterlab", "notebook-7"])


@EDITORS
def test_live_reloaded_restarted_and_live_again(
    lab: Lab, open_notebook: Callable[..., Notebook], classic: bool
) -> None:
    name = write(lab.root / f"lifecycle-{classic}.ipynb", CELLS)
    notebook = open_notebook(name, classic=classic)
    notebook.run_all()
    view = notebook.view(VIEW)
    choose(view, 3, 7)
    kernel = notebook.view_in_kernel(VIEW)
    notebook.hears(f"({kernel}.selection.layer, {kernel}.selection.head)", (3, 7))
    notebook.shot("state-live", notebook.cell(VIEW))
    first = notebook.bundle(VIEW)["live"]
    saved_with(notebook, 3, 7)

    # The page is loaded again: the same view of the same kernel, and it still acts on it.
    notebook.reload()
    view = notebook.view(VIEW)
    now = notebook.bundle(VIEW)["live"]
    assert (now["session"], now["view"]) == (first["session"], first["view"])
    expect(part(view, "head-number")).to_have_text("7")
    choose(view, 1, 2)
    notebook.hears(f"({kernel}.selection.layer, {kernel}.selection.head)", (1, 2))
    notebook.shot("state-reloaded", notebook.cell(VIEW))

    # The kernel is restarted: what was saved stays to be explored, and says how to go live.
    notebook.restart()
    view = notebook.view(VIEW, state="lost")
    expect(part(view, "saved-note")).to_contain_text("run the cell to go live")
    expect(part(view, "run")).to_be_disabled()
    still_explorable(view)
    notebook.shot("state-restarted", notebook.cell(VIEW))

    # The view that is loaded now asks a kernel that does not know it.
    notebook.execute("%load_ext lmkit")
    notebook.reload()
    view = notebook.view(VIEW, state="unknown-session")
    expect(part(view, "saved-note")).to_contain_text("run the cell to go live")
    still_explorable(view)
    notebook.shot("state-unknown-session", notebook.cell(VIEW))

    notebook.run(VIEW)
    view = notebook.view(VIEW)
    assert notebook.bundle(VIEW)["live"]["session"] != first["session"]


def test_notebook_7_reopened_and_live(
    lab: Lab, saved: Path, open_notebook: Callable[..., Notebook]
) -> None:
    name = copy_of(saved, "seven.ipynb", lambda notebook: None)
    notebook = open_notebook(name, classic=True)
    still_explorable(notebook.view(VIEW, state="saved"))
    notebook.run_all()
    view = notebook.view(VIEW)
    choose(view, 3, 7)
    kernel = notebook.view_in_kernel(VIEW)
    notebook.hears(f"({kernel}.selection.layer, {kernel}.selection.head)", (3, 7))
    notebook.shot("state-notebook-7")


def test_reopened_without_running_anything(
    lab: Lab, saved: Path, open_notebook: Callable[..., Notebook]
) -> None:
    keys = list(json.loads(saved.read_text())["cells"][VIEW]["outputs"][0]["data"])
    # nbformat sorts the names on save: lmkit's still comes after the widget's, and before HTML.
    assert keys == sorted(keys)
    assert keys.index(WIDGET_MIME) < keys.index(MIME) < keys.index("text/html")
    notebook = open_notebook(saved.name)
    view = notebook.view(VIEW, state="saved")
    expect(part(view, "saved-note")).to_contain_text("lmkit is not loaded in this kernel")
    expect(part(view, "saved-note")).to_contain_text("run the cell again")
    expect(part(view, "head-number")).to_have_text("5")  # as it was saved
    still_explorable(view)
    assert notebook.cell(VIEW).get_by_text("model not found").count() == 0
    notebook.shot("state-reopened", notebook.cell(VIEW))


@EDITORS
def test_untrusted_is_drawn_by_lmkit(
    lab: Lab, saved: Path, open_notebook: Callable[..., Notebook], classic: bool
) -> None:
    def tampered(notebook: nbformat.NotebookNode) -> None:
        notebook.cells[VIEW].outputs[0].data["text/html"] += "<script>window.__pwned = 1</script>"

    name = copy_of(saved, f"untrusted-{classic}.ipynb", tampered)
    notebook = open_notebook(name, kernel=False, classic=classic)
    view = notebook.view(VIEW, state="saved")
    assert notebook.js("return panel.content.widgets[1].model.trusted;") is False
    still_explorable(view)
    assert notebook.page.evaluate("window.__pwned") is None
    notebook.shot("state-untrusted", notebook.cell(VIEW))


@EDITORS
def test_a_kernel_without_lmkit_is_named(
    saved: Path, open_notebook: Callable[..., Notebook], classic: bool
) -> None:
    """Server and kernel in different environments: the page has lmkit, the kernel has not."""
    name = copy_of(saved, f"elsewhere-{classic}.ipynb", lambda notebook: None)
    notebook = open_notebook(name, classic=classic)
    expect(part(notebook.view(VIEW, state="saved"), "saved-note")).to_contain_text("not loaded")
    notebook.execute(WITHOUT_LMKIT)
    prefix = notebook.ask("__import__('sys').prefix")
    notebook.reload()
    view = notebook.view(VIEW, state="saved")
    expect(part(view, "saved-note")).to_contain_text(
        f"lmkit is not in this kernel's environment ({prefix})"
    )
    still_explorable(view)


@EDITORS
def test_another_version_is_named_with_both(
    lab: Lab, open_notebook: Callable[..., Notebook], classic: bool
) -> None:
    name = write(lab.root / f"version-{classic}.ipynb", CELLS)
    notebook = open_notebook(name, classic=classic)
    notebook.run_all()
    notebook.view(VIEW)
    notebook.save()
    ours = notebook.ask("__import__('lmkit').__version__")

    # The same protocol: live, and both versions.
    notebook.execute("import lmkit.session\nlmkit.session.__version__ = '9.8.7'")
    notebook.reload()
    note = part(notebook.view(VIEW), "saved-note")
    expect(note).to_contain_text(ours)
    expect(note).to_contain_text("9.8.7")
    notebook.shot("state-other-version", notebook.cell(VIEW))

    # Another protocol: what was saved, and why it is not live.
    notebook.execute("lmkit.session.PROTOCOL = 2")
    notebook.reload()
    view = notebook.view(VIEW, state="lost")
    expect(view).to_contain_text("The view speaks protocol 1, the kernel 2.")
    expect(view).to_contain_text("9.8.7")
    still_explorable(view)
    notebook.shot("state-other-protocol", notebook.cell(VIEW))


@pytest.fixture
def bare_lab(tmp_path: Path) -> Iterator[Lab]:
    """A JupyterLab without lmkit's extension, as where a notebook is only read."""
    with serve(tmp_path, disabled=("lmkit", "@jupyter-widgets/jupyterlab-manager")) as running:
        yield running


@EDITORS
def test_untrusted_without_the_extension_is_a_picture(
    saved: Path, bare_lab: Lab, page: Page, classic: bool
) -> None:
    (bare_lab.root / "picture.ipynb").write_bytes(saved.read_bytes())
    notebook = Notebook(page, ARTIFACTS)
    address = bare_lab.classic if classic else bare_lab.page
    notebook.open(address("picture.ipynb"), kernel=False)
    cell = notebook.cell(VIEW)
    image = cell.locator(".jp-OutputArea-output img")
    expect(image).to_be_visible()
    assert image.evaluate("(image) => image.naturalWidth") > 400
    expect(image).to_have_attribute("alt", re.compile("starter:sentiment"))
    assert cell.locator("script").count() == 0
    assert cell.locator('[data-lmkit="view"]').count() == 0
    notebook.shot("state-picture", cell)
    assert notebook.watch.left_for(bare_lab.url.removeprefix("http://")) == []
    notebook.close()


def in_html(view: Locator) -> None:
    """HTML of a short text carries every head."""
    expect(part(view, "badge")).to_have_attribute("data-state", "saved")
    drawn_without_kernel(view)
    expect(part(view, "picture")).to_have_attribute("data-state", "ready")
    view.locator('[data-lmkit="token"]').nth(9).click()
    expect(part(view, "sentence")).to_contain_text("attends to")
    choose(view, 4, 3)
    expect(part(view, "picture")).to_have_attribute("data-state", "ready")


def test_html_is_interactive_without_a_network(
    saved: Path, browser: Browser, tmp_path: Path
) -> None:
    from notebooks.run import to_html

    file = tmp_path / "saved.html"
    file.write_text(to_html(nbformat.read(saved, as_version=4), "saved"), encoding="utf-8")
    context = browser.new_context(viewport={"width": 1100, "height": 900}, offline=True)
    page = context.new_page()
    watch = Watch(page)
    page.goto(file.as_uri())
    view = page.locator('[data-lmkit="view"]').first
    in_html(view)
    page.screenshot(path=ARTIFACTS / "state-html.png", full_page=True)
    assert [url for url in watch.requests if url.startswith("http")] == []
    assert watch.failed == []
    assert watch.errors == []
    context.close()


def test_plain_nbconvert_is_interactive_too(saved: Path, browser: Browser, tmp_path: Path) -> None:
    """nbconvert's own template asks for scripts of its own; lmkit's views need none of them."""
    from nbconvert import HTMLExporter

    body, _ = HTMLExporter().from_filename(str(saved))
    file = tmp_path / "plain.html"
    file.write_text(body, encoding="utf-8")
    context = browser.new_context(offline=True)
    page = context.new_page()
    watch = Watch(page)
    page.goto(file.as_uri())
    view = page.locator('[data-lmkit="view"]').first
    in_html(view)
    assert watch.errors == []
    context.close()


def test_a_second_view_of_a_live_output(lab: Lab, open_notebook: Callable[..., Notebook]) -> None:
    cells = [
        code("%load_ext lmkit"),
        code("%%lm classification --model starter:sentiment\nThe plot is thin, but I was moved."),
    ]
    notebook = open_notebook(write(lab.root / "second-view.ipynb", cells))
    notebook.run_all()
    view = notebook.view(1)
    kernel = notebook.view_in_kernel(1)
    notebook.js("await app.commands.execute('notebook:create-output-view');")
    second = notebook.page.locator('.jp-LinkedOutputView [data-lmkit="view"]')
    expect(part(second, "badge")).to_have_attribute("data-state", "live")
    part(second, "grid").locator('[data-layer="3"][data-head="7"]').click()
    expect(part(second, "picture")).to_have_attribute("aria-label", re.compile("Layer 3, head 7"))
    notebook.hears(f"[{kernel}.selection.layer, {kernel}.selection.head]", [3, 7])
    # what one runs, both show
    box = second.locator('[data-lmkit="field"][data-field="text"]')
    box.fill("A dull film, and I was bored.")
    part(second, "run").click()
    for one in (second, view):
        expect(one.locator('[data-lmkit="token"]').filter(has_text="bored")).to_have_count(1)
        expect(part(one, "badge")).to_have_attribute("data-state", "live")
    notebook.shot("second-view-live")
    # closed, it leaves the first alive
    notebook.js(
        """const panels = [...app.shell.widgets('main')];
        panels.find((one) => one.node.querySelector('.jp-LinkedOutputView')).close();"""
    )
    expect(second).to_have_count(0)
    view = notebook.view(1)
    part(view, "grid").locator('[data-layer="1"][data-head="2"]').click()
    notebook.hears(f"[{kernel}.selection.layer, {kernel}.selection.head]", [1, 2])
    assert notebook.watch.errors == []
