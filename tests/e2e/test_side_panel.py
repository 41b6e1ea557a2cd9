"""The side panel of JupyterLab: what it says of each kernel, and what its buttons do."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Locator, Page, expect

from tests.e2e.lab import Lab
from tests.e2e.notebook import WAIT, WITHOUT_LMKIT, Notebook, code, part, write

OpenNotebook = Callable[..., Notebook]
TEXT = "The plot is thin, but I was moved."


def side_panel(notebook: Notebook) -> Locator:
    notebook.js("await app.commands.execute('lmkit:show-kernel');")
    found = notebook.page.locator("#lmkit-side-panel")
    expect(found).to_be_visible()
    return found


def sources(notebook: Notebook) -> list[str]:
    found: list[str] = notebook.js(
        "return panel.content.widgets.map((one) => one.model.sharedModel.getSource());"
    )
    return found


def test_it_offers_to_load_lmkit_then_shows_the_kernel_and_inserts_a_cell(
    open_notebook: OpenNotebook, lab: Lab
) -> None:
    notebook = open_notebook(write(lab.root / "side.ipynb", [code("1 + 1")]))
    side = side_panel(notebook)
    expect(side).to_contain_text("is installed here and not loaded", timeout=WAIT)
    side.get_by_role("button", name="Load lmkit").click()
    expect(part(side, "home")).to_be_visible(timeout=WAIT)
    expect(side.locator('[data-lmkit="device"][data-name="cpu"]')).to_have_count(1)
    expect(side.locator('[data-lmkit="plugin"][data-state="ready"]').first).to_be_visible()
    assert sources(notebook) == ["1 + 1"]  # loaded without a cell of its own

    side.get_by_role("button", name="Insert a cell: Classification", exact=True).click()
    assert sources(notebook)[1] == f"%%lm classification\n{TEXT}"
    notebook.run(1)
    model = side.locator('[data-lmkit="loaded-model"]')
    expect(model).to_have_count(1, timeout=WAIT)  # it followed the run
    expect(side.locator('[data-lmkit="open-view"]')).to_contain_text(TEXT)
    notebook.shot("side-panel")

    notebook.js("panel.content.activeCellIndex = 0;")
    side.get_by_role("button", name="Go to the output of Classification").click()
    notebook.until("return panel.content.activeCellIndex === 1;")

    model.get_by_role("button").click()
    expect(model).to_have_count(0, timeout=WAIT)


def test_a_task_runs_on_the_selected_text(open_notebook: OpenNotebook, lab: Lab) -> None:
    notebook = open_notebook(
        write(
            lab.root / "selected.ipynb", [code("%load_ext lmkit"), code("note = 'A lovely film.'")]
        )
    )
    notebook.run(0)
    side = side_panel(notebook)
    expect(part(side, "home")).to_be_visible(timeout=WAIT)
    notebook.js(
        """const content = panel.content;
        content.activeCellIndex = 1;
        const editor = content.activeCell.editor;
        editor.setSelection({start: {line: 0, column: 8}, end: {line: 0, column: 22}});"""
    )
    side.get_by_role("button", name="Insert a cell: Classification", exact=True).click()
    notebook.finished(2)
    assert sources(notebook)[2] == "%%lm classification\nA lovely film."
    expect(notebook.view(2).locator('[data-lmkit="label-row"]')).to_have_count(2)


def test_it_says_what_is_missing_and_follows_the_kernel(
    open_notebook: OpenNotebook, lab: Lab
) -> None:
    notebook = open_notebook(write(lab.root / "missing.ipynb", [code(WITHOUT_LMKIT)]))
    notebook.run(0)
    side = side_panel(notebook)
    expect(side).to_contain_text("lmkit is not in this kernel's environment", timeout=WAIT)
    expect(side.locator("code")).to_have_text("%pip install lmkit-core")
    side.get_by_role("button", name="Insert a cell with it").click()
    assert sources(notebook)[1] == "%pip install lmkit-core"
    notebook.restart()
    expect(side).to_contain_text("is installed here and not loaded", timeout=WAIT)
    notebook.js("void app.commands.execute('lmkit:load');")
    expect(part(side, "home")).to_be_visible(timeout=WAIT)


def test_the_launcher_makes_a_notebook_that_runs(
    open_notebook: OpenNotebook, lab: Lab, page: Page
) -> None:
    notebook = open_notebook(write(lab.root / "launch.ipynb", [code("")]))
    notebook.js("await app.commands.execute('launcher:create');")
    tile = page.locator(".jp-LauncherCard", has_text="lmkit notebook")
    expect(tile).to_be_visible(timeout=WAIT)
    notebook.shot("launcher")
    tile.click()
    page.wait_for_function(
        """() => window.jupyterapp.shell.currentWidget?.content?.widgets?.[0]?.model
            .sharedModel.getSource() === '%load_ext lmkit'""",
        timeout=WAIT,
    )


def test_it_is_at_home_in_notebook_7(open_notebook: OpenNotebook, lab: Lab) -> None:
    notebook = open_notebook(
        write(lab.root / "classic-side.ipynb", [code("%load_ext lmkit")]), classic=True
    )
    notebook.run(0)
    side = side_panel(notebook)
    expect(part(side, "home")).to_be_visible(timeout=WAIT)
    notebook.shot("side-panel-notebook-7")
    side.get_by_role("button", name="Insert a cell: Classification", exact=True).click()
    assert sources(notebook)[1] == f"%%lm classification\n{TEXT}"
