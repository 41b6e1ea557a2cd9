"""Measures of a classifier, as scikit-learn defines them.

They are held against scikit-learn in the tests; here they are a few lines of numpy each, so that
the plugin needs neither it nor scipy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Calibration",
    "ClassScores",
    "Roc",
    "calibration",
    "class_scores",
    "confusion",
    "decisions",
    "log_loss",
    "r_squared",
    "roc",
]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def confusion(gold: Ints, predicted: Ints, labels: int) -> Ints:
    """How many rows of each right label got each label; (labels, labels), right ones down."""
    counts = np.bincount(gold * labels + predicted, minlength=labels * labels)
    return counts.reshape(labels, labels)


def decisions(gold: NDArray[np.bool_], given: NDArray[np.bool_]) -> Ints:
    """Hits, missed, spurious and rest of each label; (labels, 4), each of them all rows in sum.

    Args:
        gold: Which labels each row has; (rows, labels).
        given: Which it got; (rows, labels).
    """
    hits, support, predicted = (gold & given).sum(0), gold.sum(0), given.sum(0)
    missed, spurious = support - hits, predicted - hits
    return np.stack([hits, missed, spurious, len(gold) - hits - missed - spurious], axis=1)


@dataclass(frozen=True)
class ClassScores:
    """Precision, recall and F1 of each label, each of shape (labels,); 0 where undefined.

    ``support`` counts the rows that have the label, ``predicted`` those that got it.
    """

    precision: Floats
    recall: Floats
    f1: Floats
    support: Ints
    predicted: Ints
    hits: Ints

    def macro(self, kind: str) -> float:
        """The mean over the labels that occur, right or predicted, as scikit-learn's default."""
        there = (self.support + self.predicted) > 0
        return float(getattr(self, kind)[there].mean()) if there.any() else 0.0

    def weighted(self, kind: str) -> float:
        """The mean weighted by how many rows have the label."""
        total = self.support.sum()
        return float((getattr(self, kind) * self.support).sum() / total) if total else 0.0

    def micro(self) -> tuple[float, float, float]:
        """Precision, recall and F1 of all decisions together."""
        hits, support, predicted = (
            float(one.sum()) for one in (self.hits, self.support, self.predicted)
        )
        precision = hits / predicted if predicted else 0.0
        recall = hits / support if support else 0.0
        both = support + predicted
        return precision, recall, 2 * hits / both if both else 0.0


def class_scores(hits: Ints, support: Ints, predicted: Ints) -> ClassScores:
    """Scores from counts of each label; each (labels,)."""
    return ClassScores(
        precision=_divided(hits, predicted),
        recall=_divided(hits, support),
        f1=_divided(2 * hits, support + predicted),
        support=support,
        predicted=predicted,
        hits=hits,
    )


def _divided(above: Ints, below: Ints) -> Floats:
    return np.divide(
        above, below, out=np.zeros(len(above), dtype=np.float64), where=below > 0
    ).astype(np.float64)


@dataclass(frozen=True)
class Roc:
    """The ROC curve: one point for each distinct score, from (0, 0) to (1, 1)."""

    false_positives: Floats
    true_positives: Floats
    area: float


def roc(positive: NDArray[np.bool_], score: Floats) -> Roc | None:
    """The curve of a score for a yes-or-no question; None where all answers are the same.

    Args:
        positive: The right answers; (rows,).
        score: The higher, the likelier yes; (rows,).
    """
    yes = int(positive.sum())
    no = len(positive) - yes
    if not yes or not no:
        return None
    order = np.argsort(-score, kind="stable")
    score, positive = score[order], positive[order]
    # Rows of the same score are decided together.
    ends = np.r_[np.flatnonzero(np.diff(score)), len(score) - 1]
    true = np.cumsum(positive)[ends]
    false = ends + 1 - true
    x = np.r_[0.0, false / no]
    y = np.r_[0.0, true / yes]
    return Roc(x, y, float(np.trapezoid(y, x)))


@dataclass(frozen=True)
class Calibration:
    """Reliability in equal bins of probability.

    ``centre``, ``share`` (right answers) and ``confidence`` (mean probability) have one entry for
    each bin that holds rows, ``count`` says how many. ``error`` is the expected calibration error:
    the mean over rows of their bin's |share - confidence| (Guo et al. 2017, equation 5).
    """

    centre: Floats
    share: Floats
    confidence: Floats
    count: Ints
    error: float


def calibration(right: NDArray[np.bool_], probability: Floats, bins: int = 15) -> Calibration:
    """How often the given answer is right, by its probability.

    Args:
        right: Whether the answer is right; (rows,).
        probability: The probability that the model gave it; (rows,).
        bins: Equal bins over 0 to 1, each with its upper bound.
    """
    place = np.clip(np.ceil(probability * bins).astype(np.int64) - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    there = count > 0
    share = np.bincount(place, weights=right, minlength=bins)[there] / count[there]
    confidence = np.bincount(place, weights=probability, minlength=bins)[there] / count[there]
    error = float((np.abs(share - confidence) * count[there]).sum() / max(1, len(right)))
    centre = (np.arange(bins)[there] + 0.5) / bins
    return Calibration(centre, share, confidence, count[there], error)


def log_loss(probability: Floats) -> float:
    """Mean -ln p of the right answers; a zero counts as the smallest step above it."""
    return float(-np.log(np.maximum(probability, np.finfo(np.float64).eps)).mean())


def r_squared(gold: Floats, value: Floats) -> float | None:
    """Share of the right numbers' variance that is explained; None where they are all the same."""
    spread = float(((gold - gold.mean()) ** 2).sum()) if len(gold) else 0.0
    return 1 - float(((value - gold) ** 2).sum()) / spread if spread else None
