"""A model's labels for the tokens of texts, whatever their length."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from lmkit.api import (
    FieldError,
    LoadedModel,
    ModelError,
    Row,
    RowBatch,
    RowProblem,
    RowSequence,
    Token,
)
from lmkit_ner.aggregation import Entity, Piece, Strategy, find_entities, pieces_of, softmax
from lmkit_ner.windows import Window, join_windows

__all__ = [
    "Reading",
    "TokenPlaces",
    "clean",
    "label_names",
    "read_rows",
    "read_text",
    "same_reading",
]

_latest: WeakKeyDictionary[LoadedModel, tuple[str, int, Reading]] = WeakKeyDictionary()
"""By model the long text that it read last, without tensors: it goes with the model."""
_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Reading:
    """What a model makes of one text.

    Attributes:
        text: The text that places count in.
        pieces: All tokens of the text, without special ones.
        scores: Probabilities of their labels, (tokens, labels).
        labels: Names of the labels.
        windows: Start and end of what was read at once, in the text; one for a text that fits.
    """

    text: str
    pieces: list[Piece]
    scores: NDArray[np.float32]
    labels: tuple[str, ...]
    windows: tuple[tuple[int, int], ...]

    def entities(self, strategy: Strategy) -> list[Entity]:
        """The entities in reading order."""
        return find_entities(self.pieces, self.scores, self.labels, strategy)


class TokenPlaces:
    """Finds the tokens of a pass that lie within a stretch of the text.

    Args:
        tokens: Those of the pass.
        offset: Where the text of the pass begins in the whole one.
    """

    def __init__(self, tokens: Sequence[Token], offset: int = 0) -> None:
        self._places = [
            (token.start + offset, token.end + offset, index)
            for index, token in enumerate(tokens)
            if not token.special and token.end > token.start
        ]

    def within(self, start: int, end: int) -> tuple[int, ...]:
        """Indices of the tokens that share a character with ``text[start:end]``, ascending."""
        at = bisect_left(self._places, (start, 0, 0))
        # Several tokens may share a place: the bytes of one character.
        while at > 0 and self._places[at - 1][1] > start:
            at -= 1
        found = []
        for first, last, index in self._places[at:]:
            if first >= end:
                break
            if last > start:
                found.append(index)
        return tuple(found)


def clean(text: str) -> str:
    """The text as tokenizers get it: a lone surrogate, which nothing can encode, is U+FFFD."""
    return _SURROGATES.sub("\ufffd", text)


def read_text(model: LoadedModel, text: str, stride: int) -> Reading:
    """Read one text, in windows where it is longer than the model takes.

    Raises:
        FieldError: nothing is left of the text after tokenisation.
        ModelError: the model or its tokenizer fails on it.
        Cancelled: the user pressed Stop.
    """
    row = Row(0, {"text": text})
    for item in read_rows(model, [row], lambda one: str(one["text"]), stride, label="Windows"):
        if isinstance(item, RowProblem):
            raise FieldError(item.message, hint="Give another text.")
        return item[1]
    raise FieldError("The text is empty.", hint="Write a word or more.")


def same_reading(model: LoadedModel, text: str, stride: int) -> Reading:
    """As :func:`read_text`, at once where this long text is what the model read last.

    For another look at it: a megabyte takes minutes. A model that the user gave as an object may
    have been trained in between, and reads again.

    Raises:
        FieldError, ModelError, Cancelled: as :func:`read_text`.
    """
    kept = _latest.get(model)
    if kept is not None and kept[:2] == (text, stride):
        return kept[2]
    reading = read_text(model, text, stride)
    _latest.pop(model, None)
    from_files = bool(getattr(model, "fingerprint", None))
    if len(reading.windows) > 1 and from_files:
        _latest[model] = (text, stride, reading)
    return reading


def read_rows(
    model: LoadedModel,
    rows: Iterable[Row],
    text: Callable[[Row], str],
    stride: int,
    *,
    label: str = "Rows",
) -> Iterator[tuple[Row, Reading] | RowProblem]:
    """Read the texts of rows in batches by length; a row comes when its last window is read.

    Args:
        model: A token classifier.
        rows: The rows, each read once.
        text: The text of a row.
        stride: Tokens that two windows of a long text share.
        label: Before the numbers of the progress bar.

    Yields:
        Rows with what was read, and the problems of others, as they are known.

    Raises:
        ModelError: the model gives no labels of tokens, or its tokenizer no places.
        Cancelled: the user pressed Stop.
    """
    # With its windows the row's own text: cleaning a megabyte once a window would take minutes.
    waiting: dict[int, tuple[str, list[Window]]] = {}
    for batch in model.batches(rows, text=text, stride=stride, label=label):
        if isinstance(batch, RowProblem):
            yield batch
            continue
        scores = _scores(model, batch)
        for number, sequence in enumerate(batch.sequences):
            row = sequence.row
            if row.index not in waiting:
                waiting[row.index] = (clean(text(row)), [])
            own, read = waiting[row.index]
            read.append(_window(model, sequence, own, scores[number, batch.place(number)]))
            if len(read) == sequence.windows:
                del waiting[row.index]
                yield row, _joined(own, read, label_names(model, scores.shape[-1]))


def label_names(model: LoadedModel, count: int) -> tuple[str, ...]:
    """Names of the model's labels, made up where it has not as many as its output."""
    names = model.labels
    return names if len(names) == count else tuple(f"LABEL_{index}" for index in range(count))


def _scores(model: LoadedModel, batch: RowBatch) -> NDArray[np.float32]:
    logits = batch.output.logits.float()
    if logits.dim() != 3:
        raise ModelError(
            f"{model.name} gives no labels of tokens: its output has {logits.dim()} axes.",
            hint="Give a model that AutoModelForTokenClassification loads, such as starter:ner.",
        )
    if not logits.isfinite().all():
        raise ModelError(
            f"{model.name} computed logits that are not finite numbers, in {model.dtype}.",
            hint="Load it with dtype='float32'; if that does not help, its weights are broken.",
        )
    return softmax(logits.cpu().numpy())


def _window(
    model: LoadedModel, sequence: RowSequence, text: str, scores: NDArray[np.float32]
) -> Window:
    if sequence.encoding is None:
        raise ModelError(
            f"The tokenizer of {model.name} does not say where its tokens are in the text.",
            hint="Give the fast tokenizer of this model (AutoTokenizer loads it where there is "
            "one).",
        )
    pieces = pieces_of(model.tokenizer, sequence.encoding, text)
    kept = [index for index, piece in enumerate(pieces) if piece is not None]
    return Window([piece for piece in pieces if piece is not None], scores[kept])


def _joined(text: str, windows: list[Window], labels: tuple[str, ...]) -> Reading:
    pieces, scores = join_windows(windows)
    places = sorted((window.start, window.end) for window in windows if window.pieces)
    return Reading(text, pieces, scores, labels, tuple(places))
