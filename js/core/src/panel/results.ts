/** What a task or a view found: labels, marked text, text, a table, numbers of heads or tokens. */

import type {
  Change,
  Labels,
  Text as PlainText,
  Result,
  Span,
  Spans,
  Table,
} from "@lmkit/protocol";
import type { Context } from "../context.ts";
import { bdi, fill, h, refill, type Scope } from "../dom.ts";
import { count, exact, three } from "../numbers.ts";
import { OKABE_ITO } from "../scale.ts";
import type { Store, ViewState } from "../store.ts";
import { codePoints, head, visibleLabel, visibleProse } from "../text.ts";
import { cellGrid } from "./cell-grid.ts";
import { headGrid } from "./head-grid.ts";
import { page } from "./page.ts";
import { lanes, pieces } from "./spans.ts";
import { tokenChoices } from "./token-choices.ts";
import { tokenScores } from "./token-scores.ts";
import { tree } from "./tree.ts";

/** What a click in a result can do; null where it can do nothing, as in a saved output. */
export interface ResultActions {
  /** Set fields of the panel and run. */
  readonly apply: ((change: Change) => void) | null;
  /** Show a step of a generated text in the explorer. */
  readonly step: ((step: number) => void) | null;
}

/** Nothing can be done: a saved output, or a result of a view. */
export const NO_ACTIONS: ResultActions = { apply: null, step: null };

const FIRST_LABELS = 20;
const FIRST_ROWS = 50;
const FIRST_SPANS = 1000;
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
          bdi(shown, { class: "label-name" }),
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

/** The colour of a label: the palette in order of first appearance. */
function palette(spans: readonly Span[]): (label: string) => string {
  const seen = new Map<string, string>();
  for (const span of spans) {
    if (!seen.has(span.label)) {
      seen.set(span.label, OKABE_ITO[seen.size % OKABE_ITO.length] as string);
    }
  }
  return (label) => seen.get(label) ?? (OKABE_ITO[0] as string);
}

function marked(result: Spans, context: Context): HTMLElement {
  const { t } = context;
  const spans = result.spans.slice(0, FIRST_SPANS);
  const start = head(result.text, FIRST_CHARACTERS);
  const lane = lanes(spans);
  const colour = palette(spans);
  const most = Math.max(1, ...lane.map((value) => value + 1));
  const box = h("div", {
    class: "marked",
    dir: "auto",
    "data-lmkit": "marked-text",
    tabindex: scrolls(result.text),
  });
  box.style.setProperty("--lanes", String(Math.min(most, 6)));
  for (const piece of pieces(start.text, spans)) {
    if (piece.spans.length === 0) {
      box.append(visibleProse(piece.text));
      continue;
    }
    const mark = h("mark", { "data-lmkit": "span" });
    // One underline for each span over this piece: they stay apart where spans overlap.
    const layers = piece.spans
      .map((index) => Math.min(lane[index] as number, 5))
      .map((depth, place) => ({
        depth,
        colour: colour((spans[piece.spans[place] as number] as Span).label),
      }));
    mark.style.backgroundImage = layers
      .map((layer) => `linear-gradient(${layer.colour}, ${layer.colour})`)
      .join(", ");
    mark.style.backgroundSize = layers.map(() => "100% 2px").join(", ");
    mark.style.backgroundPosition = layers
      .map((layer) => `0 calc(100% - ${(Math.min(most, 6) - 1 - layer.depth) * 4}px)`)
      .join(", ");
    mark.title = piece.spans
      .map((index) => {
        const span = spans[index] as Span;
        return `${cut(span.label, LONG_LABEL)}${span.score === null ? "" : ` ${exact(span.score)}`} [${span.start}:${span.end}]`;
      })
      .join("\n");
    for (const index of piece.starts) {
      const span = spans[index] as Span;
      if (span.label === "" && span.score === null) continue;
      const chip = bdi("", { class: "chip" });
      chip.style.borderColor = colour(span.label);
      fill(
        chip,
        span.label === "" ? null : cut(span.label, 40),
        span.score === null ? null : h("span", { class: "number" }, ` ${three(span.score)}`),
      );
      mark.append(chip);
    }
    mark.append(visibleProse(piece.text));
    box.append(mark);
  }
  const parts: Node[] = [box];
  if (start.cut) {
    parts.push(
      h(
        "p",
        { class: "note" },
        t("result.long", {
          n: count(FIRST_CHARACTERS, t.locale),
          total: count(codePoints(result.text), t.locale),
        }),
      ),
    );
  }
  if (result.spans.length > spans.length) {
    parts.push(
      h(
        "p",
        { class: "note" },
        t("result.spans", {
          n: count(spans.length, t.locale),
          total: count(result.spans.length, t.locale),
        }),
      ),
    );
  }
  if (spans.length === 0) parts.push(h("p", { class: "note" }, t("result.empty")));
  return titled(result.title, "spans", ...parts);
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
      role: "group",
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
  actions: ResultActions = NO_ACTIONS,
): HTMLElement {
  switch (result.kind) {
    case "labels":
      return labels(result, context, scope);
    case "spans":
      return marked(result, context);
    case "text":
      return plainText(result, context, scope);
    case "table":
      return table(result, context, scope);
    case "head-grid":
      return titled(result.title, "head-grid", ...headGrid(result, context, scope, store));
    case "token-scores":
      return titled(result.title, "token-scores", ...tokenScores(result, context, scope));
    case "token-choices":
      return titled(
        result.title,
        "token-choices",
        ...tokenChoices(result, context, scope, actions),
      );
    case "tree":
      return titled(result.title, "tree-result", ...tree(result, context, scope, actions));
    case "grid":
      return titled(result.title, "cell-grid", ...cellGrid(result, context, scope, actions));
    case "page":
      return titled(result.title, "page", ...page(result, context));
  }
}
