"""Which number of a model's output is attributed: a label, a label of tokens, a next token."""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmkit.api import FieldError, ModelPass, Token

if TYPE_CHECKING:
    import torch

__all__ = [
    "Target",
    "find_target",
    "kind_of",
    "place_text",
    "positions_of",
    "target_text",
    "why_not",
]

_KINDS = {
    "ForSequenceClassification": "label",
    "ForTokenClassification": "token label",
    "ForCausalLM": "next token",
    "LMHeadModel": "next token",
    "ForConditionalGeneration": "next token",
    "ForSeq2SeqLM": "next token",
    "ForMaskedLM": "masked token",
}
_SHOWN = 12
_PREFIX = re.compile(r"^[BIESLU][-_](?=.)")


def kind_of(name: str) -> str:
    """What a model of this class puts out; empty where there is nothing to attribute.

    One of ``"label"``, ``"token label"``, ``"next token"``, ``"masked token"``.
    """
    return next((kind for ending, kind in _KINDS.items() if name.endswith(ending)), "")


def why_not(name: str) -> str:
    """Why a model of this class has nothing to attribute; empty where it has."""
    if kind_of(name):
        return ""
    return (
        f"A {name} puts out no label and no next token that could be attributed; open the model "
        "with a head that does."
    )


def target_text(target: str | int | None, kind: str) -> str:
    """A target as a user types it; None is none, a whole number a label's index.

    Raises:
        FieldError: it is neither text nor a number, or a number where a token is asked for.
    """
    text = _typed("Target", target, "a label, its index or a token, as text")
    if text and not isinstance(target, str) and kind in ("next token", "masked token"):
        raise FieldError(
            f"Target: {text} may be a token's text or its id.",
            hint=f"Say target='{text}' for the text, target='#{text}' for the id.",
        )
    return text


def place_text(at: str | int | None) -> str:
    """A place as a user types it; None is none.

    Raises:
        FieldError: it is neither text nor a whole number.
    """
    return _typed("At", at, "a token's number, a range such as '5-7', or a piece of the text")


def _typed(name: str, value: object, wanted: str) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if hasattr(value, "__index__") and not isinstance(value, bool):
        return str(operator.index(value))
    raise FieldError(f"{name} cannot be {repr(value)[:60]}; it takes {wanted}.")


@dataclass(frozen=True)
class Target:
    """One number for each text: the mean over positions of what each gives its class.

    Attributes:
        title: In words.
        rows: Positions in the logits; empty where a text has one row.
        classes: Index of the class at each position (one, where there are no rows).
        independent: Classes are independent: a probability is a sigmoid, not a share.
        regression: The output is a value, and no probability.
        local: The model gives the logits of ``rows`` alone.
    """

    title: str
    rows: tuple[int, ...]
    classes: tuple[int, ...]
    independent: bool = False
    regression: bool = False
    local: bool = False

    def read(self, output: Any, *, probability: bool = False) -> torch.Tensor:
        """The number for each text of a batch: (B,) float32."""
        import torch

        logits = output.logits.float()
        if not self.rows:
            logits = logits[:, None]
        elif not self.local:
            logits = logits[:, list(self.rows)]
        if probability and not self.regression:
            logits = logits.sigmoid() if self.independent else logits.softmax(-1)
        chosen = torch.tensor(self.classes, device=logits.device).expand(logits.shape[0], -1)
        value: torch.Tensor = logits.gather(-1, chosen[:, :, None])[:, :, 0].mean(1)
        return value


def positions_of(at: str, passed: ModelPass, kind: str) -> tuple[int, ...]:
    """The positions that a user names: ``5``, ``5-7``, or a piece of the text.

    Args:
        at: As typed; empty for none.
        passed: The pass.
        kind: Of :func:`kind_of`; positions of a language model with a decoder are the decoder's.

    Raises:
        FieldError: there is no such token or piece, or a sequence classifier has no positions.
    """
    text = at.strip()
    if not text:
        return ()
    if kind == "label":
        raise FieldError(
            "At: this model gives one label for the whole text, not one at a token.",
            hint="Leave it empty.",
        )
    own = kind == "next token" and bool(passed.decoder_tokens)
    tokens = passed.decoder_tokens if own else passed.tokens
    numbers = re.fullmatch(r"(-?\d{1,9})(?:\s*[-–]\s*(\d{1,9}))?", text)
    if numbers:
        first = int(numbers[1])
        first += len(tokens) if first < 0 else 0
        last = int(numbers[2]) if numbers[2] else first
        if not 0 <= first <= last < len(tokens):
            raise FieldError(
                f"At: there is no token {text[:40]}; there are {len(tokens)}.",
                hint=f"Counted from 0 to {len(tokens) - 1}.",
            )
        found = tuple(range(first, last + 1))
    else:
        found = () if own else _of_piece(text, passed)
        if not found:
            raise FieldError(
                f"At: {text[:60]!r} does not stand in the text.",
                hint="Write a token's number, a range such as 5-7, or a piece of the text.",
            )
    if kind == "next token" and len(found) > 1:
        found = found[-1:]  # what follows the piece
    return found


