"""Saves what a view shows as a file: HTML, SVG, PDF, PNG, NPZ, JSON."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec

from lmkit.errors import AttentionUnavailableError, SaveError
from lmkit.protocol.keys import Key, format_key
from lmkit.protocol.messages import (
    Bundle,
    ExportOptions,
    HeadGrid,
    Labels,
    PanelSpec,
    RunRecord,
    Selection,
    Token,
    TokenColumns,
)
from lmkit.run_record import record_json, without_text
from lmkit.saving import analyses, figures
from lmkit.saving.arrays import Numbers, write_json, write_npz
from lmkit.saving.colours import THEMES, Kind, Mapping, Scale
from lmkit.saving.drawing import Drawing
from lmkit.saving.figures import Axis, Head, Heads
from lmkit.saving.files import replaced
from lmkit.saving.text import shorten, visible
from lmkit.settings import options as settings
from lmkit.settings import parse_size, size_text
from lmkit.transports.html import standalone, to_html
from lmkit.transports.picture import describe, draw
from lmkit.transports.snapshot import snapshot
from lmkit.views.attention import CapturedTrace, VectorTrace
from lmkit.views.panel import PanelView

__all__ = ["FORMATS", "ExportedFile", "SavedFile", "Wish", "export", "save"]

FORMATS = {
    "html": "text/html",
    "svg": "image/svg+xml",
    "png": "image/png",
    "pdf": "application/pdf",
    "npz": "application/x-npz",
    "json": "application/json",
}
"""The suffixes that a view can be saved under, and their MIME types."""
PICTURES = ("arcs", "map", "grid", "neuron", "heads")
INCH = 72
WIDTHS = {"arcs": 4.0, "map": 5.0, "grid": 6.0, "neuron": 5.5, "heads": 4.0}
VIEW_WIDTH = 6.0
"""Inches: a text column takes 3.3, a page of A4 or Letter 6.5."""
LEAST_WIDTH, MOST_WIDTH = 2.0, 40.0
DPI = 300
MOST_PIXELS = 100_000_000
MAP_SIDE = 1_024
"""Pixels at the side of a large map: beyond it, blocks of tokens are pooled by mass."""
THUMBNAIL_SIDE = 48
ROUNDS = 4
"""Tries to bring a page into its budget; the second one nearly always does."""


@dataclass(frozen=True)
class ExportedFile:
    """A file in memory, with what it leaves out."""

    name: str
    mime: str
    data: bytes
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SavedFile(os.PathLike[str]):
    """A file that was written; ``notes`` say what it leaves out."""

    path: Path
    nbytes: int
    notes: tuple[str, ...] = ()

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        said = "".join(f"\n  {note}" for note in self.notes)
        return f"{self.path}: {size_text(self.nbytes)}{said}"


@dataclass(frozen=True, kw_only=True)
class Wish:
    """How a view is to be saved; see :meth:`lmkit.Attention.save`."""

    layer: int | None = None
    head: int | None = None
    tokens: Sequence[int] | None = None
    picture: str | None = None
    theme: str | None = None
    mapping: str = "sqrt"
    lens: str | None = None
    width: float | None = None
    dpi: float = DPI
    heads: str | Sequence[int] | None = None
    text: bool = True
    budget: int | float | str | None = None

    @classmethod
    def of(cls, given: ExportOptions) -> Wish:
        """The wish of a view's Save menu."""
        chosen = given.selection
        return cls(
            layer=chosen.layer if chosen else None,
            head=chosen.head if chosen else None,
            tokens=chosen.tokens if chosen else None,
            picture=given.picture,
            heads=given.heads or None,
            theme=given.theme,
            mapping=given.mapping,
            lens=chosen.lens if chosen else None,
            text=given.text,
        )

    def check(self) -> None:
        """Raises SaveError for what no file can follow."""
        one_of = (
            ("theme", self.theme, tuple(THEMES)),
            ("mapping", self.mapping, ("sqrt", "linear", "log")),
            ("heads", self.heads if isinstance(self.heads, str) else None, ("all",)),
        )
        for name, value, known in one_of:
            if value is not None and value not in known:
                raise SaveError(
                    f"{name} is {str(value)[:80]!r}; it can be {', '.join(map(repr, known))}."
                )
        if self.width is not None and not LEAST_WIDTH <= self.width <= MOST_WIDTH:
            raise SaveError(
                f"A width of {self.width:g} inches is out of bounds: {LEAST_WIDTH:g} to "
                f"{MOST_WIDTH:g}."
            )
        if not 36 <= self.dpi <= 2_400:
            raise SaveError(f"{self.dpi:g} dpi is out of bounds: 36 to 2400.")


