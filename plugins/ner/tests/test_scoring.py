"""Scores against seqeval and nervaluate, and what each kind of error is."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lmkit_ner.scoring import ERRORS, Score, count_kinds, match_marks, score_matches
from lmkit_ner.tags import Mark, join_words, spans_of_tags
from nervaluate import Evaluator
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.metrics.sequence_labeling import get_entities, precision_recall_fscore_support
from seqeval.scheme import IOB2

KINDS = ("PER", "LOC", "ORG")
tag = st.sampled_from(["O", *(f"{prefix}-{kind}" for prefix in "BIES" for kind in KINDS)])
iob = st.sampled_from(["O", *(f"{prefix}-{kind}" for prefix in "BI" for kind in KINDS)])


@given(tags=st.lists(tag, max_size=20))
def test_tags_are_read_as_seqeval_reads_them(tags: list[str]) -> None:
    wanted = sorted((start, end + 1, kind) for kind, start, end in get_entities(tags))
    assert sorted(spans_of_tags(tags)) == wanted


def test_other_schemes() -> None:
    assert spans_of_tags(["B-PER", "L-PER", "U-LOC", "U-LOC"]) == [
        (0, 2, "PER"), (2, 3, "LOC"), (3, 4, "LOC"),
    ]  # fmt: skip
    assert spans_of_tags(["PER", "PER", "O", "LOC"]) == [(0, 2, "PER"), (3, 4, "LOC")]
    assert spans_of_tags(["", "B-creative-work", "I-creative-work"]) == [(1, 3, "creative-work")]
    assert join_words(["Ada", "Lovelace"]) == ("Ada Lovelace", [(0, 3), (4, 12)])


sentences = st.lists(st.lists(st.tuples(iob, iob), min_size=1, max_size=12), min_size=1, max_size=6)


def _matches(pairs: list[list[tuple[str, str]]]) -> list[object]:
    return [
        match
        for sentence in pairs
        for match in match_marks(
            spans_of_tags([right for right, _ in sentence]),
            spans_of_tags([found for _, found in sentence]),
        )
    ]


@settings(deadline=None)
@given(pairs=sentences)
def test_strict_scores_are_those_of_seqeval(pairs: list[list[tuple[str, str]]]) -> None:
    right = [[one for one, _ in sentence] for sentence in pairs]
    found = [[one for _, one in sentence] for sentence in pairs]
    scores = score_matches(_matches(pairs), "strict")  # type: ignore[arg-type]
    micro = scores.pop("")
    assert micro.precision == pytest.approx(precision_score(right, found, zero_division=0))
    assert micro.recall == pytest.approx(recall_score(right, found, zero_division=0))
    assert micro.f1 == pytest.approx(f1_score(right, found, zero_division=0))
    p, r, f, support = precision_recall_fscore_support(right, found, zero_division=0)
    if scores:
        assert [s.precision for s in scores.values()] == pytest.approx(list(p))
        assert [s.recall for s in scores.values()] == pytest.approx(list(r))
        assert [s.f1 for s in scores.values()] == pytest.approx(list(f))
        assert [s.right for s in scores.values()] == list(support)


@settings(deadline=None)
@given(pairs=sentences)
def test_strict_scores_are_those_of_seqevals_strict_mode(
    pairs: list[list[tuple[str, str]]],
) -> None:
    """On tags that follow the scheme; others that mode leaves out."""

    def repaired(tags: list[str]) -> list[str]:
        spans = {start: (end, kind) for start, end, kind in spans_of_tags(tags)}
        new = ["O"] * len(tags)
        for start, (end, kind) in spans.items():
            new[start:end] = [f"B-{kind}", *[f"I-{kind}"] * (end - start - 1)]
        return new

    right = [repaired([one for one, _ in sentence]) for sentence in pairs]
    found = [repaired([one for _, one in sentence]) for sentence in pairs]
    micro = score_matches(_matches(pairs), "strict")[""]  # type: ignore[arg-type]
    try:
        wanted = f1_score(right, found, mode="strict", scheme=IOB2, zero_division=0)
    except ValueError:  # its strict mode cannot take data without entities
        assert micro == Score(0.0, micro.found, micro.right)
        assert not micro.found or not micro.right
        return
    assert micro.f1 == pytest.approx(wanted)


def _crowded(right: list[Mark], found: list[Mark]) -> bool:
    """Whether an entity overlaps two of the other side: there nervaluate takes the first."""

    def many(one: list[Mark], other: list[Mark]) -> bool:
        return any(sum(a[0] < b[1] and b[0] < a[1] for b in other) > 1 for a in one)

    return many(right, found) or many(found, right)


@settings(deadline=None)
@given(pairs=sentences)
def test_partial_scores_are_those_of_nervaluate(pairs: list[list[tuple[str, str]]]) -> None:
    right = [spans_of_tags([one for one, _ in sentence]) for sentence in pairs]
    found = [spans_of_tags([one for _, one in sentence]) for sentence in pairs]
    kept = [(a, b) for a, b in zip(right, found, strict=True) if not _crowded(a, b)]
    if not any(a for a, _ in kept) or not any(b for _, b in kept):
        return

    def theirs(marks: list[Mark]) -> list[dict[str, object]]:
        return [{"label": kind, "start": start, "end": end - 1} for start, end, kind in marks]

    wanted = Evaluator(
        [theirs(a) for a, _ in kept], [theirs(b) for _, b in kept], tags=list(KINDS), loader="dict"
    ).evaluate()["overall"]
    matches = [match for a, b in kept for match in match_marks(a, b)]
    names = {"strict": "strict", "exact": "exact", "partial": "partial", "type": "ent_type"}
    for own, other in names.items():
        score = score_matches(matches, own)[""]  # type: ignore[arg-type]
        assert score.precision == pytest.approx(wanted[other].precision), own
        assert score.recall == pytest.approx(wanted[other].recall), own


def test_each_kind_of_error() -> None:
    right = [(0, 3, "PER"), (5, 8, "LOC"), (10, 14, "ORG"), (20, 22, "PER"), (30, 35, "ORG")]
    found = [(0, 3, "PER"), (5, 8, "ORG"), (10, 12, "ORG"), (31, 36, "PER"), (40, 44, "LOC")]
    matches = match_marks(right, found)
    assert [match.outcome for match in matches] == [
        "correct", "type", "boundary", "missed", "boundary and type", "spurious",
    ]  # fmt: skip
    assert set(ERRORS) == {match.outcome for match in matches} - {"correct"}
    counts = count_kinds(matches)
    assert counts["ORG"] == {"boundary": 1, "boundary and type": 1}
    assert counts["LOC"] == {"type": 1, "spurious": 1}


def test_an_exact_pair_is_not_lost_to_an_overlapping_one() -> None:
    matches = match_marks([(0, 4, "PER"), (5, 9, "PER")], [(0, 9, "PER"), (5, 9, "PER")])
    assert [match.outcome for match in matches] == ["boundary", "correct"]
    # Of two that overlap, the longer overlap is its answer.
    matches = match_marks([(0, 10, "PER")], [(0, 3, "PER"), (3, 10, "LOC")])
    assert {(m.outcome, m.found) for m in matches} == {
        ("boundary and type", (3, 10, "LOC")),
        ("spurious", (0, 3, "PER")),
    }


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(1, 6), st.sampled_from(KINDS)), max_size=8),
    st.lists(st.tuples(st.integers(0, 20), st.integers(1, 6), st.sampled_from(KINDS)), max_size=8),
)
def test_every_entity_is_in_one_match(
    right: list[tuple[int, int, str]], found: list[tuple[int, int, str]]
) -> None:
    one = [(start, start + length, kind) for start, length, kind in right]
    other = [(start, start + length, kind) for start, length, kind in found]
    matches = match_marks(one, other)
    assert sorted(m.right for m in matches if m.right) == sorted(set(one))
    assert sorted(m.found for m in matches if m.found) == sorted(set(other))
    assert all(
        0 <= s.precision <= 1 and 0 <= s.recall <= 1 for s in score_matches(matches).values()
    )
