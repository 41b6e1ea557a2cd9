"""Labels that the user makes up: by entailment where the model knows it, else by similarity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

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
    RowSequence,
    RowStream,
    Task,
)
from lmkit_classification.heads import bars, check_finite, gold_cells, gold_labels
from lmkit_classification.wish import REPORT_FIELDS, Wish

__all__ = ["ZeroShot"]

SHARPNESS = 20.0
"""What cosines are multiplied with before the softmax: the scale that sentence encoders such as
all-MiniLM-L6-v2 are trained with (Reimers and Gurevych 2019; ``scale`` of sentence-transformers'
MultipleNegativesRankingLoss)."""
MOST_CANDIDATES = 200


class ZeroShot(Task):
    """Which of some labels fits a text, without any training for them."""

    name = "zero-shot"
    title = "Zero-shot"
    help = "Which of your own labels fits a text: by entailment, or by similarity of embeddings."
    verb = "zero_shot"
    auto_class = "AutoModelForSequenceClassification|AutoModel"
    default_model = "starter:encoder"
    fields = (
        Field.text("text", label="Text", placeholder="A text to label", body=True),
        Field.text(
            "candidates",
            label="Labels",
            help="Divided by commas or line breaks.",
            placeholder="politics, sport, science",
            multiline=False,
        ),
        Field.text(
            "template",
            label="Sentence",
            help="What a label becomes before it is compared; {} stands for it.",
            default="This text is about {}.",
            multiline=False,
            required=False,
        ),
        Field.boolean("several", label="Several labels may fit"),
        Field.number(
            "threshold",
            label="Threshold",
            help="Where several may fit, and for the second of two labels: the probability "
            "from which it counts.",
            minimum=0.0,
            maximum=1.0,
            default=0.5,
        ),
    )
    columns = (
        Column.text("text", label="Text"),
        Column.labels("label", label="Right label", help="One of the labels; several, in a list."),
    )
    report_fields = REPORT_FIELDS

    def from_python(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Labels may be a list; the form holds them divided by commas.

        Raises:
            FieldError: something in the list is no label.
        """
        labels = values.get("candidates")
        if not isinstance(labels, Sequence) or isinstance(labels, str | bytes):
            return values
        for one in labels:
            if not isinstance(one, str) or not one.strip() or "," in one or "\n" in one:
                raise FieldError(
                    f"Labels: {repr(one)[:60]} is no label of a list.",
                    hint="A label is text without commas and line breaks, which divide labels.",
                )
        return {**values, "candidates": ", ".join(labels)}

    def run(
        self,
        model: LoadedModel,
        *,
        text: str,
        candidates: str,
        template: str,
        several: bool,
        threshold: float,
    ) -> Result | Sequence[Result]:
        """One pass for each label, or one each for the text and the labels; the text's is kept."""
        labels = split_labels(candidates)
        sentences = hypotheses(labels, template)
        if entailment_of(model) is None:
            trace = model.trace(text)
            own = pooled(trace.output.last_hidden_state[0])
            scores = similarities(own[None], _embedded(model, sentences), several)[0]
        else:
            rows = [Row(place, {"text": text, "pair": one}) for place, one in enumerate(sentences)]
            logits: dict[int, Any] = {}
            for batch in model.batches(rows, text="text", pair="pair", label="Labels"):
                if isinstance(batch, RowProblem):
                    raise FieldError(f"{labels[batch.row]!r}: {batch.message}")
                for sequence, one in zip(batch.sequences, batch.output.logits, strict=True):
                    logits[sequence.row.index] = one
            import torch

            found = torch.stack([logits[place] for place in range(len(labels))])
            check_finite(model, found)
            scores = entailments(model, found[None], several)[0]
            best = int(scores.argmax())
            model.trace(text, sentences[best])  # what the explorer shows: the likeliest label's
        return bars(
            labels,
            scores.tolist(),
            multi=several,
            threshold=threshold,
            fixed=False,
            note=said(model, several),
        )

    def run_rows(
        self,
        model: LoadedModel,
        rows: RowStream,
        *,
        candidates: str,
        template: str,
        several: bool,
        threshold: float,
    ) -> Iterator[tuple[Row, RowOutput] | RowProblem]:
        """As :meth:`run` for each row; the labels' own embeddings are computed once."""
        labels = split_labels(candidates)
        sentences = hypotheses(labels, template)
        found = (
            _by_similarity(model, rows, sentences, several)
            if entailment_of(model) is None
            else _by_entailment(model, rows, sentences, several)
        )
        for item in found:
            if isinstance(item, RowProblem):
                yield item
                continue
            row, numbers, left_out = item
            gold = None
            try:
                gold = gold_labels(row.get("label"), labels, several)
            except ValueError as error:
                yield RowProblem(row.index, "label", f"{error} The row is not scored.")
            best = max(range(len(labels)), key=numbers.__getitem__)
            yield (
                row,
                {
                    "predicted": labels[best],
                    "probability": numbers[best],
                    "probabilities": dict(zip(labels, numbers, strict=True)),
                    **gold_cells(row, gold, several),
                    "multi": several,
                    "left_out": left_out,
                },
            )

    def report_rows(
        self,
        done: RowResults,
        *,
        candidates: str,
        template: str,
        several: bool,
        threshold: float,
        row_threshold: float,
        query: str,
        slice_by: str,
        show: str,
        order: str,
        gold: str,
        predicted: str,
    ) -> Sequence[Result]:
        """The report of the classification task."""
        from lmkit_classification.report import report  # numpy: not before it is needed

        return report(done, Wish(row_threshold, query, slice_by, show, order, gold, predicted))


