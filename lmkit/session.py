"""The session of one kernel: open views, running work, and the answer to every request.

A channel carries messages to and from one copy of a view; the session knows no transport. Requests
are only queued by the caller's thread: one thread answers what is quick, two compute tiles (see
:mod:`lmkit.tile_queue`), one asks views, one runs tasks, so that a Stop or a click is heard while a
run computes.
"""

from __future__ import annotations

import functools
import logging
import queue
import sys
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from lmkit.api import Job, LoadedModel, Task
from lmkit.api import Table as ResultTable
from lmkit.datasets import RowRun, Table, map_columns, open_rows
from lmkit.declarations import fields_of, row_fields_of
from lmkit.errors import (
    Cancelled,
    DataSetError,
    LmkitError,
    ProtocolError,
    TaskError,
    UnknownSessionError,
    UnknownViewError,
    WrongModelKindError,
)
from lmkit.fields import check_values, defaults
from lmkit.host import PluginHost, RegisteredTask
from lmkit.jobs import JobWatch
from lmkit.lending import LentTools
from lmkit.protocol.codec import decode_request, error_info, state_of
from lmkit.protocol.messages import (
    PROTOCOL,
    Accepted,
    Action,
    Advanced,
    Answer,
    Answered,
    Cancel,
    CancelledAnswer,
    Done,
    Edit,
    ErrorAnswer,
    Event,
    Export,
    Exported,
    Header,
    Hello,
    JobInfo,
    Outgoing,
    Progress,
    Query,
    Request,
    Result,
    Rows,
    Run,
    SavedAnswer,
    Select,
    Selection,
    Status,
    TileAnswer,
    TileHeader,
    TileRequest,
    ViewSpec,
    Welcome,
)
from lmkit.rows import RowResults
from lmkit.runner import (
    check_job,
    check_partial,
    list_views,
    report_rows,
    run_rows,
    run_task,
    run_view,
)
from lmkit.tile_queue import BACKGROUND, TileQueue
from lmkit.trace_cache import TraceCache
from lmkit.version import __version__
from lmkit.views.data_set import DataSetPart
from lmkit.views.lenses import LENSES
from lmkit.views.panel import Outcome, PanelView
from lmkit.work import Work, doing

if TYPE_CHECKING:
    from lmkit.models import ModelStore

__all__ = ["Channel", "ServedView", "Session", "TaskPanel"]

_log = logging.getLogger("lmkit")

MAX_COPIES = 8
"""Copies of one view that are told of its changes. A page that is reloaded closes no comm."""


MAX_PROBLEMS = 1_000
"""Problems of rows that the report lists; Python has them all."""


class Channel(Protocol):
    """Carries messages to one copy of a view. ``send`` is called from several threads."""

    def send(self, message: Outgoing, buffers: Sequence[bytes] = ()) -> None:
        """Send one answer or event."""
        ...


