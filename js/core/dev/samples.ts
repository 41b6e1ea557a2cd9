/** Made-up views, and a kernel that answers from formulas: enough to look at every state. */

import type {
  AttentionSpec,
  LayerSpec,
  PanelSpec,
  Request,
  Result,
  SavedTile,
  Token,
  TokenColumns,
  ViewInfo,
  ViewSpec,
} from "@lmkit/protocol";
import {
  type Box,
  type Key,
  type Level,
  levelOf,
  MASKED,
  parseKey,
  parseViewSpec,
  tileBox,
  tokensOf,
} from "@lmkit/protocol";
import type { Channel } from "../src/channel.ts";

const SIZE = 32;

/** As `TokenColumns.of` writes them. */
export function columnsOf(tokens: readonly Token[]): TokenColumns {
  let [word, end] = [-1, 0];
  const columns = {
    text: [] as string[],
    raw: [] as (string | null)[],
    special: [] as number[],
    words: [] as (number | null)[],
    gaps: [] as number[],
    lengths: [] as number[],
  };
  for (const [index, token] of tokens.entries()) {
    columns.text.push(token.text);
    columns.raw.push(token.raw === token.text ? null : token.raw);
    if (token.special) columns.special.push(index);
    columns.words.push(token.word === null ? null : token.word - word);
    word = token.word ?? word;
    columns.gaps.push(token.start - end);
    columns.lengths.push(token.end - token.start);
    end = token.end;
  }
  return columns;
}

export function words(text: string): Token[] {
  const tokens: Token[] = [];
  const add = (piece: string, special = false, start = 0) =>
    tokens.push({
      text: piece,
      raw: piece.startsWith(" ") ? `Ġ${piece.slice(1)}` : piece,
      special,
      word: special ? null : tokens.length - 1,
      start,
      end: start + (special ? 0 : piece.length),
    });
  add("[CLS]", true);
  for (const match of text.matchAll(/\w+|[^\w\s]/gu)) {
    add(match[0].toLowerCase(), false, match.index);
  }
  add("[SEP]", true, text.length);
  return tokens;
}

function random(seed: number): number {
  let x = (seed * 2654435761) >>> 0;
  x ^= x >>> 16;
  x = Math.imul(x, 2246822507) >>> 0;
  x ^= x >>> 13;
  return (x >>> 0) / 2 ** 32;
}

/** One row of a made-up head: previous token, next token, first, last, itself, broad or noisy. */
export function row(
  layer: number,
  head: number,
  query: number,
  keys: number,
  causal: boolean,
): Float32Array {
  const kind = Math.floor(random(layer * 131 + head * 7 + 3) * 7);
  const sharp = 1 + 5 * random(layer * 17 + head * 29 + 11);
  const out = new Float32Array(keys);
  let total = 0;
  for (let key = 0; key < keys; key += 1) {
    if (causal && key > query) continue;
    let score = random(layer * 7919 + head * 104729 + query * 31 + key * 17) * 2;
    const gap = key - query;
    if (kind === 0) score += gap === -1 ? sharp * 1.6 : 0;
    else if (kind === 1) score += gap === 1 ? sharp * 1.5 : 0;
    else if (kind === 2) score += key === 0 ? sharp * 1.2 : 0;
    else if (kind === 3) score += key === keys - 1 || (causal && key === 0) ? sharp * 1.4 : 0;
    else if (kind === 4) score += gap === 0 ? sharp : 0;
    else if (kind === 5) score -= Math.abs(gap) * 0.2;
    else score *= sharp * 0.6;
    out[key] = Math.exp(score);
    total += out[key] as number;
  }
  return out.map((value) => value / total);
}

const HEAD_SIZE = 64;

/** An orthonormal base (a cosine transform with signs), so that any scores can be had as q.k. */
function basis(j: number, m: number): number {
  const flat = j % HEAD_SIZE === 0 ? Math.SQRT1_2 : 1;
  const wave = Math.cos((Math.PI * (2 * m + 1) * (j % HEAD_SIZE)) / (2 * HEAD_SIZE));
  return Math.sqrt(2 / HEAD_SIZE) * flat * wave * (random(m * 13 + 5) < 0.5 ? -1 : 1);
}

