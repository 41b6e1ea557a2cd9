"""The generation task over a data set: perplexities in batches, texts row by row."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lmkit_generation.task import Generation

import lmkit
from lmkit.api import Row, RowStream, Table
from lmkit.errors import ModelError
from lmkit.work import Work, doing
from tests.tiny import tiny_gpt2, tiny_llama, tiny_t5

TEXTS = [
    "the film moves you , and the plot",
    "a plot",
    "we saw the film in the old cinema by the river , twice",
    "unbelievable acting",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def llama(folder: Path) -> lmkit.Kit:
    return lmkit.load(str(folder))


def test_perplexities_are_exp_of_the_models_own_loss(llama: lmkit.Kit) -> None:
    ev = llama.evaluate("generation", TEXTS, mode="score")
    loaded = llama.loaded("generation")
    losses, counts = [], []
    for row, text in zip(ev.rows, TEXTS, strict=True):
        ids = loaded.tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            loss = float(loaded.model(input_ids=ids, labels=ids).loss)
        losses.append(loss)
        counts.append(ids.shape[1] - 1)
        assert row["perplexity"] == pytest.approx(math.exp(loss), rel=1e-5)
        alone = llama.run("generation", text, mode="score").results[1]
        assert row["perplexity"] == pytest.approx(alone.rows[0][0], rel=1e-5)
    mean = sum(a * b for a, b in zip(losses, counts, strict=True)) / sum(counts)
    assert ev.scores["perplexity"] == pytest.approx(math.exp(mean), rel=1e-5)
    assert ev.scores["tokens scored"] == sum(counts)
    table = ev.report(order="least expected first").results[-1]
    assert isinstance(table, Table)
    shown = [row[2] for row in table.rows]
    assert shown == sorted(shown, reverse=True)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"strategy": "sample", "seed": 7, "temperature": 1.4},
        {"strategy": "beams", "beams": 3},
        {"repetition_penalty": 1.5, "preset": "summary"},
    ],
)
def test_each_row_has_the_text_that_its_prompt_has_alone(
    llama: lmkit.Kit, values: dict[str, Any]
) -> None:
    values = {"template": "plain", "max_new_tokens": 8, **values}
    ev = llama.evaluate("generation", TEXTS, **values)
    for row, text in zip(ev.rows, TEXTS, strict=True):
        assert row["written"] == llama.run("generation", text, **values).text


MANY = [" ".join(TEXTS[at % 4].split()[: 1 + at * 5 % 11]) for at in range(23)]


@pytest.mark.parametrize("family", [tiny_llama, tiny_gpt2, tiny_t5])
@pytest.mark.parametrize("batch", [2, 7, 64])
def test_rows_at_once_are_token_for_token_those_alone(
    tmp_path: Path, family: Any, batch: int
) -> None:
    kit = lmkit.load(str(family(tmp_path)))
    model = kit.loaded("generation").model
    sizes: list[int] = []

    def note(module: Any, args: Any, output: Any) -> None:
        sizes.append(output.logits.shape[0])

    values = {"template": "plain", "max_new_tokens": 8}
    alone = kit.evaluate("generation", MANY, **values)
    handle = model.register_forward_hook(note)
    try:
        together = kit.evaluate("generation", MANY, batch=batch, **values)
    finally:
        handle.remove()
    assert together.rows == alone.rows
    assert max(sizes) == min(batch, len(MANY))
    ids = [one.ids for one in kit.loaded("generation").complete_all(MANY, max_new_tokens=8)]
    assert ids == [
        kit.loaded("generation").complete(one, max_new_tokens=8, do_sample=False).ids
        for one in MANY
    ]


def test_texts_that_end_early_end_there_in_a_batch_too(folder: Path) -> None:
    kit = lmkit.load(str(folder))
    loaded = kit.loaded("generation")
    config = loaded.model.generation_config
    written = [loaded.complete(one, max_new_tokens=8, do_sample=False).ids for one in MANY]
    before = config.eos_token_id
    config.eos_token_id = [written[0][3], written[5][1]]
    try:
        values = {"template": "plain", "max_new_tokens": 8}
        alone = kit.evaluate("generation", MANY, **values).rows
        assert len({row["tokens"] for row in alone}) > 1
        assert kit.evaluate("generation", MANY, batch=8, **values).rows == alone
    finally:
        config.eos_token_id = before


@pytest.mark.parametrize(
    "values",
    [
        {"strategy": "sample", "seed": 7},
        {"strategy": "beams", "beams": 2},
        {"repetition_penalty": 1.5},
        {"stop_at": "e"},
    ],
)
def test_what_a_neighbour_would_change_is_written_alone(
    llama: lmkit.Kit, values: dict[str, Any]
) -> None:
    values = {"template": "plain", "max_new_tokens": 5, **values}
    one = llama.evaluate("generation", TEXTS, **values).rows
    assert llama.evaluate("generation", TEXTS, batch=4, **values).rows == one


def test_a_family_that_reads_the_filling_is_found_out(
    llama: lmkit.Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lmkit.api import Completion

    loaded = llama.loaded("generation")
    values = {"template": "plain", "max_new_tokens": 5}
    one = llama.evaluate("generation", TEXTS, **values).rows
    wrong = Completion("wrong", (5,), 1, 1)
    monkeypatch.setattr(
        type(loaded), "complete_all", lambda self, prompts, **_: (wrong,) * len(prompts)
    )
    assert llama.evaluate("generation", TEXTS, batch=2, **values).rows == one


def test_an_encoder_decoder_model_writes_and_is_not_scored(tmp_path: Path) -> None:
    kit = lmkit.load(str(tiny_t5(tmp_path)))
    ev = kit.evaluate("generation", TEXTS, max_new_tokens=6)
    assert [one["written"] for one in ev.rows] == [
        kit.run("generation", text, max_new_tokens=6).text for text in TEXTS
    ]
    with pytest.raises(ModelError, match="no probability to a text alone"):
        kit.evaluate("generation", TEXTS, mode="score")


def test_expected_texts_are_matched(llama: lmkit.Kit) -> None:
    first = llama.evaluate("generation", TEXTS, template="plain", max_new_tokens=8)
    written = [one["written"] for one in first.rows]
    rows = [
        {"text": TEXTS[0], "answer": f" {written[0]} "},
        {"text": TEXTS[1], "answer": written[1] + " and more"},
        {"text": TEXTS[2], "answer": None},
        {"text": TEXTS[3], "answer": written[3].split()[0]},
    ]
    ev = llama.evaluate("generation", rows, template="plain", max_new_tokens=8)
    assert [one.get("match") for one in ev.rows] == [True, False, None, False]
    assert ev.scores["exact match"] == pytest.approx(1 / 3)
    assert ev.scores["expected text contained"] == pytest.approx(2 / 3)
    table = ev.report(query=TEXTS[1]).results[-1]
    assert isinstance(table, Table)
    assert [row[0] for row in table.rows] == [1]
    assert table.changes[0].values["prompt"] == TEXTS[1]


@pytest.mark.parametrize("mode", ["score", "write"])
def test_bad_rows_are_named_and_the_rest_is_done(llama: lmkit.Kit, mode: str) -> None:
    cells = [
        "a film",
        "",
        None,
        float("nan"),
        3,
        "\0\0",
        "a" * 3_000,
        "x\r\n\x07 \u0416 \U0001f469",
    ]
    ev = llama.evaluate(
        "generation", [{"text": one} for one in cells], mode=mode, template="plain",
        max_new_tokens=4,
    )  # fmt: skip
    assert [one["row"] for one in ev.rows] == [0, 6, 7]
    assert [(one.row, one.column) for one in ev.problems] == [(n, "text") for n in (1, 2, 3, 4, 5)]
    # a text that is scored is read in windows, a prompt is cut
    assert (ev.rows[1]["left_out"] > 0) == (mode == "write")


def test_an_interrupted_run_goes_on(llama: lmkit.Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    model = llama.loaded("generation").model
    calls = 0

    def interrupt(*_: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 10:
            raise KeyboardInterrupt

    handle = model.register_forward_hook(interrupt)
    settings = {"template": "plain", "max_new_tokens": 4}
    try:
        with pytest.warns(UserWarning, match="goes on"):
            ev = llama.evaluate("generation", TEXTS, **settings)
    finally:
        handle.remove()
    assert [one["row"] for one in ev.rows] == [0, 1]
    ev.resume()
    whole = llama.evaluate("generation", TEXTS, **settings)
    assert ev.rows == whole.rows


def test_several_processes_share_the_rows(llama: lmkit.Kit) -> None:
    task, model = Generation(), llama.loaded("generation")
    values = {field.name: field.default for field in Generation.fields if field.name != "prompt"}
    values |= {"template": "plain", "max_new_tokens": 4}
    rows = [Row(place, {"prompt": text}) for place, text in enumerate(TEXTS)]

    def done(rank: int, count: int) -> list[tuple[Row, Any]]:
        work = Work()
        work.share = (rank, count)
        with doing(work):
            return list(task.run_rows(model, RowStream(len(rows), lambda: iter(rows)), **values))

    parts = [done(rank, 3) for rank in range(3)]
    assert [len(one) for one in parts] == [2, 1, 1]
    together = sorted((one for part in parts for one in part), key=lambda one: one[0].index)
    assert together == done(0, 1)
