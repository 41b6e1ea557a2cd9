"""Rows of a data set through a model in batches of about the same length.

A window of rows is tokenised at once, sorted by length and cut into batches; then the next window.
So padding is nearly what it would be had all rows been sorted, and memory holds one window. Which
rows make a batch depends on the rows alone: several processes that take turns with the batches
compute to the bit what one would.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lmkit.errors import DeviceMemoryError, ModelError
from lmkit.models.heads import unwrapped
from lmkit.models.limits import longest_input
from lmkit.models.segment import clean_text
from lmkit.rows import Row, RowBatch, RowProblem, RowSequence
from lmkit.work import current_work

if TYPE_CHECKING:
    from lmkit.models.loaded import HuggingFaceModel

__all__ = ["batches"]

WINDOW = 4_096
"""Rows that are sorted together."""
BLOCK = 8
"""Batches in a block of rows that have several sequences each."""
TOKENS = 32_768
"""Most tokens in a batch, padding included: a batch of long texts has fewer rows."""
CHARACTERS = 64
"""Texts are cut before the tokenizer sees them to so many characters a token that is read.

Megabytes take it seconds, and the model reads the first tokens only.
"""


@dataclass(slots=True)
class _Plan:
    """The sequences of one window, and what is wrong with other rows of it."""

    sequences: list[RowSequence] = field(default_factory=list)
    extras: list[dict[str, list[int]]] = field(default_factory=list)
    problems: list[RowProblem] = field(default_factory=list)


def batches(
    loaded: HuggingFaceModel,
    rows: Iterable[Row],
    *,
    text: str | Callable[[Row], str],
    pair: str | Callable[[Row], str | None] | None,
    batch_size: int,
    stride: int | None,
    total: int,
    label: str,
) -> Iterator[RowBatch | RowProblem]:
    """See :meth:`lmkit.api.LoadedModel.batches`."""
    work = current_work()
    rank, processes = work.share if work is not None else (0, 1)
    turn = done = 0
    if not total and isinstance(rows, Sized):
        total = len(rows)
    first, second = _reader(text), _reader(pair) if pair is not None else None
    named = text if isinstance(text, str) else "text"
    if work is not None:
        work.report(label, done, total)
    for window in _windows(rows):
        plan = _tokenised(loaded, window, first, second, stride, named)
        if rank == 0:
            yield from plan.problems
        done += len(plan.problems)
        # Of a single text its windows are counted: a megabyte has two thousand.
        alone = total == 1 and len(plan.sequences) > 1
        if alone:
            total = len(plan.sequences)
        for block in _blocks(plan, batch_size, _pads(loaded)):
            mine = turn % processes == rank
            turn += 1
            for members in block:
                if mine:
                    yield from _computed(loaded, plan, members, named)
                # A row in several windows counts with its last one.
                done += sum(
                    alone or plan.sequences[one].window == plan.sequences[one].windows - 1
                    for one in members
                )
                if work is not None:
                    work.report(label, done, total)


def _windows(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Rows that are sorted together; those of one number, which follow each other, stay so."""
    window: list[Row] = []
    for row in rows:
        if len(window) >= WINDOW and row.index != window[-1].index:
            yield window
            window = []
        window.append(row)
    if window:
        yield window


def _reader(column: str | Callable[[Row], Any]) -> Callable[[Row], Any]:
    if callable(column):
        return column
    return lambda row: row.get(column)


def _blocks(plan: _Plan, size: int, pads: bool) -> Iterator[list[list[int]]]:
    """Batches in blocks: a block is one process's, and all that is of one row is in one block.

    The longest come first: what does not fit shows at once, and the time left is no promise.
    """
    lengths = [len(one.ids) for one in plan.sequences]
    groups: dict[int, list[int]] = {}
    for place, sequence in enumerate(plan.sequences):
        groups.setdefault(sequence.row.index, []).append(place)
    if len(groups) == len(lengths):
        order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
        for members in _cut(order, lengths, size, pads):
            yield [members]
        return
    block: list[int] = []
    by_length = sorted(groups.values(), key=lambda one: max(lengths[i] for i in one), reverse=True)
    for group in [*by_length, []]:
        block.extend(group)
        if block and (not group or len(block) >= BLOCK * size):
            block.sort(key=lengths.__getitem__, reverse=True)
            yield list(_cut(block, lengths, size, pads))
            block = []


