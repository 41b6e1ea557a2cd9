import { readFileSync } from "node:fs";
import { deflateRawSync } from "node:zlib";
import Ajv2020 from "ajv/dist/2020.js";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  decodeTile,
  decodeValue,
  formatKey,
  type Key,
  ProtocolError,
  parseBundle,
  parseKey,
  parseOutgoing,
  parseRefilled,
  type SavedTile,
  unpackTile,
} from "../src/index.ts";

import { FORMS } from "../src/keys.ts";

const here = (path: string) => new URL(path, import.meta.url);
const golden = <T>(name: string) =>
  JSON.parse(readFileSync(here(`../../../tests/golden/${name}`), "utf8")) as T;

describe("keys", () => {
  const n = fc.nat(99_999_999);
  const tokens = fc.array(n, { minLength: 1, maxLength: 20 });
  const range = fc.record({ first: n, last: n }).filter(({ first, last }) => first < last);
  const places = {
    layer: fc.record({ layer: n }),
    heads: fc
      .tuple(fc.record({ layer: n }), fc.option(range, { nil: {} }))
      .map(([place, ab]) => ({ ...place, ...ab })),
    head: fc.record({ layer: n, head: n }),
    range: fc
      .tuple(fc.record({ layer: n, head: n }), range)
      .map(([place, ab]) => ({ ...place, ...ab })),
    level: fc.record({ layer: n, head: n, level: n, row: n, column: n }),
    tokens: fc.record({ layer: n, head: n, tokens }),
  };
  const lens = fc.option(fc.stringMatching(/^[a-z][a-z0-9-]{0,9}$/), { nil: undefined });
  const key = fc
    .constantFrom(...(Object.entries(FORMS) as [keyof typeof FORMS, keyof typeof places][]))
    .chain(([kind, form]) =>
      fc
        .tuple(places[form] as fc.Arbitrary<object>, lens)
        .map(([place, name]) => ({ kind, ...place, ...(name ? { lens: name } : {}) }) as Key),
    );

  test("are read as they were written", () => {
    fc.assert(
      fc.property(key, (each) => {
        expect(parseKey(formatKey(each))).toEqual(each);
      }),
    );
  });

  test("are spelled in one way or refused", () => {
    const like = fc.stringMatching(
      /^(thumb|glance|head|map|rows|sum|from|q|k|v|score)(\/[0-9,-]{0,4}){1,5}(@[a-z-]{0,3})?$/,
    );
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: "binary" }), like), (text) => {
        const read = orError(() => parseKey(text));
        if (read !== null) expect(formatKey(read)).toBe(text);
      }),
    );
  });
});

