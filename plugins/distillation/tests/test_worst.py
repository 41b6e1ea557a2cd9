"""The worst examples of a report, and the lines that a reader copies from it to explore them."""

from __future__ import annotations

import re
import shlex
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from lmkit_distillation.card_views import results
from lmkit_distillation.chat import chat_text
from lmkit_distillation.client import Run
from lmkit_distillation.data import Encoded, Example
from lmkit_distillation.evaluate import Answers
from lmkit_distillation.examples import lost_most
from lmkit_distillation.report import to_html
from lmkit_distillation.schema import read_report
from lmkit_distillation.watched import WatchedRun

import lmkit
from lmkit.api import Table
from lmkit.cli import main
from lmkit.tools import KernelTools
from tests.tiny import tiny_bert, tiny_llama

from .runs import generation, run, write_rows

FILM = "It isn't Spielberg's best -- but I was MOVED."
ASKED, SAID = "Is the plot THIN?\nSay so.", " I saw the film, by the river -- twice."


def card(**more: Any) -> dict[str, Any]:
    return {
        "version": 1, "task": "classification", "teacher": "t", "student": "mine/student",
        "steps": 1, "best_step": 1, "texts": 1, "parameters": {"teacher": 2, "student": 1},
        "bytes": {"teacher": 2, "student": 1}, **more,
    }  # fmt: skip


def table(report: dict[str, Any]) -> Table:
    return next(one for one in results(report) if isinstance(one, Table) and one.changes)


