"""Every message between a kernel and a view, as typed structs: the one schema of both sides.

``python -m lmkit.protocol`` writes these types as JSON Schema; the TypeScript types and the
validators of ``js/protocol`` are generated from that file, so the two sides cannot drift. JSON
names are camelCase. Bounds stand in the types, because saved notebooks and plugins are untrusted.

Positions in a text count Unicode code points (Python's ``str`` index), not UTF-16 units.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from lmkit.protocol.record import RunRecord
from lmkit.protocol.words import Words

__all__ = [
    "PROTOCOL",
    "Accepted",
    "Action",
    "Advanced",
    "Alternative",
    "Answer",
    "Answered",
    "AttentionSpec",
    "Axis",
    "BooleanField",
    "Bundle",
    "Cancel",
    "CancelledAnswer",
    "Cell",
    "Change",
    "Changed",
    "Chart",
    "ChoiceField",
    "ChosenToken",
    "ColumnSpec",
    "DataSetSpec",
    "DeviceInfo",
    "Done",
    "Edit",
    "Encoding",
    "ErrorAnswer",
    "ErrorInfo",
    "Event",
    "Export",
    "ExportFormat",
    "ExportOptions",
    "Exported",
    "FieldSpec",
    "Grid",
    "HeadGrid",
    "HeadMeasure",
    "Header",
    "Hello",
    "HomeSpec",
    "IntegerField",
    "LabelScore",
    "Labels",
    "LayerSpec",
    "LensSpec",
    "Live",
    "Matrix",
    "ModelInfo",
    "NumberField",
    "Outgoing",
    "Page",
    "PanelSpec",
    "Partial",
    "PluginInfo",
    "Progress",
    "Query",
    "Request",
    "Result",
    "Rows",
    "Run",
    "RunRecord",
    "SavedAnswer",
    "SavedTile",
    "Scale",
    "Select",
    "Selected",
    "Selection",
    "Series",
    "Span",
    "Spans",
    "StarterInfo",
    "Status",
    "StatusChanged",
    "StepSpec",
    "Table",
    "TaskCell",
    "TaskInfo",
    "Text",
    "TextField",
    "TileAnswer",
    "TileHeader",
    "TileRequest",
    "Token",
    "TokenChoices",
    "TokenColumns",
    "TokenLabels",
    "TokenRow",
    "TokenScores",
    "Tree",
    "TreeNode",
    "ViewInfo",
    "ViewSpec",
    "Welcome",
]

PROTOCOL = 1
"""Version of this protocol. A saved view of another version is refused with a clear message."""

Name = Annotated[str, Meta(min_length=1, max_length=128)]
Id = Annotated[str, Meta(min_length=1, max_length=64)]
Line = Annotated[str, Meta(max_length=10_000)]
LongText = Annotated[str, Meta(max_length=4_000_000)]
_MOST = 10_000_000
Index = Annotated[int, Meta(ge=0, le=_MOST)]
Count = Annotated[int, Meta(ge=0, le=9_007_199_254_740_991)]
Finite = Annotated[float, Meta(ge=-1e308, le=1e308)]
Probability = Annotated[float, Meta(ge=0.0, le=1.0)]
TileKey = Annotated[str, Meta(min_length=1, max_length=4_096)]
Dimension = Annotated[int, Meta(ge=0, le=65_536)]
LensName = Annotated[str, Meta(max_length=64)]
Encoding = Literal["f32", "sqrt-u6", "sqrt-u8", "sqrt-u16"]
Scale = Literal["share", "amount", "difference"]
"""What numbers mean: shares of 1; amounts of 0 and more, unbounded; differences in [-1, 1]."""
# Beyond these a browser reads another number; NaN and infinity are not JSON.
Whole = Annotated[int, Meta(ge=-9_007_199_254_740_991, le=9_007_199_254_740_991)]
FieldValue = Annotated[str, Meta(max_length=4_000_000)] | bool | Whole | Finite | None


class Struct(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=False):
    """Base of all messages: immutable, keyword-only, camelCase in JSON."""


# -- fields: what a task asks for -----------------------------------------------------------------


class FieldBase(Struct, frozen=True, kw_only=True):
    """What every field has: its name (a Python identifier), label and help text.

    No form draws a ``hidden`` one: it is state that a click in a result sets (:class:`Change`).
    With ``later`` a form draws it behind More, unless its value is not the default.
    """

    name: Name
    label: Line
    help: Line = ""
    hidden: bool = False
    later: bool = False


class TextField(FieldBase, frozen=True, kw_only=True, tag="text", tag_field="kind"):
    """Free text. ``body`` marks the field that takes the body of a ``%%lm`` cell."""

    default: LongText = ""
    required: bool = True
    multiline: bool = True
    placeholder: Line = ""
    body: bool = False


class IntegerField(FieldBase, frozen=True, kw_only=True, tag="integer", tag_field="kind"):
    """A whole number from ``minimum`` to ``maximum``, both included."""

    default: Whole
    minimum: Whole
    maximum: Whole
    step: Annotated[int, Meta(ge=1)] = 1


class NumberField(FieldBase, frozen=True, kw_only=True, tag="number", tag_field="kind"):
    """A real number from ``minimum`` to ``maximum``, both included."""

    default: Finite
    minimum: Finite
    maximum: Finite
    step: Annotated[float, Meta(gt=0.0)] = 0.01


class ChoiceField(FieldBase, frozen=True, kw_only=True, tag="choice", tag_field="kind"):
    """One of ``options``."""

    options: Annotated[tuple[Line, ...], Meta(min_length=1, max_length=10_000)]
    default: Line


class BooleanField(FieldBase, frozen=True, kw_only=True, tag="boolean", tag_field="kind"):
    """Yes or no."""

    default: bool = False


FieldSpec = TextField | IntegerField | NumberField | ChoiceField | BooleanField


# -- results: what a task or a view gives back ----------------------------------------------------


class Token(Struct, frozen=True, kw_only=True):
    """One token. ``text`` is decoded for people, ``raw`` as in the vocabulary.

    ``start`` and ``end`` are its place in the input text (equal when it has none), ``word`` the
    index of its word or None for special tokens.
    """

    text: LongText
    raw: LongText
    special: bool = False
    word: Index | None = None
    start: Index = 0
    end: Index = 0


_Columns = Meta(max_length=1_000_000)
_Step = Annotated[int, Meta(ge=-20_000_000, le=20_000_000)]


class TokenColumns(Struct, frozen=True, kw_only=True, dict=True):
    """Tokens by column: 512 of BERT's take 8 kB, and 39 kB as a list of objects.

    A sequence of :class:`Token`. A column may be left out where it says nothing. ``raw`` has None
    where it equals ``text``; ``special`` are places; ``words`` are steps from the word before,
    which is -1 at first, and None for a token of no word; ``gaps`` are the characters between the
    end of the token before and the start, ``lengths`` those from start to end.

    Raises:
        ValueError: columns of different lengths, or a place that is out of bounds.
    """

    text: Annotated[tuple[LongText, ...], _Columns]
    raw: Annotated[tuple[LongText | None, ...], _Columns] = ()
    special: Annotated[tuple[Index, ...], _Columns] = ()
    words: Annotated[tuple[_Step | None, ...], _Columns] = ()
    gaps: Annotated[tuple[_Step, ...], _Columns] = ()
    lengths: Annotated[tuple[_Step, ...], _Columns] = ()

    def __post_init__(self) -> None:
        count = len(self.text)
        for column in (self.raw, self.words, self.gaps, self.lengths):
            if len(column) not in (0, count):
                raise ValueError(f"a column has {len(column)} places for {count} tokens")
        if self.special and max(self.special) >= count:
            raise ValueError(f"there is no token {max(self.special)}")
        _ = self.all  # its places are in bounds

    @classmethod
    def of(cls, tokens: Sequence[Token]) -> TokenColumns:
        """Write tokens by column."""
        words: list[int | None] = []
        gaps: list[int] = []
        last, end = -1, 0
        for token in tokens:
            words.append(None if token.word is None else token.word - last)
            last = last if token.word is None else token.word
            gaps.append(token.start - end)
            end = token.end
        lengths = tuple(token.end - token.start for token in tokens)
        raw = tuple(None if token.raw == token.text else token.raw for token in tokens)
        return cls(
            text=tuple(token.text for token in tokens),
            raw=raw if any(one is not None for one in raw) else (),
            special=tuple(index for index, token in enumerate(tokens) if token.special),
            words=tuple(words) if any(one is not None for one in words) else (),
            gaps=tuple(gaps) if any(gaps) else (),
            lengths=lengths if any(lengths) else (),
        )

    @functools.cached_property
    def all(self) -> tuple[Token, ...]:
        """The tokens."""
        special = set(self.special)
        tokens: list[Token] = []
        last, end = -1, 0
        for index, text in enumerate(self.text):
            raw = self.raw[index] if self.raw else None
            step = self.words[index] if self.words else None
            last = last if step is None else last + step
            start = end + (self.gaps[index] if self.gaps else 0)
            end = start + (self.lengths[index] if self.lengths else 0)
            word = 0 if step is None else last
            if any(not 0 <= place <= _MOST for place in (start, end, word)):
                raise ValueError(f"the place of token {index} is out of bounds")
            tokens.append(
                Token(
                    text=text,
                    raw=text if raw is None else raw,
                    special=index in special,
                    word=None if step is None else last,
                    start=start,
                    end=end,
                )
            )
        return tuple(tokens)

    def __len__(self) -> int:
        return len(self.text)

    def __iter__(self) -> Iterator[Token]:
        return iter(self.all)

    def __getitem__(self, index: int) -> Token:
        return self.all[index]


class Change(Struct, frozen=True, kw_only=True):
    """What a click on a part of a result does: set these fields of the panel, then ``run``.

    A saved output without its kernel shows such a part plain.
    """

    values: dict[str, FieldValue]
    run: bool = True


class LabelScore(Struct, frozen=True, kw_only=True):
    """One label and its probability."""

    label: Line
    score: Probability


class Labels(Struct, frozen=True, kw_only=True, tag="labels", tag_field="kind"):
    """Probabilities of labels.

    With ``multi`` they are independent and ``threshold`` decides each; without, they sum to 1. Of
    two of those ``decides`` is the place among ``scores`` of the one that is given from the
    threshold on, the other below. ``field`` names the field that holds the threshold, which then
    acts without a run. ``before`` are those of the panel's run before, put there by the panel.
    """

    scores: Annotated[tuple[LabelScore, ...], Meta(max_length=100_000)]
    multi: bool = False
    threshold: Probability = 0.5
    title: Line = ""
    field: Annotated[str, Meta(max_length=128)] = ""
    decides: Annotated[int, Meta(ge=0, le=1)] | None = None
    note: Line = ""
    before: Annotated[tuple[LabelScore, ...], Meta(max_length=100_000)] = ()


class Span(Struct, frozen=True, kw_only=True):
    """A stretch ``text[start:end]`` with an optional label and score.

    ``tokens`` are those query tokens of the explorer's pass that it covers: a click on the span
    selects them. ``change`` is what a click does where the pass does not hold the span.
    """

    start: Index
    end: Index
    label: Line = ""
    score: Finite | None = None
    tokens: Annotated[tuple[Index, ...], Meta(max_length=100_000)] = ()
    change: Change | None = None


class Spans(Struct, frozen=True, kw_only=True, tag="spans", tag_field="kind"):
    """Marked stretches of a text, in reading order or by falling score as the task decides.

    A page is sent a part of a long text (:func:`lmkit.views.parts.parts_of`): ``offset`` is where
    ``text`` begins in the whole one, in which spans count; ``whole_characters`` and ``whole_spans``
    are how many there are in all, 0 where nothing is left out. Tasks leave the three alone.
    """

    text: LongText
    spans: Annotated[tuple[Span, ...], Meta(max_length=1_000_000)]
    title: Line = ""
    offset: Index = 0
    whole_characters: Index = 0
    whole_spans: Index = 0

    @classmethod
    def top(cls, words: Words, received: Sequence[float], k: int, *, title: str = "") -> Spans:
        """The ``k`` words with the largest scores, best first.

        Args:
            words: The words of the text, as a trace gives them.
            received: One number a token, shape (tokens,); a word scores the sum of its tokens.
            k: How many words at most.
            title: Drawn above the text.
        """
        scored = sorted(
            ((sum(float(received[token]) for token in word.tokens), word) for word in words),
            key=lambda pair: (-pair[0], pair[1].start),
        )
        spans = (Span(start=word.start, end=word.end, score=score) for score, word in scored[:k])
        return cls(text=words.text, spans=tuple(spans), title=title)


class Text(Struct, frozen=True, kw_only=True, tag="text", tag_field="kind"):
    """Plain text, drawn as text."""

    text: LongText
    title: Line = ""


class Table(Struct, frozen=True, kw_only=True, tag="table", tag_field="kind"):
    """Rows of plain values under named columns; the reader sorts them by any column.

    ``changes`` has one entry a row, or none at all: what a click on the row does.
    """

    columns: Annotated[tuple[Line, ...], Meta(max_length=10_000)]
    rows: Annotated[tuple[tuple[FieldValue, ...], ...], Meta(max_length=1_000_000)]
    title: Line = ""
    note: Line = ""
    changes: Annotated[tuple[Change | None, ...], Meta(max_length=1_000_000)] = ()


class Axis(Struct, frozen=True, kw_only=True):
    """One axis of a chart. A bound that is None is that of the numbers."""

    title: Line = ""
    low: Finite | None = None
    high: Finite | None = None


class Series(Struct, frozen=True, kw_only=True):
    """One line, one set of points or of bars: ``y[i]`` at ``x[i]``, a gap where ``y`` is None.

    ``help`` is said of it in the legend, an area under the curve say. A ``reference`` is drawn
    thin and grey: what the others are to be compared with. ``steps`` lines hold each value until
    the next.
    """

    label: Line
    x: Annotated[tuple[Finite, ...], Meta(max_length=1_000_000)]
    y: Annotated[tuple[Finite | None, ...], Meta(max_length=1_000_000)]
    draw: Literal["line", "points", "bars", "steps"] = "line"
    help: Line = ""
    reference: bool = False


class Chart(Struct, frozen=True, kw_only=True, tag="chart", tag_field="kind"):
    """Series over two axes, with a legend, values on hover and a table of them for readers."""

    series: Annotated[tuple[Series, ...], Meta(max_length=1_000)]
    x: Axis = Axis()
    y: Axis = Axis()
    title: Line = ""
    note: Line = ""
    square: bool = False


class Matrix(Struct, frozen=True, kw_only=True, tag="matrix", tag_field="kind"):
    """Numbers of pairs of labels, a confusion matrix say; one row a list.

    ``changes`` has the shape of ``cells``, or is empty: what a click on the cell does. ``chosen``
    is the cell that is in force now, row and column, or empty.
    """

    rows: Annotated[tuple[Line, ...], Meta(max_length=10_000)]
    columns: Annotated[tuple[Line, ...], Meta(max_length=10_000)]
    cells: Annotated[tuple[tuple[Finite | None, ...], ...], Meta(max_length=10_000)]
    row_title: Line = ""
    column_title: Line = ""
    title: Line = ""
    note: Line = ""
    changes: Annotated[tuple[tuple[Change | None, ...], ...], Meta(max_length=10_000)] = ()
    chosen: Annotated[tuple[Index, ...], Meta(max_length=2)] = ()


class HeadMeasure(Struct, frozen=True, kw_only=True):
    """One number for every head: ``values[layer][head]``, None where there is none.

    ``help`` says the formula in words. A diverging measure has its zero in the middle.
    """

    name: Name
    title: Line
    help: Line = ""
    values: Annotated[tuple[tuple[Finite | None, ...], ...], Meta(max_length=10_000)]
    diverging: bool = False
    unit: Line = ""


class HeadGrid(Struct, frozen=True, kw_only=True, tag="head-grid", tag_field="kind"):
    """Measures of all heads, drawn as a map of layers by heads and as a list to sort and filter.

    Layers and heads are those of the view's :class:`AttentionSpec`; a click chooses the head.
    """

    measures: Annotated[tuple[HeadMeasure, ...], Meta(min_length=1, max_length=200)]
    title: Line = ""
    note: Line = ""


class TokenRow(Struct, frozen=True, kw_only=True):
    """One number for each token. ``note`` is drawn below the row: what to think of its numbers."""

    label: Line
    values: Annotated[tuple[Finite, ...], Meta(max_length=1_000_000)]
    note: Line = ""


class TokenScores(Struct, frozen=True, kw_only=True, tag="token-scores", tag_field="kind"):
    """Tokens shaded by numbers, one line a row. Each row has as many values as there are tokens."""

    tokens: Annotated[tuple[Token, ...], Meta(max_length=1_000_000)]
    rows: Annotated[tuple[TokenRow, ...], Meta(max_length=1_000)]
    diverging: bool = False
    title: Line = ""
    note: Line = ""


class TokenLabels(Struct, frozen=True, kw_only=True, tag="token-labels", tag_field="kind"):
    """What a model gives each token: a probability for each label, one row a token.

    ``tokens`` are the query tokens of the explorer's pass, in their order. The reader sees the
    whole distribution of the token that is pointed at or selected. ``none`` is the label that says
    that a token is part of nothing; it has no colour.
    """

    tokens: Annotated[tuple[Token, ...], Meta(max_length=1_000_000)]
    labels: Annotated[tuple[Line, ...], Meta(min_length=1, max_length=10_000)]
    values: Annotated[tuple[tuple[Probability, ...], ...], Meta(max_length=1_000_000)]
    none: Line = "O"
    title: Line = ""
    note: Line = ""


class Page(Struct, frozen=True, kw_only=True, tag="page", tag_field="kind"):
    """An HTML document of a plugin's own, in a frame without network and without an origin.

    Drawn only where a kernel made it in this session: one in a saved notebook is never run.
    ``height`` is in CSS pixels.
    """

    html: Annotated[str, Meta(max_length=16_000_000)]
    height: Annotated[int, Meta(ge=40, le=4_000)] = 480
    title: Line = ""


class Alternative(Struct, frozen=True, kw_only=True):
    """A token that could have stood in a place, with its probability there."""

    text: LongText
    probability: Probability
    change: Change | None = None


class ChosenToken(Struct, frozen=True, kw_only=True):
    """One token of a text with what the model thought of it.

    ``rank`` is 0 for the likeliest, ``entropy`` in bits. A token that was given rather than judged
    has no numbers. ``forced`` marks the token that the user chose in the model's place. ``step`` is
    the index of the query row that chose it, which the explorer shows when the token is chosen.
    """

    token: Token
    probability: Probability | None = None
    rank: Index | None = None
    entropy: Finite | None = None
    alternatives: Annotated[tuple[Alternative, ...], Meta(max_length=1_000)] = ()
    forced: bool = False
    step: Index | None = None


class Reply(Struct, frozen=True, kw_only=True):
    """How a chat goes on: what is written under an answer is the user's next message.

    ``messages`` are those so far, the answer the last, as a JSON list of objects with ``role`` and
    ``content``. The field ``field`` is set to them and the new one, ``values`` besides, and the
    task is run.
    """

    field: Name
    messages: LongText
    values: dict[str, FieldValue] = {}


class TokenChoices(Struct, frozen=True, kw_only=True, tag="token-choices", tag_field="kind"):
    """A text token by token, each shaded by how likely, likeliest or undecided it was.

    Resting on a token shows its numbers and alternatives; a click on an alternative carries out
    its :class:`Change`. ``streaming``: more is to come. ``text`` is what the judged tokens say
    together, which is not always what they say one by one. ``reply``: it is an answer in a chat.
    """

    tokens: Annotated[tuple[ChosenToken, ...], Meta(max_length=1_000_000)]
    text: LongText = ""
    measure: Literal["probability", "rank", "entropy"] = "probability"
    title: Line = ""
    note: Line = ""
    streaming: bool = False
    reply: Reply | None = None


class TreeNode(Struct, frozen=True, kw_only=True):
    """One node of a :class:`Tree`: ``parent`` is the index of an earlier node, None for a root.

    ``kept`` marks the paths that remained to the end, ``best`` the one that won. ``score`` is shown
    beside the text, ``detail`` when the pointer rests.
    """

    text: LongText
    parent: Index | None = None
    score: Finite | None = None
    kept: bool = False
    best: bool = False
    detail: Line = ""
    change: Change | None = None


class Tree(Struct, frozen=True, kw_only=True, tag="tree", tag_field="kind"):
    """A tree that grows from left to right, as that of the beams of a search."""

    nodes: Annotated[tuple[TreeNode, ...], Meta(max_length=100_000)]
    title: Line = ""
    note: Line = ""


class Cell(Struct, frozen=True, kw_only=True):
    """One cell of a :class:`Grid`: its text, and how strongly it is shaded (None: not at all)."""

    text: LongText
    shade: Probability | None = None
    detail: LongText = ""
    change: Change | None = None


class Grid(Struct, frozen=True, kw_only=True, tag="grid", tag_field="kind"):
    """Cells of text under named columns and beside named rows, shaded by a number of each."""

    columns: Annotated[tuple[Line, ...], Meta(max_length=10_000)]
    rows: Annotated[tuple[Line, ...], Meta(max_length=10_000)]
    cells: Annotated[tuple[tuple[Cell, ...], ...], Meta(max_length=10_000)]
    legend: Line = ""
    title: Line = ""
    note: Line = ""


Result = (
    Labels
    | Spans
    | Text
    | Table
    | HeadGrid
    | TokenScores
    | TokenLabels
    | Page
    | Chart
    | Matrix
    | TokenChoices
    | Tree
    | Grid
)


# -- data sets -------------------------------------------------------------------------------------


class ColumnSpec(Struct, frozen=True, kw_only=True):
    """A column that a task reads from a data set.

    ``kind`` says what its cells are: a text, a label (its name or its index), several labels,
    words, spans of the text, or a chat: a text, or messages as JSON.
    """

    name: Name
    label: Line = ""
    help: Line = ""
    kind: Literal["text", "label", "labels", "words", "spans", "chat"] = "text"
    required: bool = False


class DataSetSpec(Struct, frozen=True, kw_only=True):
    """A panel's data set: which one, which of its columns is which, and what came of its rows.

    ``columns`` are the task's, ``available`` the data set's, ``mapping`` gives the second by the
    first. ``fields`` are controls of the report, which is made again when one changes, without a
    run of the model. ``done`` of ``rows`` rows are in ``results``; a ``stopped`` run can go on.
    """

    columns: Annotated[tuple[ColumnSpec, ...], Meta(max_length=1_000)]
    source: Line = ""
    available: Annotated[tuple[Line, ...], Meta(max_length=100_000)] = ()
    mapping: dict[str, Line] = {}
    rows: Count = 0
    done: Count = 0
    stopped: bool = False
    fields: Annotated[tuple[FieldSpec, ...], Meta(max_length=1_000)] = ()
    values: dict[str, FieldValue] = {}
    results: Annotated[tuple[Result, ...], Meta(max_length=1_000)] = ()
    note: Line = ""


# -- what a view shows ----------------------------------------------------------------------------


class ErrorInfo(Struct, frozen=True, kw_only=True):
    """An error for people: ``message`` and ``hint`` are shown, ``details`` on request."""

    code: Name
    message: LongText
    hint: LongText = ""
    details: LongText = ""


class Progress(Struct, frozen=True, kw_only=True):
    """How far the work is: ``done`` of ``total`` steps (total 0: not known)."""

    label: Line
    done: Count = 0
    total: Count = 0
    seconds_left: Finite | None = None


class Status(Struct, frozen=True, kw_only=True):
    """What the view is doing. ``run`` is the id of the run in progress, to be cancelled by.

    ``kept``: the run was stopped, and the results are what it had found by then.
    """

    state: Literal["idle", "running", "done", "cancelled", "error"]
    run: Id | None = None
    progress: Progress | None = None
    error: ErrorInfo | None = None
    kept: bool = False


class Header(Struct, frozen=True, kw_only=True):
    """The first line of a view: which task, model and device."""

    task: Name
    title: Line
    model: Line
    device: Line = ""
    dtype: Line = ""


class LayerSpec(Struct, frozen=True, kw_only=True):
    """One layer that has attention. ``queries`` x ``keys`` is the shape of each head.

    The rest says what its equation is, with defaults for saved outputs of before. With ``has_qk``
    query and key vectors of ``head_size`` numbers can be asked for, with ``has_values`` the values
    too; ``score = scale * q.k``, then ``softcap``, bias and mask. ``rotary``: positions were turned
    into the vectors before. ``sinks``: the denominator has one more term, rows sum to less than 1.
    ``step``: which pass of the model this call belongs to.
    """

    name: Line
    role: Literal["encoder", "decoder", "cross"]
    heads: Annotated[int, Meta(ge=1, le=4_096)]
    kv_heads: Annotated[int, Meta(ge=1, le=4_096)]
    queries: Index
    keys: Index
    causal: bool = False
    window: Index | None = None
    step: Index = 0
    head_size: Index = 0
    scale: Finite = 0.0
    softcap: Finite | None = None
    sinks: bool = False
    has_qk: bool = False
    has_values: bool = False
    rotary: bool = False


class Selection(Struct, frozen=True, kw_only=True):
    """The one selection that all views of an output share.

    ``layer`` indexes ``AttentionSpec.layers``; ``tokens`` are indices of selected query tokens, in
    the tokens of the lens. ``lens`` and ``picture`` are what is looked through and at; empty for
    the attention itself and the first picture.
    """

    layer: Index = 0
    head: Index = 0
    tokens: Annotated[tuple[Index, ...], Meta(max_length=100_000)] = ()
    lens: LensName = ""
    picture: Annotated[str, Meta(max_length=128)] = ""


class LensSpec(Struct, frozen=True, kw_only=True):
    """Another set of numbers of the same pass: tile keys that end in ``@name``.

    A ``grouped`` lens has tokens of its own (words, say, or fewer tokens): the tiles
    ``query-groups/L@name`` and ``key-groups/L@name`` say which. A lens with a ``reason`` is not
    available, and that is why.
    """

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    title: Line
    help: Line = ""
    scale: Scale = "share"
    grouped: bool = False
    reason: Line = ""


class ViewInfo(Struct, frozen=True, kw_only=True):
    """A view beside the pictures, asked for by :class:`Query`.

    ``follows`` names the parts of the selection that its answer depends on; the view asks again
    when one of them changes. A view with a ``reason`` is not available, and that is why.
    """

    name: Name
    title: Line
    help: Line = ""
    plugin: Line = ""
    fields: Annotated[tuple[FieldSpec, ...], Meta(max_length=1_000)] = ()
    follows: tuple[Literal["layer", "head", "tokens"], ...] = ()
    reason: Line = ""


class StepSpec(Struct, frozen=True, kw_only=True):
    """One step of a generated text: query rows ``first`` to ``last`` (excluded) were made in it."""

    label: Line
    first: Index
    last: Index


class AttentionSpec(Struct, frozen=True, kw_only=True):
    """What the attention explorer needs before the first tile.

    ``path`` is how attention was obtained, ``deviation`` the largest difference that the A.v
    self-check found, relative to max|v| (None: not checked, the path is the model's own numbers).
    ``tokens`` are those of the queries; ``key_tokens`` those that the encoder of an
    encoder-decoder model read (its encoder layers attend within them), None for other models.
    ``steps`` are those of a generated text. ``scale`` is what the numbers mean.
    """

    layers: Annotated[tuple[LayerSpec, ...], Meta(min_length=1, max_length=10_000)]
    tokens: TokenColumns
    key_tokens: TokenColumns | None = None
    path: Line
    deviation: Finite | None = None
    missing: Annotated[tuple[Line, ...], Meta(max_length=10_000)] = ()
    selection: Selection = Selection()
    scale: Scale = "share"
    lenses: Annotated[tuple[LensSpec, ...], Meta(max_length=200)] = ()
    views: Annotated[tuple[ViewInfo, ...], Meta(max_length=1_000)] = ()
    steps: Annotated[tuple[StepSpec, ...], Meta(max_length=1_000_000)] = ()


class JobInfo(Struct, frozen=True, kw_only=True):
    """Long work that a process of its own does, as it stands now.

    ``name`` is what it is known by in any kernel, as a rule its folder; ``task`` the task whose
    panel opens on it, where ``field`` of its form is given that name (empty: none does).
    ``killed``: its process is gone without a word. ``note`` is a line of its latest numbers,
    ``actions`` are the buttons that have a meaning now.
    """

    name: Line
    title: Line
    task: Name
    field: Line = ""
    state: Literal["new", "running", "paused", "stopped", "finished", "failed", "killed"]
    step: Count = 0
    steps: Count = 0
    note: Line = ""
    problem: Line = ""
    seconds_left: Finite | None = None
    actions: tuple[Literal["pause", "resume", "stop"], ...] = ()


class PanelSpec(Struct, frozen=True, kw_only=True, tag="panel", tag_field="kind"):
    """A task's panel: form, results, tokens and the attention explorer.

    A view without a form (a bare trace) has no fields. ``attention_note`` says why
    there is no attention, when there is none after a run.
    """

    protocol: Literal[1] = 1
    header: Header
    fields: Annotated[tuple[FieldSpec, ...], Meta(max_length=1_000)] = ()
    values: dict[str, FieldValue] = {}
    results: Annotated[tuple[Result, ...], Meta(max_length=1_000)] = ()
    attention: AttentionSpec | None = None
    attention_note: Line = ""
    status: Status = Status(state="idle")
    warnings: Annotated[tuple[Line, ...], Meta(max_length=1_000)] = ()
    python: LongText = ""
    data_set: DataSetSpec | None = None
    job: JobInfo | None = None


class PluginInfo(Struct, frozen=True, kw_only=True):
    """One plugin: where it comes from and whether it works."""

    name: Line
    version: Line = ""
    state: Literal["ready", "quarantined", "blocked"]
    tasks: tuple[Line, ...] = ()
    views: tuple[Line, ...] = ()
    error: ErrorInfo | None = None


class TaskCell(Struct, frozen=True, kw_only=True):
    """The cell that runs a task: ``line``, ``--model NAME`` behind it, and a text below.

    ``text`` is an example, and what is selected goes in its place. It is empty where the task takes
    no text: ``line`` is then the whole cell, and opens the task's panel.
    """

    line: Annotated[str, Meta(min_length=1, max_length=10_000)]
    text: Line = ""


class TaskInfo(Struct, frozen=True, kw_only=True):
    """One task that can be run. An output that was saved before there were cells has none."""

    name: Name
    title: Line
    plugin: Line
    help: Line = ""
    cell: TaskCell | None = None


class ModelInfo(Struct, frozen=True, kw_only=True):
    """One loaded model."""

    name: Line
    kind: Line
    parameters: Count
    bytes: Count
    device: Line
    dtype: Line
    pinned: bool = False


class StarterInfo(Struct, frozen=True, kw_only=True):
    """One starter model and whether it is on this machine."""

    name: Name
    title: Line
    installed: bool


class DeviceInfo(Struct, frozen=True, kw_only=True):
    """One device of the kernel; memory in bytes, 0 where it is not reported."""

    name: Name
    title: Line
    chosen: bool
    memory_total: Count = 0
    memory_used: Count = 0


class OpenViewInfo(Struct, frozen=True, kw_only=True):
    """An open panel of the kernel: its id, its task, its model, and how its text begins."""

    view: Id
    title: Line
    model: Line = ""
    text: Line = ""


class HomeSpec(Struct, frozen=True, kw_only=True, tag="home", tag_field="kind"):
    """The home panel: plugins, tasks, devices, models."""

    protocol: Literal[1] = 1
    version: Line
    plugins: tuple[PluginInfo, ...] = ()
    tasks: tuple[TaskInfo, ...] = ()
    devices: tuple[DeviceInfo, ...] = ()
    models: tuple[ModelInfo, ...] = ()
    models_budget: Count = 0
    starters: tuple[StarterInfo, ...] = ()
    views: Annotated[tuple[OpenViewInfo, ...], Meta(max_length=1_000)] = ()
    jobs: Annotated[tuple[JobInfo, ...], Meta(max_length=1_000)] = ()
    status: Status = Status(state="idle")


ViewSpec = PanelSpec | HomeSpec


# -- requests: view to kernel ---------------------------------------------------------------------


class RequestBase(Struct, frozen=True, kw_only=True):
    """Every request carries an id of its own and names its view."""

    id: Id
    view: Id


class Hello(RequestBase, frozen=True, kw_only=True, tag="hello", tag_field="type"):
    """A view (re)connects. Answered by :class:`Welcome` or an error ``unknown-session``.

    ``state`` is that of :class:`Live` while the page shows what it was saved with.
    """

    session: Id
    protocol: int
    version: Line
    state: Annotated[str, Meta(max_length=64)] = ""


class TileRequest(RequestBase, frozen=True, kw_only=True, tag="tile", tag_field="type"):
    """Ask for one tile by its key (see :mod:`lmkit.protocol.keys`)."""

    key: TileKey


class Run(RequestBase, frozen=True, kw_only=True, tag="run", tag_field="type"):
    """Run the task with these field values. Answered by :class:`Accepted` at once."""

    values: dict[str, FieldValue]


class Edit(RequestBase, frozen=True, kw_only=True, tag="edit", tag_field="type"):
    """The user changed fields without running."""

    values: dict[str, FieldValue]


class Cancel(RequestBase, frozen=True, kw_only=True, tag="cancel", tag_field="type"):
    """Stop the run, query or tile request of id ``target``."""

    target: Id


class Select(RequestBase, frozen=True, kw_only=True, tag="select", tag_field="type"):
    """The user chose another layer, head or set of tokens."""

    selection: Selection


class Action(RequestBase, frozen=True, kw_only=True, tag="action", tag_field="type"):
    """A button: unload a model, rescan plugins, choose a device; pause, resume or stop a job."""

    name: Name
    argument: Line = ""


class Query(RequestBase, frozen=True, kw_only=True, tag="query", tag_field="type"):
    """Ask a view of :class:`ViewInfo` for its results. :class:`Advanced` events may come first."""

    name: Name
    arguments: dict[str, FieldValue] = {}
    selection: Selection = Selection()


class Rows(RequestBase, frozen=True, kw_only=True, tag="rows", tag_field="type"):
    """Work with the panel's data set.

    ``open`` reads the one that ``source`` names, a path or a variable of the kernel; ``run`` sends
    its rows through the task, with ``mapping`` and the form's ``values``; ``report`` makes the
    report again with ``values`` of its own fields. A run is answered by :class:`Accepted` at once,
    the others by :class:`Done`.
    """

    do: Literal["open", "run", "report"]
    source: Line = ""
    mapping: dict[str, Line] = {}
    values: dict[str, FieldValue] = {}


# -- exports: a view as a file ---------------------------------------------------------------------

ExportFormat = Literal["html", "svg", "png", "pdf", "npz", "json"]


class ExportOptions(Struct, frozen=True, kw_only=True):
    """What a saved file shows; ``selection`` None: what the view shows in the kernel.

    ``picture`` is the one to draw, one of the view's own or the name of one of its
    :class:`ViewInfo`; ``heads`` those of the picture of several heads, none for the usual ones.
    """

    selection: Selection | None = None
    picture: Annotated[str, Meta(min_length=1, max_length=128)] = "arcs"
    heads: Annotated[tuple[Index, ...], Meta(max_length=4_096)] = ()
    theme: Literal["light", "dark"] = "light"
    mapping: Literal["sqrt", "linear", "log"] = "sqrt"
    text: bool = True


class Export(RequestBase, frozen=True, kw_only=True, tag="export", tag_field="type"):
    """Save the view as a file. Answered by :class:`Exported`."""

    format: ExportFormat
    options: ExportOptions = ExportOptions()


Request = Hello | TileRequest | Run | Edit | Cancel | Select | Action | Query | Export | Rows


# -- answers and events: kernel to view -----------------------------------------------------------


class AnswerBase(Struct, frozen=True, kw_only=True):
    """``id`` is the request's."""

    id: Id
    view: Id


class Welcome(AnswerBase, frozen=True, kw_only=True, tag="welcome", tag_field="type"):
    """The view is live; ``spec`` is its present state, None where it is the one that was saved."""

    session: Id
    version: Line
    spec: ViewSpec | None = None


class TileHeader(Struct, frozen=True, kw_only=True):
    """What the bytes of a tile are: C order, little-endian; see :mod:`lmkit.protocol.tiles`."""

    key: TileKey
    shape: Annotated[tuple[Dimension, ...], Meta(min_length=1, max_length=4)]
    encoding: Encoding


class TileAnswer(AnswerBase, frozen=True, kw_only=True, tag="tile", tag_field="type"):
    """A tile; its bytes travel beside the message as the one binary buffer."""

    tile: TileHeader


class Accepted(AnswerBase, frozen=True, kw_only=True, tag="accepted", tag_field="type"):
    """The run has been queued; its id is the request's. Events follow."""


class Done(AnswerBase, frozen=True, kw_only=True, tag="done", tag_field="type"):
    """The request was carried out and has no more to say."""


class Answered(AnswerBase, frozen=True, kw_only=True, tag="answered", tag_field="type"):
    """What a view shows for a :class:`Query`."""

    results: Annotated[tuple[Result, ...], Meta(max_length=1_000)]


class CancelledAnswer(AnswerBase, frozen=True, kw_only=True, tag="cancelled", tag_field="type"):
    """The stop was heard; it takes effect at the next layer or token."""


class ErrorAnswer(AnswerBase, frozen=True, kw_only=True, tag="error", tag_field="type"):
    """The request failed."""

    error: ErrorInfo


class Exported(AnswerBase, frozen=True, kw_only=True, tag="exported", tag_field="type"):
    """The file; its bytes travel beside the message as the one binary buffer.

    ``notes`` say what the file leaves out.
    """

    name: Line
    mime: Line
    notes: Annotated[tuple[Line, ...], Meta(max_length=100)] = ()


Answer = (
    Welcome | TileAnswer | Accepted | Done | Answered | CancelledAnswer | ErrorAnswer | Exported
)


class Changed(Struct, frozen=True, kw_only=True, tag="changed", tag_field="type"):
    """The view is another now: a run ended, or Python set its values. Old tiles are void."""

    view: Id
    spec: ViewSpec


class StatusChanged(Struct, frozen=True, kw_only=True, tag="status", tag_field="type"):
    """Progress, end or failure of a run; results and tiles stay as they were."""

    view: Id
    status: Status


class Partial(Struct, frozen=True, kw_only=True, tag="partial", tag_field="type"):
    """What run ``run`` has found so far, drawn in place of the results until it ends.

    The next ``changed`` brings the whole; after a failure the results of before return.
    """

    view: Id
    run: Id
    results: Annotated[tuple[Result, ...], Meta(max_length=1_000)]


class Selected(Struct, frozen=True, kw_only=True, tag="selected", tag_field="type"):
    """The selection was changed from elsewhere (another copy of the view, or Python)."""

    view: Id
    selection: Selection


class Advanced(Struct, frozen=True, kw_only=True, tag="advanced", tag_field="type"):
    """How far the computation for a request is. Sent to the copy that asked."""

    view: Id
    request: Id
    progress: Progress


Event = Changed | StatusChanged | Partial | Selected | Advanced
Outgoing = Answer | Event


# -- the saved form -------------------------------------------------------------------------------


class SavedTile(TileHeader, frozen=True, kw_only=True):
    """A tile in a saved output: ``data`` is base64 of the raw-deflated bytes."""

    data: Annotated[str, Meta(max_length=64_000_000)]


class Live(Struct, frozen=True, kw_only=True):
    """Where a saved output finds its kernel again. Random UUIDs: they tell nothing.

    ``state`` is a digest of the spec that was saved: a kernel that still has it need not send it
    again. Empty where the saved one is not the whole of it.
    """

    session: Id
    view: Id
    state: Annotated[str, Meta(max_length=64)] = ""


class SavedAnswer(Struct, frozen=True, kw_only=True):
    """What a view of :class:`ViewInfo` showed last: what it was asked, and its results."""

    name: Name
    arguments: dict[str, FieldValue] = {}
    selection: Selection = Selection()
    results: Annotated[tuple[Result, ...], Meta(max_length=1_000)] = ()


class Bundle(Struct, frozen=True, kw_only=True):
    """The value under lmkit's MIME type in a saved output.

    ``heads`` counts all heads, ``heads_carried`` those whose tiles are in ``tiles``. ``record`` is
    that of the run whose results are shown. ``answers`` are those of the views that were looked at
    last, as far as there was room, the latest first.
    """

    protocol: Literal[1] = 1
    version: Line
    spec: ViewSpec
    tiles: Annotated[tuple[SavedTile, ...], Meta(max_length=100_000)] = ()
    live: Live | None = None
    heads: Count = 0
    heads_carried: Count = 0
    record: RunRecord | None = None
    answers: Annotated[tuple[SavedAnswer, ...], Meta(max_length=100)] = ()