/** Scores whose softmax is the made-up row; any small number where the mask closes. */
function scoresOf(layer: number, head: number, query: number, spec: LayerSpec): Float32Array {
  const level = 4 + random(layer * 3 + head + query * 11);
  return row(layer, head, query, spec.keys, spec.causal).map((weight, key) =>
    weight > 0 ? Math.log(weight) + level : 2 * random(layer + head * 3 + query * 5 + key) - 1,
  );
}

/** A query whose product with each key, scaled, is its score (over the first HEAD_SIZE keys). */
function queryVector(layer: number, head: number, query: number, spec: LayerSpec): Float32Array {
  const out = new Float32Array(HEAD_SIZE);
  const scores = scoresOf(layer, head, query, spec).subarray(0, HEAD_SIZE);
  for (const [key, score] of scores.entries()) {
    for (let m = 0; m < HEAD_SIZE; m += 1) out[m] = (out[m] as number) + score * basis(key, m);
  }
  return out.map((value) => value * 2);
}

function keyVector(key: number): Float32Array {
  return Float32Array.from({ length: HEAD_SIZE }, (_, m) => 4 * basis(key, m));
}

function pooled(layer: number, head: number, spec: LayerSpec, rows: number, columns: number) {
  const out = new Float32Array(rows * columns);
  const counts = new Float32Array(rows);
  // A page computes what a kernel would: of a long text a few rows of each bin.
  const stride = Math.max(1, Math.floor(spec.queries / Math.max(rows, 512)));
  for (let query = 0; query < spec.queries; query += stride) {
    const values = row(layer, head, query, spec.keys, spec.causal);
    const r = Math.floor((query * rows) / spec.queries);
    counts[r] = (counts[r] as number) + 1;
    for (let key = 0; key < spec.keys; key += 1) {
      const at = r * columns + Math.floor((key * columns) / spec.keys);
      out[at] = (out[at] as number) + (values[key] as number);
    }
  }
  return out.map((value, index) => value / (counts[Math.floor(index / columns)] as number));
}

/** A tile of the map: mass over bins of the level. */
function levelTile(spec: LayerSpec, key: Extract<Key, { readonly kind: "map" }>): MadeTile {
  const found = levelOf(spec.queries, spec.keys, key.level) as Level;
  const box = tileBox(spec.queries, spec.keys, key.level, key.row, key.column) as Box;
  const rows = Math.ceil((box.q1 - box.q0) / found.rowBin);
  const columns = Math.ceil((box.k1 - box.k0) / found.columnBin);
  const out = new Float32Array(rows * columns);
  for (let r = 0; r < rows; r += 1) {
    const query = box.q0 + r * found.rowBin + Math.floor(found.rowBin / 2);
    const values = row(key.layer, key.head, Math.min(query, box.q1 - 1), spec.keys, spec.causal);
    for (let k = box.k0; k < box.k1; k += 1) {
      const at = r * columns + Math.floor((k - box.k0) / found.columnBin);
      out[at] = (out[at] as number) + (values[k] as number);
    }
  }
  return { shape: [rows, columns], encoding: "sqrt-u8", bytes: quantised(out) };
}

function quantised(values: Float32Array): Uint8Array {
  return Uint8Array.from(values, (value) => Math.round(Math.sqrt(Math.min(1, value)) * 255));
}

export interface MadeTile {
  readonly shape: number[];
  readonly encoding: "f32" | "sqrt-u8";
  readonly bytes: Uint8Array;
}

