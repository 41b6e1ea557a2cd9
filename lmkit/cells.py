"""The cell of a task, for whoever inserts one: JupyterLab, VS Code.

A shell gets a :class:`~lmkit.protocol.messages.TaskCell` with each task and fills it in without
asking the kernel, which may be busy; ``js/protocol`` does it as :func:`cell_source` does.
"""

from __future__ import annotations

import shlex

from lmkit.api import Task
from lmkit.declarations import fields_of
from lmkit.fields import option_name
from lmkit.protocol.messages import TaskCell, TextField

__all__ = ["cell_of", "cell_source"]

EXAMPLE = "The plot is thin, but I was moved."
"""A text for tasks that declare none of their own."""
MOST_EXAMPLE = 1_000
"""Characters of a declared text that an example may have."""
MOST_VALUE = 200
MOST_LINE = 4_000
"""Characters of a line with all its options; a longer one is left to the form."""


def cell_of(task: type[Task]) -> TaskCell:
    """The cell that runs a task as it stands.

    A task whose body is a text of several lines takes the cell's, or what is selected. A body of
    one line is a name or the path of a file: such a task, like one without a body, gets the line
    that opens its panel, where the form asks for what is needed.
    """
    fields = [one for one in fields_of(task) if isinstance(one, TextField)]
    body = next((one for one in fields if one.body), None)
    panel = TaskCell(line=f"%lm {task.name}")
    if body is None or not body.multiline:
        return panel
    words = ["%%lm", task.name]
    for field in fields:
        if field is not body and field.required and not field.default.strip():
            value = " ".join((field.placeholder or field.label).split())[:MOST_VALUE]
            option = option_name(field)
            # behind a blank, a dash would begin another option
            words.append(f"{option}{'=' if value.startswith('-') else ' '}{shlex.quote(value)}")
    line = " ".join(words)
    if len(line) > MOST_LINE:
        return panel
    given = body.default if len(body.default) <= MOST_EXAMPLE else ""
    return TaskCell(line=line, text=given if given.strip() else EXAMPLE)


def cell_source(cell: TaskCell, text: str = "", model: str = "") -> str:
    """The source of a cell.

    Args:
        cell: Of the task.
        text: What is selected, in place of the example; left out where the task takes no text.
        model: What ``--model`` names; empty for the task's default.
    """
    line = f"{cell.line} --model {shlex.quote(model)}" if model else cell.line
    if not cell.text:
        return line
    return f"{line}\n{text if text.strip() else cell.text}"
