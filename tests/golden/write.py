"""Writes the golden files, which pytest and the TypeScript tests both read.

``python tests/golden/write.py`` writes them again. Each entry holds what was ``given`` and what
reading it gives (``read``), or nothing where it is refused: both languages must agree.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from lmkit.cells import cell_source
from lmkit.protocol import codec, levels, tiles
from lmkit.protocol.messages import SavedTile, TaskCell, TileHeader, TokenColumns

__all__ = ["HERE", "HOSTILE", "golden"]

HERE = Path(__file__).parent

#: Texts that a careless renderer would execute, lose or disorder.
HOSTILE = [
    "",
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "\u202edesrever\u202c \u2066isolated\u2069",
    "מודל ونموذج",
    "👩‍👩‍👧‍👦 🇨🇭 👍🏽",
    "a\x00b",
    "a\u0301\ufeff\u200b\u2028\u2029",
    "${alert(1)} {{7*7}} %s %(x)s",
    "__proto__",
    "Ġthe",
    "\t\r\n ",
]

_HEADER = {"task": "classification", "title": "Classification", "model": "starter:sentiment"}
_LAYER = {"name": "layer.0", "role": "encoder", "heads": 2, "kvHeads": 2, "queries": 3, "keys": 3}
_PANEL = {"kind": "panel", "header": _HEADER}


def _panel() -> dict[str, Any]:
    tokens = [{"text": text, "raw": text} for text in HOSTILE]
    tokens[1] |= {"special": True, "word": 0, "start": 1, "end": 29}
    columns = {
        "text": HOSTILE,
        "special": [1],
        "words": [None, 1, *[None] * 10],
        "gaps": [0, 1, -29, *[0] * 9],
        "lengths": [0, 28, *[0] * 10],
    }
    return {
        "kind": "panel",
        "protocol": 1,
        "header": {**_HEADER, "title": HOSTILE[1], "device": "cpu", "dtype": "float32"},
        "fields": [
            {"kind": "text", "name": "text", "label": HOSTILE[2], "body": True},
            {
                "kind": "integer",
                "name": "k",
                "label": "How many",
                "default": 5,
                "minimum": 1,
                "maximum": 50,
            },
            {
                "kind": "number",
                "name": "threshold",
                "label": "Threshold",
                "default": 0.5,
                "minimum": 0,
                "maximum": 1,
            },
            {
                "kind": "choice",
                "name": "how",
                "label": "How",
                "options": ["fast", HOSTILE[1]],
                "default": "fast",
            },
            {"kind": "boolean", "name": "multi", "label": "Several labels", "help": HOSTILE[3]},
        ],
        "values": {"text": HOSTILE[2], "k": 5, "threshold": 0.25, "multi": True, "__proto__": None},
        "results": [
            {"kind": "labels", "scores": [{"label": text, "score": 0.5} for text in HOSTILE[:3]]},
            {
                "kind": "spans",
                "text": HOSTILE[5],
                "spans": [{"start": 0, "end": 7, "label": "EMOJI"}],
            },
            {"kind": "text", "text": HOSTILE[2], "title": HOSTILE[1]},
            {"kind": "table", "columns": HOSTILE[:3], "rows": [["a", 1, 0.5], [None, True, "b"]]},
            {
                "kind": "head-grid",
                "measures": [
                    {"name": "induction", "title": HOSTILE[1], "values": [[0.5, None], [-1, 2]]}
                ],
                "note": HOSTILE[2],
            },
            {
                "kind": "token-scores",
                "tokens": tokens[:2],
                "rows": [{"label": HOSTILE[1], "values": [0.5, -0.25]}],
                "diverging": True,
            },
            {"kind": "page", "html": HOSTILE[2], "title": HOSTILE[1]},
            {
                "kind": "token-choices",
                "tokens": [
                    {"token": tokens[0]},
                    {
                        "token": tokens[1],
                        "probability": 0.5,
                        "rank": 0,
                        "entropy": 1.5,
                        "alternatives": [
                            {"text": HOSTILE[2], "probability": 0.25},
                            {
                                "text": HOSTILE[1],
                                "probability": 0,
                                "change": {"values": {"start": "[1]", "k": 2}, "run": False},
                            },
                        ],
                        "forced": True,
                        "step": 1,
                    },
                ],
                "measure": "entropy",
                "streaming": True,
            },
            {
                "kind": "tree",
                "nodes": [
                    {"text": HOSTILE[1]},
                    {
                        "text": HOSTILE[2],
                        "parent": 0,
                        "score": -1.5,
                        "kept": True,
                        "best": True,
                        "detail": HOSTILE[3],
                        "change": {"values": {}},
                    },
                ],
                "title": HOSTILE[1],
            },
            {
                "kind": "grid",
                "columns": HOSTILE[:2],
                "rows": [HOSTILE[1]],
                "cells": [[{"text": HOSTILE[2], "shade": 1}, {"text": "", "detail": HOSTILE[1]}]],
                "legend": HOSTILE[1],
            },
        ],
        "attention": {
            "layers": [
                _LAYER,
                {**_LAYER, "name": HOSTILE[1], "causal": True, "window": 2},
                {
                    **_LAYER,
                    "step": 3,
                    "headSize": 64,
                    "scale": 0.125,
                    "softcap": 50,
                    "sinks": True,
                    "hasQk": True,
                    "hasValues": True,
                    "rotary": True,
                },
            ],
            "tokens": columns,
            "path": "sdpa",
            "deviation": 3e-7,
            "scale": "difference",
            "lenses": [
                {"name": "words", "title": HOSTILE[1], "grouped": True},
                {"name": "norm", "title": "Norm", "scale": "amount", "reason": HOSTILE[2]},
            ],
            "views": [
                {
                    "name": "head-map",
                    "title": HOSTILE[1],
                    "fields": [{"kind": "boolean", "name": "corpus", "label": HOSTILE[2]}],
                    "follows": ["layer", "tokens"],
                }
            ],
            "steps": [{"label": HOSTILE[1], "first": 0, "last": 2}],
        },
        "status": {
            "state": "running",
            "run": "r1",
            "progress": {"label": HOSTILE[1], "done": 1, "total": 6, "secondsLeft": 0.5},
        },
        "warnings": [HOSTILE[1]],
        "python": "kit.classify('\\x3c/script>')",
    }


def _home() -> dict[str, Any]:
    return {
        "kind": "home",
        "version": "0.1.0",
        "plugins": [
            {"name": "good", "state": "ready", "tasks": ["classification"]},
            {
                "name": HOSTILE[1],
                "state": "quarantined",
                "error": {"code": "plugin-import", "message": HOSTILE[2], "hint": "Reinstall."},
            },
        ],
        "tasks": [
            {
                "name": "classification",
                "title": HOSTILE[1],
                "plugin": "good",
                "cell": {"line": "%%lm classification", "text": HOSTILE[2]},
            },
            {
                "name": "distillation",
                "title": "",
                "plugin": "good",
                "cell": {"line": "%lm distillation"},
            },
            {"name": "of-an-older-output", "title": "", "plugin": "good"},
        ],
        "devices": [{"name": "cpu", "title": "CPU", "chosen": True, "memoryTotal": 2**40}],
        "models": [
            {
                "name": "starter:sentiment",
                "kind": "bert",
                "parameters": 22_700_000,
                "bytes": 90_800_000,
                "device": "cpu",
                "dtype": "float32",
            }
        ],
        "starters": [{"name": "sentiment", "title": "Sentiment", "installed": True}],
        "jobs": [
            {
                "name": "runs/one",
                "title": HOSTILE[1],
                "task": "distillation",
                "field": "folder",
                "state": "killed",
                "step": 3,
                "steps": 9,
                "note": "loss 0.5",
                "problem": HOSTILE[2],
                "actions": ["resume"],
            }
        ],
    }


def _requests() -> list[dict[str, Any]]:
    base = {"id": "9b2f", "view": "v1"}
    given = [
        {**base, "type": "hello", "session": "s1", "protocol": 1, "version": "0.1.0"},
        {**base, "type": "tile", "key": "head/3/7"},
        {**base, "type": "run", "values": {"text": HOSTILE[2], "k": 5, "none": None, "half": 0.5}},
        {**base, "type": "edit", "values": dict.fromkeys(HOSTILE, True)},
        {**base, "type": "cancel", "target": "9b2e"},
        {**base, "type": "select", "selection": {"layer": 1, "head": 0, "tokens": [2, 0]}},
        {**base, "type": "select", "selection": {}},
        {**base, "type": "action", "name": "unload", "argument": HOSTILE[1]},
        {**base, "type": "action", "name": "rescan", "more": "is left out"},
        {**base, "type": "export", "format": "npz"},
        {
            **base,
            "type": "export",
            "format": "svg",
            "options": {
                "selection": {"layer": 1, "head": 0, "tokens": [2]},
                "picture": "map",
                "theme": "dark",
                "mapping": "log",
                "text": False,
            },
        },
        {**base, "type": "query", "name": "head-map"},
        {
            **base,
            "type": "query",
            "name": "switch-off",
            "arguments": {"how": "zero", "texts": HOSTILE[1], "n": 3},
            "selection": {"layer": 1, "head": 0, "tokens": [2], "lens": "words", "picture": "map"},
        },
    ]
    return [
        {"given": each, "read": codec.to_builtins(codec.decode_request(each))} for each in given
    ]


def _outgoing() -> list[dict[str, Any]]:
    base = {"id": "9b2f", "view": "v1"}
    error = {"code": "model-missing", "message": HOSTILE[1], "hint": HOSTILE[2], "details": "\x00"}
    tile = {"key": "thumb/0", "shape": [2, 3, 3], "encoding": "sqrt-u8"}
    given = [
        {**base, "type": "welcome", "session": "s1", "version": "0.1.0", "spec": _panel()},
        {**base, "type": "welcome", "session": "s1", "version": "0.1.0", "spec": _home()},
        {**base, "type": "tile", "tile": tile},
        {**base, "type": "accepted"},
        {**base, "type": "done"},
        {**base, "type": "cancelled"},
        {**base, "type": "exported", "name": HOSTILE[1], "mime": "image/svg+xml"},
        {**base, "type": "exported", "name": "a.html", "mime": "text/html", "notes": HOSTILE[:3]},
        {**base, "type": "error", "error": error},
        {"type": "changed", "view": "v1", "spec": _PANEL},
        {"type": "status", "view": "v1", "status": {"state": "error", "error": error}},
        {
            "type": "partial",
            "view": "v1",
            "run": "r1",
            "results": [{"kind": "text", "text": HOSTILE[1]}],
        },
        {"type": "selected", "view": "v1", "selection": {"layer": 1, "head": 1}},
        {**base, "type": "answered", "results": _panel()["results"]},
        {
            "type": "advanced",
            "view": "v1",
            "request": "9b2f",
            "progress": {"label": HOSTILE[1], "done": 3, "total": 72},
        },
    ]
    return [
        {"given": each, "read": codec.to_builtins(codec.decode_outgoing(each))} for each in given
    ]


_TOKENS: list[dict[str, Any]] = [
    {"text": []},
    {"text": HOSTILE},
    {
        "text": ["[CLS]", "a", "b", "##c", "[SEP]", "d"],
        "raw": [None, "\u0120a", None, "", None, None],
        "special": [4, 0],
        "words": [None, 1, 1, 0, None, -1],
        "gaps": [0, 0, 1, 0, -4, 2],
        "lengths": [0, 1, 2, 1, 0, 3],
    },
    {"text": ["a", "b"], "words": [3, 0], "gaps": [10_000_000, -5], "lengths": [0, 5]},
]
_WRONG_TOKENS: list[dict[str, Any]] = [
    {"text": [None]},
    {"text": ["a", "b"], "raw": ["a"]},
    {"text": ["a", "b"], "words": [1]},
    {"text": ["a"], "gaps": [0, 0]},
    {"text": ["a"], "lengths": [1, 1]},
    {"text": ["a"], "special": [1]},
    {"text": ["a"], "words": [0]},
    {"text": ["a"], "gaps": [-1]},
    {"text": ["a"], "lengths": [-1]},
    {"text": ["a", "b"], "gaps": [10_000_000, 1]},
    {"text": ["a", "b"], "words": [10_000_000, 10_000_000]},
    {"text": ["a"], "gaps": [0.5]},
]
"""Columns of tokens that do not fit together, or lead out of bounds."""


def _refused() -> dict[str, list[Any]]:
    """Values that no reader takes, by the reader that refuses them."""
    base = {"id": "9b2f", "view": "v1"}
    tile = {"key": "thumb/0", "shape": [1], "encoding": "f32"}
    attention = {"layers": [_LAYER], "tokens": {"text": []}, "path": "sdpa"}
    bundle = {"protocol": 1, "version": "0.1.0", "spec": _PANEL}
    saved = {**tile, "data": ""}

    def panel(**changed: Any) -> dict[str, Any]:
        return {**bundle, "spec": {**_PANEL, **changed}}

    def home(cell: Any) -> dict[str, Any]:
        tasks = [{"name": "a", "title": "", "plugin": "p", "cell": cell}]
        spec = {"kind": "home", "version": "", "tasks": tasks}
        return {**base, "type": "welcome", "session": "s1", "version": "", "spec": spec}

    def refused(**changed: Any) -> dict[str, Any]:
        return {**bundle, "tiles": [{**saved, **changed}]}

    return {
        "outgoing": [
            None,
            [],
            "welcome",
            {},
            {**base},
            {**base, "type": "toString"},
            {**base, "type": ["done"]},
            {"type": "done", "view": "v1"},
            {**base, "type": "done", "id": ""},
            {**base, "type": "done", "id": "x" * 65},
            {**base, "type": "done", "id": 1},
            {**base, "type": "tile", "tile": {**tile, "shape": []}},
            {**base, "type": "tile", "tile": {**tile, "shape": [1, 1, 1, 1, 1]}},
            {**base, "type": "tile", "tile": {**tile, "shape": [-1]}},
            {**base, "type": "tile", "tile": {**tile, "shape": [65_537]}},
            {**base, "type": "tile", "tile": {**tile, "shape": [1.5]}},
            {**base, "type": "tile", "tile": {**tile, "encoding": "f16"}},
            {"type": "status", "view": "v1", "status": {"state": "sleeping"}},
            {"type": "selected", "view": "v1", "selection": {"layer": -1}},
            home({"line": ""}),
            home({"line": "x" * 10_001}),
            home({"line": "%lm a", "text": "x" * 10_001}),
            home({"line": "%lm a", "text": None}),
            home({"text": "no line"}),
            home("%lm a"),
        ],
        "bundle": [
            None,
            {},
            {**bundle, "protocol": 2},
            {**bundle, "protocol": "1"},
            {**bundle, "spec": None},
            {**bundle, "spec": {"kind": "__proto__"}},
            {**bundle, "spec": {**_PANEL, "kind": "table"}},
            {**bundle, "spec": {**_PANEL, "protocol": 2}},
            {**bundle, "tiles": {}},
            {**bundle, "live": {"session": "s"}},
            {**bundle, "heads": -1},
            {**bundle, "record": []},
            {**bundle, "record": {"fields": {"text": []}}},
            {**bundle, "record": {"tokens": -1}},
            {**bundle, "version": "x" * 10_001},
            {**bundle, "answers": {}},
            {**bundle, "answers": [{"name": ""}]},
            {**bundle, "answers": [{"name": "n"}] * 101},
            {**bundle, "answers": [{"name": "n", "selection": {"layer": -1}}]},
            {**bundle, "answers": [{"name": "n", "results": [{"kind": "script"}]}]},
            refused(data=None),
            refused(key=""),
            refused(shape="1"),
            panel(header={}),
            panel(fields=[{"kind": "colour", "name": "c", "label": "C"}]),
            panel(fields=[{"kind": "choice", "name": "c", "label": "C", "options": []}]),
            panel(values={"x": []}),
            panel(values={"x": {}}),
            panel(results=[{"kind": "labels", "scores": [{"label": "a", "score": 1.5}]}]),
            panel(results=[{"kind": "table", "columns": [], "rows": [[[]]]}]),
            panel(results=[{"kind": "head-grid", "measures": []}]),
            panel(results=[{"kind": "page", "html": "", "height": 4_001}]),
            panel(results=[{"kind": "page", "html": "", "height": 39}]),
            panel(attention={**attention, "scale": "percent"}),
            panel(attention={**attention, "lenses": [{"name": "", "title": ""}]}),
            panel(attention={**attention, "views": [{"name": "v", "title": "", "follows": ["x"]}]}),
            panel(attention={**attention, "steps": [{"label": "", "first": -1, "last": 0}]}),
            panel(attention={**attention, "layers": []}),
            panel(attention={**attention, "layers": [{**_LAYER, "heads": 0}]}),
            panel(attention={**attention, "layers": [{**_LAYER, "role": "reader"}]}),
            panel(attention={**attention, "layers": [{**_LAYER, "headSize": -1}]}),
            panel(attention={**attention, "layers": [{**_LAYER, "hasQk": "yes"}]}),
            panel(attention={**attention, "tokens": [{"text": "a", "raw": "a"}]}),
            *(panel(attention={**attention, "tokens": wrong}) for wrong in _WRONG_TOKENS),
        ],
    }


_VALID_KEYS = {
    "thumb/0": {"kind": "thumb", "layer": 0},
    "thumb/99999999": {"kind": "thumb", "layer": 99_999_999},
    "thumb/3/64-96": {"kind": "thumb", "layer": 3, "first": 64, "last": 96},
    "glance/3": {"kind": "glance", "layer": 3},
    "glance/0/0-1@words": {"kind": "glance", "layer": 0, "first": 0, "last": 1, "lens": "words"},
    "head/3/7": {"kind": "head", "layer": 3, "head": 7},
    "map/3/7/0/0/0": {
        "kind": "map",
        "layer": 3,
        "head": 7,
        "level": 0,
        "row": 0,
        "column": 0,
    },
    "map/0/1/5/31/12": {
        "kind": "map",
        "layer": 0,
        "head": 1,
        "level": 5,
        "row": 31,
        "column": 12,
    },
    "rows/3/7/0-64": {"kind": "rows", "layer": 3, "head": 7, "first": 0, "last": 64},
    "q/3/7/0-8": {"kind": "q", "layer": 3, "head": 7, "first": 0, "last": 8},
    "k/0/0/64-65": {"kind": "k", "layer": 0, "head": 0, "first": 64, "last": 65},
    "v/0/1/0-2": {"kind": "v", "layer": 0, "head": 1, "first": 0, "last": 2},
    "score/3/7/8-16": {"kind": "score", "layer": 3, "head": 7, "first": 8, "last": 16},
    "sum/3/7/1": {"kind": "sum", "layer": 3, "head": 7, "tokens": [1]},
    "sum/3/7/1,4,7": {"kind": "sum", "layer": 3, "head": 7, "tokens": [1, 4, 7]},
    "from/0/0/9,1,1": {"kind": "from", "layer": 0, "head": 0, "tokens": [9, 1, 1]},
    "thumb/2@words": {"kind": "thumb", "layer": 2, "lens": "words"},
    "query-groups/0@words": {"kind": "query-groups", "layer": 0, "lens": "words"},
    "key-groups/0@words": {"kind": "key-groups", "layer": 0, "lens": "words"},
    "rows/3/7/0-64@no-sink": {
        "kind": "rows",
        "layer": 3,
        "head": 7,
        "first": 0,
        "last": 64,
        "lens": "no-sink",
    },
}

_INVALID_KEYS = [
    "",
    "thumb",
    "thumb/",
    "thumb/01",
    "thumb/-1",
    "thumb/+1",
    "thumb/1.0",
    "thumb/1e3",
    "thumb/999999999",
    "thumb/0\n",
    "\nthumb/0",
    " thumb/0",
    "thumb/\u0661",
    "thumb/0/0",
    "thumb/0/",
    "thumb/0/1-1",
    "glance/0/2-1",
    "glance/0/0-",
    "map/0/0",
    "map/0/0/0/0",
    "map/0/0/0/0/0/0",
    "map/0/0/0/0/01",
    "map/0/0/0/0/-1",
    "head/0",
    "head/0/0/0",
    "rows/0/0/5-5",
    "rows/0/0/5-4",
    "rows/0/0/5",
    "q/0/0/5-5",
    "q/0/0/5",
    "k/0/0/1,2",
    "scores/0/0/0-1",
    "sum/0/0/",
    "sum/0/0/1,",
    "sum/0/0/,1",
    "sum/0/0/1,,2",
    "mean/0/0/1",
    "__proto__/0",
    "thumb/0\x00",
    "thumb/0@",
    "thumb/0@Words",
    "thumb/0@words@words",
    "thumb@words/0",
    "thumb/0@" + "a" * 65,
]


_SIZES = [(1, 1), (3, 5), (256, 256), (257, 257), (512, 40), (40, 8192), (4096, 4097), (65_536, 1)]


def _levels() -> list[dict[str, Any]]:
    """Levels of maps, and the tokens of their tiles; null where there is no such one."""
    made: list[dict[str, Any]] = []
    for queries, keys in _SIZES:
        for level in range(-1, 10):
            found = levels.level_of(queries, keys, level)
            places = [(0, 0), (0, 1), (1, 0), (2, 3), (15, 16), (31, 31), (0, 32), (-1, 0)]
            boxes = [
                {"row": row, "column": column, "box": None if box is None else list(box)}
                for row, column in places
                for box in [levels.tile_box(queries, keys, level, row, column)]
            ]
            made.append(
                {
                    "queries": queries,
                    "keys": keys,
                    "level": level,
                    "found": None if found is None else list(found),
                    "boxes": boxes if found is not None else boxes[:1],
                }
            )
    return made


def _tiles() -> list[dict[str, Any]]:
    """Tiles with the bytes that travel live, their saved form, and the numbers they stand for."""
    rng = np.random.default_rng(20_240_607)
    made = []
    for key, shape, encoding in [
        ("thumb/0", (2, 3, 3), "sqrt-u8"),
        ("head/0/1", (5, 4), "sqrt-u16"),
        ("head/0/2", (5, 4), "sqrt-u6"),
        ("rows/0/1/0-2", (2, 7), "f32"),
        ("score/0/1/0-2", (2, 7), "f32"),
        ("sum/0/1/1,4", (7,), "f32"),
        ("from/0/1/1", (0,), "f32"),
    ]:
        squares = np.square(rng.random(shape, dtype=np.float32))
        values = np.square(squares)  # pow() rounds differently from one CPU to the next
        if values.size:
            values.flat[0], values.flat[-1] = 0.0, 1.0
        data = tiles.encode(values, encoding)
        header = TileHeader(key=key, shape=shape, encoding=encoding)  # type: ignore[arg-type]
        made.append(
            {
                "header": codec.to_builtins(header),
                "bytes": base64.b64encode(data).decode("ascii"),
                "saved": codec.to_builtins(codec.save_tile(header, data)),
                "values": [float(value) for value in tiles.decode(data, shape, encoding).ravel()],
            }
        )
    return made


def damaged(whole: dict[str, Any]) -> list[dict[str, Any]]:
    """Saved tiles that cannot be unpacked: cut, lying about their size, a bomb."""
    data = base64.b64decode(whole["data"])
    bomb = codec.save_tile(
        TileHeader(key="thumb/0", shape=(1,), encoding="sqrt-u8"), bytes(4_000_000)
    )
    # Node reads on over a cut or an addition that costs no byte, where browsers and Python refuse
    packed = [data[: len(data) // 2], b"", b"\xff" * 8]
    damaged = [{**whole, "data": base64.b64encode(each).decode("ascii")} for each in packed]
    return [
        *damaged,
        {**whole, "data": whole["data"][:-2] + "!!"},
        {**whole, "data": "é"},
        {**whole, "shape": [*whole["shape"], 2]},
        {**whole, "shape": [1]},
        {**whole, "shape": [0]},
        {**whole, "shape": [65_536, 65_536, 65_536, 65_536]},
        {**whole, "encoding": "f32"},
        codec.to_builtins(bomb),
    ]


_WRONG: list[Any] = [
    None,
    "",
    HOSTILE[2],
    -1,
    1e300,
    10_000_001,
    2,
    True,
    [],
    {},
    {"__proto__": {"polluted": True}},
    [[[[[]]]]],
    "x" * 50,
]
"""What a saved value is replaced by: other types, and others of the same that lie."""


def _places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON tree, the first two of each list."""
    found = [at] if at else []
    items: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))[:2]
    for name, inner in items:
        found += _places(inner, (*at, name))
    return found


