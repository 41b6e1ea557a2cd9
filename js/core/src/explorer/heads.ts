/** Several heads of a layer at once: one colour and line style a head, switched on and off. */

import type { Tile, Token } from "@lmkit/protocol";
import type { Context } from "../context.ts";
import { fitCanvas, h, refill, type Scope } from "../dom.ts";
import { three } from "../numbers.ts";
import { mapped, OKABE_ITO } from "../scale.ts";
import type { Store, ViewState } from "../store.ts";
import { shortToken } from "../text.ts";
import { fitLabel } from "./arcs.ts";
import { columns, type Seen } from "./columns.ts";
import type { HeadModel } from "./head-model.ts";
import type { Drawn } from "./pictures.ts";

/** Above this a cell of a head's tile stands for several tokens. */
export const MOST_TOKENS = 512;
export const LEAST = [0.01, 0.02, 0.05, 0.1, 0.2] as const;
const MOST_LINES = 8000;
const BUCKETS = 6;
/** The lines of one token are drawn down to this. */
const FAINT = 0.005;
const DASHES: readonly (readonly number[])[] = [[], [7, 3], [1.5, 3.5]];
const STYLES = ["solid", "dashed", "dotted"] as const;

/** Heads that are on, by their slot; a slot that is empty has null. The slot is the colour. */
export type Slots = readonly (number | null)[];

/** How a slot is drawn: six colours, then the same six dashed, then dotted. */
export function slotStyle(slot: number): { readonly colour: string; readonly dash: number } {
  const { length } = OKABE_ITO;
  return {
    colour: OKABE_ITO[slot % length] as string,
    dash: Math.floor(slot / length) % DASHES.length,
  };
}

/** Switch a head on, in the first free slot, or off; the others keep their colours. */
export function toggled(slots: Slots, head: number): Slots {
  if (slots.includes(head)) return slots.map((one) => (one === head ? null : one));
  const free = slots.indexOf(null);
  return free < 0 ? [...slots, head] : slots.map((one, at) => (at === free ? head : one));
}

/** The heads that are on before anyone chose: the run of six (all colours once) around this one. */
export function firstHeads(head: number, heads: number): readonly number[] {
  const first = head - (head % OKABE_ITO.length);
  return Array.from({ length: Math.min(OKABE_ITO.length, heads - first) }, (_, at) => first + at);
}

/** The lines of a head: cells of at least `least`, and what share of the attention they are. */
export interface Lines {
  readonly queries: Uint16Array;
  readonly keys: Uint16Array;
  readonly weights: Float32Array;
  readonly drawn: number;
  readonly whole: number;
}

export function linesOf(
  tile: Tile,
  queries: readonly number[],
  keys: readonly number[],
  least: number,
): Lines {
  const [q, k, w]: [number[], number[], number[]] = [[], [], []];
  let [drawn, whole] = [0, 0];
  for (const query of queries) {
    for (const key of keys) {
      const weight = tile.at(query, key) ?? 0;
      whole += weight;
      if (weight < least) continue;
      drawn += weight;
      q.push(query);
      k.push(key);
      w.push(weight);
    }
  }
  return {
    queries: Uint16Array.from(q),
    keys: Uint16Array.from(k),
    weights: Float32Array.from(w),
    drawn,
    whole,
  };
}

