"""Placeholders are consistent, come back exactly, and the key stays where it is."""

from __future__ import annotations

import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lmkit_ner.redaction import Key, placeholder_kind


def mark(text: str, name: str, kind: str = "PER", nth: int = 0) -> tuple[int, int, str]:
    at = -1
    for _ in range(nth + 1):
        at = text.index(name, at + 1)
    return at, at + len(name), kind


def test_one_name_has_one_placeholder_in_all_texts() -> None:
    key = Key()
    text = "Ada met Bob in Rome. Ada left Rome."
    made = key.redact(text, [mark(text, "Ada"), mark(text, "Bob"), mark(text, "Rome", "LOC")])
    # The second Ada and the second Rome were not marked: they are the same names.
    assert made.text == "[PERSON 1] met [PERSON 2] in [LOCATION 1]. [PERSON 1] left [LOCATION 1]."
    assert made.counts == {"LOC": 2, "PER": 3}
    assert [made.text[start:end] for start, end, _ in made.marks][:2] == [
        "[PERSON 1]", "[PERSON 2]",
    ]  # fmt: skip
    later = key.redact("Bob and Cy", [(8, 10, "PER")])
    assert later.text == "[PERSON 2] and [PERSON 3]"
    assert key.restore(made.text + later.text) == text + "Bob and Cy"


def test_a_name_in_the_last_text_is_replaced_in_the_first() -> None:
    key = Key()
    texts = ["Hello Grace.", "Grace Hopper wrote it.", "Grace!"]
    marks = [[], [mark(texts[1], "Grace Hopper")], [mark(texts[2], "Grace")]]
    found = [one.text for one in key.redact_all(texts, marks)]
    assert found == ["Hello [PERSON 2].", "[PERSON 1] wrote it.", "[PERSON 2]!"]


def test_names_are_replaced_as_words_of_their_own() -> None:
    key = Key()
    text = "Ann and Anna, Ann's; Joann. 王明和王明明。"
    made = key.redact(text, [mark(text, "Ann"), mark(text, "王明")])
    # Chinese has no blanks between words, so a name there may be a part of another.
    assert made.text == "[PERSON 1] and Anna, [PERSON 1]'s; Joann. [PERSON 2]和[PERSON 2]明。"


def test_words_of_a_persons_name_are_replaced_alone_where_asked() -> None:
    texts = ["Ada de Vries-Lovelace met Bank of Rome.", "Vries-Lovelace, Ada's; de Adams in Rome."]
    marks = [
        [mark(texts[0], "Ada de Vries-Lovelace"), mark(texts[0], "Bank of Rome", "ORG")],
        [],
    ]  # fmt: skip
    assert Key().redact_all(texts, marks)[1].text == texts[1]
    key = Key()
    made = [one.text for one in key.redact_all(texts, marks, parts=True)]
    assert made == [
        "[PERSON 1] met [ORGANISATION 1].",
        "[PERSON 2], [PERSON 3]'s; de Adams in Rome.",
    ]
    assert [key.restore(one) for one in made] == texts
    assert Key().redact_all(texts, marks, {"ORG"}, parts=True)[1].text == texts[1]


def test_only_some_kinds() -> None:
    key = Key()
    text = "Ada in Rome"
    made = key.redact(text, [mark(text, "Ada"), mark(text, "Rome", "LOC")], {"LOC"})
    assert made.text == "Ada in [LOCATION 1]"
    assert len(key) == 1


def test_of_overlapping_marks_the_longest_counts() -> None:
    text = "Bank of China pays"
    made = Key().redact(text, [mark(text, "China", "LOC"), mark(text, "Bank of China", "ORG")])
    assert made.text == "[ORGANISATION 1] pays"


def test_a_redacted_text_stays_as_it_is() -> None:
    key = Key()
    once = key.redact("Ada met Bob", [(0, 3, "PER")]).text
    again = key.redact(once, [(0, len("[PERSON 1]"), "MISC"), mark(once, "PERSON", "ORG")])
    assert again.text == once == "[PERSON 1] met Bob"


def test_a_text_that_speaks_of_placeholders_comes_back() -> None:
    key = Key()
    text = "Write [PERSON 1] for Ada."
    made = key.redact(text, [mark(text, "Ada")])
    assert made.text == "Write [PERSON 1] for [PERSON 2]."
    assert key.restore(made.text) == text


def test_of_another_key_nothing_comes_back() -> None:
    made = Key().redact("Ada met Bob", [(0, 3, "PER")])
    assert Key().restore(made.text) == made.text


def test_a_key_shows_and_gives_away_nothing() -> None:
    key = Key()
    key.redact("Ada met Bob", [(0, 3, "PER")])
    assert repr(key) == "<lmkit_ner.Key of 1 names>"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="stays in its process"):
            pickle.dumps(key, protocol)
    with pytest.raises(TypeError):
        json.dumps(key)
    key.forget()
    assert len(key) == 0
    assert key.restore("[PERSON 1]") == "[PERSON 1]"


@given(st.text(max_size=20))
def test_any_kind_makes_a_placeholder_that_can_be_read(kind: str) -> None:
    key = Key()
    made = key.redact("x Ada y", [(2, 5, kind)])
    assert "Ada" not in made.text
    assert key.restore(made.text) == "x Ada y"
    assert placeholder_kind(kind)


PARTS = ("A", "a", "b", " ", "\u738b", "\u0301", "[", "]", "1", "\n", "PERSON", "[P 1]", "[Q 2]")
NAMES = st.lists(st.sampled_from(PARTS), max_size=30).map("".join)


@given(
    texts=st.lists(NAMES, min_size=1, max_size=4),
    cuts=st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 30), st.integers(1, 6), st.sampled_from("PQ")),
        max_size=10,
    ),
)
def test_any_text_comes_back(texts: list[str], cuts: list[tuple[int, int, int, str]]) -> None:
    key = Key()
    marks: list[list[tuple[int, int, str]]] = [[] for _ in texts]
    for which, start, length, kind in cuts:
        if which < len(texts) and start + length <= len(texts[which]):
            marks[which].append((start, start + length, kind))
    made = key.redact_all(texts, marks)
    for text, one in zip(texts, made, strict=True):
        assert key.restore(one.text) == text
        restored, places = key.restored(one.text)
        assert restored == text
        assert len(places) == len(one.marks)
