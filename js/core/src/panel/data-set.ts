/** A panel's data set: open one, say which column is which, run over its rows, read the report. */

import type { Change, DataSetSpec, FieldValue } from "@lmkit/protocol";
import type { Context } from "../context.ts";
import { bdi, h, refill, type Scope, uniqueId } from "../dom.ts";
import { count } from "../numbers.ts";
import { errorInfo, errorText, type FieldValues } from "../source.ts";
import type { Store, ViewState } from "../store.ts";
import { visibleLabel, visibleProse } from "../text.ts";
import { type Control, control, startValue } from "./form.ts";
import type { Apply } from "./hooks.ts";
import { drawResult } from "./results.ts";

const REPORT_DELAY = 250;

export interface DataSetView {
  /** Whether a data set is open, and so comes before the form. */
  readonly open: boolean;
  /** Where the status of its runs is shown. */
  readonly status: HTMLElement;
  show(spec: DataSetSpec, state: DataSetState): void;
  /** Values for the report's own fields, from a click in a result. */
  report(values: FieldValues): void;
}

export interface DataSetState {
  readonly live: boolean;
  readonly running: boolean;
}

export function dataSet(
  host: HTMLElement,
  first: DataSetSpec,
  handlers: {
    /** The form's values, for the fields that no column stands in for. */
    values(): FieldValues;
    run(mapping: Readonly<Record<string, string>>, values: FieldValues): void;
    stop(): void;
    apply: Apply;
  },
  store: Store<ViewState>,
  context: Context,
  scope: Scope,
): DataSetView {
  const { t, source } = context;
  let spec = first;
  let state: DataSetState = { live: false, running: false };
  let unfolded = first.source !== "";
  let drawn = "";
  let drawnColumns = "";

  const bodyId = uniqueId("data");
  const toggle = h(
    "button",
    { type: "button", class: "quiet", "data-lmkit": "data-toggle", "aria-controls": bodyId },
    t("data.toggle"),
  );
  const inputId = uniqueId("data");
  const input = h("input", {
    id: inputId,
    type: "text",
    class: "data-source",
    spellcheck: "false",
    placeholder: t("data.placeholder"),
    "data-lmkit": "data-source",
  });
  const openButton = h("button", { type: "submit", "data-lmkit": "data-open" }, t("data.open"));
  const opener = h(
    "form",
    { class: "data-line" },
    h("label", { for: inputId }, t("data.source")),
    input,
    openButton,
  );
  const facts = h("p", { class: "data-facts", "data-lmkit": "data-facts" });
  const mappingHost = h("div", { class: "data-mapping" });
  const run = h("button", { type: "button", class: "primary", "data-lmkit": "data-run" });
  const stop = h("button", { type: "button", "data-lmkit": "data-stop" }, t("stop"));
  const runLine = h(
    "div",
    { class: "data-line" },
    mappingHost,
    h("span", { class: "buttons" }, run, stop),
  );
  const status = h("div", { class: "status", "data-lmkit": "data-status" });
  const problem = h("p", {
    class: "note warn",
    role: "alert",
    dir: "auto",
    "data-lmkit": "data-problem",
  });
  problem.hidden = true;
  const say = (error: unknown) => {
    const info = errorInfo(error);
    problem.textContent = visibleProse(`${errorText(info, t)} ${info.hint}`.trim());
    problem.hidden = false;
  };
  const note = h("p", { class: "note warn", "data-lmkit": "data-note", dir: "auto" });
  const fieldsHost = h("div", {
    class: "data-fields",
    role: "group",
    "aria-label": t("data.report"),
    "data-lmkit": "data-fields",
  });
  const results = h("div", { class: "results data-results", "data-lmkit": "data-results" });
  const body = h(
    "div",
    { id: bodyId, class: "data-body" },
    opener,
    problem,
    facts,
    runLine,
    status,
    note,
    fieldsHost,
    results,
  );
  const element = h(
    "section",
    { class: "data-set", "data-lmkit": "data-set", "aria-label": t("data.label") },
    h("div", { class: "data-head" }, toggle),
    body,
  );
  host.append(element);

  const unfold = (on: boolean) => {
    unfolded = on;
    body.hidden = !on;
    toggle.setAttribute("aria-expanded", String(on));
    element.classList.toggle("open", on);
  };
  unfold(unfolded);
  scope.on(toggle, "click", () => {
    unfold(!unfolded);
    if (unfolded && spec.source === "" && state.live) input.focus();
  });
  scope.on(opener, "submit", (event) => {
    event.preventDefault();
    const name = input.value.trim();
    if (name === "" || !state.live || state.running) return;
    problem.hidden = true;
    openButton.disabled = true;
    source
      .openRows(name)
      .catch(say)
      .finally(() => {
        openButton.disabled = !state.live || state.running;
      });
  });

  // -- which column is which --------------------------------------------------------------------

  const selects = new Map<string, HTMLSelectElement>();
  const drawMapping = () => {
    const wanted = JSON.stringify([spec.columns, spec.available]);
    if (wanted !== drawnColumns) {
      drawnColumns = wanted;
      selects.clear();
      refill(
        mappingHost,
        ...spec.columns.map((column) => {
          const id = uniqueId("column");
          const select = h(
            "select",
            { id, "data-lmkit": "data-column", "data-column": column.name },
            h("option", { value: "" }, t("data.column.none")),
            ...spec.available.map((name) => h("option", { value: name }, visibleLabel(name))),
          );
          selects.set(column.name, select);
          return h(
            "div",
            { class: "field choice", title: column.help || null },
            h("label", { for: id }, bdi(visibleLabel(column.label || column.name))),
            select,
          );
        }),
      );
    }
    for (const [name, select] of selects) {
      const value = spec.mapping[name] ?? "";
      if (select !== focused()) select.value = value;
    }
  };
  const focused = (): Element | null => {
    const root = element.getRootNode();
    return root instanceof ShadowRoot || root instanceof Document ? root.activeElement : null;
  };
  const mapping = (): Record<string, string> =>
    Object.fromEntries([...selects].map(([name, select]) => [name, select.value]));
  scope.on(run, "click", () => {
    if (!state.live || state.running) return;
    handlers.run(mapping(), { ...handlers.values(), ...reportValues() });
  });
  scope.on(stop, "click", () => handlers.stop());

  // -- the report's own fields ------------------------------------------------------------------

  let controls: Control[] = [];
  let drawnFields = "";
  let hidden: Record<string, FieldValue> = {};
  let fieldScope = scope.child();
  let cancelReport: (() => void) | null = null;
  let edited = false;
  const reportValues = (): FieldValues => ({
    ...hidden,
    ...Object.fromEntries(controls.map((one) => [one.field.name, one.get()])),
  });
  const report = (values: FieldValues, delay = 0) => {
    cancelReport?.();
    const send = () => {
      edited = false;
      problem.hidden = true;
      source.reportRows(values).catch(say);
    };
    if (delay === 0) send();
    else cancelReport = scope.later(delay, send);
  };
  const drawFields = () => {
    const wanted = JSON.stringify(spec.fields);
    hidden = Object.fromEntries(
      spec.fields
        .filter((field) => field.hidden)
        .map((field) => [field.name, startValue(field, spec.values)]),
    );
    if (wanted === drawnFields) {
      for (const one of controls) {
        if (edited || one.element.contains(focused())) continue;
        one.set(startValue(one.field, spec.values));
      }
      return;
    }
    drawnFields = wanted;
    fieldScope.dispose();
    fieldScope = scope.child();
    controls = spec.fields
      .filter((field) => !field.hidden)
      .map((field) =>
        control(
          field,
          startValue(field, spec.values),
          () => {
            edited = true;
            report(reportValues(), REPORT_DELAY);
          },
          fieldScope,
        ),
      );
    refill(fieldsHost, ...controls.map((one) => one.element));
  };

  // -- the report -------------------------------------------------------------------------------

  let resultScope = scope.child();
  const drawResults = () => {
    const wanted = JSON.stringify([spec.results, state.live]);
    if (wanted === drawn) return;
    drawn = wanted;
    const places = [...results.querySelectorAll<HTMLElement>(".table-scroll")].map(
      (one) => one.scrollTop,
    );
    resultScope.dispose();
    resultScope = scope.child();
    refill(
      results,
      ...spec.results.map((result) =>
        drawResult(result, context, resultScope, store, {
          apply: state.live ? (change: Change) => handlers.apply(change) : null,
          step: null,
          fields: null,
          explain: null,
        }),
      ),
    );
    for (const [index, one] of [...results.querySelectorAll(".table-scroll")].entries()) {
      one.scrollTop = places[index] ?? 0;
    }
  };

  return {
    get open() {
      return spec.source !== "";
    },
    status,
    report: (values) => report({ ...reportValues(), ...values }),
    show(next, nextState) {
      const opened = spec.source === "" && next.source !== "";
      spec = next;
      state = nextState;
      if (opened) unfold(true);
      const open = spec.source !== "";
      toggle.textContent = open ? t("data.label") : t("data.toggle");
      element.hidden = !open && !state.live;
      opener.hidden = !state.live;
      openButton.disabled = state.running;
      facts.hidden = runLine.hidden = !open;
      const counted = count(spec.rows, t.locale);
      facts.textContent = open
        ? `${visibleProse(spec.source)} · ${
            spec.done > 0
              ? t("data.of", { done: count(spec.done, t.locale), rows: counted })
              : t("data.rows", { rows: counted })
          }`
        : "";
      const goesOn = spec.done > 0 && spec.stopped;
      run.textContent = goesOn ? t("data.continue") : t("data.run");
      run.disabled = !state.live || state.running;
      stop.disabled = !state.running;
      run.hidden = stop.hidden = !state.live;
      note.textContent = visibleProse(spec.note);
      note.hidden = spec.note === "";
      drawMapping();
      for (const select of selects.values()) select.disabled = !state.live || state.running;
      drawFields();
      for (const one of controls) one.enable(state.live);
      fieldsHost.hidden = spec.results.length === 0 || controls.length === 0;
      drawResults();
      results.hidden = spec.results.length === 0;
    },
  };
}
