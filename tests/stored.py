"""A captured pass made of plain arrays, with every number computed the plain way."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lmkit.api import Token, Word, Words
from lmkit.capture import LayerInfo
from lmkit.errors import Cancelled
from lmkit.views.lenses.projected import bin_edges

__all__ = ["StoredTrace", "pooled", "token", "tokens_of_words"]


def token(text: str, **more: Any) -> Token:
    return Token(text=text, raw=text, **more)


def tokens_of_words(pieces: Sequence[Sequence[str]]) -> tuple[tuple[Token, ...], Words]:
    """Tokens and words; a word of one piece in brackets is a special token."""
    tokens: list[Token] = []
    words: list[Word] = []
    text = ""
    for word in pieces:
        if len(word) == 1 and word[0].startswith("["):
            tokens.append(token(word[0], special=True))
            continue
        start = len(text)
        mine = []
        for piece in word:
            mine.append(len(tokens))
            at = len(text)
            text += piece
            tokens.append(token(piece, word=len(words), start=at, end=len(text)))
        words.append(Word("".join(word), start, len(text), tuple(mine)))
        text += " "
    return tuple(tokens), Words(text.rstrip(), words)


def pooled(attention: np.ndarray, n_rows: int, n_cols: int) -> np.ndarray:
    """Sum over a bin's keys, mean over its queries, of (queries, keys)."""
    rows = bin_edges(attention.shape[0], min(n_rows, attention.shape[0]))
    cols = bin_edges(attention.shape[1], min(n_cols, attention.shape[1]))
    return np.array(
        [
            [attention[q0:q1, k0:k1].sum(1).mean() for k0, k1 in itertools.pairwise(cols)]
            for q0, q1 in itertools.pairwise(rows)
        ]
    )


class StoredTrace:
    """See the module. ``layers`` are arrays (heads, queries, keys), one a layer.

    ``asked`` notes the largest number of cells that was asked for at once.
    """

    path = "stored"
    deviation: float | None = 1e-7
    missing: Sequence[str] = ()
    output = None

    def __init__(
        self,
        layers: Sequence[np.ndarray],
        tokens: Sequence[Token],
        words: Words | None = None,
        *,
        decoder_tokens: Sequence[Token] = (),
        roles: Sequence[str] | None = None,
        causal: bool = False,
        **more: Any,
    ) -> None:
        self.weights = [np.asarray(layer, dtype=np.float32) for layer in layers]
        self.tokens = tuple(tokens)
        self.words = words if words is not None else Words("", ())
        self.text = self.words.text
        self.decoder_tokens = tuple(decoder_tokens)
        self.asked = 0
        self.layers = tuple(
            LayerInfo(
                index=i,
                name=f"layer.{i}",
                role=roles[i] if roles else ("decoder" if causal else "encoder"),
                step=0,
                call=0,
                heads=a.shape[0],
                kv_heads=a.shape[0],
                queries=a.shape[1],
                keys=a.shape[2],
                causal=causal,
                window=None,
                path="stored",
                has_qk=True,
                sinks=False,
            )
            for i, a in enumerate(self.weights)
        )
        for name, value in more.items():
            setattr(self, name, value)

    def attention(self, layer: int, head: int) -> np.ndarray:
        return self.weights[layer][head]

    def rows(self, layer: int, head: int, rows: Sequence[int] | slice) -> np.ndarray:
        picked = self.weights[layer][head][rows if isinstance(rows, slice) else list(rows)]
        self.asked = max(self.asked, picked.size)
        return picked

    def block(self, layer: int, head: int, q0: int, q1: int, k0: int, k1: int) -> np.ndarray:
        self.asked = max(self.asked, (q1 - q0) * (k1 - k0))
        return self.weights[layer][head][q0:q1, k0:k1]

    def mass(self, layer: int, head: int, n_rows: int, n_cols: int) -> np.ndarray:
        return pooled(self.weights[layer][head], n_rows, n_cols).astype(np.float32)

    def thumbnails(
        self,
        layer: int,
        size: int = 24,
        *,
        heads: tuple[int, int] | None = None,
        sample: int | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> np.ndarray:
        if cancel is not None and cancel():
            raise Cancelled("Stopped.")
        maps = np.stack([pooled(a, size, size) for a in self.weights[layer]]).astype(np.float32)
        return maps if heads is None else maps[heads[0] : heads[1]]

    def summed(self, layer: int, head: int, queries: Sequence[int]) -> np.ndarray:
        return self.weights[layer][head][list(queries)].sum(0)

    def summed_to(self, layer: int, head: int, keys: Sequence[int]) -> np.ndarray:
        return self.weights[layer][head][:, list(keys)].sum(1)

    def attention_received(self) -> np.ndarray:
        return np.mean([layer.mean((0, 1)) for layer in self.weights], axis=0)
