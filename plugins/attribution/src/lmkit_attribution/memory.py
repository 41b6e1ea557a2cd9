"""How many texts fit into one batch."""

from __future__ import annotations

from lmkit.api import ModelError

__all__ = ["BUSY_TOKENS", "batch_that_fits"]

BUSY_TOKENS = 2_048
"""Tokens in a batch that keep a device busy; larger ones only make Stop slower to be heard."""
_SHARE = 0.5
"""Of the memory that is free, what a batch may take: the estimate is rough."""
_ACTIVATIONS = 34
"""Numbers that a block keeps for the backward pass, for each token and unit of width.

Korthikanti et al. 2022 ("Reducing Activation Recomputation in Large Transformer Models") count 34
bytes at two bytes a number, dropout masks included; as many numbers are an upper bound.
"""


def batch_that_fits(
    *,
    tokens: int,
    width: int,
    blocks: int,
    heads: int,
    logits: int,
    free: int,
    gradients: bool,
    most: int | None,
    name: str,
    device: str,
) -> int:
    """Texts in a batch, from the shape of the model and the memory that is free.

    The same on every machine that has enough: the last digits of a sum depend on its batches.

    Args:
        tokens: Of the text.
        width: Of a hidden state.
        blocks: Of the model.
        heads: Of a block.
        logits: Numbers that the model puts out for a text.
        free: Bytes; 0 where that is not known.
        gradients: Whether activations are kept for a backward pass.
        most: What the user asked for; None for as many as fit.
        name: Of the model, for the error.
        device: Likewise.

    Raises:
        ModelError: not even one text fits.
    """
    # Two square maps of a block's heads: scores and weights, where the kernel makes them.
    block = _ACTIVATIONS * tokens * width + 2 * heads * tokens * tokens
    numbers = block * (max(blocks, 1) if gradients else 1) + logits * (4 if gradients else 2)
    need = 4 * numbers
    wanted = most or max(1, min(64, BUSY_TOKENS // max(tokens, 1)))
    if not free:
        return wanted
    if need > free:
        how = "a gradient" if gradients else "a pass"
        raise ModelError(
            f"{device} has {free / 1e9:.1f} GB free, and {how} through {name} over {tokens:,} "
            f"tokens takes about {need / 1e9:.1f} GB.",
            hint="Give a shorter text"
            + (", or choose occlusion, which keeps no activations." if gradients else "."),
        )
    return max(1, min(wanted, int(_SHARE * free / need)))
