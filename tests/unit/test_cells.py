"""The cell that a shell inserts for a task, made from the task's declaration alone."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from lmkit.api import Field, FieldSpec, Task, Text
from lmkit.cells import EXAMPLE, cell_of, cell_source
from lmkit.protocol.messages import TaskCell


def cell(*fields: FieldSpec) -> TaskCell:
    class Made(Task):
        name = "made"

        def run(self, model: Any, **values: Any) -> Text:
            return Text(text="")

    Made.fields = fields
    return cell_of(Made)


PANEL = TaskCell(line="%lm made")


def test_a_text_of_several_lines_stands_below_the_line() -> None:
    assert cell(Field.text("text")) == TaskCell(line="%%lm made", text=EXAMPLE)
    own = cell(Field.text("text", default="To be or not to be."))
    assert own.text == "To be or not to be."
    long = cell(Field.text("text", default="a" * 100_000))
    assert long.text == EXAMPLE


@pytest.mark.parametrize(
    "fields",
    [
        (),
        (Field.integer("steps", minimum=1, maximum=3),),
        (Field.text("path", multiline=False),),
        (Field.text("path", multiline=False, body=True), Field.text("watched")),
        tuple(Field.text(f"f{at}", placeholder="x" * 300) for at in range(100)),
    ],
)
def test_what_takes_no_text_opens_its_panel(fields: tuple[FieldSpec, ...]) -> None:
    assert cell(*fields) == PANEL


def test_what_is_required_is_filled_in_as_one_word_each() -> None:
    made = cell(
        Field.text("text"),
        Field.text("labels", placeholder="politics, it's\n sport", multiline=False),
        Field.text("how_many", label="How many"),
        Field.text("out", placeholder="-x", hidden=True),
        Field.text("left", required=False, placeholder="no"),
        Field.text("given", default="known"),
        Field.integer("k", minimum=0, maximum=9),
    )
    assert shlex.split(made.line) == [
        "%%lm", "made", "--labels", "politics, it's sport", "--how-many", "How many", "--out=-x",
    ]  # fmt: skip


def test_a_selection_takes_the_place_of_the_example() -> None:
    made = cell(Field.text("text"))
    assert cell_source(made) == f"%%lm made\n{EXAMPLE}"
    assert cell_source(made, " \n") == f"%%lm made\n{EXAMPLE}"
    assert cell_source(made, "two\nlines") == "%%lm made\ntwo\nlines"
    assert cell_source(made, "x", "my model") == "%%lm made --model 'my model'\nx"
    assert cell_source(PANEL, "x", "m") == "%lm made --model m"
