"""Texts, data sets and zero-shot labels against transformers' own pipelines."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import transformers
from lmkit_classification.heads import gold_labels
from lmkit_classification.zero_shot import hypotheses, split_labels
from sklearn import metrics

from lmkit.api import Chart, Column, Labels, Matrix, Table
from lmkit.datasets.checks import check_cell
from lmkit.errors import FieldError, ModelError
from lmkit.host import PluginHost
from lmkit.kit import Kit
from lmkit.models import ModelStore
from lmkit.session import Session
from tests.tiny import tiny_bert

TEXTS = [
    "the plot is thin", "i was moved .", "unbelievable acting , unforgettable music .",
    "we saw the film in the old cinema by the river . " * 3, "中文 שלום", "x" * 300,
]  # fmt: skip
NLI = {"id2label": {0: "contradiction", 1: "neutral", 2: "entailment"},
       "label2id": {"contradiction": 0, "neutral": 1, "entailment": 2}}  # fmt: skip


@pytest.fixture
def session() -> Iterator[Session]:
    host = PluginHost(environ={"LMKIT_PLUGINS_ALLOW": "classification"})
    host.discover()
    made = Session(host, ModelStore(device="cpu"))
    yield made
    made.stop()


def parts(folder: Path) -> tuple[Any, Any]:
    return (
        transformers.AutoModelForSequenceClassification.from_pretrained(folder),
        transformers.AutoTokenizer.from_pretrained(folder),
    )


def theirs(folder: Path, texts: list[Any], **options: Any) -> list[dict[str, float]]:
    model, tokenizer = parts(folder)
    pipe = transformers.pipeline("text-classification", model=model, tokenizer=tokenizer, device=-1)
    found = pipe(texts, top_k=None, truncation=True, max_length=64, **options)
    return [{one["label"]: one["score"] for one in row} for row in found]


def same(ours: dict[str, float], expected: dict[str, float]) -> None:
    assert ours.keys() == expected.keys()
    for name, score in ours.items():
        assert score == pytest.approx(expected[name], abs=1e-5)


@pytest.mark.parametrize(
    ("labels", "kind"),
    [(2, None), (4, None), (3, "multi_label_classification"), (1, None), (1, "regression")],
)
def test_probabilities_are_those_of_transformers_pipeline(
    session: Session, tmp_path: Path, labels: int, kind: str | None
) -> None:
    folder = tiny_bert(tmp_path, labels, problem_type=kind)
    kit = Kit(session, folder, {})
    expected = theirs(folder, TEXTS)
    done = kit.evaluate("classification", TEXTS)
    for text, row, numbers in zip(TEXTS, done.rows, expected, strict=True):
        if kind == "regression":
            same(row["values"], numbers)
            continue
        same(row["probabilities"], numbers)
        alone = kit.classify(text)
        same(alone.labels, numbers)
        assert alone.result.multi == (kind is not None or labels == 1)
        assert list(alone.labels.values()) == sorted(alone.labels.values(), reverse=True)


def test_the_threshold_decides_what_the_report_on_a_data_set_decides(
    session: Session, tmp_path: Path
) -> None:
    kit = Kit(session, tiny_bert(tmp_path / "two"), {})
    done = kit.evaluate("classification", [{"text": one, "label": 0} for one in TEXTS])
    place = {row["text"]: index for index, row in enumerate(done.rows)}
    for text in TEXTS:
        found = kit.classify(text, threshold=0.3).result
        assert (found.multi, found.threshold) == (False, 0.3)
        second = found.scores[found.decides]
        assert second.label == "positive"  # by index, whichever is likelier
        for threshold in (0.0, second.score - 1e-5, second.score + 1e-5, 0.9, 1.0):
            done.report(row_threshold=threshold)
            given = report(done)["Rows"].rows[place[text]][3]
            assert (given == "positive") == (second.score >= threshold)

    # where it decides nothing: the field is named, and no score
    several = Kit(session, tiny_bert(tmp_path / "three", 3), {})
    three = several.classify("a film").result
    assert (three.field, three.decides) == ("threshold", None)
    own = Kit(session, tiny_bert(tmp_path / "own", head=""), {})
    assert own.zero_shot("a film", candidates="film, music, river").result.field == ""
    assert own.zero_shot("a", candidates="film, music, river", several=True).result.field == (
        "threshold"
    )
    both = own.zero_shot("a film", candidates="film, music").result
    assert both.field == "threshold"
    assert both.scores[both.decides].label == "music"
    number = Kit(session, tiny_bert(tmp_path / "one", 1, problem_type="regression"), {})
    assert number.classify("a film").result.note == ""
    assert "no threshold" in number.classify("a film", threshold=0.2).result.note


def test_pairs_are_those_of_transformers_pipeline(session: Session, tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path, 3)
    rows = [{"a": one, "b": other} for one, other in itertools.pairwise(TEXTS)]
    expected = theirs(folder, [{"text": row["a"], "text_pair": row["b"]} for row in rows])
    done = Kit(session, folder, {}).evaluate("classification", rows, text="a", pair="b")
    for row, numbers in zip(done.rows, expected, strict=True):
        same(row["probabilities"], numbers)


def test_bad_rows_are_named_and_the_rest_is_done(session: Session, tmp_path: Path) -> None:
    texts: list[Any] = [
        "a film", "", None, float("nan"), 7, "the plot " * 120_000, " ".join(["word" * 90] * 3),
        "中文 שלום 👩‍👩‍👧 \u202e abc", "\ud800 lone", "\0",
    ]  # fmt: skip
    labels = ["positive", 1, 0, 0, 0, "Positive", "no such label", 7, None, "1"]
    rows = [{"t": text, "y": label} for text, label in zip(texts, labels, strict=True)]
    done = Kit(session, tiny_bert(tmp_path), {}).evaluate(
        "classification", rows, text="t", label="y"
    )
    assert [row["row"] for row in done.rows] == [0, 5, 6, 7, 8]
    problems = {(one.row, one.column): one.message for one in done.problems}
    assert sorted(problems) == [
        (1, "t"),
        (2, "t"),
        (3, "t"),
        (4, "t"),
        (6, "y"),
        (7, "y"),
        (9, "t"),
    ]
    assert problems[6, "y"] == (
        "'no such label' is no label of " + done._panel.view.header.model
        + ", which knows negative, positive. The row is not scored."
    )  # fmt: skip
    assert done.rows[1]["left_out"] > 0
    assert [row["gold"] for row in done.rows] == ["positive", "positive", None, None, None]
    assert [row["label"] for row in done.rows] == [
        "positive", "positive", "no such label", "7", None,
    ]  # fmt: skip
    assert done.scores["rows scored"] == 2


@pytest.mark.parametrize(
    ("head", "task", "values"),
    [
        ({}, "classification", {}),
        ({"labels": 1, "problem_type": "regression"}, "classification", {}),
        ({"head": ""}, "zero-shot", {"candidates": "film, music"}),
        ({"labels": 3, **NLI}, "zero-shot", {"candidates": "film, music"}),
    ],
)
def test_rows_that_were_cut_are_told_of(
    session: Session, tmp_path: Path, head: Any, task: str, values: Any
) -> None:
    kit = Kit(session, tiny_bert(tmp_path, **head), {})
    texts = ["a film", "the plot " * 400, "the river " * 90]
    done = kit.evaluate(task, texts, **values)
    cut = [row["left_out"] for row in done.rows]
    assert cut[0] == 0
    assert cut[1] > cut[2] > 100
    note = f"2 rows were longer than the model reads; at least {sum(cut):,} tokens were left out."
    assert done.note == note
    table = report(done)["Rows"]
    assert table.columns[-1] == "tokens left out"
    assert [row[-1] for row in table.rows] == cut
    whole = kit.evaluate(task, texts[:1], **values)
    assert whole.note == ""
    assert "tokens left out" not in report(whole)["Rows"].columns


def test_right_labels_by_name_index_and_case() -> None:
    names = ["neg", "pos", "2"]
    assert gold_labels(("pos",), names, False) == ["pos"]
    assert gold_labels(("POS",), names, False) == ["pos"]
    assert gold_labels((0, "NEG"), names, False) == ["neg"]
    assert gold_labels(("2",), names, False) == ["2"]  # the name before the index
    assert gold_labels(("neg|pos",), names, True) == ["neg", "pos"]
    assert gold_labels(("neg; pos;",), names, True) == ["neg", "pos"]
    # pandas writes whole numbers so where one is missing
    for text in ("1.0", "1.", " 1.00", "1"):
        assert gold_labels((text,), names, False) == ["pos"]
    assert gold_labels(("2.0",), ["c", "2", "d"], False) == ["2"]
    assert gold_labels(("0.0|1.0",), names, True) == ["neg", "pos"]
    for value in ("7", "7.0", "-1", "1.5", "9" * 5_000, "neg, pos", 7, -1, 0.5):
        with pytest.raises(ValueError, match="is none of the labels given"):
            gold_labels((value,), names, False)
    with pytest.raises(ValueError, match=r"^'what' is none of"):
        gold_labels(("neg, what",), names, True)
    with pytest.raises(ValueError, match=r"^'7', '-1' are no labels of m, which knows neg, pos, 2"):
        gold_labels((7, -1), names, False, "m")
    assert gold_labels(None, names, False) is None
    assert gold_labels(None, names, True) is None
    # that there is none is known of several alone
    assert gold_labels((), names, True) == []
    assert gold_labels((), names, False) is None


@pytest.mark.parametrize("kind", [int, float, bool, np.float32, np.int64, np.bool_])
def test_right_labels_in_a_vector(kind: Any) -> None:
    spec, names = Column.labels("label"), ["a", "b", "c"]

    def read(vector: list[int], multi: bool, labels: list[str] = names) -> list[str] | None:
        return gold_labels(check_cell(spec, [kind(one) for one in vector]), labels, multi)

    assert read([0, 1, 0], True) == ["b"]
    assert read([1, 0, 1], True) == ["a", "c"]
    assert read([0, 0, 0], True) == []
    assert read([0, 1], True, ["a", "b"]) == ["b"]
    assert read([0], True, ["a"]) == []
    assert read([1], True, ["a"]) == ["a"]
    assert read([0, 0, 1], False) == ["c"]
    assert read([1, 0], False, ["a", "b"]) == ["a"]
    with pytest.raises(
        ValueError, match=r"^2 right labels \(a, c\), where a row has one: give one"
    ):
        read([1, 0, 1], False)
    with pytest.raises(ValueError, match="None of the 3 numbers is 1"):
        read([0, 0, 0], False)
    with pytest.raises(ValueError, match="4 numbers of 0 and 1, for 3 labels"):
        read([0, 1, 0, 0], True)
    if kind in (int, np.int64):
        assert read([0, 1], True) == ["a", "b"]  # fewer than the labels: indices
        assert read([2, 0], True) == ["c", "a"]
    else:
        with pytest.raises(ValueError, match="2 numbers of 0 and 1, for 3 labels"):
            read([0, 1], True)


def test_a_vector_in_a_text_and_what_is_no_vector() -> None:
    assert gold_labels(("0, 1, 0",), ["a", "b", "c"], True) == ["b"]
    assert gold_labels(("1.0|0.0|1.0",), ["a", "b", "c"], True) == ["a", "c"]
    assert gold_labels(("0",), ["a"], True) == []
    assert gold_labels(("0|1",), ["0", "1"], True) == ["0", "1"]  # names before numbers
    assert gold_labels((2, 0, 1), ["a", "b", "c"], True) == ["c", "a", "b"]
    assert gold_labels(("a", "b"), ["a", "b"], True) == ["a", "b"]
    with pytest.raises(ValueError, match=r"^2 right labels \(a, b\)"):
        gold_labels(("a", 1), ["a", "b"], False)


def report(done: Any) -> dict[str, Any]:
    return {result.title: result for result in done.results}


def test_the_report_answers_to_its_fields(session: Session, tmp_path: Path) -> None:
    texts = [f"{text} number {index}" for index, text in enumerate(TEXTS * 8)]
    rows = [
        {"text": text, "label": index % 2, "source": "a" if index % 3 else None, "length": index}
        for index, text in enumerate(texts)
    ]
    done = Kit(session, tiny_bert(tmp_path), {}).evaluate("classification", rows)
    gold = np.array([row["label"] for row in rows])
    likely = np.array([row["predicted"] == "positive" for row in done.rows])
    shown = report(done)
    assert done.scores["accuracy"] == pytest.approx((gold == likely).mean())
    confusion = shown["Confusion"]
    assert isinstance(confusion, Matrix)
    assert confusion.cells == tuple(
        tuple(float(((gold == g) & (likely == p)).sum()) for p in (0, 1)) for g in (0, 1)
    )
    assert isinstance(shown["ROC"], Chart)
    assert isinstance(shown["Calibration"], Chart)
    assert len(shown["Rows"].rows) == 48
    assert shown["Rows"].changes[5].values == {"text": texts[5]}

    # a cell of the matrix, and the same again
    change = confusion.changes[1][0]
    done.report(**change.values)
    assert len(report(done)["Rows"].rows) == confusion.cells[1][0]
    assert report(done)["Confusion"].chosen == (1, 0)
    done.report(**report(done)["Confusion"].changes[1][0].values)
    assert len(report(done)["Rows"].rows) == 48

    # wrong rows, the hardest first
    done.report(show="wrong rows", order="hardest first")
    table = report(done)["Rows"]
    losses = [row[-1] for row in table.rows]
    assert len(losses) == (gold != likely).sum()
    assert losses == sorted(losses, reverse=True)

    # slices by query and by column
    done.report(show="all rows", query="MUSIC", slice_by="source")
    slices = {row[0]: row for row in report(done)["Slices"].rows}
    assert slices["with “MUSIC”"][1] == 8
    assert slices["source = a"][1] == 32
    assert slices["source = (none)"][1] == 16
    music = np.array(["music" in text for text in texts])
    assert slices["with “MUSIC”"][2] == pytest.approx((gold == likely)[music].mean())
    assert len(report(done)["Rows"].rows) == 8
    done.report(query="", slice_by="length")
    assert [row[1] for row in report(done)["Slices"].rows] == [48, 12, 12, 12, 12]
    done.report(slice_by="nothing")
    assert "no column 'nothing'" in report(done)["Slices"].note

    # the threshold: no pass of the model, another decision
    done.report(row_threshold=0.0, slice_by="")
    assert done.scores["recall (macro)"] == 0.5
    assert all(row[3] == "positive" for row in report(done)["Rows"].rows)


def test_reports_without_right_labels_of_several_labels_and_of_numbers(
    session: Session, tmp_path: Path
) -> None:
    kit = Kit(session, tiny_bert(tmp_path / "two"), {})
    bare = report(kit.evaluate("classification", TEXTS))
    assert "accuracy" not in dict(bare["Scores"].rows)
    assert list(bare) == ["Scores", "Probability of the predicted label", "Labels", "Rows"]

    folder = tiny_bert(tmp_path / "many", 3, problem_type="multi_label_classification")
    names = ["class 0", "class 1|class 2", "class 1", ["class 0", "class 2"], "", None]
    rows = [{"text": text, "label": label} for text, label in zip(TEXTS, names, strict=True)]
    done = Kit(session, folder, {}).evaluate("classification", rows)
    assert [row["gold"] for row in done.rows][:4] == [
        ["class 0"], ["class 1", "class 2"], ["class 1"], ["class 0", "class 2"],
    ]  # fmt: skip
    assert "exact match" in done.scores
    confusion = report(done)["Confusion"]
    assert confusion.rows == ("class 0", "class 1", "class 2")
    assert [sum(row) for row in confusion.cells] == [4, 4, 4]
    done.report(row_threshold=0.0)
    assert done.scores["recall (macro)"] == 1.0

    folder = tiny_bert(tmp_path / "number", 1, problem_type="regression")
    numbers = [{"text": text, "label": index * 0.5} for index, text in enumerate(TEXTS)]
    done = Kit(session, folder, {}).evaluate("classification", numbers)
    values = np.array([next(iter(row["values"].values())) for row in done.rows])
    error = np.abs(values - np.arange(6) * 0.5).mean()
    assert done.scores["mean absolute error"] == pytest.approx(error)


@pytest.mark.parametrize("form", ["floats", "ints", "booleans", "array", "names"])
def test_vectors_of_several_labels_are_scored_as_scikit_learn_does(
    session: Session, tmp_path: Path, form: str
) -> None:
    folder = tiny_bert(tmp_path, 3, problem_type="multi_label_classification")
    gold = np.array([[0, 1, 0], [0, 0, 0], [1, 0, 1], [1, 1, 1], [0, 0, 1], [1, 1, 0]])
    cells: list[Any] = {
        "floats": gold.astype(float).tolist(),
        "ints": gold.tolist(),
        "booleans": gold.astype(bool).tolist(),
        "array": list(gold.astype(np.float32)),
        "names": [[f"class {one}" for one in np.flatnonzero(row)] for row in gold],
    }[form]
    done = Kit(session, folder, {}).evaluate(
        "classification", pd.DataFrame({"text": TEXTS, "label": cells})
    )
    assert not done.problems
    assert [row["gold"] for row in done.rows] == [
        [f"class {one}" for one in np.flatnonzero(row)] for row in gold
    ]
    assert isinstance(done.rows[0]["label"], tuple | list)
    for threshold in (0.5, 0.49, 0.51):
        done.report(row_threshold=threshold)
        chance = np.array([list(row["probabilities"].values()) for row in done.rows])
        given = chance >= threshold
        # a row with none of the labels counts as well
        assert "rows scored" not in done.scores
        assert done.scores["exact match"] == metrics.accuracy_score(gold, given)
        assert done.scores["F1 (micro)"] == pytest.approx(
            metrics.f1_score(gold, given, average="micro", zero_division=0)
        )
        cells = report(done)["Confusion"].cells
        theirs_by_label = metrics.multilabel_confusion_matrix(gold, given)
        assert [row[:2] for row in cells] == [(m[1, 1], m[1, 0]) for m in theirs_by_label]
    done.report(row_threshold=0.5, order="hardest first")
    losses = [row[-1] for row in report(done)["Rows"].rows]
    assert losses == sorted(losses, reverse=True)
    assert None not in losses


def test_a_model_of_one_label_takes_no_and_yes(session: Session, tmp_path: Path) -> None:
    rows = [{"text": text, "label": index % 2} for index, text in enumerate(TEXTS)]
    done = Kit(session, tiny_bert(tmp_path, 1), {}).evaluate("classification", rows)
    assert not done.problems
    assert [len(row["gold"]) for row in done.rows] == [0, 1] * 3


def test_vectors_and_several_labels_for_a_model_of_one_a_row(
    session: Session, tmp_path: Path
) -> None:
    labels = [[1, 0], [0.0, 1.0], ["negative", "positive"], [0, 0], [1, 1, 0], ["Positive"]]
    rows = [{"text": text, "stars": one} for text, one in zip(TEXTS, labels, strict=True)]
    done = Kit(session, tiny_bert(tmp_path), {}).evaluate("classification", rows, label="stars")
    assert [row["gold"] for row in done.rows] == [
        "negative", "positive", None, None, None, "positive",
    ]  # fmt: skip
    assert [str(one) for one in done.problems] == [
        "Row 2, column 'stars': 2 right labels (negative, positive), where a row has one: give "
        "one. The row is not scored.",
        "Row 3, column 'stars': None of the 2 numbers is 1, so no label is right. The row is not "
        "scored.",
        "Row 4, column 'stars': 3 numbers of 0 and 1, for 2 labels: give one for each. The row is "
        "not scored.",
    ]
    assert done.scores["rows scored"] == 3
    right = [row["gold"] == row["predicted"] for row in done.rows if row["gold"]]
    assert done.scores["accuracy"] == pytest.approx(np.mean(right))


def test_one_right_label_is_a_plain_text(session: Session, tmp_path: Path) -> None:
    labels = ["positive", "NEGATIVE", 1, 0, "1", None]
    rows = [{"text": text, "label": one} for text, one in zip(TEXTS, labels, strict=True)]
    done = Kit(session, tiny_bert(tmp_path), {}).evaluate("classification", rows)
    named = ["positive", "negative", "positive", "negative", "positive", None]
    assert [row["label"] for row in done.rows] == named
    assert [row["gold"] for row in done.rows] == named
    frame = done.to_pandas()
    scored = frame[frame.label.notna()]
    assert (scored.label == scored.predicted).mean() == pytest.approx(done.scores["accuracy"])
    frame.to_parquet(tmp_path / "rows.parquet")
    kept = pd.read_parquet(tmp_path / "rows.parquet")
    assert kept.label[:5].tolist() == named[:5]
    assert kept.label.isna().sum() == 1
    lines = (done.save(tmp_path / "out") / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["label"] for line in lines] == named
    # what reads them: the matrix, its filter, the order, the click
    matrix = report(done)["Confusion"]
    assert sum(map(sum, matrix.cells)) == 5
    done.report(gold="positive", predicted="negative", order="hardest first")
    table = report(done)["Rows"]
    assert len(table.rows) == matrix.cells[1][0]
    assert all(row[2:4] == ("positive", "negative") for row in table.rows)
    # without the column there is none
    assert "label" not in Kit(session, tiny_bert(tmp_path), {}).evaluate(
        "classification", TEXTS
    ).rows[0]  # fmt: skip


def test_labels_as_pandas_writes_them_where_one_is_missing(
    session: Session, tmp_path: Path
) -> None:
    frame = pd.DataFrame({"text": TEXTS, "label": [0, 1, None, 1, 0, 1]})
    frame.to_csv(tmp_path / "rows.csv", index=False)
    assert ",1.0\n" in (tmp_path / "rows.csv").read_text(encoding="utf-8")
    kit = Kit(session, tiny_bert(tmp_path / "model"), {})
    done, same_frame = (
        kit.evaluate("classification", data) for data in (tmp_path / "rows.csv", frame)
    )
    for one in (done, same_frame):
        assert not one.problems
        assert one.rows[2]["label"] is one.rows[2]["gold"] is None
    assert done.scores == same_frame.scores
    assert done.scores["rows scored"] == 5


def test_right_numbers_that_are_none_are_named(session: Session, tmp_path: Path) -> None:
    labels = ["1,5", "good", "2.5", None, "inf", [1.0, 2.0]]
    rows = [{"text": text, "stars": one} for text, one in zip(TEXTS, labels, strict=True)]
    rows.append({"text": "a film", "stars": 10**400})
    rows.append({"text": "a film", "stars": 1.0})
    folder = tiny_bert(tmp_path, 1, problem_type="regression")
    done = Kit(session, folder, {}).evaluate("classification", rows, label="stars")
    assert len(done) == 8
    assert [str(one) for one in done.problems] == [
        "Row 0, column 'stars': '1,5' is no number: decimals come after a point (1.5). The row is "
        "not scored.",
        "Row 1, column 'stars': 'good' is no number. The row is not scored.",
        "Row 4, column 'stars': 'inf' is no number. The row is not scored.",
        "Row 5, column 'stars': 2 right numbers, for a model that gives 1. The row is not scored.",
        f"Row 6, column 'stars': 1{'0' * 56}... is no number. The row is not scored.",
    ]
    assert done.scores["rows scored"] == 2
    assert [row["label"] for row in done.rows] == [None, None, 2.5, None, None, None, None, 1.0]


def test_right_numbers_of_several_outputs(session: Session, tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path, 2, problem_type="regression")
    rows = [{"text": text, "label": [index % 2, 0.0]} for index, text in enumerate(TEXTS)]
    done = Kit(session, folder, {}).evaluate("classification", rows)
    assert not done.problems
    assert [row["label"] for row in done.rows] == [[0.0, 0.0], [1.0, 0.0]] * 3
    first = np.array([next(iter(row["values"].values())) for row in done.rows])
    error = np.abs(first - np.arange(6) % 2).mean()
    assert done.scores["mean absolute error"] == pytest.approx(error)


# -- zero-shot -------------------------------------------------------------------------------------


@pytest.mark.parametrize("several", [False, True])
def test_zero_shot_by_entailment_is_transformers_pipeline(
    session: Session, tmp_path: Path, several: bool
) -> None:
    folder = tiny_bert(tmp_path, 3, **NLI)
    model, tokenizer = parts(folder)
    pipe = transformers.pipeline(
        "zero-shot-classification", model=model, tokenizer=tokenizer, device=-1
    )
    labels, template = ["film", "music", "river"], "this is about {} ."
    kit = Kit(session, folder, {})
    values = {"candidates": "film, music\nriver, film", "template": template, "several": several}
    done = kit.evaluate("zero-shot", TEXTS[:3], **values)
    for text, row in zip(TEXTS[:3], done.rows, strict=True):
        found = pipe(text, labels, hypothesis_template=template, multi_label=several)
        expected = dict(zip(found["labels"], found["scores"], strict=True))
        same(row["probabilities"], expected)
        alone = kit.zero_shot(text, **values)
        same(alone.labels, expected)
        assert isinstance(alone.result, Labels)
        assert alone.result.note.startswith("By entailment")


def test_zero_shot_by_similarity_says_so(session: Session, tmp_path: Path) -> None:
    kit = Kit(session, tiny_bert(tmp_path, head=""), {})
    values = {"candidates": "film, music", "template": ""}
    rows = [{"text": text, "label": "film"} for text in TEXTS[:3]] + [{"text": "a", "label": "?"}]
    done = kit.evaluate("zero-shot", rows, **values)
    assert [one.message for one in done.problems] == [
        "'?' is none of the labels given. The row is not scored."
    ]
    assert [row["label"] for row in done.rows] == ["film", "film", "film", "?"]
    assert [row["gold"] for row in done.rows] == ["film", "film", "film", None]
    for row in done.rows:
        alone = kit.zero_shot(row["text"], **values)
        same(alone.labels, row["probabilities"])
        assert sum(alone.labels.values()) == pytest.approx(1)
        assert "no entailment model" in alone.result.note
    # the formula, by hand
    trace = kit.loaded("zero-shot").trace
    vectors = [
        trace(one).output.last_hidden_state[0].mean(0) for one in (TEXTS[0], "film", "music")
    ]
    text, film, music = (one / one.norm() for one in vectors)
    chance = (20 * text @ film).exp() / ((20 * text @ film).exp() + (20 * text @ music).exp())
    assert done.rows[0]["probabilities"]["film"] == pytest.approx(float(chance), abs=1e-5)


def test_zero_shot_takes_a_list_of_labels(session: Session, tmp_path: Path) -> None:
    kit = Kit(session, tiny_bert(tmp_path, head=""), {})
    text = kit.zero_shot("a film", candidates="film, music")
    listed = kit.zero_shot("a film", candidates=["film", "music"])
    assert listed.labels == text.labels
    assert listed.values["candidates"] == "film, music"
    rows = kit.evaluate("zero-shot", ["a film"], candidates=("film", "music")).rows
    assert rows[0]["probabilities"] == pytest.approx(text.labels, abs=1e-5)
    for bad in (["film, music"], ["a\nb"], ["film", 7], [""]):
        with pytest.raises(FieldError, match="is no label of a list"):
            kit.zero_shot("a film", candidates=bad)
    with pytest.raises(FieldError, match="Labels is empty"):
        kit.zero_shot("a film", candidates=[])


def test_zero_shot_refuses_what_it_cannot_read(session: Session, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="classifies into labels of its own: negative, positive"):
        Kit(session, tiny_bert(tmp_path), {}).zero_shot("a", candidates="film")
    with pytest.raises(FieldError, match="There are no labels"):
        split_labels(" , \n")
    with pytest.raises(FieldError, match=r"has no \{\} for the label"):
        hypotheses(["a"], "this is it")
    assert split_labels("a, b\na") == ["a", "b"]


def test_an_edit_shows_the_run_before_beside_the_new_one(session: Session, tmp_path: Path) -> None:
    panel = Kit(session, tiny_bert(tmp_path), {}).panel("classification")
    first = panel.run(text="the plot is thin , but i was moved .")
    panel.run(text="the plot is thin , and i was moved .")
    (second,) = panel.results
    assert second.before == first.scores
    panel.run(threshold=0.4)
    assert panel.results[0].before == ()  # the text is the same: nothing was changed
    panel.run(text="something else")
    assert panel.results[0].before == ()
    assert isinstance(panel.results[0], Labels)
    assert not isinstance(panel.results[0], Table)
