/** The numbers of the head on show: the quantised tile, and exact rows and sums as they arrive. */

import {
  type AttentionSpec,
  type ErrorInfo,
  type LayerSpec,
  type Tile,
  type Token,
  tokensOf,
} from "@lmkit/protocol";
import type { Context } from "../context.ts";
import type { Scope } from "../dom.ts";
import { type Numbers, SHARES } from "../scale.ts";
import { errorInfo, givesTiles, KernelError, ownError } from "../source.ts";
import type { Store, ViewState } from "../store.ts";
import { topOf } from "./draw.ts";

export type HeadStatus = "loading" | "ready" | "missing" | "error";

/** One number, and whether it is the model's float32 or rounded for the picture. */
export interface Value {
  readonly value: number;
  readonly exact: boolean;
}

/** A vector of numbers over tokens. */
export interface Values {
  readonly values: ArrayLike<number>;
  readonly exact: boolean;
}

/** What rows and columns of a layer count. */
export interface Sides {
  readonly queries: readonly Token[];
  readonly keys: readonly Token[];
}

/** The tokens of a layer's queries and keys: encoder layers of a pair see the source text. */
export function layerTokens(spec: AttentionSpec, layer: LayerSpec): Sides {
  // A lens has tokens of its own (lens.ts).
  const own = (spec as { sides?: Partial<Record<LayerSpec["role"], Sides>> }).sides?.[layer.role];
  if (own) return own;
  const tokens = tokensOf(spec.tokens);
  const source = spec.keyTokens && tokensOf(spec.keyTokens);
  if (!source) return { queries: tokens, keys: tokens };
  if (layer.role === "encoder") return { queries: source, keys: source };
  if (layer.role === "cross") return { queries: tokens, keys: source };
  return { queries: tokens, keys: tokens };
}

const ROWS_BLOCK = 8;
const ROWS_DELAY = 60;
/** Exact rows kept: at least those of a few screens, more as far as the bytes go. */
const ROWS_KEPT = 128;
const ROWS_BYTES = 16 * 1024 * 1024;
const MAX_KEY = 4096;

export class HeadModel {
  status: HeadStatus = "loading";
  error: ErrorInfo | null = null;
  tile: Tile | null = null;
  layer: LayerSpec;
  queries: readonly Token[];
  keys: readonly Token[];

  #rows = new Map<number, Float32Array>();
  #columns = new Map<number, Float32Array>();
  #top = 1;
  #wanted = new Set<string>();
  #sum: { readonly tokens: string; readonly values: Float32Array } | null = null;
  #work: Scope;
  #listeners = new Set<() => void>();
  #cancelRow: (() => void) | null = null;

  /** What the picture knows of a pair where the numbers themselves are not at hand. */
  coarse: ((query: number, key: number) => Value | null) | null = null;

