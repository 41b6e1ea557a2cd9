/** The head as a map: one cell for each query (down) and key (across), zoomed like a city map. */

import { levelOf, TILE_SIDE, type Token } from "@lmkit/protocol";
import type { Context } from "../context.ts";
import { bdi, fitCanvas, h, pixelRatio, refill, type Scope } from "../dom.ts";
import { exact, quoted, three } from "../numbers.ts";
import { MIDDLE, rampOf } from "../scale.ts";
import { clickToken, type Store, type ViewState } from "../store.ts";
import { shortToken } from "../text.ts";
import { fitLabel } from "./arcs.ts";
import { shown } from "./columns.ts";
import { image, positions, shrink } from "./draw.ts";
import type { HeadModel } from "./head-model.ts";
import { sideName } from "./layers.ts";
import { MapTiles } from "./map-tiles.ts";
import { horizon } from "./scrubber.ts";
import {
  bounded,
  type Cells,
  cellsInSight,
  type Extent,
  levelFor,
  type Place,
  type Plot,
  panned,
  revealed,
  tilesInSight,
  type Viewport,
  zoomed,
} from "./viewport.ts";

const FONT = 11;
const LEFT = 84;
const TOP = 64;
const BARE = 18;
const LABELLED = 11;
const RIGHT = 6;
const BOTTOM = 4;
/** How far the pointer may stray in a click. */
const STRAY = 4;
const STEP = 1.5;
const OVERVIEW = 72;
const SAY_AFTER = 350;

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

/** The view of a head is kept while another head of the same size is looked at in the same frame. */
const kept = new WeakMap<HeadModel, { readonly view: Viewport; readonly shape: string }>();

interface Span {
  readonly first: number;
  /** excluded */
  readonly last: number;
}

/** A number of the picture with the tokens that it is of. */
interface Bin {
  readonly value: number;
  readonly exact: boolean;
  readonly rows: Span;
  readonly columns: Span;
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
  const note = h("p", { class: "note", "data-lmkit": "map-note" });
  const tool = (name: "in" | "out" | "fit", sign: string) =>
    h(
      "button",
      {
        type: "button",
        class: "step",
        "aria-label": t(`map.${name}`),
        title: t(`map.${name}.key`),
        "data-lmkit": `zoom-${name}`,
      },
      sign,
    );
  const tools = { in: tool("in", "+"), out: tool("out", "−"), fit: tool("fit", "⤢") };
  const foot = h(
    "div",
    { class: "map-foot" },
    note,
    h("span", { class: "map-tools" }, tools.out, tools.in, tools.fit),
  );
  host.append(frame, foot);
  frame.style.height = `${height}px`;

  // Positions are tokens, or places in the lists of those shown where special ones are hidden.
  let queries: readonly number[] | null = null;
  let keys: readonly number[] | null = null;
  let extent: Extent = { rows: 1, columns: 1 };
  let layout: Layout = layoutMap(100, 100, 1, 1, 1);
  let view: Viewport = { x: 0, y: 0, cell: 1 };
  let zoomedIn = false;
  let width = 0;
  let anchor: number | null = null;

  const tiles = new MapTiles(model, context, scope, () => redraw());

  // -- where is what ----------------------------------------------------------------------------

  const plotOf = (cell: number): Plot => {
    const labels = cell >= LABELLED;
    return {
      left: labels ? LEFT : BARE,
      top: labels ? TOP : BARE,
      right: width - RIGHT,
      bottom: height - BOTTOM,
    };
  };
  /** What the view was laid out for: how many cells, and the frame's width and pixel ratio. */
  let laidOut = { cells: "", box: "" };
  const shape = () => `${extent.rows}/${extent.columns}/${width}/${height}`;

  /** Take a view, brought within bounds; the smallest one is the whole map as it was laid out. */
  const take = (next: Viewport) => {
    zoomedIn = next.cell > layout.cell * 1.001;
    view = zoomedIn ? bounded(next, plotOf(next.cell), extent) : layout;
    if (zoomedIn) kept.set(model, { view, shape: shape() });
    else kept.delete(model);
  };

