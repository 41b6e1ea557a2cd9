/** What a user prefers for all views of a page; a shell's settings tell it. Views made later follow. */

import type { Mapping } from "./store.ts";

export interface Preferences {
  /** The scale that a view begins with. */
  readonly mapping: Mapping;
  /** The colours of attention. Both are safe for colour blindness: one hue, told apart by lightness. */
  readonly colours: "blues" | "greys";
}

let now: Preferences = { mapping: "sqrt", colours: "blues" };

export function prefer(given: Partial<Preferences>): void {
  now = { ...now, ...given };
}

export function preferred(): Preferences {
  return now;
}
