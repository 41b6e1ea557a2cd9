"""Attention weighted by how long the vectors are that it adds up.

Kobayashi et al. 2020, "Attention is Not Only a Weight: Analyzing Transformers with Vector Norms",
equation 5: what head h carries from key k to query q is ``alpha_h[q, k] * v_h[k] W_O,h``, and its
length ``alpha_h[q, k] * |v_h[k] W_O,h|`` says how much that is. A head that attends to a separator
with a short value vector does next to nothing. ``|v_h[k] W_O,h|`` depends on the key alone, so the
lens is attention times one number for each key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from lmkit.views.lenses.projected import ProjectedTrace, Side, tokens_of

if TYPE_CHECKING:
    from typing import Any

    import numpy as np
    from numpy.typing import NDArray

    from lmkit.views.attention import CapturedTrace

__all__ = ["NormLens", "no_values"]


class _HasNorms(Protocol):
    def value_norms(self, layer: int) -> NDArray[np.float32]: ...


class NormLens(ProjectedTrace):
    """|alpha v W_O| in place of alpha: at least 0, without an upper bound.

    The pass must have a method ``value_norms(layer)``, (heads, keys), as
    :meth:`lmkit.models.text_trace.ModelTrace.value_norms`, which runs the pass again with values
    where they were not kept. Where a layer's output projection can't be found it raises
    :class:`~lmkit.errors.AttentionUnavailableError` with the reason, and so do this lens's numbers.
    """

    def _make_sides(self, role: str) -> tuple[Side, Side]:
        queries = tokens_of(self.base, role)
        keys = tokens_of(self.base, role, keys=True)
        return (
            Side.picked(queries, range(len(queries))),
            Side.picked(keys, range(len(keys))),
        )

    def _key_weights(self, layer: int, head: int) -> NDArray[np.float32]:
        base: Any = self.base
        given: _HasNorms = base
        norms: NDArray[np.float32] = given.value_norms(layer)[head]
        return norms


def no_values(trace: CapturedTrace) -> str:
    """Why the value vectors are surely not to be had; empty where they may be."""
    if not hasattr(trace, "value_norms"):
        return "The value vectors of this pass can't be asked for."
    if not any(getattr(layer, "has_qk", False) for layer in trace.layers):
        return "This model returned its attention alone, not its value vectors."
    return str(getattr(trace, "no_value_norms", ""))
