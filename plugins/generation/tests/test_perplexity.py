"""Perplexity of texts longer than the model reads, against the loop of Hugging Face's guide."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lmkit_generation.scoring import MOST_TOKENS
from lmkit_generation.task import Generation
from lmkit_generation.windows import windows_of

import lmkit
from lmkit.api import Table, TokenChoices
from lmkit.work import Work, doing
from tests.tiny import tiny_gpt2, tiny_llama

SAID = "the film moves you , and the plot is thin . we saw 中文 by the river , twice !"
WORDS = SAID.split()
LONG = " ".join(WORDS[(at * 7 + at // 5) % len(WORDS)] for at in range(400))
FAMILIES = {"llama": (tiny_llama, 256), "gpt2": (tiny_gpt2, 128)}


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def kit(request: Any, tmp_path_factory: pytest.TempPathFactory) -> lmkit.Kit:
    make, _ = FAMILIES[request.param]
    return lmkit.load(str(make(tmp_path_factory.mktemp(request.param), initializer_range=0.2)))


def guide(kit: lmkit.Kit, text: str, stride: int) -> tuple[list[float], float]:
    """Each token's loss, and the perplexity as the guide adds it up."""
    loaded = kit.loaded("generation")
    model = loaded.model
    ids = torch.tensor([loaded.tokenizer(text, verbose=False)["input_ids"]])
    longest = model.config.max_position_embeddings
    losses: list[float] = []
    nll_sum, n_tokens, prev_end = 0.0, 0, 0
    for begin in range(0, ids.size(1), stride):
        end = min(begin + longest, ids.size(1))
        target = ids[:, begin:end].clone()
        target[:, : -(end - prev_end)] = -100
        with torch.no_grad():
            output = model(ids[:, begin:end], labels=target)
        valid = int((target[:, 1:] != -100).sum())
        nll_sum += float(output.loss) * valid
        n_tokens += valid
        log_p = output.logits[0, :-1].log_softmax(-1)
        own = -log_p.gather(-1, ids[0, begin + 1 : end, None])[:, 0]
        losses += own[-valid:].tolist()
        prev_end = end
        if end == ids.size(1):
            break
    return losses, math.exp(nll_sum / n_tokens)


@pytest.mark.parametrize("stride", [1, 37, 64, 100])
def test_each_token_is_scored_once_as_the_guide_does(kit: lmkit.Kit, stride: int) -> None:
    text = LONG if stride > 1 else " ".join(LONG.split()[:200])
    made = kit.run("generation", text, mode="score", stride=stride)
    choices, table = made.results
    assert isinstance(choices, TokenChoices)
    losses, perplexity = guide(kit, text, stride)
    assert len(choices.tokens) == len(losses) + 1
    found = [-math.log(one.probability) for one in choices.tokens[1:] if one.probability]
    assert found == pytest.approx(losses, abs=1e-4)
    assert table.rows[0][0] == pytest.approx(perplexity, rel=1e-5)
    assert table.rows[0][2] == len(losses)
    assert "".join(one.token.text for one in choices.tokens).count("film") == text.count("film")
    assert "was scored in windows" in choices.note
    assert not any("left out" in one for one in made.warnings)
    assert made.attention.trace.text
    row = kit.evaluate("generation", ["a plot", text], mode="score", stride=stride).rows[1]
    assert row["perplexity"] == pytest.approx(perplexity, rel=1e-5)
    assert (row["tokens"], row["left_out"]) == (len(losses) + 1, 0)


def test_a_stride_longer_than_the_model_reads_still_gives_each_token_one_before_it(
    kit: lmkit.Kit,
) -> None:
    longest = kit.loaded("generation").longest
    made = kit.run("generation", LONG, mode="score", stride=4096).results[1]
    assert (
        made.rows == kit.run("generation", LONG, mode="score", stride=longest - 1).results[1].rows
    )
    assert made.rows[0][0] == pytest.approx(guide(kit, LONG, longest - 1)[1], rel=1e-5)


def test_a_short_text_has_no_windows(kit: lmkit.Kit) -> None:
    one = kit.run("generation", "the plot", mode="score", stride=1).results
    two = kit.run("generation", "the plot", mode="score").results
    assert one == two
    assert one[0].note == ""


@given(total=st.integers(2, 300), longest=st.integers(2, 60), stride=st.integers(1, 80))
def test_windows_score_each_token_but_the_first_once(total: int, longest: int, stride: int) -> None:
    scored: list[int] = []
    for begin, first, end in windows_of(total, longest, stride):
        assert begin < first < end <= total
        assert end - begin <= longest
        scored += range(first, end)
        if begin:
            assert first - begin >= longest - min(stride, longest - 1)
    assert scored == list(range(1, total))


def test_a_long_text_is_listed_up_to_a_bound_and_held_one_window_at_a_time(
    tmp_path: Path,
) -> None:
    kit = lmkit.load(str(tiny_llama(tmp_path)))
    model = kit.loaded("generation").model
    most = 0

    def watch(module: Any, args: Any, output: Any) -> None:
        nonlocal most
        most = max(most, output.logits.shape[1])

    handle = model.register_forward_hook(watch)
    try:
        made = kit.run("generation", f"{LONG} " * 30, mode="score", stride=200)
    finally:
        handle.remove()
    choices, table = made.results
    assert most <= 256
    assert len(choices.tokens) == MOST_TOKENS
    assert table.rows[0][2] > MOST_TOKENS
    assert f"The first {MOST_TOKENS:,} are listed" in choices.note


def test_a_stop_keeps_what_is_scored(tmp_path: Path) -> None:
    kit = lmkit.load(str(tiny_llama(tmp_path)))
    loaded = kit.loaded("generation")
    work = Work()
    values = {field.name: field.default for field in Generation.fields}
    values |= {"prompt": LONG, "mode": "score", "stride": 50}
    seen = 0

    def count(*_: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == 3:  # the pass behind the explorer, and two windows
            work.cancel()

    handle = loaded.model.register_forward_hook(count)
    try:
        with doing(work):
            choices, table = Generation().run(loaded, **values)  # type: ignore[misc]
    finally:
        handle.remove()
    assert isinstance(table, Table)
    assert table.rows[0][2] == 255 + 50
    assert len(choices.tokens) == 306
    assert "Stopped" in choices.note
