"""Attribution where people meet it: in the explorer, run, stopped, compared, and read by axe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, expect

from tests.e2e.lab import Lab
from tests.e2e.notebook import WAIT, Notebook, code, part, write
from tests.tiny import tiny_bert

TEXT = "The plot is thin, but I was moved."
AXE = Path(__file__).parents[2] / "js" / "node_modules" / "axe-core" / "axe.min.js"
LOOK = """async (element) => {
    const found = await globalThis.axe.run(element, {
        runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"],
    });
    const looked = found.passes.flatMap((one) => one.nodes.map((node) => node.html)).join(" ");
    if (!looked.includes("scored-tokens")) return ["axe did not look into the view"];
    return found.violations.map((one) => `${one.id}: ${one.nodes.map((n) => n.html).join(" | ")}`);
}"""


def field(view: Locator, name: str) -> Locator:
    return view.locator(f'[data-lmkit="analysis"] [data-field="{name}"]')


def press(view: Locator, name: str) -> None:
    view.locator(f'[data-lmkit="analysis"] [data-lmkit="{name}"]').click()


def rows(view: Locator) -> Locator:
    return view.locator('[data-lmkit="analysis"] [data-lmkit="scored-row"]')


def complaints(notebook: Notebook, view: Locator) -> Any:
    notebook.page.add_script_tag(content=AXE.read_text(encoding="utf-8"))
    return view.evaluate(LOOK)


def test_attribution_is_run_stopped_and_compared_in_a_notebook(
    lab: Lab, open_notebook: Callable[..., Notebook]
) -> None:
    cells = [
        code("%load_ext lmkit"),
        code(f"import lmkit\nr = lmkit.load('starter:sentiment').classify({TEXT!r})\nr"),
    ]
    notebook = open_notebook(write(lab.root / "attribution.ipynb", cells))
    notebook.run_all()
    view = notebook.view(1)

    # Opened, it shows the default method for the predicted label.
    part(view, "views").select_option("attribution")
    expect(rows(view)).to_have_count(1, timeout=WAIT)
    result = part(view, "result-token-scores")
    expect(result).to_contain_text("label positive, probability 0.78")
    expect(part(view, "scored-note")).to_contain_text("delta")
    expect(result.locator('[data-lmkit="scored"]')).to_have_count(12)
    shown = result.locator('[data-lmkit="scored"]').evaluate_all(
        "(all) => all.map((one) => Number(one.dataset.value))"
    )
    asked = notebook.ask("list(r.attention.view('attribution')[0].rows[0].values)")
    assert max(abs(a - b) for a, b in zip(shown, asked, strict=True)) < 1e-5

    # A label that is not there is refused in a sentence, and the answer before stays in sight.
    field(view, "target").fill("joy")
    press(view, "run")
    expect(part(view, "analysis-status")).to_contain_text("no label 'joy'", timeout=WAIT)
    expect(part(view, "analysis-status")).to_contain_text("negative, positive")
    notebook.shot("attribution-error", notebook.cell(1))

    # Of another label, stopped on its way: many steps take long enough.
    field(view, "target").fill("negative")
    press(view, "more-fields")
    steps = view.locator('[data-lmkit="analysis"] input[type="number"][data-field="steps"]')
    steps.fill("1000")
    steps.press("Tab")
    press(view, "run")
    expect(part(view, "analysis-status")).to_contain_text("Integrated gradients", timeout=WAIT)
    press(view, "stop")
    expect(part(view, "cancelled")).to_be_visible()
    steps.fill("20")
    steps.press("Tab")
    press(view, "run")
    expect(part(view, "result-token-scores")).to_contain_text("label negative", timeout=WAIT)

    # All methods, in rows with their scores; a hidden special token is not drawn.
    field(view, "method").select_option("compare all methods")
    field(view, "hide_special").check()
    press(view, "run")
    expect(rows(view)).to_have_count(5, timeout=WAIT)
    notes = view.locator('[data-lmkit="analysis"] [data-lmkit="scored-note"]')
    expect(notes).to_have_count(5)
    for note in notes.all():
        expect(note).to_contain_text("insertion")
    expect(rows(view).first.locator('[data-lmkit="scored"]')).to_have_count(10)
    notebook.shot("attribution-all", notebook.cell(1))
    assert complaints(notebook, view) == []


def test_a_click_on_a_label_opens_its_attribution(
    lab: Lab, tmp_path: Path, open_notebook: Callable[..., Notebook]
) -> None:
    several = tiny_bert(tmp_path, 3, problem_type="multi_label_classification")
    cells = [
        code("%load_ext lmkit"),
        code(f"import lmkit\nr = lmkit.load('starter:sentiment').classify({TEXT!r})\nr"),
        code(f"q = lmkit.load({str(several)!r}).classify('the plot is thin')\nq"),
        code("z = lmkit.load('starter:encoder').zero_shot('A film.', candidates='film, sport')\nz"),
    ]
    notebook = open_notebook(write(lab.root / "attribution-labels.ipynb", cells))
    notebook.run_all()
    view = notebook.view(1)
    labels = view.locator('[data-lmkit="label-row"]')

    # by mouse, anywhere in the row
    labels.filter(has_text="negative").locator(".label-track").click()
    result = part(view, "result-token-scores")
    expect(result).to_contain_text("label negative", timeout=WAIT)
    expect(part(view, "views")).to_have_value("attribution")
    expect(field(view, "target")).to_have_value("negative")
    notebook.shot("attribution-label", notebook.cell(1))

    # by keys, and the method stays
    field(view, "method").select_option("occlusion")
    button = labels.filter(has_text="positive").locator('[data-lmkit="label-explain"]')
    button.focus()
    notebook.page.keyboard.press("Enter")
    expect(result).to_contain_text("label positive", timeout=WAIT)
    expect(rows(view).first).to_contain_text("Occlusion")
    labels.filter(has_text="negative").locator('[data-lmkit="label-explain"]').focus()
    notebook.page.keyboard.press("Space")
    expect(result).to_contain_text("label negative", timeout=WAIT)
    assert complaints(notebook, view) == []

    # Of several labels the chosen one's logit; with labels of one's own there is nothing to ask.
    view = notebook.view(2)
    view.locator('[data-lmkit="label-row"]').filter(has_text="class 1").click()
    result = part(view, "result-token-scores")
    expect(result).to_contain_text("label class 1", timeout=WAIT)
    asked = notebook.ask(
        "list(q.attention.view('attribution', target='class 1')[0].rows[0].values)"
    )
    shown = result.locator('[data-lmkit="scored"]').evaluate_all(
        "(all) => all.map((one) => Number(one.dataset.value))"
    )
    assert max(abs(a - b) for a, b in zip(shown, asked, strict=True)) < 1e-5
    own = notebook.view(3)
    expect(own.locator('[data-lmkit="label-row"]')).to_have_count(2)
    expect(own.locator('[data-lmkit="label-explain"]')).to_have_count(0)
