"""What is shown of a data set: scores, confusion, ROC, calibration, slices, and the rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmkit.api import (
    Axis,
    Change,
    Chart,
    Matrix,
    Result,
    RowResults,
    Series,
    Table,
)
from lmkit_classification.scores import (
    ClassScores,
    calibration,
    class_scores,
    confusion,
    log_loss,
    roc,
)
from lmkit_classification.wish import ALL, HARDEST, LEAST_SURE, RIGHT, WRONG, Wish

__all__ = ["report"]

MOST_ROWS = 1_000
"""Rows in the table; order and filters say which, and Python has them all."""
MOST_TEXT = 280
MOST_EXPLORED = 20_000
"""Characters of a text that a click brings into the form; a saved notebook carries them all."""
MOST_CURVES = 6
MOST_POINTS = 300
MOST_SLICES = 30
FEW_NUMBERS = 12
"""More distinct numbers than these are sliced at their quartiles."""


@dataclass(frozen=True)
class _Judged:
    """Rows as arrays. ``gold`` and ``given`` are (rows, labels); ``scored`` says where gold is."""

    labels: list[str]
    multi: bool
    chance: NDArray[np.float64]
    gold: NDArray[np.bool_]
    given: NDArray[np.bool_]
    scored: NDArray[np.bool_]

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether all labels of a row are right; of several right ones, one will do."""
        if self.multi:
            return np.asarray((self.gold == self.given).all(axis=1)) & self.scored
        return np.asarray((self.gold & self.given).any(axis=1))

    @property
    def top(self) -> NDArray[np.int64]:
        """The label that each row got, or its likeliest where it got none."""
        likeliest = self.chance.argmax(axis=1)
        if self.multi:
            return np.asarray(likeliest)
        return np.asarray(np.where(self.given.any(axis=1), self.given.argmax(axis=1), likeliest))

    @property
    def sure(self) -> NDArray[np.float64]:
        """The probability of the label that each row got."""
        return np.asarray(self.chance[np.arange(len(self.chance)), self.top])

    @property
    def loss(self) -> NDArray[np.float64]:
        """How hard a row is: -ln p of its right label, or of the worst of its decisions."""
        tiny = np.finfo(np.float64).eps
        if self.multi:
            wanted = np.where(self.gold, self.chance, 1 - self.chance).min(axis=1)
        else:
            wanted = np.where(self.gold, self.chance, 0).max(axis=1)
        return np.where(self.scored, -np.log(np.maximum(wanted, tiny)), np.nan)

    def first_gold(self) -> NDArray[np.int64]:
        """One right label a row: the one it got, where that is right."""
        both = self.gold & self.given
        place = np.where(both.any(axis=1), both.argmax(axis=1), self.gold.argmax(axis=1))
        return np.asarray(place)

    def scores(self, rows: NDArray[np.bool_]) -> ClassScores:
        """Precision, recall and F1 over some of the scored rows."""
        chosen = rows & self.scored
        gold, given = self.gold[chosen], self.given[chosen]
        if not self.multi:
            gold = np.zeros_like(gold)
            gold[np.arange(len(gold)), self.first_gold()[chosen]] = True
        return class_scores((gold & given).sum(0), gold.sum(0), given.sum(0))


def report(done: RowResults, wish: Wish) -> Sequence[Result]:
    """All results for the rows that are done."""
    if "values" in done.outputs[0]:
        return _regression(done, wish)
    judged = _judge(done, wish.threshold)
    some = bool(judged.scored.any())
    results: list[Result] = [_summary(judged)]
    if some and not judged.multi:
        results.append(_confusion(judged, wish))
    if some:
        results.extend((*_roc_charts(judged, wish), _calibration_chart(judged)))
    else:
        results.append(_histogram(judged))
    results.append(_labels_table(judged))
    slices = _slices(done, judged, wish)
    if slices is not None:
        results.append(slices)
    results.append(_rows_table(done, judged, wish))
    return results


