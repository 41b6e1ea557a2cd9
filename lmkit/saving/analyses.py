"""Saved pictures beyond one head: several heads, the equation of a pair, answers of views.

Views answer with maps of heads, scores of tokens, tables and lines of text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmkit.errors import SaveError
from lmkit.fonts import text_width
from lmkit.protocol.keys import MASKED
from lmkit.protocol.messages import HeadGrid, HeadMeasure, Labels, Result, Table, Text, TokenScores
from lmkit.saving import figures
from lmkit.saving.colours import THEMES, Rgb, Scale, Theme
from lmkit.saving.drawing import Curve, Drawing, Label, Rect
from lmkit.saving.figures import BODY, MARGIN, PAGE, SMALL, Axis
from lmkit.saving.text import shorten, visible

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

__all__ = ["HeadLines", "Neuron", "draw_heads", "draw_neuron", "draw_results"]

OKABE_ITO: tuple[Rgb, ...] = (
    (0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233),
)  # fmt: skip
"""Colours of heads, in the order of the view's (Okabe and Ito 2008): told apart by all eyes."""
LEAST = 0.05
"""Weight under which a line is left out, as in the view."""
MOST_TOKENS = 512
KEYS = 40
"""Keys that the equation lists: all of a short text, else the heaviest."""
ROWS = 60
"""Rows of a table that are drawn."""
RANKED = 8
"""Heads that are listed beside a map of them."""


@dataclass(frozen=True)
class HeadLines:
    """Several heads of a layer.

    Attributes:
        title: First line.
        subtitle: Second line.
        queries: Labels of those that attend.
        keys: Labels of those attended to.
        heads: Their numbers, ascending.
        values: For each (queries, keys).
        tokens: Queries whose lines are drawn; all without any.
        notes: What is left out.
    """

    title: str
    subtitle: str
    queries: Axis
    keys: Axis
    heads: tuple[int, ...]
    values: tuple[Floats, ...]
    tokens: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Neuron:
    """One query and one key, and the row of scores that they stand in.

    Attributes:
        title: First line.
        subtitle: Second line.
        keys: Labels of all keys.
        query_label: Of the query.
        key: Index of the key.
        query: Its vector, (d,).
        vectors: Of all keys, (keys, d).
        scores: What enters the softmax, (keys,).
        weights: What comes out, (keys,).
        scale: Factor of the product.
        softcap: The bound of the layer, None without one.
        sinks: Whether a learned sink takes a share.
    """

    title: str
    subtitle: str
    keys: Axis
    query_label: str
    key: int
    query: Floats
    vectors: Floats
    scores: Floats
    weights: Floats
    scale: float
    softcap: float | None
    sinks: bool


