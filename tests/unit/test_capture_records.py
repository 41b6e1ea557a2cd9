"""The arithmetic of records against a plain softmax, for every kind of mask and head sharing."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch

from lmkit.capture import records as module
from lmkit.capture.pooling import bin_edges, even_edges
from lmkit.capture.records import KeptMask, QKRecord, StoredRecord
from lmkit.errors import Cancelled, CaptureError

B, H, Q, K, D = 2, 6, 37, 53, 8


def _mask(kind: str) -> torch.Tensor:
    causal = torch.ones(Q, K, dtype=torch.bool).tril(K - Q)
    if kind == "causal":
        return causal.view(1, 1, Q, K)
    if kind == "window":
        return (causal & causal.triu(K - Q - 4).bool()).view(1, 1, Q, K)
    if kind == "padding":
        keep = torch.ones(B, 1, 1, K, dtype=torch.bool)
        keep[1, ..., 40:] = False
        return keep
    if kind == "float":
        return torch.where(causal, 0.0, torch.finfo(torch.float32).min).view(1, 1, Q, K)
    if kind == "closed rows":
        closed = causal.clone()
        closed[3:5] = False
        return closed.view(1, 1, Q, K)
    return torch.randn(1, H, Q, K) * 2  # a bias of its own for each head


def _record(**changes: Any) -> QKRecord:
    torch.manual_seed(1)
    groups = changes.pop("kv_heads", H)
    given: dict[str, Any] = {
        "query": torch.randn(B, H, Q, D) * 2,
        "key": torch.randn(B, groups, K, D) * 2,
        "value": None,
        "scale": D**-0.5,
        **changes,
    }
    return QKRecord(
        name="layer",
        role="decoder",
        step=0,
        call=0,
        heads=H,
        kv_heads=groups,
        queries=Q,
        keys=K,
        batch=B,
        causal=False,
        window=None,
        path="sdpa",
        **given,
    )


def _reference(record: QKRecord) -> torch.Tensor:
    """The equation in float64, the straightforward way: (B, H, Q, K)."""
    q, k = record.query.double(), record.key.double()
    k = k.repeat_interleave(record.heads // record.kv_heads, 1)
    s = q @ k.transpose(-1, -2) * record.scale
    if record.softcap:
        s = record.softcap * torch.tanh(s / record.softcap)
    for mask in record.masks:
        t = mask.tensor
        s = s.masked_fill(~t, -math.inf) if t.dtype == torch.bool else s + t.double()
    if record.first_rows:
        s = s.masked_fill(torch.ones(Q, K, dtype=torch.bool).triu(1), -math.inf)
    if record.sinks is not None:
        sink = record.sinks.double().view(1, -1, 1, 1).expand(B, H, Q, 1)
        return torch.softmax(torch.cat([s, sink], -1), -1)[..., :-1]
    return torch.softmax(s, -1).nan_to_num(0.0)


CASES: dict[str, Any] = {
    "plain": dict,
    "grouped": lambda: {"kv_heads": 2},
    "one key-value head": lambda: {"kv_heads": 1},
    "first rows": lambda: {"first_rows": True},
    "softcap": lambda: {"softcap": 3.0},
    "sinks": lambda: {"sinks": torch.linspace(-2, 5, H), "kv_heads": 3},
    "sinks and window": lambda: {
        "sinks": torch.zeros(H),
        "masks": (KeptMask(_mask("window")),),
    },
    "bias and mask": lambda: {
        "masks": (KeptMask(_mask("bias")), KeptMask(_mask("causal"))),
        "kv_heads": 2,
    },
    **{
        kind: (lambda kind=kind: {"masks": (KeptMask(_mask(kind)),)})
        for kind in ("causal", "window", "padding", "float", "closed rows", "bias")
    },
}


@pytest.fixture(params=CASES)
def record(request: pytest.FixtureRequest) -> QKRecord:
    return _record(**CASES[request.param]())


@pytest.fixture(params=["small", "large"])
def _cells(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few rows, and one block for all heads: both ways of cutting the work."""
    monkeypatch.setattr(module, "_CELLS_PER_BLOCK", 5 * K if request.param == "small" else 1 << 20)


def test_rows_and_heads_equal_the_equation(record: QKRecord) -> None:
    want = _reference(record)
    for b in range(B):
        for h in range(H):
            whole = record.weights(b, h, slice(0, Q), 0, K)
            assert whole.dtype == torch.float32
            assert (whole - want[b, h]).abs().max() < 2e-6
            some = torch.tensor([Q - 1, 0, 4, 4])
            assert (record.weights(b, h, some, 0, K) - want[b, h, some]).abs().max() < 2e-6


