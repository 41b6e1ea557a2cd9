"""Generation: each row is the one that its step computed, for every cache and way of decoding."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf

import lmkit.capture.steps
from lmkit.capture import Generation, Trace, capture
from lmkit.capture.records import MASKED_SCORE
from lmkit.errors import AttentionUnavailableError, BudgetExceededError, CaptureError
from tests.integration.test_capture_families import ENCODER_DECODER, FAMILIES, SIZE, Family, build

PROMPT, NEW = 21, 19  # past the windows of 16, which steps leave one by one
LAYERS = {"num_hidden_layers": 3}
MORE = {
    "gemma3": Family(
        "Gemma3ForCausalLM",
        lambda: tf.Gemma3TextConfig(
            **{**SIZE, **LAYERS},
            num_key_value_heads=2,
            head_dim=8,
            sliding_window=16,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        ),
    ),
    "qwen3_next": Family(
        "Qwen3NextForCausalLM",
        lambda: tf.Qwen3NextConfig(
            **SIZE,
            num_key_value_heads=2,
            head_dim=8,
            linear_num_key_heads=2,
            linear_num_value_heads=2,
            linear_key_head_dim=8,
            linear_value_head_dim=8,
            num_experts=4,
            num_experts_per_tok=2,
            moe_intermediate_size=16,
            shared_expert_intermediate_size=16,
            layer_types=["linear_attention", "full_attention"],
        ),
    ),
    "deepseek_v3": Family(
        "DeepseekV3ForCausalLM",
        lambda: tf.DeepseekV3Config(
            **SIZE,
            num_key_value_heads=4,
            moe_intermediate_size=16,
            n_routed_experts=4,
            num_experts_per_tok=2,
            n_group=1,
            topk_group=1,
            first_k_dense_replace=1,
            kv_lora_rank=16,
            q_lora_rank=16,
            qk_rope_head_dim=8,
            qk_nope_head_dim=8,
            v_head_dim=8,
        ),
    ),
    "t5": Family(
        "T5ForConditionalGeneration",
        lambda: tf.T5Config(
            vocab_size=99,
            d_model=32,
            d_kv=8,
            d_ff=64,
            num_layers=2,
            num_heads=4,
            decoder_start_token_id=0,
            relative_attention_max_distance=12,
            relative_attention_num_buckets=8,
        ),
        gain=1.5,
    ),
    "bart": Family(
        "BartForConditionalGeneration",
        lambda: tf.BartConfig(**ENCODER_DECODER, forced_eos_token_id=None),
    ),
}
DECODERS = [
    "llama", "mistral", "gpt2", "gemma2", "gemma3", "gpt_oss", "qwen3_next", "deepseek_v3",
    "falcon", "bloom",
]  # fmt: skip


def model_of(name: str) -> Any:
    family = MORE.get(name) or FAMILIES[name]
    model = build(family)
    if name in ("t5", "bart"):
        with torch.no_grad():  # a table of its own bias values, and logits apart
            for parameter_name, parameter in model.named_parameters():
                if "relative_attention_bias" in parameter_name:
                    parameter.normal_(0, 2)
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    return model


def prompts(batch: int = 1, tokens: int = PROMPT) -> dict[str, torch.Tensor]:
    torch.manual_seed(4)
    ids = torch.randint(5, 90, (batch, tokens))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def generated(model: Any, inputs: dict[str, Any], **options: Any) -> tuple[torch.Tensor, Trace]:
    """``generate`` under capture, and the same without: the output must be the same."""
    given = {"max_new_tokens": NEW, "do_sample": False, **options}
    torch.manual_seed(0)
    plain = model.generate(**inputs, **given)
    torch.manual_seed(0)
    with capture(model) as trace:
        out = model.generate(**inputs, **given)
    assert torch.equal(out, plain)
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    return out, trace


def recomputed(
    name: str, model: Any, ids: torch.Tensor, mask: torch.Tensor, **more: Any
) -> dict[str, tuple[torch.Tensor, ...]]:
    """Attention of one eager pass over all that was fed, by role."""
    reference = build(MORE.get(name) or FAMILIES[name], attn_implementation="eager")
    reference.load_state_dict(model.state_dict())
    reference.generation_config = model.generation_config
    with torch.no_grad():
        if model.config.is_encoder_decoder:
            out = reference(**more, decoder_input_ids=ids[:, :-1], output_attentions=True)
            return {
                "encoder": out.encoder_attentions,
                "decoder": out.decoder_attentions,
                "cross": out.cross_attentions,
            }
        mask = mask.long()
        fed = torch.cat([mask, mask.new_ones(1, ids.shape[1] - mask.shape[1])], 1)[:, :-1]
        positions = (fed.cumsum(1) - 1).clamp_min(0)
        takes = {} if name in ("bloom", "falcon") else {"position_ids": positions}
        out = reference(input_ids=ids[:, :-1], attention_mask=fed, output_attentions=True, **takes)
        return {"decoder": tuple(a for a in out.attentions if a is not None)}


def deviation(made: Generation, want: dict[str, tuple[torch.Tensor, ...]], skip: int = 0) -> float:
    """Largest difference over all layers, heads and real rows; attention is not uniform."""
    worst = peak = 0.0
    for role, layers in want.items():
        infos = [i for i in made.layers if i.role == role]
        assert len(infos) == len(layers), (role, [i.name for i in made.layers])
        for info, expected in zip(infos, layers, strict=True):
            for h in range(info.heads):
                got = made.attention(info.index, h)[skip:]
                assert got.shape == expected[0, h, skip:].shape
                worst = max(worst, float(np.abs(got - expected[0, h, skip:].numpy()).max()))
                peak = max(peak, float(got[-1].max()) * info.keys)
    assert peak > 2
    return worst


@pytest.fixture(params=DECODERS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_greedy_rows_are_those_of_a_full_recomputation(name: str) -> None:
    model = model_of(name)
    inputs = prompts()
    out, trace = generated(model, inputs)
    made = trace.generation()
    assert made.ids == tuple(out[0].tolist())
    assert made.prompt == PROMPT
    assert made.tokens == PROMPT + NEW - 1
    assert [(s.first, s.last) for s in made.steps] == [
        (0, PROMPT), *((i, i + 1) for i in range(PROMPT, PROMPT + NEW - 1))
    ]  # fmt: skip
    assert made.steps[0].label == "prompt"
    assert made.steps[1].label == f"token {PROMPT}"
    assert deviation(made, recomputed(name, model, out, inputs["attention_mask"])) <= 1e-5
    if name not in ("falcon", "bloom"):
        assert trace.deviation is not None
        assert trace.deviation < 2e-6


def test_each_step_stands_at_absolute_positions(name: str) -> None:
    model = model_of(name)
    inputs = prompts()
    _, trace = generated(model, inputs)
    made = trace.generation()
    names = [i.name for i in made.layers]
    steps = {i.step for i in trace.layers}
    assert steps == set(range(NEW))
    for info in trace.layers:
        if info.step in (0, 1, NEW - 1):
            row = made.steps[info.step]
            layer = names.index(info.name)
            a = trace.attention(info.index, 1)
            whole = made.attention(layer, 1)[row.first : row.last]
            assert a.shape[0] == row.last - row.first
            if name not in ("falcon", "bloom"):
                assert a.shape[1] == row.last
            assert np.abs(whole[:, : a.shape[1]] - a).max() < 1e-6


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma2", "gemma3", "gpt_oss"])
def test_a_static_cache(name: str) -> None:
    model = model_of(name)
    inputs = prompts()
    out, trace = generated(model, inputs, cache_implementation="static")
    assert trace.error is None
    made = trace.generation()
    assert deviation(made, recomputed(name, model, out, inputs["attention_mask"])) <= 1e-5


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma3", "gpt2", "qwen3_next"])
@pytest.mark.parametrize("cache", [None, "static"])
def test_beams(name: str, cache: str | None) -> None:
    if name == "qwen3_next" and cache == "static":
        cache = "dynamic"
    model = model_of(name)
    inputs = prompts(2)
    out, trace = generated(
        model, inputs, num_beams=3, num_return_sequences=2, cache_implementation=cache
    )
    assert any(
        step.parents is not None and not torch.equal(step.parents, torch.arange(6))
        for step in trace._held.passes.runs[0].steps  # type: ignore[union-attr]
    )
    for sequence in range(4):
        made = trace.generation(sequence)
        assert made.ids == tuple(out[sequence].tolist())
        want = recomputed(name, model, out[sequence : sequence + 1], inputs["attention_mask"][:1])
        assert deviation(made, want) <= 1e-5


def test_beams_that_end_early_are_cut_at_their_end() -> None:
    model = model_of("llama")
    inputs = prompts(2)
    plain = model.generate(**inputs, max_new_tokens=NEW, num_beams=4, do_sample=False)
    stop = int(plain[0, PROMPT + 6])
    out, trace = generated(
        model, inputs, num_beams=4, num_return_sequences=3, eos_token_id=stop, do_sample=False
    )
    lengths = set()
    for sequence in range(6):
        made = trace.generation(sequence)
        length = len(made.ids)
        lengths.add(length)
        assert made.ids == tuple(out[sequence, :length].tolist())
        assert stop not in made.ids[PROMPT:-1]
        want = recomputed(
            "llama", model, out[sequence : sequence + 1, :length], torch.ones(1, PROMPT)
        )
        assert deviation(made, want) <= 1e-5
    assert len(lengths) > 1


def test_the_parents_of_beams_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check of each step refuses rows that continue the wrong beam."""
    monkeypatch.setattr(lmkit.capture.steps.CachedRun, "reorder", lambda self, parents: None)
    model = model_of("llama")
    _, trace = generated(model, prompts(), num_beams=4)
    with pytest.raises(AttentionUnavailableError, match="saw other keys"):
        trace.generation()