describe("tiles", () => {
  const shapes = fc.array(fc.nat(6), { minLength: 1, maxLength: 4 });
  const encodings = fc.constantFrom(
    "f32" as const,
    "sqrt-u6" as const,
    "sqrt-u8" as const,
    "sqrt-u16" as const,
  );
  const itemBytes = { f32: 4, "sqrt-u6": 1, "sqrt-u8": 1, "sqrt-u16": 2 };
  const drawn = fc
    .tuple(shapes, encodings)
    .chain(([shape, encoding]) =>
      fc
        .uint8Array(exactly(shape.reduce((product, size) => product * size, itemBytes[encoding])))
        .map((bytes) => ({ header: { key: "thumb/0", shape, encoding }, bytes })),
    );

  test("come out of a saved output as they went in, at any offset of a live buffer", async () => {
    await fc.assert(
      fc.asyncProperty(drawn, fc.nat(7), async ({ header, bytes }, offset) => {
        const saved = await unpackTile({ ...header, data: pack(bytes) });
        const buffer = new Uint8Array(offset + bytes.length);
        buffer.set(bytes, offset);
        const live = decodeTile(header, new DataView(buffer.buffer, offset));
        expect(saved.values).toStrictEqual(live.values);
        const last = header.shape.map((size) => size - 1);
        expect(live.at(...last)).toBe(decodeValue(header.encoding, live.values.at(-1)));
      }),
    );
  });

  test("that lie about their size or are damaged are refused, and nothing else is thrown", async () => {
    const damage = fc.oneof(
      fc.record({
        kind: fc.constant("cut" as const),
        at: fc.double({ min: 0, max: 0.9, noNaN: true }),
      }),
      fc.record({ kind: fc.constant("text" as const), text: fc.string({ unit: "binary" }) }),
      fc.record({ kind: fc.constant("flip" as const), at: fc.nat(), to: fc.nat(255) }),
      fc.record({
        kind: fc.constant("shape" as const),
        shape: fc.array(fc.nat(65_536), { minLength: 1, maxLength: 4 }),
      }),
    );
    await fc.assert(
      fc.asyncProperty(drawn, damage, async ({ header, bytes }, how) => {
        const tile: SavedTile = { ...header, data: pack(bytes) };
        if (how.kind === "cut")
          tile.data = tile.data.slice(0, Math.floor(tile.data.length * how.at));
        if (how.kind === "text") tile.data = how.text;
        if (how.kind === "flip") {
          const packed = Buffer.from(tile.data, "base64");
          packed[how.at % packed.length] = how.to;
          tile.data = packed.toString("base64");
        }
        if (how.kind === "shape") tile.shape = how.shape;
        const read = await unpackTile(tile).catch((error: unknown) => {
          expect(error).toBeInstanceOf(ProtocolError);
          return null;
        });
        if (read) {
          const size = tile.shape.reduce(
            (product, each) => product * each,
            itemBytes[tile.encoding],
          );
          expect(read.values.byteLength).toBe(size);
        }
      }),
      { numRuns: 300 },
    );
  });

  test("that would inflate without end are stopped at the size of their shape", async () => {
    const bomb = pack(new Uint8Array(32 * 1024 * 1024));
    expect(bomb.length).toBeLessThan(100_000);
    const tile: SavedTile = { key: "thumb/0", shape: [1000], encoding: "sqrt-u8", data: bomb };
    const fill = Uint8Array.prototype.set;
    let written = 0;
    Uint8Array.prototype.set = function (
      this: Uint8Array,
      from: ArrayLike<number>,
      offset?: number,
    ) {
      written = Math.max(written, (offset ?? 0) + from.length);
      return fill.call(this, from, offset);
    };
    try {
      await expect(unpackTile(tile)).rejects.toThrow("has not the 1000 bytes");
    } finally {
      Uint8Array.prototype.set = fill;
    }
    expect(written).toBeLessThanOrEqual(1000);
  });

  test("quantised values are read back within half a step of the square root", () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1, noNaN: true }), encodings, (value, encoding) => {
        if (encoding === "f32") return;
        const top = { "sqrt-u6": 63, "sqrt-u8": 255, "sqrt-u16": 65_535 }[encoding];
        const read = decodeValue(encoding, Math.round(top * Math.sqrt(value))) ?? Number.NaN;
        expect(Math.abs(read - value)).toBeLessThanOrEqual(
          Math.sqrt(value) / top + 1 / (4 * top ** 2) + 1e-12,
        );
      }),
    );
  });
});