def test_tiles_equal_the_whole_and_never_recompute_the_rows(
    record: QKRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    want = _reference(record)
    for b, h in ((0, 0), (1, H - 1)):
        for q0, q1, k0, k1 in ((0, 5, 0, 7), (3, 30, 20, 53), (36, 37, 52, 53)):
            got = record.weights(b, h, slice(q0, q1), k0, k1)
            assert (got - want[b, h, q0:q1, k0:k1]).abs().max() < 2e-6
    asked: list[tuple[int, int]] = []
    plain = QKRecord.scores

    def counting(self: QKRecord, b: int, h0: int, h1: int, rows: Any, k0: int, k1: int) -> Any:
        asked.append((k0, k1))
        return plain(self, b, h0, h1, rows, k0, k1)

    monkeypatch.setattr(QKRecord, "scores", counting)
    record.weights(0, 0, slice(4, 29), 10, 14)
    assert asked == [(10, 14)]


def _pool(attention: torch.Tensor, n: int, m: int, rows: list[list[int]] | None = None) -> Any:
    q, k = bin_edges(attention.shape[0], n), bin_edges(attention.shape[1], m)
    return np.array(
        [
            [
                float(
                    attention[rows[i] if rows else range(q[i], q[i + 1]), k[j] : k[j + 1]]
                    .sum(1)
                    .mean()
                )
                for j in range(m)
            ]
            for i in range(n)
        ]
    )


@pytest.mark.usefixtures("_cells")
@pytest.mark.parametrize(("n", "m"), [(1, 1), (5, 7), (Q, K)])
def test_pooled_mass_is_sum_over_keys_and_mean_over_queries(
    record: QKRecord, n: int, m: int
) -> None:
    want = _reference(record)
    got = record.pooled(1, (0, H), n, m).numpy()
    assert got.shape == (H, n, m)
    for h in range(H):
        assert np.abs(got[h] - _pool(want[1, h], n, m)).max() < 3e-6
    part = record.pooled(1, (1, 4), n, m).numpy()
    assert np.abs(part - got[1:4]).max() < 1e-6


@pytest.mark.usefixtures("_cells")
@pytest.mark.parametrize("known", [False, True])
def test_a_rectangle_is_pooled_as_the_same_part_of_the_whole(record: QKRecord, known: bool) -> None:
    want = _reference(record)
    if known:
        record.pooled(1, (0, H), 3, 3)
    for (q0, q1, k0, k1), n, m in (
        ((0, Q, 0, K), 8, 16),
        ((5, 30, 17, 18), 4, 1),
        ((36, 37, 0, 9), 1, 4),
    ):
        rows, columns = even_edges(q0, q1, n), even_edges(k0, k1, m)
        for heads in ((0, H), (2, 3)):
            got = record.binned(1, heads, rows, columns).numpy()
            assert got.shape == (heads[1] - heads[0], len(rows) - 1, len(columns) - 1)
            for h in range(*heads):
                for i, (a, b) in enumerate(itertools.pairwise(rows)):
                    for j, (c, d) in enumerate(itertools.pairwise(columns)):
                        cell = float(want[1, h, a:b, c:d].sum(1).mean())
                        assert abs(got[h - heads[0], i, j] - cell) < 3e-6


def test_after_the_thumbnails_a_tile_costs_its_own_cells(
    record: QKRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pooling sees every row whole: its maxima and sums serve all later tiles of all heads."""
    record.pooled(0, (0, H), 4, 4)
    cells: list[int] = []
    plain = QKRecord.scores

    def counting(self: QKRecord, b: int, h0: int, h1: int, rows: Any, k0: int, k1: int) -> Any:
        s = plain(self, b, h0, h1, rows, k0, k1)
        cells.append(s.numel())
        return s

    monkeypatch.setattr(QKRecord, "scores", counting)
    want = _reference(record)
    got = record.binned(0, (1, 2), even_edges(20, 36, 4), even_edges(4, 12, 2))
    assert sum(cells) <= 16 * 8
    cell = float(want[0, 1, 20:24, 4:6].sum(1).mean())
    assert abs(float(got[0, 0, 0]) - cell) < 3e-6
    cells.clear()
    tile = record.weights(0, H - 1, slice(3, 9), 4, 6)
    assert sum(cells) == 6 * 2
    assert (tile - want[0, H - 1, 3:9, 4:6]).abs().max() < 2e-6


@pytest.mark.usefixtures("_cells")
def test_sampled_pooling_uses_rows_of_each_bin(record: QKRecord) -> None:
    want = _reference(record)[0, 2]
    got = record.pooled(0, (2, 3), 3, 4, sample=2)[0].numpy()
    edges = bin_edges(Q, 3)
    rows = []
    for a, b in itertools.pairwise(edges):
        rows.append([a + (b - a) // 4, a + 3 * (b - a) // 4])
    assert np.abs(got - _pool(want, 3, 4, rows)).max() < 3e-6


@pytest.mark.usefixtures("_cells")
def test_received_weighs_the_queries(record: QKRecord) -> None:
    weights = torch.zeros(Q, dtype=torch.float64)
    weights[5:20] = torch.linspace(0, 1, 15, dtype=torch.float64)
    want = torch.einsum("hqk,q->k", _reference(record)[1], weights)
    assert (record.received(1, weights) - want).abs().max() < 1e-5


def test_the_matrix_precision_flag_does_not_reach_the_numbers(
    record: QKRecord, request: pytest.FixtureRequest
) -> None:
    before = torch.get_float32_matmul_precision()
    request.addfinalizer(lambda: torch.set_float32_matmul_precision(before))
    torch.set_float32_matmul_precision("medium")
    want = _reference(record)
    got = record.weights(0, 1, slice(0, Q), 0, K)
    assert (got - want[0, 1]).abs().max() < 2e-6
    pooled = record.pooled(0, (0, H), 4, 4)[1].numpy()
    assert np.abs(pooled - _pool(want[0, 1], 4, 4)).max() < 3e-6


def test_large_scores_lose_nothing_in_the_row_cache() -> None:
    """Scores above 200: tiles from the cached rows are as good as whole rows."""
    record = _record()
    record.query = record.query * 15
    want = _reference(record)[0, 0]
    assert (record.query @ record.key.transpose(-1, -2) * record.scale).abs().max() > 200
    got = torch.cat([record.weights(0, 0, slice(0, Q), k, k + 1) for k in range(K)], 1)
    whole = record.weights(0, 0, slice(0, Q), 0, K)
    assert (got - want).abs().max() < 3e-5
    assert (whole - want).abs().max() < 3e-5


def test_spans_leave_out_only_what_is_closed() -> None:
    for kind in ("causal", "window", "padding", "float", "bias", "closed rows"):
        mask = KeptMask(_mask(kind))
        for b in range(B):
            first, last = mask.spans(b, Q, K)
            part = mask.cut(b, 0, H, slice(0, Q), 0, K)
            open_ = (~mask.masked(part)).any(0).expand(Q, K)
            for q in range(Q):
                seen = open_[q].nonzero().flatten().tolist()
                assert (first[q], last[q]) == ((seen[0], seen[-1] + 1) if seen else (0, 0))


def test_a_mask_is_causal_only_when_every_looked_at_row_is() -> None:
    assert KeptMask(_mask("causal")).is_causal(Q, K)
    assert KeptMask(_mask("window")).is_causal(Q, K)
    assert KeptMask(_mask("float")).is_causal(Q, K)
    assert not KeptMask(_mask("padding")).is_causal(Q, K)
    assert not KeptMask(_mask("bias")).is_causal(Q, K)


def test_stored_attention_is_pooled_and_cut_the_same_way() -> None:
    attention = torch.softmax(torch.randn(B, H, Q, K), -1)
    record = StoredRecord(
        "layer", "decoder", 0, 0, H, H, Q, K, B, False, None, "eager fallback", attention
    )
    pooled = record.pooled(1, (0, H), 5, 7)[2].numpy()
    assert np.abs(pooled - _pool(attention[1, 2], 5, 7)).max() < 3e-6
    tile = record.weights(1, 2, slice(3, 9), 4, 6)
    assert torch.equal(tile, attention[1, 2, 3:9, 4:6])
    tile.zero_()
    assert attention[1, 2, 3:9, 4:6].min() > 0


def test_cancel_is_asked_between_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CELLS_PER_BLOCK", 5 * K)
    record = _record()
    asked = []

    def cancel() -> bool:
        asked.append(1)
        return len(asked) == 3

    with pytest.raises(Cancelled):
        record.pooled(0, (0, H), 4, 4, cancel=cancel)
    assert len(asked) == 3


@pytest.mark.parametrize(("first", "last", "size"), [(3, 3, 1), (4, 3, 1), (0, 5, 0)])
def test_nothing_is_not_pooled(first: int, last: int, size: int) -> None:
    with pytest.raises(CaptureError):
        even_edges(first, last, size)


@pytest.mark.parametrize(("length", "bins"), [(1, 1), (10, 3), (7, 7), (1000, 24)])
def test_bins_cover_all_and_differ_by_one_at_most(length: int, bins: int) -> None:
    edges = bin_edges(length, bins)
    sizes = np.diff(edges)
    assert edges[0] == 0
    assert edges[-1] == length
    assert sizes.min() >= 1
    assert sizes.max() - sizes.min() <= 1
