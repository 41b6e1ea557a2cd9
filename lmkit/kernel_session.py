"""The one host and session of this process. With lmkit.options the only global state."""

from __future__ import annotations

import threading

from lmkit.host import PluginHost
from lmkit.session import Session

__all__ = ["current_host", "current_session"]

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

            _session = Session(current_host(), ModelStore())
            _session.offer(KERNEL_VIEW, open_kernel_view)
        return _session
