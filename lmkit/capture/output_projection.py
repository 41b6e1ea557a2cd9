"""How long the vectors are that a head carries: |v W_O|, taken during the pass.

Norm-weighted attention (Kobayashi et al. 2020, equation 5) needs ``|alpha v W_O|`` of each head,
which is ``alpha * |v W_O|`` since alpha is a number of at least 0. So one number for each head and
key is kept, and no reference to a module.

W_O is the first leaf module, or adapter around one (LoRA), that is called with the very memory that
the attention put out: nothing came in between that could have changed it. Of a plain linear layer
the weight is read; any other module f is asked for ``f(e_i) - f(0)`` of the unit vectors e_i,
which costs as much as a text of that many tokens, and must then give what it really gives for a
few rows of the pass (a norm in the place of a projection does not). With W the rows of W_O that
belong to a head, ``|v W|^2 = v (W W^T) v^T``: the small matrix in the middle, in float64, costs a
head-size-th of multiplying every v by W.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lmkit.capture.records import QKRecord

__all__ = ["OutputProjections"]

_NOT_FOUND = (
    "No module reads the attention of layer {name} as it is, so its output projection is unknown."
)
# Of the largest value of the module's output; sums of rounded weights against a rounded sum.
_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
_ROWS = 4

Keep = Callable[["torch.Tensor | str"], None]


@dataclass
class _Pending:
    """An attention output that no projection has read yet; it stays alive until one does."""

    made: QKRecord
    keep: Keep
    value: torch.Tensor  # (B, G, K, dv)
    out: torch.Tensor
    version: int | None


class OutputProjections:
    """Watches for the module that reads each attention output.

    Args:
        recording: Whether the current context is the one whose passes are recorded.
        spend: Told the bytes that are about to be kept; raises where they don't fit a budget.
    """

    def __init__(self, recording: Callable[[], bool], spend: Callable[[int], None]) -> None:
        self._recording = recording
        self._spend = spend
        self._pending: _Pending | None = None

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Look at the input of every candidate of ``model`` for the time of a block."""
        handles = [
            module.register_forward_pre_hook(self._look)
            for module in model.modules()
            if _candidate(module)
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            self._pending = None

    def expect(
        self, made: QKRecord, value: torch.Tensor, out: Any, keep: Keep | None = None
    ) -> None:
        """``out`` is the attention that a projection will read next; ``value`` went into it.

        Args:
            made: The call.
            value: (B, G, K, dv); of a step of a text that is written the new columns alone.
            out: What the attention function returned.
            keep: Takes the norms, (B, H, K), or why there are none; without it ``made`` does.
        """
        result = out[0] if isinstance(out, tuple) else out
        keep = keep or functools.partial(self._keep, made)
        keep(_NOT_FOUND.format(name=made.name))
        self._pending = _Pending(
            made=made,
            keep=keep,
            value=value.detach(),
            out=result.detach(),
            version=None if result.is_inference() else result._version,
        )

    def _look(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        pending = self._pending
        if pending is None or not args or not isinstance(args[0], torch.Tensor):
            return
        if not self._recording() or not _same_memory(args[0], pending.out):
            return
        self._pending = None
        made, given = pending.made, args[0].detach()
        if pending.version is not None and pending.out._version != pending.version:
            pending.keep(
                f"Layer {made.name} changes its attention's output before it is projected."
            )
            return
        with torch.no_grad():
            pending.keep(_norms(module, made, pending.value, given))

    def _keep(self, made: QKRecord, found: torch.Tensor | str) -> None:
        if isinstance(found, str):
            made.no_value_norms = found
        else:
            self._spend(found.numel() * found.element_size())
            made.value_norms, made.no_value_norms = found, ""


def _candidate(module: nn.Module) -> bool:
    """A leaf that holds numbers (dropout and activations hold none), or an adapter around one."""
    if hasattr(module, "base_layer"):
        return True
    if next(module.children(), None) is not None:
        return False
    return next(module.parameters(), None) is not None or next(module.buffers(), None) is not None


def _same_memory(given: torch.Tensor, out: torch.Tensor) -> bool:
    return (
        given.device == out.device
        and given.dtype == out.dtype
        and given.numel() == out.numel()
        and given.data_ptr() == out.data_ptr()
        and given.is_contiguous()
        and out.is_contiguous()
    )


def _norms(
    module: nn.Module, made: QKRecord, value: torch.Tensor, given: torch.Tensor
) -> torch.Tensor | str:
    """(B, H, K) float32, or why not."""
    heads, width = made.heads, value.shape[-1]
    if given.shape[-1] != heads * width:
        return (
            f"The output projection of layer {made.name} reads {given.shape[-1]} numbers a token, "
            f"not those of {heads} heads of {width}."
        )
    matrix = _weight(module)
    if matrix is None:
        if any(isinstance(m, nn.Dropout) and m.training and m.p > 0 for m in module.modules()):
            return (
                f"The output projection of layer {made.name} is in training mode, where its "
                "dropout makes it another each time."
            )
        matrix = _by_unit_vectors(module, given)
        if matrix is None:
            return f"The output projection of layer {made.name} is not linear."
    # Apple's accelerator has no float64; elsewhere the numbers stay where they are.
    device = torch.device("cpu") if given.device.type == "mps" else given.device
    w = matrix.to(device).double().view(heads, width, -1)
    gram = w @ w.transpose(1, 2)  # (H, dv, dv)
    group = heads // made.kv_heads
    v = value.to(device).double()
    norms = torch.empty(*v.shape[:1], heads, v.shape[2], dtype=torch.float32, device=device)
    for h in range(heads):
        mine = v[:, h // group]
        norms[:, h] = ((mine @ gram[h]) * mine).sum(-1).clamp_min_(0.0).sqrt_().float()
    return norms.to(given.device)


def _weight(module: nn.Module) -> torch.Tensor | None:
    """W_O as (heads * head size, out), of the two plain linear layers that there are."""
    weight = getattr(module, "weight", None)
    if not isinstance(weight, torch.Tensor) or weight.is_meta or not weight.is_floating_point():
        return None
    if type(module) is nn.Linear:
        return weight.detach().t()
    kind = type(module)
    if kind.__name__ == "Conv1D" and kind.__module__ == "transformers.pytorch_utils":
        return weight.detach()
    return None


def _by_unit_vectors(module: nn.Module, given: torch.Tensor) -> torch.Tensor | None:
    """What the module does to each unit vector: (in, out) float32; None if it is not linear.

    ``forward`` is called, not the module, so that the hooks of others don't count it as a call.
    """
    size = given.shape[-1]
    shape = (1,) * (given.dim() - 2)
    zero = _call(module, given.new_zeros(*shape, 1, size))
    if zero is None:
        return None
    unit = torch.eye(size, dtype=given.dtype, device=given.device)
    answer = _call(module, unit.view(*shape, size, size))
    if answer is None:
        return None
    matrix = answer.view(size, -1).float() - zero.view(1, -1).float()
    rows = given.reshape(-1, size)
    rows = rows[:: max(1, len(rows) // _ROWS)][:_ROWS]
    real = _call(module, rows.view(*shape, -1, size))
    if real is None:
        return None
    wanted = real.view(len(rows), -1).float()
    got = rows.float() @ matrix + zero.view(1, -1).float()
    limit = _TOLERANCE.get(given.dtype, 5e-2) * float(wanted.abs().max().clamp_min(1e-30))
    return matrix if float((got - wanted).abs().max()) <= limit else None


def _call(module: nn.Module, x: torch.Tensor) -> torch.Tensor | None:
    try:
        answer = module.forward(x)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, TypeError, ValueError):
        return None
    if not isinstance(answer, torch.Tensor) or answer.numel() % x.shape[-2]:
        return None
    return answer.detach()
