// @vitest-environment node
import fc from "fast-check";
import { describe, expect, test, vi } from "vitest";
import { TileCache } from "../src/cache.ts";
import { shrink } from "../src/explorer/draw.ts";
import { binOf, binSpan, layoutMap } from "../src/explorer/heatmap.ts";
import { command, gridMove, step } from "../src/explorer/keys.ts";
import { MESSAGES, timeLeft, translator } from "../src/messages.ts";
import { bytes, deviation, exact, quoted, three } from "../src/numbers.ts";
import { clickToken, Store, validChoice } from "../src/store.ts";

describe("selection", () => {
  const click = { shift: false, toggle: false };

  test("a click takes the token alone, and again lets it go", () => {
    expect(clickToken([], 3, null, click)).toEqual([3]);
    expect(clickToken([1, 2], 3, null, click)).toEqual([3]);
    expect(clickToken([3], 3, 3, click)).toEqual([]);
  });

  test("shift takes the range from the anchor, ctrl adds and removes", () => {
    expect(clickToken([5], 2, 5, { shift: true, toggle: false })).toEqual([2, 3, 4, 5]);
    expect(clickToken([9], 2, 4, { shift: true, toggle: true })).toEqual([2, 3, 4, 9]);
    expect(clickToken([1, 5], 3, null, { shift: false, toggle: true })).toEqual([1, 3, 5]);
    expect(clickToken([1, 3], 3, null, { shift: false, toggle: true })).toEqual([1]);
  });

  test("tokens stay sorted and distinct, whatever is clicked", () => {
    const clicks = fc.array(
      fc.record({ index: fc.nat(30), shift: fc.boolean(), toggle: fc.boolean() }),
      { maxLength: 30 },
    );
    fc.assert(
      fc.property(clicks, (all) => {
        let tokens: readonly number[] = [];
        let anchor: number | null = null;
        for (const { index, ...keys } of all) {
          tokens = clickToken(tokens, index, anchor, keys);
          if (!keys.shift) anchor = index;
          expect(tokens).toEqual([...new Set(tokens)].sort((a, b) => a - b));
        }
      }),
    );
  });

  test("a choice is kept where it exists, else the nearest", () => {
    const layers = [
      { heads: 4, queries: 10 },
      { heads: 2, queries: 10 },
    ];
    expect(validChoice(layers, { layer: 1, head: 1, tokens: [2, 12] })).toEqual({
      layer: 1,
      head: 1,
      tokens: [2],
    });
    expect(validChoice(layers, { layer: 7, head: 3, tokens: [] })).toEqual({
      layer: 1,
      head: 1,
      tokens: [],
    });
  });

  test("the store tells of changes only", () => {
    const store = new Store({ a: 1, b: "x" });
    const heard = vi.fn();
    const undo = store.subscribe(heard);
    store.set({ a: 1 });
    expect(heard).not.toHaveBeenCalled();
    store.set({ a: 2 });
    expect(heard).toHaveBeenCalledExactlyOnceWith({ a: 2, b: "x" }, { a: 1, b: "x" });
    undo();
    store.set({ a: 3 });
    expect(heard).toHaveBeenCalledOnce();
  });
});

describe("keys", () => {
  const press = (key: string, more = {}) =>
    command({ key, ctrlKey: false, metaKey: false, altKey: false, typing: false, ...more });

  test("mean what the help says", () => {
    expect(press("[")).toEqual({ do: "layer", step: -1 });
    expect(press("]")).toEqual({ do: "layer", step: 1 });
    expect(press(",")).toEqual({ do: "head", step: -1 });
    expect(press(".")).toEqual({ do: "head", step: 1 });
    expect(press("1")).toEqual({ do: "picture", digit: "1" });
    expect(press("9")).toEqual({ do: "picture", digit: "9" });
    expect(press("0")).toBeNull();
    expect(press("s")).toEqual({ do: "scale" });
    expect(press("/")).toEqual({ do: "find" });
    expect(press("?")).toEqual({ do: "help" });
    expect(press("x")).toBeNull();
  });

  test("belong to a text box while typing there, except Escape", () => {
    expect(press("s", { typing: true })).toBeNull();
    expect(press("Escape", { typing: true })).toEqual({ do: "escape" });
  });

  test("with ctrl, meta or alt are the browser's and the notebook's", () => {
    expect(press("s", { ctrlKey: true })).toBeNull();
    expect(press("s", { metaKey: true })).toBeNull();
    expect(press("[", { altKey: true })).toBeNull();
  });

  test("never lead out of the grid", () => {
    const heads = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 8 });
    const moves = fc.array(
      fc.constantFrom(
        "ArrowUp",
        "ArrowDown",
        "ArrowLeft",
        "ArrowRight",
        "Home",
        "End",
        "PageUp",
        "PageDown",
        "[",
        "]",
        ",",
        ".",
      ),
    );
    fc.assert(
      fc.property(heads, moves, (rows, pressed) => {
        let at = { layer: 0, head: 0 };
        for (const key of pressed) {
          const found = press(key);
          at =
            found && (found.do === "layer" || found.do === "head")
              ? step(at, found.do, found.step, rows)
              : (gridMove(key, at, rows) ?? at);
          expect(at.layer).toBeGreaterThanOrEqual(0);
          expect(at.layer).toBeLessThan(rows.length);
          expect(at.head).toBeGreaterThanOrEqual(0);
          expect(at.head).toBeLessThan(rows[at.layer] as number);
        }
      }),
    );
  });

  test("the next head after a layer's last is the next layer's first", () => {
    expect(step({ layer: 0, head: 3 }, "head", 1, [4, 2])).toEqual({ layer: 1, head: 0 });
    expect(step({ layer: 1, head: 0 }, "head", -1, [4, 2])).toEqual({ layer: 0, head: 3 });
    expect(step({ layer: 1, head: 1 }, "head", 1, [4, 2])).toEqual({ layer: 1, head: 1 });
  });
});

