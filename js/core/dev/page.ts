/** The page of the looking script: mounts one made-up view as the query says. */

import type { AttentionSpec, ViewSpec } from "@lmkit/protocol";
import { mount, mountBundle, mountLive } from "../src/index.ts";
import { KernelSource } from "../src/source.ts";
import { FakeKernel, saveTile, VIEWS } from "./samples.ts";

const query = new URLSearchParams(location.search);
const name = query.get("view") ?? "short";
const mode = query.get("mode") ?? "live";
const theme = (query.get("theme") ?? "light") as "light" | "dark";
const locale = query.get("locale") ?? "en";
const width = Number(query.get("width") ?? 860);
document.body.style.background = theme === "dark" ? "#15181c" : "#ffffff";
document.body.style.margin = "8px";
const element = document.getElementById("view") as HTMLElement;
element.style.width = `${width}px`;

const where = { session: "s", view: "v" };
const options = { theme, locale };

async function savedTiles(
  attention: AttentionSpec | null,
  heads: readonly (readonly [number, number])[],
) {
  if (!attention) return [];
  const keys = attention.layers.map((_, layer) => `thumb/${layer}`);
  for (const [layer, head] of heads) keys.push(`head/${layer}/${head}`);
  return Promise.all(keys.map((key) => saveTile(attention, key)));
}

async function start(): Promise<void> {
  if (mode === "loading") {
    const silent = new FakeKernel((VIEWS["empty"] as () => ViewSpec)(), 1e8);
    mountLive(element, where, silent, options);
    return;
  }
  if (mode === "broken") {
    mountBundle(element, { protocol: 9, version: "9" }, null, options);
    return;
  }
  if (mode === "bundle") {
    mountBundle(
      element,
      JSON.parse((globalThis as { bundle?: string }).bundle ?? ""),
      null,
      options,
    );
    return;
  }
  const spec = (VIEWS[name] as () => ViewSpec)();
  if (mode === "saved") {
    const attention = spec.kind === "panel" ? spec.attention : null;
    const selection = attention?.selection;
    const heads = selection ? [[selection.layer, selection.head] as const] : [];
    const tiles = await savedTiles(attention, heads);
    const total = attention?.layers.reduce((sum, layer) => sum + layer.heads, 0) ?? 0;
    const bundle = {
      version: "0.1.0",
      spec,
      tiles,
      live: where,
      heads: total,
      headsCarried: heads.length,
    };
    mountBundle(element, JSON.parse(JSON.stringify(bundle)), null, options);
    return;
  }
  const kernel = new FakeKernel(spec, Number(query.get("delay") ?? 5));
  Object.assign(globalThis, { kernel });
  const source = new KernelSource({ where, channel: kernel, spec });
  Object.assign(globalThis, { undo: mount(element, spec, source, options) });
}

void start();
