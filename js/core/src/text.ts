/** Text of unknown origin, made visible: control characters, whitespace, lengths, code points. */

const C0 =
  "NUL SOH STX ETX EOT ENQ ACK BEL BS HT LF VT FF CR SO SI DLE DC1 DC2 DC3 DC4 NAK SYN ETB CAN EM SUB ESC FS GS RS US";
const C0_NAMES: readonly string[] = C0.split(" ");

const NAMED: ReadonlyMap<number, string> = new Map([
  [0x00ad, "SHY"],
  [0x061c, "ALM"],
  [0x180e, "MVS"],
  [0x200b, "ZWSP"],
  [0x200c, "ZWNJ"],
  [0x200e, "LRM"],
  [0x200f, "RLM"],
  [0x2028, "LS"],
  [0x2029, "PS"],
  [0x202a, "LRE"],
  [0x202b, "RLE"],
  [0x202c, "PDF"],
  [0x202d, "LRO"],
  [0x202e, "RLO"],
  [0x2060, "WJ"],
  [0x2066, "LRI"],
  [0x2067, "RLI"],
  [0x2068, "FSI"],
  [0x2069, "PDI"],
  [0xfeff, "BOM"],
]);

// ZWNJ and ZWJ shape Persian, Indic scripts and emoji: text with them is left as it is in prose.
const PROSE_ALLOWED: ReadonlySet<number> = new Set([0x09, 0x0a, 0x0d, 0x200c]);

function control(code: number): string | null {
  // Names in brackets: the pictures of U+2400 are missing from most fonts.
  if (code < 0x20) return `⟨${C0_NAMES[code]}⟩`;
  if (code === 0x7f) return "⟨DEL⟩";
  if (code >= 0x80 && code < 0xa0) return `⟨${code.toString(16).toUpperCase()}⟩`;
  if (code >= 0xd800 && code <= 0xdfff) return "\ufffd";
  const name = NAMED.get(code);
  return name === undefined ? null : `⟨${name}⟩`;
}

/** Prose with its controls shown (NUL as ⟨NUL⟩, a bidi override as ⟨RLO⟩); line breaks and tabs stay. */
export function visibleProse(text: string): string {
  let out = "";
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0;
    out += PROSE_ALLOWED.has(code) ? character : (control(code) ?? character);
  }
  return out;
}

/** A token in one line: controls shown and whitespace as marks (space ·, line break ↵, tab ⇥). */
export function visibleToken(text: string): string {
  let out = "";
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0;
    if (code === 0x20) out += "·";
    else if (code === 0x0a) out += "↵";
    else if (code === 0x0d) out += "↤";
    else if (code === 0x09) out += "⇥";
    else if (code === 0xa0) out += "⍽";
    else if (code === 0x3000) out += "⬚";
    else out += control(code) ?? character;
  }
  return out === "" ? "∅" : out;
}

/** A label or name in one line: as prose, but an empty one or one of blanks alone is made visible. */
export function visibleLabel(text: string): string {
  return text.trim() === "" ? visibleToken(text) : visibleProse(text).replace(/[\n\r\t]+/g, " ");
}

/** The number of code points: what Python's `len` counts. */
export function codePoints(text: string): number {
  let count = 0;
  for (const _ of text) count += 1;
  return count;
}

/** The first `most` code points, and how many there are (counted only as far as needed to know). */
export function head(text: string, most: number): { text: string; cut: boolean } {
  if (text.length <= most) return { text, cut: false };
  let units = 0;
  let count = 0;
  for (const character of text) {
    if (count === most) return { text: text.slice(0, units), cut: true };
    units += character.length;
    count += 1;
  }
  return { text, cut: false };
}

/** A short form of a token for a cell or an axis. */
export function shortToken(text: string, most = 24): string {
  const start = head(text, most);
  return start.cut ? `${visibleToken(start.text)}…` : visibleToken(text);
}

/** UTF-16 offsets of sorted-or-not code point offsets, in one walk over the text. */
export function utf16Offsets(text: string, offsets: readonly number[]): Map<number, number> {
  const wanted = [...new Set(offsets)].sort((a, b) => a - b);
  const found = new Map<number, number>();
  let next = 0;
  let units = 0;
  let points = 0;
  for (const character of text) {
    while (next < wanted.length && (wanted[next] as number) <= points) {
      found.set(wanted[next] as number, units);
      next += 1;
    }
    if (next >= wanted.length) return found;
    units += character.length;
    points += 1;
  }
  for (; next < wanted.length; next += 1) found.set(wanted[next] as number, units);
  return found;
}