def _of_piece(piece: str, passed: ModelPass) -> tuple[int, ...]:
    text = passed.text
    start = text.find(piece)
    if start < 0:
        start = text.lower().find(piece.lower())
    if start < 0:
        return ()
    end = start + len(piece)
    return tuple(
        index
        for index, token in enumerate(passed.tokens)
        if not token.special and token.start < end and token.end > start
    )


def find_target(
    passed: ModelPass, kind: str, asked: str, rows: tuple[int, ...], logits: torch.Tensor
) -> Target:
    """The target that a user names, or the predicted one.

    Args:
        passed: The pass.
        kind: Of :func:`kind_of`.
        asked: A label, or a token; empty for what the model predicts.
        rows: Of :func:`positions_of`.
        logits: The model's own for the text: (labels,) or (positions, labels).

    Raises:
        FieldError: the model has no such label or token.
    """
    if kind == "label":
        return _label(passed, asked, logits)
    if kind == "token label":
        return _token_label(passed, asked, rows, logits)
    return _token(passed, kind, asked, rows, logits)


def default_row(passed: ModelPass, kind: str) -> int:
    """Where a language model is asked without ``at``: the last position, or the first mask.

    Raises:
        FieldError: a masked model's text has no mask.
    """
    if kind == "next token":
        return len(passed.decoder_tokens or passed.tokens) - 1
    mask = getattr(passed.model.tokenizer, "mask_token", None)
    for index, token in enumerate(passed.tokens):
        if mask is not None and token.raw == mask:
            return index
    raise FieldError(
        f"At: the text has no {mask or 'mask'}, so say which token is to be predicted.",
        hint=f"Write {mask or 'a mask'} into the text, or a token's number here.",
    )


def _label(passed: ModelPass, asked: str, logits: torch.Tensor) -> Target:
    config: Any = passed.model.model.config
    names = _names(passed, logits.shape[-1])
    index = _named(asked, names) if asked.strip() else int(logits.argmax())
    regression = config.problem_type == "regression"
    # As transformers' own pipeline has it: one output is a yes or no.
    many = config.problem_type == "multi_label_classification" or len(names) == 1
    what = "value" if regression else "label"
    return Target(f"{what} {names[index]}", (), (index,), many and not regression, regression)


def _token_label(
    passed: ModelPass, asked: str, rows: tuple[int, ...], logits: torch.Tensor
) -> Target:
    names = _names(passed, logits.shape[-1])
    predicted = logits.argmax(-1).tolist()
    if not rows:
        rows = _first_entity(passed.tokens, names, predicted, logits)
    if not asked.strip():
        classes = tuple(predicted[row] for row in rows)
        label = _PREFIX.sub("", names[classes[0]])
    else:
        label = asked.strip()
        if label.lower() in {name.lower() for name in names} or (
            label.isdigit() and int(label) < len(names)
        ):
            classes = (_named(label, names),) * len(rows)
            label = names[classes[0]]
        else:
            kinds = {_PREFIX.sub("", name) for name in names}
            label = next((kind for kind in kinds if kind.lower() == label.lower()), "")
            if not label:
                _named(asked, [*names, *sorted(kinds - set(names))])
            first, inside = _parts(label, names)
            classes = (first, *((inside,) * (len(rows) - 1)))
    words = _said(passed.tokens, rows)
    return Target(f"label {label} of {words}", rows, classes)


def _parts(kind: str, names: Sequence[str]) -> tuple[int, int]:
    """The classes of an entity's first and later tokens in a tagging scheme."""

    def first_of(prefixes: str) -> int:
        wanted = [f"{p}{sep}{kind}" for p in prefixes for sep in "-_"] + [kind]
        return next(i for want in wanted for i, name in enumerate(names) if name == want)

    return first_of("BUSIEL"), first_of("IELBSU")


