"""A pass that was captured in the user's own code, with the tokens that its rows stand for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from lmkit.errors import CaptureError, FieldError
from lmkit.models.segment import clean_text
from lmkit.models.tokens import Encoded, append_generated, encode, read_tokens
from lmkit.protocol.messages import Token
from lmkit.protocol.words import Word, Words

if TYPE_CHECKING:
    from lmkit.capture import LayerInfo, Trace

__all__ = ["RawTrace", "raw_trace"]


class RawTrace:
    """A capture that answers what a view asks; made by :func:`raw_trace`.

    The capture stays the user's: it is neither counted nor released. It holds no model, so views
    that run the model again are not available.

    Attributes:
        source: The capture.
        layers: Those of one pass, numbered from 0.
        tokens: One entry a key of its first layer (of an encoder-decoder what the encoder read).
        decoder_tokens: What the decoder read, of an encoder-decoder; else empty.
        steps: Of a generated text, which step computed which rows.
    """

    def __init__(
        self,
        source: Trace,
        layers: Sequence[LayerInfo],
        text: str,
        tokens: tuple[Token, ...],
        words: Words,
        decoder_tokens: tuple[Token, ...],
        segments: tuple[int | None, ...] | None = None,
    ) -> None:
        self.source = source
        self._at = tuple(layer.index for layer in layers)
        self.layers = tuple(replace(layer, index=at) for at, layer in enumerate(layers))
        self.text = text
        self.tokens = tokens
        self.words = words
        self.decoder_tokens = decoder_tokens
        self.segments = segments
        self.steps: tuple[Any, ...] = tuple(getattr(source, "steps", ()))
        self.path: str = source.path
        self.deviation: float | None = source.deviation
        self.missing: tuple[str, ...] = tuple(source.missing)

    def __repr__(self) -> str:
        return f"<captured pass: {len(self.tokens)} tokens, {len(self.layers)} layers>"

    @property
    def output(self) -> Any:
        """What the model returned, where :func:`lmkit.capture.trace_forward` ran it."""
        return self.source.output

    @property
    def nbytes(self) -> int:
        """Nothing that a budget could free: the capture is the user's."""
        return 0

    def release(self) -> None:
        """Nothing: it could not be made again."""

    @property
    def no_value_norms(self) -> str:
        """Why there are no ``value_norms``; empty where the values were kept."""
        if any(layer.has_values for layer in self.layers):
            return ""
        return "The values of this pass were not kept: capture(model, values=True) keeps them."

    def tokens_of(self, role: str, *, keys: bool = False) -> tuple[Token, ...]:
        """The tokens that attend in layers of a role, or with ``keys`` those attended to."""
        if role == "decoder" or (role == "cross" and not keys):
            return self.decoder_tokens or self.tokens
        return self.tokens

    def attention_received(self) -> Any:
        """Attention that each token receives, mean over layers, heads, queries: (tokens,)."""
        return self.source.attention_received()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in _BY_LAYER:
            raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")
        return partial(self._of_layer, name)

    def _of_layer(self, name: str, layer: int, *args: Any, **options: Any) -> Any:
        if not -len(self._at) <= layer < len(self._at):
            raise CaptureError(f"Layer {layer} is not in this trace, which has {len(self._at)}.")
        return getattr(self.source, name)(self._at[layer], *args, **options)

    # Looked for on the class by the map, which else pools block by block.
    def pool(self, layer: int, *args: Any, **options: Any) -> Any:
        """A rectangle of one head in bins of so many tokens: (row bins, column bins)."""
        return self._of_layer("pool", layer, *args, **options)


_BY_LAYER = frozenset({
    "attention", "block", "keys", "level_tile", "mass", "qk", "queries", "rows", "scores",
    "summed", "summed_to", "thumbnails", "value_norms", "values", "weighted",
})  # fmt: skip


