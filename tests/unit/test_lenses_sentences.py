"""Sentence boundaries by Unicode Standard Annex #29, in several scripts."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lmkit.views.lenses.sentences import sentence_spans

# The bar is where a sentence ends.
CASES = {
    "numbers": "It costs 3.4 dollars.| It is.",
    "initials": "The U.S. is big, the U.S.| Government small.",
    "lower case goes on": "etc.) and so on, e.g. this.",
    "quote": "He said, “Are you going?”| John shook his head.",
    "lower after quote": "“Are you going?”| he asked.",
    "stop then lower": "the resp. leaders are",
    "brackets": "It was (done.)| Then it ended.",
    "many": "What?!| No way...| Yes!",
    "comma after": "Wow!, he said.",
    "no space": "3.a and c.d stay, b.| D goes.",
    "chinese": "你好。|我很好！|真的吗？|“是的。”|他说（对。）|好",
    "japanese": "「はい。」|と言った。",
    "arabic": "كيف حالك؟| أنا بخير.| شكرا۔| نعم",
    "hindi": "यह है।| वह है॥| और",
    "german quotes": "„Halt.“| Sie ging.",
    "lines": "one\n|two\r\n|three\u2029|four",
    "blank lines": "a\n|\n  b",
    "marks": "Oh.\u0301\u200d| Then",
    "emoji": "Nice!| 👍🏽 Yes.",
    "code": "x = a.b(c)\n|return x;",
}


@pytest.mark.parametrize("name", CASES)
def test_sentences(name: str) -> None:
    want = [part.strip() for part in CASES[name].split("|") if part.strip()]
    text = CASES[name].replace("|", "")
    assert [text[start:end] for start, end in sentence_spans(text)] == want


def test_a_second_text_begins_a_sentence() -> None:
    text = "one\ntwo three"
    assert sentence_spans(text, (8,)) == [(0, 3), (4, 7), (8, 13)]
    assert sentence_spans(text, (0, 13, 99)) == sentence_spans(text)


@settings(deadline=None)
@given(st.text(alphabet="aB1 .!?。؟\"'(「”\n\u0301,\u200d中") | st.text())
@example("")
@example(" \n ")
@example("." * 50)
def test_spans_hold_all_but_white_space_in_order(text: str) -> None:
    spans = sentence_spans(text)
    at = 0
    for start, end in spans:
        assert not text[at:start].strip()
        assert start < end
        assert text[start:end].strip() == text[start:end]
        at = end
    assert not text[at:].strip()
