"""Attention of somebody else's pass, for those who may not import the capture themselves."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

__all__ = ["record"]


def record(
    model: Any, *, values: bool = False, gradients: bool = False
) -> AbstractContextManager[Any]:
    """:func:`lmkit.capture.capture` without its self-check, for a pass that is made many times.

    A training step would pay for the check each time, and in train mode dropout would fail it.
    """
    from lmkit.capture import capture

    # Tensors that carry a gradient can't move to the host's memory behind the graph's back.
    offload: Any = "never" if gradients else "auto"
    return capture(model, values=values, check=False, offload=offload, gradients=gradients)