def save(view: PanelView, path: str | os.PathLike[str], wish: Wish) -> SavedFile:
    """Write the view to a file; what was there is replaced in one step, or stays.

    Raises:
        SaveError: an unknown suffix or option, or a place that cannot be written.
        AttentionUnavailableError: the run gave no attention.
        BudgetExceededError: all heads take more than the budget.
    """
    target = Path(path).expanduser()
    form = target.suffix.lower().removeprefix(".")
    if form not in FORMATS:
        known = ", ".join(f".{one}" for one in FORMATS)
        raise SaveError(
            f"A view cannot be saved as {target.name[:100]!r}: the name has to end in one of "
            f"{known}."
        )
    made = _Maker(view, wish).make(form)
    with replaced(target) as file:
        made.write(file)
    return SavedFile(target, target.stat().st_size, made.notes)


def export(view: PanelView, form: str, wish: Wish) -> ExportedFile:
    """The view as a file in memory; raises as :func:`save` does."""
    maker = _Maker(view, wish)
    made = maker.make(form)
    file = io.BytesIO()
    made.write(file)
    return ExportedFile(maker.file_name(form), FORMATS[form], file.getvalue(), made.notes)


@dataclass(frozen=True)
class _Made:
    write: Callable[[BinaryIO], object]
    notes: tuple[str, ...] = ()


