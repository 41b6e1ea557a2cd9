"""Lenses over passes of real models: each number from the pass's own attention, and the tiles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lmkit.errors import AttentionUnavailableError
from lmkit.models import HuggingFaceModel, ModelStore
from lmkit.models.text_trace import ModelTrace
from lmkit.protocol.messages import Selection
from lmkit.protocol.tiles import decode
from lmkit.views.attention import AttentionTiles
from lmkit.views.lenses import LENSES, DifferenceTrace, rollout
from lmkit.views.lenses.projected import ProjectedTrace
from tests import tiny

CLASSIFY = "AutoModelForSequenceClassification"
MAKERS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "bert": (tiny.tiny_bert, CLASSIFY),
    "roberta": (tiny.tiny_roberta, CLASSIFY),
    "llama": (tiny.tiny_llama, "AutoModelForCausalLM"),
    "gpt2": (tiny.tiny_gpt2, "AutoModelForCausalLM"),
    "t5": (tiny.tiny_t5, "AutoModelForSeq2SeqLM"),
    "bart": (tiny.tiny_bart, CLASSIFY),
}
TEXT = "The plot is thin. But I was moved! 中文。"
PAIR = "We saw it by the river."
PAIRS_ONLY = {"text-to-text", "text-to-pair", "pair-to-text", "pair-to-pair"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, HuggingFaceModel]:
    store = ModelStore(device="cpu")
    loaded = {}
    for name, (make, auto_class) in MAKERS.items():
        got = store.get(make(tmp_path_factory.mktemp(name) / name), auto_class)
        assert isinstance(got, HuggingFaceModel)
        loaded[name] = got
    return loaded


def reference(lens: ProjectedTrace, layer: int, head: int) -> np.ndarray:
    """Means over queries, sums over keys, cell by cell from the pass's whole attention."""
    info = lens.base.layers[layer]
    a = lens.base.attention(layer, head).astype(float)
    queries, keys = lens._sides(info.role)
    seen = sorted(keys.place)
    if lens.renormalise:
        a = a / np.maximum(a[:, seen].sum(1, keepdims=True), 1e-300)
    return np.array([[a[np.ix_(q, k)].sum(1).mean() for k in keys.groups] for q in queries.groups])


@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.parametrize("name", MAKERS)
def test_each_lens_of_each_model(
    models: dict[str, HuggingFaceModel], name: str, pair: bool
) -> None:
    trace = models[name].trace(TEXT, PAIR if pair else None)
    tiles = AttentionTiles(trace, lenses=tuple(LENSES.values()))
    specs = {spec.name: spec for spec in tiles.spec(Selection(layer=0, head=0)).lenses}
    assert list(specs) == list(LENSES)
    unavailable = {n for n, spec in specs.items() if spec.reason}
    expected = {"turns"}
    if not pair or name == "t5":  # its decoder reads the start token alone
        expected |= PAIRS_ONLY
    if name == "gpt2":
        expected |= {"no-special", "no-special-renormalised"}
    if name == "gpt2" and pair:
        # Two texts one after the other, and the tokenizer says which is which.
        expected -= PAIRS_ONLY
    assert unavailable == expected
    for lens_name in set(LENSES) - unavailable - {"norm"}:
        lens = LENSES[lens_name].make(trace)
        assert isinstance(lens, ProjectedTrace)
        for layer, info in enumerate(lens.layers):
            want = reference(lens, layer, 1)
            assert want.shape == (info.queries, info.keys)
            np.testing.assert_allclose(lens.attention(layer, 1), want, rtol=0, atol=2e-6)
            header, data = tiles.tile(f"head/{layer}/1@{lens_name}", fine=True)
            shown = decode(data, header.shape, header.encoding)
            np.testing.assert_allclose(shown, want, rtol=0, atol=2e-5)
            header, _ = tiles.tile(f"thumb/{layer}@{lens_name}")
            assert header.shape[0] == info.heads
            queries = lens.tokens_of(info.role)
            assert (len(queries), len(lens.tokens_of(info.role, keys=True))) == want.shape


def test_words_and_sentences_carry_the_text(models: dict[str, HuggingFaceModel]) -> None:
    trace = models["bert"].trace(TEXT, PAIR)
    words = LENSES["words"].make(trace)
    assert [t.text for t in words.tokens][:5] == ["[CLS]", "The", "plot", "is", "thin"]
    assert all(trace.text[t.start : t.end] == t.text for t in words.tokens if not t.special)
    assert isinstance(words, ProjectedTrace)
    groups = words.groups_of("encoder", keys=True)
    assert len(groups) == len(words.tokens)
    assert all(
        trace.words[trace.tokens[i].word or 0].text == token.text
        for token, group in zip(words.tokens, groups, strict=True)
        for i in group
        if not token.special
    )
    sentences = LENSES["sentences"].make(trace)
    assert [t.text for t in sentences.tokens] == [
        "[CLS]",
        "The plot is thin.",
        "But I was moved!",
        "中文。",
        "[SEP]",
        "We saw it by the river.",
        "[SEP]",
    ]
    decoder = LENSES["words"].make(models["bart"].trace(TEXT))
    assert [t.text for t in decoder.decoder_tokens][:3] == ["</s>", "<s>", "The"]


