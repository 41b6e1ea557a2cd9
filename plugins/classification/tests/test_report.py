"""Reports on made-up rows: many labels, several a row, numbers; against scikit-learn."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from lmkit_classification.report import report
from lmkit_classification.wish import LEAST_SURE, WRONG, Wish
from sklearn import metrics

from lmkit.api import Matrix, Row, RowResults


def results(
    outputs: list[dict[str, Any]], labels: list[Any] | None = None, **columns: list[Any]
) -> RowResults:
    texts = [f"text {index}" for index in range(len(outputs))]
    rows = [
        Row(index, {"text": text, **({"label": (labels[index],)} if labels else {})})
        for index, text in enumerate(texts)
    ]
    return RowResults(
        rows=rows,
        outputs=outputs,
        total=len(rows),
        mapping={"text": "text"},
        columns=("text", *columns),
        read=lambda column, places: [columns[column][place] for place in places],
    )


def shown(done: RowResults, wish: Wish | None = None) -> dict[str, Any]:
    return {one.title: one for one in report(done, wish or Wish())}  # type: ignore[union-attr]


def of_many(labels: int, rows: int = 4_000) -> tuple[RowResults, list[str], np.ndarray, np.ndarray]:
    """Rows of one label each: those of low numbers are frequent, and 7 in 10 are right."""
    chance = np.random.default_rng(0)
    names = [f"label {index}" for index in range(labels)]
    gold = (labels * chance.random(rows) ** 3).astype(int)
    given = np.where(chance.random(rows) < 0.7, gold, chance.integers(0, labels, rows))
    outputs = []
    for right, got in zip(gold.tolist(), given.tolist(), strict=True):
        # The first row has all labels, so that their order is the model's.
        kept = range(labels) if not outputs else sorted({right, got})
        numbers = {names[one]: 0.9 if one == got else 0.0 for one in kept}
        outputs.append({"probabilities": numbers, "gold": names[right], "multi": False})
    return results(outputs), names, gold, given


def test_confusion_of_many_labels_has_the_most_frequent_and_adds_up() -> None:
    done, names, gold, given = of_many(500)
    matrix = shown(done)["Confusion"]
    assert isinstance(matrix, Matrix)
    assert len(matrix.rows) == len(matrix.columns) == 61
    assert matrix.rows[-1] == matrix.columns[-1] == "440 others"
    assert "440 more" in matrix.note
    whole = metrics.confusion_matrix(gold, given, labels=range(500))
    cells = np.array(matrix.cells)
    assert cells.sum() == whole.sum() == 4_000
    kept = [names.index(one) for one in matrix.rows[:-1]]
    assert kept == sorted(kept)
    np.testing.assert_array_equal(cells[:-1, :-1], whole[np.ix_(kept, kept)])
    np.testing.assert_array_equal(cells.sum(1)[:-1], whole.sum(1)[kept])
    np.testing.assert_array_equal(cells.sum(0)[:-1], whole.sum(0)[kept])
    # none that is left out is in more rows than one that is there
    often = whole.sum(0) + whole.sum(1) - whole.diagonal()
    assert often[kept].min() >= np.delete(often, kept).max()

    # clicks lead to rows of those that are shown, and to none of the others
    assert matrix.changes[60] == (None,) * 61
    assert all(row[60] is None for row in matrix.changes)
    change = matrix.changes[3][3]
    assert change is not None
    assert change.values == {"gold": matrix.rows[3], "predicted": matrix.rows[3]}
    chosen = shown(done, Wish(gold=matrix.rows[3], predicted=matrix.rows[3]))
    assert len(chosen["Rows"].rows) == min(1_000, matrix.cells[3][3])
    assert chosen["Confusion"].chosen == (3, 3)


def test_confusion_of_few_labels_is_whole() -> None:
    done, names, gold, given = of_many(60, 500)
    matrix = shown(done)["Confusion"]
    assert matrix.rows == matrix.columns == tuple(names)
    np.testing.assert_array_equal(
        matrix.cells, metrics.confusion_matrix(gold, given, labels=range(60))
    )
    assert matrix.note == "A click on a cell shows its rows below."


def test_a_report_on_thousands_of_labels_is_made_in_a_moment() -> None:
    done, *_ = of_many(1_000, 1_000)
    start = time.perf_counter()
    report(done, Wish())
    assert time.perf_counter() - start < 3


def of_several(labels: int, rows: int) -> tuple[RowResults, np.ndarray, np.ndarray]:
    chance = np.random.default_rng(1)
    gold, numbers = chance.random((rows, labels)) > 0.6, chance.random((rows, labels))
    gold[0] = False  # that none applies is an answer as well
    names = np.array([f"label {index}" for index in range(labels)], dtype=object)
    outputs = [
        {
            "probabilities": dict(zip(names, one.tolist(), strict=True)),
            "gold": names[right].tolist(),
            "multi": True,
        }
        for one, right in zip(numbers, gold, strict=True)
    ]
    return results(outputs), gold, numbers


@pytest.mark.parametrize("threshold", [0.5, 0.2])
def test_each_of_several_labels_has_its_two_by_two(threshold: float) -> None:
    done, gold, numbers = of_several(4, 80)
    matrix = shown(done, Wish(threshold=threshold))["Confusion"]
    theirs = metrics.multilabel_confusion_matrix(gold, numbers >= threshold)
    assert matrix.columns == ("hits", "missed", "spurious", "rest")
    for row, ((rest, spurious), (missed, hits)) in zip(matrix.cells, theirs.tolist(), strict=True):
        assert row == (hits, missed, spurious, rest)
        assert sum(row) == 80
    for row, label in enumerate(matrix.rows):
        for column, kind in enumerate(matrix.columns):
            values = {"gold": label, "predicted": kind}
            assert matrix.changes[row][column].values == values
            found = shown(done, Wish(threshold=threshold, **values))
            assert len(found["Rows"].rows) == matrix.cells[row][column]
            assert found["Confusion"].chosen == (row, column)
            assert found["Confusion"].changes[row][column].values == {"gold": "", "predicted": ""}


def test_many_of_several_labels_add_up() -> None:
    done, gold, numbers = of_several(100, 30)
    matrix = shown(done)["Confusion"]
    assert len(matrix.rows) == 61
    assert matrix.rows[-1] == "40 others"
    theirs = metrics.multilabel_confusion_matrix(gold, numbers >= 0.5).sum(0)
    assert np.array(matrix.cells).sum(0).tolist() == [
        theirs[1, 1], theirs[1, 0], theirs[0, 1], theirs[0, 0],
    ]  # fmt: skip


def test_slices_of_a_regression() -> None:
    chance = np.random.default_rng(2)
    gold = chance.normal(size=60)
    value = gold + chance.normal(size=60) / 3
    labels: list[Any] = gold.tolist()
    labels[7] = "no number"
    source = ["press" if index % 3 else "public" for index in range(60)]
    done = results([{"values": {"stars": one}} for one in value.tolist()], labels, source=source)
    found = shown(done, Wish(slice_by="source", query="text 1"))
    table = found["Slices"]
    assert table.columns[:5] == ("slice", "rows", "rows scored", "mean absolute error", "R²")
    scored = np.arange(60) != 7
    held = np.array([f"text {index}".startswith("text 1") for index in range(60)])
    press = np.array([one == "press" for one in source])
    parts = {
        "all": np.ones(60, dtype=bool),
        "with “text 1”": held,
        "without “text 1”": ~held,
        "source = press": press,
        "source = public": ~press,
    }
    assert [row[0] for row in table.rows] == list(parts)
    for row in table.rows:
        where = parts[row[0]] & scored
        assert row[1:3] == (parts[row[0]].sum(), where.sum())
        assert row[3] == pytest.approx(metrics.mean_absolute_error(gold[where], value[where]))
        assert row[4] == pytest.approx(metrics.r2_score(gold[where], value[where]))
    measures = dict(found["Scores"].rows)
    assert measures["R²"] == pytest.approx(metrics.r2_score(gold[scored], value[scored]))
    assert [row[-1] for row in found["Rows"].rows][:1] == [pytest.approx(abs(value[1] - gold[1]))]

    # what has no right and wrong, and no probability, says so
    assert "Slices" not in shown(done)
    notes = shown(done, Wish(show=WRONG, order=LEAST_SURE, threshold=0.3))
    assert "neither right nor wrong" in notes["Rows"].note
    assert "no probability" in notes["Rows"].note
    assert "no threshold" in notes["Scores"].note
    assert len(notes["Rows"].rows) == 60
    assert shown(done)["Rows"].note == shown(done)["Scores"].note == ""


def test_a_slice_of_one_row_has_no_r_squared() -> None:
    outputs = [{"values": {"stars": one}} for one in (1.0, 2.0, 3.0)]
    done = results(outputs, [1.0, 2.5, 2.5], source=["a", "b", "b"])
    rows = {row[0]: row for row in shown(done, Wish(slice_by="source"))["Slices"].rows}
    assert rows["source = a"][3:5] == (0.0, None)
    assert rows["source = b"][3:5] == (0.5, None)
    nothing = shown(results(outputs, source=["a", "b", "b"]), Wish(slice_by="source"))
    assert nothing["Slices"].rows[0][1:5] == (3, 0, None, None)
    assert "right numbers" in nothing["Scores"].note


def test_a_threshold_that_decides_nothing_says_so() -> None:
    done, *_ = of_many(5, 50)
    assert shown(done)["Scores"].note == ""
    note = shown(done, Wish(threshold=0.4))["Scores"].note
    assert note == "The threshold decides nothing here: one of 5 labels is given, the likeliest."
