"""The Python way in: a loaded model with a method for each task, and what the methods return."""

from __future__ import annotations

import dataclasses
import difflib
import os
import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lmkit.api import Labels, LoadedModel, Result, Span, Spans, Task, Text, TokenChoices
from lmkit.attention import Attention, export_view, show_call
from lmkit.datasets.distributed import several_processes
from lmkit.declarations import fields_of, row_fields_of, verb_of
from lmkit.errors import AttentionUnavailableError, FieldError, SaveError, TaskError
from lmkit.evaluation import Evaluation
from lmkit.explorer import Explorer, compare, loading, model_name, open_generation, open_text
from lmkit.host import RegisteredTask
from lmkit.in_process import InProcess
from lmkit.open_views import TaskPanel
from lmkit.protocol.messages import RunRecord, Selection, TextField
from lmkit.session import Session
from lmkit.transports.terminal import progress_bar, terminal_progress
from lmkit.views.panel import Outcome, PanelView
from lmkit.work import Work

if TYPE_CHECKING:
    from lmkit.saving import SavedFile
    from lmkit.transports.widget import Panel

__all__ = ["Analysis", "Attention", "Kit", "follow_job", "make_panel", "open_task"]


class Kit(InProcess):
    """A model, loaded, with a method for each task that is installed.

    Made by :func:`lmkit.load`. ``kit.classify("...")`` runs the task whose verb is ``classify``;
    ``kit.run("classification", text="...")`` is the same by name.
    """

    _instead = "Load the model where it is needed: lmkit.load(...)."

    def __init__(self, session: Session, source: Any, options: Mapping[str, Any]) -> None:
        self.session = session
        self._source = source
        self._options = dict(options)

    @property
    def name(self) -> str:
        """How the model is named."""
        return model_name(self._source)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks that are installed."""
        return tuple(one.task.name for one in self.session.host.tasks)

    def loaded(self, task: str) -> LoadedModel:
        """The model as a task gets it; raises WrongModelKindError where it lacks the head."""
        chosen = self.session.host.task(task).task
        source = _source_for(chosen, self._source)
        return self.session.runs.load_for(chosen, source, self._options)

    def run(self, task: str, /, *body: str, **values: Any) -> Analysis:
        """Run a task in this cell.

        Args:
            task: Its name.
            body: The text for the field that takes a cell's body, as a shorthand.
            values: Field values by name.

        Returns:
            What came out, with the attention behind it.

        Raises:
            LmkitError: one sentence saying what went wrong.
        """
        registered = self.session.host.task(task)
        panel = open_task(
            self.session, registered, self._source, _with_body(registered, body, values),
            self._options,
        )  # fmt: skip
        try:
            with terminal_progress(panel.view):
                self.session.runs.run_now(panel)
        except BaseException:
            self.session.views.close(panel.view.id)
            raise
        return Analysis(self.session, panel)

    def evaluate(self, task: str, data: Any, /, **given: Any) -> Evaluation:
        """Send the rows of a data set through a task, in batches by length.

        On several processes of ``accelerate`` each computes its share of the batches, and all of
        them get all results, in the order of the data set.

        Args:
            task: Its name.
            data: A DataFrame, an Arrow table, a Hugging Face data set, a list of dicts, or the
                path of a CSV, TSV, JSON Lines, JSON, Parquet, Arrow or Feather file.
            **given: Names of the data set's columns by those of the task (``text="sentence",
                label="label"``; one that is not given is looked for by usual names, None leaves it
                out), and values of the task's other fields.

        Returns:
            What came out. After Stop or an interrupt: what was done until then, and
            :meth:`Evaluation.resume` goes on.

        Raises:
            DataSetError: the data set cannot be read, or lacks a column.
            LmkitError: one sentence saying what went wrong.
        """
        registered = self.session.host.task(task)
        columns = {column.name for column in registered.task.columns}
        mapping = {name: value for name, value in given.items() if name in columns}
        values = {name: value for name, value in given.items() if name not in columns}
        _check_names(registered.task, values)
        values = dict(registered.task().from_python(values))
        options = dict(self._options)
        processes = several_processes()
        if processes is not None and "device" not in options and not given_model(self._source):
            options["device"] = processes.device
        panel = open_task(self.session, registered, self._source, {}, options)
        evaluation = Evaluation(self.session, panel, processes)
        self.session.runs.open_rows(panel, data, mapping)
        evaluation._run(values)
        return evaluation

    def panel(self, task: str, /, *body: str, **values: Any) -> Any:
        """The task's panel on this model: an ipywidget, not run yet."""
        registered = self.session.host.task(task)
        return make_panel(self, registered, _with_body(registered, body, values))

    def explore(self, text: str, pair: str | None = None, *, auto_class: str = "") -> Explorer:
        """Run the model on a text, by no task, and look into its attention.

        Args:
            text: The text.
            pair: A second text, for models that read pairs.
            auto_class: Name of the ``transformers`` auto class that loads the model; by default
                with the head that it was saved with.

        Raises:
            LmkitError: one sentence saying what went wrong.
        """
        return open_text(self.session, self._source, self._options, text, pair, auto_class)

    def trace_generation(
        self,
        prompt: str | Sequence[Mapping[str, Any]],
        *,
        max_new_tokens: int = 40,
        seed: int | None = None,
        chat: bool = False,
        **options: Any,
    ) -> Explorer:
        """Let the model write on, and look into the attention of each step.

        In the explorer a slider steps through what was written; ``.trace`` has the tokens with
        their probabilities (:class:`lmkit.models.generation_trace.GenerationTrace`).

        Args:
            prompt: A text; with ``chat`` also messages with ``role`` and ``content``.
            max_new_tokens: Most tokens to write.
            seed: For sampling; a random one if None.
            chat: Write the prompt by the tokenizer's chat template.
            options: For transformers' ``generate``.

        Raises:
            LmkitError: one sentence saying what went wrong.
        """
        asked = {"max_new_tokens": max_new_tokens, "seed": seed, "chat": chat, **options}
        return open_generation(self.session, self._source, self._options, prompt, asked)

    def compare(self, first: str, second: str, **options: Any) -> Explorer:
        """What differs between the attention of two texts; see :func:`lmkit.compare`."""
        return compare(self.explore(first), self.explore(second), **options)

    def __getattr__(self, name: str) -> Any:
        registered = None if name.startswith("_") else self.session.host.by_verb(name)
        if registered is None:
            verbs = [verb_of(one.task) for one in self.session.host.tasks]
            near = difflib.get_close_matches(name, verbs, n=1)
            hint = (
                f"Did you mean {near[0]}?" if near else f"There are: {', '.join(verbs) or 'none'}."
            )
            raise AttributeError(f"No installed task has the verb {name!r}. {hint}")
        task = registered.task

        def call(*body: str, **values: Any) -> Analysis:
            return self.run(task.name, *body, **values)

        call.__name__ = call.__qualname__ = name
        call.__doc__ = _call_doc(registered)
        return call

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *(verb_of(o.task) for o in self.session.host.tasks)})

    def __repr__(self) -> str:
        name = self.name or "each task's default model"
        return f"<lmkit.Kit of {name}: {', '.join(self.tasks)}>"


