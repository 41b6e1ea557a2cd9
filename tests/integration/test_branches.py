"""A text that parts from an earlier one goes on over its cache, and equals one written afresh."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from lmkit.models import HuggingFaceModel, ModelStore, branches
from tests import tiny
from tests.architectures import build

PROMPT = "the plot is thin, but we saw the film in the old cinema by the river."
"""More tokens than the windows of 16 take."""
NEW = 14
PLACES = (0, 1, 12)
FAMILIES = [
    "llama",
    "mistral",  # all windows
    "gemma3_text",  # windows and full layers
    "gpt_oss",  # and sinks
    "qwen3_next",  # gated delta rule and full layers
    "jamba",  # Mamba and full layers
    "bamba",  # Mamba 2 and full layers
    "lfm2",  # convolutions and full layers
    "t5",
    "bart",
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(tiny.tiny_gpt2(tmp_path_factory.mktemp("gpt2")))


def made(name: str, tokenizer: PreTrainedTokenizerBase) -> HuggingFaceModel:
    kind = "AutoModelForSeq2SeqLM" if name in ("t5", "bart") else "AutoModelForCausalLM"
    model = build(name, kind)
    torch.manual_seed(5)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    config = model.generation_config
    config.eos_token_id = config.forced_eos_token_id = None
    config.pad_token_id = 0
    if model.config.is_encoder_decoder:
        config.decoder_start_token_id = model.config.decoder_start_token_id = 0
    got = ModelStore(device="cpu").get((model, tokenizer), kind)
    assert isinstance(got, HuggingFaceModel)
    return got


@contextmanager
def passes(loaded: HuggingFaceModel) -> Iterator[list[int]]:
    """How many tokens each pass of the model reads of what is written."""
    seen: list[int] = []

    def note(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        ids = kwargs.get("decoder_input_ids")
        seen.append((kwargs["input_ids"] if ids is None else ids).shape[1])

    handle = loaded.model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield seen
    finally:
        handle.remove()


def same(one: Any, two: Any) -> None:
    assert one.sequence == two.sequence
    for mine, other in zip(one.written, two.written, strict=True):
        assert (mine.token_id, mine.rank) == (other.token_id, other.rank)
        assert mine.probability == pytest.approx(other.probability, abs=1e-5)
        assert mine.entropy == pytest.approx(other.entropy, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {}) for name in FAMILIES),
        *((name, {"do_sample": True, "temperature": 1.5}) for name in ("qwen3_next", "t5")),
    ],
)
def test_a_branch_equals_a_run_from_the_prompt(
    name: str, options: dict[str, Any], tokenizer: PreTrainedTokenizerBase
) -> None:
    loaded = made(name, tokenizer)

    def write(prefix: tuple[int, ...] = ()) -> Any:
        return loaded.trace_generation(PROMPT, max_new_tokens=NEW, seed=3, prefix=prefix, **options)

    first = write()
    assert first.restarted == ""
    ids = tuple(one.token_id for one in first.written)
    made_so = []
    for place in PLACES:
        other = first.written[place].alternatives[2].token_id
        prefix = (*ids[:place], other)
        with passes(loaded) as seen:
            branch = write(prefix)
        assert branch.restarted == ""
        assert branch.released  # its attention is made when it is asked for
        assert seen == [1] * (NEW - place - 1)
        made_so.append((prefix, branch))
    # a branch of a branch, whose cache began with a copy
    prefix, branch = made_so[1]
    ids = tuple(one.token_id for one in branch.written)
    again = (*ids[:9], branch.written[9].alternatives[1].token_id)
    with passes(loaded) as seen:
        made_so.append((again, write(again)))
    assert seen == [1] * (NEW - 10)

    first.release()
    for _, branch in made_so:
        branch.release()
    for prefix, branch in made_so:
        fresh = write(prefix)
        assert fresh.restarted != ""
        same(branch, fresh)
        assert [(one.role, one.queries, one.keys) for one in branch.layers] == [
            (one.role, one.queries, one.keys) for one in fresh.layers
        ]
        assert [(one.first, one.last, one.label) for one in branch.steps] == [
            (one.first, one.last, one.label) for one in fresh.steps
        ]
        for layer in range(len(fresh.layers)):
            difference = branch.attention(layer, 0) - fresh.attention(layer, 0)
            assert np.abs(difference).max() < 1e-5
        fresh.release()
        branch.release()


@pytest.mark.parametrize("name", ["gemma3_text", "qwen3_next"])
def test_beyond_the_budget_a_branch_restarts_and_says_so(
    name: str, tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = made(name, tokenizer)
    first = loaded.trace_generation(PROMPT, max_new_tokens=NEW, seed=0)
    whole = first.nbytes
    first.release()
    monkeypatch.setattr(branches, "KEPT_BYTES", 1_000)
    first = loaded.trace_generation(PROMPT, max_new_tokens=NEW, seed=0)
    assert first.nbytes < whole
    ids = tuple(one.token_id for one in first.written)
    early = loaded.trace_generation(
        PROMPT, max_new_tokens=NEW, seed=0, prefix=(*ids[:2], ids[2] - 1)
    )
    assert "was not kept" in early.restarted


def test_a_cache_that_cannot_be_cut_says_so(tokenizer: PreTrainedTokenizerBase) -> None:
    loaded = made("llama", tokenizer)
    options = {"max_new_tokens": NEW, "seed": 0, "cache_implementation": "static"}
    first = loaded.trace_generation(PROMPT, **options)
    ids = tuple(one.token_id for one in first.written)
    prefix = (*ids[:3], first.written[3].alternatives[1].token_id)
    branch = loaded.trace_generation(PROMPT, prefix=prefix, **options)
    assert "StaticCache" in branch.restarted
    assert tuple(one.token_id for one in branch.written)[:4] == prefix
    other = loaded.trace_generation("a film", prefix=prefix, max_new_tokens=NEW, seed=0)
    assert "no text before" in other.restarted


def test_what_is_kept_is_counted_and_let_go(tokenizer: PreTrainedTokenizerBase) -> None:
    loaded = made("qwen3_next", tokenizer)
    trace = loaded.trace_generation(PROMPT, max_new_tokens=NEW, seed=0)
    kept = trace._cache
    assert kept is not None
    assert len(kept.states) == NEW  # after the prompt and after each token but the last
    assert trace.nbytes > kept.nbytes > sum(map(branches._state_bytes, kept.states.values())) > 0
    assert trace.release() >= kept.nbytes
    assert trace.nbytes == 0
    assert trace.branch((*trace.sequence[:-1], 5)) == (
        None,
        "the cache of the text before has been let go of",
    )
