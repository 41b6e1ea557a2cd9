"""Distillation: a small model learns from a big one, and a report says what was lost."""

from __future__ import annotations

from lmkit.api import RegisterCommand, hookimpl
from lmkit_distillation.command import Distill

__all__ = ["Distill", "lmkit_host_api", "lmkit_register_commands"]

lmkit_host_api = ">=1,<2"


@hookimpl
def lmkit_register_commands(register: RegisterCommand) -> None:
    """Offer ``lmkit distill``."""
    register(Distill)
