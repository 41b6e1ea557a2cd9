/** Where a view gets its tiles and events from: what was saved first, then the kernel. */

import {
  type Answer,
  decodeTile,
  type ErrorInfo,
  type Event,
  type Export,
  type FieldValue,
  type Outgoing,
  PROTOCOL,
  type Progress,
  ProtocolError,
  parseOutgoing,
  type Request,
  type Result,
  type RunRecord,
  type SavedAnswer,
  type SavedTile,
  type Selection,
  type Status,
  type Tile,
  unpackTile,
  type ViewSpec,
} from "@lmkit/protocol";
import { TileCache } from "./cache.ts";
import type { Channel } from "./channel.ts";
import { errorInfo, KernelError, ownError } from "./errors.ts";
import { Refill, type Rest } from "./refill.ts";

export { errorInfo, errorText, KernelError, ownError } from "./errors.ts";

export const VERSION = "0.1.0";

/** How the view stands with its kernel; "refill": it gives tiles, and nothing else. */
export type Liveness = "saved" | "connecting" | "live" | "refill" | "lost" | "unknown-session";

/** Whether a kernel gives tiles that are not at hand. */
export function givesTiles(state: Liveness): boolean {
  return state === "live" || state === "refill";
}

/** Whether the user may ask a kernel for what a saved output lacks. */
export type RestState = "none" | "offered" | "asking";

export type FieldValues = Readonly<Record<string, FieldValue>>;

export type SourceEvent =
  | { readonly type: "state"; readonly state: Liveness }
  | { readonly type: "changed"; readonly spec: ViewSpec; readonly welcome: boolean }
  | { readonly type: "status"; readonly status: Status }
  | { readonly type: "partial"; readonly run: string; readonly results: readonly Result[] }
  | { readonly type: "selected"; readonly selection: Selection }
  | { readonly type: "failed"; readonly error: ErrorInfo };

/** A file that the kernel made of the view. */
export interface ExportedFile {
  readonly name: string;
  readonly mime: string;
  readonly notes: readonly string[];
  readonly data: ArrayBufferView;
}

export interface Source {
  readonly state: Liveness;
  /** Why there is no connection, where a shell said so; else empty. */
  readonly reason: string;
  /** lmkit's version in the kernel, once it has answered; else empty. */
  readonly kernelVersion: string;
  /** How many heads a saved output carries; null where nothing was saved. */
  readonly saved: { readonly heads: number; readonly carried: number } | null;
  /** What views showed last, as far as it was saved; of this very pass. */
  readonly answers: readonly SavedAnswer[];
  /** Whether what the output lacks may be asked for; a change of it is told as one of the state. */
  readonly rest: RestState;
  /** Ask for it, where that is offered; a refusal arrives as "failed". */
  askForRest(): void;
  /** True when the tile is at hand, or may be asked of a kernel. */
  reaches(key: string): boolean;
  /** True when the tile is at hand. */
  has(key: string): boolean;
  /** One tile. Rejects with `KernelError`; an abort rejects with the signal's reason. */
  tile(key: string, signal?: AbortSignal, background?: boolean): Promise<Tile>;
  /** Ask for a run; returns its id at once. A refusal arrives as a status event. */
  run(values: FieldValues): string;
  /** Tell the kernel what the fields hold, a moment after the last call. */
  edit(values: FieldValues): void;
  /** Stop a run. */
  cancel(run: string): Promise<void>;
  /** Tell the kernel what is selected, a moment after the last call. */
  select(selection: Selection): void;
  action(name: string, argument: string): Promise<void>;
  /** Give the panel the data set of this name: a variable of the kernel, or a path. */
  openRows(source: string): Promise<void>;
  /** Send the data set's rows through the task; returns the run's id. */
  runRows(mapping: Readonly<Record<string, string>>, values: FieldValues): string;
  /** Make the report on the rows again with these values of its own fields. */
  reportRows(values: FieldValues): Promise<void>;
  /** Ask a view for its results. Rejects as `tile` does; an abort stops the kernel's work. */
  query(
    name: string,
    values: FieldValues,
    selection: Selection,
    options?: QueryOptions,
  ): Promise<readonly Result[]>;
  /** The view as a file, made by the kernel. Rejects with `KernelError`. */
  exportAs(format: Export["format"], options: Export["options"]): Promise<ExportedFile>;
  /** What this output carries of the view, as its saved form without a kernel. */
  carried(spec: ViewSpec): object;
  subscribe(listener: (event: SourceEvent) => void): () => void;
  close(): void;
}

