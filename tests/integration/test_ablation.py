"""Heads switched off in a text's pass: one change, a sweep, their views, and Stop."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf

from lmkit.analysis import Pass, ablate, sweep
from lmkit.analysis.views import CausalMapView, SwitchOffView, parse_heads
from lmkit.api import FieldError, HeadGrid, Table, TokenScores
from lmkit.capture.interventions import Change, intervene, keep_means, keep_outputs
from lmkit.capture.recorder import CHANGING
from lmkit.errors import AttentionUnavailableError, Cancelled, CaptureError, DeviceMemoryError
from lmkit.models import ModelStore
from lmkit.protocol.messages import Progress
from lmkit.work import Work, doing
from tests import tiny

TEXT = "the plot is thin , but i was moved ."
SAME_LENGTH = "the film is old , but i was moved ."
MAKERS: dict[str, tuple[Any, str]] = {
    "bert": (tiny.tiny_bert, "AutoModelForSequenceClassification"),
    "tagger": (
        lambda path: tiny.tiny_bert(path, 5, head="TokenClassification"),
        "AutoModelForTokenClassification",
    ),
    "encoder": (lambda path: tiny.tiny_bert(path, head=""), "AutoModel"),
    "llama": (tiny.tiny_llama, "AutoModelForCausalLM"),
    "gpt2": (tiny.tiny_gpt2, "AutoModelForCausalLM"),
    "t5": (tiny.tiny_t5, "AutoModelForSeq2SeqLM"),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    store = ModelStore(device="cpu")
    return {
        name: store.get(make(tmp_path_factory.mktemp(name) / name), auto)
        for name, (make, auto) in MAKERS.items()
    }


@pytest.fixture(autouse=True)
def _nothing_left() -> Any:
    yield
    assert CHANGING.get() == ()


def plain(trace: Any, *changes: Change) -> Any:
    """The model called by hand on the trace's ids."""
    model = trace.model.model
    ids = torch.tensor([trace.input_ids])
    with torch.no_grad(), intervene(model, changes):
        return model(input_ids=ids)


def test_one_head_of_a_classifier(models: dict[str, Any]) -> None:
    trace = models["bert"].trace(TEXT)
    got = ablate(trace, [(1, 2), (0, 3)])
    p = plain(trace).logits.double().softmax(-1)[0]
    q = plain(trace, Change(1, 2), Change(0, 3)).logits.double().softmax(-1)[0]
    assert got.total_variation == pytest.approx(float((p - q).abs().sum()) / 2, abs=1e-6)
    assert got.total_variation > 1e-3
    assert {o.label: o.before for o in got.outcomes} == pytest.approx(
        dict(zip(("negative", "positive"), p.tolist(), strict=True)), abs=1e-6
    )
    assert {o.label: o.after for o in got.outcomes} == pytest.approx(
        dict(zip(("negative", "positive"), q.tolist(), strict=True)), abs=1e-6
    )


@pytest.mark.parametrize("family", ["bert", "tagger", "encoder", "llama", "gpt2"])
@pytest.mark.parametrize("how", ["zero", "mean"])
def test_a_sweep_is_a_loop(models: dict[str, Any], family: str, how: Any) -> None:
    trace = models[family].trace(TEXT)
    got = sweep(trace, how, copies=3)
    assert [len(row) for row in next(iter(got.values.values()))] == [4, 4]
    largest = 0.0
    for layer in range(2):
        for head in range(4):
            alone = ablate(trace, [(layer, head)], how)
            assert got.kind == alone.kind
            for name, grid in got.values.items():
                assert grid[layer][head] == pytest.approx(getattr(alone, name), abs=1e-5)
                largest = max(largest, abs(getattr(alone, name)))
    assert largest > (1e-3 if got.kind == "hidden" else 1e-2)
    name = next(iter(got.values))
    top = got.top(name, 1)[0]
    assert top[2] == got.values[name][top[0]][top[1]]


