"""The three views, each a page with BertViz's own script in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lmkit.api import Field, FieldError, Page, Result, Text, TextTrace, View
from lmkit_bertviz.document import document
from lmkit_bertviz.numbers import (
    CARRIED,
    DRAWN,
    Kind,
    attention_of,
    kind_of,
    kinds_of,
    parse_numbers,
    shown_tokens,
    spelled,
    vectors_of,
)

__all__ = ["HeadView", "ModelView", "NeuronView"]

TALLEST = 900
"""Height of a frame; longer pages scroll inside it."""


class HeadView(View):
    """All heads of a layer as lines between two columns of tokens."""

    name = "bertviz-head"
    title = "BertViz: heads"
    help = "BertViz's head view: lines from each token to those it attends to, a colour a head."
    fields = (
        Field.text(
            "layers",
            label="Layers",
            help="Such as 0-3, 7, to switch between in the page. Empty: the chosen layer.",
            required=False,
            multiline=False,
        ),
    )
    follows = frozenset({"layer"})

    def unavailable(self, trace: TextTrace) -> str:
        """Why BertViz cannot draw this pass; empty where it can."""
        return _unavailable(trace, _head_elements)

    def show(
        self, trace: TextTrace, *, layer: int, head: int, tokens: tuple[int, ...], layers: str
    ) -> Page:
        """The page, for the chosen layer or those that the field names."""
        chosen = parse_numbers(layers, len(trace.layers), "layers") or (layer,)
        kind = kind_of(trace, chosen)
        _check_drawn(kind, _head_elements(trace, kind), "")
        _check_carried(len(chosen) * kind.heads * kind.cells)
        height = 80 + 22.5 * max(kind.queries, kind.keys)
        return _page("head", trace, kind, chosen, range(kind.heads), head=head, height=height)


class ModelView(View):
    """All heads of all layers as small line drawings; a click enlarges one."""

    name = "bertviz-model"
    title = "BertViz: model"
    help = "BertViz's model view: every head of the chosen layers at once; click one to enlarge it."
    fields = (
        Field.text(
            "layers",
            label="Layers",
            help="Such as 0-3, 7. Empty: from the first on, as many as BertViz can draw.",
            required=False,
            multiline=False,
        ),
        Field.text(
            "heads",
            label="Heads",
            help="Such as 0-3, 7. Empty: all.",
            required=False,
            multiline=False,
        ),
    )
    follows = frozenset()

    def unavailable(self, trace: TextTrace) -> str:
        """Why BertViz cannot draw this pass; empty where it can, be it one head."""
        return _unavailable(trace, lambda trace, kind: kind.cells)

    def show(
        self,
        trace: TextTrace,
        *,
        layer: int,
        head: int,
        tokens: tuple[int, ...],
        layers: str,
        heads: str,
    ) -> Sequence[Result]:
        """The page, and a sentence where layers were left out."""
        asked = parse_numbers(layers, len(trace.layers), "layers")
        kind = kind_of(trace, asked or kinds_of(trace)[0].layers)
        shown = parse_numbers(heads, kind.heads, "heads") or tuple(range(kind.heads))
        one = len(shown) * kind.cells
        _check_drawn(kind, one * max(1, len(asked)), "Choose fewer layers or heads.")
        chosen = asked or kind.layers[: DRAWN // one]
        lines = len(chosen) * (10 + 84 * max(kind.queries, kind.keys) / kind.heads)
        height = 70 + max(lines, 75 + 18 * max(kind.queries, kind.keys))
        page = _page("model", trace, kind, chosen, shown, head=head, height=height)
        others = [one for one in range(len(trace.layers)) if one not in chosen]
        if asked or not others:
            return [page]
        note = f"These are layers {spelled(chosen)}. Name others in the field Layers: " + "; ".join(
            f"{kind.role} {spelled(left)}"
            for kind in kinds_of(trace)
            if (left := [layer for layer in kind.layers if layer in others])
        )
        return [page, Text(text=f"{note}.")]


class NeuronView(View):
    """Query and key vectors of a head, their products, and what becomes of them."""

    name = "bertviz-neuron"
    title = "BertViz: neurons"
    help = "BertViz's neuron view: q, k, their product and the softmax; point at a token."
    fields = (
        Field.text(
            "layers",
            label="Layers",
            help="Such as 0-3, 7, to switch between in the page. Empty: the chosen layer.",
            required=False,
            multiline=False,
        ),
    )
    follows = frozenset({"layer", "head"})

    def unavailable(self, trace: TextTrace) -> str:
        """Why there are no vectors, or why BertViz cannot draw them."""
        if not any(layer.has_qk for layer in trace.layers):
            return "This model gives its attention only, not its queries and keys."
        return _unavailable(trace, _neuron_elements)

    def show(
        self, trace: TextTrace, *, layer: int, head: int, tokens: tuple[int, ...], layers: str
    ) -> Sequence[Result]:
        """The page, and a sentence where the model scores otherwise than BertViz writes."""
        chosen = parse_numbers(layers, len(trace.layers), "layers") or (layer,)
        without = [one for one in chosen if not trace.layers[one].has_qk]
        if without:
            raise FieldError(
                f"Layers {spelled(without)} give their attention only, not queries and keys.",
                hint="Choose other layers.",
            )
        kind = kind_of(trace, chosen)
        _check_drawn(kind, _neuron_elements(trace, kind), "")
        width = trace.layers[chosen[0]].head_size
        vectors = width * (kind.queries + kind.keys)
        _check_carried(len(chosen) * kind.heads * (kind.cells + vectors))
        height = 170 + 26 * max(kind.queries, kind.keys)
        page = _page(
            "neuron", trace, kind, chosen, range(kind.heads), head=head, height=height, vectors=True
        )
        note = _scoring(trace, chosen)
        return [page, Text(text=note)] if note else [page]


def _page(
    view: str,
    trace: TextTrace,
    kind: Kind,
    layers: Sequence[int],
    heads: Sequence[int],
    *,
    head: int,
    height: float,
    vectors: bool = False,
) -> Page:
    left, right = shown_tokens(trace, kind)
    which = "layers" if len(layers) > 1 else "layer"
    title = f"BertViz {view} view, {which} {spelled(layers)} ({kind.role})"
    data: dict[str, Any] = {
        "layers": list(layers),
        "heads": list(heads),
        "total_heads": kind.heads,
        "left": left,
        "right": right,
        "attention": attention_of(trace, layers, heads),
        "second": _second(trace, kind),
        "head": head,
        "causal": all(trace.layers[layer].causal for layer in layers),
    }
    if vectors:
        data["queries"], data["keys"] = vectors_of(trace, layers, heads)
    return Page(title=title, html=document(view, title, data), height=min(TALLEST, round(height)))


def _second(trace: TextTrace, kind: Kind) -> int | None:
    """Where the second text of a pair begins, in layers that attend within the tokens."""
    segments = tuple(getattr(trace, "segments", ()))
    if kind.role == "encoder" and len(segments) == kind.queries == kind.keys and 1 in segments:
        return segments.index(1)
    return None


def _scoring(trace: TextTrace, layers: Sequence[int]) -> str:
    """What of the real score BertViz's column q.k leaves out; empty where it leaves out nothing."""
    layer = trace.layers[layers[0]]
    left_out = []
    if abs(layer.scale * layer.head_size**0.5 - 1) > 1e-4:
        left_out.append(
            f"BertViz divides q·k by the square root of {layer.head_size}, "
            f"where the model multiplies it by {layer.scale:.4g}"
        )
    if layer.softcap is not None:
        left_out.append(f"the model bounds its scores by {layer.softcap:.4g}")
    if layer.sinks:
        left_out.append("a part of each row goes to a learned sink")
    return f"The column q·k is not the whole score: {'; '.join(left_out)}." if left_out else ""


