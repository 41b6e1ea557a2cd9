"""Spread over texts and the correction for many heads, against scipy and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lmkit.analysis.statistics import (
    _student_tail,
    adjusted,
    bootstrap,
    greater_than_zero,
    mean_and_deviation,
)


@pytest.mark.parametrize(
    ("t", "freedom", "tail"),
    [
        # Quantiles as printed in tables of Student's t (Abramowitz and Stegun, table 26.10).
        (6.314, 1, 0.05),
        (2.132, 4, 0.05),
        (3.747, 4, 0.01),
        (2.764, 10, 0.01),
        (1.697, 30, 0.05),
        (2.326, 100_000, 0.01),
        (0.0, 7, 0.5),
    ],
)
def test_the_tail_of_students_t_is_that_of_the_tables(t: float, freedom: int, tail: float) -> None:
    assert _student_tail(t, freedom) == pytest.approx(tail, rel=2e-3)
    assert _student_tail(-t, freedom) == pytest.approx(1 - tail, rel=2e-3)


def test_the_tail_of_one_degree_of_freedom_is_the_arc_tangent() -> None:
    for t in (-50.0, -0.3, 0.01, 1.0, 7.0, 1e4):
        exact = math.atan2(1, t) / math.pi
        assert _student_tail(t, 1) == pytest.approx(exact, rel=1e-10)


def test_means_and_deviations_leave_undefined_texts_out() -> None:
    values = np.array([[1.0, np.nan, np.nan], [2.0, 4.0, np.nan], [6.0, np.nan, np.nan]])
    mean, deviation = mean_and_deviation(values)
    assert mean[:2] == pytest.approx([3.0, 4.0])
    assert deviation[0] == pytest.approx(np.std([1, 2, 6], ddof=1))
    assert np.isnan(mean[2])
    assert np.isnan(deviation[1:]).all()


def test_p_values_are_uniform_where_nothing_is_there() -> None:
    """2,000 heads, 8 texts: the largest gap to a uniform distribution is what chance allows."""
    rng = np.random.default_rng(3)
    p = np.sort(greater_than_zero(rng.normal(size=(8, 2_000))))
    gap = np.abs(p - (np.arange(2_000) + 0.5) / 2_000).max()
    assert gap < 1.63 / math.sqrt(2_000)  # Kolmogorov's 1 % bound
    assert adjusted(p).min() > 0.05


def test_a_shift_is_found_and_the_wrong_direction_is_not() -> None:
    rng = np.random.default_rng(4)
    noise = rng.normal(size=(8, 3)) * 0.1
    p = greater_than_zero(noise + np.array([0.5, 0.0, -0.5]))
    assert p[0] < 1e-4
    assert p[2] > 0.999
    assert greater_than_zero(np.ones((5, 1)))[0] == 0
    assert greater_than_zero(np.zeros((5, 1)))[0] == 1
    assert np.isnan(greater_than_zero(np.ones((4, 1)))[0])


def test_q_values_are_those_of_benjamini_and_hochberg() -> None:
    p = np.array([0.01, np.nan, 0.04, 0.03, 0.005, 0.5])
    assert adjusted(p) == pytest.approx([0.025, np.nan, 0.05, 0.05, 0.025, 0.5], nan_ok=True)


def test_q_values_hold_the_share_of_false_finds() -> None:
    """100 real heads among 1,000: of those with q <= 0.1 at most about 0.1 * 0.9 are false."""
    rng = np.random.default_rng(5)
    shares = []
    for _ in range(40):
        values = rng.normal(size=(10, 1_000))
        values[:, :100] += 1.5
        found = np.flatnonzero(adjusted(greater_than_zero(values)) <= 0.1)
        assert len(found) > 50
        shares.append(float((found >= 100).mean()))
    assert 0.05 < np.mean(shares) < 0.13


def test_the_bootstrap_covers_the_mean() -> None:
    rng = np.random.default_rng(6)
    values = rng.normal(size=(30, 400)) + 2.0
    low, high = bootstrap(values, seed=1)
    covered = float(((low <= 2.0) & (high >= 2.0)).mean())
    assert 0.88 < covered < 0.97
    again = bootstrap(values, seed=1)
    assert (again[0] == low).all()
    assert np.isnan(bootstrap(values[:4])[0]).all()
