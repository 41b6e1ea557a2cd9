"""What the drawing layer puts into SVG, PDF and PNG, hostile texts included."""

from __future__ import annotations

import io
import itertools
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pypdf
import pytest
from PIL import Image

from lmkit import fonts
from lmkit.errors import SaveError
from lmkit.saving import figures
from lmkit.saving.colours import THEMES, Scale, mapped, ramp
from lmkit.saving.drawing import Curve, Drawing, Label, Raster, Rect
from lmkit.saving.figures import Axis, Head, Heads, draw_arcs, draw_grid, draw_map
from lmkit.saving.files import replaced
from lmkit.saving.pdf import to_pdf, to_png
from lmkit.saving.svg import to_svg
from lmkit.saving.text import shorten, visible

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = (
    "</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "\u202egnp.exe\u2066",
    "a\0b", "\ud800", "]]>&amp;", "\ufffe\uffff", "\x1b[31m", "", " ", "\n",
    "العربية", "中文", "🙂é",
)  # fmt: skip


def head(size: int, labels: tuple[str, ...] = (), **more: object) -> Head:
    rng = np.random.default_rng(size)
    values = rng.dirichlet(np.full(size, 0.1), size).astype(np.float32)
    axis = Axis(tuple(visible(text) for text in labels) or tuple(f"t{at}" for at in range(size)))
    return Head("model · layer 0, head 0", "sdpa", axis, axis, values, **more)  # type: ignore[arg-type]


def texts(svg: bytes) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


# -- texts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", HOSTILE)
def test_a_visible_text_has_nothing_that_acts(text: str) -> None:
    shown = visible(text)
    assert shown
    assert not any(ord(one) < 0x20 or 0xD800 <= ord(one) <= 0xDFFF for one in shown)
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
    assert "\n" not in visible(text, blanks=False)


def test_blanks_and_controls_are_marks_as_on_screen() -> None:
    assert visible("a b\n\t\u00a0") == "a·b↵⇥⍽"
    assert visible("a\0\u202eb\x7f\x85") == "a⟨NUL⟩⟨RLO⟩b⟨DEL⟩⟨85⟩"
    assert visible("") == "∅"
    assert visible("a\nb", blanks=False) == "a b"
    assert shorten("abcdef", 4) == "abc…"
    assert shorten("abcd", 4) == "abcd"


# -- colours --------------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", THEMES)
def test_zero_is_the_page_and_more_is_further_from_it(theme: str) -> None:
    colours = ramp(theme)
    assert len(colours) == 256
    assert colours[0] == THEMES[theme].paper

    def light(colour: tuple[int, int, int]) -> float:
        return 0.2126 * colour[0] + 0.7152 * colour[1] + 0.0722 * colour[2]

    rising = [light(b) - light(a) for a, b in itertools.pairwise(colours)]
    assert all(step >= -1 if theme == "dark" else step <= 1 for step in rising)
    both = ramp(theme, diverging=True)
    assert len(both) == 255
    assert both[127] == THEMES[theme].paper
    assert both[0][0] > both[0][2]  # red below zero
    assert both[-1][2] >= both[-1][0]  # blue above


@pytest.mark.parametrize("mapping", ["sqrt", "linear", "log"])
def test_ticks_lie_where_their_values_are_drawn(mapping: str) -> None:
    scale = Scale("light", mapping)  # type: ignore[arg-type]
    for place, value in scale.ticks():
        drawn = scale.index(np.array([value], dtype=np.float32))[0] / 255
        assert drawn == pytest.approx(place, abs=1 / 255)
    assert mapped(np.array([0.0, 1.0, 2.0]), mapping)[[0, 2]].tolist() == [0.0, 1.0]  # type: ignore[arg-type]


def test_a_difference_is_drawn_to_both_sides_of_zero() -> None:
    scale = Scale("light", "linear", "difference", top=0.5)
    assert scale.index(np.array([-0.5, 0.0, 0.5], dtype=np.float32)).tolist() == [0, 127, 254]
    values = [value for _, value in scale.ticks()]
    assert values == sorted(values)
    assert min(values) == -0.5
    assert max(values) == 0.5


# -- pictures -------------------------------------------------------------------------------------


def test_a_small_map_has_its_numbers_as_text() -> None:
    drawn = head(6)
    svg = to_svg(draw_map(drawn, Scale("light"), 360), "{}")
    found = texts(svg)
    for value in drawn.values.ravel():
        if value >= 0.995:
            continue
        written = f"{value:.2f}".replace("0.", ".", 1)
        assert written in found or written == ".00"
    assert {"t0", "t5", "queries", "keys", "0.25", "1"} <= set(found)
    hints = [one.text or "" for one in ElementTree.fromstring(svg).iter(f"{SVG}title")]
    assert f"t2 → t3: {drawn.values[2, 3]:.3g}" in hints or drawn.values[2, 3] < 4e-6


