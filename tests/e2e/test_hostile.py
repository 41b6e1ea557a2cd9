"""Text that means harm, in every input, token, label, name and error: drawn as text, all of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from playwright.sync_api import Browser, Locator, expect

import lmkit
from lmkit.protocol.codec import to_builtins
from lmkit.protocol.messages import Live
from lmkit.transports.snapshot import snapshot
from tests.e2e.conftest import ARTIFACTS
from tests.e2e.lab import Lab
from tests.e2e.notebook import MIME, Notebook, Watch, code, part, write
from tests.golden.write import damaged
from tests.tiny import tiny_bert

GOLDEN = Path(__file__).parents[1] / "golden"
IMAGE = "<img src=x onerror=window.__pwned=1>"
SCRIPT = "</script><script>__pwned=1</script>"
BIDI = "\u202eevil\u202c\u200f"
EMOJI = "👩‍🚀🏳️‍🌈"
NUL = "nul\0nul"
LONG = "ab" * 50_000
HOSTILE = (IMAGE, SCRIPT, BIDI, EMOJI, NUL)

# Results of every kind, names and errors of a plugin, all of it hostile.
PLUGIN = f"""
import lmkit
from lmkit.api import Field, LabelScore, Labels, Span, Spans, Table, Task, Text, hookimpl

HOSTILE = {HOSTILE!r}


class Hostile(Task):
    name = "hostile"
    title = HOSTILE[0] + HOSTILE[1]
    help = HOSTILE[1]
    fields = (
        Field.text("text", label=HOSTILE[0], help=HOSTILE[1], placeholder=HOSTILE[0]),
        Field.choice("option", HOSTILE, label=HOSTILE[1]),
        Field.boolean("fail", label=HOSTILE[2]),
    )

    def run(self, model, *, text, option, fail):
        if fail:
            raise ValueError(HOSTILE[0] + HOSTILE[1])
        model.trace("the plot")
        scores = tuple(LabelScore(label=one, score=0.2) for one in HOSTILE)
        return (
            Labels(scores=scores, title=HOSTILE[0]),
            Spans(text=text, spans=(Span(start=0, end=5, label=HOSTILE[1]),), title=HOSTILE[1]),
            Text(text=text, title=HOSTILE[0]),
            Table(columns=HOSTILE, rows=(HOSTILE,), title=HOSTILE[1]),
        )


class Plugin:
    @hookimpl
    def lmkit_register_tasks(self, register):
        register(Hostile)


lmkit.plugin_host().register(Plugin(), HOSTILE[0]);
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT whose name, labels and vocabulary are hostile: ``|`` separates its tokens."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder = tmp_path_factory.mktemp("models") / IMAGE
    words = ["[UNK]", "[PAD]", *HOSTILE, LONG, "plain"]
    core = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, "[UNK]"))
    core.pre_tokenizer = pre_tokenizers.CharDelimiterSplit("|")
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="[UNK]", pad_token="[PAD]"
    )
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=32,
        id2label=dict(enumerate(HOSTILE)),
        label2id={word: index for index, word in enumerate(HOSTILE)},
        pad_token_id=1,
    )
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def harmless(view: Locator) -> None:
    """Nothing in the view came from a string of HTML, and nothing ran."""
    for tag in ("img", "script", "iframe", "object", "link"):
        assert view.locator(tag).count() == 0
    assert view.page.evaluate("window.__pwned") is None


def set_text(view: Locator, name: str, text: str) -> None:
    view.locator(f'[data-lmkit="field"][data-field="{name}"]').fill(text)


def shown(text: str) -> str:
    """As the views show controls: NUL as a name in brackets."""
    names = {"\0": "⟨NUL⟩", "\u202e": "⟨RLO⟩", "\u202c": "⟨PDF⟩", "\u200f": "⟨RLM⟩"}
    return "".join(names.get(character, character) for character in text)


