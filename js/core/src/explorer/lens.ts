/**
 * A pass seen through a lens: a spec and a source of the same kind, so that every picture draws it
 * as it draws the attention itself.
 */

import type { AttentionSpec, LayerSpec, LensSpec, Tile, Token } from "@lmkit/protocol";
import type { Context } from "../context.ts";
import { h, type Scope, uniqueId } from "../dom.ts";
import { givesTiles, type Source } from "../source.ts";
import type { Store, ViewState } from "../store.ts";
import { visibleLabel, visibleProse } from "../text.ts";
import { layerTokens, type Sides } from "./head-model.ts";

/** What is drawn: the spec, and a context whose tiles are those of the lens. */
export interface Seen {
  readonly spec: AttentionSpec;
  readonly context: Context;
}

/** The lens of this name, if the pass can be seen through it. */
export function lensOf(spec: AttentionSpec, name: string): LensSpec | null {
  return spec.lenses.find((lens) => lens.name === name && lens.reason === "") ?? null;
}

/** One token for several: their texts, with a space where the text has one between them. */
export function joined(tokens: readonly Token[]): Token {
  const first = tokens[0] as Token;
  if (tokens.length === 1) return first;
  let text = "";
  let end = first.start;
  for (const token of tokens) {
    const gap = text !== "" && token.start > end && !/^\s/.test(token.text);
    text += (gap ? " " : "") + token.text;
    end = Math.max(end, token.end);
  }
  return {
    text,
    raw: "",
    special: tokens.every((token) => token.special),
    word: first.word,
    start: first.start,
    end,
  };
}

/** The tokens of a lens: for each of the pass's tokens its place in the lens, -1 where it has none. */
export function grouped(tokens: readonly Token[], places: ArrayLike<number>): readonly Token[] {
  const groups: Token[][] = [];
  for (const [index, token] of tokens.entries()) {
    const place = places[index] ?? -1;
    if (place < 0) continue;
    while (groups.length <= place) groups.push([]);
    groups[place]?.push(token);
  }
  return groups.filter((group) => group.length > 0).map(joined);
}

function throughSource(source: Source, lens: string): Source {
  const named = (key: string) => `${key}@${lens}`;
  return {
    get state() {
      return source.state;
    },
    get reason() {
      return source.reason;
    },
    get kernelVersion() {
      return source.kernelVersion;
    },
    saved: source.saved,
    get rest() {
      return source.rest;
    },
    askForRest: () => source.askForRest(),
    get answers() {
      return source.answers;
    },
    reaches: (key) => source.reaches(named(key)),
    has: (key) => source.has(named(key)),
    tile: (key, signal, background) => source.tile(named(key), signal, background),
    run: (values) => source.run(values),
    edit: (values) => source.edit(values),
    cancel: (run) => source.cancel(run),
    select: (selection) => source.select(selection),
    action: (name, argument) => source.action(name, argument),
    openRows: (name) => source.openRows(name),
    runRows: (mapping, values) => source.runRows(mapping, values),
    reportRows: (values) => source.reportRows(values),
    query: (...asked) => source.query(...asked),
    exportAs: (...asked) => source.exportAs(...asked),
    carried: (spec) => source.carried(spec),
    subscribe: (listener) => source.subscribe(listener),
    close() {},
  };
}

/** The pass through a lens; asks the kernel which tokens the lens has, where they are its own. */
export async function through(
  spec: AttentionSpec,
  lens: LensSpec,
  context: Context,
  signal: AbortSignal,
): Promise<Seen> {
  const source = throughSource(context.source, lens.name);
  const sides: Partial<Record<LayerSpec["role"], Sides>> = {};
  if (lens.grouped) {
    const places = async (kind: string, layer: number): Promise<Tile["values"]> =>
      (await source.tile(`${kind}/${layer}`, signal)).values;
    for (const [index, layer] of spec.layers.entries()) {
      if (sides[layer.role]) continue;
      const { queries, keys } = layerTokens(spec, layer);
      const [rows, columns] = [
        await places("query-groups", index),
        await places("key-groups", index),
      ];
      const of = grouped(queries, rows);
      // One list where both sides are the same tokens: pictures and strip draw it once.
      const same = queries === keys && rows.every((place, at) => place === columns[at]);
      sides[layer.role] = { queries: of, keys: same ? of : grouped(keys, columns) };
    }
  }
  const layers = spec.layers.map((layer): LayerSpec => {
    const side = sides[layer.role];
    const size = side ? { queries: side.queries.length, keys: side.keys.length } : {};
    return { ...layer, ...size, hasQk: false, hasValues: false };
  });
  const steps = lens.grouped ? [] : spec.steps;
  const seen = { ...spec, layers, steps, scale: lens.scale, sides };
  return { spec: seen, context: { ...context, source } };
}

/** The list of lenses. */
export function lensChooser(
  spec: AttentionSpec,
  store: Store<ViewState>,
  context: Context,
  scope: Scope,
): HTMLElement | null {
  const { t, source } = context;
  if (spec.lenses.length === 0) return null;
  const id = uniqueId("lens");
  const select = h(
    "select",
    { id, "data-lmkit": "lens" },
    h("option", { value: "" }, t(spec.scale === "difference" ? "lens.difference" : "lens.none")),
    ...spec.lenses.map((lens) => h("option", { value: lens.name }, visibleLabel(lens.title))),
  );
  const note = h("p", { class: "note", "data-lmkit": "lens-note", dir: "auto" });
  // A saved output may carry what was looked through last: thumbnails come with its head.
  const carried = (name: string) => {
    const { layer, head } = spec.selection;
    return source.has(`head/${layer}/${head}@${name}`);
  };
  const show = () => {
    const lens = lensOf(spec, store.state.lens);
    const live = givesTiles(source.state);
    select.value = lens?.name ?? "";
    for (const [index, { name, reason, help }] of spec.lenses.entries()) {
      const option = select.options[index + 1] as HTMLOptionElement;
      const absent = !live && name !== lens?.name && !carried(name);
      option.disabled = reason !== "" || absent;
      option.title = reason || (absent ? t("view.live") : help);
    }
    select.disabled =
      !live && spec.lenses.every(({ name }) => name !== lens?.name && !carried(name));
    select.title = live ? "" : t("lens.saved");
    note.textContent = lens ? visibleProse(lens.help) : "";
    note.hidden = !lens;
  };
  scope.on(select, "change", () => {
    store.set({ lens: select.value, tokens: [], focus: null, step: null });
    context.announce(select.selectedOptions[0]?.textContent ?? "");
  });
  scope.add(store.subscribe(show));
  scope.add(
    source.subscribe((event) => {
      if (event.type === "state") show();
    }),
  );
  show();
  return h(
    "div",
    { class: "lens" },
    h("div", { class: "lens-line" }, h("label", { for: id }, t("lens.label")), select),
    note,
  );
}