def test_only_some_heads(models: dict[str, Any]) -> None:
    got = sweep(models["bert"].trace(TEXT), heads=[(1, 3)])
    grid = got.values["total_variation"]
    assert [[value is not None for value in row] for row in grid] == [
        [False] * 4,
        [False, False, False, True],
    ]


def test_values_and_means_of_other_texts(models: dict[str, Any]) -> None:
    llama = models["llama"]
    trace, model = llama.trace(TEXT), llama.model
    other = llama.trace(SAME_LENGTH)
    assert len(other.tokens) == len(trace.tokens)
    with torch.no_grad(), keep_outputs(model) as kept:
        model(torch.tensor([other.input_ids]))
    expected = plain(trace, Change(1, 0, kept.of(1, 0))).logits[0, -1].double().softmax(-1)
    p = plain(trace).logits[0, -1].double().softmax(-1)
    by_text = ablate(trace, [(1, 0)], "other", other=SAME_LENGTH)
    assert by_text.total_variation == pytest.approx(float((p - expected).abs().sum()) / 2, abs=1e-6)
    assert by_text.total_variation > 1e-4
    assert ablate(trace, [(1, 0)], "other", other=kept) == by_text
    texts = [SAME_LENGTH, "a film ."]
    with torch.no_grad(), keep_means(model) as means:
        for text in texts:
            model(torch.tensor([llama.trace(text).input_ids]))
    by_mean = ablate(trace, [(1, 0)], "mean", other=texts)
    given = ablate(trace, [(1, 0)], "mean", other=means)
    assert by_mean.total_variation == pytest.approx(given.total_variation, abs=1e-7)
    patched = sweep(trace, "other", other=SAME_LENGTH).values["total_variation"]
    assert patched[1][0] == pytest.approx(by_text.total_variation, abs=1e-5)


def test_another_length_is_refused_or_aligned(models: dict[str, Any]) -> None:
    trace = models["llama"].trace(TEXT)
    with pytest.raises(CaptureError, match="positions; this text has"):
        ablate(trace, [(0, 0)], "other", other="a film .")
    assert ablate(trace, [(0, 0)], "other", other="a film .", at_end=True).total_variation > 0
    with pytest.raises(CaptureError, match="for causal models only"):
        ablate(models["bert"].trace(TEXT), [(0, 0)], "other", other="a film .", at_end=True)


def test_an_encoder_decoder_and_its_single_position(models: dict[str, Any]) -> None:
    trace = models["t5"].trace(TEXT)
    got = sweep(trace, "mean")
    tried = [row[0] is not None for row in got.values["total_variation"]]
    assert tried == [layer.role == "encoder" for layer in trace.layers]
    assert "single position" in got.note
    zero = sweep(trace)
    assert all(value is not None for row in zero.values["total_variation"] for value in row)
    ids = torch.tensor([trace.input_ids])
    start = torch.tensor([[0]])
    model = trace.model.model
    cross = next(layer for layer in trace.layers if layer.role == "cross")
    with torch.no_grad():
        p = model(ids, decoder_input_ids=start).logits[0, -1].double().softmax(-1)
        with intervene(model, [Change(cross.index, 1)]):
            q = model(ids, decoder_input_ids=start).logits[0, -1].double().softmax(-1)
    expected = float((p - q).abs().sum()) / 2
    assert zero.values["total_variation"][cross.index][1] == pytest.approx(expected, abs=1e-5)


def test_your_own_model_without_a_panel(models: dict[str, Any]) -> None:
    llama = models["llama"]
    trace = llama.trace(TEXT)
    own = Pass(llama.model, {"input_ids": torch.tensor([trace.input_ids])}, llama.tokenizer)
    assert ablate(own, [(1, 1)]) == ablate(trace, [(1, 1)])
    with pytest.raises(CaptureError, match="holds 2 texts"):
        Pass(llama.model, {"input_ids": torch.tensor([trace.input_ids] * 2)})
    with pytest.raises(AttentionUnavailableError, match="its tokenizer can read"):
        ablate(own, [(1, 1)], "other", other=TEXT)


