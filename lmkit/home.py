"""Describes the kernel for the home panel, and carries out its buttons."""

from __future__ import annotations

import uuid

from lmkit.errors import ProtocolError
from lmkit.open_views import TaskPanel
from lmkit.protocol.messages import HomeSpec, OpenViewInfo, StarterInfo, TextField
from lmkit.session import Session
from lmkit.version import __version__
from lmkit.views.home import HomeView

__all__ = ["KERNEL_VIEW", "act", "describe", "open_home", "open_kernel_view", "starters"]

KERNEL_VIEW = "kernel"
"""Id of the home panel that a side panel asks for, the same in every kernel."""

RECENT = 20
"""Open views that are listed, the newest first."""


def describe(session: Session, *, views: bool = False) -> HomeSpec:
    """Plugins, tasks, devices, models and starter models as they are now.

    Args:
        session: The kernel's.
        views: List the open views and the jobs too. Not for what is saved: a notebook that is
            shared need not hold the beginnings of all texts of its kernel, nor its folders.
    """
    from lmkit.models import devices

    return HomeSpec(
        version=__version__,
        plugins=tuple(plugin.info() for plugin in session.host.plugins),
        tasks=tuple(task.info() for task in session.host.tasks),
        devices=tuple(devices(session.models.device)),
        models=tuple(session.models.list()),
        models_budget=session.models.budget_bytes,
        starters=starters(),
        views=_recent(session) if views else (),
        jobs=tuple(job.info() for job in session.host.jobs()[:RECENT]) if views else (),
    )


def starters() -> tuple[StarterInfo, ...]:
    """The starter models, and whether they are on this machine."""
    from lmkit.models.starters import status

    return tuple(
        StarterInfo(name=one.name, title=one.title, installed=one.ready or one.carrier_installed)
        for one in status()
    )


def act(session: Session, name: str, argument: str) -> None:
    """Carry out a button: ``unload`` a model, choose a ``device``, ``rescan``, ``refresh``.

    Raises:
        LmkitError: there is no such button, model or device.
    """
    if name == "unload":
        session.models.unload(argument)
    elif name == "device":
        session.models.choose_device(argument)
    elif name == "rescan":
        session.host.rescan()
    elif name != "refresh":
        raise ProtocolError(f"The home panel has no button {name!r}.")


def _recent(session: Session) -> tuple[OpenViewInfo, ...]:
    newest = session.views.panels[: -RECENT - 1 : -1]
    return tuple(
        OpenViewInfo(
            view=panel.view.id,
            title=panel.view.header.title,
            model=panel.view.header.model,
            text=_beginning(panel),
        )
        for panel in newest
    )


def _beginning(panel: TaskPanel, most: int = 80) -> str:
    """How the panel's first text begins, in one line."""
    name = next((one.name for one in panel.view.fields if isinstance(one, TextField)), None)
    text = str(panel.view.values.get(name, "")) if name else ""
    line = " ".join(text[: 4 * most].split())
    return line if len(line) <= most else f"{line[:most]}…"


def open_home(session: Session) -> HomeView:
    """Open a home panel in the session."""
    return _open(session, HomeView(str(uuid.uuid4()), lambda: describe(session)))


def open_kernel_view(session: Session) -> HomeView:
    """Open the home panel of side panels, which follows what the kernel does."""
    view = _open(session, HomeView(KERNEL_VIEW, lambda: describe(session, views=True)))
    session.views.on_change(view.refresh)
    return view


def _open(session: Session, view: HomeView) -> HomeView:
    def pressed(name: str, argument: str) -> None:
        act(session, name, argument)
        view.refresh()

    session.views.open_view(view, pressed)
    return view
