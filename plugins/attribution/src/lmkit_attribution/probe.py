"""A model's output as a function of the embeddings of a text, for Captum to differentiate.

The model is called with its own ids; what its embedding layer put out for them is replaced on the
way. So positions, token types, padding and end-of-text are those of the text, on every model, and
nothing of the model is changed: hooks stand only while a probe is open, and act only on calls of
its own thread.

Shapes: B batch, T tokens, W width of an embedding, U units.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from lmkit.api import ModelError, ModelPass, progress

__all__ = ["Kept", "Probe", "open_probe"]

Read = Callable[[Any], torch.Tensor]
"""From a model's output to the numbers that are attributed: (B,) float32."""


class Probe(nn.Module):
    """The target as a function of embeddings: (B, T, W) float32 to (B,) float32.

    Attributes:
        site: What layer integrated gradients looks at: the hidden states that enter a block pass
            through it, in float32. :meth:`look_at` says which block.
        embeddings: Those of the text: (1, T, W) float32.
        name: Of the model, for errors.
        heads: Query heads of a layer, for estimates of memory.
    """

    def __init__(
        self, model: nn.Module, inputs: Mapping[str, Any], blocks: Sequence[nn.Module], name: str
    ) -> None:
        super().__init__()
        self.site = nn.Identity()
        self.embeddings = torch.empty(0)
        self.name = name
        self.heads = 1
        self.read: Read = _no_target
        self._model = [model]  # in a list: its weights are no part of this module
        self._inputs = dict(inputs)
        self._blocks = list(blocks)
        self._tables: list[nn.Module] = []
        self._table: list[nn.Module] = []
        self._given: torch.Tensor | None = None
        self._batch = 1
        self._looked_at: int | None = None
        self._at_block = False
        self._thread = threading.get_ident()
        self._label, self._done, self._total = "", 0, 0

    # what is asked

    @property
    def model(self) -> nn.Module:
        """The model that is called."""
        return self._model[0]

    @property
    def blocks(self) -> int:
        """How many blocks read the text one after the other."""
        return len(self._blocks)

    @property
    def vocabulary(self) -> int:
        """Rows of the embedding table."""
        weight: Any = self._table[0].weight
        return int(weight.shape[0])

    @property
    def ids(self) -> torch.Tensor:
        """Ids of the text: (1, T)."""
        ids: torch.Tensor = self._inputs["input_ids"]
        return ids

    def look_at(self, block: int | None) -> None:
        """Let what enters a block pass through :attr:`site`; None for no block."""
        self._looked_at = block

    def keep_only(self, rows: Sequence[int]) -> bool:
        """Ask for the logits of some positions alone; False where the model has no way to."""
        named = inspect.signature(_forward_of(self.model)).parameters
        if "logits_to_keep" not in named or "decoder_input_ids" in self._inputs:
            return False
        self._inputs["logits_to_keep"] = torch.tensor(list(rows), device=self.ids.device)
        return True

    def expect(self, label: str, total: int) -> None:
        """Name the work that follows, and how many texts it will read."""
        self._label, self._done, self._total = label, 0, total

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """Embeddings of ids as the model's own layer gives them: (1, T, W) float32."""
        with torch.no_grad():
            made: torch.Tensor = self._table[0](ids)
        return made.detach().float()

    def output(self) -> Any:
        """What the model returns for the text itself, without gradients."""
        with torch.no_grad():
            return self._call(None, 1)

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """The target for a batch of embeddings.

        Raises:
            ModelError: gradients are wanted, and the model gives none.
            Cancelled: the user pressed Stop.
        """
        value = self.read(self._call(embeddings, embeddings.shape[0]))
        wanted = torch.is_grad_enabled() and embeddings.requires_grad
        if wanted and not value.requires_grad and self._looked_at is None:
            raise without_gradients(self.name)
        self._done += embeddings.shape[0]
        return value

    # inside

    def _call(self, embeddings: torch.Tensor | None, batch: int) -> Any:
        progress(self._label, min(self._done, self._total), self._total)
        self._given, self._batch, self._at_block = embeddings, batch, False
        expanded = {
            key: value.expand(batch, *value.shape[1:]).contiguous()
            if isinstance(value, torch.Tensor) and value.dim() > 1 and value.shape[0] == 1
            else value
            for key, value in self._inputs.items()
        }
        try:
            output = self.model(**expanded)
            if self._given is not None:
                raise ModelError(
                    f"{self.name} reads its text in a way of its own, past its embedding layer.",
                    hint="Attribution works on models whose get_input_embeddings() is used.",
                )
            return output
        finally:
            self._given = None

    def _embedded(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        """Put the given embeddings in place of those of the text, once a pass."""
        if threading.get_ident() != self._thread:
            return output
        ids = args[0] if args else next(iter(kwargs.values()), None)
        if not isinstance(ids, torch.Tensor) or ids.shape != (self._batch, self.ids.shape[1]):
            return output
        if not torch.equal(ids[:1], self.ids):
            return output
        if not self._table:
            self._table.append(module)
        given, self._given = self._given, None
        return output if given is None else given.to(output.device, output.dtype)

    def _entered(self, number: int) -> Callable[..., Any]:
        """The pre-hook of a block: Stop is obeyed here, and the looked-at hidden states pass."""

        def hook(module: nn.Module, args: Any, kwargs: Any) -> Any:
            if threading.get_ident() != self._thread:
                return None
            progress(self._label, min(self._done, self._total), self._total)
            if self._looked_at != number or self._at_block:
                return None
            self._at_block = True
            hidden = args[0] if args else kwargs["hidden_states"]
            passed = self.site(hidden.float()).to(hidden.dtype)
            if args:
                return (passed, *args[1:]), kwargs
            return args, {**kwargs, "hidden_states": passed}

        return hook

    @contextmanager
    def hooked(self) -> Iterator[Probe]:
        """Hooks on the model for the time of a block."""
        with ExitStack() as stack:
            for table in _tables_of(self.model):
                handle = table.register_forward_hook(self._embedded, with_kwargs=True)
                stack.callback(handle.remove)
            for number, block in enumerate(self._blocks):
                pre = block.register_forward_pre_hook(self._entered(number), with_kwargs=True)
                stack.callback(pre.remove)
            yield self


class Kept(nn.Module):
    """The target as a function of which units are there: (B, U) of 0 to 1 to (B,).

    A unit that is not there has the baseline's embeddings.

    Args:
        probe: The target.
        baseline: (1, T, W).
        members: (U, T), 1 where a token belongs to a unit.
    """

    def __init__(self, probe: Probe, baseline: torch.Tensor, members: torch.Tensor) -> None:
        super().__init__()
        self._probe = [probe]
        self._baseline = baseline
        self._difference = probe.embeddings - baseline
        self._members = members

    def forward(self, kept: torch.Tensor) -> torch.Tensor:
        """The target with some units replaced by the baseline."""
        by_token = (kept.float() @ self._members)[:, :, None]
        return self._probe[0](self._baseline + by_token * self._difference)  # type: ignore[no-any-return]


@contextmanager
def open_probe(model: nn.Module, passed: ModelPass) -> Iterator[Probe]:
    """A probe of a pass, with its hooks on the model for the time of the block.

    Raises:
        ModelError: the model has no embedding layer that can be found.
    """
    inputs = passed.inputs()
    if "use_cache" in inspect.signature(_forward_of(model)).parameters:
        inputs["use_cache"] = False
    probe = Probe(model, inputs, _blocks_of(model, passed), passed.model.name)
    probe.heads = max((layer.heads for layer in passed.layers), default=1)
    with probe.hooked():
        probe.output()
        if not probe._table:
            raise ModelError(
                f"{probe.name} does not embed these ids by a layer that could be found.",
                hint="Attribution works on models whose get_input_embeddings() is used.",
            )
        probe.embeddings = probe.embed(probe.ids)
        yield probe


def without_gradients(name: str) -> ModelError:
    """What is said of quantised models, whose kernels have no derivative."""
    return ModelError(
        f"{name} computes without gradients, as quantised models do.",
        hint="Choose the method occlusion, which needs none, or load the model unquantised.",
    )


def _no_target(output: Any) -> torch.Tensor:
    raise TypeError("A probe needs a target first.")


def _forward_of(model: nn.Module) -> Any:
    inner = getattr(model, "_orig_mod", model)
    base = getattr(inner, "get_base_model", None)
    return (base() if callable(base) else inner).forward


def _tables_of(model: nn.Module) -> list[nn.Module]:
    """The input embeddings, with the modules that share their weights (T5's two stacks)."""
    try:
        table = model.get_input_embeddings()  # type: ignore[operator]
        place = table.weight.untyped_storage().data_ptr()
    except (AttributeError, NotImplementedError):
        return []
    same: list[nn.Module] = [
        module
        for module in model.modules()
        if isinstance(module, nn.Embedding) and module.weight.untyped_storage().data_ptr() == place
    ]
    return same if table in same else [*same, table]


def _blocks_of(model: nn.Module, passed: ModelPass) -> list[nn.Module]:
    """The blocks that hold the attention layers that read the text, in the order of the pass."""
    roles = {layer.role for layer in passed.layers}
    role = "encoder" if "encoder" in roles else "decoder"
    modules = dict(model.named_modules())
    found: dict[str, nn.Module] = {}
    for layer in passed.layers:
        if layer.role != role:
            continue
        full = next((n for n in modules if n == layer.name or n.endswith(f".{layer.name}")), None)
        parts = (full or "").split(".")
        for at, part in enumerate(parts):
            path = ".".join(parts[: at + 1])
            if part.isdigit() and isinstance(modules.get(".".join(parts[:at])), nn.ModuleList):
                found.setdefault(path, modules[path])
                break
    return list(found.values())
