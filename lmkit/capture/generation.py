"""The passes of a block as generations: which steps a finished sequence consists of, and its trace.

A sequence that ``generate()`` returned is found again by the ids that were fed along each row's
history, so that greedy, sampled, beam and assisted decoding are one case. See
:mod:`lmkit.capture.steps` for what is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from lmkit.capture.records import CallRecord, KeptMask, QKRecord, StoredRecord
from lmkit.capture.steps import CachedRun, Segment, Spend, StepRecord
from lmkit.capture.trace import Trace
from lmkit.errors import AttentionUnavailableError, CaptureError

__all__ = ["GenerateCall", "Generation", "Pass", "Passes", "StepInfo", "merge"]


@dataclass(frozen=True)
class StepInfo:
    """One pass of a generation, as its merged trace shows it.

    Attributes:
        label: "prompt", or which tokens were fed: "token 12", "tokens 12-14".
        first: First row (token) that it computed.
        last: One past its last row.
        step: Which pass of the block it was, as in ``LayerInfo.step``.
        row: Which row of that pass's batch: with beams it changes from step to step.
    """

    label: str
    first: int
    last: int
    step: int
    row: int


@dataclass(eq=False)
class GenerateCall:
    """One call of ``generate``: the steps it made and the sequences it returned."""

    prompt: int | None  # length of what was given, where it was given as ids
    texts: int = 1  # how many prompts there were
    stops: frozenset[int] = frozenset()
    mask: torch.Tensor | None = None  # (texts, prompt) padding, where it was given
    sequences: torch.Tensor | None = None  # (R, T) ids, on the CPU


@dataclass(eq=False)
class Pass:
    """One pass of the model in the block, over a cache or not."""

    step: int
    ids: torch.Tensor | None  # (B, Q)
    run: CachedRun | None
    index: int  # of the run's steps
    call: GenerateCall | None


class Passes:
    """What the passes of one block were: over which caches, with which ids, for which call."""

    def __init__(self, spend: Spend) -> None:
        self.passes: list[Pass] = []
        self.calls: list[GenerateCall] = []
        self.runs: list[CachedRun] = []
        #: Whether a pass is in progress.
        self.within = False
        self._spend = spend
        self._open: list[GenerateCall] = []

    @property
    def current(self) -> CachedRun | None:
        """The run of the pass in progress."""
        return self.passes[-1].run if self.within else None

    def run_of(self, cache: Any) -> CachedRun | None:
        """The run over a cache, if passes over it were recorded."""
        return next((run for run in reversed(self.runs) if run.cache() is cache), None)

    def begin(self, step: int, kwargs: dict[str, Any]) -> None:
        """A pass of the model starts."""
        self.within = True
        ids = kwargs.get("decoder_input_ids")
        if ids is None:
            ids = kwargs.get("input_ids") if "encoder_outputs" not in kwargs else None
        shape = None if not isinstance(ids, torch.Tensor) else ids.shape
        for other in ("decoder_inputs_embeds", "inputs_embeds"):
            if shape is None and isinstance(kwargs.get(other), torch.Tensor):
                shape = kwargs[other].shape
        cache = _cache_in(kwargs)
        run: CachedRun | None = None
        if cache is not None and shape is not None and len(shape) >= 2 and not _changes_keys(cache):
            run = self.run_of(cache)
            if run is None:
                run = CachedRun(cache, self._spend)
                self.runs.append(run)
            run.begin(step, _length_of(cache), int(shape[1]), int(shape[0]))
        self.passes.append(
            Pass(
                step,
                ids.detach().clone() if isinstance(ids, torch.Tensor) and ids.dim() == 2 else None,
                run,
                -1 if run is None else len(run.steps) - 1,
                self._open[-1] if self._open else None,
            )
        )

    def end(self) -> None:
        """The pass is over."""
        run = self.current
        if run is not None:
            run.seal()
        self.within = False

    def enter(self, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> GenerateCall:
        """``generate`` starts."""
        ids = _ids_of(args, kwargs)
        mask = kwargs.get("attention_mask")
        call = GenerateCall(
            _prompt_of(model, ids, kwargs),
            1 if ids is None else int(ids.shape[0]),
            frozenset(_stops_of(model, args, kwargs)),
            mask.detach().cpu() if isinstance(mask, torch.Tensor) and mask.dim() == 2 else None,
        )
        self._open.append(call)
        return call

    def leave(self, call: GenerateCall, output: Any) -> None:
        """``generate`` returned ``output``, or None where it raised."""
        self._open.remove(call)
        sequences = output if isinstance(output, torch.Tensor) else None
        if sequences is None and output is not None:
            sequences = getattr(output, "sequences", None)
        if isinstance(sequences, torch.Tensor) and sequences.dim() == 2:
            call.sequences = sequences.detach().cpu()
            self.calls.append(call)

    def close(self) -> None:
        """The block ends."""
        for run in self.runs:
            run.close()
        for one in self.passes:
            if one.ids is not None:
                one.ids = one.ids.cpu()


def _cache_in(kwargs: dict[str, Any]) -> Any:
    from transformers.cache_utils import Cache

    return next((value for value in kwargs.values() if isinstance(value, Cache)), None)


def _length_of(cache: Any) -> int:
    try:
        return int(cache.get_seq_length())
    except ValueError:  # only states without a length (linear attention)
        return 0


def _changes_keys(cache: Any) -> bool:
    """Whether a cache hands out other keys for a token later on: it quantises them."""
    from transformers import cache_utils

    kind = getattr(cache_utils, "BaseQuantizedLayer", ())
    parts = [cache, getattr(cache, "self_attention_cache", None)]
    return any(isinstance(layer, kind) for p in parts for layer in getattr(p, "layers", ()))


def _stops_of(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[int]:
    configs = (kwargs.get("generation_config"), *args[1:2], getattr(model, "generation_config", 0))
    values = (kwargs.get("eos_token_id"), *(getattr(c, "eos_token_id", None) for c in configs))
    stops = next((value for value in values if value is not None), None)
    if isinstance(stops, torch.Tensor):
        stops = stops.reshape(-1).tolist()
    if stops is None:
        return []
    return [stops] if isinstance(stops, int) else [int(i) for i in stops]


def _ids_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor | None:
    """What ``generate`` was given: ids, or another batch to begin with (vectors, features)."""
    names = ("inputs", "input_ids", "inputs_embeds", "input_features")
    given = (*args[:1], *(kwargs.get(name) for name in names))
    return next((x for x in given if isinstance(x, torch.Tensor) and x.dim() >= 2), None)


def _prompt_of(model: Any, ids: torch.Tensor | None, kwargs: dict[str, Any]) -> int | None:
    if getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        return 1 if kwargs.get("decoder_input_ids") is None else None
    return int(ids.shape[1]) if ids is not None else None


class Generation(Trace):
    """One finished sequence of ``generate()`` as one trace.

    Its layers are those of a single pass; queries are all tokens that were fed (the prompt and all
    generated ones but the last), and each row is the one that its step computed, with the window,
    mask and beam of that step.

    Attributes:
        ids: The whole sequence, its last token included (of the decoder, where there is one).
        prompt: How many of them were given; the rest is generated.
        steps: Which step computed which rows. Tokens that were in the cache before the block have
            keys and no rows.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ids: tuple[int, ...] = ()
        self.prompt = 0
        self.steps: tuple[StepInfo, ...] = ()


