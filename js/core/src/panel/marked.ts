/** A text with its spans: lines under it, a chip at the start of each; a click selects its tokens. */

import type { Change, Span, Spans } from "@lmkit/protocol";
import type { Context } from "../context.ts";
import { bdi, fill, h, type Scope } from "../dom.ts";
import { drawLines, labelStyle, upright } from "../labels.ts";
import { count, exact, three } from "../numbers.ts";
import type { Store, ViewState } from "../store.ts";
import { codePoints, head, visibleLabel, visibleProse } from "../text.ts";
import { lanes, pieces } from "./spans.ts";

const FIRST_SPANS = 1000;
const FIRST_CHARACTERS = 20_000;
const MOST_LANES = 6;
/** Pixels from one line to the next below it. */
const APART = 4;
const SCROLLS_TEXT = 600;

function cut(text: string, most: number): string {
  const start = head(text, most);
  return start.cut ? `${visibleLabel(start.text)}…` : visibleLabel(text);
}

/** Choose exactly these query tokens, seen through no lens; none where they are chosen already. */
export function chooseTokens(store: Store<ViewState>, tokens: readonly number[]): void {
  // Tokens of a grouped lens are others; and a change of lens clears the selection.
  if (store.state.lens !== "") store.set({ lens: "" });
  store.set({ tokens: sameTokens(store.state.tokens, tokens) ? [] : tokens });
}

function sameTokens(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((token, place) => token === b[place]);
}

export function marked(
  result: Spans,
  context: Context,
  scope: Scope,
  store: Store<ViewState> | null,
  apply: ((change: Change) => void) | null,
): Node[] {
  const { t } = context;
  const spans = result.spans.slice(0, FIRST_SPANS);
  const start = head(result.text, FIRST_CHARACTERS);
  // Of a long text a part is here, and spans count in the whole.
  const { offset } = result;
  const placed = spans.map((span) => ({
    ...span,
    start: Math.max(0, span.start - offset),
    end: Math.max(0, span.end - offset),
  }));
  const lane = lanes(spans);
  const most = Math.min(MOST_LANES, Math.max(1, ...lane.map((value) => value + 1)));
  const long = result.text.length > SCROLLS_TEXT || result.text.split("\n", 9).length > 8;
  const box = h("div", {
    class: "marked",
    dir: "auto",
    "data-lmkit": "marked-text",
    tabindex: long ? 0 : null,
  });
  box.style.setProperty("--lanes", String(most));
  const marks: HTMLElement[][] = spans.map(() => []);
  const chips: (HTMLElement | null)[] = spans.map(() => null);

  const act = (index: number) => {
    const span = spans[index] as Span;
    if (store && span.tokens.length > 0) {
      chooseTokens(store, span.tokens);
      context.announce(t("span.selected", { n: span.tokens.length }));
    } else if (apply && span.change) apply(span.change);
  };
  const clickable = (span: Span) =>
    (store !== null && span.tokens.length > 0) || (apply !== null && span.change !== null);
  const said = (span: Span) =>
    `${cut(span.label, 200)}${span.score === null ? "" : ` ${exact(span.score)}`} [${span.start}:${span.end}]`;

  for (const piece of pieces(start.text, placed)) {
    if (piece.spans.length === 0) {
      box.append(visibleProse(piece.text));
      continue;
    }
    const mark = h("mark", { "data-lmkit": "span" });
    // One line for each span over this piece: they stay apart where spans overlap.
    drawLines(
      mark,
      piece.spans.map((index) => ({
        style: labelStyle((spans[index] as Span).label),
        at: (most - 1 - Math.min(lane[index] as number, most - 1)) * APART,
      })),
    );
    mark.title = piece.spans.map((index) => said(spans[index] as Span)).join("\n");
    for (const index of piece.spans) marks[index]?.push(mark);
    // The innermost span is the one that is meant.
    const inner = [...piece.spans].sort((a, b) => (lane[a] as number) - (lane[b] as number))[0];
    mark.dataset["span"] = String(inner);
    if (inner !== undefined && clickable(spans[inner] as Span)) mark.classList.add("clickable");
    // The outer chip first, as a bracket opens.
    const starts = [...piece.starts].sort((a, b) => (lane[b] as number) - (lane[a] as number));
    for (const index of starts) {
      const span = spans[index] as Span;
      if (span.label === "" && span.score === null) continue;
      const style = labelStyle(span.label);
      const button = clickable(span);
      const chip = h(button ? "button" : "span", {
        class: "chip",
        type: button ? "button" : null,
        "data-lmkit": "span-chip",
        "data-span": index,
        tabindex: button ? -1 : null,
        "aria-pressed": button ? "false" : null,
        title: said(span),
      });
      chip.style.borderColor = style.colour;
      const bar = h("span", { class: "chip-bar", "aria-hidden": "true" });
      bar.style.backgroundImage = upright(style);
      fill(
        chip,
        bar,
        span.label === "" ? null : bdi(cut(span.label, 40)),
        span.score === null ? null : h("span", { class: "number" }, ` ${three(span.score)}`),
      );
      chips[index] = chip;
      mark.append(chip);
    }
    mark.append(visibleProse(piece.text));
    box.append(mark);
  }
  listen(box, spans, marks, chips, act, scope, store);
  const notes: Node[] = [];
  const note = (text: string) => notes.push(h("p", { class: "note" }, text));
  if (start.cut || result.wholeCharacters > 0) {
    const carried = codePoints(start.text);
    note(
      t("result.part", {
        from: count(offset, t.locale),
        to: count(offset + carried, t.locale),
        total: count(result.wholeCharacters || codePoints(result.text), t.locale),
      }),
    );
  }
  const all = result.wholeSpans || result.spans.length;
  if (all > spans.length) {
    note(t("result.spans", { n: count(spans.length, t.locale), total: count(all, t.locale) }));
  }
  if (all === 0) note(t("result.empty"));
  return [box, ...notes];
}

