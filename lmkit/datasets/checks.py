"""Which of a data set's columns is which of the task's, and whether each cell is what it must be.

A cell that is not is told by row and column, and its row left out; the others go on.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from lmkit.datasets.sources import Table
from lmkit.errors import DataSetError
from lmkit.protocol.messages import ColumnSpec, Span
from lmkit.rows import Row, RowProblem

__all__ = ["check_cell", "checked_rows", "map_columns"]

MAX_TEXT = 4_000_000
"""Longest text in characters, as for a field."""
READ_AT_ONCE = 1_024
"""Rows read from the source at a time."""
_USUAL = {
    "text": ("sentence", "content", "review", "document", "body", "sentence1", "premise", "input"),
    "prompt": (
        "text",
        "instruction",
        "question",
        "sentence",
        "content",
        "document",
        "input",
        "messages",
        "conversation",
    ),
    "expected": ("answer", "completion", "target", "summary", "output", "highlights", "response"),
    "pair": ("sentence2", "hypothesis", "second", "text_pair", "question"),
    "words": ("tokens", "word", "token"),
    "tags": ("ner_tags", "ner", "tag", "ner_labels", "labels", "iob"),
    "spans": ("entities", "ents", "annotations"),
    "label": ("labels", "target", "class", "category", "gold", "y"),
}
"""Usual names in data sets for usual columns of tasks, best first."""


def map_columns(
    table: Table, specs: Sequence[ColumnSpec], given: Mapping[str, Any]
) -> dict[str, str]:
    """The data set's column for each of the task's, as the user said or as it can be told.

    A column that the user did not name is found by its own name, or by a usual one; one that is
    required and alone may be the data set's only column.

    Args:
        table: The data set.
        specs: The task's columns.
        given: Names of the data set's columns by the task's, which may be numbers or tuples, as
            in a DataFrame; None or empty leaves one out.

    Raises:
        DataSetError: a column that is not there, or a required one that cannot be told.
    """
    known = {spec.name for spec in specs}
    for name in given:
        if name not in known:
            raise DataSetError(
                f"The task has no column {name!r}.",
                hint=f"Its columns are: {', '.join(spec.name for spec in specs) or 'none'}.",
            )
    mapping: dict[str, str] = {}
    for spec in specs:
        if spec.name in given:
            chosen = given[spec.name]
            if chosen is None or (isinstance(chosen, str) and not chosen):
                continue
            mapping[spec.name] = str(chosen)
            table.read(mapping[spec.name], [])  # raises with the names that there are
    taken = set(mapping.values())
    for spec in specs:
        if spec.name in given:
            if spec.required and spec.name not in mapping:
                raise _unmapped(table, spec)
            continue
        names = (spec.name, *_USUAL.get(spec.name, ()))
        folded = {
            one.strip().casefold(): one for one in reversed(table.columns) if one not in taken
        }
        found = next((folded[name] for name in names if name in folded), None)
        if found is None and spec.required and len(table.columns) == 1 and not taken:
            found = table.columns[0]
        if found is not None:
            mapping[spec.name] = found
            taken.add(found)
        elif spec.required:
            raise _unmapped(table, spec)
    return mapping


def _unmapped(table: Table, spec: ColumnSpec) -> DataSetError:
    columns = ", ".join(table.columns[:20]) or "none"
    return DataSetError(
        f"It is not clear which column of {table.name} is the {spec.label or spec.name}.",
        hint=f"Say {spec.name}='COLUMN'; its columns are: {columns}.",
    )


def checked_rows(
    table: Table,
    specs: Sequence[ColumnSpec],
    mapping: Mapping[str, str],
    rows: Sequence[int],
    problem: Callable[[RowProblem], None],
) -> Iterator[Row]:
    """Read and check rows, a thousand at a time.

    Args:
        table: The data set.
        specs: The task's columns.
        mapping: As :func:`map_columns` gives it.
        rows: Numbers of the rows to read.
        problem: Told of each cell that is not what it must be. A row whose required cell is wrong
            is left out; another wrong cell is None.
    """
    mapped = [spec for spec in specs if spec.name in mapping]
    for start in range(0, len(rows), READ_AT_ONCE):
        numbers = rows[start : start + READ_AT_ONCE]
        cells = {spec.name: table.read(mapping[spec.name], numbers) for spec in mapped}
        for place, number in enumerate(numbers):
            if number in table.faults:
                problem(RowProblem(int(number), "", table.faults[number]))
                continue
            values: dict[str, Any] = {}
            whole = True
            for spec in mapped:
                try:
                    values[spec.name] = check_cell(spec, cells[spec.name][place])
                except ValueError as error:
                    problem(RowProblem(int(number), mapping[spec.name], str(error)))
                    values[spec.name] = None
                    whole = whole and not spec.required
            if whole:
                yield Row(int(number), values)


def check_cell(spec: ColumnSpec, value: Any) -> Any:
    """One cell as its column's kind says; None where it is empty and may be.

    Raises:
        ValueError: what is wrong, as a sentence without the place.
    """
    # A CSV has no other word for what is missing.
    blank = spec.kind in ("label", "labels") and isinstance(value, str) and not value.strip()
    if blank or _is_missing(value):
        if spec.required:
            raise ValueError(f"{_shown(value)} in place of {_KINDS[spec.kind]}.")
        return None
    if spec.kind == "text":
        return _text(value, spec)
    if spec.kind == "chat":
        chat = _chat(value)
        return _text(value if chat is None else chat, spec)
    if spec.kind == "label":
        return _label(value)
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        if spec.kind == "labels":
            return (_label(value),)
        raise ValueError(f"{_shown(value)} in place of {_KINDS[spec.kind]}.")
    if spec.kind == "labels":
        return _labels(value)
    if spec.kind == "words":
        return tuple(_word(one) for one in value)
    return tuple(_span(one) for one in value)


_KINDS = {
    "text": "a text",
    "chat": "a text or a list of messages",
    "label": "a label",
    "labels": "a list of labels",
    "words": "a list of words",
    "spans": "a list of spans",
}


def _is_missing(value: Any) -> bool:
    # NaN, NaT and pandas' NA are no value; NA is known by its name, pandas is not imported.
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return True
    return type(value).__name__ in ("NAType", "NaTType")


def _text(value: Any, spec: ColumnSpec) -> str | None:
    if not isinstance(value, str):
        raise ValueError(f"{_shown(value)} in place of a text.")
    if len(value) > MAX_TEXT:
        raise ValueError(f"{len(value):,} characters; at most {MAX_TEXT:,} are taken.")
    if not value.replace("\0", "").strip():
        if spec.required:
            raise ValueError("The text is empty.")
        return None
    return value


def _chat(value: Any) -> str | None:
    """A list of messages as JSON; None for anything else."""
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        return None
    made = []
    for number, one in enumerate(value, 1):
        part = one if isinstance(one, Mapping) else {}
        role, content = part.get("role"), part.get("content")
        if not isinstance(role, str) or not isinstance(content, str):
            raise ValueError(f"Message {number} has no role and content, both texts.")
        made.append({"role": role, "content": content})
    return json.dumps(made, ensure_ascii=False) if made else ""


def _label(value: Any) -> str | int | float:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        # pandas makes whole numbers floats where one is missing
        return int(value) if value.is_integer() else value
    raise ValueError(f"{_shown(value)} in place of a label.")


def _labels(value: Sequence[Any]) -> tuple[str | int | float, ...]:
    """Names and indices; booleans are a vector with a place for each label, as are their floats."""
    # What was an array has numpy's own scalars.
    plain = [one.item() if getattr(one, "shape", None) == () else one for one in value]
    if all(isinstance(one, bool | float) and one in (0, 1) for one in plain):
        return tuple(bool(one) for one in plain)
    return tuple(_label(one) for one in plain)


def _word(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{_shown(value)} in place of a word.")
    return value


def _span(value: Any) -> Span:
    if isinstance(value, Mapping):
        label = value.get("label", value.get("entity_group", value.get("type", "")))
        start, end = value.get("start"), value.get("end")
    elif isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 3:
        start, end, label = value
    else:
        raise ValueError(f"{_shown(value)} in place of a span (start, end, label).")
    if not isinstance(label, str):
        raise ValueError(f"{_shown(label)} in place of a span's label.")
    if isinstance(start, int) and isinstance(end, int) and 0 <= start <= end:
        return Span(start=start, end=end, label=label)
    raise ValueError(f"{_shown(value)} is no span: it takes 0 <= start <= end.")


def _shown(value: Any) -> str:
    if value is None:
        return "None"
    if _is_missing(value):
        return "A missing value (NaN)"
    text = repr(value)
    text = text if len(text) <= 60 else f"{text[:57]}..."
    return f"The {type(value).__name__} {text}"
