from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmkit.errors import ProtocolError
from lmkit.protocol import codec
from lmkit.protocol.keys import FORMS, Key, format_key, parse_key
from lmkit.protocol.messages import SavedTile, TileHeader, Token, TokenColumns

_NUMBER = st.integers(0, 99_999_999)
_TOKENS = st.lists(_NUMBER, min_size=1, max_size=20).map(tuple)
_RANGE = st.lists(_NUMBER, min_size=2, max_size=2, unique=True).map(lambda ab: tuple(sorted(ab)))
_LENSES = st.just("") | st.from_regex(r"[a-z][a-z0-9-]{0,9}", fullmatch=True)
_PLACES = {
    "layer": (st.just(0), st.just(())),
    "heads": (st.just(0), st.just(()) | _RANGE),
    "level": (_NUMBER, st.tuples(_NUMBER, _NUMBER, _NUMBER)),
    "head": (_NUMBER, st.just(())),
    "range": (_NUMBER, _RANGE),
    "tokens": (_NUMBER, _TOKENS),
}
_KEYS = st.one_of(
    [
        st.builds(Key, st.just(kind), _NUMBER, *_PLACES[form], _LENSES)
        for kind, form in FORMS.items()
    ]
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(_KEYS)
def test_a_key_is_read_as_it_was_written(key: Key) -> None:
    assert parse_key(format_key(key)) == key


@given(st.text() | st.from_regex(r"[a-z]{3,5}(/[0-9,-]{1,4}){1,4}(@[a-z-]{1,3})?", fullmatch=True))
def test_a_key_is_spelled_in_one_way_or_refused(text: str) -> None:
    try:
        key = parse_key(text)
    except ProtocolError:
        return
    assert format_key(key) == text


@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=4),
    st.sampled_from(["f32", "sqrt-u6", "sqrt-u8", "sqrt-u16"]),
    st.data(),
)
def test_a_saved_tile_gives_its_bytes_back(
    shape: list[int], encoding: Any, data: st.DataObject
) -> None:
    header = TileHeader(key="thumb/0", shape=tuple(shape), encoding=encoding)
    size = codec.tile_bytes(header)
    content = data.draw(st.binary(min_size=size, max_size=size))
    assert codec.load_tile(codec.save_tile(header, content)) == content


@given(st.binary(min_size=1, max_size=300), st.data())
def test_a_damaged_tile_gives_its_bytes_or_an_error(content: bytes, data: st.DataObject) -> None:
    header = TileHeader(key="thumb/0", shape=(len(content),), encoding="sqrt-u8")
    saved = codec.save_tile(header, content)
    text = list(saved.data)
    for _ in range(data.draw(st.integers(1, 4))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.characters())
    cut = data.draw(st.integers(0, len(text)))
    damaged = SavedTile(
        key=saved.key, shape=saved.shape, encoding=saved.encoding, data="".join(text[:cut])
    )
    try:
        assert len(codec.load_tile(damaged)) == len(content)
    except ProtocolError:
        return


@pytest.mark.parametrize(
    "decode", [codec.decode_request, codec.decode_outgoing, codec.decode_bundle]
)
@given(value=_JSON)
def test_any_json_is_a_message_or_a_protocol_error(decode: Any, value: Any) -> None:
    try:
        codec.to_builtins(decode(value))
    except ProtocolError:
        return


@given(st.dictionaries(st.text(), _JSON))
def test_the_values_of_a_request_are_scalars_that_utf8_and_json_can_hold(
    values: dict[str, Any],
) -> None:
    try:
        request = codec.decode_request({"type": "run", "id": "1", "view": "v", "values": values})
    except ProtocolError:
        return
    read = codec.to_builtins(request)["values"]
    assert len(read) <= len(values)
    for name, value in read.items():
        name.encode()
        assert value is None or isinstance(value, str | bool | int | float)
        if isinstance(value, float):
            assert abs(value) <= 1e308


_PLACE = st.integers(0, 10_000_000)
_ANY_TOKENS = st.lists(
    st.builds(
        Token,
        text=st.text(max_size=5),
        raw=st.text(max_size=5),
        special=st.booleans(),
        word=st.none() | _PLACE,
        start=_PLACE,
        end=_PLACE,
    ),
    max_size=20,
)


@given(_ANY_TOKENS)
def test_tokens_are_read_from_columns_as_they_were_written(tokens: list[Token]) -> None:
    columns = TokenColumns.of(tokens)
    assert list(columns) == tokens
    assert list(msgspec.json.decode(msgspec.json.encode(columns), type=TokenColumns)) == tokens
