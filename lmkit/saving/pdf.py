"""A drawing as PDF, its fonts embedded; and as PNG, which is that PDF at a chosen resolution."""

from __future__ import annotations

import io
import logging
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.fonts import Font, fonts_for, writable
from lmkit.saving.colours import Rgb
from lmkit.saving.drawing import Curve, Drawing, Label, Raster, Rect, Shape
from lmkit.saving.svg import palette_png
from lmkit.version import __version__

if TYPE_CHECKING:
    from fpdf import FPDF

__all__ = ["to_pdf", "to_png"]

_POINTS_PER_INCH = 72


def to_pdf(drawing: Drawing, record: str) -> tuple[bytes, tuple[str, ...]]:
    """The drawing as PDF of one page.

    Args:
        drawing: What to draw.
        record: JSON of the run record, ASCII; goes into the document's keywords.

    Returns:
        The file, and sentences on characters that no font of this system has.
    """
    from fpdf import FPDF

    # fpdf keeps the error of a missing cryptography, and with it every frame above its first
    # import: the caller's, with the result and its model.
    kept = getattr(sys.modules.get("fpdf.encryption"), "import_error", None)
    if isinstance(kept, BaseException):
        kept.with_traceback(None)
    logging.getLogger("fontTools").setLevel(logging.ERROR)  # it reports each table it drops
    with tempfile.TemporaryDirectory(prefix="lmkit-") as folder:
        pdf = FPDF(unit="pt", format=(drawing.width, drawing.height))
        pdf.set_margin(0)
        pdf.c_margin = 0
        pdf.set_auto_page_break(False)
        pdf.set_title(drawing.title)
        pdf.set_subject(drawing.alternative[:2_000])
        pdf.set_keywords(record)
        pdf.set_creator(f"lmkit {__version__}")
        pdf.set_image_filter("FlateDecode")
        pdf.add_page()
        _fill(pdf, drawing.paper)
        pdf.rect(0, 0, drawing.width, drawing.height, style="F")
        writer = _Writer(pdf, drawing, Path(folder))
        for shape in drawing.shapes:
            _add(pdf, writer, shape)
        data = bytes(pdf.output())
    return data, writer.notes


def to_png(pdf: bytes, dpi: float, record: str, title: str) -> bytes:
    """The first page of a PDF as PNG.

    Args:
        pdf: The file.
        dpi: Pixels per inch; also written into the file.
        record: JSON of the run record, in a text chunk ``lmkit``.
        title: In a text chunk ``Title``.
    """
    import pypdfium2
    from PIL.PngImagePlugin import PngInfo

    document = pypdfium2.PdfDocument(pdf)
    try:
        image = document[0].render(scale=dpi / _POINTS_PER_INCH).to_pil().convert("RGB")
    finally:
        document.close()
    texts = PngInfo()
    texts.add_itxt("Title", title)
    texts.add_text("Software", f"lmkit {__version__}")
    texts.add_text("lmkit", record, zip=len(record) > 2_000)
    file = io.BytesIO()
    image.save(file, "PNG", dpi=(dpi, dpi), pnginfo=texts)
    return file.getvalue()


class _Writer:
    """Writes the texts of one drawing in the fonts that they need."""

    def __init__(self, pdf: FPDF, drawing: Drawing, folder: Path) -> None:
        self._pdf = pdf
        self._fonts = fonts_for("".join(dict.fromkeys("".join(o.text for o in drawing.labels))))
        self._families: list[tuple[Font, str]] = []
        self._missing: set[int] = set()
        for number, font in enumerate(self._fonts):
            file = font.file
            if file is None:
                file = folder / f"{font.name}.ttf"
                file.write_bytes(font.data or b"")
            try:
                pdf.add_font(f"font{number}", fname=str(file))
            except Exception:  # fpdf2 raises many kinds for a font that it cannot embed
                logging.getLogger("lmkit").debug("%s cannot be embedded", file, exc_info=True)
                continue
            self._families.append((font, f"font{number}"))
        self._fonts = [font for font, _ in self._families]
        if self._families:
            pdf.set_font(self._families[0][1], size=8)
            pdf.set_fallback_fonts([family for _, family in self._families[1:]], exact_match=False)
            pdf.set_text_shaping(True)

    @property
    def notes(self) -> tuple[str, ...]:
        """What could not be written, in words."""
        if not self._missing:
            return ()
        shown = ", ".join(f"U+{code:04X}" for code in sorted(self._missing)[:8])
        more = len(self._missing) - 8
        return (
            f"No font of this system has {shown}{f' and {more} more' if more > 0 else ''}: "
            "written as code points. Install a font such as Noto Sans, or save as SVG.",
        )

    def write(self, label: Label) -> None:
        """Write one line at its place."""
        pdf = self._pdf
        if self._families:
            text, missing = writable(label.text, self._fonts)
            self._missing |= missing
            # A word in one font reads better than one that changes its font for a letter.
            family = next(
                (family for font, family in self._families if font.has(text)), self._families[0][1]
            )
            pdf.set_font(family, size=label.size)
        else:
            text = label.text.encode("cp1252", "replace").decode("cp1252")
            pdf.set_font("helvetica", size=label.size)
        pdf.set_text_color(*label.colour)
        width = pdf.get_string_width(text)
        start = {"start": 0.0, "middle": width / 2, "end": width}[label.anchor]
        turned: Any = nullcontext()
        if label.angle:
            turned = pdf.rotation(label.angle, label.x, label.y)
        with turned:
            # fpdf2 sets the baseline of a cell at 0.5 of its height and 0.3 of the font's size.
            pdf.set_xy(label.x - start, label.y - 0.8 * label.size)
            pdf.cell(width, label.size, text, align="L")


def _fill(pdf: FPDF, colour: Rgb) -> None:
    pdf.set_fill_color(*colour)


def _add(pdf: FPDF, writer: _Writer, shape: Shape) -> None:
    if isinstance(shape, Label):
        writer.write(shape)
    elif isinstance(shape, Raster):
        image = io.BytesIO(palette_png(shape.pixels, shape.palette))
        pdf.image(image, shape.x, shape.y, shape.width, shape.height)
    elif isinstance(shape, Rect):
        if shape.fill is not None:
            _fill(pdf, shape.fill)
        if shape.stroke is not None:
            pdf.set_draw_color(*shape.stroke)
            pdf.set_line_width(shape.line)
        style = ("F" if shape.fill is not None else "") + ("D" if shape.stroke is not None else "")
        pdf.rect(shape.x, shape.y, shape.width, shape.height, style=style or "D")
    else:
        _draw_curve(pdf, shape)


def _draw_curve(pdf: FPDF, shape: Curve) -> None:
    pdf.set_draw_color(*shape.stroke)
    pdf.set_line_width(shape.line)
    points = shape.points
    if len(points) == 2:
        pdf.line(*points[0], *points[1])
    else:
        pdf.bezier(list(points), style="D")