def test_the_last_keys_of_a_window_are_not_enough() -> None:
    """What a peer would do: the cache's last K under all queries. It is far off."""
    model = model_of("mistral")
    inputs = prompts()
    out, trace = generated(model, inputs)
    made = trace.generation()
    want = recomputed("mistral", model, out, inputs["attention_mask"])["decoder"][0][0, 0].numpy()
    row = made.layers[0].queries - 1
    assert np.abs(made.rows(0, 0, [row])[0] - want[row]).max() < 1e-5
    assert made.rows(0, 0, [row])[0, : row - 15].max() == 0.0
    key = made._held.records[0].key[0, 0]  # type: ignore[attr-defined]
    query = made._held.records[0].query[0, 0]  # type: ignore[attr-defined]
    last = torch.softmax(query[30] @ key[-16:].T * 8**-0.5, -1).numpy()
    assert np.abs(last - want[30, 15:31]).max() > 0.1
    assert np.abs(made.rows(0, 0, [30])[0] - want[30]).max() < 1e-5


def test_sampling_returns_several_sequences() -> None:
    model = model_of("mistral")
    inputs = prompts(2)
    out, trace = generated(model, inputs, do_sample=True, num_return_sequences=3, temperature=2.0)
    assert len({tuple(row) for row in out.tolist()}) == 6
    for sequence in range(6):
        made = trace.generation(sequence)
        assert made.ids == tuple(out[sequence].tolist())
        want = recomputed("mistral", model, out[sequence : sequence + 1], torch.ones(1, PROMPT))
        assert deviation(made, want) <= 1e-5
    with pytest.raises(CaptureError, match="among the 6"):
        trace.generation(6)
    with pytest.raises(CaptureError, match="has 1"):
        trace.generation(call=1)


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma3", "gpt_oss"])
@pytest.mark.parametrize("cache", [None, "static"])
def test_a_batch_padded_on_the_left(name: str, cache: str | None) -> None:
    model = model_of(name)
    inputs = prompts(2)
    inputs["attention_mask"][1, :8] = 0
    inputs["input_ids"][1, :8] = 0
    out, trace = generated(model, inputs, cache_implementation=cache)
    for sequence, pad in ((0, 0), (1, 8)):
        made = trace.generation(sequence)
        mask = inputs["attention_mask"][sequence : sequence + 1]
        want = recomputed(name, model, out[sequence : sequence + 1], mask)
        assert deviation(made, want, skip=pad) <= 1e-5
        assert made.valid is not None
        assert made.valid.tolist() == [False] * pad + [True] * (PROMPT + NEW - 1 - pad)
        assert made.attention(0, 0)[pad:, :pad].sum() == 0.0


