"""Distillation: a small model learns from a big one, and a report says what was lost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lmkit.api import Job, RegisterCommand, RegisterTask, hookimpl
from lmkit_distillation.command import Distill
from lmkit_distillation.task import Distillation

if TYPE_CHECKING:
    from lmkit_distillation.client import Run
    from lmkit_distillation.compare import Comparison

__all__ = [
    "Distill",
    "Distillation",
    "compare_students",
    "lmkit_host_api",
    "lmkit_list_jobs",
    "lmkit_register_commands",
    "lmkit_register_tasks",
]

lmkit_host_api = ">=1,<2"


def compare_students(runs: Sequence[Run | Path | str]) -> Comparison:
    """Students of several runs side by side: quality over cost, and which none beats in both.

    Args:
        runs: What ``lmkit.distill`` gave, or run folders; each has ended.

    Returns:
        What shows itself in a notebook, and has ``points``, ``front`` and ``save(path)``.

    Raises:
        ReportError: one has no report, or they are of different tasks or test texts.
    """
    from lmkit_distillation.client import Run
    from lmkit_distillation.compare import Comparison, compare_runs

    folders = [one.folder.path if isinstance(one, Run) else one for one in runs]
    return Comparison(compare_runs(folders))


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
