"""Energy of a text: read from the machine's own meter, else estimated and marked as that.

Meters: NVML's total energy of a GPU (millijoules since the driver was loaded), and RAPL, whose
counters under ``/sys/class/powercap`` give microjoules of a CPU package and begin anew at
``max_energy_range_uj``. Both count all that the device does, idle power and other processes too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from lmkit_distillation.cost import Forward, settle
from lmkit_distillation.data import Batch

__all__ = ["Rapl", "energy_of", "find_meter"]

WATTS_A_THREAD = 10.0
"""Assumed of a busy CPU thread where there is no meter: a server's package power over its cores."""
WATTS_A_GPU = 300.0
"""Assumed of a busy GPU where there is no meter."""


class Rapl:
    """The sum of the CPU packages' counters.

    Args:
        root: The powercap folder.
    """

    name = "RAPL"

    def __init__(self, root: Path = Path("/sys/class/powercap")) -> None:
        # intel-rapl:0 is a package; intel-rapl:0:0 is a part of it and would count twice.
        self._zones = [
            zone
            for zone in sorted(root.glob("intel-rapl:*"))
            if zone.name.count(":") == 1 and _read(zone / "energy_uj") is not None
        ]
        if not self._zones:
            raise OSError("no readable counter")
        self._last = [_read(zone / "energy_uj") or 0 for zone in self._zones]
        self._total = 0

    def joules(self) -> float:
        """Energy since this object was made; to be read before a counter goes round twice."""
        for i, zone in enumerate(self._zones):
            now = _read(zone / "energy_uj") or 0
            gone = now - self._last[i]
            if gone < 0:
                gone += _read(zone / "max_energy_range_uj") or 0
            self._total += max(0, gone)
            self._last[i] = now
        return self._total / 1e6


class Nvml:
    """A GPU's own counter, by the package ``nvidia-ml-py``."""

    name = "NVML"

    def __init__(self, index: int) -> None:
        import pynvml

        self._nvml = pynvml
        pynvml.nvmlInit()
        self._gpu = pynvml.nvmlDeviceGetHandleByIndex(index)
        self.joules()

    def joules(self) -> float:
        """Energy since the driver was loaded."""
        return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._gpu)) / 1e3


def find_meter(device: torch.device) -> tuple[Rapl | Nvml | None, str]:
    """The meter of a device, or None and why there is none."""
    if device.type == "cuda":
        try:
            return Nvml(device.index or 0), ""
        except Exception as error:  # pynvml has an exception class for each code
            return None, f"NVML reports no energy here ({error})"
    if device.type != "cpu":
        return None, f"no meter is known for {device.type}"
    try:
        return Rapl(), ""
    except OSError as error:
        return None, f"RAPL has {error} here"


def energy_of(
    asked: Mapping[str, Forward],
    batches: Sequence[Batch],
    seconds: float,
    device: torch.device,
    meter: Callable[[torch.device], tuple[Rapl | Nvml | None, str]] = find_meter,
) -> dict[str, Any]:
    """Joules a text of each model.

    Args:
        asked: The models.
        batches: What they read, again and again.
        seconds: For how long, each.
        device: Where they are.
        meter: Finds the meter.
    """
    found, why = meter(device)
    values: dict[str, Any] = {}
    watts = WATTS_A_THREAD * torch.get_num_threads() if device.type == "cpu" else WATTS_A_GPU
    with torch.inference_mode():
        for name, forward in asked.items():
            forward(batches[0])
            settle(device)
            before = found.joules() if found is not None else 0.0
            begun = time.perf_counter()
            texts = 0
            while texts == 0 or time.perf_counter() - begun < seconds:
                for batch in batches:
                    forward(batch)
                    texts += len(batch.texts)
            settle(device)
            spent = time.perf_counter() - begun
            used = found.joules() - before if found is not None else spent * watts
            values[name] = used / texts
    if found is not None:
        values["how"] = "measured"
        values["note"] = (
            f"Energy by {found.name}: all that the device used meanwhile, idle power included."
        )
    else:
        values["how"] = "estimate"
        values["note"] = (
            f"Energy is an estimate, seconds a text x {watts:g} W (assumed, not measured): {why}."
        )
    return values


def _read(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
