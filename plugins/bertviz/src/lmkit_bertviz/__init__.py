"""BertViz's three views over lmkit's capture: any architecture, no network, tokens as text."""

from __future__ import annotations

from lmkit.api import RegisterView, hookimpl
from lmkit_bertviz.views import HeadView, ModelView, NeuronView

__all__ = ["HeadView", "ModelView", "NeuronView", "lmkit_host_api", "lmkit_register_views"]

lmkit_host_api = ">=1,<2"


@hookimpl
def lmkit_register_views(register: RegisterView) -> None:
    """Offer the three views."""
    for view in (HeadView, ModelView, NeuronView):
        register(view)
