"""What a model wrote, kept on disk by the ids of the texts that it was asked about.

A file of JSON lines for each setting, each line with its checksum. A kill leaves a half line at
most; that line, and any that was damaged later, counts as not there and is made again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any

from lmkit_distillation.folder import append_line, read_lines, writing

__all__ = ["KeptTexts"]


class KeptTexts:
    """A store of what one model wrote under one setting.

    Args:
        folder: Where the files are; made when something is written.
        settings: All that what is written depends on, as JSON has it.

    Attributes:
        values: What is kept, by id.
        damaged: Lines of the file that hold nothing whole.
    """

    def __init__(self, folder: Path, settings: object) -> None:
        mark = sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
        self.file = folder / f"{mark}.jsonl"
        self.values: dict[str, Any] = {}
        whole = 0
        for line in read_lines(self.file):
            name, value = line.get("id"), line.get("value")
            if isinstance(name, str) and line.get("sum") == _sum(name, value):
                # Two runs that share the file may both have written it.
                self.values.setdefault(name, value)
                whole += 1
        self.damaged = _count(self.file) - whole

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def add(self, values: Iterable[tuple[str, Any]]) -> None:
        """Keep some values, each as JSON has it; what is there under an id stays.

        Raises:
            RunFolderError: the disk is full, or can't be written.
        """
        with writing(self.file.parent):
            self.file.parent.mkdir(parents=True, exist_ok=True)
        for name, value in values:
            if name not in self.values:
                append_line(self.file, {"id": name, "value": value, "sum": _sum(name, value)})
                self.values[name] = value


def _count(path: Path) -> int:
    """Lines that a file has, whole or not."""
    try:
        return len(path.read_bytes().splitlines())
    except OSError:
        return 0


def _sum(name: str, value: object) -> str:
    body = json.dumps([name, value]).encode()
    return blake2b(body, digest_size=8).hexdigest()
