"""Attention rollout of chosen rows.

Abnar and Zuidema 2020, "Quantifying Attention Flow in Transformers", section 3: with ``A_l`` the
mean over the heads of layer l and I for the residual stream,

    ``R = A'_L ... A'_2 A'_1,   A'_l = residual * I + (1 - residual) * A_l``

with residual 0.5. A row of R says how much of each token of the text has arrived at a token after
the last layer, if attention and residual were all that mixes tokens. Here a row is a vector that
is multiplied through the layers from the last to the first, so no product of two whole matrices
is made: a layer costs one pass over its attention, in blocks of rows, and memory stays in the
order of the number of rows asked for times tokens.

What sinks take. Rows of R sum to 1 where the rows of all A do. With learned sinks (gpt-oss), and in
rows that may attend to nothing, they sum to less: what a row gives to a sink reaches no token, is
not spread over the others, and is reported as ``lost``. (A first token that draws attention
because there is nothing else to look at is a token as any other: its share is its own score.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lmkit.errors import AttentionUnavailableError, Cancelled, CaptureError, LmkitError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmkit.views.attention import CapturedTrace

__all__ = ["Rollout", "no_rollout", "rollout"]

_CELLS = 1 << 20


@dataclass(frozen=True, eq=False)
class Rollout:
    """Rows of a rollout.

    Attributes:
        scores: (rows, tokens) float32: how much of each token arrived at the row's token.
        lost: (rows,) float32: what went to learned sinks and so to no token; 0 without sinks, but
            for rounding. ``scores.sum(1) + lost`` is 1.
        layers: The layers that were multiplied, from the first to the last. Layers of the model
            without attention (``trace.missing``) count as the identity.
    """

    scores: NDArray[np.float32]
    lost: NDArray[np.float32]
    layers: tuple[int, ...]


def rollout(
    trace: CapturedTrace,
    queries: Sequence[int],
    *,
    residual: float = 0.5,
    layers: Sequence[int] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Rollout:
    """Rollout of some tokens over the self-attention of one stack.

    Args:
        trace: Any captured pass.
        queries: The tokens after the last layer; negative ones count from the end.
        residual: Share of the residual stream, 0 to 1.
        layers: The layers to multiply, in any order. Without them all self-attention layers of the
            role of the first recorded one: the encoder's of an encoder-decoder. Cross-attention is
            left out: its queries and keys are tokens of two texts.
        cancel: Asked at every block of rows.

    Raises:
        CaptureError: an index or ``residual`` is out of range, or the layers do not follow one
            another: cross-attention, another stack, another number of tokens.
        AttentionUnavailableError: no self-attention was recorded.
        Cancelled: ``cancel`` answered True.
    """
    if not 0.0 <= residual <= 1.0:
        raise CaptureError(f"The share of the residual stream is {residual:g}; it is 0 to 1.")
    chosen = _chosen(trace, layers)
    tokens = int(trace.layers[chosen[0]].keys)
    for query in queries:
        if not -tokens <= query < tokens:
            raise CaptureError(f"There is no query {query}: the sequence has {tokens} tokens.")
    flow = np.zeros((len(queries), tokens))
    flow[np.arange(len(queries)), [q % tokens for q in queries]] = 1.0
    for layer in reversed(chosen):
        flow = residual * flow + (1.0 - residual) * _through(trace, layer, flow, cancel)
    return Rollout(
        scores=flow.astype(np.float32),
        lost=(1.0 - flow.sum(1)).astype(np.float32),
        layers=tuple(chosen),
    )


def no_rollout(trace: CapturedTrace) -> str:
    """Why there is no rollout of a pass, in one sentence; empty where there is. Cheap."""
    try:
        _chosen(trace, None)
    except LmkitError as error:
        return error.message
    return ""


def _through(
    trace: CapturedTrace,
    layer: int,
    flow: NDArray[np.float64],
    cancel: Callable[[], bool] | None,
) -> NDArray[np.float64]:
    """``flow`` times the mean over the heads of a layer: (rows, tokens)."""
    whole: Any = getattr(trace, "weighted", None)
    if whole is not None:
        given: NDArray[np.float64] = whole(layer, flow, cancel=cancel)
        return given
    out = np.zeros_like(flow)
    tokens, heads = flow.shape[1], int(trace.layers[layer].heads)
    # In the first layers multiplied few rows are reached, in a causal model none after the token.
    reached = np.flatnonzero(flow.any(0))
    step = max(1, _CELLS // tokens)
    for head in range(heads):
        for at in range(0, len(reached), step):
            if cancel is not None and cancel():
                raise Cancelled("Stopped while the rollout was computed.")
            some = reached[at : at + step]
            out += flow[:, some] @ trace.rows(layer, head, some.tolist()).astype(np.float64)
    return out / heads


def _chosen(trace: CapturedTrace, layers: Sequence[int] | None) -> list[int]:
    infos = trace.layers
    if layers is None:
        own = [i for i, info in enumerate(infos) if info.role != "cross"]
        chosen = [i for i in own if _stack(infos[i]) == _stack(infos[own[0]])]
    else:
        for layer in layers:
            if not -len(infos) <= layer < len(infos):
                raise CaptureError(f"Layer {layer} is not in this trace, which has {len(infos)}.")
        chosen = sorted({layer % len(infos) for layer in layers})
    if not chosen:
        raise AttentionUnavailableError(
            "There is no self-attention to roll out.",
            hint="Rollout multiplies the attention of layers that read the same tokens.",
        )
    for layer in chosen:
        info = infos[layer]
        if info.role == "cross":
            raise CaptureError(
                f"Layer {info.name} is cross-attention: its queries and keys are tokens of two "
                "texts, so rollout can't go through it.",
                hint="Choose layers of the encoder or of the decoder's self-attention.",
            )
        if info.queries != info.keys:
            raise CaptureError(
                f"Layer {info.name} has {info.queries:,} queries and {info.keys:,} keys; rollout "
                "needs a pass over the whole text.",
            )
        if _stack(info) != _stack(infos[chosen[0]]):
            raise CaptureError(
                f"Layers {infos[chosen[0]].name} and {info.name} do not read the same tokens, so "
                "rollout can't go through both."
            )
    return chosen


def _stack(info: Any) -> tuple[Any, ...]:
    return info.role, getattr(info, "step", 0), info.queries, info.keys
