"""One saved notebook, five places: each shows the same values, and they are the kernel's."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

from lmkit.transports.picture import GRID_WIDTH, HEAD_SIDE, MARGIN
from tests.e2e.conftest import ARTIFACTS
from tests.e2e.editor import Workbench, frame_with
from tests.e2e.editor import serve as serve_editor
from tests.e2e.lab import Lab
from tests.e2e.notebook import MIME, Notebook, code, part, write
from tests.e2e.picture import map_of
from tests.installed import ROOT, interpreter, run

TEXT = "The plot is thin, but I was moved."
LAYER, HEAD, TOKEN = 2, 5, 9
CELLS = (
    code("%load_ext lmkit\nimport lmkit, json"),
    code(
        f"r = lmkit.load('starter:sentiment').classify({TEXT!r})\n"
        f"r.attention.show({LAYER}, {HEAD}, picture='map')"
    ),
    # what the kernel knows, beside what it drew
    code(
        "print(json.dumps({'file': lmkit.__file__, 'labels': r.labels,"
        " 'tokens': [t.text for t in r.attention.tokens],"
        f" 'attention': r.attention[{LAYER}, {HEAD}].tolist()}}))"
    ),
)
VIEW = 1


@dataclass(frozen=True)
class Saved:
    """A notebook that was run by nobody's editor, and what its kernel said."""

    notebook: Path
    html: Path
    labels: dict[str, float]
    tokens: list[str]
    attention: np.ndarray


@dataclass(frozen=True)
class Values:
    """What a place shows."""

    labels: dict[str, str]
    tokens: list[str]
    sentence: list[str]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    folder = tmp_path_factory.mktemp("places")
    name = write(folder / "places.ipynb", CELLS)
    run(
        interpreter(), ROOT / "notebooks" / "run.py", folder / name, "--out", folder / "out",
        OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1",
    )  # fmt: skip
    notebook = folder / "out" / name
    outputs = json.loads(notebook.read_text())["cells"][2]["outputs"]
    told = json.loads("".join(outputs[0]["text"]))
    assert Path(told["file"]).is_relative_to(interpreter().parents[1])  # the wheel, not the source
    return Saved(
        notebook, notebook.with_suffix(".html"), told["labels"], told["tokens"],
        np.array(told["attention"]),
    )  # fmt: skip


def read(view: Locator, saved: Saved) -> Values:
    """The values of a view that was saved with the map on show, as a person reads them.

    The map is held against the kernel's numbers here, cell by cell.
    """
    expect(part(view, "badge")).to_have_attribute("data-state", "saved", timeout=60_000)
    expect(part(view, "layer-number")).to_have_text(str(LAYER))
    expect(part(view, "head-number")).to_have_text(str(HEAD))
    expect(part(view, "tab-map")).to_have_attribute("aria-selected", "true")
    expect(part(view, "picture")).to_have_attribute("data-state", "ready")
    map_of(view, saved.attention)
    tokens = [one.strip() for one in view.locator('[data-lmkit="token"]').all_inner_texts()]
    rows = [one.split() for one in view.locator('[data-lmkit="label-row"]').all_inner_texts()]
    view.locator('[data-lmkit="token"]').nth(TOKEN).click()
    items = view.locator('[data-lmkit="sentence-item"]')
    expect(items.first).to_be_visible()
    sentence = [" ".join(one.split()) for one in items.all_inner_texts()]
    return Values({words[-2]: words[-1] for words in rows}, tokens, sentence)


def true(values: Values, saved: Saved) -> None:
    """Hold a place's values against the kernel's."""
    assert values.tokens == saved.tokens
    assert values.labels == {label: f"{score:.3f}" for label, score in saved.labels.items()}
    numbers = [float(re.findall(r"\d+\.\d+", one)[-1]) for one in values.sentence]
    best = np.sort(saved.attention[TOKEN])[::-1][: len(numbers)]
    assert np.abs(np.array(numbers) - best).max() < 0.002


def in_a_lab(lab: Lab, saved: Saved, page: Page, name: str) -> Values:
    file = f"{name}.ipynb"
    shutil.copy(saved.notebook, lab.root / file)
    notebook = Notebook(page, ARTIFACTS)
    notebook.open(lab.classic(file) if name == "seven" else lab.page(file), kernel=False)
    values = read(notebook.view(VIEW, state="saved"), saved)
    notebook.shot(f"places-{name}", notebook.cell(VIEW))
    notebook.close()
    return values


