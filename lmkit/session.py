"""The session of one kernel: the answer to every request.

A channel carries messages to and from one copy of a view; the session knows no transport. Which
views are open is kept in :mod:`lmkit.open_views`, what runs in :mod:`lmkit.task_runs`. Requests are
only queued by the caller's thread: one thread answers what is quick, two compute tiles (see
:mod:`lmkit.tile_queue`), one asks views, one runs tasks, so that a Stop or a click is heard while a
run computes.
"""

from __future__ import annotations

import functools
import queue
import threading
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from lmkit.declarations import fields_of, row_fields_of
from lmkit.errors import ProtocolError, UnknownSessionError
from lmkit.fields import check_values, defaults
from lmkit.host import PluginHost
from lmkit.open_views import Channel, OpenViews, TaskPanel, send
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
    Export,
    Exported,
    Hello,
    Progress,
    Query,
    Request,
    Result,
    Rows,
    Run,
    SavedAnswer,
    Select,
    Selection,
    TileAnswer,
    TileHeader,
    TileRequest,
    Welcome,
)
from lmkit.runner import run_view
from lmkit.shown_outputs import ShownOutputs
from lmkit.task_runs import TaskRuns
from lmkit.tile_queue import BACKGROUND, TileQueue
from lmkit.trace_cache import TraceCache
from lmkit.version import __version__
from lmkit.views.panel import PanelView
from lmkit.work import Work

if TYPE_CHECKING:
    from lmkit.models import ModelStore

__all__ = ["Session"]


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
        self.views = OpenViews(host, self.traces)
        self.outputs = ShownOutputs()
        self.runs = TaskRuns(host, models, self.traces, self.views)
        self._inbox: queue.SimpleQueue[tuple[Any, Channel] | None] = queue.SimpleQueue()
        self._tiles = TileQueue()
        self._asked = ThreadPoolExecutor(1, thread_name_prefix="lmkit-views")
        self._pending: dict[tuple[str, str], Future[None]] = {}
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None

    def receive(self, data: Any, channel: Channel) -> None:
        """Queue a message that a channel brought; returns at once. Answers go to the channel."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._dispatch, name="lmkit-session", daemon=True
                )
                self._thread.start()
        self._inbox.put((data, channel))

    def stop(self) -> None:
        """Stop all work and threads; used at the end of a process and by tests."""
        self.runs.cancel_all()
        if self._thread is not None:
            self._inbox.put(None)
            self._thread.join(timeout=5)
        self._tiles.stop()
        self._asked.shutdown(wait=True, cancel_futures=True)
        self.runs.stop()

    def _dispatch(self) -> None:
        while (item := self._inbox.get()) is not None:
            data, channel = item
            try:
                request = decode_request(data)
            except ProtocolError as error:
                identity, view = _ids(data)
                send(channel, ErrorAnswer(id=identity, view=view, error=error_info(error)))
                continue
            if isinstance(request, TileRequest):
                self._queue_tile(request, channel)
            elif isinstance(request, Query | Export):
                self._queue_query(request, channel)
            elif (
                isinstance(request, Action)
                or self.views.offered(request.view)
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
        send(channel, answer, buffers)

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
                self.runs.cancel(request.target)
            answer = CancelledAnswer(id=request.id, view=request.view)
        elif isinstance(request, Export):
            answer, data = self._export(request)
            buffers = [data]
        elif isinstance(request, Action):
            self.views.view(request.view)
            act = self.views.action(request.view)
            if act is None:
                raise ProtocolError(f"This view has no button {request.name!r}.")
            act(request.name, request.argument)
            answer = Done(id=request.id, view=request.view)
        elif isinstance(request, Select):
            chosen = self.views.view(request.view)
            if not isinstance(chosen, PanelView):
                raise ProtocolError("There is nothing to choose in this view.")
            chosen.select(request.selection)
            answer = Done(id=request.id, view=request.view)
        else:
            panel = self.views.panel(request.view)
            if isinstance(request, Run):
                self.runs.start(panel, request.values, run=request.id)
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
            self.runs.start_rows(panel, values, mapping, run=request.id)
            return Accepted(id=request.id, view=request.view)
        if request.do == "open":
            data = self.find_data(request.source) if self.find_data is not None else None
            self.runs.open_rows(panel, request.source if data is None else data, mapping)
        else:
            self.runs.report(panel, request.values)
        return Done(id=request.id, view=request.view)

    def tile(
        self,
        view: str,
        key: str,
        *,
        fine: bool = False,
        cancel: Callable[[], bool] | None = None,
    ) -> tuple[TileHeader, bytes]:
        """Compute a tile of a view; a capture that was evicted is made again."""
        served = self.views.view(view)
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
        if view.id in self.views:
            self.traces.use(view.id, tiles.trace)  # type: ignore[arg-type]
        asked = {**defaults(tuple(registered.view.fields)), **values}
        view.keep_answer(
            SavedAnswer(name=name, arguments=asked, selection=selection, results=results),
            tiles.trace,
        )
        return results

    def _query(self, request: Query, channel: Channel) -> tuple[Result, ...]:
        served = self.views.view(request.view)
        if not isinstance(served, PanelView):
            raise ProtocolError("This view cannot be asked for others.")

        def tell(progress: Progress) -> None:
            send(channel, Advanced(view=request.view, request=request.id, progress=progress))

        work = Work(on_progress=tell)
        with self.runs.cancellable(request.id, work):
            return self.ask(served, request.name, request.arguments, request.selection, work)

    def _export(self, request: Export) -> tuple[Exported, bytes]:
        view = self.views.view(request.view)
        make = self.views.exporter(request.view)
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
        if request.session != self.id and not self.views.offered(request.view):
            raise UnknownSessionError(
                "This view was made by a kernel that has been restarted.",
                hint="Run the cell again to go live.",
            )
        view = self.views.serve(request.view, channel)
        spec = view.spec()
        return Welcome(
            id=request.id,
            view=request.view,
            session=self.id,
            version=__version__,
            spec=None if request.state and request.state == state_of(spec) else spec,
        )


def _ids(data: Any) -> tuple[str, str]:
    """The ids of a message that could not be read, as far as they can be made out."""
    found = []
    for name in ("id", "view"):
        value = data.get(name) if isinstance(data, Mapping) else None
        found.append(value[:64] if isinstance(value, str) and value else "unknown")
    return found[0], found[1]
