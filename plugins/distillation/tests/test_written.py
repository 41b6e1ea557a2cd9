"""What models write to be learnt: the teacher's sequences, and the student's own texts (GKD)."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lmkit_distillation.data import Coder, Encoded
from lmkit_distillation.engine import Engine
from lmkit_distillation.errors import DataError, RecipeError
from lmkit_distillation.folder import RunFolder
from lmkit_distillation.on_policy import OnPolicyTexts
from lmkit_distillation.peers import Peers
from lmkit_distillation.recipe import recipe_from
from lmkit_distillation.sampling import Writer, groups, inverse_cdf, seed_of

from lmkit.models import ModelStore
from tests.tiny import tiny_gpt2, tiny_llama

from .runs import changed, failing, generation, messages, run, same, steps, weights, write_rows

WORDS = ("the", "plot", "is", "thin", "but", "i", "was", "moved", "film", "you", "old", "river")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    tiny_llama(folder / "causal")  # with more logits than tokens
    tokens = len(json.loads((folder / "causal" / "tokenizer.json").read_text())["model"]["vocab"])
    tiny_llama(folder / "unpadded", vocab_size=tokens)
    rows = [
        {"ask": " ".join([*WORDS[i : i + 2 + i % 4], "film"]), "say": f"you {word} the river"}
        for i, word in enumerate(WORDS)
    ]
    write_rows(folder / "train.jsonl", rows)
    write_rows(folder / "prompts.jsonl", [{"ask": row["ask"]} for row in rows])
    return folder


def plain(files: Path, out: Path, **sections: Any) -> dict[str, Any]:
    base = generation(
        out, files / "causal", files / "train.jsonl",
        student={"layers": 1}, data={"prompt": "ask", "completion": "say"},
        loss=[{"kind": "jsd", "beta": 0.5}], train={"steps": 6},
    )  # fmt: skip
    return changed(base, **sections)


def writer(files: Path) -> tuple[Writer, Any]:
    loaded = ModelStore().get(str(files / "causal"), "AutoModelForCausalLM")
    return Writer.of(loaded.model, loaded.tokenizer), loaded.tokenizer


def next_logits(model: Any, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(torch.tensor([ids]), use_cache=False).logits[0, -1]
    return found


# sampling


@given(
    seed=st.integers(0, 10_000),
    temperature=st.floats(0.1, 5),
    drawn=st.floats(0, 1, exclude_max=True),
)
@settings(max_examples=60, deadline=None)
def test_a_draw_is_the_first_class_whose_cumulative_probability_is_above_the_number(
    seed: int, temperature: float, drawn: float
) -> None:
    logits = torch.randn(1, 9, generator=torch.Generator().manual_seed(seed)) * 3
    (chosen,) = inverse_cdf(
        logits, torch.tensor([drawn], dtype=torch.float64), temperature
    ).tolist()
    raw = [math.exp(value / temperature) for value in logits[0].double().tolist()]
    shares = [value / math.fsum(raw) for value in raw]
    below, above = math.fsum(shares[:chosen]), math.fsum(shares[: chosen + 1])
    assert below - 1e-9 <= drawn <= above + 1e-9


def test_draws_have_the_frequencies_of_the_softmax() -> None:
    logits = torch.tensor([[0.0, 1.0, -1.0, 2.0, -30.0]])
    count = 20_000
    numbers = torch.rand(count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = torch.bincount(inverse_cdf(logits.expand(count, -1), numbers, 2.0), minlength=5)
    expected = torch.softmax(logits[0] / 2.0, -1)
    torch.testing.assert_close(found / count, expected, atol=0.012, rtol=0)
    assert found[4] == 0


def test_a_sample_is_that_of_a_plain_loop_without_cache_or_padding(files: Path) -> None:
    write, tokenizer = writer(files)
    prompts = [tokenizer(text)["input_ids"] for text in ("the film", "the plot is thin but you")]
    seeds = [11, 12]
    for temperature in (1.0, 0.5):
        found = write.sample(prompts, seeds, 8, temperature)
        for prompt, seed, made in zip(prompts, seeds, found, strict=True):
            numbers = torch.rand(
                8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
            )
            ids = list(prompt)
            for number in numbers:
                logits = next_logits(write.model, ids)[: write.vocabulary]
                cumulative = torch.softmax(logits.double() / temperature, -1).cumsum(-1)
                ids.append(int((cumulative <= number * cumulative[-1]).sum()))
                if ids[-1] in write.ends:
                    break
            assert made == tuple(ids[len(prompt) :])
            assert max(made) < len(tokenizer)  # the padded logits are never drawn
    alone = [write.sample([p], [s], 8, 1.0)[0] for p, s in zip(prompts, seeds, strict=True)]
    assert alone == write.sample(prompts, seeds, 8, 1.0)


def test_greedy_writing_is_that_of_a_plain_loop_and_beams_are_not_less_probable(
    files: Path,
) -> None:
    write, tokenizer = writer(files)
    prompts = [tokenizer(text)["input_ids"] for text in ("the film", "you was moved i is")]

    def log_probability(prompt: list[int], made: tuple[int, ...]) -> float:
        total, ids = 0.0, list(prompt)
        for one in made:
            logits = next_logits(write.model, ids)
            logits[write.vocabulary :] = -torch.inf
            total += float(torch.log_softmax(logits.double(), -1)[one])
            ids.append(one)
        return total

    greedy = write.best(prompts, 5)
    for prompt, made in zip(prompts, greedy, strict=True):
        ids = list(prompt)
        for _ in range(5):
            ids.append(int(next_logits(write.model, ids)[: write.vocabulary].argmax()))
            if ids[-1] in write.ends:
                break
        assert made == tuple(ids[len(prompt) :])
    beams = write.best(prompts, 5, beams=4, length_penalty=0.0)
    for prompt, one, other in zip(prompts, greedy, beams, strict=True):
        assert log_probability(prompt, other) >= log_probability(prompt, one) - 1e-4
    assert beams != greedy


def test_the_models_own_penalties_and_mode_are_left_out_and_put_back(files: Path) -> None:
    write, tokenizer = writer(files)
    prompt = [tokenizer("the film")["input_ids"]]
    usual = write.best(prompt, 6)
    own = write.model.generation_config
    own.repetition_penalty = 50.0
    write.model.train()
    try:
        assert write.best(prompt, 6) == usual
        assert write.model.training
        assert write.model.generation_config is own
    finally:
        own.repetition_penalty = 1.0
        write.model.eval()


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 3)), max_size=30), st.integers(1, 5))
def test_groups_take_each_text_with_room_once(sizes: list[tuple[int, int]], most: int) -> None:
    found = groups([a for a, _ in sizes], [b for _, b in sizes], most)
    assert sorted(i for one in found for i in one) == [
        i for i, (_, room) in enumerate(sizes) if room
    ]
    for one in found:
        assert len(one) <= most
        assert len({sizes[i][1] for i in one}) == 1


def test_a_prompt_near_the_end_of_the_positions_does_not_run_past_them(
    tmp_path: Path,
) -> None:
    """GPT-2 has a table of positions: one more is an error."""
    tiny_gpt2(tmp_path / "gpt2", n_positions=16)
    rows = [{"ask": "the plot " * n} for n in (1, 2, 6, 8)]
    write_rows(tmp_path / "t.jsonl", rows)
    recipe = plain(tmp_path, tmp_path / "out", teacher={"model": str(tmp_path / "gpt2")})
    recipe["data"] = {"train": str(tmp_path / "t.jsonl"), "prompt": "ask"}
    run(changed(recipe, sequences={"use": True, "max_new_tokens": 10}, train={"steps": 1}))
    (kept,) = (tmp_path / "out" / "sequences").iterdir()
    lengths = sorted(len(json.loads(line)["value"]) for line in kept.read_text().splitlines())
    assert lengths[0] == 0
    assert 0 < lengths[1] < 10
    assert messages(tmp_path / "out", "left-out") == [
        "1 of 4 prompts fill data.max_length: nothing is written after them."
    ]


# sequence-level distillation


def test_the_student_learns_what_the_teacher_writes_and_nothing_of_the_prompt(
    files: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    wish = {"use": True, "max_new_tokens": 5}
    data = {"train": str(files / "prompts.jsonl")}
    recipe = plain(files, out, sequences=wish, data=data, loss=[{"kind": "ce"}])
    engine = Engine(
        recipe_from(changed(recipe, student={"layers": 2}, train={"steps": 1})), tools()
    )
    engine.run()
    write, tokenizer = writer(files)
    by_prompt = {one.ids[: one.prompt]: one for one in engine.texts}
    prompts = [json.loads(r)["ask"] for r in (files / "prompts.jsonl").read_text().splitlines()]
    for text in prompts:
        ids = tuple(tokenizer(text)["input_ids"])
        one = by_prompt[ids]
        made = one.ids[len(ids) :]
        assert [made] == write.best([list(ids)], 5)
        assert [t for t in one.targets if t != -100] == list(made)
        assert one.counted.index(True) == len(ids) - 1
    # The loss of the first step is plain cross-entropy of a teacher's copy on the teacher's words.
    (first,) = steps(out)
    total = places = 0.0
    engine.pair.student.eval()
    for one in engine._texts_of(0):
        for place in range(one.prompt, len(one.ids)):
            logits = next_logits(engine.pair.teacher, list(one.ids[:place]))
            total -= float(
                torch.log_softmax(logits[: engine.pair.head.vocabulary], -1)[one.ids[place]]
            )
            places += 1
    assert first["loss"] == pytest.approx(total / places, rel=1e-4)
    assert first["parts"].keys() == {"ce"}


def tools() -> Any:
    from lmkit.tools import KernelTools

    return KernelTools()


DIES = """
import os, signal, sys
from lmkit_distillation.engine import Engine
from lmkit_distillation.folder import RunFolder
from lmkit_distillation.kept_texts import KeptTexts
from lmkit.tools import KernelTools

