"""The task: entities of a text, and the labels of its tokens."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import cast

import numpy as np

from lmkit.api import (
    Change,
    Column,
    Field,
    FieldError,
    LoadedModel,
    Result,
    Row,
    RowOutput,
    RowProblem,
    RowResults,
    RowStream,
    Span,
    Spans,
    Task,
    Text,
    TextTrace,
    TokenLabels,
)
from lmkit_ner.aggregation import STRATEGIES, Entity, Strategy, softmax
from lmkit_ner.reading import Reading, TokenPlaces, label_names, read_rows, same_reading
from lmkit_ner.report import REPORT_FIELDS, make_report
from lmkit_ner.tags import join_words, spans_of_tags

__all__ = ["STRATEGY", "STRIDE", "Ner"]

STRATEGY = Field.choice(
    "strategy",
    STRATEGIES,
    default="first",
    label="Labels of a word",
    help="How the tokens of a word agree: the label of the first, of the surest (max), of their "
    "average; simple joins tokens, none leaves them.",
)
STRIDE = Field.integer(
    "stride",
    label="Shared tokens",
    help="Texts longer than the model takes are read in windows; two neighbours share so many.",
    default=128,
    minimum=0,
    maximum=4096,
)


class Ner(Task):
    """Entities with scores, in texts of any length."""

    name = "ner"
    title = "Named entities"
    help = "Names and other entities of a text with their scores, and the labels of each token."
    verb = "recognise"
    auto_class = "AutoModelForTokenClassification"
    default_model = "starter:ner"
    fields = (
        Field.text("text", label="Text", placeholder="A text with names"),
        STRATEGY,
        STRIDE,
        Field.integer(
            "window",
            label="Window",
            help="Which window of a long text the explorer shows; 0 is the first with an entity.",
            minimum=0,
            maximum=1_000_000,
            hidden=True,
        ),
    )
    columns = (
        Column.text("text", label="Text", required=False),
        Column.words("words", label="Words", help="In place of a text: a list of words."),
        Column.labels("tags", label="Tags", help="The right tag of each word: B-PER, I-PER, O."),
        Column.spans("spans", label="Spans", help="The right entities: start, end and label."),
    )
    report_fields = REPORT_FIELDS

    def run(
        self, model: LoadedModel, *, text: str, strategy: str, stride: int, window: int
    ) -> Sequence[Result]:
        """Read the whole text, then make one captured pass over the window on show."""
        reading = same_reading(model, text, stride)
        entities = reading.entities(cast("Strategy", strategy))
        number = chosen_window(reading, entities, window)
        start, end = reading.windows[number]
        if len(reading.windows) == 1:
            start, end = 0, len(reading.text)
        trace = model.trace(reading.text[start:end])
        spans = spans_in(reading, entities, trace, number)
        note = ""
        if len(reading.windows) > 1:
            note = (
                f"The explorer shows window {number + 1} of {len(reading.windows):,}, characters "
                f"{start:,} to {end:,} of {len(reading.text):,}. Click an entity to go to its own."
            )
        return (
            Spans(text=reading.text, spans=spans, title="Entities"),
            token_labels(model, trace, note),
        )

    def run_rows(
        self, model: LoadedModel, rows: RowStream, *, strategy: str, stride: int, window: int
    ) -> Iterator[tuple[Row, RowOutput] | RowProblem]:
        """The entities of each row, with the right ones where the data set has them."""
        empty: list[RowProblem] = []
        for item in read_rows(model, with_text(rows, empty.append), text_of, stride):
            yield from empty
            empty.clear()
            if isinstance(item, RowProblem):
                yield item
                continue
            row, reading = item
            try:
                right = right_of(row, model.labels)
            except ValueError as error:
                column = "tags" if row.get("tags") is not None else "spans"
                yield RowProblem(row.index, column, str(error))
                right = None
            found = [
                {
                    "start": one.start,
                    "end": one.end,
                    "label": one.label,
                    "score": one.score,
                    "text": reading.text[one.start : one.end],
                }
                for one in reading.entities(cast("Strategy", strategy))
            ]
            output: dict[str, object] = {"text": reading.text, "entities": found}
            if right is not None:
                output["right"] = right
            yield row, output
        yield from empty

    def report_rows(
        self,
        done: RowResults,
        *,
        strategy: str,
        stride: int,
        window: int,
        error: str,
        kinds: str,
    ) -> Sequence[Result]:
        """Scores, confusions and errors; without right entities what was found."""
        return make_report(done, error=error, kinds=kinds)


def with_text(rows: RowStream, problem: Callable[[RowProblem], None]) -> RowStream:
    """The rows that have something to read.

    Args:
        rows: All of them.
        problem: Told of each other one, by the column where its text should be.

    Raises:
        FieldError: the data set gives neither texts nor words, while it is read.
    """

    def read() -> Iterator[Row]:
        for row in rows:
            if text_of(row).strip():
                yield row
                continue
            given = [name for name in ("text", "words") if name in row.values]
            if not given:
                raise FieldError(
                    "The data set has no column of texts or words that can be told.",
                    hint="Say text='COLUMN' or words='COLUMN'.",
                )
            what = "words" if given[0] == "words" else "text"
            problem(RowProblem(row.index, given[0], f"Missing or empty {what}."))

    return RowStream(len(rows), read)


def text_of(row: Row) -> str:
    """The text of a row, or its words with blanks between them."""
    return str(row.get("text") or join_words(row.get("words", ()))[0])


def right_of(row: Row, labels: Sequence[str]) -> list[list[object]] | None:
    """The right entities of a row as start, end and kind; None where the data set has none.

    Raises:
        ValueError: they are not entities of this row, as a sentence.
    """
    spans, tags = row.get("spans"), row.get("tags")
    text = text_of(row)
    if spans is not None:
        outside = next((one for one in spans if not 0 <= one.start < one.end <= len(text)), None)
        if outside is not None:
            raise ValueError(
                f"The span {outside.start} to {outside.end} is not within the {len(text):,} "
                "characters of the text."
            )
        return [[one.start, one.end, one.label] for one in sorted(spans, key=lambda s: s.start)]
    if tags is None:
        return None
    words = row.get("words") or text.split()
    if len(tags) != len(words):
        raise ValueError(f"{len(tags):,} tags for {len(words):,} words.")
    places = _places(text, words)
    named = [_named(tag, labels) for tag in tags]
    return [
        [places[first][0], places[last - 1][1], kind] for first, last, kind in spans_of_tags(named)
    ]


def _named(tag: object, labels: Sequence[str]) -> str:
    if isinstance(tag, int):
        if 0 <= tag < len(labels):
            return labels[tag]
        raise ValueError(f"The tag {tag} is none of the model's {len(labels)} labels.")
    return str(tag)


def _places(text: str, words: Sequence[str]) -> list[tuple[int, int]]:
    """Where each word is in the text, one after the other."""
    places, at = [], 0
    for word in words:
        start = text.find(word, at)
        if start < 0:
            raise ValueError(f"The word {word[:60]!r} is not in the text where it should be.")
        at = start + len(word)
        places.append((start, at))
    return places


def chosen_window(reading: Reading, entities: Sequence[Entity], wanted: int) -> int:
    """Which window the explorer shows: the one asked for, counted from 1, or the first that tells.

    A pass over all of a long text does not exist; one that holds an entity is worth a look.
    """
    last = len(reading.windows) - 1
    if wanted > 0:
        return min(wanted - 1, last)
    first = entities[0] if entities else None
    return 0 if first is None else window_of(reading, first.start, first.end)


def window_of(reading: Reading, start: int, end: int) -> int:
    """The window that shows most of what is around a stretch; the first where none holds it."""
    best, room = 0, -1
    last = len(reading.windows) - 1
    # Windows begin and end in reading order: those that hold the stretch are neighbours, and a
    # text of a megabyte has hundreds of windows and tens of thousands of entities.
    number = bisect_left(reading.windows, end, key=lambda window: window[1])
    while number <= last and reading.windows[number][0] <= start:
        first, after = reading.windows[number]
        left = len(reading.text) if number == 0 else start - first
        right = len(reading.text) if number == last else after - end
        if min(left, right) > room:
            best, room = number, min(left, right)
        number += 1
    return best


def spans_in(
    reading: Reading, entities: Sequence[Entity], trace: TextTrace, number: int
) -> tuple[Span, ...]:
    """The entities; those of the window on show with its tokens, others with the way there."""
    several = len(reading.windows) > 1
    offset = reading.windows[number][0] if several else 0
    end = reading.windows[number][1] if several else len(reading.text)
    places = TokenPlaces(trace.tokens, offset)
    found = []
    for one in entities:
        inside = offset <= one.start and one.end <= end
        tokens = places.within(one.start, one.end) if inside else ()
        change = None
        if not inside:
            go = window_of(reading, one.start, one.end) + 1
            change = Change(values={"window": go}, run=True)
        found.append(
            Span(
                start=one.start,
                end=one.end,
                label=one.label,
                score=one.score,
                tokens=tokens,
                change=change,
            )
        )
    return tuple(found)


MOST_LABELS = 60


def token_labels(model: LoadedModel, trace: TextTrace, note: str = "") -> Result:
    """The labels of each token of a pass; those that no token comes near to are one sum."""
    scores = softmax(trace.output.logits[0].float().cpu().numpy())
    names = label_names(model, scores.shape[-1])
    if len(scores) != len(trace.tokens):
        return Text(text=f"{model.name} gives labels to other tokens than it reads.")
    if len(names) > MOST_LABELS:
        order = scores.max(axis=0).argsort()[::-1]
        kept = sorted(order[: MOST_LABELS - 1].tolist())
        rest = scores[:, order[MOST_LABELS - 1 :]].sum(axis=1, keepdims=True)
        names = (*(names[index] for index in kept), f"{len(names) - len(kept)} others")
        scores = np.concatenate([scores[:, kept], rest], axis=1)
    values = tuple(tuple(min(1.0, round(value, 6)) for value in row) for row in scores.tolist())
    return TokenLabels(
        tokens=trace.tokens, labels=names, values=values, title="Labels of the tokens", note=note
    )
