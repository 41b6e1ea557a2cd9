"""The Python way in: a loaded model with a method for each task, and what the methods return."""

from __future__ import annotations

import dataclasses
import difflib
import operator
import os
import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lmkit.api import Labels, LoadedModel, Result, Span, Spans
from lmkit.datasets.distributed import several_processes
from lmkit.declarations import fields_of, verb_of
from lmkit.errors import AttentionUnavailableError, SaveError, TaskError
from lmkit.evaluation import Evaluation
from lmkit.host import RegisteredTask
from lmkit.protocol.messages import Export, RunRecord, Selection, TextField, Token
from lmkit.session import Session, TaskPanel
from lmkit.transports.terminal import progress_bar, terminal_progress
from lmkit.views.attention import AttentionTiles, CapturedTrace
from lmkit.views.panel import Outcome, PanelView
from lmkit.work import Work

if TYPE_CHECKING:
    import numpy as np

    from lmkit.saving import SavedFile
    from lmkit.transports.widget import Panel

__all__ = ["Analysis", "Attention", "Kit", "make_panel", "open_task"]


class Kit:
    """A model, loaded, with a method for each task that is installed.

    Made by :func:`lmkit.load`. ``kit.classify("...")`` runs the task whose verb is ``classify``;
    ``kit.run("classification", text="...")`` is the same by name.
    """

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
        source = self._source or chosen.default_model
        model: LoadedModel = self.session.models.get(source, chosen.auto_class, **self._options)
        return model

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
                outcome = self.session.run_now(panel)
        except BaseException:
            self.session.close(panel.view.id)
            raise
        return Analysis(self.session, panel, outcome)

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
        options = dict(self._options)
        processes = several_processes()
        if processes is not None and "device" not in options and not given_model(self._source):
            options["device"] = processes.device
        panel = open_task(self.session, registered, self._source, {}, options)
        evaluation = Evaluation(self.session, panel, processes)
        self.session.open_rows(panel, data, mapping)
        evaluation._run(values)
        return evaluation

    def panel(self, task: str, /, *body: str, **values: Any) -> Any:
        """The task's panel on this model: an ipywidget, not run yet."""
        registered = self.session.host.task(task)
        return make_panel(self, registered, _with_body(registered, body, values))

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


