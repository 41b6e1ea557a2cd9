"""``capture`` and ``trace_forward``: one block, one recorder, everything undone at its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from lmkit.capture.anatomy import (
    attention_like_modules,
    clean_name,
    image_patches,
    interface_modules,
    layer_names,
    layer_of,
    own_attention,
    sdpa_modules,
    unwrap,
)
from lmkit.capture.fallback import Fallback
from lmkit.capture.offload import Offload
from lmkit.capture.recorder import ACTIVE, Recorder, install
from lmkit.capture.sdpa_calls import RecordedCalls
from lmkit.capture.switching import foreign_implementation, on_implementation
from lmkit.capture.trace import Trace
from lmkit.capture.watching import watch_generation
from lmkit.errors import AttentionUnavailableError, CaptureError

__all__ = ["TOLERANCE", "capture", "trace_forward"]

#: Largest deviation of A.v from the layer's output, relative to max|v|, that counts as the same
#: attention. Wrong masks and swapped heads give 0.8 and more on trained models.
TOLERANCE: dict[torch.dtype, float] = {
    torch.float64: 5e-3,
    torch.float32: 5e-3,
    torch.float16: 2e-2,
    torch.bfloat16: 6e-2,
}
# Eager attention rounds the scores themselves to the model's dtype before the softmax: a bfloat16
# score of 50 is off by up to 0.125. There the model, not the record, is the noisy side.
_EAGER_HALF = 4.0


@contextmanager
def capture(
    model: nn.Module,
    *,
    values: bool = False,
    check: bool = True,
    budget: int | None = None,
    offload: Offload = "auto",
    cancel: Callable[[], bool] | None = None,
    on_layer: Callable[[int, int], None] | None = None,
    gradients: bool = False,
) -> Iterator[Trace]:
    """Record the attention of the forward passes of ``model`` inside the block.

    The model runs what it would run without: same functions, same config, same output. Only
    passes in this block's own context are recorded, not those of other threads. Flash and flex
    attention, and models with an attention of their own, run the block on another implementation
    (named in ``trace.path``) under a lock, and are put back.

    Args:
        model: A transformers model; wrappers of torch.compile and peft are looked through.
        values: Keep the value vectors too, and how long each is behind the output projection.
        check: Compare A.v with each layer's real output for sampled rows and heads. A layer that
            doesn't agree makes the trace refuse its numbers.
        budget: Most bytes to keep, masks and copies in the host's memory included.
        offload: Where to keep queries and keys: ``"auto"`` moves them to the host's memory where
            the accelerator is short, ``"host"`` always, ``"never"``; or a function that is asked
            at each layer with the device and the bytes to be kept.
        cancel: Asked at each layer; True stops the pass.
        on_layer: Told (layers done, layers expected) after each layer.
        gradients: Keep the tensors of the pass themselves, with their graph, for a loss on
            :meth:`Trace.tensors`; end the block before the backward pass.

    Yields:
        A :class:`Trace`, complete after the block. A model without attention leaves a trace whose
        ``error`` says so and whose numbers raise it; the pass itself is not disturbed.

    Raises:
        BudgetExceededError: in the pass, when what is kept outgrows ``budget``.
        Cancelled: in the pass, when ``cancel`` answers True.
        CaptureError: no pass of the model ran in the block, or transformers is too old.

    Example:
        >>> with capture(model) as trace:      # doctest: +SKIP
        ...     output = model(**inputs)
        >>> trace.attention(layer=0, head=3)   # doctest: +SKIP
    """
    trace = Trace()
    inner = unwrap(model)
    served = list(interface_modules(inner))
    direct = sdpa_modules(inner) if on_sdpa(inner) else {}
    own = own_attention(inner, [*served, *direct])
    recorder = Recorder(
        inner,
        values=values,
        check=check,
        budget=budget,
        offload=offload,
        cancel=cancel,
        on_layer=on_layer,
        gradients=gradients,
    )
    seen = _Passes(recorder)
    fallback: Fallback | None = None
    switched: str | None = None
    with ExitStack() as stack:
        stack.callback(recorder.close)
        run_uncompiled(inner, model, stack)
        token = ACTIVE.set((*ACTIVE.get(), recorder))
        stack.callback(ACTIVE.reset, token)
        if served:
            install()
            foreign = foreign_implementation(inner)
            if foreign is not None:
                target = "sdpa" if getattr(inner, "_supports_sdpa", False) else "eager"
                stack.enter_context(on_implementation(inner, target, cancel))
                switched = foreign
        watch_generation()
        for root in _roots(inner):
            stack.callback(root.register_forward_pre_hook(seen.start, with_kwargs=True).remove)
            stack.callback(root.register_forward_hook(seen.end, always_call=True).remove)
        if recorder.projections is not None:
            stack.enter_context(recorder.projections.watching(inner))
        if direct:
            stack.enter_context(RecordedCalls(direct, recorder))
        if own:
            mixed = bool(served or direct)
            if not mixed and _implementation(inner) not in (None, "eager"):
                stack.enter_context(on_implementation(inner, "eager", cancel))
            # Asking must not change what the modules run on that are recorded in another way.
            ask = not mixed or _implementation(inner) == "eager"
            fallback = Fallback(inner, own, recorder, ask=ask)
            stack.callback(fallback.remove)
        yield trace
        _finish(trace, inner, recorder, fallback, seen, switched)


def trace_forward(
    model: nn.Module,
    inputs: Mapping[str, Any],
    *,
    values: bool = False,
    check: bool = True,
    budget: int | None = None,
    offload: Offload = "auto",
    cancel: Callable[[], bool] | None = None,
    on_layer: Callable[[int, int], None] | None = None,
) -> Trace:
    """One forward pass in eval mode without gradients, captured.

    Training mode is put back module by module. The key-value cache is taken out of the output
    unless ``inputs`` asks for it by ``use_cache``: it would keep the keys and values of all
    layers alive. The pass itself runs with the model's default, since models exist (FSMT) that
    compute something else without a cache.

    Args:
        model: As for :func:`capture`.
        inputs: Keyword arguments of the model, on its device (what a tokenizer returns).
        values: See :func:`capture`, as for the rest.
        check: Compare A.v with the layers' output.
        budget: Most bytes to keep.
        offload: Where to keep queries and keys.
        cancel: Asked at each layer.
        on_layer: Told the progress.

    Returns:
        The trace, with the model's output in ``trace.output``, also where the model has no
        attention.

    Raises:
        BudgetExceededError, Cancelled, CaptureError: as :func:`capture`.
    """
    arguments = dict(inputs)
    training = [m for m in model.modules() if m.training]
    for module in training:
        module.training = False
    try:
        with (
            torch.no_grad(),
            capture(
                model,
                values=values,
                check=check,
                budget=budget,
                offload=offload,
                cancel=cancel,
                on_layer=on_layer,
            ) as trace,
        ):
            output = model(**arguments)
    finally:
        for module in training:
            module.training = True
    trace.output = output if arguments.get("use_cache") else _without_cache(output)
    return trace


# transformers 5.24 renamed past_key_values and cache_params to cache.
_CACHES = frozenset({"cache", "cache_params", "past_key_values"})


def _without_cache(output: Any) -> Any:
    if hasattr(output, "items") and any(name in _CACHES for name, _ in output.items()):
        return type(output)(**{k: v for k, v in output.items() if k not in _CACHES})
    return output


class _Passes:
    """Counts the passes of the whole model, and keeps the first one's padding mask."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.count = 0
        self.patches: torch.Tensor | int | None = None

    def start(self, module: nn.Module, args: Any, kwargs: dict[str, Any] | None = None) -> None:
        """The pre-hook; ``kwargs`` lacks where another thread met it while it was taken off."""
        recorder = self.recorder
        if kwargs is None or recorder not in ACTIVE.get():
            return
        recorder.poll()
        self.count += 1
        recorder.step += 1
        if args and isinstance(args[0], torch.Tensor):
            recorder.passes.begin(recorder.step, {"input_ids": args[0], **kwargs})
        else:
            recorder.passes.begin(recorder.step, kwargs)
        if self.patches is None:
            self.patches = image_patches(module, kwargs)
        mask = kwargs.get("attention_mask")
        if recorder.padding is None and isinstance(mask, torch.Tensor) and mask.dim() == 2:
            recorder.padding = mask.detach().clone()

    def end(self, module: nn.Module, args: Any, output: Any) -> None:
        """The hook after a pass, one that failed included."""
        if self.recorder in ACTIVE.get():
            self.recorder.end_pass()


