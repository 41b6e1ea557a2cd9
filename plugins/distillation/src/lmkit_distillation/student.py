"""The student's first weights, and whether it reads what the teacher reads."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from lmkit_distillation.errors import DistillationError, RecipeError
from lmkit_distillation.losses.layers import layer_pairs
from lmkit_distillation.losses.vocabulary import Head
from lmkit_distillation.recipe import Student

__all__ = [
    "check_checkpointing",
    "check_tokenizers",
    "cut",
    "from_config",
    "head_of",
    "kept_layers",
    "set_dropout",
    "shared_vocabulary",
    "stack_of",
]


def kept_layers(student: Student, teacher: int) -> tuple[int, ...]:
    """Which of the teacher's layers the student keeps.

    Raises:
        RecipeError: more than there are.
    """
    if isinstance(student.keep, tuple):
        wrong = [i for i in student.keep if i >= teacher]
        if wrong:
            raise RecipeError(
                f"student.keep names layer {wrong[0]}; the teacher has {teacher}, from 0."
            )
        return student.keep
    count = student.layers
    if count > teacher:
        raise RecipeError(f"student.layers is {count}; the teacher has {teacher}.")
    if student.keep == "first":
        return tuple(range(count))
    if student.keep == "last" or count == 1:
        return tuple(range(teacher - count, teacher))
    if student.keep == "uniform":
        # The same layers that the losses' map "uniform" compares with: each starts as its target.
        return tuple(theirs for _, theirs in layer_pairs("uniform", count, teacher))
    # Halves up: 3 of 6 are 0, 3, 5, so that no gap is wider than it must be at the top.
    return tuple((2 * i * (teacher - 1) + count - 1) // (2 * (count - 1)) for i in range(count))


def stack_of(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """Name and list of a model's layers.

    Raises:
        DistillationError: it has no single stack of layers of its own weights.
    """
    config: Any = model.config
    count = getattr(config, "num_hidden_layers", None)
    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == count
    ]
    outer = [f for f in found if not any(f[0].startswith(o[0] + ".") for o in found if o is not f)]
    if len(outer) != 1 or getattr(config, "is_encoder_decoder", False):
        raise DistillationError(
            f"A {type(model).__name__} has no single stack of layers that could be cut.",
            hint="Use student.start = 'config' or an existing model.",
        )
    return outer[0]


def cut(teacher: nn.Module, keep: Sequence[int]) -> nn.Module:
    """A model of some of the teacher's layers, with copies of their weights in float32."""
    name, _ = stack_of(teacher)
    config = copy.deepcopy(teacher.config)
    _per_layer(config, keep)
    pattern = re.compile(re.escape(name) + r"\.(\d+)\.(.*)")
    place = {old: new for new, old in enumerate(keep)}
    state = {}
    for key, tensor in teacher.state_dict().items():
        found = pattern.fullmatch(key)
        if found is None:
            state[key] = tensor
        elif int(found[1]) in place:
            state[f"{name}.{place[int(found[1])]}.{found[2]}"] = tensor
    student: nn.Module = type(teacher)(config)
    student.load_state_dict(state)
    return student.float()


def _per_layer(config: Any, keep: Sequence[int]) -> None:
    """Make a config that of the kept layers; settings with an entry a layer are cut too."""
    before = config.num_hidden_layers
    for key, value in list(vars(config).items()):
        if isinstance(value, list | tuple) and len(value) == before and "layer" in key:
            setattr(config, key, type(value)(value[i] for i in keep))
    config.num_hidden_layers = len(keep)


def from_config(teacher: nn.Module, student: Student, seed: int) -> nn.Module:
    """Random weights in the teacher's architecture, made smaller.

    Raises:
        RecipeError: sizes that don't fit each other.
    """
    config: Any = copy.deepcopy(teacher.config)
    if student.layers:
        count = config.num_hidden_layers
        if student.layers > count and isinstance(getattr(config, "layer_types", None), list):
            raise RecipeError("student.layers is more than the teacher's kinds of layers.")
        _per_layer(config, range(student.layers) if student.layers <= count else range(count))
        config.num_hidden_layers = student.layers
    head_dim = getattr(config, "head_dim", None)
    for key, name in (
        ("hidden", "hidden_size"),
        ("heads", "num_attention_heads"),
        ("kv_heads", "num_key_value_heads"),
        ("intermediate", "intermediate_size"),
    ):
        value = getattr(student, key)
        if value and not hasattr(config, name):
            raise RecipeError(
                f"student.{key} does not fit: a {type(teacher).__name__} has no {name}."
            )
        if value:
            setattr(config, name, value)
    if config.hidden_size % config.num_attention_heads:
        raise RecipeError(
            f"student.hidden is {config.hidden_size}, which {config.num_attention_heads} heads "
            "do not divide."
        )
    if head_dim is not None and (student.hidden or student.heads):
        config.head_dim = config.hidden_size // config.num_attention_heads
    groups = getattr(config, "num_key_value_heads", None)
    if groups and config.num_attention_heads % groups:
        raise RecipeError(
            f"student.kv_heads is {groups}, which does not divide {config.num_attention_heads} "
            "heads."
        )
    torch.manual_seed(seed)
    return type(teacher)(config).float()


