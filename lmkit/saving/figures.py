"""The pictures that are saved: arcs of a head, its map, the grid of all heads.

They follow the views on screen (docs/visual.md), laid out for paper: sizes in points, a title line,
a legend with numbers, no colour without a number beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmkit.errors import SaveError
from lmkit.fonts import text_width
from lmkit.saving.colours import THEMES, Rgb, Scale, Theme
from lmkit.saving.drawing import Curve, Drawing, Label, Raster, Rect
from lmkit.saving.text import shorten

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

__all__ = ["Axis", "Head", "Heads", "draw_arcs", "draw_grid", "draw_map"]

MARGIN = 10.0
TITLE, BODY, SMALL = 9.0, 8.0, 6.5
"""Sizes of type, in points: journals ask for 6 and more."""
LEAST = 4.2
"""Labels smaller than this are thinned out instead."""
LABEL_LENGTH = 24
PAGE = 660.0
"""Height that a long picture is brought to, in points: a page of A4 or Letter with its caption."""
MOST_ARC_TOKENS = 1_024
MOST_LINES = 4_000
FAINT, FAINT_OF_ONE = 0.06, 0.01
"""Strength on the scale below which a line is left out: of all queries, of chosen ones."""
VECTOR_CELLS = 64 * 64
"""Maps up to this are rectangles; larger ones are one image whose pixels are the cells."""
NUMBERED_CELL = 15.0
"""Cells of this side have their number written into them."""
LEGEND = (120.0, 6.0)
THUMBNAIL_PIXELS = 48


@dataclass(frozen=True)
class Axis:
    """What stands at the rows or columns of a head: one label a token."""

    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, index: int) -> str:
        """The label of a token; its index where it has none."""
        return self.labels[index] if index < len(self.labels) else f"#{index}"


@dataclass(frozen=True)
class Head:
    """One head, ready to be drawn.

    Attributes:
        title: First line of the picture.
        subtitle: Second line: how the numbers came about.
        queries: Labels of the rows.
        keys: Labels of the columns.
        values: What is drawn, shape (rows, columns); pooled where ``block`` is not (1, 1).
        block: Tokens that one cell of ``values`` stands for, (queries, keys).
        tokens: Chosen queries.
        read: Numbers at the keys for the chosen queries, shape (keys,); None without any.
    """

    title: str
    subtitle: str
    queries: Axis
    keys: Axis
    values: Floats
    block: tuple[int, int] = (1, 1)
    tokens: tuple[int, ...] = ()
    read: Floats | None = None


@dataclass(frozen=True)
class Heads:
    """All heads as small maps.

    Attributes:
        title: First line.
        subtitle: Second line.
        rows: Labels of the layers.
        maps: For each layer an array of shape (heads, height, width).
        chosen: Layer and head to outline.
    """

    title: str
    subtitle: str
    rows: tuple[str, ...]
    maps: tuple[Floats, ...]
    chosen: tuple[int, int]


# -- what all pictures share ----------------------------------------------------------------------


def _start(title: str, subtitle: str, width: float, theme: Theme) -> tuple[Drawing, float]:
    drawing = Drawing(width, 0, theme.paper, title, "")
    y = MARGIN
    for text, size, colour in ((title, TITLE, theme.ink), (subtitle, SMALL, theme.muted)):
        y += size
        drawing.add(Label(MARGIN, y, _fit(text, size, width - 2 * MARGIN), size, colour))
        y += 3
    return drawing, y + 5


def _fit(text: str, size: float, width: float) -> str:
    """A text in at most ``width`` points."""
    if text_width(text, size) <= width:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if text_width(text[:middle] + "…", size) <= width:
            low = middle
        else:
            high = middle - 1
    return text[:low] + "…"


def _wrapped(text: str, size: float, width: float) -> list[str]:
    lines: list[str] = []
    for word in text.split(" "):
        joined = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(joined, size) <= width:
            lines[-1] = joined
        else:
            lines.append(_fit(word, size, width))
    return lines


def _finish(drawing: Drawing, y: float, scale: Scale, notes: Sequence[str], theme: Theme) -> None:
    """The legend and the notes, and the height that all of it takes."""
    width, height = LEGEND
    y += 10
    colours = scale.palette
    steps = 64
    for step in range(steps):
        colour = colours[round(step * (len(colours) - 1) / (steps - 1))]
        # A hair wider than its share, so that no viewer shows seams.
        left, part = MARGIN + step * width / steps, width / steps
        drawing.add(Rect(left, y, part + (0.2 if step < steps - 1 else 0), height, fill=colour))
    drawing.add(Rect(MARGIN, y, width, height, stroke=theme.line))
    end = -math.inf
    for at, value in scale.ticks():
        x = MARGIN + at * width
        text = f"{value:g}"
        half = text_width(text, SMALL) / 2
        drawing.add(Curve(((x, y + height), (x, y + height + 2)), theme.muted))
        if x - half > end + 2:
            left = max(x, MARGIN + half)
            below = y + height + 2 + SMALL
            drawing.add(Label(left, below, text, SMALL, theme.muted, "middle"))
            end = left + half
    texts = [scale.caption, *notes]
    room = drawing.width - MARGIN - (MARGIN + width + 12)
    beside = room >= 110
    x, line_y = (MARGIN + width + 12, y + SMALL - 0.5) if beside else (MARGIN, y + height + 20)
    for text in texts:
        for line in _wrapped(text, SMALL, room if beside else drawing.width - 2 * MARGIN):
            drawing.add(Label(x, line_y, line, SMALL, theme.muted))
            line_y += SMALL * 1.3
    drawing.height = max(y + height + 2 + SMALL, line_y - SMALL) + MARGIN
    drawing.notes = tuple(notes)


def _ink_on(colour: Rgb) -> Rgb:
    light = (0.2126 * colour[0] + 0.7152 * colour[1] + 0.0722 * colour[2]) / 255
    return (17, 17, 17) if light > 0.5 else (255, 255, 255)


def _thinned(axis: Axis, pitch: float) -> tuple[float, int]:
    """Size of the labels and which of them are written: every one, every second, ..."""
    size = min(BODY, pitch * 0.86)
    if size >= LEAST:
        return size, 1
    size = LEAST + 0.8
    needed = size * 1.15 / pitch
    steps = (part * 10**power for power in range(8) for part in (1, 2, 5))
    return size, next(step for step in steps if step >= needed)


def _label(axis: Axis, index: int, every: int) -> str:
    text = shorten(axis.at(index), LABEL_LENGTH)
    return text if every == 1 or text == str(index) else f"{index} {text}"


def _widest(axis: Axis, size: float, every: int, most: float) -> float:
    widths = (text_width(_label(axis, at, every), size) for at in range(0, len(axis), every))
    # Viewers draw SVG in fonts of their own: an eighth of room for wider ones.
    return min(most, 1.12 * max(widths, default=0.0))


def _number(value: float) -> str:
    return f"{value:.3g}"


def strongest(head: Head, scale: Scale, most: int = 5) -> str:
    """The largest cells in words, for the description of a picture."""
    import numpy as np

    flat = np.abs(head.values).ravel()
    order = np.argsort(flat)[::-1][:most]
    parts = []
    for place in order:
        row, column = divmod(int(place), head.values.shape[1])
        value = float(head.values[row, column])
        if value == 0:
            break
        query = head.queries.at(row * head.block[0])
        key = head.keys.at(column * head.block[1])
        parts.append(f"{query} to {key} {_number(value)}")
    return f"Largest of {scale.what}: {'; '.join(parts)}." if parts else "All values are 0."


def _describe(drawing: Drawing, head: Head, scale: Scale, kind: str) -> None:
    size = f"{len(head.queries)} queries, {len(head.keys)} keys"
    drawing.alternative = f"{head.title}, {kind}. {size}. {strongest(head, scale)}"


# -- arcs -----------------------------------------------------------------------------------------


def draw_arcs(head: Head, scale: Scale, width: float) -> Drawing:
    """Queries left, keys right, a line for each weight; all lines, or those of chosen queries.

    Raises:
        SaveError: more tokens than lines can be told apart of.
    """
    import numpy as np

    most = max(len(head.queries), len(head.keys), 1)
    if most > MOST_ARC_TOKENS or head.block != (1, 1):
        raise SaveError(
            f"Arcs of {most:,} tokens cannot be told apart; {MOST_ARC_TOKENS:,} are drawn at most.",
            hint='Say picture="map".',
        )
    theme = THEMES[scale.theme]
    drawing, y = _start(head.title, head.subtitle, width, theme)
    pitch = max(1.2, min(13.0, PAGE / most))
    size, every = _thinned(
        head.queries if len(head.queries) >= len(head.keys) else head.keys, pitch
    )
    room = (width - 2 * MARGIN) * 0.36
    number = 28.0 if head.read is not None else 0.0
    left = MARGIN + _widest(head.queries, size, every, room)
    right = width - MARGIN - number - _widest(head.keys, size, every, room)
    drawing.add(
        Label(left, y + SMALL, "queries", SMALL, theme.muted, "end"),
        Label(right, y + SMALL, "keys", SMALL, theme.muted),
    )
    top = y + SMALL + 5

    def middle(row: int) -> float:
        return top + (row + 0.5) * pitch

    rows = sorted(head.tokens) or range(len(head.queries))
    faint = FAINT_OF_ONE if head.tokens else FAINT
    strength = scale.strength(head.values[list(rows)])
    index = scale.index(head.values[list(rows)])
    seen = np.argwhere(strength >= faint)
    order = np.argsort(strength[seen[:, 0], seen[:, 1]], kind="stable")
    left_out = max(0, len(order) - MOST_LINES)
    start, end = left + 4, right - 4
    bend = (end - start) * 0.45
    for at in order[left_out:]:
        row, column = (int(one) for one in seen[at])
        query = rows[row]
        y0, y1 = middle(query), middle(column)
        power = float(strength[row, column])
        value = float(head.values[query, column])
        drawing.add(
            Curve(
                ((start, y0), (start + bend, y0), (end - bend, y1), (end, y1)),
                scale.palette[int(index[row, column])],
                0.35 + 2.2 * power * power * min(1.0, pitch / 9),
                f"{head.queries.at(query)} → {head.keys.at(column)}: {_number(value)}"
                if len(order) <= MOST_LINES // 2
                else "",
            )
        )
    _arc_labels(drawing, head, scale, (left, right, width), (top, pitch, size, every))
    notes = []
    if left_out:
        notes.append(f"The {MOST_LINES:,} strongest of {len(order):,} lines are drawn.")
    lowest = _threshold(scale, faint)
    notes.append(f"Lines under {lowest:.2g} are left out.")
    if head.tokens:
        some = len(head.tokens)
        whose = "the marked query pays" if some == 1 else f"the {some} marked queries together pay"
        notes.append(f"Numbers: what {whose} to each key.")
    _finish(drawing, top + most * pitch, scale, notes, theme)
    _describe(drawing, head, scale, "arcs")
    return drawing


def _threshold(scale: Scale, strength: float) -> float:
    """The value that lies at a strength on the scale."""
    if scale.mapping == "sqrt":
        return strength**2 * scale.top
    if scale.mapping == "log":
        return float(1e-4 ** (1 - strength)) * scale.top
    return strength * scale.top


def _arc_labels(
    drawing: Drawing,
    head: Head,
    scale: Scale,
    columns: tuple[float, float, float],
    rows: tuple[float, float, float, int],
) -> None:
    theme = THEMES[scale.theme]
    left, right, width = columns
    top, pitch, size, every = rows
    chosen = set(head.tokens)
    colours = scale.index(head.read) if head.read is not None else None
    for isquery, axis in ((True, head.queries), (False, head.keys)):
        for row in range(len(axis)):
            ink = theme.ink
            y = top + row * pitch
            if not isquery and colours is not None:
                fill = scale.palette[int(colours[row])]
                drawing.add(Rect(right - 2, y, width - MARGIN - right + 4, pitch, fill=fill))
                ink = _ink_on(fill)
            marked = isquery and row in chosen
            if row % every and not marked:
                continue
            text = _fit(
                _label(axis, row, every), size, (left if isquery else width - right) - MARGIN
            )
            colour = theme.mark if marked else ink
            base = y + pitch / 2 + size * 0.34
            place = (left, "end") if isquery else (right, "start")
            drawing.add(Label(place[0], base, text, size, colour, place[1]))  # type: ignore[arg-type]
            if not isquery and head.read is not None and float(abs(head.read[row])) >= 0.005:
                number = f"{float(head.read[row]):.3f}"
                drawing.add(Label(width - MARGIN, base, number, size, ink, "end"))


# -- map ------------------------------------------------------------------------------------------


def draw_map(head: Head, scale: Scale, width: float) -> Drawing:
    """Queries down, keys across. Small maps are rectangles with numbers, large ones an image."""
    theme = THEMES[scale.theme]
    drawing, y = _start(head.title, head.subtitle, width, theme)
    rows, columns = head.values.shape
    # The labels take room from the cells and the cells give the labels their size: two rounds.
    left, cell = MARGIN + 60.0, 1.0
    for _ in range(3):
        whole = width - MARGIN - left
        cell = min(30.0, whole / columns, PAGE / rows)
        pitch = cell / head.block[0]
        size, every = _thinned(head.queries, pitch)
        left = MARGIN + SMALL + 5 + _widest(head.queries, size, every, 110.0)
    key_size, key_every = _thinned(head.keys, cell / head.block[1])
    high = _widest(head.keys, key_size, key_every, 90.0)
    slanted = cell / head.block[1] >= 11
    top = y + SMALL + 4 + (high * 0.75 + 6 if slanted else high + 4)
    drawing.add(Label(left + columns * cell / 2, y + SMALL, "keys", SMALL, theme.muted, "middle"))
    middle = top + rows * cell / 2
    drawing.add(Label(MARGIN + SMALL, middle, "queries", SMALL, theme.muted, "middle", 90.0))
    _cells(drawing, head, scale, (left, top, cell))
    drawing.add(Rect(left, top, columns * cell, rows * cell, stroke=theme.line))
    for index in range(0, len(head.queries), every):
        base = top + (index + 0.5) * pitch + size * 0.34
        text = _fit(_label(head.queries, index, every), size, left - MARGIN - SMALL - 3)
        colour = theme.mark if index in head.tokens else theme.ink
        drawing.add(Label(left - 3, base, text, size, colour, "end"))
    for index in range(0, len(head.keys), key_every):
        x = left + (index + 0.5) * cell / head.block[1]
        text = _fit(_label(head.keys, index, key_every), key_size, high)
        if slanted:
            drawing.add(Label(x, top - 3, text, key_size, theme.ink, "start", 45.0))
        else:
            place = x + key_size * 0.34
            drawing.add(Label(place, top - 3, text, key_size, theme.ink, "start", 90.0))
    for row in head.tokens:
        box = Rect(
            left, top + row * pitch, columns * cell, max(pitch, 0.5), stroke=theme.mark, line=1
        )
        drawing.add(box)
    notes = []
    if head.block != (1, 1):
        notes.append(
            f"One pixel stands for {head.block[0]} × {head.block[1]} tokens: the mass of its keys, "
            "mean over its queries."
        )
    _finish(drawing, top + rows * cell, scale, notes, theme)
    _describe(drawing, head, scale, "map")
    return drawing


def _cells(drawing: Drawing, head: Head, scale: Scale, place: tuple[float, float, float]) -> None:
    left, top, cell = place
    index = scale.index(head.values)
    rows, columns = head.values.shape
    if rows * columns > VECTOR_CELLS or head.block != (1, 1):
        box = (left, top, columns * cell, rows * cell)
        drawing.add(Raster(*box, index, scale.palette))
        return
    zero = scale.palette.index(THEMES[scale.theme].paper)
    for row in range(rows):
        for column in range(columns):
            value = float(head.values[row, column])
            if index[row, column] == zero:
                continue
            fill = scale.palette[int(index[row, column])]
            x, y = left + column * cell, top + row * cell
            hint = f"{head.queries.at(row)} → {head.keys.at(column)}: {_number(value)}"
            drawing.add(Rect(x, y, cell, cell, fill=fill, hint=hint))
            text = f"{value:.2f}".replace("0.", ".", 1)
            if cell >= NUMBERED_CELL and text.strip("-.0"):
                size = min(SMALL, cell * 0.4)
                base = y + cell / 2 + size * 0.34
                drawing.add(Label(x + cell / 2, base, text, size, _ink_on(fill), "middle"))


# -- grid -----------------------------------------------------------------------------------------


def draw_grid(heads: Heads, scale: Scale, width: float) -> Drawing:
    """All heads, layers down and heads across, each a small map of pooled mass."""
    import numpy as np

    theme = THEMES[scale.theme]
    drawing, y = _start(heads.title, heads.subtitle, width, theme)
    most = max(len(maps) for maps in heads.maps)
    label = 1.12 * max(text_width(row, SMALL) for row in heads.rows)
    left = MARGIN + SMALL + 5 + label
    pitch = min(44.0, (width - MARGIN - left) / most, max(4.0, PAGE / len(heads.maps)))
    gap = pitch * 0.08
    top = y + SMALL * 2 + 6
    drawing.add(Label(left + most * pitch / 2, y + SMALL, "heads", SMALL, theme.muted, "middle"))
    middle = top + len(heads.maps) * pitch / 2
    drawing.add(Label(MARGIN + SMALL, middle, "layers", SMALL, theme.muted, "middle", 90.0))
    size, every = _thinned(Axis(tuple(str(head) for head in range(most))), pitch)
    size = min(size, SMALL)
    for head in range(0, most, every):
        x = left + (head + 0.5) * pitch - gap / 2
        drawing.add(Label(x, top - 3, str(head), size, theme.muted, "middle"))
    _, every = _thinned(Axis(heads.rows), pitch)
    side = min(THUMBNAIL_PIXELS, max(maps.shape[1] for maps in heads.maps))
    for layer, maps in enumerate(heads.maps):
        row = top + layer * pitch
        if layer % every == 0:
            base = row + (pitch - gap) / 2 + size * 0.34
            drawing.add(Label(left - 3, base, heads.rows[layer], size, theme.muted, "end"))

        rows = np.arange(side) * maps.shape[1] // side
        columns = np.arange(side) * maps.shape[2] // side
        index = scale.index(maps)[:, rows][:, :, columns]
        for head in range(len(maps)):
            x = left + head * pitch
            box = (x, row, pitch - gap, pitch - gap)
            drawing.add(Raster(*box, index[head], scale.palette))
            drawing.add(Rect(*box, stroke=theme.line, line=0.3))
    layer, head = heads.chosen
    drawing.add(
        Rect(
            left + head * pitch, top + layer * pitch, pitch - gap, pitch - gap,
            stroke=theme.mark, line=1.4,
        )
    )  # fmt: skip
    notes = (f"Small maps pool mass into at most {side} × {side} cells; marked: layer {layer}, "
             f"head {head}.",)  # fmt: skip
    _finish(drawing, top + len(heads.maps) * pitch - gap, scale, notes, theme)
    total = sum(len(maps) for maps in heads.maps)
    drawing.alternative = (
        f"{heads.title}: {total} heads in {len(heads.maps)} layers as small maps. Marked: layer "
        f"{layer}, head {head}."
    )
    return drawing
