"""The generation task in a notebook: stream, stop, branch, score of a step, logit lens."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import expect

from tests.e2e.lab import Lab
from tests.e2e.notebook import Notebook, code, part, write
from tests.tiny import tiny_llama

SLOW = """
import time, lmkit
kit = lmkit.load({path!r})
def slow(*_): time.sleep(0.25)
handle = kit.loaded("generation").model.register_forward_hook(slow)
"""


def test_write_stop_branch_and_look_into_layers(
    lab: Lab, tmp_path: Path, open_notebook: Callable[..., Notebook]
) -> None:
    path = str(tiny_llama(tmp_path))
    cells = [
        code("%load_ext lmkit"),
        code(SLOW.format(path=path)),
        code("p = kit.panel('generation', template='plain', max_new_tokens=40)\np"),
    ]
    notebook = open_notebook(write(lab.root / "generation.ipynb", cells))
    notebook.run_all()
    view = notebook.view(2)
    prompt = view.locator('textarea[data-field="prompt"]')
    prompt.fill("the film moves you , and the plot")
    expect(view.locator('[data-field="begin"]')).to_have_count(0)
    part(view, "run").click()
    # Tokens come one by one while it runs; the stop keeps them.
    expect(view.locator(".choices-text .choice").nth(3)).to_be_visible(timeout=30_000)
    notebook.shot("generation-streaming", notebook.cell(2))
    part(view, "stop").click()
    expect(part(view, "cancelled")).to_contain_text("kept", timeout=30_000)
    kept = view.locator('[data-lmkit="choice"]').count()
    assert 4 <= kept < 40
    notebook.ask("handle.remove()")

    # A click holds a token: its alternatives are there, the explorer goes to its step.
    view.locator('[data-lmkit="choice"]').nth(2).click()
    expect(part(view, "step-now")).to_contain_text("3", timeout=30_000)
    other = view.locator('[data-lmkit="alternative"]').first
    name = other.locator(".code").inner_text()
    notebook.shot("generation-alternatives", notebook.cell(2))
    other.click()
    forced = view.locator('[data-lmkit="choice"].forced')
    expect(forced).to_have_count(1, timeout=60_000)
    assert forced.inner_text().strip() == name.replace("·", " ").strip()
    expect(view.locator('[data-lmkit="choice"]')).to_have_count(40)
    notebook.shot("generation-branch", notebook.cell(2))

    part(view, "step-next").click()
    part(view, "views").select_option("logit-lens")
    cell = view.locator('[data-lmkit="grid-cell"]').first
    expect(cell).to_be_visible(timeout=60_000)
    notebook.shot("generation-lens", notebook.cell(2))

    view.locator('select[data-field="strategy"]').select_option("beams")
    part(view, "run").click()
    expect(view.locator('[data-lmkit="tree-box"][data-best]').first).to_be_visible(timeout=60_000)
    notebook.shot("generation-beams", notebook.cell(2))

    # So does a click on an alternative of a token of the best, and on a beam that was given up.
    view.locator('[data-lmkit="choice"]').nth(3).click()
    view.locator('button[data-lmkit="alternative"]').first.click()
    expect(view.locator('select[data-field="strategy"]')).to_have_value("greedy", timeout=60_000)
    expect(view.locator('[data-lmkit="choice"].forced')).to_have_count(1, timeout=60_000)
    view.locator('select[data-field="strategy"]').select_option("beams")
    part(view, "run").click()
    expect(view.locator('[data-lmkit="tree-box"][data-best]').first).to_be_visible(timeout=60_000)
    view.locator('[data-lmkit="tree-box"]:not([data-best])').last.click()
    expect(view.locator('select[data-field="strategy"]')).to_have_value("greedy", timeout=60_000)
    expect(view.locator('[data-lmkit="choice"].forced')).to_have_count(1, timeout=60_000)
    notebook.shot("generation-beam-branch", notebook.cell(2))


TEMPLATE = (
    "{% for m in messages %}<|s|>{{ m['role'] }}\n{{ m['content'] }}<|e|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|s|>assistant\n{% endif %}"
)


def test_a_reply_goes_on_with_the_chat(
    lab: Lab, tmp_path: Path, open_notebook: Callable[..., Notebook]
) -> None:
    from transformers import AutoTokenizer

    path = tiny_llama(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(path)
    cells = [
        code(f"%load_ext lmkit\nimport lmkit\nkit = lmkit.load({str(path)!r})"),
        code("p = kit.panel('generation', 'the plot', max_new_tokens=6)\np"),
    ]
    notebook = open_notebook(write(lab.root / "chat.ipynb", cells))
    notebook.run_all()
    view = notebook.view(1)
    part(view, "run").click()
    box = part(view, "reply-text")
    expect(box).to_be_visible(timeout=60_000)
    box.fill('and the "river"')
    box.press("Enter")
    prompt = view.locator('textarea[data-field="prompt"]')
    expect(prompt).to_have_value(re.compile("river"), timeout=60_000)
    talk = json.loads(prompt.input_value())
    assert [one["role"] for one in talk] == ["user", "assistant", "user"]
    assert talk[0]["content"] == "the plot"
    assert talk[2]["content"] == 'and the "river"'
    expect(part(view, "reply-text")).to_have_value("", timeout=60_000)
    expect(view.locator('[data-lmkit="choice"]').first).to_be_visible()
    notebook.shot("generation-reply", notebook.cell(1))
