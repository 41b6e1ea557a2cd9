"""The golden files are read here and by js/protocol/test/golden.test.ts, to the same values."""

from __future__ import annotations

import base64
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmkit.errors import ProtocolError
from lmkit.protocol import codec, keys, levels, tiles
from lmkit.protocol.messages import SavedTile, TileHeader
from lmkit.protocol.schema import schema

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"


def _load(name: str) -> Any:
    return json.loads((GOLDEN / name).read_text(encoding="utf-8"))


def _writer() -> Any:
    spec = importlib.util.spec_from_file_location("golden_writer", GOLDEN / "write.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _unpacked(content: Any) -> Any:
    """Replaces deflated data by what it holds: another zlib may pack the same bytes otherwise."""
    if isinstance(content, list):
        return [_unpacked(each) for each in content]
    if not isinstance(content, dict):
        return content
    content = {name: _unpacked(value) for name, value in content.items()}
    if {"key", "shape", "encoding", "data"} <= content.keys():
        try:
            content["data"] = codec.load_tile(_saved(content)).hex()
        except (ProtocolError, TypeError):
            content["data"] = "damaged"
    return content


def _saved(data: dict[str, Any]) -> SavedTile:
    return SavedTile(**{**data, "shape": tuple(data["shape"])})


def _as_json(message: Any) -> Any:
    return json.loads(json.dumps(codec.to_builtins(message), allow_nan=False))


def test_the_golden_files_are_what_their_script_writes() -> None:
    for name, content in _writer().golden().items():
        again = json.loads(json.dumps(content))
        assert _unpacked(_load(name)) == _unpacked(again), f"{name}: run tests/golden/write.py"


def test_the_schema_of_the_front_end_is_pythons() -> None:
    committed = json.loads((ROOT / "js" / "protocol" / "schema.json").read_text(encoding="utf-8"))
    assert committed == json.loads(json.dumps(schema())), (
        "run python -m lmkit.protocol js/protocol/schema.json && npm --prefix js run generate"
    )


@pytest.mark.parametrize(
    ("name", "decode"),
    [
        ("requests.json", codec.decode_request),
        ("outgoing.json", codec.decode_outgoing),
        ("bundles.json", codec.decode_bundle),
    ],
)
def test_messages_are_read_as_written(name: str, decode: Any) -> None:
    entries = _load(name)
    assert entries
    for entry in entries:
        assert _as_json(decode(entry["given"])) == entry["read"]
        assert _as_json(decode(entry["read"])) == entry["read"]


@pytest.mark.parametrize(
    ("name", "decode"), [("outgoing", codec.decode_outgoing), ("bundle", codec.decode_bundle)]
)
def test_what_is_refused_is_refused_with_a_sentence(name: str, decode: Any) -> None:
    values = _load("refused.json")[name]
    assert values
    for value in values:
        with pytest.raises(ProtocolError) as caught:
            decode(value)
        assert caught.value.message.endswith((".", ";"))


def test_hostile_bundles_are_read_or_refused_and_nothing_else() -> None:
    corpus, changed = _load("hostile.json"), _writer().changed
    changes = corpus["changes"]
    assert len(changes) >= 200
    assert {change["read"] for change in changes} == {True, False}
    assert any(False in change["tiles"] for change in changes)
    for change in changes:
        data = changed(corpus["base"], change["at"], change["put"])
        if not change["read"]:
            with pytest.raises(ProtocolError):
                codec.decode_bundle(data)
            continue
        for tile, good in zip(codec.decode_bundle(data).tiles, change["tiles"], strict=True):
            if good:
                assert len(codec.load_tile(tile)) == codec.tile_bytes(tile)
            else:
                with pytest.raises(ProtocolError):
                    codec.load_tile(tile)


def test_keys() -> None:
    golden = _load("keys.json")
    for text, fields in golden["valid"].items():
        key = keys.parse_key(text)
        assert (key.kind, key.layer) == (fields["kind"], fields["layer"])
        assert key.head == fields.get("head", 0)
        wanted = fields.get("tokens", [])
        for names in (("first", "last"), ("level", "row", "column")):
            if names[0] in fields:
                wanted = [fields[name] for name in names]
        assert list(key.tokens) == wanted
        assert keys.format_key(key) == text
    for text in golden["invalid"]:
        with pytest.raises(ProtocolError):
            keys.parse_key(text)


def test_levels() -> None:
    golden = _load("levels.json")
    assert sum(each["found"] is not None for each in golden) > 20
    for each in golden:
        place = each["queries"], each["keys"], each["level"]
        found = levels.level_of(*place)
        assert (None if found is None else list(found)) == each["found"]
        for tile in each["boxes"]:
            box = levels.tile_box(*place, tile["row"], tile["column"])
            assert (None if box is None else list(box)) == tile["box"]


def test_tiles_hold_the_same_numbers_live_and_saved() -> None:
    for tile in _load("tiles.json")["good"]:
        header = TileHeader(**{**tile["header"], "shape": tuple(tile["header"]["shape"])})
        data = base64.b64decode(tile["bytes"])
        assert len(data) == codec.tile_bytes(header)
        assert codec.load_tile(_saved(tile["saved"])) == data
        values = tiles.decode(data, header.shape, header.encoding)
        np.testing.assert_array_equal(values.ravel(), np.float32(tile["values"]))


def test_damaged_tiles_are_refused() -> None:
    damaged = _load("tiles.json")["damaged"]
    assert damaged
    for tile in damaged:
        with pytest.raises(ProtocolError):
            codec.load_tile(_saved(tile))
