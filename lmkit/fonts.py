"""Which fonts write a text: for measuring, for pictures, and to be embedded in PDF.

The Latin font is Aileron (public domain), which Pillow brings as its default; other scripts are
looked up among the fonts of the system. What no font has is written as its code point, never as a
box. Only the glyphs that are used end up in a file.
"""

from __future__ import annotations

import io
import os
import sys
import unicodedata
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["Font", "Runs", "fonts_for", "latin", "text_width", "writable"]

_LIKELY = (
    "notosans-regular", "notosans", "dejavusans", "liberationsans-regular", "arial", "helvetica",
    "segoeui", "notosanscjk-regular", "notosanscjk", "notosanssc", "sourcehansans", "wqy",
    "droidsansfallback", "pingfang", "hiraginosans", "msyh", "simhei", "malgun", "yugoth",
    "arialuni", "notosansarabic", "notonaskharabic", "geezapro", "notosanshebrew", "notosans",
    "notocoloremoji", "notoemoji", "seguiemj", "applecoloremoji", "symbola", "unifont",
)  # fmt: skip
"""Beginnings of file names, best first: plain sans serif, then the large scripts, then emoji."""
_NEVER = ("bold", "italic", "oblique", "mono", "serif", "condensed", "lastresort", "mathtex")
MOST_FILES = 600
"""Fonts that are opened at most in search of a character."""
QUICK_FILES = 60
"""The same for the picture of an output, which a first look waits for."""
_LATIN = frozenset(map(chr, range(0x20, 0x7F))) | frozenset("…·“”‘’")
"""What Pillow's font has for certain: such text needs no look into any font."""
_JOINERS = "\u200d\ufe0e\ufe0f"
"""What joins characters or chooses their form, and is not seen itself."""
_RESTRICTED = 0x0002
"""Bit of OS/2 fsType: the font's maker forbids embedding."""
_INSTEAD = {
    "⟨": "<", "⟩": ">", "↵": "\\n", "↤": "\\r", "⇥": "\\t", "⍽": "·", "⬚": "·", "∅": "(empty)",
    "→": "->", "×": "x", "−": "-", "…": "...", "\ufffd": "?",
}  # fmt: skip
"""For marks of our own where the system has no font with them."""


@dataclass(frozen=True)
class Font:
    """A font file and the code points that it has."""

    name: str
    file: Path | None
    data: bytes | None
    characters: frozenset[int]

    def has(self, text: str) -> bool:
        """Whether every character of the text has a glyph."""
        return all(ord(one) in self.characters or _joins(one) for one in text)


def _joins(character: str) -> bool:
    """Marks that shape their neighbours and may have no glyph of their own."""
    return character in _JOINERS or unicodedata.category(character) in ("Mn", "Me")


@cache
def latin() -> Font | None:
    """Pillow's own font; None where this Pillow has another form of it."""
    from fontTools.ttLib import TTFont
    from PIL import ImageFont

    path = getattr(ImageFont.load_default(10), "path", None)
    if not isinstance(path, io.BytesIO):
        return None
    data = path.getvalue()
    characters = frozenset(TTFont(io.BytesIO(data)).getBestCmap())
    return Font("Aileron", None, data, characters)


@cache
def _measure() -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(100)


@cache
def text_width(text: str, size: float) -> float:
    """About how wide a line of text is, in points; other scripts by their East Asian width.

    What no font of the system has counts as wide as the code point that stands in for it.
    """
    font = latin()
    shown = "".join(map(_shown, text))
    known = "".join(one for one in shown if font is None or ord(one) in font.characters)
    width = float(_measure().getlength(known)) / 100 if known else 0.0
    for one in shown:
        if font is not None and ord(one) not in font.characters and not _joins(one):
            width += 1.0 if unicodedata.east_asian_width(one) in "WF" else 0.62
    return width * size


@cache
def _shown(character: str) -> str:
    """A character as it is written where it is drawn: itself, or what stands in for it."""
    return writable(character, fonts_for(character))[0]


