"""Texts of a run: rows checked, texts turned into token ids, batches made.

A text has an id that is a hash of what the models read, so that the teacher's cached answers find
it in any order and in any file.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

import torch

from lmkit.api import RowTable
from lmkit_distillation.alignment import NOWHERE, characters_read, shared_places
from lmkit_distillation.chat import ASSISTANT, USER, Turn, chat_ids, turns_of
from lmkit_distillation.errors import DataError
from lmkit_distillation.recipe import Data, Recipe

__all__ = [
    "IGNORED",
    "Batch",
    "Coder",
    "Counts",
    "Encoded",
    "Example",
    "collate",
    "epoch_order",
    "read_examples",
]

BLOCK = 1000
"""Rows read at once."""
IGNORED = -100
"""A label that no loss counts, as everywhere in transformers."""


@dataclass(frozen=True)
class Example:
    """One text with what is known of it.

    Attributes:
        text: What is read; the prompt, in generation with prompts; the user's last message in a
            chat.
        pair: A second text, or the completion.
        label: Class of the text; None where it is not known.
        words, tags: NER.
        before: Messages of a chat before the last.
        place: File and row, for messages.
    """

    text: str = ""
    pair: str = ""
    label: int | None = None
    words: tuple[str, ...] = ()
    tags: tuple[int, ...] | None = None
    before: tuple[Turn, ...] = ()
    place: str = ""

    @property
    def id(self) -> str:
        """Hash of what the models read."""
        read: list[object] = [self.text, self.pair, list(self.words)]
        read += [self.before] if self.before else []
        body = json.dumps(read, ensure_ascii=False)
        return blake2b(body.encode("utf-8", "surrogatepass"), digest_size=10).hexdigest()


def _rows(table: RowTable) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows with their places, as messages name them: counted from 0, as everywhere in lmkit."""
    names = list(table.columns)
    if len(names) == 2 and names[1] in ("0", "1"):
        # SST-2 and its like come without a header: its first row was read as one.
        yield f"{table.name}, first line", {"text": names[0], "label": names[1]}
        cells = {"text": names[0], "label": names[1]}
    else:
        cells = {name: name for name in names}
    for start in range(0, table.count, BLOCK):
        block = range(start, min(start + BLOCK, table.count))
        read = [table.read(column, block) for column in cells.values()]
        for row, values in zip(block, zip(*read, strict=True), strict=True):
            yield f"{table.name}, row {row}", dict(zip(cells, values, strict=True))


def read_examples(table: RowTable, recipe: Recipe, labels: Sequence[str]) -> list[Example]:
    """Read and check one data set.

    Args:
        table: Its rows.
        recipe: Says which columns hold what.
        labels: The teacher's classes, by index.

    Raises:
        DataError: a column is missing, or a label is none of the teacher's; names the row.
    """
    data = recipe.data
    known = {name: index for index, name in enumerate(labels)}
    folded = {name.casefold(): index for index, name in enumerate(labels)}

    def label_of(value: Any, place: str, column: str) -> int:
        if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()):
            value = int(value)  # pandas makes whole numbers floats where one is missing
        elif isinstance(value, str) and value not in known:
            value = re.sub(r"^\s*(\d+)\.0+\s*$", r"\1", value)  # and writes them so
        number = isinstance(value, int) or (isinstance(value, str) and value.strip().isdigit())
        if number and str(value) not in known and 0 <= int(value) < len(labels):
            return int(value)
        name = str(value).strip()
        found = known.get(name, folded.get(name.casefold()))
        if found is None:
            shown = ", ".join(labels[:12]) + (" ..." if len(labels) > 12 else "")
            raise DataError(
                f"{place}: {column} is {name!r:.60}, which is no label of the teacher ({shown}).",
                hint="The data must have the teacher's label set: its names, or their numbers.",
            )
        return found

    found = []
    for place, row in _rows(table):
        if recipe.task == "ner":
            found.append(_ner(row, data, place, label_of))
        elif data.chat:
            found.append(_chat(row, data, place))
        elif recipe.task == "generation" and data.prompt:
            completion = _optional(row, data.completion)
            found.append(Example(_cell(row, data.prompt, place), completion, place=place))
        else:
            pair = _cell(row, data.pair, place) if data.pair else ""
            raw = row.get(data.label)
            no_label = recipe.task == "generation" or _missing(raw)
            label = None if no_label else label_of(raw, place, data.label)
            found.append(Example(_cell(row, data.text, place), pair, label, place=place))
    if not found:
        raise DataError(f"{table.name} has no rows.")
    return found


