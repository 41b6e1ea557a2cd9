"""Spans and scores are those of transformers' own pipeline, for each way of aggregation."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import transformers as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lmkit_ner.aggregation import STRATEGIES, Entity
from lmkit_ner.reading import clean, read_text

from lmkit.api import FieldError
from lmkit.models import ModelStore
from tests.tiny import tiny_bert, tiny_roberta

WORDS = (
    *("Ada", "Lovelace,", "in", "London;", "the", "Royal", "Society", "of", "Edinburgh!"),
    *("O'Neill-Smith", "(M\xfcller)", "na\xefve", "3.4%", "supercalifragilisticexpialidocious"),
    *("\u5317\u4eac\u5927\u5b66\u7684\u738b\u5c0f\u660e", "\u6771\u4eac\u30bf\u30ef\u30fc"),
    *("\uc11c\uc6b8", "\u0645\u062d\u0645\u062f", "\u0641\u064a", "\u05d0\u05d1\u05d9\u05d1"),
    *("\u0928\u0908", "\u0e44\u0e17\u0e22", "\U0001f469\u200d\U0001f467", "\U0001f1e8\U0001f1ed"),
    *("e\u0301", "\u200b", "\xa0", "[SEP]", "[MASK]", "#hash", "@name", "http://x.org/a?b=c"),
    *("\u202eabc", "\ufb01n", "\u01c5", "\xdf", "I\u0307", "\U0001d538"),
)
parts = st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=8)), min_size=1, max_size=25)
separators = st.sampled_from([" ", "", "  ", "\n", "\t", ", "])
texts = st.builds(lambda own, between: between.join(own), parts, separators)


@cache
def starter() -> Any:
    return ModelStore(device="cpu").get("starter:ner", "AutoModelForTokenClassification")


@cache
def pipeline(which: str) -> Any:
    loaded = starter() if which == "starter" else random_roberta()
    return tf.pipeline(
        "token-classification", model=loaded.model, tokenizer=loaded.tokenizer, device="cpu"
    )


@cache
def random_roberta() -> Any:
    """Byte-level BPE with a random head of BIO labels: every token is some label at random."""
    import tempfile

    import torch

    folder = tiny_roberta(Path(tempfile.mkdtemp()), labels=5)
    torch.manual_seed(3)
    config = tf.RobertaConfig.from_pretrained(folder)
    names = ["O", "B-PER", "I-PER", "B-LOC", "NON-BIO"]
    config.id2label, config.label2id = dict(enumerate(names)), {n: i for i, n in enumerate(names)}
    model = tf.RobertaForTokenClassification(config).eval()
    with torch.no_grad():
        model.classifier.weight.normal_(std=2.0)
    tokenizer = tf.AutoTokenizer.from_pretrained(folder)
    return ModelStore(device="cpu").get((model, tokenizer), "AutoModelForTokenClassification")


def expected(which: str, text: str, strategy: str) -> list[Entity]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "does not support real words": byte-level BPE
        found = pipeline(which)(text, aggregation_strategy=strategy)
    return [
        Entity(one["start"], one["end"], one.get("entity_group", one.get("entity")), one["score"])
        for one in found
    ]


def check(which: str, text: str) -> None:
    model = starter() if which == "starter" else random_roberta()
    try:
        reading = read_text(model, text, 0)
    except FieldError:
        # Nothing but blanks and the like: the pipeline has nothing to say either.
        assert all(not expected(which, clean(text), strategy) for strategy in STRATEGIES)
        return
    assert len(reading.windows) == 1
    for strategy in STRATEGIES:
        wanted = expected(which, clean(text), strategy)
        found = reading.entities(strategy)
        assert [(o.start, o.end, o.label) for o in found] == [
            (o.start, o.end, o.label) for o in wanted
        ]
        for one, other in zip(found, wanted, strict=True):
            assert one.score == pytest.approx(float(other.score), abs=1e-5)


QUICK = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


@QUICK
@given(text=texts)
def test_wordpiece_starter(text: str) -> None:
    check("starter", text[:600])


@QUICK
@given(text=texts)
def test_byte_level_random_head(text: str) -> None:
    check("roberta", text[:12])


def test_sentences_with_names() -> None:
    for text in (
        "Ada Lovelace worked with Charles Babbage in London for the Royal Society of Edinburgh.",
        "Angela Merkel met Emmanuel Macron in Saint-Germain-en-Laye, said Reuters on Tuesday.",
        "O'Neill-Smith of McDonald's flew from Zürich to São Paulo with Łukasz Piszczek.",
        "ACME's John F. Kennedy-Onassis III., U.S.A.",
        "x" * 300 + " of London",
        "王小明在北京大学学习。 محمد صلاح يلعب في ليفربول.",
    ):
        check("starter", text)
    assert expected("starter", "Ada Lovelace lived in London.", "first")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("models") / "ner", 4, head="TokenClassification")


def test_a_random_wordpiece_head(bert: Path) -> None:
    import torch

    loaded = ModelStore(device="cpu").get(str(bert), "AutoModelForTokenClassification")
    with torch.no_grad():
        loaded.model.classifier.weight.normal_(std=3.0)
    pipe = tf.pipeline("token-classification", model=loaded.model, tokenizer=loaded.tokenizer)
    text = "unbelievable acting, unforgettable music in the old cinema by the river"
    reading = read_text(loaded, text, 8)
    for strategy in STRATEGIES:
        found = [(o.start, o.end, o.label) for o in reading.entities(strategy)]
        wanted = pipe(text, aggregation_strategy=strategy)
        assert found == [
            (o["start"], o["end"], o.get("entity_group", o.get("entity"))) for o in wanted
        ]
