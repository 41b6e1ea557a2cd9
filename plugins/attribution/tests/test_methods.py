"""The numbers: those of Captum called directly, of loops written by hand, and of the theory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import captum.attr
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lmkit_attribution import Curve, attribute
from lmkit_attribution.asking import attributions, units_of
from lmkit_attribution.faithfulness import POINTS, SEEDS, counts_of
from lmkit_attribution.scores import METHODS, Attribution, Settings

from lmkit.models.text_trace import ModelTrace
from tests.tiny import tiny_bart, tiny_bert, tiny_gpt2, tiny_llama, tiny_roberta, tiny_t5

from .made import from_embeddings, from_ids, padded, trace_of

CLASSIFIER = "ForSequenceClassification"


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> ModelTrace:
    return trace_of(tiny_bert(tmp_path_factory.mktemp("bert")), CLASSIFIER)


def embedded(trace: ModelTrace, ids: torch.Tensor) -> torch.Tensor:
    made: torch.Tensor = trace.model.model.get_input_embeddings()(ids).detach()
    return made


def inputs_of(trace: ModelTrace, baseline: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings of the text and of its baseline, as a user of Captum would make them."""
    ids = torch.tensor([trace.input_ids])
    return embedded(trace, ids), embedded(trace, padded(trace, baseline))


def test_integrated_gradients_are_captums(bert: ModelTrace) -> None:
    text, baseline = inputs_of(bert)
    expected, delta = captum.attr.IntegratedGradients(from_embeddings(bert, 1)).attribute(
        text, baseline, n_steps=30, return_convergence_delta=True
    )
    found = attribute(bert, target="positive", steps=30)
    np.testing.assert_allclose(found.scores, expected[0].sum(-1).detach(), atol=1e-5)
    assert found.delta == pytest.approx(float(delta), abs=1e-5)


@pytest.mark.parametrize("block", [0, 1])
def test_layer_integrated_gradients_are_captums(bert: ModelTrace, block: int) -> None:
    inner = bert.model.model.bert
    layer = inner.embeddings if block == 0 else inner.encoder.layer[0]
    ids = torch.tensor([bert.input_ids])
    expected, delta = captum.attr.LayerIntegratedGradients(from_ids(bert, 0), layer).attribute(
        ids, padded(bert, 0), n_steps=30, return_convergence_delta=True
    )
    found = attribute(bert, "layer integrated gradients", target="negative", steps=30, block=block)
    np.testing.assert_allclose(found.scores, expected[0].sum(-1).detach(), atol=1e-5)
    assert found.delta == pytest.approx(float(delta), abs=1e-5)


def test_gradient_x_input_and_saliency_are_captums(bert: ModelTrace) -> None:
    text, _ = inputs_of(bert)
    forward = from_embeddings(bert, 1)
    product = captum.attr.InputXGradient(forward).attribute(text.clone().requires_grad_())
    slope = captum.attr.Saliency(forward).attribute(text.clone().requires_grad_(), abs=False)
    by_product = attribute(bert, "gradient x input", target="positive")
    by_slope = attribute(bert, "saliency", target="positive")
    np.testing.assert_allclose(by_product.scores, product[0].sum(-1).detach(), atol=1e-5)
    np.testing.assert_allclose(by_slope.scores, slope[0].norm(dim=-1).detach(), atol=1e-5)
    assert by_product.signed
    assert not by_slope.signed


@pytest.mark.parametrize("window", [1, 3])
def test_occlusion_is_captums_and_a_loop_written_by_hand(bert: ModelTrace, window: int) -> None:
    text, baseline = inputs_of(bert)
    inside = slice(1, -1)  # without [CLS] and [SEP], which stay
    whole = from_embeddings(bert, 1)

    def within(part: torch.Tensor) -> torch.Tensor:
        ends = text.expand(part.shape[0], -1, -1)
        return whole(torch.cat([ends[:, :1], part, ends[:, -1:]], 1))

    width = text.shape[2]
    expected = captum.attr.Occlusion(within).attribute(
        text[:, inside], sliding_window_shapes=(window, width), baselines=baseline[:, inside]
    )
    found = attribute(bert, "occlusion", target="positive", window=window)
    np.testing.assert_allclose(found.scores[1:-1], expected[0].mean(-1), atol=1e-5)
    assert found.scores[0] == found.scores[-1] == 0

    ids = torch.tensor([bert.input_ids])
    forward, pad = from_ids(bert, 1), bert.model.tokenizer.pad_token_id
    count = ids.shape[1]
    sums, windows = np.zeros(count), np.zeros(count)
    with torch.no_grad():
        before = float(forward(ids))
        for start in range(1, count - window):
            without = ids.clone()
            without[0, start : start + window] = pad
            sums[start : start + window] += before - float(forward(without))
            windows[start : start + window] += 1
    np.testing.assert_allclose(found.scores[1:-1], sums[1:-1] / windows[1:-1], atol=1e-5)