def test_a_sequence_that_ends_before_the_others_of_its_batch() -> None:
    model = model_of("llama")
    inputs = prompts(3)
    plain = model.generate(**inputs, max_new_tokens=NEW, do_sample=False)
    stop = int(plain[1, PROMPT + 4])
    out, trace = generated(model, inputs, eos_token_id=stop)
    for sequence in range(3):
        row = out[sequence].tolist()
        length = row.index(stop, PROMPT) + 1 if stop in row[PROMPT:] else len(row)
        made = trace.generation(sequence)
        assert made.ids == tuple(row[:length])
        assert made.tokens == length - 1


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma3"])
@pytest.mark.parametrize("how", ["prompt lookup", "assistant"])
def test_rejected_drafts_are_rolled_back(name: str, how: str) -> None:
    model = model_of(name)
    inputs = prompts()
    inputs["input_ids"][0, 10:] = inputs["input_ids"][0, :11].clone()
    if how == "assistant":
        assistant = model_of("llama")
        with torch.no_grad():
            assistant.lm_head.weight.add_(torch.randn_like(assistant.lm_head.weight) * 0.02)
        options: dict[str, Any] = {"assistant_model": assistant}
    else:
        options = {"prompt_lookup_num_tokens": 4}
    out, trace = generated(model, inputs, **options)
    run = trace._held.passes.runs[0]  # type: ignore[union-attr]
    fed = sum(step.queries for step in run.steps)
    made = trace.generation()
    assert fed > made.tokens  # some drafts were rejected
    assert made.ids == tuple(out[0].tolist())
    assert made.steps[0].first == 0
    assert made.steps[-1].last == made.tokens == len(made.ids) - 1
    assert all(a.last == b.first for a, b in zip(made.steps, made.steps[1:], strict=False))
    want = recomputed(name, model, out, inputs["attention_mask"])
    assert deviation(made, want) <= 1e-5


