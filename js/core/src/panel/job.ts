/** The line of a job: what a process of its own is doing, how far it is, and its buttons. */

import type { ErrorInfo, JobInfo } from "@lmkit/protocol";
import type { Context } from "../context.ts";
import { bdi, h, refill, type Scope } from "../dom.ts";
import { type MessageKey, timeLeft } from "../messages.ts";
import { count } from "../numbers.ts";
import { errorInfo } from "../source.ts";
import { visibleProse } from "../text.ts";
import { errorBox } from "./status.ts";

/** "Step 120 of 400", or without the total where it is not known yet. */
export function stepText(job: JobInfo, t: Context["t"]): string {
  const step = count(job.step, t.locale);
  if (job.steps === 0) return job.step === 0 ? "" : t("job.step", { step });
  return t("job.steps", { step, steps: count(job.steps, t.locale) });
}

/** Draw jobs into `host`; null hides it. */
export function jobBar(
  host: HTMLElement,
  context: Context,
  scope: Scope,
): (job: JobInfo | null) => void {
  const { t, source } = context;
  let inner = scope.child();
  let busy = false;
  let failure: ErrorInfo | null = null;
  let job: JobInfo | null = null;

  const press = (name: string) => {
    if (busy) return;
    busy = true;
    failure = null;
    draw();
    source.action(name, "").then(
      () => {
        busy = false;
        draw();
      },
      (error: unknown) => {
        busy = false;
        failure = errorInfo(error);
        draw();
      },
    );
  };
  const draw = () => {
    const page = host.getRootNode();
    const active =
      page instanceof ShadowRoot || page instanceof Document ? page.activeElement : null;
    const held = active && host.contains(active) ? active.getAttribute("data-lmkit") : null;
    inner.dispose();
    inner = scope.child();
    host.hidden = job === null;
    refill(host);
    if (job === null) return;
    const shown = job;
    const live = source.state === "live";
    const state = t(`job.${shown.state}` as MessageKey);
    const bar = h("progress", { "aria-label": state, max: Math.max(1, shown.steps) });
    bar.value = Math.min(shown.step, Math.max(1, shown.steps));
    const buttons = shown.actions.map((name) => {
      const element = h(
        "button",
        { type: "button", "data-lmkit": `job-${name}` },
        t(`job.do.${name}` as MessageKey),
      );
      element.disabled = !live || busy;
      inner.on(element, "click", () => press(name));
      return element;
    });
    const left =
      shown.state === "running" && shown.secondsLeft !== null && shown.secondsLeft > 0
        ? t("progress.left", { time: timeLeft(shown.secondsLeft, t.locale) })
        : "";
    host.setAttribute("data-state", shown.state);
    host.append(
      h(
        "div",
        { class: "job-line" },
        h("span", { class: `state job-${shown.state}`, "data-lmkit": "job-state" }, state),
        bar,
        h(
          "span",
          { class: "note number", "data-lmkit": "job-step" },
          [stepText(shown, t), left].filter((part) => part !== "").join(", "),
        ),
        h("span", { class: "job-buttons" }, ...buttons),
      ),
      h(
        "p",
        { class: "note number job-note" },
        bdi(visibleProse([shown.title, shown.note].filter((part) => part !== "").join(" · "))),
      ),
    );
    if (shown.problem !== "") {
      const [code, hint, details] = ["job", "", ""];
      host.append(errorBox({ code, message: shown.problem, hint, details }, context, inner));
    }
    if (failure) host.append(errorBox(failure, context, inner));
    if (held !== null) {
      const same = host.querySelector<HTMLElement>(`[data-lmkit="${held}"]`);
      (same ?? host.querySelector<HTMLElement>("button"))?.focus({ preventScroll: true });
    }
  };
  return (next) => {
    if (next !== null && job !== null && next.state !== job.state) {
      context.announce(t(`job.${next.state}` as MessageKey));
    }
    job = next;
    draw();
  };
}
