"""Reads lmkit's pictures as a person does: by the colours of the legend."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from playwright.sync_api import Locator

__all__ = ["Map", "Pixels", "becomes", "coloured", "map_of", "pixels", "settled"]

_PIXELS = """(canvas) => {
    const { width, height } = canvas;
    const bytes = canvas.getContext('2d').getImageData(0, 0, width, height).data;
    let binary = '';
    for (const byte of bytes) binary += String.fromCharCode(byte);
    const ratio = width / canvas.getBoundingClientRect().width;
    return { width, height, ratio, data: btoa(binary) };
}"""


@dataclass(frozen=True)
class Pixels:
    """A canvas: RGBA values, shape (height, width, 4), and device pixels for one CSS pixel."""

    values: np.ndarray
    ratio: float

    def at(self, x: float, y: float) -> np.ndarray:
        """Colour at a place in CSS pixels."""
        found: np.ndarray = self.values[int(y * self.ratio), int(x * self.ratio), :3]
        return found


def pixels(canvas: Locator) -> Pixels:
    """What a canvas shows now."""
    import base64

    found: dict[str, Any] = canvas.evaluate(_PIXELS)
    raw = np.frombuffer(base64.b64decode(found["data"]), np.uint8)
    return Pixels(raw.reshape(found["height"], found["width"], 4).astype(int), found["ratio"])


def becomes(canvas: Locator, wanted: Callable[[Pixels], bool]) -> Pixels:
    """What a canvas shows once it is as wanted: it is drawn a frame or more after what is told."""
    end = time.monotonic() + 30
    while not wanted(shown := pixels(canvas)):
        assert time.monotonic() < end, "the picture never was as wanted"
        canvas.page.wait_for_timeout(50)
    return shown


def coloured(canvas: Locator, colours: int = 8) -> Pixels:
    """What a canvas shows once it has more colours than a frame around it has."""
    return becomes(canvas, lambda one: len(np.unique(one.values.reshape(-1, 4), axis=0)) > colours)


def settled(canvas: Locator) -> Pixels:
    """What a canvas shows once it is drawn and stays as it is: two looks, frames apart, agree."""
    end = time.monotonic() + 30
    shown = coloured(canvas)
    while True:
        canvas.page.wait_for_timeout(100)
        before, shown = shown, pixels(canvas)
        if np.array_equal(before.values, shown.values):
            return shown
        assert time.monotonic() < end, "the picture never came to rest"


def _map_place(drawn: Pixels) -> tuple[float, float, float]:
    """Left, top and side of a square map in CSS pixels: the one large opaque area of its canvas."""
    best = [_longest_run(row) for row in drawn.values[:, :, 3] == 255]
    widest = max(length for length, _ in best)
    rows = [index for index, (length, _) in enumerate(best) if length >= widest - 1]
    # A line of one CSS pixel goes around the cells.
    line = drawn.ratio
    left = best[rows[len(rows) // 2]][1] + line
    return left / drawn.ratio, (rows[0] + line) / drawn.ratio, (widest - 2 * line) / drawn.ratio


@dataclass(frozen=True)
class Map:
    """A square map as it was read: what is drawn, where it lies, and its numbers.

    ``left``, ``top`` and ``side`` are in CSS pixels of the canvas; ``attention`` has the shape
    (queries, keys).
    """

    drawn: Pixels
    left: float
    top: float
    side: float
    attention: np.ndarray


def map_of(view: Locator, attention: np.ndarray) -> Map:
    """The map of a view once each of its cells has the colour of its number.

    What is drawn may be the last theme's or the last head's for a moment, at rest as it is; what
    stays wrong fails here, with what was seen.

    Args:
        view: Shows the map.
        attention: The kernel's numbers, shape (queries, keys).
    """
    canvas, legend = (
        view.locator('[data-lmkit="picture-canvas"]'),
        view.locator('[data-lmkit="legend"] canvas'),
    )
    end = time.monotonic() + 30
    while True:
        drawn, strip = settled(canvas), coloured(legend)
        found = _read(drawn, strip, len(attention))
        # the strip has some 250 steps in its square-root scale
        far = np.abs(np.sqrt(found.attention) - np.sqrt(attention)).max()
        if far < 0.03:
            return found
        if time.monotonic() > end:
            break
        canvas.page.wait_for_timeout(200)
    middle, ends = (
        drawn.values[drawn.values.shape[0] // 2, ::40].tolist(),
        strip.values[strip.values.shape[0] // 2, [2, -3]].tolist(),
    )
    raise AssertionError(
        f"the map is not the kernel's numbers, by up to {far:.3f}: it lies at {found.left}, "
        f"{found.top}, {found.side} wide, of {drawn.values.shape}; along its middle {middle}; the "
        f"legend from {ends[0]} to {ends[1]}; read {np.unique(found.attention.round(3))[:8]}"
    )


def _read(drawn: Pixels, strip: Pixels, count: int) -> Map:
    left, top, side = _map_place(drawn)
    middles = (np.arange(count) + 0.5) * side / count
    attention = [[_attention_at(drawn.at(left + x, top + y), strip) for x in middles]
                 for y in middles]  # fmt: skip
    return Map(drawn, left, top, side, np.array(attention))


def _attention_at(colour: np.ndarray, legend: Pixels) -> float:
    """The attention that a colour stands for, by the legend's strip in its square-root scale."""
    middle = legend.values[legend.values.shape[0] // 2, 2:-2, :3]
    place = int(np.abs(middle - colour).sum(axis=1).argmin())
    return ((place + 2) / (legend.values.shape[1] - 1)) ** 2


def _longest_run(row: np.ndarray) -> tuple[int, int]:
    """Length and start of the longest run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
    starts, ends = edges[::2], edges[1::2]
    if not len(starts):
        return 0, 0
    longest = int((ends - starts).argmax())
    return int(ends[longest] - starts[longest]), int(starts[longest])
