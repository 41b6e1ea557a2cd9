"""The one engine of all lenses of a single pass: sums over keys, means over queries.

A lens of this kind shows, in place of the attention A (queries x keys) of a head,

    ``L[i, j] = mean over q in Q_i of ( c_q * sum over k in K_j of A[q, k] * w_k )``

with Q_i the query tokens and K_j the key tokens that its tokens i and j stand for (groups), tokens
in no group left out (masks), ``w_k`` a weight of each key (norms; else 1), and ``c_q`` either 1 or,
for renormalised rows, one over the sum of the row's visible part. Sums over the keys and means
over the queries keep what makes attention readable: where nothing is hidden, a row of L sums to
what a row of A sums to.

All numbers are computed from blocks of rows of A, never from the whole matrix, which at 8,192
tokens would take 256 MiB a head.
"""

from __future__ import annotations

import dataclasses
import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from lmkit.api import Token, Word, Words
from lmkit.errors import AttentionUnavailableError, Cancelled, CaptureError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmkit.views.attention import CapturedTrace

    Floats = NDArray[np.float32]
    Doubles = NDArray[np.float64]
    Indices = NDArray[np.intp]

__all__ = ["ProjectedTrace", "Side", "bin_edges", "tokens_of"]

_CELLS = 1 << 20
"""Cells of A in one block: 4 MiB in float32, about a core's cache share."""
_LARGE = 1 << 22
"""Cells of a result beyond which it is added up in float32, not float64."""
_NARROW = 8
"""Below an eighth of the keys, a tile of its own is cheaper than whole rows."""
_RUNS = 8
"""Up to so many runs of neighbouring keys are read one by one in ``summed_to``."""


def tokens_of(trace: CapturedTrace, role: str, *, keys: bool = False) -> tuple[Token, ...]:
    """The tokens that attend in layers of a role, or with ``keys`` those attended to."""
    if role == "decoder" or (role == "cross" and not keys):
        return trace.decoder_tokens or trace.tokens
    return trace.tokens


def bin_edges(length: int, bins: int) -> list[int]:
    """Edges of ``bins`` spans that cover ``length`` cells and differ in size by at most one."""
    return [i * length // bins for i in range(bins + 1)]


@dataclass(frozen=True, eq=False)
class _Rows:
    """Queries of the pass, each with its row of the result and its weight in it."""

    queries: Indices
    bins: Indices  # not descending
    weights: Doubles
    count: int

    @staticmethod
    def of(groups: Sequence[tuple[int, Sequence[int], float]], count: int) -> _Rows:
        """From (row of the result, queries, weight of each), rows not descending."""
        lengths = [len(queries) for _, queries, _ in groups]
        return _Rows(
            queries=np.array([q for _, queries, _ in groups for q in queries], dtype=np.intp),
            bins=np.repeat(np.array([b for b, _, _ in groups], dtype=np.intp), lengths),
            weights=np.repeat(np.array([w for _, _, w in groups], dtype=np.float64), lengths),
            count=count,
        )


@dataclass(frozen=True, eq=False)
class _Columns:
    """Keys of the pass by column of the result, within the span [lo, hi)."""

    keys: Indices  # column by column
    starts: Indices  # of each column in ``keys``; no column is empty
    lo: int
    hi: int
    whole: bool  # all visible keys are there

    @staticmethod
    def of(columns: Sequence[Sequence[int]], *, whole: bool) -> _Columns:
        keys = np.array([k for column in columns for k in column], dtype=np.intp)
        lengths = np.array([len(column) for column in columns], dtype=np.intp)
        return _Columns(
            keys=keys,
            starts=np.concatenate(([0], np.cumsum(lengths)[:-1])).astype(np.intp),
            lo=int(keys.min()),
            hi=int(keys.max()) + 1,
            whole=whole,
        )

    @cached_property
    def straight(self) -> bool:
        """Whether the span's keys stand in the columns' order, so that nothing is rearranged."""
        return bool(np.array_equal(self.keys, np.arange(self.lo, self.hi)))

    def collapse(self, block: Floats) -> Floats:
        """(rows, hi - lo) summed to (rows, columns)."""
        ordered = block if self.straight else block[:, self.keys - self.lo]
        if len(self.starts) == len(self.keys):
            return ordered
        # Pairwise within a column, so that a sum over thousands of keys stays exact in float32.
        summed: Floats = np.add.reduceat(ordered, self.starts, axis=1)
        return summed


@dataclass(frozen=True, eq=False)
class Side:
    """What the queries, or the keys, of a lens stand for.

    Attributes:
        tokens: The tokens of the lens; ``word`` still counts the words of the pass itself.
        groups: For each of them the tokens of the pass, ascending; no token twice.
    """

    tokens: tuple[Token, ...]
    groups: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.groups)

    @cached_property
    def place(self) -> dict[int, int]:
        """For each visible token of the pass its token of the lens."""
        return {token: index for index, group in enumerate(self.groups) for token in group}

    @cached_property
    def columns(self) -> _Columns:
        """The tokens as keys, all of them."""
        return _Columns.of(self.groups, whole=True)

    @staticmethod
    def picked(tokens: Sequence[Token], visible: Sequence[int]) -> Side:
        """Some tokens, each by itself."""
        return Side(tuple(tokens[i] for i in visible), tuple((i,) for i in visible))


