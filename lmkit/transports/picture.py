"""The picture of an output for viewers that run no script: results, thumbnails, the shown head."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from lmkit.fonts import Runs
from lmkit.protocol.codec import load_tile
from lmkit.protocol.keys import Key, format_key
from lmkit.protocol.messages import (
    Bundle,
    Chart,
    Grid,
    HomeSpec,
    Labels,
    LayerSpec,
    Matrix,
    PanelSpec,
    Span,
    Spans,
    Table,
    Text,
    TokenChoices,
    Tree,
)
from lmkit.protocol.tiles import decode

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

__all__ = ["describe", "draw"]

WIDTH = 860
MARGIN = 14
INK, FAINT, LINE, PAPER = (32, 33, 36), (95, 99, 104), (218, 220, 224), (255, 255, 255)
ACCENT = (0, 90, 156)
ALERT = (140, 70, 0)
LONGEST_LINE = 400
LONGEST_SPAN = 200
NO_FONT = "Written as code points: what no font of this system has."
SHOWN_LABELS = 5
SHOWN_TOKENS = 48
GRID_WIDTH = 400
HEAD_SIDE = 400


def describe(spec: PanelSpec | HomeSpec) -> str:
    """The output in words: for ``text/plain``, for the picture's alternative text."""
    if isinstance(spec, HomeSpec):
        plugins = ", ".join(f"{one.name} ({one.state})" for one in spec.plugins) or "none"
        models = ", ".join(one.name for one in spec.models) or "none"
        return f"lmkit {spec.version}. Plugins: {plugins}. Models loaded: {models}."
    lines = [" · ".join(filter(None, (spec.header.title, spec.header.model)))]
    for result in spec.results:
        lines.extend(_result_lines(result))
    if spec.data_set is not None and spec.data_set.source:
        data = spec.data_set
        lines.append(f"{data.source}: {data.done:,} of {data.rows:,} rows. {data.note}".strip())
        for result in data.results:
            lines.extend(_result_lines(result))
    lines.extend(f"Note: {warning}" for warning in spec.warnings)
    if spec.status.state == "error" and spec.status.error is not None:
        lines.append(f"{spec.status.error.message} {spec.status.error.hint}".strip())
    elif spec.status.state == "running":
        lines.append("Running.")
    elif spec.status.state == "cancelled":
        lines.append("Stopped.")
    if spec.attention is not None:
        layers = spec.attention.layers
        heads = sum(layer.heads for layer in layers)
        lines.append(
            f"Attention: {len(layers)} layers, {heads} heads, {len(spec.attention.tokens)} tokens."
        )
    elif spec.attention_note:
        lines.append(spec.attention_note)
    return "\n".join(lines)


def _result_lines(result: Any) -> list[str]:
    if isinstance(result, Labels):
        shown = result.scores[:SHOWN_LABELS]
        more = len(result.scores) - len(shown)
        lines = [f"{one.label} {one.score:.3f}" for one in shown]
        return [*lines, f"and {more} more"] if more else lines
    if isinstance(result, Spans):
        spans = result.spans[:SHOWN_TOKENS]
        more = max(len(result.spans), result.whole_spans) - len(spans)
        lines = [_span_line(result, one) for one in spans]
        # Without scores it is the text that the task made: placeholders in place of names.
        scored = any(one.score is not None for one in spans)
        made = [] if scored or len(result.text) > 2_000 else [result.text]
        return [*made, *lines, f"and {more:,} more"] if more else [*made, *lines]
    if isinstance(result, Text):
        return [result.text[:2_000]]
    if isinstance(result, Table) and result.columns == ("measure", "value"):
        return [
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in result.rows
        ]
    if isinstance(result, Matrix):
        return [f"{result.title or 'Matrix'}: {len(result.rows)} x {len(result.columns)}"]
    if isinstance(result, Chart):
        return [
            f"{result.title or 'Chart'}: {one.label} {one.help}".strip() for one in result.series
        ]
    if isinstance(result, Table):
        return [f"Table of {len(result.rows)} rows: {', '.join(result.columns[:20])}"]
    if isinstance(result, TokenChoices):
        return [result.text[:2_000]]
    if isinstance(result, Tree):
        return [f"Tree of {len(result.nodes)} nodes: {_best(result)[:500]}"]
    if isinstance(result, Grid):
        return [f"{result.title or 'Grid'}: {len(result.rows)} rows, {len(result.columns)} columns"]
    return [str(getattr(result, "title", "") or type(result).__name__)[:200]]


def _span_line(result: Spans, span: Span) -> str:
    score = "" if span.score is None else f"{span.score:.3f}"
    return " ".join(filter(None, (_quoted(result, span), span.label, score)))


def _quoted(result: Spans, span: Span) -> str:
    """What a span says, as far as the text is carried."""
    start, end = (max(0, place - result.offset) for place in (span.start, span.end))
    text = result.text[start : min(end, start + LONGEST_SPAN)]
    return repr(text if end - start <= LONGEST_SPAN else f"{text}…")


