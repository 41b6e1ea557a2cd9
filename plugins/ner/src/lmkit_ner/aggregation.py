"""From the labels of tokens to spans of the text.

The five strategies are those of the token-classification pipeline of ``transformers``, and give its
spans and scores: "none" leaves the tokens, "simple" joins neighbours of one kind, and "first",
"max" and "average" first give all tokens of a word one label, that of its first token, of the token
that is surest, or of the mean of its tokens' probabilities.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

__all__ = ["STRATEGIES", "Entity", "Piece", "Strategy", "find_entities", "pieces_of", "softmax"]

Strategy = Literal["none", "simple", "first", "max", "average"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Piece:
    """A token of the text: where it is, and whether it goes on with the word before it."""

    start: int
    end: int
    subword: bool = False


@dataclass(frozen=True, slots=True)
class Entity:
    """A stretch ``text[start:end]`` of one kind, and how sure the model is of it."""

    start: int
    end: int
    label: str
    score: float


def softmax(logits: Any) -> Floats:
    """Probabilities along the last axis, in float32; the arithmetic of the pipeline."""
    values = np.asarray(logits, dtype=np.float32)
    exponents = np.exp(values - values.max(axis=-1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=-1, keepdims=True), dtype=np.float32)


def pieces_of(tokenizer: Any, encoding: Any, text: str) -> list[Piece | None]:
    """The tokens of an encoding; None for the special ones that the tokenizer added.

    Whether a token goes on with a word is told as the pipeline does: by the tokenizer's own mark
    for it where its vocabulary has one ("##ing" is longer than "ing"), else by whether a blank
    stands before it.

    Args:
        tokenizer: A fast tokenizer.
        encoding: What it made of ``text`` (``tokenizers.Encoding``).
        text: The text that the offsets count in.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    marked = bool(getattr(getattr(backend, "model", None), "continuing_subword_prefix", None))
    unknown = tokenizer.unk_token_id
    found: list[Piece | None] = []
    for token, identity, (start, end), side in zip(
        encoding.tokens, encoding.ids, encoding.offsets, encoding.sequence_ids, strict=True
    ):
        if side is None:
            found.append(None)
            continue
        if identity == unknown:
            subword = False
        elif marked:
            subword = len(token) != end - start
        else:
            subword = start > 0 and " " not in text[start - 1 : start + 1]
        found.append(Piece(start, end, subword))
    return found


def find_entities(
    pieces: Sequence[Piece],
    scores: Floats,
    labels: Sequence[str],
    strategy: Strategy = "first",
    *,
    ignore: Collection[str] = ("O",),
) -> list[Entity]:
    """The entities of a text, in reading order.

    Args:
        pieces: Its tokens, without special ones.
        scores: Probabilities of each token's labels, (tokens, labels).
        labels: Names of the labels, for instance ``B-PER``.
        strategy: How labels of tokens become one label.
        ignore: Labels that mark nothing.

    Returns:
        With "none" one entity a token, under the label as it is; else groups of neighbours of one
        kind, whose score is the mean over the tokens or words that they are made of.
    """
    if strategy in ("none", "simple"):
        best = scores.argmax(axis=-1) if len(scores) else np.zeros(0, dtype=int)
        units = [
            Entity(piece.start, piece.end, labels[label], float(scores[index, label]))
            for index, (piece, label) in enumerate(zip(pieces, best.tolist(), strict=True))
        ]
    else:
        units = [
            _word(pieces, scores, labels, strategy, first, last) for first, last in _words(pieces)
        ]
    found = units if strategy == "none" else list(_groups(units))
    return [entity for entity in found if entity.label not in ignore]


def _words(pieces: Sequence[Piece]) -> Iterator[tuple[int, int]]:
    """First token and end of each word."""
    first = 0
    for index in range(1, len(pieces)):
        if not pieces[index].subword:
            yield first, index
            first = index
    if pieces:
        yield first, len(pieces)


def _word(
    pieces: Sequence[Piece],
    scores: Floats,
    labels: Sequence[str],
    strategy: Strategy,
    first: int,
    last: int,
) -> Entity:
    """One label for the tokens ``first`` to ``last`` (excluded)."""
    own = scores[first:last]
    if strategy == "first":
        chosen = own[0]
    elif strategy == "max":
        chosen = own[int(own.max(axis=-1).argmax())]
    else:
        chosen = own.mean(axis=0)
    label = int(chosen.argmax())
    return Entity(pieces[first].start, pieces[last - 1].end, labels[label], float(chosen[label]))


def _groups(units: Sequence[Entity]) -> Iterator[Entity]:
    """Neighbours of one kind together; a label that begins with "B-" begins another group."""
    group: list[Entity] = []
    for unit in units:
        if group:
            begins, kind = _tag(unit.label)
            if begins or kind != _tag(group[-1].label)[1]:
                yield _joined(group)
                group = []
        group.append(unit)
    if group:
        yield _joined(group)


def _tag(label: str) -> tuple[bool, str]:
    if label[:2] in ("B-", "I-"):
        return label[0] == "B", label[2:]
    return False, label


def _joined(group: Sequence[Entity]) -> Entity:
    score = group[0].score
    if len(group) > 1:
        score = float(np.mean(np.asarray([one.score for one in group], dtype=np.float32)))
    return Entity(group[0].start, group[-1].end, group[0].label.split("-", 1)[-1], score)