/** The bytes of any tile of a made-up spec. */
export function makeTile(attention: AttentionSpec, text: string): MadeTile {
  const key = parseKey(text);
  const spec = attention.layers[key.layer] as LayerSpec;
  const f32 = (values: Float32Array, shape: number[]): MadeTile => ({
    shape,
    encoding: "f32",
    bytes: new Uint8Array(values.buffer),
  });
  if (key.kind === "query-groups" || key.kind === "key-groups") {
    // The made-up words: two tokens each, the special ones hidden.
    let at = -1;
    const groups = tokensOf(attention.tokens).map((token, index) => {
      if (token.special) return -1;
      if (index % 2 === 1) at += 1;
      return Math.max(0, at);
    });
    return f32(Float32Array.from(groups), [groups.length]);
  }
  if (!("head" in key)) {
    const side = Math.min(SIZE, spec.queries, spec.keys);
    const { first = 0, last = spec.heads } = key as { first?: number; last?: number };
    const all = new Uint8Array((last - first) * side * side);
    for (let head = first; head < last; head += 1) {
      all.set(quantised(pooled(key.layer, head, spec, side, side)), (head - first) * side * side);
    }
    return { shape: [last - first, side, side], encoding: "sqrt-u8", bytes: all };
  }
  if ("level" in key) return levelTile(spec, key);
  if (key.kind === "head") {
    const [rows, columns] = [Math.min(512, spec.queries), Math.min(512, spec.keys)];
    return {
      shape: [rows, columns],
      encoding: "sqrt-u8",
      bytes: quantised(pooled(key.layer, key.head, spec, rows, columns)),
    };
  }
  if (key.kind === "rows") {
    const values = new Float32Array((key.last - key.first) * spec.keys);
    for (let query = key.first; query < key.last; query += 1) {
      values.set(
        row(key.layer, key.head, query, spec.keys, spec.causal),
        (query - key.first) * spec.keys,
      );
    }
    return f32(values, [key.last - key.first, spec.keys]);
  }
  if (key.kind === "q" || key.kind === "k" || key.kind === "v") {
    const { first, last, kind } = key;
    const values = new Float32Array((last - first) * HEAD_SIZE);
    for (let index = first; index < last; index += 1) {
      const vector =
        kind === "q" ? queryVector(key.layer, key.head, index, spec) : keyVector(index);
      values.set(vector, (index - first) * HEAD_SIZE);
    }
    return f32(values, [last - first, HEAD_SIZE]);
  }
  if (key.kind === "score") {
    const values = new Float32Array((key.last - key.first) * spec.keys);
    for (let query = key.first; query < key.last; query += 1) {
      const scores = scoresOf(key.layer, key.head, query, spec);
      if (spec.causal) scores.fill(MASKED, query + 1);
      values.set(scores, (query - key.first) * spec.keys);
    }
    return f32(values, [key.last - key.first, spec.keys]);
  }
  if (key.kind === "sum") {
    const sum = new Float32Array(spec.keys);
    for (const token of key.tokens) {
      row(key.layer, key.head, token, spec.keys, spec.causal).forEach((value, index) => {
        sum[index] = (sum[index] as number) + value;
      });
    }
    return f32(sum, [spec.keys]);
  }
  if (!("tokens" in key)) throw new Error(`The made-up tiles hold no ${text}.`);
  const { tokens } = key;
  const from = Float32Array.from({ length: spec.queries }, (_, query) => {
    const values = row(key.layer, key.head, query, spec.keys, spec.causal);
    return tokens.reduce((sum, token) => sum + (values[token] ?? 0), 0);
  });
  return f32(from, [spec.queries]);
}

/** A tile as a saved output holds it. */
export async function saveTile(attention: AttentionSpec, key: string): Promise<SavedTile> {
  const tile = makeTile(attention, key);
  const stream = new Blob([tile.bytes as Uint8Array<ArrayBuffer>])
    .stream()
    .pipeThrough(new CompressionStream("deflate-raw"));
  const packed = new Uint8Array(await new Response(stream).arrayBuffer());
  let binary = "";
  for (const byte of packed) binary += String.fromCharCode(byte);
  return { key, shape: tile.shape, encoding: tile.encoding, data: btoa(binary) };
}

export interface Made {
  readonly spec: ViewSpec;
  /** A kernel that never finishes a run, for pictures of running. */
  readonly hangs?: boolean;
}

/** A kernel in the page: answers every request of a view a few milliseconds later. */
export class FakeKernel implements Channel {
  version = "0.1.0";
  readonly sent: Request[] = [];
  #listeners = new Set<(message: unknown, buffers: readonly ArrayBufferView[]) => void>();
  #closers = new Set<() => void>();

