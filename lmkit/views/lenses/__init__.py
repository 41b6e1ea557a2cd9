"""The lenses that a pass can be seen through."""

from __future__ import annotations

from lmkit.views.lens import Lens

__all__ = ["LENSES"]

LENSES: dict[str, Lens] = {}
"""By name."""
