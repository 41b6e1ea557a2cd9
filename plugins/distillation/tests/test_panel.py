"""The panel: what is read of a run folder, the recipe of the form, the run that is watched."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import IPython
import numpy as np
import pandas
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lmkit_distillation.client import Run
from lmkit_distillation.curves import MOST, charts, note
from lmkit_distillation.data import read_examples
from lmkit_distillation.errors import DistillationError, RecipeError, RunFolderError
from lmkit_distillation.folder import RunFolder
from lmkit_distillation.history import History
from lmkit_distillation.known import known_runs, remember
from lmkit_distillation.recipe import Recipe, load_recipe, recipe_from
from lmkit_distillation.setup_form import PRESETS, planned
from lmkit_distillation.task import Distillation
from lmkit_distillation.toml import to_toml
from lmkit_distillation.watched import WatchedRun, mode_of

import lmkit
from lmkit.api import Chart, FieldError, Text
from lmkit.fields import defaults
from lmkit.models.loading import one_at_a_time
from lmkit.tools import KernelTools


@pytest.fixture(autouse=True)
def followed_to_the_end() -> Iterator[None]:
    """What follows a job ends soon after its panel: it may be loading a model for the explorer."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if thread.name == "lmkit-job":
            thread.join(60)
            assert not thread.is_alive()


def step(number: int, **more: Any) -> dict[str, Any]:
    return {"kind": "step", "step": number, "time": 100.0 + number, "loss": 1 / number, **more}


def write(path: Path, *events: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(one) + "\n" for one in events))


def form(folder: Path, **values: Any) -> dict[str, Any]:
    return {**defaults(Distillation.fields), "folder": str(folder), **values}


def recipe_of(values: dict[str, Any], teacher: str) -> Recipe:
    return planned(values, teacher)[0]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 700), max_size=8))
def test_history_read_in_any_pieces_is_that_read_at_once(tmp_path: Path, cuts: list[int]) -> None:
    events = [{"kind": "start", "step": 0, "time": 1.0, "total": 6}, *map(step, range(1, 6))]
    events.append({"kind": "evaluation", "step": 5, "time": 9.0, "accuracy": 0.5})
    raw = "".join(json.dumps(one) + "\n" for one in events).encode()
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"")
    history = History(path)
    for cut in [*sorted(cuts), len(raw)]:
        with path.open("r+b") as file:  # the same file grows
            file.write(raw[:cut])
        history.read()
    assert [one["step"] for one in history.steps] == [1, 2, 3, 4, 5]
    assert (history.total, history.step, len(history.evaluations)) == (6, 5, 1)
    assert history.seconds_left == pytest.approx(1.0)
    assert history.read() is False


