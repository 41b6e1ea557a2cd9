// @vitest-environment node
/** Insert Cell and Analyse Selection, with the parts of VS Code that they ask for played here. */
import { beforeEach, expect, test, vi } from "vitest";
import type { Server } from "../src/server.ts";

const TASKS = [
  { name: "ner", title: "NER", body: "text", cell: { line: "%%lm ner", text: "An example." } },
  {
    name: "zero-shot",
    title: "Zero-shot",
    body: "text",
    cell: { line: "%%lm zero-shot --candidates 'a, b'", text: "An example." },
  },
  {
    name: "distillation",
    title: "Distillation",
    body: "train",
    cell: { line: "%lm distillation", text: "" },
  },
];
const server = { request: async () => ({ tasks: TASKS }) } as unknown as Server;

const played = vi.hoisted(() => ({ inserted: [] as string[], offered: [] as string[] }));
vi.mock("vscode", () => ({
  l10n: {
    t: (message: string, ...values: readonly string[]) =>
      message.replace(/\{(\d+)\}/g, (_, at) => String(values[Number(at)])),
  },
  NotebookCellKind: { Code: 2 },
  NotebookCellData: class {
    constructor(
      readonly kind: number,
      readonly value: string,
    ) {}
  },
  NotebookRange: class {},
  NotebookEdit: {
    insertCells: (_: number, cells: readonly { readonly value: string }[]) =>
      cells.map(({ value }) => value),
  },
  WorkspaceEdit: class {
    set(_: unknown, [cells]: readonly (readonly string[])[]): void {
      played.inserted.push(...(cells ?? []));
    }
  },
  workspace: { applyEdit: async () => true },
  window: {
    activeNotebookEditor: {
      notebook: {
        notebookType: "jupyter-notebook",
        uri: "",
        cellCount: 1,
        getCells: () => [{ document: { getText: () => "%load_ext lmkit" } }],
      },
      selection: { end: 1 },
      revealRange: () => {},
    },
    showQuickPick: async (items: readonly { readonly description: string }[]) => {
      played.offered.push(...items.map(({ description }) => description));
      return undefined;
    },
  },
}));
const { chooseTask } = await import("../src/choose.ts");
const { insertCell } = await import("../src/notebook.ts");

beforeEach(() => {
  played.inserted.length = 0;
  played.offered.length = 0;
});

test("an inserted cell is the task's own, with the chosen model", async () => {
  await insertCell(server, { task: "zero-shot", model: "my model" });
  await insertCell(server, { task: "ner", model: "" });
  await insertCell(server, { task: "distillation", model: "starter:sentiment" });
  expect(played.inserted).toEqual([
    "%%lm zero-shot --candidates 'a, b' --model 'my model'\nAn example.",
    "%%lm ner\nAn example.",
    "%lm distillation --model starter:sentiment",
  ]);
});

test("a selection is offered to tasks that take a text, a panel to all", async () => {
  await chooseTask(server, {}, true);
  expect(played.offered).toEqual(["ner", "zero-shot"]);
  played.offered.length = 0;
  await chooseTask(server, {}, false);
  expect(played.offered).toEqual(["ner", "zero-shot", "distillation"]);
});

test("a task that takes no text says so", async () => {
  expect(await chooseTask(server, { task: "distillation" }, false)).toBe(TASKS[2]);
  await expect(chooseTask(server, { task: "distillation" }, true)).rejects.toThrow(
    'The task "distillation" takes no text.',
  );
  await expect(chooseTask(server, { task: "nothing" }, true)).rejects.toThrow(
    'No installed plugin has the task "nothing".',
  );
});