def _ner(row: Mapping[str, Any], data: Data, place: str, label_of: Any) -> Example:
    words = _listed(row.get(data.tokens), place, data.tokens)
    if not words:
        raise DataError(f"{place}: {data.tokens} is empty.")
    raw = row.get(data.tags)
    if _missing(raw):
        return Example(words=words, place=place)
    given = list(raw) if isinstance(raw, list | tuple) else str(raw).split()
    if len(given) != len(words):
        raise DataError(f"{place} has {len(words)} {data.tokens} and {len(given)} {data.tags}.")
    tags = tuple(label_of(tag, place, data.tags) for tag in given)
    return Example(words=words, tags=tags, place=place)


def _chat(row: Mapping[str, Any], data: Data, place: str) -> Example:
    """A chat up to the user's last message, and the answer: in a column of its own or behind it."""
    turns = turns_of(_there(row, data.prompt, place), place, data.prompt)
    answer = ""
    if data.completion:
        value = row.get(data.completion)
        given = turns_of(value, place, data.completion) if value else ()
        if len(given) > 1:
            raise DataError(f"{place}: {data.completion} is {len(given)} messages, not an answer.")
        answer = given[0][1] if given else ""
    if not answer and len(turns) > 1 and turns[-1][0] == ASSISTANT:
        answer, turns = turns[-1][1], turns[:-1]
    *before, (role, text) = turns
    if role != USER:
        raise DataError(
            f"{place}: the last message of {data.prompt} is the {role}'s; an answer follows what "
            "the user says.",
            hint="Name the column of the answers, data.completion, or end with the user's message "
            "or with the assistant's answer to it.",
        )
    return Example(text, answer, before=tuple(before), place=place)


def _missing(value: Any) -> bool:
    """Whether a cell says nothing; pandas' own words for that are known by their names."""
    if isinstance(value, float):
        return math.isnan(value)
    if isinstance(value, str):
        return not value.strip()
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def _listed(value: Any, place: str, column: str) -> tuple[str, ...]:
    if value is None:
        raise DataError(f"{place} has no column {column!r}.")
    return tuple(map(str, value)) if isinstance(value, list | tuple) else tuple(str(value).split())


def _cell(row: Mapping[str, Any], column: str, place: str) -> str:
    value = _there(row, column, place)
    if not isinstance(value, str):
        raise DataError(f"{place}: {column} is {value!r:.40}, not a text.")
    if not value.strip():
        raise DataError(f"{place}: {column} is empty.")
    return value


def _there(row: Mapping[str, Any], column: str, place: str) -> Any:
    if column not in row:
        raise DataError(
            f"{place} has no column {column!r}; it has {', '.join(map(str, row))}.",
            hint="Name the column in the recipe: data.text = '...'.",
        )
    return row[column]


def _optional(row: Mapping[str, Any], column: str) -> str:
    value = row.get(column) if column else None
    return value if isinstance(value, str) else ""


# token ids


@dataclass(frozen=True)
class Encoded:
    """A text as one model reads it.

    Attributes:
        id: The example's.
        ids: Token ids.
        types: Token types, where the model has them.
        label: Classification.
        targets: For each place the class or the next token that is learnt there, or ``IGNORED``;
            empty in classification.
        counted: Places where teacher and student are compared; empty in classification.
        prompt: Tokens of the prompt.
        other: The same text as the teacher reads it, where its tokenizer is another one.
        read: Of two tokenizers alone: for each counted place how many characters of the completion,
            or of a text without prompt, were read up to it; ``NOWHERE`` where no count fits.
        shared: Places where both have read the same characters.
        sampled: Whether the student has just written it, so that no cache knows it.
        source: Of dev and test texts: the example as the data have it, for the report.
    """

    id: str
    ids: tuple[int, ...]
    types: tuple[int, ...] = ()
    label: int = IGNORED
    targets: tuple[int, ...] = ()
    counted: tuple[bool, ...] = ()
    prompt: int = 0
    other: Encoded | None = None
    read: tuple[int, ...] = ()
    shared: tuple[bool, ...] = ()
    sampled: bool = False
    source: Example | None = None


