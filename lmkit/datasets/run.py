"""A task's run over a data set: what is done so far, and what is left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lmkit.datasets.checks import checked_rows
from lmkit.datasets.sources import Table
from lmkit.errors import TaskError
from lmkit.protocol.messages import ColumnSpec
from lmkit.rows import Row, RowOutput, RowProblem, RowResults, RowStream

__all__ = ["Portable", "RowRun"]

Portable = tuple[dict[int, RowOutput], list[RowProblem], bool]
"""Outputs by row, problems, and whether the run came to its end."""


class RowRun:
    """Rows of a table on their way through a task. What is done stays, whatever happens then.

    Args:
        table: The data set.
        specs: The task's columns.
        mapping: The data set's column for each of the task's that is mapped.
    """

    def __init__(
        self, table: Table, specs: Sequence[ColumnSpec], mapping: Mapping[str, str]
    ) -> None:
        self.table = table
        self.specs = tuple(specs)
        self.mapping = dict(mapping)
        self.ended = False
        """Whether the task has come to its end, rather than been stopped or failed on the way."""
        self._done: dict[int, tuple[Row, RowOutput]] = {}
        self._problems: dict[tuple[int, str], RowProblem] = {}
        self._failed: set[int] = set()

    @property
    def done(self) -> int:
        """How many rows have their output."""
        return len(self._done)

    @property
    def left(self) -> list[int]:
        """Numbers of the rows that have neither an output nor a problem that keeps them from it."""
        return [
            row
            for row in range(self.table.count)
            if row not in self._done and row not in self._failed
        ]

    def stream(self) -> RowStream:
        """The rows that are left, read and checked while they are asked for."""
        left = self.left

        def read() -> Iterator[Row]:
            usable: set[int] = set()
            for row in checked_rows(self.table, self.specs, self.mapping, left, self._note):
                usable.add(row.index)
                yield row
            self._failed.update(set(left) - usable)

        return RowStream(len(left), read)

    def add(self, item: Any, who: str) -> None:
        """Take what a task yields: a row with its output, or a problem.

        Raises:
            TaskError: it is neither.
        """
        if isinstance(item, RowProblem):
            self._note(
                RowProblem(item.row, self.mapping.get(item.column, item.column), item.message)
            )
            self._failed.add(item.row)
            return
        if not (
            isinstance(item, tuple)
            and len(item) == 2
            and isinstance(item[0], Row)
            and isinstance(item[1], Mapping)
        ):
            raise TaskError(
                f"{who} yielded a {type(item).__name__} from run_rows().",
                hint="It yields (row, output), the output a dict, or a RowProblem.",
            )
        self._done[item[0].index] = (item[0], dict(item[1]))

    def portable(self) -> Portable:
        """What is done and what is wrong, as plain values for another process."""
        done = {index: output for index, (_, output) in self._done.items()}
        return done, list(self._problems.values()), self.ended

    def merge(self, others: Sequence[Portable]) -> None:
        """Take over what other processes have done; each has the whole data set at hand."""
        for done, problems, ended in others:
            self.ended = self.ended and ended
            new = sorted(done.keys() - self._done.keys())
            ignored: list[RowProblem] = []
            for row in checked_rows(self.table, self.specs, self.mapping, new, ignored.append):
                self._done[row.index] = (row, done[row.index])
            for problem in problems:
                self._note(problem)
        self._failed.update(one.row for one in self._problems.values() if one.row not in self._done)

    def results(self) -> RowResults:
        """What is done, in the order of the data set."""
        order = sorted(self._done)
        return RowResults(
            rows=[self._done[index][0] for index in order],
            outputs=[self._done[index][1] for index in order],
            problems=sorted(self._problems.values(), key=lambda one: (one.row, one.column)),
            total=self.table.count,
            mapping=dict(self.mapping),
            columns=self.table.columns,
            stopped=not self.ended,
            source=self.table.name,
            read=self.table.read,
        )

    def _note(self, problem: RowProblem) -> None:
        # What the cell itself is says more than what a task makes of its absence; and which comes
        # last would depend on the number of processes.
        self._problems.setdefault((problem.row, problem.column), problem)
