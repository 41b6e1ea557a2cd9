import type { HeadMeasure, PanelSpec, Request, ViewInfo } from "@lmkit/protocol";
import { parseViewSpec } from "@lmkit/protocol";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { ANSWERS, FakeKernel, VIEWS } from "../dev/samples.ts";
import { questionOf } from "../src/explorer/analysis.ts";
import { mountBundle } from "../src/index.ts";
import { ends, ranked } from "../src/panel/head-grid.ts";
import { framed } from "../src/panel/page.ts";
import { divergingIndex, makeDiverging } from "../src/scale.ts";
import { Store, type ViewState } from "../src/store.ts";
import { Mounted } from "./mounted.ts";

const live = { session: "session-1", view: "view-1" };
const options = { theme: "light", locale: "en" } as const;

beforeEach(() => {
  vi.spyOn(HTMLCanvasElement.prototype, "getContext").mockReturnValue(null);
});
afterEach(() => {
  document.body.replaceChildren();
});

const sample = () => (VIEWS["views"] as () => PanelSpec)();

function saved(spec: PanelSpec): unknown {
  return JSON.parse(JSON.stringify({ version: "0.1.0", spec, live, heads: 72, headsCarried: 0 }));
}

async function opened(kernel = new FakeKernel(sample(), 0)) {
  const view = new Mounted((element) => mountBundle(element, saved(sample()), kernel, options));
  await vi.waitFor(() => expect(view.one("badge").dataset["state"]).toBe("live"));
  return { view, kernel };
}

function choose(view: Mounted, name: string): void {
  const list = view.one<HTMLSelectElement>("views");
  list.value = name;
  list.dispatchEvent(new Event("change"));
}

const queries = (kernel: FakeKernel) =>
  kernel.sent.filter((one): one is Extract<Request, { type: "query" }> => one.type === "query");

describe("a label of a result", () => {
  const about = (more: object = {}) => ({
    name: "about",
    title: "About",
    fields: [
      { kind: "choice", name: "method", label: "Method", options: ["one", "two"], default: "one" },
      { kind: "text", name: "target", label: "Target", required: false },
    ],
    ...more,
  });
  const withView = async (view: object, more: (spec: PanelSpec) => object = () => ({})) => {
    const spec = sample();
    const attention = { ...spec.attention, views: [...(spec.attention?.views ?? []), view] };
    const made = parseViewSpec({ ...spec, attention, ...more(spec) }) as PanelSpec;
    ANSWERS["about"] = () => [];
    const kernel = new FakeKernel(made, 0);
    const shown = new Mounted((element) => mountBundle(element, saved(made), kernel, options));
    await vi.waitFor(() => expect(shown.one("badge").dataset["state"]).toBe("live"));
    return { view: shown, kernel };
  };
  const asked = (kernel: FakeKernel) =>
    queries(kernel)
      .filter((one) => one.name === "about")
      .map((one) => one.arguments);

  test("opens the view that takes a target, with the label in it", async () => {
    const { view, kernel } = await withView(about());
    const [first, second] = view.all<HTMLButtonElement>("label-explain");
    expect(first?.getAttribute("aria-label")).toBe("positive: About");
    first?.click(); // as Enter and Space do
    await vi.waitFor(() => expect(asked(kernel)).toEqual([{ method: "one", target: "positive" }]));
    expect(view.one<HTMLSelectElement>("views").value).toBe("about");
    const field = (name: string) =>
      view.one("analysis").querySelector<HTMLInputElement>(`[data-field="${name}"]`);
    expect(field("target")?.value).toBe("positive");
    // What else the form holds stays; a click anywhere in the row does.
    const method = field("method") as unknown as HTMLSelectElement;
    method.value = "two";
    second?.closest<HTMLElement>('[data-lmkit="label-row"]')?.click();
    await vi.waitFor(() =>
      expect(asked(kernel).at(-1)).toEqual({ method: "two", target: "negative" }),
    );
    expect(field("target")?.value).toBe("negative");
  });

  test("stays plain without such a view, where it is off, and where it was typed in", async () => {
    const without = await opened();
    expect(without.view.all("label-explain")).toHaveLength(0);
    const off = await withView(about({ reason: "Not of this pass." }));
    expect(off.view.all("label-explain")).toHaveLength(0);
    const typed = await withView(about(), (spec) => ({
      fields: [...spec.fields, { kind: "text", name: "candidates", label: "Labels" }],
      values: { ...spec.values, candidates: "sport, positive\nother" },
    }));
    const names = typed.view.all("label-explain").map((one) => one.getAttribute("aria-label"));
    expect(names).toEqual(["negative: About"]);
    const { view, kernel } = await withView(about());
    kernel.die();
    await vi.waitFor(() => expect(view.all("label-explain")).toHaveLength(0));
  });
});

