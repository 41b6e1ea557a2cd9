"""Brings calls to the kernel's main thread, where a user's trait observers expect to run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

__all__ = ["call_on_main"]


def call_on_main(function: Callable[[], Any]) -> None:
    """Call on the main thread: at once from there, else when the kernel's loop is next idle.

    Without a running kernel there is no loop to wait for, and the function is called here.
    """
    loop = _kernel_loop()
    if loop is None or threading.current_thread() is threading.main_thread():
        function()
    else:
        loop.add_callback(function)


def _kernel_loop() -> Any:
    import sys

    if "ipykernel" not in sys.modules:
        return None
    from ipykernel.kernelapp import IPKernelApp

    if not IPKernelApp.initialized():
        return None
    return getattr(IPKernelApp.instance().kernel, "io_loop", None)