plainly = KeptTexts.add

def add(self, values):
    plainly(self, values)
    if len(self.values) == 4:
        os.kill(os.getpid(), signal.SIGKILL)

KeptTexts.add = add
Engine(RunFolder(sys.argv[1]).recipe(), KernelTools()).run()
"""


def test_killed_while_the_teacher_writes_it_goes_on_with_the_same_texts(
    files: Path, tmp_path: Path
) -> None:
    wish = {"use": True, "max_new_tokens": 24, "beams": 2, "batch": 1}
    whole = run(plain(files, tmp_path / "whole", sequences=wish, loss=[{"kind": "ce"}]))
    killed = RunFolder(tmp_path / "killed")
    killed.claim(recipe_from(plain(files, killed.path, sequences=wish, loss=[{"kind": "ce"}])))
    ended = subprocess.run([sys.executable, "-c", DIES, str(killed.path)], capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr[-2000:]
    (file,) = (killed.path / "sequences").iterdir()
    before = file.read_text().splitlines()
    assert len(before) == 4
    # The last line is cut, and one before it is damaged: both are made again.
    before[0] = before[0].replace('"value": [', '"value": [7, ')
    file.write_text("\n".join(before)[:-9])
    run(plain(files, killed.path, sequences=wish, loss=[{"kind": "ce"}]))
    assert same(weights(whole.parent), weights(killed.path))
    (said,) = messages(killed.path, "damaged")
    assert "made again" in said


def test_the_teachers_texts_are_kept_by_its_settings(files: Path, tmp_path: Path) -> None:
    shared = str(tmp_path / "shared")
    for number, (beams, count) in enumerate(((1, 1), (1, 1), (3, 2))):
        wish = {"use": True, "max_new_tokens": 4, "beams": beams, "folder": shared}
        out = tmp_path / str(number)
        run(plain(files, out, sequences=wish, train={"steps": 1}))
        assert len(list(Path(shared).iterdir())) == count
        made = [e for e in RunFolder(out).events() if e["kind"] == "prepare"]
        assert bool(made) == (number != 1)


# on-policy distillation


def own_texts(files: Path, seed: int = 0, **wish: Any) -> tuple[OnPolicyTexts, list[Encoded]]:
    recipe = recipe_from(
        plain(files, Path("out"), seed=seed, on_policy={"lambda": 1, "max_new_tokens": 6, **wish})
    )
    write, tokenizer = writer(files)
    coder = Coder(tokenizer, recipe, 256)
    texts = [
        coder.of_ids(word, tokenizer(f"the film is {word}")["input_ids"] + [40, 41], 3)
        for word in WORDS
    ]
    return OnPolicyTexts(recipe, write, coder, Peers(0, 1)), texts


def test_lambda_is_the_share_of_the_steps(files: Path) -> None:
    for share in (0.0, 0.3, 1.0):
        own, _ = own_texts(files, **{"lambda": share})
        found = sum(own.chosen(step) for step in range(2000)) / 2000
        assert found == share if share in (0, 1) else abs(found - share) < 0.03
    first, second = (own_texts(files, seed, **{"lambda": 0.5})[0] for seed in (0, 1))
    assert [first.chosen(i) for i in range(64)] != [second.chosen(i) for i in range(64)]


def test_only_what_the_student_wrote_is_compared_and_nothing_of_it_is_a_label(files: Path) -> None:
    own, texts = own_texts(files)
    found = own(texts, 3)
    assert own(texts, 3) == found
    assert own(texts, 4) != found
    for before, one in zip(texts, found, strict=True):
        assert one.sampled
        assert one.ids[:3] == before.ids[:3]
        assert set(one.targets) == {-100}
        assert sum(one.counted) == len(one.ids) - 3
        assert one.counted.index(True) == 2
    i = 5
    seed = seed_of(0, "continuation", 3, i)
    alone = own.writer.sample([texts[i].ids[:3]], [seed], 6, 1.0)
    assert found[i].ids[3:] == alone[0]


def test_two_processes_sample_what_one_samples(files: Path) -> None:
    own, texts = own_texts(files, batch=2)

    class Half(Peers):
        """One of two whose other half is told afterwards."""

        def __init__(self, rank: int, told: list[Any]) -> None:
            super().__init__(0, 1)
            self.rank, self.count, self.told = rank, 2, told

        def gathered(self, items: list[Any]) -> list[Any]:
            self.told += items
            return self.told

    whole = own(texts, 0)
    told: list[Any] = []
    for rank in (0, 1):
        own.peers = Half(rank, told)
        found = own(texts, 0)
    assert found == whole


def test_lambda_0_is_the_offline_run_bit_for_bit(files: Path, tmp_path: Path) -> None:
    run(plain(files, tmp_path / "offline"))
    wish = {"lambda": 0.0, "temperature": 0.7, "max_new_tokens": 3}
    run(plain(files, tmp_path / "zero", on_policy=wish))
    assert same(weights(tmp_path / "offline"), weights(tmp_path / "zero"))
    first, second = (RunFolder(tmp_path / n).recipe().fingerprint() for n in ("offline", "zero"))
    assert first == second


def test_stopped_between_on_policy_steps_it_ends_in_the_same_bits(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wish = {"lambda": 0.5, "max_new_tokens": 6, "temperature": 1.3}
    losses = [{"kind": "ce"}, {"kind": "jsd", "beta": 0.3}]
    whole = plain(files, tmp_path / "whole", on_policy=wish, loss=losses)
    run(whole)
    cut = changed(whole, out=str(tmp_path / "cut"))
    failing(cut, monkeypatch, 3)
    run(cut)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    assert steps(tmp_path / "whole") == steps(tmp_path / "cut")
    kinds = [bool(one["on_policy"]) for one in steps(tmp_path / "whole")]
    assert True in kinds
    assert False in kinds
    for one in steps(tmp_path / "whole"):
        assert ("ce" in one["parts"]) != bool(one["on_policy"])


def test_micro_batches_change_nothing_of_what_is_sampled(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plainly = Engine._step_or_halve
    seen: dict[int, list[tuple[int, ...]]] = {}
    for size in (0, 3, 1):
        one: list[tuple[int, ...]] = seen.setdefault(size, [])

        def step(self: Engine, texts: Any, micro: Any, one: Any = one) -> Any:
            one += [text.ids for text in texts]
            return plainly(self, texts, micro)

        monkeypatch.setattr(Engine, "_step_or_halve", step)
        recipe = plain(files, tmp_path / str(size), on_policy={"lambda": 1.0, "max_new_tokens": 6})
        run(changed(recipe, train={"micro_batch": size, "steps": 3}, student={"dropout": 0.0}))
    # After a step weights differ by rounding; the texts do not.
    assert seen[0] == seen[3] == seen[1]
    for other in (3, 1):
        for a, b in zip(steps(tmp_path / "0"), steps(tmp_path / str(other)), strict=True):
            assert a["parts"] == pytest.approx(b["parts"], rel=2e-3)


@pytest.mark.parametrize("beta", [0.0, 0.25, 1.0])
def test_the_loss_of_an_on_policy_step_is_that_of_full_tensors(
    files: Path, tmp_path: Path, beta: float
) -> None:
    """GKD's equation over the student's own texts; forward and reverse KL at its ends."""
    losses = [{"kind": "jsd", "beta": beta}]
    wish = {"lambda": 1.0, "max_new_tokens": 5}
    recipe = recipe_from(
        plain(files, tmp_path / "out", loss=losses, on_policy=wish, train={"steps": 1})
    )
    engine = Engine(recipe, tools())
    # The first step's texts, by the student before it: run again with its first weights.
    plainly, kept = engine._step_or_halve, []

    def keep(texts: Any, micro: Any) -> Any:
        state = {k: v.clone() for k, v in engine.pair.student.state_dict().items()}
        kept.append((list(texts), state))
        return plainly(texts, micro)

    engine._step_or_halve = keep  # type: ignore[method-assign]
    engine.run()
    ((texts, state),) = kept
    engine.pair.student.load_state_dict(state)
    engine.pair.student.eval()
    total, places = 0.0, 0
    width = engine.pair.head.vocabulary
    for one in texts:
        ids = torch.tensor([one.ids])
        with torch.no_grad():
            p, q = (
                torch.softmax(m(ids).logits[0, one.prompt - 1 : -1, :width].double(), -1)
                for m in (engine.pair.teacher, engine.pair.student)
            )
        m = beta * p + (1 - beta) * q
        if beta == 0:
            total += float((p * (p.log() - q.log())).sum())
        elif beta == 1:
            total += float((q * (q.log() - p.log())).sum())
        else:
            total += beta * float((p * (p.log() - m.log())).sum())
            total += (1 - beta) * float((q * (q.log() - m.log())).sum())
        places += len(p)
    (first,) = steps(tmp_path / "out")
    assert first["loss"] == pytest.approx(total / places, rel=1e-4)


def test_the_cache_serves_the_texts_of_the_data_and_the_teacher_the_students(
    files: Path, tmp_path: Path
) -> None:
    wish = {"lambda": 0.5, "max_new_tokens": 6}
    for name, use in (("with", True), ("without", False)):
        run(plain(files, tmp_path / name, on_policy=wish, cache={"use": use}))
    for a, b in zip(steps(tmp_path / "with"), steps(tmp_path / "without"), strict=True):
        assert a["parts"] == pytest.approx(b["parts"], rel=2e-3)
        assert a["on_policy"] == b["on_policy"]
    (said,) = messages(tmp_path / "with", "cache")
    assert "the teacher itself is asked" in said
    run(plain(files, tmp_path / "own", on_policy={**wish, "lambda": 1.0}, cache={"use": True}))
    assert not (tmp_path / "own" / "teacher").exists()


# recipes


def test_both_are_refused_where_nothing_is_written(files: Path, tmp_path: Path) -> None:
    good = plain(files, tmp_path / "out")
    use, own = {"sequences": {"use": True}}, {"on_policy": {"lambda": 0.5}}
    tagged = {"task": "ner", "data": {"train": "t.jsonl"}}
    classed = {"task": "classification", "data": {"train": "t.tsv"}}
    for sections, words in (
        ({**use, **classed}, "'classification': a classifier writes no text"),
        ({**own, **tagged}, "'ner': a tagger writes no text"),
        ({**use, "data": {"prompt": ""}}, "data.prompt is missing"),
        ({**own, "loss": [{"kind": "ce"}]}, "no loss compares the logits"),
        ({**use, "data": {"labelled": 0.5}}, "data.labelled is a share"),
        ({"on_policy": {"lambda": 1.5}}, "on_policy.lambda is 1.5; it must be between 0 and 1"),
        ({"on_policy": {"lamda": 1.0}}, "no key on_policy.lamda"),
        ({"on_policy": {"lambda_": 1.0}}, "no key on_policy.lambda_"),
        ({"sequences": {"beams": 0}}, "sequences.beams is 0"),
    ):
        with pytest.raises(RecipeError, match=words):
            recipe_from(changed(good, **sections))


def test_rows_without_completions_are_named_where_they_are_needed(
    files: Path, tmp_path: Path
) -> None:
    prompts = {"train": str(files / "prompts.jsonl")}
    half = plain(files, tmp_path / "half", data=prompts, on_policy={"lambda": 0.5})
    with pytest.raises(DataError, match=r"row 0 has no say, and on_policy.lambda is 0.5"):
        run(half)
    dev = plain(files, tmp_path / "dev", data={"dev": prompts["train"]}, on_policy={"lambda": 1.0})
    with pytest.raises(DataError, match="row 0 has no say, by which"):
        run(dev)
    both = {**prompts, "dev": prompts["train"]}
    wish = {"use": True, "max_new_tokens": 4}
    fits = plain(files, tmp_path / "fits", data=both, sequences=wish, on_policy={"lambda": 0.5})
    unpadded = {"model": str(files / "unpadded")}
    student = run(changed(fits, train={"steps": 2}, teacher=unpadded))
    card = json.loads((student.parent / "report.json").read_text())
    # Measured by what the teacher wrote, greedily: the teacher is always right.
    assert card["quality"]["teacher"]["accuracy"] == 1.0


def test_runs_begun_before_these_keys_go_on() -> None:
    """The fingerprint of a recipe as it was when they were not there."""
    recipe = recipe_from(
        {
            "out": "run",
            "teacher": {"model": "m"},
            "student": {"layers": 2, "keep": "spread"},  # the default then
            "data": {"train": "t.tsv"},
            "loss": [{"kind": "kl", "temperature": 2.0}],
        },
        base=Path("/"),
    )
    assert recipe.fingerprint() == "fb62503c64e306b2"
