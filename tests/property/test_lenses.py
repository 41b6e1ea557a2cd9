"""Groups and masks, for any attention and any cut of the tokens, against plain matrices."""

from __future__ import annotations

import itertools
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmkit.api import Words
from lmkit.errors import Cancelled, CaptureError
from lmkit.views.lenses import LENSES
from lmkit.views.lenses import projected as module
from lmkit.views.lenses.masks import MaskLens
from lmkit.views.lenses.norm import NormLens
from lmkit.views.lenses.projected import ProjectedTrace, Side, bin_edges
from tests.stored import StoredTrace, pooled, token, tokens_of_words

CLOSE = {"rtol": 0, "atol": 2e-6}
MASKS = ["no-special", "no-special-renormalised", "no-sink", "no-sink-renormalised"]


@st.composite
def softmax(draw: st.DrawFn, queries: int, keys: int, heads: int = 2) -> np.ndarray:
    """Attention, sometimes sharp, sometimes causal, sometimes with a learned sink."""
    seed = draw(st.integers(0, 2**32 - 1))
    scale = draw(st.sampled_from([0.1, 3.0, 30.0]))
    scores = np.random.default_rng(seed).normal(size=(heads, queries, keys)) * scale
    if draw(st.booleans()):
        scores[:, np.triu(np.ones((queries, keys), dtype=bool), 1)] = -np.inf
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True) * draw(st.sampled_from([1.0, 1.0, 1.6]))
    return weights.astype(np.float32)


