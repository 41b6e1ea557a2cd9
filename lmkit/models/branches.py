"""The key-value cache of a written text, kept so that another text can part from it anywhere.

A cache as transformers fills it can't always be put back to an earlier token: a sliding window
has dropped the columns before it, a recurrent state has been overwritten. :class:`Keeper` has the
windows keep their columns and copies the states after each token, within a budget.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

__all__ = ["KEPT_BYTES", "Keeper", "KeptCache", "cache_name"]

KEPT_BYTES = 512 << 20
"""Most bytes kept beyond what ``generate`` itself holds: columns out of a window, states."""

_State = dict[int, tuple[dict[int, Any], dict[int, Any]]]
"""By layer: copies of its convolutional and recurrent states."""


def cache_name() -> str:
    """How transformers calls the cache of ``generate``: renamed in 5.24."""
    from transformers.generation.utils import GenerateDecoderOnlyOutput

    return "cache" if "cache" in GenerateDecoderOnlyOutput.__annotations__ else "past_key_values"


@dataclass(eq=False)
class KeptCache:
    """The cache of one text of a batch of one.

    Attributes:
        cache: As ``generate`` left it; None where it is of a kind that can't be gone back in.
        kind: Its class, for a sentence.
        states: What overwrites itself, as it was after so many tokens.
    """

    cache: Any = None
    kind: str = ""
    states: dict[int, _State] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes on the device."""
        own = sum(int(t.nbytes) for one in _caches(self.cache) for t in _tensors(one))
        return own + sum(_state_bytes(one) for one in self.states.values())

    def at(self, tokens: int) -> Any:
        """A copy of the cache as it was when it held the first ``tokens`` tokens.

        None where that is not known any more.
        """
        from transformers.cache_utils import EncoderDecoderCache

        if self.cache is None:
            return None
        if isinstance(self.cache, EncoderDecoderCache):
            own = self._part(self.cache.self_attention_cache, tokens)
            other = _whole(self.cache.cross_attention_cache)
            return None if own is None else EncoderDecoderCache(own, other)
        return self._part(self.cache, tokens)

    def why_not(self, tokens: int) -> str:
        """Why :meth:`at` gives None there, as a sentence."""
        if self.cache is None:
            return f"this model's cache ({self.kind or 'none'}) cannot be put back to a token"
        return f"what it held after {tokens:,} tokens was not kept"

    def _part(self, cache: Any, tokens: int) -> Any:
        from transformers.cache_utils import DynamicCache

        states = self.states.get(tokens, {})
        layers = []
        for index, layer in enumerate(cache.layers):
            one = copy.copy(layer)
            if _has_state(layer):
                if index not in states:
                    return None
                convolved, recurrent = states[index]
                for name in _FLAGS:
                    setattr(one, name, dict(getattr(layer, name)))
                one.conv_states = _copied(convolved)
                one.recurrent_states = _copied(recurrent)
            if getattr(layer, "keys", None) is not None:
                held = layer.keys.shape[-2]
                if held < tokens or held < layer.get_seq_length():
                    return None  # a window that dropped columns
                one.keys = layer.keys[..., :tokens, :].clone()
                one.values = layer.values[..., :tokens, :].clone()
                if hasattr(layer, "cumulative_length"):
                    one.cumulative_length = tokens
            layers.append(one)
        made = DynamicCache()
        made.layers = layers
        return made


