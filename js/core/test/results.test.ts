import { Blob } from "node:buffer";
import type { Chart, PanelSpec, Table } from "@lmkit/protocol";
import { parseViewSpec } from "@lmkit/protocol";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { FakeKernel, HOSTILE, VIEWS } from "../dev/samples.ts";
import { mountBundle } from "../src/index.ts";
import { bounds, roundSteps, ticks } from "../src/panel/chart.ts";
import { sorted } from "../src/panel/table.ts";
import { Mounted } from "./mounted.ts";

beforeEach(() => {
  vi.stubGlobal("Blob", Blob);
  vi.spyOn(HTMLCanvasElement.prototype, "getContext").mockReturnValue(null);
});

afterEach(() => {
  Mounted.undoAll();
  document.body.replaceChildren();
});

const live = { session: "session-1", view: "view-1" };
const options = { theme: "light", locale: "en" } as const;

function specOf(...results: object[]): PanelSpec {
  const short = (VIEWS["short"] as () => PanelSpec)();
  return parseViewSpec({ ...short, results }) as PanelSpec;
}

const shown = (...results: object[]) => opened(specOf(...results));

async function opened(spec: PanelSpec) {
  const kernel = new FakeKernel(spec, 0);
  const data = JSON.parse(
    JSON.stringify({ version: "0.1.0", spec, live, heads: 72, headsCarried: 0 }),
  );
  const view = new Mounted((element) => mountBundle(element, data, kernel, options));
  await vi.waitFor(() => expect(view.one("badge").dataset["state"]).toBe("live"));
  return { view, kernel };
}

const runs = (kernel: FakeKernel) => kernel.sent.filter((message) => message.type === "run");
const tableOf = (rows: unknown[][], more: object = {}) => ({
  kind: "table",
  columns: ["text", "score"],
  rows,
  ...more,
});

describe("a table", () => {
  test("is sorted by a column, falling and rising, and nothing comes last both times", async () => {
    const { view } = await shown(
      tableOf([
        ["b", 2],
        ["none", null],
        ["a", 10],
        ["c", 0.5],
      ]),
    );
    const score = view.all<HTMLButtonElement>("sort")[1] as HTMLButtonElement;
    score.click();
    expect(texts(view)).toEqual(["a", "b", "c", "none"]);
    expect(score.closest("th")?.getAttribute("aria-sort")).toBe("descending");
    score.click();
    expect(texts(view)).toEqual(["c", "b", "a", "none"]);
    expect(score.closest("th")?.getAttribute("aria-sort")).toBe("ascending");
  });

  test("has pages of 50, and its rows lead where they say", async () => {
    const rows = Array.from({ length: 120 }, (_, index) => [`row ${index}`, index]);
    const changes = rows.map((_, index) => (index % 2 ? null : { values: { text: `t${index}` } }));
    const { view, kernel } = await shown(tableOf(rows, { changes }));
    expect(view.all("row")).toHaveLength(50);
    expect(view.text("page-range")).toContain("120");
    view.one<HTMLButtonElement>("page-later").click();
    view.one<HTMLButtonElement>("page-later").click();
    expect(texts(view)[0]).toBe("row 100");
    expect(view.all("row")).toHaveLength(20);
    expect(view.one<HTMLButtonElement>("page-later").disabled).toBe(true);
    view.all<HTMLButtonElement>("row-go")[0]?.click();
    await vi.waitFor(() => expect(runs(kernel)).toHaveLength(1));
    expect(runs(kernel)[0]).toMatchObject({ values: { text: "t100" } });
  });

  test("holds every row once, in the order of its numbers", () => {
    fc.assert(
      fc.property(
        fc.array(fc.option(fc.integer({ min: -5, max: 5 })), { maxLength: 30 }),
        fc.boolean(),
        (values, falling) => {
          const table = { rows: values.map((value) => [value]) } as unknown as Table;
          const order = sorted(table, 0, falling);
          expect([...order].sort((a, b) => a - b)).toEqual(values.map((_, index) => index));
          const there = order.map((row) => values[row]).filter((one) => one !== null) as number[];
          const wanted = [...there].sort((a, b) => (falling ? b - a : a - b));
          expect(there).toEqual(wanted);
        },
      ),
    );
  });

  test("draws hostile texts as text, and none at all", async () => {
    const { view } = await shown(tableOf(HOSTILE.map((text) => [text, 1])), tableOf([]));
    expect(view.root.querySelector("script, img, iframe")).toBeNull();
    expect(view.all("row")).toHaveLength(HOSTILE.length);
    expect(view.all("result-table")[1]?.textContent).toContain("score");
  });
});

