"""Devices, their memory, and what is said when there is none."""

from __future__ import annotations

import pytest
import torch

from lmkit.errors import DeviceError, DeviceMemoryError
from lmkit.models import devices
from lmkit.models.hardware import (
    check_device,
    default_device,
    free_memory,
    memory_errors,
    readable_bytes,
    total_memory,
)


def test_the_cpu_is_always_there_and_one_device_is_chosen() -> None:
    there = devices()
    assert there[-1].name == "cpu"
    assert [d.name for d in there if d.chosen] == [default_device()]
    assert [d.name for d in devices("cpu") if d.chosen] == ["cpu"]
    assert 0 <= there[-1].memory_used <= there[-1].memory_total
    assert 0 < free_memory("cpu") <= total_memory("cpu")


@pytest.mark.parametrize("name", ["cpu", "CPU", " cpu ", "cpu:0"])
def test_a_device_by_its_name(name: str) -> None:
    assert check_device(name) == "cpu"


@pytest.mark.parametrize("name", ["cuda:99", "tpu", "", "cpu:1", "<b>"])
def test_a_device_that_is_not_there(name: str) -> None:
    with pytest.raises(DeviceError) as caught:
        check_device(name)
    assert f"There is no {name} in this kernel; there are: " in caught.value.message
    assert "cpu" in caught.value.message
    assert caught.value.hint


def test_two_gpus_are_found_and_the_first_is_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert default_device() == "cuda:0"
    assert check_device("cuda") == "cuda:0"
    assert check_device("cuda:1") == "cuda:1"
    with pytest.raises(DeviceError, match=r"There is no cuda:2 in this kernel; .*cuda:1, "):
        check_device("cuda:2")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.50 GiB. GPU 0 has"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 7 bytes"),
        MemoryError(),
    ],
)
def test_any_allocators_failure_is_one_sentence(error: Exception) -> None:
    with (
        pytest.raises(DeviceMemoryError) as caught,
        memory_errors("starter:chat", "cpu", "its weights"),
    ):
        raise error
    said = caught.value
    assert said.message.startswith("cpu is out of memory: starter:chat needs ")
    assert "are free" in said.message
    assert "unchanged" in said.hint
    if "1.50 GiB" in str(error):
        assert "needs 1.6 GB for its weights" in said.message


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="shape"), memory_errors("m", "cpu", "this pass"):
        raise RuntimeError("shape")


def test_bytes_for_people() -> None:
    assert [readable_bytes(n) for n in (0, 612_345, 90_900_000, 14_200_000_000)] == [
        "0 kB",
        "612 kB",
        "90.9 MB",
        "14.2 GB",
    ]