def split_labels(text: str) -> list[str]:
    """The labels in a field, in order, each once.

    Raises:
        FieldError: fewer than one, or too many.
    """
    parts = [part.strip() for part in text.replace("\n", ",").split(",")]
    labels = list(dict.fromkeys(part for part in parts if part))
    if not labels:
        raise FieldError("There are no labels.", hint="Write some, divided by commas.")
    if len(labels) > MOST_CANDIDATES:
        raise FieldError(f"{len(labels):,} labels; at most {MOST_CANDIDATES} are taken.")
    return labels


def hypotheses(labels: Sequence[str], template: str) -> list[str]:
    """The sentence of each label; without a template the label itself.

    Raises:
        FieldError: the template has no place for the label.
    """
    if not template.strip():
        return list(labels)
    if "{}" not in template:
        raise FieldError("The sentence has no {} for the label.", hint="This text is about {}.")
    return [template.replace("{}", one) for one in labels]


def entailment_of(model: LoadedModel) -> tuple[int, int] | None:
    """Indices of entailment and contradiction among the labels; None for a model of another kind.

    As transformers' zero-shot pipeline: entailment is the label that begins with "entail", and
    contradiction the first that is not it.

    Raises:
        ModelError: it is a classifier into labels of another kind.
    """
    names = [one.casefold() for one in model.labels]
    found = [place for place, one in enumerate(names) if one.startswith("entail")]
    if names and (not found or len(names) < 2):
        raise ModelError(
            f"{model.name} classifies into labels of its own: {', '.join(model.labels[:5])}.",
            hint="Give a model trained on NLI, or an encoder such as starter:encoder.",
        )
    return (found[0], -1 if found[0] == 0 else 0) if found else None


def entailments(model: LoadedModel, logits: Any, several: bool) -> Any:
    """Probabilities of labels from the logits of an NLI model.

    Softmax over the labels' entailment; where several may fit, of entailment against
    contradiction for each (as transformers' ZeroShotClassificationPipeline).

    Args:
        model: For the places of its labels.
        logits: (texts, labels, outputs).
        several: Whether several labels may fit.

    Returns:
        (texts, labels).
    """
    places = entailment_of(model)
    assert places is not None
    numbers = logits.float()
    if several or numbers.shape[1] == 1:
        return numbers[..., [places[1], places[0]]].softmax(-1)[..., 1]
    return numbers[..., places[0]].softmax(-1)


