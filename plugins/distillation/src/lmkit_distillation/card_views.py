"""The report card as results: the same tables and charts for the panel and for the HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from lmkit.api import Axis, Change, Chart, Series, Table
from lmkit_distillation.schema import check_report

if TYPE_CHECKING:
    from lmkit_distillation.compare import Point

__all__ = ["exports", "lines", "pareto", "results"]

_METRICS = (
    ("accuracy", "Accuracy"),
    ("f1", "F1 of entities"),
    ("bits_per_character", "Bits a character"),
    ("perplexity", "Perplexity"),
    ("loss", "Loss"),
)
_MISSING = "–"


def results(report: dict[str, Any]) -> tuple[Table | Chart, ...]:
    """The card, most important first.

    A row of the regressions sets the fields ``text`` and ``second`` of its panel: what both models
    read.

    Raises:
        ReportError: it is not a report of this version.
    """
    card = check_report(report)
    found: list[Table | Chart] = [
        Table(
            title="What was kept",
            columns=("Measure", "Teacher", "Student"),
            rows=tuple(lines(card)),
            note=_note(card),
        )
    ]
    quality = card.get("quality") or {}
    if quality.get("per_class"):
        found += _groups(quality["per_class"], "class", "share right")
    if quality.get("per_entity"):
        found += _groups(quality["per_entity"], "kind of entity", "F1")
    if card.get("speed"):
        found.append(_speed(card["speed"]))
    if card.get("exports"):
        found.append(exports(card))
    if quality.get("regressions"):
        found.append(_regressions(quality["regressions"]))
    if card.get("compared"):
        found += _beside(card["compared"])
    return tuple(found)


def _beside(rows: Sequence[dict[str, Any]]) -> tuple[Table | Chart, ...]:
    """The student beside those of other runs."""
    from lmkit_distillation.compare import Point

    names = [f.name for f in fields(Point)]
    every = [
        Point(**{name: row[name] for name in names})
        if not row.get("own")
        else Point(**{name: row[name] for name in names} | {"name": f"{row['name']} (this run)"})
        for row in rows
    ]
    note = "Runs beside this one, of the same task and on the same test texts. "
    note += "Each was timed at its own end. "
    return _plotted(every, note)


def pareto(cards: Mapping[str, dict[str, Any]]) -> tuple[Table | Chart, ...]:
    """Several students: quality over latency, those that none beats in both joined by steps.

    Args:
        cards: Reports by the name of their run.

    Raises:
        ReportError: one is not a report of this version.
    """
    from lmkit_distillation.compare import points

    return _plotted(points({name: check_report(card, name) for name, card in cards.items()}))


def _plotted(every: Sequence[Point], note: str = "") -> tuple[Table | Chart, ...]:
    from lmkit_distillation.compare import front

    best = front(every)
    cost, metric = (every[0].cost_name, every[0].metric) if every else ("cost", "quality")

    def row(point: Point) -> tuple[str | float | bool, ...]:
        kept = round(point.quality, 4)
        return (point.name, kept, round(point.cost, 4), point.parameters, point in best)

    table = Table(
        title="Students compared",
        columns=("Run", metric.capitalize(), cost, "Parameters", "On the front"),
        rows=tuple(row(point) for point in every),
        note=note + "On the front: no other is at least as good in both and better in one.",
    )
    line = Series(
        label="Pareto front",
        x=tuple(p.cost for p in best),
        y=tuple(p.quality for p in best),
        draw="steps",
        reference=True,
    )
    dots = [
        Series(label=p.name, x=(p.cost,), y=(p.quality,), draw="points", help=f"{p.parameters:,}")
        for p in every
    ]
    chart = Chart(
        title=f"{metric.capitalize()} over {cost}",
        series=(line, *dots),
        x=Axis(title=cost, low=0.0),
        y=Axis(title=metric),
    )
    return (chart, table) if every else (table,)


def lines(card: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The card as rows of what, teacher, student."""

    def both(values: Mapping[str, Any], form: str, scale: float = 1.0) -> tuple[str, str]:
        a, b = (values.get(who) for who in ("teacher", "student"))
        return (
            _MISSING if a is None else _number(a, form, scale),
            _MISSING if b is None else _number(b, form, scale),
        )

    rows: list[tuple[str, str, str]] = []
    quality = card.get("quality") or {}
    for name, title in _METRICS:
        if name in (quality.get("teacher") or {}) or name in (quality.get("student") or {}):
            shown = [_with_interval(quality[who], name) for who in ("teacher", "student")]
            rows.append((title, shown[0], shown[1]))
    for name, title in (
        ("change", "Change in accuracy"),
        ("f1_change", "Change in F1"),
        ("loss_change", "Change in loss"),
        ("bits_change", "Change in bits a character"),
    ):
        if name in quality:
            low, high = quality[f"{name}_interval"]
            rows.append((title, _MISSING, f"{quality[name]:+.4f} ({low:+.4f} to {high:+.4f})"))
    if "agreement" in quality:
        rows.append(("Agreement with the teacher", _MISSING, f"{quality['agreement']:.4f}"))
    rows.append(("Parameters", *both(card["parameters"], ",")))
    rows.append(("Weights, MB", *both(card["bytes"], ",.1f", 1e-6)))
    if card.get("memory"):
        rows.append(("Peak memory, MB", *both(card["memory"], ",.0f", 1e-6)))
    if card.get("flops"):
        rows.append(("Operations a text, GFLOP", *both(card["flops"], ",.4g", 1e-9)))
    if card.get("energy"):
        what = "measured" if card["energy"].get("how") == "measured" else "estimate"
        rows.append((f"Energy a text, mJ ({what})", *both(card["energy"], ",.4g", 1e3)))
    for one in card.get("speed") or ():
        for key, what in (("p50", "median"), ("p95", "95th percentile")):
            times = {who: (one.get(who) or {}).get(key) for who in ("teacher", "student")}
            rows.append((f"Latency at batch {one['batch']}, {what}, ms", *both(times, ".2f", 1e3)))
        rates = {w: (one.get(w) or {}).get("texts_per_second") for w in ("teacher", "student")}
        rows.append((f"Texts a second at batch {one['batch']}", *both(rates, ",.1f")))
        rows.append((f"Speed at batch {one['batch']}", "1", f"{one['speedup']:.2f}"))
    return rows