class Analysis(InProcess):
    """What a task gave: results, and the attention behind them. Shows itself as a panel.

    The panel is live: editing its text and pressing Run runs again, and this object then holds
    what the last run gave.
    """

    _instead = "Take its results, result.results, or save it: result.save('page.html')."

    def __init__(self, session: Session, panel: TaskPanel) -> None:
        self._session = session
        self._panel = panel
        self._widget: Any = None
        # A result that is never shown needs no open view: it goes with this object.
        self._closer = weakref.finalize(self, session.views.close, panel.view.id)
        self._closer.atexit = False
        assert panel.view.outcome is not None  # of the run, or of a job that has moved on since

    @property
    def _outcome(self) -> Outcome:
        outcome = self._panel.view.outcome
        assert outcome is not None
        return outcome

    @property
    def results(self) -> tuple[Result, ...]:
        """All typed results of the run."""
        return self._outcome.results

    @property
    def result(self) -> Result:
        """The first result."""
        return self.results[0]

    @property
    def labels(self) -> dict[str, float]:
        """Label -> probability, highest first; raises TaskError where there are no labels."""
        for result in self.results:
            if isinstance(result, Labels):
                return {one.label: one.score for one in result.scores}
        raise TaskError(f"The task {self._panel.registered.task.name} gives no labels.")

    @property
    def text(self) -> str:
        """The text that the task gave; raises TaskError where there is none."""
        for result in self.results:
            if isinstance(result, Text | TokenChoices):
                return result.text
        raise TaskError(f"The task {self._panel.registered.task.name} gives no text.")

    @property
    def spans(self) -> tuple[Span, ...]:
        """Marked stretches of the text; raises TaskError where the task marks none."""
        for result in self.results:
            if isinstance(result, Spans):
                return result.spans
        raise TaskError(f"The task {self._panel.registered.task.name} gives no spans.")

    @property
    def attention(self) -> Attention:
        """The attention of the run's pass; raises AttentionUnavailableError with the reason."""
        if self._outcome.trace is None:
            raise AttentionUnavailableError(self._outcome.attention_note)
        return Attention(self, self._outcome.trace)

    @property
    def output(self) -> Any:
        """What the model returned (``transformers.utils.ModelOutput``)."""
        outcome = self._outcome
        return outcome.output if outcome.trace is None else outcome.trace.output

    @property
    def values(self) -> dict[str, Any]:
        """The field values of the run."""
        return self._panel.view.values

    @property
    def record(self) -> RunRecord:
        """Which model, tokenizer, software and text the numbers came from."""
        assert self._outcome.record is not None
        return self._outcome.record

    def save(self, path: str | os.PathLike[str], **options: Any) -> SavedFile:
        """Save what is shown as a file; see :meth:`Attention.save`."""
        return self.attention.save(path, **options)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to know before trusting the result."""
        return self._outcome.warnings

    @property
    def seconds(self) -> float:
        """How long the run took, in seconds."""
        return self._outcome.seconds

    @property
    def view(self) -> PanelView:
        """The view's state, for transports."""
        return self._panel.view

    @property
    def panel(self) -> Panel:
        """The live panel as an ipywidget."""
        if self._widget is None:
            from lmkit.transports.widget import panel_class

            self._widget = panel_class(self._panel.registered)(self._session, self._panel)
            self._widget._shown_by(self)
            self._closer.detach()
        return self._widget  # type: ignore[no-any-return]

    def used(self) -> None:
        """The capture was asked: it may have been made again, and counts in the budget."""
        trace = self._outcome.trace
        if trace is not None and self._panel.view.id in self._session.views:
            self._session.traces.use(self._panel.view.id, trace)  # type: ignore[arg-type]

    def select(self, selection: Selection) -> None:
        """Choose what the explorer shows."""
        self._panel.view.select(selection)

    def recipe(self, name: str) -> list[str]:
        """Lines of Python that make this result again and call it ``name``."""
        panel = self._panel
        loaded = loading(panel.source, model_name(panel.source), panel.options)
        values = self.record.fields
        return _recipe(panel.registered, loaded, self.values if values is None else values, name)

    def ask(self, view: str, values: Mapping[str, Any], selection: Selection) -> tuple[Result, ...]:
        """Ask a view about the pass, in this thread, with a progress bar; an interrupt stops it."""
        with progress_bar() as show:
            work = Work(on_progress=show)
            return self._session.ask(self._panel.view, view, values, selection, work)

    def __repr__(self) -> str:
        from lmkit.transports.picture import describe

        return describe(self._panel.view.spec())

    def _ipython_display_(self) -> None:
        self.panel._ipython_display_()

    def _display_(self) -> Panel:
        return self.panel  # marimo's protocol; it shows no ipywidget but a bare anywidget


