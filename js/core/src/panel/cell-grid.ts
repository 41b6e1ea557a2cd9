/** Cells of text under columns and beside rows, shaded by a number of each. */

import type { Cell, Grid } from "@lmkit/protocol";
import type { Context } from "../context.ts";
import { bdi, h, type Scope } from "../dom.ts";
import { css, luminance, type Rgb } from "../scale.ts";
import { head, shortToken, visibleLabel, visibleProse } from "../text.ts";
import type { ResultActions } from "./results.ts";

const MOST = 200;
const LONG = 60;
const EVEN = 0.179;

export function cellGrid(
  result: Grid,
  context: Context,
  scope: Scope,
  actions: ResultActions,
): Node[] {
  const { t, theme } = context;
  const columns = result.columns.slice(0, MOST);
  const rows = result.rows.slice(0, MOST);
  const painted: { element: HTMLElement; shade: number }[] = [];
  const cell = (one: Cell | undefined) => {
    const element = h("td", {
      "data-lmkit": "grid-cell",
      title: one ? visibleProse(head(one.detail, 2000).text) : null,
    });
    if (!one) return element;
    const text = bdi(shortToken(one.text, LONG), { class: "code" });
    const { change } = one;
    const { apply } = actions;
    if (change !== null && apply !== null) {
      const button = h("button", { type: "button", class: "plain" }, text);
      scope.on(button, "click", () => apply(change));
      element.append(button);
    } else element.append(text);
    if (one.shade !== null) painted.push({ element, shade: one.shade });
    return element;
  };
  const paint = () => {
    for (const { element, shade } of painted) {
      const colour = theme.current.ramp[Math.round(shade * 255)] as Rgb;
      element.style.backgroundColor = css([colour[0], colour[1], colour[2]]);
      element.style.color = luminance(colour) > EVEN ? "#000" : "#fff";
    }
  };
  const name = (text: string) => visibleLabel(head(text, LONG).text);
  const table = h(
    "table",
    {},
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        h("th", { scope: "col" }),
        ...columns.map((text) => h("th", { scope: "col", class: "code" }, bdi(name(text)))),
      ),
    ),
    h(
      "tbody",
      {},
      ...rows.map((text, row) =>
        h(
          "tr",
          {},
          h("th", { scope: "row" }, bdi(name(text))),
          ...columns.map((_, column) => cell(result.cells[row]?.[column])),
        ),
      ),
    ),
  );
  paint();
  scope.add(theme.subscribe(paint));
  const left = result.rows.length * result.columns.length - rows.length * columns.length;
  return [
    h(
      "div",
      {
        class: "table-scroll cells",
        tabindex: 0,
        role: "region",
        "aria-label": result.title || t("table.columns", { title: columns.slice(0, 3).join(", ") }),
      },
      table,
    ),
    ...(result.legend === "" ? [] : [h("p", { class: "note" }, visibleProse(result.legend))]),
    ...(left > 0 ? [h("p", { class: "note" }, t("cells.more", { n: left }))] : []),
    ...(result.note === ""
      ? []
      : [h("p", { class: "note", dir: "auto" }, visibleProse(result.note))]),
  ];
}
