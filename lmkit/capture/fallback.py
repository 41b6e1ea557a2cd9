"""Models with an attention of their own: asked for it by ``output_attentions`` on eager.

The attention itself is kept, (B, H, Q, K) a layer, after a look at its shape and row sums:
Longformer, for one, returns windows of it that look like attention and are not.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lmkit.capture.anatomy import attention_like_modules, clean_name, layer_names, role_of
from lmkit.capture.recorder import ACTIVE, Recorder
from lmkit.capture.records import StoredRecord
from lmkit.errors import AttentionUnavailableError

__all__ = ["Fallback"]

_FIELDS = {
    "encoder_attentions": "encoder",
    "decoder_attentions": "decoder",
    "cross_attentions": "cross",
    "attentions": "",
}


class Fallback:
    """Hooks on the model for the time of one block."""

    def __init__(self, model: nn.Module, recorder: Recorder) -> None:
        self.recorder = recorder
        attention = attention_like_modules(model)
        self.layers = [clean_name(n) for n in layer_names(model, attention)]
        self.attention = [clean_name(n) for n in attention]
        self.problem: AttentionUnavailableError | None = None
        self._asked: list[tuple[bool, bool]] = []
        self._handles: list[Any] = []
        recorder.total = len(self.layers)
        self._handles.append(model.register_forward_pre_hook(self._ask, with_kwargs=True))
        self._handles.append(model.register_forward_hook(self._take))
        wanted = set(layer_names(model, attention))
        for name, module in model.named_modules():
            if name in wanted:
                self._handles.append(module.register_forward_pre_hook(self._poll))

    def remove(self) -> None:
        """Take all hooks off again."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _ours(self) -> bool:
        return self.recorder in ACTIVE.get()

    def _poll(self, module: nn.Module, args: Any) -> None:
        if self._ours():
            self.recorder.poll()
            self.recorder.progress()

    def _ask(self, module: nn.Module, args: Any, kwargs: dict[str, Any] | None = None) -> Any:
        # Without kwargs: another thread's pass met this hook while it was being taken off.
        if kwargs is None or not self._ours():
            return None
        config = getattr(module, "config", None)
        asked = kwargs.get("output_attentions")
        if asked is None:
            asked = bool(getattr(config, "output_attentions", False))
        as_dict = kwargs.get("return_dict")
        if as_dict is None:
            as_dict = bool(getattr(config, "return_dict", True))
        self._asked.append((bool(asked), bool(as_dict)))
        return args, {**kwargs, "output_attentions": True, "return_dict": True}

    def _take(self, module: nn.Module, args: Any, output: Any) -> Any:
        if not self._ours() or not self._asked:
            return None
        asked, as_dict = self._asked.pop()
        for name, role in _FIELDS.items():
            given = getattr(output, name, None)
            if given:
                self._keep(given, role)
        if not asked and hasattr(output, "items"):
            output = type(output)(**{k: v for k, v in output.items() if k not in _FIELDS})
        return output if as_dict else output.to_tuple()

    def _keep(self, given: Any, role: str) -> None:
        made: list[StoredRecord] = []
        for index, tensor in enumerate(given):
            name = self._name(index, role)
            if not isinstance(tensor, torch.Tensor):
                continue
            problem = _problem(name, role, tensor, self.recorder.padding)
            if problem is not None:  # of this stack; the others may be in order
                self.problem = problem
                return
            kept = tensor.detach()
            self.recorder.spend(kept.numel() * kept.element_size())
            batch, heads, queries, keys = kept.shape
            causal = queries > 1 and queries <= keys and _is_causal(kept)
            made.append(
                StoredRecord(
                    name=name,
                    role=role or role_of(name, encoder_decoder=False, causal=causal, cross=False),
                    step=max(self.recorder.step, 0),
                    call=self.recorder.next_call(f"{role}:{name}"),
                    heads=heads,
                    kv_heads=heads,
                    queries=queries,
                    keys=keys,
                    batch=batch,
                    causal=causal,
                    window=None,
                    path="eager fallback",
                    attention=kept,
                )
            )
        self.recorder.records.extend(made)

    def _name(self, index: int, role: str) -> str:
        layers = self.layers
        if role in ("encoder", "decoder"):
            layers = [n for n in layers if role in n.split(".")] or layers
        elif role == "cross":
            layers = [n for n in layers if "decoder" in n.split(".")] or layers
        if index >= len(layers):
            return f"attention {index}"
        inside = [n for n in self.attention if n.startswith(layers[index] + ".")]
        return inside[0] if inside else layers[index]


def _is_causal(attention: torch.Tensor) -> bool:
    queries, keys = attention.shape[-2:]
    ahead = attention[..., : min(queries, 8), keys - queries + 1 :]
    return bool((ahead.triu() == 0).all())


def _problem(
    name: str, role: str, tensor: torch.Tensor, padding: torch.Tensor | None
) -> AttentionUnavailableError | None:
    if tensor.dim() != 4:
        return AttentionUnavailableError(
            f"What layer {name} calls attention, of shape {tuple(tensor.shape)}, has no weight for "
            "each query and key: there is nothing to show."
        )
    if role != "cross" and tensor.shape[-1] < tensor.shape[-2]:
        return AttentionUnavailableError(
            f"Layer {name} returns the shape {tuple(tensor.shape)}, which is not "
            "(batch, heads, queries, keys): this model's attention can't be shown exactly.",
            hint="Models with local windows of their own, such as Longformer, return only those.",
        )
    mass = tensor.sum(-1, dtype=torch.float32)
    tolerance = 1e-3 if tensor.dtype == torch.float32 else 3e-2
    off = (mass - 1).abs() > tolerance
    if padding is not None and padding.shape == (tensor.shape[0], tensor.shape[2]):
        off &= padding.to(off.device).bool()[:, None, :]
    if bool(off.any()):
        return AttentionUnavailableError(
            f"The rows that layer {name} returns as attention don't sum to 1 "
            f"(one sums to {float(mass[off][0]):.3f}): they are not attention over all tokens."
        )
    return None