def changed(base: dict[str, Any], at: list[Any], put: Any) -> dict[str, Any]:
    """A copy of ``base`` with the value at a place replaced."""
    copy: dict[str, Any] = json.loads(json.dumps(base))
    place: Any = copy
    for step in at[:-1]:
        place = place[step]
    place[at[-1]] = put
    return copy


def _hostile(bundle: dict[str, Any]) -> dict[str, Any]:
    """A bundle, and what becomes of it where one value is another: read or refused, and its tiles.

    Written as the changes alone, so that the file stays small.
    """
    spec = {**bundle["spec"], "results": bundle["spec"]["results"][:4]}
    base = {**bundle, "spec": spec, "tiles": bundle["tiles"][:2]}
    tile = base["tiles"][0]
    lies: list[tuple[tuple[Any, ...], Any]] = [
        (("tiles", 0, "shape"), [200, 300, 300]),
        (("tiles", 0, "shape"), [1]),
        (("tiles", 0, "shape"), [65_536, 65_536, 65_536]),
        (("tiles", 0, "encoding"), "f32"),
        (("tiles", 0, "data"), tile["data"][:8]),
        (("tiles", 0, "data"), "!" * 40),
        (("tiles", 0, "data"), HOSTILE[2]),
        (("tiles",), [tile] * 50),
        (("heads",), 9_007_199_254_740_991),
        (("spec", "attention", "layers", 0, "heads"), 512),
        (("spec", "attention", "layers", 0, "queries"), 10_000_000),
        (("spec", "attention", "selection"), {"layer": 9_999, "head": 9_999, "tokens": [77]}),
        (("spec", "attention", "steps"), [{"label": "", "first": 900, "last": 5}] * 3),
        (("spec", "results", 1, "spans"), [{"start": 900, "end": 3, "label": "x"}]),
    ]
    for number, at in enumerate(_places(base)):
        lies.append((at, _WRONG[number % len(_WRONG)]))
        lies.append((at, _WRONG[(5 * number + 3) % len(_WRONG)]))
    changes = []
    for at, put in lies:
        try:
            read = codec.decode_bundle(changed(base, list(at), put)).tiles
        except codec.ProtocolError:
            changes.append({"at": list(at), "put": put, "read": False, "tiles": []})
        else:
            good = [_unpacks(one) for one in read]
            changes.append({"at": list(at), "put": put, "read": True, "tiles": good})
    return {"base": base, "changes": changes}


