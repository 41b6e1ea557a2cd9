"""Runs that a report is set beside: finished ones of the same task, measured on the same texts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit_distillation.compare import front, named, points
from lmkit_distillation.errors import ReportError
from lmkit_distillation.schema import read_report

if TYPE_CHECKING:
    from lmkit_distillation.data import Encoded

__all__ = ["Siblings", "compared", "mark_of"]


def mark_of(texts: Sequence[Encoded]) -> str:
    """What tells sets of test texts apart: their words, and what is right of each."""
    known = [
        (one.id, None, None) if one.source is None else (one.id, one.source.label, one.source.tags)
        for one in texts
    ]
    return blake2b(repr(known).encode(), digest_size=10).hexdigest()


class Siblings:
    """The reports beside a run folder, each read anew once it has changed.

    Args:
        folder: The run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._read: dict[Path, tuple[tuple[int, int], dict[str, Any] | None]] = {}

    def __call__(self, more: Iterable[Path] = ()) -> dict[Path, dict[str, Any]]:
        """Reports by run folder, without its own.

        Args:
            more: Run folders elsewhere.
        """
        every = {file.parent for file in self.folder.parent.glob("*/report.json")}
        every |= {Path(one).resolve() for one in more}
        found = {path: self._report(path) for path in sorted(every - {self.folder})}
        return {path: card for path, card in found.items() if card is not None}

    def _report(self, path: Path) -> dict[str, Any] | None:
        try:
            stat = (path / "report.json").stat()
        except OSError:
            return None
        mark = (stat.st_ino, stat.st_mtime_ns)
        if self._read.get(path, (None, None))[0] != mark:
            try:
                card = read_report(path)
            except ReportError:  # of another lmkit, or damaged: nothing to be set beside
                card = None
            self._read[path] = (mark, card)
        return self._read[path][1]


def compared(
    card: dict[str, Any], folder: Path, others: dict[Path, dict[str, Any]]
) -> list[dict[str, Any]]:
    """A card's student, its teacher and the students of other runs, as a report has them.

    Only runs of the same task on the same test texts are comparable; where there is none, nothing.

    Args:
        card: The report of the run.
        folder: Its folder.
        others: Reports by run folder.

    Returns:
        Each model's name, quality, cost and what these are, whether it is on the Pareto front, and
        whether it is this run's.
    """
    kind = _kind(card)
    like = {path: other for path, other in others.items() if kind and _kind(other) == kind}
    if not like:
        return []
    cards = named({folder.resolve(): card, **like})
    own = next(iter(cards))
    every = points(cards)
    best = front(every)
    return [{**asdict(one), "front": one in best, "own": one.name == own} for one in every]


def _kind(card: dict[str, Any]) -> tuple[str, str, bool] | None:
    """What runs have in common that can be compared; None of one that can't be."""
    mark = card.get("texts_mark")
    try:
        every = points({"": card})
    # Another run's report may be of anybody's making; it is left out, and this one is written.
    except (ReportError, LookupError, TypeError, ValueError):
        return None
    if not mark or not all(math.isfinite(x) for one in every for x in (one.quality, one.cost)):
        return None
    return (card["task"], mark, "bits_change" in card["quality"])
