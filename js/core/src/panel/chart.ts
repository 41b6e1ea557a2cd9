/** Lines, points and bars over two axes, as SVG with a legend, a reading and the numbers in words. */

import type { Chart, Series } from "@lmkit/protocol";
import type { Context } from "../context.ts";
import { bdi, h, refill, type Scope } from "../dom.ts";
import { exact, three } from "../numbers.ts";
import { OKABE_ITO } from "../scale.ts";
import { visibleLabel, visibleProse } from "../text.ts";

// The name of SVG's namespace. It is no address that anything is fetched from, and the core is
// searched for those.
const SVG = ["http", "//www.w3.org/2000/svg"].join(":");
const HEIGHT = 240;
const MARGIN = { top: 10, right: 14, bottom: 38, left: 52 };
const DASHES = ["", "6 3", "2 3", "8 3 2 3", "1 2"];
const MOST_NUMBERS = 200;

type Point = {
  readonly series: number;
  readonly index: number;
  readonly x: number;
  readonly y: number;
};

function svg<K extends keyof SVGElementTagNameMap>(
  tag: K,
  attributes: Readonly<Record<string, string | number>>,
  text = "",
): SVGElementTagNameMap[K] {
  const element = document.createElementNS(SVG, tag) as SVGElementTagNameMap[K];
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  if (text !== "") element.textContent = text;
  return element;
}

/** Round numbers between two bounds: steps of 1, 2 or 5 times a power of ten. */
export function roundSteps(low: number, high: number, most = 6): readonly number[] {
  const span = high - low;
  if (!(span > 0) || !Number.isFinite(span)) return [low];
  const raw = span / most;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= raw) ?? raw;
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, index) => {
    const value = (first + index) * step;
    // 0.30000000000000004 is no name for a tick
    return Number(value.toPrecision(12));
  });
}

/** Where the numbers of an axis lie; bars stand on zero. */
export function bounds(chart: Chart, axis: "x" | "y"): readonly [number, number] {
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const series of chart.series) {
    for (const value of series[axis]) {
      if (value === null) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
    if (axis === "y" && series.draw === "bars") low = Math.min(low, 0);
  }
  if (low > high) [low, high] = [0, 1];
  // A bar is drawn around its number: half of the first one would lie on the other axis.
  const bars = chart.series.filter((one) => one.draw === "bars");
  if (axis === "x" && bars.length > 0) {
    const gap = nearest(
      bars.flatMap((one) => one.x),
      Number.POSITIVE_INFINITY,
    );
    const half = Number.isFinite(gap) ? gap / 2 : 0.5;
    [low, high] = [low - half, high + half];
  }
  low = chart[axis].low ?? low;
  high = chart[axis].high ?? high;
  if (low === high)
    [low, high] = low === 0 ? [0, 1] : [low - Math.abs(low) / 2, low + Math.abs(low) / 2];
  return [low, high];
}

/** Names for ticks; between whole numbers, of rows or tokens say, there is nothing to name. */
export function ticks(chart: Chart, axis: "x" | "y", most: number): readonly number[] {
  const steps = roundSteps(...bounds(chart, axis), most);
  const whole = chart.series.every((one) =>
    one[axis].every((value) => value === null || Number.isInteger(value)),
  );
  const named = whole ? steps.filter(Number.isInteger) : steps;
  return named.length > 0 ? named : steps;
}

