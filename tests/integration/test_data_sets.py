"""Data sets through real models: batches, Stop, what is done stays, several processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from lmkit.api import Column, Field, LoadedModel, Matrix, Row, RowProblem, Table, Task, hookimpl
from lmkit.errors import (
    DataSetError,
    FieldError,
    PluginError,
    RegistrationError,
    SaveError,
    TaskError,
)
from lmkit.host import PluginHost
from lmkit.kit import Kit
from lmkit.models import ModelStore
from lmkit.protocol.messages import Accepted, Changed, Done, ErrorAnswer, PanelSpec
from lmkit.session import Session
from lmkit.work import Work, doing
from tests.desk import Desk
from tests.integration.kernels import start
from tests.tiny import tiny_bart, tiny_bert, tiny_gpt2, tiny_roberta

ROOT = Path(__file__).parents[2]
TEXTS = [
    "the plot is thin", "i was moved .", "a", "unbelievable acting , unforgettable music .",
    "we saw the film in the old cinema by the river . " * 3, "you and me", "中文 שלום 👩‍👩‍👧",
    "x" * 300, " ".join(["riverbank" * 40] * 3), "the film , the film",
]  # fmt: skip


class Letters(Task):
    """Counts letters: a data-set mode without a model's pass."""

    name = "letters"
    fields = (Field.text("text"), Field.integer("most", minimum=0, maximum=9, default=9))
    columns = (Column.text("text"), Column.label("label"))
    report_fields = (Field.text("letter", required=False, default="a"),)
    fail_at = -1
    stop_at = -1

    def run(self, model: LoadedModel, *, text: str, most: int) -> Table:
        return Table(columns=("n",), rows=((len(text),),))

    def run_rows(self, model: LoadedModel, rows: Any, *, most: int) -> Iterator[Any]:
        for place, row in enumerate(rows):
            if place == self.fail_at:
                raise ValueError("as a plugin may")
            if place == self.stop_at:
                raise KeyboardInterrupt
            yield row, {"n": min(most, len(row["text"]))}

    def report_rows(self, done: Any, *, most: int, letter: str) -> tuple[Table, ...]:
        if letter == "?":
            raise ValueError("a report may fail")
        count = sum(row["text"].count(letter) for row in done.rows if letter)
        return (Table(columns=("measure", "value"), rows=(("count", count),)),)


class Plugin:
    @hookimpl
    def lmkit_register_tasks(self, register: Any) -> None:
        register(Letters)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture
def session() -> Iterator[Session]:
    host = PluginHost(environ={"LMKIT_PLUGINS_ALLOW": "classification"})
    host.discover()
    host.register(Plugin(), "letters")
    made = Session(host, ModelStore(device="cpu"))
    yield made
    made.stop()
    Letters.fail_at = Letters.stop_at = -1


def rows_of(texts: list[str]) -> list[Row]:
    return [Row(index, {"text": text}) for index, text in enumerate(texts)]


# -- batches ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [tiny_bert, tiny_roberta, tiny_gpt2, tiny_bart])
def test_batches_give_what_single_passes_give(tmp_path: Path, make: Any) -> None:
    config = {"architectures": ["GPT2ForSequenceClassification"]} if make is tiny_gpt2 else {}
    folder = make(tmp_path, **config)
    if make is tiny_gpt2:  # no padding token: one text at a time
        model = transformers.GPT2ForSequenceClassification.from_pretrained(folder)
        source: Any = (model, transformers.AutoTokenizer.from_pretrained(folder))
    else:
        source = folder
    loaded = ModelStore(device="cpu").get(source, "AutoModelForSequenceClassification")
    found: dict[int, torch.Tensor] = {}
    sizes = []
    for batch in loaded.batches(rows_of(TEXTS), batch_size=4):
        assert not isinstance(batch, RowProblem)
        sizes.append(len(batch.sequences))
        for sequence, logits in zip(batch.sequences, batch.output.logits, strict=True):
            found[sequence.row.index] = logits
    assert sorted(found) == list(range(len(TEXTS)))
    assert max(sizes) == (1 if make is tiny_gpt2 else 4)
    for index, text in enumerate(TEXTS):
        alone = loaded.trace(text).output.logits[0]
        torch.testing.assert_close(found[index], alone, atol=1e-5, rtol=1e-4)


