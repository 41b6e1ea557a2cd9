"""Which tokens an output rests on: Captum's attributions, and how far each can be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lmkit.api import RegisterView, hookimpl
from lmkit_attribution.views import AttributionView

if TYPE_CHECKING:
    from lmkit_attribution.asking import attribute
    from lmkit_attribution.scores import Attribution, Curve, Faithfulness, Settings

__all__ = [
    "Attribution",
    "AttributionView",
    "Curve",
    "Faithfulness",
    "Settings",
    "attribute",
    "lmkit_host_api",
    "lmkit_register_views",
]

lmkit_host_api = ">=1,<2"

_HOMES = {
    "Attribution": "scores",
    "Curve": "scores",
    "Faithfulness": "scores",
    "Settings": "scores",
    "attribute": "asking",
}


@hookimpl
def lmkit_register_views(register: RegisterView) -> None:
    """Offer the view."""
    register(AttributionView)


def __getattr__(name: str) -> Any:
    """Import what needs torch and Captum when it is first asked for."""
    from importlib import import_module

    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
