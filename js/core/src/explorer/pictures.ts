/** The pictures of a head: one list that the tabs, the keys and the help overlay are made of. */

import type { AttentionSpec } from "@lmkit/protocol";
import type { Context } from "../context.ts";
import { h, refill, type Scope } from "../dom.ts";
import type { MessageKey, Translate } from "../messages.ts";
import type { Store, ViewState } from "../store.ts";
import { arcs } from "./arcs.ts";
import type { HeadModel } from "./head-model.ts";
import { headsView, MOST_TOKENS } from "./heads.ts";
import { heatmap } from "./heatmap.ts";
import { neuron } from "./neuron.ts";

/** A picture that is drawn now; its scope ends it. */
export interface Drawn {
  /** A key pressed while the stage itself has the focus; true where the picture took it. */
  key(event: KeyboardEvent): boolean;
  /** What to say when the cursor has moved by a key; null for the sentence of the panel. */
  say?(): string | null;
}

/** One kind of picture of a head. */
export interface PictureKind {
  /** What `ViewState.picture` holds and test selectors end in. */
  readonly name: string;
  readonly title: MessageKey;
  /** The key that chooses it. */
  readonly digit: string;
  /** Why this layer cannot be drawn so, as one sentence; null where it can. */
  available(spec: AttentionSpec, layer: number, t: Translate): string | null;
  /** True where the picture of this head is another one with a kernel than without. */
  asksKernel(model: HeadModel): boolean;
  /**
   * Draw into `host` (empty, positioned) at about `height` CSS pixels until `scope` ends.
   * Called when the numbers of the head are there; again for another head and, where it
   * `asksKernel`, when the kernel comes or goes.
   */
  mount(
    host: HTMLElement,
    model: HeadModel,
    store: Store<ViewState>,
    context: Context,
    scope: Scope,
    height: number,
  ): Drawn;
}

/** A sentence in place of a picture, with a button or a bar below it. */
export function pictureNote(
  host: HTMLElement,
  text: string,
  extra: Node | null = null,
  name = "picture-note",
): void {
  refill(host, h("div", { class: "empty", "data-lmkit": name }, h("p", {}, text), extra));
}

const STILL: Drawn = { key: () => false };

export const PICTURES: readonly PictureKind[] = [
  {
    name: "arcs",
    title: "picture.arcs",
    digit: "1",
    available: () => null,
    asksKernel: (model) => model.pooled,
    mount(host, model, store, context, scope, height) {
      if (!model.pooled || model.live) return arcs(host, model, store, context, scope, height);
      const text = context.t("picture.arcs.pooled", { n: model.layer.queries });
      pictureNote(host, text, null, "arcs-pooled");
      return STILL;
    },
  },
  {
    name: "map",
    title: "picture.map",
    digit: "2",
    available: () => null,
    asksKernel: (model) => model.pooled,
    mount: heatmap,
  },
  {
    name: "neuron",
    title: "picture.neuron",
    digit: "3",
    available(spec, layer, t) {
      if (spec.layers[layer]?.hasQk) return null;
      return t("sides" in spec ? "neuron.lens" : "neuron.unavailable");
    },
    asksKernel: () => true,
    mount: neuron,
  },
  {
    name: "heads",
    title: "picture.heads",
    digit: "4",
    available(spec, layer, t) {
      const { heads = 1, queries = 0, keys = 0 } = spec.layers[layer] ?? {};
      if (heads < 2) return t("lines.one");
      if (spec.scale !== "share") return t("lines.scale");
      const most = Math.max(queries, keys);
      return most > MOST_TOKENS ? t("lines.long", { n: most, most: MOST_TOKENS }) : null;
    },
    asksKernel: () => true,
    mount: headsView,
  },
];

/** The picture of a name; the first for a name that is not there. */
export function pictureOf(name: string): PictureKind {
  return PICTURES.find((kind) => kind.name === name) ?? (PICTURES[0] as PictureKind);
}