def _best(result: Tree) -> str:
    return "".join(node.text for node in result.nodes if node.best).replace("\n", " ")


def draw(bundle: Bundle) -> bytes:
    """Draw a bundle as PNG at twice the usual density, on white so that it prints."""
    from PIL import Image, ImageDraw

    spec = bundle.spec
    lines = describe(spec).split("\n")
    height = min(4_000, _most_height(spec, lines) * 2)
    canvas = Image.new("RGB", (WIDTH * 2, height), PAPER)
    pen = Pen(ImageDraw.Draw(canvas), Runs(_written(spec, lines)))
    y = MARGIN
    y = _text(pen, MARGIN, y, lines[0], 17, INK) + 6
    if isinstance(spec, PanelSpec):
        for result in spec.results:
            if isinstance(result, Labels):
                y = _bars(pen, y, result)
            else:
                for line in _result_lines(result):
                    y = _text(pen, MARGIN, y, line, 13, INK)
        for warning in spec.warnings:
            y = _text(pen, MARGIN, y, f"Note: {warning}", 12, ALERT)
        if spec.attention is not None:
            y = _tokens(pen, y + 6, [token.text for token in spec.attention.tokens])
            y = _attention(canvas, pen, y + 8, bundle)
            y = _text(pen, MARGIN, y + 4, lines[-1], 12, FAINT)
        elif len(lines) > 1:
            y = _text(pen, MARGIN, y + 4, lines[-1], 13, FAINT)
    else:
        for part in lines[0].split(". "):
            y = _text(pen, MARGIN, y, part, 13, FAINT)
    if pen.fonts.missing:
        y = _text(pen, MARGIN, y, NO_FONT, 12, FAINT)
    picture = canvas.crop((0, 0, WIDTH * 2, min(height, (y + MARGIN) * 2)))
    file = io.BytesIO()
    # A palette of one's own: to find the best one took ten times as long as all the rest.
    # Packed at level 3: an eighth larger than at 6, in a third of the time that a first look waits.
    picture.quantize(palette=_palette(), dither=Image.Dither.NONE).save(
        file, "PNG", compress_level=3
    )
    return file.getvalue()


@dataclass(frozen=True)
class Pen:
    """Where to draw, and the fonts that its texts need."""

    canvas: ImageDraw
    fonts: Runs


def _written(spec: PanelSpec | HomeSpec, lines: Sequence[str]) -> str:
    """All texts of the picture, as far as they are shown."""
    texts = [line[:LONGEST_LINE] for line in lines]
    if isinstance(spec, PanelSpec):
        for result in spec.results:
            if isinstance(result, Labels):
                texts += [one.label[:24] for one in result.scores[:SHOWN_LABELS]]
        if spec.attention is not None:
            texts += [token.text[:24] for token in islice(spec.attention.tokens, SHOWN_TOKENS)]
    return "".join(one for one in "".join(texts) if one.isprintable())


def _most_height(spec: PanelSpec | HomeSpec, lines: Sequence[str]) -> int:
    """At least the height that is needed: memory is filled before it is drawn on."""
    height = 2 * MARGIN + 26 * (len(lines) + 3)
    if isinstance(spec, PanelSpec) and spec.attention is not None:
        layers = spec.attention.layers
        height += 24 * SHOWN_TOKENS // 3 + max(HEAD_SIDE, len(layers) * _cell(layers)) + 60
    return height


