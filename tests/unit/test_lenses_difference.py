"""Two passes against each other: alignment, pairs of heads, and numbers from the plain matrices."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from difflib import SequenceMatcher

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmkit.errors import CaptureError
from lmkit.views.lenses import LENSES, DifferenceTrace
from lmkit.views.lenses import difference as module
from lmkit.views.lenses.difference import align
from lmkit.views.lenses.matching import assign, best_pairs, resemblance
from tests.stored import StoredTrace, pooled, token, tokens_of_words


def attention(heads: int, queries: int, keys: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.full(keys, 0.3), size=(heads, queries)).astype(np.float32)


def trace(
    text: Sequence[str], layers: int = 2, heads: int = 3, seed: int = 0, **more: object
) -> StoredTrace:
    n = len(text)
    stack = [attention(heads, n, n, seed + 10 * i) for i in range(layers)]
    return StoredTrace(stack, [token(t) for t in text], **more)  # type: ignore[arg-type]


# -- alignment


def test_what_is_common_is_aligned_and_the_rest_named() -> None:
    assert align(list("abcd"), list("abXcd")) == [(0, 0), (1, 1), (2, 3), (3, 4)]
    assert align(list("abab"), list("ab")) == [(0, 0), (1, 1)]
    assert align([], list("ab")) == []
    assert align(list("ab"), list("xy")) == []
    assert align(list("aXbYc"), list("aPbQc")) == [(0, 0), (2, 2), (4, 4)]


@settings(deadline=None)
@given(st.lists(st.sampled_from("abc")), st.lists(st.sampled_from("abc")))
def test_an_alignment_ascends_and_pairs_equals(a: list[str], b: list[str]) -> None:
    pairs = align(a, b)
    assert all(a[i] == b[j] for i, j in pairs)
    assert all(x[0] < y[0] and x[1] < y[1] for x, y in itertools.pairwise(pairs))
    if a == b:
        assert pairs == [(i, i) for i in range(len(a))]


def test_the_most_frequent_tokens_are_no_anchors_in_long_texts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    junk: list[bool] = []

    class Noting(SequenceMatcher[str]):
        def __init__(self, *args: object, autojunk: bool) -> None:
            junk.append(autojunk)
            super().__init__(*args, autojunk=autojunk)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "SequenceMatcher", Noting)
    words = [str(i) for i in np.random.default_rng(0).zipf(1.3, size=6_000) % 5_000]
    pairs = align(["else", *words, "over"], ["start", *words[:3_000], "mid", *words[3_000:], "end"])
    assert len(pairs) >= 5_500
    align(["x", *words[:100], "y"], ["u", *words[:100], "v"])
    align(["same", *words, "x"], ["same", *words, "y"])  # nothing is left between the ends
    assert junk == [True, False, False]


# -- pairs of heads


@settings(deadline=None)
@given(st.integers(1, 5), st.integers(0, 2), st.integers(0, 2**32 - 1), st.booleans())
def test_an_assignment_is_the_cheapest(rows: int, more: int, seed: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    columns = rows + more
    cost = (
        rng.integers(0, 3, (rows, columns)).astype(float)
        if ties
        else rng.normal(size=(rows, columns))
    )
    found = assign(cost)
    assert len(set(found.tolist())) == rows
    best = min(
        sum(cost[i, j] for i, j in enumerate(chosen))
        for chosen in itertools.permutations(range(columns), rows)
    )
    assert abs(cost[np.arange(rows), found].sum() - best) < 1e-9


def test_resemblance_is_one_for_equal_maps_and_nought_for_disjoint_ones() -> None:
    same = np.eye(4)[None]
    other = np.roll(np.eye(4), 1, axis=1)[None]
    np.testing.assert_allclose(resemblance(same, np.concatenate([same, other])), [[1.0, 0.0]])


def test_shuffled_heads_find_their_partners() -> None:
    maps = attention(6, 8, 8, seed=3)
    order = [4, 2, 0, 5, 1, 3]
    shuffled = maps[order]
    assert [order[j] for j in best_pairs(maps, shuffled)] == list(range(6))
    # More heads than partners: each serves at most twice.
    twice = best_pairs(maps, maps[:3])
    assert twice[:3] == (0, 1, 2)
    assert max(np.bincount(twice)) == 2


# -- two prompts


def test_two_prompts_to_one_model() -> None:
    a, b = trace(["the", "cat", "sat", "."]), trace(["the", "big", "cat", "sat", "."], seed=5)
    got = DifferenceTrace(a, b)
    assert got.heads == "index"
    assert got.unmatched == ((), (1,))
    assert [t.text for t in got.tokens] == ["the", "cat", "sat", "."]
    mine, theirs = [0, 1, 2, 3], [0, 2, 3, 4]
    assert got.layers[1].queries == 4
    for layer, head in itertools.product(range(2), range(3)):
        want = (
            a.attention(layer, head)[np.ix_(mine, mine)]
            - b.attention(layer, head)[np.ix_(theirs, theirs)]
        )
        np.testing.assert_array_equal(got.attention(layer, head), want)
        np.testing.assert_array_equal(got.rows(layer, head, [2, -1]), want[[2, -1]])
        np.testing.assert_array_equal(got.block(layer, head, 1, 3, 0, 2), want[1:3, :2])
        close = {"rtol": 0, "atol": 1e-6}
        np.testing.assert_allclose(got.mass(layer, head, 2, 3), pooled(want, 2, 3), **close)
        np.testing.assert_allclose(got.thumbnails(layer, 3)[head], pooled(want, 3, 3), **close)
        np.testing.assert_allclose(got.summed(layer, head, [0, 2]), want[[0, 2]].sum(0), **close)
        np.testing.assert_allclose(got.summed_to(layer, head, [1]), want[:, 1], **close)
        assert abs(want).max() <= 1
    received = np.mean([[got.attention(x, h).mean(0) for h in range(3)] for x in range(2)], (0, 1))
    np.testing.assert_allclose(got.attention_received(), received, rtol=0, atol=1e-6)
    assert got.partner(-1, -1) == (1, 2)


def test_a_pass_against_itself_is_nought_and_the_other_way_round_is_the_negative() -> None:
    a, b = trace(list("abc")), trace(list("abc"), seed=7)
    assert not DifferenceTrace(a, a).attention(0, 0).any()
    np.testing.assert_array_equal(
        DifferenceTrace(a, b).attention(1, 2), -DifferenceTrace(b, a).attention(1, 2)
    )


def test_words_of_two_tokenizers_are_compared_through_their_lens() -> None:
    first, words = tokens_of_words([["[S]"], ["un", "real"], ["end"]])
    second, others = tokens_of_words([["unreal"], ["e", "n", "d"]])
    a = StoredTrace([attention(2, 4, 4, 1)], first, words)
    b = StoredTrace([attention(2, 4, 4, 2)], second, others)
    got = DifferenceTrace(LENSES["words"].make(a), LENSES["words"].make(b))
    assert [t.text for t in got.tokens] == ["unreal", "end"]
    assert got.unmatched == ((0,), ())
    x, y = a.attention(0, 1), b.attention(0, 1)
    np.testing.assert_allclose(
        got.attention(0, 1)[0, 1], x[1:3, 3].mean() - y[0, 1:].sum(), atol=1e-6
    )


# -- two models


def test_a_student_is_compared_with_every_other_layer_of_its_teacher() -> None:
    teacher, student = (
        trace(list("abcd"), layers=7, heads=3),
        trace(list("abcd"), layers=3, heads=3),
    )
    got = DifferenceTrace(student, teacher)
    assert got.layer_of == (0, 3, 6)
    assert got.heads == "best"
    assert DifferenceTrace(teacher, student).layer_of == (0, 0, 1, 1, 1, 2, 2)
    with pytest.raises(CaptureError, match="by index"):
        DifferenceTrace(student, teacher, heads="index")


def test_best_finds_the_same_heads_in_another_order() -> None:
    a = trace(list("abcdef"), heads=4)
    order = [2, 0, 3, 1]
    b = StoredTrace([layer[order] for layer in a.weights], a.tokens)
    got = DifferenceTrace(a, b, heads="best")
    for layer, head in itertools.product(range(2), range(4)):
        other, partner = got.partner(layer, head)
        assert (other, order[partner]) == (layer, head)
        assert not got.attention(layer, head).any()
    assert not got.thumbnails(1, heads=(1, 3)).any()


def test_the_mean_of_heads_is_one_head() -> None:
    a, b = trace(list("abc"), heads=2), trace(list("abc"), heads=5, seed=3)
    got = DifferenceTrace(a, b, heads="mean")
    assert [layer.heads for layer in got.layers] == [1, 1]
    want = a.weights[1].mean(0) - b.weights[1].mean(0)
    np.testing.assert_allclose(got.attention(1, 0), want, rtol=0, atol=1e-6)
    np.testing.assert_allclose(got.thumbnails(1, 3), want[None], rtol=0, atol=1e-6)
    for call in (
        lambda: got.partner(0, 0),
        lambda: got.attention(0, 1),
        lambda: got.attention(2, 0),
    ):
        with pytest.raises(CaptureError):
            call()


def test_roles_are_kept_apart() -> None:
    def both(layers: int, seed: int) -> StoredTrace:
        shapes = [("encoder", 3, 3)] * layers + [("decoder", 2, 2), ("cross", 2, 3)] * layers
        return StoredTrace(
            [attention(2, q, k, seed + i) for i, (_, q, k) in enumerate(shapes)],
            [token(t) for t in "abc"],
            decoder_tokens=[token(t) for t in "sa"],
            roles=[role for role, _, _ in shapes],
        )

    got = DifferenceTrace(both(2, 0), both(1, 50))
    assert got.layer_of == (0, 0, 1, 2, 1, 2)
    assert got.attention(3, 0).shape == (2, 3)
    assert [t.text for t in got.decoder_tokens] == ["s", "a"]
    with pytest.raises(CaptureError, match="single stack"):
        DifferenceTrace(both(1, 0), trace(list("abc")))
    # An encoder and a decoder by themselves may be compared.
    causal = trace(list("abc"), causal=True)
    assert DifferenceTrace(trace(list("abc")), causal).layer_of == (0, 1)


def test_texts_without_a_common_token_are_refused() -> None:
    with pytest.raises(CaptureError, match="no token in common"):
        DifferenceTrace(trace(["a"]), trace(["b"]))
