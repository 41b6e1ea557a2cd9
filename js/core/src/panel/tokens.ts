/** The strip of tokens: selection, bars of what is read now, search. */

import type { Token } from "@lmkit/protocol";
import type { Context } from "../context.ts";
import { bdi, h, refill, type Scope, uniqueId } from "../dom.ts";
import type { HeadModel } from "../explorer/head-model.ts";
import { horizon } from "../explorer/scrubber.ts";
import { reading } from "../explorer/sentence.ts";
import { count, exact, quoted } from "../numbers.ts";
import { css, placeOn, type Rgb, rampOf, SHARES, strengthOf } from "../scale.ts";
import { clickToken, type Store, type ViewState } from "../store.ts";
import { codePoints, shortToken, visibleProse, visibleToken } from "../text.ts";
import { type EditedText, tokenEdit } from "./token-edit.ts";

const FIRST = 600;
const LONG = 40;

/** How a token looks in the strip: leading and other whitespace as dim marks, long ones cut. */
function tokenText(token: Token): HTMLElement {
  const label = shortToken(token.text, LONG);
  const inner = bdi("", { class: "token-text" });
  // A run of marks is its own dim piece, so that "·the" reads as a word after a space.
  for (const piece of label.match(/[·↵⇥⍽]+|[^·↵⇥⍽]+/gu) ?? []) {
    inner.append(/^[·↵⇥⍽]/u.test(piece) ? h("span", { class: "mark-ws" }, piece) : piece);
  }
  return inner;
}

function tokenTitle(token: Token, index: number, context: Context): string {
  const { t } = context;
  const raw =
    token.raw.length > 200 ? `${visibleToken(token.raw.slice(0, 200))}…` : visibleToken(token.raw);
  const parts = [t("token.index", { index }), t("token.raw", { raw })];
  if (token.special) parts.push(t("token.special"));
  if (token.text.length > LONG) {
    parts.push(t("token.length", { n: count(codePoints(token.text), t.locale) }));
  }
  return parts.join("\n");
}

interface Strip {
  readonly tokens: readonly Token[];
  readonly side: "query" | "key" | "both";
  readonly host: HTMLElement;
  readonly items: HTMLElement[];
}

/** Where the search for text among tokens finds it, in order. */
export function findTokens(tokens: readonly Token[], wanted: string): readonly number[] {
  const text = wanted.toLocaleLowerCase();
  if (text === "") return [];
  return tokens.flatMap((token, index) =>
    token.text.toLocaleLowerCase().includes(text) || token.raw.toLocaleLowerCase().includes(text)
      ? [index]
      : [],
  );
}

