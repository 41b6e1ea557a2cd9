"""Lenses: other numbers of the same pass in place of plain attention, drawn by the same pictures.

A lens turns a :class:`~lmkit.views.attention.CapturedTrace` into another one. :data:`LENSES` names
those that need nothing but a pass; :class:`DifferenceTrace` needs two. Formulas and sources are in
docs/lenses.md. Importing this package imports nothing heavy.

Example:
    >>> from lmkit.views.lenses import LENSES            # doctest: +SKIP
    >>> LENSES["words"].make(trace).attention(3, 7)      # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from lmkit.protocol.messages import Scale
from lmkit.views.lens import Lens

if TYPE_CHECKING:
    from lmkit.views.attention import CapturedTrace
    from lmkit.views.lenses.difference import DifferenceTrace
    from lmkit.views.lenses.rollouts import Rollout, rollout

__all__ = ["LENSES", "DifferenceTrace", "Rollout", "rollout"]


@dataclass(frozen=True)
class _Listed:
    """A :class:`~lmkit.views.lens.Lens` whose code is imported when it is first looked through."""

    name: str
    title: str
    help: str
    scale: Scale
    _make: Callable[[CapturedTrace], CapturedTrace]
    _reason: Callable[[CapturedTrace], str]

    def unavailable(self, trace: CapturedTrace) -> str:
        """Why this pass can't be seen so, in one sentence; empty where it can. Cheap."""
        from lmkit.views.lenses.projected import misfit

        if not trace.layers:
            return "There is no attention to show."
        return next(
            (problem for layer in trace.layers if (problem := misfit(trace, layer))), ""
        ) or self._reason(trace)

    def make(self, trace: CapturedTrace) -> CapturedTrace:
        """The pass seen through this lens. Cheap; numbers are computed when asked for."""
        return self._make(trace)


def _always(trace: CapturedTrace) -> str:
    return ""


def _words(trace: CapturedTrace) -> CapturedTrace:
    from lmkit.views.lenses.groups import WordLens

    return WordLens(trace)


def _sentences(trace: CapturedTrace) -> CapturedTrace:
    from lmkit.views.lenses.groups import SentenceLens

    return SentenceLens(trace)


def _turns(trace: CapturedTrace) -> CapturedTrace:
    from lmkit.views.lenses.groups import TurnLens

    return TurnLens(trace)


def _no_turns(trace: CapturedTrace) -> str:
    from lmkit.views.lenses.groups import no_turns

    return no_turns(trace)


def _mask(hidden: Literal["special", "sink"], *, renormalise: bool) -> Any:
    def make(trace: CapturedTrace) -> CapturedTrace:
        from lmkit.views.lenses import masks

        return masks.MaskLens(trace, getattr(masks, hidden), renormalise=renormalise)

    return make


def _nothing_special(trace: CapturedTrace) -> str:
    from lmkit.views.lenses.masks import nothing_special

    return nothing_special(trace)


def _one_token(trace: CapturedTrace) -> str:
    return "" if len(trace.tokens) > 1 else "There is one token only."


def _segments(queries: int, keys: int) -> Any:
    def make(trace: CapturedTrace) -> CapturedTrace:
        from lmkit.views.lenses.masks import SegmentLens

        return SegmentLens(trace, queries, keys)

    return make


def _not_a_pair(trace: CapturedTrace) -> str:
    from lmkit.views.lenses.masks import not_a_pair

    return not_a_pair(trace)


def _norm(trace: CapturedTrace) -> CapturedTrace:
    from lmkit.views.lenses.norm import NormLens

    return NormLens(trace)


def _no_values(trace: CapturedTrace) -> str:
    from lmkit.views.lenses.norm import no_values

    return no_values(trace)


_RENORMALISED = "Each row is divided by the sum of what is left of it."
_SIDES = ("text", "pair")
_SIDE_TITLES = ("first text", "second text")

LENSES: dict[str, Lens] = {
    lens.name: lens
    for lens in (
        _Listed(
            "words",
            "Words",
            "Sum over the tokens of an attended word, mean over those of the attending one.",
            "share",
            _words,
            _always,
        ),
        _Listed(
            "sentences",
            "Sentences",
            "Sum over the tokens of an attended sentence, mean over those of the attending one.",
            "share",
            _sentences,
            _always,
        ),
        _Listed(
            "turns",
            "Turns",
            "Sum over the tokens of an attended turn, mean over those of the attending one.",
            "share",
            _turns,
            _no_turns,
        ),
        _Listed(
            "no-special",
            "Without special tokens",
            "Rows and columns of the tokens that the tokenizer added are left out.",
            "share",
            _mask("special", renormalise=False),
            _nothing_special,
        ),
        _Listed(
            "no-special-renormalised",
            "Without special tokens, renormalised",
            f"Tokens that the tokenizer added are left out. {_RENORMALISED}",
            "share",
            _mask("special", renormalise=True),
            _nothing_special,
        ),
        _Listed(
            "no-sink",
            "Without the first token",
            "Row and column of the first token, the usual attention sink, are left out.",
            "share",
            _mask("sink", renormalise=False),
            _one_token,
        ),
        _Listed(
            "no-sink-renormalised",
            "Without the first token, renormalised",
            f"The first token, the usual attention sink, is left out. {_RENORMALISED}",
            "share",
            _mask("sink", renormalise=True),
            _one_token,
        ),
        *(
            _Listed(
                f"{_SIDES[q]}-to-{_SIDES[k]}",
                f"From {_SIDE_TITLES[q]} to {_SIDE_TITLES[k]}",
                f"What tokens of the {_SIDE_TITLES[q]} give to those of the {_SIDE_TITLES[k]}.",
                "share",
                _segments(q, k),
                _not_a_pair,
            )
            for q in (0, 1)
            for k in (0, 1)
        ),
        _Listed(
            "norm",
            "Norm-weighted",
            "Length of the vector that a head carries from key to query: |alpha v W_O|.",
            "amount",
            _norm,
            _no_values,
        ),
    )
}
"""All lenses of a single pass by name, in the order of a menu."""


def __getattr__(name: str) -> Any:
    if name == "DifferenceTrace":
        from lmkit.views.lenses.difference import DifferenceTrace

        return DifferenceTrace
    if name in ("Rollout", "rollout"):
        from lmkit.views.lenses import rollouts as module

        return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
