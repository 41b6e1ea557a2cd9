"""Brings calls to the kernel's main thread, where a user's trait observers expect to run."""

from __future__ import annotations

import sys
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
    # Only looked up: importing it here would exchange the comm manager that widgets are open with.
    kernelapp = sys.modules.get("ipykernel.kernelapp")
    if kernelapp is None or not kernelapp.IPKernelApp.initialized():
        return None
    return getattr(kernelapp.IPKernelApp.instance().kernel, "io_loop", None)
