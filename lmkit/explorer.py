"""From a captured pass of any kind to the explorer on screen, and two of them to their difference.

``lmkit.explore(...)`` takes what Python has: a capture of one's own code, a trace, a generation, a
result, or a model and a text. ``lmkit.compare(a, b)`` takes two of these.
"""

from __future__ import annotations

import datetime
import functools
import os
import platform
import uuid
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec

from lmkit.api import LoadedModel, Result, Text
from lmkit.attention import Attention, export_view, show_call
from lmkit.errors import AttentionUnavailableError, CaptureError, FieldError, ModelError
from lmkit.protocol.messages import Header, RunRecord, Selection
from lmkit.run_record import record_json, record_run
from lmkit.runner import list_views
from lmkit.session import Session
from lmkit.transports.terminal import progress_bar
from lmkit.version import __version__
from lmkit.views.attention import CapturedTrace
from lmkit.views.compared import SideLens
from lmkit.views.lens import Lens
from lmkit.views.lenses import LENSES
from lmkit.views.panel import Outcome, PanelView
from lmkit.work import Work, doing

if TYPE_CHECKING:
    from lmkit.models.generation_trace import GenerationTrace
    from lmkit.transports.widget import ExplorerWidget

__all__ = [
    "Explorer",
    "compare",
    "explore",
    "loading",
    "model_name",
    "open_generation",
    "open_text",
]

_UNMATCHED = 12
"""Tokens without a partner that are named; the rest is counted."""
Recipe = Callable[[str], list[str]]


class _Shown:
    """A pass on show by itself: the state of its view, and what Python asks of it."""

    def __init__(self, session: Session, view: PanelView, recipe: Recipe) -> None:
        self.session = session
        self.view = view
        self.recipe = recipe
        self._widget: ExplorerWidget | None = None
        # What is never displayed needs no open view: it goes with this object.
        self._closer = weakref.finalize(self, session.views.close, view.id)
        self._closer.atexit = False

    @property
    def outcome(self) -> Outcome:
        outcome = self.view.outcome
        assert outcome is not None
        return outcome

    @property
    def record(self) -> RunRecord:
        assert self.outcome.record is not None
        return self.outcome.record

    @property
    def attention(self) -> Attention:
        assert self.outcome.trace is not None
        return Attention(self, self.outcome.trace)

    def used(self) -> None:
        if self.view.id in self.session.views:
            self.session.traces.use(self.view.id, cast("Any", self.outcome.trace))

    def select(self, selection: Selection) -> None:
        self.view.select(selection)

    def ask(self, view: str, values: Mapping[str, Any], selection: Selection) -> tuple[Result, ...]:
        with progress_bar() as show:
            return self.session.ask(self.view, view, values, selection, Work(on_progress=show))

    @property
    def widget(self) -> ExplorerWidget:
        if self._widget is None:
            from lmkit.transports.widget import ExplorerWidget

            self._widget = ExplorerWidget(self.session, self.view)
            self._widget._shown_by(self)
            self._closer.detach()
        return self._widget

    def _ipython_display_(self) -> None:
        self.widget._ipython_display_()

    def _display_(self) -> ExplorerWidget:
        return self.widget  # marimo's protocol


