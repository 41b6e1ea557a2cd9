"""The curves of a run as charts: what its panel draws while it goes on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from lmkit.api import Axis, Chart, Result, Series
from lmkit_distillation.history import History

__all__ = ["charts", "note"]

MOST = 300
"""Points of a line; of more, neighbours are averaged."""

_SHARES = ("accuracy", "f1", "agreement")


def charts(history: History) -> list[Result]:
    """Loss and its parts, evaluation, learning rate, speed and memory."""
    steps, evaluations = history.steps, history.evaluations
    if not steps and not evaluations:
        return []
    x = Axis(title="step", low=0, high=float(max(history.total, history.step)))
    parts = sorted({name for one in steps for name in one.get("parts", {})})
    loss = [_line("loss", steps, _got("loss"))]
    if len(parts) > 1 or history.post_rotary:
        loss += [_line(_shown(name, history), steps, _got("parts", name)) for name in parts]
    dev = _line("dev loss", evaluations, _got("loss"))
    if any(value is not None for value in dev.y):
        loss.append(dev)
    found: list[Result] = [Chart(title="Loss", series=tuple(loss), x=x, y=Axis(title="loss"))]
    shares = [_line(name, evaluations, _got(name)) for name in _SHARES]
    shares = [one for one in shares if any(value is not None for value in one.y)]
    if shares:
        found.append(
            Chart(
                title="On the dev texts",
                series=tuple(shares),
                x=x,
                y=Axis(title="share"),
                note="Agreement: the student's answers that are the teacher's.",
            )
        )
    for title, key, unit, scale in (
        ("Learning rate", "rate", "rate", 1.0),
        ("Speed", "texts_per_second", "texts a second", 1.0),
        ("Memory", "memory", "MB at most", 1e-6),
    ):
        line = _line(title.lower(), steps, _got(key), scale)
        if any(value is not None for value in line.y):
            found.append(Chart(title=title, series=(line,), x=x, y=Axis(title=unit)))
    return found


def note(history: History) -> str:
    """The latest numbers in one line; before the first step, what is made ready for it."""
    if history.preparing:
        return history.preparing
    said = []
    if history.steps:
        last = history.steps[-1]
        said.append(f"loss {_short(last.get('loss'))}")
        if last.get("texts_per_second"):
            said.append(f"{_short(last['texts_per_second'])} texts/s")
        if last.get("memory"):
            said.append(f"{float(last['memory']) / 1e6:.0f} MB")
    if history.evaluations:
        last = history.evaluations[-1]
        said += [f"{name} {_short(last[name])}" for name in _SHARES if name in last]
    return ", ".join(said)


def _shown(part: str, history: History) -> str:
    return f"{part} (post-rotary)" if part in history.post_rotary else part


def _line(
    label: str,
    events: Sequence[dict[str, Any]],
    value: Callable[[dict[str, Any]], Any],
    scale: float = 1.0,
) -> Series:
    points = [(float(one["step"]), _finite(value(one), scale)) for one in events]
    each = math.ceil(len(points) / MOST) if points else 1
    x, y = [], []
    for start in range(0, len(points), each):
        some = points[start : start + each]
        known = [one for _, one in some if one is not None]
        x.append(some[-1][0])
        y.append(math.fsum(known) / len(known) if known else None)
    return Series(label=label, x=tuple(x), y=tuple(y))


def _got(*keys: str) -> Callable[[dict[str, Any]], Any]:
    """Looks up a key, or one of a table in a table; None where it is not there."""

    def look(event: dict[str, Any]) -> Any:
        found: Any = event
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        return found

    return look


def _finite(value: Any, scale: float) -> float | None:
    if not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value) * scale


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, int | float) else "–"
