/** The view protocol: types, readers of untrusted data, names and numbers of tiles. No DOM, no Jupyter. */
import { ProtocolError } from "./errors.ts";
import type {
  Advanced,
  Bundle,
  Changed,
  Outgoing,
  Partial,
  Refilled,
  RefillRequest,
  Selected,
  StatusChanged,
  ViewSpec,
} from "./generated/types.ts";
import { parseKey } from "./keys.ts";
import { isObject, parse } from "./parse.ts";
import type { Problem } from "./problems.ts";
import { tokensOf } from "./tokens.ts";

export { ProtocolError } from "./errors.ts";
export type * from "./generated/types.ts";
export {
  formatKey,
  type Key,
  MASKED,
  parseKey,
  SCORE_BLOCK,
  VECTOR_BLOCK,
} from "./keys.ts";
export { type Box, depth, type Level, levelOf, levels, TILE_SIDE, tileBox } from "./levels.ts";
export { fillIn, inWords, type Phrase, PROBLEMS } from "./problems.ts";
export {
  decodeTile,
  decodeValue,
  MAX_TILE_BYTES,
  type Tile,
  type TileValues,
  tileBytes,
  unpackTile,
} from "./tiles.ts";
export { tokensOf } from "./tokens.ts";

/** Version of this protocol. */
export const PROTOCOL = 1;

/** What pip installs where a Python lacks lmkit: the host, and a first task. */
export const PACKAGES = ["lmkit-core", "lmkit-classification"] as const;

/** lmkit's MIME type in notebook outputs. */
export const MIME = "application/vnd.lmkit.view.v1+json";

/** What the kernel says unasked. */
export type Event = Changed | StatusChanged | Partial | Selected | Advanced;

/** What the kernel says to a request, by its id. */
export type Answer = Exclude<Outgoing, Event>;

/** A field's value, and a cell of a table. */
export type FieldValue = string | number | boolean | null;

/** Reads a saved output. @throws ProtocolError with a sentence for people. */
export function parseBundle(data: unknown): Bundle {
  refuseOtherVersion(data, "unread.version.bundle");
  const bundle = parse("Bundle", data, "unread.bundle") as Bundle;
  readTokens(bundle.spec);
  return bundle;
}

/** Reads what came from a kernel. @throws ProtocolError with a sentence for people. */
export function parseOutgoing(data: unknown): Outgoing {
  const message = parse("Outgoing", data, "unread.message") as Outgoing;
  if (message.type === "welcome" || message.type === "changed") readTokens(message.spec);
  return message;
}

/** Reads a view's description on its own. @throws ProtocolError with a sentence for people. */
export function parseViewSpec(data: unknown): ViewSpec {
  refuseOtherVersion(data, "unread.version.view");
  const spec = parse("ViewSpec", data, "unread.view") as ViewSpec;
  readTokens(spec);
  return spec;
}

/** MIME type of an answer to a request for a refill among the outputs of code. */
export const REFILL_MIME = "application/vnd.lmkit.refill.v1+json";

/** Reads a request for tiles of a saved output. @throws ProtocolError with a sentence for people. */
export function parseRefillRequest(data: unknown): RefillRequest {
  const request = parse("RefillRequest", data, "unread.request") as RefillRequest;
  for (const key of request.keys) parseKey(key);
  return request;
}

/** Reads what a kernel gave for a saved output. @throws ProtocolError with a sentence for people. */
export function parseRefilled(data: unknown): Refilled {
  const found = parse("Refilled", data, "unread.message") as Refilled;
  readTokens(found.spec);
  return found;
}

/** Lengths and places of columns are beyond a JSON Schema: they are looked at here, at the door. */
function readTokens(spec: ViewSpec | null): void {
  if (spec?.kind !== "panel" || !spec.attention) return;
  tokensOf(spec.attention.tokens);
  if (spec.attention.keyTokens) tokensOf(spec.attention.keyTokens);
}

function refuseOtherVersion(data: unknown, key: Problem["key"]): void {
  if (!isObject(data)) return;
  const version = data["protocol"];
  if (typeof version === "number" && version !== PROTOCOL) {
    throw new ProtocolError({ key, values: { given: version, own: PROTOCOL } });
  }
}
