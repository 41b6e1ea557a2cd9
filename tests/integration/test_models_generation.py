"""A text that a model wrote: tokens, steps, what it thought, chat turns, release and repeat."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lmkit.errors import Cancelled, FieldError, ModelError
from lmkit.models import HuggingFaceModel, ModelStore
from lmkit.protocol.messages import Progress, Selection
from lmkit.views.attention import AttentionTiles
from lmkit.work import Work, doing
from tests import tiny

CAUSAL = "AutoModelForCausalLM"
TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}<|s|>system\nBe kind.<|e|>\n{% endif %}"
    "{% for m in messages %}<|s|>{{ m['role'] }}\n{{ m['content'] }}<|e|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|s|>assistant\n{% endif %}"
)


def _load(make: Any, path: Path, auto_class: str = CAUSAL) -> HuggingFaceModel:
    got = ModelStore(device="cpu").get(make(path), auto_class)
    assert isinstance(got, HuggingFaceModel)
    with torch.no_grad():
        for name, parameter in got.model.named_parameters():
            if parameter.dim() == 2 and any(p in name for p in ("q", "k", "attn")):
                parameter.mul_(8.0)
    got.model.generation_config.eos_token_id = None
    return got


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> HuggingFaceModel:
    return _load(tiny.tiny_llama, tmp_path_factory.mktemp("llama") / "llama")


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> HuggingFaceModel:
    return _load(tiny.tiny_gpt2, tmp_path_factory.mktemp("gpt2") / "gpt2")


@pytest.fixture(scope="module")
def t5(tmp_path_factory: pytest.TempPathFactory) -> HuggingFaceModel:
    return _load(tiny.tiny_t5, tmp_path_factory.mktemp("t5") / "t5", "AutoModelForSeq2SeqLM")


OPTIONS: list[dict[str, Any]] = [
    {},
    {"do_sample": True, "temperature": 1.5},
    {"num_beams": 3},
    {"num_beams": 3, "do_sample": True, "temperature": 2.0},
    {"prompt_lookup_num_tokens": 3},
    {"cache_implementation": "static"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_tokens_steps_and_what_the_model_thought(
    llama: HuggingFaceModel, options: dict[str, Any]
) -> None:
    trace = llama.trace_generation(tiny.TEXT, max_new_tokens=12, seed=3, **options)
    prompt = llama.trace(tiny.TEXT)
    assert trace.generated == len(prompt.tokens)
    assert trace.tokens[: trace.generated] == prompt.tokens
    assert trace.text.startswith(tiny.TEXT)
    assert trace.text == tiny.TEXT + trace.completion
    assert len(trace.written) == 12
    assert len(trace.tokens) == len(trace.sequence) - 1 == trace.layers[0].queries
    assert [w.token_id for w in trace.written] == list(trace.sequence[trace.generated :])
    assert trace.steps[0].first == 0
    assert trace.steps[-1].last == len(trace.tokens)
    for token in trace.tokens[trace.generated :]:
        if not token.special and not token.raw.startswith(("<0x", "<id ")):
            assert trace.text[token.start : token.end].strip() == token.text.strip()
    with torch.no_grad():
        logits = llama.model(input_ids=torch.tensor([trace.sequence[:-1]])).logits[0].double()
    p = torch.softmax(logits, -1)
    for one in trace.written:
        step = trace.steps[one.step]
        assert step.first < one.index <= step.last
        row = p[one.index - 1]
        assert one.probability == pytest.approx(float(row[one.token_id]), rel=1e-3, abs=1e-7)
        assert one.entropy == pytest.approx(float(-(row * row.log2()).sum()), rel=1e-3)
        assert one.rank == int((row > row[one.token_id] + 1e-9).sum())
        best = torch.topk(row, 10).values.tolist()
        assert [a.probability for a in one.alternatives] == pytest.approx(best, rel=1e-3)
    if not options:
        assert {one.rank for one in trace.written} == {0}
        assert [s.label for s in trace.steps] == [
            w.token.text.replace("\n", "\u21b5") or f"token {w.index - 1}" for w in trace.written
        ]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_released_text_is_written_again(llama: HuggingFaceModel, options: dict[str, Any]) -> None:
    state = torch.random.get_rng_state()
    trace = llama.trace_generation(tiny.TEXT, max_new_tokens=9, **options)
    assert torch.equal(torch.random.get_rng_state(), state)
    before = [trace.attention(layer, 1) for layer in range(2)]
    again = llama.trace_generation(tiny.TEXT, max_new_tokens=9, seed=trace.seed, **options)
    assert again.sequence == trace.sequence
    assert trace.nbytes > 0
    trace.release()
    assert trace.released
    assert trace.nbytes == 0
    layers = trace.layers
    for layer in range(2):
        assert np.array_equal(trace.attention(layer, 1), before[layer])
    assert trace.layers == layers
    assert torch.equal(torch.random.get_rng_state(), state)


def test_another_text_than_before_is_said_and_not_shown(llama: HuggingFaceModel) -> None:
    trace = llama.trace_generation(tiny.TEXT, max_new_tokens=9, num_beams=2)
    trace.release()
    weight = llama.model.lm_head.weight
    with torch.no_grad():
        weight.neg_()
        try:
            with pytest.raises(ModelError, match="another text"):
                trace.attention(0, 0)
        finally:
            weight.neg_()
    assert trace.attention(0, 0).shape[0] == len(trace.tokens)


def test_an_encoder_decoder_model(t5: HuggingFaceModel) -> None:
    trace = t5.trace_generation(tiny.TEXT, max_new_tokens=8)
    assert trace.text == tiny.TEXT
    assert trace.generated == 1
    assert len(trace.decoder_tokens) == len(trace.sequence) - 1
    roles = {info.role: info for info in trace.layers}
    assert roles["encoder"].queries == len(trace.tokens)
    assert roles["cross"].queries == roles["decoder"].queries == len(trace.decoder_tokens)
    assert roles["cross"].keys == len(trace.tokens)
    assert all(w.probability for w in trace.written)
    spec = AttentionTiles(trace).spec(Selection())
    assert len(spec.steps) == len(trace.steps)
    assert spec.key_tokens.all == trace.tokens


def test_the_explorer_is_given_steps(gpt2: HuggingFaceModel) -> None:
    trace = gpt2.trace_generation(
        "Ein Anfang: 中文 👍🏽 ", max_new_tokens=10, do_sample=True, seed=1
    )
    spec = AttentionTiles(trace).spec(Selection())
    assert spec.tokens.all == trace.tokens
    assert [(s.first, s.last) for s in spec.steps] == [(s.first, s.last) for s in trace.steps]
    for key in ("head/0/1", "thumb/1"):
        header, data = AttentionTiles(trace).tile(key)
        assert data
        assert header.shape
    for word in trace.words:
        assert trace.text[word.start : word.end] == word.text
    for token in trace.tokens:
        assert 0 <= token.start <= token.end <= len(trace.text)


def test_chat_turns(llama: HuggingFaceModel) -> None:
    tokenizer = llama.tokenizer
    tokenizer.chat_template = TEMPLATE
    try:
        trace = llama.trace_generation("Hello there", chat=True, max_new_tokens=5)
        assert [role for role, _, _ in trace.turns] == ["system", "user", "assistant"]
        assert trace.turns[0][1] == 0
        assert trace.turns[-1][2] == len(trace.tokens)
        for (_, _, end), (_, start, _) in zip(trace.turns, trace.turns[1:], strict=False):
            assert end == start
        system, user, answer = (
            "".join(t.text for t in trace.tokens[first:last]) for _, first, last in trace.turns
        )
        assert "kind" in system
        assert "Hello" not in system
        assert "Hello" in user
        assert "assistant" not in user
        assert answer.replace(" ", "").startswith("<|s|>assistant")
        talk = [
            {"role": "system", "content": "One"},
            {"role": "user", "content": "Two"},
            {"role": "assistant", "content": "Three"},
            {"role": "user", "content": "Four"},
        ]
        trace = llama.trace_generation(talk, chat=True, max_new_tokens=5)
        assert [role for role, _, _ in trace.turns] == [
            "system", "user", "assistant", "user", "assistant"
        ]  # fmt: skip
        with pytest.raises(FieldError, match="role and a content"):
            llama.trace_generation([{"role": "user"}], chat=True)
        with pytest.raises(FieldError, match="empty"):
            llama.trace_generation([], chat=True)
        tokenizer.chat_template = "{{ raise_exception('no such roles') }}"
        with pytest.raises(ModelError, match="no such roles"):
            llama.trace_generation("Hello", chat=True)
    finally:
        tokenizer.chat_template = None
    with pytest.raises(ModelError, match="no chat template"):
        llama.trace_generation("Hello", chat=True)


def test_progress_and_stop(llama: HuggingFaceModel) -> None:
    seen: list[Progress] = []
    work = Work(seen.append)
    with doing(work):
        trace = llama.trace_generation(tiny.TEXT, max_new_tokens=6)
    assert (seen[-1].label, seen[-1].done, seen[-1].total) == ("Generating", 6, 6)
    assert work.traces == [trace]

    def stop(progress: Progress) -> None:
        work.cancel()

    work = Work(stop)
    with doing(work), pytest.raises(Cancelled):
        llama.trace_generation(tiny.TEXT, max_new_tokens=50)
    assert work.traces == []
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in llama.model.modules())


def test_what_cannot_be_written(llama: HuggingFaceModel, tmp_path: Path) -> None:
    bert = ModelStore(device="cpu").get(tiny.tiny_bert(tmp_path / "bert"), "AutoModel")
    assert isinstance(bert, HuggingFaceModel)
    with pytest.raises(ModelError, match="does not write"):
        bert.trace_generation(tiny.TEXT)
    with pytest.raises(FieldError, match="a string"):
        llama.trace_generation(["x"])  # type: ignore[list-item]
    with pytest.raises(FieldError):
        llama.trace_generation("")
    llama.model.train()
    try:
        llama.trace_generation(tiny.TEXT, max_new_tokens=3)
        assert all(m.training for m in llama.model.modules())
    finally:
        llama.model.eval()


def test_a_long_prompt_leaves_room_for_what_is_written(gpt2: HuggingFaceModel) -> None:
    limit = gpt2.model.config.max_position_embeddings
    trace = gpt2.trace_generation("word " * (2 * limit), max_new_tokens=7)
    assert len(trace.sequence) == limit
    assert "left out" in trace.warnings[0]
