/** Names and order of layers: an encoder-decoder has three kinds, listed one kind after the other. */

import type { AttentionSpec, LayerSpec } from "@lmkit/protocol";
import type { MessageKey, Translate } from "../messages.ts";
import { type Cursor, step } from "./keys.ts";

export type Role = LayerSpec["role"];

const ROLES: readonly Role[] = ["encoder", "decoder", "cross"];
const LETTERS: Readonly<Record<Role, string>> = { encoder: "E", decoder: "D", cross: "X" };

type Layers = { readonly layers: readonly Pick<LayerSpec, "role">[] };
type Group = { readonly role: Role; readonly layers: readonly number[] };

/** Asked for the name of every cell of the grid: once a list of layers is enough. */
const groups = new WeakMap<Layers["layers"], readonly Group[]>();

/** The layers of each role that there is, as indices of the spec, in the order of the pass. */
export function layerGroups({ layers }: Layers): readonly Group[] {
  let found = groups.get(layers);
  if (!found) {
    found = ROLES.map((role) => ({
      role,
      layers: [...layers.keys()].filter((index) => layers[index]?.role === role),
    })).filter((group) => group.layers.length > 0);
    groups.set(layers, found);
  }
  return found;
}

/** All layers in the order in which the grid lists them. */
export function layerOrder(spec: Layers): readonly number[] {
  return layerGroups(spec).flatMap((group) => group.layers);
}

/** The short name of a layer: its number, with a letter for its role where there are several. */
export function layerLabel(spec: Layers, layer: number): string {
  const groups = layerGroups(spec);
  if (groups.length < 2) return String(layer);
  const role = spec.layers[layer]?.role ?? "encoder";
  const group = groups.find((one) => one.role === role);
  return `${LETTERS[role]}${group?.layers.indexOf(layer) ?? layer}`;
}

/** The next layer or head in the order of the grid. */
export function stepHead(
  spec: AttentionSpec,
  at: Cursor,
  what: "layer" | "head",
  by: 1 | -1,
): Cursor {
  return inGrid(spec, at, (place, heads) => step(place, what, by, heads)) ?? at;
}

/** Move in the grid, whose rows are the layers in `layerOrder`; null where `move` says so. */
export function inGrid(
  spec: AttentionSpec,
  at: Cursor,
  move: (place: Cursor, heads: readonly number[]) => Cursor | null,
): Cursor | null {
  const order = layerOrder(spec);
  const heads = order.map((layer) => spec.layers[layer]?.heads ?? 1);
  const to = move({ layer: order.indexOf(at.layer), head: at.head }, heads);
  return to && { layer: order[to.layer] ?? at.layer, head: to.head };
}

/** "Layer 3, head 7", or "Layer X1, head 7, cross-attention". */
export function headName(spec: AttentionSpec, layer: number, head: number, t: Translate): string {
  const name = t("head.name", { layer: layerLabel(spec, layer), head });
  if (layerGroups(spec).length < 2) return name;
  const role = spec.layers[layer]?.role ?? "encoder";
  return t("head.name.role", { name, role: t(`role.${role}` as MessageKey) });
}

/** What stands above a column or beside a map: of cross-attention it says whose tokens they are. */
export function sideName(side: "query" | "key", layer: LayerSpec, t: Translate): string {
  const name = t(side === "query" ? "picture.queries" : "picture.keys");
  if (layer.role !== "cross") return name;
  return t("picture.side", { name, role: t(side === "query" ? "role.decoder" : "role.encoder") });
}
