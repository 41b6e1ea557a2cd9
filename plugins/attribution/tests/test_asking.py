"""What can be asked, of which models, and what is left behind: nothing."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lmkit_attribution import AttributionView, attribute
from lmkit_attribution.memory import batch_that_fits
from lmkit_attribution.scores import METHODS
from lmkit_attribution.views import ALL

import lmkit
from lmkit.api import FieldError, ModelError, Table, TokenScores
from lmkit.errors import AttentionUnavailableError, Cancelled, LmkitError
from lmkit.models import ModelStore
from lmkit.models.text_trace import ModelTrace
from lmkit.protocol.messages import Progress
from lmkit.work import Work, doing
from tests.tiny import tiny_bert, tiny_gpt2, tiny_t5

from .made import TEXT, trace_of

CLASSIFIER = "ForSequenceClassification"


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> ModelTrace:
    return trace_of(tiny_bert(tmp_path_factory.mktemp("bert")), CLASSIFIER)


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> ModelTrace:
    names = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    folder = tiny_bert(
        tmp_path_factory.mktemp("tagger"),
        5,
        head="TokenClassification",
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
    )
    return trace_of(folder, "ForTokenClassification")


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> ModelTrace:
    return trace_of(tiny_gpt2(tmp_path_factory.mktemp("gpt2")), "ForCausalLM")


# -- targets --------------------------------------------------------------------------------------


def test_a_label_is_the_predicted_one_unless_named(bert: ModelTrace) -> None:
    logits = bert.output.logits[0]
    predicted = bert.model.labels[int(logits.argmax())]
    assert attribute(bert, "occlusion").target == f"label {predicted}"
    for asked in ("negative", "NEGATIVE", "0"):
        found = attribute(bert, "occlusion", target=asked)
        assert found.target == "label negative"
        assert found.value == pytest.approx(float(logits[0]), abs=1e-5)


def test_a_target_or_place_may_be_a_number_or_none(bert: ModelTrace, tagger: ModelTrace) -> None:
    for asked, label in ((0, "negative"), (np.int64(1), "positive")):
        found = attribute(bert, "occlusion", target=asked, at=None)
        assert found.target == f"label {label}"
    predicted = attribute(bert, "occlusion").target
    assert attribute(bert, "occlusion", target=None).target == predicted
    named = attribute(tagger, "occlusion", target="B-PER", at="3")
    assert attribute(tagger, "occlusion", target=1, at=3).target == named.target


def test_each_of_several_labels_has_a_logit_of_its_own(tmp_path: Path) -> None:
    trace = trace_of(tiny_bert(tmp_path, 3, problem_type="multi_label_classification"), CLASSIFIER)
    logits = trace.output.logits[0]
    for index, label in enumerate(trace.model.labels):
        found = attribute(trace, "occlusion", target=label)
        assert found.target == f"label {label}"
        assert found.value == pytest.approx(float(logits[index]), abs=1e-5)
        assert found.probability == pytest.approx(float(logits[index].sigmoid()), abs=1e-5)


def test_a_spans_label_is_the_mean_over_its_tokens_in_its_scheme(tagger: ModelTrace) -> None:
    logits = tagger.output.logits[0]
    found = attribute(tagger, "occlusion", target="per", at="plot is")
    expected = (logits[2, 1] + logits[3, 2]) / 2  # B-PER, then I-PER
    assert found.value == pytest.approx(float(expected), abs=1e-5)
    assert found.target == 'label PER of "plot is" (tokens 2-3)'
    one = attribute(tagger, "occlusion", target="I-LOC", at="5")
    assert one.value == pytest.approx(float(logits[5, 4]), abs=1e-5)
    chances = logits.softmax(-1)
    assert found.probability == pytest.approx(float((chances[2, 1] + chances[3, 2]) / 2), abs=1e-5)


def test_without_a_place_a_tagger_is_asked_for_its_first_entity(tagger: ModelTrace) -> None:
    names = tagger.model.labels
    predicted = [names[index] for index in tagger.output.logits[0].argmax(-1).tolist()]
    first = next(
        i for i, token in enumerate(tagger.tokens) if not token.special and predicted[i] != "O"
    )
    assert f"token {first})" in attribute(tagger, "occlusion").target or (
        f"tokens {first}-" in attribute(tagger, "occlusion").target
    )


def test_a_language_model_is_asked_for_a_token_after_a_place(gpt2: ModelTrace) -> None:
    logits = gpt2.output.logits[0]
    vocabulary = gpt2.model.tokenizer.get_vocab()
    last = attribute(gpt2, "occlusion")
    assert last.value == pytest.approx(float(logits[-1].max()), abs=1e-4)
    token = vocabulary["Ġthe"]
    for asked in (" the", "Ġthe", f"#{token}"):
        found = attribute(gpt2, "occlusion", target=asked, at="2")
        assert found.value == pytest.approx(float(logits[2, token]), abs=1e-4)
        assert found.target.startswith('next token " the" after token 2 (')
        # What comes later can't matter to a causal model.
        assert max(map(abs, found.scores[3:])) < 1e-5
        assert max(map(abs, found.scores[:3])) > 1e-2


def test_a_masked_model_is_asked_for_its_mask(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path, head="MaskedLM")
    trace = trace_of(folder, "ForMaskedLM", "the [MASK] is thin")
    found = attribute(trace, "occlusion", target="plot")
    logits = trace.output.logits[0]
    assert found.value == pytest.approx(
        float(logits[2, trace.model.tokenizer.get_vocab()["plot"]]), abs=1e-5
    )
    plain = trace_of(folder, "ForMaskedLM")
    with pytest.raises(FieldError, match=r"has no \[MASK\]"):
        attribute(plain)


def test_an_encoder_decoders_written_token_rests_on_what_the_encoder_read(tmp_path: Path) -> None:
    loaded = ModelStore(device="cpu").get(str(tiny_t5(tmp_path)), "AutoModelForSeq2SeqLM")
    written = loaded.trace_generation(TEXT, max_new_tokens=4, seed=0)
    token = written.written[2]
    row = token.index - 1
    found = attribute(written, target=f"#{token.token_id}", at=str(row), steps=300)
    assert found.probability == pytest.approx(token.probability, abs=1e-4)
    assert len(found.scores) == len(written.tokens)
    assert abs(found.delta or 0) < 0.02 * abs(found.value - found.without)


def test_what_a_chat_model_wrote_is_attributed_token_by_token() -> None:
    loaded = ModelStore(device="cpu").get("starter:chat", "AutoModelForCausalLM")
    trace = loaded.trace_generation("The capital of France is", max_new_tokens=2, seed=0)
    token = trace.written[0]
    found = attribute(
        trace, "occlusion", target=token.token.text, at=str(token.index - 1), baseline="unknown"
    )
    assert token.token.text == " Paris"
    assert found.probability == pytest.approx(token.probability, abs=1e-3)
    place = next(i for i, one in enumerate(trace.tokens) if one.text == " France")
    assert place in sorted(range(len(found.scores)), key=lambda i: -found.scores[i])[:3]


@pytest.mark.parametrize(
    ("which", "options", "message"),
    [
        ("bert", {"target": "joy"}, "no label 'joy'"),
        ("bert", {"at": "2"}, "one label for the whole text"),
        ("bert", {"method": "magic"}, "no method 'magic'"),
        ("bert", {"baseline": "black"}, "baseline cannot be 'black'"),
        ("bert", {"steps": 0}, "steps cannot be 0"),
        ("bert", {"steps": 2.5}, "steps cannot be 2.5; it takes a whole number"),
        ("bert", {"batch": "all"}, "batch cannot be 'all'; it takes a whole number"),
        ("bert", {"target": 7}, "no label '7'"),
        ("bert", {"target": 1.5}, "Target cannot be 1.5; it takes a label"),
        ("bert", {"target": True}, "Target cannot be True"),
        ("tagger", {"at": [3]}, "At cannot be [3]; it takes a token's number"),
        ("gpt2", {"target": 5}, "target='#5' for the id"),
        ("bert", {"method": "layer integrated gradients", "block": 7}, "no block 7"),
        ("tagger", {"at": "400"}, "no token 400"),
        ("tagger", {"at": "Aristotle"}, "does not stand in the text"),
        ("tagger", {"target": "MISC"}, "no label 'MISC'"),
        ("gpt2", {"target": "unbelievable acting"}, "is not one token"),
        ("gpt2", {"target": ""}, None),
        ("gpt2", {"baseline": "mask"}, "no mask token"),
    ],
)
def test_what_cannot_be_asked_is_said_in_a_sentence(
    which: str, options: dict[str, Any], message: str | None, request: pytest.FixtureRequest
) -> None:
    trace = request.getfixturevalue(which)
    if message is None:
        assert attribute(trace, **options).target.startswith("next token")
        return
    with pytest.raises(LmkitError) as raised:
        attribute(trace, **options)
    assert message in str(raised.value)


# -- models ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "head", "text"),
    [
        ("starter:news", CLASSIFIER, "Shares fell as the bank cut its forecast for profits."),
        ("starter:ner", "ForTokenClassification", "Ada Lovelace met Charles Babbage in London."),
    ],
)
def test_starters_attributions_beat_random_orders(name: str, head: str, text: str) -> None:
    trace = ModelStore(device="cpu").get(name, f"AutoModel{head}").trace(text)
    found = attribute(trace, "occlusion")
    faith = found.faithfulness
    assert faith is not None
    mean = sum(faith.random_deletion) / len(faith.random_deletion)
    assert faith.deletion.area < mean
    assert faith.insertion.area > sum(faith.random_insertion) / len(faith.random_insertion)
    integrated = attribute(trace, steps=100)
    assert integrated.relative_delta is not None
    assert integrated.relative_delta < 0.02


def test_selected_tokens_are_what_a_token_classifier_is_asked_for() -> None:
    loaded = ModelStore(device="cpu").get("starter:ner", "AutoModelForTokenClassification")
    trace = loaded.trace("Ada Lovelace met Charles Babbage in London.")
    london = [index for index, token in enumerate(trace.tokens) if token.text.lower() == "london"]
    form = {field.name: field.default for field in AttributionView.fields}
    form |= {"method": "occlusion", "target": "", "at": ""}
    for tokens, at, wanted in ((london, "", "london"), ([], "", "ada"), (london, "1", "ada")):
        shown = AttributionView().show(
            trace, layer=0, head=0, tokens=tuple(tokens), **{**form, "at": at}
        )
        assert isinstance(shown[0], TokenScores)
        assert wanted in shown[0].title.lower()


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated")
@pytest.mark.parametrize("part", ["all", "feed-forward"])
def test_a_model_without_gradients_is_named_and_can_be_occluded(part: str, tmp_path: Path) -> None:
    import transformers

    folder = tiny_bert(tmp_path)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    linear, quantise = {torch.nn.Linear}, torch.ao.quantization.quantize_dynamic
    if part == "all":
        model = quantise(model, linear, torch.qint8)
    else:  # the residual stream still carries a gradient, which is not the whole
        for layer in model.bert.encoder.layer:
            layer.intermediate = quantise(layer.intermediate, linear, torch.qint8)
    loaded = ModelStore(device="cpu").get((model, tokenizer), "AutoModel" + CLASSIFIER)
    trace = loaded.trace(TEXT)
    for method in ("integrated gradients", "layer integrated gradients", "saliency"):
        with pytest.raises(ModelError, match="without gradients") as raised:
            attribute(trace, method)
        assert "occlusion" in raised.value.hint
    assert any(attribute(trace, "occlusion").scores)


def test_a_bare_encoder_has_nothing_to_attribute(tmp_path: Path) -> None:
    trace = trace_of(tiny_bert(tmp_path, head=""), "")
    assert "BertModel puts out no label" in AttributionView().unavailable(trace)
    with pytest.raises(ModelError, match="BertModel"):
        attribute(trace)


def test_a_pass_of_the_users_own_code_cannot_be_asked_again(bert: ModelTrace) -> None:
    model = bert.model.model
    with lmkit.capture(model) as captured:
        model(**bert.inputs())
    assert AttributionView().unavailable(captured) != ""
    with pytest.raises(ModelError, match="code of your own"):
        attribute(captured)


def test_a_text_that_does_not_fit_into_memory_is_refused_before_it_is_tried() -> None:
    shape: dict[str, Any] = {
        "tokens": 4_096, "width": 4_096, "blocks": 32, "heads": 32, "logits": 32_000,
        "most": None, "name": "a llama", "device": "cuda:0",
    }  # fmt: skip
    with pytest.raises(ModelError, match=r"cuda:0 has 2\.0 GB free"):
        batch_that_fits(free=2 * 10**9, gradients=True, **shape)
    assert batch_that_fits(free=10**13, gradients=True, **shape) == 1
    short = {**shape, "tokens": 16, "width": 64, "logits": 2}
    assert batch_that_fits(free=10**12, gradients=True, **short) == 64
    assert batch_that_fits(free=0, gradients=True, **{**short, "most": 3}) == 3
    tight = batch_that_fits(free=2 * 10**8, gradients=True, **short)
    assert 1 <= tight < 64


# -- what is left behind --------------------------------------------------------------------------


def state_of(model: Any) -> tuple[Any, ...]:
    return (
        [module.training for module in model.modules()],
        [weight.requires_grad for weight in model.parameters()],
        [None if w.grad is None else w.grad.clone() for w in model.parameters()],
        model.config._attn_implementation,
        [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()],
    )


@pytest.mark.parametrize("stopped", [False, True])
def test_a_model_is_left_as_it_was_found(tmp_path: Path, stopped: bool) -> None:
    import transformers

    folder = tiny_bert(tmp_path)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model.train()
    model.classifier.eval()
    model.bert.embeddings.word_embeddings.weight.requires_grad_(False)
    trace = ModelStore(device="cpu").get((model, tokenizer), "AutoModel" + CLASSIFIER).trace(TEXT)
    model(**trace.inputs(), labels=torch.tensor([1])).loss.backward()
    before = state_of(model)
    if stopped:
        reports: list[Progress] = []
        work = Work(on_progress=lambda one: (reports.append(one), work.cancel())[0])
        with doing(work), pytest.raises(Cancelled):
            attribute(trace)
        assert reports
    else:
        with torch.inference_mode():
            for method in METHODS:
                attribute(trace, method, steps=8)
    after = state_of(model)
    assert after[0] == before[0]
    assert after[1] == before[1]
    assert after[3:] == before[3:]
    for grad, old in zip(after[2], before[2], strict=True):
        assert (grad is None) == (old is None)
        assert grad is None or torch.equal(grad, old)


def test_nothing_of_the_model_is_kept(tmp_path: Path) -> None:
    trace = trace_of(tiny_bert(tmp_path), CLASSIFIER)
    found = attribute(trace, steps=8)
    gone = weakref.ref(trace.model.model)
    trace.model.drop()
    trace.release()
    del trace
    gc.collect()
    assert gone() is None
    assert found.scores


def test_progress_is_told_in_steps_under_a_name(bert: ModelTrace) -> None:
    reports: list[Progress] = []
    with doing(Work(on_progress=reports.append)):
        attribute(bert, steps=200, batch=2)
    told = [one for one in reports if one.label == "Integrated gradients"]
    assert told
    assert all(0 <= one.done <= one.total == 202 for one in told)
    assert [one.done for one in told] == sorted(one.done for one in told)


# -- the view -------------------------------------------------------------------------------------


def test_the_view_shows_tokens_and_measures_of_any_classifier() -> None:
    r = lmkit.load("starter:sentiment").classify("The plot is thin, but I was moved.")
    assert "attribution" in r.attention.views
    shaded, table = r.attention.view("attribution", method="occlusion", target="negative")
    assert isinstance(shaded, TokenScores)
    assert isinstance(table, Table)
    assert [token.text for token in shaded.tokens] == [t.text for t in r.attention.tokens]
    assert shaded.diverging
    by_index, _ = r.attention.view("attribution", method="occlusion", target=0)
    assert by_index == shaded
    direct = attribute(r.attention.trace, "occlusion", target="negative")
    assert shaded.rows[0].values == direct.scores
    assert direct.faithfulness is not None
    assert f"deletion {direct.faithfulness.deletion.area:.2f}" in shaded.rows[0].note
    assert table.rows[0][3] == direct.faithfulness.deletion.area
    assert shaded.title == f"label negative, probability {r.labels['negative']:.3g}"


def test_all_methods_are_compared_in_rows_with_their_scores() -> None:
    r = lmkit.load("starter:sentiment").classify("The plot is thin, but I was moved.")
    shaded, table = r.attention.view(
        "attribution", method=ALL, units="words", hide_special=True, steps=20
    )
    assert isinstance(shaded, TokenScores)
    assert isinstance(table, Table)
    assert [row.label for row in shaded.rows] == list(METHODS.values())
    assert [row[0] for row in table.rows] == list(METHODS.values())
    assert all("insertion" in row.note for row in shaded.rows)
    assert "delta" in shaded.rows[0].note
    assert not any(token.special for token in shaded.tokens)
    assert "Not shown: special tokens" in shaded.note


def test_a_bare_encoders_explorer_says_why_it_has_no_attribution() -> None:
    r = lmkit.load("starter:encoder").attention("The plot is thin.")
    assert "attribution" not in r.attention.views
    with pytest.raises(AttentionUnavailableError, match="BertModel"):
        r.attention.view("attribution")


def test_a_text_that_was_cut_says_so(tmp_path: Path) -> None:
    r = lmkit.load(str(tiny_bert(tmp_path))).classify("the plot is thin. " * 40)
    shaded, _ = r.attention.view("attribution", steps=4)
    assert isinstance(shaded, TokenScores)
    assert "left out" in shaded.note
