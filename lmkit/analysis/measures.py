"""What heads are scored for, and the scores of one layer on one text.

For a query i with attention A[i, j] over the keys j that its mask leaves open (n_i of them), each
measure is a number s_i; a head's score on a text is the mean of s_i over the queries where s_i
could be anything but 0 or 1. Its chance level is the same mean with the row's whole weight spread
evenly over its open keys. docs/head-map.md gives each formula with its source.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmkit.api import Token

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from lmkit.capture import Trace

    Doubles = NDArray[np.float64]

__all__ = ["MEASURES", "Marks", "Measure", "induction_scores", "layer_scores", "marks_of"]


@dataclass(frozen=True)
class Measure:
    """One thing that every head is scored for.

    Attributes:
        name: As in a call, for instance ``"previous"``.
        title: For headings.
        help: The formula in words.
        unit: ``"share"`` of attention, ``"tokens"``, or empty for a number from 0 to 1.
        chance: It has a chance level, so that heads can be tested against it.
    """

    name: str
    title: str
    help: str
    unit: str = "share"
    chance: bool = True


MEASURES: tuple[Measure, ...] = (
    Measure(
        "previous",
        "Previous token",
        "Attention to the token before the attending one, mean over the text's tokens.",
    ),
    Measure(
        "next",
        "Next token",
        "Attention to the token after the attending one; not for causal layers.",
    ),
    Measure(
        "first",
        "First token",
        "Attention to the first token of the sequence, where many heads rest (a sink).",
    ),
    Measure(
        "special",
        "Special tokens",
        "Attention to the tokens that the tokenizer added, all together.",
    ),
    Measure(
        "same",
        "Same token",
        "Attention to other occurrences of the attending token, over tokens that occur twice.",
    ),
    Measure(
        "punctuation",
        "Punctuation",
        "Attention to tokens that are punctuation marks, all together.",
    ),
    Measure(
        "induction",
        "Induction",
        "On random tokens written twice: attention from the second occurrence of a token to the "
        "token after its first. Causal models only.",
    ),
    Measure(
        "positional",
        "Positional",
        "Share of the attention's variance that the distance between two tokens explains alone, "
        "corrected for the number of distances.",
        unit="",
        chance=False,
    ),
    Measure(
        "distance",
        "Distance",
        "Mean distance between the attending and the attended token.",
        unit="tokens",
        chance=False,
    ),
    Measure(
        "entropy",
        "Entropy",
        "Entropy of a row of attention over that of an even one: 0 is one key, 1 is all alike.",
        unit="",
        chance=False,
    ),
    Measure(
        "sharpness",
        "Sharpness",
        "Largest weight of a row, special tokens left out, mean over the text's tokens.",
        chance=False,
    ),
)


@dataclass(frozen=True)
class Marks:
    """What the measures know of a sequence of tokens, one entry a token.

    Attributes:
        kinds: Equal for equal tokens of the vocabulary.
        special: The tokenizer added it.
        punctuation: It is nothing but punctuation.
        real: It is not padding.
    """

    kinds: tuple[int, ...]
    special: tuple[bool, ...]
    punctuation: tuple[bool, ...]
    real: tuple[bool, ...]

    def __len__(self) -> int:
        return len(self.kinds)


def marks_of(tokens: Sequence[Token], real: Sequence[bool] | None = None) -> Marks:
    """Marks of tokens as a trace lists them."""
    numbers: dict[str, int] = {}
    return Marks(
        kinds=tuple(numbers.setdefault(token.raw, len(numbers)) for token in tokens),
        special=tuple(token.special for token in tokens),
        punctuation=tuple(not t.special and _is_punctuation(t.text) for t in tokens),
        real=tuple(real) if real is not None else (True,) * len(tokens),
    )


def _is_punctuation(text: str) -> bool:
    inside = text.strip()
    return bool(inside) and all(unicodedata.category(char).startswith("P") for char in inside)


def evenly(items: Sequence[int], most: int | None) -> list[int]:
    """At most so many of ``items``, evenly spread."""
    if most is None or len(items) <= most:
        return list(items)
    return [items[(2 * i + 1) * len(items) // (2 * most)] for i in range(most)]


def layer_scores(
    trace: Trace,
    layer: int,
    queries: Marks,
    keys: Marks,
    *,
    rows: int | None,
    cancel: Callable[[], bool] | None = None,
) -> dict[str, tuple[Doubles, Doubles]]:
    """Scores and chance levels of all heads of one layer: name -> two arrays (heads,).

    NaN where a measure is not defined. Computed in row blocks on the device of the trace; what is
    held at a time does not grow with the square of the text's length.

    Args:
        trace: The captured pass.
        layer: Index into its layers.
        queries: Marks of the attending tokens.
        keys: Marks of the attended tokens; in self-attention the same.
        rows: At most so many queries, evenly spread; None for all.
        cancel: Asked at every block.

    Raises:
        Cancelled: ``cancel`` answered True.
    """
    info = trace.layers[layer]
    chosen = [
        i for i, (real, special) in enumerate(zip(queries.real, queries.special, strict=True))
        if real and not special
    ]  # fmt: skip
    itself = info.role != "cross" and info.queries == info.keys
    sums = _Sums(info.heads, info.keys, queries, keys, itself=itself)
    for block in trace.head_blocks(layer, evenly(chosen, rows), cancel=cancel):
        sums.add(block)
    return sums.scores()


class _Sums:
    """Running sums over the rows of one layer; (heads,) or (heads, offsets), on the device."""

    def __init__(
        self, heads: int, length: int, queries: Marks, keys: Marks, *, itself: bool
    ) -> None:
        self.heads, self.length, self.itself = heads, length, itself
        self.queries, self.keys = queries, keys
        self._totals: dict[str, Any] = {}
        self._ready = False

    def _prepare(self, device: torch.device, dtype: torch.dtype) -> None:
        import torch

        if self._ready:
            return
        self._ready = True
        self._dtype = dtype

        def flags(values: Sequence[bool]) -> torch.Tensor:
            return torch.tensor(values, dtype=dtype, device=device)

        self._special, self._punctuation = flags(self.keys.special), flags(self.keys.punctuation)
        self._key_kinds = torch.tensor(self.keys.kinds, device=device)
        self._query_kinds = torch.tensor(self.queries.kinds, device=device)
        if self.itself:
            shape = (self.heads, 2 * self.length - 1)
            self._offset_sums = torch.zeros(shape, dtype=dtype, device=device)
            self._offset_counts = torch.zeros(shape, dtype=dtype, device=device)
            self._squares = torch.zeros(self.heads, dtype=dtype, device=device)

    def add(self, block: Any) -> None:
        """Take one :class:`~lmkit.capture.records.HeadBlock` in."""
        a = block.weights
        self._prepare(a.device, a.dtype)
        first, last = block.first, block.first + a.shape[0]
        count = block.open.sum(-1)
        even = block.open.to(a.dtype) / count.clamp_min(1).unsqueeze(-1)
        mass = a.sum(-1)
        got, chance = self._targets(block, a), self._targets(block, even)
        for name, value in got.items():
            expected = chance[name].expand_as(value)
            # Elsewhere the row has no such key, or no other: s_i is 0 or 1 whatever the head does.
            possible = (expected > 0) & (expected < 1 - 1e-6)
            self._mean(name, first, value, expected * mass, possible)
        self._shape(block, a, mass, count.expand(a.shape[:2]))
        if self.itself:
            self._by_offset(block, a, even * mass.unsqueeze(-1), first, last)

    def _targets(self, block: Any, p: torch.Tensor) -> dict[str, torch.Tensor]:
        """Weight on each measure's target keys: (heads of p, rows)."""
        import torch

        first, last = block.offset, block.offset + p.shape[-1]
        found = {
            "special": torch.matmul(p, self._special[first:last]),
            "punctuation": torch.matmul(p, self._punctuation[first:last]),
        }
        if not self.itself:
            return found

        def at(keys: torch.Tensor) -> torch.Tensor:
            inside = (keys >= first) & (keys < last)
            column = (keys - first).clamp(0, p.shape[-1] - 1)
            picked = p.gather(-1, column.expand(p.shape[0], -1).unsqueeze(-1)).squeeze(-1)
            return torch.where(inside, picked, torch.zeros_like(picked))

        rows = block.rows
        same = self._query_kinds[rows][:, None] == self._key_kinds[first:last][None, :]
        same &= rows[:, None] != torch.arange(first, last, device=rows.device)[None, :]
        found |= {
            "previous": at(rows - 1),
            "next": at(rows + 1),
            # The first token itself has no other: its row says nothing of a sink.
            "first": torch.where(rows > 0, at(torch.zeros_like(rows)), torch.zeros_like(p[..., 0])),
            "same": (p * same).sum(-1),
        }
        return found

    def _shape(self, block: Any, a: torch.Tensor, mass: torch.Tensor, count: torch.Tensor) -> None:
        import torch

        first, last = block.offset, block.offset + a.shape[-1]
        enough = (count > 1) & (mass > 0)
        share = a / mass.clamp_min(1e-30).unsqueeze(-1)
        entropy = -(share * share.clamp_min(1e-30).log()).sum(-1)
        nothing = torch.full_like(mass, torch.nan)
        even = count.clamp_min(2).to(a.dtype).log()
        self._mean("entropy", block.first, (entropy / even).clamp(0, 1), nothing, enough)
        largest = (a * (1 - self._special[first:last])).amax(-1)
        self._mean("sharpness", block.first, largest, nothing, enough)
        if self.itself:
            keys = torch.arange(first, last, device=a.device)
            away = (block.rows[:, None] - keys[None, :]).abs().to(a.dtype)
            self._mean("distance", block.first, (share * away).sum(-1), nothing, enough)

    def _mean(
        self,
        name: str,
        first: int,
        value: torch.Tensor,
        chance: torch.Tensor,
        where: torch.Tensor,
    ) -> None:
        import torch

        if name not in self._totals:
            self._totals[name] = torch.zeros(3, self.heads, dtype=self._dtype, device=value.device)
        part = self._totals[name][:, first : first + value.shape[0]]
        zero = torch.zeros_like(value)
        part[0] += torch.where(where, value, zero).sum(-1)
        part[1] += torch.where(where, chance, zero).sum(-1)
        part[2] += where.sum(-1)

    def _by_offset(
        self, block: Any, a: torch.Tensor, even: torch.Tensor, first: int, last: int
    ) -> None:
        """Sums by offset j - i of D = A - (even row), over the pairs that are open."""
        import torch

        keys = torch.arange(block.offset, block.offset + a.shape[-1], device=a.device)
        index = (keys[None, :] - block.rows[:, None] + self.length - 1).flatten()
        excess = (a - even).flatten(1)
        open_ = block.open.to(a.dtype).expand_as(a).flatten(1)
        self._offset_sums[first:last].index_add_(1, index, excess)
        self._offset_counts[first:last].index_add_(1, index, open_)
        self._squares[first:last] += (excess * excess).sum(-1)

    def scores(self) -> dict[str, tuple[Doubles, Doubles]]:
        """Means over the rows seen."""
        import numpy as np

        found: dict[str, tuple[Doubles, Doubles]] = {}
        for name, totals in self._totals.items():
            value, chance, count = totals.double().cpu().numpy()
            with np.errstate(invalid="ignore", divide="ignore"):
                found[name] = (
                    np.where(count > 0, value / count, np.nan),
                    np.where(count > 0, chance / count, np.nan),
                )
        if self._ready and self.itself:
            found["positional"] = (self._positional(), np.full(self.heads, np.nan))
        return found

    def _positional(self) -> Doubles:
        """Adjusted R^2 of a one-way analysis of variance of D by offset, in [0, 1]."""
        import numpy as np

        sums = self._offset_sums.double().cpu().numpy()
        counts = self._offset_counts.double().cpu().numpy()
        total = self._squares.double().cpu().numpy()
        explained = (sums**2 / np.maximum(counts, 1)).sum(1)
        pairs, offsets = counts.sum(1), (counts > 0).sum(1)
        out = np.full(self.heads, np.nan)
        # An even head has no variance to explain; rounding alone leaves about 1e-14 a pair.
        known = (pairs > offsets) & (total > 1e-10 * pairs)
        rest = np.maximum(total - explained, 0.0)[known] / (pairs - offsets)[known]
        out[known] = np.clip(1 - rest / (total[known] / pairs[known]), 0.0, 1.0)
        return out


