"""The side panel of JupyterLab: what it says of each kernel, and what its buttons do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.axe import violations
from tests.e2e.lab import Lab
from tests.e2e.notebook import WAIT, WITHOUT_LMKIT, Notebook, code, part, write
from tests.tiny import tiny_bert

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


def test_the_shortcut_and_the_palette_ask_which_task(
    open_notebook: OpenNotebook, lab: Lab, page: Page
) -> None:
    cells = [code("%load_ext lmkit"), code("note = 'A lovely film.'")]
    notebook = open_notebook(write(lab.root / "asked.ipynb", cells))
    notebook.run(0)
    editor = page.locator(".jp-CodeCell").nth(1).locator(".cm-content")
    dialog = page.locator(".jp-Dialog")
    for number, way in enumerate(("shortcut", "palette"), 2):
        editor.click()
        page.keyboard.press("Home")
        for _ in range(8):
            page.keyboard.press("ArrowRight")
        for _ in range(14):
            page.keyboard.press("Shift+ArrowRight")
        if way == "shortcut":
            page.keyboard.press("Control+Alt+L")
        else:
            page.keyboard.press("Control+Shift+C")
            page.locator(".jp-ModalCommandPalette input").fill("Run an lmkit task")
            page.locator(".lm-CommandPalette-item", has_text="Run an lmkit task").first.click()
        expect(dialog).to_contain_text("Task", timeout=WAIT)
        dialog.locator("select").select_option(label="classification")
        notebook.shot(f"which-task-{way}")
        dialog.locator(".jp-mod-accept").click()
        expect(dialog).to_have_count(0)
        # below the cell with the text, above what was inserted before
        notebook.until("return panel.content.widgets.length === argument;", number + 1)
        assert sources(notebook)[2] == "%%lm classification\nA lovely film."
        notebook.finished(2)
        expect(notebook.view(2).locator('[data-lmkit="label-row"]')).to_have_count(2)


def test_the_shortcut_in_a_busy_kernel_says_so_and_lets_go(
    open_notebook: OpenNotebook, lab: Lab, page: Page
) -> None:
    cells = [
        code("%load_ext lmkit"),
        code("import pathlib, time\nwhile not pathlib.Path('go').exists(): time.sleep(0.05)"),
        code("note = 'A lovely film.'"),
    ]
    notebook = open_notebook(write(lab.root / "busy.ipynb", cells))
    notebook.run(0)
    notebook.start(1)
    dialog = page.locator(".jp-Dialog")
    notice = page.locator(".Toastify__toast", has_text="The kernel is computing")
    editor = page.locator(".jp-CodeCell").nth(2).locator(".cm-content")
    editor.click()
    page.keyboard.press("Control+Alt+L")
    expect(notice).to_have_count(1, timeout=WAIT)
    notebook.shot("busy-kernel")
    notice.get_by_role("button", name="Cancel").click()
    expect(notice).to_have_count(0)

    # pressed twice it still asks once; the answer that was given up brings no dialog of its own
    editor.click()
    page.keyboard.press("Control+Alt+L")
    page.keyboard.press("Control+Alt+L")
    expect(notice).to_have_count(1, timeout=WAIT)
    expect(dialog).to_have_count(0)
    (lab.root / "go").touch()
    expect(dialog).to_contain_text("Task", timeout=WAIT)
    expect(notice).to_have_count(0)
    dialog.locator(".jp-mod-reject").click()
    expect(dialog).to_have_count(0)
    assert len(sources(notebook)) == 3


def test_a_command_that_fails_says_why(open_notebook: OpenNotebook, lab: Lab, page: Page) -> None:
    broken = "get_ipython().extension_manager.load_extension = lambda name: 1 / 0"
    notebook = open_notebook(write(lab.root / "broken.ipynb", [code(broken)]))
    notebook.run(0)
    for command in ("lmkit:load", "lmkit:run-on-selection"):
        notebook.js(f"void app.commands.execute('{command}');")
        dialog = page.locator(".jp-Dialog")
        expect(dialog).to_contain_text("ZeroDivisionError", timeout=WAIT)
        dialog.get_by_role("button", name="Close").click()
        expect(dialog).to_have_count(0)


def test_it_follows_the_notebook_at_hand(open_notebook: OpenNotebook, lab: Lab, page: Page) -> None:
    write(lab.root / "second.ipynb", [code("1 + 1")])
    notebook = open_notebook(write(lab.root / "first.ipynb", [code("%load_ext lmkit")]))
    notebook.run(0)
    side = side_panel(notebook)
    expect(part(side, "home")).to_be_visible(timeout=WAIT)
    notebook.js("await app.commands.execute('docmanager:open', { path: 'second.ipynb' });")
    expect(side).to_contain_text("is installed here and not loaded", timeout=WAIT)
    side.get_by_role("button", name="Load lmkit").click()
    expect(part(side, "home")).to_be_visible(timeout=WAIT)
    side.get_by_role("button", name="Insert a cell: Classification", exact=True).click()
    expect(page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-CodeCell")).to_have_count(2)
    assert sources(notebook) == ["%load_ext lmkit"]
    page.locator(".lm-TabBar-tab", has_text="first.ipynb").click()
    notebook.until("return app.shell.currentWidget?.context?.path === 'first.ipynb';")
    expect(part(side, "home")).to_be_visible(timeout=WAIT)
    side.get_by_role("button", name="Insert a cell: Named entities", exact=True).click()
    assert sources(notebook)[1].startswith("%%lm ner")
    # without a notebook there is nobody to ask
    for name in ("first.ipynb", "second.ipynb"):
        tab = page.locator(".lm-TabBar-tab", has_text=name).first
        tab.click()
        notebook.js("void app.commands.execute('application:close');")
        discard = page.locator(".jp-Dialog .jp-mod-warn")
        discard.click(timeout=WAIT)
        expect(tab).to_have_count(0)
    expect(side).to_contain_text("Open a notebook to see its kernel here.", timeout=WAIT)


def test_it_says_what_is_missing_and_follows_the_kernel(
    open_notebook: OpenNotebook, lab: Lab
) -> None:
    notebook = open_notebook(write(lab.root / "missing.ipynb", [code(WITHOUT_LMKIT)]))
    notebook.run(0)
    side = side_panel(notebook)
    expect(side).to_contain_text("lmkit is not in this kernel's environment", timeout=WAIT)
    install = "%pip install lmkit-core lmkit-classification"
    expect(side.locator("code")).to_have_text(install)
    side.get_by_role("button", name="Insert a cell with it").click()
    assert sources(notebook)[1] == install
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


def fits(side: Locator) -> None:
    """Nothing is wider than the panel: it scrolls in one direction only."""
    wide: list[str] = side.evaluate(
        """(panel) => {
            const found = [];
            const edge = panel.getBoundingClientRect().right + 1;
            const look = (node) => {
                for (const one of node.children) {
                    const box = one.getBoundingClientRect();
                    if (box.width > 0 && box.right > edge) found.push(one.outerHTML.slice(0, 200));
                    look(one);
                    if (one.shadowRoot) look(one.shadowRoot);
                }
            };
            look(panel);
            return found;
        }"""
    )
    assert wide == []


def drag_to(page: Page, width: int) -> None:
    """Make the side bar as wide, by its handle as a person does."""
    side = page.locator("#lmkit-side-panel").bounding_box()
    handles = page.locator("#jp-main-split-panel > .lm-SplitPanel-handle:not(.lm-mod-hidden)")
    grip = handles.first.bounding_box()
    assert side is not None
    assert grip is not None
    page.mouse.move(grip["x"] + grip["width"] / 2, grip["y"] + 300)
    page.mouse.down()
    page.mouse.move(side["x"] + width, grip["y"] + 300, steps=5)
    page.mouse.up()


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_it_is_narrow_readable_and_driven_by_keys(
    open_notebook: OpenNotebook, lab: Lab, page: Page, tmp_path: Path, theme: str
) -> None:
    model = tiny_bert(tmp_path / ("a-model-with-a-name-as-long-as-those-of-a-hub-" * 3))
    kind = theme.split()[-1].lower()
    cells = [
        code("%load_ext lmkit"),
        code(f"%%lm classification --model {model}\nthe plot is thin."),
    ]
    notebook = open_notebook(write(lab.root / f"narrow-{kind}.ipynb", cells))
    notebook.js(f"await app.commands.execute('apputils:change-theme', {{theme: '{theme}'}});")
    expect(page.locator(f'body[data-jp-theme-name="{theme}"]')).to_have_count(1)
    side = side_panel(notebook)
    expect(side).to_contain_text("is installed here and not loaded", timeout=WAIT)
    # what JupyterLab lays over the page while a theme loads takes the mouse
    expect(page.locator("#jupyterlab-splash")).to_have_count(0)
    drag_to(page, 235)
    assert page.evaluate("String(getSelection())") == ""
    fits(side)
    notebook.shot(f"side-panel-{kind}-not-loaded")
    assert violations(page, "#lmkit-side-panel") == []
    notebook.run_all()
    expect(side.locator('[data-lmkit="loaded-model"]')).to_have_count(1, timeout=WAIT)
    fits(side)
    notebook.shot(f"side-panel-{kind}-narrow")
    assert violations(page, "#lmkit-side-panel") == []

    # from the panel's first control to the cell that it inserts, by keys alone
    side.get_by_role("button").first.focus()
    wanted = side.get_by_role("button", name="Insert a cell: Classification", exact=True)
    for _ in range(60):
        if wanted.evaluate("one => one.getRootNode().activeElement === one"):
            break
        page.keyboard.press("Tab")
    expect(wanted).to_be_focused()
    page.keyboard.press("Enter")
    notebook.until("return panel.content.widgets.length === 3;")
    # JupyterLab scrolls there before it puts the cursor into the cell.
    notebook.until("return panel.content.activeCell?.editor?.hasFocus() === true;")
    page.keyboard.type("ZZ")
    notebook.until(
        "return panel.content.widgets.some((one) => "
        "one.model.sharedModel.getSource().includes('ZZ'));"
    )


def test_a_restart_in_the_middle_of_a_run(open_notebook: OpenNotebook, lab: Lab) -> None:
    cells = [
        code("%load_ext lmkit"),
        code(
            "import time\nfrom lmkit.kernel_session import current_host\n"
            "task = current_host().task('classification').task\n"
            "run = task.run\n"
            "def slow(self, *more, **values):\n"
            "    time.sleep(values['k'] * 20)\n"
            "    return run(self, *more, **values)\n"
            "task.run = slow"
        ),
        code("%lm classification --model starter:sentiment"),
    ]
    notebook = open_notebook(write(lab.root / "restarted.ipynb", cells))
    notebook.run_all()
    side = side_panel(notebook)
    expect(part(side, "home")).to_be_visible(timeout=WAIT)
    view = notebook.view(2)
    view.locator('[data-lmkit="field"][data-field="text"]').fill("typed by me")
    part(view, "run").click()
    expect(part(view, "stop")).to_be_enabled()
    notebook.restart()
    expect(side).to_contain_text("is installed here and not loaded", timeout=WAIT)
    view = notebook.view(2, state="lost")
    expect(part(view, "saved-note")).to_contain_text("run the cell to go live")
    expect(part(view, "run")).to_be_disabled()
    expect(part(view, "stop")).to_be_disabled()
    notebook.shot("side-panel-restarted")