class Keeper:
    """Watches one call of ``generate`` for a single sequence, and keeps its cache.

    Args:
        model: The module whose call is a pass.
        before: States known already, of the text that this one goes on from.
    """

    def __init__(self, model: Any, before: dict[int, _State] | None = None) -> None:
        self._model = model
        self._cache: Any = None
        self._stateful = False
        self._states = dict(before or {})
        self._bytes = sum(map(_state_bytes, self._states.values()))

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Keep what is needed in this block."""
        handles = [self._model.register_forward_pre_hook(self._begin, with_kwargs=True)]
        handles.append(self._model.register_forward_hook(self._note))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def kept(self, output: Any) -> KeptCache:
        """What remains of the call that gave ``output``."""
        found = getattr(output, cache_name(), None)
        if found is None or not _understood(found):
            return KeptCache(kind=type(found).__name__ if found is not None else "")
        return KeptCache(found, type(found).__name__, self._states)

    def _begin(self, module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        given = kwargs.get(cache_name())
        if given is None or given is self._cache:
            return
        self._cache = given
        if not _understood(given):
            return
        for layer in _own(given).layers:
            if _is_window(layer) and hasattr(layer, "activate_past_recording"):
                layer.record_past = True
            self._stateful = self._stateful or _is_linear(layer)

    def _note(self, module: Any, args: Any, output: Any) -> None:
        cache = self._cache
        if cache is None or not _understood(cache):
            return
        own = _own(cache)
        windows = [one for one in own.layers if getattr(one, "record_past", False)]
        windows = [one for one in windows if _is_window(one)]
        spare = sum(_spare(one) for one in windows)
        if spare > KEPT_BYTES:
            for one in windows:
                # As update() would leave them that never recorded: it counts on these alone.
                one.record_past = False
                one.keys = one.keys[:, :, -one.sliding_window + 1 :].clone()
                one.values = one.values[:, :, -one.sliding_window + 1 :].clone()
        if not self._stateful:
            return
        state: _State = {}
        for index, layer in enumerate(own.layers):
            if _has_state(layer):
                state[index] = (_copied(layer.conv_states), _copied(layer.recurrent_states))
        self._states[_length(own)] = state
        self._bytes += _state_bytes(state)
        while self._bytes + spare > KEPT_BYTES and self._states:
            # The earliest: from there the way from the prompt is shortest.
            self._bytes -= _state_bytes(self._states.pop(min(self._states)))


_FLAGS = (
    "is_conv_states_initialized",
    "is_recurrent_states_initialized",
    "has_previous_state",
    "conv_kernel_size",
)


def _own(cache: Any) -> Any:
    """The cache of the sequence that is written."""
    return getattr(cache, "self_attention_cache", cache)


def _caches(cache: Any) -> Iterator[Any]:
    for one in (_own(cache), getattr(cache, "cross_attention_cache", None)):
        yield from getattr(one, "layers", ())


def _understood(cache: Any) -> bool:
    """Whether all of a cache are columns of keys and values, or states that are copied here."""
    from transformers import cache_utils

    whole: tuple[Any, ...] = (cache,)
    if type(cache) is cache_utils.EncoderDecoderCache:
        whole = (cache.self_attention_cache, cache.cross_attention_cache)
    known = {
        getattr(cache_utils, name, None)
        for name in (
            "DynamicLayer",
            "DynamicSlidingWindowLayer",
            "LinearAttentionLayer",
            "LinearAttentionAndFullAttentionLayer",
        )
    }
    return all(
        type(one) is cache_utils.DynamicCache
        and not one.offloading
        and all(type(layer) in known and _is_plain(layer) for layer in one.layers)
        for one in whole
    )


def _is_plain(layer: Any) -> bool:
    """Whether states are held as this module copies them; transformers before 5.9 had others."""
    return not _is_linear(layer) or all(
        isinstance(getattr(layer, name, None), dict)
        for name in ("conv_states", "recurrent_states", *_FLAGS)
    )


def _length(cache: Any) -> int:
    """Tokens in a cache: those of a layer that counts them; 0 where none does."""
    return max(
        (int(one.get_seq_length()) for one in cache.layers if hasattr(one, "get_seq_length")),
        default=0,
    )


def _is_window(layer: Any) -> bool:
    return bool(getattr(layer, "is_sliding", False))


def _is_linear(layer: Any) -> bool:
    return hasattr(layer, "recurrent_states")


def _has_state(layer: Any) -> bool:
    return _is_linear(layer) and any(
        one is not None
        for part in (layer.conv_states, layer.recurrent_states)
        for one in part.values()
    )


def _copied(states: dict[int, Any]) -> dict[int, Any]:
    return {key: None if one is None else one.clone() for key, one in states.items()}


def _whole(cache: Any) -> Any:
    """A copy of a cache that does not grow: its tensors are replaced, never written into."""
    made = copy.copy(cache)
    made.layers = [copy.copy(layer) for layer in cache.layers]
    return made


def _tensors(layer: Any) -> Iterator[Any]:
    held = [getattr(layer, "keys", None), getattr(layer, "values", None)]
    if _is_linear(layer):
        held += [*layer.conv_states.values(), *layer.recurrent_states.values()]
    yield from (one for one in held if one is not None)


def _state_bytes(state: _State) -> int:
    return sum(
        int(one.nbytes)
        for parts in state.values()
        for part in parts
        for one in part.values()
        if one is not None
    )


def _spare(layer: Any) -> int:
    """Bytes of the columns that have left a layer's window."""
    if getattr(layer, "keys", None) is None:
        return 0
    held = layer.keys.shape[-2]
    out = max(0, held - layer.sliding_window + 1)
    return int((layer.keys.nbytes + layer.values.nbytes) * out / max(1, held))