  const measure = () => {
    const tile = model.tile;
    width = frame.clientWidth;
    if (!tile) return;
    const hide = store.state.hideSpecials && !model.pooled;
    const [rows, columns] = tile.shape as [number, number];
    queries = model.pooled ? null : shown(model.queries, hide).filter((index) => index < rows);
    keys = model.pooled ? null : shown(model.keys, hide).filter((index) => index < columns);
    extent = {
      rows: queries?.length ?? model.layer.queries,
      columns: keys?.length ?? model.layer.keys,
    };
    layout = layoutMap(width, height, extent.rows, extent.columns, pixelRatio());
    const [cells, box] = [`${extent.rows}/${extent.columns}`, `${width}/${pixelRatio()}`];
    if (laidOut.cells === cells && laidOut.box === box) return;
    const resized = laidOut.cells === cells;
    laidOut = { cells, box };
    const earlier = kept.get(model);
    if (resized) take(zoomedIn ? view : layout);
    else take(earlier?.shape === shape() ? earlier.view : layout);
  };

  const queryAt = (row: number) => (queries ? (queries[row] ?? 0) : row);
  const keyAt = (column: number) => (keys ? (keys[column] ?? 0) : column);
  const rowOf = (query: number) => (queries ? queries.indexOf(query) : query);
  const columnOf = (key: number) => (keys ? keys.indexOf(key) : key);

  /** The level of detail in sight; null where the base picture is as fine. */
  const detail = (): number | null => {
    const tile = model.tile;
    if (!model.pooled || !tile || !context.source.reaches(model.tileKey("map", "/0/0/0"))) {
      return null;
    }
    const { layer } = model;
    const level = levelFor(view.cell * pixelRatio(), layer.queries, layer.keys);
    const found = levelOf(layer.queries, layer.keys, level);
    if (!found) return null;
    const finer =
      found.rowBin * (tile.shape[0] ?? 1) < layer.queries ||
      found.columnBin * (tile.shape[1] ?? 1) < layer.keys;
    return finer ? level : null;
  };

  /** The number that stands at a pair of positions, as finely as it is known and drawn. */
  const under = (row: number, column: number): Bin | null => {
    const [query, key] = [queryAt(row), keyAt(column)];
    const alone = (at: number) => ({ first: at, last: at + 1 });
    if (!model.pooled) {
      const found = model.value(query, key);
      return found && { ...found, rows: alone(query), columns: alone(key) };
    }
    const level = detail();
    const found = level === null ? null : tiles.at(level, query, key);
    if (found && single(found.rows) && single(found.columns)) {
      return { exact: false, ...found, ...model.value(query, key) };
    }
    if (found) return { exact: false, ...found };
    const { tile, layer } = model;
    const [rows, columns] = (tile?.shape ?? [1, 1]) as [number, number];
    const [r, c] = [binOf(query, rows, layer.queries), binOf(key, columns, layer.keys)];
    const value = tile?.at(r, c);
    if (value === undefined) return null;
    return {
      value,
      exact: false,
      rows: binSpan(r, rows, layer.queries),
      columns: binSpan(c, columns, layer.keys),
    };
  };
  /** The cell that a pair of positions lies in at the level in sight, whether its number is there or not. */
  const cellAt = (row: number, column: number): { rows: Span; columns: Span } => {
    const alone = (at: number) => ({ first: at, last: at + 1 });
    if (!model.pooled) return { rows: alone(row), columns: alone(column) };
    const { layer, tile } = model;
    const level = detail();
    const found = level === null ? null : levelOf(layer.queries, layer.keys, level);
    if (!found) {
      const [rows, columns] = (tile?.shape ?? [1, 1]) as [number, number];
      return {
        rows: binSpan(binOf(row, rows, layer.queries), rows, layer.queries),
        columns: binSpan(binOf(column, columns, layer.keys), columns, layer.keys),
      };
    }
    const bin = (at: number, size: number, end: number) => {
      const first = at - (at % size);
      return { first, last: Math.min(end, first + size) };
    };
    return {
      rows: bin(row, found.rowBin, layer.queries),
      columns: bin(column, found.columnBin, layer.keys),
    };
  };
  const single = (span: Span) => span.last - span.first === 1;
  /** Whether a cell in sight is one query, so that it can be chosen. */
  const choosable = () => {
    if (!model.pooled) return true;
    const level = detail();
    const found = level === null ? null : levelOf(model.layer.queries, model.layer.keys, level);
    return found?.rowBin === 1;
  };
  model.coarse = (query, key) => {
    const [row, column] = [rowOf(query), columnOf(key)];
    return row < 0 || column < 0 ? null : under(row, column);
  };
  scope.add(() => {
    model.coarse = null;
  });

