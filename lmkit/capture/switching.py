"""One pass on another attention implementation, and everything as before afterwards.

Only for what can't be recorded in place: flash and flex attention take masks of another kind,
and models with an attention of their own return it on eager alone. One lock for the process: a
config may be shared by several models.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from lmkit.capture.anatomy import configs_of
from lmkit.errors import Cancelled, CaptureError

__all__ = ["foreign_implementation", "on_implementation"]

_LOCK = threading.RLock()
_ATTRIBUTE = "_attn_implementation_internal"


def _name_of(config: Any) -> str | None:
    name = getattr(config, _ATTRIBUTE, None)
    return name if isinstance(name, str) else None


def foreign_implementation(model: nn.Module) -> str | None:
    """The implementation in force, where its calls can't be read as they stand; else None.

    Flash kernels get a padding mask of shape (B, K) or packed lengths, flex attention a compiled
    block mask, paged attention a cache of its own.
    """
    for config in configs_of(model):
        name = _name_of(config) or ""
        if any(part in name for part in ("flash", "flex", "paged", "/")):
            return name
    return None


@contextmanager
def on_implementation(
    model: nn.Module, name: str, cancel: Callable[[], bool] | None = None
) -> Iterator[str]:
    """Run the block with every config of ``model`` on ``name``; yields what was before.

    ``cancel`` is asked while another thread's block is waited for.

    The snapshot holds each config and sub-config apart, so that a composite model whose parts
    differ is put back as it was.

    Raises:
        Cancelled: ``cancel`` answered True.
        CaptureError: the configs don't hold the attribute (transformers older than 4.56).
    """
    while not _LOCK.acquire(timeout=0.1):
        if cancel is not None and cancel():
            raise Cancelled("Stopped while waiting for another captured pass.")
    try:
        configs = configs_of(model)
        before = [(c, c.__dict__[_ATTRIBUTE]) for c in configs if _ATTRIBUTE in c.__dict__]
        if not before:
            raise CaptureError(
                "The attention implementation of this model can't be changed for one pass.",
                hint=f"Load it with attn_implementation='{name}'.",
            )
        old = _name_of(getattr(model, "config", None)) or "eager"
        try:
            for config, _ in before:
                config.__dict__[_ATTRIBUTE] = name
            yield old
        finally:
            for config, value in before:
                config.__dict__[_ATTRIBUTE] = value
    finally:
        _LOCK.release()
