"""Recording inside a forward pass: the interface's pass-through and the recorder it feeds.

``AttentionInterface.get_interface`` and ``__getitem__`` are replaced once per process by
pass-throughs. Where no capture is active in the current context they return the very function
that was registered (the cost is one ContextVar lookup per layer); inside a capture they return a
closure around that same function. So the model runs what it would have run, its config and the
registry stay as they are, and other threads see nothing. Interventions
(:mod:`lmkit.capture.interventions`) change what the function returned through the same closure,
after the recorder saw it: a record and its self-check are of what the layer computed itself.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from typing import Any, Protocol

import torch
from torch import nn

from lmkit.capture.anatomy import (
    clean_name,
    interface_modules,
    is_cross_name,
    role_of,
    turns_positions,
)
from lmkit.capture.generation import Passes
from lmkit.capture.offload import Offload, keeps_in_host_memory
from lmkit.capture.output_projection import OutputProjections
from lmkit.capture.records import CallRecord, KeptMask, QKRecord, storage_bytes
from lmkit.capture.steps import CachedRun, StepRecord
from lmkit.errors import BudgetExceededError, Cancelled, CaptureError

__all__ = ["ACTIVE", "CHANGING", "Changer", "Recorder", "install"]

ACTIVE: ContextVar[tuple[Recorder, ...]] = ContextVar("lmkit_capture", default=())
CHANGING: ContextVar[tuple[Changer, ...]] = ContextVar("lmkit_changing", default=())
_install_lock = threading.Lock()
Function = Callable[..., Any]
# Rows of each layer that the self-check looks at: the last, and those evenly before it. One head a
# layer, another in each, unless the model has fewer layers than _CHECK_HEADS.
_CHECK_ROWS = 4
_CHECK_HEADS = 4
_GOLDEN = 0.618034  # multiples of it fall evenly into the heads, however many there are


class Changer(Protocol):
    """Sees what attention functions return and may put something else in its place."""

    names: dict[int, str]
    """Name of each module that it concerns, by the module's id."""

    def changed(self, module: nn.Module, query: torch.Tensor, out: Any) -> Any:
        """What the module gets instead of ``out``; ``out`` itself where nothing changes."""
        ...


def install() -> None:
    """Put the pass-throughs in place; does nothing when they are there.

    Raises:
        CaptureError: transformers has no attention interface (older than 4.48).
    """
    try:
        from transformers.modeling_utils import AttentionInterface
    except ImportError as error:
        raise CaptureError(
            "Capture needs transformers with its attention interface.",
            hint="Install transformers 5 or newer: pip install -U transformers",
        ) from error
    interface: Any = AttentionInterface
    with _install_lock:
        if getattr(interface, "_lmkit_installed", False):
            return
        plain_item: Callable[..., Function] = interface.__getitem__
        plain_get: Callable[..., Function] | None = getattr(interface, "get_interface", None)

        @wraps(plain_item)
        def item(self: Any, key: str) -> Function:
            function = plain_item(self, key)
            if torch.compiler.is_compiling() or not (ACTIVE.get() or CHANGING.get()):
                return function
            return _recording(function, key)

        interface.__getitem__ = item
        if plain_get is not None:
            resolve = plain_get

            @wraps(resolve)
            def get(self: Any, attn_implementation: str, default: Function) -> Function:
                function = resolve(self, attn_implementation, default)
                if torch.compiler.is_compiling() or not (ACTIVE.get() or CHANGING.get()):
                    return function
                return _recording(function, attn_implementation)

            interface.get_interface = get
        interface._lmkit_installed = True


