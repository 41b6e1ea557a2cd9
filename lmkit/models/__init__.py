"""Models: where they come from, where they run, and one forward pass with its text.

Importing this package imports neither torch nor transformers; its functions do when called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmkit.models.hardware import devices
    from lmkit.models.loaded import HuggingFaceModel
    from lmkit.models.store import ModelStore
    from lmkit.models.text_trace import ModelTrace

__all__ = ["HuggingFaceModel", "ModelStore", "ModelTrace", "devices"]

_HOMES = {
    "HuggingFaceModel": "lmkit.models.loaded",
    "ModelStore": "lmkit.models.store",
    "ModelTrace": "lmkit.models.text_trace",
    "devices": "lmkit.models.hardware",
}


def __getattr__(name: str) -> Any:
    """Import a public name at its first use, so that ``%load_ext lmkit`` stays quick."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(home), name)