describe("labels", () => {
  const two = (more: object = {}) => ({
    kind: "labels",
    field: "threshold",
    decides: 1,
    scores: [
      { label: "negative", score: 0.7 },
      { label: "positive", score: 0.3 },
    ],
    ...more,
  });
  const threshold = {
    kind: "number",
    name: "threshold",
    label: "Threshold",
    default: 0.5,
    minimum: 0,
    maximum: 1,
    step: 0.01,
  };
  const inForm = (...results: object[]) => {
    const spec = specOf(...results);
    return opened(parseViewSpec({ ...spec, fields: [...spec.fields, threshold] }) as PanelSpec);
  };
  const over = (view: Mounted) =>
    view.all("label-row").map((row) => row.classList.contains("over"));
  const slide = (view: Mounted, value: string) => {
    const slider = view.one<HTMLInputElement>("threshold");
    slider.value = value;
    slider.dispatchEvent(new Event("input"));
  };

  test("of two that exclude each other, the threshold decides for the one it names", async () => {
    const { view, kernel } = await inForm(two());
    const note = view.root.querySelector(".threshold-note");
    expect(note?.textContent).toContain("Threshold for positive");
    expect(over(view)).toEqual([true, false]);
    slide(view, "0.3");
    expect(over(view)).toEqual([false, true]);
    expect(view.text("threshold-count")).toBe("gives positive");
    expect(view.all("label-row")[1]?.getAttribute("aria-label")).toContain(
      "given at the threshold",
    );
    slide(view, "0.31");
    expect(over(view)).toEqual([true, false]);
    expect(view.root.querySelectorAll(".label-threshold")).toHaveLength(1);
    // The form's own field follows, and the kernel is told; nothing is run.
    const field = view.root.querySelector<HTMLInputElement>('input[data-field="threshold"]');
    expect(field?.value).toBe("0.31");
    await vi.waitFor(() =>
      expect(kernel.sent.filter((one) => one.type === "edit").at(-1)).toMatchObject({
        values: { threshold: 0.31 },
      }),
    );
    expect(runs(kernel)).toHaveLength(0);
  });

  test("the threshold of two decides for the likelier one too, where that is meant", async () => {
    const { view } = await inForm(two({ decides: 0 }));
    expect(view.root.querySelector(".threshold-note")?.textContent).toContain("negative");
    slide(view, "0.7");
    expect(over(view)).toEqual([true, false]);
    slide(view, "0.71");
    expect(over(view)).toEqual([false, true]);
  });

  test("where the threshold decides nothing its field is off, and says why", async () => {
    const scores = ["a", "b", "c"].map((label, at) => ({ label, score: 0.5 - at / 6 }));
    const { view } = await inForm(two({ scores, decides: null }));
    expect(view.all("threshold")).toHaveLength(0);
    for (const input of view.root.querySelectorAll<HTMLInputElement>(
      'input[data-field="threshold"]',
    )) {
      expect(input.disabled).toBe(true);
    }
    expect(view.text("field-idle")).toContain("the likeliest is given");
    const other = await inForm(two());
    expect(other.view.all("field-idle")).toHaveLength(0);
    const plain = await inForm(two({ field: "", decides: null }));
    expect(plain.view.all("threshold")).toHaveLength(0);
    expect(plain.view.all("field-idle")).toHaveLength(0);
  });
});

describe("spans", () => {
  test("without tokens to select make their change, by a click on the chip", async () => {
    const change = { values: { text: "further on" } };
    const spec = specOf({
      kind: "spans",
      text: "Ada lived here.",
      spans: [{ start: 0, end: 3, label: "PER", change }],
    });
    const { view, kernel } = await opened({ ...spec, attention: null });
    view.one<HTMLButtonElement>("span-chip").click();
    await vi.waitFor(() => expect(runs(kernel)).toHaveLength(1));
    expect(runs(kernel)[0]).toMatchObject({ values: { text: "further on" } });
  });

  test("count in the whole text, of which a part is shown", async () => {
    const { view } = await shown({
      kind: "spans",
      text: "👩‍👧 Ada lived in London",
      spans: [
        { start: 90, end: 102, label: "ORG" },
        { start: 104, end: 107, label: "PER" },
        { start: 117, end: 123, label: "LOC" },
      ],
      offset: 100,
      wholeCharacters: 1_000_000,
      wholeSpans: 30_000,
    });
    const marks = view.all("span").map((mark) => mark.textContent);
    expect(marks).toEqual(["ORG👩‍", "PERAda", "LOCLondon"]);
    expect(view.all("span")[1]?.title).toBe("PER [104:107]");
    const notes = [...view.one("result-spans").querySelectorAll(".note")];
    expect(notes.map((note) => note.textContent)).toEqual([
      "Characters 100 to 123 of 1,000,000 are shown.",
      "3 of 30,000 spans are marked.",
    ]);
  });
});

