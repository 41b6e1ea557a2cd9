"""Tiles for a saved output, asked for by code that an editor executes in the kernel.

There is no channel here: one call, one answer, displayed under a MIME type of its own that no
front end draws. Nothing is run or changed by it; what is asked for is checked, and so is how much.
"""

from __future__ import annotations

from collections.abc import Sequence

from lmkit.errors import LmkitError, ProtocolError, UnknownSessionError
from lmkit.kernel_session import session_if_any
from lmkit.protocol.codec import error_info, save_tile, state_of, to_builtins
from lmkit.protocol.keys import parse_key
from lmkit.protocol.messages import SavedTile
from lmkit.protocol.refill import (
    REFILL_MIME,
    Refilled,
    RefillRequest,
    RefusedTile,
    decode_refill,
)
from lmkit.session import Session
from lmkit.transports.snapshot import saved_spec
from lmkit.version import __version__
from lmkit.views.panel import PanelView

__all__ = ["answer", "refill"]

ENOUGH = 4_000_000
"""Characters of tiles after which the rest waits for the next request."""
MOST_BYTES = 32_000_000
"""Bytes of one tile, unpacked, that are put through an output of a kernel."""


def refill(text: str) -> None:
    """Answer a request in its JSON form by an output of this cell; never raises.

    Args:
        text: A :class:`~lmkit.protocol.refill.RefillRequest` as JSON.
    """
    from IPython.display import publish_display_data

    try:
        found = answer(session_if_any(), decode_refill(text))
    except Exception as error:
        found = Refilled(version=__version__, error=error_info(error))
    publish_display_data({REFILL_MIME: to_builtins(found)})


def answer(session: Session | None, request: RefillRequest) -> Refilled:
    """Compute what is asked for, as far as it fits.

    Args:
        session: The kernel's session; None where it has none.
        request: What is asked for, checked.

    Raises:
        UnknownSessionError: the output was made by another kernel, or before a restart.
        UnknownViewError: the view has been closed.
        ProtocolError: the view has no tiles.
    """
    if session is None or request.session != session.id:
        raise UnknownSessionError(
            "This output was made by another kernel, or before a restart.",
            hint="Run the cell again to go live.",
        )
    view = session.views.view(request.view)
    if not isinstance(view, PanelView) or view.tiles is None:
        raise ProtocolError("This view has no attention.", hint="Run the cell again.")
    pass_of = view.tiles
    spec = view.spec()
    state = state_of(spec)
    if state != request.state:
        return Refilled(version=__version__, state=state, spec=saved_spec(spec))
    tiles, refused = _compute(session, view.id, request.keys)
    if view.tiles is not pass_of:  # a run ended in between: these may be of either pass
        spec = view.spec()
        return Refilled(version=__version__, state=state_of(spec), spec=saved_spec(spec))
    return Refilled(version=__version__, state=state, tiles=tuple(tiles), refused=tuple(refused))


def _compute(
    session: Session, view: str, keys: Sequence[str]
) -> tuple[list[SavedTile], list[RefusedTile]]:
    """Tiles in the order asked for until there are enough, and those that cannot be had."""
    tiles: list[SavedTile] = []
    refused: list[RefusedTile] = []
    size = 0
    for key in dict.fromkeys(keys):
        if size >= ENOUGH:
            break
        try:
            parse_key(key)
            header, data = session.tile(view, key)
            if len(data) > MOST_BYTES:
                raise ProtocolError(
                    f"This tile has {len(data):,} bytes; {MOST_BYTES:,} are sent at most.",
                    hint="Run the cell again to see it live.",
                )
        except LmkitError as error:
            refused.append(RefusedTile(key=key, error=error_info(error)))
            continue
        tile = save_tile(header, data)
        size += len(tile.data)
        tiles.append(tile)
    return tiles, refused