  constructor(
    public spec: ViewSpec,
    readonly delay = 5,
  ) {}

  send(message: Request): void {
    this.sent.push(message);
    setTimeout(() => this.answer(message), this.delay);
  }

  say(message: object, buffers: readonly ArrayBufferView[] = []): void {
    for (const listener of [...this.#listeners]) listener(message, buffers);
  }

  answer(message: Request): void {
    const { id, view } = message;
    if (message.type === "hello") {
      const { session } = message;
      this.say({ type: "welcome", id, view, session, version: this.version, spec: this.spec });
    } else if (message.type === "tile") {
      const attention = this.spec.kind === "panel" ? this.spec.attention : null;
      if (!attention) return;
      const tile = makeTile(attention, message.key);
      const header = { key: message.key, shape: tile.shape, encoding: tile.encoding };
      this.say({ type: "tile", id, view, tile: header }, [tile.bytes]);
    } else if (message.type === "run") {
      this.say({ type: "accepted", id, view });
      const progress = { label: "Forward pass", done: 3, total: 6, secondsLeft: 12 };
      this.say({ type: "status", view, status: { state: "running", run: id, progress } });
    } else if (message.type === "query") {
      const progress = { label: "Looking at every head", done: 24, total: 72, secondsLeft: 4 };
      this.say({ type: "advanced", view, request: id, progress });
      const results = ANSWERS[message.name];
      if (results) this.say({ type: "answered", id, view, results: results() });
    } else if (message.type === "cancel") {
      this.say({ type: "cancelled", id, view });
    } else {
      this.say({ type: "done", id, view });
    }
  }

  listen(onMessage: (message: unknown, buffers: readonly ArrayBufferView[]) => void): () => void {
    this.#listeners.add(onMessage);
    return () => this.#listeners.delete(onMessage);
  }

  onClose(callback: () => void): () => void {
    this.#closers.add(callback);
    return () => this.#closers.delete(callback);
  }

  die(): void {
    for (const callback of [...this.#closers]) callback();
  }

  close(): void {
    this.#listeners.clear();
  }
}

// -- views ----------------------------------------------------------------------------------------

export function attentionOf(
  tokens: Token[],
  layers: number,
  heads: number,
  causal = false,
  more: Partial<AttentionSpec> = {},
): AttentionSpec {
  return {
    layers: Array.from({ length: layers }, (_, layer) => ({
      name: causal
        ? `model.layers.${layer}.self_attn`
        : `bert.encoder.layer.${layer}.attention.self`,
      role: causal ? ("decoder" as const) : ("encoder" as const),
      heads,
      kvHeads: causal ? Math.max(1, Math.floor(heads / 3)) : heads,
      queries: tokens.length,
      keys: tokens.length,
      causal,
      window: null,
      step: 0,
      headSize: HEAD_SIZE,
      scale: 0.125,
      softcap: null,
      sinks: false,
      hasQk: true,
      hasValues: false,
      rotary: causal,
    })),
    tokens: columnsOf(tokens),
    keyTokens: null,
    path: "sdpa",
    deviation: 3.1e-7,
    missing: [],
    selection: { layer: 3, head: 7, tokens: [], lens: "", picture: "" },
    scale: "share",
    lenses: [],
    views: [],
    steps: [],
    ...more,
  };
}

const REVIEW = "The plot is thin, but I was moved.";

function textField(text = "Text") {
  return { kind: "text", name: "text", label: text, body: true } as const;
}

function panelOf(more: object): PanelSpec {
  return parseViewSpec({
    kind: "panel",
    header: {
      task: "classification",
      title: "Classification",
      model: "starter:sentiment",
      device: "cpu",
      dtype: "float32",
    },
    fields: [textField()],
    values: { text: REVIEW },
    python: 'import lmkit\n\nkit = lmkit.load("starter:sentiment")\nr = kit.classify("...")\n',
    status: { state: "done" },
    ...more,
  }) as PanelSpec;
}

const SENTIMENT: Result = {
  kind: "labels",
  multi: false,
  threshold: 0.5,
  title: "",
  field: "",
  decides: null,
  note: "",
  before: [],
  scores: [
    { label: "negative", score: 0.0698 },
    { label: "positive", score: 0.9302 },
  ],
};

const LONG =
  "Attention lets every position look at every other position and take from it what it needs. " +
  "A head that always looks one step back copies the token before it; another looks for the verb; a third rests on the separator when it has found nothing to do.";

export const HOSTILE = [
  '<img src=x onerror="globalThis.__hacked=1">',
  "</script><script>globalThis.__hacked=1</script>",
  "\u202Eevil\u2066 abc",
  "nul\u0000byte\u0007",
  "👩‍👩‍👧‍👦",
  "שלום עולם",
  "مرحبا",
  " the",
  "\n\n\t",
  "",
  "x".repeat(100_000),
  "very-long-label-without-any-break-".repeat(8),
];

function hostileTokens(): Token[] {
  return HOSTILE.map((text, index) => ({
    text,
    raw: text,
    special: index === 7,
    word: index,
    start: 0,
    end: 0,
  }));
}

const HEAD_MAP: ViewInfo = {
  name: "head-map",
  title: "Head map",
  help: "Every head scored on this text.",
  plugin: "attention",
  fields: [
    {
      kind: "boolean",
      name: "induction",
      label: "Induction",
      default: true,
      hidden: false,
      help: "",
      later: false,
    },
    {
      kind: "integer",
      name: "seed",
      label: "Seed",
      default: 0,
      minimum: 0,
      maximum: 9,
      step: 1,
      hidden: false,
      help: "",
      later: true,
    },
  ],
  follows: [],
  reason: "",
};
const ROLLOUT: ViewInfo = {
  ...HEAD_MAP,
  name: "rollout",
  title: "Rollout",
  help: "What the chosen tokens draw on through all layers.",
  fields: [],
  follows: ["tokens"],
};

/** A view that can be asked of a label. */
const ABOUT: ViewInfo = {
  ...ROLLOUT,
  title: "Attribution",
  fields: [
    {
      kind: "text",
      name: "target",
      label: "Target",
      help: "",
      default: "",
      placeholder: "as predicted",
      body: false,
      multiline: false,
      required: false,
      hidden: false,
      later: false,
    },
  ],
};

/** What the fake kernel answers to a view; one that it does not know is never answered. */
export const ANSWERS: Record<string, () => Result[]> = {
  "head-map": () => {
    const values = Array.from({ length: 6 }, (_, layer) =>
      Array.from({ length: 12 }, (_, head) => random(layer * 12 + head + 1) ** 3),
    );
    const signed = values.map((heads) => heads.map((value, at) => (at === 5 ? null : value - 0.3)));
    return [
      {
        kind: "head-grid",
        title: "Heads of this text",
        note: "Scores of one text: no interval can be given.",
        measures: [
          {
            name: "previous",
            title: "Previous token",
            help: "Mean attention to the token before.",
            values,
            diverging: false,
            unit: "",
          },
          {
            name: "change",
            title: "Change",
            help: "",
            values: signed,
            diverging: true,
            unit: "bits",
          },
        ],
      },
    ];
  },
  rollout: () => {
    const tokens = words(REVIEW);
    const row = (label: string, sign: number) => ({
      label,
      values: tokens.map((_, at) => sign * Math.sin(at * 1.7)),
      note: sign < 0 ? "delta 0.002 <i>of the change</i>" : "",
    });
    return [
      {
        kind: "token-scores",
        title: "Rollout",
        tokens,
        rows: [row("moved", 1), row("<b>thin</b>", -1)],
        diverging: true,
        note: "",
      },
      {
        kind: "page",
        title: "A page",
        html: "<body><p>framed</p><script>document.body.append(' by its own script')</script>",
        height: 120,
      },
    ];
  },
};

/** Spans nested, crossing and side by side, some of whose tokens are in the pass. */
function entities(): PanelSpec {
  const text = "Ada Lovelace of the Bank of China (Hong Kong) met Grace in New York.";
  const tokens = words(text);
  const place = (part: string) => {
    const start = text.indexOf(part);
    const end = start + part.length;
    const inside = tokens.flatMap((token, index) =>
      token.end > start && token.start < end && !token.special ? [index] : [],
    );
    return { start, end, tokens: inside };
  };
  const span = (part: string, label: string, score: number | null = null) => ({
    ...place(part),
    label,
    score,
    change: null,
  });
  const labels = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC"];
  return panelOf({
    values: { text },
    results: [
      {
        kind: "spans",
        title: "Entities",
        text,
        spans: [
          span("Ada Lovelace", "PER", 0.998),
          span("Bank of China (Hong Kong)", "ORG", 0.91),
          span("China", "GPE", 0.87),
          span("China (Hong Kong) met", "EVENT", 0.31),
          span("Hong Kong", "LOC", 0.95),
          span("Grace", "PER", 0.62),
          { ...span("New York", "LOC", 0.99), tokens: [] },
        ],
      },
      {
        kind: "token-labels",
        title: "Labels of the tokens",
        tokens,
        labels,
        none: "O",
        values: tokens.map((token, at) => {
          const raw = labels.map((_, label) => Math.exp(4 * Math.sin(at * 1.3 + label * 2.1)));
          const sum = raw.reduce((a, b) => a + b, 0);
          return token.special
            ? labels.map((_, label) => Number(label === 0))
            : raw.map((one) => one / sum);
        }),
        note: "",
      },
    ],
    attention: attentionOf(tokens, 6, 12),
  });
}

export const VIEWS: Record<string, () => ViewSpec> = {
  entities,
  views: () =>
    panelOf({
      results: [SENTIMENT],
      attention: attentionOf(words(REVIEW), 6, 12, false, {
        views: [
          HEAD_MAP,
          ROLLOUT,
          { ...ROLLOUT, name: "endless", title: "Endless" },
          { ...ROLLOUT, name: "never", title: "Never", reason: "It is never there." },
        ],
        selection: { layer: 3, head: 7, tokens: [], lens: "", picture: "head-map" },
      }),
    }),
  two: () =>
    panelOf({
      fields: [
        textField(),
        {
          kind: "number",
          name: "threshold",
          label: "Threshold",
          default: 0.5,
          minimum: 0,
          maximum: 1,
          step: 0.01,
        },
      ],
      results: [{ ...SENTIMENT, field: "threshold", decides: 1 }],
      attention: attentionOf(words(REVIEW), 6, 12, false, {
        views: [ABOUT],
      }),
    }),
  short: () => panelOf({ results: [SENTIMENT], attention: attentionOf(words(REVIEW), 6, 12) }),
  deep: () =>
    panelOf({
      header: {
        task: "generation",
        title: "Generation",
        model: "starter:chat",
        device: "cuda:0",
        dtype: "bfloat16",
      },
      fields: [
        textField("Prompt"),
        {
          kind: "integer",
          name: "max_new_tokens",
          label: "New tokens",
          default: 32,
          minimum: 1,
          maximum: 512,
        },
        {
          kind: "number",
          name: "temperature",
          label: "Temperature",
          default: 0.7,
          minimum: 0,
          maximum: 2,
          step: 0.05,
          help: "0 takes the likeliest token each time.",
        },
        {
          kind: "choice",
          name: "strategy",
          label: "Strategy",
          options: ["greedy", "sample", "beam"],
          default: "sample",
        },
        { kind: "boolean", name: "echo", label: "Show the prompt too", default: true },
      ],
      values: { text: LONG, max_new_tokens: 64, echo: true },
      results: [{ kind: "text", text: `${LONG}\n\nThat is how it works.` }],
      attention: attentionOf(words(LONG).slice(0, 64), 30, 9, true, {
        deviation: 2.6e-3,
        selection: { layer: 12, head: 4, tokens: [9], lens: "", picture: "" },
      }),
    }),
  long: () =>
    panelOf({
      header: {
        task: "classification",
        title: "Classification",
        model: "starter:news",
        device: "cpu",
        dtype: "float32",
      },
      values: { text: `${LONG} `.repeat(9) },
      results: [
        {
          kind: "labels",
          multi: true,
          threshold: 0.5,
          scores: ["business", "entertainment", "politics", "sport", "technology"].map(
            (label, index) => ({
              label,
              score: [0.031, 0.612, 0.0042, 0.000071, 0.874][index] as number,
            }),
          ),
        },
      ],
      warnings: [
        "The text has 731 tokens; the model reads the first 512. 219 tokens were cut off.",
      ],
      attention: attentionOf(words(`${LONG} `.repeat(12)).slice(0, 512), 6, 12),
    }),
  translation: () => {
    const source = words("The plot is thin, but I was moved.");
    const target = words("Die Handlung ist dünn, aber ich war bewegt.").slice(0, -1);
    const made = attentionOf(source, 1, 8).layers[0] as LayerSpec;
    const size = (role: LayerSpec["role"]) => ({
      queries: role === "encoder" ? source.length : target.length,
      keys: role === "decoder" ? target.length : source.length,
    });
    const layer = (role: LayerSpec["role"], name: string): LayerSpec => ({
      ...made,
      ...size(role),
      role,
      name,
      causal: role === "decoder",
    });
    return panelOf({
      header: { task: "seq2seq", title: "Translation", model: "t5-small", device: "cpu" },
      results: [{ kind: "text", text: "Die Handlung ist dünn, aber ich war bewegt." }],
      attention: attentionOf(target, 1, 8, false, {
        layers: [
          ...[0, 1, 2].map((n) => layer("encoder", `encoder.block.${n}.SelfAttention`)),
          ...[0, 1, 2].flatMap((n) => [
            layer("decoder", `decoder.block.${n}.SelfAttention`),
            layer("cross", `decoder.block.${n}.EncDecAttention`),
          ]),
        ],
        keyTokens: columnsOf(source),
        selection: { layer: 6, head: 3, tokens: [], lens: "", picture: "" },
        steps: target.map((token, first) => ({ label: token.text, first, last: first + 1 })),
      }),
    });
  },
  generated: () => {
    const tokens = words(LONG).slice(0, 40);
    return panelOf({
      header: { task: "generation", title: "Generation", model: "starter:chat", device: "cpu" },
      results: [{ kind: "text", text: LONG }],
      attention: attentionOf(tokens, 12, 9, true, {
        selection: { layer: 3, head: 4, tokens: [], lens: "", picture: "" },
        steps: [
          { label: "", first: 0, last: 20 },
          ...Array.from({ length: 20 }, (_, at) => ({
            label: tokens[20 + at]?.text ?? "",
            first: 20 + at,
            last: 21 + at,
          })),
        ],
      }),
    });
  },
  huge: () =>
    panelOf({
      results: [],
      attention: attentionOf(words(`${LONG} `.repeat(60)).slice(0, 1500), 2, 4, true, {
        selection: { layer: 1, head: 2, tokens: [], lens: "", picture: "" },
      }),
    }),
  vast: () =>
    panelOf({
      results: [],
      attention: attentionOf(words(`${LONG} `.repeat(160)).slice(0, 4096), 2, 4, true, {
        selection: { layer: 1, head: 2, tokens: [], lens: "", picture: "" },
      }),
    }),
  hostile: () =>
    panelOf({
      header: { task: "x", title: "<b>Title</b>\u202E", model: "m".repeat(300), device: "cpu" },
      values: { text: HOSTILE.slice(0, 4).join(" ") },
      warnings: HOSTILE.slice(0, 4),
      results: [
        {
          kind: "labels",
          title: "<script>1</script>",
          scores: HOSTILE.map((label, index) => ({
            label: label.slice(0, 9000),
            score: 1 / (index + 2),
          })),
        },
        {
          kind: "spans",
          text: "Ada Lovelace met 👩‍👩‍👧 Charles Babbage in London, <b>not</b> in Paris. \u202Eabc",
          spans: [
            { start: 0, end: 12, label: "PER", score: 0.991 },
            { start: 4, end: 12, label: "SURNAME" },
            { start: 17, end: 22, label: "EMOJI" },
            { start: 23, end: 38, label: "PER", score: 0.874 },
            { start: 31, end: 48, label: "<img src=x onerror=1>" },
            { start: 42, end: 48, label: "LOC", score: 0.5 },
            { start: 65, end: 999, label: "END" },
          ],
        },
        {
          kind: "table",
          columns: ["token", "score", "</td><script>"],
          rows: [
            ["<b>x</b>", 0.5123456, true],
            ["\u202Eabc", 3, null],
            ["x".repeat(400), 1e-9, "ok"],
          ],
        },
      ],
      attention: attentionOf(hostileTokens(), 3, 5, false, {
        selection: { layer: 1, head: 1, tokens: [], lens: "", picture: "" },
        missing: ["encoder.layer.3", "<i>layer</i>"],
        deviation: 0.31,
      }),
    }),
  error: () =>
    panelOf({
      results: [],
      attention: null,
      status: {
        state: "error",
        error: {
          code: "model-not-found",
          message: 'There is no model "bert-bse-uncased".',
          hint: 'Did you mean "bert-base-uncased"? `%lmkit models` lists what is on this machine.',
          details: `Traceback (most recent call last):\n${'  File "lmkit/models/loading.py", line 120, in load\n    raise ModelNotFound(name)\n'.repeat(6)}lmkit.errors.ModelNotFound: There is no model "bert-bse-uncased".`,
        },
      },
    }),
  running: () =>
    panelOf({
      results: [SENTIMENT],
      attention: null,
      attentionNote:
        "This model has no attention layers that lmkit can read: MambaForCausalLM is a state-space model.",
      status: {
        state: "running",
        run: "r1",
        progress: { label: "Loading starter:sentiment", done: 37, total: 91, secondsLeft: 14 },
      },
    }),
  empty: () => panelOf({ values: {}, results: [], attention: null, status: { state: "idle" } }),
  home: () =>
    parseViewSpec({
      kind: "home",
      version: "0.1.0",
      tasks: [
        {
          name: "classification",
          title: "Classification",
          plugin: "lmkit-classification",
          help: "Probabilities of labels for a text",
        },
        {
          name: "ner",
          title: "Named entities",
          plugin: "lmkit-ner",
          help: "People, places and organisations in a text",
        },
        { name: "generation", title: "Generation", plugin: "lmkit-generation", help: "" },
      ],
      plugins: [
        {
          name: "lmkit-classification",
          version: "0.1.0",
          state: "ready",
          tasks: ["classification"],
        },
        { name: "lmkit-ner", version: "0.1.0", state: "ready", tasks: ["ner"] },
        {
          name: "acme-lmkit",
          version: "2.3",
          state: "quarantined",
          error: {
            code: "plugin-import",
            message: "The plugin acme-lmkit could not be imported: No module named 'acme'.",
            hint: "Install what it needs, then rescan.",
            details: "Traceback ...\nModuleNotFoundError: No module named 'acme'",
          },
        },
        { name: "old-plugin", version: "0.0.3", state: "blocked" },
      ],
      devices: [
        { name: "cpu", title: "CPU, 2 cores", chosen: true, memoryTotal: 24e9, memoryUsed: 3.2e9 },
        {
          name: "cuda:0",
          title: "NVIDIA GeForce RTX 4090",
          chosen: false,
          memoryTotal: 25.2e9,
          memoryUsed: 1.1e9,
        },
      ],
      models: [
        {
          name: "starter:sentiment",
          kind: "BertForSequenceClassification",
          parameters: 22_713_986,
          bytes: 90_855_944,
          device: "cpu",
          dtype: "float32",
        },
        {
          name: "checkpoints/of-ada/llama-finetuned-on-something-with-a-long-name",
          kind: "LlamaForCausalLM",
          parameters: 134_515_008,
          bytes: 538_060_032,
          device: "cuda:0",
          dtype: "bfloat16",
          pinned: true,
        },
      ],
      modelsBudget: 4e9,
      starters: [
        {
          name: "starter:sentiment",
          title: "Sentiment of English sentences (SST-2)",
          installed: true,
        },
        { name: "starter:news", title: "Topic of news articles (BBC News)", installed: true },
        { name: "starter:chat", title: "SmolLM2-135M-Instruct", installed: false },
      ],
      status: { state: "idle" },
    }),
};
