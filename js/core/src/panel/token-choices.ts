/** A text token by token: how likely each was, and what could have stood in its place. */

import type { Alternative, Change, ChosenToken, Reply, TokenChoices } from "@lmkit/protocol";
import type { Context } from "../context.ts";
import { bdi, h, refill, type Scope, uniqueId } from "../dom.ts";
import type { MessageKey } from "../messages.ts";
import { exact, three } from "../numbers.ts";
import { css, luminance, type Rgb } from "../scale.ts";
import { head, shortToken, visibleLabel, visibleProse, visibleToken } from "../text.ts";
import type { ResultActions } from "./results.ts";

type Measure = TokenChoices["measure"];

const FIRST_TOKENS = 3000;
const MEASURES: readonly Measure[] = ["probability", "rank", "entropy"];
/** Ranks from here on are all as dark; ten is the end of the list of alternatives. */
const FAR_RANK = 1000;
const MOST_BITS = 10;
/** Black and white contrast alike on this luminance: sqrt(1.05 * 0.05) - 0.05. */
const EVEN = 0.179;
const LONG_TOKEN = 200;

/** How dark a token is drawn, 0..1: the less the model expected it, the darker. */
export function shadeOf(token: ChosenToken, measure: Measure): number {
  if (measure === "probability") return token.probability === null ? 0 : 1 - token.probability;
  if (measure === "rank") {
    return token.rank === null ? 0 : Math.min(1, Math.log1p(token.rank) / Math.log1p(FAR_RANK));
  }
  return token.entropy === null ? 0 : Math.min(1, Math.max(0, token.entropy / MOST_BITS));
}

/** The token as prose: words read as a text, what has no ink is made visible. */
function said(text: string): string {
  const start = head(text, LONG_TOKEN);
  if (/^\s*$/u.test(text) && text !== " ") {
    return text.includes("\n") ? `${visibleToken(start.text)}\n` : visibleToken(start.text);
  }
  return `${visibleProse(start.text)}${start.cut ? "…" : ""}`;
}

/** What a reply sets and runs: the chat so far with one more message of the user's. */
export function replied(reply: Reply, said: string): Change | null {
  let messages: unknown;
  try {
    messages = JSON.parse(reply.messages);
  } catch {
    return null;
  }
  if (!Array.isArray(messages)) return null;
  const prompt = JSON.stringify([...messages, { role: "user", content: said }]);
  return { values: { ...reply.values, [reply.field]: prompt }, run: true };
}

/** A line to write the user's next message into: Enter sends it, Shift+Enter breaks the line. */
function replyForm(
  reply: Reply,
  context: Context,
  scope: Scope,
  apply: (change: Change) => void,
): Node {
  const { t } = context;
  const box = h("textarea", {
    class: "reply-text",
    rows: 1,
    dir: "auto",
    "data-lmkit": "reply-text",
    "aria-label": t("choices.reply.label"),
    placeholder: t("choices.reply.label"),
  });
  const send = () => {
    const said = box.value.trim();
    const change = said === "" ? null : replied(reply, said);
    if (change === null) box.focus();
    else apply(change);
  };
  const button = h("button", { type: "button", "data-lmkit": "reply" }, t("choices.reply"));
  scope.on(button, "click", send);
  scope.on<KeyboardEvent>(box, "keydown", (event) => {
    // The notebook's own keys stay out of it; what an input method composes is not sent.
    event.stopPropagation();
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  });
  return h("div", { class: "reply" }, box, button);
}

