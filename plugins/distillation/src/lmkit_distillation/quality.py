"""How good both models are, where the student lost, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmkit_distillation.data import IGNORED
from lmkit_distillation.evaluate import Answers, entity_counts, f1_of, metrics

__all__ = ["interval", "per_class", "per_entity", "quality_of", "with_intervals"]


def quality_of(
    teacher: Answers,
    student: Answers,
    labels: Sequence[str],
    task: str,
    resamples: int,
    characters: tuple[Sequence[int], Sequence[int]] | None = None,
) -> dict[str, Any]:
    """Both models on the same texts: metrics, intervals, paired differences, groups.

    Args:
        teacher: Its answers.
        student: The student's.
        labels: Classes by index.
        task: Of the recipe.
        resamples: Of the bootstrap.
        characters: Where both read tokens of their own: how many characters of each text the
            teacher's counted tokens stand for, and the student's. Then nothing is compared token
            by token, but bits by characters.
    """
    both = {"teacher": teacher, "student": student}
    found: dict[str, Any] = {
        name: with_intervals(one, labels, task, resamples) for name, one in both.items()
    }
    if characters is not None:
        return found | _by_characters(teacher, student, found, characters, resamples)
    paired = teacher.predicted.shape == student.predicted.shape
    if paired:
        found["agreement"] = float((teacher.predicted == student.predicted).mean())
    known = student.targets != IGNORED
    if not (paired and known.any()):
        return found
    right = {name: (one.predicted == one.targets)[known] for name, one in both.items()}
    groups = student.text[known]
    change = right["student"].astype(float) - right["teacher"]
    found["change"] = float(change.mean())
    found["change_interval"] = interval(change, groups, resamples)
    # Which places each has right, for paired comparisons of several students; of tokens, which are
    # many, the mean loss of each text instead.
    if task == "generation":
        found["text_loss"] = _mean_by_text(student.loss[known], groups)
        worse = (student.loss - teacher.loss)[known]
        found["loss_change"] = float(worse.mean())
        found["loss_change_interval"] = interval(worse, groups, resamples)
    else:
        found["right"] = [int(one) for one in right["student"]]
        found["teacher_right"] = [int(one) for one in right["teacher"]]
    if task == "ner":
        counts = {name: entity_counts(one, labels) for name, one in both.items()}
        kinds = sorted({kind for one in counts.values() for kind in one})
        total = {n: _summed(one, kinds, student) for n, one in counts.items()}
        found["f1_change"] = float(f1_of(total["student"].sum(0)) - f1_of(total["teacher"].sum(0)))
        found["f1_change_interval"] = _of_texts(
            lambda drawn: (
                f1_of(total["student"][drawn].sum(0)) - f1_of(total["teacher"][drawn].sum(0))
            ),
            len(total["student"]),
            resamples,
        )
        found["per_entity"] = per_entity(counts["teacher"], counts["student"], resamples)
    if labels and task != "ner":
        found["per_class"] = per_class(teacher, student, labels, resamples)
    return found


def _by_characters(
    teacher: Answers,
    student: Answers,
    found: dict[str, Any],
    characters: tuple[Sequence[int], Sequence[int]],
    resamples: int,
) -> dict[str, Any]:
    """Bits that each model needs for a character, with paired intervals over texts."""
    bits = [
        np.bincount(one.text, weights=one.loss, minlength=len(each)) / np.log(2)
        for one, each in zip((teacher, student), characters, strict=True)
    ]
    sizes = [np.array(each, float) for each in characters]

    def rate(model: int, drawn: Any) -> float:
        return float(bits[model][drawn].sum() / max(1.0, sizes[model][drawn].sum()))

    every, count = slice(None), len(sizes[0])
    made: dict[str, Any] = {}
    for model, name in enumerate(("teacher", "student")):
        made[name] = {
            **found[name],
            "bits_per_character": rate(model, every),
            "bits_per_character_interval": _of_texts(
                lambda drawn, model=model: rate(model, drawn),  # type: ignore[misc]
                count,
                resamples,
            ),
        }
    made["bits_change"] = rate(1, every) - rate(0, every)
    made["bits_change_interval"] = _of_texts(
        lambda drawn: rate(1, drawn) - rate(0, drawn), count, resamples
    )
    return made


def _mean_by_text(values: NDArray[Any], groups: NDArray[np.int64]) -> list[float]:
    _, inverse = np.unique(groups, return_inverse=True)
    means = np.bincount(inverse, weights=values.astype(float)) / np.bincount(inverse)
    return [round(float(one), 6) for one in means]


def with_intervals(
    found: Answers, labels: Sequence[str], task: str, resamples: int
) -> dict[str, Any]:
    """A model's metrics, each with its 95 % interval; perplexity too for generation."""
    values: dict[str, Any] = dict(metrics(found, labels, task))
    known = found.targets != IGNORED
    if not known.any():
        return values
    groups = found.text[known]
    right = (found.predicted == found.targets)[known]
    values["accuracy_interval"] = interval(right, groups, resamples)
    if task == "generation":
        values["perplexity"] = float(np.exp(values["loss"]))
        low, high = interval(found.loss[known], groups, resamples)
        values["perplexity_interval"] = [float(np.exp(low)), float(np.exp(high))]
    elif task == "ner":
        counts = entity_counts(found, labels)
        total = _summed(counts, sorted(counts), found)
        values["f1_interval"] = _of_texts(
            lambda drawn: f1_of(total[drawn].sum(0)), len(total), resamples
        )
    return values


