"""Checkpoints: complete or not there, checked by their sums when they are read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from lmkit_distillation.folder import RunFolder, digest, new_folder, read_json, write_text

__all__ = ["latest", "read", "save"]


def save(folder: RunFolder, step: int, state: dict[str, Any], keep: int) -> None:
    """Write the checkpoint of a step, and delete the oldest beyond ``keep``."""
    target = folder.checkpoints / f"step-{step:08d}"
    with new_folder(target) as making:
        # By a file of Python's: torch's own names no reason where it can't write.
        with (making / "state.pt").open("wb") as file:
            torch.save(state, file)
        body = {"step": step, "sha256": {"state.pt": digest(making / "state.pt")}}
        write_text(making / "checkpoint.json", json.dumps(body))
    for old in _all(folder)[keep:]:
        shutil.rmtree(old, ignore_errors=True)


def latest(folder: RunFolder) -> tuple[dict[str, Any] | None, str, str, list[str]]:
    """The newest whole checkpoint.

    Returns:
        Its state, its name and its sum (None and empty where there is none), and the names of
        damaged ones passed over.
    """
    damaged: list[str] = []
    for path in _all(folder):
        body = read_json(path / "checkpoint.json")
        known = body.get("sha256", {}) if isinstance(body, dict) else {}
        mark = str(known.get("state.pt", ""))
        state = read(folder, path.name, mark)
        if state is not None:
            return state, path.name, mark, damaged
        damaged.append(path.name)
    return None, "", "", damaged


def read(folder: RunFolder, name: str, mark: str) -> dict[str, Any] | None:
    """The state of a checkpoint by its name, where it is there and has this sum."""
    file = folder.checkpoints / name / "state.pt"
    if not file.is_file() or digest(file) != mark:
        return None
    # weights_only: a checkpoint that came from elsewhere can't run code.
    found: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    return found


def _all(folder: RunFolder) -> list[Path]:
    if not folder.checkpoints.is_dir():
        return []
    return sorted(folder.checkpoints.glob("step-*"), reverse=True)
