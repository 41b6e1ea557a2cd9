"""What is shown of a data set that went through a regression: errors, slices, and the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmkit.api import Axis, Chart, Result, RowResults, Series, Table
from lmkit_classification.heads import gold_numbers
from lmkit_classification.listing import MOST_ROWS, contains, explore, short, slices
from lmkit_classification.scores import r_squared
from lmkit_classification.wish import ALL, HARDEST, LEAST_SURE, UNMOVED, Wish

__all__ = ["regression"]

MOST_POINTS = 2_000


@dataclass(frozen=True)
class _Measured:
    """Numbers of each row, (rows,): the right one, NaN where there is none, and the predicted."""

    name: str
    gold: NDArray[np.float64]
    value: NDArray[np.float64]

    @property
    def scored(self) -> NDArray[np.bool_]:
        return np.isfinite(self.gold)

    def error(self, where: NDArray[np.bool_]) -> float | None:
        """Mean absolute error of some of the scored rows."""
        return float(np.abs(self.value[where] - self.gold[where]).mean()) if where.any() else None


def regression(done: RowResults, wish: Wish) -> Sequence[Result]:
    """Errors of the first output against the numbers that the data set has."""
    names = list(done.outputs[0]["values"])
    measured = _Measured(
        names[0],
        np.array([_number(row.get("label"), len(names)) for row in done.rows], dtype=np.float64),
        np.array([one["values"][names[0]] for one in done.outputs], dtype=np.float64),
    )
    results: list[Result] = [_summary(measured, len(names), wish)]
    if measured.scored.any():
        results.append(_scatter(measured))
    table = _slices(done, measured, wish)
    if table is not None:
        results.append(table)
    results.append(_rows(done, measured, names, wish))
    return results


def _summary(measured: _Measured, outputs: int, wish: Wish) -> Table:
    scored = measured.scored
    gold, value = measured.gold[scored], measured.value[scored]
    rows: list[tuple[str, Any]] = [("rows", len(scored))]
    notes = []
    if scored.any():
        rows += [
            ("rows scored", int(scored.sum())),
            ("mean absolute error", measured.error(scored)),
            ("root mean squared error", float(np.sqrt(((value - gold) ** 2).mean()))),
            ("R²", r_squared(gold, value)),
            ("correlation (Pearson)", _correlation(value, gold)),
        ]
    else:
        notes.append("Map the column of the right numbers for errors and the rest.")
    if outputs > 1:
        notes.append(f"Of {measured.name}, the first of {outputs} outputs.")
    if wish.threshold != UNMOVED:
        notes.append("A number has no threshold: that of the report decides nothing here.")
    return Table(
        title="Scores", columns=("measure", "value"), rows=tuple(rows), note=" ".join(notes)
    )


def _scatter(measured: _Measured) -> Chart:
    few = np.flatnonzero(measured.scored)[:MOST_POINTS]
    gold, value = measured.gold[few], measured.value[few]
    ends = (float(gold.min()), float(gold.max()))
    return Chart(
        title="Right and predicted",
        x=Axis(title="right"),
        y=Axis(title="predicted"),
        series=(
            Series(label="rows", x=tuple(gold.tolist()), y=tuple(value.tolist()), draw="points"),
            Series(label="equal", x=ends, y=ends, reference=True),
        ),
        square=True,
    )


def _slices(done: RowResults, measured: _Measured, wish: Wish) -> Table | None:
    found = slices(done, wish)
    if found is None:
        return None
    rows = []
    for name, part in found.parts:
        where = part & measured.scored
        rows.append(
            (
                name,
                int(part.sum()),
                int(where.sum()),
                measured.error(where),
                r_squared(measured.gold[where], measured.value[where]),
                float(measured.value[part].mean()) if part.any() else None,
            )
        )
    return Table(
        title="Slices",
        columns=("slice", "rows", "rows scored", "mean absolute error", "R²", "mean predicted"),
        rows=tuple(rows),
        note=found.note,
    )


def _rows(done: RowResults, measured: _Measured, names: Sequence[str], wish: Wish) -> Table:
    gold, scored = measured.gold, measured.scored
    error = np.abs(measured.value - gold)
    query = wish.query.strip()
    keep = np.flatnonzero(contains(done, query)) if query else np.arange(len(done))
    notes = [f"Rows that contain “{query}”: {len(keep):,}."] if query else []
    if wish.order == HARDEST:
        keep = keep[np.argsort(-np.nan_to_num(error[keep], nan=-1.0), kind="stable")]
    elif wish.order == LEAST_SURE:
        notes.append("A number has no probability: the rows stand as in the data set.")
    if wish.show != ALL:
        notes.append("A number is neither right nor wrong: all rows are listed.")
    shown = keep[:MOST_ROWS].tolist()
    if len(keep) > len(shown):
        notes.append(f"The first {len(shown):,} of {len(keep):,} are listed.")
    pairs = "pair" in done.mapping
    errors = ("error",) if scored.any() else ()
    rows = []
    for place in shown:
        row = done.rows[place]
        rows.append(
            (
                row.index,
                short(row["text"]),
                *((short(row.get("pair", "")),) if pairs else ()),
                float(gold[place]) if scored[place] else None,
                *(float(one) for one in done.outputs[place]["values"].values()),
                *((float(error[place]) if scored[place] else None,) if errors else ()),
            )
        )
    return Table(
        title="Rows",
        columns=("row", "text", *(("second text",) if pairs else ()), "right", *names, *errors),
        rows=tuple(rows),
        changes=tuple(
            explore(done.rows[place]["text"], done.rows[place].get("pair", ""), pairs)
            for place in shown
        ),
        note=" ".join(notes),
    )


def _number(cell: Any, outputs: int) -> float:
    try:
        return next(iter(gold_numbers(cell, outputs)), float("nan"))
    except ValueError:
        return float("nan")  # a problem of the row, which the run has told


def _correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float | None:
    if len(one) < 2 or not one.std() or not other.std():
        return None
    return float(np.corrcoef(one, other)[0, 1])
