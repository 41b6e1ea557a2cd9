"""Attention of the models' own: called SDPA by hand, taken layer by layer, or computed again."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf
from torch import nn
from torch.nn import functional

from lmkit.capture import capture, fallback, trace_forward
from lmkit.capture.recomputed import RecomputedRecord
from lmkit.capture.records import StoredRecord
from lmkit.errors import AttentionUnavailableError, BudgetExceededError
from tests.architectures import build, inputs_of

OWN = ["bloom", "mpt", "gpt_neo", "deberta-v2", "mpnet", "convbert", "roformer", "xglm", "fsmt"]


class Block(nn.Module):
    """Attention as people write it by hand; three ways to call torch's function."""

    def __init__(self, style: str) -> None:
        super().__init__()
        self.qkv = nn.Linear(32, 96, bias=False)
        self.style = style
        nn.init.normal_(self.qkv.weight, std=0.4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).split(32, 2)
        if self.style == "one head":
            return functional.scaled_dot_product_attention(q, k, v, scale=0.3)
        q, k, v = (t.unflatten(2, (4, 8)).transpose(1, 2) for t in (q, k, v))
        if self.style == "grouped":
            out = functional.scaled_dot_product_attention(
                q, k[:, :2], v[:, :2], is_causal=True, enable_gqa=True
            )
        else:
            mask = torch.ones(x.shape[1], x.shape[1]).tril(2).bool()
            out = functional.scaled_dot_product_attention(q, k, v, mask)
        return out.transpose(1, 2).flatten(2)


class Stack(nn.Module):
    """Three of them, and no config."""

    def __init__(self) -> None:
        super().__init__()
        styles = ("grouped", "masked", "one head")
        self.blocks = nn.ModuleList(Block(s) for s in styles)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = x + block(x)
        return x


def test_hand_written_attention_on_torchs_function_is_recorded() -> None:
    torch.manual_seed(0)
    model, x = Stack().eval(), torch.randn(2, 20, 32)
    with torch.no_grad():
        plain = model(x)
        with capture(model, values=True) as trace:
            out = model(x)
    assert torch.equal(out, plain)
    assert [(i.heads, i.kv_heads, i.path) for i in trace.layers] == [
        (4, 2, "sdpa call"),
        (4, 4, "sdpa call"),
        (1, 1, "sdpa call"),
    ]
    assert [i.causal for i in trace.layers] == [True, False, False]
    assert trace.deviation is not None
    assert trace.deviation < 2e-6
    hidden = x
    for info, block in zip(trace.layers, model.blocks, strict=True):
        with torch.no_grad():
            given = block(hidden)
        hidden = hidden + given
        for h in range(info.heads):
            got = trace.batch(1).attention(info.index, h) @ trace.batch(1).values(info.index, h)
            want = given[1].view(20, info.heads, -1)[:, h].numpy()
            assert np.abs(got - want).max() < 1e-5 * max(1.0, np.abs(want).max())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_a_failing_pass_leaves_no_module_entered() -> None:
    model = Stack().eval()
    with capture(model) as trace:
        with pytest.raises(RuntimeError):
            model(torch.randn(1, 5, 31))
        # a call of torch's function by no module of the model
        functional.scaled_dot_product_attention(*torch.randn(3, 1, 4, 5, 8))
        with torch.no_grad():
            model(torch.randn(1, 5, 32))
    assert len(trace.layers) == 3


def test_falcon_on_eager_falls_back() -> None:
    model = build("falcon", attn_implementation="eager")
    trace = trace_forward(model, inputs_of("falcon"))
    assert trace.path == "eager fallback"
    other = build("falcon")
    other.load_state_dict(model.state_dict())
    direct = trace_forward(other, inputs_of("falcon"))
    assert np.abs(trace.attention(1, 2) - direct.attention(1, 2)).max() < 1e-5


