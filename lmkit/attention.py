"""The attention of a pass in Python: its numbers, its lenses and views, and what is on show."""

from __future__ import annotations

import operator
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from lmkit.api import Result
from lmkit.in_process import InProcess
from lmkit.protocol.messages import Export, RunRecord, Selection, TextField, Token
from lmkit.views.attention import AttentionTiles, CapturedTrace
from lmkit.views.panel import PanelView

if TYPE_CHECKING:
    import numpy as np

    from lmkit.saving import SavedFile
    from lmkit.transports.widget import ViewWidget

__all__ = ["Attention", "Owner", "export_view", "show_call"]


class Owner(Protocol):
    """What an attention belongs to: a task's result, or an explorer of its own."""

    @property
    def view(self) -> PanelView:
        """The state that all copies of the output share."""
        ...

    @property
    def attention(self) -> Attention:
        """The attention of the pass itself, through no lens."""
        ...

    @property
    def record(self) -> RunRecord:
        """Which model, tokenizer, software and text the numbers came from."""
        ...

    def recipe(self, name: str) -> list[str]:
        """Lines of Python that make this again and call it ``name``; without the import."""
        ...

    def used(self) -> None:
        """The capture was asked: it may have been made again, and counts in the budget."""
        ...

    def select(self, selection: Selection) -> None:
        """Choose what the explorer shows."""
        ...

    def ask(self, view: str, values: Mapping[str, Any], selection: Selection) -> tuple[Result, ...]:
        """Ask a view about the pass."""
        ...

    def _ipython_display_(self) -> None: ...

    def _display_(self) -> ViewWidget: ...