def test_training_mode_and_attention_are_put_back_and_nothing_is_kept(bert: Path) -> None:
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        bert, attn_implementation="eager"
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(bert)
    model.train()
    model.bert.encoder.layer[0].eval()
    before = [module.training for module in model.modules()]
    loaded = ModelStore().get((model, tokenizer), "AutoModelForSequenceClassification")
    first = [
        batch.output.logits
        for batch in loaded.batches(rows_of(TEXTS))
        if not isinstance(batch, RowProblem)
    ]
    again = [
        batch.output.logits
        for batch in loaded.batches(rows_of(TEXTS))
        if not isinstance(batch, RowProblem)
    ]
    torch.testing.assert_close(first, again, atol=0, rtol=0)  # no dropout
    assert not first[0].requires_grad
    assert [module.training for module in model.modules()] == before
    assert model.config._attn_implementation == "eager"


def test_windows_of_a_long_text_share_tokens_and_cover_it(bert: Path) -> None:
    loaded = ModelStore().get(bert, "AutoModelForSequenceClassification")
    text = " ".join(["the", "plot", "is", "thin"] * 50)
    windows = []
    for batch in loaded.batches(rows_of([text, "a film"]), stride=10, batch_size=3):
        assert not isinstance(batch, RowProblem)
        windows += [one for one in batch.sequences if one.row.index == 0]
    windows.sort(key=lambda one: one.window)
    assert [one.window for one in windows] == list(range(windows[0].windows))
    covered: set[int] = set()
    before: set[Any] = set()
    for one in windows:
        places = {place for place in one.offsets if place is not None}
        assert len(one.ids) <= 64
        assert not before or len(before & places) >= 10
        before = places
        covered |= {at for start, end in places for at in range(start, end)}
    assert covered == {at for at, letter in enumerate(text) if letter != " "}


def test_the_progress_of_a_single_text_counts_its_windows(bert: Path) -> None:
    loaded = ModelStore().get(bert, "AutoModelForSequenceClassification")
    text = " ".join(["the", "plot", "is", "thin"] * 50)

    def reported(texts: list[str]) -> set[tuple[int, int]]:
        seen = []
        with doing(Work(on_progress=lambda one: seen.append((one.done, one.total)))):
            list(loaded.batches(rows_of(texts), stride=10, batch_size=1))
        assert [done for done, _ in seen] == sorted(done for done, _ in seen)
        return set(seen[-1:])

    assert reported([text]) == {(4, 4)}
    assert reported([text, "a film"]) == {(2, 2)}
    assert reported(["a film"]) == {(1, 1)}


def test_a_row_of_which_nothing_is_left_is_a_problem_and_the_rest_goes_on(bert: Path) -> None:
    loaded = ModelStore().get(bert, "AutoModelForSequenceClassification")
    texts = ["a film", "\u200b", "the " * 300_000, " " * 10_000 + "film", "the plot"]
    problems, lengths = [], {}
    for batch in loaded.batches(rows_of(texts)):
        if isinstance(batch, RowProblem):
            problems.append(batch.row)
            continue
        lengths.update({one.row.index: len(one.ids) for one in batch.sequences})
    assert problems == [1]
    assert lengths == {0: 4, 2: 64, 3: 3, 4: 4}


