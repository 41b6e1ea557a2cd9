"""A finished capture: what was recorded, and the numbers of it on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from lmkit.capture.pooling import even_edges
from lmkit.capture.records import CallRecord, HeadBlock, QKRecord, storage_bytes
from lmkit.capture.steps import StepRecord
from lmkit.errors import AttentionUnavailableError, CaptureError
from lmkit.protocol.levels import level_of, tile_box

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lmkit.capture.generation import Generation, Passes

    Floats = NDArray[np.float32]

__all__ = ["AttentionTensors", "LayerInfo", "QKPair", "Trace"]


@dataclass(frozen=True, eq=False)
class AttentionTensors:
    """What one layer's attention was computed from, for the whole batch.

    Attributes:
        name: The attention module's qualified name.
        query: (B, H, Q, d), after rotary positions where ``rotary``.
        key: (B, G, K, d) for G key-value heads; query head h reads head ``h * G // H``.
        value: (B, G, K, dv); None unless values were captured.
        rotary: Positions were turned into queries and keys.
        scored: Computes the scores, see :meth:`scores`.
    """

    name: str
    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor | None
    rotary: bool
    scored: Callable[[], tuple[torch.Tensor, torch.Tensor]]

    def scores(self) -> tuple[torch.Tensor, torch.Tensor]:
        """What enters the softmax, (B, H, Q, K), and which pairs are open (bool, broadcastable).

        Softcap and position biases are in; what closes a pair is in the second tensor alone.
        Memory is that of the scores: ask for one layer at a time.
        """
        return self.scored()


@dataclass(frozen=True)
class LayerInfo:
    """One call of one attention module, as views list it.

    Attributes:
        index: Its place in ``Trace.layers``; what the methods of a trace take as ``layer``.
        name: Qualified name of the module, without ``_orig_mod.`` and ``base_model.``.
        role: ``"encoder"``, ``"decoder"`` or ``"cross"``.
        step: Which forward pass of the block, from 0.
        call: Which call of this module in the block, from 0 (ALBERT calls one module often).
        heads: Query heads.
        kv_heads: Key-value heads; head h reads key-value head ``h * kv_heads // heads``.
        queries: Length of the attending sequence.
        keys: Length of the attended sequence.
        causal: No query sees a key after itself.
        window: Size of the sliding window that the layer declares, None without one.
        path: ``"sdpa"``, ``"eager"``, another registered name, ``"sdpa call"`` where the model
            calls torch's function itself, or ``"eager fallback"``.
        has_qk: Queries and keys are there, not only their attention.
        sinks: Rows sum to less than 1, the rest going to a learned sink.
        head_size: Numbers in a query or key vector; 0 without them.
        scale: Factor of the product q.k; 0 without them.
        softcap: The bound c of ``c * tanh(score / c)``, None without one.
        rotary: Queries and keys are as rotary position embedding left them.
        has_values: Values were kept, too.
    """

    index: int
    name: str
    role: str
    step: int
    call: int
    heads: int
    kv_heads: int
    queries: int
    keys: int
    causal: bool
    window: int | None
    path: str
    has_qk: bool
    sinks: bool
    head_size: int = 0
    scale: float = 0.0
    softcap: float | None = None
    rotary: bool = False
    has_values: bool = False


@dataclass(frozen=True)
class QKPair:
    """One query, one key and what becomes of them.

    Attributes:
        query: (d,) float32.
        key: (d,) float32.
        scale: Factor of the product.
        score: What enters the softmax: scale * q.k, with softcap, bias and mask.
        weight: The attention of this pair.
    """

    query: Floats
    key: Floats
    scale: float
    score: float
    weight: float


@dataclass(eq=False)
class _Held:
    """What all views of one capture share."""

    records: list[CallRecord] = field(default_factory=list)
    released: bool = False
    error: CaptureError | None = None
    padding: torch.Tensor | None = None
    passes: Passes | None = None
    patches: torch.Tensor | int | None = None


class Trace:
    """The attention of a forward pass, kept as queries and keys.

    Inside the ``with`` block of :func:`lmkit.capture.capture` a trace is still empty. All methods
    that return numbers return float32 numpy arrays, exact to float32 rounding, computed on the
    device that holds the queries and keys. ``layer`` is an index into :attr:`layers`, ``head``
    one of its query heads; negative indices count from the end.

    Raises (all methods that return numbers):
        AttentionUnavailableError: the model has no attention that could be captured.
        CaptureError: an index out of range, the capture not finished, or released.
    """

    def __init__(self) -> None:
        self._held = _Held()
        self._complete = False
        self._batch = 0
        self._layers: tuple[LayerInfo, ...] = ()
        self.path: str = ""
        #: Largest deviation of A.v from the layers' real output, relative to max|v|; None
        #: without a check.
        self.deviation: float | None = None
        #: The same for each layer, by name.
        self.deviations: dict[str, float] = {}
        #: Layers of the model that recorded no attention, by name.
        self.missing: tuple[str, ...] = ()
        #: What the model returned; only :func:`lmkit.capture.trace_forward` sets it.
        self.output: Any = None

    # what there is

    @property
    def layers(self) -> tuple[LayerInfo, ...]:
        """One entry for each recorded call, in the order of the calls."""
        return self._layers

    @property
    def available(self) -> bool:
        """Whether there is attention to show; :meth:`require` says why not."""
        return self._complete and self._held.error is None and not self._held.released

    @property
    def error(self) -> CaptureError | None:
        """Why there is no attention to show."""
        return self._held.error

    def require(self) -> None:
        """Raise what the methods would raise, if there is no attention to show."""
        if not self._complete:
            raise CaptureError(
                "The capture is not finished.", hint="Read the trace after its with block."
            )
        if self._held.error is not None:
            error = self._held.error
            raise type(error)(error.message, hint=error.hint, details=error.details)
        if self._held.released:
            raise CaptureError(
                "The queries and keys of this pass were released.", hint="Run the text again."
            )

    @property
    def tokens(self) -> int:
        """Number of queries of the first layer, padding included."""
        return self._layers[0].queries if self._layers else 0

    @property
    def batch_size(self) -> int:
        """Texts in the batch."""
        return self._held.records[0].batch if self._held.records else 0

    def batch(self, index: int) -> Trace:
        """The same capture seen for another text of the batch; tensors are shared."""
        size = self.batch_size
        if not -size <= index < size:
            raise CaptureError(f"Text {index} is not in this batch of {size}.")
        other = Trace.__new__(Trace)
        other.__dict__.update(self.__dict__)
        other._batch = index % size
        return other

    @property
    def valid(self) -> NDArray[np.bool_] | None:
        """(tokens,) False at padding; None where the pass had no padding mask."""
        padding = self._held.padding
        if padding is None or padding.dim() != 2 or self._batch >= padding.shape[0]:
            return None
        flags: NDArray[np.bool_] = padding[self._batch].bool().cpu().numpy()
        return flags

    @property
    def patches(self) -> NDArray[np.bool_] | None:
        """True where a token stands for a patch of an image; None where there is no image.

        Of a text with images, over its tokens; of an image alone, over the tokens of the first
        layer, whose first are class, distillation or register tokens. Patches go row by row.
        """
        import numpy

        found = self._held.patches
        if isinstance(found, torch.Tensor):
            text: NDArray[np.bool_] = found[self._batch].cpu().numpy()
            return text
        if found is None or not self._layers or found > self.tokens:
            return None
        return numpy.arange(self.tokens) >= self.tokens - found

    @property
    def device(self) -> torch.device:
        """Where the queries and keys lie."""
        self.require()
        return self._held.records[0].device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of queries and keys, the model's own."""
        self.require()
        return self._held.records[0].dtype

    @property
    def nbytes(self) -> int:
        """Bytes held: queries, keys, values, distinct masks, cached row statistics."""
        return storage_bytes([t for r in self._held.records for t in r.tensors()])

    def release(self) -> None:
        """Free the tensors, here and in every :meth:`batch` view. What is listed stays."""
        self._held.records.clear()
        self._held.passes = None
        self._held.released = True
        self.output = None

    # numbers

    def rows(self, layer: int, head: int, rows: Iterable[int]) -> Floats:
        """Attention of some queries to all keys: (len(rows), keys)."""
        record = self._record(layer)
        h = self._head(record, head)
        picked = [self._token(q, record.queries, "query") for q in rows]
        if not picked:
            return _numpy(torch.zeros(0, record.keys))
        index = torch.tensor(picked, device=record.device)
        with torch.no_grad():
            return _numpy(record.weights(self._batch, h, index, 0, record.keys))

    def attention(self, layer: int, head: int) -> Floats:
        """Attention of one head: (queries, keys)."""
        record = self._record(layer)
        h = self._head(record, head)
        step = max(1, (1 << 22) // record.keys)
        with torch.no_grad():
            parts = [
                record.weights(
                    self._batch, h, slice(q, min(record.queries, q + step)), 0, record.keys
                )
                for q in range(0, record.queries, step)
            ]
        return _numpy(torch.cat(parts))

    def block(self, layer: int, head: int, q0: int, q1: int, k0: int, k1: int) -> Floats:
        """A tile of one head: queries q0..q1 and keys k0..k1 (ends excluded).

        The first tile of a row costs the whole row; its maximum and sum are then cached, so that
        any later tile costs only its own cells.
        """
        record = self._record(layer)
        h = self._head(record, head)
        if not (0 <= q0 <= q1 <= record.queries and 0 <= k0 <= k1 <= record.keys):
            raise CaptureError(
                f"The tile [{q0}:{q1}, {k0}:{k1}] is not inside "
                f"{record.queries} queries by {record.keys} keys."
            )
        if q0 == q1 or k0 == k1:
            return _numpy(torch.zeros(q1 - q0, k1 - k0))
        with torch.no_grad():
            return _numpy(record.weights(self._batch, h, slice(q0, q1), k0, k1))

    def mass(self, layer: int, head: int, n_rows: int, n_cols: int) -> Floats:
        """One head pooled to (n_rows, n_cols): sum over a bin's keys, mean over its queries.

        A row of the result sums to what a row of attention sums to. Bins differ in size by at
        most one token; there are never more bins than tokens, so the result may be smaller.
        """
        record = self._record(layer)
        h = self._head(record, head)
        pooled: Floats = self._pooled(record, (h, h + 1), n_rows, n_cols, None, None)[0]
        return pooled

    def pool(
        self,
        layer: int,
        head: int,
        q0: int,
        q1: int,
        k0: int,
        k1: int,
        row_bin: int,
        column_bin: int,
        *,
        cancel: Callable[[], bool] | None = None,
    ) -> Floats:
        """A rectangle of one head in bins of so many tokens: (row bins, column bins).

        As :meth:`mass`, summed over a bin's keys and averaged over its queries; the last bin of
        either axis may be smaller. Where these rows were seen whole before (by :meth:`mass`,
        :meth:`thumbnails` or an earlier rectangle) it costs its own cells only, since their
        maxima and sums are kept; else it costs whole rows, once.

        Args:
            layer: Index into :attr:`layers`.
            head: One of its query heads.
            q0: First query.
            q1: One past the last.
            k0: First key.
            k1: One past the last.
            row_bin: Queries in a bin.
            column_bin: Keys in a bin.
            cancel: Asked at every block of rows.

        Raises:
            Cancelled: ``cancel`` answered True.
        """
        record = self._record(layer)
        h = self._head(record, head)
        if not (0 <= q0 < q1 <= record.queries and 0 <= k0 < k1 <= record.keys):
            raise CaptureError(
                f"The tile [{q0}:{q1}, {k0}:{k1}] is empty or not inside "
                f"{record.queries} queries by {record.keys} keys."
            )
        rows, columns = even_edges(q0, q1, row_bin), even_edges(k0, k1, column_bin)
        with torch.no_grad():
            pooled = record.binned(self._batch, (h, h + 1), rows, columns, cancel=cancel)
            return _numpy(pooled[0])

    def level_tile(
        self,
        layer: int,
        head: int,
        level: int,
        row: int,
        column: int,
        *,
        cancel: Callable[[], bool] | None = None,
    ) -> Floats:
        """One tile of a head's map at a level of detail, at most 256 x 256 cells.

        Level 0 is the whole head; each level halves the bins, down to single tokens. See
        :mod:`lmkit.protocol.levels`.

        Raises:
            CaptureError: there is no such level or tile.
            Cancelled: ``cancel`` answered True.
        """
        record = self._record(layer)
        found = level_of(record.queries, record.keys, level)
        box = tile_box(record.queries, record.keys, level, row, column)
        if found is None or box is None:
            raise CaptureError(
                f"The map of {record.queries} queries by {record.keys} keys has no tile "
                f"({row}, {column}) at level {level}."
            )
        return self.pool(layer, head, *box, found.row_bin, found.column_bin, cancel=cancel)

    def thumbnails(
        self,
        layer: int,
        size: int = 24,
        *,
        heads: tuple[int, int] | None = None,
        sample: int | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> Floats:
        """All heads of a layer as small maps of pooled mass: (heads, size, size).

        ``size`` shrinks to the number of queries or keys where there are fewer. Computed in row
        blocks on the device, so no more than a few MiB of scores exist at a time.

        Args:
            layer: Index into :attr:`layers`.
            size: Rows and columns of a map.
            heads: Only heads [first, last), for showing the visible ones first.
            sample: At most so many queries of each row bin: a quick first picture. Each cell is
                then the mean of the sampled rows.
            cancel: Asked at every block.

        Raises:
            Cancelled: ``cancel`` answered True.
        """
        record = self._record(layer)
        first, last = heads if heads is not None else (0, record.heads)
        if not 0 <= first < last <= record.heads:
            raise CaptureError(f"Heads {first}..{last} are not among {record.heads}.")
        return self._pooled(record, (first, last), size, size, sample, cancel)

    def attention_received(
        self, *, role: str | None = None, cancel: Callable[[], bool] | None = None
    ) -> Floats:
        """What each token receives, (keys,): mean over layers, heads and queries.

        Only self-attention layers of one role count: ``role``, or the first recorded one
        (cross-attention's keys are another text's). Every real query has the same weight, padding
        none; so the values sum to 1 (to less with sinks). In a causal model early tokens are seen
        by more queries and therefore receive more: that is part of the measure, not corrected.
        """
        self.require()
        chosen = [i for i in self._layers if i.role != "cross" and role in (None, i.role)]
        chosen = [
            i
            for i in chosen
            if (i.role, i.step, i.queries, i.keys)
            == (chosen[0].role, chosen[0].step, chosen[0].queries, chosen[0].keys)
        ]
        if not chosen:
            raise AttentionUnavailableError(f"No self-attention of role {role!r} was recorded.")
        valid = self.valid
        queries = chosen[0].queries
        if valid is not None and len(valid) == queries and valid.any():
            weights = torch.from_numpy(valid.astype("float64"))
        else:
            weights = torch.ones(queries, dtype=torch.float64)
        weights = weights / weights.sum()
        total = torch.zeros(chosen[0].keys, dtype=torch.float64)
        with torch.no_grad():
            for info in chosen:
                record = self._record(info.index)
                got = record.received(self._batch, weights, cancel=cancel)
                total += got / record.heads
        return _numpy(total / len(chosen))

    def head_blocks(
        self,
        layer: int,
        queries: Sequence[int],
        *,
        cancel: Callable[[], bool] | None = None,
    ) -> Iterator[HeadBlock]:
        """All heads of a layer at some queries, in blocks of a few MiB on the device.

        For measures of every head that must not hold heads x tokens^2: each block is there until
        the next is asked for.

        Args:
            layer: Index into :attr:`layers`.
            queries: In rising order.
            cancel: Asked at every block.

        Raises:
            Cancelled: ``cancel`` answered True.
        """
        record = self._record(layer)
        rows = [self._token(q, record.queries, "query") for q in queries]
        if rows:
            yield from record.head_blocks(self._batch, rows, cancel=cancel)

    def weighted(
        self,
        layer: int,
        weights: NDArray[np.float64],
        *,
        cancel: Callable[[], bool] | None = None,
    ) -> NDArray[np.float64]:
        """Vectors times the mean of a layer's heads: (n, queries) to (n, keys), float64.

        Computed in row blocks on the device, all heads at once; queries of weight 0 cost nothing.

        Raises:
            Cancelled: ``cancel`` answered True.
        """
        record = self._record(layer)
        if weights.ndim != 2 or weights.shape[1] != record.queries:
            raise CaptureError(
                f"Weights of shape {weights.shape} don't fit {record.queries} queries."
            )
        with torch.no_grad():
            given = torch.tensor(weights, dtype=torch.float64)
            total = record.received(self._batch, given, cancel=cancel) / record.heads
        array: NDArray[np.float64] = total.numpy()
        return array

    def summed(self, layer: int, head: int, queries: Sequence[int]) -> Floats:
        """Sum of the rows of some queries: (keys,)."""
        return _numpy(torch.from_numpy(self.rows(layer, head, queries)).sum(0))

    def summed_to(self, layer: int, head: int, keys: Sequence[int]) -> Floats:
        """What each query gives to some keys together: (queries,).

        The first call for a head costs the whole head once; its row sums are then cached.
        """
        record = self._record(layer)
        h = self._head(record, head)
        total = torch.zeros(record.queries, dtype=torch.float32, device=record.device)
        with torch.no_grad():
            for key in keys:
                k = self._token(key, record.keys, "key")
                total += record.weights(self._batch, h, slice(0, record.queries), k, k + 1)[:, 0]
        return _numpy(total)

    def qk(self, layer: int, head: int, query: int, key: int) -> QKPair:
        """The vectors, score and weight of one pair.

        Raises:
            AttentionUnavailableError: the model returned its attention only (fallback path).
        """
        record = self._qk_record(layer)
        h = self._head(record, head)
        q = self._token(query, record.queries, "query")
        k = self._token(key, record.keys, "key")
        group = record.heads // record.kv_heads
        with torch.no_grad():
            score = record.scores(self._batch, h, h + 1, slice(q, q + 1), k, k + 1)
            weight = record.weights(self._batch, h, slice(q, q + 1), 0, record.keys)[0, k]
            return QKPair(
                query=_numpy(record.query[self._batch, h, q].clone()),
                key=_numpy(record.key[self._batch, h // group, k].clone()),
                scale=record.scale,
                score=float(score),
                weight=float(weight),
            )

    def queries(self, layer: int, head: int, rows: Iterable[int]) -> Floats:
        """Query vectors of a head, as the product takes them: (len(rows), d).

        Raises:
            AttentionUnavailableError: the model returned its attention only (fallback path).
        """
        record = self._qk_record(layer)
        h = self._head(record, head)
        return self._picked(record.query[self._batch, h], rows, "query")

    def keys(self, layer: int, head: int, rows: Iterable[int]) -> Floats:
        """Key vectors that a head reads (those of its key-value head): (len(rows), d).

        Raises:
            AttentionUnavailableError: the model returned its attention only (fallback path).
        """
        record = self._qk_record(layer)
        h = self._head(record, head)
        group = record.heads // record.kv_heads
        return self._picked(record.key[self._batch, h // group], rows, "key")

    def scores(self, layer: int, head: int, rows: Iterable[int]) -> Floats:
        """What enters the softmax, for some queries: (len(rows), keys).

        ``scale * q.k`` with softcap and bias. A cell that a mask closes is
        :data:`~lmkit.capture.records.MASKED_SCORE`, whatever number the model adds there.

        Raises:
            AttentionUnavailableError: the model returned its attention only (fallback path).
        """
        record = self._qk_record(layer)
        h = self._head(record, head)
        picked = [self._token(q, record.queries, "query") for q in rows]
        if not picked:
            return _numpy(torch.zeros(0, record.keys))
        index = torch.tensor(picked, device=record.device)
        with torch.no_grad():
            return _numpy(record.shown_scores(self._batch, h, index))

    def values(self, layer: int, head: int) -> Floats:
        """The value vectors that a head reads: (keys, width). Needs ``capture(values=True)``."""
        record = self._qk_record(layer)
        h = self._head(record, head)
        if record.value is None:
            raise AttentionUnavailableError(
                "The values of this pass were not kept.", hint="Capture with values=True."
            )
        return _numpy(record.value[self._batch, h // (record.heads // record.kv_heads)].clone())

    def tensors(self, layer: int) -> AttentionTensors:
        """The tensors of a layer for the whole batch, on their device and in their dtype.

        With ``capture(gradients=True)`` they carry the graph of the pass.

        Raises:
            AttentionUnavailableError: the layer returned its attention alone.
        """
        record = self._qk_record(layer)
        return AttentionTensors(
            name=record.name,
            query=record.query,
            key=record.key,
            value=record.value,
            rotary=record.rotary,
            scored=record.batch_scores,
        )

    def value_norms(self, layer: int) -> Floats:
        """|v W_O| of each query head and key: (heads, keys). Needs ``capture(values=True)``.

        Times attention it is the norm-weighted attention of Kobayashi et al. 2020. See
        :mod:`lmkit.capture.output_projection`.

        Raises:
            AttentionUnavailableError: values were not kept, or the layer's output projection was
                not found; the message says why.
        """
        record = self._qk_record(layer)
        if record.value_norms is None:
            raise AttentionUnavailableError(
                record.no_value_norms or "The values of this pass were not kept.",
                hint="" if record.no_value_norms else "Capture with values=True.",
            )
        return _numpy(record.value_norms[self._batch].clone())

    def generation(self, sequence: int = 0, *, call: int = -1) -> Generation:
        """One finished sequence of ``generate()`` as one trace.

        Its layers are those of a single pass over all tokens that were fed; each row is the one
        that its step computed. Without a ``generate()`` in the block, a loop of one's own over a
        cache counts: ``sequence`` is then a row of its last step's batch.

        Args:
            sequence: Which of the sequences that were returned.
            call: Which ``generate()`` of the block.

        Raises:
            CaptureError: there is no such sequence.
            AttentionUnavailableError: its steps can't be put together.
        """
        from lmkit.capture.generation import merge

        self.require()
        passes = self._held.passes
        if passes is None:
            raise CaptureError("This trace is one sequence already.")
        return merge(self, self._held.records, passes, sequence, call)

    # inside

    def _picked(self, vectors: torch.Tensor, rows: Iterable[int], what: str) -> Floats:
        picked = [self._token(row, vectors.shape[0], what) for row in rows]
        index = torch.tensor(picked, dtype=torch.long, device=vectors.device)
        with torch.no_grad():
            return _numpy(vectors.index_select(0, index))

    def _pooled(
        self,
        record: CallRecord,
        heads: tuple[int, int],
        n_rows: int,
        n_cols: int,
        sample: int | None,
        cancel: Callable[[], bool] | None,
    ) -> Floats:
        if n_rows < 1 or n_cols < 1 or (sample is not None and sample < 1):
            raise CaptureError("Pooling needs at least one row, one column and one sample.")
        with torch.no_grad():
            return _numpy(
                record.pooled(
                    self._batch,
                    heads,
                    min(n_rows, record.queries),
                    min(n_cols, record.keys),
                    sample=sample,
                    cancel=cancel,
                )
            )

    def _record(self, layer: int) -> CallRecord:
        self.require()
        count = len(self._layers)
        if not -count <= layer < count:
            raise CaptureError(
                f"Layer {layer} is not in this trace, which has {count} (0 to {count - 1})."
            )
        try:
            record = self._held.records[layer]
        except IndexError:  # released by another thread in between
            self.require()
            raise
        return record.whole() if isinstance(record, StepRecord) else record

    def _qk_record(self, layer: int) -> QKRecord:
        record = self._record(layer)
        if not isinstance(record, QKRecord):
            raise AttentionUnavailableError(
                f"Layer {record.name} returned its attention, not its queries and keys."
            )
        return record

    @staticmethod
    def _head(record: CallRecord, head: int) -> int:
        if not -record.heads <= head < record.heads:
            raise CaptureError(
                f"Head {head} is not in layer {record.name}, which has {record.heads} heads."
            )
        return head % record.heads

    @staticmethod
    def _token(index: int, count: int, what: str) -> int:
        if not -count <= index < count:
            raise CaptureError(f"There is no {what} {index}: the sequence has {count} tokens.")
        return index % count

    def _finish(
        self,
        records: list[CallRecord],
        *,
        path: str,
        missing: Sequence[str],
        deviations: dict[str, float],
        padding: torch.Tensor | None,
        error: CaptureError | None,
        patches: torch.Tensor | int | None = None,
    ) -> None:
        self._held.records = records
        self._held.padding = padding
        self._held.patches = patches
        self._held.error = error
        self.path = path
        self.missing = tuple(missing)
        self.deviations = deviations
        self.deviation = max(deviations.values()) if deviations else None
        self._layers = tuple(
            LayerInfo(
                index=i,
                name=r.name,
                role=r.role,
                step=r.step,
                call=r.call,
                heads=r.heads,
                kv_heads=r.kv_heads,
                queries=r.queries,
                keys=r.keys,
                causal=r.causal,
                window=r.window,
                path=r.path,
                has_qk=isinstance(r, QKRecord | StepRecord),
                sinks=isinstance(r, QKRecord | StepRecord) and r.sinks is not None,
                **_equation(r),
            )
            for i, r in enumerate(records)
        )
        self._complete = True

    def __repr__(self) -> str:
        if not self._complete:
            return "<Trace, not finished>"
        if self._held.error is not None:
            return f"<Trace: {self._held.error.message}>"
        state = ", released" if self._held.released else f", {self.nbytes:,} bytes"
        off = "" if self.deviation is None else f", off by at most {self.deviation:.0e}"
        missing = f", {len(self.missing)} missing" if self.missing else ""
        return (
            f"<Trace: {len(self._layers)} layers, {self.tokens} tokens, {self.path}{off}{missing}"
            f"{state}>"
        )


def _equation(record: CallRecord) -> dict[str, Any]:
    """What turns queries and keys into scores, as :class:`LayerInfo` says it."""
    if isinstance(record, StepRecord):
        like, width = record.layer.like, record.layer.query.data.shape[-1]
        values = record.layer.value is not None
    elif isinstance(record, QKRecord):
        like, width, values = record, record.query.shape[-1], record.value is not None
    else:
        return {}
    return {
        "head_size": width,
        "scale": like.scale,
        "softcap": like.softcap,
        "rotary": like.rotary,
        "has_values": values,
    }


def _numpy(tensor: torch.Tensor) -> Floats:
    array: Floats = tensor.detach().to("cpu", torch.float32).numpy()
    return array