def _cell(layers: Sequence[LayerSpec]) -> int:
    """Side of a thumbnail."""
    most = max(layer.heads for layer in layers)
    return max(4, min(32, GRID_WIDTH // most, HEAD_SIDE * 2 // max(1, len(layers))))


@cache
def _palette() -> Any:
    """The colours that are drawn with, each mixed with the paper in the steps that it needs."""
    from PIL import Image

    steps = {ACCENT: 80, INK: 20, FAINT: 12, LINE: 3, ALERT: 40}
    values = list(PAPER)
    for colour, count in steps.items():
        for step in range(1, count + 1):
            values += [
                round(paper + (own - paper) * step / count)
                for paper, own in zip(PAPER, colour, strict=True)
            ]
    image = Image.new("P", (1, 1))
    image.putpalette(values)
    return image


def _text(pen: Pen, x: int, y: int, text: str, size: int, colour: tuple[int, int, int]) -> int:
    line = "".join(c if c.isprintable() else " " for c in text[:LONGEST_LINE])
    while line and pen.fonts.width(line, size * 2) > (WIDTH - MARGIN - x) * 2:
        line = line[: max(0, int(len(line) * 0.9) - 1)] + "…" if len(line) > 8 else ""
    pen.fonts.write(pen.canvas, (x * 2, y * 2), line, size * 2, colour)
    return y + int(size * 1.5)


def _bars(pen: Pen, y: int, labels: Labels) -> int:
    for one in labels.scores[:SHOWN_LABELS]:
        name = one.label if len(one.label) <= 24 else one.label[:23] + "…"
        _text(pen, MARGIN, y, name, 13, INK)
        left, width = 190, 480
        pen.canvas.rectangle([left * 2, (y + 3) * 2, (left + width) * 2, (y + 15) * 2], fill=LINE)
        end = left + max(1, round(width * one.score))
        pen.canvas.rectangle([left * 2, (y + 3) * 2, end * 2, (y + 15) * 2], fill=ACCENT)
        y = _text(pen, left + width + 10, y, f"{one.score:.3f}", 13, INK)
    more = len(labels.scores) - SHOWN_LABELS
    return _text(pen, MARGIN, y, f"and {more} more", 12, FAINT) if more > 0 else y


def _tokens(pen: Pen, y: int, tokens: Sequence[str]) -> int:
    x = MARGIN
    for token in tokens[:SHOWN_TOKENS]:
        shown = "".join(c if c.isprintable() else "·" for c in token[:24]) or "·"
        width = int(pen.fonts.width(shown, 24) / 2) + 8
        if x + width > WIDTH - MARGIN:
            x, y = MARGIN, y + 22
        pen.canvas.rounded_rectangle([x * 2, y * 2, (x + width) * 2, (y + 19) * 2], 6, outline=LINE)
        pen.fonts.write(pen.canvas, ((x + 4) * 2, (y + 1) * 2), shown, 24, INK)
        x += width + 4
    y += 24
    left = len(tokens) - SHOWN_TOKENS
    return _text(pen, MARGIN, y, f"and {left} more tokens", 12, FAINT) if left > 0 else y


def _attention(canvas: Any, pen: Pen, y: int, bundle: Bundle) -> int:
    spec = bundle.spec
    assert isinstance(spec, PanelSpec)
    assert spec.attention is not None
    tiles = {tile.key: tile for tile in bundle.tiles}
    chosen = spec.attention.selection
    layers = spec.attention.layers
    top = _text(pen, MARGIN, y, "Heads (layers down)", 12, FAINT)
    cell = _cell(layers)
    for index in range(len(layers)):
        tile = tiles.get(format_key(Key("thumb", index)))
        if tile is None:
            continue
        values = decode(load_tile(tile), tuple(tile.shape), tile.encoding)
        colours = _colours(values, _top(values, spec.attention.scale))
        row = (top + index * cell) * 2
        canvas.paste(_row_of_pictures(colours, (cell - 1) * 2, 2), (MARGIN * 2, row))
        if index == chosen.layer:
            left = (MARGIN + chosen.head * cell) * 2
            box = [left - 2, row - 2, left + cell * 2, row + cell * 2]
            pen.canvas.rectangle(box, outline=ACCENT, width=3)
    bottom = top + len(layers) * cell
    shown = tiles.get(format_key(Key("head", chosen.layer, chosen.head)))
    if shown is not None:
        left = MARGIN + GRID_WIDTH + 16
        _text(pen, left, y, f"Layer {chosen.layer}, head {chosen.head}", 12, FAINT)
        values = decode(load_tile(shown), tuple(shown.shape), shown.encoding)
        colours = _colours(values, _top(values, spec.attention.scale))
        canvas.paste(_picture(colours, HEAD_SIDE * 2), (left * 2, top * 2))
        bottom = max(bottom, top + HEAD_SIDE)
    return bottom + 6


def _top(values: np.ndarray, scale: str) -> float:
    """The number with the full colour: 1 for shares, else the largest there is."""
    return 1.0 if scale == "share" else float(np.abs(values).max(initial=0.0)) or 1.0


def _colours(values: np.ndarray, top: float) -> np.ndarray:
    """Weights of any shape as uint8 colours, in a last axis of three.

    ``top`` has the full colour, and what is below 0 has the other one.
    """
    strength = np.sqrt(np.clip(np.abs(values) / top, 0.0, 1.0))[..., None]
    paper, accent, alert = (np.array(one, np.float32) for one in (PAPER, ACCENT, ALERT))
    own = np.where(values[..., None] < 0, alert, accent) if values.min(initial=0.0) < 0 else accent
    mixed: np.ndarray = (paper + (own - paper) * strength).round().astype(np.uint8)
    return mixed


def _picture(colours: np.ndarray, side: int) -> Any:
    return _row_of_pictures(colours[None], side, 0)


def _row_of_pictures(colours: np.ndarray, side: int, gap: int) -> Any:
    """Pictures (count, n, m, 3) side by side, each scaled to a square of ``side`` pixels.

    One image a row: 144 of their own took a third of the time of the whole drawing.
    """
    from PIL import Image

    count, high, wide = colours.shape[:3]
    steps = 2 * np.arange(side) + 1
    rows, columns = (steps * n // (2 * side) for n in (high, wide))
    row = np.empty((side, count, side + gap, 3), np.uint8)
    row[:, :, :side] = colours[:, rows[:, None], columns].swapaxes(0, 1)
    row[:, :, side:] = PAPER
    return Image.fromarray(row.reshape(side, count * (side + gap), 3), "RGB")
