"""Models of different tokenizers in generation: the loss, the places, whole runs and reports."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lmkit_distillation.alignment import NOWHERE, characters_read, shared_places
from lmkit_distillation.card_views import results
from lmkit_distillation.compare import points
from lmkit_distillation.engine import Engine
from lmkit_distillation.errors import DistillationError, RecipeError, ReportError
from lmkit_distillation.folder import RunFolder
from lmkit_distillation.losses.vocabulary import universal_logit
from lmkit_distillation.recipe import recipe_from
from lmkit_distillation.schema import read_report
from transformers import AutoModelForCausalLM, AutoTokenizer

from lmkit.tools import KernelTools
from tests.tiny import tiny_gpt2, tiny_llama

from .runs import changed, failing, generation, run, same, steps, weights, write_rows

WORDS = ("the", "plot", "is", "thin", "but", "i", "was", "moved", "film", "you", "old", "river")
ODD = ("naïve 中文 façade", "two  spaces", " begins with one", "", "🙂 moved", "\n\nlines\n", "a�b")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uld")
    tiny_llama(folder / "teacher")
    tiny_gpt2(folder / "student", attn_pdrop=0.0, resid_pdrop=0.0, embd_pdrop=0.0)
    rows = [
        {"ask": f"the {word} is", "say": f"unforgettable {word}, 中 and the old river ."}
        for word in WORDS
    ]
    write_rows(folder / "rows.jsonl", rows)
    write_rows(folder / "texts.jsonl", [{"text": f"{r['ask']} {r['say']}"} for r in rows])
    return folder


def plain(files: Path, out: Path, **sections: Any) -> dict[str, Any]:
    base = generation(
        out, files / "teacher", files / "rows.jsonl",
        student={"start": "model", "model": str(files / "student"), "align": "text"},
        data={"prompt": "ask", "completion": "say"},
        loss=[{"kind": "ce"}, {"kind": "uld", "temperature": 1.5}],
        train={"steps": 4, "batch": 6},
    )  # fmt: skip
    return changed(base, **sections)


# the loss


def reference(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> float:
    """Sorted lists, the shorter filled with zeros, place by place."""
    total = 0.0
    for a, b in zip(student.tolist(), teacher.tolist(), strict=True):
        shares = []
        for row in (a, b):
            raw = [math.exp(x / temperature) for x in row]
            shares.append(sorted((x / math.fsum(raw) for x in raw), reverse=True))
        longest = max(map(len, shares))
        q, p = ([*each, *[0.0] * (longest - len(each))] for each in shares)
        total += math.fsum(abs(x - y) for x, y in zip(q, p, strict=True))
    return total


@given(
    seed=st.integers(0, 1000), mine=st.integers(1, 12), theirs=st.integers(1, 12),
    temperature=st.floats(0.5, 5),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_the_loss_is_that_of_sorted_lists(
    seed: int, mine: int, theirs: int, temperature: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(5, width, generator=generator) * 2 for width in (mine, theirs))
    expected = reference(a.double(), b.double(), temperature)
    assert float(universal_logit(a, b, temperature)) == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert float(universal_logit(b, a, temperature)) == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert -1e-6 < expected <= 2 * 5 + 1e-6
    # Names count for nothing: the same logits in another order, and tokens that never come.
    order = torch.randperm(mine, generator=generator)
    padded = torch.cat([a[:, order], torch.full((5, 3), -torch.inf)], 1)
    assert float(universal_logit(padded, a, temperature)) == pytest.approx(0, abs=1e-5)


def test_its_gradient_is_that_of_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(3, width, generator=generator).double() for width in (7, 9))
    a.requires_grad_(True)
    universal_logit(a.float(), b, 2.0).backward()
    assert a.grad is not None
    for place in ((0, 0), (1, 4), (2, 6)):
        near, far = a.detach().clone(), a.detach().clone()
        near[place] -= 1e-4
        far[place] += 1e-4
        slope = (reference(far, b, 2.0) - reference(near, b, 2.0)) / 2e-4
        assert float(a.grad[place]) == pytest.approx(slope, abs=1e-3)


# the places


@pytest.mark.parametrize("name", ["teacher", "student"])
@pytest.mark.parametrize("text", ["unforgettable music, the film", *ODD])
def test_characters_read_are_those_of_the_whole_beginning_decoded(
    files: Path, name: str, text: str
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(files / name)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    found = characters_read(tokenizer, ids, text)
    assert len(found) == len(ids) + 1
    for count, characters in enumerate(found):
        begun = tokenizer.decode(ids[:count])
        if characters == NOWHERE:
            assert begun.endswith("�") or not text.startswith(begun)
        else:
            assert begun == text[:characters]
    known = [one for one in found if one != NOWHERE]
    assert known == sorted(known)
    if text == "unforgettable music, the film":
        assert NOWHERE not in found
        assert found[-1] == len(text)


def test_only_places_that_have_read_the_same_are_shared() -> None:
    mine, theirs = shared_places((NOWHERE, 0, 3, 4, NOWHERE, 9, 9), (0, 2, 4, 9, NOWHERE))
    assert mine == (False, True, False, True, False, False, True)  # the last of two
    assert theirs == (True, False, True, True, False)


def test_a_text_that_no_decoder_gives_back_is_given_up(files: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(files / "student")
    ids = tokenizer("the film " * 200)["input_ids"]
    found = characters_read(tokenizer, ids, "THE FILM " * 200)
    assert found == [0, *[NOWHERE] * len(ids)]


# whole runs


def expected_first_step(files: Path, engine: Engine) -> dict[str, float]:
    """The parts of the first step over full tensors, text by text, of models as they were."""
    student = AutoModelForCausalLM.from_pretrained(files / "student").eval()
    teacher = AutoModelForCausalLM.from_pretrained(files / "teacher").eval()
    tokenizers = [AutoTokenizer.from_pretrained(files / n) for n in ("student", "teacher")]
    widths = [len(one) for one in tokenizers]
    ce, labels, distance, places = 0.0, 0, 0.0, 0
    for one in engine._texts_of(0):
        assert one.other is not None
        both = []
        for model, ids, width in (
            (student, one.ids, widths[0]), (teacher, one.other.ids, widths[1]),
        ):  # fmt: skip
            with torch.no_grad():
                both.append(model(torch.tensor([ids])).logits[0, :, :width].double())
        logs = torch.log_softmax(both[0], -1)
        for place in range(one.prompt - 1, len(one.ids) - 1):
            ce -= float(logs[place, one.ids[place + 1]])
            labels += 1
        # Pairs by plain search: what both have read of the answer, decoded from its start.
        begun: list[dict[str, int]] = []
        for part, tokenizer in ((one, tokenizers[0]), (one.other, tokenizers[1])):
            read = {}
            for end in range(part.prompt, len(part.ids)):
                read[tokenizer.decode(part.ids[part.prompt : end])] = end - 1
            begun.append(read)
        for text, place in begun[0].items():
            if text in begun[1] and "�" not in text:
                mine, theirs = both[0][[place]], both[1][[begun[1][text]]]
                distance += reference(mine, theirs, 1.5)
                places += 1
    assert places > 5 * len(engine._texts_of(0))
    assert places < labels
    return {"ce": ce / labels, "uld": distance / places}


def test_the_first_step_is_that_of_full_tensors_whatever_the_micro_batch(
    files: Path, tmp_path: Path
) -> None:
    for size in (0, 4):
        out = tmp_path / str(size)
        recipe = plain(files, out, train={"steps": 1, "micro_batch": size})
        engine = Engine(recipe_from(recipe), KernelTools())
        engine.run()
        (first,) = steps(out)
        assert first["parts"] == pytest.approx(expected_first_step(files, engine), rel=1e-4)


def test_texts_without_prompts_are_compared_from_their_first_characters_on(
    files: Path, tmp_path: Path
) -> None:
    """Llama's tokenizer begins with a token of its own, GPT-2's with the first of the text."""
    texts = str(files / "texts.jsonl")
    data = {"train": texts, "dev": texts, "prompt": "", "completion": ""}
    engine = Engine(recipe_from(plain(files, tmp_path / "out", data=data)), KernelTools())
    engine.run()
    for one in engine.texts:
        assert one.other is not None
        assert sum(one.shared) == sum(one.other.shared) > 5
        read = []
        for part, tokenizer in (
            (one, engine.pair.tokenizer), (one.other, engine.pair.teacher_tokenizer),
        ):  # fmt: skip
            read.append(
                [
                    tokenizer.decode(part.ids[: place + 1], skip_special_tokens=True)
                    for place, shared in enumerate(part.shared)
                    if shared
                ]
            )
        assert read[0] == read[1]
    losses = [one["parts"]["uld"] for one in steps(tmp_path / "out")]
    assert losses[-1] < losses[0]


def test_the_report_compares_by_characters(files: Path, tmp_path: Path) -> None:
    engine = Engine(recipe_from(plain(files, tmp_path / "out")), KernelTools())
    engine.run()
    card = read_report(tmp_path / "out")
    quality = card["quality"]
    assert "agreement" not in quality
    assert "change" not in quality
    rows = [json.loads(line)["say"] for line in (files / "rows.jsonl").read_text().splitlines()]
    bits = {}
    for name, folder in (("teacher", files / "teacher"), ("student", tmp_path / "out/student")):
        model = AutoModelForCausalLM.from_pretrained(folder).eval()
        tokenizer = AutoTokenizer.from_pretrained(folder)
        total = 0.0
        for line in (files / "rows.jsonl").read_text().splitlines():
            row = json.loads(line)
            ask = tokenizer(row["ask"])["input_ids"]
            say = tokenizer(row["say"], add_special_tokens=False)["input_ids"]
            ids = [*ask, *say, tokenizer.eos_token_id]
            with torch.no_grad():
                logits = model(torch.tensor([ids])).logits[0, :, : len(tokenizer)].double()
            logs = torch.log_softmax(logits, -1)
            total -= sum(float(logs[i - 1, ids[i]]) for i in range(len(ask), len(ids)))
        bits[name] = total / math.log(2) / sum(map(len, rows))
        assert quality[name]["bits_per_character"] == pytest.approx(bits[name], rel=1e-4)
        low, high = quality[name]["bits_per_character_interval"]
        assert low <= bits[name] <= high
    assert quality["bits_change"] == pytest.approx(bits["student"] - bits["teacher"], rel=1e-4)
    kept = results(card)[0]
    assert "Bits a character" in [row[0] for row in kept.rows]
    assert "by bits a character" in kept.note
    first, second = points({"one": card})
    assert first.metric == second.metric == "minus bits a character"
    assert second.quality == pytest.approx(-bits["student"], rel=1e-4)
    other = {**card, "quality": {"teacher": {"loss": 1.0}, "student": {"loss": 1.0}}}
    with pytest.raises(ReportError, match="The report of two has no bits_per_character"):
        points({"one": card, "two": other})


def test_a_run_of_two_tokenizers_goes_on_to_the_same_bits(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(plain(files, tmp_path / "whole"))
    cut = plain(files, tmp_path / "cut")
    failing(cut, monkeypatch, 2)
    run(cut)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    kinds = [e for e in RunFolder(tmp_path / "whole").events() if e["kind"] == "evaluation"]
    assert all("agreement" not in one and math.isfinite(one["loss"]) for one in kinds)


def test_one_tokenizer_does_too_with_a_cache_or_without(files: Path, tmp_path: Path) -> None:
    found = []
    for use in (True, False):
        out = tmp_path / str(use)
        run(plain(files, out, student={"start": "teacher", "model": "", "layers": 1,
                                       "align": "refuse"}, cache={"use": use}))  # fmt: skip
        found.append([one["parts"] for one in steps(out)])
    for a, b in zip(*found, strict=True):
        assert a == pytest.approx(b, rel=2e-3)
    card = read_report(tmp_path / "True")
    assert "agreement" in card["quality"]


def test_what_needs_one_tokenizer_is_refused(files: Path, tmp_path: Path) -> None:
    with pytest.raises(DistillationError, match="different tokenizers") as refused:
        run(plain(files, tmp_path / "refused", student={"align": "refuse"}))
    assert "uld" in refused.value.hint
    for sections, words in (
        ({"loss": [{"kind": "kl"}]}, r"loss\[0\].kind 'kl' compares token with token"),
        ({"loss": [{"kind": "hidden"}]}, "compares tokens, which student.align"),
        ({"cache": {"use": True}}, "cache.use is True, which needs one tokenizer"),
        ({"sequences": {"use": True}}, "sequences.use is True, which needs one tokenizer"),
        ({"on_policy": {"lambda": 0.5}}, "on_policy.lambda is 0.5, which needs one tokenizer"),
    ):
        with pytest.raises(RecipeError, match=words):
            recipe_from(plain(files, tmp_path / "bad", **sections))
    ner = {"task": "ner", "loss": [{"kind": "kl"}], "data": {"prompt": "", "completion": ""}}
    with pytest.raises(RecipeError, match=r"student\.align = 'text' does not fit NER"):
        recipe_from(plain(files, tmp_path / "bad", **ner))
    cut = {"start": "teacher", "model": "", "layers": 1, "align": "refuse"}
    with pytest.raises(RecipeError, match=r"'uld' sorts all probabilities, and cache\.top_k"):
        recipe_from(plain(files, tmp_path / "bad", student=cut, cache={"use": True, "top_k": 4}))