def induction_scores(
    trace: Trace,
    layer: int,
    start: int,
    period: int,
    *,
    cancel: Callable[[], bool] | None = None,
) -> tuple[Doubles, Doubles]:
    """Induction of all heads of a layer and its chance level: two arrays (heads,).

    The prefix-matching score of Olsson et al. 2022 on ``period`` random tokens written twice from
    position ``start``: mean over the second copy of A[i, i - period + 1].
    """
    import numpy as np
    import torch

    heads = trace.layers[layer].heads
    total, chance, count = np.zeros(heads), np.zeros(heads), np.zeros(heads)
    queries = range(start + period, start + 2 * period)
    for block in trace.head_blocks(layer, queries, cancel=cancel):
        a = block.weights
        keys = block.rows - period + 1 - block.offset
        inside = (keys >= 0) & (keys < a.shape[-1])
        column = keys.clamp(0, a.shape[-1] - 1)
        open_ = block.open.expand_as(a)
        picked = a.gather(-1, column.expand(a.shape[0], -1).unsqueeze(-1)).squeeze(-1)
        seen = open_.gather(-1, column.expand(a.shape[0], -1).unsqueeze(-1)).squeeze(-1) & inside
        even = a.sum(-1) / open_.sum(-1).clamp_min(1)
        part = slice(block.first, block.first + a.shape[0])
        zero = torch.zeros_like(picked)
        total[part] += torch.where(seen, picked, zero).sum(-1).double().cpu().numpy()
        chance[part] += torch.where(seen, even, zero).sum(-1).double().cpu().numpy()
        count[part] += seen.sum(-1).cpu().numpy()
    with np.errstate(invalid="ignore", divide="ignore"):
        return (
            np.where(count > 0, total / count, np.nan),
            np.where(count > 0, chance / count, np.nan),
        )