class Coder:
    """Turns examples into token ids for one tokenizer.

    Args:
        tokenizer: A fast tokenizer.
        recipe: Task and longest text.
        limit: Most tokens that the model reads.
    """

    def __init__(self, tokenizer: Any, recipe: Recipe, limit: int) -> None:
        self.tokenizer = tokenizer
        self.task = recipe.task
        self.chat = recipe.data.chat
        self.prompts_alone = recipe.made_up
        self.by_characters = recipe.by_characters
        self.max_length = min(recipe.data.max_length, limit)

    def __call__(self, example: Example) -> Encoded:
        """Encode one example."""
        if self.task == "classification":
            return self._text(example)
        if self.task == "ner":
            return self._words(example)
        return self._generation(example)

    def _text(self, example: Example) -> Encoded:
        pair = (example.pair,) if example.pair else ()
        made = self.tokenizer(example.text, *pair, truncation=True, max_length=self.max_length)
        label = IGNORED if example.label is None else example.label
        return Encoded(
            id=example.id,
            ids=tuple(made["input_ids"]),
            types=tuple(made.get("token_type_ids", ())),
            label=label,
        )

    def _words(self, example: Example) -> Encoded:
        made = self.tokenizer(
            list(example.words),
            is_split_into_words=True,
            truncation=True,
            max_length=self.max_length,
        )
        targets, counted = [], []
        before: int | None = None
        for word in made.word_ids():
            first = word is not None and word != before
            counted.append(first)
            known = first and example.tags is not None and word is not None
            targets.append(example.tags[word] if known and example.tags else IGNORED)
            before = word
        return Encoded(
            id=example.id,
            ids=tuple(made["input_ids"]),
            types=tuple(made.get("token_type_ids", ())),
            targets=tuple(targets),
            counted=tuple(counted),
        )

    def _generation(self, example: Example) -> Encoded:
        ids, prompt = self._prompted(example)
        made = self.of_ids(example.id, ids[: self.max_length], min(prompt, self.max_length))
        return self._with_characters(made, example) if self.by_characters else made

    def _prompted(self, example: Example) -> tuple[list[int], int]:
        if self.chat:
            turns = (*example.before, (USER, example.text))
            return chat_ids(self.tokenizer, turns, example.pair or None, example.place)
        ids = list(self.tokenizer(example.text)["input_ids"])
        prompt = 0
        if example.pair:
            prompt = len(ids)
            ids += self.tokenizer(example.pair, add_special_tokens=False)["input_ids"]
            end = self.tokenizer.eos_token_id
            if end is not None and ids[-1] != end:
                ids.append(end)
        elif self.prompts_alone:
            prompt = len(ids)
        return ids, prompt

    def _with_characters(self, made: Encoded, example: Example) -> Encoded:
        first = made.prompt
        if not first:  # a text by itself, behind what the tokenizer puts before it
            special = set(self.tokenizer.all_special_ids)
            first = next((i for i, one in enumerate(made.ids) if one not in special), 0)
        text = example.pair or example.text
        counts = characters_read(self.tokenizer, made.ids[first:], text)
        read = [
            counts[place + 1 - first] if counted and place + 1 >= first else NOWHERE
            for place, counted in enumerate(made.counted)
        ]
        return replace(made, read=tuple(read))

    def of_ids(self, name: str, ids: Sequence[int], prompt: int) -> Encoded:
        """A text of the ids given: the loss counts what comes after the prompt."""
        # Place i predicts token i + 1; the last place predicts nothing.
        counted = [i + 1 >= max(prompt, 1) and i + 1 < len(ids) for i in range(len(ids))]
        targets = [ids[i + 1] if one else IGNORED for i, one in enumerate(counted)]
        return Encoded(
            id=name,
            ids=tuple(ids),
            targets=tuple(targets),
            counted=tuple(counted),
            prompt=prompt,
        )


def matched(student: Encoded, teacher: Encoded) -> Encoded:
    """A text as two causal models read it, and where they are compared."""
    mine, theirs = shared_places(student.read, teacher.read)
    return replace(student, shared=mine, other=replace(teacher, shared=theirs))


def without_label(one: Encoded) -> Encoded:
    """The same text as if nothing were known of it."""
    return replace(one, label=IGNORED, targets=(IGNORED,) * len(one.targets))


# batches


@dataclass(frozen=True)
class Counts:
    """What the parts of a loss are divided by, over the whole optimiser step.

    Attributes:
        labelled: Places with a label.
        counted: Places where teacher and student are compared.
        tokens: Real tokens, padding left out.
    """

    labelled: int
    counted: int
    tokens: int

    @staticmethod
    def of(texts: Sequence[Encoded]) -> Counts:
        """Count some texts."""
        labelled = counted = tokens = 0
        for one in texts:
            tokens += len(one.ids)
            if one.targets or one.counted:
                labelled += sum(target != IGNORED for target in one.targets)
                counted += sum(one.shared or one.counted)
            else:
                labelled += one.label != IGNORED
                counted += 1
        return Counts(labelled, counted, tokens)


