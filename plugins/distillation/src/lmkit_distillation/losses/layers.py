"""Which layer of the student is compared with which of the teacher, and weights that change."""

from __future__ import annotations

import math

from lmkit_distillation.errors import RecipeError
from lmkit_distillation.recipe import LayerPairs, Ramp

__all__ = ["layer_pairs", "weight_at"]


def layer_pairs(chosen: str | LayerPairs, student: int, teacher: int) -> LayerPairs:
    """Pairs (student's layer, teacher's layer), both from 0.

    ``uniform``: the last with the last, the others at the same share of the depth (TinyBERT).
    ``last``: the last layers of both in order. ``final``: the last layer alone (MiniLM, Wang et
    al. 2020, arXiv:2002.10957). ``skip``: each student layer but the last with every k-th of the
    teacher's, k = teacher // student (PKD-Skip, Sun et al. 2019, arXiv:1908.09355).

    Raises:
        RecipeError: a pair names a layer that is not there, or there are none.
    """
    if not isinstance(chosen, str):
        for mine, theirs in chosen:
            if not (0 <= mine < student and 0 <= theirs < teacher):
                raise RecipeError(
                    f"loss.map pairs layer {mine} with {theirs}; the student has {student} layers "
                    f"and the teacher {teacher}, counted from 0."
                )
        pairs = tuple(chosen)
    elif chosen == "uniform":
        pairs = tuple((i, math.ceil((i + 1) * teacher / student) - 1) for i in range(student))
    elif chosen == "last":
        common = min(student, teacher)
        pairs = tuple((student - common + i, teacher - common + i) for i in range(common))
    elif chosen == "final":
        pairs = ((student - 1, teacher - 1),)
    else:
        every = max(1, teacher // student)
        pairs = tuple((i, every * (i + 1) - 1) for i in range(student - 1))
    if not pairs:
        raise RecipeError(
            f"loss.map {chosen!r} pairs no layer of a student of {student} layers.",
            hint="Name the pairs: map = [[0, 5]].",
        )
    return pairs


def weight_at(weight: float | Ramp, progress: float) -> float:
    """The weight after a share of the training, from 0 to 1."""
    if isinstance(weight, float | int):
        return float(weight)
    span = weight.until - weight.begin
    if progress < weight.begin:
        share = 0.0
    elif span == 0 or progress >= weight.until:
        share = 1.0
    else:
        share = (progress - weight.begin) / span
    if weight.shape == "cosine":
        share = (1 - math.cos(math.pi * share)) / 2
    elif weight.shape == "step":
        share = float(share >= 1)
    return weight.start + (weight.end - weight.start) * share
