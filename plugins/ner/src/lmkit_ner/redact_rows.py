"""A data set's texts without names: the same name is the same placeholder in all rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from lmkit.api import (
    Change,
    FieldError,
    LoadedModel,
    Result,
    Row,
    RowOutput,
    RowProblem,
    RowResults,
    RowStream,
    Table,
    shared,
)
from lmkit_ner.aggregation import Strategy
from lmkit_ner.reading import clean, read_rows
from lmkit_ner.redaction import Key
from lmkit_ner.tags import Mark

__all__ = ["redacted_rows", "report_redacted", "restored_rows"]

MOST_ROWS = 1_000
"""Rows in the table; ``ev.rows`` has all."""
MOST_TEXT = 280
MOST_OPENED = 20_000
"""Characters of a text that a click may bring into the form; a notebook carries them."""


def redacted_rows(
    model: LoadedModel,
    rows: RowStream,
    key: Key,
    kinds: Collection[str] | None,
    strategy: Strategy,
    stride: int,
) -> Iterator[tuple[Row, RowOutput] | RowProblem]:
    """The rows' texts with placeholders, once all are read.

    A name that the model finds in the last row is then known in the first. What was read before a
    Stop or an interrupt comes too, with the names of those rows.

    Raises:
        FieldError: several processes share the data set, of which each has a key of its own.
    """
    if len(list(shared([Row(0, {}), Row(1, {})]))) < 2:
        raise FieldError(
            "Names are replaced by one process: each has a key of its own.",
            hint="Run it without accelerate.",
        )
    done: list[tuple[Row, str, list[Mark]]] = []
    ended: BaseException | None = None
    try:
        for item in read_rows(model, rows, lambda row: str(row["text"]), stride):
            if isinstance(item, RowProblem):
                yield item
                continue
            row, reading = item
            found = reading.entities(strategy)
            done.append((row, reading.text, [(one.start, one.end, one.label) for one in found]))
    except (Exception, KeyboardInterrupt) as error:
        ended = error
    made = key.redact_all([text for _, text, _ in done], [marks for *_, marks in done], kinds)
    for (row, _, _), one in zip(done, made, strict=True):
        yield row, _output(one.text, one.marks)
    if ended is not None:
        raise ended


def restored_rows(rows: RowStream, key: Key) -> Iterator[tuple[Row, RowOutput] | RowProblem]:
    """The rows' texts with the names that the key knows in place of its placeholders."""
    for row in shared(rows):
        yield row, _output(*key.restored(clean(row["text"])))


def _output(text: str, marks: Sequence[Mark]) -> RowOutput:
    # Under the column's own name: ``ev.rows`` and the files of ``ev.save`` hold it in its place.
    places = [{"start": start, "end": end, "label": kind} for start, end, kind in marks]
    return {"text": text, "places": places}


def report_redacted(done: RowResults) -> Sequence[Result]:
    """How many names and places, by kind, and the new texts; never a name that was replaced."""
    names: dict[str, set[str]] = {}
    places: Counter[str] = Counter()
    for output in done.outputs:
        for one in output["places"]:
            kind = str(one["label"])
            names.setdefault(kind, set()).add(output["text"][one["start"] : one["end"]])
            places[kind] += 1
    counts = Table(
        columns=("kind", "names", "places"),
        rows=tuple((kind, len(names[kind]), places[kind]) for kind in sorted(names)),
        title="Placeholders",
    )
    shown = list(done)[:MOST_ROWS]
    note = "" if len(shown) == len(done) else f"The first {MOST_ROWS:,}; ev.rows has all."
    texts = Table(
        columns=("row", "text", "places"),
        rows=tuple(
            (row.index, _short(str(output["text"])), len(output["places"])) for row, output in shown
        ),
        changes=tuple(
            None if len(output["text"]) > MOST_OPENED else Change(values={"text": output["text"]})
            for _, output in shown
        ),
        title="Texts",
        note=note,
    )
    return counts, texts


def _short(text: str) -> str:
    line = " ".join(text[: MOST_TEXT * 4].split())
    return line if len(line) <= MOST_TEXT else f"{line[:MOST_TEXT]}…"
