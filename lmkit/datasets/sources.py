"""Rows from a DataFrame, an Arrow table, a Hugging Face data set, Python lists, or a file.

Nothing is copied that is in memory already, and a Hugging Face data set or a memory-mapped Arrow
table stays on disk: cells are read when they are asked for. Files are read once. None of the
libraries is imported: an object is known by what it can do.
"""

from __future__ import annotations

import csv
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from lmkit.errors import DataSetError

__all__ = ["Table", "open_rows"]

_CSV = {".csv": ",", ".tsv": "\t"}
_SUFFIXES = ".csv, .tsv, .jsonl, .json, .parquet, .arrow or .feather"


class Table(ABC):
    """Rows under named columns, read by column and row number.

    Attributes:
        name: What the data set is called.
        columns: Names of its columns, in order.
        count: How many rows it has.
        faults: Rows that could not be read, and why; their cells are None.
    """

    def __init__(
        self,
        name: str,
        columns: Iterable[Any],
        count: int,
        faults: Mapping[int, str] | None = None,
    ) -> None:
        self.name = name
        self.columns = tuple(str(one) for one in columns)
        self.count = count
        self.faults = dict(faults or {})
        twice = sorted({one for one in self.columns if self.columns.count(one) > 1})
        if twice:
            raise DataSetError(
                f"{name} has two columns named {twice[0]!r}.", hint="Rename one of them."
            )

    def read(self, column: str, rows: Sequence[int]) -> list[Any]:
        """Cells of one column as Python values, in the order of ``rows``.

        Raises:
            DataSetError: there is no such column.
        """
        if column not in self.columns:
            known = ", ".join(self.columns[:20]) or "none"
            raise DataSetError(
                f"{self.name} has no column {column!r}.", hint=f"Its columns are: {known}."
            )
        # Arrow has no way to take nothing.
        return [_plain(value) for value in self._read(column, rows)] if len(rows) else []

    @abstractmethod
    def _read(self, column: str, rows: Sequence[int]) -> Iterable[Any]: ...


def open_rows(data: Any, name: str = "", *, lenient: bool = False) -> Table:
    """See the rows of whatever holds some.

    Args:
        data: A pandas or polars DataFrame, a ``pyarrow.Table``, a ``datasets.Dataset``, a list of
            dicts, a dict of columns, or the path of a CSV, TSV, JSON Lines, JSON, Parquet, Arrow or
            Feather file, or of a folder that ``datasets.Dataset.save_to_disk`` wrote.
        name: What to call it; else the file's name or the kind of object and its length.
        lenient: Note a row that cannot be read in :attr:`Table.faults` and go on.

    Raises:
        DataSetError: it holds no rows that can be read, saying why; one row is enough if not
            ``lenient``.
    """
    if isinstance(data, Table):
        return data
    if isinstance(data, str | os.PathLike):
        if not os.fspath(data).strip():
            raise DataSetError("No data set is named.", hint=f"Give a {_SUFFIXES} file.")
        path = Path(data)
        return _file(path, name or path.name, _Faults(lenient, name or path.name))
    kind = type(data).__name__
    if isinstance(data, Mapping) and _is_dict_of_splits(data):
        splits = ", ".join(map(str, data))
        raise DataSetError(
            f"This holds several data sets: {splits}.", hint="Give one of them, data['train'] say."
        )
    if hasattr(data, "iloc") and hasattr(data, "columns"):
        return _Frame(name or _sized(kind, len(data)), data)
    if hasattr(data, "column_names") and hasattr(data, "num_rows"):
        # Both have these; only Hugging Face's has rows under numbers.
        if hasattr(data, "column") and hasattr(data, "take"):
            return _Arrow(name or _sized("Arrow table", data.num_rows), data)
        return _HuggingFace(name or _sized("Data set", data.num_rows), data)
    if hasattr(data, "get_column") and hasattr(data, "columns"):
        return _Polars(name or _sized(kind, len(data)), data)
    if isinstance(data, Mapping):
        return _columns(data, name or "columns")
    if hasattr(data, "read") and hasattr(data, "readline"):
        # As an iterable it would be its lines, the header among them.
        named = getattr(data, "name", None)  # a number where it was opened by one
        what = f"The file {_shortened(named)}" if isinstance(named, str) else f"A {kind}"
        raise DataSetError(
            f"{what} was given open, and lmkit reads files by their path.",
            hint=f"Give the path of a {_SUFFIXES} file.",
        )
    if isinstance(data, Iterable) and not isinstance(data, bytes | bytearray):
        return _records(data, name, _Faults(lenient))
    raise DataSetError(
        f"A {kind} holds no rows.",
        hint="Give a DataFrame, an Arrow table, a Hugging Face data set, a list of dicts, a path.",
    )