describe("messages", () => {
  const entries = <T>(name: string) => golden<{ given: T }[]>(name).map(({ given }) => given);
  const bundles = entries<object>("bundles.json");
  const outgoing = entries<object>("outgoing.json");
  const refused = golden<Record<"bundle" | "outgoing", unknown[]>>("refused.json");

  // what a hand, a merge tool or an attacker could put in the place of a value
  const replacement: fc.Arbitrary<unknown> = fc.oneof(
    fc.jsonValue(),
    fc.constantFrom(
      null,
      true,
      -1,
      0,
      0.5,
      1e300,
      2 ** 53,
      "",
      "panel",
      "__proto__",
      "x".repeat(10_001),
      [],
      {},
      [[[]]],
      { kind: "panel" },
      { kind: "labels", scores: [] },
      JSON.parse('{"__proto__":{"a":1}}'),
    ),
  );
  const mutated = (from: readonly unknown[]) =>
    fc
      .tuple(
        fc.constantFrom(...from),
        fc.array(fc.tuple(fc.nat(), replacement, fc.nat(3)), { maxLength: 3 }),
      )
      .map(([value, changes]) => {
        const root = { value: structuredClone(value) };
        for (const [where, by, how] of changes) mutate(root, where, structuredClone(by), how);
        return root.value;
      });

  const error = { code: "protocol", message: "Too large.", hint: "", details: "" };
  const refills = [
    { version: "0.1.0", error },
    { version: "0.1.0", state: "digest", refused: [{ key: "head/0/1", error }] },
    ...(bundles as { spec: unknown; tiles?: unknown[] }[]).flatMap(({ spec, tiles = [] }) => [
      { version: "0.1.0", state: "digest", tiles: tiles.slice(0, 2) },
      { version: "0.1.0", state: "another", spec },
    ]),
  ];

  const ajv = new Ajv2020({ strict: false });
  ajv.addSchema(JSON.parse(readFileSync(here("../schema.json"), "utf8")), "protocol");

  test.each([
    ["Bundle", parseBundle, bundles, refused.bundle],
    ["Outgoing", parseOutgoing, outgoing, refused.outgoing],
    ["Refilled", parseRefilled, refills, [null, {}, { version: "", tiles: {} }]],
  ] as const)("a mutated %s is accepted exactly when ajv accepts it", (name, parse, good, bad) => {
    const accepts = ajv.getSchema(`protocol#/$defs/${name}`);
    let [accepted, refusals] = [0, 0];
    fc.assert(
      fc.property(fc.oneof(mutated(good), mutated(bad)), (value) => {
        const read = orError(() => parse(value));
        // Whether columns of tokens fit together is beyond a schema; golden files hold that.
        if (read === null && isAboutTokens(() => parse(value))) return;
        expect(read !== null, JSON.stringify(value)).toBe(accepts?.(value));
        if (read === null) refusals++;
        else {
          accepted++;
          expect(parse(read)).toStrictEqual(read);
        }
      }),
      { numRuns: 1000 },
    );
    // the property is about both
    expect(Math.min(accepted, refusals)).toBeGreaterThan(20);
  });

  test("nothing read shares an object with what was given, or changes a prototype", () => {
    for (const value of bundles) {
      const read = parseBundle(value);
      expect(shared(value, read)).toBe(false);
    }
    const hostile = JSON.parse(
      '{"version":"","spec":{"kind":"panel","header":{"task":"t","title":"","model":""},"values":{"__proto__":"a","constructor":"b"}}}',
    );
    const { spec } = parseBundle(hostile);
    expect(spec.kind === "panel" && Object.entries(spec.values)).toEqual([
      ["__proto__", "a"],
      ["constructor", "b"],
    ]);
    expect(Object.getPrototypeOf(spec.kind === "panel" && spec.values)).toBe(Object.prototype);
  });

  test("a hundred thousand tokens of any text are read", () => {
    const layer = { name: "0", role: "encoder", heads: 1, kvHeads: 1, queries: 1, keys: 1 };
    const attention = {
      layers: [layer],
      tokens: { text: Array(100_000).fill("👍</script>") },
      path: "sdpa",
    };
    const header = { task: "t", title: "", model: "" };
    const { spec } = parseBundle({ version: "", spec: { kind: "panel", header, attention } });
    expect(spec.kind === "panel" && spec.attention?.tokens.text.length).toBe(100_000);
  });

  test("another version has a sentence of its own", () => {
    expect(() => parseBundle({ protocol: 7 })).toThrow(/protocol 7; this lmkit reads 1/);
  });

  test("an error names the place and what belongs there", () => {
    const bundle = structuredClone(bundles[0]) as { spec: { fields: { minimum: unknown }[] } };
    (bundle.spec.fields[1] as { minimum: unknown }).minimum = "one";
    expect(() => parseBundle(bundle)).toThrow(
      "This saved output cannot be read: spec.fields[1].minimum is not a whole number",
    );
  });
});

function exactly(length: number): { minLength: number; maxLength: number } {
  return { minLength: length, maxLength: length };
}

function pack(bytes: Uint8Array): string {
  return deflateRawSync(bytes).toString("base64");
}

/** The value, or null where a ProtocolError was thrown; any other error fails the test. */
function orError<T>(read: () => T): T | null {
  try {
    return read();
  } catch (error) {
    expect(error).toBeInstanceOf(ProtocolError);
    expect((error as Error).message.length).toBeLessThan(1000);
    return null;
  }
}

function isAboutTokens(read: () => unknown): boolean {
  try {
    read();
  } catch (error) {
    return (error as Error).message.startsWith("The tokens of this view cannot be read: ");
  }
  return false;
}

/** Replaces, removes, renames or repeats the `where`-th property of a JSON tree. */
function mutate(root: object, where: number, by: unknown, how: number): void {
  const places: [Record<string, unknown>, string][] = [];
  const visit = (node: unknown) => {
    if (typeof node !== "object" || node === null) return;
    for (const name of Object.keys(node)) {
      places.push([node as Record<string, unknown>, name]);
      visit((node as Record<string, unknown>)[name]);
    }
  };
  visit(root);
  const [node, name] = places[where % places.length] as [Record<string, unknown>, string];
  if (how === 0 || name === "value") node[name] = by;
  else if (how === 1) Array.isArray(node) ? node.splice(Number(name), 1) : delete node[name];
  else if (how === 2) node[`${name}x`] = by;
  else node[name] = [node[name], node[name]];
}

function shared(one: unknown, other: unknown): boolean {
  const objects = new Set<unknown>();
  const visit = (node: unknown, each: (node: object) => boolean): boolean =>
    typeof node === "object" &&
    node !== null &&
    (each(node) || Object.values(node).some((value) => visit(value, each)));
  visit(one, (node) => {
    objects.add(node);
    return false;
  });
  return visit(other, (node) => objects.has(node));
}