def _judge(done: RowResults, threshold: float) -> _Judged:
    labels = list(dict.fromkeys(name for one in done.outputs for name in one["probabilities"]))
    place = {name: index for index, name in enumerate(labels)}
    multi = bool(done.outputs[0]["multi"])
    shape = (len(done), len(labels))
    chance = np.zeros(shape)
    gold = np.zeros(shape, dtype=bool)
    for row, output in enumerate(done.outputs):
        found = output["probabilities"]
        chance[row, [place[name] for name in found]] = list(found.values())
        for name in output["gold"]:
            gold[row, place[name]] = True
    given = np.zeros(shape, dtype=bool)
    if multi:
        given = chance >= threshold
    else:
        top = chance.argmax(axis=1)
        if len(labels) == 2 and threshold != 0.5:
            top = (chance[:, 1] >= threshold).astype(np.int64)
        given[np.arange(len(top)), top] = True
    return _Judged(labels, multi, chance, gold, given, np.asarray(gold.any(axis=1)))


def _summary(judged: _Judged) -> Table:
    scored = judged.scored
    rows: list[tuple[str, Any]] = [("rows", len(scored))]
    if not scored.any():
        rows.append(("mean probability", float(judged.sure.mean())))
        return Table(
            title="Scores",
            columns=("measure", "value"),
            rows=tuple(rows),
            note="Map the column of the right labels for accuracy and the rest.",
        )
    if not scored.all():
        rows.append(("rows scored", int(scored.sum())))
    scores = judged.scores(scored)
    name = "exact match" if judged.multi else "accuracy"
    rows += [
        (name, float(judged.right[scored].mean())),
        ("precision (macro)", scores.macro("precision")),
        ("recall (macro)", scores.macro("recall")),
        ("F1 (macro)", scores.macro("f1")),
        ("F1 (weighted)", scores.weighted("f1")),
    ]
    if judged.multi:
        rows.append(("F1 (micro)", scores.micro()[2]))
    areas = [curve.area for _, curve in _curves(judged)]
    if areas:
        rows.append(("ROC AUC" if len(areas) == 1 else "ROC AUC (macro)", float(np.mean(areas))))
    rows.append(("calibration error (ECE)", _calibrated(judged).error))
    if not judged.multi:
        chance = np.where(judged.gold, judged.chance, 0)[scored].max(axis=1)
        rows.append(("log loss", log_loss(chance)))
    return Table(title="Scores", columns=("measure", "value"), rows=tuple(rows))


def _confusion(judged: _Judged, wish: Wish) -> Matrix:
    labels, scored = judged.labels, judged.scored
    counts = confusion(judged.first_gold()[scored], judged.top[scored], len(labels))
    chosen: tuple[int, ...] = ()
    if wish.gold in labels and wish.predicted in labels:
        chosen = (labels.index(wish.gold), labels.index(wish.predicted))

    def change(row: int, column: int) -> Change:
        again = chosen == (row, column)  # a second click lets all rows back in
        gold, predicted = ("", "") if again else (labels[row], labels[column])
        return Change(values={"gold": gold, "predicted": predicted})

    everything = range(len(labels))
    return Matrix(
        title="Confusion",
        rows=tuple(labels),
        columns=tuple(labels),
        row_title="right",
        column_title="predicted",
        cells=tuple(tuple(float(one) for one in row) for row in counts.tolist()),
        changes=tuple(tuple(change(row, column) for column in everything) for row in everything),
        chosen=chosen,
        note="A click on a cell shows its rows below.",
    )


def _curves(judged: _Judged) -> list[tuple[str, Any]]:
    """The ROC curve of each label; of two exclusive labels the second says it all."""
    scored = judged.scored
    names = list(enumerate(judged.labels))
    if not judged.multi and len(names) == 2:
        names = names[1:]
    found = []
    for place, name in names:
        curve = roc(judged.gold[scored, place], judged.chance[scored, place])
        if curve is not None:
            found.append((name, curve))
    return found


