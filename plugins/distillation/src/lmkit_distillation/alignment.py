"""Where two models of different tokenizers have read the same characters.

A place of the one is compared with a place of the other where what both have read of a text is the
same to the character: only there do their next tokens answer one question. Boizard et al. 2024
(arXiv:2402.12030) pair the n-th token with the n-th instead, which drifts apart as soon as one
tokenizer needs more tokens for a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["NOWHERE", "characters_read", "shared_places"]

NOWHERE = -1
"""Read by a token that ends inside a character, or in another form than it stands in the text."""

_WINDOW = 64
"""Tokens after the last known place until the rest of a text is given up."""


def characters_read(tokenizer: Any, ids: Sequence[int], text: str) -> list[int]:
    """For each number of tokens, from none to all, how many characters of the text they are.

    By decoding, not by the tokenizer's offsets: those leave out spaces in some tokenizers, so that
    "a" and "a " would be one.

    Args:
        tokenizer: Made ``ids`` of ``text``.
        ids: Without special tokens at either end.
        text: What they were made of.

    Returns:
        ``len(ids) + 1`` numbers, ascending but for :data:`NOWHERE`.
    """

    def words(part: Sequence[int]) -> str:
        return str(tokenizer.decode(list(part), clean_up_tokenization_spaces=False))

    found = [0]
    # Only what follows the last known place is decoded, with the tokens since the one before it:
    # what a decoder does at the beginning, strip a space, falls on those. They are whole
    # characters, as bytes that begin within one would not decode.
    last, known, at = 0, 0, 0
    for count in range(1, len(ids) + 1):
        if count - known > _WINDOW:
            return found + [NOWHERE] * (len(ids) + 1 - count)
        before, piece = words(ids[last:known]), words(ids[last:count])
        new = piece[len(before) :] if piece.startswith(before) else None
        # U+FFFD stands for the first bytes of a character that goes on.
        if new is None or new.endswith("\ufffd") or not text.startswith(new, at):
            found.append(NOWHERE)
            continue
        last, known, at = known, count, at + len(new)
        found.append(at)
    return found


def shared_places(
    first: Sequence[int], second: Sequence[int]
) -> tuple[tuple[bool, ...], tuple[bool, ...]]:
    """Of two models' places those at which both have read the same characters.

    Args:
        first: Characters read up to each place, :data:`NOWHERE` where it is not to be compared.
        second: Of the other model.

    Returns:
        Of each model which places those are, equally many. Of several places that have read the
        same characters the last is taken.
    """
    one, other = (
        {count: place for place, count in enumerate(each) if count != NOWHERE}
        for each in (first, second)
    )
    both = one.keys() & other.keys()
    mine, theirs = ({each[count] for count in both} for each in (one, other))
    return (
        tuple(place in mine for place in range(len(first))),
        tuple(place in theirs for place in range(len(second))),
    )