def test_hostile_tokens_labels_and_names(
    lab: Lab, model: Path, browser: Browser, tmp_path: Path, open_notebook: Callable[..., Notebook]
) -> None:
    text = "|".join([*HOSTILE, LONG])
    cells = [
        code("%load_ext lmkit"),
        code(f"import lmkit\nr = lmkit.load({str(model)!r}).classify({text!r})\nr"),
        code("%lmkit"),
    ]
    notebook = open_notebook(write(lab.root / "tokens.ipynb", cells))
    notebook.run_all()
    view = notebook.view(1)
    harmless(view)
    tokens = view.locator('[data-lmkit="token"]')
    expect(tokens).to_have_count(6)
    assert tokens.locator("bdi").all_inner_texts()[:5] == [
        shown(one).replace(" ", "·") for one in HOSTILE
    ]
    labels = {row.get_attribute("aria-label") for row in view.locator(part_of("label-row")).all()}
    assert {str(label).rsplit(" ", 1)[0] for label in labels} == {shown(one) for one in HOSTILE}
    expect(part(view, "model")).to_contain_text(IMAGE[:20])
    notebook.shot("hostile-tokens", notebook.cell(1))

    # The 100 kB token is cut where there is no room, and there whole when asked for.
    tokens.nth(5).click()
    expect(part(view, "whole-token")).to_contain_text("100,000")
    assert LONG in part(view, "whole-token").inner_text().replace("\n", "")
    part(view, "tab-map").click()
    part(view, "picture-canvas").hover()
    harmless(view)
    notebook.shot("hostile-long-token", notebook.cell(1))

    # Nothing was lost on the way: the kernel holds what was sent.
    assert notebook.ask("r.values['text']") == text
    assert notebook.ask("[token.text for token in r.attention.tokens]") == [*HOSTILE, LONG]

    # Typed into the panel, it reaches the kernel whole.
    set_text(view, "text", "plain|" + IMAGE + "|" + BIDI + "|" + EMOJI)
    part(view, "run").click()
    expect(tokens).to_have_count(4)
    assert notebook.ask("r.attention.trace.text") == "plain|" + IMAGE + "|" + BIDI + "|" + EMOJI
    harmless(view)

    # Empty, and NULs alone: a sentence, and the earlier results stay.
    for empty, where in (("", "form-problem"), ("\0\0", "error")):
        notebook.execute(f"r.panel.text = {empty!r}")
        part(view, "run").click()
        expect(part(view, where)).to_be_visible()
        expect(part(view, where)).to_contain_text("Text is empty.")
        expect(tokens).to_have_count(4)
    notebook.shot("hostile-empty", notebook.cell(1))

    home = notebook.view(2)
    expect(part(home, "home-models")).to_contain_text("<img")
    harmless(home)

    # The HTML page of it is as harmless, and as complete.
    from notebooks.run import to_html

    set_text(notebook.view(1), "text", text)
    part(notebook.view(1), "run").click()
    expect(tokens).to_have_count(6)
    notebook.until(
        """const { outputs } = panel.content.widgets[1].model;
        return JSON.stringify(outputs.toJSON()).includes(argument);""",
        LONG,
    )
    notebook.save()
    file = tmp_path / "hostile.html"
    source = nbformat.read(lab.root / "tokens.ipynb", as_version=4)
    file.write_text(to_html(source, IMAGE + SCRIPT), encoding="utf-8")
    context = browser.new_context(offline=True)
    page = context.new_page()
    watch = Watch(page)
    page.goto(file.as_uri())
    saved = page.locator('[data-lmkit="view"]').first
    expect(saved.locator(part_of("token"))).to_have_count(6)
    expect(saved.locator(part_of("label-row"))).to_have_count(5)
    harmless(saved)
    assert watch.requests == [file.as_uri(), *(u for u in watch.requests if u.startswith("blob:"))]
    assert (watch.dialogs, watch.errors, watch.failed) == ([], [], [])
    page.screenshot(path=ARTIFACTS / "hostile-html.png")
    context.close()
    no_image_was_fetched(notebook)


def test_hostile_plugin(lab: Lab, model: Path, open_notebook: Callable[..., Notebook]) -> None:
    cells = [
        code("%load_ext lmkit"),
        code(PLUGIN),
        code(f"r = lmkit.load({str(model)!r}).hostile({IMAGE + SCRIPT!r})\nr"),
        code("%lmkit"),
        code("%lmkit tasks"),
        code("%%lm hostile --help\n "),
    ]
    notebook = open_notebook(write(lab.root / "plugin.ipynb", cells))
    notebook.run_all()
    view = notebook.view(2)
    harmless(view)
    expect(view.locator(part_of("label-row"))).to_have_count(len(HOSTILE))
    expect(part(view, "marked-text")).to_contain_text(IMAGE[5:] + SCRIPT)
    expect(part(view, "result-text")).to_contain_text(IMAGE + SCRIPT)
    cells_of_table = view.locator(f"{part_of('result-table')} td").all_inner_texts()
    assert cells_of_table == [shown(one) for one in HOSTILE]
    notebook.shot("hostile-results", notebook.cell(2))

    part(view, "more-fields").click()
    view.locator('[data-lmkit="field"][data-field="option"]').select_option(SCRIPT)
    view.locator('[data-lmkit="field"][data-field="fail"]').check()
    part(view, "run").click()
    error = part(view, "error")
    expect(error).to_contain_text(IMAGE + SCRIPT, timeout=30_000)
    assert notebook.ask("r.values['option']") == SCRIPT
    harmless(view)
    notebook.shot("hostile-error", notebook.cell(2))

    home = notebook.view(3)
    expect(part(home, "home-tasks")).to_contain_text(SCRIPT)
    expect(part(home, "home-plugins")).to_contain_text(IMAGE)
    harmless(home)
    notebook.shot("hostile-home", notebook.cell(3))
    assert SCRIPT in "".join(notebook.outputs(4)[0]["text"])
    assert notebook.page.evaluate("window.__pwned") is None
    no_image_was_fetched(notebook)
    saved = json.dumps([notebook.outputs(index) for index in (2, 3)])
    assert "__pwned" in saved  # as text, in every form of the output


