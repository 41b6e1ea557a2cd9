"""Models that call torch's ``scaled_dot_product_attention`` themselves, past the interface.

Falcon on SDPA, data2vec's vision part, and most attention that people write by hand give their
queries, keys and values to that one function. For the time of a block a ``TorchFunctionMode``,
which torch keeps for each thread apart, sees the call, lets it run as it is, and notes its
arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from lmkit.capture.anatomy import clean_name
from lmkit.capture.recorder import ACTIVE, Recorder

__all__ = ["PATH", "SdpaCalls"]

#: What ``LayerInfo.path`` says of such a layer.
PATH = "sdpa call"
_NAMES = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")


class SdpaCalls(TorchFunctionMode):
    """Records the calls that ``modules`` make, while entered.

    Args:
        modules: The modules to look at, by qualified name.
        recorder: Gets the records.
    """

    def __init__(self, modules: dict[str, nn.Module], recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder
        self._modules = modules
        self._inside: list[nn.Module] = []
        self._handles: list[Any] = []

    def __enter__(self) -> SdpaCalls:
        self.recorder.expect([clean_name(name) for name in self._modules])
        for module in self._modules.values():
            self._handles.append(module.register_forward_pre_hook(self._enter))
            self._handles.append(module.register_forward_hook(self._leave, always_call=True))
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)  # type: ignore[no-untyped-call]
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._modules = {}

    def _enter(self, module: nn.Module, args: Any) -> None:
        if self.recorder in ACTIVE.get():
            self.recorder.poll()
            self._inside.append(module)

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        if self._inside and self._inside[-1] is module and self.recorder in ACTIVE.get():
            self._inside.pop()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run ``func``; note its arguments where it is the attention of one of the modules."""
        out = func(*args, **(kwargs or {}))
        if func is nn.functional.scaled_dot_product_attention and self._inside:
            given = {**dict(zip(_NAMES, args, strict=False)), **(kwargs or {})}
            self._note(self._inside[-1], given, out)
        return out

    def _note(self, module: nn.Module, given: dict[str, Any], out: torch.Tensor) -> None:
        query, key, value = (_four(given[name]) for name in ("query", "key", "value"))
        mask = given.get("attn_mask")
        if query.dim() != 4:
            return  # heads of more than one dimension: left among the missing
        if isinstance(mask, torch.Tensor) and given["query"].dim() == 3 and mask.dim() == 3:
            mask = mask.unsqueeze(1)
        batch = query.shape[0]
        self.recorder.record(
            module,
            query,
            key.expand(batch, -1, -1, -1),
            value.expand(batch, -1, -1, -1),
            mask,
            {
                "scaling": given.get("scale"),
                "is_causal": bool(given.get("is_causal", False)),
                "dropout": given.get("dropout_p", 0.0),
            },
            _four(out).transpose(1, 2),
            PATH,
        )


def _four(tensor: torch.Tensor) -> torch.Tensor:
    """(batch, tokens, width) as one head: (batch, 1, tokens, width)."""
    return tensor.unsqueeze(1) if tensor.dim() == 3 else tensor
