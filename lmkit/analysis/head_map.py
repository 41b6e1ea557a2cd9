"""The head map: every head scored for known patterns, over one text or many."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmkit.analysis.measures import (
    MEASURES,
    Marks,
    Measure,
    induction_scores,
    layer_scores,
    marks_of,
)
from lmkit.analysis.statistics import (
    MINIMUM_TEXTS,
    adjusted,
    bootstrap,
    greater_than_zero,
    mean_and_deviation,
)
from lmkit.api import FieldError, LoadedModel, progress
from lmkit.errors import AttentionUnavailableError, CaptureError
from lmkit.work import current_work

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lmkit.capture import Trace

    Doubles = NDArray[np.float64]

__all__ = ["ROWS", "HeadScores", "Score", "map_heads", "score_heads"]

ROWS = 1_024
"""Most queries of a text that are looked at, evenly spread: the cost then grows with the length,
not with its square."""
PERIOD = 50
"""Random tokens before they repeat, where the model reads that many (Olsson et al. 2022 use 50)."""
SEQUENCES = 8
"""Random sequences for induction: each counts as a text of its own."""

Grid = tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True, eq=False)
class Score:
    """One measure of every head. Arrays are float64; heads run layer by layer.

    Attributes:
        measure: What it is.
        by_text: (texts, heads) score on each text, NaN where it is not defined.
        chance: (texts, heads) what even attention over the same open keys would score.
        seed: Of the bootstrap.
    """

    measure: Measure
    by_text: Doubles
    chance: Doubles
    seed: int = 0

    @property
    def mean(self) -> Doubles:
        """Mean over texts: (heads,)."""
        return mean_and_deviation(self.by_text)[0]

    @property
    def deviation(self) -> Doubles:
        """Sample standard deviation over texts: (heads,); NaN with one text."""
        return mean_and_deviation(self.by_text)[1]

    @property
    def expected(self) -> Doubles:
        """Mean chance level: (heads,); NaN where the measure has none."""
        return mean_and_deviation(self.chance)[0]

    def interval(self, level: float = 0.95) -> tuple[Doubles, Doubles]:
        """Bootstrap interval of the mean over texts; NaN below five texts."""
        return bootstrap(self.by_text, level=level, seed=self.seed)

    @property
    def p(self) -> Doubles:
        """One-sided p-value, that the score is not above chance: (heads,); NaN below five texts."""
        return greater_than_zero(self.by_text - self.chance)

    @property
    def q(self) -> Doubles:
        """The p-values corrected for the number of heads (Benjamini and Hochberg 1995)."""
        return adjusted(self.p)


@dataclass(frozen=True)
class HeadScores:
    """Scores of every head of a model.

    Attributes:
        layers: Names of the layers, in the order of a trace.
        heads: Heads of each layer.
        texts: How many texts were scored.
        scores: By the measure's name, in the order of :data:`~lmkit.analysis.MEASURES`.
        note: What to know before reading them, in sentences.
    """

    layers: tuple[str, ...]
    heads: tuple[int, ...]
    texts: int
    scores: dict[str, Score]
    note: str = ""

    def __getitem__(self, name: str) -> Score:
        try:
            return self.scores[name]
        except KeyError:
            raise CaptureError(
                f"There is no score {name!r}.", hint=f"There are: {', '.join(self.scores)}."
            ) from None

    def grid(self, values: Doubles) -> Grid:
        """(heads,) laid out a layer a row; None for NaN."""
        rows, at = [], 0
        for count in self.heads:
            part = values[at : at + count].tolist()
            rows.append(tuple(None if v != v else float(v) for v in part))
            at += count
        return tuple(rows)

    def place(self, index: int) -> tuple[int, int]:
        """Layer and head of an entry of an array over heads."""
        for layer, count in enumerate(self.heads):
            if index < count:
                return layer, index
            index -= count
        raise CaptureError(f"There are only {sum(self.heads)} heads.")

    def top(self, name: str, count: int = 5) -> list[tuple[int, int, float]]:
        """The heads that score highest: (layer, head, mean over texts)."""
        import numpy as np

        mean = self[name].mean
        order = np.argsort(-np.where(np.isnan(mean), -np.inf, mean), kind="stable")
        known = [int(i) for i in order if mean[i] == mean[i]]
        return [(*self.place(i), float(mean[i])) for i in known[:count]]


def score_heads(
    traces: Iterable[Any],
    *,
    measures: Sequence[str] | None = None,
    rows: int | None = ROWS,
    seed: int = 0,
) -> HeadScores:
    """Score every head on texts that were traced, without induction.

    Args:
        traces: Traces of one model (:meth:`lmkit.api.LoadedModel.trace`), read one by one.
        measures: Names, all by default.
        rows: Most queries of a text that are looked at, evenly spread; None for all.
        seed: Of the bootstrap.

    Raises:
        AttentionUnavailableError: a trace has no attention.
        CaptureError: no traces, traces of different models, or an unknown measure.
        Cancelled: the user pressed Stop.
    """
    chosen = [m for m in _chosen(measures) if m.name != "induction"]
    gathered = _Gathered(chosen)
    for trace in traces:
        gathered.add(trace, rows)
    return gathered.finish(seed)


def map_heads(
    model: LoadedModel,
    texts: Sequence[str] = (),
    *,
    trace: Any = None,
    measures: Sequence[str] | None = None,
    induction: bool = True,
    rows: int | None = ROWS,
    seed: int = 0,
) -> HeadScores:
    """Score every head of a model on a corpus, or on one text that was traced.

    Args:
        model: From ``lmkit.load(...).loaded(task)``, or what a task receives.
        texts: The corpus; each text is one observation.
        trace: A text traced already, in place of ``texts``.
        measures: Names, all by default.
        induction: Score induction too, on random tokens of the model's own; causal models only.
        rows: Most queries of a text that are looked at, evenly spread; None for all.
        seed: Of the random tokens and the bootstrap.

    Raises:
        AttentionUnavailableError: the model has no attention that could be captured.
        CaptureError: an unknown measure.
        FieldError: neither texts nor a trace, or a text without tokens.
        Cancelled: the user pressed Stop.
    """
    chosen = _chosen(measures)
    wanted = induction and any(m.name == "induction" for m in chosen)
    gathered = _Gathered([m for m in chosen if m.name != "induction"])
    if not texts and trace is None:
        raise FieldError("The head map needs a text.", hint="Give texts, or a trace.")
    with model.hold():
        seen: Any = trace
        if texts:
            for number, text in enumerate(texts):
                progress("Texts", number, len(texts))
                seen = model.trace(text)
                gathered.add(seen, rows)
                # The capture; what it says of layers and tokens stays.
                seen.release()
            progress("Texts", len(texts), len(texts))
        else:
            gathered.add(trace, rows)
        why = ""
        if wanted:
            why = _induction_unavailable(model, seen)
            if not why:
                gathered.induction = _induction(model, seen, seed)
    return gathered.finish(seed, extra=why)


def _chosen(names: Sequence[str] | None) -> list[Measure]:
    known = {measure.name: measure for measure in MEASURES}
    for name in names or ():
        if name not in known:
            raise CaptureError(
                f"There is no measure {name!r}.", hint=f"There are: {', '.join(known)}."
            )
    return [m for m in MEASURES if names is None or m.name in names]


class _Gathered:
    """Scores of several texts, as they come."""

    def __init__(self, measures: list[Measure]) -> None:
        self.measures = measures
        self.layers: tuple[str, ...] = ()
        self.heads: tuple[int, ...] = ()
        self.induction: tuple[Doubles, Doubles] | None = None
        self._values: dict[str, list[Doubles]] = {m.name: [] for m in measures}
        self._chance: dict[str, list[Doubles]] = {m.name: [] for m in measures}
        self._sampled = 0
        self._texts = 0

    def add(self, trace: Any, rows: int | None) -> None:
        """Score one text.

        Raises:
            AttentionUnavailableError, CaptureError, Cancelled.
        """
        import numpy as np

        capture = capture_of(trace)
        layers = tuple(info.name for info in capture.layers)
        heads = tuple(info.heads for info in capture.layers)
        if not self.layers:
            self.layers, self.heads = layers, heads
        elif (layers, heads) != (self.layers, self.heads):
            raise CaptureError("The traces are not of one model: their layers differ.")
        parts: dict[str, list[tuple[Doubles, Doubles]]] = {m.name: [] for m in self.measures}
        if self.measures:
            for info in capture.layers:
                progress("Layers of this text", info.index, len(layers))
                queries = _marks(trace, capture, info, keys=False)
                keys = _marks(trace, capture, info, keys=True)
                got = layer_scores(capture, info.index, queries, keys, rows=rows, cancel=cancel())
                nothing = np.full(info.heads, np.nan)
                for name, collected in parts.items():
                    collected.append(got.get(name, (nothing, nothing)))
                if rows is not None and info.queries > rows:
                    self._sampled = rows
        for name, collected in parts.items():
            self._values[name].append(np.concatenate([value for value, _ in collected]))
            self._chance[name].append(np.concatenate([chance for _, chance in collected]))
        self._texts += 1

    def finish(self, seed: int, extra: str = "") -> HeadScores:
        """All of it.

        Raises:
            CaptureError: no text was scored.
        """
        import numpy as np

        if not self._texts:
            raise CaptureError("There is no text to score the heads on.")
        scores: dict[str, Score] = {}
        for measure in MEASURES:
            if measure.name in self._values:
                scores[measure.name] = Score(
                    measure,
                    np.stack(self._values[measure.name]),
                    np.stack(self._chance[measure.name]),
                    seed,
                )
            elif measure.name == "induction" and self.induction is not None:
                scores["induction"] = Score(measure, *self.induction, seed)
        return HeadScores(
            layers=self.layers,
            heads=self.heads,
            texts=self._texts,
            scores=scores,
            note=" ".join(part for part in (*self._notes(), extra) if part),
        )

    def _notes(self) -> list[str]:
        notes = []
        if self._texts == 1:
            notes.append(
                "One text: no spread and no test. The rows of one text depend on each other."
            )
        elif self._texts < MINIMUM_TEXTS:
            notes.append(f"{self._texts} texts: a spread, but no test below {MINIMUM_TEXTS} texts.")
        else:
            notes.append(
                f"{self._texts} texts, each one observation. q: one-sided t-test over texts that "
                "the head is above even attention over the same keys, corrected over all heads "
                "by Benjamini and Hochberg. It says nothing of texts of another kind, of how "
                "large a score is, or of what the model uses the head for."
            )
        if self.induction is not None:
            notes.append(
                f"Induction: {SEQUENCES} random sequences of the model's tokens, each one "
                "observation, tested in the same way."
            )
        if self._sampled:
            notes.append(f"Long texts: {self._sampled:,} queries each, evenly spread.")
        return notes


def capture_of(trace: Any) -> Trace:
    """The capture behind a trace of a text.

    Raises:
        AttentionUnavailableError: it has none, or its attention was not captured.
    """
    capture: Trace | None = getattr(trace, "capture", None)
    if capture is None:
        raise AttentionUnavailableError(
            "The heads of this trace can't be looked through: it holds no captured pass.",
            hint="Run the text again.",
        )
    capture.require()
    return capture


def cancel() -> Callable[[], bool] | None:
    """What captured work asks at each block: whether the user pressed Stop."""
    work = current_work()
    return None if work is None else lambda: work.cancelled


def _marks(trace: Any, capture: Trace, info: Any, *, keys: bool) -> Marks:
    tokens = trace.tokens_of(info.role, keys=keys)
    count = info.keys if keys else info.queries
    if len(tokens) != count:
        raise AttentionUnavailableError(
            f"Layer {info.name} attends over {count} positions, the text has {len(tokens)} "
            "tokens: its heads can't be scored by token."
        )
    valid = capture.valid
    real = valid.tolist() if valid is not None and len(valid) == count else None
    return marks_of(tokens, real)


def _induction_unavailable(model: LoadedModel, trace: Any) -> str:
    layers = capture_layers(trace)
    if trace.decoder_tokens or not layers or not all(info.causal for info in layers):
        return "No induction: the model is not causal."
    if not callable(getattr(model, "trace_ids", None)):
        return "No induction: this model takes no bare token ids."
    return ""


def capture_layers(trace: Any) -> Sequence[Any]:
    """The self-attention layers of a trace."""
    return [info for info in trace.layers if info.role != "cross"]


def _induction(model: Any, trace: Any, seed: int) -> tuple[Doubles, Doubles]:
    """Induction on random tokens written twice: (sequences, heads), and the chance level."""
    import numpy as np

    start = _specials_at_start(trace)
    vocabulary = model.plain_ids()
    period = min(PERIOD, (model.longest_input() - len(start)) // 2, len(vocabulary))
    if period < 2:
        raise CaptureError("Induction needs room for two tokens written twice.")
    generator = np.random.default_rng(seed)
    values, chances = [], []
    for number in range(SEQUENCES):
        progress("Induction on random tokens", number, SEQUENCES)
        random = generator.choice(vocabulary, size=period, replace=False).tolist()
        capture = model.trace_ids([*start, *random, *random])
        got = [
            induction_scores(capture, info.index, len(start), period, cancel=cancel())
            for info in capture.layers
        ]
        capture.release()
        values.append(np.concatenate([value for value, _ in got]))
        chances.append(np.concatenate([chance for _, chance in got]))
    progress("Induction on random tokens", SEQUENCES, SEQUENCES)
    return np.stack(values), np.stack(chances)


def _specials_at_start(trace: Any) -> list[int]:
    """Ids that the tokenizer puts before a text, such as a beginning-of-text token."""
    ids: list[int] = []
    for token, identity in zip(trace.tokens, trace.input_ids, strict=True):
        if not token.special:
            break
        ids.append(identity)
    return ids
