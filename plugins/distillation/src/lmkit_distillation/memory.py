"""Micro-batches: how many texts at a time, and what is done when memory runs out.

Where an allocation fails, the step is begun anew with half the size. On a CPU the kernel kills the
process instead; the next start sees that its counter of such kills grew during the step in which
the process died, and halves the size from that step on. Every size is kept with the
step from which it holds, so that a run resumed from an earlier checkpoint goes through the same
sizes and so to the same bits.
"""

from __future__ import annotations

import gc
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from lmkit_distillation.errors import DistillationError
from lmkit_distillation.folder import RunFolder, append_line, read_lines

__all__ = [
    "MicroBatches",
    "Witness",
    "died_of_memory",
    "is_out_of_memory",
    "oom_counter",
    "oom_kills",
    "peak_bytes",
]


class MicroBatches:
    """Sizes by step.

    Args:
        folder: Where they are kept.
        first: The size of the first step.

    Attributes:
        changes: From which step on which size holds, in the order in which they were made.
    """

    def __init__(self, folder: RunFolder, first: int) -> None:
        self._folder, self._first = folder, first
        lines = read_lines(folder.micro_file)
        self.changes = [(int(e["step"]), int(e["size"])) for e in lines]
        self._answered = {str(e.get("of", "")) for e in lines}

    def at(self, step: int) -> int:
        """The size at a step."""
        sizes = [size for since, size in self.changes if since <= step]
        return min([self._first, *sizes])

    def halve(self, step: int, why: str, of: str = "") -> int:
        """From this step on half as many; gives the size.

        Args:
            step: The step.
            why: For those who read the file.
            of: The process whose death is answered: it is answered once.

        Raises:
            DistillationError: one text at a time does not fit either.
            RunFolderError: it can't be written down.
        """
        before = self.at(step)
        if of and of in self._answered:
            return before
        if before <= 1:
            raise DistillationError(
                f"Memory ran out at step {step} with a single text at a time.",
                hint="Set data.max_length lower, or student.checkpointing = true.",
            )
        size = before // 2
        line = {"step": step, "size": size, "why": why}
        append_line(self._folder.micro_file, {**line, "of": of} if of else line)
        self.changes.append((step, size))
        self._answered.add(of)
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


def oom_counter() -> Path | None:
    """The file in which the kernel counts the processes of this cgroup that it killed for memory.

    Of the machine as a whole where cgroups do not say; None where nothing does.
    """
    for path in (*_own_groups(), Path("/proc/vmstat")):
        if _count_in(_text(path)) is not None:
            return path
    return None


def _own_groups() -> Iterator[Path]:
    root = Path("/sys/fs/cgroup")
    for line in _text(Path("/proc/self/cgroup")).splitlines():
        _, kinds, name = line.split(":", 2)
        below = name.lstrip("/")
        if kinds == "":  # version 2
            yield from (root / below / f"memory.events{end}" for end in (".local", ""))
        elif "memory" in kinds.split(","):
            yield root / "memory" / below / "memory.oom_control"
    # In a container the name may be the host's, and its own group the root.
    yield from (root / f"memory.events{end}" for end in (".local", ""))
    yield root / "memory" / "memory.oom_control"


def oom_kills(counter: Path | None = None) -> int | None:
    """How many processes the kernel has killed for memory here; None where it does not say."""
    counter = counter or oom_counter()
    return None if counter is None else _count_in(_text(counter))


def _count_in(text: str) -> int | None:
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key == "oom_kill" and value.strip().isdigit():
            return int(value)
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


class Witness:
    """Keeps the kernel's counter as it is at this process's death.

    The counter is of all processes of a cgroup: whether it grew says something of this one only
    at that moment. So a small shell waits at a pipe, which the kernel closes however
    this process ends, and copies the counter then; a farewell ends it without.

    Args:
        counter: The counter.
        kept: Where it is copied to.
    """

    _SCRIPT = 'read -r farewell || { cat -- "$1" > "$2.new" && mv -f -- "$2.new" "$2"; }'

    def __init__(self, counter: Path, kept: Path) -> None:
        self._shell: subprocess.Popen[bytes] | None = None
        # In a session of its own: what ends this process's group leaves it alone.
        with suppress(OSError):
            self._shell = subprocess.Popen(  # noqa: S603  # the script above
                ["/bin/sh", "-c", self._SCRIPT, "sh", str(counter), str(kept.absolute())],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

    def close(self) -> None:
        """This process ends in order, or hands the folder on."""
        if self._shell is not None:
            with suppress(OSError, subprocess.TimeoutExpired):
                self._shell.communicate(b"farewell\n", timeout=5)
            self._shell = None


def died_of_memory(folder: RunFolder, now: int | None) -> dict[str, Any] | None:
    """What the last process wrote of itself, where it was killed for memory while it made a step.

    It has to be gone without taking its leave, in the middle of a step, and the counter has to have
    grown between that step's begin and its death. Where nothing saw its death, as when a whole
    cgroup is killed at once, the counter of now stands in.
    """
    last = folder.running
    if last is None or last.get("doing") != "step" or not isinstance(last.get("oom_kills"), int):
        return None
    end = time.monotonic() + 1
    while not folder.kills_file.exists() and time.monotonic() < end:
        time.sleep(0.05)  # it may have died just now
    seen = _count_in(_text(folder.kills_file))
    if seen is None:
        seen = now
    return last if seen is not None and seen > int(last["oom_kills"]) else None


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
