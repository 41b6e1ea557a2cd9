/** The head view: queries left, keys right, a line for each weight. One canvas, however long. */

import type { Token } from "@lmkit/protocol";
import type { Context } from "../context.ts";
import { fitCanvas, h, type Scope } from "../dom.ts";
import { quoted } from "../numbers.ts";
import { css, placeOn, type Rgb, rampOf, strengthOf } from "../scale.ts";
import type { Store, ViewState } from "../store.ts";
import { shortToken } from "../text.ts";
import { columns } from "./columns.ts";
import type { HeadModel } from "./head-model.ts";
import { horizon } from "./scrubber.ts";
import { reading } from "./sentence.ts";

const BUCKETS = 24;
/** Fainter lines are left out where all lines are drawn: they would only grey the picture. */
const FAINT = 0.06;
const MOST_LINES = 6000;

/** The share of light of a colour, to put readable text on it. */
export function inkOn(colour: Rgb): string {
  const light = (0.2126 * colour[0] + 0.7152 * colour[1] + 0.0722 * colour[2]) / 255;
  return light > 0.5 ? "#111" : "#fff";
}

const FITTED = 8192;
const fitted = new Map<string, string>();

/** A token in at most `width` pixels of the context's font. */
export function fitLabel(context: CanvasRenderingContext2D, text: string, width: number): string {
  // Measuring text is most of what a picture of tokens costs, and the next head has the same ones.
  const name = `${context.font} ${width} ${text}`;
  let found = fitted.get(name);
  if (found === undefined) {
    found = fit(context, text, width);
    if (fitted.size >= FITTED) fitted.clear();
    fitted.set(name, found);
  }
  return found;
}

function fit(context: CanvasRenderingContext2D, text: string, width: number): string {
  let label = shortToken(text, 40);
  if (context.measureText(label).width <= width) return label;
  const points = [...label];
  let [low, high] = [0, points.length];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    label = `${points.slice(0, middle).join("")}…`;
    if (context.measureText(label).width <= width) low = middle;
    else high = middle - 1;
  }
  return `${points.slice(0, low).join("")}…`;
}

