"""Names of tiles. One grammar, spelled the same in ``js/protocol/src/keys.ts``.

========================  ==========================  ============================================
key                       shape                       what
========================  ==========================  ============================================
``thumb/L``               (heads, n, n)               mass-pooled thumbnails of all heads
``thumb/L/A-B``           (B - A, n, n)               those of heads A to B (B excluded)
``glance/L``, ``/L/A-B``  as ``thumb``                the same of a few rows only, soon there
``head/L/H``              (rows, columns) <= 512      the head, mass-pooled above 512 tokens
``map/L/H/Z/R/C``         (rows, columns) <= 256      tile (R, C) of its map at level Z (levels.py)
``rows/L/H/A-B``          (B - A, keys) float32       exact rows A to B (B excluded) of a head
``sum/L/H/A,B,...``       (keys,) float32             exact sum over the chosen query tokens
``from/L/H/A,B,...``      (queries,) float32          exact attention from each query to the keys
``query-groups/L``        (queries,) float32          for each query of the pass its row of a lens
``key-groups/L``          (keys,) float32             for each key of the pass its column of a lens
``q/L/H/A-B``             (B - A, d) float32          query vectors A to B (B excluded)
``k/L/H/A-B``             (B - A, d) float32          key vectors as the head reads them
``v/L/H/A-B``             (B - A, width) float32      value vectors, where they were kept
``score/L/H/A-B``         (B - A, keys) float32       what enters the softmax, row by row
========================  ==========================  ============================================

Groups are -1 for a token that the lens hides.

Where a mask closes a cell its ``score`` is :data:`MASKED`, the lowest float32, whatever number the
model itself adds there. Views ask for vectors in blocks of :data:`VECTOR_BLOCK` and for scores in
blocks of :data:`SCORE_BLOCK` rows that begin at a multiple of the block, so that a saved output can
carry what will be asked for.

L indexes the layers of the view's spec, H the heads of that layer. Any key may end in ``@NAME``:
the same tile seen through a lens of the spec, whose tokens are those that the numbers count.
"""

from __future__ import annotations

import re
from typing import Final, Literal

import msgspec

from lmkit.errors import ProtocolError

__all__ = ["FORMS", "MASKED", "SCORE_BLOCK", "VECTOR_BLOCK", "Key", "format_key", "parse_key"]

MASKED: Final = -3.4028234663852886e38
"""The score of a cell that a mask closes: the lowest float32, since a tile holds finite numbers."""
VECTOR_BLOCK: Final = 64
"""Queries, keys or values that a view asks for at once."""
SCORE_BLOCK: Final = 8
"""Rows of scores that a view asks for at once."""

Kind = Literal[
    "thumb",
    "glance",
    "head",
    "map",
    "rows",
    "sum",
    "from",
    "query-groups",
    "key-groups",
    "q",
    "k",
    "v",
    "score",
]
Form = Literal["layer", "heads", "head", "level", "range", "tokens"]

FORMS: Final[dict[Kind, Form]] = {
    "thumb": "heads",
    "glance": "heads",
    "head": "head",
    "map": "level",
    "rows": "range",
    "sum": "tokens",
    "from": "tokens",
    "query-groups": "layer",
    "key-groups": "layer",
    "q": "range",
    "k": "range",
    "v": "range",
    "score": "range",
}
"""What each kind of tile is named by: a layer; a layer, perhaps with heads A-B; a head; a head with
level, tile row and tile column; a head and A-B; a head and tokens."""

_N = r"(?:0|[1-9][0-9]{0,7})"
_REST: Final[dict[Form, str]] = {
    "layer": rf"(?P<layer>{_N})",
    "heads": rf"(?P<layer>{_N})(?:/(?P<first>{_N})-(?P<last>{_N}))?",
    "head": rf"(?P<layer>{_N})/(?P<head>{_N})",
    "level": rf"(?P<layer>{_N})/(?P<head>{_N})/(?P<z>{_N})/(?P<r>{_N})/(?P<c>{_N})",
    "range": rf"(?P<layer>{_N})/(?P<head>{_N})/(?P<first>{_N})-(?P<last>{_N})",
    "tokens": rf"(?P<layer>{_N})/(?P<head>{_N})/(?P<tokens>{_N}(?:,{_N})*)",
}
_LENS = r"(?:@(?P<lens>[a-z][a-z0-9-]{0,63}))?"
_GRAMMARS = {form: re.compile(rest + _LENS) for form, rest in _REST.items()}


class Key(msgspec.Struct, frozen=True):
    """A parsed key.

    ``tokens`` holds (A, B) for a range of rows or heads, nothing for all heads, (level, row,
    column) for a tile of a map, the tokens for ``sum`` and ``from``. ``lens`` is empty for the
    attention itself.
    """

    kind: Kind
    layer: int
    head: int = 0
    tokens: tuple[int, ...] = ()
    lens: str = ""


def parse_key(text: str) -> Key:
    """Parse a key.

    Raises:
        ProtocolError: the text is not of the grammar above.
    """
    kind, _, rest = text.partition("/")
    form = FORMS.get(kind)  # type: ignore[call-overload]
    match = None if form is None else _GRAMMARS[form].fullmatch(rest)
    if match is None:
        raise ProtocolError(f"{text[:80]!r} is not the name of a tile.")
    found = match.groupdict()
    tokens: tuple[int, ...] = ()
    if found.get("first") is not None:
        tokens = int(found["first"]), int(found["last"])
        if tokens[1] <= tokens[0]:
            raise ProtocolError(f"The range of {text!r} is empty.")
    elif form == "level":
        tokens = int(found["z"]), int(found["r"]), int(found["c"])
    elif form == "tokens":
        tokens = tuple(int(number) for number in found["tokens"].split(","))
    return Key(
        kind,  # type: ignore[arg-type]
        int(found["layer"]),
        int(found.get("head") or 0),
        tokens,
        found["lens"] or "",
    )


def format_key(key: Key) -> str:
    """Spell a key; the inverse of :func:`parse_key`."""
    form = FORMS[key.kind]
    parts = [key.kind, str(key.layer)]
    if form not in ("layer", "heads"):
        parts.append(str(key.head))
    if form == "range" or (form == "heads" and key.tokens):
        parts.append(f"{key.tokens[0]}-{key.tokens[1]}")
    elif form == "level":
        parts.extend(map(str, key.tokens))
    elif form == "tokens":
        parts.append(",".join(map(str, key.tokens)))
    return "/".join(parts) + (f"@{key.lens}" if key.lens else "")
