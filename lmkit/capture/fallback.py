"""Models with an attention of their own: asked for it by ``output_attentions`` on eager.

Each layer's attention, (B, H, Q, K), is taken as it leaves its module, after a look at its shape
and row sums (Longformer, for one, returns windows that look like attention and are not). What goes
on to the model in its place has the same shape and no memory, so that a pass holds what is kept and
one layer more. Where the attention of all layers is too much, none is kept: a layer is computed
again from its module's inputs when it is looked at, one layer at a time.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

from lmkit.capture.anatomy import (
    attention_like_modules,
    clean_name,
    is_cross_name,
    layer_names,
    role_of,
)
from lmkit.capture.recomputed import Again, RecomputedRecord, hold_inputs
from lmkit.capture.recorder import ACTIVE, Recorder
from lmkit.capture.records import CallRecord, StoredRecord
from lmkit.errors import AttentionUnavailableError

__all__ = ["MOST_HELD", "Fallback"]

#: Bytes of attention that a pass keeps without a budget; beyond, layers are computed again.
MOST_HELD = 1 << 30

_FIELDS = {
    "encoder_attentions": "encoder",
    "decoder_attentions": "decoder",
    "cross_attentions": "cross",
    "attentions": "",
}
_PAST = ("past_key_values", "cache", "mems")


class Fallback:
    """Hooks on the model and its attention modules for the time of one block.

    Args:
        model: The model.
        own: The modules that have an attention of their own, by qualified name.
        recorder: Gets the records.
        ask: Call the model with ``output_attentions=True``; else only what is returned without
            asking is taken.
    """

    def __init__(
        self, model: nn.Module, own: dict[str, nn.Module], recorder: Recorder, *, ask: bool
    ) -> None:
        self.recorder = recorder
        attention = attention_like_modules(model)
        self.layers = [clean_name(n) for n in layer_names(model, attention)]
        self.attention = [clean_name(n) for n in attention]
        self.problem: AttentionUnavailableError | None = None
        self.encoder_decoder = recorder.encoder_decoder
        self._own = {id(module): clean_name(name) for name, module in own.items()}
        self._mixed = bool(recorder.expected)
        # Longformer's and LED's: a row holds offsets, not keys, and may happen to have as many.
        self._windows = {
            clean_name(name)
            for name, module in own.items()
            if getattr(module, "one_sided_attn_window_size", None) is not None
        }
        self._asked: list[tuple[bool, bool]] = []
        self._past = False
        self._kept: set[str] = set()
        self._storages: set[int] = set()
        if not self._mixed:  # else some may be no attention over tokens, such as a pooling head
            recorder.expect(list(self._own.values()))
        self._ask_for = ask and _takes(model, "output_attentions")
        self._handles: list[Any] = [
            model.register_forward_pre_hook(self._begin, with_kwargs=True),
            model.register_forward_hook(self._take),
        ]
        for module in own.values():
            self._handles.append(module.register_forward_pre_hook(self._poll))
            # Before transformers' own hooks, which would hold all layers' attention to the end.
            self._handles.append(
                module.register_forward_hook(self._leaves, with_kwargs=True, prepend=True)
            )

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

    def _begin(self, module: nn.Module, args: Any, kwargs: dict[str, Any] | None = None) -> Any:
        # Without kwargs: another thread's pass met this hook while it was being taken off.
        if kwargs is None or not self._ours():
            return None
        self._past = any(kwargs.get(key) is not None for key in _PAST)
        self._kept.clear()
        if not self._ask_for:
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

    # one layer

    def _leaves(self, module: nn.Module, args: Any, kwargs: Any, output: Any = None) -> Any:
        """The hook of one attention module: takes its attention out of ``output``."""
        if output is None or not self._ours() or not isinstance(output, tuple):
            return None
        name = self._own[id(module)]
        cross = is_cross_name(name, module)
        place = self._place(name, cross, output)
        if place is None:
            return None
        given: torch.Tensor = output[place]
        role = role_of(name, encoder_decoder=self.encoder_decoder, causal=False, cross=cross)
        if not self.encoder_decoder and not cross:
            role = ""
        again = None
        if self._too_much(given):
            again = hold_inputs(module, args, kwargs, output, place)
        self._record(name, role, given, again)
        self._kept.add(name)
        if not self._asked or self._asked[-1][0]:
            return None  # someone else may read it
        empty = given.new_zeros(()).expand(given.shape)
        return (*output[:place], empty, *output[place + 1 :])

    def _place(self, name: str, cross: bool, output: tuple[Any, ...]) -> int | None:
        """Where in a module's output its attention stands, as (B, H, Q, K)."""
        context = output[0]
        if not isinstance(context, torch.Tensor) or context.dim() != 3:
            return None
        first, second = context.shape[:2]  # FSMT puts the tokens first
        for place, given in enumerate(output[1:], start=1):
            if (
                isinstance(given, torch.Tensor)
                and given.dim() == 4
                and given.is_floating_point()
                and (given.shape[0], given.shape[2]) in ((first, second), (second, first))
                and self._look(name, cross or self._past, given) is None
            ):
                return place
        return None

    def _look(
        self, name: str, longer: bool, given: torch.Tensor
    ) -> AttentionUnavailableError | None:
        if name in self._windows:
            return AttentionUnavailableError(
                f"Layer {name} attends within windows and returns them as {tuple(given.shape)}, "
                "which is not (batch, heads, queries, keys): they can't be shown as attention.",
                hint="The model's other layers, if any, are there.",
            )
        return _problem(name, longer, given, self.recorder.padding)

    def _too_much(self, given: torch.Tensor) -> bool:
        budget = self.recorder.budget
        most = MOST_HELD if budget is None else budget
        return given.numel() * given.element_size() * max(1, self.recorder.total) > most

    # what the model returned

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
        made: list[tuple[str, torch.Tensor]] = []
        for index, tensor in enumerate(given):
            name = self._name(index, role)
            if not isinstance(tensor, torch.Tensor) or name in self._kept:
                continue
            if self._mixed and name not in self._own.values():
                continue  # recorded as queries and keys
            problem = self._look(name, role == "cross" or self._past, tensor)
            if problem is not None:  # of this stack; the others may be in order
                self.problem = problem
                return
            made.append((name, tensor))
        for name, tensor in made:
            self._record(name, role, tensor, None)

    def _record(self, name: str, role: str, given: torch.Tensor, again: Again | None) -> None:
        kept = given.detach()
        batch, heads, queries, keys = kept.shape
        causal = queries > 1 and queries <= keys and _is_causal(kept, self.recorder.padding)
        what: dict[str, Any] = {
            "name": name,
            "role": role or role_of(name, encoder_decoder=False, causal=causal, cross=False),
            "step": max(self.recorder.step, 0),
            "call": self.recorder.next_call(f"{role}:{name}"),
            "heads": heads,
            "kv_heads": heads,
            "queries": queries,
            "keys": keys,
            "batch": batch,
            "causal": causal,
            "window": None,
            "path": "eager fallback",
        }
        record: CallRecord
        if again is None:
            self.recorder.spend(kept.numel() * kept.element_size())
            record = StoredRecord(**what, attention=kept)
        else:
            self.recorder.spend(self._new_bytes(again))
            record = RecomputedRecord(**what, again=again)
        self.recorder.records.append(record)
        self.recorder.progress()

    def _new_bytes(self, again: Again) -> int:
        """Bytes that no earlier layer of the pass holds: masks are shared."""
        need = 0
        for tensor in again.tensors():
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in self._storages:
                self._storages.add(storage.data_ptr())
                need += storage.nbytes()
        return need

    def _name(self, index: int, role: str) -> str:
        layers = self.layers
        if role in ("encoder", "decoder"):
            layers = [n for n in layers if role in n.split(".")] or layers
        elif role == "cross":
            layers = [n for n in layers if "decoder" in n.split(".")] or layers
        if index >= len(layers):
            return f"attention {index}"
        own = [n for n in self._own.values() if n.startswith(layers[index] + ".")]
        own = [n for n in own if is_cross_name(n) == (role == "cross")] or own
        inside = [n for n in self.attention if n.startswith(layers[index] + ".")]
        return (own or inside or [layers[index]])[0]