class _Faults(dict[int, str]):
    """Rows that cannot be read; the first one is raised where there may be none."""

    def __init__(self, lenient: bool, name: str = "") -> None:
        super().__init__()
        self.lenient, self.name = lenient, name

    def add(self, row: int, said: str, hint: str = "", *, line: int = 0) -> None:
        """Note a row.

        Args:
            row: Its number.
            said: What it is or has, the rest of a sentence without its point.
            hint: What to do about it.
            line: Where it begins in the file, from 1.

        Raises:
            DataSetError: there may be none.
        """
        if not self.lenient:
            place = f"{self.name}, line {line:,} (row {row:,})" if line else f"Row {row:,}"
            raise DataSetError(f"{place} {said}.", hint=hint)
        self[row] = f"{f'Line {line:,}' if line else 'It'} {said}. {hint}".strip()


class _Frame(Table):
    """A pandas DataFrame."""

    def __init__(self, name: str, frame: Any) -> None:
        super().__init__(name, frame.columns, len(frame))
        self._frame = frame

    def _read(self, column: str, rows: Sequence[int]) -> Iterable[Any]:
        series = self._frame.iloc[:, self.columns.index(column)]
        return list(series.iloc[list(rows)])


class _Polars(Table):
    """A polars DataFrame."""

    def __init__(self, name: str, frame: Any) -> None:
        super().__init__(name, frame.columns, len(frame))
        self._frame = frame

    def _read(self, column: str, rows: Sequence[int]) -> Iterable[Any]:
        return list(self._frame.get_column(column).gather(list(rows)).to_list())


class _Arrow(Table):
    """A ``pyarrow.Table``."""

    def __init__(self, name: str, table: Any) -> None:
        super().__init__(name, table.column_names, table.num_rows)
        self._table = table

    def _read(self, column: str, rows: Sequence[int]) -> Iterable[Any]:
        cells = self._table.column(self.columns.index(column))
        if "_view" in str(cells.type):
            return [cells[int(row)].as_py() for row in rows]  # Arrow takes no rows of views
        return list(cells.take(list(rows)).to_pylist())


class _HuggingFace(Table):
    """A ``datasets.Dataset``; labels of a ClassLabel column are given by name."""

    def __init__(self, name: str, data: Any) -> None:
        super().__init__(name, data.column_names, data.num_rows)
        self._data = data

    def _read(self, column: str, rows: Sequence[int]) -> Iterable[Any]:
        # One column alone: the others (audio, images) would be decoded for nothing.
        cells = self._data.select_columns([column])[list(rows)][column]
        feature = (getattr(self._data, "features", None) or {}).get(column)
        named = getattr(feature, "int2str", None)
        inner = getattr(getattr(feature, "feature", None), "int2str", None)
        if named is not None:
            return [named(one) if _in_range(one, feature) else one for one in cells]
        if inner is not None:
            return [None if one is None else [inner(value) for value in one] for one in cells]
        return list(cells)


class _Columns(Table):
    """Python lists under names."""

    def __init__(
        self,
        name: str,
        columns: Mapping[str, Sequence[Any]],
        faults: Mapping[int, str] | None = None,
    ) -> None:
        lengths = {len(one) for one in columns.values()}
        if len(lengths) > 1:
            short = ", ".join(f"{key} {len(value):,}" for key, value in columns.items())
            raise DataSetError(f"The columns are not of one length: {short}.")
        super().__init__(name, columns, lengths.pop() if lengths else 0, faults)
        self._columns = columns

    def _read(self, column: str, rows: Sequence[int]) -> Iterable[Any]:
        values = self._columns[column]
        return [values[row] for row in rows]


