"""Heads changed in a pass: against hooks on W_O, in batches, and nothing left behind."""

from __future__ import annotations

import copy
import threading
from contextlib import ExitStack
from typing import Any

import pytest
import torch
import transformers as tf
from torch import nn

from lmkit.capture import capture, trace_forward
from lmkit.capture.interventions import (
    Change,
    intervene,
    keep_means,
    keep_outputs,
    repeated_pass,
)
from lmkit.capture.recorder import ACTIVE, CHANGING
from lmkit.errors import AttentionUnavailableError, Cancelled, CaptureError

SIZE: dict[str, Any] = {
    "vocab_size": 99,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
TOKENS, WIDTH = 20, 8
# Family -> config, and the name of the projection W_O below its attention module.
FAMILIES: dict[str, tuple[str, Any, str]] = {
    "bert": ("BertForSequenceClassification", tf.BertConfig(**SIZE), "attention.output.dense"),
    "llama": (
        "LlamaForCausalLM",
        tf.LlamaConfig(**SIZE, num_key_value_heads=2),
        "self_attn.o_proj",
    ),
    "qwen3": (
        "Qwen3ForCausalLM",
        tf.Qwen3Config(**SIZE, num_key_value_heads=1, head_dim=WIDTH),
        "self_attn.o_proj",
    ),
    "gpt2": (
        "GPT2LMHeadModel",
        tf.GPT2Config(
            vocab_size=99, n_embd=32, n_layer=3, n_head=4, bos_token_id=1, eos_token_id=2
        ),
        "attn.c_proj",
    ),
    "gemma2": (
        "Gemma2ForCausalLM",
        tf.Gemma2Config(**SIZE, num_key_value_heads=2, head_dim=WIDTH, attn_logit_softcapping=2.0),
        "self_attn.o_proj",
    ),
    "gpt_oss": (
        "GptOssForCausalLM",
        tf.GptOssConfig(**SIZE, num_key_value_heads=2, head_dim=WIDTH, num_local_experts=4),
        "self_attn.o_proj",
    ),
    "falcon": (
        "FalconForCausalLM",
        tf.FalconConfig(vocab_size=99, hidden_size=32, num_hidden_layers=3, num_attention_heads=4),
        "self_attention.dense",
    ),
}


def make(family: str) -> Any:
    name, config, _ = FAMILIES[family]
    torch.manual_seed(0)
    model = getattr(tf, name)(copy.deepcopy(config)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.2)
    return model


def inputs(batch: int = 1, seed: int = 1) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "input_ids": torch.randint(5, 90, (batch, TOKENS), generator=generator),
        "attention_mask": torch.ones(batch, TOKENS, dtype=torch.long),
    }


def projections(model: Any, family: str) -> list[nn.Module]:
    suffix = FAMILIES[family][2]
    return [m for name, m in model.named_modules() if name.endswith(suffix)]


def by_hooks(model: Any, family: str, given: Any, edit: Any) -> torch.Tensor:
    """The reference: W_O's own input rewritten by forward pre-hooks, no part of lmkit involved."""
    with ExitStack() as stack, torch.no_grad():
        for layer, module in enumerate(projections(model, family)):

            def hook(_: nn.Module, args: Any, layer: int = layer) -> Any:
                heads = args[0].clone().view(*args[0].shape[:2], 4, WIDTH)
                edit(layer, heads)
                return (heads.view(args[0].shape), *args[1:])

            handle = module.register_forward_pre_hook(hook)
            stack.callback(handle.remove)
        logits: torch.Tensor = model(**given).logits
    return logits


def changed(model: Any, given: Any, *changes: Change) -> torch.Tensor:
    with torch.no_grad(), intervene(model, changes):
        logits: torch.Tensor = model(**given).logits
    return logits


@pytest.fixture(autouse=True)
def _nothing_left() -> Any:
    yield
    assert CHANGING.get() == ()
    assert ACTIVE.get() == ()


