"""The attention explorer of one captured pass: its spec, and its tiles on demand."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from lmkit.api import TextTrace, Token
from lmkit.errors import ProtocolError
from lmkit.protocol.keys import Key, format_key, parse_key
from lmkit.protocol.messages import (
    AttentionSpec,
    Encoding,
    LayerSpec,
    LensSpec,
    Scale,
    Selection,
    StepSpec,
    TileHeader,
    ViewInfo,
)
from lmkit.views.lens import Lens

if TYPE_CHECKING:
    import numpy as np

__all__ = ["HEAD_SIDE", "THUMBNAIL_SIDE", "AttentionTiles", "CapturedTrace"]

THUMBNAIL_SIDE = 24
"""Side of a thumbnail in cells: 280 heads are then 160 kB before compression."""
HEAD_SIDE = 512
"""Side of a head's picture in cells; above it rows and columns are pooled by mass."""
MAX_ROWS = 64
"""Exact rows in one tile; a view asks for the few around the pointer."""


class CapturedTrace(TextTrace, Protocol):
    """A trace that can be pooled and summed on the model's device."""

    decoder_tokens: tuple[Token, ...]
    """What the decoder of an encoder-decoder read; empty for other models."""

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

    def thumbnails(self, layer: int, size: int) -> np.ndarray:
        """Pooled attention of all heads of a layer; (heads, size, size) or smaller."""
        ...

    def summed(self, layer: int, head: int, queries: Sequence[int]) -> np.ndarray:
        """Sum of chosen rows; (keys,)."""
        ...

    def summed_to(self, layer: int, head: int, keys: Sequence[int]) -> np.ndarray:
        """Sum of chosen columns; (queries,)."""
        ...

    def queries(self, layer: int, head: int, rows: Sequence[int]) -> np.ndarray:
        """Query vectors as the score is computed from them; (len(rows), d)."""
        ...

    def keys(self, layer: int, head: int, rows: Sequence[int]) -> np.ndarray:
        """Key vectors as this head reads them; (len(rows), d)."""
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
        self._thumbnails: dict[str, tuple[TileHeader, bytes]] = {}
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
        tokens = key_tokens = None
        if not reason:
            seen = self.through(lens.name).trace
            if tuple(seen.tokens) != tuple(self.trace.tokens):
                tokens, key_tokens = tuple(seen.tokens), tuple(seen.tokens)
                if seen.decoder_tokens:
                    tokens = tuple(seen.decoder_tokens)
                own_keys = getattr(seen, "key_tokens", None)
                if own_keys is not None:
                    key_tokens = tuple(own_keys)
        return LensSpec(
            name=lens.name,
            title=lens.title,
            help=lens.help,
            scale=lens.scale,
            tokens=tokens,
            key_tokens=key_tokens,
            reason=reason,
        )

    def spec(self, selection: Selection) -> AttentionSpec:
        """What a view needs before the first tile."""
        trace = self.trace
        layers = tuple(_layer_spec(layer) for layer in trace.layers)
        # An encoder-decoder reads two sequences: the decoder's queries, the encoder's keys.
        decoder = trace.decoder_tokens
        return AttentionSpec(
            layers=layers,
            tokens=decoder or trace.tokens,
            key_tokens=trace.tokens if decoder else None,
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

    def tile(self, name: str, *, fine: bool = False) -> tuple[TileHeader, bytes]:
        """Compute one tile.

        Args:
            name: See :mod:`lmkit.protocol.keys`.
            fine: Encode a head in 16 bits, for saved outputs that cannot ask for exact rows.

        Raises:
            ProtocolError: a name that is malformed or out of bounds.
        """
        from lmkit.protocol.tiles import encode

        kept = self._thumbnails.get(name)
        if kept is not None:
            return kept
        key = parse_key(name)
        if key.lens:
            plain = format_key(msgspec.structs.replace(key, lens=""))
            header, data = self.through(key.lens).tile(plain, fine=fine)
            return msgspec.structs.replace(header, key=name), data
        self._check(key, name)
        trace = self.trace
        layer = trace.layers[key.layer]
        encoding: Encoding
        if key.kind == "thumb":
            values, encoding = trace.thumbnails(key.layer, THUMBNAIL_SIDE), "sqrt-u8"
        elif key.kind == "head":
            rows, columns = min(layer.queries, HEAD_SIDE), min(layer.keys, HEAD_SIDE)
            values = trace.mass(key.layer, key.head, rows, columns)
            encoding = "sqrt-u16" if fine else "sqrt-u8"
        elif key.kind == "rows":
            first, last = key.tokens
            values, encoding = trace.rows(key.layer, key.head, range(first, last)), "f32"
        elif key.kind == "sum":
            values, encoding = trace.summed(key.layer, key.head, key.tokens), "f32"
        else:
            values, encoding = trace.summed_to(key.layer, key.head, key.tokens), "f32"
        if self.scale != "share":
            encoding = "f32"  # the others hold values of [0, 1] alone
        header = TileHeader(key=name, shape=tuple(values.shape), encoding=encoding)
        tile = header, encode(values, encoding)
        if key.kind == "thumb":
            self._thumbnails[name] = tile
        return tile

    def _check(self, key: Key, name: str) -> None:
        layers = self.trace.layers
        if key.layer >= len(layers):
            raise ProtocolError(f"Tile {name}: there are {len(layers)} layers, counted from 0.")
        layer = layers[key.layer]
        if key.head >= layer.heads:
            raise ProtocolError(f"Tile {name}: the layer has {layer.heads} heads, from 0.")
        if key.kind == "rows":
            first, last = key.tokens
            if last > layer.queries or last - first > MAX_ROWS:
                raise ProtocolError(
                    f"Tile {name}: the head has {layer.queries} rows; at most {MAX_ROWS} at once."
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


def _layer_spec(layer: Any) -> LayerSpec:
    return LayerSpec(
        name=layer.name,
        role=layer.role,
        heads=layer.heads,
        kv_heads=layer.kv_heads,
        queries=layer.queries,
        keys=layer.keys,
        causal=layer.causal,
        window=layer.window,
    )
