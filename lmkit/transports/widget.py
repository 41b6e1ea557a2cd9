"""The panel as an anywidget: an ipywidgets ``DOMWidget`` whose fields and result are traits."""

from __future__ import annotations

import logging
import os
import sys
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import anywidget
import traitlets

from lmkit.declarations import fields_of
from lmkit.errors import FieldError
from lmkit.fields import check_value
from lmkit.host import RegisteredTask
from lmkit.open_views import ServedView, TaskPanel
from lmkit.panels.forms import bound_widgets, field_trait
from lmkit.protocol.codec import to_builtins
from lmkit.protocol.messages import Event, Outgoing, Partial, Selection, StatusChanged
from lmkit.session import Session
from lmkit.transports.assets import core_source, loader_source
from lmkit.transports.comm import TARGET, register
from lmkit.transports.main_thread import call_on_main
from lmkit.transports.mimebundle import mimebundle
from lmkit.transports.replaced import note_shown
from lmkit.views.panel import Outcome, PanelView

__all__ = ["ExplorerWidget", "Panel", "ViewWidget", "panel_class"]


_log = logging.getLogger("lmkit")

REST = 1.0
"""Seconds without a change after which the saved output is renewed."""


class RefusedValueError(FieldError, traitlets.TraitError):
    """A trait was given a value that its field does not take."""


class WidgetChannel:
    """Sends a view's messages as custom messages of its widget."""

    def __init__(self, widget: ViewWidget) -> None:
        self._widget = widget

    def send(self, message: Outgoing, buffers: Sequence[bytes] = ()) -> None:
        """Send a message; from any thread."""
        self._widget.send(to_builtins(message), list(buffers))


