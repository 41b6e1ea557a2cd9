"""Logit lens: what each layer would have written, had it been the last."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmkit.api import Cell, Field, Grid, ModelError, TextTrace, View, progress

if TYPE_CHECKING:
    import torch

__all__ = ["Layers", "LogitLens", "layers_of"]

_SAME = 1e-3
"""Most that the last layer, read so, may be from the logits, relative to the largest of them."""
_COLUMNS = 24


class LogitLens(View):
    """Each layer's hidden state through the model's final norm and output embeddings."""

    name = "logit-lens"
    title = "Logit lens"
    help = (
        "What each layer would have written: its hidden state through final norm and output "
        "embeddings (nostalgebraist 2020). Choose tokens to see what was predicted after them."
    )
    fields = (
        Field.integer("top", label="Likeliest of each layer", minimum=1, maximum=10, default=5),
    )
    follows = frozenset({"tokens"})

    def unavailable(self, trace: TextTrace) -> str:
        """Only models that predict tokens have output embeddings."""
        model = getattr(trace, "model", None)
        inner = getattr(model, "model", None)
        find = getattr(inner, "get_output_embeddings", None)
        if inner is None or not callable(find) or find() is None:
            return "This model has no output embeddings: it predicts no tokens."
        return ""

    def show(
        self, trace: TextTrace, *, layer: int, head: int, tokens: tuple[int, ...], top: int
    ) -> Grid:
        """For one token its likeliest per layer, for several the likeliest of each."""
        generated = getattr(trace, "generated", None)
        ids = tuple(trace.sequence) if generated is not None else tuple(trace.input_ids)  # type: ignore[attr-defined]
        rows = len(ids) - 1 if generated is not None else len(ids)
        chosen = [token for token in tokens if token < rows]
        if not chosen:
            first = max(0, (generated or 1) - 1)
            chosen = list(range(first, rows))[:_COLUMNS]
        chosen = chosen[:_COLUMNS]
        made = layers_of(trace.model, ids[:rows], chosen, trace)  # type: ignore[attr-defined]
        tokenizer = trace.model.tokenizer  # type: ignore[attr-defined]
        names = [str(tokenizer.decode([ids[at]])) for at in chosen]
        if len(chosen) == 1:
            return _of_one(made, tokenizer, names[0], chosen[0], top)
        return _of_many(made, tokenizer, names, chosen)


@dataclass(frozen=True)
class Layers:
    """Log-probabilities by layer, read one layer at a time.

    Attributes:
        hidden: (layers + 1, positions, width): the embeddings, then what each layer put out.
        read: From hidden states (positions, width) to logits (positions, vocabulary), float32.
        deviation: How far the last layer, read so, is from the model's logits, relative to the
            largest of them.
    """

    hidden: torch.Tensor
    read: Callable[[torch.Tensor], torch.Tensor]
    deviation: float

    def __len__(self) -> int:
        return len(self.hidden)

    def logits(self, layer: int) -> torch.Tensor:
        """(positions, vocabulary), float32; 0 is the embeddings, -1 the last layer."""
        return self.read(self.hidden[layer])


def layers_of(
    model: Any, ids: Sequence[int], positions: Sequence[int], trace: Any = None
) -> Layers:
    """One pass over ``ids``; the hidden states of all layers at some positions.

    The final norm is found as the module that puts out the last hidden state. What comes after the
    output embeddings, a scale (Cohere, Granite, T5) or a softcap (Gemma 2), is taken from the
    model's own logits and config, and the whole is compared with those logits.

    Args:
        model: A :class:`lmkit.api.LoadedModel`.
        ids: What is read (by the decoder).
        positions: Where to look.
        trace: Of an encoder-decoder model: the text that its encoder read.

    Raises:
        ModelError: the model gives no hidden states, or its last layer read so is not its logits.
    """
    import torch

    inner = _inside(model.model)
    head = inner.get_output_embeddings()
    device = inner.get_input_embeddings().weight.device
    given = torch.tensor([list(ids)], device=device)
    decodes = bool(getattr(inner.config, "is_encoder_decoder", False))
    inputs = {"input_ids": given}
    if decodes:
        source = torch.tensor([list(trace.input_ids)], device=device)
        inputs = {"input_ids": source, "decoder_input_ids": given}
    seen: dict[int, tuple[Any, torch.Tensor]] = {}

    def note(module: Any, args: tuple[Any, ...], output: Any) -> None:
        progress("Logit lens")
        if args and torch.is_tensor(output) and torch.is_tensor(args[0]):
            seen[output.data_ptr()] = (module, args[0])

    norms = [m for m in inner.modules() if "norm" in type(m).__name__.lower()]
    handles = [one.register_forward_hook(note) for one in norms]
    training = [m for m in inner.modules() if m.training]
    for module in training:
        module.training = False
    try:
        with torch.no_grad():
            output = inner(**inputs, output_hidden_states=True, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
        for module in training:
            module.training = True
    states = output.decoder_hidden_states if decodes else output.hidden_states
    if not states:
        raise ModelError(f"{model.name} gives no hidden states.", hint="Try another model.")
    norm, last = seen.get(states[-1].data_ptr(), (None, states[-1]))
    where = torch.tensor(list(positions), device=states[-1].device)
    hidden = torch.stack([h[0].index_select(0, where.to(h.device)) for h in (*states[:-1], last)])
    wanted = output.logits[0].index_select(0, where.to(output.logits.device)).float()
    cap = getattr(inner.config, "final_logit_softcapping", None)

    def plain(state: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            normed = state if norm is None else norm(state)
            raw: torch.Tensor = head(normed.to(head.weight.dtype)).float()
            return raw[..., : wanted.shape[-1]]

    raw = plain(hidden[-1])
    target = wanted if not cap else cap * torch.atanh((wanted / cap).clamp(-0.9999, 0.9999))
    flat = raw.double().flatten()
    scale = float((target.double().flatten() @ flat) / (flat @ flat).clamp_min(1e-30))
    if abs(scale - 1) < 1e-3:
        scale = 1.0

    def read(state: torch.Tensor) -> torch.Tensor:
        logits = plain(state) * scale
        return cap * torch.tanh(logits / cap) if cap else logits

    deviation = float((read(hidden[-1]) - wanted).abs().max() / wanted.abs().max().clamp_min(1e-30))
    loose = 30 * _SAME if wanted.dtype != output.logits.dtype else _SAME
    if not math.isfinite(deviation) or deviation > loose:
        raise ModelError(
            f"The last layer of {model.name} through its norm and output embeddings is not what it "
            f"put out (apart by {deviation:.1e}), so that other layers cannot be read so either.",
            hint="This model has a part of its own before its logits.",
        )
    return Layers(hidden, read, deviation)


def _inside(model: Any) -> Any:
    inner = getattr(model, "_orig_mod", model)
    base = getattr(inner, "get_base_model", None)
    return base() if callable(base) else inner


def _name(layer: int) -> str:
    return "embeddings" if layer == 0 else f"layer {layer - 1}"


def _of_one(made: Layers, tokenizer: Any, name: str, at: int, top: int) -> Grid:
    rows = []
    for layer in range(len(made)):
        progress("Reading layers", layer, len(made))
        p = made.logits(layer)[0].softmax(-1)
        values, which = p.topk(min(top, p.shape[-1]))
        rows.append(
            tuple(
                _cell(tokenizer, identity, value)
                for value, identity in zip(values.tolist(), which.tolist(), strict=True)
            )
        )
    return Grid(
        columns=tuple(str(place + 1) for place in range(len(rows[0]))),
        rows=tuple(_name(layer) for layer in range(len(made))),
        cells=tuple(rows),
        legend="A stronger shade is more probable. The last layer is what was written from.",
        title=f"After token {at}, {name!r}",
    )


def _of_many(made: Layers, tokenizer: Any, names: Sequence[str], chosen: Sequence[int]) -> Grid:
    rows = []
    for layer in range(len(made)):
        progress("Reading layers", layer, len(made))
        values, which = made.logits(layer).softmax(-1).max(-1)
        rows.append(
            tuple(
                _cell(tokenizer, identity, value)
                for value, identity in zip(values.tolist(), which.tolist(), strict=True)
            )
        )
    return Grid(
        columns=tuple(names),
        rows=tuple(_name(layer) for layer in range(len(made))),
        cells=tuple(rows),
        legend="The likeliest token after each, by layer. A stronger shade is more probable.",
        title="What each layer would have written",
    )


def _cell(tokenizer: Any, identity: int, value: float) -> Cell:
    text = str(tokenizer.decode([identity]))
    return Cell(text=text, shade=min(1.0, max(0.0, value)), detail=f"{text!r} {value:.6f}")
