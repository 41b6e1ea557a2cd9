/** What part of a map is in sight, and how it moves: arithmetic alone, in CSS pixels and tokens. */

import { depth, type Level, levelOf, TILE_SIDE } from "@lmkit/protocol";

/** Where cell (0, 0) lies and how large a cell is, in CSS pixels. */
export interface Viewport {
  readonly x: number;
  readonly y: number;
  readonly cell: number;
}

/** The rectangle that cells may be drawn in. */
export interface Plot {
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
}

/** How many cells there are. */
export interface Extent {
  readonly rows: number;
  readonly columns: number;
}

/** Cells of rows r0 to r1 and columns c0 to c1, ends excluded. */
export interface Cells {
  readonly r0: number;
  readonly r1: number;
  readonly c0: number;
  readonly c1: number;
}

/** A cell is never drawn larger than this. */
export const LARGEST_CELL = 40;

const clamp = (value: number, low: number, high: number) => Math.min(high, Math.max(low, value));

/** One axis of `bounded`: what is smaller than its room starts at its start, the rest fills it. */
function boundedAxis(start: number, length: number, low: number, high: number): number {
  return length <= high - low ? low : clamp(start, high - length, low);
}

/** The nearest view without empty space that could show cells. */
export function bounded(view: Viewport, plot: Plot, extent: Extent): Viewport {
  return {
    x: boundedAxis(view.x, extent.columns * view.cell, plot.left, plot.right),
    y: boundedAxis(view.y, extent.rows * view.cell, plot.top, plot.bottom),
    cell: view.cell,
  };
}

/** Zoom by a factor, the point (px, py) staying where it is; cells stay between `smallest` and LARGEST_CELL. */
export function zoomed(
  view: Viewport,
  factor: number,
  px: number,
  py: number,
  smallest: number,
): Viewport {
  const cell = clamp(view.cell * factor, smallest, Math.max(smallest, LARGEST_CELL));
  const by = cell / view.cell;
  return { x: px - (px - view.x) * by, y: py - (py - view.y) * by, cell };
}

export function panned(view: Viewport, dx: number, dy: number): Viewport {
  return { x: view.x + dx, y: view.y + dy, cell: view.cell };
}

/** The least pan that brings cells into sight; their start wins where they do not fit. */
export function revealed(view: Viewport, plot: Plot, cells: Cells): Viewport {
  const move = (from: number, to: number, low: number, high: number) => {
    const late = Math.min(0, high - to);
    return from + late < low ? low - from : late;
  };
  const { x, y, cell } = view;
  return panned(
    view,
    move(x + cells.c0 * cell, x + cells.c1 * cell, plot.left, plot.right),
    move(y + cells.r0 * cell, y + cells.r1 * cell, plot.top, plot.bottom),
  );
}

/** The cells that are at least partly in sight. */
export function cellsInSight(view: Viewport, plot: Plot, extent: Extent): Cells {
  const first = (edge: number, start: number, count: number) =>
    clamp(Math.floor((edge - start) / view.cell), 0, count);
  const last = (edge: number, start: number, count: number) =>
    clamp(Math.ceil((edge - start) / view.cell), 0, count);
  return {
    r0: first(plot.top, view.y, extent.rows),
    r1: last(plot.bottom, view.y, extent.rows),
    c0: first(plot.left, view.x, extent.columns),
    c1: last(plot.right, view.x, extent.columns),
  };
}

/**
 * The level to draw: the finest whose bins are at least one device pixel, so that no bin is lost
 * between pixels and none is computed that could not be seen.
 */
export function levelFor(devicePixels: number, queries: number, keys: number): number {
  const last = Math.max(depth(queries), depth(keys));
  const doublings = Math.ceil(Math.log2(1 / devicePixels) - 1e-9);
  return last - clamp(doublings, 0, last);
}

/** A place in the pyramid of a map. */
export interface Place {
  readonly level: number;
  readonly row: number;
  readonly column: number;
}

export function samePlace(a: Place, b: Place): boolean {
  return a.level === b.level && a.row === b.row && a.column === b.column;
}

/** The tiles of a level that cells touch, those nearest to the middle first. */
export function tilesInSight(level: number, found: Level, cells: Cells): readonly Place[] {
  if (cells.r1 <= cells.r0 || cells.c1 <= cells.c0) return [];
  const [high, wide] = [found.rowBin * TILE_SIDE, found.columnBin * TILE_SIDE];
  const [r0, r1] = [Math.floor(cells.r0 / high), Math.ceil(cells.r1 / high)];
  const [c0, c1] = [Math.floor(cells.c0 / wide), Math.ceil(cells.c1 / wide)];
  const places: { place: Place; away: number }[] = [];
  const [middleRow, middleColumn] = [
    (cells.r0 + cells.r1) / (2 * high) - 0.5,
    (cells.c0 + cells.c1) / (2 * wide) - 0.5,
  ];
  for (let row = r0; row < Math.min(r1, found.tileRows); row += 1) {
    for (let column = c0; column < Math.min(c1, found.tileColumns); column += 1) {
      const away = Math.hypot(row - middleRow, column - middleColumn);
      places.push({ place: { level, row, column }, away });
    }
  }
  return places.sort((a, b) => a.away - b.away).map(({ place }) => place);
}

/** The tile of the level before that covers a tile; null at level 0. */
export function parentOf(place: Place, queries: number, keys: number): Place | null {
  const [here, above] = [
    levelOf(queries, keys, place.level),
    levelOf(queries, keys, place.level - 1),
  ];
  if (!here || !above) return null;
  return {
    level: place.level - 1,
    row: Math.floor((place.row * here.rowBin) / above.rowBin),
    column: Math.floor((place.column * here.columnBin) / above.columnBin),
  };
}

/** The tile of a level that a pair of tokens lies in, and its cell there. */
export function placeOf(
  level: number,
  query: number,
  key: number,
  queries: number,
  keys: number,
): { place: Place; row: number; column: number } | null {
  const found = levelOf(queries, keys, level);
  if (!found) return null;
  const [binRow, binColumn] = [Math.floor(query / found.rowBin), Math.floor(key / found.columnBin)];
  return {
    place: {
      level,
      row: Math.floor(binRow / TILE_SIDE),
      column: Math.floor(binColumn / TILE_SIDE),
    },
    row: binRow % TILE_SIDE,
    column: binColumn % TILE_SIDE,
  };
}
