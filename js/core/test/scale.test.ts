// @vitest-environment node
import { color, lab, rgb } from "d3-color";
import { schemeBlues, schemeGreys } from "d3-scale-chromatic";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { fromLab, type Lab, parseColour, toLab } from "../src/colour.ts";
import {
  BLUES,
  byteTable,
  GREYS,
  LOG_FLOOR,
  MAPPINGS,
  makeRamp,
  mapped,
  type Rgb,
  ticks,
  unmapped,
} from "../src/scale.ts";
import { lightness } from "../src/theme.ts";

const mapping = fc.constantFrom(...MAPPINGS);
const channel = fc.integer({ min: 0, max: 255 });

describe("mappings", () => {
  test("keep order and the ends", () => {
    fc.assert(
      fc.property(
        mapping,
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (name, a, b) => {
          const [low, high] = a < b ? [a, b] : [b, a];
          expect(mapped(low, name)).toBeLessThanOrEqual(mapped(high, name));
          expect(mapped(0, name)).toBe(0);
          expect(mapped(1, name)).toBe(1);
        },
      ),
    );
  });

  test("unmapped is the inverse above the floor", () => {
    fc.assert(
      fc.property(mapping, fc.double({ min: LOG_FLOOR, max: 1, noNaN: true }), (name, value) => {
        expect(unmapped(mapped(value, name), name)).toBeCloseTo(value, 9);
      }),
    );
  });

  test("ticks lie on the scale, rising, with the end at 1", () => {
    for (const name of MAPPINGS) {
      const places = ticks(name).map((value) => mapped(value, name));
      expect(places).toEqual([...places].sort((a, b) => a - b));
      expect(places.at(-1)).toBe(1);
    }
  });

  test("the byte table is the mapping of the decoded byte", () => {
    for (const name of MAPPINGS) {
      const table = byteTable(name);
      expect([table[0], table[255]]).toEqual([0, 255]);
      expect(table[128]).toBe(Math.round(mapped((128 / 255) ** 2, name) * 255));
    }
    expect([...byteTable("sqrt")]).toEqual(Array.from({ length: 256 }, (_, byte) => byte));
  });
});

describe("colours", () => {
  test("CIELAB is d3-color's", () => {
    fc.assert(
      fc.property(channel, channel, channel, (r, g, b) => {
        const theirs = lab(rgb(r, g, b));
        const ours = toLab({ r, g, b });
        expect(ours[0]).toBeCloseTo(theirs.l, 6);
        expect(ours[1]).toBeCloseTo(theirs.a, 6);
        expect(ours[2]).toBeCloseTo(theirs.b, 6);
        const back = fromLab(ours);
        expect(back.map(Math.round)).toEqual([r, g, b]);
      }),
    );
  });

  test("the stops are ColorBrewer's", () => {
    expect(BLUES).toEqual((schemeBlues[9] as string[]).map((value) => color(value)?.formatHex()));
    expect(GREYS).toEqual((schemeGreys[9] as string[]).map((value) => color(value)?.formatHex()));
  });

  test("a white page that calls itself dark has a scale too: forced colours are the user's", () => {
    const ramp = makeRamp("#ffffff", true);
    expect(ramp).toHaveLength(256);
    expect(ramp[0]).toEqual([255, 255, 255]);
    expect(Math.max(...(ramp[255] as Rgb))).toBeLessThan(128);
  });

  test("colours are read in every form that a browser computes", () => {
    expect(parseColour("rgb(1, 2, 3)")).toEqual({ r: 1, g: 2, b: 3, opacity: 1 });
    expect(parseColour("rgba(1, 2, 3, 0.5)")).toEqual({ r: 1, g: 2, b: 3, opacity: 0.5 });
    expect(parseColour("rgb(1 2 3 / 50%)")).toEqual({ r: 1, g: 2, b: 3, opacity: 0.5 });
    expect(parseColour("color(srgb 1 0.5 0)")).toEqual({ r: 255, g: 127.5, b: 0, opacity: 1 });
    expect(parseColour("#0f08")).toEqual({ r: 255, g: 255, b: 255, opacity: 0 });
    expect(parseColour("#abc")).toEqual({ r: 170, g: 187, b: 204, opacity: 1 });
    expect(parseColour("#102030")).toEqual({ r: 16, g: 32, b: 48, opacity: 1 });
    expect(lightness("rgba(0, 0, 0, 0)")).toBeNull();
    expect(lightness("rgb(0, 0, 0)")).toBe(0);
  });
});

describe("the ramp", () => {
  const themes = [
    ["#ffffff", false],
    ["#fdf6e3", false],
    ["#15181c", true],
    ["#111111", true],
    ["#002b36", true],
  ] as const;

  test.each(
    themes.flatMap((theme) => [BLUES, GREYS].map((colours) => [...theme, colours] as const)),
  )("starts at the background %s and steps evenly to the eye", (background, dark, colours) => {
    const ramp = makeRamp(background, dark, colours);
    expect(ramp).toHaveLength(256);
    const start = parseColour(background);
    expect(ramp[0]).toEqual([start.r, start.g, start.b]);
    const labs = ramp.map(([r, g, b]) => toLab({ r, g, b }));
    // Sixteen steps at a time: single ones are smaller than the rounding to bytes. A straight line
    // across a stop is a little shorter than the way along the ramp.
    const lengths = Array.from({ length: 15 }, (_, part) => {
      const [from, to] = [labs[part * 16] as Lab, labs[part * 16 + 16] as Lab];
      return Math.hypot(from[0] - to[0], from[1] - to[1], from[2] - to[2]);
    });
    expect(Math.max(...lengths) / Math.min(...lengths)).toBeLessThan(1.3);
    const light = labs.map((value) => value[0]);
    expect(Math.abs((light[255] as number) - (light[0] as number))).toBeGreaterThan(60);
    // Lightness alone carries the order, for a reader without colour vision or a grey print.
    for (let index = 16; index < 256; index += 16) {
      const step = (light[index] as number) - (light[index - 16] as number);
      expect(dark ? step : -step).toBeGreaterThan(dark && index < 48 ? -2 : 1);
    }
  });
});
