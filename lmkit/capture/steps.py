"""The steps over one key-value cache, each token of them kept once.

A step of ``generate()`` sees all keys so far and computes a few new ones. Kept are, for each
layer, the new queries and the new key columns of each step, in the order they were computed, so
that memory grows with the tokens and not with steps x tokens. What row b of step s saw is found
by walking back through the steps: each begins at an absolute position (``past``), so a later one
that begins earlier overrides what it rolled back (assisted decoding), and each row names the row
of the step before that it continues (beam search reorders the cache).

Where the columns of the key lie that a layer is called with follows from their number K, the
length P of the cache before the step and the Q new tokens alone: column c is position
c + max(0, P + Q - K). K = P + Q is a growing cache, K < P + Q one that keeps a window, K > P + Q
a static one with its end still empty. A check at each step compares those columns with what is
kept; what a row may attend to (window, padding, empty columns) is kept as an interval of positions
and, where the model adds a relative-position bias, as one value a distance.

Shapes: B rows of the batch, H heads, G key-value heads, Q new tokens of a step, T tokens so far,
d head size, N columns of all steps.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from lmkit.capture.records import CallRecord, KeptMask, QKRecord, Rows
from lmkit.errors import CaptureError

__all__ = ["CachedRun", "Columns", "RowRule", "Segment", "Spend", "Step", "StepRecord"]

Spend = Callable[[int], None]


@dataclass(eq=False)
class Step:
    """One pass over a cache."""

    step: int  # of the block
    past: int  # tokens in the cache before it
    queries: int
    columns: int  # new key columns: the queries, or the whole prefix that was there before
    batch: int
    parents: torch.Tensor | None = None  # (B,) rows of the step before; None: the same rows
    base: int = 0  # columns of earlier steps


class Columns:
    """A growing tensor (heads, N, d): vectors of all steps, one after the other.

    It grows by a half, so that a token costs amortised constant time.
    """

    def __init__(self) -> None:
        self._data: torch.Tensor | None = None
        self.count = 0

    def append(self, new: torch.Tensor) -> int:
        """Copy (B, heads, n, d) in, row by row of the batch; returns where it begins."""
        batch, heads, n, width = new.shape
        end = self.count + batch * n
        if self._data is None:
            self._data = new.new_empty(heads, end, width)
        elif end > self._data.shape[1]:
            grown = new.new_empty(heads, max(end, self.count + self.count // 2 + 16), width)
            grown[:, : self.count] = self._data[:, : self.count]
            self._data = grown
        place = self._data[:, self.count : end].view(heads, batch, n, width)
        place.copy_(new.transpose(0, 1))
        begin, self.count = self.count, end
        return begin

    @property
    def data(self) -> torch.Tensor:
        """(heads, N, d)."""
        if self._data is None:
            raise CaptureError("Nothing was kept of this layer.")
        return self._data[:, : self.count]

    def shrink(self) -> None:
        """Give back what was allocated ahead."""
        if self._data is not None and self._data.shape[1] > self.count:
            self._data = self._data[:, : self.count].clone()


@dataclass(eq=False)
class Band:
    """An additive bias that depends on the distance between query and key alone (T5)."""

    values: torch.Tensor | None = None  # (H, distances)


@dataclass(eq=False)
class RowRule:
    """What the rows of one step may attend to, in absolute positions.

    Attributes:
        first: (B or 1, Q) first position, or one number for all.
        last: (B or 1, Q) one past the last.
        holes: (B or 1, H or 1, Q, T) True = may attend, where that is no interval.
        bias: (B or 1, H or 1, Q, T) added to the scores, where it follows no distance.
        band: The bias by distance.
        causal: No row sees a position after its own.
    """

    first: torch.Tensor | int
    last: torch.Tensor | int
    holes: torch.Tensor | None = None
    bias: torch.Tensor | None = None
    band: Band | None = None
    causal: bool = True

    def tensors(self) -> list[torch.Tensor | None]:
        """All that is kept."""
        ends = [t for t in (self.first, self.last) if isinstance(t, torch.Tensor)]
        return [*ends, self.holes, self.bias, None if self.band is None else self.band.values]


@dataclass(eq=False)
class _Pending:
    """A layer of the step in progress, until its masks are looked at."""

    layer: LayerStore
    masks: tuple[torch.Tensor, ...]
    keys: int
    first_rows: bool


@dataclass(eq=False)
class LayerStore:
    """One attention module over all steps of a run."""

    like: QKRecord  # its options; no tensors of a step but the learned sinks
    cross: bool
    query: Columns = field(default_factory=Columns)
    key: Columns = field(default_factory=Columns)
    value: Columns | None = None
    norms: Columns = field(default_factory=Columns)  # |v W_O|, width 1; a column for each of key
    no_norms: str = ""  # why there are none
    at: dict[int, tuple[int, int]] = field(default_factory=dict)  # step: first query, first column
    rules: dict[int, RowRule] = field(default_factory=dict)

    def shrink(self) -> None:
        """Give back what was allocated ahead."""
        for columns in (self.query, self.key, self.value, self.norms):
            if columns is not None:
                columns.shrink()

    def tensors(self) -> list[torch.Tensor | None]:
        """All that is kept of the layer."""
        rules = [t for rule in self.rules.values() for t in rule.tensors()]
        columns = (self.query, self.key, self.value, self.norms)
        kept = [c.data for c in columns if c is not None and c.count]
        return [*kept, self.like.sinks, *rules]


@dataclass(frozen=True)
class Segment:
    """Rows of one step that a sequence consists of: positions first..last of row ``row``."""

    index: int
    row: int
    first: int
    last: int


class CachedRun:
    """All passes of a block over one cache.

    Args:
        cache: transformers' cache; only a weak reference is kept.
        spend: Counts bytes that are about to be kept.
    """

    def __init__(self, cache: Any, spend: Spend) -> None:
        self.cache = weakref.ref(cache)
        self.steps: list[Step] = []
        self.layers: dict[str, LayerStore] = {}
        #: Largest difference of what a step saw from what is kept, relative, a layer.
        self.differences: dict[str, torch.Tensor] = {}
        self._spend = spend
        self._parents: torch.Tensor | None = None
        self._columns: torch.Tensor | None = None  # (B, T) column of each row's position
        self._pending: list[_Pending] = []
        self._bands: dict[str, Band] = {}

    # during the passes

    def begin(self, step: int, past: int, queries: int, batch: int) -> None:
        """A pass over the cache starts, which holds ``past`` tokens."""
        self.seal()
        if not self.steps and past:
            # What was in the cache before the block: keys without queries.
            self.steps.append(Step(step, 0, 0, past, batch))
            self._columns = torch.arange(batch * past).view(batch, past)
        before = self.steps[-1] if self.steps else None
        base = 0 if before is None else before.base + before.batch * before.columns
        made = Step(step, past, queries, queries, batch, self._parents, base)
        self._parents = None
        self.steps.append(made)
        new = torch.arange(base, base + batch * queries).view(batch, queries)
        old = self._columns
        if past == 0 or old is None:
            self._columns = new
        else:
            if made.parents is not None:
                old = old.to(made.parents.device)[made.parents]
            self._columns = torch.cat([old[:, :past], new.to(old.device)], 1)

    def reorder(self, parents: torch.Tensor) -> None:
        """The cache's rows were chosen anew: row i continues row ``parents[i]``."""
        parents = parents.detach().reshape(-1).long()
        if self._parents is not None:
            parents = self._parents.to(parents.device)[parents]
        self._parents = parents.clone()

    def takes(self, name: str, cross: bool, query: torch.Tensor, key: torch.Tensor) -> bool:
        """Whether a call of a layer belongs to the step, and is not an encoder within it."""
        step = self.steps[-1]
        if len(self.steps) - 1 in getattr(self.layers.get(name), "at", ()):
            return False  # called twice in a pass: each call is a layer of its own
        if query.shape[0] != step.batch or query.shape[2] != step.queries:
            return False
        return cross or key.shape[2] >= step.queries

    def add(self, made: QKRecord, cross: bool) -> StepRecord:
        """Keep what is new in one call; ``made`` holds what the layer was called with."""
        index = len(self.steps) - 1
        step = self.steps[index]
        layer = self.layers.get(made.name)
        if layer is None:
            layer = self.layers[made.name] = _store_of(made, cross)
        key, value = made.key, made.value
        if cross:
            if layer.key.count == 0:
                self._append(layer.key, key)
                if layer.value is not None and value is not None:
                    self._append(layer.value, value)
            else:
                self._look_cross(layer, index, key)
            begin = 0
        else:
            offset = max(0, step.past + step.queries - made.keys)
            fresh = slice(step.past - offset, step.past - offset + step.queries)
            if layer.key.count == 0 and step.past:
                self._prefix(layer, key, value, step.past, offset)
            else:
                self._look(layer, index, key, offset)
            begin = self._append(layer.key, key[:, :, fresh])
            if layer.value is not None and value is not None:
                self._append(layer.value, value[:, :, fresh])
        layer.at[index] = (self._append(layer.query, made.query), begin)
        self._pending.append(
            _Pending(layer, tuple(m.tensor for m in made.masks), made.keys, made.first_rows)
        )
        return StepRecord(
            name=made.name,
            role="cross" if cross else "",
            step=made.step,
            call=made.call,
            heads=made.heads,
            kv_heads=made.kv_heads,
            queries=made.queries,
            keys=made.keys if cross else step.past + step.queries,
            batch=made.batch,
            causal=False,
            window=made.window,
            path=made.path,
            run=self,
            index=index,
        )

    def fresh(self, name: str, value: torch.Tensor) -> torch.Tensor | None:
        """The values of the columns that the step in progress added to a layer.

        None where there are none to add, or where earlier ones are not known.
        """
        step, layer = self.steps[-1], self.layers[name]
        if layer.cross:
            return None if layer.norms.count else value
        offset = max(0, step.past + step.queries - value.shape[2])
        if layer.norms.count == 0 and step.past:  # what was in the cache before the block
            return None if offset else value[:, :, : step.past + step.queries]
        return value[:, :, step.past - offset : step.past - offset + step.queries]

    def keep_norms(self, name: str, found: torch.Tensor | str) -> None:
        """Norms (B, H, columns) of what :meth:`fresh` gave, or why there are none."""
        layer = self.layers[name]
        if isinstance(found, str):
            layer.no_norms = found
        else:
            self._append(layer.norms, found.unsqueeze(-1))
            layer.no_norms = ""

    def _append(self, columns: Columns, new: torch.Tensor) -> int:
        self._spend(new.numel() * new.element_size())
        return columns.append(new.detach())

    def _prefix(
        self,
        layer: LayerStore,
        key: torch.Tensor,
        value: torch.Tensor | None,
        past: int,
        offset: int,
    ) -> None:
        """Columns that were in the cache before the block; those beyond a window stay zero."""
        for columns, seen in ((layer.key, key), (layer.value, value)):
            if columns is None or seen is None:
                continue
            whole = seen.new_zeros(*seen.shape[:2], past, seen.shape[3])
            whole[:, :, offset:] = seen[:, :, : past - offset]
            self._append(columns, whole)
        layer.at[0] = (0, 0)

    def _look(self, layer: LayerStore, index: int, key: torch.Tensor, offset: int) -> None:
        """Compare the columns of earlier steps, as this step sees them, with those kept.

        All of one row and head, another in each layer and step, and the newest of all rows.
        """
        past = self.steps[index].past
        columns = self._columns
        if columns is None or past - offset < 1 or any(i not in layer.at for i in range(index)):
            return
        b, g = index % key.shape[0], (index + len(self._pending)) % key.shape[1]
        columns = columns.to(key.device)
        kept = layer.key.data
        pairs = (
            (key[b, g, : past - offset], kept[g][columns[b, offset:past]]),
            (key[:, :, past - offset - 1], kept[:, columns[:, past - 1]].transpose(0, 1)),
        )
        self._differ(layer, pairs)

    def _look_cross(self, layer: LayerStore, index: int, key: torch.Tensor) -> None:
        first = min(layer.at)
        row = index % key.shape[0]
        origin = self.row_at(index, row, first)
        n = key.shape[2]
        kept = layer.key.data[:, origin * n : (origin + 1) * n]
        self._differ(layer, ((key[row], kept),))

    def _differ(
        self, layer: LayerStore, pairs: Iterable[tuple[torch.Tensor, torch.Tensor]]
    ) -> None:
        for seen, kept in pairs:
            seen, kept = seen.detach().float(), kept.float()
            worst = (seen - kept).abs().amax() / seen.abs().amax().clamp_min(1e-30)
            before = self.differences.get(layer.like.name)
            self.differences[layer.like.name] = (
                worst if before is None else torch.maximum(before, worst.to(before.device))
            )

    def seal(self) -> None:
        """Turn the masks of the step in progress into rules, and let go of them."""
        index = len(self.steps) - 1
        known: dict[tuple[Any, ...], RowRule] = {}
        for pending in self._pending:
            identity = (tuple(map(id, pending.masks)), pending.keys, pending.first_rows)
            rule = known.get((*identity, pending.layer.cross))
            if rule is None:
                band = self._bands.setdefault(pending.layer.like.name, Band())
                rule = _rule_of(pending, self.steps[index], band)
                for kept in (rule.first, rule.last, rule.holes, rule.bias):
                    if isinstance(kept, torch.Tensor):
                        self._spend(kept.numel() * kept.element_size())
                known[(*identity, pending.layer.cross)] = rule
            pending.layer.rules[index] = rule
        self._pending.clear()

    def close(self) -> None:
        """The block ends."""
        self.seal()
        for step in self.steps:
            if step.parents is not None:
                step.parents = step.parents.cpu()
        for layer in self.layers.values():
            layer.shrink()
        self._columns = self._parents = None
        self._spend = _spend_nothing

    # afterwards

    def row_at(self, index: int, row: int, earlier: int) -> int:
        """The row of step ``earlier`` that row ``row`` of step ``index`` continues."""
        for i in range(index, earlier, -1):
            parents = self.steps[i].parents
            row = row if parents is None else int(parents[row])
        return row

    def lineage(self, index: int, row: int) -> list[Segment]:
        """What row ``row`` sees at step ``index``, in the order of positions."""
        step = self.steps[index]
        found = [Segment(index, row, step.past, step.past + step.columns)]
        need = step.past
        while need > 0 and index > 0:
            parents = self.steps[index].parents
            row = row if parents is None else int(parents[row])
            index -= 1
            step = self.steps[index]
            last = min(step.past + step.columns, need)
            if step.past < last:
                found.append(Segment(index, row, step.past, last))
                need = step.past
        return found[::-1]

    def columns_of(self, layer: LayerStore, path: Sequence[Segment]) -> torch.Tensor:
        """Places in ``layer.key`` of the positions that ``path`` covers: (T,)."""
        parts = []
        for part in path:
            step = self.steps[part.index]
            begin = layer.at[part.index][1] + part.row * step.columns
            parts.append(torch.arange(begin, begin + part.last - part.first))
        return torch.cat(parts)

    def queries_of(self, layer: LayerStore, path: Sequence[Segment]) -> torch.Tensor:
        """Places in ``layer.query`` of the rows that ``path`` covers."""
        parts = []
        for part in path:
            step = self.steps[part.index]
            if step.queries:
                begin = layer.at[part.index][0] + part.row * step.queries
                parts.append(torch.arange(begin, begin + part.last - part.first))
        return torch.cat(parts)

    @staticmethod
    def norms_at(layer: LayerStore, places: torch.Tensor) -> torch.Tensor | None:
        """|v W_O| of some columns, (1, H, columns); None where a step's are not known."""
        if layer.norms.count == 0 or layer.norms.count != layer.key.count:
            return None
        return _pick(layer.norms.data, places)[..., 0].unsqueeze(0)

    def record(self, name: str, path: Sequence[Segment]) -> QKRecord:
        """One sequence of one layer as the record of a single pass with a batch of one.

        Raises:
            KeyError: the layer did not take part in a step of the path.
        """
        layer = self.layers[name]
        like = layer.like
        query = _pick(layer.query.data, self.queries_of(layer, path))
        if layer.cross:
            first = next(i for i, p in enumerate(path) if p.index in layer.at)
            n = like.keys
            begin = self.row_at(path[first].index, path[first].row, min(layer.at)) * n
            places = torch.arange(begin, begin + n)
        else:
            places = self.columns_of(layer, path)
        key = _pick(layer.key.data, places)
        value = None if layer.value is None else _pick(layer.value.data, places)
        rows = [p for p in path if self.steps[p.index].queries]
        rules = [(layer.rules[p.index], p.row, p.first - self.steps[p.index].past, p) for p in rows]
        masks = _masks_of(rules, len(places), query.device)
        return replace(
            like,
            step=0,
            call=0,
            queries=query.shape[1],
            keys=len(places),
            batch=1,
            causal=not layer.cross and all(rule.causal for rule, *_ in rules),
            query=query.unsqueeze(0),
            key=key.unsqueeze(0),
            value=None if value is None else value.unsqueeze(0),
            value_norms=self.norms_at(layer, places),
            no_value_norms=layer.no_norms,
            masks=masks,
            _stats={},
        )


