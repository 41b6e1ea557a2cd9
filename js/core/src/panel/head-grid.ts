/** Measures of all heads: a map of layers by heads, and the list behind it to sort and filter. */

import type { HeadGrid, HeadMeasure } from "@lmkit/protocol";
import type { Context } from "../context.ts";
import { bdi, h, refill, type Scope, uniqueId } from "../dom.ts";
import { gridMove } from "../explorer/keys.ts";
import { exact, three } from "../numbers.ts";
import { css, divergingIndex, type Rgb } from "../scale.ts";
import type { Store, ViewState } from "../store.ts";
import { visibleLabel, visibleProse } from "../text.ts";
import type { Theme } from "../theme.ts";

const FIRST_ROWS = 20;

interface Place {
  readonly layer: number;
  readonly head: number;
}

/** The ends of a measure's scale: zero is always on it; a diverging one is symmetric. */
export function ends(measure: HeadMeasure): readonly [number, number] {
  let [low, high] = [0, 0];
  for (const layer of measure.values) {
    for (const value of layer) {
      if (value === null) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  if (!measure.diverging) return [low, high];
  const most = Math.max(-low, high);
  return [-most, most];
}

/** The colour of a value between the ends of its measure. */
function colour(value: number, measure: HeadMeasure, theme: Theme): Rgb {
  const [low, high] = ends(measure);
  const span = high - low || 1;
  if (measure.diverging) {
    return theme.diverging[divergingIndex((2 * value) / span, "linear")] as Rgb;
  }
  return theme.ramp[Math.round(((value - low) / span) * 255)] as Rgb;
}

/** All places, sorted by a measure; places without a value last, in order. */
export function ranked(measure: HeadMeasure, falling: boolean): readonly Place[] {
  const places = measure.values.flatMap((heads, layer) =>
    heads.map((value, head) => ({ layer, head, value })),
  );
  return places.sort((a, b) => {
    if (a.value === null || b.value === null)
      return Number(a.value === null) - Number(b.value === null);
    return falling ? b.value - a.value : a.value - b.value;
  });
}

export function headGrid(
  result: HeadGrid,
  context: Context,
  scope: Scope,
  store: Store<ViewState> | null,
): Node[] {
  const { t, theme } = context;
  const { measures } = result;
  let chosen = 0;
  let falling = true;
  let least: number | null = null;
  let most = FIRST_ROWS;
  const measure = () => measures[chosen] as HeadMeasure;
  const cursor: { layer: number; head: number } = { layer: 0, head: 0 };

  // -- which measure ----------------------------------------------------------------------------

  const selectId = uniqueId("measure");
  const select = h(
    "select",
    { id: selectId, "data-lmkit": "measure" },
    ...measures.map((one, index) => h("option", { value: index }, visibleLabel(one.title))),
  );
  const help = h("p", { class: "note", "data-lmkit": "measure-help", dir: "auto" });
  const head = h(
    "div",
    { class: "measure-head" },
    h("label", { for: selectId }, t("heads.measure")),
    select,
  );
  head.hidden = measures.length < 2;

  // -- the map ----------------------------------------------------------------------------------

  const counts = () => measure().values.map((heads) => heads.length);
  const table = h("div", { class: "measure-map", role: "grid", "data-lmkit": "measure-map" });
  const cells = new Map<string, HTMLElement>();
  const legend = h("p", { class: "note number", "data-lmkit": "measure-legend" });
  const name = ({ layer, head: at }: Place) => t("head.name", { layer, head: at });
  const worded = (value: number | null) =>
    value === null
      ? t("heads.none")
      : `${three(value)}${measure().unit ? ` ${visibleLabel(measure().unit)}` : ""}`;

  const build = () => {
    cells.clear();
    const widest = Math.max(1, ...counts());
    table.style.setProperty("--heads", String(widest));
    table.setAttribute("aria-label", visibleLabel(measure().title));
    refill(
      table,
      ...measure().values.map((heads, layer) =>
        h(
          "div",
          { class: "measure-row", role: "row" },
          h("span", { class: "row-label", "aria-hidden": "true" }, String(layer)),
          ...heads.map((_, at) => {
            const cell = h("div", {
              class: "measure-cell",
              role: "gridcell",
              tabindex: -1,
              "data-lmkit": "measure-cell",
              "data-layer": layer,
              "data-head": at,
            });
            cells.set(`${layer}/${at}`, cell);
            return cell;
          }),
        ),
      ),
    );
  };
  const paint = () => {
    const now = measure();
    const [low, high] = ends(now);
    legend.textContent = t("heads.legend", { low: three(low), high: three(high) });
    for (const [layer, heads] of now.values.entries()) {
      for (const [at, value] of heads.entries()) {
        const cell = cells.get(`${layer}/${at}`);
        if (!cell) continue;
        const shown = value !== null && (least === null || value >= least);
        cell.style.backgroundColor = value === null ? "" : css(colour(value, now, theme.current));
        cell.classList.toggle("none", value === null);
        cell.classList.toggle("below", !shown);
        const text = `${name({ layer, head: at })}: ${worded(value)}`;
        cell.setAttribute("aria-label", text);
        cell.title = value === null ? text : `${name({ layer, head: at })}\n${exact(value)}`;
      }
    }
    mark();
  };
  const mark = () => {
    for (const cell of cells.values()) {
      const at = place(cell);
      const on = !!store && at.layer === store.state.layer && at.head === store.state.head;
      cell.setAttribute("aria-selected", String(on));
      cell.tabIndex = at.layer === cursor.layer && at.head === cursor.head ? 0 : -1;
    }
  };
  const place = (cell: HTMLElement): Place => ({
    layer: Number(cell.dataset["layer"]),
    head: Number(cell.dataset["head"]),
  });
  const choose = (at: Place) => {
    Object.assign(cursor, at);
    store?.set({ ...at, focus: null });
    mark();
  };
  scope.on<MouseEvent>(table, "click", (event) => {
    const cell = (event.target as Element).closest<HTMLElement>(".measure-cell");
    if (!cell) return;
    choose(place(cell));
    cell.focus({ preventScroll: true });
  });
  scope.on<KeyboardEvent>(table, "keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Enter" || event.key === " ") choose(cursor);
    else {
      const next = gridMove(event.key, cursor, counts());
      if (!next) return;
      Object.assign(cursor, next);
      mark();
      cells.get(`${next.layer}/${next.head}`)?.focus();
    }
    event.preventDefault();
    event.stopPropagation();
  });

  // -- the list ---------------------------------------------------------------------------------

  const leastId = uniqueId("least");
  const box = h("input", {
    id: leastId,
    type: "number",
    step: "any",
    "data-lmkit": "measure-least",
    placeholder: t("heads.any"),
  });
  const heading = h("tr");
  const body = h("tbody");
  const more = h("button", { type: "button", class: "quiet", "data-lmkit": "show-all" });
  const list = () => {
    refill(
      heading,
      h("th", { scope: "col" }, t("head.word")),
      ...measures.map((one, index) => {
        const on = index === chosen;
        const button = h(
          "button",
          { type: "button", class: "quiet sort", "data-lmkit": "measure-sort" },
          visibleLabel(one.title),
          on ? (falling ? " ↓" : " ↑") : null,
        );
        button.addEventListener("click", () => {
          if (on) falling = !falling;
          chosen = index;
          select.value = String(index);
          update();
        });
        return h(
          "th",
          {
            scope: "col",
            class: "number",
            "aria-sort": on ? (falling ? "descending" : "ascending") : null,
          },
          button,
        );
      }),
    );
    const places = ranked(measure(), falling).filter(({ layer, head: at }) => {
      const value = measure().values[layer]?.[at] ?? null;
      return least === null || (value !== null && value >= least);
    });
    refill(
      body,
      ...places.slice(0, most).map((at) => {
        const button = h(
          "button",
          { type: "button", class: "quiet", "data-lmkit": "measure-choose" },
          `${at.layer}.${at.head}`,
        );
        button.title = name(at);
        button.addEventListener("click", () => choose(at));
        return h(
          "tr",
          {},
          h("td", {}, button),
          ...measures.map((one) => {
            const value = one.values[at.layer]?.[at.head] ?? null;
            return h(
              "td",
              { class: "number", title: value === null ? null : exact(value) },
              value === null ? "–" : three(value),
            );
          }),
        );
      }),
    );
    more.hidden = places.length <= FIRST_ROWS;
    more.textContent = most > FIRST_ROWS ? t("result.less") : t("result.all", { n: places.length });
  };
  scope.on(more, "click", () => {
    most = most > FIRST_ROWS ? FIRST_ROWS : Number.MAX_SAFE_INTEGER;
    list();
  });
  scope.on(box, "input", () => {
    const typed = box.value.trim() === "" ? null : Number(box.value);
    least = typed !== null && Number.isFinite(typed) ? typed : null;
    paint();
    list();
  });
  scope.on(select, "change", () => {
    chosen = Number(select.value);
    falling = true;
    update();
  });

  const update = () => {
    const now = measure();
    help.textContent = visibleProse(now.help);
    help.hidden = now.help === "";
    paint();
    list();
  };
  build();
  update();
  if (store) scope.add(store.subscribe(mark));
  scope.add(theme.subscribe(paint));
  return [
    head,
    help,
    h("div", { class: "measure-scroll" }, table),
    legend,
    h("div", { class: "measure-filter" }, h("label", { for: leastId }, t("heads.least")), box),
    h(
      "div",
      { class: "table-scroll", tabindex: 0, role: "group", "aria-label": t("heads.list") },
      h("table", {}, h("thead", {}, heading), body),
    ),
    more,
    ...(result.note === ""
      ? []
      : [h("p", { class: "note", dir: "auto" }, bdi(visibleProse(result.note)))]),
  ];
}
