"""Heads switched off or replaced, and what the output does: one change, or a sweep over all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from lmkit.analysis.effects import Effect, Outcome, Readout, compare, read_output, scales
from lmkit.api import progress
from lmkit.errors import AttentionUnavailableError, CaptureError, DeviceMemoryError
from lmkit.work import current_work

if TYPE_CHECKING:
    from lmkit.capture.interventions import Change, HeadMeans, HeadOutputs

__all__ = ["CausalMap", "How", "Pass", "Repeatable", "ablate", "sweep"]

How = Literal["zero", "mean", "other"]
Heads = Iterable[tuple[int, int]]
Grid = tuple[tuple[float | None, ...], ...]

_TOKENS_AT_ONCE = 2_048
"""Tokens of a sweep's batch on the CPU. A short text costs mostly the calls, which a batch shares;
beyond about this many the arithmetic is all and a larger batch only takes memory."""
_TOKENS_AT_ONCE_ON_DEVICE = 32_768
_COPIES = 64


@runtime_checkable
class Repeatable(Protocol):
    """A pass that can be made again with heads changed: what a model's trace is."""

    @property
    def layers(self) -> Sequence[Any]:
        """The attention layers (:class:`lmkit.capture.LayerInfo`)."""
        ...

    def again(self, changes: Sequence[Change] = (), *, copies: int = 1, last: bool = False) -> Any:
        """The model's output with heads changed, for a batch of copies of the text."""
        ...


class Pass:
    """A pass of your own model, for :func:`ablate` and :func:`sweep`.

    Runs once, captured, to learn the layers.

    Args:
        model: A transformers model.
        inputs: Its keyword arguments, for a batch of one text.
        tokenizer: Names the tokens of a language model's output; may be left out.

    Raises:
        CaptureError: a batch of several texts, or the pass can't be captured.
    """

    def __init__(self, model: Any, inputs: Mapping[str, Any], tokenizer: Any = None) -> None:
        from lmkit.capture import trace_forward

        self.module = model
        self.inputs = dict(inputs)
        self.tokenizer = tokenizer
        trace = trace_forward(model, self.inputs)
        trace.require()
        if trace.batch_size != 1:
            raise CaptureError(
                f"The batch holds {trace.batch_size} texts; heads are switched off for one.",
                hint="Give the inputs of one text.",
            )
        self.layers: Sequence[Any] = trace.layers
        trace.release()

    def again(self, changes: Sequence[Change] = (), *, copies: int = 1, last: bool = False) -> Any:
        """The model's output with heads changed, for a batch of copies of the text."""
        from lmkit.capture.interventions import repeated_pass

        work = current_work()
        return repeated_pass(
            self.module,
            self.inputs,
            changes,
            copies=copies,
            last=last,
            cancel=None if work is None else lambda: work.cancelled,
        )


@dataclass(frozen=True)
class CausalMap:
    """What each head does to the output, by taking it away.

    Attributes:
        how: What took each head's place.
        kind: What was compared (:class:`~lmkit.analysis.Effect`).
        layers: Names of the layers, in the order of the trace.
        values: By name, a number for every head of every layer; None where it was not tried.
            For probabilities ``total_variation``, ``divergence``, ``margin``, ``confidence`` and
            ``flipped``, for a value ``value``, for hidden states ``cosine`` and ``norm``.
        before: The likeliest outcomes of the unchanged model.
        note: What to know before reading it.
    """

    how: How
    kind: str
    layers: tuple[str, ...]
    values: dict[str, Grid]
    before: tuple[Outcome, ...]
    note: str = ""

    def top(self, name: str, count: int = 5) -> list[tuple[int, int, float]]:
        """The heads with the largest change, whatever its sign: (layer, head, change)."""
        found = [
            (layer, head, value)
            for layer, row in enumerate(self.values[name])
            for head, value in enumerate(row)
            if value is not None
        ]
        return sorted(found, key=lambda one: -abs(one[2]))[:count]