export interface QueryOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: Progress) => void;
}

/** An id that nobody guesses and no other view of the page has. */
export function randomId(): string {
  if (typeof crypto.randomUUID === "function") return crypto.randomUUID();
  // crypto.randomUUID is missing on pages served without TLS, as many JupyterLabs are.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

interface Pending {
  resolve(answer: { message: Answer; buffers: readonly ArrayBufferView[] }): void;
  reject(error: Error): void;
  progress?(progress: Progress): void;
}

interface Flight {
  readonly promise: Promise<Tile>;
  waiters: number;
  stop(): void;
}

type WithoutEnvelope<T> = T extends Request ? Omit<T, "id" | "view"> : never;
type Body = WithoutEnvelope<Request>;

const CACHE_BYTES = 64 * 1024 * 1024;
const EDIT_DELAY = 150;
const SELECT_DELAY = 100;
/** Thumbnails wait for each other, so that the head just clicked is never behind sixty of them. */
const BACKGROUND_FLIGHTS = 2;

/** Where a view finds its kernel, and what of it the page has; see the protocol's `Live`. */
export interface Where {
  readonly session: string;
  readonly view: string;
  readonly state?: string;
}

export interface SourceOptions {
  readonly where?: Where | null;
  readonly tiles?: readonly SavedTile[];
  readonly saved?: { readonly heads: number; readonly carried: number } | null;
  readonly spec?: ViewSpec | null;
  readonly record?: RunRecord | null;
  readonly answers?: readonly SavedAnswer[];
  readonly channel?: Promise<Channel> | Channel | null;
  /** How a kernel is asked for tiles where there is no channel. */
  readonly rest?: Rest | null;
}

/** The source of every view: saved tiles, and a kernel when a channel comes. */
export class KernelSource implements Source {
  readonly saved: { readonly heads: number; readonly carried: number } | null;
  reason = "";
  kernelVersion = "";

  #state: Liveness;
  readonly #where: Where | null;
  /** Digest of the saved spec while that is what the page shows. */
  #saved: string;
  /** Selections on their way to the kernel. */
  #choosing = 0;
  /** What was selected before the kernel was there. */
  #unsent: Selection | null = null;
  #channel: Channel | null = null;
  #cache = new TileCache(CACHE_BYTES);
  #savedTiles: Map<string, SavedTile>;
  #record: RunRecord | null;
  #answers: readonly SavedAnswer[];
  #fingerprint: string;
  #pending = new Map<string, Pending>();
  #flights = new Map<string, Flight>();
  #queue: { readonly quick: boolean; readonly go: () => void }[] = [];
  #background = 0;
  #listeners = new Set<(event: SourceEvent) => void>();
  #undo: (() => void)[] = [];
  #closed = false;
  #edit: { values: FieldValues; timer: ReturnType<typeof setTimeout> } | null = null;
  /** Values that were sent and not yet answered, the newest last. */
  readonly #editing: FieldValues[] = [];
  #select: { selection: Selection; timer: ReturnType<typeof setTimeout> } | null = null;
  #settled: Promise<void>;
  #settle: () => void = () => {};
  #rest: RestState = "none";
  #refill: Refill | null = null;

  constructor(options: SourceOptions) {
    this.#where = options.where ?? null;
    this.#saved = options.where?.state ?? "";
    this.#savedTiles = new Map((options.tiles ?? []).map((tile) => [tile.key, tile]));
    this.saved = options.saved ?? null;
    this.#record = options.record ?? null;
    this.#answers = options.answers ?? [];
    this.#fingerprint = fingerprint(options.spec ?? null);
    this.#settled = new Promise((resolve) => {
      this.#settle = resolve;
    });
    this.#begin(options.spec ?? null);
    const channel = this.#where ? options.channel : null;
    this.#state = channel ? "connecting" : "saved";
    if (!channel) this.#settle();
    else if (channel instanceof Promise) {
      channel.then(
        (open) => this.#connect(open),
        (error: unknown) => {
          this.reason = errorInfo(error).message;
          this.#become("saved");
        },
      );
    } else {
      // A microtask later, so that the caller can subscribe first.
      queueMicrotask(() => this.#connect(channel));
    }
    if (!channel && options.rest && options.spec) this.#offer(options.rest, options.spec);
  }

  get rest(): RestState {
    return this.#rest;
  }

  get state(): Liveness {
    return this.#state;
  }

  get answers(): readonly SavedAnswer[] {
    return this.#answers;
  }

  reaches(key: string): boolean {
    return this.has(key) || givesTiles(this.#state) || this.#state === "connecting";
  }

  has(key: string): boolean {
    return this.#cache.has(key) || this.#savedTiles.has(key);
  }

  async tile(key: string, signal?: AbortSignal, background = false): Promise<Tile> {
    signal?.throwIfAborted();
    const cached = this.#cache.get(key);
    if (cached) return cached;
    let flight = this.#flights.get(key);
    if (!flight) {
      flight = this.#launch(key, background);
      this.#flights.set(key, flight);
    }
    return join(flight, signal);
  }

  run(values: FieldValues): string {
    this.#dropEdit();
    const { id, answer } = this.#ask({ type: "run", values: { ...values } });
    answer.catch((error: unknown) => this.#failed(error));
    return id;
  }

  edit(values: FieldValues): void {
    this.#dropEdit();
    const timer = setTimeout(() => {
      this.#edit = null;
      if (this.#state !== "live") return;
      this.#editing.push(values);
      const done = () => {
        this.#editing.splice(this.#editing.indexOf(values), 1);
      };
      this.#ask({ type: "edit", values: { ...values } }).answer.then(done, done);
    }, EDIT_DELAY);
    this.#edit = { values, timer };
  }

  runRows(mapping: Readonly<Record<string, string>>, values: FieldValues): string {
    this.#dropEdit();
    const { id, answer } = this.#ask({
      type: "rows",
      do: "run",
      source: "",
      mapping: { ...mapping },
      values: { ...values },
    });
    answer.catch((error: unknown) => this.#failed(error));
    return id;
  }

  async openRows(source: string): Promise<void> {
    await this.#ask({ type: "rows", do: "open", source, mapping: {}, values: {} }).answer;
  }

  async reportRows(values: FieldValues): Promise<void> {
    await this.#ask({ type: "rows", do: "report", source: "", mapping: {}, values: { ...values } })
      .answer;
  }

  #failed(error: unknown): void {
    this.#emit({
      type: "status",
      status: { state: "error", run: null, progress: null, error: errorInfo(error), kept: false },
    });
  }

  async cancel(run: string): Promise<void> {
    await this.#ask({ type: "cancel", target: run }).answer;
  }

  select(selection: Selection): void {
    if (this.#select) clearTimeout(this.#select.timer);
    const timer = setTimeout(() => {
      this.#select = null;
      if (this.#state === "live") this.#choose(selection);
      else this.#unsent = selection;
    }, SELECT_DELAY);
    this.#select = { selection, timer };
  }

  #choose(selection: Selection): void {
    this.#choosing += 1;
    const done = () => {
      this.#choosing -= 1;
    };
    this.#ask({ type: "select", selection }).answer.then(done, done);
  }

  async action(name: string, argument: string): Promise<void> {
    await this.#ask({ type: "action", name, argument }).answer;
  }

  async query(
    name: string,
    values: FieldValues,
    selection: Selection,
    options: QueryOptions = {},
  ): Promise<readonly Result[]> {
    const { signal, onProgress } = options;
    signal?.throwIfAborted();
    await this.#settled;
    signal?.throwIfAborted();
    const { id, answer } = this.#ask(
      { type: "query", name, arguments: { ...values }, selection },
      onProgress,
    );
    const onAbort = () => {
      const waiting = this.#pending.get(id);
      if (!waiting) return;
      this.#pending.delete(id);
      waiting.reject(signal?.reason as Error);
      this.#tell({ type: "cancel", target: id });
    };
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      const { message } = await answer;
      if (message.type !== "answered") {
        throw ownError("ProtocolError", "error.other.question", { type: message.type });
      }
      return message.results;
    } finally {
      signal?.removeEventListener("abort", onAbort);
    }
  }

  async exportAs(format: Export["format"], options: Export["options"]): Promise<ExportedFile> {
    const { message, buffers } = await this.#ask({ type: "export", format, options }).answer;
    const data = buffers[0];
    if (message.type !== "exported" || !data) {
      throw ownError("ProtocolError", "error.other.export");
    }
    return { name: message.name, mime: message.mime, notes: message.notes, data };
  }

  carried(spec: ViewSpec): object {
    return {
      protocol: PROTOCOL,
      version: VERSION,
      spec,
      tiles: [...this.#savedTiles.values()],
      live: null,
      heads: this.saved?.heads ?? 0,
      headsCarried: this.#savedTiles.size > 0 ? (this.saved?.carried ?? 0) : 0,
      record: this.#record,
      answers: this.#answers,
    };
  }

  subscribe(listener: (event: SourceEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#dropEdit();
    if (this.#select) clearTimeout(this.#select.timer);
    this.#listeners.clear();
    this.#detach();
    this.#refill?.close();
    this.#rejectAll(ownError("closed", "error.closed"));
    this.#cache.clear();
    this.#savedTiles.clear();
    this.#settle();
  }

  // -- a kernel that gives tiles only ------------------------------------------------------------

  #offer(rest: Rest, spec: ViewSpec): void {
    const where = this.#where;
    if (!where || spec.kind !== "panel" || !spec.attention) return;
    const own = this.#fingerprint;
    this.#refill = new Refill(
      rest,
      { ...where, state: where.state ?? "" },
      (other) => fingerprint(other) === own,
      (error) => {
        // It will not come back: only the cell, run again, has the pass.
        const told = this.#state === "refill";
        this.#rest = "none";
        this.#become("unknown-session");
        if (told) this.#emit({ type: "failed", error: error.info });
      },
    );
    const undo = rest.offer((note) => {
      if (this.#closed || this.#state !== "saved" || this.#rest === "asking") return;
      this.#rest = note === "" ? "offered" : "none";
      this.reason = note;
      this.#emit({ type: "state", state: this.#state });
    });
    if (this.#closed) undo();
    else this.#undo.push(undo);
  }

  #lent(): boolean {
    return this.#state === "refill";
  }

  askForRest(): void {
    if (this.#rest !== "offered" || !this.#refill) return;
    this.#rest = "asking";
    this.#emit({ type: "state", state: this.#state });
    this.#refill.begin().then(
      () => {
        this.#rest = "none";
        this.#become("refill");
      },
      (error: unknown) => {
        if (this.#rest === "asking") {
          this.#rest = "offered";
          this.#emit({ type: "state", state: this.#state });
        }
        this.#emit({ type: "failed", error: errorInfo(error) });
      },
    );
  }

  // -- the connection ---------------------------------------------------------------------------

  #connect(channel: Channel): void {
    if (this.#closed || !this.#where) {
      channel.close();
      return;
    }
    this.#channel = channel;
    this.#undo = [
      channel.listen((message, buffers) => this.#receive(message, buffers)),
      channel.onClose(() => {
        this.#detach(false);
        this.#become("lost");
      }),
    ];
    const { answer } = this.#ask({
      type: "hello",
      session: this.#where.session,
      protocol: PROTOCOL,
      version: VERSION,
      state: this.#saved,
    });
    answer.then(
      ({ message }) => {
        if (message.type !== "welcome") return;
        this.kernelVersion = message.version;
        if (message.spec) this.#replaceSpec(message.spec);
        this.#become("live");
        if (message.spec) this.#emit({ type: "changed", spec: message.spec, welcome: true });
        else if (this.#unsent) this.select(this.#unsent);
        this.#unsent = null;
      },
      (error: unknown) => {
        if (this.#closed || this.#state === "lost") return;
        const info = errorInfo(error);
        this.#detach();
        if (info.code === "unknown-session" || info.code === "unknown-view") {
          this.#become("unknown-session");
        } else {
          this.#become("lost");
          this.#emit({ type: "failed", error: info });
        }
      },
    );
  }

  #detach(close = true): void {
    const channel = this.#channel;
    this.#channel = null;
    for (const undo of this.#undo) undo();
    this.#undo = [];
    if (close) channel?.close();
  }

  #become(state: Liveness): void {
    if (this.#closed) return;
    if (state === "lost") this.#rejectAll(ownError("lost", "error.ended"));
    this.#settle();
    if (this.#state === state) return;
    this.#state = state;
    this.#emit({ type: "state", state });
  }

  #rejectAll(error: Error): void {
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const waiting of pending) waiting.reject(error);
  }

  #ask(
    body: Body,
    progress?: (progress: Progress) => void,
  ): {
    id: string;
    answer: Promise<{ message: Answer; buffers: readonly ArrayBufferView[] }>;
  } {
    const id = randomId();
    const answer = new Promise<{ message: Answer; buffers: readonly ArrayBufferView[] }>(
      (resolve, reject) => {
        const channel = this.#channel;
        if (!channel || !this.#where) {
          reject(ownError("lost", "error.nokernel"));
          return;
        }
        this.#pending.set(id, { resolve, reject, ...(progress ? { progress } : {}) });
        try {
          channel.send({ ...body, id, view: this.#where.view } as Request);
        } catch (error) {
          this.#pending.delete(id);
          reject(error instanceof Error ? error : new Error(String(error)));
        }
      },
    );
    return { id, answer };
  }

  /** Ask where the answer does not matter; a lost connection shows itself elsewhere. */
  #tell(body: Body): void {
    if (this.#state === "live") this.#ask(body).answer.catch(() => {});
  }

  #dropEdit(): void {
    if (this.#edit) clearTimeout(this.#edit.timer);
    this.#edit = null;
  }

  #receive(data: unknown, buffers: readonly ArrayBufferView[]): void {
    if (this.#closed || typeof data !== "object" || data === null) return;
    // Many views may share one connection: what is not for this one is not even checked.
    const envelope = data as { readonly view?: unknown; readonly id?: unknown };
    if (envelope.view !== this.#where?.view) return;
    const waiting = typeof envelope.id === "string" ? this.#pending.get(envelope.id) : undefined;
    try {
      const message = parseOutgoing(data);
      if (message.type === "advanced") {
        this.#pending.get(message.request)?.progress?.(message.progress);
        return;
      }
      if (isEvent(message)) {
        this.#event(message);
        return;
      }
      if (!waiting) return;
      this.#pending.delete(message.id);
      if (message.type === "error") waiting.reject(new KernelError(message.error));
      else waiting.resolve({ message, buffers });
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      if (waiting) {
        this.#pending.delete(envelope.id as string);
        waiting.reject(error);
      } else if (envelope.id === undefined) {
        this.#emit({ type: "failed", error: errorInfo(error) });
      }
    }
  }

  #event(message: Exclude<Event, { type: "advanced" }>): void {
    if (message.type === "changed") {
      this.#replaceSpec(message.spec);
      this.#emit({ type: "changed", spec: this.#asEdited(message.spec), welcome: false });
    } else if (message.type === "status") {
      this.#emit({ type: "status", status: message.status });
    } else if (message.type === "partial") {
      this.#emit({ type: "partial", run: message.run, results: message.results });
    } else if (this.#select === null && this.#choosing === 0) {
      // The kernel tells every copy: while a newer choice is on its way, this is an older one.
      this.#emit({ type: "selected", selection: message.selection });
    }
  }

  /** With the values that are on their way: the kernel tells every copy, the older ones too. */
  #asEdited(spec: ViewSpec): ViewSpec {
    const newest = this.#edit?.values ?? this.#editing.at(-1);
    if (spec.kind !== "panel" || newest === undefined) return spec;
    return { ...spec, values: { ...spec.values, ...newest } };
  }

  #emit(event: SourceEvent): void {
    if (this.#closed) return;
    for (const listener of [...this.#listeners]) listener(event);
  }

  /** Another computation voids all tiles; the same one, seen again after a reload, keeps them. */
  #replaceSpec(spec: ViewSpec): void {
    this.#saved = "";
    const next = fingerprint(spec);
    if (next === this.#fingerprint) return;
    this.#fingerprint = next;
    this.#cache.clear();
    this.#savedTiles.clear();
    this.#record = null;
    this.#answers = [];
    for (const flight of [...this.#flights.values()]) flight.stop();
    this.#flights.clear();
  }

  // -- tiles ------------------------------------------------------------------------------------

  /** Unpack what a view draws first while its elements are being made. */
  #begin(spec: ViewSpec | null): void {
    if (spec?.kind !== "panel" || !spec.attention) return;
    const { layer, head, lens } = spec.attention.selection;
    const end = lens === "" ? "" : `@${lens}`;
    const keys = [`head/${layer}/${head}${end}`];
    for (const index of spec.attention.layers.keys()) keys.push(`thumb/${index}${end}`);
    for (const key of keys) {
      // Who asks for it later hears what is wrong.
      if (this.#savedTiles.has(key)) this.tile(key).catch(() => undefined);
    }
  }

  #launch(key: string, background: boolean): Flight {
    const stopped = new AbortController();
    const flight: Flight = {
      waiters: 0,
      stop: () => {
        stopped.abort(new DOMException("The tile is no longer wanted.", "AbortError"));
        if (this.#flights.get(key) === flight) this.#flights.delete(key);
      },
      promise: this.#load(key, background, stopped.signal)
        .then((tile) => {
          if (!stopped.signal.aborted && !this.#closed) this.#cache.put(key, tile);
          return tile;
        })
        .finally(() => {
          if (this.#flights.get(key) === flight) this.#flights.delete(key);
        }),
    };
    // Every waiter has its own handle; an abandoned flight must not be an unhandled rejection.
    flight.promise.catch(() => {});
    return flight;
  }

  async #load(key: string, background: boolean, signal: AbortSignal): Promise<Tile> {
    const saved = this.#savedTiles.get(key);
    if (saved) {
      try {
        return await unpackTile(saved);
      } catch (error) {
        // A damaged tile may still be had from the kernel.
        if (!givesTiles(this.#state) && this.#state !== "connecting") throw error;
      }
    }
    await this.#settled;
    if (this.#state === "refill" && this.#refill) {
      try {
        return await this.#refill.tile(key, signal, background);
      } catch (error) {
        // Once it has nothing more to give, that is said once, and not in each picture.
        if (this.#lent()) throw error;
      }
    }
    if (this.#state !== "live") {
      throw ownError("not-carried", "error.notcarried");
    }
    if (!background) return this.#fetch(key, signal);
    if (this.#background >= BACKGROUND_FLIGHTS) {
      // Quick pictures of all layers in sight come before the first exact one.
      const quick = key.startsWith("glance/");
      await new Promise<void>((go) => {
        const at = quick ? this.#queue.findIndex((waiting) => !waiting.quick) : -1;
        this.#queue.splice(at < 0 ? this.#queue.length : at, 0, { quick, go });
      });
    }
    this.#background += 1;
    try {
      return await this.#fetch(key, signal);
    } finally {
      this.#background -= 1;
      this.#queue.shift()?.go();
    }
  }

  async #fetch(key: string, signal: AbortSignal): Promise<Tile> {
    signal.throwIfAborted();
    const { id, answer } = this.#ask({ type: "tile", key });
    const onAbort = () => {
      const waiting = this.#pending.get(id);
      if (!waiting) return;
      this.#pending.delete(id);
      waiting.reject(signal.reason as Error);
      this.#tell({ type: "cancel", target: id });
    };
    signal.addEventListener("abort", onAbort);
    try {
      const { message, buffers } = await answer;
      if (message.type === "cancelled") {
        throw ownError("cancelled", "error.cancelled");
      }
      const bytes = buffers[0];
      if (message.type !== "tile" || message.tile.key !== key || !bytes) {
        throw ownError("ProtocolError", "error.other.tile", { key: key.slice(0, 80) });
      }
      return decodeTile(message.tile, bytes);
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }
}

const EVENTS: ReadonlySet<string> = new Set(["changed", "status", "partial", "selected"]);

function isEvent(message: Outgoing): message is Exclude<Event, { type: "advanced" }> {
  return EVENTS.has(message.type);
}

/** Wait for a shared flight; the last waiter to leave stops it. */
function join(flight: Flight, signal: AbortSignal | undefined): Promise<Tile> {
  flight.waiters += 1;
  return new Promise<Tile>((resolve, reject) => {
    const leave = () => {
      flight.waiters -= 1;
      if (flight.waiters === 0) flight.stop();
      reject(signal?.reason as Error);
    };
    signal?.addEventListener("abort", leave, { once: true });
    flight.promise.then(resolve, reject).finally(() => {
      signal?.removeEventListener("abort", leave);
    });
  });
}

/** What identifies a computation: everything but the form's state, the status and the selection. */
export function fingerprint(spec: ViewSpec | null): string {
  if (spec?.kind !== "panel") return "";
  const { attention, results, header } = spec;
  return JSON.stringify([header, results, attention && { ...attention, selection: null }]);
}
