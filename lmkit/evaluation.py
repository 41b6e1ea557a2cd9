"""What a task found for the rows of a data set, as a Python object that shows itself as a panel."""

from __future__ import annotations

import csv
import json
import os
import warnings
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.api import Result, Table
from lmkit.datasets.distributed import Processes
from lmkit.errors import SaveError
from lmkit.in_process import InProcess
from lmkit.open_views import TaskPanel
from lmkit.protocol.codec import to_builtins
from lmkit.protocol.messages import ErrorInfo
from lmkit.rows import RowProblem, RowResults
from lmkit.session import Session
from lmkit.transports.terminal import terminal_progress

if TYPE_CHECKING:
    from lmkit.transports.widget import Panel

__all__ = ["Evaluation", "folder_named"]

_FILES = frozenset(
    {".csv", ".tsv", ".jsonl", ".json", ".html", ".xlsx", ".parquet", ".arrow", ".feather", ".txt"}
)
MEASURES = ("measure", "value")
"""Columns of a table that holds scores by name."""


def folder_named(folder: str | os.PathLike[str]) -> Path:
    """Where an evaluation is saved.

    Raises:
        SaveError: it is named like a file, which whoever says so would look for in vain.
    """
    path = Path(folder)
    if path.suffix.lower() in _FILES and not path.is_dir():
        raise SaveError(
            f"{path} is named like a file, and an evaluation writes a folder.",
            hint="Give a folder's name; in Python to_pandas() gives a table that writes files.",
        )
    return path