describe("a view beside the pictures", () => {
  test("is asked when it is opened, with its form's values, and its heads can be chosen", async () => {
    const { view, kernel } = await opened();
    await vi.waitFor(() => expect(view.all("measure-cell")).toHaveLength(72));
    expect(queries(kernel).map(({ name, arguments: values }) => [name, values])).toEqual([
      ["head-map", { induction: true, seed: 0 }],
    ]);
    expect(view.one("picture").hidden).toBe(true);
    const cell = view.one<HTMLElement>("measure-cell");
    expect(cell.getAttribute("aria-label")).toMatch(/^Layer 0, head 0: [\d.]+$/);
    view.key(cell, "ArrowDown");
    view.key(view.one("measure-map"), "ArrowRight");
    view.key(view.one("measure-map"), "Enter");
    expect([view.text("layer-number"), view.text("head-number")]).toEqual(["1", "1"]);
    await vi.waitFor(() =>
      expect(kernel.sent.filter((one) => one.type === "select").at(-1)).toMatchObject({
        selection: { layer: 1, head: 1, picture: "head-map" },
      }),
    );
  });

  test("is sorted by any measure and filtered by the least value", async () => {
    const { view } = await opened();
    await vi.waitFor(() => expect(view.all("measure-cell")).toHaveLength(72));
    const first = () => view.one("measure-choose").textContent;
    const [measure] = (ANSWERS["head-map"]?.() ?? []).flatMap((one) =>
      one.kind === "head-grid" ? one.measures : [],
    );
    const best = ranked(measure as HeadMeasure, true)[0];
    expect(first()).toBe(`${best?.layer}.${best?.head}`);
    view.all<HTMLButtonElement>("measure-sort")[0]?.click();
    const worst = ranked(measure as HeadMeasure, false)[0];
    expect(first()).toBe(`${worst?.layer}.${worst?.head}`);
    const least = view.one<HTMLInputElement>("measure-least");
    least.value = "0.5";
    least.dispatchEvent(new Event("input"));
    const above = measure?.values.flat().filter((value) => (value ?? 0) >= 0.5).length ?? 0;
    expect(above).toBeGreaterThan(0);
    expect(view.all("measure-choose")).toHaveLength(Math.min(20, above));
  });

  test("draws a field that may wait behind More, and a row's note as text", async () => {
    const { view } = await opened();
    const analysis = view.one("analysis");
    const field = (name: string) => analysis.querySelector<HTMLElement>(`[data-field="${name}"]`);
    const more = analysis.querySelector<HTMLButtonElement>('[data-lmkit="more-fields"]');
    expect(field("induction")?.closest("[hidden]")).toBeNull();
    expect(field("seed")?.closest("[hidden]")).not.toBeNull();
    expect(more?.getAttribute("aria-expanded")).toBe("false");
    more?.click();
    expect(field("seed")?.closest("[hidden]")).toBeNull();
    choose(view, "rollout");
    await vi.waitFor(() => expect(view.all("scored-row")).toHaveLength(2));
    expect(view.all("scored-note").map((one) => one.textContent)).toEqual([
      "delta 0.002 <i>of the change</i>",
    ]);
  });

  test("asks again when what it follows changes, not otherwise, and knows what it was told", async () => {
    const { view, kernel } = await opened();
    await vi.waitFor(() => expect(view.all("measure-cell")).toHaveLength(72));
    choose(view, "rollout");
    await vi.waitFor(() => expect(view.all("scored-row")).toHaveLength(2));
    view.key(view.one("layer-number"), "]");
    view.all<HTMLElement>("token")[3]?.click();
    await vi.waitFor(() =>
      expect(queries(kernel).map((one) => [one.name, one.selection.tokens])).toEqual([
        ["head-map", []],
        ["rollout", []],
        ["rollout", [3]],
      ]),
    );
    const rests = () => expect(view.one("analysis").getAttribute("aria-busy")).toBe("false");
    await vi.waitFor(rests);
    choose(view, "head-map");
    await vi.waitFor(() => expect(view.all("measure-cell")).toHaveLength(72));
    choose(view, "rollout");
    await vi.waitFor(() => expect(view.all("scored-row")).toHaveLength(2));
    expect(queries(kernel).map((one) => one.name)).toEqual(["head-map", "rollout", "rollout"]);
  });

  test("says how far the kernel is and can be stopped", async () => {
    const { view, kernel } = await opened();
    choose(view, "endless");
    await vi.waitFor(() => expect(view.text("analysis-status")).toContain("24 of 72"));
    view.one("analysis-stop").click();
    const asked = queries(kernel).at(-1);
    expect(kernel.sent.at(-1)).toMatchObject({ type: "cancel", target: asked?.id });
    expect(view.text("analysis-status")).toContain("Stopped");
    view.one("analysis-again").click();
    await vi.waitFor(() => expect(queries(kernel).at(-1)?.id).not.toBe(asked?.id));
    expect(queries(kernel).at(-1)?.name).toBe("endless");
  });

  test("that is not available is listed with the reason and cannot be chosen", async () => {
    const { view } = await opened();
    const option = [...view.one<HTMLSelectElement>("views").options].at(-1);
    expect([option?.disabled, option?.title]).toEqual([true, "It is never there."]);
  });

  test("says plainly that it needs the kernel where there is none", () => {
    const view = new Mounted((element) => mountBundle(element, saved(sample()), null, options));
    expect(view.text("analysis-status")).toContain("run the cell to see it");
  });
});

