"""Found entities against right ones: scores, and what is wrong with each that is wrong.

Strict scores are those of ``seqeval``: an entity counts where its boundaries and its kind are
right. Partial ones are those of SemEval 2013, task 9.1 (as in ``nervaluate``): boundaries alone
count, and half where they only overlap.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from lmkit_ner.tags import Mark

__all__ = ["ERRORS", "Match", "Outcome", "Score", "count_kinds", "match_marks", "score_matches"]

Outcome = Literal["correct", "boundary", "type", "boundary and type", "missed", "spurious"]
ERRORS: tuple[Outcome, ...] = ("boundary", "type", "boundary and type", "missed", "spurious")


@dataclass(frozen=True, slots=True)
class Match:
    """A right entity and the found one that answers to it; one of them may be lacking."""

    outcome: Outcome
    right: Mark | None
    found: Mark | None

    @property
    def kind(self) -> str:
        """The kind that it counts for: the right one, or the one that was found for nothing."""
        mark = self.right or self.found
        assert mark is not None
        return mark[2]


@dataclass(frozen=True, slots=True)
class Score:
    """Precision, recall and F1 out of counts; 0 where there is nothing to divide by.

    Attributes:
        credit: What was found right, in full or in part.
        found: How many were found.
        right: How many there are.
    """

    credit: float
    found: int
    right: int

    @property
    def precision(self) -> float:
        """Share of the found ones that is right."""
        return self.credit / self.found if self.found else 0.0

    @property
    def recall(self) -> float:
        """Share of the right ones that was found."""
        return self.credit / self.right if self.right else 0.0

    @property
    def f1(self) -> float:
        """The harmonic mean of both."""
        both = self.found + self.right
        return 2 * self.credit / both if both else 0.0


def match_marks(right: Iterable[Mark], found: Iterable[Mark]) -> list[Match]:
    """Pair the entities of one text, each with one at most, and say what is wrong with each pair.

    First those that are equal, then those with equal boundaries, then those that overlap, of these
    the longest overlaps first and the same kind before another.

    Returns:
        In reading order, by the right entity where there is one.
    """
    open_right, open_found = sorted(set(right)), sorted(set(found))
    matches: list[Match] = []

    def pair(one: Mark, other: Mark, outcome: Outcome) -> None:
        open_right.remove(one)
        open_found.remove(other)
        matches.append(Match(outcome, one, other))

    for mark in sorted(set(open_right) & set(open_found)):
        pair(mark, mark, "correct")
    for one, other in _candidates(open_right, open_found):
        if one not in open_right or other not in open_found:
            continue
        exact, same = one[:2] == other[:2], one[2] == other[2]
        pair(one, other, "type" if exact else "boundary" if same else "boundary and type")
    matches += [Match("missed", mark, None) for mark in open_right]
    matches += [Match("spurious", None, mark) for mark in open_found]
    return sorted(matches, key=lambda match: match.right or match.found or (0, 0, ""))


def _candidates(right: Sequence[Mark], found: Sequence[Mark]) -> Iterator[tuple[Mark, Mark]]:
    """Pairs that overlap, best first."""
    ranked = []
    for one in right:
        for other in found:
            common = min(one[1], other[1]) - max(one[0], other[0])
            if common > 0:
                exact, same = one[:2] == other[:2], one[2] == other[2]
                ranked.append(((not exact, -common, not same, one, other), one, other))
    for _, one, other in sorted(ranked):
        yield one, other


def count_kinds(matches: Iterable[Match]) -> dict[str, Counter[Outcome]]:
    """How often each outcome came, by kind; kinds in alphabetical order."""
    counts: dict[str, Counter[Outcome]] = {}
    for match in matches:
        counts.setdefault(match.kind, Counter())[match.outcome] += 1
    return dict(sorted(counts.items()))


def score_matches(
    matches: Iterable[Match], scheme: Literal["strict", "exact", "partial", "type"] = "strict"
) -> dict[str, Score]:
    """Scores of each kind, and under the empty name of all entities together (micro average).

    Args:
        matches: Of all texts.
        scheme: "strict": boundaries and kind; "exact": boundaries alone; "partial": boundaries,
            and half where they overlap; "type": the kind, where they overlap.

    Returns:
        By kind: an entity found counts for the kind that was found, a right one for its own, as in
        ``seqeval``. With "exact" and "partial" the credit goes to the right kind and its found
        entities are those that answer to it.
    """
    found: Counter[str] = Counter()
    right: Counter[str] = Counter()
    parts: dict[str, float] = {}
    by_kind = scheme in ("strict", "type")
    for match in matches:
        if match.right is not None:
            right[match.right[2]] += 1
        if match.found is not None:
            found[match.found[2] if by_kind else match.kind] += 1
        parts[match.kind] = parts.get(match.kind, 0.0) + _credit(match.outcome, scheme)
    kinds = sorted({*found, *right})
    scores = {kind: Score(parts.get(kind, 0.0), found[kind], right[kind]) for kind in kinds}
    scores[""] = Score(sum(parts.values()), found.total(), right.total())
    return scores


def _credit(outcome: Outcome, scheme: str) -> float:
    if outcome == "correct":
        return 1.0
    if scheme == "exact":
        return float(outcome == "type")
    if scheme == "partial":
        return {"type": 1.0, "boundary": 0.5, "boundary and type": 0.5}.get(outcome, 0.0)
    if scheme == "type":
        return float(outcome == "boundary")
    return 0.0
