"""Entities of lmkit against those of transformers' own pipeline, on files of words and tags.

    python -m benchmarks.check_ner ewt-dev.iob2 wikigold.conll.txt [--model M] [--random]

For each strategy: how many spans there are, how many are not the pipeline's, and by how much scores
differ at most. The scores of the data set are held against seqeval and nervaluate. With
``--words 5000`` the sentences are joined into documents of so many words, whose windows are held
against a reading written out plainly below, and against the pipeline's own ``stride``. `--random`
takes models of random weights over four kinds of tokenizers instead: labels change at every token.
Status 1 where a span is another, or a score differs by more than 1e-5.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ner_files import Sentence, read_sentences

Found = list[tuple[int, int, str, float]]
"""Start, end, label and score of each entity."""
CLOSE = 1e-5
LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "MISC", "X-Y-Z")


def random_models() -> Iterator[tuple[str, Any]]:
    """Name and (model, tokenizer) of tiny models whose labels mean nothing."""
    import torch
    import transformers as tf

    from tests.tiny import tiny_bert, tiny_llama, tiny_roberta, tiny_t5

    kinds = {
        "WordPiece": tiny_bert,
        "byte-level BPE": tiny_roberta,
        "byte-fallback BPE": tiny_llama,
        "Unigram": tiny_t5,
    }
    for name, make in kinds.items():
        with tempfile.TemporaryDirectory() as folder:
            tokenizer = tf.AutoTokenizer.from_pretrained(make(folder))
        tokenizer.model_max_length = 512
        config = tf.BertConfig(
            vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=32, id2label=dict(enumerate(LABELS)), type_vocab_size=2,
            label2id={label: index for index, label in enumerate(LABELS)},
        )  # fmt: skip
        torch.manual_seed(0)
        model = tf.BertForTokenClassification(config).eval()
        with torch.no_grad():
            model.classifier.weight.normal_(std=0.5)
        yield name, (model, tokenizer)


class Pipeline:
    """The token-classification pipeline: one pass a text, all strategies."""

    def __init__(self, loaded: Any) -> None:
        import transformers as tf

        self._pipe: Any = tf.pipeline(
            "token-classification", model=loaded.model, tokenizer=loaded.tokenizer, device="cpu"
        )

    def __call__(self, text: str, strategies: Sequence[str], **options: Any) -> dict[str, Found]:
        """What it finds by each strategy; ``options`` go to its tokenizer."""
        parts = self._pipe.preprocess(text, is_split_into_words=False, tokenizer_params=options)
        passes = [self._pipe.forward(one) for one in parts]
        return {name: self._spans(self._pipe.postprocess, passes, name) for name in strategies}

    def from_scores(self, text: str, ids: Any, places: Any, scores: Any, strategy: str) -> Found:
        """Its aggregation of probabilities that were computed elsewhere."""

        def aggregate(_: Any, aggregation_strategy: Any) -> Any:
            special = np.zeros(len(ids), dtype=int)
            tokens = self._pipe.gather_pre_entities(
                text, ids, scores, places, special, aggregation_strategy
            )
            found = self._pipe.aggregate(tokens, aggregation_strategy)
            return [one for one in found if one.get("entity_group", one.get("entity")) != "O"]

        return self._spans(aggregate, None, strategy)

    def _spans(self, find: Any, given: Any, strategy: str) -> Found:
        from transformers.pipelines.token_classification import AggregationStrategy

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that byte-level BPE knows no words
            found = find(given, aggregation_strategy=AggregationStrategy(strategy))
        return [
            (one["start"], one["end"], one.get("entity_group", one.get("entity")), one["score"])
            for one in found
        ]


def differences(ours: Found, theirs: Found) -> tuple[list[tuple[int, int, str]], float]:
    """Spans that only one of both has, and the largest difference of the scores of the others."""
    mine, other = ({one[:3]: one[3] for one in found} for found in (ours, theirs))
    far = [abs(float(mine[one]) - float(other[one])) for one in mine.keys() & other.keys()]
    return sorted(mine.keys() ^ other.keys()), max(far, default=0.0)


def check_sentences(loaded: Any, texts: Sequence[str]) -> bool:
    """Each text as a row of a data set against a call of the pipeline."""
    from lmkit_ner.aggregation import STRATEGIES
    from lmkit_ner.reading import read_rows

    from lmkit.api import Row

    rows = [Row(index, {"text": text}) for index, text in enumerate(texts)]
    read = read_rows(loaded, rows, lambda row: str(row["text"]), 128)
    readings = {item[0].index: item[1] for item in read if isinstance(item, tuple)}
    pipe = Pipeline(loaded)
    spans, wrong, far = Counter[str](), Counter[str](), dict.fromkeys(STRATEGIES, 0.0)
    long = 0
    for index, text in enumerate(texts):
        if len(readings[index].windows) > 1:
            long += 1  # the pipeline would cut it
            continue
        for name, theirs in pipe(text, STRATEGIES).items():
            ours = [(e.start, e.end, e.label, e.score) for e in readings[index].entities(name)]
            own, furthest = differences(ours, theirs)
            spans[name] += len(ours)
            wrong[name] += len(own)
            far[name] = max(far[name], furthest)
    print(f"  {len(texts) - long:,} sentences" + (f", {long} longer ones left out" * bool(long)))
    for name in STRATEGIES:
        print(f"  {name:<8} {spans[name]:>7,} spans, {wrong[name]} differ, scores {far[name]:.1e}")
    return not wrong.total() and max(far.values()) <= CLOSE


def check_scores(model: Any, rows: Sequence[Sentence]) -> bool:
    """The report of the data set against seqeval on a tag a character, and nervaluate on spans."""
    from nervaluate import Evaluator
    from seqeval.metrics import f1_score

    import lmkit

    done = lmkit.load(model).evaluate("ner", list(rows))
    for problem in done.problems[:5]:
        print(f"  {problem}")
    right = [row["right"] for row in done.rows]
    found = [[(e["start"], e["end"], e["label"]) for e in row["entities"]] for row in done.rows]
    tags = [
        [_as_tags(len(row["text"]), own) for row, own in zip(done.rows, marks, strict=True)]
        for marks in (right, found)
    ]
    spans = [
        [[{"label": k, "start": a, "end": b - 1} for a, b, k in own] for own in marks]
        for marks in (right, found)
    ]
    labels = sorted({one["label"] for marks in spans for own in marks for one in own})
    other = Evaluator(*spans, tags=labels, loader="dict").evaluate()["overall"]
    same = True
    for name, by, wanted in (
        ("F1", "seqeval", f1_score(*tags)),
        ("F1", "nervaluate", other["strict"].f1),
        ("boundaries F1", "nervaluate", other["exact"].f1),
        ("partial F1", "nervaluate", other["partial"].f1),
        ("kinds F1", "nervaluate", other["ent_type"].f1),
    ):
        mine = done.scores[name]
        assert mine is not None
        print(f"  {name:<14} {mine:.6f}, {by} {wanted:.6f}")
        same = same and abs(mine - wanted) <= CLOSE
    return same


def _as_tags(count: int, marks: Sequence[tuple[int, int, str]]) -> list[str]:
    tags = ["O"] * count
    for first, last, kind in marks:
        tags[first:last] = [f"B-{kind}", *[f"I-{kind}"] * (last - first - 1)]
    return tags


def check_documents(loaded: Any, texts: Sequence[str], words: int, stride: int) -> bool:
    """Long texts against every window by itself, and against the pipeline's stride."""
    import torch
    from lmkit_ner.aggregation import STRATEGIES, softmax
    from lmkit_ner.reading import read_text

    from lmkit.models.limits import longest_input

    pipe = Pipeline(loaded)
    tokenizer = loaded.tokenizer
    limit = longest_input(loaded.model, tokenizer)[0]
    tokenizer.model_max_length = limit
    spans = wrong = outside = within = 0
    far = 0.0
    for text in _documents(texts, words):
        reading = read_text(loaded, text, stride)
        whole = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids, places = np.array(whole["input_ids"]), np.array(whole["offset_mapping"])
        empty = tokenizer("")["input_ids"]
        room_for = limit - len(empty)
        starts = range(0, max(1, len(ids) - stride), room_for - stride)
        mask = tokenizer("a", return_special_tokens_mask=True)["special_tokens_mask"]
        head = empty[: mask.index(0)]
        scores, room = np.zeros((len(ids), len(reading.labels)), np.float32), np.full(len(ids), -1)
        shared: list[tuple[int, int]] = []
        for start in starts:
            end = min(len(ids), start + room_for)
            given = [*head, *ids[start:end].tolist(), *empty[len(head) :]]
            with torch.no_grad():
                logits = loaded.model(torch.tensor([given])).logits[0].float().numpy()
            own = softmax(logits[len(head) : len(head) + end - start])
            for place in range(start, end):
                left = place - start if start else len(ids)
                right = end - 1 - place if end < len(ids) else len(ids)
                if min(left, right) > room[place]:
                    room[place], scores[place] = min(left, right), own[place - start]
        for one, after in pairwise(starts):
            last = min(len(ids), one + room_for) - 1
            shared.append((int(places[after][0]), int(places[last][1])))
        strided = pipe(
            text,
            STRATEGIES[1:],
            stride=stride,
            return_overflowing_tokens=True,
            padding=True,
        )
        for name in STRATEGIES:
            ours = [(e.start, e.end, e.label, e.score) for e in reading.entities(name)]
            own_way, furthest = differences(ours, pipe.from_scores(text, ids, places, scores, name))
            spans += len(ours)
            wrong += len(own_way)
            far = max(far, furthest)
            for start, end, _ in differences(ours, strided.get(name, ours))[0]:
                near = any(first < end and start < last for first, last in shared)
                within += near
                outside += not near
        size = f"{len(text.split()):,} words, {len(starts)} windows"
        print(
            f"  {size}: {spans:,} spans, {wrong} differ, scores {far:.1e}; of the pipeline's "
            f"stride {within} differ within what windows share, {outside} elsewhere"
        )
    return not wrong and not outside and far <= CLOSE


