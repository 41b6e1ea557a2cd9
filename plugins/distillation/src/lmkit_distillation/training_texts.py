"""The texts of a run: read, made more of, continued by the teacher, and turned into tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from lmkit.api import Tools
from lmkit_distillation.augment import Augmenter, plain_form
from lmkit_distillation.data import (
    Coder,
    Encoded,
    Example,
    matched,
    read_examples,
    without_label,
)
from lmkit_distillation.errors import DataError
from lmkit_distillation.kept_texts import KeptTexts
from lmkit_distillation.models import Pair
from lmkit_distillation.on_policy import prompt_of
from lmkit_distillation.peers import Peers
from lmkit_distillation.recipe import Recipe
from lmkit_distillation.sampling import Writer
from lmkit_distillation.sequences import continued, room_after, settings_of, write_targets

__all__ = ["Texts"]


@dataclass
class Texts:
    """Reads the data of a recipe for its two models.

    Attributes:
        recipe: What to read.
        tools: Reads files, lends models.
        pair: Teacher and student.
        coder: Of the student.
        other: Of a teacher with another tokenizer.
        folder: The run folder.
        teacher: Name and checksum of the teacher.
        device: Where models that make texts run.
        peers: The processes of the run: the leader makes texts, and all have them from it.
        log: Told of an event: its kind and values.
    """

    recipe: Recipe
    tools: Tools
    pair: Pair
    coder: Coder
    other: Coder | None
    folder: Path
    teacher: str
    device: torch.device
    peers: Peers
    log: Callable[..., None]

    def training(self) -> list[Encoded]:
        """What is learnt: ``train`` and ``unlabelled``, with the copies made of them.

        Raises:
            DataError: a row is not what its column promises, or lacks the completion it needs.
            DistillationError: a model that makes texts can't be had, or its texts not be kept.
        """
        found = self.peers.together(self._read)
        if self.recipe.data.augment.copies:
            found += self._augmented(found)
        if self.recipe.sequences.use:
            return self._by_teacher([example for example, _ in found])
        texts = self.peers.together(
            lambda: [
                self._encoded(one) if known else without_label(self._encoded(one))
                for one, known in found
            ]
        )
        if self.recipe.on_policy.lambda_:
            self._check_room([prompt_of(t) for t in texts], self.recipe.on_policy.max_new_tokens)
        if self.recipe.on_policy.lambda_ < 1:
            self._check_counted(texts)
        return texts

    def measured(self, path: str) -> list[Encoded]:
        """Dev or test texts in the order of the data, each with its source.

        The teacher writes the completions that they lack where it writes.

        Raises:
            DataError: as :meth:`training`.
        """
        examples = self.peers.together(lambda: self._examples(path))
        lacking = [i for i, one in enumerate(examples) if self._lacks(one)]
        if lacking and not self.recipe.sequences.use:
            raise DataError(
                f"{examples[lacking[0]].place} has no {self.recipe.data.completion or 'completion'}"
                ", by which both models would be measured.",
                hint="Dev and test texts need completions; training texts don't where the student "
                "writes them.",
            )
        found = self.peers.together(lambda: [self._encoded(one) for one in examples])
        written = self._by_teacher([examples[i] for i in lacking]) if lacking else []
        for i, one in zip(lacking, written, strict=True):
            found[i] = one
        return [replace(one, source=from_) for one, from_ in zip(found, examples, strict=True)]

    # reading

    def _read(self) -> list[tuple[Example, bool]]:
        data = self.recipe.data
        found = self._labelled(self._examples(data.train))
        found += [(one, False) for one in self._examples(data.unlabelled)]
        if (self.recipe.on_policy.lambda_ or data.chat) and not self.recipe.sequences.use:
            self._check_prompts([example for example, _ in found])
        return found

    def _examples(self, path: str) -> list[Example]:
        if not path:
            return []
        return read_examples(self.tools.rows(path), self.recipe, self.pair.labels)

    def _labelled(self, examples: Sequence[Example]) -> list[tuple[Example, bool]]:
        """Which labels may be used, where a share of them counts as known."""
        data = self.recipe.data
        if data.labelled >= 1:
            return [(one, True) for one in examples]
        generator = torch.Generator().manual_seed(self.recipe.seed)
        order = torch.randperm(len(examples), generator=generator).tolist()
        kept = set(order[: max(1, round(data.labelled * len(examples)))])
        return [
            (one, i in kept) for i, one in enumerate(examples) if i in kept or not data.drop_rest
        ]

    def _encoded(self, example: Example) -> Encoded:
        one = self.coder(example)
        if self.other is None:
            return one
        theirs = self.other(example)
        return matched(one, theirs) if self.recipe.by_characters else replace(one, other=theirs)

    def _lacks(self, example: Example) -> bool:
        return (self.recipe.made_up or self.recipe.data.chat) and not example.pair

    def _check_prompts(self, examples: Sequence[Example]) -> None:
        share = self.recipe.on_policy.lambda_
        if share == 1:
            return
        lacking = next((one for one in examples if self._lacks(one)), None)
        if lacking is not None:
            steps = f"on_policy.lambda is {share:g}: the other steps learn" if share else ""
            raise DataError(
                f"{lacking.place} has no {self.recipe.data.completion or 'completion'}, and "
                + (steps or "all steps learn")
                + " from completions.",
                hint="Set on_policy.lambda = 1, or sequences.use = true: the teacher writes them.",
            )

    # the teacher's sequences

    def _by_teacher(self, examples: Sequence[Example]) -> list[Encoded]:
        prompts = [self.coder(replace(one, pair="")) for one in examples]
        pair = self.pair
        writer = Writer.of(pair.teacher, pair.teacher_tokenizer)
        folder = Path(self.recipe.sequences.folder or self.folder / "sequences")
        kept = KeptTexts(folder, settings_of(self.recipe, self.teacher, writer))
        self._once(
            kept,
            lambda done: write_targets(prompts, writer, kept, self.recipe, self.coder, done),
            "the teacher writes",
        )
        self._check_room(prompts, self.recipe.sequences.max_new_tokens)
        return [continued(one, kept[one.id], self.coder, known=True) for one in prompts]

    def _check_counted(self, texts: Sequence[Encoded]) -> None:
        """Of causal texts: what is longer is cut at its end, and that is where completions are."""
        none = sum(bool(one.counted) and not any(one.counted) for one in texts)
        if none == len(texts):
            raise DataError(
                f"No text has a token to be learnt within data.max_length, {self.coder.max_length} "
                "tokens: its prompt fills it.",
                hint="Set data.max_length higher.",
            )
        if self.recipe.by_characters and not any(any(one.shared) for one in texts):
            raise DataError(
                "Student and teacher have nowhere read the same characters of a text, so that they "
                "can't be compared.",
                hint="A tokenizer that changes texts, to small letters for instance, does that.",
            )
        if none:
            words = f"{none} of {len(texts)} texts have no token to be learnt within "
            words += "data.max_length: nothing is learnt from them."
            self.peers.led(lambda: self.log("left-out", message=words))

    def _check_room(self, prompts: Sequence[Encoded], most: int) -> None:
        full = sum(room_after(one, self.coder, most) == 0 for one in prompts)
        if full == len(prompts):
            raise DataError(
                f"Every prompt fills data.max_length, {self.coder.max_length} tokens, so that "
                "nothing can be written after it.",
                hint="Set data.max_length higher.",
            )
        if full:
            words = f"{full} of {len(prompts)} prompts fill data.max_length: nothing is written "
            self.peers.led(lambda: self.log("left-out", message=words + "after them."))

    # copies

    def _augmented(self, found: Sequence[tuple[Example, bool]]) -> list[tuple[Example, bool]]:
        data = self.recipe.data
        folder = Path(data.augment.folder or self.folder / "augmented")
        maker = Augmenter(self.recipe, self.tools, folder, self.device, self.pair.labels)
        held_out = self.peers.together(
            lambda: {
                plain_form(one) for path in (data.dev, data.test) for one in self._examples(path)
            }
        )
        # A text that is in dev or test too is not made more of: its copies would be that text in
        # other words.
        able = [i for i, (one, _) in enumerate(found) if plain_form(one) not in held_out]
        sources = [found[i][0] for i in able]
        self._once(maker.kept, lambda done: maker.make(sources, done), "copies")
        made = maker.take(sources, held_out)
        leaks = len(found) - len(able)
        said = [f"{len(made.copies)} copies of {len(sources)} texts"]
        said += [f"{made.unfit} could not be made"] if made.unfit else []
        said += [f"{leaks} texts of dev or test had none"] if leaks else []
        said += [f"{made.held_out} that are texts of dev or test left out"] * bool(made.held_out)
        self.peers.led(lambda: self.log("augmented", message="; ".join(said) + "."))
        own = data.augment.labels == "copy"
        return [(copy, own and found[able[index]][1]) for index, copy in made.copies]

    def _once(
        self, kept: KeptTexts, make: Callable[[Callable[[int, int], None]], None], what: str
    ) -> None:
        """Let the leader make what is not there, and all processes have it, whatever their disk."""
        told = 0

        def done(count: int, total: int) -> None:
            nonlocal told
            if count == total or count - told >= total / 100:
                told = count
                self.log("prepare", what=what, done=count, total=total)

        def made() -> dict[str, Any]:
            if kept.damaged:
                self.log(
                    "damaged",
                    message=f"{kept.damaged} lines of {kept.file.name} are damaged; what they held "
                    "is made again.",
                )
            make(done)
            return kept.values

        kept.values = self.peers.led(made)
