"""Colours of saved pictures: the same scale as on screen (``js/core/src/scale.ts``), two themes.

The sequential scale is ColorBrewer's Blues from the background on, the diverging one ColorBrewer's
red and blue ends around the background, both in equal steps of CIELAB, so that zero is the page.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["THEMES", "Kind", "Mapping", "Rgb", "Scale", "Theme", "mapped", "ramp"]

Rgb = tuple[int, int, int]
Mapping = Literal["sqrt", "linear", "log"]
Kind = Literal["share", "amount", "difference"]

LOG_FLOOR = 1e-4
"""Below this the log mapping is zero: four decades are shown."""
STEPS = 256
_BLUES = (
    "#f7fbff", "#deebf7", "#c6dbef", "#9ecae1", "#6baed6", "#4292c6", "#2171b5", "#08519c",
    "#08306b",
)  # fmt: skip
_REDS = (
    "#fff5f0", "#fee0d2", "#fcbba1", "#fc9272", "#fb6a4a", "#ef3b2c", "#cb181d", "#a50f15",
    "#67000d",
)  # fmt: skip


@dataclass(frozen=True)
class Theme:
    """The colours of a picture."""

    name: str
    dark: bool
    paper: Rgb
    ink: Rgb
    muted: Rgb
    line: Rgb
    mark: Rgb


def _rgb(text: str) -> Rgb:
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


THEMES = {
    "light": Theme(
        "light", False, _rgb("#ffffff"), _rgb("#1f2328"), _rgb("#59636e"), _rgb("#d1d9e0"),
        _rgb("#d55e00"),
    ),
    "dark": Theme(
        "dark", True, _rgb("#15181c"), _rgb("#e4e7eb"), _rgb("#9aa3ae"), _rgb("#373d45"),
        _rgb("#e69f00"),
    ),
}  # fmt: skip


def _to_lab(colour: Rgb) -> tuple[float, float, float]:
    """CIELAB of D50, as CSS Color 4 defines it."""
    r, g, b = (
        (c / 255) / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4
        for c in colour
    )

    def bent(t: float) -> float:
        return t ** (1 / 3) if t > (6 / 29) ** 3 else t / (3 * (6 / 29) ** 2) + 4 / 29

    y = bent(0.2225045 * r + 0.7168786 * g + 0.0606169 * b)
    x = bent((0.4360747 * r + 0.3850649 * g + 0.1430804 * b) / 0.96422)
    z = bent((0.0139322 * r + 0.0971045 * g + 0.7141733 * b) / 0.82521)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def _from_lab(lab: Sequence[float]) -> Rgb:
    def unbent(t: float) -> float:
        return t**3 if t > 6 / 29 else 3 * (6 / 29) ** 2 * (t - 4 / 29)

    def level(value: float) -> int:
        bent = 12.92 * value if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055
        return round(min(255.0, max(0.0, 255 * bent)))

    f = (lab[0] + 16) / 116
    x, y, z = 0.96422 * unbent(f + lab[1] / 500), unbent(f), 0.82521 * unbent(f - lab[2] / 200)
    return (
        level(3.1338561 * x - 1.6168667 * y - 0.4906146 * z),
        level(-0.9787684 * x + 1.9161415 * y + 0.033454 * z),
        level(0.0719453 * x - 0.2289914 * y + 1.4052427 * z),
    )


def _even(stops: Sequence[Rgb], count: int) -> list[Rgb]:
    """``count`` colours along ``stops`` at equal distances in CIELAB."""
    labs = [_to_lab(stop) for stop in stops]
    lengths = [0.0]
    for before, after in itertools.pairwise(labs):
        lengths.append(lengths[-1] + math.dist(before, after))
    made = []
    for index in range(count):
        along = lengths[-1] * index / (count - 1)
        segment = 1
        while segment < len(labs) - 1 and lengths[segment] < along:
            segment += 1
        start = lengths[segment - 1]
        part = (along - start) / (lengths[segment] - start or 1.0)
        a, b = labs[segment - 1], labs[segment]
        made.append(_from_lab([p + (q - p) * part for p, q in zip(a, b, strict=True)]))
    return made


@cache
def ramp(theme: str, *, diverging: bool = False) -> tuple[Rgb, ...]:
    """256 colours from the background on; diverging: 255, the background in the middle."""
    chosen = THEMES[theme]
    ends = (8, 6, 4, 2, 0) if chosen.dark else (2, 4, 6, 8)
    blues, reds = ([chosen.paper, *(_rgb(hue[index]) for index in ends)] for hue in (_BLUES, _REDS))
    if not diverging:
        return tuple(_even(blues, STEPS))
    half = STEPS // 2
    return (*reversed(_even(reds, half)[1:]), *_even(blues, half))


def mapped(values: NDArray[np.floating[Any]], mapping: Mapping) -> NDArray[np.float64]:
    """Where values of [0, 1] lie on the scale, in [0, 1]."""
    import numpy as np

    bounded = np.clip(values.astype(np.float64), 0.0, 1.0)
    if mapping == "sqrt":
        return np.sqrt(bounded)
    if mapping == "log":
        return 1.0 - np.log10(np.maximum(bounded, LOG_FLOOR)) / math.log10(LOG_FLOOR)
    return bounded


_TICKS: dict[str, tuple[float, ...]] = {
    "sqrt": (0.0, 0.01, 0.1, 0.25, 0.5, 1.0),
    "log": (1e-4, 1e-3, 0.01, 0.1, 1.0),
    "linear": (0.0, 0.25, 0.5, 0.75, 1.0),
}
_WORDS = {"sqrt": "square-root", "linear": "linear", "log": "logarithmic"}


@dataclass(frozen=True)
class Scale:
    """From values to colours, and what a legend says of it.

    Attributes:
        theme: Name of the theme.
        mapping: Of the absolute value.
        kind: ``share`` (values of [0, 1]), ``amount`` (from 0 to ``top``) or ``difference``
            (from -``top`` to ``top``, the background at 0).
        top: What the far end stands for.
        what: What is measured, for the legend.
    """

    theme: str
    mapping: Mapping = "sqrt"
    kind: Kind = "share"
    top: float = 1.0
    what: str = "attention"

    @property
    def palette(self) -> tuple[Rgb, ...]:
        """The colours, at most 256."""
        return ramp(self.theme, diverging=self.kind == "difference")

    def strength(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """How far from zero values lie on the scale, in [0, 1]."""
        import numpy as np

        return mapped(np.abs(values) / np.float32(self.top), self.mapping)

    def index(self, values: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The place of values in :attr:`palette`."""
        import numpy as np

        strength = self.strength(values)
        if self.kind == "difference":
            middle = len(self.palette) // 2
            strength = middle + np.sign(values) * strength * middle
        else:
            strength = strength * (len(self.palette) - 1)
        return np.rint(strength).astype(np.uint8)

    def ticks(self) -> list[tuple[float, float]]:
        """Where on the legend (in [0, 1]) to write which value."""
        import numpy as np

        values = np.array(_TICKS[self.mapping], dtype=np.float32) * np.float32(self.top)
        places = self.strength(values)
        pairs = [
            (float(at), float(f"{value:.3g}")) for at, value in zip(places, values, strict=True)
        ]
        if self.kind != "difference":
            return pairs
        pairs = [pair for pair in pairs if pair[0] == 0 or pair[0] >= 0.5]
        left = [(0.5 - at / 2, -value) for at, value in reversed(pairs) if value]
        return [*left, *((0.5 + at / 2, value) for at, value in pairs)]

    @property
    def caption(self) -> str:
        """The scale in words."""
        zero = " and below" if self.mapping == "log" else ""
        floor = LOG_FLOOR * self.top if self.mapping == "log" else 0
        return f"{self.what}, {_WORDS[self.mapping]} scale; {floor:g}{zero} is the background"
