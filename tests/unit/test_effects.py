"""Sizes of a change: against their formulas by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from lmkit.analysis import effect
from lmkit.errors import CaptureError


def model(name: str, **config: Any) -> Any:
    return type(name, (), {})() if not config else _with_config(name, config)


def _with_config(name: str, config: dict[str, Any]) -> Any:
    made = type(name, (), {})()
    made.config = SimpleNamespace(**config)
    return made


def logits(*rows: Any) -> Any:
    return SimpleNamespace(logits=torch.tensor(rows, dtype=torch.float32))


def softmax(z: Any) -> Any:
    e = np.exp(np.array(z) - np.max(z))
    return e / e.sum()


NAMES = {"id2label": {0: "bad", 1: "fair", 2: "good"}}


def test_labels() -> None:
    one = _with_config("BertForSequenceClassification", NAMES)
    before, after = [1.0, 0.5, 3.0], [2.0, 0.0, 1.5]
    got = effect(logits(before), logits(after), model=one)
    p, q = softmax(before), softmax(after)
    assert got.kind == "labels"
    assert got.total_variation == pytest.approx(0.5 * np.abs(p - q).sum())
    assert got.divergence == pytest.approx((p * np.log(p / q)).sum())
    assert got.margin_before == pytest.approx(2.0)  # good less bad, its runner-up
    assert got.margin_after == pytest.approx(-0.5)
    assert got.margin == pytest.approx(-2.5)
    assert got.confidence == pytest.approx(q[2] - p[2])
    assert got.flipped == 1
    assert [o.label for o in got.outcomes] == ["good", "bad", "fair"]
    assert [o.before for o in got.outcomes] == pytest.approx(sorted(p, reverse=True))
    assert np.isnan(got.cosine)
    assert got.by_token == ()


def test_nothing_changed_is_exactly_zero() -> None:
    one = _with_config("BertForSequenceClassification", NAMES)
    got = effect(logits([1.0, 0.5, 3.0]), logits([1.0, 0.5, 3.0]), model=one)
    assert (got.total_variation, got.divergence, got.margin, got.confidence) == (0, 0, 0, 0)
    hidden = SimpleNamespace(last_hidden_state=torch.randn(1, 4, 8))
    same = effect(hidden, hidden, model=model("BertModel"))
    assert (same.cosine, same.norm) == (0, 0)


def test_independent_labels_and_values() -> None:
    one = _with_config(
        "BertForSequenceClassification", {**NAMES, "problem_type": "multi_label_classification"}
    )
    before, after = [1.0, -2.0, 0.0], [0.0, -2.0, 3.0]
    got = effect(logits(before), logits(after), model=one)
    p, q = 1 / (1 + np.exp(-np.array(before))), 1 / (1 + np.exp(-np.array(after)))
    assert got.kind == "independent labels"
    assert got.total_variation == pytest.approx(np.abs(p - q).mean())
    assert {o.label: (o.before, o.after) for o in got.outcomes} == {
        name: pytest.approx((p[i], q[i])) for i, name in NAMES["id2label"].items()
    }
    value = effect(
        logits([1.5]), logits([1.0]), model=_with_config("X", {"id2label": {0: "stars"}})
    )
    assert value.kind == "value"
    assert value.value == -0.5
    assert (value.outcomes[0].label, value.outcomes[0].before) == ("stars", 1.5)
    assert np.isnan(value.total_variation)


def test_the_next_token_is_the_last_positions() -> None:
    rows = torch.zeros(1, 3, 40)
    rows[0, -1, 7], rows[0, 0, 9] = 5.0, 99.0
    other = rows.clone()
    other[0, -1, 8] = 6.0
    got = effect(
        SimpleNamespace(logits=rows),
        SimpleNamespace(logits=other),
        model=model("GPT2LMHeadModel"),
        name=lambda index: f"<{index}>",
    )
    assert got.kind == "next token"
    assert got.outcomes[0].label == "<7>"
    assert next(o for o in got.outcomes if o.label == "<8>").after == pytest.approx(
        softmax(other[0, -1].tolist())[8]
    )
    assert got.flipped == 1
    assert len(got.outcomes) <= 20


def test_each_token_has_its_own_change_and_special_ones_do_not_count() -> None:
    one = _with_config("BertForTokenClassification", {**NAMES, "vocab_size": 99})
    before = torch.tensor([[[9.0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 9, 0]]])
    after = before.clone()
    after[0, 0] = torch.tensor([0.0, 9, 0])
    after[0, 2] = torch.tensor([2.0, 0, 0])
    got = effect(
        SimpleNamespace(logits=before), SimpleNamespace(logits=after), model=one, positions=[1, 2]
    )
    assert got.kind == "tokens"
    p, q = softmax([0, 2, 0]), softmax([2, 0, 0])
    assert got.by_token == pytest.approx((0.0, 0.5 * np.abs(p - q).sum()))
    assert got.flipped == 0.5
    assert got.outcomes == ()


def test_hidden_states_turn_and_grow() -> None:
    before = torch.tensor([[[3.0, 0.0], [0.0, 2.0]]])
    after = torch.tensor([[[0.0, 6.0], [0.0, 1.0]]])
    got = effect(
        SimpleNamespace(last_hidden_state=before),
        SimpleNamespace(last_hidden_state=after),
        model=model("BertModel"),
    )
    assert got.kind == "hidden"
    assert got.by_token == pytest.approx((1.0, 0.0))
    assert got.cosine == pytest.approx(0.5)
    assert got.norm == pytest.approx((1.0 - 0.5) / 2)


def test_answers_have_a_start_and_an_end() -> None:
    def spans(start: list[float], end: list[float]) -> Any:
        return SimpleNamespace(start_logits=torch.tensor([start]), end_logits=torch.tensor([end]))

    got = effect(spans([5, 0, 0], [0, 0, 5]), spans([0, 5, 0], [0, 0, 5]), model=model("BertForQA"))
    p, q = softmax([5, 0, 0]), softmax([0, 5, 0])
    assert got.kind == "answer"
    assert got.total_variation == pytest.approx(0.25 * np.abs(p - q).sum())
    assert got.flipped == 0.5


def test_classes_that_can_not_be_do_not_spoil_the_divergence() -> None:
    rows = [0.0, 1.0, -float("inf")]
    got = effect(logits(rows), logits([1.0, 0.0, -float("inf")]), model=model("X"))
    assert 0 < got.divergence < 1


def test_what_can_not_be_compared_is_said() -> None:
    with pytest.raises(CaptureError, match="neither logits nor hidden states"):
        effect(SimpleNamespace(), SimpleNamespace(), model=model("Odd"))
    with pytest.raises(CaptureError, match="different shapes"):
        effect(logits([1.0, 2.0]), logits([1.0, 2.0, 3.0]), model=model("X"))
    with pytest.raises(CaptureError, match="have the shape"):
        effect(
            SimpleNamespace(logits=torch.zeros(1, 2, 3, 4)),
            SimpleNamespace(logits=torch.zeros(1, 2, 3, 4)),
            model=model("X"),
        )
