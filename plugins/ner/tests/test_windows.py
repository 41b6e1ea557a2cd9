"""Long texts: each token once, read where most of its surroundings are seen."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lmkit_ner.aggregation import Entity, Piece
from lmkit_ner.reading import Reading, read_text
from lmkit_ner.recognise import chosen_window, window_of
from lmkit_ner.windows import Window, join_windows

from lmkit.models import ModelStore

DOCUMENT = " ".join(
    (
        "Ada Lovelace was born in London and wrote to Charles Babbage for many years.",
        "The Royal Society of Edinburgh heard of it from Mary Somerville, who lived in Scotland.",
        "Much later Grace Hopper worked for Harvard University in Cambridge.",
        "She met Howard Aiken there, and they spoke of Lovelace's notes on the engine.",
        "In Germany Konrad Zuse built machines of his own in Berlin, unknown to International "
        "Business Machines.",
        "Alan Turing worked at Bletchley Park, then for the University of Manchester.",
    )
    * 3
)


def limited(tokens: int) -> Any:
    """The starter, told to read no more than so many tokens at once."""
    whole = ModelStore(device="cpu").get("starter:ner", "AutoModelForTokenClassification")
    tokenizer = copy.deepcopy(whole.tokenizer)
    tokenizer.model_max_length = tokens
    return ModelStore(device="cpu").get((whole.model, tokenizer), "AutoModelForTokenClassification")


def cut(count: int, size: int, shared: int, same: int = 1) -> tuple[list[Piece], list[Window]]:
    """Windows of a text of ``count`` tokens; ``same`` neighbours have one place each.

    The score of a token tells its number and the window that it was read in.
    """
    pieces = [Piece(index // same * 2, index // same * 2 + 1) for index in range(count)]
    windows = []
    first = 0
    while True:
        last = min(count, first + size)
        scores = [[index, len(windows)] for index in range(first, last)]
        windows.append(
            Window(pieces[first:last], np.array(scores, dtype=np.float32).reshape(-1, 2))
        )
        if last == count:
            return pieces, windows
        first += size - shared


@given(count=st.integers(1, 80), size=st.integers(2, 20), data=st.data())
def test_every_token_once(count: int, size: int, data: st.DataObject) -> None:
    shared = data.draw(st.integers(0, size - 1))
    pieces, windows = cut(count, size, shared)
    found, scores = join_windows(data.draw(st.permutations(windows)))
    assert found == pieces
    assert scores[:, 0].tolist() == list(range(count))
    for index, window in enumerate(scores[:, 1].astype(int)):
        sees = [
            min(
                index - first if number else count,
                last - index if number < len(windows) - 1 else count,
            )
            for number, (first, last) in enumerate(
                (
                    number * (size - shared),
                    min(count, number * (size - shared) + size) - 1,
                )
                for number in range(len(windows))
            )
            if first <= index <= last
        ]
        numbers = [
            number
            for number in range(len(windows))
            if number * (size - shared) <= index < number * (size - shared) + size
        ]
        assert sees[numbers.index(window)] == max(sees)


def test_tokens_that_share_a_place() -> None:
    pieces, windows = cut(30, 12, 4, same=3)
    found, scores = join_windows(windows)
    assert found == pieces
    assert scores[:, 0].tolist() == list(range(30))


def test_one_window_is_itself() -> None:
    pieces, windows = cut(5, 9, 3)
    found, scores = join_windows(windows)
    assert found == pieces
    assert np.array_equal(scores, windows[0].scores)
    empty = Window([], np.zeros((0, 2), dtype=np.float32))
    assert join_windows([empty])[0] == []


@pytest.mark.parametrize(("length", "stride"), [(64, 20), (200, 64)])
def test_each_token_is_as_in_a_pass_over_its_window_alone(length: int, stride: int) -> None:
    parts = read_text(limited(length), DOCUMENT, stride)
    whole = read_text(limited(512), DOCUMENT, 0)
    assert len(whole.windows) == 1 < len(parts.windows)
    assert parts.pieces == whole.pieces
    nearest = np.full(len(parts.pieces), np.inf)
    place = {(piece.start, piece.end): index for index, piece in enumerate(parts.pieces)}
    for start, end in parts.windows:
        alone = read_text(limited(512), DOCUMENT[start:end], 0)
        for piece, scores in zip(alone.pieces, alone.scores, strict=True):
            index = place[piece.start + start, piece.end + start]
            far = float(np.abs(parts.scores[index] - scores).max())
            nearest[index] = min(nearest[index], far)
    assert nearest.max() < 1e-4


def test_the_window_on_show() -> None:
    reading = Reading("x" * 100, [], np.zeros((0, 1)), ("O",), ((0, 40), (30, 70), (60, 100)))
    assert [window_of(reading, start, start + 2) for start in (0, 31, 37, 50, 66, 90)] == [
        0, 0, 1, 1, 2, 2,
    ]  # fmt: skip
    assert chosen_window(reading, [], 0) == 0
    assert chosen_window(reading, [Entity(90, 92, "PER", 1.0)], 0) == 2
    assert chosen_window(reading, [], 2) == 1
    assert chosen_window(reading, [], 99) == 2


@given(
    length=st.integers(30, 300),
    size=st.integers(10, 30),
    shared=st.integers(0, 9),
    start=st.integers(0, 300),
    long=st.integers(1, 40),
)
def test_the_window_of_a_stretch_is_the_roomiest_that_holds_it(
    length: int, size: int, shared: int, start: int, long: int
) -> None:
    firsts = range(0, max(1, length - shared), size - shared)
    windows = tuple((first, min(length, first + size)) for first in firsts)
    reading = Reading("x" * length, [], np.zeros((0, 1)), ("O",), windows)
    end = start + long
    holding = {
        number: min(
            length if number == 0 else start - first,
            length if number == len(windows) - 1 else after - end,
        )
        for number, (first, after) in enumerate(windows)
        if first <= start and end <= after
    }
    expected = max(holding, key=holding.__getitem__) if holding else 0
    assert window_of(reading, start, end) == expected


class Counted(tuple[tuple[int, int], ...]):
    """Windows that count how often one of them is looked at."""

    looked = 0

    def __getitem__(self, place: Any) -> Any:
        Counted.looked += 1
        return super().__getitem__(place)


def test_finding_the_window_of_an_entity_does_not_look_at_all_windows() -> None:
    windows = Counted((first, first + 500) for first in range(0, 1_000_000, 372))
    reading = Reading("x" * 1_000_000, [], np.zeros((0, 1)), ("O",), windows)
    for start in range(0, 999_000, 9_990):
        window_of(reading, start, start + 8)
    assert Counted.looked < 100 * 30


@pytest.mark.parametrize("stride", [0, 3, 100])
def test_windows_of_a_short_model(stride: int) -> None:

    one = read_text(limited(24), DOCUMENT[:600], stride)
    assert len(one.windows) > 3
    assert one.pieces == read_text(limited(512), DOCUMENT[:600], 0).pieces
