"""Lenses that hide tokens: special tokens, the sink, one of two texts.

Hidden tokens lose their rows and columns. Without renormalising, a row then sums to what it gives
to visible tokens; with it, each row is divided by that sum. First tokens and separators take most
of many heads' attention (Clark et al. 2019; Xiao et al. 2023, "Efficient Streaming Language Models
with Attention Sinks"), and hide the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from lmkit.api import Token
from lmkit.views.lenses.projected import ProjectedTrace, Side, tokens_of

if TYPE_CHECKING:
    from lmkit.views.attention import CapturedTrace

__all__ = ["MaskLens", "SegmentLens", "not_a_pair", "nothing_special", "sink", "special"]

Hidden = Callable[[Sequence[Token], int], bool]


def special(tokens: Sequence[Token], index: int) -> bool:
    """Hides the tokens that the tokenizer added."""
    return tokens[index].special


def sink(tokens: Sequence[Token], index: int) -> bool:
    """Hides the first token, to which heads with nothing to do attend."""
    return index == 0


class MaskLens(ProjectedTrace):
    """Attention without some tokens.

    A sequence of which nothing would be left (a decoder that read its start token alone) stays.

    Args:
        base: The pass.
        hidden: Asked with the tokens of a sequence and an index: True hides it.
        renormalise: Divide each row by the sum of what is left of it.
    """

    def __init__(self, base: CapturedTrace, hidden: Hidden, *, renormalise: bool = False) -> None:
        super().__init__(base, renormalise=renormalise)
        self._hidden = hidden

    def _make_sides(self, role: str) -> tuple[Side, Side]:
        return self._side(role, keys=False), self._side(role, keys=True)

    def _side(self, role: str, *, keys: bool) -> Side:
        tokens = tokens_of(self.base, role, keys=keys)
        visible = [i for i in range(len(tokens)) if not self._hidden(tokens, i)]
        return Side.picked(tokens, visible or range(len(tokens)))


class SegmentLens(ProjectedTrace):
    """Attention from one text of a pair to one text of it, special tokens left out.

    Args:
        base: The pass; its ``segments`` say for each token 0 for the text, 1 for the pair, None
            for special ones.
        queries: The text that attends, 0 or 1.
        keys: The text attended to.
    """

    def __init__(self, base: CapturedTrace, queries: int, keys: int) -> None:
        super().__init__(base)
        self._which = (queries, keys)

    def _make_sides(self, role: str) -> tuple[Side, Side]:
        return self._side(role, keys=False), self._side(role, keys=True)

    def _side(self, role: str, *, keys: bool) -> Side:
        tokens = tokens_of(self.base, role, keys=keys)
        segments = _segments(self.base, role, keys=keys)
        wanted = self._which[1 if keys else 0]
        return Side.picked(tokens, [i for i, s in enumerate(segments) if s == wanted])


def _segments(trace: CapturedTrace, role: str, *, keys: bool) -> Sequence[int | None]:
    given: Sequence[int | None] = getattr(trace, "segments", None) or ()
    if trace.decoder_tokens and (role == "decoder" or (role == "cross" and not keys)):
        # A decoder that reads the text itself reads it shifted by its start token.
        return (None, *given[: len(trace.decoder_tokens) - 1])
    return given


def not_a_pair(trace: CapturedTrace) -> str:
    """Why the two texts can't be told apart; empty where they can."""
    given = getattr(trace, "segments", None)
    if given is None or 1 not in given:
        return "There is no second text."
    if 0 not in given:
        return "Nothing of the first text was read."
    for layer in trace.layers:
        for keys in (False, True):
            if not {0, 1} <= set(_segments(trace, layer.role, keys=keys)):
                return "The decoder of this model does not read the two texts."
    return ""


def nothing_special(trace: CapturedTrace) -> str:
    """Why there is nothing to hide; empty where there is."""
    if not any(token.special for token in trace.tokens):
        return "The tokenizer of this model added no special tokens to this text."
    if all(token.special for token in trace.tokens):
        return "There are only special tokens."
    return ""
