"""A picture as a list of shapes, in points (1/72 inch) from the top left: no more than is drawn.

Every back end draws the same shapes: :mod:`lmkit.saving.svg`, :mod:`lmkit.saving.pdf`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from lmkit.saving.colours import Rgb

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Curve", "Drawing", "Label", "Raster", "Rect", "Shape"]


@dataclass(frozen=True)
class Rect:
    """A filled or outlined rectangle; ``hint`` is shown where a viewer has tooltips."""

    x: float
    y: float
    width: float
    height: float
    fill: Rgb | None = None
    stroke: Rgb | None = None
    line: float = 0.5
    hint: str = ""


@dataclass(frozen=True)
class Curve:
    """A cubic Bezier curve from the first point to the last; a straight line as a special case."""

    points: tuple[tuple[float, float], ...]
    """Two (a line) or four (a curve)."""
    stroke: Rgb
    line: float = 0.5
    hint: str = ""


@dataclass(frozen=True)
class Label:
    """One line of text. ``y`` is its baseline; it is turned by ``angle`` degrees, up, about (x, y).

    Attributes:
        text: Already made visible; drawn as it is.
        width: What it takes at most, in points; longer text was cut by the caller.
    """

    x: float
    y: float
    text: str
    size: float
    colour: Rgb
    anchor: Literal["start", "middle", "end"] = "start"
    angle: float = 0.0


@dataclass(frozen=True)
class Raster:
    """Pixels as data: an image of palette colours, drawn with hard edges.

    Attributes:
        pixels: Indices into ``palette``, uint8, shape (rows, columns).
        palette: At most 256 colours.
    """

    x: float
    y: float
    width: float
    height: float
    pixels: NDArray[np.uint8]
    palette: tuple[Rgb, ...]


Shape = Rect | Curve | Label | Raster


@dataclass
class Drawing:
    """A whole picture.

    Attributes:
        width: In points.
        height: In points.
        paper: Colour of the background.
        title: What it shows, in one line.
        alternative: The same in words, for those who do not see it.
        shapes: In the order of drawing.
        notes: What a reader of the picture must know: what was left out or pooled.
    """

    width: float
    height: float
    paper: Rgb
    title: str
    alternative: str
    shapes: list[Shape] = field(default_factory=list)
    notes: tuple[str, ...] = ()

    def add(self, *shapes: Shape) -> None:
        """Draw these on top of what there is."""
        self.shapes.extend(shapes)

    @property
    def labels(self) -> list[Label]:
        """All texts of the picture."""
        return [shape for shape in self.shapes if isinstance(shape, Label)]
