/** A vector as bars about a zero line: up and blue above zero, down and red below. */

import { fitCanvas } from "../dom.ts";
import { css, divergingIndex, type Rgb } from "../scale.ts";
import type { Theme } from "../theme.ts";

/** The value of largest size that each of `columns` pixels stands for. */
export function columnsOf(values: ArrayLike<number>, columns: number): Float64Array {
  const out = new Float64Array(columns);
  for (let index = 0; index < values.length; index += 1) {
    const at = Math.floor((index * columns) / values.length);
    const value = values[index] as number;
    if (Math.abs(value) > Math.abs(out[at] as number)) out[at] = value;
  }
  return out;
}

/** Draw `values` relative to `most`, their scale's largest size. */
export function drawStrip(
  canvas: HTMLCanvasElement,
  width: number,
  height: number,
  values: ArrayLike<number> | null,
  most: number,
  theme: Theme,
): void {
  const drawing = width > 0 ? fitCanvas(canvas, width, height) : null;
  if (!drawing) return;
  const middle = height / 2;
  drawing.fillStyle = theme.line;
  drawing.fillRect(0, Math.round(middle) - 0.5, width, 1);
  if (!values || values.length === 0 || most <= 0) return;
  const bars = values.length > width ? columnsOf(values, Math.floor(width)) : values;
  const step = width / bars.length;
  const gap = step >= 4 ? 1 : step >= 2.5 ? 0.5 : 0;
  for (let index = 0; index < bars.length; index += 1) {
    const part = Math.max(-1, Math.min(1, (bars[index] as number) / most));
    if (part === 0) continue;
    // Small bars keep enough colour to be seen; their height says how small they are.
    const tone = Math.sign(part) * (0.45 + 0.5 * Math.abs(part));
    drawing.fillStyle = css(theme.diverging[divergingIndex(tone, "linear")] as Rgb);
    const size = Math.max(0.75, Math.abs(part) * (middle - 0.5));
    drawing.fillRect(index * step, part > 0 ? middle - size : middle, step - gap, size);
  }
}

/** The largest size among some numbers. */
export function largest(values: ArrayLike<number>): number {
  let most = 0;
  for (let index = 0; index < values.length; index += 1) {
    most = Math.max(most, Math.abs(values[index] as number));
  }
  return most;
}
