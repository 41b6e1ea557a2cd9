"""The rows of a data set as arrays: right labels, given ones, probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lmkit.api import RowResults
from lmkit_classification.scores import ClassScores, Roc, class_scores, roc
from lmkit_classification.wish import UNMOVED

__all__ = ["Judged", "judge"]


@dataclass(frozen=True)
class Judged:
    """Rows as arrays. ``gold`` and ``given`` are (rows, labels).

    ``scored`` says whose right labels are known; of several it may be that none applies.
    """

    labels: list[str]
    multi: bool
    chance: NDArray[np.float64]
    gold: NDArray[np.bool_]
    given: NDArray[np.bool_]
    scored: NDArray[np.bool_]

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether all labels of a row are right."""
        if self.multi:
            return np.asarray((self.gold == self.given).all(axis=1)) & self.scored
        return np.asarray((self.gold & self.given).any(axis=1))

    @property
    def top(self) -> NDArray[np.int64]:
        """The label that each row got, or its likeliest where it got none."""
        likeliest = self.chance.argmax(axis=1)
        if self.multi:
            return np.asarray(likeliest)
        return np.asarray(np.where(self.given.any(axis=1), self.given.argmax(axis=1), likeliest))

    @property
    def sure(self) -> NDArray[np.float64]:
        """The probability of the label that each row got."""
        return np.asarray(self.chance[np.arange(len(self.chance)), self.top])

    @property
    def loss(self) -> NDArray[np.float64]:
        """How hard a row is: -ln p of its right label, or of the worst of its decisions."""
        tiny = np.finfo(np.float64).eps
        if self.multi:
            wanted = np.where(self.gold, self.chance, 1 - self.chance).min(axis=1)
        else:
            wanted = np.where(self.gold, self.chance, 0).max(axis=1)
        return np.where(self.scored, -np.log(np.maximum(wanted, tiny)), np.nan)

    def first_gold(self) -> NDArray[np.int64]:
        """The right label of each row, where rows have one."""
        return np.asarray(self.gold.argmax(axis=1))

    def scores(self, rows: NDArray[np.bool_]) -> ClassScores:
        """Precision, recall and F1 over some of the scored rows."""
        chosen = rows & self.scored
        gold, given = self.gold[chosen], self.given[chosen]
        return class_scores((gold & given).sum(0), gold.sum(0), given.sum(0))

    @cached_property
    def curves(self) -> list[tuple[str, Roc]]:
        """The ROC curve of each label; of two exclusive labels the second says it all."""
        names = list(enumerate(self.labels))
        if not self.multi and len(names) == 2:
            names = names[1:]
        found = []
        for place, name in names:
            curve = roc(self.gold[self.scored, place], self.chance[self.scored, place])
            if curve is not None:
                found.append((name, curve))
        return found


def judge(done: RowResults, threshold: float) -> Judged:
    """What came of the rows, decided by the threshold where it has a say.

    Args:
        done: Rows with the probabilities of their labels.
        threshold: Decides each of several labels, and the second of two that exclude each other.
    """
    labels = list(dict.fromkeys(name for one in done.outputs for name in one["probabilities"]))
    place = {name: index for index, name in enumerate(labels)}
    multi = bool(done.outputs[0]["multi"])
    shape = (len(done), len(labels))
    chance = np.zeros(shape)
    gold = np.zeros(shape, dtype=bool)
    scored = np.zeros(len(done), dtype=bool)
    for row, output in enumerate(done.outputs):
        found = output["probabilities"]
        chance[row, [place[name] for name in found]] = list(found.values())
        right = output["gold"]
        scored[row] = right is not None
        for name in [right] if isinstance(right, str) else right or ():
            gold[row, place[name]] = True
    given = np.zeros(shape, dtype=bool)
    if multi:
        given = chance >= threshold
    else:
        top = chance.argmax(axis=1)
        if len(labels) == 2 and threshold != UNMOVED:
            top = (chance[:, 1] >= threshold).astype(np.int64)
        given[np.arange(len(top)), top] = True
    return Judged(labels, multi, chance, gold, given, scored)
