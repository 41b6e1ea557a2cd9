import type { LensSpec, PanelSpec, Request, Token } from "@lmkit/protocol";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { FakeKernel, VIEWS } from "../dev/samples.ts";
import { positions, shrink, topOf } from "../src/explorer/draw.ts";
import { grouped, joined } from "../src/explorer/lens.ts";
import { mountBundle } from "../src/index.ts";
import { MIDDLE, placeOn } from "../src/scale.ts";
import { Mounted } from "./mounted.ts";

const live = { session: "session-1", view: "view-1" };
const options = { theme: "light", locale: "en" } as const;

beforeEach(() => {
  vi.spyOn(HTMLCanvasElement.prototype, "getContext").mockReturnValue(null);
});
afterEach(() => {
  document.body.replaceChildren();
});

const token = (text: string, start: number, end: number, special = false): Token => ({
  text,
  raw: text,
  special,
  word: special ? null : 0,
  start,
  end,
});
const lens = (name: string, more: Partial<LensSpec> = {}): LensSpec => ({
  name,
  title: name,
  help: `What ${name} are.`,
  scale: "share",
  grouped: false,
  reason: "",
  ...more,
});

function sample(): PanelSpec {
  const spec = (VIEWS["short"] as () => PanelSpec)();
  const attention = spec.attention as NonNullable<PanelSpec["attention"]>;
  const lenses = [
    lens("words", { grouped: true }),
    lens("norm", { scale: "amount" }),
    lens("turns", { reason: "This is no chat." }),
  ];
  return { ...spec, attention: { ...attention, lenses } };
}

async function opened(spec = sample()) {
  const kernel = new FakeKernel(spec, 0);
  const bundle = { version: "0.1.0", spec, live, heads: 72, headsCarried: 0 };
  const view = new Mounted((element) =>
    mountBundle(element, JSON.parse(JSON.stringify(bundle)), kernel, options),
  );
  await vi.waitFor(() => expect(view.one("badge").dataset["state"]).toBe("live"));
  return { view, kernel };
}

function choose(view: Mounted, name: string): void {
  const list = view.one<HTMLSelectElement>("lens");
  list.value = name;
  list.dispatchEvent(new Event("change"));
}

const asked = (kernel: FakeKernel) =>
  kernel.sent
    .filter((one): one is Extract<Request, { type: "tile" }> => one.type === "tile")
    .map((one) => one.key);

describe("a lens", () => {
  test("has tokens of its own, tiles of its own, and is told to the kernel", async () => {
    const { view, kernel } = await opened();
    const before = view.all("token").length;
    choose(view, "words");
    await vi.waitFor(() => expect(asked(kernel)).toContain("head/3/7@words"));
    expect(asked(kernel)).toContain("query-groups/0@words");
    // The made-up words: two tokens each, the two special ones hidden.
    await vi.waitFor(() => expect(view.all("token")).toHaveLength((before - 2) / 2));
    expect(view.text("lens-note")).toBe("What words are.");
    await vi.waitFor(() =>
      expect(kernel.sent.filter((one) => one.type === "select").at(-1)).toMatchObject({
        selection: { lens: "words", tokens: [] },
      }),
    );
    choose(view, "");
    await vi.waitFor(() => expect(view.all("token")).toHaveLength(before));
    expect(view.one("lens-note").hidden).toBe(true);
  });

  test("of amounts has the legend of amounts; queries and keys are of the attention alone", async () => {
    const { view, kernel } = await opened();
    choose(view, "norm");
    await vi.waitFor(() => expect(asked(kernel)).toContain("head/3/7@norm"));
    expect(asked(kernel).some((key) => key.startsWith("query-groups"))).toBe(false);
    await vi.waitFor(() => expect(view.text("legend")).toContain("up to the largest"));
    expect(view.one("tab-neuron").getAttribute("aria-disabled")).toBe("true");
    expect(view.one("tab-heads").title).toContain("shares");
  });

  test("that is not available is listed with the reason", async () => {
    const { view } = await opened();
    const option = [...view.one<HTMLSelectElement>("lens").options].at(-1);
    expect([option?.disabled, option?.title]).toEqual([true, "This is no chat."]);
  });

  test("that a saved output was seen through gives way to what it carries", async () => {
    const spec = sample();
    const attention = spec.attention as NonNullable<PanelSpec["attention"]>;
    const chosen = { ...attention.selection, lens: "words" };
    const saved = { ...spec, attention: { ...attention, selection: chosen } };
    const bundle = { version: "0.1.0", spec: saved, heads: 72, headsCarried: 0 };
    const view = new Mounted((element) => mountBundle(element, bundle, null, options));
    await vi.waitFor(() => expect(view.all("token").length).toBeGreaterThan(10));
    expect(view.all("error")).toEqual([]);
    expect(view.one<HTMLSelectElement>("lens").disabled).toBe(true);
  });
});

describe("tokens of a lens", () => {
  test("are the pieces of a word, with a space where the text has one", () => {
    const tokens = [token("mov", 0, 3), token("ed", 3, 5), token("me", 6, 8)];
    expect(joined(tokens)).toMatchObject({ text: "moved me", start: 0, end: 8, special: false });
    expect(joined([token(" mov", 0, 4), token("ed", 4, 6)]).text).toBe(" moved");
  });

  test("leave out what is hidden and keep their order", () => {
    const tokens = [
      token("[CLS]", 0, 0, true),
      token("a", 0, 1),
      token("b", 1, 2),
      token("c", 3, 4),
    ];
    expect(grouped(tokens, [-1, 0, 0, 1]).map((one) => one.text)).toEqual(["ab", "c"]);
  });
});

describe("numbers that are no shares", () => {
  const tile = (values: number[]) => ({
    key: "head/0/0",
    shape: [1, values.length],
    encoding: "f32" as const,
    values: Float32Array.from(values),
    at: () => 0,
  });

  test("are drawn relative to the largest", () => {
    const amounts = tile([0, 5, 20]);
    const numbers = { scale: "amount", top: topOf(amounts) } as const;
    expect([...positions(amounts, 0, 3, "linear", numbers)]).toEqual([0, 64, 255]);
  });

  test("below zero lie on the other side of the middle, and the farthest from it shows", () => {
    const numbers = { scale: "difference", top: 1 } as const;
    expect(placeOn(0, "sqrt", numbers)).toBe(MIDDLE);
    expect(placeOn(-1, "sqrt", numbers)).toBe(0);
    expect(placeOn(1, "log", numbers)).toBe(254);
    const fitted = shrink([127, 10, 130, 127], 4, 1, 2, 1, MIDDLE);
    expect([...(fitted.block as Uint8Array)]).toEqual([10, 130]);
  });
});
