"""The JSON Schema of the protocol, for the generators of ``js/protocol``."""

from __future__ import annotations

from typing import Any

import msgspec

from lmkit.protocol import messages, refill, rpc

__all__ = ["schema"]

_ROOTS = {
    "Request": messages.Request,
    "Outgoing": messages.Outgoing,
    "Bundle": messages.Bundle,
    "ViewSpec": messages.ViewSpec,
    "FieldSpec": messages.FieldSpec,
    "Result": messages.Result,
    **{name: getattr(rpc, name) for name in rpc.__all__},
    "RefillRequest": refill.RefillRequest,
    "Refilled": refill.Refilled,
}


def schema() -> dict[str, Any]:
    """JSON Schema 2020-12 with one definition for each struct and for each union of them."""
    roots, components = msgspec.json.schema_components(
        list(_ROOTS.values()), ref_template="#/$defs/{name}"
    )
    definitions: dict[str, Any] = dict(components)
    for name, root in zip(_ROOTS, roots, strict=True):
        if root.get("$ref") != f"#/$defs/{name}":
            definitions[name] = root
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"lmkit-protocol-{messages.PROTOCOL}",
        "title": "lmkit view protocol",
        "$defs": definitions,
    }