def merge(
    trace: Trace, records: Sequence[CallRecord], passes: Passes, sequence: int, call: int
) -> Generation:
    """One trace of sequence ``sequence`` of the ``call``-th ``generate`` of the block.

    Raises:
        CaptureError: there is no such call or sequence, or it can't be found in the passes.
        AttentionUnavailableError: its steps can't be put together.
    """
    found = _find(passes, sequence, call)
    path, ids, prompt = found.path, found.ids, found.prompt
    made = Generation()
    made.ids, made.prompt = ids, prompt
    made.steps = found.steps
    made.output = trace.output
    by_name: dict[str, list[CallRecord]] = {}
    for record in records:
        if found.first_step <= record.step <= found.last_step:
            by_name.setdefault(record.name, []).append(record)
    merged = [
        one for name, own in by_name.items() if (one := _merged(name, own, found)) is not None
    ]
    if not merged:
        raise AttentionUnavailableError("No layer took part in every step of this generation.")
    padding = found.mask if found.mask is not None else trace._held.padding
    if padding is not None and padding.dim() == 2:
        row = path[0].row * padding.shape[0] // max(1, found.batch)
        padding = padding[row : row + 1]
        more = merged[0].queries - padding.shape[1]
        if more > 0:
            padding = torch.nn.functional.pad(padding, (0, more), value=1)
    names = {record.name for record in merged}
    made._finish(
        merged,
        path=trace.path,
        missing=trace.missing,
        deviations={n: d for n, d in trace.deviations.items() if n in names},
        padding=padding,
        error=None,
    )
    return made


@dataclass(eq=False)
class _Found:
    """Where a sequence lies in the passes."""

    run: CachedRun | None
    path: list[Segment]
    ids: tuple[int, ...]
    prompt: int
    steps: tuple[StepInfo, ...]
    first_step: int
    last_step: int
    batch: int
    mask: torch.Tensor | None = None


