"""Whatever is put into a field comes out checked, or is refused in words."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmkit.api import Field
from lmkit.errors import FieldError
from lmkit.fields import check_value, check_values, parse_value

FIELDS = (
    Field.text("words", required=False),
    Field.integer("count", minimum=-3, maximum=9, default=0),
    Field.number("ratio", minimum=0.0, maximum=1.0),
    Field.choice("colour", ["red", "green", "--blue"]),
    Field.boolean("loud"),
)
ANYTHING = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers())
)


@given(st.dictionaries(st.sampled_from([field.name for field in FIELDS]), ANYTHING))
def test_values_come_out_sound_or_are_refused(values: dict[str, Any]) -> None:
    try:
        checked = check_values(FIELDS, values)
    except FieldError:
        return
    assert set(checked) == {field.name for field in FIELDS}
    assert isinstance(checked["words"], str)
    assert type(checked["count"]) is int
    assert -3 <= checked["count"] <= 9
    assert type(checked["ratio"]) is float
    assert 0 <= checked["ratio"] <= 1
    assert checked["colour"] in ("red", "green", "--blue")
    assert type(checked["loud"]) is bool
    assert check_values(FIELDS, checked) == checked


@given(st.text())
def test_what_is_typed_is_read_or_refused(text: str) -> None:
    for field in FIELDS:
        try:
            value = parse_value(field, text)
        except FieldError:
            continue
        assert check_value(field, value) == value


@given(st.integers(-3, 9), st.floats(0, 1))
def test_numbers_survive_the_command_line(count: int, ratio: float) -> None:
    assert parse_value(FIELDS[1], str(count)) == count
    assert parse_value(FIELDS[2], repr(ratio)) == ratio


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, True, "0.5", None])
def test_no_number_is_no_number(value: Any) -> None:
    with pytest.raises(FieldError):
        check_value(FIELDS[2], value)


def test_a_lone_surrogate_is_named_with_its_place() -> None:
    with pytest.raises(FieldError, match="position 3"):
        check_value(FIELDS[0], "abc\ud800def")


@pytest.mark.parametrize("text", ["", "   ", "\n\t", "\0", " \0 "])
def test_an_empty_required_text_is_refused_at_a_run_and_kept_while_editing(text: str) -> None:
    fields = (Field.text("text", label="Text"),)
    with pytest.raises(FieldError, match="Text is empty"):
        check_values(fields, {"text": text})
    assert check_values(fields, {"text": text}, complete=False) == {"text": text}
