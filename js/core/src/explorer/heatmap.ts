/** The head as a map: one cell for each query (down) and key (across), sharp at every zoom. */

import type { Token } from "@lmkit/protocol";
import type { Context } from "../context.ts";
import { bdi, fitCanvas, h, pixelRatio, refill, type Scope } from "../dom.ts";
import { exact, quoted, three } from "../numbers.ts";
import { clickToken, type Store, type ViewState } from "../store.ts";
import { shortToken } from "../text.ts";
import { fitLabel } from "./arcs.ts";
import { shown } from "./columns.ts";
import { paintBlock, positions } from "./draw.ts";
import type { HeadModel } from "./head-model.ts";
import { sideName } from "./layers.ts";
import { horizon } from "./scrubber.ts";

const FONT = 11;
const LEFT = 84;
const TOP = 64;
const BARE = 18;
const LABELLED = 11;

interface Layout {
  readonly x: number;
  readonly y: number;
  readonly cell: number;
  readonly labels: boolean;
  readonly rows: number;
  readonly columns: number;
}

/** Place a map of so many cells in a box: square cells, token labels where they fit. */
export function layoutMap(
  width: number,
  height: number,
  rows: number,
  columns: number,
  ratio: number,
): Layout {
  const fit = (left: number, top: number) =>
    Math.min((width - left - 6) / Math.max(1, columns), (height - top - 4) / Math.max(1, rows), 36);
  const whole = (cell: number) =>
    cell * ratio >= 1 ? Math.floor(cell * ratio) / ratio : Math.max(cell, 0.01);
  const labelled = whole(fit(LEFT, TOP));
  if (labelled >= LABELLED) {
    return { x: LEFT, y: TOP, cell: labelled, labels: true, rows, columns };
  }
  return { x: BARE, y: BARE, cell: whole(fit(BARE, BARE)), labels: false, rows, columns };
}

/** The tokens first to last (excluded) of one bin of many: the kernel's `bin_edges`. */
export function binSpan(
  bin: number,
  bins: number,
  length: number,
): { first: number; last: number } {
  return {
    first: Math.floor((bin * length) / bins),
    last: Math.floor(((bin + 1) * length) / bins),
  };
}

/** The bin that a token lies in: the inverse of `binSpan`. */
export function binOf(token: number, bins: number, length: number): number {
  return Math.floor(((token + 1) * bins - 1) / length);
}

