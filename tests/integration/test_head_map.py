"""Scores of heads: against plain numpy over whole matrices, and on heads made for a pattern."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf

from lmkit.analysis import map_heads, score_heads
from lmkit.analysis.measures import induction_scores, layer_scores, marks_of
from lmkit.analysis.views import HeadMapView, grid_of_scores
from lmkit.api import HeadGrid, Token
from lmkit.capture import records, trace_forward
from lmkit.capture.records import KeptMask, QKRecord, StoredRecord
from lmkit.capture.trace import Trace
from lmkit.errors import Cancelled, CaptureError, FieldError
from lmkit.models import ModelStore
from lmkit.work import Work, doing
from tests import tiny

CLASSIFY = "AutoModelForSequenceClassification"
CAUSAL = "AutoModelForCausalLM"
WORDS = ["the", "cat", ",", "the", "dog", ".", "the", "cat", "saw", "the", "dog", "!"]
TEXTS = [
    "the plot is thin , but i was moved .",
    "a film that moves you , and a plot that moves the film .",
    "we saw the film , and the film was old .",
    "the acting , the music , and the river .",
    "i saw a plot , you saw a film .",
]


def tokens(words: list[str], special: bool = True) -> tuple[Token, ...]:
    plain = tuple(Token(text=w, raw=w, special=False) for w in words)
    if not special:
        return plain
    around = [Token(text=t, raw=t, special=True) for t in ("[CLS]", "[SEP]")]
    return (around[0], *plain, around[1])


def stored(attention: np.ndarray, *, causal: bool = False) -> Trace:
    """A trace of one layer with exactly this attention (heads, queries, keys)."""
    heads, queries, keys = attention.shape
    trace = Trace()
    record = StoredRecord(
        name="layer",
        role="decoder" if causal else "encoder",
        step=0,
        call=0,
        heads=heads,
        kv_heads=heads,
        queries=queries,
        keys=keys,
        batch=1,
        causal=causal,
        window=None,
        path="made",
        attention=torch.from_numpy(attention).float()[None],
    )
    trace._finish([record], path="made", missing=(), deviations={}, padding=None, error=None)
    return trace


def reference(a: np.ndarray, open_: np.ndarray, given: tuple[Token, ...]) -> dict[str, Any]:
    """Each formula of docs/head-map.md over one whole matrix, row by row: score and chance."""
    n = len(a)
    special = np.array([t.special for t in given])
    mark = np.array([not t.special and t.text.strip() in (",", ".", "!") for t in given])
    raw = np.array([t.raw for t in given])
    queries = [i for i in range(n) if not special[i]]
    targets = {
        "previous": lambda i: np.arange(n) == i - 1,
        "next": lambda i: np.arange(n) == i + 1,
        "first": lambda i: (np.arange(n) == 0) & (i > 0),
        "special": lambda i: special,
        "same": lambda i: (raw == raw[i]) & (np.arange(n) != i),
        "punctuation": lambda i: mark,
    }
    found: dict[str, Any] = {}
    for name, target in targets.items():
        score, chance = [], []
        for i in queries:
            wanted = target(i) & open_[i]
            if 0 < wanted.sum() < open_[i].sum():
                score.append(a[i][wanted].sum())
                chance.append(a[i].sum() * wanted.sum() / open_[i].sum())
        nothing = (np.nan, np.nan)
        found[name] = (np.mean(score), np.mean(chance)) if score else nothing
    rows = [i for i in queries if open_[i].sum() > 1]
    entropy, distance = [], []
    for i in rows:
        p = a[i] / a[i].sum()
        entropy.append(-(p[p > 0] * np.log(p[p > 0])).sum() / np.log(open_[i].sum()))
        distance.append((p * np.abs(np.arange(n) - i)).sum())
    found["entropy"] = (np.mean(entropy), np.nan)
    found["distance"] = (np.mean(distance), np.nan)
    found["sharpness"] = (np.mean([a[i][~special].max() for i in rows]), np.nan)
    by_offset: dict[int, list[float]] = {}
    for i in queries:
        for j in np.flatnonzero(open_[i]):
            by_offset.setdefault(int(j) - i, []).append(a[i, j] - a[i].sum() / open_[i].sum())
    everything = np.concatenate([np.array(d) for d in by_offset.values()])
    within = sum(((np.array(d) - np.mean(d)) ** 2).sum() for d in by_offset.values())
    pairs = len(everything)
    ratio = (within / (pairs - len(by_offset))) / ((everything**2).sum() / pairs)
    found["positional"] = (np.clip(1 - ratio, 0, 1), np.nan)
    return found


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    store = ModelStore(device="cpu")
    makers = {
        "bert": (tiny.tiny_bert, CLASSIFY),
        "llama": (tiny.tiny_llama, CAUSAL),
        "gpt2": (tiny.tiny_gpt2, CAUSAL),
        "t5": (tiny.tiny_t5, "AutoModelForSeq2SeqLM"),
    }
    return {
        name: store.get(make(tmp_path_factory.mktemp(name) / name), auto)  # type: ignore[operator]
        for name, (make, auto) in makers.items()
    }


@pytest.mark.parametrize("family", ["bert", "llama", "gpt2"])
@pytest.mark.parametrize("cells", [1 << 20, 60])
def test_scores_are_the_formulas_over_whole_matrices(
    models: dict[str, Any], family: str, cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "_CELLS_PER_BLOCK", cells)
    trace = models[family].trace(" ".join(WORDS))
    scores = score_heads([trace])
    at = 0
    for layer in trace.layers:
        n = layer.queries
        open_ = np.tri(n, dtype=bool) if layer.causal else np.ones((n, n), dtype=bool)
        for head in range(layer.heads):
            expected = reference(trace.attention(layer.index, head), open_, trace.tokens)
            for name, (value, chance) in expected.items():
                score = scores[name]
                assert score.mean[at] == pytest.approx(value, abs=2e-5, nan_ok=True), name
                if score.measure.chance:
                    assert score.expected[at] == pytest.approx(chance, abs=1e-6, nan_ok=True), name
            at += 1
    assert scores.heads == (4, 4)
    if family != "bert":
        assert np.isnan(scores["next"].mean).all()
    assert not np.isnan(scores["same"].mean).any()
    assert not np.isnan(scores["punctuation"].mean).any()


def test_windows_padding_and_shared_keys_are_scored_as_they_are() -> None:
    torch.manual_seed(0)
    config = tf.MistralConfig(
        vocab_size=99,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=64,
        sliding_window=5,
    )
    model = tf.MistralModel(config).eval()
    mask = torch.ones(2, 14, dtype=torch.long)
    mask[1, :4] = 0
    ids = torch.randint(5, 20, (2, 14))
    trace = trace_forward(model, {"input_ids": ids, "attention_mask": mask}).batch(1)
    given = tuple(
        Token(text=f"{i}", raw=f"{i}", special=index < 4) for index, i in enumerate(ids[1].tolist())
    )
    marks = marks_of(given, trace.valid.tolist())  # type: ignore[union-attr]
    got = layer_scores(trace, 0, marks, marks, rows=None)
    i, j = np.indices((14, 14))
    open_ = (j <= i) & (j > i - 5) & (j >= 4)
    for head in range(4):
        expected = reference(trace.attention(0, head), open_, given)
        for name in ("previous", "same", "entropy", "positional", "distance"):
            assert got[name][0][head] == pytest.approx(expected[name][0], abs=2e-5, nan_ok=True)
        assert np.isnan(got["first"][0][head])


def test_heads_made_for_a_pattern_are_found() -> None:
    given = tokens(WORDS)
    n = len(given)
    raw = np.array([t.raw for t in given])
    heads = np.zeros((7, n, n))
    heads[0] = np.eye(n, k=-1)
    heads[0, 0, 0] = 1
    heads[1] = np.eye(n, k=1)
    heads[1, -1, -1] = 1
    heads[2, :, 0] = 1
    same = (raw[:, None] == raw[None, :]) & ~np.eye(n, dtype=bool)
    heads[3] = np.where(same.any(1, keepdims=True), same, np.eye(n))
    heads[3] /= heads[3].sum(1, keepdims=True)
    heads[4, :, [i for i, t in enumerate(given) if t.text in ",.!"]] = 1 / 3
    heads[5] = 1 / n
    heads[6] = 1e-9
    heads[6, np.arange(n), np.random.default_rng(0).permutation(n)] = 1
    heads = np.maximum(heads, 1e-9)  # every pair is open
    heads /= heads.sum(-1, keepdims=True)
    marks = marks_of(given)
    got = layer_scores(stored(heads), 0, marks, marks, rows=None)
    for head, name in enumerate(("previous", "next", "first", "same", "punctuation")):
        assert got[name][0][head] == pytest.approx(1, abs=1e-6)
        assert int(np.nanargmax(got[name][0])) == head
    assert got["special"][0][2] == pytest.approx(1, abs=1e-6)
    assert got["positional"][0][:2] == pytest.approx([1, 1], abs=1e-5)
    assert got["positional"][0][2] < 0.35
    assert np.isnan(got["positional"][0][5])
    assert got["positional"][0][6] < 0.35
    assert got["entropy"][0][5] == pytest.approx(1, abs=1e-6)
    assert got["entropy"][0][0] == pytest.approx(0, abs=1e-5)
    assert got["sharpness"][0][5] == pytest.approx(1 / n)
    assert got["distance"][0][0] == pytest.approx(1, abs=1e-5)
    # Even attention scores its own chance level, in every measure that has one.
    for name in ("previous", "next", "first", "special", "same", "punctuation"):
        assert got[name][0][5] == pytest.approx(got[name][1][5], abs=1e-6)


def test_positional_behaviour_is_not_found_in_noise() -> None:
    """Random attention of 200 heads: the correction for the number of distances centres it at 0."""
    rng = np.random.default_rng(0)
    n = 24
    noise = rng.gamma(1.0, size=(200, n, n))
    noise /= noise.sum(-1, keepdims=True)
    marks = marks_of(tokens([f"w{i}" for i in range(n)], special=False))
    got = layer_scores(stored(noise), 0, marks, marks, rows=None)["positional"][0]
    assert np.median(got) < 0.01
    assert got.max() < 0.1
    profile = np.exp(-np.abs(np.arange(n)[:, None] - np.arange(n)[None, :]) / 2.0)
    mixed = noise + 3 * (profile / profile.sum(-1, keepdims=True))
    mixed /= mixed.sum(-1, keepdims=True)
    assert layer_scores(stored(mixed), 0, marks, marks, rows=None)["positional"][0].min() > 0.5


def test_p_values_of_heads_without_a_pattern_are_uniform() -> None:
    """Attention whose keys are exchangeable in each row has even attention's score on average."""
    rng = np.random.default_rng(1)
    traces = []
    for _ in range(8):
        n = int(rng.integers(12, 30))
        words = [f"w{i}" if i % 4 else "," for i in range(n)]
        noise = rng.gamma(0.5, size=(500, n, n))
        noise /= noise.sum(-1, keepdims=True)
        given = tokens(words, special=False)
        capture = stored(noise)
        traces.append(
            SimpleNamespace(capture=capture, tokens_of=lambda role, keys=False, given=given: given)
        )
    scores = score_heads(traces, measures=["previous", "punctuation", "first"])
    for name in ("previous", "punctuation", "first"):
        p = np.sort(scores[name].p)
        gap = np.abs(p - (np.arange(500) + 0.5) / 500).max()
        # Kolmogorov's 1 % bound, and what the t-test is off by for eight skewed means.
        assert gap < 1.63 / np.sqrt(500) + 0.04, name
        assert (scores[name].p <= 0.01).mean() < 0.03, name


