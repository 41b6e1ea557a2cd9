"""The task of a model with a classification head."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from lmkit.api import (
    Column,
    Field,
    LoadedModel,
    Result,
    Row,
    RowOutput,
    RowProblem,
    RowResults,
    RowStream,
    Table,
    Task,
)
from lmkit_classification.heads import (
    bars,
    check_finite,
    gold_cells,
    gold_labels,
    gold_numbers,
    is_multi_label,
    is_regression,
    label_names,
    probabilities,
)
from lmkit_classification.wish import REPORT_FIELDS, UNMOVED, Wish

__all__ = ["Classification"]

NO_THRESHOLD = "A number has no threshold: that of the form decides nothing here."
MOST_LABELS = 200
"""Labels whose probabilities are kept for each row of a data set; the likeliest, where more."""


class Classification(Task):
    """Probabilities of a model's labels for a text, or for a pair of texts."""

    name = "classification"
    title = "Classification"
    help = "The probability of each label of a sequence classifier, and the attention behind it."
    verb = "classify"
    auto_class = "AutoModelForSequenceClassification"
    default_model = "starter:sentiment"
    fields = (
        Field.text("text", label="Text", placeholder="A text to classify"),
        Field.text(
            "pair",
            label="Second text",
            help="For models that read two texts, such as those trained on entailment.",
            required=False,
        ),
        Field.number(
            "threshold",
            label="Threshold",
            help="For multi-label models, and for the second of two labels: the probability "
            "from which it counts.",
            minimum=0.0,
            maximum=1.0,
            default=UNMOVED,
        ),
    )
    columns = (
        Column.text("text", label="Text"),
        Column.text("pair", label="Second text", required=False),
        Column.labels("label", label="Right label", help="By name or index; several, in a list."),
    )
    report_fields = REPORT_FIELDS

    def run(
        self, model: LoadedModel, *, text: str, pair: str, threshold: float
    ) -> Result | Sequence[Result]:
        """One forward pass; softmax over the logits, or a sigmoid each for multi-label models.

        A regression model has no labels: its numbers come as a table, without a threshold.
        """
        trace = model.trace(text, pair or None)
        logits = trace.output.logits[0].float()
        check_finite(model, logits)
        names = label_names(model, len(logits))
        if is_regression(model):
            return Table(
                columns=("output", "value"),
                rows=tuple(zip(names, logits.tolist(), strict=True)),
                note=NO_THRESHOLD if threshold != UNMOVED else "",
            )
        multi = is_multi_label(model)
        numbers = probabilities(logits, multi).tolist()
        return bars(names, numbers, multi=multi, threshold=threshold)

    def run_rows(
        self, model: LoadedModel, rows: RowStream, *, threshold: float
    ) -> Iterator[tuple[Row, RowOutput] | RowProblem]:
        """Batches of rows; for each the likeliest label and the probabilities of all.

        A right label that the model does not know, or a right number that is none, is a problem of
        its cell; the row is done.
        """
        regression, multi = is_regression(model), is_multi_label(model)
        names: list[str] = []
        for batch in model.batches(rows, text="text", pair="pair"):
            if isinstance(batch, RowProblem):
                yield batch
                continue
            logits = batch.output.logits.float()
            names = names or label_names(model, logits.shape[-1])
            numbers = logits if regression else probabilities(logits, multi)
            finite = logits.isfinite().all(-1).tolist()
            for sequence, values, sound in zip(
                batch.sequences, numbers.tolist(), finite, strict=True
            ):
                row = sequence.row
                if not sound:
                    yield RowProblem(
                        row.index, "text", f"{model.name} computed logits that are no numbers."
                    )
                    continue
                length = {
                    "tokens": len(sequence.ids),
                    "left_out": max(0, sequence.total - len(sequence.ids)),
                }
                cell = row.get("label")
                gold, numbers = None, []
                try:
                    if regression:
                        numbers = gold_numbers(cell, len(names))
                    else:
                        gold = gold_labels(cell, names, multi, model.name)
                except ValueError as error:
                    yield RowProblem(row.index, "label", f"{error} The row is not scored.")
                if regression:
                    yield row, {**_values(names, values, cell, numbers), **length}
                    continue
                found = _output(names, values, gold or ())
                yield row, {**found, **gold_cells(row, gold, multi), "multi": multi, **length}

    def report_rows(
        self,
        done: RowResults,
        *,
        threshold: float,
        row_threshold: float,
        query: str,
        slice_by: str,
        show: str,
        order: str,
        gold: str,
        predicted: str,
    ) -> Sequence[Result]:
        """Scores, confusion, ROC, calibration, slices, and the rows themselves."""
        from lmkit_classification.report import report  # numpy: not before it is needed

        wish = Wish(row_threshold, query, slice_by, show, order, gold, predicted)
        return report(done, wish)


def _values(
    names: Sequence[str], values: list[float], cell: Sequence[Any] | None, right: list[float]
) -> RowOutput:
    """Numbers of the outputs, and the right ones in the place of the data set's own cell."""
    found = {"values": dict(zip(names, values, strict=True))}
    if cell is None:
        return found
    return {**found, "label": right if len(right) > 1 else next(iter(right), None)}


def _output(names: Sequence[str], values: list[float], gold: Sequence[str]) -> RowOutput:
    best = max(range(len(values)), key=values.__getitem__)
    order = range(len(names))
    if len(names) > MOST_LABELS:
        kept = set(sorted(order, key=lambda one: -values[one])[:MOST_LABELS])
        order = [one for one in order if one in kept or names[one] in gold]  # type: ignore[assignment]
    return {
        "predicted": names[best],
        "probability": values[best],
        "probabilities": {names[one]: values[one] for one in order},
    }