def ablate(
    source: Repeatable,
    heads: Heads,
    how: How = "zero",
    *,
    other: str | HeadOutputs | HeadMeans | Sequence[str] | None = None,
    at_end: bool = False,
) -> Effect:
    """Change heads all at once and compare the output with that of the unchanged model.

    Args:
        source: A trace of a text, or a :class:`Pass`.
        heads: (layer, head) pairs; layers as in the trace.
        how: ``"zero"``: the heads give zeros. ``"mean"``: their mean over the text's positions,
            or over ``other``, texts or a :class:`~lmkit.capture.interventions.HeadMeans`.
            ``"other"``: their values on ``other``, a text of as many tokens or its
            :class:`~lmkit.capture.interventions.HeadOutputs` (activation patching).
        other: See ``how``.
        at_end: With ``"other"``: texts may differ in length; the last positions are replaced, as
            many as both have. For causal models, whose last position is the one that answers.

    Raises:
        AttentionUnavailableError: heads of this model can't be changed.
        CaptureError: no such head, no head at all, or values of another length.
        Cancelled: the user pressed Stop.
    """
    chosen = [_known(source, place) for place in heads]
    if not chosen:
        raise CaptureError("No head was chosen.", hint="Give pairs such as [(3, 7)].")
    values = _Values(source, how, other, at_end)
    changes = [values.change(layer, head) for layer, head in chosen]
    read = _Reader(source)
    before = read(source.again(last=True))
    after = read(source.again(changes, last=True))
    return compare(before, after, name=read.name)


def sweep(
    source: Repeatable,
    how: How = "zero",
    *,
    heads: Heads | None = None,
    other: str | HeadOutputs | HeadMeans | Sequence[str] | None = None,
    at_end: bool = False,
    copies: int | None = None,
) -> CausalMap:
    """Change every head by itself: the causal map of the text.

    Several heads go through in one batch, each copy of the text with another head changed, which
    gives what a loop gives up to rounding.

    Args:
        source: A trace of a text, or a :class:`Pass`.
        how: As for :func:`ablate`, like ``other`` and ``at_end``.
        heads: Only these (layer, head) pairs; the others stay None.
        other: See :func:`ablate`.
        at_end: See :func:`ablate`.
        copies: Texts of a batch; chosen by the text's length when None. Halved where the device's
            memory does not do.

    Raises:
        AttentionUnavailableError, CaptureError: as :func:`ablate`.
        Cancelled: the user pressed Stop; heard at every layer.
    """
    layers = source.layers
    everything = [(x.index, head) for x in layers for head in range(x.heads)]
    chosen = everything if heads is None else [_known(source, place) for place in heads]
    single = [x.name for x in layers if how == "mean" and other is None and x.queries == 1]
    tried = [place for place in chosen if layers[place[0]].name not in single]
    values = _Values(source, how, other, at_end)
    read = _Reader(source)
    before = read(source.again(last=True))
    found: dict[tuple[int, int], dict[str, float]] = {}
    size = copies or _copies(source)
    at = 0
    while at < len(tried):
        progress("Switching heads off", at, len(tried))
        some = tried[at : at + size]
        changes = [
            values.change(layer, head, text=index if len(some) > 1 else None)
            for index, (layer, head) in enumerate(some)
        ]
        try:
            output = source.again(changes, copies=len(some), last=True)
        except DeviceMemoryError:
            if len(some) == 1:
                raise
            size = len(some) // 2
            continue
        for index, place in enumerate(some):
            found[place] = scales(before, read(output, index))
        at += len(some)
    progress("Switching heads off", len(tried), len(tried))
    names = [n for n in (next(iter(found.values())) if found else {}) if " " not in n]
    notes = []
    if single:
        notes.append(
            f"{len(single)} layers read a single position, over which there is no mean: not tried."
        )
    notes.append(
        "One head at a time on one text: heads that stand in for each other each look idle, and "
        "a large change says that the output needs the head here, not what the head does."
    )
    return CausalMap(
        how=how,
        kind=before.kind,
        layers=tuple(x.name for x in layers),
        values={
            name: tuple(
                tuple(
                    found[(x.index, head)][name] if (x.index, head) in found else None
                    for head in range(x.heads)
                )
                for x in layers
            )
            for name in names
        },
        before=compare(before, before, name=read.name).outcomes,
        note=" ".join(notes),
    )


