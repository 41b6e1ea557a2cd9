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
  if (encoding === "sqrt-u8" || encoding === "sqrt-u6") {
    const table = byteTable(mapping, encoding === "sqrt-u6" ? 63 : 255);
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

const words = new WeakMap<Ramp, Uint32Array>();

/** The colours of a ramp as pixels of an ImageData: every platform with a browser is little-endian. */
function pixelsOf(ramp: Ramp): Uint32Array {
  let found = words.get(ramp);
  if (!found) {
    found = Uint32Array.from(ramp, ([r, g, b]) => (255 << 24) | (b << 16) | (g << 8) | r);
    words.set(ramp, found);
  }
  return found;
}

/** A block of positions as pixels. */
export function image(
  block: ArrayLike<number>,
  width: number,
  height: number,
  ramp: Ramp,
): ImageData {
  const data = new ImageData(width, height);
  const pixels = new Uint32Array(data.data.buffer);
  const colours = pixelsOf(ramp);
  for (let index = 0; index < pixels.length; index += 1) {
    pixels[index] = colours[block[index] as number] as number;
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

/** Put a block of positions into a rectangle of pixels, sharp at its edges. */
export function fillBlock(
  target: ImageData,
  cells: ArrayLike<number>,
  columns: number,
  rows: number,
  ramp: Ramp,
  left: number,
  width: number,
  height: number,
  middle = 0,
): void {
  if (columns === 0 || rows === 0 || width < 1 || height < 1) return;
  const fitted = shrink(cells, columns, rows, width, height, middle);
  const pixels = new Uint32Array(target.data.buffer);
  const colours = pixelsOf(ramp);
  const from = Array.from({ length: width }, (_, x) =>
    Math.floor(((x + 0.5) * fitted.columns) / width),
  );
  for (let y = 0; y < height; y += 1) {
    const start = Math.floor(((y + 0.5) * fitted.rows) / height) * fitted.columns;
    const out = y * target.width + left;
    for (let x = 0; x < width; x += 1) {
      pixels[out + x] = colours[fitted.block[start + (from[x] as number)] as number] as number;
    }
  }
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
  // one that the browser lost with its graphics comes back later than those in the page
  if (scratch?.getContext("2d")?.isContextLost?.()) scratch = null;
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
