/**
 * Levels of detail of a head's map; the same arithmetic as lmkit/protocol/levels.py.
 *
 * At the last level a cell is one query and one key, at the level before it a bin of 2 x 2 of them,
 * and so on up to level 0, where the whole head is at most `TILE_SIDE` bins wide and high. A cell is
 * the attention mass of its bin: summed over the bin's keys, averaged over its queries.
 */

/** Bins along each side of a tile. */
export const TILE_SIDE = 256;

/** One level of the pyramid of a head: sizes of its bins, numbers of bins and of tiles. */
export interface Level {
  readonly rowBin: number;
  readonly columnBin: number;
  readonly rows: number;
  readonly columns: number;
  readonly tileRows: number;
  readonly tileColumns: number;
}

/** A rectangle of tokens, ends excluded: queries q0 to q1, keys k0 to k1. */
export interface Box {
  readonly q0: number;
  readonly q1: number;
  readonly k0: number;
  readonly k1: number;
}

/** How often bins of one token have to be doubled until `length` tokens fit one tile. */
export function depth(length: number): number {
  let [doublings, side] = [0, TILE_SIDE];
  while (side < length) {
    side *= 2;
    doublings += 1;
  }
  return doublings;
}

/** How many levels the map of a head has, counted from 0, the coarsest. */
export function levels(queries: number, keys: number): number {
  return 1 + Math.max(depth(queries), depth(keys));
}

/** One level of a head; null where there is no such level. */
export function levelOf(queries: number, keys: number, level: number): Level | null {
  const [rowsDeep, columnsDeep] = [depth(queries), depth(keys)];
  const last = Math.max(rowsDeep, columnsDeep);
  if (queries < 1 || keys < 1 || level < 0 || level > last) return null;
  const rowBin = 2 ** Math.min(rowsDeep, last - level);
  const columnBin = 2 ** Math.min(columnsDeep, last - level);
  const [rows, columns] = [Math.ceil(queries / rowBin), Math.ceil(keys / columnBin)];
  return {
    rowBin,
    columnBin,
    rows,
    columns,
    tileRows: Math.ceil(rows / TILE_SIDE),
    tileColumns: Math.ceil(columns / TILE_SIDE),
  };
}

/** The tokens that a tile of a level covers; null where there is none. */
export function tileBox(
  queries: number,
  keys: number,
  level: number,
  row: number,
  column: number,
): Box | null {
  const found = levelOf(queries, keys, level);
  if (!found || row < 0 || row >= found.tileRows || column < 0 || column >= found.tileColumns) {
    return null;
  }
  const [high, wide] = [found.rowBin * TILE_SIDE, found.columnBin * TILE_SIDE];
  return {
    q0: row * high,
    q1: Math.min(queries, (row + 1) * high),
    k0: column * wide,
    k1: Math.min(keys, (column + 1) * wide),
  };
}