class Explorer(Attention):
    """A pass on show by itself, without a task; made by :func:`lmkit.explore`.

    ``explorer[layer, head]`` is an array, shape (queries, keys); in a notebook it shows itself.

    Attributes:
        trace: The pass.
    """

    def __init__(self, shown: _Shown) -> None:
        super().__init__(shown, cast("CapturedTrace", shown.outcome.trace))
        self._shown = shown

    @property
    def record(self) -> RunRecord:
        """Which model, tokenizer, software and text the numbers came from."""
        return self._shown.record

    @property
    def results(self) -> tuple[Result, ...]:
        """What stands above the explorer, such as the text that was written."""
        return self._shown.outcome.results

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to know before trusting the numbers."""
        return self._shown.outcome.warnings

    @property
    def panel(self) -> ExplorerWidget:
        """The live view as an ipywidget."""
        return self._shown.widget

    @property
    def python(self) -> str:
        """The lines that make this view, as "Copy as Python" gives them."""
        return self._shown.view.spec().python

    def __repr__(self) -> str:
        from lmkit.transports.picture import describe

        return describe(self._shown.view.spec())


def explore(
    what: Any,
    tokenizer: Any = None,
    *,
    text: str | None = None,
    pair: str | None = None,
    input_ids: Any = None,
    tokens: Sequence[str] | None = None,
    decoder_tokens: Sequence[str] | None = None,
    step: int | None = None,
    auto_class: str = "",
    **options: Any,
) -> Explorer:
    """Show the attention of a pass, whatever made it.

    Args:
        what: A capture (``with lmkit.capture(model) as trace``), one text of its batch
            (``trace.batch(i)``) or what it wrote (``trace.generation()``); a trace of a loaded
            model; what a task or an explorer gave; or a model, with ``text``: ``starter:NAME``, a
            hub id, a folder, or a ``transformers`` model in memory.
        tokenizer: Of a capture or of a model in memory.
        text: What the captured call read, or what the model is to read.
        pair: The second text of a pair.
        input_ids: What the captured call read, in place of ``text``: (tokens,) or (1, tokens).
        tokens: Names of the tokens of a capture, where there is no tokenizer.
        decoder_tokens: Names of what the decoder read, in a capture of an encoder-decoder.
        step: Which pass of a capture that holds several; by default the first.
        auto_class: Name of the ``transformers`` auto class that loads a model; by default with the
            head that it was saved with.
        **options: How to load a model: ``device``, ``dtype``, ``revision``...

    Returns:
        What shows itself in a notebook as the explorer, and has ``save(...)``, ``show(...)``,
        ``[layer, head]``.

    Raises:
        LmkitError: one sentence saying what went wrong.

    Example:
        >>> with lmkit.capture(model) as trace:             # doctest: +SKIP
        ...     model(**inputs)
        >>> lmkit.explore(trace, tokenizer, text=text)      # doctest: +SKIP
    """
    session = _session()
    if isinstance(what, Attention) or isinstance(getattr(what, "attention", None), Attention):
        return _again(session, what if isinstance(what, Attention) else what.attention)
    if callable(getattr(what, "explore", None)) and callable(getattr(what, "loaded", None)):
        return cast("Explorer", what.explore(_needed(text), pair, auto_class=auto_class))
    if _is_capture(what):
        from lmkit.models.raw_trace import raw_trace

        made = raw_trace(
            what, tokenizer, text=text, pair=pair, input_ids=input_ids, tokens=tokens,
            decoder_tokens=decoder_tokens, step=step,
        )  # fmt: skip
        given = {
            "text": text, "pair": pair, "input_ids": None if input_ids is None else _Name("ids"),
            "tokens": None if tokens is None else list(tokens),
            "decoder_tokens": None if decoder_tokens is None else list(decoder_tokens),
            "step": step,
        }  # fmt: skip
        return _of_capture(session, cast("Any", made), tokenizer is not None, given)
    if _is_trace(what):
        return _of_trace(session, what)
    options = {k: v for k, v in {"tokenizer": tokenizer, **options}.items() if v is not None}
    if isinstance(what, str | os.PathLike | tuple | LoadedModel) or hasattr(what, "config"):
        return open_text(session, what, options, _needed(text), pair, auto_class)
    raise CaptureError(
        f"A {type(what).__name__} is no pass that could be shown.",
        hint="Give a capture, a trace, a result, or a model with text=...",
    )


def compare(
    a: Any,
    b: Any,
    *,
    text: str | None = None,
    heads: Literal["index", "best", "mean"] | None = None,
    lens: str = "",
) -> Explorer:
    """Show attention of ``a`` minus attention of ``b``, from -1 to 1.

    Two prompts to one model, or two models on one text (teacher and student, before and after
    fine-tuning). Tokens are aligned by their texts; see docs/lenses.md.

    Args:
        a: Whatever :func:`explore` takes; with ``text`` a model or what ``lmkit.load`` gave.
        b: Likewise; it is subtracted.
        text: What both models read.
        heads: ``"index"``: head h and head h; ``"best"``: paired by resemblance within the layers;
            ``"mean"``: the means of each layer. By default by index where the models agree in
            layers and heads, else by resemblance.
        lens: See both through a lens first: ``"words"`` where two tokenizers differ.

    Raises:
        CaptureError: the two have no token or no layer in common.
        LmkitError: whatever :func:`explore` raises.
    """
    from lmkit.views.lenses import DifferenceTrace

    sides = [one if isinstance(one, Explorer) else explore(one, text=text) if text is not None
             else explore(one) for one in (a, b)]  # fmt: skip
    first, second = (_through(one, lens) for one in sides)
    trace = DifferenceTrace(first, second, heads=heads)
    mine, theirs = (one._shown.view.header for one in sides)
    same = mine.model == theirs.model
    header = Header(
        task="compare",
        title="Difference",
        model=mine.model if same else f"{mine.model} − {theirs.model}",
        device=mine.device if mine.device == theirs.device else "",
        dtype=mine.dtype if mine.dtype == theirs.dtype else "",
    )
    # Undated, as the whole has a date: where that is left out, none may stand in a text of JSON.
    records = [msgspec.structs.replace(one.record, date="") for one in sides]
    record = RunRecord(
        task="compare",
        model=header.model,
        device=header.device,
        dtype=header.dtype,
        attention_path=trace.path,
        deviation=trace.deviation,
        fields={"first": record_json(records[0]), "second": record_json(records[1])},
        tokens=len(trace.tokens),
        **_software(),
    )
    options = "".join(
        f", {key}={value!r}" for key, value in (("heads", heads), ("lens", lens)) if value
    )

    def recipe(name: str) -> list[str]:
        made = [*sides[0]._shown.recipe("a"), *sides[1]._shown.recipe("b")]
        return [*made, f"{name} = lmkit.compare(a, b{options})"]

    names = ("first", "second") if same else (mine.model, theirs.model)
    return _open(
        _session(),
        cast("CapturedTrace", trace),
        header,
        recipe,
        record,
        lenses=(
            SideLens("first-alone", f"Only {names[0]}", second=False),
            SideLens("second-alone", f"Only {names[1]}", second=True),
        ),
        warnings=_said_of(trace, first, second),
    )


def open_text(
    session: Session,
    source: Any,
    options: Mapping[str, Any],
    text: str,
    pair: str | None,
    auto_class: str = "",
) -> Explorer:
    """Run a model on a text and show the pass; what ``Kit.explore`` does."""
    _check_named(source)
    kind = auto_class or session.models.suited_class(source, **options)
    model = session.models.get(source, kind, **options)
    with progress_bar() as show, doing(Work(on_progress=show)):
        trace = cast("Any", model.trace(text, pair))
    given = _arguments((text, pair) if pair is not None else (text,), {"auto_class": auto_class})
    loaded = loading(source, model_name(source), options)

    def recipe(name: str) -> list[str]:
        return [f"kit = {loaded}", f"{name} = kit.explore({given})"]

    values: dict[str, Any] = {"text": text} if pair is None else {"text": text, "pair": pair}
    return _of_model(session, trace, model, recipe, values)


def open_generation(
    session: Session,
    source: Any,
    options: Mapping[str, Any],
    prompt: str | Sequence[Mapping[str, Any]],
    asked: Mapping[str, Any],
) -> Explorer:
    """Let a model write and show each step; what ``Kit.trace_generation`` does."""
    _check_named(source)
    kind = session.models.suited_class(source, **options)
    in_memory = kind == "AutoModel" and not isinstance(source, str | os.PathLike)
    if kind != "AutoModelForSeq2SeqLM" and not in_memory:
        kind = "AutoModelForCausalLM"
    model = cast("Any", session.models.get(source, kind, **options))
    if not callable(getattr(model, "trace_generation", None)):
        raise ModelError(f"{model.name} does not write text.")
    with progress_bar() as show, doing(Work(on_progress=show)):
        trace: GenerationTrace = model.trace_generation(prompt, **asked)
    # The seed that was drawn makes this very text again.
    given = {key: value for key, value in asked.items() if value not in (None, False)}
    given["seed"] = trace.seed
    loaded = loading(source, model_name(source), options)
    call = _arguments((prompt if isinstance(prompt, str) else list(prompt),), given)

    def recipe(name: str) -> list[str]:
        return [f"kit = {loaded}", f"{name} = kit.trace_generation({call})"]

    shown = prompt if isinstance(prompt, str) else repr(list(prompt))
    plain = {key: value for key, value in given.items() if isinstance(value, str | bool | int)}
    return _of_model(session, trace, model, recipe, {"prompt": shown, **plain})


# -- inside ---------------------------------------------------------------------------------------


class _Name:
    """An argument that stands under a name of the user's in "Copy as Python"."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