export function tokenStrip(
  host: HTMLElement,
  model: HeadModel | null,
  tokens: readonly Token[],
  store: Store<ViewState>,
  context: Context,
  scope: Scope,
  edited: EditedText | null = null,
): { find(): void } {
  const { t, theme } = context;
  const anySpecial = tokens.some((token) => token.special);
  const hideId = uniqueId("hide");
  const hide = h("input", { type: "checkbox", id: hideId, "data-lmkit": "hide-specials" });
  const search = h("input", {
    type: "search",
    class: "find",
    "aria-label": t("token.find"),
    placeholder: t("token.find"),
    "data-lmkit": "find",
  });
  search.hidden = true;
  const found = h("span", { class: "note", "data-lmkit": "found" });
  const clear = h(
    "button",
    { type: "button", class: "quiet", "data-lmkit": "clear-selection" },
    t("tokens.clear"),
  );
  const bar = h(
    "div",
    { class: "tokens-bar" },
    h("span", { class: "pane-title" }, t("tokens.label")),
    search,
    found,
    h("span", { class: "grow" }),
    clear,
    anySpecial ? h("label", { class: "check", for: hideId }, hide, t("tokens.hide")) : null,
  );
  const body = h("div", { class: "strips" });
  const whole = h("div", { class: "whole-token", "data-lmkit": "whole-token" });
  whole.hidden = true;
  const frame = h(
    "div",
    { class: "tokens", role: "group", "data-lmkit": "tokens", "aria-label": t("tokens.label") },
    bar,
    body,
    whole,
  );
  host.append(frame);
  const editor = edited && tokenEdit(frame, edited, context, scope);
  const replace = (strip: Strip, index: number | null): boolean => {
    const item = strip.items[index ?? -1];
    if (!editor || !edited?.can() || !item || index === null) return false;
    if (!editor.open(strip.tokens, index, item)) context.announce(t("token.replace.no"));
    return true;
  };

  let strips: Strip[] = [];
  let inner = scope.child();
  let anchor: number | null = null;
  let drawnFor: readonly Token[] | null = null;

  const makeStrip = (list: readonly Token[], side: Strip["side"], label: string): Strip => {
    const box = h("div", {
      class: "strip",
      role: "listbox",
      "aria-label": label,
      "aria-multiselectable": "true",
      "data-lmkit": side === "key" ? "key-tokens" : "token-list",
    });
    const items: HTMLElement[] = [];
    const more = h("button", { type: "button", class: "quiet", "data-lmkit": "more-tokens" });
    const moreNote = h("span", { class: "note" });
    // Two texts: which is whose stands before each.
    const name =
      side === "both"
        ? null
        : h(
            "span",
            { class: "strip-name", "aria-hidden": "true" },
            t(side === "key" ? "role.encoder" : "role.decoder"),
          );
    const wrap = h("div", { class: "strip-wrap" }, name, box, moreNote, more);
    const grow = (to: number) => {
      for (let index = items.length; index < Math.min(to, list.length); index += 1) {
        const token = list[index] as Token;
        const item = h(
          "span",
          {
            class: token.special ? "token special" : "token",
            role: "option",
            "data-lmkit": "token",
            "data-index": index,
            "aria-selected": "false",
            "aria-label": `${shortToken(token.text, LONG)}${token.special ? `, ${t("token.special")}` : ""}`,
            tabindex: index === 0 ? 0 : -1,
          },
          h("span", { class: "token-bar", "aria-hidden": "true" }, h("span", {})),
          tokenText(token),
        );
        items.push(item);
        box.append(item);
      }
      const left = list.length - items.length;
      more.hidden = left <= 0;
      moreNote.hidden = left <= 0;
      more.textContent = t("add.more", { n: count(Math.min(left, FIRST), t.locale) });
      moreNote.textContent = t("tokens.shown", {
        n: count(items.length, t.locale),
        total: count(list.length, t.locale),
      });
    };
    grow(FIRST);
    inner.on(more, "click", () => {
      grow(items.length + FIRST);
      update();
    });
    body.append(wrap);
    const strip: Strip = { tokens: list, side, host: box, items };
    listen(strip);
    return strip;
  };

  const at = (event: Event): number | null => {
    const item =
      event.target instanceof Element ? event.target.closest<HTMLElement>(".token") : null;
    return item ? Number(item.dataset["index"]) : null;
  };

  const listen = (strip: Strip) => {
    const { host: box, side } = strip;
    const queries = side !== "key";
    /** What a token is, to its last detail: made for those that are looked at. */
    const entitle = (index: number | null) => {
      const [item, token] = [strip.items[index ?? -1], strip.tokens[index ?? -1]];
      if (index !== null && item?.title === "" && token) {
        item.title = tokenTitle(token, index, context);
      }
    };
    inner.on(box, "focusin", (event) => entitle(at(event)));
    inner.on<PointerEvent>(box, "pointerover", (event) => {
      const index = at(event);
      entitle(index);
      if (index === null || !model) return;
      if (queries) {
        store.set({ focus: { query: index, key: null } });
        model.want(index);
      } else {
        store.set({ focus: { query: null, key: index } });
        model.wantColumn(index);
      }
    });
    inner.on(box, "pointerleave", () => store.set({ focus: null }));
    inner.on<MouseEvent>(box, "click", (event) => {
      const index = at(event);
      if (index === null) return;
      showWhole(strip.tokens[index] as Token);
      rove(strip, index, true);
      if (!queries) return;
      const held = { shift: event.shiftKey, toggle: event.ctrlKey || event.metaKey };
      store.set({ tokens: clickToken(store.state.tokens, index, anchor, held) });
      if (!event.shiftKey) anchor = index;
    });
    inner.on(box, "dblclick", (event) => replace(strip, at(event)));
    inner.on<KeyboardEvent>(box, "keydown", (event) => {
      const index = at(event);
      if (event.key === "F2" && replace(strip, index)) {
        event.preventDefault();
        event.stopPropagation();
        return;
      }
      if (index === null || event.ctrlKey || event.metaKey || event.altKey) return;
      const moves: Record<string, number> = {
        ArrowLeft: -1,
        ArrowRight: 1,
        ArrowUp: -1,
        ArrowDown: 1,
      };
      let next: number | null = null;
      const visible = strip.items
        .map((item, position) => (item.hidden ? -1 : position))
        .filter((position) => position >= 0);
      const place = visible.indexOf(index);
      const by = moves[event.key];
      if (by !== undefined)
        next = visible[Math.max(0, Math.min(visible.length - 1, place + by))] ?? null;
      else if (event.key === "Home") next = visible[0] ?? null;
      else if (event.key === "End") next = visible[visible.length - 1] ?? null;
      if (next !== null) {
        rove(strip, next, true);
        if (event.shiftKey && queries) {
          const from = anchor ?? index;
          anchor = from;
          store.set({ tokens: clickToken([], next, from, { shift: true, toggle: false }) });
        }
      } else if ((event.key === "Enter" || event.key === " ") && queries) {
        const held = { shift: event.shiftKey, toggle: !event.shiftKey };
        store.set({ tokens: clickToken(store.state.tokens, index, anchor, held) });
        if (!event.shiftKey) anchor = index;
        showWhole(strip.tokens[index] as Token);
      } else return;
      event.preventDefault();
      event.stopPropagation();
    });
  };

  const rove = (strip: Strip, index: number, focus: boolean) => {
    for (const item of strip.items) {
      const tab = Number(item.dataset["index"]) === index ? 0 : -1;
      if (item.tabIndex !== tab) item.tabIndex = tab;
    }
    if (focus) strip.items[index]?.focus({ preventScroll: true });
    reveal(strip, index);
  };
  const reveal = (strip: Strip, index: number) => {
    const item = strip.items[index];
    if (!item) return;
    const [box, view] = [item.getBoundingClientRect(), body.getBoundingClientRect()];
    if (box.top < view.top) body.scrollTop -= view.top - box.top;
    else if (box.bottom > view.bottom) body.scrollTop += box.bottom - view.bottom;
  };

  const showWhole = (token: Token) => {
    if (token.text.length <= LONG) {
      whole.hidden = true;
      return;
    }
    refill(
      whole,
      h(
        "span",
        { class: "note" },
        t("token.length", { n: count(codePoints(token.text), t.locale) }),
      ),
      bdi(visibleProse(token.text), { class: "code" }),
    );
    whole.tabIndex = 0;
    whole.hidden = false;
  };

  const build = () => {
    const queries = model?.queries ?? tokens;
    const keys = model?.keys ?? tokens;
    if (drawnFor === queries && strips.length === (queries === keys ? 1 : 2)) return;
    drawnFor = queries;
    inner.dispose();
    inner = scope.child();
    refill(body);
    strips =
      queries === keys
        ? [makeStrip(queries, "both", t("tokens.label"))]
        : [
            makeStrip(queries, "query", t("tokens.label")),
            makeStrip(keys, "key", t("tokens.keys")),
          ];
    update();
  };

  let matches: readonly number[] = [];
  let match = -1;

  const update = () => {
    const { state } = store;
    const read = model ? reading(model, state) : null;
    const chosen = new Set(state.tokens);
    clear.hidden = chosen.size === 0;
    hide.checked = state.hideSpecials;
    const matching = new Set(matches);
    const future = model ? horizon(model, state) : Number.POSITIVE_INFINITY;
    for (const strip of strips) {
      const values =
        read && (strip.side === "both" || (strip.side === "key") === (read.direction === "to"))
          ? read.values
          : null;
      for (const [index, item] of strip.items.entries()) {
        const token = strip.tokens[index] as Token;
        const hidden = state.hideSpecials && token.special;
        if (item.hidden !== hidden) item.hidden = hidden;
        const isChosen = strip.side !== "key" && chosen.has(index);
        if (isChosen !== (item.getAttribute("aria-selected") === "true")) {
          item.setAttribute("aria-selected", String(isChosen));
        }
        const focused =
          (strip.side !== "key" && state.focus?.query === index) ||
          (strip.side !== "query" && state.focus?.query == null && state.focus?.key === index);
        item.classList.toggle("later", strip.side !== "key" && index >= future);
        item.classList.toggle("focused", focused);
        item.classList.toggle("match", strip === strips[0] && matching.has(index));
        const bar = item.firstElementChild?.firstElementChild as HTMLElement;
        const value = values?.values[index] ?? 0;
        if (values && value !== 0) {
          const numbers = model?.numbers ?? SHARES;
          const height = Math.max(4, strengthOf(value, state.mapping, numbers) * 100);
          bar.style.height = `${height}%`;
          // A faint bar still has to be seen.
          const seen = Math.sign(value) * Math.max(Math.abs(value), 0.02 * numbers.top);
          const ramp = rampOf(numbers, theme.current);
          bar.style.background = css(ramp[placeOn(seen, state.mapping, numbers)] as Rgb);
          item.dataset["value"] = values.exact ? exact(value) : quoted(value, false);
        } else if (bar.style.height !== "0px") {
          bar.style.height = "0px";
          delete item.dataset["value"];
        }
      }
    }
  };
  const redraw = scope.frame(update);

  // -- search -----------------------------------------------------------------------------------

  const go = (to: number) => {
    const strip = strips[0];
    if (!strip || matches.length === 0) return;
    match = (to + matches.length) % matches.length;
    const index = matches[match] as number;
    found.textContent = t("token.found", { n: match + 1, total: matches.length });
    rove(strip, index, false);
    store.set({ focus: { query: index, key: null } });
    model?.want(index);
  };
  const lookUp = () => {
    matches = findTokens(strips[0]?.tokens ?? [], search.value).filter(
      (index) => !(store.state.hideSpecials && tokens[index]?.special),
    );
    match = -1;
    found.textContent = search.value !== "" && matches.length === 0 ? t("token.nomatch") : "";
    if (matches.length > 0) go(0);
    context.announce(found.textContent);
    update();
  };
  const closeSearch = () => {
    const strip = strips[0];
    const index = matches[match];
    search.hidden = true;
    search.value = "";
    found.textContent = "";
    matches = [];
    store.set({ focus: null });
    update();
    if (strip) rove(strip, index ?? 0, true);
  };
  scope.on(search, "input", lookUp);
  scope.on<KeyboardEvent>(search, "keydown", (event) => {
    if (event.key === "Enter") {
      event.preventDefault();
      const index = matches[match];
      if (event.altKey && index !== undefined) store.set({ tokens: [index] });
      else go(match + (event.shiftKey ? -1 : 1));
    } else if (event.key === "Escape") {
      event.preventDefault();
      event.stopPropagation();
      closeSearch();
    }
  });

  scope.on(hide, "change", () => store.set({ hideSpecials: hide.checked }));
  scope.on(clear, "click", () => store.set({ tokens: [] }));
  scope.add(
    store.subscribe((state, before) => {
      redraw();
      const [strip, token] = [strips[0], state.tokens[0]];
      if (state.step !== before.step && state.step !== null && strip && token !== undefined) {
        reveal(strip, token);
      }
    }),
  );
  if (model) {
    scope.add(
      model.subscribe(() => {
        build();
        redraw();
      }),
    );
  }
  scope.add(theme.subscribe(redraw));
  build();

  return {
    find() {
      search.hidden = false;
      search.focus({ preventScroll: true });
      search.select();
    },
  };
}