def test_a_words_occlusion_takes_all_its_tokens_away(tmp_path: Path) -> None:
    trace = trace_of(tiny_bert(tmp_path), CLASSIFIER, "filming music, moved.")
    found = attribute(trace, "occlusion", target="positive", units="words")
    assert any(len(unit) > 1 for unit in found.units)
    ids, forward = torch.tensor([trace.input_ids]), from_ids(trace, 1)
    with torch.no_grad():
        for unit, score in zip(found.units, found.scores, strict=True):
            without = ids.clone()
            if not trace.tokens[unit[0]].special:
                without[0, list(unit)] = trace.model.tokenizer.pad_token_id
            assert score == pytest.approx(float(forward(ids) - forward(without)), abs=1e-5)


def test_scores_of_words_are_sums_over_their_tokens(tmp_path: Path) -> None:
    trace = trace_of(tiny_bert(tmp_path), CLASSIFIER, "filming music, moved.")
    tokens = attribute(trace, target="positive").scores
    words = attribute(trace, target="positive", units="words")
    assert sorted(token for unit in words.units for token in unit) == list(range(len(tokens)))
    for unit, score in zip(words.units, words.scores, strict=True):
        assert score == pytest.approx(sum(tokens[token] for token in unit), abs=1e-6)
    assert words.units == units_of(trace, "words")
    printed = str(words).splitlines()
    assert printed[0] == "Integrated gradients: label positive"
    assert printed[2].split()[0] == "filming"
    assert float(printed[2].split()[1]) == pytest.approx(words.scores[1], abs=6e-4)
    assert printed[-1] == words.measures


MODELS: dict[str, tuple[Any, str, str | None]] = {
    "bert": (tiny_bert, CLASSIFIER, None),
    "bert, a pair": (tiny_bert, CLASSIFIER, "a film that moves you."),
    # Its positions skip padding tokens: as a baseline they must not move the others.
    "roberta": (tiny_roberta, CLASSIFIER, None),
    # Its head looks for the end of the text in the ids, and refuses inputs_embeds.
    "bart": (tiny_bart, CLASSIFIER, None),
    "gpt2": (tiny_gpt2, "ForCausalLM", None),
    "llama, rotary": (tiny_llama, "ForCausalLM", None),
    "t5": (tiny_t5, "ForSeq2SeqLM", None),
}


@pytest.mark.parametrize("name", MODELS)
def test_what_integrated_gradients_attribute_adds_up_to_the_change(
    name: str, tmp_path: Path
) -> None:
    make, head, pair = MODELS[name]
    trace = trace_of(make(tmp_path), head, pair=pair)
    few, many = (attribute(trace, steps=steps, block=0) for steps in (4, 300))
    logits = trace.output.logits[0].float()
    top = (logits if head == CLASSIFIER else logits[-1]).max()
    assert few.value == pytest.approx(float(top), abs=1e-5)
    change = many.value - many.without
    assert abs(change) > 1e-3
    assert many.delta == pytest.approx(sum(many.scores) - change, abs=1e-4)
    assert abs(many.delta) < 0.02 * abs(change)
    assert few.delta is not None
    assert abs(many.delta) < abs(few.delta)
    layers = attribute(trace, "layer integrated gradients", steps=300)
    assert layers.delta is not None
    assert abs(layers.delta) < 0.02 * abs(change)


def test_a_logit_and_a_probability_are_both_attributed(bert: ModelTrace) -> None:
    chances = bert.output.logits[0].softmax(-1)
    found = attribute(bert, target="negative", output="probability", steps=200)
    assert found.value == pytest.approx(float(chances[0]), abs=1e-5)
    assert sum(found.scores) == pytest.approx(found.value - found.without, abs=1e-2)
    assert found.probability == found.value


@pytest.mark.parametrize("baseline", ["pad", "mask", "unknown", "zero"])
def test_each_baseline_stands_where_it_is_said_to(bert: ModelTrace, baseline: str) -> None:
    found = attribute(bert, "occlusion", target="positive", baseline=baseline)
    ids = {"pad": 0, "unknown": 1, "mask": 4}
    if baseline == "zero":
        text, _ = inputs_of(bert)
        text[:, 1:-1] = 0
        forward = from_embeddings(bert, 1)
        expected = forward(text)
    else:
        expected = from_ids(bert, 1)(padded(bert, ids[baseline]))
    assert found.without == pytest.approx(float(expected.detach()), abs=1e-5)


