"""Digests of a run's data, so that a run never goes on with other texts under the same names."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import file_digest, sha256
from pathlib import Path

from lmkit_distillation.recipe import Data

__all__ = ["changed", "data_marks"]

PARTS = ("train", "unlabelled", "dev")
"""What decides the student's weights; the test texts are the report's alone."""


def data_marks(data: Data) -> dict[str, str]:
    """SHA-256 of each part's file, or of the files of its folder; without those not there."""
    found = {}
    for part in PARTS:
        path = getattr(data, part)
        mark = _mark(Path(path)) if path else ""
        if mark:
            found[part] = mark
    return found


def changed(known: Mapping[str, object], data: Data) -> list[str]:
    """The files that hold something else than when their marks were made."""
    now = data_marks(data)
    return [getattr(data, part) for part in now if known.get(part) not in (None, now[part])]


def _mark(path: Path) -> str:
    try:
        if path.is_file():
            return _digest(path)
        inside = sorted(
            one
            for one in path.rglob("*")
            # datasets keeps what it computes beside what it was given
            if one.is_file() and not one.name.startswith((".", "cache-"))
        )
        marks = [f"{one.relative_to(path).as_posix()} {_digest(one)}" for one in inside]
    except OSError:  # whoever reads it says why it can't be read
        return ""
    return sha256("\n".join(marks).encode()).hexdigest() if marks else ""


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
