"""The attention explorer of one captured pass: its spec, and its tiles on demand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

import msgspec

from lmkit.api import TextTrace, Token
from lmkit.errors import AttentionUnavailableError, Cancelled, ProtocolError
from lmkit.protocol.keys import (
    FORMS,
    SCORE_BLOCK,
    VECTOR_BLOCK,
    Key,
    Kind,
    format_key,
    parse_key,
)
from lmkit.protocol.levels import level_of, tile_box
from lmkit.protocol.messages import (
    AttentionSpec,
    Encoding,
    LayerSpec,
    LensSpec,
    Scale,
    Selection,
    StepSpec,
    TileHeader,
    TokenColumns,
    ViewInfo,
)
from lmkit.views.lens import Lens

if TYPE_CHECKING:
    import numpy as np

    Cancel = Callable[[], bool] | None

__all__ = ["HEAD_SIDE", "THUMBNAIL_SIDE", "AttentionTiles", "CapturedTrace", "VectorTrace"]

THUMBNAIL_SIDE = 24
"""Side of a thumbnail in cells: 280 heads are then 160 kB before compression."""
HEAD_SIDE = 512
"""Side of a head's picture in cells; above it rows and columns are pooled by mass."""
GLANCE_ROWS = 2
"""Queries looked at for each row of a quick thumbnail; the 48 rows take milliseconds a layer."""
MAX_ROWS = 64
"""Exact rows in one tile; a view asks for the few around the pointer."""


