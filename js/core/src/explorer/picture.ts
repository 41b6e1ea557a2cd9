/** The main picture: which head, the tabs of all pictures, and every state between them. */

import type { AttentionSpec, ViewInfo } from "@lmkit/protocol";
import type { Context } from "../context.ts";
import { bdi, h, refill, type Scope, uniqueId } from "../dom.ts";
import type { MessageKey } from "../messages.ts";
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