def _documents(texts: Sequence[str], words: int) -> Iterator[str]:
    document: list[str] = []
    count = 0
    for text in texts:
        document.append(text)
        count += len(text.split())
        if count >= words:
            yield " ".join(document)
            document, count = [], 0


def main() -> int:
    """Check each file; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--column", type=int, help="of the tag, from 0; .iob2 2, others the last")
    parser.add_argument("--model", default="starter:ner")
    parser.add_argument("--random", action="store_true")
    parser.add_argument("--words", type=int, default=0, help="of the documents")
    parser.add_argument("--stride", type=int, default=128)
    parser.add_argument("--limit", type=int, help="sentences, or documents' sentences, of a file")
    options = parser.parse_args()
    from lmkit.models import ModelStore

    store = ModelStore(device="cpu")
    models = random_models() if options.random else iter([(options.model, options.model)])
    right = True
    for name, source in models:
        loaded = store.get(source, "AutoModelForTokenClassification")
        for path in options.files:
            column = options.column
            if column is None:
                column = 2 if path.suffix == ".iob2" else -1
            rows = read_sentences(path, column)[: options.limit]
            texts = [" ".join(row["tokens"]) for row in rows]
            print(f"{path.name}, {name}")
            if options.words:
                right &= check_documents(loaded, texts, options.words, options.stride)
                continue
            right &= check_sentences(loaded, texts)
            if not options.random:
                right &= check_scores(source, rows)
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