def test_stop_in_the_middle_of_a_sweep(models: dict[str, Any]) -> None:
    trace = models["bert"].trace(TEXT)
    before = plain(trace).logits
    reports: list[Progress] = []

    def report(progress: Progress) -> None:
        reports.append(progress)

    work = Work(report)
    passes = 0
    again = trace.again

    def counted(*args: Any, **keywords: Any) -> Any:
        nonlocal passes
        passes += 1
        if passes == 4:
            work.cancel()  # heard inside this pass, at its first layer
        return again(*args, **keywords)

    trace.again = counted
    with doing(work), pytest.raises(Cancelled):
        sweep(trace, copies=2)
    assert passes == 4
    assert reports[0].label == "Switching heads off"
    assert reports[0].total == 8
    assert torch.equal(plain(trace).logits, before)


def test_a_batch_that_does_not_fit_is_halved(models: dict[str, Any]) -> None:
    trace = models["bert"].trace(TEXT)
    expected = sweep(trace)
    again, sizes = trace.again, []

    def small(*args: Any, copies: int = 1, **keywords: Any) -> Any:
        sizes.append(copies)
        if copies > 2:
            raise DeviceMemoryError("The device is full.")
        return again(*args, copies=copies, **keywords)

    trace.again = small
    got = sweep(trace)
    assert sizes == [1, 8, 4, 2, 2, 2, 2]
    for name, grid in got.values.items():
        assert np.array(grid) == pytest.approx(np.array(expected.values[name]), abs=1e-5)


def test_the_switch_off_view(models: dict[str, Any]) -> None:
    view = SwitchOffView()
    trace = models["bert"].trace(TEXT)
    assert view.unavailable(trace) == ""
    place: dict[str, Any] = {"layer": 1, "head": 2, "tokens": ()}
    outcomes, sizes = view.show(trace, **place)
    assert isinstance(outcomes, Table)
    assert isinstance(sizes, Table)
    alone = ablate(trace, [(1, 2)])
    assert [row[0] for row in outcomes.rows] == [o.label for o in alone.outcomes]
    assert outcomes.rows[0][3] == alone.outcomes[0].after - alone.outcomes[0].before
    assert sizes.rows[0][:2] == ("Total variation", alone.total_variation)
    named, _ = view.show(trace, **place, heads="0.1, 1.0")
    assert isinstance(named, Table)
    assert named.title == "Without 0.1, 1.0 (zero)"
    tagged = view.show(models["tagger"].trace(TEXT), **place)
    scores = tagged[0]
    assert isinstance(scores, TokenScores)
    assert len(scores.rows[0].values) == len(scores.tokens) == 10
    assert not any(token.special for token in scores.tokens)
    hidden = view.show(models["encoder"].trace(TEXT), **place)
    assert isinstance(hidden[0], TokenScores)
    patched = view.show(models["gpt2"].trace(TEXT), **place, how="other text", other=SAME_LENGTH)
    assert isinstance(patched[0], Table)
    with pytest.raises(FieldError, match="it is empty"):
        view.show(trace, **place, how="other text")
    with pytest.raises(FieldError, match="'x' is not a layer and a head"):
        view.show(trace, **place, heads="1.2 x")
    with pytest.raises(CaptureError, match="Layer 1 has no head 9"):
        view.show(trace, **place, heads="1.9")
    assert parse_heads(" 3.7, 4.1;3.7 ") == [(3, 7), (4, 1)]


def test_the_causal_map_view(models: dict[str, Any]) -> None:
    view = CausalMapView()
    place: dict[str, Any] = {"layer": 0, "head": 0, "tokens": ()}
    grid = view.show(models["bert"].trace(TEXT), **place)
    assert isinstance(grid, HeadGrid)
    assert [m.name for m in grid.measures] == [
        "total_variation",
        "divergence",
        "margin",
        "confidence",
        "flipped",
    ]
    assert [m.diverging for m in grid.measures] == [False, False, True, True, False]
    corpus = view.show(models["bert"].trace(TEXT), **place, how="mean", other="a film .\nthe plot")
    assert isinstance(corpus, HeadGrid)
    hidden = view.show(models["encoder"].trace(TEXT), **place)
    assert isinstance(hidden, HeadGrid)
    assert [m.name for m in hidden.measures] == ["cosine", "norm"]


