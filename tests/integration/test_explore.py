"""From Python to the explorer: every kind of pass, differences of two, and what is kept of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

import lmkit
from lmkit.analysis.views import RolloutView
from lmkit.errors import Cancelled, CaptureError, FieldError, ModelError
from lmkit.explorer import loading
from lmkit.kernel_session import current_session
from lmkit.models import loaded
from lmkit.protocol.codec import MIME, decode_bundle, to_builtins
from lmkit.protocol.messages import (
    Done,
    Export,
    Exported,
    HeadGrid,
    PanelSpec,
    SavedAnswer,
    Select,
    Selection,
    TileAnswer,
    TileRequest,
)
from lmkit.transports.mimebundle import mimebundle
from lmkit.transports.snapshot import snapshot
from tests.tiny import TEXT, tiny_bart, tiny_bert, tiny_gpt2, tiny_llama

OTHER = "The film is thin, but I was moved."


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    at = tmp_path_factory.mktemp("models")
    return {
        "bert": tiny_bert(at / "bert"),
        "llama": tiny_llama(at / "llama"),
        "gpt2": tiny_gpt2(at / "gpt2"),
        "bart": tiny_bart(at / "bart"),
    }


def spec_of(explorer: lmkit.Explorer) -> PanelSpec:
    return explorer._shown.view.spec()


def made_again(explorer: lmkit.Explorer, **names: Any) -> Any:
    """What the lines of "Copy as Python" make: the value of their last line."""
    *lines, last = explorer.python.splitlines()
    scope: dict[str, Any] = dict(names)
    exec("\n".join(lines), scope)
    return eval(last, scope)


def captured(folder: Path) -> tuple[Any, Any, dict[str, Any]]:
    model = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(TEXT, return_tensors="pt")
    with torch.no_grad(), lmkit.capture(model) as trace:
        model(**inputs)
    return trace, tokenizer, inputs


def test_a_capture_with_and_without_a_tokenizer(folders: dict[str, Path]) -> None:
    trace, tokenizer, inputs = captured(folders["bert"])
    view = lmkit.explore(trace, tokenizer, text=TEXT)
    assert view.tokens[0].text == "[CLS]"
    np.testing.assert_array_equal(view[1, 2], trace.attention(1, 2))
    assert view.lens("no-special")[1, 2].shape[0] == len(view.tokens) - 2
    by_ids = lmkit.explore(trace, tokenizer, input_ids=inputs["input_ids"])
    assert [one.text for one in by_ids.tokens] == [one.text for one in view.tokens]
    bare = lmkit.explore(trace)
    assert bare.tokens[3].text == "#3"
    assert spec_of(bare).attention is not None
    named = lmkit.explore(trace, tokens=[f"t{i}" for i in range(len(view.tokens))])
    assert named.tokens[4].text == "t4"
    same = made_again(view, trace=trace, tokenizer=tokenizer)
    np.testing.assert_array_equal(same[1, 2], view[1, 2])
    assert same.tokens == view.tokens
    with pytest.raises(FieldError, match="3 were given"):
        lmkit.explore(trace, tokens=["a", "b", "c"])
    with pytest.raises(FieldError, match="the pass read"):
        lmkit.explore(trace, tokenizer, text="The plot.")
    with pytest.raises(CaptureError, match="no pass that could be shown"):
        lmkit.explore(3)


def test_one_text_of_a_batch_and_one_pass_of_several(folders: dict[str, Path]) -> None:
    model = transformers.AutoModel.from_pretrained(folders["bert"]).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folders["bert"])
    batch = tokenizer([TEXT, "The plot."], return_tensors="pt", padding=True)
    with torch.no_grad(), lmkit.capture(model) as trace:
        model(**batch)
        model(**tokenizer("A film.", return_tensors="pt"))
    second = lmkit.explore(trace.batch(1), tokenizer, input_ids=batch["input_ids"][1])
    assert second.tokens[-1].text == "[PAD]"
    assert second.tokens[-1].special
    np.testing.assert_array_equal(second[0, 1], trace.batch(1).attention(0, 1))
    later = lmkit.explore(trace, tokenizer, text="A film.", step=1)
    assert len(later.layers) == 2
    np.testing.assert_array_equal(later[1, 3], trace.attention(3, 3))
    with pytest.raises(FieldError, match="2 texts"):
        lmkit.explore(trace, tokenizer, input_ids=batch["input_ids"])
    with pytest.raises(CaptureError, match="there are 2"):
        lmkit.explore(trace, step=7)


def test_an_encoder_decoder(folders: dict[str, Path]) -> None:
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folders["bart"]).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folders["bart"])
    inputs = tokenizer(TEXT, return_tensors="pt")
    with torch.no_grad(), lmkit.capture(model) as trace:
        model(**inputs, decoder_input_ids=torch.tensor([[2, 5, 6]]))
    view = lmkit.explore(trace, tokenizer, text=TEXT, decoder_tokens=["<s>", "a", "b"])
    spec = spec_of(view).attention
    assert spec is not None
    assert [one.text for one in spec.tokens] == ["<s>", "a", "b"]
    assert spec.key_tokens is not None
    assert len(spec.key_tokens) == inputs["input_ids"].shape[1]


def test_a_generation_of_ones_own_has_steps(folders: dict[str, Path]) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(folders["llama"]).eval()  # type: ignore[no-untyped-call]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folders["llama"])
    inputs = tokenizer("The plot", return_tensors="pt")
    with lmkit.capture(model) as trace:
        model.generate(**inputs, max_new_tokens=5, min_new_tokens=5, do_sample=False)
    view = lmkit.explore(trace.generation(), tokenizer)
    spec = spec_of(view).attention
    assert spec is not None
    assert len(spec.steps) == 5
    assert spec.steps[1].last == spec.steps[1].first + 1
    assert len(spec.tokens) == inputs["input_ids"].shape[1] + 4


def test_a_kit_explores_and_generates(folders: dict[str, Path]) -> None:
    kit = lmkit.load(str(folders["bert"]))
    view = kit.explore(TEXT)
    # the head comes along, so that switching heads off has an outcome
    assert view.record.architecture == "BertForSequenceClassification"
    assert {"switch-off", "head-map", "rollout"} <= set(view.views)
    assert "previous-run" not in view.lenses
    view.show(1, 3, tokens=[2], lens="words", picture="map")
    same = made_again(view)
    assert spec_of(same).attention.selection == Selection(  # type: ignore[union-attr]
        layer=1, head=3, tokens=(2,), lens="words", picture="map"
    )
    np.testing.assert_array_equal(same[1, 3], view[1, 3])
    again = lmkit.explore(view.trace)
    np.testing.assert_array_equal(made_again(again)[0, 0], view[0, 0])
    with pytest.raises(ModelError, match="names no model"):
        lmkit.load().explore(TEXT)
    for empty in ("", "  "):
        with pytest.raises(ModelError, match="No model was named"):
            lmkit.load(empty)
    with pytest.raises(FieldError, match="needs a text"):
        lmkit.explore(kit)

    writer = lmkit.load(str(folders["llama"]))
    written = writer.trace_generation("The plot", max_new_tokens=6, do_sample=True)
    spec = spec_of(written)
    assert spec.attention is not None
    assert len(spec.attention.steps) > 1
    assert written.results[0].title == "Written"
    assert made_again(written).trace.sequence == written.trace.sequence  # type: ignore[attr-defined]
    assert written.record.seed == written.trace.seed  # type: ignore[attr-defined]


def test_models_in_memory_and_results(folders: dict[str, Path]) -> None:
    model = transformers.AutoModel.from_pretrained(folders["gpt2"]).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folders["gpt2"])
    view = lmkit.explore(model, tokenizer, text="The plot is thin.")
    assert "# your GPT2Model" in view.python
    np.testing.assert_array_equal(
        made_again(view, model=model, tokenizer=tokenizer)[0, 1], view[0, 1]
    )
    r = lmkit.load(str(folders["bert"])).classify(TEXT)
    for what in (r, r.attention):
        np.testing.assert_array_equal(lmkit.explore(what)[1, 0], r.attention[1, 0])
    words = lmkit.explore(r.attention.lens("no-special"))
    assert len(words.tokens) == len(r.attention.tokens) - 2
    assert made_again(words).tokens == words.tokens


def test_a_compiled_model_is_loaded_though_its_truth_cannot_be_told(
    folders: dict[str, Path],
) -> None:
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folders["bert"]).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folders["bert"])
    kit = lmkit.load(torch.compile(model, backend="eager"), tokenizer)
    plain = lmkit.load(model, tokenizer)
    assert kit.classify(TEXT).labels == plain.classify(TEXT).labels
    assert kit.loaded("classification").kind == plain.loaded("classification").kind


def test_copied_lines_of_a_task_without_a_model_can_be_run() -> None:
    for options in ({}, {"device": "cpu"}):
        assert eval(loading("", "", options), {"lmkit": lmkit}).name == ""


def test_two_prompts_and_two_models_compared(folders: dict[str, Path]) -> None:
    kit = lmkit.load(str(folders["bert"]))
    diff = kit.compare(TEXT, OTHER)
    a, b = kit.explore(TEXT), kit.explore(OTHER)
    assert any("'plot'" in said for said in diff.warnings)
    spec = spec_of(diff).attention
    assert spec is not None
    assert spec.scale == "difference"
    kept = [i for i, token in enumerate(a.tokens) if token.text != "plot"]
    expected = a[1, 2][np.ix_(kept, kept)] - b[1, 2][np.ix_(kept, kept)]
    np.testing.assert_allclose(diff[1, 2], expected, atol=1e-7)
    assert diff.lenses == ("first-alone", "second-alone")
    np.testing.assert_allclose(diff.lens("first-alone")[1, 2], a[1, 2][np.ix_(kept, kept)])
    np.testing.assert_allclose(diff.lens("second-alone")[1, 2], b[1, 2][np.ix_(kept, kept)])
    np.testing.assert_array_equal(made_again(diff)[1, 2], diff[1, 2])
    assert json.loads(str((diff.record.fields or {})["second"]))["fields"]["text"] == OTHER

    teacher, student = lmkit.load(str(folders["llama"])), lmkit.load(str(folders["gpt2"]))
    two = lmkit.compare(teacher, student, text="The plot is thin.", lens="words", heads="best")
    assert "−" in spec_of(two).header.model
    assert any("resemblance" in said for said in two.warnings)
    mean = lmkit.compare(teacher, student, text="The plot is thin.", lens="words", heads="mean")
    assert {layer.heads for layer in mean.layers} == {1}
    np.testing.assert_array_equal(made_again(mean)[0, 0], mean[0, 0])
    with pytest.raises(CaptureError, match="compare"):
        lmkit.explore(diff.trace)


def test_a_difference_is_live_and_saved(folders: dict[str, Path]) -> None:
    session = current_session()
    diff = lmkit.load(str(folders["bert"])).compare(TEXT, OTHER)
    view = diff._shown.view
    answer, (data,) = session.handle(TileRequest(id="t", view=view.id, key="head/1/2"), None)  # type: ignore[arg-type]
    assert isinstance(answer, TileAnswer)
    assert answer.tile.encoding == "f32"
    np.testing.assert_array_equal(
        np.frombuffer(data, dtype="<f4").reshape(answer.tile.shape), diff[1, 2]
    )
    chosen = Select(id="s", view=view.id, selection=Selection(layer=1, head=1))
    assert isinstance(session.handle(chosen, None)[0], Done)  # type: ignore[arg-type]
    assert view.selection.layer == 1
    answer, (data,) = session.handle(Export(id="e", view=view.id, format="json"), None)  # type: ignore[arg-type]
    assert isinstance(answer, Exported)
    assert json.loads(data)["heads"][0]["layer"] == 1
    forms = mimebundle(session, view)
    saved = forms[MIME]
    assert saved["spec"]["attention"]["scale"] == "difference"
    assert {tile["encoding"] for tile in saved["tiles"]} == {"f32"}
    assert saved["headsCarried"] == 8


def test_a_run_is_compared_with_the_run_before(folders: dict[str, Path]) -> None:
    kit = lmkit.load(str(folders["bert"]))
    r = kit.classify(TEXT)
    lens = {one.name: one for one in r.attention._tiles.lens_specs}["previous-run"]
    assert lens.reason == "There is no run before this one."
    first = r.attention[1, 2]
    r.panel.run(text=OTHER)
    attention = r.attention
    assert "previous-run" in attention.lenses
    kept = [i for i, token in enumerate(attention.tokens) if token.text != "film"]
    both = np.ix_(kept, kept)
    np.testing.assert_allclose(
        attention.lens("previous-run")[1, 2], attention[1, 2][both] - first[both], atol=1e-7
    )
    places = attention._tiles.tile("query-groups/0@previous-run")
    assert np.frombuffer(places[1], dtype="<f4").tolist().count(-1.0) == 1
    # what is compared with may be let go of, and is made again
    before = r.view.previous
    assert before is not None
    before.release()
    np.testing.assert_allclose(
        attention.lens("previous-run").rows(1, 2, [0]),
        (attention[1, 2][both] - first[both])[:1],
        atol=1e-7,
    )
    r.panel.run(text="xyzzy 123")
    spec = {one.name: one for one in r.attention._tiles.lens_specs}["previous-run"]
    assert spec.reason == "" or "in common" in spec.reason


# -- what a saved output carries ------------------------------------------------------------------


def test_a_saved_output_carries_the_lens_and_the_answers_on_show(
    folders: dict[str, Path],
) -> None:
    r = lmkit.load(str(folders["bert"])).classify(TEXT)
    r.attention.show(1, 2, lens="no-special", picture="rollout")
    r.attention.show(1, 2, lens="no-special", picture="head-map")
    bundle = snapshot(r.view, None, budget=1_000_000)
    keys = [tile.key for tile in bundle.tiles]
    assert {"query-groups/0@no-special", "head/1/2@no-special", "thumb/1@no-special"} <= set(keys)
    assert [answer.name for answer in bundle.answers] == ["head-map", "rollout"]
    assert bundle.answers[0].arguments["seed"] == 0
    assert isinstance(bundle.answers[0].results[0], HeadGrid)
    read = decode_bundle(json.loads(json.dumps(to_builtins(bundle))))
    assert read == bundle
    # the page of the other forms keeps both where there is room, and a file has them too
    page = r.save(folders["bert"].parent / "page.html", lens="no-special")
    assert page.notes == ()
    text = Path(page).read_text(encoding="utf-8")
    assert "head/1/2@no-special" in text
    without = r.save(folders["bert"].parent / "bare.html", text=False)
    assert '"answers":[]' in Path(without).read_text(encoding="utf-8")
    r.panel.run(text=OTHER)
    assert snapshot(r.view, None, budget=1_000_000).answers == ()


def test_an_answer_of_another_run_is_not_kept(folders: dict[str, Path]) -> None:
    r = lmkit.load(str(folders["bert"])).classify(TEXT)
    old = r.attention.trace
    r.panel.run(text=OTHER)
    r.view.keep_answer(SavedAnswer(name="late"), old)
    assert r.view.answers == ()


@pytest.fixture(scope="module")
def shown(folders: dict[str, Path]) -> lmkit.Analysis:
    r: lmkit.Analysis = lmkit.load(str(folders["bert"])).classify(TEXT)
    r.attention.show(0, 0, lens="no-special", picture="switch-off")
    r.attention.show(0, 0, lens="no-special", picture="head-map")
    return r


@given(budget=st.integers(0, 60_000))
@settings(max_examples=25, deadline=None)
def test_a_saved_output_keeps_to_its_budget(shown: lmkit.Analysis, budget: int) -> None:
    bundle = snapshot(shown.view, None, budget=budget)
    # thumbnails come whatever the budget: they are the picture itself
    fixed = sum(len(tile.data) for tile in bundle.tiles if tile.key in ("thumb/0", "thumb/1"))
    tiles = sum(len(tile.data) for tile in bundle.tiles) - fixed
    answers = sum(len(msgspec.json.encode(answer)) for answer in bundle.answers)
    assert tiles + answers <= max(0, budget - fixed)
    through = {tile.key for tile in bundle.tiles if "@" in tile.key}
    assert not through or "head/0/0@no-special" in through
    assert decode_bundle(to_builtins(bundle)) == bundle


# -- long texts -----------------------------------------------------------------------------------


def test_large_logits_are_not_kept_and_there_when_asked_for(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    kit = lmkit.load(str(folders["llama"]))
    views = [kit.explore("The plot is thin.")]
    monkeypatch.setattr(loaded, "KEPT_OUTPUT", 1_000)
    views.append(kit.explore("The plot is thin."))
    whole, cut = (view.trace for view in views)
    assert cut.capture.output is None  # type: ignore[attr-defined]
    assert cut.nbytes < whole.nbytes  # type: ignore[attr-defined]
    assert cut.output.logits.shape == whole.output.logits.shape
    assert torch.equal(cut.output.logits, whole.output.logits)
    np.testing.assert_array_equal(cut.attention(1, 1), whole.attention(1, 1))


@pytest.mark.parametrize("lens", ["words", "norm", "no-sink-renormalised", "previous-run"])
def test_lenses_pool_as_the_map_asks(folders: dict[str, Path], lens: str) -> None:
    r = lmkit.load(str(folders["bert"])).classify(OTHER)
    r.panel.run(text=TEXT)
    trace: Any = r.attention.lens(lens).trace
    whole = trace.attention(1, 2)
    pooled = trace.pool(1, 2, 1, 9, 2, 9, 3, 4)
    expected = np.array(
        [
            [whole[q : min(9, q + 3), k : min(9, k + 4)].sum(axis=1).mean() for k in (2, 6)]
            for q in (1, 4, 7)
        ]
    )
    np.testing.assert_allclose(pooled, expected, atol=1e-6)
    with pytest.raises(CaptureError, match="not inside"):
        trace.pool(1, 2, 0, 99, 0, 4, 1, 1)
    with pytest.raises(CaptureError, match="at least one"):
        trace.pool(1, 2, 0, 4, 0, 4, 0, 1)
    with pytest.raises(Cancelled):
        trace.pool(1, 2, 0, 4, 0, 4, 1, 1, cancel=lambda: True)


def test_what_is_not_there_is_known_before_it_is_asked_for(folders: dict[str, Path]) -> None:
    trace, _, _ = captured(folders["bert"])
    reasons = {one.name: one.reason for one in lmkit.explore(trace)._tiles.lens_specs}
    assert "were not kept" in reasons["norm"]
    assert "rollout" in lmkit.load(str(folders["bart"])).explore(TEXT).views  # of the encoder
    difference = lmkit.load(str(folders["bert"])).compare(TEXT, OTHER)
    assert RolloutView().unavailable(difference.trace) != ""
