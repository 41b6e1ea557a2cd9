"""Text classification: the probability of each label, and the attention behind it."""

from __future__ import annotations

from typing import Any

from lmkit.api import (
    Column,
    Field,
    Labels,
    LabelScore,
    LoadedModel,
    ModelError,
    RegisterTask,
    RowProblem,
    Table,
    Task,
    hookimpl,
)

__all__ = ["Classification", "lmkit_host_api", "lmkit_register_tasks"]

lmkit_host_api = ">=1,<2"


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
            help="Multi-label models: the probability from which a label counts.",
            minimum=0.0,
            maximum=1.0,
            default=0.5,
        ),
    )

    columns = (
        Column.text("text", label="Text"),
        Column.text("pair", label="Second text", required=False),
        Column.labels("label", label="Label", help="Its name or index; several for multi-label."),
    )

    def run_rows(self, model, rows, *, threshold):
        for batch in model.batches(rows, text="text", pair="pair"):
            if isinstance(batch, RowProblem):
                yield batch
                continue
            for sequence, probs in zip(batch.sequences, batch.output.logits.softmax(-1).tolist()):
                yield sequence.row, {"probabilities": dict(zip(model.labels, probs))}

    def report_rows(self, done, *, threshold):
        right = sum(max(o["probabilities"], key=o["probabilities"].get) in r.get("label", ()) for r, o in done)
        return (Table(columns=("measure", "value"), rows=(("accuracy", right / len(done)),)),)

    def run(self, model: LoadedModel, *, text: str, pair: str, threshold: float) -> Labels | Table:
        """One forward pass; softmax over the logits, or a sigmoid each for multi-label models.

        A regression model has no labels: its numbers come as a table.
        """
        trace = model.trace(text, pair or None)
        logits = trace.output.logits[0].float()
        if not logits.isfinite().all():
            raise ModelError(
                f"{model.name} computed logits that are not finite numbers, in {model.dtype}.",
                hint="Load it with dtype='float32'; if that does not help, its weights are broken.",
            )
        if model.model.config.problem_type == "regression":
            names = _names(model, len(logits))
            return Table(
                columns=("output", "value"), rows=tuple(zip(names, logits.tolist(), strict=True))
            )
        multi = _is_multi_label(model)
        probabilities = (logits.sigmoid() if multi else logits.softmax(-1)).tolist()
        names = _names(model, len(probabilities))
        scores = sorted(
            (LabelScore(label=name, score=p) for name, p in zip(names, probabilities, strict=True)),
            key=lambda one: -one.score,
        )
        return Labels(scores=tuple(scores), multi=multi, threshold=threshold)


def _is_multi_label(model: LoadedModel) -> bool:
    config: Any = model.model.config
    # One output that is not declared a regression is read as yes or no, as transformers'
    # own pipeline does.
    return bool(config.problem_type == "multi_label_classification" or config.num_labels == 1)


def _names(model: LoadedModel, count: int) -> list[str]:
    labels = list(model.labels)
    return labels if len(labels) == count else [f"LABEL_{index}" for index in range(count)]


@hookimpl
def lmkit_register_tasks(register: RegisterTask) -> None:
    """Offer the task."""
    register(Classification)