def test_a_large_map_is_one_image_of_the_exact_cells() -> None:
    drawn = head(128)
    drawing = draw_map(drawn, Scale("light"), 360)
    (raster,) = [shape for shape in drawing.shapes if isinstance(shape, Raster)]
    np.testing.assert_array_equal(raster.pixels, Scale("light").index(drawn.values))
    assert len(drawing.shapes) < 400
    labels = [label.text for label in drawing.labels]
    assert "0 t0" in labels or "t0" in labels
    assert max(label.size for label in drawing.labels) == figures.TITLE


def test_arcs_draw_what_is_strong_and_say_what_is_not_drawn() -> None:
    drawn = head(12)
    drawing = draw_arcs(drawn, Scale("light"), 290)
    curves = [one for one in drawing.shapes if isinstance(one, Curve) and len(one.points) == 4]
    assert len(curves) == int((np.sqrt(drawn.values) >= figures.FAINT).sum())
    assert drawing.notes == ("Lines under 0.0036 are left out.",)
    strongest = np.unravel_index(int(drawn.values.argmax()), drawn.values.shape)
    assert curves[-1].hint.startswith(f"t{strongest[0]} → t{strongest[1]}: ")


def test_arcs_of_chosen_queries_have_numbers_at_the_keys() -> None:
    plain = head(8)
    read = plain.values[[2, 3]].sum(axis=0)
    drawing = draw_arcs(head(8, tokens=(2, 3), read=read), Scale("light"), 290)
    found = [label.text for label in drawing.labels]
    assert all(f"{value:.3f}" in found for value in read if value >= 0.005)
    assert any("2 marked queries together pay" in note for note in drawing.notes)
    marked = [one.text for one in drawing.labels if one.colour == THEMES["light"].mark]
    assert marked == ["t2", "t3"]


def test_more_arcs_than_can_be_told_apart_are_refused_or_named() -> None:
    with pytest.raises(SaveError, match="cannot be told apart"):
        draw_arcs(head(4, block=(2, 2)), Scale("light"), 290)
    many = head(300)
    many.values[:] = 1 / 300
    drawing = draw_arcs(many, Scale("light", "log"), 290)
    assert drawing.notes[0] == "The 4,000 strongest of 90,000 lines are drawn."
    assert drawing.height < figures.PAGE + 120


def test_the_grid_shows_every_head_and_outlines_the_chosen_one() -> None:
    maps = tuple(np.random.default_rng(0).random((3, 5, 5), dtype=np.float32) for _ in range(2))
    drawing = draw_grid(Heads("m", "s", ("0", "1"), maps, (1, 2)), Scale("dark"), 432)
    assert sum(isinstance(shape, Raster) for shape in drawing.shapes) == 6
    marked = [
        one for one in drawing.shapes if isinstance(one, Rect) and one.stroke == THEMES["dark"].mark
    ]
    assert len(marked) == 1


@pytest.mark.parametrize("size", [1, 2, 3, 40, 200])
@pytest.mark.parametrize("draw", [draw_arcs, draw_map])
def test_nothing_leaves_the_page(draw: object, size: int) -> None:
    drawing = draw(head(size, ("a" * 100,) * size), Scale("light"), 290)  # type: ignore[operator]
    for shape in drawing.shapes:
        if isinstance(shape, Label):
            wide = fonts.text_width(shape.text, shape.size)
            reach = wide if shape.angle == 0 else 0
            left = shape.x - {"start": 0, "middle": reach / 2, "end": reach}[shape.anchor]
            assert left >= 0, shape
            assert left + reach <= drawing.width + 0.5, shape
            assert 0 < shape.y <= drawing.height, shape
        elif isinstance(shape, Rect | Raster):
            assert shape.x >= 0
            assert shape.x + shape.width <= drawing.width
            assert shape.y + shape.height <= drawing.height


# -- hostile texts in each format -----------------------------------------------------------------


def test_hostile_texts_are_texts_in_svg() -> None:
    drawing = draw_map(head(len(HOSTILE), HOSTILE), Scale("light"), 720)
    drawing.title = visible(HOSTILE[0])
    svg = to_svg(drawing, '{"text":"\\u003c/metadata\\u003e"}')
    root = ElementTree.fromstring(svg)
    allowed = {"svg", "title", "desc", "metadata", "rect", "g", "path", "text", "image"}
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= allowed
    for element in root.iter():
        assert not any(name.lower().startswith("on") for name in element.attrib)
        assert element.get("href", "data:image/png").startswith("data:image/png")
    assert "<img·src=x·onerror=al" in " ".join(texts(svg))
    assert root.findtext(f"{SVG}title") == visible(HOSTILE[0])