def raw_trace(
    trace: Trace,
    tokenizer: Any = None,
    *,
    text: str | None = None,
    pair: str | None = None,
    input_ids: Any = None,
    tokens: Sequence[str] | None = None,
    decoder_tokens: Sequence[str] | None = None,
    step: int | None = None,
) -> RawTrace:
    """Give a capture the tokens of its rows.

    Args:
        trace: A finished capture; ``trace.batch(i)`` for another text of a batch,
            ``trace.generation()`` for a text that was written in it.
        tokenizer: Reads ``text`` or ``input_ids``; not needed for a generation, which knows its
            ids.
        text: What the pass read.
        pair: The second text, of a pair.
        input_ids: The ids that it read, (tokens,) or (1, tokens).
        tokens: Names for the tokens, in place of a tokenizer.
        decoder_tokens: Names for what a decoder read, of an encoder-decoder.
        step: Which pass of the block; by default the first.

    Raises:
        CaptureError: the capture is not finished or has no such pass.
        AttentionUnavailableError: the model has no attention.
        FieldError: the tokens are not as many as the pass has.
    """
    trace.require()
    if step is None:
        step = 0 if getattr(trace, "steps", None) else trace.layers[0].step
    written = bool(getattr(trace, "steps", None))
    layers = [one for one in trace.layers if written or one.step == step]
    if not layers:
        count = max(one.step for one in trace.layers) + 1
        raise CaptureError(f"There is no pass {step} in this capture; there are {count}, from 0.")
    read = next((x.keys for x in layers if x.role in ("encoder", "cross")), layers[0].keys)
    own = next((x.queries for x in layers if x.role == "decoder"), 0)
    two = any(x.role == "cross" for x in layers)
    segments: tuple[int | None, ...] | None = None
    if tokens is None and tokenizer is not None and (text is not None or input_ids is not None):
        ids = None if input_ids is None else _ids(input_ids)
        whole, shown, words, segments = _read(tokenizer, text, pair, ids)
    elif tokens is None and tokenizer is not None and written and not two:
        ids = list(getattr(trace, "ids", ()))[:read]
        whole, shown, words, segments = _read(tokenizer, None, None, ids)
    else:
        whole, shown, words = _named(tokens, read)
    _check_count(len(shown), read, "tokens")
    if two:
        _, others, _ = _named(decoder_tokens, own)
        _check_count(len(others), own, "decoder_tokens")
    return RawTrace(trace, layers, whole, shown, words, others if two else (), segments)


def _ids(given: Any) -> list[int]:
    plain = given.tolist() if hasattr(given, "tolist") else list(given)
    if plain and isinstance(plain[0], list):
        if len(plain) != 1:
            raise FieldError(
                f"input_ids hold {len(plain)} texts; a view shows one.",
                hint="Give input_ids[i] with trace.batch(i).",
            )
        plain = plain[0]
    return [int(one) for one in plain]


def _read(
    tokenizer: Any, text: str | None, pair: str | None, ids: list[int] | None
) -> tuple[str, tuple[Token, ...], Words, tuple[int | None, ...] | None]:
    if text is not None:
        first, second = clean_text(text), None if pair is None else clean_text(pair)
        encoded = encode(tokenizer, first, second, None)
        # A text and the ids of it: the ids were what the pass read (cut, padded), if they differ.
        if ids is None or encoded.ids == ids:
            whole, tokens, words = read_tokens(tokenizer, encoded, first, second)
            return whole, tokens, words, encoded.sequences
    empty = Encoded({"input_ids": []}, (), (), (), 0)
    encoded, said = append_generated(tokenizer, empty, "", ids or [])
    whole, tokens, words = read_tokens(tokenizer, encoded, said, None)
    return whole, tokens, words, encoded.sequences


def _named(names: Sequence[str] | None, count: int) -> tuple[str, tuple[Token, ...], Words]:
    """Tokens by name, or by number where they have none; each is a word of its own."""
    given = [f"#{index}" for index in range(count)] if names is None else list(names)
    tokens, words, text = [], [], ""
    for index, name in enumerate(clean_text(str(one)) for one in given):
        start = len(text) + bool(text)
        text += (" " if text else "") + name
        tokens.append(Token(text=name, raw=name, word=index, start=start, end=len(text)))
        words.append(Word(name, start, len(text), (index,)))
    return text, tuple(tokens), Words(text, words)


def _check_count(given: int, wanted: int, what: str) -> None:
    if given != wanted:
        raise FieldError(
            f"{what}: {given:,} were given, and the pass read {wanted:,}.",
            hint="Give the text, the ids or the names of what the captured call read.",
        )
