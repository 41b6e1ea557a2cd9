"""Named entities in JupyterLab: find, click, explain, stop, redact and restore, score rows."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import expect

from tests.e2e.lab import Lab
from tests.e2e.notebook import WAIT, Notebook, code, part, write

TEXT = "Ada Lovelace worked with Charles Babbage in London, and wrote to Mary Somerville in Paris."
LONG = "One dull line follows another here, and no name is in it. "
END = "Mary Somerville wrote to Charles Babbage in Paris."
SLOW = """
import time, lmkit
kit = lmkit.load("starter:ner")
def slow(*_): time.sleep({seconds})
hook = kit.loaded("ner").model.register_forward_hook(slow)
"""
ROWS = """
words = "Ada Lovelace lived in London .".split()
tags = ["B-PER", "I-PER", "O", "O", "B-LOC", "O"]
rows = [{"words": words, "tags": tags},
        {"words": words, "tags": ["O", "O", "O", "O", "B-ORG", "O"]},
        {"words": words, "tags": tags[:2]},
        {"words": ["No", "one", "is", "here"], "tags": ["O", "B-PER", "O", "O"]}] * 3
done = kit.evaluate("ner", rows)
done
"""


def test_a_span_leads_to_its_attention_and_its_attribution(
    lab: Lab, open_notebook: Callable[..., Notebook]
) -> None:
    cells = [code("%load_ext lmkit"), code("%%lm ner\nNobody.")]
    notebook = open_notebook(write(lab.root / "ner.ipynb", cells))
    notebook.run_all()
    view = notebook.view(1)
    view.locator('textarea[data-field="text"]').fill(TEXT)
    part(view, "run").click()
    chips = view.locator('[data-lmkit="span-chip"]')
    expect(chips).to_have_count(5, timeout=WAIT)
    expect(chips.nth(0)).to_contain_text(re.compile(r"PER 0\.\d{3}"))
    notebook.shot("ner-found", notebook.cell(1))

    # -- by mouse: the kernel, the explorer and the labels of tokens have the same selection
    chips.nth(1).click()
    expect(chips.nth(1)).to_have_attribute("aria-pressed", "true")
    there = f"{notebook.view_in_kernel(1)}.selection.tokens"
    notebook.hears(f"bool({there})", True)
    chosen = notebook.ask(there)
    tokens = f"[t.text for t in {notebook.view_in_kernel(1)}.spec().attention.tokens]"
    named = "".join(notebook.ask(tokens)[at] for at in chosen)
    assert named.replace("##", "").lower() == "charlesbabbage"
    expect(part(view, "token-detail")).to_contain_text("B-PER")

    # -- by keys
    chips.nth(1).focus()
    notebook.page.keyboard.press("ArrowRight")
    expect(chips.nth(2)).to_be_focused()
    notebook.page.keyboard.press("Enter")
    expect(chips.nth(2)).to_have_attribute("aria-pressed", "true")
    notebook.shot("ner-chosen", notebook.cell(1))

    # -- what it rests on
    part(view, "views").select_option("attribution")
    result = part(view, "result-token-scores")
    expect(result).to_contain_text(re.compile("of .?london", re.IGNORECASE), timeout=WAIT)
    notebook.shot("ner-attribution", notebook.cell(1))

    # -- another word in place of a token: F2, and the run follows
    token = part(view, "token-list").locator('[data-lmkit="token"]').filter(has_text="london")
    token.focus()
    notebook.page.keyboard.press("F2")
    expect(part(view, "token-edit")).to_have_value("London")
    notebook.shot("token-edit", notebook.cell(1))
    notebook.page.keyboard.type("Berlin")
    notebook.page.keyboard.press("Enter")
    field = view.locator('textarea[data-field="text"]')
    expect(field).to_have_value(TEXT.replace("London", "Berlin"), timeout=WAIT)
    expect(view.locator('[data-lmkit="labelled-tokens"]')).to_contain_text("berlin", timeout=WAIT)


def test_a_long_text_stops_in_the_middle_and_leads_to_its_windows(
    lab: Lab, open_notebook: Callable[..., Notebook]
) -> None:
    text = LONG * 60 + "Ada Lovelace lived in London. " + LONG * 60 + END
    cells = [
        code("%load_ext lmkit"),
        code(SLOW.format(seconds=0.5)),
        code(f"p = kit.panel('ner', text={text!r})\np"),
    ]
    notebook = open_notebook(write(lab.root / "ner-long.ipynb", cells))
    notebook.run_all()
    view = notebook.view(2)
    part(view, "run").click()
    expect(part(view, "stop")).to_be_visible(timeout=WAIT)
    part(view, "stop").click()
    expect(part(view, "cancelled")).to_be_visible(timeout=WAIT)
    expect(view.locator('textarea[data-field="text"]')).to_have_value(text)
    notebook.ask("hook.remove()")
    part(view, "run").click()
    chips = view.locator('[data-lmkit="span-chip"]')
    expect(chips).to_have_count(4, timeout=2 * WAIT)
    labels = part(view, "result-token-labels")
    expect(labels).to_contain_text("window")
    first = labels.text_content() or ""
    chips.last.click()
    expect(labels).not_to_have_text(first, timeout=2 * WAIT)
    expect(labels).to_contain_text("Somerville", ignore_case=True, timeout=2 * WAIT)
    notebook.shot("ner-window", notebook.cell(2))


def test_names_are_redacted_and_restored(lab: Lab, open_notebook: Callable[..., Notebook]) -> None:
    cells = [code("%load_ext lmkit"), code(f"%%lm redact\n{TEXT}")]
    notebook = open_notebook(write(lab.root / "redact.ipynb", cells))
    notebook.run_all()
    view = notebook.view(1)
    field = view.locator('textarea[data-field="text"]')
    expect(field).to_have_value(re.compile(r"^\[PERSON 1\] worked with \[PERSON 2\]"))
    notebook.shot("ner-redacted", notebook.cell(1))
    saved = str(notebook.outputs(1))
    for name in ("Lovelace", "Babbage", "London", "Somerville", "Paris"):
        assert name not in saved
    part(view, "more-fields").click()
    view.locator('select[data-field="do"]').select_option("restore")
    part(view, "run").click()
    expect(field).to_have_value(TEXT, timeout=WAIT)
    notebook.shot("ner-restored", notebook.cell(1))


def test_rows_are_scored_and_sorted(lab: Lab, open_notebook: Callable[..., Notebook]) -> None:
    cells = [
        code("%load_ext lmkit"),
        code("import lmkit\nkit = lmkit.load('starter:ner')"),
        code(ROWS),
    ]
    notebook = open_notebook(write(lab.root / "ner-rows.ipynb", cells))
    notebook.run_all()
    view = notebook.view(2)
    results = part(view, "data-results")
    expect(results).to_contain_text("F1")
    expect(results).to_contain_text("2 tags for 6 words")
    table = (
        view.locator('[data-lmkit="result-table"]')
        .filter(has=notebook.page.locator("tr.leads"))
        .first
    )
    table.get_by_role("button", name="error").click()
    kinds = table.locator("tbody tr").all_inner_texts()
    assert any("missed" in one for one in kinds)
    assert any("spurious" in one for one in kinds)
    notebook.shot("ner-rows", notebook.cell(2))
    table.locator("tbody tr.leads").last.click()
    expect(view.locator('[data-lmkit="span-chip"]').first).to_be_visible(timeout=WAIT)
    notebook.shot("ner-row-open", notebook.cell(2))