def _takes(model: nn.Module, name: str) -> bool:
    parameters = inspect.signature(model.forward).parameters
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _is_causal(attention: torch.Tensor, padding: torch.Tensor | None) -> bool:
    """Whether no real query of a few evenly spread ones gives anything to a key after itself."""
    queries, keys = attention.shape[-2:]
    rows = torch.arange(0, queries - 1, max(1, queries // 8), device=attention.device)
    ahead = torch.arange(keys, device=attention.device) > (rows + keys - queries)[:, None]
    given = (attention[:, :, rows] * ahead).amax((1, 3))  # (B, rows)
    if padding is not None and padding.shape == (attention.shape[0], queries):
        given = given * padding.to(given.device)[:, rows]
    return not bool(given.any())


def _problem(
    name: str, longer: bool, tensor: torch.Tensor, padding: torch.Tensor | None
) -> AttentionUnavailableError | None:
    """Why ``tensor`` is not (B, H, Q, K), or None. ``longer``: K may differ from Q."""
    if tensor.dim() != 4:
        return AttentionUnavailableError(
            f"What layer {name} calls attention, of shape {tuple(tensor.shape)}, has no weight for "
            "each query and key: there is nothing to show."
        )
    if not longer and tensor.shape[-1] != tensor.shape[-2]:
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