def _session() -> Session:
    from lmkit.kernel_session import current_session

    return current_session()


def _check_named(source: Any) -> None:
    if source is None or (isinstance(source, str) and not source.strip()):
        raise ModelError(
            "This kit names no model: each task takes its own.",
            hint='lmkit.load("starter:encoder"), for instance.',
        )


def _needed(text: str | None) -> str:
    if text is None:
        raise FieldError("A model needs a text to read.", hint="Give text='...'.")
    return text


def _is_capture(what: Any) -> bool:
    # Its tokens are a number: it knows no text.
    return callable(getattr(what, "require", None)) and callable(getattr(what, "batch", None))


def _is_trace(what: Any) -> bool:
    return all(hasattr(what, name) for name in ("layers", "tokens", "words", "thumbnails", "mass"))


def _open(
    session: Session,
    trace: CapturedTrace,
    header: Header,
    recipe: Recipe,
    record: RunRecord,
    *,
    lenses: Sequence[Lens] | None = None,
    results: tuple[Result, ...] = (),
    warnings: tuple[str, ...] = (),
) -> Explorer:
    if not trace.layers:
        error = getattr(trace, "error", None)
        raise error or AttentionUnavailableError("This model has no attention layers.")

    def python(values: Mapping[str, Any], selection: Selection | None) -> str:
        lines = ["import lmkit", "", *recipe("view")]
        last = "view" if selection is None else show_call("view", selection)
        return "\n".join([*lines, last])

    view = PanelView(
        str(uuid.uuid4()), header, (), {}, python,
        lenses=tuple(LENSES.values()) if lenses is None else lenses,
        views=functools.partial(list_views, session.host) if lenses is None else None,
    )  # fmt: skip
    session.views.open_view(view, export=export_view)
    view.begin("pass", "")
    outcome = Outcome(results=results, trace=trace, warnings=warnings, record=record)
    view.finish("pass", outcome, header)
    shown = _Shown(session, view, recipe)
    shown.used()
    return Explorer(shown)


