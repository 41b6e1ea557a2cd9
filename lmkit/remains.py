"""Where the texts of a notebook's outputs still stand in it, once the outputs are stripped.

What the user wrote and printed is the user's own: it is looked through and never changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

from lmkit.protocol.messages import Bundle, PanelSpec, TextField

__all__ = ["pieces_of", "places_with", "texts_of"]

RUN = 4
"""Words in a row that make a piece of a text: fewer stand in many places that do not quote it."""

LEAST = 4
"""Characters of the shortest piece: a text of one short word is not looked for."""

MOST = 64
"""Pieces of one text that are looked for, evenly over it."""


def texts_of(bundle: Bundle) -> Iterator[str]:
    """What was analysed: the texts of the form; where it has none, those of the tokens."""
    spec = bundle.spec
    if not isinstance(spec, PanelSpec):
        return
    values = [spec.values.get(one.name) for one in spec.fields if isinstance(one, TextField)]
    texts = [value for value in values if isinstance(value, str) and value.strip()]
    yield from texts
    if texts or spec.attention is None:
        return
    for tokens in (spec.attention.tokens, spec.attention.key_tokens):
        own = [one for one in tokens.all if not one.special] if tokens is not None else []
        words = groupby(own, lambda one: one.word)
        yield " ".join("".join(one.text.strip() for one in word) for _, word in words)


def pieces_of(texts: Iterable[str]) -> set[str]:
    """A few words in a row of each text, as :func:`places_with` looks for them."""
    found: set[str] = set()
    for text in texts:
        words = text.casefold().split()
        starts = range(max(1, len(words) - RUN + 1))
        chosen = starts[:: -(-len(starts) // MOST)]
        found.update("".join(words[start : start + RUN]) for start in chosen)
    return {piece for piece in found if len(piece) >= LEAST}


def places_with(notebook: Mapping[str, Any], pieces: set[str]) -> tuple[str, ...]:
    """The places of a notebook of format 4 that quote one of the pieces: "source of cell 2".

    Cells are counted from 1. Letter case and white space do not count.
    """
    places: list[str] = []

    def look(place: str, value: Any) -> None:
        text = "".join(_strings(value)).casefold()
        squeezed = "".join(text.split())
        if any(piece in squeezed for piece in pieces):
            places.append(place)

    for number, cell in enumerate(notebook["cells"], 1):
        if isinstance(cell, dict):
            look(f"source of cell {number}", cell.get("source"))
            look(f"output of cell {number}", cell.get("outputs"))
            rest = {name: cell[name] for name in cell if name not in ("source", "outputs")}
            look(f"metadata of cell {number}", rest)
    look("notebook's metadata", notebook.get("metadata"))
    return tuple(places)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, one in value.items():
            yield str(name)
            yield from _strings(one)
    elif isinstance(value, list):
        for one in value:
            yield from _strings(one)
