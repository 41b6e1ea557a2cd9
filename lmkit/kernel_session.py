"""The one host and session of this process. With lmkit.options the only global state."""

from __future__ import annotations

import sys
import threading
from typing import Any

from lmkit.host import PluginHost
from lmkit.session import Session

__all__ = ["current_host", "current_session", "session_if_any"]

_lock = threading.RLock()
_host: PluginHost | None = None
_session: Session | None = None


def current_host() -> PluginHost:
    """This process's plugin host; installed plugins are found at the first call."""
    global _host
    with _lock:
        if _host is None:
            _host = PluginHost()
            _host.discover()
        return _host


def current_session() -> Session:
    """This process's session."""
    global _session
    with _lock:
        if _session is None:
            from lmkit.home import KERNEL_VIEW, open_kernel_view
            from lmkit.models import ModelStore

            session = _session = Session(current_host(), ModelStore())
            session.views.offer(KERNEL_VIEW, lambda: open_kernel_view(session))
            session.find_data = _variable
        return _session


def session_if_any() -> Session | None:
    """This process's session where it has one already; None where nothing of lmkit was shown."""
    with _lock:
        return _session


def _variable(name: str) -> Any:
    """The notebook's variable of this name; None where there is none, or no notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell.user_ns.get(name) if shell is not None and name.isidentifier() else None
