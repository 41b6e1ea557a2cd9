"""The report on a data set: what a row of the errors carries for a click."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from lmkit_ner.report import MOST_OPENED, make_report

from lmkit.api import Row, RowResults, Table

LONG = "On a day like this one there was Ada Lovelace in the old town. "


def errors(text: str, found: list[dict[str, Any]], right: list[list[Any]]) -> Table:
    output = {"text": text, "entities": found, "right": right}
    done = RowResults([Row(0, {"text": text})], [output], total=1)
    table = make_report(done, error="all", kinds="")[-1]
    assert isinstance(table, Table)
    return table


def spurious(places: list[int], length: int = 12) -> list[dict[str, Any]]:
    return [{"start": at, "end": at + length, "label": "PER", "score": 1.0} for at in places]


def test_a_text_of_a_megabyte_is_not_in_every_row_of_the_errors() -> None:
    text = LONG * (1_000_000 // len(LONG) + 1)
    places = [at * 1_000 * 2 // len(LONG) * len(LONG) + LONG.index("Ada") for at in range(500)]
    table = errors(text, spurious(places), [])
    assert len(table.rows) == len(table.changes) == 500
    assert len(msgspec.json.encode(table)) < 500 * (MOST_OPENED + 1_000)
    for change in table.changes:
        assert change is not None
        opened = change.values["text"]
        assert "Ada Lovelace" in opened
        assert opened in text
        assert MOST_OPENED - 200 < len(opened) <= MOST_OPENED
        assert opened.split()[0] in LONG.split()
        assert opened.split()[-1] in LONG.split()
        assert change.values["window"] == 0
    assert f"more than {MOST_OPENED:,} characters" in table.note


@pytest.mark.parametrize("at", [0, 700, 9_000, 19_988])
def test_the_stretch_holds_the_error_wherever_it_is(at: int) -> None:
    text = "字" * at + "Ada Lovelace" + "字" * (20_000 - 12 - at)
    (change,) = errors(text, spurious([at]), []).changes
    assert change is not None
    assert "Ada Lovelace" in change.values["text"]
    assert len(change.values["text"]) == MOST_OPENED


def test_an_error_longer_than_the_stretch_is_opened_from_its_start() -> None:
    text = "a " * 50 + "b" * 5_000 + " c" * 50
    (change,) = errors(text, [], [[100, 5_100, "PER"]]).changes
    assert change is not None
    assert change.values["text"] == "b" * MOST_OPENED


def test_a_short_text_is_opened_whole_and_nothing_is_said() -> None:
    text = LONG * 3
    table = errors(text, spurious([LONG.index("Ada")]), [])
    assert table.changes[0] is not None
    assert table.changes[0].values["text"] == text
    assert table.note == ""
