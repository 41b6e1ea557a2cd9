"""Several students side by side: which of them no other beats in both quality and cost."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lmkit_distillation.errors import ReportError
from lmkit_distillation.folder import write_text, writing
from lmkit_distillation.schema import VERSION, read_report

__all__ = ["Point", "compare_runs", "front", "points", "write_comparison"]


@dataclass(frozen=True)
class Point:
    """A model as a point: ``quality`` is better higher, ``cost`` better lower."""

    name: str
    quality: float
    cost: float
    parameters: int
    metric: str
    cost_name: str


_TURNED = {"loss": "minus the loss", "bits_per_character": "minus bits a character"}
"""Metrics of which less is better."""


def points(cards: Mapping[str, dict[str, Any]]) -> list[Point]:
    """The students, and before them their teachers, each teacher once.

    Quality is accuracy, F1 for NER, and agreement with the teacher where there are no labels; for
    generation the loss with its sign turned, or bits a character where a student's tokenizer is
    not its teacher's. Cost is the median latency at the largest batch that all were measured at,
    else the number of parameters.

    Raises:
        ReportError: they are of different tasks, or one was not measured.
    """
    if len({card["task"] for card in cards.values()}) > 1:
        raise ReportError("Runs of different tasks can't be compared.")
    by_characters = any("bits_change" in (card.get("quality") or {}) for card in cards.values())
    of_text = "bits_per_character" if by_characters else "loss"
    sizes = [{one["batch"] for one in card.get("speed") or ()} for card in cards.values()]
    common = max(set.intersection(*sizes), default=None) if sizes else None
    found: list[Point] = []
    teachers: dict[str, Point] = {}
    for name, card in cards.items():
        metric = {"ner": "f1", "generation": of_text}.get(card["task"], "accuracy")
        named = _TURNED.get(metric)
        quality = card.get("quality") or {}
        for who in ("teacher", "student"):
            if metric not in quality.get(who, {}):
                raise ReportError(f"The report of {name} has no {metric}.")
            value = float(quality[who][metric])
            parameters = int(card["parameters"][who])
            cost, cost_name = float(parameters), "parameters"
            if common is not None:
                row = next(one for one in card["speed"] if one["batch"] == common)
                cost, cost_name = row[who]["p50"] * 1e3, f"median ms at batch {common}"
            point = Point(
                name if who == "student" else f"teacher {card['teacher']}",
                value if named is None else -value,
                cost,
                parameters,
                named or metric,
                cost_name,
            )
            if who == "student":
                found.append(point)
            else:
                teachers.setdefault(point.name, point)
    return [*teachers.values(), *found]


def front(every: Sequence[Point]) -> list[Point]:
    """The Pareto front, cheapest first."""

    def beaten(a: Point) -> bool:
        return any(
            b.quality >= a.quality
            and b.cost <= a.cost
            and (b.quality > a.quality or b.cost < a.cost)
            for b in every
        )

    return sorted((p for p in every if not beaten(p)), key=lambda p: (p.cost, p.name))


def compare_runs(folders: Sequence[Path | str]) -> dict[str, dict[str, Any]]:
    """The reports of run folders by name; folders of one name get their parent's before it.

    Raises:
        ReportError: a folder has no report of this version.
    """
    paths = [Path(one).resolve() for one in folders]
    names = [p.name for p in paths]
    return {
        (p.name if names.count(p.name) == 1 else f"{p.parent.name}/{p.name}"): read_report(p)
        for p in paths
    }


def write_comparison(cards: Mapping[str, dict[str, Any]], target: Path | str) -> str:
    """Write the page and beside it the same as JSON; give a line for each model.

    Raises:
        ReportError: the runs can't be compared.
        RunFolderError: the page can't be written.
    """
    from lmkit_distillation.card_views import pareto
    from lmkit_distillation.page import to_page

    every = points(cards)
    best = front(every)
    target = Path(target)
    body = [{**asdict(one), "front": one in best} for one in every]
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        write_text(target, to_page("Students compared", "", pareto(cards)))
        write_text(target.with_suffix(".json"), json.dumps({"version": VERSION, "points": body}))
    width = max(len(one.name) for one in every)
    return "\n".join(
        f"{'*' if one in best else ' '} {one.name:{width}}  {one.metric} {one.quality:.4f}  "
        f"{one.cost_name} {one.cost:,.4g}"
        for one in every
    )