def _unpacks(tile: SavedTile) -> bool:
    try:
        codec.load_tile(tile)
    except codec.ProtocolError:
        return False
    return True


def _cells() -> list[dict[str, Any]]:
    """The sources of cells, which shells fill in by themselves."""
    cells = [
        TaskCell(line="%%lm news", text="An example."),
        TaskCell(line="%%lm zero-shot --candidates 'politics, sport'", text=HOSTILE[1]),
        TaskCell(line="%lm distillation"),
    ]
    texts = ["", "Ada wrote it.", "  \n\t", "two\nlines\n", "%%lm other", *HOSTILE[1:10]]
    models = ["", "starter:ner", "a/b-c_d", "my models/it's", 'say "x" $HOME \\', "模型", "a;b"]
    pairs = [(text, "") for text in texts] + [("A text.", model) for model in models]
    return [
        {
            "cell": codec.to_builtins(cell),
            "text": text,
            "model": model,
            "source": cell_source(cell, text, model),
        }
        for cell in cells
        for text, model in pairs
    ]


def golden() -> dict[str, Any]:
    """The content of each golden file, by its name."""
    made = _tiles()
    bundle = {
        "protocol": 1,
        "version": "0.1.0",
        "spec": _panel(),
        "tiles": [tile["saved"] for tile in made],
        "live": {"session": "s1", "view": "v1"},
        "heads": 4,
        "headsCarried": 1,
        "record": {
            "task": "classification",
            "model": HOSTILE[1],
            "tokenizerHash": "00" * 32,
            "attentionPath": "sdpa",
            "deviation": 3e-7,
            "seed": 7,
            "fields": {"text": HOSTILE[2], "k": 5, "none": None, "multi": True},
            "tokens": 12,
            "date": "2026-01-02T03:04:05+00:00",
        },
        "answers": [
            {
                "name": "switch-off",
                "arguments": {"how": "zero", "other": HOSTILE[0], "at_end": False},
                "selection": {"layer": 1, "tokens": [0]},
                "results": [{"kind": "text", "text": HOSTILE[1]}],
            }
        ],
    }
    bundles = [bundle, {"version": "0.1.0", "spec": _PANEL}, {"version": "", "spec": _home()}]
    return {
        "hostile.json": _hostile(bundle),
        "requests.json": _requests(),
        "outgoing.json": _outgoing(),
        "bundles.json": [
            {"given": each, "read": codec.to_builtins(codec.decode_bundle(each))}
            for each in bundles
        ],
        "refused.json": _refused(),
        "cells.json": _cells(),
        "levels.json": _levels(),
        "tokens.json": [
            {
                "columns": given,
                "tokens": codec.to_builtins(msgspec.convert(given, TokenColumns).all),
            }
            for given in _TOKENS
        ],
        "keys.json": {"valid": _VALID_KEYS, "invalid": _INVALID_KEYS},
        "tiles.json": {"good": made, "damaged": damaged(made[0]["saved"])},
    }


def saved_tile(data: dict[str, Any]) -> SavedTile:
    """A saved tile of its JSON."""
    return SavedTile(
        key=data["key"],
        shape=tuple(data["shape"]),
        encoding=data["encoding"],
        data=data["data"],
    )


if __name__ == "__main__":
    for name, content in golden().items():
        text = json.dumps(content, indent=1, ensure_ascii=True) + "\n"
        (HERE / name).write_text(text, encoding="utf-8")
