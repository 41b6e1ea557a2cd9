"""The measures against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lmkit_classification.scores import (
    calibration,
    class_scores,
    confusion,
    decisions,
    log_loss,
    r_squared,
    roc,
)
from sklearn import metrics

SEEDS = st.integers(0, 10_000)


def made(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Right labels, probabilities and the likeliest label of some rows."""
    chance = np.random.default_rng(seed)
    labels, rows = int(chance.integers(2, 6)), int(chance.integers(1, 60))
    gold = chance.integers(0, labels, rows)
    numbers = chance.dirichlet(np.ones(labels), rows)
    return gold, numbers, numbers.argmax(1), labels


@settings(deadline=None)
@given(SEEDS)
def test_confusion_precision_recall_and_f1(seed: int) -> None:
    gold, _, given_labels, labels = made(seed)
    counts = confusion(gold, given_labels, labels)
    every = list(range(labels))
    assert (counts == metrics.confusion_matrix(gold, given_labels, labels=every)).all()
    found = class_scores(counts.diagonal(), counts.sum(1), counts.sum(0))
    expected = metrics.precision_recall_fscore_support(
        gold, given_labels, labels=every, zero_division=0
    )
    for ours, theirs in zip(
        (found.precision, found.recall, found.f1, found.support), expected, strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)
    for average in ("macro", "weighted"):
        theirs = metrics.precision_recall_fscore_support(
            gold, given_labels, average=average, zero_division=0
        )
        ours = [getattr(found, average)(one) for one in ("precision", "recall", "f1")]
        np.testing.assert_allclose(ours, theirs[:3], atol=1e-12)


@settings(deadline=None)
@given(SEEDS)
def test_several_labels(seed: int) -> None:
    chance = np.random.default_rng(seed)
    gold, given_labels = chance.random((2, 30, 4)) > 0.6
    found = class_scores((gold & given_labels).sum(0), gold.sum(0), given_labels.sum(0))
    theirs = metrics.precision_recall_fscore_support(
        gold, given_labels, average="micro", zero_division=0
    )
    np.testing.assert_allclose(found.micro(), theirs[:3], atol=1e-12)
    macro = metrics.f1_score(gold, given_labels, average="macro", zero_division=0)
    there = (gold | given_labels).any(0)
    if there.all():  # scikit-learn counts a label that never occurs as 0; here it is left out
        assert found.macro("f1") == pytest.approx(macro, abs=1e-12)


@settings(deadline=None)
@given(SEEDS)
def test_decisions_on_several_labels(seed: int) -> None:
    gold, given_labels = np.random.default_rng(seed).random((2, 20, 3)) > 0.6
    theirs = metrics.multilabel_confusion_matrix(gold, given_labels)
    found = decisions(gold, given_labels)
    np.testing.assert_array_equal(
        found, theirs.reshape(3, 4)[:, [3, 2, 1, 0]]
    )  # theirs: rest, spurious, missed, hits


@settings(deadline=None)
@given(SEEDS)
def test_r_squared(seed: int) -> None:
    gold, value = np.random.default_rng(seed).normal(size=(2, 12))
    assert r_squared(gold, value) == pytest.approx(metrics.r2_score(gold, value), abs=1e-9)
    assert r_squared(np.ones(3), value[:3]) is None


@settings(deadline=None)
@given(SEEDS, st.integers(1, 6))
def test_roc(seed: int, steps: int) -> None:
    chance = np.random.default_rng(seed)
    positive = chance.random(40) > 0.5
    score = np.round(chance.random(40) * steps) / steps  # ties
    found = roc(positive, score)
    assert found is not None
    x, y, _ = metrics.roc_curve(positive, score, drop_intermediate=False)
    np.testing.assert_allclose((found.false_positives, found.true_positives), (x, y), atol=1e-12)
    assert found.area == pytest.approx(metrics.roc_auc_score(positive, score), abs=1e-12)
    assert roc(np.ones(5, dtype=bool), np.arange(5.0)) is None


@settings(deadline=None)
@given(SEEDS)
def test_log_loss(seed: int) -> None:
    gold, numbers, _, labels = made(seed)
    theirs = metrics.log_loss(gold, numbers, labels=list(range(labels)))
    assert log_loss(numbers[np.arange(len(gold)), gold]) == pytest.approx(theirs, abs=1e-9)


def test_calibration_by_hand() -> None:
    # two bins of ten: 0.85 right once of two, 0.95 right twice of two
    found = calibration(
        np.array([True, False, True, True]), np.array([0.85, 0.85, 0.95, 0.95]), bins=10
    )
    np.testing.assert_allclose(found.centre, [0.85, 0.95])
    np.testing.assert_allclose(found.share, [0.5, 1.0])
    assert found.count.tolist() == [2, 2]
    assert found.error == pytest.approx(0.5 * 0.35 + 0.5 * 0.05)


@settings(deadline=None)
@given(SEEDS)
def test_calibration_has_scikit_learns_bins(seed: int) -> None:
    from sklearn.calibration import calibration_curve

    chance = np.random.default_rng(seed)
    right, numbers = chance.random(50) > 0.4, chance.random(50)
    found = calibration(right, numbers, bins=8)
    share, confidence = calibration_curve(right, numbers, n_bins=8)
    np.testing.assert_allclose(found.share, share, atol=1e-12)
    np.testing.assert_allclose(found.confidence, confidence, atol=1e-12)
    assert int(found.count.sum()) == 50