def _again(session: Session, attention: Attention) -> Explorer:
    """Another explorer of a pass that is on show already."""
    owner = attention._owner
    lens = attention._lens

    def recipe(name: str) -> list[str]:
        made = owner.recipe("r")
        inner = f"r.lens({lens!r})" if isinstance(owner, _Shown) else f"r.attention.lens({lens!r})"
        return [*made, f"{name} = lmkit.explore({inner if lens else 'r'})"]

    scale = attention._tiles.through(lens).scale
    trace = attention.trace
    plain = scale == "share"
    return _open(
        session, trace, owner.view.header, recipe, owner.record, lenses=None if plain else (),
        warnings=tuple(getattr(trace, "warnings", ())),
    )  # fmt: skip


def _of_trace(session: Session, trace: Any) -> Explorer:
    """A trace of a loaded model, or one that a plugin made."""
    model = getattr(trace, "model", None)
    if getattr(trace, "scale", "share") == "difference":
        raise CaptureError(
            "A difference is shown by compare.", hint="lmkit.compare(a, b) takes the two passes."
        )
    if not isinstance(model, LoadedModel):
        return _of_capture(session, trace, False, {})
    written = bool(getattr(trace, "written", ()))
    loaded = loading(
        model.name if getattr(model, "spec", None) is not None else model, model.name, {}
    )
    pair = getattr(trace, "pair", None)
    start = getattr(trace, "pair_start", None)
    text = trace.text if start is None else trace.text[: start - 1]
    kind = str(getattr(model, "auto_class", ""))
    given = _arguments(
        (text, pair) if pair is not None else (text,),
        {"auto_class": "" if kind == "AutoModel" else kind},
    )

    def recipe(name: str) -> list[str]:
        if written:
            return [f"{name} = lmkit.explore(trace)  # your {type(trace).__name__}"]
        return [f"kit = {loaded}", f"{name} = kit.explore({given})"]

    values = {"text": text} if pair is None else {"text": text, "pair": pair}
    return _of_model(session, trace, model, recipe, values)


