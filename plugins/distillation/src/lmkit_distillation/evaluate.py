"""What a model says of a set of texts, and how good that is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lmkit_distillation.data import IGNORED, Batch, Encoded, collate
from lmkit_distillation.objective import Seen

__all__ = ["Answers", "answers", "entity_counts", "f1_of", "metrics", "spans_of"]


@dataclass
class Answers:
    """A model's answers to some texts, place by place.

    Attributes:
        predicted: (N,) most probable class or token.
        targets: (N,) what is right; ``IGNORED`` where unknown.
        loss: (N,) -log probability of the target; 0 where unknown.
        text: (N,) the text each place belongs to.
    """

    predicted: NDArray[np.int64]
    targets: NDArray[np.int64]
    loss: NDArray[np.float64]
    text: NDArray[np.int64]


def answers(
    run: Callable[[Batch, dict[str, torch.Tensor]], Seen],
    texts: Sequence[Encoded],
    *,
    batch: int,
    pads: tuple[int, int],
    device: torch.device,
    as_teacher: bool = False,
    vocabulary: int | None = None,
) -> Answers:
    """Ask a model, texts of like length together, answers in the given order."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i].ids))
    parts: dict[int, tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = {}
    with torch.no_grad():
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            one = collate([texts[i] for i in chosen], *pads).to(device)
            seen = run(one, one.teacher_inputs if as_teacher else one.inputs)
            found = _of_rows(seen, one.targets, vocabulary)
            sizes = [1 if one.counted is None else sum(text.counted) for text in one.texts]
            for index, *values in zip(chosen, *(torch.split(f, sizes) for f in found), strict=True):
                parts[index] = (values[0], values[1], values[2])
    each = [parts[i] for i in range(len(texts))]
    return Answers(
        predicted=torch.cat([p for p, _, _ in each]).numpy(),
        targets=torch.cat([t for _, t, _ in each]).numpy(),
        loss=torch.cat([x for _, _, x in each]).double().numpy(),
        text=np.repeat(np.arange(len(texts)), [len(p) for p, _, _ in each]),
    )


def _of_rows(
    seen: Seen, targets: torch.Tensor, vocabulary: int | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    predicted, losses = [], []
    step = len(seen.rows) or 1
    if seen.head is not None:
        step = max(1, (1 << 24) // (seen.head.vocabulary or 1))
    for start in range(0, len(seen.rows), step):
        rows = seen.rows[start : start + step]
        logits = (rows if seen.head is None else seen.head(rows)).float()
        if vocabulary is not None:
            logits = logits[..., :vocabulary]
        predicted.append(logits.argmax(-1).cpu())
        loss = torch.nn.functional.cross_entropy(
            logits, targets[start : start + step], ignore_index=IGNORED, reduction="none"
        )
        losses.append(loss.cpu())
    empty = torch.zeros(0)
    return (
        torch.cat(predicted) if predicted else empty.long(),
        targets.cpu(),
        torch.cat(losses) if losses else empty,
    )


def metrics(found: Answers, labels: Sequence[str], task: str) -> dict[str, float]:
    """Accuracy and loss over known places; for NER also the F1 of whole entities."""
    known = found.targets != IGNORED
    if not known.any():
        return {}
    right = found.predicted[known] == found.targets[known]
    values = {"accuracy": float(right.mean()), "loss": float(found.loss[known].mean())}
    if task == "ner":
        values["f1"] = entity_f1(found, labels)
    return values


def entity_f1(found: Answers, labels: Sequence[str]) -> float:
    """Micro-averaged F1 of entities that agree in place and kind (CoNLL 2003)."""
    total = np.zeros(3, np.int64)
    for counts in entity_counts(found, labels).values():
        total += counts.sum(0)
    return f1_of(total)


def entity_counts(found: Answers, labels: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """For each kind of entity (texts, 3): those found rightly, found at all, and really there."""
    known = found.targets != IGNORED
    texts = np.unique(found.text[known])
    counts: dict[str, NDArray[np.int64]] = {}
    for row, index in enumerate(texts):
        rows = known & (found.text == index)
        made = spans_of([labels[i] for i in found.predicted[rows]])
        real = spans_of([labels[i] for i in found.targets[rows]])
        for column, spans in enumerate((made & real, made, real)):
            for _, _, kind in spans:
                counts.setdefault(kind, np.zeros((len(texts), 3), np.int64))[row, column] += 1
    return counts


def f1_of(counts: NDArray[np.int64]) -> float:
    """F1 of (rightly found, found, really there); 1 where nothing is there and nothing found."""
    hits, made, real = (int(one) for one in counts)
    return 2 * hits / (made + real) if made + real else 1.0


def spans_of(tags: Sequence[str]) -> set[tuple[int, int, str]]:
    """Entities (first, end, kind) of BIO tags; an I of another kind begins a new one."""
    spans: set[tuple[int, int, str]] = set()
    start, kind = 0, ""
    for i, tag in enumerate([*tags, "O"]):
        prefix, _, name = tag.partition("-")
        if kind and (prefix != "I" or name != kind):
            spans.add((start, i, kind))
            kind = ""
        if name and prefix in ("B", "I") and not kind:
            start, kind = i, name
    return spans