describe("a page of a plugin", () => {
  test("has no origin and no network, and its own policy stands behind ours", async () => {
    const { view } = await opened();
    choose(view, "rollout");
    await vi.waitFor(() => expect(view.all("page")).toHaveLength(1));
    const frame = view.one<HTMLIFrameElement>("page");
    expect(frame.getAttribute("sandbox")).toBe("allow-scripts");
    const document = new DOMParser().parseFromString(frame.srcdoc, "text/html");
    const first = document.head.querySelector("meta[http-equiv]");
    expect(first?.getAttribute("content")).toMatch(/^default-src 'none'/);
    expect(framed("</head><script>1</script>").indexOf("Content-Security-Policy")).toBeLessThan(
      framed("</head><script>1</script>").indexOf("<script>"),
    );
  });

  test("gets the nonce that the page around asks of scripts, and nothing else does", () => {
    const html = framed(
      "<!doctype html><html><head><script src='data:,1'></script></head>" +
        "<body onload='2'><p>&lt;script&gt;</p><script nonce='theirs'>3 < 4</script></body></html>",
      "ours",
    );
    expect(html.indexOf("Content-Security-Policy")).toBeLessThan(html.indexOf("<script"));
    const read = new DOMParser().parseFromString(html, "text/html");
    const scripts = [...read.querySelectorAll("script")];
    expect(scripts.map((one) => one.getAttribute("nonce"))).toEqual(["ours", "ours"]);
    expect(scripts[1]?.textContent).toBe("3 < 4");
    expect(read.querySelector("p")?.textContent).toBe("<script>");
    expect([...read.querySelectorAll("[nonce]")]).toEqual(scripts);
    // what could end the attribute is no nonce
    expect(framed("<script>1</script>", "x onload=1")).not.toContain("onload");
  });

  test("is never run from a saved notebook", () => {
    const spec = { ...sample(), results: ANSWERS["rollout"]?.() ?? [] };
    const view = new Mounted((element) => mountBundle(element, saved(spec), null, options));
    expect(view.root.querySelectorAll("iframe")).toHaveLength(0);
    expect(view.text("page-note")).toContain("only while its kernel runs");
    expect(view.root.innerHTML).not.toContain("framed");
  });

  test("is not run before the kernel's own spec is there", async () => {
    const spec = { ...sample(), results: ANSWERS["rollout"]?.() ?? [] };
    const kernel = new FakeKernel(sample(), 0);
    const view = new Mounted((element) => mountBundle(element, saved(spec), kernel, options));
    const seen: string[] = [];
    const watch = new MutationObserver(() => {
      for (const frame of view.root.querySelectorAll("iframe")) seen.push(frame.srcdoc);
    });
    watch.observe(view.root, { childList: true, subtree: true });
    await vi.waitFor(() => expect(view.all("measure-cell")).toHaveLength(72));
    expect(seen.filter((html) => html.includes("framed"))).toEqual([]);
  });
});

