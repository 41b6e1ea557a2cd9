"""Lines that a reader of a report copies: to use a student, and to explore what it gets wrong.

A report names no folder of the machine that it was made on, so each line says what it is relative
to, or what is to be filled in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["explore_lines", "use_lines"]

_MOST = 3
"""Examples that are printed; the table above them has all."""


def use_lines() -> tuple[str, str]:
    """A command and lines of Python that explore the student, from within its folder."""
    return (
        'lmkit run attention --model . --text "A text to read."',
        'import lmkit\n\nlmkit.explore(".", text="A text to read.")',
    )


def explore_lines(card: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines of Python that show student minus teacher on the first of some texts.

    Args:
        card: A report.
        rows: Its worst examples; none give no lines.
    """
    if not rows:
        return []
    teacher = f"TEACHER = {card['teacher']!r}"
    if card.get("teacher_is_folder"):
        teacher += "  # a folder: fill in where it is on your machine"
    return [
        "import lmkit",
        "",
        # With "./" a folder that is not there is said to be missing, and not looked for on the hub.
        f"STUDENT = {'./' + Path(card['student']).name!r}"
        "  # in the folder of this page: run these lines there, or fill in its path",
        teacher,
        *(_compared(row) for row in rows[:_MOST]),
    ]


def _compared(row: Mapping[str, Any]) -> str:
    text = f"text={row['text']!r}"
    if not row.get("pair"):
        return f"lmkit.compare(STUDENT, TEACHER, {text})"
    given = f"{text}, pair={row['pair']!r}"
    return f"lmkit.compare(lmkit.explore(STUDENT, {given}), lmkit.explore(TEACHER, {given}))"
