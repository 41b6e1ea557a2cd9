"""Of a long text with spans a page gets a part; Python keeps the whole."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from lmkit.protocol.messages import Span, Spans, Text
from lmkit.transports.picture import _result_lines
from lmkit.views.parts import BEFORE, CHARACTERS, SPANS, parts_of


def long_text(count: int, *, shown: int | None = None) -> Spans:
    """So many words of nine characters, each a span; one of them in the explorer's pass."""
    spans = tuple(
        Span(start=at, end=at + 8, label="PER", tokens=(1,) if at == shown else ())
        for at in range(0, count * 9, 9)
    )
    return Spans(text="Lovelace " * count, spans=spans, title="Entities")


def test_what_is_short_and_what_has_no_spans_stays() -> None:
    results = (long_text(SPANS), Text(text="x" * 100_000))
    assert parts_of(results) == results


def test_a_megabyte_is_sent_as_little_as_is_drawn() -> None:
    whole = long_text(120_000)
    (part,) = parts_of([whole])
    assert isinstance(part, Spans)
    assert (part.offset, part.text) == (0, whole.text[:CHARACTERS])
    assert (part.whole_characters, part.whole_spans) == (1_080_000, 120_000)
    assert part.spans == whole.spans[:SPANS]
    assert len(msgspec.json.encode(part)) < 150_000


def test_the_part_is_where_the_explorer_looks() -> None:
    at = 70_000 * 9
    (part,) = parts_of([long_text(120_000, shown=at)])
    assert isinstance(part, Spans)
    assert 0 < at - part.offset <= BEFORE
    assert part.text[at - part.offset : at + 8 - part.offset] == "Lovelace"
    assert part.text.startswith(" Lovelace ")
    (end,) = parts_of([long_text(120_000, shown=119_999 * 9)])
    assert isinstance(end, Spans)
    assert end.text.endswith("Lovelace ")
    assert end.spans[-1].start == 119_999 * 9  # though more than are sent stand before it


@given(
    length=st.integers(0, 3 * CHARACTERS),
    places=st.lists(st.tuples(st.integers(0, 3 * CHARACTERS), st.integers(1, 50)), max_size=20),
    blanks=st.booleans(),
)
def test_each_span_of_the_part_is_in_it(
    length: int, places: list[tuple[int, int]], blanks: bool
) -> None:
    text = ("ab " * length if blanks else "\u4e2d" * length)[:length]
    spans = tuple(
        Span(start=start, end=min(length, start + size), tokens=(0,) * (start % 3))
        for start, size in places
        if start < length
    )
    (part,) = parts_of([Spans(text=text, spans=spans)])
    assert isinstance(part, Spans)
    assert len(part.text) == min(length, CHARACTERS)
    assert text[part.offset : part.offset + len(part.text)] == part.text
    for span in part.spans:
        assert span.start < part.offset + len(part.text)
        assert span.end > part.offset
    marked = next((span for span in spans if span.tokens), None)
    assert marked is None or marked in part.spans


def test_the_output_in_words_says_how_much_it_leaves_out() -> None:
    (part,) = parts_of([long_text(120_000, shown=70_000 * 9)])
    lines = _result_lines(part)
    assert lines[1] == "'Lovelace' PER"
    assert lines[-1] == "and 119,952 more"
    one = Spans(text="x" * 10_000, spans=(Span(start=0, end=10_000, label="PER"),))
    assert len(_result_lines(one)[0]) < 300