def _spend_nothing(need: int) -> None:
    return None


def _store_of(made: QKRecord, cross: bool) -> LayerStore:
    empty = made.query.new_empty(0)
    like = replace(made, query=empty, key=empty, value=None, masks=(), first_rows=False, _stats={})
    return LayerStore(like, cross, value=None if made.value is None else Columns())


def _pick(data: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Columns of (heads, N, d); a view where they lie side by side."""
    first, count = int(places[0]), len(places)
    if torch.equal(places, torch.arange(first, first + count)):
        return data[:, first : first + count]
    return data.index_select(1, places.to(data.device))


def _stack(rows: list[torch.Tensor]) -> torch.Tensor:
    """As torch.stack; a view of a single one."""
    return rows[0].unsqueeze(0) if len(rows) == 1 else torch.stack(rows)


def _rule_of(pending: _Pending, step: Step, band: Band) -> RowRule:
    """The interval of positions that each row of a step may attend to, and the bias beyond."""
    cross = pending.layer.cross
    n, queries = pending.keys, step.queries
    offset = 0 if cross else max(0, step.past + queries - n)
    width = n if cross else min(n, step.past + queries - offset)  # a static cache's empty end
    own = torch.arange(step.past, step.past + queries)
    if not pending.masks and not pending.first_rows:
        causal = not cross and queries == 1
        return RowRule(offset, offset + width, causal=causal)
    if not pending.masks:
        last = (offset + 1 + torch.arange(queries)).clamp_max(offset + width)[None]
        device = pending.layer.query.data.device
        causal = bool((last[0] <= own + 1).all())
        return RowRule(offset, last.to(torch.int32).to(device), causal=causal)
    device = pending.masks[0].device
    open_ = torch.ones(1, 1, 1, width, dtype=torch.bool, device=device)
    bias: torch.Tensor | None = None
    for mask in pending.masks:
        while mask.dim() < 4:
            mask = mask.unsqueeze(0)
        part = mask[..., :width].to(device)
        kept = KeptMask(part)
        open_ = open_ & ~kept.masked(part)
        if part.dtype != torch.bool:
            bias = part if bias is None else bias + part
    open_ = open_.expand(open_.shape[0], open_.shape[1], queries, width)
    if pending.first_rows:
        ahead = torch.arange(width, device=device) > torch.arange(queries, device=device)[:, None]
        open_ = open_ & ~ahead
    any_ = open_.any(1)  # (B, Q, width): of some head
    seen = any_.any(-1)
    first = torch.where(seen, any_.to(torch.uint8).argmax(-1), 0)
    last = torch.where(seen, width - any_.flip(-1).to(torch.uint8).argmax(-1), 0)
    whole = (last - first) == any_.sum(-1)
    same = open_.shape[1] == 1 or bool((open_ == open_[:, :1]).all())
    rule = RowRule((first + offset).to(torch.int32), (last + offset).to(torch.int32))
    rule.first, rule.last = (torch.where(seen, t, 0) for t in (rule.first, rule.last))
    rule.causal = not cross and bool((rule.last <= own.to(device) + 1).all())
    if not same or not bool(whole.all()):
        rule.holes = torch.nn.functional.pad(open_, (offset, 0))
    if bias is not None:
        bias = bias.expand(*bias.shape[:2], queries, width).masked_fill(~open_, 0.0)
        if bool((bias != 0).any()):
            if torch.equal(bias, bias[:1].expand_as(bias)):
                bias = bias[:1]
            if offset or bias.shape[0] > 1 or not _follows(band, bias[0], open_[0], own, cross):
                rule.bias = torch.nn.functional.pad(bias, (offset, 0)).clone()
            else:
                rule.band = band
    return rule


def _follows(
    band: Band, bias: torch.Tensor, open_: torch.Tensor, own: torch.Tensor, cross: bool
) -> bool:
    """Whether ``bias`` (H, Q, T) depends on the distance alone, as the steps before; extends it."""
    if cross or not bool(open_[:, -1].all()):
        return False
    far = int(own[-1]) + 1
    if bias.shape[-1] != far:
        return False
    candidate = bias[:, -1].flip(-1)  # (H, distances)
    old = band.values
    if old is not None:
        if old.shape[0] != candidate.shape[0]:
            return False
        common = min(old.shape[1], far)
        if not torch.equal(old[:, :common], candidate[:, :common]):
            return False
    if len(own) > 1:
        distance = own[:, None] - torch.arange(far)
        spread = candidate[:, distance.clamp_min(0).to(bias.device)]
        if not torch.equal(spread.masked_fill(~open_.expand_as(spread), 0.0), bias):
            return False
    if old is None or far > old.shape[1]:
        band.values = candidate.clone()
    return True


# masks made of rules: what a record of a merged sequence or of a step is given


class _Intervals(KeptMask):
    """Rows that attend to an interval of keys each: (B, Q) ends."""

    def __init__(self, first: torch.Tensor, last: torch.Tensor, causal: bool) -> None:
        super().__init__(first)
        self.first, self.last = first, last
        self._is = causal

    def cut(self, b: int, h0: int, h1: int, rows: Rows, k0: int, k1: int) -> torch.Tensor:
        row = b if self.first.shape[0] > 1 else 0
        at = torch.arange(k0, k1, device=self.first.device)
        first, last = self.first[row, rows, None], self.last[row, rows, None]
        return ((at >= first) & (at < last)).unsqueeze(0)

    def spans(self, b: int, queries: int, keys: int) -> tuple[list[int], list[int]]:
        found = self._spans.get((b, keys))
        if found is None:
            row = b if self.first.shape[0] > 1 else 0
            found = self._spans[(b, keys)] = (self.first[row].tolist(), self.last[row].tolist())
        return found

    def is_causal(self, queries: int, keys: int) -> bool:
        return self._is


class _Distances(KeptMask):
    """A bias by distance: ``values`` (H, distances), ``at`` the position of each row, -1: none."""

    def __init__(self, values: torch.Tensor, at: torch.Tensor) -> None:
        super().__init__(values)
        self.at = at

    def cut(self, b: int, h0: int, h1: int, rows: Rows, k0: int, k1: int) -> torch.Tensor:
        at = self.at[rows, None]
        distance = at - torch.arange(k0, k1, device=at.device)
        values = self.tensor[h0:h1] if self.tensor.shape[0] > 1 else self.tensor
        picked = values[:, distance.clamp(0, values.shape[1] - 1)]
        return picked.masked_fill((distance < 0) | (at < 0), 0.0)

    def spans(self, b: int, queries: int, keys: int) -> tuple[list[int], list[int]]:
        return [0] * queries, [keys] * queries

    def is_causal(self, queries: int, keys: int) -> bool:
        return False


class _Blocks(KeptMask):
    """Masks or biases of some steps' rows as they were; the other rows have none.

    ``blocks``: first row, one past the last, (B or 1, H or 1, rows, keys).
    """

    def __init__(self, blocks: list[tuple[int, int, torch.Tensor]], queries: int) -> None:
        super().__init__(blocks[0][2])
        self.blocks = blocks
        self._queries = queries

    def cut(self, b: int, h0: int, h1: int, rows: Rows, k0: int, k1: int) -> torch.Tensor:
        like = self.blocks[0][2]
        rest = True if like.dtype == torch.bool else 0.0
        index = torch.arange(self._queries, device=like.device)[rows]
        out = like.new_full((h1 - h0, len(index), k1 - k0), rest)
        for q0, q1, tensor in self.blocks:
            (inside,) = torch.nonzero((index >= q0) & (index < q1), as_tuple=True)
            if len(inside):
                part = tensor[b if tensor.shape[0] > 1 else 0]
                part = part[h0:h1] if part.shape[0] > 1 else part
                part = part[:, index[inside] - q0, k0:k1]
                out[:, inside, : part.shape[-1]] = part.expand(h1 - h0, *part.shape[1:])
        return out

    def spans(self, b: int, queries: int, keys: int) -> tuple[list[int], list[int]]:
        return [0] * queries, [keys] * queries

    def is_causal(self, queries: int, keys: int) -> bool:
        return False


def _masks_of(
    rules: Sequence[tuple[RowRule, int | None, int, Segment]], keys: int, device: torch.device
) -> tuple[KeptMask, ...]:
    """The rules of consecutive steps as masks of one record.

    Each entry: the rule, the row of the batch (None: all rows), where in the step its rows begin,
    and the positions they cover.
    """
    firsts, lasts, positions = [], [], []
    holes: list[tuple[int, int, torch.Tensor]] = []
    biases: list[tuple[int, int, torch.Tensor]] = []
    band: torch.Tensor | None = None
    at = 0
    for rule, row, skip, part in rules:
        n = part.last - part.first
        rows = slice(skip, skip + n)
        firsts.append(_end(rule.first, row, rows, n, device))
        lasts.append(_end(rule.last, row, rows, n, device))
        for given, into in ((rule.holes, holes), (rule.bias, biases)):
            if given is not None:
                one = given if row is None or given.shape[0] == 1 else given[row : row + 1]
                into.append((at, at + n, one[:, :, rows]))
        own = torch.arange(part.first, part.last)
        positions.append(own if rule.band is not None else torch.full_like(own, -1))
        if rule.band is not None:
            band = rule.band.values
        at += n
    batch = max(t.shape[0] for t in (*firsts, *lasts))
    first = torch.cat([t.expand(batch, -1) for t in firsts], 1)
    last = torch.cat([t.expand(batch, -1) for t in lasts], 1)
    causal = all(rule.causal for rule, *_ in rules)
    made: list[KeptMask] = [_Intervals(first, last, causal)]
    if holes:
        made.append(_Blocks(holes, at))
    if biases:
        made.append(_Blocks(biases, at))
    if band is not None:
        made.append(_Distances(band, torch.cat(positions).to(device)))
    return tuple(made)


def _end(
    given: torch.Tensor | int, row: int | None, rows: slice, n: int, device: torch.device
) -> torch.Tensor:
    if isinstance(given, int):
        return torch.full((1, n), given, dtype=torch.int32, device=device)
    one = given if row is None or given.shape[0] == 1 else given[row : row + 1]
    return one[:, rows].to(device)


@dataclass(eq=False)
class StepRecord(CallRecord):
    """One layer of one step: all rows of the batch, keys at their absolute positions.

    It holds no numbers of its own; :meth:`whole` gathers them from the run.
    """

    run: CachedRun
    index: int
    _whole: weakref.ref[QKRecord] | None = None

    @property
    def layer(self) -> LayerStore:
        """What the run keeps of the layer."""
        return self.run.layers[self.name]

    @property
    def device(self) -> torch.device:
        """Where queries and keys lie."""
        return self.layer.query.data.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of queries and keys."""
        return self.layer.query.data.dtype

    @property
    def sinks(self) -> torch.Tensor | None:
        """Learned sinks, (H,)."""
        return self.layer.like.sinks

    def tensors(self) -> list[torch.Tensor | None]:
        """What the run keeps of this layer, which all its steps share."""
        return self.layer.tensors()

    def look(self) -> None:
        """Note whether the step is causal; done once its masks are rules."""
        rule = self.layer.rules.get(self.index)
        self.causal = rule is not None and rule.causal and self.role != "cross"

    def whole(self) -> QKRecord:
        """The call with all its numbers: (B, H, Q, d) queries, (B, G, T, d) keys."""
        held = None if self._whole is None else self._whole()
        if held is None:
            held = self._gather()
            self._whole = weakref.ref(held)
        return held

    def _gather(self) -> QKRecord:
        run, layer = self.run, self.layer
        paths = [run.lineage(self.index, b) for b in range(self.batch)]
        own = [p[-1:] for p in paths]
        query = [_pick(layer.query.data, run.queries_of(layer, p)) for p in own]
        if layer.cross:
            n = self.keys
            origins = [run.row_at(self.index, b, min(layer.at)) for b in range(self.batch)]
            places = [torch.arange(r * n, (r + 1) * n) for r in origins]
        else:
            places = [run.columns_of(layer, p) for p in paths]
        value = layer.value
        found = (run.norms_at(layer, p) for p in places)
        known = [one for one in found if one is not None]
        return replace(
            layer.like,
            value_norms=torch.cat(known) if len(known) == len(places) else None,
            no_value_norms=layer.no_norms,
            role=self.role,
            step=self.step,
            call=self.call,
            queries=self.queries,
            keys=self.keys,
            batch=self.batch,
            causal=self.causal,
            query=_stack(query),
            key=_stack([_pick(layer.key.data, p) for p in places]),
            value=None if value is None else _stack([_pick(value.data, p) for p in places]),
            masks=_masks_of(
                [(layer.rules[self.index], None, 0, own[0][0])], self.keys, layer.query.data.device
            ),
            _stats={},
        )

    def weights(self, b: int, h: int, rows: Rows, k0: int, k1: int) -> torch.Tensor:
        """Attention of one head, (rows, k1 - k0), float32."""
        return self.whole().weights(b, h, rows, k0, k1)

    def shares(
        self, b: int, h0: int, h1: int, rows: Rows, span: tuple[int, int], k0: int, k1: int
    ) -> torch.Tensor:
        """Attention of some heads and queries to keys k0..k1."""
        return self.whole().shares(b, h0, h1, rows, span, k0, k1)

    def _open(self, b: int, h0: int, h1: int, rows: Rows, lo: int, hi: int) -> torch.Tensor:
        return self.whole()._open(b, h0, h1, rows, lo, hi)
