"""Threshold of several labels, zero-shot, and a data set of generation, by mouse and by keys."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Locator, expect

from tests.e2e.lab import Lab
from tests.e2e.notebook import WAIT, Notebook, code, part, write
from tests.tiny import tiny_bert, tiny_llama

SEVERAL = """
import lmkit
kit = lmkit.load({path!r})
texts = ["the plot is thin", "a film that moves you", "i was moved .", "the old cinema"]
rows = [{{"text": text + " the film" * n, "topics": ["class 0", f"class {{n % 4}}"]}}
        for n in range(6) for text in texts]
"""

OWN = """
own = lmkit.load("starter:encoder")
own.panel("zero-shot")
"""
OWN_ROWS = """
texts = ["The striker scored twice.", "The bank raised its rates.", "", "The film won a prize."]
own.evaluate("zero-shot", texts, candidates="sport, business, culture")
"""
THREE = """
lmkit.load({path!r}).panel("classification")
"""
WRITES = """
import time
writes = lmkit.load({path!r})
films = [f"the film number {{n}} and the plot" for n in range(30)] + [None]
def slow(*_): time.sleep(0.2)
slowed = writes.loaded("generation").model.register_forward_hook(slow)
"""


def scores(view: Locator) -> dict[str, float]:
    """The table of measures as it stands on the page."""
    rows = part(view, "result-table").first.locator("tbody tr")
    cells = [row.locator("td").all_inner_texts() for row in rows.all()]
    return {name: float(value.replace(",", "")) for name, value in cells}


def test_panels_of_tasks(lab: Lab, tmp_path: Path, open_notebook: Callable[..., Notebook]) -> None:
    several = tiny_bert(tmp_path / "bert", 4, problem_type="multi_label_classification")
    cells = [
        code("%load_ext lmkit"),
        code(SEVERAL.format(path=str(several))),
        code("p = kit.panel('classification')\np"),
        code("ev = kit.evaluate('classification', rows, label='topics')\nev"),
        code(OWN),
        code(OWN_ROWS),
        code(WRITES.format(path=str(tiny_llama(tmp_path / "llama")))),
        code("writes.panel('generation', template='plain', max_new_tokens=4)"),
        code("two = lmkit.load('starter:sentiment').panel('classification')\ntwo"),
        code(THREE.format(path=str(tiny_bert(tmp_path / "three", 3)))),
    ]
    # one kernel for all: its start costs as much as a test
    notebook = open_notebook(write(lab.root / "task-panels.ipynb", cells))
    notebook.run_all()
    threshold_of_several_labels(notebook)
    threshold_of_two_labels(notebook)
    no_threshold_of_three_labels(notebook)
    labels_of_ones_own(notebook)
    data_set_that_is_written_on(notebook)


def threshold_of_several_labels(notebook: Notebook) -> None:
    view = notebook.view(2)
    view.locator('textarea[data-field="text"]').fill("the plot is thin, but i was moved.")
    part(view, "run").click()
    rows = view.locator('[data-lmkit="label-row"]')
    expect(rows).to_have_count(4, timeout=WAIT)
    found = [
        float(number)
        for text in rows.all_inner_texts()
        for number in re.findall(r"\d\.\d{3}", text)[:1]
    ]
    assert len(found) == 4
    slider, count = part(view, "threshold"), part(view, "threshold-count")

    def over(threshold: float) -> int:
        return sum(one >= threshold for one in found)

    # by mouse: a click near the right end of the slider, then near the left one
    box = slider.bounding_box()
    assert box is not None
    place = {"x": box["width"] * 0.97, "y": box["height"] / 2}
    slider.click(position=place)
    high = float(slider.input_value())
    assert high > 0.9
    expect(count).to_contain_text(str(over(high)))
    notebook.shot("threshold-high", notebook.cell(2))
    slider.click(position={"x": box["width"] * 0.03, "y": box["height"] / 2})
    low = float(slider.input_value())
    assert low < 0.1
    expect(count).to_contain_text(str(over(low)))

    # by keys: Home, End and the arrows
    slider.focus()
    notebook.page.keyboard.press("End")
    expect(slider).to_have_value("1")
    expect(count).to_contain_text(str(over(1.0)))
    notebook.page.keyboard.press("ArrowLeft")
    expect(slider).to_have_value("0.99")
    expect(count).to_contain_text(str(over(0.99)))
    notebook.page.keyboard.press("Home")
    expect(slider).to_have_value("0")
    expect(count).to_contain_text(str(over(0.0)))
    notebook.shot("threshold-low", notebook.cell(2))
    # the form's own field has it, and the kernel
    notebook.hears("p.threshold", 0.0)

    # -- the report: its measures follow, without a run of the model
    view = notebook.view(3)
    notebook.execute(
        "calls = []\n"
        "loaded = kit.loaded('classification').model\n"
        "hook = loaded.register_forward_hook(lambda *_: calls.append(1))"
    )
    slider = view.locator('[data-lmkit="slider"][data-field="row_threshold"]')
    slider.scroll_into_view_if_needed()
    seen = {}
    for key, at in (("Home", 0.0), ("End", 1.0)):
        before = part(view, "result-table").first.text_content() or ""
        slider.focus()
        notebook.page.keyboard.press(key)
        expect(part(view, "result-table").first).not_to_have_text(before, timeout=WAIT)
        expected = notebook.ask(
            f"{{k: v for k, v in ev.report(row_threshold={at}).scores.items() if v is not None}}"
        )
        seen[at] = scores(view)
        for name, value in expected.items():
            assert abs(seen[at][name] - value) < 6e-4 + 6e-4 * abs(value), (name, at)
    assert seen[0.0]["recall (macro)"] > 0.9
    assert seen[1.0]["recall (macro)"] < 0.1
    box = slider.bounding_box()
    assert box is not None
    before = part(view, "result-table").first.text_content() or ""
    slider.click(position={"x": box["width"] / 2, "y": box["height"] / 2})
    expect(part(view, "result-table").first).not_to_have_text(before, timeout=WAIT)
    assert 0.4 < float(slider.input_value()) < 0.6
    notebook.shot("threshold-report", notebook.cell(3))
    assert notebook.ask("calls") == []


def threshold_of_two_labels(notebook: Notebook) -> None:
    view = notebook.view(8)
    view.locator('textarea[data-field="text"]').fill("The plot is thin, but I was moved.")
    part(view, "run").click()
    rows = view.locator('[data-lmkit="label-row"]')
    expect(rows).to_have_count(2, timeout=WAIT)
    positive = rows.filter(has_text="positive")
    score = notebook.ask("{one.label: one.score for one in two.result.scores}['positive']")
    assert 0.5 < score < 0.9
    slider, given = part(view, "threshold"), part(view, "threshold-count")
    expect(view.locator(".threshold-note")).to_contain_text("Threshold for positive")
    expect(given).to_have_text("gives positive")

    # by mouse: near the right end the other label is given, near the left one this
    over = re.compile(r"\bover\b")
    box = slider.bounding_box()
    assert box is not None
    slider.click(position={"x": box["width"] * 0.97, "y": box["height"] / 2})
    assert float(slider.input_value()) > 0.9
    expect(given).to_have_text("gives negative")
    expect(positive).not_to_have_class(over)
    expect(rows.filter(has_text="negative")).to_have_class(over)
    notebook.shot("threshold-two", notebook.cell(8))
    slider.click(position={"x": box["width"] * 0.03, "y": box["height"] / 2})
    expect(given).to_have_text("gives positive")
    expect(positive).to_have_class(over)

    # by keys, to the step on either side of the probability
    slider.focus()
    notebook.page.keyboard.press("Home")
    for _ in range(int(score * 100)):
        notebook.page.keyboard.press("ArrowRight")
    expect(given).to_have_text("gives positive")
    notebook.page.keyboard.press("ArrowRight")
    expect(given).to_have_text("gives negative")
    # the form's own field has it, and the kernel
    chosen = float(slider.input_value())
    notebook.hears("two.threshold", chosen)


def no_threshold_of_three_labels(notebook: Notebook) -> None:
    view = notebook.view(9)
    view.locator('textarea[data-field="text"]').fill("the plot is thin")
    part(view, "run").click()
    expect(view.locator('[data-lmkit="label-row"]')).to_have_count(3, timeout=WAIT)
    expect(view.locator('[data-lmkit="threshold"]')).to_have_count(0)
    part(view, "more-fields").click()
    expect(view.locator('[data-lmkit="slider"][data-field="threshold"]')).to_be_disabled()
    expect(part(view, "field-idle")).to_contain_text("the likeliest is given")
    notebook.shot("threshold-three", notebook.cell(9))


def labels_of_ones_own(notebook: Notebook) -> None:
    view = notebook.view(4)
    field = view.locator('textarea[data-field="text"]')
    field.fill("The striker scored twice.")
    labels = view.locator('[data-field="candidates"]')
    labels.fill("sport, business, culture")
    part(view, "run").click()
    rows = view.locator('[data-lmkit="label-row"]')
    expect(rows).to_have_count(3, timeout=WAIT)
    expect(rows.first).to_contain_text("sport")
    expect(view).to_contain_text("By similarity of embeddings")
    notebook.shot("zero-shot", notebook.cell(4))
    field.fill("The striker scored twice, and then the bank raised its rates.")
    part(view, "run").click()
    # an edit: the result before stands beside the new one
    expect(view.locator('[data-lmkit="label-change"]')).to_have_count(3, timeout=WAIT)
    view = notebook.view(5)
    expect(part(view, "data-results")).to_contain_text("The text is empty.")
    table = view.locator('[data-lmkit="result-table"]').filter(
        has=notebook.page.locator("tr.leads")
    )
    table.get_by_role("button", name="predicted").click()
    names = table.locator("tbody tr td:nth-child(3)").all_inner_texts()
    assert names == sorted(names)
    assert len(set(names)) > 1
    table.locator("tbody tr").first.click()
    expect(view.locator('[data-lmkit="label-row"]')).to_have_count(3, timeout=WAIT)
    notebook.shot("zero-shot-row", notebook.cell(5))


def data_set_that_is_written_on(notebook: Notebook) -> None:
    view = notebook.view(7)
    part(view, "data-toggle").click()
    part(view, "data-source").fill("films")
    part(view, "data-open").click()
    expect(part(view, "data-facts")).to_contain_text("31 rows")
    part(view, "data-run").click()
    expect(part(view, "data-status")).to_contain_text(re.compile("[1-9][0-9]* of 3"), timeout=WAIT)
    part(view, "data-stop").click()
    expect(part(view, "data-note")).to_contain_text("Stopped", timeout=WAIT)
    notebook.shot("generation-rows-stopped", notebook.cell(7))
    notebook.execute("slowed.remove()")
    part(view, "data-run").click()
    expect(part(view, "data-facts")).to_contain_text("30 of 31 rows done", timeout=WAIT)
    expect(part(view, "data-results")).to_contain_text("None in place of a text")

    # -- the texts scored instead: another run, and the table sorts
    view.locator('select[data-field="mode"]').select_option("score")
    part(view, "data-run").click()
    table = view.locator('[data-lmkit="result-table"]').filter(
        has=notebook.page.locator("tr.leads")
    )
    button = table.get_by_role("button", name="perplexity")
    expect(button).to_be_visible(timeout=WAIT)
    button.click()
    numbers = [
        float(one.replace(",", ""))
        for one in table.locator("tbody tr td:nth-child(3)").all_inner_texts()
    ]
    assert len(numbers) > 5
    assert numbers == sorted(numbers, reverse=True)
    notebook.shot("generation-rows-scored", notebook.cell(7))

    # -- a row goes into the form, and is edited there
    text = table.locator("tbody tr").first.locator("td").nth(1).inner_text()
    table.locator("tbody tr").first.click()
    field = view.locator('textarea[data-field="prompt"]')
    expect(field).to_have_value(text, timeout=WAIT)
    choices = view.locator('[data-lmkit="choice"]')
    expect(choices.first).to_be_visible(timeout=WAIT)
    count = choices.count()
    field.fill(text + " of the film by the river")
    part(view, "run").click()
    expect(choices).not_to_have_count(count, timeout=WAIT)
    notebook.shot("generation-rows-edited", notebook.cell(7))
