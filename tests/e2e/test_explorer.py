"""Every way to look at a pass in a real JupyterLab: lenses, pictures, views; by mouse and keys."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import expect

from tests.e2e.lab import Lab
from tests.e2e.notebook import Notebook, code, part, write
from tests.e2e.picture import coloured

TEXT = "The plotlessness is thin, but I was moved."
CELLS = (
    code("%load_ext lmkit"),
    code(f"%%lm classification --model starter:sentiment\n{TEXT}"),
)
VIEW = 1


def opened(lab: Lab, open_notebook: Callable[..., Notebook], name: str) -> Notebook:
    notebook = open_notebook(write(lab.root / f"{name}.ipynb", CELLS))
    notebook.run_all()
    return notebook


def test_lenses_have_tokens_and_numbers_of_their_own(
    lab: Lab, open_notebook: Callable[..., Notebook]
) -> None:
    notebook = opened(lab, open_notebook, "lenses")
    view = notebook.view(VIEW)
    kernel = notebook.view_in_kernel(VIEW)
    tokens = view.locator('[data-lmkit="token"]')
    before = tokens.count()
    part(view, "lens").select_option("words")
    words = notebook.ask(f"[t.text for t in {kernel}.tiles.through('words').trace.tokens]")
    expect(tokens).to_have_count(len(words))
    assert len(words) < before  # "plotlessness" is several tokens and one word
    shown = [one.strip().lower() for one in tokens.all_inner_texts()]
    assert shown == [one.strip().lower() for one in words]  # this model reads lower case
    expect(part(view, "picture")).to_have_attribute("data-state", "ready")
    notebook.hears(f"{kernel}.selection.lens", "words")
    coloured(part(view, "picture-canvas"))
    notebook.shot("explorer-words", notebook.cell(VIEW))

    part(view, "lens").select_option("norm")
    expect(part(view, "legend")).to_contain_text("up to the largest")
    expect(part(view, "picture")).to_have_attribute("data-state", "ready")
    expect(tokens).to_have_count(before)
    expect(part(view, "tab-neuron")).to_have_attribute("aria-disabled", "true")
    notebook.shot("explorer-norm", notebook.cell(VIEW))
    assert notebook.watch.errors == []


def test_views_are_asked_drawn_and_choose_heads(
    lab: Lab, open_notebook: Callable[..., Notebook]
) -> None:
    notebook = opened(lab, open_notebook, "views")
    view = notebook.view(VIEW)
    kernel = notebook.view_in_kernel(VIEW)
    part(view, "views").select_option("head-map")
    cells = view.locator('[data-lmkit="measure-cell"]')
    expect(cells).to_have_count(72)
    best = part(view, "measure-choose").first.inner_text()
    part(view, "measure-choose").first.click()
    layer, head = (int(one) for one in best.split("."))
    expect(part(view, "layer-number")).to_have_text(str(layer))
    notebook.hears(f"({kernel}.selection.layer, {kernel}.selection.head)", (layer, head))
    notebook.shot("explorer-head-map", notebook.cell(VIEW))

    part(view, "views").select_option("switch-off")
    expect(part(view, "result-table").first).to_contain_text("before")
    notebook.shot("explorer-switch-off", notebook.cell(VIEW))
    part(view, "views").select_option("causal-map")
    expect(cells).to_have_count(72, timeout=60_000)
    notebook.shot("explorer-causal-map", notebook.cell(VIEW))
    part(view, "views").select_option("rollout")
    expect(part(view, "scored-row")).to_have_count(1)
    notebook.shot("explorer-rollout", notebook.cell(VIEW))
    assert notebook.watch.errors == []


def test_the_equation_and_several_heads_by_keys(
    lab: Lab, open_notebook: Callable[..., Notebook]
) -> None:
    notebook = opened(lab, open_notebook, "pictures")
    view = notebook.view(VIEW)
    kernel = notebook.view_in_kernel(VIEW)
    picture = part(view, "picture")
    picture.press("3")
    expect(part(view, "tab-neuron")).to_have_attribute("aria-selected", "true")
    expect(picture).to_have_attribute("data-state", "ready")
    notebook.hears(f"{kernel}.selection.picture", "neuron")
    notebook.shot("explorer-neuron", notebook.cell(VIEW))
    picture.press("4")
    expect(part(view, "tab-heads")).to_have_attribute("aria-selected", "true")
    notebook.page.wait_for_timeout(600)
    notebook.shot("explorer-heads", notebook.cell(VIEW))
    picture.press("2")
    expect(part(view, "tab-map")).to_have_attribute("aria-selected", "true")
    coloured(part(view, "picture-canvas"))
    picture.press("+")
    notebook.page.wait_for_timeout(300)
    notebook.shot("explorer-map-zoomed", notebook.cell(VIEW))
    assert notebook.watch.errors == []