def hooks(model: Any) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_head_switched_off_is_zeros_before_the_projection(family: str) -> None:
    model, given = make(family), inputs(2)

    def edit(layer: int, heads: torch.Tensor) -> None:
        if layer == 1:
            heads[:, :, 2] = 0

    expected = by_hooks(model, family, given, edit)
    plain = model(**given).logits
    assert (plain - expected).abs().max() > 1e-3
    assert torch.equal(changed(model, given, Change(1, 2)), expected)
    assert torch.equal(changed(model, given, Change(1, -2)), expected)
    assert torch.equal(model(**given).logits, plain)
    assert hooks(model) == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_changed_is_the_same_to_the_bit(family: str) -> None:
    model, given = make(family), inputs(2)
    with torch.no_grad():
        plain = model(**given).logits
        with intervene(model, []):
            assert torch.equal(model(**given).logits, plain)
        with keep_outputs(model) as kept:
            assert torch.equal(model(**given).logits, plain)
    own = [
        Change(layer, head, kept.of(layer, head, text=text), text=text)
        for layer in range(3)
        for head in range(4)
        for text in range(2)
    ]
    assert torch.equal(changed(model, given, *own), plain)


@pytest.mark.parametrize("family", ["bert", "llama", "gpt_oss", "falcon"])
def test_a_mean_is_over_the_real_positions_of_the_text(family: str) -> None:
    model, given = make(family), inputs(2)
    given["attention_mask"][1, TOKENS - 6 :] = 0

    def edit(layer: int, heads: torch.Tensor) -> None:
        if layer == 0:
            heads[0, :, 3] = heads[0, :, 3].mean(0)
            heads[1, :, 3] = heads[1, : TOKENS - 6, 3].mean(0)

    expected = by_hooks(model, family, given, edit)
    got = changed(model, given, Change(0, 3, "mean"))
    real = given["attention_mask"].bool() if got.dim() == 3 else slice(None)
    assert torch.allclose(got[real], expected[real], atol=1e-5)
    plain = model(**given).logits
    assert (plain[real] - expected[real]).abs().max() > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_the_values_of_another_text(family: str) -> None:
    model, given, other = make(family), inputs(), inputs(seed=7)
    seen: dict[int, torch.Tensor] = {}

    def look(layer: int, heads: torch.Tensor) -> None:
        seen[layer] = heads.clone()

    by_hooks(model, family, other, look)

    def edit(layer: int, heads: torch.Tensor) -> None:
        if layer in (0, 2):
            heads[:, :, 1] = seen[layer][:, :, 1]

    with torch.no_grad(), keep_outputs(model) as kept:
        model(**other)
    assert all(torch.equal(kept.of(i, 1), seen[i][0, :, 1]) for i in range(3))
    got = changed(model, given, Change(0, 1, kept.of(0, 1)), Change(2, 1, kept.of(2, 1)))
    assert torch.equal(got, by_hooks(model, family, given, edit))


def test_texts_of_another_length_are_refused_or_aligned_at_the_end() -> None:
    model, given = make("llama"), inputs()
    short = {key: value[:, :12] for key, value in inputs(seed=7).items()}
    with torch.no_grad(), keep_outputs(model) as kept:
        model(**short)
    with pytest.raises(CaptureError, match="12 positions; this text has 20"):
        changed(model, given, Change(1, 0, kept.of(1, 0)))
    got = changed(model, given, Change(1, 0, kept.of(1, 0), at_end=True))

    def edit(layer: int, heads: torch.Tensor) -> None:
        if layer == 1:
            heads[0, 8:, 0] = kept.of(1, 0)

    assert torch.equal(got, by_hooks(model, "llama", given, edit))
    back = changed(model, short, Change(1, 0, keep(model, given).of(1, 0), at_end=True))
    longer = keep(model, given).of(1, 0)[-12:]
    assert torch.equal(back, changed(model, short, Change(1, 0, longer)))


def keep(model: Any, given: Any) -> Any:
    with torch.no_grad(), keep_outputs(model) as kept:
        model(**given)
    return kept


def test_a_mean_over_a_corpus_weighs_every_real_position_alike() -> None:
    model = make("bert")
    first, second = inputs(), inputs(2, seed=3)
    second["attention_mask"][0, 15:] = 0
    with torch.no_grad(), keep_means(model) as means:
        model(**first)
        model(**second)
    one, two = keep(model, first), keep(model, second)
    rows = torch.cat([one.of(2, 1), two.of(2, 1)[:15], two.of(2, 1, text=1)])
    assert torch.allclose(means.of(2, 1), rows.mean(0), atol=1e-6)
    got = changed(model, first, Change(2, 1, means.of(2, 1)))

    def edit(layer: int, heads: torch.Tensor) -> None:
        if layer == 2:
            heads[:, :, 1] = rows.mean(0)

    assert torch.allclose(got, by_hooks(model, "bert", first, edit), atol=1e-5)


