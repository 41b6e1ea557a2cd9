"""The view: a form, tokens shaded by what they did for the target, and how far to trust that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from lmkit.api import (
    Field,
    FieldSpec,
    Result,
    Table,
    TextTrace,
    Token,
    TokenRow,
    TokenScores,
    View,
    pass_of,
)
from lmkit_attribution.scores import (
    BASELINES,
    METHODS,
    OUTPUTS,
    PRECISIONS,
    UNITS,
    Settings,
    spread,
)
from lmkit_attribution.targets import kind_of, why_not

if TYPE_CHECKING:
    from lmkit_attribution.scores import Attribution, Unit

__all__ = ["ALL", "AttributionView"]

ALL = "compare all methods"
_DELTA_TO_NOTE = 0.05
"""Share of the output's change from which the sum of integrated gradients is said to be off."""


class AttributionView(View):
    """Attribution of an output to the tokens that went in, by Captum."""

    name = "attribution"
    title = "Attribution"
    help = "What each token did for an output, and below each picture how faithful it is."
    fields: ClassVar[tuple[FieldSpec, ...]] = (
        Field.choice("method", (*METHODS, ALL), label="Method"),
        Field.text(
            "target",
            label="Target: a label, or a token",
            placeholder="as predicted",
            required=False,
            multiline=False,
        ),
        Field.text(
            "at",
            label="At: token 5, 5-7, or a text",
            placeholder="what is selected, or predicted",
            help="Empty for a model that labels tokens: the selected ones, a clicked entity say.",
            required=False,
            multiline=False,
        ),
        Field.choice("units", UNITS, label="Scores of", later=True),
        Field.choice(
            "baseline",
            BASELINES,
            label="Baseline",
            help="Stands for an absent token. Auto: padding, else unknown, else zeros.",
            later=True,
        ),
        Field.choice("output", OUTPUTS, label="Attribute the", later=True),
        Field.integer(
            "steps",
            minimum=4,
            maximum=1_000,
            default=50,
            label="Steps",
            help="Of integrated gradients: more of them, smaller delta.",
            later=True,
        ),
        Field.integer(
            "block",
            minimum=0,
            maximum=1_000,
            label="Layer",
            help="Whose input layer integrated gradients looks at.",
            later=True,
        ),
        Field.integer(
            "window",
            minimum=1,
            maximum=50,
            label="Window",
            help="Tokens, or words, that occlusion takes away at once.",
            later=True,
        ),
        Field.choice(
            "precision",
            PRECISIONS,
            label="Precision",
            help="Of models in half precision; a copy takes twice their memory.",
            later=True,
        ),
        Field.boolean("hide_special", label="Hide special tokens", later=True),
    )
    follows = frozenset()

    def unavailable(self, trace: TextTrace) -> str:
        """Attribution asks a model again, and the model must put out something to attribute."""
        passed = pass_of(trace)
        if passed is None:
            return "The model is asked again, and this pass was captured from code of your own."
        return why_not(passed.model.kind)

    def show(
        self,
        trace: TextTrace,
        *,
        layer: int,
        head: int,
        tokens: tuple[int, ...],
        method: str,
        target: str,
        at: str,
        hide_special: bool,
        **settings: Any,
    ) -> Sequence[Result]:
        """The tokens shaded, a row a method, and the measures of each."""
        from lmkit_attribution.asking import attributions

        at = at.strip() or _selected(trace, tokens)
        asked = tuple(METHODS) if method == ALL else (method,)
        made = list(attributions(trace, asked, target=target, at=at, settings=Settings(**settings)))
        return (shaded(trace, made, hide_special), measures(made))


def _selected(trace: TextTrace, tokens: Sequence[int]) -> str:
    """The selected tokens as a range where each has a label; they are the answer's question."""
    passed = pass_of(trace)
    if not tokens or passed is None or kind_of(passed.model.kind) != "token label":
        return ""
    return f"{min(tokens)}-{max(tokens)}"


def shaded(
    trace: TextTrace, made: Sequence[Attribution], hide_special: bool = False
) -> TokenScores:
    """Attributions of one target as rows of shaded tokens."""
    first = made[0]
    hidden = [
        place
        for place, unit in enumerate(first.units)
        if hide_special and all(trace.tokens[token].special for token in unit)
    ]
    shown = [place for place in range(len(first.units)) if place not in set(hidden)]
    rows = tuple(
        TokenRow(
            label=METHODS[one.method],
            values=tuple(one.scores[place] for place in shown),
            note=one.measures,
        )
        for one in made
    )
    return TokenScores(
        title=_title(first),
        tokens=tuple(_token(trace, first.units[place], first.texts[place]) for place in shown),
        rows=rows,
        diverging=any(one.signed for one in made),
        note=" ".join(_notes(made, hidden)),
    )


def measures(made: Sequence[Attribution]) -> Table:
    """What each attribution is worth, a row a method."""
    rows: list[tuple[str | float | None, ...]] = []
    for one in made:
        faith = one.faithfulness
        rows.append(
            (
                METHODS[one.method],
                one.delta,
                one.relative_delta,
                None if faith is None else faith.deletion.area,
                "" if faith is None else spread(faith.random_deletion),
                None if faith is None else faith.insertion.area,
                "" if faith is None else spread(faith.random_insertion),
            )
        )
    return Table(
        title="Faithfulness: deletion is better when low, insertion when high",
        columns=(
            "method",
            "delta",
            "delta / change",
            "deletion",
            "random deletion",
            "insertion",
            "random insertion",
        ),
        rows=tuple(rows),
    )


def _token(trace: TextTrace, unit: Unit, text: str) -> Token:
    first, last = trace.tokens[unit[0]], trace.tokens[unit[-1]]
    if len(unit) == 1 and text == first.text:
        return first
    return Token(text=text, raw=text, word=first.word, start=first.start, end=last.end)


def _title(one: Attribution) -> str:
    what = "" if one.probability is None else f", probability {one.probability:.3g}"
    return f"{one.target}{what}"


def _notes(made: Sequence[Attribution], hidden: Sequence[int]) -> list[str]:
    first = made[0]
    number = "value" if first.probability is None else first.settings.output
    notes = [
        f"The {number} is {first.value:.3g} for the text and {first.without:.3g} for the "
        f"baseline, where {first.baseline} stands for each token but the special ones."
    ]
    if any(one.signed for one in made):
        notes.append("Scores above 0 speak for the target, those below against it.")
    if first.faithfulness is not None:
        notes.append(
            f"Deletion and insertion put {first.faithfulness.removed}; random: mean and standard "
            f"deviation of {len(first.faithfulness.random_deletion)} orders."
        )
    else:
        notes.append("There is no token to remove, so no measure of faithfulness.")
    off = [one for one in made if (one.relative_delta or 0) > _DELTA_TO_NOTE]
    if off:
        names = " and ".join(METHODS[one.method].lower() for one in off)
        notes.append(
            f"The sum of {names} is off by more than {100 * _DELTA_TO_NOTE:.0f}% of the change: "
            "take more steps, another baseline, or occlusion, before you rely on it."
        )
    if hidden:
        parts = [sum(one.scores[place] for place in hidden) for one in made]
        said = ", ".join(f"{part:.3g}" for part in parts)
        notes.append(f"Not shown: special tokens, whose scores sum to {said}.")
    if any(not one.signed for one in made):
        notes.append("Saliency has no sign: how much a token matters, not for what.")
    return [*notes, *first.notes]
