"""What goes into a page: layers that belong together, their numbers, their tokens as shown."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from lmkit.api import FieldError, TextTrace, Token, progress

if TYPE_CHECKING:
    import numpy as np

    from lmkit.views.attention import VectorTrace

__all__ = [
    "CARRIED",
    "DRAWN",
    "Kind",
    "attention_of",
    "kind_of",
    "kinds_of",
    "parse_numbers",
    "shown_tokens",
    "spelled",
    "vectors_of",
]

DRAWN = 200_000
"""SVG elements that a view draws at once. A browser takes seconds for as many, minutes for ten
times as many, and then fails."""
CARRIED = 1_000_000
"""Numbers in one page: about 8 MB of JSON; a result holds at most 16 MB."""
DECIMALS = 6
LONGEST = 40
"""Characters of a token that are drawn; BertViz leaves room for about 15."""

_MARKS = {" ": "·", "\n": "↵", "\r": "↤", "\t": "⇥", "\u00a0": "⍽", "\u3000": "⬚"}
_SHAPING = {"\u200c", "\u200d"}  # joiners: Persian, Indic scripts and emoji are written with them
_RANGE = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?")


@dataclass(frozen=True)
class Kind:
    """Layers that one page can show: they attend from the same tokens to the same tokens.

    Attributes:
        role: ``"encoder"``, ``"decoder"`` or ``"cross"``.
        heads: Heads of each layer.
        queries: Tokens that attend.
        keys: Tokens attended to.
        layers: Their indices into ``trace.layers``, ascending.
    """

    role: str
    heads: int
    queries: int
    keys: int
    layers: tuple[int, ...]

    @property
    def cells(self) -> int:
        """Weights of one head."""
        return self.queries * self.keys


def kinds_of(trace: TextTrace) -> list[Kind]:
    """All layers of a pass by kind, in the order of their first layers."""
    found: dict[tuple[str, int, int, int], list[int]] = {}
    for index, layer in enumerate(trace.layers):
        shape = (layer.role, layer.heads, layer.queries, layer.keys)
        found.setdefault(shape, []).append(index)
    return [Kind(*shape, layers=tuple(layers)) for shape, layers in found.items()]


def kind_of(trace: TextTrace, layers: Sequence[int]) -> Kind:
    """The kind that all these layers are of.

    Raises:
        FieldError: they are of several kinds.
    """
    kinds = kinds_of(trace)
    for kind in kinds:
        if set(layers) <= set(kind.layers):
            return kind
    listed = "; ".join(f"{kind.role} {spelled(kind.layers)}" for kind in kinds)
    raise FieldError(
        f"Layers {spelled(layers)} attend between different tokens, so one page cannot show them.",
        hint=f"Choose among layers of one kind: {listed}.",
    )


def parse_numbers(text: str, count: int, what: str) -> tuple[int, ...]:
    """The numbers of a list such as ``0-3, 7``, ascending; none for an empty text.

    Args:
        text: As the user typed it.
        count: How many there are to choose from, counted from 0.
        what: ``"layers"`` or ``"heads"``, for the error.

    Raises:
        FieldError: it is no such list, or names one that there is not.
    """
    chosen: set[int] = set()
    joined = re.sub(r"\s*[-–]\s*", "-", text)
    for part in filter(None, re.split(r"[,;\s]+", joined)):
        match = _RANGE.fullmatch(part)
        if match is None:
            raise FieldError(
                f"{part[:40]!r} is not a number or a range of {what}.",
                hint="Write for instance 0-3, 7.",
            )
        first = int(match[1])
        last = int(match[2] or first)
        if not first <= last < count:
            raise FieldError(
                f"There are no {what} {part}; there are {count}.",
                hint=f"Choose from 0 to {count - 1}.",
            )
        chosen.update(range(first, last + 1))
    return tuple(sorted(chosen))


def spelled(numbers: Sequence[int]) -> str:
    """Numbers with runs drawn together: ``0-3, 7``."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def attention_of(
    trace: TextTrace, layers: Sequence[int], heads: Sequence[int]
) -> list[list[list[list[float]]]]:
    """Attention as BertViz takes it, [layer][head][query][key], rounded to 6 decimals."""
    total = len(layers) * len(heads)
    out = []
    for place, layer in enumerate(layers):
        rows = []
        for offset, head in enumerate(heads):
            progress("Attention", place * len(heads) + offset, total)
            rows.append(_listed(trace.attention(layer, head)))
        out.append(rows)
    return out


def vectors_of(
    trace: TextTrace, layers: Sequence[int], heads: Sequence[int]
) -> tuple[list[list[list[list[float]]]], list[list[list[list[float]]]]]:
    """Queries and keys as BertViz takes them, both [layer][head][token][component].

    Raises:
        AttentionUnavailableError: a layer whose queries and keys were not captured.
    """
    captured = cast("VectorTrace", trace)
    total = len(layers) * len(heads)
    queries, keys = [], []
    for place, layer in enumerate(layers):
        info = trace.layers[layer]
        of_queries, of_keys = [], []
        for offset, head in enumerate(heads):
            progress("Queries and keys", place * len(heads) + offset, total)
            of_queries.append(_listed(captured.queries(layer, head, range(info.queries))))
            of_keys.append(_listed(captured.keys(layer, head, range(info.keys))))
        queries.append(of_queries)
        keys.append(of_keys)
    return queries, keys


def _listed(array: np.ndarray) -> list[list[float]]:
    # Rounded as float64: a float32 rounded would be spelled with all its digits again.
    listed: list[list[float]] = array.astype("float64").round(DECIMALS).tolist()
    return listed


def shown_tokens(trace: TextTrace, kind: Kind) -> tuple[list[str], list[str]]:
    """The tokens that attend in layers of a kind, and those attended to, as they are drawn."""
    decoder: tuple[Token, ...] = getattr(trace, "decoder_tokens", ()) or trace.tokens
    left = trace.tokens if kind.role == "encoder" else decoder
    right = decoder if kind.role == "decoder" else trace.tokens
    return (
        _padded([_shown(token.text) for token in left], kind.queries),
        _padded([_shown(token.text) for token in right], kind.keys),
    )


def _padded(tokens: list[str], count: int) -> list[str]:
    """One name a position, also where a pass had positions that are no token of the text."""
    return [*tokens[:count], *(f"⟨{place}⟩" for place in range(len(tokens), count))]


def _shown(text: str) -> str:
    """A token in one line as lmkit's own views write it: controls and blanks visible."""
    out = "".join(map(_visible, text[:LONGEST])) or "∅"
    return out if len(text) <= LONGEST else out + "…"


def _visible(character: str) -> str:
    if character in _MARKS:
        return _MARKS[character]
    category: Any = unicodedata.category(character)
    if category == "Cs":
        return "\ufffd"
    if category in ("Cc", "Cf", "Zl", "Zp") and character not in _SHAPING:
        return f"⟨{ord(character):04X}⟩"
    return character
