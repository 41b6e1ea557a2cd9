import { Signal } from "@lumino/signaling";
import { expect, test, vi } from "vitest";
import { KernelBudget } from "../src/budget.ts";

function kernel(language = "python") {
  const requestExecute = vi.fn((_: { code: string }) => ({ done: Promise.resolve() }));
  return { info: Promise.resolve({ language_info: { name: language } }), requestExecute };
}

type Kernel = ReturnType<typeof kernel>;

function notebook(first: Kernel | null = null) {
  const context = {
    session: first && { kernel: first },
    kernelChanged: new Signal<object, { newValue: Kernel | null }>({}),
    statusChanged: new Signal<object, string>({}),
  };
  const start = (next: Kernel) => {
    context.session = { kernel: next };
    context.kernelChanged.emit({ newValue: next });
  };
  return { sessionContext: context, start };
}

function budget(...open: object[]) {
  const widgetAdded = new Signal<object, unknown>({});
  const forEach = (visit: (panel: object) => void) => open.forEach(visit);
  widgetAdded.connect((_, panel) => open.push(panel as object));
  return { widgetAdded, keep: new KernelBudget({ forEach, widgetAdded } as never) };
}

const settled = () => new Promise((resolve) => setTimeout(resolve));
const told = (one: Kernel) => one.requestExecute.mock.calls.map(([{ code }]) => code);

test("kernels that were there before the settings are told once these are read", async () => {
  const [running, early, other] = [kernel(), kernel(), kernel("R")];
  const open = notebook(running);
  const { widgetAdded, keep } = budget(open, notebook(other));
  const added = notebook();
  widgetAdded.emit(added);
  added.start(early);
  await settled();
  expect([told(running), told(early)]).toEqual([[], []]);
  keep.budget = " 5MB ";
  await settled();
  const code = `__import__("os").environ.setdefault("LMKIT_BUDGET", "5MB")`;
  expect([told(running), told(early), told(other)]).toEqual([[code], [code], []]);
});

test("a change is for kernels that start later", async () => {
  const running = kernel();
  const open = notebook(running);
  const { keep } = budget(open);
  keep.budget = "";
  keep.budget = "1MB";
  await settled();
  expect(told(running)).toEqual([]);
  const next = kernel();
  open.start(next);
  await settled();
  expect(told(next)).toHaveLength(1);
});
