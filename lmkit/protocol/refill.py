"""What a saved output asks a kernel that can only execute code: its missing tiles.

VS Code lends extensions a kernel through ``executeCode`` alone. The extension writes a
:class:`RefillRequest` into one call of :func:`lmkit.transports.refill.refill`, which answers with a
:class:`Refilled` under :data:`REFILL_MIME`. See docs/protocol.md.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from lmkit.errors import ProtocolError
from lmkit.protocol.messages import ErrorInfo, Id, Line, SavedTile, Struct, TileKey, ViewSpec

__all__ = ["MAX_REQUEST", "REFILL_MIME", "RefillRequest", "Refilled", "decode_refill"]

REFILL_MIME: Final = "application/vnd.lmkit.refill.v1+json"
"""MIME type of the answer among the outputs of the code."""
MAX_REQUEST: Final = 200_000
"""Characters of a request in its JSON form: 32 names of tiles are shorter."""

State = Annotated[str, Meta(max_length=64)]


class RefillRequest(Struct, frozen=True, kw_only=True):
    """Tiles of a view that a saved output has not; without ``keys`` whether they can be had.

    ``session`` and ``view`` are those of :class:`lmkit.protocol.messages.Live`; ``state`` is the
    digest of the spec that the page has, saved or sent since.
    """

    session: Id
    view: Id
    state: State = ""
    keys: Annotated[tuple[TileKey, ...], Meta(max_length=32)] = ()


class RefusedTile(Struct, frozen=True, kw_only=True):
    """A tile that could not be computed."""

    key: TileKey
    error: ErrorInfo


class Refilled(Struct, frozen=True, kw_only=True):
    """Answer to a :class:`RefillRequest`.

    Where ``error`` is set nothing else is. ``spec`` is there, and no tile, where the view's digest
    is another than the page's: the page compares, since a selection changes the digest and no
    number. Tiles asked for that are neither given nor refused did not fit: ask again.
    """

    version: Line
    state: State = ""
    spec: ViewSpec | None = None
    tiles: Annotated[tuple[SavedTile, ...], Meta(max_length=32)] = ()
    refused: Annotated[tuple[RefusedTile, ...], Meta(max_length=32)] = ()
    error: ErrorInfo | None = None


def decode_refill(text: str) -> RefillRequest:
    """Check a request.

    Raises:
        ProtocolError: too long, no JSON, or no such request.
    """
    if len(text) > MAX_REQUEST:
        raise ProtocolError(
            f"The request has {len(text):,} characters; {MAX_REQUEST:,} are read at most."
        )
    try:
        return msgspec.json.decode(text, type=RefillRequest)
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError) as error:
        raise ProtocolError(f"This is no request for tiles: {error}.") from error