  const name = (tokens: readonly Token[], span: Span): string => {
    const first = shortToken(tokens[span.first]?.text ?? "");
    if (single(span)) return first;
    return `${first} … ${shortToken(tokens[span.last - 1]?.text ?? "")} (${span.first}–${span.last - 1})`;
  };

  // -- drawing ----------------------------------------------------------------------------------

  /** The base picture, one pixel a cell, or fewer where the frame has fewer: painted when it changes. */
  let painted: { canvas: HTMLCanvasElement; key: string } | null = null;
  const basePicture = (most: { columns: number; rows: number } | null) => {
    const tile = model.tile;
    if (!tile) return null;
    const [whole, across] = [tile.shape[0] ?? 0, tile.shape[1] ?? 0];
    const [rows, columns] = [queries?.length ?? whole, keys?.length ?? across];
    const [high, wide] = [
      Math.min(rows, most?.rows ?? rows),
      Math.min(columns, most?.columns ?? columns),
    ];
    const { mapping, hideSpecials } = store.state;
    const key = [tile.key, mapping, hideSpecials, high, wide].join("/");
    if (painted?.key === key) return painted.canvas;
    let cells = positions(tile, 0, tile.values.length, mapping, model.numbers);
    if (queries && keys && (rows < whole || columns < across)) {
      const some = new Uint8Array(rows * columns);
      for (const [row, query] of queries.entries()) {
        for (const [column, key] of keys.entries()) {
          some[row * columns + column] = cells[query * across + key] as number;
        }
      }
      cells = some;
    }
    const { scale } = model.spec;
    const fitted = shrink(cells, columns, rows, wide, high, scale === "difference" ? MIDDLE : 0);
    if (fitted.columns < 1 || fitted.rows < 1) return null;
    const canvas = painted?.canvas ?? h("canvas", {});
    canvas.width = fitted.columns;
    canvas.height = fitted.rows;
    const drawing = canvas.getContext("2d");
    if (!drawing) return null;
    drawing.putImageData(
      image(fitted.block, fitted.columns, fitted.rows, rampOf(model.numbers, theme.current)),
      0,
      0,
    );
    painted = { canvas, key };
    return canvas;
  };

  /** Draw that part of a picture which is in sight; the picture covers these cells of the map. */
  const blit = (
    drawing: CanvasRenderingContext2D,
    picture: HTMLCanvasElement,
    covers: Cells,
    seen: Cells,
  ) => {
    const ratio = pixelRatio();
    const [high, wide] = [
      (covers.r1 - covers.r0) / picture.height,
      (covers.c1 - covers.c0) / picture.width,
    ];
    // Whole pixels of the picture, so that the scaled part keeps in step with its neighbours.
    const part = {
      c0: Math.max(0, Math.floor((seen.c0 - covers.c0) / wide)),
      c1: Math.min(picture.width, Math.ceil((seen.c1 - covers.c0) / wide)),
      r0: Math.max(0, Math.floor((seen.r0 - covers.r0) / high)),
      r1: Math.min(picture.height, Math.ceil((seen.r1 - covers.r0) / high)),
    };
    if (part.c1 <= part.c0 || part.r1 <= part.r0) return;
    const place = (start: number, cells: number) => Math.round((start + cells * view.cell) * ratio);
    const [x0, x1] = [
      place(view.x, covers.c0 + part.c0 * wide),
      place(view.x, covers.c0 + part.c1 * wide),
    ];
    const [y0, y1] = [
      place(view.y, covers.r0 + part.r0 * high),
      place(view.y, covers.r0 + part.r1 * high),
    ];
    drawing.drawImage(
      picture,
      part.c0,
      part.r0,
      part.c1 - part.c0,
      part.r1 - part.r0,
      x0,
      y0,
      x1 - x0,
      y1 - y0,
    );
  };

  /** Tiles in sight, asked for and drawn, coarser ones standing in for those on their way. */
  const drawTiles = (drawing: CanvasRenderingContext2D | null, seen: Cells) => {
    const level = detail();
    const { layer } = model;
    const found = level === null ? null : levelOf(layer.queries, layer.keys, level);
    if (level === null || !found) {
      tiles.want([]);
      return;
    }
    const places = tilesInSight(level, found, seen);
    tiles.want(places);
    if (!drawing) return;
    const stand = new Map<string, Place>();
    for (const place of places) {
      const use = tiles.standIn(place)?.place;
      if (use) stand.set(`${use.level}/${use.row}/${use.column}`, use);
    }
    for (const place of [...stand.values()].sort((a, b) => a.level - b.level)) {
      const tile = tiles.get(place);
      const of = levelOf(layer.queries, layer.keys, place.level);
      const picture = tile && tiles.picture(tile, store.state.mapping);
      if (!picture || !of) continue;
      const [r0, c0] = [place.row * TILE_SIDE * of.rowBin, place.column * TILE_SIDE * of.columnBin];
      // The last bin may be smaller than the others; it is drawn as large, and clipped.
      const covers = {
        r0,
        r1: r0 + picture.height * of.rowBin,
        c0,
        c1: c0 + picture.width * of.columnBin,
      };
      blit(drawing, picture, covers, seen);
    }
  };

