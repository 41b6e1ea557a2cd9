"""What a model thought of the tokens it was about to write, noted while it writes.

The logits of a pass are held until the next one, when it is known which tokens were chosen; what
stays is a few numbers a token, not the vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = ["ALTERNATIVES", "Choice", "Choices"]

ALTERNATIVES = 10
"""How many of the likeliest tokens are kept of each step."""


@dataclass(frozen=True)
class Choice:
    """One generated token among those that could have been.

    All of the model's own distribution, softmax(logits), before temperature, top-k and the like.

    Attributes:
        token_id: Its id.
        probability: What the model gave it; None where its logits were not kept (a beam that
            ended at a token that is no end of text).
        rank: 0 for the likeliest.
        entropy: Of the distribution, in bits.
        alternatives: The likeliest tokens: (id, probability), likeliest first.
    """

    token_id: int
    probability: float | None
    rank: int | None
    entropy: float
    alternatives: tuple[tuple[int, float], ...]


@dataclass(eq=False)
class _Noted:
    """Numbers of one pass: rows of the batch B, positions M at its end."""

    queries: int
    entropy: torch.Tensor  # (B, M)
    top: tuple[torch.Tensor, torch.Tensor]  # ids, log-probabilities (B, M, ALTERNATIVES)
    asked: dict[int, tuple[torch.Tensor, torch.Tensor]]  # id: log-probability, rank (B, M)


class Choices:
    """Hooks on a model for the time of one ``generate``.

    Args:
        model: The module whose call is a pass.
        prompt: How many tokens were given; positions before the last of them are not looked at.
        stops: Ids that end a sequence; they are never fed and so must be asked for ahead.
    """

    def __init__(self, model: Any, prompt: int, stops: Sequence[int]) -> None:
        self._model = model
        self._prompt = prompt
        self._stops = tuple(stops)
        self._passes: list[_Noted | None] = []
        self._ids: torch.Tensor | None = None
        self._log_p: torch.Tensor | None = None  # of the pass before (B, M, V)
        self._stack = ExitStack()

    def __enter__(self) -> Choices:
        before = self._model.register_forward_pre_hook(self._start, with_kwargs=True)
        self._stack.callback(before.remove)
        self._stack.callback(self._model.register_forward_hook(self._note).remove)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()
        if kind is not None:
            self._log_p = None

    def _start(self, module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        import torch

        ids = kwargs.get("decoder_input_ids")
        if ids is None:
            ids = kwargs.get("input_ids", args[0] if args else None)
        self._ids = ids if isinstance(ids, torch.Tensor) else None
        if self._ids is not None and self._passes:
            # The last column, or with drafts those after the rejected ones: all that are new.
            self._ask(self._ids if self._ids.shape[1] <= 64 else self._ids[:, -1:])

    def _note(self, module: Any, args: Any, output: Any) -> None:
        import torch

        logits = getattr(output, "logits", None)
        if not isinstance(logits, torch.Tensor) or logits.dim() != 3 or self._ids is None:
            self._passes.append(None)
            self._log_p = None
            return
        with torch.no_grad():
            queries = self._ids.shape[1]
            first = not self._passes
            most = queries - self._prompt + 1 if first else queries
            kept = logits[:, -max(1, min(most, logits.shape[1])) :].detach().float()
            log_p = torch.log_softmax(kept, -1)
            p = log_p.exp()
            entropy = -(p * log_p.clamp_min(-1e4)).sum(-1) / 0.6931471805599453
            top, ids = torch.topk(log_p, min(ALTERNATIVES, log_p.shape[-1]), -1)
            self._log_p = log_p
            self._passes.append(_Noted(queries, entropy, (ids, top), {}))
            drafts = self._ids[:, self._prompt :] if first else self._ids[:, 1:]
            if 0 < drafts.shape[1] <= 64:
                self._ask(drafts)
            if self._stops:
                self._ask(torch.tensor(self._stops))

    def _ask(self, ids: torch.Tensor) -> None:
        noted = self._passes[-1]
        if self._log_p is None or noted is None:
            return
        import torch

        wanted = [i for i in dict.fromkeys(ids.reshape(-1).tolist()) if i not in noted.asked]
        with torch.no_grad():
            for identity in wanted:
                if 0 <= identity < self._log_p.shape[-1]:
                    one = self._log_p[..., identity]
                    rank = (self._log_p > one.unsqueeze(-1)).sum(-1)
                    noted.asked[identity] = (one.clone(), rank)

    def finish(self, sequences: torch.Tensor) -> None:
        """``generate`` returned these sequences: their last tokens were fed to no pass."""
        if self._passes:
            self._ask(sequences[:, -64:] if sequences.shape[0] == 1 else sequences[:, -1:])
        self._log_p = None

    def latest(self, identity: int) -> Choice | None:
        """What the newest pass thought of ``identity``, for the first row of its batch."""
        import torch

        if not self._passes or self._passes[-1] is None:
            return None
        self._ask(torch.tensor([identity]))
        return self.choice(len(self._passes) - 1, 0, self._passes[-1].queries - 1, identity)

    def choice(self, step: int, row: int, column: int, identity: int) -> Choice | None:
        """What was thought of ``identity`` as the token after column ``column`` of a pass.

        None where the pass gave no logits for it.
        """
        noted = self._passes[step] if step < len(self._passes) else None
        if noted is None:
            return None
        at = column - (noted.queries - noted.entropy.shape[1])
        if not 0 <= at < noted.entropy.shape[1]:
            return None
        ids, top = (t[row, at].tolist() for t in noted.top)
        asked = noted.asked.get(identity)
        probability: float | None = None
        rank: int | None = None
        if asked is not None:
            probability = float(asked[0][row, at].exp())
            rank = int(asked[1][row, at])
        elif identity in ids:
            rank = ids.index(identity)
            probability = math.exp(top[rank])
        return Choice(
            token_id=identity,
            probability=probability,
            rank=rank,
            entropy=float(noted.entropy[row, at]),
            alternatives=tuple((i, math.exp(value)) for i, value in zip(ids, top, strict=True)),
        )