export function chart(result: Chart, context: Context, scope: Scope): readonly Node[] {
  const { t } = context;
  const plotted = result.series.filter((one) => !one.reference);
  const colour = (series: Series) =>
    series.reference
      ? "var(--lmkit-muted)"
      : (OKABE_ITO[plotted.indexOf(series) % OKABE_ITO.length] as string);
  const dash = (series: Series) =>
    series.reference
      ? "3 3"
      : (DASHES[Math.floor(plotted.indexOf(series) / OKABE_ITO.length) % DASHES.length] as string);
  const [x0, x1] = bounds(result, "x");
  const [y0, y1] = bounds(result, "y");
  const named = (text: string, fallback: string) => visibleLabel(text) || fallback;

  const reading = h("p", { class: "note number reading", "data-lmkit": "chart-reading" });
  const frame = h("div", {
    class: "chart-frame",
    "data-lmkit": "chart-frame",
    tabindex: 0,
    role: "img",
    "aria-label": t("chart.label", {
      title: result.title || t("chart.word"),
      x: named(result.x.title, "x"),
      y: named(result.y.title, "y"),
      series: plotted
        .map((one) => [visibleLabel(one.label), visibleLabel(one.help)].filter(Boolean).join(" "))
        .join("; "),
    }),
  });
  let points: Point[] = [];
  let at = -1;
  let mark: SVGCircleElement | null = null;

  const read = (next: number) => {
    const point = points[next];
    at = point ? next : -1;
    mark?.setAttribute("visibility", point ? "visible" : "hidden");
    if (!point) {
      reading.textContent = t("chart.hint");
      return;
    }
    mark?.setAttribute("cx", String(point.x));
    mark?.setAttribute("cy", String(point.y));
    const series = result.series[point.series] as Series;
    reading.textContent = t("chart.reading", {
      series: visibleLabel(series.label),
      xName: named(result.x.title, "x"),
      x: three(series.x[point.index] as number),
      yName: named(result.y.title, "y"),
      y: three(series.y[point.index] as number),
    });
  };

  let drawnFor = 0;
  const draw = () => {
    drawnFor = frame.clientWidth;
    const width = Math.max(220, Math.round(drawnFor || 360));
    const height = result.square ? Math.min(340, Math.max(HEIGHT, width * 0.8)) : HEIGHT;
    const [right, bottom] = [width - MARGIN.right, height - MARGIN.bottom];
    const across = (value: number) =>
      MARGIN.left + ((value - x0) / (x1 - x0)) * (right - MARGIN.left);
    const up = (value: number) => bottom - ((value - y0) / (y1 - y0)) * (bottom - MARGIN.top);
    const root = svg("svg", {
      width,
      height,
      viewBox: `0 0 ${width} ${height}`,
      "aria-hidden": "true",
    });
    for (const value of ticks(result, "y", 5)) {
      root.append(
        svg("line", {
          class: "grid-line",
          x1: MARGIN.left,
          x2: right,
          y1: up(value),
          y2: up(value),
        }),
        svg(
          "text",
          { class: "tick", x: MARGIN.left - 6, y: up(value) + 3.5, "text-anchor": "end" },
          tick(value),
        ),
      );
    }
    for (const value of ticks(result, "x", Math.max(2, Math.min(6, Math.floor(width / 70))))) {
      root.append(
        svg("line", {
          class: "grid-line",
          x1: across(value),
          x2: across(value),
          y1: MARGIN.top,
          y2: bottom,
        }),
        svg(
          "text",
          { class: "tick", x: across(value), y: bottom + 14, "text-anchor": "middle" },
          tick(value),
        ),
      );
    }
    root.append(
      svg(
        "text",
        { class: "axis", x: (MARGIN.left + right) / 2, y: height - 6, "text-anchor": "middle" },
        visibleLabel(result.x.title),
      ),
      svg(
        "text",
        {
          class: "axis",
          "text-anchor": "middle",
          transform: `translate(12 ${(MARGIN.top + bottom) / 2}) rotate(-90)`,
        },
        visibleLabel(result.y.title),
      ),
    );
    points = [];
    const bars = result.series.filter((one) => one.draw === "bars");
    for (const [number, series] of result.series.entries()) {
      const ink = colour(series);
      const places = series.x.flatMap((x, index): Point[] => {
        const y = series.y[index] ?? null;
        return y === null ? [] : [{ series: number, index, x: across(x), y: up(y) }];
      });
      if (series.draw === "bars") {
        const gap = nearest(series.x.map(across));
        const wide = Math.max(1, Math.min(26, (gap * 0.8) / bars.length));
        const shift = (bars.indexOf(series) - (bars.length - 1) / 2) * wide;
        for (const place of places) {
          const base = up(Math.max(y0, Math.min(y1, 0)));
          root.append(
            svg("rect", {
              x: place.x + shift - wide / 2,
              y: Math.min(place.y, base),
              width: wide,
              height: Math.max(0.5, Math.abs(base - place.y)),
              fill: ink,
              "fill-opacity": series.reference ? 0.35 : 0.85,
            }),
          );
        }
        points.push(...places.map((place) => ({ ...place, x: place.x + shift })));
      } else {
        if (series.draw !== "points") {
          root.append(
            svg("path", {
              d: path(series, across, up, series.draw === "steps"),
              fill: "none",
              stroke: ink,
              "stroke-width": series.reference ? 1 : 2,
              "stroke-dasharray": dash(series),
            }),
          );
        }
        if (series.draw === "points" || places.length < 2) {
          for (const place of places)
            root.append(svg("circle", { cx: place.x, cy: place.y, r: 3.5, fill: ink }));
        }
        if (!series.reference) points.push(...places);
      }
    }
    mark = svg("circle", {
      r: 5,
      fill: "none",
      stroke: "var(--lmkit-ink)",
      "stroke-width": 1.5,
      visibility: "hidden",
    });
    root.append(mark);
    refill(frame, root as unknown as HTMLElement);
    read(at);
  };
  scope.on<PointerEvent>(frame, "pointermove", (event) => {
    const box = frame.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    let best = -1;
    let least = 40 * 40;
    for (const [index, point] of points.entries()) {
      const away = (point.x - x) ** 2 + (point.y - y) ** 2;
      if (away < least) [best, least] = [index, away];
    }
    read(best);
  });
  scope.on(frame, "pointerleave", () => read(-1));
  scope.on<KeyboardEvent>(frame, "keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || points.length === 0) return;
    const last = points.length - 1;
    const moves: Record<string, number> = {
      ArrowRight: Math.min(last, at + 1),
      ArrowLeft: Math.max(0, at - 1),
      Home: 0,
      End: last,
    };
    const next = moves[event.key];
    if (next === undefined) return;
    read(next);
    context.announce(reading.textContent ?? "");
    event.preventDefault();
    event.stopPropagation();
  });

  const legend = h(
    "ul",
    { class: "legend", role: "list" },
    ...result.series.map((series) => {
      const key = svg("svg", { width: 18, height: 10, "aria-hidden": "true" });
      key.append(
        series.draw === "bars"
          ? svg("rect", {
              x: 3,
              y: 0,
              width: 12,
              height: 10,
              fill: colour(series),
              "fill-opacity": series.reference ? 0.35 : 0.85,
            })
          : series.draw === "points"
            ? svg("circle", { cx: 9, cy: 5, r: 3.5, fill: colour(series) })
            : svg("line", {
                x1: 0,
                x2: 18,
                y1: 5,
                y2: 5,
                stroke: colour(series),
                "stroke-width": series.reference ? 1 : 2,
                "stroke-dasharray": dash(series),
              }),
      );
      return h(
        "li",
        {},
        key as unknown as HTMLElement,
        bdi(visibleLabel(series.label)),
        series.help === ""
          ? null
          : h("span", { class: "note number" }, ` ${visibleLabel(series.help)}`),
      );
    }),
  );
  draw();
  // At once, which is before the frame is painted: a chart that a run renews twice a second would
  // flicker with the width that it has before it is in the page.
  scope.resize(frame, () => {
    if (frame.clientWidth > 0 && frame.clientWidth !== drawnFor) draw();
  });
  const parts: Node[] = [frame, reading, legend, numbers(result, context, scope)];
  if (result.note !== "")
    parts.push(h("p", { class: "note", dir: "auto" }, visibleProse(result.note)));
  return parts;
}

