"""``python -m lmkit serve --stdio``: this process's session for an editor, without a port.

One connection, one session: the model stays loaded as long as the editor keeps the process. What
views ask goes to :meth:`lmkit.session.Session.receive`, as from any other carrier; the rest says
what there is and opens views (:mod:`lmkit.protocol.rpc`).
"""

from __future__ import annotations

import logging
import os
import platform
import sys
import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import msgspec

from lmkit.api import Job
from lmkit.cells import cell_of
from lmkit.declarations import fields_of
from lmkit.errors import LmkitError, ProtocolError
from lmkit.fields import taken
from lmkit.host import RegisteredTask
from lmkit.protocol import rpc
from lmkit.protocol.codec import decode_request, to_builtins
from lmkit.protocol.messages import (
    PROTOCOL,
    Answer,
    Cancel,
    Export,
    Outgoing,
    Query,
    Run,
    TextField,
    TileRequest,
)
from lmkit.session import Session
from lmkit.transports.stdio import INVALID_PARAMS, Call, Endpoint, Method, RpcError, guard_stdio
from lmkit.version import __version__

__all__ = ["Server", "serve_stdio"]

_log = logging.getLogger("lmkit")

PATIENCE = 5.0
"""Seconds that work in progress has to end in when the editor has gone."""

Params = TypeVar("Params")


