"""What a model costs to run: time, memory, operations.

Times are taken in turn, a pass of each model on the same batch, so that what else the machine does
meets all. Peak memory is that of a process that does nothing but load the model and read batches.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lmkit.api import Tools
from lmkit_distillation.data import Batch, Encoded, collate
from lmkit_distillation.memory import peak_bytes

__all__ = ["Forward", "flops_of", "measure_here", "peak_of", "sample_batches", "speed_of"]

Forward = Callable[[Batch], object]
"""One pass of a model over a batch, its result not used."""

_WARM, _LEAST, _MOST = 2, 6, 400


def sample_batches(
    texts: Sequence[Encoded], size: int, pads: tuple[int, int], device: torch.device
) -> list[Batch]:
    """Eight batches of ``size`` texts in their order, from the start again where they end."""
    sample = [texts[i % len(texts)] for i in range(size * 8)]
    return [collate(sample[i : i + size], *pads).to(device) for i in range(0, len(sample), size)]


def speed_of(
    asked: Mapping[str, Forward], batches: Sequence[Batch], seconds: float, device: torch.device
) -> dict[str, Any]:
    """Latency of a batch (p50 and p95, seconds) and texts a second of each, in turn.

    The first two rounds are not counted: they fill caches.
    """
    times: dict[str, list[float]] = {name: [] for name in asked}
    size = len(batches[0].texts)
    end = time.monotonic() + seconds
    count = 0
    with torch.inference_mode():
        while count < _LEAST or (time.monotonic() < end and count < _MOST):
            batch = batches[count % len(batches)]
            for name, forward in asked.items():
                begun = time.perf_counter()
                forward(batch)
                settle(device)
                if count >= _WARM:
                    times[name].append(time.perf_counter() - begun)
            count += 1
    row: dict[str, Any] = {"batch": size, "passes": count - _WARM}
    for name, values in times.items():
        row[name] = {
            "p50": float(np.quantile(values, 0.5)),
            "p95": float(np.quantile(values, 0.95)),
            "texts_per_second": size / float(np.mean(values)),
        }
    return row


def settle(device: torch.device) -> None:
    """Wait until an accelerator has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def flops_of(forward: Forward, batches: Sequence[Batch]) -> int:
    """Floating-point operations of a text, the mean over ``batches``, as torch counts them.

    Only matrix products and convolutions are counted, a multiplication and an addition as two.
    Attention runs in its plain form meanwhile: the counter does not know all fused
    kernels.
    """
    total = texts = 0
    for batch in batches:
        counter = FlopCounterMode(display=False)
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
            forward(batch)
        total += counter.get_total_flops()
        texts += len(batch.texts)
    return round(total / max(1, texts))


def peak_of(
    model: str, auto_class: str, inputs: Sequence[Mapping[str, torch.Tensor]], device: torch.device
) -> tuple[int | None, str]:
    """Most memory of a process of its own that loads a model and reads ``inputs``.

    Returns:
        Bytes, and where they could not be had None with the reason.
    """
    order = {
        "model": model,
        "auto_class": auto_class,
        "device": str(device),
        "threads": torch.get_num_threads(),
        "inputs": [{name: one.tolist() for name, one in batch.items()} for batch in inputs],
    }
    command = [sys.executable, "-m", "lmkit", "distill", "--measure"]
    try:
        done = subprocess.run(  # noqa: S603  # this Python, with words of this module
            command, input=json.dumps(order), capture_output=True, text=True, timeout=600
        )
        if done.returncode == 0:
            return int(json.loads(done.stdout.strip().splitlines()[-1])["peak"]), ""
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    except (OSError, subprocess.TimeoutExpired, ValueError, LookupError) as error:
        last = str(error)
    return None, f"Its process did not measure it: {last[:300]}"


def measure_here(tools: Tools, order: Mapping[str, Any]) -> dict[str, int]:
    """What the process behind :func:`peak_of` does.

    Raises:
        ModelError: the model can't be loaded.
    """
    torch.set_num_threads(int(order["threads"]))
    device = torch.device(order["device"])
    loaded = tools.model(order["model"], order["auto_class"], device=str(device))
    with loaded.hold(), torch.inference_mode():
        model: Any = loaded.model.eval()
        for batch in order["inputs"]:
            model(**{name: torch.tensor(one, device=device) for name, one in batch.items()})
    return {"peak": peak_bytes(device)}
