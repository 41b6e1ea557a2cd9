"""Texts as the world has them, through each task: a result or one sentence, and no row lost."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

import lmkit
from lmkit.api import Spans
from lmkit.cli import main
from lmkit.errors import DataSetError, FieldError
from tests.tiny import tiny_bert, tiny_llama

READ = {
    "NUL inside": "a\0b Paris",
    "a word of 300 tokens": "riverbank" * 300,
    "mixed scripts": "Barack Обама 北京 שלום مرحبا नमस्ते",
    "emoji": "👩‍👩‍👧 Paris 🇫🇷👍🏽",
    "control characters": "\x01\x07\x1b[31mParis\x7f",
    "line ends": "Paris\r\nBerlin\rRome\n",
    "direction marks": "\u202eParis\u2066",
    "combining marks": "Z" + "\u0301" * 500,
    "a megabyte": "the plot is thin . " * 55_000,
}
REFUSED = {"empty": "", "blank": " \r\n\t ", "NUL alone": "\0\0", "a lone surrogate": "a \ud800 b"}
CELLS: dict[str, Any] = {"None": None, "NaN": math.nan, "a number": 7, "a truth value": True}
TASKS = ["classification", "zero-shot", "ner", "generation"]


@pytest.fixture(scope="module")
def kits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, lmkit.Kit]:
    return {
        "classification": lmkit.load("starter:sentiment"),
        "zero-shot": lmkit.load("starter:encoder"),
        "ner": lmkit.load("starter:ner"),
        "generation": lmkit.load(str(tiny_llama(tmp_path_factory.mktemp("llama")))),
    }


SETTINGS: dict[str, dict[str, Any]] = {
    "zero-shot": {"candidates": "news, sport"},
    "generation": {"max_new_tokens": 3, "template": "plain"},
}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", READ)
def test_a_text_is_read(kits: dict[str, lmkit.Kit], task: str, name: str) -> None:
    if (task, name) == ("ner", "a megabyte"):
        return  # plugins/ner/tests reads one in windows, to its end
    text = READ[name]
    analysis = kits[task].run(task, text, **SETTINGS.get(task, {}))
    assert analysis.results
    for result in analysis.results:
        if isinstance(result, Spans):
            assert all(0 <= one.start < one.end <= len(result.text) for one in result.spans)
    if name == "a megabyte" and task == "classification":
        assert any("left out" in one for one in analysis.warnings)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", REFUSED)
def test_a_text_is_refused_in_a_sentence(kits: dict[str, lmkit.Kit], task: str, name: str) -> None:
    with pytest.raises(FieldError) as caught:
        kits[task].run(task, REFUSED[name], **SETTINGS.get(task, {}))
    assert caught.value.message.endswith(".")
    assert caught.value.hint


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("value", [None, 7, math.nan])
def test_what_is_no_text_is_refused(kits: dict[str, lmkit.Kit], task: str, value: Any) -> None:
    with pytest.raises(FieldError):
        kits[task].run(task, value, **SETTINGS.get(task, {}))


@pytest.mark.parametrize("task", TASKS)
def test_rows_are_done_or_named(kits: dict[str, lmkit.Kit], task: str, tmp_path: Path) -> None:
    texts = {name: one for name, one in READ.items() if (task, name) != ("ner", "a megabyte")}
    refused = {name: one for name, one in REFUSED.items() if name != "a lone surrogate"} | CELLS
    cells = [*texts.values(), *refused.values(), "a film"]
    ev = kits[task].evaluate(task, [{"sentence": one} for one in cells], **SETTINGS.get(task, {}))
    wrong = list(range(len(texts), len(texts) + len(refused)))
    assert [one.row for one in ev.problems] == wrong
    assert {one.column for one in ev.problems} == {"sentence"}
    assert all(one.message.endswith(".") for one in ev.problems)
    assert [one["row"] for one in ev.rows] == [n for n in range(len(cells)) if n not in wrong]
    assert not ev.stopped
    assert ev.error is None
    ev.save(tmp_path)
    lines = (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(ev)
    told = (tmp_path / "problems.csv").read_text(encoding="utf-8")
    assert told.count("sentence") == len(wrong)


# -- files ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("bert"))


GOOD = "a film,positive\n"
READABLE: dict[str, tuple[str, bytes, list[str], list[str]]] = {
    # name: (file, its bytes, texts that are done, problems)
    "a BOM": ("a.csv", b"\xef\xbb\xbftext,label\na film,positive\n", ["a film"], []),
    "a BOM in JSON Lines": ("a.jsonl", b'\xef\xbb\xbf{"text": "a film"}\n', ["a film"], []),
    "a BOM in JSON": ("a.json", b'\xef\xbb\xbf[{"text": "a film"}]', ["a film"], []),
    "CRLF": ("a.csv", b"text,label\r\na film,positive\r\n", ["a film"], []),
    "CRLF in JSON Lines": ("a.jsonl", b'{"text": "a"}\r\n\r\n{"text": "b"}\r\n', ["a", "b"], []),
    "CR": ("a.csv", b"text,label\ra film,positive\r", ["a film"], []),
    "one column": ("a.csv", b"review\na film\nb film\n", ["a film", "b film"], []),
    "semicolons": ("a.csv", b"text;label\na, b;positive\n", ["a, b"], []),
    "tabs": ("a.csv", b'text\tlabel\n"a\tb"\tpositive\n', ["a\tb"], []),
    "commas at the ends": ("a.csv", b"text,label,,\na film,positive,,\n", ["a film"], []),
    "blanks in the header": ("a.csv", b" Text , label\na film,positive\n", ["a film"], []),
    "too many cells": (
        "a.csv",
        b"text,label\na film,positive\n\nwell, well,negative\nb film,negative\n",
        ["a film", "b film"],
        ["Row 1: Line 4 has 3 cells for 2 columns. Quote cells that hold the delimiter: \"a, b\"."],
    ),
    "too few cells": (
        "a.csv",
        b"label,text\npositive\nnegative,b film\n",
        ["b film"],
        ["Row 0, column 'text': None in place of a text."],
    ),
    "a broken line": (
        "a.jsonl",
        b'{"text": "a film"}\n{"text": "b fi\n\n{"text": "c film"}\n',
        ["a film", "c film"],
        ["Row 1: Line 2 is not JSON: Invalid control character at: line 1 column 15 (char 14)."],
    ),
    "lines that are no objects": (
        "a.jsonl",
        b'{"text": "a film"}\n[1, 2]\nnull\n7\n',
        ["a film"],
        [
            f"Row {row}: It is a {kind}, not a dict. Give a list of dicts, one a row."
            for row, kind in ((1, "list"), (2, "NoneType"), (3, "int"))
        ],
    ),
    "texts alone": ("a.json", b'[null, "a film", 3]', ["a film"], [
        "Row 0, column 'text': None in place of a text.",
        "Row 2, column 'text': The int 3 in place of a text.",
    ]),
    "labels that are none": (
        "a.jsonl",
        b'{"text": "a", "label": "spam"}\n{"text": "b", "label": {"x": 1}}\n'
        b'{"text": "c", "label": NaN}\n',
        ["a", "b", "c"],
        [
            "Row 0, column 'label': 'spam' is no label of MODEL, which knows negative, positive. "
            "The row is not scored.",
            "Row 1, column 'label': The dict {'x': 1} in place of a label.",
        ],
    ),
}  # fmt: skip
UNREADABLE: dict[str, tuple[str, bytes, str]] = {
    "nothing in a CSV": ("a.csv", b"", "a.csv is empty."),
    "nothing in JSON Lines": ("a.jsonl", b"\n", "a.jsonl is empty."),
    "nothing in JSON": ("a.json", b"", "a.json is not JSON: Expecting value: line 1 column 1"),
    "an empty list": ("a.json", b"[]", "a.json has no rows."),
    "a header alone": ("a.csv", b"text,label\n", "a.csv has no rows."),
    "columns of one name": ("a.csv", b"text,text\na,b\n", "a.csv has two columns named 'text'."),
    "no column of texts": (
        "a.csv", b"one,two\na,b\n", "It is not clear which column of a.csv is the Text.",
    ),
    "Latin-1": (
        "a.csv",
        b"text\n" + b"a film\n" * 3_000 + b"caf\xe9\n",
        "a.csv is not text in UTF-8: line 3,002 has the byte 0xe9 (byte 21,008).",
    ),
    "UTF-16": (
        "a.csv", "text\na film\n".encode("utf-16"), "a.csv is not text in UTF-8: it is UTF-16.",
    ),
    "a quotation mark": (
        "a.csv",
        b'text,label\na film,positive\n"b film,negative\nc film,positive\n',
        "a.csv cannot be read as CSV: a quotation mark of line 3 is never closed.",
    ),
    "one object": (
        "a.json", b'{"text": "a film", "label": "positive"}',
        "The column 'text' is a str, not a list of cells.",
    ),
    "JSON Lines under another name": (
        "a.json", b'{"text": "a"}\n{"text": "b"}\n', "a.json is not JSON: Extra data: line 2",
    ),
    "brackets": ("a.json", b"[" * 100_000, "a.json is not JSON: "),
    "lines of nothing but faults": (
        "a.jsonl", b"{\n[\n", "a.jsonl has no row that can be read. Line 1 is not JSON",
    ),
    "another kind of file": ("a.xlsx", b"PK", "a.xlsx ends in .xlsx."),
    "no Parquet": (
        "a.parquet", b"text,label\n",
        "a.parquet cannot be read: Could not open Parquet input source 'a.parquet': Parquet magic",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", READABLE)
def test_a_file_is_read_and_each_row_is_done_or_named(
    bert: Path, tmp_path: Path, name: str
) -> None:
    file, content, done, problems = READABLE[name]
    (tmp_path / file).write_bytes(content)
    ev = lmkit.load(str(bert)).evaluate("classification", str(tmp_path / file))
    assert [row["text"] for row in ev.rows] == done
    assert [str(one) for one in ev.problems] == [
        one.replace("MODEL", str(bert)) for one in problems
    ]
    if name == "semicolons":
        assert ev.rows[0]["gold"] == "positive"


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_file_is_refused_in_a_sentence(
    bert: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file, content, message = UNREADABLE[name]
    path = tmp_path / file
    path.write_bytes(content)
    with pytest.raises(DataSetError) as caught:
        lmkit.load(str(bert)).evaluate("classification", path)
    assert caught.value.message.startswith(message)
    assert caught.value.message.endswith(".")
    assert main(["evaluate", "classification", str(path), "--model", str(bert)]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", "No data set is named."),
        ("a film", "a film ends in no suffix."),
        ("the film moves. " * 4_000, "cannot be read"),
        ("none.csv", "none.csv is not there"),
        (None, "A NoneType holds no rows."),
        (7, "A int holds no rows."),
        (b"a film", "A bytes holds no rows."),
        ([], "has no rows."),
        ({}, "has no rows."),
        ({"text": "a film"}, "The column 'text' is a str"),
        ({"text": 7}, "The column 'text' is a int"),
        ([7, None], "has no row that can be read. It is a int, not a dict."),
    ],
)
def test_what_holds_no_rows_is_refused_in_a_sentence(bert: Path, data: Any, message: str) -> None:
    with pytest.raises(DataSetError) as caught:
        lmkit.load(str(bert)).evaluate("classification", data)
    assert message in caught.value.message
    assert len(str(caught.value)) < 700
    assert caught.value.message.endswith(".")


def test_folders_and_parquet_without_the_column_are_refused(bert: Path, tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    kit = lmkit.load(str(bert))
    with pytest.raises(DataSetError, match=r"is no folder of a data set"):
        kit.evaluate("classification", tmp_path)
    file = tmp_path / "rows.parquet"
    parquet.write_table(pa.table({"n": [1, 2], "m": [0.5, None]}), file)
    with pytest.raises(DataSetError, match=r"not clear which column of rows\.parquet is the Text"):
        kit.evaluate("classification", file)
    with pytest.raises(DataSetError, match=r"rows.parquet has no column 'text'.*n, m"):
        kit.evaluate("classification", file, text="text")
    ev = kit.evaluate("classification", file, text="m")
    assert [str(one) for one in ev.problems] == [
        "Row 0, column 'm': The float 0.5 in place of a text.",
        "Row 1, column 'm': None in place of a text.",
    ]


@pytest.mark.parametrize("command", ["starter", "starter install", "plugins", "run", "evaluate"])
def test_options_are_read_as_no_names(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lmkit.models.starters.install", lambda _names: pytest.fail("installed"))
    words = command.split()
    assert main([*words, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"usage: lmkit {words[0]}")
    assert main([*words, "--force"]) == 2
    assert f"lmkit {words[0]}: unknown option --force" in capsys.readouterr().err


def test_the_command_line_says_how_it_went(
    bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "a film"}\n{"text": \n{"text": 7}\n', encoding="utf-8")
    model = ["--model", str(bert)]
    assert main(["evaluate", "classification", str(rows), *model]) == 0
    said = capsys.readouterr()
    assert "lmkit: Row 1: Line 2 is not JSON" in said.err
    assert "lmkit: Row 2, column 'text': The int 7 in place of a text." in said.err
    assert "1 of 3 rows" in said.out
    named = str(tmp_path / "out.csv")
    assert main(["evaluate", "classification", str(rows), *model, "--out", named]) == 1
    said = capsys.readouterr()
    assert "is named like a file" in said.err
    assert not said.out
    # Nothing at all was done: that is no success.
    rows.write_text('{"text": 7}\n{"text": ""}\n', encoding="utf-8")
    assert main(["evaluate", "classification", str(rows), *model]) == 1
    assert main(["evaluate", "classification", str(rows), *model, "--text", "review"]) == 1
    assert "rows.jsonl has no column 'review'. Its columns are: text." in capsys.readouterr().err
    assert main(["evaluate", "classification", str(tmp_path / "none.csv"), *model]) == 1
    assert main(["evaluate", "classification", *model]) == 2
    assert main(["run", "classification", *model, "--text", ""]) == 1
    assert main(["run", "classification", *model, "--text", "a", "--threshold", "nan"]) == 1
    assert main(["run", "classification", *model, "--text", "a", "--colour", "red"]) == 2
    capsys.readouterr()
    for given, status in ((b"\xef\xbb\xbfa film\r\n", 0), (b"caf\xe9", 1)):
        stream = io.TextIOWrapper(io.BytesIO(given), encoding="utf-8")
        monkeypatch.setattr("sys.stdin", stream)
        assert main(["run", "classification", *model, "--text", "-"]) == status
    assert "Standard input is not text in UTF-8" in capsys.readouterr().err


def test_a_panel_refuses_what_is_no_value_and_goes_on(bert: Path, tmp_path: Path) -> None:
    panel = lmkit.load(str(bert)).panel("classification", "a film")
    for name, value in (("text", 7), ("text", None), ("threshold", 2.0), ("threshold", math.nan)):
        with pytest.raises(FieldError):
            setattr(panel, name, value)
    assert panel.text == "a film"
    with pytest.raises(FieldError):
        panel.run(text=" ")
    assert panel.state == "idle"
    assert panel.run(text="the plot").scores
    session, own = panel._served, panel._panel
    (tmp_path / "a.csv").write_text("", encoding="utf-8")
    with pytest.raises(DataSetError, match="is empty"):
        session.runs.open_rows(own, str(tmp_path / "a.csv"), {})
    session.runs.open_rows(own, ["a film", None], {})
    assert len(session.runs.run_rows_now(own)) == 1
    panel.close()
