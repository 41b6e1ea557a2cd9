"""Architectures that capture is tested on: tiny random models, made from ``AutoConfig``.

Random weights of 0.02 make attention uniform, where no mask, bias or head order could be told from
another; what makes queries and keys is therefore scaled by a gain for each architecture.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers

from lmkit.capture import Trace

__all__ = ["ARCHITECTURES", "KEPT", "PADDED", "TOKENS", "Architecture", "build", "inputs_of"]

#: Tokens of a text: longer than the windows of 16. The second text of a batch is padded.
TOKENS, PADDED = 48, 40
#: Tokens of the other text where there are two.
KEPT = 30

_SIZE = {
    "vocab_size": 99,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_GROUPED = {**_SIZE, "num_key_value_heads": 2}
_WINDOWS = {**_GROUPED, "sliding_window": 16}
_TWO = {
    "vocab_size": 99,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": 2,
}
_T5 = {"vocab_size": 99, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
_LATENT = {
    **_SIZE,
    "num_key_value_heads": 4,
    "moe_intermediate_size": 16,
    "n_routed_experts": 4,
    "n_group": 1,
    "topk_group": 1,
    "num_experts_per_tok": 2,
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
}
_GPT2 = {"vocab_size": 99, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
_VISION = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "image_size": 28,
    "patch_size": 7,
}
_BOTH = frozenset({"encoder", "decoder", "cross"})


@dataclass(frozen=True)
class Architecture:
    """One row of the table in docs/architectures.md.

    Attributes:
        config: Settings of the config that ``AutoConfig.for_model`` makes.
        model_type: Its name there, where it is not the key of :data:`ARCHITECTURES`.
        auto: Auto class of the model.
        inputs: ``"text"``, ``"text to text"``, ``"speech"``, ``"image"`` or ``"image and text"``.
        path: ``trace.path``.
        roles: Roles of the recorded layers.
        layers: Number of recorded layers.
        kv_heads: Key-value heads of the layers, for four query heads.
        window: A window that some layer declares.
        sinks: Whether rows sum to less than 1.
        missing: ``trace.missing``.
        gain: Factor of the weights that make queries and keys.
        remark: What is special, for the table.
        padding: Whether the second text is padded; not where a model can't be.
        why_not: Why there is nothing to show, as a pattern; empty where there is.
    """

    config: dict[str, Any]
    model_type: str = ""
    auto: str = "AutoModel"
    inputs: str = "text"
    path: str = "sdpa"
    roles: frozenset[str] = frozenset({"decoder"})
    layers: int = 2
    kv_heads: int = 4
    window: int | None = None
    sinks: bool = False
    missing: tuple[str, ...] = ()
    gain: float = 12.0
    remark: str = ""
    padding: bool = True
    why_not: str = ""
    options: dict[str, Any] = field(default_factory=dict)


def _encoder(config: dict[str, Any] | None = None, **options: Any) -> Architecture:
    return Architecture(
        {**_SIZE, **(config or {})}, roles=frozenset({"encoder"}), **{"gain": 25.0, **options}
    )


def _seq2seq(config: dict[str, Any], **options: Any) -> Architecture:
    return Architecture(config, inputs="text to text", roles=_BOTH, layers=6, **options)


ARCHITECTURES: dict[str, Architecture] = {
    # encoders
    "albert": _encoder({"embedding_size": 16}, remark="one module, called once a layer"),
    "bert": _encoder(),
    "camembert": _encoder(),
    "convbert": _encoder(path="eager fallback"),
    "deberta": _encoder(path="eager fallback"),
    "deberta-v2": _encoder(path="eager fallback"),
    "distilbert": Architecture(
        {"vocab_size": 99, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64},
        roles=frozenset({"encoder"}),
    ),
    "electra": _encoder({"embedding_size": 32}),
    "ernie": _encoder(),
    "esm": _encoder({"position_embedding_type": "rotary", "token_dropout": False, "mask_token_id": 3}),
    "eurobert": _encoder({"num_key_value_heads": 2}, kv_heads=2),
    "longformer": _encoder({"attention_window": [4, 4]}, path="", layers=0, why_not="windows"),
    "megatron-bert": _encoder(path="eager fallback"),
    "modernbert": _encoder({"local_attention": 16}, window=9, remark="windows on both sides"),
    "mpnet": _encoder(path="eager fallback"),
    "nomic_bert": _encoder(),
    "rembert": _encoder(path="eager fallback"),
    "roberta": _encoder(),
    "roformer": _encoder({"embedding_size": 32}, path="eager fallback"),
    "xlm-roberta": _encoder(),
    "xlnet": Architecture(
        {"vocab_size": 99, "d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64},
        roles=frozenset({"encoder"}),
        path="eager fallback",
    ),
    # decoders
    "apertus": Architecture(_GROUPED, kv_heads=2),
    "arcee": Architecture(_GROUPED, kv_heads=2),
    "bamba": Architecture(
        {**_GROUPED, "attn_layer_indices": [1], "mamba_n_heads": 8, "mamba_d_head": 8,
         "mamba_d_state": 8, "mamba_chunk_size": 16},
        kv_heads=2, layers=1, missing=("layers.0",)),
    "biogpt": Architecture(_SIZE),
    "bloom": Architecture(
        {"vocab_size": 99, "hidden_size": 32, "n_layer": 2, "n_head": 4},
        path="eager fallback",
        remark="ALiBi",
    ),
    "codegen": Architecture({**_GPT2, "rotary_dim": 4}),
    "cohere2": Architecture(_WINDOWS | {"layer_types": ["sliding_attention", "full_attention"]}, kv_heads=2, window=16),
    "deepseek_v2": Architecture(_LATENT | {"topk_method": "greedy", "first_k_dense_replace": 1}),
    "deepseek_v3": Architecture(_LATENT, remark="latent attention, recorded as expanded"),
    "deepseek_v32": Architecture(_LATENT | {"index_topk": 12, "index_head_dim": 16, "index_n_heads": 2, "mlp_layer_types": ["dense", "sparse"]}),
    "ernie4_5": Architecture(_GROUPED, kv_heads=2),
    "exaone4": Architecture(_WINDOWS | {"layer_types": ["sliding_attention", "full_attention"]}, kv_heads=2),
    "falcon": Architecture(
        {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4},
        path="eager fallback", remark="multi-query, rotary"
    ),
    "falcon alibi": Architecture(
        {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "alibi": True},
        model_type="falcon", path="eager fallback", remark="multi-query, ALiBi"
    ),
    "falcon new decoder": Architecture(
        {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "new_decoder_architecture": True, "num_kv_heads": 2},
        model_type="falcon", path="eager fallback", remark="grouped, rotary"
    ),
    "falcon_h1": Architecture(_GROUPED | {"mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_chunk_size": 16}, kv_heads=2),
    "gemma": Architecture(_GROUPED | {"head_dim": 8}, kv_heads=2),
    "gemma2": Architecture(_WINDOWS | {"head_dim": 8, "attn_logit_softcapping": 2.0}, kv_heads=2, path="eager", remark="softcap"),
    "gemma3_text": Architecture(_WINDOWS | {"head_dim": 8, "layer_types": ["sliding_attention", "full_attention"]}, kv_heads=2, window=16),
    "gemma3n_text": Architecture(_WINDOWS | {"head_dim": 8, "layer_types": ["sliding_attention", "full_attention"],"num_kv_shared_layers":0,"laurel_rank":8,"hidden_size_per_layer_input":8,"vocab_size_per_layer_input":99,"activation_sparsity_pattern":[0.0,0.0]}, kv_heads=2, window=16),
    "glm": Architecture(_GROUPED | {"head_dim": 8}, kv_heads=2),
    "glm4": Architecture(_GROUPED | {"head_dim": 8}, kv_heads=2),
    "gpt2": Architecture(_GPT2),
    "gpt_bigcode": Architecture(_GPT2, kv_heads=1, remark="multi-query"),
    "gpt_neo": Architecture(
        {"vocab_size": 99, "hidden_size": 32, "num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]], "window_size": 16, "max_position_embeddings": 128},
        path="eager fallback", remark="local and global layers"
    ),
    "gpt_neox": Architecture(_SIZE),
    "gpt_oss": Architecture(_WINDOWS | {"head_dim": 8, "num_local_experts": 4}, kv_heads=2, path="eager", sinks=True, window=16, remark="sinks"),
    "gptj": Architecture(_GPT2 | {"rotary_dim": 4}),
    "granite": Architecture(_GROUPED, kv_heads=2),
    "granitemoe": Architecture(_GROUPED | {"num_local_experts": 4}, kv_heads=2),
    "helium": Architecture(_GROUPED | {"head_dim": 8}, kv_heads=2),
    "hunyuan_v1_dense": Architecture(_GROUPED | {"head_dim": 8}, kv_heads=2),
    "jamba": Architecture(_GROUPED | {"attn_layer_period": 2, "attn_layer_offset": 1, "num_experts": 2, "mamba_d_state": 4, "mamba_dt_rank": 4, "use_mamba_kernels": False}, kv_heads=2, layers=1, missing=("layers.0",)),
    "lfm2": Architecture(_GROUPED | {"layer_types": ["conv", "full_attention"]}, kv_heads=2, layers=1, missing=("layers.0",)),
    "llama": Architecture(_GROUPED, kv_heads=2),
    "llama4_text": Architecture(_GROUPED | {"head_dim": 8, "intermediate_size_mlp": 64, "num_local_experts": 2, "attention_chunk_size": 16, "layer_types": ["chunked_attention", "full_attention"], "no_rope_layers": [1, 0]}, kv_heads=2, auto="AutoModelForCausalLM"),
    "minimax": Architecture(_GROUPED | {"head_dim": 8, "layer_types": ["linear_attention", "full_attention"], "num_local_experts": 2, "block_size": 16}, kv_heads=2, layers=1, missing=("layers.0",)),
    "mistral": Architecture(_WINDOWS, kv_heads=2, window=16),
    "mixtral": Architecture(_WINDOWS | {"num_local_experts": 4}, kv_heads=2, window=16),
    "mpt": Architecture({"vocab_size": 99, "d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 128}, path="eager fallback", remark="ALiBi"),
    "nemotron": Architecture(_GROUPED, kv_heads=2),
    "olmo": Architecture(_GROUPED, kv_heads=2),
    "olmo2": Architecture(_GROUPED, kv_heads=2),
    "olmo3": Architecture(_WINDOWS | {"layer_types": ["sliding_attention", "full_attention"]}, kv_heads=2, window=16),
    "olmoe": Architecture(_GROUPED | {"num_experts": 4, "num_experts_per_tok": 2}, kv_heads=2),
    "openai-gpt": Architecture(_GPT2, path="eager fallback"),
    "opt": Architecture(_SIZE | {"ffn_dim": 64, "word_embed_proj_dim": 32}),
    "persimmon": Architecture(_SIZE),
    "phi": Architecture(_GROUPED, kv_heads=2),
    "phi3": Architecture(_WINDOWS, kv_heads=2, window=16),
    "phimoe": Architecture(_WINDOWS | {"num_local_experts": 4}, kv_heads=2, window=16),
    "qwen2": Architecture(_WINDOWS | {"use_sliding_window": True, "max_window_layers": 1}, kv_heads=2, window=16),
    "qwen2_moe": Architecture(_GROUPED | _EXPERTS | {"shared_expert_intermediate_size": 16}, kv_heads=2),
    "qwen3": Architecture(_SIZE | {"num_key_value_heads": 1, "head_dim": 8}, kv_heads=1),
    "qwen3_moe": Architecture(_GROUPED | _EXPERTS | {"head_dim": 8}, kv_heads=2),
    "qwen3_next": Architecture(
        _GROUPED | _EXPERTS | {
            "head_dim": 8, "linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
            "shared_expert_intermediate_size": 16, "layer_types": ["linear_attention", "full_attention"]},
        kv_heads=2, layers=1, missing=("layers.0",)),
    "seed_oss": Architecture(_GROUPED | {"head_dim": 8}, kv_heads=2),
    "smollm3": Architecture(_GROUPED | {"no_rope_layers": [1, 0]}, kv_heads=2),
    "stablelm": Architecture(_GROUPED, kv_heads=2),
    "starcoder2": Architecture(_WINDOWS, kv_heads=2, window=16),
    "xglm": Architecture({"vocab_size": 99, "d_model": 32, "num_layers": 2, "attention_heads": 4, "ffn_dim": 64, "max_position_embeddings": 128}, path="eager fallback"),
    # state spaces
    "mamba": Architecture({"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}, path="", layers=0, why_not="has no attention"),
    "mamba2": Architecture({"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4, "num_heads": 8, "head_dim": 8, "n_groups": 1, "chunk_size": 16}, path="", layers=0, why_not="has no attention"),
    "rwkv": Architecture({"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "attention_hidden_size": 32}, path="", layers=0, why_not="has no attention", padding=False),
    # encoders with decoders
    "bart": _seq2seq(_TWO),
    "bigbird_pegasus": _seq2seq(_TWO | {"attention_type": "original_full"}),
    "blenderbot": _seq2seq(_TWO),
    "fsmt": _seq2seq(_TWO | {"src_vocab_size": 99, "tgt_vocab_size": 99}, path="eager fallback"),
    "led": _seq2seq(_TWO, path="eager fallback"),
    "longt5": _seq2seq(_T5 | {"local_radius": 4, "num_decoder_layers": 2}),
    "m2m_100": _seq2seq(_TWO),
    "marian": _seq2seq(_TWO | {"decoder_vocab_size": 99}),
    "mbart": _seq2seq(_TWO),
    "mt5": _seq2seq(_T5, gain=1.5),
    "mvp": _seq2seq(_TWO, path="eager fallback"),
    "pegasus": _seq2seq(_TWO),
    "plbart": _seq2seq(_TWO),
    "prophetnet": _seq2seq({"vocab_size": 99, "hidden_size": 32, "num_encoder_layers": 2, "num_decoder_layers": 2, "num_encoder_attention_heads": 4, "num_decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 128, "ngram": 2, "pad_token_id": 0}),
    "switch_transformers": _seq2seq(_T5 | {"num_decoder_layers": 2, "num_experts": 2, "num_sparse_encoder_layers": 1, "num_sparse_decoder_layers": 1}, gain=1.5),
    "t5": _seq2seq(_T5, gain=1.5),
    "umt5": _seq2seq(_T5, gain=1.5),
    # speech, images
    "whisper": Architecture(_TWO | {"num_mel_bins": 8, "max_source_positions": 30, "max_target_positions": 64}, inputs="speech", roles=_BOTH, layers=6, padding=False),
    "vit": Architecture(_VISION, inputs="image", roles=frozenset({"encoder"}), padding=False, gain=25.0),
    "deit": Architecture(_VISION, inputs="image", roles=frozenset({"encoder"}), padding=False, gain=25.0),
    "beit": Architecture(_VISION, inputs="image", roles=frozenset({"encoder"}), padding=False, gain=25.0),
    "dinov2": Architecture(_VISION, inputs="image", roles=frozenset({"encoder"}), padding=False, gain=25.0),
    "data2vec-vision": Architecture(_VISION, inputs="image", roles=frozenset({"encoder"}), padding=False, gain=25.0),
    "llava": Architecture(
        {"text_config": {**_GROUPED, "model_type": "llama"}, "vision_config": {**_VISION, "model_type": "clip_vision_model", "projection_dim": 16},
         "image_token_index": 98, "vision_feature_layer": -1},
        auto="AutoModelForImageTextToText", inputs="image and text", layers=4, kv_heads=0, roles=frozenset({"encoder", "decoder"})),
}


_SCALED = re.compile(r"(^|[._])(q|k|query|key|qk)|attn|attention|wqkv|in_proj|\.r$", re.IGNORECASE)


def build(architecture: Architecture, name: str, **options: Any) -> Any:
    """The model, in eval mode, with random weights that make attention far from uniform."""
    config = transformers.AutoConfig.for_model(
        architecture.model_type or name, **architecture.config
    )
    torch.manual_seed(3)
    auto = getattr(transformers, architecture.auto)
    model = auto.from_config(config, **options).eval()
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if "sinks" in parameter_name:
                parameter.copy_(torch.linspace(-1, 2, parameter.numel()))
            elif parameter.dim() >= 2 and _SCALED.search(parameter_name):
                parameter.mul_(architecture.gain)
    return model


def inputs_of(architecture: Architecture) -> dict[str, torch.Tensor]:
    """Two texts of a batch, the second one padded at its end."""
    torch.manual_seed(4)
    ids = torch.randint(5, 90, (2, TOKENS))
    mask = torch.ones_like(ids)
    if architecture.padding:
        mask[1, PADDED:] = 0
    text = {"input_ids": ids, "attention_mask": mask}
    if architecture.inputs == "text to text":
        return {**text, "decoder_input_ids": torch.randint(5, 90, (2, KEPT))}
    if architecture.inputs == "speech":
        return {
            "input_features": torch.randn(2, 8, 60),
            "decoder_input_ids": torch.randint(5, 90, (2, KEPT)),
        }
    image = {"pixel_values": torch.randn(2, 3, 28, 28)}
    if architecture.inputs == "image":
        return image
    if architecture.inputs == "image and text":
        text["input_ids"][:, 3:19] = 98
        return {**text, **image}
    return text
