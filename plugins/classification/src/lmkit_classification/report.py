"""What is shown of a data set: scores, confusion, ROC, calibration, slices, and the rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lmkit.api import Axis, Chart, Result, RowResults, Series, Table
from lmkit_classification.confusions import cell_rows, confusion
from lmkit_classification.judged import Judged, judge
from lmkit_classification.listing import MOST_ROWS, contains, explore, short, slices
from lmkit_classification.regression import regression
from lmkit_classification.scores import calibration, log_loss
from lmkit_classification.wish import ALL, HARDEST, LEAST_SURE, RIGHT, UNMOVED, WRONG, Wish

__all__ = ["report"]

MOST_CURVES = 6
MOST_POINTS = 300


def report(done: RowResults, wish: Wish) -> Sequence[Result]:
    """All results for the rows that are done."""
    if "values" in done.outputs[0]:
        return regression(done, wish)
    judged = judge(done, wish.threshold)
    some = bool(judged.scored.any())
    results: list[Result] = [_summary(judged, wish)]
    if some:
        results.append(confusion(judged, wish))
        results.extend((*_roc_charts(judged, wish), _calibration_chart(judged)))
    else:
        results.append(_histogram(judged))
    results.append(_labels_table(judged))
    table = _slices(done, judged, wish)
    if table is not None:
        results.append(table)
    results.append(_rows_table(done, judged, wish))
    return results


def _summary(judged: Judged, wish: Wish) -> Table:
    scored = judged.scored
    said = []
    if wish.threshold != UNMOVED and not judged.multi and len(judged.labels) != 2:
        said.append(
            f"The threshold decides nothing here: one of {len(judged.labels):,} labels is given, "
            "the likeliest."
        )
    rows: list[tuple[str, Any]] = [("rows", len(scored))]
    if not scored.any():
        rows.append(("mean probability", float(judged.sure.mean())))
        said.insert(0, "Map the column of the right labels for accuracy and the rest.")
        return Table(
            title="Scores", columns=("measure", "value"), rows=tuple(rows), note=" ".join(said)
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
    areas = [curve.area for _, curve in judged.curves]
    if areas:
        rows.append(("ROC AUC" if len(areas) == 1 else "ROC AUC (macro)", float(np.mean(areas))))
    rows.append(("calibration error (ECE)", _calibrated(judged).error))
    if not judged.multi:
        chance = np.where(judged.gold, judged.chance, 0)[scored].max(axis=1)
        rows.append(("log loss", log_loss(chance)))
    return Table(
        title="Scores", columns=("measure", "value"), rows=tuple(rows), note=" ".join(said)
    )


def _roc_charts(judged: Judged, wish: Wish) -> list[Chart]:
    curves = judged.curves
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


def _calibrated(judged: Judged) -> Any:
    scored = judged.scored
    if judged.multi:
        return calibration(judged.gold[scored].ravel(), judged.chance[scored].ravel())
    return calibration(judged.right[scored], judged.sure[scored])


def _calibration_chart(judged: Judged) -> Chart:
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


def _histogram(judged: Judged) -> Chart:
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


def _labels_table(judged: Judged) -> Table:
    if not judged.scored.any():
        given = judged.given.sum(0).tolist()
        rows = tuple(zip(judged.labels, given, strict=True))
        return Table(title="Labels", columns=("label", "predicted"), rows=rows)
    scores = judged.scores(judged.scored)
    areas = {name: curve.area for name, curve in judged.curves}
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


def _slices(done: RowResults, judged: Judged, wish: Wish) -> Table | None:
    found = slices(done, wish)
    if found is None:
        return None
    rows = []
    for name, where in found.parts:
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
        note=found.note,
    )


def _rows_table(done: RowResults, judged: Judged, wish: Wish) -> Table:
    keep = np.ones(len(done), dtype=bool)
    said = []
    if wish.query.strip():
        keep &= contains(done, wish.query.strip())
        said.append(f"contain “{wish.query.strip()}”")
    if wish.show != ALL:
        keep &= judged.scored & (judged.right == (wish.show == RIGHT))
        said.append("are wrong" if wish.show == WRONG else "are right")
    labels = judged.labels
    cell = cell_rows(judged, wish)
    if cell is not None:
        where, words = cell
        keep &= where
        said.append(words)
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
    top, sure, names = judged.top, judged.sure, np.array(labels, dtype=object)
    rows, changes = [], []
    for place in shown:
        row = done.rows[place]
        cells: list[Any] = [row.index, short(row["text"])]
        if pairs:
            cells.append(short(row.get("pair", "")))
        if some:
            cells.append(", ".join(names[judged.gold[place]].tolist()) or None)
        if judged.multi:
            cells.append(", ".join(names[judged.given[place]].tolist()) or None)
        else:
            cells.append(labels[top[place]])
        cells.append(float(sure[place]))
        if some:
            cells.append(float(loss[place]) if judged.scored[place] else None)
        rows.append(tuple(cells))
        changes.append(explore(row["text"], row.get("pair", ""), "pair" in done.mapping))
    note = f"Rows that {' and '.join(said)}: {len(chosen):,}." if said else ""
    if wish.order == HARDEST and not judged.scored.any():
        note += " No row has a right label, so none is the hardest."
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