@dataclass
class Batch:
    """Some texts as tensors.

    Attributes:
        inputs: Of the student's ``forward``.
        teacher_inputs: Of the teacher's; the same object where both read the same tokens.
        targets: (N,) classes or next tokens at the counted places, ``IGNORED`` where unknown.
        counted: (B, L) bool, or None in classification, where each text counts once.
        mask: (B, L) bool: real tokens.
        texts: What was collated.
        shared: (N,) bool: which of the counted places are compared, where both models read tokens
            of their own; None where all are.
        teacher_counted: (B, L') bool: the same places in what the teacher reads.
    """

    inputs: dict[str, torch.Tensor]
    teacher_inputs: dict[str, torch.Tensor]
    targets: torch.Tensor
    counted: torch.Tensor | None
    mask: torch.Tensor
    texts: Sequence[Encoded] = field(default_factory=list)
    shared: torch.Tensor | None = None
    teacher_counted: torch.Tensor | None = None

    def to(self, device: torch.device | str) -> Batch:
        """The same on a device."""
        same = self.teacher_inputs is self.inputs
        inputs = {name: one.to(device) for name, one in self.inputs.items()}
        others = (
            inputs if same else {name: one.to(device) for name, one in self.teacher_inputs.items()}
        )
        return Batch(
            inputs=inputs,
            teacher_inputs=others,
            targets=self.targets.to(device),
            counted=None if self.counted is None else self.counted.to(device),
            mask=self.mask.to(device),
            texts=self.texts,
            shared=None if self.shared is None else self.shared.to(device),
            teacher_counted=(
                None if self.teacher_counted is None else self.teacher_counted.to(device)
            ),
        )


def collate(texts: Sequence[Encoded], pad: int, teacher_pad: int | None = None) -> Batch:
    """Pad some texts at the right to the longest of them."""
    inputs, mask = _padded(texts, pad)
    others, given = inputs, []
    if texts[0].other is not None:
        given = [one.other for one in texts if one.other is not None]
        others, _ = _padded(given, pad if teacher_pad is None else teacher_pad)
    if not texts[0].counted:
        targets = torch.tensor([one.label for one in texts])
        return Batch(inputs, others, targets, None, mask, texts)
    counted = torch.zeros_like(mask)
    for row, one in enumerate(texts):
        counted[row, : len(one.counted)] = torch.tensor(one.counted)
    flat = [t for one in texts for t, c in zip(one.targets, one.counted, strict=True) if c]
    made = Batch(inputs, others, torch.tensor(flat, dtype=torch.long), counted, mask, texts)
    if given:
        chosen = [s for one in texts for s, c in zip(one.shared, one.counted, strict=True) if c]
        made.shared = torch.tensor(chosen, dtype=torch.bool)
        made.teacher_counted = torch.zeros(others["input_ids"].shape, dtype=torch.bool)
        for row, one in enumerate(given):
            made.teacher_counted[row, : len(one.shared)] = torch.tensor(one.shared)
    return made


def _padded(texts: Sequence[Encoded], pad: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    longest = max(len(one.ids) for one in texts)
    ids = torch.full((len(texts), longest), pad, dtype=torch.long)
    mask = torch.zeros(len(texts), longest, dtype=torch.bool)
    for row, one in enumerate(texts):
        ids[row, : len(one.ids)] = torch.tensor(one.ids)
        mask[row, : len(one.ids)] = True
    inputs = {"input_ids": ids, "attention_mask": mask.long()}
    if texts[0].types:
        types = torch.zeros_like(ids)
        for row, one in enumerate(texts):
            types[row, : len(one.types)] = torch.tensor(one.types)
        inputs["token_type_ids"] = types
    return inputs, mask


_WINDOW = 32
"""Batches within which texts are sorted by length: less padding, and the order stays random."""


def epoch_order(lengths: Sequence[int], batch: int, seed: int, epoch: int) -> list[list[int]]:
    """The batches of an epoch: a function of its arguments alone, so nothing has to be saved.

    Texts are shuffled, sorted by length within windows of some batches, and the batches shuffled.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    order = torch.randperm(len(lengths), generator=generator).tolist()
    batches = []
    for start in range(0, len(order), batch * _WINDOW):
        window = sorted(order[start : start + batch * _WINDOW], key=lambda i: (lengths[i], i))
        batches += [window[i : i + batch] for i in range(0, len(window), batch)]
    shuffled = torch.randperm(len(batches), generator=generator).tolist()
    return [batches[i] for i in shuffled]