def _roc_charts(judged: _Judged, wish: Wish) -> list[Chart]:
    curves = _curves(judged)
    if not curves:
        return []
    support = dict(zip(judged.labels, judged.gold.sum(0).tolist(), strict=True))
    shown = sorted(curves, key=lambda one: -support[one[0]])[:MOST_CURVES]
    series = []
    for name, curve in shown:
        kept = np.unique(
            np.linspace(0, len(curve.true_positives) - 1, MOST_POINTS).round().astype(int)
        )
        series.append(
            Series(
                label=name,
                x=tuple(curve.false_positives[kept].tolist()),
                y=tuple(curve.true_positives[kept].tolist()),
                help=f"AUC {curve.area:.3f}",
            )
        )
    if len(judged.labels) <= 2 and len(shown) == 1:
        place = judged.labels.index(shown[0][0])
        gold, given = (one[judged.scored, place] for one in (judged.gold, judged.given))
        series.append(
            Series(
                label=f"at the threshold {wish.threshold:g}",
                x=(float((given & ~gold).sum() / max(1, (~gold).sum())),),
                y=(float((given & gold).sum() / max(1, gold.sum())),),
                draw="points",
            )
        )
    series.append(Series(label="chance", x=(0.0, 1.0), y=(0.0, 1.0), reference=True))
    left = len(curves) - len(shown)
    return [
        Chart(
            title="ROC",
            x=Axis(title="false positive rate", low=0.0, high=1.0),
            y=Axis(title="true positive rate", low=0.0, high=1.0),
            series=tuple(series),
            square=True,
            note=f"The {len(shown)} labels with most rows; {left} more are left out."
            if left
            else "",
        )
    ]


def _calibrated(judged: _Judged) -> Any:
    scored = judged.scored
    if judged.multi:
        return calibration(judged.gold[scored].ravel(), judged.chance[scored].ravel())
    return calibration(judged.right[scored], judged.sure[scored])


def _calibration_chart(judged: _Judged) -> Chart:
    found = _calibrated(judged)
    what = "label applies" if judged.multi else "answer is right"
    return Chart(
        title="Calibration",
        x=Axis(title="probability", low=0.0, high=1.0),
        y=Axis(title=f"share where the {what}", low=0.0, high=1.0),
        series=(
            Series(
                label="share",
                x=tuple(found.centre.tolist()),
                y=tuple(found.share.tolist()),
                draw="bars",
                help=f"ECE {found.error:.3f}",
            ),
            Series(label="perfect", x=(0.0, 1.0), y=(0.0, 1.0), reference=True),
        ),
        square=True,
    )


def _histogram(judged: _Judged) -> Chart:
    counts, edges = np.histogram(judged.sure, bins=20, range=(0.0, 1.0))
    return Chart(
        title="Probability of the predicted label",
        x=Axis(title="probability", low=0.0, high=1.0),
        y=Axis(title="rows", low=0.0),
        series=(
            Series(
                label="rows",
                x=tuple(((edges[:-1] + edges[1:]) / 2).tolist()),
                y=tuple(float(one) for one in counts),
                draw="bars",
            ),
        ),
    )


def _labels_table(judged: _Judged) -> Table:
    if not judged.scored.any():
        given = judged.given.sum(0).tolist()
        rows = tuple(zip(judged.labels, given, strict=True))
        return Table(title="Labels", columns=("label", "predicted"), rows=rows)
    scores = judged.scores(judged.scored)
    areas = {name: curve.area for name, curve in _curves(judged)}
    return Table(
        title="By label",
        columns=("label", "rows", "predicted", "precision", "recall", "F1", "ROC AUC"),
        rows=tuple(
            (
                name,
                int(scores.support[place]),
                int(scores.predicted[place]),
                float(scores.precision[place]),
                float(scores.recall[place]),
                float(scores.f1[place]),
                areas.get(name),
            )
            for place, name in enumerate(judged.labels)
        ),
    )


