"""The head map, switching heads off, and the causal map as views of a captured pass."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from lmkit.api import (
    Field,
    FieldError,
    FieldSpec,
    HeadGrid,
    HeadMeasure,
    RegisterView,
    Result,
    Table,
    TextTrace,
    TokenRow,
    TokenScores,
    View,
    hookimpl,
    progress,
)

if TYPE_CHECKING:
    from lmkit.analysis.ablation import CausalMap
    from lmkit.analysis.effects import Effect
    from lmkit.analysis.head_map import HeadScores

__all__ = [
    "CausalMapView",
    "HeadMapView",
    "RolloutView",
    "SwitchOffView",
    "grid_of_causes",
    "grid_of_scores",
]

_HOW = ("zero", "mean", "other text")
_MAX_HEADS = 10_000
_MAX_ROWS = 20
_HOW_FIELD = Field.choice(
    "how",
    _HOW,
    label="Replace by",
    help="Zeros, the head's mean over this text (or over the other texts), or its values on the "
    "other text.",
)
_OTHER_FIELD = Field.text(
    "other",
    label="Other text",
    help="For 'other text' one text of as many tokens; for 'mean', if you like, one text a line.",
    required=False,
)
_END_FIELD = Field.boolean(
    "at_end",
    label="Align at the end",
    help="The other text may have another length; its last positions are taken. Causal models.",
    later=True,
)
_SIZES = {
    "total_variation": (
        "Total variation",
        "Half the sum of |p - q| of the probabilities before and after: 0 none, 1 all.",
        False,
    ),
    "divergence": (
        "Divergence",
        "Kullback-Leibler divergence of the probabilities after from those before, in nats.",
        False,
    ),
    "margin": (
        "Margin",
        "Change of the logit of what was predicted, less that of its runner-up. Below 0: the head "
        "supported the prediction.",
        True,
    ),
    "confidence": ("Confidence", "Change of the probability of what was predicted.", True),
    "flipped": ("Flipped", "Share of predictions that become another one.", False),
    "value": ("Value", "Change of the value that the model puts out.", True),
    "cosine": (
        "Turn",
        "1 - cosine of the last hidden states before and after, mean over tokens.",
        False,
    ),
    "norm": ("Norm", "Relative change of the norm of the last hidden states.", True),
}


class HeadMapView(View):
    """Every head scored for known patterns."""

    name = "head-map"
    title = "Head map"
    help = "Scores every head for known patterns: find the heads worth looking at."
    fields: ClassVar[tuple[FieldSpec, ...]] = (
        Field.text(
            "texts",
            label="Texts",
            help="One text a line; empty for the text of this view. Five or more give a test.",
            required=False,
        ),
        Field.boolean(
            "induction",
            default=True,
            label="Induction",
            help="Score induction on random tokens written twice; causal models only.",
        ),
        Field.integer("seed", minimum=0, maximum=2**31 - 1, help="Of the random tokens."),
    )
    follows: ClassVar[frozenset[str]] = frozenset()

    def unavailable(self, trace: TextTrace) -> str:
        """A trace that holds no captured pass can't be looked through."""
        if not trace.layers:
            return "This pass has no attention."
        if not hasattr(type(trace), "capture"):
            return "The heads are scored on the model's own attention; choose that."
        return ""

    def show(
        self,
        trace: TextTrace,
        *,
        layer: int,
        head: int,
        tokens: tuple[int, ...],
        texts: str = "",
        induction: bool = True,
        seed: int = 0,
        **_: Any,
    ) -> Result:
        """One grid with all measures."""
        from lmkit.analysis.head_map import map_heads

        model: Any = getattr(trace, "model", None)
        scores = map_heads(model, _lines(texts), trace=trace, induction=induction, seed=seed)
        return grid_of_scores(scores)


class _ReplacingView(View):
    """What the views that put something in a head's place have in common."""

    def unavailable(self, trace: TextTrace) -> str:
        """Heads can't be changed where the model does not call the attention interface."""
        if not trace.layers:
            return "This pass has no attention."
        if not callable(getattr(trace, "again", None)):
            return "Heads are changed in the model's own pass; choose its own attention."
        if not all(layer.has_qk for layer in trace.layers):
            return "This model has an attention of its own: its heads can't be changed."
        if any(layer.step for layer in trace.layers):
            return "Heads are switched off in a single pass, not in a generated text."
        return ""