def test_shares_of_several_processes_are_the_batches_of_one(bert: Path) -> None:
    loaded = ModelStore().get(bert, "AutoModelForSequenceClassification")

    def logits(share: tuple[int, int], stride: int | None) -> dict[Any, torch.Tensor]:
        work = Work()
        work.share = share
        with doing(work):
            return {
                (one.row.index, one.window): numbers
                for batch in loaded.batches(rows_of(TEXTS * 3), batch_size=4, stride=stride)
                if not isinstance(batch, RowProblem)
                for one, numbers in zip(batch.sequences, batch.output.logits, strict=True)
            }

    for stride in (None, 8):
        whole = logits((0, 1), stride)
        parts = [logits((rank, 3), stride) for rank in range(3)]
        assert sum(map(len, parts)) == len(whole)
        for part in parts:
            for key, numbers in part.items():
                assert torch.equal(numbers, whole[key])
        rows = [{row for row, _ in part} for part in parts]
        assert not rows[0] & rows[1]  # all windows of a row are one process's


@pytest.mark.parametrize("mode", ["score", "write"])
def test_rows_of_generation_that_were_cut_are_told_of(tmp_path: Path, mode: str) -> None:
    host = PluginHost(environ={"LMKIT_PLUGINS_ALLOW": "generation"})
    host.discover()
    session = Session(host, ModelStore(device="cpu"))
    values = {"mode": mode, "template": "plain", "max_new_tokens": 2}
    try:
        done = Kit(session, tiny_gpt2(tmp_path), {}).evaluate(
            "generation", ["the plot", "the plot " * 200], **values
        )
    finally:
        session.stop()
    cut = done.rows[1]["left_out"]
    (table,) = (one for one in done.results if one.title == "Rows")
    assert isinstance(table, Table)
    if mode == "score":  # read whole, in windows
        assert (cut, done.note) == (0, "")
        assert "tokens left out" not in table.columns
        return
    assert "1 row was longer than the model reads" in done.note
    assert f"{cut:,} tokens" in done.note
    assert table.columns[-1] == "tokens left out"
    assert [row[-1] for row in table.rows] == [0, cut]


# -- a run -----------------------------------------------------------------------------------------


def test_an_evaluation_from_python(session: Session, bert: Path, tmp_path: Path) -> None:
    data = [{"text": text, "label": "positive"} for text in TEXTS]
    data[2]["text"], data[4]["label"] = 7, "great"  # type: ignore[assignment]
    done = Kit(session, bert, {}).evaluate("classification", data)
    assert len(done) == 9
    assert [row["row"] for row in done.rows] == [0, 1, 3, 4, 5, 6, 7, 8, 9]
    assert [(one.row, one.column) for one in done.problems] == [(2, "text"), (4, "label")]
    assert done.note == "1 row was left out; the table of problems says why."
    assert done.scores["rows scored"] == 8
    assert "accuracy" in repr(done)
    assert done.to_pandas().index.tolist() == [0, 1, 3, 4, 5, 6, 7, 8, 9]
    folder = done.save(tmp_path / "out")
    lines = (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["row"] for line in lines] == [0, 1, 3, 4, 5, 6, 7, 8, 9]
    assert json.loads((folder / "report.json").read_text())["scores"] == done.scores
    assert "great" in (folder / "problems.csv").read_text(encoding="utf-8")
    assert "<html" in (folder / "report.html").read_text(encoding="utf-8")
    with pytest.raises(DataSetError, match="not clear which column"):
        Kit(session, bert, {}).evaluate("classification", [{"a": "x", "b": "y"}])
    with pytest.raises(FieldError, match="There is no field 'treshold'"):
        Kit(session, bert, {}).evaluate("classification", data, treshold=0.4)
    with pytest.raises(FieldError, match="There is no field 'words'") as caught:
        Kit(session, bert, {}).evaluate("classification", data, words="text")
    assert "Columns of classification are: text, pair, label;" in caught.value.hint
    for name in ("out.csv", "out.JSONL", "page.html"):
        with pytest.raises(SaveError, match="writes a folder") as refused:
            done.save(tmp_path / name)
        assert "to_pandas" in refused.value.hint
        assert not (tmp_path / name).exists()
    (tmp_path / "old.json").mkdir()
    done.save(tmp_path / "old.json")  # a folder of that name that is there already
    done.save(tmp_path / "run.2")