class _Records(Table):
    """A list of dicts; a column that a row lacks is None there."""

    def __init__(self, name: str, rows: Sequence[Any], faults: _Faults) -> None:
        columns: dict[str, Any] = {}
        for number, row in enumerate(rows):
            if number in faults:
                continue
            if not isinstance(row, Mapping):
                what = f"is a {type(row).__name__}, not a dict"
                faults.add(number, what, "Give a list of dicts, one a row.")
                continue
            for key in row:
                columns.setdefault(str(key), key)
        if rows and len(faults) == len(rows):
            raise DataSetError(f"{name} has no row that can be read. {faults[0]}")
        super().__init__(name, columns, len(rows), faults)
        self._rows, self._keys = rows, columns

    def _read(self, column: str, rows: Sequence[int]) -> Iterable[Any]:
        key = self._keys[column]
        return [None if row in self.faults else self._rows[row].get(key) for row in rows]


def _columns(data: Mapping[Any, Any], name: str) -> Table:
    for key, cells in data.items():
        if isinstance(cells, str | bytes | Mapping) or not isinstance(cells, Iterable):
            raise DataSetError(
                f"The column {str(key)!r} is a {type(cells).__name__}, not a list of cells.",
                hint="Give a dict of lists, or a list of dicts, one a row.",
            )
    return _Columns(name, {str(key): list(cells) for key, cells in data.items()})


def _records(data: Iterable[Any], name: str, faults: _Faults) -> Table:
    rows = data if isinstance(data, Sequence) else list(data)
    name = name or _sized("list", len(rows))
    if any(isinstance(one, str) for one in rows) and not any(
        isinstance(one, Mapping) for one in rows
    ):
        # The plainest data set of all: one text a row.
        return _Columns(name, {"text": rows}, faults)
    return _Records(name, rows, faults)


def _file(path: Path, name: str, faults: _Faults) -> Table:
    suffix = path.suffix.lower()
    try:
        if path.is_dir():
            return _read_folder(path, name)
        if suffix in _CSV:
            return _read_csv(path, name, _CSV[suffix], faults)
        if suffix in (".jsonl", ".ndjson"):
            return _read_json_lines(path, name, faults)
        if suffix == ".json":
            return _read_json(path, name, faults)
        if suffix in (".parquet", ".arrow", ".feather"):
            return _Arrow(name, _read_arrow(path, name, suffix))
    except OSError as error:
        what = "is not there" if isinstance(error, FileNotFoundError) else "cannot be read"
        raise DataSetError(
            f"{_shortened(str(path))} {what}: {error.strerror or error}.", hint="Check the path."
        ) from error
    except UnicodeDecodeError as error:
        raise DataSetError(
            f"{name} is not text in UTF-8: {_where_not_utf8(path)}.",
            hint="Save it as UTF-8, or give a DataFrame that was read with its encoding.",
        ) from error
    raise DataSetError(
        f"{_shortened(name)} ends in {_shortened(suffix) or 'no suffix'}.",
        hint=f"Give a {_SUFFIXES} file.",
    )


def _where_not_utf8(path: Path) -> str:
    """The first place that is no UTF-8. Files are decoded in blocks, whose error counts in them."""
    read = path.read_bytes()
    if read.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "it is UTF-16"
    try:
        read.decode("utf-8")
    except UnicodeDecodeError as error:
        line = read.count(b"\n", 0, error.start) + 1
        return f"line {line:,} has the byte 0x{read[error.start]:02x} (byte {error.start:,})"
    return "it changed while it was read"


def _shortened(text: str) -> str:
    """A path in a sentence: what was given as one may be a whole text."""
    line = " ".join(text.split())
    return line if len(line) <= 300 else f"{line[:299]}…"


def _read_folder(path: Path, name: str) -> Table:
    try:
        import datasets
    except ImportError as error:
        raise DataSetError(
            f"To read the folder {name} takes datasets, which is not installed.",
            hint="pip install datasets",
        ) from error
    try:
        return open_rows(datasets.load_from_disk(str(path)), name)
    except (OSError, ValueError) as error:
        raise DataSetError(
            f"{name} is no folder of a data set: {_first_line(error)}.",
            hint="Give one that Dataset.save_to_disk wrote, or a file.",
        ) from error