def _number(value: float, form: str, scale: float) -> str:
    return format(value if scale == 1 else value * scale, form)


def _with_interval(values: Mapping[str, Any], name: str) -> str:
    if name not in values:
        return _MISSING
    text = f"{values[name]:.4f}"
    if f"{name}_interval" in values:
        low, high = values[f"{name}_interval"]
        text += f" ({low:.4f} to {high:.4f})"
    return text


def _note(card: dict[str, Any]) -> str:
    said = [f"Measured on {card['texts']:,} texts; in brackets 95 % bootstrap intervals."]
    if "bits_change" in (card.get("quality") or {}):
        said.append(
            "Both models read tokens of their own and are compared by bits a character; accuracy, "
            "loss and perplexity are of each one's own tokens."
        )
    for name in ("memory", "flops", "energy"):
        if card.get(name) and card[name].get("note"):
            said.append(str(card[name]["note"]))
    return " ".join(said)


def _groups(rows: Sequence[dict[str, Any]], what: str, measure: str) -> list[Table | Chart]:
    title = f"By {what}, the greatest loss first"
    body = tuple(
        (
            str(row["label"]),
            row["places"],
            round(row["teacher"], 4),
            round(row["student"], 4),
            round(row["change"], 4),
            _range(row.get("change_interval")),
        )
        for row in rows
    )
    columns = ("Label", "In the texts", f"Teacher, {measure}", f"Student, {measure}", "Change")
    return [Table(title=title, columns=(*columns, "95 % interval"), rows=body)]


def _range(interval: Sequence[float] | None) -> str:
    return _MISSING if interval is None else f"{interval[0]:+.4f} to {interval[1]:+.4f}"


