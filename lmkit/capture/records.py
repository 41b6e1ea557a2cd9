"""The numbers of one attention call, computed when asked for.

Shapes throughout: B batch, H heads, G key-value heads, Q queries, K keys, d head size. All
arithmetic is float32 whatever the model's dtype, float64 where the user allowed the float32
matrix product to be rounded (TF32, bfloat16 on CPU), so that a tile never depends on that flag.

A = softmax(scale * q k^T [softcap] + bias + mask), as in Vaswani et al. 2017, equation 1. With
sinks (gpt-oss) the denominator has one more term, exp(sink), and rows sum to less than 1.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch

from lmkit.capture.pooling import ColumnSums, RowBins, bin_edges
from lmkit.errors import Cancelled

__all__ = [
    "MASKED_SCORE",
    "CallRecord",
    "HeadBlock",
    "KeptMask",
    "QKRecord",
    "StoredRecord",
]

MASKED_SCORE = torch.finfo(torch.float32).min
"""The score of a cell that a mask closes, where scores are shown: finite, below any other."""

Rows = slice | torch.Tensor
_CELLS_PER_BLOCK = 1 << 19  # scores in flight: 2 MiB in float32, about a core's own cache
_CELLS_PER_BLOCK_CUDA = 1 << 26


def _arithmetic(device: torch.device) -> torch.dtype:
    if device.type == "mps":  # knows no float64, and does not round float32 products
        return torch.float32
    rounded = torch.get_float32_matmul_precision() != "highest" or (
        device.type == "cuda" and torch.backends.cuda.matmul.allow_tf32
    )
    return torch.float64 if rounded else torch.float32


def storage_bytes(tensors: Sequence[torch.Tensor | None]) -> int:
    """Bytes of the distinct storages behind ``tensors``."""
    seen: dict[tuple[str, int], int] = {}
    for tensor in tensors:
        if tensor is not None:
            storage = tensor.untyped_storage()
            seen[(str(tensor.device), storage.data_ptr())] = storage.nbytes()
    return sum(seen.values())


@dataclass(eq=False)
class KeptMask:
    """A mask (bool, True = may attend) or an additive bias, shared by the calls that used it.

    ``tensor`` broadcasts to (B, H, Q, K); its last axis may be longer than the keys.
    """

    tensor: torch.Tensor
    _spans: dict[tuple[int, int], tuple[list[int], list[int]]] = field(default_factory=dict)
    _causal: dict[tuple[int, int], bool] = field(default_factory=dict)

    def cut(self, b: int, h0: int, h1: int, rows: Rows, k0: int, k1: int) -> torch.Tensor:
        """The part for heads h0..h1, ``rows`` and keys k0..k1, broadcastable to them."""
        t = self.tensor
        while t.dim() < 4:
            t = t.unsqueeze(0)
        t = t[b if t.shape[0] > 1 else 0]
        if t.shape[0] > 1:
            t = t[h0:h1]
        if t.shape[1] > 1:
            t = t[:, rows]
        if t.shape[2] > 1:
            t = t[:, :, k0:k1]
        return t

    def masked(self, part: torch.Tensor) -> torch.Tensor:
        """True where ``part`` of this mask makes a weight exactly zero."""
        if part.dtype == torch.bool:
            return ~part
        return part <= torch.finfo(part.dtype).min / 2

    def spans(self, b: int, queries: int, keys: int) -> tuple[list[int], list[int]]:
        """For each query the first and one past the last key that some head may attend to.

        A row that a float mask closes altogether spans all keys: adding the same huge negative
        number everywhere leaves the softmax uniform, which is what the model itself does.
        """
        cached = self._spans.get((b, keys))
        if cached is not None:
            return cached
        first: list[int] = []
        last: list[int] = []
        step = max(1, (1 << 24) // max(1, keys))
        for q0 in range(0, queries, step):
            rows = slice(q0, min(queries, q0 + step))
            part = self.cut(
                b, 0, self.tensor.shape[-3] if self.tensor.dim() > 2 else 1, rows, 0, keys
            )
            open_ = (~self.masked(part)).any(0).expand(rows.stop - q0, keys)
            any_ = open_.any(-1)
            lo = open_.to(torch.uint8).argmax(-1)
            hi = keys - open_.flip(-1).to(torch.uint8).argmax(-1)
            if part.dtype == torch.bool:
                lo, hi = torch.where(any_, lo, 0), torch.where(any_, hi, 0)
            else:
                lo, hi = torch.where(any_, lo, 0), torch.where(any_, hi, keys)
            first.extend(lo.tolist())
            last.extend(hi.tolist())
        self._spans[(b, keys)] = (first, last)
        return first, last

    def is_causal(self, queries: int, keys: int) -> bool:
        """Whether no query sees a key after itself (the last query stands at the last key)."""
        if queries < 2 or keys < queries:
            return False
        found = self._causal.get((queries, keys))
        if found is None:
            found = self._causal[(queries, keys)] = self._look_causal(queries, keys)
        return found

    def _look_causal(self, queries: int, keys: int) -> bool:
        offset = keys - queries
        for q in sorted({0, queries // 2, queries - 2}):
            for b in range(self.tensor.shape[0] if self.tensor.dim() == 4 else 1):
                part = self.cut(b, 0, 1, slice(q, q + 1), 0, keys)
                ahead = part.expand(part.shape[0], 1, keys)[..., q + offset + 1 :]
                if not bool(self.masked(ahead).all()):
                    return False
        return True


@dataclass(frozen=True, eq=False)
class HeadBlock:
    """Some rows of some heads of one layer, as a pass over all heads meets them.

    Attributes:
        first: First head of the block.
        rows: (R,) the queries, on the device of ``weights``.
        offset: Key of the first column; the rows have no weight outside of the columns.
        weights: (H, R, C) attention, float32, or float64 where products are rounded.
        open: Bool, broadcastable to ``weights``: the pairs that the masks leave open.
    """

    first: int
    rows: torch.Tensor
    offset: int
    weights: torch.Tensor
    open: torch.Tensor


@dataclass(eq=False)
class CallRecord(ABC):
    """One call of one attention module. Holds tensors and names, never a module."""

    name: str
    role: str
    step: int
    call: int
    heads: int
    kv_heads: int
    queries: int
    keys: int
    batch: int
    causal: bool
    window: int | None
    path: str

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the tensors lie."""

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """The dtype of what was kept."""

    @abstractmethod
    def tensors(self) -> list[torch.Tensor | None]:
        """All that is kept, for counting bytes."""

    @abstractmethod
    def weights(self, b: int, h: int, rows: Rows, k0: int, k1: int) -> torch.Tensor:
        """Attention of one head, (rows, k1 - k0), float32, on the record's device."""

    @abstractmethod
    def shares(
        self, b: int, h0: int, h1: int, rows: Rows, span: tuple[int, int], k0: int, k1: int
    ) -> torch.Tensor:
        """Attention of some heads and queries to keys k0..k1: (h1 - h0, rows, k1 - k0).

        In the precision of the arithmetic, on the device of the arithmetic. The heads lie within
        one key-value head or cover several of them whole. ``span`` are the keys that these rows
        may attend to; k0..k1 lies in it.
        """

    @property
    def works_on(self) -> torch.device:
        """Where the arithmetic is done: where the tensors lie, unless they were offloaded."""
        return self.device

    def _span(self, b: int, q0: int, q1: int) -> tuple[int, int]:
        return 0, self.keys

    def _head_step(self) -> int:
        return 1

    def _cells_at_once(self) -> int:
        return _CELLS_PER_BLOCK_CUDA if self.works_on.type == "cuda" else _CELLS_PER_BLOCK

    def _head_ranges(self, heads: tuple[int, int], rows: int) -> Iterator[tuple[int, int]]:
        """Heads that are computed in one product.

        Several key-value heads go together only where the range covers them whole.
        """
        step = self._head_step()
        at_once = max(1, self._cells_at_once() // max(1, step * rows * self.keys)) * step
        h0 = heads[0]
        while h0 < heads[1]:
            h1 = min(heads[1], (h0 // step) * step + (step if h0 % step else at_once))
            if h1 % step and h1 - h0 > step:
                h1 -= h1 % step
            yield h0, h1
            h0 = h1

    def _row_blocks(
        self, b: int, heads: int, rows: range | list[int]
    ) -> Iterator[tuple[Rows, int, tuple[int, int]]]:
        """Row blocks small enough to be computed at once for so many heads.

        A block of early rows of a causal layer sees few keys and is taken the taller for it.
        Yields the rows, the place in the list of the first of them, and the keys they span.
        """
        limit = self._cells_at_once()
        at, count = 0, len(rows)
        least = max(1, limit // max(1, heads * self.keys))
        while at < count:
            size = least
            for _ in range(2):  # more rows see more keys: the second look is at what they see
                last = rows[min(count, at + size) - 1]
                lo, hi = self._span(b, rows[at], last + 1)
                size = max(least, limit // max(1, heads * (hi - lo)))
                size = min(size, 2 * least + at)
            end = min(count, at + size)
            span = self._span(b, rows[at], rows[end - 1] + 1)
            if isinstance(rows, range):
                yield slice(rows[at], rows[end - 1] + 1), at, span
            else:
                yield torch.tensor(rows[at:end], device=self.device), at, span
            at = end

    def pooled(
        self,
        b: int,
        heads: tuple[int, int],
        n_rows: int,
        n_cols: int,
        *,
        sample: int | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> torch.Tensor:
        """Pooled mass (heads, n_rows, n_cols): sum over a bin's keys, mean over its queries.

        ``sample``: at most so many evenly spread queries of each row bin.
        """
        rows, columns = bin_edges(self.queries, n_rows), bin_edges(self.keys, n_cols)
        return self.binned(b, heads, rows, columns, sample=sample, cancel=cancel)

    def binned(
        self,
        b: int,
        heads: tuple[int, int],
        row_edges: Sequence[int],
        column_edges: Sequence[int],
        *,
        sample: int | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> torch.Tensor:
        """Pooled mass of a rectangle, (heads, row bins, column bins), float32.

        Args:
            b: Text of the batch.
            heads: First and one past the last.
            row_edges: Where each bin of queries begins, and one past the last.
            column_edges: The same for keys.
            sample: At most so many evenly spread queries of each bin.
            cancel: Asked at every block.

        Raises:
            Cancelled: ``cancel`` answered True.
        """
        device, dtype = self.works_on, _arithmetic(self.works_on)
        k0, k1 = column_edges[0], column_edges[-1]
        bins = RowBins.of(row_edges, sample)
        column_sums = ColumnSums(column_edges, device)
        out = torch.zeros(
            heads[1] - heads[0], len(bins), len(column_edges) - 1, dtype=dtype, device=device
        )
        for h0, h1 in self._head_ranges(heads, len(bins.rows)):
            for first, part in bins.parts((h1 - h0) * (k1 - k0)):
                sums = torch.zeros(h1 - h0, len(part), k1 - k0, dtype=dtype, device=device)
                for rows, at, span in self._row_blocks(b, h1 - h0, part.rows):
                    if cancel is not None and cancel():
                        raise Cancelled("Stopped while attention was pooled.")
                    lo, hi = max(k0, span[0]), min(k1, span[1])
                    if lo < hi:
                        block = self.shares(b, h0, h1, rows, span, lo, hi)
                        part.add_means(sums, block, at, lo - k0)
                into = out[h0 - heads[0] : h1 - heads[0], first : first + len(part)]
                into.copy_(column_sums(sums))
        return out.to(torch.float32)

    @abstractmethod
    def _open(self, b: int, h0: int, h1: int, rows: Rows, lo: int, hi: int) -> torch.Tensor:
        """Bool, broadcastable to (h1 - h0, rows, hi - lo): pairs that the masks leave open."""

    def head_blocks(
        self, b: int, rows: list[int], *, cancel: Callable[[], bool] | None = None
    ) -> Iterator[HeadBlock]:
        """All heads at the given queries, a block of bounded size at a time."""
        for h0, h1 in self._head_ranges((0, self.heads), len(rows)):
            for part, _, (lo, hi) in self._row_blocks(b, h1 - h0, rows):
                if cancel is not None and cancel():
                    raise Cancelled("Stopped while the heads were looked through.")
                if hi <= lo:
                    continue
                weights = self.shares(b, h0, h1, part, (lo, hi), lo, hi)
                assert isinstance(part, torch.Tensor)
                yield HeadBlock(h0, part, lo, weights, self._open(b, h0, h1, part, lo, hi))

    def received(
        self, b: int, weights: torch.Tensor, *, cancel: Callable[[], bool] | None = None
    ) -> torch.Tensor:
        """Sum over heads and queries of weight(query) * attention: float64, on the CPU.

        Weights are (queries,) or several sets of them, (n, queries); the result is (keys,) or
        (n, keys).
        """
        if weights.dim() == 1:
            return self.received(b, weights[None], cancel=cancel)[0]
        reached = weights.ne(0).any(0).tolist()
        weights = weights.to(_arithmetic(self.works_on)).to(self.works_on)
        out = torch.zeros(weights.shape[0], self.keys, dtype=torch.float64)
        for h0, h1 in self._head_ranges((0, self.heads), self.queries):
            for rows, at, (lo, hi) in self._row_blocks(b, h1 - h0, range(self.queries)):
                if cancel is not None and cancel():
                    raise Cancelled("Stopped while the attention was summed.")
                assert isinstance(rows, slice)
                if hi <= lo or not any(reached[rows]):
                    continue
                block = self.shares(b, h0, h1, rows, (lo, hi), lo, hi)
                w = weights[:, at : at + block.shape[1]]
                out[:, lo:hi] += torch.matmul(w, block).sum(0).cpu().double()
        return out


@dataclass(eq=False)
class QKRecord(CallRecord):
    """Queries and keys of one call, with all that turns them into attention."""

    query: torch.Tensor  # (B, H, Q, d)
    key: torch.Tensor  # (B, G, K, d)
    value: torch.Tensor | None  # (B, G, K, dv)
    scale: float
    masks: tuple[KeptMask, ...] = ()
    first_rows: bool = False  # causal by SDPA's flag: query i sees keys 0..i
    softcap: float | None = None
    sinks: torch.Tensor | None = None  # (H,)
    value_norms: torch.Tensor | None = None  # (B, H, K) float32: |v W_O|, where it was found
    no_value_norms: str = ""  # why it was not
    work_device: torch.device | None = None  # of the pass, where the tensors were offloaded
    rotary: bool = False  # positions were turned into queries and keys before
    _stats: dict[int, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Where queries and keys lie."""
        return self.query.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of queries and keys."""
        return self.query.dtype

    def tensors(self) -> list[torch.Tensor | None]:
        """Queries, keys, values, masks, sinks and cached row statistics."""
        stats = [t for pair in self._stats.values() for t in pair]
        return [
            self.query,
            self.key,
            self.value,
            self.value_norms,
            self.sinks,
            *(m.tensor for m in self.masks),
            *stats,
        ]

    @property
    def works_on(self) -> torch.device:
        """The device of the pass, also where queries and keys wait in the host's memory."""
        return self.work_device or self.query.device

    def _head_step(self) -> int:
        return self.heads // self.kv_heads

    def _cells_at_once(self) -> int:
        # Offloaded because the device was short: 64 MiB of scores instead of 256.
        return super()._cells_at_once() // (1 if self.work_device is None else 4)

    def _span(self, b: int, q0: int, q1: int) -> tuple[int, int]:
        lo, hi = 0, self.keys
        if self.first_rows:
            hi = min(hi, q1)
        for mask in self.masks:
            first, last = mask.spans(b, self.queries, self.keys)
            lo = max(lo, min(first[q0:q1]))
            hi = min(hi, max(last[q0:q1]))
        return lo, max(lo, hi)

    def scores(self, b: int, h0: int, h1: int, rows: Rows, k0: int, k1: int) -> torch.Tensor:
        """What enters the softmax: (h1 - h0, rows, k1 - k0).

        The heads lie within one key-value head or cover several of them whole.
        """
        device = self.works_on
        dtype = _arithmetic(device)
        group = self.heads // self.kv_heads
        g0, g1 = h0 // group, (h1 - 1) // group + 1
        q = self.query[b, h0:h1, rows].to(device, dtype) * self.scale
        k = self.key[b, g0:g1, k0:k1].to(device, dtype)
        n = q.shape[1]
        s = torch.matmul(q.reshape(g1 - g0, -1, q.shape[-1]), k.transpose(1, 2))
        s = s.view(h1 - h0, n, k1 - k0)
        if self.softcap is not None:
            s = torch.tanh(s / self.softcap) * self.softcap
        for mask in self.masks:
            part = mask.cut(b, h0, h1, rows, k0, k1).to(device)
            if part.dtype == torch.bool:
                s.masked_fill_(~part, -math.inf)
            else:
                s.add_(part)
                if part.dtype == torch.float16:
                    # A row that float16's -65504 closes altogether is uniform in the model, whose
                    # sums round to it; in float32 they would tell the scores apart again.
                    s.masked_fill_(self._floor(part), torch.finfo(s.dtype).min)
        if self.first_rows:
            self._close_ahead(s, rows, k0, k1)
        return s

    @staticmethod
    def _floor(part: torch.Tensor) -> torch.Tensor:
        """Where a float16 mask holds its smallest finite number, or near it."""
        return (part <= torch.finfo(part.dtype).min / 2) & ~part.isinf()

    def _close_ahead(self, s: torch.Tensor, rows: Rows, k0: int, k1: int) -> None:
        """Shut what lies after each query. Keys up to the first row's own are open to all rows."""
        open_to = max(k0, min(k1, rows.start + 1)) if isinstance(rows, slice) else k0
        if open_to < k1:
            ahead = self._ahead(rows, open_to, k1, s.device)
            s[..., open_to - k0 :].masked_fill_(ahead, -math.inf)

    def batch_scores(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores of the whole batch with their graph, and the pairs that the masks leave open.

        Returns:
            (B, H, Q, K) ``softcap(scale q k^T) + bias`` in the record's dtype, without what closes
            a pair; and bool, broadcastable to it.
        """
        groups, step = self.kv_heads, self.heads // self.kv_heads
        query = self.query.reshape(self.batch, groups, step, self.queries, -1)
        s = torch.einsum("bgsqd,bgkd->bgsqk", query * self.scale, self.key)
        s = s.reshape(self.batch, self.heads, self.queries, self.keys)
        if self.softcap is not None:
            s = torch.tanh(s / self.softcap) * self.softcap
        open_ = torch.ones(1, 1, self.queries, self.keys, dtype=torch.bool, device=s.device)
        for mask in self.masks:
            part = mask.tensor
            while part.dim() < 4:
                part = part.unsqueeze(0)
            part = part[..., : self.keys].to(s.device)
            closed = mask.masked(part)
            open_ = open_ & ~closed
            if part.dtype != torch.bool:
                s = s + part.masked_fill(closed, 0.0)
        if self.first_rows:
            open_ = open_ & ~self._ahead(slice(0, self.queries), 0, self.keys, s.device)
        return s, open_

    def shown_scores(self, b: int, h: int, rows: torch.Tensor) -> torch.Tensor:
        """The scores of some queries of one head with every closed cell at MASKED_SCORE."""
        s = self.scores(b, h, h + 1, rows, 0, self.keys)[0]
        for mask in self.masks:
            # One mask adds -inf, another the lowest float16 or float32: here they look alike.
            part = mask.masked(mask.cut(b, h, h + 1, rows, 0, self.keys))
            s.masked_fill_(part.expand(1, *s.shape)[0], MASKED_SCORE)
        return s.to(torch.float32).clamp_min_(MASKED_SCORE)

    def _ahead(self, rows: Rows, k0: int, k1: int, device: torch.device) -> torch.Tensor:
        if isinstance(rows, slice):
            rows = torch.arange(rows.start, rows.stop, rows.step or 1, device=device)
        return torch.arange(k0, k1, device=device)[None, :] > rows.to(device)[:, None]

    def _open(self, b: int, h0: int, h1: int, rows: Rows, lo: int, hi: int) -> torch.Tensor:
        count = (
            len(range(rows.start, rows.stop, rows.step or 1))
            if isinstance(rows, slice)
            else (rows.shape[0])
        )
        open_ = torch.ones(1, count, hi - lo, dtype=torch.bool, device=self.device)
        for mask in self.masks:
            open_ = open_ & ~mask.masked(mask.cut(b, h0, h1, rows, lo, hi))
        if self.first_rows:
            open_ = open_ & ~self._ahead(rows, lo, hi, self.device)
        return open_

    def _softmax(
        self, s: torch.Tensor, h0: int, h1: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Attention of whole rows of scores, and each row's maximum and sum of exponentials.

        One vectorised softmax, and the sum read off its largest weight, which is exp(0) / sum.
        A row that may attend to nothing has no weight anywhere, rather than 0 / 0: maximum 0,
        sum 0.
        """
        a = torch.softmax(s, -1)
        top = s.amax(-1)
        total = a.amax(-1).reciprocal_()
        if self.masks or self.sinks is not None:
            closed = torch.isinf(top)
            # A look at the flags would make an accelerator wait; there the pass over all is cheap.
            if self.masks and (s.device.type != "cpu" or bool(closed.any())):
                a.masked_fill_(closed.unsqueeze(-1), 0.0)
            top, total = top.masked_fill(closed, 0.0), total.masked_fill(closed, 0.0)
        if self.sinks is not None:
            sink = self.sinks[h0:h1].to(s.device, s.dtype).unsqueeze(-1)
            higher = torch.maximum(top, sink)
            keys = total * torch.exp(top - higher)
            top, total = higher, keys + torch.exp(sink - higher)
            a.mul_((keys / total.clamp_min(torch.finfo(total.dtype).tiny)).unsqueeze(-1))
        return a, top, total

    def _statistics(self, b: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Maximum and sum of exponentials of the rows of all heads; NaN where not known yet.

        Kept apart rather than as their log-sum-exp: the logarithm would round by 4e-6 where
        scores reach 100, more than the whole error allowed.
        """
        pair = self._stats.get(b)
        if pair is None:
            device = self.works_on
            shape, dtype = (self.heads, self.queries), _arithmetic(device)
            nan = torch.full(shape, math.nan, dtype=dtype, device=device)
            pair = self._stats.setdefault(b, (nan, nan.clone()))
        return pair

    def _whole_rows(
        self, b: int, h0: int, h1: int, rows: Rows, span: tuple[int, int]
    ) -> torch.Tensor:
        """Attention of rows to all that they may attend to; their statistics are kept."""
        a, top, total = self._softmax(self.scores(b, h0, h1, rows, *span), h0, h1)
        tops, totals = self._statistics(b)
        # The sum last: another thread reads the maximum where it finds a sum.
        tops[h0:h1, rows] = top.to(tops.dtype)
        totals[h0:h1, rows] = total.to(totals.dtype)
        return a

    def shares(
        self, b: int, h0: int, h1: int, rows: Rows, span: tuple[int, int], k0: int, k1: int
    ) -> torch.Tensor:
        """Attention of some heads and queries; costs its own cells where the rows are known."""
        if (k0, k1) != span:
            tops, totals = self._statistics(b)
            total = totals[h0:h1, rows]
            if not bool(total.isnan().any()):
                s = self.scores(b, h0, h1, rows, k0, k1)
                e = s.sub_(tops[h0:h1, rows].to(s.dtype).unsqueeze(-1)).exp_()
                tiny = torch.finfo(e.dtype).tiny
                return e.div_(total.to(e.dtype).clamp_min(tiny).unsqueeze(-1))
        return self._whole_rows(b, h0, h1, rows, span)[..., k0 - span[0] : k1 - span[0]]

    def _learn_rows(self, b: int, h: int, rows: Rows) -> None:
        """Compute the statistics of those rows of a head that are not known yet."""
        _, totals = self._statistics(b)
        unknown = totals[h, rows].isnan().tolist()
        if not any(unknown):
            return
        wanted = range(rows.start, rows.stop) if isinstance(rows, slice) else rows.tolist()
        missing = sorted({q for q, new in zip(wanted, unknown, strict=True) if new})
        for some, _, (lo, hi) in self._row_blocks(b, 1, missing):
            if hi > lo:
                self._whole_rows(b, h, h + 1, some, (lo, hi))
            else:
                for kept in self._statistics(b):
                    kept[h, some] = 0.0

    def weights(self, b: int, h: int, rows: Rows, k0: int, k1: int) -> torch.Tensor:
        """Attention of one head, (rows, k1 - k0), from whole rows or from cached statistics."""
        span = (0, self.keys)
        if (k0, k1) == span:
            a, _, _ = self._softmax(self.scores(b, h, h + 1, rows, k0, k1), h, h + 1)
        else:
            self._learn_rows(b, h, rows)
            a = self.shares(b, h, h + 1, rows, span, k0, k1)
        return a[0].to(torch.float32)


@dataclass(eq=False)
class StoredRecord(CallRecord):
    """Attention as the model returned it, for models that the interface does not serve."""

    attention: torch.Tensor  # (B, H, Q, K)

    @property
    def device(self) -> torch.device:
        """Where the attention lies."""
        return self.attention.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the attention."""
        return self.attention.dtype

    def tensors(self) -> list[torch.Tensor | None]:
        """The attention."""
        return [self.attention]

    def shares(
        self, b: int, h0: int, h1: int, rows: Rows, span: tuple[int, int], k0: int, k1: int
    ) -> torch.Tensor:
        """Attention of some heads and queries to keys k0..k1."""
        return self.attention[b, h0:h1, rows, k0:k1].to(_arithmetic(self.device))

    def _open(self, b: int, h0: int, h1: int, rows: Rows, lo: int, hi: int) -> torch.Tensor:
        # The masks were not kept: what some head of the layer gives weight to is open.
        return (self.attention[b, :, rows, lo:hi] > 0).any(0, keepdim=True)

    def weights(self, b: int, h: int, rows: Rows, k0: int, k1: int) -> torch.Tensor:
        """Attention of one head, (rows, k1 - k0)."""
        return self.attention[b, h, rows, k0:k1].to(torch.float32, copy=True)
