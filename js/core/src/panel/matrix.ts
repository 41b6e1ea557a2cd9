/** Numbers of pairs of labels: shaded by their share of the row, each cell a button where it leads. */

import type { Matrix } from "@lmkit/protocol";
import type { Context } from "../context.ts";
import { bdi, h, type Scope } from "../dom.ts";
import { gridMove } from "../explorer/keys.ts";
import { count, exact, three } from "../numbers.ts";
import { css, luminance, type Rgb } from "../scale.ts";
import { head, visibleLabel, visibleProse } from "../text.ts";
import type { Apply } from "./hooks.ts";

/** As many labels as a report has, and the others in one. */
const MOST = 61;
const LONG = 24;
/** The luminance on which black and white contrast alike: sqrt(1.05 * 0.05) - 0.05. */
const EVEN = 0.179;

function short(text: string): string {
  const start = head(text, LONG);
  return start.cut ? `${visibleLabel(start.text)}…` : visibleLabel(text);
}

export function matrix(
  result: Matrix,
  context: Context,
  scope: Scope,
  apply: Apply | null,
): readonly Node[] {
  const { t, theme } = context;
  const rows = result.rows.slice(0, MOST);
  const columns = result.columns.slice(0, MOST);
  const cells: { element: HTMLElement; share: number }[] = [];
  const places: HTMLElement[][] = rows.map(() => []);
  const cursor = { layer: 0, head: 0 };

  const cell = (row: number, column: number): HTMLElement => {
    const value = result.cells[row]?.[column] ?? null;
    const total = (result.cells[row] ?? []).reduce<number>((sum, one) => sum + (one ?? 0), 0);
    const share = value !== null && total > 0 ? value / total : 0;
    const change = result.changes[row]?.[column] ?? null;
    const chosen = result.chosen[0] === row && result.chosen[1] === column;
    const text =
      value === null ? "–" : Number.isInteger(value) ? count(value, t.locale) : three(value);
    const name = t("matrix.cell", {
      row: visibleLabel(result.rows[row] ?? ""),
      column: visibleLabel(result.columns[column] ?? ""),
      value: text,
    });
    const title =
      value === null
        ? name
        : `${name}\n${exact(value)}, ${t("matrix.share", { share: three(share) })}`;
    const leads = apply !== null && change !== null;
    const inner = leads
      ? h(
          "button",
          {
            type: "button",
            "data-lmkit": "matrix-cell",
            "data-row": row,
            "data-column": column,
            "aria-pressed": String(chosen),
            "aria-label": name,
            title,
            tabindex: row === 0 && column === 0 ? 0 : -1,
          },
          text,
        )
      : h(
          "span",
          { title, "data-lmkit": "matrix-cell", "data-row": row, "data-column": column },
          text,
        );
    if (leads && inner instanceof HTMLButtonElement) {
      scope.on(inner, "click", () => {
        cursor.layer = row;
        cursor.head = column;
        apply(change);
      });
    }
    const element = h("td", { class: chosen ? "number chosen" : "number" }, inner);
    cells.push({ element, share });
    places[row]?.splice(column, 1, inner);
    return element;
  };
  const label = (text: string, attributes: Record<string, string>) =>
    h("th", { ...attributes, title: visibleLabel(text) }, bdi(short(text)));

  const body = h(
    "tbody",
    {},
    ...rows.map((text, row) =>
      h("tr", {}, label(text, { scope: "row" }), ...columns.map((_, column) => cell(row, column))),
    ),
  );
  const paint = () => {
    for (const { element, share } of cells) {
      const colour = theme.current.ramp[Math.round(share * 255)] as Rgb;
      element.style.backgroundColor = css(colour);
      element.style.color = luminance(colour) > EVEN ? "#000" : "#fff";
    }
  };
  paint();
  scope.add(theme.subscribe(paint));
  scope.on<KeyboardEvent>(body, "keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const next = gridMove(
      event.key,
      cursor,
      rows.map(() => columns.length),
    );
    if (!next) return;
    const from = places[cursor.layer]?.[cursor.head];
    const to = places[next.layer]?.[next.head];
    if (!(to instanceof HTMLButtonElement)) return;
    if (from) from.tabIndex = -1;
    to.tabIndex = 0;
    Object.assign(cursor, next);
    to.focus();
    event.preventDefault();
    event.stopPropagation();
  });

  const corner = [result.rowTitle, result.columnTitle]
    .map(visibleLabel)
    .filter((one) => one !== "");
  const parts: Node[] = [
    h(
      "div",
      {
        class: "table-scroll matrix-scroll",
        tabindex: 0,
        role: "region",
        "aria-label": result.title || t("matrix.label"),
      },
      h(
        "table",
        { class: "matrix" },
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            h(
              "td",
              { class: "corner note" },
              corner.join(" ↓  ") + (corner.length > 1 ? " →" : ""),
            ),
            ...columns.map((text) => label(text, { scope: "col" })),
          ),
        ),
        body,
      ),
    ),
    h("p", { class: "note" }, t("matrix.legend")),
  ];
  if (result.rows.length > MOST || result.columns.length > MOST) {
    parts.push(
      h(
        "p",
        { class: "note" },
        t("matrix.cut", { n: MOST, total: Math.max(result.rows.length, result.columns.length) }),
      ),
    );
  }
  if (result.note !== "") {
    parts.push(h("p", { class: "note", dir: "auto" }, visibleProse(result.note)));
  }
  return parts;
}