export function arcs(
  host: HTMLElement,
  model: HeadModel,
  store: Store<ViewState>,
  context: Context,
  scope: Scope,
  height: number,
): { key(event: KeyboardEvent): boolean } {
  const { theme } = context;
  const canvas = h("canvas", { "aria-hidden": "true", "data-lmkit": "picture-canvas" });
  let labels: { query: Map<number, string>; key: Map<number, string>; width: number } | null = null;
  let redraw = () => {};
  const table = columns(host, canvas, model, store, context, scope, height, {
    measured() {
      labels = null;
    },
    redraw: () => redraw(),
  });

  const draw = () => {
    const { width, left, right, view, column } = table.geometry();
    if (width < 10 || view < 10) return;
    const drawing = fitCanvas(canvas, width, view);
    if (!drawing) return;
    const { current } = theme;
    const { state } = store;
    const { queries, keys, rowHeight, top, middle } = table;
    const { queries: seenQueries, keys: seenKeys } = table.seen();

    const { focus, tokens, mapping } = state;
    const chosen = new Set(tokens);
    const onlyQuery = focus?.query ?? null;
    const onlyKey = focus?.query == null ? (focus?.key ?? null) : null;
    const single = onlyQuery !== null || onlyKey !== null;

    if (model.pooled) {
      const list = queries.slice(seenQueries.from, seenQueries.to);
      const [a, b] = [list[0], list[list.length - 1]];
      if (a !== undefined && b !== undefined) model.wantRows(a, b + 1);
    }

    // Lines, faint ones first, in a bucket for each strength: one path and one opacity each.
    // Differences below zero have buckets of their own, for their own colour.
    const { numbers } = model;
    const ramp = rampOf(numbers, current);
    const buckets: number[][] = Array.from({ length: 2 * BUCKETS }, () => []);
    let lines = 0;
    const add = (row: number, column: number, value: number) => {
      const strength = strengthOf(value, mapping, numbers);
      if (strength < (single ? 0.01 : FAINT)) return;
      lines += 1;
      const step = 2 * Math.min(BUCKETS - 1, Math.floor(strength * BUCKETS));
      (buckets[step + Number(value < 0)] as number[]).push(row, column);
    };
    const wantedQuery = (query: number) =>
      onlyQuery !== null
        ? query === onlyQuery
        : onlyKey !== null || chosen.size === 0 || chosen.has(query);
    for (const [row, query] of queries.entries()) {
      if (!wantedQuery(query)) continue;
      const seen = row >= seenQueries.from && row < seenQueries.to;
      const [from, to] = seen ? [0, keys.length] : [seenKeys.from, seenKeys.to];
      for (let column = from; column < to; column += 1) {
        const key = keys[column] as number;
        if (onlyKey !== null && key !== onlyKey) continue;
        const value = model.value(query, key);
        if (value) add(row, column, value.value);
      }
    }
    const ends = [ramp[ramp.length - 1] as Rgb, ramp[0] as Rgb];
    drawing.lineCap = "round";
    const [x0, x1] = [left + 6, right - 6];
    const bend = (x1 - x0) * 0.45;
    let skipped = Math.max(0, lines - MOST_LINES);
    for (const [index, bucket] of buckets.entries()) {
      if (bucket.length === 0) continue;
      if (skipped > 0) {
        skipped -= bucket.length / 2;
        continue;
      }
      const strength = (Math.floor(index / 2) + 0.5) / BUCKETS;
      drawing.strokeStyle = css(ends[index % 2] as Rgb);
      drawing.globalAlpha = strength;
      drawing.lineWidth = 0.5 + 3 * strength * strength;
      drawing.beginPath();
      for (let at = 0; at < bucket.length; at += 2) {
        const [y0, y1] = [middle(bucket[at] as number), middle(bucket[at + 1] as number)];
        drawing.moveTo(x0, y0);
        drawing.bezierCurveTo(x0 + bend, y0, x1 - bend, y1, x1, y1);
      }
      drawing.stroke();
    }
    drawing.globalAlpha = 1;

    // Tokens, with the values of what is read now beside them.
    const read = reading(model, state);
    const future = horizon(model, state);
    drawing.textBaseline = "middle";
    drawing.font = `12px ${current.fontCode}`;
    const room = column - 12;
    if (!labels || labels.width !== room)
      labels = { query: new Map(), key: new Map(), width: room };
    const known = labels;
    const side = (
      which: "query" | "key",
      list: readonly number[],
      seen: { from: number; to: number },
      all: readonly Token[],
    ) => {
      const isQuery = which === "query";
      const values = read && read.direction === (isQuery ? "from" : "to") ? read.values : null;
      for (let row = seen.from; row < seen.to; row += 1) {
        const index = list[row] as number;
        const token = all[index] as Token;
        let label = known[which].get(index);
        if (label === undefined) {
          label = fitLabel(drawing, token.text, room - 6);
          known[which].set(index, label);
        }
        const [x, y] = [isQuery ? 2 : right, top(row)];
        const width = isQuery ? left - 2 : column - 2;
        let ink = token.special ? current.muted : current.ink;
        // What did not exist yet at the step on show; the keys of cross-attention always did.
        const later = (isQuery || model.layer.role !== "cross") && index >= future;
        drawing.globalAlpha = later ? 0.35 : 1;
        if (values) {
          const value = values.values[index] ?? 0;
          const colour = ramp[placeOn(value, mapping, numbers)] as Rgb;
          drawing.fillStyle = css(colour);
          drawing.fillRect(x, y + 1, width, rowHeight - 2);
          if (strengthOf(value, mapping, numbers) > 0.4) ink = inkOn(colour);
        }
        const focused = isQuery ? focus?.query === index : focus?.key === index;
        if (focused || (isQuery && chosen.has(index))) {
          drawing.strokeStyle = current.mark;
          drawing.lineWidth = 2;
          drawing.strokeRect(x + 1, y + 2, width - 2, rowHeight - 4);
        }
        drawing.fillStyle = ink;
        drawing.textAlign = isQuery ? "right" : "left";
        drawing.fillText(label, isQuery ? left - 6 : right + 5, middle(row) + 0.5);
        if (values) {
          const value = values.values[index] ?? 0;
          // The number lies among the lines, on the page's own colour.
          const text = quoted(value, values.exact);
          if (strengthOf(value, mapping, numbers) >= 0.1) {
            const textX = isQuery ? left + 10 : right - 10;
            drawing.textAlign = isQuery ? "left" : "right";
            const measure = drawing.measureText(text).width;
            drawing.fillStyle = current.background;
            drawing.globalAlpha = 0.85;
            drawing.fillRect(
              isQuery ? textX - 2 : textX - measure - 2,
              y + 3,
              measure + 4,
              rowHeight - 6,
            );
            drawing.globalAlpha = 1;
            drawing.fillStyle = current.ink;
            drawing.fillText(text, textX, middle(row) + 0.5);
          }
        }
        drawing.globalAlpha = 1;
      }
    };
    side("query", queries, seenQueries, model.queries);
    side("key", keys, seenKeys, model.keys);
  };
  redraw = scope.sized(host, draw);
  scope.add(model.subscribe(redraw));
  scope.add(theme.subscribe(redraw));
  return { key: table.key };
}