@pytest.mark.parametrize("name", ["t5", "bart"])
@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"cache_implementation": "static"}])
def test_an_encoder_decoder(name: str, options: dict[str, Any]) -> None:
    model = model_of(name)
    inputs = prompts(2)
    inputs["attention_mask"][1, 15:] = 0
    out, trace = generated(model, inputs, **options)
    for sequence in range(2):
        made = trace.generation(sequence)
        assert made.ids == tuple(out[sequence, : len(made.ids)].tolist())
        assert {i.role for i in made.layers} == {"encoder", "decoder", "cross"}
        own = {key: value[sequence : sequence + 1] for key, value in inputs.items()}
        want = recomputed(name, model, torch.tensor([made.ids]), own["attention_mask"], **own)
        real = 15 if sequence else PROMPT
        encoder = want.pop("encoder")
        assert deviation(made, want) <= 1e-5
        for info in made.layers[:2]:
            got = made.attention(info.index, 2)[:real]
            assert np.abs(got - encoder[info.index][0, 2, :real].numpy()).max() <= 1e-5
    run = trace._held.passes.runs[0]  # type: ignore[union-attr]
    for layer in run.layers.values():
        if layer.cross:  # its keys are kept once
            assert layer.key.count == PROMPT * run.steps[0].batch
        for rule in layer.rules.values():  # T5's bias costs one value a distance
            assert rule.bias is None
            assert rule.holes is None


def test_a_generation_without_a_cache() -> None:
    model = model_of("llama")
    inputs = prompts(2)
    out, trace = generated(model, inputs, use_cache=False)
    made = trace.generation(1)
    assert made.ids == tuple(out[1].tolist())
    assert made.tokens == PROMPT + NEW - 1
    assert [(s.first, s.last) for s in made.steps][:2] == [(0, PROMPT), (PROMPT, PROMPT + 1)]
    want = recomputed("llama", model, out[1:], inputs["attention_mask"][:1])
    assert deviation(made, want) <= 1e-5


