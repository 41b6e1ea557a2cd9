"""Heads switched off, replaced by a mean or by another text's values, while a model runs.

A change acts on a head's output A.v as the attention function returned it, before the layer's
output projection W_O mixes the heads. It goes through the same closure as the recorder
(:mod:`lmkit.capture.recorder`), or through the same watch on torch's function
(:mod:`lmkit.capture.sdpa_calls`): nothing is patched, no weight is touched, and only passes of the
block's own context are changed. Where no change applies to a layer, the layer gets the very tensor
that its attention function returned.

    with intervene(model, [Change(3, 7)]):            # layer 3, head 7 gives zeros
        output = model(**inputs)

Shapes: B batch, Q queries, H query heads, w width of a head's output. Zero ablation is that of
Michel et al. 2019 ("Are Sixteen Heads Really Better than One?"), mean ablation that of Wang et al.
2022 ("Interpretability in the Wild"), the values of another text are activation patching (Vig et
al. 2020; Meng et al. 2022).
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from lmkit.capture.anatomy import clean_name, interface_modules, sdpa_modules, unwrap
from lmkit.capture.context import on_sdpa, run_uncompiled
from lmkit.capture.recorder import CHANGING, install
from lmkit.capture.sdpa_calls import ChangedCalls
from lmkit.errors import AttentionUnavailableError, Cancelled, CaptureError

__all__ = [
    "Change",
    "HeadMeans",
    "HeadOutputs",
    "intervene",
    "keep_means",
    "keep_outputs",
    "repeated_pass",
]

Spot = tuple[str, int]
"""Name of an attention module and which of its calls in one pass, from 0."""


@dataclass(frozen=True, eq=False)
class Change:
    """What one head gives instead of its own output.

    Attributes:
        layer: Which call of the attention interface in a pass, from 0 (the index into the
            ``layers`` of a trace of one pass), or the qualified name of the attention module.
        head: A query head, from 0; negative ones count from the end.
        to: ``"zero"``; ``"mean"``, its mean over the real positions of the same text; a tensor
            (w,) that stands at every position; or a tensor (Q, w), one row a position.
        call: With a name: only this call of the module in a pass. None: each.
        text: Only this text of the batch. None: each.
        at_end: A tensor (N, w) of another length than the text replaces the last
            min(N, Q) positions by its own last ones. Without it another length is refused.
    """

    layer: int | str
    head: int
    to: Literal["zero", "mean"] | torch.Tensor = "zero"
    call: int | None = None
    text: int | None = None
    at_end: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.to, torch.Tensor):
            if self.to.dim() not in (1, 2):
                raise CaptureError(
                    f"A head's output is replaced by a tensor (width,) or (positions, width), "
                    f"not by one of shape {tuple(self.to.shape)}."
                )
        elif self.to not in ("zero", "mean"):
            raise CaptureError(
                f"A head can't be changed to {self.to!r}.",
                hint="Give 'zero', 'mean' or a tensor.",
            )


@contextmanager
def intervene(
    model: nn.Module,
    changes: Iterable[Change],
    *,
    cancel: Callable[[], bool] | None = None,
) -> Iterator[None]:
    """Change heads in the passes of ``model`` inside the block, in this context alone.

    Several changes of one head apply one after the other, and so do nested blocks. A capture
    around or inside the block records what each layer computed itself, from inputs that the
    layers below may have changed.

    Args:
        model: A transformers model; wrappers of torch.compile and peft are looked through.
        changes: What to change; none leaves the output as it is, bit for bit.
        cancel: Asked at each layer; True stops the pass.

    Raises:
        AttentionUnavailableError: the model has an attention of its own.
        Cancelled: in the pass, when ``cancel`` answers True.
        CaptureError: no such layer, head or text; values of another length or width; a mean
            over a single position.
    """
    inner = unwrap(model)
    watch = _Changes(inner, tuple(changes), cancel)
    if watch.changes:
        _require_served(inner)
    with _watching(model, inner, watch):
        yield
        watch.require_applied()


@contextmanager
def keep_outputs(model: nn.Module) -> Iterator[HeadOutputs]:
    """Keep each head's output A.v of the last pass of ``model`` inside the block.

    Raises:
        AttentionUnavailableError: the model has an attention of its own.
    """
    inner = unwrap(model)
    _require_served(inner)
    kept = HeadOutputs()
    with _watching(model, inner, _Keep(inner, kept)):
        yield kept


@contextmanager
def keep_means(model: nn.Module) -> Iterator[HeadMeans]:
    """Average each head's output over all real positions of all passes inside the block.

    Every position weighs the same, so a long text counts for more than a short one.

    Raises:
        AttentionUnavailableError: the model has an attention of its own.
    """
    inner = unwrap(model)
    _require_served(inner)
    kept = HeadMeans()
    with _watching(model, inner, _Average(inner, kept)):
        yield kept


def repeated_pass(
    model: nn.Module,
    inputs: Mapping[str, Any],
    changes: Iterable[Change] = (),
    *,
    copies: int = 1,
    last: bool = False,
    cancel: Callable[[], bool] | None = None,
) -> Any:
    """One pass over ``copies`` copies of a text in eval mode without gradients, heads changed.

    Training mode is put back module by module, as by :func:`lmkit.capture.trace_forward`.

    Args:
        model: As for :func:`intervene`.
        inputs: Keyword arguments of the model for a batch of one text.
        changes: What to change; ``Change.text`` says in which copy.
        copies: Texts in the batch.
        last: Ask for the last position's logits alone, where the model takes ``logits_to_keep``.
        cancel: Asked at each layer.

    Raises:
        AttentionUnavailableError, Cancelled, CaptureError: as :func:`intervene`.
    """
    given = {
        key: value.expand(copies, *value.shape[1:]).contiguous()
        if copies > 1 and isinstance(value, torch.Tensor) and value.dim() and value.shape[0] == 1
        else value
        for key, value in inputs.items()
    }
    forward = getattr(unwrap(model), "forward", model)
    if last and "logits_to_keep" in inspect.signature(forward).parameters:
        given.setdefault("logits_to_keep", 1)
    training = [m for m in model.modules() if m.training]
    for module in training:
        module.training = False
    try:
        with torch.no_grad(), intervene(model, changes, cancel=cancel):
            return model(**given)
    finally:
        for module in training:
            module.training = True


class HeadOutputs:
    """Each head's output of one pass, before W_O; on the model's device, in its dtype."""

    def __init__(self) -> None:
        self.spots: list[Spot] = []
        self._kept: dict[Spot, torch.Tensor] = {}

    def of(self, layer: int | str, head: int, *, call: int = 0, text: int = 0) -> torch.Tensor:
        """Output of one head: (Q, w). ``layer`` and ``call`` as for :class:`Change`.

        Raises:
            CaptureError: no such layer, head or text.
        """
        tensor = _look_up(self._kept, self.spots, layer, call)
        if not 0 <= text < tensor.shape[0]:
            raise CaptureError(f"Text {text} is not in this batch of {tensor.shape[0]}.")
        return tensor[text, :, _head(head, tensor.shape[2], str(layer))]

    def _add(self, spot: Spot, out: torch.Tensor) -> None:
        if spot not in self._kept:
            self.spots.append(spot)
        self._kept[spot] = out


class HeadMeans:
    """Each head's mean output over texts, before W_O; float32 on the model's device."""

    def __init__(self) -> None:
        self.spots: list[Spot] = []
        self._sums: dict[Spot, torch.Tensor] = {}
        self._counts: dict[Spot, torch.Tensor] = {}

    def of(self, layer: int | str, head: int, *, call: int = 0) -> torch.Tensor:
        """Mean output of one head: (w,). ``layer`` and ``call`` as for :class:`Change`.

        Raises:
            CaptureError: no such layer or head.
        """
        total = _look_up(self._sums, self.spots, layer, call)
        count = _look_up(self._counts, self.spots, layer, call)
        return total[_head(head, total.shape[0], str(layer))] / count

    def _add(self, spot: Spot, out: torch.Tensor, valid: torch.Tensor | None) -> None:
        values = out.float()
        if valid is None:
            total = values.sum((0, 1))
            count = torch.tensor(float(out.shape[0] * out.shape[1]), device=out.device)
        else:
            # Not a product: at padding some kernels put out NaN.
            total = values.masked_fill(~valid[:, :, None, None], 0.0).sum((0, 1))
            count = valid.sum().float()
        if spot not in self._sums:
            self.spots.append(spot)
            self._sums[spot], self._counts[spot] = total, count
        else:
            self._sums[spot] = self._sums[spot] + total
            self._counts[spot] = self._counts[spot] + count


class _Watch(ABC):
    """Which call of which module the pass is at; what stands between the closure and a purpose.

    Layers are numbered in the order in which the block first met them, calls of one module
    anew in each pass: so the decoder's layers keep their numbers over the steps of generate().
    """

    def __init__(self, model: nn.Module, cancel: Callable[[], bool] | None = None) -> None:
        self.names = {id(module): clean_name(name) for name, module in model.named_modules()}
        self.two_stacks = bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))
        self.cancel = cancel
        self.index: dict[Spot, int] = {}
        self.passes = 0
        self._calls: dict[str, int] = {}
        self._masks: dict[str, torch.Tensor] = {}

    def start(self, module: nn.Module, args: Any, kwargs: dict[str, Any] | None = None) -> None:
        """The model's pre-hook; ``kwargs`` lacks where another thread met it as it was removed."""
        if kwargs is None or self not in CHANGING.get():
            return
        self._poll()
        self.passes += 1
        self._calls.clear()
        if args:
            given = inspect.signature(module.forward).bind_partial(*args).arguments
            kwargs = {**given, **kwargs}
        self._masks = {
            key: mask
            for key in ("attention_mask", "decoder_attention_mask")
            if isinstance(mask := kwargs.get(key), torch.Tensor) and mask.dim() == 2
        }

    def changed(self, module: nn.Module, query: torch.Tensor, out: Any) -> Any:
        """The closure's question: what to give the module instead of ``out``."""
        self._poll()
        name = self.names[id(module)]
        call = self._calls.get(name, 0)
        self._calls[name] = call + 1
        spot = (name, call)
        index = self.index.setdefault(spot, len(self.index))
        result = out[0] if isinstance(out, tuple) else out
        batch, heads, queries = query.shape[:3]
        flat = result.dim() == 3
        seen = result.view(*result.shape[:2], heads, -1) if flat else result
        if seen.shape[:3] != (batch, queries, heads):
            raise AttentionUnavailableError(
                f"Layer {name} put out the shape {tuple(result.shape)}; expected "
                f"({batch}, {queries}, {heads}, head size): its heads can't be told apart."
            )
        new = self.act(spot, index, seen)
        if new is seen:
            return out
        if flat:
            new = new.reshape(result.shape)
        return (new, *out[1:]) if isinstance(out, tuple) else new

    @abstractmethod
    def act(self, spot: Spot, index: int, out: torch.Tensor) -> torch.Tensor:
        """What takes the place of ``out`` (B, Q, H, w); itself where nothing does."""

    def valid(self, name: str, out: torch.Tensor) -> torch.Tensor | None:
        """(B, Q) True at real positions, None where all are."""
        decoder = self.two_stacks and "decoder" in name.split(".")
        mask = self._masks.get("decoder_attention_mask" if decoder else "attention_mask")
        if mask is None or mask.shape[0] != out.shape[0] or mask.shape[1] < out.shape[1]:
            return None
        # A cached step asks with its new positions, the mask's last.
        return mask[:, mask.shape[1] - out.shape[1] :].bool().to(out.device)

    def _poll(self) -> None:
        if self.cancel is not None and self.cancel():
            raise Cancelled("Stopped between two layers.")