  const draw = () => {
    measure();
    const tile = model.tile;
    if (!tile || width < 10) return;
    const drawing = fitCanvas(base, width, height);
    const { current } = theme;
    const ratio = pixelRatio();
    const plot = plotOf(view.cell);
    const seen = cellsInSight(view, plot, extent);
    // What there is of the map within the plot, in CSS pixels.
    const inside = {
      x: Math.max(plot.left, view.x),
      y: Math.max(plot.top, view.y),
      right: Math.min(plot.right, view.x + extent.columns * view.cell),
      bottom: Math.min(plot.bottom, view.y + extent.rows * view.cell),
    };
    if (!zoomedIn) {
      inside.right = view.x + extent.columns * view.cell;
      inside.bottom = view.y + extent.rows * view.cell;
    }
    const [w, hgt] = [inside.right - inside.x, inside.bottom - inside.y];
    if (drawing) {
      drawing.save();
      drawing.beginPath();
      drawing.rect(inside.x, inside.y, w, hgt);
      drawing.clip();
      drawing.setTransform(1, 0, 0, 1, 0, 0);
      drawing.imageSmoothingEnabled = false;
      const most = {
        columns: Math.max(1, Math.floor(extent.columns * view.cell * ratio)),
        rows: Math.max(1, Math.floor(extent.rows * view.cell * ratio)),
      };
      const picture = basePicture(most);
      const all = { r0: 0, r1: extent.rows, c0: 0, c1: extent.columns };
      if (picture) blit(drawing, picture, all, zoomedIn ? seen : all);
    }
    drawTiles(drawing, seen);
    drawing?.restore();
    tell();
    if (!drawing) return;
    drawing.strokeStyle = current.line;
    drawing.lineWidth = 1;
    drawing.strokeRect(inside.x - 0.5, inside.y - 0.5, w + 1, hgt + 1);
    drawLabels(drawing, seen, plot);
    drawOver();
  };

  /** Labels cut to their room, by font: measuring text is slow while the map is dragged. */
  const fitted = new Map<string, string>();
  let fittedFor = "";
  const drawLabels = (drawing: CanvasRenderingContext2D, seen: Cells, plot: Plot) => {
    const { current } = theme;
    const { x, y, cell } = view;
    drawing.textBaseline = "middle";
    if (cell < LABELLED) {
      drawing.font = `${FONT}px ${current.fontUi}`;
      drawing.fillStyle = current.muted;
      drawing.textAlign = "left";
      drawing.fillText(`${sideName("key", model.layer, t)} →`, plot.left, plot.top - 9);
      drawing.save();
      drawing.translate(plot.left - 9, plot.top);
      drawing.rotate(-Math.PI / 2);
      drawing.textAlign = "right";
      drawing.fillText(`← ${sideName("query", model.layer, t)}`, 0, 0);
      drawing.restore();
      return;
    }
    const font = `${Math.min(12, Math.max(10, cell - 1, FONT))}px ${current.fontCode}`;
    drawing.font = font;
    if (fittedFor !== font) fitted.clear();
    fittedFor = font;
    const fit = (text: string, room: number) => {
      const key = `${room} ${text}`;
      let label = fitted.get(key);
      if (label === undefined) {
        if (fitted.size > 4_096) fitted.clear();
        label = fitLabel(drawing, text, room);
        fitted.set(key, label);
      }
      return label;
    };
    for (let row = seen.r0; row < seen.r1; row += 1) {
      const token = model.queries[queryAt(row)];
      const at = y + (row + 0.5) * cell + 0.5;
      if (!token || at < plot.top || at > plot.bottom) continue;
      drawing.fillStyle = token.special ? current.muted : current.ink;
      drawing.textAlign = "right";
      drawing.fillText(fit(token.text, LEFT - 10), plot.left - 6, at);
    }
    for (let column = seen.c0; column < seen.c1; column += 1) {
      const token = model.keys[keyAt(column)];
      const at = x + (column + 0.5) * cell + 0.5;
      if (!token || at < plot.left || at > plot.right) continue;
      drawing.save();
      drawing.translate(at, plot.top - 6);
      drawing.rotate(-Math.PI / 2);
      drawing.fillStyle = token.special ? current.muted : current.ink;
      drawing.textAlign = "left";
      drawing.fillText(fit(token.text, TOP - 10), 0, 0);
      drawing.restore();
    }
  };

