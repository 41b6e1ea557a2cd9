import { type LayerSpec, MASKED } from "@lmkit/protocol";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { attentionOf, makeTile, row, words } from "../dev/samples.ts";
import { pairOf, softmaxOf, weightOf } from "../src/explorer/equation.ts";
import { firstHeads, linesOf, type Slots, slotStyle, toggled } from "../src/explorer/heads.ts";
import { gridMove } from "../src/explorer/keys.ts";
import { headName, inGrid, layerLabel, layerOrder, stepHead } from "../src/explorer/layers.ts";
import { PICTURES, pictureOf } from "../src/explorer/pictures.ts";
import { stepRow } from "../src/explorer/scrubber.ts";
import { columnsOf, largest } from "../src/explorer/strip.ts";
import { translator } from "../src/messages.ts";

const t = translator("en");

describe("the equation", () => {
  const number = fc.double({ min: -50, max: 50, noNaN: true });
  const scores = fc.array(fc.oneof({ weight: 4, arbitrary: number }, fc.constant(MASKED)), {
    minLength: 1,
    maxLength: 40,
  });

  test("weights are shares of what no mask closes", () => {
    fc.assert(
      fc.property(scores, fc.double({ min: 0, max: 5, noNaN: true }), (given, sink) => {
        const softmax = softmaxOf(given);
        expect(softmax.open).toBe(given.filter((score) => score > MASKED).length);
        const weights = given.map((score) => weightOf(score, softmax, sink));
        const sum = weights.reduce((total, weight) => total + weight, 0);
        if (softmax.open === 0) expect(sum).toBe(0);
        else expect(sum).toBeCloseTo(softmax.sum / (softmax.sum + sink), 10);
        for (const [index, score] of given.entries()) {
          if (score <= MASKED) expect(weights[index]).toBe(0);
        }
      }),
    );
  });

  test("scale, softcap and bias are told apart, and what is rounding is no bias", () => {
    const vector = fc.array(fc.float({ min: -4, max: 4, noNaN: true }), {
      minLength: 8,
      maxLength: 8,
    });
    fc.assert(
      fc.property(
        vector,
        vector,
        fc.constantFrom(null, 2, 50),
        fc.constantFrom(0, 0.5, -3),
        (q, k, softcap, bias) => {
          const layer = { scale: 8 ** -0.5, softcap };
          const dot = q.reduce((sum, value, index) => sum + value * (k[index] as number), 0);
          const scaled = layer.scale * dot;
          const capped = softcap === null ? scaled : softcap * Math.tanh(scaled / softcap);
          const found = pairOf(q, k, Math.fround(capped + bias), layer);
          expect(found.dot).toBeCloseTo(dot, 10);
          expect(found.scaled).toBeCloseTo(scaled, 10);
          if (softcap === null) expect(found.capped).toBeNull();
          else expect(found.capped).toBeCloseTo(capped, 10);
          if (bias === 0) expect(found.bias).toBeNull();
          else expect(found.bias).toBeCloseTo(bias, 4);
          expect(pairOf(q, k, MASKED, layer)).toMatchObject({ score: null, bias: null });
        },
      ),
    );
  });

  test("the made-up kernel's vectors give its scores, and those its attention", () => {
    const attention = attentionOf(words("The plot is thin."), 4, 8, true);
    const layer = attention.layers[3] as LayerSpec;
    const read = (key: string) => new Float32Array(makeTile(attention, key).bytes.buffer);
    const n = layer.queries;
    const [q, k, score] = [read(`q/3/7/0-${n}`), read(`k/3/7/0-${n}`), read("score/3/7/4-5")];
    const softmax = softmaxOf(score);
    for (let key = 0; key < n; key += 1) {
      const vector = (from: Float32Array, index: number) => from.slice(index * 64, index * 64 + 64);
      const pair = pairOf(vector(q, 4), vector(k, key), score[key] as number, layer);
      expect(pair.score === null).toBe(key > 4);
      expect(pair.bias).toBeNull();
      expect(weightOf(score[key] as number, softmax)).toBeCloseTo(row(3, 7, 4, n, true)[key] ?? 0);
    }
  });
});

describe("a strip", () => {
  test("keeps the largest value of each pixel, wherever it lies", () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: -9, max: 9, noNaN: true }), { minLength: 1, maxLength: 300 }),
        fc.integer({ min: 1, max: 40 }),
        (values, columns) => {
          const out = columnsOf(values, columns);
          expect(largest(out)).toBe(largest(values));
          for (const value of out) expect(value === 0 || values.includes(value)).toBe(true);
        },
      ),
    );
  });
});

