import { ProtocolError } from "./errors.ts";
import type { Token, TokenColumns } from "./generated/types.ts";
import type { Problem } from "./problems.ts";

const MOST = 10_000_000;
const read = new WeakMap<TokenColumns, readonly Token[]>();

/**
 * The tokens of a list by column, as `TokenColumns` of messages.py says; made once for each list.
 * @throws ProtocolError for columns of different lengths and places out of bounds.
 */
export function tokensOf(columns: TokenColumns): readonly Token[] {
  const known = read.get(columns);
  if (known) return known;
  const { text, raw, special, words, gaps, lengths } = columns;
  for (const column of [raw, words, gaps, lengths]) {
    if (column.length !== 0 && column.length !== text.length) {
      const values = { places: column.length, tokens: text.length };
      throw refused({ key: "unread.tokens.column", values });
    }
  }
  const isSpecial = new Set(special);
  for (const index of special) {
    if (index >= text.length) throw refused({ key: "unread.tokens.none", values: { index } });
  }
  let word = -1;
  let end = 0;
  const tokens = text.map((shown, index): Token => {
    const step = words[index] ?? null;
    if (step !== null) word += step;
    const start = end + (gaps[index] ?? 0);
    end = start + (lengths[index] ?? 0);
    if (!inBounds(start) || !inBounds(end) || (step !== null && !inBounds(word))) {
      throw refused({ key: "unread.tokens.place", values: { index } });
    }
    return {
      text: shown,
      raw: raw[index] ?? shown,
      special: isSpecial.has(index),
      word: step === null ? null : word,
      start,
      end,
    };
  });
  read.set(columns, tokens);
  return tokens;
}

const inBounds = (place: number): boolean => place >= 0 && place <= MOST;

const refused = (what: Problem): ProtocolError =>
  new ProtocolError({ key: "unread.tokens", values: { what } });
