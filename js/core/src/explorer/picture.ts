/** The main picture: which head, the tabs of all pictures, and every state between them. */

import type { AttentionSpec, ViewInfo } from "@lmkit/protocol";
import type { Context } from "../context.ts";
import { bdi, h, refill, type Scope, uniqueId } from "../dom.ts";
import { errorText } from "../errors.ts";
import type { MessageKey } from "../messages.ts";
import { restButton } from "../panel/rest.ts";
import type { Store, ViewState } from "../store.ts";
import { visibleLabel } from "../text.ts";
import { type Answers, analysis } from "./analysis.ts";
import type { HeadModel } from "./head-model.ts";
import { cellText } from "./heatmap.ts";
import { headName, layerLabel, stepHead } from "./layers.ts";
import { type Drawn, PICTURES, type PictureKind, pictureNote, pictureOf } from "./pictures.ts";
import { reading, sentenceText } from "./sentence.ts";

/** As tall as a short text needs, and taller for a longer one as far as the width allows. */
function pictureHeight(width: number, tokens: number): number {
  return Math.round(
    Math.min(Math.max(260, width * 0.72), Math.max(296, Math.min(360, tokens * 22 + 26))),
  );
}

export function picture(
  host: HTMLElement,
  spec: AttentionSpec,
  model: HeadModel,
  store: Store<ViewState>,
  context: Context,
  scope: Scope,
): { focus(): void; choose(digit: string): void } {
  const { t } = context;
  const bodyId = uniqueId("picture");

  // -- toolbar ----------------------------------------------------------------------------------

  const stepper = (what: "layer" | "head") => {
    const value = h("output", { class: "stepper-value", "data-lmkit": `${what}-number` });
    const button = (by: 1 | -1) => {
      const name = `${what}.${by > 0 ? "next" : "previous"}` as MessageKey;
      const element = h(
        "button",
        {
          type: "button",
          class: "step",
          "aria-label": t(name),
          title: t(name),
          "data-lmkit": `${what}-${by > 0 ? "next" : "previous"}`,
        },
        by > 0 ? "›" : "‹",
      );
      scope.on(element, "click", () => {
        store.set({ ...stepHead(spec, store.state, what, by), focus: null });
      });
      return element;
    };
    const element = h(
      "span",
      { class: "stepper" },
      h("span", { class: "stepper-name" }, t(`${what}.word` as MessageKey)),
      button(-1),
      value,
      button(1),
    );
    return { element, value };
  };
  const layerStep = stepper("layer");
  const headStep = stepper("head");

  const tabs = PICTURES.map(({ name, title, digit }) =>
    h(
      "button",
      {
        type: "button",
        class: "tab",
        role: "tab",
        id: uniqueId("tab"),
        "data-lmkit": `tab-${name}`,
        "aria-controls": bodyId,
        "aria-keyshortcuts": digit,
      },
      t(title),
    ),
  );
  const tablist = h(
    "div",
    { class: "tabs", role: "tablist", "aria-label": t("picture.tabs") },
    ...tabs,
  );
  const why = h("p", { class: "note", "data-lmkit": "picture-why" });
  why.hidden = true;
  /** Choose a picture; one that this layer does not have says why instead. */
  const choose = (kind: PictureKind) => {
    const reason = kind.available(spec, store.state.layer, t);
    why.textContent = reason ?? "";
    why.hidden = reason === null;
    if (reason === null) store.set({ picture: kind.name, focus: null });
    else context.announce(reason);
  };
  for (const [index, tab] of tabs.entries()) {
    scope.on(tab, "click", () => choose(PICTURES[index] as PictureKind));
    scope.on<KeyboardEvent>(tab, "keydown", (event) => {
      if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
      const next = (index + (event.key === "ArrowRight" ? 1 : -1) + tabs.length) % tabs.length;
      choose(PICTURES[next] as PictureKind);
      tabs[next]?.focus();
      event.preventDefault();
    });
  }

  // Views of plugins: as many as are installed, so a list rather than tabs.
  const more = h(
    "select",
    {
      class: "views",
      "data-lmkit": "views",
      "aria-label": t("views.label"),
      title: t("views.label"),
    },
    h("option", { value: "" }, t("views.more")),
    ...spec.views.map((view) => {
      const option = h("option", { value: view.name }, visibleLabel(view.title));
      option.disabled = view.reason !== "";
      option.title = view.reason;
      return option;
    }),
  );
  more.hidden = spec.views.length === 0;
  scope.on(more, "change", () => {
    store.set({ picture: more.value || (PICTURES[0] as PictureKind).name, focus: null });
  });
  const answers: Answers = new Map();
  const viewOf = (name: string): ViewInfo | undefined =>
    spec.views.find((view) => view.name === name && view.reason === "");
  const beside = h("div", { class: "analysis", "data-lmkit": "analysis" });
  beside.hidden = true;

  const stage = h("div", {
    class: "stage",
    role: "application",
    tabindex: 0,
    "data-lmkit": "picture",
  });
  const panel = h("div", { id: bodyId, role: "tabpanel" }, stage, beside);
  host.append(
    h("div", { class: "picture-bar" }, layerStep.element, headStep.element, tablist, more),
    why,
    panel,
  );

  // -- body -------------------------------------------------------------------------------------

  let inner: Scope = scope.child();
  let drawn: Drawn | null = null;
  let showing = "";

  const message = (text: string, extra: Node | null = null, name = "picture-note") => {
    pictureNote(stage, text, extra, name);
  };

  const loading = () => {
    const bar = h("progress", { "aria-label": t("loading.head") });
    message(t("loading.head"), bar, "picture-loading");
  };

  const render = () => {
    const { layer, head } = store.state;
    const view = viewOf(store.state.picture);
    const kind = view ? null : pictureOf(store.state.picture);
    const reason = kind?.available(spec, layer, t) ?? null;
    more.value = view?.name ?? "";
    more.classList.toggle("on", view !== undefined);
    stage.hidden = view !== undefined;
    beside.hidden = view === undefined;
    layerStep.value.textContent = layerLabel(spec, layer);
    headStep.value.textContent = String(head);
    for (const [index, tab] of tabs.entries()) {
      const one = PICTURES[index] as PictureKind;
      const on = one === kind;
      const why = on ? reason : one.available(spec, layer, t);
      // Not `disabled`: a tab that cannot be reached cannot say why it is off.
      if (why === null) tab.removeAttribute("aria-disabled");
      else tab.setAttribute("aria-disabled", "true");
      tab.title = why ?? `${t(one.title)} (${one.digit})`;
      tab.setAttribute("aria-selected", String(on));
      tab.tabIndex = on || (view && index === 0) ? 0 : -1;
      if (on) panel.setAttribute("aria-labelledby", tab.id);
    }
    if (!kind) {
      if (view) renderView(view);
      return;
    }
    stage.setAttribute(
      "aria-label",
      t("picture.label", {
        head: headName(spec, layer, head, t),
        picture: t(kind.title).toLowerCase(),
      }),
    );
    stage.setAttribute("aria-busy", String(model.status === "loading"));
    const kernel =
      model.status === "missing"
        ? context.source.rest
        : kind.asksKernel(model)
          ? context.source.state
          : "";
    const wanted = `${layer}/${head}/${kind.name}/${model.status}/${kernel}`;
    if (wanted === showing && model.status !== "error") return;
    showing = wanted;
    inner.dispose();
    inner = scope.child();
    drawn = null;
    stage.setAttribute("data-state", model.status);
    // Not before it is needed: to ask for a width has the browser lay out all that was changed.
    const reserve = (): number => {
      const longest = Math.max(model.layer.queries, model.layer.keys);
      const height = pictureHeight(host.clientWidth || 480, longest);
      stage.style.minHeight = `${height}px`;
      return height;
    };
    if (reason !== null) {
      reserve();
      message(reason, null, "picture-unavailable");
      return;
    }
    if (model.status === "loading") {
      // The last picture stays for a moment: most heads come before the eye sees a gap.
      const wait = () => {
        reserve();
        loading();
      };
      // A head that came with the output is unpacked in less than 50 ms.
      inner.add(inner.later(stage.childElementCount ? 120 : 50, wait));
      return;
    }
    const height = reserve();
    if (model.status === "missing") {
      const rest = restButton(context, inner);
      message(t("head.notcarried"), rest.element.hidden ? null : rest.element, "head-missing");
      return;
    }
    if (model.status === "error") {
      const retry = h("button", { type: "button" }, t("retry"));
      inner.on(retry, "click", () => model.load());
      const hint = model.error?.hint ? `\n${model.error.hint}` : "";
      const said = model.error ? errorText(model.error, t) : t("error.title");
      message(`${said}${hint}`, retry, "picture-error");
      return;
    }
    refill(stage);
    drawn = kind.mount(stage, model, store, context, inner, height);
  };

  const renderView = (view: ViewInfo) => {
    const wanted = `view ${view.name} ${context.source.state}`;
    if (wanted === showing) return;
    showing = wanted;
    inner.dispose();
    inner = scope.child();
    drawn = null;
    panel.removeAttribute("aria-labelledby");
    analysis(beside, view, store, context, inner, answers);
  };

  /** What is on show, in words. */
  const titleNow = () => {
    const view = viewOf(store.state.picture);
    return view ? visibleLabel(view.title) : t(pictureOf(store.state.picture).title).toLowerCase();
  };

  let byKey = false;
  const sayFocus = () => {
    if (!byKey) return;
    const { state } = store;
    const own = drawn?.say?.();
    if (own) {
      context.announce(own);
      return;
    }
    const cell = cellText(model, state, context);
    if (cell) {
      context.announce(cell);
      return;
    }
    const read = reading(model, state);
    if (read) context.announce(sentenceText(read, state.hideSpecials, t));
  };

  scope.on<KeyboardEvent>(stage, "keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target !== stage || !drawn) return;
    byKey = true;
    if (drawn.key(event)) {
      event.preventDefault();
      event.stopPropagation();
    }
  });
  scope.on(stage, "pointermove", () => {
    byKey = false;
  });

  scope.add(
    store.subscribe((state, before) => {
      if (
        state.layer !== before.layer ||
        state.head !== before.head ||
        state.picture !== before.picture
      ) {
        why.hidden = true;
        render();
        const name = headName(spec, state.layer, state.head, t);
        context.announce(
          t("picture.label", {
            head: name,
            picture: titleNow(),
          }),
        );
      }
      if (state.focus !== before.focus || state.tokens !== before.tokens) sayFocus();
    }),
  );
  scope.add(
    model.subscribe(() => {
      render();
      sayFocus();
    }),
  );
  scope.add(
    context.source.subscribe((event) => {
      if (event.type === "state") render();
    }),
  );
  render();

  return {
    focus() {
      stage.focus({ preventScroll: true });
    },
    choose(digit) {
      const kind = PICTURES.find((one) => one.digit === digit);
      if (kind) choose(kind);
    },
  };
}

/** One line on the layer on show. */
export function layerInfo(model: HeadModel, context: Context): HTMLElement {
  const { layer } = model;
  const { t } = context;
  const more = [
    layer.causal ? t("layer.causal") : "",
    layer.window === null ? "" : t("layer.info.window", { window: layer.window }),
  ].filter((part) => part !== "");
  const text = t(layer.kvHeads === layer.heads ? "layer.info" : "layer.info.kv", {
    name: layer.name,
    role: t(`role.${layer.role}` as MessageKey),
    queries: layer.queries,
    keys: layer.keys,
    heads: layer.heads,
    kv: layer.kvHeads,
  });
  return bdi([text, ...more].join(", "));
}
