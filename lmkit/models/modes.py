"""A model in another state for a block, and put back as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["in_eval_mode", "without_weight_gradients"]


@contextmanager
def in_eval_mode(model: Any) -> Iterator[None]:
    """Eval mode for a block; training mode is put back module by module."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def without_weight_gradients(model: Any) -> Iterator[None]:
    """Weights that ask for no gradients; put back one by one."""
    learning = [weight for weight in model.parameters() if weight.requires_grad]
    try:
        for weight in learning:
            weight.requires_grad_(False)
        yield
    finally:
        for weight in learning:
            weight.requires_grad_(True)