def _cut(
    order: Sequence[int], lengths: Sequence[int], size: int, pads: bool
) -> Iterator[list[int]]:
    """Batches of neighbours by falling length: at most ``size`` sequences, ``TOKENS`` tokens."""
    members: list[int] = []
    for one in order:
        full = bool(members) and (
            len(members) >= size or lengths[members[0]] * (len(members) + 1) > TOKENS
        )
        if members and (full or not pads):
            yield members
            members = []
        members.append(one)
    if members:
        yield members


def _pads(loaded: HuggingFaceModel) -> bool:
    """Whether the model can read texts of several lengths at once.

    GPT-2 and its kin find the last token of a text by the padding's id, which must be the
    tokenizer's.
    """
    padding = getattr(loaded.tokenizer, "pad_token_id", None)
    inner = unwrapped(loaded.model)
    if padding is None or "ForSequenceClassification" not in type(inner).__name__:
        return padding is not None
    return bool(getattr(inner.config, "pad_token_id", None) == padding)


def _side(loaded: HuggingFaceModel) -> str:
    """Where padding goes: a causal model numbers positions from the left, padding or not."""
    causal = "past_key_values" in inspect.signature(unwrapped(loaded.model).forward).parameters
    return "right" if causal else str(getattr(loaded.tokenizer, "padding_side", "right"))


def _tokenised(
    loaded: HuggingFaceModel,
    window: Sequence[Row],
    text: Callable[[Row], Any],
    pair: Callable[[Row], Any] | None,
    stride: int | None,
    named: str,
) -> _Plan:
    texts = [clean_text(text(row) or "") for row in window]
    pairs: list[str] | None = None
    if pair is not None:
        pairs = [clean_text(pair(row) or "") for row in window]
        pairs = pairs if any(pairs) else None
    plan = _Plan()
    with loaded.tokenizing() as tokenizer:
        limit, _ = longest_input(unwrapped(loaded.model), tokenizer)
        added = int(tokenizer.num_special_tokens_to_add(pair=pairs is not None))
        # A limit smaller than the special tokens themselves would be refused.
        limit = max(limit, added + 1)
        fast = bool(getattr(tokenizer, "is_fast", False))
        keywords: dict[str, Any] = {"max_length": limit, "truncation": True, "verbose": False}
        if stride is not None and fast:
            shared = max(0, min(stride, limit - added - 1))
            keywords |= {"return_overflowing_tokens": True, "stride": shared}
        cuts = stride is None and getattr(tokenizer, "truncation_side", "right") == "right"
        most = CHARACTERS * limit if cuts else None
        short = [one[:most] for one in texts]
        short_pairs = pairs and [one[:most] for one in pairs]
        whole = _call(tokenizer, short, short_pairs, keywords)
        again: list[int] = list(range(len(window)))
        if whole is not None:
            # Blank megabytes have few tokens: then what was cut away is looked at after all.
            counts = [len(ids) for ids in whole["input_ids"]]
            again = (
                [
                    place
                    for place in range(len(window))
                    if (short[place] != texts[place] or (pairs and short_pairs != pairs))
                    and counts[place] < limit
                ]
                if most is not None
                else []
            )
            _read(plan, window, whole, set(again), fast)
        for place in again:
            other = None if pairs is None else [pairs[place]]
            alone = _call(tokenizer, [texts[place]], other, keywords)
            if alone is None:
                message = f"The tokenizer of {loaded.name} fails on this text."
                plan.problems.append(RowProblem(window[place].index, named, message))
            else:
                _read(plan, [window[place]], alone, set(), fast)
        special = set(getattr(tokenizer, "all_special_ids", None) or ())
    return _without_empty(plan, loaded.name, named, special)


