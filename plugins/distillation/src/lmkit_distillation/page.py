"""Results as one HTML page that needs nothing else: no script, no network, all text escaped."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence

from lmkit.api import Chart, Series, Table

__all__ = ["to_page"]

_Place = Callable[[float], float]

_STYLE = """
:root{color-scheme:light dark;--ink:#1c2330;--soft:#5b6575;--line:#d9dee6;--paper:#fff;
--card:#f7f8fa;--bad:#b3261e;--good:#1b6e3c;--s0:#2563a8;--s1:#b3541e;--s2:#1b7f6b;--s3:#8a3fa0;
--s4:#8a6d00;--s5:#b02a5b}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ef;--soft:#a3acbb;--line:#343c4a;--paper:#14181f;
--card:#1b212b;--bad:#ff9a90;--good:#7fd6a0;--s0:#7db4f0;--s1:#f0a070;--s2:#6fd0bb;--s3:#d39be6;
--s4:#dcc05a;--s5:#f08cb4}}
*{box-sizing:border-box}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);margin:0}
main{max-width:64rem;margin:0 auto;padding:2rem 1.25rem 4rem}
h1{font-size:1.6rem;line-height:1.25;margin:0 0 .25rem;overflow-wrap:anywhere}
.lead{color:var(--soft);margin:0 0 2rem;overflow-wrap:anywhere}
section{margin:0 0 2.25rem}
h2{font-size:1.05rem;margin:0 0 .5rem}
.wide{overflow-x:auto;border:1px solid var(--line);border-radius:8px}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:.4rem .75rem;border-bottom:1px solid var(--line);
vertical-align:top}
tr:last-child td{border-bottom:0}
thead th{background:var(--card);font-weight:600;font-size:.85rem;color:var(--soft)}
th.t,td.t{text-align:left;overflow-wrap:anywhere;min-width:9rem}
td.t{white-space:pre-line}
.bad{color:var(--bad)}.good{color:var(--good)}
.note{color:var(--soft);font-size:.85rem;margin:.5rem 0 0}
svg{display:block;width:100%;max-width:44rem;height:auto;background:var(--card);
border:1px solid var(--line);border-radius:8px}
svg text{fill:var(--soft);font:12px system-ui,sans-serif}
svg .grid{stroke:var(--line)}
.legend{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;margin:.5rem 0 0;padding:0;list-style:none;
font-size:.85rem}
.legend li{display:flex;align-items:center;gap:.4rem;overflow-wrap:anywhere}
.legend i{width:.8rem;height:.8rem;border-radius:3px;flex:none}
pre{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:.75rem;
overflow-x:auto;font-size:.85rem}
@media print{main{padding:0}section{break-inside:avoid}}
"""


def to_page(
    title: str, lead: str, results: Sequence[Table | Chart], code: Sequence[str] = ()
) -> str:
    """The page.

    Args:
        title: Its heading.
        lead: A sentence below it.
        results: What it shows, in order.
        code: Lines to copy into a notebook, at the end.
    """
    parts = [_table(one) if isinstance(one, Table) else _chart(one) for one in results]
    if code:
        parts.append(
            "<section><h2>To explore in both models</h2><pre>"
            + html.escape("\n".join(code))
            + "</pre></section>"
        )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'\">"
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body><main>"
        f'<h1>{html.escape(title)}</h1><p class="lead">{html.escape(lead)}</p>'
        f"{''.join(parts)}</main></body></html>\n"
    )


def _table(table: Table) -> str:
    width = len(table.columns)
    # A column is of texts where its first cell is a text that begins with no digit or sign.
    texts = [
        i == 0
        or any(
            isinstance(row[i], str) and row[i] and str(row[i])[:1] not in "0123456789+-–"
            for row in table.rows
        )
        for i in range(width)
    ]
    head = "".join(
        f'<th scope="col"{_kind(texts[i])}>{html.escape(name)}</th>'
        for i, name in enumerate(table.columns)
    )
    body = "".join(
        "<tr>" + "".join(_cell(row[i], texts[i], table.columns[i]) for i in range(width)) + "</tr>"
        for row in table.rows
    )
    return _section(
        table.title,
        f'<div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>",
        table.note,
    )


def _section(title: str, body: str, note: str) -> str:
    said = f'<p class="note">{html.escape(note)}</p>' if note else ""
    return f"<section><h2>{html.escape(title)}</h2>{body}{said}</section>"


def _kind(text: bool) -> str:
    return ' class="t"' if text else ""


def _cell(value: object, text: bool, column: str) -> str:
    if value is None or value == "":
        return f"<td{_kind(text)}></td>"
    if isinstance(value, bool):
        return f"<td{_kind(text)}>{'yes' if value else 'no'}</td>"
    if isinstance(value, int | float):
        if column == "Change":
            sort = "good" if value > 0 else "bad" if value < 0 else ""
            return f'<td class="{sort}">{value:+.4f}</td>'
        return f"<td{_kind(text)}>{value:,}</td>"
    return f"<td{_kind(text)}>{html.escape(str(value))}</td>"


_W, _H, _LEFT, _RIGHT, _TOP, _BOTTOM = 700, 320, 72, 20, 16, 48


def _chart(chart: Chart) -> str:
    xs = [x for one in chart.series for x in one.x]
    ys = [y for one in chart.series for y in one.y if y is not None]
    if not xs or not ys:
        return _section(chart.title, "<p>Nothing was measured.</p>", chart.note)
    across = _ticks(*_range(xs, chart.x.low, chart.x.high))
    up = _ticks(*_range(ys, chart.y.low, chart.y.high))

    def at_x(x: float) -> float:
        return _LEFT + (x - across[0]) / (across[-1] - across[0]) * (_W - _LEFT - _RIGHT)

    def at_y(y: float) -> float:
        return _H - _BOTTOM - (y - up[0]) / (up[-1] - up[0]) * (_H - _TOP - _BOTTOM)

    parts = []
    for tick in up:
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_W - _RIGHT}" y1="{at_y(tick):.1f}" '
            f'y2="{at_y(tick):.1f}"/><text x="{_LEFT - 8}" y="{at_y(tick) + 4:.1f}" '
            f'text-anchor="end">{tick:,.6g}</text>'
        )
    for tick in across:
        parts.append(
            f'<text x="{at_x(tick):.1f}" y="{_H - _BOTTOM + 18}" text-anchor="middle">'
            f"{tick:,.6g}</text>"
        )
    parts.append(
        f'<text x="{(_LEFT + _W - _RIGHT) / 2:.0f}" y="{_H - 10}" text-anchor="middle">'
        f"{html.escape(chart.x.title)}</text>"
        f'<text transform="translate(16 {(_TOP + _H - _BOTTOM) / 2:.0f}) rotate(-90)" '
        f'text-anchor="middle">{html.escape(chart.y.title)}</text>'
    )
    legend = []
    colour = 0
    for one in chart.series:
        paint = "var(--soft)" if one.reference else f"var(--s{colour % 6})"
        colour += not one.reference
        parts.append(_drawn(one, paint, at_x, at_y))
        said = html.escape(one.label + (f" ({one.help})" if one.help else ""))
        legend.append(f'<li><i style="background:{paint}"></i>{said}</li>')
    body = (
        f'<svg viewBox="0 0 {_W} {_H}" role="img" aria-label="{html.escape(chart.title)}">'
        f'{"".join(parts)}</svg><ul class="legend">{"".join(legend)}</ul>'
    )
    return _section(chart.title, body, chart.note)


def _drawn(one: Series, paint: str, at_x: _Place, at_y: _Place) -> str:
    places = [(at_x(x), at_y(y)) for x, y in zip(one.x, one.y, strict=True) if y is not None]
    found = ""
    if one.draw in ("line", "steps"):
        path = ""
        for i, (x, y) in enumerate(places):
            if not i:
                path = f"M{x:.1f} {y:.1f}"
            else:
                path += f"H{x:.1f}V{y:.1f}" if one.draw == "steps" else f"L{x:.1f} {y:.1f}"
        found = f'<path d="{path}" fill="none" stroke="{paint}" stroke-width="2"/>'
    if one.draw != "steps":
        for (x, y), value in zip(places, [y for y in one.y if y is not None], strict=True):
            found += (
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{paint}">'
                f"<title>{html.escape(one.label)}: {value:,.6g}</title></circle>"
            )
    return found


def _range(values: Sequence[float], low: float | None, high: float | None) -> tuple[float, float]:
    low = min(values) if low is None else low
    high = max(values) if high is None else high
    if low == high:
        pad = abs(low) * 0.1 or 1.0
        low, high = low - pad, high + pad
    return low, high


def _ticks(low: float, high: float) -> list[float]:
    """Four to nine round numbers, the first not above ``low``, the last not below ``high``."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, last + 1)]