def part_of(name: str) -> str:
    return f'[data-lmkit="{name}"]'


def no_image_was_fetched(notebook: Notebook) -> None:
    """An image element made from a text would have asked for its source, ``x``."""
    assert [url for url in notebook.watch.requests if url.rsplit("/", 1)[-1] == "x"] == []


# Draws saved bundles with JupyterLab's own renderer, some at a time, and says what came of each.
DRAW = """
const { rendermime } = panel.content;
const { mime, base, changes } = argument;
const place = document.createElement('div');
place.style.cssText = 'position: fixed; inset: 0; z-index: 9999; overflow: auto; display: grid;'
    + 'grid-template-columns: repeat(4, 1fr); background: white';
document.body.append(place);
const rest = (time) => new Promise((resolve) => setTimeout(resolve, time));
const state = (root) => root?.querySelector('[data-lmkit="picture"]')?.dataset.state ?? '';
const told = [];
for (let at = 0; at < changes.length; at += 8) {
    const drawn = [];
    for (const change of changes.slice(at, at + 8)) {
        const bundle = structuredClone(base);
        let inner = bundle;
        for (const step of change.at.slice(0, -1)) inner = inner[step];
        const value = { enumerable: true, configurable: true, writable: true, value: change.put };
        Object.defineProperty(inner, change.at.at(-1), value);
        const renderer = rendermime.createRenderer(mime);
        const data = { [mime]: bundle };
        await renderer.renderModel({ data, metadata: {}, trusted: false, setData() {} });
        place.append(renderer.node);
        drawn.push(renderer);
    }
    const roots = () => drawn.map(({ node }) => node.querySelector('.lmkit-view')?.shadowRoot);
    for (let turn = 0; turn < 3000; turn++) {
        await rest(20);
        if (roots().every((root) => root && state(root) !== 'loading')) break;
    }
    for (const root of roots()) {
        told.push({
            drawn: root?.querySelector('[data-lmkit="header"]') != null,
            errors: [...(root?.querySelectorAll('[data-lmkit="error"]') ?? [])].map(
                (one) => one.textContent),
            state: state(root),
            picture: root?.querySelector('[data-lmkit="picture"]')?.textContent ?? '',
            loads: root?.querySelector('script, img, iframe, object, embed, link, a[href]')
                ?.outerHTML ?? '',
        });
    }
    for (const renderer of drawn) {
        renderer.dispose();
        renderer.node.remove();
    }
}
place.remove();
return told;
"""


def test_every_hostile_bundle_in_the_real_page(
    lab: Lab, open_notebook: Callable[..., Notebook], tmp_path: Path
) -> None:
    corpus = json.loads((GOLDEN / "hostile.json").read_text())
    assert len(corpus["changes"]) > 200
    notebook = open_notebook(write(lab.root / "corpus.ipynb", [code("6 * 7")]))
    for change, seen in draw(notebook, corpus["base"], corpus["changes"]):
        assert seen["drawn"] is change["read"], (change, seen)
        if not change["read"]:
            assert len(seen["errors"]) == 1, (change, seen)
            assert "." in seen["errors"][0], (change, seen)

    # lies about the tile of the head that is shown, in a bundle of which all else is true
    analysis = lmkit.load(str(tiny_bert(tmp_path))).run("classification", text="the plot is thin.")
    whole = to_builtins(snapshot(analysis.view, Live(session="gone", view="gone")))
    (at,) = (i for i, tile in enumerate(whole["tiles"]) if tile["key"] == "head/0/0")
    lies = [{"at": ["tiles", at], "put": put} for put in damaged(whole["tiles"][at])]
    true = {"at": ["tiles", at], "put": whole["tiles"][at]}
    (_, right), *wrong = draw(notebook, whole, [true, *lies])
    assert (right["state"], right["errors"]) == ("ready", [])
    for change, seen in wrong:
        assert seen["drawn"] or seen["errors"], (change, seen)
        assert seen["state"] in ("", "missing", "error"), (change, seen)
        assert "." in seen["picture"] + "".join(seen["errors"]), (change, seen)

    assert notebook.js("return [window.__pwned, ({}).polluted ?? null];") == [None, None]
    assert notebook.watch.errors == []
    assert notebook.watch.dialogs == []
    # the editor goes on
    notebook.run(0)
    assert notebook.outputs(0)[0]["data"]["text/plain"] == "42"


def draw(
    notebook: Notebook, base: dict[str, Any], changes: list[dict[str, Any]]
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Each change with what came of it; nothing of it loads, runs or is drawn for ever."""
    told = notebook.js(DRAW, {"mime": MIME, "base": base, "changes": changes})
    for change, seen in zip(changes, told, strict=True):
        assert seen["loads"] == "", (change, seen)
        assert seen["state"] != "loading", (change, seen)
    return list(zip(changes, told, strict=True))