def _first_entity(
    tokens: Sequence[Token], names: Sequence[str], predicted: Sequence[int], logits: torch.Tensor
) -> tuple[int, ...]:
    """The first predicted entity; without one, the token that comes closest to being one."""
    outside = [index for index, name in enumerate(names) if name.upper() in ("O", "OUTSIDE")]
    kinds = [_PREFIX.sub("", names[index]) for index in predicted]
    real = [i for i, token in enumerate(tokens) if not token.special]
    start = next((i for i in real if predicted[i] not in outside), None)
    if start is None:
        inside = logits.softmax(-1)
        inside[:, outside] = 0
        return (max(real, key=lambda i: float(inside[i].max())),)
    end = start + 1
    while (
        end < len(tokens)
        and not tokens[end].special
        and kinds[end] == kinds[start]
        and predicted[end] not in outside
        and not (names[predicted[end]].startswith("B") and tokens[end].word != tokens[end - 1].word)
    ):
        end += 1
    return tuple(range(start, end))


def _token(
    passed: ModelPass, kind: str, asked: str, rows: tuple[int, ...], logits: torch.Tensor
) -> Target:
    tokenizer = passed.model.tokenizer
    row = rows[0]
    own = kind == "next token" and bool(passed.decoder_tokens)
    tokens = passed.decoder_tokens if own else passed.tokens
    identity = (
        _vocabulary(tokenizer, asked, logits.shape[-1]) if asked else int(logits[-1].argmax())
    )
    place = f"after token {row}" if kind == "next token" else f"at token {row}"
    said = f" ({_quoted(tokens[row].text)})" if row < len(tokens) else ""
    name = _quoted(str(tokenizer.decode([identity])))
    what = "next token" if kind == "next token" else "token"
    return Target(f"{what} {name} {place}{said}", (row,), (identity,))


def _vocabulary(tokenizer: Any, asked: str, size: int) -> int:
    """The id of one token: as text, as it stands in the vocabulary, or as ``#id``."""
    number = re.fullmatch(r"#(\d{1,9})", asked.strip())
    if number and int(number[1]) < size:
        return int(number[1])
    tries = [asked] if asked.startswith(" ") else [asked, f" {asked}"]
    pieces: list[int] = []
    for text in tries:
        ids = [int(i) for i in tokenizer.encode(text, add_special_tokens=False)]
        if len(ids) == 1 and ids[0] < size and ids[0] != tokenizer.unk_token_id:
            return ids[0]
        pieces = pieces or ids
    known = tokenizer.get_vocab().get(asked.strip())
    if known is not None and known < size:
        return int(known)
    parts = " | ".join(_quoted(str(tokenizer.decode([i]))) for i in pieces[:_SHOWN])
    raise FieldError(
        f"Target: {asked[:60]!r} is not one token of this model.",
        hint=f"It reads {parts}: give one of them, or a token's id as #123."
        if len(pieces) > 1
        else "Give a token's text, or its id as #123.",
    )


def _named(asked: str, names: Sequence[str]) -> int:
    wanted = asked.strip()
    if wanted in names:
        return list(names).index(wanted)
    same = [index for index, name in enumerate(names) if name.lower() == wanted.lower()]
    if len(same) == 1:
        return same[0]
    if wanted.isdigit() and int(wanted) < len(names):
        return int(wanted)
    near = difflib.get_close_matches(wanted, names, n=1)
    shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    raise FieldError(
        f"Target: this model has no label {wanted[:60]!r}.",
        hint=(f"Did you mean {near[0]}? " if near else "") + f"There are: {shown}.",
    )


def _names(passed: ModelPass, count: int) -> list[str]:
    labels = list(passed.model.labels)
    return labels if len(labels) == count else [f"LABEL_{index}" for index in range(count)]


def _said(tokens: Sequence[Token], rows: Sequence[int]) -> str:
    text = "".join(
        ("" if place == 0 or tokens[row].start == tokens[row - 1].end else " ")
        + tokens[row].text.strip()
        for place, row in enumerate(rows)
    )
    where = f"token {rows[0]}" if len(rows) == 1 else f"tokens {rows[0]}-{rows[-1]}"
    return f"{_quoted(text)} ({where})"


def _quoted(text: str) -> str:
    shown = text if len(text) <= 40 else text[:39] + "…"
    return f'"{shown}"'