def _label(first: int, last: int, prompt: int) -> str:
    if first < prompt:
        return "prompt"
    return f"token {first}" if last - first == 1 else f"tokens {first}-{last - 1}"


def _find(passes: Passes, sequence: int, call: int) -> _Found:
    if passes.calls:
        count = len(passes.calls)
        if not -count <= call < count:
            raise CaptureError(f"Generation {call} is not in this capture, which has {count}.")
        chosen = passes.calls[call]
        sequences = chosen.sequences
        assert sequences is not None  # a call without is not listed
        if not -len(sequences) <= sequence < len(sequences):
            raise CaptureError(
                f"Sequence {sequence} is not among the {len(sequences)} that were generated."
            )
        mine = [p for p in passes.passes if p.call is chosen]
        wanted = sequences[sequence % len(sequences)].tolist()
        made = _of_sequence(mine, wanted, sequence % len(sequences), chosen)
        made.mask = chosen.mask
        return made
    runs = [p for p in passes.passes if p.run is not None]
    if not runs:
        raise CaptureError(
            "Nothing was generated in this capture.",
            hint="Call model.generate(...) inside the block, or pass a cache from step to step.",
        )
    last = runs[-1]
    run = last.run
    assert run is not None
    batch = run.steps[last.index].batch
    if not -batch <= sequence < batch:
        raise CaptureError(f"Sequence {sequence} is not in this batch of {batch}.")
    path = run.lineage(last.index, sequence % batch)
    ids = _fed(passes.passes, run, path)
    prompt = next(p.last for p in path if run.steps[p.index].queries)
    return _placed(run, path, tuple(i for i in ids), prompt)


def _of_sequence(mine: list[Pass], wanted: list[int], sequence: int, call: GenerateCall) -> _Found:
    if not mine:
        raise CaptureError("This generation made no pass of the captured model.")
    first = mine[0]
    run = first.run
    own = [p for p in mine if p.run is run]
    hidden = 0  # positions whose ids generate() does not return: given as vectors
    if first.ids is None and run is not None:
        hidden = run.steps[first.index].past + run.steps[first.index].queries
    prompt = call.prompt
    if prompt is None:
        prompt = hidden if first.ids is None else first.ids.shape[1]
    ids = [-1] * hidden + wanted
    end = len(ids)
    stop = next((i for i in range(prompt, end) if ids[i] in call.stops), None)
    if stop is not None:
        end = stop + 1
    ids = ids[:end]
    fed = end - 1
    for one in own:
        if run is None:
            if one.ids is None or one.ids.shape[1] < fed:
                continue
            rows = one.ids[:, :fed].cpu()
            told = torch.tensor(ids[:fed])
            row = next(
                (r for r in _rows_of(sequence, call, len(rows)) if torch.equal(rows[r], told)), None
            )
            if row is None:
                continue
            path = [Segment(-1, row, 0, fed)]
            steps = _plain_steps(own, one, fed, prompt, row)
            return _Found(None, path, tuple(ids), prompt, steps, one.step, one.step, len(one.ids))
        step = run.steps[one.index]
        if step.past + step.queries < fed:
            continue
        for row in _rows_of(sequence, call, step.batch):
            path = _cut(run.lineage(one.index, row), fed)
            got = _fed(own, run, path)
            if all(a in (-1, b) for a, b in zip(got, ids[:fed], strict=True)):
                return _placed(run, path, tuple(ids), prompt)
    raise CaptureError(
        f"Sequence {sequence} of this generation was not found among its passes.",
        hint="A generate() of its own may return other ids than those it fed to the model.",
    )


