/**
 * CSS colours to numbers, and CIELAB (D50, as in CSS Color 4). The matrices are those of d3-color,
 * and a test holds that both agree; written out, they take 1 kB of the bundle where d3-color takes 10.
 */

/** Red, green and blue in 0..255, opacity in 0..1. */
export interface Colour {
  readonly r: number;
  readonly g: number;
  readonly b: number;
  readonly opacity: number;
}

export type Lab = readonly [lightness: number, a: number, b: number];

const NUMBERS = /[-+]?[\d.]+(?:e[-+]?\d+)?%?/gi;

/** Read what getComputedStyle gives, or #rgb and #rrggbb; transparent white for anything else. */
export function parseColour(css: string): Colour {
  const hex = /^#([\da-f]{3}|[\da-f]{6})$/i.exec(css.trim())?.[1];
  if (hex) {
    const digits =
      hex.length === 3 ? [...hex].map((digit) => digit + digit) : (hex.match(/../g) ?? []);
    const [r = 0, g = 0, b = 0] = digits.map((pair) => Number.parseInt(pair, 16));
    return { r, g, b, opacity: 1 };
  }
  // color(srgb 0.1 0.2 0.3 / 1) is what color-mix computes to.
  const unit = css.startsWith("color(srgb ") ? 255 : 1;
  if (unit === 255 || /^rgba?\(/.test(css)) {
    const parts = css.slice(css.indexOf("(") + (unit === 255 ? 5 : 0)).match(NUMBERS) ?? [];
    const [r, g, b] = parts.map((part) => Number.parseFloat(part) * unit);
    if (r !== undefined && g !== undefined && b !== undefined) {
      const alpha = parts[3];
      const opacity = alpha === undefined ? 1 : Number.parseFloat(alpha);
      return { r, g, b, opacity: alpha?.endsWith("%") ? opacity / 100 : opacity };
    }
  }
  return { r: 255, g: 255, b: 255, opacity: 0 };
}

const linear = (value: number) => {
  const unit = value / 255;
  return unit <= 0.04045 ? unit / 12.92 : ((unit + 0.055) / 1.055) ** 2.4;
};
const gamma = (value: number) =>
  255 * (value <= 0.0031308 ? 12.92 * value : 1.055 * value ** (1 / 2.4) - 0.055);
const bent = (t: number) => (t > (6 / 29) ** 3 ? Math.cbrt(t) : t / (3 * (6 / 29) ** 2) + 4 / 29);
const unbent = (t: number) => (t > 6 / 29 ? t ** 3 : 3 * (6 / 29) ** 2 * (t - 4 / 29));

export function toLab(colour: Pick<Colour, "r" | "g" | "b">): Lab {
  const [r, g, b] = [linear(colour.r), linear(colour.g), linear(colour.b)];
  const y = bent(0.2225045 * r + 0.7168786 * g + 0.0606169 * b);
  const x = bent((0.4360747 * r + 0.3850649 * g + 0.1430804 * b) / 0.96422);
  const z = bent((0.0139322 * r + 0.0971045 * g + 0.7141733 * b) / 0.82521);
  return [116 * y - 16, 500 * (x - y), 200 * (y - z)];
}

/** Red, green and blue in 0..255, bounded to what a screen shows. */
export function fromLab([lightness, a, b]: Lab): readonly [number, number, number] {
  const f = (lightness + 16) / 116;
  const x = 0.96422 * unbent(f + a / 500);
  const y = unbent(f);
  const z = 0.82521 * unbent(f - b / 200);
  const bounded = (value: number) => Math.min(255, Math.max(0, gamma(value)));
  return [
    bounded(3.1338561 * x - 1.6168667 * y - 0.4906146 * z),
    bounded(-0.9787684 * x + 1.9161415 * y + 0.033454 * z),
    bounded(0.0719453 * x - 0.2289914 * y + 1.4052427 * z),
  ];
}