function tick(value: number): string {
  const size = Math.abs(value);
  if (value !== 0 && (size < 1e-3 || size >= 1e5)) return value.toExponential(0);
  return String(Number(value.toPrecision(6)));
}

/** The least distance between neighbours. */
function nearest(places: readonly number[], most = 60): number {
  const order = [...places].sort((a, b) => a - b);
  let least = most;
  for (const [index, place] of order.entries()) {
    const before = order[index - 1];
    if (before !== undefined && place > before) least = Math.min(least, place - before);
  }
  return least;
}

function path(
  series: Series,
  across: (value: number) => number,
  up: (value: number) => number,
  steps: boolean,
): string {
  let text = "";
  let pen = false;
  for (const [index, x] of series.x.entries()) {
    const y = series.y[index] ?? null;
    if (y === null) {
      pen = false;
      continue;
    }
    const [px, py] = [across(x).toFixed(1), up(y).toFixed(1)];
    text += pen ? (steps ? `H${px}V${py}` : `L${px} ${py}`) : `M${px} ${py}`;
    pen = true;
  }
  return text;
}

/** The numbers behind the picture, for readers and for those who want them. */
function numbers(result: Chart, context: Context, scope: Scope): HTMLElement {
  const { t } = context;
  const box = h("details", { class: "numbers", "data-lmkit": "chart-numbers" });
  box.append(h("summary", { class: "note" }, t("chart.numbers")));
  let made = false;
  scope.on(box, "toggle", () => {
    if (made || !box.open) return;
    made = true;
    const rows = result.series.flatMap((series) =>
      series.x.map((x, index) => ({ label: series.label, x, y: series.y[index] ?? null })),
    );
    box.append(
      h(
        "div",
        { class: "table-scroll", tabindex: 0, role: "region", "aria-label": t("chart.numbers") },
        h(
          "table",
          {},
          h(
            "thead",
            {},
            h(
              "tr",
              {},
              h("th", { scope: "col" }, t("chart.series")),
              h("th", { scope: "col", class: "number" }, visibleLabel(result.x.title) || "x"),
              h("th", { scope: "col", class: "number" }, visibleLabel(result.y.title) || "y"),
            ),
          ),
          h(
            "tbody",
            {},
            ...rows
              .slice(0, MOST_NUMBERS)
              .map((row) =>
                h(
                  "tr",
                  {},
                  h("td", {}, bdi(visibleLabel(row.label))),
                  h("td", { class: "number" }, exact(row.x)),
                  h("td", { class: "number" }, row.y === null ? "–" : exact(row.y)),
                ),
              ),
          ),
        ),
      ),
    );
    if (rows.length > MOST_NUMBERS) {
      box.append(h("p", { class: "note" }, t("chart.more", { n: rows.length - MOST_NUMBERS })));
    }
  });
  return box;
}