def open_task(
    session: Session,
    registered: RegisteredTask,
    source: Any,
    values: Mapping[str, Any],
    options: Mapping[str, Any],
) -> TaskPanel:
    """Open the view of a task on a model."""
    source = _source_for(registered.task, source)
    name = model_name(source)

    def python(current: Mapping[str, Any], selection: Selection | None) -> str:
        return _python(registered, loading(source, name, options), current, selection)

    return session.views.open_panel(
        registered,
        source,
        model_name=name,
        values=values,
        options=options,
        python=python,
        export=export_view,
        save=_save,
    )


def _save(view: PanelView, path: str | os.PathLike[str], **options: Any) -> SavedFile:
    from lmkit.saving import Wish, save

    unknown = sorted(options.keys() - {one.name for one in dataclasses.fields(Wish)})
    if unknown:
        raise SaveError(
            f"save() has no option {unknown[0]!r}.", hint="help(lmkit.Attention.save) lists them."
        )
    return save(view, path, Wish(**options))


def make_panel(kit: Kit, registered: RegisteredTask, values: Mapping[str, Any]) -> Any:
    """A task's panel: the plugin's own of plain ipywidgets if it has one, else lmkit's."""
    from lmkit.errors import LmkitError

    host = kit.session.host
    try:
        own = registered.task().panel(kit, dict(values))
    except LmkitError:
        raise
    except (Exception, SystemExit) as error:
        raise host.quarantine(registered.plugin, error) from error
    if own is not None:
        import ipywidgets

        if not isinstance(own, ipywidgets.Widget):
            wrong = TaskError(
                f"Task {registered.task.name} of plugin {registered.plugin.title} returned a "
                f"{type(own).__name__} as its panel.",
                hint="panel() returns an ipywidgets.Widget or None.",
            )
            host.quarantine(registered.plugin, wrong)
            raise wrong
        return own
    from lmkit.transports.widget import panel_class

    opened = open_task(kit.session, registered, kit._source, values, kit._options)
    follow_job(kit.session, opened, JOB_PATIENCE)
    return panel_class(registered)(kit.session, opened)


