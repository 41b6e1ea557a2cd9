"""What is shown of a data set that was written on from, or scored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lmkit.api import Axis, Change, Chart, Result, Row, RowOutput, RowResults, Series, Table
from lmkit_generation.prompts import transcript
from lmkit_generation.rows import ORDERS
from lmkit_generation.scoring import perplexity_of

__all__ = ["report"]

MOST_ROWS = 1_000
"""Rows in the table; order and filter say which, and Python has them all."""
MOST_TEXT = 280
MOST_EXPLORED = 20_000
"""Characters of a prompt that a click may bring into the form; a notebook carries them."""
_BINS = 20


def report(done: RowResults, query: str, order: str) -> Sequence[Result]:
    """Scores, a histogram, and the rows, each of which leads into the form."""
    scored = "loss" in done.outputs[0]
    name = "perplexity" if scored else "tokens"
    return (
        _scores(done) if scored else _written(done),
        _histogram(name, [float(one[name]) for one in done.outputs]),
        _rows(done, query.strip(), order, scored),
    )


def _scores(done: RowResults) -> Table:
    counts = np.array([one["tokens"] - 1 for one in done.outputs])
    losses = np.array([one["loss"] for one in done.outputs])
    mean = float((losses * counts).sum() / counts.sum())
    rows: list[tuple[str, Any]] = [
        ("rows", len(done)),
        ("tokens scored", int(counts.sum())),
        ("perplexity", _shown(perplexity_of(mean))),
        ("mean surprise in bits", mean / math.log(2)),
        ("median perplexity of a row", _shown(float(np.median(_perplexities(done))))),
    ]
    return Table(
        title="Scores",
        columns=("measure", "value"),
        rows=tuple(rows),
        note="Perplexity is of all tokens together: exp of their mean loss.",
    )


def _written(done: RowResults) -> Table:
    rows: list[tuple[str, Any]] = [
        ("rows", len(done)),
        ("tokens written", sum(one["tokens"] for one in done.outputs)),
        ("tokens a row", float(np.mean([one["tokens"] for one in done.outputs]))),
    ]
    judged = [one for one in done.outputs if "match" in one]
    if judged:
        rows += [
            ("rows with an expected text", len(judged)),
            ("exact match", float(np.mean([one["match"] for one in judged]))),
            ("expected text contained", float(np.mean([one["contains"] for one in judged]))),
        ]
    note = "" if judged else "Map the column of the expected texts for exact matches."
    note = f"{note} {done.outputs[0].get('settings', '')}".strip()
    return Table(title="Scores", columns=("measure", "value"), rows=tuple(rows), note=note)


def _perplexities(done: RowResults) -> list[float]:
    return [float(one["perplexity"]) for one in done.outputs]


def _shown(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _histogram(name: str, values: list[float]) -> Chart:
    finite = np.array([one for one in values if math.isfinite(one)] or [0.0])
    if name == "tokens":  # whole numbers: a bar has one of them, or several
        low, high = int(finite.min()), int(finite.max())
        wide = -(-(high - low + 1) // _BINS)
        counts, edges = np.histogram(finite, bins=np.arange(low, high + wide + 1, wide) - 0.5)
    else:
        # Perplexities lie over orders of magnitude: the last bar has all that is beyond.
        top = float(np.quantile(finite, 0.98)) if len(finite) > 1 else float(finite[0])
        least = float(min(finite.min(), top))
        top = top if top > least else least + 1.0
        counts, edges = np.histogram(np.minimum(finite, top), bins=_BINS, range=(least, top))
    return Chart(
        title="Perplexity of the rows" if name == "perplexity" else "Tokens written",
        x=Axis(title=name),
        y=Axis(title="rows", low=0.0),
        series=(
            Series(
                label="rows",
                x=tuple(((edges[:-1] + edges[1:]) / 2).tolist()),
                y=tuple(float(one) for one in counts),
                draw="bars",
            ),
        ),
    )


def _rows(done: RowResults, query: str, order: str, scored: bool) -> Table:
    found = [
        place
        for place, (row, output) in enumerate(done)
        if query.casefold() in f"{row['prompt']}\n{output.get('written', '')}".casefold()
    ]
    keys = {
        ORDERS[1]: lambda place: -done.outputs[place].get("loss", 0.0),
        ORDERS[2]: lambda place: -done.outputs[place]["tokens"],
    }
    if order in keys:
        found.sort(key=keys[order])
    expected = "expected" in done.mapping
    columns: tuple[str, ...] = (
        "row",
        "prompt",
        *(("perplexity",) if scored else ("written",)),
        "tokens",
    )
    columns += ("expected", "match") if expected and not scored else ()
    shown = found[:MOST_ROWS]
    note = f"Rows that contain “{query}”: {len(found):,}." if query else ""
    if len(found) > len(shown):
        note += f" The first {len(shown):,} of {len(found):,}; ev.rows has all."
    return Table(
        title="Rows",
        columns=columns,
        rows=tuple(_cells(done.rows[one], done.outputs[one], scored, expected) for one in shown),
        changes=tuple(_explore(done.rows[one]) for one in shown),
        note=note.strip(),
    )


def _cells(row: Row, output: RowOutput, scored: bool, expected: bool) -> tuple[Any, ...]:
    own = (_shown(output["perplexity"]),) if scored else (_short(output["written"]),)
    cells: tuple[Any, ...] = (row.index, _short(transcript(row["prompt"])), *own, output["tokens"])
    if expected and not scored:
        match = output.get("match")
        said = None if match is None else "yes" if match else "no"
        cells += (_short(row.get("expected") or "") or None, said)
    return cells


def _explore(row: Row) -> Change | None:
    text = row["prompt"]
    return None if len(text) > MOST_EXPLORED else Change(values={"prompt": text, "begin": ""})


def _short(text: str) -> str:
    one = " ".join(text[: MOST_TEXT * 4].split())
    return one if len(one) <= MOST_TEXT else f"{one[:MOST_TEXT]}…"
