"""The data set of a panel, as it stands: which one, its columns, and the report on its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lmkit.api import ColumnSpec, FieldSpec, Result
from lmkit.protocol.messages import DataSetSpec

__all__ = ["DataSetPart"]


@dataclass(frozen=True)
class DataSetPart:
    """What a panel shows of its data set; another one is put in its place when something changes.

    Attributes:
        columns: The task's columns.
        fields: Controls of the report.
        values: What they hold.
        source: What the data set is called; empty where none is open.
        available: Its columns.
        mapping: Its column for each of the task's that is mapped.
        rows: How many rows it has.
        done: How many of them are in the report.
        stopped: Whether rows are left because a run over them was stopped.
        results: The report.
        note: What must be said of it: stopped, rows left out.
    """

    columns: tuple[ColumnSpec, ...]
    fields: tuple[FieldSpec, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    available: Sequence[str] = ()
    mapping: Mapping[str, str] = field(default_factory=dict)
    rows: int = 0
    done: int = 0
    stopped: bool = False
    results: tuple[Result, ...] = ()
    note: str = ""

    def spec(self) -> DataSetSpec:
        """As a message."""
        return DataSetSpec(
            columns=self.columns,
            fields=self.fields,
            values=dict(self.values),
            source=self.source,
            available=tuple(self.available),
            mapping=dict(self.mapping),
            rows=self.rows,
            done=self.done,
            stopped=self.stopped,
            results=self.results,
            note=self.note,
        )
