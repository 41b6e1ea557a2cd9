"""Analyses over all heads: which are worth a look, and what changes without them.

The head map (docs/head-map.md) scores every head for known patterns; interventions
(docs/interventions.md) switch heads off and measure what the output does. Importing this package
imports neither torch nor numpy; its functions do when called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmkit.analysis.ablation import CausalMap, Pass, ablate, sweep
    from lmkit.analysis.effects import Effect, Outcome, effect
    from lmkit.analysis.head_map import HeadScores, map_heads, score_heads
    from lmkit.analysis.measures import MEASURES, Measure

__all__ = [
    "MEASURES",
    "CausalMap",
    "Effect",
    "HeadScores",
    "Measure",
    "Outcome",
    "Pass",
    "ablate",
    "effect",
    "map_heads",
    "score_heads",
    "sweep",
]

_HOMES = {
    "MEASURES": "measures",
    "CausalMap": "ablation",
    "Effect": "effects",
    "HeadScores": "head_map",
    "Measure": "measures",
    "Outcome": "effects",
    "Pass": "ablation",
    "ablate": "ablation",
    "effect": "effects",
    "map_heads": "head_map",
    "score_heads": "head_map",
    "sweep": "ablation",
}


def __getattr__(name: str) -> Any:
    """Import a public name at its first use."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{home}"), name)
