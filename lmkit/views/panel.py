"""The state of one task's panel: values, status, results and the attention behind them.

The same state feeds every copy of the view and the Python side; whoever changes it tells the
listeners. Methods may be called from any thread.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from lmkit.api import FieldSpec, Job, Result
from lmkit.errors import ProtocolError
from lmkit.protocol.messages import (
    Changed,
    ErrorInfo,
    Event,
    Header,
    JobInfo,
    Labels,
    PanelSpec,
    Partial,
    Progress,
    SavedAnswer,
    Selected,
    Selection,
    Status,
    StatusChanged,
    TileHeader,
    ViewInfo,
)
from lmkit.protocol.record import RunRecord
from lmkit.views.attention import AttentionTiles, CapturedTrace
from lmkit.views.compared import PreviousRun
from lmkit.views.data_set import DataSetPart
from lmkit.views.lens import Lens
from lmkit.views.parts import parts_of

__all__ = ["Outcome", "PanelView"]

Listener = Callable[[Event], None]


@dataclass(frozen=True)
class Outcome:
    """What a run gave: typed results and the pass behind them.

    ``output`` is what the model returned where the pass has no attention; else the trace has it.
    ``replaced`` holds, by field name, the value of the run and the one that the form gets for it.
    ``stopped``: the user pressed Stop, and this is what there was by then. ``job``: work in a
    process of its own that the run began, which the panel follows.
    """

    results: tuple[Result, ...]
    trace: CapturedTrace | None = None
    attention_note: str = ""
    output: Any = None
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    record: RunRecord | None = None
    replaced: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    stopped: bool = False
    job: Job | None = None


class PanelView:
    """One open panel.

    Args:
        identity: Random id of the view.
        header: Task and model.
        fields: The form; empty for a bare trace.
        values: What the form holds.
        python: Makes the lines that make this view, from the values of its run (of the form before
            the first) and the selection, None where there is no attention.
        lenses: What a pass can be seen through.
        views: Lists what else can be asked of a pass.
        data_set: Where the task reads data sets: what is shown of one.
    """

    def __init__(
        self,
        identity: str,
        header: Header,
        fields: Sequence[FieldSpec] = (),
        values: Mapping[str, Any] | None = None,
        python: Callable[[Mapping[str, Any], Selection | None], str] | None = None,
        *,
        lenses: Sequence[Lens] = (),
        views: Callable[[CapturedTrace], Sequence[ViewInfo]] | None = None,
        data_set: DataSetPart | None = None,
    ) -> None:
        self.id = identity
        self.fields = tuple(fields)
        self._header = header
        self._values = dict(values or {})
        self._python = python
        self._lenses = tuple(lenses)
        self._views = views
        self._data_set = data_set
        self._status = Status(state="idle")
        self._selection = Selection()
        self._outcome: Outcome | None = None
        self._partial: tuple[Result, ...] | None = None
        self._tiles: AttentionTiles | None = None
        self._previous: CapturedTrace | None = None
        self._job: JobInfo | None = None
        self._answers: dict[str, SavedAnswer] = {}
        self._keepers: list[Callable[[], None]] = []
        self._listeners: list[Listener] = []
        self._lock = threading.RLock()

    # -- reading ----------------------------------------------------------------------------------

    @property
    def header(self) -> Header:
        """Task, model and device."""
        return self._header

    @property
    def values(self) -> dict[str, Any]:
        """What the form holds, by field name."""
        with self._lock:
            return dict(self._values)

    @property
    def status(self) -> Status:
        """What the panel is doing."""
        return self._status

    @property
    def selection(self) -> Selection:
        """The layer, head and tokens that all copies of the view show."""
        return self._selection

    @property
    def outcome(self) -> Outcome | None:
        """What the last successful run gave."""
        return self._outcome

    @property
    def tiles(self) -> AttentionTiles | None:
        """The attention of the last run, or None where there is none."""
        return self._tiles

    @property
    def data_set(self) -> DataSetPart | None:
        """What is shown of a data set; None where the task reads none."""
        return self._data_set

    @property
    def previous(self) -> CapturedTrace | None:
        """The pass of the run before, which the present one can be compared with."""
        return self._previous

    def spec(self, selection: Selection | None = None) -> PanelSpec:
        """The whole view as it is now, or as it would be with another selection."""
        with self._lock:
            outcome, tiles = self._outcome, self._tiles
            results = outcome.results if outcome else ()
            results = results if self._partial is None else self._partial
            chosen = selection or self._selection
            python = self._lines(chosen)
            return PanelSpec(
                header=self._header,
                fields=self.fields,
                values=dict(self._values),
                results=parts_of(results),
                attention=tiles.spec(chosen) if tiles else None,
                attention_note=outcome.attention_note if outcome else "",
                status=self._status,
                warnings=outcome.warnings if outcome else (),
                python=python,
                data_set=self._data_set.spec() if self._data_set else None,
                job=self._job,
            )

    def _lines(self, selection: Selection) -> str:
        """What "Copy as Python" gives: what is shown, not what was typed since."""
        if self._python is None:
            return ""
        ran = self._outcome.record if self._outcome else None
        values = self._values if ran is None or ran.fields is None else ran.fields
        shows_attention = self._outcome is None or self._tiles is not None
        return self._python(values, selection if shows_attention else None)

    @property
    def answers(self) -> tuple[SavedAnswer, ...]:
        """What the views of this pass showed last, the latest first: for the saved output."""
        with self._lock:
            return tuple(reversed(self._answers.values()))

    def tile(
        self, key: str, *, fine: bool = False, cancel: Callable[[], bool] | None = None
    ) -> tuple[TileHeader, bytes]:
        """Compute one tile of the attention; raises ProtocolError where there is none."""
        tiles = self._tiles
        if tiles is None:
            raise ProtocolError("This panel has no attention yet.", hint="Press Run.")
        return tiles.tile(key, fine=fine, cancel=cancel)

    # -- changing ---------------------------------------------------------------------------------

    def edit(self, values: Mapping[str, Any]) -> None:
        """Take over checked values; tells listeners only where something changed."""
        with self._lock:
            changed = {
                name: value for name, value in values.items() if self._values.get(name) != value
            }
            self._values.update(changed)
        if changed:
            self._tell(Changed(view=self.id, spec=self.spec()))

    def select(self, selection: Selection) -> None:
        """Choose layer, head and tokens; brought within bounds."""
        with self._lock:
            chosen = self._tiles.clip(selection) if self._tiles else selection
            same = chosen == self._selection
            self._selection = chosen
        if not same:
            self._tell(Selected(view=self.id, selection=chosen))

    def keep_answer(self, answer: SavedAnswer, trace: CapturedTrace) -> None:
        """Note what a view showed of a pass, in place of what it showed before."""
        with self._lock:
            if self._outcome is None or self._outcome.trace is not trace:
                return  # another run came in between
            self._answers.pop(answer.name, None)
            self._answers[answer.name] = answer
            keepers = list(self._keepers)
        for keeper in keepers:
            keeper()

    def on_keep(self, keeper: Callable[[], None]) -> Callable[[], None]:
        """Be told when there is more to save; returns the undo. Must not block."""
        with self._lock:
            self._keepers.append(keeper)

        def undo() -> None:
            with self._lock:
                if keeper in self._keepers:
                    self._keepers.remove(keeper)

        return undo

    def begin(self, run: str, label: str) -> None:
        """A run has been queued or has begun; an earlier one is superseded."""
        self._forget_partial()
        self._set(Status(state="running", run=run, progress=Progress(label=label)))

    # A run that was superseded by a newer one has nothing more to say: each of these names its run.

    def advance(self, run: str, progress: Progress) -> None:
        """The run is further."""
        self._set(Status(state="running", run=run, progress=progress), of=run)

    def show(self, run: str, results: tuple[Result, ...]) -> None:
        """The run has found this so far; it is drawn, and gone if the run fails."""
        with self._lock:
            if self._status.run != run:
                return
            self._partial = results
        self._tell(Partial(view=self.id, run=run, results=parts_of(results)))

    def fail(self, run: str, error: ErrorInfo) -> None:
        """The run failed; earlier results stay."""
        if self._set(Status(state="error", error=error), of=run):
            self._forget_partial()

    def stop(self, run: str) -> None:
        """The run was stopped; earlier results stay."""
        if self._set(Status(state="cancelled"), of=run):
            self._forget_partial()

    def finish(self, run: str, outcome: Outcome, header: Header) -> None:
        """The run gave this."""
        with self._lock:
            # A run that takes the text out of the form (names redacted) keeps no pass over it.
            keep = self._outcome is not None and not outcome.replaced
            before = self._outcome.trace if self._outcome and keep else None
        tiles = self._tiles_of(outcome.trace, before) if outcome.trace is not None else None
        with self._lock:
            if self._status.run != run:
                return
            outcome = _beside(self._outcome, outcome)
            self._outcome, self._header, self._tiles = outcome, header, tiles
            for name, (ran, new) in outcome.replaced.items():
                if self._values.get(name) == ran:  # not typed anew in the meantime
                    self._values[name] = new
            self._partial = None
            self._previous = before
            self._answers.clear()
            self._selection = tiles.clip(self._selection) if tiles else Selection()
            # tokens of another text mean nothing here
            self._selection = msgspec.structs.replace(self._selection, tokens=())
            self._status = Status(
                state="cancelled" if outcome.stopped else "done", kept=outcome.stopped
            )
        self._tell(Changed(view=self.id, spec=self.spec()))

    def show_job(self, info: JobInfo, results: tuple[Result, ...]) -> None:
        """A job is at this point; its explorer stays."""
        with self._lock:
            self._job = info
            self._outcome = dataclasses.replace(self._outcome or Outcome(()), results=results)
        self._tell(Changed(view=self.id, spec=self.spec()))

    def show_job_attention(self, trace: CapturedTrace | None, note: str = "") -> None:
        """A newer pass of a job, in place of its last one; or why there is none."""
        tiles = self._tiles_of(trace, None) if trace is not None else None
        with self._lock:
            kept = self._outcome or Outcome(())
            self._outcome = dataclasses.replace(kept, trace=trace, attention_note=note)
            self._tiles = tiles
            self._answers.clear()
            self._selection = tiles.clip(self._selection) if tiles else Selection()
        self._tell(Changed(view=self.id, spec=self.spec()))

    def show_data_set(self, part: DataSetPart) -> None:
        """Show another state of the data set."""
        with self._lock:
            self._data_set = part
        self._tell(Changed(view=self.id, spec=self.spec()))

    def finish_rows(
        self, run: str, part: DataSetPart, header: Header, status: Status | None = None
    ) -> None:
        """A run over a data set has ended, or was stopped or failed on the way."""
        with self._lock:
            # A report is of rows that are done: it stands, whatever began since.
            self._data_set, self._header = part, header
            if self._status.run == run:
                self._status = status or Status(state="done")
        self._tell(Changed(view=self.id, spec=self.spec()))

    def _forget_partial(self) -> None:
        """What was there before returns."""
        with self._lock:
            gone, self._partial = self._partial, None
        if gone is not None:
            self._tell(Changed(view=self.id, spec=self.spec()))

    def _tiles_of(self, trace: CapturedTrace, before: CapturedTrace | None) -> AttentionTiles:
        own = tuple(getattr(trace, "own_lenses", ()))
        views = self._views(trace) if self._views is not None and not own else ()
        # What has no form has no runs either.
        runs = (PreviousRun(before),) if self.fields and self._lenses else ()
        return AttentionTiles(
            trace,
            lenses=own or (*self._lenses, *runs),
            views=views,
            scale=getattr(trace, "scale", "share"),
        )

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Be told of every change; returns the undo. Listeners must not block."""
        with self._lock:
            self._listeners.append(listener)

        def undo() -> None:
            with self._lock:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        return undo

    def _set(self, status: Status, of: str | None = None) -> bool:
        """Show a status; ``of`` a run only while that run is the newest. Whether it is shown."""
        with self._lock:
            if of is not None and self._status.run != of:
                return False
            self._status = status
        self._tell(StatusChanged(view=self.id, status=status))
        return True

    def _tell(self, event: Event) -> None:
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            listener(event)


