"""Encode and decode messages, and turn any exception into an :class:`ErrorInfo`."""

from __future__ import annotations

import base64
import binascii
import hashlib
import traceback
import zlib
from collections.abc import Mapping
from typing import Any

import msgspec

from lmkit.errors import LmkitError, ProtocolError
from lmkit.protocol.messages import (
    PROTOCOL,
    Bundle,
    ErrorInfo,
    Outgoing,
    Request,
    SavedTile,
    TileHeader,
    ViewSpec,
)

__all__ = [
    "MIME",
    "decode_bundle",
    "decode_outgoing",
    "decode_request",
    "error_info",
    "load_tile",
    "save_tile",
    "state_of",
    "to_builtins",
]

MIME = "application/vnd.lmkit.view.v1+json"
"""lmkit's MIME type in notebook outputs."""

MAX_TILE_BYTES = 64 * 1024 * 1024
_MAX_TEXT = 100_000
_ITEM_BYTES = {"f32": 4, "sqrt-u6": 1, "sqrt-u8": 1, "sqrt-u16": 2}


def _well_formed(data: Any) -> Any:
    """Replaces lone surrogates by U+FFFD: a browser's text may hold them, and UTF-8 cannot."""
    if isinstance(data, str):
        if data.isascii():
            return data
        return data.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(data, Mapping):
        return {_well_formed(name): _well_formed(value) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [_well_formed(item) for item in data]
    return data


def _convert(data: Any, type_: Any) -> Any:
    return msgspec.convert(_well_formed(data), type_)


def decode_request(data: Any) -> Request:
    """Check a request that came over a comm or stdio.

    Args:
        data: The JSON value, already parsed to builtins.

    Raises:
        ProtocolError: it is not a request of this protocol.
    """
    try:
        request: Request = _convert(data, Request)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ProtocolError(f"The kernel cannot read this request: {error}.") from error
    return request


def state_of(spec: ViewSpec) -> str:
    """Return a digest of a spec, by which a page and its kernel know that they have the same."""
    return hashlib.blake2b(msgspec.json.encode(spec), digest_size=16).hexdigest()


def decode_outgoing(data: Any) -> Outgoing:
    """Check an answer or event; raises ProtocolError."""
    try:
        message: Outgoing = _convert(data, Outgoing)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ProtocolError(f"This is no answer of lmkit's protocol: {error}.") from error
    return message


def decode_bundle(data: Any) -> Bundle:
    """Check a saved output.

    Raises:
        ProtocolError: another protocol version, or not a bundle.
    """
    if isinstance(data, Mapping):
        version = data.get("protocol")
        if isinstance(version, int) and version != PROTOCOL:
            raise ProtocolError(
                f"This output was saved with protocol {version}; this lmkit reads {PROTOCOL}.",
                hint="Run the cell again, or install the lmkit that saved it.",
            )
    try:
        bundle: Bundle = _convert(data, Bundle)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ProtocolError(f"This saved output cannot be read: {error}.") from error
    return bundle


def to_builtins(message: Any) -> dict[str, Any]:
    """A message as JSON-able builtins with its JSON names."""
    builtins: dict[str, Any] = msgspec.to_builtins(message)
    return builtins


def error_info(error: BaseException) -> ErrorInfo:
    """Describe any exception for people; never raises.

    An error that lmkit did not foresee keeps its type in the message and its traceback in the
    details, so that nothing is swallowed.
    """
    if isinstance(error, LmkitError):
        code, message, hint, details = (
            error.code,
            error.message,
            error.hint,
            error.details,
        )
    else:
        try:
            text = str(error)
        except Exception:  # a plugin's exception may raise in __str__
            text = "(its message cannot be shown)"
        code, message, hint = "unforeseen", f"{type(error).__name__}: {text}", ""
        details = "".join(traceback.format_exception(error))
    return ErrorInfo(
        code=code,
        message=message[:_MAX_TEXT],
        hint=hint[:_MAX_TEXT],
        details=details[-_MAX_TEXT:],
    )


def save_tile(header: TileHeader, data: bytes) -> SavedTile:
    """Put a tile into its saved form: base64 of raw deflate, as DecompressionStream reads it."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(data) + packer.flush()
    return SavedTile(
        key=header.key,
        shape=header.shape,
        encoding=header.encoding,
        data=base64.b64encode(packed).decode("ascii"),
    )


def tile_bytes(header: TileHeader) -> int:
    """How many bytes a tile of this header has."""
    count = _ITEM_BYTES[header.encoding]
    for size in header.shape:
        count *= size
    return count


def load_tile(tile: SavedTile) -> bytes:
    """Unpack a saved tile, never more bytes than its shape allows.

    Raises:
        ProtocolError: truncated, malformed, or another size than its shape says.
    """
    expected = tile_bytes(tile)
    if expected > MAX_TILE_BYTES:
        raise ProtocolError(f"Tile {tile.key} claims {expected} bytes, more than is read.")
    try:
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
        packed = base64.b64decode(tile.data, validate=True)
        data = unpacker.decompress(packed, expected + 1)
        whole = unpacker.eof and not unpacker.unused_data
    except (binascii.Error, ValueError, zlib.error) as error:
        raise ProtocolError(f"Tile {tile.key} is damaged: {error}.") from error
    if len(data) != expected or not whole:
        raise ProtocolError(f"Tile {tile.key} has not the {expected} bytes that its shape asks.")
    return data