class SwitchOffView(_ReplacingView):
    """What the output does without some heads."""

    name = "switch-off"
    title = "Switch off"
    help = "Switches heads off, or replaces them, and shows what the output does."
    fields: ClassVar[tuple[FieldSpec, ...]] = (
        _HOW_FIELD,
        _OTHER_FIELD,
        Field.text(
            "heads",
            label="Heads",
            help="Layer and head of each, such as 3.7, 4.1; empty for the chosen one.",
            required=False,
            multiline=False,
            placeholder="3.7, 4.1",
        ),
        _END_FIELD,
    )
    follows: ClassVar[frozenset[str]] = frozenset({"layer", "head"})

    def show(
        self,
        trace: TextTrace,
        *,
        layer: int,
        head: int,
        tokens: tuple[int, ...],
        how: str = "zero",
        other: str = "",
        heads: str = "",
        at_end: bool = False,
        **_: Any,
    ) -> Sequence[Result]:
        """Outcomes before and after, the sizes of the change, and the change at each token."""
        from lmkit.analysis.ablation import ablate

        chosen = parse_heads(heads) or [(layer, head)]
        source: Any = trace
        changed = ablate(source, chosen, **_replacement(how, other, at_end))
        names = ", ".join(f"{at}.{index}" for at, index in chosen[:20])
        return _results_of_effect(changed, trace, f"Without {names}", how)


class CausalMapView(_ReplacingView):
    """Every head switched off by itself."""

    name = "causal-map"
    title = "Causal map"
    help = "Switches every head off by itself: which ones the output of this text needs."
    fields: ClassVar[tuple[FieldSpec, ...]] = (_HOW_FIELD, _OTHER_FIELD, _END_FIELD)
    follows: ClassVar[frozenset[str]] = frozenset()

    def show(
        self,
        trace: TextTrace,
        *,
        layer: int,
        head: int,
        tokens: tuple[int, ...],
        how: str = "zero",
        other: str = "",
        at_end: bool = False,
        **_: Any,
    ) -> Result:
        """One grid with the sizes of every head's change."""
        from lmkit.analysis.ablation import sweep

        source: Any = trace
        return grid_of_causes(sweep(source, **_replacement(how, other, at_end)))


class RolloutView(View):
    """What the chosen tokens draw on through all layers."""

    name = "rollout"
    title = "Rollout"
    help = (
        "How much of each token has arrived at the chosen ones after the last layer, if attention "
        "and the residual stream were all that mixes tokens."
    )
    fields: ClassVar[tuple[FieldSpec, ...]] = (
        Field.number(
            "residual",
            minimum=0.0,
            maximum=1.0,
            default=0.5,
            help="Share of each layer that stays where it is.",
        ),
    )
    follows: ClassVar[frozenset[str]] = frozenset({"tokens"})

    def unavailable(self, trace: TextTrace) -> str:
        """Rollout multiplies the self-attention of one stack."""
        from lmkit.views.lenses.rollouts import no_rollout

        source: Any = trace
        if getattr(trace, "scale", "share") != "share":
            return "Rollout multiplies attention, not other numbers of a pass."
        return no_rollout(source)

    def show(
        self,
        trace: TextTrace,
        *,
        layer: int,
        head: int,
        tokens: tuple[int, ...],
        residual: float = 0.5,
        **_: Any,
    ) -> Result:
        """One row for each chosen token.

        Without a choice that of the last token of a causal model, else of the first.
        """
        from lmkit.views.lenses import rollout

        source: Any = trace
        first = next(one for one in trace.layers if one.role != "cross")
        names = source.tokens_of(first.role) if hasattr(source, "tokens_of") else trace.tokens
        chosen = tokens or ((first.queries - 1,) if first.causal else (0,))
        chosen = tuple(token for token in chosen if token < first.queries)[:_MAX_ROWS]
        found = rollout(source, chosen, residual=residual, cancel=_stop)
        lost = [float(value) for value in found.lost]
        note = "Formula of Abnar and Zuidema 2020; heads averaged."
        if max(lost, default=0.0) > 1e-4:
            note += " To learned sinks went " + ", ".join(f"{value:.3g}" for value in lost) + "."
        if len(tokens) > _MAX_ROWS:
            note += f" The first {_MAX_ROWS} chosen tokens are shown."
        return TokenScores(
            title="Rollout",
            tokens=names,
            rows=tuple(
                TokenRow(label=names[token].text, values=tuple(float(one) for one in row))
                for token, row in zip(chosen, found.scores, strict=True)
            ),
            note=note,
        )


