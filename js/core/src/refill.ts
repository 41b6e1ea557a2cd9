/** Tiles of a saved output from a kernel that answers one question at a time, and nothing else. */

import {
  parseRefilled,
  type Refilled,
  type RefillRequest,
  type Tile,
  unpackTile,
  type ViewSpec,
} from "@lmkit/protocol";
import { KernelError, ownError } from "./errors.ts";

/** What a shell lends where it can ask a kernel for tiles but has no channel to it. */
export interface Rest {
  /**
   * Calls back, now or later, with "" when the user may ask, else with a sentence on how the rest is
   * had; again when that changes. Returns its undo.
   */
  offer(tell: (note: string) => void): () => void;
  /** The kernel's answer, untrusted. Rejects with a `KernelError`, also where the user says no. */
  ask(request: RefillRequest): Promise<unknown>;
}

/** Tiles in one question where somebody waits for one of them, and where only pictures fill in. */
const MOST = 32;
const BEHIND = 8;
/** Milliseconds in which questions of one moment are gathered. */
const GATHER = 10;
/** Refusals after which the kernel has nothing more for this page: it never had the pass, or lost it. */
const FINAL: readonly string[] = ["unknown-session", "unknown-view", "not-loaded", "ended"];
/** Times in a row that the kernel may name another state of the same pass. */
const PATIENCE = 5;

interface Waiting {
  readonly background: boolean;
  resolve(tile: Tile): void;
  reject(error: unknown): void;
}

export class Refill {
  readonly #waiting = new Map<string, Waiting>();
  #state: string;
  #busy = false;
  #closed = false;

  /**
   * @param where whom to ask, and the digest of the spec that the page has
   * @param same whether a spec of the kernel belongs to the pass that the page shows
   * @param gone called once the kernel has nothing more to give: another run, or another kernel
   */
  constructor(
    private readonly rest: Rest,
    private readonly where: {
      readonly session: string;
      readonly view: string;
      readonly state: string;
    },
    private readonly same: (spec: ViewSpec) => boolean,
    private readonly gone: (error: KernelError) => void,
  ) {
    this.#state = where.state;
  }

  /** Whether the kernel has the pass. Rejects with the sentence on why not. */
  async begin(): Promise<void> {
    await this.#ask([]);
  }

  /** One tile; aborted ones that have not been asked for yet are forgotten. */
  tile(key: string, signal: AbortSignal, background: boolean): Promise<Tile> {
    return new Promise<Tile>((resolve, reject) => {
      if (this.#closed) {
        reject(ownError("closed", "error.closed"));
        return;
      }
      if (signal.aborted) {
        reject(signal.reason as Error);
        return;
      }
      this.#waiting.set(key, { background, resolve, reject });
      signal.addEventListener("abort", () => {
        if (this.#waiting.get(key)?.resolve === resolve) this.#waiting.delete(key);
        reject(signal.reason as Error);
      });
      void this.#pump();
    });
  }

  close(): void {
    this.#closed = true;
    this.#fail([...this.#waiting.keys()], ownError("closed", "error.closed"));
  }

  /** Ask for what waits until nothing does: first what was clicked, then what fills in. */
  async #pump(): Promise<void> {
    if (this.#busy) return;
    this.#busy = true;
    try {
      while (this.#waiting.size > 0 && !this.#closed) {
        await new Promise((resolve) => setTimeout(resolve, GATHER));
        const clicked = [...this.#waiting].filter(([, one]) => !one.background);
        const chosen =
          clicked.length > 0 ? clicked.slice(0, MOST) : [...this.#waiting].slice(0, BEHIND);
        const keys = chosen.map(([key]) => key);
        if (keys.length > 0) await this.#fetch(keys);
      }
    } finally {
      this.#busy = false;
    }
  }

  async #fetch(keys: readonly string[]): Promise<void> {
    let found: Refilled;
    try {
      found = await this.#ask(keys);
    } catch (error) {
      this.#fail(keys, error);
      return;
    }
    let told = 0;
    for (const { key, error } of found.refused) {
      if (keys.includes(key)) told += 1;
      this.#fail([key], new KernelError(error));
    }
    for (const saved of found.tiles) {
      const waiting = this.#waiting.get(saved.key);
      if (keys.includes(saved.key)) told += 1;
      this.#waiting.delete(saved.key);
      if (waiting) await unpackTile(saved).then(waiting.resolve, waiting.reject);
    }
    // The rest did not fit and is asked for again; that an answer brings nothing would have no end.
    if (told === 0) {
      this.#fail(keys, ownError("ProtocolError", "error.nothing"));
    }
  }

  #fail(keys: readonly string[], error: unknown): void {
    for (const key of keys) {
      const waiting = this.#waiting.get(key);
      this.#waiting.delete(key);
      waiting?.reject(error);
    }
  }

  async #ask(keys: readonly string[]): Promise<Refilled> {
    const { session, view } = this.where;
    for (let round = 0; round < PATIENCE; round++) {
      const asked = { session, view, state: this.#state, keys: [...keys] };
      const found = await this.#answer(asked);
      if (!found.spec) return found;
      if (!this.same(found.spec)) {
        const error = ownError("moved", "error.moved");
        this.#end(error);
        throw error;
      }
      this.#state = found.state;
    }
    throw ownError("busy", "error.unsteady");
  }

  async #answer(asked: RefillRequest): Promise<Refilled> {
    try {
      const found = parseRefilled(await this.rest.ask(asked));
      if (found.error) throw new KernelError(found.error);
      return found;
    } catch (error) {
      if (error instanceof KernelError && FINAL.includes(error.info.code)) this.#end(error);
      throw error;
    }
  }

  /** Ask no more: what waits would be asked in vain. */
  #end(error: KernelError): void {
    this.gone(error);
    this.#fail([...this.#waiting.keys()], error);
  }
}
