"""The hooks that a plugin may implement. Each is prefixed ``lmkit_``.

Implement one with ``@lmkit.api.hookimpl`` on a function of the same name in the plugin's module.
An implementation may leave out arguments that it does not need.
"""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from lmkit.api import Job, RegisterCommand, RegisterTask, RegisterView

__all__ = [
    "hookspec",
    "lmkit_list_jobs",
    "lmkit_register_commands",
    "lmkit_register_tasks",
    "lmkit_register_views",
]

hookspec = pluggy.HookspecMarker("lmkit")


@hookspec
def lmkit_register_tasks(register: RegisterTask) -> None:
    """Offer tasks. Called once when the plugin is found, in its own try.

    Call ``register(MyTask)`` once for each class. The host checks the declaration there and then
    and raises :class:`lmkit.errors.RegistrationError` with what is wrong; from a registered task
    come ``%%lm NAME``, a panel, ``lmkit run NAME`` and a method on loaded models.

    Args:
        register: Takes a subclass of :class:`lmkit.api.Task`.
    """


@hookspec
def lmkit_register_views(register: RegisterView) -> None:
    """Offer views of a captured pass. Called once when the plugin is found, in its own try.

    Call ``register(MyView)`` once for each class. The host checks the declaration there and then
    and raises :class:`lmkit.errors.RegistrationError` with what is wrong; a registered view has a
    tab in every explorer and is ``r.attention.view(NAME)`` in Python.

    Args:
        register: Takes a subclass of :class:`lmkit.api.View`.
    """


@hookspec
def lmkit_list_jobs() -> Iterable[Job]:  # type: ignore[empty-body]
    """Name the jobs that this kernel knows of, the newest first. Asked often: it must be quick.

    They are listed in the home panel and JupyterLab's side panel, and by ``runs/list`` of
    ``lmkit serve``.
    """


@hookspec
def lmkit_register_commands(register: RegisterCommand) -> None:
    """Offer verbs of the command line. Called once when the plugin is found, in its own try.

    Call ``register(MyCommand)`` once for each class. The host checks the declaration there and
    then and raises :class:`lmkit.errors.RegistrationError` with what is wrong; a registered command
    is ``lmkit NAME`` and, where it defines ``call``, ``lmkit.NAME(...)`` in Python.

    Args:
        register: Takes a subclass of :class:`lmkit.api.Command`.
    """
