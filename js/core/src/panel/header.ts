/** The first line: task, model, shape, device, how the attention was obtained, live or saved. */

import type { LayerSpec, PanelSpec } from "@lmkit/protocol";
import type { Context } from "../context.ts";
import { bdi, h, refill } from "../dom.ts";
import { layerGroups } from "../explorer/layers.ts";
import type { MessageKey, Translate } from "../messages.ts";
import { count, deviation } from "../numbers.ts";
import { VERSION } from "../source.ts";
import { head, visibleProse } from "../text.ts";

/** Above this the captured attention is not called exact. */
const EXACT = 1e-2;

/** How the attention was obtained, in words. */
export function pathText(path: string, difference: number | null, t: Translate): string {
  if (difference === null) return t("header.own", { path });
  const key = difference <= EXACT ? "header.exact" : "header.differs";
  return t(key, { path, deviation: deviation(difference) });
}

/**
 * "6 layers × 12 heads", "6 encoder + 6 decoder + 6 cross-attention layers × 8 heads"; a range of heads
 * where layers differ.
 */
export function shapeText(
  layers: readonly Pick<LayerSpec, "heads" | "role">[],
  t: Translate,
): string {
  const counts = layers.map((layer) => layer.heads);
  const [least, most] = [Math.min(...counts), Math.max(...counts)];
  const heads = least === most ? most : `${least}–${most}`;
  const groups = layerGroups({ layers });
  if (groups.length < 2) return t("header.shape", { layers: layers.length, heads });
  const parts = groups.map((group) =>
    t("header.shape.part", {
      n: group.layers.length,
      role: t(`role.${group.role}` as MessageKey),
    }),
  );
  return t("header.shape.roles", { parts: parts.join(" + "), heads });
}

function short(text: string): string {
  const start = head(text, 80);
  return visibleProse(start.cut ? `${start.text}…` : text);
}

export function drawHeader(host: HTMLElement, spec: PanelSpec, context: Context): void {
  const { t, source } = context;
  const { header, attention } = spec;
  const fact = (text: string, name: string, title = "") =>
    text === "" ? null : bdi(text, { class: "fact", "data-lmkit": name, title: title || null });
  refill(
    host,
    h("h2", { class: "title" }, bdi(short(header.title))),
    fact(short(header.model), "model", visibleProse(header.model.slice(0, 1000))),
    attention ? fact(shapeText(attention.layers, t), "shape") : null,
    attention
      ? fact(
          t.plural("header.tokens", attention.tokens.text.length, {
            n: count(attention.tokens.text.length, t.locale),
          }),
          "token-count",
        )
      : null,
    fact(
      [header.device, header.dtype]
        .filter((part) => part !== "")
        .map(short)
        .join(", "),
      "device",
    ),
    attention
      ? h(
          "bdi",
          {
            class:
              attention.deviation !== null && attention.deviation > EXACT ? "fact warn" : "fact",
            "data-lmkit": "path",
          },
          pathText(short(attention.path), attention.deviation, t),
        )
      : null,
    badge(context),
  );
  host.setAttribute("data-state", source.state);
}

/** Live, saved or connecting, in a word. */
export function badge(context: Context): HTMLElement {
  const { t, source } = context;
  return h(
    "span",
    { class: `badge ${source.state}`, "data-lmkit": "badge", "data-state": source.state },
    t(`badge.${source.state}` as MessageKey),
  );
}

/** The sentence on a view that is not live, or whose two sides differ; empty for a live one. */
export function savedText(context: Context): string {
  const { t, source } = context;
  if (source.state === "live") {
    const kernel = source.kernelVersion;
    return kernel === "" || kernel === VERSION
      ? ""
      : t("live.differs", { page: VERSION, kernel: visibleProse(kernel) });
  }
  const first =
    source.state === "connecting"
      ? t("saved.connecting")
      : source.state === "lost"
        ? t("saved.lost")
        : source.state === "refill"
          ? t("saved.refill")
          : source.reason !== ""
            ? visibleProse(source.reason)
            : (context.host.saved ?? t("saved.note"));
  const { saved } = source;
  if (!saved || saved.heads === 0) return first;
  const second =
    saved.carried >= saved.heads
      ? t("saved.carries.all", { heads: saved.heads })
      : saved.carried === 0
        ? t("saved.carries.none")
        : t("saved.carries", { carried: saved.carried, heads: saved.heads });
  return t.locale.startsWith("zh") ? `${first}${second}` : `${first} ${second}`;
}