def test_hostile_texts_are_texts_in_pdf() -> None:
    drawing = draw_map(head(len(HOSTILE), HOSTILE), Scale("light"), 720)
    pdf, notes = to_pdf(drawing, '{"a":1}')
    reader = pypdf.PdfReader(io.BytesIO(pdf))
    (page,) = reader.pages
    assert float(page.mediabox.width) == pytest.approx(drawing.width, abs=0.1)
    assert float(page.mediabox.height) == pytest.approx(drawing.height, abs=0.1)
    text = page.extract_text()
    assert "queries" in text
    assert "onerror" in text
    assert reader.metadata is not None
    assert reader.metadata["/Keywords"] == '{"a":1}'
    catalog = reader.trailer["/Root"]
    assert isinstance(catalog["/OpenAction"], list)  # a place on the page; an action is a dict
    assert not {"/AA", "/Names", "/AcroForm"} & set(catalog)
    missing = [one for one in "中文🙂" if fonts.writable(one, fonts.fonts_for(one))[1]]
    assert bool(notes) == bool(missing)
    for one in missing:
        assert f"U+{ord(one):04X}" in notes[0]
        # where a font of the system has the other signs, pypdf reads some of its codes byte by byte
        assert f"U+{ord(one):04X}" in text.replace("\n", "").replace("\x00", "")


def test_the_fonts_of_a_pdf_are_embedded() -> None:
    pdf, notes = to_pdf(draw_arcs(head(5), Scale("light"), 290), "{}")
    assert notes == ()
    page = pypdf.PdfReader(io.BytesIO(pdf)).pages[0]
    used = page["/Resources"]["/Font"]  # type: ignore[index]
    assert used
    for name in used:
        inner = used[name]["/DescendantFonts"][0].get_object()
        assert {"/FontFile2", "/FontFile3"} & set(inner["/FontDescriptor"])


def test_a_character_that_no_font_has_is_its_code_point() -> None:
    only = fonts.latin()
    assert only is not None
    text, missing = fonts.writable("a中→b", [only])
    assert text == "a[U+4E2D]->b"
    assert missing == {0x4E2D}


def test_a_png_has_the_pixels_that_its_resolution_says(tmp_path: Path) -> None:
    drawing = draw_map(head(6), Scale("dark"), 144)
    pdf, _ = to_pdf(drawing, "{}")
    for dpi in (72, 300):
        image = Image.open(io.BytesIO(to_png(pdf, dpi, '{"model":"m"}', "é title")))
        assert image.size[0] == pytest.approx(144 * dpi / 72, abs=1)
        assert image.size[1] == pytest.approx(drawing.height * dpi / 72, abs=1)
        assert image.info["dpi"][0] == pytest.approx(dpi, abs=0.1)
        assert image.info["lmkit"] == '{"model":"m"}'
        assert image.info["Title"] == "é title"
        assert image.getpixel((1, 1)) == THEMES["dark"].paper


def test_an_empty_drawing_is_a_page() -> None:
    pdf, _ = to_pdf(Drawing(100, 50, (255, 255, 255), "t", "a"), "{}")
    assert len(pypdf.PdfReader(io.BytesIO(pdf)).pages) == 1


# -- files ----------------------------------------------------------------------------------------


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.svg"
    path.write_bytes(b"before")

    def fail() -> None:
        with replaced(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_bytes() == b"before"
    with replaced(path) as file:
        file.write(b"after")
        assert path.read_bytes() == b"before"
    assert path.read_bytes() == b"after"
    assert [one.name for one in tmp_path.iterdir()] == ["a.svg"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(SaveError, match="could not be written") as caught,
        replaced(tmp_path / "no" / "a.svg"),
    ):
        pass
    assert caught.value.hint


def test_a_label_has_room_for_what_stands_in_for_a_character(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a font for it, a character is written as its code point, far wider than it."""
    monkeypatch.setattr(fonts, "_files", lambda: ())
    fonts.text_width.cache_clear()
    fonts._shown.cache_clear()
    try:
        alone = fonts.text_width("中", 10)
        assert alone == fonts.text_width("[U+4E2D]", 10)
        assert alone > 3 * 10
    finally:
        monkeypatch.undo()
        fonts.text_width.cache_clear()
        fonts._shown.cache_clear()
