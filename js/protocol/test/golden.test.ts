import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import {
  cellSource,
  decodeTile,
  formatKey,
  levelOf,
  ProtocolError,
  parseBundle,
  parseKey,
  parseOutgoing,
  type SavedTile,
  type TaskCell,
  type TileHeader,
  type Token,
  tileBox,
  tileBytes,
  tokensOf,
  unpackTile,
} from "../src/index.ts";

interface Entry {
  given: unknown;
  read: unknown;
}
interface GoldenTile {
  header: TileHeader;
  bytes: string;
  saved: SavedTile;
  values: number[];
}

/** Written by tests/golden/write.py and read by pytest as well. */
function load<T>(name: string): T {
  const path = new URL(`../../../tests/golden/${name}`, import.meta.url);
  return JSON.parse(readFileSync(path, "utf8")) as T;
}

test.each([
  ["outgoing.json", parseOutgoing],
  ["bundles.json", parseBundle],
])("%s is read to the values that Python reads", (name, parse) => {
  const entries = load<Entry[]>(name);
  expect(entries.length).toBeGreaterThan(0);
  for (const { given, read } of entries) {
    const before = JSON.stringify(given);
    expect(parse(given)).toStrictEqual(read);
    expect(parse(read)).toStrictEqual(read);
    expect(JSON.stringify(given)).toBe(before);
  }
});

test.each([
  ["outgoing", parseOutgoing],
  ["bundle", parseBundle],
] as const)("what Python refuses as %s is refused with a sentence", (name, parse) => {
  const values = load<Record<typeof name, unknown[]>>("refused.json")[name];
  expect(values.length).toBeGreaterThan(0);
  for (const value of values) {
    expect(() => parse(value), JSON.stringify(value)).toThrow(ProtocolError);
    expect(() => parse(value)).toThrow(/\.$/);
  }
});

test("tokens by column are those that Python reads", () => {
  const golden = load<{ columns: object; tokens: Token[] }[]>("tokens.json");
  expect(golden.length).toBeGreaterThan(2);
  for (const { columns, tokens } of golden) {
    const layer = { name: "0", role: "encoder", heads: 1, kvHeads: 1, queries: 1, keys: 1 };
    const attention = { layers: [layer], tokens: columns, path: "sdpa" };
    const header = { task: "t", title: "", model: "" };
    const { spec } = parseBundle({ version: "", spec: { kind: "panel", header, attention } });
    const read = spec.kind === "panel" && spec.attention?.tokens;
    expect(read && tokensOf(read)).toStrictEqual(tokens);
  }
});

test("cells are filled in as Python fills them in", () => {
  const golden =
    load<{ cell: TaskCell; text: string; model: string; source: string }[]>("cells.json");
  expect(golden.length).toBeGreaterThan(20);
  for (const { cell, text, model, source } of golden) {
    expect(cellSource(cell, text, model)).toBe(source);
  }
});

test("keys are read as Python reads them", () => {
  const { valid, invalid } = load<{ valid: Record<string, unknown>; invalid: string[] }>(
    "keys.json",
  );
  for (const [text, key] of Object.entries(valid)) {
    expect(parseKey(text)).toStrictEqual(key);
    expect(formatKey(parseKey(text))).toBe(text);
  }
  for (const text of invalid) expect(() => parseKey(text), text).toThrow(ProtocolError);
});

test("tiles hold the numbers that Python wrote, live and saved", async () => {
  for (const golden of load<{ good: GoldenTile[] }>("tiles.json").good) {
    const live = decodeTile(golden.header, Buffer.from(golden.bytes, "base64"));
    const saved = await unpackTile(golden.saved);
    expect(saved.values).toStrictEqual(live.values);
    expect(live.values.byteLength).toBe(tileBytes(golden.header));
    const { shape } = golden.header;
    golden.values.forEach((wanted, flat) => {
      const indices = shape.map((size, axis) => {
        const stride = shape.slice(axis + 1).reduce((product, next) => product * next, 1);
        return Math.floor(flat / stride) % size;
      });
      // Python rounds the decoded value to float32
      expect(Math.fround(live.at(...indices) ?? Number.NaN)).toBe(wanted);
    });
    expect(live.at(...shape)).toBeUndefined();
  }
});

test("damaged tiles are refused", async () => {
  const { damaged } = load<{ damaged: SavedTile[] }>("tiles.json");
  expect(damaged.length).toBeGreaterThan(0);
  for (const tile of damaged) {
    await expect(unpackTile(tile), JSON.stringify(tile).slice(0, 200)).rejects.toThrow(
      ProtocolError,
    );
  }
});

test("levels are those of Python", () => {
  const golden =
    load<
      {
        queries: number;
        keys: number;
        level: number;
        found: number[] | null;
        boxes: { row: number; column: number; box: number[] | null }[];
      }[]
    >("levels.json");
  expect(golden.filter((each) => each.found).length).toBeGreaterThan(20);
  for (const { queries, keys, level, found, boxes } of golden) {
    const ours = levelOf(queries, keys, level);
    expect(ours && Object.values(ours)).toStrictEqual(found);
    for (const { row, column, box } of boxes) {
      const tile = tileBox(queries, keys, level, row, column);
      expect(tile && Object.values(tile)).toStrictEqual(box);
    }
  }
});

test("hostile bundles are read or refused as Python does, and so are their tiles", async () => {
  const { base, changes } = load<{
    base: object;
    changes: { at: (string | number)[]; put: unknown; read: boolean; tiles: boolean[] }[];
  }>("hostile.json");
  for (const { at, put, read, tiles } of changes) {
    const what = `${at.join(".")} = ${JSON.stringify(put)}`;
    const data = structuredClone(base) as Record<string | number, unknown>;
    let place = data;
    for (const step of at.slice(0, -1)) place = place[step] as typeof data;
    const value = { value: put, enumerable: true, configurable: true, writable: true };
    Object.defineProperty(place, at.at(-1) as string | number, value);
    if (!read) {
      expect(() => parseBundle(data), what).toThrow(ProtocolError);
      continue;
    }
    const bundle = parseBundle(data);
    const unpacked = await Promise.allSettled(bundle.tiles.map((tile) => unpackTile(tile)));
    expect(
      unpacked.map(({ status }) => status === "fulfilled"),
      what,
    ).toStrictEqual(tiles);
  }
});
