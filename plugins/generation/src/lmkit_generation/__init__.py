"""Text generation: streaming, branching, beams, perplexity and logit lens."""

from __future__ import annotations

from lmkit.api import RegisterTask, RegisterView, hookimpl
from lmkit_generation.lens import LogitLens
from lmkit_generation.task import Generation

__all__ = [
    "Generation",
    "LogitLens",
    "lmkit_host_api",
    "lmkit_register_tasks",
    "lmkit_register_views",
]

lmkit_host_api = ">=1,<2"


@hookimpl
def lmkit_register_tasks(register: RegisterTask) -> None:
    """Register the generation task."""
    register(Generation)


@hookimpl
def lmkit_register_views(register: RegisterView) -> None:
    """Register the logit lens."""
    register(LogitLens)
