"""The runs that this process knows of: those it started or looked at, and those in ``runs/``."""

from __future__ import annotations

import threading
from pathlib import Path

from lmkit_distillation.client import Run

__all__ = ["known_runs", "remember"]

_runs: dict[Path, Run] = {}
_lock = threading.Lock()


def remember(run: Run) -> Run:
    """Keep a run; gives the one that holds its process, where this process started it."""
    path = run.folder.path.resolve()
    with _lock:
        kept = _runs.pop(path, None)
        if kept is None or (run.holds_process and not kept.active):
            kept = run
        _runs[path] = kept  # the latest is last
        return kept


def known_runs(base: Path | None = None) -> list[Run]:
    """The runs of this process and those of ``runs/`` in the working directory, newest first."""
    with _lock:
        found = dict(_runs)
    for recipe in sorted((base or Path()).glob("runs/*/recipe.json")):
        path = recipe.parent.resolve()
        if path not in found:
            found[path] = Run(recipe.parent)
    return sorted(found.values(), key=_moved, reverse=True)


def _moved(run: Run) -> float:
    for file in (run.folder.events_file, run.folder.path / "recipe.json"):
        try:
            return file.stat().st_mtime
        except OSError:
            continue
    return 0.0
