"""Runs of tasks: on the values of a panel's form, and on the rows of its data set.

One thread carries out what pages start, one run after another; a cell runs its own in its thread.
"""

from __future__ import annotations

import functools
import logging
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lmkit.api import Job, LoadedModel, Task
from lmkit.api import Table as ResultTable
from lmkit.datasets import RowRun, cut_note, map_columns, open_rows, with_cuts
from lmkit.declarations import fields_of, row_fields_of
from lmkit.errors import (
    Cancelled,
    DataSetError,
    LmkitError,
    TaskError,
    WrongModelKindError,
)
from lmkit.fields import check_values
from lmkit.host import PluginHost
from lmkit.jobs import JobWatch
from lmkit.lending import LentTools
from lmkit.open_views import OpenViews, TaskPanel, before
from lmkit.protocol.codec import error_info
from lmkit.protocol.messages import Header, JobInfo, Result, Status
from lmkit.rows import RowResults
from lmkit.runner import check_job, check_partial, report_rows, run_rows, run_task
from lmkit.trace_cache import TraceCache
from lmkit.views.data_set import DataSetPart
from lmkit.views.panel import Outcome
from lmkit.work import Work, doing

if TYPE_CHECKING:
    from lmkit.models import ModelStore

__all__ = ["TaskRuns"]

_log = logging.getLogger("lmkit")

MAX_PROBLEMS = 1_000
"""Problems of rows that the report lists; Python has them all."""


