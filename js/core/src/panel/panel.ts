/** A task's panel: header, form, results, tokens, explorer, sentence. */

import type { Change, FieldValue, PanelSpec, Result, Status } from "@lmkit/protocol";
import type { Context } from "../context.ts";
import { h, refill, type Scope } from "../dom.ts";
import { explorer } from "../explorer/explorer.ts";
import { HeadModel } from "../explorer/head-model.ts";
import { command } from "../explorer/keys.ts";
import { stepHead } from "../explorer/layers.ts";
import { lensOf, type Seen, through } from "../explorer/lens.ts";
import { scrubber, stepRow } from "../explorer/scrubber.ts";
import type { MessageKey } from "../messages.ts";
import { preferred } from "../preferences.ts";
import { MAPPINGS } from "../scale.ts";
import { errorInfo, type FieldValues, fingerprint, type SourceEvent } from "../source.ts";
import { choiceOf, type Mapping, Store, selectionOf, type ViewState } from "../store.ts";
import { visibleLabel, visibleProse } from "../text.ts";
import { idleThreshold } from "./bars.ts";
import { type DataSetView, dataSet } from "./data-set.ts";
import { labelView, TARGET } from "./explain.ts";
import { copyPython, sentence } from "./footer.ts";
import { type Form, form, hiddenDefaults } from "./form.ts";
import { drawHeader, savedText } from "./header.ts";
import { help } from "./help.ts";
import type { Apply, Explain, Fields } from "./hooks.ts";
import { jobBar } from "./job.ts";
import { restButton } from "./rest.ts";
import { drawResult, type ResultActions } from "./results.ts";
import { saveMenu } from "./save.ts";
import { progressBar, statusLine } from "./status.ts";
import type { EditedText } from "./token-edit.ts";
import { tokenStrip } from "./tokens.ts";

/** Of a view that a click opens so much comes into sight, in pixels. */
const SEEN = 320;