def plain_norms(trace: ModelTrace, projection: torch.nn.Module, layer: int, head: int) -> Any:
    value = torch.from_numpy(trace.values(layer, head))
    padded = torch.zeros(len(value), trace.layers[layer].heads * value.shape[1])
    padded[:, head * value.shape[1] : (head + 1) * value.shape[1]] = value
    with torch.no_grad():
        return (projection(padded) - projection(torch.zeros_like(padded))).norm(dim=-1).numpy()


def test_norm_weighted_attention_of_a_pass_that_kept_no_values(
    models: dict[str, HuggingFaceModel],
) -> None:
    loaded = models["llama"]
    trace, kept = loaded.trace(TEXT), loaded.trace(TEXT, values=True)
    lens = LENSES["norm"].make(trace)
    for layer in (0, 1):
        projection = loaded.model.model.layers[layer].self_attn.o_proj
        for head in range(4):
            want = trace.attention(layer, head) * plain_norms(kept, projection, layer, head)
            np.testing.assert_allclose(lens.attention(layer, head), want, rtol=1e-4, atol=1e-5)
    assert lens.attention(0, 0).max() > 1  # an amount, not a share
    header, data = AttentionTiles(trace, lenses=[LENSES["norm"]]).tile("head/1/2@norm")
    assert header.encoding == "f32"
    want = lens.attention(1, 2)
    np.testing.assert_allclose(decode(data, header.shape, header.encoding), want, rtol=1e-5)
    # Norms stay when the capture goes.
    trace.release()
    assert trace.value_norms(0).shape == (4, len(trace.tokens))
    assert trace.released
    assert trace.no_value_norms == ""


def test_where_no_projection_is_found_the_reason_is_given_once_known(
    models: dict[str, HuggingFaceModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lmkit.capture import output_projection

    monkeypatch.setattr(output_projection, "_candidate", lambda module: False)
    trace = models["bert"].trace(TEXT)
    lens = LENSES["norm"].make(trace)
    assert LENSES["norm"].unavailable(trace) == ""
    with pytest.raises(AttentionUnavailableError, match="No module reads the attention of layer"):
        lens.attention(0, 0)
    assert "No module reads" in LENSES["norm"].unavailable(trace)


def test_two_prompts_and_two_models(models: dict[str, HuggingFaceModel]) -> None:
    a, b = models["bert"].trace("the plot is thin"), models["bert"].trace("the plot was so thin")
    got = DifferenceTrace(a, b)
    assert [t.text for t in got.tokens] == ["[CLS]", "the", "plot", "thin", "[SEP]"]
    assert got.unmatched == ((3,), (3, 4, 5))  # so is two tokens
    mine, theirs = [0, 1, 2, 4, 5], [0, 1, 2, 6, 7]
    want = a.attention(1, 2)[np.ix_(mine, mine)] - b.attention(1, 2)[np.ix_(theirs, theirs)]
    np.testing.assert_allclose(got.attention(1, 2), want, rtol=0, atol=1e-6)
    tiles = AttentionTiles(got, scale="difference")
    header, data = tiles.tile("head/1/2")
    np.testing.assert_allclose(decode(data, header.shape, "f32"), want, rtol=0, atol=1e-6)
    assert tiles.tile("thumb/0")[0].shape == (4, 5, 5)

    words = LENSES["words"].make
    other = DifferenceTrace(words(a), words(models["llama"].trace("the plot is thin")))
    assert [t.text for t in other.tokens] == ["the", "plot", "is", "thin"]
    assert -1 <= other.attention(0, 0).min() < 0 < other.attention(0, 0).max() <= 1


def test_rollout_of_a_real_pass(models: dict[str, HuggingFaceModel]) -> None:
    for name in ("bert", "llama", "bart"):
        trace = models[name].trace(TEXT)
        got = rollout(trace, [1, -1])
        product = np.eye(len(trace.tokens))
        for layer in got.layers:
            mean = np.mean([trace.attention(layer, h) for h in range(4)], axis=0, dtype=float)
            product = (0.5 * np.eye(len(mean)) + 0.5 * mean) @ product
        np.testing.assert_allclose(got.scores, product[[1, -1]], rtol=0, atol=2e-6)
        assert abs(got.lost).max() < 1e-5
        assert {trace.layers[i].role for i in got.layers} == {
            "decoder" if name == "llama" else "encoder"
        }
