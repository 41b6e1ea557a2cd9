"""Several students side by side: which of them no other beats in both quality and cost."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lmkit_distillation.errors import ReportError
from lmkit_distillation.folder import write_text, writing
from lmkit_distillation.schema import VERSION, read_report

__all__ = [
    "Comparison",
    "Point",
    "compare_runs",
    "front",
    "named",
    "points",
    "write_comparison",
]


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
        ReportError: a folder has no report of this version, or they are of different test texts.
    """
    cards = {path: read_report(path) for path in dict.fromkeys(Path(f).resolve() for f in folders)}
    # Reports of before don't say on which texts.
    if len({card["texts_mark"] for card in cards.values() if card.get("texts_mark")}) > 1:
        raise ReportError(
            "These runs were measured on different test texts; their students can't be compared.",
            hint="Give them the same data.test.",
        )
    return named(cards)


def named(cards: Mapping[Path, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Reports by the names of their folders, in their order; see :func:`compare_runs`."""
    names = [path.name for path in cards]
    return {
        (p.name if names.count(p.name) == 1 else f"{p.parent.name}/{p.name}"): card
        for p, card in cards.items()
    }


class Comparison:
    """Several students and their teachers side by side; in a notebook it shows itself.

    Args:
        cards: Reports by the name of their run.

    Attributes:
        points: Each model's quality and cost, teachers first.
        front: Those that no other beats in both, cheapest first.

    Raises:
        ReportError: the runs can't be compared.
    """

    def __init__(self, cards: Mapping[str, dict[str, Any]]) -> None:
        self._cards = cards
        self.points = points(cards)
        self.front = front(self.points)

    def __repr__(self) -> str:
        """A line for each model, those on the front with a star."""
        width = max((len(one.name) for one in self.points), default=0)
        return "\n".join(
            f"{'*' if one in self.front else ' '} {one.name:{width}}  {one.metric} "
            f"{one.quality:.4f}  {one.cost_name} {one.cost:,.4g}"
            for one in self.points
        )

    def _repr_html_(self) -> str:
        # In a frame: the page's style is of whole pages.
        page = html.escape(self._page())
        return (
            f'<iframe sandbox srcdoc="{page}" title="Students compared" '
            'style="width:100%;height:44rem;border:0"></iframe>'
        )

    def save(self, target: Path | str) -> None:
        """Write the page, and beside it the same as JSON.

        Raises:
            RunFolderError: the page can't be written.
        """
        target = Path(target)
        body = [{**asdict(one), "front": one in self.front} for one in self.points]
        with writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            write_text(target, self._page())
            told = json.dumps({"version": VERSION, "points": body})
            write_text(target.with_suffix(".json"), told)

    def _page(self) -> str:
        from lmkit_distillation.card_views import pareto
        from lmkit_distillation.page import to_page

        return to_page("Students compared", "", pareto(self._cards))


def write_comparison(cards: Mapping[str, dict[str, Any]], target: Path | str) -> str:
    """Write the page and beside it the same as JSON; give a line for each model.

    Raises:
        ReportError: the runs can't be compared.
        RunFolderError: the page can't be written.
    """
    found = Comparison(cards)
    found.save(target)
    return repr(found)