class ViewWidget(anywidget.AnyWidget):
    """Any view of lmkit as a widget.

    The module sent to the page is a small loader; the renderer itself is sent once a page, when
    the loader asks for it.
    """

    _session = traitlets.Unicode().tag(sync=True)
    _view = traitlets.Unicode().tag(sync=True)

    def __init__(self, session: Session, view: ServedView, **traits: Any) -> None:
        self._served = session
        self._served_view = view
        self._shown = False
        self._filling = False
        self._timer: threading.Timer | None = None
        self._owner: weakref.ref[Any] | None = None
        self._ends_with_owner: weakref.finalize[..., Any] | None = None
        super().__init__(_session=session.id, _view=view.id, _esm=loader_source(), **traits)
        self._channel = WidgetChannel(self)
        self.on_msg(self._receive)

    def _shown_by(self, owner: Any) -> None:
        """Say what object shows itself as this widget."""
        self._owner = weakref.ref(owner)

    def _end_with_owner(self, wanted: bool) -> None:
        """Close, or not, once nothing holds the object that shows itself as this widget."""
        if self._ends_with_owner is not None:
            self._ends_with_owner.detach()
            self._ends_with_owner = None
        if wanted:
            self._ends_with_owner = weakref.finalize(self._shows(), self.close)
            self._ends_with_owner.atexit = False

    def _shows(self) -> Any:
        """The object that shows itself as this widget; itself where none does."""
        owner = self._owner() if self._owner is not None else None
        return self if owner is None else owner

    def _receive(self, _: Any, content: Any, buffers: Any) -> None:
        if isinstance(content, dict) and content.get("type") == "lmkit-core":
            self.send({"type": "lmkit-core", "code": core_source()})
        else:
            self._served.receive(content, self._channel)

    def _repr_mimebundle_(self, **_: Any) -> Any:
        widget = super()._repr_mimebundle_()
        data, metadata = widget if isinstance(widget, tuple) else (widget or {}, {})
        reference = data.get("application/vnd.jupyter.widget-view+json")
        forms = mimebundle(self._served, self._served_view, widget=reference)
        return forms, metadata

    def _ipython_display_(self) -> None:
        # An execute_result has no identity; a display with one can be filled in later.
        self._shown = True
        note_shown(self)
        self._be_reachable()
        self._publish(self._repr_mimebundle_(), update=False)

    def _be_reachable(self) -> None:
        """Let the page's comm find the session, also where nobody loaded the extension."""
        from IPython.core.interactiveshell import InteractiveShell

        if not InteractiveShell.initialized():
            return
        shell = InteractiveShell.instance()
        manager = getattr(getattr(shell, "kernel", None), "comm_manager", None)
        if manager is not None and TARGET not in manager.targets:
            served = self._served  # and not self: the target stays, this widget need not
            register(manager, lambda: served)

    @property
    def display_id(self) -> str:
        """Identity of this view's output, so that it can be filled in later."""
        return f"lmkit-{self._view}"

    def _publish(self, bundle: tuple[dict[str, Any], dict[str, Any]], *, update: bool) -> None:
        from IPython.core.interactiveshell import InteractiveShell

        if not InteractiveShell.initialized():
            sys.stdout.write(bundle[0]["text/plain"] + "\n")
            return
        InteractiveShell.instance().display_pub.publish(
            bundle[0], bundle[1], transient={"display_id": self.display_id}, update=update
        )

    def _save_soon(self) -> None:
        """Let the notebook keep what is shown now, once the user has come to rest."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(REST, self._save)
        self._timer.daemon = True
        self._timer.start()

    def _save_if_shown(self) -> None:
        if self._shown and not self._filling:
            self._save_soon()

    def _save(self) -> None:
        try:
            bundle = self._repr_mimebundle_()
            call_on_main(lambda: self._publish(bundle, update=True))
        except Exception:
            # The output keeps its last saved form; the live view is not touched.
            _log.warning("This panel's saved output could not be renewed.", exc_info=True)

    def close(self) -> None:
        """Close the widget; its view is forgotten and its capture released."""
        if sys.is_finalizing():
            return  # ipywidgets would import what the interpreter has already put away
        timer = getattr(self, "_timer", None)
        if timer is not None:
            timer.cancel()
        served: Session | None = getattr(self, "_served", None)
        if served is not None:
            served.views.leave(self._channel)
            served.views.close(self._served_view.id)
        super().close()


class ExplorerWidget(ViewWidget):
    """The explorer of a pass that no task made. ``selection`` is what all copies of it show."""

    selection = traitlets.Instance(Selection, args=())

    def __init__(self, session: Session, view: PanelView) -> None:
        self._state = view
        super().__init__(session, view)
        self.selection = view.selection
        self._undo = view.listen(self._heard)
        self._undo_keeping = view.on_keep(self._save_if_shown)
        self.observe(self._selection_set, "selection")

    def _heard(self, event: Event) -> None:
        if self._shown and not isinstance(event, StatusChanged):
            self._save_soon()
        call_on_main(self._follow)

    def _follow(self) -> None:
        self.selection = self._state.selection

    def _selection_set(self, change: Mapping[str, Any]) -> None:
        if change["new"] != self._state.selection:
            self._state.select(change["new"])

    def close(self) -> None:
        """Close the explorer; its capture is released where it can be made again."""
        undo = getattr(self, "_undo", None)
        if undo is not None:
            undo()
            self._undo_keeping()
        super().close()


class Panel(ViewWidget):
    """A task's panel.

    Each field is a trait of its name. Further traits: ``result`` (the last run's first result, or
    None), ``results`` (all of them), ``value`` (the same as ``result``, under the name that
    ``interactive_output`` observes), ``selection`` and ``state``.
    """

    result = traitlets.Any(None, allow_none=True)
    results = traitlets.Tuple()
    value = traitlets.Any(None, allow_none=True)
    selection = traitlets.Instance(Selection, args=())
    state = traitlets.Unicode("idle")

    def __init__(self, session: Session, panel: TaskPanel) -> None:
        self._panel = panel
        self._syncing = False
        self._fields = fields_of(panel.registered.task)
        super().__init__(session, panel.view, **panel.view.values)
        self._undo = panel.view.listen(self._heard)
        self._undo_keeping = panel.view.on_keep(self._save_if_shown)
        self._take_over()
        self.observe(self._field_set, [field.name for field in self._fields])
        self.observe(self._selection_set, "selection")

    def run(self, **values: Any) -> Any:
        """Run in this cell and return the result; ``values`` are set first.

        Raises:
            LmkitError: what went wrong, in one sentence.
        """
        outcome = self._served.runs.run_now(self._panel, values)
        self._take_over()
        return outcome.results[0] if len(outcome.results) == 1 else outcome.results

    def start(self, **values: Any) -> str:
        """Run off the main thread, as the Run button does; returns the run's id."""
        return self._served.runs.start(self._panel, values)

    def save(self, path: str | os.PathLike[str], **options: Any) -> Any:
        """Save what is shown as a file; see :meth:`lmkit.Attention.save`."""
        from lmkit.errors import SaveError

        if self._panel.save is None:
            raise SaveError("This panel cannot be saved as a file.")
        return self._panel.save(self._panel.view, path, **options)

    def stop(self) -> None:
        """Stop the run in progress at its next layer or token."""
        run = self._panel.view.status.run
        if run is not None:
            self._served.runs.cancel(run)

    @contextmanager
    def shown_while_running(self) -> Iterator[None]:
        """Show the panel now, and fill in the same output when the block ends, come what may."""
        from IPython.display import display

        self._filling = True
        display(self)
        try:
            yield
        finally:
            self._filling = False
            self._publish(self._repr_mimebundle_(), update=True)

    def widgets(self) -> dict[str, Any]:
        """The fields as plain ipywidgets (Textarea, FloatSlider, ...), bound both ways.

        For a layout of one's own: ``HBox([*panel.widgets().values()])``.
        """
        return bound_widgets(self, self._fields)

    @property
    def outcome(self) -> Outcome | None:
        """What the last run gave, with its captured pass."""
        return self._panel.view.outcome

    def close(self) -> None:
        """Close the panel; its capture is released."""
        undo = getattr(self, "_undo", None)
        if undo is not None:
            undo()
            self._undo_keeping()
        super().close()

    # The view is the truth; traits follow it, and what a user sets on traits goes to the view.

    def _heard(self, event: Event) -> None:
        if self._shown and not self._filling and not isinstance(event, StatusChanged | Partial):
            self._save_soon()

        def follow() -> None:
            try:
                self._take_over()
            except Exception:
                # An observer of the user's raised: its traceback is shown, the run goes on.
                _log.warning("An observer of this panel failed.", exc_info=True)

        call_on_main(follow)

    def _take_over(self) -> None:
        view = self._panel.view
        outcome = view.outcome
        self._syncing = True
        try:
            with self.hold_trait_notifications():
                for name, value in view.values.items():
                    setattr(self, name, value)
                self.selection = view.selection
                self.state = view.status.state
                if outcome is not None:
                    self.results = outcome.results
                    first = outcome.results[0] if outcome.results else None
                    self.result = first
                    self.value = first
        finally:
            self._syncing = False

    def _field_set(self, change: Mapping[str, Any]) -> None:
        if self._syncing and self._panel.view.values.get(change["name"]) == change["new"]:
            return
        self._panel.view.edit({change["name"]: change["new"]})

    def _selection_set(self, change: Mapping[str, Any]) -> None:
        if change["new"] != self._panel.view.selection:
            self._panel.view.select(change["new"])


def panel_class(registered: RegisteredTask) -> type[Panel]:
    """The panel class of a task: its fields are traits with the fields' bounds."""
    task = registered.task
    fields = fields_of(task)
    traits: dict[str, Any] = {field.name: field_trait(field) for field in fields}

    def check(self: Panel, proposal: Mapping[str, Any]) -> Any:
        field = next(one for one in fields if one.name == proposal["trait"].name)
        try:
            return check_value(field, proposal["value"])
        except FieldError as error:
            raise RefusedValueError(error.message, hint=error.hint) from None

    if fields:
        traits["_check_fields"] = traitlets.validate(*(field.name for field in fields))(check)
    name = "".join(part.capitalize() for part in task.name.split("-")) + "Panel"
    traits["__doc__"] = task.help or task.title or task.name
    return type(name, (Panel,), traits)
