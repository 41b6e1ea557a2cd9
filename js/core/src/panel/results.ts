/** What a task or a view found: labels, marked text, text, a table, numbers of heads or tokens. */

import type { Change, Text as PlainText, Result } from "@lmkit/protocol";
import type { Context } from "../context.ts";
import { bdi, h, type Scope } from "../dom.ts";
import { count } from "../numbers.ts";
import type { Store, ViewState } from "../store.ts";
import { codePoints, head, visibleProse } from "../text.ts";
import { bars, MANY } from "./bars.ts";
import { cellGrid } from "./cell-grid.ts";
import { chart } from "./chart.ts";
import { headGrid } from "./head-grid.ts";
import type { Explain, Fields } from "./hooks.ts";
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
  /** Ask a view what speaks for a label. */
  readonly explain: Explain | null;
}

/** Nothing can be done: a saved output, or a result of a view. */
export const NO_ACTIONS: ResultActions = {
  apply: null,
  step: null,
  fields: null,
  explain: null,
};

const FIRST_CHARACTERS = 20_000;
/** With more text, a part scrolls and so must take the keyboard. */
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
    case "labels": {
      const element = titled(result.title, "labels", ...bars(result, context, scope, actions));
      if (result.scores.length > MANY) element.classList.add("many");
      return element;
    }
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