def _stop() -> bool:
    """Whether the user asked to stop, and a sign of life for the bar."""
    progress("Multiplying layers")
    return False


@hookimpl
def lmkit_register_views(register: RegisterView) -> None:
    """Offer the views that come with lmkit."""
    for view in (HeadMapView, SwitchOffView, CausalMapView, RolloutView):
        register(view)


def parse_heads(text: str) -> list[tuple[int, int]]:
    """Heads as people write them: ``3.7, 4.1``.

    Raises:
        FieldError: something else stands there.
    """
    found: dict[tuple[int, int], None] = {}
    for part in re.split(r"[\s,;]+", text.strip()):
        if not part:
            continue
        match = re.fullmatch(r"([0-9]{1,6})[./:]([0-9]{1,6})", part)
        if match is None:
            raise FieldError(
                f"Heads: {part[:40]!r} is not a layer and a head.", hint="Write 3.7, 4.1."
            )
        found[int(match[1]), int(match[2])] = None
        if len(found) > _MAX_HEADS:
            raise FieldError(f"Heads: more than {_MAX_HEADS:,}.")
    return list(found)


def grid_of_scores(scores: HeadScores, title: str = "Head map") -> HeadGrid:
    """A head map as a result: each measure, over texts also its spread and its q-value."""
    measures = []
    for name, score in scores.scores.items():
        about = score.measure
        unit = "tokens" if about.unit == "tokens" else ""
        measures.append(
            HeadMeasure(
                name=name,
                title=about.title,
                help=about.help,
                values=scores.grid(score.mean),
                unit=unit,
            )
        )
        if len(score.by_text) > 1:
            measures.append(
                HeadMeasure(
                    name=f"{name}-sd",
                    title=f"{about.title}, spread",
                    help="Standard deviation over texts.",
                    values=scores.grid(score.deviation),
                    unit=unit,
                )
            )
        q = score.q if about.chance else None
        if q is not None and any(value == value for value in q.tolist()):
            measures.append(
                HeadMeasure(
                    name=f"{name}-q",
                    title=f"{about.title}, q",
                    help="Small: above even attention over the same keys, corrected for the number "
                    "of heads. Says nothing of how large the score is.",
                    values=scores.grid(q),
                )
            )
    return HeadGrid(measures=tuple(measures), title=title, note=scores.note)


def grid_of_causes(causes: CausalMap, title: str = "Causal map") -> HeadGrid:
    """A causal map as a result."""
    return HeadGrid(
        measures=tuple(
            HeadMeasure(
                name=name,
                title=_SIZES[name][0],
                help=_SIZES[name][1],
                values=values,
                diverging=_SIZES[name][2],
                unit="nats" if name == "divergence" else "",
            )
            for name, values in causes.values.items()
        ),
        title=title,
        note=causes.note,
    )


def _results_of_effect(changed: Effect, trace: TextTrace, title: str, how: str) -> list[Result]:
    results: list[Result] = []
    if changed.outcomes:
        results.append(
            Table(
                title=f"{title} ({how})",
                columns=("outcome", "before", "after", "change"),
                rows=tuple((o.label, o.before, o.after, o.after - o.before)
                           for o in changed.outcomes),
            )
        )  # fmt: skip
    if changed.by_token:
        shown = trace.tokens
        if len(changed.by_token) != len(shown):
            shown = tuple(token for token in trace.tokens if not token.special)
        if len(changed.by_token) == len(shown):
            results.append(
                TokenScores(
                    title=title if not results else "Change at each token",
                    tokens=shown,
                    rows=(TokenRow(label="change", values=changed.by_token),),
                    note=_SIZES["cosine" if changed.kind == "hidden" else "total_variation"][1],
                )
            )
    sizes = [(name, getattr(changed, name)) for name in _SIZES]
    results.append(
        Table(
            title="Size of the change",
            columns=("measure", "value", "what it is"),
            rows=tuple(
                (_SIZES[name][0], value, _SIZES[name][1])
                for name, value in sizes
                if math.isfinite(value)
            ),
        )
    )
    return results


def _replacement(how: str, other: str, at_end: bool) -> dict[str, Any]:
    lines = _lines(other)
    if how == "other text":
        if not other.strip():
            raise FieldError("Other text: it is empty.", hint="Write a text of as many tokens.")
        return {"how": "other", "other": other.strip(), "at_end": at_end}
    if how == "mean" and lines:
        return {"how": "mean", "other": lines}
    return {"how": how}


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]
