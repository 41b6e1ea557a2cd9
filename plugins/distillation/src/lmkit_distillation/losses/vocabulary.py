"""Losses on logits: cross-entropy, divergences, mean squares; over classes or a vocabulary.

Shapes: N places, V classes or tokens. Everything is computed in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional as F  # noqa: N812 - its usual name
from torch.utils.checkpoint import checkpoint

__all__ = [
    "Head",
    "Known",
    "chunked",
    "cross_entropy",
    "forward_kl",
    "generalised_jsd",
    "logit_mse",
    "reverse_kl",
    "universal_logit",
]


@dataclass(frozen=True)
class Known:
    """What is known of the teacher's logits at some places.

    Attributes:
        logits: (N, V), or (N, k): the largest of each place.
        indices: (N, k) which those are; None where all V are there.
        rest: (N, R) log-sum-exp of the other logits over each temperature of ``temperatures``.
        temperatures: The temperatures that ``rest`` was computed at.
    """

    logits: torch.Tensor
    indices: torch.Tensor | None = None
    rest: torch.Tensor | None = None
    temperatures: tuple[float, ...] = ()

    def rows(self, rows: torch.Tensor | slice) -> Known:
        """Some places."""
        return Known(
            self.logits[rows],
            None if self.indices is None else self.indices[rows],
            None if self.rest is None else self.rest[rows],
            self.temperatures,
        )

    def log_probabilities(
        self, student: torch.Tensor, temperature: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Both models' log-probabilities over the same classes: teacher's, student's.

        With ``indices`` all other classes count as one, whose mass is what remains; divergences
        are then those of the coarser distributions, never larger than the full ones.
        """
        teacher = self.logits.float() / temperature
        mine = student.float() / temperature
        if self.indices is None:
            return torch.log_softmax(teacher, -1), torch.log_softmax(mine, -1)
        assert self.rest is not None
        column = self.temperatures.index(temperature)
        both = torch.cat([teacher, self.rest[:, column : column + 1].float()], -1)
        chosen = mine.gather(-1, self.indices)
        others = mine.scatter(-1, self.indices, -math.inf).logsumexp(-1, keepdim=True)
        return torch.log_softmax(both, -1), torch.log_softmax(torch.cat([chosen, others], -1), -1)


def _kl(log_p: torch.Tensor, log_q: torch.Tensor) -> torch.Tensor:
    """Sum over places of KL(p || q); a class without mass in p adds nothing."""
    p = log_p.exp()
    terms = p * (log_p - log_q)
    return torch.where(p > 0, terms, torch.zeros_like(terms)).sum()


