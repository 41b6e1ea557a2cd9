"""One captured forward pass over a text, which can be let go of and made again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lmkit.errors import CaptureError
from lmkit.protocol.messages import Token
from lmkit.protocol.words import Words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lmkit.capture import LayerInfo, Trace
    from lmkit.capture.interventions import Change
    from lmkit.capture.trace import QKPair
    from lmkit.models.loaded import HuggingFaceModel
    from lmkit.models.tokens import Encoded

    Floats = NDArray[np.float32]

__all__ = ["ModelTrace"]


class ModelTrace:
    """What :meth:`lmkit.api.LoadedModel.trace` returns.

    It holds the :class:`~lmkit.models.loaded.HuggingFaceModel`, not its weights, and the ids that
    went in. After :meth:`release` the next question runs the pass again from those ids (once,
    whatever the number of threads that ask); names, tokens, words, layers and warnings stay.

    Attributes:
        text: The text that all places count in. With a pair it holds both, joined by a line
            break, and ``pair_start`` says where the second begins.
        pair: The second text, or None.
        tokens: One entry a token, special ones included.
        words: The words, each with its tokens.
        segments: For each token 0 for the text, 1 for the pair, None for special ones.
        decoder_tokens: What the decoder of an encoder-decoder model read; else empty.
        warnings: What the user must know of this pass: a text that was cut.
        model: The model that it was made with.
    """

    def __init__(
        self,
        model: HuggingFaceModel,
        encoded: Encoded,
        *,
        text: str,
        pair: str | None,
        pair_start: int | None,
        tokens: tuple[Token, ...],
        words: Words,
        decoder_tokens: tuple[Token, ...],
        warnings: tuple[str, ...],
        values: bool,
        capture: Trace,
    ) -> None:
        self.model = model
        self.text = text
        self.pair = pair
        self.pair_start = pair_start
        self.tokens = tokens
        self.words = words
        self.segments = encoded.sequences
        self.decoder_tokens = decoder_tokens
        self.warnings = warnings
        self._encoded = encoded
        self._values = values
        self._lock = threading.RLock()
        self._capture: Trace | None = capture
        self._norms: tuple[Floats | CaptureError, ...] | None = None
        # Of the first pass; the same in every later one.
        self._layers = capture.layers
        self.path: str = capture.path
        self.deviation: float | None = capture.deviation
        self.missing: tuple[str, ...] = tuple(capture.missing)
        self.error = capture.error

    def __repr__(self) -> str:
        return (
            f"<trace of {self.model.name}: {len(self.tokens)} tokens, {len(self._layers)} layers>"
        )

    # what there is

    @property
    def layers(self) -> tuple[LayerInfo, ...]:
        """The layers that have attention; never runs the pass again."""
        return self._layers

    @property
    def available(self) -> bool:
        """Whether there is attention to show; :attr:`error` says why not."""
        return self.error is None

    @property
    def input_ids(self) -> tuple[int, ...]:
        """The ids that went in."""
        return tuple(self._encoded.ids)

    def inputs(self) -> dict[str, Any]:
        """Keyword arguments of the model for this pass: a batch of one, on its device.

        Raises:
            ModelError: the model can't be loaded again.
        """
        return self.model.inputs_of(self._encoded)

    @property
    def output(self) -> Any:
        """What the model returned, logits included, on its device.

        Where that is more than :data:`~lmkit.models.loaded.KEPT_OUTPUT` bytes (the logits of all
        positions of a long text) it is not kept: each question runs the model once more.

        Raises:
            DeviceMemoryError, ModelError: that pass fails.
        """
        held = self.capture.output
        return self.model.output_of(self._encoded) if held is None else held

    @property
    def capture(self) -> Trace:
        """The capture itself; made again if it was released.

        Raises:
            ModelError: the model can't be loaded again.
            DeviceMemoryError: the pass does not fit any more.
        """
        from lmkit.models.loading import waiting_for

        held = self._capture
        if held is not None:
            return held
        with waiting_for(self._lock):
            if self._capture is None:
                self._capture = self._run_again()
            return self._capture

    def _run_again(self) -> Trace:
        return self.model.run_pass(self._encoded, values=self._values)

    @property
    def nbytes(self) -> int:
        """Bytes that this trace keeps on the device, output included; 0 after release."""
        held = self._capture
        return 0 if held is None else held.nbytes + _tensor_bytes(held.output)

    @property
    def released(self) -> bool:
        """Whether the next question runs the pass again."""
        return self._capture is None

    def release(self) -> int:
        """Let go of the capture and the output; returns the bytes that they took.

        A question that another thread asked before is still answered.
        """
        with self._lock:
            held, self._capture = self._capture, None
        return 0 if held is None else held.nbytes + _tensor_bytes(held.output)

    def tokens_of(self, role: str, *, keys: bool = False) -> tuple[Token, ...]:
        """The tokens that attend in layers of a role, or with ``keys`` those attended to."""
        if role == "decoder" or (role == "cross" and not keys):
            return self.decoder_tokens or self.tokens
        return self.tokens

    def again(self, changes: Sequence[Change] = (), *, copies: int = 1, last: bool = False) -> Any:
        """The model's output on the same input once more, with heads changed.

        Args:
            changes: What to change (:mod:`lmkit.capture.interventions`).
            copies: Texts in the batch, all this one; a change may concern one of them.
            last: Only the last position's logits, where the model can leave the others out.

        Raises:
            AttentionUnavailableError: heads of this model can't be changed.
            Cancelled, CaptureError, DeviceMemoryError, ModelError.
        """
        return self.model.output_of(self._encoded, changes, copies=copies, last=last)

    # numbers; shapes and errors are those of lmkit.capture.Trace

    def rows(self, layer: int, head: int, rows: Sequence[int] | slice) -> Floats:
        """Attention of some queries of one head to all keys: (rows, keys)."""
        if isinstance(rows, slice):
            rows = range(self._layers[layer].queries)[rows] if self._layers else ()
        return self.capture.rows(layer, head, rows)

    def attention(self, layer: int, head: int) -> Floats:
        """Attention of one head: (queries, keys)."""
        return self.capture.attention(layer, head)

    def block(self, layer: int, head: int, q0: int, q1: int, k0: int, k1: int) -> Floats:
        """A tile of one head, ends excluded: (q1 - q0, k1 - k0)."""
        return self.capture.block(layer, head, q0, q1, k0, k1)

    def mass(self, layer: int, head: int, n_rows: int, n_cols: int) -> Floats:
        """One head pooled: sum over a bin's keys, mean over its queries; (n_rows, n_cols)."""
        return self.capture.mass(layer, head, n_rows, n_cols)

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
        """A rectangle of one head in bins of so many tokens: (row bins, column bins)."""
        return self.capture.pool(layer, head, q0, q1, k0, k1, row_bin, column_bin, cancel=cancel)

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
        """One tile of a head's map at a level of detail: at most 256 x 256 cells."""
        return self.capture.level_tile(layer, head, level, row, column, cancel=cancel)

    def thumbnails(
        self,
        layer: int,
        size: int = 24,
        *,
        heads: tuple[int, int] | None = None,
        sample: int | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> Floats:
        """All heads of a layer as small maps of pooled mass: (heads, size, size)."""
        return self.capture.thumbnails(layer, size, heads=heads, sample=sample, cancel=cancel)

    def attention_received(
        self, *, role: str | None = None, cancel: Callable[[], bool] | None = None
    ) -> Floats:
        """Attention that each token receives, mean over layers, heads, queries: (tokens,)."""
        return self.capture.attention_received(role=role, cancel=cancel)

    def summed(self, layer: int, head: int, queries: Sequence[int]) -> Floats:
        """Sum of the rows of some queries: (keys,)."""
        return self.capture.summed(layer, head, queries)

    def summed_to(self, layer: int, head: int, keys: Sequence[int]) -> Floats:
        """Sum of chosen columns of one head: (queries,)."""
        return self.capture.summed_to(layer, head, keys)

    def weighted(
        self,
        layer: int,
        weights: NDArray[np.float64],
        *,
        cancel: Callable[[], bool] | None = None,
    ) -> NDArray[np.float64]:
        """Vectors times the mean of a layer's heads: (n, queries) to (n, keys)."""
        return self.capture.weighted(layer, weights, cancel=cancel)

    def value_norms(self, layer: int) -> Floats:
        """|v W_O| of each query head and key: (heads, keys).

        Where the pass kept no values it is made again, once, with them; the norms are then kept,
        also after :meth:`release`.

        Raises:
            AttentionUnavailableError: the layer's output projection was not found, or the layer
                returned its attention alone.
        """
        from lmkit.models.loading import waiting_for

        if self._norms is None:
            with waiting_for(self._lock):
                if self._norms is None:
                    self._norms = self._find_norms()
        found = self._norms[layer]
        if isinstance(found, CaptureError):
            raise type(found)(found.message, hint=found.hint)
        return found

    @property
    def no_value_norms(self) -> str:
        """Why there are no :meth:`value_norms`, as far as known without a pass; else empty."""
        norms = self._norms
        if norms is None or not all(isinstance(one, CaptureError) for one in norms):
            return ""
        return next((one.message for one in norms if isinstance(one, CaptureError)), "")

    def _find_norms(self) -> tuple[Floats | CaptureError, ...]:
        capture = self.capture if self._values else self.model.run_pass(self._encoded, values=True)
        found: list[Floats | CaptureError] = []
        for layer in self._layers:
            try:
                found.append(capture.value_norms(layer.index))
            except CaptureError as error:
                found.append(error)
        return tuple(found)

    def qk(self, layer: int, head: int, query: int, key: int) -> QKPair:
        """Query and key vector of one pair, its score and weight."""
        return self.capture.qk(layer, head, query, key)

    def queries(self, layer: int, head: int, rows: Sequence[int]) -> Floats:
        """Query vectors of a head: (rows, d)."""
        return self.capture.queries(layer, head, rows)

    def keys(self, layer: int, head: int, rows: Sequence[int]) -> Floats:
        """Key vectors that a head reads: (rows, d)."""
        return self.capture.keys(layer, head, rows)

    def scores(self, layer: int, head: int, rows: Sequence[int]) -> Floats:
        """What enters the softmax, masked cells as the lowest float32: (rows, keys)."""
        return self.capture.scores(layer, head, rows)

    def values(self, layer: int, head: int) -> Floats:
        """Value vectors that a head reads: (keys, width); needs ``trace(..., values=True)``."""
        return self.capture.values(layer, head)


def _tensor_bytes(output: Any) -> int:
    import torch

    if isinstance(output, torch.Tensor):
        return output.untyped_storage().nbytes()
    if isinstance(output, dict):
        return sum(_tensor_bytes(value) for value in output.values())
    if isinstance(output, (list, tuple)):
        return sum(_tensor_bytes(value) for value in output)
    return 0
