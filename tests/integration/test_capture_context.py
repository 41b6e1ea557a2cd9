"""The block itself: threads, nesting, stopping, budgets, unloading, wrappers, other kernels."""

from __future__ import annotations

import copy
import gc
import threading
import weakref
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

import lmkit.capture
from lmkit.capture import Trace, capture, trace_forward
from lmkit.capture.recorder import ACTIVE
from lmkit.capture.records import QKRecord
from lmkit.errors import (
    AttentionUnavailableError,
    BudgetExceededError,
    Cancelled,
    CaptureError,
)

SIZE: dict[str, Any] = {
    "vocab_size": 99,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}


def make(family: str = "Llama", head: str = "Model", **config: Any) -> Any:
    torch.manual_seed(0)
    given = {**SIZE, **config}
    if family in ("Llama", "Mistral"):
        given.setdefault("num_key_value_heads", 2)
    model = getattr(tf, f"{family}{head}")(getattr(tf, f"{family}Config")(**given)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if any(f".{part}" in name for part in ("q_proj.w", "k_proj.w", "query.w", "key.w")):
                parameter.mul_(15.0)
    return model


def bloom() -> Any:
    torch.manual_seed(0)
    config = tf.BloomConfig(vocab_size=99, hidden_size=32, n_layer=3, n_head=4)
    return tf.BloomForCausalLM(config).eval()


def ids(tokens: int = 24, batch: int = 1) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {"input_ids": torch.randint(5, 90, (batch, tokens))}


def hooks(model: Any) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def state(model: Any) -> str:
    return repr(
        [
            copy.deepcopy(vars(m.config))
            for m in model.modules()
            if getattr(m, "config", None) is not None
        ]
    )


@pytest.fixture(autouse=True)
def _nothing_left() -> Any:
    yield
    assert ACTIVE.get() == ()


def test_the_package_can_be_called_like_the_function() -> None:
    model = make()
    with lmkit.capture(model) as trace:  # type: ignore[operator]
        model(**ids())
    assert len(trace.layers) == 3


def test_numbers_of_a_trace_agree_with_each_other() -> None:
    trace = trace_forward(make(), ids(50))
    for layer in range(3):
        maps = trace.thumbnails(layer, 10)
        assert maps.shape == (4, 10, 10)
        for head in range(4):
            a = trace.attention(layer, head)
            assert a.dtype == np.float32
            assert np.abs(a.sum(1) - 1).max() < 1e-5
            assert np.abs(trace.rows(layer, head, [3, -1]) - a[[3, -1]]).max() < 1e-6
            assert np.abs(trace.block(layer, head, 7, 20, 3, 19) - a[7:20, 3:19]).max() < 1e-6
            assert np.abs(trace.summed(layer, head, [1, 5]) - a[[1, 5]].sum(0)).max() < 1e-6
            assert np.abs(trace.summed_to(layer, head, [0, 4]) - a[:, [0, 4]].sum(1)).max() < 1e-6
            pooled = a.reshape(10, 5, 10, 5).sum(3).mean(1)
            assert np.abs(maps[head] - pooled).max() < 1e-6
            assert np.abs(trace.mass(layer, head, 10, 10) - pooled).max() < 1e-6
            pair = trace.qk(layer, head, 20, 7)
            assert pair.score == pytest.approx(
                float(pair.scale * pair.query @ pair.key), rel=1e-5, abs=1e-6
            )
            assert pair.weight == pytest.approx(float(a[20, 7]), abs=1e-6)
            assert trace.qk(layer, head, 7, 20).weight == 0.0
    assert trace.thumbnails(0, 24, heads=(1, 3)).shape == (2, 24, 24)
    assert trace.thumbnails(0, 100).shape == (4, 50, 50)
    received = trace.attention_received()
    whole = np.mean([trace.attention(i, h) for i in range(3) for h in range(4)], axis=(0, 1))
    assert np.abs(received - whole).max() < 1e-6
    assert received.sum() == pytest.approx(1.0, abs=1e-5)


def test_padding_is_known_and_left_out_of_means() -> None:
    model = make("Bert")
    inputs = ids(24, batch=2)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    inputs["attention_mask"][1, 15:] = 0
    trace = trace_forward(model, inputs)
    second = trace.batch(1)
    assert trace.batch_size == 2
    assert second.valid is not None
    assert second.valid.tolist() == [True] * 15 + [False] * 9
    assert second.attention(0, 0)[:, 15:].max() == 0.0
    alone = trace_forward(model, {"input_ids": inputs["input_ids"][1:, :15]})
    for layer in range(3):
        for head in range(4):
            padded = second.attention(layer, head)[:15, :15]
            assert np.abs(padded - alone.attention(layer, head)).max() < 1e-5
    assert np.abs(second.attention_received()[:15] - alone.attention_received()).max() < 1e-5
    assert not np.allclose(trace.attention(0, 0)[:15, :15], second.attention(0, 0)[:15, :15])
    with pytest.raises(CaptureError, match="batch of 2"):
        trace.batch(2)


def test_left_padding_in_a_causal_model() -> None:
    model = make()
    inputs = ids(20, batch=2)
    mask = torch.ones_like(inputs["input_ids"])
    mask[1, :6] = 0
    trace = trace_forward(model, {**inputs, "attention_mask": mask})
    assert trace.error is None
    a = trace.batch(1).attention(1, 2)
    assert a[6:, :6].max() == 0.0
    assert np.abs(a[6:].sum(1) - 1).max() < 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_against_a_float64_softmax_of_the_same_q_and_k(dtype: torch.dtype) -> None:
    trace = trace_forward(make().to(dtype), ids(40))
    assert trace.dtype == dtype
    assert trace.deviation is not None
    assert 0 < trace.deviation < 3e-2
    for info in trace.layers:
        for head in range(info.heads):
            q = np.array([trace.qk(info.index, head, i, 0).query for i in range(40)])
            k = np.array([trace.qk(info.index, head, 0, i).key for i in range(40)])
            s = torch.from_numpy(q.astype("float64") @ k.astype("float64").T)
            s = s * trace.qk(0, 0, 0, 0).scale
            want = s.masked_fill(torch.ones(40, 40).triu(1).bool(), -torch.inf).softmax(-1)
            got = trace.attention(info.index, head)
            assert np.abs(got - want.numpy()).max() <= 1e-5


def test_values_are_kept_on_request_and_give_the_output_of_a_head() -> None:
    model = make()
    seen: list[torch.Tensor] = []
    handle = model.layers[1].self_attn.o_proj.register_forward_pre_hook(
        lambda module, args: seen.append(args[0])
    )
    trace = trace_forward(model, ids(), values=True)
    handle.remove()
    got = trace.attention(1, 3) @ trace.values(1, 3)
    assert np.abs(got - seen[0][0, :, 24:32].numpy()).max() < 1e-5
    with pytest.raises(AttentionUnavailableError, match="not kept"):
        trace_forward(model, ids()).values(0, 0)


def test_training_mode_and_gradients_are_as_before() -> None:
    model = make("Bert")
    model.train()
    model.encoder.layer[1].eval()
    before = [m.training for m in model.modules()]
    trace = trace_forward(model, ids())
    assert [m.training for m in model.modules()] == before
    assert not trace.output.last_hidden_state.requires_grad
    again = trace_forward(model, ids())
    assert np.array_equal(trace.attention(2, 1), again.attention(2, 1))  # no dropout


def test_a_block_leaves_gradients_to_the_users_own_code() -> None:
    model = make()
    with capture(model) as trace:
        model(**ids()).last_hidden_state.sum().backward()
    assert model.layers[0].self_attn.q_proj.weight.grad is not None
    assert trace.attention(0, 0).shape == (24, 24)


@pytest.mark.parametrize("builder", [make, bloom])
def test_an_exception_inside_leaves_nothing_behind(builder: Any) -> None:
    model = builder()
    before = state(model)

    def fails() -> None:
        with capture(model):
            model(**ids())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert hooks(model) == 0
    assert state(model) == before
    function = ALL_ATTENTION_FUNCTIONS.get_interface("sdpa", lambda: None)
    assert not hasattr(function, "_lmkit_recording")


@pytest.mark.parametrize("builder", [make, bloom])
@pytest.mark.parametrize("after", [1, 2])
def test_stop_takes_effect_at_the_next_layer(builder: Any, after: int) -> None:
    model = builder()
    done: list[tuple[int, int]] = []

    def cancel() -> bool:
        return len(done) >= after

    with pytest.raises(Cancelled):
        trace_forward(model, ids(), cancel=cancel, on_layer=lambda a, b: done.append((a, b)))
    assert done == [(i + 1, 3) for i in range(after)]
    assert hooks(model) == 0


def test_other_threads_and_other_models_are_not_recorded() -> None:
    model, other = make(), make("Bert")
    inside, release = threading.Event(), threading.Event()
    plain: list[torch.Tensor] = []

    def work() -> None:
        inside.wait(30)
        with torch.no_grad():
            plain.append(model(**ids(11)).last_hidden_state)
        release.set()

    thread = threading.Thread(target=work)
    thread.start()
    with torch.no_grad(), capture(model) as trace:
        model(**ids(24))
        inside.set()
        assert release.wait(30)
        other(**ids(7))
    thread.join()
    assert [i.queries for i in trace.layers] == [24, 24, 24]
    with torch.no_grad():
        assert torch.equal(plain[0], model(**ids(11)).last_hidden_state)


@pytest.mark.parametrize("builder", [make, bloom])
def test_two_threads_capture_one_model_each_its_own(builder: Any) -> None:
    model = builder()
    barrier = threading.Barrier(2)
    traces: dict[int, Trace] = {}
    failures: list[BaseException] = []
    inputs = {n: ids(n) for n in (9, 17)}  # made here: the threads share the random numbers

    def work(tokens: int) -> None:
        try:
            barrier.wait(30)
            for _ in range(5):
                traces[tokens] = trace_forward(model, inputs[tokens])
        except BaseException as error:  # shown below, in the main thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in inputs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    for tokens, trace in traces.items():
        assert [i.queries for i in trace.layers] == [tokens] * 3
        alone = trace_forward(model, inputs[tokens])
        assert np.array_equal(trace.attention(2, 3), alone.attention(2, 3))
    assert hooks(model) == 0


def test_nested_blocks_keep_teacher_and_student_apart() -> None:
    teacher, student = make(), make(num_hidden_layers=1)
    with torch.no_grad(), capture(teacher) as first, capture(student) as second:
        teacher(**ids())
        student(**ids(9))
    assert [i.queries for i in first.layers] == [24] * 3
    assert [i.queries for i in second.layers] == [9]


def test_several_passes_are_steps_and_repeated_modules_are_calls() -> None:
    model = make("Albert", embedding_size=16)
    with torch.no_grad(), capture(model) as trace:
        model(**ids())
        model(**ids(9))
    assert [(i.step, i.call, i.queries) for i in trace.layers] == [
        (0, 0, 24),
        (0, 1, 24),
        (0, 2, 24),
        (1, 3, 9),
        (1, 4, 9),
        (1, 5, 9),
    ]
    assert trace.attention_received().shape == (24,)


def test_nothing_keeps_the_model_alive() -> None:
    for builder in (make, lambda: make("Bert"), bloom):
        model = builder()
        references = [weakref.ref(p) for p in model.parameters()]
        references += [weakref.ref(m) for m in model.modules()]
        trace = trace_forward(model, ids())
        trace.output = None
        del model
        gc.collect()
        assert [r() for r in references if r() is not None] == []
        assert trace.attention(0, 0).shape == (24, 24)


def test_bytes_are_those_of_q_and_k_and_one_mask() -> None:
    tokens, heads, width = 40, 4, 8
    q = tokens * heads * width * 4
    assert trace_forward(make("Bert"), ids(tokens)).nbytes == 3 * 2 * q
    assert trace_forward(make(), ids(tokens)).nbytes == 3 * (q + q // 2)
    windowed = trace_forward(make("Mistral", sliding_window=8), ids(tokens))
    assert windowed.nbytes == 3 * (q + q // 2) + tokens * tokens  # one bool mask, not three
    config = tf.GPT2Config(
        vocab_size=99, n_embd=32, n_layer=3, n_head=4, bos_token_id=1, eos_token_id=2
    )
    fused = trace_forward(tf.GPT2Model(config).eval(), ids(tokens))
    assert fused.nbytes == 3 * 2 * q  # the fused projection is not pinned


def _same_numbers(a: Trace, b: Trace) -> None:
    for info in a.layers:
        for head in range(info.heads):
            want = b.attention(info.index, head)
            assert np.abs(a.attention(info.index, head) - want).max() < 1e-6
        np.testing.assert_allclose(a.thumbnails(info.index, 5), b.thumbnails(info.index, 5))
        np.testing.assert_allclose(
            a.pool(info.index, 0, 2, 9, 1, 8, 2, 3), b.pool(info.index, 0, 2, 9, 1, 8, 2, 3)
        )


@pytest.mark.parametrize("name", ["Bert", "Llama", "Mistral"])
def test_offloaded_queries_and_keys_give_the_same_numbers(name: str) -> None:
    """Copies in the host's memory, each distinct mask once; the pass and the check are the same."""
    model = make(name)
    inputs = {**ids(), "attention_mask": torch.ones_like(ids()["input_ids"])}
    inputs["attention_mask"][0, -2:] = 0
    plain = trace_forward(model, inputs)
    away = trace_forward(model, inputs, offload="host", values=True)
    assert away.deviation is not None
    assert away.deviation < 1e-5
    _same_numbers(away, plain)
    record = away._held.records[0]
    assert isinstance(record, QKRecord)
    assert record.work_device == torch.device("cpu")
    kept = [t.data_ptr() for r in away._held.records for t in r.tensors() if t is not None]
    assert not set(kept) & {
        t.data_ptr() for r in plain._held.records for t in r.tensors() if t is not None
    }
    masks = {m.tensor.data_ptr() for r in away._held.records for m in r.masks}  # type: ignore[attr-defined]
    assert len(masks) <= 1


def test_a_rule_of_the_users_decides_layer_by_layer() -> None:
    asked: list[tuple[torch.device, int]] = []

    def every_other(device: torch.device, need: int) -> bool:
        asked.append((device, need))
        return len(asked) % 2 == 0

    model = make()
    trace = trace_forward(model, ids(), offload=every_other)
    devices = [r.work_device for r in trace._held.records]  # type: ignore[attr-defined]
    assert devices == [None if n % 2 == 0 else torch.device("cpu") for n in range(len(devices))]
    first = trace._held.records[0]
    assert isinstance(first, QKRecord)
    assert asked[0] == (torch.device("cpu"), first.query.nbytes + first.key.nbytes)
    _same_numbers(trace, trace_forward(model, ids(), offload="never"))


def test_a_device_that_runs_short_hands_over_to_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    from lmkit.capture import offload

    total = 10 * 2**30
    left = iter([6 * 2**30, 5 * 2**30, 2**30 + 100, 2**29])
    monkeypatch.setattr(offload, "free_bytes", lambda device: (next(left), total))
    short = offload.keeps_in_host_memory("auto")
    assert [short(torch.device("cuda"), 1000) for _ in range(4)] == [False, False, True, True]
    monkeypatch.undo()
    assert not short(torch.device("cpu"), 2**50)  # the host itself has nowhere else to go
    with pytest.raises(CaptureError, match="does not say where"):
        trace_forward(make(), ids(), offload="disk")  # type: ignore[arg-type]


@pytest.mark.parametrize("builder", [make, bloom])
def test_a_budget_names_need_and_limit(builder: Any) -> None:
    model = builder()
    whole = trace_forward(model, ids()).nbytes
    assert trace_forward(model, ids(), budget=whole).nbytes == whole
    with pytest.raises(BudgetExceededError, match=r"about [\d,]+ bytes; the budget is 5,000"):
        trace_forward(model, ids(), budget=5000)
    assert hooks(model) == 0


def test_release_frees_and_says_so() -> None:
    trace = trace_forward(make(), ids())
    view = trace.batch(0)
    reference = weakref.ref(trace._held.records[0])
    trace.release()
    gc.collect()
    assert reference() is None
    assert trace.nbytes == 0
    assert not view.available
    for one in (trace, view):
        with pytest.raises(CaptureError, match="released"):
            one.attention(0, 0)
    assert len(trace.layers) == 3


def test_indices_out_of_range_are_sentences() -> None:
    trace = trace_forward(make(), ids())
    for call, text in (
        (lambda: trace.attention(3, 0), "Layer 3"),
        (lambda: trace.attention(0, 4), "Head 4"),
        (lambda: trace.rows(0, 0, [24]), "no query 24"),
        (lambda: trace.summed_to(0, 0, [-25]), "no key -25"),
        (lambda: trace.block(0, 0, 0, 25, 0, 1), "not inside"),
        (lambda: trace.mass(0, 0, 0, 3), "at least one"),
        (lambda: trace.thumbnails(0, heads=(2, 9)), "Heads 2"),
    ):
        with pytest.raises(CaptureError, match=text):
            call()
    assert trace.rows(0, 0, []).shape == (0, 24)
    assert trace.block(0, 0, 3, 3, 0, 5).shape == (0, 5)


def test_reading_inside_the_block_or_without_a_pass_is_refused() -> None:
    model = make()
    with (
        pytest.raises(CaptureError, match="No forward pass"),
        capture(model) as trace,
        pytest.raises(CaptureError, match="not finished"),
    ):
        trace.attention(0, 0)


def test_a_single_token_and_a_cached_step() -> None:
    model = make()
    trace = trace_forward(model, ids(1))
    assert trace.attention(0, 0).tolist() == [[1.0]]
    with torch.no_grad():
        first = model(**ids(12), use_cache=True)
        with capture(model) as step:
            model(
                input_ids=torch.tensor([[7]]),
                past_key_values=first.past_key_values,
                use_cache=True,
            )
    assert [(i.queries, i.keys) for i in step.layers] == [(1, 13)] * 3
    whole = trace_forward(
        model, {"input_ids": torch.cat([ids(12)["input_ids"], torch.tensor([[7]])], 1)}
    )
    for layer in range(3):
        want = whole.rows(layer, 2, [12])
        assert np.abs(step.attention(layer, 2) - want).max() < 1e-5


def test_a_static_cache_that_is_written_again_does_not_change_the_record() -> None:
    model = make()
    cache = tf.StaticCache(config=model.config, max_cache_len=30)
    with torch.no_grad():
        with capture(model) as trace:
            model(**ids(12), past_key_values=cache, use_cache=True)
        before = trace.attention(1, 1)[:, :12]
        model(input_ids=torch.tensor([[7]]), past_key_values=cache, use_cache=True)
        cache.reset()
    assert np.array_equal(trace.attention(1, 1)[:, :12], before)
    assert np.abs(before - trace_forward(model, ids(12)).attention(1, 1)).max() < 1e-5


@pytest.mark.parametrize("name", ["flash_attention_2", "flex_attention"])
def test_another_kernel_is_switched_for_the_pass_and_put_back(name: str) -> None:
    """Setting the name stands for a model loaded on that kernel, which needs an accelerator."""
    model = make("Mistral", sliding_window=8)
    want = trace_forward(model, ids(30))
    model.config._attn_implementation_internal = name
    before = state(model)
    trace = trace_forward(model, ids(30))
    assert trace.path == f"sdpa (switched from {name})"
    assert state(model) == before
    assert np.array_equal(trace.attention(2, 1), want.attention(2, 1))
    with pytest.raises(ZeroDivisionError), capture(model):
        raise ZeroDivisionError
    assert state(model) == before


def test_a_composite_model_gets_each_part_back() -> None:
    torch.manual_seed(0)
    config = tf.LlavaConfig(
        vision_config=tf.CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            image_size=8,
            patch_size=4,
        ),
        text_config=tf.LlamaConfig(**SIZE, num_key_value_heads=2),
        image_token_index=98,
    )
    model = tf.LlavaForConditionalGeneration(config).eval()
    model.config.text_config._attn_implementation_internal = "flash_attention_2"
    model.config.vision_config._attn_implementation_internal = "eager"
    before = state(model)
    inputs = ids(12)["input_ids"]
    inputs[0, 2:6] = 98
    trace = trace_forward(model, {"input_ids": inputs, "pixel_values": torch.randn(1, 3, 8, 8)})
    assert state(model) == before
    assert trace.missing == ()
    assert {i.role for i in trace.layers} == {"encoder", "decoder"}
    assert trace.error is None


def test_a_compiled_model_runs_its_python_and_has_clean_names() -> None:
    model = make()
    want = trace_forward(model, ids())
    compiled = torch.compile(model, backend="eager")
    with torch.no_grad():
        compiled(**ids())
    trace = trace_forward(compiled, ids())
    assert [i.name for i in trace.layers] == [i.name for i in want.layers]
    assert np.array_equal(trace.attention(2, 1), want.attention(2, 1))


def test_a_model_compiled_after_a_capture_has_no_graph_break_from_it() -> None:
    model = make()
    trace_forward(model, ids())
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    with torch.no_grad():
        got = compiled(**ids(), use_cache=False).last_hidden_state
        assert torch.equal(got, model(**ids(), use_cache=False).last_hidden_state)


def test_a_wrong_record_is_caught_by_the_self_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the window were not seen: the trace refuses its numbers unless told not to check."""
    from lmkit.capture import recorder

    plain = recorder.Recorder._make

    def forgetful(self: Any, *args: Any) -> Any:
        made = plain(self, *args)
        made.masks = ()
        made.first_rows = True
        return made

    monkeypatch.setattr(recorder.Recorder, "_make", forgetful)
    model = make("Mistral", sliding_window=8)
    trace = trace_forward(model, ids(64))
    with pytest.raises(AttentionUnavailableError, match="wrong picture"):
        trace.attention(0, 0)
    assert trace.deviation is not None
    assert trace.deviation > 0.05
    assert trace_forward(model, ids(64), check=False).attention(0, 0).shape == (64, 64)


def test_the_fallback_gives_the_output_that_was_asked_for() -> None:
    model = bloom()
    with torch.no_grad():
        plain = model(**ids())
        with capture(model) as trace:
            output = model(**ids())
            asked = model(**ids(), output_attentions=True)
            pair = model(**ids(), return_dict=False)
    assert torch.equal(output.logits, plain.logits)
    assert "attentions" not in output
    assert len(asked.attentions) == 3
    assert isinstance(pair, tuple)
    assert torch.equal(pair[0], plain.logits)
    assert [i.step for i in trace.layers] == [0] * 3 + [1] * 3 + [2] * 3
    assert trace.path == "eager fallback"
    with pytest.raises(AttentionUnavailableError, match="not its queries and keys"):
        trace.qk(0, 0, 0, 0)


def test_stop_is_heard_while_another_block_holds_the_lock() -> None:
    model = make("Mistral", sliding_window=8)
    model.config._attn_implementation_internal = "flash_attention_2"
    before = state(model)
    heard: list[BaseException] = []
    asked = threading.Event()

    def cancel() -> bool:
        asked.set()
        return True

    def work() -> None:
        try:
            trace_forward(model, ids(), cancel=cancel)
        except Cancelled as error:
            heard.append(error)

    with torch.no_grad(), capture(model):
        model(**ids())
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(30)
        assert asked.is_set()
    assert len(heard) == 1
    assert state(model) == before