def draw_heads(lines: HeadLines, theme_name: str, width: float) -> Drawing:
    """Queries left, keys right, lines in one colour a head.

    Raises:
        SaveError: more tokens than lines can be told apart of.
    """
    import numpy as np

    most = max(len(lines.queries), len(lines.keys), 1)
    if most > MOST_TOKENS:
        raise SaveError(
            f"Several heads are drawn over up to {MOST_TOKENS} tokens; here are {most:,}.",
            hint='Say picture="map" or "grid".',
        )
    theme = THEMES[theme_name]
    drawing, y = figures._start(lines.title, lines.subtitle, width, theme)
    pitch = max(1.2, min(13.0, PAGE / most))
    longest = lines.queries if len(lines.queries) >= len(lines.keys) else lines.keys
    size, every = figures._thinned(longest, pitch)
    room = (width - 2 * MARGIN) * 0.36
    left = MARGIN + figures._widest(lines.queries, size, every, room)
    right = width - MARGIN - figures._widest(lines.keys, size, every, room)
    drawing.add(
        Label(left, y + SMALL, "queries", SMALL, theme.muted, "end"),
        Label(right, y + SMALL, "keys", SMALL, theme.muted),
    )
    top = y + SMALL + 5
    start, end = left + 4, right - 4
    bend = (end - start) * 0.45
    picked = sorted(lines.tokens) or list(range(len(lines.queries)))
    shares = []
    for at, (head, values) in enumerate(zip(lines.heads, lines.values, strict=True)):
        colour = OKABE_ITO[at % len(OKABE_ITO)]
        some = values[picked]
        seen = np.argwhere(some >= LEAST)
        total = float(some.sum())
        drawn = float(some[seen[:, 0], seen[:, 1]].sum())
        shares.append(f"{head}: {drawn / total:.0%}" if total else f"{head}: none")
        for row, column in seen.tolist():
            weight = float(some[row, column])
            query = picked[row]
            y0, y1 = top + (query + 0.5) * pitch, top + (column + 0.5) * pitch
            hint = f"head {head}: {lines.queries.at(query)} → {lines.keys.at(column)}: "
            drawing.add(
                Curve(
                    ((start, y0), (start + bend, y0), (end - bend, y1), (end, y1)),
                    colour,
                    0.3 + 2.0 * weight * min(1.0, pitch / 9),
                    hint + figures._number(weight),
                )
            )
    for axis, x, anchor in ((lines.queries, left, "end"), (lines.keys, right, "start")):
        for row in range(0, len(axis), every):
            base = top + (row + 0.5) * pitch + size * 0.34
            chosen = anchor == "end" and row in lines.tokens
            text = figures._fit(figures._label(axis, row, every), size, room)
            ink = theme.mark if chosen else theme.ink
            drawing.add(Label(x, base, text, size, ink, anchor))  # type: ignore[arg-type]
    y = top + most * pitch + 12
    x = MARGIN
    for at, head in enumerate(lines.heads):
        text = f"head {head}"
        wide = 16 + 1.12 * text_width(text, SMALL) + 8
        if x + wide > width - MARGIN:
            x, y = MARGIN, y + SMALL * 1.6
        colour = OKABE_ITO[at % len(OKABE_ITO)]
        drawing.add(Curve(((x, y - SMALL * 0.35), (x + 12, y - SMALL * 0.35)), colour, 2.0))
        drawing.add(Label(x + 15, y, text, SMALL, theme.ink))
        x += wide
    notes = [
        f"Lines under {LEAST:g} are left out. Share of the attention that is drawn, by head: "
        f"{', '.join(shares)}.",
        *lines.notes,
    ]
    _close(drawing, y, notes, theme)
    drawing.alternative = f"{lines.title}. {notes[0]}"
    return drawing


def draw_neuron(pair: Neuron, theme_name: str, width: float) -> Drawing:
    """softmax(scale q.k) of one pair, with the real numbers, and the row that it stands in."""
    import numpy as np

    theme = THEMES[theme_name]
    drawing, y = figures._start(pair.title, pair.subtitle, width, theme)
    product = pair.query * pair.vectors[pair.key]
    label_width, number_width = 46.0, 66.0
    left, right = MARGIN + label_width, width - MARGIN - number_width
    query, key = shorten(pair.query_label, 24), shorten(pair.keys.at(pair.key), 24)
    names = (f'query "{query}"', f'key "{key}"')
    drawing.add(Label(MARGIN, y + BODY, "   ".join(names), BODY, theme.ink))
    y += BODY + 8
    strips = (
        ("q", pair.query, f"|q| = {float(np.linalg.norm(pair.query)):.4g}"),
        ("k", pair.vectors[pair.key], f"|k| = {float(np.linalg.norm(pair.vectors[pair.key])):.4g}"),
        ("q × k", product, f"sum = {float(product.sum(dtype=np.float64)):.4g}"),
    )
    for name, vector, said in strips:
        drawing.add(Label(left - 5, y + 11, name, BODY, theme.ink, "end"))
        _strip(drawing, vector, (left, y, right - left, 15.0), theme_name)
        drawing.add(Label(right + 5, y + 11, said, SMALL, theme.muted))
        y += 19
    y += 6
    for line in _equation(pair):
        drawing.add(Label(left, y + BODY, line, BODY, theme.ink))
        y += BODY * 1.45
    y += 8
    y, note = _row_of_keys(drawing, pair, y, width, theme)
    notes = [
        f"Strips: {len(pair.query)} numbers each, red below 0, blue above, each to its own largest."
    ]
    if note:
        notes.append(note)
    _close(drawing, y, notes, theme)
    drawing.alternative = f"{pair.title}. {'. '.join(names)}. {'. '.join(_equation(pair))}."
    return drawing


