"""What differs between two passes: attention of one minus attention of the other.

Tokens are aligned by their texts (the longest matching blocks of difflib, after what both texts
begin and end with); rows and columns of tokens without a partner are left out and named. Heads are
paired by index where layers and heads agree, else by resemblance, or averaged. What is shown is

    ``D[i, j] = A[q_i, k_i] - B[q'_i, k'_j]``

of each pair of heads: between -1 and 1, above 0 where the first pass attends more. Rows are not
renormalised, so that what a pass gives to tokens without a partner is missing from it and does not
disguise itself as a difference elsewhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lmkit.api import Token, Words
from lmkit.errors import CaptureError
from lmkit.protocol.messages import Scale
from lmkit.views.lenses.matching import best_pairs
from lmkit.views.lenses.projected import ProjectedTrace, Side, tokens_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmkit.views.attention import CapturedTrace

    Floats = NDArray[np.float32]

__all__ = ["Aligned", "DifferenceLens", "DifferenceTrace", "OneSide", "align"]

Heads = Literal["index", "best", "mean"]

_LONG = 2_000
"""Tokens between the common start and end beyond which difflib leaves out the most frequent ones
as anchors: with them it would take the square of the length."""
_SIDE = 24
"""Side of the pooled maps by which heads are compared."""


def align(a: Sequence[str], b: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of equal entries, ascending in both: the matching blocks of difflib."""
    shortest = min(len(a), len(b))
    start = 0
    while start < shortest and a[start] == b[start]:
        start += 1
    end = 0
    while end < shortest - start and a[-1 - end] == b[-1 - end]:
        end += 1
    inner_a, inner_b = a[start : len(a) - end], b[start : len(b) - end]
    matcher = SequenceMatcher(
        None, inner_a, inner_b, autojunk=max(len(inner_a), len(inner_b)) > _LONG
    )
    return [
        *((i, i) for i in range(start)),
        *(
            (start + block.a + i, start + block.b + i)
            for block in matcher.get_matching_blocks()
            for i in range(block.size)
        ),
        *((len(a) - end + i, len(b) - end + i) for i in range(end)),
    ]


class Aligned(ProjectedTrace):
    """The tokens of a pass that have a partner in the other one."""

    def __init__(self, base: CapturedTrace, visible: Sequence[int], decoder: Sequence[int]) -> None:
        super().__init__(base)
        self._visible, self._decoder = visible, decoder

    def _make_sides(self, role: str) -> tuple[Side, Side]:
        return self._side(role, keys=False), self._side(role, keys=True)

    def _side(self, role: str, *, keys: bool) -> Side:
        other = role == "decoder" or (role == "cross" and not keys)
        picked = self._decoder if other and self.base.decoder_tokens else self._visible
        return Side.picked(tokens_of(self.base, role, keys=keys), picked)


