"""Rollout against the product of whole matrices that defines it."""

from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
import transformers as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from lmkit.capture import Trace, trace_forward
from lmkit.errors import AttentionUnavailableError, Cancelled, CaptureError
from lmkit.views.lenses import LENSES, rollout
from lmkit.views.lenses import rollouts as module
from tests.stored import StoredTrace, token, tokens_of_words

SMALL = {
    "vocab_size": 99,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}


def definition(trace: Any, layers: list[int], residual: float = 0.5) -> np.ndarray:
    """Abnar and Zuidema 2020: the product of whole matrices, in float64."""
    product = np.eye(trace.layers[layers[0]].keys)
    for layer in layers:
        heads = [trace.attention(layer, h) for h in range(trace.layers[layer].heads)]
        mean = np.mean(heads, axis=0, dtype=np.float64)
        product = (residual * np.eye(len(mean)) + (1 - residual) * mean) @ product
    return product


class Wrapped:
    """A capture as views get it: with tokens, and without the fast product of a whole layer."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.layers = trace.layers
        self.attention = trace.attention
        self.rows = trace.rows


def captured(kind: str, tokens: int = 24) -> Trace:
    torch.manual_seed(0)
    configs = {
        "bert": (tf.BertModel, tf.BertConfig(**SMALL)),
        "gpt2": (tf.GPT2Model, tf.GPT2Config(vocab_size=99, n_embd=32, n_layer=4, n_head=4)),
        "gpt_oss": (
            tf.GptOssModel,
            tf.GptOssConfig(**SMALL, num_key_value_heads=2, head_dim=8, num_local_experts=4),
        ),
    }
    make, config = configs[kind]
    model = make(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2:
                parameter.mul_(8)
            elif "sinks" in name:
                parameter.copy_(torch.linspace(-1, 2, parameter.numel()))
    return trace_forward(model, {"input_ids": torch.randint(5, 90, (1, tokens))})


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("kind", ["bert", "gpt2", "gpt_oss"])
def test_rows_are_those_of_the_definition(kind: str, fast: bool) -> None:
    trace = captured(kind)
    given_: Any = trace if fast else Wrapped(trace)
    want = definition(trace, [0, 1, 2, 3])
    queries = [0, 11, 23, -1]
    got = rollout(given_, queries)
    assert got.layers == (0, 1, 2, 3)
    assert got.scores.dtype == np.float32
    np.testing.assert_allclose(got.scores, want[queries], rtol=0, atol=2e-6)
    np.testing.assert_allclose(got.scores.sum(1) + got.lost, 1, atol=1e-6)
    if kind == "gpt_oss":
        np.testing.assert_allclose(got.lost, 1 - want[queries].sum(1), atol=2e-6)
        assert got.lost.min() > 0.05
    else:
        assert abs(got.lost).max() < 1e-5
    if kind != "bert":
        assert not got.scores[1, 12:].any()  # nothing arrives from a token to come


def test_residual_and_layers_are_chosen() -> None:
    trace: Any = captured("bert")
    some = rollout(trace, range(24), residual=0.2, layers=[2, -4])
    assert some.layers == (0, 2)
    np.testing.assert_allclose(some.scores, definition(trace, [0, 2], 0.2), rtol=0, atol=2e-6)
    np.testing.assert_array_equal(rollout(trace, [3], residual=1.0).scores, np.eye(24)[[3]])
    one = rollout(trace, [3], residual=0.0, layers=[1]).scores[0]
    heads = [trace.attention(1, h)[3] for h in range(4)]
    np.testing.assert_allclose(one, np.mean(heads, axis=0), rtol=0, atol=1e-6)
    assert rollout(trace, []).scores.shape == (0, 24)


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 12),
    layers=st.integers(1, 4),
    cells=st.sampled_from([1, 30, 1 << 20]),
    seed=st.integers(0, 2**32 - 1),
    residual=st.floats(0, 1),
)
def test_any_attention_in_any_blocks(
    n: int, layers: int, cells: int, seed: int, residual: float
) -> None:
    rng = np.random.default_rng(seed)
    share = rng.random((layers, 2, n, 1))  # rows that sum to less than 1
    weights = rng.dirichlet(np.ones(n), size=(layers, 2, n)) * share
    trace = StoredTrace(list(weights), [token(str(i)) for i in range(n)])
    with mock.patch.object(module, "_CELLS", cells):
        got = rollout(trace, range(n), residual=residual)
    want = definition(trace, list(range(layers)), residual)
    np.testing.assert_allclose(got.scores, want, rtol=0, atol=1e-6)
    np.testing.assert_allclose(got.lost, 1 - want.sum(1), rtol=0, atol=2e-6)
    assert trace.asked <= max(n, cells)


def test_a_lens_can_be_rolled_out() -> None:
    tokens, words = tokens_of_words([["[S]"], ["a", "b"], ["c"]])
    rng = np.random.default_rng(0)
    stack = [rng.dirichlet(np.ones(4), size=(2, 4)) for _ in range(3)]
    lens = LENSES["words"].make(StoredTrace(stack, tokens, words))
    got = rollout(lens, [2])
    np.testing.assert_allclose(got.scores, definition(lens, [0, 1, 2])[[2]], atol=1e-6)


def _encoder_decoder() -> Any:
    rng = np.random.default_rng(0)
    shapes = [("encoder", 4, 4), ("decoder", 3, 3), ("cross", 3, 4), ("decoder", 3, 3)]
    return StoredTrace(
        [rng.dirichlet(np.ones(k), size=(2, q)) for _, q, k in shapes],
        [token(t) for t in "abcd"],
        decoder_tokens=[token(t) for t in "sab"],
        roles=[role for role, _, _ in shapes],
    )


def test_cross_attention_is_left_out_and_refused_by_name() -> None:
    trace = _encoder_decoder()
    assert rollout(trace, [0]).layers == (0,)
    assert rollout(trace, [0], layers=[1, 3]).scores.shape == (1, 3)
    with pytest.raises(CaptureError, match=r"layer\.2 is cross-attention"):
        rollout(trace, [0], layers=[1, 2, 3])
    with pytest.raises(CaptureError, match="same tokens"):
        rollout(trace, [0], layers=[0, 1])
    only_cross = StoredTrace([trace.weights[2]], trace.tokens, roles=["cross"])
    with pytest.raises(AttentionUnavailableError):
        rollout(only_cross, [0])


def test_wrong_arguments_are_refused() -> None:
    trace: Any = captured("gpt2")
    for arguments in (
        {"queries": [24]},
        {"queries": [-25]},
        {"queries": [0], "residual": 1.5},
        {"queries": [0], "layers": [4]},
    ):
        with pytest.raises(CaptureError):
            rollout(trace, **arguments)
    cached = StoredTrace([np.full((1, 2, 4), 0.25)], [token("a")] * 4)
    with pytest.raises(CaptureError, match="2 queries and 4 keys"):
        rollout(cached, [0])


@pytest.mark.parametrize("fast", [True, False])
def test_a_stop_is_heard(fast: bool) -> None:
    trace = captured("gpt2")
    given_: Any = trace if fast else Wrapped(trace)
    with pytest.raises(Cancelled):
        rollout(given_, [5], cancel=lambda: True)


def test_weights_of_another_length_are_refused() -> None:
    trace = captured("bert")
    with pytest.raises(CaptureError, match="24 queries"):
        trace.weighted(0, np.ones((1, 23)))
