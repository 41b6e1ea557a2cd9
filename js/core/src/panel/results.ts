/** What a task or a view found: labels, marked text, text, a table, numbers of heads or tokens. */

import type { Change, LabelScore, Labels, Text as PlainText, Result } from "@lmkit/protocol";
import type { Context } from "../context.ts";
import { bdi, h, refill, type Scope, uniqueId } from "../dom.ts";
import { drawLines, labelStyle } from "../labels.ts";
import { count, exact, three } from "../numbers.ts";
import type { Store, ViewState } from "../store.ts";
import { codePoints, head, visibleLabel, visibleProse } from "../text.ts";
import { cellGrid } from "./cell-grid.ts";
import { chart } from "./chart.ts";
import { headGrid } from "./head-grid.ts";
import type { Fields } from "./hooks.ts";
import { marked } from "./marked.ts";
import { matrix } from "./matrix.ts";
import { page } from "./page.ts";
import { table } from "./table.ts";
import { tokenChoices } from "./token-choices.ts";
import { tokenLabels } from "./token-labels.ts";
import { tokenScores } from "./token-scores.ts";
import { tree } from "./tree.ts";

/** What a click in a result can do; null where it can do nothing, as in a saved output. */
export interface ResultActions {
  /** Set fields of the panel and run. */
  readonly apply: ((change: Change) => void) | null;
  /** Show a step of a generated text in the explorer. */
  readonly step: ((step: number) => void) | null;
  /** Follow and set the panel's fields. */
  readonly fields: Fields | null;
}

/** Nothing can be done: a saved output, or a result of a view. */
export const NO_ACTIONS: ResultActions = { apply: null, step: null, fields: null };

const FIRST_LABELS = 20;
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

/** A difference with its sign: +0.12, −0.030. */
function signed(value: number): string {
  return `${value < 0 ? "−" : "+"}${three(Math.abs(value))}`;
}

/** A stroke in a label's colour and kind of line. */
function swatch(label: string): HTMLElement {
  const mark = h("span", { class: "label-swatch", "aria-hidden": "true" });
  drawLines(mark, [{ style: labelStyle(label), at: 0 }]);
  return mark;
}

function labels(
  result: Labels,
  context: Context,
  scope: Scope,
  fields: Fields | null,
): HTMLElement {
  const { t } = context;
  const order = [...result.scores].sort((a, b) => b.score - a.score);
  const before = new Map(result.before.map((one) => [one.label, one.score]));
  // The threshold is the form's own field where the result names it: moved there or here, the
  // verdicts follow without a run.
  const held = () => {
    const value = result.field === "" ? undefined : fields?.get(result.field);
    return typeof value === "number" ? value : result.threshold;
  };
  let threshold = held();
  const list = h("ul", {
    class: before.size > 0 ? "labels compared" : "labels",
    role: "list",
    tabindex: order.length > SCROLLS ? 0 : null,
    "aria-label": result.title || null,
  });
  const change = (entry: LabelScore) => {
    const old = before.get(entry.label);
    return old === undefined ? null : { old, by: entry.score - old };
  };
  let shownLabels = FIRST_LABELS;
  const draw = (most: number) => {
    shownLabels = most;
    refill(
      list,
      ...order.slice(0, most).map((entry, place) => {
        const over = result.multi ? entry.score >= threshold : place === 0;
        const shown = cut(entry.label, LONG_LABEL);
        const state = result.multi
          ? `, ${t(over ? "result.over" : "result.under", { threshold: three(threshold) })}`
          : "";
        const bar = h("span", { class: "label-fill" });
        bar.style.width = `${entry.score * 100}%`;
        const track = h("span", { class: "label-track", "aria-hidden": "true" }, bar);
        if (result.multi) {
          const tick = h("span", { class: "label-threshold" });
          tick.style.left = `${threshold * 100}%`;
          track.append(tick);
        }
        const moved = change(entry);
        if (moved) {
          const ghost = h("span", { class: "label-before" });
          ghost.style.left = `${moved.old * 100}%`;
          track.append(ghost);
        }
        const was = moved
          ? `, ${t("result.before", { old: three(moved.old), by: signed(moved.by) })}`
          : "";
        // The row's name is its whole content: neither the bar nor a colour says more.
        const text = `${shown} ${three(entry.score)}`;
        return h(
          "li",
          {
            class: over ? "label-row over" : "label-row",
            "data-lmkit": "label-row",
            "aria-label": `${text}${state}${was}`,
            title: `${cut(entry.label, 1000)}\n${exact(entry.score)}${was}`,
          },
          h(
            "span",
            { class: "label-title" },
            swatch(entry.label),
            bdi(shown, { class: "label-name" }),
          ),
          track,
          h("span", { class: "number" }, three(entry.score)),
          moved
            ? h(
                "span",
                { class: "number note label-change", "data-lmkit": "label-change" },
                signed(moved.by),
              )
            : null,
        );
      }),
    );
  };
  draw(FIRST_LABELS);
  const parts: Node[] = [list];
  if (order.length === 0) parts.push(h("p", { class: "note" }, t("result.empty")));
  if (before.size > 0) {
    parts.push(h("p", { class: "note", "data-lmkit": "before-note" }, t("result.before.note")));
  }
  if (result.multi) {
    const id = uniqueId("threshold");
    const slider = h("input", {
      type: "range",
      id,
      min: 0,
      max: 1,
      step: 0.01,
      "data-lmkit": "threshold",
    });
    const number = h("span", { class: "number" });
    const chosen = h("span", { class: "note number", "data-lmkit": "threshold-count" });
    const show = () => {
      slider.value = String(threshold);
      number.textContent = three(threshold);
      chosen.textContent = t("result.chosen", {
        n: order.filter((entry) => entry.score >= threshold).length,
        total: order.length,
      });
    };
    const take = (next: number) => {
      if (next === threshold) return;
      threshold = next;
      show();
      draw(shownLabels);
    };
    show();
    scope.on(slider, "input", () => {
      take(Number(slider.value));
      if (result.field !== "") fields?.set({ [result.field]: threshold });
    });
    if (fields) scope.add(fields.subscribe(() => take(held())));
    parts.push(
      h(
        "p",
        { class: "note threshold-note" },
        h("label", { for: id }, t("result.threshold.word")),
        slider,
        number,
        chosen,
      ),
    );
  }
  if (order.length > FIRST_LABELS) {
    parts.push(expander(order.length, FIRST_LABELS, draw, context, scope));
  }
  if (result.note !== "") {
    parts.push(h("p", { class: "note", dir: "auto" }, visibleProse(result.note)));
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
      return labels(result, context, scope, actions.fields);
    case "spans":
      return titled(result.title, "spans", ...marked(result, context, scope, store, actions.apply));
    case "text":
      return plainText(result, context, scope);
    case "table":
      return titled(result.title, "table", ...table(result, context, scope, actions.apply));
    case "matrix":
      return titled(result.title, "matrix", ...matrix(result, context, scope, actions.apply));
    case "chart":
      return titled(result.title, "chart", ...chart(result, context, scope));
    case "head-grid":
      return titled(result.title, "head-grid", ...headGrid(result, context, scope, store));
    case "token-scores":
      return titled(result.title, "token-scores", ...tokenScores(result, context, scope));
    case "token-labels":
      return titled(result.title, "token-labels", ...tokenLabels(result, context, scope, store));
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