def pooled(hidden: Any) -> Any:
    """The mean of a text's token vectors, of length 1; special tokens count, as in training.

    Args:
        hidden: (tokens, width), without padding.
    """
    vector = hidden.float().mean(0)
    return vector / vector.norm().clamp_min(1e-12)


def similarities(texts: Any, labels: Any, several: bool) -> Any:
    """Probabilities from cosines: softmax of 20 times them, or the cosine itself, 0 if negative.

    Args:
        texts: (texts, width), of length 1.
        labels: (labels, width), of length 1.
        several: Whether several labels may fit.
    """
    cosines = texts @ labels.T
    return cosines.clamp(0, 1) if several else (SHARPNESS * cosines).softmax(-1)


def said(model: LoadedModel, several: bool) -> str:
    """By what the labels were chosen."""
    if entailment_of(model) is not None:
        return f"By entailment: {model.name} was trained to tell whether a sentence follows."
    how = "cosines" if several else f"softmax of {SHARPNESS:g} x cosine"
    return (
        f"By similarity of embeddings ({how}): {model.name} is no entailment model. "
        "Give one trained on NLI for probabilities that were learnt."
    )


def _embedded(model: LoadedModel, texts: Sequence[str]) -> Any:
    import torch

    vectors: dict[int, Any] = {}
    rows = [Row(place, {"text": one}) for place, one in enumerate(texts)]
    for item in _vectors(model, rows, "Labels"):
        if isinstance(item, RowProblem):
            raise FieldError(f"{texts[item.row]!r}: {item.message}")
        row, vector, _ = item
        vectors[row.index] = vector
    return torch.stack([vectors[place] for place in range(len(texts))])


def _cut(sequence: RowSequence) -> int:
    """How many tokens the model did not read."""
    return max(0, sequence.total - len(sequence.ids))


def _vectors(
    model: LoadedModel, rows: Any, label: str
) -> Iterator[tuple[Row, Any, int] | RowProblem]:
    for batch in model.batches(rows, text="text", label=label):
        if isinstance(batch, RowProblem):
            yield batch
            continue
        hidden = batch.output.last_hidden_state
        for place, sequence in enumerate(batch.sequences):
            own = hidden[place, batch.place(place)]
            yield sequence.row, pooled(own), _cut(sequence)


def _by_similarity(
    model: LoadedModel, rows: RowStream, sentences: Sequence[str], several: bool
) -> Iterator[tuple[Row, list[float], int] | RowProblem]:
    labels = _embedded(model, sentences)
    for item in _vectors(model, rows, "Rows"):
        if isinstance(item, RowProblem):
            yield item
        else:
            row, vector, cut = item
            yield row, similarities(vector[None], labels, several)[0].tolist(), cut


def _by_entailment(
    model: LoadedModel, rows: RowStream, sentences: Sequence[str], several: bool
) -> Iterator[tuple[Row, list[float], int] | RowProblem]:
    """Each row once a label; a row is done when all its labels are."""
    import torch

    def expanded() -> Iterator[Row]:
        for row in rows:
            for place, sentence in enumerate(sentences):
                values = {**row.values, "sentence": sentence, "place": place, "row": row}
                yield Row(row.index, values)

    waiting: dict[int, dict[int, Any]] = {}
    failed: set[int] = set()
    cuts: dict[int, int] = {}  # each label's sentence leaves the text another room
    total = len(rows) * len(sentences)
    for batch in model.batches(expanded(), text="text", pair="sentence", total=total):
        if isinstance(batch, RowProblem):
            if batch.row not in failed:
                failed.add(batch.row)
                yield batch
            continue
        for sequence, logits in zip(
            batch.sequences, batch.output.logits.float().cpu(), strict=True
        ):
            row = sequence.row
            found = waiting.setdefault(row.index, {})
            found[row["place"]] = logits
            cuts[row.index] = max(cuts.get(row.index, 0), _cut(sequence))
            if len(found) < len(sentences):
                continue
            del waiting[row.index]
            stacked = torch.stack([found[place] for place in range(len(sentences))])
            chances = entailments(model, stacked[None], several)[0].tolist()
            yield row["row"], chances, cuts.pop(row.index)
