import { ProtocolError } from "./errors.ts";

/** What each kind of tile is named by; the same table as FORMS in lmkit/protocol/keys.py. */
export const FORMS = {
  thumb: "heads",
  glance: "heads",
  head: "head",
  map: "level",
  rows: "range",
  sum: "tokens",
  from: "tokens",
  "query-groups": "layer",
  "key-groups": "layer",
  q: "range",
  k: "range",
  v: "range",
  score: "range",
} as const;

/** The score of a cell that a mask closes; as MASKED in lmkit/protocol/keys.py. */
export const MASKED = -3.4028234663852886e38;
/** Vectors and rows of scores are asked for in blocks, so that a saved output can carry them. */
export const VECTOR_BLOCK = 64;
export const SCORE_BLOCK = 8;

type Kinds<F> = {
  [K in keyof typeof FORMS]: (typeof FORMS)[K] extends F ? K : never;
}[keyof typeof FORMS];

/** Seen through a lens of the spec; absent for the attention itself. */
interface Lens {
  readonly lens?: string;
}

/** Heads first to last (excluded) of the layer. */
interface HeadRange {
  readonly first: number;
  readonly last: number;
}

interface AllHeads {
  readonly first?: never;
  readonly last?: never;
}

interface HeadPlace extends Lens {
  readonly layer: number;
  readonly head: number;
}

/** A parsed name of a tile. */
export type Key =
  | ({ readonly kind: Kinds<"layer">; readonly layer: number } & Lens)
  | ({ readonly kind: Kinds<"heads">; readonly layer: number } & (HeadRange | AllHeads) & Lens)
  | ({ readonly kind: Kinds<"head"> } & HeadPlace)
  | ({
      readonly kind: Kinds<"level">;
      readonly level: number;
      /** of tiles, not of cells */
      readonly row: number;
      readonly column: number;
    } & HeadPlace)
  | ({
      readonly kind: Kinds<"range">;
      readonly first: number;
      /** excluded */
      readonly last: number;
    } & HeadPlace)
  | ({ readonly kind: Kinds<"tokens">; readonly tokens: readonly number[] } & HeadPlace);

const N = "(?:0|[1-9][0-9]{0,7})";
const REST = {
  layer: `(?<layer>${N})`,
  heads: `(?<layer>${N})(?:/(?<first>${N})-(?<last>${N}))?`,
  head: `(?<layer>${N})/(?<head>${N})`,
  level: `(?<layer>${N})/(?<head>${N})/(?<level>${N})/(?<row>${N})/(?<column>${N})`,
  range: `(?<layer>${N})/(?<head>${N})/(?<first>${N})-(?<last>${N})`,
  tokens: `(?<layer>${N})/(?<head>${N})/(?<tokens>${N}(?:,${N})*)`,
} as const;
const LENS = "(?:@(?<lens>[a-z][a-z0-9-]{0,63}))?";
const GRAMMARS = Object.fromEntries(
  Object.entries(REST).map(([form, rest]) => [form, new RegExp(`^${rest}${LENS}$`)]),
) as Record<keyof typeof REST, RegExp>;

/** @throws ProtocolError when `text` is not the name of a tile. */
export function parseKey(text: string): Key {
  const slash = text.indexOf("/");
  const kind = text.slice(0, Math.max(0, slash));
  const form = Object.hasOwn(FORMS, kind) ? FORMS[kind as keyof typeof FORMS] : undefined;
  const found = form && GRAMMARS[form].exec(text.slice(slash + 1))?.groups;
  if (!found) {
    const values = { text: JSON.stringify(text.slice(0, 80)) };
    throw new ProtocolError({ key: "unread.key", values });
  }
  const place = {
    kind,
    layer: Number(found["layer"]),
    ...(found["lens"] === undefined ? {} : { lens: found["lens"] }),
  };
  if (form === "layer") return place as Key;
  let range = {};
  if (found["first"] !== undefined) {
    const [first, last] = [Number(found["first"]), Number(found["last"])];
    if (last <= first) throw new ProtocolError({ key: "unread.key.empty", values: { text } });
    range = { first, last };
  }
  if (form === "heads") return { ...place, ...range } as Key;
  const head = Number(found["head"]);
  if (form === "range") return { ...place, head, ...range } as Key;
  if (form === "level") {
    const [level, row, column] = [found["level"], found["row"], found["column"]].map(Number);
    return { ...place, head, level, row, column } as Key;
  }
  if (form === "tokens") {
    return { ...place, head, tokens: (found["tokens"] ?? "").split(",").map(Number) } as Key;
  }
  return { ...place, head } as Key;
}

/** The inverse of {@link parseKey}. */
export function formatKey(key: Key): string {
  const parts: (string | number)[] = [key.kind, key.layer];
  if ("head" in key) parts.push(key.head);
  if ("level" in key) parts.push(key.level, key.row, key.column);
  if ("first" in key && key.first !== undefined) parts.push(`${key.first}-${key.last}`);
  if ("tokens" in key) parts.push(key.tokens.join(","));
  return parts.join("/") + (key.lens ? `@${key.lens}` : "");
}