  /** Where in the whole the part in sight lies. Causal maps are empty in this corner. */
  const drawOverview = (drawing: CanvasRenderingContext2D, seen: Cells, plot: Plot) => {
    const scale = OVERVIEW / Math.max(extent.rows, extent.columns);
    const [w, hgt] = [Math.max(4, extent.columns * scale), Math.max(4, extent.rows * scale)];
    const [x, y] = [Math.round(plot.right - w - 6), Math.round(plot.top + 6)];
    const { current } = theme;
    drawing.globalAlpha = 0.92;
    drawing.fillStyle = current.background;
    drawing.fillRect(x - 2, y - 2, w + 4, hgt + 4);
    const picture = painted?.canvas;
    if (picture && picture.width > 0) drawing.drawImage(picture, x, y, w, hgt);
    drawing.globalAlpha = 1;
    drawing.strokeStyle = current.line;
    drawing.lineWidth = 1;
    drawing.strokeRect(x - 2.5, y - 2.5, w + 5, hgt + 5);
    drawing.strokeStyle = current.mark;
    drawing.lineWidth = 1.5;
    drawing.strokeRect(
      x + seen.c0 * scale,
      y + seen.r0 * scale,
      Math.max(3, (seen.c1 - seen.c0) * scale),
      Math.max(3, (seen.r1 - seen.r0) * scale),
    );
  };

  const drawOver = () => {
    const at = cursor();
    if (at && at.row !== null && at.column !== null) showTip(at.row, at.column);
    else tip.hidden = true;
    const drawing = fitCanvas(over, width, height);
    if (!drawing) return;
    const plot = plotOf(view.cell);
    const { current } = theme;
    const { x, y, cell } = view;
    if (zoomedIn) drawOverview(drawing, cellsInSight(view, plot, extent), plot);
    const [right, bottom] = [
      Math.min(plot.right, x + cell * extent.columns),
      Math.min(plot.bottom, y + cell * extent.rows),
    ];
    const [left, top] = [Math.max(plot.left, x), Math.max(plot.top, y)];
    // Of a text that is being stepped through, the rows that are not yet written stand back.
    const future = horizon(model, store.state);
    let past = extent.rows;
    while (past > 0 && queryAt(past - 1) >= future) past -= 1;
    const begin = Math.max(top, y + past * cell);
    if (past < extent.rows && begin < bottom) {
      drawing.fillStyle = current.background;
      drawing.globalAlpha = 0.7;
      drawing.fillRect(left, begin, right - left, bottom - begin);
      drawing.globalAlpha = 1;
    }
    drawing.fillStyle = current.mark;
    for (const token of store.state.tokens) {
      const row = rowOf(token);
      const from = y + row * cell;
      if (row < 0 || from + cell < plot.top || from > plot.bottom) continue;
      drawing.fillRect(left - 4, Math.max(top, from), 3, Math.max(2, cell));
    }
    if (!at) return;
    drawing.save();
    drawing.beginPath();
    drawing.rect(left - 1, top - 1, right - left + 2, bottom - top + 2);
    drawing.clip();
    const { rows, columns } = cellAt(at.row ?? 0, at.column ?? 0);
    const [high, wide] = [
      Math.max(2, (rows.last - rows.first) * cell),
      Math.max(2, (columns.last - columns.first) * cell),
    ];
    const [cx, cy] = [x + columns.first * cell, y + rows.first * cell];
    drawing.strokeStyle = current.mark;
    drawing.lineWidth = 1;
    if (Math.min(high, wide) < 5) {
      // One line each: two would cover more of the map than they point at.
      drawing.globalAlpha = 0.7;
      if (at.row !== null) drawing.fillRect(left, cy + high / 2 - 0.5, right - left, 1);
      if (at.column !== null) drawing.fillRect(cx + wide / 2 - 0.5, top, 1, bottom - top);
      drawing.globalAlpha = 1;
    } else {
      if (at.row !== null) drawing.strokeRect(left, cy - 0.5, right - left, high + 1);
      if (at.column !== null) drawing.strokeRect(cx - 0.5, top, wide + 1, bottom - top);
    }
    if (at.row !== null && at.column !== null) {
      drawing.lineWidth = 2;
      drawing.strokeRect(cx, cy, wide, high);
    }
    drawing.restore();
  };
  const redraw = scope.frame(draw);
  const redrawOver = scope.frame(drawOver);