class CapturedTrace(TextTrace, Protocol):
    """A trace that can be pooled and summed on the model's device."""

    @property
    def decoder_tokens(self) -> tuple[Token, ...]:
        """What the decoder of an encoder-decoder read; empty for other models."""
        ...

    @property
    def path(self) -> str:
        """How attention was obtained."""
        ...

    @property
    def deviation(self) -> float | None:
        """Largest difference that the A.v self-check found, relative to max|v|."""
        ...

    @property
    def missing(self) -> Sequence[str]:
        """Layers without attention."""
        ...

    def mass(self, layer: int, head: int, n_rows: int, n_cols: int) -> np.ndarray:
        """Pooled attention: sum over keys, mean over rows; (n_rows, n_cols)."""
        ...

    def block(self, layer: int, head: int, q0: int, q1: int, k0: int, k1: int) -> np.ndarray:
        """A tile of one head, ends excluded; (q1 - q0, k1 - k0)."""
        ...

    def thumbnails(
        self,
        layer: int,
        size: int = 24,
        *,
        heads: tuple[int, int] | None = None,
        sample: int | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> np.ndarray:
        """Pooled attention of all heads of a layer; (heads, size, size) or smaller.

        ``sample``: of so many queries a row only; ``cancel`` is asked between blocks of rows.
        """
        ...

    def summed(self, layer: int, head: int, queries: Sequence[int]) -> np.ndarray:
        """Sum of chosen rows; (keys,)."""
        ...

    def summed_to(self, layer: int, head: int, keys: Sequence[int]) -> np.ndarray:
        """Sum of chosen columns; (queries,)."""
        ...


class VectorTrace(CapturedTrace, Protocol):
    """A trace of which queries and keys are known too; through most lenses there are none."""

    def queries(self, layer: int, head: int, rows: Sequence[int]) -> np.ndarray:
        """Query vectors as the score is computed from them; (len(rows), d)."""
        ...

    def keys(self, layer: int, head: int, rows: Sequence[int]) -> np.ndarray:
        """Key vectors as this head reads them; (len(rows), d)."""
        ...

    def values(self, layer: int, head: int) -> np.ndarray:
        """Value vectors that the head reads; (keys, width)."""
        ...

    def scores(self, layer: int, head: int, rows: Sequence[int]) -> np.ndarray:
        """What enters the softmax, masked cells as ``keys.MASKED``; (len(rows), keys)."""
        ...


class AttentionTiles:
    """Spec and tiles of one trace, computed on request.

    Thumbnails are kept once computed: every copy of the view and every saved form wants them, and
    over 4,096 tokens those of all heads take 20 s and more.

    Args:
        trace: The pass.
        lenses: What it can be seen through.
        views: What else can be asked of it.
        scale: What its numbers mean.
    """

    def __init__(
        self,
        trace: CapturedTrace,
        *,
        lenses: Sequence[Lens] = (),
        views: Sequence[ViewInfo] = (),
        scale: Scale = "share",
    ) -> None:
        self.trace = trace
        self.views = tuple(views)
        self.scale = scale
        self._thumbnails: dict[str, np.ndarray] = {}
        self._lenses = {lens.name: lens for lens in lenses}
        self._reasons = {lens.name: lens.unavailable(trace) for lens in lenses}
        self._through: dict[str, AttentionTiles] = {}
        self._lens_specs: tuple[LensSpec, ...] | None = None
        self._lock = threading.Lock()

    def through(self, lens: str) -> AttentionTiles:
        """The same pass seen through a lens; the attention itself for an empty name.

        Raises:
            ProtocolError: there is no such lens, or it is not available for this pass.
        """
        if not lens:
            return self
        chosen = self._lenses.get(lens)
        if chosen is None:
            names = ", ".join(self._lenses) or "none"
            raise ProtocolError(f"There is no lens {lens!r}.", hint=f"There are: {names}.")
        if self._reasons[lens]:
            raise ProtocolError(f"{chosen.title} is not available: {self._reasons[lens]}")
        with self._lock:
            seen = self._through.get(lens)
            if seen is None:
                seen = AttentionTiles(chosen.make(self.trace), scale=chosen.scale)
                self._through[lens] = seen
        return seen

    @property
    def lens_specs(self) -> tuple[LensSpec, ...]:
        """What the view is told of the lenses; those not available with the reason."""
        if self._lens_specs is None:
            self._lens_specs = tuple(self._lens_spec(lens) for lens in self._lenses.values())
        return self._lens_specs

    def _lens_spec(self, lens: Lens) -> LensSpec:
        reason = self._reasons[lens.name]
        grouped = not reason and hasattr(self.through(lens.name).trace, "groups_of")
        return LensSpec(
            name=lens.name,
            title=lens.title,
            help=lens.help,
            scale=lens.scale,
            grouped=grouped,
            reason=reason,
        )

    def spec(self, selection: Selection) -> AttentionSpec:
        """What a view needs before the first tile."""
        trace = self.trace
        vectors = hasattr(trace, "queries")
        layers = tuple(_layer_spec(layer, vectors=vectors) for layer in trace.layers)
        # An encoder-decoder reads two sequences: the decoder's queries, the encoder's keys.
        decoder = trace.decoder_tokens
        return AttentionSpec(
            layers=layers,
            tokens=TokenColumns.of(decoder or trace.tokens),
            key_tokens=TokenColumns.of(trace.tokens) if decoder else None,
            path=trace.path,
            deviation=trace.deviation,
            missing=tuple(trace.missing),
            selection=self.clip(selection),
            scale=self.scale,
            lenses=self.lens_specs,
            views=self.views,
            steps=_steps(trace),
        )

    def clip(self, selection: Selection) -> Selection:
        """The selection, brought back to layers, heads and tokens that there are."""
        lens = selection.lens if not self._reasons.get(selection.lens, "?") else ""
        layers = self.through(lens).trace.layers
        layer = max(0, min(selection.layer, len(layers) - 1))
        tokens = selection.tokens if lens == selection.lens else ()
        return Selection(
            layer=layer,
            head=max(0, min(selection.head, layers[layer].heads - 1)),
            tokens=tuple(sorted({one for one in tokens if 0 <= one < layers[layer].queries})),
            lens=lens,
            picture=selection.picture,
        )

    def plain(self, selection: Selection) -> Selection:
        """The selection in tokens of the pass itself, where it was made through a lens."""
        chosen = self.clip(selection)
        if not chosen.lens:
            return chosen
        trace: Any = self.through(chosen.lens).trace
        tokens = chosen.tokens
        if hasattr(trace, "groups_of"):
            groups = trace.groups_of(self.trace.layers[chosen.layer].role)
            tokens = tuple(sorted({token for place in tokens for token in groups[place]}))
        return msgspec.structs.replace(chosen, tokens=tokens, lens="")

    @property
    def heads(self) -> int:
        """How many heads there are in all layers."""
        return sum(layer.heads for layer in self.trace.layers)

    def head_keys(self) -> list[str]:
        """The names of all heads' tiles, layer by layer."""
        return [
            format_key(Key("head", index, head))
            for index, layer in enumerate(self.trace.layers)
            for head in range(layer.heads)
        ]

    def thumbnail_keys(self) -> list[str]:
        """The names of all layers' thumbnails."""
        return [format_key(Key("thumb", index)) for index in range(len(self.trace.layers))]

    def neuron_keys(self, layer: int, head: int) -> list[str]:
        """The names of all tiles that the neuron view of a head asks for; none without q and k."""
        info = self.trace.layers[layer]
        if not getattr(info, "has_qk", False) or not hasattr(self.trace, "queries"):
            return []
        parts: list[tuple[Kind, int, int]] = [
            ("q", info.queries, VECTOR_BLOCK),
            ("k", info.keys, VECTOR_BLOCK),
            ("score", info.queries, SCORE_BLOCK),
        ]
        return [
            format_key(Key(kind, layer, head, (first, min(first + block, count))))
            for kind, count, block in parts
            for first in range(0, count, block)
        ]

    def tile(
        self, name: str, *, fine: bool = False, coarse: bool = False, cancel: Cancel = None
    ) -> tuple[TileHeader, bytes]:
        """Compute one tile.

        Args:
            name: See :mod:`lmkit.protocol.keys`.
            fine: Encode a head in 16 bits, for saved outputs that cannot ask for exact rows.
            coarse: Encode a head or thumbnails in 6 bits, for first looks that must be small.
            cancel: Asked now and then while thumbnails or a map are computed.

        Raises:
            ProtocolError: a name that is malformed or out of bounds.
            Cancelled: ``cancel`` answered True.
            AttentionUnavailableError: vectors of a layer that gave its attention only.
        """
        from lmkit.protocol.tiles import encode

        key = parse_key(name)
        if key.lens:
            plain = format_key(msgspec.structs.replace(key, lens=""))
            lens = self.through(key.lens)
            header, data = lens.tile(plain, fine=fine, coarse=coarse, cancel=cancel)
            return msgspec.structs.replace(header, key=name), data
        self._check(key, name)
        trace = self.trace
        layer = trace.layers[key.layer]
        encoding: Encoding
        if key.kind in ("thumb", "glance"):
            values = self._thumbnail(name, key, cancel)
            encoding = "sqrt-u6" if coarse else "sqrt-u8"
        elif key.kind == "map":
            values, encoding = _map_tile(trace, key, cancel), "sqrt-u8"
        elif key.kind == "head":
            rows, columns = min(layer.queries, HEAD_SIDE), min(layer.keys, HEAD_SIDE)
            values = trace.mass(key.layer, key.head, rows, columns)
            encoding = "sqrt-u16" if fine else "sqrt-u6" if coarse else "sqrt-u8"
        elif key.kind == "rows":
            first, last = key.tokens
            values, encoding = trace.rows(key.layer, key.head, range(first, last)), "f32"
        elif key.kind in ("query-groups", "key-groups"):
            values, encoding = self._groups(key.layer, keys=key.kind == "key-groups"), "f32"
        elif FORMS[key.kind] == "range":
            values, encoding = self._vectors(key), "f32"
        elif key.kind == "sum":
            values, encoding = trace.summed(key.layer, key.head, key.tokens), "f32"
        else:
            values, encoding = trace.summed_to(key.layer, key.head, key.tokens), "f32"
        if self.scale != "share":
            encoding = "f32"  # the others hold values of [0, 1] alone
        header = TileHeader(key=name, shape=tuple(values.shape), encoding=encoding)
        return header, encode(values, encoding)

    def _thumbnail(self, name: str, key: Key, cancel: Cancel) -> np.ndarray:
        kept = self._thumbnails.get(name)
        if kept is None:
            kept = self.trace.thumbnails(
                key.layer,
                THUMBNAIL_SIDE,
                heads=(key.tokens[0], key.tokens[1]) if key.tokens else None,
                sample=GLANCE_ROWS if key.kind == "glance" else None,
                cancel=cancel,
            )
            if key.kind == "thumb":
                self._thumbnails[name] = kept
        return kept

    def _groups(self, index: int, *, keys: bool) -> np.ndarray:
        """For each token of the pass its token of this lens, -1 for one that is hidden."""
        import numpy as np

        trace: Any = self.trace
        if not hasattr(trace, "groups_of"):
            raise ProtocolError("These tokens are those of the pass: there are no groups.")
        layer = trace.base.layers[index]
        places = np.full(layer.keys if keys else layer.queries, -1, dtype=np.float32)
        for place, group in enumerate(trace.groups_of(layer.role, keys=keys)):
            places[list(group)] = place
        return places

    def _vectors(self, key: Key) -> np.ndarray:
        known = getattr(self.trace.layers[key.layer], "has_qk", False)
        # A lens keeps what the layers say of themselves, and has no vectors.
        if not known or not hasattr(self.trace, "queries"):
            raise AttentionUnavailableError("The queries and keys of this layer are not known.")
        trace = cast("VectorTrace", self.trace)
        rows = range(*key.tokens)
        if key.kind == "q":
            return trace.queries(key.layer, key.head, rows)
        if key.kind == "k":
            return trace.keys(key.layer, key.head, rows)
        if key.kind == "v":
            return trace.values(key.layer, key.head)[rows.start : rows.stop]
        return trace.scores(key.layer, key.head, rows)

    def _check(self, key: Key, name: str) -> None:
        layers = self.trace.layers
        if key.layer >= len(layers):
            raise ProtocolError(f"Tile {name}: there are {len(layers)} layers, counted from 0.")
        layer = layers[key.layer]
        if key.head >= layer.heads:
            raise ProtocolError(f"Tile {name}: the layer has {layer.heads} heads, from 0.")
        if key.kind in ("thumb", "glance"):
            if key.tokens and key.tokens[1] > layer.heads:
                raise ProtocolError(f"Tile {name}: the layer has {layer.heads} heads, from 0.")
        elif key.kind == "map":
            if tile_box(layer.queries, layer.keys, *key.tokens) is None:
                raise ProtocolError(
                    f"Tile {name}: the map of {layer.queries} x {layer.keys} tokens "
                    "has no such level or place."
                )
        elif FORMS[key.kind] == "range":
            first, last = key.tokens
            count = layer.keys if key.kind in ("k", "v") else layer.queries
            if last > count or last - first > MAX_ROWS:
                raise ProtocolError(
                    f"Tile {name}: the head has {count} rows; at most {MAX_ROWS} at once."
                )
        elif key.kind in ("sum", "from"):
            bound = layer.queries if key.kind == "sum" else layer.keys
            if max(key.tokens) >= bound:
                raise ProtocolError(f"Tile {name}: there are {bound} tokens, counted from 0.")


def _steps(trace: CapturedTrace) -> tuple[StepSpec, ...]:
    """The steps of a generated text; none for a single pass."""
    return tuple(
        StepSpec(label=step.label, first=step.first, last=step.last)
        for step in getattr(trace, "steps", ())
    )


def _map_tile(trace: CapturedTrace, key: Key, cancel: Cancel) -> np.ndarray:
    """A tile of a head's map, pooled where the queries and keys lie if the trace can do that."""
    import numpy as np

    layer = trace.layers[key.layer]
    level = level_of(layer.queries, layer.keys, key.tokens[0])
    box = tile_box(layer.queries, layer.keys, *key.tokens)
    assert level is not None  # _check has looked
    assert box is not None
    # Asked of the class: a lens that hands on what it does not know would hand on other numbers.
    pool = getattr(type(trace), "pool", None)
    if pool is not None:
        on_device: np.ndarray = pool(
            trace, key.layer, key.head, *box, level.row_bin, level.column_bin, cancel=cancel
        )
        return on_device
    # A lens may know only its numbers: those of one row of the tile at a time.
    columns = np.arange(0, box.k1 - box.k0, level.column_bin)
    rows = []
    for q in range(box.q0, box.q1, level.row_bin):
        if cancel is not None and cancel():
            raise Cancelled("Stopped while a map was computed.")
        stop = min(box.q1, q + level.row_bin)
        cells = trace.block(key.layer, key.head, q, stop, box.k0, box.k1)
        rows.append(np.add.reduceat(cells.mean(axis=0), columns))
    return np.array(rows, dtype=np.float32)


def _layer_spec(layer: Any, *, vectors: bool) -> LayerSpec:
    """A layer as views are told of it; ``vectors``: the trace can be asked for them."""
    return LayerSpec(
        name=layer.name,
        role=layer.role,
        heads=layer.heads,
        kv_heads=layer.kv_heads,
        queries=layer.queries,
        keys=layer.keys,
        causal=layer.causal,
        window=layer.window,
        # A trace of a plugin's own may know no more than the shape.
        step=getattr(layer, "step", 0),
        head_size=getattr(layer, "head_size", 0),
        scale=getattr(layer, "scale", 0.0),
        softcap=getattr(layer, "softcap", None),
        sinks=getattr(layer, "sinks", False),
        has_qk=vectors and getattr(layer, "has_qk", False),
        has_values=vectors and getattr(layer, "has_values", False),
        rotary=getattr(layer, "rotary", False),
    )
