"""Which labels are taken for which: a matrix, and the rows of each of its cells."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lmkit.api import Change, Matrix
from lmkit_classification.judged import Judged
from lmkit_classification.scores import confusion as count
from lmkit_classification.scores import decisions
from lmkit_classification.wish import Wish

__all__ = ["DECISIONS", "MOST_LABELS", "cell_rows", "confusion"]

MOST_LABELS = 60
"""Labels that have a row of their own: a thousand squared would be a million buttons."""
DECISIONS = ("hits", "missed", "spurious", "rest")
"""What can come of each of several labels of a row."""


def confusion(judged: Judged, wish: Wish) -> Matrix:
    """Right labels down and predicted ones across; of several labels a row, a 2 x 2 table each.

    Labels beyond :data:`MOST_LABELS` are summed up as others, so that all totals stay.
    """
    return _by_label(judged, wish) if judged.multi else _by_pair(judged, wish)


def cell_rows(judged: Judged, wish: Wish) -> tuple[NDArray[np.bool_], str] | None:
    """Which rows are in the cell that the reader chose, and what they are; None without one."""
    labels = judged.labels
    if wish.gold not in labels:
        return None
    place = labels.index(wish.gold)
    if judged.multi:
        if wish.predicted not in DECISIONS:
            return None
        gold, given = judged.gold[:, place], judged.given[:, place]
        which = DECISIONS.index(wish.predicted)
        where = (gold if which in (0, 1) else ~gold) & (given if which in (0, 2) else ~given)
        words = (
            f"have {wish.gold} and got it",
            f"have {wish.gold} and did not get it",
            f"got {wish.gold} and do not have it",
            f"neither have nor got {wish.gold}",
        )[which]
        return where & judged.scored, words
    if wish.predicted not in labels:
        return None
    where = judged.scored & (judged.first_gold() == place)
    where &= judged.top == labels.index(wish.predicted)
    return where, f"are {wish.gold} and predicted {wish.predicted}"


def _by_pair(judged: Judged, wish: Wish) -> Matrix:
    labels, scored = judged.labels, judged.scored
    gold, given = judged.first_gold()[scored], judged.top[scored]
    right = gold == given
    kept = _most_frequent(_counted(gold, labels) + _counted(given[~right], labels))
    names = [labels[place] for place in kept]
    # Labels without a place of their own share the one behind the others.
    places = np.full(len(labels), len(kept))
    places[kept] = np.arange(len(kept))
    left = len(labels) - len(kept)
    titles = (*names, f"{left:,} others") if left else tuple(names)
    counts = count(places[gold], places[given], len(titles))
    chosen: tuple[int, ...] = ()
    if wish.gold in names and wish.predicted in names:
        chosen = (names.index(wish.gold), names.index(wish.predicted))
    # Of the others a click could not say which is meant.
    none = (None,) if left else ()
    changes: list[tuple[Change | None, ...]] = [
        (*(_change(one, other, chosen == (row, column)) for column, other in enumerate(names)),
         *none)
        for row, one in enumerate(names)
    ]  # fmt: skip
    if left:
        changes.append((None,) * len(titles))
    return Matrix(
        title="Confusion",
        rows=titles,
        columns=titles,
        row_title="right",
        column_title="predicted",
        cells=tuple(tuple(float(one) for one in row) for row in counts.tolist()),
        changes=tuple(changes),
        chosen=chosen,
        note=f"A click on a cell shows its rows below.{_said(left)}",
    )


def _by_label(judged: Judged, wish: Wish) -> Matrix:
    labels, scored = judged.labels, judged.scored
    counts = decisions(judged.gold[scored], judged.given[scored])
    kept = _most_frequent(counts[:, :3].sum(1))
    names = [labels[place] for place in kept]
    left = len(labels) - len(kept)
    rows = counts[kept]
    if left:
        rows = np.vstack([rows, counts.sum(0) - rows.sum(0)])
    chosen: tuple[int, ...] = ()
    if wish.gold in names and wish.predicted in DECISIONS:
        chosen = (names.index(wish.gold), DECISIONS.index(wish.predicted))
    changes: list[tuple[Change | None, ...]] = [
        tuple(_change(name, kind, chosen == (row, column)) for column, kind in enumerate(DECISIONS))
        for row, name in enumerate(names)
    ]
    if left:
        changes.append((None,) * len(DECISIONS))
    return Matrix(
        title="Confusion",
        rows=(*names, f"{left:,} others") if left else tuple(names),
        columns=DECISIONS,
        row_title="label",
        column_title="decision",
        cells=tuple(tuple(float(one) for one in row) for row in rows.tolist()),
        changes=tuple(changes),
        chosen=chosen,
        note="Rows that have the label and got it, have it alone, got it alone, neither. "
        f"A click on a cell shows its rows below.{_said(left)}",
    )


def _change(gold: str, predicted: str, again: bool) -> Change:
    # A second click lets all rows back in.
    return Change(values={"gold": "" if again else gold, "predicted": "" if again else predicted})


def _counted(places: NDArray[np.int64], labels: list[str]) -> NDArray[np.int64]:
    return np.bincount(places, minlength=len(labels))


def _most_frequent(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The labels in most rows, right or predicted, in the order that the model has them in."""
    if len(rows) <= MOST_LABELS:
        return np.arange(len(rows))
    return np.sort(np.argsort(-rows, kind="stable")[:MOST_LABELS])


def _said(left: int) -> str:
    if not left:
        return ""
    return (
        f" The {MOST_LABELS} labels with most rows, right or predicted; {left:,} more are summed "
        "up as others, and stand in the table by label."
    )