  constructor(
    readonly spec: AttentionSpec,
    readonly store: Store<ViewState>,
    readonly context: Context,
    readonly scope: Scope,
  ) {
    this.layer = spec.layers[store.state.layer] as LayerSpec;
    ({ queries: this.queries, keys: this.keys } = layerTokens(spec, this.layer));
    this.#work = scope.child();
    scope.add(
      store.subscribe((state, before) => {
        if (state.layer !== before.layer || state.head !== before.head) this.load();
        else if (state.tokens !== before.tokens) this.#wantSum();
      }),
    );
    scope.add(
      context.source.subscribe((event) => {
        if (event.type === "state" && givesTiles(event.state) && this.status !== "ready")
          this.load();
      }),
    );
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #changed(): void {
    for (const listener of [...this.#listeners]) listener();
  }

  /** True where one cell of the tile stands for several tokens. */
  get pooled(): boolean {
    const shape = this.tile?.shape;
    return !!shape && ((shape[0] ?? 0) < this.layer.queries || (shape[1] ?? 0) < this.layer.keys);
  }

  /** Whether a kernel gives exact rows and sums. */
  get live(): boolean {
    return givesTiles(this.context.source.state);
  }

  /** What the numbers mean, and how large they get in the head on show. */
  get numbers(): Numbers {
    const { scale } = this.spec;
    if (scale === "share") return SHARES;
    return { scale, top: scale === "amount" ? this.#top : 1 };
  }

  /** The name of the tile of a head of the layer on show. */
  keyOf(head: number): string {
    return `head/${this.store.state.layer}/${head}`;
  }

  /** The name of a tile of the head on show: its kind, and what follows layer and head. */
  tileKey(kind: string, rest = ""): string {
    const { layer, head } = this.store.state;
    return `${kind}/${layer}/${head}${rest}`;
  }

  /** Fetch the tile of the head on show. */
  load(): void {
    const { layer } = this.store.state;
    this.#work.dispose();
    this.#work = this.scope.child();
    this.layer = this.spec.layers[layer] as LayerSpec;
    ({ queries: this.queries, keys: this.keys } = layerTokens(this.spec, this.layer));
    this.#rows.clear();
    this.#columns.clear();
    this.#wanted.clear();
    this.#sum = null;
    this.tile = null;
    this.error = null;
    const key = this.tileKey("head");
    this.status = this.context.source.reaches(key) ? "loading" : "missing";
    this.#changed();
    if (this.status === "missing") return;
    const abort = new AbortController();
    this.#work.add(() => abort.abort(new DOMException("Another head was chosen.", "AbortError")));
    this.context.source.tile(key, abort.signal).then(
      (tile) => {
        if (abort.signal.aborted) return;
        if (tile.shape.length !== 2) {
          this.#fail(ownError("ProtocolError", "error.axes", { n: tile.shape.length }));
          return;
        }
        this.tile = tile;
        this.#top = this.spec.scale === "amount" ? topOf(tile) : 1;
        this.status = "ready";
        this.#changed();
        this.#wantSum();
      },
      (error: unknown) => {
        if (!abort.signal.aborted) this.#fail(error);
      },
    );
  }

  #fail(error: unknown): void {
    const gone = error instanceof KernelError && ["not-carried", "lost"].includes(error.info.code);
    this.status = gone ? "missing" : "error";
    this.error = gone ? null : errorInfo(error);
    this.#changed();
  }

  /** The attention from a query to a key; null while nothing is known. */
  value(query: number, key: number): Value | null {
    const row = this.#rows.get(query);
    if (row) return { value: row[key] ?? 0, exact: true };
    if (!this.tile || this.pooled) return null;
    const value = this.tile.at(query, key);
    return value === undefined ? null : { value, exact: this.tile.encoding === "f32" };
  }

  /** The attention that a query pays to every key. */
  row(query: number): Values | null {
    const exact = this.#rows.get(query);
    if (exact) return { values: exact, exact: true };
    const { tile } = this;
    if (!tile || this.pooled || query >= (tile.shape[0] ?? 0)) return null;
    const columns = tile.shape[1] ?? 0;
    const values = Float32Array.from({ length: columns }, (_, key) => tile.at(query, key) ?? 0);
    return { values, exact: tile.encoding === "f32" };
  }

  /** The attention that a key gets from every query. */
  column(key: number): Values | null {
    const exact = this.#columns.get(key);
    if (exact) return { values: exact, exact: true };
    const { tile } = this;
    if (!tile || this.pooled || key >= (tile.shape[1] ?? 0)) return null;
    const rows = tile.shape[0] ?? 0;
    const values = Float32Array.from({ length: rows }, (_, query) => tile.at(query, key) ?? 0);
    for (const [query, row] of this.#rows) values[query] = row[key] ?? 0;
    return { values, exact: tile.encoding === "f32" || this.#rows.size >= rows };
  }

  /** The sum of the rows of the chosen tokens. */
  sum(tokens: readonly number[]): Values | null {
    if (tokens.length === 0) return null;
    if (tokens.length === 1) {
      const row = this.row(tokens[0] as number);
      if (row?.exact) return row;
    }
    if (this.#sum?.tokens === tokens.join(",")) return { values: this.#sum.values, exact: true };
    const total = new Float32Array(this.layer.keys);
    let exact = true;
    for (const token of tokens) {
      const row = this.row(token);
      if (!row) return null;
      exact &&= row.exact;
      for (let key = 0; key < total.length; key += 1) {
        total[key] = (total[key] as number) + (row.values[key] ?? 0);
      }
    }
    return { values: total, exact };
  }

  /** Ask the kernel for the exact numbers of a row, a moment later, unless another is asked first. */
  want(query: number): void {
    this.#cancelRow?.();
    this.#cancelRow = null;
    if (!this.live || this.status !== "ready" || this.#rows.has(query)) return;
    this.#cancelRow = this.#work.later(ROWS_DELAY, () => {
      this.#cancelRow = null;
      const first = query - (query % ROWS_BLOCK);
      this.wantRows(first, Math.min(first + ROWS_BLOCK, this.layer.queries));
    });
  }

  /** As `want`, for what all queries pay to a key. */
  wantColumn(key: number): void {
    this.#cancelRow?.();
    this.#cancelRow = null;
    if (!this.live || this.status !== "ready" || this.#columns.has(key)) return;
    this.#cancelRow = this.#work.later(ROWS_DELAY, () => {
      this.#cancelRow = null;
      const name = this.tileKey("from", `/${key}`);
      if (this.#wanted.has(name)) return;
      this.#fetch(name, (tile) => {
        this.#columns.set(key, Float32Array.from(tile.values));
      });
    });
  }

  /** Ask for the exact rows `first` to `last` (excluded) now, where they are not yet known. */
  wantRows(first: number, last: number): void {
    if (!this.live || last <= first) return;
    const missing = Array.from({ length: last - first }, (_, step) => first + step).some(
      (row) => !this.#rows.has(row),
    );
    const key = this.tileKey("rows", `/${first}-${last}`);
    if (!missing || this.#wanted.has(key)) return;
    this.#fetch(key, (tile) => {
      const columns = tile.shape[1] ?? 0;
      for (let row = first; row < last; row += 1) {
        const start = (row - first) * columns;
        this.#rows.set(row, Float32Array.from(tile.values.subarray(start, start + columns)));
      }
      // A pointer that wanders over 8,192 tokens would collect 32 kB a row without end.
      const most = Math.max(ROWS_KEPT, Math.floor(ROWS_BYTES / (4 * Math.max(1, columns))));
      for (const oldest of this.#rows.keys()) {
        if (this.#rows.size <= most) break;
        this.#rows.delete(oldest);
      }
    });
  }

  #wantSum(): void {
    const { tokens } = this.store.state;
    if (tokens.length === 0 || !this.live || this.status !== "ready") return;
    const list = tokens.join(",");
    const key = this.tileKey("sum", `/${list}`);
    if (this.#sum?.tokens === list || this.#wanted.has(key) || key.length > MAX_KEY) return;
    this.#fetch(key, (tile) => {
      this.#sum = { tokens: list, values: Float32Array.from(tile.values) };
    });
  }

  #fetch(key: string, take: (tile: Tile) => void): void {
    this.#wanted.add(key);
    const abort = new AbortController();
    this.#work.add(() => abort.abort(new DOMException("No longer on show.", "AbortError")));
    this.context.source.tile(key, abort.signal).then(
      (tile) => {
        if (abort.signal.aborted) return;
        take(tile);
        this.#wanted.delete(key);
        this.#changed();
      },
      // The picture keeps its rounded number, marked as such; asking again may succeed.
      () => this.#wanted.delete(key),
    );
  }
}
