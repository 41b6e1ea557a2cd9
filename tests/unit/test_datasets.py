"""Rows from whatever holds some, columns told apart, and each cell checked."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import feather, parquet

from lmkit.api import Column
from lmkit.api import Table as ResultTable
from lmkit.datasets import (
    RowRun,
    checked_rows,
    cut_note,
    map_columns,
    open_rows,
    with_cuts,
)
from lmkit.datasets.checks import check_cell
from lmkit.errors import DataSetError, TaskError
from lmkit.protocol.messages import Span
from lmkit.rows import Row, RowProblem, RowResults

RECORDS = [
    {"text": "good, really", "label": "yes"},
    {"text": 'she said "no"', "label": "no"},
    {"text": "中文 שלום\nline", "label": "yes"},
]
SPECS = (
    Column.text("text"),
    Column.text("pair", required=False),
    Column.labels("label"),
)


def written(path: Path, how: str) -> Any:
    frame = pd.DataFrame(RECORDS)
    if how == "list":
        return RECORDS
    if how == "columns":
        return {name: list(frame[name]) for name in frame}
    if how == "frame":
        return frame.set_index(pd.Index([7, 7, 9]))  # its own labels are no row numbers
    if how == "arrow":
        return pa.Table.from_pandas(frame)
    if how == "hugging face":
        return datasets.Dataset.from_list(RECORDS)
    file = path / f"rows.{how}"
    if how == "csv":
        frame.to_csv(file, index=False)
    elif how == "json":
        file.write_text(json.dumps(RECORDS), encoding="utf-8")
    elif how == "jsonl":
        lines = [json.dumps(row, ensure_ascii=False) for row in RECORDS]
        file.write_text("\n".join(lines) + "\n\n", encoding="utf-8")
    elif how == "parquet":
        parquet.write_table(pa.Table.from_pandas(frame), file)
    else:
        feather.write_feather(pa.Table.from_pandas(frame), file)
    return file


@pytest.mark.parametrize(
    "how",
    ["list", "columns", "frame", "arrow", "hugging face", "csv", "json", "jsonl", "parquet",
     "feather"],
)  # fmt: skip
def test_all_ways_to_hold_rows_give_the_same_rows(tmp_path: Path, how: str) -> None:
    table = open_rows(written(tmp_path, how))
    assert (table.columns, table.count) == (("text", "label"), 3)
    assert table.read("text", [2, 0]) == [RECORDS[2]["text"], RECORDS[0]["text"]]
    rows = list(checked_rows(table, SPECS, {"text": "text", "label": "label"}, range(3), print))
    assert [row["text"] for row in rows] == [row["text"] for row in RECORDS]
    assert rows[1]["label"] == ("no",)


def test_a_tsv_keeps_quotation_marks_and_labels_of_hugging_face_have_names(tmp_path: Path) -> None:
    file = tmp_path / "rows.tsv"
    file.write_text('text\tlabel\n"a quote\t1\n', encoding="utf-8")
    assert open_rows(file).read("text", [0]) == ['"a quote']
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])}
    )
    table = open_rows(
        datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, -1]}, features=features)
    )
    assert table.read("label", [0, 1]) == ["pos", -1]


def bad_csv(folder: Path) -> Path:
    file = folder / "ragged.csv"
    file.write_text("text,label\na,b,c\n", encoding="utf-8")
    return file


def bad_json_line(folder: Path) -> Path:
    file = folder / "rows.jsonl"
    file.write_text('{"text": "a"}\n{oops\n', encoding="utf-8")
    return file


def latin(folder: Path) -> Path:
    file = folder / "latin.csv"
    file.write_bytes("text\ncaf\xe9\n".encode("latin-1"))
    return file


def broken_parquet(folder: Path) -> Path:
    file = folder / "rows.parquet"
    file.write_bytes(b"PAR1 no")
    return file


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: f / "none.csv", "none.csv is not there"),
        (lambda f: f / "rows.xlsx", r"ends in \.xlsx"),
        (bad_csv, r"ragged.csv, line 2 \(row 0\) has 3 cells for 2 columns"),
        (bad_json_line, r"rows.jsonl, line 2 \(row 1\) is not JSON"),
        (latin, "is not text in UTF-8"),
        (broken_parquet, "rows.parquet cannot be read"),
        (lambda _: 7, "A int holds no rows"),
        (lambda f: latin(f).open(encoding="latin-1"), r"file .*latin.csv was given open"),
        (lambda _: io.StringIO("text\na\n"), "A StringIO was given open"),
        (lambda _: io.BytesIO(b"text\na\n"), "A BytesIO was given open"),
        (lambda _: [{"text": "a"}, "b"], "Row 1 is a str, not a dict"),
        (lambda _: {"a": [1], "b": [1, 2]}, "not of one length: a 1, b 2"),
        (lambda _: pd.DataFrame([[1, 2]], columns=["a", "a"]), "two columns named 'a'"),
        (
            lambda _: datasets.DatasetDict(train=datasets.Dataset.from_list(RECORDS)),
            "several data sets: train",
        ),
    ],
)
def test_what_holds_no_rows_says_so(
    tmp_path: Path, make: Callable[[Path], Any], message: str
) -> None:
    with pytest.raises(DataSetError, match=message):
        open_rows(make(tmp_path))


def test_arrow_views_are_read_as_what_they_hold() -> None:
    rows: dict[str, list[Any]] = {
        "text": ["a", None, "b" * 40],
        "tokens": [["a", "b"], None, ["c"]],
    }
    views = [pa.string_view(), pa.list_(pa.string_view())]
    kept = [pa.array(cells, kind) for cells, kind in zip(rows.values(), views, strict=True)]
    table = open_rows(pa.table(kept, names=list(rows)))
    for name, cells in rows.items():
        assert table.read(name, [2, 0, 1]) == [cells[2], cells[0], cells[1]]


def test_columns_whose_names_are_no_texts_are_named_as_they_are() -> None:
    table = open_rows(pd.DataFrame([["a", 1], ["b", 0]]))
    for first, second in ((0, 1), (np.int64(0), np.int64(1)), ("0", "1")):
        assert map_columns(table, SPECS, {"text": first, "label": second}) == {
            "text": "0", "label": "1",
        }  # fmt: skip
    assert map_columns(table, SPECS, {"text": 1, "label": 0}) == {"text": "1", "label": "0"}
    with pytest.raises(DataSetError, match="has no column '2'"):
        map_columns(table, SPECS, {"text": 0, "label": 2})
    frame = pd.DataFrame({("a", "text"): ["x"], ("a", "label"): ["y"]})
    levels = open_rows(frame)
    mapped = map_columns(levels, SPECS, {"text": ("a", "text"), "label": ("a", "label")})
    assert [levels.read(one, [0]) for one in mapped.values()] == [["x"], ["y"]]


def test_columns_are_told_by_their_names() -> None:
    table = open_rows({"Sentence": ["a"], "LABEL": [1], "hypothesis": ["b"]})
    assert map_columns(table, SPECS, {}) == {
        "text": "Sentence", "pair": "hypothesis", "label": "LABEL",
    }  # fmt: skip
    assert map_columns(table, SPECS, {"text": "hypothesis", "pair": None, "label": ""}) == {
        "text": "hypothesis"
    }
    assert map_columns(open_rows({"anything": ["a"]}), SPECS, {}) == {"text": "anything"}
    with pytest.raises(DataSetError, match="not clear which column of columns is the Text"):
        map_columns(open_rows({"a": ["x"], "b": ["y"]}), SPECS, {})
    with pytest.raises(DataSetError, match="has no column 'c'") as caught:
        map_columns(open_rows({"a": ["x"]}), SPECS, {"text": "c"})
    assert caught.value.hint == "Its columns are: a."
    with pytest.raises(DataSetError, match="no column 'tetx'"):
        map_columns(table, SPECS, {"tetx": "Sentence"})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "None in place of a text."),
        (float("nan"), r"A missing value \(NaN\) in place of a text."),
        (pd.NA, "A missing value"),
        (pd.NaT, "A missing value"),
        (3.5, "The float 3.5 in place of a text."),
        (7, "The int 7 in place of a text."),
        (["a"], "The list .* in place of a text."),
        ("", "The text is empty."),
        (" \n\0", "The text is empty."),
        ("x" * 4_000_001, "4,000,001 characters"),
    ],
)
def test_a_cell_that_is_no_text_is_told(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_cell(SPECS[0], value)


def test_cells_of_other_kinds() -> None:
    label, labels = Column.label("label"), Column.labels("labels")
    words, spans = Column.words("words"), Column.spans("spans")
    assert [check_cell(label, one) for one in ("a", 2, 2.0, True, 2.5)] == ["a", 2, 2, 1, 2.5]
    assert check_cell(labels, ["a", 1.0]) == ("a", 1)
    assert check_cell(labels, "a") == ("a",)
    assert check_cell(words, ["a", "b"]) == ("a", "b")
    span = Span(start=1, end=3, label="PER")
    for one in ((1, 3, "PER"), {"start": 1, "end": 3, "label": "PER"}):
        assert check_cell(spans, [one]) == (span,)
    assert check_cell(label, None) is None
    # a CSV has no other word for what is missing
    assert [check_cell(one, blank) for one in (label, labels) for blank in ("", " ")] == [None] * 4
    with pytest.raises(ValueError, match="The str '' in place of a label"):
        check_cell(Column.label("label", required=True), "")
    # a vector of zeros and ones is told from indices
    for vector in (
        [0.0, 1.0],
        [False, True],
        np.array([0.0, 1.0], dtype=np.float32).astype(object),
    ):
        read = check_cell(labels, list(vector))
        assert read == (False, True)
        assert {type(one) for one in read} == {bool}
    for indices in ([0, 1], [1.0, 2.0], [0.0, 1]):
        assert {type(one) for one in check_cell(labels, indices)} == {int}
    assert check_cell(labels, []) == ()
    for spec, wrong in (
        (label, {"a": 1}),
        (labels, [None]),
        (words, "one string"),
        (words, [1]),
        (spans, [(3, 1, "PER")]),
        (spans, [(0, 1, 2)]),
        (spans, ["PER"]),
    ):
        with pytest.raises(ValueError, match=r"in place of|is no span"):
            check_cell(spec, wrong)


def test_wrong_rows_are_named_and_the_rest_goes_on() -> None:
    texts = ["a", None, 3, "", "b", np.float64("nan"), "c"]
    labels = ["x", "x", "x", "x", {"bad": 1}, "x", None]
    table = open_rows(pd.DataFrame({"t": pd.Series(texts, dtype=object), "y": labels}))
    run = RowRun(table, SPECS, {"text": "t", "label": "y"})
    rows = list(run.stream())
    assert [row.index for row in rows] == [0, 4, 6]
    assert rows[1]["label"] is None  # the row is done, without its label
    places = [(one.row, one.column) for one in run.results().problems]
    assert places == [(1, "t"), (2, "t"), (3, "t"), (4, "y"), (5, "t")]
    assert str(run.results().problems[1]) == "Row 2, column 't': The int 3 in place of a text."


def test_a_run_keeps_what_is_done_and_knows_what_is_left() -> None:
    table = open_rows(["a", None, "b", "c", "d"])
    run = RowRun(table, SPECS, {"text": "text"})
    rows = iter(run.stream())
    run.add((next(rows), {"n": 1}), "A task")
    run.add(RowProblem(2, "text", "Too much."), "A task")
    assert (run.done, run.left) == (1, [1, 3, 4])
    assert run.results().stopped
    for row in reversed(list(run.stream())):
        run.add((row, {"n": row.index}), "A task")
    run.ended = True
    done = run.results()
    assert [row.index for row in done.rows] == [0, 3, 4]
    assert (run.left, done.stopped) == ([], False)
    assert done.cells("text") == ["a", "c", "d"]
    for wrong in (None, (Row(0, {}),), (0, {}), (Row(0, {}), 3)):
        with pytest.raises(TaskError, match=r"A task yielded a \w+ from run_rows"):
            run.add(wrong, "A task")


@settings(deadline=None)
@given(st.integers(1, 5), st.integers(0, 40), st.data())
def test_several_processes_together_have_what_one_has(
    count: int, rows: int, data: st.DataObject
) -> None:
    texts = data.draw(st.lists(st.sampled_from(["a", "", None]), min_size=rows, max_size=rows))
    table = open_rows({"text": texts})
    runs = [RowRun(table, SPECS, {"text": "text"}) for _ in range(count)]
    for rank, run in enumerate(runs):
        for turn, row in enumerate(run.stream()):
            if turn % count == rank:
                run.add((row, {"n": row.index}), "A task")
        run.ended = True
    parts = [run.portable() for run in runs]
    for run in runs:
        run.merge(parts)
        done = run.results()
        assert [row.index for row in done.rows] == [i for i, text in enumerate(texts) if text]
        assert [output["n"] for output in done.outputs] == [row.index for row in done.rows]
        assert len(done.problems) == sum(not text for text in texts)
        assert (run.left, done.stopped) == ([], False)


def test_rows_that_were_cut_have_a_note_and_a_column() -> None:
    def made(*cut: Any) -> RowResults:
        rows = [Row(index + 3, {}) for index in range(len(cut))]
        return RowResults(rows, [{"left_out": one} for one in cut])

    rows = ResultTable(columns=("row", "text"), rows=((4, "b"), (3, "a"), (None, "?")))
    scores = ResultTable(columns=("measure", "row"), rows=(("rows", 2),))
    assert cut_note(made(0, 12)) == (
        "1 row was longer than the model reads; at least 12 tokens were left out."
    )
    table, other = with_cuts(made(0, 12), (rows, scores))
    assert isinstance(table, ResultTable)
    assert table.columns == ("row", "text", "tokens left out")
    assert table.rows == ((4, "b", 12), (3, "a", 0), (None, "?", 0))
    assert other is scores
    # nothing was cut, or the task says something else under that name
    for results in (made(0, 0), made(True, "7"), RowResults([Row(0, {})], [{}])):
        assert cut_note(results) == ""
        assert with_cuts(results, (rows, scores)) == (rows, scores)