def _beside(old: Outcome | None, new: Outcome) -> Outcome:
    """The new outcome with the old one's probabilities beside those of the same labels.

    Only where a text was edited: another text's, or another model's, say nothing of this one.
    """
    if old is None or old.record is None or new.record is None:
        return new
    if old.record.model != new.record.model or not _is_edit(old.record.fields, new.record.fields):
        return new
    before = [one for one in old.results if isinstance(one, Labels)]
    results: list[Result] = []
    for result in new.results:
        if isinstance(result, Labels):
            names = {one.label for one in result.scores}
            same = next(
                (
                    one
                    for one in before
                    if one.title == result.title and {s.label for s in one.scores} == names
                ),
                None,
            )
            if same is not None:
                result = msgspec.structs.replace(result, before=same.scores)
        results.append(result)
    return dataclasses.replace(new, results=tuple(results))


def _is_edit(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> bool:
    """Whether a text is another, and half of it or more stands as it was around the change."""
    if old is None or new is None:
        return False
    changed = [
        (old[name], value)
        for name, value in new.items()
        if isinstance(value, str) and isinstance(old.get(name), str) and old[name] != value
    ]
    for before, after in changed:
        start = _same(before, after)
        end = _same(before[start:][::-1], after[start:][::-1])
        if 2 * (start + end) < min(len(before), len(after)):
            return False
    return bool(changed)


def _same(one: str, other: str) -> int:
    """How many characters two texts begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))
