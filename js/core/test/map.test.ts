import { levelOf, TILE_SIDE, tileBox } from "@lmkit/protocol";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { FakeKernel, VIEWS } from "../dev/samples.ts";
import {
  bounded,
  cellsInSight,
  LARGEST_CELL,
  levelFor,
  panned,
  parentOf,
  placeOf,
  revealed,
  tilesInSight,
  zoomed,
} from "../src/explorer/viewport.ts";
import { mountBundle } from "../src/index.ts";

const extents = fc.record({
  rows: fc.integer({ min: 1, max: 9_000 }),
  columns: fc.integer({ min: 1, max: 9_000 }),
});
const plots = fc
  .record({ width: fc.integer({ min: 40, max: 900 }), height: fc.integer({ min: 40, max: 500 }) })
  .map(({ width, height }) => ({ left: 18, top: 18, right: 18 + width, bottom: 18 + height }));
const views = fc.record({
  x: fc.double({ min: -9e4, max: 9e4, noNaN: true }),
  y: fc.double({ min: -9e4, max: 9e4, noNaN: true }),
  cell: fc.double({ min: 0.04, max: LARGEST_CELL, noNaN: true }),
});

describe("a view of the map", () => {
  test("has no empty space that could show cells, wherever it is pulled", () => {
    fc.assert(
      fc.property(views, plots, extents, (view, plot, extent) => {
        const { x, y } = bounded(view, plot, extent);
        for (const [start, low, high, length] of [
          [x, plot.left, plot.right, extent.columns * view.cell],
          [y, plot.top, plot.bottom, extent.rows * view.cell],
        ] as const) {
          if (length <= high - low) expect(start).toBe(low);
          else {
            expect(start).toBeLessThanOrEqual(low);
            expect(start + length).toBeGreaterThanOrEqual(high - 1e-6);
          }
        }
        const again = bounded({ x, y, cell: view.cell }, plot, extent);
        expect(again).toEqual({ x, y, cell: view.cell });
      }),
    );
  });

  test("keeps the cell under the pointer while it is zoomed", () => {
    const factors = fc.double({ min: 0.05, max: 20, noNaN: true });
    const points = fc.double({ min: 0, max: 900, noNaN: true });
    fc.assert(
      fc.property(views, factors, points, points, (view, factor, px, py) => {
        const next = zoomed(view, factor, px, py, 0.04);
        expect(next.cell).toBeGreaterThanOrEqual(0.04);
        expect(next.cell).toBeLessThanOrEqual(LARGEST_CELL);
        const where = (v: typeof view) => [(px - v.x) / v.cell, (py - v.y) / v.cell];
        const [before, after] = [where(view), where(next)];
        for (const axis of [0, 1]) {
          const tolerance = 1e-6 * (1 + Math.abs(before[axis] as number));
          expect(Math.abs((after[axis] as number) - (before[axis] as number))).toBeLessThan(
            tolerance,
          );
        }
      }),
    );
  });

  test("moves no more than it must to show a cell", () => {
    const plot = { left: 18, top: 18, right: 218, bottom: 118 };
    const view = { x: -182, y: -82, cell: 10 };
    const shown = (r0: number, c0: number) =>
      revealed(view, plot, { r0, r1: r0 + 1, c0, c1: c0 + 1 });
    expect(shown(12, 22)).toEqual(view);
    expect(shown(20, 22)).toEqual(panned(view, 0, -10));
    expect(shown(9, 22)).toEqual(panned(view, 0, 10));
    expect(shown(12, 41)).toEqual(panned(view, -20, 0));
    // What is larger than the plot shows its start.
    const all = revealed(view, plot, { r0: 5, r1: 90, c0: 22, c1: 23 });
    expect(all.y + 5 * 10).toBe(18);
  });

  test("sees the cells that its plot touches, and no others", () => {
    fc.assert(
      fc.property(views, plots, extents, (view, plot, extent) => {
        const at = bounded(view, plot, extent);
        const { r0, r1, c0, c1 } = cellsInSight(at, plot, extent);
        expect([r0 < r1, c0 < c1]).toEqual([true, true]);
        expect(at.x + c0 * at.cell).toBeLessThanOrEqual(plot.left + 1e-6);
        if (c1 < extent.columns) expect(at.x + c1 * at.cell).toBeGreaterThanOrEqual(plot.right);
        expect(at.y + (r1 - 1) * at.cell).toBeLessThan(plot.bottom);
      }),
    );
  });
});

