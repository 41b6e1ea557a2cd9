"""Work that takes long, panels among ordinary widgets, and a plugin that was just installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from tests.e2e.lab import Lab, serve
from tests.e2e.notebook import Notebook, code, part, write
from tests.tiny import tiny_bert

PLUGIN = Path(__file__).parent / "plugin"
SLOW = """
import time
import lmkit
from lmkit.api import Field, Task, Text, hookimpl, progress


class Count(Task):
    name = "count"
    title = "Count"
    fields = (Field.text("text"), Field.integer("steps", minimum=1, maximum=10_000, default=2_000))

    def run(self, model, *, text, steps):
        for step in range(steps):
            progress("Counting", step, steps)
            time.sleep(0.02)
        return Text(text=f"counted {steps}")


class Slow:
    @hookimpl
    def lmkit_register_tasks(self, register):
        register(Count)


lmkit.plugin_host().register(Slow(), "slow");
"""
# What the panel's root says while a run goes on, each state once, in order.
RECORD = """(view) => {
    const root = view.shadowRoot.querySelector('[data-lmkit="root"]');
    const seen = (globalThis.__seen = []);
    const look = () => {
        const state = root.querySelector('[data-status]')?.dataset.status;
        const label = root.querySelector('[data-lmkit="status"] .progress-label')?.textContent;
        const now = label ? `${state}: ${label}` : state;
        if (now !== seen.at(-1)) seen.push(now);
    };
    new MutationObserver(look).observe(root,
        { subtree: true, childList: true, attributes: true, characterData: true });
}"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder on the kernels' path, where pip installs: this environment stays as it is."""
    return tmp_path_factory.mktemp("site")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, site: Path) -> Iterator[Lab]:
    with serve(tmp_path_factory.mktemp("lab"), environ={"PYTHONPATH": str(site)}) as running:
        yield running


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("models") / "tiny")


def run_of(view: Locator) -> list[str]:
    seen: list[str] = view.page.evaluate("globalThis.__seen")
    return seen


def test_stop_is_heard_while_another_cell_computes(
    lab: Lab, tiny: Path, open_notebook: Callable[..., Notebook]
) -> None:
    cells = [
        code("%load_ext lmkit"),
        code(SLOW),
        code(f"%lm count --model {tiny} --text hello"),
        code("import time\nfor _ in range(3000):\n    time.sleep(0.02)"),
    ]
    notebook = open_notebook(write(lab.root / "stop.ipynb", cells))
    for index in (0, 1, 2):
        notebook.run(index)
    view = notebook.view(2)
    view.evaluate(RECORD)
    notebook.start(3)
    assert notebook.running(3)

    part(notebook.view(2), "run").click()
    status = part(view, "status")
    expect(status).to_contain_text("Counting", timeout=30_000)
    expect(part(view, "stop")).to_be_enabled()
    notebook.shot("work-running", notebook.cell(2))
    part(view, "stop").click()
    expect(part(view, "cancelled")).to_be_visible()

    # All of it happened while the cell was still at work.
    assert notebook.running(3)
    seen = run_of(view)
    order = ["running: Counting", "running: Stopping at the next layer or token", "cancelled"]
    assert [state for state in seen if state in order] == order, seen
    notebook.shot("work-stopped", notebook.cell(2))
    notebook.interrupt()
    notebook.finished(3)


def test_an_interrupted_cell_leaves_a_session_that_works(
    lab: Lab, tiny: Path, open_notebook: Callable[..., Notebook]
) -> None:
    cells = [
        code("%load_ext lmkit"),
        code(SLOW),
        code(f"%%lm count --model {tiny}\nhello"),
        code(f"%%lm classification --model {tiny}\nthe plot is thin"),
    ]
    notebook = open_notebook(write(lab.root / "interrupt.ipynb", cells))
    notebook.run(0)
    notebook.run(1)
    notebook.start(2)
    view = notebook.view(2)
    expect(part(view, "status")).to_contain_text("Counting", timeout=30_000)
    notebook.interrupt()
    notebook.finished(2)
    expect(part(notebook.view(2), "cancelled")).to_be_visible()
    assert [one["ename"] for one in notebook.outputs(2) if one["output_type"] == "error"] == [
        "KeyboardInterrupt"
    ]
    notebook.run(3)
    expect(notebook.view(3).locator('[data-lmkit="label-row"]')).to_have_count(2)

    # The panel whose run was interrupted runs again.
    view = notebook.view(2)
    part(view, "more-fields").click()
    view.locator('[data-lmkit="field"][data-field="steps"]').fill("3")
    part(view, "run").click()
    expect(part(view, "result-text")).to_have_text("counted 3", timeout=30_000)