def induction_model(period: int) -> Trace:
    """A causal layer of three heads over `period` tokens written twice after one at the start."""
    n = 1 + 2 * period
    q, k = torch.zeros(1, 3, n, n), torch.zeros(1, 3, n, n)
    for i in range(n):
        k[0, :, i, i] = 1
        for head, target in enumerate((i - period + 1, i - period, i - 1)):
            if 0 <= target <= i:
                q[0, head, i, target] = 50.0
    trace = Trace()
    record = QKRecord(
        name="layer",
        role="decoder",
        step=0,
        call=0,
        heads=3,
        kv_heads=3,
        queries=n,
        keys=n,
        batch=1,
        causal=True,
        window=None,
        path="made",
        query=q,
        key=k,
        value=None,
        scale=1.0,
        masks=(KeptMask(torch.tril(torch.ones(1, 1, n, n, dtype=torch.bool))),),
    )
    trace._finish([record], path="made", missing=(), deviations={}, padding=None, error=None)
    return trace


def test_an_induction_head_is_told_from_its_neighbours() -> None:
    value, chance = induction_scores(induction_model(10), 0, 1, 10)
    assert value[0] == pytest.approx(1, abs=1e-5)
    assert value[1] == pytest.approx(0, abs=1e-5)
    assert value[2] == pytest.approx(0, abs=1e-5)
    assert chance == pytest.approx([np.mean([1 / (i + 1) for i in range(11, 21)])] * 3)