class Lines(HTMLParser):
    """The lines that a page gives to copy."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.inside, self.text = False, ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.inside = self.inside or tag == "pre"

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag != "pre"

    def handle_data(self, data: str) -> None:
        self.text += data if self.inside else ""


def executed(code: str) -> list[Any]:
    """What the lines of the page show: that of each call of ``lmkit.compare``."""
    names: dict[str, Any] = {}
    shown = []
    for line in code.splitlines():
        if line.startswith("lmkit.compare"):
            shown.append(eval(line, names))
        else:
            exec(line, names)
    return shown


def contrary(folder: Path) -> tuple[Path, Path]:
    """A classifier, and one that always says the other class."""
    torch.manual_seed(0)
    teacher = tiny_bert(folder / "teacher")
    student = tiny_bert(folder / "other")
    model = transformers.BertForSequenceClassification.from_pretrained(teacher)
    for parameter in model.classifier.parameters():
        parameter.data.neg_()
    model.save_pretrained(student)
    return teacher, student


def classifier(folder: Path, rows: list[dict[str, Any]], **data: Any) -> Path:
    teacher, student = contrary(folder)
    texts = write_rows(folder / "d.jsonl", rows)
    recipe = {
        "out": str(folder / "runs" / "mine"), "teacher": {"model": str(teacher)},
        "student": {"start": "model", "model": str(student)},
        "train": {"steps": 1, "batch": 4, "threads": 1, "rate": 1e-9},
        "data": {"train": texts, "test": texts, **data},
        "report": {"speed": False, "resamples": 100},
    }  # fmt: skip
    run(recipe)
    return folder / "runs" / "mine"


def both_ways(*texts: dict[str, str]) -> list[dict[str, Any]]:
    """Each text under both labels, so that the teacher has one of each two right."""
    return [{**one, "label": label} for one in texts for label in (0, 1)]


def test_the_examples_are_the_texts_that_the_user_has_and_the_printed_lines_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    long = " ".join(["The film, the PLOT -- unforgettable!"] * 20)
    rows = both_ways({"text": FILM}, {"text": long})
    out = classifier(tmp_path, rows, max_length=16)
    report = read_report(out)
    found = {one["row"]: one["text"] for one in report["quality"]["regressions"]}
    assert {rows[row]["text"] for row in found} == {FILM, long}
    assert all(rows[row]["text"] == text for row, text in found.items())
    shown = table(report)
    assert (shown.columns[0], shown.columns[-1]) == ("Text", "Row")
    values = [one.values for one in shown.changes if one is not None]
    assert {"text": FILM, "second": ""} in values

    monkeypatch.chdir(out)
    code = Lines((out / "report.html").read_text()).text
    assert str(tmp_path) not in code
    (asked,) = [line for line in code.splitlines() if "fill in where" in line]
    assert asked.startswith("TEACHER = 'teacher'")
    made = executed(code.replace(asked, f"TEACHER = {str(tmp_path / 'teacher')!r}"))
    assert len(made) == 2
    assert all("layers" in repr(one) for one in made)

    readme = (out / "student" / "README.md").read_text()
    monkeypatch.chdir(out / "student")
    (command,) = re.findall(r"```bash\n(.*?)\n```", readme, re.DOTALL)
    (python,) = re.findall(r"```python\n(.*?)\n```", readme, re.DOTALL)
    words = shlex.split(command)
    assert words[0] == "lmkit"
    capsys.readouterr()
    assert main(words[1:]) == 0
    assert "layers" in capsys.readouterr().out
    exec(python, {})


def test_with_a_teacher_that_all_can_have_the_lines_run_as_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_bert(tmp_path / "student")
    row = {"text": FILM, "label": "positive", "student": "negative", "loss": 1.0}
    both = {"accuracy": 0.5, "loss": 1.0}
    quality = {"teacher": both, "student": both, "regressions": [row]}
    made = card(teacher="starter:sentiment", quality=quality)
    # A card of before: no row, no pair.
    assert table(made).columns == ("Text", "Label", "Student says", "Student's loss")
    monkeypatch.chdir(tmp_path)
    (shown,) = executed(Lines(to_html(made)).text)
    assert isinstance(shown, lmkit.Explorer)


def test_of_pairs_both_texts_are_kept_and_a_click_watches_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = {"text": FILM, "claim": "The film isn't OLD -- is it?"}
    out = classifier(tmp_path, both_ways(pair), pair="claim")
    report = read_report(out)
    (example,) = report["quality"]["regressions"]
    assert (example["text"], example["pair"]) == (pair["text"], pair["claim"])
    shown = table(report)
    assert shown.columns[:2] == ("Text", "Second text")
    assert shown.rows[0][:2] == (pair["text"], pair["claim"])
    (click,) = shown.changes
    assert click is not None
    assert click.values == {"text": pair["text"], "second": pair["claim"]}

    texts = (str(click.values["text"]), str(click.values["second"]))
    trace: Any = WatchedRun(Run(out), *texts).attention(KernelTools())
    assert [one.text for one in trace.tokens].count("[SEP]") == 2

    monkeypatch.chdir(out)
    code = Lines((out / "report.html").read_text()).text
    code = re.sub(r"TEACHER = '.*", f"TEACHER = {str(tmp_path / 'teacher')!r}", code)
    (explored,) = executed(code)
    assert explored.trace is not None
    assert [one.text for one in explored.trace.tokens].count("[SEP]") == 2


def test_words_of_ner_are_those_of_the_data(tmp_path: Path) -> None:
    torch.manual_seed(0)
    teacher = tiny_bert(tmp_path / "teacher", head="TokenClassification")
    other = tiny_bert(tmp_path / "other", head="TokenClassification")
    model = transformers.BertForTokenClassification.from_pretrained(teacher)
    for parameter in model.classifier.parameters():
        parameter.data.neg_()
    model.save_pretrained(other)
    words = ["O'Brien", "MOVED", "the", "River"]
    rows = [{"tokens": words, "tags": [label] * 4} for label in ("negative", "positive")]
    texts = write_rows(tmp_path / "d.jsonl", rows)
    run({
        "task": "ner", "out": str(tmp_path / "run"), "teacher": {"model": str(teacher)},
        "student": {"start": "model", "model": str(other)}, "data": {"train": texts, "test": texts},
        "train": {"steps": 1, "batch": 2, "threads": 1, "rate": 1e-9},
        "report": {"speed": False, "resamples": 100},
    })  # fmt: skip
    found = read_report(tmp_path / "run")["quality"]["regressions"]
    assert {one["text"] for one in found} == {" ".join(words)}


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return tiny_llama(tmp_path_factory.mktemp("causal"))


def test_of_generation_the_texts_are_those_with_the_most_loss_above_the_teachers(
    causal: Path, tmp_path: Path
) -> None:
    rows = [{"ask": ASKED, "say": SAID}] + [
        {"ask": f"The film {i}:", "say": f" is {'old ' * i}and {i}."} for i in range(4)
    ]
    texts = write_rows(tmp_path / "d.jsonl", rows)
    sure = tmp_path / "sure"  # of the wrong tokens
    transformers.AutoTokenizer.from_pretrained(causal).save_pretrained(sure)
    model = transformers.AutoModelForCausalLM.from_pretrained(causal)
    model.lm_head.weight.data.mul_(-30)
    model.save_pretrained(sure)
    recipe = generation(
        tmp_path / "run", causal, Path(texts), data={"prompt": "ask", "completion": "say"},
        student={"start": "model", "model": str(sure)}, train={"rate": 1e-9},
    )  # fmt: skip
    run(recipe)
    report = read_report(tmp_path / "run")
    found = report["quality"]["regressions"]
    assert len(found) > 1

    def loss(folder: Path, row: dict[str, str]) -> float:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
        prompt = tokenizer(row["ask"])["input_ids"]
        said = tokenizer(row["say"], add_special_tokens=False)["input_ids"]
        ids = torch.tensor([[*prompt, *said, tokenizer.eos_token_id]])
        with torch.no_grad():
            logits = model(ids).logits[0, len(prompt) - 1 : -1].float()
        return float(torch.nn.functional.cross_entropy(logits, ids[0, len(prompt) :]))

    worst = [loss(tmp_path / "run" / "student", row) - loss(causal, row) for row in rows]
    expected = sorted((i for i in range(5) if worst[i] > 0), key=lambda i: -worst[i])
    assert [one["row"] for one in found] == expected
    for one in found:
        assert one["change"] == pytest.approx(worst[one["row"]], abs=1e-4)
        assert (one["prompt"], one["completion"]) == tuple(rows[one["row"]].values())
        assert one["text"] == one["prompt"] + one["completion"]
    shown = table(report)
    assert shown.columns[:4] == (
        "Prompt", "Completion", "Teacher, loss a token", "Student, loss a token",
    )  # fmt: skip
    click = shown.changes[0]
    assert click is not None
    assert click.values["text"] == found[0]["text"]
    watched = WatchedRun(Run(tmp_path / "run"), str(click.values["text"]))
    assert watched.attention(KernelTools()) is not None


def test_a_chat_is_watched_as_its_template_writes_it(causal: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(causal)
    tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    )
    text = chat_text(tokenizer, [("user", "Hi"), ("assistant", "You")])
    ids = tokenizer(text)["input_ids"]
    assert ids.count(tokenizer.bos_token_id) == 1
    assert "user: Hi\nassistant: You" in tokenizer.decode(ids)


def test_of_two_tokenizers_texts_are_ranked_by_bits_a_character() -> None:
    def answers(loss: list[float], text: list[int], targets: list[int] | None = None) -> Answers:
        known = np.array(targets or [5] * len(loss))
        return Answers(known, known, np.array(loss), np.array(text))

    class Decodes:
        def decode(self, ids: Any, **_: Any) -> str:
            return "written by a model"

    asked = Example(text="Who?", before=())
    texts = [
        Encoded(id=str(i), ids=(1, 2, 3), targets=(2, 3, -100), prompt=1, source=asked)
        for i in range(3)
    ]
    # Text 1 loses more nats a token, and text 0 more bits a character; of text 2 nothing is known.
    teacher = answers([0.0, 0.0, 0.0, 0.0], [0, 0, 1, 2], [5, 5, 5, -100])
    student = answers([1.0, 2.0, 9.0], [0, 1, 2], [5, 5, -100])
    sizes = ([2, 10, 0], [2, 10, 0])
    found = lost_most(texts, teacher, student, Decodes(), characters=sizes)
    assert [one["row"] for one in found] == [0, 1]
    assert found[0]["change"] == pytest.approx(0.5 / np.log(2))
    assert (found[0]["prompt"], found[0]["completion"]) == ("Who?", "written by a model")
    by_token = lost_most(texts, teacher, student, Decodes())
    assert [one["row"] for one in by_token] == [1, 0]
    both = {"loss": 1.0, "bits_per_character": 1.0}
    for rows, unit in ((found, "bits a character"), (by_token, "loss a token")):
        quality = {"teacher": both, "student": both, "regressions": rows}
        assert table(card(task="generation", quality=quality)).columns[2] == f"Teacher, {unit}"
