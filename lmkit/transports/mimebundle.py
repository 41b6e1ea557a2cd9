"""One output in its five forms, in the order of preference of every front end."""

from __future__ import annotations

import base64
import json
from typing import Any

from lmkit.open_views import ServedView
from lmkit.protocol.codec import MIME, to_builtins
from lmkit.protocol.messages import Bundle, Live
from lmkit.session import Session
from lmkit.settings import options
from lmkit.transports.html import to_html
from lmkit.transports.picture import describe, draw
from lmkit.transports.snapshot import bundle_of, for_html, snapshot, undated
from lmkit.views.panel import PanelView

__all__ = ["WIDGET_MIME", "forms", "mimebundle"]

ROUNDS = 3
"""Tries to bring an output into a small budget; the first one does it in all but the smallest."""
WIDGET_MIME = "application/vnd.jupyter.widget-view+json"


def mimebundle(
    session: Session,
    view: ServedView,
    *,
    widget: dict[str, Any] | None = None,
    budget: int | None = None,
) -> dict[str, Any]:
    """The MIME bundle of a view.

    Args:
        session: The kernel's session.
        view: The view.
        widget: Value of the widget's MIME type; left out where there is no kernel to serve it.
        budget: Bytes for all forms together; ``lmkit.options.budget`` without.

    Returns:
        MIME type -> value; the widget first, which VS Code needs, then lmkit's own.
    """
    budget = options.budget if budget is None else budget
    live = Live(session=session.id, view=view.id)
    room = budget // 2
    for _ in range(ROUNDS):
        if isinstance(view, PanelView):
            bundle = undated(snapshot(view, live, budget=room))
        else:
            bundle = bundle_of(view.spec(), live)
        picture = draw(bundle)
        encoded = base64.b64encode(picture).decode("ascii")
        words = describe(bundle.spec)
        data = to_builtins(bundle)
        page = to_html(for_html(bundle), picture, words)
        rest = len(json.dumps(data, ensure_ascii=False).encode())
        rest += len(encoded) + len(words.encode())
        if rest + len(page.encode()) > budget:
            page = to_html(None, picture, words)  # lmkit's own form has the numbers
        over = rest + len(page.encode()) - budget
        if over <= 0 or bundle.heads_carried == 0:
            break
        carried = sum(len(tile.data) for tile in bundle.tiles)
        room = max(0, min(room, carried) - over)
    forms: dict[str, Any] = {} if widget is None else {WIDGET_MIME: widget}
    forms[MIME] = data
    forms["text/html"] = page
    forms["image/png"] = encoded
    forms["text/plain"] = words
    return forms


def forms(bundle: Bundle) -> dict[str, Any]:
    """The forms of an output that has no kernel, from its saved view, in the same order.

    Args:
        bundle: The view; its size is its own affair.

    Returns:
        MIME type -> value.
    """
    picture, words = draw(bundle), describe(bundle.spec)
    return {
        MIME: to_builtins(bundle),
        "text/html": to_html(for_html(bundle), picture, words),
        "image/png": base64.b64encode(picture).decode("ascii"),
        "text/plain": words,
    }
