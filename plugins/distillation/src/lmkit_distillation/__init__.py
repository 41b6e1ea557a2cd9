"""Distillation: a small model learns from a big one, and a report says what was lost."""

from __future__ import annotations

from collections.abc import Iterable

from lmkit.api import Job, RegisterCommand, RegisterTask, hookimpl
from lmkit_distillation.command import Distill
from lmkit_distillation.task import Distillation

__all__ = [
    "Distill",
    "Distillation",
    "lmkit_host_api",
    "lmkit_list_jobs",
    "lmkit_register_commands",
    "lmkit_register_tasks",
]

lmkit_host_api = ">=1,<2"


@hookimpl
def lmkit_register_commands(register: RegisterCommand) -> None:
    """Offer ``lmkit distill``."""
    register(Distill)


@hookimpl
def lmkit_register_tasks(register: RegisterTask) -> None:
    """Offer the panel."""
    register(Distillation)


@hookimpl
def lmkit_list_jobs() -> Iterable[Job]:
    """The runs of this kernel, and those in ``runs/``."""
    from lmkit_distillation.known import known_runs
    from lmkit_distillation.watched import WatchedRun

    return [WatchedRun(run) for run in known_runs()]