class Evaluation(InProcess):
    """A data set that went through a task. Made by :meth:`lmkit.Kit.evaluate`.

    In a notebook it shows itself: scores, charts, the table of rows; a click on a row explores it.
    """

    _instead = "Take its rows, .rows or .to_pandas(), or save it: .save('folder')."

    def __init__(self, session: Session, panel: TaskPanel, processes: Processes | None) -> None:
        self._session = session
        self._panel = panel
        self._processes = processes
        self._widget: Any = None
        # One that is never shown needs no open view: it goes with this object.
        self._closer = weakref.finalize(self, session.views.close, panel.view.id)
        self._closer.atexit = False

    def _run(self, values: Mapping[str, Any]) -> None:
        several = self._processes
        quiet = several is not None and not several.first
        try:
            with terminal_progress(self._panel.view, quiet=quiet):
                self._session.runs.run_rows_now(
                    self._panel,
                    values,
                    share=(0, 1) if several is None else (several.rank, several.count),
                    gather=None if several is None else several.gather,
                )
        except KeyboardInterrupt:
            # An interrupt is how a cell is stopped; to lose an hour's rows to it helps nobody.
            if not len(self.done):
                raise
        if self.error is not None:
            warnings.warn(f"{self.error.message} {self.error.hint}".strip(), stacklevel=3)
        elif self.stopped:
            warnings.warn(f"{self.note} resume() goes on.".strip(), stacklevel=3)

    def resume(self) -> Evaluation:
        """Go on where the run was stopped; returns itself."""
        if self.stopped:
            self._run({})
        return self

    def report(self, **values: Any) -> Evaluation:
        """Make the report again with other values of its fields, without a run of the model.

        Raises:
            FieldError: a value that a field does not take.
        """
        self._session.runs.report(self._panel, values)
        return self

    @property
    def done(self) -> RowResults:
        """The rows that are done, with their outputs and problems."""
        assert self._panel.rows is not None
        return self._panel.rows.results()

    @property
    def stopped(self) -> bool:
        """Whether rows are left because the run was stopped."""
        return self.done.stopped

    @property
    def error(self) -> ErrorInfo | None:
        """What ended the run or the report before its time; None where all went well."""
        return self._panel.view.status.error

    @property
    def problems(self) -> tuple[RowProblem, ...]:
        """What was wrong with rows, ascending."""
        return tuple(self.done.problems)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One dict for each row that is done: ``row``, the mapped columns, what was found.

        What a task finds under the name of a mapped column stands in its place: a label by its
        name, say, where the data set has an index.
        """
        return list(self._rows())

    def _rows(self) -> Iterator[dict[str, Any]]:
        for row, output in self.done:
            cells = {name: to_builtins(value) for name, value in row.values.items()}
            yield {"row": row.index, **cells, **output}

    @property
    def results(self) -> tuple[Result, ...]:
        """The report: tables, charts, matrices."""
        part = self._panel.view.data_set
        return part.results if part is not None else ()

    @property
    def scores(self) -> dict[str, float | None]:
        """Numbers of the report by name: those of its tables of measures."""
        found: dict[str, Any] = {}
        for result in self.results:
            if isinstance(result, Table) and result.columns == MEASURES:
                found.update((str(name), value) for name, value in result.rows)
        return found

    @property
    def note(self) -> str:
        """What must be said first: that it was stopped, how many rows were left out."""
        part = self._panel.view.data_set
        return part.note if part is not None else ""

    def to_pandas(self) -> Any:
        """The rows as a ``pandas.DataFrame``, indexed by row number.

        Raises:
            ImportError: pandas is not installed.
        """
        import pandas

        frame = pandas.DataFrame(self.rows)
        return frame.set_index("row") if len(frame) else frame

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the rows, their problems and the report into a folder.

        ``rows.jsonl`` has one object a row, ``problems.csv`` one line a problem, ``report.json``
        the scores and all results, ``report.html`` the view, which needs nothing else. Of several
        processes the first writes; all have the same rows.

        Raises:
            SaveError: the folder cannot be written, or is named like a file.
        """
        from lmkit.transports.html import standalone, to_html
        from lmkit.transports.picture import describe, draw
        from lmkit.transports.snapshot import snapshot

        path = folder_named(folder)
        if self._processes is not None and not self._processes.first:
            return path
        try:
            path.mkdir(parents=True, exist_ok=True)
            with (path / "rows.jsonl").open("w", encoding="utf-8") as file:
                for row in self._rows():
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
            with (path / "problems.csv").open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(("row", "column", "problem"))
                writer.writerows((one.row, one.column, one.message) for one in self.problems)
            report = {
                "source": self.done.source,
                "total": self.done.total,
                "done": len(self.done),
                "note": self.note,
                "scores": self.scores,
                "results": [to_builtins(result) for result in self.results],
            }
            text = json.dumps(report, ensure_ascii=False, indent=1)
            (path / "report.json").write_text(text + "\n", encoding="utf-8")
            bundle = snapshot(self._panel.view, None)
            fragment = to_html(bundle, draw(bundle), describe(bundle.spec))
            title = self._panel.registered.task.title
            (path / "report.html").write_text(standalone([fragment], title), encoding="utf-8")
        except OSError as error:
            raise SaveError(
                f"{path} cannot be written: {error.strerror or error}.",
                hint="Give a folder that can be made.",
            ) from error
        return path

    @property
    def panel(self) -> Panel:
        """The live panel as an ipywidget."""
        if self._widget is None:
            from lmkit.transports.widget import panel_class

            self._widget = panel_class(self._panel.registered)(self._session, self._panel)
            self._widget._shown_by(self)
            self._closer.detach()
        return self._widget  # type: ignore[no-any-return]

    def __len__(self) -> int:
        return len(self.done)

    def __repr__(self) -> str:
        done = self.done
        head = f"<lmkit.Evaluation of {done.source}: {len(done):,} of {done.total:,} rows"
        scores = ", ".join(
            f"{name} {value:.4g}" for name, value in self.scores.items() if value is not None
        )
        return f"{head}{'; ' if scores else ''}{scores}>"

    def _ipython_display_(self) -> None:
        self.panel._ipython_display_()

    def _display_(self) -> Panel:
        return self.panel  # marimo's protocol
