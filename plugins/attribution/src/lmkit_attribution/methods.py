"""Captum's methods over a probe. Each gives one number a token, or a unit, of the text.

With x the embeddings of the text, x' those of the baseline and F the target:

- integrated gradients (Sundararajan et al. 2017): sum over the width of
  (x - x') times the integral of dF/dx from x' to x, by Gauss-Legendre quadrature;
- layer integrated gradients: the same over the hidden states that enter a block;
- gradient x input (Shrikumar et al. 2016): sum over the width of x dF/dx;
- saliency (Simonyan et al. 2013; the norm as in Li et al. 2016): |dF/dx|, the Euclidean norm;
- occlusion (Zeiler and Fergus 2014): F(x) - F(x with a window of units replaced by x'), the mean
  over the windows that hold a unit.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from lmkit.api import FieldError, ModelError
from lmkit_attribution.probe import Kept, Probe, without_gradients
from lmkit_attribution.scores import METHODS

__all__ = ["NEEDS_GRADIENTS", "Asked", "scores_of"]

NEEDS_GRADIENTS = frozenset(METHODS) - {"occlusion"}


@dataclass(frozen=True, eq=False)
class Asked:
    """What a method works on.

    Attributes:
        probe: The target.
        baseline: (1, T, W) float32.
        kept: The target by units.
        units: How many units can be taken away.
        members: (U, T).
        steps: Points on the path.
        window: Units of an occlusion window.
        block: Whose input layer integrated gradients looks at.
        batch: Texts at once.
    """

    probe: Probe
    baseline: torch.Tensor
    kept: Kept
    units: int
    members: torch.Tensor
    steps: int
    window: int
    block: int
    batch: int


def scores_of(method: str, asked: Asked) -> tuple[torch.Tensor, float | None]:
    """Scores of the tokens (T,), of occlusion spread over each unit's tokens, and the delta.

    Raises:
        ModelError: the model gives no gradients, or none that are finite.
        FieldError: there is no such block.
        Cancelled: the user pressed Stop.
    """
    with _explained(asked.probe.name):
        scores, delta = _OF[method](asked)
    if not torch.isfinite(scores).all():
        raise ModelError(
            f"The gradients of {asked.probe.name} are not finite numbers.",
            hint="Choose 'float32 copy' as precision, or occlusion, which needs no gradients.",
        )
    return scores.double().cpu(), delta


def _integrated(asked: Asked) -> tuple[torch.Tensor, float | None]:
    from captum.attr import IntegratedGradients

    asked.probe.expect(METHODS["integrated gradients"], asked.steps + 2)
    made, delta = IntegratedGradients(asked.probe).attribute(
        asked.probe.embeddings,
        baselines=asked.baseline,
        n_steps=asked.steps,
        internal_batch_size=asked.batch,
        return_convergence_delta=True,
    )
    return made.detach()[0].sum(-1), float(delta[0])


def _layer_integrated(asked: Asked) -> tuple[torch.Tensor, float | None]:
    from captum.attr import LayerIntegratedGradients

    probe = asked.probe
    if not probe.blocks:
        raise FieldError(
            f"The blocks of {probe.name} were not found, so there is no layer to look at.",
            hint="Choose the method integrated gradients.",
        )
    if asked.block >= probe.blocks:
        raise FieldError(
            f"There is no block {asked.block}; {probe.name} has {probe.blocks}.",
            hint=f"Counted from 0 to {probe.blocks - 1}.",
        )
    probe.expect(METHODS["layer integrated gradients"], asked.steps + 4)
    probe.look_at(asked.block)
    try:
        made, delta = LayerIntegratedGradients(probe, probe.site).attribute(
            probe.embeddings,
            baselines=asked.baseline,
            n_steps=asked.steps,
            internal_batch_size=asked.batch,
            return_convergence_delta=True,
        )
    finally:
        probe.look_at(None)
    return made.detach()[0].sum(-1), float(delta[0])


def _gradient_x_input(asked: Asked) -> tuple[torch.Tensor, float | None]:
    from captum.attr import InputXGradient

    asked.probe.expect(METHODS["gradient x input"], 1)
    made = InputXGradient(asked.probe).attribute(asked.probe.embeddings.clone())
    return made.detach()[0].sum(-1), None


def _saliency(asked: Asked) -> tuple[torch.Tensor, float | None]:
    from captum.attr import Saliency

    asked.probe.expect(METHODS["saliency"], 1)
    made = Saliency(asked.probe).attribute(asked.probe.embeddings.clone(), abs=False)
    return made.detach()[0].norm(dim=-1), None


def _occlusion(asked: Asked) -> tuple[torch.Tensor, float | None]:
    from captum.attr import Occlusion

    scores = torch.zeros(asked.members.shape[1], device=asked.members.device)
    if not asked.units:
        return scores, None
    window = min(asked.window, asked.units)
    asked.probe.expect(METHODS["occlusion"], asked.units - window + 2)
    made = Occlusion(asked.kept).attribute(
        torch.ones(1, asked.units, device=asked.members.device),
        sliding_window_shapes=(window,),
        baselines=0.0,
        perturbations_per_eval=asked.batch,
    )
    sizes = asked.members.sum(1).clamp_min(1)
    return (made.detach()[0].float() / sizes) @ asked.members, None


_OF: dict[str, Callable[[Asked], tuple[torch.Tensor, float | None]]] = {
    "integrated gradients": _integrated,
    "layer integrated gradients": _layer_integrated,
    "gradient x input": _gradient_x_input,
    "occlusion": _occlusion,
    "saliency": _saliency,
}


_BROKEN_PATH = "an autograd kernel was not registered"
_CAPTUM_SAYS = ("required_grads", "requires_grad", "Internal batch size")
_NO_DERIVATIVE = (
    "does not require grad",
    "not have been used in the graph",
    "derivative for",
    "Inference tensors",
    "not differentiable",
)


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Say in a sentence where a model has no derivative.

    Where a quantised layer stands beside a residual, torch warns and gives what is left of the
    gradient; that is refused too. Captum's own warnings say that it does what is wanted.
    """
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            yield
        except (RuntimeError, NotImplementedError) as error:
            if any(sign in str(error) for sign in _NO_DERIVATIVE):
                raise without_gradients(name) from None
            raise
    if any(_BROKEN_PATH in str(one.message) for one in said):
        raise without_gradients(name)
    for one in said:
        if not any(sign in str(one.message) for sign in _CAPTUM_SAYS):
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
