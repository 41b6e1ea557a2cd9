"""What only an accelerator can show. Not part of CI: ``pytest -m gpu`` on a machine with CUDA."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest
import torch

from lmkit.errors import DeviceError, DeviceMemoryError
from lmkit.host import PluginHost
from lmkit.kit import Kit
from lmkit.models import ModelStore
from lmkit.session import Session
from tests.tiny import tiny_bert, tiny_llama

pytestmark = pytest.mark.gpu


def kit_on(device: str, source: Path) -> Kit:
    host = PluginHost(environ={"LMKIT_PLUGINS_ALLOW": "classification"})
    host.discover()
    return Kit(Session(host, ModelStore(device=device)), str(source), {})


def test_numbers_equal_those_of_the_cpu(tmp_path: Path) -> None:
    source = tiny_bert(tmp_path)
    text = "the plot is thin, but i was moved."
    there, here = (kit_on(device, source).classify(text) for device in ("cuda:0", "cpu"))
    assert there.view.header.device == "cuda:0"
    assert there.attention.trace.deviation < 1e-3
    for label, score in here.labels.items():
        assert there.labels[label] == pytest.approx(score, abs=1e-4)
    np.testing.assert_allclose(there.attention[1, 2], here.attention[1, 2], atol=1e-4)


def test_unloading_gives_the_memory_back(tmp_path: Path) -> None:
    store = ModelStore(device="cuda:0")
    gc.collect()
    before = torch.cuda.memory_allocated()
    model = store.get(str(tiny_llama(tmp_path)), "AutoModelForCausalLM")
    model.trace("some text").release()
    assert torch.cuda.memory_allocated() > before
    store.unload(model.name)
    del model
    gc.collect()
    assert torch.cuda.memory_allocated() <= before


def test_out_of_memory_is_a_sentence_and_the_session_goes_on(tmp_path: Path) -> None:
    kit = kit_on("cuda:0", tiny_bert(tmp_path))
    free, _ = torch.cuda.mem_get_info()
    torch.cuda.set_per_process_memory_fraction(1e-6)
    try:
        with pytest.raises(DeviceMemoryError):
            kit.classify("too much")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert free > 0
    assert kit.classify("again").labels


def test_a_device_that_is_not_there_is_named() -> None:
    with pytest.raises(DeviceError, match="cuda:99"):
        ModelStore().choose_device("cuda:99")
