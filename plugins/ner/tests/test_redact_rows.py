"""Redact over a data set: a column of texts in, the same column without names out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lmkit_ner import kernel_key
from lmkit_ner.redact import Redact

import lmkit
from lmkit.api import Row, RowStream, Table
from lmkit.errors import FieldError
from lmkit.work import Work, doing

TEXTS = [
    "Somerville taught her, says the letter.",
    "Ada Lovelace worked with Charles Babbage in London.",
    "Nothing is in here.",
    "In London lived Ada Lovelace, whom Somerville knew.",
]
NAMES = ("Lovelace", "Babbage", "London", "Somerville", "Ada")


@pytest.fixture(autouse=True)
def _own_names() -> Iterator[None]:
    kernel_key.forget()
    yield
    kernel_key.forget()


@pytest.fixture(scope="module")
def kit() -> lmkit.Kit:
    return lmkit.load("starter:ner")


def test_the_column_comes_out_without_names_and_back_by_the_key(
    kit: lmkit.Kit, tmp_path: Path
) -> None:
    import pandas

    frame = pandas.DataFrame({"sentence": TEXTS, "id": range(4)})
    ev = kit.evaluate("redact", frame)
    made = list(ev.to_pandas()["text"])
    assert [name for name in NAMES if name in " ".join(made)] == []
    assert made[2] == TEXTS[2]
    ada, london = made[1].split(" worked")[0], made[1].split(" in ")[1]
    assert made[3].startswith(f"In {london[:-1]} lived {ada}, ")
    # what the model sees in the last row is known in the first
    assert made[0].split(" taught")[0] == made[3].split("whom ")[1].split(" knew")[0]
    ev.save(tmp_path / "out")
    for file in (tmp_path / "out").iterdir():
        text = file.read_text(encoding="utf-8")
        assert [name for name in NAMES[:4] if name in text] == [], file.name
    back = kit.evaluate("redact", [{"text": one} for one in made], do="restore")
    assert [row["text"] for row in back.rows] == TEXTS
    kernel_key.forget()
    lost = kit.evaluate("redact", [{"text": one} for one in made], do="restore")
    assert [row["text"] for row in lost.rows] == made


def test_the_report_counts_and_opens_the_new_texts(kit: lmkit.Kit) -> None:
    ev = kit.evaluate("redact", [{"text": one} for one in TEXTS], kinds="LOC")
    counts, texts = ev.results
    assert isinstance(counts, Table)
    assert isinstance(texts, Table)
    assert counts.rows == (("LOC", 1, 2),)
    assert [row[2] for row in texts.rows] == [0, 1, 0, 1]
    assert texts.changes[1] is not None
    assert texts.changes[1].values["text"] == (
        "Ada Lovelace worked with Charles Babbage in [LOCATION 1]."
    )
    opened = kit.run("redact", **texts.changes[1].values)
    assert opened.values["text"].endswith("in [LOCATION 1].")
    assert "London" not in json.dumps([list(one.rows) for one in (counts, texts)])


def test_bad_cells_are_told_and_the_rest_is_done(kit: lmkit.Kit) -> None:
    cells: list[Any] = [TEXTS[1], None, "", 3, float("nan"), "\0", TEXTS[3]]
    ev = kit.evaluate("redact", [{"text": one} for one in cells])
    assert [row["row"] for row in ev.rows] == [0, 6]
    assert [one.row for one in ev.problems] == [1, 2, 3, 4, 5]


def test_what_was_read_before_an_interrupt_stays(kit: lmkit.Kit) -> None:
    model = kit.loaded("redact").model
    calls = 0

    def interrupt(*_: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt

    rows = [{"text": f"{TEXTS[at % 4]} {'And so on. ' * (at % 3)}"} for at in range(80)]
    handle = model.register_forward_hook(interrupt)
    try:
        with pytest.warns(UserWarning, match="goes on"):
            ev = kit.evaluate("redact", rows)
    finally:
        handle.remove()
    assert 0 < len(ev.rows) < 80
    ev.resume()
    assert len(ev.rows) == 80
    whole = " ".join(row["text"] for row in ev.rows)
    assert [name for name in NAMES if name in whole] == []
    assert [kernel_key.restore(row["text"]) for row in ev.rows] == [row["text"] for row in rows]


def test_several_processes_are_refused(kit: lmkit.Kit) -> None:
    task, model = Redact(), kit.loaded("redact")
    values = {field.name: field.default for field in Redact.fields if field.name != "text"}
    work = Work()
    work.share = (0, 2)
    rows = [Row(at, {"text": text}) for at, text in enumerate(TEXTS)]
    with doing(work), pytest.raises(FieldError, match="one process"):
        list(task.run_rows(model, RowStream(4, lambda: iter(rows)), **values))
