"""|v W_O| taken in the pass, against each head's padded values sent through the real module."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf
from torch import nn

from lmkit.capture import Trace, capture, trace_forward
from lmkit.errors import AttentionUnavailableError, BudgetExceededError

SIZE: dict[str, Any] = {
    "vocab_size": 99,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
GROUPED: dict[str, Any] = {**SIZE, "num_key_value_heads": 2}
TOKENS = 20


@dataclass
class Family:
    make: Callable[[], tuple[str, Any]]
    where: Callable[[str], str]  # the projection's name, from the attention module's
    inputs: dict[str, int] = field(default_factory=dict)
    image: bool = False


def _own(name: str) -> Callable[[str], str]:
    return lambda attention: f"{attention}.{name}"


def _beside(name: str) -> Callable[[str], str]:
    return lambda attention: f"{attention.rpartition('.')[0]}.{name}"


_DECODER = {"decoder_input_ids": 9}
FAMILIES = {
    "bert": Family(lambda: ("BertModel", tf.BertConfig(**SIZE)), _beside("output.dense")),
    "roberta": Family(lambda: ("RobertaModel", tf.RobertaConfig(**SIZE)), _beside("output.dense")),
    "electra": Family(lambda: ("ElectraModel", tf.ElectraConfig(**SIZE)), _beside("output.dense")),
    "distilbert": Family(
        lambda: (
            "DistilBertModel",
            tf.DistilBertConfig(vocab_size=99, dim=32, n_layers=2, n_heads=4, hidden_dim=64),
        ),
        _own("out_lin"),
    ),
    "albert": Family(
        lambda: ("AlbertModel", tf.AlbertConfig(**SIZE, embedding_size=16)), _own("dense")
    ),
    "modernbert": Family(
        lambda: (
            "ModernBertModel",
            tf.ModernBertConfig(**{**SIZE, "cls_token_id": 1, "sep_token_id": 2}),
        ),
        _own("Wo"),
    ),
    "gpt2": Family(
        lambda: (
            "GPT2Model",
            tf.GPT2Config(
                vocab_size=99, n_embd=32, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=2
            ),
        ),
        _own("c_proj"),
    ),
    "gpt_neox": Family(lambda: ("GPTNeoXModel", tf.GPTNeoXConfig(**SIZE)), _own("dense")),
    "opt": Family(
        lambda: (
            "OPTModel",
            tf.OPTConfig(
                vocab_size=99,
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=4,
                ffn_dim=64,
                word_embed_proj_dim=32,
            ),
        ),
        _own("out_proj"),
    ),
    "llama": Family(lambda: ("LlamaModel", tf.LlamaConfig(**GROUPED)), _own("o_proj")),
    "mistral": Family(lambda: ("MistralModel", tf.MistralConfig(**GROUPED)), _own("o_proj")),
    "mixtral": Family(
        lambda: ("MixtralModel", tf.MixtralConfig(**GROUPED, num_local_experts=2)), _own("o_proj")
    ),
    "qwen2": Family(lambda: ("Qwen2Model", tf.Qwen2Config(**GROUPED)), _own("o_proj")),
    "qwen3": Family(
        lambda: (
            "Qwen3Model",
            tf.Qwen3Config(**{**SIZE, "num_key_value_heads": 1}, head_dim=16),
        ),
        _own("o_proj"),
    ),
    "gemma2": Family(
        lambda: ("Gemma2Model", tf.Gemma2Config(**GROUPED, head_dim=8)), _own("o_proj")
    ),
    "phi3": Family(lambda: ("Phi3Model", tf.Phi3Config(**GROUPED)), _own("o_proj")),
    "olmo2": Family(lambda: ("Olmo2Model", tf.Olmo2Config(**GROUPED)), _own("o_proj")),
    "deepseek_v3": Family(
        lambda: (
            "DeepseekV3Model",
            tf.DeepseekV3Config(
                **SIZE,
                num_key_value_heads=4,
                moe_intermediate_size=16,
                n_routed_experts=4,
                n_group=1,
                topk_group=1,
                num_experts_per_tok=2,
                q_lora_rank=16,
                kv_lora_rank=16,
                qk_rope_head_dim=4,
                qk_nope_head_dim=8,
                v_head_dim=6,
            ),
        ),
        _own("o_proj"),
    ),
    "gpt_oss": Family(
        lambda: ("GptOssModel", tf.GptOssConfig(**GROUPED, head_dim=8, num_local_experts=4)),
        _own("o_proj"),
    ),
    "bart": Family(
        lambda: (
            "BartModel",
            tf.BartConfig(
                vocab_size=99,
                d_model=32,
                encoder_layers=1,
                decoder_layers=1,
                encoder_attention_heads=4,
                decoder_attention_heads=4,
                encoder_ffn_dim=64,
                decoder_ffn_dim=64,
            ),
        ),
        _own("out_proj"),
        inputs=_DECODER,
    ),
    "t5": Family(
        lambda: (
            "T5Model",
            tf.T5Config(vocab_size=99, d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4),
        ),
        _own("o"),
        inputs=_DECODER,
    ),
    "vit": Family(
        lambda: (
            "ViTModel",
            tf.ViTConfig(
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=4,
                intermediate_size=64,
                image_size=32,
                patch_size=8,
            ),
        ),
        lambda attention: attention + ".o_proj",
        image=True,
    ),
}


def build(family: Family) -> nn.Module:
    torch.manual_seed(3)
    name, config = family.make()
    model: nn.Module = getattr(tf, name)._from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.3)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.2)  # biases that are not zero
    return model


def inputs_of(family: Family) -> dict[str, torch.Tensor]:
    torch.manual_seed(4)
    if family.image:
        return {"pixel_values": torch.randn(2, 3, 32, 32)}
    extra = {name: torch.randint(5, 90, (2, n)) for name, n in family.inputs.items()}
    return {"input_ids": torch.randint(5, 90, (2, TOKENS)), **extra}


def plain(trace: Trace, layer: int, head: int, projection: nn.Module) -> np.ndarray:
    """The definition: one head's values padded with zeros, through the module, bias taken off."""
    value = torch.from_numpy(trace.values(layer, head))
    keys, width = value.shape
    padded = torch.zeros(1, keys, trace.layers[layer].heads * width)
    padded[0, :, head * width : (head + 1) * width] = value
    with torch.no_grad():
        moved = projection(padded) - projection(torch.zeros_like(padded))
    result: np.ndarray = moved[0].norm(dim=-1).numpy()
    return result


