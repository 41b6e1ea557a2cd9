/** A view beside the pictures: its form, how far the kernel is, and its results. */

import type { Result, SavedAnswer, ViewInfo } from "@lmkit/protocol";
import type { Context } from "../context.ts";
import { h, refill, type Scope } from "../dom.ts";
import { form, startValue } from "../panel/form.ts";
import { drawResult } from "../panel/results.ts";
import { errorBox, progressBar } from "../panel/status.ts";
import { errorInfo, type FieldValues } from "../source.ts";
import { type Store, selectionOf, type ViewState } from "../store.ts";
import { visibleLabel, visibleProse } from "../text.ts";

/** After the last change of the selection that a view follows. */
const ASK_DELAY = 150;

/** What was answered while this pass is on show, by what was asked. */
export type Answers = Map<string, readonly Result[]>;

/** What a view's answer depends on: its fields, and the parts of the selection that it follows. */
export function questionOf(info: ViewInfo, values: FieldValues, state: ViewState): string {
  const followed = info.follows.map((part) => [part, state[part]]);
  return JSON.stringify([info.name, values, followed]);
}

/** Whether the tokens of a saved answer are those that are on show. */
function keptLens(kept: SavedAnswer, state: ViewState): boolean {
  return kept.selection.lens === state.lens;
}

export function analysis(
  host: HTMLElement,
  info: ViewInfo,
  store: Store<ViewState>,
  context: Context,
  scope: Scope,
  answers: Answers,
): void {
  const { t, source } = context;
  const formHost = h("div", { class: "analysis-form" });
  const status = h("div", { class: "status", "data-lmkit": "analysis-status" });
  const results = h("div", { class: "analysis-results", "data-lmkit": "analysis-results" });
  refill(
    host,
    info.help === "" ? null : h("p", { class: "note", dir: "auto" }, visibleProse(info.help)),
    formHost,
    status,
    results,
  );
  const live = () => source.state === "live";
  // Asked once before, the view opens on the same question.
  const kept = source.answers.find((answer) => answer.name === info.name);
  let values: FieldValues = Object.fromEntries(
    info.fields.map((field) => [field.name, startValue(field, kept?.arguments ?? {})]),
  );
  const asked = () => (store.state.asked?.view === info.name ? store.state.asked.values : {});
  // Of a page only its place is kept: a kernel is asked for it anew.
  const whole = kept?.results.every((one) => one.kind !== "page") ?? false;
  if (kept && whole && keptLens(kept, store.state)) {
    answers.set(questionOf(info, values, { ...store.state, ...kept.selection }), kept.results);
  }
  values = { ...values, ...asked() };
  let asking: AbortController | null = null;
  let drawnScope = scope.child();
  let cancelLater: (() => void) | null = null;
  scope.add(() => asking?.abort(new DOMException("The view was closed.", "AbortError")));

  const stop = () => {
    asking?.abort(new DOMException("Stopped.", "AbortError"));
    asking = null;
    refill(
      status,
      h("p", { class: "note", "data-lmkit": "cancelled" }, t("status.cancelled.empty")),
      theForm ? null : again(),
    );
    show();
    context.announce(t("status.cancelled.empty"));
  };
  const again = () => {
    const button = h("button", { type: "button", "data-lmkit": "analysis-again" }, t("retry"));
    button.addEventListener("click", () => ask());
    return button;
  };

  const theForm =
    info.fields.length === 0
      ? null
      : form(
          formHost,
          info.fields,
          values,
          {
            run(next) {
              values = next;
              ask();
            },
            stop,
            edit() {},
          },
          context,
          scope,
          visibleLabel(info.title),
        );
  const show = () => {
    theForm?.show({ live: live(), running: asking !== null, stopping: false });
    host.setAttribute("aria-busy", String(asking !== null));
  };

  const keptText = ({ selection }: SavedAnswer) => {
    const { layer, head } = selection;
    const place = [
      info.follows.includes("layer") ? `${t("layer.word").toLowerCase()} ${layer}` : "",
      info.follows.includes("head") ? `${t("head.word").toLowerCase()} ${head}` : "",
    ].filter((part) => part !== "");
    if (place.length === 0) return t("view.kept.all");
    return t("view.kept", { place: place.join(", ") });
  };
  const draw = (found: readonly Result[]) => {
    drawnScope.dispose();
    drawnScope = scope.child();
    refill(status);
    refill(results, ...found.map((result) => drawResult(result, context, drawnScope, store)));
    if (found.length === 0) results.append(h("p", { class: "note" }, t("result.empty")));
  };

  const ask = () => {
    cancelLater?.();
    asking?.abort(new DOMException("Asked anew.", "AbortError"));
    asking = null;
    const question = questionOf(info, values, store.state);
    const known = answers.get(question);
    if (known) {
      draw(known);
      show();
      return;
    }
    if (!live() && source.state !== "connecting" && kept) {
      draw(kept.results);
      refill(status, h("p", { class: "note boxed", "data-lmkit": "kept-note" }, keptText(kept)));
      show();
      return;
    }
    if (!live() && source.state !== "connecting") {
      refill(status, h("p", { class: "note boxed", "data-lmkit": "page-note" }, t("view.live")));
      show();
      return;
    }
    const abort = new AbortController();
    asking = abort;
    const stopButton = h(
      "button",
      { type: "button", class: "quiet", "data-lmkit": "analysis-stop" },
      t("stop"),
    );
    stopButton.addEventListener("click", stop);
    const tell = (progress: Parameters<typeof progressBar>[0]) => {
      if (asking !== abort) return;
      refill(
        status,
        progressBar(progress, context, t("status.running")),
        theForm ? null : stopButton,
      );
    };
    // Most answers come before the eye would see a bar.
    const cancelBar = scope.later(120, () => tell(null));
    show();
    source
      .query(info.name, values, selectionOf(store.state), {
        signal: abort.signal,
        onProgress: tell,
      })
      .then(
        (found) => {
          if (asking !== abort) return;
          answers.set(question, found);
          draw(found);
          context.announce(t("status.done"));
        },
        (error: unknown) => {
          if (asking !== abort || abort.signal.aborted) return;
          refill(status, errorBox(errorInfo(error), context, scope), theForm ? null : again());
        },
      )
      .finally(() => {
        cancelBar();
        if (asking !== abort) return;
        asking = null;
        show();
      });
  };

  scope.add(
    store.subscribe((state, before) => {
      if (state.asked !== before.asked && state.asked?.view === info.name) {
        // What the form holds besides is kept: the same method, for another label.
        values = { ...values, ...theForm?.values(), ...asked() };
        theForm?.take(values, true);
        ask();
        return;
      }
      if (!info.follows.some((part) => state[part] !== before[part])) return;
      cancelLater?.();
      cancelLater = scope.later(ASK_DELAY, ask);
    }),
  );
  ask();
}