class Attention:
    """The attention of one pass. ``attention[layer, head]`` is an array, shape (queries, keys).

    Layers and heads count from 0. In a notebook it shows itself as the explorer.
    """

    def __init__(self, analysis: Analysis, trace: CapturedTrace) -> None:
        self._analysis = analysis
        self.trace = trace
        self._lens = ""

    @property
    def tokens(self) -> tuple[Token, ...]:
        """The tokens of the text."""
        return self.trace.tokens

    @property
    def layers(self) -> Sequence[Any]:
        """The layers that have attention, with the number of heads of each."""
        return self.trace.layers

    def __getitem__(self, place: tuple[int, int]) -> np.ndarray:
        layer, head = self._place(place)
        values = self.trace.attention(layer, head)
        self._analysis.used()
        return values

    def rows(self, layer: int, head: int, rows: Sequence[int] | slice) -> np.ndarray:
        """Exact rows of one head; (rows, keys)."""
        layer, head = self._place((layer, head))
        values = self.trace.rows(layer, head, rows)
        self._analysis.used()
        return values

    def received(self) -> np.ndarray:
        """Attention that each token receives, mean over layers, heads and queries; (tokens,)."""
        return self.trace.attention_received()

    @property
    def lenses(self) -> tuple[str, ...]:
        """Names of the lenses that this pass can be seen through."""
        return tuple(one.name for one in self._tiles.lens_specs if not one.reason)

    @property
    def views(self) -> tuple[str, ...]:
        """Names of the views that this pass can be asked for."""
        return tuple(one.name for one in self._tiles.views if not one.reason)

    def lens(self, name: str) -> Attention:
        """The same pass through a lens: ``r.attention.lens("words")[2, 5]``.

        Raises:
            ProtocolError: there is no such lens, or it is not available for this pass.
        """
        seen = Attention(self._analysis, self._tiles.through(name).trace)
        seen._lens = name
        return seen

    def view(self, view: str, /, layer: int = 0, head: int = 0, tokens: Sequence[int] = (),
             **values: Any) -> tuple[Result, ...]:  # fmt: skip
        """What a view shows of this pass.

        Args:
            view: Its name, one of :attr:`views`.
            layer: For views that look at one layer.
            head: For views that look at one head.
            tokens: For views that look at some query tokens.
            **values: Values of the view's own fields.

        Raises:
            LmkitError: one sentence saying what went wrong.
        """
        layer, head = self._place((layer, head))
        selection = Selection(layer=layer, head=head, tokens=self._some(layer, tokens))
        return self._analysis.ask(view, values, selection)

    def show(
        self,
        layer: int,
        head: int,
        tokens: Sequence[int] = (),
        *,
        lens: str | None = None,
        picture: str = "",
    ) -> Attention:
        """Choose what the explorer shows, here and in every open copy of it.

        Args:
            layer: The layer, from 0.
            head: The head, from 0.
            tokens: Query tokens to hold.
            lens: One of :attr:`lenses`; empty for the attention itself.
            picture: Which tab: ``"arcs"``, ``"map"``, or the name of a view; empty keeps it.
        """
        chosen = self if lens is None or lens == self._lens else self._analysis.attention
        if lens is not None and lens != self._lens:
            chosen = chosen.lens(lens) if lens else chosen
        layer, head = chosen._place((layer, head))
        self._analysis.select(
            Selection(
                layer=layer,
                head=head,
                tokens=chosen._some(layer, tokens),
                lens=chosen._lens,
                picture=picture or self._analysis.view.selection.picture,
            )
        )
        return self

    @property
    def _tiles(self) -> AttentionTiles:
        tiles = self._analysis.view.tiles
        assert tiles is not None
        return tiles

    def _some(self, layer: int, tokens: Sequence[int]) -> tuple[int, ...]:
        """Query tokens, counted from 0; negative ones count from the end."""
        count = self.trace.layers[layer].queries
        for token in tokens:
            if not -count <= token < count:
                raise IndexError(f"There is no token {token}; there are {count}, counted from 0.")
        return tuple(token % count for token in tokens)

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        layer: int | None = None,
        head: int | None = None,
        tokens: Sequence[int] | None = None,
        picture: str | None = None,
        theme: str | None = None,
        mapping: str = "sqrt",
        lens: str | None = None,
        width: float | None = None,
        dpi: float = 300,
        heads: str | None = None,
        text: bool = True,
        budget: int | float | str | None = None,
    ) -> SavedFile:
        """Save as a file; the suffix says what kind.

        ``.svg``, ``.pdf`` and ``.png`` are the picture, vector where it can be; ``.html`` is a page
        that needs nothing else; ``.npz`` and ``.json`` hold the exact numbers. Each carries the run
        record. A file of that name is replaced in one step.

        Args:
            path: Where to; ends in one of these suffixes.
            layer: Default: the one that is shown. Negative ones count from the end.
            head: Likewise.
            tokens: Queries to mark; default: those that are selected.
            picture: ``"arcs"`` (default), ``"map"`` or ``"grid"`` (all heads).
            theme: ``"light"`` or ``"dark"``; a page follows its reader's system without.
            mapping: Of values to colours: ``"sqrt"`` (default), ``"linear"`` or ``"log"``.
            lens: Name of a lens to read the attention through; default: the one on show, ``""``
                for the attention itself.
            width: Of the picture, in inches.
            dpi: Pixels per inch of a PNG.
            heads: ``"all"``: every head's numbers in NPZ and JSON.
            text: False leaves texts and tokens out and shows token indices.
            budget: Bytes of a page, or of the numbers of all heads: ``"5MB"``.

        Returns:
            The file; its ``notes`` say what it leaves out.

        Raises:
            SaveError: an unknown suffix or option, or a place that cannot be written.
            BudgetExceededError: all heads take more than the budget.
        """
        from lmkit.saving import Wish, save

        wish = Wish(
            layer=layer, head=head, tokens=tokens, picture=picture, theme=theme, mapping=mapping,
            lens=lens, width=width, dpi=dpi, heads=heads, text=text, budget=budget,
        )  # fmt: skip
        saved = save(self._analysis.view, path, wish)
        self._analysis.used()
        return saved

    def _place(self, place: object) -> tuple[int, int]:
        """Layer and head, counted from 0; negative ones count from the end."""
        if not (isinstance(place, tuple) and len(place) == 2):
            raise IndexError("Say attention[layer, head]; the array then has (queries, keys).")
        try:
            layer, head = operator.index(place[0]), operator.index(place[1])
        except TypeError as error:
            raise IndexError("Layer and head are whole numbers: attention[layer, head].") from error
        count = len(self.trace.layers)
        if not -count <= layer < count:
            raise IndexError(f"There is no layer {layer}; there are {count}, counted from 0.")
        heads = self.trace.layers[layer].heads
        if not -heads <= head < heads:
            raise IndexError(f"Layer {layer} has no head {head}; it has {heads}, from 0.")
        return layer % count, head % heads

    def __repr__(self) -> str:
        heads = sum(layer.heads for layer in self.layers)
        shape = f"{len(self.layers)} layers, {heads} heads, {len(self.tokens)} tokens"
        return f"<lmkit.Attention: {shape}>"

    def _ipython_display_(self) -> None:
        self._analysis._ipython_display_()


