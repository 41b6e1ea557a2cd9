"""Words by Unicode, and the tokens that belong to them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmkit.models.segment import assign, clean_text, segment


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The plot is thin.", ["The", "plot", "is", "thin", "."]),
        ("don't stop", ["don't", "stop"]),
        ("'tis the dogs'", ["'", "tis", "the", "dogs", "'"]),
        ("ab中文cd", ["ab", "中", "文", "cd"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("cafe\u0301!", ["cafe\u0301", "!"]),
        ("👩‍👩‍👧 👍🏽 ok", ["👩‍👩‍👧", "👍🏽", "ok"]),
        ("a\u00a0b\u3000c\x00d", ["a", "b", "c", "d"]),
        ("snake_case 3.14", ["snake_case", "3", ".", "14"]),
        ("", []),
        (" \n\t", []),
    ],
)
def test_words_of_a_text(text: str, words: list[str]) -> None:
    assert [text[start:end] for start, end in segment(text)] == words


@given(st.text())
def test_words_are_in_order_apart_and_leave_out_white_space_only(text: str) -> None:
    spans = segment(text)
    covered = [False] * len(text)
    last = 0
    for start, end in spans:
        assert last <= start < end <= len(text)
        assert not text[start].isspace()
        covered[start:end] = [True] * (end - start)
        last = end
    for char, inside in zip(text, covered, strict=True):
        assert inside or char.isspace() or not char.isprintable()


@given(st.text(max_size=30), st.integers(0, 40))
def test_looking_at_a_part_finds_the_same_words(text: str, until: int) -> None:
    expected = [span for span in segment(text) if span[0] < until]
    assert segment(text, until) == expected


def test_a_token_over_two_words_joins_them() -> None:
    words, numbers = assign("end). Go", [(0, 3), (3, 5), (6, 8)])
    assert [word.text for word in words] == ["end", ").", "Go"]
    assert numbers == [0, 1, 2]


def test_words_that_no_token_covers_are_left_out() -> None:
    words, numbers = assign("one two three", [None, (0, 3), (3, 4), (4, 7), None])
    assert [(word.text, word.tokens) for word in words] == [("one", (1,)), ("two", (3,))]
    assert numbers == [None, 0, None, 1, None]


@given(
    st.text(alphabet="ab .中", max_size=12).flatmap(
        lambda text: st.tuples(
            st.just(text),
            st.lists(
                st.none()
                | st.tuples(st.integers(0, len(text)), st.integers(0, len(text))).map(
                    lambda pair: (min(pair), max(pair))
                ),
                max_size=8,
            ),
        )
    )
)
def test_each_token_is_in_the_word_that_it_names(
    case: tuple[str, list[tuple[int, int] | None]],
) -> None:
    text, offsets = case
    words, numbers = assign(text, offsets)
    for token, number in enumerate(numbers):
        holders = [index for index, word in enumerate(words) if token in word.tokens]
        assert holders == ([] if number is None else [number])
        offset = offsets[token]
        if offset is not None and text[offset[0] : offset[1]].strip():
            assert number is not None
    starts = [word.start for word in words]
    assert starts == sorted(starts)
    assert all(text[word.start : word.end] == word.text for word in words)


@given(st.text(alphabet=st.characters(), max_size=50))  # lone surrogates included
def test_clean_text_keeps_positions_and_can_be_encoded(text: str) -> None:
    clean = clean_text(text)
    assert len(clean) == len(text)
    assert clean.encode("utf-8")[:0] == b""
    for before, after in zip(text, clean, strict=True):
        assert after == ("\ufffd" if "\ud800" <= before <= "\udfff" else before)


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "\ud83d 🙂"])
def test_lone_surrogates_become_replacement_characters(text: str) -> None:
    assert clean_text(text).count("\ufffd") == 1