@pytest.mark.parametrize("cached", [True, False])
def test_a_loop_of_ones_own(cached: bool) -> None:
    """With a cache from before the block: its tokens have keys and no rows."""
    model = model_of("mistral")
    ids = prompts()["input_ids"]
    torch.manual_seed(7)
    more = torch.randint(5, 90, (1, 12))
    cache = tf.DynamicCache(config=model.config)
    with torch.no_grad():
        if cached:
            model(input_ids=ids, past_key_values=cache)
        with capture(model) as trace:
            if not cached:
                model(ids, past_key_values=cache)
            for i in range(12):
                model(input_ids=more[:, i : i + 1], past_key_values=cache)
    made = trace.generation()
    whole = torch.cat([ids, more], 1)
    want = recomputed("mistral", model, torch.cat([whole, ids[:, :1]], 1), torch.ones(1, PROMPT))
    first = PROMPT if cached else 0
    assert made.layers[0].queries == PROMPT + 12 - first
    assert made.layers[0].keys == PROMPT + 12
    assert made.steps[-1].last == made.layers[0].queries
    for layer in range(2):
        got = made.attention(layer, 3)
        assert np.abs(got - want["decoder"][layer][0, 3, first:].numpy()).max() <= 1e-5


def test_a_long_prompt_in_chunks() -> None:
    model = model_of("llama")
    inputs = prompts()
    out, trace = generated(model, inputs, prefill_chunk_size=8)
    made = trace.generation()
    assert [(s.label, s.first, s.last) for s in made.steps[:4]] == [
        ("prompt", 0, 8), ("prompt", 8, 16), ("prompt", 16, 21), ("token 21", 21, 22)
    ]  # fmt: skip
    assert deviation(made, recomputed("llama", model, out, inputs["attention_mask"])) <= 1e-5


def test_two_generations_in_one_block() -> None:
    model = model_of("gpt2")
    first, second = prompts(), prompts(tokens=9)
    with capture(model) as trace:
        one = model.generate(**first, max_new_tokens=5, do_sample=False)
        two = model.generate(**second, max_new_tokens=7, do_sample=False)
    for call, out in ((0, one), (1, two)):
        made = trace.generation(call=call)
        assert made.ids == tuple(out[0].tolist())
        want = recomputed("gpt2", model, out, torch.ones(1, 9 if call else PROMPT))
        assert deviation(made, want) <= 1e-5


def test_a_static_cache_that_goes_on_is_not_what_a_trace_shows() -> None:
    model = model_of("mistral")
    inputs = prompts()
    _, trace = generated(model, inputs, cache_implementation="static")
    before = trace.generation().attention(1, 2)
    other = prompts()
    other["input_ids"] = other["input_ids"].flip(1)
    model.generate(**other, max_new_tokens=NEW, do_sample=False, cache_implementation="static")
    assert np.array_equal(trace.generation().attention(1, 2), before)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("llama", {}),
        ("llama", {"cache_implementation": "static"}),
        ("mistral", {}),
        ("t5", {}),
        ("bart", {"num_beams": 2}),
    ],
)
def test_memory_grows_with_the_tokens(name: str, options: dict[str, Any]) -> None:
    """Twice the new tokens, twice what they take; steps x tokens would be four times."""
    model = model_of(name)

    def size(new: int) -> int:
        with capture(model) as trace:
            model.generate(**prompts(), max_new_tokens=new, do_sample=False, **options)
        return trace.nbytes

    base, once, twice = size(1), size(65), size(129)
    assert (twice - base) / (once - base) < 2.1
    # queries and keys of one token in each self-attention layer, and the ends of its rows
    config = model.config
    heads, kv, width = 4, getattr(config, "num_key_value_heads", 4), 8
    token = 2 * (heads + kv) * width * 4 * options.get("num_beams", 1)
    if name in ("t5", "bart"):
        token += 2 * heads * width * 4 * options.get("num_beams", 1)  # cross-attention's queries
    assert (twice - base) / 128 < 1.25 * token


