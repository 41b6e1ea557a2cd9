"""All that a plugin author imports.

A plugin is a module named under the entry-point group ``lmkit`` that implements hooks of
:mod:`lmkit.hookspecs` and registers :class:`Task` classes. From a task's declaration come its
panel, its cell magic and options, its Python call and its command line.

A plugin says which host it was written for by a module constant, for instance
``lmkit_host_api = ">=1,<2"``; without one it is taken to fit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

import pluggy

from lmkit.errors import FieldError, LmkitError, ModelError
from lmkit.protocol.messages import (
    Alternative,
    Axis,
    BooleanField,
    Cell,
    Change,
    Chart,
    ChoiceField,
    ChosenToken,
    ColumnSpec,
    FieldSpec,
    Grid,
    HeadGrid,
    HeadMeasure,
    IntegerField,
    JobInfo,
    Labels,
    LabelScore,
    Matrix,
    NumberField,
    Page,
    Reply,
    Result,
    Series,
    Span,
    Spans,
    Table,
    Text,
    TextField,
    Token,
    TokenChoices,
    TokenLabels,
    TokenRow,
    TokenScores,
    Tree,
    TreeNode,
)
from lmkit.protocol.words import Word, Words
from lmkit.rows import Row, RowBatch, RowOutput, RowProblem, RowResults, RowSequence, RowStream
from lmkit.work import current_work

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "HOST_API",
    "Alternative",
    "Axis",
    "Cell",
    "Change",
    "Chart",
    "ChosenToken",
    "Column",
    "ColumnSpec",
    "Command",
    "Completion",
    "Field",
    "FieldError",
    "FieldSpec",
    "GeneratedText",
    "Grid",
    "HeadGrid",
    "HeadMeasure",
    "Job",
    "JobInfo",
    "LabelScore",
    "Labels",
    "LmkitError",
    "LoadedModel",
    "Matrix",
    "ModelError",
    "ModelPass",
    "Page",
    "RegisterCommand",
    "RegisterTask",
    "RegisterView",
    "Reply",
    "Result",
    "Row",
    "RowBatch",
    "RowOutput",
    "RowProblem",
    "RowResults",
    "RowSequence",
    "RowStream",
    "RowTable",
    "Series",
    "Span",
    "Spans",
    "Table",
    "Task",
    "Text",
    "TextTrace",
    "Token",
    "TokenChoices",
    "TokenLabels",
    "TokenRow",
    "TokenScores",
    "Tools",
    "Tree",
    "TreeNode",
    "View",
    "Word",
    "Words",
    "follow",
    "hookimpl",
    "pass_of",
    "progress",
    "replace_values",
    "shared",
    "show",
    "stopped",
]

HOST_API = (1, 0)
"""Version (major, minor) of this API. Major changes break plugins, minor ones add to it."""

hookimpl = pluggy.HookimplMarker("lmkit")
"""Marks a function as the implementation of a hook of :mod:`lmkit.hookspecs`."""


class Field:
    """Makes the fields of a task. Each name is the keyword that ``Task.run`` receives.

    A field with ``later`` waits behind More in the form, unless its value is not the default.
    """

    @staticmethod
    def text(
        name: str,
        *,
        label: str = "",
        help: str = "",  # noqa: A002 - the word that every form library uses
        default: str = "",
        required: bool = True,
        multiline: bool = True,
        placeholder: str = "",
        body: bool | None = None,
        hidden: bool = False,
        later: bool = False,
    ) -> TextField:
        """Free text. The first text field takes the body of a ``%%lm`` cell unless told else.

        A body of several lines takes what is selected in an editor, too. One that is not
        ``multiline`` holds a name or the path of a file, and no sentence is put there.

        No form draws a ``hidden`` field, of whatever kind: a click in a result sets it, by a
        :class:`Change`. It is an option of the magic, the command line and Python all the same.
        """
        return TextField(
            name=name,
            label=label or _label(name),
            help=help,
            later=later,
            default=default,
            required=required,
            multiline=multiline,
            placeholder=placeholder,
            body=bool(body),
            hidden=hidden,
        )

    @staticmethod
    def integer(
        name: str,
        *,
        minimum: int,
        maximum: int,
        default: int | None = None,
        step: int = 1,
        label: str = "",
        help: str = "",  # noqa: A002
        hidden: bool = False,
        later: bool = False,
    ) -> IntegerField:
        """A whole number between two bounds, both included."""
        return IntegerField(
            name=name,
            label=label or _label(name),
            help=help,
            later=later,
            default=minimum if default is None else default,
            minimum=minimum,
            maximum=maximum,
            step=step,
            hidden=hidden,
        )

    @staticmethod
    def number(
        name: str,
        *,
        minimum: float,
        maximum: float,
        default: float | None = None,
        step: float = 0.01,
        label: str = "",
        help: str = "",  # noqa: A002
        hidden: bool = False,
        later: bool = False,
    ) -> NumberField:
        """A real number between two bounds, both included."""
        return NumberField(
            name=name,
            label=label or _label(name),
            help=help,
            later=later,
            default=float(minimum if default is None else default),
            minimum=float(minimum),
            maximum=float(maximum),
            step=float(step),
            hidden=hidden,
        )

    @staticmethod
    def choice(
        name: str,
        options: Sequence[str],
        *,
        default: str | None = None,
        label: str = "",
        help: str = "",  # noqa: A002
        hidden: bool = False,
        later: bool = False,
    ) -> ChoiceField:
        """One of several named options."""
        chosen = tuple(options)
        return ChoiceField(
            name=name,
            label=label or _label(name),
            help=help,
            later=later,
            options=chosen,
            default=chosen[0] if default is None and chosen else default or "",
            hidden=hidden,
        )

    @staticmethod
    def boolean(
        name: str,
        *,
        default: bool = False,
        label: str = "",
        help: str = "",  # noqa: A002
        hidden: bool = False,
        later: bool = False,
    ) -> BooleanField:
        """Yes or no."""
        return BooleanField(
            name=name,
            label=label or _label(name),
            help=help,
            later=later,
            default=default,
            hidden=hidden,
        )


class Column:
    """Makes the columns that a task reads from a data set; the name is the key in :class:`Row`."""

    @staticmethod
    def text(name: str, *, label: str = "", help: str = "", required: bool = True) -> ColumnSpec:  # noqa: A002
        """A text: ``str``, never empty where it is required."""
        return _column("text", name, label, help, required)

    @staticmethod
    def chat(name: str, *, label: str = "", help: str = "", required: bool = True) -> ColumnSpec:  # noqa: A002
        """A text, or a list of messages with ``role`` and ``content``: ``str``, the latter as JSON.

        So a text field of the form holds it too.
        """
        return _column("chat", name, label, help, required)

    @staticmethod
    def label(name: str, *, label: str = "", help: str = "", required: bool = False) -> ColumnSpec:  # noqa: A002
        """The right label: its name (``str``) or index (``int``); a ``float`` for a regression."""
        return _column("label", name, label, help, required)

    @staticmethod
    def labels(name: str, *, label: str = "", help: str = "", required: bool = False) -> ColumnSpec:  # noqa: A002
        """Several labels: a tuple of names or indices. One label alone becomes a tuple of one.

        A list of booleans, or of floats that are 0 and 1, is a vector with one for each label: a
        tuple of ``bool``.
        """
        return _column("labels", name, label, help, required)

    @staticmethod
    def words(name: str, *, label: str = "", help: str = "", required: bool = False) -> ColumnSpec:  # noqa: A002
        """A text in words: a tuple of ``str``."""
        return _column("words", name, label, help, required)

    @staticmethod
    def spans(name: str, *, label: str = "", help: str = "", required: bool = False) -> ColumnSpec:  # noqa: A002
        """Marked stretches of the text: a tuple of :class:`Span`."""
        return _column("spans", name, label, help, required)


def _column(
    kind: Literal["text", "label", "labels", "words", "spans", "chat"],
    name: str,
    label: str,
    help: str,  # noqa: A002
    required: bool,
) -> ColumnSpec:
    return ColumnSpec(
        name=name, label=label or _label(name), help=help, kind=kind, required=required
    )


def _label(name: str) -> str:
    return name.replace("_", " ").capitalize()


@runtime_checkable
class TextTrace(Protocol):
    """One captured forward pass over a text, with the text's tokens and words.

    Layers and heads count from 0. All arrays are float32 on the host; attention rows are the
    model's own softmax output and sum to 1, but for models with attention sinks.
    """

    @property
    def text(self) -> str:
        """The text that all places count in."""
        ...

    @property
    def tokens(self) -> tuple[Token, ...]:
        """One entry a token, special ones included."""
        ...

    @property
    def words(self) -> Words:
        """The words, each with its tokens."""
        ...

    @property
    def output(self) -> Any:
        """What the model returned (``transformers.utils.ModelOutput``), logits included."""
        ...

    @property
    def layers(self) -> Sequence[Any]:
        """The layers that have attention (:class:`lmkit.capture.LayerInfo`)."""
        ...

    def attention(self, layer: int, head: int) -> np.ndarray:
        """Attention of one head, shape (queries, keys)."""
        ...

    def rows(self, layer: int, head: int, rows: Sequence[int] | slice) -> np.ndarray:
        """Chosen rows of one head, shape (rows, keys)."""
        ...

    def attention_received(self) -> np.ndarray:
        """Attention that each token receives, mean over layers, heads, queries; (tokens,)."""
        ...


@runtime_checkable
class GeneratedText(TextTrace, Protocol):
    """A text that a model wrote: one trace of all that was read, step by step.

    See :class:`lmkit.models.generation_trace.GenerationTrace` for each attribute.
    """

    generated: int
    written: tuple[Any, ...]
    completion: str
    steps: tuple[Any, ...]
    turns: tuple[tuple[str, int, int], ...]
    seed: int
    sequences: tuple[tuple[int, ...], ...]
    sequence_scores: tuple[float, ...]
    restarted: str

    @property
    def sequence(self) -> tuple[int, ...]:
        """The ids of the whole sequence (of the decoder), the last one included."""
        ...


class ModelPass(TextTrace, Protocol):
    """A pass that can be made again by hand, changed: what went in, and the model that read it.

    Those that :meth:`LoadedModel.trace` made are such passes; :func:`pass_of` tells. Of a text
    that the model wrote, ``inputs()`` is the whole text, read at once.
    """

    @property
    def model(self) -> LoadedModel:
        """The model that it was made with."""
        ...

    @property
    def decoder_tokens(self) -> tuple[Token, ...]:
        """What the decoder of an encoder-decoder model read; empty for other models."""
        ...

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user must know of this pass: a text that was cut."""
        ...

    def inputs(self) -> dict[str, Any]:
        """Keyword arguments for the model: tensors with a batch of one, on its device."""
        ...