def interval(
    values: NDArray[Any], groups: NDArray[np.int64], resamples: int, seed: int = 0
) -> list[float]:
    """95 % bootstrap interval of a mean, whole texts drawn with replacement.

    The percentile interval of Efron 1979; of a difference of two models on the same texts it is
    the paired one.
    """
    _, inverse = np.unique(groups, return_inverse=True)
    sums = np.bincount(inverse, weights=values.astype(float))
    counts = np.bincount(inverse).astype(float)
    return _of_texts(
        lambda drawn: float(sums[drawn].sum() / counts[drawn].sum()), len(sums), resamples, seed
    )


def _of_texts(
    statistic: Callable[[NDArray[np.int64]], float], texts: int, resamples: int, seed: int = 0
) -> list[float]:
    generator = np.random.default_rng(seed)
    drawn = [statistic(generator.integers(0, texts, texts)) for _ in range(resamples)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return [float(low), float(high)]


def per_class(
    teacher: Answers, student: Answers, labels: Sequence[str], resamples: int = 2000
) -> list[dict[str, Any]]:
    """For each class how many places it has, and the share of them that each model gets right."""
    rows = []
    for index, label in enumerate(labels):
        own = teacher.targets == index
        if own.any():
            before = teacher.predicted[own] == index
            after = student.predicted[own] == index
            change = after.astype(float) - before
            rows.append(
                {
                    "label": label,
                    "places": int(own.sum()),
                    "teacher": float(before.mean()),
                    "student": float(after.mean()),
                    "change": float(change.mean()),
                    "change_interval": interval(change, teacher.text[own], resamples),
                }
            )
    return sorted(rows, key=lambda row: float(row["change"]))


def per_entity(
    teacher: dict[str, NDArray[np.int64]],
    student: dict[str, NDArray[np.int64]],
    resamples: int = 2000,
) -> list[dict[str, Any]]:
    """For each kind of entity the F1 of both, of counts as ``entity_counts`` makes them."""
    rows = []
    for kind in sorted({*teacher, *student}):
        shape = next(one[kind] for one in (teacher, student) if kind in one).shape
        a, b = (one.get(kind, np.zeros(shape, np.int64)) for one in (teacher, student))
        before, after = f1_of(a.sum(0)), f1_of(b.sum(0))
        rows.append(
            {
                "label": kind,
                "places": int(max(a[:, 2].sum(), b[:, 2].sum())),
                "teacher": before,
                "student": after,
                "change": after - before,
                "change_interval": _of_texts(
                    lambda drawn, a=a, b=b: f1_of(b[drawn].sum(0)) - f1_of(a[drawn].sum(0)),  # type: ignore[misc]
                    len(a),
                    resamples,
                ),
            }
        )
    return sorted(rows, key=lambda row: float(row["change"]))


def _summed(
    counts: dict[str, NDArray[np.int64]], kinds: Sequence[str], found: Answers
) -> NDArray[np.int64]:
    texts = len(np.unique(found.text[found.targets != IGNORED]))
    total = np.zeros((texts, 3), np.int64)
    for kind in kinds:
        total += counts.get(kind, 0)
    return total