@pytest.mark.parametrize("name", FAMILIES)
def test_norms_are_those_of_padded_values_through_the_projection(name: str) -> None:
    family = FAMILIES[name]
    model = build(family)
    trace = trace_forward(model, inputs_of(family), values=True)
    assert trace.layers
    for b in (0, 1):
        one = trace.batch(b)
        for info in trace.layers:
            projection = model.get_submodule(family.where(info.name))
            got = one.value_norms(info.index)
            assert got.shape == (info.heads, info.keys)
            assert got.dtype == np.float32
            for head in range(info.heads):
                want = plain(one, info.index, head, projection)
                np.testing.assert_allclose(got[head], want, rtol=2e-5, atol=1e-5)
            # Each head and key has a number of its own, or the test could not tell them apart.
            assert got.std() > 0.05 * got.mean() > 0
    for module in model.modules():
        assert not module._forward_pre_hooks


def test_alpha_v_w_o_of_all_heads_and_the_bias_make_up_what_the_layer_puts_out() -> None:
    family = FAMILIES["llama"]
    model = build(family)
    out: dict[str, torch.Tensor] = {}
    projection = model.get_submodule("layers.1.self_attn.o_proj")
    projection.register_forward_hook(lambda m, a, o: out.update(y=o))
    trace = trace_forward(model, inputs_of(family), values=True)
    weight = projection.weight.detach().numpy()
    total = np.zeros((TOKENS, 32))
    for head in range(4):
        moved = trace.values(1, head) @ weight[:, head * 8 : (head + 1) * 8].T
        total += trace.attention(1, head) @ moved
        alone = trace.attention(1, head)[5][:, None] * moved
        np.testing.assert_allclose(
            np.linalg.norm(alone, axis=1),
            trace.attention(1, head)[5] * trace.value_norms(1)[head],
            rtol=0,
            atol=1e-5,
        )
    np.testing.assert_allclose(total, out["y"][0].numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("dora", [False, True])
def test_an_adapter_counts_as_its_layer(dora: bool) -> None:
    import peft

    for name, targets in (
        ("llama", ["o_proj", "q_proj"]),
        ("gpt2", ["c_proj"]),
        ("bert", ["dense", "value"]),
    ):
        family = FAMILIES[name]
        config = peft.LoraConfig(
            target_modules=targets,
            r=4,
            lora_dropout=0.1,
            init_lora_weights=False,
            use_dora=dora,
            fan_in_fan_out=name == "gpt2",
        )
        model = peft.get_peft_model(build(family), config).eval()
        trace = trace_forward(model, inputs_of(family), values=True)
        inner = model.base_model.model
        plain_norms = trace_forward(build(family), inputs_of(family), values=True).value_norms(0)
        for info in trace.layers:
            projection = inner.get_submodule(family.where(info.name.removeprefix("model.")))
            assert hasattr(projection, "base_layer")
            got = trace.value_norms(info.index)
            for head in range(info.heads):
                want = plain(trace, info.index, head, projection)
                np.testing.assert_allclose(got[head], want, rtol=1e-4, atol=1e-4)
        assert abs(trace.value_norms(0) - plain_norms).max() > 0.05  # the adapter does something


def test_an_adapter_in_training_says_that_its_dropout_is_random() -> None:
    import peft

    config = peft.LoraConfig(target_modules=["o_proj"], lora_dropout=0.5, init_lora_weights=False)
    model = peft.get_peft_model(build(FAMILIES["llama"]), config).train()
    inputs = inputs_of(FAMILIES["llama"])
    torch.manual_seed(9)
    with torch.no_grad():
        before = model(**inputs).last_hidden_state
    torch.manual_seed(9)
    with torch.no_grad(), capture(model, values=True) as trace:
        after = model(**inputs).last_hidden_state
    assert torch.equal(before, after)  # no random number was drawn on the side
    with pytest.raises(AttentionUnavailableError, match="dropout"):
        trace.value_norms(0)


class Halved(nn.Linear):
    """A linear layer of another class: its weight is not what it multiplies by."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) / 2


class Bent(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).relu()


def _replaced(make: Callable[[int, int], nn.Module]) -> tuple[nn.Module, Trace]:
    model = build(FAMILIES["llama"])
    for layer in model.layers:  # type: ignore[union-attr]
        old = layer.self_attn.o_proj  # type: ignore[union-attr]
        new = make(32, 32)
        new.load_state_dict({"weight": old.weight, "bias": torch.ones(32)}, strict=False)  # type: ignore[union-attr]
        layer.self_attn.o_proj = new  # type: ignore[union-attr]
    return model, trace_forward(model.eval(), inputs_of(FAMILIES["llama"]), values=True)


def test_any_linear_module_is_asked_what_it_does() -> None:
    model, trace = _replaced(Halved)
    projection = model.get_submodule("layers.1.self_attn.o_proj")
    for head in range(4):
        want = plain(trace, 1, head, projection)
        np.testing.assert_allclose(trace.value_norms(1)[head], want, rtol=1e-4, atol=1e-5)


def test_what_is_not_linear_is_no_projection() -> None:
    _, trace = _replaced(Bent)
    with pytest.raises(AttentionUnavailableError, match="not linear"):
        trace.value_norms(0)
    assert trace.attention(0, 0).shape == (TOKENS, TOKENS)


class Changing(nn.Module):
    """Changes what it is given before it multiplies: by another tensor, or in place."""

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        self.in_place = in_place
        self.inner = nn.Linear(32, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.mul_(0.5) if self.in_place else x * 0.5
        answer: torch.Tensor = self.inner(x)
        return answer


@pytest.mark.parametrize(
    ("in_place", "said"),
    [(False, "No module reads the attention"), (True, "changes its attention")],
)
def test_an_output_that_is_changed_in_between_is_not_taken(in_place: bool, said: str) -> None:
    _, trace = _replaced(lambda a, b: Changing(in_place))
    with pytest.raises(AttentionUnavailableError, match=said):
        trace.value_norms(0)


def test_a_gated_layer_says_so() -> None:
    config = tf.Qwen3NextConfig(
        **GROUPED,
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
    trace = trace_forward(model, {"input_ids": torch.randint(5, 90, (1, 12))}, values=True)
    with pytest.raises(AttentionUnavailableError, match=r"layers\.1\.self_attn as it is"):
        trace.value_norms(0)


def test_without_values_or_queries_the_reason_is_given() -> None:
    family = FAMILIES["bert"]
    trace = trace_forward(build(family), inputs_of(family))
    with pytest.raises(AttentionUnavailableError, match="values=True"):
        trace.value_norms(0)
    falcon = tf.FalconModel(
        tf.FalconConfig(vocab_size=99, hidden_size=32, num_hidden_layers=1, num_attention_heads=4)
    )
    bloom = tf.BloomModel(tf.BloomConfig(vocab_size=99, hidden_size=32, n_layer=1, n_head=4))
    inputs = {"input_ids": torch.randint(5, 90, (1, 8))}
    # Falcon copies its heads' outputs together before the projection reads them.
    for model, reason in ((falcon, "No module reads"), (bloom, "returned its attention")):
        trace = trace_forward(model.eval(), inputs, values=True)
        with pytest.raises(AttentionUnavailableError, match=reason):
            trace.value_norms(0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes(dtype: torch.dtype) -> None:
    family = FAMILIES["llama"]
    model = build(family).to(dtype)
    trace = trace_forward(model, inputs_of(family), values=True)
    weight = model.get_submodule("layers.0.self_attn.o_proj").weight.detach().double().numpy()
    for head in range(4):
        moved = trace.values(0, head).astype(float) @ weight[:, head * 8 : (head + 1) * 8].T
        want = np.linalg.norm(moved, axis=1)
        np.testing.assert_allclose(trace.value_norms(0)[head], want, rtol=1e-5)


def test_the_output_is_the_same_and_norms_count_to_the_budget() -> None:
    family = FAMILIES["bert"]
    model, inputs = build(family), inputs_of(family)
    with torch.no_grad():
        before = model(**inputs).last_hidden_state
    trace = trace_forward(model, inputs, values=True)
    assert torch.equal(before, trace.output.last_hidden_state)
    norms = 2 * 4 * 2 * 4 * TOKENS  # layers, bytes, batch, heads
    trace_forward(model, inputs, values=True, budget=trace.nbytes)
    with pytest.raises(BudgetExceededError):
        trace_forward(model, inputs, values=True, budget=trace.nbytes - norms)


def test_each_step_of_a_generation_and_each_call_of_a_module_has_its_own() -> None:
    model: Any = tf.GPT2LMHeadModel(
        tf.GPT2Config(vocab_size=99, n_embd=32, n_layer=1, n_head=4, bos_token_id=1, eos_token_id=2)
    ).eval()
    ids = torch.randint(5, 90, (1, 6))
    with torch.no_grad(), capture(model, values=True) as trace:
        out = model.generate(ids, max_new_tokens=3, do_sample=False, pad_token_id=0)
    whole = trace_forward(model, {"input_ids": out[:, :-1]}, values=True)
    assert [info.keys for info in trace.layers] == [6, 7, 8]
    np.testing.assert_allclose(trace.value_norms(2), whole.value_norms(0), rtol=1e-4, atol=1e-6)
    assert trace.value_norms(0).shape == (4, 6)
    written = trace.generation()
    np.testing.assert_allclose(written.value_norms(0), whole.value_norms(0), rtol=1e-4, atol=1e-6)
