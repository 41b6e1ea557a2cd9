"""The loss of each token of a text of any length, read in windows that a stride moves on.

As in Hugging Face's guide to perplexity: each window is as long as the model reads, begins
``stride`` tokens after the one before, and scores the tokens that none before it has. So each token
is scored once, with at least ``longest - stride`` tokens before it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmkit.api import LoadedModel, ModelError, Token

if TYPE_CHECKING:
    import torch

__all__ = ["Whole", "read_whole", "window_logits", "windows_of"]


_SURROGATES = re.compile("[\ud800-\udfff]")
"""Nothing encodes a lone one; tokenizers get U+FFFD in its place."""


@dataclass(frozen=True)
class Whole:
    """A text as the model's tokenizer cuts it, none of it left out.

    Attributes:
        ids: Token ids, special ones included.
        places: Start and end of each in the text; empty where the tokenizer does not say.
    """

    ids: tuple[int, ...]
    places: tuple[tuple[int, int], ...] = ()

    def tokens(self, model: LoadedModel, text: str, first: int, last: int) -> list[Token]:
        """What the tokens from ``first`` to before ``last`` say."""
        tokenizer = model.tokenizer
        special = set(tokenizer.all_special_ids)
        raw = tokenizer.convert_ids_to_tokens(list(self.ids[first:last]))
        made = []
        for at, name in enumerate(raw, first):
            start, end = self.places[at] if self.places else (0, 0)
            said = text[start:end] or str(tokenizer.decode([self.ids[at]]))
            made.append(
                Token(text=said, raw=str(name), start=start, end=end,
                      special=self.ids[at] in special)
            )  # fmt: skip
        return made


def read_whole(model: LoadedModel, text: str) -> Whole:
    """All tokens of a text."""
    tokenizer = model.tokenizer
    text = _SURROGATES.sub("\ufffd", text)
    places = bool(getattr(tokenizer, "is_fast", False))
    read = tokenizer(text, return_offsets_mapping=places, verbose=False)
    offsets = tuple((int(a), int(b)) for a, b in read["offset_mapping"]) if places else ()
    return Whole(tuple(read["input_ids"]), offsets)


def windows_of(total: int, longest: int, stride: int) -> Iterator[tuple[int, int, int]]:
    """Begin of each window, the first token that it scores, and its end.

    Args:
        total: Tokens of the text.
        longest: Most that the model reads.
        stride: How far a window is from the one before; less than ``longest``, so that a scored
            token has another before it.
    """
    stride = max(1, min(stride, longest - 1))
    begin, first, end = 0, 1, min(longest, total)
    yield begin, first, end
    while end < total:
        begin, first = begin + stride, end
        end = min(begin + longest, total)
        yield begin, first, end


def window_logits(
    model: LoadedModel, ids: Sequence[int], longest: int, stride: int
) -> Iterator[tuple[int, torch.Tensor]]:
    """For each window the first token that it scores, and the logits of it and those after it.

    One window is in memory at a time: (scored tokens, vocabulary), on the model's device.

    Raises:
        DeviceMemoryError: a window does not fit.
        ModelError: the model gives no logits for its tokens.
    """
    import torch

    for begin, first, end in windows_of(len(ids), longest, stride):
        with ExitStack() as stack:
            inner = stack.enter_context(model.borrow("a window of this text"))
            stack.enter_context(torch.no_grad())
            device = inner.get_input_embeddings().weight.device
            given = torch.tensor([list(ids[begin:end])], device=device)
            more: dict[str, Any] = {}
            if "logits_to_keep" in inspect.signature(inner.forward).parameters:
                more["logits_to_keep"] = end - first + 1
            logits = inner(input_ids=given, use_cache=False, **more).logits[0]
            # The token before a scored one chose it; the last of the window chooses none of it.
            logits = logits[-(end - first + 1) : -1]
        if len(logits) != end - first:
            raise ModelError(
                f"{model.name} gives no logits for each token of a text.",
                hint="Score it with another model, for instance starter:chat.",
            )
        yield first, logits
