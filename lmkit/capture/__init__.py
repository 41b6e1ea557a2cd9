"""Capture: queries and keys of one forward pass, attention computed from them on demand.

    with capture(model) as trace:
        output = model(**inputs)
    trace.attention(layer=0, head=3)      # (queries, keys) float32

See docs/capture.md for what is recorded, how exact it is, and what it costs.
"""

from __future__ import annotations

import sys
from types import ModuleType

from lmkit.capture.context import TOLERANCE, capture, trace_forward
from lmkit.capture.generation import Generation, StepInfo
from lmkit.capture.trace import LayerInfo, QKPair, Trace

__all__ = [
    "TOLERANCE",
    "Generation",
    "LayerInfo",
    "QKPair",
    "StepInfo",
    "Trace",
    "capture",
    "trace_forward",
]


class _Callable(ModuleType):
    """Lets ``lmkit.capture(model)`` work: importing this package makes that name a module."""

    __call__ = staticmethod(capture)


sys.modules[__name__].__class__ = _Callable
