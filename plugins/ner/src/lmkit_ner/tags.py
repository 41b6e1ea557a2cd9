"""Tags of words and spans of the text that they make."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["Mark", "join_words", "spans_of_tags"]

Mark = tuple[int, int, str]
"""Start, end and kind."""


def join_words(words: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """The words with blanks between them, and the place of each."""
    places, at = [], 0
    for word in words:
        places.append((at, at + len(word)))
        at += len(word) + 1
    return " ".join(words), places


def spans_of_tags(tags: Sequence[str]) -> list[Mark]:
    """The entities that tags of words mark: index of the first word, index after the last, kind.

    IOB1, IOB2, IO, BIOES and BILOU are read, as ``seqeval`` reads them without its strict mode: a
    tag of another kind than the one before begins an entity, whatever its prefix.
    """
    found: list[Mark] = []
    start, kind = 0, ""
    previous = "O"
    for index, tag in enumerate([*tags, "O"]):
        prefix, own = _parts(tag)
        if kind and _ends(previous, kind, prefix, own):
            found.append((start, index, kind))
            kind = ""
        if not kind and prefix != "O":
            start, kind = index, own
        previous = prefix
    return found


def _parts(tag: str) -> tuple[str, str]:
    if tag in ("", "O"):
        return "O", ""
    prefix, dash, kind = tag.partition("-")
    if dash and prefix in ("B", "I", "E", "S", "L", "U"):
        return {"L": "E", "U": "S"}.get(prefix, prefix), kind or "_"
    return "I", tag  # kinds without prefixes: IO


def _ends(previous: str, kind: str, prefix: str, own: str) -> bool:
    return previous in ("E", "S") or prefix in ("B", "S", "O") or own != kind