def test_deletion_and_insertion_are_curves_of_passes_made_by_hand(bert: ModelTrace) -> None:
    found = attribute(bert, "occlusion", target="positive")
    assert found.faithfulness is not None
    count = len(bert.tokens) - 2
    order = sorted(range(1, count + 1), key=lambda token: -found.scores[token])
    model, given = bert.model.model, bert.inputs()
    mask = bert.model.tokenizer.mask_token_id

    def chance(gone: list[int]) -> float:
        ids = torch.tensor([bert.input_ids])
        ids[0, gone] = mask
        with torch.no_grad():
            return float(model(**{**given, "input_ids": ids}).logits.softmax(-1)[0, 1])

    steps = range(count + 1)
    deleted = [chance(order[:step]) for step in steps]
    inserted = [chance(order[step:]) for step in steps]
    np.testing.assert_allclose(found.faithfulness.deletion.values, deleted, atol=1e-5)
    np.testing.assert_allclose(found.faithfulness.insertion.values, inserted, atol=1e-5)
    area = np.trapezoid(deleted, np.linspace(0, 1, count + 1))
    assert found.faithfulness.deletion.area == pytest.approx(area, abs=1e-5)
    assert len(found.faithfulness.random_deletion) == SEEDS
    assert np.std(found.faithfulness.random_deletion) > 0


def test_methods_asked_together_give_what_each_gives_alone(bert: ModelTrace) -> None:
    together = list(attributions(bert, list(METHODS), settings=Settings(steps=10)))
    for one in together:
        alone = attribute(bert, one.method, steps=10)
        assert as_numbers(one) == as_numbers(alone)


def as_numbers(one: Attribution) -> tuple[Any, ...]:
    return one.method, one.scores, one.delta, one.faithfulness, one.value, one.without


def test_the_same_question_has_the_same_answer_in_any_batches(bert: ModelTrace) -> None:
    first, again = (attribute(bert, steps=20) for _ in range(2))
    assert as_numbers(first) == as_numbers(again)
    small = attribute(bert, steps=20, batch=1)
    np.testing.assert_allclose(small.scores, first.scores, atol=1e-5)


def test_half_precision_is_said_and_a_copy_in_float32_is_exact(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path)
    exact = attribute(trace_of(folder, CLASSIFIER), target="positive", steps=20)
    trace = trace_of(folder, CLASSIFIER, dtype="bfloat16")
    assert trace.model.dtype == "bfloat16"
    half = attribute(trace, target="positive", steps=20)
    np.testing.assert_allclose(half.scores, exact.scores, atol=0.3)
    assert any("bfloat16" in note for note in half.notes)
    copied = attribute(trace, target="positive", steps=20, precision="float32 copy")
    # The weights themselves were rounded: nearer than in half precision, not the same.
    assert abs(copied.value - exact.value) < 0.1
    assert sum(copied.scores) == pytest.approx(
        copied.value - copied.without + (copied.delta or 0), abs=1e-4
    )
    assert any("float32 copy" in note for note in copied.notes)
    assert {str(p.dtype) for p in trace.model.model.parameters()} == {"torch.bfloat16"}


def test_a_text_of_special_tokens_and_one_word_is_measured_too(tmp_path: Path) -> None:
    trace = trace_of(tiny_bert(tmp_path), CLASSIFIER, "plot")
    found = attribute(trace, "occlusion", window=50)
    assert found.scores[1] == pytest.approx(found.value - found.without, abs=1e-5)
    assert found.faithfulness is not None
    assert found.faithfulness.deletion.fractions == (0.0, 1.0)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=20))
@settings(max_examples=50, deadline=None)
def test_an_area_lies_between_the_least_and_the_most_of_its_curve(values: list[float]) -> None:
    count = len(values) - 1
    area = Curve(tuple(i / count for i in range(count + 1)), tuple(values)).area
    assert min(values) - 1e-9 <= area <= max(values) + 1e-9


@given(st.integers(1, 10_000))
def test_curves_go_from_nothing_to_everything_in_few_steps(units: int) -> None:
    counts = counts_of(units)
    assert counts[0] == 0
    assert counts[-1] == units
    assert list(counts) == sorted(set(counts))
    assert len(counts) <= POINTS + 1
