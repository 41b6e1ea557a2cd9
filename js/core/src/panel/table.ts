/** A table: sorted by any column, a page at a time, rows that lead somewhere. */

import type { FieldValue, Table } from "@lmkit/protocol";
import type { Context } from "../context.ts";
import { bdi, h, refill, type Scope } from "../dom.ts";
import { count, three } from "../numbers.ts";
import { head, visibleLabel, visibleProse } from "../text.ts";
import type { Apply } from "./hooks.ts";

const PAGE = 50;
const LONG_LABEL = 200;
const LONG_CELL = 1000;

function cut(text: string, most: number): string {
  const start = head(text, most);
  return start.cut ? `${visibleLabel(start.text)}…` : visibleLabel(text);
}

function cellText(value: FieldValue): string {
  if (typeof value === "number") return Number.isInteger(value) ? String(value) : three(value);
  return value === null ? "–" : cut(String(value), LONG_CELL);
}

/** Row numbers in the order of a column; nothing comes last whichever way it is sorted. */
export function sorted(table: Table, column: number | null, falling: boolean): readonly number[] {
  const order = table.rows.map((_, index) => index);
  if (column === null) return order;
  const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
  const compare = (a: FieldValue, b: FieldValue): number => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    if (typeof a === "number") return -1;
    if (typeof b === "number") return 1;
    return collator.compare(String(a), String(b));
  };
  const cell = (row: number) => table.rows[row]?.[column] ?? null;
  return order.sort((one, other) => {
    const [a, b] = [cell(one), cell(other)];
    if (a === null || b === null) return Number(a === null) - Number(b === null) || one - other;
    return (falling ? compare(b, a) : compare(a, b)) || one - other;
  });
}

export function table(
  result: Table,
  context: Context,
  scope: Scope,
  apply: Apply | null,
): readonly Node[] {
  const { t } = context;
  const leads = apply !== null && result.changes.some((change) => change !== null);
  let column: number | null = null;
  let falling = false;
  let page = 0;
  let order = sorted(result, null, false);
  const pages = Math.max(1, Math.ceil(result.rows.length / PAGE));
  const numeric = result.columns.map((_, index) => {
    const cells = result.rows.slice(0, PAGE).map((row) => row[index] ?? null);
    const filled = cells.filter((cell) => cell !== null);
    return filled.length > 0 && filled.every((cell) => typeof cell === "number");
  });

  const body = h("tbody");
  const headings = result.columns.map((name, index) => {
    const arrow = h("span", { class: "sort-mark", "aria-hidden": "true" });
    const button = h(
      "button",
      { type: "button", class: "sort", "data-lmkit": "sort", "data-column": index },
      // Numbers are flush right: the mark goes before their name, so that both stay in line.
      ...(numeric[index]
        ? [arrow, bdi(cut(name, LONG_LABEL))]
        : [bdi(cut(name, LONG_LABEL)), arrow]),
    );
    const heading = h(
      "th",
      { scope: "col", class: numeric[index] ? "number" : null },
      result.rows.length > 1 ? button : bdi(cut(name, LONG_LABEL)),
    );
    return { heading, arrow };
  });
  const range = h("span", { class: "note number", "data-lmkit": "page-range" });
  const earlier = h(
    "button",
    { type: "button", class: "quiet", "data-lmkit": "page-earlier" },
    t("table.earlier"),
  );
  const later = h(
    "button",
    { type: "button", class: "quiet", "data-lmkit": "page-later" },
    t("table.later"),
  );

  const line = (row: number) => {
    const change = leads ? (result.changes[row] ?? null) : null;
    const cells = (result.rows[row] ?? []).map((value, column) => {
      return h(
        "td",
        {
          class: numeric[column] ? "number" : null,
          title: typeof value === "number" ? String(value) : null,
        },
        bdi(cellText(value)),
      );
    });
    const go = h(
      "button",
      {
        type: "button",
        class: "quiet go",
        "data-lmkit": "row-go",
        "aria-label": t("table.explore", { n: row }),
        title: t("table.explore.hint"),
      },
      "›",
    );
    return h(
      "tr",
      { "data-lmkit": "row", "data-row": row, class: change ? "leads" : null },
      ...cells,
      leads ? h("td", { class: "go-cell" }, change ? go : null) : null,
    );
  };
  const draw = () => {
    const first = page * PAGE;
    refill(body, ...order.slice(first, first + PAGE).map(line));
    for (const [index, { heading, arrow }] of headings.entries()) {
      const on = index === column;
      arrow.textContent = on ? (falling ? "▼" : "▲") : "";
      if (on) heading.setAttribute("aria-sort", falling ? "descending" : "ascending");
      else heading.removeAttribute("aria-sort");
    }
    range.textContent = t("table.range", {
      first: count(first + 1, t.locale),
      last: count(Math.min(first + PAGE, order.length), t.locale),
      total: count(order.length, t.locale),
    });
    earlier.disabled = page === 0;
    later.disabled = page >= pages - 1;
  };
  for (const [index, { heading }] of headings.entries()) {
    const button = heading.querySelector("button");
    if (!button) continue;
    scope.on(button, "click", () => {
      // Up, down, and as it came; numbers begin with the largest.
      if (column !== index) {
        column = index;
        falling = numeric[index] === true;
      } else if (falling === (numeric[index] === true)) {
        falling = !falling;
      } else {
        column = null;
        falling = false;
      }
      order = sorted(result, column, falling);
      page = 0;
      draw();
      context.announce(
        column === null
          ? t("table.unsorted")
          : t(falling ? "table.falling" : "table.rising", {
              column: cut(result.columns[index] ?? "", LONG_LABEL),
            }),
      );
    });
  }
  const turn = (by: number) => {
    page = Math.min(pages - 1, Math.max(0, page + by));
    draw();
    scroller.scrollTop = 0;
    context.announce(range.textContent ?? "");
  };
  scope.on(earlier, "click", () => turn(-1));
  scope.on(later, "click", () => turn(1));
  scope.on<MouseEvent>(body, "click", (event) => {
    if (!apply) return;
    // Marking text with the mouse is no click.
    const root = body.getRootNode();
    const selected =
      root instanceof ShadowRoot && "getSelection" in root
        ? (root as unknown as { getSelection(): Selection | null }).getSelection()
        : globalThis.getSelection?.();
    if (selected && !selected.isCollapsed) return;
    const row = (event.target as Element).closest<HTMLElement>("tr.leads");
    const change = row ? result.changes[Number(row.dataset["row"])] : null;
    if (!row || !change) return;
    for (const one of body.querySelectorAll("tr.chosen")) one.classList.remove("chosen");
    row.classList.add("chosen");
    apply(change);
  });

  const scroller = h(
    "div",
    {
      class: "table-scroll",
      tabindex: 0,
      role: "region",
      "aria-label":
        result.title || t("table.columns", { title: result.columns.slice(0, 3).join(", ") }),
    },
    h(
      "table",
      {},
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          ...headings.map(({ heading }) => heading),
          leads
            ? h("th", { class: "go-cell" }, h("span", { class: "unseen" }, t("table.go")))
            : null,
        ),
      ),
      body,
    ),
  );
  draw();
  const parts: Node[] = [scroller];
  if (result.rows.length === 0) parts.push(h("p", { class: "note" }, t("result.empty")));
  if (pages > 1) parts.push(h("div", { class: "pager" }, earlier, range, later));
  if (result.note !== "") {
    parts.push(h("p", { class: "note", dir: "auto" }, visibleProse(result.note)));
  }
  return parts;
}