def _slices(done: RowResults, judged: _Judged, wish: Wish) -> Table | None:
    query, column = wish.query.strip(), wish.slice_by.strip()
    if not query and not column:
        return None
    slices: list[tuple[str, NDArray[np.bool_]]] = [("all", np.ones(len(done), dtype=bool))]
    note = ""
    if query:
        holds = _contains(done, query)
        slices += [(f"with “{query}”", holds), (f"without “{query}”", ~holds)]
    if column and column not in done.columns:
        note = f"There is no column {column!r}; there are {', '.join(done.columns[:20])}."
    elif column:
        found = _values(done.cells(column))
        slices += [(f"{column} = {name}", where) for name, where in found[:MOST_SLICES]]
        if len(found) > MOST_SLICES:
            note = f"The {MOST_SLICES} most frequent of {len(found):,} values."
    rows = []
    for name, where in slices:
        scored = where & judged.scored
        some = bool(scored.any())
        rows.append(
            (
                name,
                int(where.sum()),
                float(judged.right[scored].mean()) if some else None,
                judged.scores(where).macro("f1") if some else None,
                float(judged.sure[where].mean()) if where.any() else None,
            )
        )
    accuracy = "exact match" if judged.multi else "accuracy"
    return Table(
        title="Slices",
        columns=("slice", "rows", accuracy, "F1 (macro)", "mean probability"),
        rows=tuple(rows),
        note=note,
    )


def _contains(done: RowResults, query: str) -> NDArray[np.bool_]:
    wanted = query.casefold()
    return np.array(
        [
            any(wanted in (row.get(name) or "").casefold() for name in ("text", "pair"))
            for row in done.rows
        ],
        dtype=bool,
    )


def _values(cells: Sequence[Any]) -> list[tuple[str, NDArray[np.bool_]]]:
    """Which rows have which value, most frequent first; many numbers by their quartiles."""
    numbers = [one for one in cells if isinstance(one, int | float) and one == one]  # not NaN
    if len(numbers) == len(cells) and len(set(numbers)) > FEW_NUMBERS:
        values = np.array(cells, dtype=np.float64)
        edges = np.unique(np.quantile(values, [0, 0.25, 0.5, 0.75, 1]))
        place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
        return [
            (f"{edges[one]:g} to {edges[one + 1]:g}", place == one) for one in range(len(edges) - 1)
        ]
    texts = ["(none)" if one is None or one != one else str(one)[:80] for one in cells]
    array = np.array(texts, dtype=object)
    return [(name, array == name) for name, _ in Counter(texts).most_common()]


def _rows_table(done: RowResults, judged: _Judged, wish: Wish) -> Table:
    keep = np.ones(len(done), dtype=bool)
    said = []
    if wish.query.strip():
        keep &= _contains(done, wish.query.strip())
        said.append(f"contain “{wish.query.strip()}”")
    if wish.show != ALL:
        keep &= judged.scored & (judged.right == (wish.show == RIGHT))
        said.append("are wrong" if wish.show == WRONG else "are right")
    labels = judged.labels
    if wish.gold in labels and wish.predicted in labels and not judged.multi:
        keep &= judged.scored & (judged.first_gold() == labels.index(wish.gold))
        keep &= judged.top == labels.index(wish.predicted)
        said.append(f"are {wish.gold} and predicted {wish.predicted}")
    chosen = np.flatnonzero(keep)
    loss = judged.loss
    if wish.order == HARDEST:
        chosen = chosen[np.argsort(-np.nan_to_num(loss[chosen], nan=-1.0), kind="stable")]
    elif wish.order == LEAST_SURE:
        chosen = chosen[np.argsort(judged.sure[chosen], kind="stable")]
    shown = chosen[:MOST_ROWS].tolist()
    pairs = "pair" in done.mapping
    some = bool(judged.scored.any())
    columns = ["row", "text", *(["second text"] if pairs else [])]
    columns += (
        ["right", "predicted", "probability", "loss"] if some else ["predicted", "probability"]
    )
    top, sure = judged.top, judged.sure
    rows, changes = [], []
    for place in shown:
        row = done.rows[place]
        cells: list[Any] = [row.index, _short(row["text"])]
        if pairs:
            cells.append(_short(row.get("pair", "")))
        if some:
            cells.append(", ".join(np.array(labels)[judged.gold[place]].tolist()) or None)
        if judged.multi:
            cells.append(", ".join(np.array(labels)[judged.given[place]].tolist()) or None)
        else:
            cells.append(labels[top[place]])
        cells.append(float(sure[place]))
        if some:
            cells.append(float(loss[place]) if judged.scored[place] else None)
        rows.append(tuple(cells))
        changes.append(_explore(row["text"], row.get("pair", ""), "pair" in done.mapping))
    note = f"Rows that {' and '.join(said)}: {len(chosen):,}." if said else ""
    if len(chosen) > len(shown):
        note += (
            f" The first {len(shown):,} of {len(chosen):,} are listed; order and filters choose."
        )
    return Table(
        title="Rows",
        columns=tuple(columns),
        rows=tuple(rows),
        changes=tuple(changes),
        note=note.strip(),
    )


