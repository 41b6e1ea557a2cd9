"""A data set in a real JupyterLab: run, stop, go on, sort, filter, slide, click a row."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import Locator, expect

from tests.e2e.lab import Lab
from tests.e2e.notebook import Notebook, code, part, write

ROWS = """
import lmkit, time
texts = ["a moving and honest film", "dull, long and badly acted", "i laughed once",
         "the best thing this year", "a waste of two hours", "warm, funny and wise"]
stars = ["positive", "negative", "negative", "positive", "negative", "positive"]
rows = [{"review": f"{texts[i % 6]}, number {i}", "stars": stars[i % 6]} for i in range(400)]
rows[7]["review"] = None
kit = lmkit.load("starter:sentiment")
def slow(*_): time.sleep(0.3)
slowed = kit.loaded("classification").model.register_forward_hook(slow)
"""


def column(table: Locator, number: int) -> list[str]:
    return table.locator(f"tbody tr td:nth-child({number})").all_inner_texts()


def test_a_data_set_in_the_browser(lab: Lab, open_notebook: Callable[..., Notebook]) -> None:
    cells = [
        code("%load_ext lmkit"),
        code(ROWS),
        code("kit.panel('classification')"),
        code("kit.evaluate('classification', rows[:60], text='review', label='stars')"),
    ]
    notebook = open_notebook(write(lab.root / "data-sets.ipynb", cells))
    notebook.run_all()
    view = notebook.view(2)

    # -- open a variable of the notebook; what cannot be opened is said in words
    part(view, "data-toggle").click()
    part(view, "data-source").fill("nowhere.csv")
    part(view, "data-open").click()
    expect(part(view, "data-problem")).to_contain_text("nowhere.csv is not there")
    part(view, "data-source").fill("rows")
    part(view, "data-open").click()
    expect(part(view, "data-facts")).to_contain_text("400 rows")
    chosen = view.locator('[data-lmkit="data-column"][data-column="text"]')
    expect(chosen).to_have_value("review")
    view.locator('[data-lmkit="data-column"][data-column="label"]').select_option("stars")

    # -- stop in the middle: what is done stays, and the rest can follow
    part(view, "data-run").click()
    expect(part(view, "data-status")).to_contain_text(re.compile("[1-9][0-9]* of 400|of 399"))
    part(view, "data-stop").click()
    expect(part(view, "data-note")).to_contain_text("Stopped", timeout=30_000)
    expect(part(view, "data-results")).to_contain_text("accuracy")
    notebook.shot("data-set-stopped", notebook.cell(2))
    expect(part(view, "data-run")).to_have_text("Go on with the rest")
    notebook.execute("slowed.remove()")
    part(view, "data-run").click()
    expect(part(view, "data-facts")).to_contain_text("399 of 400 rows done", timeout=60_000)
    expect(part(view, "data-note")).to_contain_text("1 row was left out")
    expect(part(view, "data-results")).to_contain_text("None in place of a text")

    # -- the evaluation of a cell shows itself, and its table sorts by any column
    view = notebook.view(3)
    tables = view.locator('[data-lmkit="result-table"]')
    rows = tables.filter(has=notebook.page.locator("tr.leads"))
    probability = rows.get_by_role("button", name="probability")
    probability.click()
    falling = [float(one) for one in column(rows, 5)]
    assert falling == sorted(falling, reverse=True)
    probability.focus()
    notebook.page.keyboard.press("Enter")
    rising = [float(one) for one in column(rows, 5)]
    assert rising == sorted(rising)
    notebook.shot("data-set-report", notebook.cell(3))

    # -- a cell of the confusion matrix filters the rows, a second click lets them back in
    cell = view.locator('[data-lmkit="matrix-cell"][data-row="1"][data-column="1"]')
    count = int(cell.inner_text())
    cell.click()
    expect(rows).to_contain_text(f"are positive and predicted positive: {count}")
    assert set(column(rows, 3)) == {"positive"}
    view.locator('[data-lmkit="matrix-cell"][data-row="1"][data-column="1"]').click()
    expect(rows).not_to_contain_text("are positive")

    # -- the threshold acts without a run of the model
    before = part(view, "result-table").first.text_content()
    assert before
    slider = view.locator('[data-lmkit="slider"][data-field="row_threshold"]')
    slider.evaluate("(one) => { one.value = '0.99'; one.dispatchEvent(new Event('input')); }")
    expect(part(view, "result-table").first).not_to_have_text(before)
    expect(view.locator("[data-status]")).to_have_attribute("data-status", "done")
    slider.evaluate("(one) => { one.value = '0.5'; one.dispatchEvent(new Event('input')); }")
    # a table that is drawn anew meanwhile would swallow the click that follows
    expect(part(view, "result-table").first).to_have_text(before)
    expect(view.locator("[data-status]")).to_have_attribute("data-status", "done")

    # -- a click on a row explores it
    text = column(rows, 2)[2]
    rows.locator("tbody tr").nth(2).click()
    expect(view.locator('[data-lmkit="label-row"]')).to_have_count(2, timeout=30_000)
    expect(view.locator('[data-lmkit="field"][data-field="text"]')).to_have_value(text)
    expect(part(view, "picture-canvas").first).to_be_visible()
    expect(view.locator('[data-lmkit="label-row"]').first).to_be_in_viewport()
    notebook.shot("data-set-row", notebook.cell(3))

    # -- an edit of it shows the change beside the old result
    box = view.locator('[data-lmkit="field"][data-field="text"]')
    box.fill(text + ", or not")
    part(view, "run").click()
    expect(view.locator('[data-lmkit="label-change"]')).to_have_count(2, timeout=30_000)
    notebook.shot("data-set-edited", notebook.cell(3))
