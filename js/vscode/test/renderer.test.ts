import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, expect, test, vi } from "vitest";
import { frames, stubAllInSight } from "../../core/test/sight.ts";
import { activate } from "../src/renderer.ts";

const golden = join(import.meta.dirname, "../../../tests/golden/bundles.json");
const [{ given }] = JSON.parse(readFileSync(golden, "utf8"));

beforeEach(stubAllInSight);

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
  await frames(3);
  expect(views(element)).toBe(1);
  await made.renderOutputItem(
    item("a", () => given),
    element,
    signal,
  );
  await frames(3);
  expect(views(element)).toBe(1);
  await made.renderOutputItem(
    item("b", () => given),
    element,
    signal,
  );
  await frames(3);
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
  await frames(3);
  expect(element.firstElementChild?.shadowRoot?.textContent).toMatch(/cannot be/);
  made.disposeOutputItem();
});

/** A renderer beside an extension, and what it posts to it. */
async function beside() {
  const posted: { type: string; id?: string; request?: { keys: string[] } }[] = [];
  let say: (message: unknown) => void = () => {};
  const made = await activate({
    postMessage: (message: (typeof posted)[number]) => posted.push(message),
    onDidReceiveMessage: (heard: (message: unknown) => void) => {
      say = heard;
      return { dispose: () => {} };
    },
  } as unknown as Parameters<typeof activate>[0]);
  return { made, posted, say: (message: unknown) => say(message) };
}

const offered = { type: "offered", note: "", host: "1", language: "en" };

test("what an output lacks is asked of the extension, by messages that name their question", async () => {
  const { made, posted, say } = await beside();
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
  await frames(3);
  expect(posted).toEqual([{ type: "offer" }]); // once for the page
  const views_ = [...element.querySelectorAll('[data-lmkit="view"]')];
  const button = (index: number) =>
    views_[index]?.shadowRoot?.querySelector('[data-lmkit="rest"]') as HTMLButtonElement;
  expect(button(0).hidden).toBe(true);
  say(offered);
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

test("an output speaks as VS Code does, once that is told", async () => {
  const { made, say } = await beside();
  const element = document.createElement("div");
  document.body.append(element);
  const live = { session: "s", view: "v", state: "d" };
  const signal = new AbortController().signal;
  await made?.renderOutputItem(
    item("a", () => ({ ...given, live })),
    element,
    signal,
  );
  await frames(3);
  const run = () =>
    element.querySelector('[data-lmkit="view"]')?.shadowRoot?.querySelector('[data-lmkit="run"]')
      ?.textContent;
  expect(run()).toBe("Run");
  say({ ...offered, language: "zh-cn" });
  await frames(3);
  expect(run()).toBe("运行");
  expect(views(element)).toBe(1);
  const there = element.firstElementChild;
  say({ ...offered, language: "zh-cn", note: "a note" });
  await frames(3);
  expect(element.firstElementChild).toBe(there); // nothing is drawn anew for the same language
  made?.disposeOutputItem?.();
});

test("what an extension was asked before it was restarted is answered with a sentence", async () => {
  const { made, posted, say } = await beside();
  const element = document.createElement("div");
  document.body.append(element);
  const live = { session: "s", view: "v", state: "d" };
  await made?.renderOutputItem(
    item("a", () => ({ ...given, live })),
    element,
    new AbortController().signal,
  );
  await frames(3);
  const root = element.firstElementChild?.shadowRoot;
  const button = root?.querySelector('[data-lmkit="rest"]') as HTMLButtonElement;
  say(offered);
  button.click();
  expect(posted.at(-1)?.type).toBe("refill");
  say({ ...offered, host: "2" });
  await vi.waitFor(() => expect(root?.textContent).toContain("were restarted before the kernel"));
  button.click(); // and it can be asked again
  await vi.waitFor(() => expect(posted.filter(({ type }) => type === "refill")).toHaveLength(2));
  made?.disposeOutputItem?.();
});