export function headsView(
  host: HTMLElement,
  model: HeadModel,
  store: Store<ViewState>,
  context: Context,
  scope: Scope,
  height: number,
): Drawn {
  const { t, theme } = context;
  const { layer } = model;
  const all = [...Array(layer.heads).keys()];
  const chosen = store.state.head;
  const slots = (): Slots => store.state.heads ?? firstHeads(chosen, layer.heads);
  const on = (): readonly number[] =>
    slots()
      .filter((head): head is number => head !== null && head < layer.heads)
      .sort((a, b) => a - b);
  const headStyle = (head: number) => slotStyle(slots().indexOf(head));

  // -- legend -----------------------------------------------------------------------------------

  const items = all.map((head) => {
    const box = h("input", { type: "checkbox", "data-lmkit": "heads-toggle", "data-head": head });
    const swatch = h("span", { class: "heads-swatch", "aria-hidden": "true" });
    const value = h("span", { class: "heads-value" });
    const label = h(
      "label",
      { class: "heads-item", title: t("lines.head", { head }) },
      box,
      swatch,
      `${head}`,
      value,
    );
    scope.on(box, "change", () => store.set({ heads: toggled(slots(), head) }));
    return { head, box, label, swatch, value };
  });
  const button = (text: string, heads: () => readonly number[]) => {
    const element = h("button", { type: "button", class: "quiet" }, text);
    scope.on(element, "click", () => store.set({ heads: heads() }));
    return element;
  };
  const least = h(
    "select",
    { "data-lmkit": "heads-least", "aria-label": t("lines.least") },
    ...LEAST.map((value) => h("option", { value }, `≥ ${value}`)),
  );
  scope.on(least, "change", () => store.set({ least: Number(least.value) }));
  const note = h("p", { class: "note", "data-lmkit": "heads-note" });
  const legend = h(
    "div",
    { class: "heads-legend", role: "group", "aria-label": t("lines.legend") },
    ...items.map((item) => item.label),
    h(
      "span",
      { class: "heads-tools" },
      button(t("lines.all"), () => all),
      button(t("lines.none"), () => []),
      button(t("lines.only", { head: chosen }), () => [chosen]),
      least,
    ),
  );
  const canvas = h("canvas", { "aria-hidden": "true", "data-lmkit": "picture-canvas" });
  const scroller = h("div", {
    class: "heads-stage",
    tabindex: 0,
    role: "application",
    "aria-label": t("lines.stage", { n: layer.heads }),
    "data-lmkit": "heads-stage",
  });
  host.append(legend, scroller, note);

  // -- numbers ----------------------------------------------------------------------------------

  const tiles = new Map<number, Tile>();
  const asked = new Set<number>();
  const failed = new Set<number>();
  const lines = new Map<number, Lines>();
  const want = () => {
    for (const head of on()) {
      if (tiles.has(head) || asked.has(head) || failed.has(head)) continue;
      const key = model.keyOf(head);
      if (!context.source.reaches(key)) {
        failed.add(head);
        continue;
      }
      asked.add(head);
      const abort = new AbortController();
      scope.add(() => abort.abort(new DOMException("No longer on show.", "AbortError")));
      context.source.tile(key, abort.signal, true).then(
        (tile) => {
          asked.delete(head);
          if (tile.shape.length === 2) tiles.set(head, tile);
          else failed.add(head);
          redraw();
        },
        () => {
          if (abort.signal.aborted) return;
          asked.delete(head);
          failed.add(head);
          redraw();
        },
      );
    }
  };
  const linesFor = (head: number): Lines | null => {
    const known = lines.get(head);
    if (known) return known;
    const tile = tiles.get(head);
    if (!tile) return null;
    const made = linesOf(tile, table.queries, table.keys, store.state.least);
    lines.set(head, made);
    return made;
  };

  /** What is read now of one head: weights over the tokens of one side. */
  const reading = (): { side: "query" | "key"; at(head: number, index: number): number } | null => {
    const { focus, tokens } = store.state;
    const value = (head: number, query: number, key: number) =>
      tiles.get(head)?.at(query, key) ?? 0;
    if (focus?.query != null) {
      const { query } = focus;
      return { side: "key", at: (head, index) => value(head, query, index) };
    }
    if (focus?.key != null) {
      const { key } = focus;
      return { side: "query", at: (head, index) => value(head, index, key) };
    }
    if (tokens.length === 0) return null;
    const mean = (head: number, index: number) =>
      tokens.reduce((sum, query) => sum + value(head, query, index), 0) / tokens.length;
    return { side: "key", at: mean };
  };
  const strongest = (read: NonNullable<ReturnType<typeof reading>>, head: number) => {
    const list = read.side === "key" ? table.keys : table.queries;
    let best = { index: -1, value: 0 };
    for (const index of list) {
      const value = read.at(head, index);
      if (value > best.value) best = { index, value };
    }
    return best;
  };

  // -- drawing ----------------------------------------------------------------------------------

  /** Labels as they fit, by side, place and room: measuring text is most of a frame. */
  const labels = new Map<string, string>();
  const barWidth = () => Math.max(3, Math.min(6, Math.floor(84 / Math.max(1, on().length))));
  const bars = () => on().length * barWidth() + 6;
  let redraw = () => {};
  const table = columns(scroller, canvas, model, store, context, scope, height - 40, {
    more: bars,
    measured() {
      lines.clear();
      labels.clear();
    },
    redraw: () => redraw(),
  });

  const drawLegend = () => {
    const heads = new Set(on());
    const read = reading();
    for (const { head, box, label, swatch, value } of items) {
      box.checked = heads.has(head);
      const { colour, dash } = headStyle(head);
      swatch.style.borderTop = heads.has(head) ? `3px ${STYLES[dash]} ${colour}` : "";
      const off = failed.has(head) && !tiles.has(head);
      label.classList.toggle("off", off);
      label.title = off ? t("head.notcarried") : t("lines.head", { head });
      const best = read && heads.has(head) && tiles.has(head) ? strongest(read, head) : null;
      value.textContent = best && best.index >= 0 ? three(best.value) : "";
      if (best && best.index >= 0 && read) {
        const tokens = read.side === "key" ? model.keys : model.queries;
        value.title = shortToken(tokens[best.index]?.text ?? "");
      }
    }
    least.value = String(store.state.least);
    let [drawn, whole] = [0, 0];
    for (const head of heads) {
      const found = linesFor(head);
      drawn += found?.drawn ?? 0;
      whole += found?.whole ?? 0;
    }
    const lost = [...heads].filter((head) => failed.has(head));
    note.textContent =
      heads.size === 0
        ? t("lines.off")
        : [
            asked.size > 0 ? t("lines.loading") : "",
            lost.length > 0 ? t("lines.lost", { heads: lost.join(", ") }) : "",
            whole > 0
              ? t("lines.dropped", {
                  least: store.state.least,
                  drawn: percent(drawn / whole),
                  dropped: percent(1 - drawn / whole),
                })
              : "",
          ]
            .filter((part) => part !== "")
            .join(t.locale.startsWith("zh") ? "" : " ");
  };
  const percent = (part: number) =>
    new Intl.NumberFormat(t.locale, { style: "percent", maximumSignificantDigits: 2 }).format(part);

  const draw = () => {
    want();
    drawLegend();
    const { width, left, right, view, column } = table.geometry();
    if (width < 10 || view < 10) return;
    const drawing = fitCanvas(canvas, width, view);
    if (!drawing) return;
    const { current } = theme;
    const { focus, tokens, mapping } = store.state;
    const { rowHeight, top, middle } = table;
    const seen = table.seen();
    const places = (list: readonly number[], count: number) => {
      const out = new Int32Array(count).fill(-1);
      for (const [row, index] of list.entries()) out[index] = row;
      return out;
    };
    const queryRow = places(table.queries, layer.queries);
    const keyRow = places(table.keys, layer.keys);
    const inSight = (row: number, range: Seen) => row >= range.from && row < range.to;
    const onlyQuery = focus?.query ?? null;
    const onlyKey = focus?.query == null ? (focus?.key ?? null) : null;
    const some =
      onlyQuery === null && onlyKey === null && tokens.length > 0 ? new Set(tokens) : null;

    // For each head and strength one path: rows of queries and keys in pairs.
    const heads = on();
    const paths = heads.map(() => Array.from({ length: BUCKETS }, (): number[] => []));
    const counts = new Int32Array(BUCKETS);
    const add = (at: number, query: number, key: number, weight: number) => {
      const bucket = Math.min(BUCKETS - 1, Math.floor(mapped(weight, mapping) * BUCKETS));
      ((paths[at] as number[][])[bucket] as number[]).push(query, key);
      counts[bucket] = (counts[bucket] as number) + 1;
    };
    for (const [at, head] of heads.entries()) {
      const tile = tiles.get(head);
      if (!tile) continue;
      if (onlyQuery !== null || onlyKey !== null) {
        const list = onlyQuery !== null ? table.keys : table.queries;
        for (const index of list) {
          const [query, key] = onlyQuery !== null ? [onlyQuery, index] : [index, onlyKey as number];
          const weight = tile.at(query, key) ?? 0;
          const [q, k] = [queryRow[query] ?? -1, keyRow[key] ?? -1];
          if (weight >= FAINT && q >= 0 && k >= 0) add(at, q, k, weight);
        }
        continue;
      }
      const found = linesFor(head);
      if (!found) continue;
      for (let one = 0; one < found.weights.length; one += 1) {
        const query = found.queries[one] as number;
        if (some && !some.has(query)) continue;
        const [q, k] = [queryRow[query] as number, keyRow[found.keys[one] as number] as number];
        if (inSight(q, seen.queries) || inSight(k, seen.keys)) {
          add(at, q, k, found.weights[one] as number);
        }
      }
    }
    let from = 0;
    let lineCount = counts.reduce((sum, one) => sum + one, 0);
    while (lineCount > MOST_LINES && from < BUCKETS - 1) {
      lineCount -= counts[from] as number;
      from += 1;
    }
    const [x0, x1] = [left + 2, right - 2];
    const bend = (x1 - x0) * 0.45;
    // Strong lines last, whatever their head: none hides under another's faint ones.
    for (let bucket = from; bucket < BUCKETS; bucket += 1) {
      const strength = (bucket + 0.5) / BUCKETS;
      for (const [at, head] of heads.entries()) {
        const path = (paths[at] as number[][])[bucket] as number[];
        if (path.length === 0) continue;
        const { colour, dash } = headStyle(head);
        drawing.strokeStyle = colour;
        drawing.setLineDash([...(DASHES[dash] as readonly number[])]);
        drawing.globalAlpha = 0.12 + 0.8 * strength;
        drawing.lineWidth = 0.6 + 2.6 * strength * strength;
        // Heads beside each other, so that equal lines of two heads are both seen.
        const shift = Math.max(-4, Math.min(4, (at - (heads.length - 1) / 2) * 1.1));
        drawing.beginPath();
        for (let one = 0; one < path.length; one += 2) {
          const y0 = middle(path[one] as number) + shift;
          const y1 = middle(path[one + 1] as number) + shift;
          drawing.moveTo(x0, y0);
          drawing.bezierCurveTo(x0 + bend, y0, x1 - bend, y1, x1, y1);
        }
        drawing.stroke();
      }
    }
    drawing.globalAlpha = 1;
    drawing.setLineDash([]);

    const read = reading();
    const chosenTokens = new Set(tokens);
    drawing.textBaseline = "middle";
    drawing.font = `12px ${current.fontCode}`;
    const bar = barWidth();
    const side = (
      which: "query" | "key",
      list: readonly number[],
      range: Seen,
      tokensOf: readonly Token[],
    ) => {
      const isQuery = which === "query";
      const room = column - bars() - 8;
      for (let row = range.from; row < range.to; row += 1) {
        const index = list[row] as number;
        const token = tokensOf[index] as Token;
        const y = top(row);
        if (read?.side === which) {
          const start = isQuery ? left - bars() + 3 : right + 3;
          for (const [at, head] of heads.entries()) {
            const value = read.at(head, index);
            const size = mapped(value, mapping) * (rowHeight - 3);
            const { colour, dash } = headStyle(head);
            const x = start + at * bar;
            drawing.fillStyle = current.line;
            drawing.fillRect(x, y + rowHeight - 2, bar - 1, 1);
            if (size < 0.5) continue;
            if (dash === 0) {
              drawing.fillStyle = colour;
              drawing.fillRect(x, y + rowHeight - 2 - size, bar - 1, size);
            } else {
              // Hollow: the same colour serves another head, whose lines are dashed.
              drawing.strokeStyle = colour;
              drawing.lineWidth = 1;
              drawing.strokeRect(x + 0.5, y + rowHeight - 2.5 - size, bar - 2, size);
            }
          }
        }
        const focused = isQuery ? focus?.query === index : focus?.key === index;
        const x = isQuery ? 2 : right + bars();
        if (focused || (isQuery && chosenTokens.has(index))) {
          drawing.strokeStyle = current.mark;
          drawing.lineWidth = 2;
          drawing.strokeRect(x + 1, y + 2, column - bars() - 4, rowHeight - 4);
        }
        drawing.fillStyle = token.special ? current.muted : current.ink;
        drawing.textAlign = isQuery ? "right" : "left";
        const name = `${which}/${index}/${room}`;
        const label = labels.get(name) ?? fitLabel(drawing, token.text, room);
        labels.set(name, label);
        drawing.fillText(
          label,
          isQuery ? left - bars() - 4 : right + bars() + 4,
          middle(row) + 0.5,
        );
      }
    };
    side("query", table.queries, seen.queries, model.queries);
    side("key", table.keys, seen.keys, model.keys);
  };

  scope.on<KeyboardEvent>(scroller, "keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !table.key(event)) return;
    event.preventDefault();
    event.stopPropagation();
    const said = say();
    if (said !== null) context.announce(said);
  });
  const say = (): string | null => {
    const read = reading();
    const { focus } = store.state;
    if (!read || !focus) return null;
    const tokens = read.side === "key" ? model.keys : model.queries;
    const subject =
      read.side === "key" ? model.queries[focus.query ?? 0] : model.keys[focus.key ?? 0];
    const parts = on().flatMap((head) => {
      const best = strongest(read, head);
      if (best.index < 0) return [];
      return t("lines.say", {
        head,
        token: shortToken(tokens[best.index]?.text ?? ""),
        value: three(best.value),
      });
    });
    return `${shortToken(subject?.text ?? "")}: ${parts.join(", ")}`;
  };
  scope.add(
    store.subscribe((state, before) => {
      if (state.least !== before.least) lines.clear();
      if (state.heads !== before.heads) redraw();
    }),
  );
  redraw = scope.sized(scroller, draw);
  scope.add(model.subscribe(redraw));
  scope.add(theme.subscribe(redraw));
  refill(note, t("lines.loading"));
  return { key: table.key, say };
}
