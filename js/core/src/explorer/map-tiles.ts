/** The tiles of one head's map: asked for when in sight, given up when out of it, kept for a while. */

import { levelOf, type Tile, tileBox } from "@lmkit/protocol";
import type { Context } from "../context.ts";
import { h, type Scope } from "../dom.ts";
import { rampOf } from "../scale.ts";
import { errorInfo, KernelError } from "../source.ts";
import type { Mapping } from "../store.ts";
import { image, positions } from "./draw.ts";
import type { HeadModel } from "./head-model.ts";
import { type Place, parentOf, placeOf, samePlace } from "./viewport.ts";

/** Asked for at a time: the kernel computes one after another, and the view may move on. */
const FLIGHTS = 4;
/** Tiles kept with their pictures: 320 kB each. */
const KEPT = 96;
/** Milliseconds until a tile that failed is asked for again. */
const PATIENCE = 5_000;

interface Kept {
  readonly place: Place;
  readonly tile: Tile;
  picture: HTMLCanvasElement | null;
}

export class MapTiles {
  #kept = new Map<string, Kept>();
  #flights = new Map<string, { readonly place: Place; readonly abort: AbortController }>();
  #failed = new Map<string, number>();

  constructor(
    readonly model: HeadModel,
    readonly context: Context,
    readonly scope: Scope,
    readonly changed: () => void,
  ) {
    scope.add(() => this.#leave(() => true));
  }

  #key({ level, row, column }: Place): string {
    return this.model.tileKey("map", `/${level}/${row}/${column}`);
  }

  /** Ask for these tiles, the first ones first, and give up all others that are on their way. */
  want(places: readonly Place[]): void {
    this.#leave((place) => !places.some((wanted) => samePlace(wanted, place)));
    for (const place of places) {
      if (this.#flights.size >= FLIGHTS) return;
      const key = this.#key(place);
      if (this.#kept.has(key) || this.#flights.has(key)) continue;
      if ((this.#failed.get(key) ?? 0) > performance.now()) continue;
      if (this.context.source.reaches(key)) this.#ask(key, place);
    }
  }

  get waiting(): boolean {
    return this.#flights.size > 0;
  }

  /** The tile if it is there; a look keeps it from being thrown away. */
  get(place: Place): Kept | null {
    const key = this.#key(place);
    const found = this.#kept.get(key);
    if (!found) return null;
    this.#kept.delete(key);
    this.#kept.set(key, found);
    return found;
  }

  /** The tile, or the nearest one above it that is there. */
  standIn(place: Place): Kept | null {
    const { queries, keys } = this.model.layer;
    for (let at: Place | null = place; at; at = parentOf(at, queries, keys)) {
      const found = this.get(at);
      if (found) return found;
    }
    return null;
  }

  /** The finest number known for a pair of tokens at `level` or above, and the bin that it is of. */
  at(level: number, query: number, key: number) {
    const { queries, keys } = this.model.layer;
    for (let z = level; z >= 0; z -= 1) {
      const where = placeOf(z, query, key, queries, keys);
      const found = levelOf(queries, keys, z);
      if (!where || !found) continue;
      const value = this.get(where.place)?.tile.at(where.row, where.column);
      if (value === undefined) continue;
      const [q, k] = [query - (query % found.rowBin), key - (key % found.columnBin)];
      return {
        value,
        rows: { first: q, last: Math.min(queries, q + found.rowBin) },
        columns: { first: k, last: Math.min(keys, k + found.columnBin) },
      };
    }
    return null;
  }

  /** A tile as a canvas of one pixel a cell, painted once. */
  picture(kept: Kept, mapping: Mapping): HTMLCanvasElement | null {
    if (kept.picture) return kept.picture;
    const [rows, columns] = kept.tile.shape as [number, number];
    const canvas = h("canvas", {});
    canvas.width = columns;
    canvas.height = rows;
    const drawing = canvas.getContext("2d");
    if (!drawing) return null;
    const cells = positions(kept.tile, 0, kept.tile.values.length, mapping, this.model.numbers);
    const ramp = rampOf(this.model.numbers, this.context.theme.current);
    drawing.putImageData(image(cells, columns, rows, ramp), 0, 0);
    kept.picture = canvas;
    return canvas;
  }

  /** Colours have changed: paint again when drawn next. */
  repaint(): void {
    for (const kept of this.#kept.values()) kept.picture = null;
  }

  #leave(gone: (place: Place) => boolean): void {
    for (const [key, { place, abort }] of this.#flights) {
      if (!gone(place)) continue;
      this.#flights.delete(key);
      abort.abort(new DOMException("Out of sight.", "AbortError"));
    }
  }

  #ask(key: string, place: Place): void {
    const abort = new AbortController();
    this.#flights.set(key, { place, abort });
    this.context.source.tile(key, abort.signal).then(
      (tile) => {
        if (abort.signal.aborted) return;
        this.#flights.delete(key);
        this.#keep(key, place, tile);
        this.changed();
      },
      (error: unknown) => {
        if (abort.signal.aborted) return;
        this.#flights.delete(key);
        this.#failed.set(key, performance.now() + PATIENCE);
        // The coarser picture stays in its place; only what the user can act on is said.
        const code = error instanceof KernelError ? error.info.code : "";
        if (!["not-carried", "lost", "closed", "cancelled"].includes(code)) {
          this.context.fail(errorInfo(error));
        }
      },
    );
  }

  #keep(key: string, place: Place, tile: Tile): void {
    const { queries, keys } = this.model.layer;
    const box = tileBox(queries, keys, place.level, place.row, place.column);
    const found = levelOf(queries, keys, place.level);
    if (!box || !found) return;
    const rows = Math.ceil((box.q1 - box.q0) / found.rowBin);
    const columns = Math.ceil((box.k1 - box.k0) / found.columnBin);
    if (tile.shape.length !== 2 || tile.shape[0] !== rows || tile.shape[1] !== columns) {
      this.#failed.set(key, Number.POSITIVE_INFINITY);
      return;
    }
    this.#kept.set(key, { place, tile, picture: null });
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= KEPT) break;
      this.#kept.delete(oldest);
    }
  }
}