def test_induction_is_scored_on_the_models_own_random_tokens(models: dict[str, Any]) -> None:
    llama = models["llama"]
    scores = map_heads(llama, trace=llama.trace(TEXTS[0]), measures=["induction"], seed=3)
    start, period = 1, 50
    generator = np.random.default_rng(3)
    vocabulary = llama.plain_ids()
    specials = set(llama.tokenizer.all_special_ids)
    assert not specials & set(vocabulary)
    random = generator.choice(vocabulary, size=period, replace=False)
    ids = torch.tensor([[llama.tokenizer.bos_token_id, *random, *random]])
    eager = type(llama.model).from_pretrained(
        llama.model.config._name_or_path, attn_implementation="eager"
    )
    with torch.no_grad():
        attentions = eager.eval()(ids, output_attentions=True).attentions
    second = range(start + period, start + 2 * period)
    for layer, attention in enumerate(attentions):
        for head in range(4):
            mean = np.mean([float(attention[0, head, i, i - period + 1]) for i in second])
            assert scores["induction"].by_text[0, 4 * layer + head] == pytest.approx(mean, abs=1e-5)
    assert scores["induction"].by_text.shape == (8, 8)
    again = map_heads(llama, trace=llama.trace(TEXTS[0]), measures=["induction"], seed=3)
    assert (again["induction"].by_text == scores["induction"].by_text).all()