describe("measures", () => {
  const measure = (values: (number | null)[][], diverging = false): HeadMeasure => ({
    name: "m",
    title: "M",
    help: "",
    unit: "",
    values,
    diverging,
  });

  test("have zero on their scale, in the middle where they diverge", () => {
    expect(ends(measure([[0.2, 0.5]]))).toEqual([0, 0.5]);
    expect(ends(measure([[-2, null], [1]]))).toEqual([-2, 1]);
    expect(ends(measure([[-2, 1]], true))).toEqual([-2, 2]);
  });

  test("are ranked either way, with heads without a value last", () => {
    const one = measure([[0.2, null], [0.9]]);
    const places = (falling: boolean) =>
      ranked(one, falling).map(({ layer, head }) => `${layer}.${head}`);
    expect(places(true)).toEqual(["1.0", "0.0", "0.1"]);
    expect(places(false)).toEqual(["0.0", "1.0", "0.1"]);
  });

  test("of differences have the page's own colour at zero and other colours on either side", () => {
    for (const [background, dark] of [
      ["#ffffff", false],
      ["#111111", true],
    ] as const) {
      const ramp = makeDiverging(background, dark);
      expect(ramp).toHaveLength(255);
      const zero = ramp[divergingIndex(0, "sqrt")];
      expect(zero).toEqual(dark ? [17, 17, 17] : [255, 255, 255]);
      const [more, less] = [ramp[254], ramp[0]] as const;
      expect((more?.[2] ?? 0) - (more?.[0] ?? 0)).toBeGreaterThan(40);
      expect((less?.[0] ?? 0) - (less?.[2] ?? 0)).toBeGreaterThan(40);
    }
    expect(divergingIndex(-1, "sqrt")).toBe(0);
    expect(divergingIndex(-0.25, "sqrt")).toBe(127 - 64);
  });
});

test("a question is its fields and what it follows, nothing else", () => {
  const info: ViewInfo = {
    name: "v",
    title: "",
    help: "",
    plugin: "",
    fields: [],
    follows: ["layer"],
    reason: "",
  };
  const store = new Store<ViewState>({
    layer: 1,
    head: 2,
    tokens: [],
    focus: null,
    lens: "",
    picture: "arcs",
    mapping: "sqrt",
    heads: null,
    least: 0.05,
    hideSpecials: false,
    step: null,
    asked: null,
  });
  const before = questionOf(info, { k: 1 }, store.state);
  store.set({ head: 3, tokens: [1] });
  expect(questionOf(info, { k: 1 }, store.state)).toBe(before);
  store.set({ layer: 2 });
  expect(questionOf(info, { k: 1 }, store.state)).not.toBe(before);
});

describe("a saved output", () => {
  const kept = (name: string, selection = {}) => ({
    name,
    arguments: {},
    selection,
    results: [{ kind: "text", text: `what ${name} said` }],
  });
  const mounted = (picture: string, answers: object[]) => {
    const spec = sample();
    const attention = spec.attention as NonNullable<PanelSpec["attention"]>;
    const selection = { ...attention.selection, picture };
    const views = attention.views.map((one): ViewInfo => ({ ...one, follows: ["layer", "head"] }));
    const bundle = {
      ...(saved({
        ...spec,
        attention: { ...attention, selection, views: [...views] },
      } as PanelSpec) as object),
      live: null,
      answers,
    };
    return new Mounted((element) => mountBundle(element, bundle, null, options));
  };

  test("shows what a view said last, and for which head it was, without a kernel", () => {
    const name = sample().attention?.views.find((one) => one.reason === "")?.name ?? "";
    const view = mounted(name, [kept(name, sample().attention?.selection)]);
    expect(view.text("analysis-results")).toContain(`what ${name} said`);
    expect(view.text("analysis-status")).toBe("");
    const other = mounted(name, [kept(name, { layer: 3, head: 5 })]);
    expect(other.text("analysis-results")).toContain(`what ${name} said`);
    expect(other.text("kept-note")).toContain("head 5");
    expect(other.text("kept-note")).toContain("Run the cell");
  });

  test("says how to get a view that it does not carry", () => {
    const [first, second] = sample().attention?.views.filter((one) => one.reason === "") ?? [];
    const view = mounted(second?.name ?? "", [kept(first?.name ?? "")]);
    expect(view.text("page-note")).toContain("run the cell");
    expect(view.text("analysis-results")).toBe("");
  });
});
