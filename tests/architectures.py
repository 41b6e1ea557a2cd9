"""Architectures that capture is tested on: tiny random models, made from ``AutoConfig``.

Random weights of 0.02 make attention uniform, where no mask, bias or order of heads could be told
from another; what makes queries and keys is therefore scaled, by a gain for each architecture.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import torch
import transformers

__all__ = ["ARCHITECTURES", "Architecture", "build", "inputs_of", "real_rows"]

#: Tokens of a text, more than the windows of 16; those of a second text where there is one.
TOKENS, TARGET = 48, 30
#: Padding of the second text of a batch: at its end, at its start for decoders.
PADDING = 8
IMAGE = 98

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
_GROUPED = _SIZE | {"num_key_value_heads": 2}
_GROUPED_8 = _GROUPED | {"head_dim": 8}
_WINDOW = _GROUPED | {"sliding_window": 16}
_ALTERNATING = _WINDOW | {"layer_types": ["sliding_attention", "full_attention"]}
_ALTERNATING_8 = _ALTERNATING | {"head_dim": 8}
_BLOCK = {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
_GPT2 = {"vocab_size": 99, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
_LATENT = _SIZE | {
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
_MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_chunk_size": 16}
_HALVES = {
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
_T5 = {
    "vocab_size": 99,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 64,
    "num_layers": 2,
    "num_decoder_layers": 2,
    "num_heads": 4,
}
_VISION = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "image_size": 28,
    "patch_size": 7,
}
_ALL_ROLES = ("encoder", "decoder", "cross")


@dataclass(frozen=True)
class Architecture:
    """What a row of the table in docs/architectures.md is made from, and what must come out.

    Attributes:
        config: Settings of the config that ``AutoConfig.for_model`` makes.
        model_type: Its name there, where it is not the key in :data:`ARCHITECTURES`.
        auto: Auto class of the model.
        inputs: ``"text"``, ``"text to text"``, ``"speech"``, ``"image"`` or ``"image and text"``.
        path: ``trace.path``.
        roles: Roles of the recorded layers.
        layers: Number of recorded layers.
        heads: Heads and key-value heads of each kind of layer.
        window: A window that some layer declares.
        sinks: Whether rows sum to less than 1.
        missing: ``trace.missing``.
        gain: Factor of the weights that make queries and keys.
        remark: What is special about it.
        eager: Whether eager attention computes the same function as the path in force.
        refusal: What the trace's error says, as a pattern, where there is no attention to show.
    """

    config: dict[str, Any]
    model_type: str = ""
    auto: str = "AutoModel"
    inputs: str = "text"
    path: str = "sdpa"
    roles: tuple[str, ...] = ("decoder",)
    layers: int = 2
    heads: tuple[tuple[int, int], ...] = ((4, 4),)
    window: int | None = None
    sinks: bool = False
    missing: tuple[str, ...] = ()
    gain: float = 12.0
    remark: str = ""
    eager: bool = True
    refusal: str = ""


def _encoder(config: dict[str, Any] | None = None, **options: Any) -> Architecture:
    return Architecture(_SIZE | (config or {}), **{"roles": ("encoder",), "gain": 25.0, **options})


def _own(config: dict[str, Any], **options: Any) -> Architecture:
    return Architecture(config, **{"path": "eager fallback", **options})


def _grouped(config: dict[str, Any], **options: Any) -> Architecture:
    return Architecture(config, **{"heads": ((4, 2),), **options})


def _hybrid(config: dict[str, Any], remark: str) -> Architecture:
    return _grouped(config, layers=1, missing=("layers.0",), remark=remark)


def _two(config: dict[str, Any], **options: Any) -> Architecture:
    return Architecture(
        config, **{"inputs": "text to text", "roles": _ALL_ROLES, "layers": 6, **options}
    )


def _image(**options: Any) -> Architecture:
    return Architecture(_VISION, inputs="image", roles=("encoder",), gain=25.0, **options)


def _nothing(config: dict[str, Any], refusal: str, remark: str, **options: Any) -> Architecture:
    return Architecture(config, refusal=refusal, remark=remark, **options)


ARCHITECTURES: dict[str, Architecture] = {
    # encoders
    "albert": _encoder({"embedding_size": 16}, remark="one module, called once a layer"),
    "bert": _encoder(),
    "camembert": _encoder(),
    "convbert": _encoder(
        path="eager fallback", heads=((2, 2),), remark="half its heads are convolutions"
    ),
    "deberta": _encoder(path="eager fallback", remark="disentangled relative positions"),
    "deberta-v2": _encoder(path="eager fallback", remark="disentangled relative positions"),
    "distilbert": Architecture(
        {"vocab_size": 99, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64},
        roles=("encoder",),
    ),
    "electra": _encoder({"embedding_size": 32}),
    "ernie": _encoder(),
    "esm": _encoder(
        {"position_embedding_type": "rotary", "token_dropout": False, "mask_token_id": 3},
        remark="rotary positions",
    ),
    "eurobert": _encoder({"num_key_value_heads": 2}, heads=((4, 2),)),
    "longformer": _nothing(
        _SIZE | {"attention_window": [4, 4]},
        "attends within windows",
        "returns weights by offset within its windows, not by key; refused",
    ),
    "megatron-bert": _encoder(path="eager fallback"),
    "modernbert": _encoder({"local_attention": 16}, window=9, remark="windows on both sides"),
    "mpnet": _encoder(path="eager fallback", remark="relative position bias"),
    "nomic_bert": _encoder(remark="rotary positions"),
    "rembert": _encoder(path="eager fallback"),
    "roberta": _encoder(),
    "roformer": _encoder({"embedding_size": 32}, path="eager fallback", remark="rotary positions"),
    "mobilebert": _encoder(
        {"embedding_size": 16, "true_hidden_size": 32, "intra_bottleneck_size": 32},
        gain=45.0,
        remark="bottlenecks around each layer",
    ),
    "xlm-roberta": _encoder(),
    "xmod": _encoder(
        {"languages": ["en_XX"], "default_language": "en_XX"}, remark="an adapter a language"
    ),
    "xlnet": _own(
        {"vocab_size": 99, "d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64},
        roles=("encoder",),
        remark="relative positions",
    ),
    # decoders
    "apertus": _grouped(_GROUPED),
    "arcee": _grouped(_GROUPED),
    "bamba": _hybrid(
        _GROUPED | _MAMBA | {"attn_layer_indices": [1]}, "state-space layers are named"
    ),
    "biogpt": Architecture(_SIZE),
    "bloom": _own({"vocab_size": 99, "hidden_size": 32, "n_layer": 2, "n_head": 4}, remark="ALiBi"),
    "codegen": Architecture(_GPT2 | {"rotary_dim": 4}),
    "cohere2": _grouped(_ALTERNATING, window=16, remark="sliding and full layers"),
    "deepseek_v2": Architecture(
        _LATENT | {"topk_method": "greedy", "first_k_dense_replace": 1},
        remark="latent attention, keys as expanded",
    ),
    "deepseek_v3": Architecture(_LATENT, remark="latent attention, keys as expanded"),
    "deepseek_v32": Architecture(
        _LATENT
        | {
            "index_topk": 12,
            "index_head_dim": 16,
            "index_n_heads": 2,
            "mlp_layer_types": ["dense", "sparse"],
        },
        remark="latent attention; the indexer's choice of keys is in the mask",
    ),
    "ernie4_5": _grouped(_GROUPED),
    "exaone4": _grouped(_ALTERNATING, window=16, remark="sliding and full layers"),
    "falcon": Architecture(
        _BLOCK, path="sdpa call", heads=((4, 1),), remark="multi-query, rotary positions"
    ),
    "falcon, ALiBi": Architecture(
        _BLOCK | {"alibi": True},
        model_type="falcon",
        path="sdpa call",
        heads=((4, 1),),
        eager=False,
        remark="its eager attention adds the bias twice; compared with float64",
    ),
    "falcon, new decoder": Architecture(
        _BLOCK | {"new_decoder_architecture": True, "num_kv_heads": 2},
        model_type="falcon",
        path="sdpa call",
        remark="the model repeats its grouped keys itself",
    ),
    "falcon_h1": _grouped(
        _GROUPED
        | {"mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8}
        | {"mamba_chunk_size": 16},
        remark="attention beside a state space in each layer",
    ),
    "gemma": _grouped(_GROUPED_8),
    "gemma2": _grouped(
        _ALTERNATING_8 | {"attn_logit_softcapping": 2.0},
        path="eager",
        window=16,
        remark="softcap; sliding and full layers",
    ),
    "gemma3_text": _grouped(_ALTERNATING_8, window=16, remark="sliding and full layers"),
    "gemma3n_text": _grouped(
        _ALTERNATING_8
        | {"num_kv_shared_layers": 0, "laurel_rank": 8, "hidden_size_per_layer_input": 8}
        | {"vocab_size_per_layer_input": 99, "activation_sparsity_pattern": [0.0, 0.0]},
        window=16,
        remark="sliding and full layers",
    ),
    "glm": _grouped(_GROUPED_8),
    "glm4": _grouped(_GROUPED_8),
    "gpt2": Architecture(_GPT2),
    "gpt_bigcode": Architecture(_GPT2, heads=((4, 1),), remark="multi-query"),
    "gpt_neo": _own(
        {"vocab_size": 99, "hidden_size": 32, "num_layers": 2, "num_heads": 4}
        | {"attention_types": [[["global", "local"], 1]], "window_size": 16}
        | {"max_position_embeddings": 128},
        remark="global and local layers",
    ),
    "gpt_neox": Architecture(_SIZE),
    "gpt_oss": _grouped(
        _ALTERNATING_8 | {"num_local_experts": 4},
        path="eager",
        sinks=True,
        window=16,
        remark="learned sinks: rows sum to less than 1; sliding and full layers",
    ),
    "gptj": Architecture(_GPT2 | {"rotary_dim": 4}),
    "granite": _grouped(_GROUPED),
    "granitemoe": _grouped(_GROUPED | {"num_local_experts": 4}),
    "helium": _grouped(_GROUPED_8),
    "hunyuan_v1_dense": _grouped(_GROUPED_8),
    "jamba": _hybrid(
        _GROUPED
        | {"attn_layer_period": 2, "attn_layer_offset": 1, "num_experts": 2}
        | {"mamba_d_state": 4, "mamba_dt_rank": 4, "use_mamba_kernels": False},
        "state-space layers are named",
    ),
    "lfm2": _hybrid(
        _GROUPED | {"layer_types": ["conv", "full_attention"]}, "convolution layers are named"
    ),
    "llama": _grouped(_GROUPED),
    "llama4_text": _grouped(
        _GROUPED_8
        | {"intermediate_size_mlp": 64, "num_local_experts": 2, "attention_chunk_size": 16}
        | {"layer_types": ["chunked_attention", "full_attention"], "no_rope_layers": [1, 0]},
        auto="AutoModelForCausalLM",
        remark="chunked and full layers",
    ),
    "mistral": _grouped(_WINDOW, window=16, remark="sliding windows"),
    "mixtral": _grouped(_WINDOW, window=16, remark="sliding windows"),
    "mpt": _own(
        {"vocab_size": 99, "d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 128},
        remark="ALiBi",
    ),
    "nemotron": _grouped(_GROUPED),
    "olmo": _grouped(_GROUPED),
    "olmo2": _grouped(_GROUPED),
    "olmo3": _grouped(_ALTERNATING, window=16, remark="sliding and full layers"),
    "olmoe": _grouped(_GROUPED | {"num_experts": 4, "num_experts_per_tok": 2}),
    "openai-gpt": _own(_GPT2),
    "opt": Architecture(_SIZE | {"ffn_dim": 64, "word_embed_proj_dim": 32}),
    "persimmon": Architecture(_SIZE),
    "phi": _grouped(_GROUPED),
    "phi3": _grouped(_WINDOW, window=16, remark="sliding windows"),
    "qwen2": _grouped(
        _WINDOW | {"use_sliding_window": True, "max_window_layers": 1},
        window=16,
        remark="full and sliding layers",
    ),
    "qwen2_moe": _grouped(_GROUPED | _EXPERTS | {"shared_expert_intermediate_size": 16}),
    "qwen3": Architecture(
        _SIZE | {"num_key_value_heads": 1, "head_dim": 8}, heads=((4, 1),), remark="multi-query"
    ),
    "qwen3_moe": _grouped(_GROUPED_8 | _EXPERTS),
    "qwen3_next": _hybrid(
        _GROUPED_8
        | _EXPERTS
        | {"linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 8}
        | {"linear_value_head_dim": 8, "shared_expert_intermediate_size": 16}
        | {"layer_types": ["linear_attention", "full_attention"]},
        "linear-attention layers are named",
    ),
    "seed_oss": _grouped(_GROUPED_8),
    "bitnet": _grouped(_GROUPED),
    "cohere": _grouped(_GROUPED),
    "doge": _grouped(_GROUPED, remark="a bias from the values, in the mask"),
    "jetmoe": Architecture(
        _SIZE
        | {"num_key_value_heads": 2, "kv_channels": 8}
        | {"num_local_experts": 2, "num_experts_per_tok": 2},
        gain=20.0,
        remark="query heads of the experts chosen",
    ),
    "nanochat": _grouped(_GROUPED),
    "phimoe": _grouped(_GROUPED | {"num_local_experts": 2, "num_experts_per_tok": 2}),
    "smollm3": _grouped(_GROUPED | {"no_rope_layers": [1, 0]}),
    "stablelm": _grouped(_GROUPED),
    "starcoder2": _grouped(_WINDOW, window=16, remark="sliding windows"),
    "xglm": _own(
        {"vocab_size": 99, "d_model": 32, "num_layers": 2, "attention_heads": 4, "ffn_dim": 64}
        | {"max_position_embeddings": 128}
    ),
    # an encoder and a decoder
    "bart": _two(_HALVES),
    "bigbird_pegasus": _two(
        _HALVES | {"attention_type": "original_full"},
        path="eager + eager fallback",
        remark="the encoder has an attention of its own",
    ),
    "blenderbot": _two(_HALVES),
    "fsmt": _two(_HALVES | {"src_vocab_size": 99, "tgt_vocab_size": 99}, path="eager fallback"),
    "led": _two(
        _HALVES,
        path="eager fallback",
        roles=("decoder", "cross"),
        layers=4,
        missing=("encoder.layers.0", "encoder.layers.1"),
        remark="the encoder's windows are named, as Longformer's",
    ),
    "longt5": _two(
        _T5 | {"local_radius": 4},
        path="eager",
        roles=("decoder", "cross"),
        layers=4,
        missing=("encoder.block.0", "encoder.block.1"),
        gain=1.5,
        remark="the encoder's blocks of windows are named",
    ),
    "m2m_100": _two(_HALVES),
    "marian": _two(_HALVES | {"decoder_vocab_size": 99}),
    "mbart": _two(_HALVES),
    "mt5": _two(_T5, gain=1.5, remark="relative position bias"),
    "mvp": _two(_HALVES, path="eager fallback"),
    "pegasus": _two(_HALVES),
    "plbart": _two(_HALVES),
    "prophetnet": _two(
        {"vocab_size": 99, "hidden_size": 32, "num_encoder_layers": 2, "num_decoder_layers": 2}
        | {"num_encoder_attention_heads": 4, "num_decoder_attention_heads": 4, "ngram": 2}
        | {"encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 128},
        path="eager fallback",
        roles=("decoder",),
        layers=2,
        missing=(
            "encoder.layers.0",
            "encoder.layers.1",
            "decoder.layers.0.cross_attn",
            "decoder.layers.1.cross_attn",
        ),
        remark="the other layers return scores before the softmax; they are named",
    ),
    "switch_transformers": _two(
        _T5 | {"num_experts": 2, "num_sparse_encoder_layers": 1, "num_sparse_decoder_layers": 1},
        path="eager",
        gain=1.5,
        remark="relative position bias",
    ),
    "t5": _two(_T5, gain=1.5, remark="relative position bias"),
    "umt5": _two(_T5, gain=1.5, remark="a relative position bias in each layer"),
    # speech and images
    "beit": _image(),
    "data2vec-vision": _image(path="sdpa call"),
    "deit": _image(),
    "dinov2": _image(),
    "llava": Architecture(
        {
            "text_config": _GROUPED | {"model_type": "llama"},
            "vision_config": _VISION | {"model_type": "clip_vision_model", "projection_dim": 16},
            "image_token_index": IMAGE,
            "vision_feature_layer": -1,
        },
        auto="AutoModelForImageTextToText",
        inputs="image and text",
        roles=("encoder", "decoder"),
        layers=4,
        heads=((4, 2), (4, 4)),
        remark="the encoder sees the image, the decoder its patches among the tokens",
    ),
    "vit": _image(remark="token 0 is the class token, the others are patches, row by row"),
    "whisper": Architecture(
        _HALVES | {"num_mel_bins": 8, "max_source_positions": 30, "max_target_positions": 64},
        inputs="speech",
        roles=_ALL_ROLES,
        layers=6,
        remark="the encoder's tokens are stretches of sound",
    ),
    # no attention
    "mamba": _nothing(
        {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4},
        "has no attention",
        "a state space",
    ),
    "mamba2": _nothing(
        {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}
        | {"num_heads": 8, "head_dim": 8, "n_groups": 1, "chunk_size": 16},
        "has no attention",
        "a state space",
    ),
    "squeezebert": _nothing(
        _SIZE | {"embedding_size": 32}, "don't sum to 1", "returns scores before the softmax"
    ),
    "rwkv": _nothing(
        {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "attention_hidden_size": 32},
        "no weight for each query and key",
        "a recurrence",
    ),
}

_SCALED = re.compile(r"(^|[._])(q|k|query|key|qk)|attn|attention|wqkv|in_proj|\.r$", re.IGNORECASE)


def build(name: str, auto: str = "", **options: Any) -> Any:
    """The model in eval mode, the same at each call, its attention far from uniform.

    Args:
        name: A key of ``ARCHITECTURES``.
        auto: The auto class; by default the architecture's own.
        options: For ``from_config``.
    """
    architecture = ARCHITECTURES[name]
    config = transformers.AutoConfig.for_model(
        architecture.model_type or name, **architecture.config
    )
    torch.manual_seed(3)
    model = getattr(transformers, auto or architecture.auto).from_config(config, **options).eval()
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if "sinks" in parameter_name:
                parameter.copy_(torch.linspace(-1, 2, parameter.numel()))
            elif parameter.dim() >= 2 and _SCALED.search(parameter_name):
                parameter.mul_(architecture.gain)
    return model


def inputs_of(name: str) -> dict[str, torch.Tensor]:
    """A batch of two, the second text padded."""
    architecture = ARCHITECTURES[name]
    torch.manual_seed(4)
    ids = torch.randint(5, 90, (2, TOKENS))
    target = torch.randint(5, 90, (2, TARGET))
    image = {"pixel_values": torch.randn(2, 3, 28, 28)}
    mask = torch.ones_like(ids)
    mask[1, :PADDING] = 0
    if "encoder" in architecture.roles or architecture.inputs == "text to text":
        mask[1] = mask[1].flip(0)
    text = {"input_ids": ids, "attention_mask": mask}
    if architecture.inputs == "text to text":
        return text | {"decoder_input_ids": target}
    if architecture.inputs == "speech":
        return {"input_features": torch.randn(2, 8, 60), "decoder_input_ids": target}
    if architecture.inputs == "image":
        return image
    if architecture.inputs == "image and text":
        ids[:, 3:19] = IMAGE  # 16 patches
        return text | image
    return text


def real_rows(inputs: dict[str, torch.Tensor], batch: int, queries: int) -> slice:
    """The queries of a text that are not padding."""
    mask = inputs.get("attention_mask")
    if mask is None or mask.shape[1] != queries:
        return slice(0, queries)
    kept = mask[batch].nonzero().flatten()
    return slice(int(kept[0]), int(kept[-1]) + 1)