class Analysis:
    """What a task gave: results, and the attention behind them. Shows itself as a panel.

    The panel is live: editing its text and pressing Run runs again, and this object then holds
    what the last run gave.
    """

    def __init__(self, session: Session, panel: TaskPanel, outcome: Outcome) -> None:
        self._session = session
        self._panel = panel
        self._widget: Any = None
        # A result that is never shown needs no open view: it goes with this object.
        self._closer = weakref.finalize(self, session.close, panel.view.id)
        self._closer.atexit = False
        assert outcome is panel.view.outcome

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


def open_task(
    session: Session,
    registered: RegisteredTask,
    source: Any,
    values: Mapping[str, Any],
    options: Mapping[str, Any],
) -> TaskPanel:
    """Open the view of a task on a model."""
    name = model_name(source)
    task = registered.task

    def python(current: Mapping[str, Any], selection: Selection | None) -> str:
        loaded = _loading(source, name or task.default_model, options)
        return _python(registered, loaded, current, selection)

    return session.open_panel(
        registered,
        source or task.default_model,
        model_name=name,
        values=values,
        options=options,
        python=python,
        export=_export,
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


def _export(view: PanelView, request: Export) -> tuple[str, str, bytes, tuple[str, ...]]:
    from lmkit.saving import Wish, export

    made = export(view, request.format, Wish.of(request.options))
    return made.name, made.mime, made.data, made.notes


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
    return panel_class(registered)(kit.session, opened)


def given_model(source: Any) -> bool:
    """Whether a source is a model in memory, which stays on its device."""
    return bool(source) and not isinstance(source, str | os.PathLike)


def model_name(source: Any) -> str:
    """How a source is named before it is loaded."""
    if isinstance(source, str):
        return source
    if isinstance(source, tuple) and source:
        source = source[0]
    name = getattr(source, "name", None)
    if isinstance(name, str):
        return name
    path = getattr(source, "__fspath__", None)
    return str(path()) if path else type(source).__name__


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
    return {**given, **values}


def _call_doc(registered: RegisteredTask) -> str:
    lines = [registered.task.help or registered.task.title or registered.task.name, "", "Args:"]
    for field in fields_of(registered.task):
        lines.append(f"    {field.name}: {field.help or field.label} Default {field.default!r}.")
    return "\n".join(lines)


def _loading(source: Any, name: str, options: Mapping[str, Any]) -> str:
    """The call that loads a model as it was loaded; a model in memory is named in a comment."""
    tokenizer = options.get("tokenizer") is not None
    given = "".join(
        f", {key}={value!r}" for key, value in options.items() if isinstance(value, str | bool)
    )
    if isinstance(source, str):
        return f"lmkit.load({name!r}{', tokenizer=tokenizer' if tokenizer else ''}{given})"
    if isinstance(source, os.PathLike):
        return f"lmkit.load({os.fspath(source)!r}{given})"
    pair = tokenizer or isinstance(source, tuple)
    # Nothing in Python says under which names the user holds them.
    return f"lmkit.load(model{', tokenizer' if pair else ''}{given})  # your {_one_line(name)}"


def _one_line(name: str) -> str:
    """A name that cannot end the comment it stands in."""
    return "".join(one if one.isprintable() else " " for one in name)[:200]


def _python(
    registered: RegisteredTask,
    loaded: str,
    values: Mapping[str, Any],
    selection: Selection | None,
) -> str:
    fields = {one.name: one for one in fields_of(registered.task)}
    given = ", ".join(
        f"{key}={value!r}" for key, value in values.items() if value != fields[key].default
    )
    lines = f"import lmkit\n\nkit = {loaded}\nr = kit.{verb_of(registered.task)}({given})\n"
    if selection is None:
        return f"{lines}r"
    tokens = f", tokens={list(selection.tokens)}" if selection.tokens else ""
    tokens += f", lens={selection.lens!r}" if selection.lens else ""
    tokens += f", picture={selection.picture!r}" if selection.picture else ""
    return f"{lines}r.attention.show({selection.layer}, {selection.head}{tokens})"
