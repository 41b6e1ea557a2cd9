"""The open views of one kernel, what is kept for each of them, and who is told of its changes.

A view is opened once and shown by as many copies as pages have of it; each comes with a channel.
"""

from __future__ import annotations

import functools
import logging
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from lmkit.datasets import RowRun, Table
from lmkit.declarations import fields_of
from lmkit.errors import ProtocolError, UnknownViewError
from lmkit.fields import check_values, defaults
from lmkit.host import PluginHost, RegisteredTask
from lmkit.jobs import JobWatch
from lmkit.protocol.messages import Event, Export, Header, Outgoing, Selection, ViewSpec
from lmkit.runner import list_views
from lmkit.trace_cache import TraceCache
from lmkit.views.data_set import DataSetPart
from lmkit.views.lenses import LENSES
from lmkit.views.panel import PanelView
from lmkit.work import Work

__all__ = ["Channel", "Exporter", "OpenViews", "ServedView", "TaskPanel", "send"]

_log = logging.getLogger("lmkit")

MAX_COPIES = 8
"""Copies of one view that are told of its changes. A page that is reloaded closes no comm."""


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


class OpenViews:
    """The open views of a session.

    Args:
        host: The plugins, whose views every panel offers.
        traces: The captures of the views; that of a closed one goes.
    """

    def __init__(self, host: PluginHost, traces: TraceCache) -> None:
        self._host = host
        self._traces = traces
        self._views: dict[str, ServedView] = {}
        self._panels: dict[str, TaskPanel] = {}
        self._actions: dict[str, Callable[[str, str], None]] = {}
        self._exporters: dict[str, Exporter] = {}
        self._offers: dict[str, Callable[[], ServedView]] = {}
        self._watchers: list[Callable[[], None]] = []
        self._subscriptions: dict[tuple[int, str], tuple[Channel, Callable[[], None]]] = {}
        self._lock = threading.RLock()

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
            views=functools.partial(list_views, self._host),
            data_set=_data_set_of(registered),
        )  # fmt: skip
        panel = TaskPanel(view, registered, source, dict(options or {}), save=save)
        with self._lock:
            self._views[view.id] = view
            self._panels[view.id] = panel
            if export is not None:
                self._exporters[view.id] = export
        self.changed()
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

    def offer(self, name: str, opener: Callable[[], ServedView]) -> None:
        """Serve a view that any page may ask for by its name, opened when one does.

        Args:
            name: The view's id, the same in every kernel.
            opener: Opens the view with :meth:`open_view`, under that id.
        """
        self._offers[name] = opener

    def on_change(self, listener: Callable[[], None]) -> None:
        """Be told when panels have been opened or closed and when a run has ended."""
        self._watchers.append(listener)

    def offered(self, identity: str) -> bool:
        """Whether any page may ask for this view."""
        return identity in self._offers

    def changed(self) -> None:
        """Tell those who watch that a panel has changed what it shows."""
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
        self._traces.drop(view)
        self._traces.drop(before(view))
        if panel is not None:
            self.changed()

    @property
    def panels(self) -> tuple[TaskPanel, ...]:
        """The open panels of tasks, the newest last."""
        with self._lock:
            return tuple(self._panels.values())

    def __contains__(self, identity: str) -> bool:
        """Whether the view of this id is open."""
        return identity in self._views

    def on_action(self, identity: str, act: Callable[[str, str], None]) -> None:
        """Say what carries out a view's buttons from now on: ``act(name, argument)``."""
        with self._lock:
            self._actions[identity] = act

    def action(self, identity: str) -> Callable[[str, str], None] | None:
        """What carries out the buttons of a view; None where it has none."""
        return self._actions.get(identity)

    def exporter(self, identity: str) -> Exporter | None:
        """What makes the files of a view's Save menu; None where it has none."""
        return self._exporters.get(identity)

    def view(self, identity: str) -> ServedView:
        """The open view of this id; raises UnknownViewError."""
        found = self._views.get(identity)
        if found is None:
            raise UnknownViewError(
                "This view is not open in the kernel any more.", hint="Run the cell again."
            )
        return found

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

    def leave(self, channel: Channel) -> None:
        """A channel is gone: stop sending to it. Views and runs stay."""
        with self._lock:
            gone = [key for key in self._subscriptions if key[0] == id(channel)]
            undos = [self._subscriptions.pop(key)[1] for key in gone]
        for undo in undos:
            undo()

    def serve(self, identity: str, channel: Channel) -> ServedView:
        """The view of this id, whose changes the channel is told from now on.

        A view that was offered is opened if it is not yet.

        Raises:
            UnknownViewError: no such view.
        """
        opener = self._offers.get(identity)
        with self._lock:
            if opener is not None and identity not in self._views:
                opener()
        view = self.view(identity)
        key = (id(channel), view.id)
        with self._lock:
            if key not in self._subscriptions:
                # The channel is held so that its id() is not given to another one.
                undo = view.listen(lambda event: send(channel, event))
                self._subscriptions[key] = (channel, undo)
            copies = [one for one in self._subscriptions if one[1] == view.id]
            stale = [self._subscriptions.pop(one)[1] for one in copies[:-MAX_COPIES]]
        for undo in stale:
            undo()
        return view


def _data_set_of(registered: RegisteredTask) -> DataSetPart | None:
    task = registered.task
    if not task.columns:
        return None
    fields = tuple(task.report_fields)
    return DataSetPart(columns=tuple(task.columns), fields=fields, values=defaults(fields))


def before(view: str) -> str:
    """Under which name the pass of a view's run before is kept."""
    return f"{view}/before"


def send(channel: Channel, message: Outgoing, buffers: Sequence[bytes] = ()) -> None:
    """Send a message to a channel; one whose other side is gone is no error."""
    try:
        channel.send(message, buffers)
    except Exception:
        _log.debug("A message could not be sent.", exc_info=True)