def set_dropout(model: nn.Module, share: float) -> None:
    """Replace a model's dropout: its modules', and the numbers that some layers keep of their own.

    OPT, BART and decoders like Llama call the function with a number. Where that is 0, its layer
    has none, and stays so.
    """
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = share
        for name, value in vars(module).items():
            if "dropout" in name and isinstance(value, float) and value > 0:
                setattr(module, name, share)


# what both read

_PROBE = ("The film moved me.", "naïve façade, 3.14 %", "Ein Satz über Höhlen.", "你好 world\n\tx")


def check_tokenizers(student: Any, teacher: Any) -> None:
    """See that two tokenizers give the same ids for every text.

    Raises:
        DistillationError: naming a token or text that they read differently.
    """
    if student is teacher:
        return
    hint = (
        "Choose a student with the teacher's tokenizer, or student.align = 'text', which lets "
        "each model read the text by itself (losses on class probabilities, or in generation "
        "kind = 'uld', alone)."
    )
    mine, theirs = student.get_vocab(), teacher.get_vocab()
    if mine != theirs:
        both = sorted(set(mine) | set(theirs), key=lambda t: (theirs.get(t, 1 << 40), t))
        token = next(t for t in both if mine.get(t) != theirs.get(t))
        raise DistillationError(
            f"Student and teacher have different tokenizers: the token {token!r} is "
            f"{mine.get(token, 'unknown')} to the student and {theirs.get(token, 'unknown')} to "
            "the teacher.",
            hint=hint,
        )
    for text in _PROBE:
        if student(text)["input_ids"] != teacher(text)["input_ids"]:
            raise DistillationError(
                f"Student and teacher have the same vocabulary but read {text!r} differently.",
                hint=hint,
            )


def shared_vocabulary(student: int, teacher: int, tokens: int) -> int:
    """How many logits of both stand for tokens, where matrices are padded to round sizes.

    Raises:
        DistillationError: one of them lacks tokens.
    """
    common = min(student, teacher)
    if common < tokens:
        raise DistillationError(
            f"The tokenizer has {tokens} tokens and one of the models only {common} logits."
        )
    return common


def head_of(model: nn.Module, vocabulary: int) -> Head:
    """How a causal model makes logits of its last hidden states, read off its config."""
    config: Any = model.config.get_text_config()  # type: ignore[operator, union-attr]
    scale = 1.0
    if getattr(config, "logit_scale", None):  # Cohere
        scale = float(config.logit_scale)
    elif getattr(config, "logits_scaling", None):  # Granite
        scale = 1.0 / float(config.logits_scaling)
    elif getattr(config, "lm_head_multiplier", None):  # Falcon-H1
        scale = float(config.lm_head_multiplier)
    softcap = getattr(config, "final_logit_softcapping", None)
    project = model.get_output_embeddings()  # type: ignore[operator]
    if project is None:
        raise DistillationError(f"A {type(model).__name__} has no output embeddings.")
    return Head(project, scale, float(softcap) if softcap else None, vocabulary)


def check_head(model: nn.Module, head: Head, inputs: dict[str, torch.Tensor]) -> None:
    """See that :func:`head_of` and the model agree on one text.

    Raises:
        DistillationError: they don't: the model does something to its logits that is not known.
    """
    training = model.training
    model.eval()
    with torch.no_grad():
        whole = model(**inputs).logits[0, -1].float()
        hidden = model.base_model(**inputs).last_hidden_state[0, -1:]  # type: ignore[operator]
        mine = head(hidden)[0].float()
    model.train(training)
    whole = whole[: mine.shape[-1]]
    if not torch.allclose(mine, whole, rtol=1e-2, atol=1e-2 * float(whole.abs().max() + 1)):
        raise DistillationError(
            f"A {type(model).__name__} makes its logits in a way that is not known here, so its "
            "vocabulary loss would be wrong."
        )


def check_checkpointing(model: nn.Module) -> None:
    """Refuse reentrant gradient checkpointing.

    Its backward pass runs apart from the graph: the gradients of hidden states, queries and keys
    that a loss took from inside a layer would be zero, and nothing would say so.

    Raises:
        DistillationError: a module uses it.
    """
    for name, module in model.named_modules():
        if not getattr(module, "gradient_checkpointing", False):
            continue
        function = getattr(module, "_gradient_checkpointing_func", None)
        if getattr(function, "keywords", {}).get("use_reentrant", True):
            raise DistillationError(
                f"The student's {name or 'model'} uses reentrant gradient checkpointing, under "
                "which losses on inner layers have no gradient.",
                hint="Call gradient_checkpointing_enable(gradient_checkpointing_kwargs="
                "{'use_reentrant': False}), or set student.checkpointing = true in the recipe.",
            )
