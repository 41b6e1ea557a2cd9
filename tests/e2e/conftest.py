"""A real browser and a real JupyterLab. Missing either fails; nothing is skipped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.e2e.chromium import find_chromium
from tests.e2e.lab import Lab, serve
from tests.e2e.notebook import Notebook

NOTEBOOK_7 = {
    "Cannot read properties of undefined (reading 'schema')",
    "Command 'filebrowser:open-path' not registered.",
}
"""Errors that Notebook 7 makes by itself when it opens a notebook without its file browser."""
expect.set_options(timeout=30_000)
"""Two kernels and two browsers share two cores: an answer may take longer than Playwright's 5 s."""
ARTIFACTS = Path(__file__).parents[2] / "test-artifacts" / "e2e"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            # One file shares a server and a browser, so its tests stay in one process.
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # Not for the whole run: while it is open, its event loop is in the way of asyncio.run.
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=find_chromium(), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with serve(tmp_path_factory.mktemp("lab")) as running:
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-GB")
    opened = context.new_page()
    yield opened
    context.close()


@pytest.fixture
def open_notebook(page: Page, lab: Lab) -> Iterator[Callable[..., Notebook]]:
    """Open a notebook; at the end nobody but the server was asked, and nothing broke."""
    opened: list[Notebook] = []

    def open_one(name: str, *, kernel: bool = True, classic: bool = False) -> Notebook:
        notebook = Notebook(page, ARTIFACTS)
        opened.append(notebook)
        notebook.open(lab.classic(name) if classic else lab.page(name), kernel=kernel)
        return notebook

    yield open_one
    for notebook in opened:
        notebook.close()
        assert notebook.watch.left_for(lab.url.removeprefix("http://")) == []
        assert notebook.watch.dialogs == []
        assert set(notebook.watch.errors) <= NOTEBOOK_7
