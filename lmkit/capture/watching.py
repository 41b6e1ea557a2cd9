"""Hearing of ``generate()`` and of caches whose rows are chosen anew.

As with the attention interface, methods of transformers are replaced once per process by
pass-throughs, which do nothing but call the method where no capture is active in the context.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import wraps
from typing import Any

import torch

from lmkit.capture.recorder import ACTIVE

__all__ = ["watch_generation"]

_lock = threading.Lock()


def watch_generation() -> None:
    """Put the pass-throughs in place; does nothing when they are there.

    transformers' generation is not imported for it: a model that generates has done so.
    """
    utils = sys.modules.get("transformers.generation.utils")
    caches = sys.modules.get("transformers.cache_utils")
    with _lock:
        mixin = getattr(utils, "GenerationMixin", None)
        if mixin is not None and not hasattr(mixin.generate, "_lmkit_watches"):
            mixin.generate = _generating(mixin.generate)
        for name in ("Cache", "EncoderDecoderCache"):
            cache = getattr(caches, name, None)
            for method, parents in _REORDERS.items():
                plain = vars(cache).get(method) if cache is not None else None
                if plain is not None and not hasattr(plain, "_lmkit_watches"):
                    setattr(cache, method, _reordering(plain, parents))


def _generating(plain: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(plain)
    def generate(self: Any, *args: Any, **kwargs: Any) -> Any:
        recorders = [r for r in ACTIVE.get() if id(self) in r.names]
        if not recorders:
            return plain(self, *args, **kwargs)
        calls = [(r.passes, r.passes.enter(self, args, kwargs)) for r in recorders]
        output = None
        with ExitStack() as stack:
            # A static cache makes generate() compile the model, whose attention is then inlined.
            stack.enter_context(torch.compiler.set_stance("force_eager"))
            try:
                output = plain(self, *args, **kwargs)
            finally:
                for passes, call in calls:
                    passes.leave(call, output)
        return output

    generate._lmkit_watches = True  # type: ignore[attr-defined]
    return generate


def _reordering(
    plain: Callable[..., Any], parents_of: Callable[[Any, int], torch.Tensor]
) -> Callable[..., Any]:
    @wraps(plain)
    def reorder(self: Any, given: Any) -> Any:
        for recorder in ACTIVE.get():
            run = recorder.passes.run_of(self)
            if run is not None:
                run.reorder(parents_of(given, run.steps[-1].batch))
        return plain(self, given)

    reorder._lmkit_watches = True  # type: ignore[attr-defined]
    return reorder


def _given(rows: Any, batch: int) -> torch.Tensor:
    index = torch.as_tensor(rows)
    return torch.nonzero(index).reshape(-1) if index.dtype == torch.bool else index


def _repeated(repeats: int, batch: int) -> torch.Tensor:
    return torch.arange(batch).repeat_interleave(repeats)


_REORDERS: dict[str, Callable[[Any, int], torch.Tensor]] = {
    "reorder_cache": _given,
    "batch_select_indices": _given,
    "batch_repeat_interleave": _repeated,
}
