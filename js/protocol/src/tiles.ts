import { ProtocolError } from "./errors.ts";
import type { SavedTile, TileHeader } from "./generated/types.ts";

export type TileValues = Float32Array | Uint8Array | Uint16Array;

/** Numbers of a view, in C order, as they came: quantised values are expanded one by one on reading. */
export interface Tile {
  readonly key: string;
  readonly shape: readonly number[];
  readonly encoding: TileHeader["encoding"];
  readonly values: TileValues;
  /** The number at these indices, decoded; undefined outside the tile. */
  at(...indices: number[]): number | undefined;
}

/** No tile is larger, whatever its header says. The same as MAX_TILE_BYTES in lmkit/protocol/codec.py. */
export const MAX_TILE_BYTES = 64 * 1024 * 1024;

const ITEM_BYTES = { f32: 4, "sqrt-u6": 1, "sqrt-u8": 1, "sqrt-u16": 2 } as const;

/** The largest code of each encoding of square roots. */
const TOP = { "sqrt-u6": 63, "sqrt-u8": 255, "sqrt-u16": 65535 } as const;

/** Bytes of a tile of this header. @throws ProtocolError when they are more than is ever read. */
export function tileBytes(header: TileHeader): number {
  const bytes = header.shape.reduce((product, size) => product * size, ITEM_BYTES[header.encoding]);
  if (bytes > MAX_TILE_BYTES) {
    const name = header.key.slice(0, 80);
    throw new ProtocolError({ key: "unread.tile.large", values: { name, bytes } });
  }
  return bytes;
}

/**
 * Makes a tile of its bytes (little-endian), without a copy where they are aligned.
 *
 * @throws ProtocolError when the bytes are not as many as the header says.
 */
export function decodeTile(header: TileHeader, bytes: ArrayBufferView): Tile {
  const expected = tileBytes(header);
  if (bytes.byteLength !== expected) {
    const name = header.key.slice(0, 80);
    const values = { name, given: bytes.byteLength, wanted: expected };
    throw new ProtocolError({ key: "unread.tile.bytes", values });
  }
  const { key, shape, encoding } = header;
  const values = typedView(encoding, bytes);
  const at = (...indices: number[]): number | undefined => {
    if (indices.length !== shape.length) return undefined;
    let offset = 0;
    for (let axis = 0; axis < shape.length; axis++) {
      const index = indices[axis] as number;
      const size = shape[axis] as number;
      if (!(index >= 0 && index < size)) return undefined;
      offset = offset * size + index;
    }
    return decodeValue(encoding, values[offset]);
  };
  return { key, shape, encoding, values, at };
}

/** One stored number as the attention it stands for: the square roots were stored, evenly spaced. */
export function decodeValue(
  encoding: TileHeader["encoding"],
  stored: number | undefined,
): number | undefined {
  if (stored === undefined || encoding === "f32") return stored;
  return (stored / TOP[encoding]) ** 2;
}

function typedView(encoding: TileHeader["encoding"], bytes: ArrayBufferView): TileValues {
  let { buffer, byteOffset } = bytes;
  const { byteLength } = bytes;
  if (byteOffset % ITEM_BYTES[encoding] !== 0) {
    buffer = buffer.slice(byteOffset, byteOffset + byteLength);
    byteOffset = 0;
  }
  // every platform with a browser is little-endian, as the tiles are
  if (ITEM_BYTES[encoding] === 1) return new Uint8Array(buffer, byteOffset, byteLength);
  if (encoding === "sqrt-u16") return new Uint16Array(buffer, byteOffset, byteLength / 2);
  return new Float32Array(buffer, byteOffset, byteLength / 4);
}

/**
 * Unpacks a tile of a saved output, never more bytes than its shape allows.
 *
 * @throws ProtocolError when it is truncated, damaged, or of another size than its shape says.
 */
export async function unpackTile(saved: SavedTile): Promise<Tile> {
  const bytes = new Uint8Array(tileBytes(saved));
  const name = saved.key.slice(0, 80);
  let filled = 0;
  try {
    // Not from a Blob: its bytes would go to the browser's process and back.
    const inflater = new DecompressionStream("deflate-raw");
    // What is wrong with the data is told by the reader.
    feed(inflater.writable.getWriter(), fromBase64(saved.data)).catch(() => undefined);
    const reader = inflater.readable.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      if (filled + value.byteLength > bytes.byteLength) {
        // a bomb, or a shape that lies: stop before anything more is inflated
        reader.cancel().catch(() => undefined);
        filled = Number.POSITIVE_INFINITY;
        break;
      }
      bytes.set(value, filled);
      filled += value.byteLength;
    }
  } catch (error) {
    throw new ProtocolError({ key: "unread.tile.damaged", values: { name } }, { cause: error });
  }
  if (filled !== bytes.byteLength) {
    const values = { name, wanted: bytes.byteLength };
    throw new ProtocolError({ key: "unread.tile.size", values });
  }
  return decodeTile(saved, bytes);
}

/** Bytes given to the inflater at once: what a bomb can blow them up to is a thousand times that. */
const SLICE = 16 * 1024;

async function feed(
  writer: WritableStreamDefaultWriter<BufferSource>,
  packed: Uint8Array<ArrayBuffer>,
): Promise<void> {
  for (let at = 0; at < packed.length; at += SLICE) {
    await writer.write(packed.subarray(at, at + SLICE));
  }
  await writer.close();
}

function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  const { fromBase64: native } = Uint8Array as {
    fromBase64?: (text: string) => Uint8Array<ArrayBuffer>;
  };
  if (native) return native.call(Uint8Array, text);
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let index = 0; index < binary.length; index++) bytes[index] = binary.charCodeAt(index);
  return bytes;
}
