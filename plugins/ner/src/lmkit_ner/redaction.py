"""Names replaced by placeholders, and the key that turns them back.

A key lives in the memory of one process. It is never written anywhere by lmkit: no result, saved
output or run record holds a part of it, it cannot be pickled, and its text form tells counts alone.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from lmkit_ner.tags import Mark

__all__ = ["Key", "Redaction", "kernel_key", "placeholder_kind"]

_PLACEHOLDER = re.compile(r"\[[^\[\]\n]{1,80} [1-9]\d{0,8}\]")
_NAMES = {"PER": "PERSON", "ORG": "ORGANISATION", "LOC": "LOCATION", "MISC": "NAME"}
_AROUND = ".,;:()'\"\u2019"
_PART = 3
"""Letters of a word of a name that is looked for by itself: "de" and "J." stand in many places."""
_SHORT = 2
"""Names with fewer characters are replaced where the model found them, and nowhere else."""


def placeholder_kind(kind: str) -> str:
    """How a kind is called in a placeholder: ``PERSON`` for ``PER``."""
    plain = re.sub(r"[\[\]\s]+", " ", kind).strip().upper()[:60]
    return _NAMES.get(plain, plain) or "NAME"


@dataclass(frozen=True)
class Redaction:
    """A text without names.

    Attributes:
        text: The text with placeholders.
        marks: The placeholders in it: start, end and kind (as the model calls it).
        counts: How many places were replaced, by kind.
    """

    text: str
    marks: tuple[Mark, ...]
    counts: dict[str, int]


class Key:
    """Which placeholder stands for which name, for all texts that it is used with.

    The same name of the same kind always gets the same placeholder, ``[PERSON 1]``. Methods may be
    called from any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._placeholders: dict[tuple[str, str], str] = {}
        self._names: dict[str, tuple[str, str]] = {}
        self._numbers: Counter[str] = Counter()
        self._reserved: set[str] = set()

    def redact(
        self, text: str, marks: Iterable[Mark], kinds: Collection[str] | None = None
    ) -> Redaction:
        """Replace what is marked, and every other place of a name that this key knows.

        Placeholders that stand in the text already are left as they are.

        Args:
            text: The text.
            marks: Its names: start, end and kind. Of those that overlap the longest counts.
            kinds: Only these; None for all.
        """
        return self.redact_all([text], [marks], kinds)[0]

    def redact_all(
        self,
        texts: Sequence[str],
        marks: Sequence[Iterable[Mark]],
        kinds: Collection[str] | None = None,
        *,
        parts: bool = False,
    ) -> list[Redaction]:
        """Several texts at once, those of a notebook say.

        All names are learnt before the first text is changed, so that a name found in the last one
        is replaced in the first too.

        Args:
            texts: The texts.
            marks: The names of each.
            kinds: Only these; None for all.
            parts: Replace also words of persons' names that stand alone, *Lovelace* where *Ada
                Lovelace* is known: rather a word too many than a name that is left.
        """
        with self._lock:
            chosen = []
            for text, own in zip(texts, marks, strict=True):
                there = [match.span() for match in _PLACEHOLDER.finditer(text)]
                self._reserved.update(text[start:end] for start, end in there)
                wanted = (mark for mark in own if kinds is None or mark[2] in kinds)
                chosen.append((_apart(wanted, there), there))
            for text, (own, _) in zip(texts, chosen, strict=True):
                for start, end, kind in own:
                    self._placeholder(text[start:end], kind)
            known = [*self._placeholders, *(self._parts() if parts else ())]
            return [
                self._replaced(text, own, there, kinds, known)
                for text, (own, there) in zip(texts, chosen, strict=True)
            ]

    def restore(self, text: str) -> str:
        """The text with the names in place of the placeholders that this key made."""
        return self.restored(text)[0]

    def restored(self, text: str) -> tuple[str, tuple[Mark, ...]]:
        """As :meth:`restore`, and where the names are."""
        with self._lock:
            made = [
                (match.start(), match.end(), *self._names[match[0]])
                for match in _PLACEHOLDER.finditer(text)
                if match[0] in self._names
            ]
        return _spliced(text, made)

    def forget(self) -> None:
        """Forget all names; what was replaced stays replaced."""
        with self._lock:
            for part in (self._placeholders, self._names, self._reserved):
                part.clear()
            self._numbers.clear()

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return f"<lmkit_ner.Key of {len(self)} names>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A key stays in its process: it cannot be pickled.")

    def _placeholder(self, name: str, kind: str) -> str:
        known = self._placeholders.get((kind, name))
        if known is not None:
            return known
        called = placeholder_kind(kind)
        while True:
            self._numbers[called] += 1
            made = f"[{called} {self._numbers[called]}]"
            # A text that talks of "[PERSON 3]" itself must come back as it was.
            if made not in self._reserved:
                break
        self._placeholders[kind, name] = made
        self._names[made] = (name, kind)
        return made

    def _parts(self) -> list[tuple[str, str]]:
        """Words of persons' names, with their kind, that are no names of their own yet."""
        found: dict[tuple[str, str], None] = {}
        for kind, name in self._placeholders:
            words = name.split()
            if placeholder_kind(kind) != "PERSON" or len(words) < 2:
                continue
            for word in (one.strip(_AROUND) for one in words):
                if len(word) >= _PART and word[0].isupper():
                    found[kind, word] = None
        return [one for one in found if one not in self._placeholders]

    def _replaced(
        self,
        text: str,
        marks: Sequence[Mark],
        there: Sequence[tuple[int, int]],
        kinds: Collection[str] | None,
        known: Sequence[tuple[str, str]],
    ) -> Redaction:
        taken = [(start, end) for start, end, _ in marks]
        others = [
            (start, start + len(name), kind)
            for kind, name in known
            if len(name) >= _SHORT and (kinds is None or kind in kinds)
            for start in _places(name, text)
        ]
        others = _apart(others, [*taken, *there])
        whole = sorted([*marks, *others])
        counts = Counter(kind for _, _, kind in whole)
        new, placed = _spliced(
            text,
            [
                (start, end, self._placeholder(text[start:end], kind), kind)
                for start, end, kind in whole
            ],
        )
        return Redaction(new, placed, dict(sorted(counts.items())))