def _rows_of(sequence: int, call: GenerateCall, batch: int) -> list[int]:
    """Rows of a batch that may hold a sequence: those of its prompt, its own number first."""
    assert call.sequences is not None
    texts = call.texts if batch % call.texts == 0 else 1
    text = sequence * texts // len(call.sequences)
    rows = range(text * batch // texts, (text + 1) * batch // texts)
    return sorted(rows, key=lambda row: row != sequence)


def _cut(path: list[Segment], fed: int) -> list[Segment]:
    return [replace(p, last=min(p.last, fed)) for p in path if p.first < fed]


def _fed(passes: Iterable[Pass], run: CachedRun, path: Sequence[Segment]) -> list[int]:
    """Ids that were fed along a path; -1 where they were given as vectors."""
    ids = {p.index: p.ids for p in passes if p.run is run}
    got: list[int] = []
    for part in path:
        given = ids.get(part.index)
        skip = part.first - run.steps[part.index].past
        n = part.last - part.first
        got += [-1] * n if given is None else given[part.row, skip : skip + n].tolist()
    return got


def _plain_steps(
    own: list[Pass], last: Pass, fed: int, prompt: int, row: int
) -> tuple[StepInfo, ...]:
    """Without a cache each pass computes all rows; the label says which were new in it."""
    steps: list[StepInfo] = []
    at = 0
    for one in own:
        end = min(fed, one.ids.shape[1] if one.ids is not None else fed)
        if end > at:
            steps.append(StepInfo(_label(at, end, prompt), at, end, one.step, row))
            at = end
        if one is last:
            break
    return tuple(steps)


def _placed(run: CachedRun, path: list[Segment], ids: tuple[int, ...], prompt: int) -> _Found:
    rows = [p for p in path if run.steps[p.index].queries]
    missing = rows[0].first if rows else 0  # in the cache before the block: keys, no rows
    steps = tuple(
        StepInfo(
            _label(p.first, p.last, prompt),
            p.first - missing,
            p.last - missing,
            run.steps[p.index].step,
            p.row,
        )
        for p in rows
    )
    whole = [run.steps[p.index].step for p in rows]
    return _Found(run, path, ids, prompt, steps, min(whole), max(whole), run.steps[0].batch)


def _merged(name: str, own: list[CallRecord], found: _Found) -> CallRecord | None:
    """One layer's record for the sequence, or None for one that took part in some steps only."""
    run, path = found.run, found.path
    stepped = [r for r in own if isinstance(r, StepRecord) and r.run is run]
    if run is not None and stepped:
        if any(p.index not in run.layers[name].at for p in path):
            return None
        return replace(run.record(name, path), role=stepped[0].role)
    first = own[0]
    if run is not None and not isinstance(first, QKRecord) and first.role != "encoder":
        return _stacked(own, run, path)
    if run is not None and first.step not in {run.steps[p.index].step for p in path[:2]}:
        return None
    row = path[0].row * first.batch // max(1, found.batch)
    return _one_row(first, row, found)


def _one_row(record: CallRecord, row: int, found: _Found) -> CallRecord:
    """A record of a batch as that of one of its texts."""
    queries, keys = record.queries, record.keys
    if found.run is None and record.role in ("decoder", "") and queries == keys:
        queries = keys = min(queries, found.path[0].last)
    if isinstance(record, QKRecord):
        masks = tuple(
            KeptMask(m.tensor[row : row + 1])
            if m.tensor.dim() == 4 and m.tensor.shape[0] > 1
            else m
            for m in record.masks
        )
        value, norms = record.value, record.value_norms
        return replace(
            record,
            step=0,
            call=0,
            batch=1,
            queries=queries,
            keys=keys,
            query=record.query[row : row + 1, :, :queries],
            key=record.key[row : row + 1, :, :keys],
            value=None if value is None else value[row : row + 1, :, :keys],
            value_norms=None if norms is None else norms[row : row + 1, :, :keys],
            masks=masks,
            _stats={},
        )
    kept = torch.stack(
        [record.weights(row, h, slice(0, queries), 0, keys) for h in range(record.heads)]
    )
    return _as_stored(record, kept, record.causal)


def _as_stored(record: CallRecord, attention: torch.Tensor, causal: bool) -> StoredRecord:
    """Attention (H, Q, K) of one text, described as ``record`` is."""
    heads, queries, keys = attention.shape
    return StoredRecord(
        name=record.name,
        role=record.role,
        step=0,
        call=0,
        heads=heads,
        kv_heads=record.kv_heads,
        queries=queries,
        keys=keys,
        batch=1,
        causal=causal,
        window=record.window,
        path=record.path,
        attention=attention.unsqueeze(0),
    )


def _stacked(own: list[CallRecord], run: CachedRun, path: Sequence[Segment]) -> StoredRecord | None:
    """Rows of attention that the model returned, step by step, at their absolute positions."""
    by_step = {r.step: r for r in own}
    first = own[0]
    cross = first.role == "cross"
    rows = [p for p in path if run.steps[p.index].queries]
    total = first.keys if cross else path[-1].last
    out = torch.zeros(first.heads, sum(p.last - p.first for p in rows), total, device=first.device)
    at = 0
    for part in rows:
        step = run.steps[part.index]
        record = by_step.get(step.step)
        if record is None:
            return None
        n, skip = part.last - part.first, part.first - step.past
        offset = 0 if cross else max(0, step.past + step.queries - record.keys)
        width = min(record.keys, total - offset)
        for h in range(first.heads):
            got = record.weights(part.row, h, slice(skip, skip + n), 0, record.keys)
            out[h, at : at + n, offset : offset + width] = got[:, :width]
        at += n
    return _as_stored(first, out, not cross)