class DifferenceTrace:
    """A :class:`~lmkit.views.attention.CapturedTrace` of ``a`` minus ``b``, from -1 to 1.

    Two prompts to one model, or one prompt to two models (teacher and student, before and after
    fine-tuning). Either may itself be seen through a lens: two tokenizers are best compared by
    words.

    Layers are those of ``a``, each with a layer of ``b`` of the same role: the same one where both
    have as many, else at the same relative depth (first to first, last to last, rounded).

    Args:
        a: The pass whose tokens, layers and heads are shown.
        b: The pass that is subtracted.
        heads: ``"index"``: head h and head h. ``"best"``: in each layer the one-to-one assignment
            with the largest total resemblance of pooled maps (see :mod:`.matching`), computed at
            the first question about a layer; where ``a`` has more heads, those of ``b`` serve
            several times. ``"mean"``: the mean of a layer's heads, so one head a layer. None:
            ``"index"`` where all layers and heads agree, else ``"best"``.

    Attributes:
        unmatched: Indices of tokens without a partner, of ``a`` and of ``b``.
        first: ``a``.
        second: ``b``.
        heads: How heads are paired.
        layer_of: For each layer of ``a`` its layer of ``b``.

    Raises:
        CaptureError: no token is the same in both, there is no layer to compare with, or
            ``"index"`` was asked for where heads don't agree.
    """

    #: What it can be seen through, in place of the lenses of a pass: each side by itself, say.
    own_lenses: tuple[Any, ...] = ()

    #: What the numbers mean, for whoever shows this as a pass of its own.
    scale: Scale = "difference"

    def __init__(self, a: CapturedTrace, b: CapturedTrace, *, heads: Heads | None = None) -> None:
        if bool(a.decoder_tokens) != bool(b.decoder_tokens):
            raise CaptureError("An encoder-decoder can't be compared with a single stack.")
        pairs = align(_names(a.tokens), _names(b.tokens))
        own = align(_names(a.decoder_tokens), _names(b.decoder_tokens))
        if not pairs or (a.decoder_tokens and not own):
            raise CaptureError(
                "The two passes have no token in common.",
                hint="Compare texts that share words, or two models by words.",
            )
        self.first, self.second = a, b
        self._a = Aligned(a, [i for i, _ in pairs], [i for i, _ in own])
        self._b = Aligned(b, [j for _, j in pairs], [j for _, j in own])
        mine, theirs = {i for i, _ in pairs}, {j for _, j in pairs}
        self.unmatched = (
            tuple(i for i in range(len(a.tokens)) if i not in mine),
            tuple(j for j in range(len(b.tokens)) if j not in theirs),
        )
        self.layer_of = _layer_map(a.layers, b.layers)
        agree = len(a.layers) == len(b.layers) and all(
            layer.heads == b.layers[other].heads
            for layer, other in zip(a.layers, self.layer_of, strict=True)
        )
        if heads == "index" and not agree:
            raise CaptureError(
                "The two models differ in layers or heads, so heads can't be paired by index.",
                hint='Pair them by "best", or compare the "mean" of each layer.',
            )
        self.heads: Heads = heads or ("index" if agree else "best")
        self._pairs: dict[int, tuple[int, ...]] = {}

    # what there is

    @property
    def text(self) -> str:
        """The text of ``a``."""
        return self._a.text

    @property
    def tokens(self) -> tuple[Token, ...]:
        """The tokens of ``a`` that have a partner."""
        return self._a.tokens

    @property
    def decoder_tokens(self) -> tuple[Token, ...]:
        """What the decoder of ``a`` read, where it has a partner."""
        return self._a.decoder_tokens

    def tokens_of(self, role: str, *, keys: bool = False) -> tuple[Token, ...]:
        """The tokens that attend in layers of a role, or with ``keys`` those attended to."""
        return self._a.tokens_of(role, keys=keys)

    @property
    def nbytes(self) -> int:
        """Bytes that both passes hold now."""
        return sum(int(getattr(one, "nbytes", 0)) for one in (self.first, self.second))

    def release(self) -> None:
        """Let go of both passes, where they can be made again."""
        for one in (self.first, self.second):
            release = getattr(one, "release", None)
            if callable(release):
                release()

    @property
    def words(self) -> Words:
        """The words of ``a`` that have a token with a partner."""
        return self._a.words

    @property
    def output(self) -> Any:
        """What the model of ``a`` returned."""
        return self._a.output

    @cached_property
    def layers(self) -> tuple[Any, ...]:
        """The layers of ``a``; with ``"mean"`` of one head each."""
        if self.heads != "mean":
            return self._a.layers
        return tuple(dataclasses.replace(x, heads=1, kv_heads=1) for x in self._a.layers)

    @property
    def path(self) -> str:
        """How attention was obtained."""
        a, b = self._a.path, self._b.path
        return a if a == b else f"{a} - {b}"

    @property
    def deviation(self) -> float | None:
        """The sum of what both self-checks found: no error of a difference is larger."""
        a, b = self._a.deviation, self._b.deviation
        return None if a is None or b is None else a + b

    @property
    def missing(self) -> Sequence[str]:
        """Layers of ``a`` without attention."""
        return self._a.missing

    def partner(self, layer: int, head: int) -> tuple[int, int]:
        """Layer and head of ``b`` that a head of ``a`` is compared with (not with ``"mean"``).

        Raises:
            CaptureError: an index out of range, or heads are averaged.
        """
        if self.heads == "mean":
            raise CaptureError("The heads of each layer are averaged; none has a partner.")
        layer, head = self._checked(layer, head)
        other = self.layer_of[layer]
        if self.heads == "index":
            return other, head
        known = self._pairs.get(layer)
        if known is None:
            known = self._pairs[layer] = best_pairs(
                self._a.thumbnails(layer, _SIDE), self._b.thumbnails(other, _SIDE)
            )
        return other, known[head]

    # numbers

    def attention(self, layer: int, head: int) -> Floats:
        """The difference of one head: (queries, keys)."""
        return self._difference(layer, head, lambda t, x, h: t.attention(x, h))

    def rows(self, layer: int, head: int, rows: Sequence[int] | slice) -> Floats:
        """Some rows: (rows, keys)."""
        return self._difference(layer, head, lambda t, x, h: t.rows(x, h, rows))

    def block(self, layer: int, head: int, q0: int, q1: int, k0: int, k1: int) -> Floats:
        """A tile, ends excluded: (q1 - q0, k1 - k0)."""
        return self._difference(layer, head, lambda t, x, h: t.block(x, h, q0, q1, k0, k1))

    def mass(self, layer: int, head: int, n_rows: int, n_cols: int) -> Floats:
        """Pooled: sum over a bin's keys, mean over its queries; differences in a bin add up."""
        return self._difference(layer, head, lambda t, x, h: t.mass(x, h, n_rows, n_cols))

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
        """A rectangle in bins of so many tokens: (row bins, column bins)."""
        box = q0, q1, k0, k1, row_bin, column_bin
        return self._difference(layer, head, lambda t, x, h: t.pool(x, h, *box, cancel=cancel))

    def summed(self, layer: int, head: int, queries: Sequence[int]) -> Floats:
        """Sum of some rows: (keys,)."""
        return self._difference(layer, head, lambda t, x, h: t.summed(x, h, queries))

    def summed_to(self, layer: int, head: int, keys: Sequence[int]) -> Floats:
        """What each query gives to some keys, in ``a`` more than in ``b``: (queries,)."""
        return self._difference(layer, head, lambda t, x, h: t.summed_to(x, h, keys))

    def thumbnails(
        self,
        layer: int,
        size: int = 24,
        *,
        heads: tuple[int, int] | None = None,
        sample: int | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> Floats:
        """All heads of a layer pooled: (heads, size, size) or smaller."""
        count = self.layers[self._checked(layer, 0)[0]].heads
        first, last = heads if heads is not None else (0, count)
        if not 0 <= first < last <= count:
            raise CaptureError(f"Heads {first}..{last} are not among {count}.")

        def pooled(trace: ProjectedTrace, index: int, head: int) -> Floats:
            only = (head, head + 1)
            maps = trace.thumbnails(index, size, heads=only, sample=sample, cancel=cancel)
            one: Floats = maps[0]
            return one

        return np.stack([self._difference(layer, h, pooled) for h in range(first, last)])

    def attention_received(self) -> Floats:
        """What each token of ``a`` receives more than its partner: (keys,)."""
        return self._combined(
            lambda: self._a.attention_received(), lambda: self._b.attention_received()
        )

    # inside

    def _checked(self, layer: int, head: int) -> tuple[int, int]:
        count = len(self.layers)
        if not -count <= layer < count:
            raise CaptureError(f"Layer {layer} is not in this trace, which has {count}.")
        layer %= count
        heads = self.layers[layer].heads
        if not -heads <= head < heads:
            raise CaptureError(f"Head {head} is not in layer {layer}, which has {heads} heads.")
        return layer, head % heads

    def _difference(
        self, layer: int, head: int, numbers: Callable[[ProjectedTrace, int, int], Floats]
    ) -> Floats:
        layer, head = self._checked(layer, head)
        if self.heads == "mean":
            return self._combined(
                lambda: _mean(self._a, layer, numbers),
                lambda: _mean(self._b, self.layer_of[layer], numbers),
            )

        def second() -> Floats:
            other, partner = self.partner(layer, head)
            return numbers(self._b, other, partner)

        return self._combined(lambda: numbers(self._a, layer, head), second)

    def _combined(self, first: Callable[[], Floats], second: Callable[[], Floats]) -> Floats:
        return first() - second()


class DifferenceLens(DifferenceTrace):
    """A difference as a lens on ``a``: it says which tokens of ``a`` are left."""

    @property
    def base(self) -> CapturedTrace:
        """The pass that this is a lens on."""
        return self.first

    def groups_of(self, role: str, *, keys: bool = False) -> tuple[tuple[int, ...], ...]:
        """For each of :meth:`tokens_of` the tokens of ``a`` that it stands for, ascending."""
        return self._a.groups_of(role, keys=keys)


class OneSide(DifferenceTrace):
    """One of the two passes of a difference, head by head and token by token beside the other.

    Args:
        of: The difference; heads that were paired stay paired.
        second: The one that is subtracted, in the place of its partner's tokens and heads.
    """

    scale = "share"

    def __init__(self, of: DifferenceTrace, *, second: bool) -> None:
        self.__dict__.update(of.__dict__)
        self._second = second

    def _combined(self, first: Callable[[], Floats], second: Callable[[], Floats]) -> Floats:
        return second() if self._second else first()


def _names(tokens: Sequence[Token]) -> list[str]:
    return [token.raw or token.text for token in tokens]


def _mean(
    trace: ProjectedTrace, layer: int, numbers: Callable[[ProjectedTrace, int, int], Floats]
) -> Floats:
    count = trace.layers[layer].heads
    total = numbers(trace, layer, 0).astype(np.float64)
    for head in range(1, count):
        total += numbers(trace, layer, head)
    mean: Floats = (total / count).astype(np.float32)
    return mean


def _layer_map(a: Sequence[Any], b: Sequence[Any]) -> tuple[int, ...]:
    """For each layer of ``a`` the layer of ``b`` at the same relative depth, of the same role."""
    chosen: dict[int, int] = {}
    for role in dict.fromkeys(layer.role for layer in a):
        mine = [i for i, layer in enumerate(a) if layer.role == role]
        theirs = [i for i, layer in enumerate(b) if layer.role == role]
        if not theirs and role != "cross":
            # An encoder and a decoder by themselves: the one self-attention stack that there is.
            theirs = [i for i, layer in enumerate(b) if layer.role != "cross"]
            if len({b[i].role for i in theirs}) != 1:
                theirs = []
        if not theirs:
            raise CaptureError(f"The second pass has no layers of role {role!r} to compare with.")
        steps = max(1, len(mine) - 1)
        for place, index in enumerate(mine):
            # Halves away from zero: Python's round would send two layers to the even one.
            chosen[index] = theirs[(2 * place * (len(theirs) - 1) + steps) // (2 * steps)]
    return tuple(chosen[i] for i in range(len(a)))