class ProjectedTrace(ABC):
    """A :class:`~lmkit.views.attention.CapturedTrace` that shows another one by groups.

    Cheap to make: tokens and groups are worked out at the first question. Layers and heads are
    those of the pass; ``queries`` and ``keys`` of a layer count the tokens of the lens.

    Args:
        base: The pass.
        renormalise: Divide each row by the sum of its visible part. A row without any stays zero.

    Raises (all methods that return numbers):
        CaptureError: an index out of range.
        AttentionUnavailableError: the tokens of the pass don't line up with its layers.
    """

    def __init__(self, base: CapturedTrace, *, renormalise: bool = False) -> None:
        self.base = base
        self.renormalise = renormalise
        self._made: dict[str, tuple[Side, Side]] = {}
        self._mass: dict[tuple[int, int], Doubles] = {}

    @abstractmethod
    def _make_sides(self, role: str) -> tuple[Side, Side]:
        """What queries and keys stand for in layers of a role."""

    def _key_weights(self, layer: int, head: int) -> Floats | None:
        """A factor for each key of the pass, (keys,); None for 1."""
        return None

    # what there is

    @property
    def text(self) -> str:
        """The text of the pass."""
        return self.base.text

    @property
    def output(self) -> Any:
        """What the model returned."""
        return self.base.output

    @property
    def nbytes(self) -> int:
        """Bytes that the pass holds now."""
        return int(getattr(self.base, "nbytes", 0))

    def release(self) -> None:
        """Let go of the pass, where it can be made again."""
        release = getattr(self.base, "release", None)
        if callable(release):
            release()

    @property
    def path(self) -> str:
        """How the attention of the pass was obtained."""
        return self.base.path

    @property
    def deviation(self) -> float | None:
        """What the self-check of the pass found."""
        return self.base.deviation

    @property
    def missing(self) -> Sequence[str]:
        """Layers of the model without attention."""
        return self.base.missing

    @cached_property
    def layers(self) -> tuple[Any, ...]:
        """The layers of the pass, with the lens's number of queries and keys."""
        return tuple(self._seen(layer) for layer in self.base.layers)

    @cached_property
    def words(self) -> Words:
        """The words that are visible, with the tokens of the lens; joined where they share one."""
        return Words(self.base.text, [word for word, _ in self._words])

    @cached_property
    def tokens(self) -> tuple[Token, ...]:
        """The tokens attended to (of an encoder-decoder those of the encoder)."""
        return self.tokens_of(self._main_role, keys=True)

    @cached_property
    def decoder_tokens(self) -> tuple[Token, ...]:
        """The tokens that attend, where they are others than those attended to; else empty."""
        if self.base.decoder_tokens:
            return self.tokens_of("decoder")
        queries, keys = self._sides(self._main_role)
        return () if queries.groups == keys.groups else self.tokens_of(self._main_role)

    @cached_property
    def segments(self) -> tuple[int | None, ...]:
        """For each of :attr:`tokens` 0 for the text, 1 for the pair, None for special ones."""
        given = getattr(self.base, "segments", None)
        groups = self._sides(self._main_role)[1].groups
        return tuple(None if given is None else given[group[0]] for group in groups)

    def tokens_of(self, role: str, *, keys: bool = False) -> tuple[Token, ...]:
        """The tokens that attend in layers of a role, or with ``keys`` those attended to."""
        number = {old: new for new, (_, olds) in enumerate(self._words) for old in olds}
        return tuple(
            msgspec.structs.replace(
                token, word=None if token.word is None else number.get(token.word)
            )
            for token in self._sides(role)[1 if keys else 0].tokens
        )

    def groups_of(self, role: str, *, keys: bool = False) -> tuple[tuple[int, ...], ...]:
        """For each of :meth:`tokens_of` the tokens of the pass that it stands for, ascending."""
        return self._sides(role)[1 if keys else 0].groups

    # numbers

    def attention(self, layer: int, head: int) -> Floats:
        """The lens on one head: (queries, keys)."""
        queries, _ = self._sides_of(layer)
        return self.rows(layer, head, range(len(queries)))

    def rows(self, layer: int, head: int, rows: Sequence[int] | slice) -> Floats:
        """Some rows: (rows, keys)."""
        queries, keys = self._sides_of(layer)
        picked = range(len(queries))[rows] if isinstance(rows, slice) else rows
        return self._rows(layer, head, picked, keys.columns)

    def block(self, layer: int, head: int, q0: int, q1: int, k0: int, k1: int) -> Floats:
        """A tile, ends excluded: (q1 - q0, k1 - k0)."""
        queries, keys = self._sides_of(layer)
        if not (0 <= q0 <= q1 <= len(queries) and 0 <= k0 <= k1 <= len(keys)):
            raise CaptureError(
                f"The tile [{q0}:{q1}, {k0}:{k1}] is not inside "
                f"{len(queries)} queries by {len(keys)} keys."
            )
        if q0 == q1 or k0 == k1:
            return np.zeros((q1 - q0, k1 - k0), dtype=np.float32)
        columns = _Columns.of(keys.groups[k0:k1], whole=k1 - k0 == len(keys))
        return self._rows(layer, head, range(q0, q1), columns)

    def mass(self, layer: int, head: int, n_rows: int, n_cols: int) -> Floats:
        """Pooled: sum over a bin's keys, mean over its queries; (n_rows, n_cols) or smaller."""
        self._check_head(layer, head)
        pooled: Floats = self._pooled(layer, (head, head + 1), n_rows, n_cols, None, None)[0]
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
        """A rectangle in bins of so many tokens: (row bins, column bins).

        Sum over a bin's keys, mean over its queries; the last bins may be smaller. Computed from
        blocks of rows of the pass: no more of it is there at once than of any other question.

        Raises:
            CaptureError: a rectangle or bins that there are not.
            Cancelled: ``cancel`` answered True.
        """
        queries, keys = self._sides_of(layer)
        self._check_head(layer, head)
        if not (0 <= q0 < q1 <= len(queries) and 0 <= k0 < k1 <= len(keys)):
            raise CaptureError(
                f"The rectangle [{q0}:{q1}, {k0}:{k1}] is not inside "
                f"{len(queries)} queries by {len(keys)} keys."
            )
        if row_bin < 1 or column_bin < 1:
            raise CaptureError("A bin holds at least one token.")
        groups: list[tuple[int, Sequence[int], float]] = []
        for index, first in enumerate(range(q0, q1, row_bin)):
            last = min(q1, first + row_bin)
            for group in queries.groups[first:last]:
                groups.append((index, group, 1 / ((last - first) * len(group))))
        columns = _Columns.of(
            [
                [k for group in keys.groups[first : min(k1, first + column_bin)] for k in group]
                for first in range(k0, k1, column_bin)
            ],
            whole=k1 - k0 == len(keys),
        )
        rows = _Rows.of(groups, -(-(q1 - q0) // row_bin))
        return self._project(layer, head, rows, columns, cancel).astype(np.float32)

    def thumbnails(
        self,
        layer: int,
        size: int = 24,
        *,
        heads: tuple[int, int] | None = None,
        sample: int | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> Floats:
        """All heads of a layer pooled: (heads, size, size) or smaller.

        Args:
            layer: Index into :attr:`layers`.
            size: Rows and columns of a map.
            heads: Only heads [first, last).
            sample: At most so many queries of each row bin.
            cancel: Asked at every block.

        Raises:
            Cancelled: ``cancel`` answered True.
        """
        count = self._layer(layer).heads
        first, last = heads if heads is not None else (0, count)
        if not 0 <= first < last <= count:
            raise CaptureError(f"Heads {first}..{last} are not among {count}.")
        return self._pooled(layer, (first, last), size, size, sample, cancel)

    def summed(self, layer: int, head: int, queries: Sequence[int]) -> Floats:
        """Sum of some rows: (keys,)."""
        side, keys = self._sides_of(layer)
        self._check_head(layer, head)
        picked = _indices(queries, len(side), "query")
        if not picked:
            return np.zeros(len(keys), dtype=np.float32)
        groups = [(0, side.groups[q], 1 / len(side.groups[q])) for q in picked]
        rows = _Rows.of(groups, 1)
        total: Floats = self._project(layer, head, rows, keys.columns)[0].astype(np.float32)
        return total

    def summed_to(self, layer: int, head: int, keys: Sequence[int]) -> Floats:
        """What each query gives to some keys together: (queries,)."""
        queries, side = self._sides_of(layer)
        self._check_head(layer, head)
        picked = _indices(keys, len(side), "key")
        rows = _Rows.of(self._means(queries, range(len(queries))), len(queries))
        wanted = sorted(k for j in picked for k in side.groups[j])
        total = np.zeros(len(queries))
        for run in _runs(wanted):
            columns = _Columns.of([run], whole=False)
            total += self._project(layer, head, rows, columns)[:, 0]
        return total.astype(np.float32)

    def attention_received(
        self, *, role: str | None = None, cancel: Callable[[], bool] | None = None
    ) -> Floats:
        """What each token receives, (keys,): mean over layers, heads and the lens's queries.

        Layers are chosen as by :meth:`lmkit.capture.Trace.attention_received`: the self-attention
        layers of one role.
        """
        chosen = [
            i for i, x in enumerate(self.layers) if x.role != "cross" and role in (None, x.role)
        ]
        if not chosen:
            raise AttentionUnavailableError(f"No self-attention of role {role!r} was recorded.")
        first = self.base.layers[chosen[0]]
        chosen = [i for i in chosen if _alike(self.base.layers[i], first)]
        queries, keys = self._sides_of(chosen[0])
        columns = keys.columns
        means = self._means(queries, range(len(queries)))
        rows = _Rows.of([(0, group, w / len(queries)) for _, group, w in means], 1)
        total = np.zeros(len(keys))
        for layer in chosen:
            count = self.base.layers[layer].heads
            for head in range(count):
                total += self._project(layer, head, rows, columns, cancel)[0] / count
        return (total / len(chosen)).astype(np.float32)

    # inside

    @property
    def _main_role(self) -> str:
        """The role whose keys are the tokens of the text itself."""
        if self.base.decoder_tokens:
            return "cross"
        return next((x.role for x in self.base.layers), "encoder")

    def _sides(self, role: str) -> tuple[Side, Side]:
        made = self._made.get(role)
        if made is None:
            made = self._made[role] = self._make_sides(role)
        return made

    @cached_property
    def _words(self) -> list[tuple[Word, tuple[int, ...]]]:
        """Visible words, each with the numbers of the words of the pass that it is made of."""
        queries, keys = self._sides(self._main_role)
        attends = {} if self.base.decoder_tokens else queries.place
        found: dict[tuple[int, ...], list[int]] = {}
        words = self.base.words
        for number, word in enumerate(words):
            # A word that only attends (a sentence-pair filter) has no token attended to.
            mine = {keys.place[t] for t in word.tokens if t in keys.place}
            if mine or any(t in attends for t in word.tokens):
                found.setdefault(tuple(sorted(mine)) or (-1 - number,), []).append(number)
        made: list[tuple[Word, tuple[int, ...]]] = []
        for tokens, numbers in found.items():
            start = min(words[n].start for n in numbers)
            end = max(words[n].end for n in numbers)
            text = words[numbers[0]].text if len(numbers) == 1 else self.base.text[start:end]
            kept = () if tokens[0] < 0 else tokens
            made.append((Word(text, start, end, kept), tuple(numbers)))
        return made

    def _layer(self, layer: int) -> Any:
        layers = self.base.layers
        if not -len(layers) <= layer < len(layers):
            raise CaptureError(
                f"Layer {layer} is not in this trace, which has {len(layers)} "
                f"(0 to {len(layers) - 1})."
            )
        return layers[layer]

    def _check_head(self, layer: int, head: int) -> None:
        info = self._layer(layer)
        if not -info.heads <= head < info.heads:
            raise CaptureError(
                f"Head {head} is not in layer {info.name}, which has {info.heads} heads."
            )

    def _sides_of(self, layer: int) -> tuple[Side, Side]:
        info = self._layer(layer)
        problem = misfit(self.base, info)
        if problem:
            raise AttentionUnavailableError(problem)
        return self._sides(info.role)

    def _seen(self, info: Any) -> Any:
        queries, keys = self._sides(info.role)
        same = queries.groups == keys.groups
        alone = same and all(len(group) == 1 for group in queries.groups)
        untouched = alone and len(queries) == info.queries
        return dataclasses.replace(
            info,
            queries=len(queries),
            keys=len(keys),
            causal=info.causal and same and _ordered(queries),
            window=info.window if untouched else None,
        )

    @staticmethod
    def _means(queries: Side, picked: Sequence[int]) -> list[tuple[int, Sequence[int], float]]:
        return [(i, queries.groups[q], 1 / len(queries.groups[q])) for i, q in enumerate(picked)]

    def _rows(self, layer: int, head: int, picked: Sequence[int], columns: _Columns) -> Floats:
        queries, _ = self._sides_of(layer)
        self._check_head(layer, head)
        chosen = _indices(picked, len(queries), "query")
        rows = _Rows.of(self._means(queries, chosen), len(chosen))
        return self._project(layer, head, rows, columns).astype(np.float32)

    def _pooled(
        self,
        layer: int,
        heads: tuple[int, int],
        n_rows: int,
        n_cols: int,
        sample: int | None,
        cancel: Callable[[], bool] | None,
    ) -> Floats:
        if n_rows < 1 or n_cols < 1 or (sample is not None and sample < 1):
            raise CaptureError("Pooling needs at least one row, one column and one sample.")
        queries, keys = self._sides_of(layer)
        self._check_head(layer, heads[0])
        n_rows, n_cols = min(n_rows, len(queries)), min(n_cols, len(keys))
        edges = bin_edges(len(queries), n_rows)
        groups: list[tuple[int, Sequence[int], float]] = []
        for index in range(n_rows):
            q0, q1 = edges[index], edges[index + 1]
            n = q1 - q0 if sample is None else min(sample, q1 - q0)
            for i in range(n):
                group = queries.groups[q0 + (2 * i + 1) * (q1 - q0) // (2 * n)]
                groups.append((index, group, 1 / (n * len(group))))
        rows = _Rows.of(groups, n_rows)
        ends = bin_edges(len(keys), n_cols)
        columns = _Columns.of(
            [
                [k for group in keys.groups[ends[i] : ends[i + 1]] for k in group]
                for i in range(n_cols)
            ],
            whole=True,
        )
        return np.stack(
            [
                self._project(layer, head, rows, columns, cancel).astype(np.float32)
                for head in range(*heads)
            ]
        )

    def _project(
        self,
        layer: int,
        head: int,
        rows: _Rows,
        columns: _Columns,
        cancel: Callable[[], bool] | None = None,
    ) -> NDArray[np.floating[Any]]:
        """The equation at the top of this module, for any rows and columns."""
        shape = rows.count, len(columns.starts)
        # A whole head of thousands of tokens in float64 would take what two heads take.
        out = np.zeros(shape, dtype=np.float64 if shape[0] * shape[1] <= _LARGE else np.float32)
        key_weights = self._key_weights(layer, head)
        row_mass = None
        if self.renormalise and not columns.whole:
            row_mass = self._row_mass(layer, head, cancel)
        size, narrow = self._step(layer, rows.queries, columns)
        for at in range(0, len(rows.queries), size):
            if cancel is not None and cancel():
                raise Cancelled("Stopped while the lens was computed.")
            queries = rows.queries[at : at + size]
            block = self._fetch(layer, head, queries, columns, narrow=narrow)
            if key_weights is not None:
                block = block * key_weights[columns.lo : columns.hi]
            cells = columns.collapse(block)
            weights = rows.weights[at : at + size]
            if self.renormalise:
                total = cells.sum(1, dtype=np.float64) if row_mass is None else row_mass[queries]
                weights = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
            bins = rows.bins[at : at + size]
            first = np.flatnonzero(np.diff(bins, prepend=-1))
            weighted = cells * weights[:, None]
            out[bins[first]] += (
                weighted if len(first) == len(bins) else np.add.reduceat(weighted, first, axis=0)
            )
        return out

    def _row_mass(self, layer: int, head: int, cancel: Callable[[], bool] | None = None) -> Doubles:
        """What each query of the pass gives to all visible keys: (queries of the pass,).

        Summed, not taken as one minus the rest: next to a sink of 0.9999 that difference would
        have four digits left.
        """
        info = self._layer(layer)
        key = (layer % len(self.base.layers), head % info.heads)
        known = self._mass.get(key)
        if known is not None:
            return known
        queries, keys = self._sides_of(layer)
        total = np.zeros(info.queries)
        columns = keys.columns
        visible = np.array(sorted(queries.place), dtype=np.intp)
        size, narrow = self._step(layer, visible, columns)
        for at in range(0, len(visible), size):
            if cancel is not None and cancel():
                raise Cancelled("Stopped while the lens was computed.")
            some = visible[at : at + size]
            block = self._fetch(layer, head, some, columns, narrow=narrow)
            total[some] = columns.collapse(block).sum(1, dtype=np.float64)
        self._mass[key] = total
        return total

    def _step(self, layer: int, queries: Indices, columns: _Columns) -> tuple[int, bool]:
        """How many rows make a block, and whether it is a tile rather than whole rows."""
        keys = self._layer(layer).keys
        width = columns.hi - columns.lo
        narrow = width * _NARROW <= keys and bool((np.diff(queries) == 1).all())
        return max(1, _CELLS // (width if narrow else keys)), narrow

    def _fetch(
        self, layer: int, head: int, queries: Indices, columns: _Columns, *, narrow: bool
    ) -> Floats:
        """Attention of some queries of the pass to the keys of a span, (queries, hi - lo)."""
        lo, hi = columns.lo, columns.hi
        if narrow:
            return self.base.block(layer, head, int(queries[0]), int(queries[-1]) + 1, lo, hi)
        rows: Floats = self.base.rows(layer, head, queries.tolist())
        return rows if hi - lo == rows.shape[1] else rows[:, lo:hi]


def misfit(trace: CapturedTrace, info: Any) -> str:
    """Why the tokens of a trace can't be told apart in a layer; empty when they can."""
    for what, count, keys in (("queries", info.queries, False), ("keys", info.keys, True)):
        length = len(tokens_of(trace, info.role, keys=keys))
        if count != length:
            return (
                f"Layer {info.name} has {count:,} {what}, and the text has {length:,} tokens: "
                "they can't be matched."
            )
    return ""


def _alike(info: Any, other: Any) -> bool:
    names = ("role", "step", "queries", "keys")
    return all(getattr(info, name, None) == getattr(other, name, None) for name in names)


def _ordered(side: Side) -> bool:
    """Whether the groups follow one another, so that "later" means the same for them."""
    flat = [token for group in side.groups for token in group]
    return all(a < b for a, b in itertools.pairwise(flat))


def _indices(given: Sequence[int], count: int, what: str) -> list[int]:
    for index in given:
        if not -count <= index < count:
            raise CaptureError(f"There is no {what} {index}: the lens shows {count} tokens.")
    return [index % count for index in given]


def _runs(wanted: list[int]) -> list[list[int]]:
    """Ascending keys as runs of neighbours; all in one where there are many runs."""
    runs: list[list[int]] = []
    for key in wanted:
        if runs and key == runs[-1][-1] + 1:
            runs[-1].append(key)
        else:
            runs.append([key])
    return runs if len(runs) <= _RUNS else [wanted]
