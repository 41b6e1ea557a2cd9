"""Rows of a data set as reports list them: their texts, and which slices they are in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmkit.api import Change, RowResults
from lmkit_classification.wish import Wish

__all__ = ["MOST_ROWS", "Slices", "contains", "explore", "short", "slices"]

MOST_ROWS = 1_000
"""Rows in the table; order and filters say which, and Python has them all."""
MOST_TEXT = 280
MOST_EXPLORED = 20_000
"""Characters of a text that a click brings into the form; a saved notebook carries them all."""
MOST_SLICES = 30
FEW_NUMBERS = 12
"""More distinct numbers than these are sliced at their quartiles."""


@dataclass(frozen=True)
class Slices:
    """Parts of the rows, each a name and which rows it has (rows,); and what to say of them."""

    parts: Sequence[tuple[str, NDArray[np.bool_]]]
    note: str = ""


def slices(done: RowResults, wish: Wish) -> Slices | None:
    """The slices that are wished for, all rows first; None where none are."""
    query, column = wish.query.strip(), wish.slice_by.strip()
    if not query and not column:
        return None
    parts: list[tuple[str, NDArray[np.bool_]]] = [("all", np.ones(len(done), dtype=bool))]
    note = ""
    if query:
        holds = contains(done, query)
        parts += [(f"with “{query}”", holds), (f"without “{query}”", ~holds)]
    if column and column not in done.columns:
        note = f"There is no column {column!r}; there are {', '.join(done.columns[:20])}."
    elif column:
        found, distinct = _values(done.cells(column))
        parts += [(f"{column} = {name}", where) for name, where in found]
        if distinct > len(found):
            note = f"The {len(found)} most frequent of {distinct:,} values."
    return Slices(parts, note)


def contains(done: RowResults, query: str) -> NDArray[np.bool_]:
    """Which rows have this in a text, whatever its case; (rows,)."""
    wanted = query.casefold()
    return np.array(
        [
            any(wanted in (row.get(name) or "").casefold() for name in ("text", "pair"))
            for row in done.rows
        ],
        dtype=bool,
    )


def _values(cells: Sequence[Any]) -> tuple[list[tuple[str, NDArray[np.bool_]]], int]:
    """Which rows have which value, most frequent first; many numbers by their quartiles.

    Returns:
        The values, and how many there are with those that are left out.
    """
    numbers = [one for one in cells if isinstance(one, int | float) and one == one]  # not NaN
    if len(numbers) == len(cells) and len(set(numbers)) > FEW_NUMBERS:
        values = np.array(cells, dtype=np.float64)
        edges = np.unique(np.quantile(values, [0, 0.25, 0.5, 0.75, 1]))
        place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
        parts = [
            (f"{edges[one]:g} to {edges[one + 1]:g}", place == one) for one in range(len(edges) - 1)
        ]
        return parts, len(parts)
    texts = ["(none)" if one is None or one != one else str(one)[:80] for one in cells]
    array = np.array(texts, dtype=object)
    counted = Counter(texts)
    return [(name, array == name) for name, _ in counted.most_common(MOST_SLICES)], len(counted)


def short(text: str) -> str:
    """The start of a text, as a cell shows it."""
    return text if len(text) <= MOST_TEXT else f"{text[:MOST_TEXT]}…"


def explore(text: str, pair: str, pairs: bool) -> Change | None:
    """What a click on a row does: its texts go into the form; None where they are too long."""
    if len(text) + len(pair) > MOST_EXPLORED:
        return None
    return Change(values={"text": text, **({"pair": pair} if pairs else {})})
