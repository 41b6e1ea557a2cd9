"""Every view by mouse and by keyboard, with the kernel's numbers: Notebook 7 and a saved page.

JupyterLab has them in test_explorer.py and test_quickstart.py. One notebook and one page serve all
views, since starting them is what takes the time.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

import lmkit
from tests.e2e.axe import violations
from tests.e2e.conftest import ARTIFACTS
from tests.e2e.lab import Lab
from tests.e2e.notebook import Notebook, Watch, code, part, write
from tests.e2e.picture import becomes, coloured, map_of, settled
from tests.tiny import tiny_bart, tiny_bert, tiny_llama

TEXT = "the plot is thin, but i was moved."


def cell(view: Locator, layer: int, head: int) -> Locator:
    return view.locator(f'[data-lmkit="cell"][data-layer="{layer}"][data-head="{head}"]')


def shown(view: Locator) -> tuple[str, str]:
    return part(view, "layer-number").inner_text(), part(view, "head-number").inner_text()


def first_number(where: Locator) -> float:
    """The first decimal number of a text."""
    found = re.search(r"\d+\.\d+(?:e[-+]?\d+)?", where.text_content() or "")
    assert found, where.text_content()
    return float(found[0])


def to(view: Locator, key: str, name: str) -> None:
    """Choose a picture by its key."""
    part(view, "picture").focus()
    view.page.keyboard.press(key)
    expect(part(view, f"tab-{name}")).to_have_attribute("aria-selected", "true")
    expect(part(view, "picture")).to_have_attribute("data-state", "ready")


def the_grid_is_walked(view: Locator) -> None:
    """By mouse to a head, by the arrows to another; Enter opens it."""
    cell(view, 0, 2).click()
    expect(cell(view, 0, 2)).to_have_attribute("aria-selected", "true")
    assert shown(view) == ("0", "2")
    view.page.keyboard.press("ArrowDown")
    view.page.keyboard.press("ArrowRight")
    assert shown(view) == ("0", "2")  # looked at, not yet opened
    view.page.keyboard.press("Enter")
    expect(cell(view, 1, 3)).to_have_attribute("aria-selected", "true")
    assert shown(view) == ("1", "3")


def the_sentence_is_true(view: Locator, attention: np.ndarray, exact: bool) -> None:
    """By mouse a token is held; by the keyboard the next one is read: both with their weights."""
    view.locator('[data-lmkit="token"]').nth(3).click()
    best = attention[3].max()
    item = part(view, "sentence-item")
    if exact:
        expect(item).to_contain_text(f"{best:#.3g}")
    else:
        expect(item.locator(".number")).to_contain_text("≈")
        assert abs(first_number(item.locator(".number")) - best) < 0.005
    view.page.keyboard.press("Escape")
    part(view, "picture").focus()
    view.page.keyboard.press("ArrowDown")
    expect(part(view, "live-region")).to_contain_text("attends to")
    assert abs(first_number(part(view, "live-region")) - attention[0].max()) < 0.005
    view.page.keyboard.press("Escape")


def the_map_is_true(view: Locator, attention: np.ndarray) -> None:
    """Each cell has the colour of its number; zoomed by key and back, and by the button."""
    canvas = part(view, "picture-canvas")
    found = map_of(view, attention)
    drawn, left, top, side = found.drawn, found.left, found.top, found.side
    count = len(attention)
    part(view, "zoom-in").click()
    becomes(canvas, lambda one: not np.array_equal(one.values, drawn.values))
    part(view, "picture").focus()
    view.page.keyboard.press("0")
    becomes(canvas, lambda one: np.array_equal(one.values, drawn.values))
    box = canvas.bounding_box()
    assert box is not None
    at = (left + 2.5 * side / count, top + 1.5 * side / count)
    view.page.mouse.move(box["x"] + at[0], box["y"] + at[1])
    expect(part(view, "tooltip")).to_be_visible()
    tip = part(view, "tooltip").locator(".tip-value")
    assert abs(first_number(tip) - attention[1, 2]) < 0.005


def the_equation_is_true(view: Locator, score: float, weight: float) -> None:
    """The equation of query 1 and key 2, chosen by mouse: score and weight of the kernel."""
    for side, steps in (("query", 1), ("key", 2)):
        chosen = part(view, f"neuron-{side}")
        buttons = chosen.locator("xpath=..").locator("button")
        for _ in range(20):
            title = chosen.get_attribute("title") or ""
            now = int(title.split()[-1])
            if now == steps:
                break
            buttons.nth(0 if now > steps else 1).click()
            # drawn in the next frame: without waiting, the next click would be one too many
            expect(chosen).not_to_have_attribute("title", title)
        assert now == steps
    shown_score = part(view, "neuron-score")
    expect(shown_score).to_be_visible()
    # The numbers follow the pair in a frame of their own.
    until = time.monotonic() + 10
    while abs(float(shown_score.get_attribute("title") or "nan") - score) >= 1e-4:
        assert time.monotonic() < until, (shown_score.get_attribute("title"), score)
        view.page.wait_for_timeout(50)
    found = part(view, "neuron-weight").get_attribute("title") or "nan"
    assert abs(float(found) - weight) < 0.004


def several_heads(view: Locator) -> None:
    """Some heads in colours: one is switched off by mouse, and on again by the keyboard."""
    expect(part(view, "heads-stage")).to_be_visible()
    # It says so while heads are on their way; each that comes is drawn.
    expect(part(view, "heads-note")).not_to_be_empty()
    expect(part(view, "heads-note")).not_to_contain_text("Computing heads")
    canvas = part(view, "picture-canvas")
    before = settled(canvas).values
    box = view.locator('[data-lmkit="heads-toggle"]').first
    box.click()
    becomes(canvas, lambda one: not np.array_equal(before, one.values))
    box.press("Space")
    becomes(canvas, lambda one: np.array_equal(before, one.values))


def test_every_view_in_notebook_7(
    lab: Lab, tmp_path: Path, open_notebook: Callable[..., Notebook]
) -> None:
    bert, bart = str(tiny_bert(tmp_path / "bert")), str(tiny_bart(tmp_path / "bart"))
    cells = [
        code("%load_ext lmkit\nimport lmkit"),
        code(f"r = lmkit.load({bert!r}).classify({TEXT!r})\nr"),
        code(f"s = lmkit.load({bart!r}).explore({TEXT!r})\ns"),
    ]
    notebook = open_notebook(write(lab.root / "everywhere.ipynb", cells), classic=True)
    notebook.run_all()
    view = notebook.view(1)
    kernel = "r.attention.trace"

    def numbers(layer: int, head: int) -> np.ndarray:
        return np.array(notebook.ask(f"{kernel}.attention({layer}, {head}).tolist()"))

    # -- grid, arcs, sentence
    the_grid_is_walked(view)
    expect(part(view, "picture")).to_have_attribute("data-state", "ready")
    coloured(part(view, "picture-canvas"))
    the_sentence_is_true(view, numbers(1, 3), exact=True)
    assert violations(notebook.page) == []
    # -- map, equation, several heads
    to(view, "2", "map")
    the_map_is_true(view, numbers(1, 3))
    to(view, "3", "neuron")
    score = float(notebook.ask(f"float({kernel}.scores(1, 3, [1])[0, 2])"))
    the_equation_is_true(view, score, float(numbers(1, 3)[1, 2]))
    notebook.shot("seven-neuron", notebook.cell(1))
    assert violations(notebook.page) == []
    to(view, "4", "heads")
    several_heads(view)
    assert violations(notebook.page) == []
    to(view, "1", "arcs")

    # -- a lens by the keyboard
    part(view, "lens").focus()
    notebook.page.keyboard.press("ArrowDown")
    words = notebook.ask("[t.text for t in r.attention.lens('words').trace.tokens]")
    expect(view.locator('[data-lmkit="token"]')).to_have_count(len(words))
    part(view, "lens").select_option("")

    # -- views by the list, with the kernel's numbers
    measures = view.locator('[data-lmkit="measure-cell"]')
    part(view, "views").select_option("head-map")
    expect(measures).to_have_count(8)
    measures.first.focus()
    notebook.page.keyboard.press("ArrowRight")
    notebook.page.keyboard.press("Enter")
    assert shown(view) == ("0", "1")
    assert violations(notebook.page) == []
    part(view, "views").select_option("switch-off")
    expect(part(view, "result-table")).to_contain_text("before")
    assert violations(notebook.page) == []
    part(view, "views").select_option("causal-map")
    expect(measures).to_have_count(8, timeout=60_000)
    assert violations(notebook.page) == []
    part(view, "views").select_option("rollout")
    expect(part(view, "scored-row")).to_have_count(1)
    rows = notebook.ask("[row.values for row in r.attention.view('rollout')[0].rows]")
    read = view.locator('[data-lmkit="scored"]').evaluate_all(
        "(all) => all.map((one) => Number(one.dataset.value))"
    )
    np.testing.assert_allclose(read, rows[0], rtol=1e-5)
    assert violations(notebook.page) == []
    part(view, "views").select_option("bertviz-head")
    frame = view.frame_locator('iframe[data-lmkit="page"]')
    expect(frame.locator("#vis line")).to_have_count(4 * len(read) ** 2, timeout=30_000)
    notebook.shot("seven-bertviz", notebook.cell(1))

    # -- an encoder-decoder: three kinds of layers, two texts
    view = notebook.view(2)
    groups = view.locator('[data-lmkit="grid"] [role="rowgroup"]')
    expect(groups).to_have_count(3)
    layers = notebook.ask("[layer.role for layer in s.trace.layers]")
    cross = layers.index("cross")
    cell(view, cross, 1).click()
    expect(part(view, "layer-number")).to_have_text("X0")
    expect(part(view, "key-tokens")).to_be_visible()
    expect(part(view, "picture")).to_have_attribute("data-state", "ready")
    part(view, "token-list").locator('[data-lmkit="token"]').first.focus()
    notebook.page.keyboard.press("Enter")
    weights = np.array(notebook.ask(f"s[{cross}, 1][0].tolist()"))
    expect(part(view, "sentence-item")).to_contain_text(f"{weights.max():#.3g}")
    assert violations(notebook.page) == []
    notebook.shot("seven-cross", notebook.cell(2))


def test_differences_and_written_steps_in_notebook_7(
    lab: Lab, tmp_path: Path, open_notebook: Callable[..., Notebook]
) -> None:
    bert, llama = str(tiny_bert(tmp_path / "bert")), str(tiny_llama(tmp_path / "llama"))
    cells = [
        code("import lmkit"),
        code(
            f"d = lmkit.load({bert!r}).compare({TEXT!r}, 'the film is thin, but i was moved.')\nd"
        ),
        code(
            f"g = lmkit.load({llama!r}).trace_generation('the plot is', max_new_tokens=6)\n"
            "g = lmkit.explore(g)\ng"
        ),
    ]
    notebook = open_notebook(write(lab.root / "steps.ipynb", cells), classic=True)
    notebook.run_all()

    # -- a difference: the weights that moved most, by mouse and by keys
    view = notebook.view(1)
    the_grid_is_walked(view)
    moved = np.array(notebook.ask("d[1, 3].tolist()"))
    assert moved.min() < 0 < moved.max()
    to(view, "2", "map")
    expect(part(view, "picture")).to_have_attribute("data-state", "ready")
    coloured(part(view, "picture-canvas"))
    to(view, "1", "arcs")
    part(view, "picture").focus()
    notebook.page.keyboard.press("ArrowDown")
    expect(part(view, "live-region")).to_contain_text(re.compile(r"\d"))
    biggest = np.abs(moved[0]).max()
    assert abs(first_number(part(view, "live-region")) - biggest) < 0.005
    notebook.page.keyboard.press("Escape")
    assert violations(notebook.page) == []
    notebook.shot("seven-difference", notebook.cell(1))

    # -- steps of a written text: the row of each is that of the cached run
    view = notebook.view(2)
    steps = notebook.ask("[(s.first, s.last) for s in g._shown.view.spec().attention.steps]")
    assert len(steps) == 6
    part(view, "step-next").click()
    expect(part(view, "step-now")).to_contain_text("1 of 6")
    expect(part(view, "picture")).to_have_attribute("data-state", "ready")
    slider = part(view, "step-slider")
    slider.focus()
    for _ in range(3):
        notebook.page.keyboard.press("ArrowRight")
    expect(part(view, "step-now")).to_contain_text("4 of 6")
    row = steps[3][0]
    weights = np.array(notebook.ask(f"g[0, 0][{row}].tolist()"))
    expect(part(view, "sentence-item").first).to_contain_text(f"{weights.max():#.3g}")
    assert violations(notebook.page) == []
    notebook.shot("seven-steps", notebook.cell(2))
    part(view, "step-all").click()
    expect(part(view, "step-all")).to_be_hidden()


@pytest.fixture
def offline(browser: Browser) -> Page:
    context = browser.new_context(
        viewport={"width": 1000, "height": 900}, offline=True, locale="en-GB"
    )
    page = context.new_page()
    page.set_default_timeout(30_000)
    return page


def test_every_view_in_a_saved_page_with_the_network_cut(offline: Page, tmp_path: Path) -> None:
    analysis = lmkit.load(str(tiny_bert(tmp_path / "bert"))).classify(TEXT)
    analysis.attention.show(1, 3)
    file = tmp_path / "attention.html"
    analysis.save(file)
    watch = Watch(offline)
    offline.goto(file.as_uri())
    view = offline.locator('[data-lmkit="view"]').first
    expect(part(view, "badge")).to_have_attribute("data-state", "saved")
    expect(part(view, "saved-note")).to_contain_text("all 8 heads")
    trace = analysis.attention.trace

    the_grid_is_walked(view)
    expect(part(view, "picture")).to_have_attribute("data-state", "ready")
    expect(part(view, "picture")).to_have_attribute("data-state", "ready")
    coloured(part(view, "picture-canvas"))
    attention = np.asarray(trace.attention(1, 3))
    the_sentence_is_true(view, attention, exact=False)
    assert violations(offline) == []
    to(view, "2", "map")
    the_map_is_true(view, attention)
    offline.screenshot(path=ARTIFACTS / "page-map.png")
    to(view, "3", "neuron")
    score = float(trace.scores(1, 3, [1])[0, 2])  # type: ignore[attr-defined]
    the_equation_is_true(view, score, float(attention[1, 2]))
    assert violations(offline) == []
    to(view, "4", "heads")
    several_heads(view)
    assert violations(offline) == []
    # What only a kernel can compute says so instead of failing.
    expect(part(view, "run")).to_be_disabled()
    for name in ("views", "lens"):
        assert part(view, name).is_hidden() or part(view, name).is_disabled()
    assert [url for url in watch.requests if url.startswith("http")] == []
    assert watch.errors == []
    offline.context.close()