describe("a tree", () => {
  test("says how each branch ended to those who do not see its border", async () => {
    const { view } = await shown({
      kind: "tree",
      nodes: [
        { text: "the", score: -1, best: true, kept: true },
        { text: "a", score: -2 },
      ],
    });
    const said = view.all("tree-box").map((box) => box.querySelector(".unseen")?.textContent);
    expect(said).toEqual([", the best", ", given up"]);
  });
});

describe("a matrix", () => {
  const pair = {
    kind: "matrix",
    rows: ["good", "<b>bad</b>"],
    columns: ["good", "<b>bad</b>"],
    cells: [
      [3, 1],
      [null, 2],
    ],
    changes: [
      [{ values: { text: "0" } }, { values: { text: "1" } }],
      [null, { values: { text: "3" } }],
    ],
  };

  test("is walked by the arrows and acts by a click", async () => {
    const { view, kernel } = await shown(pair);
    const cells = view.all<HTMLButtonElement>("matrix-cell");
    expect(cells.map((one) => one.textContent)).toEqual(["3", "1", "–", "2"]);
    cells[0]?.focus();
    view.key(cells[0] as HTMLElement, "ArrowRight");
    expect(view.root.activeElement).toBe(cells[1]);
    expect(cells.map((one) => one.tabIndex)).toEqual([-1, 0, -1, -1]);
    view.key(cells[1] as HTMLElement, "ArrowDown");
    expect(view.root.activeElement).toBe(cells[3]);
    cells[3]?.click();
    await vi.waitFor(() => expect(runs(kernel)).toHaveLength(1));
    expect(runs(kernel)[0]).toMatchObject({ values: { text: "3" } });
    expect(cells[3]?.getAttribute("aria-label")).toContain("<b>bad</b>");
    expect(view.root.querySelector("b")).toBeNull();
  });
});

describe("a chart", () => {
  const curve = {
    kind: "chart",
    title: "ROC",
    x: { title: "false positives" },
    y: { title: "true positives" },
    series: [
      { label: "<i>model</i>", x: [0, 0.5, 1], y: [0, 0.75, 1] },
      { label: "chance", x: [0, 1], y: [0, 1], reference: true },
    ],
  };

  test("is read point by point with the arrows, and has its numbers in a table", async () => {
    const { view } = await shown(curve);
    const frame = view.one("chart-frame");
    expect(frame.getAttribute("aria-label")).toContain("ROC");
    frame.focus();
    view.key(frame, "ArrowRight");
    view.key(frame, "ArrowRight");
    expect(view.text("chart-reading")).toContain("0.750");
    view.key(frame, "Escape");
    const numbers = view.one<HTMLDetailsElement>("chart-numbers");
    numbers.open = true;
    numbers.dispatchEvent(new Event("toggle"));
    expect(numbers.textContent).toContain("<i>model</i>");
    expect(view.one("chart-frame").parentElement?.querySelector("i")).toBeNull();
  });

  test("that a run renews keeps its numbers open", async () => {
    const { view, kernel } = await shown(curve);
    const numbers = () => view.one<HTMLDetailsElement>("chart-numbers");
    numbers().open = true;
    const before = numbers();
    const spec = specOf({ ...curve, title: "ROC, later" });
    kernel.say({ type: "changed", view: "view-1", spec });
    await vi.waitFor(() => expect(numbers()).not.toBe(before));
    expect(numbers().open).toBe(true);
  });

  test("steps are round, within their bounds and at most as many as asked for", () => {
    const edge = fc.double({ min: -1e9, max: 1e9, noNaN: true });
    fc.assert(
      fc.property(edge, edge, (a, b) => {
        const [low, high] = [Math.min(a, b), Math.max(a, b)];
        fc.pre(high - low > 1e-6 * Math.max(1, Math.abs(low), Math.abs(high)));
        const steps = roundSteps(low, high);
        const slack = 1e-6 * (high - low);
        expect(steps.length).toBeLessThanOrEqual(8);
        for (const step of steps) {
          expect(step).toBeGreaterThanOrEqual(low - slack);
          expect(step).toBeLessThanOrEqual(high + slack);
        }
      }),
    );
  });

  test("has room for its bars, and names no half of a row", () => {
    const chart = {
      kind: "chart",
      x: { title: "tokens", low: null, high: null },
      y: { title: "rows", low: 0, high: null },
      series: [{ label: "rows", x: [6], y: [3], draw: "bars", help: "", reference: false }],
    } as unknown as Chart;
    expect(bounds(chart, "x")).toEqual([5.5, 6.5]);
    expect(ticks(chart, "x", 6)).toEqual([6]);
    expect(ticks(chart, "y", 5)).toEqual([0, 1, 2, 3]);
    const three = { ...chart, series: [{ ...chart.series[0], x: [1, 3, 7], y: [2, 0, 1] }] };
    expect(bounds(three as Chart, "x")).toEqual([0, 8]);
    const shares = { ...chart, series: [{ ...chart.series[0], x: [0.5], y: [0.25] }] };
    expect(ticks(shares as Chart, "y", 5)).toContain(0.05);
  });

  test("has bounds that hold all its numbers, also where there are none", () => {
    const empty = specOf({ kind: "chart", series: [] }).results[0] as Chart;
    expect(bounds(empty, "x")).toEqual([0, 1]);
    const flat = specOf({ kind: "chart", series: [{ label: "", x: [1], y: [3] }] })
      .results[0] as Chart;
    const [low, high] = bounds(flat, "y");
    expect(low).toBeLessThan(3);
    expect(high).toBeGreaterThan(3);
  });
});