  /** Where the store's focus lies in this map, in positions. */
  const cursor = (): { row: number | null; column: number | null } | null => {
    const { focus } = store.state;
    if (!focus) return null;
    const known = (position: number) => (position < 0 ? null : position);
    return {
      row: focus.query === null ? null : known(rowOf(focus.query)),
      column: focus.key === null ? null : known(columnOf(focus.key)),
    };
  };

  const showTip = (row: number, column: number) => {
    const found = under(row, column);
    if (!found) return;
    refill(
      tip,
      h(
        "span",
        { class: "tip-names" },
        bdi(name(model.queries, found.rows), { class: "code" }),
        " → ",
        bdi(name(model.keys, found.columns), { class: "code" }),
      ),
      h(
        "span",
        { class: "tip-value", "data-lmkit": "value", "data-exact": String(found.exact) },
        found.exact ? exact(found.value) : quoted(found.value, false),
      ),
    );
    tip.hidden = false;
    const { x, y, cell } = view;
    const [px, py] = [x + (column + 1) * cell, y + (row + 1) * cell];
    const wide = tip.offsetWidth;
    const high = tip.offsetHeight;
    const left = px + 8 + wide > width ? Math.max(0, x + column * cell - wide - 8) : px + 8;
    const above = py + 6 + high > height ? Math.max(0, y + row * cell - high - 6) : py + 6;
    tip.style.transform = `translate(${Math.round(left)}px, ${Math.round(above)}px)`;
  };

  // -- what is shown, in words ------------------------------------------------------------------

  /** The tokens of a bin in sight, along queries and keys. */
  const binSizes = (): { rows: number; columns: number } => {
    const { layer, tile } = model;
    if (!model.pooled) return { rows: 1, columns: 1 };
    const level = detail();
    const found = level === null ? null : levelOf(layer.queries, layer.keys, level);
    if (found) return { rows: found.rowBin, columns: found.columnBin };
    return {
      rows: Math.ceil(layer.queries / (tile?.shape[0] ?? 1)),
      columns: Math.ceil(layer.keys / (tile?.shape[1] ?? 1)),
    };
  };

  const tell = () => {
    const size = binSizes();
    const one = size.rows === 1 && size.columns === 1;
    const words = [];
    if (!one) words.push(t("picture.pooled", size));
    if (zoomedIn) words.push(sight());
    if (tiles.waiting) words.push(t("map.loading"));
    const text = words.join(" ");
    if (note.textContent !== text) note.textContent = text;
    foot.setAttribute("data-bin", `${size.rows}x${size.columns}`);
    tools.out.disabled = !zoomedIn;
    tools.fit.disabled = !zoomedIn;
    frame.style.touchAction = zoomedIn ? "none" : "pan-y";
    frame.classList.toggle("zoomed", zoomedIn);
  };
  const sight = () => {
    const seen = cellsInSight(view, plotOf(view.cell), extent);
    return t("map.sight", {
      rows: `${queryAt(seen.r0)}–${queryAt(Math.max(seen.r0, seen.r1 - 1))}`,
      columns: `${keyAt(seen.c0)}–${keyAt(Math.max(seen.c0, seen.c1 - 1))}`,
    });
  };

  let silence: (() => void) | null = null;
  const announce = () => {
    silence?.();
    silence = scope.later(SAY_AFTER, () => {
      const size = binSizes();
      const cells = size.rows * size.columns > 1 ? ` ${t("picture.pooled", size)}` : "";
      context.announce(`${zoomedIn ? sight() : t("map.whole")}${cells}`);
    });
  };

  // -- moving -----------------------------------------------------------------------------------