def _recording(function: Function, implementation: str | None) -> Function:
    if getattr(function, "_lmkit_recording", False):
        return function

    def attention(
        module: nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        recorders = [r for r in ACTIVE.get() if id(module) in r.names]
        for recorder in recorders:
            recorder.poll()
        out = function(module, query, key, value, attention_mask, *args, **kwargs)
        if recorders:
            if args:
                bound = inspect.signature(function).bind_partial(
                    module, query, key, value, attention_mask, *args
                )
                named = dict(list(bound.arguments.items())[5:])
                kwargs = {**named, **kwargs}
            for recorder in recorders:
                recorder.record(
                    module, query, key, value, attention_mask, kwargs, out, implementation
                )
        for changer in CHANGING.get():
            if id(module) in changer.names:
                out = changer.changed(module, query, out)
        return out

    attention._lmkit_recording = True  # type: ignore[attr-defined]
    return attention


class Recorder:
    """Collects the records of one model in one ``with`` block.

    It holds the model's modules by id and only until the block ends; what it hands on, the
    records, holds tensors and names.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        values: bool,
        check: bool,
        budget: int | None,
        offload: Offload,
        cancel: Callable[[], bool] | None,
        on_layer: Callable[[int, int], None] | None,
        gradients: bool = False,
    ) -> None:
        self.gradients = gradients
        self.names: dict[int, str] = {
            id(module): clean_name(name) for name, module in model.named_modules()
        }
        self.expected: list[str] = [clean_name(name) for name in interface_modules(model)]
        self.encoder_decoder = bool(
            getattr(getattr(model, "config", None), "is_encoder_decoder", False)
        )
        self.values = values
        measured = values and not gradients
        self.projections = OutputProjections(self._recording, self.spend) if measured else None
        self.check = check
        self.budget = budget
        self._in_host_memory = keeps_in_host_memory(offload)
        self.cancel = cancel
        self.on_layer = on_layer
        self.total = len(self.expected)
        self.records: list[CallRecord] = []
        self.deviations: list[tuple[str, torch.Tensor]] = []
        self.step = -1
        self.padding: torch.Tensor | None = None
        self.passes = Passes(self.spend)
        self.done = 0
        self._calls: dict[str, int] = {}
        self._masks: dict[tuple[Any, ...], KeptMask] = {}
        self._given_masks: list[torch.Tensor] = []
        self._versions: list[tuple[str, torch.Tensor, int]] = []
        self._kept_bytes = 0

    def _recording(self) -> bool:
        return self in ACTIVE.get()

    # during the pass

    def poll(self) -> None:
        """Stop here if the user asked for it."""
        if self.cancel is not None and self.cancel():
            raise Cancelled("Stopped between two layers; no attention was kept.")

    def progress(self) -> None:
        """One more layer is through."""
        self.done += 1
        if self.on_layer is not None:
            self.on_layer(self.done, max(self.done, self.total))

    def spend(self, need: int) -> None:
        """Count bytes that are about to be kept.

        Raises:
            BudgetExceededError: they no longer fit.
        """
        self._kept_bytes += need
        if self.budget is not None and self._kept_bytes > self.budget:
            whole = max(self._kept_bytes, self._kept_bytes * self.total // max(1, self.done + 1))
            raise BudgetExceededError(
                f"Keeping the attention of this pass needs about {whole:,} bytes; "
                f"the budget is {self.budget:,} bytes.",
                hint="Use a shorter text, close other views, or raise the budget.",
            )

    def expect(self, names: list[str]) -> None:
        """Count modules of these names among those that are to be recorded."""
        self.expected.extend(names)
        self.total = len(self.expected)

    def next_call(self, name: str) -> int:
        """How many times the module of this name was called before."""
        call = self._calls.get(name, 0)
        self._calls[name] = call + 1
        return call

    def record(
        self,
        module: nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None,
        options: dict[str, Any],
        out: Any,
        implementation: str | None,
    ) -> None:
        """Keep one call of ``module``; called after the registered function returned."""
        name = self.names[id(module)]
        cross = is_cross_name(name, module)
        run = self.passes.current
        if run is not None and (
            role_of(name, encoder_decoder=self.encoder_decoder, causal=True, cross=cross)
            == "encoder"
            or not run.takes(name, cross, query, key)
        ):
            run = None
        with torch.no_grad():
            made = self._make(
                module, name, cross, query, key, value, mask, options, implementation, run
            )
            dropout = float(options.get("dropout") or 0.0)
            if self.check and dropout == 0.0:
                self._compare(made, value, out)
            self.records.append(made if run is None else run.add(made, cross))
            if self.projections is not None and run is None:
                self.projections.expect(made, value, out)
            elif self.projections is not None and run is not None:
                fresh = run.fresh(made.name, value)
                keep = functools.partial(run.keep_norms, made.name)
                if fresh is not None:
                    self.projections.expect(made, fresh, out, keep)
        self.progress()

    def _make(
        self,
        module: nn.Module,
        name: str,
        cross: bool,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None,
        options: dict[str, Any],
        implementation: str | None,
        run: CachedRun | None,
    ) -> QKRecord:
        """What the layer was called with; kept by reference alone where ``run`` copies the new."""
        eager = implementation is None or implementation.endswith("eager")
        batch, heads, queries, width = query.shape
        kv_heads, keys = key.shape[1], key.shape[2]
        if heads % kv_heads:
            raise CaptureError(
                f"Layer {name} has {heads} heads over {kv_heads} key-value heads, "
                "which do not divide."
            )
        flag = options.get("is_causal")
        if flag is None:
            flag = getattr(module, "is_causal", True)
        # The eager functions get their causality in the mask alone; SDPA takes the flag when
        # there is no mask, and aligns it to the first key.
        first_rows = not eager and mask is None and queries > 1 and bool(flag)
        scale = options.get("scaling")
        bias = options.get("position_bias")
        given = [m for m in (bias, mask) if isinstance(m, torch.Tensor)]
        # A cached step hands over the cache's own tensor, which the next step may overwrite.
        growing = not cross and keys != queries
        wanted = [query, key, *([value] if self.values else ())]
        need = sum(t.numel() * t.element_size() for t in wanted)
        away = run is None and self._in_host_memory(query.device, need)
        masks = tuple(KeptMask(m.detach()) if run else self._keep_mask(m, away=away) for m in given)
        sinks = options.get("s_aux")
        if sinks is None:
            sinks = options.get("sinks")
        if sinks is not None and (sinks.numel() != heads or implementation == "sdpa"):
            sinks = None
        softcap = options.get("softcap")
        window = options.get("sliding_window", getattr(module, "sliding_window", None))
        return QKRecord(
            name=name,
            role="cross" if cross else "",
            # An encoder that generate() calls by itself belongs to the pass that follows.
            step=self.step if self.passes.within else self.step + 1,
            call=self.next_call(name),
            heads=heads,
            kv_heads=kv_heads,
            queries=queries,
            keys=keys,
            batch=batch,
            causal=first_rows,
            window=int(window) if isinstance(window, int) and window > 0 else None,
            path="eager" if eager else str(implementation),
            query=self._keep(name, query, run, away=away),
            key=self._keep(name, key, run, copy=growing, away=away),
            value=self._keep(name, value, run, copy=growing, away=away) if self.values else None,
            scale=float(scale) if scale is not None else width**-0.5,
            masks=masks,
            first_rows=first_rows,
            softcap=float(softcap) if softcap else None,
            sinks=None if sinks is None else sinks.detach().reshape(-1).clone(),
            work_device=query.device if away else None,
            rotary=turns_positions(module),
        )

    def _keep(
        self,
        name: str,
        tensor: torch.Tensor,
        run: CachedRun | None,
        *,
        copy: bool = False,
        away: bool = False,
    ) -> torch.Tensor:
        if self.gradients:
            # The graph holds it anyway, and a copy would cut the gradient off.
            return tensor
        kept = tensor.detach()
        if run is not None:
            return kept
        own = kept.numel() * kept.element_size()
        if away:
            self.spend(own)
            return kept.to("cpu", copy=True, memory_format=torch.contiguous_format)
        if copy or kept.untyped_storage().nbytes() > own + own // 16:
            self.spend(own)
            return kept.clone(memory_format=torch.contiguous_format)
        self.spend(own)
        if not kept.is_inference():
            self._versions.append((name, kept, kept._version))
        return kept

    def _keep_mask(self, mask: torch.Tensor, *, away: bool = False) -> KeptMask:
        kept = mask.detach()
        key = (
            away,
            str(kept.device),
            kept.untyped_storage().data_ptr(),
            kept.storage_offset(),
            tuple(kept.shape),
            kept.stride(),
            kept.dtype,
        )
        found = self._masks.get(key)
        if found is None:
            self.spend(storage_bytes([kept]))
            if away:
                # Held so that its memory, which the key names, is not given to another mask.
                self._given_masks.append(kept)
                kept = kept.to("cpu", copy=True)
            found = self._masks[key] = KeptMask(kept)
        return found

    def _compare(self, made: QKRecord, value: torch.Tensor, out: Any) -> None:
        """A.v of sampled rows and heads against what the layer put out, relative to max|v|."""
        result = out[0] if isinstance(out, tuple) else out
        if result.dim() == 3:  # (batch, queries, heads * width)
            result = result.view(*result.shape[:2], made.heads, -1)
        if result.shape[:3] != (made.batch, made.queries, made.heads):
            raise CaptureError(
                f"Layer {made.name} put out the shape {tuple(result.shape)}; expected "
                f"({made.batch}, {made.queries}, {made.heads}, head size)."
            )
        index = len(self.records)
        b = index % made.batch
        group = made.heads // made.kv_heads
        # Slices, not index tensors: copying those to an accelerator would wait for the pass.
        step = max(1, (made.queries - 1) // (_CHECK_ROWS - 1))
        rows = slice((made.queries - 1) % step, made.queries, step)
        for extra in range(max(1, _CHECK_HEADS // max(1, self.total))):
            h = int((index + extra + 1) * _GOLDEN % 1 * made.heads)
            a = made.weights(b, h, rows, 0, made.keys).to(value.device)
            v = value[b, h // group].detach().float()
            error = torch.matmul(a, v) - result[b, rows, h].detach().float()
            if made.masks:
                # A row that may attend to nothing has no right answer: kernels differ there.
                error = error * (a.sum(-1, keepdim=True) > 0)
            norm = torch.linalg.vector_norm
            worst = norm(error, torch.inf) / norm(v, torch.inf).clamp_min_(1e-30)
            self.deviations.append((made.name, worst))

    # after the pass

    def end_pass(self) -> None:
        """A pass is over: its masks become rules, its deviations one number a layer."""
        self.passes.end()
        worst: dict[str, torch.Tensor] = {}
        for name, found in self.deviations:
            before = worst.get(name)
            worst[name] = found if before is None else torch.maximum(before, found)
        self.deviations = list(worst.items())

    def overwritten(self) -> list[str]:
        """Names of layers whose kept tensors were written to after the call."""
        return sorted({name for name, t, version in self._versions if t._version != version})

    def settle(self) -> None:
        """Fill in what needs a look at the masks.

        Done after the pass, so that an accelerator is not made to wait in the middle of it.
        """
        self.passes.close()
        for made in self.records:
            if isinstance(made, StepRecord):
                made.look()
            if isinstance(made, QKRecord):
                made.causal = made.first_rows or any(
                    m.is_causal(made.queries, made.keys) for m in made.masks
                )
            made.role = role_of(
                made.name,
                encoder_decoder=self.encoder_decoder,
                causal=made.causal,
                cross=made.role == "cross",
            )

    def close(self) -> None:
        """Let go of the model: only ids are held, and those must not outlive it."""
        self.names = {}
        self._versions = []
        self._masks = {}
        self._given_masks = []
        self.cancel = None
        self.on_layer = None