def test_a_panel_stands_and_acts_among_ordinary_widgets(
    lab: Lab, tiny: Path, open_notebook: Callable[..., Notebook]
) -> None:
    source = f"""
import ipywidgets as w
import lmkit

kit = lmkit.load({str(tiny)!r})
panel = kit.panel("classification", "the plot is thin")
second = kit.panel("classification", "we saw the film")
best = w.Label("no run yet")
panel.observe(lambda change: setattr(best, "value", change["new"].scores[0].label), "result")
w.Tab([w.HBox([panel, w.VBox([panel.widgets()["text"], best])]), second], titles=("A", "B"))
"""
    notebook = open_notebook(
        write(lab.root / "widgets.ipynb", [code("%load_ext lmkit"), code(source)])
    )
    notebook.run_all()
    cell = notebook.cell(1)
    view = notebook.view(1)
    expect(cell.locator(".widget-label").last).to_have_text("no run yet")
    part(view, "run").click()
    expect(view.locator('[data-lmkit="label-row"]')).to_have_count(2, timeout=30_000)
    label = notebook.ask("panel.result.scores[0].label")
    expect(view.locator('[data-lmkit="label-row"]').first).to_contain_text(label)
    expect(cell.locator(".widget-label").last).to_have_text(label)
    notebook.shot("widgets-tab", cell)

    # An ordinary text area and the panel hold one text, whichever is edited.
    area = cell.locator(".widget-textarea textarea")
    box = view.locator('[data-lmkit="field"][data-field="text"]')
    area.fill("a film that moves you")
    expect(box).to_have_value("a film that moves you")
    box.fill("the old cinema")
    expect(area).to_have_value("the old cinema")
    view.locator('[data-lmkit="cell"][data-layer="1"][data-head="3"]').click()
    there = "(panel.text, panel.selection.layer, panel.selection.head)"
    notebook.hears(there, ("the old cinema", 1, 3))
    notebook.execute("panel.text = 'set in python'")
    expect(box).to_have_value("set in python")

    cell.get_by_role("tab", name="B").click()
    other = cell.locator('[data-lmkit="view"]').nth(1)
    expect(part(other, "badge")).to_have_attribute("data-state", "live")
    expect(other.locator('[data-lmkit="field"][data-field="text"]')).to_have_value(
        "we saw the film"
    )


def test_a_plugin_that_pip_has_just_installed(
    lab: Lab, site: Path, tiny: Path, open_notebook: Callable[..., Notebook]
) -> None:
    install = (
        f"%pip install --quiet --no-deps --no-build-isolation --no-index --target {site} {PLUGIN}"
    )
    cells = [
        code("%load_ext lmkit\n%lmkit plugins"),
        code(install),
        code("%lmkit rescan"),
        code(f"%%lm wordcount --model {tiny}\nThe film, the old film"),
        code("%lmkit"),
    ]
    notebook = open_notebook(write(lab.root / "rescan.ipynb", cells))
    notebook.run_all()
    assert "wordcount" not in "".join(notebook.outputs(0)[0]["text"])
    assert "wordcount (their-wordcount 1.2.3)  ready" in "".join(notebook.outputs(2)[0]["text"])
    view = notebook.view(3)
    table = part(view, "result-table")
    expect(table.locator("tbody tr")).to_have_count(4)
    expect(table.locator("tbody tr").first).to_have_text("the2")
    expect(part(view, "explorer")).to_be_visible()
    notebook.shot("plugin-table", notebook.cell(3))
    home = notebook.view(4)
    expect(part(home, "home-plugins")).to_contain_text("wordcount")