export function tokenChoices(
  result: TokenChoices,
  context: Context,
  scope: Scope,
  actions: ResultActions,
): Node[] {
  const { t, theme } = context;
  const tokens = result.tokens.slice(0, FIRST_TOKENS);
  let measure: Measure = result.measure;
  let shown: number | null = null;
  let held: number | null = null;

  const elements = tokens.map((one, index) => {
    const judged = one.probability !== null;
    const element = bdi(said(one.token.text), {
      class: `choice${judged ? " judged" : ""}${one.forced ? " forced" : ""}${
        one.token.special ? " special" : ""
      }`,
      "data-lmkit": judged ? "choice" : "choice-given",
      "data-index": index,
    });
    if (judged) {
      element.setAttribute("role", "button");
      element.setAttribute("tabindex", "-1");
      element.setAttribute(
        "aria-label",
        `${visibleToken(head(one.token.text, LONG_TOKEN).text)} ${three(one.probability ?? 0)}`,
      );
    }
    return element;
  });
  const judged = tokens.flatMap((one, index) => (one.probability === null ? [] : [index]));
  const text = h(
    "div",
    { class: "choices-text", dir: "auto", role: "group", "aria-label": t("choices.label") },
    ...elements,
    result.streaming ? h("span", { class: "caret", "aria-hidden": "true" }) : null,
  );
  const detail = h("div", { class: "choice-detail", "data-lmkit": "choice-detail" });

  const alternative = (one: Alternative, chosen: ChosenToken) => {
    const same = one.text === chosen.token.text && one.probability === chosen.probability;
    const { change } = one;
    const { apply } = actions;
    const bar = h("span", { class: "alternative-fill", "aria-hidden": "true" });
    bar.style.width = `${one.probability * 100}%`;
    const inner = [
      bdi(shortToken(one.text), { class: "code" }),
      h("span", { class: "number" }, three(one.probability)),
      bar,
    ];
    const common = {
      class: `alternative${same ? " same" : ""}`,
      title: `${visibleToken(head(one.text, LONG_TOKEN).text)}\n${exact(one.probability)}`,
    };
    if (change === null || apply === null || same) {
      return h("span", { ...common, "data-lmkit": "alternative-plain" }, ...inner);
    }
    const button = h(
      "button",
      { ...common, type: "button", "data-lmkit": "alternative" },
      ...inner,
    );
    button.setAttribute("aria-label", t("choices.branch", { token: shortToken(one.text) }));
    detailScope.on(button, "click", () => apply(change));
    return button;
  };

  let detailScope = scope.child();
  const drawDetail = () => {
    detailScope.dispose();
    detailScope = scope.child();
    const index = shown ?? held;
    const one = index === null ? undefined : tokens[index];
    if (!one || index === null) {
      const hint = judged.length === 0 ? "" : t("choices.hint");
      refill(detail, h("p", { class: "note" }, hint));
      return;
    }
    const numbers = [
      one.probability === null ? "" : t("choices.probability", { value: three(one.probability) }),
      one.rank === null ? "" : t("choices.rank", { n: one.rank + 1 }),
      one.entropy === null ? "" : t("choices.entropy", { value: three(one.entropy) }),
      one.forced ? t("choices.forced") : "",
    ].filter((part) => part !== "");
    const list = one.alternatives.map((other) => h("li", {}, alternative(other, one)));
    const branches = one.alternatives.some((other) => other.change !== null);
    refill(
      detail,
      h(
        "p",
        { class: "choice-numbers" },
        bdi(shortToken(one.token.text), { class: "code subject" }),
        " ",
        h("span", { class: "number" }, numbers.join(" · ")),
      ),
      list.length > 0 ? h("ul", { class: "alternatives", role: "list" }, ...list) : null,
      branches
        ? h("p", { class: "note" }, t(actions.apply ? "choices.click" : "choices.plain"))
        : null,
    );
  };

  const paint = () => {
    const { ramp } = theme.current;
    tokens.forEach((one, index) => {
      const element = elements[index] as HTMLElement;
      if (one.probability === null) return;
      // The darkest third is for the eye alone: the scale ends where text stays easy to read.
      const colour = ramp[Math.round(shadeOf(one, measure) * 170)] as Rgb;
      element.style.backgroundColor = css([colour[0], colour[1], colour[2]]);
      element.style.color = luminance(colour) > EVEN ? "#000" : "#fff";
    });
  };
  const mark = () => {
    elements.forEach((element, index) => {
      if (tokens[index]?.probability === null) return;
      element.setAttribute("aria-pressed", String(index === held));
      const stop = held ?? judged[0];
      element.setAttribute("tabindex", index === stop ? "0" : "-1");
    });
  };
  const indexOf = (event: Event): number | null => {
    const target = event.target instanceof Element ? event.target.closest(".choice.judged") : null;
    return target ? Number(target.getAttribute("data-index")) : null;
  };
  const show = (index: number | null) => {
    if (index === shown) return;
    shown = index;
    drawDetail();
  };
  const hold = (index: number | null) => {
    held = index;
    shown = null;
    mark();
    drawDetail();
    const step = index === null ? null : (tokens[index]?.step ?? null);
    if (step !== null) actions.step?.(step);
  };
  scope.on(text, "pointerover", (event) => show(indexOf(event)));
  scope.on(text, "pointerleave", () => show(null));
  scope.on(text, "focusin", (event) => show(indexOf(event)));
  scope.on(text, "click", (event) => {
    const index = indexOf(event);
    if (index !== null) hold(index === held ? null : index);
  });
  scope.on<KeyboardEvent>(text, "keydown", (event) => {
    const index = indexOf(event);
    if (index === null || event.ctrlKey || event.metaKey || event.altKey) return;
    const place = judged.indexOf(index);
    const to: Readonly<Record<string, number | undefined>> = {
      ArrowRight: judged[place + 1],
      ArrowLeft: judged[place - 1],
      Home: judged[0],
      End: judged.at(-1),
    };
    if (event.key === "Enter" || event.key === " ") hold(index === held ? null : index);
    else if (Object.hasOwn(to, event.key)) {
      const next = to[event.key];
      if (next !== undefined) elements[next]?.focus();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });

  const select = h(
    "select",
    { "data-lmkit": "choices-measure", "aria-label": t("choices.shade") },
    ...MEASURES.map((name) => h("option", { value: name }, t(`choices.by.${name}` as MessageKey))),
  );
  select.value = measure;
  scope.on(select, "change", () => {
    measure = select.value as Measure;
    paint();
  });
  const bar = h(
    "div",
    { class: "choices-bar", id: uniqueId("choices") },
    h("label", { class: "note" }, t("choices.shade"), " ", select),
  );
  paint();
  mark();
  drawDetail();
  scope.add(theme.subscribe(paint));
  const cut = result.tokens.length - tokens.length;
  const { reply } = result;
  const answered = reply !== null && actions.apply !== null && !result.streaming;
  return [
    ...(judged.length > 0 && !result.streaming ? [bar] : []),
    text,
    ...(result.streaming ? [] : [detail]),
    ...(cut > 0 ? [h("p", { class: "note" }, t("scores.tokens", { n: cut }))] : []),
    ...(result.note === ""
      ? []
      : [h("p", { class: "note", dir: "auto" }, visibleProse(visibleLabel(result.note)))]),
    ...(answered ? [replyForm(reply, context, scope, actions.apply)] : []),
  ];
}