def _short(text: str) -> str:
    return text if len(text) <= MOST_TEXT else f"{text[:MOST_TEXT]}…"


def _explore(text: str, pair: str, pairs: bool) -> Change | None:
    if len(text) + len(pair) > MOST_EXPLORED:
        return None
    return Change(values={"text": text, **({"pair": pair} if pairs else {})})


# -- regressions -----------------------------------------------------------------------------------


def _regression(done: RowResults, wish: Wish) -> Sequence[Result]:
    """Errors of the first output against the numbers that the data set has."""
    names = list(done.outputs[0]["values"])
    value = np.array([one["values"][names[0]] for one in done.outputs], dtype=np.float64)
    gold = np.array([_number(row.get("label")) for row in done.rows], dtype=np.float64)
    scored = np.isfinite(gold)
    rows: list[tuple[str, Any]] = [("rows", len(done))]
    results: list[Result] = []
    if scored.any():
        error = value[scored] - gold[scored]
        spread = float(((gold[scored] - gold[scored].mean()) ** 2).sum())
        rows += [
            ("rows scored", int(scored.sum())),
            ("mean absolute error", float(np.abs(error).mean())),
            ("root mean squared error", float(np.sqrt((error**2).mean()))),
            ("R²", 1 - float((error**2).sum()) / spread if spread else None),
            ("correlation (Pearson)", _correlation(value[scored], gold[scored])),
        ]
        few = np.flatnonzero(scored)[:2_000]
        ends = (float(gold[few].min()), float(gold[few].max()))
        results.append(
            Chart(
                title="Right and predicted",
                x=Axis(title="right"),
                y=Axis(title="predicted"),
                series=(
                    Series(
                        label="rows",
                        x=tuple(gold[few].tolist()),
                        y=tuple(value[few].tolist()),
                        draw="points",
                    ),
                    Series(label="equal", x=ends, y=ends, reference=True),
                ),
                square=True,
            )
        )
    results.insert(0, Table(title="Scores", columns=("measure", "value"), rows=tuple(rows)))
    query = wish.query.strip()
    keep = np.flatnonzero(_contains(done, query)).tolist() if query else list(range(len(done)))
    if wish.order == HARDEST:
        keep.sort(key=lambda place: -abs(value[place] - gold[place]) if scored[place] else 0.0)
    shown = keep[:MOST_ROWS]
    pairs = "pair" in done.mapping
    results.append(
        Table(
            title="Rows",
            columns=("row", "text", *(("second text",) if pairs else ()), "right", *names),
            rows=tuple(
                (
                    done.rows[place].index,
                    _short(done.rows[place]["text"]),
                    *((_short(done.rows[place].get("pair", "")),) if pairs else ()),
                    float(gold[place]) if scored[place] else None,
                    *(float(one) for one in done.outputs[place]["values"].values()),
                )
                for place in shown
            ),
            changes=tuple(
                _explore(done.rows[place]["text"], done.rows[place].get("pair", ""), pairs)
                for place in shown
            ),
        )
    )
    return results


def _number(cell: Any) -> float:
    for one in cell or ():
        try:
            return float(one)
        except ValueError:
            return float("nan")
    return float("nan")


def _correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float | None:
    if len(one) < 2 or not one.std() or not other.std():
        return None
    return float(np.corrcoef(one, other)[0, 1])
