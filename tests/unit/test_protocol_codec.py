from __future__ import annotations

import base64
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lmkit.errors import LmkitError, ProtocolError
from lmkit.protocol import codec
from lmkit.protocol.messages import Run, SavedTile, TileHeader
from lmkit.protocol.schema import schema


def _run(values: dict[str, Any]) -> Run:
    request = codec.decode_request({"type": "run", "id": "1", "view": "v", "values": values})
    assert isinstance(request, Run)
    return request


def test_another_version_has_a_sentence_of_its_own() -> None:
    with pytest.raises(ProtocolError, match="protocol 7; this lmkit reads 1") as caught:
        codec.decode_bundle({"protocol": 7, "anything": "else"})
    assert "Run the cell again" in caught.value.hint


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 2**53, -(2**53), 10**400])
def test_numbers_that_a_browser_cannot_hold_are_refused(number: float) -> None:
    with pytest.raises(ProtocolError):
        _run({"x": number})


def test_lone_surrogates_become_the_replacement_character() -> None:
    # a browser's text field may hold half an emoji; nothing that encodes UTF-8 takes it
    request = _run({"te\ud83dxt": "half \ud83d, whole \U0001f600", "list": "\udc00\ud800"})
    assert request.values == {
        "te\ufffdxt": "half \ufffd, whole \U0001f600",
        "list": "\ufffd\ufffd",
    }
    json.dumps(codec.to_builtins(request), ensure_ascii=False).encode()


@pytest.mark.parametrize("place", ["type", "id", "view"])
def test_a_surrogate_in_the_wrong_place_is_a_protocol_error(place: str) -> None:
    request = {"type": "cancel", "id": "1", "view": "v", "target": 0, place: "\ud800"}
    with pytest.raises(ProtocolError):
        codec.decode_request(request)


def test_deep_nesting_is_a_protocol_error() -> None:
    deep: Any = None
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ProtocolError):
        _run({"x": deep})


def test_text_bounds_count_code_points() -> None:
    message = {"type": "action", "id": "1", "view": "v", "name": "n", "argument": "👍" * 10_000}
    assert codec.to_builtins(codec.decode_request(message)) == message
    with pytest.raises(ProtocolError):
        codec.decode_request({**message, "argument": "👍" * 10_001})


def test_unpacking_stops_at_the_size_that_the_shape_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bomb = codec.save_tile(
        TileHeader(key="thumb/0", shape=(10,), encoding="sqrt-u8"), bytes(8_000_000)
    )
    asked: list[int] = []

    class Watched:
        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def decompress(self, data: bytes, limit: int) -> bytes:
            asked.append(limit)
            out: bytes = self._inner.decompress(data, limit)
            return out

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

    real = codec.zlib.decompressobj
    monkeypatch.setattr(codec.zlib, "decompressobj", lambda bits: Watched(real(bits)))
    with pytest.raises(ProtocolError):
        codec.load_tile(bomb)
    assert asked == [11]


@pytest.mark.parametrize("change", [lambda packed: packed[:-1], lambda packed: packed + b"\x00"])
def test_a_cut_or_an_addition_is_damage_even_when_all_bytes_come_out(change: Any) -> None:
    saved = codec.save_tile(
        TileHeader(key="thumb/0", shape=(3,), encoding="sqrt-u8"), b"\x01\x02\x03"
    )
    packed = change(base64.b64decode(saved.data))
    damaged = SavedTile(
        key=saved.key,
        shape=saved.shape,
        encoding=saved.encoding,
        data=base64.b64encode(packed).decode(),
    )
    with pytest.raises(ProtocolError):
        codec.load_tile(damaged)


def test_a_tile_that_claims_too_much_is_refused_before_anything_is_unpacked() -> None:
    huge = SavedTile(key="thumb/0", shape=(65_536, 65_536), encoding="f32", data="not base64")
    with pytest.raises(ProtocolError, match="more than is read"):
        codec.load_tile(huge)


def test_error_info_keeps_a_foreseen_errors_words() -> None:
    info = codec.error_info(
        LmkitError("No such model.", hint="Look at %lmkit models.", details="d")
    )
    assert (info.message, info.hint, info.details) == (
        "No such model.",
        "Look at %lmkit models.",
        "d",
    )


def test_error_info_names_an_unforeseen_error_and_its_traceback() -> None:
    def fail() -> None:
        raise KeyError("weights")

    with pytest.raises(KeyError) as caught:
        fail()
    info = codec.error_info(caught.value)
    assert info.code == "unforeseen"
    assert info.message == "KeyError: 'weights'"
    assert "in fail" in info.details


def test_error_info_survives_an_error_that_cannot_be_shown() -> None:
    class RudeError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    info = codec.error_info(RudeError())
    assert info.message.startswith("RudeError: ")


def test_error_info_bounds_its_texts() -> None:
    info = codec.error_info(ValueError("x" * 10_000_000))
    assert max(map(len, (info.message, info.hint, info.details))) <= 100_000


def test_the_module_writes_the_schema(tmp_path: Path) -> None:
    target = tmp_path / "schema.json"
    subprocess.run([sys.executable, "-m", "lmkit.protocol", str(target)], check=True)
    assert json.loads(target.read_text(encoding="utf-8")) == json.loads(json.dumps(schema()))
