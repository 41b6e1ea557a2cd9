"""Lenses that join tokens: words, sentences, turns of a chat.

Attention between groups is the mean over the queries of a group of what it gives to all keys of
another (Clark et al. 2019, "What Does BERT Look At?", section 4.1, for words). So each row still
sums to what a row of attention sums to. A group is in no vocabulary: its ``raw`` is empty.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from lmkit.api import Token
from lmkit.views.lenses.projected import ProjectedTrace, Side, tokens_of
from lmkit.views.lenses.sentences import sentence_spans

if TYPE_CHECKING:
    from lmkit.views.attention import CapturedTrace

__all__ = ["SentenceLens", "TurnLens", "WordLens", "no_turns"]


class WordLens(ProjectedTrace):
    """One token a word, the words of ``trace.words``.

    Special tokens and white space, which belong to no word, stay by themselves.
    """

    def _make_sides(self, role: str) -> tuple[Side, Side]:
        return self._side(role, keys=False), self._side(role, keys=True)

    def _side(self, role: str, *, keys: bool) -> Side:
        tokens = tokens_of(self.base, role, keys=keys)
        groups = _joined([_own(i) if t.word is None else t.word for i, t in enumerate(tokens)])
        return Side(tuple(self._label(tokens, group) for group in groups), groups)

    def _label(self, tokens: Sequence[Token], group: tuple[int, ...]) -> Token:
        first, words = tokens[group[0]], self.base.words
        if first.word is None or first.word >= len(words):
            return first
        word = words[first.word]
        return Token(text=word.text, raw="", word=first.word, start=word.start, end=word.end)


class SentenceLens(ProjectedTrace):
    """One token a sentence, by :func:`sentence_spans`. Special tokens stay by themselves.

    A word stands whole in the sentence in which it begins, white space in the sentence before it.
    """

    def _make_sides(self, role: str) -> tuple[Side, Side]:
        return self._side(role, keys=False), self._side(role, keys=True)

    @cached_property
    def _spans(self) -> list[tuple[int, int]]:
        # Of a long text that was cut, only what was read is looked at.
        read = max((token.end for token in self.base.tokens), default=0)
        pair = getattr(self.base, "pair_start", None)
        return sentence_spans(self.base.text[:read], () if pair is None else (pair,))

    def _sentence(self, token: Token) -> int:
        words = self.base.words
        at = token.start
        if token.word is not None and token.word < len(words):
            at = words[token.word].start
        return max(0, bisect_right(self._spans, at, key=lambda span: span[0]) - 1)

    def _side(self, role: str, *, keys: bool) -> Side:
        tokens = tokens_of(self.base, role, keys=keys)
        groups = _joined(
            [_own(i) if t.special else self._sentence(t) for i, t in enumerate(tokens)]
        )
        return Side(tuple(self._label(tokens, group) for group in groups), groups)

    def _label(self, tokens: Sequence[Token], group: tuple[int, ...]) -> Token:
        first = tokens[group[0]]
        if first.special or not self._spans:
            return first
        start, end = self._spans[self._sentence(first)]
        text = self.base.text[start:end]
        return Token(text=text, raw="", word=_a_word(tokens, group), start=start, end=end)


class TurnLens(ProjectedTrace):
    """One token a turn of a chat, its markers included, by ``trace.turns``.

    ``turns`` holds (role, first, last) for each turn: tokens first to last, last excluded. Tokens
    outside of all turns stay by themselves.
    """

    def _make_sides(self, role: str) -> tuple[Side, Side]:
        tokens = self.base.tokens
        of: list[Hashable] = [_own(i) for i in range(len(tokens))]
        for number, (_, first, last) in enumerate(getattr(self.base, "turns", ())):
            of[first:last] = [number] * len(of[first:last])
        groups = _joined(of)
        side = Side(tuple(self._label(of[group[0]], group) for group in groups), groups)
        return side, side

    def _label(self, turn: Hashable, group: tuple[int, ...]) -> Token:
        tokens = self.base.tokens
        if not isinstance(turn, int):
            return tokens[group[0]]
        turns: Sequence[tuple[str, int, int]] = getattr(self.base, "turns", ())
        placed = [tokens[i] for i in group if tokens[i].end > tokens[i].start]
        start = min((token.start for token in placed), default=0)
        end = max((token.end for token in placed), default=0)
        text = f"{turns[turn][0]}: {self.base.text[start:end]}".strip()
        return Token(text=text, raw="", word=_a_word(tokens, group), start=start, end=end)


def no_turns(trace: CapturedTrace) -> str:
    """Why there are no turns to join; empty where there are."""
    if trace.decoder_tokens:
        return "Turns are told apart in chats of decoder models only."
    if not getattr(trace, "turns", ()):
        return "This text is not a chat, so it has no turns."
    return ""


def _own(index: int) -> Hashable:
    """The mark of a token that stays by itself; no word or sentence has it."""
    return (index,)


def _joined(of: Sequence[Hashable]) -> tuple[tuple[int, ...], ...]:
    """Tokens of the same mark together, in the order of their first ones."""
    groups: dict[Hashable, list[int]] = {}
    for index, mark in enumerate(of):
        groups.setdefault(mark, []).append(index)
    return tuple(tuple(group) for group in groups.values())


def _a_word(tokens: Sequence[Token], group: Sequence[int]) -> int | None:
    return next((tokens[i].word for i in group if tokens[i].word is not None), None)
