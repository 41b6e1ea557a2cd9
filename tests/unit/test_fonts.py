"""What stands in a picture for characters that a font lacks: never a box."""

from __future__ import annotations

import io
from typing import Any

import pytest
from fontTools.ttLib import TTFont

from lmkit import fonts

TEXTS = (
    "Plain … “quoted” · text", "é ü ß ñ — Œ", "e\u0301", "中文 日本語 한국어", "مرحبا بالعالم",
    "😀 👩\u200d👩\u200d👧 ❤\ufe0f", "def f(x) -> int:↵  return x⟨NUL⟩",
    "Привет שלום हिन्दी", "", " ",
)  # fmt: skip


class Paper:
    """Notes what is written on it."""

    def __init__(self) -> None:
        self.written: list[tuple[str, Any, float]] = []

    def text(self, place: tuple[float, float], text: str, *, font: Any, **_: Any) -> None:
        self.written.append((text, font, place[0]))

    def whole(self) -> str:
        return "".join(text for text, _, _ in self.written)


def characters(font: Any) -> set[int]:
    path = font.path
    file = io.BytesIO(path.getvalue()) if isinstance(path, io.BytesIO) else path
    return set(TTFont(file, fontNumber=0).getBestCmap())


def write(text: str) -> tuple[Paper, fonts.Runs]:
    paper, runs = Paper(), fonts.Runs(text)
    runs.write(paper, (5.0, 0.0), text, 24, (0, 0, 0))
    return paper, runs


@pytest.mark.parametrize("system", [True, False], ids=["system fonts", "no fonts"])
@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_every_character_is_written_in_a_font_that_has_it(
    text: str, system: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not system:
        monkeypatch.setattr(fonts, "_files", lambda: ())
    paper, runs = write(text)
    for part, font, _ in paper.written:
        assert {ord(one) for one in part} <= characters(font)
    end = max((x + font.getlength(part) for part, font, x in paper.written), default=5.0)
    assert end == pytest.approx(5.0 + runs.width(text, 24))


def test_what_no_font_has_is_its_code_point(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_files", lambda: ())
    paper, runs = write("a中\u200db→c")
    assert paper.whole() == "a[U+4E2D]b->c"
    assert runs.missing == {"中"}
    assert not fonts.Runs("plain … text").missing


def test_plain_text_looks_into_no_font(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(fonts, "fonts_for", never)
    assert write("Plain … “quoted” · text")[0].whole() == "Plain … “quoted” · text"


def test_a_font_that_comes_in_one_size_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Emoji in colour: FreeType scales no bitmaps, and Pillow raises OSError."""
    from pathlib import Path

    colour = fonts.Font("colour", Path("colour.ttf"), None, frozenset({0x1F680}))
    monkeypatch.setattr(fonts, "fonts_for", lambda *_: [colour])
    assert write("🚀")[0].whole() == "[U+1F680]"
