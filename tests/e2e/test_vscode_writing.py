"""VS Code by mouse and keys: cells and their completion, a new plugin, mistakes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.editor import Editor, Workbench, serve

NOTEBOOK = {
    "cells": [{
        "cell_type": "code", "execution_count": None, "id": "a", "metadata": {},
        "source": ["x = 1"], "outputs": [],
    }],
    "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "p"}},
    "nbformat": 4, "nbformat_minor": 5,
}  # fmt: skip


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Editor]:
    folder: Path = tmp_path_factory.mktemp("vscode")
    (folder / "workspace").mkdir()
    (folder / "workspace" / "nb.ipynb").write_text(json.dumps(NOTEBOOK))
    with serve(folder) as running:
        yield running


def cells(page: Page) -> list[str]:
    """The sources that the notebook in sight shows."""
    found = page.locator(".notebookOverlay .cell-list-container .view-lines").all_inner_texts()
    return [text.replace("\u00a0", " ") for text in found]


def test_a_cell_is_inserted_and_its_line_completed(page: Page, editor: Editor) -> None:
    workbench = Workbench(page, editor)
    # without a notebook there is nothing to insert a cell into
    workbench.palette("lmkit: Open Panel")
    page.locator(".quick-input-widget input.input").fill(">lmkit: ")
    rows = page.locator(".quick-input-list .monaco-list-row")
    expect(rows.filter(has_text="lmkit: Open Panel")).to_be_visible()
    expect(rows.filter(has_text="lmkit: Insert Cell")).to_have_count(0)
    page.keyboard.press("Escape")

    workbench.open("nb.ipynb")
    expect(page.locator(".notebookOverlay .view-lines")).to_have_count(1, timeout=60_000)
    workbench.command("lmkit: Insert Cell")
    workbench.pick("Classification")
    workbench.pick("starter:sentiment")
    expect(page.locator(".notebookOverlay .view-lines")).to_have_count(3, timeout=60_000)
    expect(page.locator(".notebookOverlay .view-lines").nth(2)).to_contain_text("%%lm")
    _, load, run = cells(page)
    assert load == "%load_ext lmkit"
    assert run.startswith("%%lm classification --model starter:sentiment\n")
    workbench.shot("inserted")

    # typed: the magic, a task, an option, a model
    first = page.locator(".notebookOverlay .view-lines").first
    first.click()
    page.keyboard.press("Control+A")
    rows = page.locator(".suggest-widget .monaco-list-row")
    for typed, offer in (
        ("%%l", "%%lm"),
        (" classif", "classification"),
        (" --mo", "--model"),
        (" starter:sent", "starter:sentiment"),
    ):
        page.keyboard.type(typed, delay=60)
        name = page.locator(".label-name", has_text=re.compile(rf"^{re.escape(offer)}$"))
        one = rows.filter(has=name, has_text="lmkit")
        expect(one.first).to_be_visible(timeout=60_000)
        workbench.shot(f"completion-{offer.strip('%-').replace(':', '-')}")
        one.first.click()
    # the editor draws what it holds in its next frame
    whole = re.compile(r"^%%lm\sclassification\s--model\sstarter:sentiment$")
    expect(page.locator(".notebookOverlay .view-lines").first).to_have_text(whole)
    workbench.harmless()


def test_a_new_plugin_is_written_and_opened(page: Page, editor: Editor) -> None:
    workbench = Workbench(page, editor)
    workbench.command("lmkit: New Plugin")
    box = page.locator(".quick-input-widget input.input")
    expect(page.locator(".quick-input-title")).to_have_text("lmkit: New Plugin", timeout=60_000)
    box.fill("My Task")
    expect(page.locator(".quick-input-message")).to_contain_text("Lower-case letters")
    workbench.shot("new-plugin-name")
    box.fill("my-task")
    expect(page.locator(".quick-input-message")).not_to_contain_text("Lower-case letters")
    page.keyboard.press("Enter")
    toast = workbench.toast("lmkit-my-task was written.")
    expect(toast).to_be_visible(timeout=60_000)
    expect(toast.get_by_role("button", name="Install in a Terminal")).to_be_visible()
    expect(page.locator(".monaco-editor .view-lines").first).to_contain_text("lmkit.api")
    assert (editor.workspace / "lmkit-my-task" / "pyproject.toml").is_file()
    workbench.shot("new-plugin")

    # the same once more: it says that the folder is there, and leaves it alone
    workbench.command("lmkit: New Plugin")
    box.fill("my-task")
    page.keyboard.press("Enter")
    expect(workbench.toast("is there already.")).to_be_visible(timeout=60_000)
    workbench.shot("new-plugin-again")
    workbench.harmless()
