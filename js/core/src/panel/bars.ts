/** Probabilities of labels as bars, and the threshold that decides them. */

import type { LabelScore, Labels } from "@lmkit/protocol";
import type { Context } from "../context.ts";
import { bdi, h, refill, type Scope, uniqueId } from "../dom.ts";
import { drawLines, labelStyle } from "../labels.ts";
import { count, exact, three } from "../numbers.ts";
import { head, visibleLabel, visibleProse } from "../text.ts";
import type { Explain, Fields } from "./hooks.ts";

/** With more labels each has a line of its own, and all of them a height. */
export const MANY = 4;
const FIRST_LABELS = 20;
const STEP = 1000;
const LONG_LABEL = 200;
const SHORT_LABEL = 40;
/** The threshold that is no decision: of two labels the likelier is given, as ever. */
const EVEN = 0.5;
/** With more rows a part scrolls and so must take the keyboard. */
const SCROLLS = 10;

/** Of two labels that exclude each other, the one that the threshold decides for. */
function decided(result: Labels): LabelScore | null {
  if (result.multi || result.scores.length !== 2 || result.decides == null) return null;
  return result.scores[result.decides] ?? null;
}

/** The field whose threshold decides nothing here; empty where there is none, or it does. */
export function idleThreshold(result: Labels): string {
  return result.multi || decided(result) ? "" : result.field;
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

/** The bars of a result with its threshold, as the parts of one element. */
export function bars(
  result: Labels,
  context: Context,
  scope: Scope,
  { fields, explain }: { readonly fields: Fields | null; readonly explain: Explain | null },
): Node[] {
  const { t } = context;
  const { field } = result;
  const second = decided(result);
  const order = [...result.scores].sort((a, b) => b.score - a.score);
  const before = new Map(result.before.map((one) => [one.label, one.score]));
  // The threshold is the form's own field where the result names it: moved there or here, the
  // verdicts follow without a run.
  const held = () => {
    const value = field === "" ? undefined : fields?.get(field);
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
  const given = (): LabelScore | undefined => {
    if (!second || threshold === EVEN) return order[0];
    return second.score >= threshold ? second : order.find((one) => one !== second);
  };
  let shownLabels = FIRST_LABELS;
  const draw = (most: number) => {
    shownLabels = most;
    const best = given();
    refill(
      list,
      ...order.slice(0, most).map((entry) => {
        const over = result.multi ? entry.score >= threshold : entry === best;
        const shown = cut(entry.label, LONG_LABEL);
        const state = result.multi
          ? `, ${t(over ? "result.over" : "result.under", { threshold: three(threshold) })}`
          : second && over
            ? `, ${t("result.given", { threshold: three(threshold) })}`
            : "";
        const bar = h("span", { class: "label-fill" });
        bar.style.width = `${entry.score * 100}%`;
        const track = h("span", { class: "label-track", "aria-hidden": "true" }, bar);
        if (result.multi || entry === second) {
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
        const leads = explain?.knows(entry.label) === true;
        const more = leads ? `\n${explain.title}` : "";
        const row = h(
          "li",
          {
            class: `label-row${over ? " over" : ""}${leads ? " leads" : ""}`,
            "data-lmkit": "label-row",
            "aria-label": `${text}${state}${was}`,
            title: `${cut(entry.label, 1000)}\n${exact(entry.score)}${was}${more}`,
          },
          h(
            leads ? "button" : "span",
            leads
              ? {
                  type: "button",
                  class: "label-title",
                  "data-lmkit": "label-explain",
                  "aria-label": t("result.explain", { label: shown, view: explain.title }),
                }
              : { class: "label-title" },
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
        // All of the row for a pointer; the keyboard has the button in it, whose click comes here.
        if (leads) row.addEventListener("click", () => explain.open(entry.label));
        return row;
      }),
    );
  };
  draw(FIRST_LABELS);
  const parts: Node[] = [list];
  if (order.length === 0) parts.push(h("p", { class: "note" }, t("result.empty")));
  if (before.size > 0) {
    parts.push(h("p", { class: "note", "data-lmkit": "before-note" }, t("result.before.note")));
  }
  if (result.multi || second) {
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
      chosen.textContent = second
        ? t("result.gives", { label: cut(given()?.label ?? "", SHORT_LABEL) })
        : t("result.chosen", {
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
      if (field !== "") fields?.set({ [field]: threshold });
    });
    if (fields) scope.add(fields.subscribe(() => take(held())));
    parts.push(
      h(
        "p",
        { class: "note threshold-note" },
        h(
          "label",
          { for: id },
          second
            ? t("result.threshold.of", { label: cut(second.label, SHORT_LABEL) })
            : t("result.threshold.word"),
        ),
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
  return parts;
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
