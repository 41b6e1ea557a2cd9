/**
 * The sequential scale of attention.
 *
 * Colours are ColorBrewer's Blues, from the theme's own background to the end that contrasts with
 * it, resampled at equal distances in CIELAB: zero is the page, equal steps of the mapped value are
 * equal steps for the eye, and one hue means that a line drawn with opacity and a cell of the map of
 * the same weight have the same colour.
 */

import type { AttentionSpec } from "@lmkit/protocol";
import { fromLab, type Lab, parseColour, toLab } from "./colour.ts";
import type { Mapping } from "./store.ts";

export const MAPPINGS: readonly Mapping[] = ["sqrt", "linear", "log"];

/** Below this the log mapping is zero: four decades are shown. */
export const LOG_FLOOR = 1e-4;

/** Where a value in 0..1 lies on the scale, in 0..1. */
export function mapped(value: number, mapping: Mapping): number {
  const bounded = Math.min(1, Math.max(0, value));
  if (mapping === "sqrt") return Math.sqrt(bounded);
  if (mapping === "log") {
    if (bounded <= LOG_FLOOR) return 0;
    return 1 - Math.log10(bounded) / Math.log10(LOG_FLOOR);
  }
  return bounded;
}

/** The inverse of `mapped` (above the floor). */
export function unmapped(position: number, mapping: Mapping): number {
  if (mapping === "sqrt") return position * position;
  if (mapping === "log") return 10 ** ((1 - position) * Math.log10(LOG_FLOOR));
  return position;
}

/** Values to write beside the legend. */
export function ticks(mapping: Mapping): readonly number[] {
  if (mapping === "sqrt") return [0, 0.01, 0.1, 0.25, 0.5, 1];
  if (mapping === "log") return [1e-4, 1e-3, 0.01, 0.1, 1];
  return [0, 0.25, 0.5, 0.75, 1];
}

export type Rgb = readonly [number, number, number];

/** 256 colours from the background on; index 0 is the background itself. */
export type Ramp = readonly Rgb[];

/** ColorBrewer's Blues of nine, as d3-scale-chromatic has it (a test compares). */
export const BLUES: readonly string[] =
  "#f7fbff #deebf7 #c6dbef #9ecae1 #6baed6 #4292c6 #2171b5 #08519c #08306b".split(" ");

/** ColorBrewer's Greys of nine, for print and for who asks for them. */
export const GREYS: readonly string[] =
  "#ffffff #f0f0f0 #d9d9d9 #bdbdbd #969696 #737373 #525252 #252525 #000000".split(" ");

function distance(a: Lab, b: Lab): number {
  return Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]);
}

/** Build the 256 colours for a background given as a CSS colour. */
export function makeRamp(background: string, dark: boolean, colours = BLUES): Ramp {
  const ends = dark ? [8, 6, 4, 2, 0] : [2, 4, 6, 8];
  const stops = ends.map((index) => colours[index] as string);
  // black is no step from a background that is lighter
  const lightness = (css: string) => toLab(parseColour(css))[0];
  const first = lightness(background);
  const lighter = stops.filter((one) => !dark || lightness(one) > first);
  // Nothing is lighter than white: there the scale runs down, whatever the page says of itself.
  return evenSteps([background, ...(lighter.length > 0 ? lighter : [...stops].reverse())]);
}

/** The reds of ColorBrewer's RdBu, light to dark: safe for colour blindness beside the blues. */
export const REDS: readonly string[] = "#f4a582 #d6604d #b2182b #67001f".split(" ");

/**
 * The colours of differences: index 127 is the background and zero, 0 the strongest red (less), 254
 * the strongest blue (more). Each half is as even as the sequential scale.
 */
export function makeDiverging(background: string, dark: boolean): Ramp {
  // Neither half runs into white, as the sequential scale may: both ends must keep their hue.
  const reds = evenSteps([background, ...(dark ? [...REDS].reverse() : REDS)]);
  const ends = dark ? [8, 6, 4, 3] : [2, 4, 6, 8];
  const blues = evenSteps([background, ...ends.map((index) => BLUES[index] as string)]);
  return Array.from({ length: 255 }, (_, index) => {
    const half = index < 127 ? reds : blues;
    return half[Math.round((Math.abs(index - 127) / 127) * 255)] as Rgb;
  });
}

