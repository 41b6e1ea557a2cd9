"""A drawing as SVG: real text in the viewer's fonts, shapes with their numbers as tooltips."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from lmkit.saving.colours import Rgb
from lmkit.saving.drawing import Curve, Drawing, Label, Raster, Rect, Shape

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["palette_png", "to_svg"]

_NAMESPACE = "http://www.w3.org/2000/svg"
FONTS = (
    "Aileron, 'Helvetica Neue', Helvetica, Arial, 'Liberation Sans', 'Noto Sans', "
    "'Noto Sans CJK SC', 'PingFang SC', 'Microsoft YaHei', 'Noto Sans Arabic', 'Geeza Pro', "
    "'Noto Color Emoji', 'Apple Color Emoji', 'Segoe UI Emoji', sans-serif"
)
"""The viewer's own fonts: nothing is embedded, so that every script has one."""


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _colour(colour: Rgb) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def palette_png(pixels: NDArray[np.uint8], palette: tuple[Rgb, ...]) -> bytes:
    """An image of palette colours as PNG, without loss."""
    from PIL import Image

    image = Image.fromarray(pixels, "L")
    image.putpalette([level for colour in palette for level in colour])
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def to_svg(drawing: Drawing, record: str) -> bytes:
    """The drawing as SVG 1.1.

    Args:
        drawing: What to draw.
        record: JSON of the run record, ASCII; goes into ``<metadata>``.
    """
    width, height = _number(drawing.width), _number(drawing.height)
    root = ElementTree.Element(
        "svg",
        {
            "xmlns": _NAMESPACE,
            "width": f"{width}pt",
            "height": f"{height}pt",
            "viewBox": f"0 0 {width} {height}",
            "role": "img",
        },
    )
    ElementTree.SubElement(root, "title").text = drawing.title
    ElementTree.SubElement(root, "desc").text = drawing.alternative
    ElementTree.SubElement(root, "metadata").text = record
    paper = {"width": width, "height": height, "fill": _colour(drawing.paper)}
    ElementTree.SubElement(root, "rect", paper)
    body = ElementTree.SubElement(root, "g", {"font-family": FONTS})
    for shape in drawing.shapes:
        _add(body, shape)
    made: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return made


def _add(parent: ElementTree.Element, shape: Shape) -> None:
    if isinstance(shape, Label):
        made = ElementTree.SubElement(parent, "text", _label(shape))
        made.text = shape.text
        return
    if isinstance(shape, Raster):
        packed = base64.b64encode(palette_png(shape.pixels, shape.palette)).decode("ascii")
        attributes = {
            **_box(shape),
            "preserveAspectRatio": "none",
            "style": "image-rendering:optimizeSpeed;image-rendering:pixelated",
            "href": f"data:image/png;base64,{packed}",
        }
        ElementTree.SubElement(parent, "image", attributes)
        return
    if isinstance(shape, Rect):
        attributes = {**_box(shape), "fill": _colour(shape.fill) if shape.fill else "none"}
        if shape.stroke:
            attributes |= {"stroke": _colour(shape.stroke), "stroke-width": _number(shape.line)}
        else:
            attributes["shape-rendering"] = "crispEdges"
        made = ElementTree.SubElement(parent, "rect", attributes)
    else:
        made = ElementTree.SubElement(parent, "path", _curve(shape))
    if shape.hint:
        ElementTree.SubElement(made, "title").text = shape.hint


def _box(shape: Rect | Raster) -> dict[str, str]:
    return {
        "x": _number(shape.x),
        "y": _number(shape.y),
        "width": _number(shape.width),
        "height": _number(shape.height),
    }


def _curve(shape: Curve) -> dict[str, str]:
    first, *rest = (f"{_number(x)} {_number(y)}" for x, y in shape.points)
    return {
        "d": f"M{first}{'L' if len(rest) == 1 else 'C'}{' '.join(rest)}",
        "fill": "none",
        "stroke": _colour(shape.stroke),
        "stroke-width": _number(shape.line),
        "stroke-linecap": "round" if len(rest) > 1 else "butt",
    }


def _label(shape: Label) -> dict[str, str]:
    attributes = {
        "x": _number(shape.x),
        "y": _number(shape.y),
        "font-size": _number(shape.size),
        "fill": _colour(shape.colour),
    }
    if shape.anchor != "start":
        attributes["text-anchor"] = shape.anchor
    if shape.angle:
        turned = f"rotate({_number(-shape.angle)} {_number(shape.x)} {_number(shape.y)})"
        attributes["transform"] = turned
    return attributes
