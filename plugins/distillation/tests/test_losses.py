"""Each loss against a plain reference over full tensors, its limits, and what must not count."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lmkit_distillation.errors import RecipeError
from lmkit_distillation.losses import attention, states
from lmkit_distillation.losses.layers import layer_pairs, weight_at
from lmkit_distillation.losses.vocabulary import (
    Head,
    Known,
    chunked,
    cross_entropy,
    forward_kl,
    generalised_jsd,
    logit_mse,
    reverse_kl,
)
from lmkit_distillation.recipe import Ramp
from lmkit_distillation.setup_form import PRESETS


def logits(seed: int, rows: int = 7, width: int = 11) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)) * 2


S, T = logits(0), logits(1)


def softmax(x: torch.Tensor) -> torch.Tensor:
    e = (x - x.max(-1, keepdim=True).values).double().exp()
    return e / e.sum(-1, keepdim=True)


def kl(p: torch.Tensor, q: torch.Tensor) -> float:
    return float((p * (p.log() - q.log())).sum())


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_divergences_are_those_of_the_definition(temperature: float) -> None:
    p, q = softmax(T / temperature), softmax(S / temperature)
    square = temperature**2
    assert math.isclose(
        float(forward_kl(S, Known(T), temperature)), kl(p, q) * square, rel_tol=1e-5
    )
    assert math.isclose(
        float(reverse_kl(S, Known(T), temperature)), kl(q, p) * square, rel_tol=1e-5
    )
    for beta in (0.1, 0.5, 0.9):
        m = beta * p + (1 - beta) * q
        expected = (beta * kl(p, m) + (1 - beta) * kl(q, m)) * square
        found = float(generalised_jsd(S, Known(T), beta, temperature))
        assert math.isclose(found, expected, rel_tol=1e-4)


def test_jsd_has_both_kl_as_its_limits() -> None:
    s, t = S.double(), T.double()
    near = 1e-4
    forward, reverse = float(forward_kl(s, Known(t))), float(reverse_kl(s, Known(t)))
    assert math.isclose(float(generalised_jsd(s, Known(t), near)) / near, forward, rel_tol=2e-2)
    assert math.isclose(float(generalised_jsd(s, Known(t), 1 - near)) / near, reverse, rel_tol=2e-2)
    assert float(generalised_jsd(s, Known(t), 0)) == forward
    assert float(generalised_jsd(s, Known(t), 1)) == reverse


@given(st.integers(0, 1000), st.floats(0, 1), st.floats(0.5, 8))
@settings(max_examples=40, deadline=None)
def test_identical_models_give_zero_and_others_never_less(
    seed: int, beta: float, temperature: float
) -> None:
    a, b = logits(seed), logits(seed + 1)
    for same, other in (
        (forward_kl(a, Known(a), temperature), forward_kl(a, Known(b), temperature)),
        (reverse_kl(a, Known(a), temperature), reverse_kl(a, Known(b), temperature)),
        (
            generalised_jsd(a, Known(a), beta, temperature),
            generalised_jsd(a, Known(b), beta, temperature),
        ),
        (logit_mse(a, Known(a)), logit_mse(a, Known(b))),
    ):
        assert abs(float(same)) < 1e-4
        assert float(other) > -1e-4


def test_cross_entropy_leaves_out_what_is_not_known() -> None:
    targets = torch.tensor([3, -100, 0, -100, 1, 2, -100])
    known = targets != -100
    expected = -softmax(S)[known].log()[torch.arange(4), targets[known]].sum()
    assert math.isclose(float(cross_entropy(S, targets)), float(expected), rel_tol=1e-5)
    assert float(cross_entropy(S, torch.full((7,), -100))) == 0


def coarse(k: int, temperature: float) -> Known:
    top = T.topk(k, -1)
    rest = T.scatter(-1, top.indices, -torch.inf) / temperature
    return Known(top.values, top.indices, rest.logsumexp(-1, keepdim=True), (temperature,))


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_top_k_with_the_remaining_mass_is_the_coarser_divergence(temperature: float) -> None:
    k, known = 4, coarse(4, temperature)
    p, q = softmax(T / temperature), softmax(S / temperature)
    assert known.indices is not None
    pk, qk = p.gather(-1, known.indices), q.gather(-1, known.indices)
    p2 = torch.cat([pk, 1 - pk.sum(-1, keepdim=True)], -1)
    q2 = torch.cat([qk, 1 - qk.sum(-1, keepdim=True)], -1)
    found = float(forward_kl(S, known, temperature)) / temperature**2
    assert math.isclose(found, kl(p2, q2), rel_tol=1e-4)
    assert found <= kl(p, q) + 1e-6
    assert known.logits.shape[-1] == k


def test_blocks_of_the_vocabulary_change_neither_loss_nor_gradient() -> None:
    width, vocabulary = 8, 50
    weight = torch.randn(64, width, generator=torch.Generator().manual_seed(2), requires_grad=True)
    hidden = torch.randn(23, width, generator=torch.Generator().manual_seed(3), requires_grad=True)
    teacher = logits(4, 23, vocabulary)
    seen: list[int] = []

    def project(x: torch.Tensor) -> torch.Tensor:
        seen.append(len(x))
        return x @ weight.T

    head = Head(project, scale=0.5, softcap=3.0, vocabulary=vocabulary)

    def loss(part: torch.Tensor, rows: slice) -> torch.Tensor:
        return forward_kl(part, Known(teacher[rows]), 2.0)

    found = chunked(hidden, head, loss, width=vocabulary, cells=vocabulary * 5)
    found.backward()
    assert max(seen) == 5
    gradients = hidden.grad, weight.grad
    hidden.grad = weight.grad = None
    plain = 3.0 * torch.tanh(0.5 * (hidden @ weight.T) / 3.0)[:, :vocabulary]
    expected = forward_kl(plain, Known(teacher), 2.0)
    expected.backward()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradients, (hidden.grad, weight.grad))


def test_hidden_losses_leave_padding_out() -> None:
    a, b = torch.randn(2, 5, 6), torch.randn(2, 5, 6)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], dtype=torch.bool)
    expected = sum(((a[i, j] - b[i, j]) ** 2).mean() for i, j in mask.nonzero().tolist())
    torch.testing.assert_close(states.hidden_mse(a, b, mask), torch.as_tensor(expected))
    changed = torch.where(mask[..., None], a, torch.full_like(a, 1e6))
    for measure in (states.hidden_mse, states.hidden_cosine):
        torch.testing.assert_close(measure(changed, b, mask), measure(a, b, mask))
        assert abs(float(measure(a, a, mask))) < 1e-5
    assert states.projection(4, 4)(a) is a
    assert states.projection(6, 9)(a).shape == (2, 5, 9)


MASK = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]], dtype=torch.bool)
OPEN = MASK[:, None, None, :]


def test_attention_losses_are_those_of_loops_over_real_pairs() -> None:
    a, b = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    squares = divergence = 0.0
    for text in range(2):
        real = int(MASK[text].sum())
        for head in range(3):
            for row in range(real):
                x, y = a[text, head, row, :real], b[text, head, row, :real]
                squares += float(((x - y) ** 2).mean()) / 3
                divergence += kl(softmax(y), softmax(x)) / 3
    assert math.isclose(float(attention.attention_mse(a, b, OPEN, MASK)), squares, rel_tol=1e-5)
    assert math.isclose(float(attention.attention_kl(a, b, OPEN, MASK)), divergence, rel_tol=1e-5)
    assert abs(float(attention.attention_kl(a, a, OPEN, MASK))) < 1e-5
    with pytest.raises(RecipeError, match="3 and the teacher 2"):
        attention.attention_mse(a, b[:, :2], OPEN, MASK)


def test_relations_compare_models_of_different_heads_and_sizes() -> None:
    a, b = torch.randn(2, 2, 4, 6, requires_grad=True), torch.randn(2, 4, 4, 9)
    mine, theirs = (attention.cut_into_heads(x, 3, "vectors") for x in (a, b))
    assert mine.shape == (2, 3, 4, 4)
    assert theirs.shape == (2, 3, 4, 12)
    expected = 0.0
    for text in range(2):
        real = int(MASK[text].sum())
        for head in range(3):
            x, y = mine[text, head, :real].detach(), theirs[text, head, :real]
            p = softmax(y @ y.T / math.sqrt(12))
            q = softmax(x @ x.T / math.sqrt(4))
            expected += kl(p, q) / 3
    found = attention.relation_kl(mine, theirs, OPEN, MASK)
    assert math.isclose(found.item(), expected, rel_tol=1e-5)
    found.backward()
    assert a.grad is not None
    assert bool(a.grad.isfinite().all())
    with pytest.raises(RecipeError, match="does not divide"):
        attention.cut_into_heads(a, 5, "vectors")


def test_layer_maps() -> None:
    assert layer_pairs("uniform", 3, 6) == ((0, 1), (1, 3), (2, 5))
    assert layer_pairs("uniform", 4, 6) == ((0, 1), (1, 2), (2, 4), (3, 5))
    assert layer_pairs("last", 3, 6) == ((0, 3), (1, 4), (2, 5))
    assert layer_pairs("final", 3, 6) == ((2, 5),)
    assert layer_pairs("skip", 3, 6) == ((0, 1), (1, 3))
    assert layer_pairs(((0, 5),), 1, 6) == ((0, 5),)
    with pytest.raises(RecipeError, match="counted from 0"):
        layer_pairs(((0, 6),), 1, 6)
    with pytest.raises(RecipeError, match="pairs no layer"):
        layer_pairs("skip", 1, 6)


@pytest.mark.parametrize("preset", ["MiniLM", "MiniLM v2"])
def test_minilm_transfers_the_last_layer_alone(preset: str) -> None:
    inner = [one for one in PRESETS[preset] if one["kind"] in ("attention", "relations")]
    assert inner
    assert all(layer_pairs(one["map"], 3, 6) == ((2, 5),) for one in inner)


def test_weights_change_as_their_ramp_says() -> None:
    ramp = Ramp(start=1.0, end=0.0, begin=0.2, until=0.6)
    found = [weight_at(ramp, x) for x in (0, 0.2, 0.4, 0.6, 1)]
    assert found == pytest.approx([1, 1, 0.5, 0, 0])
    assert weight_at(replace(ramp, shape="cosine"), 0.4) == pytest.approx(0.5)
    assert weight_at(replace(ramp, shape="step"), 0.59) == 1
    assert weight_at(2, 0.5) == 2