/** Draw a panel into `root` until `scope` ends. */
export function panel(
  root: HTMLElement,
  first: PanelSpec,
  context: Context,
  scope: Scope,
): (spec: PanelSpec) => void {
  const { t, source } = context;
  let spec = first;
  let status: Status = first.status;
  let stopping = false;
  let run: string | null = first.status.run;

  /** A saved "running" is history: nothing runs where nothing is live. */
  const runs = () =>
    status.state === "running" && (source.state === "live" || source.state === "connecting");

  const header = h("div", { class: "header", "data-lmkit": "header" });
  const dataHost = h("div", { class: "data-host" });
  const formHost = h("div");
  const savedWords = h("span");
  const rest = restButton(context, scope);
  const saved = h(
    "p",
    { class: "note saved", "data-lmkit": "saved-note" },
    savedWords,
    rest.element,
  );
  const statusHost = h("div", { class: "status", "data-lmkit": "status" });
  const jobHost = h("div", { class: "job", "data-lmkit": "job" });
  const failures = h("div", { class: "status", "data-lmkit": "failures" });
  const warnings = h("ul", {
    class: "warnings",
    role: "list",
    "data-lmkit": "warnings",
    "aria-label": t("warnings"),
  });
  const results = h("div", { class: "results", "data-lmkit": "results" });
  const shownResults = h("div", { class: "results" });
  const tokensHost = h("div");
  const explorerHost = h("div");
  const sentenceHost = h("p", { class: "sentence", "data-lmkit": "sentence" });
  const keysButton = h(
    "button",
    { type: "button", class: "quiet", "data-lmkit": "keys", "aria-keyshortcuts": "?" },
    h("kbd", {}, "?"),
    ` ${t("keys")}`,
  );
  const python = copyPython(() => spec, context, scope);
  const savePlace = h("span");
  const footer = h(
    "div",
    { class: "footer" },
    sentenceHost,
    h("span", { class: "tools" }, python, savePlace, keysButton),
  );
  const body = h(
    "div",
    { class: "body" },
    formHost,
    dataHost,
    saved,
    statusHost,
    jobHost,
    failures,
    warnings,
    results,
    tokensHost,
    explorerHost,
  );
  root.append(header, body, footer);
  const overlay = help(root, context, scope);
  scope.on(keysButton, "click", () => overlay.toggle());

  const store = new Store<ViewState>({
    layer: first.attention?.selection.layer ?? 0,
    head: first.attention?.selection.head ?? 0,
    tokens: first.attention?.selection.tokens ?? [],
    focus: null,
    lens: first.attention?.selection.lens ?? "",
    picture: first.attention?.selection.picture || "arcs",
    mapping: preferred().mapping,
    heads: null,
    least: 0.05,
    hideSpecials: false,
    step: null,
    asked: null,
  });
  savePlace.replaceWith(
    saveMenu(
      {
        spec: () => spec,
        store,
        canvas: () => explorerHost.querySelector('[data-lmkit="picture-canvas"]'),
      },
      context,
      scope,
    ),
  );
  let fromKernel = false;
  let chosen = false;
  scope.add(
    store.subscribe((state, before) => {
      if (fromKernel) return;
      if (
        state.layer === before.layer &&
        state.head === before.head &&
        state.tokens === before.tokens &&
        state.lens === before.lens &&
        state.picture === before.picture
      )
        return;
      chosen = true;
      if (source.state !== "live") return;
      source.select(selectionOf(state));
    }),
  );

  // -- parts ------------------------------------------------------------------------------------

  const fieldListeners = new Set<() => void>();
  const fields: Fields = {
    get: (name): FieldValue | undefined => theForm?.values()[name] ?? spec.values[name],
    set(values) {
      if (source.state !== "live") return;
      theForm?.take(values);
      source.edit({ ...theForm?.values(), ...values });
    },
    subscribe(listener) {
      fieldListeners.add(listener);
      return () => fieldListeners.delete(listener);
    },
  };
  const began = (id: string) => {
    stopping = false;
    run = id;
    setStatus({ state: "running", run: id, progress: null, error: null, kept: false });
    context.announce(t("status.running"));
  };
  const start = (values: FieldValues) => {
    overRows = false;
    began(source.run(values));
  };
  /** A click in a result: the report's fields make the report again, the form's run the task. */
  const apply: Apply = (change: Change) => {
    if (source.state !== "live") return;
    const names = new Set(spec.dataSet?.fields.map((field) => field.name) ?? []);
    const own: Record<string, FieldValue> = {};
    const reported: Record<string, FieldValue> = {};
    for (const [name, value] of Object.entries(change.values)) {
      (names.has(name) ? reported : own)[name] = value;
    }
    if (Object.keys(reported).length > 0) theData?.report(reported);
    if (Object.keys(own).length === 0) return;
    const values = { ...theForm?.values(), ...own };
    theForm?.take(own, true);
    if (!change.run) source.edit(values);
    else {
      // A click on a row of the data set leads to what is below it.
      seek = theData?.open === true ? "asked" : "";
      start(values);
    }
  };
  /** Whether the run in progress, or the last one, is over the rows of the data set. */
  let overRows = first.dataSet !== null && first.results.length === 0;
  /** A row was clicked: its results come into sight when they are there. */
  let seek: "" | "asked" | "running" = "";

  /** The text that the tokens came from, where a kernel can read another one. */
  const editedText = (): EditedText | null => {
    const body = spec.fields.find((field) => field.kind === "text" && field.body);
    if (!body) return null;
    return {
      can: () => source.state === "live" && status.state !== "running",
      get: () => String(fields.get(body.name) ?? ""),
      run: (text) => apply({ values: { [body.name]: text }, run: true }),
    };
  };

  let theData: DataSetView | null = null;
  const drawData = () => {
    if (!spec.dataSet) return;
    theData ??= dataSet(
      dataHost,
      spec.dataSet,
      {
        values: () => ({ ...theForm?.values() }),
        run(mapping, values) {
          overRows = true;
          began(source.runRows(mapping, values));
        },
        stop,
        apply,
      },
      store,
      context,
      scope,
    );
    theData.show(spec.dataSet, {
      live: source.state === "live",
      running: runs(),
    });
    // What is worked with comes first: the data set, once there is one, else the text.
    const wanted = theData.open ? formHost : saved;
    if (dataHost.nextElementSibling !== wanted) body.insertBefore(dataHost, wanted);
    dataHost.classList.toggle("open", theData.open);
  };

  let formScope: Scope | null = null;
  let theForm: Form | null = null;
  const drawForm = () => {
    const wanted = JSON.stringify(spec.fields);
    if (theForm && theForm.fields === wanted) {
      theForm.take(spec.values);
      for (const listener of [...fieldListeners]) listener();
    } else {
      formScope?.dispose();
      formScope = scope.child();
      refill(formHost);
      theForm =
        spec.fields.length === 0
          ? null
          : form(
              formHost,
              spec.fields,
              spec.values,
              {
                run: (values) => start({ ...hiddenDefaults(spec.fields), ...values }),
                stop,
                edit(values) {
                  source.edit(values);
                  for (const listener of [...fieldListeners]) listener();
                },
              },
              context,
              formScope,
            );
    }
    showForm();
  };
  const showForm = () => {
    drawData();
    const idle = spec.results.map((one) => (one.kind === "labels" ? idleThreshold(one) : ""));
    theForm?.rest(
      new Map(idle.filter((name) => name !== "").map((name) => [name, t("result.idle")])),
    );
    theForm?.show({
      live: source.state === "live",
      running: runs(),
      stopping,
    });
  };

  const toStep = (step: number) => {
    const { attention } = spec;
    if (!attention || step >= attention.steps.length || partial !== null) return;
    // First the row: the scrubber takes a change of rows for the user's own and lets go of its step.
    store.set({ tokens: [stepRow(attention, step)], focus: null });
    store.set({ step });
  };

  /** A click on a label asks the view that takes one, as a click on a span chooses its tokens. */
  const explain = (): Explain | null =>
    labelView(spec, (view, label) => {
      // A view is asked of the pass, not of a lens on it.
      if (store.state.lens !== "") store.set({ lens: "" });
      store.set({
        picture: view.name,
        focus: null,
        asked: { view: view.name, values: { [TARGET]: label } },
      });
      context.announce(
        t("result.explain", { label: visibleLabel(label), view: visibleLabel(view.title) }),
      );
      scope.frame(() => {
        const { bottom } = body.getBoundingClientRect();
        // Where it is narrow, the map of heads stands above the view.
        const shown = explorerHost.querySelector('[data-lmkit="analysis"]') ?? explorerHost;
        const { top } = shown.getBoundingClientRect();
        if (top > bottom - SEEN) body.scrollTop += top - bottom + SEEN;
      })();
    });

  const stop = () => {
    const target = status.run ?? run;
    if (status.state !== "running" || stopping) return;
    stopping = true;
    drawStatus();
    showForm();
    context.announce(t("status.stopping"));
    if (target === null) return;
    source.cancel(target).catch(() => {
      // The run has ended in the meantime, or the connection has: either shows itself.
    });
  };

  let statusScope = scope.child();
  const drawLine = statusLine(statusHost, context);
  let drawRows: ReturnType<typeof statusLine> | null = null;
  const drawStatus = () => {
    statusScope.dispose();
    statusScope = scope.child();
    const stale = status.state === "running" && !runs();
    const shown: Status = stale ? { ...status, state: "idle", progress: null } : status;
    const rows = overRows && theData?.open === true;
    if (theData) drawRows = drawRows ?? statusLine(theData.status, context);
    const resting: Status = { state: "idle", run: null, progress: null, error: null, kept: false };
    // What was stopped is said by the data set's own note, with numbers.
    const told = rows && shown.state !== "cancelled";
    drawRows?.(told ? shown : resting, stopping, false, statusScope);
    const hasResults = spec.results.length > 0 || spec.attention !== null;
    drawLine(rows ? resting : shown, stopping, hasResults, statusScope);
    root.setAttribute("data-status", shown.state);
    root.setAttribute("aria-busy", String(shown.state === "running"));
  };
  const setStatus = (next: Status) => {
    const ended = status.state === "running" && next.state !== "running";
    status = next;
    if (next.run !== null) run = next.run;
    if (next.state !== "running" && partial !== null) {
      partial = null;
      drawPartial();
    }
    if (next.state !== "running") {
      stopping = false;
      run = null;
    }
    drawStatus();
    if (spec.results.length === 0 && partial === null) drawResults(); // the note of an empty panel goes and comes
    showForm();
    if (ended && (next.state === "done" || next.state === "cancelled")) {
      context.announce(t(next.state === "done" ? "status.done" : "status.cancelled"));
    }
  };

  /** What a run in progress has found so far. */
  let partial: readonly Result[] | null = null;
  let resultScope = scope.child();
  const drawPartial = scope.frame(() => drawResults());
  let drawnResults = "";
  const drawResults = () => {
    const live = source.state === "live";
    const found = partial ?? spec.results;
    // The same results stand: a slider in them keeps the hand that moves it.
    const views = live ? spec.attention?.views : null;
    const wanted = JSON.stringify([found, live, views]);
    if (wanted !== drawnResults) {
      drawnResults = wanted;
      resultScope.dispose();
      resultScope = scope.child();
      const actions: ResultActions = {
        apply: live ? apply : null,
        step: toStep,
        fields,
        // What is found so far has no pass of its own yet.
        explain: live && partial === null ? explain() : null,
      };
      // a run renews its results as it goes on: what was opened to be read stays open
      const boxes = () => [...shownResults.querySelectorAll("details")];
      const open = boxes().map((box) => box.open);
      const { activeElement } = shownResults.getRootNode() as ShadowRoot | Document;
      const focused = boxes().findIndex((box) => box.contains(activeElement));
      refill(
        shownResults,
        ...found.map((result) => drawResult(result, context, resultScope, store, actions)),
      );
      for (const [index, box] of boxes().entries()) if (open[index]) box.open = true;
      if (focused >= 0) boxes()[focused]?.querySelector("summary")?.focus({ preventScroll: true });
    }
    refill(results, ...(shownResults.childNodes.length > 0 ? [shownResults] : []));
    const empty =
      partial === null &&
      spec.results.length === 0 &&
      spec.attention === null &&
      spec.job === null &&
      spec.fields.length > 0 &&
      !(spec.dataSet && spec.dataSet.source !== "");
    const resting = status.state === "idle" || status.state === "cancelled";
    if (empty && resting && source.state === "live") {
      results.append(h("p", { class: "note", "data-lmkit": "empty" }, t("form.empty")));
    }
    results.hidden = results.childElementCount === 0;
    refill(warnings, ...spec.warnings.map((text) => h("li", { dir: "auto" }, visibleProse(text))));
    warnings.hidden = spec.warnings.length === 0;
    python.hidden = spec.python === "";
  };

  let strip: { find(): void } | null = null;
  let pictures: { choose(digit: string): void } | null = null;
  let attentionScope = scope.child();
  let drawnAttention = "";
  const drawAttention = () => {
    const { attention } = spec;
    const lens = attention ? lensOf(attention, store.state.lens) : null;
    const wanted = attention
      ? `${fingerprint(spec)}@${lens?.name ?? ""}`
      : `note:${spec.attentionNote}`;
    if (wanted === drawnAttention) return;
    drawnAttention = wanted;
    const hold = explorerHost.hasChildNodes() ? holdPlace() : () => {};
    attentionScope.dispose();
    attentionScope = scope.child();
    strip = null;
    pictures = null;
    refill(tokensHost);
    refill(explorerHost);
    refill(sentenceHost);
    keysButton.hidden = attention === null;
    if (!attention) {
      if (spec.attentionNote !== "") {
        explorerHost.append(
          h(
            "p",
            { class: "note boxed", "data-lmkit": "attention-note", dir: "auto" },
            visibleProse(spec.attentionNote),
          ),
        );
      }
      return;
    }
    // The layer and the head are the user's; tokens of another text are not these tokens.
    const choice = choiceOf(
      attention,
      { ...selectionOf(store.state), tokens: attention.selection.tokens },
      store.state,
    );
    quietly(() => store.set({ ...choice, focus: null, step: null, asked: null }));
    if (!lens) {
      drawSeen({ spec: attention, context });
      hold();
      return;
    }
    const abort = new AbortController();
    attentionScope.add(() => abort.abort(new DOMException("Another is on show.", "AbortError")));
    explorerHost.append(progressBar(null, context, t("lens.loading")));
    through(attention, lens, context, abort.signal).then(
      (seen) => {
        if (abort.signal.aborted) return;
        refill(explorerHost);
        drawSeen(seen);
        hold();
      },
      (error: unknown) => {
        if (abort.signal.aborted) return;
        // A saved output carries the attention itself: that is shown instead.
        if (source.state === "live") context.fail(errorInfo(error));
        store.set({ lens: "", tokens: [] });
      },
    );
  };
  const drawSeen = (seen: Seen) => {
    const model = new HeadModel(seen.spec, store, seen.context, attentionScope);
    strip = tokenStrip(
      tokensHost,
      model,
      model.queries,
      store,
      seen.context,
      attentionScope,
      editedText(),
    );
    if (seen.spec.steps.length > 1) {
      scrubber(tokensHost, seen.spec, store, seen.context, attentionScope);
    }
    pictures = explorer(explorerHost, seen.spec, model, store, seen.context, attentionScope);
    sentence(sentenceHost, model, store, seen.context, attentionScope);
    model.load();
  };
  scope.add(
    store.subscribe((state, before) => {
      if (state.lens !== before.lens) drawAttention();
    }),
  );

  /** Keeps the scroll and the focus over a redraw of the explorer; returns how to restore them. */
  const holdPlace = () => {
    const { scrollTop } = body;
    const page = body.getRootNode();
    const active = page instanceof ShadowRoot ? page.activeElement : null;
    const part =
      active && (tokensHost.contains(active) || explorerHost.contains(active))
        ? active.getAttribute("data-lmkit")
        : null;
    return () => {
      body.scrollTop = scrollTop;
      if (part === null) return;
      const same = body.querySelector<HTMLElement>(`[data-lmkit="${part}"][tabindex="0"]`);
      const next =
        same ?? body.querySelector<HTMLElement>(`[data-lmkit="${part}"], [data-lmkit="picture"]`);
      next?.focus({ preventScroll: true });
    };
  };
  const quietly = (change: () => void) => {
    fromKernel = true;
    try {
      change();
    } finally {
      fromKernel = false;
    }
  };

  const drawJob = jobBar(jobHost, context, scope);
  const drawState = () => {
    drawHeader(header, spec, context);
    drawJob(spec.job);
    root.toggleAttribute("data-job", spec.job !== null);
    const text = savedText(context);
    savedWords.textContent = text;
    rest.draw();
    saved.hidden = text === "";
    footer.hidden = spec.python === "" && spec.attention === null;
    showForm();
    drawStatus();
  };

  /** What was chosen while there was no kernel to tell. */
  const tellSelection = () => {
    const kernels = spec.attention?.selection;
    if (source.state !== "live" || !kernels) return;
    const { layer, head, lens, picture } = store.state;
    if (
      kernels.layer !== layer ||
      kernels.head !== head ||
      kernels.lens !== lens ||
      (kernels.picture || "arcs") !== picture
    ) {
      source.select(selectionOf(store.state));
    }
  };

  const update = (next: PanelSpec) => {
    spec = next;
    if (next.status.state !== "running") partial = null;
    // A page that is loaded again shows what the kernel shows, until its user chooses.
    if (!chosen && next.attention) {
      const { attention } = next;
      quietly(() => store.set(choiceOf(attention, attention.selection, store.state)));
    }
    setStatus(next.status);
    drawForm();
    drawResults();
    drawAttention();
    drawState();
    tellSelection();
    // The kernel takes the values over first, and tells so with the status of the run before.
    if (seek === "running" && next.status.state === "done") {
      seek = "";
      // By hand: scrollIntoView would move what is cut off around the body too, and the page. In
      // the next frame, when the explorer below has its height.
      scope.frame(() => {
        body.scrollTop += formHost.getBoundingClientRect().top - body.getBoundingClientRect().top;
      })();
    }
  };

  // -- events -----------------------------------------------------------------------------------

  const hear = (event: SourceEvent) => {
    if (event.type === "state") {
      if (event.state === "lost" || event.state === "unknown-session") {
        stopping = false;
        if (status.state === "running") setStatus({ ...status, state: "idle", run: null });
      }
      if (event.state === "refill") context.announce(t("saved.refill"));
      drawState();
      drawResults();
    } else if (event.type === "status") {
      if (seek === "asked" && event.status.state === "running") seek = "running";
      setStatus(event.status);
    } else if (event.type === "partial") {
      if (status.state !== "running" || event.run !== run) return;
      partial = event.results;
      drawPartial();
    } else if (event.type === "selected" && spec.attention) {
      const choice = choiceOf(spec.attention, event.selection, store.state);
      quietly(() => store.set(choice));
    }
  };
  scope.add(source.subscribe(hear));

  const commandOf = (event: KeyboardEvent) => {
    const target = event.composedPath()[0];
    const typing =
      target instanceof HTMLTextAreaElement ||
      target instanceof HTMLSelectElement ||
      (target instanceof HTMLInputElement && target.type !== "checkbox");
    return command({
      key: event.key,
      ctrlKey: event.ctrlKey,
      metaKey: event.metaKey,
      altKey: event.altKey,
      typing,
    });
  };
  scope.on<KeyboardEvent>(root, "keydown", (event) => {
    const what = commandOf(event);
    if (!what) return;
    if (what.do === "escape") {
      if (overlay.close()) event.preventDefault();
      else if (store.state.focus || store.state.tokens.length > 0) {
        store.set({ focus: null, tokens: [] });
        event.preventDefault();
      }
      return;
    }
    const { attention } = spec;
    if (!attention) return;
    event.preventDefault();
    event.stopPropagation();
    if (what.do === "layer" || what.do === "head") {
      store.set({ ...stepHead(attention, store.state, what.do, what.step), focus: null });
    } else if (what.do === "picture") {
      pictures?.choose(what.digit);
    } else if (what.do === "scale") {
      const next = MAPPINGS[
        (MAPPINGS.indexOf(store.state.mapping) + 1) % MAPPINGS.length
      ] as Mapping;
      store.set({ mapping: next });
      context.announce(t("scale.now", { mapping: t(`legend.${next}` as MessageKey) }));
    } else if (what.do === "find") {
      strip?.find();
    } else {
      overlay.toggle();
    }
  });

  update(first);
  return update;
}
