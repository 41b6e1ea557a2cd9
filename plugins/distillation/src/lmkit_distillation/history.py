"""What a run has written so far, kept up with by reading only what is new.

No torch here: a panel reads a run without loading anything.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["History"]

_ENDS = frozenset({"finished", "failed", "stopped"})


@dataclass
class History:
    """The events of a run folder, in the order in which they happened.

    A resumed run writes its events file anew, without the steps that it makes again; what was read
    before is dropped then. A half line at the end is read once it is whole.

    Attributes:
        path: ``events.jsonl`` of the run.
        steps: Events of steps, by rising step.
        evaluations: Likewise.
        total: Steps in all; 0 before the first start.
        end: The last of "finished", "failed" and "stopped", unless a start came after it; else "".
        problem: What the last failure said, and what to do about it.
        began: At which step the present process began, and when.
        post_rotary: Parts of the loss that were taken after rotary positions.
        preparing: What is made ready before the first step, and how far it is; "" once it is over.
    """

    path: Path
    steps: list[dict[str, Any]] = field(default_factory=list)
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    total: int = 0
    end: str = ""
    problem: str = ""
    began: tuple[int, float] = (0, 0.0)
    preparing: str = ""
    post_rotary: frozenset[str] = frozenset()
    _offset: int = 0
    _file: tuple[int, int] = (0, 0)

    def read(self) -> bool:
        """Read what is new; whether there was anything."""
        try:
            with self.path.open("rb") as file:
                stat = os.fstat(file.fileno())
                same = (stat.st_dev, stat.st_ino)
                if same != self._file or stat.st_size < self._offset:
                    self._forget()
                    self._file = same
                file.seek(self._offset)
                raw = file.read()
        except OSError:
            return False
        whole = raw.rfind(b"\n") + 1
        self._offset += whole
        for line in raw[:whole].splitlines():
            try:
                event = json.loads(line)
            except ValueError:  # what a kill left half written
                continue
            if isinstance(event, dict):
                self._take(event)
        return whole > 0

    @property
    def step(self) -> int:
        """Steps done."""
        return int(self.steps[-1]["step"]) if self.steps else 0

    @property
    def seconds_left(self) -> float | None:
        """At the pace of this process's last 50 steps; None where nothing is known."""
        since, _ = self.began
        recent = [one for one in self.steps[-50:] if one["step"] > since]
        if len(recent) < 2 or self.total <= self.step:
            return None
        spent = float(recent[-1]["time"]) - float(recent[0]["time"])
        made = int(recent[-1]["step"]) - int(recent[0]["step"])
        return max(0.0, spent / made * (self.total - self.step)) if made > 0 else None

    def _forget(self) -> None:
        self.steps, self.evaluations = [], []
        self.total, self.end, self.problem, self.began = 0, "", "", (0, 0.0)
        self.preparing, self.post_rotary = "", frozenset()
        self._offset = 0

    def _take(self, event: dict[str, Any]) -> None:
        kind, step = event.get("kind"), event.get("step")
        if not isinstance(step, int) or not isinstance(event.get("time"), int | float):
            return
        if kind in ("step", "evaluation"):
            kept = self.steps if kind == "step" else self.evaluations
            while kept and kept[-1]["step"] >= step:  # made again after a kill
                kept.pop()
            kept.append(event)
        elif kind == "start":
            self.total = int(event.get("total", 0))
            self.end = self.problem = self.preparing = ""
            self.began = (step, float(event["time"]))
        elif kind in ("prepare", "cache") and "done" in event:
            what = event.get("what", "the teacher answers")
            self.preparing = f"{what}: {event['done']} of {event.get('total')}"[:120]
        elif kind == "post-rotary" and isinstance(event.get("parts"), list):
            self.post_rotary = frozenset(map(str, event["parts"]))
        elif kind in ("pause", "continue"):
            # the pause is no part of the pace
            self.began = (step, float(event["time"]))
        elif kind in _ENDS:
            self.end = str(kind)
            told = [str(event.get(name) or "") for name in ("message", "hint")]
            self.problem = " ".join(filter(None, told)) if kind == "failed" else ""
