/** Step through a generated text: each step selects its row and dims what did not exist yet. */

import { type AttentionSpec, tokensOf } from "@lmkit/protocol";
import type { Context } from "../context.ts";
import { bdi, h, refill, type Scope } from "../dom.ts";
import type { Store, ViewState } from "../store.ts";
import { shortToken } from "../text.ts";
import type { HeadModel } from "./head-model.ts";

/** Milliseconds that a step is on show while playing: time to read a row. */
const PACE = 900;

/** The first token that did not exist yet at the chosen step; infinite where no step is chosen. */
export function horizon(model: HeadModel, state: ViewState): number {
  const step = state.step === null ? undefined : model.spec.steps[state.step];
  // The encoder reads its text at once, before the first step.
  if (!step || (model.spec.keyTokens && model.layer.role === "encoder")) {
    return Number.POSITIVE_INFINITY;
  }
  return step.last;
}

/** The query row of a step: the last one, from which its token was predicted. */
export function stepRow(spec: Pick<AttentionSpec, "steps">, step: number): number {
  const { first = 0, last = 1 } = spec.steps[step] ?? {};
  return Math.max(first, last - 1);
}

export function scrubber(
  host: HTMLElement,
  spec: AttentionSpec,
  store: Store<ViewState>,
  context: Context,
  scope: Scope,
): void {
  const { t } = context;
  const { steps } = spec;
  const button = (name: string, sign: string, label: string) =>
    h(
      "button",
      { type: "button", class: "step", "data-lmkit": name, "aria-label": label, title: label },
      sign,
    );
  const back = button("step-previous", "‹", t("steps.previous"));
  const play = button("step-play", "▶", t("steps.play"));
  const on = button("step-next", "›", t("steps.next"));
  const slider = h("input", {
    type: "range",
    min: 0,
    max: steps.length - 1,
    step: 1,
    "aria-label": t("steps.label"),
    "data-lmkit": "step-slider",
  });
  const said = h("span", { class: "scrubber-now", "data-lmkit": "step-now" });
  const all = h(
    "button",
    { type: "button", class: "quiet", "data-lmkit": "step-all" },
    t("steps.all"),
  );
  host.append(
    h(
      "div",
      { class: "scrubber", role: "group", "aria-label": t("steps.label"), "data-lmkit": "steps" },
      back,
      play,
      on,
      slider,
      said,
      all,
    ),
  );

  let stop: (() => void) | null = null;
  let moving = false;
  const go = (to: number) => {
    const step = Math.max(0, Math.min(steps.length - 1, to));
    moving = true;
    store.set({ step, tokens: [stepRow(spec, step)], focus: null });
    moving = false;
    draw();
  };
  const next = () => go(store.state.step === null ? 0 : store.state.step + 1);
  const pause = () => {
    stop?.();
    stop = null;
    draw();
  };
  const tick = () => {
    if ((store.state.step ?? -1) >= steps.length - 1) {
      pause();
      return;
    }
    next();
    stop = scope.later(PACE, tick);
  };
  const toggle = () => {
    if (stop) {
      pause();
      return;
    }
    if (store.state.step === steps.length - 1) store.set({ step: null });
    tick();
    draw();
  };
  const tokenOf = (step: number): string => {
    const { label } = steps[step] ?? { label: "" };
    return shortToken(
      label === "" ? (tokensOf(spec.tokens)[stepRow(spec, step)]?.text ?? "") : label,
    );
  };
  const draw = () => {
    const { step } = store.state;
    const at = step ?? steps.length - 1;
    slider.value = String(at);
    const words = { n: at + 1, total: steps.length };
    slider.setAttribute(
      "aria-valuetext",
      step === null ? t("steps.none") : `${t("steps.of", words)}, ${tokenOf(at)}`,
    );
    if (step === null) refill(said, t("steps.none"));
    else refill(said, `${t("steps.of", words)} `, bdi(tokenOf(at), { class: "code subject" }));
    const label = t(stop ? "steps.pause" : "steps.play");
    play.textContent = stop ? "⏸" : "▶";
    play.setAttribute("aria-label", label);
    play.title = label;
    back.disabled = step === null || step === 0;
    on.disabled = step !== null && step >= steps.length - 1;
    all.hidden = step === null;
  };
  scope.on(back, "click", () => go((store.state.step ?? 1) - 1));
  scope.on(on, "click", next);
  scope.on(play, "click", toggle);
  scope.on(slider, "input", () => {
    stop?.();
    stop = null;
    go(Number(slider.value));
  });
  scope.on<KeyboardEvent>(slider, "keydown", (event) => {
    if (event.key !== " ") return;
    event.preventDefault();
    toggle();
  });
  scope.on(all, "click", () => {
    pause();
    store.set({ step: null, tokens: [] });
  });
  scope.add(
    store.subscribe((state, before) => {
      // Another choice of tokens leaves the step, and stops playing. The kernel tells every copy what
      // was chosen here, in an array of its own: that is no other choice.
      const own = state.step === null ? -1 : stepRow(spec, state.step);
      const same = state.tokens.length === 1 && state.tokens[0] === own;
      if (state.tokens !== before.tokens && state.step !== null && !moving && !same) {
        stop?.();
        stop = null;
        store.set({ step: null });
      }
      if (state.step !== before.step) draw();
    }),
  );
  draw();
}