def test_models_with_an_attention_of_their_own_say_so() -> None:
    torch.manual_seed(0)
    config = tf.BloomConfig(vocab_size=99, hidden_size=32, n_layer=2, n_head=4)
    own = Pass(tf.BloomForCausalLM(config).eval(), {"input_ids": torch.arange(6)[None]})
    with pytest.raises(AttentionUnavailableError, match="can't be changed"):
        ablate(own, [(0, 0)])
    assert "attention of its own" in CausalMapView().unavailable(own)  # type: ignore[arg-type]


def test_wrong_questions_are_answered_in_words(models: dict[str, Any]) -> None:
    trace = models["bert"].trace(TEXT)
    for heads, message in (([], "No head"), ([(2, 0)], "no layer 2"), ([(0, -1)], "no head -1")):
        with pytest.raises(CaptureError, match=message):
            ablate(trace, heads)
    with pytest.raises(CaptureError, match="replaced by 'half'"):
        ablate(trace, [(0, 0)], "half")  # type: ignore[arg-type]
    with pytest.raises(CaptureError, match="Which other text"):
        ablate(trace, [(0, 0)], "other")
    with pytest.raises(CaptureError, match="takes nothing from another text"):
        ablate(trace, [(0, 0)], other=TEXT)


def test_numbers_of_the_sentiment_starter() -> None:
    """A trained model: some heads matter, most hardly, and the head map knows the famous ones."""
    from lmkit.analysis import map_heads

    model: Any = ModelStore(device="cpu").get(
        "starter:sentiment", "AutoModelForSequenceClassification"
    )
    trace = model.trace("The plot is thin, but I was moved.")
    got = sweep(trace)
    sizes = np.array(got.values["total_variation"])
    assert sizes.shape == (6, 12)
    assert 0.1 < sizes.max() < 1
    assert np.median(sizes) < 0.05
    layer, head, size = got.top("total_variation", 1)[0]
    assert ablate(trace, [(layer, head)]).total_variation == pytest.approx(size, abs=1e-5)
    confidence = got.values["confidence"][layer][head]
    assert confidence is not None
    assert math.isclose(abs(confidence), size, abs_tol=1e-6)  # two labels
    scores = map_heads(model, trace=trace)
    assert scores.top("previous", 1)[0] == (0, 2, pytest.approx(1, abs=0.01))
    assert scores.top("next", 1)[0][:2] == (1, 8)


def test_the_host_offers_the_views(models: dict[str, Any]) -> None:
    from lmkit.analysis import views
    from lmkit.host import PluginHost
    from lmkit.protocol.messages import Selection
    from lmkit.runner import run_view

    host = PluginHost()
    host.register(views, "analysis")
    assert [one.view.name for one in host.views] == [
        "head-map", "switch-off", "causal-map", "rollout",
    ]  # fmt: skip
    trace = models["gpt2"].trace(TEXT)
    chosen = Selection(layer=1, head=3)
    for name, count in (("head-map", 1), ("switch-off", 2), ("causal-map", 1)):
        reports: list[Progress] = []
        results = run_view(host, host.view(name), trace, {}, chosen, Work(reports.append))
        assert len(results) == count
        assert name == "switch-off" or reports
    work = Work()
    work.cancel()
    with pytest.raises(Cancelled):
        run_view(host, host.view("causal-map"), trace, {}, chosen, work)
    with pytest.raises(FieldError):
        run_view(host, host.view("causal-map"), trace, {"how": "half"}, chosen, Work())
    assert all(plugin.state == "ready" for plugin in host.plugins)
