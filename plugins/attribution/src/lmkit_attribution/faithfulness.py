"""Deletion and insertion: does the target's probability follow the order of the scores?

Petsiuk et al. 2018 ("RISE", section 4.3) remove what scores highest first and look at how fast the
probability falls (deletion), or start from nothing and look at how fast it rises (insertion). The
area under the curve is the mean probability on the way. Orders drawn at random say what an
attribution must beat.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

import torch

from lmkit_attribution.probe import Kept, Probe
from lmkit_attribution.scores import Curve, Faithfulness

__all__ = ["POINTS", "SEEDS", "Curves", "counts_of"]

POINTS = 16
"""Steps of a curve: with more units, several go at once."""
SEEDS = 5
"""Random orders, of seeds 0 to 4."""


def counts_of(units: int) -> tuple[int, ...]:
    """How many units are gone at each point of a curve: 0, ..., all of them."""
    steps = min(units, POINTS)
    return tuple(dict.fromkeys(round(units * step / steps) for step in range(steps + 1)))


class Curves:
    """Curves of one target; what was once computed is not computed again.

    Args:
        probe: The target, which reads probabilities.
        kept: The target by units, over what stands for a removed one.
        units: How many there are; at least 1.
        batch: Texts at once.
        device: Of the probe.
        removed: What stands for a removed unit, in words.
    """

    def __init__(
        self,
        probe: Probe,
        kept: Kept,
        units: int,
        batch: int,
        device: torch.device,
        removed: str,
    ) -> None:
        self._probe = probe
        self._kept = kept
        self._units = units
        self._batch = batch
        self._device = device
        self._removed = removed
        self._known: dict[frozenset[int], float] = {}
        self._random: tuple[tuple[float, ...], tuple[float, ...]] | None = None

    def of(self, order: Sequence[int], label: str) -> Faithfulness:
        """Both curves of an order of the units, beside those of random orders.

        Args:
            order: Indices of the units, the most important first.
            label: For the bar.
        """
        self._random = self._random or self._of_random()
        return Faithfulness(
            deletion=self._curve(order, f"{label}: deletion", inserted=False),
            insertion=self._curve(order, f"{label}: insertion", inserted=True),
            random_deletion=self._random[0],
            random_insertion=self._random[1],
            removed=self._removed,
        )

    def _of_random(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        areas: tuple[list[float], list[float]] = ([], [])
        for seed in range(SEEDS):
            order = list(range(self._units))
            random.Random(seed).shuffle(order)  # noqa: S311 - the same each time, on purpose
            for inserted in (False, True):
                label = f"Random order {seed + 1} of {SEEDS}"
                areas[inserted].append(self._curve(order, label, inserted=inserted).area)
        return tuple(areas[0]), tuple(areas[1])

    def _curve(self, order: Sequence[int], label: str, *, inserted: bool) -> Curve:
        counts = counts_of(self._units)
        there = [
            frozenset(order[:count]) if inserted else frozenset(order[count:]) for count in counts
        ]
        self._compute(there, label)
        return Curve(
            tuple(count / self._units for count in counts), tuple(self._known[one] for one in there)
        )

    def _compute(self, sets: Iterable[frozenset[int]], label: str) -> None:
        new = [one for one in dict.fromkeys(sets) if one not in self._known]
        self._probe.expect(label, len(new))
        for first in range(0, len(new), self._batch):
            part = new[first : first + self._batch]
            kept = torch.zeros(len(part), self._units, device=self._device)
            for row, one in enumerate(part):
                kept[row, sorted(one)] = 1.0
            with torch.no_grad():
                values = self._kept(kept).double().tolist()
            self._known.update(zip(part, values, strict=True))
