"""How likely a model finds a given text: token by token, and its perplexity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lmkit.api import (
    Alternative,
    ChosenToken,
    FieldError,
    LoadedModel,
    ModelError,
    Table,
    TokenChoices,
    progress,
)

if TYPE_CHECKING:
    import torch

__all__ = ["check_scores", "losses", "perplexity_of", "score"]

_BLOCK = 256
"""Positions whose whole vocabulary is in float32 at once: 50 MB for 50,000 tokens."""
_ALTERNATIVES = 10


def check_scores(model: LoadedModel) -> None:
    """Refuse a model that reads with an encoder.

    Raises:
        ModelError: it is one.
    """
    if getattr(model.model.config, "is_encoder_decoder", False):
        raise ModelError(
            f"{model.name} turns one text into another; it gives no probability to a text alone.",
            hint="Score a text with a model that continues text, for instance starter:chat.",
        )


def losses(logits: torch.Tensor, ids: Sequence[int]) -> torch.Tensor:
    """Negative log-probability of each token but the first, in nats; (tokens - 1,), on the CPU.

    Args:
        logits: (tokens, vocabulary).
        ids: Of the tokens.
    """
    import torch

    wanted = torch.tensor(ids[1:], device=logits.device)
    found = []
    for first in range(0, len(ids) - 1, _BLOCK):
        some = wanted[first : first + _BLOCK]
        log_p = torch.log_softmax(logits[first : first + len(some)].float(), -1)
        found.append(-log_p.gather(-1, some[:, None])[:, 0])
    return torch.cat(found).double().cpu()


def perplexity_of(loss: float) -> float:
    """Exp of a mean loss in nats; infinite beyond what a float holds."""
    return math.exp(loss) if loss < 700 else math.inf


def score(model: LoadedModel, text: str) -> tuple[TokenChoices, Table]:
    """Each token's probability after those before it, and the perplexity of the whole.

    Perplexity is exp of the mean negative log-probability of all tokens but the first, which is
    given: exp of the loss that transformers computes with the text as its labels.

    Raises:
        FieldError: fewer than two tokens.
        ModelError: the model reads with an encoder, or its logits are not finite.
    """
    import torch

    check_scores(model)
    trace = model.trace(text)
    if len(trace.tokens) < 2:
        raise FieldError(
            "The text is one token, and the first token has nothing before it.",
            hint="Write some more.",
        )
    logits: torch.Tensor = trace.output.logits[0]  # (tokens, vocabulary)
    ids = torch.tensor(trace.input_ids, device=logits.device)  # type: ignore[attr-defined]
    said = _Vocabulary(model)
    chosen = [ChosenToken(token=trace.tokens[0])]
    total = 0.0
    last = len(ids) - 1
    with torch.no_grad():
        for first in range(0, last, _BLOCK):
            progress("Scoring", first, last)
            log_p = torch.log_softmax(logits[first : min(last, first + _BLOCK)].float(), -1)
            wanted = ids[first + 1 : first + 1 + len(log_p)]
            own = log_p.gather(-1, wanted[:, None])[:, 0]
            if not bool(own.isfinite().all()):
                raise ModelError(
                    f"{model.name} computed logits that are not finite numbers, in {model.dtype}.",
                    hint="Load it in float32, or in bfloat16.",
                )
            total -= float(own.double().sum())
            ranks = (log_p > own[:, None]).sum(-1).tolist()
            entropy = -(log_p.exp() * log_p.clamp_min(-1e4)).sum(-1) / math.log(2)
            top, which = torch.topk(log_p, min(_ALTERNATIVES, log_p.shape[-1]), -1)
            rows = zip(
                own.exp().tolist(), ranks, entropy.tolist(), top.exp().tolist(), which.tolist(),
                strict=True,
            )  # fmt: skip
            for place, (probability, rank, bits, values, others) in enumerate(rows, first + 1):
                chosen.append(
                    ChosenToken(
                        token=trace.tokens[place],
                        probability=min(1.0, probability),
                        rank=rank,
                        entropy=bits,
                        alternatives=tuple(
                            Alternative(text=said(other), probability=min(1.0, value))
                            for other, value in zip(others, values, strict=True)
                        ),
                    )
                )
    loss = total / last
    table = Table(
        columns=("perplexity", "mean surprise in bits", "tokens scored"),
        rows=((perplexity_of(loss), loss / math.log(2), last),),
        title="Perplexity",
    )
    return TokenChoices(tokens=tuple(chosen), text=trace.text, title="How expected"), table


class _Vocabulary:
    """What a token says, decoded once."""

    def __init__(self, model: LoadedModel) -> None:
        self._tokenizer = model.tokenizer
        self._known: dict[int, str] = {}

    def __call__(self, identity: int) -> str:
        found = self._known.get(identity)
        if found is None:
            found = self._known[identity] = str(self._tokenizer.decode([identity]))
        return found
