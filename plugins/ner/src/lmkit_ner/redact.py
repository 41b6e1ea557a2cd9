"""The task: a text whose names are placeholders, and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

from lmkit.api import (
    Column,
    Field,
    FieldError,
    LoadedModel,
    ModelError,
    Result,
    Row,
    RowOutput,
    RowProblem,
    RowResults,
    RowStream,
    Span,
    Spans,
    Table,
    Task,
    replace_values,
)
from lmkit_ner.aggregation import Strategy
from lmkit_ner.reading import TokenPlaces, clean, read_rows, read_text
from lmkit_ner.recognise import STRATEGY, STRIDE
from lmkit_ner.redact_rows import redacted_rows, report_redacted, restored_rows
from lmkit_ner.redaction import kernel_key, placeholder_kind
from lmkit_ner.tags import Mark

__all__ = ["Redact"]


class Redact(Task):
    """Names replaced by placeholders in the form, the results, the explorer and the record."""

    name = "redact"
    title = "Redact"
    help = "Replace names by placeholders such as [PERSON 1]; this kernel alone can put them back."
    verb = "redact"
    auto_class = "AutoModelForTokenClassification"
    default_model = "starter:ner"
    fields = (
        Field.text("text", label="Text", placeholder="A text with names"),
        Field.choice(
            "do",
            ("redact", "restore"),
            label="Do",
            help="Restore puts the names back that this kernel replaced.",
        ),
        Field.text(
            "kinds",
            label="Kinds",
            help="Which are replaced, as the model calls them: PER, LOC. Empty for all.",
            required=False,
            multiline=False,
        ),
        STRATEGY,
        STRIDE,
    )
    columns = (Column.text("text", label="Text"),)

    def run(
        self, model: LoadedModel, *, text: str, do: str, kinds: str, strategy: str, stride: int
    ) -> Sequence[Result]:
        """Replace or restore; afterwards the form holds the new text, and so does what is saved.

        The pass behind the explorer is one over the new text: nothing of the old one is kept.

        Raises:
            FieldError: a kind that the model does not know.
        """
        if do == "restore":
            new, marks = kernel_key.restored(clean(text))
            title = "Restored" if marks else "Nothing to restore: this kernel made none of these"
        else:
            wanted = read_kinds(kinds, model.labels)
            reading = read_text(model, text, stride)
            found = [(one.start, one.end, one.label) for one in reading.entities(_joined(strategy))]
            made = kernel_key.redact(reading.text, found, wanted)
            new, marks = made.text, made.marks
            title = "Redacted"
        replace_values(text=new)
        trace = model.trace(new)
        tokens = TokenPlaces(trace.tokens)
        spans = tuple(
            Span(start=start, end=end, label=kind, tokens=tokens.within(start, end))
            for start, end, kind in marks
        )
        return Spans(text=new, spans=spans, title=title), _table(new, marks)

    def run_rows(
        self,
        model: LoadedModel,
        rows: RowStream,
        *,
        do: str,
        kinds: str,
        strategy: str,
        stride: int,
    ) -> Iterator[tuple[Row, RowOutput] | RowProblem]:
        """The texts with placeholders, or with the names that this kernel replaced.

        Raises:
            FieldError: a kind that the model does not know, or several processes.
        """
        if do == "restore":
            return restored_rows(rows, kernel_key)
        wanted = read_kinds(kinds, model.labels)
        return redacted_rows(model, rows, kernel_key, wanted, _joined(strategy), stride)

    def report_rows(self, done: RowResults, **_: object) -> Sequence[Result]:
        """How many placeholders, by kind, and the texts."""
        return report_redacted(done)

    def without_names(
        self,
        model: LoadedModel,
        texts: Sequence[str],
        *,
        known: Sequence[str] = (),
        kinds: str = "",
    ) -> Sequence[str]:
        """The texts of a notebook with placeholders, by this process's key.

        Raises:
            FieldError: a kind that the model does not know.
            ModelError: the model fails on a text.
        """
        wanted = read_kinds(kinds, model.labels)
        cleaned = [clean(text) for text in texts]
        rows = [Row(index, {"text": text}) for index, text in enumerate(cleaned)]
        marks: list[list[Mark]] = [[] for _ in texts]
        for item in read_rows(model, rows, lambda one: str(one["text"]), STRIDE.default):
            if isinstance(item, RowProblem):
                # Without a token there is no name; what the model fails on may hold one.
                if any(one.isalnum() for one in cleaned[item.row]):
                    raise ModelError(f"{item} Nothing was changed.")
                continue
            row, reading = item
            marks[row.index] = [
                (one.start, one.end, one.label) for one in reading.entities("first")
            ]
        others = [clean(text) for text in known]
        made = kernel_key.redact_all(
            [*cleaned, *others], [*marks, *([] for _ in others)], wanted, parts=True
        )
        # What no encoding takes is the user's own: a text without a name stays as it was.
        whole = zip((*texts, *known), (*cleaned, *others), made, strict=True)
        return [old if one.text == plain else one.text for old, plain, one in whole]


def _joined(strategy: str) -> Strategy:
    """Tokens on their own would cut names into pieces."""
    return "simple" if strategy == "none" else cast("Strategy", strategy)


def read_kinds(given: str, labels: Sequence[str]) -> frozenset[str] | None:
    """``"PER, LOC"`` as kinds of the model; None for all of them.

    Raises:
        FieldError: the model knows no such kind.
    """
    known = sorted({_bare(label) for label in labels if label != "O"})
    named = {name.casefold(): kind for kind in known for name in (kind, placeholder_kind(kind))}
    wanted = [one.strip() for one in given.split(",") if one.strip()]
    for one in wanted:
        if one.casefold() not in named:
            raise FieldError(
                f"The model knows no kind {one!r}.", hint=f"Its kinds are: {', '.join(known)}."
            )
    return frozenset(named[one.casefold()] for one in wanted) or None


def _bare(label: str) -> str:
    return label[2:] if label[:2] in ("B-", "I-") else label.split("-", 1)[-1]


def _table(text: str, marks: Sequence[Mark]) -> Table:
    """How many places and how many names, by kind; never a name."""
    kinds = sorted({kind for _, _, kind in marks})
    rows = []
    for kind in kinds:
        own = [text[start:end] for start, end, other in marks if other == kind]
        rows.append((kind, len(set(own)), len(own)))
    return Table(columns=("kind", "names", "places"), rows=tuple(rows), title="Placeholders")