def pass_of(trace: TextTrace) -> ModelPass | None:
    """The same pass with its model and inputs; None where it was captured from the user's code."""
    known: Any = trace
    own = callable(getattr(type(trace), "inputs", None)) and hasattr(trace, "model")
    return known if own else None


@dataclass(frozen=True)
class Completion:
    """What a model wrote after a prompt, without its attention.

    Attributes:
        text: What the new tokens say.
        ids: The new tokens.
        read: How many tokens of the prompt were read.
        total: How many it has.
    """

    text: str
    ids: tuple[int, ...]
    read: int
    total: int


class LoadedModel(ABC):
    """A model and its tokenizer on a device, as a task's ``run`` receives it."""

    name: str
    """As the user named it: ``starter:sentiment``, a hub id, a path, or the class of an object."""

    @property
    @abstractmethod
    def model(self) -> Any:
        """The ``transformers`` model, in eval mode unless the user's own object was in train."""

    @property
    @abstractmethod
    def tokenizer(self) -> Any:
        """Its tokenizer."""

    @property
    @abstractmethod
    def device(self) -> str:
        """Where the model is: ``cpu``, ``cuda:0``, ``mps``."""

    @property
    @abstractmethod
    def dtype(self) -> str:
        """Type of its weights, for instance ``float32``."""

    @property
    @abstractmethod
    def labels(self) -> tuple[str, ...]:
        """Names of the classes of the model's head, by index; empty where it has none."""

    @property
    @abstractmethod
    def warnings(self) -> tuple[str, ...]:
        """What the user must know of this model: a random head, a truncated text."""

    @property
    def kind(self) -> str:
        """Class of the model below its wrappers: ``BertForSequenceClassification``."""
        return type(self.model).__name__

    @property
    def longest(self) -> int:
        """Most tokens that it reads at once, special ones included; 0 where that is not known."""
        return 0

    @property
    def free_memory(self) -> int:
        """Bytes that are free on its device now; 0 where that is not known."""
        return 0

    def hold(self) -> AbstractContextManager[object]:
        """Keep the weights in memory for a block; lmkit does so for each run of a task."""
        return nullcontext(self)

    def borrow(self, doing: str = "this pass") -> AbstractContextManager[Any]:
        """The model itself for the time of a block, to call with gradients of the inputs.

        In the block it is in eval mode, its weights ask for no gradients, and other passes of it
        wait. Afterwards its training mode, ``requires_grad`` and ``grad`` are as before.

        Args:
            doing: What the memory is for, in the sentence of a full device.

        Raises:
            DeviceMemoryError: in the block, when the device is full.
        """
        return nullcontext(self.model)

    @abstractmethod
    def trace(self, text: str, pair: str | None = None, *, values: bool = False) -> TextTrace:
        """Run one forward pass over ``text`` without gradients and keep its attention.

        The last trace of a run feeds the panel's attention explorer. A text longer than the
        model takes is cut, with a warning that says by how much.

        Args:
            text: The text.
            pair: A second text for models that read pairs.
            values: Keep the value vectors too.

        Raises:
            FieldError: the text is empty after tokenisation.
            Cancelled: the user pressed Stop; raised at the next layer.
        """

    def batches(
        self,
        rows: Iterable[Row],
        *,
        text: str | Callable[[Row], str] = "text",
        pair: str | Callable[[Row], str | None] | None = None,
        batch_size: int = 32,
        stride: int | None = None,
        total: int = 0,
        label: str = "Rows",
    ) -> Iterator[RowBatch | RowProblem]:
        """Run the model over rows, texts of about the same length together.

        Eval mode, no gradients, nothing captured. Some thousand rows are read at a time, sorted by
        length and batched, so memory does not grow with the data set. Reports progress and obeys
        Stop between batches. On one of several processes it yields that process's batches.

        Args:
            rows: The rows, each read once.
            text: The column of the text, or what makes it from a row.
            pair: Likewise for a second text.
            batch_size: Most sequences in a batch; fewer where they are long or memory is short.
            stride: Read a long text in windows that share so many tokens; by default it is cut.
            total: How many rows there are, for the progress bar.
            label: Before the numbers of the progress bar.

        Yields:
            Batches, by falling length within a few thousand rows; and a :class:`RowProblem`, with
            the column named ``text``, for a row that the tokenizer or the model fails on.

        Raises:
            ModelError: the model reads no batches.
            Cancelled: the user pressed Stop.
        """
        raise ModelError(f"{self.name} does not read data sets.")

    def trace_generation(
        self,
        prompt: str | Sequence[Mapping[str, Any]],
        *,
        max_new_tokens: int = 40,
        seed: int | None = None,
        chat: bool = False,
        values: bool = False,
        prefix: Sequence[int] = (),
        on_token: Callable[[Any], None] | None = None,
        **options: Any,
    ) -> GeneratedText:
        """Let the model write on, and keep the attention of each step of the real run.

        The last trace of a run feeds the panel's explorer, which steps through it. A task that asks
        :func:`stopped` keeps what was written when the user presses Stop.

        Args:
            prompt: A text; with ``chat`` also messages with ``role`` and ``content``.
            max_new_tokens: Most tokens to write, those of ``prefix`` included.
            seed: Of torch's generators during the call; outside of it they stand as before.
            chat: Write the prompt by the tokenizer's chat template.
            values: Keep the value vectors too.
            prefix: Ids that the text begins with, in the model's place. Where they part from a
                text written before at their last token, that text's key-value cache is kept.
            on_token: Told of each :class:`lmkit.models.generation_trace.GeneratedToken` as it is
                written (not with beams).
            options: For transformers' ``generate``.

        Raises:
            FieldError: nothing is left of the prompt after tokenisation.
            ModelError: the model does not write, or failed.
            Cancelled: the user pressed Stop.
        """
        raise ModelError(f"{self.name} does not write text.")

    def complete(
        self,
        prompt: str | Sequence[Mapping[str, Any]],
        *,
        max_new_tokens: int = 40,
        seed: int | None = None,
        chat: bool = False,
        **options: Any,
    ) -> Completion:
        """Let the model write on, and keep nothing but the text: for the rows of a data set.

        The same text as :meth:`trace_generation` gives; arguments and errors are its own.
        """
        raise ModelError(f"{self.name} does not write text.")

    def complete_all(
        self,
        prompts: Sequence[str | Sequence[Mapping[str, Any]]],
        *,
        max_new_tokens: int = 40,
        chat: bool = False,
        **options: Any,
    ) -> tuple[Completion, ...]:
        """As :meth:`complete`, of several prompts at once, greedily.

        They are filled up to the longest where the model's family can tell the filling from a
        prompt, and written one after the other elsewhere. Texts are those of :meth:`complete` but
        where two tokens are equally likely to the last digits of the model's type.

        Raises:
            FieldError: nothing is left of one of the prompts after tokenisation.
        """
        return tuple(
            self.complete(one, max_new_tokens=max_new_tokens, chat=chat, **options)
            for one in prompts
        )