  const zoomAt = (factor: number, px: number, py: number) => {
    take(zoomed(view, factor, px, py, layout.cell));
    redraw();
  };
  /** Zoom at the cursor where it is in sight, else at the middle. */
  const zoomHere = (factor: number) => {
    const plot = plotOf(view.cell);
    const at = cursor();
    let [px, py] = [(plot.left + plot.right) / 2, (plot.top + plot.bottom) / 2];
    if (at && at.row !== null && at.column !== null) {
      const [cx, cy] = [
        view.x + (at.column + 0.5) * view.cell,
        view.y + (at.row + 0.5) * view.cell,
      ];
      const inSight = cx >= plot.left && cx <= plot.right && cy >= plot.top && cy <= plot.bottom;
      if (inSight) [px, py] = [cx, cy];
    }
    zoomAt(factor, px, py);
    announce();
  };
  const whole = () => {
    take(layout);
    redraw();
    announce();
  };
  scope.on(tools.in, "click", () => zoomHere(STEP));
  scope.on(tools.out, "click", () => zoomHere(1 / STEP));
  scope.on(tools.fit, "click", whole);

  const put = (row: number, column: number) => {
    const cell = cellAt(row, column);
    const [query, key] = [queryAt(cell.rows.first), keyAt(cell.columns.first)];
    const { focus } = store.state;
    if (focus?.query === query && focus?.key === key) return;
    store.set({ focus: { query, key } });
    if (single(cell.rows)) model.want(query);
  };
  const place = (event: MouseEvent): { px: number; py: number } => {
    const box = frame.getBoundingClientRect();
    return { px: event.clientX - box.left, py: event.clientY - box.top };
  };
  const hit = (event: MouseEvent): { row: number; column: number } | null => {
    const { px, py } = place(event);
    const plot = plotOf(view.cell);
    const column = Math.floor((px - view.x) / view.cell);
    const row = Math.floor((py - view.y) / view.cell);
    const beside = view.cell >= LABELLED && px < plot.left;
    const inside =
      (beside || (px >= plot.left && column >= 0)) &&
      py >= plot.top &&
      row >= 0 &&
      row < extent.rows &&
      (beside || column < extent.columns);
    return inside ? { row, column: beside ? -1 : column } : null;
  };

  /** Pointers that are down, by their id: one drags, two pinch. */
  const down = new Map<number, { x: number; y: number }>();
  let dragged = false;
  let start = { x: 0, y: 0 };
  scope.on<PointerEvent>(frame, "pointerdown", (event) => {
    if (event.pointerType === "mouse" && event.button !== 0) return;
    down.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (down.size === 1) {
      start = { x: event.clientX, y: event.clientY };
      dragged = false;
    }
  });
  const up = (event: PointerEvent) => {
    down.delete(event.pointerId);
    if (down.size === 0) {
      frame.classList.remove("dragging");
      if (dragged) announce();
    }
  };
  scope.on<PointerEvent>(frame, "pointerup", up);
  scope.on<PointerEvent>(frame, "pointercancel", up);
  scope.on<PointerEvent>(frame, "lostpointercapture", up);

  const drag = (event: PointerEvent, before: { x: number; y: number }) => {
    const far = Math.hypot(event.clientX - start.x, event.clientY - start.y);
    if (!dragged && far < STRAY && down.size === 1) return;
    dragged = true;
    frame.setPointerCapture?.(event.pointerId);
    frame.classList.add("dragging");
    const now = { x: event.clientX, y: event.clientY };
    const other = [...down].find(([id]) => id !== event.pointerId)?.[1];
    if (other) {
      const apart = (point: { x: number; y: number }) =>
        Math.max(8, Math.hypot(point.x - other.x, point.y - other.y));
      const box = frame.getBoundingClientRect();
      const [px, py] = [(now.x + other.x) / 2 - box.left, (now.y + other.y) / 2 - box.top];
      take(zoomed(view, apart(now) / apart(before), px, py, layout.cell));
    }
    const share = other ? 0.5 : 1;
    if (zoomedIn) take(panned(view, (now.x - before.x) * share, (now.y - before.y) * share));
    down.set(event.pointerId, now);
    redraw();
  };