JOB_PATIENCE = 60.0
"""Seconds for which a cell that opens a panel on a job at rest waits for its explorer."""


def follow_job(session: Session, panel: TaskPanel, patience: float = 0.0) -> None:
    """Show the job that a panel's values name, where there is one already.

    Args:
        session: Where the panel is open.
        panel: The panel.
        patience: Most seconds to wait for the explorer of a job at rest.

    Raises:
        LmkitError: the plugin could not say; the panel is closed.
    """
    from lmkit.errors import LmkitError

    registered = panel.registered
    try:
        job = registered.task().job(panel.view.values)
    except LmkitError:
        session.views.close(panel.view.id)
        raise
    except (Exception, SystemExit) as error:
        session.views.close(panel.view.id)
        raise session.host.quarantine(registered.plugin, error) from error
    if job is not None:
        session.runs.follow(panel, job, patience)


def given_model(source: Any) -> bool:
    """Whether a source is a model in memory, which stays on its device."""
    return source is not None and not isinstance(source, str | os.PathLike)


def _source_for(task: type[Task], source: Any) -> Any:
    """The task's own model where none is named."""
    # A model is not asked for its truth: a compiled one has a length that it cannot give.
    unnamed = source is None or (isinstance(source, str) and not source)
    return task.default_model if unnamed else source


def _with_body(
    registered: RegisteredTask, body: Sequence[str], values: Mapping[str, Any]
) -> dict[str, Any]:
    fields = [one for one in fields_of(registered.task) if isinstance(one, TextField)]
    names = [one.name for one in sorted(fields, key=lambda one: not one.body)]
    if len(body) > len(names):
        raise TaskError(
            f"{registered.task.name} takes {len(names)} texts without a name, not {len(body)}."
        )
    given = dict(zip(names, body, strict=False))
    twice = sorted(given.keys() & values.keys())
    if twice:
        raise TaskError(f"{twice[0]} was given twice, with and without its name.")
    return dict(registered.task().from_python({**given, **values}))


def _check_names(task: type[Task], values: Mapping[str, Any]) -> None:
    """Refuse a name that is neither a field nor, as whoever writes one may mean, a column."""
    fields = [one.name for one in (*row_fields_of(task), *task.report_fields)]
    unknown = next((name for name in values if name not in fields), None)
    if unknown is not None and task.columns:
        columns = ", ".join(one.name for one in task.columns)
        raise FieldError(
            f"There is no field {unknown!r}, and no such column.",
            hint=f"Columns of {task.name} are: {columns}; its fields: {', '.join(fields)}.",
        )


def _call_doc(registered: RegisteredTask) -> str:
    lines = [registered.task.help or registered.task.title or registered.task.name, "", "Args:"]
    for field in fields_of(registered.task):
        lines.append(f"    {field.name}: {field.help or field.label} Default {field.default!r}.")
    return "\n".join(lines)


def _python(
    registered: RegisteredTask,
    loaded: str,
    values: Mapping[str, Any],
    selection: Selection | None,
) -> str:
    lines = ["import lmkit", "", *_recipe(registered, loaded, values, "r")]
    return "\n".join([*lines, "r" if selection is None else show_call("r.attention", selection)])


def _recipe(
    registered: RegisteredTask, loaded: str, values: Mapping[str, Any], name: str
) -> list[str]:
    fields = {one.name: one for one in fields_of(registered.task)}
    given = ", ".join(
        f"{key}={value!r}" for key, value in values.items() if value != fields[key].default
    )
    return [f"kit = {loaded}", f"{name} = kit.{verb_of(registered.task)}({given})"]
