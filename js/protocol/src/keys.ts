import { ProtocolError } from "./errors.ts";

/** A parsed name of a tile; the same grammar as lmkit/protocol/keys.py. */
export type Key =
  | { readonly kind: "thumb"; readonly layer: number }
  | { readonly kind: "head"; readonly layer: number; readonly head: number }
  | {
      readonly kind: "rows";
      readonly layer: number;
      readonly head: number;
      readonly first: number;
      /** excluded */
      readonly last: number;
    }
  | {
      readonly kind: "sum" | "from";
      readonly layer: number;
      readonly head: number;
      readonly tokens: readonly number[];
    };

const N = "(?:0|[1-9][0-9]{0,7})";
const GRAMMAR = new RegExp(
  `^(?:(?<kind1>thumb)/(?<l1>${N})` +
    `|(?<kind2>head)/(?<l2>${N})/(?<h2>${N})` +
    `|(?<kind3>rows)/(?<l3>${N})/(?<h3>${N})/(?<a>${N})-(?<b>${N})` +
    `|(?<kind4>sum|from)/(?<l4>${N})/(?<h4>${N})/(?<t>${N}(?:,${N})*))$`,
);

/** @throws ProtocolError when `text` is not the name of a tile. */
export function parseKey(text: string): Key {
  const found = GRAMMAR.exec(text)?.groups;
  if (!found)
    throw new ProtocolError(`${JSON.stringify(text.slice(0, 80))} is not the name of a tile.`);
  if (found["kind1"]) return { kind: "thumb", layer: Number(found["l1"]) };
  if (found["kind2"])
    return { kind: "head", layer: Number(found["l2"]), head: Number(found["h2"]) };
  if (found["kind3"]) {
    const [first, last] = [Number(found["a"]), Number(found["b"])];
    if (last <= first) throw new ProtocolError(`The rows of "${text}" are empty.`);
    return { kind: "rows", layer: Number(found["l3"]), head: Number(found["h3"]), first, last };
  }
  const kind = found["kind4"] === "sum" ? "sum" : "from";
  const tokens = (found["t"] ?? "").split(",").map(Number);
  return { kind, layer: Number(found["l4"]), head: Number(found["h4"]), tokens };
}

/** The inverse of {@link parseKey}. */
export function formatKey(key: Key): string {
  switch (key.kind) {
    case "thumb":
      return `thumb/${key.layer}`;
    case "head":
      return `head/${key.layer}/${key.head}`;
    case "rows":
      return `rows/${key.layer}/${key.head}/${key.first}-${key.last}`;
    case "sum":
    case "from":
      return `${key.kind}/${key.layer}/${key.head}/${key.tokens.join(",")}`;
  }
}