/** Pointer, keyboard and the shared selection. Arrows move between chips, one of which has Tab. */
function listen(
  box: HTMLElement,
  spans: readonly Span[],
  marks: readonly (readonly HTMLElement[])[],
  chips: readonly (HTMLElement | null)[],
  act: (index: number) => void,
  scope: Scope,
  store: Store<ViewState> | null,
): void {
  const at = (event: Event): number | null => {
    const element =
      event.target instanceof Element ? event.target.closest<HTMLElement>("[data-span]") : null;
    return element ? Number(element.dataset["span"]) : null;
  };
  let over: number | null = null;
  const point = (index: number | null) => {
    if (index === over) return;
    for (const mark of over === null ? [] : (marks[over] ?? [])) mark.classList.remove("pointed");
    over = index;
    for (const mark of over === null ? [] : (marks[over] ?? [])) mark.classList.add("pointed");
  };
  scope.on(box, "pointerover", (event) => point(at(event)));
  scope.on(box, "pointerleave", () => point(null));
  scope.on(box, "focusin", (event) => point(at(event)));
  scope.on(box, "focusout", () => point(null));
  scope.on(box, "click", (event) => {
    const index = at(event);
    // A drag over the text is for copying it.
    const selection = globalThis.getSelection?.();
    if (index === null || (selection && !selection.isCollapsed)) return;
    act(index);
    rove(index, false);
  });
  const order = chips
    .map((chip, index) => ({ chip, index }))
    .filter(({ chip }) => chip instanceof HTMLButtonElement)
    .sort((a, b) => (spans[a.index] as Span).start - (spans[b.index] as Span).start);
  const rove = (index: number, focus: boolean) => {
    for (const { chip, index: other } of order) {
      if (chip) chip.tabIndex = other === index ? 0 : -1;
    }
    if (focus) chips[index]?.focus({ preventScroll: false });
  };
  const first = order[0];
  if (first?.chip) first.chip.tabIndex = 0;
  scope.on<KeyboardEvent>(box, "keydown", (event) => {
    const place = order.findIndex(({ index }) => index === at(event));
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (place < 0 || by === undefined) return;
    const next = order[Math.min(order.length - 1, Math.max(0, place + by))];
    if (next) rove(next.index, true);
    event.preventDefault();
    event.stopPropagation();
  });
  if (!store) return;
  const show = (chosen: readonly number[]) => {
    const held = new Set<HTMLElement>();
    for (const [index, span] of spans.entries()) {
      const on = span.tokens.length > 0 && sameTokens(chosen, span.tokens);
      const chip = chips[index];
      if (chip instanceof HTMLButtonElement) chip.setAttribute("aria-pressed", String(on));
      if (on) for (const mark of marks[index] ?? []) held.add(mark);
    }
    for (const mark of marks.flat()) mark.classList.toggle("held", held.has(mark));
  };
  show(store.state.tokens);
  scope.add(
    store.subscribe((state, before) => {
      if (state.tokens !== before.tokens) show(state.tokens);
    }),
  );
}