def test_history_forgets_what_a_resumed_run_writes_anew(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    write(path, step(1), step(2), step(3), {"kind": "failed", "step": 3, "time": 1, "message": "x"})
    history = History(path)
    history.read()
    assert (history.step, history.end, history.problem) == (3, "failed", "x")
    again = tmp_path / "again"
    write(again, step(1), {"kind": "start", "step": 1, "time": 200.0, "total": 9}, step(2, loss=7))
    os.replace(again, path)
    history.read()
    assert (history.step, history.end, history.total) == (2, "", 9)
    assert history.steps[-1]["loss"] == 7
    assert history.seconds_left is None  # one step of this process has no pace


def test_damaged_and_hostile_lines_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    write(path, step(1), {"kind": "step", "step": "two", "time": 1}, step(2, loss=float("nan")))
    path.write_bytes(path.read_bytes() + b'[1]\n{"kind"\n\xff\xfe\n')
    history = History(path)
    history.read()
    assert history.step == 2
    (loss, *_) = (one for one in charts(history) if isinstance(one, Chart))
    assert loss.series[0].y == (1.0, None)


def test_long_curves_are_averaged_and_say_where_they_are() -> None:
    history = History(Path("none"))
    history.steps = [step(n, parts={"kl": 2.0, "ce": 0.5}, memory=5e6) for n in range(1, 2001)]
    history.evaluations = [{"step": 9, "time": 1.0, "accuracy": 0.25, "agreement": 0.5}]
    history.total = 4000
    found = {one.title: one for one in charts(history) if isinstance(one, Chart)}
    loss = found["Loss"]
    assert [one.label for one in loss.series] == ["loss", "ce", "kl"]
    assert all(len(one.x) <= MOST for one in loss.series)
    assert loss.series[0].x[-1] == 2000
    assert loss.x.high == 4000
    assert found["Memory"].series[0].y[0] == pytest.approx(5.0)
    assert [one.label for one in found["On the dev texts"].series] == ["accuracy", "agreement"]
    assert note(history) == "loss 0.0005, 5 MB, accuracy 0.25, agreement 0.5"


FURTHER = """
[student]
start = "config"
hidden = 32
dropout = 0.0
[data]
labelled = 0.5
[train]
epochs = 0.5
micro_batch = 2
precision = "bf16"
best_by = "agreement"
[cache]
use = true
top_k = 4
[[loss]]
kind = "jsd"
beta = 0.25
temperature = 3.0
weight = { start = 0.0, end = 1.0, until = 0.5, shape = "cosine" }
[report]
exports = ["int8"]
"""


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("further", ["", FURTHER], ids=["the form alone", "with further settings"])
def test_the_recipe_shown_is_the_recipe_run(preset: str, further: str, tmp_path: Path) -> None:
    (tmp_path / 'odd "name".tsv').write_text("text\tlabel\na\t1\n")
    train = str(tmp_path / 'odd "name".tsv')
    values = form(
        tmp_path / "run", train=train, unlabelled=train, loss=preset, rate=1e-5, patience=2,
        steps=7 if further else 0, further=further,
    )  # fmt: skip
    recipe = recipe_of(values, "starter:sentiment")
    (tmp_path / "recipe.toml").write_text(to_toml(recipe))
    assert load_recipe(tmp_path / "recipe.toml") == recipe
    assert (recipe.data.unlabelled, recipe.train.patience) == (train, 2)
    if further:
        assert (recipe.student.start, recipe.student.hidden, recipe.student.layers) == (
            "config", 32, 3,
        )  # fmt: skip
        assert (recipe.train.epochs, recipe.train.steps, recipe.train.precision) == (0.5, 0, "bf16")
        assert [(one.kind, one.beta) for one in recipe.loss] == [("jsd", 0.25)]
        assert recipe.report.exports == ("int8",)


@pytest.mark.parametrize(
    ("further", "error", "words"),
    [
        ("[train", FieldError, r"Further settings \(TOML\)"),
        ('out = "elsewhere"', FieldError, "out is what Run folder says"),
        ('teacher = { model = "m" }', FieldError, "teacher.model is what the panel's model says"),
        ("train = 3", FieldError, "train must be a table"),
        ("[train]\nrat = 1", RecipeError, "no key train.rat"),
        ("[student]\nkeep = [2, 1]", RecipeError, "student.keep must name"),
        ('loss = "kl"', RecipeError, "loss is 'kl'; it must be a list"),
        ('[student]\nstart = "model"', RecipeError, "student.model and student.start"),
    ],
)
def test_further_settings_that_do_not_fit_are_named(
    further: str, error: type[Exception], words: str, tmp_path: Path
) -> None:
    (tmp_path / "train.tsv").write_text("text\tlabel\na\t1\n")
    values = form(tmp_path / "run", train=str(tmp_path / "train.tsv"), further=further, copies=1)
    with pytest.raises(error, match=words):
        recipe_of(values, "m")


def test_a_student_that_is_there_takes_the_place_of_layers(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("text\tlabel\na\t1\n")
    other = '[student]\nstart = "model"\nmodel = "some/model"\nalign = "text"'
    values = form(tmp_path / "run", train=str(tmp_path / "train.tsv"), further=other)
    student = recipe_of(values, "m").student
    assert (student.model, student.align, student.layers) == ("some/model", "text", 0)
    kept = recipe_of({**values, "further": "[student]\nkeep = [0, 3]"}, "m").student
    assert (kept.keep, kept.layers) == ((0, 3), 0)
    alone = form(tmp_path / "run", further='[data]\nunlabelled = "texts.jsonl"')
    assert recipe_of(alone, "m").data.unlabelled == str(Path("texts.jsonl").resolve())


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The variables of a notebook."""
    found: dict[str, Any] = {}
    shell = SimpleNamespace(user_ns=found)
    monkeypatch.setitem(sys.modules, "IPython", IPython)
    monkeypatch.setattr("IPython.core.getipython.get_ipython", lambda: shell)
    return found


class NoModel:
    name = "m"


def test_a_variable_is_written_once_the_run_is_claimed_and_under_its_content(
    tmp_path: Path, variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    started: list[str] = []
    monkeypatch.setattr(Run, "resume", lambda self: started.append(self.folder.path.name))
    model: Any = NoModel()
    variables["train"] = [{"text": "a", "label": 1}]
    (shown,) = Distillation().run(model, **form(out, train="train", preview=True))
    assert isinstance(shown, Text)
    assert not out.exists()
    Distillation().run(model, **form(out, train="train"))
    (kept,) = (out / "data").iterdir()
    assert kept.name in shown.text
    assert kept.read_text() == '{"text": "a", "label": 1}\n'
    Distillation().run(model, **form(out, train="train"))  # the same rows: the same run
    assert started == ["run", "run"]
    variables["train"] = [{"text": "a", "label": 0}]
    Distillation().run(model, **form(out, train="train", preview=True))
    with pytest.raises(RunFolderError, match=r"another recipe; what differs: data\.train\."):
        Distillation().run(model, **form(out, train="train"))
    assert [one.name for one in (out / "data").iterdir()] == [kept.name]
    assert started == ["run", "run"]


def test_a_variable_in_a_folder_of_an_earlier_version_keeps_its_name(
    tmp_path: Path, variables: dict[str, Any]
) -> None:
    variables["train"] = [{"text": "a", "label": 1}]
    before = tmp_path / "run" / "data" / "train.jsonl"
    before.parent.mkdir(parents=True)
    before.write_text('{"text": "a", "label": 1}\n')
    values = form(tmp_path / "run", train="train")
    assert recipe_of(values, "m").data.train == str(before)
    before.write_text('{"text": "b", "label": 1}\n')
    assert recipe_of(values, "m").data.train != str(before)


@pytest.mark.parametrize(
    ("columns", "kind", "expected"),
    [
        ({"text": ["a", "b", "c"], "label": [1, None, 0]}, "classification", [1, None, 0]),
        ({"text": ["a", "b"], "label": ["positive", None]}, "classification", [1, None]),
        ({"text": ["a"], "label": [True]}, "classification", [1]),
        ({"tokens": [np.array(["Ada", "ran"])]}, "ner", [None]),
        (
            {"tokens": [np.array(["Ada", "ran"]), np.array(["so"])],
             "tags": [np.array([1, 0]), None]},
            "ner", [(1, 0), None],
        ),
    ],
    ids=["numbers", "names", "booleans", "words alone", "words and tags"],
)  # fmt: skip
def test_cells_of_a_frame_are_read_as_they_were(
    columns: dict[str, Any], kind: str, expected: list[Any], tmp_path: Path,
    variables: dict[str, Any],
) -> None:  # fmt: skip
    variables["frame"] = pandas.DataFrame(columns)
    text, label = ("tokens", "tags") if kind == "ner" else ("text", "label")
    values = form(tmp_path, train="frame", kind=kind, column=text, target=label)
    recipe, (rows,) = planned(values, "m")
    rows.write()
    for table in (KernelTools().rows(recipe.data.train), KernelTools().rows(variables["frame"])):
        found = read_examples(table, recipe, ["negative", "positive"])
        assert [one.tags if kind == "ner" else one.label for one in found] == expected
        assert found[0].words == (("Ada", "ran") if kind == "ner" else ())


def test_the_form_asks_for_the_chat_template(tmp_path: Path) -> None:
    (tmp_path / "chats.jsonl").write_text('{"messages": []}\n')
    values = form(
        tmp_path / "run", train=str(tmp_path / "chats.jsonl"), kind="generation", chat=True,
        column="messages", target="answer",
    )  # fmt: skip
    data = recipe_of(values, "starter:chat").data
    assert (data.chat, data.prompt, data.completion) == (True, "messages", "answer")
    with pytest.raises(RecipeError, match="task is 'ner'"):
        recipe_of({**values, "kind": "ner"}, "starter:ner")


def test_toml_of_ramps_and_lists(tmp_path: Path) -> None:
    recipe = recipe_from(
        {
            "out": str(tmp_path / "run"),
            "teacher": {"model": "m"},
            "student": {"layers": 2, "keep": [0, 3]},
            "data": {"train": str(tmp_path / "train.tsv")},
            "loss": [{"kind": "hidden", "weight": {"start": 1.0, "end": 0.0, "until": 0.5},
                      "map": [[0, 1], [1, 3]]}, {"kind": "ce"}],
        }
    )  # fmt: skip
    (tmp_path / "recipe.toml").write_text(to_toml(recipe))
    assert load_recipe(tmp_path / "recipe.toml") == recipe


def test_the_form_names_how_texts_are_written_and_made_more_of(tmp_path: Path) -> None:
    train = str(tmp_path / "train.jsonl")
    (tmp_path / "train.jsonl").write_text('{"ask": "a", "say": "b"}\n')
    values = form(
        tmp_path / "run", train=train, kind="generation", column="ask", target="say",
        written=True, own=0.25, loss="Jensen-Shannon (GKD)", copies=2, masked=" some-bert ",
    )  # fmt: skip
    recipe = recipe_of(values, "starter:chat")
    assert (recipe.data.prompt, recipe.data.completion) == ("ask", "say")
    assert (recipe.sequences.use, recipe.on_policy.lambda_) == (True, 0.25)
    assert (recipe.data.augment.masked, recipe.data.augment.labels) == ("some-bert", "teacher")
    (tmp_path / "recipe.toml").write_text(to_toml(recipe))
    assert load_recipe(tmp_path / "recipe.toml") == recipe
    assert {"[sequences]", "[on_policy]", "[data.augment]"} <= set(to_toml(recipe).splitlines())
    assert "lambda = 0.25" in to_toml(recipe)
    hard = form(tmp_path / "run", train=train, loss="hard labels", copies=1)
    assert recipe_of(hard, "m").data.augment.labels == "copy"
    with pytest.raises(RecipeError, match="a classifier writes no text"):
        recipe_of({**values, "kind": "classification"}, "m")


def test_the_live_panel_names_the_mode_and_what_is_made_ready(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    plain = {"out": str(folder.path), "task": "generation", "teacher": {"model": "m"},
             "student": {"layers": 2}, "data": {"train": "t.jsonl", "prompt": "ask"},
             "sequences": {"use": True, "beams": 4}, "on_policy": {"lambda": 0.5}}  # fmt: skip
    folder.claim(recipe_from(plain))
    job = WatchedRun(Run(folder.path))
    assert job.info().note == "sequence level, 4 beams, on-policy, lambda 0.5"
    folder.mark(step=0)
    folder.event("prepare", 0, what="the teacher writes", done=64, total=900)
    assert job.info().note.endswith("0.5; the teacher writes: 64 of 900")
    folder.event("start", 0, total=4)
    folder.event("step", 1, loss=0.5)
    assert job.info().note.endswith("0.5; loss 0.5")
    folder.unmark()
    for odd in ({}, {"sequences": 3, "on_policy": {"lambda": "<b>"}, "data": [1]},
                {"data": {"augment": {"copies": [2]}}, "on_policy": None}):  # fmt: skip
        assert mode_of(odd) == ""
    assert mode_of({"data": {"augment": {"copies": 1}}}) == "1 copy of each text"


def test_fields_that_do_not_fit_are_named(tmp_path: Path) -> None:
    with pytest.raises(FieldError, match="Training texts"):
        recipe_of(form(tmp_path), "m")
    with pytest.raises(FieldError, match="Run folder"):
        recipe_of({**form(tmp_path), "folder": " "}, "m")
    assert Distillation().job({**form(tmp_path), "folder": ""}) is None
    (tmp_path / "train.tsv").write_text("text\tlabel\na\t1\n")
    with pytest.raises(FieldError, match="Dev texts"):
        recipe_of(form(tmp_path, train=str(tmp_path / "train.tsv"), dev="nowhere"), "m")


def test_a_folder_without_a_run_shows_nothing_and_one_with_a_run_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Distillation().job(form(tmp_path / "runs" / "one")) is None
    made(tmp_path / "runs" / "one")
    job = Distillation().job(form(tmp_path / "runs" / "one"))
    assert job is not None
    assert (job.info().state, job.info().name) == ("new", "runs/one")
    assert next(run.folder.path.name for run in known_runs()) == "one"
    assert job.info().actions == ("resume",)
    with pytest.raises(DistillationError, match="does not go on"):
        job.act("pause")
    with pytest.raises(DistillationError, match="no button"):
        job.act("explode")


def made(folder: Path) -> RunFolder:
    there = RunFolder(folder)
    plain = {"out": str(folder), "teacher": {"model": "m"}, "student": {"layers": 2},
             "data": {"train": str(folder / "train.tsv")}}  # fmt: skip
    there.claim(recipe_from(plain))
    return there


def test_states_of_a_run_seen_from_outside(tmp_path: Path) -> None:
    folder = made(tmp_path / "run")
    job = WatchedRun(Run(folder.path))
    folder.event("start", 0, total=4)
    folder.mark(step=0)  # by this process, which is alive
    assert (job.info().state, job.info().actions) == ("running", ("pause", "stop"))
    job.act("pause")
    assert (job.info().state, job.info().actions) == ("paused", ("resume", "stop"))
    job.act("resume")
    assert folder.wish == "run"
    (folder.path / "running.json").write_text(json.dumps({"pid": 2**22 + 1, "born": "1"}))
    assert job.info().state == "killed"
    assert "last checkpoint" in job.info().problem
    folder.unmark()
    folder.event("failed", 2, message="The loss is NaN.")
    assert (job.info().state, job.info().problem) == ("failed", "The loss is NaN.")


def wait(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def test_the_panel_starts_follows_and_ends_a_run(tmp_path: Path) -> None:
    rows = [f"{text} {n}\t{n % 2}" for n, text in enumerate(["a fine film", "a thin plot"] * 8)]
    (tmp_path / "train.tsv").write_text("text\tlabel\n" + "\n".join(rows))
    train = str(tmp_path / "train.tsv")
    values = {"train": train, "dev": train, "layers": 2, "steps": 4, "batch": 4, "every": 2}
    panel = lmkit.load("starter:sentiment").panel(
        "distillation", folder=str(tmp_path / "run"), seconds=0, **values
    )
    panel.text = "The plot is thin."
    panel.run()
    view = panel._panel.view
    wait(lambda: view.spec().job.state == "finished", "the run has no end")
    wait(lambda: view.spec().attention, view.spec().attention_note)
    titles = [getattr(one, "title", "") for one in view.spec().results]
    assert titles[0] == "What was kept"
    assert {"Loss", "On the dev texts", "Learning rate", "Recipe"} <= set(titles)
    attention = view.spec().attention
    assert [layer.heads for layer in attention.layers] == [12, 12]
    assert [lens.title for lens in attention.lenses] == ["Only the student", "Only the teacher"]
    # The same folder with another recipe is refused, and what was there stays.
    with pytest.raises(RunFolderError, match="another recipe"):
        panel.run(layers=3)
    assert view.spec().job.state == "finished"
    panel.close()
    # A new panel on the folder needs no Run, and no form.
    again = lmkit.load("starter:sentiment").panel("distillation", folder=str(tmp_path / "run"))
    assert again._panel.view.spec().job.state == "finished"
    assert remember(Run(tmp_path / "run")).state == "finished"
    again.close()


def test_the_students_weights_are_loaded_while_nothing_else_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """transformers changes state of the process as it loads, and a task may load meanwhile."""
    run = Run(made(tmp_path / "run").path)
    (tmp_path / "run" / "best").mkdir()
    (tmp_path / "run" / "best" / "config.json").write_text("{}")
    free: list[bool] = []

    def look(folder: Path) -> Any:
        def other() -> None:
            got = one_at_a_time.acquire(blocking=False)
            free.append(got)
            if got:
                one_at_a_time.release()

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        raise DistillationError("looked")

    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", look)
    with pytest.raises(DistillationError, match="looked"):
        WatchedRun(run, "a text").attention(KernelTools())
    assert free == [False]


def test_a_student_that_cannot_be_shown_is_loaded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = WatchedRun(Run(tmp_path), "a text")
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "config.json").write_text("{}")
    problems: list[Exception] = [
        FileNotFoundError("moved"),
        DistillationError("no token in common"),
    ]
    calls = []

    def fails(folder: Path, tools: Any) -> Any:
        calls.append(folder.name)
        raise problems[len(calls) - 1]

    monkeypatch.setattr(watched, "_difference", fails)
    tools: Any = None
    assert watched.attention(tools) is None  # a better one takes its place: looked for again
    with pytest.raises(DistillationError, match="no token"):
        watched.attention(tools)
    assert watched.attention(tools) is None
    assert calls == ["best", "best"]
