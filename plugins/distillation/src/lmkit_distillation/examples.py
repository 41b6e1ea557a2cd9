"""The worst examples: where the student lost what the teacher had, as the data have the texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lmkit_distillation.chat import ASSISTANT, USER, chat_text
from lmkit_distillation.data import IGNORED, Encoded
from lmkit_distillation.evaluate import Answers

__all__ = ["lost_most", "mistakes"]

MOST = 10
"""Examples that a report has."""


def mistakes(
    texts: Sequence[Encoded],
    teacher: Answers,
    student: Answers,
    labels: Sequence[str],
    tokenizer: Any,
) -> list[dict[str, Any]]:
    """Texts that the teacher had right and the student has wrong, the surest mistakes first.

    Args:
        texts: What both were asked, in the order of the data.
        teacher: Its answers.
        student: The student's, at the same places.
        labels: Classes by index.
        tokenizer: The student's; tells a text of which nothing but tokens is known.
    """
    worse = (
        (student.targets != IGNORED)
        & (teacher.predicted == student.targets)
        & (student.predicted != student.targets)
    )
    places = np.flatnonzero(worse)
    found: dict[int, dict[str, Any]] = {}  # a text with several mistakes is one example
    for i in places[np.argsort(-student.loss[places], kind="stable")]:
        index = int(student.text[i])
        if index not in found and len(found) < MOST:
            found[index] = {
                **_source(texts[index], index, tokenizer),
                "label": labels[student.targets[i]],
                "student": labels[student.predicted[i]],
                "loss": float(student.loss[i]),
            }
    return list(found.values())


def lost_most(
    texts: Sequence[Encoded],
    teacher: Answers,
    student: Answers,
    tokenizer: Any,
    *,
    chat: bool = False,
    characters: tuple[Sequence[int], Sequence[int]] | None = None,
) -> list[dict[str, Any]]:
    """Texts on which the student's loss is most above the teacher's, the greatest first.

    Args:
        texts: What both were asked, in the order of the data.
        teacher: Its answers.
        student: The student's.
        tokenizer: The student's.
        chat: Whether prompts were written by its chat template.
        characters: Where both read tokens of their own: how many characters of each text the
            teacher's counted tokens stand for, and the student's. Then losses are bits a character,
            else nats a token.
    """
    before = _by_text(teacher, len(texts), None if characters is None else characters[0])
    after = _by_text(student, len(texts), None if characters is None else characters[1])
    change = after - before
    worse = np.flatnonzero(change > 0)  # a text of which nothing counts is not a number
    return [
        {
            **_source(texts[index], int(index), tokenizer, chat=chat),
            "teacher_loss": float(before[index]),
            "loss": float(after[index]),
            "change": float(change[index]),
            "unit": "token" if characters is None else "character",
        }
        for index in worse[np.argsort(-change[worse], kind="stable")][:MOST]
    ]


def _by_text(found: Answers, count: int, characters: Sequence[int] | None) -> Any:
    known = found.targets != IGNORED
    total = np.bincount(found.text[known], weights=found.loss[known], minlength=count)
    if characters is not None:
        total, size = total / np.log(2), np.array(characters, float)
    else:
        size = np.bincount(found.text[known], minlength=count).astype(float)
    return np.divide(total, size, out=np.full(count, np.nan), where=size > 0)


def _source(one: Encoded, row: int, tokenizer: Any, *, chat: bool = False) -> dict[str, Any]:
    """A text as the data have it: ``text`` and ``pair`` are what a model is given to read it.

    Of a text with a completion ``text`` is both, and each stands there by itself too.
    """
    source = one.source
    if source is None:
        return {"text": tokenizer.decode(one.ids, skip_special_tokens=True), "row": row}
    if source.words:
        return {"text": " ".join(source.words), "row": row}
    if not one.prompt:
        return {"text": source.text, "row": row, **({"pair": source.pair} if source.pair else {})}
    # Without one in the data a model wrote it.
    completion = source.pair or tokenizer.decode(one.ids[one.prompt :], skip_special_tokens=True)
    whole = source.text + completion
    if chat:
        turns = (*source.before, (USER, source.text), (ASSISTANT, completion))
        whole = chat_text(tokenizer, turns, source.place)
    return {"text": whole, "prompt": source.text, "completion": completion, "row": row}
