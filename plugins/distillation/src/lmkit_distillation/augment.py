"""Further training texts made of those that are there; dev and test texts are never touched.

What is made is kept on disk by the source's id and the settings, and drawn by the seed and that id:
the same in any order, and after a kill.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from lmkit.api import Tools
from lmkit_distillation.data import Example
from lmkit_distillation.errors import DistillationError
from lmkit_distillation.kept_texts import KeptTexts
from lmkit_distillation.models import longest
from lmkit_distillation.recipe import Recipe
from lmkit_distillation.rewriting import rewrite
from lmkit_distillation.sampling import Writer, seed_of
from lmkit_distillation.word_replacement import WordReplacer, spans_of_words

__all__ = ["Augmented", "Augmenter", "plain_form"]


@dataclass(frozen=True)
class Augmented:
    """What came of some sources.

    Attributes:
        copies: Each with the index of its source.
        unfit: Copies that could not be made: no word to replace, or the writer's answer was none.
        held_out: Sources and copies left out because dev or test have the same text.
    """

    copies: list[tuple[int, Example]]
    unfit: int
    held_out: int


class Augmenter:
    """Makes the copies of a recipe.

    Args:
        recipe: Says how many and how.
        tools: Lends the model that makes them.
        folder: Where they are kept.
        device: Where that model runs.
        labels: The teacher's classes; words tagged ``O`` belong to no entity.

    Raises:
        DistillationError: tags are to be kept, and there is no such label.
    """

    def __init__(
        self,
        recipe: Recipe,
        tools: Tools,
        folder: Path,
        device: torch.device,
        labels: Sequence[str],
    ) -> None:
        self.recipe, self.tools, self.device = recipe, tools, device
        self._outside = list(labels).index("O") if "O" in labels else None
        if recipe.task == "ner" and recipe.data.augment.labels == "copy" and self._outside is None:
            raise DistillationError(
                "The teacher has no label O, so it is not known which words belong to no entity "
                "and may be replaced.",
                hint="Set data.augment.labels = 'teacher'.",
            )
        self.wish = recipe.data.augment
        self.kept = KeptTexts(folder, self._settings())

    def make(self, sources: Sequence[Example], done: Callable[[int, int], None]) -> None:
        """Make the copies that are not there yet.

        Raises:
            ModelError: the model can't be loaded.
            DistillationError: it can't do this, or memory ran out.
            RunFolderError: the disk is full.
        """
        each = list({self._key(one): one for one in sources}.items())
        if self.wish.masked:
            self._replace_words([(k, one) for k, one in each if k not in self.kept], done)
        elif any(f"{key}/{n}" not in self.kept for key, _ in each for n in range(self.wish.copies)):
            self._rewrite([(key, one.text) for key, one in each], done)

    def take(self, sources: Sequence[Example], held_out: Collection[str]) -> Augmented:
        """The copies of some sources, once they are made.

        Args:
            sources: Of :meth:`make`.
            held_out: :func:`plain_form` of the texts that must not be learnt.
        """
        copies: list[tuple[int, Example]] = []
        seen = {plain_form(one) for one in sources}
        unfit = dropped = 0
        for index, source in enumerate(sources):
            for number, made in enumerate(self._made(self._key(source))):
                if not made:
                    unfit += 1
                    continue
                copy = self._copy(source, made, number)
                form = plain_form(copy)
                if form in held_out:
                    dropped += 1
                elif form not in seen:
                    seen.add(form)
                    copies.append((index, copy))
        return Augmented(copies, unfit, dropped)

    def _made(self, key: str) -> list[str | list[str]]:
        if self.wish.masked:
            made: list[str | list[str]] = list(self.kept[key])
            return made + [""] * (self.wish.copies - len(made))
        return [self.kept[f"{key}/{number}"] for number in range(self.wish.copies)]

    def _copy(self, source: Example, made: str | list[str], number: int) -> Example:
        place = f"{source.place}, copy {number}"
        own = self.wish.labels == "copy"
        if isinstance(made, list):
            return Example(words=tuple(made), tags=source.tags if own else None, place=place)
        pair = "" if self.recipe.task == "generation" else source.pair
        return replace(
            source, text=made, pair=pair, label=source.label if own else None, place=place
        )

    def _key(self, source: Example) -> str:
        """Names a source: by what is read, and where tags say which words may change, by them."""
        tags = self._changeable(source) if source.words else None
        return source.id if tags is None else f"{source.id}-{seed_of(*tags):x}"

    def _changeable(self, source: Example) -> list[bool] | None:
        """Which words of a tagged text may change; None: all.

        Where the tags are kept, words of entities stay: no other word is known to be of their kind.
        """
        if self.wish.labels != "copy" or source.tags is None or self._outside is None:
            return None
        return [tag == self._outside for tag in source.tags]

    def _settings(self) -> list[object]:
        wish = self.wish
        common = [self.recipe.seed, wish.copies]
        if wish.masked:
            return ["words", wish.masked, wish.probability, wish.top, *common]
        return ["rewrite", wish.writer, wish.temperature, *common]

    def _replace_words(
        self, sources: Sequence[tuple[str, Example]], done: Callable[[int, int], None]
    ) -> None:
        if not sources:
            return
        lent = self.tools.model(self.wish.masked, "AutoModelForMaskedLM", device=str(self.device))
        with lent.hold():
            lent.model.eval()
            replacer = WordReplacer(lent.model, lent.tokenizer, self.wish, longest(lent.model))
            for number, (key, source) in enumerate(sources, 1):
                self.kept.add([(key, self._variants(source, key, replacer))])
                done(number, len(sources))

    def _variants(
        self, source: Example, key: str, replacer: WordReplacer
    ) -> list[str] | list[list[str]]:
        seed = seed_of(self.recipe.seed, "words", key)
        if not source.words:
            spans = spans_of_words(source.text)
            drawn = replacer(source.text, spans, seed)
            return [_replaced(source.text, spans, one) for one in drawn if one]
        text, spans = " ".join(source.words), []
        start = 0
        for word in source.words:
            spans.append((start, start + len(word)))
            start += len(word) + 1
        able = self._changeable(source)
        chosen = [i for i in range(len(spans)) if able is None or able[i]]
        drawn = replacer(text, [spans[i] for i in chosen], seed)
        made = []
        for one in drawn:
            words = list(source.words)
            for place, word in one.items():
                words[chosen[place]] = word
            if one:
                made.append(words)
        return made

    def _rewrite(self, texts: Sequence[tuple[str, str]], done: Callable[[int, int], None]) -> None:
        lent = self.tools.model(self.wish.writer, "AutoModelForCausalLM", device=str(self.device))
        with lent.hold():
            writer = Writer.of(lent.model, lent.tokenizer)
            rewrite(
                texts, writer, lent.tokenizer, self.kept, self.wish, self.recipe.seed,
                longest(lent.model), done,
            )  # fmt: skip


def plain_form(example: Example) -> str:
    """What two texts share that differ in spaces and capitals alone."""
    turns = (content for _, content in example.before)
    parts = (*turns, example.text, example.pair, " ".join(example.words))
    return "\x1f".join(" ".join(part.split()).casefold() for part in parts)


def _replaced(text: str, spans: Sequence[tuple[int, int]], words: dict[int, str]) -> str:
    parts, at = [], 0
    for i, word in sorted(words.items()):
        start, end = spans[i]
        parts += [text[at:start], word]
        at = end
    return "".join([*parts, text[at:]])