/** The place of zero on the diverging ramp. */
export const MIDDLE = 127;

/** Where a difference in -1..1 lies on the diverging ramp, 0..254. */
export function divergingIndex(value: number, mapping: Mapping): number {
  return 127 + Math.sign(value) * Math.round(127 * mapped(Math.abs(value), mapping));
}

/** What numbers mean, and the largest of them where they have no bound of their own. */
export interface Numbers {
  readonly scale: AttentionSpec["scale"];
  readonly top: number;
}

/** Attention itself: shares of 1. */
export const SHARES: Numbers = { scale: "share", top: 1 };

/** How strong a number is, 0..1, whatever its sign. */
export function strengthOf(value: number, mapping: Mapping, { top }: Numbers): number {
  return mapped(Math.abs(value) / top, mapping);
}

/** The ramp of the numbers' scale. */
export function rampOf(numbers: Numbers, theme: { ramp: Ramp; diverging: Ramp }): Ramp {
  return numbers.scale === "difference" ? theme.diverging : theme.ramp;
}

/** Where a number lies on the ramp of its scale. */
export function placeOn(value: number, mapping: Mapping, numbers: Numbers): number {
  if (numbers.scale === "difference") return divergingIndex(value / numbers.top, mapping);
  return Math.round(mapped(value / numbers.top, mapping) * 255);
}

/** 256 colours through these, at equal distances in CIELAB. */
function evenSteps(colours: readonly string[]): Ramp {
  const stops = colours.map((colour) => toLab(parseColour(colour)));
  const lengths = [0];
  for (let i = 1; i < stops.length; i += 1) {
    lengths.push((lengths[i - 1] as number) + distance(stops[i - 1] as Lab, stops[i] as Lab));
  }
  const whole = lengths[lengths.length - 1] as number;
  return Array.from({ length: 256 }, (_, index): Rgb => {
    const along = (whole * index) / 255;
    let segment = 1;
    while (segment < stops.length - 1 && (lengths[segment] as number) < along) segment += 1;
    const [a, b] = [stops[segment - 1] as Lab, stops[segment] as Lab];
    const start = lengths[segment - 1] as number;
    const span = (lengths[segment] as number) - start || 1;
    const part = (along - start) / span;
    const mix = (axis: 0 | 1 | 2) => a[axis] + (b[axis] - a[axis]) * part;
    const [red, green, blue] = fromLab([mix(0), mix(1), mix(2)]);
    return [Math.round(red), Math.round(green), Math.round(blue)];
  });
}

/** Relative luminance 0..1, by WCAG 2.2's definition. */
export function luminance(colour: Rgb): number {
  const [r, g, b] = colour.map((value) => {
    const unit = value / 255;
    return unit <= 0.04045 ? unit / 12.92 : ((unit + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * (r ?? 0) + 0.7152 * (g ?? 0) + 0.0722 * (b ?? 0);
}

export function css(colour: Rgb): string {
  return `rgb(${colour[0]}, ${colour[1]}, ${colour[2]})`;
}

/** The colour of a value. */
export function colourOf(value: number, mapping: Mapping, ramp: Ramp): Rgb {
  return ramp[Math.round(mapped(value, mapping) * 255)] as Rgb;
}

const byteTables = new Map<string, Uint8Array>();

/**
 * How each byte of a tile of square roots is coloured: index -> position 0..255 on the ramp, for
 * codes up to `top`.
 */
export function byteTable(mapping: Mapping, top = 255): Uint8Array {
  const name = `${mapping} ${top}`;
  let table = byteTables.get(name);
  if (!table) {
    table = Uint8Array.from({ length: 256 }, (_, byte) =>
      Math.round(mapped((byte / top) ** 2, mapping) * 255),
    );
    byteTables.set(name, table);
  }
  return table;
}

/** Okabe and Ito's palette, safe for colour blindness; black and yellow are left out as unreadable. */
export const OKABE_ITO: readonly string[] = [
  "#0072B2",
  "#D55E00",
  "#009E73",
  "#CC79A7",
  "#E69F00",
  "#56B4E9",
];
