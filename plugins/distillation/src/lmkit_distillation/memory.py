"""Micro-batches: how many texts at a time, and what is done when memory runs out.

Where an allocation fails, the step is begun anew with half the size. On a CPU the kernel kills the
process instead; the next start sees that its counter of such kills has grown since the last one
began, and halves the size from the step on at which the process died. Every size is kept with the
step from which it holds, so that a run resumed from an earlier checkpoint goes through the same
sizes and so to the same bits.
"""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import torch

from lmkit_distillation.errors import DistillationError
from lmkit_distillation.folder import RunFolder, append_line, read_lines

__all__ = ["MicroBatches", "is_out_of_memory", "oom_kills", "peak_bytes"]


class MicroBatches:
    """Sizes by step.

    Args:
        folder: Where they are kept.
        first: The size of the first step.
        leader: Whether this process writes them down.
    """

    def __init__(self, folder: RunFolder, first: int, *, leader: bool = True) -> None:
        self._folder, self._first, self._leader = folder, first, leader
        self._changes = [(int(e["step"]), int(e["size"])) for e in read_lines(folder.micro_file)]

    def at(self, step: int) -> int:
        """The size at a step."""
        sizes = [size for since, size in self._changes if since <= step]
        return min([self._first, *sizes])

    def halve(self, step: int, why: str) -> int:
        """From this step on half as many.

        Raises:
            DistillationError: one text at a time does not fit either.
        """
        before = self.at(step)
        if before <= 1:
            raise DistillationError(
                f"Memory ran out at step {step} with a single text at a time.",
                hint="Set data.max_length lower, or student.checkpointing = true.",
            )
        size = before // 2
        self._changes.append((step, size))
        if self._leader:
            append_line(self._folder.micro_file, {"step": step, "size": size, "why": why})
        return size


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that there was no memory."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "can't allocate memory" in text or "out of memory" in text.lower()
    )


def free() -> None:
    """Give back what a failed step left."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


_COUNTERS = (
    ("/sys/fs/cgroup/memory.events", "oom_kill"),
    ("/sys/fs/cgroup/memory/memory.oom_control", "oom_kill"),
    ("/proc/vmstat", "oom_kill"),
)


def oom_kills() -> int | None:
    """How many processes the kernel has killed for memory, here; None where it does not say."""
    for path, name in _COUNTERS:
        try:
            lines = Path(path).read_text(encoding="utf-8").splitlines()
        except OSError:
            continue
        for line in lines:
            key, _, value = line.partition(" ")
            if key == name and value.strip().isdigit():
                return int(value)
    return None


def died_of_memory(last: dict[str, Any] | None, now: int | None) -> bool:
    """Whether the process that left ``running.json`` was killed for memory."""
    if last is None or now is None or not isinstance(last.get("oom_kills"), int):
        return False
    return now > int(last["oom_kills"])


def peak_bytes(device: torch.device) -> int:
    """Most memory so far: of the accelerator, else of this process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    import resource
    import sys

    # A child's ru_maxrss begins with its parent's peak, which exec keeps; VmHWM is its own.
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, LookupError):
        pass  # not Linux: the next best
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