class _Values:
    """What takes a head's place, ready for each head."""

    def __init__(self, source: Repeatable, how: How, other: Any, at_end: bool) -> None:
        from lmkit.capture.interventions import HeadMeans, HeadOutputs

        if how not in ("zero", "mean", "other"):
            raise CaptureError(
                f"A head can't be replaced by {how!r}.", hint="Say zero, mean or other."
            )
        if how == "other" and not isinstance(other, str | HeadOutputs):
            raise CaptureError(
                "Which other text is the head to take its values from?",
                hint="Give other='a text of as many tokens'.",
            )
        if how == "zero" and other is not None:
            raise CaptureError(
                "A head that gives zeros takes nothing from another text.",
                hint="Say how='other' or how='mean'.",
            )
        self.source = source
        self.how = how
        self.at_end = at_end
        self.outputs: HeadOutputs | None = None
        self.means: HeadMeans | None = None
        if at_end and not all(x.causal for x in source.layers):
            raise CaptureError(
                "Texts are aligned at their end for causal models only.",
                hint="Give a text of as many tokens.",
            )
        if how == "other":
            self.outputs = _outputs_of(source, other) if isinstance(other, str) else other
        elif how == "mean" and other is not None:
            means = other if isinstance(other, HeadMeans) else None
            self.means = means or _means_of(source, [other] if isinstance(other, str) else other)

    def change(self, layer: int, head: int, text: int | None = None) -> Change:
        from lmkit.capture.interventions import Change

        info = self.source.layers[layer]
        to: Any = self.how
        if self.outputs is not None:
            to = self.outputs.of(info.name, head, call=info.call)
        elif self.means is not None:
            to = self.means.of(info.name, head, call=info.call)
        return Change(info.name, head, to, call=info.call, text=text, at_end=self.at_end)


class _Reader:
    """Reads outputs of one source always in the same way."""

    def __init__(self, source: Repeatable) -> None:
        from lmkit.capture.anatomy import unwrap

        self.model = unwrap(_module(source))
        base = getattr(self.model, "get_base_model", None)
        if callable(base) and hasattr(self.model, "peft_config"):
            self.model = base()
        self.positions: list[int] | None = None
        tokens = getattr(source, "tokens", None)
        if tokens is not None and not getattr(source, "decoder_tokens", ()):
            # What a head says at tokens that the tokenizer added was never trained.
            self.positions = [i for i, token in enumerate(tokens) if not token.special]
        tokenizer = getattr(source, "tokenizer", None)
        if tokenizer is None:
            tokenizer = getattr(getattr(source, "model", None), "tokenizer", None)
        self.name: Callable[[int], str] | None = None
        if tokenizer is not None:
            self.name = lambda index: str(tokenizer.decode([index]))

    def __call__(self, output: Any, text: int = 0) -> Readout:
        return read_output(output, self.model, text=text, positions=self.positions)


def _module(source: Any) -> Any:
    own = getattr(source, "module", None)
    return own if own is not None else source.model.model


def _known(source: Repeatable, place: tuple[int, int]) -> tuple[int, int]:
    layer, head = place
    layers = source.layers
    if not 0 <= layer < len(layers):
        raise CaptureError(f"There is no layer {layer}; there are {len(layers)}, from 0.")
    if not 0 <= head < layers[layer].heads:
        raise CaptureError(
            f"Layer {layer} has no head {head}; it has {layers[layer].heads}, from 0."
        )
    if layers[layer].step:
        raise CaptureError("Heads are switched off in a single pass, not in a generated text.")
    return layer, head


def _copies(source: Repeatable) -> int:
    tokens = max(int(x.queries) for x in source.layers)
    parameter = next(iter(_module(source).parameters()), None)
    on_cpu = parameter is None or parameter.device.type == "cpu"
    most = _TOKENS_AT_ONCE if on_cpu else _TOKENS_AT_ONCE_ON_DEVICE
    return max(1, min(_COPIES, most // tokens))


def _loaded(source: Any) -> Any:
    model = getattr(source, "model", None)
    if not callable(getattr(model, "trace", None)):
        raise AttentionUnavailableError(
            "Only a model with its tokenizer can read another text.",
            hint="Give what keep_outputs or keep_means of lmkit.capture.interventions kept.",
        )
    return model


def _outputs_of(source: Any, text: str) -> HeadOutputs:
    from lmkit.capture.interventions import keep_outputs

    model = _loaded(source)
    with model.hold(), keep_outputs(model.model) as kept:
        model.trace(text).release()
    return kept


def _means_of(source: Any, texts: Sequence[str]) -> HeadMeans:
    from lmkit.capture.interventions import keep_means

    model = _loaded(source)
    if not texts:
        raise CaptureError("There are no texts to take the mean over.")
    with model.hold(), keep_means(model.model) as kept:
        for number, text in enumerate(texts):
            progress("Texts for the mean", number, len(texts))
            model.trace(text).release()
    return kept
