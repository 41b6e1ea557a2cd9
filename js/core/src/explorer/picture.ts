/** The main picture: which head, its tabs, and the arcs or the map with every state between. */

import type { AttentionSpec } from "@lmkit/protocol";
import type { Context } from "../context.ts";
import { bdi, h, refill, type Scope, uniqueId } from "../dom.ts";
import type { MessageKey } from "../messages.ts";
import type { Picture, Store, ViewState } from "../store.ts";
import { arcs } from "./arcs.ts";
import type { HeadModel } from "./head-model.ts";
import { cellText, heatmap } from "./heatmap.ts";
import { step } from "./keys.ts";
import { reading, sentenceText } from "./sentence.ts";

const PICTURES: readonly Picture[] = ["arcs", "map"];

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
): { focus(): void } {
  const { t } = context;
  const heads = spec.layers.map((layer) => layer.heads);
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
        store.set({ ...step(store.state, what, by, heads), focus: null });
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

  const tabs = PICTURES.map((name) =>
    h(
      "button",
      {
        type: "button",
        class: "tab",
        role: "tab",
        id: uniqueId("tab"),
        "data-lmkit": `tab-${name}`,
        "aria-controls": bodyId,
      },
      t(`picture.${name}` as MessageKey),
    ),
  );
  const tablist = h(
    "div",
    { class: "tabs", role: "tablist", "aria-label": t("picture.tabs") },
    ...tabs,
  );
  for (const [index, tab] of tabs.entries()) {
    scope.on(tab, "click", () => store.set({ picture: PICTURES[index] as Picture, focus: null }));
    scope.on<KeyboardEvent>(tab, "keydown", (event) => {
      if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
      const next = (index + (event.key === "ArrowRight" ? 1 : -1) + tabs.length) % tabs.length;
      store.set({ picture: PICTURES[next] as Picture, focus: null });
      tabs[next]?.focus();
      event.preventDefault();
    });
  }

  const stage = h("div", {
    class: "stage",
    role: "application",
    tabindex: 0,
    "data-lmkit": "picture",
  });
  const panel = h("div", { id: bodyId, role: "tabpanel" }, stage);
  host.append(
    h("div", { class: "picture-bar" }, layerStep.element, headStep.element, tablist),
    panel,
  );

  // -- body -------------------------------------------------------------------------------------

  let inner: Scope = scope.child();
  let drawn: { key(event: KeyboardEvent): boolean } | null = null;
  let showing = "";

  const message = (text: string, extra: Node | null = null, name = "picture-note") => {
    refill(stage, h("div", { class: "empty", "data-lmkit": name }, h("p", {}, text), extra));
  };

  const loading = () => {
    refill(
      stage,
      h(
        "div",
        { class: "empty", "data-lmkit": "picture-loading" },
        h("p", {}, t("loading.head")),
        h("progress", { "aria-label": t("loading.head") }),
      ),
    );
  };

  const render = () => {
    const { picture: name, layer, head } = store.state;
    layerStep.value.textContent = String(layer);
    headStep.value.textContent = String(head);
    for (const [index, tab] of tabs.entries()) {
      const on = PICTURES[index] === name;
      tab.setAttribute("aria-selected", String(on));
      tab.tabIndex = on ? 0 : -1;
      if (on) panel.setAttribute("aria-labelledby", tab.id);
    }
    stage.setAttribute(
      "aria-label",
      t("picture.label", {
        head: t("head.name", { layer, head }),
        picture: t(`picture.${name}` as MessageKey).toLowerCase(),
      }),
    );
    stage.setAttribute("aria-busy", String(model.status === "loading"));
    const wanted = `${layer}/${head}/${name}/${model.status}/${context.source.state}`;
    if (wanted === showing && model.status !== "error") return;
    showing = wanted;
    inner.dispose();
    inner = scope.child();
    drawn = null;
    const longest = Math.max(model.layer.queries, model.layer.keys);
    const height = pictureHeight(host.clientWidth || 480, longest);
    stage.style.minHeight = `${height}px`;
    stage.setAttribute("data-state", model.status);
    if (model.status === "loading") {
      // The last picture stays for a moment: most heads come before the eye sees a gap.
      const cancel = inner.later(stage.childElementCount ? 120 : 0, loading);
      inner.add(cancel);
      return;
    }
    if (model.status === "missing") {
      message(t("head.notcarried"), null, "head-missing");
      return;
    }
    if (model.status === "error") {
      const retry = h("button", { type: "button" }, t("retry"));
      inner.on(retry, "click", () => model.load());
      const hint = model.error?.hint ? `\n${model.error.hint}` : "";
      message(`${model.error?.message ?? t("error.title")}${hint}`, retry, "picture-error");
      return;
    }
    refill(stage);
    if (name === "map") {
      drawn = heatmap(stage, model, store, context, inner, height);
    } else if (model.pooled && !model.live) {
      message(t("picture.arcs.pooled", { n: model.layer.queries }), null, "arcs-pooled");
    } else {
      drawn = arcs(stage, model, store, context, inner, height);
    }
  };

  let byKey = false;
  const sayFocus = () => {
    if (!byKey) return;
    const { state } = store;
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
        render();
        const name = t("head.name", { layer: state.layer, head: state.head });
        context.announce(
          t("picture.label", {
            head: name,
            picture: t(`picture.${state.picture}` as MessageKey).toLowerCase(),
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
