"""Same attention in, same numbers out: beside BertViz's own Python and its own models."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lmkit_bertviz import HeadView, ModelView, NeuronView
from lmkit_bertviz.numbers import LONGEST, kinds_of, parse_numbers, shown_tokens, spelled

from lmkit.api import FieldError, Text, Token
from lmkit.models import ModelStore
from tests import tiny

from .made import data_of, page_of, trace_of

TEXT = "the plot is thin, but i was moved."


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tiny_bert(tmp_path_factory.mktemp("bert"))


def bertviz_params(html: str) -> dict[str, Any]:
    """What BertViz's Python wrote into its script."""
    found = re.search(r"const params = (\{.*?\}); // HACK", html, re.DOTALL)
    assert found
    params = json.loads(found[1])
    assert isinstance(params, dict)
    return params


def eager(folder: Path, trace: Any) -> tuple[torch.Tensor, ...]:
    """All attention of the same ids as transformers' eager attention returns it."""
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        output = model(torch.tensor([trace.input_ids]), output_attentions=True)
    return tuple(output.attentions)


def test_head_and_model_view_carry_what_bertviz_itself_would(bert: Path) -> None:
    import bertviz

    trace = trace_of(bert, TEXT)
    attention = eager(bert, trace)
    tokens = [token.raw for token in trace.tokens]
    theirs = bertviz_params(bertviz.head_view(attention, tokens, html_action="return").data)
    ours = data_of(page_of(HeadView, trace, layers="0-1"))
    np.testing.assert_allclose(ours["attention"], theirs["attention"][0]["attn"], atol=1e-5)
    assert ours["layers"] == theirs["include_layers"]

    theirs = bertviz_params(
        bertviz.model_view(
            attention, tokens, include_layers=[1], include_heads=[0, 3], html_action="return"
        ).data
    )
    ours = data_of(page_of(ModelView, trace, layers="1", heads="0, 3"))
    np.testing.assert_allclose(ours["attention"], theirs["attention"][0]["attn"], atol=1e-5)
    for name in ("layers", "heads"):
        assert ours[name] == theirs[f"include_{name}"]
    assert ours["total_heads"] == theirs["total_heads"] == 4


def test_the_neuron_view_carries_what_bertvizs_own_model_gives(bert: Path) -> None:
    from bertviz.transformers_neuron_view import BertConfig, BertModel
    from transformers import AutoModel

    trace = trace_of(bert, TEXT)
    ours = data_of(page_of(NeuronView, trace, layers="0-1"))
    real = AutoModel.from_pretrained(bert)
    config = BertConfig(vocab_size_or_config_json_file=real.config.vocab_size)
    for name in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
                 "max_position_embeddings", "type_vocab_size"):  # fmt: skip
        setattr(config, name, getattr(real.config, name))
    config.output_attentions = True
    theirs = BertModel(config).eval()
    missing, _ = theirs.load_state_dict(real.state_dict(), strict=False)
    assert missing == []
    with torch.no_grad():
        layers = theirs(torch.tensor([trace.input_ids]))[-1]
    for layer, numbers in enumerate(layers):
        for name, here in (("attn", "attention"), ("queries", "queries"), ("keys", "keys")):
            np.testing.assert_allclose(ours[here][layer], numbers[name][0], atol=1e-5)


