/** Tiles onto canvases. */

import { decodeValue, type Tile } from "@lmkit/protocol";
import { byteTable, type Numbers, placeOn, type Ramp, SHARES } from "../scale.ts";
import type { Mapping } from "../store.ts";

/** Positions 0..255 on the ramp for a stretch of a tile's stored values. */
export function positions(
  tile: Tile,
  from: number,
  to: number,
  mapping: Mapping,
  numbers: Numbers = SHARES,
): Uint8Array | Uint8ClampedArray {
  const { values, encoding } = tile;
  const out = new Uint8Array(to - from);
  if (encoding === "sqrt-u8") {
    const table = byteTable(mapping);
    for (let index = from; index < to; index += 1) {
      out[index - from] = table[values[index] as number] as number;
    }
    return out;
  }
  for (let index = from; index < to; index += 1) {
    out[index - from] = placeOn(decodeValue(encoding, values[index]) ?? 0, mapping, numbers);
  }
  return out;
}

/** The largest size in a tile; at least a number that can be divided by. */
export function topOf(tile: Tile): number {
  let top = 0;
  for (const value of tile.values) top = Math.max(top, Math.abs(value));
  return top || 1;
}

/** A block of positions as pixels. */
export function image(
  block: ArrayLike<number>,
  width: number,
  height: number,
  ramp: Ramp,
): ImageData {
  const data = new ImageData(width, height);
  const pixels = data.data;
  for (let index = 0; index < width * height; index += 1) {
    const [r, g, b] = ramp[block[index] as number] as readonly [number, number, number];
    pixels[index * 4] = r;
    pixels[index * 4 + 1] = g;
    pixels[index * 4 + 2] = b;
    pixels[index * 4 + 3] = 255;
  }
  return data;
}

/**
 * Fit a block of positions into at most `width` x `height` pixels. Where several cells share a pixel
 * the largest shows (the one farthest from the `middle` of differences), so that a single bright line is never averaged away.
 */
export function shrink(
  block: ArrayLike<number>,
  columns: number,
  rows: number,
  width: number,
  height: number,
  middle = 0,
): { block: ArrayLike<number>; columns: number; rows: number } {
  if (columns <= width && rows <= height) return { block, columns, rows };
  const [outColumns, outRows] = [Math.min(columns, width), Math.min(rows, height)];
  const out = new Uint8Array(outColumns * outRows).fill(middle);
  for (let row = 0; row < rows; row += 1) {
    const y = Math.floor((row * outRows) / rows);
    for (let column = 0; column < columns; column += 1) {
      const at = y * outColumns + Math.floor((column * outColumns) / columns);
      const value = block[row * columns + column] as number;
      if (Math.abs(value - middle) > Math.abs((out[at] as number) - middle)) out[at] = value;
    }
  }
  return { block: out, columns: outColumns, rows: outRows };
}

let scratch: HTMLCanvasElement | null = null;

/** Draw a block of positions into a rectangle given in device pixels, sharp at its edges. */
export function paintBlock(
  context: CanvasRenderingContext2D,
  cells: ArrayLike<number>,
  columns: number,
  rows: number,
  ramp: Ramp,
  x: number,
  y: number,
  width: number,
  height: number,
  middle = 0,
): void {
  if (columns === 0 || rows === 0 || width < 1 || height < 1) return;
  const fitted = shrink(cells, columns, rows, Math.floor(width), Math.floor(height), middle);
  scratch ??= document.createElement("canvas");
  scratch.width = fitted.columns;
  scratch.height = fitted.rows;
  const inner = scratch.getContext("2d");
  if (!inner) return;
  inner.putImageData(image(fitted.block, fitted.columns, fitted.rows, ramp), 0, 0);
  context.save();
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(scratch, x, y, width, height);
  context.restore();
}
