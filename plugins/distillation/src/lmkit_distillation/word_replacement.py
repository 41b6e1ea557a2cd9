"""Words replaced by others that fit, as TinyBERT made its training texts.

Jiao et al. 2020, arXiv:1909.10351, algorithm 1. A word of one token is masked, and the
masked-language model's most probable whole words stand in for it. For a word of several pieces the
paper takes the nearest words by GloVe; here they are nearest by the model's own input embeddings
(the mean of the pieces), so that no further vectors are needed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch

from lmkit_distillation.errors import DistillationError
from lmkit_distillation.recipe import Augment

__all__ = ["WordReplacer", "spans_of_words"]

_WORD = re.compile(r"\w+(?:['’]\w+)*")
_ROWS = 32
"""Masked variants of a text that are read at a time."""


def spans_of_words(text: str) -> list[tuple[int, int]]:
    """Start and end of each word; what is between words stays as it is."""
    return [found.span() for found in _WORD.finditer(text)]


class WordReplacer:
    """Makes variants of a text.

    Args:
        model: A masked-language model.
        tokenizer: Its fast tokenizer, with a mask token.
        wish: Probability, candidates, copies.
        longest: Tokens that the model reads; words behind them stay.

    Raises:
        DistillationError: the tokenizer has no mask token, or no whole words.
    """

    def __init__(self, model: Any, tokenizer: Any, wish: Augment, longest: int) -> None:
        if tokenizer.mask_token_id is None:
            raise DistillationError(
                f"{wish.masked} has no mask token.",
                hint="data.augment.masked must be a masked-language model, for instance a BERT.",
            )
        self.model, self.tokenizer, self.wish, self.longest = model, tokenizer, wish, longest
        self.ids, self.words = _whole_words(tokenizer)
        if not self.words:
            raise DistillationError(f"The tokenizer of {wish.masked} has no whole words.")
        table: torch.Tensor = model.get_input_embeddings().weight.detach().float()
        self._table = table
        self._nearby = torch.nn.functional.normalize(table[self.ids], dim=-1)

    def __call__(
        self, text: str, spans: Sequence[tuple[int, int]], seed: int
    ) -> list[dict[int, str]]:
        """Draw the copies of a text.

        Args:
            text: All of it.
            spans: Words that may be replaced.
            seed: Of the draws.

        Returns:
            For each copy, which spans are replaced, and by what. A copy in which chance would leave
            every word as it is has one replaced, since it would be no copy; none where no word can
            be.
        """
        read = self.tokenizer(
            text, return_offsets_mapping=True, truncation=True, max_length=self.longest
        )
        tokens = [_tokens_of(span, read["offset_mapping"]) for span in spans]
        able = [
            i
            for i, (start, end) in enumerate(spans)
            if tokens[i] and any(map(str.isalpha, text[start:end]))
        ]
        if not able:
            return []
        # As many numbers for each copy: one copy more changes none of those before it.
        generator = torch.Generator().manual_seed(seed)
        size = self.wish.copies, 2 * len(able) + 1
        drawn: list[list[tuple[int, float]]] = []
        for *pairs, last in torch.rand(size, generator=generator, dtype=torch.float64).tolist():
            numbers = list(zip(pairs[::2], pairs[1::2], strict=True))
            picked = [
                (i, which)
                for i, (chance, which) in zip(able, numbers, strict=True)
                if chance < self.wish.probability
            ]
            one = int(last * len(able))
            drawn.append(picked or [(able[one], numbers[one][1])])
        wanted = sorted({i for copy in drawn for i, _ in copy})
        found = self._candidates(text, read["input_ids"], spans, tokens, wanted)
        return [
            {
                i: _like(text[slice(*spans[i])], found[i][int(which * len(found[i]))])
                for i, which in copy
                if found[i]
            }
            for copy in drawn
        ]

    def _candidates(
        self,
        text: str,
        ids: Sequence[int],
        spans: Sequence[tuple[int, int]],
        tokens: Sequence[Sequence[int]],
        wanted: Sequence[int],
    ) -> dict[int, list[str]]:
        single = [i for i in wanted if len(tokens[i]) == 1]
        scores: dict[int, torch.Tensor] = {}
        device = self.model.device
        with torch.no_grad():
            for start in range(0, len(single), _ROWS):
                some = single[start : start + _ROWS]
                rows = torch.tensor([list(ids)] * len(some))
                places = torch.tensor([tokens[i][0] for i in some])
                rows[torch.arange(len(some)), places] = self.tokenizer.mask_token_id
                logits = self.model(
                    input_ids=rows.to(device), attention_mask=torch.ones_like(rows).to(device)
                ).logits
                picked = logits[torch.arange(len(some)), places.to(device)].float().cpu()
                scores |= dict(zip(some, picked[:, self.ids], strict=True))
            for i in wanted:
                if i not in scores:
                    pieces = self._table[torch.tensor([ids[place] for place in tokens[i]])]
                    scores[i] = (self._nearby @ pieces.mean(0)).cpu()
        # One more than wanted: the word itself, which is often the first, is left out.
        most = min(self.wish.top + 1, len(self.words))
        found = {}
        for i in wanted:
            own = text[slice(*spans[i])].casefold()
            best = [self.words[place] for place in scores[i].topk(most).indices.tolist()]
            found[i] = [word for word in best if word.casefold() != own][: self.wish.top]
        return found


def _whole_words(tokenizer: Any) -> tuple[torch.Tensor, list[str]]:
    """Tokens that are a whole word by themselves: ids and words."""
    count = len(tokenizer)
    texts = [one.strip() for one in tokenizer.batch_decode([[i] for i in range(count)])]
    able = [i for i, one in enumerate(texts) if one.isalpha() and (len(one) > 1 or one in "aAI")]
    # As in the middle of a text; a piece of a word reads back as another token.
    again = (
        tokenizer([f" {texts[i]}" for i in able], add_special_tokens=False)["input_ids"]
        if able
        else []
    )
    ids = [i for i, read in zip(able, again, strict=True) if list(read) == [i]]
    return torch.tensor(ids, dtype=torch.long), [texts[i] for i in ids]


def _tokens_of(span: tuple[int, int], offsets: Sequence[tuple[int, int]]) -> list[int]:
    """Places of the tokens that a span of the text is read as."""
    start, end = span
    return [place for place, (a, b) in enumerate(offsets) if a < end and b > start]


def _like(word: str, new: str) -> str:
    """``new`` with the capitals of ``word``."""
    if len(word) > 1 and word.isupper():
        return new.upper()
    return new[:1].upper() + new[1:] if word[:1].isupper() else new
