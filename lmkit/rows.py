"""Rows of a data set as tasks see them, what came of them, and what was wrong with them.

A data set's columns are mapped to those that a task declares (:class:`lmkit.api.Column`) and every
cell is checked before the task sees it. Rows are numbered from 0, as ``DataFrame.iloc`` does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Row", "RowBatch", "RowOutput", "RowProblem", "RowResults", "RowSequence", "RowStream"]

RowOutput = Mapping[str, Any]
"""What a task found for one row: plain values that JSON can hold, under names of its own.

One name is known to all: ``left_out``, the number of tokens of the row that the model did not read.
The data set's note and its tables of rows tell of it.
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its number, and the value of each mapped column by the name that the task gave it.

    A column that the user did not map is absent; one that is not required may be None.
    """

    index: int
    values: Mapping[str, Any]

    def __getitem__(self, column: str) -> Any:
        return self.values[column]

    def get(self, column: str, default: Any = None) -> Any:
        """The value of a column, or ``default`` where it is not mapped or empty."""
        value = self.values.get(column)
        return default if value is None else value


class RowStream:
    """Rows to be read once, in order, and how many they are at most.

    Args:
        count: How many; rows that turn out to be unusable are left out while they are read.
        read: Makes the iterator.
    """

    def __init__(self, count: int, read: Callable[[], Iterator[Row]]) -> None:
        self._count, self._read = count, read

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Row]:
        return self._read()


@dataclass(frozen=True, slots=True)
class RowProblem:
    """Why a row, or one column of it, could not be used.

    Attributes:
        row: Number of the row, from 0.
        column: The data set's own name of the column; empty where it is the whole row.
        message: What is wrong with it, as a sentence without the place.
    """

    row: int
    column: str
    message: str

    def __str__(self) -> str:
        place = f"Row {self.row:,}" + (f", column {self.column!r}" if self.column else "")
        return f"{place}: {self.message}"


@dataclass(frozen=True, slots=True)
class RowSequence:
    """What a model reads at once: a row's text (and pair), or one window of a long one.

    Attributes:
        row: The row.
        ids: Its token ids, special ones included; (tokens,).
        window: Which window of the row this is, from 0.
        windows: How many windows the row has.
        total: Tokens of the whole text, or at least so many where it was cut: more than
            ``len(ids)`` where some were left out or are in other windows.
        encoding: What a fast tokenizer made of it (``tokenizers.Encoding``), else None.
    """

    row: Row
    ids: tuple[int, ...]
    window: int = 0
    windows: int = 1
    total: int = 0
    encoding: Any = field(default=None, repr=False, compare=False)

    @property
    def sides(self) -> tuple[int | None, ...]:
        """For each token 0 for the text, 1 for the pair, None for special tokens.

        Empty where the tokenizer does not say.
        """
        return () if self.encoding is None else tuple(self.encoding.sequence_ids)

    @property
    def offsets(self) -> tuple[tuple[int, int] | None, ...]:
        """For each token its place in the row's text, or in the pair where ``sides`` says 1.

        None for special tokens; empty where the tokenizer does not say.
        """
        if self.encoding is None:
            return ()
        pairs = zip(self.sides, self.encoding.offsets, strict=True)
        return tuple(None if side is None else offset for side, offset in pairs)

    @property
    def words(self) -> tuple[int | None, ...]:
        """For each token the tokenizer's own number of its word; empty where it does not say."""
        return () if self.encoding is None else tuple(self.encoding.word_ids)


@dataclass(frozen=True, slots=True)
class RowBatch:
    """One pass of the model over several sequences of about the same length.

    Attributes:
        sequences: What it read, in the order of the batch.
        output: What the model returned, on its device; (batch, ...). Padding is on the
            ``padding_side`` and beyond ``len(sequence.ids)``.
        padding_side: ``"right"`` or ``"left"``.
    """

    sequences: tuple[RowSequence, ...]
    output: Any
    padding_side: str = "right"

    def place(self, number: int) -> slice:
        """Where the tokens of the sequence ``number`` are on the padded axis of ``output``."""
        count = len(self.sequences[number].ids)
        if self.padding_side == "right":
            return slice(0, count)
        longest = max(len(one.ids) for one in self.sequences)
        return slice(longest - count, longest)


@dataclass(frozen=True)
class RowResults:
    """What came of a data set's rows, for :meth:`lmkit.api.Task.report_rows`.

    Attributes:
        rows: The rows that are done, ascending.
        outputs: What the task found for each of them.
        problems: What was wrong with other rows, and with cells of these, ascending.
        total: How many rows the data set has.
        mapping: The data set's own column for each column of the task that is mapped.
        columns: All columns of the data set.
        stopped: Whether the user stopped before all rows were done.
        source: What the data set is called.
        read: Reads cells of any column: ``read(column, row numbers)``.
    """

    rows: Sequence[Row]
    outputs: Sequence[RowOutput]
    problems: Sequence[RowProblem] = ()
    total: int = 0
    mapping: Mapping[str, str] = field(default_factory=dict)
    columns: Sequence[str] = ()
    stopped: bool = False
    source: str = ""
    read: Callable[[str, Sequence[int]], list[Any]] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[tuple[Row, RowOutput]]:
        return zip(self.rows, self.outputs, strict=True)

    def cells(self, column: str) -> list[Any]:
        """Cells of one of the data set's own columns, for the rows that are done, in order."""
        if self.read is None:
            return [None] * len(self.rows)
        return self.read(column, [row.index for row in self.rows])
