import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { activate } from "../src/renderer.ts";

const golden = join(import.meta.dirname, "../../../tests/golden/bundles.json");
const [{ given }] = JSON.parse(readFileSync(golden, "utf8"));

type Rendered = Parameters<
  NonNullable<Awaited<ReturnType<typeof activate>>>["renderOutputItem"]
>[0];

function item(id: string, json: () => unknown): Rendered {
  return { id, mime: "application/vnd.lmkit.view.v1+json", json } as Rendered;
}

async function renderer() {
  const made = await activate({} as Parameters<typeof activate>[0]);
  if (!made?.disposeOutputItem) throw new Error("no renderer");
  return made as typeof made & { disposeOutputItem(id?: string): void };
}

const views = (element: HTMLElement) => element.querySelectorAll('[data-lmkit="view"]').length;

test("an output is drawn, drawn again in place, and taken away", async () => {
  const made = await renderer();
  const element = document.createElement("div");
  document.body.append(element);
  const signal = new AbortController().signal;
  await made.renderOutputItem(
    item("a", () => given),
    element,
    signal,
  );
  expect(views(element)).toBe(1);
  await made.renderOutputItem(
    item("a", () => given),
    element,
    signal,
  );
  expect(views(element)).toBe(1);
  await made.renderOutputItem(
    item("b", () => given),
    element,
    signal,
  );
  expect(views(element)).toBe(2);
  made.disposeOutputItem("a");
  expect(views(element)).toBe(1);
  made.disposeOutputItem();
  expect(views(element)).toBe(0);
});

test("an output that is no JSON is drawn as one that cannot be read", async () => {
  const made = await renderer();
  const element = document.createElement("div");
  document.body.append(element);
  const broken = () => {
    throw new SyntaxError("no JSON");
  };
  await made.renderOutputItem(item("a", broken), element, new AbortController().signal);
  expect(element.firstElementChild?.shadowRoot?.textContent).toMatch(/cannot be/);
  made.disposeOutputItem();
});

test("what an output lacks is asked of the extension, by messages that name their question", async () => {
  const posted: { type: string; id?: string; request?: { keys: string[] } }[] = [];
  let say: (message: unknown) => void = () => {};
  const made = await activate({
    postMessage: (message: (typeof posted)[number]) => posted.push(message),
    onDidReceiveMessage: (heard: (message: unknown) => void) => {
      say = heard;
      return { dispose: () => {} };
    },
  } as unknown as Parameters<typeof activate>[0]);
  const element = document.createElement("div");
  document.body.append(element);
  const live = { session: "s", view: "v", state: "d" };
  const signal = new AbortController().signal;
  for (const id of ["a", "b"]) {
    await made?.renderOutputItem(
      item(id, () => ({ ...given, live })),
      element,
      signal,
    );
  }
  expect(posted).toEqual([{ type: "offer" }]); // once for the page
  const views_ = [...element.querySelectorAll('[data-lmkit="view"]')];
  const button = (index: number) =>
    views_[index]?.shadowRoot?.querySelector('[data-lmkit="rest"]') as HTMLButtonElement;
  expect(button(0).hidden).toBe(true);
  say({ type: "offered", note: "" });
  expect([button(0).hidden, button(1).hidden]).toEqual([false, false]);
  button(1).click();
  const asked = posted[1];
  expect(asked).toMatchObject({ type: "refill", request: { ...live, keys: [] } });
  say({ type: "refilled", id: "another's", found: null });
  say({ type: "refilled", id: asked?.id, found: { version: "0.1.0", state: "d" } });
  await vi.waitFor(() => expect(button(1).hidden).toBe(true));
  expect(button(0).hidden).toBe(false);
  made?.disposeOutputItem?.();
});