def _roots(model: nn.Module) -> list[nn.Module]:
    """The modules whose call is a pass: the model, and the one in peft's wrapper.

    The wrapper calls the ``forward`` of the inner one, its ``generate()`` the inner one itself.
    """
    base = getattr(model, "get_base_model", None)
    inner = base() if callable(base) else model
    return [model, inner] if isinstance(inner, nn.Module) and inner is not model else [model]


def _implementation(model: nn.Module) -> str | None:
    return getattr(getattr(model, "config", None), "_attn_implementation", None)


def on_sdpa(model: nn.Module) -> bool:
    """Whether modules that branch between SDPA and a softmax of their own take SDPA."""
    return _implementation(model) in (None, "sdpa")


def run_uncompiled(inner: nn.Module, model: nn.Module, stack: ExitStack) -> None:
    """A compiled graph has its attention inlined: the block runs the Python it came from."""
    compiled = model is not inner or any(
        getattr(m, "_compiled_call_impl", None) is not None for m in inner.modules()
    )
    if compiled:
        stack.enter_context(torch.compiler.set_stance("force_eager"))


def _finish(
    trace: Trace,
    model: nn.Module,
    recorder: Recorder,
    fallback: Fallback | None,
    passes: _Passes,
    switched: str | None,
) -> None:
    recorder.settle()
    error: CaptureError | None = None
    if not recorder.records:
        if passes.count == 0:
            raise CaptureError(
                "No forward pass of this model ran inside the block.",
                hint="Call the model itself, in the thread that opened the block.",
            )
        error = _nothing(model, recorder, fallback)
    written = recorder.overwritten()
    if written and error is None:
        error = CaptureError(
            f"The queries or keys of {written[0]} were overwritten during the pass.",
            hint="Run the model with a dynamic cache or without one.",
        )
    worst = _deviations(recorder)
    if error is None:
        error = _untrue(recorder, worst)
    recorded = {r.name for r in recorder.records}
    attention = [*interface_modules(model), *attention_like_modules(model)]
    layers = [clean_name(n) for n in layer_names(model, attention)]
    with_record = {layer_of(n, layers) for n in recorded}
    missing = [n for n in layers if n not in with_record]
    missing += [
        n for n in recorder.expected if n not in recorded and layer_of(n, layers) not in missing
    ]
    paths = sorted({r.path for r in recorder.records})
    path = " + ".join(paths)
    if switched is not None and fallback is None:
        path += f" (switched from {switched})"
    if error is None:
        error = _unlike(recorder)
    trace._held.passes = recorder.passes if error is None else None
    trace._finish(
        list(recorder.records) if error is None else [],
        path=path,
        missing=missing,
        deviations=worst,
        padding=recorder.padding,
        patches=passes.patches,
        error=error,
    )