def _head_elements(trace: TextTrace, kind: Kind) -> int:
    return kind.heads * kind.cells


def _neuron_elements(trace: TextTrace, kind: Kind) -> int:
    """Seven kinds of line or frame for each pair, a box for each component of q, k and q x k."""
    width: int = max(trace.layers[layer].head_size for layer in kind.layers)
    return 7 * kind.cells + width * (kind.queries + 2 * kind.keys)


def _unavailable(trace: TextTrace, elements: Callable[[TextTrace, Kind], int]) -> str:
    kinds = kinds_of(trace)
    if not kinds:
        return "This model has no attention that was captured."
    smallest = min(kinds, key=lambda kind: elements(trace, kind))
    drawn = elements(trace, smallest)
    return "" if drawn <= DRAWN else _too_many(smallest, drawn)


def _too_many(kind: Kind, drawn: int) -> str:
    tokens = max(kind.queries, kind.keys)
    return (
        f"BertViz would draw {drawn:,} SVG elements for {tokens:,} tokens; "
        f"beyond {DRAWN:,} a browser hangs."
    )


def _check_drawn(kind: Kind, drawn: int, hint: str) -> None:
    if drawn > DRAWN:
        own = "lmkit's own pictures draw texts of any length."
        raise FieldError(_too_many(kind, drawn), hint=f"{hint} {own}".strip())


def _check_carried(numbers: int) -> None:
    if numbers > CARRIED:
        raise FieldError(
            f"The page would carry {numbers:,} numbers; it takes {CARRIED:,} at most.",
            hint="Choose fewer layers.",
        )
