"""How likely a model finds a given text: token by token, and its perplexity."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lmkit.api import (
    Alternative,
    ChosenToken,
    FieldError,
    LoadedModel,
    ModelError,
    Table,
    Token,
    TokenChoices,
    progress,
    stopped,
)
from lmkit_generation.windows import Whole, read_whole, window_logits

if TYPE_CHECKING:
    import torch

__all__ = ["check_scores", "long_losses", "losses", "perplexity_of", "score"]

_BLOCK = 256
"""Positions whose whole vocabulary is in float32 at once: 50 MB for 50,000 tokens."""
_ALTERNATIVES = 10
MOST_TOKENS = 10_000
"""Tokens of a long text that are listed with their alternatives: a page draws fewer."""
_ROOM = 8
"""Tokens by which the text behind the explorer is shorter than what the model reads."""


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
        ids: Of the tokens; the last row's own token and those after it are not asked for.
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


def score(model: LoadedModel, text: str, stride: int) -> tuple[TokenChoices, Table]:
    """Each token's probability after those before it, and the perplexity of the whole.

    Perplexity is exp of the mean negative log-probability of all tokens but the first, which is
    given: exp of the loss that transformers computes with the text as its labels. A text longer
    than the model reads is scored in windows, as :mod:`lmkit_generation.windows` has it.

    Raises:
        FieldError: fewer than two tokens.
        ModelError: the model reads with an encoder, or its logits are not finite.
    """
    check_scores(model)
    whole = read_whole(model, text)
    if model.longest and len(whole.ids) > max(2, model.longest):
        return _score_long(model, text, whole, stride)
    trace = model.trace(text)
    if len(trace.tokens) < 2:
        raise FieldError(
            "The text is one token, and the first token has nothing before it.",
            hint="Write some more.",
        )
    logits: torch.Tensor = trace.output.logits[0]  # (tokens, vocabulary)
    scores = _Scores(model, len(trace.tokens) - 1)
    scores.add(logits[:-1], trace.input_ids[1:], trace.tokens[1:])  # type: ignore[attr-defined]
    chosen = (ChosenToken(token=trace.tokens[0]), *scores.chosen)
    return TokenChoices(tokens=chosen, text=trace.text, title="How expected"), scores.table()


def long_losses(
    model: LoadedModel, ids: Sequence[int], stride: int
) -> Iterator[tuple[torch.Tensor, int]]:
    """By window the losses of the tokens that it scores, in nats, and how many are done."""
    for first, logits in window_logits(model, ids, model.longest, stride):
        last = first + len(logits)
        yield losses(logits, ids[first - 1 : last]), last


def _score_long(
    model: LoadedModel, text: str, whole: Whole, stride: int
) -> tuple[TokenChoices, Table]:
    end = _explored(model, text, whole)  # first: a Stop from then on keeps what is scored
    total = len(whole.ids)
    shown = min(total, MOST_TOKENS)
    tokens = whole.tokens(model, text, 0, shown)
    scores = _Scores(model, total - 1)
    done = 1
    for first, logits in window_logits(model, whole.ids, model.longest, stride):
        done = first + len(logits)
        scores.add(logits, whole.ids[first:done], tokens[first:done])
        if stopped():
            break
    notes = [
        f"{model.name} reads {model.longest:,} tokens at once: the text of {total:,} was scored in "
        f"windows, each {max(1, min(stride, model.longest - 1)):,} tokens further."
    ]
    if done < total:
        notes.append(f"Stopped: {total - done:,} tokens are not scored.")
    if shown < done:
        notes.append(f"The first {shown:,} are listed; the perplexity is of all.")
    if end:
        notes.append(f"The explorer shows the first {end:,} characters.")
    listed = tokens[: min(shown, done)]
    said = text[: listed[-1].end] if whole.places else ""
    chosen = (ChosenToken(token=tokens[0]), *scores.chosen)
    title = "How expected"
    return TokenChoices(tokens=chosen, text=said, title=title, note=" ".join(notes)), scores.table()


def _explored(model: LoadedModel, text: str, whole: Whole) -> int:
    """Make the pass behind the explorer, over the beginning of a long text; where that ends."""
    if not whole.places:
        model.trace(text)  # which says itself what it leaves out
        return 0
    # Cut elsewhere the last word may have other tokens than in the whole text: some fewer.
    end = whole.places[max(0, model.longest - _ROOM)][1]
    if not text[:end].strip():
        return 0
    model.trace(text[:end])
    return end


class _Scores:
    """What the model thought of each token, and the sum of it."""

    def __init__(self, model: LoadedModel, total: int) -> None:
        self.chosen: list[ChosenToken] = []
        self._model, self._total = model, total
        self._said = _Vocabulary(model)
        self._count = 0
        self._loss = 0.0

    def add(self, logits: torch.Tensor, ids: Sequence[int], tokens: Sequence[Token]) -> None:
        """Score tokens one after the other.

        Args:
            logits: (tokens, vocabulary), each row that of the token before.
            ids: Of the tokens.
            tokens: What they say; of those that it lacks at its end only the loss is kept.

        Raises:
            ModelError: a logit is not finite.
        """
        import torch

        with torch.no_grad():
            for first in range(0, len(ids), _BLOCK):
                progress("Scoring", self._count, self._total)
                some = torch.tensor(ids[first : first + _BLOCK], device=logits.device)
                log_p = torch.log_softmax(logits[first : first + len(some)].float(), -1)
                own = log_p.gather(-1, some[:, None])[:, 0]
                if not bool(own.isfinite().all()):
                    raise ModelError(
                        f"{self._model.name} computed logits that are not finite numbers, in "
                        f"{self._model.dtype}.",
                        hint="Load it in float32, or in bfloat16.",
                    )
                self._loss -= float(own.double().sum())
                self._count += len(some)
                listed = tokens[first : first + len(some)]
                if listed:
                    self._list(log_p[: len(listed)], own[: len(listed)], listed)

    def _list(self, log_p: torch.Tensor, own: torch.Tensor, tokens: Sequence[Token]) -> None:
        import torch

        ranks = (log_p > own[:, None]).sum(-1).tolist()
        entropy = -(log_p.exp() * log_p.clamp_min(-1e4)).sum(-1) / math.log(2)
        top, which = torch.topk(log_p, min(_ALTERNATIVES, log_p.shape[-1]), -1)
        rows = zip(
            tokens, own.exp().tolist(), ranks, entropy.tolist(), top.exp().tolist(),
            which.tolist(), strict=True,
        )  # fmt: skip
        for token, probability, rank, bits, values, others in rows:
            self.chosen.append(
                ChosenToken(
                    token=token,
                    probability=min(1.0, probability),
                    rank=rank,
                    entropy=bits,
                    alternatives=tuple(
                        Alternative(text=self._said(other), probability=min(1.0, value))
                        for other, value in zip(others, values, strict=True)
                    ),
                )
            )

    def table(self) -> Table:
        """The perplexity."""
        loss = self._loss / self._count
        return Table(
            columns=("perplexity", "mean surprise in bits", "tokens scored"),
            rows=((perplexity_of(loss), loss / math.log(2), self._count),),
            title="Perplexity",
        )


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
