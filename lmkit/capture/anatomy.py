"""What can be known of a model's attention before it runs: modules, names, roles, layers."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

__all__ = [
    "attention_like_modules",
    "clean_name",
    "configs_of",
    "interface_modules",
    "is_cross_name",
    "layer_names",
    "layer_of",
    "role_of",
    "turns_positions",
    "unwrap",
]

_INTERFACE = "ALL_ATTENTION_FUNCTIONS"
_WRAPPER_PARTS = frozenset({"_orig_mod", "base_model"})
_CROSS_PARTS = re.compile(
    r"^(encdecattention|encoder_attn|cross_?attn|cross_?attention|encoder_decoder_attention)$",
    re.IGNORECASE,
)


def unwrap(model: nn.Module) -> nn.Module:
    """The module below ``torch.compile``'s wrapper, which hides hooks and names."""
    inner = getattr(model, "_orig_mod", model)
    return inner if isinstance(inner, nn.Module) else model


def clean_name(name: str) -> str:
    """A qualified name without the parts that torch.compile and peft put in front."""
    return ".".join(part for part in name.split(".") if part not in _WRAPPER_PARTS)


_KNOWN: WeakKeyDictionary[type[nn.Module], bool] = WeakKeyDictionary()


def _calls_interface(cls: type[nn.Module]) -> bool:
    known = _KNOWN.get(cls)
    if known is None:
        known = _KNOWN[cls] = _looks_at_interface(cls)
    return known


def _looks_at_interface(cls: type[nn.Module]) -> bool:
    for ancestor in cls.__mro__:
        if ancestor in (nn.Module, object):
            continue
        for member in vars(ancestor).values():
            if not inspect.isfunction(member):
                continue
            code = getattr(inspect.unwrap(member), "__code__", None)
            if code is not None and _INTERFACE in code.co_names:
                return True
        if "forward" in vars(ancestor):
            # The forward in force is this one; what an ancestor did is overridden.
            return False
    return False


def interface_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Modules that ask transformers' attention interface for their attention, by name."""
    return {name: m for name, m in model.named_modules() if _calls_interface(type(m))}


def attention_like_modules(model: nn.Module) -> list[str]:
    """Names of modules that call themselves attention and hold parameters.

    The word is only a hint, used to tell a model with an attention of its own (Falcon, BLOOM)
    from one that has none (Mamba).
    """
    return [
        name
        for name, module in model.named_modules()
        if "attention" in type(module).__name__.lower() or "attn" in type(module).__name__.lower()
    ]


def _outer_lists(model: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.ModuleList]]:
    for name, child in model.named_children():
        path = f"{prefix}.{name}" if prefix else name
        if isinstance(child, nn.ModuleList):
            yield path, child
        else:
            yield from _outer_lists(child, path)


def layer_names(model: nn.Module, attention: list[str]) -> list[str]:
    """Qualified names of the layers of each stack that holds attention.

    A stack is an outermost ``ModuleList`` with an attention module (one of ``attention``) below
    at least one child. Inner lists are left alone: T5 keeps attention and feed-forward of one
    layer in a list of its own.
    """
    names: list[str] = []
    for path, stack in _outer_lists(model):
        children = [f"{path}.{i}" for i in range(len(stack))]
        if any(a == c or a.startswith(c + ".") for a in attention for c in children):
            names.extend(children)
    return names


def layer_of(name: str, layers: list[str]) -> str | None:
    """The layer that a module of this name lies in."""
    return next((x for x in layers if name == x or name.startswith(x + ".")), None)


def is_cross_name(name: str, module: nn.Module | None = None) -> bool:
    """Whether a module attends from one sequence to another."""
    flag = getattr(module, "is_cross_attention", None)
    if isinstance(flag, bool) and flag:
        return True
    return any(_CROSS_PARTS.match(part) for part in name.split("."))


def role_of(name: str, *, encoder_decoder: bool, causal: bool, cross: bool) -> str:
    """``"encoder"``, ``"decoder"`` or ``"cross"``."""
    if cross:
        return "cross"
    parts = name.split(".")
    if encoder_decoder and ("decoder" in parts or "encoder" in parts):
        return "decoder" if "decoder" in parts else "encoder"
    return "decoder" if causal else "encoder"


def configs_of(model: nn.Module) -> list[Any]:
    """Every distinct config that the model or a submodule or a sub-config holds."""
    found: dict[int, Any] = {}

    def add(config: Any) -> None:
        if config is None or id(config) in found or not hasattr(config, "to_dict"):
            return
        found[id(config)] = config
        for key in getattr(config, "sub_configs", None) or ():
            add(getattr(config, key, None))

    for module in model.modules():
        add(getattr(module, "config", None))
    return list(found.values())


def first_device(model: nn.Module) -> torch.device:
    """The device of the first parameter, the CPU for a model without any."""
    for parameter in model.parameters():
        return parameter.device
    return torch.device("cpu")


_ROTARY: WeakKeyDictionary[type[nn.Module], bool] = WeakKeyDictionary()


def turns_positions(module: nn.Module) -> bool:
    """Whether this attention module turns rotary positions into its queries and keys.

    Read from the names that its forward uses (``apply_rotary_pos_emb`` and its kin, before the
    interface is called). Layers that opt out say so: ``use_rope`` of SmolLM3 and Llama 4; Cohere 2
    turns in its sliding layers only.
    """
    cls = type(module)
    known = _ROTARY.get(cls)
    if known is None:
        code = getattr(inspect.unwrap(cls.forward), "__code__", None)
        names = code.co_names if code is not None else ()
        known = _ROTARY[cls] = any("rotary" in name.lower() for name in names)
    if not known or not getattr(module, "use_rope", True):
        return False
    return not (cls.__name__.startswith("Cohere2") and getattr(module, "sliding_window", 0) is None)
