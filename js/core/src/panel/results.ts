/** What a task or a view found: labels, marked text, text, a table, numbers of heads or tokens. */

import type { Labels, Text as PlainText, Result, Table } from "@lmkit/protocol";
import type { Context } from "../context.ts";
import { bdi, h, refill, type Scope } from "../dom.ts";
import { drawLines, labelStyle } from "../labels.ts";
import { count, exact, three } from "../numbers.ts";
import type { Store, ViewState } from "../store.ts";
import { codePoints, head, visibleLabel, visibleProse } from "../text.ts";
import { headGrid } from "./head-grid.ts";
import { marked } from "./marked.ts";
import { page } from "./page.ts";
import { tokenLabels } from "./token-labels.ts";
import { tokenScores } from "./token-scores.ts";

const FIRST_LABELS = 20;
const FIRST_ROWS = 50;
const FIRST_CHARACTERS = 20_000;
const STEP = 1000;
const LONG_LABEL = 200;
const DISTINCT = 4;
/** With more rows, or more text, a part scrolls and so must take the keyboard. */
const SCROLLS = 10;
const SCROLLS_TEXT = 600;

function scrolls(text: string): number | null {
  return text.length > SCROLLS_TEXT || text.split("\n", 9).length > 8 ? 0 : null;
}

function titled(title: string, kind: string, ...children: Node[]): HTMLElement {
  return h(
    "div",
    { class: `result ${kind}`, "data-lmkit": `result-${kind}` },
    title === "" ? null : h("div", { class: "pane-title" }, bdi(visibleProse(title))),
    ...children,
  );
}

function cut(text: string, most: number): string {
  const start = head(text, most);
  return start.cut ? `${visibleLabel(start.text)}…` : visibleLabel(text);
}

/** A stroke in a label's colour and kind of line. */
function swatch(label: string): HTMLElement {
  const mark = h("span", { class: "label-swatch", "aria-hidden": "true" });
  drawLines(mark, [{ style: labelStyle(label), at: 0 }]);
  return mark;
}

function labels(result: Labels, context: Context, scope: Scope): HTMLElement {
  const { t } = context;
  const order = [...result.scores].sort((a, b) => b.score - a.score);
  const list = h("ul", {
    class: "labels",
    role: "list",
    tabindex: order.length > SCROLLS ? 0 : null,
    "aria-label": result.title || null,
  });
  const draw = (most: number) => {
    refill(
      list,
      ...order.slice(0, most).map((entry, place) => {
        const over = result.multi ? entry.score >= result.threshold : place === 0;
        const shown = cut(entry.label, LONG_LABEL);
        const state = result.multi
          ? `, ${t(over ? "result.over" : "result.under", { threshold: three(result.threshold) })}`
          : "";
        const bar = h("span", { class: "label-fill" });
        bar.style.width = `${entry.score * 100}%`;
        const track = h("span", { class: "label-track", "aria-hidden": "true" }, bar);
        if (result.multi) {
          const tick = h("span", { class: "label-threshold" });
          tick.style.left = `${result.threshold * 100}%`;
          track.append(tick);
        }
        // The row's name is its whole content: neither the bar nor a colour says more.
        const text = `${shown} ${three(entry.score)}`;
        return h(
          "li",
          {
            class: over ? "label-row over" : "label-row",
            "data-lmkit": "label-row",
            "aria-label": `${text}${state}`,
            title: `${cut(entry.label, 1000)}\n${exact(entry.score)}`,
          },
          h(
            "span",
            { class: "label-title" },
            swatch(entry.label),
            bdi(shown, { class: "label-name" }),
          ),
          track,
          h("span", { class: "number" }, three(entry.score)),
        );
      }),
    );
  };
  draw(FIRST_LABELS);
  const parts: Node[] = [list];
  if (order.length === 0) parts.push(h("p", { class: "note" }, t("result.empty")));
  if (result.multi) {
    parts.push(
      h(
        "p",
        { class: "note threshold-note" },
        t("result.threshold", { threshold: three(result.threshold) }),
      ),
    );
  }
  if (order.length > FIRST_LABELS) {
    parts.push(expander(order.length, FIRST_LABELS, draw, context, scope));
  }
  const element = titled(result.title, "labels", ...parts);
  if (order.length > DISTINCT) element.classList.add("many");
  return element;
}

