"""Starter models: real weights without a model hub.

``resolve("sentiment")`` gives a folder that ``from_pretrained`` takes. Five names are known; what
they are and where their weights come from is in :mod:`~lmkit.models.starters.catalog`.
Nothing heavy is imported until a model is built.
"""

from __future__ import annotations

from lmkit.models.starters.catalog import Starter, info, names
from lmkit.models.starters.store import StarterStatus, install, resolve, status

__all__ = ["Starter", "StarterStatus", "info", "install", "names", "resolve", "status"]
