"""How many tokens a model can read: past its last position it fails or reads nonsense."""

from __future__ import annotations

from typing import Any

__all__ = ["UNSTATED", "longest_input"]

UNSTATED = 4_096
"""Most tokens for a model that states no limit (T5, ALiBi): its bias grows with their square."""

_NO_LIMIT = 1_000_000
"""Tokenizers without a limit say 1e30."""


def longest_input(model: Any, tokenizer: Any) -> tuple[int, bool]:
    """Most tokens, special ones included, that the model reads, and whether it says so itself.

    The smaller of what the tokenizer says and what the model's positions allow. RoBERTa and its
    kin number positions from ``padding_idx + 1``, so their table is that much shorter than its
    length.
    """
    limits = []
    said = getattr(tokenizer, "model_max_length", None)
    if isinstance(said, int) and 0 < said < _NO_LIMIT:
        limits.append(said)
    config = getattr(model, "config", None)
    get_text = getattr(config, "get_text_config", None)
    for part in (config, get_text() if callable(get_text) else None):
        positions = getattr(part, "max_position_embeddings", None)
        if isinstance(positions, int) and positions > 0:
            limits.append(max(1, positions - _first_position(model)))
    return (min(limits), True) if limits else (UNSTATED, False)


def _first_position(model: Any) -> int:
    modules = getattr(model, "named_modules", None)
    if not callable(modules):
        return 0
    for name, module in modules():
        if name.rpartition(".")[2] == "position_embeddings":
            padding = getattr(module, "padding_idx", None)
            return 0 if padding is None else int(padding) + 1
    return 0
