"""A browser that loses its graphics: a driver that was reset, a computer that slept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

import lmkit
from tests.e2e.conftest import ARTIFACTS
from tests.e2e.notebook import part
from tests.e2e.picture import coloured, map_of
from tests.tiny import tiny_bert

LAYER, HEAD = 1, 3


@pytest.fixture
def lost(browser: Browser, page: Page, tmp_path: Path) -> tuple[Page, np.ndarray]:
    """A page with a saved map, from which the browser's graphics process was taken away."""
    result = lmkit.load(str(tiny_bert(tmp_path / "bert"))).classify("the plot is thin.")
    result.attention.show(LAYER, HEAD, picture="map")
    file = tmp_path / "map.html"
    result.save(file)
    page.goto(file.as_uri())
    attention = np.asarray(result.attention[LAYER, HEAD])
    view = page.locator('[data-lmkit="view"]').first
    map_of(view, attention)
    page.evaluate(
        """() => {
            globalThis.restored = [];
            const root = document.querySelector('[data-lmkit="view"]').shadowRoot;
            const note = ({ target }) => restored.push(target.dataset.lmkit ?? '');
            root.addEventListener('contextrestored', note, true);
        }"""
    )
    browser.new_browser_cdp_session().send("Browser.crashGpuProcess")
    page.wait_for_function("() => restored.includes('picture-canvas')", timeout=60_000)
    return page, attention


def test_every_picture_is_drawn_again(lost: tuple[Page, np.ndarray]) -> None:
    page, attention = lost
    view = page.locator('[data-lmkit="view"]').first
    map_of(view, attention)
    for thumb in view.locator('[data-lmkit="grid"] canvas').all():
        coloured(thumb)
    page.screenshot(path=ARTIFACTS / "graphics-lost.png")
    part(view, "tab-arcs").click()
    expect(part(view, "picture")).to_have_attribute("data-state", "ready")
    coloured(part(view, "picture-canvas"))
    part(view, "tab-map").click()
    map_of(view, attention)
