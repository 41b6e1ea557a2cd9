"""Attributions of a captured pass, from its target to numbers on the host."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from lmkit.api import FieldError, ModelError, ModelPass, TextTrace, pass_of, progress
from lmkit_attribution.baselines import Replacement, baseline_of, removal_of
from lmkit_attribution.faithfulness import Curves
from lmkit_attribution.memory import batch_that_fits
from lmkit_attribution.methods import NEEDS_GRADIENTS, Asked, scores_of
from lmkit_attribution.probe import Kept, Probe, open_probe
from lmkit_attribution.scores import METHODS, Attribution, Settings, Unit
from lmkit_attribution.targets import (
    Target,
    default_row,
    find_target,
    kind_of,
    place_text,
    positions_of,
    target_text,
    why_not,
)

__all__ = ["attribute", "attributions", "text_of", "units_of"]


def attribute(
    trace: TextTrace,
    method: str = "integrated gradients",
    *,
    target: str | int | None = "",
    at: str | int | None = "",
    **settings: Any,
) -> Attribution:
    """Attribute an output of a pass to the tokens that went in.

    Args:
        trace: A pass that :meth:`lmkit.api.LoadedModel.trace` made.
        method: One of ``METHODS``.
        target: A label or its index, or for a language model a token; empty for what the model
            predicts.
        at: For token classifiers and language models where: a token's number, a range ``5-7``, or
            a piece of the text.
        **settings: Of :class:`Settings`.

    Returns:
        One score a unit, with measures of how faithful they are.

    Raises:
        FieldError: an unknown method, target, place or setting.
        ModelError: the model gives no gradients, has nothing to attribute, or is too large.
        DeviceMemoryError: the device is full.
        Cancelled: the user pressed Stop.
    """
    (made,) = attributions(trace, (method,), target=target, at=at, settings=Settings(**settings))
    return made


def attributions(
    trace: TextTrace,
    methods: Sequence[str],
    *,
    target: str | int | None = "",
    at: str | int | None = "",
    settings: Settings | None = None,
) -> Iterator[Attribution]:
    """As :func:`attribute`, by several methods for one target; each as soon as it is there."""
    settings = settings or Settings()
    for method in methods:
        if method not in METHODS:
            raise FieldError(
                f"There is no method {method[:60]!r}.", hint=f"There are: {', '.join(METHODS)}."
            )
    passed = pass_of(trace)
    if passed is None:
        raise ModelError(
            "This pass was captured from code of your own, so it can't be made again.",
            hint="Make it by lmkit.load(model).",
        )
    kind = kind_of(passed.model.kind)
    if not kind:
        raise ModelError(why_not(passed.model.kind))
    asked, place = target_text(target, kind), place_text(at)
    with (
        passed.model.borrow("gradients of this text") as model,
        _in_precision(model, passed, settings.precision) as (used, notes),
        open_probe(used, passed) as probe,
    ):
        work = _prepare(probe, passed, kind, asked, place, settings)
        for method in methods:
            yield _one(method, work, notes)


@dataclass(frozen=True, eq=False)
class _Work:
    """What all methods of one question share."""

    probe: Probe
    passed: ModelPass
    target: Target
    settings: Settings
    units: tuple[Unit, ...]
    free: tuple[int, ...]
    members: torch.Tensor
    baseline: torch.Tensor
    said: str
    kept: Kept
    curves: Curves | None
    value: float
    without: float
    probability: float


def _prepare(
    probe: Probe, passed: ModelPass, kind: str, asked: str, at: str, settings: Settings
) -> _Work:
    progress("Reading the text")
    target = _target(probe, passed, kind, asked, at)
    units = units_of(passed, settings.units)
    free = tuple(
        place for place, unit in enumerate(units) if not passed.tokens[unit[0]].special
    )  # special tokens stay: a text without them is none that the model knows
    members = torch.zeros(len(free), len(passed.tokens), device=probe.embeddings.device)
    for row, place in enumerate(free):
        members[row, list(units[place])] = 1.0
    tokenizer = passed.model.tokenizer
    chosen = baseline_of(tokenizer, settings.baseline, probe.vocabulary)
    removal = removal_of(tokenizer, probe.vocabulary)
    baseline = _replaced(probe, passed, chosen)
    gone = baseline if removal == chosen else _replaced(probe, passed, removal)
    probe.read = functools.partial(target.read, probability=True)
    with torch.no_grad():
        probability = float(probe(probe.embeddings))
    probe.read = functools.partial(target.read, probability=settings.output == "probability")
    with torch.no_grad():
        value, without = float(probe(probe.embeddings)), float(probe(baseline))
    curves = None
    if free:
        batch = _batch(probe, passed, target, settings, gradients=False)
        curves = Curves(
            probe, Kept(probe, gone, members), len(free), batch, members.device, removal[1]
        )
    return _Work(
        probe=probe,
        passed=passed,
        target=target,
        settings=settings,
        units=units,
        free=free,
        members=members,
        baseline=baseline,
        said=chosen[1],
        kept=Kept(probe, baseline, members),
        curves=curves,
        value=value,
        without=without,
        probability=probability,
    )


def _one(method: str, work: _Work, notes: tuple[str, ...]) -> Attribution:
    settings, probe, target = work.settings, work.probe, work.target
    gradients = method in NEEDS_GRADIENTS
    probe.read = functools.partial(target.read, probability=settings.output == "probability")
    by_token, delta = scores_of(
        method,
        Asked(
            probe=probe,
            baseline=work.baseline,
            kept=work.kept,
            units=len(work.free),
            members=work.members,
            steps=settings.steps,
            window=settings.window,
            block=settings.block,
            batch=_batch(probe, work.passed, target, settings, gradients=gradients),
        ),
    )
    numbers = by_token.tolist()
    scores = tuple(sum(numbers[token] for token in unit) for unit in work.units)
    faithfulness = None
    if work.curves is not None:
        probe.read = functools.partial(target.read, probability=True)
        # Ties fall in reading order: the sort is stable.
        order = sorted(range(len(work.free)), key=lambda row: -scores[work.free[row]])
        faithfulness = work.curves.of(order, METHODS[method])
    return Attribution(
        method=method,
        target=target.title,
        units=work.units,
        texts=tuple(text_of(work.passed, unit, settings.units) for unit in work.units),
        scores=scores,
        signed=method != "saliency",
        value=work.value,
        without=work.without,
        probability=None if target.regression else work.probability,
        delta=delta,
        faithfulness=faithfulness,
        settings=settings,
        baseline=work.said,
        notes=(*notes, *work.passed.warnings),
    )


def _target(probe: Probe, passed: ModelPass, kind: str, asked: str, at: str) -> Target:
    rows = positions_of(at, passed, kind)
    local = False
    if kind in ("next token", "masked token"):
        rows = rows[:1] or (default_row(passed, kind),)
        local = kind == "next token" and probe.keep_only(rows)
    logits = probe.output().logits[0].float()
    if not logits.isfinite().all():
        raise ModelError(
            f"{passed.model.name} computed logits that are not finite numbers, in "
            f"{passed.model.dtype}.",
            hint="Load it with dtype='float32'.",
        )
    if kind in ("next token", "masked token") and not local:
        logits = logits[list(rows)]
    found = find_target(passed, kind, asked, rows, logits)
    return Target(
        found.title, found.rows, found.classes, found.independent, found.regression, local
    )


def _batch(
    probe: Probe, passed: ModelPass, target: Target, settings: Settings, *, gradients: bool
) -> int:
    tokens, width = probe.embeddings.shape[1:]
    config: Any = probe.model.config
    rows = 1 if target.local or not target.rows else max(tokens, len(passed.decoder_tokens))
    wide = kind_of(passed.model.kind) in ("next token", "masked token")
    classes = probe.vocabulary if wide else len(passed.model.labels)
    return batch_that_fits(
        tokens=tokens,
        width=int(getattr(config, "hidden_size", width) or width),
        blocks=probe.blocks,
        heads=probe.heads,
        logits=rows * classes,
        free=passed.model.free_memory,
        gradients=gradients,
        most=settings.batch,
        name=passed.model.name,
        device=passed.model.device,
    )


def _replaced(probe: Probe, passed: ModelPass, by: Replacement) -> torch.Tensor:
    """The text's embeddings with each token but the special ones replaced: (1, T, W)."""
    special = torch.tensor([token.special for token in passed.tokens], device=probe.ids.device)
    if by[0] is None:
        other = torch.zeros_like(probe.embeddings)
    else:
        other = probe.embed(torch.where(special, probe.ids, by[0]))
    return torch.where(special.to(other.device)[None, :, None], probe.embeddings, other)