def test_an_interrupt_keeps_what_is_done_and_the_rest_can_follow(
    session: Session, bert: Path
) -> None:
    kit = Kit(session, bert, {})
    Letters.stop_at = 3
    with pytest.warns(UserWarning, match=r"Stopped: 3 of 10 rows are done. resume\(\) goes on"):
        done = kit.evaluate("letters", TEXTS, text="text")
    assert (len(done), done.stopped) == (3, True)
    Letters.stop_at = -1
    assert done.resume() is done
    assert (len(done), done.stopped, done.note) == (10, False, "")
    assert [row["n"] for row in done.rows] == [min(9, len(text)) for text in TEXTS]
    Letters.stop_at = 0
    with pytest.raises(KeyboardInterrupt):
        kit.evaluate("letters", TEXTS)


def test_a_plugin_that_fails_in_the_middle_loses_no_row(session: Session, bert: Path) -> None:
    Letters.fail_at = 4
    with pytest.warns(UserWarning, match="as a plugin may"):
        done = Kit(session, bert, {}).evaluate("letters", TEXTS)
    assert len(done) == 4
    assert done.error is not None
    Letters.fail_at = 0
    with pytest.raises(PluginError, match="as a plugin may"):
        Kit(session, bert, {}).evaluate("letters", TEXTS)
    Letters.fail_at = -1
    with pytest.warns(UserWarning, match="a report may fail"):
        done = Kit(session, bert, {}).evaluate("letters", TEXTS, letter="?")
    assert len(done) == 10
    assert done.report(letter="e").scores == {"count": sum(text.count("e") for text in TEXTS)}


def test_a_page_opens_runs_and_reports(session: Session, bert: Path, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("sentence,stars\nthe plot,negative\ni was moved,positive\n", encoding="utf-8")
    panel = Kit(session, bert, {}).panel("classification")._panel
    desk = Desk(session, panel.view.id)
    desk.hello()
    refused, _ = desk.ask("rows", do="run", source="", mapping={}, values={})
    assert isinstance(refused, ErrorAnswer)
    assert refused.error.message == "There is no data set yet."
    refused, _ = desk.ask("rows", do="open", source="no.csv", mapping={}, values={})
    assert isinstance(refused, ErrorAnswer)
    session.find_data = {"mine": [{"text": "a film"}]}.get
    for name, rows in (("mine", 1), (str(file), 2)):
        opened, _ = desk.ask("rows", do="open", source=name, mapping={}, values={})
        assert isinstance(opened, Done), opened
        assert panel.view.data_set is not None
        assert panel.view.data_set.rows == rows
    form = {"text": "what the form holds", "threshold": 0.4, "show": "all rows"}
    columns = {"text": "sentence", "label": "stars", "pair": ""}
    accepted, _ = desk.ask("rows", do="run", source="", mapping=columns, values=form)
    assert isinstance(accepted, Accepted)
    changed, _ = desk.channel.wait_for(
        lambda one: (
            isinstance(one, Changed)
            and isinstance(one.spec, PanelSpec)
            and one.spec.status.state == "done"
        )
    )
    assert isinstance(changed, Changed)
    spec = changed.spec
    assert isinstance(spec, PanelSpec)
    assert spec.data_set is not None
    assert (spec.data_set.done, spec.data_set.stopped) == (2, False)
    matrix = next(one for one in spec.data_set.results if isinstance(one, Matrix))
    change = matrix.changes[0][1]
    assert change is not None
    asked, _ = desk.ask("rows", do="report", source="", mapping={}, values=change.values)
    assert isinstance(asked, Done)
    report = panel.view.data_set.results
    assert next(one for one in report if isinstance(one, Matrix)).chosen == (0, 1)
    refused, _ = desk.ask("rows", do="report", source="", mapping={}, values={"show": "none"})
    assert isinstance(refused, ErrorAnswer)


# -- declarations and processes --------------------------------------------------------------------


def declared(**parts: Any) -> type[Task]:
    return type("Made", (Letters,), {"name": "made", **parts})


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"columns": ("text",)}, "columns is not a tuple"),
        ({"columns": (Column.text("a"), Column.text("a"))}, "two columns named 'a'"),
        ({"columns": (Column.text("data"),)}, "'data' cannot be the name of a column"),
        ({"report_fields": (Field.text("most"),)}, "'most' is taken"),
        ({"run_rows": Task.run_rows}, "has columns but defines no run_rows"),
        ({"run_rows": lambda self, model, rows: None}, "does not take its fields"),
        ({"report_rows": lambda self, done, *, most: ()}, "does not take its fields"),
        ({"columns": ()}, "report_fields but no columns"),
    ],
)
def test_a_declaration_is_checked_at_the_door(parts: dict[str, Any], message: str) -> None:
    from lmkit.declarations import check_task

    check_task(declared())
    with pytest.raises(RegistrationError, match=message):
        check_task(declared(**parts))


