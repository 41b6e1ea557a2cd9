/** Spans cut into pieces that can be drawn side by side, overlaps in lanes. */

import type { Span } from "@lmkit/protocol";
import { utf16Offsets } from "../text.ts";

/** A stretch of the text under one set of spans. `starts` are the spans that begin with it. */
export interface Piece {
  readonly text: string;
  readonly spans: readonly number[];
  readonly starts: readonly number[];
}

/**
 * The lane of each span, from 0, the nearest to the text. Spans that overlap never share one; of
 * nested spans the inner is nearer, so that lines lie under each other as brackets do.
 */
export function lanes(spans: readonly Span[]): readonly number[] {
  const order = spans.map((_, index) => index);
  const length = (span: Span) => span.end - span.start;
  order.sort((a, b) => {
    const [x, y] = [spans[a] as Span, spans[b] as Span];
    return length(x) - length(y) || x.start - y.start || a - b;
  });
  const taken: { start: number; end: number }[][] = [];
  const lane = new Array<number>(spans.length).fill(0);
  for (const index of order) {
    const { start, end } = spans[index] as Span;
    const own = { start, end: Math.max(end, start + 1) };
    let free = taken.findIndex((others) =>
      others.every((other) => other.end <= own.start || own.end <= other.start),
    );
    if (free < 0) free = taken.push([]) - 1;
    taken[free]?.push(own);
    lane[index] = free;
  }
  return lane;
}

/** Cut `text` at every start and end of a span. Offsets are code points; those outside are bounded. */
export function pieces(text: string, spans: readonly Span[]): readonly Piece[] {
  const cuts = [...new Set([0, ...spans.flatMap((span) => [span.start, span.end])])].sort(
    (a, b) => a - b,
  );
  const units = utf16Offsets(text, cuts);
  const at = (point: number) => Math.min(text.length, units.get(point) ?? text.length);
  const starting = new Map<number, number[]>();
  for (const [index, span] of spans.entries()) {
    if (span.end <= span.start || at(span.start) >= text.length) continue;
    const list = starting.get(span.start);
    if (list) list.push(index);
    else starting.set(span.start, [index]);
  }
  const out: Piece[] = [];
  let open: number[] = [];
  for (const [place, cut] of cuts.entries()) {
    const next = cuts[place + 1];
    open = open.filter((index) => (spans[index] as Span).end > cut);
    const starts = starting.get(cut) ?? [];
    open = [...open, ...starts];
    const piece = text.slice(at(cut), next === undefined ? text.length : at(next));
    if (piece !== "") out.push({ text: piece, spans: open, starts });
  }
  return out;
}
