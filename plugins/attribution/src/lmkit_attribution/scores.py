"""What an attribution is asked with, and what it gives: plain numbers on the host."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import mean, stdev

from lmkit.api import FieldError

__all__ = [
    "BASELINES",
    "METHODS",
    "OUTPUTS",
    "PRECISIONS",
    "UNITS",
    "Attribution",
    "Curve",
    "Faithfulness",
    "Settings",
    "Unit",
    "spread",
]

METHODS = {
    "integrated gradients": "Integrated gradients",
    "layer integrated gradients": "Layer integrated gradients",
    "gradient x input": "Gradient x input",
    "occlusion": "Occlusion",
    "saliency": "Saliency",
}
"""What :func:`lmkit_attribution.attribute` computes, and its title."""
BASELINES = ("auto", "pad", "mask", "unknown", "zero")
UNITS = ("tokens", "words")
OUTPUTS = ("logit", "probability")
PRECISIONS = ("as loaded", "float32 copy")

Unit = tuple[int, ...]
"""Tokens that are scored together, ascending: one token, or those of a word."""


@dataclass(frozen=True)
class Settings:
    """How to attribute; the fields of the view.

    Attributes:
        baseline: What stands for a token that is not there: one of ``BASELINES``.
        output: What is attributed: the ``"logit"`` or the ``"probability"``.
        units: Score ``"tokens"`` or ``"words"``.
        steps: Points on the path of integrated gradients.
        window: Units that occlusion takes away at once.
        block: For layer integrated gradients: whose input, counted from 0.
        precision: ``"as loaded"``, or ``"float32 copy"`` of a model in half precision.
        batch: Most texts in a batch; None for as many as fit.
    """

    baseline: str = "auto"
    output: str = "logit"
    units: str = "tokens"
    steps: int = 50
    window: int = 1
    block: int = 0
    precision: str = "as loaded"
    batch: int | None = None

    def __post_init__(self) -> None:
        _check("baseline", self.baseline, BASELINES)
        _check("output", self.output, OUTPUTS)
        _check("units", self.units, UNITS)
        _check("precision", self.precision, PRECISIONS)
        for name, least in (("steps", 1), ("window", 1), ("block", 0)):
            _check_number(name, getattr(self, name), least)
        if self.batch is not None:
            _check_number("batch", self.batch, 1)


def _check(name: str, value: str, options: Sequence[str]) -> None:
    if value not in options:
        raise FieldError(f"{name} cannot be {value!r}.", hint=f"Say one of {', '.join(options)}.")


def _check_number(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise FieldError(f"{name} cannot be {repr(value)[:60]}; it takes a whole number.")
    if operator.index(value) < least:
        raise FieldError(f"{name} cannot be {value}; at least {least}.")


@dataclass(frozen=True)
class Curve:
    """The target's probability as units go or come, in an order.

    Attributes:
        fractions: Share of the units that were removed (or inserted), from 0 to 1.
        values: The probability there; the value itself for a regression.
    """

    fractions: tuple[float, ...]
    values: tuple[float, ...]

    @property
    def area(self) -> float:
        """Area under the curve by trapezoids: the mean probability on the way."""
        points = list(zip(self.fractions, self.values, strict=True))
        return sum((x1 - x0) * (y0 + y1) / 2 for (x0, y0), (x1, y1) in pairwise(points))


@dataclass(frozen=True)
class Faithfulness:
    """How the target's probability follows the order of an attribution (Petsiuk et al. 2018).

    Attributes:
        deletion: Highest scores removed first: the lower its area, the better.
        insertion: Highest scores inserted first: the higher its area, the better.
        random_deletion: Areas of random orders, one a seed.
        random_insertion: Likewise.
        removed: What stood in the place of a removed token.
    """

    deletion: Curve
    insertion: Curve
    random_deletion: tuple[float, ...]
    random_insertion: tuple[float, ...]
    removed: str


@dataclass(frozen=True, eq=False)
class Attribution:
    """Scores of the units of a text for one target by one method.

    Attributes:
        method: One of ``METHODS``.
        target: What was attributed, in words.
        units: Which tokens each score is of.
        texts: What each unit says.
        scores: One number a unit; of signed methods those above 0 speak for the target.
        signed: False for saliency, which has no direction.
        value: The output for the text.
        without: The output for the baseline.
        probability: The target's probability for the text; None for a regression.
        delta: Integrated gradients: sum of scores less (value - without); else None.
        faithfulness: Deletion and insertion; None where there is nothing to remove.
        settings: What it was asked with.
        baseline: The baseline in words.
        notes: What to know of the numbers.
    """

    method: str
    target: str
    units: tuple[Unit, ...]
    texts: tuple[str, ...]
    scores: tuple[float, ...]
    signed: bool
    value: float
    without: float
    probability: float | None
    delta: float | None
    faithfulness: Faithfulness | None
    settings: Settings
    baseline: str
    notes: tuple[str, ...] = ()

    @property
    def relative_delta(self) -> float | None:
        """|delta| as a share of the change of the output; None without one."""
        change = abs(self.value - self.without)
        return None if self.delta is None or change == 0 else abs(self.delta) / change

    @property
    def measures(self) -> str:
        """Delta, deletion and insertion in one line, each beside what it is to be held against."""
        parts = []
        if self.delta is not None:
            share = self.relative_delta
            said = "" if share is None else f" ({100 * share:.2g}% of the change)"
            parts.append(f"delta {self.delta:.2g}{said}")
        faith = self.faithfulness
        if faith is not None:
            parts.append(
                f"deletion {faith.deletion.area:.2f} (random {spread(faith.random_deletion)})"
            )
            parts.append(
                f"insertion {faith.insertion.area:.2f} (random {spread(faith.random_insertion)})"
            )
        return " · ".join(parts)

    def __str__(self) -> str:
        """A line a unit, with a bar; for a terminal, and for a notebook that stays readable."""
        top = max((abs(score) for score in self.scores), default=0.0) or 1.0
        shown = [text.encode("unicode_escape").decode() if not text.isprintable() else text
                 for text in self.texts]  # fmt: skip
        width = min(max((len(text) for text in shown), default=0), 24)
        lines = [f"{METHODS[self.method]}: {self.target}"]
        for text, score in zip(shown, self.scores, strict=True):
            bar = ("+" if score > 0 else "-") * round(24 * abs(score) / top)
            lines.append(f"  {text[:24]:<{width}} {score:+10.3f}  {bar}".rstrip())
        return "\n".join([*lines, self.measures])


def spread(areas: Sequence[float]) -> str:
    """Mean and standard deviation of the areas of random orders."""
    return f"{mean(areas):.2f} ± {stdev(areas):.2f}"