function texts(view: Mounted): string[] {
  return view.all("row").map((row) => row.querySelector("td")?.textContent ?? "");
}

describe("a reply in a chat", () => {
  const answer = (more: object = {}) => ({
    kind: "token-choices",
    tokens: [{ token: { text: "Paris", raw: "Paris" }, probability: 0.5 }],
    text: "Paris",
    reply: {
      field: "text",
      messages: JSON.stringify([
        { role: "user", content: "Capital?" },
        { role: "assistant", content: 'Paris "so"' },
      ]),
      values: { preset: "free" },
    },
    ...more,
  });
  const key = (view: Mounted, name: string, more: object = {}) =>
    view
      .one("reply-text")
      .dispatchEvent(
        new KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true, ...more }),
      );

  test("asks with the chat so far and one more message", async () => {
    const { view, kernel } = await shown(answer());
    const box = view.one<HTMLTextAreaElement>("reply-text");
    view.one("reply").click();
    box.value = "  \n";
    key(view, "Enter");
    expect(runs(kernel)).toEqual([]);
    box.value = 'And "Rome"?\nSay.';
    key(view, "Enter", { shiftKey: true });
    key(view, "Enter", { isComposing: true });
    expect(runs(kernel)).toEqual([]);
    key(view, "Enter");
    const [run] = runs(kernel) as unknown as { values: Record<string, string> }[];
    expect(run?.values["preset"]).toBe("free");
    expect(JSON.parse(run?.values["text"] ?? "")).toEqual([
      { role: "user", content: "Capital?" },
      { role: "assistant", content: 'Paris "so"' },
      { role: "user", content: 'And "Rome"?\nSay.' },
    ]);
  });

  test("is not offered where nothing can run, nor where there is no chat", async () => {
    const streaming = await shown(answer({ streaming: true }));
    expect(streaming.view.all("reply")).toEqual([]);
    const plain = await shown(answer({ reply: null }));
    expect(plain.view.all("reply")).toEqual([]);
    const spec = specOf(answer());
    const data = JSON.parse(
      JSON.stringify({ version: "0.1.0", spec, live, heads: 72, headsCarried: 0 }),
    );
    const saved = new Mounted((element) => mountBundle(element, data, null, options));
    expect(saved.all("choice")).toHaveLength(1);
    expect(saved.all("reply")).toEqual([]);
  });

  test("of what is no list of messages is not sent", async () => {
    for (const messages of ["no JSON", '{"a": 1}']) {
      const { view, kernel } = await shown(
        answer({ reply: { field: "text", messages, values: {} } }),
      );
      view.one<HTMLTextAreaElement>("reply-text").value = "x";
      view.one("reply").click();
      expect(runs(kernel)).toEqual([]);
    }
  });
});
