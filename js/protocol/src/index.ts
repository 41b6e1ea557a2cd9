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
import { tokensOf } from "./tokens.ts";

export { cellSource } from "./cells.ts";
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
  refuseOtherVersion(data, "This output was saved with protocol");
  const bundle = parse("Bundle", data, "This saved output cannot be read") as Bundle;
  readTokens(bundle.spec);
  return bundle;
}

/** Reads what came from a kernel. @throws ProtocolError with a sentence for people. */
export function parseOutgoing(data: unknown): Outgoing {
  const message = parse("Outgoing", data, "The kernel sent what this view cannot read") as Outgoing;
  if (message.type === "welcome" || message.type === "changed") readTokens(message.spec);
  return message;
}

/** Reads a view's description on its own. @throws ProtocolError with a sentence for people. */
export function parseViewSpec(data: unknown): ViewSpec {
  refuseOtherVersion(data, "This view has protocol");
  const spec = parse("ViewSpec", data, "This view cannot be read") as ViewSpec;
  readTokens(spec);
  return spec;
}

/** MIME type of an answer to a request for a refill among the outputs of code. */
export const REFILL_MIME = "application/vnd.lmkit.refill.v1+json";

/** Reads a request for tiles of a saved output. @throws ProtocolError with a sentence for people. */
export function parseRefillRequest(data: unknown): RefillRequest {
  const request = parse("RefillRequest", data, "This is no request for tiles") as RefillRequest;
  for (const key of request.keys) parseKey(key);
  return request;
}

/** Reads what a kernel gave for a saved output. @throws ProtocolError with a sentence for people. */
export function parseRefilled(data: unknown): Refilled {
  const found = parse("Refilled", data, "The kernel sent what this view cannot read") as Refilled;
  readTokens(found.spec);
  return found;
}

/** Lengths and places of columns are beyond a JSON Schema: they are looked at here, at the door. */
function readTokens(spec: ViewSpec | null): void {
  if (spec?.kind !== "panel" || !spec.attention) return;
  tokensOf(spec.attention.tokens);
  if (spec.attention.keyTokens) tokensOf(spec.attention.keyTokens);
}

function refuseOtherVersion(data: unknown, what: string): void {
  if (!isObject(data)) return;
  const version = data["protocol"];
  if (typeof version === "number" && version !== PROTOCOL) {
    throw new ProtocolError(
      `${what} ${version}; this lmkit reads ${PROTOCOL}. Run the cell again, or install the lmkit that saved it.`,
    );
  }
}