describe("levels of detail", () => {
  test("show bins of at least a device pixel, and the finest such", () => {
    const pixels = fc.double({ min: 0.001, max: 40, noNaN: true });
    fc.assert(
      fc.property(pixels, extents, (pixel, { rows, columns }) => {
        const level = levelFor(pixel, rows, columns);
        const found = levelOf(rows, columns, level);
        expect(found).not.toBeNull();
        const bin = Math.max(found?.rowBin ?? 0, found?.columnBin ?? 0);
        if (level > 0) expect(bin * pixel).toBeGreaterThanOrEqual(1 - 1e-6);
        if (bin > 1) expect((bin / 2) * pixel).toBeLessThan(1);
      }),
    );
  });

  test("the tiles in sight cover the cells in sight, nearest to the middle first", () => {
    fc.assert(
      fc.property(views, plots, extents, (view, plot, extent) => {
        const seen = cellsInSight(bounded(view, plot, extent), plot, extent);
        const level = levelFor(view.cell, extent.rows, extent.columns);
        const found = levelOf(extent.rows, extent.columns, level);
        if (!found) throw new Error("There is such a level.");
        const places = tilesInSight(level, found, seen);
        const boxes = places.map((place) =>
          tileBox(extent.rows, extent.columns, place.level, place.row, place.column),
        );
        for (const [row, column] of [
          [seen.r0, seen.c0],
          [seen.r1 - 1, seen.c1 - 1],
          [seen.r0, seen.c1 - 1],
          [Math.floor((seen.r0 + seen.r1) / 2), Math.floor((seen.c0 + seen.c1) / 2)],
        ] as const) {
          const holds = boxes.filter(
            (box) => box && row >= box.q0 && row < box.q1 && column >= box.k0 && column < box.k1,
          );
          expect(holds).toHaveLength(1);
        }
        for (const box of boxes) {
          expect(box && box.q0 < seen.r1 && box.q1 > seen.r0).toBe(true);
          expect(box && box.k0 < seen.c1 && box.k1 > seen.c0).toBe(true);
        }
        expect(new Set(places.map(({ row, column }) => `${row}/${column}`)).size).toBe(
          places.length,
        );
      }),
    );
  });

  test("a tile's parents cover it, up to the whole head", () => {
    const tokens = fc.integer({ min: 1, max: 70_000 });
    fc.assert(
      fc.property(tokens, tokens, fc.nat(), fc.nat(), (queries, keys, q, k) => {
        const [query, key] = [q % queries, k % keys];
        const last = levelFor(40, queries, keys);
        let place = placeOf(last, query, key, queries, keys)?.place ?? null;
        for (let level = last; level >= 0; level -= 1) {
          if (!place) throw new Error("Each level has a parent above it.");
          expect(place.level).toBe(level);
          expect(place).toEqual(placeOf(level, query, key, queries, keys)?.place);
          const box = tileBox(queries, keys, level, place.row, place.column);
          expect(box && query >= box.q0 && query < box.q1 && key >= box.k0 && key < box.k1).toBe(
            true,
          );
          place = parentOf(place, queries, keys);
        }
        expect(place).toBeNull();
      }),
    );
  });

  test("a place is inside its tile", () => {
    const found = placeOf(3, 2_000, 17, 4_096, 4_096);
    expect(found).toEqual({ place: { level: 3, row: 3, column: 0 }, row: 232, column: 8 });
    expect(TILE_SIDE).toBe(256);
    expect(placeOf(9, 0, 0, 4_096, 4_096)).toBeNull();
  });
});