def _speed(rows: Sequence[dict[str, Any]]) -> Chart:
    names = [n for n in rows[0] if isinstance(rows[0][n], dict)]
    return Chart(
        title="Texts a second",
        series=tuple(
            Series(
                label=name.capitalize() if name.islower() else name,
                x=tuple(float(row["batch"]) for row in rows),
                y=tuple(float(row[name]["texts_per_second"]) for row in rows),
                reference=name == "teacher",
                help=", ".join(f"{row[name]['p50'] * 1e3:.2f} ms" for row in rows),
            )
            for name in names
        ),
        x=Axis(title="texts in a batch"),
        y=Axis(title="texts a second", low=0.0),
        note="Measured in turn, a batch each, so that what else the machine does meets all.",
    )


def exports(card: dict[str, Any]) -> Table:
    """The other forms of the student, a row each."""
    speed = card.get("speed") or ()
    batches = [one["batch"] for one in speed]
    body: list[tuple[Any, ...]] = []
    for row in card["exports"]:
        name, quality = str(row.get("name")), row.get("quality") or {}
        key = next((k for k, _ in _METRICS[:4] if k in quality), None)
        if key == "accuracy" and "f1" in quality:
            key = "f1"
        if key == "accuracy" and "perplexity" in quality:
            key = "perplexity"
        times = [(one.get(name) or {}).get("p50") for one in speed]
        body.append(
            (
                name,
                "" if key is None else f"{key} {_with_interval(quality, key)}",
                None if row.get("bytes") is None else round(row["bytes"] / 1e6, 2),
                *(None if t is None else round(t * 1e3, 3) for t in times),
                str(row.get("file") or ""),
                str(row.get("problem") or ""),
            )
        )
    return Table(
        title="Other forms of the student",
        columns=(
            "Form",
            "Quality",
            "MB",
            *(f"Median ms at batch {size}" for size in batches),
            "File",
            "Why not",
        ),
        rows=tuple(body),
        note="Files are in the run folder. How each is loaded: docs/distillation.md.",
    )


_CLIP = 600
"""Characters of a prompt or completion that a table shows."""


def _regressions(rows: Sequence[dict[str, Any]]) -> Table:
    """Cards that were written before rows had a number, or a pair, are shown too."""
    if "teacher_loss" in rows[0]:
        return _lost_most(rows)
    numbered, paired = (any(name in r for r in rows) for name in ("row", "pair"))
    return Table(
        title="What the teacher had right and the student has wrong",
        columns=(
            "Text",
            *["Second text"] * paired,
            "Label",
            "Student says",
            "Student's loss",
            *["Row"] * numbered,
        ),
        rows=tuple(
            (
                str(r["text"]),
                *[str(r.get("pair", ""))] * paired,
                str(r["label"]),
                str(r["student"]),
                round(r["loss"], 3),
                *[r.get("row")] * numbered,
            )
            for r in rows
        ),
        changes=_clicks(rows),
        note="The surest first. A click shows the attention of both models on that text."
        + _NUMBERED * numbered,
    )


_NUMBERED = " Rows are counted from 0."


def _lost_most(rows: Sequence[dict[str, Any]]) -> Table:
    prompted = any("completion" in r for r in rows)
    shown = ("prompt", "completion") if prompted else ("text",)
    unit = "bits a character" if rows[0].get("unit") == "character" else "loss a token"
    return Table(
        title="Where the student lost most",
        columns=(
            *(name.capitalize() for name in shown),
            f"Teacher, {unit}",
            f"Student, {unit}",
            "Student's more",
            "Row",
        ),
        rows=tuple(
            (
                *(_clipped(str(r.get(name, ""))) for name in shown),
                round(r["teacher_loss"], 4),
                round(r["loss"], 4),
                round(r["change"], 4),
                r.get("row"),
            )
            for r in rows
        ),
        changes=_clicks(rows),
        note="A click shows the attention of both models on that text." + _NUMBERED,
    )


def _clicks(rows: Sequence[dict[str, Any]]) -> tuple[Change, ...]:
    return tuple(
        Change(values={"text": str(r["text"]), "second": str(r.get("pair", ""))}) for r in rows
    )


def _clipped(text: str) -> str:
    return text if len(text) <= _CLIP else f"{text[:_CLIP]} …"