def _read_csv(path: Path, name: str, delimiter: str, faults: _Faults) -> Table:
    quotes = delimiter == ","  # in TSV they are text
    with path.open(encoding="utf-8-sig", newline="") as file:
        if quotes:
            # Spreadsheets write what their country has in place of a comma.
            first = file.readline()
            delimiter = next((one for one in ",;\t" if one in first), ",")
            file.seek(0)
        # The largest field that a C long holds; the limit is csv's own, for the whole process,
        # and a text of 1 MB is above its default.
        before = csv.field_size_limit(2**31 - 1)
        try:
            reader = csv.reader(
                file,
                delimiter=delimiter,
                quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE,
            )
            header = [
                one if one.strip() else f"column {place}"
                for place, one in enumerate(next(reader, []), start=1)
            ]
            if not header:
                raise DataSetError(f"{name} is empty.", hint="Its first line names the columns.")
            columns: list[list[Any]] = [[] for _ in header]
            line, after, cells = 1, reader.line_num + 1, header
            for cells in reader:
                line, after = after, reader.line_num + 1
                if not cells:
                    continue  # an empty line
                if len(cells) > len(header):
                    faults.add(
                        len(columns[0]),
                        f"has {len(cells)} cells for {len(header)} columns",
                        f'Quote cells that hold the delimiter: "a{delimiter} b".',
                        line=line,
                    )
                unread = len(cells) > len(header)
                for place, column in enumerate(columns):
                    column.append(cells[place] if place < len(cells) and not unread else None)
        except csv.Error as error:
            raise DataSetError(f"{name} cannot be read as CSV: {error}.") from error
        finally:
            csv.field_size_limit(before)
    if quotes and (after - line > 1 or len(cells) < len(header)):
        _check_quotes(path, name, line)
    if len(set(header)) != len(header):
        Table.__init__(_Columns(name, {}), name, header, 0)  # raises, naming the column
    return _Columns(name, dict(zip(header, columns, strict=True)), faults)


def _check_quotes(path: Path, name: str, line: int) -> None:
    """Refuse a last row that is open to the end of the file: it holds all the rows after it."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        marks = sum(one.count('"') for one in islice(file, line - 1, None))
    if marks % 2:
        raise DataSetError(
            f"{name} cannot be read as CSV: a quotation mark of line {line:,} is never closed.",
            hint='Within a quoted cell a quotation mark is written twice: "".',
        )


def _read_json_lines(path: Path, name: str, faults: _Faults) -> Table:
    rows: list[Any] = []
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                rows.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                faults.add(len(rows), f"is not JSON: {_first_line(error)}", line=number)
                rows.append(None)
    if not rows:
        raise DataSetError(f"{name} is empty.", hint="It should have one JSON object a line.")
    return _records(rows, name, faults)


def _read_json(path: Path, name: str, faults: _Faults) -> Table:
    try:
        read = json.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError:
        raise
    except (ValueError, RecursionError) as error:
        raise DataSetError(
            f"{name} is not JSON: {_first_line(error)}.",
            hint="One object a line is JSON Lines: name the file .jsonl.",
        ) from error
    if isinstance(read, dict):
        return _columns(read, name)
    if not isinstance(read, list):
        raise DataSetError(f"{name} holds no rows.", hint="It should be a list of objects.")
    return _records(read, name, faults)


def _first_line(error: BaseException) -> str:
    return str(error).split("\n", 1)[0].rstrip(".")


def _read_arrow(path: Path, name: str, suffix: str) -> Any:
    path.stat()  # "not there" before "not installed"
    try:
        import pyarrow
    except ImportError as error:
        raise DataSetError(
            f"To read {name} takes pyarrow, which is not installed.", hint="pip install pyarrow"
        ) from error
    try:
        if suffix == ".parquet":
            from pyarrow import parquet

            return parquet.read_table(path)
        from pyarrow import feather

        return feather.read_table(path, memory_map=True)
    except pyarrow.ArrowException as error:
        what = _first_line(error).replace(str(path), name)
        raise DataSetError(f"{name} cannot be read: {what}.") from error


def _plain(value: Any) -> Any:
    """A numpy scalar as Python's own."""
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "shape", None) == ():
        return item()
    tolist = getattr(value, "tolist", None)
    return tolist() if callable(tolist) and not isinstance(value, str) else value


def _in_range(value: Any, feature: Any) -> bool:
    return isinstance(value, int) and 0 <= value < int(getattr(feature, "num_classes", 0))


def _is_dict_of_splits(data: Mapping[Any, Any]) -> bool:
    return bool(data) and all(hasattr(one, "num_rows") for one in data.values())


def _sized(kind: str, count: int) -> str:
    return f"{kind}, {count:,} row{'s' if count != 1 else ''}"