def _equation(pair: Neuron) -> list[str]:
    import numpy as np

    vector = pair.vectors[pair.key]
    dot = float(np.dot(pair.query.astype(np.float64), vector.astype(np.float64)))
    score = float(pair.scores[pair.key])
    scaled = pair.scale * dot
    lines = [f"q · k = {dot:.5g}", f"scale = {pair.scale:.5g},  scale · (q · k) = {scaled:.5g}"]
    if pair.softcap is not None:
        lines.append(f"softcap at {pair.softcap:g}")
    if score <= MASKED:
        return [*lines, "a mask closes this pair: its weight is 0"]
    open_scores = pair.scores[pair.scores > MASKED].astype(np.float64)
    top = float(open_scores.max())
    total = float(np.exp(open_scores - top).sum())
    lines.append(f"score = {score:.5g}")
    sink = "  (a learned sink adds to the sum)" if pair.sinks else ""
    lines.append(
        f"sum over {len(open_scores):,} keys of exp(score - {top:.4g}) = {total:.5g}{sink}"
    )
    weight = float(pair.weights[pair.key])
    lines.append(f"weight = exp({score:.4g} - {top:.4g}) / {total:.4g} = {weight:.5g}"
                 if not pair.sinks else f"weight = {weight:.5g}")  # fmt: skip
    return lines


def _row_of_keys(
    drawing: Drawing, pair: Neuron, y: float, width: float, theme: Theme
) -> tuple[float, str]:
    """The keys of the query with their products, scores and weights."""
    import numpy as np

    count = len(pair.weights)
    shown = list(range(count))
    note = ""
    if count > KEYS:
        shown = sorted(np.argsort(-pair.weights, kind="stable")[:KEYS].tolist())
        left_out = 1 - float(pair.weights[shown].sum())
        note = (
            f"The {KEYS} heaviest of {count:,} keys; the others have {max(0.0, left_out):.3g} of "
            "the weight."
        )
    name_width = min(90.0, 6 + 1.12 * max(text_width(shorten(pair.keys.at(k), 16), SMALL)
                                          for k in shown))  # fmt: skip
    strip_left = MARGIN + name_width
    bars = 70.0
    strip_right = width - MARGIN - bars - 74
    heads = (
        (MARGIN, "key", "start"), (strip_left, "q × k", "start"),
        (strip_right + 36, "score", "end"), (strip_right + 44, "weight", "start"),
    )  # fmt: skip
    for x, text, anchor in heads:
        drawing.add(Label(x, y + SMALL, text, SMALL, theme.muted, anchor))  # type: ignore[arg-type]
    y += SMALL + 4
    products = pair.vectors[shown] * pair.query
    end = float(np.abs(products).max(initial=0.0)) or 1.0
    for row, key in enumerate(shown):
        base = y + 7.5
        ink = theme.mark if key == pair.key else theme.ink
        drawing.add(Label(MARGIN, base, shorten(pair.keys.at(key), 16), SMALL, ink))
        _strip(drawing, products[row], (strip_left, y + 1, strip_right - strip_left, 8.0),
               theme.name, end)  # fmt: skip
        score, weight = float(pair.scores[key]), float(pair.weights[key])
        said = "closed" if score <= MASKED else f"{score:.3g}"
        drawing.add(Label(strip_right + 36, base, said, SMALL, theme.muted, "end"))
        bar = Rect(strip_right + 44, y + 2, max(0.2, bars * weight), 6, fill=OKABE_ITO[0])
        drawing.add(bar, Label(width - MARGIN, base, f"{weight:.3f}", SMALL, ink, "end"))
        y += 10.5
    return y, note


