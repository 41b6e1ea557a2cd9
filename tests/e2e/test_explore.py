"""Passes from Python on screen in a real JupyterLab: captures, differences, generations."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import expect

from tests.e2e.lab import Lab
from tests.e2e.notebook import MIME, Notebook, code, part, write
from tests.e2e.picture import coloured

SETUP = """
import torch, lmkit
from transformers import AutoTokenizer, AutoModelForSequenceClassification
kit = lmkit.load("starter:sentiment")
text = "The plot is thin, but I was moved."
loaded = kit.loaded("classification")
inputs = loaded.tokenizer(text, return_tensors="pt").to(loaded.device)
with torch.no_grad(), lmkit.capture(loaded.model) as trace:
    loaded.model(**inputs)
"""
LONG = """
import lmkit
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from tokenizers import Tokenizer, models, pre_tokenizers
words = {f"w{i}": i for i in range(400)} | {"[UNK]": 400}
inner = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
inner.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="[UNK]")
config = LlamaConfig(vocab_size=401, hidden_size=64, num_hidden_layers=4, num_attention_heads=4,
                     intermediate_size=64, max_position_embeddings=4096)
import torch
torch.manual_seed(0)
model = LlamaForCausalLM(config).eval()
text = " ".join(f"w{(i * 37) % 400}" for i in range(2048))
view = lmkit.load(model, tokenizer).explore(text)
view
"""


def test_a_capture_a_difference_and_a_generation_on_screen(
    lab: Lab, open_notebook: Callable[..., Notebook]
) -> None:
    cells = (
        code(SETUP),
        code("lmkit.explore(trace, loaded.tokenizer, text=text)"),
        code('diff = kit.compare(text, "The film is thin, but I was moved.")\ndiff'),
        code(
            'chat = lmkit.load("starter:chat")\n'
            'chat.trace_generation("What is the capital of France?", chat=True, max_new_tokens=8)'
        ),
    )
    notebook = open_notebook(write(lab.root / "explore.ipynb", cells))
    notebook.run_all()
    raw = notebook.view(1)
    expect(part(raw, "badge")).to_have_attribute("data-state", "live")
    expect(raw.locator('[data-lmkit="token"]')).to_have_count(12)
    assert raw.locator('[data-lmkit="run"]').count() == 0
    raw.locator('[data-lmkit="cell"][data-layer="3"][data-head="7"]').click()
    expect(part(raw, "picture")).to_have_attribute("data-state", "ready")
    notebook.shot("explore-capture", notebook.cell(1))

    difference = notebook.view(2)
    expect(part(difference, "warnings")).to_contain_text("plot")
    expect(part(difference, "picture")).to_have_attribute("data-state", "ready")
    coloured(part(difference, "picture-canvas"))
    expect(part(difference, "tab-neuron")).to_have_attribute("aria-disabled", "true")
    part(difference, "picture").press("2")
    notebook.shot("explore-difference", notebook.cell(2))
    part(difference, "lens").select_option("second-alone")
    expect(part(difference, "picture")).to_have_attribute("data-state", "ready")
    notebook.hears("diff._shown.view.selection.lens", "second-alone")
    notebook.shot("explore-second-alone", notebook.cell(2))

    story = notebook.view(3)
    expect(part(story, "steps")).to_be_visible()
    notebook.shot("explore-generation", notebook.cell(3))
    assert notebook.watch.errors == []


def test_a_run_beside_the_run_before_and_reopened_without_a_kernel(
    lab: Lab, open_notebook: Callable[..., Notebook]
) -> None:
    cells = (
        code("%load_ext lmkit"),
        code("%%lm classification --model starter:sentiment\nThe plot is thin, but I was moved."),
    )
    name = write(lab.root / "before.ipynb", cells)
    notebook = open_notebook(name)
    notebook.run_all()
    view = notebook.view(1)
    kernel = notebook.view_in_kernel(1)
    option = view.locator('[data-lmkit="lens"] option[value="previous-run"]')
    expect(option).to_be_disabled()
    assert "no run before" in str(option.get_attribute("title"))
    view.locator("textarea").first.fill("The film is thin, but I was moved.")
    part(view, "run").click()
    expect(option).to_be_enabled(timeout=60_000)
    part(view, "lens").select_option("previous-run")
    expect(view.locator('[data-lmkit="token"]')).to_have_count(11)
    expect(part(view, "picture")).to_have_attribute("data-state", "ready")
    part(view, "views").select_option("head-map")
    expect(view.locator('[data-lmkit="measure-cell"]')).to_have_count(72)
    notebook.shot("explore-previous", notebook.cell(1))
    notebook.hears(f"{kernel}.selection.lens", "previous-run")
    # What is shown is saved once the user has come to rest, and once it is made.
    notebook.until(
        """const [output] = panel.content.widgets[1].model.outputs.toJSON();
        const { spec, answers } = output.data[argument];
        return spec.attention.selection.lens === 'previous-run'
            && answers.some(({ name }) => name === 'head-map');""",
        MIME,
    )
    notebook.save()
    notebook.close()

    again = open_notebook(name, kernel=False)
    view = again.view(1, state="saved")
    # the view and the lens that were looked at last, from what the output carries
    expect(view.locator('[data-lmkit="measure-cell"]')).to_have_count(72)
    expect(part(view, "lens")).to_have_value("previous-run")
    view.locator('[data-lmkit="tab-map"]').click()
    expect(part(view, "picture")).to_have_attribute("data-state", "ready")
    coloured(part(view, "picture-canvas"))
    expect(view.locator('[data-lmkit="lens"] option[value="words"]')).to_be_disabled()
    again.shot("explore-reopened", again.cell(1))
    assert again.watch.errors == []


def test_two_thousand_tokens(lab: Lab, open_notebook: Callable[..., Notebook]) -> None:
    notebook = open_notebook(write(lab.root / "long.ipynb", (code(LONG),)))
    notebook.run_all()
    view = notebook.view(0)
    expect(part(view, "token-count")).to_contain_text("2,048")
    expect(part(view, "picture")).to_have_attribute("data-state", "ready", timeout=60_000)
    part(view, "tab-map").click()
    coloured(part(view, "picture-canvas"))
    part(view, "lens").select_option("norm")
    expect(part(view, "picture")).to_have_attribute("data-state", "ready", timeout=60_000)
    part(view, "picture").press("+")
    notebook.page.wait_for_timeout(1_000)
    coloured(part(view, "picture-canvas"))
    notebook.shot("explore-long", notebook.cell(0))
    assert notebook.watch.errors == []