def test_bare_ids_are_taken_as_they_are(models: dict[str, Any]) -> None:
    gpt2 = models["gpt2"]
    capture = gpt2.trace_ids([5, 6, 7])
    plain = trace_forward(gpt2.model, {"input_ids": torch.tensor([[5, 6, 7]])})
    assert (capture.attention(1, 2) == plain.attention(1, 2)).all()
    assert gpt2.longest_input() == 128
    with pytest.raises(FieldError, match="reads 1 to 128 tokens at once, not 129"):
        gpt2.trace_ids([5] * 129)
    with pytest.raises(FieldError, match="not 0"):
        gpt2.trace_ids([])


def test_a_corpus_gives_spread_and_q_values(models: dict[str, Any]) -> None:
    bert = models["bert"]
    scores = map_heads(bert, TEXTS)
    one = [score_heads([bert.trace(text)]) for text in TEXTS]
    mean = np.array([s["previous"].mean for s in one])
    assert scores["previous"].by_text == pytest.approx(mean)
    assert scores["previous"].deviation == pytest.approx(mean.std(0, ddof=1))
    low, high = scores["previous"].interval()
    assert (low <= scores["previous"].mean).all()
    assert (scores["previous"].mean <= high).all()
    assert not np.isnan(scores["previous"].q).any()
    assert (scores["previous"].q >= scores["previous"].p).all()
    assert "induction" not in scores.scores
    assert "not causal" in scores.note
    top = scores.top("previous", 2)
    assert top[0][2] == scores["previous"].mean.max()
    assert scores.grid(scores["previous"].mean)[top[0][0]][top[0][1]] == top[0][2]


