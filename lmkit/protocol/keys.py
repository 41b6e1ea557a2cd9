"""Names of tiles. One grammar, spelled the same in ``js/protocol/src/keys.ts``.

========================  ==========================  ============================================
key                       shape                       what
========================  ==========================  ============================================
``thumb/L``               (heads, n, n)               mass-pooled thumbnails of all heads
``head/L/H``              (rows, columns) <= 512      the head, mass-pooled above 512 tokens
``rows/L/H/A-B``          (B - A, keys) float32       exact rows A to B (B excluded) of a head
``sum/L/H/A,B,...``       (keys,) float32             exact sum over the chosen query tokens
``from/L/H/A,B,...``      (queries,) float32          exact attention from each query to the keys
========================  ==========================  ============================================

L indexes the layers of the view's spec, H the heads of that layer.
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from lmkit.errors import ProtocolError

__all__ = ["Key", "format_key", "parse_key"]

Kind = Literal["thumb", "head", "rows", "sum", "from"]

_N = r"(?:0|[1-9][0-9]{0,7})"
_GRAMMAR = re.compile(
    rf"(?:(?P<thumb>thumb)/(?P<l0>{_N}))"
    rf"|(?:(?P<head>head)/(?P<l1>{_N})/(?P<h1>{_N}))"
    rf"|(?:(?P<rows>rows)/(?P<l2>{_N})/(?P<h2>{_N})/(?P<a>{_N})-(?P<b>{_N}))"
    rf"|(?:(?P<sum>sum|from)/(?P<l3>{_N})/(?P<h3>{_N})/(?P<t>{_N}(?:,{_N})*))"
)


class Key(msgspec.Struct, frozen=True):
    """A parsed key. ``tokens`` holds (A, B) for ``rows`` and the tokens for ``sum``, ``from``."""

    kind: Kind
    layer: int
    head: int = 0
    tokens: tuple[int, ...] = ()


def parse_key(text: str) -> Key:
    """Parse a key.

    Raises:
        ProtocolError: the text is not of the grammar above.
    """
    match = _GRAMMAR.fullmatch(text)
    if match is None:
        raise ProtocolError(f"{text[:80]!r} is not the name of a tile.")
    found = match.groupdict()
    if found["thumb"]:
        return Key("thumb", int(found["l0"]))
    if found["head"]:
        return Key("head", int(found["l1"]), int(found["h1"]))
    if found["rows"]:
        first, last = int(found["a"]), int(found["b"])
        if last <= first:
            raise ProtocolError(f"The rows of {text!r} are empty.")
        return Key("rows", int(found["l2"]), int(found["h2"]), (first, last))
    kind: Kind = "sum" if found["sum"] == "sum" else "from"
    tokens = tuple(int(number) for number in found["t"].split(","))
    return Key(kind, int(found["l3"]), int(found["h3"]), tokens)


def format_key(key: Key) -> str:
    """Spell a key; the inverse of :func:`parse_key`."""
    if key.kind == "thumb":
        return f"thumb/{key.layer}"
    if key.kind == "head":
        return f"head/{key.layer}/{key.head}"
    if key.kind == "rows":
        return f"rows/{key.layer}/{key.head}/{key.tokens[0]}-{key.tokens[1]}"
    return f"{key.kind}/{key.layer}/{key.head}/{','.join(map(str, key.tokens))}"
