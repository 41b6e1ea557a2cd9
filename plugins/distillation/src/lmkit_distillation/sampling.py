"""Continuations of prompts: sampled, greedy or by beams, each text by its own random numbers.

What is drawn for a text follows from its seed and the model alone. Only the rounding of sums over a
batch depends on its neighbours, so :func:`groups` puts the same texts together every time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import torch

from lmkit_distillation.errors import DistillationError
from lmkit_distillation.memory import is_out_of_memory

__all__ = ["Writer", "groups", "seed_of"]


def seed_of(*parts: object) -> int:
    """A seed below 2^63 that depends on all parts and on nothing else."""
    body = "\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(body, digest_size=8).digest(), "big") >> 1


def groups(lengths: Sequence[int], rooms: Sequence[int], size: int) -> list[list[int]]:
    """Texts to be continued together: equal room and like length; a function of its arguments.

    Args:
        lengths: Tokens of each prompt.
        rooms: Most tokens to be written after each; those without room are left out.
        size: Most texts of a group.
    """
    order = sorted(
        (i for i, room in enumerate(rooms) if room > 0), key=lambda i: (rooms[i], lengths[i], i)
    )
    found: list[list[int]] = []
    for i in order:
        # Equal room: a prompt never runs past the positions of its model for a neighbour's sake.
        if found and len(found[-1]) < size and rooms[found[-1][0]] == rooms[i]:
            found[-1].append(i)
        else:
            found.append([i])
    return found


@dataclass(frozen=True)
class Writer:
    """A causal model that continues prompts.

    Attributes:
        model: Runs where it stands.
        pad: Fills prompts at the left.
        ends: Tokens that end a text; the one that ended it is its last.
        vocabulary: Logits from here on stand for no token, and are never chosen.
    """

    model: Any
    pad: int
    ends: tuple[int, ...]
    vocabulary: int

    @staticmethod
    def of(model: Any, tokenizer: Any) -> Writer:
        """A writer with the ends that the tokenizer and the model's own settings name."""
        end = tokenizer.eos_token_id
        own = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
        named = [end, *(own if isinstance(own, list | tuple) else [own])]
        ends = tuple(dict.fromkeys(int(one) for one in named if one is not None))
        pad = tokenizer.pad_token_id
        tokens = max(tokenizer.get_vocab().values()) + 1
        return Writer(model, int(pad if pad is not None else (ends or (0,))[0]), ends, tokens)

    def sample(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[int], room: int, temperature: float
    ) -> list[tuple[int, ...]]:
        """Draw a continuation of each prompt of a group from softmax(logits / temperature).

        Args:
            prompts: Token ids.
            seeds: Of each text's random numbers.
            room: Most tokens to draw.
            temperature: Above 0.

        Raises:
            DistillationError: memory ran out.
        """
        drawn = torch.stack(
            [
                torch.rand(room, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
                for seed in seeds
            ]
        )
        width = max(map(len, prompts))

        def choose(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            place = ids.shape[1] - width
            chosen = inverse_cdf(scores[:, : self.vocabulary], drawn[:, place], temperature)
            return torch.full_like(scores, -torch.inf).scatter_(1, chosen[:, None], 0.0)

        return self._write(prompts, room, choose, 1, 1.0)

    def best(
        self,
        prompts: Sequence[Sequence[int]],
        room: int,
        *,
        beams: int = 1,
        length_penalty: float = 1.0,
    ) -> list[tuple[int, ...]]:
        """The most probable continuation of each prompt, greedily or by a beam search.

        Raises:
            DistillationError: memory ran out.
        """

        def choose(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            scores[:, self.vocabulary :] = -torch.inf
            return scores

        return self._write(prompts, room, choose, beams, length_penalty)

    def _write(
        self,
        prompts: Sequence[Sequence[int]],
        room: int,
        choose: Any,
        beams: int,
        length_penalty: float,
    ) -> list[tuple[int, ...]]:
        from transformers import GenerationConfig, LogitsProcessorList

        width = max(map(len, prompts))
        ids = torch.full((len(prompts), width), self.pad)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = torch.tensor(list(prompt))
            mask[row, width - len(prompt) :] = 1
        device = self.model.device
        settings = GenerationConfig(  # type: ignore[no-untyped-call]
            max_new_tokens=room,
            do_sample=False,
            num_beams=beams,
            **({"length_penalty": length_penalty} if beams > 1 else {}),
            eos_token_id=list(self.ends) or None,
            pad_token_id=self.pad,
            use_cache=True,
        )
        with self._as_it_is(settings), torch.no_grad():
            try:
                made = self.model.generate(
                    ids.to(device),
                    attention_mask=mask.to(device),
                    generation_config=settings,
                    logits_processor=LogitsProcessorList([choose]),
                )
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                raise DistillationError(
                    f"Memory ran out while a model wrote {len(prompts)} texts at a time.",
                    hint="Set the batch of that part of the recipe lower: sequences.batch, "
                    "data.augment.batch, or on_policy.batch in a new run.",
                ) from error
        return [self._ended(row) for row in made[:, width:].tolist()]

    @contextmanager
    def _as_it_is(self, settings: Any) -> Iterator[None]:
        """In eval mode, and without the model's own penalties: they make another distribution."""
        training, before = self.model.training, self.model.generation_config
        self.model.eval()
        self.model.generation_config = settings
        try:
            yield
        finally:
            self.model.generation_config = before
            self.model.train(training)

    def _ended(self, ids: Sequence[int]) -> tuple[int, ...]:
        """A continuation up to the token that ends it, without what fills the row."""
        for place, one in enumerate(ids):
            if one in self.ends:
                return tuple(ids[: place + 1])
        return tuple(ids)


def inverse_cdf(logits: torch.Tensor, drawn: torch.Tensor, temperature: float) -> torch.Tensor:
    """Draw from softmax(logits / temperature) by one number of [0, 1) a row.

    Args:
        logits: (N, V).
        drawn: (N,) float64, on any device.
        temperature: Above 0.

    Returns:
        (N,) int64: the first class whose cumulative probability, in float64, is above the number.
    """
    # Not every accelerator has float64.
    home = logits.device if logits.device.type in ("cpu", "cuda") else torch.device("cpu")
    wide = logits.to(home).double() / temperature
    cumulative = torch.softmax(wide, -1).cumsum(-1)
    bar = drawn.to(home)[:, None] * cumulative[:, -1:]
    chosen = torch.searchsorted(cumulative, bar, right=True)[:, 0]
    return chosen.clamp_(max=logits.shape[-1] - 1).to(logits.device)
