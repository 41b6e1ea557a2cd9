"""Passes of tiny models for the tests, and the forward functions that Captum is given directly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from lmkit.models import ModelStore
from lmkit.models.text_trace import ModelTrace

TEXT = "the plot is thin, but i was moved."


def trace_of(
    folder: Path, head: str, text: str = TEXT, pair: str | None = None, **options: Any
) -> ModelTrace:
    """One pass of a model in a folder."""
    loaded = ModelStore(device="cpu").get(str(folder), f"AutoModel{head}", **options)
    made = loaded.trace(text, pair)
    assert isinstance(made, ModelTrace)
    return made


def padded(trace: ModelTrace, token: int) -> torch.Tensor:
    """Ids of a pass with all but the special tokens replaced: (1, T)."""
    ids = [
        identity if one.special else token
        for identity, one in zip(trace.input_ids, trace.tokens, strict=True)
    ]
    return torch.tensor([ids])


def from_embeddings(trace: ModelTrace, label: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """A classifier's logit as a function of input embeddings, by its own ``inputs_embeds``."""
    model, given = trace.model.model, trace.inputs()
    rest = {key: value for key, value in given.items() if key != "input_ids"}

    def forward(embeddings: torch.Tensor) -> torch.Tensor:
        batch = embeddings.shape[0]
        expanded = {key: value.expand(batch, -1) for key, value in rest.items()}
        logits: torch.Tensor = model(inputs_embeds=embeddings, **expanded).logits[:, label]
        return logits

    return forward


def from_ids(trace: ModelTrace, label: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """A classifier's logit as a function of ids."""
    model, given = trace.model.model, trace.inputs()
    rest = {key: value for key, value in given.items() if key != "input_ids"}

    def forward(ids: torch.Tensor) -> torch.Tensor:
        expanded = {key: value.expand(ids.shape[0], -1) for key, value in rest.items()}
        logits: torch.Tensor = model(input_ids=ids, **expanded).logits[:, label]
        return logits

    return forward