class ServedView(Protocol):
    """What the session asks of a view."""

    id: str

    def spec(self) -> ViewSpec:
        """The whole view as it is now."""
        ...

    def listen(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Be told of changes; returns the undo."""
        ...


class Exporter(Protocol):
    """Makes a file of a view, for its Save menu."""

    def __call__(self, view: PanelView, request: Export) -> tuple[str, str, bytes, tuple[str, ...]]:
        """The file's name, MIME type, bytes, and what it leaves out."""
        ...


@dataclass
class TaskPanel:
    """A panel's view, with what a run of it needs."""

    view: PanelView
    registered: RegisteredTask
    source: Any
    options: Mapping[str, Any] = field(default_factory=dict)
    work: Work | None = None
    save: Callable[..., Any] | None = None
    table: Table | None = None
    rows: RowRun | None = None
    row_values: Mapping[str, Any] = field(default_factory=dict)
    watch: JobWatch | None = None


class Session:
    """All that one kernel shows and does.

    Args:
        host: The plugins.
        models: The loaded models.
        traces: The captures of open views.
    """

    def __init__(
        self, host: PluginHost, models: ModelStore, traces: TraceCache | None = None
    ) -> None:
        self.id = str(uuid.uuid4())
        self.host = host
        self.models = models
        self.traces = traces or TraceCache()
        self.find_data: Callable[[str], Any] | None = None
        """Looks up a data set that a panel names: a variable of the notebook; None if not there."""
        self._views: dict[str, ServedView] = {}
        self._panels: dict[str, TaskPanel] = {}
        self._actions: dict[str, Callable[[str, str], None]] = {}
        self._offers: dict[str, Callable[[Session], ServedView]] = {}
        self._watchers: list[Callable[[], None]] = []
        self._exporters: dict[str, Exporter] = {}
        self._subscriptions: dict[tuple[int, str], tuple[Channel, Callable[[], None]]] = {}
        self._works: dict[str, Work] = {}
        self._queued: dict[str, tuple[Future[None], TaskPanel]] = {}
        self._inbox: queue.SimpleQueue[tuple[Any, Channel] | None] = queue.SimpleQueue()
        self._tiles = TileQueue()
        self._asked = ThreadPoolExecutor(1, thread_name_prefix="lmkit-views")
        self._runs = ThreadPoolExecutor(1, thread_name_prefix="lmkit-runs")
        self._pending: dict[tuple[str, str], Future[None]] = {}
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None

    # -- views ------------------------------------------------------------------------------------

    def open_panel(
        self,
        registered: RegisteredTask,
        source: Any,
        *,
        model_name: str,
        values: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        python: Callable[[Mapping[str, Any], Selection | None], str] | None = None,
        export: Exporter | None = None,
        save: Callable[..., Any] | None = None,
    ) -> TaskPanel:
        """Open a panel of a task on a model that is loaded at the first run.

        Args:
            registered: The task.
            source: What ``ModelStore.get`` takes.
            model_name: How the header names the model before it is loaded.
            values: Field values to start with; checked.
            options: Further arguments of ``ModelStore.get``.
            python: Makes the lines of "Copy as Python".
            export: Makes the files of the Save menu.
            save: Writes a file: ``save(view, path, **options)``.

        Raises:
            FieldError: a value that a field does not take.
        """
        task = registered.task
        fields = fields_of(task)
        started = defaults(fields) | check_values(fields, values or {}, complete=False)
        header = Header(task=task.name, title=task.title or task.name, model=model_name)
        view = PanelView(
            str(uuid.uuid4()), header, fields, started, python,
            lenses=tuple(LENSES.values()),
            views=functools.partial(list_views, self.host),
            data_set=_data_set_of(registered),
        )  # fmt: skip
        panel = TaskPanel(view, registered, source, dict(options or {}), save=save)
        with self._lock:
            self._views[view.id] = view
            self._panels[view.id] = panel
            if export is not None:
                self._exporters[view.id] = export
        self._changed()
        return panel

    def open_view(
        self,
        view: ServedView,
        act: Callable[[str, str], None] | None = None,
        *,
        export: Exporter | None = None,
    ) -> None:
        """Serve a view that is no task's panel.

        Args:
            view: The view.
            act: Carries out its buttons: ``act(name, argument)``.
            export: Makes the files of its Save menu.
        """
        with self._lock:
            self._views[view.id] = view
            if act is not None:
                self._actions[view.id] = act
            if export is not None:
                self._exporters[view.id] = export

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
                self.traces.use(panel.view.id, trace)

        def shown(info: JobInfo, results: Sequence[Any]) -> None:
            panel.view.show_job(info, check_job(panel.registered, results))
            self._changed()

        with self._lock:
            if panel.watch is not None:
                panel.watch.end()
            watch = panel.watch = JobWatch(job, LentTools(lambda: self.models), shown, attention)
            self._actions[panel.view.id] = lambda name, _: watch.act(name)
        watch.begin(patience)

    def offer(self, name: str, opener: Callable[[Session], ServedView]) -> None:
        """Serve a view that any page may ask for by its name, opened when one does.

        Args:
            name: The view's id, the same in every kernel.
            opener: Opens the view with :meth:`open_view`, under that id.
        """
        self._offers[name] = opener

    def on_change(self, listener: Callable[[], None]) -> None:
        """Be told when panels have been opened or closed and when a run has ended."""
        self._watchers.append(listener)

    def _changed(self) -> None:
        for listener in list(self._watchers):
            try:
                listener()
            except Exception:
                # What is told of a run must not end it.
                _log.warning("A view of the kernel could not be renewed.", exc_info=True)

    def close(self, view: str) -> None:
        """Forget a view and release its capture; a run in progress is stopped."""
        with self._lock:
            panel = self._panels.pop(view, None)
            self._views.pop(view, None)
            self._actions.pop(view, None)
            self._exporters.pop(view, None)
            gone = [key for key in self._subscriptions if key[1] == view]
            undos = [self._subscriptions.pop(key)[1] for key in gone]
        for undo in undos:
            undo()
        if panel is not None and panel.work is not None:
            panel.work.cancel()
        if panel is not None and panel.watch is not None:
            panel.watch.end()
        self.traces.drop(view)
        self.traces.drop(_before(view))
        if panel is not None:
            self._changed()

    @property
    def panels(self) -> tuple[TaskPanel, ...]:
        """The open panels of tasks, the newest last."""
        with self._lock:
            return tuple(self._panels.values())

    @property
    def views(self) -> frozenset[str]:
        """Ids of the open views."""
        with self._lock:
            return frozenset(self._views)

    def view(self, identity: str) -> ServedView:
        """The open view of this id; raises UnknownViewError."""
        found = self._views.get(identity)
        if found is None:
            raise UnknownViewError(
                "This view is not open in the kernel any more.", hint="Run the cell again."
            )
        return found

    # -- running ----------------------------------------------------------------------------------

    def run_now(self, panel: TaskPanel, values: Mapping[str, Any] | None = None) -> Outcome:
        """Run a panel's task in this thread, as a cell does; an interrupt stops it.

        Raises:
            LmkitError: whatever the run raised; the panel shows it too.
            KeyboardInterrupt: passed on, so that "Run all" stops; the panel shows "stopped".
        """
        return self._carry_out(panel, *self._begin(panel, values))

    def start(self, panel: TaskPanel, values: Mapping[str, Any] | None = None) -> str:
        """Queue a run of a panel's task off this thread; returns the run's id."""
        return self._enqueue(panel, values)

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

    def _enqueue(self, panel: TaskPanel, values: Mapping[str, Any] | None, run: str = "") -> str:
        run, work, checked = self._begin(panel, values, run)

        def carry_out() -> None:
            with self._lock:  # waits until the future below is registered
                self._queued.pop(run, None)
            self._carry_out_quietly(panel, run, work, checked)

        with self._lock:
            self._queued[run] = (self._runs.submit(carry_out), panel)
        return run

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
            with doing(work):
                work.report("Loading the model")
                model = self.load(panel)
                work.report("Running")
            outcome = run_task(self.host, panel.registered, model, values, work)
        except (Cancelled, KeyboardInterrupt) as error:
            view.stop(run)
            work.let_go(error, outer)
            raise
        except BaseException as error:
            view.fail(run, error_info(error))
            work.let_go(error, outer)
            raise
        finally:
            self._end(panel, run, work)
        if outcome.trace is not None and view.id in self._views:
            self.traces.use(view.id, outcome.trace)  # type: ignore[arg-type]
        view.finish(run, outcome, self._header(panel, model))
        if outcome.job is not None:
            self.follow(panel, outcome.job)
        if view.previous is not None and view.id in self._views:
            # Kept to be compared with; the first to go where memory is short.
            self.traces.use(_before(view.id), view.previous)  # type: ignore[arg-type]
            if outcome.trace is not None:
                self.traces.use(view.id, outcome.trace)  # type: ignore[arg-type]
        self._changed()
        return outcome

    def _carry_out_quietly(
        self, panel: TaskPanel, run: str, work: Work, values: Mapping[str, Any]
    ) -> None:
        try:
            self._carry_out(panel, run, work, values)
        except Exception:
            # The panel shows it; there is no cell to raise in.
            _log.debug("A run of %s failed.", panel.registered.task.name, exc_info=True)

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

        def carry_out() -> None:
            with self._lock:  # waits until the future below is registered
                self._queued.pop(run, None)
            try:
                self._carry_out_rows(panel, run, work, checked, None)
            except Exception:
                # The panel shows it; there is no cell to raise in.
                _log.debug("A run over rows failed.", exc_info=True)

        with self._lock:
            self._queued[run] = (self._runs.submit(carry_out), panel)
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
            run_rows(self.host, panel.registered, model, rows, values, work)
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
            made = report_rows(self.host, panel.registered, results, values)
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
            model: LoadedModel = self.models.get(source, task.auto_class, **options)
        except WrongModelKindError as error:
            raise self.host.with_fitting(error) from error
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

    # -- messages ---------------------------------------------------------------------------------

    def receive(self, data: Any, channel: Channel) -> None:
        """Queue a message that a channel brought; returns at once. Answers go to the channel."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._dispatch, name="lmkit-session", daemon=True
                )
                self._thread.start()
        self._inbox.put((data, channel))

    def leave(self, channel: Channel) -> None:
        """A channel is gone: stop sending to it. Views and runs stay."""
        with self._lock:
            gone = [key for key in self._subscriptions if key[0] == id(channel)]
            undos = [self._subscriptions.pop(key)[1] for key in gone]
        for undo in undos:
            undo()

    def stop(self) -> None:
        """Stop all work and threads; used at the end of a process and by tests."""
        for work in list(self._works.values()):
            work.cancel()
        if self._thread is not None:
            self._inbox.put(None)
            self._thread.join(timeout=5)
        self._tiles.stop()
        self._asked.shutdown(wait=True, cancel_futures=True)
        self._runs.shutdown(wait=True, cancel_futures=True)

    def _dispatch(self) -> None:
        while (item := self._inbox.get()) is not None:
            data, channel = item
            try:
                request = decode_request(data)
            except ProtocolError as error:
                identity, view = _ids(data)
                self._send(channel, ErrorAnswer(id=identity, view=view, error=error_info(error)))
                continue
            if isinstance(request, TileRequest):
                self._queue_tile(request, channel)
            elif isinstance(request, Query | Export):
                self._queue_query(request, channel)
            elif (
                isinstance(request, Action)
                or request.view in self._offers
                or (isinstance(request, Rows) and request.do != "run")
            ):
                # Not here: what a button does may take long, and so may the first look at a kernel,
                # which imports torch to ask for its devices.
                self._tiles.submit(functools.partial(self._answer, request, channel))
            else:
                self._answer(request, channel)

    def _queue_tile(self, request: TileRequest, channel: Channel) -> None:
        self._tiles.submit(
            functools.partial(self._answer, request, channel),
            name=(request.view, request.id),
            rank=BACKGROUND.get(request.key.partition("/")[0]),
        )

    def _queue_query(self, request: Query | Export, channel: Channel) -> None:
        key = (request.view, request.id)

        def compute() -> None:
            with self._lock:  # waits until the future below is registered
                self._pending.pop(key, None)
            self._answer(request, channel)

        with self._lock:
            self._pending[key] = self._asked.submit(compute)

    def _answer(
        self, request: Request, channel: Channel, stopped: Callable[[], bool] | None = None
    ) -> None:
        answer, buffers = self.handle(request, channel, stopped)
        self._send(channel, answer, buffers)

    @staticmethod
    def _send(channel: Channel, message: Outgoing, buffers: Sequence[bytes] = ()) -> None:
        try:
            channel.send(message, buffers)
        except Exception:
            # The other side is gone; there is no one to tell.
            _log.debug("A message could not be sent.", exc_info=True)

    def handle(
        self, request: Request, channel: Channel, stopped: Callable[[], bool] | None = None
    ) -> tuple[Answer, list[bytes]]:
        """Answer one request in this thread; never raises.

        Args:
            request: The request.
            channel: Where its events go.
            stopped: Asked now and then while a tile is computed; True gives it up.

        Returns:
            The answer and its binary buffers. A run is queued and its events go to the channel.
        """
        try:
            return self._handle(request, channel, stopped)
        except Exception as error:
            info = error_info(error)
            return ErrorAnswer(id=request.id, view=request.view, error=info), []

    def _handle(
        self, request: Request, channel: Channel, stopped: Callable[[], bool] | None
    ) -> tuple[Answer, list[bytes]]:
        buffers: list[bytes] = []
        answer: Answer
        if isinstance(request, Hello):
            answer = self._welcome(request, channel)
        elif isinstance(request, TileRequest):
            header, data = self.tile(request.view, request.key, cancel=stopped)
            answer = TileAnswer(id=request.id, view=request.view, tile=header)
            buffers = [data]
        elif isinstance(request, Query):
            results = self._query(request, channel)
            answer = Answered(id=request.id, view=request.view, results=results)
        elif isinstance(request, Cancel):
            key = (request.view, request.target)
            if not self._tiles.cancel(key):
                future = self._pending.pop(key, None)
                if future is not None:
                    future.cancel()
                self.cancel(request.target)
            answer = CancelledAnswer(id=request.id, view=request.view)
        elif isinstance(request, Export):
            answer, data = self._export(request)
            buffers = [data]
        elif isinstance(request, Action):
            act = self._actions.get(request.view)
            self.view(request.view)
            if act is None:
                raise ProtocolError(f"This view has no button {request.name!r}.")
            act(request.name, request.argument)
            answer = Done(id=request.id, view=request.view)
        elif isinstance(request, Select):
            chosen = self.view(request.view)
            if not isinstance(chosen, PanelView):
                raise ProtocolError("There is nothing to choose in this view.")
            chosen.select(request.selection)
            answer = Done(id=request.id, view=request.view)
        else:
            panel = self.panel(request.view)
            if isinstance(request, Run):
                self._enqueue(panel, request.values, run=request.id)
                answer = Accepted(id=request.id, view=request.view)
            elif isinstance(request, Rows):
                answer = self._rows(panel, request)
            else:
                assert isinstance(request, Edit)
                fields = fields_of(panel.registered.task)
                current = {**panel.view.values, **request.values}
                panel.view.edit(check_values(fields, current, complete=False))
                answer = Done(id=request.id, view=request.view)
        return answer, buffers

    def _rows(self, panel: TaskPanel, request: Rows) -> Answer:
        mapping: dict[str, str | None] = {**request.mapping}
        if request.do == "run":
            # A page sends its whole form; the texts in it are not those of the rows.
            task = panel.registered.task
            names = {one.name for one in (*row_fields_of(task), *task.report_fields)}
            values = {name: value for name, value in request.values.items() if name in names}
            self.start_rows(panel, values, mapping, run=request.id)
            return Accepted(id=request.id, view=request.view)
        if request.do == "open":
            data = self.find_data(request.source) if self.find_data is not None else None
            self.open_rows(panel, request.source if data is None else data, mapping)
        else:
            self.report(panel, request.values)
        return Done(id=request.id, view=request.view)

    def panel(self, identity: str) -> TaskPanel:
        """The open panel of this id.

        Raises:
            UnknownViewError: no such view.
            ProtocolError: the view is no task's panel.
        """
        self.view(identity)
        panel = self._panels.get(identity)
        if panel is None:
            raise ProtocolError("This view has no form.")
        return panel

    def tile(
        self,
        view: str,
        key: str,
        *,
        fine: bool = False,
        cancel: Callable[[], bool] | None = None,
    ) -> tuple[TileHeader, bytes]:
        """Compute a tile of a view; a capture that was evicted is made again."""
        served = self.view(view)
        if not isinstance(served, PanelView):
            raise ProtocolError("This view has no tiles.")
        header, data = served.tile(key, fine=fine, cancel=cancel)
        if served.tiles is not None:
            self.traces.use(view, served.tiles.trace)  # type: ignore[arg-type]
        return header, data

    def ask(
        self,
        view: PanelView,
        name: str,
        values: Mapping[str, Any],
        selection: Selection,
        work: Work,
    ) -> tuple[Result, ...]:
        """Ask a view of a plugin about the pass behind a panel, in this thread.

        Raises:
            LmkitError: there is no such view, or no pass, or whatever the view raised.
        """
        registered = self.host.view(name)
        tiles = view.tiles
        if tiles is None:
            raise ProtocolError("This panel has no attention yet.", hint="Press Run.")
        results = run_view(self.host, registered, tiles.trace, values, tiles.plain(selection), work)
        if view.id in self._views:
            self.traces.use(view.id, tiles.trace)  # type: ignore[arg-type]
        asked = {**defaults(tuple(registered.view.fields)), **values}
        view.keep_answer(
            SavedAnswer(name=name, arguments=asked, selection=selection, results=results),
            tiles.trace,
        )
        return results

    def _query(self, request: Query, channel: Channel) -> tuple[Result, ...]:
        served = self.view(request.view)
        if not isinstance(served, PanelView):
            raise ProtocolError("This view cannot be asked for others.")

        def tell(progress: Progress) -> None:
            self._send(channel, Advanced(view=request.view, request=request.id, progress=progress))

        work = Work(on_progress=tell)
        with self._lock:
            self._works[request.id] = work
        try:
            return self.ask(served, request.name, request.arguments, request.selection, work)
        finally:
            with self._lock:
                self._works.pop(request.id, None)

    def _export(self, request: Export) -> tuple[Exported, bytes]:
        view = self.view(request.view)
        make = self._exporters.get(request.view)
        if make is None or not isinstance(view, PanelView):
            raise ProtocolError("This view cannot be saved as a file.")
        name, mime, data, notes = make(view, request)
        if view.tiles is not None:
            self.traces.use(request.view, view.tiles.trace)  # type: ignore[arg-type]
        answer = Exported(id=request.id, view=request.view, name=name, mime=mime, notes=notes)
        return answer, data

    def _welcome(self, request: Hello, channel: Channel) -> Welcome:
        if request.protocol != PROTOCOL:
            raise ProtocolError(
                f"The view speaks protocol {request.protocol}, the kernel {PROTOCOL}.",
                hint=f"Install the same lmkit on both sides: the kernel has {__version__}, "
                f"the view {request.version or 'an unknown version'}.",
            )
        opener = self._offers.get(request.view)
        if opener is not None:
            with self._lock:
                if request.view not in self._views:
                    opener(self)
        elif request.session != self.id:
            raise UnknownSessionError(
                "This view was made by a kernel that has been restarted.",
                hint="Run the cell again to go live.",
            )
        view = self.view(request.view)
        key = (id(channel), view.id)
        with self._lock:
            if key not in self._subscriptions:
                # The channel is held so that its id() is not given to another one.
                undo = view.listen(lambda event: self._send(channel, event))
                self._subscriptions[key] = (channel, undo)
            copies = [one for one in self._subscriptions if one[1] == view.id]
            stale = [self._subscriptions.pop(one)[1] for one in copies[:-MAX_COPIES]]
        for undo in stale:
            undo()
        spec = view.spec()
        return Welcome(
            id=request.id,
            view=request.view,
            session=self.id,
            version=__version__,
            spec=None if request.state and request.state == state_of(spec) else spec,
        )


def _data_set_of(registered: RegisteredTask) -> DataSetPart | None:
    task = registered.task
    if not task.columns:
        return None
    fields = tuple(task.report_fields)
    return DataSetPart(columns=tuple(task.columns), fields=fields, values=defaults(fields))


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
    return " ".join(parts)


def _before(view: str) -> str:
    """Under which name the pass of a view's run before is kept."""
    return f"{view}/before"


def _ids(data: Any) -> tuple[str, str]:
    """The ids of a message that could not be read, as far as they can be made out."""
    found = []
    for name in ("id", "view"):
        value = data.get(name) if isinstance(data, Mapping) else None
        found.append(value[:64] if isinstance(value, str) and value else "unknown")
    return found[0], found[1]