def _strip(
    drawing: Drawing,
    vector: Floats,
    box: tuple[float, float, float, float],
    theme_name: str,
    top: float = 0.0,
) -> None:
    """A vector as a row of coloured cells, the page's own colour at 0."""
    import numpy as np

    x, y, width, height = box
    scale = Scale(theme_name, "linear", "difference", top or float(np.abs(vector).max()) or 1.0)
    cell = width / len(vector)
    for at, place in enumerate(scale.index(vector).tolist()):
        # A hair wider than its share, so that no viewer shows seams.
        wide = cell + (0.15 if at < len(vector) - 1 else 0)
        hint = f"{at}: {float(vector[at]):.4g}" if height > 10 else ""
        drawing.add(Rect(x + at * cell, y, wide, height, fill=scale.palette[place], hint=hint))
    drawing.add(Rect(x, y, width, height, stroke=THEMES[theme_name].line, line=0.3))


# -- answers of views -----------------------------------------------------------------------------


def draw_results(
    title: str,
    subtitle: str,
    results: Sequence[Result],
    chosen: tuple[int, int],
    theme_name: str,
    width: float,
) -> Drawing:
    """What a view answered, result below result.

    Args:
        title: First line.
        subtitle: Second line.
        results: The answer.
        chosen: Layer and head to mark in maps of heads.
        theme_name: ``"light"`` or ``"dark"``.
        width: In points.

    Raises:
        SaveError: nothing of it can be drawn.
    """
    theme = THEMES[theme_name]
    drawing, y = figures._start(title, subtitle, width, theme)
    notes: list[str] = []
    drawn = 0
    for result in results:
        before = y
        if isinstance(result, HeadGrid):
            y = _head_grid(drawing, result, y, chosen, theme)
            if result.note:
                notes.append(visible(result.note, blanks=False))
        elif isinstance(result, TokenScores):
            y = _token_scores(drawing, result, y, theme)
            if result.note:
                notes.append(visible(result.note, blanks=False))
        elif isinstance(result, Table):
            y = _table(drawing, result, y, theme, notes)
        elif isinstance(result, Labels | Text):
            y = _lines(drawing, result, y, theme)
        else:
            kind = str(getattr(result, "title", "") or type(result).__name__)
            notes.append(f"{shorten(visible(kind), 80)} is drawn on screen only.")
        if y > before:
            drawn += 1
            y += 12
    if not drawn:
        raise SaveError("This view has nothing that a picture could show.", hint="Save it as HTML.")
    _close(drawing, y - 6, notes, theme)
    drawing.alternative = f"{title}. {' '.join(notes)}".strip()
    return drawing


def _heading(drawing: Drawing, text: str, y: float, theme: Theme) -> float:
    if not text:
        return y
    fitted = figures._fit(visible(text, blanks=False), BODY, drawing.width - 2 * MARGIN)
    drawing.add(Label(MARGIN, y + BODY, fitted, BODY, theme.ink))
    return y + BODY + 7


def _scale_of(values: Sequence[float], theme: Theme, *, diverging: bool, what: str) -> Scale:
    top = max((abs(value) for value in values), default=0.0) or 1.0
    return Scale(theme.name, "linear", "difference" if diverging else "amount", top, what)