class TaskRuns:
    """The runs of a session's panels.

    Args:
        host: The plugins.
        models: The loaded models.
        traces: The captures, of which each run leaves one.
        views: The open views.
    """

    def __init__(
        self, host: PluginHost, models: ModelStore, traces: TraceCache, views: OpenViews
    ) -> None:
        self._host = host
        self._models = models
        self._traces = traces
        self._views = views
        self._works: dict[str, Work] = {}
        self._queued: dict[str, tuple[Future[None], TaskPanel]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lmkit-runs")
        self._lock = threading.RLock()

    def run_now(self, panel: TaskPanel, values: Mapping[str, Any] | None = None) -> Outcome:
        """Run a panel's task in this thread, as a cell does; an interrupt stops it.

        Raises:
            LmkitError: whatever the run raised; the panel shows it too.
            KeyboardInterrupt: passed on, so that "Run all" stops; the panel shows "stopped".
        """
        return self._carry_out(panel, *self._begin(panel, values))

    def start(
        self, panel: TaskPanel, values: Mapping[str, Any] | None = None, run: str = ""
    ) -> str:
        """Queue a run of a panel's task off this thread; returns the run's id."""
        run, work, checked = self._begin(panel, values, run)
        self._queue(panel, run, lambda: self._carry_out(panel, run, work, checked))
        return run

    def cancel(self, run: str) -> bool:
        """Ask a run to stop; False when there is no such run any more."""
        with self._lock:
            work = self._works.get(run)
            queued = self._queued.get(run)
        if work is None:
            return False
        work.cancel()
        if queued is not None and queued[0].cancel():  # it waits behind another run
            with self._lock:
                self._queued.pop(run, None)
            self._end(queued[1], run, work)
            queued[1].view.stop(run)
        return True

    @contextmanager
    def cancellable(self, run: str, work: Work) -> Iterator[None]:
        """Have :meth:`cancel` reach work that is no run of a panel, while it is done."""
        with self._lock:
            self._works[run] = work
        try:
            yield
        finally:
            with self._lock:
                self._works.pop(run, None)

    def cancel_all(self) -> None:
        """Ask all that runs to stop."""
        with self._lock:
            works = list(self._works.values())
        for work in works:
            work.cancel()

    def stop(self) -> None:
        """Wait for the run in progress and end the thread; what is queued is given up."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _begin(
        self, panel: TaskPanel, values: Mapping[str, Any] | None, run: str = ""
    ) -> tuple[str, Work, dict[str, Any]]:
        fields = fields_of(panel.registered.task)
        checked = check_values(fields, {**panel.view.values, **(values or {})})
        panel.view.edit(checked)
        run, work = self._start_work(panel, run)
        return run, work, checked

    def _start_work(self, panel: TaskPanel, run: str = "") -> tuple[str, Work]:
        """A run of a panel begins; an earlier one of it is stopped."""
        run = run or str(uuid.uuid4())
        work = Work(
            on_progress=functools.partial(panel.view.advance, run),
            on_results=lambda found: panel.view.show(run, check_partial(panel.registered, found)),
        )
        with self._lock:
            earlier, panel.work = panel.work, work
            self._works[run] = work
        if earlier is not None:
            earlier.cancel()  # Run was pressed again: only the newest values are wanted
        panel.view.begin(run, "Waiting")
        return run, work

    def _queue(self, panel: TaskPanel, run: str, carry_out: Callable[[], object]) -> None:
        def quietly() -> None:
            with self._lock:  # waits until the future below is registered
                self._queued.pop(run, None)
            try:
                carry_out()
            except Exception:
                # The panel shows it; there is no cell to raise in.
                _log.debug("A run of %s failed.", panel.registered.task.name, exc_info=True)

        with self._lock:
            self._queued[run] = (self._thread.submit(quietly), panel)

    def _end(self, panel: TaskPanel, run: str, work: Work) -> None:
        with self._lock:
            self._works.pop(run, None)
            if panel.work is work:
                panel.work = None

    def _carry_out(
        self, panel: TaskPanel, run: str, work: Work, values: Mapping[str, Any]
    ) -> Outcome:
        view = panel.view
        outer = sys.exception()
        try:
            try:
                with doing(work):
                    work.report("Loading the model")
                    model = self.load(panel)
                    work.report("Running")
                outcome = run_task(self._host, panel.registered, model, values, work)
            finally:
                self._end(panel, run, work)  # before it is told: who hears of it may run again
        except (Cancelled, KeyboardInterrupt) as error:
            view.stop(run)
            work.let_go(error, outer)
            raise
        except BaseException as error:
            view.fail(run, error_info(error))
            work.let_go(error, outer)
            raise
        if outcome.trace is not None and view.id in self._views:
            self._traces.use(view.id, outcome.trace)  # type: ignore[arg-type]
        view.finish(run, outcome, self._header(panel, model))
        if outcome.job is not None:
            self.follow(panel, outcome.job)
        if view.previous is not None and view.id in self._views:
            # Kept to be compared with; the first to go where memory is short.
            self._traces.use(before(view.id), view.previous)  # type: ignore[arg-type]
            if outcome.trace is not None:
                self._traces.use(view.id, outcome.trace)  # type: ignore[arg-type]
        self._views.changed()
        return outcome

    def follow(self, panel: TaskPanel, job: Job, patience: float = 0.0) -> None:
        """Have a panel draw a job from now on, in place of what it followed before.

        Args:
            panel: The panel.
            job: The job.
            patience: See :meth:`lmkit.jobs.JobWatch.begin`.
        """

        def attention(trace: Any, note: str) -> None:
            panel.view.show_job_attention(trace, note)
            if trace is not None and panel.view.id in self._views:
                self._traces.use(panel.view.id, trace)

        def shown(info: JobInfo, results: Sequence[Any]) -> None:
            panel.view.show_job(info, check_job(panel.registered, results))
            self._views.changed()

        with self._lock:
            if panel.watch is not None:
                panel.watch.end()
            watch = panel.watch = JobWatch(job, LentTools(lambda: self._models), shown, attention)
            self._views.on_action(panel.view.id, lambda name, _: watch.act(name))
        watch.begin(patience)

    # -- data sets --------------------------------------------------------------------------------

    def open_rows(self, panel: TaskPanel, data: Any, mapping: Mapping[str, str | None]) -> None:
        """Give a panel a data set; what was shown of another one goes.

        Args:
            panel: The panel of a task that reads data sets.
            data: As :func:`lmkit.datasets.open_rows`.
            mapping: Names of its columns by the task's, as far as the user says.

        Raises:
            DataSetError: it cannot be read, or a column is not there.
        """
        part = self._part(panel)
        table = open_rows(data, lenient=True)
        if not table.count:
            raise DataSetError(f"{table.name} has no rows.", hint="Give a data set with some.")
        task = panel.registered.task
        mapped = map_columns(table, task.columns, mapping)
        panel.table, panel.rows = table, None
        panel.view.show_data_set(
            DataSetPart(
                columns=part.columns,
                fields=part.fields,
                values=part.values,
                source=table.name,
                available=table.columns,
                mapping=mapped,
                rows=table.count,
            )
        )

    def run_rows_now(
        self,
        panel: TaskPanel,
        values: Mapping[str, Any] | None = None,
        mapping: Mapping[str, str | None] | None = None,
        *,
        share: tuple[int, int] = (0, 1),
        gather: Callable[[RowRun], None] | None = None,
    ) -> RowResults:
        """Send a panel's data set through its task in this thread; an interrupt stops it.

        A run that was stopped before goes on where it was.

        Args:
            panel: The panel, with its data set.
            values: Values of fields that are no columns, and of the report's; the others stay.
            mapping: Columns, where they are others than before.
            share: Which of how many processes this is.
            gather: Brings the rows of all processes together in each of them.

        Raises:
            LmkitError: what the run raised before a row was done. Later the panel's status holds
                the error, and what is done is shown and stays.
        """
        run, work, checked = self._begin_rows(panel, values, mapping)
        work.share = share
        return self._carry_out_rows(panel, run, work, checked, gather)

    def start_rows(
        self,
        panel: TaskPanel,
        values: Mapping[str, Any] | None = None,
        mapping: Mapping[str, str | None] | None = None,
        run: str = "",
    ) -> str:
        """Queue a run of a panel's data set off this thread; returns the run's id."""
        run, work, checked = self._begin_rows(panel, values, mapping, run)
        self._queue(panel, run, lambda: self._carry_out_rows(panel, run, work, checked, None))
        return run

    def report(self, panel: TaskPanel, values: Mapping[str, Any]) -> None:
        """Make the report on a panel's rows again, with other values of its fields.

        Raises:
            FieldError: a value that a field does not take.
            LmkitError: whatever the report raised.
        """
        part = self._part(panel)
        task = panel.registered.task
        chosen = check_values(tuple(task.report_fields), {**part.values, **values})
        part = replace(part, values=chosen)
        if panel.rows is not None:
            part = self._reported(panel, part, panel.rows.results())
        panel.view.show_data_set(part)

    def _part(self, panel: TaskPanel) -> DataSetPart:
        part = panel.view.data_set
        if part is None:
            name = panel.registered.task.name
            raise TaskError(
                f"The task {name} reads no data sets.", hint="Call it once for each text."
            )
        return part

    def _begin_rows(
        self,
        panel: TaskPanel,
        values: Mapping[str, Any] | None,
        mapping: Mapping[str, str | None] | None,
        run: str = "",
    ) -> tuple[str, Work, dict[str, Any]]:
        part, task, table = self._part(panel), panel.registered.task, panel.table
        if table is None:
            raise DataSetError("There is no data set yet.", hint="Open one first.")
        reporting = {one.name for one in task.report_fields}
        given = dict(values or {})
        fields = row_fields_of(task)
        names = {one.name for one in fields}
        current = {name: value for name, value in panel.view.values.items() if name in names}
        mine = {name: value for name, value in given.items() if name not in reporting}
        checked = check_values(fields, {**current, **mine})
        chosen = check_values(
            tuple(task.report_fields),
            {**part.values, **{name: given[name] for name in given if name in reporting}},
        )
        wanted = {**part.mapping, **(mapping or {})}
        mapped = map_columns(table, task.columns, {**_all_unmapped(task), **wanted})
        same = panel.rows is not None and panel.rows.mapping == mapped
        if not (same and panel.row_values == checked and panel.rows and panel.rows.left):
            panel.rows = RowRun(table, task.columns, mapped)
            part = replace(part, results=(), done=0, stopped=False, note="")
        panel.row_values = checked
        panel.view.edit(checked)
        panel.view.show_data_set(replace(part, values=chosen, mapping=mapped))
        run, work = self._start_work(panel, run)
        return run, work, checked

    def _carry_out_rows(
        self,
        panel: TaskPanel,
        run: str,
        work: Work,
        values: Mapping[str, Any],
        gather: Callable[[RowRun], None] | None,
    ) -> RowResults:
        rows, view = panel.rows, panel.view
        assert rows is not None
        header, status = view.header, Status(state="done")
        failure: BaseException | None = None
        outer = sys.exception()
        try:
            with doing(work):
                work.report("Loading the model")
                model = self.load(panel)
                header = self._header(panel, model)
            run_rows(self._host, panel.registered, model, rows, values, work)
        except (Cancelled, KeyboardInterrupt) as error:
            status, failure = Status(state="cancelled"), error
        except BaseException as error:
            status, failure = Status(state="error", error=error_info(error)), error
        finally:
            self._end(panel, run, work)
        if failure is not None:
            work.let_go(failure, outer)
        if gather is not None:
            gather(rows)
        results = rows.results()
        part = self._part(panel)
        try:
            part = self._reported(panel, part, results)
        except LmkitError as error:
            status, failure = Status(state="error", error=error_info(error)), failure or error
        if status.state == "cancelled":
            status = Status(state="cancelled", kept=len(results) > 0)
        view.finish_rows(run, part, header, status)
        if isinstance(failure, Cancelled) or (isinstance(failure, LmkitError) and len(results)):
            return results  # the panel says why there are no more
        if failure is not None:
            raise failure
        return results

    def _reported(self, panel: TaskPanel, part: DataSetPart, results: RowResults) -> DataSetPart:
        if not len(results) and not results.problems:
            return replace(part, results=(), done=0, stopped=False, note="")
        made: tuple[Result, ...] = ()
        if len(results):
            values = {**panel.row_values, **part.values}
            made = with_cuts(results, report_rows(self._host, panel.registered, results, values))
        if results.problems:
            made = (*made, _problem_table(results))
        return replace(
            part,
            results=made,
            done=len(results),
            stopped=results.stopped,
            note=_note(results),
        )

    def load(self, panel: TaskPanel) -> LoadedModel:
        """The panel's model, loaded if it is not yet."""
        return self.load_for(panel.registered.task, panel.source, panel.options)

    def load_for(self, task: type[Task], source: Any, options: Mapping[str, Any]) -> LoadedModel:
        """A model for a task.

        Raises:
            WrongModelKindError: it is of another kind; the hint names the tasks that fit it.
            ModelError: anything else that keeps it from loading.
        """
        try:
            model: LoadedModel = self._models.get(source, task.auto_class, **options)
        except WrongModelKindError as error:
            raise self._host.with_fitting(error) from error
        return model

    @staticmethod
    def _header(panel: TaskPanel, model: LoadedModel) -> Header:
        old = panel.view.header
        return Header(
            task=old.task,
            title=old.title,
            model=model.name,
            device=str(model.device),
            dtype=model.dtype,
        )


def _all_unmapped(task: type[Task]) -> dict[str, str | None]:
    """Once a data set is open, a column that is not mapped is meant so."""
    return dict.fromkeys(column.name for column in task.columns)


def _problem_table(results: RowResults) -> ResultTable:
    shown = results.problems[:MAX_PROBLEMS]
    more = len(results.problems) - len(shown)
    return ResultTable(
        title="Rows with problems",
        columns=("row", "column", "problem"),
        rows=tuple((one.row, one.column, one.message) for one in shown),
        note=f"{more:,} more are not shown." if more else "",
    )


def _note(results: RowResults) -> str:
    parts = []
    if results.stopped:
        parts.append(f"Stopped: {len(results):,} of {results.total:,} rows are done.")
    out = len({one.row for one in results.problems} - {row.index for row in results.rows})
    if out:
        rows = "row was" if out == 1 else "rows were"
        parts.append(f"{out:,} {rows} left out; the table of problems says why.")
    cut = cut_note(results)
    if cut:
        parts.append(cut)
    return " ".join(parts)
