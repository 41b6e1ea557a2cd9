import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { three } from "../src/numbers";

describe("numbers for people", () => {
  test.each([
    [0, "0"],
    [0.4123, "0.412"],
    [0.0000153, "1.53e-5"],
    [999.4, "999"],
    [999.6, "1000"],
    [1086.4, "1086"],
    [-1086.4, "-1086"],
    [123456.7, "123457"],
    [1234567, "1.23e+6"],
    [Number.NaN, "NaN"],
    [Number.POSITIVE_INFINITY, "Infinity"],
  ])("%d is %s", (value, text) => {
    expect(three(value)).toBe(text);
  });

  test("are off by half a unit of the third digit at most", () => {
    fc.assert(
      fc.property(
        fc.double({ noNaN: true, noDefaultInfinity: true, min: -1e12, max: 1e12 }),
        (value) => {
          expect(Math.abs(Number(three(value)) - value)).toBeLessThanOrEqual(
            Math.abs(value) * 0.005 + 5e-324,
          );
        },
      ),
    );
  });
});
