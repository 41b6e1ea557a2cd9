"""Devices of this kernel, their memory, and what is said when one is full or missing."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lmkit.errors import DeviceError, DeviceMemoryError
from lmkit.protocol.messages import DeviceInfo

__all__ = [
    "check_device",
    "default_device",
    "devices",
    "free_memory",
    "is_memory_error",
    "memory_errors",
    "no_memory",
    "readable_bytes",
    "total_memory",
]


def devices(chosen: str | None = None) -> tuple[DeviceInfo, ...]:
    """All devices that a model can be put on, the CPU last.

    Args:
        chosen: The device to mark; the default one (cuda, else mps, else cpu) without it.
    """
    chosen = chosen or default_device()
    return tuple(
        DeviceInfo(
            name=name,
            title=_title(name),
            chosen=name == chosen,
            memory_total=total_memory(name),
            memory_used=max(0, total_memory(name) - free_memory(name)),
        )
        for name in _names()
    )


def default_device() -> str:
    """The first GPU, else Apple's, else the CPU."""
    return _names()[0]


def check_device(name: str) -> str:
    """The full name of a device (``cuda`` is ``cuda:0``).

    Raises:
        DeviceError: this kernel has no such device.
    """
    wanted = name.strip().lower()
    there = _names()
    if wanted == "cuda" and "cuda:0" in there:
        return "cuda:0"
    if wanted in ("cpu:0", "mps:0"):
        wanted = wanted[:3]
    if wanted in there:
        return wanted
    hint = 'Choose one with `%lmkit device NAME` or `device="NAME"`.'
    if wanted.startswith("cuda") and not any(n.startswith("cuda") for n in there):
        hint = "PyTorch sees no CUDA GPU here: the driver or a CUDA build of PyTorch is missing."
    raise DeviceError(
        f"There is no {name[:80]} in this kernel; there are: {', '.join(there)}.", hint=hint
    )


def total_memory(name: str) -> int:
    """Bytes of memory of a device, 0 where it is not reported."""
    import torch

    if name.startswith("cuda"):
        return int(torch.cuda.get_device_properties(name).total_memory)
    if name == "mps":
        return int(torch.mps.recommended_max_memory())
    return _limit_of_group() or _from_meminfo("MemTotal") or _pages("SC_PHYS_PAGES")


def free_memory(name: str) -> int:
    """Bytes that a model can still take on a device; 0 where it is not reported.

    On CUDA this counts what PyTorch has reserved and does not use.
    """
    import torch

    if name.startswith("cuda"):
        free, _ = torch.cuda.mem_get_info(name)
        idle = torch.cuda.memory_reserved(name) - torch.cuda.memory_allocated(name)
        return int(free + idle)
    if name == "mps":
        total = torch.mps.recommended_max_memory()
        return int(max(0, total - torch.mps.driver_allocated_memory()))
    free_here = _from_meminfo("MemAvailable") or _pages("SC_AVPHYS_PAGES")
    limit = _limit_of_group()
    if not limit:
        return free_here
    return max(0, min(free_here, limit - _used_by_group()))


def readable_bytes(count: int) -> str:
    """For people: ``612 kB``, ``90.9 MB``, ``14.2 GB`` (powers of ten)."""
    if count < 1_000_000:
        return f"{max(count, 0) / 1e3:.0f} kB"
    return f"{count / 1e6:.1f} MB" if count < 1_000_000_000 else f"{count / 1e9:.1f} GB"


@contextmanager
def memory_errors(name: str, device: str, doing: str, need: int = 0) -> Iterator[None]:
    """Turn "out of memory" of any allocator into a :class:`DeviceMemoryError`.

    Args:
        name: The model, as the user named it.
        device: Where it was to be.
        doing: What the memory was for: ``"its weights"``, ``"this pass"``.
        need: Bytes needed, where known; else the allocator's own figure.
    """
    try:
        yield
    except Exception as error:
        if not is_memory_error(error):
            raise
        message = str(error)
        # The traceback's frames hold the tensors that filled the device.
        error.__traceback__ = None
        free = _give_back(device)
        need = need or _asked_for(message)
    else:
        return
    raise no_memory(name, device, doing, need, free, details=message)


def no_memory(
    name: str, device: str, doing: str, need: int, free: int, *, details: str = ""
) -> DeviceMemoryError:
    """The one sentence for a full device."""
    asks = f"needs {readable_bytes(need)} for {doing}" if need else f"needs more for {doing}"
    hint = "Unload a model (%lmkit models), "
    hint += "give a shorter text" if doing == "this pass" else "load it with dtype='float16'"
    hint += ", or choose another device. What was loaded before is unchanged."
    return DeviceMemoryError(
        f"{device} is out of memory: {name} {asks}, and {readable_bytes(free)} are free.",
        hint=hint,
        details=details,
    )


def _names() -> list[str]:
    import torch

    there: list[str] = []
    if torch.cuda.is_available():
        there += [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        there.append("mps")
    return [*there, "cpu"]


def _title(name: str) -> str:
    import torch

    if name.startswith("cuda"):
        return str(torch.cuda.get_device_name(name))
    if name == "mps":
        return "Apple GPU"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"CPU, {cores} core{'' if cores == 1 else 's'}"


def _from_meminfo(field: str) -> int:
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return 0
    found = re.search(rf"^{field}:\s+(\d+) kB$", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def _pages(name: str) -> int:
    try:
        return os.sysconf(name) * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 0


def _read_number(path: str) -> int:
    try:
        text = Path(path).read_text(encoding="ascii").strip()
    except OSError:
        return 0
    return int(text) if text.isdigit() else 0


def _limit_of_group() -> int:
    """What a container allows; the kernel is killed above it, whatever the machine has."""
    limit = _read_number("/sys/fs/cgroup/memory.max") or _read_number(
        "/sys/fs/cgroup/memory/memory.limit_in_bytes"
    )
    machine = _from_meminfo("MemTotal")
    return limit if 0 < limit < machine else 0


def _used_by_group() -> int:
    used = _read_number("/sys/fs/cgroup/memory.current") or _read_number(
        "/sys/fs/cgroup/memory/memory.usage_in_bytes"
    )
    return max(0, used - _file_cache())


def _file_cache() -> int:
    """Cached file pages: counted as used, and given back when asked for."""
    for path in ("/sys/fs/cgroup/memory.stat", "/sys/fs/cgroup/memory/memory.stat"):
        try:
            text = Path(path).read_text(encoding="ascii")
        except OSError:
            continue
        found = re.search(r"^(?:total_)?inactive_file (\d+)$", text, re.MULTILINE)
        if found:
            return int(found[1])
    return 0


def is_memory_error(error: BaseException) -> bool:
    """Whether an allocator of any device says that it is full."""
    import torch

    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and any(
        sign in text for sign in ("can't allocate memory", "out of memory", "not enough memory")
    )


def _asked_for(message: str) -> int:
    units = {"bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "GB": 10**9}
    found = re.search(r"allocate\s+([\d.]+)\s*(bytes|KiB|MiB|GiB|GB)", message)
    if not found:
        return 0
    return int(float(found[1].rstrip(".")) * units[found[2]])


def _give_back(device: str) -> int:
    import gc

    import torch

    gc.collect()
    if device.startswith("cuda") and torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif device == "mps" and torch.backends.mps.is_available():
        torch.mps.empty_cache()
    try:
        return free_memory(device)
    except (RuntimeError, AssertionError):
        return 0