class _Changes(_Watch):
    def __init__(
        self,
        model: nn.Module,
        changes: tuple[Change, ...],
        cancel: Callable[[], bool] | None,
    ) -> None:
        super().__init__(model, cancel)
        self.changes = changes
        self._applied: set[int] = set()

    def act(self, spot: Spot, index: int, out: torch.Tensor) -> torch.Tensor:
        mine = [
            (number, change)
            for number, change in enumerate(self.changes)
            if change.layer == index or (change.layer == spot[0] and change.call in (None, spot[1]))
        ]
        if not mine:
            return out
        new = out.clone()
        for number, change in mine:
            head = _head(change.head, out.shape[2], spot[0])
            if change.text is not None and not 0 <= change.text < out.shape[0]:
                raise CaptureError(f"Text {change.text} is not in this batch of {out.shape[0]}.")
            texts = slice(None) if change.text is None else slice(change.text, change.text + 1)
            self._put(spot[0], change, new, texts, head)
            self._applied.add(number)
        return new

    def _put(self, name: str, change: Change, new: torch.Tensor, texts: slice, head: int) -> None:
        place = new[texts, :, head]  # (b, Q, w), a view
        queries, width = place.shape[1:]
        if isinstance(change.to, torch.Tensor):
            values = change.to.to(place.device, place.dtype)
            if values.shape[-1] != width:
                raise CaptureError(
                    f"The values for head {head} of {name} have width {values.shape[-1]}; "
                    f"its output has {width}.",
                    hint="Take them from a pass of the same model.",
                )
            if values.dim() == 2 and values.shape[0] != queries:
                if not change.at_end:
                    raise CaptureError(
                        f"The values for head {head} of {name} are of {values.shape[0]} "
                        f"positions; this text has {queries}.",
                        hint="Give a text of as many tokens, or align both at their end.",
                    )
                count = min(values.shape[0], queries)
                place[:, queries - count :] = values[values.shape[0] - count :]
            else:
                place[:] = values
        elif change.to == "zero":
            place[:] = 0
        else:
            if queries == 1:
                raise CaptureError(
                    f"Layer {name} has a single position in this pass: the mean over it would "
                    "change nothing.",
                    hint="Give the mean over other texts instead.",
                )
            valid = self.valid(name, new)
            if valid is None:
                place[:] = place.mean(1, keepdim=True)
            else:
                real = valid[texts, :, None]
                total = place.float().masked_fill(~real, 0.0).sum(1, keepdim=True)
                place[:] = (total / real.sum(1, keepdim=True).clamp_min(1)).to(place.dtype)

    def require_applied(self) -> None:
        """Raise where a change found no layer: a silent nothing would look like no effect.

        Raises:
            CaptureError: no pass ran, or there is no such layer.
        """
        left = [c for number, c in enumerate(self.changes) if number not in self._applied]
        if not left:
            return
        if not self.index:
            raise CaptureError(
                "No forward pass of this model ran inside the block.",
                hint="Call the model itself, in the thread that opened the block.",
            )
        which = left[0].layer if left[0].call is None else f"{left[0].layer}, call {left[0].call}"
        raise CaptureError(
            f"Layer {which} did not run: the pass called {len(self.index)} attention layers, "
            f"counted from 0.",
            hint=f"They are {_some([name for name, _ in self.index])}.",
        )


