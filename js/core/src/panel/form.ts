/** The form that a task's fields declare. */

import type { FieldSpec, FieldValue } from "@lmkit/protocol";
import type { Context } from "../context.ts";
import { bdi, h, type Scope, uniqueId } from "../dom.ts";
import type { FieldValues } from "../source.ts";
import { visibleLabel } from "../text.ts";

/** The value a field starts from: the view's, else its default. */
export function startValue(field: FieldSpec, values: FieldValues): FieldValue {
  const given = Object.hasOwn(values, field.name) ? values[field.name] : undefined;
  return given === undefined || given === null ? field.default : given;
}

/** The number a person typed, bounded and put on the field's step; the last good one for nonsense. */
export function readNumber(
  field: { minimum: number; maximum: number; step: number; kind: "integer" | "number" },
  text: string,
  last: number,
): number {
  const typed = Number(text);
  if (text.trim() === "" || !Number.isFinite(typed)) return last;
  const bounded = Math.min(field.maximum, Math.max(field.minimum, typed));
  return field.kind === "integer" ? Math.round(bounded) : bounded;
}

/**
 * What a run of the form gives the fields that it does not draw: such a field is set by a click in
 * a result, and what was clicked belongs to that result.
 */
export function hiddenDefaults(fields: readonly FieldSpec[]): FieldValues {
  return Object.fromEntries(
    fields.filter((field) => field.hidden).map((field) => [field.name, field.default]),
  );
}

/** A text box grows to three lines by itself; by its corner it can be made any size. */
const TALLEST = 68;

/** One field as an element, with its value. */
export interface Control {
  readonly field: FieldSpec;
  readonly element: HTMLElement;
  get(): FieldValue;
  set(value: FieldValue): void;
  focus(): void;
  enable(on: boolean): void;
}

export function control(
  field: FieldSpec,
  value: FieldValue,
  onEdit: () => void,
  scope: Scope,
): Control {
  const id = uniqueId("field");
  const help =
    field.help !== ""
      ? h("span", { class: "note field-note", id: `${id}-help` }, field.help)
      : null;
  const shared = {
    id,
    "aria-describedby": help ? `${id}-help` : null,
    "data-lmkit": "field",
    "data-field": field.name,
  };
  const label = h("label", { for: id }, bdi(visibleLabel(field.label)));
  const wrap = (...inner: (Node | null)[]) => h("div", { class: `field ${field.kind}` }, ...inner);

  if (field.kind === "text") {
    const rows = field.multiline ? 1 : null;
    const input = field.multiline
      ? h("textarea", {
          ...shared,
          rows,
          placeholder: field.placeholder,
          spellcheck: "false",
          dir: "auto",
        })
      : h("input", { ...shared, type: "text", placeholder: field.placeholder, dir: "auto" });
    input.value = String(value ?? "");
    const fit = () => {
      if (!(input instanceof HTMLTextAreaElement) || !input.isConnected) return;
      input.style.height = "auto";
      input.style.height = `${Math.min(TALLEST, input.scrollHeight + 2)}px`;
    };
    scope.on(input, "input", () => {
      fit();
      onEdit();
    });
    scope.resize(input, scope.frame(fit));
    return {
      field,
      element: wrap(label, input, help),
      get: () => input.value,
      set: (next) => {
        const text = String(next ?? "");
        if (input.value !== text) input.value = text;
        fit();
      },
      focus: () => input.focus(),
      enable: (on) => {
        input.readOnly = !on;
      },
    };
  }
  if (field.kind === "choice") {
    const input = h(
      "select",
      shared,
      ...field.options.map((option) => h("option", { value: option }, option)),
    );
    input.value = String(value);
    scope.on(input, "change", onEdit);
    return {
      field,
      element: wrap(label, input, help),
      get: () => input.value,
      set: (next) => {
        input.value = String(next);
      },
      focus: () => input.focus(),
      enable: (on) => {
        input.disabled = !on;
      },
    };
  }
  if (field.kind === "boolean") {
    const input = h("input", { ...shared, type: "checkbox" });
    input.checked = value === true;
    scope.on(input, "change", onEdit);
    return {
      field,
      element: wrap(
        h("label", { class: "check", for: id }, input, bdi(visibleLabel(field.label))),
        help,
      ),
      get: () => input.checked,
      set: (next) => {
        input.checked = next === true;
      },
      focus: () => input.focus(),
      enable: (on) => {
        input.disabled = !on;
      },
    };
  }
  let last = Number(value);
  const bounds = { min: field.minimum, max: field.maximum, step: field.step };
  const slider = h("input", {
    type: "range",
    ...bounds,
    "aria-label": field.label,
    "data-lmkit": "slider",
    "data-field": field.name,
  });
  const box = h("input", {
    ...shared,
    type: "number",
    ...bounds,
    step: field.kind === "number" ? "any" : field.step,
  });
  const show = () => {
    slider.value = String(last);
    box.value = String(last);
  };
  show();
  scope.on(slider, "input", () => {
    last = readNumber(field, slider.value, last);
    box.value = String(last);
    onEdit();
  });
  scope.on(box, "input", () => {
    last = readNumber(field, box.value, last);
    slider.value = String(last);
    onEdit();
  });
  scope.on(box, "change", show);
  return {
    field,
    element: wrap(label, h("span", { class: "slider" }, slider, box), help),
    get: () => last,
    set: (next) => {
      last = Number(next);
      show();
    },
    focus: () => box.focus(),
    enable: (on) => {
      slider.disabled = !on;
      box.disabled = !on;
    },
  };
}

