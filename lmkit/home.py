"""Describes the kernel for the home panel, and carries out its buttons."""

from __future__ import annotations

import uuid

from lmkit.errors import ProtocolError
from lmkit.protocol.messages import HomeSpec
from lmkit.session import Session
from lmkit.version import __version__
from lmkit.views.home import HomeView

__all__ = ["describe", "open_home"]


def describe(session: Session) -> HomeSpec:
    """Plugins, tasks, devices, models and starter models as they are now."""
    from lmkit.models import devices, starters
    from lmkit.protocol.messages import StarterInfo

    return HomeSpec(
        version=__version__,
        plugins=tuple(plugin.info() for plugin in session.host.plugins),
        tasks=tuple(task.info() for task in session.host.tasks),
        devices=tuple(devices(session.models.device)),
        models=tuple(session.models.list()),
        models_budget=session.models.budget_bytes,
        starters=tuple(
            StarterInfo(
                name=one.name, title=one.title, installed=one.ready or one.carrier_installed
            )
            for one in starters.status()
        ),
    )


def open_home(session: Session) -> HomeView:
    """Open a home panel in the session."""
    view = HomeView(str(uuid.uuid4()), lambda: describe(session))

    def act(name: str, argument: str) -> None:
        if name == "unload":
            session.models.unload(argument)
        elif name == "device":
            session.models.choose_device(argument)
        elif name == "rescan":
            session.host.rescan()
        else:
            raise ProtocolError(f"The home panel has no button {name!r}.")
        view.refresh()

    session.open_view(view, act)
    return view