@pytest.mark.parametrize("name", OWN)
def test_a_layer_is_computed_again_where_all_are_too_much(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, inputs = build(name), inputs_of(name)
    stored = trace_forward(model, inputs)
    assert all(isinstance(r, StoredRecord) for r in stored._held.records)
    monkeypatch.setattr(fallback, "MOST_HELD", 10_000)
    again = trace_forward(model, inputs)
    assert all(isinstance(r, RecomputedRecord) for r in again._held.records)
    assert again.layers == stored.layers
    for key, value in stored.output.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, again.output[key])
    for kept, made in zip(stored._held.records, again._held.records, strict=True):
        rows = [0, 20, kept.queries - 1]
        blocks = zip(kept.head_blocks(1, rows), made.head_blocks(1, rows), strict=True)
        for x, y in blocks:
            assert torch.equal(x.weights, y.weights)
            assert torch.equal(x.open, y.open)
    for info in stored.layers:
        for b in range(2):
            one, other = stored.batch(b), again.batch(b)
            assert np.array_equal(one.attention(info.index, 1), other.attention(info.index, 1))
        assert np.allclose(stored.thumbnails(info.index, 8), again.thumbnails(info.index, 8))
    assert np.allclose(stored.attention_received(), again.attention_received())


def _bloom(tokens: int) -> tuple[Any, dict[str, torch.Tensor]]:
    config = tf.BloomConfig(vocab_size=99, hidden_size=32, n_layer=4, n_head=8)
    torch.manual_seed(1)
    ids = torch.randint(5, 90, (1, tokens))
    return tf.BloomModel(config).eval(), {"input_ids": ids}


def test_within_a_budget_too_small_for_all_layers_the_pass_goes_through() -> None:
    model, inputs = _bloom(256)
    whole = trace_forward(model, inputs)
    assert whole.nbytes == 4 * 8 * 256 * 256 * 4
    small = trace_forward(model, inputs, budget=whole.nbytes // 2)
    assert small.nbytes < whole.nbytes // 8
    assert np.array_equal(whole.attention(3, 7), small.attention(3, 7))
    with pytest.raises(BudgetExceededError):
        trace_forward(model, inputs, budget=1000)


def test_only_one_layers_attention_is_alive_at_a_time() -> None:
    """During the pass: what goes on to the model in its place has no memory."""
    model, inputs = _bloom(64)
    trace_forward(model, inputs)  # transformers' own hooks are there from now on
    alive: list[weakref.ref[torch.Tensor]] = []
    most = 0

    def watch(module: nn.Module, args: Any, output: Any) -> None:
        nonlocal most
        alive.append(weakref.ref(output[1]))
        gc.collect()
        most = max(most, sum(r() is not None and r().untyped_storage().nbytes() > 4 for r in alive))

    with capture(model, budget=200_000) as trace, torch.no_grad():
        for block in model.h:
            block.self_attention.register_forward_hook(watch, prepend=True)
        model(**inputs)
    assert len(trace.layers) == len(alive) == 4
    assert most == 1


def test_weights_that_changed_since_are_noticed() -> None:
    model, inputs = _bloom(64)
    trace = trace_forward(model, inputs, budget=200_000)
    before = trace.attention(1, 0)
    trace.attention(2, 0)
    assert np.array_equal(trace.attention(1, 0), before)
    trace.attention(2, 0)
    with torch.no_grad():
        model.h[1].self_attention.query_key_value.weight.mul_(3)
    with pytest.raises(AttentionUnavailableError, match="have changed since"):
        trace.attention(1, 0)
    model.train()
    with pytest.raises(AttentionUnavailableError, match="training mode"):
        trace.attention(3, 0)


def test_a_trace_that_computes_again_does_not_keep_its_model() -> None:
    model, inputs = _bloom(64)
    trace = trace_forward(model, inputs, budget=200_000)
    trace.attention(0, 0)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None
    with pytest.raises(AttentionUnavailableError, match="was unloaded"):
        trace.attention(1, 0)


@pytest.mark.parametrize("window", [4, 64])
def test_longformers_windows_are_refused_however_many_they_are(window: int) -> None:
    """5 tokens have as many keys as a window of 4 has offsets; 48 fewer than one of 64 has."""
    config = tf.LongformerConfig(
        vocab_size=99,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        attention_window=[window, window],
    )
    model = tf.LongformerModel(config).eval()
    ids = torch.randint(5, 90, (1, 5 if window == 4 else 48))
    trace = trace_forward(model, {"input_ids": ids})
    with pytest.raises(AttentionUnavailableError, match="attends within windows"):
        trace.attention(0, 0)


def test_a_pass_that_asks_falcon_for_attentions_says_why_nothing_was_recorded() -> None:
    model = build("falcon")
    with capture(model) as trace, torch.no_grad():
        output = model(**inputs_of("falcon"), output_attentions=True)
    assert len(output.attentions) == 2
    with pytest.raises(AttentionUnavailableError, match="without calling the attention") as error:
        trace.require()
    assert "output_attentions" in str(error.value.hint)
