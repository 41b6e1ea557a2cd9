"""The part of a long result that a page draws: more would only be sent, saved and left out."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from lmkit.protocol.messages import Result, Spans

__all__ = ["parts_of"]

CHARACTERS = 20_000
SPANS = 1_000
BEFORE = 2_000
"""Characters of the text before what the explorer shows."""


def parts_of(results: Iterable[Result]) -> tuple[Result, ...]:
    """The results as pages get them; Python keeps them whole."""
    return tuple(_marked(one) if isinstance(one, Spans) else one for one in results)


def _marked(result: Spans) -> Spans:
    """A text around the first of its spans that the explorer's pass holds, else its beginning."""
    length = len(result.text)
    if length <= CHARACTERS and len(result.spans) <= SPANS:
        return result
    seen = next((span for span in result.spans if span.tokens), None)
    shown = 0 if seen is None else seen.start
    start = max(0, min(shown - BEFORE, length - CHARACTERS))
    # No word is cut, where there are blanks between words.
    start = 0 if start == 0 else max(result.text.find(" ", start, shown), start)
    end = min(length, start + CHARACTERS)
    inside = [span for span in result.spans if span.start < end and start < span.end]
    first = 0 if seen is None else max(0, inside.index(seen) - SPANS // 4)
    return msgspec.structs.replace(
        result,
        text=result.text[start:end],
        spans=tuple(inside[first : first + SPANS]),
        offset=start,
        whole_characters=length,
        whole_spans=len(result.spans),
    )
