/** Progress, stops and errors, drawn where they happened. */

import type { ErrorInfo, Progress, Status } from "@lmkit/protocol";
import type { Context } from "../context.ts";
import { copyText, h, refill, type Scope } from "../dom.ts";
import { errorText } from "../errors.ts";
import { timeLeft } from "../messages.ts";
import { visibleProse } from "../text.ts";

/** A long text scrolls in its box and so must take the keyboard. */
function long(text: string): number | null {
  return text.length > 300 || text.includes("\n") ? 0 : null;
}

/** An error: what happened, the hint, and details to open and copy. */
export function errorBox(error: ErrorInfo, context: Pick<Context, "t">, scope: Scope): HTMLElement {
  const { t } = context;
  const message = errorText(error, t);
  const whole = [message, error.hint, error.details].filter((part) => part !== "").join("\n\n");
  const copy = h(
    "button",
    { type: "button", class: "quiet", "data-lmkit": "copy-details" },
    t("copy.details"),
  );
  scope.on(copy, "click", () => {
    void copyText(whole, copy).then((copied) => {
      copy.textContent = t(copied ? "copy.done" : "copy.failed");
      scope.later(2000, () => {
        copy.textContent = t("copy.details");
      });
    });
  });
  return h(
    "div",
    { class: "error", role: "alert", "data-lmkit": "error", "data-code": error.code },
    h(
      "p",
      { class: "error-message", dir: "auto", tabindex: long(message) },
      visibleProse(message) || t("error.title"),
    ),
    error.hint === ""
      ? null
      : h(
          "p",
          { class: "error-hint", dir: "auto", tabindex: long(error.hint) },
          visibleProse(error.hint),
        ),
    error.details === ""
      ? h("div", { class: "error-tools" }, copy)
      : h(
          "details",
          { "data-lmkit": "error-details" },
          h("summary", {}, t("error.details")),
          h("pre", { tabindex: 0 }, visibleProse(error.details)),
          h("div", { class: "error-tools" }, copy),
        ),
  );
}

/** A bar with what is being done, how far it is, and the time left where it is known. */
export function progressBar(
  progress: Progress | null,
  context: Pick<Context, "t">,
  fallback: string,
): HTMLElement {
  const { t } = context;
  const label = progress && progress.label !== "" ? progress.label : fallback;
  const known = progress && progress.total > 0;
  const bar = h("progress", {
    "aria-label": label,
    "data-lmkit": "progress",
    max: known ? progress.total : null,
  });
  if (known) bar.value = Math.min(progress.done, progress.total);
  const parts = [
    known ? t("progress.of", { done: progress.done, total: progress.total }) : "",
    progress?.secondsLeft != null && progress.secondsLeft > 0
      ? t("progress.left", { time: timeLeft(progress.secondsLeft, t.locale) })
      : "",
  ].filter((part) => part !== "");
  return h(
    "div",
    { class: "progress" },
    h("span", { class: "progress-label" }, visibleProse(label)),
    bar,
    h("span", { class: "note number" }, parts.join(", ")),
  );
}

/** The line under the form: running, stopped, failed; nothing when idle or done. */
export function statusLine(
  host: HTMLElement,
  context: Context,
): (status: Status, stopping: boolean, hasResults: boolean, scope: Scope) => void {
  const { t } = context;
  return (status, stopping, hasResults, scope) => {
    host.setAttribute("data-state", status.state);
    if (status.state === "running") {
      const bar = host.querySelector<HTMLProgressElement>("progress");
      const label = stopping ? t("status.stopping") : t("status.running");
      const next = progressBar(stopping ? null : status.progress, context, label);
      // The same indeterminate bar goes on: a new one would start its motion again.
      if (bar && !bar.hasAttribute("max") && !next.querySelector("progress[max]")) {
        const text = next.querySelector(".progress-label")?.textContent ?? "";
        const old = host.querySelector(".progress-label");
        const note = host.querySelector(".progress .note");
        if (old && note) {
          old.textContent = text;
          note.textContent = next.querySelector(".note")?.textContent ?? "";
          return;
        }
      }
      refill(host, next);
    } else if (status.state === "error" && status.error) {
      refill(host, errorBox(status.error, context, scope));
    } else if (status.state === "cancelled") {
      refill(
        host,
        h(
          "p",
          { class: "note", "data-lmkit": "cancelled" },
          t(
            status.kept
              ? "status.cancelled.kept"
              : hasResults
                ? "status.cancelled"
                : "status.cancelled.empty",
          ),
        ),
      );
    } else {
      refill(host);
    }
  };
}
