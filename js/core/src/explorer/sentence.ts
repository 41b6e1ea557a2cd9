/** What the chosen or pointed-at token attends to, as data and as words. */

import type { Token } from "@lmkit/protocol";
import type { Translate } from "../messages.ts";
import { quoted } from "../numbers.ts";
import type { ViewState } from "../store.ts";
import { shortToken } from "../text.ts";
import type { HeadModel, Values } from "./head-model.ts";

export interface Item {
  readonly index: number;
  readonly token: Token;
  readonly value: number;
}

/** A vector over tokens with its subject and direction. */
export interface Reading {
  readonly subjects: readonly Token[];
  /** "to": what the subjects attend to (values over keys); "from": who attends to the key. */
  readonly direction: "to" | "from";
  readonly over: readonly Token[];
  readonly values: Values;
}

/** What there is to read now: the token under the cursor first, else the chosen tokens. */
export function reading(model: HeadModel, state: ViewState): Reading | null {
  const { focus, tokens } = state;
  if (focus && focus.query !== null) {
    const subject = model.queries[focus.query];
    const values = model.row(focus.query);
    if (subject && values)
      return { subjects: [subject], direction: "to", over: model.keys, values };
  } else if (focus && focus.key !== null) {
    const subject = model.keys[focus.key];
    const values = model.column(focus.key);
    if (subject && values) {
      return { subjects: [subject], direction: "from", over: model.queries, values };
    }
  }
  const values = model.sum(tokens);
  if (!values) return null;
  const subjects = tokens.flatMap((token) => model.queries[token] ?? []);
  return { subjects, direction: "to", over: model.keys, values };
}

/** The largest values, falling. */
export function top(read: Reading, most: number, hideSpecials: boolean): readonly Item[] {
  const best: Item[] = [];
  for (let index = 0; index < read.over.length; index += 1) {
    const token = read.over[index] as Token;
    const value = read.values.values[index] ?? 0;
    if (value === 0 || (hideSpecials && token.special)) continue;
    const last = best[best.length - 1];
    if (best.length >= most && last && value <= last.value) continue;
    let at = best.length;
    while (at > 0 && (best[at - 1] as Item).value < value) at -= 1;
    best.splice(at, 0, { index, token, value });
    if (best.length > most) best.pop();
  }
  return best;
}

/** The verb of a reading in words. */
export function verb(read: Reading, t: Translate): string {
  if (read.direction === "from") return t("sentence.attended");
  return t.plural("sentence.sum", read.subjects.length);
}

/** A reading as one line of text, for screen readers. */
export function sentenceText(read: Reading, hideSpecials: boolean, t: Translate): string {
  const subjects = read.subjects.slice(0, 3).map((token) => shortToken(token.text));
  const items = top(read, 3, hideSpecials).map(
    (item) => `${shortToken(item.token.text)} ${quoted(item.value, read.values.exact)}`,
  );
  return `${subjects.join(", ")} ${verb(read, t)}: ${items.join(", ")}`;
}
