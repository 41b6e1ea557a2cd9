import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { FakeKernel, VIEWS } from "../dev/samples.ts";
import { mountBundle } from "../src/index.ts";
import { labelStyle, underline } from "../src/labels.ts";
import { Mounted } from "./mounted.ts";

describe("the look of a label", () => {
  test("depends on its text alone, and not on the prefix of a tag scheme or its case", () => {
    fc.assert(
      fc.property(fc.string(), (label) => {
        expect(labelStyle(label)).toEqual(labelStyle(label));
        expect(labelStyle(`B-x${label}`)).toEqual(labelStyle(`I-x${label}`));
      }),
    );
    expect(labelStyle("per")).toEqual(labelStyle("B-PER"));
    expect(labelStyle("PERSON")).toEqual(labelStyle("PER"));
  });

  test("differs within the usual schemes", () => {
    const schemes = [
      "PER ORG LOC MISC",
      "PERSON NORP FAC ORG GPE LOC PRODUCT EVENT WORK_OF_ART LAW LANGUAGE DATE TIME PERCENT MONEY QUANTITY ORDINAL CARDINAL",
      "person location group corporation product creative-work",
      "positive negative neutral",
      "entailment neutral contradiction",
    ];
    for (const scheme of schemes) {
      const looks = scheme.split(" ").map((label) => JSON.stringify(labelStyle(label)));
      expect(new Set(looks).size).toBe(looks.length);
    }
  });

  test("spreads labels that nobody knows over all colours and lines", () => {
    const looks = Array.from({ length: 400 }, (_, at) => JSON.stringify(labelStyle(`kind ${at}`)));
    expect(new Set(looks).size).toBe(24);
  });

  test("is drawn within three pixels, above a distance from below", () => {
    for (const label of ["PER", "NORP", "EVENT", "CARDINAL"]) {
      for (const part of underline(labelStyle(label), 8)) {
        expect(part.position).toMatch(/^0 calc\(100% - (8|10)px\)$/);
      }
    }
  });
});

describe("entities", () => {
  const options = { theme: "light", locale: "en" } as const;
  const live = { session: "session-1", view: "view-1" };

  beforeEach(() => {
    vi.spyOn(HTMLCanvasElement.prototype, "getContext").mockReturnValue(null);
  });
  afterEach(() => Mounted.undoAll());

  async function view() {
    const spec = (VIEWS["entities"] as () => never)();
    const kernel = new FakeKernel(spec, 0);
    const data = JSON.parse(
      JSON.stringify({ version: "0.1.0", spec, live, heads: 72, headsCarried: 0 }),
    );
    const mounted = new Mounted((element) => mountBundle(element, data, kernel, options));
    await vi.waitFor(() => expect(mounted.one("badge").dataset["state"]).toBe("live"));
    return { mounted, kernel };
  }
  const chosen = (mounted: Mounted) =>
    mounted
      .all("token")
      .filter((token) => token.getAttribute("aria-selected") === "true")
      .map((token) => Number(token.dataset["index"]));

  test("a click on a span selects its tokens in the explorer, a second one clears them", async () => {
    const { mounted, kernel } = await view();
    const chip = mounted.all("span-chip")[0] as HTMLElement;
    chip.click();
    await vi.waitFor(() => expect(chosen(mounted)).toEqual([1, 2]));
    expect(chip.getAttribute("aria-pressed")).toBe("true");
    await vi.waitFor(() =>
      expect(kernel.sent).toContainEqual(
        expect.objectContaining({
          type: "select",
          selection: expect.objectContaining({ tokens: [1, 2] }),
        }),
      ),
    );
    chip.click();
    await vi.waitFor(() => expect(chosen(mounted)).toEqual([]));
    expect(chip.getAttribute("aria-pressed")).toBe("false");
  });

  test("a chosen span is marked over its whole length, whatever lies across it", async () => {
    const { mounted } = await view();
    const chip = mounted.all("span-chip").find((one) => one.dataset["span"] === "1");
    chip?.click();
    const held = () => mounted.all("span").filter((mark) => mark.classList.contains("held"));
    const text = (mark: HTMLElement) => mark.lastChild?.textContent ?? "";
    await vi.waitFor(() => expect(held().map(text).join("")).toBe("Bank of China (Hong Kong)"));
  });

  test("a span whose tokens are not in the pass is no button", async () => {
    const { mounted } = await view();
    const chips = mounted.all("span-chip");
    const far = chips.find((chip) => chip.dataset["span"] === "6");
    expect(far?.tagName).toBe("SPAN");
    expect(chips.filter((chip) => chip.tagName === "BUTTON")).toHaveLength(6);
  });

  test("arrows move between the chips, one of which is in the tab order", async () => {
    const { mounted } = await view();
    const inOrder = () => mounted.all("span-chip").filter((chip) => chip.tabIndex === 0);
    expect(inOrder().map((chip) => chip.dataset["span"])).toEqual(["0"]);
    const first = inOrder()[0] as HTMLElement;
    first.focus();
    mounted.key(first, "ArrowRight");
    expect(inOrder().map((chip) => chip.dataset["span"])).toEqual(["1"]);
  });

  test("a token's labels are shown on hover, and stay where it is chosen", async () => {
    const { mounted } = await view();
    expect(mounted.text("token-detail")).toContain("Point at a token");
    const token = mounted.all("labelled")[2] as HTMLElement;
    token.dispatchEvent(new MouseEvent("pointerover", { bubbles: true }));
    expect(mounted.all("token-label-row")).toHaveLength(7);
    const scores = mounted.all("token-label-row").map((row) => Number(row.getAttribute("title")));
    expect(scores).toEqual([...scores].sort((a, b) => b - a));
    token.parentElement?.dispatchEvent(new MouseEvent("pointerleave"));
    expect(mounted.all("token-label-row")).toHaveLength(0);
    mounted.all("token")[3]?.click();
    await vi.waitFor(() => expect(mounted.text("token-detail")).toContain("token 3"));
  });
});
