"""Models that call torch's ``scaled_dot_product_attention`` themselves, past the interface.

Falcon on SDPA, data2vec's vision part, and most attention that people write by hand give their
queries, keys and values to that one function. For the time of a block a ``TorchFunctionMode``,
which torch keeps for each thread apart, sees the call, lets it run as it is, notes its arguments,
and may put something else in the place of what it returned.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from contextvars import ContextVar
from types import TracebackType
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from lmkit.capture.anatomy import clean_name
from lmkit.capture.recorder import ACTIVE, CHANGING, Changer, Recorder

__all__ = ["PATH", "ChangedCalls", "RecordedCalls"]

#: What ``LayerInfo.path`` says of such a layer.
PATH = "sdpa call"
_NAMES = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
Given = dict[str, Any]
# Changes that wait until every block around the call has noted what the function itself returned.
_WAITING: ContextVar[list[Callable[[torch.Tensor], torch.Tensor]] | None] = ContextVar(
    "lmkit_sdpa_waiting", default=None
)


class _Calls(TorchFunctionMode):
    """Hears of the calls that ``modules`` make, while entered."""

    def __init__(self, modules: dict[str, nn.Module]) -> None:
        super().__init__()
        self._modules = modules
        self._inside: list[nn.Module] = []
        self._handles: list[Any] = []

    def __enter__(self) -> _Calls:
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
        if self.listens():
            self._inside.append(module)

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        if self._inside and self._inside[-1] is module and self.listens():
            self._inside.pop()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run ``func``; say so where it is the attention of one of the modules."""
        if func is not nn.functional.scaled_dot_product_attention or not self._inside:
            return func(*args, **(kwargs or {}))
        waiting = _WAITING.get()
        outermost = waiting is None
        if waiting is None:
            waiting = []
        token = _WAITING.set(waiting)
        try:
            out = func(*args, **(kwargs or {}))
        finally:
            _WAITING.reset(token)
        given = {**dict(zip(_NAMES, args, strict=False)), **(kwargs or {})}
        change = self.heard(self._inside[-1], given, out)
        if change is not None:
            waiting.append(change)
        if outermost:
            for change in waiting:
                out = change(out)
        return out

    @abstractmethod
    def listens(self) -> bool:
        """Whether the block belongs to the context that runs: hooks are met by every thread."""

    @abstractmethod
    def heard(
        self, module: nn.Module, given: Given, out: torch.Tensor
    ) -> Callable[[torch.Tensor], torch.Tensor] | None:
        """The function's arguments by name and its result; answers how to change the result."""


class RecordedCalls(_Calls):
    """Records the calls that ``modules`` make, while entered.

    Args:
        modules: The modules to look at, by qualified name.
        recorder: Gets the records.
    """

    def __init__(self, modules: dict[str, nn.Module], recorder: Recorder) -> None:
        super().__init__(modules)
        self.recorder = recorder

    def __enter__(self) -> RecordedCalls:
        self.recorder.expect([clean_name(name) for name in self._modules])
        super().__enter__()
        return self

    def _enter(self, module: nn.Module, args: Any) -> None:
        if self.listens():
            self.recorder.poll()
        super()._enter(module, args)

    def listens(self) -> bool:
        """Whether the recorder's capture is active in this context."""
        return self.recorder in ACTIVE.get()

    def heard(self, module: nn.Module, given: Given, out: torch.Tensor) -> None:
        """Record the call; changes nothing."""
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


class ChangedCalls(_Calls):
    """Lets a changer replace what the calls of ``modules`` return, while entered.

    A block of records inside or around it notes what the function itself returned.

    Args:
        modules: The modules to look at, by qualified name.
        changer: Is asked after each call.
    """

    def __init__(self, modules: dict[str, nn.Module], changer: Changer) -> None:
        super().__init__(modules)
        self.changer = changer

    def listens(self) -> bool:
        """Whether the changes are active in this context."""
        return self.changer in CHANGING.get()

    def heard(
        self, module: nn.Module, given: Given, out: torch.Tensor
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        """The changer's answer, in the layout of the function: heads before positions."""
        query = _four(given["query"])

        def change(result: torch.Tensor) -> torch.Tensor:
            heads = _four(result).transpose(1, 2)
            new: torch.Tensor = self.changer.changed(module, query, heads)
            if new is heads:
                return result
            return new.transpose(1, 2).reshape(result.shape).contiguous()

        return change


def _four(tensor: torch.Tensor) -> torch.Tensor:
    """(batch, tokens, width) as one head: (batch, 1, tokens, width)."""
    return tensor.unsqueeze(1) if tensor.dim() == 3 else tensor
