import { Blob } from "node:buffer";
import type { PanelSpec, Token } from "@lmkit/protocol";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { FakeKernel, VIEWS } from "../dev/samples.ts";
import { mountBundle } from "../src/index.ts";
import { placeOf } from "../src/panel/token-edit.ts";
import { Mounted } from "./mounted.ts";

beforeEach(() => {
  vi.stubGlobal("Blob", Blob);
  vi.spyOn(HTMLCanvasElement.prototype, "getContext").mockReturnValue(null);
});

afterEach(() => {
  Mounted.undoAll();
  document.body.replaceChildren();
});

const token = (text: string, start: number, end: number): Token => ({
  text,
  raw: text,
  special: false,
  word: null,
  start,
  end,
});
const options = { theme: "light", locale: "en" } as const;

async function opened(live: { session: string; view: string } | null) {
  const spec = (VIEWS["short"] as () => PanelSpec)();
  const kernel = new FakeKernel(spec, 0);
  const data = { version: "0.1.0", spec, live, heads: 72, headsCarried: 0 };
  const view = new Mounted((element) =>
    mountBundle(element, JSON.parse(JSON.stringify(data)), live ? kernel : null, options),
  );
  if (live) await vi.waitFor(() => expect(view.one("badge").dataset["state"]).toBe("live"));
  const text = String(spec.values["text"]);
  const words = view.all("token").filter((one) => !one.classList.contains("special"));
  return { view, kernel, text, words };
}

describe("a token of the text", () => {
  test("is replaced by keys, and what is made of it is run", async () => {
    const { view, kernel, text, words } = await opened({ session: "s", view: "v" });
    const last = words[2] as HTMLElement;
    last.focus();
    view.key(last, "F2");
    const input = view.one<HTMLInputElement>("token-edit");
    expect(view.root.activeElement).toBe(input);
    const before = input.value;
    expect(text).toContain(before);
    input.value = "👍🏽 neu";
    view.key(input, "Enter");
    const runs = () => kernel.sent.filter((message) => message.type === "run");
    await vi.waitFor(() => expect(runs()).toHaveLength(1));
    expect(runs()[0]).toMatchObject({ values: { text: text.replace(before, "👍🏽 neu") } });
    expect(view.one("token-edit-line").hidden).toBe(true);
  });

  test("stays with Escape, and the focus returns to it", async () => {
    const { view, kernel, words } = await opened({ session: "s", view: "v" });
    const first = words[0] as HTMLElement;
    first.dispatchEvent(new MouseEvent("dblclick", { bubbles: true, composed: true }));
    const input = view.one<HTMLInputElement>("token-edit");
    input.value = "else";
    view.key(input, "Escape");
    expect(view.one("token-edit-line").hidden).toBe(true);
    expect(view.root.activeElement).toBe(first);
    expect(kernel.sent.filter((message) => message.type === "run")).toEqual([]);
  });

  test("is not replaced where it is special, or where no kernel is there", async () => {
    const { view } = await opened({ session: "s", view: "v" });
    const special = view.all("token").find((one) => one.classList.contains("special"));
    view.key(special as HTMLElement, "F2");
    expect(view.one("token-edit-line").hidden).toBe(true);
    const saved = await opened(null);
    saved.view.key(saved.words[0] as HTMLElement, "F2");
    expect(saved.view.one("token-edit-line").hidden).toBe(true);
  });
});

describe("the place of a token", () => {
  const alone = (text: string, one: Token) => placeOf(text, [one], 0);

  test("counts code points, and forgives case, accents and blanks", () => {
    expect(alone("👍 Café", token("cafe", 2, 6))).toEqual([3, 7]);
    expect(alone("a film", token(" film", 1, 6))).toEqual([1, 6]);
  });

  test.each([
    ["another text", "another text", token("film", 2, 6)],
    ["a text that is shorter now", "a", token("film", 2, 6)],
    ["no place", "a film", token("film", 0, 0)],
    ["blanks alone", "a   b", token("", 1, 4)],
  ])("is none in %s", (_, text, one) => {
    expect(alone(text, one)).toBeNull();
  });

  test("is none in the second text of a pair, whose word stands there by chance", () => {
    const tokens = [token("the", 0, 3), token("film", 4, 8), token("the", 0, 3)];
    expect(placeOf("the film", tokens, 0)).toEqual([0, 3]);
    expect(placeOf("the film", tokens, 2)).toBeNull();
  });

  test("is none where a template was put around the text", () => {
    const tokens = [token("you", 0, 3), token("are", 4, 7), token("a", 8, 9), token("bot", 10, 13)];
    expect(placeOf("say in a way", tokens, 2)).toBeNull();
  });

  test("leads to the very characters", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), fc.nat(), fc.nat(), (text, a, b) => {
        const points = Array.from(text);
        const start = points.length ? a % points.length : 0;
        const end = Math.min(points.length, start + 1 + (b % 4));
        const wanted = points.slice(start, end).join("");
        const place = alone(text, token(wanted, start, end));
        if (place) expect(text.slice(...place)).toBe(wanted);
      }),
    );
  });
});