kernel_key = Key()
"""The key of this process: panels, magics and ``kit.redact`` share it."""


def _apart(marks: Iterable[Mark], taken: Sequence[tuple[int, int]]) -> list[Mark]:
    """Marks that overlap neither each other nor what is taken; longer ones before shorter."""
    import bisect

    order = sorted(set(marks), key=lambda mark: (mark[0] - mark[1], mark))
    held = sorted(taken)
    kept = []
    for mark in order:
        start, end, _ = mark
        at = bisect.bisect_left(held, (start, end))
        before_ends = held[at - 1][1] if at else 0
        next_begins = held[at][0] if at < len(held) else end
        if start < end and before_ends <= start and end <= next_begins:
            held.insert(at, (start, end))
            kept.append(mark)
    return sorted(kept)


def _places(name: str, text: str) -> Iterable[int]:
    """Where a name stands in a text as words of its own."""
    at = text.find(name)
    while at >= 0:
        end = at + len(name)
        if _breaks(text[at - 1 : at], name[0]) and _breaks(name[-1], text[end : end + 1]):
            yield at
        at = text.find(name, at + 1)


def _breaks(before: str, after: str) -> bool:
    """Whether a word may end between two characters; always in scripts without blanks."""
    if not before or not after or not (before.isalnum() and after.isalnum()):
        return True
    return _without_blanks(before) or _without_blanks(after)


def _without_blanks(character: str) -> bool:
    """Chinese, Japanese, Thai, Lao, Khmer and Burmese put no blanks between words."""
    code = ord(character)
    return (
        0x0E00 <= code < 0x0F00
        or 0x1000 <= code < 0x10A0
        or 0x1780 <= code < 0x1800
        or 0x3040 <= code < 0xA4D0
        or 0xF900 <= code < 0xFB00
        or 0x20000 <= code < 0x40000
    )


def _spliced(
    text: str, changes: Sequence[tuple[int, int, str, str]]
) -> tuple[str, tuple[Mark, ...]]:
    """The text with stretches replaced: start, end, the new text and its kind; ascending."""
    parts: list[str] = []
    marks: list[Mark] = []
    at = length = 0
    for start, end, new, kind in changes:
        parts += [text[at:start], new]
        length += start - at
        marks.append((length, length + len(new), kind))
        length += len(new)
        at = end
    return "".join([*parts, text[at:]]), tuple(marks)
