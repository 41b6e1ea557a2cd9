"""Rows whose texts were longer than the model reads: said of the data set, and beside each row.

A task says so by an output of the name :data:`LEFT_OUT`. What is made of it here is the same for
every task, so that no report can forget it.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from lmkit.api import Result, RowOutput, RowResults, Table

__all__ = ["LEFT_OUT", "cut_note", "with_cuts"]

LEFT_OUT = "left_out"
"""The output of a row that counts the tokens of its text that the model did not read."""


def cut_note(results: RowResults) -> str:
    """How many rows were cut, and by how much; empty where none was."""
    counts = [count for count in map(_left_out, results.outputs) if count]
    if not counts:
        return ""
    rows = "1 row was" if len(counts) == 1 else f"{len(counts):,} rows were"
    tokens = "1 token was" if sum(counts) == 1 else f"{sum(counts):,} tokens were"
    # The end of a very long text is cut away before its tokens are counted.
    return f"{rows} longer than the model reads; at least {tokens} left out."


def with_cuts(results: RowResults, made: Sequence[Result]) -> tuple[Result, ...]:
    """A report's results, the tables of rows with a column more where a row was cut.

    A table of rows is one whose first column is called ``row`` and holds their numbers.
    """
    counts = {row.index: count for row, output in results if (count := _left_out(output))}
    if not counts:
        return tuple(made)
    return tuple(_with_column(one, counts) if _lists_rows(one) else one for one in made)


def _lists_rows(result: Result) -> bool:
    return isinstance(result, Table) and result.columns[:1] == ("row",)


def _with_column(table: Result, counts: dict[int, int]) -> Result:
    assert isinstance(table, Table)
    return msgspec.structs.replace(
        table,
        columns=(*table.columns, "tokens left out"),
        rows=tuple((*row, counts.get(_number(row[0]), 0)) for row in table.rows),
    )


def _number(cell: object) -> int:
    return int(cell) if isinstance(cell, int | float) else -1


def _left_out(output: RowOutput) -> int:
    count = output.get(LEFT_OUT, 0)
    return count if isinstance(count, int) and not isinstance(count, bool) and count > 0 else 0