def _head_grid(
    drawing: Drawing, grid: HeadGrid, y: float, chosen: tuple[int, int], theme: Theme
) -> float:
    """The first measure as a map, and the heads that lead by it; the others are listed below."""
    import numpy as np

    measure = grid.measures[0]
    y = _heading(drawing, measure.title, y, theme)
    known = [value for row in measure.values for value in row if value is not None]
    scale = _scale_of(known, theme, diverging=measure.diverging, what=measure.title)
    most = max((len(row) for row in measure.values), default=1)
    aside = 96.0
    left = MARGIN + SMALL + 22
    cell = min(26.0, (drawing.width - MARGIN - left - aside) / most,
               max(4.0, PAGE / len(measure.values)))  # fmt: skip
    top = y + SMALL + 6
    drawing.add(Label(left + most * cell / 2, y + SMALL - 3, "heads", SMALL, theme.muted, "middle"))
    middle = top + len(measure.values) * cell / 2
    drawing.add(Label(MARGIN + SMALL, middle, "layers", SMALL, theme.muted, "middle", 90.0))
    size, every = figures._thinned(Axis(tuple(map(str, range(most)))), cell)
    size = min(size, SMALL)
    for head in range(0, most, every):
        x = left + (head + 0.5) * cell
        drawing.add(Label(x, top - 2, str(head), size, theme.muted, "middle"))
    for layer, row in enumerate(measure.values):
        if layer % every == 0:
            base = top + (layer + 0.5) * cell + size * 0.34
            drawing.add(Label(left - 3, base, str(layer), size, theme.muted, "end"))
        for head, value in enumerate(row):
            box = (left + head * cell, top + layer * cell, cell, cell)
            if value is None:
                drawing.add(Rect(*box, stroke=theme.line, line=0.3))
                continue
            at = int(scale.index(np.array([value], dtype=np.float32))[0])
            fill = scale.palette[at]
            hint = f"layer {layer}, head {head}: {value:.4g}"
            drawing.add(Rect(*box, fill=fill, stroke=theme.line, line=0.3, hint=hint))
            if cell >= 17:
                base = box[1] + cell / 2 + 1.9
                number = f"{value:.2f}".replace("0.", ".", 1)
                ink = figures._ink_on(fill)
                drawing.add(Label(box[0] + cell / 2, base, number, 5.4, ink, "middle"))
    layer, head = chosen
    if layer < len(measure.values) and head < len(measure.values[layer]):
        drawing.add(Rect(left + head * cell, top + layer * cell, cell, cell, stroke=theme.mark,
                         line=1.4))  # fmt: skip
    _ranking(drawing, measure, (left + most * cell + 12, top), theme)
    y = max(top + len(measure.values) * cell, top + (RANKED + 1) * SMALL * 1.5) + 4
    said = visible(measure.help, blanks=False) + f" Colour: {scale.caption}, to {scale.top:.3g}."
    for line in figures._wrapped(said, SMALL, drawing.width - 2 * MARGIN):
        y += SMALL * 1.3
        drawing.add(Label(MARGIN, y, line, SMALL, theme.muted))
    if len(grid.measures) > 1:
        return _leaders(drawing, grid.measures[1:], y + 6, theme)
    return y


def _ordered(measure: HeadMeasure) -> list[tuple[float, int, int]]:
    places = [
        (value, layer, head)
        for layer, row in enumerate(measure.values)
        for head, value in enumerate(row)
        if value is not None
    ]
    return sorted(places, key=lambda one: -abs(one[0]))


def _ranking(
    drawing: Drawing, measure: HeadMeasure, place: tuple[float, float], theme: Theme
) -> None:
    x, y = place
    drawing.add(Label(x, y + SMALL, "layer.head", SMALL, theme.muted))
    for value, layer, head in _ordered(measure)[:RANKED]:
        y += SMALL * 1.5
        drawing.add(Label(x, y + SMALL, f"{layer}.{head}", SMALL, theme.ink))
        drawing.add(Label(x + 76, y + SMALL, f"{value:.4g}", SMALL, theme.ink, "end"))


def _leaders(drawing: Drawing, measures: Sequence[HeadMeasure], y: float, theme: Theme) -> float:
    """For each further measure the three heads that lead."""
    for measure in measures[:ROWS]:
        if not _ordered(measure):
            continue
        y += SMALL * 1.5
        best = ",  ".join(f"{la}.{he} ({va:.3g})" for va, la, he in _ordered(measure)[:3])
        text = figures._fit(f"{visible(measure.title)}: {best}", SMALL, drawing.width - 2 * MARGIN)
        drawing.add(Label(MARGIN, y, text, SMALL, theme.ink))
    return y