def test_the_views_ask_a_generation_like_any_trace() -> None:
    model = model_of("mistral")
    _, trace = generated(model, prompts())
    made = trace.generation()
    a = made.attention(1, 3)
    n = made.tokens
    assert np.abs(made.rows(1, 3, [0, n - 1]) - a[[0, n - 1]]).max() < 1e-6
    assert np.abs(made.block(1, 3, 20, 33, 10, 30) - a[20:33, 10:30]).max() < 1e-6
    assert np.abs(made.summed(1, 3, [5, 30]) - a[[5, 30]].sum(0)).max() < 1e-6
    assert np.abs(made.summed_to(1, 3, [5, 30]) - a[:, [5, 30]].sum(1)).max() < 1e-6
    pooled = made.mass(1, 3, 13, 13)
    assert (
        np.abs(pooled.reshape(13, 13) - a.reshape(13, n // 13, 13, n // 13).sum(3).mean(1)).max()
        < 1e-6
    )
    assert np.abs(made.thumbnails(1, 13)[3] - pooled).max() < 1e-6
    assert made.attention_received().sum() == pytest.approx(1.0, abs=1e-5)
    pair = made.qk(1, 3, 30, 28)
    assert pair.weight == pytest.approx(float(a[30, 28]), abs=1e-6)
    assert made.layers[0].causal
    assert made.layers[0].window == 16
    with pytest.raises(CaptureError, match="one sequence already"):
        made.generation()


@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_vectors_and_scores_of_a_generation_give_its_attention(name: str) -> None:
    """For the merged sequence and for one of its steps."""
    _, trace = generated(model_of(name), prompts())
    made = trace.generation()
    for seen in (made, trace):
        for info in (seen.layers[0], seen.layers[-1]):
            assert (info.has_qk, info.head_size, info.rotary) == (True, 8, True)
            assert info.softcap == (2.0 if name == "gemma2" else None)
            rows = [info.queries - 1]
            q = seen.queries(info.index, 2, rows).astype(np.float64)
            k = seen.keys(info.index, 2, range(info.keys)).astype(np.float64)
            scores = seen.scores(info.index, 2, rows)
            product = info.scale * (q @ k.T)
            if info.softcap is not None:
                product = info.softcap * np.tanh(product / info.softcap)
            open_ = scores > MASKED_SCORE
            assert open_.any()
            assert np.abs((scores - product)[open_]).max() < 1e-4
            e = np.where(open_, np.exp(scores - scores.max()), 0)
            assert np.abs(e / e.sum() - seen.rows(info.index, 2, rows)).max() < 1e-5


def test_values_are_kept_at_their_positions_too() -> None:
    model = model_of("mistral")
    with capture(model, values=True) as trace:
        model.generate(**prompts(), max_new_tokens=9, do_sample=False, num_beams=2)
    made = trace.generation()
    first = made.values(0, 2)
    assert first.shape == (PROMPT + 8, 8)
    with capture(model, values=True) as again, torch.no_grad():
        model(input_ids=torch.tensor([made.ids[:-1]]))
    assert np.abs(again.values(0, 2) - first).max() < 1e-5
    assert np.abs(again.values(1, 2) - made.values(1, 2)).max() < 1e-4


def test_nothing_generated_and_nothing_held() -> None:
    model = model_of("llama")
    with capture(model) as trace, torch.no_grad():
        model(**prompts())
    with pytest.raises(CaptureError, match="Nothing was generated"):
        trace.generation()
    _, trace = generated(model, prompts())
    gone = weakref.ref(model)
    made = trace.generation()
    del model
    gc.collect()
    assert gone() is None
    trace.release()
    assert trace.nbytes == 0
    assert made.attention(0, 0).shape == (made.tokens, made.tokens)


def test_a_budget_counts_what_is_kept_of_all_steps() -> None:
    model = model_of("llama")
    with capture(model) as trace:
        model.generate(**prompts(), max_new_tokens=40, do_sample=False)
    with pytest.raises(BudgetExceededError), capture(model, budget=trace.nbytes // 2):
        model.generate(**prompts(), max_new_tokens=40, do_sample=False)
    with capture(model, budget=trace.nbytes + trace.nbytes // 8):
        model.generate(**prompts(), max_new_tokens=40, do_sample=False)
