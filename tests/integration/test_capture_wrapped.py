"""Models in wrappers: peft, quantised, offloaded to host memory or disk, compiled, checkpointed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import accelerate
import numpy as np
import peft
import pytest
import torch
import transformers as tf

from lmkit.capture import Trace, capture, trace_forward
from tests.architectures import build, inputs_of
from tests.tiny import tiny_llama

NAMES = ["bert", "llama", "t5", "falcon", "bloom"]
CPU = torch.device("cpu")


def assert_same(one: Trace, other: Trace, within: float = 0.0) -> None:
    assert [(i.role, i.heads, i.kv_heads, i.path) for i in one.layers] == [
        (i.role, i.heads, i.kv_heads, i.path) for i in other.layers
    ]
    for info in one.layers:
        for h in range(info.heads):
            got, want = (t.batch(1).attention(info.index, h) for t in (one, other))
            assert np.abs(got - want).max() <= within


def first_tensor(output: Any) -> torch.Tensor:
    return next(v for v in output.values() if isinstance(v, torch.Tensor))


def adapted(name: str, **settings: Any) -> Any:
    """With a LoRA on all linear layers whose weights are far from their zero start."""
    config = peft.LoraConfig(r=4, target_modules="all-linear", **settings)
    model = peft.get_peft_model(build(name), config).eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "lora_B" in key:
                parameter.normal_(std=0.3)
    return model


@pytest.mark.parametrize("name", NAMES)
def test_a_lora_is_looked_through_and_merging_it_changes_nothing(name: str) -> None:
    model, inputs = adapted(name), inputs_of(name)
    trace = trace_forward(model, inputs)
    assert trace.missing == ()
    assert not any("base_model" in i.name for i in trace.layers)
    with torch.no_grad():
        assert torch.equal(first_tensor(model(**inputs)), first_tensor(trace.output))
    with model.disable_adapter():
        without = trace_forward(model, inputs)
    assert_same(without, trace_forward(build(name), inputs))
    far = max(np.abs(trace.attention(i, 0) - without.attention(i, 0)).max() for i in (0, 1))
    assert far > 0.01
    merged = model.merge_and_unload()
    assert_same(trace, trace_forward(merged, inputs), within=1e-4)


@pytest.mark.parametrize("kind", ["4 bit", "8 bit"])
def test_a_quantised_model_is_recorded(kind: str, tmp_path: Path) -> None:
    # On CPUs with AVX-512 BF16 4-bit weights are packed by blocks of 64 columns: no fewer will do.
    tiny_llama(tmp_path, hidden_size=64, intermediate_size=128)
    settings = {"load_in_4bit": True, "bnb_4bit_compute_dtype": torch.float32}
    if kind == "8 bit":
        settings = {"load_in_8bit": True}
    model = tf.AutoModel.from_pretrained(
        tmp_path, quantization_config=tf.BitsAndBytesConfig(**settings), device_map="cpu"
    ).eval()
    assert "bitsandbytes" in type(model.layers[0].self_attn.q_proj).__module__
    inputs = inputs_of("llama")
    trace = trace_forward(model, inputs)
    with torch.no_grad():
        assert torch.equal(first_tensor(model(**inputs)), first_tensor(trace.output))
    assert [i.kv_heads for i in trace.layers] == [2, 2]
    assert trace.deviation is not None
    assert trace.deviation < 2e-6
    assert trace.attention(1, 0).max() * 48 > 3


def _on_disk(model: Any, path: Path) -> Any:
    accelerate.disk_offload(model, offload_dir=str(path), execution_device=CPU)
    return model


def _in_host_memory(model: Any, path: Path) -> Any:
    accelerate.cpu_offload(model, execution_device=CPU)
    return model


def _mapped(model: Any, path: Path) -> Any:
    parts = [name for name, _ in model.named_children()]
    where: dict[str, Any] = {p: ("disk", "cpu")[i % 2] for i, p in enumerate(parts)}
    return accelerate.dispatch_model(
        model, device_map=where, offload_dir=str(path), main_device="cpu"
    )


@pytest.mark.parametrize("offload", [_on_disk, _in_host_memory, _mapped])
@pytest.mark.parametrize("name", NAMES)
def test_offloaded_weights_change_nothing(
    name: str, offload: Callable[[Any, Path], Any], tmp_path: Path
) -> None:
    inputs = inputs_of(name)
    want = trace_forward(build(name), inputs, values=True)
    model = offload(build(name), tmp_path)
    assert any(p.is_meta for p in model.parameters())
    trace = trace_forward(model, inputs, values=True)
    assert torch.equal(first_tensor(trace.output), first_tensor(want.output))
    assert_same(trace, want)
    assert trace.device == CPU
    assert any(p.is_meta for p in model.parameters())


def test_a_layer_of_an_offloaded_model_is_computed_again(tmp_path: Path) -> None:
    inputs = inputs_of("bloom")
    want = trace_forward(build("bloom"), inputs)
    model = _on_disk(build("bloom"), tmp_path)
    trace = trace_forward(model, inputs, budget=want.nbytes - 1)
    assert trace.nbytes < want.nbytes
    assert_same(trace, want)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("whole", [True, False], ids=["wrapped", "in place"])
def test_a_compiled_model_gives_what_its_python_gives(name: str, whole: bool) -> None:
    inputs = inputs_of(name)
    want = trace_forward(build(name), inputs)
    model = build(name)
    compiled = torch.compile(model, backend="eager")
    if not whole:
        compiled = model
        model.compile(backend="eager")
    trace = trace_forward(compiled, inputs)
    assert torch.equal(first_tensor(trace.output), first_tensor(want.output))
    assert_same(trace, want)
    assert [i.name for i in trace.layers] == [i.name for i in want.layers]


def test_gradient_checkpointing_records_each_layer_once_and_leaves_gradients() -> None:
    inputs = inputs_of("llama")
    want = trace_forward(build("llama"), inputs)
    model = build("llama").train()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    with capture(model) as trace:
        output = model(**inputs, use_cache=False)
    assert_same(trace, want)
    output.last_hidden_state.sum().backward()
    assert len(trace.layers) == 2
    plain = build("llama").train()
    plain(**inputs, use_cache=False).last_hidden_state.sum().backward()
    for one, other in zip(model.parameters(), plain.parameters(), strict=True):
        if other.grad is not None:
            assert one.grad is not None
            assert torch.equal(one.grad, other.grad)


def test_a_backward_pass_inside_the_block_records_the_layers_again() -> None:
    """The recomputation is a call like any other: told apart by ``call``."""
    model = build("llama").train()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    with capture(model) as trace:
        model(**inputs_of("llama"), use_cache=False).last_hidden_state.sum().backward()
    assert sorted((i.name, i.call) for i in trace.layers) == [
        ("layers.0.self_attn", 0),
        ("layers.0.self_attn", 1),
        ("layers.1.self_attn", 0),
        ("layers.1.self_attn", 1),
    ]
