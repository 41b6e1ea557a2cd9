"""The numbers of one attention call, computed when asked for.

Shapes throughout: B batch, H heads, G key-value heads, Q queries, K keys, d head size. All
arithmetic is float32 whatever the model's dtype, float64 where the user allowed the float32
matrix product to be rounded (TF32, bfloat16 on CPU), so that a tile never depends on that flag.

A = softmax(scale * q k^T [softcap] + bias + mask), as in Vaswani et al. 2017, equation 1. With
sinks (gpt-oss) the denominator has one more term, exp(sink), and rows sum to less than 1.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch

from lmkit.errors import Cancelled

__all__ = ["MASKED_SCORE", "CallRecord", "KeptMask", "QKRecord", "StoredRecord", "bin_edges"]

MASKED_SCORE = torch.finfo(torch.float32).min
"""The score of a cell that a mask closes, where scores are shown: finite, below any other."""

Rows = slice | torch.Tensor
_CELLS_PER_BLOCK = 1 << 20  # scores in flight: 4 MiB in float32, about a core's cache share
_CELLS_PER_BLOCK_CUDA = 1 << 26


def bin_edges(length: int, bins: int) -> list[int]:
    """Edges of ``bins`` spans that cover ``length`` cells and differ in size by at most one."""
    return [i * length // bins for i in range(bins + 1)]


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
    def _unnormalised(
        self, b: int, h0: int, h1: int, rows: Rows, lo: int, hi: int
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """E (heads, rows, hi - lo) and what the sinks add to each row's sum; A = e / (sum + it).

        A second value of None and rows already normalised are told apart by ``_normal``.
        """

    _normal = False

    def _span(self, b: int, q0: int, q1: int) -> tuple[int, int]:
        return 0, self.keys

    def _head_step(self) -> int:
        return 1

    def _blocks(
        self, b: int, heads: tuple[int, int], rows: list[int] | None
    ) -> Iterator[tuple[int, int, Rows, int, int, int]]:
        """Head ranges and row blocks, small enough to be computed at once.

        Yields h0, h1, rows, first position in the row list, lo, hi.
        """
        limit = _CELLS_PER_BLOCK_CUDA if self.device.type == "cuda" else _CELLS_PER_BLOCK
        step = self._head_step()
        count = self.queries if rows is None else len(rows)
        at_once = max(1, limit // max(1, step * count * self.keys)) * step
        h0 = heads[0]
        while h0 < heads[1]:
            # Several key-value heads go in one product only where the range covers them whole.
            h1 = min(heads[1], (h0 // step) * step + (step if h0 % step else at_once))
            if h1 % step and h1 - h0 > step:
                h1 -= h1 % step
            size = max(1, min(count, limit // max(1, (h1 - h0) * self.keys)))
            for at in range(0, count, size):
                end = min(count, at + size)
                if rows is None:
                    lo, hi = self._span(b, at, end)
                    yield h0, h1, slice(at, end), at, lo, hi
                else:
                    picked = rows[at:end]
                    lo, hi = self._span(b, min(picked), max(picked) + 1)
                    yield h0, h1, torch.tensor(picked, device=self.device), at, lo, hi
            h0 = h1

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
        dtype = _arithmetic(self.device)
        edges = bin_edges(self.queries, n_rows)
        rows: list[int] | None = None
        if sample is not None and sample * n_rows < self.queries:
            rows = []
            for q0, q1 in itertools.pairwise(edges):
                n = min(sample, q1 - q0)
                rows.extend(q0 + (2 * i + 1) * (q1 - q0) // (2 * n) for i in range(n))
        row_of = rows if rows is not None else list(range(self.queries))
        bins = torch.empty(len(row_of), dtype=torch.long)
        at = 0
        for index, q1 in enumerate(edges[1:]):
            start = at
            while at < len(row_of) and row_of[at] < q1:
                at += 1
            bins[start:at] = index
        to_row = torch.zeros(n_rows, len(row_of), dtype=dtype)
        to_row[bins, torch.arange(len(row_of))] = 1.0
        to_row = (to_row / to_row.sum(1, keepdim=True)).to(self.device)
        cols = bin_edges(self.keys, n_cols)
        to_col = torch.zeros(self.keys, n_cols, dtype=dtype)
        for index, (k0, k1) in enumerate(itertools.pairwise(cols)):
            to_col[k0:k1, index] = 1.0
        to_col = to_col.to(self.device)
        out = torch.zeros(heads[1] - heads[0], n_rows, n_cols, dtype=dtype, device=self.device)
        for h0, h1, part, at, lo, hi in self._blocks(b, heads, rows):
            if cancel is not None and cancel():
                raise Cancelled("Stopped while the thumbnails were computed.")
            if hi <= lo:
                continue
            e, extra = self._unnormalised(b, h0, h1, part, lo, hi)
            mass = torch.matmul(e, to_col[lo:hi])
            if not self._normal:
                total = mass.sum(-1)
                if extra is not None:
                    total = total + extra
                mass = mass / total.clamp_min(torch.finfo(dtype).tiny).unsqueeze(-1)
            out[h0 - heads[0] : h1 - heads[0]] += torch.matmul(
                to_row[:, at : at + e.shape[1]], mass
            )
        return out.to(torch.float32)

    def received(
        self, b: int, weights: torch.Tensor, *, cancel: Callable[[], bool] | None = None
    ) -> torch.Tensor:
        """Sum over heads and queries of weight(query) * attention: (keys,), float64, on the CPU."""
        dtype = _arithmetic(self.device)
        weights = weights.to(dtype).to(self.device)
        out = torch.zeros(self.keys, dtype=torch.float64)
        for h0, h1, part, at, lo, hi in self._blocks(b, (0, self.heads), None):
            if cancel is not None and cancel():
                raise Cancelled("Stopped while the attention was summed.")
            if hi <= lo:
                continue
            e, extra = self._unnormalised(b, h0, h1, part, lo, hi)
            w = weights[at : at + e.shape[1]].expand(e.shape[0], -1)
            if not self._normal:
                total = e.sum(-1)
                if extra is not None:
                    total = total + extra
                w = w / total.clamp_min(torch.finfo(dtype).tiny)
            out[lo:hi] += torch.matmul(w.unsqueeze(1), e).sum((0, 1)).cpu().double()
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
            self.sinks,
            *(m.tensor for m in self.masks),
            *stats,
        ]

    def _head_step(self) -> int:
        return self.heads // self.kv_heads

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
        dtype = _arithmetic(self.device)
        group = self.heads // self.kv_heads
        g0, g1 = h0 // group, (h1 - 1) // group + 1
        q = self.query[b, h0:h1, rows].to(dtype) * self.scale
        k = self.key[b, g0:g1, k0:k1].to(dtype)
        n = q.shape[1]
        s = torch.matmul(q.reshape(g1 - g0, -1, q.shape[-1]), k.transpose(1, 2))
        s = s.view(h1 - h0, n, k1 - k0)
        if self.softcap is not None:
            s = torch.tanh(s / self.softcap) * self.softcap
        for mask in self.masks:
            part = mask.cut(b, h0, h1, rows, k0, k1)
            if part.dtype == torch.bool:
                s.masked_fill_(~part, -math.inf)
            else:
                s.add_(part)
        if self.first_rows:
            s.masked_fill_(self._ahead(rows, k0, k1), -math.inf)
        return s

    def shown_scores(self, b: int, h: int, rows: torch.Tensor) -> torch.Tensor:
        """The scores of some queries of one head with every closed cell at MASKED_SCORE."""
        s = self.scores(b, h, h + 1, rows, 0, self.keys)[0]
        for mask in self.masks:
            # One mask adds -inf, another the lowest float16 or float32: here they look alike.
            part = mask.masked(mask.cut(b, h, h + 1, rows, 0, self.keys))
            s.masked_fill_(part.expand(1, *s.shape)[0], MASKED_SCORE)
        return s.to(torch.float32).clamp_min_(MASKED_SCORE)

    def _ahead(self, rows: Rows, k0: int, k1: int) -> torch.Tensor:
        if isinstance(rows, slice):
            rows = torch.arange(rows.start, rows.stop, rows.step or 1, device=self.device)
        return torch.arange(k0, k1, device=self.device)[None, :] > rows[:, None]

    def _exp(
        self, s: torch.Tensor, h0: int, h1: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        top = s.amax(-1)
        if self.sinks is not None:
            sink = self.sinks[h0:h1].to(s.dtype).unsqueeze(-1)
            top = torch.maximum(top, sink)
        top = torch.where(torch.isinf(top), torch.zeros_like(top), top)
        extra = None if self.sinks is None else torch.exp(sink - top)
        return s.sub_(top.unsqueeze(-1)).exp_(), top, extra

    def _unnormalised(
        self, b: int, h0: int, h1: int, rows: Rows, lo: int, hi: int
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        e, _, extra = self._exp(self.scores(b, h0, h1, rows, lo, hi), h0, h1)
        return e, extra

    def row_stats(self, b: int, h: int, rows: Rows) -> tuple[torch.Tensor, torch.Tensor]:
        """Maximum and sum of exponentials of each row, from the cache or computed once.

        Kept apart rather than as their log-sum-exp: the logarithm would round by 4e-6 where
        scores reach 100, more than the whole error allowed.
        """
        pair = self._stats.get(b)
        if pair is None:
            shape = (self.heads, self.queries)
            dtype = _arithmetic(self.device)
            nan = torch.full(shape, math.nan, dtype=dtype, device=self.device)
            pair = self._stats.setdefault(b, (nan, nan.clone()))
        top, total = pair
        known = total[h, rows]
        if bool(known.isnan().any()):
            wanted = (
                list(range(rows.start, rows.stop)) if isinstance(rows, slice) else rows.tolist()
            )
            wanted = sorted({q for q, n in zip(wanted, known.isnan().tolist(), strict=True) if n})
            size = max(1, _CELLS_PER_BLOCK // max(1, self.keys))
            for at in range(0, len(wanted), size):
                some = wanted[at : at + size]
                index = torch.tensor(some, device=self.device)
                lo, hi = self._span(b, some[0], some[-1] + 1)
                if hi <= lo:
                    top[h, index], total[h, index] = 0.0, 0.0
                    continue
                e, m, extra = self._exp(self.scores(b, h, h + 1, index, lo, hi), h, h + 1)
                z = e.sum(-1)
                if extra is not None:
                    z = z + extra
                top[h, index], total[h, index] = m[0].to(top.dtype), z[0].to(total.dtype)
        return top[h, rows], total[h, rows]

    def weights(self, b: int, h: int, rows: Rows, k0: int, k1: int) -> torch.Tensor:
        """Attention of one head, (rows, k1 - k0), from whole rows or from cached statistics."""
        if k0 == 0 and k1 == self.keys:
            s = self.scores(b, h, h + 1, rows, k0, k1)
            if self.sinks is None:
                a = torch.softmax(s[0], -1)
                # A row that may attend to nothing: no weight anywhere, rather than 0 / 0.
                return (a.nan_to_num_(0.0) if self.masks else a).to(torch.float32)
            e, _, extra = self._exp(s, h, h + 1)
            total = (e.sum(-1) if extra is None else e.sum(-1) + extra)[0]
        else:
            top, total = self.row_stats(b, h, rows)
            e = self.scores(b, h, h + 1, rows, k0, k1)
            e = e.sub_(top.to(e.dtype)[None, :, None]).exp_()
        tiny = torch.finfo(e.dtype).tiny
        return (e[0] / total.to(e.dtype).clamp_min(tiny).unsqueeze(-1)).to(torch.float32)


@dataclass(eq=False)
class StoredRecord(CallRecord):
    """Attention as the model returned it, for models that the interface does not serve."""

    attention: torch.Tensor  # (B, H, Q, K)
    _normal = True

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

    def _unnormalised(
        self, b: int, h0: int, h1: int, rows: Rows, lo: int, hi: int
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        return self.attention[b, h0:h1, rows, lo:hi].to(_arithmetic(self.device)), None

    def weights(self, b: int, h: int, rows: Rows, k0: int, k1: int) -> torch.Tensor:
        """Attention of one head, (rows, k1 - k0)."""
        return self.attention[b, h, rows, k0:k1].to(torch.float32, copy=True)
