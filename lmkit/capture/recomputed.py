"""Attention that is computed again when looked at, for layers that return it and nothing else.

What a module was called with is O(tokens x width); its attention is heads x tokens^2. So where
the latter is too much for all layers, the former is kept, and the module is called again, one layer
at a time. The result is held against rows of what the module put out in the pass: weights that were
trained, moved or replaced since then are noticed.
"""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lmkit.capture.records import CallRecord, Rows, _arithmetic
from lmkit.errors import AttentionUnavailableError

__all__ = ["Again", "RecomputedRecord", "hold_inputs"]

_ROWS = 4
_TOLERANCE = {torch.float64: 1e-4, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}


@dataclass(eq=False)
class Again:
    """A call of a module that can be made again, and rows of its output for comparison."""

    module: weakref.ref[nn.Module]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    place: int
    rows: torch.Tensor
    top: float

    def tensors(self) -> list[torch.Tensor]:
        """All tensors of the call."""
        return [*_tensors((self.args, tuple(self.kwargs.values()))), self.rows]

    def attention(self, name: str) -> torch.Tensor:
        """(B, H, Q, K), by calling the module.

        Raises:
            AttentionUnavailableError: the module is gone, or puts out something else by now.
        """
        module = self.module()
        if module is None:
            raise AttentionUnavailableError(
                f"The model of layer {name}, whose attention is computed when looked at, was "
                "unloaded.",
                hint="Load it and run the text again.",
            )
        if module.training:
            raise AttentionUnavailableError(
                f"Layer {name} is in training mode, where its attention would be another one.",
                hint="Call model.eval() first.",
            )
        with torch.no_grad():
            output = module(*self.args, **self.kwargs)
            rows = _sample(output[0])
            away = (rows.float() - self.rows.float()).abs().max() if rows.numel() else 0.0
            if not float(away) <= _TOLERANCE.get(rows.dtype, 5e-2) * self.top:
                raise AttentionUnavailableError(
                    f"Layer {name} puts out something else than in the captured pass: its weights "
                    "have changed since.",
                    hint="Run the text again.",
                )
            attention: torch.Tensor = output[self.place]
            return attention.detach()


def hold_inputs(
    module: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    output: tuple[Any, ...],
    place: int,
) -> Again | None:
    """The call of ``module`` that just gave ``output``; None where it can't be made again.

    A module in training mode drops at random; a cache that held tokens before has changed. One that
    was empty is left out of the call: queries and keys are then of the same tokens.

    Args:
        module: The attention module.
        args: What it was called with.
        kwargs: What it was called with.
        output: What it gave, context first.
        place: Where in it the attention stands.
    """
    if module.training:
        return None
    given = [*args, *kwargs.values()]
    context: torch.Tensor = output[0]
    queries = output[place].shape[2]
    for item in given:
        if _is_cache(item) and item.get_seq_length(getattr(module, "layer_idx", 0) or 0) != queries:
            return None
    top = float(context.detach().float().abs().max()) if context.numel() else 0.0
    return Again(
        module=weakref.ref(module),
        args=tuple(_kept(a) for a in args),
        kwargs={k: _kept(v) for k, v in kwargs.items()},
        place=place,
        rows=_sample(context).detach().clone(),
        top=top,
    )


def _is_cache(item: Any) -> bool:
    return hasattr(item, "update") and hasattr(item, "get_seq_length")


def _kept(item: Any) -> Any:
    if isinstance(item, torch.Tensor):
        # Hidden states may be added to in place later on; masks are shared by the layers.
        return item.detach().clone() if item.dim() == 3 else item.detach()
    if _is_cache(item):
        return None
    if isinstance(item, tuple | list):
        return type(item)(_kept(part) for part in item)
    if type(item) is dict:
        return {key: _kept(part) for key, part in item.items()}
    return item


def _tensors(item: Any) -> list[torch.Tensor]:
    if isinstance(item, torch.Tensor):
        return [item]
    if isinstance(item, dict):
        item = tuple(item.values())
    if isinstance(item, tuple | list):
        return [tensor for part in item for tensor in _tensors(part)]
    return []


def _sample(context: torch.Tensor) -> torch.Tensor:
    step = max(1, context.shape[1] // _ROWS)
    return context[:, ::step]


@dataclass(eq=False)
class RecomputedRecord(CallRecord):
    """One call whose attention is computed when asked for; one layer of a trace is held."""

    again: Again

    @property
    def device(self) -> torch.device:
        """Where the module's output lay."""
        return self.again.rows.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the module's output."""
        return self.again.rows.dtype

    def tensors(self) -> list[torch.Tensor | None]:
        """What the module is called with."""
        return [*self.again.tensors()]

    def _attention(self) -> torch.Tensor:
        return _LAST.of(self)

    def shares(
        self, b: int, h0: int, h1: int, rows: Rows, span: tuple[int, int], k0: int, k1: int
    ) -> torch.Tensor:
        """Attention of some heads and queries to keys k0..k1."""
        return self._attention()[b, h0:h1, rows, k0:k1].to(_arithmetic(self.device))

    def _open(self, b: int, h0: int, h1: int, rows: Rows, lo: int, hi: int) -> torch.Tensor:
        return (self._attention()[b, :, rows, lo:hi] > 0).any(0, keepdim=True)

    def weights(self, b: int, h: int, rows: Rows, k0: int, k1: int) -> torch.Tensor:
        """Attention of one head, (rows, k1 - k0)."""
        return self._attention()[b, h, rows, k0:k1].to(torch.float32, copy=True)


class _Last:
    """The attention of the layer that was looked at last, and of no other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._record: weakref.ref[RecomputedRecord] | None = None
        self._attention: torch.Tensor | None = None

    def of(self, record: RecomputedRecord) -> torch.Tensor:
        """The attention of ``record``, computed unless it was the last."""
        with self._lock:
            known = self._record() if self._record is not None else None
            if known is not record or self._attention is None:
                self._record = self._attention = None  # freed before the next one is made
                self._attention = record.again.attention(record.name)
                self._record = weakref.ref(record, self._forget)
            return self._attention

    def _forget(self, reference: Any) -> None:
        if reference is self._record:
            self._attention = None


_LAST = _Last()
