"""Words of a text and the tokens that make each up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import msgspec

__all__ = ["Word", "Words"]


class Word(msgspec.Struct, frozen=True):
    """A word ``text[start:end]`` and the indices of its tokens."""

    text: str
    start: int
    end: int
    tokens: tuple[int, ...]


class Words(Sequence[Word]):
    """The words of ``text`` in reading order; special tokens belong to none."""

    def __init__(self, text: str, words: Sequence[Word]) -> None:
        self.text = text
        self._words = tuple(words)

    @overload
    def __getitem__(self, index: int) -> Word: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Word]: ...
    def __getitem__(self, index: int | slice) -> Word | Sequence[Word]:
        return self._words[index]

    def __len__(self) -> int:
        return len(self._words)

    def __iter__(self) -> Iterator[Word]:
        return iter(self._words)

    def __repr__(self) -> str:
        return f"Words({len(self._words)} of {self.text[:40]!r})"
