// @vitest-environment node
import type { Span, Token } from "@lmkit/protocol";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { top } from "../src/explorer/sentence.ts";
import { lanes, pieces } from "../src/panel/spans.ts";
import { findTokens } from "../src/panel/tokens.ts";
import {
  codePoints,
  head,
  shortToken,
  utf16Offsets,
  visibleLabel,
  visibleProse,
  visibleToken,
} from "../src/text.ts";

const anyText = fc.string({ unit: "grapheme-composite", maxLength: 30 });
const rough = fc.string({ unit: "binary", maxLength: 30 });
const UNSEEN = /\p{Cc}|[\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060\u2066-\u2069\ufeff]/u;

describe("visible text", () => {
  test("shows controls by name", () => {
    expect(visibleProse("a\u0000b\u202Ec\u2069")).toBe("a⟨NUL⟩b⟨RLO⟩c⟨PDI⟩");
    expect(visibleProse("line\nnext\ttab")).toBe("line\nnext\ttab");
    expect(visibleToken(" the\n\t")).toBe("·the↵⇥");
    expect(visibleToken("")).toBe("∅");
    expect(visibleLabel("\n\n")).toBe("↵↵");
    expect(visibleLabel("a\nb")).toBe("a b");
  });

  test("keeps emoji, joined ones too, and right-to-left letters", () => {
    for (const text of ["👩‍👩‍👧‍👦", "שלום", "مرحبا", "नमस्ते"]) expect(visibleToken(text)).toBe(text);
  });

  test("lets no control character through", () => {
    fc.assert(
      fc.property(rough, (text) => {
        expect(visibleToken(text)).not.toMatch(UNSEEN);
        expect(visibleProse(text).replace(/[\n\r\t]/g, "")).not.toMatch(UNSEEN);
      }),
    );
  });

  test("a short form never splits a code point", () => {
    expect(shortToken("x".repeat(100), 5)).toBe("xxxxx…");
    expect(shortToken("👍👍👍", 2)).toBe("👍👍…");
    fc.assert(
      fc.property(anyText, fc.nat(10), (text, most) => {
        const start = head(text, most);
        expect(text.startsWith(start.text)).toBe(true);
        expect(codePoints(start.text)).toBe(Math.min(most, codePoints(text)));
        expect(start.cut).toBe(codePoints(text) > most);
      }),
    );
  });
});

describe("code points", () => {
  test("map to UTF-16 as Python's str index does", () => {
    fc.assert(
      fc.property(anyText, fc.array(fc.nat(40), { maxLength: 8 }), (text, offsets) => {
        const points = Array.from(text);
        const found = utf16Offsets(text, offsets);
        for (const offset of offsets) {
          expect(text.slice(0, found.get(offset))).toBe(points.slice(0, offset).join(""));
        }
      }),
    );
  });
});

describe("spans", () => {
  const span = (start: number, end: number): Span => ({
    start,
    end,
    label: "",
    score: null,
    tokens: [],
    change: null,
  });
  const anySpans = fc.array(
    fc.tuple(fc.nat(35), fc.nat(12)).map(([start, length]) => span(start, start + length)),
    { maxLength: 12 },
  );

  test("pieces are the text, cut where spans begin and end", () => {
    expect(pieces("a👍b", [span(1, 2)]).map((piece) => [piece.text, piece.spans])).toEqual([
      ["a", []],
      ["👍", [0]],
      ["b", []],
    ]);
  });

  test("pieces join to the text, and each code point is under its own spans", () => {
    fc.assert(
      fc.property(anyText, anySpans, (text, spans) => {
        const cut = pieces(text, spans);
        expect(cut.map((piece) => piece.text).join("")).toBe(text);
        let point = 0;
        for (const piece of cut) {
          for (const _ of piece.text) {
            const over = spans.flatMap((item, index) =>
              item.start <= point && point < item.end ? [index] : [],
            );
            expect([...piece.spans].sort((a, b) => a - b)).toEqual(over);
            point += 1;
          }
        }
        const length = codePoints(text);
        const begun = cut.flatMap((piece) => piece.starts).sort((a, b) => a - b);
        expect(begun).toEqual(
          spans.flatMap((item, index) =>
            item.end > item.start && item.start < length ? [index] : [],
          ),
        );
      }),
    );
  });

  test("of nested spans the inner is nearer to the text", () => {
    expect(lanes([span(0, 20), span(5, 10), span(6, 8), span(12, 14), span(30, 32)])).toEqual([
      2, 1, 0, 0, 0,
    ]);
  });

  test("spans that overlap never share a lane", () => {
    fc.assert(
      fc.property(anySpans, (spans) => {
        const lane = lanes(spans);
        for (const [a, first] of spans.entries()) {
          for (const [b, second] of spans.entries()) {
            if (a < b && first.start < second.end && second.start < first.end) {
              expect(lane[a]).not.toBe(lane[b]);
            }
          }
        }
      }),
    );
  });
});

describe("tokens", () => {
  const token = (text: string, special = false): Token => ({
    text,
    raw: text,
    special,
    word: null,
    start: 0,
    end: 0,
  });

  test("are found by any part, whatever the case", () => {
    const tokens = ["The", " other", "THE", "x"].map((text) => token(text));
    expect(findTokens(tokens, "the")).toEqual([0, 1, 2]);
    expect(findTokens(tokens, "")).toEqual([]);
  });

  test("the top list is the largest values, falling", () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 20 }),
        fc.nat(6),
        (values, most) => {
          const over = values.map((_, index) => token(`t${index}`));
          const found = top(
            { subjects: [], direction: "to", over, values: { values, exact: true } },
            most,
            false,
          );
          const wanted = values
            .filter((value) => value > 0)
            .sort((a, b) => b - a)
            .slice(0, most);
          expect(found.map((item) => item.value)).toEqual(wanted);
          for (const item of found) expect(values[item.index]).toBe(item.value);
        },
      ),
    );
  });

  test("special tokens are left out of the top list when they are hidden", () => {
    const over = [token("[CLS]", true), token("a")];
    const read = {
      subjects: [],
      direction: "to",
      over,
      values: { values: [0.9, 0.1], exact: true },
    } as const;
    expect(top(read, 5, true).map((item) => item.token.text)).toEqual(["a"]);
  });
});