describe("several heads", () => {
  test("a head keeps its colour while others come and go, and no two share a slot", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(15), { maxLength: 30 }), (clicks) => {
        let slots: Slots = [];
        for (const head of clicks) {
          const before = slots;
          slots = toggled(slots, head);
          expect(slots.includes(head)).toBe(!before.includes(head));
          for (const [slot, one] of before.entries()) {
            if (one !== null && one !== head) expect(slots[slot]).toBe(one);
          }
          const on = slots.filter((one) => one !== null);
          expect(new Set(on).size).toBe(on.length);
        }
      }),
    );
    const looks = Array.from({ length: 18 }, (_, slot) => JSON.stringify(slotStyle(slot)));
    expect(new Set(looks).size).toBe(18);
  });

  test("begin with the run of six around the one on show", () => {
    expect(firstHeads(7, 12)).toEqual([6, 7, 8, 9, 10, 11]);
    expect(firstHeads(1, 4)).toEqual([0, 1, 2, 3]);
    expect(firstHeads(8, 9)).toEqual([6, 7, 8]);
  });

  test("what has no line is counted as dropped", () => {
    const tile = {
      key: "head/0/0",
      shape: [2, 2],
      encoding: "f32" as const,
      values: Float32Array.from([0.9, 0.1, 0.02, 0.98]),
      at: (query = 0, key = 0) => [0.9, 0.1, 0.02, 0.98][query * 2 + key],
    };
    const lines = linesOf(tile, [0, 1], [0, 1], 0.05);
    expect([...lines.queries]).toEqual([0, 0, 1]);
    expect([...lines.keys]).toEqual([0, 1, 1]);
    expect(lines.whole).toBeCloseTo(2);
    expect(lines.drawn).toBeCloseTo(1.98);
    expect(linesOf(tile, [1], [0], 0.05).weights).toHaveLength(0);
  });
});

describe("layers of an encoder-decoder", () => {
  const made = attentionOf(words("a b"), 1, 2).layers[0] as LayerSpec;
  const roles = ["encoder", "encoder", "decoder", "cross", "decoder", "cross"] as const;
  const spec = attentionOf(words("a b"), 1, 2, false, {
    layers: roles.map((role) => ({ ...made, role })),
  });

  test("are named by their role and listed role by role", () => {
    expect(layerOrder(spec)).toEqual([0, 1, 2, 4, 3, 5]);
    expect(roles.map((_, layer) => layerLabel(spec, layer))).toEqual([
      "E0",
      "E1",
      "D0",
      "X0",
      "D1",
      "X1",
    ]);
    expect(headName(spec, 5, 1, t)).toBe("Layer X1, head 1, cross-attention");
    const plain = attentionOf(words("a b"), 3, 2);
    expect(layerLabel(plain, 2)).toBe("2");
    expect(headName(plain, 2, 0, t)).toBe("Layer 2, head 0");
  });

  test("are walked in the order in which they are listed", () => {
    let at = { layer: 0, head: 0 };
    const seen = [0];
    for (let step = 0; step < 5; step += 1) {
      at = stepHead(spec, at, "layer", 1);
      seen.push(at.layer);
    }
    expect(seen).toEqual([0, 1, 2, 4, 3, 5]);
    expect(stepHead(spec, { layer: 4, head: 1 }, "head", 1)).toEqual({ layer: 3, head: 0 });
    const up = inGrid(spec, { layer: 3, head: 1 }, (p, n) => gridMove("ArrowUp", p, n));
    expect(up).toEqual({ layer: 4, head: 1 });
    expect(inGrid(spec, at, (p, n) => gridMove("x", p, n))).toBeNull();
  });
});

describe("pictures", () => {
  test("have names and digits of their own, and say why where they are not there", () => {
    expect(new Set(PICTURES.map((kind) => kind.name)).size).toBe(PICTURES.length);
    expect(new Set(PICTURES.map((kind) => kind.digit)).size).toBe(PICTURES.length);
    for (const kind of PICTURES) expect(kind.digit).toMatch(/^[1-9]$/);
    expect(pictureOf("nothing").name).toBe("arcs");
    const spec = attentionOf(words("a b"), 1, 2);
    expect(pictureOf("neuron").available(spec, 0, t)).toBeNull();
    const [layer] = spec.layers as [LayerSpec];
    const without = { ...spec, layers: [{ ...layer, hasQk: false, heads: 1 }] };
    expect(pictureOf("neuron").available(without, 0, t)).toMatch(/queries and keys/);
    expect(pictureOf("heads").available(without, 0, t)).toMatch(/one head/);
    const long = { ...spec, layers: [{ ...layer, keys: 513 }] };
    expect(pictureOf("heads").available(long, 0, t)).toMatch(/513/);
  });

  test("the row of a step is the one its token was predicted from", () => {
    const steps = [
      { label: "", first: 0, last: 5 },
      { label: "x", first: 5, last: 6 },
    ];
    expect([0, 1].map((step) => stepRow({ steps }, step))).toEqual([4, 5]);
  });
});