export interface Form {
  readonly fields: string;
  values(): FieldValues;
  /** Take values from the kernel, but never under the user's cursor, unless a click `meant` them. */
  take(values: FieldValues, meant?: boolean): void;
  /** `live`: may be edited and run. */
  show(state: {
    readonly live: boolean;
    readonly running: boolean;
    readonly stopping: boolean;
  }): void;
  /** Fields that have no effect now, by name, each with why: they cannot be set, and say so. */
  rest(idle: ReadonlyMap<string, string>): void;
  focus(): void;
}

export function form(
  host: HTMLElement,
  fields: readonly FieldSpec[],
  values: FieldValues,
  handlers: { run(values: FieldValues): void; stop(): void; edit(values: FieldValues): void },
  context: Context,
  scope: Scope,
  label = context.t("form.label"),
): Form {
  const { t } = context;
  let dirty = false;
  const edited = () => {
    dirty = true;
    check();
    handlers.edit(read());
  };
  const controls = fields
    .filter((field) => !field.hidden)
    .map((field) => control(field, startValue(field, values), edited, scope));
  const read = (): FieldValues =>
    Object.fromEntries(controls.map((item) => [item.field.name, item.get()]));

  const run = h(
    "button",
    {
      type: "submit",
      class: "primary",
      "data-lmkit": "run",
      title: t("run.hint"),
      "aria-keyshortcuts": "Control+Enter Meta+Enter",
    },
    t("run"),
  );
  const stop = h("button", { type: "button", "data-lmkit": "stop" }, t("stop"));
  stop.disabled = true;
  const problem = h("p", { class: "note warn", role: "alert", "data-lmkit": "form-problem" });
  problem.hidden = true;

  const isMain = ({ field }: Control) => field.kind === "text" && (field.body || field.required);
  const main = controls.filter(isMain);
  const rest = controls.filter((item) => !isMain(item));
  // Those wait that say so; where none does, all others than the main field.
  const all = main.length > 0 && !rest.some(({ field }) => field.later);
  const waiting = all ? rest : rest.filter(({ field }) => field.later);
  const shown = all ? [] : rest.filter(({ field }) => !field.later);
  const restId = uniqueId("more");
  const box = (id: string | null, items: readonly Control[]) =>
    h("div", { class: "form-rest", id }, ...items.map((item) => item.element));
  const restBox = box(restId, waiting);
  const more = h(
    "button",
    { type: "button", class: "quiet more", "data-lmkit": "more-fields", "aria-controls": restId },
    t("field.more"),
  );
  const differs = (item: Control) => item.get() !== item.field.default;
  const open = (on: boolean) => {
    // A field that waits by its own word is seen alone where its value is not the default.
    for (const item of waiting) item.element.hidden = !on && !differs(item);
    restBox.hidden = waiting.every((item) => item.element.hidden);
    more.setAttribute("aria-expanded", String(on));
  };
  // What differs from its default must be seen; the rest may wait until it is asked for.
  open(all && waiting.some(differs));
  scope.on(more, "click", () => open(more.getAttribute("aria-expanded") !== "true"));
  const buttons = h("div", { class: "buttons" }, run, stop, waiting.length > 0 ? more : null);
  const line = h(
    "div",
    { class: "form-line" },
    h("div", { class: "form-main" }, ...main.map((item) => item.element)),
    buttons,
  );
  if (main.length === 0) line.classList.add("bare");
  // One text box needs no name for the eye: the task's title and the text say what it is.
  if (main.length === 1 && main[0]?.field.help === "") line.classList.add("lone");
  const element = h(
    "form",
    // The name is the group's: a form that has one is a landmark, and a notebook has many alike.
    { class: "form", "data-lmkit": "form" },
    h(
      "div",
      { class: "form-group", role: "group", "aria-label": label },
      line,
      shown.length > 0 ? box(null, shown) : null,
      waiting.length > 0 ? restBox : null,
      problem,
    ),
  );
  element.noValidate = true;
  host.append(element);

  let mode = { live: false, running: false, stopping: false };
  let resting: ReadonlyMap<string, string> = new Map();
  const reasons = new Map<string, HTMLElement>();

  /** The first field that is required and empty. */
  const missing = (): Control | undefined =>
    controls.find(
      (item) =>
        item.field.kind === "text" && item.field.required && String(item.get()).trim() === "",
    );
  const check = () => {
    if (!problem.hidden && !missing()) problem.hidden = true;
  };
  const submit = () => {
    if (!mode.live || mode.running) return;
    const empty = missing();
    if (empty) {
      problem.textContent = t("form.required", { label: empty.field.label });
      problem.hidden = false;
      empty.focus();
      return;
    }
    problem.hidden = true;
    dirty = false;
    handlers.run(read());
  };
  scope.on(element, "submit", (event) => {
    event.preventDefault();
    submit();
  });
  scope.on<KeyboardEvent>(element, "keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    event.stopPropagation();
    submit();
  });
  scope.on(stop, "click", () => handlers.stop());

  return {
    fields: JSON.stringify(fields),
    values: read,
    take(next, meant = false) {
      const root = element.getRootNode();
      const active =
        root instanceof Document || root instanceof ShadowRoot ? root.activeElement : null;
      for (const item of controls) {
        if (!Object.hasOwn(next, item.field.name)) continue;
        if (!meant && dirty && active && item.element.contains(active)) continue;
        item.set(next[item.field.name] ?? item.field.default);
      }
    },
    show(state) {
      mode = state;
      run.disabled = !state.live || state.running;
      stop.disabled = !state.running || state.stopping;
      for (const item of controls) item.enable(state.live && !resting.has(item.field.name));
      element.classList.toggle("frozen", !state.live);
    },
    rest(idle) {
      resting = idle;
      for (const item of controls) {
        const { name } = item.field;
        reasons.get(name)?.remove();
        const why = idle.get(name);
        item.enable(mode.live && why === undefined);
        if (why === undefined) continue;
        const reason = h("span", { class: "note field-note", "data-lmkit": "field-idle" }, why);
        reasons.set(name, reason);
        item.element.append(reason);
      }
    },
    focus() {
      controls[0]?.focus();
    },
  };
}
