"""Each family: attention from q and k equals eager's own, and the pass is left as it was."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf

from lmkit.capture import Trace, trace_forward
from lmkit.capture.records import MASKED_SCORE
from lmkit.errors import AttentionUnavailableError

SIZE = {
    "vocab_size": 99,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
ENCODER_DECODER = {
    "vocab_size": 99,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
}
CACHES = {"past_key_values", "cache"}  # before and since transformers 5.24
TOKENS, PADDED = 70, 50  # longer than the windows of 16; the second text is padded


@dataclass
class Family:
    model: str
    config: Callable[[], Any]
    role: str = "decoder"
    path: str = "sdpa"
    layers: int = 2
    inputs: dict[str, Any] = field(default_factory=dict)
    kv_heads: int = 4
    window: int | None = None
    sinks: bool = False
    gain: float = 12.0  # weights of 0.02 would make attention uniform


FAMILIES = {
    "bert": Family("BertModel", lambda: tf.BertConfig(**SIZE), role="encoder", gain=25.0),
    "roberta": Family("RobertaModel", lambda: tf.RobertaConfig(**SIZE), role="encoder", gain=25.0),
    "distilbert": Family(
        "DistilBertModel",
        lambda: tf.DistilBertConfig(vocab_size=99, dim=32, n_layers=2, n_heads=4, hidden_dim=64),
        role="encoder",
    ),
    "albert": Family(
        "AlbertModel", lambda: tf.AlbertConfig(**SIZE, embedding_size=16), role="encoder", gain=12.0
    ),
    "modernbert": Family(
        "ModernBertModel",
        lambda: tf.ModernBertConfig(**SIZE, local_attention=16, pad_token_id=0),
        role="encoder",
        window=9,
    ),
    "llama": Family(
        "LlamaForCausalLM", lambda: tf.LlamaConfig(**SIZE, num_key_value_heads=2), kv_heads=2
    ),
    "qwen3": Family(
        "Qwen3ForCausalLM",
        lambda: tf.Qwen3Config(**SIZE, num_key_value_heads=1, head_dim=8),
        kv_heads=1,
    ),
    "mistral": Family(
        "MistralForCausalLM",
        lambda: tf.MistralConfig(**SIZE, num_key_value_heads=2, sliding_window=16),
        kv_heads=2,
        window=16,
    ),
    "gpt2": Family(
        "GPT2LMHeadModel",
        lambda: tf.GPT2Config(
            vocab_size=99, n_embd=32, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=2
        ),
    ),
    "gemma2": Family(
        "Gemma2ForCausalLM",
        lambda: tf.Gemma2Config(
            **SIZE,
            num_key_value_heads=2,
            head_dim=8,
            sliding_window=16,
            attn_logit_softcapping=2.0,
        ),
        path="eager",
        kv_heads=2,
    ),
    "gpt_oss": Family(
        "GptOssForCausalLM",
        lambda: tf.GptOssConfig(
            **SIZE, num_key_value_heads=2, head_dim=8, sliding_window=16, num_local_experts=4
        ),
        path="eager",
        kv_heads=2,
        sinks=True,
    ),
    "t5": Family(
        "T5Model",
        lambda: tf.T5Config(vocab_size=99, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4),
        layers=6,
        role="encoder",
        inputs={"decoder_input_ids": 30},
        gain=1.5,
    ),
    "bart": Family(
        "BartModel",
        lambda: tf.BartConfig(**ENCODER_DECODER),
        layers=6,
        role="encoder",
        inputs={"decoder_input_ids": 30},
    ),
    "falcon": Family(
        "FalconForCausalLM",
        lambda: tf.FalconConfig(
            vocab_size=99, hidden_size=32, num_hidden_layers=2, num_attention_heads=4
        ),
        path="sdpa call",
        kv_heads=1,
    ),
    "bloom": Family(
        "BloomForCausalLM",
        lambda: tf.BloomConfig(vocab_size=99, hidden_size=32, n_layer=2, n_head=4),
        path="eager fallback",
    ),
    "deberta_v2": Family(
        "DebertaV2Model",
        lambda: tf.DebertaV2Config(**SIZE),
        role="encoder",
        path="eager fallback",
    ),
}


def build(family: Family, **options: Any) -> Any:
    """The model with random weights, large enough for attention to be far from uniform."""
    torch.manual_seed(3)
    model = getattr(tf, family.model)._from_config(family.config(), **options).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "sinks" in name:
                parameter.copy_(torch.linspace(-1, 2, parameter.numel()))
            elif parameter.dim() == 2 and any(
                part in name.lower() for part in ("q", "k", "attn", "attention")
            ):
                parameter.mul_(family.gain)
    return model


def inputs_of(family: Family) -> dict[str, torch.Tensor]:
    torch.manual_seed(4)
    ids = torch.randint(5, 90, (2, TOKENS))
    mask = torch.ones_like(ids)
    mask[1, PADDED:] = 0
    extra = {k: torch.randint(5, 90, (2, n)) for k, n in family.inputs.items()}
    return {"input_ids": ids, "attention_mask": mask, **extra}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


def _eager(family: Family, model: Any) -> dict[str, tuple[torch.Tensor, ...]]:
    reference = build(family, attn_implementation="eager")
    reference.load_state_dict(model.state_dict())
    with torch.no_grad():
        output = reference(**inputs_of(family), output_attentions=True)
    if hasattr(output, "cross_attentions") and family.layers == 6:
        return {
            "encoder": output.encoder_attentions,
            "decoder": output.decoder_attentions,
            "cross": output.cross_attentions,
        }
    return {family.role: output.attentions}


def _difference(trace: Trace, want: dict[str, tuple[torch.Tensor, ...]]) -> tuple[float, float]:
    """Largest absolute difference, and largest weight away from uniform, over real queries."""
    worst = peak = 0.0
    for role, layers in want.items():
        infos = [i for i in trace.layers if i.role == role]
        assert len(infos) == len(layers)
        for info, attention in zip(infos, layers, strict=True):
            for b in range(2):
                real = PADDED if b == 1 and info.queries == TOKENS else info.queries
                for h in range(info.heads):
                    got = trace.batch(b).attention(info.index, h)[:real]
                    expected = attention[b, h].numpy()[:real]
                    assert got.shape == expected.shape
                    assert np.isfinite(got).all()
                    worst = max(worst, float(np.abs(got - expected).max()))
                    peak = max(peak, float(got[-1].max()) * info.keys)
    return worst, peak


def test_attention_equals_eager(family: Family) -> None:
    model = build(family)
    trace = trace_forward(model, inputs_of(family))
    assert trace.path == family.path
    assert trace.missing == ()
    assert len(trace.layers) == family.layers
    assert {i.role for i in trace.layers} == (
        {"encoder", "decoder", "cross"} if family.layers == 6 else {family.role}
    )
    assert {i.kv_heads for i in trace.layers} == {family.kv_heads}
    assert {i.sinks for i in trace.layers} == {family.sinks}
    if family.window:
        assert family.window in {i.window for i in trace.layers}
    if family.path == "eager fallback":
        assert trace.deviation is None
    else:
        assert trace.deviation is not None
        assert trace.deviation < 2e-6
    worst, peak = _difference(trace, _eager(family, model))
    assert worst <= 1e-5
    assert peak > 2  # the test could not tell masks or heads apart on uniform attention


ROTARY = {"falcon", "modernbert", "llama", "qwen3", "mistral", "gemma2", "gpt_oss"}


@pytest.mark.parametrize("name", [n for n, f in FAMILIES.items() if f.path != "eager fallback"])
def test_vectors_give_the_scores_and_scores_the_attention(name: str) -> None:
    """The equation of the neuron view: scale * q.k, softcap, bias and mask, softmax with a sink."""
    family = FAMILIES[name]
    trace = trace_forward(build(family), inputs_of(family))
    assert {i.rotary for i in trace.layers} == {name in ROTARY}
    text = trace.batch(1)  # the padded one
    for info in trace.layers:
        assert info.has_qk
        assert info.head_size == 8
        assert info.softcap == (2.0 if name == "gemma2" else None)
        for head in (0, info.heads - 1):
            rows = [0, info.queries // 2, PADDED - 1 if info.queries == TOKENS else -1]
            q = text.queries(info.index, head, rows)
            k = text.keys(info.index, head, range(info.keys))
            scores = text.scores(info.index, head, rows)
            weights = text.rows(info.index, head, rows)
            assert scores.shape == weights.shape == (3, info.keys)
            assert q.dtype == k.dtype == scores.dtype == np.float32
            open_ = scores > MASKED_SCORE
            assert (weights[~open_] == 0).all()
            assert open_[-1].any()
            if info.keys == TOKENS:
                assert not open_[:, PADDED:].any()
            product = info.scale * (q.astype(np.float64) @ k.astype(np.float64).T)
            if info.softcap is not None:
                product = info.softcap * np.tanh(product / info.softcap)
            bias = scores - product
            if name == "t5" and info.role != "cross":
                assert np.abs(bias[open_]).max() > 0.01
            else:
                assert np.abs(bias[open_]).max() < 1e-4
            e = np.where(open_, np.exp(scores - scores.max(1, keepdims=True)), 0)
            share = e / e.sum(1, keepdims=True) * weights.sum(1, keepdims=True)
            assert np.abs(share - weights).max() < 1e-5
            assert (weights.sum(1) < 0.999).any() == family.sinks


def test_vectors_of_the_fallback_are_refused_with_a_sentence() -> None:
    family = FAMILIES["bloom"]
    trace = trace_forward(build(family), inputs_of(family))
    assert not trace.layers[0].has_qk
    assert (trace.layers[0].head_size, trace.layers[0].scale) == (0, 0.0)
    for ask in (trace.queries, trace.keys, trace.scores):
        with pytest.raises(AttentionUnavailableError, match="not its queries and keys"):
            ask(0, 0, [0])


def _leaves(output: Any) -> list[torch.Tensor]:
    if isinstance(output, torch.Tensor):
        return [output]
    if isinstance(output, dict):
        output = tuple(output.values())
    if isinstance(output, tuple | list):
        return [leaf for item in output for leaf in _leaves(item)]
    return []


def _configs(model: Any) -> list[dict[str, Any]]:
    return [
        copy.deepcopy(vars(m.config))
        for m in model.modules()
        if getattr(m, "config", None) is not None
    ]


def test_output_and_config_are_those_of_a_plain_pass(family: Family) -> None:
    implementation = {"attn_implementation": "eager"} if "fallback" in family.path else {}
    model = build(family, **implementation)
    inputs = inputs_of(family)
    before = _configs(model)
    with torch.no_grad():
        plain = model(**inputs)
    trace = trace_forward(model, inputs)
    ours = trace.output
    assert type(ours) is type(plain)
    assert list(ours) == [key for key in plain if key not in CACHES]
    for key in ours:
        for a, b in zip(_leaves(ours[key]), _leaves(plain[key]), strict=True):
            assert torch.equal(a, b)
    assert repr(_configs(model)) == repr(before)
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


def test_longformer_says_that_its_windows_are_not_attention_over_all_tokens() -> None:
    model = tf.LongformerModel(tf.LongformerConfig(**SIZE, attention_window=[4, 4])).eval()
    ids = torch.randint(5, 90, (1, 12))
    trace = trace_forward(model, {"input_ids": ids})
    assert trace.output.last_hidden_state.shape == (1, 12, 32)
    with pytest.raises(AttentionUnavailableError, match="attends within windows"):
        trace.attention(0, 0)


def test_a_state_space_model_runs_and_says_that_it_has_no_attention() -> None:
    config = tf.MambaConfig(vocab_size=99, hidden_size=32, num_hidden_layers=2, state_size=4)
    model = tf.MambaForCausalLM(config).eval()
    ids = torch.randint(5, 90, (1, 12))
    with torch.no_grad():
        plain = model(input_ids=ids)
    trace = trace_forward(model, {"input_ids": ids})
    assert torch.equal(trace.output.logits, plain.logits)
    assert trace.layers == ()
    assert not trace.available
    for call in (
        lambda: trace.attention(0, 0),
        lambda: trace.thumbnails(0),
        trace.attention_received,
        trace.require,
    ):
        with pytest.raises(AttentionUnavailableError, match="has no attention"):
            call()


def test_a_hybrid_names_its_layers_without_attention() -> None:
    config = tf.Qwen3NextConfig(
        **SIZE,
        num_key_value_heads=2,
        head_dim=8,
        linear_num_key_heads=2,
        linear_num_value_heads=2,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=16,
        layer_types=["linear_attention", "full_attention"],
    )
    model = tf.Qwen3NextForCausalLM(config).eval()
    trace = trace_forward(model, {"input_ids": torch.randint(5, 90, (1, 12))})
    assert [i.name for i in trace.layers] == ["model.layers.1.self_attn"]
    assert trace.missing == ("model.layers.0",)
    assert trace.attention(0, 0).shape == (12, 12)


def test_a_stack_that_returns_windows_is_named_and_the_others_are_kept() -> None:
    config = tf.LEDConfig(
        **ENCODER_DECODER, attention_window=8, max_encoder_position_embeddings=128
    )
    model = tf.LEDModel(config).eval()
    torch.manual_seed(5)
    inputs = {
        "input_ids": torch.randint(5, 90, (1, 32)),
        "decoder_input_ids": torch.randint(5, 90, (1, 40)),
    }
    trace = trace_forward(model, inputs)
    assert {i.role for i in trace.layers} == {"decoder", "cross"}
    assert trace.missing == ("encoder.layers.0", "encoder.layers.1")
    assert trace.attention_received().shape == (40,)
    cross = next(i for i in trace.layers if i.role == "cross")
    assert trace.attention(cross.index, 1).shape == (40, 32)


def test_a_cache_is_handed_out_only_where_it_was_asked_for() -> None:
    model = build(FAMILIES["llama"])
    ids = torch.randint(5, 90, (1, 12))
    assert not CACHES & set(trace_forward(model, {"input_ids": ids}).output)
    asked = trace_forward(model, {"input_ids": ids, "use_cache": True}).output
    (cache,) = (asked[name] for name in CACHES & set(asked))
    assert cache.get_seq_length() == 12
