import type { Tile } from "@lmkit/protocol";

/** Tiles by key; the least recently used go when their bytes exceed the budget. */
export class TileCache {
  #tiles = new Map<string, Tile>();
  #bytes = 0;

  constructor(readonly budget: number) {}

  get bytes(): number {
    return this.#bytes;
  }

  has(key: string): boolean {
    return this.#tiles.has(key);
  }

  get(key: string): Tile | undefined {
    const tile = this.#tiles.get(key);
    if (tile) {
      this.#tiles.delete(key);
      this.#tiles.set(key, tile);
    }
    return tile;
  }

  put(key: string, tile: Tile): void {
    this.#drop(key);
    this.#tiles.set(key, tile);
    this.#bytes += tile.values.byteLength;
    for (const oldest of this.#tiles.keys()) {
      if (this.#bytes <= this.budget || oldest === key) break;
      this.#drop(oldest);
    }
  }

  clear(): void {
    this.#tiles.clear();
    this.#bytes = 0;
  }

  #drop(key: string): void {
    const tile = this.#tiles.get(key);
    if (!tile) return;
    this.#tiles.delete(key);
    this.#bytes -= tile.values.byteLength;
  }
}