/** A button that shows more, a thousand at a time, and in the end fewer again. */
function expander(
  total: number,
  first: number,
  show: (most: number) => void,
  context: Context,
  scope: Scope,
): HTMLElement {
  const { t } = context;
  let most = first;
  const button = h("button", { type: "button", class: "quiet", "data-lmkit": "show-all" });
  const name = () => {
    button.textContent =
      most >= total
        ? t("result.less")
        : total - most <= STEP
          ? t("result.all", { n: count(total, t.locale) })
          : t("add.more", { n: count(STEP, t.locale) });
  };
  name();
  scope.on(button, "click", () => {
    most = most >= total ? first : Math.min(total, most + STEP);
    name();
    show(most);
  });
  return button;
}

function plainText(result: PlainText, context: Context, scope: Scope): HTMLElement {
  const start = head(result.text, FIRST_CHARACTERS);
  const body = h(
    "div",
    { class: "prose", dir: "auto", tabindex: scrolls(result.text) },
    visibleProse(start.text),
  );
  if (!start.cut) return titled(result.title, "text", body);
  const total = codePoints(result.text);
  const all = h(
    "button",
    { type: "button", class: "quiet", "data-lmkit": "show-all" },
    context.t("result.all", { n: count(total, context.t.locale) }),
  );
  scope.on(all, "click", () => {
    body.textContent = visibleProse(result.text);
    all.remove();
  });
  return titled(result.title, "text", body, all);
}

function cellText(value: string | number | boolean | null): { text: string; number: boolean } {
  if (typeof value === "number") {
    return { text: Number.isInteger(value) ? String(value) : three(value), number: true };
  }
  if (value === null) return { text: "–", number: false };
  return { text: cut(String(value), 1000), number: false };
}

function table(result: Table, context: Context, scope: Scope): HTMLElement {
  const { t } = context;
  const body = h("tbody");
  const draw = (most: number) => {
    refill(
      body,
      ...result.rows.slice(0, most).map((row) =>
        h(
          "tr",
          {},
          ...row.map((value) => {
            const cell = cellText(value);
            return h(
              "td",
              {
                class: cell.number ? "number" : null,
                title: typeof value === "number" ? String(value) : null,
              },
              bdi(cell.text),
            );
          }),
        ),
      ),
    );
  };
  draw(FIRST_ROWS);
  const numeric = result.columns.map((_, index) =>
    result.rows.slice(0, FIRST_ROWS).every((row) => typeof row[index] === "number"),
  );
  const element = h(
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
          ...result.columns.map((name, index) =>
            h(
              "th",
              { scope: "col", class: numeric[index] ? "number" : null },
              bdi(cut(name, LONG_LABEL)),
            ),
          ),
        ),
      ),
      body,
    ),
  );
  const parts: Node[] = [element];
  if (result.rows.length === 0) parts.push(h("p", { class: "note" }, t("result.empty")));
  if (result.rows.length > FIRST_ROWS) {
    parts.push(expander(result.rows.length, FIRST_ROWS, draw, context, scope));
  }
  return titled(result.title, "table", ...parts);
}

/** Draw one result. Where there is an explorer beside it, a head of a grid can be chosen. */
export function drawResult(
  result: Result,
  context: Context,
  scope: Scope,
  store: Store<ViewState> | null = null,
): HTMLElement {
  switch (result.kind) {
    case "labels":
      return labels(result, context, scope);
    case "spans":
      return titled(result.title, "spans", ...marked(result, context, scope, store));
    case "text":
      return plainText(result, context, scope);
    case "table":
      return table(result, context, scope);
    case "head-grid":
      return titled(result.title, "head-grid", ...headGrid(result, context, scope, store));
    case "token-scores":
      return titled(result.title, "token-scores", ...tokenScores(result, context, scope));
    case "token-labels":
      return titled(result.title, "token-labels", ...tokenLabels(result, context, scope, store));
    case "page":
      return titled(result.title, "page", ...page(result, context));
  }
}
