/** The numbers of softmax(scale * q.k + bias) for one query, from what the kernel sends. */

import { type LayerSpec, MASKED } from "@lmkit/protocol";

/** What the softmax of one row of scores is made of. */
export interface Softmax {
  /** The largest score that no mask closes; 0 where all are closed. */
  readonly top: number;
  /** The sum of exp(score - top) over the keys that no mask closes. */
  readonly sum: number;
  /** How many keys those are. */
  readonly open: number;
}

export function softmaxOf(scores: ArrayLike<number>): Softmax {
  let top = Number.NEGATIVE_INFINITY;
  let open = 0;
  for (let key = 0; key < scores.length; key += 1) {
    const score = scores[key] as number;
    if (score <= MASKED) continue;
    open += 1;
    if (score > top) top = score;
  }
  if (open === 0) return { top: 0, sum: 0, open };
  let sum = 0;
  for (let key = 0; key < scores.length; key += 1) {
    const score = scores[key] as number;
    if (score > MASKED) sum += Math.exp(score - top);
  }
  return { top, sum, open };
}

/** The weight of a score. `sink` is what a learned sink adds to the sum: rows then sum to less. */
export function weightOf(score: number, { top, sum }: Softmax, sink = 0): number {
  return score <= MASKED || sum === 0 ? 0 : Math.exp(score - top) / (sum + sink);
}

/** What becomes of one query and one key before the softmax. */
export interface Pair {
  readonly products: Float64Array;
  /** q.k */
  readonly dot: number;
  /** scale * q.k */
  readonly scaled: number;
  /** c * tanh(scaled / c); null where the layer has no such bound. */
  readonly capped: number | null;
  /** What is added besides (T5's positions, ALiBi); null where nothing is. */
  readonly bias: number | null;
  /** What enters the softmax; null where a mask closes the pair. */
  readonly score: number | null;
}

export function pairOf(
  query: ArrayLike<number>,
  key: ArrayLike<number>,
  score: number,
  layer: Pick<LayerSpec, "scale" | "softcap">,
): Pair {
  const products = Float64Array.from(
    { length: query.length },
    (_, index) => (query[index] as number) * (key[index] ?? 0),
  );
  let dot = 0;
  let size = 0;
  for (const product of products) {
    dot += product;
    size += Math.abs(product);
  }
  const scaled = layer.scale * dot;
  const capped = layer.softcap === null ? null : layer.softcap * Math.tanh(scaled / layer.softcap);
  const masked = score <= MASKED;
  const before = capped ?? scaled;
  // The kernel adds in float32: what lies within its rounding is not a bias.
  const rounding = 4e-6 * (layer.scale * size + Math.abs(before)) + 1e-7;
  const bias = masked || Math.abs(score - before) <= rounding ? null : score - before;
  return { products, dot, scaled, capped, bias, score: masked ? null : score };
}