class _Maker:
    """Makes the files of one view as it is now, as one wish wants them."""

    def __init__(self, view: PanelView, wish: Wish) -> None:
        wish.check()
        outcome = view.outcome
        if outcome is None:
            raise SaveError("There is nothing to save yet.", hint="Run first.")
        if outcome.trace is None or view.tiles is None:
            raise AttentionUnavailableError(
                outcome.attention_note or "This run gave no attention to save."
            )
        self.view = view
        self.wish = wish
        self.lens = view.selection.lens if wish.lens is None else wish.lens
        self.trace: CapturedTrace = view.tiles.through(self.lens).trace
        self.spec = next((one for one in view.tiles.lens_specs if one.name == self.lens), None)
        record = outcome.record or RunRecord(model=view.header.model, task=view.header.task)
        self.record = record if wish.text else without_text(record)
        self.selection = self._selection()

    def _selection(self) -> Selection:
        wish, shown, layers = self.wish, self.view.selection, self.trace.layers
        layer = (
            min(shown.layer, len(layers) - 1)
            if wish.layer is None
            else self._place(wish.layer, len(layers), "layer")
        )
        heads = layers[layer].heads
        head = (
            min(shown.head, heads - 1)
            if wish.head is None
            else self._place(wish.head, heads, "head")
        )
        if wish.tokens is not None:
            count = layers[layer].queries
            tokens = tuple(sorted({self._place(one, count, "token") for one in wish.tokens}))
        else:
            tokens = shown.tokens if shown.lens == self.lens else ()
        return Selection(layer=layer, head=head, tokens=tokens, lens=self.lens)

    @staticmethod
    def _place(index: int, count: int, what: str) -> int:
        if not -count <= index < count:
            raise SaveError(f"There is no {what} {index}; there are {count}, counted from 0.")
        return index % count

    def file_name(self, form: str) -> str:
        """A name for a download: nothing of it comes from the text."""
        chosen = self.selection
        if form == "html":
            return "attention.html"
        picture = self._picture()
        if form in ("svg", "pdf", "png"):
            if picture == "grid":
                return f"attention-heads.{form}"
            if picture not in PICTURES:  # a view's name: letters, digits and hyphens
                return f"{picture}.{form}"
        return f"attention-layer{chosen.layer}-head{chosen.head}.{form}"

    def make(self, form: str) -> _Made:
        """The file of a format, ready to be written."""
        if form == "html":
            return self._html()
        if form in ("npz", "json"):
            return self._numbers(form)
        drawing = self._drawing()
        record = record_json(self.record)
        if form == "svg":
            from lmkit.saving.svg import to_svg

            data = to_svg(drawing, record)
            return _Made(lambda file: file.write(data), drawing.notes)
        from lmkit.saving.pdf import to_pdf, to_png

        data, notes = to_pdf(drawing, record)
        if form == "png":
            scale = self.wish.dpi / INCH
            pixels = drawing.width * drawing.height * scale * scale
            if pixels > MOST_PIXELS:
                raise SaveError(
                    f"At {self.wish.dpi:g} dpi the picture has {pixels / 1e6:.0f} million pixels.",
                    hint="Say a smaller dpi, or save as SVG or PDF.",
                )
            data = to_png(data, self.wish.dpi, record, drawing.title)
        return _Made(lambda file: file.write(data), (*drawing.notes, *notes))

    # -- pictures ---------------------------------------------------------------------------------

    def _drawing(self) -> Drawing:
        picture = self._picture()
        width = INCH * (self.wish.width or WIDTHS.get(picture, VIEW_WIDTH))
        theme = self.wish.theme or "light"
        if picture == "heads":
            return analyses.draw_heads(self._several(), theme, width)
        if picture == "neuron":
            return analyses.draw_neuron(self._pair(), theme, width)
        if picture not in PICTURES:
            return self._answer(picture, theme, width)
        scale = Scale(theme, cast("Mapping", self.wish.mapping))
        if picture == "grid":
            heads = self._heads()
            return figures.draw_grid(heads, self._scaled(scale, heads.maps), width)
        head = self._head(pooled=picture == "map")
        scale = self._scaled(scale, [head.values])
        made = figures.draw_map if picture == "map" else figures.draw_arcs
        return made(head, scale, width)

    def _picture(self) -> str:
        """The name of the picture or view that is to be drawn.

        Raises:
            SaveError: there is none of this name.
        """
        wanted = self.wish.picture or "arcs"
        tiles = self.view.tiles
        views = [one.name for one in tiles.views] if tiles else []
        if wanted not in (*PICTURES, *views):
            known = ", ".join(map(repr, (*PICTURES, *views)))
            raise SaveError(f"picture is {wanted[:80]!r}; it can be {known}.")
        return wanted

    def _several(self) -> analyses.HeadLines:
        """The heads that were chosen, else the six around the one on show."""
        if self._kind() != "share":
            raise SaveError("Several heads are drawn of shares of attention only.")
        layer, head = self.selection.layer, self.selection.head
        info = self.trace.layers[layer]
        given = None if isinstance(self.wish.heads, str) else self.wish.heads
        first = head - head % len(analyses.OKABE_ITO)
        wanted = range(first, min(first + len(analyses.OKABE_ITO), info.heads))
        heads = list(
            dict.fromkeys(
                self._place(one, info.heads, "head") for one in (wanted if given is None else given)
            )
        )
        most = len(analyses.OKABE_ITO)
        notes = (f"The first {most} of {len(heads)} chosen heads.",) if len(heads) > most else ()
        heads = heads[:most]
        if max(info.queries, info.keys) > analyses.MOST_TOKENS:
            values: tuple[Any, ...] = ()
            heads = []
        else:
            values = tuple(self.trace.attention(layer, one) for one in heads)
        queries, keys = self._axes(info)
        return analyses.HeadLines(
            title=f"{self._model()} · layer {layer}, heads {', '.join(map(str, heads))}",
            subtitle=self._subtitle(info),
            queries=queries,
            keys=keys,
            heads=tuple(heads),
            values=values,
            tokens=self.selection.tokens,
            notes=notes,
        )

    def _pair(self) -> analyses.Neuron:
        """The first chosen query, else the last one, and the key that it attends to most."""
        import numpy as np

        layer, head = self.selection.layer, self.selection.head
        info = self.trace.layers[layer]
        if not getattr(info, "has_qk", False) or not hasattr(self.trace, "queries"):
            raise AttentionUnavailableError(
                "The queries and keys of this layer are not known.",
                hint="Without a lens, and for models whose attention the interface serves.",
            )
        trace = cast("VectorTrace", self.trace)
        query = self.selection.tokens[0] if self.selection.tokens else info.queries - 1
        weights = np.asarray(trace.rows(layer, head, [query])[0], dtype=np.float32)
        queries, keys = self._axes(info)
        return analyses.Neuron(
            title=f"{self._model()} · layer {layer}, head {head}",
            subtitle=self._subtitle(info),
            keys=keys,
            query_label=queries.at(query),
            key=int(weights.argmax()),
            query=trace.queries(layer, head, [query])[0],
            vectors=trace.keys(layer, head, range(info.keys)),
            scores=trace.scores(layer, head, [query])[0],
            weights=weights,
            scale=info.scale,
            softcap=info.softcap,
            sinks=info.sinks,
        )

    def _answer(self, name: str, theme: str, width: float) -> Drawing:
        """What a view showed last."""
        tiles = self.view.tiles
        assert tiles is not None
        info = next(one for one in tiles.views if one.name == name)
        answer = next((one for one in self.view.answers if one.name == name), None)
        title = visible(info.title, blanks=False)
        if answer is None:
            raise SaveError(
                f"{title} has not been asked yet for this pass.",
                hint=f"Open it, or r.attention.view({name!r}) in Python.",
            )
        if not self.wish.text and any(
            not isinstance(one, HeadGrid | Labels) for one in answer.results
        ):
            raise SaveError(f"{title} quotes the text.", hint="Save it with text=True.")
        place = ""
        if {"layer", "head"} & set(info.follows):
            place = f", layer {answer.selection.layer}, head {answer.selection.head}"
        return analyses.draw_results(
            f"{self._model()} · {title}{place}",
            self._subtitle(None),
            answer.results,
            (self.selection.layer, self.selection.head),
            theme,
            width,
        )

    def _kind(self) -> str:
        """What the numbers mean: those of the lens, or of the pass itself."""
        assert self.view.tiles is not None
        return self.spec.scale if self.spec is not None else self.view.tiles.scale

    def _scaled(self, scale: Scale, arrays: Sequence[Any]) -> Scale:
        """The scale of a lens, its end where the numbers end; shares always end at 1."""
        kind = self._kind()
        if self.spec is None and kind == "share":
            return scale
        title = kind if self.spec is None else visible(self.spec.title, blanks=False)
        if kind == "share":
            return replace(scale, what=f"attention ({title})")
        scale = replace(scale, what=title)
        import numpy as np

        top = max(float(np.abs(array).max(initial=0.0)) for array in arrays)
        return replace(scale, kind=cast("Kind", kind), top=top or 1.0)

    def _head(self, *, pooled: bool) -> Head:
        import numpy as np

        layer, head = self.selection.layer, self.selection.head
        info = self.trace.layers[layer]
        side = MAP_SIDE if pooled else figures.MOST_ARC_TOKENS
        block = (-(-info.queries // side), -(-info.keys // side))
        if block == (1, 1):
            values = self.trace.attention(layer, head)
        else:
            rows, columns = -(-info.queries // block[0]), -(-info.keys // block[1])
            values = self.trace.mass(layer, head, rows, columns) if pooled else np.zeros((1, 1))
        queries, keys = self._axes(info)
        tokens = self.selection.tokens
        read = self.trace.summed(layer, head, tokens) if tokens and block == (1, 1) else None
        return Head(
            title=f"{self._model()} · layer {layer}, head {head}",
            subtitle=self._subtitle(info),
            queries=queries,
            keys=keys,
            values=np.asarray(values, dtype=np.float32),
            block=block,
            tokens=tokens,
            read=read,
        )

    def _heads(self) -> Heads:
        layers = self.trace.layers
        roles = {layer.role for layer in layers}
        return Heads(
            title=f"{self._model()} · all heads",
            subtitle=self._subtitle(None),
            rows=tuple(
                str(index) if len(roles) == 1 else f"{layer.role} {index}"
                for index, layer in enumerate(layers)
            ),
            maps=tuple(
                self.trace.thumbnails(index, THUMBNAIL_SIDE) for index in range(len(layers))
            ),
            chosen=(self.selection.layer, self.selection.head),
        )

    def _axes(self, info: Any) -> tuple[Axis, Axis]:
        """The tokens of a layer's queries and keys: a cross layer reads the encoder's."""
        read, written = self.trace.tokens, self.trace.decoder_tokens or self.trace.tokens
        queries = read if info.role == "encoder" else written
        keys = written if info.role == "decoder" else read
        return self._axis(queries, info.queries), self._axis(keys, info.keys)

    def _axis(self, tokens: Sequence[Token], count: int) -> Axis:
        if not self.wish.text:
            return Axis(tuple(map(str, range(count))))
        most = figures.LABEL_LENGTH + 1
        labels = [visible(token.text[:most]) for token in tokens[:count]]
        return Axis((*labels, *(f"#{index}" for index in range(len(labels), count))))

    def _model(self) -> str:
        header = self.view.header
        parts = [header.model] if header.model else []
        if self.view.tiles is not None and self.view.tiles.scale == "difference":
            parts.append("difference")
        return shorten(visible(" · ".join(parts) or header.title, blanks=False), 120)

    def _subtitle(self, info: Any) -> str:
        trace = self.trace
        parts = []
        if info is None:
            heads = sum(layer.heads for layer in trace.layers)
            parts.append(f"{len(trace.layers)} layers, {heads} heads")
        elif info.queries == info.keys and not self.lens:
            parts.append(f"{info.role}, {info.queries:,} tokens")
        else:
            parts.append(f"{info.role}, {info.queries:,} queries, {info.keys:,} keys")
        path = visible(trace.path, blanks=False)
        if trace.deviation is not None:
            path += f", self-check {trace.deviation:.1g}"
        parts.append(path)
        if self.record.dtype:
            parts.append(self.record.dtype)
        return " · ".join(parts)

    # -- numbers ----------------------------------------------------------------------------------

    def _numbers(self, form: str) -> _Made:
        every = self.wish.heads == "all"
        places = (
            tuple(
                (at, head) for at, one in enumerate(self.trace.layers) for head in range(one.heads)
            )
            if every
            else ((self.selection.layer, self.selection.head),)
        )
        numbers = Numbers(self.trace, self.record, places, every, self.wish.text, lens=self.lens)
        budget = None if self.wish.budget is None else parse_size(self.wish.budget)
        numbers.check(budget, as_text=form == "json")
        write = write_npz if form == "npz" else write_json
        return _Made(lambda file: write(file, numbers))

    # -- page -------------------------------------------------------------------------------------

    def _html(self) -> _Made:
        wish = self.wish
        budget = settings.budget if wish.budget is None else parse_size(wish.budget)
        # A view on show is drawn from its answer, where that is carried.
        shown = msgspec.structs.replace(
            self.selection, picture=wish.picture or self.view.selection.picture
        )
        # The heads get what the renderer, the picture and the text leave, which is known only when
        # they are there: the picture shows a head.
        room, page = budget, ""
        for _ in range(ROUNDS):
            bundle = snapshot(self.view, None, budget=room, selection=shown, whole=True)
            page = self._page(bundle)
            over = len(page.encode()) - budget
            if over <= 0 or bundle.heads_carried == 0:
                break
            carried = sum(len(tile.data) for tile in bundle.tiles)
            room = max(0, min(room, carried) - over)
        notes = []
        if bundle.heads_carried < bundle.heads:
            notes.append(
                f"{bundle.heads_carried} of {bundle.heads} heads fit into {size_text(budget)}; a "
                'larger budget carries more: budget="20MB".'
            )
        if self.lens and not _carries_lens(bundle, self.selection):
            notes.append(
                "The lens does not fit, so that the page shows the attention itself; a larger "
                'budget carries it: budget="20MB".'
            )
        data = page.encode()
        return _Made(lambda file: file.write(data), tuple(notes))

    def _page(self, bundle: Bundle) -> str:
        bundle = _alone(bundle)
        if not self.wish.text:
            bundle = _without_text(bundle)
        spec = bundle.spec
        assert isinstance(spec, PanelSpec)
        theme = self.wish.theme or "auto"
        page = to_html(bundle, draw(bundle), describe(spec), theme)
        title = f"{visible(spec.header.title, blanks=False)} · {self._model()}"
        return standalone([page], title, theme)


def _alone(bundle: Bundle) -> Bundle:
    """The bundle without what only a kernel can answer: lenses and views that are not carried."""
    spec = bundle.spec
    assert isinstance(spec, PanelSpec)
    if spec.attention is None:
        return bundle
    chosen = spec.attention.selection
    carried = _carries_lens(bundle, chosen)
    answered = {answer.name for answer in bundle.answers}
    if not carried:
        chosen = msgspec.structs.replace(
            chosen, lens="", tokens=() if chosen.lens else chosen.tokens
        )
    attention = msgspec.structs.replace(
        spec.attention,
        selection=chosen,
        lenses=tuple(one for one in spec.attention.lenses if carried and one.name == chosen.lens),
        views=tuple(one for one in spec.attention.views if one.name in answered),
    )
    spec = msgspec.structs.replace(spec, attention=attention)
    return msgspec.structs.replace(bundle, spec=spec)


def _carries_lens(bundle: Bundle, chosen: Selection) -> bool:
    """Whether the head that is chosen is there through the lens that is chosen."""
    if not chosen.lens:
        return False
    key = format_key(Key("head", chosen.layer, chosen.head, lens=chosen.lens))
    return any(tile.key == key for tile in bundle.tiles)


def _without_text(bundle: Bundle) -> Bundle:
    """The bundle with token indices for tokens, and nothing else that could quote the text."""
    spec = bundle.spec
    assert isinstance(spec, PanelSpec)
    attention = spec.attention
    if attention is not None:
        keys = attention.key_tokens
        attention = msgspec.structs.replace(
            attention,
            steps=(),  # their labels quote the text
            views=(),
            tokens=_numbered(attention.tokens),
            key_tokens=None if keys is None else _numbered(keys),
        )
    spec = msgspec.structs.replace(
        spec,
        fields=(),
        values={},
        results=(),  # spans and tables quote the text, and a task may make labels of it
        warnings=(),
        python="",
        attention=attention,
    )
    record = bundle.record
    return msgspec.structs.replace(
        bundle,
        spec=spec,
        record=None if record is None else without_text(record),
        answers=(),  # they name tokens
    )


def _numbered(tokens: TokenColumns) -> TokenColumns:
    return TokenColumns(
        text=tuple(str(index) for index in range(len(tokens))), special=tokens.special
    )