def test_zeros_are_pruning() -> None:
    """What Michel et al. 2019 call pruning: the head's columns of W_O are zero."""
    model, given = make("bert"), inputs()
    pruned = copy.deepcopy(model)
    with torch.no_grad():
        for layer, head in ((0, 1), (2, 3)):
            weight = projections(pruned, "bert")[layer].weight
            weight[:, head * WIDTH : (head + 1) * WIDTH] = 0
        expected = pruned(**given).logits
    got = changed(model, given, Change(0, 1), Change(2, 3))
    assert torch.allclose(got, expected, atol=1e-6)
    assert (model(**given).logits - expected).abs().max() > 1e-3


def test_each_text_of_a_batch_has_its_own_change() -> None:
    model, given = make("llama"), inputs()
    with torch.no_grad():
        batch = repeated_pass(
            model,
            given,
            [Change(layer, 1, text=layer) for layer in range(3)],
            copies=4,
        ).logits
    for layer in range(3):
        alone = changed(model, given, Change(layer, 1))
        assert torch.allclose(batch[layer], alone[0], atol=1e-5)
    assert torch.allclose(batch[3], model(**given).logits[0], atol=1e-5)
    assert (batch[0] - batch[1]).abs().max() > 1e-3


@pytest.mark.parametrize("family", ["llama", "falcon"])
def test_a_capture_shows_what_each_layer_computed_itself(family: str) -> None:
    """The record's self-check holds, the changed layer's own attention stays, later ones follow."""
    model, given = make(family), inputs()
    plain = trace_forward(model, given)
    with intervene(model, [Change(0, 1)]):
        trace = trace_forward(model, given)
    assert trace.deviation is not None
    assert trace.deviation < 1e-5
    assert (trace.attention(0, 1) == plain.attention(0, 1)).all()
    assert abs(trace.attention(1, 1) - plain.attention(1, 1)).max() > 1e-3
    with torch.no_grad(), capture(model) as outside, intervene(model, [Change(0, 1)]):
        model(**given)
    assert (outside.attention(1, 1) == trace.attention(1, 1)).all()
    assert outside.deviation is not None
    assert outside.deviation < 1e-5


@pytest.mark.parametrize("family", ["llama", "falcon"])
def test_other_threads_and_other_models_are_left_alone(family: str) -> None:
    model, other, given = make(family), make("gpt2"), inputs()
    with torch.no_grad():
        plain, theirs = model(**given).logits, other(**given).logits
        found: list[torch.Tensor] = []
        with intervene(model, [Change(0, 0)]):
            thread = threading.Thread(target=lambda: found.append(model(**given).logits))
            thread.start()
            thread.join()
            assert torch.equal(other(**given).logits, theirs)
            model(**given)
    assert torch.equal(found[0], plain)


def test_layers_can_be_named_and_calls_told_apart() -> None:
    """ALBERT calls one module for every layer: by number one call is changed, by name all are."""
    torch.manual_seed(0)
    model = tf.AlbertModel(tf.AlbertConfig(**SIZE, embedding_size=16)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.2)
    given = inputs()
    layers = trace_forward(model, given).layers
    name = layers[1].name

    def run(*changes: Change) -> torch.Tensor:
        with torch.no_grad(), intervene(model, changes):
            hidden: torch.Tensor = model(**given).last_hidden_state
        return hidden

    assert layers[1].call == 1
    assert torch.equal(run(Change(1, 0)), run(Change(name, 0, call=1)))
    assert torch.equal(run(*(Change(i, 0) for i in range(3))), run(Change(name, 0)))
    assert not torch.equal(run(Change(0, 0)), run(Change(1, 0)))