FAMILIES = {
    "llama": (tiny.tiny_llama, "", {"decoder"}),
    "gpt2": (tiny.tiny_gpt2, "", {"decoder"}),
    "roberta": (tiny.tiny_roberta, "", {"encoder"}),
    "t5": (tiny.tiny_t5, "ForSeq2SeqLM", {"encoder", "decoder", "cross"}),
    "bart": (tiny.tiny_bart, "ForSequenceClassification", {"encoder", "decoder", "cross"}),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_its_own_numbers_and_tokens(family: str, tmp_path: Path) -> None:
    make, auto, roles = FAMILIES[family]
    trace = trace_of(make(tmp_path), "The plot is thin — 中文.", head=auto)
    assert {layer.role for layer in trace.layers} == roles
    for layer, info in enumerate(trace.layers):
        data = data_of(page_of(NeuronView, trace, layer))
        for head in range(info.heads):
            weights = trace.attention(layer, head)
            np.testing.assert_allclose(data["attention"][0][head], weights, atol=1e-6)
            queries = trace.queries(layer, head, range(info.queries))
            np.testing.assert_allclose(data["queries"][0][head], queries, atol=1e-6)
            keys = trace.keys(layer, head, range(info.keys))
            np.testing.assert_allclose(data["keys"][0][head], keys, atol=1e-6)
        assert (len(data["left"]), len(data["right"])) == (info.queries, info.keys)
        assert data["causal"] == info.causal
        shown = "".join(data["left"] + data["right"])
        assert not set(shown) & set("Ġ▁Ċ")


def test_a_t5_scores_otherwise_than_bertviz_writes_and_the_view_says_so(tmp_path: Path) -> None:
    trace = trace_of(tiny.tiny_t5(tmp_path), TEXT, head="ForSeq2SeqLM")
    shown = NeuronView().show(trace, layer=0, head=0, tokens=(), layers="")
    assert isinstance(shown[1], Text)
    assert "divides q·k by the square root of 8, where the model multiplies it by 1" in (
        shown[1].text
    )


def test_layers_of_several_kinds_do_not_mix(tmp_path: Path) -> None:
    trace = trace_of(tiny.tiny_t5(tmp_path), TEXT, head="ForSeq2SeqLM")
    with pytest.raises(FieldError, match="attend between different tokens") as mixed:
        page_of(HeadView, trace, layers="0-5")
    assert mixed.value.hint.startswith("Choose among layers of one kind: encoder 0-1; ")
    page, note = ModelView().show(trace, layer=0, head=0, tokens=(), layers="", heads="")
    assert data_of(page)["layers"] == [0, 1]  # type: ignore[arg-type]
    assert isinstance(note, Text)
    assert note.text.startswith("These are layers 0-1. Name others in the field Layers: decoder ")


def test_the_second_text_of_a_pair_has_its_filter(bert: Path) -> None:
    trace = trace_of(bert, "the plot is thin.", "i was moved.")
    for view in (HeadView, ModelView, NeuronView):
        data = data_of(page_of(view, trace))
        assert data["left"][data["second"] - 1 :] == ["[SEP]", "i", "was", "moved", ".", "[SEP]"]
    assert data_of(page_of(HeadView, trace_of(bert, TEXT)))["second"] is None


def test_what_bertviz_cannot_draw_it_is_not_given(tmp_path: Path) -> None:
    folder = tiny.tiny_bert(tmp_path, max_position_embeddings=512)
    trace = trace_of(folder, "the film " * 240)  # 482 tokens, four heads
    assert HeadView().unavailable(trace) == (
        "BertViz would draw 929,296 SVG elements for 482 tokens; beyond 200,000 a browser hangs."
    )
    assert "SVG elements" in NeuronView().unavailable(trace)
    assert "SVG elements" in ModelView().unavailable(trace)
    with pytest.raises(FieldError, match="would draw 929,296") as refused:
        page_of(HeadView, trace)
    assert refused.value.hint == "lmkit's own pictures draw texts of any length."

    shorter = trace_of(folder, "the film " * 90)  # 182 tokens: one layer, or a few heads
    assert ModelView().unavailable(shorter) == ""
    page, note = ModelView().show(shorter, layer=1, head=0, tokens=(), layers="", heads="")
    assert data_of(page)["layers"] == [0]  # type: ignore[arg-type]
    assert isinstance(note, Text)
    assert note.text.endswith("encoder 1.")
    with pytest.raises(FieldError, match="would draw 264,992") as refused:
        page_of(ModelView, shorter, layers="0-1")
    assert refused.value.hint.startswith("Choose fewer layers or heads.")
    assert data_of(page_of(ModelView, shorter, layers="0-1", heads="2"))["heads"] == [2]


def test_layers_without_queries_and_keys_have_no_neuron_view(tmp_path: Path) -> None:
    from transformers import AutoTokenizer, BloomConfig, BloomModel

    tokenizer = AutoTokenizer.from_pretrained(tiny.tiny_gpt2(tmp_path))
    config = BloomConfig(vocab_size=400, hidden_size=32, n_layer=1, n_head=4)
    model = BloomModel(config).eval()
    trace = ModelStore(device="cpu").get((model, tokenizer), "AutoModel").trace("the plot is thin")
    assert NeuronView().unavailable(trace) == (
        "This model gives its attention only, not its queries and keys."
    )
    with pytest.raises(FieldError, match="Layers 0 give their attention only"):
        page_of(NeuronView, trace)
    assert HeadView().unavailable(trace) == ""
    assert data_of(page_of(HeadView, trace))["causal"] is True


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("", ()), (" 7 ", (7,)), ("0-3, 7", (0, 1, 2, 3, 7)), ("5;2 – 3 2", (2, 3, 5))],
)
def test_lists_of_layers_are_read(text: str, numbers: tuple[int, ...]) -> None:
    assert parse_numbers(text, 8, "layers") == numbers
    assert parse_numbers(spelled(numbers), 8, "layers") == numbers


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("8", "There are no layers 8; there are 8."),
        ("3-1", "There are no layers 3-1; there are 8."),
        ("two", "'two' is not a number or a range of layers."),
        ("-1", "'-1' is not a number or a range of layers."),
        ("1-2-3", "'1-2-3' is not a number or a range of layers."),
        ("9" * 40, "is not a number or a range of layers."),
    ],
)
def test_other_lists_are_refused(text: str, message: str) -> None:
    with pytest.raises(FieldError, match=re.escape(message)) as refused:
        parse_numbers(text, 8, "layers")
    assert refused.value.hint


def test_tokens_are_shown_as_lmkit_shows_them(bert: Path) -> None:
    trace = trace_of(bert, "the plot")  # [CLS] the plot [SEP]
    (kind,) = kinds_of(trace)
    texts = [" film", "\n\t", "a\u202eb\u200d\x00", "x" * (LONGEST + 1)]
    trace.tokens = tuple(Token(text=text, raw=text) for text in texts)
    left, right = shown_tokens(trace, kind)
    assert left == ["·film", "↵⇥", "a⟨202E⟩b\u200d⟨0000⟩", "x" * LONGEST + "…"]
    assert right == left
    trace.tokens = (Token(text="", raw=""),)  # fewer names than positions
    assert shown_tokens(trace, kind)[0] == ["∅", "⟨1⟩", "⟨2⟩", "⟨3⟩"]