def cross_entropy(student: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """-sum log q(target) over the places whose target is not ``IGNORED`` (-100)."""
    return F.cross_entropy(student.float(), targets, ignore_index=-100, reduction="sum")


def forward_kl(student: torch.Tensor, teacher: Known, temperature: float = 1.0) -> torch.Tensor:
    """T^2 sum KL(p_T || q_T): Hinton et al. 2015, arXiv:1503.02531, section 2."""
    log_p, log_q = teacher.log_probabilities(student, temperature)
    return _kl(log_p, log_q) * temperature**2


def reverse_kl(student: torch.Tensor, teacher: Known, temperature: float = 1.0) -> torch.Tensor:
    """T^2 sum KL(q_T || p_T), as in MiniLLM: Gu et al. 2024, arXiv:2306.08543."""
    log_p, log_q = teacher.log_probabilities(student, temperature)
    return _kl(log_q, log_p) * temperature**2


def generalised_jsd(
    student: torch.Tensor, teacher: Known, beta: float = 0.5, temperature: float = 1.0
) -> torch.Tensor:
    """T^2 sum of beta KL(p || m) + (1 - beta) KL(q || m), m = beta p + (1 - beta) q.

    Agarwal et al. 2024, arXiv:2306.13649, equation 1. Divided by beta it tends to KL(p || q) as
    beta tends to 0, by 1 - beta to KL(q || p) as beta tends to 1; at 0 and 1 themselves, where it
    would vanish, it is that limit, as in the authors' experiments.
    """
    log_p, log_q = teacher.log_probabilities(student, temperature)
    if beta == 0:
        return _kl(log_p, log_q) * temperature**2
    if beta == 1:
        return _kl(log_q, log_p) * temperature**2
    log_m = torch.logaddexp(log_p + math.log(beta), log_q + math.log1p(-beta))
    return (beta * _kl(log_p, log_m) + (1 - beta) * _kl(log_q, log_m)) * temperature**2


def logit_mse(student: torch.Tensor, teacher: Known) -> torch.Tensor:
    """Sum over places of the mean over classes of (z - t)^2: Ba and Caruana 2014, arXiv:1312.6184.

    With ``indices`` over those classes alone.
    """
    mine = student.float()
    if teacher.indices is not None:
        mine = mine.gather(-1, teacher.indices)
    return (mine - teacher.logits.float()).square().mean(-1).sum()


def universal_logit(
    student: torch.Tensor, teacher: torch.Tensor, temperature: float = 1.0
) -> torch.Tensor:
    """Sum over places of sum |p_i - q_i|, both sorted from the largest down: ULD.

    Boizard et al. 2024, arXiv:2402.12030: their closed form of the Wasserstein-1 distance under a
    cost that is the same for every two tokens. It looks at no token's name, so the vocabularies may
    be any two; the smaller is filled with zeros.

    Args:
        student: (N, V).
        teacher: (N, V').
        temperature: Of both.
    """
    q, p = (
        torch.softmax(logits.float() / temperature, -1).sort(-1, descending=True).values
        for logits in (student, teacher)
    )
    more = q.shape[-1] - p.shape[-1]
    q, p = F.pad(q, (0, max(0, -more))), F.pad(p, (0, max(0, more)))
    return (q - p).abs().sum()


@dataclass(frozen=True)
class Head:
    """How hidden states become logits.

    Attributes:
        project: The output embeddings.
        scale: Logits are multiplied by it (Cohere's ``logit_scale``, Granite's inverse).
        softcap: ``softcap * tanh(logits / softcap)``, as Gemma 2 ends; None without.
        vocabulary: How many of the logits stand for tokens; padded ones are cut off.
    """

    project: Callable[[torch.Tensor], torch.Tensor]
    scale: float = 1.0
    softcap: float | None = None
    vocabulary: int | None = None

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        """(N, width) to (N, V)."""
        logits = self.project(hidden)
        if self.scale != 1.0:
            logits = logits * self.scale
        if self.softcap is not None:
            logits = torch.tanh(logits / self.softcap) * self.softcap
        return logits if self.vocabulary is None else logits[..., : self.vocabulary]


_CELLS = 1 << 24
"""Logits in flight: 64 MiB in float32."""


def chunked(
    hidden: torch.Tensor,
    head: Head,
    loss: Callable[[torch.Tensor, slice], torch.Tensor],
    *,
    width: int,
    cells: int = _CELLS,
) -> torch.Tensor:
    """Sum of ``loss(head(hidden[rows]), rows)`` over blocks of rows, one block at a time.

    The logits of a block are dropped after its loss and computed again in the backward pass, so
    that never more than ``cells`` of them exist.

    Args:
        hidden: (N, width of the model).
        head: Makes logits of them.
        loss: Takes the logits of a block, and which rows those are; gives sums, a tensor of any
            one shape.
        width: Logits a row.
        cells: Most logits at a time.
    """
    step = max(1, cells // max(1, width))
    total: torch.Tensor | None = None
    for start in range(0, max(1, len(hidden)), step):
        rows = slice(start, min(len(hidden), start + step))

        def block(part: torch.Tensor, rows: slice = rows) -> torch.Tensor:
            return loss(head(part), rows)

        if len(hidden) > step and torch.is_grad_enabled():
            made = checkpoint(block, hidden[rows], use_reentrant=False)
        else:
            made = block(hidden[rows])
        total = made if total is None else total + made
    assert total is not None
    return total
