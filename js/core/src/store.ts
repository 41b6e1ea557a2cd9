/** What the user looks at: one state shared by all parts of a view. */

import type { AttentionSpec, Selection } from "@lmkit/protocol";
import type { FieldValues } from "./source.ts";

export type Mapping = "linear" | "sqrt" | "log";

/** The cell or token under the pointer or the keyboard's cursor; null where it has no side. */
export interface Focus {
  readonly query: number | null;
  readonly key: number | null;
}

export interface ViewState {
  readonly layer: number;
  readonly head: number;
  /** Chosen query tokens, ascending. */
  readonly tokens: readonly number[];
  readonly focus: Focus | null;
  /** The name of a lens of the spec; empty for the attention itself. */
  readonly lens: string;
  /** The name of one of the pictures (explorer/pictures.ts), or of a view of the spec. */
  readonly picture: string;
  readonly mapping: Mapping;
  /** Heads that are on where several are drawn, by their slots; null: those around the one on show. */
  readonly heads: readonly (number | null)[] | null;
  /** The smallest weight that has a line where several heads are drawn. */
  readonly least: number;
  readonly hideSpecials: boolean;
  /** The step of a generated text that is on show; null for all of them. */
  readonly step: number | null;
  /** What a click in a result asks a view of this pass, beside what its form holds. */
  readonly asked: { readonly view: string; readonly values: FieldValues } | null;
}

type Listener<T> = (state: T, previous: T) => void;

/** A value of plain fields that tells its listeners when a field has changed. */
export class Store<T extends object> {
  #state: T;
  #listeners = new Set<Listener<T>>();

  constructor(state: T) {
    this.#state = state;
  }

  get state(): T {
    return this.#state;
  }

  set(patch: Partial<T>): void {
    const previous = this.#state;
    const keys = Object.keys(patch) as (keyof T)[];
    if (keys.every((key) => Object.is(previous[key], patch[key]))) return;
    this.#state = { ...previous, ...patch };
    for (const listener of [...this.#listeners]) listener(this.#state, previous);
  }

  subscribe(listener: Listener<T>): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

/** The tokens after a click: alone, added or removed (ctrl), or the range from the anchor (shift). */
export function clickToken(
  tokens: readonly number[],
  index: number,
  anchor: number | null,
  keys: { readonly shift: boolean; readonly toggle: boolean },
): readonly number[] {
  if (keys.shift && anchor !== null) {
    const [first, last] = anchor < index ? [anchor, index] : [index, anchor];
    const range = Array.from({ length: last - first + 1 }, (_, step) => first + step);
    return keys.toggle ? union(tokens, range) : range;
  }
  if (keys.toggle) {
    return tokens.includes(index)
      ? tokens.filter((token) => token !== index)
      : union(tokens, [index]);
  }
  return tokens.length === 1 && tokens[0] === index ? [] : [index];
}

function union(a: readonly number[], b: readonly number[]): readonly number[] {
  return [...new Set([...a, ...b])].sort((x, y) => x - y);
}

/** A choice that exists: the same layer and head where there are such, else the nearest. */
export function validChoice(
  layers: readonly { readonly heads: number; readonly queries: number }[],
  wanted: { readonly layer: number; readonly head: number; readonly tokens: readonly number[] },
): { layer: number; head: number; tokens: readonly number[] } {
  const layer = Math.min(Math.max(0, wanted.layer), layers.length - 1);
  const spec = layers[layer];
  const head = Math.min(Math.max(0, wanted.head), (spec?.heads ?? 1) - 1);
  const queries = spec?.queries ?? 0;
  return { layer, head, tokens: wanted.tokens.filter((token) => token < queries) };
}

/** What a kernel's selection means for this pass; a picture that it leaves open stays. */
export function choiceOf(
  attention: AttentionSpec,
  wanted: Selection,
  now: ViewState,
): Pick<ViewState, "layer" | "head" | "tokens" | "lens" | "picture"> {
  const lens = attention.lenses.find((one) => one.name === wanted.lens && one.reason === "");
  const tokens = lens || wanted.lens === "" ? wanted.tokens : [];
  return {
    ...validChoice(attention.layers, { ...wanted, tokens }),
    lens: lens?.name ?? "",
    picture: wanted.picture || now.picture,
  };
}

/** The selection as the kernel is told it. */
export function selectionOf(state: ViewState): Selection {
  const { layer, head, tokens, lens, picture } = state;
  return { layer, head, tokens: [...tokens], lens, picture };
}