class _Keep(_Watch):
    def __init__(self, model: nn.Module, kept: HeadOutputs) -> None:
        super().__init__(model)
        self._kept = kept

    def act(self, spot: Spot, index: int, out: torch.Tensor) -> torch.Tensor:
        # A copy: the function's own memory may be the next layer's.
        self._kept._add(spot, out.detach().clone())
        return out


class _Average(_Watch):
    def __init__(self, model: nn.Module, kept: HeadMeans) -> None:
        super().__init__(model)
        self._kept = kept

    def act(self, spot: Spot, index: int, out: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            self._kept._add(spot, out.detach(), self.valid(spot[0], out))
        return out


@contextmanager
def _watching(model: nn.Module, inner: nn.Module, watch: _Watch) -> Iterator[None]:
    with ExitStack() as stack:
        run_uncompiled(inner, model, stack)
        token = CHANGING.set((*CHANGING.get(), watch))
        stack.callback(CHANGING.reset, token)
        install()
        direct = _direct(inner)
        if direct:
            stack.enter_context(ChangedCalls(direct, watch))
        handle = inner.register_forward_pre_hook(watch.start, with_kwargs=True)
        stack.callback(handle.remove)
        yield


def _direct(inner: nn.Module) -> dict[str, nn.Module]:
    """Modules that call torch's function themselves, by name; none where the model left it."""
    return sdpa_modules(inner) if on_sdpa(inner) else {}


def _require_served(inner: nn.Module) -> None:
    if interface_modules(inner) or _direct(inner):
        return
    name = type(inner).__name__
    if sdpa_modules(inner):
        raise AttentionUnavailableError(
            f"The heads of {name} can't be changed on eager attention: there it mixes them "
            "inside its own forward pass.",
            hint="Load the model with attn_implementation='sdpa'.",
        )
    raise AttentionUnavailableError(
        f"The heads of {name} can't be changed: it calls neither transformers' attention "
        "interface nor torch's scaled_dot_product_attention.",
        hint="BERT, GPT-2, Llama, Falcon and most others do; BLOOM, MPT and DeBERTa have "
        "an attention of their own.",
    )


def _head(head: int, count: int, layer: str) -> int:
    if not -count <= head < count:
        raise CaptureError(f"Head {head} is not in layer {layer}, which has {count} heads.")
    return head % count


def _look_up(
    kept: dict[Spot, torch.Tensor], spots: Sequence[Spot], layer: int | str, call: int
) -> torch.Tensor:
    if isinstance(layer, int):
        if not 0 <= layer < len(spots):
            raise CaptureError(f"There is no layer {layer}: {len(spots)} ran, counted from 0.")
        return kept[spots[layer]]
    found = kept.get((layer, call))
    if found is None:
        raise CaptureError(f"Call {call} of layer {layer} did not run in this pass.")
    return found


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"
