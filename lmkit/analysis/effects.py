"""What a change does to a model's output: probabilities, next tokens, hidden states."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from lmkit.errors import CaptureError

if TYPE_CHECKING:
    import torch

__all__ = ["Effect", "Outcome", "Readout", "Scales", "compare", "effect", "read_output"]

Kind = Literal["labels", "independent labels", "next token", "tokens", "answer", "value", "hidden"]
Scales = dict[str, float]
"""Sizes of a change by name: ``total_variation``, ``divergence``, ``margin``, ``confidence``; of a
value ``value``; of hidden states ``cosine`` and ``norm``."""
_SHOWN = 10
_NEXT = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration", "ForSeq2SeqLM")


@dataclass(frozen=True, eq=False)
class Readout:
    """The part of an output that a change is measured on.

    Attributes:
        kind: What it is.
        numbers: Logits (distributions, classes), the value (1, 1), or hidden states
            (positions, width); float64 on the CPU.
        labels: Names of the classes, empty where they are ids of the vocabulary.
    """

    kind: Kind
    numbers: torch.Tensor
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """One label, or one token, and its probability before and after (for a value the value)."""

    label: str
    before: float
    after: float


@dataclass(frozen=True)
class Effect:
    """How an output differs from another of the same text.

    Numbers are means over distributions, where an output has several (one a token, one an
    independent label).

    Attributes:
        kind: What was compared.
        total_variation: Half the sum of |p - q|: 0 the same, 1 nothing in common. NaN for a value
            and hidden states, as for the next three.
        divergence: Kullback-Leibler divergence of the output after from the one before, in nats.
        margin_before: Logit of what was predicted before, less that of its runner-up.
        margin_after: The same two logits after.
        confidence: Change of the probability of what was predicted before.
        flipped: Share of predictions that are another one after.
        value: Change of a value; NaN for the rest.
        cosine: 1 - cosine of hidden states before and after, mean over positions; NaN for the rest.
        norm: Relative change of their norms, mean over positions.
        outcomes: Labels or likeliest tokens, most probable before first; empty with several
            distributions over a vocabulary and for hidden states.
        by_token: Where the output has a row for each token: total variation (for hidden states
            1 - cosine) at each position that was read.
    """

    kind: Kind
    total_variation: float
    divergence: float
    margin_before: float
    margin_after: float
    confidence: float
    flipped: float
    value: float
    cosine: float
    norm: float
    outcomes: tuple[Outcome, ...] = ()
    by_token: tuple[float, ...] = ()

    @property
    def margin(self) -> float:
        """Change of the margin: negative where the change weakens the prediction."""
        return self.margin_after - self.margin_before


def effect(
    before: Any,
    after: Any,
    *,
    model: Any,
    positions: Sequence[int] | None = None,
    name: Callable[[int], str] | None = None,
) -> Effect:
    """Compare two outputs of a model for the same text.

    Args:
        before: What the model returned.
        after: What it returned with something changed.
        model: The model, whose class and config tell what its logits are.
        positions: Tokens that count where the output has a row for each; None for all.
        name: Text of a token of the vocabulary.

    Raises:
        CaptureError: the outputs hold neither logits nor hidden states.
    """
    return compare(
        read_output(before, model, positions=positions),
        read_output(after, model, positions=positions),
        name=name,
    )


def read_output(
    output: Any, model: Any, *, text: int = 0, positions: Sequence[int] | None = None
) -> Readout:
    """Find in an output what a change is measured on.

    Args:
        output: What the model returned.
        model: The model.
        text: Which text of the batch.
        positions: Tokens that count where the output has a row for each; None for all.

    Raises:
        CaptureError: it holds neither logits nor hidden states.
    """
    import torch

    def plain(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.detach()[text].to("cpu", torch.float64)

    config = getattr(model, "config", None)
    start, end = getattr(output, "start_logits", None), getattr(output, "end_logits", None)
    if start is not None and end is not None:
        return Readout("answer", torch.stack([plain(start), plain(end)]))
    logits = getattr(output, "logits", None)
    if logits is None:
        logits = getattr(output, "prediction_logits", None)
    if logits is None:
        hidden = getattr(output, "last_hidden_state", None)
        if hidden is None or hidden.dim() != 3:
            raise CaptureError(
                f"The output of {type(model).__name__} holds neither logits nor hidden states: "
                "there is nothing to compare."
            )
        return Readout("hidden", _rows(plain(hidden), positions))
    if logits.dim() == 2:
        names = _labels(config, logits.shape[-1])
        if logits.shape[-1] == 1:
            return Readout("value", plain(logits)[None], names)
        if getattr(config, "problem_type", None) == "multi_label_classification":
            z = plain(logits)
            return Readout("independent labels", torch.stack([z, torch.zeros_like(z)], -1), names)
        return Readout("labels", plain(logits)[None], names)
    if logits.dim() != 3:
        raise CaptureError(
            f"The logits of {type(model).__name__} have the shape {tuple(logits.shape)}: lmkit "
            "compares (batch, classes) and (batch, tokens, classes)."
        )
    if type(model).__name__.endswith(_NEXT):
        return Readout("next token", plain(logits[:, -1])[None])
    classes = logits.shape[-1]
    names = () if classes == getattr(config, "vocab_size", None) else _labels(config, classes)
    return Readout("tokens", _rows(plain(logits), positions), names)


def _rows(numbers: torch.Tensor, positions: Sequence[int] | None) -> torch.Tensor:
    if positions is None or not len(positions) or max(positions) >= numbers.shape[0]:
        return numbers
    return numbers[list(positions)]


def _labels(config: Any, count: int) -> tuple[str, ...]:
    names = getattr(config, "id2label", None) or {}
    return tuple(str(names.get(i, names.get(str(i), f"LABEL_{i}"))) for i in range(count))


def scales(before: Readout, after: Readout) -> Scales:
    """The sizes of a change alone, for a sweep."""
    return _measure(before, after)[0]


def compare(before: Readout, after: Readout, *, name: Callable[[int], str] | None = None) -> Effect:
    """What changed from one readout to the other.

    Raises:
        CaptureError: they are of texts of different length.
    """
    sizes, by_token = _measure(before, after)
    nan = math.nan
    return Effect(
        kind=before.kind,
        total_variation=sizes.get("total_variation", nan),
        divergence=sizes.get("divergence", nan),
        margin_before=sizes.get("margin before", nan),
        margin_after=sizes.get("margin after", nan),
        confidence=sizes.get("confidence", nan),
        flipped=sizes.get("flipped", nan),
        value=sizes.get("value", nan),
        cosine=sizes.get("cosine", nan),
        norm=sizes.get("norm", nan),
        outcomes=_outcomes(before, after, name),
        by_token=by_token,
    )


def _measure(before: Readout, after: Readout) -> tuple[Scales, tuple[float, ...]]:
    import torch

    x, y = before.numbers, after.numbers
    if x.shape != y.shape:
        raise CaptureError(
            f"The outputs have different shapes, {tuple(x.shape)} and {tuple(y.shape)}: only "
            "outputs of the same text can be compared."
        )
    if before.kind == "value":
        return {"value": float((y - x).mean())}, ()
    if before.kind == "hidden":
        norms_x, norms_y = x.norm(dim=-1), y.norm(dim=-1)
        # Half the squared distance of the unit vectors is 1 - cosine, exactly 0 for equal ones.
        ux = x / norms_x.clamp_min(1e-300)[:, None]
        uy = y / norms_y.clamp_min(1e-300)[:, None]
        away = 0.5 * ((ux - uy) ** 2).sum(-1)
        relative = (norms_y - norms_x) / norms_x.clamp_min(1e-300)
        return {"cosine": float(away.mean()), "norm": float(relative.mean())}, tuple(away.tolist())
    log_p, log_q = torch.log_softmax(x, -1), torch.log_softmax(y, -1)
    p, q = log_p.exp(), log_q.exp()
    variation = 0.5 * (p - q).abs().sum(-1)
    # 0 log 0 is 0: masked logits of -inf would give NaN.
    divergence = torch.where(p > 0, p * (log_p - log_q), torch.zeros_like(p)).sum(-1)
    top = x.topk(2, dim=-1).indices
    first, second = top[:, :1], top[:, 1:]
    margin_x = (x.gather(1, first) - x.gather(1, second)).mean()
    margin_y = (y.gather(1, first) - y.gather(1, second)).mean()
    sizes = {
        "total_variation": float(variation.mean()),
        "divergence": float(divergence.clamp_min(0).mean()),
        "margin before": float(margin_x),
        "margin after": float(margin_y),
        "margin": float(margin_y - margin_x),
        "confidence": float((q.gather(1, first) - p.gather(1, first)).mean()),
        "flipped": float((y.argmax(-1) != x.argmax(-1)).double().mean()),
    }
    return sizes, tuple(variation.tolist()) if before.kind == "tokens" else ()


def _outcomes(
    before: Readout, after: Readout, name: Callable[[int], str] | None
) -> tuple[Outcome, ...]:
    import torch

    kind, x, y = before.kind, before.numbers, after.numbers
    if kind == "value":
        label = before.labels[0] if before.labels else ""
        return (Outcome(label, float(x.mean()), float(y.mean())),)
    if kind == "independent labels":
        p, q = torch.softmax(x, -1)[:, 0], torch.softmax(y, -1)[:, 0]
    elif kind in ("labels", "next token"):
        p, q = torch.softmax(x, -1)[0], torch.softmax(y, -1)[0]
    else:
        return ()
    count = min(_SHOWN, len(p))
    shown = sorted(
        {*p.topk(count).indices.tolist(), *q.topk(count).indices.tolist()}
        if kind == "next token"
        else range(len(p)),
        key=lambda index: -float(p[index]),
    )

    def text(index: int) -> str:
        if before.labels:
            return before.labels[index]
        return name(index) if name is not None else f"token {index}"

    return tuple(Outcome(text(i), float(p[i]), float(q[i])) for i in shown)
