"""What a sequence classifier's logits mean: which labels, and probabilities of which kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lmkit.api import Labels, LabelScore, LoadedModel, ModelError

__all__ = [
    "bars",
    "check_finite",
    "gold_labels",
    "is_multi_label",
    "is_regression",
    "label_names",
    "probabilities",
]


def is_regression(model: LoadedModel) -> bool:
    """Whether the head's outputs are numbers of their own and no scores of labels."""
    return bool(model.model.config.problem_type == "regression")


def is_multi_label(model: LoadedModel) -> bool:
    """Whether each label has a probability of its own.

    One output that is not declared a regression is read as yes or no, as transformers' own
    pipeline does.
    """
    config: Any = model.model.config
    return bool(config.problem_type == "multi_label_classification" or config.num_labels == 1)


def label_names(model: LoadedModel, count: int) -> list[str]:
    """Names of the outputs, by index."""
    labels = list(model.labels)
    return labels if len(labels) == count else [f"LABEL_{index}" for index in range(count)]


def probabilities(logits: Any, multi: bool) -> Any:
    """Softmax over the last axis, or a sigmoid each; in float32 whatever the model's dtype."""
    numbers = logits.float()
    return numbers.sigmoid() if multi else numbers.softmax(-1)


def bars(
    names: Sequence[str],
    numbers: Sequence[float],
    *,
    multi: bool,
    threshold: float,
    fixed: bool = True,
    note: str = "",
) -> Labels:
    """Labels with their probabilities, the likeliest first, under the field ``threshold``.

    Of two labels that exclude each other the threshold decides for the second by index, as in the
    report on a data set. Of more it decides nothing.

    Args:
        names: The labels, by index.
        numbers: Their probabilities.
        multi: Whether each has one of its own.
        threshold: The field's value.
        fixed: Whether the model fixes the labels, so that a field without effect stays so.
        note: What to say below.
    """
    order = sorted(range(len(names)), key=lambda one: -numbers[one])
    decides = order.index(1) if not multi and len(names) == 2 else None
    field = "threshold" if multi or fixed or decides is not None else ""
    scores = tuple(
        LabelScore(label=names[one], score=min(1.0, max(0.0, numbers[one]))) for one in order
    )
    return Labels(
        scores=scores,
        multi=multi,
        threshold=threshold,
        field=field,
        decides=decides,
        note=note,
    )


def check_finite(model: LoadedModel, logits: Any) -> None:
    """Refuse logits that are no numbers.

    Raises:
        ModelError: some are NaN or infinite.
    """
    if not logits.isfinite().all():
        raise ModelError(
            f"{model.name} computed logits that are not finite numbers, in {model.dtype}.",
            hint="Load it with dtype='float32'; if that does not help, its weights are broken.",
        )


def gold_labels(cell: Any, labels: Sequence[str], multi: bool) -> tuple[list[str], list[str]]:
    """The right labels that a cell names, and what it names that is no label of the model.

    A label is given by name, whatever its case, or by index. For multi-label models one string may
    hold several, divided by ``|``, ``;`` or ``,``.

    Args:
        cell: What the data set has: a tuple of names and indices, or None.
        labels: The model's.
        multi: Whether a row may have several.
    """
    known = set(labels)
    folded = {one.casefold(): one for one in reversed(labels)}
    found: list[str] = []
    unknown: list[str] = []
    for value in cell or ():
        parts: list[Any] = [value]
        if multi and isinstance(value, str) and value not in known:
            mark = next((mark for mark in "|;," if mark in value), None)
            parts = [part.strip() for part in value.split(mark)] if mark else parts
        for part in parts:
            text = str(part).strip()
            if text in known:
                found.append(text)
            elif text.casefold() in folded:
                found.append(folded[text.casefold()])
            elif text.isdecimal() and int(text) < len(labels):
                found.append(labels[int(text)])
            else:
                unknown.append(text)
    return list(dict.fromkeys(found)), unknown
