"""Several students side by side: in the report of each, in its panel, and from Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lmkit_distillation import compare_students
from lmkit_distillation.client import Run
from lmkit_distillation.errors import ReportError
from lmkit_distillation.schema import read_report
from lmkit_distillation.watched import WatchedRun

from lmkit.api import Chart, Table
from tests.tiny import tiny_bert

from .runs import run, write_rows

TITLE = "Students compared"


def panel(folder: Path) -> WatchedRun:
    watched = WatchedRun(Run(folder))
    assert watched.info().state == "finished"
    return watched


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs ``one`` and ``two`` on the same test texts, made in this order, and then ``other``."""
    folder = tmp_path_factory.mktemp("siblings")
    torch.manual_seed(0)
    teacher = tiny_bert(folder / "teacher")
    rows: list[dict[str, Any]] = [
        {"text": f"the film {'moved' * (i % 3)} {i}", "label": i % 2} for i in range(8)
    ]
    texts = write_rows(folder / "same.jsonl", rows)
    # The same words with another label are other test texts.
    rows[3] = {**rows[3], "label": 0}
    others = write_rows(folder / "others.jsonl", rows)
    for name, layers, test in (("one", 1, texts), ("two", 2, texts), ("other", 1, others)):
        run({
            "out": str(folder / "runs" / name), "teacher": {"model": str(teacher)},
            "student": {"layers": layers}, "data": {"train": texts, "test": test},
            "train": {"steps": 1, "batch": 4, "threads": 1},
            "report": {"speed": False, "resamples": 100},
        })  # fmt: skip
    (folder / "runs" / "damaged").mkdir()
    (folder / "runs" / "damaged" / "report.json").write_text("[]")
    return folder / "runs"


def test_a_report_has_the_students_beside_it_that_were_there(runs: Path) -> None:
    first, second, other = (read_report(runs / name) for name in ("one", "two", "other"))
    assert first["texts_mark"] == second["texts_mark"] != other["texts_mark"]
    assert "compared" not in first  # it was alone
    assert "compared" not in other
    assert [row["name"] for row in second["compared"]] == ["teacher teacher", "two", "one"]
    by_name = {row["name"]: row for row in second["compared"]}
    assert by_name["one"]["quality"] == first["quality"]["student"]["accuracy"]
    assert by_name["one"]["parameters"] == first["parameters"]["student"]
    assert [row["own"] for row in second["compared"]] == [False, True, False]
    page = (runs / "two" / "report.html").read_text()
    assert TITLE in page
    assert "two (this run)" in page
    assert TITLE not in (runs / "other" / "report.html").read_text()


def test_the_panel_of_a_run_shows_those_that_came_later(runs: Path) -> None:
    shown = panel(runs / "one").results()
    (table,) = [one for one in shown if isinstance(one, Table) and one.title == TITLE]
    assert [row[0] for row in table.rows] == ["teacher teacher", "one (this run)", "two"]
    (plot,) = [one for one in shown if isinstance(one, Chart) and "Accuracy over" in one.title]
    assert plot.series[0].label == "Pareto front"
    alone = panel(runs / "other").results()
    assert TITLE not in [getattr(one, "title", "") for one in alone]


def test_a_report_of_anybodys_making_beside_it_is_left_out(runs: Path) -> None:
    card = read_report(runs / "two")
    for name, change in (
        ("nan", {"quality": {"teacher": {"accuracy": float("nan")}, "student": {"accuracy": 1.0}}}),
        ("odd", {"speed": [{"batch": 1, "teacher": 3}]}),
        ("bare", {"quality": None}),
    ):
        (runs / name).mkdir()
        (runs / name / "report.json").write_text(json.dumps({**card, **change}))
    watched = panel(runs / "one")
    for _ in range(2):  # what was read once is not read again
        (table,) = [one for one in watched.results() if getattr(one, "title", "") == TITLE]
        assert [row[0] for row in table.rows] == ["teacher teacher", "one (this run)", "two"]


def test_python_compares_runs(runs: Path, tmp_path: Path) -> None:
    found = compare_students([Run(runs / "one"), runs / "two"])
    assert [one.name for one in found.points] == ["teacher teacher", "one", "two"]
    assert repr(found).count("\n") == 2
    assert "<iframe sandbox srcdoc" in found._repr_html_()
    found.save(tmp_path / "students.html")
    assert TITLE in (tmp_path / "students.html").read_text()
    assert len(json.loads((tmp_path / "students.json").read_text())["points"]) == 3
    with pytest.raises(ReportError, match="different test texts"):
        compare_students([runs / "one", runs / "other"])