  scope.on<PointerEvent>(frame, "pointermove", (event) => {
    const before = down.get(event.pointerId);
    if (before && (zoomedIn || down.size > 1)) {
      drag(event, before);
      if (dragged) {
        store.set({ focus: null });
        return;
      }
    }
    const at = hit(event);
    if (at && at.column >= 0) put(at.row, at.column);
    else if (at) {
      const query = queryAt(at.row);
      store.set({ focus: { query, key: null } });
      if (choosable()) model.want(query);
    } else store.set({ focus: null });
  });
  scope.on(frame, "pointerleave", () => {
    if (down.size === 0) store.set({ focus: null });
  });
  scope.on<WheelEvent>(
    frame,
    "wheel",
    (event) => {
      // A notebook scrolls on over its pictures; the map takes the wheel once it was clicked.
      const root = host.getRootNode() as Document | ShadowRoot;
      const ours = event.ctrlKey || event.metaKey || root.activeElement === host;
      if (!ours || (event.deltaY > 0 && !zoomedIn)) return;
      event.preventDefault();
      const lines = event.deltaMode === 1 ? 16 : 1;
      const { px, py } = place(event);
      // A pinch on a touchpad arrives as small steps with ctrl held.
      zoomAt(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.002)), px, py);
      announce();
    },
    { passive: false },
  );
  scope.on<MouseEvent>(frame, "dblclick", (event) => {
    const { px, py } = place(event);
    zoomAt(2, px, py);
    announce();
  });
  scope.on<MouseEvent>(frame, "click", (event) => {
    if (dragged) {
      dragged = false;
      return;
    }
    host.focus({ preventScroll: true });
    const at = hit(event);
    if (!at || !choosable()) return;
    const query = queryAt(at.row);
    const held = { shift: event.shiftKey, toggle: event.ctrlKey || event.metaKey };
    store.set({ tokens: clickToken(store.state.tokens, query, anchor, held) });
    if (!event.shiftKey) anchor = query;
  });

  const key = (event: KeyboardEvent): boolean => {
    if (event.key === "+" || event.key === "=" || event.key === "-" || event.key === "0") {
      if (event.key === "0") whole();
      else zoomHere(event.key === "-" ? 1 / STEP : STEP);
      return true;
    }
    const at = cursor();
    const seen = cellsInSight(view, plotOf(view.cell), extent);
    const [row, column] = [at?.row ?? seen.r0, at?.column ?? seen.c0];
    const size = binSizes();
    const moves: Record<string, readonly [number, number]> = {
      ArrowUp: [-size.rows, 0],
      ArrowDown: [size.rows, 0],
      ArrowLeft: [0, -size.columns],
      ArrowRight: [0, size.columns],
      PageUp: [-10 * size.rows, 0],
      PageDown: [10 * size.rows, 0],
      Home: [0, -extent.columns],
      End: [0, extent.columns],
    };
    const move = moves[event.key];
    if (move) {
      silence?.(); // the cell is said instead
      const begin = at?.row == null || at.column == null;
      const to = {
        row: begin ? row : Math.min(extent.rows - 1, Math.max(0, row + move[0])),
        column: begin ? column : Math.min(extent.columns - 1, Math.max(0, column + move[1])),
      };
      if (zoomedIn) {
        const cells = {
          r0: to.row,
          r1: Math.min(extent.rows, to.row + size.rows),
          c0: to.column,
          c1: Math.min(extent.columns, to.column + size.columns),
        };
        take(revealed(view, plotOf(view.cell), cells));
        redraw();
      }
      put(to.row, to.column);
      return true;
    }
    if ((event.key === "Enter" || event.key === " ") && at?.row != null && choosable()) {
      const query = queryAt(at.row);
      const held = { shift: event.shiftKey, toggle: !event.shiftKey };
      store.set({ tokens: clickToken(store.state.tokens, query, anchor, held) });
      anchor = query;
      return true;
    }
    return false;
  };

  scope.add(
    store.subscribe((state, before) => {
      if (state.mapping !== before.mapping) tiles.repaint();
      if (state.hideSpecials !== before.hideSpecials || state.mapping !== before.mapping) redraw();
      else redrawOver();
    }),
  );
  scope.add(model.subscribe(redrawOver));
  scope.add(
    theme.subscribe(() => {
      painted = null;
      tiles.repaint();
      redraw();
    }),
  );
  scope.resize(frame, () => {
    if (frame.clientWidth !== width) redraw();
  });
  draw();
  return { key };
}

/** What the cell under the cursor says, for screen readers. */
export function cellText(model: HeadModel, state: ViewState, context: Context): string | null {
  const { focus } = state;
  if (!focus || focus.query === null || focus.key === null) return null;
  const value =
    model.value(focus.query, focus.key) ?? model.coarse?.(focus.query, focus.key) ?? null;
  if (!value) return null;
  return context.t("value.cell", {
    query: shortToken(model.queries[focus.query]?.text ?? ""),
    key: shortToken(model.keys[focus.key]?.text ?? ""),
    value: value.exact ? three(value.value) : quoted(value.value, false),
  });
}