def test_a_task_without_columns_says_so(session: Session, bert: Path) -> None:
    class Bare(Task):
        name = "bare"

        def run(self, model: LoadedModel) -> Table:
            return Table(columns=(), rows=())

    class One:
        @hookimpl
        def lmkit_register_tasks(self, register: Any) -> None:
            register(Bare)

    session.host.register(One(), "bare")
    with pytest.raises(TaskError, match="The task bare reads no data sets"):
        Kit(session, bert, {}).evaluate("bare", TEXTS)


def test_two_processes_write_what_one_writes(bert: Path, tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    lines = [{"text": text, "label": "positive"} for text in TEXTS * 4]
    lines[5]["text"] = ""
    data.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    environ = {
        **os.environ,
        "LMKIT_PLUGINS_ALLOW": "classification",
        "OMP_NUM_THREADS": "1",  # accelerate's own default: sums of more threads round otherwise
        "TQDM_DISABLE": "1",
    }

    def evaluate(launcher: list[str], out: str) -> bytes:
        command = [
            *launcher, "-m", "lmkit", "evaluate", "classification", str(data), "--model",
            str(bert), "--device", "cpu", "--out", str(tmp_path / out),
        ]  # fmt: skip
        done = subprocess.run(
            command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("39 of 40 rows") == 1, done.stdout
        return (tmp_path / out / "rows.jsonl").read_bytes()

    two = [
        sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2",
        "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
    ]  # fmt: skip
    assert evaluate(two, "two") == evaluate([sys.executable], "one")
    for name in ("problems.csv", "report.json"):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()


def test_two_processes_of_a_notebook_write_what_its_kernel_writes(
    bert: Path, tmp_path: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    cells = f"""
import lmkit
from accelerate import notebook_launcher
rows = [{{"text": text, "label": "positive"}} for text in {[*TEXTS, ""]!r} * 4]
kit = lmkit.load({str(bert)!r})
kit.evaluate("classification", rows).save({str(tmp_path / "one")!r})

def work():
    import os
    ev = kit.evaluate("classification", rows)
    ev.save({str(tmp_path / "two")!r})
    rank, count = os.environ["RANK"], os.environ["WORLD_SIZE"]
    print(f"process {{rank}} of {{count}}: {{len(ev)}}", flush=True)

notebook_launcher(work, num_processes=2, use_port="{port}")
"""
    with start(tmp_path, {"TQDM_DISABLE": "1"}) as kernel:
        ran = kernel.run(cells)
        assert ran.status == "ok", ran.error
        count = 4 * len(TEXTS)
        # print writes a text and its line's end one after the other: two may share a line
        assert all(f"process {one} of 2: {count}" in ran.text for one in (0, 1)), ran.text
        # the kernel is alone again, and as it was
        after = kernel.run("print(len(kit.evaluate('classification', rows)))")
        assert after.text.strip().endswith(str(count))
    for name in ("rows.jsonl", "problems.csv", "report.json"):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