def units_of(passed: TextTrace, units: str) -> tuple[Unit, ...]:
    """The units of a text in reading order; tokens that belong to no word stand alone.

    Args:
        passed: The pass.
        units: One of ``UNITS``.
    """
    count = len(passed.tokens)
    if units == "tokens":
        return tuple((index,) for index in range(count))
    found = [tuple(sorted(word.tokens)) for word in passed.words]
    alone = set(range(count)) - {token for unit in found for token in unit}
    return tuple(sorted([*found, *((token,) for token in alone)]))


def text_of(passed: TextTrace, unit: Unit, units: str) -> str:
    """What a unit says: a token as it is shown, a word as it stands in the text."""
    tokens = [passed.tokens[index] for index in unit]
    if units == "words" and tokens[0].word is not None:
        return passed.text[tokens[0].start : max(token.end for token in tokens)]
    return tokens[0].text


@contextmanager
def _in_precision(
    model: Any, passed: ModelPass, precision: str
) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """The model as it is, or a copy of it in float32 for the time of the block."""
    half = passed.model.dtype in ("float16", "bfloat16")
    if precision == "as loaded" or not half:
        note = (
            f"Computed in {passed.model.dtype}, as the model is loaded: differences below its "
            "rounding mean nothing.",
        )
        yield model, note if half else ()
        return
    size = 4 * sum(weight.numel() for weight in model.parameters())
    free = passed.model.free_memory
    if free and size > free:
        raise ModelError(
            f"A float32 copy of {passed.model.name} takes {size / 1e9:.1f} GB, and "
            f"{free / 1e9:.1f} GB are free.",
            hint="Choose the precision 'as loaded'.",
        )
    made = copy.deepcopy(model).float()
    try:
        yield made, ("Computed in a float32 copy of the model, which is gone again.",)
    finally:
        del made
