"""The report card as results of the panel: quality, classes, speed, and the new mistakes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lmkit.api import Change, Result, Table

__all__ = ["card_results"]


def card_results(card: Mapping[str, Any]) -> Sequence[Result]:
    """What ``report.json`` has, as tables; a click on a new mistake shows both models on it."""
    from lmkit_distillation.report import lines

    rows = tuple(tuple(cell or "–" for cell in row) for row in lines(dict(card)))
    title = f"Report: teacher and student on {card.get('texts', 0)} texts"
    note = "In brackets 95 % bootstrap intervals over texts; of the change, paired."
    found: list[Result] = [
        Table(title=title, columns=("measure", "teacher", "student"), rows=rows, note=note)
    ]
    quality = card.get("quality", {})
    classes = quality.get("per_class", ())
    if classes:
        found.append(
            Table(
                title="By class",
                columns=("label", "places", "teacher", "student", "change"),
                rows=tuple(
                    (one["label"], one["places"], one["teacher"], one["student"], one["change"])
                    for one in classes
                ),
                note="The share of the label's places that each model has right.",
            )
        )
    worse = quality.get("regressions", ())
    if worse:
        found.append(
            Table(
                title="New mistakes",
                columns=("text", "label", "student says", "loss"),
                rows=tuple((o["text"], o["label"], o["student"], o["loss"]) for o in worse),
                changes=tuple(Change(values={"text": one["text"]}) for one in worse),
                note="Right by the teacher, wrong by the student, the surest first. A click shows"
                " the attention of both on that text.",
            )
        )
    return found
