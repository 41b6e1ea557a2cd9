"""How long ``%load_ext lmkit`` takes in a fresh process, beside importing IPython itself."""

from __future__ import annotations

import statistics
import subprocess
import sys
from typing import Any

RUNS = 15

_LOAD = """
import sys, time
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
start = time.perf_counter()
shell.run_line_magic("load_ext", "lmkit")
print(time.perf_counter() - start, int("torch" in sys.modules))
"""
_BARE = """
import time
start = time.perf_counter()
import IPython.core.interactiveshell
print(time.perf_counter() - start, 0)
"""


def _run(code: str) -> tuple[float, bool]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, torch = done.stdout.split()[-2:]
    return float(seconds), torch == "1"


def rows() -> dict[str, dict[str, Any]]:
    """Interleaved, a fresh process each."""
    load, bare, torch = [], [], False
    for _ in range(RUNS):
        seconds, imported = _run(_LOAD)
        load.append(seconds)
        torch = torch or imported
        bare.append(_run(_BARE)[0])
    median = statistics.median(load)
    return {
        "load/load_ext": _row(median, "s", 0.3),
        "load/load_ext over import IPython": _row(median / statistics.median(bare), "x", None),
        "load/load_ext imports torch": _row(float(torch), "", 0.0),
    }


def _row(value: float, unit: str, goal: float | None) -> dict[str, Any]:
    return {"value": value, "unit": unit, "goal": goal, "better": "lower", "runs": RUNS}