def in_vscode(saved: Saved, page: Page, folder: Path) -> Values:
    (folder / "workspace").mkdir()
    shutil.copy(saved.notebook, folder / "workspace" / "places.ipynb")
    with serve_editor(folder) as editor:
        workbench = Workbench(page, editor)
        workbench.open("places.ipynb")
        frame = workbench.frame('[data-lmkit="view"] [data-lmkit="label-row"]', count=2)
        values = read(frame.locator('[data-lmkit="view"]').first, saved)
        workbench.shot("places")
    return values


def test_vs_code_without_the_extension_runs_the_page_in_the_output(
    saved: Saved, page: Page, tmp_path: Path
) -> None:
    (tmp_path / "workspace").mkdir()
    shutil.copy(saved.notebook, tmp_path / "workspace" / "places.ipynb")
    with serve_editor(tmp_path, vsix=False) as editor:
        workbench = Workbench(page, editor, ours=False)
        workbench.palette("New Jupyter Notebook")  # before that is there, a notebook is a text
        workbench.open("places.ipynb")
        frame = frame_with(page, '[data-lmkit="view"] [data-lmkit="label-row"]', count=2)
        true(read(frame.locator('[data-lmkit="view"]').first, saved), saved)
        workbench.shot("places-plain")


@pytest.fixture
def another(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens pages, each with a context of its own."""
    contexts = []

    def open_one(**options: Any) -> Page:
        context = browser.new_context(
            viewport={"width": 1280, "height": 900}, locale="en-GB", **options
        )
        contexts.append(context)
        return context.new_page()

    yield open_one
    for context in contexts:
        context.close()


def in_the_picture(page: Page, saved: Saved) -> None:
    """Without scripts the page is its picture: words beside it, and the map in its pixels."""
    image = page.locator("img[alt*='starter:sentiment']").first
    expect(image).to_be_visible()
    assert page.locator('[data-lmkit="view"]').count() == 0
    words = image.get_attribute("alt") or ""
    for label, score in saved.labels.items():
        assert f"{label} {score:.3f}" in words
    assert f"{len(saved.tokens)} tokens" in words
    source = (image.get_attribute("src") or "").removeprefix("data:image/png;base64,")
    drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(source))).convert("RGB")).astype(int)
    side = HEAD_SIDE * 2
    under = 6 + 4 + 18 + MARGIN  # between the map's end and the picture's: a line of words
    top, left = len(drawn) - 2 * under - side, 2 * (MARGIN + GRID_WIDTH + 16)
    step = side / len(saved.tokens)
    middles = ((np.arange(len(saved.tokens)) + 0.5) * step).astype(int)
    found = drawn[top + middles[:, None], left + middles[None, :], 0]
    darkest, paper = 0, 255  # red of the colour of 1, and of 0
    strength = (paper - found) / (paper - darkest)
    assert np.abs(strength - np.sqrt(saved.attention)).max() < 0.03


def test_one_output_five_places(
    saved: Saved, lab: Lab, another: Callable[..., Page], tmp_path: Path
) -> None:
    page = another(offline=True)
    page.goto(saved.html.as_uri())
    places = {
        "JupyterLab": in_a_lab(lab, saved, another(), "lab"),
        "Notebook 7": in_a_lab(lab, saved, another(), "seven"),
        "VS Code": in_vscode(saved, another(), tmp_path),
        "HTML": read(page.locator('[data-lmkit="view"]').first, saved),
    }
    page.screenshot(path=ARTIFACTS / "places-html.png")
    first = places["JupyterLab"]
    for place, values in places.items():
        true(values, saved)
        assert values.labels == first.labels, place
        assert values.sentence == first.sentence, place

    page = another(offline=True, java_script_enabled=False)
    page.goto(saved.html.as_uri())
    in_the_picture(page, saved)
    page.screenshot(path=ARTIFACTS / "places-picture.png")
    # the picture of the page is that of the notebook, which viewers of notebooks show
    outputs: list[dict[str, Any]] = json.loads(saved.notebook.read_text())["cells"][VIEW]["outputs"]
    (data,) = (one["data"] for one in outputs if MIME in one.get("data", {}))
    assert "".join(data["image/png"]).strip() in saved.html.read_text()