@st.composite
def passes(draw: st.DrawFn) -> StoredTrace:
    """A text of words of one to three tokens between special ones, in two layers."""
    pieces = draw(
        st.lists(
            st.lists(st.sampled_from(["a", "b!", "c.", "中。", "د؟"]), min_size=1, max_size=3)
            | st.just(["[S]"]),
            min_size=1,
            max_size=9,
        )
    )
    tokens, words = tokens_of_words([["[S]"], *pieces, ["w"]])
    n = len(tokens)
    segments = [None if t.special else int(i > n // 2) for i, t in enumerate(tokens)]
    cut = draw(st.integers(0, n))
    return StoredTrace(
        [draw(softmax(n, n)), draw(softmax(n, n))],
        tokens,
        words,
        segments=segments,
        turns=(("user", 0, cut), ("assistant", cut, n)) if 0 < cut < n else (("user", 0, n),),
        value_norms=lambda layer: np.linspace(0.1, 3.0, 2 * n, dtype=np.float32).reshape(2, n),
    )


def matrices(queries: Side, keys: Side, n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Means over queries (groups, n) and sums over keys (m, groups)."""
    mean, total = np.zeros((len(queries), n)), np.zeros((m, len(keys)))
    for i, group in enumerate(queries.groups):
        mean[i, list(group)] = 1 / len(group)
    for j, group in enumerate(keys.groups):
        total[list(group), j] = 1
    return mean, total


def reference(lens: ProjectedTrace, layer: int, head: int) -> np.ndarray:
    """The lens on one head from the whole matrix, in float64."""
    a = lens.base.attention(layer, head).astype(float)
    queries, keys = lens._sides(lens.base.layers[layer].role)
    mean, total = matrices(queries, keys, *a.shape)
    if isinstance(lens, NormLens):
        a = a * lens.base.value_norms(layer)[head]  # type: ignore[attr-defined]
    if lens.renormalise:
        visible = (a @ total).sum(1, keepdims=True)
        a = np.divide(a, visible, out=np.zeros_like(a), where=visible > 0)
    return mean @ a @ total


def lens_of(name: str, trace: StoredTrace) -> ProjectedTrace | None:
    if LENSES[name].unavailable(trace):
        return None
    made = LENSES[name].make(trace)
    assert isinstance(made, ProjectedTrace)
    return made


@pytest.mark.parametrize("name", LENSES)
@settings(max_examples=30, deadline=None)
@given(trace=passes(), data=st.data())
def test_every_number_of_a_lens_is_that_of_its_attention(
    name: str, trace: StoredTrace, data: st.DataObject
) -> None:
    lens = lens_of(name, trace)
    if lens is None:
        return
    cells = data.draw(st.sampled_from([1, 7, 1 << 20]), label="cells in a block")
    layer, head = data.draw(st.integers(0, 1)), data.draw(st.integers(-2, 1))
    n, m = lens.layers[layer].queries, lens.layers[layer].keys
    queries = data.draw(st.lists(st.integers(-n, n - 1), max_size=4))
    keys = data.draw(st.lists(st.integers(-m, m - 1), max_size=4))
    q0, q1 = sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n))))
    k0, k1 = sorted(data.draw(st.tuples(st.integers(0, m), st.integers(0, m))))
    rows, columns = data.draw(st.integers(1, n + 2)), data.draw(st.integers(1, m + 2))
    narrow, runs = data.draw(st.sampled_from([(8, 8), (1, 1)]), label="how keys are fetched")
    with mock.patch.multiple(module, _CELLS=cells, _NARROW=narrow, _RUNS=runs):
        whole = lens.attention(layer, head)
        want = reference(lens, layer, head)
        assert whole.dtype == np.float32
        np.testing.assert_allclose(whole, want, **CLOSE)
        np.testing.assert_allclose(lens.rows(layer, head, queries), want[queries], **CLOSE)
        np.testing.assert_allclose(lens.rows(layer, head, slice(q0, q1)), want[q0:q1], **CLOSE)
        np.testing.assert_allclose(
            lens.block(layer, head, q0, q1, k0, k1), want[q0:q1, k0:k1], **CLOSE
        )
        np.testing.assert_allclose(
            lens.mass(layer, head, rows, columns), pooled(want, rows, columns), **CLOSE
        )
        thumbs = lens.thumbnails(layer, 3)
        for h in (0, 1):
            map_ = pooled(reference(lens, layer, h), 3, 3)
            np.testing.assert_allclose(thumbs[h], map_, **CLOSE)
        np.testing.assert_array_equal(lens.thumbnails(layer, 3, heads=(1, 2)), thumbs[1:])
        np.testing.assert_allclose(lens.summed(layer, head, queries), want[queries].sum(0), **CLOSE)
        np.testing.assert_allclose(
            lens.summed_to(layer, head, keys), want[:, keys].sum(1), rtol=0, atol=8e-6
        )
        received = np.mean(
            [[reference(lens, x, h).mean(0) for h in (0, 1)] for x in (0, 1)], (0, 1)
        )
        np.testing.assert_allclose(lens.attention_received(), received, **CLOSE)


@pytest.mark.parametrize("name", ["words", "sentences", "turns"])
@settings(max_examples=50, deadline=None)
@given(trace=passes())
def test_groups_keep_the_mass_and_hold_each_token_once(name: str, trace: StoredTrace) -> None:
    lens = LENSES[name].make(trace)
    assert isinstance(lens, ProjectedTrace)
    queries, keys = lens._sides("encoder")
    assert sorted(t for group in keys.groups for t in group) == list(range(len(trace.tokens)))
    assert len(lens.tokens) == len(keys) == lens.layers[0].keys
    sums = lens.attention(1, 0).sum(1)
    mean, _ = matrices(queries, keys, len(trace.tokens), len(trace.tokens))
    np.testing.assert_allclose(sums, mean @ trace.attention(1, 0).sum(1), **CLOSE)
    if name == "turns":  # may be cut within a word
        return
    special = [t.text for t in trace.tokens if t.special]
    assert [t.text for t in lens.tokens if t.special] == special
    for word in lens.words:
        assert len(word.tokens) == 1
        assert lens.words[lens.tokens[word.tokens[0]].word or 0].start <= word.start


@settings(max_examples=50, deadline=None)
@given(trace=passes())
def test_words_are_the_words_of_the_text(trace: StoredTrace) -> None:
    lens = LENSES["words"].make(trace)
    assert [t.text for t in lens.tokens if not t.special] == [word.text for word in trace.words]
    assert [w.text for w in lens.words] == [w.text for w in trace.words]
    for index, word in enumerate(lens.words):
        assert [lens.tokens[t].word for t in word.tokens] == [index]


@pytest.mark.parametrize("name", MASKS)
@settings(max_examples=50, deadline=None)
@given(trace=passes())
def test_masks_hide_and_renormalise(name: str, trace: StoredTrace) -> None:
    lens = lens_of(name, trace)
    if lens is None:
        return
    hidden = {0} if "sink" in name else {i for i, t in enumerate(trace.tokens) if t.special}
    visible = [i for i in range(len(trace.tokens)) if i not in hidden]
    assert [t.text for t in lens.tokens] == [trace.tokens[i].text for i in visible]
    for word in lens.words:
        assert {lens.words[lens.tokens[t].word or 0] for t in word.tokens} == {word}
    part = trace.attention(0, 0)[np.ix_(visible, visible)].astype(float)
    got = lens.attention(0, 0)
    if "renormalised" in name:
        some = part.sum(1) > 0
        np.testing.assert_allclose(got[some].sum(1), 1, **CLOSE)
        assert (got[~some] == 0).all()
    else:
        np.testing.assert_array_equal(got, part.astype(np.float32))
    assert got.max(initial=0) <= 1 + 1e-6


@settings(max_examples=50, deadline=None)
@given(trace=passes())
def test_the_four_filters_of_a_pair_share_out_what_is_no_special_token(trace: StoredTrace) -> None:
    if LENSES["text-to-text"].unavailable(trace):
        return
    sides = ("text", "pair")
    got = {(q, k): LENSES[f"{q}-to-{k}"].make(trace).attention(0, 1) for q in sides for k in sides}
    whole = np.block([[got[q, k] for k in sides] for q in sides])
    np.testing.assert_array_equal(whole, LENSES["no-special"].make(trace).attention(0, 1))
    crossing = LENSES["text-to-pair"].make(trace)
    assert [t.text for t in crossing.decoder_tokens] == [
        t.text for t, s in zip(trace.tokens, trace.segments, strict=True) if s == 0
    ]
    assert len(crossing.tokens) == crossing.layers[0].keys == trace.segments.count(1)
    assert len(crossing.decoder_tokens) == crossing.layers[0].queries
    assert not crossing.layers[0].causal


@settings(max_examples=50, deadline=None)
@given(n=st.integers(1, 40), size=st.integers(1, 9), sample=st.integers(1, 5), data=st.data())
def test_a_sample_is_the_mean_of_evenly_spread_rows(
    n: int, size: int, sample: int, data: st.DataObject
) -> None:
    trace = StoredTrace([data.draw(softmax(n, n))], [token(str(i)) for i in range(n)])
    lens = MaskLens(trace, lambda tokens, i: False)
    edges = bin_edges(n, min(size, n))
    got = lens.thumbnails(0, size, sample=sample)
    for r, (q0, q1) in enumerate(itertools.pairwise(edges)):
        count = min(sample, q1 - q0)
        rows = [q0 + (2 * i + 1) * (q1 - q0) // (2 * count) for i in range(count)]
        want = trace.attention(0, 0)[rows].mean(0)
        np.testing.assert_allclose(got[0, r], pooled(want[None], 1, size)[0], **CLOSE)


def _long(n: int = 600) -> StoredTrace:
    rng = np.random.default_rng(1)
    attention = rng.dirichlet(np.ones(n), size=(2, n))
    tokens, words = tokens_of_words([["[S]"], *[["a", "b"]] * (n // 2 - 1), ["c"]])
    return StoredTrace([attention], tokens, words)


def test_no_more_than_blocks_of_rows_are_asked_for() -> None:
    for name in ("words", "no-sink-renormalised"):
        trace = _long()
        lens = LENSES[name].make(trace)
        with mock.patch.object(module, "_CELLS", 600 * 16):
            lens.thumbnails(0, 24)
            lens.mass(0, 1, 20, 20)
            lens.attention_received()
            lens.summed(0, 0, range(100))
            lens.summed_to(0, 0, range(100))
            lens.summed_to(0, 0, [3])
            lens.block(0, 0, 5, 200, 3, 9)
        assert 0 < trace.asked <= 600 * 16


def test_a_stop_is_heard_between_blocks() -> None:
    lens = LENSES["words"].make(_long())
    with mock.patch.object(module, "_CELLS", 600):
        for number in (1, 5):
            answers = iter([False] * (number - 1) + [True])
            with pytest.raises(Cancelled):
                lens.thumbnails(0, cancel=lambda: next(answers))  # noqa: B023
            assert next(answers, None) is None


def test_what_is_out_of_range_is_refused() -> None:
    lens: Any = LENSES["words"].make(_long())
    n = len(lens.tokens)
    for call in (
        lambda: lens.attention(1, 0),
        lambda: lens.attention(0, 2),
        lambda: lens.rows(0, 0, [n]),
        lambda: lens.rows(0, 2, []),
        lambda: lens.summed(0, 0, [-n - 1]),
        lambda: lens.summed_to(0, 0, [n]),
        lambda: lens.summed(0, 5, []),
        lambda: lens.block(0, 0, 0, n + 1, 0, 1),
        lambda: lens.mass(0, 0, 0, 3),
        lambda: lens.thumbnails(0, heads=(1, 3)),
        lambda: lens.thumbnails(0, sample=0),
    ):
        with pytest.raises(CaptureError):
            call()


def test_renormalising_is_exact_beside_a_sink_that_takes_almost_all() -> None:
    rest = np.array([1e-9, 3e-9, 6e-9])
    attention = np.concatenate([[1 - rest.sum()], rest])[None, None].repeat(4, 1)
    trace = StoredTrace([attention], [token(str(i)) for i in range(4)], Words("", ()))
    lens = LENSES["no-sink-renormalised"].make(trace)
    want = [0.1, 0.3, 0.6]
    np.testing.assert_allclose(lens.rows(0, 0, [1])[0], want, rtol=1e-6)
    np.testing.assert_allclose(lens.block(0, 0, 1, 2, 1, 2), [[0.3]], rtol=1e-6)
    np.testing.assert_allclose(lens.summed_to(0, 0, [2]), [0.6] * 3, rtol=1e-6)
