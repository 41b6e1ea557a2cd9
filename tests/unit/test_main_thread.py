"""Calls brought to the main thread, in a Python that has no kernel."""

from __future__ import annotations

import subprocess
import sys

# The bare package ipykernel is imported by libraries that only ask whether a kernel runs. What
# is of the kernel itself puts another comm manager in place of the one that widgets were opened
# with, and closing them is then a KeyError.
WITHOUT_A_KERNEL = """
import threading
import ipykernel
from lmkit.transports.main_thread import call_on_main
from ipywidgets import IntSlider

slider = IntSlider()
called = []
thread = threading.Thread(target=call_on_main, args=[lambda: called.append(1)])
thread.start()
thread.join()
assert called == [1]
slider.close()
"""


def test_widgets_close_after_a_call_where_no_kernel_runs() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT_A_KERNEL], capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