def _nothing(model: nn.Module, recorder: Recorder, fallback: Fallback | None) -> CaptureError:
    name = type(model).__name__
    if fallback is not None and fallback.problem is not None:
        return fallback.problem
    if fallback is not None:
        return AttentionUnavailableError(
            f"{name} has an attention of its own and did not return it.",
            hint="Load it with attn_implementation='eager' and look whether "
            "output_attentions=True gives anything.",
        )
    if recorder.expected:
        return AttentionUnavailableError(
            f"{name} ran without calling the attention of its {len(recorder.expected)} layers.",
            hint="Call it without output_attentions=True, which some models answer on a way of "
            "their own.",
        )
    return AttentionUnavailableError(
        f"{name} has no attention: its layers mix tokens in another way, such as a state space, "
        "a recurrence, a convolution or a Fourier transform.",
        hint="Its output is there as usual; only the attention views have nothing to show.",
    )


def _deviations(recorder: Recorder) -> dict[str, float]:
    if not recorder.deviations:
        return {}
    stacked = torch.stack([d.cpu().double() for _, d in recorder.deviations])
    worst: dict[str, float] = {}
    for (name, _), value in zip(recorder.deviations, stacked.tolist(), strict=True):
        worst[name] = max(worst.get(name, 0.0), value if value == value else float("inf"))
    return worst


def _untrue(recorder: Recorder, worst: dict[str, float]) -> CaptureError | None:
    for record in recorder.records:
        limit = TOLERANCE.get(record.dtype, 6e-2)
        if record.path == "eager" and record.dtype in (torch.float16, torch.bfloat16):
            limit *= _EAGER_HALF
        name = record.name
        if worst.get(name, 0.0) > limit:
            return AttentionUnavailableError(
                f"The attention recomputed for layer {name} does not give what the layer put out "
                f"(off by {worst[name]:.2g} of the largest value): it would be a wrong picture.",
                hint="Capture with check=False to look at it anyway.",
            )
    return None


def _unlike(recorder: Recorder) -> CaptureError | None:
    """Whether a step of a generation saw other keys than those kept of the steps before."""
    dtypes = {r.name: r.dtype for r in recorder.records}
    for run in recorder.passes.runs:
        for name, difference in run.differences.items():
            # The same numbers, or the same product once more (latent attention expands them).
            limit = 16 * torch.finfo(dtypes[name]).eps
            if not float(difference) <= limit:
                return AttentionUnavailableError(
                    f"A step saw other keys in layer {name} than earlier steps computed (off by "
                    f"{float(difference):.2g} of the largest): it would be a wrong picture.",
                    hint="Generate with a dynamic cache.",
                )
    return None