def test_the_numbers_of_an_encoder_decoder_stay_over_generate() -> None:
    torch.manual_seed(0)
    config = tf.BartConfig(
        vocab_size=99,
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        forced_eos_token_id=None,
    )
    model = tf.BartForConditionalGeneration(config).eval()
    given = inputs()
    layers = trace_forward(model, {**given, "decoder_input_ids": given["input_ids"][:, :3]}).layers
    with intervene(model, [Change(x.index, 0) for x in layers]), keep_outputs(model) as kept:
        model.generate(**given, max_new_tokens=3, min_new_tokens=3, do_sample=False)
    assert [name for name, _ in kept.spots] == [x.name for x in layers]
    assert all(not kept.of(x.index, 0).any() for x in layers)
    assert all(kept.of(x.index, 1).any() for x in layers)


def test_gradients_go_around_a_head_that_is_off() -> None:
    model, given = make("gpt2"), inputs()
    with intervene(model, [Change(0, 0)]):
        model(**given).logits.sum().backward()
    grad = projections(model, "gpt2")[0].weight.grad  # Conv1D: rows are inputs
    assert not grad[:WIDTH].any()
    assert grad[WIDTH:].any()


def test_what_can_not_be_is_said() -> None:
    model, given = make("llama"), inputs()
    with pytest.raises(CaptureError, match="Head 4 is not in layer"):
        changed(model, given, Change(0, 4))
    with pytest.raises(CaptureError, match="Layer 3 did not run: the pass called 3"):
        changed(model, given, Change(3, 0))
    with pytest.raises(CaptureError, match="Text 1 is not in this batch of 1"):
        changed(model, given, Change(0, 0, text=1))
    with pytest.raises(CaptureError, match="have width 5; its output has 8"):
        changed(model, given, Change(0, 0, torch.zeros(5)))
    with pytest.raises(CaptureError, match="single position"):
        changed(model, {k: v[:, :1] for k, v in given.items()}, Change(0, 0, "mean"))
    with pytest.raises(CaptureError, match="can't be changed to 'half'"):
        Change(0, 0, "half")  # type: ignore[arg-type]
    with pytest.raises(CaptureError, match="No forward pass"), intervene(model, [Change(0, 0)]):
        pass
    assert hooks(model) == 0


def test_models_with_an_attention_of_their_own_are_refused() -> None:
    torch.manual_seed(0)
    config = tf.BloomConfig(vocab_size=99, hidden_size=32, n_layer=2, n_head=4)
    model = tf.BloomForCausalLM(config).eval()
    with (
        pytest.raises(AttentionUnavailableError, match="BloomForCausalLM can't be changed"),
        intervene(model, [Change(0, 0)]),
    ):
        raise AssertionError("the block must not begin")
    with torch.no_grad(), intervene(model, []):
        model(**inputs())


def test_falcon_on_eager_says_how_to_load_it() -> None:
    config = copy.deepcopy(FAMILIES["falcon"][1])
    config._attn_implementation = "eager"
    model = tf.FalconForCausalLM(config).eval()
    with (
        pytest.raises(AttentionUnavailableError, match="on eager attention") as caught,
        intervene(model, [Change(0, 0)]),
    ):
        raise AssertionError("the block must not begin")
    assert "sdpa" in (caught.value.hint or "")


def test_nested_blocks_apply_in_order_on_both_ways_into_the_attention() -> None:
    for family in ("llama", "falcon"):
        model, given = make(family), inputs()
        once = changed(model, given, Change(1, 2, torch.ones(WIDTH)))
        with torch.no_grad(), intervene(model, [Change(1, 2)]):
            assert torch.equal(changed(model, given, Change(1, 2, torch.ones(WIDTH))), once)


def test_stop_and_failures_leave_nothing_behind() -> None:
    model, given = make("bert"), inputs()
    plain = model(**given).logits
    asked = []

    def cancel() -> bool:
        asked.append(1)
        return len(asked) > 2

    with pytest.raises(Cancelled):
        repeated_pass(model.train(), given, [Change(2, 0)], cancel=cancel)
    assert len(asked) == 3
    assert all(m.training for m in model.modules())
    with pytest.raises(ZeroDivisionError), intervene(model, [Change(0, 0)]):
        raise ZeroDivisionError
    assert CHANGING.get() == ()
    assert hooks(model) == 0
    assert torch.equal(model.eval()(**given).logits, plain)
