import fc from "fast-check";
import { expect, test, vi } from "vitest";
import { probe, read } from "../src/probe.ts";
import { WORDS, words } from "../src/words.ts";

// the rest of the package needs a browser that lays out
vi.mock("@jupyterlab/notebook", () => ({ NotebookActions: {} }));
const { findView, selectedText, taskCell } = await import("../src/cells.ts");

/** What Python's repr() makes of ASCII. */
function repr(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  return quote + text.replaceAll("\\", "\\\\").replaceAll(quote, `\\${quote}`) + quote;
}

/** What Python's json.dumps makes of a value. */
function dumps(value: unknown): string {
  return JSON.stringify(value).replace(
    /[\u007f-\uffff]/g,
    (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

test("what a kernel says of itself is read back, whatever its paths are called", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme" }), (python) => {
      const shown = repr(dumps({ python, version: null, tasks: null }));
      expect(read(shown)).toEqual({ state: "missing", python });
    }),
  );
});

test("installed and loaded are told apart", () => {
  const loaded = { python: "p", version: "0.1.0", tasks: ["ner", "classification"] };
  expect(read(repr(dumps(loaded)))).toEqual({
    state: "loaded",
    version: "0.1.0",
    tasks: ["ner", "classification"],
  });
  expect(read(repr(dumps({ ...loaded, tasks: null })))).toEqual({
    state: "installed",
    version: "0.1.0",
  });
});

test("what a failing cell took along is asked again, and not for ever", async () => {
  const content = {
    status: "ok",
    user_expressions: {
      lmkit: { data: { "text/plain": repr(dumps({ python: "p", version: "1", tasks: null })) } },
    },
  };
  const kernel = (aborts: number) => {
    const requestExecute = vi.fn(() => ({
      done: Promise.resolve({ content: aborts-- > 0 ? { status: "aborted" } : content }),
    }));
    return { info: Promise.resolve({ language_info: { name: "python" } }), requestExecute };
  };
  expect(await probe(kernel(1) as never)).toEqual({ state: "installed", version: "1" });
  const gone = kernel(99);
  await expect(probe(gone as never)).rejects.toThrow("aborted");
  expect(gone.requestExecute).toHaveBeenCalledTimes(4);
});

test("a cell names the task, the default model, and the selected text", () => {
  expect(taskCell("ner", "Ada wrote it.", {})).toBe("%%lm ner\nAda wrote it.");
  expect(taskCell("ner", "x", { ner: "starter:ner" })).toBe("%%lm ner --model starter:ner\nx");
  expect(taskCell("ner", "x", { ner: "my models/it's" })).toBe(
    `%%lm ner --model 'my models/it'"'"'s'\nx`,
  );
});

test("a selection is a notebook's where all of it is, and the editor's comes first", () => {
  document.body.innerHTML = "<main><p>in the notebook</p></main><aside>beside it</aside>";
  const select = (from: string, to: string) => {
    const [first, last] = [document.querySelector(from), document.querySelector(to)];
    if (!first || !last) throw new Error("There is no such element.");
    getSelection()?.setBaseAndExtent(first, 0, last, 1);
  };
  const panel = { node: document.querySelector("main"), content: {} };
  const chosen = (one: object) => selectedText(one as never);
  getSelection()?.removeAllRanges();
  expect(chosen(panel)).toBe("");
  select("p", "p");
  expect(chosen(panel)).toBe("in the notebook");
  const editor = {
    getSelection: () => ({ start: 9, end: 2 }),
    getOffsetAt: (place: number) => place,
    model: { sharedModel: { getSource: () => "a lovely film" } },
  };
  expect(chosen({ ...panel, content: { activeCell: { editor } } })).toBe("lovely ");
  for (const [from, to] of [
    ["aside", "aside"],
    ["p", "aside"],
  ] as const) {
    select(from, to);
    expect(chosen(panel)).toBe("");
  }
});

test("a view is found in whichever notebook shows it", () => {
  const mime = "application/vnd.lmkit.view.v1+json";
  const cell = (...views: readonly string[]) => ({
    toJSON: () => ({ outputs: views.map((view) => ({ data: { [mime]: { live: { view } } } })) }),
  });
  const notebook = (...cells: readonly object[]) => ({
    content: { model: { cells: { length: cells.length, get: (index: number) => cells[index] } } },
  });
  const stream = { toJSON: () => ({ outputs: [{ output_type: "stream", text: "x" }] }) };
  const open = [notebook(stream, cell("a")), notebook({ toJSON: () => ({}) }, cell("b", "c"))];
  const tracker = { forEach: (act: (one: object) => void) => open.forEach(act) };
  const find = (view: string) => findView(tracker as never, view);
  expect(find("a")).toEqual({ panel: open[0], index: 1 });
  expect(find("c")).toEqual({ panel: open[1], index: 1 });
  expect(find("d")).toBeNull();
});

test("the shell speaks English and Simplified Chinese", () => {
  expect(words("en")("failed", { why: "x" })).toBe("The kernel did not answer: x");
  expect(words("zh_CN")("load")).toBe("加载 lmkit");
  for (const [key, [english, chinese]] of Object.entries(WORDS)) {
    expect(chinese.match(/\{\w+\}/g)?.sort(), key).toEqual(english.match(/\{\w+\}/g)?.sort());
    if (key !== "title") expect(chinese, key).toMatch(/\p{Script=Han}/u);
  }
});
