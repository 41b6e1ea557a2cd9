"""The whole loss: its parts with their weights, computed for one micro-batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lmkit.api import Tools
from lmkit_distillation.data import Batch, Counts
from lmkit_distillation.errors import DistillationError
from lmkit_distillation.losses import attention, states, vocabulary
from lmkit_distillation.losses.layers import layer_pairs, weight_at
from lmkit_distillation.losses.vocabulary import Head, Known
from lmkit_distillation.recipe import (
    ATTENTION_KINDS,
    TEACHER_KINDS,
    VOCABULARY_KINDS,
    Loss,
    Recipe,
)

__all__ = ["Inside", "Objective", "Seen"]


@dataclass
class Seen:
    """What a model's pass over a batch left.

    Attributes:
        rows: (N, V) logits, or with ``head`` the (N, width) hidden states that make them.
        head: Makes logits of ``rows``; None where they are logits already.
        known: The teacher's logits from the cache; goes before ``rows``.
        hidden: Embeddings and each layer's hidden states, (B, L, W).
        attention: Each layer's tensors (:class:`lmkit.capture.trace.AttentionTensors`).
    """

    rows: torch.Tensor
    head: Head | None = None
    known: Known | None = None
    hidden: Sequence[torch.Tensor] = ()
    attention: Sequence[Any] = ()


class Inside:
    """Runs a model and keeps of its inside what the parts of a loss need.

    Args:
        model: Student or teacher.
        recipe: Says what is needed.
        tools: Lends the capture.
        head: Of a causal model; None for classifiers.

    Attributes:
        rotary: Whether the queries and keys of the last pass were captured after rotary positions.
    """

    def __init__(self, model: nn.Module, recipe: Recipe, tools: Tools, head: Head | None) -> None:
        self.model, self.head, self.tools = model, head, tools
        self.hidden = any(one.kind in ("hidden", "embedding") for one in recipe.loss)
        self.attention = any(one.kind in ATTENTION_KINDS for one in recipe.loss)
        self.rotary = False

    def __call__(self, batch: Batch, inputs: dict[str, torch.Tensor]) -> Seen:
        """One pass; with gradients where they are on."""
        # A causal model's logits are made block by block in the loss, so its body alone runs.
        body: Any = self.model if self.head is None else self.model.base_model
        recording = (
            self.tools.capture(body, values=True, gradients=True)
            if self.attention
            else nullcontext(None)
        )
        with recording as trace:
            extra = {"output_hidden_states": True} if self.hidden else {}
            if self.head is not None:
                extra["use_cache"] = False
            output = body(**inputs, **extra)
        rows = output.logits if self.head is None else output.last_hidden_state
        counted = batch.counted
        if batch.teacher_counted is not None and inputs is batch.teacher_inputs:
            counted = batch.teacher_counted
        if counted is not None:
            rows = rows[counted]
        seen = Seen(rows, self.head)
        if self.hidden:
            seen.hidden = output.hidden_states
        if trace is not None:
            seen.attention = [trace.tensors(i) for i in range(len(trace.layers))]
            self.rotary = any(one.rotary for one in seen.attention)
        return seen


class Objective(nn.Module):
    """The parts of the loss, with their learnt projections.

    Args:
        recipe: The parts.
        student: Width and number of layers of the student.
        teacher: The same of the teacher.
    """

    def __init__(self, recipe: Recipe, student: tuple[int, int], teacher: tuple[int, int]) -> None:
        super().__init__()
        self.losses = recipe.loss
        self.names = part_names(recipe.loss)
        self.layers = (student[1], teacher[1])
        self.projections = nn.ModuleDict()
        for name, one in zip(self.names, self.losses, strict=True):
            if one.kind == "hidden":
                for mine, _ in layer_pairs(one.map, *self.layers):
                    made = states.projection(student[0], teacher[0])
                    self.projections[f"{name}-{mine}"] = made
            elif one.kind == "embedding":
                self.projections[name] = states.projection(student[0], teacher[0])

    def forward(
        self, batch: Batch, mine: Seen, theirs: Seen | None, counts: Counts
    ) -> dict[str, torch.Tensor]:
        """Each part of the loss of a micro-batch, divided by the count of the whole step.

        Not yet weighted: see :meth:`weights`.
        """
        found = dict(self._on_logits(batch, mine, theirs))
        for name, one in zip(self.names, self.losses, strict=True):
            if one.kind not in VOCABULARY_KINDS:
                assert theirs is not None
                found[name] = self._inside(name, one, batch, mine, theirs)
        return {
            name: found[name] / max(1, self._count(one, counts))
            for name, one in zip(self.names, self.losses, strict=True)
        }

    @property
    def relations(self) -> list[str]:
        """The parts that compare relations of queries or of keys, which rotary positions turn."""
        return [
            name
            for name, one in zip(self.names, self.losses, strict=True)
            if one.kind == "relations" and {"q", "k"} & set(one.of)
        ]

    def weights(self, progress: float) -> dict[str, float]:
        """The weight of each part after a share of the training."""
        return {
            name: weight_at(one.weight, progress)
            for name, one in zip(self.names, self.losses, strict=True)
        }

    @staticmethod
    def _count(loss: Loss, counts: Counts) -> int:
        if loss.kind == "ce":
            return counts.labelled
        return counts.counted if loss.kind in TEACHER_KINDS else counts.tokens

    def _on_logits(
        self, batch: Batch, mine: Seen, theirs: Seen | None
    ) -> Iterator[tuple[str, torch.Tensor]]:
        pairs = zip(self.names, self.losses, strict=True)
        parts = [(name, one) for name, one in pairs if one.kind in VOCABULARY_KINDS]
        if batch.shared is None:
            yield from self._of_rows(parts, mine, mine.rows, batch.targets, theirs)
            return
        # Both models read tokens of their own: they are compared at fewer places.
        alone = [one for one in parts if one[1].kind == "ce"]
        compared = [one for one in parts if one[1].kind != "ce"]
        yield from self._of_rows(alone, mine, mine.rows, batch.targets, None)
        rows, targets = mine.rows[batch.shared], batch.targets[batch.shared]
        yield from self._of_rows(compared, mine, rows, targets, theirs)

    def _of_rows(
        self,
        parts: Sequence[tuple[str, Loss]],
        mine: Seen,
        hidden: torch.Tensor,
        targets: torch.Tensor,
        theirs: Seen | None,
    ) -> Iterator[tuple[str, torch.Tensor]]:
        if not parts:
            return
        teacher = self._teacher_logits(theirs)

        def block(logits: torch.Tensor, rows: slice) -> torch.Tensor:
            known = teacher(rows) if teacher is not None else None
            return torch.stack(
                [_vocabulary_part(one, logits, targets[rows], known) for _, one in parts]
            )

        if mine.head is None:
            sums = block(hidden, slice(0, len(hidden)))
        else:
            other = theirs.head.vocabulary if theirs is not None and theirs.head else None
            width = max(mine.head.vocabulary or 1, other or 1)
            sums = vocabulary.chunked(hidden, mine.head, block, width=width)
        for (name, _), value in zip(parts, sums, strict=True):
            yield name, value

    @staticmethod
    def _teacher_logits(theirs: Seen | None) -> Callable[[slice], Known] | None:
        if theirs is None:
            return None
        known, head, rows = theirs.known, theirs.head, theirs.rows
        if known is not None:
            return known.rows

        def teacher(part: slice) -> Known:
            with torch.no_grad():
                return Known(rows[part] if head is None else head(rows[part]))

        return teacher

    def _inside(
        self, name: str, loss: Loss, batch: Batch, mine: Seen, theirs: Seen
    ) -> torch.Tensor:
        mask = batch.mask
        if loss.kind == "embedding":
            measure = states.hidden_mse if loss.measure == "mse" else states.hidden_cosine
            return measure(self.projections[name](mine.hidden[0]), theirs.hidden[0], mask)
        pairs = layer_pairs(loss.map, *self.layers)
        if loss.kind == "hidden":
            measure = states.hidden_mse if loss.measure == "mse" else states.hidden_cosine
            parts = [
                measure(
                    self.projections[f"{name}-{a}"](mine.hidden[a + 1]), theirs.hidden[b + 1], mask
                )
                for a, b in pairs
            ]
        else:
            one = _attention_part if loss.kind == "attention" else _relations_part
            count = len(mine.attention), len(theirs.attention)
            if count != self.layers:
                raise DistillationError(
                    f"{count[0]} and {count[1]} layers of attention were captured, of "
                    f"{self.layers[0]} and {self.layers[1]}; layers can't be paired.",
                    hint="Leave out losses on attention for these models.",
                )
            parts = [one(loss, mine.attention[a], theirs.attention[b], mask) for a, b in pairs]
        return torch.stack(parts).mean()


def part_names(losses: Sequence[Loss]) -> list[str]:
    """A name for each part: its kind, with a number where there are several."""
    names: list[str] = []
    for one in losses:
        same = sum(name.split("-x")[0] == one.kind for name in names)
        names.append(one.kind if same == 0 else f"{one.kind}-x{same + 1}")
    return names


def _vocabulary_part(
    loss: Loss, logits: torch.Tensor, targets: torch.Tensor, teacher: Known | None
) -> torch.Tensor:
    if loss.kind == "ce":
        return vocabulary.cross_entropy(logits, targets)
    assert teacher is not None
    if loss.kind == "uld":
        return vocabulary.universal_logit(logits, teacher.logits, loss.temperature)
    if teacher.indices is None and teacher.logits.shape[-1] != logits.shape[-1]:
        teacher = Known(teacher.logits[..., : logits.shape[-1]])
    if loss.kind == "kl":
        return vocabulary.forward_kl(logits, teacher, loss.temperature)
    if loss.kind == "reverse-kl":
        return vocabulary.reverse_kl(logits, teacher, loss.temperature)
    if loss.kind == "jsd":
        return vocabulary.generalised_jsd(logits, teacher, loss.beta, loss.temperature)
    return vocabulary.logit_mse(logits, teacher)


def _attention_part(loss: Loss, mine: Any, theirs: Any, mask: torch.Tensor) -> torch.Tensor:
    student, open_ = mine.scores()
    with torch.no_grad():
        teacher, theirs_open = theirs.scores()
    measure = attention.attention_mse if loss.measure == "mse" else attention.attention_kl
    return measure(student, teacher, open_ & theirs_open, mask)


def _relations_part(loss: Loss, mine: Any, theirs: Any, mask: torch.Tensor) -> torch.Tensor:
    open_ = mask[:, None, None, :]
    parts = []
    for what, name in (("q", "query"), ("k", "key"), ("v", "value")):
        if what not in loss.of:
            continue
        student, teacher = getattr(mine, name), getattr(theirs, name)
        heads = loss.relation_heads
        if heads == 0 and student.shape[1] != teacher.shape[1]:
            raise DistillationError(
                f"The student has {student.shape[1]} {name} heads and the teacher "
                f"{teacher.shape[1]}; relations need the same number.",
                hint="Set loss.relation_heads, which cuts both into that many.",
            )
        if heads:
            student = attention.cut_into_heads(student, heads, f"student's {name} vectors")
            teacher = attention.cut_into_heads(teacher, heads, f"teacher's {name} vectors")
        parts.append(attention.relation_kl(student, teacher, open_, mask))
    return torch.stack(parts).mean()
