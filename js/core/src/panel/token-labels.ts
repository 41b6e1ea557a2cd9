/** Tokens with the label of each, and the whole distribution of the one that is looked at. */

import type { Token, TokenLabels } from "@lmkit/protocol";
import type { Context } from "../context.ts";
import { bdi, h, refill, type Scope } from "../dom.ts";
import { bareLabel, drawLines, labelStyle } from "../labels.ts";
import { count, exact, three } from "../numbers.ts";
import type { Store, ViewState } from "../store.ts";
import { shortToken, visibleLabel, visibleProse } from "../text.ts";
import { chooseTokens } from "./marked.ts";

const FIRST_TOKENS = 2000;
const FIRST_LABELS = 12;

function best(values: readonly number[]): number {
  let at = 0;
  for (const [index, value] of values.entries()) if (value > (values[at] as number)) at = index;
  return at;
}

export function tokenLabels(
  result: TokenLabels,
  context: Context,
  scope: Scope,
  store: Store<ViewState> | null,
): Node[] {
  const { t } = context;
  const tokens = result.tokens.slice(0, FIRST_TOKENS);
  const items = tokens.map((token, index) => item(token, index, result));
  const list = h(
    "div",
    {
      class: "labelled-tokens",
      role: "listbox",
      dir: "auto",
      "data-lmkit": "labelled-tokens",
      "aria-label": result.title || t("token.labels"),
    },
    ...items,
  );
  if (items[0]) items[0].tabIndex = 0;
  const detail = h("div", {
    class: "token-detail",
    "data-lmkit": "token-detail",
    "aria-live": "polite",
  });
  let held: number | null = null;
  let shown: number | null | undefined;

  const show = (index: number | null) => {
    if (index === shown) return;
    shown = index;
    if (index === null) refill(detail, h("p", { class: "note" }, t("token.labels.hint")));
    else refill(detail, ...distribution(index, result, context));
  };
  const hold = (index: number | null) => {
    held = index;
    for (const [place, element] of items.entries()) {
      const on = place === index;
      if (on !== (element.getAttribute("aria-selected") === "true")) {
        element.setAttribute("aria-selected", String(on));
      }
    }
    show(index);
  };
  const at = (event: Event): number | null => {
    const element =
      event.target instanceof Element ? event.target.closest<HTMLElement>(".labelled") : null;
    return element ? Number(element.dataset["index"]) : null;
  };
  const choose = (index: number) => {
    if (store) chooseTokens(store, [index]);
    else hold(held === index ? null : index);
  };
  const rove = (index: number) => {
    for (const [place, element] of items.entries()) element.tabIndex = place === index ? 0 : -1;
  };
  scope.on(list, "pointerover", (event) => show(at(event) ?? held));
  scope.on(list, "pointerleave", () => show(held));
  scope.on(list, "click", (event) => {
    const index = at(event);
    if (index === null) return;
    rove(index);
    choose(index);
  });
  scope.on<KeyboardEvent>(list, "keydown", (event) => {
    const index = at(event);
    if (index === null || event.ctrlKey || event.metaKey || event.altKey) return;
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -1, ArrowDown: 1 }[event.key];
    const last = items.length - 1;
    const next =
      by !== undefined
        ? Math.min(last, Math.max(0, index + by))
        : { Home: 0, End: last }[event.key];
    if (next !== undefined) {
      rove(next);
      items[next]?.focus();
      show(next);
    } else if (event.key === "Enter" || event.key === " ") choose(index);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  if (store) {
    // One selection in the whole panel: a token chosen elsewhere is looked at here too, and of an
    // entity the first one, which begins it.
    const follow = ({ tokens: chosen, lens }: ViewState) =>
      hold(lens === "" ? (chosen[0] ?? null) : null);
    follow(store.state);
    scope.add(
      store.subscribe((state, before) => {
        if (state.tokens !== before.tokens || state.lens !== before.lens) follow(state);
      }),
    );
  } else show(null);
  const left = result.tokens.length - tokens.length;
  return [
    list,
    detail,
    ...(left > 0
      ? [h("p", { class: "note" }, t("scores.tokens", { n: count(left, t.locale) }))]
      : []),
    ...(result.note === ""
      ? []
      : [h("p", { class: "note", dir: "auto" }, visibleProse(result.note))]),
  ];
}

function item(token: Token, index: number, result: TokenLabels): HTMLElement {
  const values = result.values[index] ?? [];
  const top = best(values);
  const label = result.labels[top] ?? "";
  const value = values[top] ?? 0;
  const element = h(
    "span",
    {
      class: token.special ? "labelled special" : "labelled",
      role: "option",
      tabindex: -1,
      "aria-selected": "false",
      "data-lmkit": "labelled",
      "data-index": index,
      "aria-label": `${shortToken(token.text)}, ${visibleLabel(label)} ${three(value)}`,
      title: `${index} ${visibleLabel(token.raw)}\n${visibleLabel(label)} ${exact(value)}`,
    },
    bdi(shortToken(token.text)),
  );
  const nothing = bareLabel(label) === result.none || token.special;
  if (!nothing) drawLines(element, [{ style: labelStyle(label), at: 0 }]);
  return element;
}

/** The labels of one token by falling probability, as bars. */
function distribution(index: number, result: TokenLabels, { t }: Context): Node[] {
  const token = result.tokens[index] as Token;
  const values = result.values[index] ?? [];
  const order = values
    .map((value, place) => ({ value, label: result.labels[place] ?? "" }))
    .sort((a, b) => b.value - a.value);
  const rows = order.slice(0, FIRST_LABELS).map(({ value, label }) => {
    const bar = h("span", { class: "label-fill" });
    bar.style.width = `${value * 100}%`;
    if (label !== result.none) bar.style.backgroundColor = labelStyle(label).colour;
    const name = visibleLabel(label.length > 80 ? `${label.slice(0, 80)}…` : label);
    return h(
      "li",
      {
        class: "label-row",
        "data-lmkit": "token-label-row",
        "aria-label": `${name} ${three(value)}`,
        title: exact(value),
      },
      bdi(name, { class: "label-name" }),
      h("span", { class: "label-track", "aria-hidden": "true" }, bar),
      h("span", { class: "number" }, three(value)),
    );
  });
  const rest = order.slice(FIRST_LABELS).reduce((sum, { value }) => sum + value, 0);
  return [
    h(
      "div",
      { class: "note" },
      bdi(shortToken(token.text, 60), { class: "code" }),
      ` ${t("token.index", { index })}`,
    ),
    h("ul", { class: "labels", role: "list" }, ...rows),
    ...(rest > 0
      ? [
          h(
            "p",
            { class: "note" },
            t("token.labels.rest", { n: order.length - FIRST_LABELS, sum: three(rest) }),
          ),
        ]
      : []),
  ];
}