def test_one_text_has_no_test(models: dict[str, Any]) -> None:
    scores = map_heads(models["bert"], trace=models["bert"].trace(TEXTS[0]))
    assert np.isnan(scores["previous"].q).all()
    assert np.isnan(scores["previous"].deviation).all()
    assert scores.note.startswith("One text: no spread and no test.")


def test_long_texts_are_sampled_and_it_is_said(models: dict[str, Any]) -> None:
    trace = models["gpt2"].trace(" ".join(TEXTS))
    scores = score_heads([trace], rows=10)
    assert "10 queries each" in scores.note
    plain = score_heads([trace])
    assert "queries each" not in plain.note
    assert abs(scores["entropy"].mean - plain["entropy"].mean).max() < 0.2


def test_encoder_decoders_score_each_stack_by_its_own_tokens(models: dict[str, Any]) -> None:
    trace = models["t5"].trace(TEXTS[0])
    scores = score_heads([trace])
    grid = scores.grid(scores["previous"].mean)
    for layer in trace.layers:
        known = [value is not None for value in grid[layer.index]]
        assert all(known) if layer.role == "encoder" else not any(known)


def test_stop_in_the_middle_and_errors_in_words(models: dict[str, Any]) -> None:
    bert = models["bert"]
    seen: list[str] = []

    def report(progress: Any) -> None:
        seen.append(progress.label)
        if progress.label == "Texts" and progress.done == 2:
            work.cancel()

    work = Work(report)
    with doing(work), pytest.raises(Cancelled):
        map_heads(bert, TEXTS)
    assert "Texts" in seen
    with pytest.raises(CaptureError, match="no measure 'wrong'"):
        map_heads(bert, TEXTS, measures=["wrong"])
    with pytest.raises(FieldError, match="needs a text"):
        map_heads(bert)
    with pytest.raises(CaptureError, match="no text"):
        score_heads([])
    with pytest.raises(CaptureError, match="not of one model"):
        score_heads([bert.trace(TEXTS[0]), models["t5"].trace(TEXTS[0])])


def test_the_view_gives_one_grid(models: dict[str, Any], tmp_path: Path) -> None:
    view = HeadMapView()
    trace = models["llama"].trace(TEXTS[0])
    assert view.unavailable(trace) == ""
    place: dict[str, Any] = {"layer": 0, "head": 0, "tokens": ()}
    grid = view.show(trace, **place)
    assert isinstance(grid, HeadGrid)
    names = [m.name for m in grid.measures]
    assert "induction" in names
    assert "induction-q" in names  # eight random sequences
    assert "previous-q" not in names
    assert "next" in names
    assert all(len(m.values) == 2 and len(m.values[0]) == 4 for m in grid.measures)
    corpus = view.show(trace, **place, texts="\n".join([*TEXTS, "", "  "]), induction=False)
    assert isinstance(corpus, HeadGrid)
    assert {"previous", "previous-sd", "previous-q"} <= {m.name for m in corpus.measures}
    assert corpus.note.startswith("5 texts")
    assert grid_of_scores(score_heads([trace]), "Mine").title == "Mine"
    assert "own attention" in view.unavailable(SimpleNamespace(layers=trace.layers))  # type: ignore[arg-type]