def _call(tokenizer: Any, texts: list[str], pairs: list[str] | None, keywords: Any) -> Any:
    """What the tokenizer makes of several texts; None where it fails on one of them."""
    try:
        return tokenizer(texts, pairs, **keywords) if pairs else tokenizer(texts, **keywords)
    except Exception:
        return None


def _read(
    plan: _Plan, window: Sequence[Row], encoded: Any, but: Collection[int], fast: bool
) -> None:
    """Put what the tokenizer made of a window into the plan, but for some of its rows."""
    ids = encoded["input_ids"]
    owners = list(encoded.get("overflow_to_sample_mapping") or range(len(ids)))
    windows = Counter(owners)
    seen: Counter[int] = Counter()
    keys = [
        key
        for key, value in encoded.items()
        if key != "input_ids" and isinstance(value, list) and value and isinstance(value[0], list)
    ]
    for place, owner in enumerate(owners):
        if owner in but:
            continue
        encoding = encoded.encodings[place] if fast else None
        left = sum(len(rest.ids) for rest in encoding.overflowing) if encoding is not None else 0
        plan.sequences.append(
            RowSequence(
                row=window[owner],
                ids=tuple(ids[place]),
                window=seen[owner],
                windows=windows[owner],
                total=len(ids[place]) + left,
                encoding=encoding,
            )
        )
        seen[owner] += 1
        plan.extras.append({key: encoded[key][place] for key in keys})


def _without_empty(plan: _Plan, name: str, column: str, special: Collection[int]) -> _Plan:
    """The plan without the rows of which nothing is left but special tokens."""
    kept = _Plan(problems=plan.problems)
    known = frozenset(special)
    for sequence, extra in zip(plan.sequences, plan.extras, strict=True):
        empty = known.issuperset(sequence.ids)
        # A special token that stands in the text is a token of the text.
        if empty and sequence.sides:
            empty = all(side is None for side in sequence.sides)
        if empty:
            message = f"Nothing is left of the text after tokenisation by {name}."
            kept.problems.append(RowProblem(sequence.row.index, column, message))
            continue
        kept.sequences.append(sequence)
        kept.extras.append(extra)
    return kept


def _computed(
    loaded: HuggingFaceModel, plan: _Plan, members: list[int], named: str
) -> Iterator[RowBatch | RowProblem]:
    """One batch; in halves where memory is short, row by row where one of them fails."""
    try:
        yield _forward(loaded, plan, members)
    except DeviceMemoryError:
        if len(members) == 1:
            raise
        middle = len(members) // 2
        yield from _computed(loaded, plan, members[:middle], named)
        yield from _computed(loaded, plan, members[middle:], named)
    except ModelError as error:
        if len(members) > 1:
            for one in members:
                yield from _computed(loaded, plan, [one], named)
            return
        yield RowProblem(plan.sequences[members[0]].row.index, named, error.message)


def _forward(loaded: HuggingFaceModel, plan: _Plan, members: list[int]) -> RowBatch:
    """Pad the members to one length and run the model over them."""
    tokenizer = loaded.tokenizer
    side = _side(loaded)
    longest = max(len(plan.sequences[one].ids) for one in members)
    fills = {
        "input_ids": getattr(tokenizer, "pad_token_id", None) or 0,
        "token_type_ids": getattr(tokenizer, "pad_token_type_id", 0),
    }
    inputs: dict[str, list[list[int]]] = {}
    for one in members:
        given = {"input_ids": list(plan.sequences[one].ids), **plan.extras[one]}
        for key, values in given.items():
            fill = [fills.get(key, 0)] * (longest - len(values))
            padded = [*fill, *values] if side == "left" else [*values, *fill]
            inputs.setdefault(key, []).append(padded)
    output = loaded.run_batch(inputs)
    return RowBatch(tuple(plan.sequences[one] for one in members), output, side)
