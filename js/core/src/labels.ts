/**
 * The look of a label, the same in every output of a notebook and after it is opened again.
 *
 * It depends on the label's text alone: no order of cells, kernel or page can change it. Labels of
 * the usual schemes of entities and sentiment have looks of their own; any other gets one by a
 * hash, and two may share it, which is why a label's text always stands beside its colour. Colours
 * are Okabe and Ito's; each comes with four kinds of line, so that colour is not the only carrier.
 */

import { OKABE_ITO } from "./scale.ts";

export const LINES = ["solid", "dashed", "dotted", "double"] as const;

export interface LabelStyle {
  readonly colour: string;
  readonly line: (typeof LINES)[number];
}

/** Labels with a look of their own, one row a colour, a column a kind of line. */
const KNOWN: readonly (readonly string[])[] = [
  ["PER PERSON PERSNAME POSITIVE POS ENTAILMENT", "LAW", "LANGUAGE", "CREATIVE-WORK"],
  [
    "ORG ORGANIZATION ORGANISATION NEGATIVE NEG CONTRADICTION",
    "NORP GROUP",
    "ORDINAL",
    "CORPORATION",
  ],
  ["LOC LOCATION PLACE", "GPE", "FAC FACILITY BUILDING", "ADDRESS"],
  ["MISC MISCELLANEOUS OTHER NEUTRAL NEU", "PRODUCT", "WORK_OF_ART", "CARDINAL"],
  ["DATE", "TIME", "EVENT", "AGE"],
  ["MONEY", "PERCENT", "QUANTITY", "EMAIL"],
];

const known = new Map(
  KNOWN.flatMap((names, colour) =>
    names.flatMap((same, line) => same.split(" ").map((name) => [name, { colour, line }] as const)),
  ),
);

/** B-PER and I-PER are looks of PER: the prefixes of the usual tag schemes are left out. */
export function bareLabel(label: string): string {
  return /^[BIESUL]-./u.test(label) ? label.slice(2) : label;
}

/** FNV-1a over UTF-16 units, its upper half folded in: names that differ in a letter spread. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let index = 0; index < text.length; index += 1) {
    value = Math.imul(value ^ text.charCodeAt(index), 0x01000193) >>> 0;
  }
  return (value ^ (value >>> 15)) >>> 0;
}

export function labelStyle(label: string): LabelStyle {
  const name = bareLabel(label).toUpperCase();
  const slots = OKABE_ITO.length * LINES.length;
  const slot = name === "" ? 0 : hash(name) % slots;
  const own = known.get(name);
  const colour = own?.colour ?? slot % OKABE_ITO.length;
  const line = own?.line ?? Math.floor(slot / OKABE_ITO.length);
  return { colour: OKABE_ITO[colour] as string, line: LINES[line] as LabelStyle["line"] };
}

/** A line of a label's look as CSS background images, 3 px high; `at` is its distance from below. */
export function underline(
  { colour, line }: LabelStyle,
  at: number,
): readonly { readonly image: string; readonly size: string; readonly position: string }[] {
  const place = (from: number) => `0 calc(100% - ${from}px)`;
  if (line === "double") {
    const image = `linear-gradient(${colour}, ${colour})`;
    return [at, at + 2].map((from) => ({ image, size: "100% 1px", position: place(from) }));
  }
  const [on, off] = line === "dashed" ? [7, 3] : [2, 2];
  const image =
    line === "solid"
      ? `linear-gradient(${colour}, ${colour})`
      : `repeating-linear-gradient(90deg, ${colour} 0 ${on}px, transparent ${on}px ${on + off}px)`;
  return [{ image, size: "100% 2px", position: place(at) }];
}

/** A label's look as the background of an upright bar, 4 px wide. */
export function upright({ colour, line }: LabelStyle): string {
  if (line === "double")
    return `linear-gradient(90deg, ${colour} 0 1px, transparent 1px 3px, ${colour} 3px 4px)`;
  const [on, off] = { solid: [1, 0], dashed: [5, 2], dotted: [2, 2] }[line] as [number, number];
  return `repeating-linear-gradient(${colour} 0 ${on}px, transparent ${on}px ${on + off}px)`;
}

/** Draw lines under an element, the first one nearest to its text. */
export function drawLines(
  element: HTMLElement,
  lines: readonly { readonly style: LabelStyle; readonly at: number }[],
): void {
  const parts = lines.flatMap(({ style, at }) => underline(style, at));
  element.style.backgroundImage = parts.map((part) => part.image).join(", ");
  element.style.backgroundSize = parts.map((part) => part.size).join(", ");
  element.style.backgroundPosition = parts.map((part) => part.position).join(", ");
}
