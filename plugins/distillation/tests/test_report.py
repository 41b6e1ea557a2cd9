"""The report card: its numbers against plain references, its form, its page, its students."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lmkit_distillation.card_views import pareto, results
from lmkit_distillation.compare import Point, front
from lmkit_distillation.cost import flops_of
from lmkit_distillation.data import Batch
from lmkit_distillation.energy import Rapl, energy_of
from lmkit_distillation.engine import Engine
from lmkit_distillation.errors import ReportError
from lmkit_distillation.evaluate import Answers
from lmkit_distillation.model_card import model_card
from lmkit_distillation.quality import quality_of
from lmkit_distillation.recipe import recipe_from
from lmkit_distillation.report import to_html
from lmkit_distillation.schema import check_report, read_report
from lmkit_distillation.shared import base_name, without_paths

import lmkit
from lmkit.api import Chart, Table
from lmkit.tools import KernelTools
from tests.tiny import tiny_bert

CPU = torch.device("cpu")


def card(**more: Any) -> dict[str, Any]:
    return {
        "version": 1, "task": "classification", "teacher": "t", "student": "runs/a/student",
        "steps": 3, "best_step": 2, "texts": 4, "parameters": {"teacher": 20, "student": 10},
        "bytes": {"teacher": 80, "student": 40}, **more,
    }  # fmt: skip


def batch(texts: int, width: int) -> Batch:
    values = {"x": torch.ones(texts, width)}
    mask = torch.ones(texts, 1, dtype=torch.bool)
    return Batch(values, values, torch.zeros(texts), None, mask, [None] * texts)  # type: ignore[list-item]


def test_operations_are_those_of_the_matrix_products() -> None:
    layer = torch.nn.Linear(8, 3, bias=False)
    assert flops_of(lambda b: layer(b.inputs["x"]), [batch(5, 8)]) == 2 * 8 * 3


def test_energy_is_read_over_a_wrapping_counter_and_else_marked_as_an_estimate(
    tmp_path: Path,
) -> None:
    zone = tmp_path / "intel-rapl:0"
    part = tmp_path / "intel-rapl:0:0"
    for folder in (zone, part):
        folder.mkdir()
        (folder / "energy_uj").write_text("9000000")
        (folder / "max_energy_range_uj").write_text("10000000")
    meter = Rapl(tmp_path)
    (zone / "energy_uj").write_text("1000000")
    assert meter.joules() == pytest.approx(2.0)  # the part is within the package

    def reads(one: Batch) -> None:
        (zone / "energy_uj").write_text(str(int((zone / "energy_uj").read_text()) + 40_000))

    asked = {"student": reads}
    found = energy_of(asked, [batch(4, 1)], 0.0, CPU, lambda _: (meter, ""))
    assert found["how"] == "measured"
    assert found["student"] == pytest.approx(0.01)
    guess = energy_of(asked, [batch(4, 1)], 0.0, CPU, lambda _: (None, "no meter"))
    assert guess["how"] == "estimate"
    assert "no meter" in guess["note"]
    assert "10 W" in guess["note"] or "W (assumed" in guess["note"]


def test_entities_are_compared_by_kind_and_texts_are_drawn_whole() -> None:
    labels = ["O", "B-PER", "B-LOC"]
    real = np.array([1, 0, 2, 1, 2, 0])
    text = np.array([0, 0, 0, 1, 1, 1])
    loss = np.zeros(6)
    teacher = Answers(real.copy(), real, loss, text)
    student = Answers(np.array([1, 0, 0, 1, 0, 0]), real, loss, text)
    found = quality_of(teacher, student, labels, "ner", 100)
    rows = {row["label"]: row for row in found["per_entity"]}
    assert (rows["LOC"]["teacher"], rows["LOC"]["student"]) == (1.0, 0.0)
    assert rows["PER"]["change"] == 0
    assert found["student"]["f1"] == pytest.approx(2 * 2 / (2 + 4))
    assert found["f1_change"] == pytest.approx(found["student"]["f1"] - 1)
    low, high = found["f1_change_interval"]
    assert low <= found["f1_change"] <= high


def test_perplexity_is_the_exponential_of_the_loss_with_its_interval() -> None:
    real = np.array([3, 1, 2, 3])
    one = Answers(real, real, np.array([0.1, 0.5, 1.0, 0.4]), np.arange(4))
    values = quality_of(one, one, (), "generation", 200)
    assert values["student"]["perplexity"] == pytest.approx(np.exp(0.5))
    low, high = values["student"]["perplexity_interval"]
    assert low < values["student"]["perplexity"] < high
    assert values["loss_change_interval"] == [0.0, 0.0]


def test_a_report_of_another_form_is_refused_by_the_name_of_its_part(tmp_path: Path) -> None:
    assert check_report(card()) == card()
    for wrong, named in (
        ({"version": 2}, "version 2"),
        ({"steps": "3"}, "steps"),
        ({"bytes": {"teacher": 1}}, "bytes.student"),
        ({"speed": {}}, "speed"),
        ({"quality": {"teacher": {}}}, "quality.student"),
    ):
        with pytest.raises(ReportError, match=named):
            check_report({**card(), **wrong})
    with pytest.raises(ReportError, match="can't be read"):
        read_report(tmp_path)
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(ReportError, match="not JSON"):
        read_report(tmp_path)


def test_nobody_on_the_front_is_beaten() -> None:
    made = [("a", 0.9, 4.0), ("b", 0.8, 2.0), ("c", 0.8, 3.0), ("d", 0.95, 4.0), ("e", 0.8, 2.0)]
    every = [Point(n, q, c, 1, "accuracy", "ms") for n, q, c in made]
    assert [p.name for p in front(every)] == ["b", "e", "d"]


def test_paths_of_the_machine_are_cut_to_their_names() -> None:
    given = {
        "problem": "Its process said: '/home/jane doe/runs/a/model.safetensors' is not there.",
        "more": ["[Errno 2] /opt/x/y.py, line 3", "C:\\Users\\jane\\x.onnx failed", 0.5],
    }
    assert without_paths(given, ["/home/jane doe/runs/a", "relative"]) == {
        "problem": "Its process said: 'a/model.safetensors' is not there.",
        "more": ["[Errno 2] y.py, line 3", "x.onnx failed", 0.5],
    }
    for plain in ("mJ/text at 1/2", "https://hf.co/a/b/c", "runs/a/student", "and/or, /tmp"):
        assert without_paths(plain) == plain
    assert base_name("/models/bert") == "bert"
    assert base_name("org/model") == "org/model"


class Seen(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_shows_names_and_texts_as_text() -> None:
    evil = '<script>alert(1)</script>"><img src=x>'
    row = {"text": evil, "label": evil, "student": evil, "loss": 1.0}
    group = {"label": evil, "places": 2, "teacher": 1.0, "student": 0.5, "change": -0.5}
    both = {"accuracy": 0.5, "loss": 1.0}
    speed = {"p50": 1.0, "p95": 2.0, "texts_per_second": 1.0}
    quality = {"teacher": both, "student": both, "per_class": [group], "regressions": [row]}
    full = card(
        teacher=evil, quality=quality,
        speed=[{"batch": 1, "teacher": speed, "student": speed, evil: speed, "speedup": 1.0}],
        exports=[{"name": "int8", "bytes": None, "problem": evil}],
    )  # fmt: skip
    page = Seen()
    page.feed(to_html(full))
    assert not {"script", "img", "link"} & set(page.tags)
    assert page.text.count(evil) >= 5
    # The front matter is YAML, where the name is a quoted text.
    body = model_card(full).split("---\n", 2)[2]
    assert body.count("<script") == body.count("\\<script") > 0
    changes = next(one for one in results(full) if isinstance(one, Table) and one.changes).changes
    assert changes[0] is not None
    assert changes[0].values == {"text": evil, "second": ""}
    kinds = {type(one) for one in pareto({"a": full, "b": full})}
    assert kinds == {Chart, Table}


def test_a_run_ends_in_a_whole_card_and_a_student_that_lmkit_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    tiny_bert(tmp_path / "teacher", num_hidden_layers=3)
    rows = ["text\tlabel"] + [
        f"the film {'moved' if i % 2 else 'is old'}\t{i % 2}" for i in range(8)
    ]
    (tmp_path / "d.tsv").write_text("\n".join(rows))
    recipe = {
        "out": str(tmp_path / "run"), "teacher": {"model": str(tmp_path / "teacher")},
        "student": {"layers": 1}, "train": {"steps": 2, "batch": 4, "threads": 1},
        "data": {"train": str(tmp_path / "d.tsv"), "dev": str(tmp_path / "d.tsv")},
        "report": {"seconds": 0.1, "resamples": 100, "batches": [2], "exports": ["int8"]},
    }  # fmt: skip
    student = Engine(recipe_from(recipe), KernelTools()).run()
    found = read_report(tmp_path / "run")
    assert found["flops"]["student"] < found["flops"]["teacher"]
    # Each process is far larger than the weights, and no child is told its parent's peak.
    assert found["memory"]["student"] > found["bytes"]["student"]
    assert found["memory"]["student"] != found["memory"]["teacher"]
    (int8,) = found["exports"]
    assert int8["problem"] == ""
    assert int8["name"] in found["speed"][0]
    kept = tmp_path / "run" / int8["file"]
    assert kept.stat().st_size == int8["bytes"]
    assert all(
        int8["file"] in one.read_text()
        for one in (tmp_path / "run" / "report.html", student / "README.md")
    )
    assert "## Licence" in (student / "README.md").read_text()
    # What is given to others says nothing of this machine.
    given = [tmp_path / "run" / "report.json", tmp_path / "run" / "report.html"]
    given += [one for one in student.rglob("*") if one.suffix != ".safetensors"]
    assert len(given) > 4
    assert [one.name for one in given if str(tmp_path.parent) in one.read_text()] == []
    assert (found["teacher"], found["student"]) == ("teacher", "run/student")
    assert lmkit.explore(str(student), text="the film is old") is not None
    from lmkit_distillation.command import Distill

    target = tmp_path / "c.html"
    words = ["--compare", str(tmp_path / "run"), "--out", str(target)]
    assert Distill().main(KernelTools(), words) == 0
    assert "run" in capsys.readouterr().out
    assert len(json.loads(target.with_suffix(".json").read_text())["points"]) == 2

    # on the command line a run that has ended says so, and is not measured once more
    made = (tmp_path / "run" / "report.json").stat().st_mtime_ns
    for words in (["--pause", str(tmp_path / "run")], ["--stop", str(tmp_path / "run")]):
        assert Distill().main(KernelTools(), words) == 0
        assert "does not run (finished): there is nothing to" in capsys.readouterr().out
    assert Distill().main(KernelTools(), ["--resume", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().out
    assert said.splitlines() == [f"{tmp_path / 'run'} is finished.", str(student)]
    assert (tmp_path / "run" / "report.json").stat().st_mtime_ns == made