def _token_scores(drawing: Drawing, scores: TokenScores, y: float, theme: Theme) -> float:
    """Tokens shaded by their numbers, one paragraph a row, each number below its token."""
    import numpy as np

    y = _heading(drawing, scores.title, y, theme)
    every = [value for row in scores.rows for value in row.values]
    scale = _scale_of(every, theme, diverging=scores.diverging or min(every, default=0.0) < 0,
                      what="")  # fmt: skip
    high = BODY * 2 + 8
    for row in scores.rows[:20]:
        if row.label:
            drawing.add(Label(MARGIN, y + SMALL, shorten(visible(row.label), 60), SMALL,
                              theme.muted))  # fmt: skip
            y += SMALL + 4
        x = MARGIN
        places = scale.index(np.array(row.values, dtype=np.float32)).tolist()
        for token, value, place in zip(scores.tokens, row.values, places, strict=True):
            text = shorten(visible(token.text), 24)
            number = f"{value:.2g}"
            wide = 6 + 1.12 * max(text_width(text, BODY), text_width(number, 5.4))
            if x + wide > drawing.width - MARGIN and x > MARGIN:
                x, y = MARGIN, y + high
            fill = scale.palette[place]
            ink = figures._ink_on(fill)
            box = Rect(x, y, wide - 1, high - 4, fill=fill, stroke=theme.line, line=0.3,
                       hint=f"{text}: {value:.4g}")  # fmt: skip
            drawing.add(box)
            centre = x + (wide - 1) / 2
            drawing.add(Label(centre, y + BODY + 1, text, BODY, ink, "middle"))
            drawing.add(Label(centre, y + BODY * 2 + 0.5, number, 5.4, ink, "middle"))
            x += wide
        y += high + 4
    return y


def _table(drawing: Drawing, table: Table, y: float, theme: Theme, notes: list[str]) -> float:
    y = _heading(drawing, table.title, y, theme)
    rows = [table.columns, *([_cell(value) for value in row] for row in table.rows[:ROWS])]
    if len(table.rows) > ROWS:
        notes.append(f"The first {ROWS} of {len(table.rows):,} rows are drawn.")
    count = len(table.columns)
    if not count:
        return y
    room = drawing.width - 2 * MARGIN
    wide = [max(1.12 * text_width(str(row[at])[:60], SMALL) + 10 for row in rows)
            for at in range(count)]  # fmt: skip
    factor = min(1.0, room / sum(wide))
    for number, row in enumerate(rows):
        x = MARGIN
        for at in range(count):
            text = visible(str(row[at])[:200], blanks=False)
            fitted = figures._fit(text, SMALL, wide[at] * factor - 6)
            drawing.add(Label(x, y + SMALL, fitted, SMALL, theme.ink if number else theme.muted))
            x += wide[at] * factor
        y += SMALL * 1.5
        if number == 0:
            drawing.add(Curve(((MARGIN, y - 1), (MARGIN + room, y - 1)), theme.line))
            y += 2
    return y


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)


def _lines(drawing: Drawing, result: Labels | Text, y: float, theme: Theme) -> float:
    y = _heading(drawing, result.title, y, theme)
    if isinstance(result, Labels):
        lines = [f"{one.label}  {one.score:.4f}" for one in result.scores[:ROWS]]
    else:
        lines = result.text.splitlines()[:ROWS]
    for text in lines:
        for line in figures._wrapped(visible(text[:2_000], blanks=False), BODY,
                                     drawing.width - 2 * MARGIN):  # fmt: skip
            drawing.add(Label(MARGIN, y + BODY, line, BODY, theme.ink))
            y += BODY * 1.4
    return y


def _close(drawing: Drawing, y: float, notes: Sequence[str], theme: Theme) -> None:
    """The notes, and the height that all of it takes."""
    y += 6
    for note in notes:
        for line in figures._wrapped(note, SMALL, drawing.width - 2 * MARGIN):
            y += SMALL * 1.3
            drawing.add(Label(MARGIN, y, line, SMALL, theme.muted))
    drawing.height = math.ceil(y + MARGIN)
    drawing.notes = tuple(notes)
