"""Cut a text into words by Unicode alone, the same for every model.

Tokenizers disagree on what a word is (BERT cuts "don't" into three, a Llama without a
pre-tokenizer takes the whole text for one), so the words of a trace come from the text.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from lmkit.protocol.words import Word, Words

__all__ = ["assign", "clean_text", "segment"]

_APOSTROPHES = "'\u2019\uff07"
_JOINER = "\u200d"
_IDEOGRAPHS = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x323AF),
)


def clean_text(text: str) -> str:
    """Put U+FFFD for each lone surrogate: no tokenizer and no JSON can carry one.

    The length stays, and with it every position in the text.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        pass
    else:
        return text
    return "".join("\ufffd" if 0xD800 <= ord(c) <= 0xDFFF else c for c in text)


def segment(text: str, until: int | None = None) -> list[tuple[int, int]]:
    """Spans (start, end) of the words of a text, in order, without white space.

    Letters, digits, marks and the apostrophe between them make up a word; each Chinese character
    is a word, as BERT has it; any other character is one, with the marks, variation selectors
    and joined emoji that follow it. With ``until``, only those that begin before it.
    """
    spans: list[tuple[int, int]] = []
    at, length = 0, len(text)
    stop = length if until is None else min(until, length)
    while at < stop:
        kind = _kind(text[at])
        if kind == " ":
            at += 1
            continue
        start = at
        at += 1
        if kind == "w":
            while at < length and _continues_word(text, at):
                at += 1
        else:
            while at < length and _continues_symbol(text, at):
                at += 1
        spans.append((start, at))
    return spans


def assign(text: str, offsets: Sequence[tuple[int, int] | None]) -> tuple[Words, list[int | None]]:
    """Give each token its word.

    Words that share a token are joined, since no number of that token belongs to one of them
    alone; words without a token (cut off, or dropped by the tokenizer) are left out.

    Args:
        text: The text that the offsets count in.
        offsets: For each token its (start, end), or None for special tokens.

    Returns:
        The words, and for each token the index of its word (None for special tokens and white
        space).
    """
    # Of a text of megabytes that was cut, only the part that was read is looked at.
    until = max((offset[1] for offset in offsets if offset), default=0)
    spans = segment(text, until)
    of_char = [-1] * max(until, spans[-1][1] if spans else 0)
    for index, (start, end) in enumerate(spans):
        of_char[start:end] = [index] * (end - start)
    parent = list(range(len(spans)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    firsts: list[int | None] = []
    for offset in offsets:
        touched = sorted(set(of_char[offset[0] : offset[1]]) - {-1}) if offset else []
        firsts.append(touched[0] if touched else None)
        for index in touched[1:]:
            a, b = root(touched[0]), root(index)
            parent[max(a, b)] = min(a, b)
    tokens_of: dict[int, list[int]] = {}
    for token, first in enumerate(firsts):
        if first is not None:
            tokens_of.setdefault(root(first), []).append(token)
    bounds: dict[int, tuple[int, int]] = {}
    for index, (start, end) in enumerate(spans):
        group = root(index)
        known = bounds.get(group, (start, end))
        bounds[group] = (min(known[0], start), max(known[1], end))
    order = {group: number for number, group in enumerate(sorted(tokens_of))}
    words = [
        Word(text[bounds[g][0] : bounds[g][1]], bounds[g][0], bounds[g][1], tuple(tokens_of[g]))
        for g in order
    ]
    numbers = [None if first is None else order[root(first)] for first in firsts]
    return Words(text, words), numbers


def _kind(char: str) -> str:
    """``" "`` for white space and controls, ``"w"`` for letters and digits, else ``"."``."""
    if char.isspace():
        return " "
    category = unicodedata.category(char)
    if category[0] == "Z" or category == "Cc":
        return " "
    code = ord(char)
    if any(first <= code <= last for first, last in _IDEOGRAPHS):
        return "."
    if category[0] in "LNM" or category in ("Co", "Cn") or char == "_":
        return "w"
    return "."


def _continues_word(text: str, at: int) -> bool:
    char = text[at]
    if _kind(char) == "w":
        return True
    if char in ("\u200c", _JOINER, "\u00ad"):
        return True
    return char in _APOSTROPHES and at + 1 < len(text) and _kind(text[at + 1]) == "w"


def _continues_symbol(text: str, at: int) -> bool:
    char, before = text[at], text[at - 1]
    if unicodedata.category(char)[0] == "M" or char == _JOINER:
        return True
    if 0x1F3FB <= ord(char) <= 0x1F3FF:  # skin tones
        return True
    return before == _JOINER and _kind(char) == "."
