"""Whole runs with tiny models: killed and resumed, cut smaller, two processes, faults."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from lmkit_distillation.data import read_examples
from lmkit_distillation.engine import Engine
from lmkit_distillation.errors import DataError, DistillationError, RecipeError, RunFolderError
from lmkit_distillation.folder import RunFolder
from lmkit_distillation.memory import MicroBatches
from lmkit_distillation.recipe import load_recipe, recipe_from
from safetensors.torch import load_file
from transformers import LlamaForCausalLM

from lmkit.errors import DataSetError
from lmkit.tools import KernelTools
from tests.tiny import tiny_bert, tiny_llama

from .runs import changed

WORDS = ("the", "plot", "is", "thin", "but", "i", "was", "moved", "film", "you", "old", "river")


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("distil")
    torch.manual_seed(0)
    tiny_bert(folder / "teacher", num_hidden_layers=4)
    tiny_llama(folder / "causal")
    generator = torch.Generator().manual_seed(0)
    rows = ["text\tlabel"]
    for i in range(48):
        count = 3 + int(torch.randint(0, 9, (1,), generator=generator))
        picked = torch.randint(0, len(WORDS), (count,), generator=generator).tolist()
        rows.append(" ".join(WORDS[j] for j in picked) + f"\t{i % 2}")
    (folder / "train.tsv").write_text("\n".join(rows))
    (folder / "dev.tsv").write_text("\n".join([rows[0], *rows[20:36]]))
    return folder


def plain(files: Path, out: Path, **sections: Any) -> dict[str, Any]:
    recipe: dict[str, Any] = {
        "out": str(out),
        "teacher": {"model": str(files / "teacher")},
        "student": {"layers": 2},
        "data": {"train": str(files / "train.tsv"), "dev": str(files / "dev.tsv")},
        "loss": [
            {"kind": "ce", "weight": 0.5},
            {"kind": "kl", "temperature": 2.0},
            {"kind": "hidden"},
            {"kind": "attention"},
            {"kind": "relations", "map": "last"},
        ],
        "train": {"steps": 12, "batch": 8, "rate": 1e-3, "checkpoint_every": 3, "threads": 1},
        "report": {"speed": False, "resamples": 100},
    }
    for name, values in sections.items():
        if isinstance(values, dict):
            recipe[name] = {**recipe.get(name, {}), **values}
        else:
            recipe[name] = values
    return recipe


def run(recipe: dict[str, Any], **options: Any) -> Path:
    return Engine(recipe_from(recipe), KernelTools(), **options).run()


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "student" / "model.safetensors")


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def launch(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "lmkit", "distill", "--resume", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def kill_in(folder: Path, moment: str) -> None:
    """Go on with a run in a process that kills itself at this moment."""
    script = str(Path(__file__).with_name("killed.py"))
    done = subprocess.run([sys.executable, script, str(folder), moment], capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]


def test_killed_at_a_step_and_while_a_checkpoint_is_written_it_ends_in_the_same_bits(
    files: Path, tmp_path: Path
) -> None:
    whole = run(plain(files, tmp_path / "whole"))
    killed = RunFolder(tmp_path / "killed")
    killed.claim(recipe_from(plain(files, killed.path)))

    kill_in(killed.path, "step")
    assert killed.running is not None
    assert killed.events()[-1]["step"] == 5
    kill_in(killed.path, "checkpoint")
    # Temporary folders of a checkpoint bear its name behind a dot until they are whole.
    (half,) = killed.checkpoints.glob(".step-00000006-*")
    assert (half / "state.pt").stat().st_size > 0
    assert [one.name for one in killed.checkpoints.glob("step-*")] == ["step-00000003"]
    process = launch(killed.path)
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert same(weights(whole.parent), weights(killed.path))
    first, second = (
        [(e["step"], e["loss"]) for e in RunFolder(p).events() if e["kind"] == "step"]
        for p in (whole.parent, killed.path)
    )
    assert first == second
    assert [step for step, _ in first] == list(range(1, 13))


def test_smaller_micro_batches_change_nothing_but_rounding(files: Path, tmp_path: Path) -> None:
    quiet = {"dropout": 0.0}
    found = []
    for size in (0, 3, 1):
        out = tmp_path / str(size)
        recipe = plain(files, out, student=quiet, train={"micro_batch": size, "steps": 3})
        run(recipe)
        found.append([e["parts"] for e in RunFolder(out).events() if e["kind"] == "step"])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            assert a == pytest.approx(b, rel=2e-3, abs=1e-5)


def test_memory_that_runs_out_halves_the_micro_batch_and_the_step_is_made_again(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plainly = Engine._gradients
    calls = []

    def short(self: Engine, texts: Any, size: int) -> torch.Tensor:
        calls.append((self.step, size))
        if self.step == 2 and size > 4:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        return plainly(self, texts, size)

    monkeypatch.setattr(Engine, "_gradients", short)
    run(plain(files, tmp_path / "out", train={"steps": 4}))
    assert calls == [(0, 8), (1, 8), (2, 8), (2, 4), (3, 4)]
    assert MicroBatches(RunFolder(tmp_path / "out"), 8).at(1) == 8


def test_a_start_after_the_kernel_killed_for_memory_halves_by_itself(
    files: Path, tmp_path: Path
) -> None:
    recipe = recipe_from(plain(files, tmp_path / "out", train={"steps": 4}))
    folder = RunFolder(tmp_path / "out")
    folder.claim(recipe)
    (folder.path / "running.json").write_text(
        json.dumps({"pid": 2**22 + 1, "born": "1", "step": 0, "doing": "step", "oom_kills": 7})
    )
    Engine(recipe, KernelTools(), kills=lambda: 8).run()
    sizes = {e["micro_batch"] for e in folder.events() if e["kind"] == "step"}
    assert sizes == {4}
    with pytest.raises(DistillationError, match="a single text"):
        MicroBatches(RunFolder(tmp_path / "other"), 1).halve(0, "killed")


def test_the_cache_stands_in_for_the_teacher(files: Path, tmp_path: Path) -> None:
    losses = [{"kind": "kl", "temperature": 2.0}, {"kind": "hidden"}]
    for name, use in (("with", True), ("without", False)):
        cache = {"use": use, "hidden": use, "shard": 20}
        run(plain(files, tmp_path / name, loss=losses, cache=cache, train={"steps": 3}))
    found = [
        [e["parts"] for e in RunFolder(tmp_path / name).events() if e["kind"] == "step"]
        for name in ("with", "without")
    ]
    for a, b in zip(*found, strict=True):
        assert a == pytest.approx(b, rel=2e-3)
    (shard, *_) = sorted((tmp_path / "with" / "teacher").glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-4] + b"\0\1\2\3")
    again = plain(
        files, tmp_path / "again", loss=losses, train={"steps": 1},
        cache={"use": True, "hidden": True, "shard": 20, "folder": str(shard.parent)},
    )  # fmt: skip
    with pytest.raises(RunFolderError, match=shard.name):
        run(again)
    shard.unlink()
    others = {one.name: one.read_bytes() for one in shard.parent.glob("*.safetensors")}
    run(again)  # it alone is made anew
    now = {one.name: one.read_bytes() for one in shard.parent.glob("*.safetensors")}
    assert {name: now.get(name) for name in others} == others
    third = changed(again, out=str(tmp_path / "third"))
    run(third)
    assert not [e for e in RunFolder(tmp_path / "third").events() if e["kind"] == "cache"]


def test_hidden_states_beyond_half_precision_are_kept_as_they_are(tmp_path: Path) -> None:
    """Some big models have single states of 100,000 and more."""
    model = LlamaForCausalLM.from_pretrained(tiny_llama(tmp_path / "causal"))
    model.model.embed_tokens.weight.data[:, 0] *= 1e6
    model.save_pretrained(tmp_path / "causal")
    (tmp_path / "t.jsonl").write_text(
        "\n".join(json.dumps({"text": f"the film moves you {w}"}) for w in WORDS)
    )
    found = []
    for use in (True, False):
        out = tmp_path / str(use)
        run(
            plain(
                tmp_path, out, task="generation", teacher={"model": str(tmp_path / "causal")},
                data={"train": str(tmp_path / "t.jsonl"), "dev": ""},
                student={"start": "config", "layers": 1},
                loss=[{"kind": "embedding"}], cache={"use": use, "hidden": use},
                train={"steps": 1},
            )
        )  # fmt: skip
        found += [e["parts"] for e in RunFolder(out).events() if e["kind"] == "step"]
    assert found[0] == pytest.approx(found[1], rel=2e-3)


def test_a_causal_model_learns_and_its_report_says_so(files: Path, tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(
        "\n".join(json.dumps({"text": f"the film moves you {w}"}) for w in WORDS)
    )
    data = {"train": str(tmp_path / "t.jsonl"), "dev": str(tmp_path / "t.jsonl")}
    teacher = {"model": str(files / "causal")}
    recipe = plain(
        files, tmp_path / "out", task="generation", teacher=teacher, data=data,
        student={"layers": 1}, loss=[{"kind": "ce"}, {"kind": "jsd", "beta": 0.3}],
    )  # fmt: skip
    student = run(recipe)
    steps = [e["loss"] for e in RunFolder(tmp_path / "out").events() if e["kind"] == "step"]
    assert steps[-1] < steps[0]
    card = json.loads((tmp_path / "out" / "report.json").read_text())
    assert set(card["quality"]["student"]) == {
        "accuracy", "loss", "accuracy_interval", "perplexity", "perplexity_interval",
    }  # fmt: skip
    assert (student / "tokenizer.json").is_file()


def test_a_student_of_another_tokenizer_is_refused(files: Path, tmp_path: Path) -> None:
    other = files / "other"
    tiny_bert(other)
    body = json.loads((other / "tokenizer.json").read_text())
    vocabulary = body["model"]["vocab"]
    a, b = sorted(vocabulary, key=vocabulary.get)[-2:]
    vocabulary[a], vocabulary[b] = vocabulary[b], vocabulary[a]
    (other / "tokenizer.json").write_text(json.dumps(body))
    student = {"start": "model", "model": str(other), "layers": 0}
    with pytest.raises(DistillationError, match="different tokenizers"):
        run(plain(files, tmp_path / "out", student=student))


def test_an_untrained_head_takes_the_names_of_the_teachers_classes(
    files: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    tiny_bert(other)
    config = json.loads((other / "config.json").read_text())
    names = config["id2label"]
    config |= {
        "id2label": {"0": "LABEL_0", "1": "LABEL_1"},
        "label2id": {"LABEL_0": 0, "LABEL_1": 1},
    }
    (other / "config.json").write_text(json.dumps(config))
    student = {"start": "model", "model": str(other), "layers": 0}
    made = run(plain(files, tmp_path / "out", student=student, train={"steps": 1}))
    assert json.loads((made / "config.json").read_text())["id2label"] == names


def test_a_table_without_a_header_and_a_folder_are_read_alike(tmp_path: Path) -> None:
    import datasets

    rows = [(f"text {number}", number % 2) for number in range(5)]
    (tmp_path / "sst2.tsv").write_text("\n".join(f"{text}\t{label}" for text, label in rows))
    datasets.Dataset.from_list([{"text": a, "label": b} for a, b in rows]).save_to_disk(
        tmp_path / "folder"
    )
    recipe = recipe_from(
        {
            "teacher": {"model": "m"},
            "student": {"layers": 1},
            "data": {"train": "t"},
            "out": "o",
        }
    )
    for name in ("sst2.tsv", "folder"):
        table = KernelTools().rows(str(tmp_path / name))
        found = read_examples(table, recipe, ["negative", "positive"])
        assert [(one.text, one.label) for one in found] == rows
    with pytest.raises(DataSetError, match="is no folder of a data set"):
        KernelTools().rows(str(tmp_path))


def test_faults_are_named_in_a_sentence(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wrong.csv").write_text("text,label\nthe plot,spam\n")
    wrong = plain(files, tmp_path / "a", data={"train": str(tmp_path / "wrong.csv")})
    with pytest.raises(DataError, match=r"row 0: label is 'spam'.*negative, positive"):
        run(wrong)
    out = tmp_path / "b"
    recipe = plain(files, out, train={"steps": 4, "checkpoint_every": 1})
    plainly = Engine._gradients

    def broken(self: Engine, texts: Any, size: int) -> torch.Tensor:
        return plainly(self, texts, size) * (torch.nan if self.step == 2 else 1)

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "_gradients", broken)
        with pytest.raises(DistillationError, match="ce is nan at step 2"):
            run(recipe)
    run(recipe)  # goes on from step 2
    full = plain(files, tmp_path / "c", train={"steps": 2, "checkpoint_every": 1})

    def no_room(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("lmkit_distillation.checkpoints.torch.save", no_room)
        with pytest.raises(RunFolderError, match="is full"):
            run(full)
    run(full)
    before = RunFolder(full["out"]).events_file.read_bytes()
    with pytest.raises(RunFolderError, match="another recipe"):
        run({**full, "seed": 3})
    assert RunFolder(full["out"]).events_file.read_bytes() == before


def test_a_recipe_names_the_key_that_is_wrong(files: Path, tmp_path: Path) -> None:
    good = plain(files, tmp_path / "out")
    for section, values, words in (
        ("train", {"rat": 1}, "no key train.rat"),
        ("train", {"batch": 0}, "train.batch is 0"),
        ("train", {"rate": "fast"}, "train.rate is 'fast'; it must be a number"),
        ("student", {"keep": [3, 1], "layers": 0}, "student.keep must name"),
        ("loss", [{"kind": "kl", "temperature": 0}], r"loss\[0\].temperature"),
        ("loss", [{"kind": "hidden", "measure": "kl"}], r"loss\[0\].measure"),
        ("cache", {"use": True}, "needs cache.hidden"),
    ):
        body = (
            {**good, section: {**good.get(section, {}), **values}}
            if isinstance(values, dict)
            else {**good, section: values}
        )
        with pytest.raises(RecipeError, match=words):
            recipe_from(body)
    file = tmp_path / "r.toml"
    file.write_text(
        'out = "x"\n[teacher]\nmodel = "m"\n[student]\nlayers = 1\n[data]\ntrain = "t"\n'
    )
    assert load_recipe(file, ["train.rate=1e-4"]).train.rate == 1e-4
    assert load_recipe(file).data.train == str(tmp_path.resolve() / "t")