class Attention(InProcess):
    """The attention of one pass. ``attention[layer, head]`` is an array, shape (queries, keys).

    Layers and heads count from 0. In a notebook it shows itself as the explorer.
    """

    _instead = (
        "Take its numbers, attention[layer, head], or save them: save('heads.npz', heads='all')."
    )

    def __init__(self, owner: Owner, trace: CapturedTrace) -> None:
        self._owner = owner
        self.trace = trace
        self._lens = ""

    @property
    def tokens(self) -> tuple[Token, ...]:
        """The tokens of the text."""
        return self.trace.tokens

    @property
    def layers(self) -> Sequence[Any]:
        """The layers that have attention, with the number of heads of each."""
        return self.trace.layers

    def __getitem__(self, place: tuple[int, int]) -> np.ndarray:
        layer, head = self._place(place)
        values = self.trace.attention(layer, head)
        self._owner.used()
        return values

    def rows(self, layer: int, head: int, rows: Sequence[int] | slice) -> np.ndarray:
        """Exact rows of one head; (rows, keys)."""
        layer, head = self._place((layer, head))
        values = self.trace.rows(layer, head, rows)
        self._owner.used()
        return values

    def received(self) -> np.ndarray:
        """Attention that each token receives, mean over layers, heads and queries; (tokens,)."""
        return self.trace.attention_received()

    @property
    def lenses(self) -> tuple[str, ...]:
        """Names of the lenses that this pass can be seen through."""
        return tuple(one.name for one in self._tiles.lens_specs if not one.reason)

    @property
    def views(self) -> tuple[str, ...]:
        """Names of the views that this pass can be asked for."""
        return tuple(one.name for one in self._tiles.views if not one.reason)

    def lens(self, name: str) -> Attention:
        """The same pass through a lens: ``r.attention.lens("words")[2, 5]``.

        Raises:
            ProtocolError: there is no such lens, or it is not available for this pass.
        """
        seen = Attention(self._owner, self._tiles.through(name).trace)
        seen._lens = name
        return seen

    def view(self, view: str, /, layer: int = 0, head: int = 0, tokens: Sequence[int] = (),
             **values: Any) -> tuple[Result, ...]:  # fmt: skip
        """What a view shows of this pass.

        Args:
            view: Its name, one of :attr:`views`.
            layer: For views that look at one layer.
            head: For views that look at one head.
            tokens: For views that look at some query tokens.
            **values: Values of the view's own fields; a whole number may stand for text, such as a
                label's index.

        Raises:
            LmkitError: one sentence saying what went wrong.
        """
        layer, head = self._place((layer, head))
        selection = Selection(layer=layer, head=head, tokens=self._some(layer, tokens))
        return self._owner.ask(view, self._typed(view, values), selection)

    def show(
        self,
        layer: int,
        head: int,
        tokens: Sequence[int] = (),
        *,
        lens: str | None = None,
        picture: str = "",
    ) -> Attention:
        """Choose what the explorer shows, here and in every open copy of it.

        Args:
            layer: The layer, from 0.
            head: The head, from 0.
            tokens: Query tokens to hold.
            lens: One of :attr:`lenses`; empty for the attention itself.
            picture: Which tab: ``"arcs"``, ``"map"``, or the name of a view; empty keeps it. A
                view is asked at once, so that a saved output has its answer.
        """
        chosen = self if lens is None or lens == self._lens else self._owner.attention
        if lens is not None and lens != self._lens:
            chosen = chosen.lens(lens) if lens else chosen
        layer, head = chosen._place((layer, head))
        selection = Selection(
            layer=layer,
            head=head,
            tokens=chosen._some(layer, tokens),
            lens=chosen._lens,
            picture=picture or self._owner.view.selection.picture,
        )
        if picture in self.views:
            self._owner.ask(picture, {}, selection)
        self._owner.select(selection)
        return self

    @property
    def _tiles(self) -> AttentionTiles:
        tiles = self._owner.view.tiles
        assert tiles is not None
        return tiles

    def _typed(self, view: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Values with the whole numbers among its texts as one would type them."""
        fields = next((one.fields for one in self._tiles.views if one.name == view), ())
        texts = {one.name for one in fields if isinstance(one, TextField)}
        return {
            name: str(operator.index(value))
            if name in texts and hasattr(value, "__index__") and not isinstance(value, bool)
            else value
            for name, value in values.items()
        }

    def _some(self, layer: int, tokens: Sequence[int]) -> tuple[int, ...]:
        """Query tokens, counted from 0; negative ones count from the end."""
        count = self.trace.layers[layer].queries
        for token in tokens:
            if not -count <= token < count:
                raise IndexError(f"There is no token {token}; there are {count}, counted from 0.")
        return tuple(token % count for token in tokens)

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        layer: int | None = None,
        head: int | None = None,
        tokens: Sequence[int] | None = None,
        picture: str | None = None,
        theme: str | None = None,
        mapping: str = "sqrt",
        lens: str | None = None,
        width: float | None = None,
        dpi: float = 300,
        heads: str | Sequence[int] | None = None,
        text: bool = True,
        budget: int | float | str | None = None,
    ) -> SavedFile:
        """Save as a file; the suffix says what kind.

        ``.svg``, ``.pdf`` and ``.png`` are the picture, vector where it can be; ``.html`` is a page
        that needs nothing else; ``.npz`` and ``.json`` hold the exact numbers. Each carries the run
        record. A file of that name is replaced in one step.

        Args:
            path: Where to; ends in one of these suffixes.
            layer: Default: the one that is shown. Negative ones count from the end.
            head: Likewise.
            tokens: Queries to mark; default: those that are selected.
            picture: ``"arcs"`` (default), ``"map"``, ``"grid"`` (all heads as small maps),
                ``"heads"`` (several in colours), ``"neuron"`` (the equation of the first chosen
                query and its heaviest key), or the name of a view that was asked.
            theme: ``"light"`` or ``"dark"``; a page follows its reader's system without.
            mapping: Of values to colours: ``"sqrt"`` (default), ``"linear"`` or ``"log"``.
            lens: Name of a lens to read the attention through; default: the one on show, ``""``
                for the attention itself.
            width: Of the picture, in inches.
            dpi: Pixels per inch of a PNG.
            heads: ``"all"``: every head's numbers in NPZ and JSON; for the picture of several
                heads their numbers.
            text: False leaves texts and tokens out and shows token indices.
            budget: Bytes of a page, or of the numbers of all heads: ``"5MB"``.

        Returns:
            The file; its ``notes`` say what it leaves out.

        Raises:
            SaveError: an unknown suffix or option, or a place that cannot be written.
            BudgetExceededError: all heads take more than the budget.
        """
        from lmkit.saving import Wish, save

        wish = Wish(
            layer=layer, head=head, tokens=tokens, picture=picture, theme=theme, mapping=mapping,
            lens=lens, width=width, dpi=dpi, heads=heads, text=text, budget=budget,
        )  # fmt: skip
        saved = save(self._owner.view, path, wish)
        self._owner.used()
        return saved

    def _place(self, place: object) -> tuple[int, int]:
        """Layer and head, counted from 0; negative ones count from the end."""
        if not (isinstance(place, tuple) and len(place) == 2):
            raise IndexError("Say attention[layer, head]; the array then has (queries, keys).")
        try:
            layer, head = operator.index(place[0]), operator.index(place[1])
        except TypeError as error:
            raise IndexError("Layer and head are whole numbers: attention[layer, head].") from error
        count = len(self.trace.layers)
        if not -count <= layer < count:
            raise IndexError(f"There is no layer {layer}; there are {count}, counted from 0.")
        heads = self.trace.layers[layer].heads
        if not -heads <= head < heads:
            raise IndexError(f"Layer {layer} has no head {head}; it has {heads}, from 0.")
        return layer % count, head % heads

    def __repr__(self) -> str:
        heads = sum(layer.heads for layer in self.layers)
        shape = f"{len(self.layers)} layers, {heads} heads, {len(self.tokens)} tokens"
        return f"<lmkit.Attention: {shape}>"

    def _ipython_display_(self) -> None:
        self._owner._ipython_display_()

    def _display_(self) -> ViewWidget:
        return self._owner._display_()  # marimo's protocol


def show_call(name: str, selection: Selection) -> str:
    """The line of Python that chooses what is on show."""
    chosen = f", tokens={list(selection.tokens)}" if selection.tokens else ""
    chosen += f", lens={selection.lens!r}" if selection.lens else ""
    chosen += f", picture={selection.picture!r}" if selection.picture else ""
    return f"{name}.show({selection.layer}, {selection.head}{chosen})"


def export_view(view: PanelView, request: Export) -> tuple[str, str, bytes, tuple[str, ...]]:
    """A file for a view's Save menu: its name, MIME type, bytes, and what it leaves out."""
    from lmkit.saving import Wish, export

    made = export(view, request.format, Wish.of(request.options))
    return made.name, made.mime, made.data, made.notes