def _folders() -> list[Path]:
    home = Path.home()
    if sys.platform == "darwin":
        return [Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library/Fonts"]
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA", str(home))
        windows = os.environ.get("WINDIR", "C:\\Windows")
        return [Path(windows) / "Fonts", Path(local) / "Microsoft/Windows/Fonts"]
    shared = os.environ.get("XDG_DATA_DIRS", "/usr/local/share:/usr/share").split(":")
    own = os.environ.get("XDG_DATA_HOME", str(home / ".local/share"))
    return [*(Path(one) / "fonts" for one in (own, *shared) if one), home / ".fonts"]


def _rank(file: Path) -> tuple[int, int, str]:
    name = file.stem.lower().replace("-", "").replace("_", "").replace(" ", "")
    plain = int(any(word in name for word in _NEVER))
    wanted = [one.replace("-", "") for one in _LIKELY]
    place = next((index for index, one in enumerate(wanted) if name.startswith(one)), len(wanted))
    return plain, place, name


@cache
def _files() -> tuple[Path, ...]:
    found = []
    for folder in _folders():
        try:
            found += [
                file
                for file in folder.rglob("*")
                if file.suffix.lower() in (".ttf", ".otf", ".ttc")
            ]
        except OSError:
            continue  # a folder that cannot be read has no fonts for us
    return tuple(sorted(found, key=_rank)[:MOST_FILES])


@cache
def _opened(file: Path) -> Font | None:
    from fontTools.ttLib import TTFont

    try:
        with TTFont(file, fontNumber=0, lazy=True) as font:
            if "OS/2" in font and font["OS/2"].fsType & 0x000F == _RESTRICTED:
                return None
            characters = frozenset(font.getBestCmap() or ())
    except Exception:  # a damaged font of the system is passed over; fontTools raises many kinds
        return None
    return Font(file.stem, file, None, characters)


def fonts_for(text: str, most_files: int = MOST_FILES) -> list[Font]:
    """The fonts that write a text: the Latin one first, then what its other characters need.

    Args:
        text: What is to be written.
        most_files: Fonts of the system that are opened at most, the likely ones first.
    """
    first = latin()
    chosen = [] if first is None else [first]
    left = {ord(one) for one in text if not _joins(one)}
    for font in chosen:
        left -= font.characters
    if not left:
        return chosen
    for file in _files()[:most_files]:
        other = _opened(file)
        if other is not None and left & other.characters:
            chosen.append(other)
            left -= other.characters
            if not left:
                break
    return chosen


def writable(text: str, fonts: list[Font]) -> tuple[str, frozenset[int]]:
    """A text as these fonts can write it.

    Returns:
        The text, with a stand-in or ``[U+4E2D]`` for each character that no font has, and the code
        points of those characters.
    """
    made = []
    missing = set()
    for one in text:
        if _joins(one) or any(ord(one) in font.characters for font in fonts):
            made.append(one)
        elif one in _INSTEAD:
            made.append(_INSTEAD[one])
        else:
            missing.add(ord(one))
            made.append(f"[U+{ord(one):04X}]")
    return "".join(made), frozenset(missing)


class Runs:
    """Lines of text with Pillow, each stretch in a font that has its characters.

    Args:
        text: All characters that will be written. Fonts are looked for once, and not at all where
            Pillow's own font is enough.
    """

    def __init__(self, text: str) -> None:
        self._fonts: list[Font | None] = [None]
        self._sized: dict[tuple[int, int], Any] = {}
        other = set(unicodedata.normalize("NFC", text)) - _LATIN
        if other:
            found = fonts_for("".join(sorted(other)), QUICK_FILES)
            # A font of pictures (emoji in colour) comes in sizes of its own: such are left out.
            self._fonts += [one for one in found if one.file and _pillow(one, 24) is not None]
        self.missing = frozenset(
            one for one in other.difference(_INSTEAD, _JOINERS) if not self._any(one)
        )
        """Characters that no font has, which are written as their code points."""

    def width(self, text: str, size: int) -> float:
        """How wide a text is, in pixels, at a font size in pixels."""
        return float(sum(font.getlength(part) for part, font in self._split(text, size)))

    def write(
        self, pen: Any, place: tuple[float, float], text: str, size: int, colour: Any
    ) -> None:
        """Write a text, the top of its line at ``place``."""
        x, top = place
        line = top + self._at(0, size).getmetrics()[0]  # all fonts on one base line
        for part, font in self._split(text, size):
            pen.text((x, line), part, font=font, fill=colour, anchor="ls")
            x += font.getlength(part)

    def _at(self, number: int, size: int) -> Any:
        if (number, size) not in self._sized:
            self._sized[number, size] = _pillow(self._fonts[number], size)
        return self._sized[number, size]

    def _split(self, text: str, size: int) -> list[tuple[str, Any]]:
        """Stretches of one font each; a character that any of them has stays with its neighbours.

        Letters that join, as Arabic's, and marks on them are shaped within a stretch.
        """
        parts: list[tuple[str, int]] = []
        for one in unicodedata.normalize("NFC", text):
            before = parts[-1][1] if parts else 0
            shown, number = one, before
            if not (_joins(one) or one == " ") or not self._has(before, one):
                if one in _JOINERS:
                    continue  # what it joins is written apart
                found = self._any(one)
                if not found:
                    shown = _INSTEAD.get(one, f"[U+{ord(one):04X}]")
                number = found[0] if found else 0
            if parts and before == number:
                parts[-1] = (parts[-1][0] + shown, number)
            else:
                parts.append((shown, number))
        return [(part, self._at(number, size)) for part, number in parts]

    def _any(self, character: str) -> list[int]:
        """The first font that has a character, or none."""
        return [n for n in range(len(self._fonts)) if self._has(n, character)][:1]

    def _has(self, number: int, character: str) -> bool:
        font = self._fonts[number]
        if font is not None:
            return ord(character) in font.characters
        if character in _LATIN:
            return True
        own = latin()
        return own is not None and ord(character) in own.characters


def _pillow(font: Font | None, size: int) -> Any:
    """A font for Pillow; None where it can't be opened in this size."""
    from PIL import ImageFont

    if font is None:
        return ImageFont.load_default(size)
    try:
        return ImageFont.truetype(str(font.file), size)
    except OSError:
        return None
