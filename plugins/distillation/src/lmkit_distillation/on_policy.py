"""On-policy distillation: some steps learn from texts that the student itself has just sampled.

Agarwal et al. 2024 (GKD), arXiv:2306.13649, algorithm 1: with probability lambda a step's
continuations are sampled from the student, else they are those of the data; either way both models
are compared place by place, and no gradient flows through the sampling.

Whether a step is on-policy, and every random number of the sampling, follow from the seed, the
step and the text's place in it. So a resumed run samples what it sampled before without anything
being saved but the weights, and neither micro-batches nor processes change what is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lmkit_distillation.data import Coder, Encoded
from lmkit_distillation.peers import Peers
from lmkit_distillation.recipe import Recipe
from lmkit_distillation.sampling import Writer, groups, seed_of
from lmkit_distillation.sequences import continued, room_after

__all__ = ["OnPolicyTexts", "prompt_of"]


class OnPolicyTexts:
    """Puts the student's own continuations in place of those of a step.

    Args:
        recipe: Share, temperature, length, seed.
        writer: The student.
        coder: Of the student.
        peers: The processes of the run: each samples some groups.
    """

    def __init__(self, recipe: Recipe, writer: Writer, coder: Coder, peers: Peers) -> None:
        self.wish, self.seed = recipe.on_policy, recipe.seed
        self.writer, self.coder, self.peers = writer, coder, peers

    def chosen(self, step: int) -> bool:
        """Whether a step learns from the student's own texts."""
        # Below 2^63 always, so that a share of 1 is every step, and one of 0 none.
        return seed_of(self.seed, "on-policy", step) < self.wish.lambda_ * 2**63

    def __call__(self, texts: Sequence[Encoded], step: int) -> list[Encoded]:
        """The texts of a step as it learns them.

        Raises:
            DistillationError: memory ran out.
        """
        if not self.chosen(step):
            return list(texts)
        prompts = [prompt_of(one) for one in texts]
        rooms = [room_after(one, self.coder, self.wish.max_new_tokens) for one in prompts]
        parts = groups([len(one.ids) for one in prompts], rooms, self.wish.batch)

        def sample() -> list[tuple[int, tuple[int, ...]]]:
            found: list[tuple[int, tuple[int, ...]]] = []
            for chosen in parts[self.peers.rank :: self.peers.count]:
                drawn = self.writer.sample(
                    [prompts[i].ids for i in chosen],
                    [seed_of(self.seed, "continuation", step, i) for i in chosen],
                    rooms[chosen[0]],
                    self.wish.temperature,
                )
                found += zip(chosen, drawn, strict=True)
            return found

        written = dict(self.peers.gathered(self.peers.together(sample)))
        return [
            replace(continued(one, written.get(i, ()), self.coder, known=False), sampled=True)
            for i, one in enumerate(prompts)
        ]


def prompt_of(text: Encoded) -> Encoded:
    """A text's prompt alone."""
    end = text.prompt
    return replace(text, ids=text.ids[:end], types=text.types[:end], targets=(), counted=())