describe("the map of a long text", () => {
  const live = { session: "session-1", view: "view-1" };

  beforeEach(() => {
    vi.spyOn(HTMLCanvasElement.prototype, "getContext").mockReturnValue(null);
    vi.spyOn(Element.prototype, "clientWidth", "get").mockReturnValue(500);
  });

  afterEach(() => {
    document.body.replaceChildren();
    vi.restoreAllMocks();
  });

  async function open(hold = false) {
    const spec = (VIEWS["huge"] as NonNullable<(typeof VIEWS)[string]>)();
    const kernel = new FakeKernel(spec, 0);
    const answer = kernel.answer.bind(kernel);
    const held: (() => void)[] = [];
    kernel.answer = (message) => {
      const waits = hold && message.type === "tile" && message.key.startsWith("map/");
      if (waits) held.push(() => answer(message));
      else answer(message);
    };
    const element = document.createElement("div");
    document.body.append(element);
    const bundle = { version: "0.1.0", spec, live, heads: 8, headsCarried: 0 };
    mountBundle(element, JSON.parse(JSON.stringify(bundle)), kernel, {
      theme: "light",
      locale: "en",
    });
    const root = element.firstElementChild?.shadowRoot as ShadowRoot;
    const one = <T extends HTMLElement = HTMLElement>(name: string): T => {
      const found = root.querySelector<T>(`[data-lmkit="${name}"]`);
      if (!found) throw new Error(`There is no ${name}.`);
      return found;
    };
    await vi.waitFor(() => expect(one("badge").dataset["state"]).toBe("live"));
    one("tab-map").click();
    await vi.waitFor(() => one("picture-canvas"), 8_000);
    const press = (key: string) =>
      one("picture").dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    const asked = () =>
      kernel.sent.flatMap((each) =>
        each.type === "tile" && each.key.startsWith("map/") ? [each.key] : [],
      );
    return { kernel, held, root, one, press, asked };
  }

  test("is whole at first, and zooms level by level down to single cells", async () => {
    const { one, press, asked } = await open();
    expect(asked()).toEqual([]);
    expect(one<HTMLButtonElement>("zoom-out").disabled).toBe(true);
    expect(one("map-note").textContent).toContain("3 × 3 tokens");
    for (let step = 0; step < 3; step += 1) press("+");
    await vi.waitFor(() => expect(asked().length).toBeGreaterThan(0));
    expect(asked().every((key) => key.startsWith("map/1/2/"))).toBe(true);
    expect(one("map-note").textContent).toContain("In sight: queries");
    for (let step = 0; step < 12; step += 1) one("zoom-in").click();
    await vi.waitFor(() => expect(asked().at(-1)).toMatch(/^map\/1\/2\/3\//));
    await vi.waitFor(() => expect(one("map-note").textContent).not.toContain("One cell stands"));
    press("0");
    await vi.waitFor(() => expect(one<HTMLButtonElement>("zoom-fit").disabled).toBe(true));
    expect(one("map-note").textContent).toContain("3 × 3 tokens");
  });

  test("gives up the tiles that went out of sight", async () => {
    const { kernel, press, asked, one } = await open(true);
    for (let step = 0; step < 4; step += 1) press("+");
    await vi.waitFor(() => expect(asked().length).toBeGreaterThan(0));
    expect(one("map-note").textContent).toContain("on their way");
    const first = kernel.sent.filter((each) => each.type === "tile" && /^map/.test(each.key));
    press("0");
    const ids = first.map((each) => each.id);
    await vi.waitFor(() =>
      expect(
        kernel.sent.flatMap((each) => (each.type === "cancel" ? [each.target] : [])).sort(),
      ).toEqual(ids.sort()),
    );
  });

  test("says the exact number of a single cell, and the mass of a bin with its tokens", async () => {
    const { one, press } = await open();
    press("ArrowRight");
    await vi.waitFor(() => expect(one("live-region").textContent).toMatch(/≈/));
    for (let step = 0; step < 15; step += 1) press("+");
    press("ArrowRight");
    press("ArrowDown");
    const exact = () => expect(one("live-region").textContent).toMatch(/: [\d.e-]+\s*$/);
    await vi.waitFor(exact, 8_000);
  });
});

describe("the grid of a long text", () => {
  test("asks for a glance of every row before the first exact thumbnail", async () => {
    vi.spyOn(HTMLCanvasElement.prototype, "getContext").mockReturnValue(null);
    const spec = (VIEWS["huge"] as NonNullable<(typeof VIEWS)[string]>)();
    const kernel = new FakeKernel(spec, 0);
    const element = document.createElement("div");
    document.body.append(element);
    const bundle = { version: "0.1.0", spec, live: { session: "s", view: "v" } };
    mountBundle(element, JSON.parse(JSON.stringify(bundle)), kernel, { theme: "light" });
    const asked = () =>
      kernel.sent.flatMap((each) =>
        each.type === "tile" && /^(glance|thumb)/.test(each.key) ? [each.key] : [],
      );
    await vi.waitFor(() => expect(asked()).toHaveLength(4), 8_000);
    expect(asked()).toEqual(["glance/0", "glance/1", "thumb/0", "thumb/1"]);
    element.remove();
    vi.restoreAllMocks();
  });
});