class Task:
    """What a plugin can do with a model. Declare it once; everything else follows.

    Class attributes:
        name: What users type: ``%%lm NAME``. Lower-case letters, digits and hyphens.
        title: For headings.
        help: One sentence for listings and ``--help``.
        verb: Method name on a loaded model: ``lmkit.load(...).VERB(...)``; default the name.
        auto_class: Name of the ``transformers`` auto class that loads its models; of several,
            joined by ``|``, the first whose head a model has, else the last that takes it.
        default_model: Used when the user names none.
        fields: The inputs, made by :class:`Field`, in the order of the form.
        columns: What it reads from a data set, made by :class:`Column`; with them the task has a
            data-set mode. A column of a field's name stands in for that field.
        report_fields: Controls of the report on a data set, made by :class:`Field`, with names of
            their own. A change of one makes the report again without a run of the model.
    """

    name: ClassVar[str] = ""
    title: ClassVar[str] = ""
    help: ClassVar[str] = ""
    verb: ClassVar[str] = ""
    auto_class: ClassVar[str] = "AutoModel"
    default_model: ClassVar[str] = ""
    fields: ClassVar[tuple[FieldSpec, ...]] = ()
    columns: ClassVar[tuple[ColumnSpec, ...]] = ()
    report_fields: ClassVar[tuple[FieldSpec, ...]] = ()

    def run(self, model: LoadedModel, *args: Any, **values: Any) -> Result | Sequence[Result]:
        """Do the task: ``run(self, model, *, text, ...)``, one keyword a field, already checked.

        ``*args`` is never used; it tells type checkers that subclasses choose their own keywords.

        Runs off the main thread when started from a panel. Long loops call :func:`progress`.
        """
        raise TypeError(f"{type(self).__name__} defines no run(self, model, *, ...).")

    def run_rows(
        self, model: LoadedModel, rows: RowStream, *args: Any, **values: Any
    ) -> Iterator[tuple[Row, RowOutput] | RowProblem]:
        """Do the task for rows of a data set: ``run_rows(self, model, rows, *, ...)``.

        A generator that yields each row with what was found for it (plain values that JSON can
        hold) as soon as it is known, in any order; or a :class:`RowProblem`. What it has yielded
        stays when the user stops. :meth:`LoadedModel.batches` runs the model.

        Args:
            model: The model.
            rows: The rows, checked, with the columns that the user mapped. Read once, in order.
            *args: Never used; tells type checkers that subclasses choose their own keywords.
            **values: One keyword for each field that is not a column.
        """
        raise TypeError(f"{type(self).__name__} defines no run_rows(self, model, rows, *, ...).")

    def report_rows(self, done: RowResults, *args: Any, **values: Any) -> Sequence[Result]:
        """What to show of a data set's rows: ``report_rows(self, done, *, ...)``.

        Asked after a run, whether it came to its end or was stopped, and again whenever one of
        ``report_fields`` changes. Quick, and without the model.

        Args:
            done: The rows that are done and what :meth:`run_rows` found for them.
            *args: Never used; tells type checkers that subclasses choose their own keywords.
            **values: One keyword for each field that is not a column and for each report field.
        """
        raise TypeError(f"{type(self).__name__} defines no report_rows(self, done, *, ...).")

    def from_python(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Values of fields as a Python call gives them, as those that the fields hold.

        For what is an object in Python and a text in the form: a list of messages, say. The fields
        check what comes back.

        Raises:
            FieldError: a value that is none of the field's.
        """
        return values

    def job(self, values: Mapping[str, Any]) -> Job | None:
        """The job that a panel opened with these values looks at before anything is run.

        A panel that was opened on the folder of a job of another kernel, or of this one before its
        restart, shows it at once. Quick: it reads what there is and starts nothing.
        """
        return None

    def without_names(
        self,
        model: LoadedModel,
        texts: Sequence[str],
        *,
        known: Sequence[str] = (),
        kinds: str = "",
    ) -> Sequence[str]:
        """The texts with placeholders in place of names, for ``lmkit strip --names``.

        Args:
            model: One of the task's auto class.
            texts: Texts of one notebook, none of them blank. A name gets the same placeholder in
                all of them.
            known: Texts that are no prose (data, paths, tags of a page): only names that are known
                from others are replaced in them. Given with ``--sources`` alone.
            kinds: Which kinds of names, as the user wrote it behind ``--kinds``; empty for all.

        Returns:
            The new ``texts``, then the new ``known``, as many and in the same order.

        Raises:
            LmkitError: a text could not be read; nothing is written then.
        """
        raise TypeError(f"{type(self).__name__} defines no without_names(self, model, texts).")

    def panel(self, kit: Any, values: Mapping[str, Any]) -> Any:
        """Return a panel of plain ipywidgets instead of the one made from the fields.

        Args:
            kit: The loaded model with the session (:class:`lmkit.kit.Kit`); ``kit.run(self.name,
                **values)`` runs the task.
            values: Values for the fields to start with.

        Returns:
            Any ``ipywidgets.Widget``, or None (the default) for lmkit's own panel.
        """
        return None


RegisterTask = Callable[[type[Task]], None]
"""What ``lmkit_register_tasks`` receives."""


class Job(ABC):
    """Long work in a process of its own, known by its name, that panels and lists look at.

    The name is that of its folder as a rule. ``JobInfo.field`` says which field of the task's form
    takes it: a list offers the line that opens the panel, ``%lm TASK --FIELD NAME``.

    A task starts one in ``run`` and calls :func:`follow`; the run ends, the kernel is free, and the
    panel is drawn anew from the job whenever :meth:`info` changes. All methods are called from a
    thread, about twice a second while the job goes on, and read little each time.
    """

    @abstractmethod
    def info(self) -> JobInfo:
        """Where it is now."""

    @abstractmethod
    def results(self) -> Sequence[Result]:
        """What the panel draws of it now."""

    @abstractmethod
    def act(self, name: str) -> None:
        """Carry out a button: ``"pause"``, ``"resume"`` or ``"stop"``.

        Raises:
            LmkitError: it can't be done.
        """

    def attention(self, tools: Tools) -> TextTrace | None:
        """A pass for the panel's explorer, made anew; None where the last one still holds.

        It may take its time: what :meth:`results` gave is drawn before.
        """
        return None


class View:
    """Another look at a captured pass, with a tab of its own beside the pictures of a head.

    Its results are drawn by the same parts as a task's, in every editor; nothing of it is written
    in JavaScript. From Python it is ``r.attention.view(NAME, **fields)``.

    Class attributes:
        name: What users type. Lower-case letters, digits and hyphens.
        title: On the tab.
        help: One sentence on what it shows.
        fields: A small form above the results, made by :class:`Field`.
        follows: The parts of the selection that the results depend on, of ``"layer"``,
            ``"head"``, ``"tokens"``; when one of them changes the view is asked again.
    """

    name: ClassVar[str] = ""
    title: ClassVar[str] = ""
    help: ClassVar[str] = ""
    fields: ClassVar[tuple[FieldSpec, ...]] = ()
    follows: ClassVar[frozenset[str]] = frozenset({"layer", "head", "tokens"})

    def unavailable(self, trace: TextTrace) -> str:
        """Why this view has nothing to show for a pass, as one sentence; empty where it has."""
        return ""

    def show(self, trace: TextTrace, *args: Any, **values: Any) -> Result | Sequence[Result]:
        """Make the results: ``show(self, trace, *, layer, head, tokens, ...)``.

        Runs off the main thread. Long loops call :func:`progress`, which draws the bar and obeys
        Stop.

        Args:
            trace: The pass.
            *args: Never used; tells type checkers that subclasses choose their own keywords.
            **values: ``layer``, an index into ``trace.layers``; ``head``, one of that layer's;
                ``tokens``, a tuple of the chosen queries, ascending and often empty; and then one
                for each field, checked.
        """
        raise TypeError(f"{type(self).__name__} defines no show(self, trace, *, ...).")


class RowTable(Protocol):
    """Rows under named columns, whatever holds them; a cell is read when it is asked for."""

    @property
    def name(self) -> str:
        """What the data set is called."""
        ...

    @property
    def columns(self) -> Sequence[str]:
        """Names of its columns, in order."""
        ...

    @property
    def count(self) -> int:
        """How many rows it has."""
        ...

    def read(self, column: str, rows: Sequence[int]) -> list[Any]:
        """Cells of one column as Python values, None where a row has none.

        Raises:
            DataSetError: there is no such column.
        """
        ...


@runtime_checkable
class Tools(Protocol):
    """What lmkit lends to a command: models by name, attention of their passes, rows of data."""

    def model(
        self,
        source: Any,
        auto_class: str = "AutoModel",
        *,
        tokenizer: Any = None,
        device: str | None = None,
        dtype: str | None = None,
    ) -> LoadedModel:
        """Load a model as every task of lmkit would: the same names, checks and sentences.

        Args:
            source: ``starter:NAME``, a folder, a hub id, or a ``transformers`` model.
            auto_class: Name of the ``transformers`` auto class.
            tokenizer: The tokenizer of a model that is in memory.
            device: ``cpu``, ``cuda:0``...; a model in memory stays where it is.
            dtype: ``float32``...; default: as in the checkpoint.

        Raises:
            ModelError: one sentence saying what went wrong.
        """
        ...

    def loading(self) -> AbstractContextManager[None]:
        """Held while a plugin loads something with ``transformers`` itself, from a thread of a job.

        ``from_pretrained`` changes state of the whole process (the default dtype, whether weights
        are initialised), so that two loads at once would spoil each other. Its bars and reports
        are kept out of the user's cells meanwhile.
        """
        ...

    def capture(
        self, model: Any, *, values: bool = False, gradients: bool = False
    ) -> AbstractContextManager[Any]:
        """Record the attention of the passes of a module in a ``with`` block.

        Gives a :class:`lmkit.capture.Trace`; ``trace.tensors(layer)`` holds queries, keys and
        values of the batch, with ``gradients`` as the pass made them, so that a loss may be
        computed from them. The model stays on its own kernel.
        """
        ...

    def rows(self, data: Any) -> RowTable:
        """Open a data set: all that ``kit.evaluate`` takes, see docs/datasets.md.

        Raises:
            DataSetError: it holds no rows that can be read, saying why.
        """
        ...


class Command:
    """A verb of the command line that is no task: ``lmkit NAME ...``; and ``lmkit.NAME(...)``.

    Class attributes:
        name: What users type. Lower-case letters, digits and hyphens.
        help: One line for ``lmkit --help``.
    """

    name: ClassVar[str] = ""
    help: ClassVar[str] = ""

    def main(self, tools: Tools, words: Sequence[str]) -> int:
        """Run ``lmkit NAME words...``; return the exit status.

        An :class:`~lmkit.errors.LmkitError` is printed as its sentence and gives status 1.
        """
        raise TypeError(f"{type(self).__name__} defines no main(self, tools, words).")

    def call(self, tools: Tools, *args: Any, **values: Any) -> Any:
        """What ``lmkit.NAME(...)`` does in Python; hyphens of the name become underscores.

        Where it is not defined, there is no such function.
        """
        raise TypeError(f"{type(self).__name__} defines no call(self, tools, ...).")


RegisterCommand = Callable[[type[Command]], None]
"""What ``lmkit_register_commands`` receives."""

RegisterView = Callable[[type[View]], None]
"""What ``lmkit_register_views`` receives."""


def progress(label: str, done: int = 0, total: int = 0) -> None:
    """Report how far the current run is, and stop it here if the user pressed Stop.

    Outside a run it does nothing.

    Raises:
        Cancelled: the user pressed Stop.
    """
    work = current_work()
    if work is not None:
        work.report(label, done, total)


def shared(rows: Iterable[Row]) -> Iterator[Row]:
    """Those rows of a data set that are this process's, where several share one.

    :meth:`LoadedModel.batches` does so by itself; this is for a task that takes row by row.
    """
    work = current_work()
    rank, count = work.share if work is not None else (0, 1)
    for turn, row in enumerate(rows):
        if turn % count == rank:
            yield row


def replace_values(**values: Any) -> None:
    """Have the form hold other values once the current run has succeeded.

    They stand in for those of the run in all that is kept of it: the panel, "Copy as Python", the
    run record and saved outputs. A field that its user has changed in the meantime keeps the
    change. Outside a run it does nothing.

    Args:
        **values: New values by field name.
    """
    work = current_work()
    if work is not None:
        work.replaced.update(values)


def show(*results: Result) -> None:
    """Show what a run has found so far, in place of its results, and go on.

    Call it as often as you like: the newest is drawn, about twenty times a second. What ``run``
    returns replaces it; if the run fails or is stopped, what was there before returns.

    Outside a run it does nothing.

    Raises:
        Cancelled: the user pressed Stop, and the task does not ask :func:`stopped` itself.
        TaskError: something that is no sound result.
    """
    work = current_work()
    if work is not None:
        work.show(results)


def follow(job: Job) -> None:
    """Have the panel of the current run draw a job from now on. Outside a run it does nothing."""
    work = current_work()
    if work is not None:
        work.job = job


def stopped() -> bool:
    """Whether the user pressed Stop, for a task that ends by itself and keeps what it has.

    Once a run has asked, :func:`progress` and :func:`show` raise no more, and what ``run`` returns
    is shown as the result of a run that was stopped. A task that asks must ask often.
    """
    work = current_work()
    return work is not None and work.asked_to_stop()
