"""What a sequence classifier's logits mean: which labels, and probabilities of which kind."""

from __future__ import annotations

import math
import re
from collections.abc import Container, Sequence
from typing import Any

from lmkit.api import Labels, LabelScore, LoadedModel, ModelError, Row

__all__ = [
    "bars",
    "check_finite",
    "gold_cells",
    "gold_labels",
    "gold_numbers",
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


def gold_labels(
    cell: Sequence[Any] | None, labels: Sequence[str], multi: bool, model: str = ""
) -> list[str] | None:
    """The right labels that a cell names.

    A label is given by name, whatever its case, or by index (``1``, ``"1"``, ``"1.0"``). For
    multi-label models one string may hold several, divided by ``|``, ``;`` or ``,``.

    Or the cell is a vector, as Hugging Face has it: one number for each of the labels, 0 or 1.
    Booleans, and floats of 0 and 1, are always one; integers are one where there are exactly as
    many as labels, so that ``[0, 1]`` is the second of two labels, and the first two of three.
    Of one label, 1 is yes and 0 is no.

    Args:
        cell: What the data set has, as :func:`lmkit.datasets.checks.check_cell` gives it.
        labels: The model's.
        multi: Whether a row may have several.
        model: What to call the model that has them; empty where the user gave them.

    Returns:
        Their names, one where a row has one; empty where it is known that none applies. None where
        nothing is known.

    Raises:
        ValueError: what is wrong with them, as a sentence without the place.
    """
    if cell is None:
        return None
    known = set(labels)
    parts = [_number(part, known) for value in cell for part in _divided(value, known, multi)]
    # Names and indices in a list of texts are no vector; one text that holds them all may be.
    whole = len(cell) == 1 or not any(isinstance(value, str) for value in cell)
    vector = whole and _is_vector(parts, len(labels), multi)
    if vector:
        if len(parts) != len(labels):
            raise ValueError(
                f"{len(parts):,} numbers of 0 and 1, for {len(labels):,} labels: give one for each."
            )
        found = [name for name, one in zip(labels, parts, strict=True) if one]
    else:
        found = _looked_up(parts, labels, model)
    if multi:
        return found
    if len(found) > 1:
        shown = ", ".join(found[:8]) + (" and more" if len(found) > 8 else "")
        raise ValueError(f"{len(found):,} right labels ({shown}), where a row has one: give one.")
    if vector and not found:
        raise ValueError(f"None of the {len(parts):,} numbers is 1, so no label is right.")
    return found or None


def gold_cells(row: Row, gold: list[str] | None, multi: bool) -> dict[str, Any]:
    """What the output of a row says of its right labels.

    Where a row has one it is a text, as the predicted one is, also in the place of the data set's
    own cell: ``label == predicted`` is what everybody writes.
    """
    if multi:
        return {"gold": gold}
    one = gold[0] if gold else None
    cell = row.get("label")
    if cell is None:
        return {"gold": one}
    return {"gold": one, "label": one or ", ".join(map(str, cell)) or None}


def gold_numbers(cell: Sequence[Any] | None, outputs: int) -> list[float]:
    """The right numbers of a regression, one for each output or for the first; empty without any.

    Raises:
        ValueError: what is wrong with them, as a sentence without the place.
    """
    cell = cell or ()
    if len(cell) not in (0, 1, outputs):
        raise ValueError(f"{len(cell):,} right numbers, for a model that gives {outputs:,}.")
    found = []
    for one in cell:
        number = _float(one)
        if number is None:
            point = one.replace(",", ".", 1).strip() if isinstance(one, str) else ""
            hint = f": decimals come after a point ({point})" if _float(point) is not None else ""
            shown = repr(one) if isinstance(one, str) else str(one)
            raise ValueError(f"{_short(shown)} is no number{hint}.")
        found.append(number)
    return found


def _divided(value: Any, known: Container[str], multi: bool) -> list[Any]:
    if not multi or not isinstance(value, str) or value in known:
        return [value]
    mark = next((mark for mark in "|;," if mark in value), None)
    return [part for part in value.split(mark) if part.strip()] if mark else [value]


def _number(part: Any, known: Container[str]) -> Any:
    """A text that is a whole number, however pandas wrote it, as one; but a name is a name."""
    if not isinstance(part, str):
        return part
    text = part.strip()
    if text in known:
        return text
    found = re.fullmatch(r"(\d{1,9})(?:\.0*)?", text)
    return int(found[1]) if found else text


def _is_vector(parts: Sequence[Any], labels: int, multi: bool) -> bool:
    if not parts or not all(isinstance(one, int) and one in (0, 1) for one in parts):
        return False
    if not multi and len(parts) == 1:
        return False  # the label itself
    # No list of indices has one of them twice.
    return (
        len(parts) == labels
        or all(isinstance(one, bool) for one in parts)
        or len(set(parts)) < len(parts)
    )


def _looked_up(parts: Sequence[Any], labels: Sequence[str], model: str) -> list[str]:
    known = set(labels)
    folded = {one.casefold(): one for one in reversed(labels)}
    found, unknown = [], []
    for part in parts:
        text = str(part).strip()
        if isinstance(part, bool):
            part, text = int(part), str(int(part))
        if text in known:
            found.append(text)
        elif text.casefold() in folded:
            found.append(folded[text.casefold()])
        elif isinstance(part, int) and 0 <= part < len(labels):
            found.append(labels[part])
        else:
            unknown.append(text)
    if unknown:
        raise ValueError(_not_known(unknown, labels, model))
    return list(dict.fromkeys(found))


def _not_known(unknown: Sequence[str], labels: Sequence[str], model: str) -> str:
    shown = ", ".join(_short(repr(one)) for one in unknown[:3])
    if not model:
        return f"{shown} is none of the labels given."
    names = ", ".join(labels[:8]) + (" and more" if len(labels) > 8 else "")
    what = "is no label" if len(unknown) == 1 else "are no labels"
    return f"{shown} {what} of {model}, which knows {names}."


def _float(value: Any) -> float | None:
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