export function heatmap(
  host: HTMLElement,
  model: HeadModel,
  store: Store<ViewState>,
  context: Context,
  scope: Scope,
  height: number,
): { key(event: KeyboardEvent): boolean } {
  const { theme, t } = context;
  const base = h("canvas", { "aria-hidden": "true", "data-lmkit": "picture-canvas" });
  const over = h("canvas", { "aria-hidden": "true", class: "over" });
  const tip = h("div", { class: "tip", "data-lmkit": "tooltip", "aria-hidden": "true" });
  tip.hidden = true;
  const frame = h("div", { class: "map-frame" }, base, over, tip);
  const note = h("p", { class: "note" });
  host.append(frame, note);
  frame.style.height = `${height}px`;

  let queries: readonly number[] = [];
  let keys: readonly number[] = [];
  let layout: Layout = layoutMap(100, 100, 1, 1, 1);
  let anchor: number | null = null;

  const measure = () => {
    const tile = model.tile;
    if (!tile) return;
    const hide = store.state.hideSpecials && !model.pooled;
    const [rows, columns] = tile.shape as [number, number];
    queries = model.pooled
      ? Array.from({ length: rows }, (_, row) => row)
      : shown(model.queries, hide).filter((index) => index < rows);
    keys = model.pooled
      ? Array.from({ length: columns }, (_, column) => column)
      : shown(model.keys, hide).filter((index) => index < columns);
    const ratio = pixelRatio();
    layout = layoutMap(frame.clientWidth, height, queries.length, keys.length, ratio);
    note.hidden = !model.pooled;
    if (model.pooled) {
      note.textContent = t("picture.pooled", {
        rows: Math.ceil(model.layer.queries / rows),
        columns: Math.ceil(model.layer.keys / columns),
      });
    }
  };

  /** The tokens first to last (excluded) that a cell of one axis stands for. */
  const block = (which: "query" | "key", position: number): { first: number; last: number } => {
    const list = which === "query" ? queries : keys;
    const index = list[position] ?? 0;
    if (!model.pooled) return { first: index, last: index + 1 };
    const whole = which === "query" ? model.layer.queries : model.layer.keys;
    return binSpan(position, list.length, whole);
  };
  const name = (tokens: readonly Token[], span: { first: number; last: number }): string => {
    const first = shortToken(tokens[span.first]?.text ?? "");
    if (span.last - span.first <= 1) return first;
    return `${first} … ${shortToken(tokens[span.last - 1]?.text ?? "")} (${span.first}–${span.last - 1})`;
  };

  const draw = () => {
    measure();
    const tile = model.tile;
    const width = frame.clientWidth;
    if (!tile || width < 10) return;
    const drawing = fitCanvas(base, width, height);
    fitCanvas(over, width, height);
    if (!drawing) return;
    const { current } = theme;
    const ratio = pixelRatio();
    const { x, y, cell, labels } = layout;
    const columns = tile.shape[1] ?? 0;
    let cells = positions(tile, 0, tile.values.length, store.state.mapping);
    if (!model.pooled && (queries.length < (tile.shape[0] ?? 0) || keys.length < columns)) {
      const kept = new Uint8Array(queries.length * keys.length);
      for (const [row, query] of queries.entries()) {
        for (const [column, key] of keys.entries()) {
          kept[row * keys.length + column] = cells[query * columns + key] as number;
        }
      }
      cells = kept;
    }
    const [w, hgt] = [cell * keys.length, cell * queries.length];
    paintBlock(
      drawing,
      cells,
      keys.length,
      queries.length,
      current.ramp,
      Math.round(x * ratio),
      Math.round(y * ratio),
      Math.round(w * ratio),
      Math.round(hgt * ratio),
    );
    drawing.strokeStyle = current.line;
    drawing.lineWidth = 1;
    drawing.strokeRect(x - 0.5, y - 0.5, w + 1, hgt + 1);
    drawing.textBaseline = "middle";
    if (labels) {
      drawing.font = `${Math.min(12, Math.max(10, cell - 1, FONT))}px ${current.fontCode}`;
      for (const [row, query] of queries.entries()) {
        const token = model.queries[query] as Token;
        drawing.fillStyle = token.special ? current.muted : current.ink;
        drawing.textAlign = "right";
        drawing.fillText(
          fitLabel(drawing, token.text, LEFT - 10),
          x - 6,
          y + (row + 0.5) * cell + 0.5,
        );
      }
      for (const [column, key] of keys.entries()) {
        const token = model.keys[key] as Token;
        drawing.save();
        drawing.translate(x + (column + 0.5) * cell + 0.5, y - 6);
        drawing.rotate(-Math.PI / 2);
        drawing.fillStyle = token.special ? current.muted : current.ink;
        drawing.textAlign = "left";
        drawing.fillText(fitLabel(drawing, token.text, TOP - 10), 0, 0);
        drawing.restore();
      }
    } else {
      drawing.font = `${FONT}px ${current.fontUi}`;
      drawing.fillStyle = current.muted;
      drawing.textAlign = "left";
      drawing.fillText(`${sideName("key", model.layer, t)} →`, x, y - 9);
      drawing.save();
      drawing.translate(x - 9, y);
      drawing.rotate(-Math.PI / 2);
      drawing.textAlign = "right";
      drawing.fillText(`← ${sideName("query", model.layer, t)}`, 0, 0);
      drawing.restore();
    }
    drawOver();
  };

  const drawOver = () => {
    const at = cursor();
    if (at && at.row !== null && at.column !== null) showTip(at.row, at.column);
    else tip.hidden = true;
    const drawing = fitCanvas(over, frame.clientWidth, height);
    if (!drawing) return;
    const { x, y, cell } = layout;
    const { current } = theme;
    const [w, hgt] = [cell * keys.length, cell * queries.length];
    const future = horizon(model, store.state);
    const past = model.pooled
      ? binOf(Math.min(future, model.layer.queries) - 1, queries.length, model.layer.queries) + 1
      : queries.filter((query) => query < future).length;
    if (past < queries.length) {
      drawing.fillStyle = current.background;
      drawing.globalAlpha = 0.7;
      drawing.fillRect(x, y + past * cell, w, hgt - past * cell);
      drawing.globalAlpha = 1;
    }
    drawing.fillStyle = current.mark;
    for (const token of store.state.tokens) {
      const row = model.pooled ? -1 : queries.indexOf(token);
      if (row >= 0) drawing.fillRect(x - 4, y + row * cell, 3, Math.max(2, cell));
    }
    if (!at) return;
    const { row, column } = at;
    const size = Math.max(cell, 2);
    drawing.strokeStyle = current.mark;
    drawing.lineWidth = 1;
    if (cell < 5) {
      // One line each: two would cover more of the map than they point at.
      drawing.globalAlpha = 0.7;
      if (row !== null) drawing.fillRect(x, y + (row + 0.5) * cell - 0.5, w, 1);
      if (column !== null) drawing.fillRect(x + (column + 0.5) * cell - 0.5, y, 1, hgt);
      drawing.globalAlpha = 1;
    } else {
      if (row !== null) drawing.strokeRect(x, y + row * cell - 0.5, w, size + 1);
      if (column !== null) drawing.strokeRect(x + column * cell - 0.5, y, size + 1, hgt);
    }
    if (row !== null && column !== null) {
      drawing.lineWidth = 2;
      drawing.strokeRect(x + column * cell, y + row * cell, size, size);
    }
  };
  const redraw = scope.frame(draw);
  const redrawOver = scope.frame(drawOver);

  /** Where the store's focus lies in this map. */
  const cursor = (): { row: number | null; column: number | null } | null => {
    const { focus } = store.state;
    if (!focus) return null;
    const place = (which: "query" | "key"): number | null => {
      const index = focus[which];
      if (index === null) return null;
      const list = which === "query" ? queries : keys;
      if (!model.pooled) {
        const position = list.indexOf(index);
        return position < 0 ? null : position;
      }
      const whole = which === "query" ? model.layer.queries : model.layer.keys;
      return binOf(index, list.length, whole);
    };
    return { row: place("query"), column: place("key") };
  };

  const cellValue = (row: number, column: number) => {
    if (model.pooled) {
      const value = model.tile?.at(row, column);
      return value === undefined ? null : { value, exact: false };
    }
    return model.value(queries[row] ?? 0, keys[column] ?? 0);
  };

  const showTip = (row: number, column: number) => {
    const found = cellValue(row, column);
    if (!found) return;
    refill(
      tip,
      h(
        "span",
        { class: "tip-names" },
        bdi(name(model.queries, block("query", row)), { class: "code" }),
        " → ",
        bdi(name(model.keys, block("key", column)), { class: "code" }),
      ),
      h(
        "span",
        { class: "tip-value", "data-lmkit": "value", "data-exact": String(found.exact) },
        found.exact ? exact(found.value) : quoted(found.value, false),
      ),
    );
    tip.hidden = false;
    const { x, y, cell } = layout;
    const [px, py] = [x + (column + 1) * cell, y + (row + 1) * cell];
    const width = tip.offsetWidth;
    const high = tip.offsetHeight;
    const room = frame.clientWidth;
    const left = px + 8 + width > room ? Math.max(0, x + column * cell - width - 8) : px + 8;
    const above = py + 6 + high > height ? Math.max(0, y + row * cell - high - 6) : py + 6;
    tip.style.transform = `translate(${Math.round(left)}px, ${Math.round(above)}px)`;
  };

  // -- pointer and keyboard ---------------------------------------------------------------------

  const put = (row: number, column: number) => {
    const query = block("query", row).first;
    const key = block("key", column).first;
    const { focus } = store.state;
    if (focus?.query === query && focus?.key === key) return;
    store.set({ focus: { query, key } });
    if (!model.pooled) model.want(query);
  };
  const hit = (event: MouseEvent): { row: number; column: number } | null => {
    const box = frame.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left - layout.x) / layout.cell);
    const row = Math.floor((event.clientY - box.top - layout.y) / layout.cell);
    const inside =
      (layout.labels ? column >= -8 : column >= 0) &&
      row >= 0 &&
      row < queries.length &&
      column < keys.length;
    return inside ? { row, column } : null;
  };
  scope.on<PointerEvent>(frame, "pointermove", (event) => {
    const at = hit(event);
    if (at && at.column >= 0) put(at.row, at.column);
    else if (at && event.clientX >= frame.getBoundingClientRect().left) {
      const query = block("query", at.row).first;
      store.set({ focus: { query, key: null } });
      if (!model.pooled) model.want(query);
    } else store.set({ focus: null });
  });
  scope.on(frame, "pointerleave", () => store.set({ focus: null }));
  scope.on<MouseEvent>(frame, "click", (event) => {
    const at = hit(event);
    if (!at || model.pooled) return;
    const query = queries[at.row] ?? 0;
    const held = { shift: event.shiftKey, toggle: event.ctrlKey || event.metaKey };
    store.set({ tokens: clickToken(store.state.tokens, query, anchor, held) });
    if (!event.shiftKey) anchor = query;
  });
  const key = (event: KeyboardEvent): boolean => {
    const at = cursor();
    const [row, column] = [at?.row ?? 0, at?.column ?? 0];
    const moves: Record<string, readonly [number, number]> = {
      ArrowUp: [-1, 0],
      ArrowDown: [1, 0],
      ArrowLeft: [0, -1],
      ArrowRight: [0, 1],
      PageUp: [-10, 0],
      PageDown: [10, 0],
      Home: [0, -keys.length],
      End: [0, keys.length],
    };
    const move = moves[event.key];
    if (move) {
      const start = at?.row == null || at.column == null;
      put(
        start ? row : Math.min(queries.length - 1, Math.max(0, row + move[0])),
        start ? column : Math.min(keys.length - 1, Math.max(0, column + move[1])),
      );
      return true;
    }
    if ((event.key === "Enter" || event.key === " ") && at?.row != null && !model.pooled) {
      const query = queries[at.row] ?? 0;
      const held = { shift: event.shiftKey, toggle: !event.shiftKey };
      store.set({ tokens: clickToken(store.state.tokens, query, anchor, held) });
      anchor = query;
      return true;
    }
    return false;
  };

  scope.add(
    store.subscribe((state, before) => {
      if (state.hideSpecials !== before.hideSpecials || state.mapping !== before.mapping) redraw();
      else redrawOver();
    }),
  );
  scope.add(model.subscribe(redrawOver));
  scope.add(theme.subscribe(redraw));
  scope.resize(frame, redraw);
  draw();
  return { key };
}

/** What the cell under the cursor says, for screen readers. */
export function cellText(model: HeadModel, state: ViewState, context: Context): string | null {
  const { focus } = state;
  if (!focus || focus.query === null || focus.key === null) return null;
  const value = model.value(focus.query, focus.key);
  if (!value) return null;
  return context.t("value.cell", {
    query: shortToken(model.queries[focus.query]?.text ?? ""),
    key: shortToken(model.keys[focus.key]?.text ?? ""),
    value: value.exact ? three(value.value) : quoted(value.value, false),
  });
}