class Server:
    """Answers one editor.

    Args:
        session: Gives the session; called once, off the reading thread.
        reader: Where requests come from.
        writer: Where answers and events go.
    """

    def __init__(self, session: Callable[[], Session], reader: BinaryIO, writer: BinaryIO) -> None:
        self._make = session
        self._session: Session | None = None
        self._lock = threading.Lock()
        self._asked: dict[tuple[str, str], Call] = {}
        self._slow = ThreadPoolExecutor(1, thread_name_prefix="lmkit-serve")
        # A long text's takes seconds, and nobody waits for it: what is asked meanwhile goes before.
        self._snapshots = ThreadPoolExecutor(1, thread_name_prefix="lmkit-snapshot")
        self._stopping = threading.Event()
        methods: dict[str, Method] = {
            "initialize": self._slowly(rpc.Initialize, self._initialize),
            "tasks": self._slowly(None, self._tasks),
            "plugins": self._slowly(None, self._plugins),
            "models": self._slowly(None, self._models),
            "starters": self._slowly(None, self._starters),
            "devices": self._slowly(None, self._devices),
            "runs/list": self._slowly(None, self._runs),
            "runs/read": self._slowly(rpc.RunName, self._read_run),
            "runs/act": self._slowly(rpc.RunAct, self._act_on_run),
            "action": self._slowly(rpc.Act, self._act),
            "complete": self._slowly(rpc.Complete, self._complete),
            "open": self._slowly(rpc.OpenTask, self._open),
            "openHome": self._slowly(None, self._open_home),
            "close": self._slowly(rpc.CloseView, self._close),
            "snapshot": self._slowly(rpc.CloseView, self._snapshot, self._snapshots),
            "newPlugin": self._slowly(rpc.NewPlugin, self._new_plugin),
            "request": self._request,
            "ping": self._ping,
            "shutdown": self._shutdown,
        }
        self.endpoint = Endpoint(reader, writer, methods)

    def stop(self) -> None:
        """Stop all work; for when the editor has gone."""
        self._stopping.set()
        if self._session is not None:
            self._session.views.leave(self)
            self._session.stop()
        for pool in (self._slow, self._snapshots):
            pool.shutdown(wait=True, cancel_futures=True)

    @property
    def session(self) -> Session:
        """The session, made when it is first needed."""
        with self._lock:
            if self._session is None:
                self._session = self._make()
            return self._session

    @property
    def waiting(self) -> int:
        """Messages of views that have no answer yet."""
        with self._lock:
            return len(self._asked)

    # -- messages of views: this is the session's channel ------------------------------------------

    def send(self, message: Outgoing, buffers: Sequence[bytes] = ()) -> None:
        """An answer or event of the session; from any thread."""
        if not isinstance(message, Answer):
            self.endpoint.notify("event", {"message": message})
            return
        with self._lock:
            call = self._asked.pop((message.view, message.id), None)
        if call is not None:  # else it was cancelled in the meantime
            call.answer({"message": message, "data": list(buffers)})

    def _request(self, call: Call, params: Any) -> None:
        data = params.get("message") if isinstance(params, dict) else None
        request = decode_request(data)  # a ProtocolError becomes the call's error
        key = (request.view, request.id)

        def give_up() -> None:
            """The editor cancelled: tell the session, which may never answer now."""
            with self._lock:
                if self._asked.get(key) is not call:
                    return
                del self._asked[key]
            if isinstance(request, TileRequest | Query | Export | Run):
                self._cancel(request.view, request.id)
            call.drop()

        with self._lock:
            if key in self._asked:
                raise RpcError(INVALID_PARAMS, "A message of this view and id waits already.")
            self._asked[key] = call
            target = (request.view, request.target) if isinstance(request, Cancel) else None
            stopped = None if target == key else self._asked.pop(target, None) if target else None
        call.cancel = give_up
        # The session is ready when the first view has been opened; until then there is none to ask.
        self.session.receive(data, self)
        if stopped is not None:
            stopped.drop()  # the session answers no tile that was given up

    def _cancel(self, view: str, target: str) -> None:
        message = Cancel(id=str(uuid.uuid4()), view=view, target=target)
        self.session.receive(to_builtins(message), self)

    # -- what there is -----------------------------------------------------------------------------

    def _slowly(
        self,
        shape: type[Params] | None,
        work: Callable[..., Any],
        pool: ThreadPoolExecutor | None = None,
    ) -> Method:
        """A method that runs off the reading thread, one after the other of its pool."""

        def begin(call: Call, params: Any) -> None:
            arguments: tuple[Any, ...] = ()
            if shape is not None:
                try:
                    arguments = (msgspec.convert(params if params is not None else {}, shape),)
                except (msgspec.ValidationError, RecursionError) as error:
                    raise RpcError(INVALID_PARAMS, f"The arguments do not fit: {error}.") from error

            def carry_out() -> None:
                try:
                    call.answer(work(*arguments))
                except BaseException as error:
                    if not isinstance(error, LmkitError):
                        _log.error("A request of the editor failed.", exc_info=True)
                    call.fail(error)

            future = (pool or self._slow).submit(carry_out)

            def give_up() -> None:
                if future.cancel():  # what has begun is answered as it ends
                    call.drop()

            call.cancel = give_up

        return begin

    def _initialize(self, asked: rpc.Initialize) -> rpc.Initialized:
        if asked.protocol != PROTOCOL:
            raise ProtocolError(
                f"The editor speaks protocol {asked.protocol}, this Python {PROTOCOL}.",
                hint=f"Install the same lmkit on both sides: Python has {__version__}, "
                f"the editor {asked.client or 'an unknown version'}.",
            )
        return rpc.Initialized(
            session=self.session.id,
            protocol=PROTOCOL,
            version=__version__,
            python=platform.python_version(),
            executable=sys.executable,
        )

    def _tasks(self) -> rpc.TaskList:
        return rpc.TaskList(tasks=tuple(_declare(one) for one in self.session.host.tasks))

    def _plugins(self) -> rpc.PluginList:
        return rpc.PluginList(plugins=tuple(one.info() for one in self.session.host.plugins))

    def _models(self) -> rpc.ModelList:
        return rpc.ModelList(models=tuple(self.session.models.list()))

    def _runs(self) -> rpc.RunList:
        return rpc.RunList(runs=tuple(job.info() for job in self.session.host.jobs()[:1_000]))

    def _job(self, name: str) -> Job:
        for job in self.session.host.jobs():
            if job.info().name == name:
                return job
        raise ProtocolError(f"There is no run {name!r}.", hint="runs/list names those that are.")

    def _read_run(self, params: rpc.RunName) -> rpc.RunContent:
        job = self._job(params.name)
        info = job.info()
        return rpc.RunContent(run=info, results=tuple(job.results()))

    def _act_on_run(self, params: rpc.RunAct) -> rpc.RunContent:
        self._job(params.name).act(params.action)
        return self._read_run(params)

    def _starters(self) -> rpc.StarterList:
        from lmkit.home import starters

        return rpc.StarterList(starters=starters())

    def _devices(self) -> rpc.DeviceList:
        from lmkit.models import devices

        return rpc.DeviceList(devices=tuple(devices(self.session.models.device)))

    def _act(self, asked: rpc.Act) -> None:
        from lmkit.home import act

        act(self.session, asked.name, asked.argument)

    def _complete(self, asked: rpc.Complete) -> rpc.Completions:
        from lmkit.completion import complete

        words = complete(asked.line)
        return rpc.Completions(words=None if words is None else tuple(words))

    # -- views -------------------------------------------------------------------------------------

    def _open(self, asked: rpc.OpenTask) -> rpc.Opened:
        from lmkit.kit import follow_job, open_task

        registered = self.session.host.task(asked.task)
        values = taken(fields_of(registered.task), asked.values)
        panel = open_task(self.session, registered, asked.model, values, {})
        follow_job(self.session, panel)
        return rpc.Opened(session=self.session.id, view=panel.view.id)

    def _open_home(self) -> rpc.Opened:
        from lmkit.home import open_home

        view = open_home(self.session)
        return rpc.Opened(session=self.session.id, view=view.id)

    def _close(self, asked: rpc.CloseView) -> None:
        self.session.views.close(asked.view)

    def _snapshot(self, asked: rpc.CloseView) -> Any:
        from lmkit.transports.snapshot import snapshot

        views = self.session.views

        def gone() -> bool:
            return self._stopping.is_set() or asked.view not in views

        try:
            made = snapshot(views.panel(asked.view).view, None, cancel=gone)
        except Exception:
            views.panel(asked.view)  # one that was closed meanwhile: that is what there is to say
            raise
        views.panel(asked.view)
        return made

    def _new_plugin(self, asked: rpc.NewPlugin) -> rpc.NewPluginMade:
        from lmkit.scaffold import write_plugin

        made = write_plugin(asked.name, Path(asked.folder))
        return rpc.NewPluginMade(folder=str(made.folder), main=str(made.main))

    def _ping(self, call: Call, _: Any) -> None:
        call.answer(None)  # in the reading thread: at once, whatever is being computed

    def _shutdown(self, call: Call, _: Any) -> None:
        call.answer(None)
        self.endpoint.end()


def _declare(registered: RegisteredTask) -> rpc.TaskDeclaration:
    info, task = registered.info(), registered.task
    fields = fields_of(task)
    body = next((one.name for one in fields if isinstance(one, TextField) and one.body), "")
    return rpc.TaskDeclaration(
        name=info.name, title=info.title, plugin=info.plugin, help=info.help,
        default_model=task.default_model, body=body, fields=tuple(fields),
        cell=cell_of(task),
    )  # fmt: skip


def serve_stdio() -> int:
    """Serve an editor on standard input and output until it goes; returns the exit status."""
    reader, writer = guard_stdio()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")

    def session() -> Session:
        from lmkit.kernel_session import current_session

        return current_session()

    server = Server(session, reader, writer)
    server.endpoint.serve()
    # A plugin that hears no Stop must not keep an editor's child alive.
    ending = threading.Thread(target=server.stop, name="lmkit-end", daemon=True)
    ending.start()
    ending.join(PATIENCE)
    sys.stderr.flush()
    os._exit(0)