def _of_model(
    session: Session, trace: Any, model: LoadedModel, recipe: Recipe, values: Mapping[str, Any]
) -> Explorer:
    completion = getattr(trace, "completion", None)
    results: tuple[Result, ...] = ()
    if isinstance(completion, str):
        results = (Text(title="Written", text=completion),)
    task = "generate" if results else "explore"
    with model.hold():
        record = record_run(task, model, values, trace)
    header = Header(
        task=task,
        title="Generation" if results else "Attention",
        model=model.name,
        device=str(model.device),
        dtype=str(model.dtype),
    )
    said = tuple(dict.fromkeys((*model.warnings, *getattr(trace, "warnings", ()))))
    return _open(session, trace, header, recipe, record, results=results, warnings=said)


def _of_capture(
    session: Session, trace: Any, tokenizer: bool, given: Mapping[str, Any]
) -> Explorer:
    names = ("trace", "tokenizer") if tokenizer else ("trace",)
    call = _arguments(tuple(_Name(one) for one in names), given)

    def recipe(name: str) -> list[str]:
        return [f"{name} = lmkit.explore({call})  # your captured pass"]

    record = RunRecord(
        task="explore",
        attention_path=trace.path,
        deviation=trace.deviation,
        fields={
            key: value for key, value in given.items() if isinstance(value, str) and key != "ids"
        },
        tokens=len(trace.tokens),
        **_software(),
    )
    header = Header(task="explore", title="Attention", model="")
    return _open(session, cast("CapturedTrace", trace), header, recipe, record)


def _through(explorer: Explorer, lens: str) -> CapturedTrace:
    return explorer.lens(lens).trace if lens else explorer.trace


def _said_of(trace: Any, first: CapturedTrace, second: CapturedTrace) -> tuple[str, ...]:
    """Which tokens are left out, and how heads of two models are paired."""
    said = []
    for which, one, left in zip(("first", "second"), (first, second), trace.unmatched, strict=True):
        if left:
            named = ", ".join(repr(one.tokens[at].text) for at in left[:_UNMATCHED])
            more = f" and {len(left) - _UNMATCHED:,} more" if len(left) > _UNMATCHED else ""
            said.append(f"Only in the {which}, and left out: {named}{more}.")
    if trace.heads == "best":
        said.append("Heads are paired by resemblance within layers of the same relative depth.")
    elif trace.heads == "mean":
        said.append("Each layer shows the mean of its heads.")
    return tuple(said)


def _software() -> dict[str, Any]:
    from lmkit.run_record import version_of

    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "lmkit": __version__,
        "torch": version_of("torch"),
        "transformers": version_of("transformers"),
        "python": platform.python_version(),
    }


def _arguments(plain: tuple[Any, ...], named: Mapping[str, Any]) -> str:
    given = [f"{key}={value!r}" for key, value in named.items() if value not in (None, "")]
    return ", ".join([*(repr(one) for one in plain), *given])


def model_name(source: Any) -> str:
    """How a source is named before it is loaded; empty for none, which is each task's default."""
    if source is None:
        return ""
    if isinstance(source, str):
        return source
    if isinstance(source, tuple) and source:
        source = source[0]
    name = getattr(source, "name", None)
    if isinstance(name, str):
        return name
    path = getattr(source, "__fspath__", None)
    return str(path()) if path else type(source).__name__


def loading(source: Any, name: str, options: Mapping[str, Any]) -> str:
    """The call that loads a model as it was loaded; a model in memory is named in a comment."""
    tokenizer = options.get("tokenizer") is not None
    given = "".join(
        f", {key}={value!r}" for key, value in options.items() if isinstance(value, str | bool)
    )
    if source is None or (isinstance(source, str) and not name):
        # A task without a model: None is there so that options may follow.
        return f"lmkit.load({f'None{given}' if given else ''})"
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