describe("numbers", () => {
  test("have three significant digits", () => {
    expect([0, 1, 0.93, 0.412345, 0.01234, 0.000123, 0.0000153].map(three)).toEqual([
      "0",
      "1.00",
      "0.930",
      "0.412",
      "0.0123",
      "0.000123",
      "1.53e-5",
    ]);
  });

  test("say when they are rounded", () => {
    expect(quoted(0.5, true)).toBe("0.500");
    expect(quoted(0.5, false)).toBe("≈\u20090.500");
    expect(exact(0.0153002412)).toBe("0.01530024");
    expect(deviation(3.1e-7)).toBe("3e-7");
  });

  test("bytes have a unit", () => {
    expect([0, 512, 999_600, 90_855_944, 4e9].map(bytes)).toEqual([
      "0 B",
      "512 B",
      "1.00 MB",
      "90.9 MB",
      "4.00 GB",
    ]);
  });
});

describe("words", () => {
  test("both languages have the same holes to fill", () => {
    const holes = (text: string) => [...text.matchAll(/\{\w+\}/g)].map((found) => found[0]).sort();
    for (const [key, [english, chinese]] of Object.entries(MESSAGES)) {
      if (key.endsWith(".one") || key.endsWith(".other")) continue;
      expect(holes(chinese), key).toEqual(holes(english));
    }
  });

  test("follow the locale and the count", () => {
    const en = translator("en");
    expect(en.plural("header.tokens", 1)).toBe("1 token");
    expect(en.plural("header.tokens", 11)).toBe("11 tokens");
    expect(translator("zh-CN")("run")).toBe("运行");
    expect(translator("not a locale!")("run")).toBe("Run");
    expect(timeLeft(14, "en")).toBe("14 sec");
    expect(timeLeft(300, "en")).toBe("5 min");
  });

  test("values are put in as they are, not read again", () => {
    expect(translator("en")("home.unload.label", { name: "{name} $& <b>" })).toBe(
      "Unload {name} $& <b>",
    );
  });
});

describe("the cache", () => {
  test("never holds more than its budget, and keeps what was used last", () => {
    const tile = (key: string, size: number) =>
      ({
        key,
        shape: [size],
        encoding: "sqrt-u8",
        values: new Uint8Array(size),
        at: () => 0,
      }) as const;
    const cache = new TileCache(10);
    cache.put("a", tile("a", 4));
    cache.put("b", tile("b", 4));
    cache.get("a");
    cache.put("c", tile("c", 4));
    expect([cache.has("a"), cache.has("b"), cache.has("c")]).toEqual([true, false, true]);
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.constantFrom("a", "b", "c", "d", "e"), fc.nat(10))),
        (puts) => {
          const small = new TileCache(10);
          for (const [key, size] of puts) {
            small.put(key, tile(key, size));
            expect(small.bytes).toBeLessThanOrEqual(10);
            expect(small.has(key)).toBe(true);
          }
        },
      ),
    );
  });
});

describe("the map", () => {
  test("fits its box, with whole device pixels for a cell where one has them", () => {
    const size = fc.integer({ min: 1, max: 512 });
    fc.assert(
      fc.property(
        size,
        size,
        fc.integer({ min: 200, max: 900 }),
        fc.constantFrom(1, 1.25, 2, 3),
        (rows, columns, width, ratio) => {
          const layout = layoutMap(width, 300, rows, columns, ratio);
          expect(layout.x + layout.cell * columns).toBeLessThanOrEqual(width);
          expect(layout.y + layout.cell * rows).toBeLessThanOrEqual(300);
          expect(layout.cell).toBeGreaterThan(0);
          const device = layout.cell * ratio;
          if (device >= 1) expect(device).toBeCloseTo(Math.round(device), 6);
        },
      ),
    );
  });

  test("bins cover all tokens, once, and each token knows its bin", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 60 }),
        fc.integer({ min: 0, max: 300 }),
        (bins, more) => {
          const length = bins + more;
          let next = 0;
          for (let bin = 0; bin < bins; bin += 1) {
            const { first, last } = binSpan(bin, bins, length);
            expect(first).toBe(next);
            expect(last).toBeGreaterThan(first);
            for (let token = first; token < last; token += 1) {
              expect(binOf(token, bins, length)).toBe(bin);
            }
            next = last;
          }
          expect(next).toBe(length);
        },
      ),
    );
  });

  test("shrinking never loses the largest cell", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 20 }),
        fc.integer({ min: 1, max: 20 }),
        fc.nat(),
        (columns, rows, width, height, place) => {
          const block = new Uint8Array(columns * rows);
          block[place % block.length] = 200;
          const small = shrink(block, columns, rows, width, height);
          expect(small.columns).toBeLessThanOrEqual(Math.max(columns, width));
          expect(Math.max(...Array.from(small.block))).toBe(200);
        },
      ),
    );
  });
});
