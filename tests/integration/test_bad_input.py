"""Texts as the world has them, through each task: a result or one sentence, and no row lost."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

import lmkit
from lmkit.api import Spans
from lmkit.errors import FieldError
from tests.tiny import tiny_llama

READ = {
    "NUL inside": "a\0b Paris",
    "a word of 300 tokens": "riverbank" * 300,
    "mixed scripts": "Barack Обама 北京 שלום مرحبا नमस्ते",
    "emoji": "👩‍👩‍👧 Paris 🇫🇷👍🏽",
    "control characters": "\x01\x07\x1b[31mParis\x7f",
    "line ends": "Paris\r\nBerlin\rRome\n",
    "direction marks": "\u202eParis\u2066",
    "combining marks": "Z" + "\u0301" * 500,
    "a megabyte": "the plot is thin . " * 55_000,
}
REFUSED = {"empty": "", "blank": " \r\n\t ", "NUL alone": "\0\0", "a lone surrogate": "a \ud800 b"}
CELLS: dict[str, Any] = {"None": None, "NaN": math.nan, "a number": 7, "a truth value": True}
TASKS = ["classification", "zero-shot", "ner", "generation"]


@pytest.fixture(scope="module")
def kits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, lmkit.Kit]:
    return {
        "classification": lmkit.load("starter:sentiment"),
        "zero-shot": lmkit.load("starter:encoder"),
        "ner": lmkit.load("starter:ner"),
        "generation": lmkit.load(str(tiny_llama(tmp_path_factory.mktemp("llama")))),
    }


SETTINGS: dict[str, dict[str, Any]] = {
    "zero-shot": {"candidates": "news, sport"},
    "generation": {"max_new_tokens": 3, "template": "plain"},
}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", READ)
def test_a_text_is_read(kits: dict[str, lmkit.Kit], task: str, name: str) -> None:
    if (task, name) == ("ner", "a megabyte"):
        return  # plugins/ner/tests reads one in windows, to its end
    text = READ[name]
    analysis = kits[task].run(task, text, **SETTINGS.get(task, {}))
    assert analysis.results
    for result in analysis.results:
        if isinstance(result, Spans):
            assert all(0 <= one.start < one.end <= len(result.text) for one in result.spans)
    if name == "a megabyte" and task == "classification":
        assert any("left out" in one for one in analysis.warnings)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", REFUSED)
def test_a_text_is_refused_in_a_sentence(kits: dict[str, lmkit.Kit], task: str, name: str) -> None:
    with pytest.raises(FieldError) as caught:
        kits[task].run(task, REFUSED[name], **SETTINGS.get(task, {}))
    assert caught.value.message.endswith(".")
    assert caught.value.hint


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("value", [None, 7, math.nan])
def test_what_is_no_text_is_refused(kits: dict[str, lmkit.Kit], task: str, value: Any) -> None:
    with pytest.raises(FieldError):
        kits[task].run(task, value, **SETTINGS.get(task, {}))


@pytest.mark.parametrize("task", TASKS)
def test_rows_are_done_or_named(kits: dict[str, lmkit.Kit], task: str, tmp_path: Path) -> None:
    texts = {name: one for name, one in READ.items() if (task, name) != ("ner", "a megabyte")}
    refused = {name: one for name, one in REFUSED.items() if name != "a lone surrogate"} | CELLS
    cells = [*texts.values(), *refused.values(), "a film"]
    ev = kits[task].evaluate(task, [{"sentence": one} for one in cells], **SETTINGS.get(task, {}))
    wrong = list(range(len(texts), len(texts) + len(refused)))
    assert [one.row for one in ev.problems] == wrong
    assert {one.column for one in ev.problems} == {"sentence"}
    assert all(one.message.endswith(".") for one in ev.problems)
    assert [one["row"] for one in ev.rows] == [n for n in range(len(cells)) if n not in wrong]
    assert not ev.stopped
    assert ev.error is None
    ev.save(tmp_path)
    lines = (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(ev)
    told = (tmp_path / "problems.csv").read_text(encoding="utf-8")
    assert told.count("sentence") == len(wrong)
