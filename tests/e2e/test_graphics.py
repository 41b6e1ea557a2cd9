"""Pictures where the browser changes under them: it loses its graphics, or gets another width."""

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
def saved(tmp_path: Path) -> tuple[str, np.ndarray]:
    """The address of a page with a saved map, and its numbers."""
    result = lmkit.load(str(tiny_bert(tmp_path / "bert"))).classify("the plot is thin.")
    result.attention.show(LAYER, HEAD, picture="map")
    file = tmp_path / "map.html"
    result.save(file)
    return file.as_uri(), np.asarray(result.attention[LAYER, HEAD])


def test_a_map_is_laid_out_anew_for_another_width(
    page: Page, saved: tuple[str, np.ndarray]
) -> None:
    address, attention = saved
    page.goto(address)
    view = page.locator('[data-lmkit="view"]').first
    wide = map_of(view, attention)
    # as narrow as a cell is while an editor lays out its page
    page.set_viewport_size({"width": 90, "height": 900})
    page.reload()
    expect(part(view, "picture")).to_have_attribute("data-state", "ready")
    page.wait_for_timeout(500)
    page.set_viewport_size({"width": 1280, "height": 900})
    # its height stays that which was reserved for it, which a narrow page makes less
    assert map_of(view, attention).side > 0.8 * wide.side
    page.set_viewport_size({"width": 360, "height": 900})
    assert map_of(view, attention).side < wide.side

    # who has zoomed in stays where they are
    page.set_viewport_size({"width": 1280, "height": 900})
    map_of(view, attention)
    part(view, "zoom-in").click()
    expect(part(view, "zoom-fit")).to_be_enabled()
    page.set_viewport_size({"width": 1200, "height": 900})
    page.wait_for_timeout(500)
    expect(part(view, "zoom-fit")).to_be_enabled()
    part(view, "zoom-fit").click()
    map_of(view, attention)


@pytest.fixture
def lost(browser: Browser, page: Page, saved: tuple[str, np.ndarray]) -> tuple[Page, np.ndarray]:
    """A page with a saved map, from which the browser's graphics process was taken away."""
    address, attention = saved
    page.goto(address)
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
