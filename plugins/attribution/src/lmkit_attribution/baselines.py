"""What stands in a text for a token that is not there."""

from __future__ import annotations

from typing import Any

from lmkit.api import FieldError

__all__ = ["Replacement", "baseline_of", "removal_of"]

_TOKENS = {"pad": "pad_token", "mask": "mask_token", "unknown": "unk_token"}

Replacement = tuple[int | None, str]
"""Id of the token that stands for another (None: a vector of zeros), and what to call it."""
_ZERO: Replacement = (None, "a vector of zeros")


def baseline_of(tokenizer: Any, asked: str, size: int) -> Replacement:
    """The baseline that was asked for; ``auto`` is the padding token, else the unknown one.

    Args:
        tokenizer: Whose special tokens are looked at.
        asked: One of ``BASELINES``.
        size: Rows of the model's embedding table.

    Raises:
        FieldError: the tokenizer has no such token, or the model no embedding of it.
    """
    if asked == "zero":
        return _ZERO
    if asked == "auto":
        return _first(tokenizer, ("pad", "unknown"), size)
    found = _token(tokenizer, asked, size)
    if found is None:
        there = [name for name in _TOKENS if _token(tokenizer, name, size) is not None]
        raise FieldError(
            f"Baseline: this tokenizer has no {asked} token that the model knows.",
            hint=f"Choose one of {', '.join([*there, 'zero'])}.",
        )
    return found


def removal_of(tokenizer: Any, size: int) -> Replacement:
    """What a removed token leaves in deletion and insertion: mask, else unknown, else padding.

    The same for every method and baseline, so that their scores can be compared.
    """
    return _first(tokenizer, ("mask", "unknown", "pad"), size)


def _first(tokenizer: Any, names: tuple[str, ...], size: int) -> Replacement:
    for name in names:
        found = _token(tokenizer, name, size)
        if found is not None:
            return found
    return _ZERO


def _token(tokenizer: Any, name: str, size: int) -> Replacement | None:
    text = getattr(tokenizer, _TOKENS[name], None)
    identity = getattr(tokenizer, f"{_TOKENS[name]}_id", None)
    if text is None or not isinstance(identity, int) or not 0 <= identity < size:
        return None
    return identity, f"the {name} token {str(text)[:40]}"
