"""Where a capture keeps queries and keys: on the device of the pass, or in the host's memory.

On an accelerator that is nearly full, the queries and keys of a long text may be what no longer
fits. They are then copied to the host's memory, layer by layer, from the first layer on that finds
the device short. What is computed from them later goes back to the device in row blocks, so the
numbers are the same and the scores of a block are all that is there at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch

from lmkit.errors import CaptureError

__all__ = ["Offload", "free_bytes", "keeps_in_host_memory"]

Offload = Literal["auto", "host", "never"] | Callable[[torch.device, int], bool]
"""``"auto"``: where the device is short; ``"host"``: always; ``"never"``; or a function that is
asked at each layer, with the device of the pass and the bytes to be kept, whether to offload."""

_RESERVE = 512 * 1024**2
_RESERVE_SHARE = 0.1


def free_bytes(device: torch.device) -> tuple[int, int] | None:
    """Bytes free and in all on an accelerator, as far as that can be told without a wait.

    Memory that torch has set aside and not given out counts as free. None for the host itself.
    """
    if device.type != "cuda":
        return None
    free, total = torch.cuda.mem_get_info(device)
    idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return free + idle, total


def _short(device: torch.device, need: int) -> bool:
    """Whether keeping ``need`` bytes would leave too little for the layers that are to come."""
    memory = free_bytes(device)
    if memory is None:
        return False
    free, total = memory
    return free - need < max(_RESERVE, int(total * _RESERVE_SHARE))


def keeps_in_host_memory(offload: Offload) -> Callable[[torch.device, int], bool]:
    """The function that decides at each layer.

    Raises:
        CaptureError: not one of the words, and no function.
    """
    if callable(offload):
        return offload
    rules: dict[str, Callable[[torch.device, int], bool]] = {
        "auto": _short,
        "host": lambda device, need: True,
        "never": lambda device, need: False,
    }
    if offload not in rules:
        raise CaptureError(
            f"{offload!r} does not say where to keep queries and keys.",
            hint="Known: 'auto', 'host', 'never', or a function of device and bytes.",
        )
    return rules[offload]
