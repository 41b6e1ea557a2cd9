/** Queries, keys, values and scores of one head, fetched in blocks when they are first asked for. */

import {
  type ErrorInfo,
  formatKey,
  type LayerSpec,
  SCORE_BLOCK,
  type Tile,
  VECTOR_BLOCK,
} from "@lmkit/protocol";
import type { Context } from "../context.ts";
import type { Scope } from "../dom.ts";
import { errorInfo, KernelError, ownError } from "../source.ts";

export type VectorKind = "q" | "k" | "v" | "score";

export class Vectors {
  /** True once something was asked for that neither the saved output nor a kernel has. */
  missing = false;
  error: ErrorInfo | null = null;
  /** How many blocks are on their way. */
  waiting = 0;

  #rows = new Map<string, Float32Array>();
  #asked = new Set<string>();

  constructor(
    readonly place: { readonly layer: number; readonly head: number },
    readonly layer: LayerSpec,
    readonly context: Context,
    readonly scope: Scope,
    readonly changed: () => void,
  ) {}

  /** One vector, or one row of scores; null while it is fetched. */
  get(kind: VectorKind, index: number): Float32Array | null {
    const found = this.#rows.get(`${kind}/${index}`);
    if (found) return found;
    this.#ask(kind, index);
    return null;
  }

  #ask(kind: VectorKind, index: number): void {
    const size = kind === "score" ? SCORE_BLOCK : VECTOR_BLOCK;
    const count = kind === "q" || kind === "score" ? this.layer.queries : this.layer.keys;
    const first = index - (index % size);
    const last = Math.min(first + size, count);
    const key = formatKey({ kind, ...this.place, first, last });
    if (index >= count || this.#asked.has(key)) return;
    this.#asked.add(key);
    if (!this.context.source.reaches(key)) {
      this.missing = true;
      return;
    }
    const abort = new AbortController();
    this.scope.add(() => abort.abort(new DOMException("No longer on show.", "AbortError")));
    this.waiting += 1;
    this.context.source
      .tile(key, abort.signal)
      .then(
        (tile) => this.#take(tile, kind, first, last),
        (error: unknown) => {
          if (!abort.signal.aborted) this.#fail(error);
        },
      )
      .finally(() => {
        this.waiting -= 1;
        if (!abort.signal.aborted) this.changed();
      });
  }

  #take(tile: Tile, kind: VectorKind, first: number, last: number): void {
    const width = tile.shape[1] ?? 0;
    if (tile.shape.length !== 2 || tile.shape[0] !== last - first || tile.encoding !== "f32") {
      this.#fail(ownError("ProtocolError", "error.shape", { name: tile.key }));
      return;
    }
    const values = tile.values as Float32Array;
    for (let row = first; row < last; row += 1) {
      const start = (row - first) * width;
      this.#rows.set(`${kind}/${row}`, values.subarray(start, start + width));
    }
  }

  #fail(error: unknown): void {
    const gone = error instanceof KernelError && ["not-carried", "lost"].includes(error.info.code);
    this.missing ||= gone;
    if (!gone) this.error = errorInfo(error);
  }
}
